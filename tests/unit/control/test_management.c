/* SPDX-License-Identifier: Apache-2.0 */
/* JSON-RPC on the management socket: its frame and errors, every method, the socket itself. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "tests/support/test.h"
#include "array/control/methods.h"
#include "tests/unit/control/rig.h"

static struct rig rig;

static int open_rig(void **state)
{
	(void)state;
	rig_open(&rig, NULL, NULL);
	return 0;
}

static int close_rig(void **state)
{
	(void)state;
	rig_close(&rig);
	return 0;
}

/* The answer to one line (owned), NULL: none. */
static json_t *line(const char *text, size_t len)
{
	char *answer = management_answer(rig.management, text, len);
	json_t *json = answer ? json_loads(answer, 0, NULL) : NULL;

	assert_true(!answer || json);
	if (json)
		assert_string_equal(json_string_value(json_object_get(json, "jsonrpc")), "2.0");
	free(answer);
	return json;
}

static int error_code(json_t *answer)
{
	return (int)json_integer_value(json_object_get(json_object_get(answer, "error"), "code"));
}

/* Asserts an error of the code, with a message and a hint. */
static void refused(const char *text, int code)
{
	json_t *answer = line(text, strlen(text));

	assert_non_null(answer);
	json_t *error = json_object_get(answer, "error");
	if (error_code(answer) != code)
		fail_msg("%s: %s", text, json_dumps(answer, 0));
	assert_true(strlen(json_string_value(json_object_get(error, "message"))) > 3);
	assert_true(strlen(json_string_value(json_object_get(json_object_get(error, "data"), "hint"))) > 3);
	json_decref(answer);
}

/* The result (owned) of a method; params in JSON with ' for ". */
static json_t *ask(const char *method, const char *params)
{
	char text[2048];

	snprintf(text, sizeof(text), "{'jsonrpc':'2.0','id':7,'method':'%s','params':%s}", method, params);
	for (char *c = text; *c; c++)
		if (*c == '\'')
			*c = '"';
	json_t *answer = line(text, strlen(text));
	assert_non_null(answer);
	assert_int_equal(json_integer_value(json_object_get(answer, "id")), 7);
	json_t *result = json_incref(json_object_get(answer, "result"));
	if (!result)
		fail_msg("%s: %s", text, json_dumps(json_object_get(answer, "error"), 0));
	json_decref(answer);
	return result;
}

static void does(const char *method, const char *params)
{
	json_decref(ask(method, params));
}

/* Asserts that it fails with the errno, and says why. */
static void fails(const char *method, const char *params, int err)
{
	char text[2048];

	snprintf(text, sizeof(text), "{'jsonrpc':'2.0','id':'x','method':'%s','params':%s}", method, params);
	for (char *c = text; *c; c++)
		if (*c == '\'')
			*c = '"';
	json_t *answer = line(text, strlen(text));
	assert_non_null(answer);
	json_t *error = json_object_get(answer, "error"), *data = json_object_get(error, "data");
	if (error_code(answer) != MGMT_FAILED || json_integer_value(json_object_get(data, "errno")) != err)
		fail_msg("%s: %s", text, json_dumps(answer, 0));
	/* What is wrong, and what to do: there, or in the hint. */
	const char *hint = json_string_value(json_object_get(data, "hint"));
	assert_true(strlen(json_string_value(json_object_get(error, "message"))) > 5);
	assert_non_null(hint);
	if (!strcmp(hint, "see umbrad's log"))
		fail_msg("%s: a refusal without a remedy: %s", text,
			json_string_value(json_object_get(error, "message")));
	json_decref(answer);
}

TEST(the_frame_is_checked)
{
	refused("{", MGMT_PARSE_ERROR);
	refused("{\"jsonrpc\":\"2.0\",\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\"}", MGMT_PARSE_ERROR);
	refused("\"\xff\"", MGMT_PARSE_ERROR);
	refused("17", MGMT_INVALID_REQUEST);
	refused("[]", MGMT_INVALID_REQUEST);
	refused("[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\"}]", MGMT_INVALID_REQUEST);
	refused("{}", MGMT_INVALID_REQUEST);
	refused("{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"status\"}", MGMT_INVALID_REQUEST);
	refused("{\"jsonrpc\":\"2.0\",\"id\":1}", MGMT_INVALID_REQUEST);
	refused("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":5}", MGMT_INVALID_REQUEST);
	refused("{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"status\"}", MGMT_INVALID_REQUEST);
	refused("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\",\"params\":[1]}", MGMT_INVALID_REQUEST);
	refused("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"nonsense\"}", MGMT_NO_METHOD);
	refused("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\",\"params\":{\"x\":1}}", MGMT_BAD_PARAMS);
	refused("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"lun.create\"}", MGMT_BAD_PARAMS);
	refused("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"lun.create\",\"params\":{\"name\":5,\"size_bytes\":1}}",
		MGMT_BAD_PARAMS);
}

TEST(a_notification_is_done_and_not_answered)
{
	static const char text[] =
		"{\"jsonrpc\":\"2.0\",\"method\":\"lun.create\",\"params\":{\"name\":\"quiet\",\"size_bytes\":1048576}}";

	assert_null(line(text, strlen(text)));
	assert_non_null(lun_find_name(rig.array, "quiet"));
	static const char unknown[] = "{\"jsonrpc\":\"2.0\",\"method\":\"nonsense\"}";
	assert_null(line(unknown, strlen(unknown)));
}

