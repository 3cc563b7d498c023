/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Giving the array to the other controller, in two parts. First the owner waits, for a bounded time and serving as before, until
 * nothing is under way that a change of the owner would spoil or be kept up by: copy sets that are being made, calls of the
 * management, deletions of images, which cannot be stopped half-way, I/O that hangs. Meanwhile a second connection to Ceph reads the
 * catalogue as one that stands by does. What comes in the way ends it here, and nothing has changed.
 *
 * Then, in one turn of the reactor, the sessions go to what stands by, in transition (02/04/0A: hosts wait), and what is under way
 * ends at the old target as ever. With the last of it the store is closed, which gives the array back. The other one takes it, and
 * this one stands by when it sees that. For HOLD_MS it does not take it back itself; after that whoever comes first has it.
 */
#include "array/role_move.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "array/controller.h"
#include "array/daemon.h"
#include "array/store/store.h"

#define MOVE_WAIT_MS 30000
#define MOVE_LOOK_MS 20
#define HOLD_MS      5000
#define LEAVE_MS     30000 /* hosts wait for the end of a transition, but not for ever */
#define MS           UINT64_C(1000000)

bool role_may_take(void *arg)
{
	struct daemon *d = arg;

	return !atomic_load(&d->role.move.hold);
}

/* ---- the end of it ---- */

struct unneeded {
	struct daemon *d;
	struct controller *c;
};

static void unneeded_stopped(void *arg)
{
	struct unneeded *u = arg;

	controller_destroy(u->c);
	role_retired_gone(u->d, 0);
	free(u);
}

/* The owner stays it, and waits for nothing any more. */
static void wait_no_more(struct daemon *d)
{
	struct unneeded *u = calloc(1, sizeof(*u));

	snapshot_free(d->role.move.seen);
	d->role.move.seen = NULL;
	if (!u)
		daemon_end_at_once("there is no memory for going on");
	*u = (struct unneeded){.d = d, .c = d->role.waiting};
	d->role.waiting = NULL;
	d->role.wire_to_come = NULL; /* its */
	d->role.retired++;
	controller_stop(u->c, unneeded_stopped, u);
}

static void move_over(struct daemon *d)
{
	struct role_move *m = &d->role.move;

	reactor_timer_disarm(d->reactor, &m->timer);
	atomic_store(&m->hold, false);
	snapshot_free(m->seen);
	m->seen = NULL;
	m->waits = false;
}

static void move_failed(struct daemon *d)
{
	struct role_move *m = &d->role.move;

	d->role.move.failed = true;
	array_event_tell(d->array, ARRAY_EVENT_WARNING, "controller",
		"the array was not moved to controller %u: %s", 3 - d->config.controller, m->text);
}

static void refuse(struct daemon *d)
{
	move_over(d);
	if (d->store->ops->rest)
		d->store->ops->rest(d->store, false);
	wait_no_more(d);
	move_failed(d);
}

void role_move_came_back(struct daemon *d)
{
	struct role_move *m = &d->role.move;
	bool moved = m->free_ns != 0;
	struct pair_look look;

	pair_look(d->role.pair, &look);
	move_over(d);
	m->free_ns = 0;
	if (!moved || look.others_epoch > m->epoch) /* that one had it, and has moved it back already */
		return;
	snprintf(m->text, sizeof(m->text),
		"it was given back, and that one did not take it, so this one has taken it again: look at the journal of umbrad there");
	move_failed(d);
}

void role_move_lost(struct daemon *d)
{
	struct role_move *m = &d->role.move;
	bool moved = m->waits;

	move_over(d);
	if (!moved)
		return;
	snprintf(m->text, sizeof(m->text),
		"this controller has lost it meanwhile: umbractl controller list tells who has it");
	move_failed(d);
}

void role_move_stop(struct daemon *d)
{
	bool moved = d->role.move.waits;

	move_over(d);
	if (moved) {
		snprintf(d->role.move.text, sizeof(d->role.move.text),
			"this umbrad was told to end meanwhile, and with its end the other one takes the array");
		move_failed(d);
	}
	role_ask_stop(d);
}

/* ---- the second part ---- */

/* The other one has it, or nobody does yet. */
static void look_for_owner(struct reactor_timer *timer)
{
	struct daemon *d = container_of(timer, struct daemon, role.move.timer);
	struct role_move *m = &d->role.move;
	uint64_t now_ns = reactor_now_ns(d->reactor);
	struct pair_look look;

	pair_look(d->role.pair, &look);
	if (look.others_epoch > m->epoch) {
		move_over(d);
		m->free_ns = 0;
		m->text[0] = 0;
		role_set_state(d, ROLE_STANDBY);
		role_tell_hosts(d);
		array_event_tell(d->array, ARRAY_EVENT_INFO, "controller",
			"the array was moved to controller %u, and controller %u stands by",
			3 - d->config.controller, d->config.controller);
		daemon_ready(d);
		return;
	}
	if (m->free_ns && now_ns - m->free_ns > HOLD_MS * MS)
		atomic_store(&m->hold, false);
	if (now_ns > m->until_ns)
		daemon_end_at_once("it was to be moved, and Ceph did not answer in time");
	reactor_timer_arm(d->reactor, timer, MOVE_LOOK_MS);
}

static void given_back(void *arg, int err)
{
	struct daemon *d = arg;

	/* An error: it had lost the array before, or the beat has to stand still first. */
	d->role.move.free_ns = reactor_now_ns(d->reactor);
	role_retired_gone(d, err);
}

