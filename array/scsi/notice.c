/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Of a reservation that was released or preempted (2A/03 to 2A/05) each registrant is told. One that registered through the other
 * controller, or whose registration is of its ports too, is told with the next command that is passed on to the owner; and so is who
 * has asked the owner for something when mode pages change (2A/01) or the LUN is reset (29/02, 29/03). The owner may end before
 * that. So it leaves a notice, in the LUN's record of reservations and mode pages, with the change that it tells of:
 * no write of its own, and none where nobody is registered at the other controller's ports.
 *
 * It is handed out once: here to the nexus that stands for that one, before its next command; after a takeover by the new owner
 * to the nexus itself, which is the new owner's own. Who logs in anew has 29/00 instead, as for all that it was not told.
 *
 * A notice stays on record for a while after it was told, for the answer may be lost with its owner: until the nexus sends another
 * command for the LUN, or longer than the other controller waits for an answer. So it may be told twice where the owner ends just
 * then, and is never lost. What was told is taken out of the record with the next change of the LUN's reservations, or then.
 *
 * Invariants: one notice for a name and LUN, with at least one attention; `handed` is a part of `what`; a notice is for a nexus of
 * another controller's port, but between the start of an owner and scsi_notices_begin.
 */
#include "array/scsi/notice.h"

#include <stdlib.h>
#include <string.h>
#include "array/reactor/reactor.h"
#include "array/scsi/reserve.h"
#include "array/util/bytes.h"

#define NOTICES_MAX  512u   /* of a LUN */
#define REST_MS      16000u /* longer than the other controller waits for an answer */
#define NOTICE_BYTES 10u

struct scsi_notice {
	struct list_node link;
	struct scsi_nexus_name name;
	uint16_t what;   /* bits of enum scsi_attention */
	uint16_t handed; /* of them, to the nexus that stands for this one */
	bool rested;     /* had been told when the record was looked through last */
};

/* By their bits in the record. */
static const enum scsi_attention recorded[] = {ATTENTION_RESERVATIONS_PREEMPTED,
	ATTENTION_RESERVATIONS_RELEASED, ATTENTION_REGISTRATIONS_PREEMPTED, ATTENTION_MODE_PARAMETERS,
	ATTENTION_TARGET_RESET, ATTENTION_LUN_RESET};
#define RECORDED (sizeof(recorded) / sizeof(recorded[0]))

static size_t bytes_of(const struct scsi_notice *m)
{
	return NOTICE_BYTES + strlen(m->name.initiator);
}

static struct scsi_notice *notice_of(struct list_node *node)
{
	return container_of(node, struct scsi_notice, link);
}

static void drop(struct scsi_lun *s, struct scsi_notice *m)
{
	list_remove(&m->link);
	s->notice_count--;
	s->notices_changed = true;
	free(m);
}

static struct scsi_notice *find(const struct scsi_lun *s, const struct scsi_nexus_name *name)
{
	list_for_each (node, &s->notices)
		if (scsi_reserve_name_is(&notice_of(node)->name, name))
			return notice_of(node);
	return NULL;
}

static struct scsi_notice *add(struct scsi_lun *s, const struct scsi_nexus_name *name)
{
	struct scsi_notice *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->name = *name;
	list_push_back(&s->notices, &m->link);
	s->notice_count++;
	return m;
}

static bool is_anothers(const struct scsi_target *t, uint16_t port)
{
	for (unsigned i = 0; i < t->own->port_count; i++)
		if (t->own->ports[i] == port)
			return false;
	return t->controllers;
}

/* A LUN's state if there are notices, or have just been. */
static struct scsi_lun *with_notices(struct lun *lun)
{
	struct scsi_lun *s = lun->scsi;

	if (s)
		return s->notice_count > 0 || s->notices_changed ? s : NULL;
	return scsi_reserve_kept_notices(lun) ? scsi_lun_get(lun) : NULL;
}

static void kept(struct array_call *call)
{
	free(call); /* where it failed they are told again by another owner */
}

static void keep(struct lun *lun)
{
	struct array_call *call = calloc(1, sizeof(*call));

	if (!call)
		return; /* with the LUN's next change */
	call->done = kept;
	scsi_reserve_keep(lun, call);
}

/* ---- left and handed out ------------------------------------------------------------------------------- */

static bool sees(const struct scsi_target *t, const char *initiator, const struct lun *lun)
{
	const struct host *h = host_find_iqn(t->array, initiator);

	return h && map_number(h, lun) != 0;
}

