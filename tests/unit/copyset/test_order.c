/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The property that copy sets exist for: chains of writers, each of which writes n to one LUN, waits for the
 * answer, writes n to the next LUN and so on, then goes on with n + 1. A copy never shows a later write of a
 * chain without the earlier ones, holds everything that was answered before the commit was asked for, and
 * does not change afterwards. The store's operations end in random order and after random times.
 */
#include <stdio.h>
#include "tests/unit/copyset/harness.h"

#define LUNS   3
#define CHAINS 8
#ifdef HARNESS_POOL
#define COMMITS 30
#else
#define COMMITS 150
#endif

struct chain {
	struct lun_io io;
	struct iovec iov;
	_Alignas(4096) uint8_t data[512];
	struct run *run;
	unsigned order[LUNS]; /* in which the LUNs are written */
	unsigned block, hop;
	uint32_t n;
	uint32_t submitted[LUNS], answered[LUNS]; /* by hop */
	uint32_t before[LUNS];                    /* answered when the commit was asked for */
	bool busy, held;
};

struct run {
	struct harness *h;
	struct lun *luns[LUNS];
	struct chain *chains;
	bool stop;
	uint64_t random;
	unsigned held; /* writes that met a closed gate */
};

static void chain_go(struct chain *c);

static void chain_done(struct lun_io *io, int err)
{
	struct chain *c = container_of(io, struct chain, io);

	assert_int_equal(err, 0);
	c->busy = false;
	c->answered[c->hop] = c->n;
	c->hop = (c->hop + 1) % LUNS;
	if (c->hop == 0)
		c->n++;
	if (!c->run->stop)
		chain_go(c);
}

static void chain_go(struct chain *c)
{
	c->busy = true;
	c->submitted[c->hop] = c->n;
	for (unsigned i = 0; i < sizeof(c->data); i += 4)
		memcpy(c->data + i, &c->n, 4);
	c->io.lun = c->run->luns[c->order[c->hop]];
	c->run->held += c->io.lun->gate_closed > 0;
	lun_submit(&c->io);
}

static struct chain *chains_new(struct run *r)
{
	struct chain *chains = aligned_alloc(4096, (sizeof(struct chain) * CHAINS + 4095) / 4096 * 4096);

	assert_non_null(chains);
	memset(chains, 0, sizeof(struct chain) * CHAINS);
	for (unsigned i = 0; i < CHAINS; i++) {
		struct chain *c = &chains[i];
		unsigned first = (unsigned)(test_random(&r->random) % LUNS);
		unsigned step = test_random(&r->random) % 2 ? 1 : LUNS - 1;

		for (unsigned hop = 0; hop < LUNS; hop++)
			c->order[hop] = (first + hop * step) % LUNS;
		c->run = r;
		c->block = i % 2 ? i * 130 : i; /* some share a block of 4 KiB */
		c->n = 1;
		c->iov.iov_base = c->data;
		c->iov.iov_len = sizeof(c->data);
		c->io.io.op = STORE_WRITE;
		c->io.io.offset = c->block * 512;
		c->io.io.len = 512;
		c->io.io.iov = &c->iov;
		c->io.io.iov_count = 1;
		c->io.done = chain_done;
	}
	return chains;
}

static void step(struct run *r)
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

static uint32_t read_value(struct harness *h, struct lun *lun, unsigned block);

struct value_io {
	struct lun_io io;
	struct iovec iov;
	_Alignas(4096) uint8_t data[4096];
	unsigned done;
};

static void value_done(struct lun_io *io, int err)
{
	assert_int_equal(err, 0);
	container_of(io, struct value_io, io)->done++;
}

static uint32_t read_value(struct harness *h, struct lun *lun, unsigned block)
{
	struct value_io *v = aligned_alloc(4096, sizeof(*v));
	uint32_t first, value;

	assert_non_null(v);
	memset(v, 0, sizeof(*v));
	v->iov.iov_base = v->data;
	v->iov.iov_len = 512;
	v->io.io.op = STORE_READ;
	v->io.io.offset = block * 512;
	v->io.io.len = 512;
	v->io.io.iov = &v->iov;
	v->io.io.iov_count = 1;
	v->io.lun = lun;
	v->io.done = value_done;
	lun_submit(&v->io);
	while (!v->done)
		harness_advance(h, 1);
	memcpy(&first, v->data, 4);
	for (unsigned i = 4; i < 512; i += 4) {
		memcpy(&value, v->data + i, 4);
		assert_int_equal(value, first); /* a write is on one side wholly */
	}
	free(v);
	return first;
}

