/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the administrator of the cluster sees of an image: the LUN that it is, as metadata of the image (rbd image-meta list). A
 * clone has its original's, which Ceph copies, until its own is written. It is written by the class that librbd writes it by, for which
 * the image need not be open: an array has more images than are in use.
 *
 * One thread does it, so that the labels of an image come in their order. One that cannot be written is left for the next start: a
 * LUN does without.
 */
#include "array/store/rbd/rbd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNDER_WAY_MAX 16u
#define PREFIX        "umbra."
#define VALUE_BYTES   256
#define LIST_MAX      32u /* of an image's metadata that are looked at, from ours on */

enum row {
	ROW_ARRAY,
	ROW_LUN,
	ROW_NAA,
	ROW_KIND,
	ROW_COPY_OF,
	ROW_SET,
	ROWS
};
static const char *const keys[ROWS] = {
	PREFIX "array", PREFIX "lun", PREFIX "naa", PREFIX "kind", PREFIX "copy-of", PREFIX "set"};

struct rows {
	char values[ROWS][VALUE_BYTES]; /* "": it is not there */
};

struct labelling {
	struct rbd_job job;
	struct rbd_store *s;
	char image[RBD_IMAGE_NAME_BYTES];
	struct rows want;
};

/* ---- on the worker ---- */

static void row_take(struct rows *out, const char *key, size_t key_len, const char *value, size_t value_len)
{
	for (unsigned i = 0; i < ROWS; i++)
		if (strlen(keys[i]) == key_len && memcmp(keys[i], key, key_len) == 0)
			snprintf(out->values[i], VALUE_BYTES, "%.*s", (int)value_len, value);
}

/* What is there. False: it is not known. */
static bool rows_read(struct rbd_store *s, const char *header, struct rows *out)
{
	struct rbd_bytes in = {.len = 0}, list;
	size_t at = 0, count;
	int got;

	memset(out, 0, sizeof(*out));
	rbd_put_text(&in, PREFIX);
	rbd_put_u32(&in, LIST_MAX); /* 64 bits */
	rbd_put_u32(&in, 0);
	got = rados_exec(s->cluster.io, header, "rbd", "metadata_list", (const char *)in.data, in.len,
		(char *)list.data, sizeof(list.data));
	if (got < 0)
		return false;
	list.len = (size_t)got;
	if (!rbd_take_u32(&list, &at, &count))
		return false;
	for (; count; count--) {
		const char *key, *value;
		size_t key_len, value_len;

		if (!rbd_take_text(&list, &at, &key, &key_len) ||
			!rbd_take_text(&list, &at, &value, &value_len))
			return false;
		row_take(out, key, key_len, value, value_len);
	}
	return true;
}

/* As one. An image that has gone meanwhile does not come back by it. */
static void rows_write(struct rbd_store *s, const char *header, const struct rows *r)
{
	rados_write_op_t op = rados_create_write_op();
	struct rbd_bytes set = {.len = 0};
	size_t count = 0;

	for (unsigned i = 0; i < ROWS; i++)
		count += r->values[i][0] != 0;
	rbd_put_u32(&set, count);
	for (unsigned i = 0; i < ROWS; i++) {
		if (!r->values[i][0])
			continue;
		rbd_put_text(&set, keys[i]);
		rbd_put_text(&set, r->values[i]);
	}
	rados_write_op_assert_exists(op);
	rados_write_op_exec(op, "rbd", "metadata_set", (const char *)set.data, set.len, NULL);
	for (unsigned i = 0; i < ROWS; i++) {
		struct rbd_bytes key = {.len = 0};

		if (r->values[i][0])
			continue;
		rbd_put_text(&key, keys[i]);
		rados_write_op_exec(op, "rbd", "metadata_remove", (const char *)key.data, key.len, NULL);
	}
	rados_write_op_operate(op, s->cluster.io, header, NULL, 0);
	rados_release_write_op(op);
}

static void label_work(struct rbd_job *job)
{
	struct labelling *l = container_of(job, struct labelling, job);
	struct rbd_store *s = l->s;
	char id[64], header[80];
	struct rows have;

	if (atomic_load(&s->ending) || atomic_load(&s->lease.lost) || rbd_image_id(s, l->image, id) < 0)
		return;
	snprintf(header, sizeof(header), "rbd_header.%s", id);
	if (!rows_read(s, header, &have) || memcmp(&have, &l->want, sizeof(have)) != 0)
		rows_write(s, header, &l->want);
}

/* ---- on the reactor ---- */

static void label_done(struct rbd_job *job)
{
	struct labelling *l = container_of(job, struct labelling, job);
	struct rbd_store *s = l->s;

	free(l);
	s->labels--;
	rbd_busy_end(s);
}

static void want(struct labelling *l, enum row row, const char *value)
{
	if (value)
		snprintf(l->want.values[row], VALUE_BYTES, "%s", value);
}

bool rbd_label(struct store_disk *disk, const struct store_label *label)
{
	struct rbd_store *s = rbd_store_of(disk->store);
	struct labelling *l;

	if (s->labels >= UNDER_WAY_MAX || s->closing || atomic_load(&s->resting))
		return false;
	l = calloc(1, sizeof(*l));
	if (!l)
		return false;
	l->s = s;
	memcpy(l->image, rbd_disk_of(disk)->image->name, sizeof(l->image));
	want(l, ROW_ARRAY, s->array);
	want(l, ROW_LUN, label->lun);
	want(l, ROW_NAA, label->naa);
	want(l, ROW_KIND, label->kind);
	want(l, ROW_COPY_OF, label->copy_of);
	want(l, ROW_SET, label->set);
	s->labels++;
	s->busy++;
	l->job.work = label_work;
	l->job.done = label_done;
	rbd_work(&s->workers, RBD_LANE_LABEL, &l->job);
	return true;
}

/* As rbd(8) takes it. */
void rbd_place(const struct store_disk *disk, char out[STORE_PLACE_BYTES])
{
	const struct rbd_store *s = rbd_store_of(disk->store);

	snprintf(out, STORE_PLACE_BYTES, "%s/%s%s%s", s->pool, s->space, *s->space ? "/" : "",
		rbd_disk_of(disk)->image->name);
}
