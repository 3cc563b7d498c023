/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cut: one snapshot of each image, all at once, a worker each, for each waits for a round of Ceph's monitors. librbd holds
 * the image's own writes meanwhile: what it had is in the snapshot, what comes later is not. The caller keeps new ones away until
 * the last snapshot is there, from when all images are open and as librbd knows them, none has a snapshot that hangs, and the monitors
 * have just answered: where one of these takes its time, no host waits for it.
 *
 * The snapshots are needed until the clones are made (txn.c). Then they are removed; one that has clones goes to Ceph's trash of
 * snapshots by that, and with its last clone. A crash leaves them to the next opening of the image.
 *
 * Where an OSD hangs, so does the snapshot that needs it, and its worker. A cut that is given up meanwhile lets go of its caller at
 * once, and of each image as soon as that is done with; other cuts go on beside it. An image has one snapshot at most that hangs: later
 * cuts of it wait for that one without a worker, as a whole.
 */
#include "array/store/rbd/rbd.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int progress(uint64_t offset, uint64_t total, void *arg)
{
	(void)offset, (void)total, (void)arg;
	return 0;
}

/* ---- the end ---- */

static void cut_free(struct rbd_cut *c)
{
	struct rbd_store *s = c->s;

	for (unsigned i = 0; i < c->count; i++)
		if (c->members[i].referenced)
			rbd_image_put(c->members[i].image);
	free(c);
	s->lingering--;
	rbd_busy_end(s);
}

/* Who hears that the cut failed hears for which image. */
static void blame(struct rbd_cut_member *m, int err)
{
	struct store_cut *owner = m->cut->owner;

	if (err < 0 && owner && owner->failed == owner->count)
		owner->failed = (unsigned)(m - m->cut->members);
}

/* Something of it is done. True: it goes on. */
static bool step_done(struct rbd_cut *c)
{
	assert(c->left);
	if (--c->left)
		return false;
	if (c->owner)
		return true;
	cut_free(c);
	return false;
}

static void drop_work(struct rbd_job *job)
{
	struct rbd_cut_member *m = container_of(job, struct rbd_cut_member, job);

	m->err = rbd_snap_remove2(m->image->handle, m->cut->snap, 0, progress, NULL);
}

static void drop_done(struct rbd_job *job)
{
	struct rbd_cut_member *m = container_of(job, struct rbd_cut_member, job);
	struct rbd_cut *c = m->cut;

	if (m->err < 0 && m->err != -ENOENT && m->err != -ESHUTDOWN)
		rbd_notice(c->s, "the snapshot %s of the image %s stays until the next start: %s", c->snap,
			m->image->name, strerror(-m->err));
	m->referenced = false;
	rbd_image_put(m->image);
	step_done(c);
}

/* The cut has ended: whatever of the member is not under way goes. */
static void member_drop(struct rbd_cut_member *m)
{
	struct rbd_cut *c = m->cut;

	if (m->clones || m->works || !m->referenced)
		return;
	if (!m->taken) {
		m->referenced = false;
		rbd_image_put(m->image);
		return;
	}
	m->taken = false;
	c->left++;
	m->job.work = drop_work;
	m->job.done = drop_done;
	rbd_work(&c->s->workers, RBD_LANE_SHORT, &m->job);
}

void rbd_cut_end(struct rbd_cut *c)
{
	struct rbd_workers *w = &c->s->workers;

	c->owner->priv = NULL;
	c->owner = NULL;
	c->s->lingering++;
	c->left++;
	rbd_work_hangs(w, RBD_LANE_CUT, c->asking);
	for (unsigned i = 0; i < c->count; i++) {
		struct rbd_cut_member *m = &c->members[i];

		if (list_linked(&m->link)) { /* behind one that hangs */
			list_remove(&m->link);
			c->left--;
		} else if (m->works) {
			m->hangs = true;
			m->image->hangs++;
			rbd_work_hangs(w, RBD_LANE_CUT, 1);
		}
		member_drop(m);
	}
	step_done(c);
}

void rbd_cut_clone_begins(struct rbd_cut_member *m)
{
	m->clones++;
	m->cut->left++;
}

