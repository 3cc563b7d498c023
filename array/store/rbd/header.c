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

/* As the class takes a number of 64 bits. */
static void snap_bytes(uint8_t out[8], uint64_t snap)
{
	for (unsigned i = 0; i < 8; i++)
		out[i] = (uint8_t)(snap >> (8 * i));
}

static int answers_get(struct answer *a, rados_ioctx_t io, const char *id, uint64_t snap)
{
	rados_read_op_t op = rados_create_read_op();
	char object[RBD_OBJECT_BYTES];
	uint8_t head[9], at[8];
	int err;

	snap_bytes(at, snap);
	snap_bytes(head, RBD_HEAD);
	head[8] = 1; /* get_features: for reading only */
	ask(op, &a[PARENT], "parent_get", NULL, 0);
	ask(op, &a[OVERLAP], "parent_overlap_get", head, 8);
	ask(op, &a[SNAP_OVERLAP], "parent_overlap_get", at, sizeof(at));
	ask(op, &a[SIZE], "get_size", at, sizeof(at));
	ask(op, &a[FLAGS], "get_flags", at, sizeof(at));
	ask(op, &a[FEATURES], "get_features", head, sizeof(head));
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

/* 1: there is one whose key begins so and goes on; 0: there is none. */
static int has(rados_ioctx_t io, const char *id, const char *prefix)
{
	char object[RBD_OBJECT_BYTES], *key = NULL, *value = NULL;
	size_t key_len = 0, value_len = 0;
	rados_read_op_t op = rados_create_read_op();
	rados_omap_iter_t keys = NULL;
	unsigned char more;
	int result = 0, err;

	rbd_header_object(object, id);
	rados_read_op_omap_get_keys2(op, prefix, 1, &keys, &more, &result);
	err = rados_read_op_operate(op, io, object, 0);
	rados_release_read_op(op);
	if (err >= 0)
		err = result;
	if (err >= 0)
		err = rados_omap_get_next2(keys, &key, &value, &key_len, &value_len);
	if (err >= 0)
		err = key && key_len > strlen(prefix) && memcmp(key, prefix, strlen(prefix)) == 0;
	if (keys)
		rados_omap_get_end(keys);
	return err;
}

/* One value for each snapshot that has clones, which goes with the last of them. */
int rbd_header_has_children(rados_ioctx_t io, const char *id)
{
	return has(io, id, "snap_children_");
}

/* The value is a set of pools, ids and namespaces. An id stands in it with its length before it. */
static bool names(const char *value, size_t len, const char *child)
{
	struct rbd_bytes text = {.len = 0};

	rbd_put_text(&text, child);
	return memmem(value, len, text.data, text.len);
}

int rbd_header_names_child(rados_ioctx_t io, const char *id, uint64_t snap, const char *child)
{
	char object[RBD_OBJECT_BYTES], name[40], *key = NULL, *value = NULL;
	const char *const wanted[] = {name};
	size_t name_len = (size_t)snprintf(name, sizeof(name), "snap_children_%016" PRIx64, snap);
	size_t key_len = 0, value_len = 0;
	rados_read_op_t op = rados_create_read_op();
	rados_omap_iter_t values = NULL;
	int result = 0, err;

	rbd_header_object(object, id);
	rados_read_op_omap_get_vals_by_keys2(op, wanted, 1, &name_len, &values, &result);
	err = rados_read_op_operate(op, io, object, 0);
	rados_release_read_op(op);
	if (err >= 0)
		err = result;
	if (err >= 0)
		err = rados_omap_get_next2(values, &key, &value, &key_len, &value_len);
	if (err >= 0)
		err = key && names(value, value_len, child);
	if (values)
		rados_omap_get_end(values);
	return err;
}

int rbd_header_has_snapshots(rados_ioctx_t io, const char *id)
{
	return has(io, id, "snapshot_");
}

/* ---- the tie to the parent ---- */

int rbd_header_cut_tie(rados_ioctx_t io, const char *id)
{
	char object[RBD_OBJECT_BYTES], out[8];

	rbd_header_object(object, id);
	return rados_exec(io, object, "rbd", "parent_detach", NULL, 0, out, sizeof(out));
}
