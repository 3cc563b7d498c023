/* SPDX-License-Identifier: Apache-2.0 */
/* Buffers of a chunk, for data that cannot go straight between the caller's memory and the disk. */
#include "array/store/pool/pool.h"

#include <stdlib.h>

#define BOUNCE_KEPT 64u

uint8_t *pool_bounce_get(struct pool *p)
{
	void *buf;

	if (p->bounce_count)
		return p->bounce_free[--p->bounce_count];
	return posix_memalign(&buf, POOL_BLOCK_BYTES, POOL_CHUNK_BYTES) ? NULL : buf;
}

void pool_bounce_put(struct pool *p, uint8_t *buf)
{
	if (p->bounce_count < BOUNCE_KEPT)
		p->bounce_free[p->bounce_count++] = buf;
	else
		free(buf);
}
