/* SPDX-License-Identifier: Apache-2.0 */
/* See orphan_rules.h. */
#include "provider/orphan_rules.h"

#include <string.h>
#include "proto/identity.h"

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
	return ORPHAN_YES; /* with state 0, which old arrays tell, the array refuses what is mapped elsewhere */
}

const char *orphan_why(enum orphan_verdict verdict)
{
	switch (verdict) {
	case ORPHAN_YES:
		return "it is an orphan";
	case ORPHAN_MAPPED_HERE:
		return "this host sees it: delete the shadow copy with VSS (diskshadow, vshadow, the backup "
		       "software)";
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
	size_t len = wcslen(word);

	if (len > ID_CHARS_MAX)
		return false;
	for (size_t i = 0; i <= len; i++) {
		if ((unsigned long)word[i] > 0x7E)
			return false;
		text[i] = (char)word[i];
	}
	return up_id_parse(text, id);
}

static bool add_id(struct orphan_words *out, const uint8_t id[UP_ID_BYTES])
{
	for (unsigned i = 0; i < out->delete_count; i++)
		if (!memcmp(out->ids[i], id, UP_ID_BYTES))
			return true;
	if (out->delete_count == ORPHANS_DELETE_MAX)
		return false;
	memcpy(out->ids[out->delete_count++], id, UP_ID_BYTES);
	return true;
}

bool orphan_parse(int count, wchar_t *const *words, struct orphan_words *out)
{
	bool want_ids = false;

	memset(out, 0, sizeof(*out));
	for (int i = 0; i < count; i++) {
		uint8_t id[UP_ID_BYTES];
		if (!wcscmp(words[i], L"--json"))
			out->json = true;
		else if (!wcscmp(words[i], L"--delete"))
			want_ids = true;
		else if (!want_ids || !parse_id(words[i], id) || !add_id(out, id))
			return false;
	}
	return !want_ids || out->delete_count > 0;
}
