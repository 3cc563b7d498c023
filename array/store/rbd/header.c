/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the header of an image says (the object rbd_header.ID), asked of the class on the OSD that librbd asks, too: for images that
 * are not to be opened, and for what librbd tells only while it holds up others (cluster.c).
 */
#include "array/store/rbd/rbd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- all that has one answer, in one operation ---- */

enum question {
	PARENT,
	OVERLAP,      /* the image's own */
	SNAP_OVERLAP, /* of the snapshot, as what follows */
	SIZE,
	FLAGS,
	FEATURES,
	QUESTIONS
};

struct answer {
	struct rbd_bytes bytes;
	int result;
};

static void ask(rados_read_op_t op, struct answer *a, const char *method, const void *in, size_t in_len)
{
	rados_read_op_exec_user_buf(op, "rbd", method, in, in_len, (char *)a->bytes.data,
		sizeof(a->bytes.data), &a->bytes.len, &a->result);
}

static int answers_get(struct answer *a, rados_ioctx_t io, const char *id, uint64_t snap)
{
	rados_read_op_t op = rados_create_read_op();
	char object[RBD_OBJECT_BYTES];
	struct rbd_bytes at = {.len = 0}, head = {.len = 0};
	int err;

	rbd_put_u64(&at, snap);
	rbd_put_u64(&head, RBD_HEAD);
	head.data[head.len] = 1; /* get_features: for reading only */
	ask(op, &a[PARENT], "parent_get", NULL, 0);
	ask(op, &a[OVERLAP], "parent_overlap_get", head.data, head.len);
	ask(op, &a[SNAP_OVERLAP], "parent_overlap_get", at.data, at.len);
	ask(op, &a[SIZE], "get_size", at.data, at.len);
	ask(op, &a[FLAGS], "get_flags", at.data, at.len);
	ask(op, &a[FEATURES], "get_features", head.data, head.len + 1);
	rbd_header_object(object, id);
	err = rados_read_op_operate(op, io, object, 0);
	rados_release_read_op(op);
	for (unsigned i = 0; i < QUESTIONS && err >= 0; i++)
		err = a[i].result;
	return err;
}

static bool answers_parse(const struct answer *a, struct rbd_header *out)
{
	return rbd_parent_parse(&a[PARENT].bytes, &out->parent) &&
	       rbd_overlap_parse(&a[OVERLAP].bytes, &out->head_overlap_bytes) &&
	       rbd_overlap_parse(&a[SNAP_OVERLAP].bytes, &out->overlap_bytes) &&
	       rbd_size_parse(&a[SIZE].bytes, &out->object_bytes, &out->size_bytes) &&
	       rbd_number_take(&a[FLAGS].bytes, &out->flags) &&
	       rbd_number_take(&a[FEATURES].bytes, &out->features);
}

int rbd_header_read(rados_ioctx_t io, const char *id, uint64_t snap, struct rbd_header *out)
{
	struct answer *a = calloc(QUESTIONS, sizeof(*a));
	int err;

	if (!a)
		return -ENOMEM;
	err = answers_get(a, io, id, snap);
	if (err >= 0 && !answers_parse(a, out))
		err = -EUCLEAN;
	free(a);
	return err;
}

/* ---- what it has several of: values of the header, each with a key of its own ---- */

/* Of the first whose key begins so: 1: it has what is looked for, which may be nothing; 0: it has not, or there is none. */
static int has(rados_ioctx_t io, const char *id, const char *prefix, const struct rbd_bytes *in_it)
{
	char object[RBD_OBJECT_BYTES], *key = NULL, *value = NULL;
	size_t key_len = 0, value_len = 0;
	rados_read_op_t op = rados_create_read_op();
	rados_omap_iter_t values = NULL;
	unsigned char more;
	int result = 0, err;

	rbd_header_object(object, id);
	rados_read_op_omap_get_vals2(op, "", prefix, 1, &values, &more, &result);
	err = rados_read_op_operate(op, io, object, 0);
	rados_release_read_op(op);
	if (err >= 0)
		err = result;
	if (err >= 0)
		err = rados_omap_get_next2(values, &key, &value, &key_len, &value_len);
	if (err >= 0)
		err = key && memmem(value, value_len, in_it->data, in_it->len);
	rados_omap_get_end(values); /* there whatever came of the operation */
	return err;
}

static const struct rbd_bytes anything;

/* One value for each snapshot that has clones, which goes with the last of them. */
int rbd_header_has_children(rados_ioctx_t io, const char *id)
{
	return has(io, id, "snap_children_", &anything);
}

/* The value is a set of pools, ids and namespaces. An id stands in it with its length before it. */
int rbd_header_names_child(rados_ioctx_t io, const char *id, uint64_t snap, const char *child)
{
	struct rbd_bytes text = {.len = 0};
	char key[40];

	snprintf(key, sizeof(key), "snap_children_%016" PRIx64, snap);
	rbd_put_text(&text, child);
	return has(io, id, key, &text);
}

int rbd_header_has_snapshots(rados_ioctx_t io, const char *id)
{
	return has(io, id, "snapshot_", &anything);
}

/* ---- the two ends of the tie between a clone and its parent ---- */

static int change(rados_ioctx_t io, const char *id, const char *method, const struct rbd_bytes *in)
{
	char object[RBD_OBJECT_BYTES], out[8];

	rbd_header_object(object, id);
	return rados_exec(io, object, "rbd", method, (const char *)in->data, in->len, out, sizeof(out));
}

int rbd_header_lose_parent(rados_ioctx_t io, const char *id)
{
	return change(io, id, "parent_detach", &anything);
}

/* The snapshot; then the child as Ceph writes it: the version, the oldest that can read it, the length of what follows. */
int rbd_header_lose_child(
	rados_ioctx_t io, const char *id, uint64_t snap, int64_t pool, const char *space, const char *child)
{
	struct rbd_bytes in = {.len = 0};

	rbd_put_u64(&in, snap);
	in.data[in.len++] = 2;
	in.data[in.len++] = 1;
	rbd_put_u32(&in, 8 + 4 + strlen(child) + 4 + strlen(space));
	rbd_put_u64(&in, (uint64_t)pool);
	rbd_put_text(&in, child);
	rbd_put_text(&in, space);
	return change(io, id, "child_detach", &in);
}