TEST(a_lun_is_made_resized_renamed_and_deleted)
{
	json_t *lun = ask("lun.create", "{'name':'a','size_bytes':67108864}");
	assert_int_equal(json_integer_value(json_object_get(lun, "size_bytes")), 64 << 20);
	assert_int_equal(strlen(json_string_value(json_object_get(lun, "id"))), 32);
	assert_string_equal(json_string_value(json_object_get(lun, "vendor")), "UMBRADEV");
	json_decref(lun);
	fails("lun.create", "{'name':'a','size_bytes':67108864}", EEXIST);
	fails("lun.create", "{'name':'two words','size_bytes':67108864}", EINVAL);
	fails("lun.create", "{'name':'small','size_bytes':1}", EINVAL);
	does("lun.resize", "{'lun':'a','size_bytes':134217728}");
	fails("lun.resize", "{'lun':'a','size_bytes':1048576}", EINVAL);
	does("lun.rename", "{'lun':'a','name':'b'}");
	fails("lun.show", "{'lun':'a'}", ENOENT);
	fails("lun.space", "{'lun':'a'}", ENOENT);
	json_t *space = ask("lun.space", "{'lun':'b'}"); /* the store in memory does not tell */
	assert_true(json_is_null(json_object_get(space, "exclusive_bytes")));
	json_decref(space);
	does("map.add", "{'lun':'b','host':'h1'}");
	does("map.add", "{'lun':'b','host':'iqn.2026-01.test:H2','number':9}");
	fails("map.add", "{'lun':'b','host':'nobody'}", ENOENT);
	fails("lun.delete", "{'lun':'b'}", EBUSY);
	fails("host.delete", "{'host':'h1'}", EBUSY);
	lun = ask("lun.show", "{'lun':'b'}");
	assert_int_equal(json_array_size(json_object_get(lun, "mapped_to")), 2);
	json_decref(lun);
	json_t *list = ask("map.list", "{}");
	assert_int_equal(json_array_size(json_object_get(list, "mappings")), 2);
	json_decref(list);
	does("map.remove", "{'lun':'b','host':'h1'}");
	does("map.remove", "{'lun':'b','host':'h2'}");
	does("lun.delete", "{'lun':'b'}");
	assert_null(lun_find_name(rig.array, "b"));
}

TEST(lists_are_paged)
{
	char params[80];

	for (unsigned i = 0; i < 25; i++) {
		snprintf(params, sizeof(params), "{'name':'lun-%u','size_bytes':1048576}", i);
		does("lun.create", params);
	}
	json_t *page = ask("lun.list", "{'limit':10}");
	assert_int_equal(json_array_size(json_object_get(page, "luns")), 10);
	assert_int_equal(json_integer_value(json_object_get(page, "next")), 10);
	json_decref(page);
	page = ask("lun.list", "{'offset':20,'limit':10}");
	assert_int_equal(json_array_size(json_object_get(page, "luns")), 5);
	assert_true(json_is_null(json_object_get(page, "next")));
	json_decref(page);
	page = ask("host.list", "{'limit':2}");
	assert_int_equal(json_integer_value(json_object_get(page, "next")), 2);
	json_decref(page);
	refused("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"lun.list\",\"params\":{\"limit\":0}}",
		MGMT_BAD_PARAMS);
	refused("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"lun.list\",\"params\":{\"offset\":-1}}",
		MGMT_BAD_PARAMS);
}

/* Every mapping is on one page, wherever the pages begin. */
TEST(mappings_are_paged)
{
	static const struct {
		const char *host, *lun;
	} all[] = {{"h1", "a"}, {"h1", "b"}, {"h1", "c"}, {"h3", "a"}, {"h3", "c"}, {"h4", "b"}};
	const unsigned count = sizeof(all) / sizeof(all[0]);
	char params[80];

	for (char lun = 'a'; lun <= 'c'; lun++) {
		snprintf(params, sizeof(params), "{'name':'%c','size_bytes':1048576}", lun);
		does("lun.create", params);
	}
	for (unsigned i = 0; i < count; i++) {
		snprintf(params, sizeof(params), "{'lun':'%s','host':'%s'}", all[i].lun, all[i].host);
		does("map.add", params);
	}
	for (unsigned limit = 1; limit <= count + 1; limit++)
		for (unsigned at = 0; at <= count; at++) {
			unsigned want = count - at < limit ? count - at : limit;

			snprintf(params, sizeof(params), "{'offset':%u,'limit':%u}", at, limit);
			json_t *page = ask("map.list", params), *list = json_object_get(page, "mappings");
			json_t *next = json_object_get(page, "next");

			assert_int_equal(json_array_size(list), want);
			for (unsigned i = 0; i < want; i++) {
				json_t *m = json_array_get(list, i);

				assert_string_equal(
					json_string_value(json_object_get(m, "host")), all[at + i].host);
				assert_string_equal(
					json_string_value(json_object_get(m, "lun")), all[at + i].lun);
			}
			if (at + want < count)
				assert_int_equal(json_integer_value(next), at + want);
			else
				assert_true(json_is_null(next));
			json_decref(page);
		}
}

/* More than a page has. */
TEST(a_host_shows_all_its_luns)
{
	char params[80];

	for (unsigned i = 1; i <= MGMT_PAGE_MAX + 5; i++) {
		snprintf(params, sizeof(params), "{'name':'lun-%u','size_bytes':1048576}", i);
		does("lun.create", params);
		snprintf(params, sizeof(params), "{'lun':'lun-%u','host':'h2'}", i);
		does("map.add", params);
	}
	json_t *host = ask("host.show", "{'host':'h2'}"), *all = json_object_get(host, "mappings");
	assert_int_equal(json_array_size(all), MGMT_PAGE_MAX + 5);
	json_t *last = json_array_get(all, MGMT_PAGE_MAX + 4);
	snprintf(params, sizeof(params), "lun-%u", MGMT_PAGE_MAX + 5);
	assert_string_equal(json_string_value(json_object_get(last, "lun")), params);
	json_decref(host);
}

