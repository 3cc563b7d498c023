/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any CDBs with any data, from three nexuses, to LUNs in memory, mixed with task management, closed gates,
 * held I/O and mapping changes. The input is a script: see step(). Nothing may be read or written out of
 * bounds (each buffer is exactly as long as was asked for), every task ends once, and in the end nothing is
 * held.
 */
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "tests/unit/scsi/fake_array.h"

#define NEXUSES   3
#define TASKS_MAX 64
#define CALLS_MAX 16

struct entry {
	struct scsi_task task;
	uint8_t *data;
	bool used, begun, done;
};

static struct scsi_target *target;
static struct scsi_nexus *nexuses[NEXUSES];
static struct entry entries[TASKS_MAX];
static struct scsi_tmf_call calls[CALLS_MAX];
static bool call_used[CALLS_MAX];
static struct {
	uint8_t message[64];
	uint8_t *buf;
	size_t cap;
	void (*done)(void *arg, long result);
	void *arg;
} box;

struct input {
	const uint8_t *at, *end;
};

static uint8_t take(struct input *in)
{
	return in->at < in->end ? *in->at++ : 0;
}

static int box_out(
	void *ctx, struct host_nexus *nexus, struct lun *lun, uint16_t slot, const uint8_t *data, size_t len)
{
	(void)ctx;
	(void)nexus;
	(void)lun;
	memcpy(box.message, data, len < sizeof(box.message) ? len : sizeof(box.message));
	return slot & 1 ? -ENOBUFS : 0;
}

static void *box_in(void *ctx, struct host_nexus *nexus, uint16_t slot, uint8_t *buf, size_t cap,
	void (*done)(void *arg, long result), void *arg)
{
	(void)ctx;
	(void)nexus;
	if ((slot & 1) || box.done) {
		memset(buf, 1, cap);
		done(arg, (slot & 2) ? -ENOENT : (long)cap);
		return NULL;
	}
	box.buf = buf;
	box.cap = cap;
	box.done = done;
	box.arg = arg;
	return &box;
}

static void box_cancel(void *ctx, void *token)
{
	(void)ctx;
	assert(token == &box && box.done);
	box.done = NULL;
}

static void box_end(void)
{
	void (*done)(void *arg, long result) = box.done;

	if (!done)
		return;
	box.done = NULL;
	memset(box.buf, 2, box.cap);
	done(box.arg, (long)box.cap);
}

static void task_done(struct scsi_task *task)
{
	struct entry *e = container_of(task, struct entry, task);

	assert(e->used && e->begun && !e->done);
	e->done = true;
	assert(task->sense_len <= SCSI_SENSE_MAX_BYTES);
	assert(task->status != SCSI_STATUS_CHECK_CONDITION || task->sense_len >= 8);
	free(e->data);
	memset(e, 0xDD, sizeof(*e));
	e->used = false;
}

static void call_done(struct scsi_tmf_call *call, enum scsi_tmf_result result)
{
	(void)result;
	assert(call_used[call - calls]);
	call_used[call - calls] = false;
}

static void command(struct input *in)
{
	uint8_t flags = take(in), lun = take(in), len;
	struct entry *e = NULL;

	for (unsigned i = 0; i < TASKS_MAX && !e; i++)
		if (!entries[i].used)
			e = &entries[i];
	if (!e || !nexuses[flags % NEXUSES])
		return;
	memset(e, 0xDD, sizeof(*e));
	e->used = true;
	e->begun = e->done = false;
	e->task.nexus = nexuses[flags % NEXUSES];
	memset(e->task.lun, 0, sizeof(e->task.lun));
	e->task.lun[0] = lun & 0xC0;
	e->task.lun[1] = lun & 7;
	memset(e->task.cdb, 0, sizeof(e->task.cdb));
	len = take(in) % 17;
	for (unsigned i = 0; i < len; i++)
		e->task.cdb[i] = take(in);
	e->task.cdb_len = flags & 0x80 ? (len ? len : 1) : 16;
	e->task.attribute = (flags >> 4 & 7) % 5;
	e->task.tag = lun >> 4 & 3;
	e->task.done = task_done;
	if (!scsi_task_parse(&e->task)) {
		assert(e->task.status != SCSI_STATUS_GOOD && !e->task.data_len);
		e->used = false;
		return;
	}
	assert(e->task.data_len <= SCSI_TRANSFER_MAX_BYTES);
	assert((e->task.direction == SCSI_NONE) == (e->task.data_len == 0));
	e->data = malloc(e->task.data_len ? e->task.data_len : 1);
	assert(e->data);
	e->task.data = e->data;
	if (e->task.direction == SCSI_FROM_INITIATOR) {
		uint8_t sent = take(in);

		memset(e->data, take(in), e->task.data_len);
		for (unsigned i = 0; i < sent && i < e->task.data_len; i++)
			e->data[i] = take(in);
		e->task.data_in_hand = flags & 0x08 ? sent : e->task.data_len;
	}
	if ((flags & 0x0C) == 0x0C) { /* stays with the transport for now */
		return;
	}
	e->begun = true;
	scsi_task_execute(&e->task);
}

