/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Notes of the chunks of which the file `sums` may be behind: one bit each, in the file `touched`, durable before such a
 * chunk is written. One write of the file is under way at a time; whoever needs a note meanwhile goes with the next one.
 *
 * A note is waited for seldom. A region is noted as a whole; where several regions of a sector of the file, or of a page, have
 * been written lately, all of them are noted, and their notes stay as long as that is so; and a stream's are noted ahead of it,
 * without anybody's waiting. What is noted and not written costs a read after a crash, no more than a bound: SECTOR_FROM of 62
 * regions, PAGE_FROM of 496.
 */
#include "array/store/pool/space/space.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR_FROM 3u  /* regions of a sector of the file, written lately: then all of them are noted */
#define PAGE_FROM   12u /* of a page */
#define AHEAD       16u /* regions, of a stream */

static struct pool_touched *page_of(const struct pool_sums *s, uint64_t region)
{
	uint64_t page = region / POOL_TOUCHED_REGIONS;

	return page < s->touched_pages ? s->touched[page] : NULL;
}

/* Made when there is none: -ENOMEM. */
static int page_make(struct pool_sums *s, uint64_t region, struct pool_touched **out)
{
	uint64_t page = region / POOL_TOUCHED_REGIONS;

	assert(page < s->touched_pages);
	if (!s->touched[page])
		s->touched[page] = calloc(1, sizeof(*s->touched[page]));
	*out = s->touched[page];
	return *out ? 0 : -ENOMEM;
}

static uint64_t bit_of(uint64_t phys)
{
	return UINT64_C(1) << phys % POOL_SUMS_CHUNKS;
}

static unsigned index_of(uint64_t region)
{
	return (unsigned)(region % POOL_TOUCHED_REGIONS);
}

/* The region's chunks that may hold data, as bits: chunk 0 does not. */
static uint64_t real_chunks(const struct pool_sums *s, uint64_t region)
{
	uint64_t first = region * POOL_SUMS_CHUNKS, all = s->super->capacity_chunks;
	uint64_t bits = POOL_SUMS_ALL_CHUNKS;

	if (first >= all)
		return 0;
	if (all - first < POOL_SUMS_CHUNKS)
		bits = (UINT64_C(1) << (all - first)) - 1;
	return first ? bits : bits & ~UINT64_C(1);
}

/* ---- life ------------------------------------------------------------------------------------------- */

int pool_touched_grow(struct pool_sums *s, uint64_t chunks)
{
	uint64_t count = pool_touched_pages(chunks);
	struct pool_touched **touched;

	if (count <= s->touched_pages)
		return 0;
	touched = realloc(s->touched, count * sizeof(touched[0]));
	if (!touched)
		return -ENOMEM;
	s->touched = touched;
	while (s->touched_pages < count)
		touched[s->touched_pages++] = NULL;
	return 0;
}

int pool_touched_room(struct pool_sums *s, uint64_t chunks)
{
	const struct pool_host_ops *ops = s->base->host->ops;
	uint64_t size, want = pool_touched_pages(chunks) * POOL_SUMS_PAGE_BYTES;
	int err = ops->file_size(s->touched_file, &size);

	if (err || size >= want)
		return err;
	err = ops->file_allocate(s->touched_file, size, want - size);
	return err ? err : ops->file_sync(s->touched_file);
}

static int read_page(struct pool_sums *s, uint64_t page)
{
	uint64_t words[POOL_TOUCHED_REGIONS], any = 0;
	uint8_t bytes[POOL_SUMS_PAGE_BYTES];
	struct pool_touched *t;
	int err = s->base->host->ops->file_pread(
		s->touched_file, bytes, sizeof(bytes), page * POOL_SUMS_PAGE_BYTES);

	if (err)
		return err;
	s->counts.lost += pool_touched_decode(bytes, s->super->id, s->epoch, page, words);
	for (unsigned i = 0; i < POOL_TOUCHED_REGIONS; i++) {
		words[i] &= real_chunks(s, page * POOL_TOUCHED_REGIONS + i);
		any |= words[i];
	}
	if (!any)
		return 0;
	err = page_make(s, page * POOL_TOUCHED_REGIONS, &t);
	for (unsigned i = 0; !err && i < POOL_TOUCHED_REGIONS; i++) {
		t->mark[i] = t->unsure[i] = words[i];
		s->counts.unsure += (unsigned)__builtin_popcountll(words[i]);
	}
	return err;
}

