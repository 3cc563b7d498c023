/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transactions. While one is built its records go into a write operation of Ceph's and its disks into a list of steps. At the
 * commit, or ahead of it where the caller asks for that, the steps make, clone and enlarge images, all at once on the workers; then
 * the operation is sent. Transactions are written one at a time, in the order in which their images are ready: those without steps in
 * that of their commits, and none waits for an image of another's that needs an OSD which hangs.
 *
 * What was prepared is used as it is, but for a disk that was to be enlarged and has another image since: that one is enlarged in the
 * commit.
 *
 * One that is given up before it is written lets go of its caller at once. Each of its images goes when it is there. One whose images
 * are not ready after a while is given up here; of a cut's the caller decides that.
 *
 * One that fails, or is dropped, gives its images to reclaim. One of which nothing is known, for this client was locked out,
 * leaves them: the next owner knows.
 */
#include "array/store/rbd/rbd.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CLONE_TRIES 10u
#define FEATURES                                                                                             \
	(RBD_FEATURE_LAYERING | RBD_FEATURE_EXCLUSIVE_LOCK | RBD_FEATURE_OBJECT_MAP |                        \
		RBD_FEATURE_FAST_DIFF | RBD_FEATURE_DEEP_FLATTEN)

enum step_kind {
	STEP_CREATE, /* also a fork: with `member` */
	STEP_DELETE,
	STEP_RESIZE,
	STEP_REPOINT
};

struct step {
	struct store_txn *t;
	struct list_node link;
	enum step_kind kind;
	struct rbd_disk *disk;
	struct rbd_image *image;       /* a new one */
	struct rbd_cut_member *member; /* what it is a clone of */
	uint64_t size_bytes;
	struct rbd_image *enlarged; /* of RESIZE, while it is being made */
	char enlarged_name[RBD_IMAGE_NAME_BYTES];
	struct rbd_waiter waiter;
	struct rbd_job job;
	bool running;     /* it is being made */
	bool works;       /* by a worker */
	bool ready;       /* it was made */
	bool made;        /* the image may be there */
	unsigned parents; /* of one that is a clone, as many as what it is a clone of and one */
	int err;
};

struct store_txn {
	struct rbd_store *s;
	rados_write_op_t op;
	struct list steps;
	struct list_node link; /* of the store's, once its images are ready */
	struct rbd_cut *cut;
	bool failed, begun, writing, given_up; /* begun: to be prepared, or committed */
	bool shown;                            /* it changes what the one who stands by shows (standby.c) */
	unsigned left;                         /* steps that are not made yet, and one for the beginning */
	struct reactor_timer patience;
	int err;
	void (*ready)(void *arg, int err); /* while it is being prepared */
	void (*done)(void *arg, int err);
	void *arg;
	rados_completion_t completion;
	struct reactor_message message;
};

struct store_txn *rbd_txn_begin(struct store *store)
{
	struct rbd_store *s = rbd_store_of(store);
	struct store_txn *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->s = s;
	list_init(&t->steps);
	t->op = rbd_catalogue_op(s->epoch);
	if (s->moved)
		rbd_op_set_text(t->op, RBD_HEAD_HOME, s->cluster.home);
	return t;
}

static bool is_shown(enum store_table table)
{
	return table == STORE_TABLE_META || table == STORE_TABLE_LUN || table == STORE_TABLE_HOST ||
	       table == STORE_TABLE_MAP;
}

static int failed(struct store_txn *t, int err)
{
	t->failed = true;
	return err;
}

int rbd_txn_put(struct store_txn *t, enum store_table table, const void *key, size_t key_len,
	const void *value, size_t value_len)
{
	char name[RBD_KEY_BYTES];

	assert(!t->failed && key_len > 0 && table > 0 && table < STORE_TABLE_COUNT);
	if (key_len > STORE_KEY_MAX_BYTES || value_len > STORE_VALUE_MAX_BYTES)
		return failed(t, -EMSGSIZE);
	t->shown = t->shown || is_shown(table);
	rbd_op_set(t->op, name, rbd_record_key(name, table, key, key_len), value, value_len);
	return 0;
}

int rbd_txn_del(struct store_txn *t, enum store_table table, const void *key, size_t key_len)
{
	char name[RBD_KEY_BYTES];

	assert(!t->failed && key_len > 0 && table > 0 && table < STORE_TABLE_COUNT);
	if (key_len > STORE_KEY_MAX_BYTES)
		return failed(t, -EMSGSIZE);
	t->shown = t->shown || is_shown(table);
	rbd_op_del(t->op, name, rbd_record_key(name, table, key, key_len));
	return 0;
}

