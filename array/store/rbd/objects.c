/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which objects an image and its parents have. Ceph keeps a map of them beside each image and each snapshot (object-map), so this is
 * told in whole objects, 4 MiB as a rule, without looking at the data.
 *
 * librbd's rbd_diff_iterate2 would tell it, too, but asked for the parents' besides it holds a lock of the image until their answers have
 * come, which its own threads may wait for (cluster.c). It also reads the map of each snapshot, where the newest says it all. So the
 * headers and the maps are read here; librbd is asked only for a level without a map that counts, and for that alone.
 *
 * Of an image that an administrator migrates (rbd migration) what is not copied yet lies in another, which no header names as a parent;
 * one that was migrated may have objects of another size than those below it. Where such a level has its data is not asked: it has all.
 */
#include "array/store/rbd/rbd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRIES      10u
#define PER_MAP    4u  /* objects in a byte, the first in its highest bits; 0: there is none */
#define PER_LEVELS 16u /* that memory is taken for */

#define MAPS       (RBD_FEATURE_OBJECT_MAP | RBD_FEATURE_FAST_DIFF)
#define MAPS_WRONG (RBD_FLAG_OBJECT_MAP_INVALID | RBD_FLAG_FAST_DIFF_INVALID)

struct rbd_level {
	rados_ioctx_t io; /* a parent's may be elsewhere */
	bool elsewhere;
	char id[RBD_ID_BYTES];
	uint64_t snap;
	bool mapped;    /* it has a map that counts */
	bool opaque;    /* it counts as having all, and what it hangs on as having nothing */
	uint64_t bytes; /* of it can be seen so much */
	uint64_t objects;
	uint8_t *map;
};

static uint64_t objects_in(uint64_t bytes, uint64_t object_bytes)
{
	return (bytes + object_bytes - 1) / object_bytes;
}

/* ---- the headers ---- */

static struct rbd_level *level_add(struct rbd_objects *o)
{
	if (o->count % PER_LEVELS == 0) {
		struct rbd_level *levels = realloc(o->levels, (o->count + PER_LEVELS) * sizeof(levels[0]));

		if (!levels)
			return NULL;
		o->levels = levels;
	}
	struct rbd_level *l = &o->levels[o->count++];
	memset(l, 0, sizeof(*l));
	return l;
}

static int level_look(struct rbd_level *l, struct rbd_header *h, uint64_t seen_bytes)
{
	int err = rbd_header_read(l->io, l->id, l->snap, h);

	if (err < 0)
		return err;
	l->mapped = (h->features & MAPS) == MAPS && !(h->features & RBD_FEATURE_STRIPINGV2) &&
		    !(h->flags & MAPS_WRONG);
	l->opaque = h->features & RBD_FEATURE_MIGRATING;
	l->bytes = h->size_bytes < seen_bytes ? h->size_bytes : seen_bytes;
	return 0;
}

static int levels_look(struct rbd_store *s, const char *id, bool parents, struct rbd_objects *o)
{
	struct rbd_parent at = {.pool = rados_ioctx_get_id(s->cluster.io), .snap = RBD_HEAD};
	uint64_t seen_bytes = UINT64_MAX;

	snprintf(at.id, sizeof(at.id), "%s", id);
	snprintf(at.space, sizeof(at.space), "%s", s->space);
	for (;;) {
		struct rbd_level *l = level_add(o);
		struct rbd_header h;
		int err = l ? rbd_parent_io(s, &at, &l->io) : -ENOMEM;

		if (err < 0)
			return err;
		l->elsewhere = l->io != s->cluster.io;
		snprintf(l->id, sizeof(l->id), "%s", at.id);
		l->snap = at.snap;
		err = level_look(l, &h, seen_bytes);
		if (err < 0)
			return err;
		if (o->count == 1) {
			o->size_bytes = h.size_bytes;
			o->object_bytes = h.object_bytes;
		}
		l->opaque = l->opaque || h.object_bytes != o->object_bytes;
		l->objects = objects_in(l->bytes, o->object_bytes);
		seen_bytes = l->bytes < h.overlap_bytes ? l->bytes : h.overlap_bytes;
		if (!parents || l->opaque || h.parent.pool < 0 || !seen_bytes)
			return 0;
		if (o->count == RBD_CHAIN_LONGEST)
			return -ELOOP;
		at = h.parent;
	}
}

/* ---- the maps ---- */

/* -EUCLEAN: it is not what is expected. */
static int map_take(const char *answer, size_t len, struct rbd_level *l)
{
	uint64_t objects;
	size_t bytes = (l->objects + PER_MAP - 1) / PER_MAP, head;

	if (!rbd_map_parse(answer, len, &objects, &head) || objects < l->objects || len - head < bytes)
		return -EUCLEAN;
	l->map = malloc(bytes ? bytes : 1);
	if (!l->map)
		return -ENOMEM;
	memcpy(l->map, answer + head, bytes);
	return 0;
}

