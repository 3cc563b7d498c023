/* SPDX-License-Identifier: Apache-2.0 */
/* See rbd_hung.h. */
#include "tests/unit/store/rbd_hung.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define GIVE_UP_S 240

struct reactor *reactor;

/* ---- the calls ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t news = PTHREAD_COND_INITIALIZER;
static enum call caught_next;       /* calls of this kind hang from their beginning … */
static unsigned caught, most = ~0u; /* … so many of them at most … */
static unsigned times;              /* … until the next of these times */

void comes(enum call call)
{
	pthread_mutex_lock(&lock);
	if (caught_next == call && caught < most) {
		unsigned now = times;

		caught++;
		while (times == now)
			pthread_cond_wait(&news, &lock);
	}
	pthread_mutex_unlock(&lock);
}

#define WRAPPED(kind, name, parameters, arguments)                                                           \
	int __real_##name parameters;                                                                        \
	int __wrap_##name parameters;                                                                        \
	int __wrap_##name parameters                                                                         \
	{                                                                                                    \
		comes(kind);                                                                                 \
		return __real_##name arguments;                                                              \
	}

WRAPPED(CALL_CREATE, rbd_create4,
	(rados_ioctx_t io, const char *name, uint64_t size, rbd_image_options_t options),
	(io, name, size, options))
int __real_rbd_open(rados_ioctx_t io, const char *name, rbd_image_t *image, const char *snap);
int __wrap_rbd_open(rados_ioctx_t io, const char *name, rbd_image_t *image, const char *snap);
int __wrap_rbd_open(rados_ioctx_t io, const char *name, rbd_image_t *image, const char *snap)
{
	int err = __real_rbd_open(io, name, image, snap);

	comes(CALL_OPENED);
	return err;
}

WRAPPED(CALL_HEADER, rbd_get_size, (rbd_image_t image, uint64_t *size), (image, size))
WRAPPED(CALL_SNAP, rbd_snap_create2,
	(rbd_image_t image, const char *name, uint32_t flags, librbd_progress_fn_t progress, void *arg),
	(image, name, flags, progress, arg))
WRAPPED(CALL_CLONE, rbd_clone3,
	(rados_ioctx_t from, const char *parent, const char *snap, rados_ioctx_t to, const char *name,
		rbd_image_options_t options),
	(from, parent, snap, to, name, options))
WRAPPED(CALL_RESIZE, rbd_resize2,
	(rbd_image_t image, uint64_t size, bool shrink, librbd_progress_fn_t progress, void *arg),
	(image, size, shrink, progress, arg))
WRAPPED(CALL_REMOVE, rbd_remove_with_progress,
	(rados_ioctx_t io, const char *name, librbd_progress_fn_t progress, void *arg),
	(io, name, progress, arg))
/* A hydration's. */
WRAPPED(CALL_STRIPE, rbd_get_stripe_unit, (rbd_image_t image, uint64_t *bytes), (image, bytes))

WRAPPED(CALL_STAT, rados_stat, (rados_ioctx_t io, const char *object, uint64_t *size, time_t *when),
	(io, object, size, when))
WRAPPED(CALL_UNTIE, rbd_snap_remove_by_id, (rbd_image_t image, uint64_t snap), (image, snap))

/* The writing of a label is its only one. */
WRAPPED(CALL_LABEL, rados_aio_write_op_operate,
	(rados_write_op_t op, rados_ioctx_t io, rados_completion_t c, const char *object, time_t *when,
		int flags),
	(op, io, c, object, when, flags))

void hang_some(enum call call, unsigned count)
{
	pthread_mutex_lock(&lock);
	caught_next = call;
	caught = 0;
	most = count;
	pthread_mutex_unlock(&lock);
}

void hang(enum call call)
{
	hang_some(call, ~0u);
}

static bool hang_as_many(unsigned count)
{
	pthread_mutex_lock(&lock);
	bool as_many = caught == count;
	pthread_mutex_unlock(&lock);
	return as_many;
}

/* Those that come from now on do not hang. */
void hang_no_more(void)
{
	hang(CALL_NONE);
}

void let_go(void)
{
	pthread_mutex_lock(&lock);
	caught_next = CALL_NONE;
	times++;
	pthread_cond_broadcast(&news);
	pthread_mutex_unlock(&lock);
}

/* ---- a store ---- */

struct store *s;

static void notice(void *arg, enum store_notice level, const char *text)
{
	(void)arg, (void)level;
	fprintf(stderr, "notice: %s\n", text);
}

static void fenced(void *arg, const char *reason)
{
	(void)arg;
	fail_msg("fenced: %s", reason);
}

struct store_module_options options(void)
{
	return (struct store_module_options){.ceph_pool = getenv("UMBRA_TEST_CEPH_POOL"),
		.array = "hang",
		.notice = notice,
		.fenced = fenced};
}

void ended(void *arg, int err)
{
	struct wait *w = arg;

	w->done++;
	w->err = err;
}

void hydrated(struct store_hydration *h, int err)
{
	ended(&container_of(h, struct hydration, h)->wait, err);
}

