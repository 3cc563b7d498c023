/* SPDX-License-Identifier: Apache-2.0 */
/* See stub_scsi.h. */
#include "tests/unit/iscsi/stub_scsi.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "array/util/bytes.h"

struct stub stub;

struct scsi_nexus {
	struct host_nexus array;
	struct list_node link;
	const struct scsi_nexus_ops *ops;
	void *transport;
	bool gone;
	unsigned running;
};

/* ---- array ------------------------------------------------------------------------------------------- */

struct host {
	struct host_record record;
};

void stub_reset(void)
{
	memset(&stub, 0, sizeof(stub));
	list_init(&stub.hanging);
	list_init(&stub.parsed);
	list_init(&stub.all);
}

void stub_add_host(const char *iqn, const char *user, const char *secret)
{
	struct host_record *r = &stub.hosts[stub.host_count++];

	snprintf(r->name, sizeof(r->name), "host%u", stub.host_count);
	r->iqn_count = 1;
	snprintf(r->iqns[0], sizeof(r->iqns[0]), "%s", iqn);
	snprintf(r->chap_user, sizeof(r->chap_user), "%s", user);
	snprintf(r->chap_secret, sizeof(r->chap_secret), "%s", secret);
}

struct host *host_find_iqn(struct array *a, const char *iqn)
{
	(void)a;
	for (unsigned i = 0; i < stub.host_count; i++)
		if (strcasecmp(stub.hosts[i].iqns[0], iqn) == 0)
			return (struct host *)&stub.hosts[i];
	return NULL;
}

const struct host_record *host_record_of(const struct host *h)
{
	return &h->record;
}

void array_event_as(
	struct array *a, enum array_event_level level, const char *area, uint32_t message, const char *text)
{
	(void)message;
	array_event_tell(a, level, area, "%s", text);
}

void array_event_tell(
	struct array *a, enum array_event_level level, const char *area, const char *format, ...)
{
	va_list args;

	(void)a;
	(void)level;
	(void)area;
	va_start(args, format);
	vsnprintf(stub.events[stub.event_count % STUB_EVENTS_MAX], sizeof(stub.events[0]), format, args);
	va_end(args);
	if (getenv("STUB_EVENTS"))
		fprintf(stderr, "event: %s\n", stub.events[stub.event_count % STUB_EVENTS_MAX]);
	stub.event_count++;
}

bool stub_saw_event(const char *part)
{
	for (unsigned i = 0; i < STUB_EVENTS_MAX; i++)
		if (strstr(stub.events[i], part))
			return true;
	return false;
}

/* ---- nexus ------------------------------------------------------------------------------------------- */

int scsi_nexus_create(
	struct scsi_target *t, const struct scsi_nexus_options *options, struct scsi_nexus **out)
{
	stub.target = t;
	if (!host_find_iqn(NULL, options->initiator_name))
		return -EACCES;
	*out = calloc(1, sizeof(**out));
	if (!*out)
		return -ENOMEM;
	(*out)->array.host = host_find_iqn(NULL, options->initiator_name);
	(*out)->ops = options->ops;
	(*out)->transport = options->transport;
	list_push_back(&stub.all, &(*out)->link);
	stub.nexuses++;
	return 0;
}

bool scsi_task_is_told(const struct scsi_task *task)
{
	(void)task;
	return stub.told;
}

/* Like the SCSI layer, aborts the tasks that are there now. One that waits for its turn is parsed again and
 * then stands at the list's end. */
void stub_abort_parsed(void)
{
	for (unsigned count = stub.parsed_unfinished; count && !list_empty(&stub.parsed); count--) {
		struct scsi_task *t = container_of(stub.parsed.head.next, struct scsi_task, link);

		t->nexus->ops->task_aborted(t->nexus->transport, t);
	}
}

void stub_revoke_all(void)
{
	list_for_each_safe (node, &stub.all) {
		struct scsi_nexus *n = container_of(node, struct scsi_nexus, link);

		n->ops->close(n->transport);
	}
}

static bool refuse(struct scsi_task *t, uint8_t key, uint16_t asc);

static void nexus_unref(struct scsi_nexus *n)
{
	if (n->gone && n->running == 0)
		free(n);
}

static void finish(struct scsi_task *task)
{
	struct scsi_nexus *n = task->nexus;

	n->running--;
	stub.running--;
	task->done(task);
	nexus_unref(n);
}