int pool_touched_open(struct pool_sums *s, bool valid)
{
	uint64_t size;
	int err = pool_touched_grow(s, s->super->capacity_chunks);

	if (!err)
		err = s->base->host->ops->file_size(s->touched_file, &size);
	for (uint64_t p = 0; !err && valid && p < s->touched_pages && (p + 1) * POOL_SUMS_PAGE_BYTES <= size;
		p++)
		err = read_page(s, p);
	return err;
}

void pool_touched_close(struct pool_sums *s)
{
	for (uint64_t p = 0; p < s->touched_pages; p++)
		free(s->touched[p]);
	free(s->touched);
	s->touched = NULL;
	s->touched_pages = 0;
}

/* ---- what is noted ---------------------------------------------------------------------------------- */

bool pool_touched_is(const struct pool_sums *s, uint64_t phys)
{
	const struct pool_touched *t = page_of(s, phys / POOL_SUMS_CHUNKS);

	return t && (t->mark[index_of(phys / POOL_SUMS_CHUNKS)] & bit_of(phys));
}

bool pool_touched_unsure(const struct pool_sums *s, uint64_t phys)
{
	const struct pool_touched *t = page_of(s, phys / POOL_SUMS_CHUNKS);

	return t && (t->unsure[index_of(phys / POOL_SUMS_CHUNKS)] & bit_of(phys));
}

void pool_touched_sure(struct pool_sums *s, uint64_t phys)
{
	struct pool_touched *t = page_of(s, phys / POOL_SUMS_CHUNKS);

	if (t)
		t->unsure[index_of(phys / POOL_SUMS_CHUNKS)] &= ~bit_of(phys);
}

void pool_touched_doubt(struct pool_sums *s, uint64_t region)
{
	struct pool_touched *t = page_of(s, region);

	if (t)
		t->unsure[index_of(region)] |= t->mark[index_of(region)];
}

void pool_touched_doubt_all(struct pool_sums *s)
{
	for (uint64_t r = 0; r < s->touched_pages * POOL_TOUCHED_REGIONS; r++)
		pool_touched_doubt(s, r);
}

static void page_dirty(struct pool_sums *s, struct pool_touched *t)
{
	if (!list_linked(&t->dirty))
		list_push_back(&s->touched_dirty, &t->dirty);
}

/* Regions of the page from one up to another that have been written after the tick. */
static unsigned written_after(const struct pool_touched *t, unsigned from, unsigned to, uint32_t tick)
{
	unsigned count = 0;

	for (unsigned i = from; i < to; i++)
		count += t->tick[i] > tick;
	return count;
}

/* Is the neighbourhood of the region noted as a whole? Then which one: its sector or its page. */
static bool neighbours(const struct pool_touched *t, unsigned i, uint32_t tick, unsigned *from, unsigned *to)
{
	*from = i - i % POOL_TOUCHED_IN_SECTOR;
	*to = *from + POOL_TOUCHED_IN_SECTOR;
	if (written_after(t, 0, POOL_TOUCHED_REGIONS, tick) >= PAGE_FROM) {
		*from = 0;
		*to = POOL_TOUCHED_REGIONS;
		return true;
	}
	return written_after(t, *from, *to, tick) >= SECTOR_FROM;
}

