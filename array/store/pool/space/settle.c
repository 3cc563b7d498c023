/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How sums come to the disk, and what a crash left is settled.
 *
 * A round, every some seconds while there is something to do: pages that were not written to lately go to the file `sums`;
 * the file is synced; the data is flushed; then the notes of those regions go. In this order, so that a chunk without a note
 * has data and sums on the disk that belong together.
 *
 * After a crash the chunks with a note are read one after another, each alone, and get the sums of what is there.
 */
#include "array/store/pool/space/space.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ROUND_MS     15000u
#define PASS_AT_ONCE 4096u /* chunks that hold nothing */

static void round_batch(struct pool_sums *s);

/* ---- when ------------------------------------------------------------------------------------------- */

static void round_begin(struct pool_sums *s, bool closing)
{
	s->running = true;
	s->closing = closing;
	s->err = 0;
	if (closing || !s->pressure) {
		s->limit = closing ? s->tick : s->tick - 1;
		s->tick++;
	}
	round_batch(s);
}

static void timer_fired(struct pool_timer *timer)
{
	struct pool_sums *s = container_of(timer, struct pool_sums, timer);

	s->timer_armed = false;
	s->broken = false; /* tries again */
	if (!s->running && !s->base->latched)
		round_begin(s, false);
}

void pool_sums_later(struct pool_sums *s)
{
	if (s->timer_armed || s->stopped || s->base->latched)
		return;
	s->timer_armed = true;
	s->timer.fire = timer_fired;
	s->base->host->ops->timer_arm(s->base->host, &s->timer, ROUND_MS);
}

void pool_sums_press(struct pool_sums *s)
{
	s->pressure = true;
	if (!s->running && !s->base->latched && !list_empty(&s->dirty))
		round_begin(s, false);
}

static void round_end(struct pool_sums *s)
{
	s->running = false;
	s->pressure = false;
	if (s->err)
		s->broken = true;
	if (!list_empty(&s->room_waiters) && !list_empty(&s->dirty) && s->broken)
		pool_sums_retry(s, &s->room_waiters);
	else if (!list_empty(&s->room_waiters))
		pool_sums_press(s);
	/* What failed is tried again when something is written. */
	if (!s->err && (!list_empty(&s->dirty) || pool_touched_any(s)))
		pool_sums_later(s);
	pool_ask_ended(s->base);
}

/* ---- a round ---------------------------------------------------------------------------------------- */

static void flushed(struct store_io *io, int err)
{
	struct pool_sums *s = container_of(io, struct pool_sums, flush);

	s->err = err;
	if (!err)
		pool_touched_clear(s, s->limit);
	round_end(s);
}

static void round_flush(struct pool_sums *s)
{
	if (s->pressure || s->base->latched || !pool_touched_any(s)) {
		round_end(s);
		return;
	}
	memset(&s->flush, 0, sizeof(s->flush));
	s->flush.op = STORE_FLUSH;
	s->flush.done = flushed;
	pool_ask_flush(s->base, &s->flush);
}

static void synced(struct pool_op *op, int err)
{
	struct pool_sums *s = container_of(op, struct pool_sums, sync);

	if (err) { /* the kernel may have dropped what pages that are gone had */
		pool_touched_doubt_all(s);
		s->err = err;
		round_end(s);
		return;
	}
	round_flush(s);
}

static void round_sync(struct pool_sums *s)
{
	if (s->pressure || !s->unsynced) {
		round_flush(s);
		return;
	}
	s->unsynced = false;
	s->sync = (struct pool_op){.done = synced, .kind = POOL_OP_SYNC, .file = s->file};
	s->base->host->ops->submit(s->base->host, &s->sync);
}

static void batch_ended(struct pool_sums *s)
{
	if (--s->writes)
		return;
	if (s->err)
		round_end(s);
	else
		round_batch(s);
}

static void page_written(struct pool_op *op, int err)
{
	struct pool_sums_write *w = container_of(op, struct pool_sums_write, op);
	struct pool_sums *s = w->sums;
	uint64_t end = pool_sums_offset(w->page->region) + POOL_SUMS_PAGE_BYTES;

	s->unsynced = true;
	if (err) {
		s->err = err;
	} else {
		w->page->written = w->page->snapshot;
		if (s->file_bytes < end)
			s->file_bytes = end;
	}
	pool_sums_unpin(s, w->page);
	batch_ended(s);
}

