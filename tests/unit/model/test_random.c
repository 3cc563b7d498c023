/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random sequences of calls on interleaved sets of two owners, with time passing, restarts and power losses.
 * One test runs call by call and compares every result with a model written independently of the array; the
 * other lets everything overlap and checks what must hold whatever the order.
 */
#include <stdio.h>
#include "tests/unit/model/harness.h"

#define LUNS     4
#define SLOTS    6
#define LEASE_MS 1000

/* ---- call by call, against a model ---- */

struct model_set {
	const uint8_t *id;
	const char *owner;
	int state;        /* 0: unknown to the array */
	uint64_t ends_ms; /* lease, or when an aborted one is forgotten */
	bool member[LUNS];
	uint8_t ids[LUNS][UP_ID_BYTES];
	uint8_t value[LUNS]; /* at the cut */
	bool alive[LUNS];    /* its shadow LUN */
	enum up_copy_kind kind;
};

struct model {
	struct harness *h;
	uint64_t random, now_ms;
	struct lun *luns[LUNS];
	uint8_t value[LUNS], flushed[LUNS];
	struct model_set sets[SLOTS];
	unsigned next_id;
	unsigned hits[16]; /* how often each call succeeded */
};

static bool unkept(int state)
{
	return state >= UP_SET_PREPARING && state <= UP_SET_COMMITTED;
}

static void model_reset(struct model *m, struct model_set *s)
{
	memset(s, 0, sizeof(*s));
	s->id = set_id(m->next_id++);
	s->owner = test_random(&m->random) % 2 ? "iqn.one" : "";
	s->kind = test_random(&m->random) % 2 ? UP_COPY_PLEX : UP_COPY_DEFAULT;
}

static void model_state(struct model *m, struct model_set *s, int state)
{
	s->state = state;
	s->ends_ms = m->now_ms + LEASE_MS;
}

static void model_advance(struct model *m, unsigned ms)
{
	m->now_ms += ms;
	for (unsigned i = 0; i < SLOTS; i++) {
		struct model_set *s = &m->sets[i];

		if (unkept(s->state) && s->ends_ms <= m->now_ms) {
			s->state = UP_SET_ABORTED;
			s->ends_ms += LEASE_MS;
		}
		if (s->state == UP_SET_ABORTED && s->ends_ms <= m->now_ms)
			s->state = 0;
	}
}

static void model_restart(struct model *m)
{
	for (unsigned i = 0; i < SLOTS; i++) {
		struct model_set *s = &m->sets[i];

		if (s->state == UP_SET_COMMITTED)
			s->ends_ms = m->now_ms + LEASE_MS;
		else if (s->state != UP_SET_KEPT)
			s->state = 0;
	}
}

static int expect_begin(const struct model_set *s)
{
	switch (s->state) {
	case 0:
	case UP_SET_PREPARING:
		return 0;
	case UP_SET_COMMITTED:
	case UP_SET_KEPT:
		return -EEXIST;
	default:
		return -EBADFD;
	}
}

static int expect_in(const struct model_set *s, int a, int b)
{
	if (s->state == 0)
		return -ENOENT;
	return s->state == a || s->state == b ? 0 : -EBADFD;
}

static bool any_member(const struct model_set *s)
{
	bool any = false;

	for (unsigned l = 0; l < LUNS; l++)
		any = any || s->member[l];
	return any;
}

static void do_begin_add_arm(struct model *m, struct model_set *s, unsigned what, unsigned l)
{
	struct harness *h = m->h;
	uint8_t id[UP_ID_BYTES];
	int want;

	if (what == 0) {
		want = expect_begin(s);
		assert_int_equal(set_begin(h->array, s->id, s->owner, NULL), want);
		if (!want && s->state == 0)
			memset(s->member, 0, sizeof(s->member));
		if (!want)
			model_state(m, s, UP_SET_PREPARING);
	} else if (what == 1) {
		want = expect_in(s, UP_SET_PREPARING, 0);
		assert_int_equal(set_add(h->array, s->id, s->owner, m->luns[l], s->kind, id, NULL), want);
		if (!want && s->member[l])
			assert_memory_equal(id, s->ids[l], UP_ID_BYTES);
		if (!want) {
			s->member[l] = true;
			memcpy(s->ids[l], id, UP_ID_BYTES);
			model_state(m, s, UP_SET_PREPARING);
		}
	} else {
		want = expect_in(s, UP_SET_PREPARING, UP_SET_ARMED);
		if (!want && !any_member(s))
			want = -EINVAL;
		assert_int_equal(do_arm(h, s->id, s->owner), want);
		if (!want)
			model_state(m, s, UP_SET_ARMED);
	}
	m->hits[what] += !want;
}

