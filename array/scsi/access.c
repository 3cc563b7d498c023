/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asymmetric access (SPC-4 5.15.2). Each controller's ports are a target port group. One controller owns the array, and
 * its group is active/optimized; the others stand by. Hosts ask REPORT TARGET PORT GROUPS for it, and a unit attention
 * (2A/06) tells them to ask again.
 *
 * In standby a LUN answers what it can know there (the command table says which: CMD_ALWAYS, CMD_STANDBY). What only the
 * owner knows (reservations, mode pages, logs: CMD_OWNER) is passed on to it, and its answer is the LUN's: so a host may
 * register through all its paths, and sees one set of mode pages. So is what task management does to others than the asking
 * nexus: a reset is the LUN's, whatever the path. Everything else ends with 02/04/0B, in transition with 02/04/0A. The
 * control LU is no part of the array's data, and answers in every state.
 *
 * Invariants: no id and no port is in two groups; t->ports are the ports of all groups; t->own is one of the groups.
 */
#include "array/scsi/access.h"
#include "array/scsi/attention.h"
#include "array/scsi/command.h"
#include "array/scsi/commands.h"
#include "array/scsi/lun.h"
#include "array/scsi/nexus.h"
#include "array/scsi/reply.h"
#include "array/scsi/sense.h"
#include "array/scsi/task.h"
#include "array/scsi/tmf.h"
#include "array/util/bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SINGLE_GROUP 1

/* REPORT TARGET PORT GROUPS (SPC-4 6.33) */
#define PREF                0x80
#define SUPPORTED_OPTIMIZED 0x01 /* byte 1 of a descriptor: states that a group can be in */
#define SUPPORTED_ALL       (0x80 | 0x08 | 0x04 | SUPPORTED_OPTIMIZED) /* transitioning, unavailable, standby */
#define STATUS_IMPLICIT     0x02
#define FORMAT_EXTENDED     1
/* A host waits so long for the end of a transition; it is a takeover, which is much shorter. */
#define TRANSITION_S 60

/* ---- the groups ---------------------------------------------------------------------------------------- */

static bool has_port(const struct scsi_port_group *g, uint16_t port)
{
	for (unsigned i = 0; i < g->port_count; i++)
		if (g->ports[i] == port)
			return true;
	return false;
}

static bool group_is_good(const struct scsi_port_group *groups, unsigned at, unsigned *ports)
{
	const struct scsi_port_group *g = &groups[at];

	*ports += g->port_count;
	if (g->port_count > SCSI_PORTS_MAX || *ports > SCSI_PORTS_MAX)
		return false;
	for (unsigned i = 0; i < at; i++) {
		if (groups[i].id == g->id)
			return false;
		for (unsigned p = 0; p < g->port_count; p++)
			if (has_port(&groups[i], g->ports[p]))
				return false;
	}
	return true;
}

/* The index of the group with that id, or -EINVAL. */
static int check(const struct scsi_port_group *groups, unsigned count, uint16_t id)
{
	unsigned ports = 0;
	int own = -EINVAL;

	if (count > SCSI_PORT_GROUPS_MAX)
		return -EINVAL;
	for (unsigned i = 0; i < count; i++) {
		if (!group_is_good(groups, i, &ports))
			return -EINVAL;
		if (groups[i].id == id)
			own = (int)i;
	}
	return own;
}

/* The groups without their ports, then the ports, which come out in order and each once. */
static void take(struct scsi_target *t, const struct scsi_port_group *groups, unsigned count, unsigned own)
{
	memset(t->groups, 0, sizeof(t->groups));
	t->port_count = 0;
	t->group_count = count;
	for (unsigned i = 0; i < count; i++) {
		t->own = &t->groups[i];
		t->own->id = groups[i].id;
		t->own->access = groups[i].access;
		t->own->preferred = groups[i].preferred;
		for (unsigned p = 0; p < groups[i].port_count; p++)
			scsi_target_add_port(t, groups[i].ports[p]);
	}
	t->own = &t->groups[own];
}

int scsi_access_init(struct scsi_target *t, const struct scsi_target_options *options)
{
	struct scsi_port_group single = {.id = SINGLE_GROUP};
	int own;

	t->controllers = options->groups != NULL;
	if (options->standby)
		t->standby = *options->standby;
	if (!options->groups) {
		take(t, &single, 1, 0);
		for (unsigned i = 0; i < options->port_count; i++)
			scsi_target_add_port(t, options->ports[i]);
		return 0;
	}
	own = check(options->groups, options->group_count, options->group);
	if (own < 0)
		return own;
	take(t, options->groups, options->group_count, (unsigned)own);
	return 0;
}

