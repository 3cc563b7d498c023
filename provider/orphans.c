/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "umbra-vss orphans": every reachable array is asked for its list; nothing else is asked, and nothing changes, unless
 * ids are named: those are deleted, one request each.
 *
 * Invariants:
 * - Only what the list has shown to be an orphan is deleted, and the array judges again: it refuses what
 *   another host sees, and without --delete-written what a host has written to.
 * - An array that did not answer is told, and makes the exit code 1: "none" is said only when all have answered.
 */
#include "provider/orphans.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>
#include "proto/identity.h"
#include "provider/array_client.h"
#include "provider/orphan_rules.h"
#include "provider/output.h"
#include "provider/refusal.h"

#define PAGES_MAX 1024 /* of 64 LUNs: four times what an array holds */

struct shadow {
	struct up_lun lun;
	unsigned array;
	bool gone; /* deleted just now */
};

struct survey {
	struct array_client *client;
	bool gaps; /* there may be an array that is not among them */
	unsigned array_count;
	struct array_info *arrays;    /* ARRAYS_MAX */
	char faults[ARRAYS_MAX][400]; /* why an array could not be asked; empty: it answered */
	struct shadow *shadows;       /* all shadow LUNs that this host may manage */
	unsigned shadow_count, shadow_cap;
};

/* ---- asking --------------------------------------------------------------------------------------- */

void orphans_explain(const struct array_trouble *t, char *out, size_t cap)
{
	if (t->err == -ENOMEM)
		snprintf(out, cap, "out of memory");
	else if (t->err < 0)
		snprintf(out, cap, "the array does not answer: check its iSCSI sessions, then try again");
	else
		snprintf(out, cap, "%s. %s", up_status_name(t->status), t->text);
}

static bool add_shadow(struct survey *s, unsigned array, const struct up_lun *lun)
{
	if (s->shadow_count == s->shadow_cap) {
		unsigned cap = s->shadow_cap ? 2 * s->shadow_cap : 64;
		struct shadow *more = realloc(s->shadows, cap * sizeof(*more));
		if (!more)
			return false;
		s->shadows = more;
		s->shadow_cap = cap;
	}
	s->shadows[s->shadow_count++] = (struct shadow){.lun = *lun, .array = array};
	return true;
}

/* One page of the list. False: s->faults tells. */
static bool list_page(struct survey *s, unsigned array, uint32_t *cursor, struct up_msg m[2])
{
	struct array_trouble trouble;

	up_request_init(&m[0], UP_OP_LIST, 0);
	m[0].cursor = *cursor;
	m[0].has = UP_HAS(UP_TAG_CURSOR);
	if (array_client_request(s->client, s->arrays[array].id, NULL, &m[0], &m[1], &trouble) < 0) {
		orphans_explain(&trouble, s->faults[array], sizeof(s->faults[array]));
		return false;
	}
	for (unsigned i = 0; i < m[1].lun_count; i++) {
		if (m[1].luns[i].kind == UP_LUN_SHADOW && !add_shadow(s, array, &m[1].luns[i])) {
			snprintf(s->faults[array], sizeof(s->faults[array]), "out of memory");
			return false;
		}
	}
	uint32_t next = up_has(&m[1], UP_TAG_CURSOR) ? m[1].cursor : 0;
	if (next && next <= *cursor) {
		snprintf(s->faults[array], sizeof(s->faults[array]),
			"the array's list does not end: update the array or this program");
		return false;
	}
	*cursor = next;
	return true;
}

static void list_array(struct survey *s, unsigned array)
{
	struct up_msg *m = calloc(2, sizeof(*m));
	uint32_t cursor = 0;

	if (!m) {
		snprintf(s->faults[array], sizeof(s->faults[array]), "out of memory");
		return;
	}
	for (unsigned page = 0; page < PAGES_MAX && list_page(s, array, &cursor, m) && cursor; page++)
		;
	free(m);
}

/* False: out of memory. */
static bool survey_make(struct survey *s)
{
	uint8_t ids[ARRAYS_MAX][UP_ID_BYTES];

	memset(s, 0, sizeof(*s));
	s->client = array_client_create(transport_spti());
	s->arrays = calloc(ARRAYS_MAX, sizeof(*s->arrays));
	if (!s->client || !s->arrays)
		return false;
	array_client_discover(s->client);
	s->gaps = array_client_has_gaps(s->client);
	unsigned count = array_client_ids(s->client, ids);
	for (unsigned i = 0; i < count; i++)
		if (array_client_info(s->client, ids[i], &s->arrays[s->array_count]) == 0)
			s->array_count++;
	for (unsigned i = 0; i < s->array_count; i++)
		list_array(s, i);
	return true;
}

