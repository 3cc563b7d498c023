/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arming, and the room that goes with it.
 *
 * Between arm and commit VSS writes flags (hidden, read-only, …) into the partition tables of a set's
 * originals. After the commit it takes them off again; by then the old tables belong to the copies, so this
 * needs new chunks. A copy that is imported beside its original gets an identity of its own, which is
 * written, too. In a full pool these writes would fail, and the volumes would stay hidden. So a host's set is
 * armed only when the store has set aside the room that they need (store_reserve). Else arm is refused, and
 * VSS gives up before the cut.
 *
 * Invariants:
 * - A set holds its room from arm on. If it is aborted, until nothing of its cut is left. If it is kept, for
 *   one more lease, because VSS takes the flags off after keep. In any case not beyond the end of the set.
 * - The store keeps the room in memory only. After a restart a set asks for it again before anybody can
 *   write, while the chunks that were set aside are still free.
 * - The administrator's own sets (owner "") and those that a host takes without VSS have no VSS behind them and need no
 *   room. But where the store makes disks ready at their first use (opens_lazily) that is asked for, for every set: else the
 *   hosts of all its LUNs would wait for it in the window.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "array/model/set/internal.h"

#define ARM_WAIT_MS 10000u /* for space that is being freed; after that the host must ask again */

static const struct store_ops *ops_of(const struct set *s)
{
	return s->array->options.store->ops;
}

/* Is VSS behind it, which marks partition tables? */
static bool by_vss(const struct set *s)
{
	return s->owner[0] && s->notes.writers != UP_WRITERS_NO_VSS;
}

/* ---- calls that wait for it ---- */

/* Ends the calls; arming is over. */
static void tell(struct set *s, int err, const struct fault *fault)
{
	reactor_timer_disarm(s->array->options.reactor, &s->arm_timer);
	set_tell(&s->arm_waiters, err, fault);
}

/* ---- the room ---- */

void set_reserve_join(struct set *s)
{
	for (unsigned i = 0; s->room_held && i < s->member_count; i++)
		if (s->sides[i].shadow)
			ops_of(s)->reserve_join(&s->room, s->sides[i].shadow->disk);
}

static void room_done(struct store_reserve *r, int err)
{
	struct set *s = container_of(r, struct set, room);
	bool arming = s->arming;
	char label[ARRAY_NAME_MAX_BYTES + 1];
	struct fault fault;

	free(r->disks);
	r->disks = NULL;
	s->room_asked = s->arming = false;
	s->room_held = !err && !r->ready_only;
	if (!arming) {
		set_reserve_join(s);
		return;
	}
	if (!err) {
		set_enter(s, UP_SET_ARMED);
		tell(s, 0, NULL);
		return;
	}
	if (err == -ENOSPC) {
		fault_set(&fault, err,
			"the pool has no room for the partition tables that hosts write around a shadow copy of "
			"%u LUN(s): delete shadow copies or LUNs, or give it room",
			s->member_count);
		array_event_tell(s->array, ARRAY_EVENT_WARNING, "pool", "copy set %s was refused: %s",
			set_label(s, label), fault.text);
	} else {
		array_store_fault(&fault, err, r->ready_only ? "the LUNs" : "room for a shadow copy");
	}
	tell(s, err, &fault);
}

static int room_ask(struct set *s, bool at_hand)
{
	struct store_disk **disks = calloc(s->member_count, sizeof(struct store_disk *));

	if (!disks)
		return -ENOMEM;
	memset(&s->room, 0, sizeof(s->room));
	for (unsigned i = 0; i < s->member_count; i++) {
		const struct lun *lun = lun_find(s->array, s->members[i].original_id);

		if (lun)
			disks[s->room.count++] = lun->disk;
	}
	if (s->room.count == 0) { /* deleted since */
		free(disks);
		return 0;
	}
	s->room.disks = disks;
	s->room.at_hand = at_hand;
	s->room.ready_only = !by_vss(s);
	s->room.done = room_done;
	s->room_asked = true;
	ops_of(s)->reserve(&s->room);
	return 0;
}

static void room_end(struct set *s)
{
	if (s->room_asked || s->room_held)
		ops_of(s)->reserve_end(&s->room);
	free(s->room.disks);
	s->room.disks = NULL;
	s->room_asked = s->room_held = s->arming = false;
}

void set_reserve_give_back(struct set *s)
{
	bool arming = s->arming;
	struct fault fault;

	room_end(s);
	if (arming)
		tell(s, fault_set(&fault, -ECANCELED, "the copy set was aborted meanwhile: begin a new one"),
			&fault);
}

