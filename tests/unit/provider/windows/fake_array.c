/* SPDX-License-Identifier: Apache-2.0 */
/* See fake_array.h. One lock guards all; it is not held while a command is delayed. */
#include "fake_array.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "proto/identity.h"

struct fake_array fakes[FAKE_ARRAYS];
struct fake_device fake_devices[FAKE_DEVICES];
unsigned fake_device_count;
void (*fake_in_commit)(void);

#define MAILBOXES 512
struct mailbox {
	bool used;
	unsigned array;
	uint16_t slot;
	uint64_t request_id;
	bool running, done;
	struct up_msg request, reply;
};
static struct mailbox mailboxes[MAILBOXES];
static unsigned next_mailbox;
static SRWLOCK fake_lock = SRWLOCK_INIT;
static volatile LONG open_handles, hung;
static HANDLE hung_release; /* manual reset */

/* Stays with its LUN when drives change places. */
struct transport_handle {
	unsigned array;
	uint8_t lun_id[UP_ID_BYTES];
};

void fake_reset(void)
{
	if (!hung_release)
		hung_release = CreateEventW(NULL, TRUE, FALSE, NULL);
	ResetEvent(hung_release);
	AcquireSRWLockExclusive(&fake_lock);
	memset(fakes, 0, sizeof(fakes));
	memset(fake_devices, 0, sizeof(fake_devices));
	memset(mailboxes, 0, sizeof(mailboxes));
	fake_device_count = 0;
	fake_in_commit = NULL;
	for (unsigned i = 0; i < FAKE_ARRAYS; i++) {
		memset(fakes[i].id, 0xA0 + (int)i, UP_ID_BYTES);
		fakes[i].next_number = 1;
		fakes[i].capabilities = UP_CAP_DIFFERENTIAL | UP_CAP_PLEX | UP_CAP_BREAK | UP_CAP_RESYNC;
	}
	ReleaseSRWLockExclusive(&fake_lock);
}

static struct fake_lun *find_in(struct fake_array *a, const uint8_t id[UP_ID_BYTES])
{
	for (unsigned i = 0; i < FAKE_LUNS; i++)
		if (a->luns[i].there && memcmp(a->luns[i].lun.id, id, UP_ID_BYTES) == 0)
			return &a->luns[i];
	return NULL;
}

struct fake_lun *fake_find(const uint8_t id[UP_ID_BYTES])
{
	for (unsigned i = 0; i < FAKE_ARRAYS; i++) {
		struct fake_lun *l = find_in(&fakes[i], id);
		if (l)
			return l;
	}
	return NULL;
}

static struct fake_lun *new_lun(struct fake_array *a)
{
	for (unsigned i = 0; i < FAKE_LUNS; i++) {
		if (!a->luns[i].there) {
			memset(&a->luns[i], 0, sizeof(a->luns[i]));
			a->luns[i].there = true;
			return &a->luns[i];
		}
	}
	abort();
}

void fake_add_lun(unsigned array, unsigned n, uint8_t id[UP_ID_BYTES])
{
	struct fake_lun *l = new_lun(&fakes[array]);

	memset(id, 0, UP_ID_BYTES);
	id[0] = 0x10;
	id[1] = (uint8_t)array;
	id[15] = (uint8_t)n;
	memcpy(l->lun.id, id, UP_ID_BYTES);
	l->lun.kind = UP_LUN_ORDINARY;
	l->lun.size_bytes = 1u << 30;
	l->lun.block_bytes = 512;
	l->lun.number = fakes[array].next_number++;
	l->content = 1000 * (array + 1) + n;
	fake_rescan();
}

void fake_add_control_lu(unsigned array)
{
	struct fake_device *d = &fake_devices[fake_device_count++];

	memset(d, 0, sizeof(*d));
	d->array = array;
}

