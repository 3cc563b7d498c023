/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See role.h. What a controller in standby serves comes from a snapshot of the catalogue, and is made anew, under the sessions that
 * there are, whenever that changes, and when it becomes the owner.
 *
 * An owner that has lost the array stands by. Its store tells nobody of the end of anything any more (rbd.h), so all that is under
 * way ends as "not ready": 02/04/0A. A new connection to Ceph, for the old one is locked out, brings the first snapshot; with it
 * the sessions go to the target of one that stands by, and the lost store goes with the last I/O that librbd still has.
 *
 * Invariants:
 * - waiting is there when, and only when, this one is not the owner. giver lives until its store is closed.
 * - What does not come to an end ends the process: its hosts have another path, and systemd starts it again.
 */
#include "array/role.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>
#include "array/daemon.h"
#include "array/peer_scsi.h"
#include "array/standby.h"
#include "array/store/store.h"
#include "array/util/message.h"

#define STOP_WAITING_MS 10000 /* for a cluster that does not answer */
#define LOSING_MS       30000 /* hosts wait for the end of a transition, but not for ever */

static int wait_for_array(struct daemon *d);

bool role_stands_by(const struct daemon *d)
{
	return d->role.state != ROLE_OWNER;
}

/* ---- what is served --------------------------------------------------------------------------------------- */

static void retired_gone(void *arg, int err)
{
	struct daemon *d = arg;

	(void)err; /* of a store that was lost; the others only show */
	if (--d->role.retired == 0 && d->role.end_waits_for_retired) {
		reactor_timer_disarm(d->reactor, &d->role.stop_waiting);
		daemon_step_done(d);
	}
}

static int open_parts(struct daemon *d, struct fault *fault)
{
	struct array_options options = daemon_array_options(d);
	struct array *array = NULL;
	int err = array_open(&options, &array, fault);

	if (err)
		return err;
	d->array = array;
	d->inband = NULL;
	err = daemon_open_inband(d);
	if (!err)
		err = daemon_open_target(d);
	if (err && d->inband)
		inband_destroy(d->inband);
	if (err)
		array_close(array);
	return err;
}

void role_serves(struct daemon *d)
{
	if (d->role.peer_scsi)
		peer_scsi_serve(d->role.peer_scsi, role_stands_by(d) ? NULL : d->scsi);
}

void role_serves_no_more(struct daemon *d)
{
	if (d->role.peer_scsi)
		peer_scsi_serve(d->role.peer_scsi, NULL);
}

/* Serves from d->store; what was served before goes. An error: all is as it was, and d->store is still the caller's. */
static int serve_anew(struct daemon *d, struct store *store, enum role_state state, struct fault *fault)
{
	const struct served before = {.store = d->store,
		.array = d->array,
		.inband = d->inband,
		.scsi = d->scsi,
		.giver = d->role.giver};
	struct retired *r = retired_new();
	struct scsi_inband inband_before = d->inband_hook;
	enum role_state state_before = d->role.state;
	int err = -ENOMEM;

	d->store = store;
	d->role.state = state;
	if (r)
		err = open_parts(d, fault);
	if (err) {
		d->store = before.store;
		d->array = before.array;
		d->inband = before.inband;
		d->scsi = before.scsi;
		d->inband_hook = inband_before;
		d->role.state = state_before;
		free(r);
		return err;
	}
	array_event_inherit(d->array, before.array);
	array_event_unlisten(&d->log);
	array_event_listen(d->array, &d->log);
	iscsi_server_rehome(d->iscsi, d->array, d->scsi);
	management_set_array(d->management, d->array);
	role_serves(d);
	d->role.giver = NULL;
	d->role.retired++;
	retired_go(r, &before, d->reactor, d->management, retired_gone, d);
	return 0;
}

static void snapshot_closed(void *arg, int err)
{
	(void)arg, (void)err;
}

