/* SPDX-License-Identifier: Apache-2.0 */
/* Transactions of the store in memory: a list of steps, and what they do to it. See memstore.h. */
#include "tests/support/memstore_internal.h"

static struct mem_step *txn_step(struct store_txn *t, enum step_op op)
{
	struct mem_step *s = mem_must(calloc(1, sizeof(*s)));

	s->op = op;
	*t->last = s;
	t->last = &s->next;
	return s;
}

static int txn_call(struct store_txn *t)
{
	int err = mem_call(t->m, true);

	assert(!t->failed);
	if (err)
		t->failed = true;
	return err;
}

struct store_txn *mem_txn_begin(struct store *s)
{
	struct memstore *m = mem_of(s);

	if (mem_call(m, true))
		return NULL;
	struct store_txn *t = mem_must(calloc(1, sizeof(*t)));
	t->m = m;
	t->last = &t->first;
	return t;
}

int mem_txn_put(struct store_txn *t, enum store_table table, const void *key, size_t key_len,
	const void *value, size_t value_len)
{
	int err = txn_call(t);

	if (err)
		return err;
	assert(key_len > 0 && table > 0 && table < STORE_TABLE_COUNT);
	if (key_len > STORE_KEY_MAX_BYTES || value_len > STORE_VALUE_MAX_BYTES) {
		t->failed = true;
		return -EMSGSIZE;
	}
	struct mem_step *s = txn_step(t, STEP_PUT);
	s->table = table;
	s->key = mem_copy(key, key_len);
	s->key_len = key_len;
	s->value = mem_copy(value, value_len);
	s->value_len = value_len;
	return 0;
}

int mem_txn_del(struct store_txn *t, enum store_table table, const void *key, size_t key_len)
{
	int err = txn_call(t);

	if (err)
		return err;
	struct mem_step *s = txn_step(t, STEP_DEL);
	s->table = table;
	s->key = mem_copy(key, key_len);
	s->key_len = key_len;
	return 0;
}

int mem_txn_disk_create(struct store_txn *t, uint64_t size_bytes, struct store_disk **out)
{
	int err = txn_call(t);

	if (err)
		return err;
	assert(size_bytes % STORE_BLOCK_BYTES == 0);
	struct mem_step *s = txn_step(t, STEP_CREATE);
	s->disk = mem_disk_new(t->m, size_bytes);
	*out = &s->disk->head;
	return 0;
}

/* A disk that holds what was frozen. */
static struct mem_disk *disk_of_frozen(struct memstore *m, const struct mem_frozen *f)
{
	struct mem_disk *d = mem_disk_new(m, f->size_bytes);

	d->shares = true;
	for (unsigned i = 0; i < f->count; i++) {
		struct mem_slot *slot = mem_slot_find(d, f->indexes[i], true);

		slot->now = mem_page_get(f->pages[i]);
		slot->safe = mem_page_get(f->pages[i]);
	}
	return d;
}

int mem_txn_disk_fork(struct store_txn *t, struct store_cut *cut, unsigned index, struct store_disk **out)
{
	struct mem_cut *c = cut->priv;
	int err = txn_call(t);

	if (err)
		return err;
	assert(c && c->done && !c->ended && index < cut->count && (!t->cut || t->cut == c));
	t->cut = c;
	struct mem_step *s = txn_step(t, STEP_CREATE);
	s->disk = disk_of_frozen(t->m, &c->frozen[index]);
	s->disk->fork = true;
	*out = &s->disk->head;
	return 0;
}

int mem_txn_disk_repoint(struct store_txn *t, struct store_cut *cut, unsigned index, struct store_disk *disk)
{
	struct mem_cut *c = cut->priv;
	struct mem_disk *d = disk_of(disk);
	int err = txn_call(t);

	if (err)
		return err;
	assert(c && c->done && !c->ended && index < cut->count && (!t->cut || t->cut == c));
	assert(d->usable && d->inflight == 0 && !d->hydration);
	for (unsigned i = 0; i < cut->count; i++)
		assert(cut->disks[i] != disk);
	t->cut = c;
	struct mem_step *s = txn_step(t, STEP_REPOINT);
	s->disk = d;
	s->content = disk_of_frozen(t->m, &c->frozen[index]);
	return 0;
}

int mem_txn_disk_delete(struct store_txn *t, struct store_disk *d)
{
	int err = txn_call(t);

	if (err)
		return err;
	assert(disk_of(d)->usable && disk_of(d)->inflight == 0 && !disk_of(d)->hydration);
	txn_step(t, STEP_DELETE)->disk = disk_of(d);
	return 0;
}

int mem_txn_disk_resize(struct store_txn *t, struct store_disk *d, uint64_t size_bytes)
{
	int err = txn_call(t);

	if (err)
		return err;
	uint64_t old_bytes = disk_of(d)->size_bytes;
	for (struct mem_step *s = t->first; s; s = s->next) /* after what the transaction did before */
		if (s->disk == disk_of(d) && (s->content || s->op == STEP_RESIZE))
			old_bytes = s->content ? s->content->size_bytes : s->size_bytes;
	assert(size_bytes >= old_bytes && size_bytes % STORE_BLOCK_BYTES == 0);
	struct mem_step *s = txn_step(t, STEP_RESIZE);
	s->disk = disk_of(d);
	s->size_bytes = size_bytes;
	return 0;
}

void mem_txn_free(struct store_txn *t, bool keep_disks)
{
	while (t->first) {
		struct mem_step *s = t->first;

		t->first = s->next;
		if (s->op == STEP_CREATE && !keep_disks)
			mem_disk_free(t->m, s->disk);
		if (s->content)
			mem_disk_free(t->m, s->content);
		free(s->key);
		free(s->value);
		free(s);
	}
	free(t);
}

/* What was being prepared goes on, and nobody is called back. */
void mem_txn_drop(struct store_txn *t)
{
	assert(!t->prepared || !t->cut);
	if (t->preparing)
		t->preparing->txn = NULL;
	mem_txn_free(t, false);
}

/* Makes it durable and, unless the power is gone, visible. */
void mem_txn_apply(struct store_txn *t)
{
	struct memstore *m = t->m;

	for (struct mem_step *s = t->first; s; s = s->next) {
		switch (s->op) {
		case STEP_PUT:
			memstore_record_put(m, s->table, s->key, s->key_len, s->value, s->value_len);
			break;
		case STEP_DEL:
			memstore_record_delete(m, s->table, s->key, s->key_len);
			break;
		case STEP_CREATE:
			s->disk->durable = true;
			s->disk->usable = !m->dead;
			break;
		case STEP_DELETE:
			s->disk->durable = false;
			if (!m->dead)
				mem_disk_free(m, s->disk);
			break;
		case STEP_RESIZE:
			s->disk->size_bytes = s->size_bytes;
			break;
		case STEP_REPOINT:
			assert(m->dead || s->disk->inflight == 0);
			mem_disk_take(m, s->disk, s->content);
			s->content = NULL;
			break;
		}
	}
}