static struct step *step_new(struct store_txn *t, enum step_kind kind, struct rbd_disk *d)
{
	struct step *p = calloc(1, sizeof(*p));

	assert(!t->failed);
	if (!p)
		return NULL;
	t->shown = true;
	p->t = t;
	p->kind = kind;
	p->disk = d;
	list_push_back(&t->steps, &p->link);
	return p;
}

static int disk_new(
	struct store_txn *t, uint64_t size_bytes, struct rbd_cut_member *member, struct store_disk **out)
{
	struct rbd_store *s = t->s;
	uint64_t id = s->next_id++;
	char name[RBD_IMAGE_NAME_BYTES];

	rbd_image_name(name, s->array, id, 0);
	struct rbd_disk *d = rbd_disk_new(s, id, size_bytes, name);
	struct step *p = d ? step_new(t, STEP_CREATE, d) : NULL;
	if (!p) {
		if (d) {
			free(d->image);
			rbd_disk_free(d);
		}
		return failed(t, -ENOMEM);
	}
	d->pending = true;
	p->image = d->image;
	p->member = member;
	p->size_bytes = size_bytes;
	*out = &d->base;
	return 0;
}

int rbd_txn_disk_create(struct store_txn *t, uint64_t size_bytes, struct store_disk **out)
{
	assert(size_bytes % STORE_BLOCK_BYTES == 0);
	return disk_new(t, size_bytes, NULL, out);
}

static struct rbd_cut_member *member_of(struct store_txn *t, struct store_cut *cut, unsigned index)
{
	struct rbd_cut *c = cut->priv;

	assert(c && c->taken && index < c->count && (!t->cut || t->cut == c));
	t->cut = c;
	return &c->members[index];
}

int rbd_txn_disk_fork(struct store_txn *t, struct store_cut *cut, unsigned index, struct store_disk **out)
{
	struct rbd_cut_member *m = member_of(t, cut, index);

	return disk_new(t, m->size_bytes, m, out);
}

int rbd_txn_disk_delete(struct store_txn *t, struct store_disk *disk)
{
	struct rbd_disk *d = rbd_disk_of(disk);

	assert(!d->pending && !d->inflight && !d->hydration);
	return step_new(t, STEP_DELETE, d) ? 0 : failed(t, -ENOMEM);
}

int rbd_txn_disk_resize(struct store_txn *t, struct store_disk *disk, uint64_t size_bytes)
{
	struct rbd_disk *d = rbd_disk_of(disk);
	struct step *p = NULL;

	assert(!d->pending && size_bytes % STORE_BLOCK_BYTES == 0);
	list_for_each (n, &t->steps) {
		struct step *other = container_of(n, struct step, link);

		if (other->disk == d && (other->kind == STEP_RESIZE || other->kind == STEP_REPOINT))
			p = other; /* the same image: enlarged once */
	}
	assert(size_bytes >= (p ? p->size_bytes : d->size_bytes));
	if (!p)
		p = step_new(t, STEP_RESIZE, d);
	if (!p)
		return failed(t, -ENOMEM);
	p->size_bytes = size_bytes;
	return 0;
}

int rbd_txn_disk_repoint(struct store_txn *t, struct store_cut *cut, unsigned index, struct store_disk *disk)
{
	struct rbd_cut_member *m = member_of(t, cut, index);
	struct rbd_disk *d = rbd_disk_of(disk);
	char name[RBD_IMAGE_NAME_BYTES];
	struct step *p;

	assert(!d->pending && !d->inflight && !d->hydration && m->image != d->image);
	p = step_new(t, STEP_REPOINT, d);
	if (!p)
		return failed(t, -ENOMEM);
	rbd_image_name(name, t->s->array, d->id, t->s->next_id++);
	p->member = m;
	p->size_bytes = m->size_bytes;
	p->image = rbd_image_new(t->s, name, p->size_bytes);
	return p->image ? 0 : failed(t, -ENOMEM);
}

/* ---- the end ---- */

/* An image that was made goes to reclaim, a new disk is forgotten. */
static void step_undo(struct step *p)
{
	list_remove(&p->link);
	if (p->image && p->made)
		rbd_image_retire(p->image, false, 0);
	else
		free(p->image);
	if (p->kind == STEP_CREATE && p->disk)
		rbd_disk_free(p->disk);
	free(p);
}