void fake_rescan(void)
{
	static struct fake_device fresh[FAKE_DEVICES];
	static const uint8_t zero[UP_ID_BYTES];
	unsigned count = 0;

	memset(fresh, 0, sizeof(fresh));
	for (unsigned i = 0; i < fake_device_count; i++)
		if (memcmp(fake_devices[i].lun_id, zero, UP_ID_BYTES) == 0)
			fresh[count++] = fake_devices[i];
	for (unsigned a = 0; a < FAKE_ARRAYS; a++) {
		for (unsigned i = 0; i < FAKE_LUNS && count < FAKE_DEVICES; i++) {
			if (!fakes[a].luns[i].there || !fakes[a].luns[i].lun.number)
				continue;
			fresh[count].array = a;
			memcpy(fresh[count++].lun_id, fakes[a].luns[i].lun.id, UP_ID_BYTES);
		}
	}
	memcpy(fake_devices, fresh, sizeof(fresh));
	fake_device_count = count;
}

struct fake_set *fake_find_set(unsigned array, const uint8_t id[UP_ID_BYTES])
{
	for (unsigned i = 0; i < FAKE_SETS; i++)
		if (fakes[array].sets[i].there && memcmp(fakes[array].sets[i].id, id, UP_ID_BYTES) == 0)
			return &fakes[array].sets[i];
	return NULL;
}

unsigned fake_shadows(void)
{
	unsigned count = 0;

	for (unsigned a = 0; a < FAKE_ARRAYS; a++)
		for (unsigned i = 0; i < FAKE_LUNS; i++)
			count += fakes[a].luns[i].there && fakes[a].luns[i].lun.kind != UP_LUN_ORDINARY;
	return count;
}

unsigned fake_open_sets(void)
{
	unsigned count = 0;

	for (unsigned a = 0; a < FAKE_ARRAYS; a++)
		for (unsigned i = 0; i < FAKE_SETS; i++)
			count += fakes[a].sets[i].there && fakes[a].sets[i].state < UP_SET_KEPT;
	return count;
}

LONG fake_open_handles(void)
{
	return InterlockedCompareExchange(&open_handles, 0, 0);
}

LONG fake_hung(void)
{
	return InterlockedCompareExchange(&hung, 0, 0);
}

void fake_release_hung(void)
{
	SetEvent(hung_release);
}

/* Under the lock, which is not held meanwhile. */
static void hang(const struct fake_device *d, enum up_op op, enum fake_hang where)
{
	if (d->hang != where || d->hang_op != op)
		return;
	ReleaseSRWLockExclusive(&fake_lock);
	InterlockedIncrement(&hung);
	WaitForSingleObject(hung_release, INFINITE);
	InterlockedDecrement(&hung);
	AcquireSRWLockExclusive(&fake_lock);
}

/* ---- requests ------------------------------------------------------------------------------------- */

static void put_lun(struct up_msg *reply, const struct up_lun *lun)
{
	reply->luns[reply->lun_count++] = *lun;
	reply->has |= UP_HAS(UP_TAG_LUN_ENTRY);
}

static enum up_status do_identify(struct fake_array *a, struct up_msg *reply)
{
	memcpy(reply->array_id, a->id, UP_ID_BYTES);
	snprintf(reply->array_name, sizeof(reply->array_name), "fake-%c", 'a' + (int)(a - fakes));
	snprintf(reply->initiator_name, sizeof(reply->initiator_name), "iqn.test:host");
	reply->authenticated = 1;
	reply->capabilities = a->capabilities;
	reply->has |= UP_HAS(UP_TAG_CAPABILITIES) | UP_HAS(UP_TAG_ARRAY_ID) | UP_HAS(UP_TAG_ARRAY_NAME) |
		      UP_HAS(UP_TAG_INITIATOR_NAME) | UP_HAS(UP_TAG_AUTHENTICATED);
	return UP_OK;
}

static enum up_status do_describe(
	struct fake_array *a, const struct fake_device *d, const struct up_msg *request, struct up_msg *reply)
{
	struct fake_lun *l = find_in(a, up_has(request, UP_TAG_LUN_ID) ? request->lun_id : d->lun_id);