static void do_commit_step(struct model *m, struct model_set *s)
{
	int want = expect_in(s, UP_SET_ARMED, 0);

	assert_int_equal(do_commit(m->h, s->id, s->owner, 0), want);
	if (want)
		return;
	model_state(m, s, UP_SET_COMMITTED);
	memcpy(s->value, m->value, sizeof(s->value));
	memcpy(s->alive, s->member, sizeof(s->alive));
	m->hits[3]++;
}

static void do_keep_step(struct model *m, struct model_set *s)
{
	int want = expect_in(s, UP_SET_COMMITTED, UP_SET_KEPT);

	assert_int_equal(do_keep(m->h, s->id, s->owner), want);
	if (!want)
		s->state = UP_SET_KEPT;
	m->hits[4] += !want;
}

static void do_abort_step(struct model *m, struct model_set *s)
{
	int want = s->state == 0 ? -ENOENT : s->state == UP_SET_KEPT ? -EBADFD : 0;

	assert_int_equal(do_abort(m->h, s->id, s->owner), want);
	if (!want && s->state != UP_SET_ABORTED)
		model_state(m, s, UP_SET_ABORTED);
	m->hits[5] += !want;
}

static void do_set_delete_step(struct model *m, struct model_set *s)
{
	int want = expect_in(s, UP_SET_KEPT, 0);

	assert_int_equal(do_set_delete(m->h, s->id), want);
	if (!want)
		model_reset(m, s);
	m->hits[6] += !want;
}

/* The set's copy of that LUN is no copy any more. */
static void shadow_left(struct model *m, struct model_set *s, unsigned l)
{
	bool left = false;

	s->alive[l] = false;
	for (unsigned i = 0; i < LUNS; i++)
		left = left || (s->member[i] && s->alive[i]);
	if (!left)
		model_reset(m, s);
}

static void do_shadow_delete_step(struct model *m, struct model_set *s, unsigned l)
{
	struct lun *shadow = s->state ? lun_find(m->h->array, s->ids[l]) : NULL;
	struct waiter w;

	if (!shadow)
		return;
	assert_true(s->member[l] && s->alive[l]);
	if (s->state == UP_SET_COMMITTED) {
		assert_int_equal(do_delete(m->h, shadow), -EBUSY);
		return;
	}
	assert_int_equal(s->state, UP_SET_KEPT);
	assert_int_equal(do_delete(m->h, shadow), 0);
	m->hits[7]++;
	if (test_random(&m->random) % 2) {
		/* out of the recycle bin again: the set with it, if it had ended */
		lun_undelete(m->h->array, s->ids[l], waiter_init(&w));
		assert_int_equal(waiter_wait(m->h, &w), 0);
		m->hits[10]++;
		return;
	}
	if (test_random(&m->random) % 2) {
		lun_purge(m->h->array, s->ids[l], waiter_init(&w));
		assert_int_equal(waiter_wait(m->h, &w), 0);
	}
	shadow_left(m, s, l);
}

/* It becomes an ordinary LUN with the same data, and goes. */
static void do_break_step(struct model *m, struct model_set *s, unsigned l)
{
	struct lun *shadow = s->state ? lun_find(m->h->array, s->ids[l]) : NULL;
	struct waiter w;

	if (!shadow)
		return;
	lun_break(shadow, 0, waiter_init(&w));
	assert_int_equal(waiter_wait(m->h, &w), s->state == UP_SET_KEPT ? 0 : -EBUSY);
	if (s->state != UP_SET_KEPT)
		return;
	assert_int_equal(shadow->kind, LUN_ORDINARY);
	assert_int_equal(do_read(m->h, shadow, 0), s->value[l]);
	assert_int_equal(do_delete(m->h, shadow), 0);
	m->hits[11]++;
	shadow_left(m, s, l);
}