static void steps_undo(struct store_txn *t)
{
	list_for_each_safe (n, &t->steps)
		step_undo(container_of(n, struct step, link));
}

static void txn_free(struct store_txn *t)
{
	steps_undo(t);
	rados_release_write_op(t->op);
	free(t);
}

void rbd_txn_drop(struct store_txn *t)
{
	if (t->begun)
		rbd_txn_give_up(t);
	else
		txn_free(t);
}

static void step_apply(struct rbd_store *s, struct step *p)
{
	struct rbd_disk *d = p->disk;
	struct rbd_image *old = d->image;

	switch (p->kind) {
	case STEP_CREATE:
		d->pending = false;
		s->disk_count++;
		break;
	case STEP_DELETE:
		s->disk_count--;
		rbd_image_retire(old, true, d->used_bytes);
		rbd_disk_free(d);
		break;
	case STEP_REPOINT:
		assert(!d->inflight);
		d->image = p->image;
		d->size_bytes = d->image->need_bytes = p->size_bytes;
		rbd_image_retire(old, true, d->used_bytes);
		rbd_used_forget(d);
		break;
	case STEP_RESIZE:
		d->size_bytes = d->image->need_bytes = p->size_bytes;
		break;
	}
}

static void pump(struct rbd_store *s);

static void txn_end(struct store_txn *t, int err)
{
	struct rbd_store *s = t->s;
	struct rbd_cut *cut = t->cut;
	struct list_node *n;

	list_remove(&t->link);
	while (!err && (n = list_pop(&t->steps))) {
		struct step *p = container_of(n, struct step, link);

		step_apply(s, p);
		free(p);
	}
	if (cut)
		rbd_cut_end(cut);
	t->done(t->arg, err);
	txn_free(t);
	pump(s);
	rbd_busy_end(s);
}

/* ---- writing ---- */

static void written(struct reactor_message *m)
{
	struct store_txn *t = container_of(m, struct store_txn, message);
	struct rbd_store *s = t->s;
	int r = rados_aio_get_return_value(t->completion);

	rados_aio_release(t->completion);
	s->writing = false;
	if (r == -ECANCELED)
		rbd_lease_lost(&s->lease, "another umbrad has taken the array");
	else if (r == -ENOENT)
		rbd_lease_lost(&s->lease, "the array's catalogue has been deleted from Ceph's pool");
	else if (r == -ESHUTDOWN)
		rbd_lease_lost(&s->lease,
			"Ceph has locked this umbrad out: another one has taken the array, or an administrator did "
			"it (ceph osd blocklist ls)");
	if (r >= 0 && t->shown)
		rbd_wire_changed(s);
	txn_end(t, r < 0 ? r == -ENOENT ? -ESHUTDOWN : rbd_err(r) : 0);
}

static void completed(rados_completion_t c, void *arg)
{
	struct store_txn *t = arg;

	(void)c;
	reactor_post(t->s->base.reactor, &t->message);
}

static void disk_record(rados_write_op_t op, const struct rbd_disk *d, uint64_t size_bytes, const char *image)
{
	char key[32], value[160];

	rbd_disk_key(key, d->id);
	rbd_disk_value(value, size_bytes, image);
	rbd_op_set_text(op, key, value);
}

static void todo_record(rados_write_op_t op, const char *image)
{
	char key[RBD_KEY_BYTES];

	snprintf(key, sizeof(key), "todo.%s", image);
	rbd_op_set(op, key, strlen(key), "", 0);
}

static int step_record(rados_write_op_t op, const struct step *p)
{
	char key[32];

	switch (p->kind) {
	case STEP_CREATE:
		disk_record(op, p->disk, p->size_bytes, p->image->name);
		return 1;
	case STEP_DELETE:
		rbd_disk_key(key, p->disk->id);
		rbd_op_del(op, key, strlen(key));
		todo_record(op, p->disk->image->name);
		return -1;
	case STEP_REPOINT:
		disk_record(op, p->disk, p->size_bytes, p->image->name);
		todo_record(op, p->disk->image->name);
		return 0;
	case STEP_RESIZE:
		disk_record(op, p->disk, p->size_bytes, p->disk->image->name);
		return 0;
	}
	return 0;
}