	if (!l)
		return UP_NOT_FOUND;
	if (!l->lun.number && l->lun.kind == UP_LUN_ORDINARY)
		return UP_NOT_MAPPED;
	put_lun(reply, &l->lun);
	return UP_OK;
}

static enum up_status do_begin(struct fake_array *a, const uint8_t id[UP_ID_BYTES])
{
	struct fake_set *s = fake_find_set((unsigned)(a - fakes), id);

	for (unsigned i = 0; i < FAKE_SETS && !s; i++)
		if (!a->sets[i].there)
			s = &a->sets[i];
	if (!s)
		return UP_LIMIT;
	s->there = true;
	memcpy(s->id, id, UP_ID_BYTES);
	s->state = UP_SET_PREPARING;
	return UP_OK;
}

static enum up_status do_add(
	struct fake_array *a, struct fake_set *s, const struct up_msg *request, struct up_msg *reply)
{
	struct fake_lun *original = find_in(a, request->lun_id);

	if (!original || !original->lun.number)
		return UP_NOT_MAPPED;
	if (s->state != UP_SET_PREPARING)
		return UP_BAD_STATE;
	if (request->copy_kind == UP_COPY_PLEX && !(a->capabilities & UP_CAP_PLEX))
		return UP_UNSUPPORTED;
	struct up_lun copy = original->lun;
	struct fake_lun *l = new_lun(a);
	l->lun = copy;
	l->lun.kind = UP_LUN_FUTURE_SHADOW;
	l->lun.number = 0;
	l->lun.copy_kind = request->copy_kind;
	memcpy(l->lun.origin_id, copy.id, UP_ID_BYTES);
	memcpy(l->lun.set_id, s->id, UP_ID_BYTES);
	memset(l->lun.id, 0xC0 + (int)(a - fakes), UP_ID_BYTES);
	l->lun.id[15] = (uint8_t)++a->next_shadow;
	memcpy(reply->lun_id, l->lun.id, UP_ID_BYTES);
	reply->has |= UP_HAS(UP_TAG_LUN_ID);
	put_lun(reply, &l->lun);
	return UP_OK;
}

static void drop_shadows(struct fake_array *a, const struct fake_set *s)
{
	for (unsigned i = 0; i < FAKE_LUNS; i++)
		if (a->luns[i].there && a->luns[i].lun.kind != UP_LUN_ORDINARY &&
			memcmp(a->luns[i].lun.set_id, s->id, UP_ID_BYTES) == 0)
			a->luns[i].there = false;
}

static enum up_status do_set(struct fake_array *a, const struct up_msg *request, struct up_msg *reply)
{
	struct fake_set *s = fake_find_set((unsigned)(a - fakes), request->set_id);

	if (!s)
		return request->op == UP_OP_SET_ABORT ? UP_OK : UP_NOT_FOUND;
	reply->has |= UP_HAS(UP_TAG_STATE);
	switch (request->op) {
	case UP_OP_SET_ADD:
		return do_add(a, s, request, reply);
	case UP_OP_SET_ARM:
		if (s->state != UP_SET_PREPARING)
			return UP_BAD_STATE;
		s->state = UP_SET_ARMED;
		break;
	case UP_OP_SET_COMMIT:
		if (s->state == UP_SET_COMMITTED && s->commit_request == request->request_id)
			break;
		if (s->state != UP_SET_ARMED)
			return UP_BAD_STATE;
		s->state = UP_SET_COMMITTED;
		s->commit_request = request->request_id;
		for (unsigned i = 0; i < FAKE_LUNS; i++) {
			if (!a->luns[i].there || memcmp(a->luns[i].lun.set_id, s->id, UP_ID_BYTES))
				continue;
			a->luns[i].lun.kind = UP_LUN_SHADOW;
			struct fake_lun *original = find_in(a, a->luns[i].lun.origin_id);
			a->luns[i].content = original ? original->content : 0;
		}
		break;
	case UP_OP_SET_KEEP:
		if (s->state != UP_SET_COMMITTED)
			return UP_BAD_STATE;
		s->state = UP_SET_KEPT;
		break;
	case UP_OP_SET_ABORT:
		if (s->state == UP_SET_KEPT)
			return UP_BAD_STATE;
		drop_shadows(a, s);
		s->state = UP_SET_ABORTED;
		break;
	}
	reply->state = s->state;
	return s->state == UP_SET_ABORTED && request->op != UP_OP_SET_ABORT ? UP_NOT_FOUND : UP_OK;
}