static void abort_hanging(struct scsi_nexus *n, const uint8_t *lun, const uint64_t *tag)
{
	list_for_each_safe (node, &stub.hanging) {
		struct scsi_task *task = container_of(node, struct scsi_task, link);

		if (task->nexus != n || (lun && memcmp(lun, task->lun, 8) != 0) || (tag && *tag != task->tag))
			continue;
		list_remove(node);
		task->aborted = true;
		stub.aborted++;
		finish(task);
	}
}

void scsi_nexus_destroy(struct scsi_nexus *n)
{
	stub.nexuses--;
	list_remove(&n->link);
	n->running++;
	if (!(stub.flags & STUB_STUBBORN))
		abort_hanging(n, NULL, NULL);
	n->running--;
	n->gone = true;
	nexus_unref(n);
}

void scsi_nexus_move(struct scsi_nexus *n, void *transport)
{
	n->transport = transport;
	stub.moves++;
	n->running++;
	if (!(stub.flags & STUB_STUBBORN))
		abort_hanging(n, NULL, NULL);
	n->running--;
}

/* Hanging tasks are answered with 2A/06; stubborn ones with what comes of them. */
int scsi_nexus_rehome(struct scsi_nexus *n, struct scsi_target *t, struct scsi_nexus **out)
{
	struct scsi_nexus_options options = {
		.initiator_name = n->array.host ? host_record_of(n->array.host)->iqns[0] : "",
		.ops = n->ops,
		.transport = n->transport};
	int err = scsi_nexus_create(t, &options, out);

	if (err)
		return err;
	stub.nexuses--;
	stub.rehomed++;
	list_remove(&n->link);
	n->running++;
	list_for_each_safe (node, &stub.hanging) {
		struct scsi_task *task = container_of(node, struct scsi_task, link);

		if (task->nexus != n || (stub.flags & STUB_STUBBORN))
			continue;
		list_remove(node);
		refuse(task, 6, 0x2a06);
		finish(task);
	}
	n->running--;
	n->gone = true;
	nexus_unref(n);
	return 0;
}

struct host_nexus *scsi_nexus_array(struct scsi_nexus *n)
{
	return &n->array;
}

/* ---- tasks ------------------------------------------------------------------------------------------- */

static bool refuse(struct scsi_task *t, uint8_t key, uint16_t asc)
{
	t->status = SCSI_STATUS_CHECK_CONDITION;
	memset(t->sense, 0, 18);
	t->sense[0] = 0x70;
	t->sense[2] = key;
	t->sense[7] = 10;
	put_be16(t->sense + 12, asc);
	t->sense_len = 18;
	t->data_len = 0;
	return false;
}

static bool transfer(struct scsi_task *t, enum scsi_direction direction, uint64_t lba, uint32_t blocks)
{
	if (lba + blocks > STUB_DISK_BYTES / 512)
		return refuse(t, 5, 0x2100);
	t->direction = blocks ? direction : SCSI_NONE;
	t->data_len = blocks * 512;
	t->lba = lba;
	return true;
}

static bool parse(struct scsi_task *t)
{
	const uint8_t *cdb = t->cdb;
	unsigned lun = get_be16(t->lun) & 0x3fff;

	if (stub.flags & STUB_STANDBY)
		return refuse(t, 2, 0x040b);
	if (lun != 1 && cdb[0] != 0x12 && cdb[0] != 0xa0)
		return refuse(t, 5, 0x2500);
	t->direction = SCSI_TO_INITIATOR;
	switch (cdb[0]) {
	case 0x00: /* TEST UNIT READY */
	case 0x35: /* SYNCHRONIZE CACHE */
	case STUB_OPCODE_HANG:
		t->direction = SCSI_NONE;
		return true;
	case 0x12: /* INQUIRY */
		t->data_len = get_be16(cdb + 3);
		return true;
	case 0x25: /* READ CAPACITY(10) */
		t->data_len = 8;
		return true;
	case 0x9e: /* READ CAPACITY(16) */
	case 0xa0: /* REPORT LUNS */
		t->data_len = get_be32(cdb + (cdb[0] == 0x9e ? 10 : 6));
		return t->data_len <= 4096 || refuse(t, 5, 0x2400);
	case 0x28:
		return transfer(t, SCSI_TO_INITIATOR, get_be32(cdb + 2), get_be16(cdb + 7));
	case 0x88:
		return transfer(t, SCSI_TO_INITIATOR, get_be64(cdb + 2), get_be32(cdb + 10));
	case 0x2a:
		return transfer(t, SCSI_FROM_INITIATOR, get_be32(cdb + 2), get_be16(cdb + 7));
	case 0x8a:
		return transfer(t, SCSI_FROM_INITIATOR, get_be64(cdb + 2), get_be32(cdb + 10));
	default:
		return refuse(t, 5, 0x2000);
	}
}

