/* SPDX-License-Identifier: Apache-2.0 */
/* A hash table with chains of embedded nodes, sized once: what it holds is bounded by the array's options. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include "array/model/base/internal.h"

int array_index_init(struct array_index *x, unsigned entries)
{
	uint64_t size = 64;

	while (size < entries)
		size *= 2;
	x->buckets = calloc(size, sizeof(struct array_index_node *));
	x->mask = size - 1;
	return x->buckets ? 0 : -ENOMEM;
}

void array_index_free(struct array_index *x)
{
	free(x->buckets);
	x->buckets = NULL;
}

void array_index_add(struct array_index *x, struct array_index_node *n, uint64_t hash)
{
	n->hash = hash;
	n->next = x->buckets[hash & x->mask];
	x->buckets[hash & x->mask] = n;
}

void array_index_remove(struct array_index *x, struct array_index_node *n)
{
	struct array_index_node **at = &x->buckets[n->hash & x->mask];

	while (*at != n) {
		assert(*at);
		at = &(*at)->next;
	}
	*at = n->next;
	n->next = NULL;
}

struct array_index_node *array_index_first(const struct array_index *x, uint64_t hash)
{
	struct array_index_node *n = x->buckets[hash & x->mask];

	while (n && n->hash != hash)
		n = n->next;
	return n;
}

struct array_index_node *array_index_again(const struct array_index_node *n)
{
	struct array_index_node *m = n->next;

	while (m && m->hash != n->hash)
		m = m->next;
	return m;
}

uint64_t array_hash_id(const uint8_t id[UP_ID_BYTES])
{
	return XXH64(id, UP_ID_BYTES, 0);
}

uint64_t array_hash_text(const char *text)
{
	return XXH64(text, strlen(text), 0);
}
