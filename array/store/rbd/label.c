/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the administrator of the cluster sees of an image: the LUN that it is, as metadata of the image (rbd image-meta list). A
 * clone has its original's, which Ceph copies, until its own is written. It is written by the class that librbd writes it by, for which
 * the image need not be open: an array has more images than are in use.
 *
 * One thread does it, while none hangs, and the next label of an image waits for the one before, so that they come in their order. One
 * that cannot be written is tried again, and no other is taken meanwhile. Where the store ends, or is to go to another umbrad, one that
 * waits for an OSD is given up: the next start mends it.
 */
#include "array/store/rbd/rbd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define UNDER_WAY_MAX 16u
#define PREFIX        "umbra."
#define VALUE_BYTES   256
#define RETRY_MS      5000u
#define RETRY_MAX_MS  300000u
#define PAUSE_NS      200000
#define PAUSE_MAX_NS  20000000
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
	int err;
	struct list_node link;  /* of the store's that are under way, or failed */
	struct labelling *next; /* of the same image, the newest; or NULL */
};

/* ---- on the worker ---- */

static void row_take(void *arg, const char *key, size_t key_len, const char *value, size_t value_len)
{
	struct rows *out = arg;

	for (unsigned i = 0; i < ROWS; i++)
		if (strlen(keys[i]) == key_len && memcmp(keys[i], key, key_len) == 0)
			snprintf(out->values[i], VALUE_BYTES, "%.*s", (int)value_len, value);
}

/* -ECANCELED: it was given up. It may come to be all the same. */
static int await(struct rbd_store *s, rados_completion_t c)
{
	struct timespec pause = {.tv_nsec = PAUSE_NS};
	int err;

	while (!rados_aio_is_complete(c)) {
		if (rbd_leaves(s)) /* again where librados was just about to send it to another OSD */
			rados_aio_cancel(s->cluster.io, c);
		nanosleep(&pause, NULL);
		if (pause.tv_nsec < PAUSE_MAX_NS)
			pause.tv_nsec *= 2;
	}
	err = rados_aio_get_return_value(c);
	rados_aio_release(c);
	return err;
}

/* What the class answers. The memory of an answer that nobody waits for any more is librados' own. */
static int exec(struct rbd_store *s, const char *object, const char *method, const struct rbd_bytes *in,
	struct rbd_bytes *out)
{
	rados_read_op_t op = rados_create_read_op();
	rados_completion_t c;
	char *answer = NULL;
	size_t len = 0;
	int result = 0, err = rados_aio_create_completion2(NULL, NULL, &c);

	out->len = 0;
	if (err < 0) {
		rados_release_read_op(op);
		return err;
	}
	rados_read_op_exec(op, "rbd", method, (const char *)in->data, in->len, &answer, &len, &result);
	err = rados_aio_read_op_operate(op, s->cluster.io, c, object, 0);
	if (err < 0)
		rados_aio_release(c);
	else
		err = await(s, c);
	rados_release_read_op(op);
	if (err >= 0)
		err = result < 0 ? result : len > sizeof(out->data) ? -EMSGSIZE : 0;
	if (err >= 0) {
		memcpy(out->data, answer, len);
		out->len = len;
	}
	if (answer)
		rados_buffer_free(answer);
	return err;
}

static int header_of(struct rbd_store *s, const char *image, char header[RBD_OBJECT_BYTES])
{
	struct rbd_bytes none = {.len = 0}, answer;
	char object[RBD_OBJECT_BYTES], id[RBD_ID_BYTES];
	int err;

	rbd_id_object(object, image);
	err = exec(s, object, "get_id", &none, &answer);
	if (err < 0)
		return err;
	if (!rbd_id_parse(&answer, id))
		return -EUCLEAN;
	rbd_header_object(header, id);
	return 0;
}

/* What is there. */
static int rows_read(struct rbd_store *s, const char *header, struct rows *out)
{
	struct rbd_bytes in = {.len = 0}, list;
	int err;

	memset(out, 0, sizeof(*out));
	rbd_put_text(&in, PREFIX);
	rbd_put_u32(&in, LIST_MAX); /* 64 bits */
	rbd_put_u32(&in, 0);
	err = exec(s, header, "metadata_list", &in, &list);
	if (err < 0)
		return err;
	return rbd_pairs_parse(&list, row_take, out) ? 0 : -EUCLEAN;
}