TEST(secrets_never_come_out)
{
	static const char *const asks[] = {"host.list", "status"};

	json_t *host =
		ask("host.add", "{'name':'db1','iqns':['IQN.1991-05.com.microsoft:DB1'],'chap_secret':"
				"'correct horse','chap_user':'db1','mutual_chap_secret':'battery staple',"
				"'import':'named','import_hosts':['h1']}");
	char *text = json_dumps(host, 0);
	assert_null(strstr(text, "correct horse"));
	assert_null(strstr(text, "battery staple"));
	free(text);
	assert_true(json_is_true(json_object_get(host, "chap")));
	assert_true(json_is_true(json_object_get(host, "mutual_chap")));
	assert_string_equal(json_string_value(json_array_get(json_object_get(host, "iqns"), 0)),
		"iqn.1991-05.com.microsoft:db1");
	json_decref(host);
	assert_string_equal(host_record_of(host_find(rig.array, "db1"))->chap_secret, "correct horse");
	assert_string_equal(host_record_of(host_find(rig.array, "db1"))->mutual_secret, "battery staple");
	for (size_t i = 0; i < 2; i++) {
		json_t *answer = ask(asks[i], "{}");
		text = json_dumps(answer, 0);
		assert_null(strstr(text, "correct horse"));
		assert_null(strstr(text, "secret-of-host"));
		assert_null(strstr(text, "battery staple"));
		free(text);
		json_decref(answer);
	}
	for (const struct array_event *e = array_event_after(rig.array, 0); e;
		e = array_event_after(rig.array, e->serial))
		assert_true(!strstr(e->text, "correct horse") && !strstr(e->text, "battery staple"));
}

TEST(hosts_are_changed_part_by_part)
{
	does("host.add", "{'name':'db1','iqns':['iqn.x:1'],'chap_secret':'correct horse','control_lu':true}");
	does("host.set", "{'host':'db1','import':'any'}");
	const struct host_record *r = host_record_of(host_find(rig.array, "db1"));
	assert_int_equal(r->import, HOST_IMPORT_ANY);
	assert_true(r->control_lu);
	assert_string_equal(r->chap_secret, "correct horse");
	fails("host.set", "{'host':'db1','mutual_chap_secret':'short'}", EINVAL);
	fails("host.set", "{'host':'db1','mutual_chap_secret':'correct horse'}", EINVAL);
	does("host.set", "{'host':'db1','mutual_chap_secret':'battery staple'}");
	does("host.set", "{'host':'db1','import':'any'}");
	assert_string_equal(host_record_of(host_find(rig.array, "db1"))->mutual_secret, "battery staple");
	does("host.set", "{'host':'db1','control_lu':false,'control_without_chap':true,'chap_secret':''}");
	r = host_record_of(host_find(rig.array, "db1"));
	assert_false(r->control_lu);
	assert_true(r->control_without_chap);
	assert_string_equal(r->chap_secret, "");
	assert_string_equal(r->mutual_secret, ""); /* there is no proof for who gives none */
	assert_int_equal(r->import, HOST_IMPORT_ANY);
	does("host.set", "{'host':'db1','iqns':['iqn.x:2','iqn.x:3']}");
	assert_non_null(host_find_iqn(rig.array, "iqn.x:3"));
	assert_null(host_find_iqn(rig.array, "iqn.x:1"));
	fails("host.add", "{'name':'db1','iqns':['iqn.x:9']}", EEXIST);
	fails("host.add", "{'name':'db3','iqns':['iqn.x:2']}", EEXIST);
	fails("host.add", "{'name':'db3','iqns':['windows']}", EINVAL);
	fails("host.add", "{'name':'db3','iqns':['iqn.x:9'],'chap_secret':'short'}", EINVAL);
	refused("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"host.add\",\"params\":{\"name\":\"n\",\"iqns\":[\"iqn.x:9\"],"
		"\"import\":\"all\"}}",
		MGMT_BAD_PARAMS);
	refused("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"host.add\",\"params\":{\"name\":\"n\",\"iqns\":[5]}}",
		MGMT_BAD_PARAMS);
	does("host.delete", "{'host':'db1'}");
	fails("host.show", "{'host':'db1'}", ENOENT);
}

/* Two administrators change two things of one host at the same time: neither takes back what the other has done. */
TEST(changes_of_a_host_at_the_same_time_add_up)
{
	static const char *const lines[] = {
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"host.set\",\"params\":{\"host\":\"h1\",\"chap_secret\":\"another secret\"}}",
		"{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"host.set\",\"params\":{\"host\":\"h1\",\"import\":\"any\"}}",
		"{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"host.set\",\"params\":{\"host\":\"h1\",\"control_lu\":false}}"};
	const struct host_record *r = host_record_of(rig.hosts[0]);

	memstore_timing(rig.memory, MEMSTORE_TXN, MEMSTORE_MANUAL, 0);
	for (size_t i = 0; i < 3; i++)
		assert_null(management_answer(rig.management, lines[i], strlen(lines[i])));
	while (memstore_pending_kind(rig.memory, MEMSTORE_TXN)) {
		memstore_complete_kind(rig.memory, MEMSTORE_TXN);
		rig_turn(&rig, 3);
	}
	memstore_timing(rig.memory, MEMSTORE_TXN, MEMSTORE_INLINE, 0);
	assert_string_equal(r->chap_secret, "another secret");
	assert_int_equal(r->import, HOST_IMPORT_ANY);
	assert_false(r->control_lu);
}

TEST(sets_are_made_in_one_call)
{
	does("lun.create", "{'name':'a','size_bytes':1048576}");
	does("lun.create", "{'name':'b','size_bytes':1048576}");
	json_t *set = ask("set.create", "{'name':'nightly','luns':['a','b']}");
	assert_string_equal(json_string_value(json_object_get(set, "state")), "kept");
	/* no host tells of the administrator's sets */
	assert_string_equal(json_string_value(json_object_get(set, "writers")), "no VSS");
	assert_string_equal(json_string_value(json_object_get(set, "consistency")), "crash");
	assert_true(json_is_null(json_object_get(set, "held_us")) &&
		    json_is_null(json_object_get(set, "import_us")));
	json_t *members = json_object_get(set, "members");
	assert_int_equal(json_array_size(members), 2);
	const char *shadow = json_string_value(json_object_get(json_array_get(members, 0), "shadow"));
	char params[200];
	snprintf(params, sizeof(params), "{'lun':'%s','host':'h1'}", shadow);
	does("shadow.map", params);
	fails("set.delete", "{'set':'nightly'}", EBUSY);
	does("shadow.unmap", params);
	snprintf(params, sizeof(params), "{'lun':'%s'}", shadow);
	fails("lun.delete", params, EINVAL);
	does("shadow.delete", params);
	fails("shadow.delete", params, ENOENT);
	fails("shadow.delete", "{'lun':'a'}", EINVAL);
	fails("shadow.break", params, ENOENT);
	json_decref(set);
	set = ask("set.show", "{'set':'nightly'}");
	assert_int_equal(json_array_size(json_object_get(set, "members")), 1);
	json_decref(set);
	fails("set.abort", "{'set':'nightly'}", EBADFD);
	fails("set.create", "{'name':'nightly','luns':['a']}", EEXIST);
	does("set.delete", "{'set':'nightly'}");
	json_t *list = ask("shadow.list", "{}");
	assert_int_equal(json_array_size(json_object_get(list, "luns")), 0);
	json_decref(list);
}

