/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registrations and the reservation over restarts (APTPL, SPC-4 5.13.5). What is kept, big-endian:
 *
 *	type u8 (0: no reservation; 80h added: a SANITIZE; 40h added: notices), registrants u16, of each: key
 *	u64, ISID 6, port u16, holder u8, name length u8, name; notices (notice.c); of a SANITIZE: action u8,
 *	flags u8 (1 AUSE, 2 INVERT, 4 it failed), passes u8, pattern length u16, pattern
 *
 * With several controllers all of it is kept, APTPL or not: a takeover is no loss of power. It is APTPL's from then on.
 *
 * The array's catalogue keeps it with a checksum, in the order in which it was given. The generation is not
 * kept: it begins at 0 with the power (SPC-4 6.15.2).
 */
#include "array/scsi/lun.h"
#include "array/scsi/nexus.h"
#include "array/scsi/notice.h"
#include "array/scsi/reserve.h"
#include "array/scsi/sanitize.h"
#include "array/scsi/sense.h"
#include "array/scsi/task.h"
#include "array/util/bytes.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_BYTES     3u
#define REGISTRANT_BYTES 18u
#define WITH_SANITIZE    0x80
#define WITH_NOTICES     0x40

struct keep {
	struct array_call call;
	struct scsi_task *task;
};

void scsi_reserve_pack_size_add(size_t *bytes, const struct scsi_nexus_name *name)
{
	*bytes += REGISTRANT_BYTES + strlen(name->initiator);
}

size_t scsi_reserve_pack_size(const struct scsi_lun *s)
{
	size_t bytes = HEADER_BYTES + SCSI_SANITIZE_KEPT_MAX; /* which may come later */

	list_for_each (node, &s->registrants)
		scsi_reserve_pack_size_add(&bytes, &container_of(node, struct scsi_registrant, link)->name);
	return bytes;
}

static size_t pack(const struct scsi_lun *s, uint8_t *p)
{
	uint8_t *begin = p;
	bool registrants = (s->pr_kept || s->pr_always) && s->registrant_count > 0;
	bool sanitize = scsi_sanitize_is_kept(s->sanitize);

	if (!registrants && !sanitize && !s->notice_count)
		return 0;
	p[0] = (uint8_t)((registrants ? s->pr_type : 0) | (sanitize ? WITH_SANITIZE : 0) |
			 (s->notice_count ? WITH_NOTICES : 0));
	put_be16(p + 1, registrants ? (uint16_t)s->registrant_count : 0);
	p += HEADER_BYTES;
	list_for_each (node, &s->registrants) {
		const struct scsi_registrant *r = container_of(node, struct scsi_registrant, link);
		size_t name_len = strlen(r->name.initiator);

		if (!registrants)
			break;
		put_be64(p, r->key);
		memcpy(p + 8, r->name.isid, 6);
		put_be16(p + 14, r->name.port);
		p[16] = s->pr_holder == r;
		p[17] = (uint8_t)name_len;
		memcpy(p + REGISTRANT_BYTES, r->name.initiator, name_len);
		p += REGISTRANT_BYTES + name_len;
	}
	if (s->notice_count)
		p += scsi_notices_pack(s, p);
	if (sanitize)
		p += scsi_sanitize_pack(s->sanitize, p);
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

bool scsi_reserve_kept_notices(const struct lun *lun)
{
	return lun->reservations && lun->reservations_len > 0 && (lun->reservations[0] & WITH_NOTICES);
}

bool scsi_reserve_unpack(struct scsi_lun *s, const uint8_t *p, size_t len)
{
	unsigned count, type;
	bool one_holds, sanitize, notices;

	if (len < HEADER_BYTES)
		return false;
	sanitize = p[0] & WITH_SANITIZE;
	notices = p[0] & WITH_NOTICES;
	type = p[0] & ~(unsigned)(WITH_SANITIZE | WITH_NOTICES);
	if (type > PR_EXCLUSIVE_ACCESS_AR || type == 2 || type == 4)
		return false;
	s->pr_type = (uint8_t)type;
	count = get_be16(p + 1);
	s->pr_kept = (!sanitize && !notices) || count > 0;
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
	if (notices) {
		size_t used = scsi_notices_unpack(s, p, len);

		if (used == 0)
			return false;
		p += used;
		len -= used;
	}
	if (sanitize) {
		s->sanitize = scsi_sanitize_unpack(p, len);
		if (!s->sanitize)
			return false;
		len = 0;
	}
	one_holds = s->pr_type != 0 && !scsi_reserve_all_registrants(s->pr_type);
	return len == 0 && one_holds == (s->pr_holder != NULL) && (!s->pr_type || s->registrant_count > 0);
}

void scsi_reserve_keep(struct lun *lun, struct array_call *call)
{
	static uint8_t bytes[LUN_RESERVATIONS_MAX_BYTES];
	struct scsi_lun *s = lun->scsi;
	size_t others = scsi_reserve_pack_size(s);

	scsi_notices_fit(s, others < sizeof(bytes) ? sizeof(bytes) - others : 0);
	s->notices_changed = false;
	lun_keep_reservations(lun, bytes, pack(s, bytes), call);
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

	s->pr_always = task->nexus->target->controllers;
	if (!s->pr_kept && !s->pr_always && !task->lun_held->reservations && !s->pr_keeping) {
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
	scsi_reserve_keep(task->lun_held, &k->call);
}