static void do_resync_step(struct model *m, struct model_set *s, unsigned l, unsigned target)
{
	struct lun *shadow = s->state ? lun_find(m->h->array, s->ids[l]) : NULL;
	int want = s->state == UP_SET_KEPT ? 0 : -EBUSY;
	struct lun_resync_view v;
	struct waiter w;

	if (!shadow)
		return;
	for (unsigned i = 0; i < SLOTS; i++)
		if (unkept(m->sets[i].state) && m->sets[i].member[target])
			want = -EBUSY;
	lun_resync_start(m->h->array, s->owner, shadow, m->luns[target], 0, waiter_init(&w));
	assert_int_equal(waiter_wait(m->h, &w), want);
	if (want)
		return;
	assert_int_equal(lun_resync_view_of(m->h->array, s->owner, w.call.job, &v), 0);
	assert_int_equal(v.state, LUN_RESYNC_DONE);
	m->value[target] = m->flushed[target] = s->value[l];
	m->hits[12]++;
}

static void do_original_delete_step(struct model *m, unsigned l)
{
	for (unsigned i = 0; i < SLOTS; i++)
		if (unkept(m->sets[i].state) && m->sets[i].member[l]) {
			assert_int_equal(do_delete(m->h, m->luns[l]), -EBUSY);
			m->hits[8]++;
			return;
		}
}

static void do_restart(struct model *m, bool crash)
{
	static const char *const names[LUNS] = {"l0", "l1", "l2", "l3"};
	char *before = harness_dump(m->h), *after;

	if (crash) {
		memstore_crash(m->h->memory, 0);
		array_close(m->h->array);
		harness_open(m->h);
		memcpy(m->value, m->flushed, sizeof(m->value));
	} else {
		harness_reopen(m->h);
		memcpy(m->flushed, m->value, sizeof(m->value));
	}
	after = harness_dump(m->h);
	assert_string_equal(before, after);
	free(before);
	free(after);
	for (unsigned l = 0; l < LUNS; l++)
		m->luns[l] = lun_find_name(m->h->array, names[l]);
	model_restart(m);
	m->hits[9]++;
}

static void do_write_step(struct model *m, unsigned l)
{
	m->value[l] = (uint8_t)test_random(&m->random);
	assert_int_equal(do_write(m->h, m->luns[l], 0, m->value[l]), 0);
	if (test_random(&m->random) % 2) {
		assert_int_equal(do_flush(m->h, m->luns[l]), 0);
		m->flushed[l] = m->value[l];
	}
}

static void check_model(struct model *m)
{
	for (unsigned i = 0; i < SLOTS; i++) {
		const struct model_set *s = &m->sets[i];
		bool there = s->state == UP_SET_COMMITTED || s->state == UP_SET_KEPT;

		if ((int)set_state(m->h, s->id) != s->state)
			fail_msg("set %u: array %d, model %d", i, set_state(m->h, s->id), s->state);
		for (unsigned l = 0; l < LUNS; l++) {
			struct lun *shadow = s->member[l] ? lun_find(m->h->array, s->ids[l]) : NULL;

			assert_int_equal(shadow != NULL, there && s->member[l] && s->alive[l]);
			if (shadow)
				assert_int_equal(do_read(m->h, shadow, 0), s->value[l]);
		}
	}
	for (unsigned l = 0; l < LUNS; l++)
		assert_int_equal(do_read(m->h, m->luns[l], 0), m->value[l]);
}

static void random_call(struct model *m)
{
	struct model_set *s = &m->sets[test_random(&m->random) % SLOTS];
	unsigned l = (unsigned)(test_random(&m->random) % LUNS),
		 what = (unsigned)(test_random(&m->random) % 100);
	const char *wrong = s->owner[0] ? "" : "iqn.two";

	if (what < 35) {
		do_begin_add_arm(m, s, what < 10 ? 0 : what < 25 ? 1 : 2, l);
	} else if (what < 50) {
		do_commit_step(m, s);
	} else if (what < 58) {
		do_keep_step(m, s);
	} else if (what < 62) {
		do_abort_step(m, s);
	} else if (what < 64) {
		do_set_delete_step(m, s);
	} else if (what < 71) {
		do_shadow_delete_step(m, s, l);
	} else if (what < 74) {
		do_original_delete_step(m, l);
	} else if (what < 78) {
		do_break_step(m, s, l);
	} else if (what < 84) {
		do_resync_step(m, s, l, (unsigned)(test_random(&m->random) % LUNS));
	} else if (what < 91) {
		do_write_step(m, l);
	} else if (what < 93) {
		assert_int_equal(do_abort(m->h, s->id, wrong), -ENOENT);
		assert_int_equal(do_commit(m->h, s->id, wrong, 0), -ENOENT);
	} else if (what < 96) {
		unsigned ms = (unsigned)(test_random(&m->random) % 200);

		harness_advance(m->h, ms);
		model_advance(m, ms);
	} else if (test_random(&m->random) % 8 == 0) {
		do_restart(m, test_random(&m->random) % 2);
	}
}