static void survey_free(struct survey *s)
{
	free(s->shadows);
	free(s->arrays);
	array_client_destroy(s->client);
}

/* ---- deleting ------------------------------------------------------------------------------------- */

struct outcome {
	bool gone; /* it is not there any more, or never was; of --unmap: this host does not see it */
	char text[480];
};

static void unmap_shadow(struct survey *s, struct shadow *found, struct outcome *o)
{
	struct up_msg *m = calloc(2, sizeof(*m));
	struct array_trouble trouble = {.err = -ENOMEM};

	if (m) {
		up_request_init(&m[0], UP_OP_UNMAP, 0);
		memcpy(m[0].lun_id, found->lun.id, UP_ID_BYTES);
		m[0].scope = UP_SCOPE_ME;
		m[0].has = UP_HAS(UP_TAG_LUN_ID) | UP_HAS(UP_TAG_SCOPE);
		o->gone = array_client_request(s->client, s->arrays[found->array].id, found->lun.id, &m[0],
				  &m[1], &trouble) == 0;
	}
	if (o->gone && found->lun.number) {
		found->lun.number = 0;
		found->lun.mapped_hosts -= found->lun.mapped_hosts > 0;
	}
	if (o->gone)
		snprintf(o->text, sizeof(o->text), "unmapped from this host");
	else
		orphans_explain(&trouble, o->text, sizeof(o->text));
	free(m);
}

static void delete_shadow(struct survey *s, struct shadow *found, bool written, struct outcome *o)
{
	const struct array_info *a = &s->arrays[found->array];
	struct up_msg *m = calloc(2, sizeof(*m));
	struct array_trouble trouble = {.err = -ENOMEM};

	if (m) {
		up_request_init(&m[0], UP_OP_DELETE, 0);
		memcpy(m[0].lun_id, found->lun.id, UP_ID_BYTES);
		m[0].scope = UP_SCOPE_ME; /* so the array refuses what another host sees by now */
		m[0].has = UP_HAS(UP_TAG_LUN_ID) | UP_HAS(UP_TAG_SCOPE);
		if (written) {
			m[0].flags = UP_DELETE_WRITTEN;
			m[0].has |= UP_HAS(UP_TAG_FLAGS);
		}
		if (array_client_request(s->client, a->id, found->lun.id, &m[0], &m[1], &trouble) == 0) {
			found->gone = o->gone = true;
			snprintf(o->text, sizeof(o->text), "deleted");
			free(m);
			return;
		}
	}
	orphans_explain(&trouble, o->text, sizeof(o->text));
	free(m);
}

static bool all_answered(const struct survey *s)
{
	for (unsigned i = 0; i < s->array_count; i++)
		if (s->faults[i][0])
			return false;
	return s->array_count > 0 && !s->gaps;
}

/* An id that no list shows. */
static void judge_absent(struct survey *s, const uint8_t id[UP_ID_BYTES], struct outcome *o)
{
	struct array_trouble trouble;
	struct up_lun lun;
	uint8_t array_id[UP_ID_BYTES];

	if (!all_answered(s)) {
		snprintf(o->text, sizeof(o->text), "not found, but not every array could be asked");
		return;
	}
	int err = array_client_find_lun(s->client, id, &lun, array_id, &trouble);
	o->gone = err == -ENOENT;
	if (o->gone)
		snprintf(o->text, sizeof(o->text), "no array has a shadow LUN of this id (any more)");
	else if (err < 0)
		orphans_explain(&trouble, o->text, sizeof(o->text));
	else
		snprintf(o->text, sizeof(o->text), "not deleted: %s",
			orphan_why(lun.kind == UP_LUN_FUTURE_SHADOW ? ORPHAN_NOT_KEPT : orphan_judge(&lun)));
}

static void delete_one(
	struct survey *s, const uint8_t id[UP_ID_BYTES], bool written, bool unmap, struct outcome *o)
{
	memset(o, 0, sizeof(*o));
	for (unsigned i = 0; i < s->shadow_count; i++) {
		enum orphan_verdict verdict = orphan_judge(&s->shadows[i].lun);
		if (memcmp(s->shadows[i].lun.id, id, UP_ID_BYTES) != 0)
			continue;
		if (unmap && verdict != ORPHAN_NO_SHADOW_LUN)
			unmap_shadow(s, &s->shadows[i], o);
		else if (verdict == ORPHAN_YES || (verdict == ORPHAN_WRITTEN && written))
			delete_shadow(s, &s->shadows[i], written, o);
		else
			snprintf(o->text, sizeof(o->text), "not deleted: %s", orphan_why(verdict));
		return;
	}
	judge_absent(s, id, o);
}