/* Noted with the next write of the page. */
static void wish(struct pool_sums *s, struct pool_touched *t, unsigned i)
{
	t->noted[i] = s->tick;
	if (t->mark[i] == POOL_SUMS_ALL_CHUNKS)
		return;
	t->wish[i] = POOL_SUMS_ALL_CHUNKS;
	page_dirty(s, t);
}

static bool is_noted(const struct pool_sums *s, uint64_t region)
{
	const struct pool_touched *t = page_of(s, region);

	return t && (t->mark[index_of(region)] | t->wish[index_of(region)]) == POOL_SUMS_ALL_CHUNKS;
}

/* The first write in a while that ends in a region, when one in the region before it did: a stream, perhaps. */
static void entered(struct pool_sums *s, uint64_t region)
{
	struct pool_touched *t;

	if (!region || pool_touched_tick(s, region - 1) + 1 < s->tick || is_noted(s, region + AHEAD / 2))
		return;
	for (uint64_t r = region + 1; r <= region + AHEAD; r++) {
		if (r * POOL_SUMS_CHUNKS >= s->super->capacity_chunks || page_make(s, r, &t))
			break;
		wish(s, t, index_of(r));
	}
	pool_touched_write(s);
}

void pool_touched_ended(struct pool_sums *s, uint64_t region)
{
	struct pool_touched *t = page_of(s, region);
	unsigned i = index_of(region);

	if (!t)
		return;
	if (t->entered[i] != s->tick) {
		t->entered[i] = s->tick;
		entered(s, region);
	}
	t->tick[i] = s->tick;
}

int pool_touched_wish(struct pool_sums *s, uint64_t phys)
{
	uint64_t region = phys / POOL_SUMS_CHUNKS;
	unsigned from, to, i = index_of(region);
	struct pool_touched *t;
	int err = page_make(s, region, &t);

	if (err)
		return err;
	wish(s, t, i);
	t->tick[i] = s->tick;
	if (!neighbours(t, i, s->tick - 2, &from, &to))
		return 0;
	region -= i;
	for (i = from; i < to && (region + i) * POOL_SUMS_CHUNKS < s->super->capacity_chunks; i++)
		wish(s, t, i);
	return 0;
}

uint32_t pool_touched_tick(const struct pool_sums *s, uint64_t region)
{
	const struct pool_touched *t = page_of(s, region);

	return t ? t->tick[index_of(region)] : 0;
}

/* ---- the file --------------------------------------------------------------------------------------- */

/* Who waits for a note of this page gets the error: its data was not written. What the file has of the page now is what it had,
 * or more notes, or a damaged sector, which counts as notes of everything. */
static void marking_failed(struct pool_sums *s, int err)
{
	struct list waiting;
	struct list_node *n;

	list_init(&waiting);
	while ((n = list_pop(&s->mark_waiters)))
		list_push_back(&waiting, n);
	while ((n = list_pop(&waiting))) {
		struct pool_transfer *t = container_of(n, struct pool_transfer, link);

		if (t->phys / POOL_SUMS_CHUNKS / POOL_TOUCHED_REGIONS == s->marking_page)
			pool_sums_fail(t, err);
		else
			list_push_back(&s->mark_waiters, n);
	}
}

static void marked(struct pool_op *op, int err)
{
	struct pool_sums *s = container_of(op, struct pool_sums, marking_op);
	struct pool_touched *t = s->touched[s->marking_page];

	s->marking = false;
	for (unsigned i = 0; i < POOL_TOUCHED_REGIONS; i++) {
		uint64_t noted = s->marking_words[i] & t->wish[i];

		if (!err)
			t->mark[i] |= noted;
		t->wish[i] &= ~noted;
	}
	if (err) {
		marking_failed(s, err);
		if (!list_empty(&s->mark_waiters))
			pool_touched_write(s);
		page_dirty(s, t);
	} else {
		pool_touched_write(s);
		pool_sums_retry(s, &s->mark_waiters);
	}
	pool_sums_later(s);
	pool_ask_ended(s->base);
}

