/* SPDX-License-Identifier: Apache-2.0 */
/* Pages of sums in memory, and the transfers that pass them. See sums.h. */
#include "array/store/pool/space/sums.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PAGES_MIN 16u

/* ---- life ------------------------------------------------------------------------------------------- */

static void transfer_step(struct pool_transfer *t);

static void ended_called(struct pool_call *call)
{
	struct pool_sums *s = container_of(call, struct pool_sums, ended_call);
	struct list_node *n;

	while ((n = list_pop(&s->ended))) {
		struct pool_transfer *t = container_of(n, struct pool_transfer, link);

		t->done(t, t->err);
	}
}

void pool_sums_init(
	struct pool_sums *s, struct pool_base *base, const struct pool_super *super, struct pool_space *space)
{
	struct list *lists[] = {
		&s->clean, &s->dirty, &s->room_waiters, &s->ended, &s->touched_dirty, &s->mark_waiters};

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		list_init(lists[i]);
	s->base = base;
	s->super = super;
	s->space = space;
	s->ended_call.call = ended_called;
	s->tick = 2;
}

static int open_file(
	struct pool_sums *s, const char *name, unsigned flags, bool read_only, struct pool_file **out)
{
	const struct pool_host_ops *ops = s->base->host->ops;
	int err = ops->file_open(s->base->host, name, read_only ? POOL_FILE_READONLY : flags, out);

	if (err == -ENOENT && !read_only)
		err = ops->file_open(s->base->host, name, flags | POOL_FILE_CREATE, out);
	return err;
}

static int write_label(struct pool_sums *s, uint64_t incarnation)
{
	struct pool_sums_label label = {.incarnation = incarnation, .epoch = s->epoch};
	const struct pool_host_ops *ops = s->base->host->ops;
	uint8_t bytes[POOL_SUMS_PAGE_BYTES];
	int err;

	pool_sums_label_encode(bytes, s->super->id, &label);
	err = s->file_bytes < sizeof(bytes) ? ops->file_allocate(s->file, 0, sizeof(bytes)) : 0;
	if (!err)
		err = ops->file_pwrite(s->file, bytes, sizeof(bytes), 0);
	if (!err)
		err = ops->file_sync(s->file);
	if (!err && s->file_bytes < sizeof(bytes))
		s->file_bytes = sizeof(bytes);
	return err;
}

int pool_sums_open(struct pool_sums *s, uint64_t before, uint64_t now, uint64_t memory_bytes, bool read_only)
{
	struct pool_sums_label label = {0};
	uint64_t pages = memory_bytes / sizeof(struct pool_sums_page);
	bool valid;
	int err = open_file(s, "sums", POOL_FILE_HOLD, read_only, &s->file);

	if (!err)
		err = open_file(s, "touched", POOL_FILE_DSYNC, read_only, &s->touched_file);
	if (read_only && err == -ENOENT)
		return 0; /* nothing is compared */
	if (!err)
		err = s->base->host->ops->file_size(s->file, &s->file_bytes);
	if (err)
		return err;
	err = pool_sums_label_read(s->file, s->super->id, &label);
	if (err && err != -EBADMSG)
		return err;
	valid = !err && label.incarnation >= before && label.epoch;
	s->epoch = valid ? label.epoch : (uint32_t)now;
	if (!s->epoch)
		s->epoch = 1;
	if (read_only && !valid)
		return 0;
	s->count_max = pages < PAGES_MIN ? PAGES_MIN : pages > UINT32_MAX ? UINT32_MAX : (unsigned)pages;
	s->buckets = s->count_max;
	s->hash = calloc(s->buckets, sizeof(s->hash[0]));
	if (!s->hash)
		return -ENOMEM;
	for (uint64_t i = 0; i < s->buckets; i++)
		list_init(&s->hash[i]);
	err = pool_touched_open(s, valid);
	/* Last: what a crash leaves before it is as it was. */
	if (!err && !read_only)
		err = write_label(s, now);
	s->on = !err;
	return err;
}

void pool_sums_destroy(struct pool_sums *s)
{
	const struct pool_host_ops *ops = s->base->host->ops;

	for (uint64_t i = 0; s->hash && i < s->buckets; i++) {
		struct list_node *n;

		while ((n = list_pop(&s->hash[i])))
			free(container_of(n, struct pool_sums_page, hash_link));
	}
	free(s->hash);
	free(s->bytes);
	free(s->settle_bytes);
	pool_touched_close(s);
	if (s->file)
		ops->file_close(s->file);
	if (s->touched_file)
		ops->file_close(s->touched_file);
}