/* ---- telling -------------------------------------------------------------------------------------- */

/* The drive by which this host sees the original; NULL: it does not. */
static const char *device_of(const struct array_info *a, const uint8_t id[UP_ID_BYTES])
{
	for (unsigned i = 0; i < a->path_count; i++)
		if (!memcmp(a->paths[i].lun_id, id, UP_ID_BYTES))
			return a->paths[i].device.name;
	return NULL;
}

static bool is_left(const struct shadow *h, unsigned array, enum orphan_verdict verdict)
{
	return h->array == array && !h->gone && orphan_judge(&h->lun) == verdict;
}

static const char *state_of(const struct up_lun *lun)
{
	return lun->set_state ? up_set_state_name(lun->set_state) : "not told";
}

struct left {
	unsigned orphans, written, here, there;
};

struct texts {
	char id[UP_SERIAL_BYTES + 1], origin[UP_SERIAL_BYTES + 1];
	char set[OUTPUT_SET_ID_CHARS], created[OUTPUT_TIME_CHARS];
};

static void make_texts(const struct up_lun *lun, struct texts *t)
{
	up_id_format(lun->id, t->id);
	up_id_format(lun->origin_id, t->origin);
	output_set_id(lun->set_id, t->set);
	output_time(lun->created_unix_ms, t->created);
}

static unsigned print_those(
	const struct survey *s, unsigned array, enum orphan_verdict verdict, const char *heading)
{
	unsigned left = 0;
	struct texts t;

	for (unsigned i = 0; i < s->shadow_count; i++) {
		const struct up_lun *lun = &s->shadows[i].lun;
		if (!is_left(&s->shadows[i], array, verdict))
			continue;
		const char *device = device_of(&s->arrays[array], lun->origin_id);
		make_texts(lun, &t);
		if (!left++ && heading)
			printf("  %s:\n", heading);
		printf("  %s\n    copy of  %s%s%s\n    set      %s, %s\n    created  %s, %llu MiB\n", t.id,
			t.origin, device ? "  " : "", device ? device : "", t.set, state_of(lun), t.created,
			(unsigned long long)(lun->size_bytes >> 20));
	}
	return left;
}

static void print_array(const struct survey *s, unsigned array, struct left *left)
{
	char id[UP_SERIAL_BYTES + 1];

	up_id_format(s->arrays[array].id, id);
	printf("array %s (%s)\n", s->arrays[array].name, id);
	if (s->faults[array][0])
		printf("  could not be asked: %s\n", s->faults[array]);
	unsigned orphans = print_those(s, array, ORPHAN_YES, NULL);
	if (!orphans && !s->faults[array][0])
		puts("  no orphans");
	left->orphans += orphans;
	left->written += print_those(
		s, array, ORPHAN_WRITTEN, "written to by a host since, and perhaps in use as a disk");
	left->here += print_those(s, array, ORPHAN_MAPPED_HERE, "no orphans: this host sees them");
	left->there += print_those(s, array, ORPHAN_MAPPED_THERE, "no orphans: another host sees them");
}

static unsigned print_json_those(const struct survey *s, unsigned array, enum orphan_verdict verdict)
{
	unsigned left = 0;
	struct texts t;

	printf("[");
	for (unsigned i = 0; i < s->shadow_count; i++) {
		const struct up_lun *lun = &s->shadows[i].lun;
		if (!is_left(&s->shadows[i], array, verdict))
			continue;
		make_texts(lun, &t);
		printf("%s{\"id\": \"%s\", \"origin\": \"%s\", \"origin_device\": ", left++ ? ", " : "", t.id,
			t.origin);
		output_json_string(stdout, device_of(&s->arrays[array], lun->origin_id));
		printf(", \"set\": \"%s\", \"set_state\": \"%s\", \"created_unix_ms\": %llu, \"size_bytes\": %llu}",
			t.set, state_of(lun), (unsigned long long)lun->created_unix_ms,
			(unsigned long long)lun->size_bytes);
	}
	printf("]");
	return left;
}

