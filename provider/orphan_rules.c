/* SPDX-License-Identifier: Apache-2.0 */
/* See orphan_rules.h. */
#include "provider/orphan_rules.h"

#include <string.h>
#include "proto/identity.h"
#include "provider/ascii.h"

#define ID_CHARS_MAX 38 /* with a GUID's dashes and braces */

enum orphan_verdict orphan_judge(const struct up_lun *lun)
{
	if (lun->kind != UP_LUN_SHADOW)
		return ORPHAN_NO_SHADOW_LUN;
	if (lun->number)
		return ORPHAN_MAPPED_HERE;
	if (lun->mapped_hosts)
		return ORPHAN_MAPPED_THERE;
	if (lun->set_state && lun->set_state != UP_SET_KEPT)
		return ORPHAN_NOT_KEPT;
	if (lun->notified & UP_NOTED_WRITTEN)
		return ORPHAN_WRITTEN;
	return ORPHAN_YES; /* with state 0, which old arrays tell, the array refuses what is mapped elsewhere */
}

const char *orphan_why(enum orphan_verdict verdict)
{
	switch (verdict) {
	case ORPHAN_YES:
		return "it is an orphan";
	case ORPHAN_WRITTEN:
		return "a host wrote to it after its set was made, and it may be in use as a disk: keep it with "
		       "\"umbractl shadow break\" on the array, or delete it with --delete-written";
	case ORPHAN_MAPPED_HERE:
		return "this host sees it: delete the shadow copy with VSS (diskshadow, vshadow, the backup "
		       "software); if VSS does not list it, an import failed: --unmap, then --delete";
	case ORPHAN_MAPPED_THERE:
		return "another host sees it: delete the shadow copy with VSS there";
	case ORPHAN_NOT_KEPT:
		return "its shadow copy set is being made; the array removes it by itself if nobody keeps it";
	case ORPHAN_NO_SHADOW_LUN:
		break;
	}
	return "it is no shadow LUN; other LUNs are only deleted on the array (umbractl lun delete)";
}

static bool parse_id(const wchar_t *word, uint8_t id[UP_ID_BYTES])
{
	char text[ID_CHARS_MAX + 1];

	return ascii_of(word, text, sizeof(text)) && up_id_parse(text, id);
}

static bool add_id(struct orphan_words *out, const uint8_t id[UP_ID_BYTES], bool written, bool unmap)
{
	unsigned at = 0;

	while (at < out->delete_count && memcmp(out->ids[at], id, UP_ID_BYTES) != 0)
		at++;
	if (at == ORPHANS_DELETE_MAX)
		return false;
	if (at < out->delete_count && out->unmap[at] != unmap)
		return false;
	if (at == out->delete_count)
		memcpy(out->ids[out->delete_count++], id, UP_ID_BYTES);
	out->written[at] = out->written[at] || written;
	out->unmap[at] = unmap;
	return true;
}

bool orphan_parse(int count, wchar_t *const *words, struct orphan_words *out)
{
	bool want_ids = false, written = false, unmap = false;

	memset(out, 0, sizeof(*out));
	for (int i = 0; i < count; i++) {
		uint8_t id[UP_ID_BYTES];
		if (!wcscmp(words[i], L"--json")) {
			out->json = true;
		} else if (!wcscmp(words[i], L"--delete") || !wcscmp(words[i], L"--delete-written")) {
			want_ids = true;
			written = words[i][8] != L'\0';
			unmap = false;
		} else if (!wcscmp(words[i], L"--unmap")) {
			want_ids = unmap = true;
			written = false;
		} else if (!want_ids || !parse_id(words[i], id) || !add_id(out, id, written, unmap)) {
			return false;
		}
	}
	return !want_ids || out->delete_count > 0;
}

bool orphan_parse_ids(int count, wchar_t *const *words, struct orphan_words *out)
{
	memset(out, 0, sizeof(*out));
	for (int i = 0; i < count; i++) {
		uint8_t id[UP_ID_BYTES];
		if (!wcscmp(words[i], L"--json"))
			out->json = true;
		else if (!parse_id(words[i], id) || !add_id(out, id, false, false))
			return false;
	}
	return out->delete_count > 0;
}
