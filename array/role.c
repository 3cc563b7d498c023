/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See role.h. What a controller in standby serves comes from a snapshot of the catalogue, and is made anew, under the sessions that
 * there are, whenever that changes, and when it becomes the owner.
 *
 * An owner that has lost the array stands by. Its store tells nobody of the end of anything any more (rbd.h), so all that is under
 * way ends as "not ready": 02/04/0A. A new connection to Ceph, for the old one is locked out, brings the first snapshot; with it
 * the sessions go to the target of one that stands by, and the lost store goes with the last I/O that librbd still has. A host
 * waits for that I/O: if it takes too long the process ends, and with it the host's wait.
 *
 * An owner that gives the array to the other one (role_move.c) has such a snapshot before it lets go: the sessions go to it first,
 * then what is under way ends at the old target, acknowledged by a lease that still holds, then the store closes.
 *
 * Invariants:
 * - waiting is there when this one is not the owner, and while an owner is about to leave. giver lives until its store is closed.
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
#include "array/role_move.h"
#include "array/standby.h"
#include "array/store/store.h"

#define STOP_WAITING_MS 10000 /* for a cluster that does not answer */
#define LOST_STAYS_MS   3000u /* the end waits so long for what was lost */
#define LOSING_MS       30000 /* hosts wait for the end of a transition, but not for ever */

bool role_stands_by(const struct daemon *d)
{
	return d->role.state != ROLE_OWNER;
}

/* ---- what hosts and the other controller are told -------------------------------------------------------- */

static enum scsi_access access_of(enum role_state state)
{
	switch (state) {
	case ROLE_OWNER:
		return SCSI_ACCESS_OPTIMIZED;
	case ROLE_STANDBY:
		return SCSI_ACCESS_STANDBY;
	default:
		return SCSI_ACCESS_TRANSITIONING;
	}
}

void role_groups(struct daemon *d, struct scsi_port_group groups[2])
{
	struct iscsi_peer_portal peers[CARD_PORTALS_MAX];
	unsigned count = standby_peers(&d->config, d->role.pair, peers);
	struct pair_look look;

	pair_look(d->role.pair, &look);
	standby_groups(&d->config, access_of(d->role.state), look.gone, peers, count, groups);
}

void role_set_state(struct daemon *d, enum role_state state)
{
	d->role.state = state;
	pair_set_role(d->role.pair, state == ROLE_OWNER ? CARD_OWNER : CARD_STANDBY);
}

void role_tell_hosts(struct daemon *d)
{
	struct scsi_port_group groups[2];

	role_groups(d, groups);
	scsi_target_set_groups(d->scsi, groups, 2);
}

static int tell_portals(struct daemon *d)
{
	struct iscsi_peer_portal peers[CARD_PORTALS_MAX];
	unsigned count = standby_peers(&d->config, d->role.pair, peers);

	return iscsi_server_set_peers(d->iscsi, peers, count);
}

static void publish_portals(struct daemon *d)
{
	struct iscsi_portal portals[CONFIG_PORTALS_MAX];

	for (unsigned i = 0; i < d->config.portal_count; i++) {
		portals[i] = d->config.portals[i];
		portals[i].port = iscsi_server_port(d->iscsi, i);
	}
	pair_set_portals(d->role.pair, portals, d->config.portal_count);
}

int role_listens(struct daemon *d)
{
	if (!d->role.pair)
		return 0;
	publish_portals(d);
	return tell_portals(d);
}

void role_reload(struct daemon *d)
{
	if (d->role.pair)
		publish_portals(d);
}

static void tell_presence(struct daemon *d, const struct pair_look *look)
{
	if (look->lives == d->role.other_lived && d->role.other_known)
		return;
	if (look->lives)
		array_event_tell(d->array, ARRAY_EVENT_INFO, "controller", "controller %u is there, on %s",
			look->other.number, look->other.machine);
	else if (d->role.other_known)
		array_event_tell(d->array, ARRAY_EVENT_WARNING, "controller",
			"controller %u, on %s, is not there any more, and nobody takes the array over from this one: start umbrad there",
			look->other.number, look->other.machine);
	d->role.other_known = d->role.other_known || look->lives;
	d->role.other_lived = look->lives;
}

/* Something is new on the other one's card. */
static void pair_changed(void *arg)
{
	struct daemon *d = arg;
	struct pair_look look;

	if (!d->management || d->end_begun)
		return;
	pair_look(d->role.pair, &look);
	tell_presence(d, &look);
	if (strcmp(look.problem, d->role.problem_told) != 0) {
		memcpy(d->role.problem_told, look.problem, sizeof(d->role.problem_told));
		if (look.problem[0])
			array_event_tell(d->array, ARRAY_EVENT_ERROR, "controller",
				"the two controllers do not fit together: %s", look.problem);
	}
	tell_portals(d);
	role_tell_hosts(d);
}

