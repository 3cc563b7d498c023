/* SPDX-License-Identifier: Apache-2.0 */
/* See sets.h. The array judges every request by itself; nothing here makes up for a right that the host has not. */
#include "provider/sets.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>
#include <ole2.h>
#include "proto/identity.h"
#include "provider/array_client.h"
#include "provider/clock.h"
#include "provider/copies.h"
#include "provider/orphans.h"
#include "provider/output.h"
#include "provider/provider.h"
#include "provider/refusal.h"
#include "provider/set_luns.h"
#include "provider/set_words.h"

#define WHY_BYTES      480
#define RESYNC_POLL_MS 200
#define LIST_PAGES_MAX 1024

static const char usage[] =
	"Usage: umbra-vss set create --luns LUN ... | --volumes VOLUME ... [--label LABEL] [--plex|--differential] [--json]\n"
	"       umbra-vss set list [--label LABEL] [--all] [--json]\n"
	"       umbra-vss set restore SET --overwrite [--json]\n"
	"       umbra-vss set delete SET ... [--json]\n"
	"\n"
	"Copy sets without VSS: all LUNs at one instant, as after a power failure of this host, unless the application was\n"
	"made ready before (SQL Server 2022: ALTER SERVER CONFIGURATION SET SUSPEND_FOR_SNAPSHOT_BACKUP).\n"
	"  LUN       a drive (PhysicalDrive3, or 3), or an id of 32 hexadecimal digits; at most 64, of one array\n"
	"  VOLUME    D:, or where it is mounted; its file system is flushed, and all LUNs that it lies on are copied\n"
	"  --all     of list: also the sets that were made through VSS\n"
	"  restore   the set's LUNs get back what they held; their disks must be offline meanwhile\n";

struct sets {
	const struct set_words *words;
	struct array_client *client;
	unsigned array_count;
	uint8_t arrays[ARRAYS_MAX][UP_ID_BYTES];
	struct up_msg *request, *reply;
	struct array_trouble trouble;
};

/* One of this host's sets, as its array has it. */
struct found_set {
	unsigned array;
	uint32_t writers;
	unsigned count;
	struct up_lun luns[UP_PAGE_MAX_LUNS];
};

static int ask(struct sets *s, unsigned array)
{
	return array_client_request(s->client, s->arrays[array], NULL, s->request, s->reply, &s->trouble);
}

static void about_set(struct sets *s, enum up_op op, const uint8_t set_id[UP_ID_BYTES])
{
	up_request_init(s->request, op, 0);
	memcpy(s->request->set_id, set_id, UP_ID_BYTES);
	s->request->has = UP_HAS(UP_TAG_SET_ID);
}

static void about_lun(struct sets *s, enum up_op op, const uint8_t lun_id[UP_ID_BYTES])
{
	up_request_init(s->request, op, 0);
	memcpy(s->request->lun_id, lun_id, UP_ID_BYTES);
	s->request->has = UP_HAS(UP_TAG_LUN_ID);
}

/* ---- create ------------------------------------------------------------------------------------------- */

/* The array of all the LUNs. With one array it judges the LUNs itself. */
static bool array_of(struct sets *s, const struct set_luns *luns, unsigned *array)
{
	char why[WHY_BYTES];

	*array = 0;
	for (unsigned i = 0; i < luns->count && s->array_count > 1; i++) {
		uint8_t array_id[UP_ID_BYTES];
		struct up_lun lun;
		unsigned at = 0;
		int err = array_client_find_lun(s->client, luns->ids[i], &lun, array_id, &s->trouble);
		if (err < 0) {
			orphans_explain(&s->trouble, why, sizeof(why));
			if (err == -ENOENT)
				refusal_say(
					"no array that is reached has one of the LUNs: \"umbra-vss status\" shows which there are.");
			else
				refusal_say("%s.", why);
			return false;
		}
		while (at < s->array_count && memcmp(s->arrays[at], array_id, UP_ID_BYTES) != 0)
			at++;
		if (at == s->array_count || (i && at != *array)) {
			refusal_say(
				"the LUNs lie on several arrays, which have no instant in common: make a set for each.");
			return false;
		}
		*array = at;
	}
	return true;
}