TEST(a_locked_set_cannot_be_deleted)
{
	rig_lun(&rig, "a", 1 << 20);
	json_t *set = ask("set.create", "{'name':'nightly','luns':['a']}");
	assert_true(json_is_null(json_object_get(set, "locked_until_unix_ms")));
	json_decref(set);
	fails("set.lock", "{'set':'none','for_ms':1000}", ENOENT);
	refused("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"set.lock\",\"params\":{\"set\":\"nightly\"}}",
		-32602);
	refused("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"set.lock\",\"params\":{\"set\":\"nightly\",\"for_ms\":1000,\"until_unix_ms\":4000000000000}}",
		-32602);
	refused("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"set.lock\",\"params\":{\"set\":\"nightly\",\"for_ms\":-5}}",
		-32602);
	fails("set.lock", "{'set':'nightly','until_unix_ms':1000}", EINVAL);
	set = ask("set.lock", "{'set':'nightly','until_unix_ms':4000000000000}");
	assert_int_equal(json_integer_value(json_object_get(set, "locked_until_unix_ms")), 4000000000000);
	assert_true(json_integer_value(json_object_get(set, "lock_left_ms")) > 0);
	json_decref(set);
	fails("set.delete", "{'set':'nightly'}", EPERM);
	fails("set.lock", "{'set':'nightly','for_ms':1000}", EPERM);
	json_t *list = ask("shadow.list", "{}");
	json_t *shadow = json_array_get(json_object_get(list, "luns"), 0);
	assert_true(json_is_true(json_object_get(shadow, "locked")));
	char params[200];
	snprintf(params, sizeof(params), "{'lun':'%s'}", json_string_value(json_object_get(shadow, "name")));
	fails("shadow.delete", params, EPERM);
	fails("shadow.break", params, EPERM);
	json_decref(list);
}

static void noted(struct array_call *call)
{
	assert_int_equal(call->fault.err, 0);
}

TEST(a_hosts_set_shows_what_it_cost)
{
	static const uint8_t id[UP_ID_BYTES] = {1};
	const struct set_notes notes = {.label = "nightly",
		.writers = UP_WRITERS_TOOK_PART,
		.frozen_us = 812000,
		.flush_us = 61000,
		.commit_us = 12000,
		.release_us = 22000};
	struct array_call call = {.done = noted};
	uint8_t shadow[UP_ID_BYTES];

	assert_int_equal(set_begin(rig.array, id, "h1", NULL), 0);
	assert_int_equal(
		set_add(rig.array, id, "h1", rig_lun(&rig, "a", 1 << 20), UP_COPY_DEFAULT, shadow, NULL), 0);
	set_arm(rig.array, id, "h1", &call);
	rig_turn(&rig, 10);
	set_commit(rig.array, id, "h1", 0, &call);
	rig_turn(&rig, 10);
	json_t *set = ask("set.show", "{'set':'01000000000000000000000000000000'}");
	assert_string_equal(json_string_value(json_object_get(set, "writers")), "not told");
	assert_string_equal(json_string_value(json_object_get(set, "consistency")), "not told");
	assert_string_equal(json_string_value(json_object_get(set, "auto_recovery")), "none");
	assert_string_equal(json_string_value(json_object_get(set, "label")), "");
	assert_true(json_is_null(json_object_get(set, "frozen_us")));
	json_decref(set);
	set_note(rig.array, id, "h1", &notes, SET_NOTE_COST | SET_NOTE_LABEL, &call);
	rig_turn(&rig, 10);
	lun_notify(lun_find(rig.array, shadow), UP_NOTIFY_POST_RECOVERY, &call);
	rig_turn(&rig, 10);
	set = ask("set.show", "{'set':'01000000000000000000000000000000'}");
	assert_string_equal(json_string_value(json_object_get(set, "label")), "nightly");
	assert_string_equal(json_string_value(json_object_get(set, "writers")), "took part");
	assert_string_equal(json_string_value(json_object_get(set, "consistency")), "application");
	assert_string_equal(json_string_value(json_object_get(set, "auto_recovery")), "done");
	assert_int_equal(json_integer_value(json_object_get(set, "frozen_us")), 812000);
	assert_int_equal(json_integer_value(json_object_get(set, "held_us")), 95000);
	assert_true(json_is_null(json_object_get(set, "import_us")));
	json_decref(set);
}

TEST(a_broken_shadow_is_an_ordinary_lun)
{
	char params[200];

	does("lun.create", "{'name':'a','size_bytes':1048576}");
	json_t *set = ask("set.create", "{'name':'one','luns':['a']}");
	json_t *member = json_array_get(json_object_get(set, "members"), 0);
	snprintf(
		params, sizeof(params), "{'lun':'%s'}", json_string_value(json_object_get(member, "shadow")));
	json_decref(set);
	json_t *lun = ask("shadow.show", params);
	assert_string_equal(json_string_value(json_object_get(lun, "copy_kind")), "differential");
	assert_int_equal(json_array_size(json_object_get(lun, "notified")), 0);
	json_decref(lun);
	lun = ask("shadow.break", params);
	assert_string_equal(json_string_value(json_object_get(lun, "kind")), "ordinary");
	json_decref(lun);
	does("shadow.break", params);
	fails("shadow.show", params, EINVAL);
	fails("set.show", "{'set':'one'}", ENOENT);
	does("lun.delete", params);
	fails("shadow.break", params, ENOENT);
}