static enum up_status do_break(struct fake_array *a, const struct up_msg *request)
{
	struct fake_lun *l = find_in(a, request->lun_id);

	if (!l)
		return UP_NOT_FOUND;
	if (request->flags & UP_BREAK_MASK)
		l->lun.number = 0;
	l->lun.kind = UP_LUN_ORDINARY;
	return UP_OK;
}

static enum up_status do_notify(struct fake_array *a, const struct up_msg *request)
{
	struct fake_lun *l = find_in(a, request->lun_id);

	if (!l)
		return UP_NOT_FOUND;
	if (l->lun.kind != UP_LUN_SHADOW)
		return UP_DENIED;
	l->lun.notified |= request->flags;
	return UP_OK;
}

static enum up_status do_tell(struct fake_array *a, const struct up_msg *request, struct up_msg *reply)
{
	struct fake_set *s = fake_find_set((unsigned)(a - fakes), request->set_id);

	if (!s)
		return UP_NOT_FOUND;
	if (s->state != UP_SET_COMMITTED && s->state != UP_SET_KEPT)
		return UP_BAD_STATE;
	s->told |= request->has & ~UP_HAS(UP_TAG_SET_ID);
	if (up_has(request, UP_TAG_WRITERS)) {
		s->writers = request->writers;
		s->frozen_us = request->frozen_us;
		s->flush_us = request->flush_us;
		s->commit_us = request->commit_us;
		s->release_us = request->release_us;
	}
	if (up_has(request, UP_TAG_IMPORT_US))
		s->import_us = request->import_us;
	if (s->label[0]) {
		memcpy(reply->label, s->label, sizeof(reply->label));
		reply->has |= UP_HAS(UP_TAG_LABEL);
	}
	return UP_OK;
}

static enum up_status do_resync_start(
	struct fake_array *a, const struct up_msg *request, struct up_msg *reply)
{
	struct fake_lun *shadow = find_in(a, request->lun_id), *target = find_in(a, request->target_id);

	if (!shadow || !target)
		return UP_NOT_FOUND;
	if (shadow->lun.kind != UP_LUN_SHADOW || target->lun.kind != UP_LUN_ORDINARY ||
		target->lun.size_bytes < shadow->lun.size_bytes)
		return UP_DENIED;
	for (unsigned i = 1; i < FAKE_JOBS; i++)
		if (a->jobs[i].state == UP_JOB_RUNNING && !memcmp(a->jobs[i].target_id, target->lun.id, 16))
			return UP_BUSY;
	uint32_t number = ++a->next_job % FAKE_JOBS;
	struct fake_job *j = &a->jobs[number];
	*j = (struct fake_job){.state = UP_JOB_RUNNING};
	memcpy(j->shadow_id, shadow->lun.id, UP_ID_BYTES);
	memcpy(j->target_id, target->lun.id, UP_ID_BYTES);
	reply->job = number;
	reply->has |= UP_HAS(UP_TAG_JOB);
	return UP_OK;
}

static void end_job(struct fake_array *a, struct fake_job *j)
{
	struct fake_lun *shadow = find_in(a, j->shadow_id), *target = find_in(a, j->target_id);

	j->state = a->jobs_fail || !shadow || !target ? UP_JOB_FAILED : UP_JOB_DONE;
	if (j->state == UP_JOB_DONE) {
		target->content = shadow->content;
		target->lun.size_bytes = shadow->lun.size_bytes;
	}
}