static bool take_luns(const struct set_words *words, struct set_luns *luns)
{
	char why[WHY_BYTES] = "";

	memset(luns, 0, sizeof(*luns));
	for (unsigned i = 0; i < words->name_count; i++) {
		if (!set_luns_add(luns, words->names[i], words->volumes, why, sizeof(why))) {
			refusal_say("%s.", why);
			return false;
		}
	}
	return true;
}

static void print_created(struct sets *s, const uint8_t set_id[UP_ID_BYTES], uint64_t took_us)
{
	const struct up_msg *r = s->reply;
	char id[OUTPUT_SET_ID_CHARS], original[UP_SERIAL_BYTES + 1], shadow[UP_SERIAL_BYTES + 1];

	output_set_id(set_id, id);
	if (s->words->json) {
		printf("{\"set\": \"%s\", \"label\": ", id);
		output_json_string(stdout, r->label[0] ? r->label : NULL);
		printf(", \"took_us\": %llu, \"window_ns\": %llu, \"durable_ns\": %llu, \"luns\": [",
			(unsigned long long)took_us, (unsigned long long)r->window_ns,
			(unsigned long long)r->durable_ns);
	} else {
		printf("%s%s%s: %u LUNs, durable %llu.%llu ms after the request\n", id,
			r->label[0] ? " " : "", r->label, (unsigned)r->lun_count,
			(unsigned long long)(took_us / 1000), (unsigned long long)(took_us % 1000 / 100));
	}
	for (uint32_t i = 0; i < r->lun_count; i++) {
		up_id_format(r->luns[i].origin_id, original);
		up_id_format(r->luns[i].id, shadow);
		if (s->words->json)
			printf("%s{\"original\": \"%s\", \"copy\": \"%s\"}", i ? ", " : "", original, shadow);
		else
			printf("  %s  copy %s\n", original, shadow);
	}
	if (s->words->json)
		puts("]}");
}

static int create(struct sets *s)
{
	struct up_msg *m = s->request;
	struct set_luns luns;
	uint8_t set_id[UP_ID_BYTES];
	char why[WHY_BYTES];
	unsigned array;
	GUID guid;

	if (!take_luns(s->words, &luns) || !array_of(s, &luns, &array))
		return 1;
	if (FAILED(CoCreateGuid(&guid))) {
		refusal_say("Windows gives no random id: try again.");
		return 1;
	}
	provider_guid_bytes(&guid, set_id);
	about_set(s, UP_OP_SET_TAKE, set_id);
	m->has |= UP_HAS(UP_TAG_LUN_ENTRY) | UP_HAS(UP_TAG_COPY_KIND);
	m->copy_kind = (uint32_t)s->words->kind;
	m->lun_count = luns.count;
	for (unsigned i = 0; i < luns.count; i++)
		memcpy(m->luns[i].id, luns.ids[i], UP_ID_BYTES);
	if (s->words->label) {
		copies_utf8(s->words->label, m->label, sizeof(m->label));
		m->has |= UP_HAS(UP_TAG_LABEL);
		if (!m->label[0] || !strcmp(m->label, "?")) {
			refusal_say("a label has at most 63 bytes of UTF-8: give a shorter one.");
			return 1;
		}
	}
	uint64_t begun_us = clock_us();
	int err = ask(s, array);
	uint64_t took_us = clock_us() - begun_us;
	if (err == 0) {
		print_created(s, set_id, took_us);
		return 0;
	}
	orphans_explain(&s->trouble, why, sizeof(why));
	refusal_say("%s: %s.", "no set", why);
	if (err != -EPROTO)
		refusal_say(
			"it is not known whether the set was made: \"umbra-vss set list\" shows it once the array answers.");
	else if (s->trouble.status == UP_UNSUPPORTED)
		refusal_say("this umbrad takes no sets without VSS: update it.");
	return 1;
}

