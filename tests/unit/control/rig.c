/* SPDX-License-Identifier: Apache-2.0 */
/* See rig.h. */
#include "tests/unit/control/rig.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const struct lun *rig_reserved;

static void nothing_changed(struct host_nexus *n)
{
	(void)n;
}

static void nothing_resized(struct host_nexus *n, struct lun *lun, uint32_t number)
{
	(void)n;
	(void)lun;
	(void)number;
}

static bool not_reserved(struct host_nexus *n, struct lun *lun)
{
	(void)n;
	return lun != rig_reserved;
}

static const struct host_nexus_ops nexus_ops = {
	.may_write = not_reserved,
	.mappings_changed = nothing_changed,
	.lun_resized = nothing_resized,
	.lun_protected = nothing_resized,
	.lun_replaced = nothing_resized,
	.lun_unmapped = nothing_resized,
	.host_revoked = nothing_changed,
};

struct waiting {
	struct array_call call;
	bool done;
};

static void call_done(struct array_call *call)
{
	container_of(call, struct waiting, call)->done = true;
}

void rig_until(struct rig *rig, const bool *flag)
{
	for (unsigned i = 0; !*flag; i++) {
		assert(i < 5000);
		int made = reactor_turn(rig->reactor, 1);
		assert(made >= 0);
	}
}

void rig_turn(struct rig *rig, unsigned turns)
{
	while (turns--)
		reactor_turn(rig->reactor, 0);
}

static void finish(struct rig *rig, struct waiting *w)
{
	rig_until(rig, &w->done);
	if (w->call.fault.err)
		fprintf(stderr, "rig: %s\n", w->call.fault.text);
	assert(!w->call.fault.err);
}

static void add_host(struct rig *rig, unsigned i)
{
	struct host_record record = {.import = i == 3 ? HOST_IMPORT_ANY : HOST_IMPORT_OWN,
		.iqn_count = 1,
		.control_lu = true,
		.control_without_chap = i == 3};
	struct waiting w = {.call.done = call_done};

	snprintf(record.name, sizeof(record.name), "h%u", i + 1);
	snprintf(record.iqns[0], sizeof(record.iqns[0]), "iqn.2026-01.test:h%u", i + 1);
	if (i < 2)
		snprintf(record.chap_secret, sizeof(record.chap_secret), "secret-of-host-%u", i + 1);
	host_add(rig->array, &record, &w.call);
	finish(rig, &w);
	rig->hosts[i] = w.call.host;
	rig->nexus[i].ops = &nexus_ops;
	rig->nexus[i].authenticated = i < 2;
	snprintf(rig->nexus[i].initiator, sizeof(rig->nexus[i].initiator), "%s", record.iqns[0]);
	int err = host_nexus_attach(rig->array, &rig->nexus[i]);
	assert(!err);
}

void rig_open(struct rig *rig, const struct array_options *options, const struct inband_options *inband)
{
	struct array_options array = options ? *options : (struct array_options){0};
	struct inband_options door = inband ? *inband : (struct inband_options){0};
	struct fault fault = {0};

	memset(rig, 0, sizeof(*rig));
	rig_reserved = NULL;
	rig->memory = memstore_create(0);
	assert(rig->memory);
	int err = reactor_create(&rig->reactor, NULL);
	assert(!err);
	rig->store = memstore_open(rig->memory, rig->reactor);
	array.reactor = rig->reactor;
	array.store = rig->store;
	array.name = "rig";
	err = array_open(&array, &rig->array, &fault);
	assert(!err);
	door.array = rig->array;
	door.reactor = rig->reactor;
	err = inband_create(&door, &rig->inband);
	assert(!err);
	struct management_options management = {.array = rig->array,
		.reactor = rig->reactor,
		.socket_path = "/nonexistent",
		.pool_path = "/memory"};
	rig->management = management_headless(&management);
	assert(rig->management);
	for (unsigned i = 0; i < RIG_HOSTS; i++)
		add_host(rig, i);
	rig->second.ops = &nexus_ops;
	rig->second.authenticated = true;
	snprintf(rig->second.initiator, sizeof(rig->second.initiator), "IQN.2026-01.test:H1");
	err = host_nexus_attach(rig->array, &rig->second);
	assert(!err);
}

static void flag_up(void *arg)
{
	*(bool *)arg = true;
}

static void store_closed(void *arg, int err)
{
	(void)err;
	*(bool *)arg = true;
}