TEST(calls_agree_with_the_model)
{
	struct model m = {.h = *state, .random = test_seed()};

	harness_close(m.h);
	m.h->options.lease_ms = LEASE_MS;
	m.h->options.host_gone_ms = 1000000000;
	m.h->options.recycle_s = 1000000;
	harness_open(m.h);
	for (unsigned l = 0; l < LUNS; l++) {
		char name[8];

		snprintf(name, sizeof(name), "l%u", l);
		m.luns[l] = make_lun(m.h, name, MIB);
	}
	for (unsigned i = 0; i < SLOTS; i++)
		model_reset(&m, &m.sets[i]);
	for (unsigned i = 0; i < 6000; i++) {
		random_call(&m);
		check_model(&m);
		/* Ids that have had their life are not used again. */
		for (unsigned j = 0; j < SLOTS; j++)
			if (m.sets[j].state == UP_SET_ABORTED && test_random(&m.random) % 24 == 0)
				model_reset(&m, &m.sets[j]);
		if (m.next_id > 900)
			break;
	}
	for (unsigned i = 0; i < 13; i++)
		print_message("%s %u", i ? "," : "calls that went well:", m.hits[i]);
	print_message("\n");
	for (unsigned i = 0; i < 13; i++)
		assert_true(m.hits[i] > (i < 10 ? 3 : 0));
}

/* ---- everything at once ---- */

enum call_kind {
	CALL_COMMIT,
	CALL_KEEP,
	CALL_ABORT,
	CALL_KINDS
};

struct live_set {
	const uint8_t *id;
	bool begun;
	struct waiter calls[CALL_KINDS];
	bool asked[CALL_KINDS];
	uint8_t ids[2][UP_ID_BYTES];
	uint8_t low[2], high[2]; /* what the copy may hold: answered at the commit … submitted at its end */
	bool high_known;
};

struct live {
	struct harness *h;
	uint64_t random;
	struct lun *luns[2];
	uint8_t answered[2], submitted[2];
	struct live_write {
		struct lun_io io;
		struct iovec iov;
		uint8_t data[512];
		struct live *live;
		unsigned lun;
		bool busy;
	} writes[2];
	struct live_set sets[2];
	unsigned next_id, kept, aborted, late, crashes;
};

static void live_write_done(struct lun_io *io, int err)
{
	struct live_write *w = container_of(io, struct live_write, io);

	w->busy = false;
	if (!err)
		w->live->answered[w->lun] = w->data[0];
	else
		assert_int_equal(err, -ESHUTDOWN);
}

static void live_write(struct live *v, unsigned l)
{
	struct live_write *w = &v->writes[l];

	if (w->busy || v->submitted[l] == 250)
		return;
	memset(w, 0, sizeof(*w));
	w->live = v;
	w->lun = l;
	w->busy = true;
	memset(w->data, ++v->submitted[l], sizeof(w->data));
	w->iov.iov_base = w->data;
	w->iov.iov_len = sizeof(w->data);
	w->io.io.op = STORE_WRITE;
	w->io.io.flags = STORE_IO_FUA;
	w->io.io.len = sizeof(w->data);
	w->io.io.iov = &w->iov;
	w->io.io.iov_count = 1;
	w->io.lun = v->luns[l];
	w->io.done = live_write_done;
	lun_submit(&w->io);
}

static void live_begin(struct live *v, struct live_set *s)
{
	uint8_t id[UP_ID_BYTES];

	memset(s, 0, sizeof(*s));
	s->id = set_id(v->next_id++);
	s->begun = true;
	make_armed(v->h, s->id, "", v->luns, 2, s->ids);
	/* Adding after arming never works. */
	assert_int_equal(set_add(v->h->array, s->id, "", v->luns[0], UP_COPY_DEFAULT, id, NULL), -EBADFD);
	memcpy(s->low, v->answered, 2);
}