/* ---- the wire to the other controller --------------------------------------------------------------------- */

static void wire_use(struct daemon *d, struct store_wire *w)
{
	const struct store_wire_user *user = peer_wire(d->role.peer);

	d->role.wire_in_use = w;
	user->up(user->arg, w);
}

/* The peer has one wire. An owner that is about to leave has a second connection to Ceph, whose wire is for later; one of a
 * connection that is given up, after a move that was refused, may still come up, and is for nothing. */
static void wire_up(void *arg, struct controller *c, struct store_wire *w)
{
	struct daemon *d = arg;

	if (c != d->role.giver && c != d->role.waiting)
		return;
	if (c == d->role.waiting && d->role.state == ROLE_OWNER && d->role.wire_in_use)
		d->role.wire_to_come = w;
	else
		wire_use(d, w);
}

static void wire_down(void *arg, struct store_wire *w)
{
	struct daemon *d = arg;
	const struct store_wire_user *user = peer_wire(d->role.peer);

	if (d->role.wire_to_come == w)
		d->role.wire_to_come = NULL;
	if (d->role.wire_in_use != w)
		return;
	d->role.wire_in_use = NULL;
	user->down(user->arg, w);
}

static void wire_heard(void *arg, struct store_wire *w, struct store_wire_heard *h)
{
	struct daemon *d = arg;
	const struct store_wire_user *user = peer_wire(d->role.peer);

	if (d->role.wire_in_use == w)
		user->heard(user->arg, w, h);
	else
		w->ops->answer(w, h, NULL, 0);
}

static const struct controller_wire wire = {.up = wire_up, .down = wire_down, .heard = wire_heard};

void role_take_wire(struct daemon *d)
{
	struct store_wire *w = d->role.wire_to_come;

	d->role.wire_to_come = NULL;
	if (w)
		wire_use(d, w);
}

/* ---- the end waits for what was served before -------------------------------------------------------------- */

static bool only_lost_stay(const struct daemon *d)
{
	return d->role.retired == d->role.lost - (d->role.state == ROLE_LOSING);
}

static void waits_for_retired_no_more(struct daemon *d)
{
	reactor_timer_disarm(d->reactor, &d->role.stop_waiting);
	d->role.end_waits_for_retired = false;
	daemon_step_done(d);
}

static void lost_stays(struct reactor_timer *timer)
{
	struct daemon *d = container_of(timer, struct daemon, role.stop_waiting);

	d->role.leaves_behind = true;
	waits_for_retired_no_more(d);
}

/* Of what was lost there is nothing to give back, and Ceph has locked it out. A deletion may hang there in librbd for ever. */
static void wait_for_lost(struct daemon *d)
{
	d->role.stop_waiting.fire = lost_stays;
	reactor_timer_arm(d->reactor, &d->role.stop_waiting, LOST_STAYS_MS);
}

/* ---- what is served --------------------------------------------------------------------------------------- */

/* What this controller served when it lost the array. */
static void lost_gone(void *arg, int err)
{
	struct daemon *d = arg;

	if (--d->role.lost == 0)
		reactor_timer_disarm(d->reactor, &d->role.losing);
	role_retired_gone(arg, err);
}

void role_retired_gone(void *arg, int err)
{
	struct daemon *d = arg;

	(void)err; /* of a store that was lost; the others only show */
	d->role.retired--;
	if (!d->role.end_waits_for_retired)
		return;
	if (d->role.retired == 0)
		waits_for_retired_no_more(d);
	else if (only_lost_stay(d))
		wait_for_lost(d);
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
	if (!role_stands_by(d))
		scsi_target_owns(d->scsi);
}

void role_serves_no_more(struct daemon *d)
{
	if (d->role.peer_scsi)
		peer_scsi_serve(d->role.peer_scsi, NULL);
}

int role_serve(struct daemon *d, struct store *store, enum role_state state, void (*gone)(void *arg, int err),
	struct fault *fault)
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
	role_set_state(d, state);
	array_stand_by(before.array);
	array_event_inherit(d->array, before.array);
	array_event_unlisten(&d->log);
	array_event_listen(d->array, &d->log);
	iscsi_server_rehome(d->iscsi, d->array, d->scsi);
	management_set_array(d->management, d->array);
	role_serves(d);
	d->role.giver = NULL;
	d->role.retired++;
	retired_go(r, &before, d->reactor, d->management, state_before == ROLE_LOSING ? lost_gone : gone, d);
	return 0;
}

