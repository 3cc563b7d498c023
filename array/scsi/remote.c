/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands that a controller in standby passes on to this one, which owns the array (access.c is the other end). Each I_T
 * nexus of the other controller that sends one gets a nexus here that stands for it: with its names and its port, so a
 * registration is that nexus's own, and a preemption finds it. It has no transport, and carries out nothing but what a
 * controller in standby passes on (CMD_OWNER): reads and writes never come this way. Nor do its task management functions act on any but
 * what its host sees.
 *
 * Unit attentions of a LUN that arise here for such a nexus are told with its next command that is passed on, also those that were
 * left for it while nothing stood for it here (notice.c); those that a nexus begins with, it has at its own controller.
 */
#include "array/reactor/reactor.h"
#include "array/scsi/access.h"
#include "array/scsi/command.h"
#include "array/scsi/lun.h"
#include "array/scsi/nexus.h"
#include "array/scsi/notice.h"
#include "array/scsi/sense.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define REMOTES_MAX 4096u /* nexuses that stand for others */

struct remote_nexus {
	struct list_node link; /* target->remotes */
	struct scsi_nexus *nexus;
	bool revoked; /* goes in a later turn */
	struct reactor_deferred end;
};

/* A command under way. */
struct remote_task {
	struct scsi_task task;
	struct scsi_remote *remote;
};

static struct reactor *reactor_of(const struct scsi_target *t)
{
	return array_settings(t->array)->reactor;
}

/* ---- the nexuses --------------------------------------------------------------------------------------- */

static void end_one(struct remote_nexus *rn, bool lost)
{
	struct scsi_target *t = rn->nexus->target;

	scsi_notice_nexus_gone(rn->nexus, lost);
	list_remove(&rn->link);
	t->remote_count--;
	scsi_nexus_destroy(rn->nexus);
	free(rn);
}

static void end(struct reactor_deferred *d)
{
	end_one(container_of(d, struct remote_nexus, end), true);
}

/* The model may be in the middle of its nexuses. */
static void revoked(void *transport)
{
	struct remote_nexus *rn = transport;

	rn->revoked = true;
	reactor_defer(reactor_of(rn->nexus->target), &rn->end);
}

static struct remote_nexus *find(const struct scsi_target *t, const struct scsi_remote *r)
{
	list_for_each (node, &t->remotes) {
		struct remote_nexus *rn = container_of(node, struct remote_nexus, link);

		if (rn->nexus->portal_group_tag == r->port &&
			memcmp(rn->nexus->isid, r->isid, sizeof(r->isid)) == 0 &&
			strcasecmp(rn->nexus->array.initiator, r->initiator) == 0)
			return rn;
	}
	return NULL;
}

static int make(struct scsi_target *t, const struct scsi_remote *r, struct remote_nexus **out)
{
	static const struct scsi_nexus_ops ops = {.close = revoked};
	struct scsi_nexus_options options = {.initiator_name = r->initiator,
		.portal_group_tag = r->port,
		.authenticated = r->authenticated,
		.ops = &ops};
	struct remote_nexus *rn;
	int err;

	if (t->remote_count == REMOTES_MAX)
		return -ENOBUFS;
	rn = calloc(1, sizeof(*rn));
	if (!rn)
		return -ENOMEM;
	memcpy(options.isid, r->isid, sizeof(options.isid));
	options.transport = rn;
	err = scsi_nexus_create(t, &options, &rn->nexus);
	if (err) {
		free(rn);
		return err;
	}
	rn->end.call = end;
	memset(rn->nexus->attention, 0, sizeof(rn->nexus->attention));
	list_push_back(&t->remotes, &rn->link);
	t->remote_count++;
	*out = rn;
	return 0;
}

void scsi_remote_lost(struct scsi_target *t, const struct scsi_remote *r)
{
	struct remote_nexus *only = r ? find(t, r) : NULL;

	list_for_each_safe (node, &t->remotes) {
		struct remote_nexus *rn = container_of(node, struct remote_nexus, link);

		if (r && rn != only)
			continue;
		if (list_linked(&rn->end.link))
			continue; /* it is going */
		end_one(rn, r != NULL);
	}
}

/* ---- the commands -------------------------------------------------------------------------------------- */

static void finish(struct scsi_remote *r, const struct scsi_task *task)
{
	r->err = task->aborted ? -ECANCELED : 0;
	r->status = task->status;
	r->sense_len = task->sense_len;
	memcpy(r->sense, task->sense, task->sense_len);
	if (r->direction == SCSI_TO_INITIATOR)
		r->data_len = task->direction == SCSI_TO_INITIATOR ? task->data_len : 0;
	r->done(r);
}

static void task_done(struct scsi_task *task)
{
	struct remote_task *rt = container_of(task, struct remote_task, task);
	struct scsi_remote *r = rt->remote;

	finish(r, task);
	free(rt);
}

static void refuse(struct scsi_remote *r, int err)
{
	r->err = err;
	r->data_len = 0;
	r->done(r);
}