static void leave(struct daemon *d)
{
	struct role_move *m = &d->role.move;
	struct store *store = snapshot_store(m->seen);
	struct fault fault = {0};
	struct pair_look look;
	int err;

	pair_look(d->role.pair, &look);
	m->epoch = look.epoch;
	m->seen = NULL;
	m->waits = false;
	m->free_ns = 0;
	err = role_serve(d, store, ROLE_LEAVING, given_back, &fault);
	if (err) {
		if (!fault.err)
			fault_errno(&fault, err);
		snprintf(m->text, sizeof(m->text), "what stands by could not be made: %s", fault.text);
		store->ops->close(store, role_snapshot_closed, NULL);
		refuse(d);
		return;
	}
	role_take_wire(d);
	snprintf(m->text, sizeof(m->text), "controller %u to take it", 3 - d->config.controller);
	m->until_ns = reactor_now_ns(d->reactor) + LEAVE_MS * MS;
	m->timer.fire = look_for_owner;
	reactor_timer_arm(d->reactor, &m->timer, MOVE_LOOK_MS);
}

/* ---- the first part ---- */

static bool set_in_the_way(const struct daemon *d, char *text, size_t size)
{
	struct set_view view;

	for (struct set *s = set_next(d->array, NULL); s; s = set_next(d->array, s)) {
		set_view_of(s, &view);
		if (view.state == UP_SET_COMMITTING ||
			(!d->role.move.force &&
				(view.state == UP_SET_PREPARING || view.state == UP_SET_ARMED))) {
			snprintf(text, size, "a copy set is being made (by %s)",
				view.owner[0] ? view.owner : "the administrator");
			return true;
		}
	}
	return false;
}

/* Whether something is to be waited for, and what. */
static bool in_the_way(struct daemon *d, char *text, size_t size)
{
	struct store *s = d->store;
	enum store_rest rest;

	if (set_in_the_way(d, text, size))
		return true;
	snprintf(text, size, "calls of the management are under way");
	if (!management_is_idle(d->management))
		return true;
	snprintf(text, size, "Ceph does not answer on a new connection");
	if (!d->role.move.seen)
		return true;
	/* None begins any more: nothing else is waited for. */
	rest = s->ops->rest ? s->ops->rest(s, true) : STORE_RESTS;
	if (rest == STORE_REST_IO)
		snprintf(text, size,
			"I/O of hosts hangs in Ceph, and the move would wait for it: look at the cluster (ceph -s). With --force umbrad "
			"ends here if it hangs %u s longer, and the other controller locks it out",
			LEAVE_MS / 1000);
	else
		snprintf(text, size,
			"Ceph has not done yet what was asked of it: images that are deleted or looked at, copy sets that were given up");
	return rest == STORE_REST_WORKS || (rest == STORE_REST_IO && !d->role.move.force);
}

static void look(struct reactor_timer *timer)
{
	struct daemon *d = container_of(timer, struct daemon, role.move.timer);
	struct role_move *m = &d->role.move;

	if (!in_the_way(d, m->text, sizeof(m->text)))
		leave(d);
	else if (reactor_now_ns(d->reactor) > m->until_ns)
		refuse(d);
	else
		reactor_timer_arm(d->reactor, timer, MOVE_LOOK_MS);
}

/* there: the other one is, for certain. */
static int check(struct daemon *d, const struct pair_look *look, bool there, struct fault *fault)
{
	if (d->role.state == ROLE_LEAVING || d->role.move.waits || d->role.move.asked)
		return fault_set(fault, -EBUSY,
			"the array is being moved already: umbractl controller list shows how far it is");
	if (d->role.state == ROLE_LOSING)
		return fault_set(fault, -EAGAIN,
			"controller %u has just lost the array, and does not stand by yet: try again in a few seconds",
			d->config.controller);
	if (!look->lives && !there && d->role.state == ROLE_OWNER)
		return fault_set(fault, -EHOSTUNREACH,
			"controller %u is not there to take the array: start umbrad on its machine, and see that umbractl controller list shows it in standby",
			look->other.number);
	if (look->problem[0])
		return fault_set(fault, -EINVAL,
			"the array cannot be moved, for the two controllers do not fit together: %s",
			look->problem);
	return 0;
}

int role_move_begin(struct daemon *d, bool force, bool asked, struct fault *fault)
{
	struct role_move *m = &d->role.move;
	struct pair_look l;
	int err;

	pair_look(d->role.pair, &l);
	err = check(d, &l, asked, fault);
	if (err)
		return err;
	atomic_store(&m->hold, true);
	err = role_wait(d);
	if (err) {
		atomic_store(&m->hold, false);
		return fault_errno(fault, err);
	}
	scsi_target_leaves(d->scsi);
	m->waits = true;
	m->failed = false;
	m->force = force;
	m->text[0] = 0;
	m->until_ns = reactor_now_ns(d->reactor) + MOVE_WAIT_MS * MS;
	m->timer.fire = look;
	reactor_timer_arm(d->reactor, &m->timer, MOVE_LOOK_MS);
	return 0;
}

void role_move(void *ctx, bool force, struct management_move *request)
{
	struct daemon *d = ctx;
	struct fault fault = {0};
	struct pair_look l;
	int err;

	if (d->role.state == ROLE_OWNER) {
		err = role_move_begin(d, force, false, &fault);
	} else {
		pair_look(d->role.pair, &l);
		err = check(d, &l, false, &fault);
		if (!err) {
			role_ask(d, force, request);
			return;
		}
	}
	request->done(request, err, &fault);
}