static void txn_write(struct store_txn *t)
{
	struct rbd_store *s = t->s;
	int64_t disks = s->disk_count;
	char text[24];
	int err;

	list_for_each (n, &t->steps)
		disks += step_record(t->op, container_of(n, struct step, link));
	if (!list_empty(&t->steps)) {
		snprintf(text, sizeof(text), "%" PRIu64, s->next_id);
		rbd_op_set_text(t->op, RBD_HEAD_NEXT, text);
		snprintf(text, sizeof(text), "%" PRId64, disks);
		rbd_op_set_text(t->op, RBD_HEAD_DISKS, text);
	}
	t->message.call = written;
	err = rados_aio_create_completion2(t, completed, &t->completion);
	if (err < 0) {
		txn_end(t, -ENOMEM);
		return;
	}
	s->writing = t->writing = true;
	/* A full pool still takes these: else nothing could be deleted. */
	err = rados_aio_write_op_operate(t->op, s->cluster.io, t->completion, s->object, NULL,
		LIBRADOS_OPERATION_FULL_FORCE | LIBRADOS_OPERATION_FULL_TRY);
	if (err < 0) {
		rados_aio_release(t->completion);
		s->writing = false;
		txn_end(t, rbd_err(err));
	}
}

static void pump(struct rbd_store *s)
{
	while (!s->writing && !list_empty(&s->txns)) {
		struct store_txn *t = container_of(s->txns.head.next, struct store_txn, link);

		if (t->err || atomic_load(&s->lease.lost))
			txn_end(t, t->err ? t->err : -ESHUTDOWN);
		else
			txn_write(t);
	}
}

/* ---- making the images: on workers ---- */

static int progress(uint64_t offset, uint64_t total, void *arg)
{
	(void)offset, (void)total, (void)arg;
	return 0;
}

/* No striping, whatever the pool's own configuration has for new images (rbd config pool set), which librbd puts above cluster.c's: its
 * stripes are its objects. */
static void options_create(rbd_image_options_t *out, uint64_t order)
{
	rbd_image_options_create(out);
	rbd_image_options_set_uint64(*out, RBD_IMAGE_OPTION_FEATURES, FEATURES);
	rbd_image_options_set_uint64(*out, RBD_IMAGE_OPTION_ORDER, order);
	rbd_image_options_set_uint64(*out, RBD_IMAGE_OPTION_STRIPE_UNIT, UINT64_C(1) << order);
	rbd_image_options_set_uint64(*out, RBD_IMAGE_OPTION_STRIPE_COUNT, 1);
}

static int image_create(rados_ioctx_t io, const char *name, uint64_t size_bytes)
{
	rbd_image_options_t options;
	uint64_t order = 0;
	int err = rbd_cluster_order(io, &order);

	if (err < 0)
		return err;
	options_create(&options, order);
	err = rbd_create4(io, name, size_bytes, options);
	rbd_image_options_destroy(options);
	return err;
}

/* In a full pool librbd enlarges an image all the same, and its object map is not to be used from then on. So the pool is tried first. */
static int pool_takes_more(struct rbd_store *s)
{
	int err;

	rados_remove(s->cluster.io, s->room_object); /* of one who died here */
	err = rados_write_full(s->cluster.io, s->room_object, "", 1);
	if (err >= 0)
		rados_remove(s->cluster.io, s->room_object);
	return err;
}

static int image_enlarge(struct rbd_store *s, rbd_image_t handle, uint64_t size_bytes)
{
	uint64_t have_bytes = 0;
	int err = rbd_get_size(handle, &have_bytes), enlarged;

	if (err < 0 || have_bytes >= size_bytes)
		return err;
	err = pool_takes_more(s);
	if (err < 0)
		return err;
	enlarged = rbd_resize2(handle, size_bytes, false, progress, NULL);
	if (enlarged < 0 && enlarged != -EINVAL)
		return enlarged;
	/* It refuses to make an image smaller that another transaction has made larger meanwhile. */
	err = rbd_get_size(handle, &have_bytes); /* what it cuts I/O off at */
	if (err < 0 || have_bytes >= size_bytes)
		return err;
	return enlarged < 0 ? enlarged : -EIO;
}

/*
 * In a full pool librbd makes a snapshot, says that it did, and leaves out its object map: an object more. What was cut so cannot be
 * opened, and its clone fails with ENOENT as where the parent went.
 */
