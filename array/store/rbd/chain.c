/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parents of an image, and theirs, as the images' headers name them. librbd opens them all with an image, and where one is not there
 * it asks each of those below it ten times: with one missing four up it takes a minute to say so, with one ten up years. So it is not
 * asked to open an image before its chain was looked at here, an operation for each parent.
 *
 * One that is not there may be mended: where the flatten of an image was cut short (hydrate.c), or is just cutting, the image needs
 * nothing of its parent.
 */
#include "array/store/rbd/rbd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TRIES     10u
#define PAUSE_MS  50u
#define ANSWERS   5u /* of the class to one operation, at most */
#define PER_FLATS 16u
#define CHILDREN  "snap_children_"

/* ---- one image's header */

struct answer {
	struct rbd_bytes bytes;
	int result;
};

static void ask(rados_read_op_t op, struct answer *a, const char *method, const void *in, size_t in_len)
{
	a->result = 0;
	a->bytes.len = 0;
	rados_read_op_exec_user_buf(op, "rbd", method, in, in_len, (char *)a->bytes.data,
		sizeof(a->bytes.data), &a->bytes.len, &a->result);
}

/* As the class takes a number of 64 bits. */
static void snap_bytes(uint8_t out[8], uint64_t snap)
{
	for (unsigned i = 0; i < 8; i++)
		out[i] = (uint8_t)(snap >> (8 * i));
}

/* What was asked for so far: the rest stays 0. */
static int answers_get(rados_read_op_t op, const struct answer *a, rados_ioctx_t io, const char *id)
{
	char header[RBD_ID_BYTES + 16];
	int err;

	snprintf(header, sizeof(header), "rbd_header.%s", id);
	err = rados_read_op_operate(op, io, header, 0);
	rados_release_read_op(op);
	for (unsigned i = 0; i < ANSWERS && err >= 0; i++)
		err = a[i].result;
	return err;
}

static int answers_read(const struct answer *a, uint64_t snap, struct rbd_parent *out)
{
	uint64_t head_bytes, snap_bytes = 0;

	if (!rbd_parent_parse(&a[0].bytes, out) || !rbd_overlap_parse(&a[1].bytes, &head_bytes) ||
		(snap != RBD_HEAD && !rbd_overlap_parse(&a[2].bytes, &snap_bytes)))
		return -EUCLEAN;
	if (!head_bytes && !snap_bytes)
		out->pool = -1;
	return 0;
}

/* What the image, and its snapshot, need. -ENOENT: one of them is not there. */
static int parent_of(struct rbd_store *s, const char *id, uint64_t snap, struct rbd_parent *out)
{
	struct answer *a = calloc(ANSWERS, sizeof(*a));
	uint8_t head[8], at[8];
	rados_read_op_t op;
	int err;

	if (!a)
		return -ENOMEM;
	snap_bytes(head, RBD_HEAD);
	snap_bytes(at, snap);
	op = rados_create_read_op();
	ask(op, &a[0], "parent_get", NULL, 0);
	ask(op, &a[1], "parent_overlap_get", head, sizeof(head));
	if (snap != RBD_HEAD)
		ask(op, &a[2], "parent_overlap_get", at, sizeof(at));
	err = answers_get(op, a, s->cluster.io, id);
	if (err >= 0)
		err = answers_read(a, snap, out);
	free(a);
	return err;
}

int rbd_header_read(rados_ioctx_t io, const char *id, uint64_t snap, struct rbd_header *out)
{
	struct answer *a = calloc(ANSWERS, sizeof(*a));
	uint8_t at[8], head[9];
	rados_read_op_t op;
	int err;

	if (!a)
		return -ENOMEM;
	snap_bytes(at, snap);
	snap_bytes(head, RBD_HEAD);
	head[8] = 1; /* for reading only */
	op = rados_create_read_op();
	ask(op, &a[0], "parent_get", NULL, 0);
	ask(op, &a[1], "parent_overlap_get", at, sizeof(at));
	ask(op, &a[2], "get_size", at, sizeof(at));
	ask(op, &a[3], "get_flags", at, sizeof(at));
	ask(op, &a[4], "get_features", head, sizeof(head));
	err = answers_get(op, a, io, id);
	if (err >= 0 && (!rbd_parent_parse(&a[0].bytes, &out->parent) ||
				!rbd_overlap_parse(&a[1].bytes, &out->overlap_bytes) ||
				!rbd_size_parse(&a[2].bytes, &out->object_bytes, &out->size_bytes) ||
				!rbd_number_take(&a[3].bytes, &out->flags) ||
				!rbd_number_take(&a[4].bytes, &out->features)))
		err = -EUCLEAN;
	free(a);
	return err;
}