/* ---- pages ------------------------------------------------------------------------------------------ */

static struct list *bucket(struct pool_sums *s, uint64_t region)
{
	return &s->hash[region % s->buckets];
}

struct pool_sums_page *pool_sums_find(struct pool_sums *s, uint64_t region)
{
	list_for_each (n, bucket(s, region)) {
		struct pool_sums_page *page = container_of(n, struct pool_sums_page, hash_link);

		if (page->region == region)
			return page;
	}
	return NULL;
}

static void page_free(struct pool_sums *s, struct pool_sums_page *page)
{
	list_remove(&page->unused);
	list_remove(&page->hash_link);
	s->count--;
	free(page);
}

static void page_changed(struct pool_sums *s, struct pool_sums_page *page)
{
	page->version++;
	pool_sums_later(s);
}

void pool_sums_unpin(struct pool_sums *s, struct pool_sums_page *page)
{
	struct list_node *n;

	assert(page->pins > 0);
	if (--page->pins)
		return;
	list_push_back(page->version == page->written ? &s->clean : &s->dirty, &page->unused);
	if (list_empty(&s->room_waiters))
		return;
	if (list_empty(&s->clean) && !s->broken && !s->base->latched) {
		pool_sums_press(s);
		return;
	}
	n = list_pop(&s->room_waiters);
	transfer_step(container_of(n, struct pool_transfer, link));
}

struct page_load {
	struct pool_op op;
	struct iovec iov;
	struct pool_sums *sums;
	struct pool_sums_page *page;
	uint8_t bytes[POOL_SUMS_PAGE_BYTES];
};

static void page_loaded(struct pool_op *op, int err)
{
	struct page_load *load = container_of(op, struct page_load, op);
	struct pool_sums *s = load->sums;
	struct pool_sums_page *page = load->page;

	if (err)
		s->counts.lost += POOL_SUMS_PAGE_SECTORS;
	else
		s->counts.lost +=
			pool_sums_decode(load->bytes, s->super->id, s->epoch, page->region, page->sum);
	free(load);
	page->loading = false;
	s->loads--;
	pool_sums_retry(s, &page->waiters);
	pool_sums_unpin(s, page);
	pool_ask_ended(s->base);
}

static bool page_load(struct pool_sums *s, struct pool_sums_page *page)
{
	uint64_t offset = pool_sums_offset(page->region);
	struct page_load *load;

	if (offset + POOL_SUMS_PAGE_BYTES > s->file_bytes)
		return true; /* nothing was ever written there */
	load = malloc(sizeof(*load));
	if (!load)
		return false;
	load->sums = s;
	load->page = page;
	load->iov = (struct iovec){.iov_base = load->bytes, .iov_len = POOL_SUMS_PAGE_BYTES};
	load->op = (struct pool_op){.done = page_loaded,
		.kind = POOL_OP_READ,
		.file = s->file,
		.iov = &load->iov,
		.iov_count = 1,
		.offset = offset,
		.len = POOL_SUMS_PAGE_BYTES};
	page->loading = true;
	page->pins++;
	s->loads++;
	s->base->host->ops->submit(s->base->host, &load->op);
	return true;
}

/* Makes room for one more. What `sums` lacks of a page that goes is lost, when it cannot be written: its chunks are touched,
 * and so they are only believed as they are. */
static bool page_room(struct pool_sums *s)
{
	struct pool_sums_page *page;

	if (s->count < s->count_max)
		return true;
	if (!list_empty(&s->clean)) {
		page_free(s, container_of(s->clean.head.next, struct pool_sums_page, unused));
		return true;
	}
	if ((!s->base->latched && !s->broken) || list_empty(&s->dirty))
		return false;
	page = container_of(s->dirty.head.next, struct pool_sums_page, unused);
	pool_touched_doubt(s, page->region);
	page_free(s, page);
	return true;
}