static bool cut_was_full(const struct rbd_cut_member *m)
{
	char id[RBD_ID_BYTES], map[RBD_OBJECT_BYTES];
	uint64_t snap, size;
	time_t when;

	if (rbd_get_id(m->image->handle, id, sizeof(id)) < 0 ||
		rbd_snap_get_id(m->image->handle, m->cut->snap, &snap) < 0)
		return false;
	rbd_map_object(map, id, snap);
	return rados_stat(m->cut->s->cluster.io, map, &size, &when) == -ENOENT;
}

static int image_clone(struct step *p)
{
	struct rbd_store *s = p->t->s;
	rados_ioctx_t io = s->cluster.io;
	rbd_image_options_t options;
	rbd_image_t handle;
	int err;

	options_create(&options, (uint64_t)__builtin_ctzll(p->member->image->object_bytes));
	rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_CLONE_FORMAT, 2);
	for (unsigned tries = 0;; tries++) {
		const struct timespec pause = {.tv_nsec = 50 * 1000000L};

		err = rbd_chain(s, p->member->image->name);
		if (err < 0)
			break;
		p->parents = (unsigned)err + 1;
		err = rbd_clone3(
			io, p->member->image->name, p->member->cut->snap, io, p->image->name, options);
		if (err == -ENOENT && cut_was_full(p->member))
			err = -ENOSPC;
		if (err != -ENOENT || tries == CLONE_TRIES)
			break;
		/* The original became independent while librbd opened it, and its parent went: it has none the next time. */
		nanosleep(&pause, NULL);
	}
	rbd_image_options_destroy(options);
	if (err < 0 || p->size_bytes == p->member->size_bytes)
		return err;
	err = rbd_image_open(s, p->image->name, &handle);
	if (err < 0)
		return err;
	err = image_enlarge(s, handle, p->size_bytes);
	rbd_close(handle);
	return err;
}

static void step_work(struct rbd_job *job)
{
	struct step *p = container_of(job, struct step, job);

	if (p->member)
		p->err = image_clone(p);
	else if (p->kind == STEP_CREATE)
		p->err = image_create(p->t->s->cluster.io, p->image->name, p->size_bytes);
	else
		p->err = image_enlarge(p->t->s, p->enlarged->handle, p->size_bytes);
}

static void given_up_end(struct store_txn *t)
{
	struct rbd_store *s = t->s;

	txn_free(t);
	s->lingering--;
	rbd_busy_end(s);
}

static void prepared(struct store_txn *t)
{
	void (*ready)(void *, int) = t->ready;
	void *arg = t->arg;
	int err = t->err;

	t->ready = NULL;
	t->s->lingering--;
	if (err)
		rbd_txn_give_up(t);
	ready(arg, err);
}

static void left_down(struct store_txn *t, int err)
{
	if (err && !t->err)
		t->err = err;
	if (--t->left)
		return;
	reactor_timer_disarm(t->s->base.reactor, &t->patience);
	if (t->given_up) {
		given_up_end(t);
		return;
	}
	if (t->ready) {
		prepared(t);
		return;
	}
	list_push_back(&t->s->txns, &t->link);
	pump(t->s);
}

static void step_ended(struct step *p, int err)
{
	struct store_txn *t = p->t;

	p->running = false;
	p->ready = !err;
	if (p->member)
		rbd_cut_clone_ended(p->member, err);
	if (t->given_up)
		step_undo(p);
	left_down(t, err);
}

/* A worker of what was given up, which others need not do without. */
static void hangs(struct rbd_store *s, int more)
{
	s->hung += (unsigned)more;
	rbd_work_hangs(&s->workers, RBD_LANE_SHORT, more);
}

static void work(struct step *p)
{
	p->works = true;
	rbd_work(&p->t->s->workers, RBD_LANE_SHORT, &p->job);
}

static void step_done(struct rbd_job *job)
{
	struct step *p = container_of(job, struct step, job);

	p->works = false;
	if (p->t->given_up)
		hangs(p->t->s, -1);
	if (p->enlarged)
		rbd_image_put(p->enlarged);
	if (p->image)
		p->image->parents = p->parents;
	if (p->member && p->err >= 0)
		p->member->image->parents = p->parents - 1;
	if (p->err == -ENOSPC || p->err == -EDQUOT)
		rbd_room_refresh(p->t->s);
	else if (p->err < 0 && p->err != -ESHUTDOWN)
		rbd_notice(p->t->s, "the image %s cannot be made ready: %s",
			(p->image ? p->image : p->enlarged)->name, rbd_failure_words(p->err));
	step_ended(p, p->err < 0 ? rbd_err(p->err) : 0);
}

