/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The catalogue: the omap of one RADOS object (codec.h has its keys). Reading blocks, and happens where hosts do not wait for it: at
 * the opening, by who stands by (standby.c), and when all of it goes (destroy.c). It is changed by write operations that are begun here,
 * and do nothing unless the epoch is ours.
 */
#include "array/store/rbd/rbd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_RECORDS 512

void rbd_op_set(rados_write_op_t op, const void *key, size_t key_len, const void *value, size_t value_len)
{
	const char *k = key, *v = value;

	rados_write_op_omap_set2(op, &k, &v, &key_len, &value_len, 1);
}

void rbd_op_set_text(rados_write_op_t op, const char *key, const char *value)
{
	rbd_op_set(op, key, strlen(key), value, strlen(value));
}

void rbd_op_del(rados_write_op_t op, const void *key, size_t key_len)
{
	const char *k = key;

	rados_write_op_omap_rm_keys2(op, &k, &key_len, 1);
}

void rbd_op_cmp_text(rados_write_op_t op, const char *key, const char *value)
{
	rados_write_op_omap_cmp2(op, key, LIBRADOS_CMPXATTR_OP_EQ, value, strlen(key), strlen(value), NULL);
}

rados_write_op_t rbd_catalogue_op(uint64_t epoch)
{
	rados_write_op_t op = rados_create_write_op();
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, epoch);
	rados_write_op_assert_exists(op);
	rbd_op_cmp_text(op, RBD_HEAD_EPOCH, text);
	return op;
}

int rbd_catalogue_create(struct rbd_cluster *c, const char *object, struct fault *f)
{
	rados_write_op_t op = rados_create_write_op();
	int err;

	rados_write_op_create(op, LIBRADOS_CREATE_EXCLUSIVE, NULL);
	rbd_op_set_text(op, RBD_HEAD_FORMAT, RBD_FORMAT);
	rbd_op_set_text(op, RBD_HEAD_EPOCH, "0");
	rbd_op_set_text(op, RBD_HEAD_BEAT, "0");
	rbd_op_set_text(op, RBD_HEAD_OWNER, "");
	rbd_op_set_text(op, RBD_HEAD_FENCE, "");
	rbd_op_set_text(op, RBD_HEAD_NEXT, "1");
	rbd_op_set_text(op, RBD_HEAD_DISKS, "0");
	rbd_op_set_text(op, RBD_HEAD_HOME, c->home);
	err = rados_write_op_operate(op, c->io, object, NULL, LIBRADOS_OPERATION_FULL_TRY);
	rados_release_write_op(op);
	if (err == -EOPNOTSUPP)
		return fault_set(f, err,
			"the pool cannot keep records (omap), for it is erasure-coded: take a replicated pool, and name "
			"the other as its data pool (rbd_default_data_pool)");
	return err;
}

int rbd_catalogue_header(rados_ioctx_t io, const char *object, const char *key, char *value, size_t size)
{
	rados_read_op_t op = rados_create_read_op();
	size_t key_len = strlen(key), have_key_len, len;
	rados_omap_iter_t iter;
	char *have_key, *have;
	int prval = 0, err;

	value[0] = 0;
	rados_read_op_omap_get_vals_by_keys2(op, &key, 1, &key_len, &iter, &prval);
	err = rados_read_op_operate(op, io, object, 0);
	if (err >= 0)
		err = prval;
	if (err >= 0) {
		err = rados_omap_get_next2(iter, &have_key, &have, &have_key_len, &len);
		if (err >= 0 && have_key && len < size) {
			if (len)
				memcpy(value, have, len);
			value[len] = 0;
		} else if (err >= 0 && have_key) {
			err = -EUCLEAN;
		}
	}
	rados_omap_get_end(iter); /* there whatever came of the operation */
	rados_release_read_op(op);
	return err < 0 ? err : 0;
}

/* ---- all records whose key begins so ---- */

struct page {
	rados_omap_iter_t iter;
	unsigned char more;
	int prval;
};

static int page_read(struct rbd_store *s, const char *after, const char *prefix, struct page *p)
{
	rados_read_op_t op = rados_create_read_op();
	int err;

	memset(p, 0, sizeof(*p));
	rados_read_op_omap_get_vals2(op, after, prefix, PAGE_RECORDS, &p->iter, &p->more, &p->prval);
	err = rados_read_op_operate(op, s->cluster.io, s->object, 0);
	rados_release_read_op(op);
	if (err >= 0)
		err = p->prval;
	if (err < 0)
		rados_omap_get_end(p->iter); /* there whatever came of the operation */
	return err;
}

typedef int each_fn(void *arg, const char *key, size_t key_len, const char *value, size_t value_len);

/* librados takes where to go on as a C string, and keys of records may hold zero bytes. So what begins with a key is read anew
 * from its part before the zero, and what was told already is passed over. */
struct cursor {
	char key[RBD_KEY_BYTES];
	size_t len;
	bool any;
};

static bool told(const struct cursor *c, const char *key, size_t len)
{
	size_t both = len < c->len ? len : c->len;
	int order = memcmp(key, c->key, both);

	return c->any && (order < 0 || (order == 0 && len <= c->len));
}