/* Reads a chain's values in a copy and checks them against what had been answered and submitted. */
static void check_chain(struct run *r, const struct chain *c, uint8_t (*ids)[UP_ID_BYTES], uint32_t *seen)
{
	for (unsigned hop = 0; hop < LUNS; hop++) {
		struct lun *copy = lun_find(r->h->array, ids[c->order[hop]]);

		assert_non_null(copy);
		seen[hop] = read_value(r->h, copy, c->block);
		if (seen[hop] < c->before[hop] || seen[hop] > c->submitted[hop])
			fail_msg("hop %u: copy has %u, answered before %u, submitted %u", hop, seen[hop],
				c->before[hop], c->submitted[hop]);
		if (hop > 0 && seen[hop] > seen[hop - 1])
			fail_msg("the copy shows write %u of hop %u without that of hop %u (%u)", seen[hop],
				hop, hop - 1, seen[hop - 1]);
	}
	assert_true(seen[0] - seen[LUNS - 1] <= 1);
}

static void later_never_without_earlier(void **state)
{
	struct harness *h = *state;
	struct run r = {.h = h, .random = test_seed()};
	static uint8_t ids[LUNS][UP_ID_BYTES];
	static const char *const names[LUNS] = {"a", "b", "c"};
	static uint32_t seen[CHAINS][LUNS], again[CHAINS][LUNS];
	unsigned worked = 0;

	for (unsigned i = 0; i < LUNS; i++)
		r.luns[i] = make_lun(h, names[i], MIB);
	r.chains = chains_new(&r);
#ifndef HARNESS_POOL
	for (int k = MEMSTORE_WRITE; k < MEMSTORE_KINDS; k++)
		memstore_timing(h->memory, k, MEMSTORE_MANUAL, 0);
	memstore_scatter(h->memory, r.random | 1);
#endif
	for (unsigned i = 0; i < CHAINS; i++)
		chain_go(&r.chains[i]);
	for (unsigned commit = 0; commit < COMMITS; commit++) {
		struct waiter w;

		for (unsigned i = (unsigned)(test_random(&r.random) % 60); i > 0; i--)
			step(&r);
		make_armed(h, set_id(commit), "", r.luns, LUNS, ids);
		for (unsigned i = 0; i < CHAINS; i++)
			memcpy(r.chains[i].before, r.chains[i].answered, sizeof(r.chains[i].before));
		copyset_commit(h->array, set_id(commit), "", 0, waiter_init(&w));
		for (unsigned i = 0; i < 3000 && !w.done; i++)
			step(&r);
		assert_int_equal(w.done, 1);
		assert_int_equal(w.call.fault.err, 0);
		for (unsigned i = 0; i < CHAINS; i++)
			check_chain(&r, &r.chains[i], ids, seen[i]);
		copyset_keep(h->array, set_id(commit), "", waiter_init(&w));
		while (!w.done)
			step(&r);
		for (unsigned i = (unsigned)(test_random(&r.random) % 60); i > 0; i--)
			step(&r);
		for (unsigned i = 0; i < CHAINS; i++)
			check_chain(&r, &r.chains[i], ids, again[i]);
		assert_memory_equal(seen, again, sizeof(seen));
		copyset_delete(h->array, set_id(commit), waiter_init(&w));
		while (!w.done)
			step(&r);
		assert_int_equal(w.call.fault.err, 0);
		worked += seen[0][0] > 0;
	}
	r.stop = true;
#ifndef HARNESS_POOL
	memstore_timing(h->memory, MEMSTORE_KINDS, MEMSTORE_INLINE, 0);
	memstore_complete_all(h->memory);
	assert_true(r.held > COMMITS); /* gates were met */
#endif
	for (unsigned i = 0; i < CHAINS; i++)
		while (r.chains[i].busy)
			harness_advance(h, 1);
	assert_true(worked > COMMITS / 2);
	free(r.chains);
}

#define t(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {t(later_never_without_earlier)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
