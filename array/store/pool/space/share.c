/* SPDX-License-Identifier: Apache-2.0 */
/* Shared chunks in memory: who let go of one, and how many are loose (durable/refs.c says what that means). */
#include "array/store/pool/space/space.h"

/* Shared entries take room for metadata without taking chunks: so many are within what was set aside. */
#define SHARED_ENTRIES_MIN 65536u

bool pool_may_share(const struct pool_space *s)
{
	uint64_t most = s->super->capacity_chunks / 2;

	return s->meta->shares && s->refs_count < (most > SHARED_ENTRIES_MIN ? most : SHARED_ENTRIES_MIN);
}

void pool_chunk_drop(struct pool_space *s, struct pool_branch *b, uint64_t phys, bool shared)
{
	if (!shared) {
		pool_free_chunk(s, b, phys);
		return;
	}
	pool_free_list_add(&s->unshared, phys);
	pool_share_loosened(s);
}

void pool_share_loosened(struct pool_space *s)
{
	s->loose_likely = true;
	pool_ask_commit_later(s->base); /* whose timer asks for a look */
}

uint64_t pool_share_loose(const struct pool_space *s)
{
	return s->loose_count > s->loose_given ? s->loose_count - s->loose_given : 0;
}

void pool_share_frame(struct pool_space *s, struct pool_buffer *out)
{
	pool_free_list_unique(&s->unshared);
	pool_buffer_runs(out, POOL_RECORD_UNSHARE, &s->unshared);
	s->unshared.count = 0;
}