static enum up_status do_job(struct fake_array *a, const struct up_msg *request, struct up_msg *reply)
{
	struct fake_job *j = &a->jobs[request->job % FAKE_JOBS];

	if (!j->state)
		return UP_NOT_FOUND;
	if (j->state == UP_JOB_RUNNING && request->op == UP_OP_RESYNC_CANCEL) {
		if (a->cancels_come_late)
			end_job(a, j);
		else
			j->state = UP_JOB_CANCELLED;
	} else if (j->state == UP_JOB_RUNNING && !a->jobs_stand && ++j->polls > a->job_polls) {
		end_job(a, j);
	}
	reply->job_state = (uint32_t)j->state;
	reply->percent = j->state == UP_JOB_DONE ? 100 : j->polls * 100 / (a->job_polls + 1);
	reply->has |= UP_HAS(UP_TAG_JOB_STATE) | UP_HAS(UP_TAG_PERCENT);
	if (j->state == UP_JOB_FAILED) {
		snprintf(reply->text, sizeof(reply->text), "the fake store broke");
		reply->has |= UP_HAS(UP_TAG_TEXT);
	}
	return UP_OK;
}

static enum up_status do_shadow(struct fake_array *a, const struct up_msg *request, struct up_msg *reply)
{
	struct fake_lun *l = find_in(a, request->lun_id);

	if (!l)
		return request->op == UP_OP_MAP ? UP_NOT_FOUND : UP_OK;
	if (l->lun.kind != UP_LUN_SHADOW)
		return UP_DENIED;
	switch (request->op) {
	case UP_OP_MAP:
		if (!l->lun.number)
			l->lun.number = a->next_number++;
		put_lun(reply, &l->lun);
		break;
	case UP_OP_UNMAP:
		l->lun.number = 0;
		break;
	case UP_OP_DELETE:
		l->there = false; /* unmapped with it */
		break;
	}
	return UP_OK;
}

static enum up_status execute(const struct fake_device *d, const struct up_msg *request, struct up_msg *reply)
{
	struct fake_array *a = &fakes[d->array];

	a->executed[request->op]++;
	if (request->op == UP_OP_SET_COMMIT && fake_in_commit)
		fake_in_commit();
	enum up_status status = up_request_check(request, NULL);
	if (status != UP_OK)
		return status;
	if (a->refuse[request->op] != UP_OK) {
		status = a->refuse[request->op];
		if (a->refuse_count[request->op] && --a->refuse_count[request->op] == 0)
			a->refuse[request->op] = UP_OK;
		return status;
	}
	switch (request->op) {
	case UP_OP_IDENTIFY:
		return do_identify(a, reply);
	case UP_OP_DESCRIBE_LUN:
		return do_describe(a, d, request, reply);
	case UP_OP_SET_BEGIN:
		return do_begin(a, request->set_id);
	case UP_OP_MAP:
	case UP_OP_UNMAP:
	case UP_OP_DELETE:
		return do_shadow(a, request, reply);
	case UP_OP_BREAK:
		return do_break(a, request);
	case UP_OP_NOTIFY:
		return do_notify(a, request);
	case UP_OP_SET_TELL:
		return do_tell(a, request, reply);
	case UP_OP_RESYNC_START:
		return do_resync_start(a, request, reply);
	case UP_OP_RESYNC_STATE:
	case UP_OP_RESYNC_CANCEL:
		return do_job(a, request, reply);
	default:
		return do_set(a, request, reply);
	}
}

/* ---- commands -------------------------------------------------------------------------------------- */

static void check_condition(struct transport_command *c, uint8_t key, uint8_t asc)
{
	c->status = 2;
	memset(c->sense, 0, sizeof(c->sense));
	c->sense[0] = 0x70;
	c->sense[2] = key;
	c->sense[12] = asc;
}

