/* SPDX-License-Identifier: Apache-2.0 */
/* See chains.h. */
#include "array/model/lun/internal.h"
#include "tests/unit/model/chains.h"

struct chain {
	struct lun_io io;
	struct iovec iov;
	_Alignas(4096) uint8_t data[512];
	struct chain_run *run;
	struct chain_count *count;
	unsigned number, hop;
	uint32_t n;
	bool busy;
};

/* Which LUN is written at a hop; all starts and both directions occur. */
static unsigned chain_lun(unsigned number, unsigned hop)
{
	unsigned step = number / CHAIN_LUNS % 2 ? 1 : CHAIN_LUNS - 1;

	return (number % CHAIN_LUNS + hop * step) % CHAIN_LUNS;
}

/* Some share a block of 4 KiB. */
static unsigned chain_block(unsigned number)
{
	return number % 2 ? number * 130 : number;
}

static void chain_go(struct chain *c);

static void chain_done(struct lun_io *io, int err)
{
	struct chain *c = container_of(io, struct chain, io);

	assert_int_equal(err, 0);
	c->busy = false;
	c->count->answered[c->hop] = c->n;
	c->hop = (c->hop + 1) % CHAIN_LUNS;
	if (c->hop == 0)
		c->n++;
	if (!c->run->stop)
		chain_go(c);
}

static void chain_go(struct chain *c)
{
	c->busy = true;
	c->count->submitted[c->hop] = c->n;
	for (unsigned i = 0; i < sizeof(c->data); i += 4)
		memcpy(c->data + i, &c->n, 4);
	c->io.lun = c->run->luns[chain_lun(c->number, c->hop)];
	c->run->held += lun_box_of(c->io.lun)->gate_closed > 0;
	lun_submit(&c->io);
}

void chains_start(struct chain_run *r)
{
	size_t size = (sizeof(struct chain) * CHAINS + 4095) / 4096 * 4096;

	r->chains = aligned_alloc(4096, size);
	assert_non_null(r->chains);
	memset(r->chains, 0, size);
	for (unsigned i = 0; i < CHAINS; i++) {
		struct chain *c = &r->chains[i];

		c->run = r;
		c->number = i;
		c->count = &r->counts[i];
		c->n = c->count->submitted[0] + 1;
		c->iov.iov_base = c->data;
		c->iov.iov_len = sizeof(c->data);
		c->io.io.op = STORE_WRITE;
		c->io.io.offset = chain_block(i) * 512;
		c->io.io.len = 512;
		c->io.io.iov = &c->iov;
		c->io.io.iov_count = 1;
		c->io.done = chain_done;
	}
	for (unsigned i = 0; i < CHAINS; i++)
		chain_go(&r->chains[i]);
}

bool chains_busy(const struct chain_run *r)
{
	for (unsigned i = 0; i < CHAINS; i++)
		if (r->chains[i].busy)
			return true;
	return false;
}

void chains_free(struct chain_run *r)
{
	free(r->chains);
}

/* ---- one value ---- */

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

static uint32_t value_io(
	struct harness *h, struct lun *lun, unsigned number, enum store_io_op op, uint32_t value)
{
	struct value_io *v = aligned_alloc(4096, sizeof(*v));
	uint32_t first;

	assert_non_null(v);
	memset(v, 0, sizeof(*v));
	for (unsigned i = 0; i < 512; i += 4)
		memcpy(v->data + i, &value, 4);
	v->iov.iov_base = v->data;
	v->iov.iov_len = 512;
	v->io.io.op = op;
	v->io.io.offset = chain_block(number) * 512;
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

uint32_t chain_value(struct harness *h, struct lun *lun, unsigned number)
{
	return value_io(h, lun, number, STORE_READ, 0);
}

void chains_settle(struct chain_run *r)
{
	for (unsigned i = 0; i < CHAINS; i++) {
		struct chain_count *c = &r->counts[i];

		for (unsigned hop = 0; hop < CHAIN_LUNS; hop++)
			value_io(r->h, r->luns[chain_lun(i, hop)], i, STORE_WRITE, c->submitted[0]);
		for (unsigned hop = CHAIN_LUNS; hop-- > 0;)
			c->answered[hop] = c->submitted[hop] = c->submitted[0];
	}
}

/* ---- copies ---- */

static void chain_check(struct harness *h, unsigned number, uint8_t (*ids)[UP_ID_BYTES],
	const struct chain_count *low, const struct chain_count *high, uint32_t *seen)
{
	for (unsigned hop = 0; hop < CHAIN_LUNS; hop++) {
		struct lun *copy = lun_find(h->array, ids[chain_lun(number, hop)]);

		assert_non_null(copy);
		seen[hop] = value_io(h, copy, number, STORE_READ, 0);
		if (seen[hop] < low->answered[hop] || seen[hop] > high->submitted[hop])
			fail_msg("hop %u: the copy has %u, answered before %u, submitted %u", hop, seen[hop],
				low->answered[hop], high->submitted[hop]);
		if (hop > 0 && seen[hop] > seen[hop - 1])
			fail_msg("the copy shows write %u of hop %u without that of hop %u (%u)", seen[hop],
				hop, hop - 1, seen[hop - 1]);
	}
	assert_true(seen[0] - seen[CHAIN_LUNS - 1] <= 1);
}

void chains_check(struct harness *h, uint8_t (*ids)[UP_ID_BYTES], const struct chain_count *low,
	const struct chain_count *high, uint32_t (*seen)[CHAIN_LUNS])
{
	for (unsigned i = 0; i < CHAINS; i++)
		chain_check(h, i, ids, &low[i], &high[i], seen[i]);
}