void rbd_cut_clone_ended(struct rbd_cut_member *m, int err)
{
	struct rbd_cut *c = m->cut;

	blame(m, err);
	m->clones--;
	if (!c->owner)
		member_drop(m);
	step_done(c);
}

/* ---- the beginning ---- */

static void cut_prepare(struct rbd_cut *c);

static void cut_failed(struct rbd_cut *c, int err)
{
	void (*done)(void *, int) = c->done;
	void *arg = c->arg;

	rbd_cut_end(c);
	done(arg, err);
}

/* One that nobody waited for any more. */
static void hung_ended(struct rbd_cut_member *m)
{
	struct rbd_image *i = m->image;
	struct list_node *n;

	m->hangs = false;
	rbd_work_hangs(&m->cut->s->workers, RBD_LANE_CUT, -1);
	if (--i->hangs)
		return;
	while ((n = list_pop(&i->cuts))) {
		struct rbd_cut *c = container_of(n, struct rbd_cut_member, link)->cut;

		if (step_done(c))
			cut_prepare(c);
	}
}

/* True: that was the last one, and all are well. */
static bool member_ended(struct rbd_cut_member *m)
{
	struct rbd_cut *c = m->cut;

	m->works = false;
	blame(m, m->err);
	if (m->err == -ESHUTDOWN)
		rbd_lease_lost(&c->s->lease, "Ceph has locked this umbrad out (ceph osd blocklist ls)");
	if (m->err < 0 && !c->err)
		c->err = rbd_err(m->err);
	if (m->hangs)
		hung_ended(m);
	if (!c->owner)
		member_drop(m);
	if (!step_done(c))
		return false;
	if (atomic_load(&c->s->lease.lost))
		c->err = -ESHUTDOWN;
	if (!c->err)
		return true;
	cut_failed(c, c->err);
	return false;
}

static void snap_work(struct rbd_job *job)
{
	struct rbd_cut_member *m = container_of(job, struct rbd_cut_member, job);

	m->err = rbd_snap_create2(
		m->image->handle, m->cut->snap, RBD_SNAP_CREATE_SKIP_QUIESCE, progress, NULL);
}

static void snap_done(struct rbd_job *job)
{
	struct rbd_cut_member *m = container_of(job, struct rbd_cut_member, job);
	struct rbd_cut *c = m->cut;

	if (!member_ended(m))
		return;
	c->taken = true;
	c->done(c->arg, 0);
}

/* Of each member. */
static void work(struct rbd_cut *c, void (*call)(struct rbd_job *job), void (*done)(struct rbd_job *job))
{
	c->left = c->count;
	for (unsigned i = 0; i < c->count; i++) {
		struct rbd_cut_member *m = &c->members[i];

		m->works = true;
		m->job.work = call;
		m->job.done = done;
		rbd_work(&c->s->workers, RBD_LANE_CUT, &m->job);
	}
}

static void snaps_start(struct rbd_cut *c)
{
	store_cut_begins(c->owner);
	for (unsigned i = 0; i < c->count; i++)
		c->members[i].taken = true; /* also where it fails: something of it may be there */
	work(c, snap_work, snap_done);
}

static bool behind_hung(struct rbd_cut *c)
{
	for (unsigned i = 0; i < c->count; i++)
		if (c->members[i].image->hangs)
			return true;
	return false;
}

/* librbd stops an image's writes before it asks the monitors for a snapshot's number. So they are asked for something before:
 * where they do not answer, nothing stands still but the cut. */
static void monitors_work(struct rbd_job *job)
{
	struct rbd_cut *c = container_of(job, struct rbd_cut, job);

	c->monitors_err = rados_wait_for_latest_osdmap(c->s->cluster.rados);
}

static void monitors_done(struct rbd_job *job)
{
	struct rbd_cut *c = container_of(job, struct rbd_cut, job);

	c->asking = false;
	if (!c->owner)
		rbd_work_hangs(&c->s->workers, RBD_LANE_CUT, -1);
	if (!step_done(c))
		return;
	if (c->monitors_err < 0) {
		cut_failed(c, rbd_err(c->monitors_err));
		return;
	}
	if (behind_hung(c))
		cut_prepare(c);
	else
		snaps_start(c);
}