void role_snapshot_closed(void *arg, int err)
{
	(void)arg, (void)err;
}

static void catalogue_seen(void *arg, struct snapshot *s)
{
	struct daemon *d = arg;
	struct fault fault = {0};
	enum role_state state = d->role.state;
	struct store *store;
	int err;

	if (state == ROLE_OWNER) {
		snapshot_free(d->role.move.seen);
		d->role.move.seen = s;
		return;
	}
	store = snapshot_store(s);
	err = role_serve(d, store, state == ROLE_LOSING ? ROLE_STANDBY : state, role_retired_gone, &fault);
	if (!err) {
		if (state == ROLE_LOSING)
			daemon_ready(d);
		return;
	}
	/* Of two changes, perhaps; the next look has it whole. */
	if (!fault.err)
		fault_errno(&fault, err);
	if (state == ROLE_LOSING)
		controller_repeat(d->role.waiting);
	else
		array_event_tell(d->array, ARRAY_EVENT_WARNING, "controller",
			"what the array's owner has changed could not be taken in, and is tried again with its next change: %s",
			fault.text);
	store->ops->close(store, role_snapshot_closed, NULL);
}

static void owning_failed(void *arg, const struct fault *fault)
{
	struct daemon *d = arg;

	d->role.lost_early = false; /* what was lost is what this opening had taken */
	if (d->role.state == ROLE_OWNER)
		return; /* a move waits for it, and tells when it has waited enough */
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

	controller_destroy(u->giver);
	role_retired_gone(u->d, err);
	free(u);
}

/* Another one took the array before this one could serve it. */
static void array_came_and_went(struct daemon *d, struct store *store)
{
	struct unserved *u = calloc(1, sizeof(*u));

	if (!u)
		daemon_end_at_once("there is no memory for standing by");
	*u = (struct unserved){.d = d, .giver = d->role.waiting};
	d->role.waiting = NULL;
	d->role.lost_early = false;
	d->role.retired++;
	store->ops->close(store, unserved_closed, u);
	if (role_wait(d))
		daemon_end_at_once("there is no memory for standing by");
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
	err = role_serve(d, store, ROLE_OWNER, role_retired_gone, &fault);
	if (err) {
		/* Nobody has been told of anything: as after a crash, the other controller or the next start takes it. */
		daemon_fail(d, "controller", &fault, err);
		_exit(1);
	}
	d->role.giver = giver;
	d->role.waiting = NULL;
	peer_abandon(d->role.peer);
	role_take_wire(d); /* it may have been an owner's that was about to leave, whose lease ran out */
	d->role.takes++;
	role_ask_owns(d);
	array_event_tell(d->array, ARRAY_EVENT_WARNING, "controller",
		"controller %u owns the array from now on: the other one gave it back, or was locked out of Ceph",
		d->config.controller);
	role_move_came_back(d);
	daemon_ready(d);
}

/* ---- the array goes -------------------------------------------------------------------------------------- */

static void losing_lasts(struct reactor_timer *timer)
{
	(void)timer;
	daemon_end_at_once(
		"it could not stand by in time, for Ceph did not answer, or has not given back all I/O of before");
}

static void lose(struct daemon *d, const char *reason)
{
	role_set_state(d, ROLE_LOSING);
	d->role.losses++;
	array_stand_by(d->array);
	role_tell_hosts(d);
	array_event_tell(d->array, ARRAY_EVENT_ERROR, "controller",
		"controller %u has lost the array, and stands by from now on: %s", d->config.controller,
		reason);
	sd_notify(0, "STATUS=has lost the array, and is about to stand by");
	d->role.lost++;
	d->role.losing.fire = losing_lasts;
	reactor_timer_arm(d->reactor, &d->role.losing, LOSING_MS);
	role_move_lost(d);
	role_take_wire(d);
	if (d->role.waiting)
		controller_repeat(d->role.waiting);
	else if (role_wait(d))
		daemon_end_at_once("there is no memory for standing by");
}

static void array_lost(void *arg, struct controller *c, const char *reason)
{
	struct daemon *d = arg;

	if (c == d->role.waiting)
		d->role.lost_early = true;
	if (c != d->role.giver)
		return; /* what it gave is served no more, or not yet */
	if (d->end_begun || !d->management)
		daemon_end_at_once(reason);
	if (d->role.state == ROLE_OWNER)
		lose(d, reason);
}

/* ---- the start ------------------------------------------------------------------------------------------ */

