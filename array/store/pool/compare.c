/* SPDX-License-Identifier: Apache-2.0 */
/*
 * COMPARE AND WRITE: its subs take the steps of a write (io.c), each under its chunk's exclusive lock, and wait for
 * one another when they have read: what is compared is what was there at one instant.
 */
#include "array/store/pool/pool.h"

#include <errno.h>

/* All subs of a COMPARE AND WRITE have read under their locks: compares; then all write or none does. */
static void compare_all(struct store_io *io)
{
	struct pool_io *pio = pool_io_of(io);
	struct list subs;
	struct list_node *n;
	int err = 0;

	io->miscompare_offset = UINT64_MAX;
	list_init(&subs);
	while ((n = list_pop(&pio->sub_list))) {
		struct pool_sub *sub = container_of(n, struct pool_sub, link);
		const uint8_t *have = sub->bounce + (sub->offset - (sub->bounce_first << POOL_BLOCK_SHIFT));
		uint8_t want[512];

		list_push_back(&subs, n);
		for (uint32_t at = 0; at < sub->len; at += sizeof(want)) {
			pool_iov_copy_out(io, sub->io_offset + at, want, sizeof(want));
			for (uint32_t k = 0; k < sizeof(want); k++) {
				uint64_t where = sub->io_offset + at + k;

				if (want[k] != have[at + k] && where < io->miscompare_offset)
					io->miscompare_offset = where;
			}
		}
	}
	if (io->miscompare_offset != UINT64_MAX)
		err = -EILSEQ;
	else
		io->miscompare_offset = 0;
	pio->subs++;
	while ((n = list_pop(&subs))) {
		struct pool_sub *sub = container_of(n, struct pool_sub, link);

		if (err) {
			pool_sub_end(sub, err);
		} else {
			pool_sub_patch(sub);
			pool_sub_write(sub);
		}
	}
	pool_io_put(io, err);
}

void pool_compare_read(struct pool_sub *sub)
{
	struct pool_io *pio = pool_io_of(sub->io);

	if (sub->err) {
		if (!pio->err)
			pio->err = sub->err;
		sub->err = 0;
	}
	pio->ready++;
	if (pio->ready < pio->subs)
		return;
	if (pio->err) {
		struct list_node *n;

		pio->subs++;
		while ((n = list_pop(&pio->sub_list)))
			pool_sub_end(container_of(n, struct pool_sub, link), pio->err);
		pool_io_put(sub->io, pio->err);
		return;
	}
	compare_all(sub->io);
}
