/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tie between a clone and its parent has two ends, each in one of the two headers. It is cut when the clone has all that the parent
 * had. librbd would cut the parent's end first: then the map of the parent's snapshot goes, a round of the monitors later the snapshot,
 * and at last the clone's own end. Who opens the clone in that time, or an image that hangs on it, reads for what the others have not
 * from a snapshot that is no more, which answers with what its image has had written since; and killed right then it leaves a clone of
 * nothing, which cannot be opened. So the ties are cut here, from below:
 *
 *  1. The catalogue says `flat.IMAGE`: nothing of the parent is needed. It stays true, for an object never leaves a clone.
 *  2. The clone's own end. From here on who opens it sees no parent.
 *  3. The handles that were opened before are opened anew (image.c), for librbd reads what an image and its parents have, and which
 *     they are, when it opens one.
 *  4. The parent's end, and its snapshot, if that waits for it in the trash. The parent goes by itself, if it does (reclaim.c).
 *  5. The catalogue says it no more.
 *
 * 1 and 2 end a hydration (hydrate.c). What follows is a to-do (reclaim.c), also of the next opening when it was cut short.
 */
#include "array/store/rbd/rbd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* NULL: no more. */
static int say(struct rbd_store *s, const char *image, const struct rbd_tie *t)
{
	rados_write_op_t op = rbd_catalogue_op(s->epoch);
	char key[RBD_KEY_BYTES], word[RBD_TIE_BYTES];
	int err;

	snprintf(key, sizeof(key), "flat.%s", image);
	if (t) {
		rbd_tie_format(word, t);
		rbd_op_set_text(op, key, word);
	} else {
		rbd_op_del(op, key, strlen(key));
	}
	err = rados_write_op_operate(op, s->cluster.io, s->object, NULL,
		LIBRADOS_OPERATION_FULL_FORCE | LIBRADOS_OPERATION_FULL_TRY);
	rados_release_write_op(op);
	return err == -ECANCELED ? -ESHUTDOWN : err; /* another epoch */
}

int rbd_tie_cut(struct rbd_store *s, const char *image, const struct rbd_tie *t)
{
	int err = say(s, image, t);

	if (err >= 0)
		err = rbd_header_lose_parent(s->cluster.io, t->id);
	return err == -ENOENT ? 0 : err;
}

static int snapshot_lose(struct rbd_store *s, rados_ioctx_t io, const struct rbd_parent *p)
{
	rbd_snap_namespace_type_t type;
	rbd_image_t parent;
	int err = rbd_parent_is_here(s, p) ? rbd_chain_of(s, p->id) : 0;

	if (err >= 0)
		err = rbd_open_by_id(io, p->id, &parent, NULL);
	if (err < 0)
		return err;
	err = rbd_snap_get_namespace_type(parent, p->snap, &type);
	if (err >= 0 && type == RBD_SNAP_NAMESPACE_TYPE_TRASH)
		err = rbd_snap_remove_by_id(parent, p->snap);
	rbd_close(parent);
	return err == -EBUSY ? 0 : err; /* it has other clones */
}

/* Without deep-flatten, a feature that somebody may take away, the image's snapshots still name the parent: librbd cuts that end with the
 * last of them. */
static int snapshots_need_it(struct rbd_store *s, const char *id)
{
	struct rbd_header h;
	int err = rbd_header_read(s->cluster.io, id, RBD_HEAD, &h);

	return err == -ENOENT ? 0 : err < 0 ? err : h.parent.pool >= 0;
}

static int parents_end(struct rbd_store *s, const struct rbd_tie *t)
{
	const struct rbd_parent *p = &t->parent;
	rados_ioctx_t io;
	int err = snapshots_need_it(s, t->id);

	if (err)
		return err < 0 ? err : 0;
	err = rbd_parent_io(s, p, &io);
	if (err < 0)
		return err;
	/* Perhaps it was done before this one, killed then. */
	err = rbd_header_lose_child(io, p->id, p->snap, rados_ioctx_get_id(s->cluster.io), s->space, t->id);
	if (err >= 0 || err == -ENOENT)
		err = snapshot_lose(s, io, p);
	rbd_parent_io_end(s, io);
	return err == -ENOENT ? 0 : err;
}

int rbd_tie_lose(struct rbd_store *s, const char *image, const struct rbd_tie *t)
{
	struct rbd_removal removal;
	int err;

	/* Else the parent might be deleted at the same time. */
	rbd_removal_of_tie(s, &removal, &t->parent);
	err = parents_end(s, t);
	rbd_removal_end(s, &removal);
	return err < 0 ? err : say(s, image, NULL);
}

/* ---- at the opening of the array: no image is open ---- */

/* An umbrad before this one cut the parent's end first, and did not say whose it is. -ENOENT: the image names none, so that one was cut,
 * and its own end, too. */
static int complete(struct rbd_store *s, const char *image, struct rbd_tie *t)
{
	struct rbd_header h;
	int err = t->id[0] ? 0 : rbd_image_id(s, image, t->id);

	if (err >= 0)
		err = rbd_header_read(s->cluster.io, t->id, RBD_HEAD, &h);
	if (err < 0)
		return err;
	t->parent = h.parent;
	return h.parent.pool < 0 ? -ENOENT : 0;
}

int rbd_tie_found(struct rbd_store *s, const char *image, const struct rbd_tie *found)
{
	struct rbd_tie t = *found;
	int err = t.parent.pool < 0 ? complete(s, image, &t) : 0;

	if (err == -ENOENT)
		return say(s, image, NULL);
	if (err >= 0)
		err = rbd_tie_cut(s, image, &t);
	if (err < 0)
		return err;
	return rbd_reclaim_tie(s, image, &t) ? 0 : -ENOMEM;
}