static void end_parsed(bool execute)
{
	for (unsigned i = 0; i < TASKS_MAX; i++) {
		struct entry *e = &entries[i];

		if (!e->used || e->begun)
			continue;
		e->begun = true;
		if (execute) {
			scsi_task_execute(&e->task);
		} else {
			scsi_task_discard(&e->task);
			free(e->data);
			e->used = false;
		}
	}
}

static void manage(struct input *in)
{
	uint8_t what = take(in), lun = take(in);
	struct scsi_nexus *n = nexuses[(what >> 4) % NEXUSES];

	if (!n)
		return;
	for (unsigned i = 0; i < CALLS_MAX; i++) {
		if (call_used[i])
			continue;
		call_used[i] = true;
		calls[i] = (struct scsi_tmf_call){.function = (enum scsi_tmf)(what & 7),
			.lun = {lun & 0xC0, lun & 7},
			.tag = lun >> 4 & 3,
			.done = call_done,
			.nexus = n};
		scsi_tmf(&calls[i]);
		return;
	}
}

static void login(unsigned i)
{
	static const char *const names[NEXUSES] = {"iqn.test:a", "iqn.test:b", "iqn.test:c"};
	struct scsi_nexus_options o = {.initiator_name = names[i], .portal_group_tag = 1};

	o.isid[0] = (uint8_t)i;
	assert(scsi_nexus_create(target, &o, &nexuses[i]) == 0);
}

static void model_call(uint8_t what)
{
	unsigned i = what % NEXUSES, number = 1 + (what >> 4) % FAKE_LUNS;
	struct host_nexus *n = nexuses[i] ? scsi_nexus_array(nexuses[i]) : NULL;
	struct lun *lun = map_lun(fake_host(i), number);

	if (!n)
		return;
	if (what & 4) {
		n->ops->mappings_changed(n);
	} else if ((what & 8) && lun) {
		fake_map(fake_host(i), number, NULL);
		n->ops->lun_unmapped(n, lun, number);
	} else if (what & 8) {
		fake_map(fake_host(i), number, &fake_luns[number - 1].lun);
	} else if (lun) {
		n->ops->lun_resized(n, lun, number);
	}
}

/* The owner of the array: it does what it is asked for, answers something, or takes its time. */
static struct scsi_remote *at_the_owner;

static void answer_remote(struct scsi_remote *r, uint8_t status)
{
	r->status = status;
	r->sense_len = status == SCSI_STATUS_CHECK_CONDITION ? 18 : 0;
	if (r->direction == SCSI_TO_INITIATOR)
		memset(r->data, 3, r->data_len);
	r->done(r);
}

static void forward(void *ctx, struct scsi_remote *r)
{
	(void)ctx;
	r->err = 0;
	if (r->cdb[2] & 1 && !at_the_owner)
		at_the_owner = r;
	else
		answer_remote(r, r->cdb[2] & 2 ? SCSI_STATUS_CHECK_CONDITION : SCSI_STATUS_GOOD);
}

static void owner_answers(void)
{
	struct scsi_remote *r = at_the_owner;

	at_the_owner = NULL;
	if (r)
		answer_remote(r, SCSI_STATUS_GOOD);
}

static struct scsi_port_group groups[2] = {
	{.id = 1, .port_count = 1, .ports = {1}}, {.id = 2, .port_count = 1, .ports = {2}}};

static void access_changes(uint8_t what)
{
	static const enum scsi_access states[] = {SCSI_ACCESS_OPTIMIZED, SCSI_ACCESS_STANDBY,
		SCSI_ACCESS_UNAVAILABLE, SCSI_ACCESS_TRANSITIONING};

	groups[0].access = states[what & 3];
	groups[1].access = states[what >> 2 & 3];
	assert(scsi_target_set_groups(target, groups, 2) == 0);
}

static bool remote_under_way;

static void remote_done(struct scsi_remote *r)
{
	assert(remote_under_way);
	assert(r->err || r->status != SCSI_STATUS_CHECK_CONDITION || r->sense_len >= 8);
	free(r->data);
	free(r);
	remote_under_way = false;
}

/* What another controller passes on, if it is one. */
static void remote(struct input *in)
{
	struct scsi_remote *r;

	if (remote_under_way)
		return;
	r = calloc(1, sizeof(*r));
	assert(r);
	r->data_len = take(in);
	r->data = calloc(1, r->data_len + 1u);
	assert(r->data);
	memcpy(r->initiator, take(in) & 1 ? "iqn.test:a" : "iqn.test:b", 11);
	r->port = take(in) & 3;
	memset(r->lun_id, 0x10 + (take(in) & 3), sizeof(r->lun_id));
	r->direction = take(in) % 3;
	r->cdb_len = take(in) % 40;
	for (unsigned i = 0; i < r->cdb_len && i < sizeof(r->cdb); i++)
		r->cdb[i] = take(in);
	for (unsigned i = 0; i < r->data_len; i++)
		r->data[i] = take(in);
	r->done = remote_done;
	remote_under_way = true;
	scsi_remote_execute(target, r);
}

