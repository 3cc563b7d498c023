/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Digests. A CRC tells whether a record is what was written, not whether one is missing, or whether a page went back
 * to what it was before. So the table `digest` has, of each small table, of the entries of 512 chunks of a branch, and
 * of the shared entries of 64 chunks, how many records there are, and the sum of their CRCs, each of which covers table,
 * key and value. It is kept in the transactions that change the records, and compared where they are read as a whole:
 * at the start, when a leaf of the map is loaded, and before a shared chunk is taken for loose.
 *
 * Changes are noted in memory and merged, for those of one batch mostly lie in few parts. The index `gen` has none: what
 * it loses costs space, and nothing else.
 */
#include "array/store/pool/durable/digest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "array/store/pool/base/base.h"
#include "array/util/bytes.h"

static bool has_digest(const struct pool_meta *m, enum pool_table table)
{
	return m->digests && table != POOL_TABLE_STATE && table != POOL_TABLE_GEN &&
	       table != POOL_TABLE_DIGEST;
}

/* The key of the part that a record lies in; returns its length. */
static size_t part_of(
	enum pool_table table, const uint8_t *key, size_t key_len, uint8_t out[POOL_DIGEST_KEY_BYTES])
{
	out[0] = (uint8_t)table;
	if (table == POOL_TABLE_MAP && key_len == POOL_MAP_KEY_BYTES) {
		memcpy(out + 1, key, 8);
		put_be64(out + 9, get_be64(key + 8) / POOL_DIGEST_CHUNKS);
		return 17;
	}
	if (table == POOL_TABLE_REFS && key_len >= 8) {
		put_be64(out + 1, get_be64(key) / POOL_DIGEST_REFS);
		return 9;
	}
	return 1;
}

bool pool_digest_same(enum pool_table table, const void *a, const void *b)
{
	uint8_t part_a[POOL_DIGEST_KEY_BYTES], part_b[POOL_DIGEST_KEY_BYTES];
	size_t key_len = table == POOL_TABLE_MAP ? POOL_MAP_KEY_BYTES : 8;
	size_t len = part_of(table, a, key_len, part_a);

	return len == part_of(table, b, key_len, part_b) && memcmp(part_a, part_b, len) == 0;
}

void pool_digest_add(struct pool_digest *d, const void *value, size_t len)
{
	d->count++;
	if (len >= 4)
		d->sum += get_be32((const uint8_t *)value + len - 4);
}

static int digest_get(
	struct pool_meta *m, MDB_txn *txn, const uint8_t *part, size_t len, struct pool_digest *out)
{
	const uint8_t *value;
	size_t value_len;
	int err = pool_meta_get(m, txn, POOL_TABLE_DIGEST, part, len, &value, &value_len);

	*out = (struct pool_digest){0};
	if (err == -ENOENT)
		return 0;
	if (!err && value_len != POOL_DIGEST_VALUE_BYTES - 4)
		err = -EUCLEAN;
	if (!err)
		*out = (struct pool_digest){get_be64(value), get_be64(value + 8)};
	return err;
}

int pool_digest_check(struct pool_meta *m, MDB_txn *txn, enum pool_table table, const void *key,
	size_t key_len, const struct pool_digest *found, bool count_only)
{
	uint8_t part[POOL_DIGEST_KEY_BYTES];
	struct pool_digest want;
	int err;

	if (!has_digest(m, table))
		return 0;
	err = digest_get(m, txn, part, part_of(table, key, key_len, part), &want);
	if (err)
		return err;
	return want.count == found->count && (count_only || want.sum == found->sum) ? 0 : -EUCLEAN;
}

/* ---- all parts ---------------------------------------------------------------------------------------- */

struct parts {
	struct pool_meta *meta;
	MDB_txn *txn;
	int (*wrong)(void *arg, enum pool_table table, const uint8_t *key, const struct pool_digest *found);
	void *arg;
};

static int part_end(
	struct parts *p, enum pool_table table, const uint8_t *key, const struct pool_digest *found)
{
	size_t len = table == POOL_TABLE_MAP ? POOL_MAP_KEY_BYTES : 8;
	int err = pool_digest_check(p->meta, p->txn, table, key, len, found, false);

	return err == -EUCLEAN ? p->wrong(p->arg, table, key, found) : err;
}