int role_wait(struct daemon *d)
{
	struct controller_options options = {.reactor = d->reactor,
		.module = d->role.module,
		.store = d->role.store,
		.wire = &wire,
		.seen = catalogue_seen,
		.owned = array_owned,
		.failed = owning_failed,
		.lost = array_lost,
		.may_take = role_may_take,
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
	d->role.pair = pair_new(&d->config, d->reactor, pair_changed, d);
	if (!d->role.pair)
		return -ENOMEM;
	d->role.store.cards = pair_cards(d->role.pair);
	err = peer_scsi_create(&d->role.peer, d->reactor, &d->role.peer_scsi);
	if (err)
		return err;
	role_ask_serve(d);
	err = role_wait(d);
	if (err)
		return err;
	err = controller_first(d->role.waiting, &d->store, &seen, fault);
	if (seen) {
		role_set_state(d, ROLE_STANDBY);
		d->store = snapshot_store(seen);
		return 0;
	}
	d->role.giver = d->role.waiting;
	d->role.waiting = NULL;
	role_set_state(d, ROLE_OWNER);
	return err;
}

/* ---- what there is to see ------------------------------------------------------------------------------- */

static void view_card(const struct card *c, struct management_controller *out)
{
	out->number = c->number;
	out->since_unix_ms = c->since_unix_ms;
	snprintf(out->machine, sizeof(out->machine), "%s", c->machine);
	snprintf(out->version, sizeof(out->version), "%s", c->umbra);
	snprintf(out->target_name, sizeof(out->target_name), "%s", c->target);
	for (unsigned i = 0; i < c->portal_count && i < MANAGEMENT_CONTROLLER_PORTALS_MAX; i++) {
		struct management_portal *p = &out->portals[out->portal_count++];

		snprintf(p->address, sizeof(p->address), "%s", c->portals[i].address);
		p->port = c->portals[i].port;
		p->group = c->portals[i].group;
	}
}

static const char *other_role(const struct pair_look *look)
{
	if (!look->known)
		return "unknown";
	if (look->other.role == CARD_ENDED)
		return "ended";
	if (!look->lives)
		return "gone";
	/* Its card is a second old: one that was moved from says so later. */
	return look->other.role == CARD_OWNER && look->own.role != CARD_OWNER ? "owner" : "standby";
}

void role_view(void *ctx, struct management_controllers *out)
{
	struct daemon *d = ctx;
	const struct role_move *m = &d->role.move;
	struct pair_look look;

	memset(out, 0, sizeof(*out));
	pair_look(d->role.pair, &look);
	view_card(&look.own, &out->self);
	out->self.known = out->self.lives = true;
	out->self.role = d->role.state == ROLE_OWNER     ? "owner"
			 : d->role.state == ROLE_STANDBY ? "standby"
							 : "leaving";
	view_card(&look.other, &out->other);
	out->other.known = look.known;
	out->other.lives = look.lives;
	out->other.role = other_role(&look);
	out->other.seen_ms = look.seen_ms;
	out->owns = !role_stands_by(d);
	if (d->role.waiting && !out->owns)
		controller_owner(d->role.waiting, out->owner);
	snprintf(out->problem, sizeof(out->problem), "%s", look.problem);
	out->epoch = look.epoch;
	out->lease_ms = look.lease_ms;
	out->takes = d->role.takes;
	out->losses = d->role.losses;
	out->move = d->role.state == ROLE_LEAVING ? "leaves"
		    : m->waits || m->asked        ? "waits"
		    : m->failed                   ? "failed"
						  : "none";
	snprintf(out->move_text, sizeof(out->move_text), "%s", m->text);
}

/* ---- the end -------------------------------------------------------------------------------------------- */

bool role_owns_still(const struct daemon *d)
{
	return d->role.state == ROLE_OWNER || (d->role.state == ROLE_LEAVING && d->role.retired);
}

void role_end(struct daemon *d)
{
	if (!d->role.pair)
		return;
	pair_end(d->role.pair);
	role_move_stop(d);
	reactor_timer_disarm(d->reactor, &d->role.losing);
}

/* A cluster that does not answer. */
static void stop_waiting_fired(struct reactor_timer *timer)
{
	daemon_end_unfinished(container_of(timer, struct daemon, role.stop_waiting));
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
	if (!d->role.waiting)
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
	if (only_lost_stay(d))
		wait_for_lost(d);
	else
		be_patient(d);
	return true;
}

void role_destroy(struct daemon *d)
{
	controller_destroy(d->role.giver);
	controller_destroy(d->role.waiting);
	peer_scsi_destroy(d->role.peer_scsi);
	peer_destroy(d->role.peer);
	snapshot_free(d->role.move.seen);
	pair_free(d->role.pair);
}
