/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registrations and the reservation over restarts (APTPL, SPC-4 5.13.5). What is kept, big-endian:
 *
 *	type u8 (0: no reservation; 80h added: a SANITIZE; 40h added: notices; 20h added: mode pages; 10h
 *	added: a generation), registrants u16, of each: key u64, ISID 6, port u16, holder u8, name length
 *	u8, name; notices (notice.c); of changed mode pages: u8 (1 WCE off, 2 SWP, 4 D_SENSE); the
 *	generation: u32; of a SANITIZE: action u8, flags u8 (1 AUSE, 2 INVERT, 4 it failed), passes u8,
 *	pattern length u16, pattern
 *
 * With several controllers all of it is kept, APTPL or not, and mode pages that were changed, and the generation: a takeover is no loss of
 * power. It is APTPL's from then on. With one controller the generation is not kept: it begins at 0 with the power (SPC-4 6.15.2).
 *
 * The array's catalogue keeps it with a checksum, in the order in which it was given.
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
#define WITH_MODE        0x20
#define WITH_GENERATION  0x10
#define GENERATION_BYTES 4u
#define MODE_WCE_OFF     0x01
#define MODE_SWP         0x02
#define MODE_D_SENSE     0x04

struct keep {
	struct array_call call;
	struct scsi_task *task;
	void (*then)(struct scsi_task *task);
};

void scsi_reserve_pack_size_add(size_t *bytes, const struct scsi_nexus_name *name)
{
	*bytes += REGISTRANT_BYTES + strlen(name->initiator);
}

size_t scsi_reserve_pack_size(const struct scsi_lun *s)
{
	size_t bytes =
		HEADER_BYTES + 1 + GENERATION_BYTES + SCSI_SANITIZE_KEPT_MAX; /* which may come later */

	list_for_each (node, &s->registrants)
		scsi_reserve_pack_size_add(&bytes, &container_of(node, struct scsi_registrant, link)->name);
	return bytes;
}

static uint8_t pack_mode(const struct scsi_mode *m)
{
	return (uint8_t)((m->wce ? 0 : MODE_WCE_OFF) | (m->swp ? MODE_SWP : 0) |
			 (m->d_sense ? MODE_D_SENSE : 0));
}

static size_t pack(const struct scsi_lun *s, uint8_t *p)
{
	uint8_t *begin = p, mode = s->pr_always ? pack_mode(&s->mode) : 0;
	bool registrants = (s->pr_kept || s->pr_always) && s->registrant_count > 0;
	bool sanitize = scsi_sanitize_is_kept(s->sanitize);
	bool generation = s->pr_always && s->pr_generation;

	if (!registrants && !sanitize && !s->notice_count && !mode && !generation)
		return 0;
	p[0] = (uint8_t)((registrants ? s->pr_type : 0) | (sanitize ? WITH_SANITIZE : 0) |
			 (s->notice_count ? WITH_NOTICES : 0) | (mode ? WITH_MODE : 0) |
			 (generation ? WITH_GENERATION : 0));
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
	if (mode)
		*p++ = mode;
	if (generation) {
		put_be32(p, s->pr_generation);
		p += GENERATION_BYTES;
	}
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

static bool unpack_mode(struct scsi_lun *s, const uint8_t *p, size_t len)
{
	if (len == 0 || p[0] == 0 || (p[0] & ~(MODE_WCE_OFF | MODE_SWP | MODE_D_SENSE)))
		return false;
	s->mode.wce = !(p[0] & MODE_WCE_OFF);
	s->mode.swp = p[0] & MODE_SWP;
	s->mode.d_sense = p[0] & MODE_D_SENSE;
	return true;
}

bool scsi_reserve_unpack(struct scsi_lun *s, const uint8_t *p, size_t len)
{
	unsigned count, type;
	bool one_holds, sanitize, notices, mode, generation;

	if (len < HEADER_BYTES)
		return false;
	sanitize = p[0] & WITH_SANITIZE;
	notices = p[0] & WITH_NOTICES;
	mode = p[0] & WITH_MODE;
	generation = p[0] & WITH_GENERATION;
	type = p[0] & ~(unsigned)(WITH_SANITIZE | WITH_NOTICES | WITH_MODE | WITH_GENERATION);
	if (type > PR_EXCLUSIVE_ACCESS_AR || type == 2 || type == 4)
		return false;
	s->pr_type = (uint8_t)type;
	count = get_be16(p + 1);
	s->pr_kept = (!sanitize && !notices && !mode && !generation) || count > 0;
	s->pr_always = notices || mode || generation;
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
	if (mode) {
		if (!unpack_mode(s, p, len))
			return false;
		p++;
		len--;
	}
	if (generation) {
		if (len < GENERATION_BYTES || !get_be32(p))
			return false;
		s->pr_generation = get_be32(p);
		p += GENERATION_BYTES;
		len -= GENERATION_BYTES;
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
	void (*then)(struct scsi_task * task) = k->then;

	/* The change stands in memory; the initiator learns that it may not outlive a restart. */
	if (call->fault.err) {
		scsi_set_errno(task, call->fault.err);
		then = scsi_task_finish;
	}
	scsi_lun_of(task)->pr_keeping--;
	free(k);
	then(task);
}

void scsi_reserve_keep_then(struct scsi_task *task, void (*then)(struct scsi_task *task))
{
	struct scsi_lun *s = scsi_lun_of(task);
	struct keep *k;

	s->pr_always = task->nexus->target->controllers;
	if (!s->pr_kept && !s->pr_always && !task->lun_held->reservations && !s->pr_keeping) {
		then(task);
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
	k->then = then;
	s->pr_keeping++;
	scsi_reserve_keep(task->lun_held, &k->call);
}

void scsi_reserve_finish_kept(struct scsi_task *task)
{
	scsi_reserve_keep_then(task, scsi_task_finish);
}