int scsi_target_set_groups(struct scsi_target *t, const struct scsi_port_group *groups, unsigned count)
{
	static struct scsi_port_group before[SCSI_PORT_GROUPS_MAX];
	unsigned count_before = t->group_count;
	int own = check(groups, count, t->own->id);

	if (own < 0)
		return own;
	memcpy(before, t->groups, sizeof(before));
	take(t, groups, count, (unsigned)own);
	t->controllers = true;
	if (count != count_before || memcmp(before, t->groups, sizeof(before)) != 0)
		scsi_attention_all(t, ATTENTION_ACCESS_STATE);
	return 0;
}

/* ---- what a command meets ------------------------------------------------------------------------------ */

bool scsi_access_is_owner(const struct scsi_target *t)
{
	return t->own->access == SCSI_ACCESS_OPTIMIZED;
}

void scsi_access_sense(const struct scsi_target *t, struct scsi_sense *out)
{
	switch (t->own->access) {
	case SCSI_ACCESS_OPTIMIZED:
		return;
	case SCSI_ACCESS_STANDBY:
		*out = (struct scsi_sense){.key = SENSE_NOT_READY, .asc = ASC_STANDBY};
		return;
	case SCSI_ACCESS_UNAVAILABLE:
		*out = (struct scsi_sense){.key = SENSE_NOT_READY, .asc = ASC_UNAVAILABLE};
		return;
	case SCSI_ACCESS_TRANSITIONING:
		*out = (struct scsi_sense){.key = SENSE_NOT_READY, .asc = ASC_TRANSITIONING};
		return;
	}
}

/* Of which flags of a command does one suffice? */
static unsigned flags_allowed(const struct scsi_target *t)
{
	if (t->own->access != SCSI_ACCESS_STANDBY)
		return CMD_ALWAYS;
	return CMD_ALWAYS | CMD_STANDBY | (t->standby.forward ? CMD_OWNER : 0);
}

static bool allows(const struct scsi_task *task)
{
	const struct scsi_target *t = task->nexus->target;

	return scsi_access_is_owner(t) || (task->flags & (TASK_CONTROL_LU | TASK_ABSENT_LU)) ||
	       (task->command->flags & flags_allowed(t));
}

bool scsi_access_allows(struct scsi_task *task)
{
	const struct scsi_target *t = task->nexus->target;
	struct scsi_sense sense = {.key = SENSE_NO_SENSE};

	if (allows(task)) {
		if (!scsi_access_is_owner(t) && task->lun_held && (task->command->flags & CMD_OWNER))
			task->flags |= TASK_FORWARD;
		return true;
	}
	scsi_access_sense(t, &sense);
	return scsi_fail_sense(task, &sense);
}

bool scsi_access_still_allows(const struct scsi_task *task)
{
	/* One for the owner was not looked at for reservations here. */
	return allows(task) && !((task->flags & TASK_FORWARD) && scsi_access_is_owner(task->nexus->target));
}

/* ---- to the owner -------------------------------------------------------------------------------------- */

struct forward {
	struct scsi_remote remote;
	struct scsi_task *task;
};

static void take_answer(struct scsi_task *task, const struct scsi_remote *r)
{
	struct scsi_sense sense = {.key = SENSE_NOT_READY, .asc = ASC_NOT_READY};

	if (r->err == -ESHUTDOWN) {
		scsi_access_sense(task->nexus->target, &sense);
		scsi_fail_sense(task, &sense);
		return;
	}
	if (r->err) {
		scsi_set_errno(task, r->err);
		return;
	}
	task->status = r->status;
	task->sense_len = r->sense_len < sizeof(task->sense) ? r->sense_len : sizeof(task->sense);
	memcpy(task->sense, r->sense, task->sense_len);
	if (task->direction == SCSI_TO_INITIATOR && r->data_len < task->data_len)
		task->data_len = r->data_len;
}

/* The owner has told a unit attention, or may have, and no initiator hears it: 29/07 stands for it, whatever it was. */
static bool attention_is_lost(const struct scsi_task *task, const struct scsi_remote *r)
{
	if (r->err)
		return r->unsure;
	return (task->flags & TASK_ABORTED) && scsi_sense_is_attention(r->sense, r->sense_len);
}

static void forwarded(struct scsi_remote *r)
{
	struct forward *f = container_of(r, struct forward, remote);
	struct scsi_task *task = f->task;

	if (attention_is_lost(task, r))
		scsi_attention_set(task->nexus, task->lun_number, ATTENTION_NEXUS_LOSS);
	take_answer(task, r);
	free(f);
	scsi_task_finish(task);
}

