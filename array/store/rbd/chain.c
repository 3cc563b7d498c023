/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parents of an image, and theirs, as the images' headers name them. librbd opens them all with an image, and where one is not there
 * it asks each of those below it ten times: with one missing four up it takes a minute to say so, with one ten up years. So it is not
 * asked to open an image before its chain was looked at here, an operation for each parent.
 */
#include "array/store/rbd/rbd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

bool rbd_parent_is_here(const struct rbd_store *s, const struct rbd_parent *p)
{
	return p->pool >= 0 && p->pool == rados_ioctx_get_id(s->cluster.io) &&
	       strcmp(p->space, s->space) == 0;
}

int rbd_parent_io(struct rbd_store *s, const struct rbd_parent *p, rados_ioctx_t *io)
{
	int err;

	*io = s->cluster.io;
	if (rbd_parent_is_here(s, p))
		return 0;
	err = rados_ioctx_create2(s->cluster.rados, p->pool, io);
	if (err >= 0)
		rados_ioctx_set_namespace(*io, p->space);
	return err;
}

void rbd_parent_io_end(struct rbd_store *s, rados_ioctx_t io)
{
	if (io != s->cluster.io)
		rados_ioctx_destroy(io);
}

/* What the image, or its snapshot, needs. -ENOENT: it is not there. */
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

/* How many parents there are, or an error; -ENOENT: one is not there, whose id that is. What is behind a parent elsewhere is nobody's
 * business here. */
static int walk(struct rbd_store *s, const char *image_id, char lost[RBD_ID_BYTES])
{
	struct rbd_parent at = {.snap = RBD_HEAD}, next;

	snprintf(at.id, sizeof(at.id), "%s", image_id);
	for (unsigned depth = 0; depth < RBD_CHAIN_LONGEST; depth++) {
		int err = parent_of(s, at.id, at.snap, &next);

		if (err == -EUCLEAN || err == -EOPNOTSUPP) /* of another Ceph, which librbd may know */
			return (int)depth;
		if (err < 0) {
			snprintf(lost, RBD_ID_BYTES, "%s", at.id);
			return err;
		}
		if (!rbd_parent_is_here(s, &next))
			return (int)depth + (next.pool >= 0);
		at = next;
	}
	return (int)RBD_CHAIN_LONGEST;
}

/* A tie that is cut meanwhile is cut at the image's own end before its parent may go (tie.c): then nobody names that one any more. */
int rbd_chain_of(struct rbd_store *s, const char *id)
{
	char lost[RBD_ID_BYTES] = "", before[RBD_ID_BYTES];
	int err;

	do {
		snprintf(before, sizeof(before), "%s", lost);
		err = walk(s, id, lost);
	} while (err == -ENOENT && strcmp(lost, before) != 0);
	return err;
}

int rbd_chain(struct rbd_store *s, const char *image)
{
	char id[RBD_ID_BYTES];
	int err = rbd_image_id(s, image, id);

	return err < 0 ? err : rbd_chain_of(s, id);
}