/* Of those that do not see the LUN any more, else the oldest. */
static void make_room(const struct scsi_target *t, const struct lun *lun, struct scsi_lun *s)
{
	list_for_each_safe (node, &s->notices)
		if (!sees(t, notice_of(node)->name.initiator, lun))
			drop(s, notice_of(node));
	if (s->notice_count == NOTICES_MAX)
		drop(s, notice_of(s->notices.head.next));
}

bool scsi_notice_leave(
	struct scsi_target *t, struct lun *lun, const struct scsi_nexus_name *name, enum scsi_attention what)
{
	struct scsi_lun *s = lun->scsi;
	struct scsi_notice *m;

	if (!is_anothers(t, name->port))
		return false;
	if (!sees(t, name->initiator, lun))
		return true;
	m = find(s, name);
	if (!m) {
		if (s->notice_count == NOTICES_MAX)
			make_room(t, lun, s);
		m = add(s, name);
	}
	if (!m)
		return true; /* no memory: it sees the conflict */
	m->what |= (uint16_t)(1u << what);
	m->handed &= (uint16_t) ~(1u << what);
	return true;
}

void scsi_notice_others(
	struct scsi_target *t, struct lun *lun, const struct scsi_nexus *except, enum scsi_attention what)
{
	list_for_each (node, &t->nexuses) {
		struct scsi_nexus *n = container_of(node, struct scsi_nexus, link);
		uint32_t number = n->lost ? 0 : map_number(n->array.host, lun);
		struct scsi_nexus_name name;

		if (number == 0 || n == except)
			continue;
		scsi_reserve_name(n, &name);
		if (!scsi_notice_leave(t, lun, &name, what))
			scsi_attention_set(n, number, what);
	}
}

/* Of what was handed to n, that which it has told. */
static uint16_t told(const struct scsi_notice *m, const struct scsi_nexus *n, uint32_t number)
{
	return m->handed & (uint16_t)~n->attention[number];
}

static void tell_no_more(struct scsi_lun *s, struct scsi_notice *m, uint16_t what)
{
	m->what &= (uint16_t)~what;
	m->handed &= (uint16_t)~what;
	m->rested = false;
	s->notices_changed |= what != 0;
	if (!m->what)
		drop(s, m);
}

static void rest_over(struct reactor_timer *timer);

static void wait(struct scsi_target *t)
{
	t->notices_rest.fire = rest_over;
	reactor_timer_arm(array_settings(t->array)->reactor, &t->notices_rest, REST_MS);
}

void scsi_notice_hand(struct scsi_nexus *n, struct lun *lun, uint32_t number)
{
	struct scsi_lun *s = with_notices(lun);
	struct scsi_nexus_name name;
	struct scsi_notice *m;
	uint16_t before;

	scsi_reserve_name(n, &name);
	m = s ? find(s, &name) : NULL;
	if (!m)
		return;
	if (!is_anothers(n->target, name.port)) {
		n->attention[number] |= m->what;
		drop(s, m); /* it ends with its nexus */
		return;
	}
	before = told(m, n, number); /* a command before this one: its answer has come */
	n->attention[number] |= m->what & (uint16_t)~m->handed;
	m->handed = m->what;
	tell_no_more(s, m, before);
	if (!n->target->notices_wait)
		wait(n->target);
	n->target->notices_wait = true;
}

void scsi_notice_nexus_gone(const struct scsi_nexus *n, bool lost)
{
	struct scsi_nexus_name name;
	uint32_t number = 0;
	struct lun *lun;

	scsi_reserve_name(n, &name);
	while ((number = map_next(n->array.host, number, &lun)) != 0) {
		struct scsi_lun *s = with_notices(lun);
		struct scsi_notice *m = s ? find(s, &name) : NULL;

		if (!m)
			continue;
		tell_no_more(s, m, lost ? m->what : told(m, n, number));
		m = find(s, &name);
		if (m)
			m->handed = 0; /* the next one that stands for it has nothing yet */
		if (lost && s->notices_changed)
			keep(lun);
	}
}

/* ---- the record ---------------------------------------------------------------------------------------- */

/* Takes what was told, and has rested (or at once), out of the LUN's notices. True: some of it is to rest yet. */
static bool settle(struct scsi_target *t, struct lun *lun, struct scsi_lun *s, bool at_once)
{
	bool more = false;

	list_for_each_safe (node, &s->notices) {
		struct scsi_notice *m = notice_of(node);
		struct scsi_nexus *n = m->handed ? scsi_reserve_nexus(t, &m->name) : NULL;
		uint32_t number = n ? map_number(n->array.host, lun) : 0;
		uint16_t what = number ? told(m, n, number) : 0;

		if (what && (m->rested || at_once)) {
			tell_no_more(s, m, what);
		} else if (what) {
			m->rested = true;
			more = true;
		}
	}
	if (s->notices_changed)
		keep(lun);
	return more;
}