static int map_read(struct rbd_level *l)
{
	rados_read_op_t op = rados_create_read_op();
	char object[RBD_OBJECT_BYTES], *answer = NULL;
	size_t len = 0;
	int result = 0, err;

	rbd_map_object(object, l->id, l->snap);
	rados_read_op_exec(op, "rbd", "object_map_load", NULL, 0, &answer, &len, &result);
	err = rados_read_op_operate(op, l->io, object, 0);
	rados_release_read_op(op);
	if (err >= 0)
		err = result;
	if (err >= 0)
		err = map_take(answer, len, l);
	if (answer)
		rados_buffer_free(answer);
	return err;
}

/* ---- without a map ---- */

struct marks {
	struct rbd_level *level;
	uint64_t object_bytes;
};

static int mark(uint64_t offset, size_t len, int exists, void *arg)
{
	struct marks *m = arg;
	struct rbd_level *l = m->level;

	for (uint64_t i = offset / m->object_bytes;
		exists && i < l->objects && i * m->object_bytes < offset + len; i++)
		l->map[i / PER_MAP] |= (uint8_t)(0xc0 >> (i % PER_MAP * 2));
	return 0;
}

/*
 * The object's snapshots are looked at, each. No parent: librbd would wait with a lock held. It opens them with the image all the
 * same, so the chain is looked at before.
 */
static int level_ask(struct rbd_store *s, struct rbd_level *l, uint64_t object_bytes)
{
	struct marks m = {l, object_bytes};
	rbd_image_t handle;
	int err = l->elsewhere ? 0 : rbd_chain_of(s, l->id);

	if (err < 0)
		return err;
	l->map = calloc(l->objects / PER_MAP + 1, 1);
	if (!l->map)
		return -ENOMEM;
	err = rbd_open_by_id_read_only(l->io, l->id, &handle, NULL);
	if (err < 0)
		return err;
	if (l->snap != RBD_HEAD)
		err = rbd_snap_set_by_id(handle, l->snap);
	if (err >= 0)
		err = rbd_diff_iterate2(handle, NULL, 0, l->bytes, 0, 1, mark, &m);
	rbd_close(handle);
	return err;
}

static int level_fill(struct rbd_level *l)
{
	size_t bytes = l->objects / PER_MAP + 1;

	l->map = malloc(bytes);
	if (!l->map)
		return -ENOMEM;
	memset(l->map, 0xff, bytes);
	return 0;
}

static int levels_read(struct rbd_store *s, struct rbd_objects *o)
{
	for (unsigned i = 0; i < o->count; i++) {
		struct rbd_level *l = &o->levels[i];
		int err = l->opaque ? level_fill(l) : l->mapped ? map_read(l) : -EUCLEAN;

		if (err == -EUCLEAN || err == -EINVAL || err == -ENOENT)
			err = level_ask(s, l, o->object_bytes);
		if (err < 0)
			return err;
	}
	return 0;
}

/* One that loses its parent meanwhile may have named one that is no more. */
int rbd_objects_read(struct rbd_store *s, const char *id, bool parents, struct rbd_objects *o)
{
	for (unsigned tries = 0;; tries++) {
		bool has_parents;
		int err;

		memset(o, 0, sizeof(*o));
		err = levels_look(s, id, parents, o);
		if (err >= 0)
			err = levels_read(s, o);
		if (err >= 0)
			return 0;
		has_parents = o->count > 1;
		rbd_objects_free(o);
		if (err != -ENOENT || !has_parents)
			return err;
		err = rbd_chain_of(s, id);
		if (err < 0)
			return err;
		if (tries == TRIES)
			return -EAGAIN;
	}
}

void rbd_objects_free(struct rbd_objects *o)
{
	for (unsigned i = 0; i < o->count; i++) {
		free(o->levels[i].map);
		if (o->levels[i].elsewhere)
			rados_ioctx_destroy(o->levels[i].io);
	}
	free(o->levels);
	o->levels = NULL;
	o->count = 0;
}

int rbd_objects_at(const struct rbd_objects *o, uint64_t offset, uint64_t *end)
{
	uint64_t object = offset / o->object_bytes;

	*end = (object + 1) * o->object_bytes;
	for (unsigned i = 0; i < o->count; i++) {
		const struct rbd_level *l = &o->levels[i];

		if (offset >= l->bytes) /* and so in those above it */
			return -1;
		if (!(l->map[object / PER_MAP] & 0xc0 >> (object % PER_MAP * 2)))
			continue;
		if (*end > l->bytes)
			*end = l->bytes;
		return (int)i;
	}
	return -1;
}
