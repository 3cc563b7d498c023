/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images: a LUN's data as of one instant, held for an offloaded copy. An image is a cut through one LUN and a
 * fork that no host sees. Its record in the catalogue says only that the next start is to delete the disk.
 *
 * An image without users is dying. A change deletes all images that are dying when it begins. If a deletion
 * fails, it is tried again with the next image, or after a restart.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "array/model/lun/internal.h"

#define IMAGES_MAX        4096u
#define IMAGE_TURNS_MAX   1024u
#define IMAGE_PATIENCE_MS 120000u /* where the store can give a cut up */

struct taking {
	struct array_turn turn;
	struct array *array;     /* NULL: closed */
	struct lun *lun;         /* held */
	struct array_call *call; /* NULL: answered */
	struct store_disk *source;
	struct store_cut cut;
	struct reactor_timer patience;
	bool in_store, gate_closed;
	struct lun_image *image;
};

/* ---- taking ----------------------------------------------------------------------------------------- */

static void taking_free(struct taking *k)
{
	free(k->image);
	free(k);
}

static void taking_end(struct taking *k, int err, const char *what)
{
	struct array *a = k->array;
	struct array_call *call = k->call;
	struct fault fault;

	reactor_timer_disarm(a->options.reactor, &k->patience);
	array_turn_leave(a, &k->turn);
	if (k->in_store)
		lun_box_of(k->lun)->cutting--;
	call->image = NULL;
	if (err) {
		array_store_fault(&fault, err, what);
		a->luns->image_count--;
	} else {
		list_push_back(&a->luns->images, &k->image->link);
		lun_label_due_image(k->image);
		call->image = k->image;
		k->image = NULL;
	}
	lun_release(k->lun);
	taking_free(k);
	array_call_end(call, err, &fault);
	array_turns_run(a);
}

static void taking_durable(void *arg, int err)
{
	struct taking *k = arg;

	if (!k->array) {
		taking_free(k);
		return;
	}
	if (!err)
		k->array->meta_durable = true;
	taking_end(k, err, "an image could not be made durable");
}

static int taking_build(struct taking *k, struct store_txn *t)
{
	const struct store_ops *ops = k->array->options.store->ops;
	int err = array_meta_put(k->array, t);

	if (!err)
		err = ops->txn_disk_fork(t, &k->cut, 0, &k->image->disk);
	if (err)
		return err;
	k->image->size_bytes = ops->disk_size(k->image->disk);
	return lun_image_record_put(k->array, t, ops->disk_id(k->image->disk));
}

static void gate_open(struct taking *k)
{
	if (!k->gate_closed)
		return;
	k->gate_closed = false;
	lun_gate_open(k->lun);
}

static void patience_ends(struct reactor_timer *t)
{
	struct taking *k = container_of(t, struct taking, patience);

	if (!array_cut_give_up(k->array, &k->cut))
		return;
	gate_open(k);
	taking_end(k, -ETIME, "the store did not cut the LUN in time");
}

static void taking_cut_done(void *arg, int err)
{
	struct taking *k = arg;
	struct store *store = k->source->store;
	struct store_txn *t;

	if (!k->array) {
		if (!err)
			store->ops->cut_drop(&k->cut);
		taking_free(k);
		return;
	}
	gate_open(k);
	if (err) {
		taking_end(k, err, "the cut failed");
		return;
	}
	t = store->ops->txn_begin(store);
	err = t ? taking_build(k, t) : -ENOMEM;
	if (!err) {
		store->ops->cut_commit(&k->cut, t, taking_durable, k);
		return;
	}
	if (t)
		store->ops->txn_drop(t);
	store->ops->cut_drop(&k->cut);
	taking_end(k, err, "an image could not be prepared");
}

static void gate_close(struct store_cut *cut)
{
	struct taking *k = container_of(cut, struct taking, cut);

	if (!k->array)
		return;
	k->gate_closed = true;
	lun_gate_close(k->lun);
}

static void taking_begin(struct array_turn *turn)
{
	struct taking *k = container_of(turn, struct taking, turn);
	struct store *store = k->array->options.store;

	if (k->lun->gone || k->lun->resyncing) {
		taking_end(k, k->lun->gone ? -ENODEV : -EBUSY, "the LUN is not there just now");
		return;
	}
	k->source = k->lun->disk;
	k->cut.disks = &k->source;
	k->cut.count = 1;
	k->cut.begins = gate_close;
	k->in_store = true;
	k->patience.fire = patience_ends;
	if (store->ops->cut_give_up)
		reactor_timer_arm(k->array->options.reactor, &k->patience, IMAGE_PATIENCE_MS);
	lun_box_of(k->lun)->cutting++;
	store->ops->cut(store, &k->cut, taking_cut_done, k);
}

