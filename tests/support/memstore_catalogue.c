/* SPDX-License-Identifier: Apache-2.0 */
/* The catalogue of the store in memory: a balanced tree (tsearch) of records for each table. See memstore.h. */
#include <search.h>
#include "tests/support/memstore_internal.h"

struct mem_record {
	void *key;
	uint8_t *value;
	size_t key_len, value_len;
};

static int by_key(const void *left, const void *right)
{
	const struct mem_record *a = left, *b = right;
	int c = memcmp(a->key, b->key, a->key_len < b->key_len ? a->key_len : b->key_len);

	return c ? c : (a->key_len > b->key_len) - (a->key_len < b->key_len);
}

void *mem_copy(const void *p, size_t len)
{
	void *c = mem_must(malloc(len ? len : 1));

	if (len)
		memcpy(c, p, len);
	return c;
}

/* Only to compare with. */
static struct mem_record key_of(const void *key, size_t key_len)
{
	return (struct mem_record){.key = (void *)(uintptr_t)key, .key_len = key_len};
}

static void record_free(void *record)
{
	struct mem_record *r = record;

	free(r->key);
	free(r->value);
	free(r);
}

void memstore_record_delete(struct memstore *m, enum store_table table, const void *key, size_t key_len)
{
	struct mem_record wanted = key_of(key, key_len), *r;
	struct mem_record **found = tfind(&wanted, &m->tables[table].root, by_key);

	if (!found)
		return;
	r = *found;
	tdelete(r, &m->tables[table].root, by_key);
	record_free(r);
	m->tables[table].count--;
}

void memstore_record_put(struct memstore *m, enum store_table table, const void *key, size_t key_len,
	const void *value, size_t value_len)
{
	struct mem_record wanted = key_of(key, key_len), *r;
	struct mem_record **found = tfind(&wanted, &m->tables[table].root, by_key);

	if (found) {
		r = *found;
		free(r->value);
	} else {
		r = mem_must(calloc(1, sizeof(*r)));
		r->key = mem_copy(key, key_len);
		r->key_len = key_len;
		mem_must(tsearch(r, &m->tables[table].root, by_key));
		m->tables[table].count++;
	}
	r->value = mem_copy(value, value_len);
	r->value_len = value_len;
}

struct walk {
	int (*each)(void *arg, const void *key, size_t key_len, const void *value, size_t value_len);
	void *arg;
	int err;
};

static void walk_one(const void *node, VISIT visit, void *closure)
{
	const struct mem_record *r = *(struct mem_record *const *)node;
	struct walk *w = closure;

	if (!w->err && (visit == postorder || visit == leaf))
		w->err = w->each(w->arg, r->key, r->key_len, r->value, r->value_len);
}

int mem_records_each(struct memstore *m, enum store_table table,
	int (*each)(void *arg, const void *key, size_t key_len, const void *value, size_t value_len),
	void *arg)
{
	struct walk w = {.each = each, .arg = arg};

	twalk_r(m->tables[table].root, walk_one, &w);
	return w.err;
}

void mem_records_free(struct memstore *m)
{
	for (int t = 0; t < STORE_TABLE_COUNT; t++)
		tdestroy(m->tables[t].root, record_free);
}

/* ---- looking behind it ---- */

unsigned memstore_records(const struct memstore *m, enum store_table table)
{
	return m->tables[table].count;
}

struct seek {
	unsigned left;
	const struct mem_record *found;
};

static void seek_one(const void *node, VISIT visit, void *closure)
{
	struct seek *s = closure;

	if (!s->found && (visit == postorder || visit == leaf) && s->left-- == 0)
		s->found = *(struct mem_record *const *)node;
}

bool memstore_record(struct memstore *m, enum store_table table, unsigned index, const void **key,
	size_t *key_len, uint8_t **value, size_t *value_len)
{
	struct seek s = {.left = index};

	twalk_r(m->tables[table].root, seek_one, &s);
	if (!s.found)
		return false;
	*key = s.found->key;
	*key_len = s.found->key_len;
	*value = s.found->value;
	*value_len = s.found->value_len;
	return true;
}
