/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What reclaim has yet to do, by branch and generation (what that means is told in reclaim.c). A to-do is durable
 * from its frame on, and a restart finds it again.
 */
#include "array/store/pool/commit/commit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "array/util/bytes.h"

static unsigned bucket_of(uint64_t branch, uint32_t gen)
{
	return (unsigned)((branch * 31 + gen) % POOL_TODO_BUCKETS);
}

void pool_todos_init(
	struct pool_todos *todos, struct pool_base *base, const struct pool_log *log, struct pool_map *map)
{
	todos->map = map;
	todos->uncounted = 0;
	todos->base = base;
	todos->log = log;
	list_init(&todos->list);
	for (unsigned i = 0; i < POOL_TODO_BUCKETS; i++)
		list_init(&todos->hash[i]);
	todos->unlogged = 0;
}

static void put(struct pool_todos *todos, struct pool_todo *t)
{
	struct pool_branch *b;

	list_push_back(&todos->list, &t->link);
	list_push_back(&todos->hash[bucket_of(t->branch, t->gen)], &t->hash_link);
	todos->unlogged += !t->sequence;
	todos->uncounted++;
	b = pool_branch_find(todos->map, t->branch);
	if (b)
		b->todos++;
}

void pool_todo_count(struct pool_todos *todos, struct pool_todo *t, uint64_t chunks)
{
	struct pool_branch *b = pool_branch_find(todos->map, t->branch);

	todos->uncounted -= !t->counted;
	t->counted = true;
	if (b)
		b->pending += chunks - t->chunks;
	t->chunks = chunks;
}

uint64_t pool_todo_uncount(struct pool_todos *todos, struct pool_todo *t)
{
	struct pool_branch *b = pool_branch_find(todos->map, t->branch);
	uint64_t chunks = t->chunks;

	todos->uncounted += t->counted;
	t->counted = false;
	t->chunks = 0;
	if (b)
		b->pending -= chunks;
	return b ? chunks : 0;
}

void pool_todo_free(struct pool_todos *todos, struct pool_todo *t)
{
	struct pool_branch *b = pool_branch_find(todos->map, t->branch);

	pool_todo_uncount(todos, t);
	todos->uncounted--;
	if (b)
		b->todos--;
	todos->unlogged -= !t->sequence;
	list_remove(&t->link);
	list_remove(&t->hash_link);
	free(t);
}

static void logged(struct pool_todos *todos, struct pool_todo *t, uint64_t sequence)
{
	todos->unlogged -= !t->sequence;
	t->sequence = sequence;
	todos->unlogged += !t->sequence;
}

struct pool_todo *pool_todo_find(const struct pool_todos *todos, uint64_t branch, uint32_t gen)
{
	list_for_each (n, &todos->hash[bucket_of(branch, gen)]) {
		struct pool_todo *t = container_of(n, struct pool_todo, hash_link);

		if (t->branch == branch && t->gen == gen && !t->busy)
			return t;
	}
	return NULL;
}

static struct pool_todo *todo_get(struct pool_todos *todos, uint64_t branch, uint32_t gen)
{
	struct pool_todo *t = pool_todo_find(todos, branch, gen);

	if (t)
		return t;
	t = pool_xrealloc(NULL, sizeof(*t));
	memset(t, 0, sizeof(*t));
	t->branch = branch;
	t->gen = gen;
	put(todos, t);
	return t;
}

void pool_todo_add(struct pool_todos *todos, uint64_t branch, uint32_t gen)
{
	todo_get(todos, branch, gen);
	pool_ask_commit_later(todos->base);
}

void pool_todo_logged(struct pool_todos *todos, uint64_t branch, uint32_t gen)
{
	logged(todos, todo_get(todos, branch, gen), todos->log->sequence);
}

bool pool_todo_in_meta(const struct pool_todos *todos, const struct pool_todo *t)
{
	return t->sequence && t->sequence < todos->map->applied;
}

int pool_todo_load(
	void *arg, const uint8_t *key, size_t key_len, const uint8_t *value, size_t value_len, bool intact)
{
	struct pool_todos *todos = arg;
	struct pool_todo *t;

	(void)value;
	(void)value_len;
	if (!intact || key_len != POOL_TODO_KEY_BYTES)
		return -EUCLEAN;
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->branch = get_be64(key);
	t->gen = get_be32(key + 8);
	t->sequence = todos->log->sequence;
	if (!t->sequence)
		t->sequence = 1;
	put(todos, t);
	return 0;
}

void pool_todo_frame(struct pool_todos *todos, struct pool_buffer *out)
{
	for (struct list_node *n = todos->list.head.prev; todos->unlogged; n = n->prev) {
		struct pool_todo *t = container_of(n, struct pool_todo, link);
		struct pool_record r = {
			.type = POOL_RECORD_TODO_PUT, .todo = {.branch = t->branch, .gen = t->gen}};

		if (t->sequence)
			continue;
		logged(todos, t, todos->log->sequence + 1);
		pool_buffer_record(out, &r);
	}
}
