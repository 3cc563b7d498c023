/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks: until the lock of a kept set ends, nobody deletes its shadow LUNs, breaks them or writes to them,
 * whoever asks.
 *
 * A lock has two ends, one by the wall clock and one by umbrad's running time (array_ran_ms). It is over when
 * both are behind. So a wall clock that is set forward ends no lock. The price: while umbrad does not run, the
 * lock's time stands still.
 *
 * Invariants:
 * - A lock's record is in the catalogue from before its call ends until the lock has ended. An umbrad that does
 *   not know locks refuses a catalogue with one, so that it frees nothing either.
 * - No call ends a lock or makes it shorter.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "array/model/base/pack.h"
#include "array/model/set/internal.h"

#define LOCK_PREFIX   "lock"
#define LOCK_KEY      (sizeof(LOCK_PREFIX) - 1)
#define LOCK_VERSION  2 /* a program that does not know locks says that the record is of a newer one */
#define LOCK_MAX_MS   (UINT64_C(36525) * 24 * 3600 * 1000)
#define TICK_MS       60000u /* so much of the running time may be lost with a crash */
#define TICK_RETRY_MS 1000u

/* ---- the record ------------------------------------------------------------------------------------- */

static void lock_key(const uint8_t id[UP_ID_BYTES], uint8_t key[LOCK_KEY + UP_ID_BYTES])
{
	memcpy(key, LOCK_PREFIX, LOCK_KEY);
	memcpy(key + LOCK_KEY, id, UP_ID_BYTES);
}

int set_lock_record_put(struct array *a, struct store_txn *t, const struct lock_record *r)
{
	uint8_t key[LOCK_KEY + UP_ID_BYTES];
	struct packer k = pack_begin_version(a, LOCK_VERSION);

	lock_key(r->set_id, key);
	pack_u64(&k, r->unix_ms);
	pack_u64(&k, r->ran_ms);
	return pack_put(a, t, STORE_TABLE_META, key, sizeof(key), &k);
}

int set_lock_record_del(struct array *a, struct store_txn *t, const uint8_t id[UP_ID_BYTES])
{
	uint8_t key[LOCK_KEY + UP_ID_BYTES];

	lock_key(id, key);
	return pack_del(a, t, STORE_TABLE_META, key, sizeof(key));
}

bool set_lock_record_is(const void *key, size_t key_len)
{
	return key_len == LOCK_KEY + UP_ID_BYTES && memcmp(key, LOCK_PREFIX, LOCK_KEY) == 0;
}

int set_lock_record_get(
	const void *key, size_t key_len, const void *value, size_t len, struct lock_record *out)
{
	struct unpacker u;
	uint8_t version;
	int err =
		unpack_begin_version(STORE_TABLE_META, key, key_len, value, len, &u, LOCK_VERSION, &version);

	if (err)
		return err;
	memcpy(out->set_id, (const uint8_t *)key + LOCK_KEY, UP_ID_BYTES);
	out->unix_ms = unpack_u64(&u);
	out->ran_ms = unpack_u64(&u);
	return version < LOCK_VERSION || out->unix_ms == 0 || out->ran_ms > UINT64_MAX / 2 ? -EUCLEAN
											   : unpack_end(&u);
}

/* ---- the time --------------------------------------------------------------------------------------- */

static uint64_t left_of(uint64_t end, uint64_t now)
{
	return end > now ? end - now : 0;
}

uint64_t set_lock_left_ms(const struct set *s)
{
	uint64_t wall_ms = left_of(s->lock_unix_ms, array_clock_unix_ms());
	uint64_t ran_ms = left_of(s->lock_ran_ms, array_ran_ms(s->array));

	return wall_ms > ran_ms ? wall_ms : ran_ms;
}

/* The next look: when the running time is to be noted, or the first lock may be over. */
static void tick_arm(struct array *a)
{
	uint64_t first = UINT64_MAX;

	list_for_each (n, &a->sets->all) {
		const struct set *s = container_of(n, struct set, link);
		uint64_t left = s->lock_unix_ms ? set_lock_left_ms(s) + 1 : UINT64_MAX;

		first = left < first ? left : first;
	}
	reactor_timer_disarm(a->options.reactor, &a->sets->lock_timer);
	if (first != UINT64_MAX)
		reactor_timer_arm(a->options.reactor, &a->sets->lock_timer,
			first < TICK_MS ? (uint32_t)first : TICK_MS);
}

