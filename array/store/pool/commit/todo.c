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

static struct pool_todo *todo_get(struct pool_todos *todos, uint64_t branch, uint32_t gen)
{
	struct pool_todo *t;

	list_for_each (n, &todos->list) {
		t = container_of(n, struct pool_todo, link);
		if (t->branch == branch && t->gen == gen && !t->busy)
			return t;
	}
	t = pool_xrealloc(NULL, sizeof(*t));
	memset(t, 0, sizeof(*t));
	t->branch = branch;
	t->gen = gen;
	list_push_back(&todos->list, &t->link);
	return t;
}

void pool_todo_add(struct pool_todos *todos, uint64_t branch, uint32_t gen)
{
	todo_get(todos, branch, gen);
	pool_ask_commit_later(todos->base);
}

void pool_todo_logged(struct pool_todos *todos, uint64_t branch, uint32_t gen)
{
	todo_get(todos, branch, gen)->sequence = todos->log->sequence;
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
	list_push_back(&todos->list, &t->link);
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

size_t pool_todo_unlogged(const struct pool_todos *todos)
{
	size_t count = 0;

	list_for_each (n, &todos->list)
		count += container_of(n, struct pool_todo, link)->sequence == 0;
	return count;
}

void pool_todo_frame(struct pool_todos *todos, struct pool_buffer *out)
{
	list_for_each (n, &todos->list) {
		struct pool_todo *t = container_of(n, struct pool_todo, link);
		struct pool_record r = {
			.type = POOL_RECORD_TODO_PUT, .todo = {.branch = t->branch, .gen = t->gen}};

		if (t->sequence)
			continue;
		t->sequence = todos->log->sequence + 1;
		pool_buffer_record(out, &r);
	}
}