/* The host's LUN with that id, and what waits for the nexus there; one that it does not see is as absent as any other. */
static void address(struct scsi_nexus *n, const uint8_t id[UP_ID_BYTES], uint8_t out[8])
{
	uint32_t number = 0;
	struct lun *lun;

	out[0] = 0xC0; /* no LUN has such an address */
	while ((number = map_next(n->array.host, number, &lun)) != 0)
		if (memcmp(lun->id, id, UP_ID_BYTES) == 0) {
			scsi_lun_encode(number, out);
			scsi_notice_hand(n, lun, number);
			return;
		}
}

static void begin(struct scsi_nexus *n, struct scsi_remote *r)
{
	struct remote_task *rt = calloc(1, sizeof(*rt));
	struct scsi_task *task;

	if (!rt) {
		refuse(r, -ENOMEM);
		return;
	}
	task = &rt->task;
	rt->remote = r;
	task->nexus = n;
	address(n, r->lun_id, task->lun);
	memcpy(task->cdb, r->cdb, r->cdb_len);
	task->cdb_len = r->cdb_len;
	task->attribute = SCSI_SIMPLE;
	task->offered_len = r->direction == SCSI_FROM_INITIATOR ? r->data_len : 0;
	task->done = task_done;
	if (!scsi_task_parse(task)) {
		task_done(task);
		return;
	}
	task->data = r->data;
	if (r->data_len < task->data_len && task->direction == SCSI_TO_INITIATOR)
		task->data_len = r->data_len;
	/* With less than the command says it is refused before anybody looks at the data. */
	if (task->direction == SCSI_FROM_INITIATOR)
		task->data_in_hand = r->data_len;
	scsi_task_execute(task);
}

/* Through a port of another controller: a nexus of ours speaks for itself. */
static bool port_is_anothers(const struct scsi_target *t, uint16_t port)
{
	for (unsigned i = 0; i < t->own->port_count; i++)
		if (t->own->ports[i] == port)
			return false;
	return scsi_target_has_port(t, port);
}

/* What stands for the nexus of r, or NULL: r is refused. */
static struct scsi_nexus *nexus_for(struct scsi_target *t, struct scsi_remote *r)
{
	struct remote_nexus *rn;
	int err = 0;

	if (!scsi_access_is_owner(t) || t->stop_done) {
		refuse(r, -ESHUTDOWN);
		return NULL;
	}
	rn = find(t, r);
	if (!rn)
		err = make(t, r, &rn);
	else if (rn->revoked)
		err = -EACCES;
	if (!err)
		return rn->nexus;
	refuse(r, err);
	return NULL;
}

void scsi_remote_execute(struct scsi_target *t, struct scsi_remote *r)
{
	const struct scsi_command *row;
	struct scsi_nexus *n;
	bool opcode_known;

	if (r->cdb_len == 0 || r->cdb_len > sizeof(r->cdb) || !port_is_anothers(t, r->port)) {
		refuse(r, -EINVAL);
		return;
	}
	row = scsi_command_find(r->cdb, &opcode_known);
	/* One that asks for no data, or has none (a length of 0), has no direction either. */
	if (!row || !(row->flags & CMD_OWNER) ||
		(r->direction != SCSI_NONE && row->direction != r->direction)) {
		refuse(r, -EINVAL);
		return;
	}
	n = nexus_for(t, r);
	if (n)
		begin(n, r);
}

/* ---- task management ----------------------------------------------------------------------------------- */

struct remote_tmf {
	struct scsi_tmf_call call;
	struct scsi_remote *remote;
};

static void tmf_done(struct scsi_tmf_call *call, enum scsi_tmf_result result)
{
	struct remote_tmf *m = container_of(call, struct remote_tmf, call);
	struct scsi_remote *r = m->remote;

	free(m);
	r->err = result == SCSI_TMF_COMPLETE ? 0 : result == SCSI_TMF_NO_LUN ? -ENODEV : -EINVAL;
	r->data_len = 0;
	r->done(r);
}

static bool concerns_others(unsigned function)
{
	return function == SCSI_CLEAR_TASK_SET || function == SCSI_LUN_RESET ||
	       function == SCSI_TARGET_WARM_RESET || function == SCSI_TARGET_COLD_RESET;
}

void scsi_remote_manage(struct scsi_target *t, struct scsi_remote *r)
{
	struct scsi_nexus *n;
	struct remote_tmf *m;

	if (r->cdb_len != 1 || !concerns_others(r->cdb[0]) || r->direction != SCSI_NONE ||
		!port_is_anothers(t, r->port)) {
		refuse(r, -EINVAL);
		return;
	}
	n = nexus_for(t, r);
	if (!n)
		return;
	m = calloc(1, sizeof(*m));
	if (!m) {
		refuse(r, -ENOMEM);
		return;
	}
	m->remote = r;
	m->call.function = (enum scsi_tmf)r->cdb[0];
	m->call.nexus = n;
	m->call.done = tmf_done;
	address(n, r->lun_id, m->call.lun);
	scsi_tmf(&m->call);
}
