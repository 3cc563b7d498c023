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

static struct list *bucket(struct pool_todos *todos, uint64_t branch, uint32_t gen)
{
	return &todos->hash[(branch * 31 + gen) % POOL_TODO_BUCKETS];
}

void pool_todos_init(struct pool_todos *todos, struct pool_base *base, const struct pool_log *log)
{
	todos->base = base;
	todos->log = log;
	list_init(&todos->list);
	for (unsigned i = 0; i < POOL_TODO_BUCKETS; i++)
		list_init(&todos->hash[i]);
	todos->unlogged = 0;
}

static void put(struct pool_todos *todos, struct pool_todo *t)
{
	list_push_back(&todos->list, &t->link);
	list_push_back(bucket(todos, t->branch, t->gen), &t->hash_link);
	todos->unlogged += !t->sequence;
}

void pool_todo_free(struct pool_todos *todos, struct pool_todo *t)
{
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

static struct pool_todo *todo_get(struct pool_todos *todos, uint64_t branch, uint32_t gen)
{
	struct pool_todo *t;

	list_for_each (n, bucket(todos, branch, gen)) {
		t = container_of(n, struct pool_todo, hash_link);
		if (t->branch == branch && t->gen == gen && !t->busy)
			return t;
	}
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

bool pool_todo_of(const struct pool_todos *todos, const struct pool_branch *b)
{
	list_for_each (n, &todos->list) {
		if (container_of(n, struct pool_todo, link)->branch == b->id)
			return true;
	}
	return false;
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