/* A session goes on at a target, which is this one again. */
static void moves(unsigned i)
{
	struct scsi_nexus *n;

	end_parsed(false);
	if (nexuses[i] && scsi_nexus_rehome(nexuses[i], target, &n) == 0)
		nexuses[i] = n;
}

static void access_step(struct input *in, uint8_t what)
{
	switch (what & 7) {
	case 0:
		access_changes(take(in));
		break;
	case 1:
		owner_answers();
		break;
	case 2:
		remote(in);
		break;
	case 3:
		scsi_remote_lost(target, NULL);
		break;
	default:
		moves(what & 1);
		break;
	}
}

/* As if they had been kept before the start. */
static void kept_before(struct input *in)
{
	struct lun *lun = &fake_luns[take(in) % FAKE_LUNS].lun;
	uint8_t len = take(in);

	if (lun->scsi || lun->reservations || len == 0)
		return;
	lun->reservations = malloc(len);
	assert(lun->reservations);
	lun->reservations_len = len;
	for (unsigned i = 0; i < len; i++)
		lun->reservations[i] = take(in);
}

static void reservations(struct input *in, unsigned what)
{
	switch (what) {
	case 0:
		fake_hold_keeps = !fake_hold_keeps;
		break;
	case 1:
		fake_kept();
		break;
	case 2:
		fake_quiet = !fake_quiet;
		break;
	default:
		kept_before(in);
		break;
	}
}

static void step(struct input *in)
{
	uint8_t op = take(in);

	switch (op & 0x0F) {
	case 0:
		manage(in);
		break;
	case 1:
		fake_gate(true);
		break;
	case 2:
		fake_gate(false);
		break;
	case 3:
		fake_hold_io = true;
		break;
	case 4:
		fake_hold_io = false;
		fake_complete();
		break;
	case 5:
		fake_error = op & 0x10 ? -(int)(op >> 4) : 0;
		break;
	case 6:
		model_call(take(in));
		break;
	case 7:
		end_parsed(op & 0x10);
		break;
	case 8:
		box_end();
		break;
	case 9:
		end_parsed(false);
		if (nexuses[op >> 4 & 1]) {
			scsi_nexus_destroy(nexuses[op >> 4 & 1]);
			nexuses[op >> 4 & 1] = NULL;
		} else {
			login(op >> 4 & 1);
		}
		break;
	case 10:
		reservations(in, op >> 4 & 3);
		break;
	case 11:
		fake_hold_images = op >> 4 & 1;
		if (!fake_hold_images)
			fake_taken();
		fake_advance(take(in) * 10u);
		break;
	case 12:
		if (op & 0x80) {
			access_step(in, op >> 4);
			break;
		}
		/* fall through */
	default:
		command(in);
		break;
	}
}

static void stopped(void *arg)
{
	*(bool *)arg = true;
}

static void finish(void)
{
	bool over = false;

	owner_answers();
	fake_hold_io = fake_hold_keeps = fake_hold_images = false;
	fake_gate(false);
	box_end();
	end_parsed(false);
	for (unsigned i = 0; i < NEXUSES; i++)
		if (nexuses[i])
			scsi_nexus_destroy(nexuses[i]);
	memset(nexuses, 0, sizeof(nexuses));
	fake_complete();
	fake_kept();
	fake_taken();
	box_end();
	scsi_target_stop(target, stopped, &over);
	for (unsigned i = 0; i < 8 && !over; i++) {
		fake_complete();
		fake_kept();
	}
	assert(over && !remote_under_way);
	for (unsigned i = 0; i < TASKS_MAX; i++)
		assert(!entries[i].used);
	for (unsigned i = 0; i < CALLS_MAX; i++)
		assert(!call_used[i]);
	assert(fake_holds == 0 && fake_nexuses == 0);
	scsi_target_destroy(target);
	assert(fake_images == 0);
	fake_stop();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct scsi_inband inband = {.out = box_out, .in = box_in, .cancel = box_cancel};
	static const struct scsi_standby_ops standby = {.forward = forward};
	struct scsi_target_options options = {.array = fake_start(),
		.target_name = "iqn.test:target",
		.inband = &inband,
		.ports = (const uint16_t[]){1},
		.port_count = 1,
		.standby = &standby};
	struct input in = {data, data + size};

	for (unsigned i = 0; i < TASKS_MAX; i++)
		entries[i].used = false;
	assert(scsi_target_create(&options, &target) == 0);
	for (unsigned i = 0; i < NEXUSES; i++)
		login(i);
	for (unsigned i = 0; i < 128 && in.at < in.end; i++)
		step(&in);
	finish();
	return 0;
}