/* ---- finding sets ------------------------------------------------------------------------------------- */

/* Its LUNs, on whichever array it is. False: said why. */
static bool find_set(struct sets *s, const uint8_t set_id[UP_ID_BYTES], struct found_set *out)
{
	char id[OUTPUT_SET_ID_CHARS], why[WHY_BYTES] = "no array has a set of this id that is this host's";

	output_set_id(set_id, id);
	for (unsigned a = 0; a < s->array_count; a++) {
		about_set(s, UP_OP_SET_LUNS, set_id);
		int err = ask(s, a);
		if (err == -EPROTO && s->trouble.status == UP_NOT_FOUND)
			continue;
		if (err < 0) {
			orphans_explain(&s->trouble, why, sizeof(why));
			continue;
		}
		out->array = a;
		out->writers = up_has(s->reply, UP_TAG_WRITERS) ? s->reply->writers : UP_WRITERS_NOT_TOLD;
		out->count = s->reply->lun_count;
		memcpy(out->luns, s->reply->luns, out->count * sizeof(out->luns[0]));
		if (s->reply->state != UP_SET_KEPT)
			snprintf(why, sizeof(why), "it is %s, not kept", up_set_state_name(s->reply->state));
		else if (out->writers != UP_WRITERS_NO_VSS)
			snprintf(why, sizeof(why),
				"it was made through VSS, which knows it: \"umbra-vss restore\" and \"umbra-vss delete\" are for "
				"such sets");
		else
			return true;
	}
	refusal_say("%s: %s.", id, why);
	return false;
}

/* ---- list --------------------------------------------------------------------------------------------- */

struct listed {
	uint8_t set_id[UP_ID_BYTES];
	unsigned array, luns;
	uint64_t created_unix_ms;
};

struct listing {
	struct listed *sets;
	unsigned count, cap, printed;
	bool failed;
};

static bool list_add(struct listing *l, unsigned array, const struct up_lun *lun)
{
	unsigned at = 0;

	while (at < l->count &&
		(l->sets[at].array != array || memcmp(l->sets[at].set_id, lun->set_id, UP_ID_BYTES) != 0))
		at++;
	if (at == l->cap) {
		unsigned cap = l->cap ? 2 * l->cap : 64;
		struct listed *more = realloc(l->sets, cap * sizeof(*more));
		if (!more)
			return false;
		l->sets = more;
		l->cap = cap;
	}
	if (at == l->count) {
		l->sets[l->count] = (struct listed){.array = array, .created_unix_ms = lun->created_unix_ms};
		memcpy(l->sets[l->count++].set_id, lun->set_id, UP_ID_BYTES);
	}
	l->sets[at].luns++;
	return true;
}

/* The sets of which this host may manage a copy. */
static void list_array(struct sets *s, struct listing *l, unsigned array)
{
	char why[WHY_BYTES], name[UP_NAME_MAX_BYTES + 1];
	uint32_t cursor = 0;

	for (unsigned page = 0; page < LIST_PAGES_MAX; page++) {
		up_request_init(s->request, UP_OP_LIST, 0);
		s->request->cursor = cursor;
		s->request->has = UP_HAS(UP_TAG_CURSOR);
		if (ask(s, array) < 0) {
			orphans_explain(&s->trouble, why, sizeof(why));
			array_client_name(s->client, s->arrays[array], name);
			refusal_say("%s: %s.", name, why);
			l->failed = true;
			return;
		}
		for (uint32_t i = 0; i < s->reply->lun_count; i++)
			if (s->reply->luns[i].kind == UP_LUN_SHADOW &&
				!list_add(l, array, &s->reply->luns[i]))
				l->failed = true;
		if (!s->reply->cursor || s->reply->cursor <= cursor)
			return;
		cursor = s->reply->cursor;
	}
}