/* The class keeps the clones of a snapshot as a value of the header, which goes with the last of them. */
int rbd_header_has_children(rados_ioctx_t io, const char *id)
{
	char header[RBD_ID_BYTES + 16], *key = NULL, *value = NULL;
	size_t key_len = 0, value_len = 0;
	rados_read_op_t op = rados_create_read_op();
	rados_omap_iter_t keys = NULL;
	unsigned char more;
	int result = 0, err;

	snprintf(header, sizeof(header), "rbd_header.%s", id);
	rados_read_op_omap_get_keys2(op, CHILDREN, 1, &keys, &more, &result);
	err = rados_read_op_operate(op, io, header, 0);
	rados_release_read_op(op);
	if (err >= 0)
		err = result;
	if (err >= 0)
		err = rados_omap_get_next2(keys, &key, &value, &key_len, &value_len);
	if (err >= 0)
		err = key && key_len > strlen(CHILDREN) && memcmp(key, CHILDREN, strlen(CHILDREN)) == 0;
	if (keys)
		rados_omap_get_end(keys);
	return err;
}

/* A parent elsewhere is nobody's business here. */
bool rbd_parent_is_here(const struct rbd_store *s, const struct rbd_parent *p)
{
	return p->pool >= 0 && p->pool == rados_ioctx_get_id(s->cluster.io) &&
	       strcmp(p->space, s->space) == 0;
}

/* ---- all of them */

struct flat {
	char image[RBD_IMAGE_NAME_BYTES], id[RBD_ID_BYTES];
};
struct flats {
	struct flat *list;
	size_t count, room;
};

static const struct flat *flat_find(const struct flats *f, const char *id)
{
	for (size_t i = 0; f && i < f->count; i++)
		if (strcmp(f->list[i].id, id) == 0)
			return &f->list[i];
	return NULL;
}

/* How many parents there are, or an error; -ENOENT: one is not there. last: whose parent it is, if that is one of the flats. No other
 * is cut off: a flatten that was stopped earlier may have left what the image's snapshots need of its parent. */
static int walk(
	struct rbd_store *s, const char *image_id, const struct flats *flats, const struct flat **last)
{
	struct rbd_parent at = {.snap = RBD_HEAD}, next;

	*last = NULL;
	snprintf(at.id, sizeof(at.id), "%s", image_id);
	for (unsigned depth = 0; depth < RBD_CHAIN_LONGEST; depth++) {
		int err = parent_of(s, at.id, at.snap, &next);

		if (err == -EUCLEAN || err == -EOPNOTSUPP) /* of another Ceph, which librbd may know */
			return (int)depth;
		if (err < 0)
			return err;
		if (!rbd_parent_is_here(s, &next))
			return (int)depth;
		*last = flat_find(flats, at.id);
		at = next;
	}
	return (int)RBD_CHAIN_LONGEST;
}

static int flat_add(void *arg, const char *image, const char *id)
{
	struct flats *f = arg;

	if (f->count == f->room) {
		struct flat *list = realloc(f->list, (f->room + PER_FLATS) * sizeof(list[0]));

		if (!list)
			return -ENOMEM;
		f->list = list;
		f->room += PER_FLATS;
	}
	snprintf(f->list[f->count].image, RBD_IMAGE_NAME_BYTES, "%s", image);
	snprintf(f->list[f->count++].id, RBD_ID_BYTES, "%s", id);
	return 0;
}

/* Of one whose parent, or one of that's, is not there. 1: a flatten may be just cutting, which is to be left to it; 0: it was mended. */
static int mend(struct rbd_store *s, const char *image_id, bool wait)
{
	struct flats flats = {0};
	const struct flat *last;
	int err = rbd_catalogue_flats(s, flat_add, &flats);

	/* Anew: a flatten may have come to its end since. */
	if (!err)
		err = walk(s, image_id, &flats, &last);
	if (err == -ENOENT && last)
		err = wait && atomic_load(&s->flattening) ? 1 : rbd_flat_cut(s, last->image, last->id);
	else if (err > 0)
		err = 0;
	free(flats.list);
	return err;
}

int rbd_chain_of(struct rbd_store *s, const char *id)
{
	const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000L};
	int err;

	for (unsigned tries = 0, cuts = 0; cuts < RBD_CHAIN_LONGEST;) {
		const struct flat *last;

		err = walk(s, id, NULL, &last);
		if (err != -ENOENT)
			return err;
		err = mend(s, id, tries < TRIES);
		if (err < 0)
			return err;
		tries += err > 0;
		cuts += err == 0;
		if (err > 0)
			nanosleep(&pause, NULL);
	}
	return -ENOENT;
}

int rbd_chain(struct rbd_store *s, const char *image)
{
	char id[RBD_ID_BYTES];
	int err = rbd_image_id(s, image, id);

	return err < 0 ? err : rbd_chain_of(s, id);
}

int rbd_chain_tied(struct rbd_store *s, const char *id)
{
	struct rbd_parent parent, above;
	int err = parent_of(s, id, RBD_HEAD, &parent);

	if (err < 0)
		return err == -ENOENT ? 0 : err;
	if (!rbd_parent_is_here(s, &parent))
		return parent.pool >= 0;
	err = parent_of(s, parent.id, parent.snap, &above);
	return err == -ENOENT ? -ENOENT : err < 0 ? err : 1;
}
