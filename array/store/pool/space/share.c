/* SPDX-License-Identifier: Apache-2.0 */
/* Shared chunks in memory: who let go of one, and how many are loose (durable/refs.c says what that means). */
#include "array/store/pool/pool.h"

/* Shared entries take room for metadata without taking chunks: so many are within what was set aside. */
#define SHARED_ENTRIES_MIN 65536u

bool pool_may_share(const struct pool *p)
{
	uint64_t most = p->super.capacity_chunks / 2;

	return p->meta.shares && p->refs_count < (most > SHARED_ENTRIES_MIN ? most : SHARED_ENTRIES_MIN);
}

void pool_chunk_drop(struct pool *p, struct pool_branch *b, uint64_t phys, bool shared)
{
	if (!shared) {
		pool_free_chunk(p, b, phys);
		return;
	}
	pool_free_list_add(&p->unshared, phys);
	pool_refs_loosened(p);
}

void pool_refs_loosened(struct pool *p)
{
	p->loose_likely = true;
	pool_ask_commit_later(&p->base); /* whose timer asks for a look */
}

uint64_t pool_refs_loose(const struct pool *p)
{
	return p->loose_count > p->loose_given ? p->loose_count - p->loose_given : 0;
}

void pool_refs_frame(struct pool *p, struct pool_buffer *out)
{
	pool_free_list_unique(&p->unshared);
	pool_buffer_runs(out, POOL_RECORD_UNSHARE, &p->unshared);
	p->unshared.count = 0;
}
