/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool on the real machine: a directory, the reactor, LMDB and O_DIRECT. Its errors at create and open,
 * and a process that is killed (SIGKILL) in the middle of writes, flushes, clones, sets and deletions, again and
 * again: afterwards everything flushed is there, every acknowledged set holds exactly its cut, and a check
 * finds nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "array/store/pool/pool.h"
#include "tests/support/test.h"

#define BLOCKS 1024u /* of 4 KiB, a disk */
#define DISKS  2u
#define CLONE  DISKS /* one more, which only gets what the first one has, by cloning */
#define BLOCK  4096u

static char dir[64];

/* What the child tells its parent. A block holds one tag; tags of a block only grow. */
struct shared {
	volatile uint64_t disk_id[DISKS + 1];
	volatile uint64_t attempted[DISKS + 1][BLOCKS], flushed[DISKS + 1][BLOCKS];
	volatile uint64_t next_tag;
	volatile uint64_t fork_id[DISKS]; /* of the last acknowledged set; 0: none */
	volatile uint64_t forked[DISKS][BLOCKS];
	volatile uint64_t sets, flushes, shared_bytes;
	uint64_t seed;
};

static struct pool_options options(void)
{
	return (struct pool_options){
		.path = dir, .capacity_bytes = UINT64_C(96) << 20, .log_bytes = 2u << 20, .checksums = true};
}

static void make_dir(void)
{
	snprintf(dir, sizeof(dir), "/tmp/umbra-pool-XXXXXX");
	assert_non_null(mkdtemp(dir));
}

static void remove_pool(const char *of)
{
	static const char *const names[] = {
		"pool", "log", "lock", "data.0", "mark", "sums", "touched", "meta/data.mdb", "meta/lock.mdb"};
	char path[128];

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", of, names[i]);
		unlink(path);
	}
	snprintf(path, sizeof(path), "%s/meta", of);
	rmdir(path);
	rmdir(of);
}

static void remove_dir(void)
{
	remove_pool(dir);
}

/* ---- one thing at a time --------------------------------------------------------------------------- */

struct wait {
	bool done;
	int err;
};

struct wait_io {
	struct store_io io;
	struct wait wait;
	struct iovec iov;
};

static void done(void *arg, int err)
{
	struct wait *w = arg;

	w->done = true;
	w->err = err;
}

static void io_done(struct store_io *io, int err)
{
	done(&((struct wait_io *)(void *)io)->wait, err);
}

static void turn_until(struct reactor *r, const struct wait *w)
{
	while (!w->done)
		assert_true(reactor_turn(r, 1000) >= 0);
}

static int run_io(
	struct reactor *r, struct store_disk *d, enum store_io_op op, uint64_t offset, void *buf, size_t len)
{
	struct wait_io x = {.io = {.op = op, .disk = d, .offset = offset, .len = len, .done = io_done}};

	x.iov = (struct iovec){buf, len};
	x.io.iov = &x.iov;
	x.io.iov_count = 1;
	d->store->ops->submit(&x.io);
	turn_until(r, &x.wait);
	return x.wait.err;
}

static int commit(struct reactor *r, struct store *s, struct store_txn *t)
{
	struct wait w = {0};

	s->ops->txn_commit(t, done, &w);
	turn_until(r, &w);
	return w.err;
}

/* The kernel may let go of a file of the last I/O when the ring is waited on next; until then the pool cannot be opened in this process. */
static int close_store(struct reactor *r, struct store *s)
{
	struct wait w = {0};

	s->ops->close(s, done, &w);
	turn_until(r, &w);
	for (unsigned i = 0; i < 2; i++)
		assert_true(reactor_turn(r, 10) >= 0);
	return w.err;
}

static struct reactor *new_reactor(void)
{
	struct reactor_options o = {.ring_entries = 64, .workers = 2};
	struct reactor *r;

	assert_int_equal(reactor_create(&r, &o), 0);
	return r;
}

/* ---- errors ---------------------------------------------------------------------------------------- */

static void expect_open(int err, const char *word)
{
	struct pool_options o = options();
	struct reactor *r = new_reactor();
	struct fault fault = {0};
	struct store *s = NULL;

	assert_int_equal(pool_open(&o, r, &s, &fault), err);
	assert_int_equal(fault.err, err);
	if (!strstr(fault.text, word)) {
		print_error("%s\n", fault.text);
		fail();
	}
	reactor_destroy(r);
}

