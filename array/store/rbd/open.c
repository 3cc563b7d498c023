/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making an array in a Ceph pool, and taking one: the connection, the lease, which may be long in coming (lease.c), the records, and a
 * sweep of what a crash left. All that runs on the thread that opens, before anybody has the store; what has to do with the reactor
 * begins after it, by one message. Where any of it fails, what was begun is ended, and the array given back.
 */
#include "array/store/rbd/rbd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int object_name(char out[80], const char *array, struct fault *f)
{
	if (!store_module_array_ok(array))
		return fault_set(f, -EINVAL,
			"an array's name has 1 to %d characters out of a-z, 0-9, \".\" and \"-\"",
			STORE_MODULE_ARRAY_MAX_BYTES);
	snprintf(out, 80, "umbra.%s", array);
	return 0;
}

static const char *array_of(const struct store_module_options *o)
{
	return o->array ? o->array : STORE_MODULE_ARRAY;
}

struct left {
	const char *array;
	char image[RBD_IMAGE_NAME_BYTES];
};

static int left_find(void *arg, const char *name)
{
	struct left *l = arg;
	uint64_t id, copy;

	if (!rbd_image_name_parse(name, l->array, &id, &copy))
		return 0;
	snprintf(l->image, sizeof(l->image), "%s", name);
	return 1;
}

/* 1: the pool has images of such an array, and no records of it: they were lost, and a new array's first start would delete the images. */
static int left_alone(struct rbd_cluster *c, const char *object, struct left *l)
{
	uint64_t size;
	time_t when;
	int err = rados_stat(c->io, object, &size, &when);

	return err == -ENOENT ? rbd_images_each(c->io, left_find, l) : err < 0 ? err : 0;
}

int rbd_module_create(const struct store_module_options *o, struct fault *f)
{
	struct rbd_cluster c;
	struct fault why = {0};
	struct left left = {.array = array_of(o)};
	char object[80];
	int err = object_name(object, array_of(o), f);

	if (!err)
		err = rbd_cluster_connect(&c, o, f);
	if (err)
		return err;
	err = left_alone(&c, object, &left);
	if (err == 1)
		err = fault_set(&why, -ENOTEMPTY,
			"the pool %s has no records of an array named %s, but images (%s), which the new array would delete as "
			"nobody's: choose another name (--array), or rename or delete them (rbd ls)",
			o->ceph_pool, left.array, left.image);
	else if (err < 0)
		rbd_open_fault(&why, err, o, "list the pool's images");
	else
		err = rbd_catalogue_create(&c, object, &why);
	rbd_cluster_close(&c);
	if (err == -EEXIST)
		return fault_set(f, err, "the pool %s holds an array named %s already: choose another name",
			o->ceph_pool, array_of(o));
	if (why.err) {
		if (f)
			*f = why;
		return err;
	}
	return err < 0 ? rbd_open_fault(f, err, o, "make the array's catalogue") : 0;
}

static struct rbd_store *store_new(const struct store_module_options *o, struct reactor *r)
{
	struct rbd_store *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->base.ops = &rbd_ops;
	s->base.reactor = r;
	s->notice = o->notice;
	s->fenced = o->fenced;
	s->notice_arg = o->notice_arg;
	s->cards.user = o->cards;
	s->moved = o->moved;
	snprintf(s->pool, sizeof(s->pool), "%s", o->ceph_pool);
	snprintf(s->space, sizeof(s->space), "%s", o->ceph_namespace ? o->ceph_namespace : "");
	snprintf(s->array, sizeof(s->array), "%s", array_of(o));
	snprintf(s->room_object, sizeof(s->room_object), "umbra-room.%s", s->array);
	s->next_id = 1;
	s->patience_ms = RBD_PATIENCE_MS;
	for (unsigned i = 0; i < RBD_BUCKETS; i++)
		list_init(&s->buckets[i]);
	list_init(&s->images);
	list_init(&s->renewals);
	list_init(&s->kept);
	list_init(&s->held);
	list_init(&s->txns);
	list_init(&s->todos);
	list_init(&s->removals);
	pthread_mutex_init(&s->removals_lock, NULL);
	list_init(&s->labels_running);
	list_init(&s->labels_failed);
	rbd_wire_init(s, o->wire);
	return s;
}

/* Not only when the array is to be taken from one that is gone, which would be too late. */
static void look_at_rights(struct rbd_store *s, const struct store_module_options *o)
{
	if (rbd_cluster_may_blocklist(&s->cluster))
		rbd_notice(s,
			"Ceph does not allow client.%s to lock out an umbrad that is gone (ceph osd blocklist), and without that nobody "
			"can take the array over: give it the caps mon 'profile rbd' (ceph auth caps)",
			o->client_id && *o->client_id ? o->client_id : "admin");
}

static int take(struct rbd_store *s, const struct store_module_options *o, struct fault *f)
{
	int err = rbd_lease_take(s, o, f);

	if (err)
		return err;
	err = rbd_catalogue_load(s, f);
	if (err && err != -EUCLEAN)
		return rbd_open_fault(f, err, o, "read the array's catalogue");
	if (!err) {
		err = rbd_sweep(s);
		if (err)
			return rbd_open_fault(f, err, o, "list the pool's images");
	}
	return err;
}

/* What has to do with the reactor begins on its thread. */
static void opened(struct reactor_message *m)
{
	struct rbd_store *s = container_of(m, struct rbd_store, opened);

	if (s->closing)
		return;
	rbd_wire_owned(s);
	rbd_room_tell(s);
	rbd_reclaim_start(s);
}

/* Where the lease or the wire has left something for the reactor's thread, it is that thread that frees the store. */
static void given_up(struct reactor_message *m)
{
	struct rbd_store *s = container_of(m, struct rbd_store, opened);

	rbd_wire_end(s);
	rbd_store_free(s);
}

static void give_up(struct rbd_store *s)
{
	if (!s->lease.running)
		rbd_cards_leave(s);
	rbd_wire_quiesce(s);
	rbd_lease_release(s);
	if (!s->wire.user && !atomic_load(&s->lease.telling) && !atomic_load(&s->lease.renewed_posted)) {
		rbd_store_free(s);
		return;
	}
	s->opened.call = given_up;
	reactor_post(s->base.reactor, &s->opened);
}

int rbd_module_open(
	const struct store_module_options *o, struct reactor *r, struct store **out, struct fault *f)
{
	struct rbd_store *s = store_new(o, r);
	int err;

	if (!s)
		return fault_set(f, -ENOMEM, FAULT_NO_MEMORY);
	err = object_name(s->object, s->array, f);
	if (!err)
		err = rbd_cluster_connect(&s->cluster, o, f);
	if (err) {
		rbd_wire_fini(s);
		pthread_mutex_destroy(&s->removals_lock);
		free(s);
		return err;
	}
	rbd_lease_init(s);
	rbd_wire_begin(s);
	err = rbd_workers_start(&s->workers, r);
	if (err)
		fault_set(f, err, FAULT_NO_MEMORY);
	else {
		look_at_rights(s, o);
		err = take(s, o, f);
	}
	if (err) {
		give_up(s);
		return err;
	}
	rbd_cluster_room(&s->cluster, s->pool, &s->room);
	s->open = true;
	s->opened.call = opened;
	reactor_post(r, &s->opened);
	*out = &s->base;
	return 0;
}