void pool_touched_write(struct pool_sums *s)
{
	struct pool_touched *t;
	struct list_node *n;

	if (s->marking || s->base->latched || !(n = list_pop(&s->touched_dirty)))
		return;
	t = container_of(n, struct pool_touched, dirty);
	for (s->marking_page = 0; s->touched[s->marking_page] != t; s->marking_page++)
		;
	for (unsigned i = 0; i < POOL_TOUCHED_REGIONS; i++)
		s->marking_words[i] = t->mark[i] | t->wish[i];
	pool_touched_encode(s->marking_bytes, s->super->id, s->epoch, s->marking_page, s->marking_words);
	s->marking_iov = (struct iovec){.iov_base = s->marking_bytes, .iov_len = POOL_SUMS_PAGE_BYTES};
	s->marking_op = (struct pool_op){.done = marked,
		.kind = POOL_OP_WRITE,
		.file = s->touched_file,
		.iov = &s->marking_iov,
		.iov_count = 1,
		.offset = s->marking_page * POOL_SUMS_PAGE_BYTES,
		.len = POOL_SUMS_PAGE_BYTES};
	s->marking = true;
	s->base->host->ops->submit(s->base->host, &s->marking_op);
}

/* ---- what goes -------------------------------------------------------------------------------------- */

bool pool_touched_any(const struct pool_sums *s)
{
	for (uint64_t p = 0; p < s->touched_pages; p++) {
		const struct pool_touched *t = s->touched[p];

		for (unsigned i = 0; t && i < POOL_TOUCHED_REGIONS; i++) {
			if (t->mark[i] & ~t->unsure[i])
				return true;
		}
	}
	return false;
}

static bool may_clear(struct pool_sums *s, const struct pool_touched *t, uint64_t region, uint32_t limit)
{
	const struct pool_sums_page *page;
	unsigned i = index_of(region);

	if (!(t->mark[i] & ~t->unsure[i]) || t->wish[i] || t->tick[i] > limit || t->noted[i] > limit)
		return false;
	page = pool_sums_find(s, region);
	return !page || (page->pins == 0 && page->version == page->written);
}

static void page_clear(struct pool_sums *s, uint64_t first, struct pool_touched *t, uint32_t limit)
{
	unsigned from, to;

	for (unsigned at = 0; at < POOL_TOUCHED_REGIONS; at = to) {
		if (neighbours(t, at, limit, &from, &to)) /* would be noted again at once */
			continue;
		for (unsigned i = from; i < to; i++) {
			if (!may_clear(s, t, first + i, limit))
				continue;
			t->mark[i] = t->unsure[i];
			page_dirty(s, t);
		}
	}
}

void pool_touched_clear(struct pool_sums *s, uint32_t limit)
{
	for (uint64_t p = 0; p < s->touched_pages; p++) {
		if (s->touched[p])
			page_clear(s, p * POOL_TOUCHED_REGIONS, s->touched[p], limit);
	}
	pool_touched_write(s);
}

uint64_t pool_touched_next(struct pool_sums *s, uint64_t phys)
{
	while (phys / POOL_SUMS_CHUNKS / POOL_TOUCHED_REGIONS < s->touched_pages) {
		uint64_t region = phys / POOL_SUMS_CHUNKS;
		const struct pool_touched *t = page_of(s, region);
		uint64_t left = t ? t->unsure[index_of(region)] & ~(bit_of(phys) - 1) : 0;

		if (left)
			return region * POOL_SUMS_CHUNKS + (unsigned)__builtin_ctzll(left);
		if (t)
			phys = (region + 1) * POOL_SUMS_CHUNKS;
		else
			phys = (region / POOL_TOUCHED_REGIONS + 1) * POOL_TOUCHED_REGIONS * POOL_SUMS_CHUNKS;
	}
	return 0;
}
