/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Data buffers of all sessions. bytes_used counts what is lent out, bytes_kept what waits for reuse; their
 * sum never passes bytes_max.
 */
#include "array/iscsi/internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SMALLEST_BYTES 4096u

static unsigned order_of(uint32_t len)
{
	unsigned order = 0;

	while (order < ISCSI_BUFFER_CLASSES && SMALLEST_BYTES << order < len)
		order++;
	return order;
}

uint64_t iscsi_buffer_size(uint32_t len)
{
	return SMALLEST_BYTES << order_of(len);
}

void iscsi_buffers_init(struct iscsi_buffers *b, uint64_t bytes_max)
{
	memset(b, 0, sizeof(*b));
	b->bytes_max = bytes_max;
}

static void give_back(struct iscsi_buffers *b, unsigned order)
{
	void *buffer = b->free[order];

	memcpy(&b->free[order], buffer, sizeof(void *));
	b->bytes_kept -= SMALLEST_BYTES << order;
	free(buffer);
}

/* Frees kept buffers, the largest first, until `need` more bytes fit. */
static void make_room(struct iscsi_buffers *b, uint64_t need)
{
	for (unsigned order = ISCSI_BUFFER_CLASSES; order-- > 0;)
		while (b->free[order] && b->bytes_used + b->bytes_kept + need > b->bytes_max)
			give_back(b, order);
}

void iscsi_buffers_free(struct iscsi_buffers *b)
{
	assert(b->bytes_used == 0);
	for (unsigned order = 0; order < ISCSI_BUFFER_CLASSES; order++)
		while (b->free[order])
			give_back(b, order);
	assert(b->bytes_kept == 0);
}

void *iscsi_buffer_get(struct iscsi_buffers *b, uint32_t len, bool urgent)
{
	unsigned order = order_of(len);
	uint64_t size, bound = urgent ? b->bytes_max : b->bytes_max - b->bytes_max / 8;
	void *buffer;

	if (order == ISCSI_BUFFER_CLASSES)
		return NULL;
	size = SMALLEST_BYTES << order;
	if (b->bytes_used + size > bound)
		return NULL;
	buffer = b->free[order];
	if (buffer) {
		memcpy(&b->free[order], buffer, sizeof(void *));
		b->bytes_kept -= size;
	} else {
		make_room(b, size);
		buffer = aligned_alloc(SMALLEST_BYTES, size);
		if (!buffer)
			return NULL;
	}
	b->bytes_used += size;
	return buffer;
}

void iscsi_buffer_put(struct iscsi_buffers *b, void *buffer, uint32_t len)
{
	unsigned order = order_of(len);

	if (!buffer)
		return;
	assert(order < ISCSI_BUFFER_CLASSES && b->bytes_used >= SMALLEST_BYTES << order);
	b->bytes_used -= SMALLEST_BYTES << order;
	b->bytes_kept += SMALLEST_BYTES << order;
	memcpy(buffer, &b->free[order], sizeof(void *));
	b->free[order] = buffer;
}
