/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The property that copy sets exist for: a copy never shows a later write of a chain without the earlier
 * ones, holds everything that was answered before the commit was asked for, and does not change afterwards.
 * The store's operations end in random order and after random times.
 */
#include "tests/unit/model/chains.h"

#ifdef HARNESS_RBD
#define COMMITS 12 /* each waits for the monitors */
#elif defined(HARNESS_POOL)
#define COMMITS 30
#else
#define COMMITS 150
#endif

static void step(struct chain_run *r)
{
#ifndef HARNESS_POOL
	unsigned pending = memstore_pending(r->h->memory);

	if (pending && test_random(&r->random) % 8) {
		memstore_complete(r->h->memory, (unsigned)(test_random(&r->random) % pending));
		return;
	}
#endif
	harness_advance(r->h, 1);
}

static void some_steps(struct chain_run *r)
{
	for (unsigned i = (unsigned)(test_random(&r->random) % 60); i > 0; i--)
		step(r);
}

static void wait(struct chain_run *r, struct waiter *w)
{
	for (unsigned i = 0; i < 5000 && !w->done; i++)
		step(r);
	assert_int_equal(w->done, 1);
	assert_int_equal(w->call.fault.err, 0);
}

/* One set through its life; 1 when its copies held something. */
static unsigned one_set(struct chain_run *r, const uint8_t *id)
{
	struct chain_count before[CHAINS];
	uint32_t seen[CHAINS][CHAIN_LUNS], again[CHAINS][CHAIN_LUNS];
	uint8_t ids[CHAIN_LUNS][UP_ID_BYTES];
	struct waiter w;

	make_armed(r->h, id, "", r->luns, CHAIN_LUNS, ids);
	memcpy(before, r->counts, sizeof(before));
	set_commit(r->h->array, id, "", 0, waiter_init(&w));
	wait(r, &w);
	chains_check(r->h, ids, before, r->counts, seen);
	set_keep(r->h->array, id, "", waiter_init(&w));
	wait(r, &w);
	some_steps(r);
	chains_check(r->h, ids, before, r->counts, again);
	assert_memory_equal(seen, again, sizeof(seen));
	set_delete(r->h->array, id, waiter_init(&w));
	wait(r, &w);
	return seen[0][0] > 0;
}

TEST(later_never_without_earlier)
{
	static const char *const names[CHAIN_LUNS] = {"a", "b", "c"};
	struct harness *h = *state;
	struct chain_count counts[CHAINS] = {0};
	struct chain_run r = {.h = h, .random = test_seed(), .counts = counts};
	unsigned worked = 0;

	for (unsigned i = 0; i < CHAIN_LUNS; i++)
		r.luns[i] = make_lun(h, names[i], MIB);
#ifndef HARNESS_POOL
	for (int k = MEMSTORE_WRITE; k < MEMSTORE_KINDS; k++)
		memstore_timing(h->memory, k, MEMSTORE_MANUAL, 0);
	memstore_scatter(h->memory, r.random | 1);
#endif
	chains_start(&r);
	for (unsigned commit = 0; commit < COMMITS; commit++) {
		some_steps(&r);
		worked += one_set(&r, set_id(commit));
	}
	r.stop = true;
#ifndef HARNESS_POOL
	memstore_timing(h->memory, MEMSTORE_KINDS, MEMSTORE_INLINE, 0);
	memstore_complete_all(h->memory);
	assert_true(r.held > COMMITS); /* gates were met */
#endif
	while (chains_busy(&r))
		harness_advance(h, 1);
	assert_true(worked > COMMITS / 2);
	chains_free(&r);
}

#define t(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {t(later_never_without_earlier)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
