/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What ends a set that nobody keeps: the end of its lease, which every call about the set renews, and the
 * absence of its owner. The same timer forgets an aborted set after a while, or tries its undo again, and
 * gives back the room of a kept one.
 */
#include "array/model/set/internal.h"

#define COMMIT_WAIT_MS 1000u /* a commit runs: its deadline decides soon */

static struct reactor *reactor_of(const struct set *s)
{
	return s->array->options.reactor;
}

static void expire(struct set *s, const char *why)
{
	struct array *a = s->array;
	enum up_set_state next;
	char label[ARRAY_NAME_MAX_BYTES + 1];

	if (set_state_next(s->state, SET_EXPIRE, &next))
		return;
	array_event_tell(a, ARRAY_EVENT_WARNING, "set", "copy set %s (%s) aborted: %s", set_label(s, label),
		up_set_state_name(s->state), why);
	if (s->state == UP_SET_COMMITTED)
		set_undo_start(s, NULL);
	else
		set_enter(s, next);
}

/* The next start does not ask for it again. */
static void room_ends(struct set *s)
{
	set_reserve_give_back(s);
	array_ran_note(s->array);
}

static void lease_fire(struct reactor_timer *t)
{
	struct set *s = container_of(t, struct set, lease_timer);

	if (s->state == UP_SET_COMMITTING)
		reactor_timer_arm(reactor_of(s), t, COMMIT_WAIT_MS);
	else if (s->state == UP_SET_KEPT)
		room_ends(s);
	else if (s->state != UP_SET_ABORTED)
		expire(s, "its lease ended");
	else if (s->undo_due && !s->commit)
		set_undo_start(s, NULL);
	else if (!s->undo_due)
		set_forget(s);
}

static void gone_fire(struct reactor_timer *t)
{
	struct set *s = container_of(t, struct set, gone_timer);

	if (s->state == UP_SET_COMMITTING)
		reactor_timer_arm(reactor_of(s), t, COMMIT_WAIT_MS);
	else
		expire(s, "its host has gone");
}

void set_lease_init(struct set *s)
{
	s->lease_timer.fire = lease_fire;
	s->gone_timer.fire = gone_fire;
}

void set_lease_stop(struct set *s)
{
	reactor_timer_disarm(reactor_of(s), &s->lease_timer);
	reactor_timer_disarm(reactor_of(s), &s->gone_timer);
}

void set_lease_renew(struct set *s)
{
	uint32_t lease_ms = s->array->options.lease_ms;

	if (!set_state_unkept(s->state))
		return;
	s->lease_until_ns = reactor_now_ns(reactor_of(s)) + UINT64_C(1000000) * lease_ms;
	reactor_timer_arm(reactor_of(s), &s->lease_timer, lease_ms);
}

void set_touch(struct set *s)
{
	set_lease_renew(s);
}

static unsigned owner_sessions(const struct set *s)
{
	const struct host *h = set_owner_host(s->array, s->owner);

	return h ? h->sessions : 0;
}

void set_lease_follow(struct set *s)
{
	struct array *a = s->array;

	if (set_state_unkept(s->state)) {
		set_lease_renew(s);
		/* Found at the start: nobody is connected yet. */
		if (s->state == UP_SET_COMMITTED && s->owner[0] && s->gone_timer.heap_index == 0 &&
			owner_sessions(s) == 0)
			reactor_timer_arm(reactor_of(s), &s->gone_timer, a->options.host_gone_ms);
		return;
	}
	set_lease_stop(s);
	if (s->state == UP_SET_ABORTED || s->room_held || s->room_asked)
		reactor_timer_arm(reactor_of(s), &s->lease_timer, a->options.lease_ms);
}

/* Every unkept set of the host. */
static void each_unkept(struct array *a, const struct host *h, void (*each)(struct set *s))
{
	list_for_each (n, &a->sets->all) {
		struct set *s = container_of(n, struct set, link);

		if (set_state_unkept(s->state) && set_owner_same(a, s->owner, h->record.name))
			each(s);
	}
}

static void gone_disarm(struct set *s)
{
	reactor_timer_disarm(reactor_of(s), &s->gone_timer);
}

static void gone_arm(struct set *s)
{
	reactor_timer_arm(reactor_of(s), &s->gone_timer, s->array->options.host_gone_ms);
}

void set_host_came(struct array *a, const struct host *h)
{
	each_unkept(a, h, gone_disarm);
}

void set_host_went(struct array *a, const struct host *h)
{
	if (h->sessions == 0)
		each_unkept(a, h, gone_arm);
}