/* Tells the hosts that see a shadow LUN, too. */
static void shadows_lock(struct set *s, bool locked)
{
	for (unsigned i = 0; i < s->member_count; i++) {
		struct lun *shadow = s->sides[i].shadow;

		if (shadow->locked == locked)
			continue;
		shadow->locked = locked;
		s->array->news->lun_protected(shadow);
	}
}

/* ---- the end of locks, and the running time that they count by ---------------------------------------- */

static int tick_check(struct change *c)
{
	list_for_each (n, &c->array->sets->all) {
		struct set *s = container_of(n, struct set, link);

		s->lock_ending = s->lock_unix_ms && set_lock_left_ms(s) == 0;
	}
	return 0;
}

static int tick_build(struct change *c, struct store_txn *t)
{
	int err = array_ran_put(c->array, t);

	list_for_each (n, &c->array->sets->all) {
		const struct set *s = container_of(n, struct set, link);

		if (!err && s->lock_ending)
			err = set_lock_record_del(c->array, t, s->id);
	}
	return err;
}

static void tick_end(struct change *c, int err)
{
	struct array *a = c->array;
	char label[ARRAY_NAME_MAX_BYTES + 1];

	list_for_each (n, &a->sets->all) {
		struct set *s = container_of(n, struct set, link);

		if (!err && s->lock_ending) {
			s->lock_unix_ms = s->lock_ran_ms = 0;
			shadows_lock(s, false);
			array_event_tell(a, ARRAY_EVENT_INFO, "set", "the lock of copy set %s has ended",
				set_label(s, label));
		}
		s->lock_ending = false;
	}
	if (err)
		reactor_timer_arm(a->options.reactor, &a->sets->lock_timer, TICK_RETRY_MS);
	else
		tick_arm(a);
}

void set_lock_fire(struct reactor_timer *t)
{
	static const struct change_ops ops = {.check = tick_check, .build = tick_build, .end = tick_end};
	struct array *a = container_of(t, struct sets, lock_timer)->array;
	struct change *c = change_new(a, sizeof(*c), &ops, NULL);

	if (c)
		change_submit(c);
	else
		reactor_timer_arm(a->options.reactor, t, TICK_RETRY_MS);
}

int set_lock_load(struct array *a, const struct lock_record *r)
{
	struct set *s = set_find(a, r->set_id, NULL);

	if (!s || s->state != UP_SET_KEPT)
		return -EUCLEAN;
	s->lock_unix_ms = r->unix_ms;
	s->lock_ran_ms = r->ran_ms;
	shadows_lock(s, true);
	tick_arm(a);
	return 0;
}

/* ---- the call --------------------------------------------------------------------------------------- */

struct locking {
	struct change c;
	struct set *s; /* held */
	struct lock_record r;
	uint64_t for_ms; /* 0: until r.unix_ms */
	bool gated;
};

static struct locking *locking_of(struct change *c)
{
	return container_of(c, struct locking, c);
}

static int time_check(struct locking *op)
{
	const struct set *s = op->s;
	uint64_t now = array_clock_unix_ms();
	char label[ARRAY_NAME_MAX_BYTES + 1];

	if (op->for_ms)
		op->r.unix_ms = op->for_ms > LOCK_MAX_MS ? UINT64_MAX : now + op->for_ms;
	if (op->r.unix_ms <= now)
		return fault_set(&op->c.fault, -EINVAL,
			"that time has passed already: name one that is to come, and look at the clock");
	if (op->r.unix_ms - now > LOCK_MAX_MS)
		return fault_set(
			&op->c.fault, -EINVAL, "a lock lasts at most 100 years: name an earlier time");
	if (op->r.unix_ms < s->lock_unix_ms)
		return fault_set(&op->c.fault, -EPERM,
			"copy set %s is locked for longer than that: a lock is made longer, never shorter",
			set_label(s, label));
	op->r.ran_ms = array_ran_ms(s->array) + (op->r.unix_ms - now);
	if (op->r.ran_ms < s->lock_ran_ms)
		op->r.ran_ms = s->lock_ran_ms;
	return 0;
}