static void poke(const char *name, off_t offset, const char *bytes, size_t len)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, len, offset), (ssize_t)len);
	close(fd);
}

/* Makes one byte another one, whatever it is. */
static void spoil(const char *name, off_t offset)
{
	char path[128], byte;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDONLY);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, offset), 1);
	close(fd);
	byte = (char)~byte;
	poke(name, offset, &byte, 1);
}

static void poke_away(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(unlink(path), 0);
}

static void make_version(uint32_t version)
{
	struct pool_super super;
	uint8_t buf[POOL_SUPER_BYTES];
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/pool", dir);
	fd = open(path, O_RDWR);
	assert_int_equal(pread(fd, buf, sizeof(buf), 0), (ssize_t)sizeof(buf));
	pool_super_decode(buf, &super);
	super.version = version;
	pool_super_encode(buf, &super);
	assert_int_equal(pwrite(fd, buf, sizeof(buf), 0), (ssize_t)sizeof(buf));
	close(fd);
}

TEST(create_and_open_say_what_is_wrong)
{
	struct pool_options o;
	struct reactor *r = new_reactor();
	struct fault fault = {0};
	struct store *s;
	char path[128];

	snprintf(dir, sizeof(dir), "/tmp/umbra-pool-none-%d", (int)getpid());
	expect_open(-ENOENT, "check the path");
	make_dir();
	o = options();
	expect_open(-ENOENT, "no pool there");
	assert_int_equal(pool_create(&o, &fault), 0);
	assert_int_equal(pool_create(&o, &fault), -EEXIST);
	assert_int_equal(pool_open(&o, r, &s, &fault), 0);
	expect_open(-EBUSY, "in use");
	assert_int_equal(pool_create(&o, &fault), -EBUSY);
	assert_int_equal(close_store(r, s), 0);
	poke_away("pool");
	expect_open(-ENOENT, "no pool there");
	assert_int_equal(pool_create(&o, &fault), -EEXIST);
	assert_non_null(strstr(fault.text, "parts of a pool"));
	remove_dir();
	make_dir();
	o = options();
	o.log_bytes = UINT64_C(1) << 60; /* no file system has it: a failed creation leaves nothing */
	assert_int_not_equal(pool_create(&o, &fault), 0);
	o = options();
	assert_int_equal(pool_create(&o, &fault), 0);
	make_version(POOL_VERSION + 1);
	expect_open(-ENOTSUP, "newer");
	make_version(POOL_VERSION);
	snprintf(path, sizeof(path), "%s/data.0", dir);
	assert_int_equal(truncate(path, 0), 0);
	expect_open(-EUCLEAN, "data.0");
	spoil("pool", 20);
	expect_open(-EUCLEAN, "damaged");
	remove_dir();
	reactor_destroy(r);
}

