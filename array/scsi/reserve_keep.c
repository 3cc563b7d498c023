/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registrations and the reservation over restarts (APTPL, SPC-4 5.13.5). What is kept, big-endian:
 *
 *	type u8 (0: no reservation), registrants u16, of each: key u64, ISID 6, port u16, holder u8,
 *	name length u8, name
 *
 * The array's catalogue keeps it with a checksum, in the order in which it was given. The generation is not
 * kept: it begins at 0 with the power (SPC-4 6.15.2).
 */
#include "array/scsi/internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_BYTES     3u
#define REGISTRANT_BYTES 18u

struct keep {
	struct array_call call;
	struct scsi_task *task;
	size_t len;
	uint8_t bytes[ARRAY_RESERVATIONS_MAX_BYTES];
};

void scsi_reserve_pack_size_add(size_t *bytes, const struct scsi_nexus_name *name)
{
	*bytes += REGISTRANT_BYTES + strlen(name->initiator);
}

size_t scsi_reserve_pack_size(const struct scsi_lun *s)
{
	size_t bytes = HEADER_BYTES;

	list_for_each (node, &s->registrants)
		scsi_reserve_pack_size_add(&bytes, &container_of(node, struct scsi_registrant, link)->name);
	return bytes;
}

static size_t pack(const struct scsi_lun *s, uint8_t *p)
{
	uint8_t *begin = p;

	p[0] = s->pr_type;
	put_be16(p + 1, (uint16_t)s->registrant_count);
	p += HEADER_BYTES;
	list_for_each (node, &s->registrants) {
		const struct scsi_registrant *r = container_of(node, struct scsi_registrant, link);
		size_t name_len = strlen(r->name.initiator);

		put_be64(p, r->key);
		memcpy(p + 8, r->name.isid, 6);
		put_be16(p + 14, r->name.port);
		p[16] = s->pr_holder == r;
		p[17] = (uint8_t)name_len;
		memcpy(p + REGISTRANT_BYTES, r->name.initiator, name_len);
		p += REGISTRANT_BYTES + name_len;
	}
	return (size_t)(p - begin);
}

/* Returns the bytes read, 0: malformed or no memory. */
static size_t unpack_one(struct scsi_lun *s, const uint8_t *p, size_t len)
{
	struct scsi_registrant *r;
	size_t name_len;

	if (len < REGISTRANT_BYTES)
		return 0;
	name_len = p[17];
	if (name_len == 0 || name_len > UP_NAME_MAX_BYTES || name_len > len - REGISTRANT_BYTES || p[16] > 1 ||
		(p[16] && s->pr_holder) || get_be64(p) == 0)
		return 0;
	r = calloc(1, sizeof(*r));
	if (!r)
		return 0;
	r->key = get_be64(p);
	memcpy(r->name.isid, p + 8, 6);
	r->name.port = get_be16(p + 14);
	memcpy(r->name.initiator, p + REGISTRANT_BYTES, name_len);
	list_push_back(&s->registrants, &r->link);
	s->registrant_count++;
	if (p[16])
		s->pr_holder = r;
	return REGISTRANT_BYTES + name_len;
}

bool scsi_reserve_unpack(struct scsi_lun *s, const uint8_t *p, size_t len)
{
	unsigned count;
	bool one_holds;

	if (len < HEADER_BYTES || p[0] > PR_EXCLUSIVE_ACCESS_AR || p[0] == 2 || p[0] == 4)
		return false;
	s->pr_type = p[0];
	s->pr_kept = true;
	count = get_be16(p + 1);
	p += HEADER_BYTES;
	len -= HEADER_BYTES;
	if (count > PR_REGISTRANTS_MAX)
		return false;
	while (count-- > 0) {
		size_t used = unpack_one(s, p, len);

		if (used == 0)
			return false;
		p += used;
		len -= used;
	}
	one_holds = s->pr_type != 0 && !scsi_reserve_all_registrants(s->pr_type);
	return len == 0 && one_holds == (s->pr_holder != NULL) && (!s->pr_type || s->registrant_count > 0);
}

static void kept(struct array_call *call)
{
	struct keep *k = container_of(call, struct keep, call);
	struct scsi_task *task = k->task;

	/* The change stands in memory; the initiator learns that it may not outlive a restart. */
	if (call->fault.err)
		scsi_set_errno(task, call->fault.err);
	scsi_lun_of(task)->pr_keeping--;
	free(k);
	scsi_task_finish(task);
}

void scsi_reserve_finish_kept(struct scsi_task *task)
{
	struct scsi_lun *s = scsi_lun_of(task);
	struct keep *k;

	if (!s->pr_kept && !task->lun_held->reservations && !s->pr_keeping) {
		scsi_task_finish(task);
		return;
	}
	k = malloc(sizeof(*k));
	if (!k) {
		scsi_set_errno(task, -ENOMEM);
		scsi_task_finish(task);
		return;
	}
	memset(&k->call, 0, sizeof(k->call));
	k->call.done = kept;
	k->task = task;
	s->pr_keeping++;
	k->len = s->pr_kept && s->registrant_count > 0 ? pack(s, k->bytes) : 0;
	lun_keep_reservations(task->lun_held, k->bytes, k->len, &k->call);
}