/* Pinned. -EAGAIN: there is no room for it now. */
static int page_get(struct pool_sums *s, uint64_t region, struct pool_sums_page **out)
{
	struct pool_sums_page *page = pool_sums_find(s, region);

	*out = page;
	if (page) {
		list_remove(&page->unused);
		page->pins++;
		return 0;
	}
	if (!page_room(s))
		return -EAGAIN;
	page = calloc(1, sizeof(*page));
	if (!page)
		return -ENOMEM;
	page->region = region;
	page->pins = 1;
	list_init(&page->waiters);
	if (!page_load(s, page)) {
		free(page);
		return -ENOMEM;
	}
	list_push_back(bucket(s, region), &page->hash_link);
	s->count++;
	*out = page;
	return 0;
}

/* ---- sums ------------------------------------------------------------------------------------------- */

static unsigned chunk_of(const struct pool_transfer *t)
{
	return (unsigned)(t->phys % POOL_SUMS_CHUNKS);
}

/* The sums of the transfer's blocks, of those that count, as they are in memory. */
static void compute(struct pool_transfer *t)
{
	unsigned block = t->first, count = t->len >> POOL_BLOCK_SHIFT;
	uint32_t left = POOL_BLOCK_BYTES, crc = pool_sum_begin(t->phys << 4 | block);

	for (unsigned i = 0; i < t->iov_count && block < t->first + count; i++) {
		const uint8_t *at = t->iov[i].iov_base;
		size_t part = t->iov[i].iov_len;

		while (part) {
			uint32_t n = part < left ? (uint32_t)part : left;

			if (t->mask >> block & 1)
				crc = pool_crc(crc, at, n);
			at += n;
			part -= n;
			left -= n;
			if (left)
				break;
			t->sum[block++] = pool_sum_end(crc);
			left = POOL_BLOCK_BYTES;
			crc = pool_sum_begin(t->phys << 4 | block);
		}
	}
	assert(block == t->first + count);
}

/* Blocks that do not fit. */
static uint16_t compare(const struct pool_transfer *t)
{
	const uint32_t *known = t->page->sum[chunk_of(t)];
	uint16_t bad = 0;

	for (unsigned i = 0; i < POOL_BLOCKS; i++) {
		if ((t->mask >> i & 1) && known[i] && known[i] != t->sum[i])
			bad |= (uint16_t)(1u << i);
	}
	return bad;
}

static void adopt(struct pool_transfer *t, uint16_t bad)
{
	uint32_t *known = t->page->sum[chunk_of(t)];
	bool changed = false;

	for (unsigned i = 0; i < POOL_BLOCKS; i++) {
		if (!(t->mask >> i & 1) || known[i] == t->sum[i])
			continue;
		if ((bad >> i & 1) && !pool_touched_unsure(t->sums, t->phys))
			continue;
		known[i] = t->sum[i];
		changed = true;
	}
	if (changed)
		page_changed(t->sums, t->page);
}

/* ---- transfers -------------------------------------------------------------------------------------- */

static void release(struct pool_transfer *t)
{
	if (!t->holds)
		return;
	t->holds = false;
	t->page->busy[chunk_of(t)] &= (uint16_t)~t->mask;
	if (!list_empty(&t->page->waiters))
		pool_sums_retry(t->sums, &t->page->waiters);
}

static void transfer_end(struct pool_transfer *t, int err)
{
	struct pool_sums_page *page = t->page;

	release(t);
	t->page = NULL;
	if (page)
		pool_sums_unpin(t->sums, page);
	t->done(t, err);
}

/* The same, but not from inside the call that began it. */
static void transfer_end_later(struct pool_transfer *t, int err)
{
	struct pool_sums *s = t->sums;

	release(t);
	if (t->page)
		pool_sums_unpin(s, t->page);
	t->page = NULL;
	t->err = err;
	list_push_back(&s->ended, &t->link);
	s->base->host->ops->call(s->base->host, &s->ended_call);
}

void pool_sums_fail(struct pool_transfer *t, int err)
{
	transfer_end(t, err);
}

static void look_at(struct pool_transfer *t)
{
	uint16_t bad;

	compute(t);
	bad = compare(t);
	if (t->adopts)
		adopt(t, bad);
	if (bad && pool_touched_unsure(t->sums, t->phys)) {
		t->sums->counts.replaced += t->adopts ? (unsigned)__builtin_popcount(bad) : 0;
		bad = 0;
	}
	if (bad && !t->alone) {
		t->alone = true;
		t->was_read = false;
		transfer_step(t);
		return;
	}
	t->damaged = bad;
	t->sums->counts.damaged += (unsigned)__builtin_popcount(bad);
	transfer_end(t, bad ? -EUCLEAN : 0);
}

