/* SPDX-License-Identifier: Apache-2.0 */
/* See adopt.h. The array judges each request again; what VSS still has as a shadow copy is not touched. */
#include "provider/adopt.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>
#include "proto/identity.h"
#include "provider/array_client.h"
#include "provider/orphan_rules.h"
#include "provider/orphans.h"
#include "provider/output.h"
#include "provider/refusal.h"
#include "provider/shadow_bits.h"

struct outcome {
	bool done;
	char text[480];
};

enum shadow_bits shadow_bits_of_device(const char *name)
{
	enum shadow_bits found = SHADOW_BITS_UNKNOWN;
	uint8_t *start = malloc(SHADOW_BITS_LOOK_BYTES);
	HANDLE disk = CreateFileA(
		name, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_EXISTING, 0, NULL);
	DWORD got = 0;

	if (disk != INVALID_HANDLE_VALUE && start &&
		ReadFile(disk, start, SHADOW_BITS_LOOK_BYTES, &got, NULL))
		found = shadow_bits_of(start, got);
	if (disk != INVALID_HANDLE_VALUE)
		CloseHandle(disk);
	free(start);
	return found;
}

/* Has VSS the LUN as a shadow copy, as far as its partition table tells? */
static bool is_vss(struct array_client *c, const uint8_t array_id[UP_ID_BYTES], const uint8_t id[UP_ID_BYTES])
{
	struct array_info *info = malloc(sizeof(*info));
	bool found = false;

	if (info && array_client_info(c, array_id, info) == 0)
		for (unsigned i = 0; i < info->path_count; i++)
			found = found ||
				(!memcmp(info->paths[i].lun_id, id, UP_ID_BYTES) &&
					shadow_bits_of_device(info->paths[i].device.name) == SHADOW_BITS_SET);
	free(info);
	return found;
}

static void make_ordinary(struct array_client *c, const uint8_t array_id[UP_ID_BYTES],
	const uint8_t id[UP_ID_BYTES], struct outcome *o)
{
	struct array_trouble trouble = {.err = -ENOMEM};
	struct up_msg *m = calloc(2, sizeof(*m));

	if (m) {
		up_request_init(&m[0], UP_OP_BREAK, 0);
		memcpy(m[0].lun_id, id, UP_ID_BYTES);
		m[0].has = UP_HAS(UP_TAG_LUN_ID);
		o->done = array_client_request(c, array_id, NULL, &m[0], &m[1], &trouble) == 0;
	}
	if (o->done)
		snprintf(o->text, sizeof(o->text), "adopted: it is an ordinary LUN of the array now");
	else
		orphans_explain(&trouble, o->text, sizeof(o->text));
	free(m);
}

static void adopt_one(struct array_client *c, const uint8_t id[UP_ID_BYTES], struct outcome *o)
{
	uint8_t array_id[UP_ID_BYTES];
	struct array_trouble trouble;
	struct up_lun lun;

	memset(o, 0, sizeof(*o));
	int err = array_client_find_lun(c, id, &lun, array_id, &trouble);
	if (err == -ENOENT) {
		snprintf(o->text, sizeof(o->text), "no array has a LUN of this id that this host may manage");
	} else if (err < 0) {
		orphans_explain(&trouble, o->text, sizeof(o->text));
	} else if (lun.kind == UP_LUN_ORDINARY) {
		o->done = true;
		snprintf(o->text, sizeof(o->text), "it is an ordinary LUN already");
	} else if (is_vss(c, array_id, id)) {
		snprintf(o->text, sizeof(o->text),
			"not adopted: VSS has it as a shadow copy still. Break its set first (diskshadow: break writable; "
			"vshadow -bw)");
	} else {
		make_ordinary(c, array_id, id, o);
	}
}

int adopt_run(int count, wchar_t **words)
{
	static struct orphan_words parsed;
	struct array_client *c;
	bool all = true;

	if (!orphan_parse_ids(count, words, &parsed)) {
		return refusal_words(
			"adopt takes IDs of 32 hexadecimal digits, as \"umbra-vss check\" and \"umbra-vss orphans\" show them",
			"Usage: umbra-vss adopt ID ... [--json]\n");
	}
	c = array_client_create(transport_spti());
	if (!c || array_client_discover(c) == 0) {
		if (c)
			refusal_say("no array is reached; \"umbra-vss check\" tells more.");
		else
			refusal_say("out of memory: free memory and try again.");
		array_client_destroy(c);
		return 1;
	}
	if (parsed.json)
		printf("{\"adopted\": [");
	for (unsigned i = 0; i < parsed.delete_count; i++) {
		char id[UP_SERIAL_BYTES + 1];
		struct outcome o;
		adopt_one(c, parsed.ids[i], &o);
		all = all && o.done;
		up_id_format(parsed.ids[i], id);
		if (parsed.json) {
			printf("%s{\"id\": \"%s\", \"done\": %s, \"message\": ", i ? ", " : "", id,
				o.done ? "true" : "false");
			output_json_string(stdout, o.text);
			printf("}");
		} else {
			printf("%s: %s\n", id, o.text);
		}
	}
	if (parsed.json)
		puts("]}");
	array_client_destroy(c);
	return all ? 0 : 1;
}

void adopt_check(struct findings *f, const struct array_info *a)
{
	char remedy[FINDING_TEXT_MAX_BYTES], id[UP_SERIAL_BYTES + 1];

	for (unsigned i = 0; i < a->path_count; i++) {
		const struct channel_path *p = &a->paths[i];
		if (!p->is_shadow || p->device.is_port ||
			shadow_bits_of_device(p->device.name) != SHADOW_BITS_CLEAR)
			continue;
		up_id_format(p->lun_id, id);
		snprintf(remedy, sizeof(remedy),
			"run \"umbra-vss adopt %s\" (or \"umbractl shadow break\" on the array): it becomes an ordinary "
			"LUN, which no host can delete",
			id);
		finding_add(f, FINDING_NOTE, "broken off", remedy,
			"%s was broken off its shadow copy set, but on the array %s it is a shadow LUN still",
			p->device.name, a->name);
	}
}