static void live_ask(struct live *v, struct live_set *s, enum call_kind kind)
{
	struct array_call *call;

	if (s->asked[kind])
		return;
	s->asked[kind] = true;
	call = waiter_init(&s->calls[kind]);
	if (kind == CALL_COMMIT) {
		memcpy(s->low, v->answered, 2);
		set_commit(v->h->array, s->id, "", 1 + (uint32_t)(test_random(&v->random) % 30), call);
	} else if (kind == CALL_KEEP) {
		set_keep(v->h->array, s->id, "", call);
	} else {
		set_abort(v->h->array, s->id, "", call);
	}
}

static bool ended_well(const struct live_set *s, enum call_kind kind)
{
	return s->asked[kind] && s->calls[kind].done && s->calls[kind].call.fault.err == 0;
}

static void live_check_copy(struct live *v, const struct live_set *s)
{
	for (unsigned l = 0; l < 2; l++) {
		struct lun *shadow = lun_find(v->h->array, s->ids[l]);
		int value;

		assert_non_null(shadow);
		value = do_read(v->h, shadow, 0);
		if (value < s->low[l] || value > v->submitted[l])
			fail_msg("copy %u holds %d, not %d to %d", l, value, s->low[l], v->submitted[l]);
	}
}

/* Called when nothing is under way. */
static void live_check_settled(struct live *v, struct live_set *s)
{
	enum up_set_state now = set_state(v->h, s->id);
	bool there = now == UP_SET_COMMITTED || now == UP_SET_KEPT;

	for (unsigned l = 0; l < 2; l++)
		assert_int_equal(lun_find(v->h->array, s->ids[l]) != NULL, there);
	if (ended_well(s, CALL_KEEP)) {
		assert_int_equal(now, UP_SET_KEPT);
		assert_true(ended_well(s, CALL_COMMIT));
	}
	if (ended_well(s, CALL_ABORT))
		assert_false(there);
	if (there)
		live_check_copy(v, s);
}

static void live_settle(struct live *v)
{
	for (unsigned i = 0; i < 200; i++) {
		memstore_complete_all(v->h->memory);
		harness_advance(v->h, 1);
	}
	for (unsigned i = 0; i < 2; i++)
		for (int k = 0; v->sets[i].begun && k < CALL_KINDS; k++)
			if (v->sets[i].asked[k])
				assert_int_equal(v->sets[i].calls[k].done, 1);
}

static void live_end_set(struct live *v, struct live_set *s)
{
	enum up_set_state now = set_state(v->h, s->id);
	struct waiter w;

	live_check_settled(v, s);
	v->kept += now == UP_SET_KEPT;
	v->aborted += now == UP_SET_ABORTED;
	v->late += s->asked[CALL_COMMIT] && s->calls[CALL_COMMIT].call.fault.err == -ETIME;
	if (now == UP_SET_KEPT)
		set_delete(v->h->array, s->id, waiter_init(&w));
	else if (now)
		set_abort(v->h->array, s->id, "", waiter_init(&w));
	if (now) {
		memstore_complete_all(v->h->memory);
		assert_int_equal(w.done, 1);
		assert_int_equal(w.call.fault.err, 0);
	}
	s->begun = false;
}

static void live_crash(struct live *v)
{
	enum up_set_state now;
	bool aborted[2];

	v->crashes++;
	/* An abort that ends with the crash itself has told nobody: the lease will end what survives. */
	for (unsigned i = 0; i < 2; i++)
		aborted[i] = v->sets[i].begun && ended_well(&v->sets[i], CALL_ABORT);
	memstore_crash(v->h->memory, test_random(&v->random) % 4 ? test_random(&v->random) | 1 : 0);
	array_close(v->h->array);
	harness_open(v->h);
	v->luns[0] = lun_find_name(v->h->array, "l0");
	v->luns[1] = lun_find_name(v->h->array, "l1");
	for (unsigned l = 0; l < 2; l++) {
		/* What was answered was durable (FUA). */
		int value;

		memstore_timing(v->h->memory, MEMSTORE_READ, MEMSTORE_INLINE, 0);
		value = do_read(v->h, v->luns[l], 0);
		assert_in_range(value, v->answered[l], v->submitted[l]);
		v->answered[l] = (uint8_t)value;
	}
	for (unsigned i = 0; i < 2; i++) {
		struct live_set *s = &v->sets[i];

		if (!s->begun)
			continue;
		now = set_state(v->h, s->id);
		if (ended_well(s, CALL_KEEP))
			assert_int_equal(now, UP_SET_KEPT);
		if (aborted[i])
			assert_int_equal(now, 0);
		else
			s->asked[CALL_ABORT] = false;
		assert_true(now == 0 || now == UP_SET_COMMITTED || now == UP_SET_KEPT);
		if (now == UP_SET_KEPT)
			assert_true(s->asked[CALL_KEEP]);
		for (unsigned l = 0; l < 2; l++)
			assert_int_equal(lun_find(v->h->array, s->ids[l]) != NULL, now != 0);
		if (now)
			live_check_copy(v, s);
		live_end_set(v, s);
	}
}