static void print_json_array(const struct survey *s, unsigned array, struct left *left)
{
	char id[UP_SERIAL_BYTES + 1];

	up_id_format(s->arrays[array].id, id);
	printf("%s{\"name\": ", array ? ", " : "");
	output_json_string(stdout, s->arrays[array].name);
	printf(", \"id\": \"%s\", \"error\": ", id);
	output_json_string(stdout, s->faults[array][0] ? s->faults[array] : NULL);
	printf(", \"orphans\": ");
	left->orphans += print_json_those(s, array, ORPHAN_YES);
	printf(", \"written\": ");
	left->written += print_json_those(s, array, ORPHAN_WRITTEN);
	printf(", \"seen_here\": ");
	left->here += print_json_those(s, array, ORPHAN_MAPPED_HERE);
	printf(", \"seen_elsewhere\": ");
	left->there += print_json_those(s, array, ORPHAN_MAPPED_THERE);
	printf("}");
}

static struct left print_all(const struct survey *s, bool json)
{
	struct left left = {0};

	if (json)
		printf("\"arrays\": [");
	for (unsigned i = 0; i < s->array_count; i++)
		(json ? print_json_array : print_array)(s, i, &left);
	if (json)
		printf("], \"complete\": %s", all_answered(s) ? "true" : "false");
	else if (s->gaps)
		puts("A device of an array does not answer: there may be orphans on an array that is not listed. \"umbra-vss\n"
		     "check\" tells more.");
	return left;
}

static void print_hint(const struct left *left)
{
	if (left->orphans)
		puts("\nNo host sees these shadow LUNs. Each is a leftover, or a transportable shadow copy that waits for its\n"
		     "import on some host. When no backup needs one: umbra-vss orphans --delete ID");
	if (left->here)
		puts("\nVSS on this host knows the copies that it imported (\"diskshadow\", list shadows all). One that it does not\n"
		     "list is of an import that failed: umbra-vss orphans --unmap ID takes it from this host; then it is an orphan.");
	if (left->there)
		puts("\nWhat other hosts see goes when the last of them deletes it, with VSS there; after a failed import, by \"umbra-vss\n"
		     "orphans --unmap ID\" there. If such a host is gone for good: umbractl shadow unmap on the array.");
	if (left->written)
		puts("\nA host wrote to these shadow LUNs after they were made: each may be a copy that was broken off its set\n"
		     "and holds somebody's data, or an import that was left behind. \"umbractl shadow break\" on the array keeps one\n"
		     "as a disk. When nobody needs one: umbra-vss orphans --delete-written ID");
}

static bool delete_all(struct survey *s, const struct orphan_words *words)
{
	bool all = true;

	if (words->json)
		printf("\"deleted\": [");
	for (unsigned i = 0; i < words->delete_count; i++) {
		char id[UP_SERIAL_BYTES + 1];
		struct outcome o;
		delete_one(s, words->ids[i], words->written[i], words->unmap[i], &o);
		all = all && o.gone;
		up_id_format(words->ids[i], id);
		if (words->json) {
			printf("%s{\"id\": \"%s\", \"gone\": %s, \"message\": ", i ? ", " : "", id,
				o.gone ? "true" : "false");
			output_json_string(stdout, o.text);
			printf("}");
		} else {
			printf("%s: %s\n", id, o.text);
		}
	}
	if (words->json)
		printf("], ");
	return all;
}

static int work(struct survey *s, const struct orphan_words *words)
{
	if (!s->array_count) {
		refusal_say("no array is reached. Connect the array's iSCSI target and run this as an "
			    "administrator; \"umbra-vss check\" tells more.");
		return 1;
	}
	if (words->json)
		printf("{");
	bool deleted = delete_all(s, words), listing = words->json || !words->delete_count;
	struct left left = {0};
	if (listing)
		left = print_all(s, words->json);
	if (words->json)
		puts("}");
	else
		print_hint(&left);
	if (words->delete_count)
		return deleted ? 0 : 1;
	return left.orphans || left.written || !all_answered(s) ? 1 : 0;
}

int orphans_run(int count, wchar_t **words)
{
	static struct orphan_words parsed;
	static struct survey s;
	int result = 1;

	if (!orphan_parse(count, words, &parsed)) {
		return refusal_words("orphans takes IDs of 32 hexadecimal digits, as it shows them",
			"Usage: umbra-vss orphans [--delete ID ...] [--delete-written ID ...] [--unmap ID ...] [--json]\n");
	}
	if (survey_make(&s))
		result = work(&s, &parsed);
	else
		refusal_say("out of memory. Free memory and try again.");
	survey_free(&s);
	return result;
}