/* What a killed process's ring still writes keeps its file open: the next start waits for it. */
TEST(open_waits_for_the_writes_of_a_killed_process)
{
	static const char *const names[] = {"data.0", "log"};
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	struct pool_options o;
	struct reactor *r = new_reactor();
	struct fault fault = {0};

	make_dir();
	o = options();
	assert_int_equal(pool_create(&o, &fault), 0);
	for (unsigned i = 0; i < 2; i++) {
		struct timespec from, to;
		struct store *s;
		char path[128];
		pid_t child;
		int fd, status;

		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		fd = open(path, O_RDWR | O_CLOEXEC);
		assert_true(fd >= 0);
		assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
		child = fork();
		assert_true(child >= 0);
		if (child == 0) {
			usleep(300000);
			_exit(0);
		}
		close(fd); /* the child has it, too */
		clock_gettime(CLOCK_MONOTONIC, &from);
		assert_int_equal(pool_open(&o, r, &s, &fault), 0);
		clock_gettime(CLOCK_MONOTONIC, &to);
		assert_true((to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000 >= 200);
		assert_int_equal(close_store(r, s), 0);
		assert_int_equal(waitpid(child, &status, 0), child);
	}
	remove_dir();
	reactor_destroy(r);
}

TEST(a_damaged_log_or_meta_is_found_at_open)
{
	struct pool_options o;
	struct fault fault = {0};
	char path[128], zeros[8192] = {0};

	make_dir();
	o = options();
	assert_int_equal(pool_create(&o, &fault), 0);
	spoil("log", 8); /* in the pool's random id */
	expect_open(-EUCLEAN, "log");
	remove_dir();
	make_dir();
	assert_int_equal(pool_create(&o, &fault), 0);
	poke("meta/data.mdb", 0, zeros, sizeof(zeros));
	expect_open(-EUCLEAN, "meta");
	snprintf(path, sizeof(path), "%s/meta/data.mdb", dir);
	unlink(path);
	expect_open(-EUCLEAN, "meta");
	remove_dir();
}

/* ---- read and write, O_DIRECT and odd sizes -------------------------------------------------------- */

TEST(what_was_flushed_is_there_after_a_reopen)
{
	struct pool_options o;
	struct reactor *r = new_reactor();
	struct fault fault = {0};
	struct store_disk *d;
	struct store_txn *t;
	struct store *s;
	uint64_t id;
	uint8_t *buf;

	make_dir();
	o = options();
	assert_int_equal(pool_create(&o, &fault), 0);
	assert_int_equal(pool_open(&o, r, &s, &fault), 0);
	t = s->ops->txn_begin(s);
	assert_int_equal(s->ops->txn_disk_create(t, BLOCKS * BLOCK, &d), 0);
	assert_int_equal(commit(r, s, t), 0);
	id = s->ops->disk_id(d);
	assert_int_equal(posix_memalign((void **)&buf, 4096, 1 << 20), 0);
	for (unsigned i = 0; i < 1 << 20; i++)
		buf[i] = (uint8_t)(i * 7 + i / 512);
	assert_int_equal(run_io(r, d, STORE_WRITE, 512, buf + 512, 700 * 512), 0);
	assert_int_equal(run_io(r, d, STORE_FLUSH, 0, NULL, 0), 0);
	assert_int_equal(close_store(r, s), 0);
	assert_int_equal(pool_open(&o, r, &s, &fault), 0);
	assert_int_equal(s->ops->disk_open(s, id, &d), 0);
	memset(buf, 0, 1 << 20);
	assert_int_equal(run_io(r, d, STORE_READ, 0, buf, 702 * 512), 0);
	for (unsigned i = 0; i < 702 * 512; i++)
		assert_int_equal(buf[i], i < 512 || i >= 701 * 512 ? 0 : (uint8_t)(i * 7 + i / 512));
	assert_int_equal(close_store(r, s), 0);
	free(buf);
	reactor_destroy(r);
	remove_dir();
}

/* ---- what is mapped ---- */

struct run {
	uint64_t at, bytes;
	bool mapped;
};

/* Asks from `at` on, one question after the other: the runs that follow. */
static void expect_runs(
	struct reactor *r, struct store_disk *d, uint64_t at, uint64_t end, const struct run *runs)
{
	while (at < end) {
		struct wait_io x = {.io = {.op = STORE_MAPPED,
					    .disk = d,
					    .offset = at,
					    .len = end - at,
					    .done = io_done}};
		uint64_t stop;

		d->store->ops->submit(&x.io);
		turn_until(r, &x.wait);
		assert_int_equal(x.wait.err, 0);
		assert_true(x.io.run_bytes > 0 && x.io.run_bytes <= end - at);
		while (at >= runs->at + runs->bytes)
			runs++;
		stop = runs->at + runs->bytes < end ? runs->at + runs->bytes : end;
		assert_int_equal(x.io.mapped, runs->mapped);
		assert_true(at + x.io.run_bytes <= stop); /* less: it goes on */
		assert_true(at + x.io.run_bytes == stop || x.io.run_bytes >= 64 << 20);
		at += x.io.run_bytes;
	}
}

#define KIB(n) (UINT64_C(1024) * (n))

TEST(mapped_runs_are_told_for_disks_and_forks)
{
	static const struct run empty[] = {{0, UINT64_MAX, false}};
	static const struct run runs[] = {{0, KIB(60), false}, {KIB(60), KIB(72), true},
		{KIB(132), KIB(892), false}, {KIB(1024), KIB(4), true}, {KIB(1028), UINT64_MAX / 2, false}};
	static const struct run in_fork[] = {{0, KIB(60), false}, {KIB(60), KIB(72), true},
		{KIB(132), KIB(892), false}, {KIB(1024), KIB(8), true}, {KIB(1032), UINT64_MAX / 2, false}};
	uint64_t size = UINT64_C(1) << 30, id, fork_id;
	struct pool_options o;
	struct reactor *r = new_reactor();
	struct fault fault = {0};
	struct store_disk *d, *fork;
	struct store_txn *t;
	struct store *s;
	static uint8_t buf[KIB(64)];

	make_dir();
	o = options();
	assert_int_equal(pool_create(&o, &fault), 0);
	assert_int_equal(pool_open(&o, r, &s, &fault), 0);
	t = s->ops->txn_begin(s);
	assert_int_equal(s->ops->txn_disk_create(t, size, &d), 0);
	assert_int_equal(commit(r, s, t), 0);
	id = s->ops->disk_id(d);
	expect_runs(r, d, 0, size, empty);
	memset(buf, 0x5A, sizeof(buf));
	assert_int_equal(run_io(r, d, STORE_WRITE, KIB(64) - 512, buf, 512), 0);
	assert_int_equal(run_io(r, d, STORE_WRITE, KIB(64), buf, KIB(64)), 0);
	assert_int_equal(run_io(r, d, STORE_WRITE, KIB(128), buf, KIB(8)), 0);
	assert_int_equal(run_io(r, d, STORE_WRITE, KIB(1024), buf, KIB(4)), 0);
	assert_int_equal(run_io(r, d, STORE_UNMAP, KIB(132), NULL, KIB(4)), 0);
	expect_runs(r, d, 0, size, runs);
	expect_runs(r, d, KIB(70) + 512, size, runs);
	/* a fork sees its ancestor's blocks as mapped, and what it has written itself */
	struct store_cut cut = {.disks = &d, .count = 1};
	struct wait taken = {0}, w = {0};
	s->ops->cut(s, &cut, done, &taken);
	turn_until(r, &taken);
	t = s->ops->txn_begin(s);
	assert_int_equal(s->ops->txn_disk_fork(t, &cut, 0, &fork), 0);
	s->ops->cut_commit(&cut, t, done, &w);
	turn_until(r, &w);
	assert_int_equal(w.err, 0);
	fork_id = s->ops->disk_id(fork);
	assert_int_equal(run_io(r, fork, STORE_WRITE, KIB(1028), buf, KIB(4)), 0);
	expect_runs(r, fork, 0, size, in_fork);
	expect_runs(r, d, 0, size, runs);
	assert_int_equal(close_store(r, s), 0);
	/* with a map that is not in memory */
	assert_int_equal(pool_open(&o, r, &s, &fault), 0);
	assert_int_equal(s->ops->disk_open(s, id, &d), 0);
	assert_int_equal(s->ops->disk_open(s, fork_id, &fork), 0);
	expect_runs(r, fork, 0, size, in_fork);
	expect_runs(r, d, 0, size, runs);
	assert_int_equal(run_io(r, d, STORE_UNMAP, 0, NULL, size), 0);
	expect_runs(r, d, 0, size, empty);
	expect_runs(r, fork, 0, size, in_fork);
	assert_int_equal(close_store(r, s), 0);
	reactor_destroy(r);
	remove_dir();
}

/* Data beside the directory, on a device (here a file). */
TEST(a_data_device_holds_the_data_of_one_pool_only)
{
	char device[96], other[96], second[96];
	struct pool_options o;
	struct reactor *r = new_reactor();
	struct fault fault = {0};
	struct store_disk *d;
	struct store_txn *t;
	struct store *s;
	uint64_t id;
	uint8_t *buf;
	int fd;

	make_dir();
	snprintf(device, sizeof(device), "%s.device", dir);
	snprintf(other, sizeof(other), "%s.other", dir);
	for (unsigned i = 0; i < 2; i++) {
		fd = open(i ? other : device, O_RDWR | O_CREAT, 0600);
		assert_true(fd >= 0 && ftruncate(fd, 16 << 20) == 0);
		close(fd);
	}
	o = options();
	o.capacity_bytes = 0;
	o.data_device = device;
	assert_int_equal(pool_create(&o, &fault), 0);
	assert_int_equal(pool_open(&o, r, &s, &fault), 0);
	t = s->ops->txn_begin(s);
	assert_int_equal(s->ops->txn_disk_create(t, BLOCKS * BLOCK, &d), 0);
	assert_int_equal(commit(r, s, t), 0);
	id = s->ops->disk_id(d);
	assert_int_equal(posix_memalign((void **)&buf, BLOCK, BLOCK), 0);
	memset(buf, 0x5a, BLOCK);
	assert_int_equal(run_io(r, d, STORE_WRITE, 9 * BLOCK, buf, BLOCK), 0);
	assert_int_equal(close_store(r, s), 0);
	expect_open(-ENXIO, "data_device");
	o.data_device = other;
	assert_int_equal(pool_open(&o, r, &s, &fault), -EUCLEAN);
	assert_non_null(strstr(fault.text, "does not hold the data"));
	o.data_device = device;
	assert_int_equal(pool_open(&o, r, &s, &fault), 0);
	assert_int_equal(s->ops->disk_open(s, id, &d), 0);
	memset(buf, 0, BLOCK);
	assert_int_equal(run_io(r, d, STORE_READ, 9 * BLOCK, buf, BLOCK), 0);
	assert_int_equal(buf[17], 0x5a);
	assert_int_equal(close_store(r, s), 0);
	assert_int_equal(pool_check(&o, false, NULL, NULL, &fault), 0);
	/* Another pool may not be made there; this one is as it was. */
	snprintf(second, sizeof(second), "%s.second", dir);
	o.path = second;
	assert_int_equal(pool_create(&o, &fault), -EEXIST);
	assert_non_null(strstr(fault.text, "holds the data of a pool already"));
	o.path = options().path;
	assert_int_equal(pool_check(&o, false, NULL, NULL, &fault), 0);
	assert_int_equal(pool_open(&o, r, &s, &fault), 0);
	assert_int_equal(close_store(r, s), 0);
	/* Its label gone, it is free. */
	fd = open(device, O_RDWR);
	memset(buf, 0, BLOCK);
	assert_int_equal(pwrite(fd, buf, BLOCK, 0), BLOCK);
	close(fd);
	o.path = second;
	assert_int_equal(pool_create(&o, &fault), 0);
	remove_pool(second);
	free(buf);
	reactor_destroy(r);
	unlink(device);
	unlink(other);
	remove_dir();
}

/* ---- SIGKILL --------------------------------------------------------------------------------------- */

static uint64_t random_next(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

static void child_set(struct shared *sh, struct reactor *r, struct store *s, struct store_disk **disks,
	struct store_disk **forks)
{
	struct store_cut cut = {.disks = disks, .count = DISKS};
	struct wait taken = {0}, w = {0};
	struct store_txn *t;

	if (forks[0]) {
		t = s->ops->txn_begin(s);
		for (unsigned i = 0; i < DISKS; i++) {
			sh->fork_id[i] = 0;
			if (s->ops->txn_disk_delete(t, forks[i]))
				_exit(3);
		}
		if (commit(r, s, t))
			_exit(4);
	}
	s->ops->cut(s, &cut, done, &taken);
	if (taken.err)
		_exit(5);
	t = s->ops->txn_begin(s);
	for (unsigned i = 0; i < DISKS; i++) {
		if (s->ops->txn_disk_fork(t, &cut, i, &forks[i]))
			_exit(6);
		for (unsigned b = 0; b < BLOCKS; b++)
			sh->forked[i][b] = sh->attempted[i][b];
	}
	s->ops->cut_commit(&cut, t, done, &w);
	turn_until(r, &w);
	if (w.err)
		_exit(7);
	for (unsigned i = DISKS; i-- > 0;) /* [0] says that all are there */
		sh->fork_id[i] = s->ops->disk_id(forks[i]);
	sh->sets++;
}

/* Some blocks of the first disk, mostly whole chunks, become the clone's, which thus only gets newer tags. */
static void child_clone(struct shared *sh, struct reactor *r, struct store_disk **disks, uint64_t x)
{
	unsigned first = (unsigned)(x % BLOCKS), count = 1 + (unsigned)(x >> 16) % 200;
	struct wait_io io = {
		.io = {.op = STORE_CLONE, .disk = disks[CLONE], .source = disks[0], .done = io_done}};

	if (x >> 32 & 3) {
		first -= first % POOL_BLOCKS;
		count = (count / POOL_BLOCKS + 1) * POOL_BLOCKS;
	}
	if (count > BLOCKS - first)
		count = BLOCKS - first;
	for (unsigned b = first; b < first + count; b++)
		sh->attempted[CLONE][b] = sh->attempted[0][b];
	io.io.offset = io.io.source_offset = (uint64_t)first * BLOCK;
	io.io.len = (uint64_t)count * BLOCK;
	disks[0]->store->ops->submit(&io.io);
	turn_until(r, &io.wait);
	if (io.wait.err)
		_exit(10);
	sh->shared_bytes += io.io.shared_bytes;
}

/* Writes for ever; every write is done before the next begins, so `attempted` is what a cut holds. */
static void child_run(struct shared *sh)
{
	struct pool_options o = options();
	struct reactor *r = new_reactor();
	struct store_disk *disks[DISKS + 1], *forks[DISKS] = {NULL};
	uint64_t x = sh->seed | 1;
	struct fault fault;
	struct store *s;
	uint8_t *buf;

	if (pool_open(&o, r, &s, &fault) || posix_memalign((void **)&buf, BLOCK, BLOCK))
		_exit(1);
	for (unsigned i = 0; i < DISKS + 1; i++) {
		if (s->ops->disk_open(s, sh->disk_id[i], &disks[i]))
			_exit(2);
		if (i < DISKS && sh->fork_id[0] && s->ops->disk_open(s, sh->fork_id[i], &forks[i]))
			_exit(2);
	}
	for (;;) {
		unsigned d = random_next(&x) % DISKS, b = random_next(&x) % BLOCKS;
		uint64_t tag = ++sh->next_tag, kind = random_next(&x) % 64;

		if (kind > 58) { /* the same again: its chunk may be shared */
			d = CLONE;
			tag = sh->attempted[CLONE][b];
		}
		for (unsigned i = 0; i < BLOCK; i += 8)
			memcpy(buf + i, &tag, 8);
		sh->attempted[d][b] = tag;
		if (run_io(r, disks[d], STORE_WRITE, (uint64_t)b * BLOCK, buf, BLOCK))
			_exit(8);
		if (kind < 6) {
			if (run_io(r, disks[0], STORE_FLUSH, 0, NULL, 0))
				_exit(9);
			for (unsigned i = 0; i < DISKS + 1; i++) {
				for (unsigned k = 0; k < BLOCKS; k++)
					sh->flushed[i][k] = sh->attempted[i][k];
			}
			sh->flushes++;
		} else if (kind == 6) {
			child_set(sh, r, s, disks, forks);
		} else if (kind < 11) {
			child_clone(sh, r, disks, random_next(&x));
		}
	}
}

static uint64_t read_tag(struct reactor *r, struct store_disk *d, unsigned block, uint8_t *buf)
{
	uint64_t tag, other;

	assert_int_equal(run_io(r, d, STORE_READ, (uint64_t)block * BLOCK, buf, BLOCK), 0);
	memcpy(&tag, buf, 8);
	for (unsigned i = 8; i < BLOCK; i += 8) {
		memcpy(&other, buf + i, 8);
		assert_int_equal(tag, other);
	}
	return tag;
}

static void verify(struct shared *sh, struct reactor *r, struct store *s)
{
	struct store_disk *d, *first;
	uint8_t *buf;

	assert_int_equal(posix_memalign((void **)&buf, BLOCK, BLOCK), 0);
	assert_int_equal(s->ops->disk_open(s, sh->disk_id[0], &first), 0);
	for (unsigned i = 0; i < DISKS + 1; i++) {
		assert_int_equal(s->ops->disk_open(s, sh->disk_id[i], &d), 0);
		for (unsigned b = 0; b < BLOCKS; b++) {
			uint64_t tag = read_tag(r, d, b, buf);

			if (tag < sh->flushed[i][b] || tag > sh->attempted[i][b])
				fail_msg("disk %u, block %u: %llu, not from %llu to %llu", i, b,
					(unsigned long long)tag, (unsigned long long)sh->flushed[i][b],
					(unsigned long long)sh->attempted[i][b]);
			sh->attempted[i][b] = sh->flushed[i][b] = tag;
			/* What the clone got by copying may outlive its source's write, which nobody flushed:
			 * the source gets it again, or a later clone would make the block older. */
			if (i == CLONE && tag > sh->flushed[0][b]) {
				assert_int_equal(
					run_io(r, first, STORE_WRITE, (uint64_t)b * BLOCK, buf, BLOCK), 0);
				sh->attempted[0][b] = sh->flushed[0][b] = tag;
			}
		}
		if (i == CLONE || !sh->fork_id[0])
			continue;
		assert_int_equal(s->ops->disk_open(s, sh->fork_id[i], &d), 0);
		for (unsigned b = 0; b < BLOCKS; b++)
			assert_int_equal(read_tag(r, d, b, buf), sh->forked[i][b]);
	}
	free(buf);
}

static void report_line(void *arg, const char *line)
{
	(void)arg;
	print_error("check: %s\n", line);
}

TEST(a_killed_process_loses_nothing_that_was_flushed)
{
	unsigned rounds =
		getenv("UMBRA_TEST_RUNS") ? (unsigned)strtoul(getenv("UMBRA_TEST_RUNS"), NULL, 10) : 10;
	struct shared *sh =
		mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct pool_options o;
	struct reactor *r = new_reactor();
	struct fault fault = {0};
	struct store_disk *d;
	struct store_txn *t;
	struct store *s;

	assert_true(sh != MAP_FAILED);
	make_dir();
	o = options();
	assert_int_equal(pool_create(&o, &fault), 0);
	assert_int_equal(pool_open(&o, r, &s, &fault), 0);
	t = s->ops->txn_begin(s);
	for (unsigned i = 0; i < DISKS + 1; i++) {
		assert_int_equal(s->ops->txn_disk_create(t, BLOCKS * BLOCK, &d), 0);
		sh->disk_id[i] = s->ops->disk_id(d);
	}
	assert_int_equal(commit(r, s, t), 0);
	assert_int_equal(close_store(r, s), 0);
	reactor_destroy(r);
	/* On a slow machine some rounds more, until there was something of each to lose. */
	for (unsigned i = 0;
		i < rounds || (i < 20 * rounds && (!sh->flushes || !sh->sets || !sh->shared_bytes)); i++) {
		struct timespec pause = {0, 40000000 + (long)(i * 7919 % 200) * 1000000};
		int status;
		pid_t pid;

		sh->seed = (uint64_t)time(NULL) * 977 + i;
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0)
			child_run(sh);
		nanosleep(&pause, NULL);
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (!WIFSIGNALED(status))
			fail_msg("the child ended by itself: %d", WEXITSTATUS(status));
		assert_int_equal(pool_check(&o, false, report_line, NULL, &fault), 0);
		r = new_reactor();
		if (pool_open(&o, r, &s, &fault))
			fail_msg("%s", fault.text);
		verify(sh, r, s);
		assert_int_equal(close_store(r, s), 0);
		reactor_destroy(r);
	}
	assert_true(sh->flushes > 0 && sh->sets > 0 && sh->shared_bytes > 0);
	print_message("killed %u times: %llu flushes, %llu sets, %llu MiB shared\n", rounds,
		(unsigned long long)sh->flushes, (unsigned long long)sh->sets,
		(unsigned long long)sh->shared_bytes >> 20);
	munmap(sh, sizeof(*sh));
	remove_dir();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(create_and_open_say_what_is_wrong),
		cmocka_unit_test(open_waits_for_the_writes_of_a_killed_process),
		cmocka_unit_test(a_damaged_log_or_meta_is_found_at_open),
		cmocka_unit_test(what_was_flushed_is_there_after_a_reopen),
		cmocka_unit_test(mapped_runs_are_told_for_disks_and_forks),
		cmocka_unit_test(a_data_device_holds_the_data_of_one_pool_only),
		cmocka_unit_test(a_killed_process_loses_nothing_that_was_flushed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