/* Those of which there are records. */
static int parts_found(struct parts *p, enum pool_table table)
{
	uint8_t part[POOL_REF_KEY_BYTES] = {0};
	struct pool_digest found = {0};
	MDB_cursor *cursor;
	MDB_val k, v;
	int rc = mdb_cursor_open(p->txn, p->meta->table[table], &cursor), err = 0;

	if (rc)
		return pool_errno(rc);
	while (!err && !(rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT))) {
		if (k.mv_size < POOL_MAP_KEY_BYTES || k.mv_size > sizeof(part)) /* damaged */
			continue;
		if (found.count && !pool_digest_same(table, part, k.mv_data)) {
			err = part_end(p, table, part, &found);
			found = (struct pool_digest){0};
		}
		memcpy(part, k.mv_data, k.mv_size);
		pool_digest_add(&found, v.mv_data, v.mv_size);
	}
	if (!err && found.count)
		err = part_end(p, table, part, &found);
	mdb_cursor_close(cursor);
	return err ? err : rc == MDB_NOTFOUND ? 0 : pool_errno(rc);
}

/* Those of which there should be. */
static int parts_empty(struct parts *p)
{
	MDB_cursor *cursor, *at;
	MDB_val k, v;
	int rc = mdb_cursor_open(p->txn, p->meta->table[POOL_TABLE_DIGEST], &cursor), err = 0;

	if (rc)
		return pool_errno(rc);
	while (!err && !(rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT))) {
		uint8_t first[POOL_MAP_KEY_BYTES] = {0};
		const uint8_t *key = k.mv_data;
		MDB_val found = {.mv_data = first}, unused;
		enum pool_table table = k.mv_size == 17 ? POOL_TABLE_MAP : POOL_TABLE_REFS;

		if ((k.mv_size != 17 && k.mv_size != 9) || key[0] != table)
			continue;
		found.mv_size = k.mv_size == 17 ? sizeof(first) : 8;
		if (k.mv_size == 17)
			memcpy(first, key + 1, 8);
		put_be64(first + k.mv_size - 9,
			get_be64(key + k.mv_size - 8) *
				(k.mv_size == 17 ? POOL_DIGEST_CHUNKS : POOL_DIGEST_REFS));
		err = pool_errno(mdb_cursor_open(p->txn, p->meta->table[table], &at));
		if (err)
			break;
		if (mdb_cursor_get(at, &found, &unused, MDB_SET_RANGE) || found.mv_size < 8 ||
			!pool_digest_same(table, found.mv_data, first))
			err = p->wrong(p->arg, table, first, NULL);
		mdb_cursor_close(at);
	}
	mdb_cursor_close(cursor);
	return err ? err : rc == MDB_NOTFOUND ? 0 : pool_errno(rc);
}

int pool_digest_parts(struct pool_meta *m, MDB_txn *txn,
	int (*wrong)(void *arg, enum pool_table table, const uint8_t *key, const struct pool_digest *found),
	void *arg)
{
	struct parts p = {m, txn, wrong, arg};
	int err = parts_found(&p, POOL_TABLE_MAP);

	if (!err && m->shares)
		err = parts_found(&p, POOL_TABLE_REFS);
	return err ? err : parts_empty(&p);
}

static int must_be_intact(
	void *arg, const uint8_t *key, size_t key_len, const uint8_t *value, size_t value_len, bool intact)
{
	(void)arg;
	(void)key;
	(void)key_len;
	(void)value;
	(void)value_len;
	return intact ? 0 : -EUCLEAN;
}

static int must_be_right(
	void *arg, enum pool_table table, const uint8_t *key, const struct pool_digest *found)
{
	(void)arg;
	(void)table;
	(void)key;
	(void)found;
	return -EUCLEAN;
}

int pool_digest_whole(struct pool_meta *m, MDB_txn *txn)
{
	int err = 0;

	for (unsigned i = 0; i < POOL_TABLES && !err; i++) {
		if (i == POOL_TABLE_GEN || !pool_meta_has(m, i))
			continue;
		if (i == POOL_TABLE_MAP || i == POOL_TABLE_REFS)
			err = pool_meta_each(m, txn, i, must_be_intact, NULL);
		else
			err = pool_meta_all(m, txn, i, must_be_intact, NULL);
	}
	return err || !m->digests ? err : pool_digest_parts(m, txn, must_be_right, NULL);
}

/* ---- changes ----------------------------------------------------------------------------------------- */

void pool_digest_note(struct pool_meta *m, enum pool_table table, const void *key, size_t key_len,
	const MDB_val *old, const uint8_t *value, size_t len)
{
	struct pool_digest was = {0}, is = {0};
	struct pool_digest_change *c = m->change_count ? &m->changes[m->change_count - 1] : NULL;
	uint8_t part[POOL_DIGEST_KEY_BYTES] = {0};
	size_t part_len;

	if (!has_digest(m, table))
		return;
	if (old)
		pool_digest_add(&was, old->mv_data, old->mv_size);
	if (value)
		pool_digest_add(&is, value, len);
	part_len = part_of(table, key, key_len, part);
	if (!c || c->key_len != part_len || memcmp(c->key, part, part_len) != 0) {
		if (m->change_count == m->change_cap) {
			m->change_cap = m->change_cap ? 2 * m->change_cap : 64;
			m->changes = pool_xrealloc(m->changes, m->change_cap * sizeof(m->changes[0]));
		}
		c = &m->changes[m->change_count++];
		memset(c, 0, sizeof(*c));
		memcpy(c->key, part, part_len);
		c->key_len = (uint8_t)part_len;
	}
	c->count += is.count - was.count;
	c->sum += is.sum - was.sum;
}

