/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which blocks of a disk hold data of their own, its own or an ancestor's: the map is asked chunk by chunk,
 * without locks, as a read asks it. One call looks at no more than MAPPED_CHUNKS_MAX chunks.
 */
#include "array/store/pool/io/io.h"

#include <errno.h>

#define MAPPED_CHUNKS_MAX 4096u /* 256 MiB */
#define BLOCK_BYTES       (POOL_CHUNK_BYTES / POOL_BLOCKS)

/* Goes through one chunk's blocks from the cursor on. False: the run ends within it. */
static bool mapped_chunk(struct store_io *io, const struct pool_places *places)
{
	struct pool_io *pio = pool_io_of(io);
	unsigned block = (unsigned)(pio->cursor % POOL_CHUNK_BYTES / BLOCK_BYTES);

	for (; block < POOL_BLOCKS; block++) {
		bool mapped = places->phys[block] != 0;

		if (pio->cursor == io->offset)
			io->mapped = mapped;
		else if (mapped != io->mapped)
			return false;
		pio->cursor = (pio->cursor / BLOCK_BYTES + 1) * BLOCK_BYTES;
	}
	return true;
}

static void mapped_end(struct store_io *io, int err)
{
	struct pool_io *pio = pool_io_of(io);
	uint64_t run = pio->cursor - io->offset;

	io->run_bytes = run < io->len ? run : io->len;
	io->done(io, err);
}

static void mapped_run(struct store_io *io)
{
	struct pool_io *pio = pool_io_of(io);
	uint64_t end = io->offset + io->len;
	struct pool_places places;
	bool goes_on = true;

	while (goes_on && pio->cursor < end && pio->subs < MAPPED_CHUNKS_MAX) {
		int err = pool_map_resolve(&pio->pool->map, pio->branch, POOL_GEN_HEAD,
			pio->cursor >> POOL_CHUNK_SHIFT, POOL_ALL_BLOCKS, &pio->waiter, &places);

		if (err == -EAGAIN)
			return;
		if (err) {
			mapped_end(io, err);
			return;
		}
		goes_on = mapped_chunk(io, &places);
		pio->subs++; /* chunks looked at */
	}
	mapped_end(io, 0);
}

static void mapped_woken(struct pool_waiter *w, int err)
{
	struct pool_io *pio = container_of(w, struct pool_io, waiter);
	struct store_io *io = container_of(pio, struct store_io, scratch);

	if (err)
		mapped_end(io, err);
	else
		mapped_run(io);
}

void pool_mapped_start(struct store_io *io)
{
	struct pool_io *pio = pool_io_of(io);

	pio->waiter.wake = mapped_woken;
	mapped_run(io);
}
