/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reservations: who conflicts with whom (SPC-4 5.13), and the legacy RESERVE/RELEASE(6) (SPC-2 5.5).
 *
 * A registrant is an I_T nexus by name (initiator name, ISID, target port), so a registration outlives its
 * session. A legacy reservation belongs to the living nexus and ends with it. The two kinds exclude each
 * other.
 */
#include "array/scsi/attention.h"
#include "array/scsi/command.h"
#include "array/scsi/commands.h"
#include "array/scsi/lun.h"
#include "array/scsi/nexus.h"
#include "array/scsi/notice.h"
#include "array/scsi/reserve.h"
#include "array/scsi/sense.h"
#include "array/scsi/task.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define OP_START_STOP    0x1B
#define OP_PREVENT_ALLOW 0x1E

bool scsi_reserve_name_is(const struct scsi_nexus_name *a, const struct scsi_nexus_name *b)
{
	return a->port == b->port && memcmp(a->isid, b->isid, sizeof(a->isid)) == 0 &&
	       strcasecmp(a->initiator, b->initiator) == 0;
}

void scsi_reserve_name(const struct scsi_nexus *n, struct scsi_nexus_name *out)
{
	memcpy(out->initiator, n->array.initiator, sizeof(out->initiator));
	memcpy(out->isid, n->isid, sizeof(out->isid));
	out->port = n->portal_group_tag;
}

struct scsi_registrant *scsi_reserve_find_name(const struct scsi_lun *s, const struct scsi_nexus_name *name)
{
	list_for_each (node, &s->registrants) {
		struct scsi_registrant *r = container_of(node, struct scsi_registrant, link);

		if (scsi_reserve_name_is(&r->name, name))
			return r;
	}
	return NULL;
}

struct scsi_registrant *scsi_reserve_find(const struct scsi_lun *s, const struct scsi_nexus *n)
{
	struct scsi_nexus_name name;

	if (s->registrant_count == 0)
		return NULL;
	scsi_reserve_name(n, &name);
	return scsi_reserve_find_name(s, &name);
}

struct scsi_nexus *scsi_reserve_nexus(struct scsi_target *t, const struct scsi_nexus_name *wanted)
{
	list_for_each (node, &t->nexuses) {
		struct scsi_nexus *n = container_of(node, struct scsi_nexus, link);
		struct scsi_nexus_name name;

		scsi_reserve_name(n, &name);
		if (!n->lost && scsi_reserve_name_is(wanted, &name))
			return n;
	}
	return NULL;
}

bool scsi_reserve_holds(const struct scsi_lun *s, const struct scsi_registrant *r)
{
	if (!s->pr_type || !r)
		return false;
	return scsi_reserve_all_registrants(s->pr_type) || s->pr_holder == r;
}

/* The row's class, but for forms of a command that SPC-4 and SBC-3 always allow. */
static enum scsi_conflict conflict_class(const struct scsi_task *task)
{
	if (task->cdb[0] == OP_START_STOP && (task->cdb[4] & 0xF1) == 0x01)
		return CONFLICT_NEVER;
	if (task->cdb[0] == OP_PREVENT_ALLOW && (task->cdb[4] & 0x03) == 0)
		return CONFLICT_NEVER;
	return task->command->conflict;
}

static bool legacy_allows(const struct scsi_task *task)
{
	return (task->command->flags & CMD_LEGACY_OK) ||
	       (task->cdb[0] == OP_PREVENT_ALLOW && (task->cdb[4] & 0x03) == 0);
}

static bool persistent_excludes(
	const struct scsi_lun *s, const struct scsi_nexus *n, enum scsi_conflict conflict)
{
	struct scsi_registrant *r;

	if (!s->pr_type || conflict == CONFLICT_NEVER)
		return false;
	r = scsi_reserve_find(s, n);
	if (r && (scsi_reserve_registrants_only(s->pr_type) || scsi_reserve_holds(s, r)))
		return false;
	switch (s->pr_type) {
	case PR_WRITE_EXCLUSIVE:
	case PR_WRITE_EXCLUSIVE_RO:
	case PR_WRITE_EXCLUSIVE_AR:
		return conflict == CONFLICT_WRITE;
	default:
		return true;
	}
}