static int inquiry(const struct fake_device *d, struct transport_command *c)
{
	static const uint8_t zero[UP_ID_BYTES];
	bool control = memcmp(d->lun_id, zero, UP_ID_BYTES) == 0;
	uint8_t data[96] = {0};

	if (c->cdb[1] & 1) {
		char serial[UP_SERIAL_BYTES + 1];
		up_id_format(control ? fakes[d->array].id : d->lun_id, serial);
		data[1] = c->cdb[2];
		data[3] = UP_SERIAL_BYTES;
		memcpy(data + 4, serial, UP_SERIAL_BYTES);
	} else {
		data[0] = control ? 0x0C : 0;
		memcpy(data + 8, UP_VENDOR UP_PRODUCT UP_REVISION, 28);
	}
	memcpy(c->data, data, c->len_bytes < sizeof(data) ? c->len_bytes : sizeof(data));
	return 0;
}

static struct mailbox *mailbox_of(unsigned array, uint16_t slot)
{
	for (unsigned i = 0; i < MAILBOXES; i++)
		if (mailboxes[i].used && mailboxes[i].array == array && mailboxes[i].slot == slot)
			return &mailboxes[i];
	return NULL;
}

/* Each has mailboxes of its own. */
static unsigned controller_of(const struct fake_device *d)
{
	return d->array + (d->stands_by ? FAKE_ARRAYS : 0);
}

void fake_take_over(unsigned device)
{
	AcquireSRWLockExclusive(&fake_lock);
	for (unsigned i = 0; i < MAILBOXES; i++)
		if (mailboxes[i].array == fake_devices[device].array)
			mailboxes[i].used = false;
	fake_devices[device].stands_by = false;
	ReleaseSRWLockExclusive(&fake_lock);
}

static int stands_by(struct fake_device *d, struct transport_command *c)
{
	check_condition(c, 2, 0x04);
	c->sense[13] = 0x0B;
	d->refused++;
	return 0;
}

static int security_out(struct fake_device *d, struct transport_command *c)
{
	uint16_t slot = (uint16_t)(c->cdb[2] << 8 | c->cdb[3]);
	struct up_msg request;

	if (up_decode(&request, c->data, c->len_bytes) != UP_OK)
		return -EIO;
	if (d->stands_by && request.op != UP_OP_IDENTIFY)
		return stands_by(d, c);
	hang(d, (enum up_op)request.op, FAKE_HANG_REQUEST);
	struct mailbox *box = mailbox_of(controller_of(d), slot);
	if (box && box->request_id == request.request_id)
		goto done; /* sent again: the work is done once */
	if (!box)
		box = &mailboxes[next_mailbox++ % MAILBOXES];
	memset(box, 0, sizeof(*box));
	box->used = true;
	box->array = controller_of(d);
	box->slot = slot;
	box->request_id = request.request_id;
	box->request = request;
done:
	hang(d, (enum up_op)request.op, FAKE_HANG_TAKEN);
	return 0;
}

static int security_in(struct fake_device *d, struct transport_command *c)
{
	uint16_t slot = (uint16_t)(c->cdb[2] << 8 | c->cdb[3]);
	struct mailbox *box = mailbox_of(controller_of(d), slot);
	struct fake_array *a = &fakes[d->array];

	if (d->stands_by && (!box || box->request.op != UP_OP_IDENTIFY))
		return stands_by(d, c);
	if (!box) {
		check_condition(c, 5, 0x24);
		return 0;
	}
	hang(d, (enum up_op)box->request.op, FAKE_HANG_REPLY);
	while (box->running) { /* over another path */
		ReleaseSRWLockExclusive(&fake_lock);
		Sleep(1);
		AcquireSRWLockExclusive(&fake_lock);
	}
	if (a->pending[box->request.op]) {
		struct up_msg wait;
		a->pending[box->request.op]--;
		up_reply_init(&wait, &box->request, UP_PENDING);
		c->len_bytes = (uint32_t)up_encode(&wait, c->data, c->len_bytes);
		return 0;
	}
	if (!box->done) {
		box->running = true;
		DWORD delay_ms = a->delay_ms[box->request.op];
		if (delay_ms) {
			ReleaseSRWLockExclusive(&fake_lock);
			Sleep(delay_ms);
			AcquireSRWLockExclusive(&fake_lock);
		}
		struct up_msg reply;
		up_reply_init(&reply, &box->request, UP_OK);
		reply.status = execute(d, &box->request, &reply);
		if (d->stands_by)
			reply.capabilities = UP_CAP_STANDBY;
		if (reply.status != UP_OK) {
			snprintf(reply.text, sizeof(reply.text), "the fake array refuses");
			reply.has |= UP_HAS(UP_TAG_TEXT);
		}
		box->reply = reply;
		box->done = true;
		box->running = false;
	}
	if (a->lose_replies) {
		a->lose_replies--;
		return -EIO;
	}
	c->len_bytes = (uint32_t)up_encode(&box->reply, c->data, c->len_bytes);
	return 0;
}