static void written(struct pool_transfer *t, int err)
{
	uint32_t *known = t->page->sum[chunk_of(t)];

	for (unsigned i = 0; i < POOL_BLOCKS; i++) {
		if (t->mask >> i & 1)
			known[i] = err ? 0 : t->sum[i];
	}
	pool_touched_ended(t->sums, t->page->region);
	page_changed(t->sums, t->page);
	transfer_end(t, err);
}

static void transferred(struct pool_op *op, int err)
{
	struct pool_transfer *t = container_of(op, struct pool_transfer, op);

	if (t->kind == POOL_OP_WRITE) {
		written(t, err);
	} else if (err) {
		transfer_end(t, err);
	} else if (t->page->loading) {
		t->was_read = true;
		list_push_back(&t->page->waiters, &t->link);
	} else {
		look_at(t);
	}
}

static void transfer_go(struct pool_transfer *t)
{
	memcpy(t->work, t->iov, t->iov_count * sizeof(t->work[0]));
	t->op = (struct pool_op){.done = transferred,
		.kind = t->kind,
		.file = t->file,
		.iov = t->work,
		.iov_count = t->iov_count,
		.offset = t->offset,
		.len = t->len};
	t->sums->base->host->ops->submit(t->sums->base->host, &t->op);
}

/* Is one of its blocks busy, or does somebody wait for one who came before? */
static bool must_wait(const struct pool_transfer *t)
{
	if (t->page->loading || (t->page->busy[chunk_of(t)] & t->mask))
		return true;
	list_for_each (n, &t->page->waiters) {
		const struct pool_transfer *other = container_of(n, struct pool_transfer, link);

		if (other->phys == t->phys && (other->mask & t->mask))
			return true;
	}
	return false;
}

/* True: the chunk is noted as touched. */
static bool may_write(struct pool_transfer *t)
{
	struct pool_sums *s = t->sums;
	int err;

	if (pool_touched_is(s, t->phys))
		return true;
	err = s->base->latched ? -EROFS : pool_touched_wish(s, t->phys);
	if (err) {
		transfer_end_later(t, err);
		return false;
	}
	list_push_back(&s->mark_waiters, &t->link);
	pool_touched_write(s);
	return false;
}

static void transfer_step(struct pool_transfer *t)
{
	struct pool_sums *s = t->sums;
	int err = t->page ? 0 : page_get(s, t->phys / POOL_SUMS_CHUNKS, &t->page);

	if (err == -EAGAIN) {
		list_push_back(&s->room_waiters, &t->link);
		pool_sums_press(s);
		return;
	}
	if (err) {
		transfer_end_later(t, err);
		return;
	}
	if (t->was_read) {
		look_at(t);
		return;
	}
	if (t->kind == POOL_OP_READ && !t->alone) {
		transfer_go(t);
		return;
	}
	if (must_wait(t)) {
		list_push_back(&t->page->waiters, &t->link);
		return;
	}
	if (t->kind == POOL_OP_WRITE && !may_write(t))
		return;
	t->page->busy[chunk_of(t)] |= t->mask;
	t->holds = true;
	if (t->kind == POOL_OP_WRITE)
		compute(t);
	transfer_go(t);
}

void pool_sums_retry(struct pool_sums *s, struct list *waiters)
{
	struct list woken;
	struct list_node *n;

	(void)s;
	list_init(&woken);
	while ((n = list_pop(waiters)))
		list_push_back(&woken, n);
	while ((n = list_pop(&woken)))
		transfer_step(container_of(n, struct pool_transfer, link));
}

void pool_sums_submit(struct pool_sums *s, struct pool_transfer *t)
{
	uint32_t in_chunk = (uint32_t)t->offset & (POOL_CHUNK_BYTES - 1);

	assert(((in_chunk | t->len) & (POOL_BLOCK_BYTES - 1)) == 0 && t->iov_count <= POOL_IOV_MAX);
	t->sums = s;
	t->first = (uint8_t)(in_chunk >> POOL_BLOCK_SHIFT);
	t->mask = (uint16_t)(((1u << (t->len >> POOL_BLOCK_SHIFT)) - 1) << t->first);
	if (t->only)
		t->mask &= t->only;
	t->page = NULL;
	t->was_read = t->holds = false;
	t->damaged = 0;
	memset(&t->link, 0, sizeof(t->link));
	transfer_step(t);
}