static void settle_all(struct scsi_target *t, bool at_once)
{
	bool more = false;

	for (struct lun *lun = lun_next(t->array, NULL); lun; lun = lun_next(t->array, lun)) {
		struct scsi_lun *s = lun->scsi ? with_notices(lun) : NULL;

		if (s && settle(t, lun, s, at_once))
			more = true;
	}
	t->notices_wait = more;
	if (more)
		wait(t);
}

static void rest_over(struct reactor_timer *timer)
{
	settle_all(container_of(timer, struct scsi_target, notices_rest), false);
}

void scsi_notices_settle(struct scsi_target *t)
{
	if (t->notices_wait)
		settle_all(t, true);
}

void scsi_notices_begin(struct scsi_target *t)
{
	for (struct lun *lun = lun_next(t->array, NULL); lun; lun = lun_next(t->array, lun)) {
		struct scsi_lun *s = with_notices(lun);

		if (!s)
			continue;
		list_for_each_safe (node, &s->notices)
			if (!is_anothers(t, notice_of(node)->name.port))
				drop(s, notice_of(node));
		if (s->notices_changed)
			keep(lun);
	}
}

void scsi_notices_end(struct scsi_target *t)
{
	reactor_timer_disarm(array_settings(t->array)->reactor, &t->notices_rest);
}

/* u16 their number; of each: attentions u8, ISID 6, port u16, name length u8, name. */
size_t scsi_notices_pack(const struct scsi_lun *s, uint8_t *p)
{
	uint8_t *begin = p;

	put_be16(p, (uint16_t)s->notice_count);
	p += 2;
	list_for_each (node, &s->notices) {
		const struct scsi_notice *m = notice_of(node);
		size_t name_len = strlen(m->name.initiator);

		p[0] = 0;
		for (unsigned i = 0; i < RECORDED; i++)
			if (m->what & 1u << recorded[i])
				p[0] |= (uint8_t)(1u << i);
		memcpy(p + 1, m->name.isid, sizeof(m->name.isid));
		put_be16(p + 7, m->name.port);
		p[9] = (uint8_t)name_len;
		memcpy(p + NOTICE_BYTES, m->name.initiator, name_len);
		p += NOTICE_BYTES + name_len;
	}
	return (size_t)(p - begin);
}

static size_t unpack_one(struct scsi_lun *s, const uint8_t *p, size_t len)
{
	struct scsi_nexus_name name = {0};
	struct scsi_notice *m;
	size_t name_len = len < NOTICE_BYTES ? 0 : p[9];

	if (name_len == 0 || name_len > UP_NAME_MAX_BYTES || name_len > len - NOTICE_BYTES || p[0] == 0 ||
		p[0] >> RECORDED)
		return 0;
	memcpy(name.isid, p + 1, sizeof(name.isid));
	name.port = get_be16(p + 7);
	memcpy(name.initiator, p + NOTICE_BYTES, name_len);
	m = find(s, &name) ? NULL : add(s, &name);
	if (!m)
		return 0;
	for (unsigned i = 0; i < RECORDED; i++)
		if (p[0] & 1u << i)
			m->what |= (uint16_t)(1u << recorded[i]);
	return NOTICE_BYTES + name_len;
}

size_t scsi_notices_unpack(struct scsi_lun *s, const uint8_t *p, size_t len)
{
	unsigned count = len < 2 ? 0 : get_be16(p);
	size_t at = 2;

	if (count == 0 || count > NOTICES_MAX)
		return 0;
	while (count-- > 0) {
		size_t used = unpack_one(s, p + at, len - at);

		if (used == 0)
			return 0;
		at += used;
	}
	return at;
}

void scsi_notices_fit(struct scsi_lun *s, size_t room)
{
	size_t bytes = 2;

	list_for_each (node, &s->notices)
		bytes += bytes_of(notice_of(node));
	while (s->notice_count > 0 && bytes > room) {
		struct scsi_notice *m = notice_of(s->notices.head.next);

		bytes -= bytes_of(m);
		drop(s, m);
	}
}

void scsi_notices_free(struct scsi_lun *s)
{
	struct list_node *node;

	while ((node = list_pop(&s->notices)))
		free(notice_of(node));
}