/* As one. An image that has gone meanwhile does not come back by it. */
static int rows_write(struct rbd_store *s, const char *header, const struct rows *r)
{
	struct rbd_bytes set = {.len = 0};
	rados_write_op_t op;
	rados_completion_t c;
	size_t count = 0;
	int err = rados_aio_create_completion2(NULL, NULL, &c);

	if (err < 0)
		return err;
	op = rados_create_write_op();
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
	err = rados_aio_write_op_operate(op, s->cluster.io, c, header, NULL, 0);
	if (err < 0)
		rados_aio_release(c);
	else
		err = await(s, c);
	rados_release_write_op(op);
	return err;
}

static void label_work(struct rbd_job *job)
{
	struct labelling *l = container_of(job, struct labelling, job);
	struct rbd_store *s = l->s;
	char header[RBD_OBJECT_BYTES];
	struct rows have;

	l->err = rbd_leaves(s) ? -ECANCELED : header_of(s, l->image, header);
	if (l->err < 0)
		return;
	/* What cannot be read is written. */
	if (rows_read(s, header, &have) < 0 || memcmp(&have, &l->want, sizeof(have)) != 0)
		l->err = rows_write(s, header, &l->want);
}

/* ---- on the reactor ---- */

static void label_done(struct rbd_job *job);

static void start(struct labelling *l)
{
	struct rbd_store *s = l->s;

	s->labels++;
	s->busy++;
	list_push_back(&s->labels_running, &l->link);
	l->job.work = label_work;
	l->job.done = label_done;
	rbd_work(&s->workers, RBD_LANE_LABEL, &l->job);
}

static void again(struct reactor_timer *timer)
{
	struct rbd_store *s = container_of(timer, struct rbd_store, label_timer);
	struct list_node *n;

	if (atomic_load(&s->resting)) { /* the array may stay here after all */
		reactor_timer_arm(s->base.reactor, timer, RETRY_MS);
		return;
	}
	while ((n = list_pop(&s->labels_failed)))
		start(container_of(n, struct labelling, link));
}

/* -ENOENT: the image has gone, or is another's name now. */
static bool is_to_be_tried_again(const struct labelling *l)
{
	return l->err < 0 && l->err != -ENOENT && !l->s->closing && !atomic_load(&l->s->lease.lost);
}

static void label_done(struct rbd_job *job)
{
	struct labelling *l = container_of(job, struct labelling, job);
	struct rbd_store *s = l->s;
	uint64_t delay_ms = (uint64_t)RETRY_MS << (s->label_tries < 6 ? s->label_tries : 6);

	s->labels--;
	list_remove(&l->link);
	if (l->next && (s->closing || atomic_load(&s->lease.lost))) {
		free(l->next);
		l->next = NULL;
	}
	if (l->next) {
		start(l->next);
		free(l);
	} else if (is_to_be_tried_again(l)) {
		list_push_back(&s->labels_failed, &l->link);
		if (!s->label_timer.heap_index) {
			s->label_tries++;
			s->label_timer.fire = again;
			reactor_timer_arm(s->base.reactor, &s->label_timer,
				delay_ms < RETRY_MAX_MS ? delay_ms : RETRY_MAX_MS);
		}
	} else {
		s->label_tries = l->err < 0 ? s->label_tries : 0;
		free(l);
	}
	rbd_busy_end(s);
}

void rbd_label_stop(struct rbd_store *s)
{
	struct list_node *n;

	reactor_timer_disarm(s->base.reactor, &s->label_timer);
	while ((n = list_pop(&s->labels_failed)))
		free(container_of(n, struct labelling, link));
}

static void want(struct labelling *l, enum row row, const char *value)
{
	if (value)
		snprintf(l->want.values[row], VALUE_BYTES, "%s", value);
}

static struct labelling *under_way(struct rbd_store *s, const char *image)
{
	list_for_each (n, &s->labels_running) {
		struct labelling *l = container_of(n, struct labelling, link);

		if (strcmp(l->image, image) == 0)
			return l;
	}
	return NULL;
}

bool rbd_label(struct store_disk *disk, const struct store_label *label)
{
	struct rbd_store *s = rbd_store_of(disk->store);
	struct labelling *l, *before;

	if (s->labels >= UNDER_WAY_MAX || !list_empty(&s->labels_failed) || s->closing ||
		atomic_load(&s->resting))
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
	before = under_way(s, l->image);
	if (!before) {
		start(l);
		return true;
	}
	free(before->next);
	before->next = l;
	return true;
}

/* As rbd(8) takes it. */
void rbd_place(const struct store_disk *disk, char out[STORE_PLACE_BYTES])
{
	const struct rbd_store *s = rbd_store_of(disk->store);

	snprintf(out, STORE_PLACE_BYTES, "%s/%s%s%s", s->pool, s->space, *s->space ? "/" : "",
		rbd_disk_of(disk)->image->name);
}