bool scsi_task_parse(struct scsi_task *t)
{
	t->direction = SCSI_NONE;
	t->data_len = 0;
	if (!parse(t))
		return false;
	stub.parsed_unfinished++;
	t->link = (struct list_node){NULL, NULL};
	list_push_back(&stub.parsed, &t->link);
	return true;
}

void scsi_task_discard(struct scsi_task *t)
{
	assert(stub.parsed_unfinished > 0);
	list_remove(&t->link);
	stub.parsed_unfinished--;
	stub.discarded++;
}

static void answer(struct scsi_task *t, const uint8_t *data, uint32_t len)
{
	if (len > t->data_len)
		len = t->data_len;
	if (len > 0)
		memcpy(t->data, data, len);
	t->data_len = len;
}

static void execute(struct scsi_task *t)
{
	uint8_t d[36] = {0};

	switch (t->cdb[0]) {
	case 0x12:
		d[2] = 6;
		d[3] = 2;
		d[4] = 31;
		d[7] = 2;
		memcpy(d + 8, "UMBRADEVSTUB            0001", 28);
		if (t->cdb[1] & 1) {
			memset(d, 0, sizeof(d));
			d[1] = t->cdb[2];
		}
		answer(t, d, 36);
		break;
	case 0x25:
		put_be32(d, STUB_DISK_BYTES / 512 - 1);
		put_be32(d + 4, 512);
		answer(t, d, 8);
		break;
	case 0x9e:
		put_be64(d, STUB_DISK_BYTES / 512 - 1);
		put_be32(d + 8, 512);
		answer(t, d, 32);
		break;
	case 0xa0:
		put_be32(d, 8);
		d[9] = 1;
		answer(t, d, 16);
		break;
	case 0x28:
	case 0x88:
		if (t->data_len)
			memcpy(t->data, stub.disk + t->lba * 512, t->data_len);
		break;
	case 0x2a:
	case 0x8a:
		if (t->data_in_hand)
			memcpy(stub.disk + t->lba * 512, t->data, t->data_in_hand);
		break;
	default:
		break;
	}
}

bool scsi_task_is_urgent(const struct scsi_task *task)
{
	return task->direction == SCSI_TO_INITIATOR;
}

void scsi_task_execute(struct scsi_task *t)
{
	assert(stub.parsed_unfinished > 0);
	list_remove(&t->link);
	stub.parsed_unfinished--;
	stub.executed++;
	stub.running++;
	t->nexus->running++;
	t->status = SCSI_STATUS_GOOD;
	t->sense_len = 0;
	t->aborted = false;
	if (t->cdb[0] == STUB_OPCODE_HANG ||
		((stub.flags & STUB_HANG_WRITES) && (t->cdb[0] == 0x2a || t->cdb[0] == 0x8a))) {
		list_push_back(&stub.hanging, &t->link);
		return;
	}
	execute(t);
	finish(t);
}

void stub_release_all(void)
{
	struct list_node *n;

	while ((n = list_pop(&stub.hanging))) {
		struct scsi_task *t = container_of(n, struct scsi_task, link);

		execute(t);
		finish(t);
	}
}

void scsi_tmf(struct scsi_tmf_call *call)
{
	unsigned before = stub.aborted;

	stub.tmfs++;
	switch (call->function) {
	case SCSI_ABORT_TASK:
		abort_hanging(call->nexus, NULL, &call->tag);
		call->done(call, stub.aborted > before ? SCSI_TMF_COMPLETE : SCSI_TMF_NO_TASK);
		break;
	case SCSI_ABORT_TASK_SET:
	case SCSI_CLEAR_TASK_SET:
	case SCSI_LUN_RESET:
		if ((get_be16(call->lun) & 0x3fff) != 1) {
			call->done(call, SCSI_TMF_NO_LUN);
			break;
		}
		abort_hanging(call->nexus, call->lun, NULL);
		call->done(call, SCSI_TMF_COMPLETE);
		break;
	case SCSI_CLEAR_ACA:
		call->done(call, SCSI_TMF_UNSUPPORTED);
		break;
	default:
		abort_hanging(call->nexus, NULL, NULL);
		call->done(call, SCSI_TMF_COMPLETE);
	}
}