static void live_step(struct live *v)
{
	struct live_set *s = &v->sets[test_random(&v->random) % 2];
	unsigned what = (unsigned)(test_random(&v->random) % 100), pending = memstore_pending(v->h->memory);

	if (what < 30) {
		live_write(v, what % 2);
	} else if (what < 60) {
		if (pending)
			memstore_complete(v->h->memory, (unsigned)(test_random(&v->random) % pending));
	} else if (what < 70) {
		harness_advance(v->h, 1);
	} else if (what < 82) {
		if (!s->begun)
			live_begin(v, s);
		else
			live_ask(v, s, CALL_COMMIT);
	} else if (what < 90) {
		if (s->begun && ended_well(s, CALL_COMMIT))
			live_ask(v, s, CALL_KEEP);
	} else if (what < 92) {
		if (s->begun)
			live_ask(v, s, CALL_ABORT);
	} else if (what < 96) {
		if (s->begun && (s->asked[CALL_KEEP] || s->asked[CALL_ABORT])) {
			live_settle(v);
			live_end_set(v, s);
		}
	} else if (what == 99 && test_random(&v->random) % 6 == 0) {
		live_crash(v);
	}
}

static void live_run(struct harness *h)
{
	static struct live v;

	memset(&v, 0, sizeof(v));
	v.h = h;
	v.random = test_seed();
	v.luns[0] = make_lun(v.h, "l0", MIB);
	v.luns[1] = make_lun(v.h, "l1", MIB);
	for (int k = MEMSTORE_WRITE; k < MEMSTORE_KINDS; k++)
		memstore_timing(v.h->memory, k, MEMSTORE_MANUAL, 0);
	memstore_scatter(v.h->memory, v.random | 1);
	for (unsigned i = 0; i < 30000 && v.next_id < 1000; i++) {
		live_step(&v);
		if (v.submitted[0] == 250 || v.submitted[1] == 250) {
			/* The values start again: no copy of before may be left. */
			live_settle(&v);
			for (unsigned j = 0; j < 2; j++)
				if (v.sets[j].begun)
					live_end_set(&v, &v.sets[j]);
			memstore_timing(v.h->memory, MEMSTORE_WRITE, MEMSTORE_INLINE, 0);
			for (unsigned l = 0; l < 2; l++) {
				v.submitted[l] = 0;
				live_write(&v, l);
			}
			memstore_timing(v.h->memory, MEMSTORE_WRITE, MEMSTORE_MANUAL, 0);
		}
	}
	live_settle(&v);
	for (unsigned j = 0; j < 2; j++)
		if (v.sets[j].begun)
			live_end_set(&v, &v.sets[j]);
	print_message("kept %u, aborted %u (late %u), crashes %u\n", v.kept, v.aborted, v.late, v.crashes);
	assert_true(v.kept > 10 && v.aborted > 10 && v.late > 3 && v.crashes > 3);
	memstore_timing(v.h->memory, MEMSTORE_KINDS, MEMSTORE_INLINE, 0);
	memstore_complete_all(v.h->memory);
	assert_int_equal(memstore_disks(v.h->memory), 2);
	assert_int_equal(memstore_records(v.h->memory, STORE_TABLE_SET), 0);
	assert_int_equal(memstore_records(v.h->memory, STORE_TABLE_LUN), 2);
}

TEST(what_overlaps_stays_whole)
{
	live_run(*state);
}

/* A cut that has taken too long, or is aborted, does not end by that, and others begin. */
TEST(what_overlaps_and_hangs_stays_whole)
{
	struct harness *h = *state;

	memstore_let_cuts_hang(h->memory);
	harness_reopen(h);
	live_run(h);
}

#define t(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		t(calls_agree_with_the_model),
		t(what_overlaps_stays_whole),
		t(what_overlaps_and_hangs_stays_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