static void taking_orphan(struct array_turn *turn)
{
	struct taking *k = container_of(turn, struct taking, turn);

	reactor_timer_disarm(k->array->options.reactor, &k->patience);
	k->array = NULL;
	if (!k->in_store)
		taking_free(k);
}

void lun_image_take(struct lun *lun, struct array_call *call)
{
	struct array *a = lun->array;
	struct taking *k;

	call->image = NULL;
	if (a->turn_count > IMAGE_TURNS_MAX || a->luns->image_count >= IMAGES_MAX) {
		array_call_refuse(call, -EBUSY, "%u images of LUNs, %u cuts waiting; try again",
			a->luns->image_count, a->turn_count);
		return;
	}
	k = calloc(1, sizeof(*k));
	if (k)
		k->image = calloc(1, sizeof(*k->image));
	if (!k || !k->image) {
		free(k);
		array_call_refuse(call, -ENOMEM, FAULT_NO_MEMORY);
		return;
	}
	k->array = a;
	k->lun = lun;
	k->call = call;
	k->image->array = a;
	k->image->users = 1;
	memcpy(k->image->of, lun->name, sizeof(k->image->of));
	k->turn.begin = taking_begin;
	k->turn.orphan = taking_orphan;
	a->luns->image_count++;
	lun_hold(lun);
	array_turn_aside(a, &k->turn);
}

/* ---- letting go ------------------------------------------------------------------------------------- */

struct burial {
	struct change c;
	struct list images;
};

static int burial_check(struct change *c)
{
	(void)c;
	return 0;
}

static int burial_build(struct change *c, struct store_txn *t)
{
	const struct store_ops *ops = c->array->options.store->ops;
	int err = 0;

	list_for_each (n, &container_of(c, struct burial, c)->images) {
		struct lun_image *i = container_of(n, struct lun_image, link);

		err = lun_image_record_del(c->array, t, ops->disk_id(i->disk));
		if (!err)
			err = ops->txn_disk_delete(t, i->disk);
		if (err)
			break;
	}
	return err;
}

static void burial_end(struct change *c, int err)
{
	struct burial *b = container_of(c, struct burial, c);
	struct array *a = c->array;
	struct list_node *n;

	a->luns->images_burying = false;
	while ((n = list_pop(&b->images))) {
		if (err) {
			list_push_back(&a->luns->images_dying, n);
			continue;
		}
		free(container_of(n, struct lun_image, link));
		a->luns->image_count--;
	}
	if (!err)
		lun_images_bury(a);
}

/* The array was closed before the store answered. */
static void burial_clear(struct change *c)
{
	struct burial *b = container_of(c, struct burial, c);
	struct list_node *n;

	while ((n = list_pop(&b->images)))
		free(container_of(n, struct lun_image, link));
}

void lun_images_bury(struct array *a)
{
	static const struct change_ops ops = {
		.check = burial_check, .build = burial_build, .end = burial_end, .clear = burial_clear};
	struct list_node *n;
	struct burial *b;

	if (a->luns->images_burying || list_empty(&a->luns->images_dying))
		return;
	b = change_new(a, sizeof(*b), &ops, NULL);
	if (!b)
		return;
	list_init(&b->images);
	while ((n = list_pop(&a->luns->images_dying)))
		list_push_back(&b->images, n);
	a->luns->images_burying = true;
	change_submit(&b->c);
}

int lun_image_left_over(struct array *a, struct store_disk *disk)
{
	struct lun_image *i = calloc(1, sizeof(*i));

	if (!i)
		return -ENOMEM;
	i->array = a;
	i->disk = disk;
	a->luns->image_count++;
	list_push_back(&a->luns->images_dying, &i->link);
	return 0;
}

void lun_images_close(struct array *a)
{
	struct list_node *n;

	while ((n = list_pop(&a->luns->images)) || (n = list_pop(&a->luns->images_dying))) {
		struct lun_image *i = container_of(n, struct lun_image, link);

		list_remove(&i->label_link);
		free(i);
	}
}

void lun_image_hold(struct lun_image *i)
{
	i->users++;
}

void lun_image_release(struct lun_image *i)
{
	assert(i->users > 0);
	if (--i->users > 0)
		return;
	list_remove(&i->link);
	list_remove(&i->label_link);
	list_push_back(&i->array->luns->images_dying, &i->link);
	lun_images_bury(i->array);
}