static int page_tell(struct page *p, struct cursor *c, each_fn *each, void *arg, unsigned *count)
{
	char *key, *value;
	size_t key_len, value_len;
	int err;

	for (;;) {
		err = rados_omap_get_next2(p->iter, &key, &value, &key_len, &value_len);
		if (err < 0 || !key)
			return err;
		if (told(c, key, key_len))
			continue;
		if (key_len > sizeof(c->key))
			return -EUCLEAN;
		memcpy(c->key, key, key_len);
		c->len = key_len;
		c->any = true;
		++*count;
		err = each(arg, key, key_len, value, value_len);
		if (err)
			return err;
	}
}

static int records(struct rbd_store *s, const char *prefix, each_fn *each, void *arg)
{
	struct cursor c = {0};

	for (;;) {
		char after[RBD_KEY_BYTES + 1] = "";
		struct page p;
		unsigned count = 0;

		memcpy(after, c.key, c.len);
		int err = page_read(s, after, prefix, &p);
		if (err < 0)
			return err;
		err = page_tell(&p, &c, each, arg, &count);
		rados_omap_get_end(p.iter);
		if (err || !p.more)
			return err;
		if (!count)
			return -EUCLEAN; /* more than a page of keys that differ behind a zero byte only */
	}
}

struct iterate_arg {
	int (*each)(void *arg, const void *key, size_t key_len, const void *value, size_t value_len);
	void *arg;
};

static int iterate_each(void *arg, const char *key, size_t key_len, const char *value, size_t value_len)
{
	const struct iterate_arg *a = arg;

	return a->each(a->arg, key + 2, key_len - 2, value, value_len);
}

int rbd_catalogue_iterate(struct store *store, enum store_table table,
	int (*each)(void *arg, const void *key, size_t key_len, const void *value, size_t value_len),
	void *arg)
{
	struct iterate_arg a = {each, arg};
	char prefix[RBD_KEY_BYTES];

	prefix[rbd_record_key(prefix, table, "", 0)] = 0;
	return records(rbd_store_of(store), prefix, iterate_each, &a);
}

/* ---- at the opening ---- */

static int load_disk(void *arg, const char *key, size_t key_len, const char *value, size_t value_len)
{
	struct rbd_store *s = arg;
	char image[RBD_IMAGE_NAME_BYTES];
	uint64_t id, size_bytes;

	if (!rbd_disk_key_parse(key, key_len, &id) ||
		!rbd_disk_value_parse(value, value_len, &size_bytes, image))
		return -EUCLEAN;
	if (!rbd_disk_new(s, id, size_bytes, image))
		return -ENOMEM;
	s->disk_count++;
	if (id >= s->next_id)
		s->next_id = id + 1;
	return 0;
}

static int load_todo(void *arg, const char *key, size_t key_len, const char *value, size_t value_len)
{
	char image[RBD_IMAGE_NAME_BYTES];

	(void)value, (void)value_len;
	if (!rbd_image_of_key(image, key, key_len))
		return -EUCLEAN;
	return rbd_reclaim(arg, image, true, NULL, 0) ? 0 : -ENOMEM;
}

static int load_tie(void *arg, const char *key, size_t key_len, const char *value, size_t value_len)
{
	char image[RBD_IMAGE_NAME_BYTES];
	struct rbd_tie t;

	if (!rbd_image_of_key(image, key, key_len) || !rbd_tie_parse(value, value_len, &t))
		return -EUCLEAN;
	return rbd_tie_found(arg, image, &t);
}

struct disks_arg {
	int (*each)(void *arg, uint64_t id, uint64_t size_bytes, uint64_t data);
	void *arg;
	const char *array;
};

static int disks_each(void *arg, const char *key, size_t key_len, const char *value, size_t value_len)
{
	const struct disks_arg *a = arg;
	char image[RBD_IMAGE_NAME_BYTES];
	uint64_t id, size_bytes;

	if (!rbd_disk_key_parse(key, key_len, &id) ||
		!rbd_disk_value_parse(value, value_len, &size_bytes, image))
		return -EUCLEAN;
	return a->each(a->arg, id, size_bytes, rbd_image_data(a->array, image));
}

int rbd_catalogue_disks(struct rbd_store *s,
	int (*each)(void *arg, uint64_t id, uint64_t size_bytes, uint64_t data), void *arg)
{
	struct disks_arg a = {each, arg, s->array};

	return records(s, "disk.", disks_each, &a);
}

int rbd_catalogue_load(struct rbd_store *s, struct fault *f)
{
	char next[24], disks[24];
	uint64_t count = 0;
	int err = rbd_catalogue_header(s->cluster.io, s->object, RBD_HEAD_NEXT, next, sizeof(next));

	if (!err)
		err = rbd_catalogue_header(s->cluster.io, s->object, RBD_HEAD_DISKS, disks, sizeof(disks));
	if (!err && (!rbd_number_parse(next, &s->next_id) || !rbd_number_parse(disks, &count)))
		err = -EUCLEAN;
	if (!err)
		err = records(s, "disk.", load_disk, s);
	if (!err)
		err = records(s, "todo.", load_todo, s);
	/* Before the sweep deletes what no record names: are they all there? */
	if (!err && count != s->disk_count)
		err = -EUCLEAN;
	if (!err)
		err = records(s, "flat.", load_tie, s);
	if (err == -EUCLEAN)
		return fault_set(f, err,
			"the catalogue of the array (object %s) is damaged: it names %u disks, of %" PRIu64
			" or not in the words that are known; nothing was changed",
			s->object, s->disk_count, count);
	return err;
}
