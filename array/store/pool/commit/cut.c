/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cuts. `cut` freezes the members' generations: a loop over the members in memory, nothing else, whatever is
 * dirty or under way. Writes that took their generation before (at submission) belong to the frozen one and
 * may still be under way; cut_commit waits for them, and the frame that then carries the forks closes an
 * epoch in which all of them are complete.
 *
 * Until it ends, a cut is a viewer of the frozen generations, so nothing of them is written over.
 */
#include "array/store/pool/commit/commit.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

static bool member_draining(const struct pool_cut_member *m)
{
	return pool_branch_oldest_write(m->branch) <= m->viewer.gen;
}

void pool_cut_begin(
	struct pool_commit *commit, struct store_cut *cut, void (*cut_done)(void *arg, int err), void *arg)
{
	struct pool_cut *c;
	int err = commit->base->latched ? -EROFS : 0;

	cut->priv = NULL;
	for (unsigned i = 0; i < cut->count && !err; i++) {
		if (pool_disk_of(cut->disks[i])->branch->gen >= POOL_GEN_MAX)
			err = -EOVERFLOW;
	}
	c = err ? NULL : calloc(1, sizeof(*c) + cut->count * sizeof(c->members[0]));
	if (!c) {
		cut_done(arg, err ? err : -ENOMEM);
		return;
	}
	c->commit = commit;
	c->owner = cut;
	c->count = cut->count;
	cut->priv = c;
	for (unsigned i = 0; i < cut->count; i++) {
		struct pool_cut_member *m = &c->members[i];
		struct pool_disk *d = pool_disk_of(cut->disks[i]);

		m->cut = c;
		m->disk = d;
		m->branch = d->branch;
		m->viewer.gen = d->branch->gen++;
		m->size_bytes = d->size_bytes;
		list_push_back(&m->branch->cuts, &m->viewer.link);
		pool_branch_frozen_update(m->branch);
	}
	cut_done(arg, 0);
}

static void cut_end(struct pool_cut *c)
{
	for (unsigned i = 0; i < c->count; i++) {
		struct pool_cut_member *m = &c->members[i];

		list_remove(&m->viewer.link);
		pool_branch_frozen_update(m->branch);
		/* Nobody sees the frozen generation: what the next one wrote over can be merged. */
		if (!pool_branch_viewer_in(m->branch, m->viewer.gen, m->viewer.gen + 1) &&
			!c->commit->base->latched)
			pool_todo_add(&c->commit->todos, m->branch->id, m->viewer.gen);
	}
	c->owner->priv = NULL;
	free(c);
}

static void cut_committed(void *arg, int err)
{
	struct pool_cut *c = arg;
	void (*done)(void *arg, int err) = c->done;

	arg = c->arg;
	cut_end(c);
	done(arg, err);
}

static void commit_drained(struct pool_cut *c)
{
	struct pool_txn *t = c->txn;

	for (unsigned i = 0; i < c->count; i++)
		pool_branch_record_dirty(c->commit->map, c->members[i].branch); /* the new generation */
	c->txn = NULL;
	pool_txn_ride(t, cut_committed, c);
}

void pool_cut_commit(
	struct store_cut *cut, struct store_txn *store_txn, void (*done)(void *arg, int err), void *arg)
{
	struct pool_cut *c = cut->priv;
	struct pool_txn *t = pool_txn_of(store_txn);

	assert(c && (!t->frozen_by || t->frozen_by == c));
	c->txn = t;
	c->done = done;
	c->arg = arg;
	for (unsigned i = 0; i < c->count; i++) {
		c->members[i].draining = member_draining(&c->members[i]);
		c->draining += c->members[i].draining;
	}
	if (c->draining == 0)
		commit_drained(c);
}

void pool_cut_drained(struct pool_branch *b)
{
again:
	list_for_each (n, &b->cuts) {
		struct pool_cut_member *m = container_of(n, struct pool_cut_member, viewer.link);

		if (!m->draining || member_draining(m))
			continue;
		m->draining = false;
		if (--m->cut->draining == 0) {
			commit_drained(m->cut);
			goto again; /* the list may have changed */
		}
	}
}

void pool_cut_drop(struct store_cut *cut)
{
	if (cut->priv)
		cut_end(cut->priv);
}

/* ---- new disks on what it froze -------------------------------------------------------------------- */

/* What a member of the cut shows. */
static struct pool_frozen frozen(struct pool_txn *t, const struct store_cut *cut, unsigned index)
{
	const struct pool_cut *c = cut->priv;
	const struct pool_cut_member *m = &c->members[index];

	assert(index < c->count && (!t->frozen_by || t->frozen_by == c));
	t->frozen_by = c;
	return (struct pool_frozen){.branch = m->branch, .gen = m->viewer.gen, .size_bytes = m->size_bytes};
}

int pool_txn_disk_fork(struct store_txn *t, struct store_cut *cut, unsigned index, struct store_disk **out)
{
	struct pool_frozen from = frozen(pool_txn_of(t), cut, index);

	return pool_txn_fork(pool_txn_of(t), &from, out);
}

int pool_txn_disk_repoint(struct store_txn *t, struct store_cut *cut, unsigned index, struct store_disk *disk)
{
	struct pool_frozen from = frozen(pool_txn_of(t), cut, index);

	return pool_txn_repoint(pool_txn_of(t), &from, pool_disk_of(disk));
}
