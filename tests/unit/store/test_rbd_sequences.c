/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every sequence of three operations on images in Ceph, and umbrad dies at every call of librbd's and librados' that changes
 * something: before it, behind it (when the cluster has it, or not yet), or while it is under way. The next one takes the array,
 * and finds what the model allows: each flushed sector, every other one old or new by itself, every acknowledged set with its cut,
 * every acknowledged record. In the end nothing is left of what was deleted, or begun and never named.
 *
 * The pool's counterpart is test_pool_sequences.c. What that one has besides is not a store's in Ceph: the OSDs keep what is written,
 * and Ceph's pool grows without us.
 *
 * A state is one sequence, its operations one after the other or each begun while those before are under way, with one place of
 * the death, which the seed draws. UMBRA_TEST_RUNS says how many are taken, each of another sequence; UMBRA_TEST_SECONDS ends them
 * earlier.
 */
#include <pthread.h>
#include <rados/librados.h>
#include <rbd/librbd.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "tests/support/test.h"
#include "tests/unit/store/suite_model.h"

enum step {
	WRITE,
	OVERWRITE,
	UNMAP,
	COMPARE,
	FLUSH,
	SET,
	DELETE,
	RESYNC,
	RECORD,
	RESIZE,
	HYDRATE,
	STEPS
};
static const char *const step_names[STEPS] = {"write", "overwrite", "unmap", "compare", "flush", "set",
	"delete", "resync", "record", "resize", "hydrate"};

#define SEQUENCES (STEPS * STEPS * STEPS)
#define LENGTH    3u
#define STATES    12u
#define COPIES    4u    /* at most, when a sequence begins */
#define OBJECT    8192u /* sectors */

enum death {
	BEFORE,
	BEHIND,
	WITHIN, /* some moments after it has begun */
	DEATHS
};

/* For the victim, and from it; behind the model in the memory that is shared. */
struct job {
	unsigned sequence, place;
	enum death death;
	bool overlapped, opening; /* opening: the calls of taking the array count, too */
	bool met;                 /* the place was there */
	char at[40];              /* the call */
	uint64_t record, record_told;
	uint64_t states, behind;
};
static struct job *job;
_Static_assert(sizeof(struct job) <= sizeof(suite.m->more), "the model has no room for it");

/* ---- the places */

static atomic_bool counting;
static atomic_uint places;

static _Noreturn void die(void)
{
	kill(getpid(), SIGKILL);
	for (;;)
		pause();
}

static void *die_soon(void *arg)
{
	struct timespec t = {.tv_nsec = (long)(uintptr_t)arg};

	nanosleep(&t, NULL);
	die();
}

static bool is_place(const char *call)
{
	pthread_t thread;

	if (!atomic_load(&counting) || atomic_fetch_add(&places, 1) + 1 != job->place)
		return false;
	snprintf(job->at, sizeof(job->at), "%s", call);
	job->met = true;
	if (job->death == BEFORE)
		die();
	if (job->death == WITHIN)
		SUITE_CHECK(pthread_create(&thread, NULL, die_soon,
				    (void *)(uintptr_t)(job->place * 7919 % 4000 * 1000)) == 0);
	return job->death == BEHIND;
}