static int fake_command(struct transport_handle *h, struct transport_command *c)
{
	int err = -EIO;

	AcquireSRWLockExclusive(&fake_lock);
	struct fake_device *d = NULL;
	for (unsigned i = 0; i < fake_device_count && !d; i++)
		if (fake_devices[i].array == h->array &&
			!memcmp(fake_devices[i].lun_id, h->lun_id, UP_ID_BYTES))
			d = &fake_devices[i];
	if (d)
		d->commands++;
	bool old = c->cdb[0] == UP_OPCODE_IN || c->cdb[0] == UP_OPCODE_OUT;
	c->status = 0;
	if (d && d->ghost) {
		check_condition(c, 5, 0x25);
		err = 0;
	} else if (!d || d->broken || fakes[d->array].offline) {
		err = -EIO;
	} else if (fakes[d->array].silent) {
		fakes[d->array].asked++;
		err = -ETIMEDOUT;
	} else if (d->times_out) {
		err = -ETIMEDOUT;
	} else if (c->cdb[0] == 0x12) {
		err = inquiry(d, c);
	} else if (old && fakes[d->array].old_opcodes_filtered) {
		check_condition(c, 5, 0x20);
		err = 0;
	} else if (c->cdb[0] == UP_OPCODE_OUT || c->cdb[0] == UP_OPCODE_VENDOR_OUT) {
		err = security_out(d, c);
	} else if (c->cdb[0] == UP_OPCODE_IN || c->cdb[0] == UP_OPCODE_VENDOR_IN) {
		err = security_in(d, c);
	}
	ReleaseSRWLockExclusive(&fake_lock);
	return err;
}

static unsigned fake_enumerate(struct transport *t, struct transport_device *out, unsigned cap)
{
	(void)t;
	AcquireSRWLockShared(&fake_lock);
	unsigned count = fake_device_count < cap ? fake_device_count : cap;
	for (unsigned i = 0; i < count; i++) {
		memset(&out[i], 0, sizeof(out[i]));
		snprintf(out[i].name, sizeof(out[i].name), "%u", i);
		out[i].route = fake_devices[i].route;
	}
	ReleaseSRWLockShared(&fake_lock);
	return count;
}

static int fake_open(
	struct transport *t, const struct transport_device *device, struct transport_handle **out)
{
	(void)t;
	*out = NULL;
	unsigned long n = strtoul(device->name, NULL, 10);
	if (n >= fake_device_count)
		return -ENODEV;
	*out = malloc(sizeof(**out));
	if (!*out)
		return -ENOMEM;
	(*out)->array = fake_devices[n].array;
	memcpy((*out)->lun_id, fake_devices[n].lun_id, UP_ID_BYTES);
	InterlockedIncrement(&open_handles);
	return 0;
}

static void fake_close(struct transport_handle *h)
{
	InterlockedDecrement(&open_handles);
	free(h);
}

static const struct transport_ops fake_ops = {
	.enumerate = fake_enumerate,
	.open = fake_open,
	.command = fake_command,
	.close = fake_close,
};

struct transport *fake_transport(void)
{
	static struct transport t = {&fake_ops};

	return &t;
}