static void catalogue_seen(void *arg, struct snapshot *s)
{
	struct daemon *d = arg;
	struct store *store = snapshot_store(s);
	struct fault fault = {0};
	bool losing = d->role.state == ROLE_LOSING;
	int err = serve_anew(d, store, ROLE_STANDBY, &fault);

	if (!err) {
		if (losing)
			daemon_ready(d);
		reactor_timer_disarm(d->reactor, &d->role.losing);
		return;
	}
	/* Of two changes, perhaps; the next look has it whole. */
	if (!fault.err)
		fault_errno(&fault, err);
	if (losing)
		controller_repeat(d->role.waiting);
	else
		array_event_tell(d->array, ARRAY_EVENT_WARNING, "controller",
			"what the array's owner has changed could not be taken in, and is tried again with its next change: %s",
			fault.text);
	store->ops->close(store, snapshot_closed, NULL);
}

static void owning_failed(void *arg, const struct fault *fault)
{
	struct daemon *d = arg;

	array_event_tell(d->array, ARRAY_EVENT_ERROR, "controller",
		"this controller stands by and cannot take the array over; it tries again: %s", fault->text);
}

/* ---- the array comes ------------------------------------------------------------------------------------- */

struct unserved {
	struct daemon *d;
	struct controller *giver;
};

static void unserved_closed(void *arg, int err)
{
	struct unserved *u = arg;

	(void)err;
	controller_destroy(u->giver);
	retired_gone(u->d, 0);
	free(u);
}

/* Another one took the array before this one could serve it. */
static void array_came_and_went(struct daemon *d, struct store *store)
{
	struct unserved *u = calloc(1, sizeof(*u));

	if (!u || d->end_begun)
		_exit(1); /* nobody was told of anything */
	*u = (struct unserved){.d = d, .giver = d->role.waiting};
	d->role.waiting = NULL;
	d->role.lost_early = false;
	d->role.retired++;
	store->ops->close(store, unserved_closed, u);
	if (wait_for_array(d))
		_exit(1);
}

static void array_owned(void *arg, struct store *store)
{
	struct daemon *d = arg;
	struct controller *giver = d->role.waiting;
	struct fault fault = {0};
	int err;

	if (d->role.lost_early) {
		array_came_and_went(d, store);
		return;
	}
	err = serve_anew(d, store, ROLE_OWNER, &fault);
	if (err) {
		/* Nobody has been told of anything: as after a crash, the other controller or the next start takes it. */
		daemon_fail(d, "controller", &fault, err);
		_exit(1);
	}
	d->role.giver = giver;
	d->role.waiting = NULL;
	peer_abandon(d->role.peer);
	reactor_timer_disarm(d->reactor, &d->role.losing);
	array_event_tell(d->array, ARRAY_EVENT_WARNING, "controller",
		"controller %u owns the array from now on: the other one gave it back, or was locked out of Ceph",
		d->config.controller);
	daemon_ready(d);
}

/* ---- the array goes -------------------------------------------------------------------------------------- */

/* What is under way ends with the process, as in a crash: hosts see a path that is gone, and go to the other one. */
static void end_at_once(const char *reason)
{
	char text[300];

	snprintf(text, sizeof(text), "this umbrad has lost the array and ends at once: %s", reason);
	daemon_log(3, "rbd", text, message_of("this umbrad has lost the array and ends at once"));
	sd_notifyf(0, "STATUS=%s\nERRNO=%d", text, ESHUTDOWN);
	_exit(1);
}

static void losing_lasts(struct reactor_timer *timer)
{
	(void)timer;
	end_at_once("it could not stand by, for Ceph did not answer in time");
}