static void print_listed(struct sets *s, struct listing *l, const struct listed *one)
{
	const struct up_msg *r = s->reply;
	char id[OUTPUT_SET_ID_CHARS], when[OUTPUT_TIME_CHARS], name[UP_NAME_MAX_BYTES + 1];
	const char *writers = up_writers_name(up_has(r, UP_TAG_WRITERS) ? r->writers : UP_WRITERS_NOT_TOLD);

	output_set_id(one->set_id, id);
	array_client_name(s->client, s->arrays[one->array], name);
	if (s->words->json) {
		printf("%s{\"set\": \"%s\", \"label\": ", l->printed ? ", " : "", id);
		output_json_string(stdout, r->label[0] ? r->label : NULL);
		printf(", \"made_unix_ms\": %llu, \"luns\": %u, \"writers\": \"%s\", \"state\": \"%s\", \"array\": ",
			(unsigned long long)one->created_unix_ms, one->luns, writers,
			up_set_state_name(r->state));
		output_json_string(stdout, name);
		printf("}");
	} else {
		output_time(one->created_unix_ms, when);
		printf("%s  %s  %3u LUNs  %-9s  %s%s%s\n", id, when, one->luns, writers, name,
			r->label[0] ? "  " : "", r->label);
	}
	l->printed++;
}

static int list(struct sets *s)
{
	struct listing l = {0};
	char label[UP_LABEL_MAX_BYTES + 1] = "";

	if (s->words->label)
		copies_utf8(s->words->label, label, sizeof(label));
	for (unsigned a = 0; a < s->array_count; a++)
		list_array(s, &l, a);
	if (s->words->json)
		printf("{\"sets\": [");
	for (unsigned i = 0; i < l.count; i++) {
		about_set(s, UP_OP_SET_STATE, l.sets[i].set_id);
		if (ask(s, l.sets[i].array) < 0) /* another host's, or gone by now */
			continue;
		if (!s->words->all && s->reply->writers != UP_WRITERS_NO_VSS)
			continue;
		if (!s->words->label || !strcmp(label, s->reply->label))
			print_listed(s, &l, &l.sets[i]);
	}
	if (s->words->json)
		printf("], \"complete\": %s}\n", l.failed ? "false" : "true");
	free(l.sets);
	return l.failed ? 1 : 0;
}

/* ---- delete ------------------------------------------------------------------------------------------- */

static bool delete_set(struct sets *s, const struct found_set *set, char *why, size_t cap)
{
	unsigned left = 0;

	for (unsigned i = 0; i < set->count; i++) {
		about_lun(s, UP_OP_DELETE, set->luns[i].id);
		if (ask(s, set->array) < 0) {
			orphans_explain(&s->trouble, why, cap);
			return false;
		}
		left += s->reply->lun_count;
	}
	snprintf(
		why, cap, "%u LUNs of it are seen by other hosts still, and go when these delete them", left);
	return !left;
}

static int delete_sets(struct sets *s)
{
	struct found_set *set = calloc(1, sizeof(*set));
	bool all = set != NULL;

	if (s->words->json)
		printf("{\"deleted\": [");
	for (unsigned i = 0; set && i < s->words->id_count; i++) {
		char id[OUTPUT_SET_ID_CHARS], why[WHY_BYTES];
		output_set_id(s->words->ids[i], id);
		bool done = find_set(s, s->words->ids[i], set);
		if (done && !delete_set(s, set, why, sizeof(why))) {
			refusal_say("%s: %s.", id, why);
			done = false;
		}
		all = all && done;
		if (s->words->json)
			printf("%s{\"set\": \"%s\", \"done\": %s}", i ? ", " : "", id,
				done ? "true" : "false");
		else if (done)
			printf("%s: deleted\n", id);
	}
	if (s->words->json)
		puts("]}");
	free(set);
	return all ? 0 : 1;
}

/* ---- restore ------------------------------------------------------------------------------------------ */