static void page_write(struct pool_sums *s, struct pool_sums_page *page)
{
	uint8_t *bytes = s->bytes + (size_t)s->writes * POOL_SUMS_PAGE_BYTES;
	struct pool_sums_write *w = &s->write[s->writes++];

	list_remove(&page->unused);
	page->pins++;
	page->snapshot = page->version;
	pool_sums_encode(bytes, s->super->id, s->epoch, page->region, page->sum);
	w->sums = s;
	w->page = page;
	w->iov = (struct iovec){.iov_base = bytes, .iov_len = POOL_SUMS_PAGE_BYTES};
	w->op = (struct pool_op){.done = page_written,
		.kind = POOL_OP_WRITE,
		.file = s->file,
		.iov = &w->iov,
		.iov_count = 1,
		.offset = pool_sums_offset(page->region),
		.len = POOL_SUMS_PAGE_BYTES};
}

static void round_batch(struct pool_sums *s)
{
	struct pool_sums_page *chosen[POOL_SUMS_BATCH];
	unsigned count = 0;

	if (!s->bytes)
		s->bytes = malloc((size_t)POOL_SUMS_BATCH * POOL_SUMS_PAGE_BYTES);
	if (!s->bytes) {
		s->err = -ENOMEM;
		round_end(s);
		return;
	}
	list_for_each (n, &s->dirty) {
		struct pool_sums_page *page = container_of(n, struct pool_sums_page, unused);

		if (count == POOL_SUMS_BATCH)
			break;
		if (s->pressure || pool_touched_tick(s, page->region) <= s->limit)
			chosen[count++] = page;
	}
	if (!count) {
		round_sync(s);
		return;
	}
	s->writes = 0;
	for (unsigned i = 0; i < count; i++)
		page_write(s, chosen[i]);
	for (unsigned i = 0; i < count; i++)
		s->base->host->ops->submit(s->base->host, &s->write[i].op);
}

/* ---- what a crash left ------------------------------------------------------------------------------ */

static void settle_next(struct pool_sums *s);

static void settle_called(struct pool_call *call)
{
	settle_next(container_of(call, struct pool_sums, settle_call));
}

static void settle_soon(struct pool_sums *s)
{
	s->settle_call.call = settle_called;
	s->base->host->ops->call(s->base->host, &s->settle_call);
}

static void settled(struct pool_transfer *t, int err)
{
	struct pool_sums *s = container_of(t, struct pool_sums, settle);

	if (!err) {
		pool_touched_sure(s, s->settle_at);
		s->counts.settled++;
		pool_sums_later(s);
	}
	s->settle_at++;
	settle_soon(s);
}

static void settle_end(struct pool_sums *s)
{
	s->settling = false;
	free(s->settle_bytes);
	s->settle_bytes = NULL;
	pool_ask_ended(s->base);
}

static void settle_next(struct pool_sums *s)
{
	struct pool_transfer *t = &s->settle;
	unsigned passed = 0;
	uint64_t phys;

	while ((phys = pool_touched_next(s, s->settle_at)) && !pool_bit_get(s->space, phys)) {
		pool_touched_sure(s, phys); /* nobody reads it before it is written */
		s->counts.settled++;
		pool_sums_later(s);
		s->settle_at = phys;
		if (++passed == PASS_AT_ONCE) {
			settle_soon(s);
			return;
		}
	}
	if (!phys || s->stopped || s->base->latched) {
		settle_end(s);
		return;
	}
	s->settle_at = phys;
	s->settle_iov = (struct iovec){.iov_base = s->settle_bytes, .iov_len = POOL_CHUNK_BYTES};
	*t = (struct pool_transfer){.done = settled,
		.kind = POOL_OP_READ,
		.iov = &s->settle_iov,
		.iov_count = 1,
		.len = POOL_CHUNK_BYTES,
		.alone = true,
		.adopts = true};
	pool_data_submit(s->space, t, phys, 0);
}

void pool_sums_start(struct pool_sums *s)
{
	if (!s->on || s->base->latched || !pool_touched_next(s, 1))
		return;
	if (posix_memalign((void **)&s->settle_bytes, POOL_BLOCK_BYTES, POOL_CHUNK_BYTES)) {
		s->settle_bytes = NULL; /* goes on unsure; the next opening tries again */
		return;
	}
	s->settling = true;
	s->settle_at = 1;
	settle_soon(s);
}

/* ---- the end ---------------------------------------------------------------------------------------- */

void pool_sums_stop(struct pool_sums *s)
{
	s->base->host->ops->timer_disarm(s->base->host, &s->timer);
	s->timer_armed = false;
	s->stopped = true;
}

bool pool_sums_busy(const struct pool_sums *s)
{
	return s->running || s->settling || s->marking || s->loads || !list_empty(&s->ended);
}

bool pool_sums_close_step(struct pool_sums *s)
{
	if (!s->on || s->base->latched || s->broken)
		return !pool_sums_busy(s);
	if (pool_sums_busy(s))
		return false;
	if (list_empty(&s->dirty) && !pool_touched_any(s))
		return true;
	round_begin(s, true);
	return false;
}