static void lose(struct daemon *d, const char *reason)
{
	struct scsi_port_group groups[2];

	d->role.state = ROLE_LOSING;
	array_stand_by(d->array);
	standby_groups(&d->config, SCSI_ACCESS_TRANSITIONING, groups);
	scsi_target_set_groups(d->scsi, groups, 2);
	array_event_tell(d->array, ARRAY_EVENT_ERROR, "controller",
		"controller %u has lost the array, and stands by from now on: %s", d->config.controller,
		reason);
	sd_notify(0, "STATUS=has lost the array, and is about to stand by");
	d->role.losing.fire = losing_lasts;
	reactor_timer_arm(d->reactor, &d->role.losing, LOSING_MS);
	if (wait_for_array(d))
		end_at_once("there is no memory for standing by");
}

void role_fenced(void *arg, const char *reason)
{
	struct daemon *d = arg;

	if (!d->config.controller || d->end_begun || !d->management)
		end_at_once(reason);
	if (d->role.state == ROLE_OWNER)
		lose(d, reason);
	else
		d->role.lost_early = true;
}

/* ---- the start ------------------------------------------------------------------------------------------ */

static int wait_for_array(struct daemon *d)
{
	struct controller_options options = {.reactor = d->reactor,
		.module = d->role.module,
		.store = d->role.store,
		.seen = catalogue_seen,
		.owned = array_owned,
		.failed = owning_failed,
		.arg = d};

	assert(!d->role.waiting);
	return controller_create(&options, &d->role.waiting);
}

int role_open(struct daemon *d, const struct store_module *module, const struct store_module_options *store,
	struct fault *fault)
{
	struct snapshot *seen = NULL;
	int err;

	d->role.module = module;
	d->role.store = *store;
	err = peer_scsi_create(&d->role.peer, d->reactor, &d->role.peer_scsi);
	if (!err) {
		d->role.store.wire = peer_wire(d->role.peer);
		err = wait_for_array(d);
	}
	if (!err)
		err = controller_first(d->role.waiting, &d->store, &seen, fault);
	if (err)
		return err;
	if (seen) {
		d->role.state = ROLE_STANDBY;
		d->store = snapshot_store(seen);
	} else {
		d->role.giver = d->role.waiting;
		d->role.waiting = NULL;
	}
	return 0;
}

/* ---- what there is to see ------------------------------------------------------------------------------- */

void role_view(void *ctx, struct management_controller *out)
{
	struct daemon *d = ctx;

	memset(out, 0, sizeof(*out));
	out->number = d->config.controller;
	out->owns = !role_stands_by(d);
	if (d->role.waiting)
		controller_owner(d->role.waiting, out->owner);
}

/* ---- the end -------------------------------------------------------------------------------------------- */

/* A cluster that does not answer: nothing is acknowledged here that could be lost. */
static void stop_waiting_fired(struct reactor_timer *timer)
{
	_exit(container_of(timer, struct daemon, role.stop_waiting)->exit_code);
}

static void be_patient(struct daemon *d)
{
	d->role.stop_waiting.fire = stop_waiting_fired;
	reactor_timer_arm(d->reactor, &d->role.stop_waiting, STOP_WAITING_MS);
}

static void waits_no_more(void *arg)
{
	struct daemon *d = arg;

	reactor_timer_disarm(d->reactor, &d->role.stop_waiting);
	daemon_step_done(d);
}

bool role_stop_waiting(struct daemon *d)
{
	if (d->role.peer)
		peer_stop(d->role.peer);
	reactor_timer_disarm(d->reactor, &d->role.losing);
	if (!d->role.waiting || !role_stands_by(d))
		return false;
	be_patient(d);
	controller_stop(d->role.waiting, waits_no_more, d);
	return true;
}

bool role_wait_for_retired(struct daemon *d)
{
	if (!d->role.retired)
		return false;
	d->role.end_waits_for_retired = true;
	be_patient(d);
	return true;
}

void role_destroy(struct daemon *d)
{
	controller_destroy(d->role.giver);
	controller_destroy(d->role.waiting);
	peer_scsi_destroy(d->role.peer_scsi);
	peer_destroy(d->role.peer);
}