bool scsi_reserve_excludes(const struct scsi_lun *s, const struct scsi_nexus *n, enum scsi_conflict conflict)
{
	return (s->legacy_holder && s->legacy_holder != n) || persistent_excludes(s, n, conflict);
}

bool scsi_reserve_conflicts(const struct scsi_task *task)
{
	const struct scsi_lun *s = scsi_lun_of(task);

	if (!s || (task->flags & TASK_INBAND))
		return false;
	if (s->legacy_holder && s->legacy_holder != task->nexus)
		return !legacy_allows(task);
	return s->pr_type && persistent_excludes(s, task->nexus, conflict_class(task));
}

void scsi_reserve_nexus_lost(struct scsi_nexus *n)
{
	uint32_t number = 0;
	struct lun *lun;

	while ((number = map_next(n->array.host, number, &lun)) != 0) {
		struct scsi_lun *s = lun->scsi;

		if (s && s->legacy_holder == n)
			s->legacy_holder = NULL;
	}
}

void scsi_reserve_lun_reset(struct scsi_lun *s)
{
	s->legacy_holder = NULL; /* persistent ones persist */
}

/* ---- registrants that go -------------------------------------------------------------------------------- */

void scsi_reserve_tell(struct scsi_task *task, const struct scsi_registrant *r, enum scsi_attention what)
{
	struct scsi_target *t = task->nexus->target;
	struct scsi_nexus *n = scsi_reserve_nexus(t, &r->name);
	uint32_t number = n ? map_number(n->array.host, task->lun_held) : 0;

	if (n == task->nexus || scsi_notice_leave(t, task->lun_held, &r->name, what))
		return;
	if (number != 0)
		scsi_attention_set(n, number, what);
}

void scsi_reserve_tell_others(struct scsi_task *task, const struct scsi_lun *s, enum scsi_attention what)
{
	list_for_each (node, &s->registrants)
		scsi_reserve_tell(task, container_of(node, struct scsi_registrant, link), what);
}

void scsi_reserve_end(struct scsi_lun *s)
{
	s->pr_type = 0;
	s->pr_holder = NULL;
}

void scsi_reserve_drop(struct scsi_lun *s, struct scsi_registrant *r)
{
	list_remove(&r->link);
	s->registrant_count--;
	if (s->pr_holder == r || s->registrant_count == 0)
		scsi_reserve_end(s);
	free(r);
}

/* SPC-4 5.13.11.2: with a registrants-only reservation the others learn that it is gone. */
void scsi_reserve_unregister(struct scsi_task *task, struct scsi_lun *s, struct scsi_registrant *r)
{
	bool tells = s->pr_holder == r && scsi_reserve_registrants_only(s->pr_type);

	scsi_reserve_drop(s, r);
	if (tells)
		scsi_reserve_tell_others(task, s, ATTENTION_RESERVATIONS_RELEASED);
}

/* ---- RESERVE(6), RELEASE(6) ---------------------------------------------------------------------------- */

void scsi_legacy_reserve(struct scsi_task *task)
{
	struct scsi_lun *s = scsi_lun_of(task);

	if (s->registrant_count > 0)
		scsi_conflict(task);
	else
		s->legacy_holder = task->nexus;
	scsi_task_finish(task);
}

void scsi_legacy_release(struct scsi_task *task)
{
	struct scsi_lun *s = scsi_lun_of(task);

	if (s->registrant_count > 0)
		scsi_conflict(task);
	else if (s->legacy_holder == task->nexus)
		s->legacy_holder = NULL;
	scsi_task_finish(task);
}
