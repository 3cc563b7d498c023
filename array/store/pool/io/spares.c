/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects that are kept for the next use: parts of I/Os, their transfers, and buffers of a chunk, for data that cannot
 * go straight between the caller's memory and the disk.
 */
#include "array/store/pool/io/io.h"

#include <stdlib.h>

#define BOUNCE_KEPT 64u

uint8_t *pool_bounce_get(struct pool *p)
{
	void *buf;

	if (p->spares.bounce_count)
		return p->spares.bounces[--p->spares.bounce_count];
	return posix_memalign(&buf, POOL_BLOCK_BYTES, POOL_CHUNK_BYTES) ? NULL : buf;
}

void pool_bounce_put(struct pool *p, uint8_t *buf)
{
	if (p->spares.bounce_count < BOUNCE_KEPT)
		p->spares.bounces[p->spares.bounce_count++] = buf;
	else
		free(buf);
}

bool pool_spares_init(struct pool_spares *s)
{
	list_init(&s->subs);
	list_init(&s->pieces);
	s->bounces = calloc(BOUNCE_KEPT, sizeof(s->bounces[0]));
	return s->bounces != NULL;
}

void pool_spares_destroy(struct pool_spares *s)
{
	struct list_node *n;

	while ((n = list_pop(&s->subs)))
		free(container_of(n, struct pool_sub, link));
	while ((n = list_pop(&s->pieces)))
		free(container_of(n, struct pool_piece, link));
	while (s->bounce_count)
		free(s->bounces[--s->bounce_count]);
	free(s->bounces);
}
