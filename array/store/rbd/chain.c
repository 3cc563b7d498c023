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
#define PER_FLATS 16u

/* A parent elsewhere is nobody's business here. */
bool rbd_parent_is_here(const struct rbd_store *s, const struct rbd_parent *p)
{
	return p->pool >= 0 && p->pool == rados_ioctx_get_id(s->cluster.io) &&
	       strcmp(p->space, s->space) == 0;
}

/* What the image, or its snapshot, needs. -ENOENT: one of them is not there. */
static int parent_of(struct rbd_store *s, const char *id, uint64_t snap, struct rbd_parent *out)
{
	struct rbd_header h;
	int err = rbd_header_read(s->cluster.io, id, snap, &h);

	if (err < 0)
		return err;
	*out = h.parent;
	if (!h.head_overlap_bytes && !h.overlap_bytes)
		out->pool = -1;
	return 0;
}

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

static bool has_map(struct rbd_store *s, const struct rbd_header *h, const struct rbd_parent *at)
{
	char object[RBD_OBJECT_BYTES];
	uint64_t size;
	time_t when;

	if (!(h->features & RBD_FEATURE_OBJECT_MAP) || (h->flags & RBD_FLAG_OBJECT_MAP_INVALID))
		return false;
	rbd_map_object(object, at->id, at->snap);
	return rados_stat(s->cluster.io, object, &size, &when) >= 0;
}

enum {
	WHOLE,
	UNMAPPED,
	LOOSE
};

/* LOOSE: an image's parent does not know of it any more; UNMAPPED: a parent's parent has no map. below: whose parent that is; depth: its
 * own parent's is 1. Or an error. */
static int find_loose(struct rbd_store *s, const char *image, char below[RBD_ID_BYTES], unsigned *depth)
{
	struct rbd_parent at = {.snap = RBD_HEAD};
	int found = WHOLE, err = rbd_image_id(s, image, at.id);

	for (*depth = 0; err >= 0 && *depth <= RBD_CHAIN_LONGEST; (*depth)++) {
		struct rbd_header h;

		err = rbd_header_read(s->cluster.io, at.id, at.snap, &h);
		if (err < 0)
			break;
		if (*depth > 1 && !has_map(s, &h, &at))
			found = UNMAPPED;
		if (*depth)
			err = rbd_header_names_child(s->cluster.io, at.id, at.snap, below);
		if (*depth && err == 0)
			found = LOOSE;
		if (found != WHOLE || err < 0)
			return err < 0 ? err : found;
		if ((!h.head_overlap_bytes && !h.overlap_bytes) || !rbd_parent_is_here(s, &h.parent))
			return WHOLE;
		snprintf(below, RBD_ID_BYTES, "%s", at.id);
		at = h.parent;
	}
	if (err >= 0) /* longer than any is walked */
		*depth = RBD_CHAIN_LONGEST;
	return err >= 0 || err == -EUCLEAN || err == -EOPNOTSUPP ? WHOLE : err;
}

int rbd_chain_blind(struct rbd_store *s, const char *image, unsigned parents, bool cut)
{
	char below[RBD_ID_BYTES] = "";
	struct flats flats = {0};
	const struct flat *flat;
	unsigned depth;
	int found = find_loose(s, image, below, &depth), err;

	if (found == WHOLE) /* as it was before, and so in between: no tie is ever made */
		return depth != parents;
	if (found < 0)
		return found == -ENOENT ? 1 : found;
	cut = cut || depth == 1; /* it is not open: nobody flattens it */
	if (found != LOOSE || !cut)
		return !cut;
	err = rbd_catalogue_flats(s, flat_add, &flats);
	flat = err ? NULL : flat_find(&flats, below);
	if (flat)
		err = rbd_flat_cut(s, flat->image, flat->id);
	free(flats.list);
	return err < 0 ? err : flat ? 1 : 0;
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