void rig_close(struct rig *rig)
{
	bool idle = false, closed = false, stopped = false;

	inband_stop(rig->inband, flag_up, &idle);
	rig_until(rig, &idle);
	management_stop(rig->management, flag_up, &stopped);
	rig_until(rig, &stopped);
	management_destroy(rig->management);
	for (unsigned i = 0; i < RIG_HOSTS; i++)
		if (rig->nexus[i].host)
			host_nexus_detach(rig->array, &rig->nexus[i]);
	host_nexus_detach(rig->array, &rig->second);
	inband_destroy(rig->inband);
	stopped = false;
	array_stop(rig->array, flag_up, &stopped);
	rig_until(rig, &stopped);
	array_close(rig->array);
	rig->store->ops->close(rig->store, store_closed, &closed);
	rig_until(rig, &closed);
	reactor_destroy(rig->reactor);
	memstore_destroy(rig->memory);
}

struct lun *rig_lun(struct rig *rig, const char *name, uint64_t size_bytes)
{
	struct waiting w = {.call.done = call_done};

	lun_create(rig->array, name, size_bytes, &w.call);
	finish(rig, &w);
	return lun_find_name(rig->array, name);
}

uint32_t rig_map(struct rig *rig, unsigned host, struct lun *lun)
{
	struct waiting w = {.call.done = call_done};

	map_add(rig->hosts[host], lun, 0, 0, NULL, &w.call);
	finish(rig, &w);
	return w.call.number;
}

void rig_lock(struct rig *rig, const uint8_t set_id[UP_ID_BYTES], uint64_t for_ms)
{
	struct waiting w = {.call.done = call_done};

	set_lock_for(rig->array, set_id, for_ms, &w.call);
	finish(rig, &w);
	assert(!w.call.fault.err);
}

/* ---- in-band -------------------------------------------------------------------------------------- */

void rig_request(struct rig *rig, struct up_msg *m, enum up_op op)
{
	up_request_init(m, op, ++rig->next_request_id);
}

void rig_set_id(struct up_msg *m, const uint8_t id[UP_ID_BYTES])
{
	memcpy(m->set_id, id, UP_ID_BYTES);
	m->has |= UP_HAS(UP_TAG_SET_ID);
}

void rig_lun_id(struct up_msg *m, const uint8_t id[UP_ID_BYTES])
{
	memcpy(m->lun_id, id, UP_ID_BYTES);
	m->has |= UP_HAS(UP_TAG_LUN_ID);
}

int rig_post(struct rig *rig, struct host_nexus *n, struct lun *lun, uint16_t slot, const struct up_msg *m)
{
	static uint8_t wire[UP_REQUEST_MAX_BYTES];
	size_t len = up_encode(m, wire, sizeof(wire));

	assert(len);
	return inband_out(rig->inband, n, lun, slot, wire, len);
}

struct fetching {
	bool done;
	long result;
};

static void fetched(void *arg, long result)
{
	struct fetching *f = arg;

	assert(!f->done);
	f->done = true;
	f->result = result;
}

bool rig_fetch(struct rig *rig, struct host_nexus *n, uint16_t slot, struct up_msg *reply)
{
	static uint8_t wire[UP_REPLY_MAX_BYTES];
	struct fetching f = {0};

	inband_in(rig->inband, n, slot, wire, sizeof(wire), fetched, &f);
	rig_until(rig, &f.done);
	if (f.result < 0)
		return false;
	enum up_status status = up_decode(reply, wire, (size_t)f.result);
	assert(status == UP_OK && reply->is_reply);
	return true;
}

enum up_status rig_ask(struct rig *rig, struct host_nexus *n, const struct up_msg *m, struct up_msg *reply)
{
	int err = rig_post(rig, n, NULL, 1, m);

	assert(!err);
	bool there;
	do
		there = rig_fetch(rig, n, 1, reply);
	while (there && reply->status == UP_PENDING);
	assert(there && reply->request_id == m->request_id && reply->op == m->op);
	if (reply->status != UP_OK) { /* what is wrong, and behind it what to do */
		assert(up_has(reply, UP_TAG_TEXT));
		if (strlen(reply->text) <= 20 || !strpbrk(reply->text, ":;"))
			fprintf(stderr, "rig: a refusal without a remedy: %s\n", reply->text);
		assert(strlen(reply->text) > 20 && strpbrk(reply->text, ":;"));
	}
	return (enum up_status)reply->status;
}