bool until(bool (*holds)(const void *arg), const void *arg)
{
	time_t end = time(NULL) + GIVE_UP_S;

	while (!holds(arg)) {
		if (time(NULL) > end)
			return false;
		for (unsigned i = 0; i < 10; i++)
			assert_true(reactor_turn(reactor, 10) >= 0);
	}
	return true;
}

static bool is_done(const void *arg)
{
	return ((const struct wait *)arg)->done;
}

int wait_for(const struct wait *w)
{
	assert_true(until(is_done, w));
	assert_int_equal(w->done, 1);
	return w->err;
}

static bool hang_so_many(const void *count)
{
	return hang_as_many(*(const unsigned *)count);
}

void wait_until_hang(unsigned count)
{
	assert_true(until(hang_so_many, &count));
}

int store_setup(void **state)
{
	struct store_module_options o = options();
	struct fault f = {0};

	(void)state;
	if (umbra_store_module.create(&o, &f) || umbra_store_module.open(&o, reactor, &s, &f))
		fail_msg("%s", f.text);
	return 0;
}

int output_lines(const char *command)
{
	FILE *out = popen(command, "r");
	int lines = 0;

	assert_non_null(out);
	for (int c = fgetc(out); c != EOF; c = fgetc(out))
		lines += c == '\n';
	pclose(out);
	return lines;
}

/* Images, in the trash or not. */
int images(void)
{
	char command[200];

	snprintf(command, sizeof(command), "(rbd -p %s ls; rbd -p %s trash ls -a) | cat", options().ceph_pool,
		options().ceph_pool);
	return output_lines(command);
}

int snapshots(struct store_disk *d)
{
	char command[300];

	snprintf(command, sizeof(command), "rbd -p %s snap ls --all %s | tail -n +2", options().ceph_pool,
		rbd_disk_of(d)->image->name);
	return output_lines(command);
}

bool is_idle(const void *unused)
{
	(void)unused;
	return rbd_store_of(s)->busy == 0;
}

static bool has_images(const void *count)
{
	return images() == *(const int *)count;
}

/* What goes on in the background is over, but for an original's deletion, which is tried again after its copy's. */
void assert_left(int count)
{
	assert_true(until(is_idle, NULL));
	assert_true(until(has_images, &count));
}

void make_disks(struct store_disk **out, unsigned count)
{
	struct store_txn *t = s->ops->txn_begin(s);
	struct wait w = {0};

	for (unsigned i = 0; i < count; i++)
		assert_int_equal(s->ops->txn_disk_create(t, 4 * MIB, &out[i]), 0);
	s->ops->txn_commit(t, ended, &w);
	assert_int_equal(wait_for(&w), 0);
}

int store_teardown(void **state)
{
	struct wait w = {0};
	char command[300];

	(void)state;
	let_go();
	s->ops->close(s, ended, &w);
	wait_for(&w);
	snprintf(command, sizeof(command),
		"for i in $(rbd -p %s ls | sort -r -t- -k2 -n); do rbd -p %s rm --no-progress $i; done; rados -p %s rm umbra.hang",
		options().ceph_pool, options().ceph_pool, options().ceph_pool);
	return system(command);
}

void delete_disk(struct store_disk *d)
{
	struct store_txn *t = s->ops->txn_begin(s);
	struct wait w = {0};

	assert_int_equal(s->ops->txn_disk_delete(t, d), 0);
	s->ops->txn_commit(t, ended, &w);
	assert_int_equal(wait_for(&w), 0);
}

void commit_fork(struct store_cut *c, unsigned index, struct store_disk **copy, struct wait *w)
{
	struct store_txn *t = s->ops->txn_begin(s);

	assert_int_equal(s->ops->txn_disk_fork(t, c, index, copy), 0);
	s->ops->cut_commit(c, t, ended, w);
}

struct store_disk *copy_of(struct store_disk *d)
{
	struct store_cut c = {.disks = &d, .count = 1};
	struct store_disk *copy;
	struct wait cut = {0}, w = {0};

	s->ops->cut(s, &c, ended, &cut);
	assert_int_equal(wait_for(&cut), 0);
	commit_fork(&c, 0, &copy, &w);
	assert_int_equal(wait_for(&w), 0);
	return copy;
}

static void accessed(struct store_io *io, int err)
{
	ended(&container_of(io, struct access, io)->wait, err);
}

struct access *access_begin(struct store_disk *d, enum store_io_op op, uint32_t value)
{
	struct access *x = aligned_alloc(_Alignof(struct access), sizeof(*x));

	assert_non_null(x);
	memset(x, 0, sizeof(*x));
	x->data[0] = value;
	x->iov = (struct iovec){x->data, sizeof(x->data)};
	x->io = (struct store_io){.op = op,
		.len = sizeof(x->data),
		.iov = &x->iov,
		.iov_count = 1,
		.disk = d,
		.done = accessed};
	s->ops->submit(&x->io);
	return x;
}

uint32_t access_end(struct access *x)
{
	assert_int_equal(wait_for(&x->wait), 0);
	uint32_t value = x->data[0];
	free(x);
	return value;
}
