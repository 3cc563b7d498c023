/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose a copy set is. It is its host's, by the name of the host's record: a server that was rebuilt under
 * another initiator name, or that comes over a path with another one of its record, has its sets still.
 *
 * Catalogues of earlier programs have the initiator name that began the set. Once the catalogue is loaded such
 * an owner becomes the host that has the name now, and soon durably, for the name may leave the host's record
 * later. While no host has it, the set is of the host that gets it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "array/model/set/internal.h"

#define SETTLE_BATCH 256u /* records in one transaction */

struct host *set_owner_host(struct array *a, const char *owner)
{
	struct host *h = owner[0] ? host_find(a, owner) : NULL;

	return h || !owner[0] ? h : host_find_iqn(a, owner);
}

bool set_owner_same(struct array *a, const char *x, const char *y)
{
	const struct host *hx = set_owner_host(a, x), *hy = set_owner_host(a, y);

	return hx || hy ? hx == hy : strcasecmp(x, y) == 0;
}

/* True: it was an initiator name, and is a host's now. */
static bool owner_resolve(struct array *a, char owner[UP_NAME_MAX_BYTES + 1])
{
	const struct host *h = set_owner_host(a, owner);

	if (!h || strcmp(owner, h->record.name) == 0)
		return false;
	snprintf(owner, UP_NAME_MAX_BYTES + 1, "%s", h->record.name);
	return true;
}

/* ---- making it durable ------------------------------------------------------------------------------ */

/* Puts up to SETTLE_BATCH records of those that the load has changed. t NULL: it is durable; marks them so. */
static int settle_some(struct array *a, struct store_txn *t)
{
	unsigned left = SETTLE_BATCH;
	int err = 0;

	list_for_each (n, &a->sets->all) {
		struct set *s = container_of(n, struct set, link);
		struct set_record r;

		if (!s->owner_stale || left == 0)
			continue;
		left--;
		set_record_of(s, &r);
		bool in_catalogue = s->state == UP_SET_COMMITTED || s->state == UP_SET_KEPT;
		if (t && !err && in_catalogue)
			err = set_record_put(a, t, &r);
		if (!t)
			s->owner_stale = false;
	}
	list_for_each (n, &a->luns->recycled) {
		struct lun_recycled *r = container_of(n, struct lun_recycled, link);

		if (!r->owner_stale || left == 0)
			continue;
		left--;
		if (t && !err)
			err = lun_record_put(a, t, &r->record);
		if (!t)
			r->owner_stale = false;
	}
	return err;
}

static bool any_stale(struct array *a)
{
	list_for_each (n, &a->sets->all)
		if (container_of(n, struct set, link)->owner_stale)
			return true;
	list_for_each (n, &a->luns->recycled)
		if (container_of(n, struct lun_recycled, link)->owner_stale)
			return true;
	return false;
}

static int settle_check(struct change *c)
{
	return any_stale(c->array) ? 0 : 1;
}

static int settle_build(struct change *c, struct store_txn *t)
{
	return settle_some(c->array, t);
}

static void settle_end(struct change *c, int err)
{
	if (err) {
		array_event_tell(c->array, ARRAY_EVENT_WARNING, "set",
			"which hosts own the copy sets of an earlier version could not be kept: %s; the next start "
			"tries again",
			c->fault.text);
		return;
	}
	settle_some(c->array, NULL);
	if (any_stale(c->array))
		set_owners_settle(c->array);
}

void set_owners_settle(struct array *a)
{
	static const struct change_ops ops = {
		.check = settle_check, .build = settle_build, .end = settle_end};
	struct change *c = any_stale(a) ? change_new(a, sizeof(*c), &ops, NULL) : NULL;

	if (c)
		change_submit(c);
}

void set_owners_resolve(struct array *a)
{
	list_for_each (n, &a->sets->all) {
		struct set *s = container_of(n, struct set, link);

		s->owner_stale = owner_resolve(a, s->owner);
	}
	list_for_each (n, &a->luns->recycled) {
		struct lun_recycled *r = container_of(n, struct lun_recycled, link);

		r->owner_stale = owner_resolve(a, r->record.set.owner);
	}
}