/* librbd reads an image's header again where it has changed, as the last cut's snapshot changed it when it went. */
static void header_work(struct rbd_job *job)
{
	struct rbd_cut_member *m = container_of(job, struct rbd_cut_member, job);
	uint64_t size;

	m->err = rbd_get_size(m->image->handle, &size);
}

static void header_done(struct rbd_job *job)
{
	struct rbd_cut_member *m = container_of(job, struct rbd_cut_member, job);
	struct rbd_cut *c = m->cut;

	if (!member_ended(m))
		return;
	c->left = 1;
	c->asking = true;
	c->job.work = monitors_work;
	c->job.done = monitors_done;
	rbd_work(&c->s->workers, RBD_LANE_CUT, &c->job);
}

/* All images are open. */
static void cut_prepare(struct rbd_cut *c)
{
	assert(!c->left);
	for (unsigned i = 0; i < c->count; i++) {
		struct rbd_cut_member *m = &c->members[i];

		if (!m->image->hangs)
			continue;
		list_push_back(&m->image->cuts, &m->link);
		c->left++;
	}
	if (!c->left)
		work(c, header_work, header_done);
}

/* All images are open, or cannot be. */
static void open_ended(struct rbd_cut *c, int err)
{
	if (err && !c->err)
		c->err = err;
	if (!step_done(c))
		return;
	if (c->err) {
		cut_failed(c, c->err);
		return;
	}
	cut_prepare(c);
}

static void opened(struct rbd_waiter *w, int err)
{
	struct rbd_cut_member *m = container_of(w, struct rbd_cut_member, waiter);

	m->opens = false;
	m->referenced = !err;
	blame(m, err);
	if (!m->cut->owner)
		member_drop(m);
	open_ended(m->cut, err);
}

void rbd_cut(struct store *store, struct store_cut *cut, void (*cut_done)(void *arg, int err), void *arg)
{
	struct rbd_store *s = rbd_store_of(store);
	struct rbd_cut *c = calloc(1, sizeof(*c) + cut->count * sizeof(c->members[0]));

	assert(cut->count > 0);
	cut->priv = c;
	if (!c) {
		cut_done(arg, -ENOMEM);
		return;
	}
	c->s = s;
	c->owner = cut;
	c->done = cut_done;
	c->arg = arg;
	c->count = cut->failed = cut->count;
	c->left = cut->count + 1;
	snprintf(c->snap, sizeof(c->snap), RBD_CUT_PREFIX "%" PRIu64 "-%" PRIu64, s->epoch, ++s->cuts);
	s->busy++;
	for (unsigned i = 0; i < cut->count; i++) {
		struct rbd_cut_member *m = &c->members[i];
		struct rbd_disk *d = rbd_disk_of(cut->disks[i]);

		assert(!d->pending);
		m->cut = c;
		m->image = d->image;
		m->size_bytes = d->size_bytes;
		m->waiter.call = opened;
		m->opens = !atomic_load(&s->lease.lost);
		if (m->opens)
			rbd_image_need(m->image, &m->waiter);
		else
			open_ended(c, -ESHUTDOWN);
	}
	open_ended(c, 0);
}

void rbd_cut_commit(struct store_cut *cut, struct store_txn *t, void (*done)(void *arg, int err), void *arg)
{
	struct rbd_cut *c = cut->priv;

	assert(c && c->taken && (!c->txn || c->txn == t));
	c->txn = t;
	rbd_txn_start(t, c, done, arg);
}

void rbd_cut_drop(struct store_cut *cut)
{
	struct rbd_cut *c = cut->priv;

	assert(c && c->taken && !c->txn);
	rbd_cut_end(c);
}

bool rbd_cut_give_up(struct store_cut *cut)
{
	struct rbd_cut *c = cut->priv;

	assert(c);
	if (c->txn)
		return rbd_txn_give_up(c->txn);
	rbd_cut_end(c);
	return true;
}

unsigned rbd_cut_waits(const struct store_cut *cut, unsigned *first)
{
	const struct rbd_cut *c = cut->priv;
	unsigned count = 0;

	for (unsigned i = 0; i < c->count; i++) {
		const struct rbd_cut_member *m = &c->members[i];

		if (!m->opens && !m->works && !m->clones && !list_linked(&m->link))
			continue;
		if (count++ == 0)
			*first = i;
	}
	return count;
}