TEST(plex_copies_show_how_far_they_are)
{
	char params[200];

	does("lun.create", "{'name':'a','size_bytes':1048576}");
	refused("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"set.create\",\"params\":{\"luns\":[\"a\"],\"kind\":\"full\"}}",
		MGMT_BAD_PARAMS);
	json_t *set = ask("set.create", "{'name':'one','luns':['a'],'kind':'plex'}");
	json_t *member = json_array_get(json_object_get(set, "members"), 0);
	assert_string_equal(json_string_value(json_object_get(member, "copy")), "plex");
	snprintf(
		params, sizeof(params), "{'lun':'%s'}", json_string_value(json_object_get(member, "shadow")));
	json_decref(set);
	json_t *lun = ask("shadow.show", params);
	assert_string_equal(json_string_value(json_object_get(lun, "copy_kind")), "plex");
	assert_string_equal(json_string_value(json_object_get(lun, "hydration")), "running");
	for (unsigned i = 0; json_integer_value(json_object_get(lun, "full_percent")) < 100; i++) {
		assert_true(i < 1000);
		reactor_turn(rig.reactor, 1);
		json_decref(lun);
		lun = ask("shadow.show", params);
	}
	assert_string_equal(json_string_value(json_object_get(lun, "hydration")), "full");
	json_decref(lun);
}

TEST(the_bin_is_the_administrators)
{
	struct array_options options = {.recycle_s = 1000};
	char params[200];

	close_rig(state);
	rig_open(&rig, &options, NULL);
	does("lun.create", "{'name':'a','size_bytes':1048576}");
	json_t *set = ask("set.create", "{'name':'one','luns':['a']}");
	json_t *member = json_array_get(json_object_get(set, "members"), 0);
	snprintf(
		params, sizeof(params), "{'lun':'%s'}", json_string_value(json_object_get(member, "shadow")));
	json_decref(set);
	fails("recycle.undelete", params, ENOENT);
	does("shadow.delete", params);
	fails("shadow.show", params, ENOENT);
	json_t *list = ask("recycle.list", "{}");
	assert_int_equal(json_array_size(json_object_get(list, "luns")), 1);
	json_t *lun = json_array_get(json_object_get(list, "luns"), 0);
	assert_string_equal(json_string_value(json_object_get(lun, "origin")), "a");
	assert_int_equal(json_integer_value(json_object_get(lun, "size_bytes")), 1048576);
	assert_true(json_integer_value(json_object_get(lun, "purge_unix_ms")) >
		    json_integer_value(json_object_get(lun, "deleted_unix_ms")));
	char id[64], by_id[200];
	snprintf(id, sizeof(id), "%s", json_string_value(json_object_get(lun, "id")));
	json_decref(list);
	list = ask("status", "{}");
	assert_int_equal(json_integer_value(json_object_get(json_object_get(list, "counts"), "recycled")), 1);
	json_decref(list);
	lun = ask("recycle.undelete", params);
	assert_string_equal(json_string_value(json_object_get(lun, "kind")), "shadow");
	json_decref(lun);
	does("set.delete", "{'set':'one'}");
	snprintf(by_id, sizeof(by_id), "{'lun':'%s'}", id);
	does("recycle.purge", by_id);
	fails("recycle.purge", by_id, ENOENT);
	fails("recycle.undelete", params, ENOENT);
}

TEST(resyncs_are_jobs)
{
	char params[300];

	does("lun.create", "{'name':'a','size_bytes':2097152}");
	does("lun.create", "{'name':'s','size_bytes':1048576}");
	json_t *set = ask("set.create", "{'name':'one','luns':['a']}");
	json_t *member = json_array_get(json_object_get(set, "members"), 0);
	const char *shadow = json_string_value(json_object_get(member, "shadow"));
	snprintf(params, sizeof(params), "{'shadow':'%s','target':'s'}", shadow);
	fails("resync.start", params, EINVAL);
	fails("resync.start", "{'shadow':'a','target':'s'}", EINVAL);
	fails("resync.start", "{'shadow':'a','target':'nobody'}", ENOENT);
	fails("resync.state", "{'job':1}", ENOENT);
	fails("resync.cancel", "{'job':1}", ENOENT);
	refused("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"resync.state\",\"params\":{\"job\":0}}",
		MGMT_BAD_PARAMS);
	snprintf(params, sizeof(params), "{'shadow':'%s','target':'a'}", shadow);
	json_t *job = ask("resync.start", params);
	assert_string_equal(json_string_value(json_object_get(job, "state")), "done");
	assert_string_equal(json_string_value(json_object_get(job, "target")), "a");
	assert_string_equal(json_string_value(json_object_get(job, "shadow")), shadow);
	assert_int_equal(json_integer_value(json_object_get(job, "percent")), 100);
	assert_true(json_is_null(json_object_get(job, "error")));
	snprintf(params, sizeof(params), "{'job':%d}", (int)json_integer_value(json_object_get(job, "job")));
	json_decref(job);
	does("resync.state", params);
	does("resync.cancel", params);
	job = ask("resync.list", "{}");
	assert_int_equal(json_array_size(json_object_get(job, "jobs")), 1);
	json_decref(job);
	json_decref(set);
}

TEST(a_set_that_fails_leaves_nothing)
{
	does("lun.create", "{'name':'a','size_bytes':1048576}");
	fails("set.create", "{'luns':['a','nobody']}", ENOENT);
	refused("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"set.create\",\"params\":{\"luns\":[]}}",
		MGMT_BAD_PARAMS);
	memstore_fail(rig.memory, 1, -ENOSPC, false);
	fails("set.create", "{'name':'full','luns':['a']}", ENOSPC);
	json_t *list = ask("set.list", "{}");
	assert_int_equal(json_array_size(json_object_get(list, "sets")), 0);
	json_decref(list);
	json_t *set = ask("set.create", "{'luns':['a'],'keep':false}");
	assert_string_equal(json_string_value(json_object_get(set, "state")), "committed");
	char params[80];
	snprintf(params, sizeof(params), "{'set':'%s'}", json_string_value(json_object_get(set, "id")));
	json_decref(set);
	fails("set.delete", params, EBADFD);
	json_t *shadows = ask("shadow.list", "{}");
	char map[200];
	snprintf(map, sizeof(map), "{'host':'h1','lun':'%s'}",
		json_string_value(
			json_object_get(json_array_get(json_object_get(shadows, "luns"), 0), "name")));
	json_decref(shadows);
	fails("shadow.map", map, EBADFD);
	does("set.abort", params);
	list = ask("shadow.list", "{}");
	assert_int_equal(json_array_size(json_object_get(list, "luns")), 0);
	json_decref(list);
}

