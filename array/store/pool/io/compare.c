/* SPDX-License-Identifier: Apache-2.0 */
/*
 * COMPARE AND WRITE: its subs take the steps of a write (write.c), each under its chunk's exclusive lock, and wait for
 * one another twice: when they have read, so that what is compared was there at one instant; and when they have the
 * chunks to write to, so that without room for all of them nothing is written.
 *
 * Who waits here holds no I/O epoch: the write whose lock another sub waits for, or another sub itself, may wait
 * for chunks that are free when all I/O that began before has ended.
 */
#include "array/store/pool/io/io.h"

#include <errno.h>

static struct pool_sub *first_of(struct list *subs)
{
	struct list_node *n = list_pop(subs);

	return n ? container_of(n, struct pool_sub, link) : NULL;
}

/* All of them end with this error. */
static void end_all(struct store_io *io, int err)
{
	struct pool_io *pio = pool_io_of(io);
	struct pool_sub *sub;

	pio->subs++;
	while ((sub = first_of(&pio->sub_list)))
		pool_sub_end(sub, err);
	pool_io_put(io, err);
}

/* ---- the chunks to write to ------------------------------------------------------------------------ */

/* All have one, or could not get one: all write or none does. */
static void write_all(struct store_io *io)
{
	struct pool_io *pio = pool_io_of(io);
	struct pool_sub *sub;
	int err = pio->err;

	pio->subs++;
	while ((sub = first_of(&pio->sub_list))) {
		if (!err) {
			pool_write_out(sub);
			continue;
		}
		pool_target_drop(sub);
		pool_sub_end(sub, err);
	}
	pool_io_put(io, err);
}

static void compare_targeted(struct pool_sub *sub, int err)
{
	struct pool_io *pio = pool_io_of(sub->io);

	if (err && !pio->err)
		pio->err = err;
	if (++pio->ready == pio->subs)
		write_all(sub->io);
}

/* Room in the next frame is taken for all at once: two that have some and wait for more would wait for ever. */
static void targets_start(struct store_io *io)
{
	struct pool_io *pio = pool_io_of(io);
	struct pool *p = pio->pool;
	struct pool_sub *sub;
	struct list subs;

	if (pool_dirty_full(&p->map)) {
		pool_alloc_wait(&p->space, &pio->waiter);
		return;
	}
	pio->ready = 0;
	p->map.dirty_pending += pio->subs;
	list_init(&subs);
	while ((sub = first_of(&pio->sub_list))) {
		sub->counted = true;
		list_push_back(&subs, &sub->link);
	}
	while ((sub = first_of(&subs))) { /* the last one may end it all */
		list_push_back(&pio->sub_list, &sub->link);
		pool_write_run(sub);
	}
}

static void targets_woken(struct pool_waiter *w, int err)
{
	struct pool_io *pio = container_of(w, struct pool_io, waiter);
	struct store_io *io = container_of(pio, struct store_io, scratch);

	if (err)
		end_all(io, err);
	else
		targets_start(io);
}

/* ---- comparing ------------------------------------------------------------------------------------- */

/* Where the first byte differs, in the range; UINT64_MAX: nowhere. */
static uint64_t difference(struct pool_sub *sub)
{
	const uint8_t *have = sub->bounce + (sub->offset - (sub->bounce_first << POOL_BLOCK_SHIFT));
	uint8_t want[512];

	for (uint32_t at = 0; at < sub->len; at += sizeof(want)) {
		pool_iov_copy_out(sub->io, sub->io_offset + at, want, sizeof(want));
		for (uint32_t k = 0; k < sizeof(want); k++) {
			if (want[k] != have[at + k])
				return sub->io_offset + at + k;
		}
	}
	return UINT64_MAX;
}

static void compare_all(struct store_io *io)
{
	struct pool_io *pio = pool_io_of(io);
	uint64_t first = UINT64_MAX;

	list_for_each (n, &pio->sub_list) {
		uint64_t at = difference(container_of(n, struct pool_sub, link));

		first = at < first ? at : first;
	}
	if (first != UINT64_MAX) {
		io->miscompare_offset = first;
		end_all(io, -EILSEQ);
		return;
	}
	io->miscompare_offset = 0;
	list_for_each (n, &pio->sub_list)
		pool_write_patch(container_of(n, struct pool_sub, link));
	pio->waiter.wake = targets_woken;
	targets_start(io);
}

static void compare_old_read(struct pool_sub *sub)
{
	struct pool_io *pio = pool_io_of(sub->io);

	if (sub->err && !pio->err)
		pio->err = sub->err;
	sub->err = 0;
	if (++pio->ready < pio->subs)
		return;
	if (pio->err)
		end_all(sub->io, pio->err);
	else
		compare_all(sub->io);
}

/* ---- the kind of sub ------------------------------------------------------------------------------- */

static void compare_patch(struct pool_sub *sub, uint8_t *to)
{
	pool_iov_copy_out(sub->io, sub->io->len + sub->io_offset, to, sub->len);
}

/* The others wait for this one. */
static void compare_failed(struct pool_sub *sub, int err)
{
	if (sub->was_read) {
		compare_targeted(sub, err);
	} else {
		sub->err = err;
		pool_write_old_read(sub);
	}
}

const struct pool_sub_ops pool_compare_sub = {
	.run = pool_write_run,
	.patch = compare_patch,
	.old_read = compare_old_read,
	.targeted = compare_targeted,
	.failed = compare_failed,
	.joint = true,
};