static void name_nexus(struct scsi_remote *r, const struct scsi_nexus *n)
{
	memcpy(r->initiator, n->array.initiator, sizeof(r->initiator));
	memcpy(r->isid, n->isid, sizeof(r->isid));
	r->port = n->portal_group_tag;
	r->authenticated = n->array.authenticated;
}

void scsi_access_nexus_lost(const struct scsi_nexus *n)
{
	const struct scsi_standby_ops *ops = &n->target->standby;
	struct scsi_remote r = {.direction = SCSI_NONE};

	if (!n->forwarded || !ops->lost)
		return;
	name_nexus(&r, n);
	ops->lost(ops->ctx, &r);
}

void scsi_access_forward(struct scsi_task *task)
{
	struct scsi_nexus *n = task->nexus;
	struct forward *f = calloc(1, sizeof(*f));

	if (!f) {
		scsi_set_errno(task, -ENOMEM);
		scsi_task_finish(task);
		return;
	}
	f->task = task;
	n->forwarded = true;
	name_nexus(&f->remote, n);
	memcpy(f->remote.lun_id, task->lun_held->id, sizeof(f->remote.lun_id));
	f->remote.cdb_len = task->command->cdb_len;
	memcpy(f->remote.cdb, task->cdb, f->remote.cdb_len);
	f->remote.direction = task->direction;
	f->remote.data = task->data;
	f->remote.data_len = task->data_len;
	f->remote.done = forwarded;
	n->target->standby.forward(n->target->standby.ctx, &f->remote);
}

struct manage {
	struct scsi_remote remote;
	struct scsi_tmf_call *call;
};

static void managed(struct scsi_remote *r)
{
	struct manage *m = container_of(r, struct manage, remote);
	struct scsi_tmf_call *call = m->call;

	call->failed = call->failed || r->err;
	call->keeping--;
	free(m);
	scsi_tmf_check(call->nexus->target);
}

bool scsi_access_manage(struct scsi_tmf_call *call, const struct lun *lun)
{
	struct scsi_nexus *n = call->nexus;
	const struct scsi_target *t = n->target;
	bool stands_by = t->own->access == SCSI_ACCESS_STANDBY;
	struct manage *m;

	if (!t->controllers || scsi_access_is_owner(t) || (stands_by && !t->standby.manage))
		return false;
	/* In transition it is nobody's just now. */
	m = stands_by ? calloc(1, sizeof(*m)) : NULL;
	if (!m) {
		call->failed = true;
		return true;
	}
	m->call = call;
	call->keeping++;
	n->forwarded = true;
	name_nexus(&m->remote, n);
	if (lun)
		memcpy(m->remote.lun_id, lun->id, sizeof(m->remote.lun_id));
	m->remote.cdb[0] = (uint8_t)call->function;
	m->remote.cdb_len = 1;
	m->remote.direction = SCSI_NONE;
	m->remote.done = managed;
	t->standby.manage(t->standby.ctx, &m->remote);
	return true;
}

/* ---- REPORT TARGET PORT GROUPS ------------------------------------------------------------------------- */

static void put_group(struct scsi_reply *r, const struct scsi_target *t, const struct scsi_port_group *g)
{
	scsi_reply_u8(r, (uint8_t)((g->preferred ? PREF : 0) | g->access));
	scsi_reply_u8(r, t->controllers ? SUPPORTED_ALL : SUPPORTED_OPTIMIZED);
	scsi_reply_be16(r, g->id);
	scsi_reply_u8(r, 0);
	scsi_reply_u8(r, STATUS_IMPLICIT);
	scsi_reply_u8(r, 0);
	scsi_reply_u8(r, (uint8_t)g->port_count);
	for (unsigned i = 0; i < g->port_count; i++)
		scsi_reply_be32(r, g->ports[i]);
}

void scsi_report_target_port_groups(struct scsi_task *task)
{
	unsigned format = task->cdb[1] >> 5;
	struct scsi_reply r = scsi_reply_begin(task);
	const struct scsi_target *t = task->nexus->target;

	if (format > FORMAT_EXTENDED) {
		scsi_fail_cdb_bit(task, 1, 7);
		scsi_task_finish(task);
		return;
	}
	scsi_reply_be32(&r, 0);
	if (format == FORMAT_EXTENDED) {
		scsi_reply_u8(&r, FORMAT_EXTENDED << 4);
		scsi_reply_u8(&r, t->controllers ? TRANSITION_S : 0);
		scsi_reply_zero(&r, 2);
	}
	for (unsigned i = 0; i < t->group_count; i++)
		put_group(&r, t, &t->groups[i]);
	scsi_reply_patch(&r, 0, (uint32_t)(r.len - 4), 4);
	scsi_reply_end(task, &r);
}