#define WRAPPED(type, name, parameters, arguments)                                                           \
	type __real_##name parameters;                                                                       \
	type __wrap_##name parameters;                                                                       \
	type __wrap_##name parameters                                                                        \
	{                                                                                                    \
		bool behind = is_place(#name);                                                               \
		type result = __real_##name arguments;                                                       \
                                                                                                             \
		if (behind)                                                                                  \
			die();                                                                               \
		return result;                                                                               \
	}

WRAPPED(int, rados_write_op_operate,
	(rados_write_op_t op, rados_ioctx_t io, const char *oid, time_t *mtime, int flags),
	(op, io, oid, mtime, flags))
WRAPPED(int, rados_aio_write_op_operate,
	(rados_write_op_t op, rados_ioctx_t io, rados_completion_t c, const char *oid, time_t *mtime,
		int flags),
	(op, io, c, oid, mtime, flags))
WRAPPED(int, rados_blocklist_add, (rados_t cluster, char *address, uint32_t seconds),
	(cluster, address, seconds))
WRAPPED(int, rados_break_lock,
	(rados_ioctx_t io, const char *o, const char *name, const char *client, const char *cookie),
	(io, o, name, client, cookie))
WRAPPED(int, rados_exec,
	(rados_ioctx_t io, const char *oid, const char *cls, const char *method, const char *in,
		size_t in_len, char *buf, size_t out_len),
	(io, oid, cls, method, in, in_len, buf, out_len))
WRAPPED(int, rados_remove, (rados_ioctx_t io, const char *oid), (io, oid))
WRAPPED(int, rados_write_full, (rados_ioctx_t io, const char *oid, const char *buf, size_t len),
	(io, oid, buf, len))
WRAPPED(int, rbd_aio_write, (rbd_image_t i, uint64_t off, size_t len, const char *buf, rbd_completion_t c),
	(i, off, len, buf, c))
WRAPPED(int, rbd_aio_writev,
	(rbd_image_t i, const struct iovec *iov, int count, uint64_t off, rbd_completion_t c),
	(i, iov, count, off, c))
WRAPPED(int, rbd_aio_write_zeroes,
	(rbd_image_t i, uint64_t off, size_t len, rbd_completion_t c, int zero_flags, int op_flags),
	(i, off, len, c, zero_flags, op_flags))
WRAPPED(ssize_t, rbd_aio_compare_and_write,
	(rbd_image_t i, uint64_t off, size_t len, const char *cmp, const char *buf, rbd_completion_t c,
		uint64_t *mismatch, int flags),
	(i, off, len, cmp, buf, c, mismatch, flags))
WRAPPED(int, rbd_aio_flush, (rbd_image_t i, rbd_completion_t c), (i, c))
WRAPPED(int, rbd_clone3,
	(rados_ioctx_t p, const char *p_name, const char *p_snap, rados_ioctx_t c, const char *c_name,
		rbd_image_options_t o),
	(p, p_name, p_snap, c, c_name, o))
WRAPPED(int, rbd_close, (rbd_image_t i), (i))
WRAPPED(int, rbd_create4, (rados_ioctx_t io, const char *name, uint64_t size, rbd_image_options_t o),
	(io, name, size, o))
WRAPPED(int, rbd_lock_acquire, (rbd_image_t i, rbd_lock_mode_t mode), (i, mode))
WRAPPED(int, rbd_metadata_set, (rbd_image_t i, const char *key, const char *value), (i, key, value))
WRAPPED(int, rbd_remove_with_progress,
	(rados_ioctx_t io, const char *name, librbd_progress_fn_t progress, void *arg),
	(io, name, progress, arg))
WRAPPED(int, rbd_resize2, (rbd_image_t i, uint64_t size, bool shrink, librbd_progress_fn_t f, void *arg),
	(i, size, shrink, f, arg))
WRAPPED(int, rbd_snap_create2,
	(rbd_image_t i, const char *name, uint32_t flags, librbd_progress_fn_t f, void *arg),
	(i, name, flags, f, arg))
WRAPPED(int, rbd_snap_remove, (rbd_image_t i, const char *name), (i, name))
WRAPPED(int, rbd_snap_remove2,
	(rbd_image_t i, const char *name, uint32_t flags, librbd_progress_fn_t f, void *arg),
	(i, name, flags, f, arg))
WRAPPED(int, rbd_snap_remove_by_id, (rbd_image_t i, uint64_t snap), (i, snap))
WRAPPED(int, rbd_trash_remove_with_progress,
	(rados_ioctx_t io, const char *id, bool force, librbd_progress_fn_t progress, void *arg),
	(io, id, force, progress, arg))
WRAPPED(int, rbd_update_features, (rbd_image_t i, uint64_t features, uint8_t on), (i, features, on))

/* A place at each of its objects. */
struct progress {
	librbd_progress_fn_t f;
	void *arg;
};

static int progressed(uint64_t offset, uint64_t total, void *arg)
{
	struct progress *p = arg;

	if (is_place("rbd_flatten_with_progress, within"))
		die();
	return p->f(offset, total, p->arg);
}

int __real_rbd_flatten_with_progress(rbd_image_t i, librbd_progress_fn_t f, void *arg);
int __wrap_rbd_flatten_with_progress(rbd_image_t i, librbd_progress_fn_t f, void *arg);
int __wrap_rbd_flatten_with_progress(rbd_image_t i, librbd_progress_fn_t f, void *arg)
{
	struct progress p = {f, arg};
	bool behind = is_place("rbd_flatten_with_progress");
	int result = __real_rbd_flatten_with_progress(i, progressed, &p);

	if (behind)
		die();
	return result;
}

/* ---- the steps */

static struct slot *original(void)
{
	return &suite.m->slots[0];
}

/* The newest, or the oldest; NULL: there is none. */
static struct slot *copy(bool newest)
{
	struct slot *found = NULL;

	for (unsigned i = 1; i < SLOTS; i++) {
		struct slot *s = &suite.m->slots[i];

		if (s->state == SLOT_LIVE && (!found || (s->disk_id > found->disk_id) == newest))
			found = s;
	}
	return found;
}

static unsigned copies(void)
{
	unsigned count = 0;

	for (unsigned i = 1; i < SLOTS; i++)
		count += suite.m->slots[i].state == SLOT_LIVE;
	return count;
}

/* What is under way on the range is waited for, and flushed where it was written to too often. */
static void change(struct slot *s, enum store_io_op op, uint64_t sector, uint64_t count)
{
	if (!suite_range_free(s, sector, count, true)) {
		suite_drain();
		if (!suite_range_free(s, sector, count, true)) {
			suite_flush_start(s);
			suite_drain();
		}
	}
	SUITE_CHECK(suite_range_free(s, sector, count, true));
	if (op != STORE_COMPARE_WRITE || suite_compare_possible(s, sector, count))
		suite_op_start(s, op, sector, count, 0);
}

static void take_set(void)
{
	struct slot *from = original(), *to = suite_free_slot();

	if (to)
		suite_cut(&from, &to, 1, false);
}

static void put_record(void)
{
	struct store_txn *t = suite.store->ops->txn_begin(suite.store);

	job->record++;
	SUITE_CHECK(suite.store->ops->txn_put(
			    t, STORE_TABLE_HOST, "h", 1, &job->record, sizeof(job->record)) == 0);
	SUITE_CHECK(suite_commit(t) == 0);
	job->record_told = job->record;
}

/* apart: so many places further, for two writes under way to one sector may end either way. */
static void begin(enum step step, uint64_t apart)
{
	struct slot *s = original(), *c;

	switch (step) {
	case WRITE: /* to where there is little yet */
		change(s, STORE_WRITE, OBJECT + 50 + apart * 24, 24);
		break;
	case OVERWRITE: /* what is shared, not by whole blocks, over the edge to the next object */
		change(s, STORE_WRITE, OBJECT - 15 + apart * 20, 20);
		break;
	case UNMAP:
		change(s, STORE_UNMAP, 100 + apart * 24, OBJECT - 500);
		break;
	case COMPARE:
		change(s, STORE_COMPARE_WRITE, OBJECT - 200 + apart * 20, 17);
		break;
	case FLUSH:
		suite_flush_start(s);
		break;
	case SET:
		take_set();
		break;
	case DELETE:
		c = copy(true);
		if (c)
			suite_delete_disk(c);
		break;
	case RESYNC:
		c = copy(true);
		if (c)
			suite_repoint(c, s);
		break;
	case RECORD:
		put_record();
		break;
	case RESIZE:
		suite_resize_disk(s);
		break;
	default:
		c = copy(true);
		if (c)
			suite_hydrate_start(c);
	}
}

static unsigned next_step;

static enum step step_of(unsigned sequence, unsigned i)
{
	for (; i > 0; i--)
		sequence /= STEPS;
	return sequence % STEPS;
}

/* While a transaction is waited for: what is only begun. */
static void next_meanwhile(void)
{
	enum step step = next_step < LENGTH ? step_of(job->sequence, next_step) : STEPS;

	suite.meanwhile = NULL;
	if ((step > FLUSH && step != HYDRATE) || original()->held || original()->locked)
		return;
	begin(step, next_step++);
}

static void play(void)
{
	next_step = 0;
	while (next_step < LENGTH) {
		unsigned i = next_step++;

		suite.meanwhile = job->overlapped ? next_meanwhile : NULL;
		begin(step_of(job->sequence, i), job->overlapped ? i : 0);
		if (!job->overlapped)
			suite_drain();
	}
	suite.meanwhile = NULL;
	suite_drain();
	for (unsigned i = 0; i < SLOTS; i++)
		while (suite.m->slots[i].hydrating)
			suite_turn();
}

/* ---- one process' life */

static int found_record(void *arg, const void *key, size_t key_len, const void *value, size_t value_len)
{
	(void)arg, (void)key;
	SUITE_CHECK(key_len == 1 && value_len == sizeof(job->record));
	memcpy(arg, value, value_len);
	return 0;
}

static void open_and_verify(void)
{
	uint64_t record = 0;

	suite_open();
	suite_crashed();
	suite_verify();
	SUITE_CHECK(suite.store->ops->iterate(suite.store, STORE_TABLE_HOST, found_record, &record) == 0);
	SUITE_CHECK(record == job->record_told || record == job->record);
	job->record = job->record_told = record;
}

/* An original with some of its objects flushed, and two copies that share them. */
static void prepare(void)
{
	struct slot *s = original();

	if (s->state != SLOT_LIVE || s->sectors > SECTORS - 3000) {
		if (s->state == SLOT_LIVE)
			suite_delete_disk(s);
		suite_create_disk();
		SUITE_CHECK(s->state == SLOT_LIVE);
	}
	while (copies() > COPIES)
		suite_delete_disk(copy(false));
	do {
		change(s, STORE_WRITE, 16, 1000);
		change(s, STORE_WRITE, OBJECT - 100, 64);
		suite_drain();
		suite_flush_start(s);
		suite_drain();
		if (copies() < 2)
			take_set();
	} while (copies() < 2);
}

static _Noreturn void victim(void)
{
	suite_map();
	job = (struct job *)suite.m->more;
	atomic_store(&counting, job->opening);
	open_and_verify();
	if (!job->opening || original()->state != SLOT_LIVE)
		prepare();
	atomic_store(&counting, true);
	play();
	if (job->sequence % 2)
		suite_close();
	die();
}

static void try_state(void)
{
	int status;
	pid_t pid = suite_victim();

	SUITE_CHECK(waitpid(pid, &status, 0) == pid);
	if (getenv("UMBRA_TEST_VERBOSE") || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		fprintf(stderr, "%s, %s, %s%s%s: place %u, %s %s, status 0x%x\n",
			step_names[step_of(job->sequence, 0)], step_names[step_of(job->sequence, 1)],
			step_names[step_of(job->sequence, 2)], job->overlapped ? ", overlapped" : "",
			job->opening ? ", from the opening" : "", job->place,
			job->death == BEFORE   ? "before"
			: job->death == BEHIND ? "behind"
					       : "within",
			job->met ? job->at : "its end", (unsigned)status);
	SUITE_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	job->states++;
	job->behind += !job->met;
}

static unsigned number_of(const char *name, unsigned otherwise)
{
	const char *text = getenv(name);

	return text ? (unsigned)strtoul(text, NULL, 0) : otherwise;
}

TEST(a_death_at_every_place_of_every_short_sequence_keeps_what_was_promised)
{
	unsigned runs = number_of("UMBRA_TEST_RUNS", STATES), seconds = number_of("UMBRA_TEST_SECONDS", 0);
	time_t begun = time(NULL);

	suite_new();
	job = (struct job *)suite.m->more;
	suite_store.begin();
	for (uint64_t i = suite_below(SEQUENCES); job->states < runs; i++) {
		if (seconds && time(NULL) - begun >= seconds)
			break;
		job->sequence =
			(unsigned)(i * 769 %
				   SEQUENCES); /* each once in SEQUENCES turns, unlike its neighbours */
		job->overlapped = suite_below(2);
		job->opening = suite_below(6) == 0;
		job->death = (enum death)suite_below(DEATHS);
		job->place = 1 + (unsigned)suite_below(job->opening ? 20 : 12);
		job->met = false;
		try_state();
	}
	fprintf(stderr, "%llu states, in %llu of them the sequence had ended\n",
		(unsigned long long)job->states, (unsigned long long)job->behind);
	open_and_verify();
	suite_end();
}

int main(int argc, char **argv)
{
	if (argc == 2) {
		suite.model_fd = (int)strtol(argv[1], NULL, 10);
		victim();
	}
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_death_at_every_place_of_every_short_sequence_keeps_what_was_promised),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
