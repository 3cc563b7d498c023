/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of an array. One transaction takes all its disks and records away and says which images are to be deleted: from then on it
 * is an empty array, whether this goes on or not. When the images have gone the store closes, and in the place of giving the array
 * back deletes the catalogue. Killed anywhere, it leaves the whole array or an empty one, of which the next opening goes on
 * deleting images; so does doing this again.
 */
#include "array/store/rbd/rbd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_MS   100u
#define TRIES_MAX 2u /* of an image that cannot be deleted */
#define IDLE_MAX  3u /* so often those in the trash are tried once more, when they alone are left */

struct destroying {
	struct rbd_store *s;
	struct store_txn *t;
	struct reactor_timer timer;
	enum store_table table; /* whose records are being looked at */
	unsigned idle;
	void (*done)(void *arg, int err);
	void *arg;
};

static void finish(struct destroying *d, int err)
{
	void (*done)(void *, int) = d->done;
	void *arg = d->arg;

	reactor_timer_disarm(d->s->base.reactor, &d->timer);
	d->s->destroy = !err;
	free(d);
	done(arg, err);
}

/* An image that cannot be deleted holds up no other, but the end. */
static bool is_stuck(const struct rbd_todo *t)
{
	return !t->running && (t->parked || t->tries >= TRIES_MAX);
}

static bool is_idle(const struct rbd_store *s)
{
	list_for_each (n, &s->todos)
		if (!is_stuck(container_of(n, struct rbd_todo, link)))
			return false;
	return !s->parked_timer.heap_index;
}

static void look(struct reactor_timer *timer)
{
	struct destroying *d = container_of(timer, struct destroying, timer);
	struct rbd_store *s = d->s;

	if (atomic_load(&s->lease.lost)) {
		finish(d, -ESHUTDOWN);
		return;
	}
	if (list_empty(&s->todos)) {
		finish(d, 0);
		return;
	}
	if (is_idle(s)) {
		if (d->idle++ == IDLE_MAX) {
			finish(d, -EBUSY);
			return;
		}
		rbd_reclaim_parked(s);
	}
	reactor_timer_arm(s->base.reactor, timer, LOOK_MS);
}

static void emptied(void *arg, int err)
{
	struct destroying *d = arg;

	if (err) {
		finish(d, err);
		return;
	}
	d->timer.fire = look;
	reactor_timer_arm(d->s->base.reactor, &d->timer, LOOK_MS);
}

static int record_del(void *arg, const void *key, size_t key_len, const void *value, size_t value_len)
{
	struct destroying *d = arg;

	(void)value, (void)value_len;
	return rbd_txn_del(d->t, d->table, key, key_len);
}

static int build(struct destroying *d)
{
	struct rbd_store *s = d->s;
	int err = 0;

	for (unsigned i = 0; i < RBD_BUCKETS; i++)
		list_for_each (n, &s->buckets[i])
			if (!err)
				err = rbd_txn_disk_delete(
					d->t, &container_of(n, struct rbd_disk, link)->base);
	for (d->table = STORE_TABLE_META; !err && d->table < STORE_TABLE_COUNT; d->table++)
		err = rbd_catalogue_iterate(&s->base, d->table, record_del, d);
	return err;
}

void rbd_destroy(struct store *store, void (*done)(void *arg, int err), void *arg)
{
	struct rbd_store *s = rbd_store_of(store);
	struct destroying *d = calloc(1, sizeof(*d));
	int err;

	if (!d) {
		done(arg, -ENOMEM);
		return;
	}
	d->s = s;
	d->done = done;
	d->arg = arg;
	d->t = rbd_txn_begin(store);
	err = d->t ? build(d) : -ENOMEM;
	if (!err) {
		rbd_txn_commit(d->t, emptied, d);
		return;
	}
	if (d->t)
		rbd_txn_drop(d->t);
	finish(d, err < 0 ? rbd_err(err) : -EUCLEAN);
}

int rbd_destroy_catalogue(struct rbd_store *s)
{
	rados_write_op_t op = rbd_catalogue_op(s->epoch);
	int err;

	rados_write_op_remove(op);
	err = rados_write_op_operate(op, s->cluster.io, s->object, NULL,
		LIBRADOS_OPERATION_FULL_FORCE | LIBRADOS_OPERATION_FULL_TRY);
	rados_release_write_op(op);
	if (err >= 0) {
		rados_remove(
			s->cluster.io, s->wire.owner_object); /* there where two controllers had the array */
		rados_remove(s->cluster.io, s->room_object);  /* of one who died while it was there */
	}
	return err;
}