/* Until the job has ended. */
static bool restore_lun(struct sets *s, unsigned array, const struct up_lun *lun, char *why, size_t cap)
{
	about_lun(s, UP_OP_RESYNC_START, lun->id);
	memcpy(s->request->target_id, lun->origin_id, UP_ID_BYTES);
	s->request->has |= UP_HAS(UP_TAG_TARGET_ID);
	for (;;) {
		if (ask(s, array) < 0) {
			orphans_explain(&s->trouble, why, cap);
			return false;
		}
		uint32_t state = s->reply->job_state, job = s->reply->job;
		if (state == UP_JOB_DONE)
			return true;
		if (state != UP_JOB_RUNNING) {
			snprintf(why, cap, "%s",
				s->reply->text[0] ? s->reply->text : "it was cancelled on the array");
			return false;
		}
		Sleep(RESYNC_POLL_MS);
		up_request_init(s->request, UP_OP_RESYNC_STATE, 0);
		s->request->job = job;
		s->request->has = UP_HAS(UP_TAG_JOB);
	}
}

/* Nothing is begun while Windows uses one of the disks. */
static bool all_offline(const struct found_set *set)
{
	char drive[TRANSPORT_NAME_MAX_BYTES], why[WHY_BYTES];

	for (unsigned i = 0; i < set->count; i++) {
		if (!set_lun_online(set->luns[i].origin_id, drive, sizeof(drive)))
			continue;
		snprintf(why, sizeof(why),
			"it is online: take it offline (Set-Disk -Number %s -IsOffline $true), then try again",
			drive + strlen("PhysicalDrive"));
		refusal_say("%s: %s.", drive, why);
		return false;
	}
	return true;
}

static int restore(struct sets *s)
{
	struct found_set *set = calloc(1, sizeof(*set));
	char id[OUTPUT_SET_ID_CHARS], lun[UP_SERIAL_BYTES + 1], why[WHY_BYTES];
	unsigned done = 0;

	output_set_id(s->words->ids[0], id);
	bool good = set && find_set(s, s->words->ids[0], set) && all_offline(set);
	for (; good && done < set->count; done++) {
		up_id_format(set->luns[done].origin_id, lun);
		good = restore_lun(s, set->array, &set->luns[done], why, sizeof(why));
		if (!good) {
			refusal_say("%s: %s.", lun, why);
			break;
		}
	}
	if (s->words->json)
		printf("{\"set\": \"%s\", \"restored\": %u, \"luns\": %u}\n", id, done, set ? set->count : 0);
	else if (good)
		printf("%s: %u LUNs hold again what they held then\n", id, done);
	if (!good && done)
		refusal_say("%u LUNs were restored, the others not: run it again before anybody uses them.",
			done);
	free(set);
	return good ? 0 : 1;
}

/* ---- the command -------------------------------------------------------------------------------------- */

int sets_run(int count, wchar_t **words)
{
	static int (*const verbs[])(struct sets * s) = {
		[SET_VERB_CREATE] = create,
		[SET_VERB_LIST] = list,
		[SET_VERB_RESTORE] = restore,
		[SET_VERB_DELETE] = delete_sets,
	};
	static struct set_words parsed;
	struct sets s = {.words = &parsed};
	const char *wrong = set_parse(count, words, &parsed);

	if (wrong) {
		return refusal_words(wrong, usage);
	}
	s.request = calloc(1, sizeof(*s.request));
	s.reply = calloc(1, sizeof(*s.reply));
	s.client = array_client_create(transport_spti());
	int code = 1;
	if (!s.request || !s.reply || !s.client) {
		refusal_say("out of memory: free memory and try again.");
	} else if (array_client_discover(s.client) == 0) {
		refusal_say("no array is reached; \"umbra-vss check\" tells more.");
	} else {
		s.array_count = array_client_ids(s.client, s.arrays);
		code = verbs[parsed.verb](&s);
	}
	array_client_destroy(s.client);
	free(s.request);
	free(s.reply);
	return code;
}
