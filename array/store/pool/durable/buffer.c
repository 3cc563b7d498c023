/* SPDX-License-Identifier: Apache-2.0 */
/* Records one behind the other, as a frame or a transaction has them. */
#include "array/store/pool/durable/buffer.h"

#include <string.h>

static void buffer_grow(struct pool_buffer *b, size_t bytes)
{
	size_t cap = b->cap ? b->cap : 4096;

	while (cap < b->len + bytes)
		cap *= 2;
	if (cap != b->cap)
		b->data = pool_xrealloc(b->data, cap);
	b->cap = cap;
}

void pool_buffer_bytes(struct pool_buffer *b, const void *data, size_t len)
{
	if (len == 0)
		return;
	buffer_grow(b, len);
	memcpy(b->data + b->len, data, len);
	b->len += len;
}

void pool_buffer_record(struct pool_buffer *b, const struct pool_record *record)
{
	buffer_grow(b, pool_record_size(record));
	b->len += pool_record_encode(b->data + b->len, record);
	b->records++;
}

void pool_buffer_runs(struct pool_buffer *b, enum pool_record_type type, const struct pool_free_list *sorted)
{
	for (size_t i = 0; i < sorted->count;) {
		struct pool_record r = {.type = type, .run = {.phys = sorted->phys[i], .count = 1}};

		if (pool_free_mask(sorted->phys[i])) {
			r = (struct pool_record){.type = POOL_RECORD_FREE_BLOCKS,
				.blocks = {pool_free_phys(sorted->phys[i]), pool_free_mask(sorted->phys[i])}};
			pool_buffer_record(b, &r);
			i++;
			continue;
		}
		while (i + r.run.count < sorted->count &&
			sorted->phys[i + r.run.count] == r.run.phys + r.run.count)
			r.run.count++;
		pool_buffer_record(b, &r);
		i += r.run.count;
	}
}