static void arm_late(struct reactor_timer *t)
{
	struct set *s = container_of(t, struct set, arm_timer);
	struct fault fault;

	room_end(s);
	if (ops_of(s)->opens_lazily)
		fault_set(&fault, -EBUSY,
			"LUNs of the set could not be opened within %u s: look at the cluster (ceph -s, umbractl events), "
			"and try again",
			ARM_WAIT_MS / 1000);
	else
		fault_set(&fault, -EBUSY, "the pool is still freeing space; try again in a moment");
	tell(s, fault.err, &fault);
}

static bool room_wanted(const struct set *s)
{
	return by_vss(s) && ops_of(s)->reserve;
}

/* VSS may not have ended yet: no more than two leases have passed since the cut, one for keep and one after
 * it. */
static bool room_was_held(const struct set *s)
{
	uint64_t until = s->cut_ran_ms + UINT64_C(2) * s->array->options.lease_ms;

	return s->state == UP_SET_COMMITTED || (s->cut_ran_ms && array_ran_ms(s->array) < until);
}

int set_reserve_again(struct set *s)
{
	int err = room_wanted(s) && room_was_held(s) ? room_ask(s, true) : 0;

	set_lease_follow(s);
	return err;
}

void set_reserve_close(struct set *s)
{
	room_end(s);
	reactor_timer_disarm(s->array->options.reactor, &s->arm_timer);
	set_drop(&s->arm_waiters);
}

/* ---- arm ---- */

static bool marks_now(const struct set *s)
{
	return by_vss(s) && (s->state == UP_SET_ARMED || s->state == UP_SET_COMMITTING ||
				    s->state == UP_SET_COMMITTED || s->arming);
}

/* Around the cut VSS marks the partition tables of the originals (hidden, read only, no letter), and puts back
 * what it found there. Two hosts that did so at once would find each other's marks, and the last one would put
 * those back: the disk stays hidden. So the second one is told now, while nothing is marked. A copy that a host takes
 * without VSS would have the marks in it. */
static bool in_the_way(const struct set *s, const struct set *other)
{
	return s->owner[0] && marks_now(other) &&
	       (!by_vss(s) || !set_owner_same(s->array, s->owner, other->owner));
}

static int others_check(struct set *s, struct fault *fault)
{
	struct array *a = s->array;

	list_for_each (n, &a->sets->unkept) {
		struct set *other = container_of(n, struct set, unkept_link);

		if (other == s || !in_the_way(s, other))
			continue;
		for (unsigned i = 0; i < s->member_count; i++)
			for (unsigned j = 0; j < other->member_count; j++)
				if (s->sides[i].original == other->sides[j].original)
					return fault_set(fault, -EBUSY,
						"host %s takes a shadow copy of LUN %s at this moment, too, and "
						"%s: try again when that one has ended",
						other->owner, s->sides[i].original->name,
						by_vss(s) ? "two at once would leave its partitions hidden"
							  : "its partitions are marked for VSS");
	}
	return 0;
}

static void arm_start(struct set *s, struct array_call *call)
{
	struct fault fault;

	if (!set_wait(&s->arm_waiters, call))
		return;
	set_lease_renew(s);
	if (s->arming)
		return;
	s->arming = true;
	s->arm_timer.fire = arm_late;
	reactor_timer_arm(s->array->options.reactor, &s->arm_timer, ARM_WAIT_MS);
	set_hold(s);
	if (room_ask(s, false)) {
		s->arming = false;
		tell(s, fault_set(&fault, -ENOMEM, FAULT_NO_MEMORY), &fault);
	}
	set_release(s);
}

void set_arm(struct array *a, const uint8_t set_id[UP_ID_BYTES], const char *owner, struct array_call *call)
{
	enum up_set_state next;
	struct fault fault;
	int err;
	struct set *s = set_find_for(a, set_id, owner, SET_ARM, &next, &err, &fault);

	if (!s) {
		array_call_end(call, err, &fault);
	} else if (s->member_count == 0) {
		array_call_refuse(call, -EINVAL, "the copy set has no LUN; add one first");
	} else if (s->state == UP_SET_PREPARING && !s->arming && (err = others_check(s, &fault)) != 0) {
		array_event_as(a, ARRAY_EVENT_WARNING, "set", fault.message, fault.text);
		array_call_end(call, err, &fault);
	} else if (s->state == UP_SET_PREPARING && (room_wanted(s) || ops_of(s)->opens_lazily)) {
		arm_start(s, call);
	} else {
		set_enter(s, next);
		array_call_end(call, 0, NULL);
	}
}
