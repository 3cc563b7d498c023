/* SPDX-License-Identifier: Apache-2.0 */
/*
 * librbd takes an image from the trash by itself, at the end of the flatten or the deletion by which it loses its last copy, then that
 * one's parent, if it loses its last copy by that, and so on. Where the same is done here meanwhile, the two take the image's lock from
 * each other, and librbd ends the process. So each of these says before which images it may take, all above its own, and none of them is
 * touched here before it has ended. One that hangs keeps up no other image.
 *
 * What is looked at for its copies first and found to have none, and then to be in nobody's way, stays so: what has no copies, and lies in
 * the trash, gets none, and is above nobody who begins after that.
 */
#include "array/store/rbd/rbd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void add(struct rbd_removal *r, const char *id)
{
	if (r->count < RBD_REMOVAL_IMAGES)
		snprintf(r->ids[r->count++], RBD_ID_BYTES, "%s", id);
	else
		r->any = true;
}

static void begin(struct rbd_store *s, struct rbd_removal *r)
{
	pthread_mutex_lock(&s->removals_lock);
	list_push_back(&s->removals, &r->link);
	pthread_mutex_unlock(&s->removals_lock);
}

void rbd_removal_begin(struct rbd_store *s, struct rbd_removal *r, const char *id)
{
	struct rbd_header h;
	char at[RBD_ID_BYTES];
	int err = 0;

	*r = (struct rbd_removal){.any = !id[0]};
	snprintf(at, sizeof(at), "%s", id);
	while (!r->any && (err = rbd_header_read(s->cluster.io, at, RBD_HEAD, &h)) >= 0 &&
		h.parent.pool >= 0) {
		if (!rbd_parent_is_here(s, &h.parent)) /* whose parent might be here */
			r->any = true;
		snprintf(at, sizeof(at), "%s", h.parent.id);
		add(r, at);
	}
	if (err < 0 && err != -ENOENT)
		r->any = true;
	begin(s, r);
}

void rbd_removal_of_tie(struct rbd_store *s, struct rbd_removal *r, const struct rbd_parent *parent)
{
	*r = (struct rbd_removal){0};
	if (rbd_parent_is_here(s, parent))
		add(r, parent->id);
	begin(s, r);
}

void rbd_removal_end(struct rbd_store *s, struct rbd_removal *r)
{
	pthread_mutex_lock(&s->removals_lock);
	list_remove(&r->link);
	pthread_mutex_unlock(&s->removals_lock);
}

static bool may_take(const struct rbd_removal *r, const char *id)
{
	if (r->any)
		return true;
	for (unsigned i = 0; i < r->count; i++)
		if (strcmp(r->ids[i], id) == 0)
			return true;
	return false;
}

bool rbd_removal_may_take(struct rbd_store *s, const char *id)
{
	bool found = false;

	pthread_mutex_lock(&s->removals_lock);
	list_for_each (n, &s->removals)
		found = found || may_take(container_of(n, struct rbd_removal, link), id);
	pthread_mutex_unlock(&s->removals_lock);
	return found;
}