TEST(sets_are_listed_by_the_beginning_of_their_names)
{
	does("lun.create", "{'name':'a','size_bytes':1048576}");
	does("set.create", "{'name':'nightly-1','luns':['a']}");
	does("set.create", "{'name':'first','luns':['a']}");
	does("set.create", "{'name':'nightly-2','luns':['a']}");
	json_t *list = ask("set.list", "{'prefix':'nightly-'}");
	assert_int_equal(json_array_size(json_object_get(list, "sets")), 2);
	json_decref(list);
	list = ask("set.list", "{'prefix':'nightly-','offset':1,'limit':1}");
	const json_t *only = json_array_get(json_object_get(list, "sets"), 0);
	assert_string_equal(json_string_value(json_object_get(only, "name")), "nightly-2");
	assert_true(json_is_null(json_object_get(list, "next")));
	json_decref(list);
	list = ask("set.list", "{'prefix':'night'}");
	assert_int_equal(json_array_size(json_object_get(list, "sets")), 2);
	json_decref(list);
	list = ask("set.list", "{'prefix':'none'}");
	assert_int_equal(json_array_size(json_object_get(list, "sets")), 0);
	json_decref(list);
}

/* Whatever the store fails with, the administrator is told what to do, in words that fit. */
TEST(failures_of_the_store_tell_what_to_do)
{
	static const struct {
		int err;
		const char *word;
	} rows[] = {{EIO, "disk"}, {ENOSPC, "delete"}, {EROFS, "restart umbrad"}, {ENOMEM, "memory"},
		{EUCLEAN, "pool check"}, {ESHUTDOWN, "when umbrad runs"}, {EAGAIN, "again"}, {ENXIO, "disk"}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		static const char text[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"lun.create\","
					   "\"params\":{\"name\":\"a\",\"size_bytes\":1048576}}";
		memstore_fail(rig.memory, 2, -rows[i].err, false); /* the first is that for memory */
		json_t *answer = line(text, strlen(text));
		json_t *error = json_object_get(answer, "error"), *data = json_object_get(error, "data");
		const char *message = json_string_value(json_object_get(error, "message"));
		const char *hint = json_string_value(json_object_get(data, "hint"));
		assert_int_equal(json_integer_value(json_object_get(data, "errno")), rows[i].err);
		if (!strstr(message, rows[i].word) || !hint)
			fail_msg("%s: %s (%s)", strerror(rows[i].err), message, hint);
		json_decref(answer);
	}
	does("lun.create", "{'name':'a','size_bytes':1048576}");
}

/* A name in a refusal is cut, perhaps within a character: the answer comes all the same. */
TEST(a_refusal_may_cut_a_character)
{
	char name[400], params[500];

	for (size_t pad = 0; pad < 4; pad++) {
		size_t used = pad;
		memset(name, 'x', pad);
		while (used + 3 < 300) {
			memcpy(name + used, "\xe2\x82\xac", 3);
			used += 3;
		}
		name[used] = '\0';
		snprintf(params, sizeof(params), "{'lun':'%s'}", name);
		fails("lun.show", params, ENOENT);
		snprintf(params, sizeof(params), "{'set':'%s'}", name);
		fails("set.show", params, ENOENT);
		snprintf(params, sizeof(params), "{'name':'%s','size_bytes':1048576}", name);
		fails("lun.create", params, EINVAL);
		char text[700];
		snprintf(text, sizeof(text),
			"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\",\"params\":{\"%s\":1}}", name);
		json_t *answer = line(text, strlen(text));
		assert_non_null(answer);
		assert_int_equal(error_code(answer), MGMT_BAD_PARAMS);
		json_decref(answer);
	}
}

struct flagged {
	struct array_call call;
	bool done;
};

static void flagged_done(struct array_call *call)
{
	container_of(call, struct flagged, call)->done = true;
}

TEST(the_status_is_whole)
{
	json_t *status = ask("status", "{}");
	json_t *counts = json_object_get(status, "counts");
	assert_int_equal(json_integer_value(json_object_get(counts, "hosts")), RIG_HOSTS);
	assert_int_equal(
		json_integer_value(json_object_get(json_object_get(status, "limits"), "set_luns_max")), 64);
	assert_string_equal(
		json_string_value(json_object_get(json_object_get(status, "array"), "name")), "rig");
	assert_true(json_is_array(json_object_get(status, "sessions")));
	json_decref(status);
	does("pool.status", "{}");
	does("stats", "{}");
	does("session.list", "{}");
	json_t *events = ask("events.list", "{'limit':2}");
	assert_int_equal(json_array_size(json_object_get(events, "events")), 2);
	assert_true(json_is_true(json_object_get(events, "more")));
	json_decref(events);
	does("events.follow", "{'after':1000}");
}

/* ---- sessions --------------------------------------------------------------------------------------- */

#define CROWD 2500 /* sessions; every fifth is h2's */

static bool crowd(void *ctx, unsigned index, struct management_session *out)
{
	(void)ctx;
	*out = (struct management_session){.commands = index};
	snprintf(out->initiator, sizeof(out->initiator), "iqn.2026-01.test:h%u", index % 5 ? 1u : 2u);
	return index < CROWD;
}

static void all_sessions(const char *host, unsigned step)
{
	json_int_t offset = 0, expected = 0, pages = 0;

	for (bool more = true; more; pages++) {
		char params[80];
		json_t *session;
		size_t i;

		snprintf(params, sizeof(params), "{'offset':%d%s}", (int)offset, host);
		json_t *page = ask("session.list", params), *next = json_object_get(page, "next");
		json_array_foreach(json_object_get(page, "sessions"), i, session)
		{
			while (step == 1 && *host && expected % 5 == 0)
				expected++;
			assert_int_equal(json_integer_value(json_object_get(session, "commands")), expected);
			expected += step;
		}
		more = json_is_integer(next);
		offset = json_integer_value(next);
		json_decref(page);
	}
	assert_int_equal(expected, CROWD);
	assert_true(pages > 1);
}

TEST(all_sessions_are_listed)
{
	const struct management_transport transport = {.session = crowd};
	struct management *own = rig.management;
	struct management_options options = {.array = rig.array,
		.reactor = rig.reactor,
		.socket_path = "/nonexistent",
		.transport = &transport};

	rig.management = management_headless(&options);
	assert_non_null(rig.management);
	all_sessions("", 1);
	all_sessions(",'host':'h2'", 5);
	all_sessions(",'host':'h1'", 1);
	fails("session.list", "{'host':'nobody'}", ENOENT);
	json_t *page = ask("session.list", "{'offset':2499,'limit':1}");
	assert_true(json_is_null(json_object_get(page, "next")));
	json_decref(page);
	management_destroy(rig.management);
	rig.management = own;
}

static json_int_t set_aside(const char *method)
{
	json_t *result = ask(method, "{}"), *pool = json_object_get(result, "pool");
	json_t *bytes = json_object_get(pool ? pool : result, "reserved_bytes");

	assert_true(json_is_integer(bytes));
	json_int_t value = json_integer_value(bytes);
	json_decref(result);
	return value;
}

/* A pool that refuses sets though it has free space: what is set aside shows. */
TEST(the_status_shows_what_is_set_aside)
{
	static const uint8_t id[UP_ID_BYTES] = {7};
	const char *owner = rig.nexus[0].initiator;
	uint8_t shadow_id[UP_ID_BYTES];
	struct flagged w = {.call.done = flagged_done};

	struct lun *lun = rig_lun(&rig, "a", 16 << 20);
	assert_int_equal(set_aside("status"), 0);
	assert_int_equal(set_begin(rig.array, id, owner, NULL), 0);
	assert_int_equal(set_add(rig.array, id, owner, lun, UP_COPY_DEFAULT, shadow_id, NULL), 0);
	set_arm(rig.array, id, owner, &w.call);
	rig_until(&rig, &w.done);
	assert_int_equal(w.call.fault.err, 0);
	assert_int_equal(set_aside("status"), 576 << 10);
	assert_int_equal(set_aside("pool.status"), 576 << 10);
	w.done = false;
	set_abort(rig.array, id, owner, &w.call);
	rig_until(&rig, &w.done);
	assert_int_equal(set_aside("pool.status"), 0);
}

/* ---- the socket ----------------------------------------------------------------------------------- */

static char socket_path[100];

static struct management *serve(void)
{
	struct management *m;
	struct fault fault = {0};
	struct management_options options = {
		.array = rig.array, .reactor = rig.reactor, .socket_path = socket_path, .connections_max = 2};

	snprintf(socket_path, sizeof(socket_path), "/tmp/umbra-test-%d/sock", (int)getpid());
	if (management_create(&options, &m, &fault))
		fail_msg("%s", fault.text);
	return m;
}

static void flag_up(void *arg)
{
	*(bool *)arg = true;
}

static void unserve(struct management *m)
{
	bool stopped = false;

	management_stop(m, flag_up, &stopped);
	rig_until(&rig, &stopped);
	management_destroy(m);
	assert_int_not_equal(access(socket_path, F_OK), 0);
	*strrchr(socket_path, '/') = '\0';
	rmdir(socket_path);
}

static int dial(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	memcpy(address.sun_path, socket_path, strlen(socket_path) + 1);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* Turns until the peer sent a line (into text), or ended (false). */
static bool hear(int fd, char *text, size_t size)
{
	size_t used = 0;

	for (unsigned i = 0; i < 5000; i++) {
		ssize_t got = recv(fd, text + used, 1, 0);
		if (got == 0)
			return false;
		if (got < 0) {
			reactor_turn(rig.reactor, 1);
			continue;
		}
		if (text[used] == '\n') {
			text[used] = '\0';
			return true;
		}
		used += used < size - 2;
	}
	fail_msg("no answer");
	return false;
}

static void say(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t sent = send(fd, text, len, MSG_NOSIGNAL);
		if (sent <= 0) {
			reactor_turn(rig.reactor, 1);
			if (errno != EAGAIN)
				return;
			continue;
		}
		text += sent;
		len -= (size_t)sent;
	}
}

#define STATUS "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"pool.status\"}\n"

TEST(the_socket_serves)
{
	struct management *m = serve(), *other;
	char text[4096];
	struct stat st;
	struct fault fault = {0};

	assert_int_equal(stat(socket_path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	int fd = dial();
	say(fd, "\n  \r\n" STATUS STATUS "{bad\n", 3 + 4 + 2 * strlen(STATUS) + 3);
	for (unsigned i = 0; i < 2; i++) {
		assert_true(hear(fd, text, sizeof(text)));
		assert_non_null(strstr(text, "capacity_bytes"));
	}
	assert_true(hear(fd, text, sizeof(text)));
	assert_non_null(strstr(text, "-32700"));
	/* in pieces */
	for (const char *c = STATUS; *c; c++) {
		say(fd, c, 1);
		reactor_turn(rig.reactor, 0);
	}
	assert_true(hear(fd, text, sizeof(text)));
	/* a second daemon must not take the socket */
	struct management_options options = {
		.array = rig.array, .reactor = rig.reactor, .socket_path = socket_path};
	assert_int_equal(management_create(&options, &other, &fault), -EADDRINUSE);
	assert_non_null(strstr(fault.text, "Another umbrad"));
	/* too many (its look at the socket was a connection, too) */
	rig_turn(&rig, 20);
	int second = dial(), third = dial();
	assert_true(hear(third, text, sizeof(text)));
	assert_non_null(strstr(text, "-32001"));
	assert_false(hear(third, text, sizeof(text)));
	close(third);
	close(second);
	close(fd);
	unserve(m);
}

TEST(too_long_a_line_ends_the_connection)
{
	static char big[MGMT_MESSAGE_MAX_BYTES + 100];
	struct management *m = serve();
	char text[4096];

	int fd = dial();
	memset(big, 'x', sizeof(big));
	say(fd, big, sizeof(big));
	assert_true(hear(fd, text, sizeof(text)));
	assert_non_null(strstr(text, "65536"));
	assert_false(hear(fd, text, sizeof(text)));
	close(fd);
	unserve(m);
}

TEST(followers_get_events_and_slow_ones_are_cut)
{
	struct management *m = serve();
	char text[4096];

	int fd = dial(), slow = dial();
	static const char follow[] =
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"events.follow\",\"params\":{\"after\":2}}\n";
	say(fd, follow, strlen(follow));
	assert_true(hear(fd, text, sizeof(text)));
	assert_non_null(strstr(text, "following"));
	assert_true(hear(fd, text, sizeof(text)));
	assert_non_null(strstr(text, "\"serial\":3"));
	array_event_tell(rig.array, ARRAY_EVENT_WARNING, "lun", "odd \xff bytes");
	unsigned heard = 0;
	do
		assert_true(hear(fd, text, sizeof(text)) && ++heard < 50);
	while (!strstr(text, "odd ? bytes"));
	say(slow, follow, strlen(follow));
	rig_turn(&rig, 20);
	for (unsigned i = 0; i < 60000; i++)
		array_event_tell(rig.array, ARRAY_EVENT_INFO, "lun", "%0200u", i);
	rig_turn(&rig, 20);
	close(fd);
	/* both were cut off: the daemon holds no more than its bound, and there is room again */
	int again = dial();
	say(again, STATUS, strlen(STATUS));
	rig_turn(&rig, 20);
	assert_true(hear(again, text, sizeof(text)));
	assert_non_null(strstr(text, "capacity_bytes"));
	close(slow);
	close(again);
	unserve(m);
}

TEST(a_peer_may_go_in_the_middle_of_a_call)
{
	struct management *m = serve();

	memstore_timing(rig.memory, MEMSTORE_TXN, MEMSTORE_TIMED, 30);
	int fd = dial();
	static const char create[] =
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"lun.create\",\"params\":{\"name\":\"x\",\"size_bytes\":1048576}}\n";
	say(fd, create, strlen(create));
	rig_turn(&rig, 10);
	close(fd);
	rig_turn(&rig, 10);
	unserve(m);
	assert_non_null(lun_find_name(rig.array, "x"));
}

#define WITH_RIG(test) cmocka_unit_test_setup_teardown(test, open_rig, close_rig)

/* The array as a controller has it that stands by: each method answers, or says who does. One that is new has no mark, and is refused. */
TEST(who_stands_by_answers_what_it_knows)
{
	static const char *const known[] = {"controller.list", "controller.move", "events.follow",
		"events.list", "host.list", "host.show", "load.hosts", "load.luns", "lun.list", "lun.show",
		"lun.space", "map.list", "session.list", "session.logout", "shadow.list", "shadow.show",
		"stats", "status"};
	struct array_options *options = (struct array_options *)(uintptr_t)array_settings(rig.array);
	unsigned answered = 0;
	char text[256];

	options->standby = true;
	for (size_t t = 0; t < mgmt_table_count; t++)
		for (const struct mgmt_method *m = mgmt_tables[t]; m->name; m++) {
			bool is_known = false;
			for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
				is_known |= strcmp(m->name, known[i]) == 0;
			snprintf(text, sizeof(text),
				"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"%s\",\"params\":{\"none such\":1}}",
				m->name);
			json_t *answer = line(text, strlen(text));
			const char *message = json_string_value(
				json_object_get(json_object_get(answer, "error"), "message"));
			/* who answers looks at the params */
			if (is_known != (error_code(answer) == MGMT_BAD_PARAMS) ||
				is_known == (strstr(message, "this controller stands by") != NULL))
				fail_msg("%s: %s", m->name, message);
			answered += is_known;
			json_decref(answer);
		}
	assert_int_equal(answered, sizeof(known) / sizeof(known[0]));
	fails("set.list", "{}", ESHUTDOWN);
	/* nor are there numbers of what it has not read */
	json_t *status = ask("status", "{}"), *counts = json_object_get(status, "counts");
	assert_true(json_is_integer(json_object_get(counts, "hosts")));
	static const char *const unknown[] = {"sets", "sets_unkept", "recycled", "recycled_bytes"};
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
		assert_true(json_is_null(json_object_get(counts, unknown[i])));
	json_decref(status);
	options->standby = false;
	does("set.list", "{}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_RIG(the_frame_is_checked),
		WITH_RIG(a_notification_is_done_and_not_answered),
		WITH_RIG(a_lun_is_made_resized_renamed_and_deleted),
		WITH_RIG(lists_are_paged),
		WITH_RIG(mappings_are_paged),
		WITH_RIG(a_host_shows_all_its_luns),
		WITH_RIG(secrets_never_come_out),
		WITH_RIG(hosts_are_changed_part_by_part),
		WITH_RIG(changes_of_a_host_at_the_same_time_add_up),
		WITH_RIG(sets_are_made_in_one_call),
		WITH_RIG(a_locked_set_cannot_be_deleted),
		WITH_RIG(a_hosts_set_shows_what_it_cost),
		WITH_RIG(a_broken_shadow_is_an_ordinary_lun),
		WITH_RIG(plex_copies_show_how_far_they_are),
		WITH_RIG(the_bin_is_the_administrators),
		WITH_RIG(resyncs_are_jobs),
		WITH_RIG(a_set_that_fails_leaves_nothing),
		WITH_RIG(sets_are_listed_by_the_beginning_of_their_names),
		WITH_RIG(failures_of_the_store_tell_what_to_do),
		WITH_RIG(a_refusal_may_cut_a_character),
		WITH_RIG(the_status_is_whole),
		WITH_RIG(all_sessions_are_listed),
		WITH_RIG(the_status_shows_what_is_set_aside),
		WITH_RIG(the_socket_serves),
		WITH_RIG(too_long_a_line_ends_the_connection),
		WITH_RIG(followers_get_events_and_slow_ones_are_cut),
		WITH_RIG(a_peer_may_go_in_the_middle_of_a_call),
		WITH_RIG(who_stands_by_answers_what_it_knows),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