static void resize_opened(struct rbd_waiter *w, int err)
{
	struct step *p = container_of(w, struct step, waiter);

	if (!err && p->t->given_up)
		rbd_image_put(p->enlarged);
	if (err || p->t->given_up)
		step_ended(p, err);
	else
		work(p);
}

static void step_start(struct store_txn *t, struct step *p)
{
	if (p->kind == STEP_DELETE)
		return;
	t->left++;
	p->running = true;
	p->job.work = step_work;
	p->job.done = step_done;
	if (p->member)
		rbd_cut_clone_begins(p->member);
	if (p->kind == STEP_RESIZE) {
		p->enlarged = p->disk->image;
		memcpy(p->enlarged_name, p->enlarged->name, sizeof(p->enlarged_name));
		p->waiter.call = resize_opened;
		rbd_image_need(p->enlarged, &p->waiter);
	} else {
		p->made = true;
		work(p);
	}
}

static void patience_ends(struct reactor_timer *timer)
{
	struct store_txn *t = container_of(timer, struct store_txn, patience);
	void (*done)(void *, int) = t->ready ? t->ready : t->done;
	void *arg = t->arg;

	rbd_txn_give_up(t);
	done(arg, -ETIME);
}

/* Each step that is not ready. */
static void steps_start(struct store_txn *t, int err)
{
	struct rbd_store *s = t->s;

	t->left = 1;
	t->err = atomic_load(&s->lease.lost) ? -ESHUTDOWN : err;
	if (!t->begun)
		s->busy++;
	t->begun = true;
	list_for_each (n, &t->steps) {
		struct step *p = container_of(n, struct step, link);

		if (!t->err && !p->ready)
			step_start(t, p);
	}
	if (!t->cut && t->left > 1) {
		t->patience.fire = patience_ends;
		reactor_timer_arm(s->base.reactor, &t->patience, s->patience_ms);
	}
	left_down(t, 0);
}

void rbd_txn_start(struct store_txn *t, struct rbd_cut *cut, void (*done)(void *arg, int err), void *arg)
{
	assert(!t->failed && !t->ready && t->cut == cut);
	t->done = done;
	t->arg = arg;
	list_for_each (n, &t->steps) {
		struct step *p = container_of(n, struct step, link);

		if (p->kind == STEP_RESIZE && strcmp(p->enlarged_name, p->disk->image->name) != 0)
			p->ready = false;
	}
	steps_start(t, 0);
}

void rbd_txn_prepare(struct store_txn *t, struct store_cut *cut, void (*ready)(void *arg, int err), void *arg)
{
	struct rbd_store *s = t->s;

	assert(!t->failed && !t->begun && t->cut == (cut ? cut->priv : NULL));
	if (t->cut) {
		assert(t->cut->taken && !t->cut->txn);
		t->cut->txn = t;
	}
	t->ready = ready;
	t->arg = arg;
	s->lingering++;
	steps_start(t, s->hung < RBD_HUNG_MOST ? 0 : -EBUSY);
}

bool rbd_txn_give_up(struct store_txn *t)
{
	if (t->writing)
		return false;
	t->given_up = true;
	if (!t->ready)
		t->s->lingering++;
	t->ready = NULL;
	reactor_timer_disarm(t->s->base.reactor, &t->patience);
	list_remove(&t->link);
	list_for_each_safe (n, &t->steps) {
		struct step *p = container_of(n, struct step, link);

		if (!p->running) {
			step_undo(p);
			continue;
		}
		if (p->works)
			hangs(t->s, 1);
		if (p->kind == STEP_CREATE)
			rbd_disk_free(p->disk);
		p->disk = NULL;
	}
	if (t->cut)
		rbd_cut_end(t->cut);
	if (!t->left)
		given_up_end(t);
	return true;
}

void rbd_txn_commit(struct store_txn *t, void (*done)(void *arg, int err), void *arg)
{
	rbd_txn_start(t, NULL, done, arg);
}

int rbd_txn_reclaimed(struct rbd_store *s, const char *image, void (*done)(void *arg, int err), void *arg)
{
	struct store_txn *t = rbd_txn_begin(&s->base);
	char key[RBD_KEY_BYTES];

	if (!t)
		return -ENOMEM;
	snprintf(key, sizeof(key), "todo.%s", image);
	rbd_op_del(t->op, key, strlen(key));
	rbd_txn_start(t, NULL, done, arg);
	return 0;
}