static int lock_check(struct change *c)
{
	struct locking *op = locking_of(c);
	struct set *s = op->s;
	char label[ARRAY_NAME_MAX_BYTES + 1];
	int err;

	if (s->forgotten)
		return fault_set(
			&c->fault, -ENOENT, "the copy set is gone: umbractl set list shows those there are");
	if (s->state != UP_SET_KEPT)
		return fault_set(&c->fault, -EBADFD, "copy set %s is %s: only a kept one can be locked",
			set_label(s, label), up_set_state_name(s->state));
	for (unsigned i = 0; i < s->member_count; i++)
		if (s->sides[i].shadow->sanitizing)
			return fault_set(&c->fault, -EBUSY,
				"LUN %s is being sanitized by a host: nothing of it is left to lock",
				s->sides[i].shadow->name);
	err = time_check(op);
	if (err)
		return err;
	op->gated = true;
	for (unsigned i = 0; i < s->member_count; i++)
		lun_gate_close(s->sides[i].shadow);
	return 0;
}

/* Writes under way end first; what comes meanwhile waits, and is refused when the lock is durable. */
static bool lock_drain(struct change *c, unsigned index)
{
	const struct set *s = locking_of(c)->s;

	return index < s->member_count && lun_change_drain_io(c, s->sides[index].shadow);
}

static int lock_build(struct change *c, struct store_txn *t)
{
	int err = array_ran_put(c->array, t);

	return err ? err : set_lock_record_put(c->array, t, &locking_of(c)->r);
}

static void lock_taken(struct set *s, const struct lock_record *r)
{
	time_t seconds = (time_t)(r->unix_ms / 1000);
	char label[ARRAY_NAME_MAX_BYTES + 1], text[40] = "";
	struct tm utc;

	s->lock_unix_ms = r->unix_ms;
	s->lock_ran_ms = r->ran_ms;
	shadows_lock(s, true);
	tick_arm(s->array);
	if (gmtime_r(&seconds, &utc))
		strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &utc);
	array_event_tell(s->array, ARRAY_EVENT_INFO, "set",
		"copy set %s is locked until %s UTC: its %u shadow LUN(s) cannot be deleted, broken or written to",
		set_label(s, label), text, s->member_count);
}

static void lock_end(struct change *c, int err)
{
	struct locking *op = locking_of(c);
	struct set *s = op->s;

	if (!err)
		lock_taken(s, &op->r);
	for (unsigned i = 0; op->gated && i < s->member_count; i++)
		lun_gate_open(s->sides[i].shadow);
}

static void lock_clear(struct change *c)
{
	if (c->array)
		set_release(locking_of(c)->s);
}

static void lock_start(struct array *a, const uint8_t set_id[UP_ID_BYTES], uint64_t until_ms, uint64_t for_ms,
	struct array_call *call)
{
	static const struct change_ops ops = {.check = lock_check,
		.drain = lock_drain,
		.build = lock_build,
		.end = lock_end,
		.clear = lock_clear};
	struct set *s = set_find(a, set_id, NULL);
	struct locking *op;

	if (!s) {
		array_call_refuse(
			call, -ENOENT, "there is no such copy set: umbractl set list shows those there are");
		return;
	}
	op = change_new(a, sizeof(*op), &ops, call);
	if (!op)
		return;
	op->s = s;
	op->r.unix_ms = until_ms;
	op->for_ms = for_ms;
	memcpy(op->r.set_id, s->id, UP_ID_BYTES);
	set_hold(s);
	change_submit(&op->c);
}

void set_lock(
	struct array *a, const uint8_t set_id[UP_ID_BYTES], uint64_t until_unix_ms, struct array_call *call)
{
	lock_start(a, set_id, until_unix_ms, 0, call);
}

void set_lock_for(
	struct array *a, const uint8_t set_id[UP_ID_BYTES], uint64_t for_ms, struct array_call *call)
{
	lock_start(a, set_id, 0, for_ms, call);
}