static int compare_changes(const void *va, const void *vb)
{
	const struct pool_digest_change *a = va, *b = vb;
	int order = memcmp(a->key, b->key, POOL_DIGEST_KEY_BYTES);

	return order ? order : a->key_len - b->key_len;
}

static int digest_put(struct pool_meta *m, MDB_txn *txn, const struct pool_digest_change *c)
{
	uint8_t value[POOL_DIGEST_VALUE_BYTES];
	struct pool_digest d;
	int err = digest_get(m, txn, c->key, c->key_len, &d);

	if (err == -EUCLEAN) /* stays so: nobody knows what it said */
		return 0;
	if (err || (!c->count && !c->sum))
		return err;
	put_be64(value, d.count + c->count);
	put_be64(value + 8, d.sum + c->sum);
	if (d.count + c->count == 0 && d.sum + c->sum == 0)
		return pool_meta_del(m, txn, POOL_TABLE_DIGEST, c->key, c->key_len);
	return pool_meta_put(
		m, txn, POOL_TABLE_DIGEST, c->key, c->key_len, value, POOL_DIGEST_VALUE_BYTES - 4);
}

int pool_digest_flush(struct pool_meta *m, MDB_txn *txn)
{
	int err = 0;

	if (m->change_count > 1)
		qsort(m->changes, m->change_count, sizeof(m->changes[0]), compare_changes);
	for (size_t i = 0; i < m->change_count && !err; i++) {
		struct pool_digest_change *c = &m->changes[i];

		if (i + 1 < m->change_count && compare_changes(c, c + 1) == 0) {
			c[1].count += c->count;
			c[1].sum += c->sum;
			continue;
		}
		err = digest_put(m, txn, c);
	}
	m->change_count = 0;
	return err;
}

/* A record that does not say anything any more, and now does again. */
int pool_digest_mend(struct pool_meta *m, MDB_txn *txn, enum pool_table table, const void *key,
	size_t key_len, const struct pool_digest *found)
{
	struct pool_digest_change c = {.count = found->count, .sum = found->sum};
	struct pool_digest unused;
	MDB_val k = {.mv_data = c.key};
	int err;

	c.key_len = (uint8_t)part_of(table, key, key_len, c.key);
	k.mv_size = c.key_len;
	if (digest_get(m, txn, c.key, c.key_len, &unused) != -EUCLEAN)
		return 0;
	err = pool_errno(mdb_del(txn, m->table[POOL_TABLE_DIGEST], &k, NULL));
	if (!err)
		err = digest_put(m, txn, &c);
	return err ? err : 1;
}

/* ---- anew -------------------------------------------------------------------------------------------- */

static int drop_digests(struct pool_meta *m, MDB_txn *txn, enum pool_table table)
{
	uint8_t first[1] = {(uint8_t)table};
	MDB_val k = {.mv_size = 1, .mv_data = first}, v;
	MDB_cursor *cursor;
	int rc = mdb_cursor_open(txn, m->table[POOL_TABLE_DIGEST], &cursor);

	if (rc)
		return pool_errno(rc);
	rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
	while (!rc && k.mv_size && *(const uint8_t *)k.mv_data == table) {
		rc = mdb_cursor_del(cursor, 0);
		if (!rc)
			rc = mdb_cursor_get(cursor, &k, &v, MDB_GET_CURRENT);
		if (rc == EINVAL) /* it was the last one */
			rc = MDB_NOTFOUND;
	}
	mdb_cursor_close(cursor);
	return rc == MDB_NOTFOUND ? 0 : pool_errno(rc);
}

int pool_digest_rebuild(struct pool_meta *m, MDB_txn *txn, enum pool_table table)
{
	MDB_cursor *cursor;
	MDB_val k, v;
	int rc, err;

	if (!has_digest(m, table))
		return 0;
	err = drop_digests(m, txn, table);
	if (err)
		return err;
	rc = mdb_cursor_open(txn, m->table[table], &cursor);
	if (rc)
		return pool_errno(rc);
	m->change_count = 0;
	while (!(rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)))
		pool_digest_note(m, table, k.mv_data, k.mv_size, NULL, v.mv_data, v.mv_size);
	mdb_cursor_close(cursor);
	return rc == MDB_NOTFOUND ? pool_digest_flush(m, txn) : pool_errno(rc);
}
