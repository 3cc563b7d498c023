/* SPDX-License-Identifier: Apache-2.0 */
/* See suite_model.h. */
#include "tests/unit/store/suite_model.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

struct suite suite;

uint64_t suite_below(uint64_t n)
{
	suite.m->random ^= suite.m->random << 13;
	suite.m->random ^= suite.m->random >> 7;
	suite.m->random ^= suite.m->random << 17;
	return (suite.m->random >> 11) % n;
}

static bool chance(uint64_t n)
{
	return suite.whims && suite_below(n) == 0;
}

static void meanwhile(void)
{
	if (suite.meanwhile)
		suite.meanwhile();
}

static uint64_t seed(void)
{
	const char *env = getenv("UMBRA_TEST_SEED");
	uint64_t s = env ? strtoull(env, NULL, 0) : (uint64_t)time(NULL) * 1000003;

	printf("seed: UMBRA_TEST_SEED=%llu\n", (unsigned long long)s);
	fflush(stdout);
	return s * 2654435761u + 1;
}

static struct sector *sector_at(struct slot *s, uint64_t i)
{
	return &s->bank[s->version & 1][i];
}

static void sector_is(struct sector *s, uint64_t value)
{
	s->tags[0] = (struct tag){value, 1};
	s->busy = s->reading = s->unsure = 0;
	__atomic_store_n(&s->count, 1, __ATOMIC_RELEASE);
}

static uint64_t sector_now(const struct sector *s)
{
	return tags_now(s->tags, s->count);
}

static bool sector_allows(const struct sector *s, uint64_t value)
{
	return tags_allow(s->tags, s->count, value);
}

void suite_turn(void)
{
	SUITE_CHECK(reactor_turn(suite.reactor, 1000) >= 0);
}

/* ---- I/O ---- */

struct op {
	struct store_io io;
	struct slot *s;
	uint64_t sector, count, tag, flush_from;
	uint8_t *buf;
	struct iovec iov[3];
	bool misses;
	uint64_t miss_at;
};

bool suite_range_free(struct slot *s, uint64_t from, uint64_t count, bool changes)
{
	for (uint64_t i = from; i < from + count; i++) {
		const struct sector *x = sector_at(s, i);

		if (x->busy || (changes && (x->reading || x->count == CANDIDATES)))
			return false;
	}
	return true;
}

static void read_check(struct op *o)
{
	for (uint64_t i = 0; i < o->count; i++) {
		struct sector *x = sector_at(o->s, o->sector + i);
		uint64_t have = tag_of(o->buf + i * SECTOR);

		if (x->unsure && sector_allows(x, have)) {
			uint8_t reading = x->reading;

			sector_is(x, have);
			x->reading = reading;
			continue;
		}
		if (have != sector_now(x))
			fprintf(stderr, "disk %llu sector %llu: %llu, expected %llu\n",
				(unsigned long long)o->s->disk_id, (unsigned long long)(o->sector + i),
				(unsigned long long)have, (unsigned long long)sector_now(x));
		SUITE_CHECK(have == sector_now(x));
	}
}

static void mapped_check(struct op *o)
{
	SUITE_CHECK(o->io.run_bytes > 0 && o->io.run_bytes <= o->io.len);
	for (uint64_t i = 0; !o->io.mapped && i < o->io.run_bytes / SECTOR; i++) {
		const struct sector *x = sector_at(o->s, o->sector + i);

		SUITE_CHECK(x->unsure ? sector_allows(x, 0) : sector_now(x) == 0);
	}
}

static void written(struct op *o)
{
	++suite.m->completions;
	for (uint64_t i = 0; i < o->count; i++) {
		struct sector *x = sector_at(o->s, o->sector + i);

		x->tags[x->count - 1].completed = suite.m->completions;
		x->unsure = 0;
		if (o->io.flags & STORE_IO_FUA)
			sector_is(x, o->tag);
		x->busy = 0;
	}
}

static void flushed(struct op *o)
{
	for (uint64_t i = 0; i < o->s->sectors; i++) {
		struct sector *x = sector_at(o->s, i);

		if (!x->unsure)
			x->count = (uint8_t)tags_flushed(x->tags, x->count, o->flush_from);
	}
}

static void op_done(struct store_io *io, int err)
{
	struct op *o = container_of(io, struct op, io);

	suite.inflight--;
	o->s->inflight--;
	suite.m->operations++;
	if (o->misses) {
		SUITE_CHECK(err == -EILSEQ);
		SUITE_CHECK(io->miscompare_offset == o->miss_at);
	} else {
		if (err)
			fprintf(stderr, "operation %d: %s\n", (int)io->op, strerror(-err));
		SUITE_CHECK(err == 0);
	}
	if (o->misses || io->op == STORE_READ || io->op == STORE_MAPPED) {
		for (uint64_t i = 0; i < o->count; i++)
			sector_at(o->s, o->sector + i)->reading--;
		if (io->op == STORE_READ)
			read_check(o);
		else if (io->op == STORE_MAPPED)
			mapped_check(o);
	} else if (io->op == STORE_FLUSH) {
		flushed(o);
	} else {
		written(o);
	}
	free(o->buf);
	free(o);
}

static void scatter(struct op *o, uint64_t bytes)
{
	uint64_t sectors = bytes / SECTOR, at = 0;
	unsigned parts = sectors > 2 ? 1 + (unsigned)suite_below(3) : 1;

	for (unsigned i = 0; i < parts; i++) {
		uint64_t left = sectors - at - (parts - 1 - i);
		uint64_t part = i + 1 == parts ? left : 1 + suite_below(left);

		o->iov[i] = (struct iovec){o->buf + at * SECTOR, part * SECTOR};
		at += part;
	}
	o->io.iov = o->iov;
	o->io.iov_count = parts;
}

/* What is compared is what is there, or not. */
static void compare_fill(struct op *o)
{
	for (uint64_t i = 0; i < o->count; i++) {
		tag_fill(o->buf + i * SECTOR, 1, sector_now(sector_at(o->s, o->sector + i)));
		tag_fill(o->buf + (o->count + i) * SECTOR, 1, o->tag);
	}
	o->misses = suite_below(3) == 0;
	if (o->misses) {
		o->miss_at = suite_below(o->count * SECTOR);
		o->buf[o->miss_at] ^= 0x55;
	}
}

void suite_op_start(struct slot *s, enum store_io_op op, uint64_t sector, uint64_t count, unsigned flags)
{
	struct op *o = calloc(1, sizeof(*o));

	SUITE_CHECK(o);
	o->s = s;
	o->sector = sector;
	o->count = count;
	o->tag = op == STORE_UNMAP ? 0 : ++suite.m->next_tag;
	o->flush_from = suite.m->completions;
	o->io = (struct store_io){.op = op,
		.flags = flags,
		.offset = sector * SECTOR,
		.len = count * SECTOR,
		.done = op_done,
		.disk = s->disk,
		.damaged_offset = STORE_NOWHERE};
	if (op == STORE_READ || op == STORE_WRITE || op == STORE_COMPARE_WRITE) {
		uint64_t bytes = count * SECTOR * (op == STORE_COMPARE_WRITE ? 2 : 1);

		o->buf = malloc(bytes);
		SUITE_CHECK(o->buf);
		if (op == STORE_WRITE)
			tag_fill(o->buf, count, o->tag);
		if (op == STORE_COMPARE_WRITE)
			compare_fill(o);
		scatter(o, bytes);
	}
	for (uint64_t i = 0; i < count; i++) {
		struct sector *x = sector_at(s, sector + i);

		if (op == STORE_READ || op == STORE_MAPPED || o->misses) {
			x->reading++;
			continue;
		}
		x->busy = 1;
		x->tags[x->count] = (struct tag){o->tag, 0};
		__atomic_store_n(&x->count, (uint8_t)(x->count + 1), __ATOMIC_RELEASE);
	}
	suite.inflight++;
	s->inflight++;
	suite.store->ops->submit(&o->io);
}

struct slot *suite_any_slot(void)
{
	struct slot *s = &suite.m->slots[suite_below(SLOTS)];

	return s->state == SLOT_LIVE && !s->locked ? s : NULL;
}

void suite_flush_start(struct slot *s)
{
	suite_op_start(s, STORE_FLUSH, 0, 0, 0);
}

bool suite_compare_possible(struct slot *s, uint64_t sector, uint64_t count)
{
	for (uint64_t i = sector; i < sector + count; i++)
		if (sector_at(s, i)->unsure)
			return false;
	return true;
}

static void drain_slot(struct slot *s)
{
	while (s->inflight)
		suite_turn();
}

void suite_drain(void)
{
	while (suite.inflight)
		suite_turn();
}

/* ---- transactions ---- */

struct record {
	uint64_t disk_id, sectors, version;
};

void suite_waited(void *arg, int err)
{
	struct suite_wait *w = arg;

	w->done = true;
	w->err = err;
}

/* Other disks are used meanwhile. */
int suite_wait(struct suite_wait *w)
{
	while (!w->done) {
		if (suite.inflight < INFLIGHT)
			meanwhile();
		SUITE_CHECK(reactor_turn(suite.reactor,
				    suite.meanwhile && suite.inflight < INFLIGHT ? 0 : 1000) >= 0);
	}
	return w->err;
}

static void put(struct store_txn *t, struct slot *s, uint64_t sectors, uint64_t version)
{
	uint8_t key = (uint8_t)(1 + (s - suite.m->slots));
	struct record r = {s->disk_id, sectors, version};

	SUITE_CHECK(suite.store->ops->txn_put(t, STORE_TABLE_LUN, &key, 1, &r, sizeof(r)) == 0);
}

int suite_commit(struct store_txn *t)
{
	struct suite_wait w = {0};

	suite.store->ops->txn_commit(t, suite_waited, &w);
	return suite_wait(&w);
}

struct slot *suite_free_slot(void)
{
	for (unsigned i = 0; i < SLOTS; i++)
		if (suite.m->slots[i].state == SLOT_FREE)
			return &suite.m->slots[i];
	return NULL;
}

void suite_create_disk(void)
{
	struct slot *s = suite_free_slot();
	struct store_txn *t;

	if (!s)
		return;
	t = suite.store->ops->txn_begin(suite.store);
	s->sectors = 9000 + suite_below(8000);
	SUITE_CHECK(suite.store->ops->txn_disk_create(t, s->sectors * SECTOR, &s->disk) == 0);
	s->disk_id = suite.store->ops->disk_id(s->disk);
	s->version = 0;
	s->repointing = s->held = s->locked = false;
	s->resize_to = 0;
	for (uint64_t i = 0; i < SECTORS; i++)
		sector_is(sector_at(s, i), 0);
	__atomic_store_n(&s->state, SLOT_COMING, __ATOMIC_RELEASE);
	put(t, s, s->sectors, 0);
	if (chance(8)) {
		suite.store->ops->txn_drop(t);
		s->state = SLOT_FREE;
		return;
	}
	SUITE_CHECK(suite_commit(t) == 0);
	s->state = SLOT_LIVE;
}

static void hydrated(struct store_hydration *h, int err)
{
	struct slot *s = container_of(h, struct slot, h);

	SUITE_CHECK(err == 0 || err == -ECANCELED);
	SUITE_CHECK(err || h->passed_bytes == h->total_bytes);
	s->hydrating = false;
	suite.m->hydrations += !err;
}

void suite_hydrate_start(struct slot *s)
{
	if (s->hydrating)
		return;
	s->hydrating = true;
	s->h = (struct store_hydration){
		.disk = s->disk, .bytes_per_s = suite_below(2) ? 0 : UINT64_C(16) << 20, .done = hydrated};
	suite.store->ops->hydrate(&s->h);
}

void suite_hydrate_end(struct slot *s)
{
	if (s->hydrating)
		suite.store->ops->hydrate_cancel(&s->h);
	while (s->hydrating)
		suite_turn();
}

static void lock_slot(struct slot *s)
{
	s->locked = true;
	suite_hydrate_end(s);
	drain_slot(s);
}

void suite_delete_disk(struct slot *s)
{
	struct store_txn *t = suite.store->ops->txn_begin(suite.store);
	uint8_t key = (uint8_t)(1 + (s - suite.m->slots));

	lock_slot(s);
	SUITE_CHECK(suite.store->ops->txn_disk_delete(t, s->disk) == 0);
	SUITE_CHECK(suite.store->ops->txn_del(t, STORE_TABLE_LUN, &key, 1) == 0);
	s->state = SLOT_GOING;
	SUITE_CHECK(suite_commit(t) == 0);
	s->state = SLOT_FREE;
}

void suite_resize_disk(struct slot *s)
{
	struct store_txn *t = suite.store->ops->txn_begin(suite.store);
	uint64_t sectors = s->sectors + 1 + suite_below(3000);

	if (sectors > SECTORS) {
		suite.store->ops->txn_drop(t);
		return;
	}
	for (uint64_t i = s->sectors; i < sectors; i++)
		sector_is(sector_at(s, i), 0);
	SUITE_CHECK(suite.store->ops->txn_disk_resize(t, s->disk, sectors * SECTOR) == 0);
	put(t, s, sectors, s->version);
	__atomic_store_n(&s->resize_to, sectors, __ATOMIC_RELEASE);
	SUITE_CHECK(suite_commit(t) == 0);
	s->sectors = sectors;
	s->resize_to = 0;
	SUITE_CHECK(suite.store->ops->disk_size(s->disk) == sectors * SECTOR);
}

/* What a copy that is cut now may hold. */
static void bank_copy(struct slot *from, struct slot *to, unsigned bank)
{
	for (uint64_t i = 0; i < SECTORS; i++) {
		struct sector *x = &to->bank[bank][i];

		if (i >= from->sectors) {
			sector_is(x, 0);
			continue;
		}
		const struct sector *o = sector_at(from, i);
		if (o->unsure) {
			*x = *o;
			x->busy = x->reading = 0;
			for (unsigned k = 0; k < x->count; k++)
				x->tags[k].completed = 1;
			continue;
		}
		sector_is(x, sector_now(o));
		if (!o->tags[o->count - 1].completed) {
			x->tags[1] = (struct tag){o->tags[o->count - 1].value, 1};
			x->count = 2;
			x->unsure = 1;
		}
	}
	to->bank_sectors[bank] = from->sectors;
}

static void gates(struct slot **set, unsigned count, bool closed)
{
	for (unsigned i = 0; i < count; i++)
		set[i]->held = closed;
}

/* The cut, with I/O under way; then forks of all, or one of them behind another disk, or nothing. */
void suite_cut(struct slot **set, struct slot **to, unsigned count, bool repoint)
{
	struct store_disk *disks[3];
	struct store_cut c = {.disks = disks, .count = count};
	struct suite_wait w = {0};
	struct store_txn *t;

	for (unsigned i = 0; i < 4; i++)
		meanwhile();
	gates(set, count, true);
	for (unsigned i = 0; i < count; i++) {
		disks[i] = set[i]->disk;
		bank_copy(set[i], to[i], repoint ? (to[i]->version + 1) & 1 : 0);
	}
	suite.store->ops->cut(suite.store, &c, suite_waited, &w);
	bool late = chance(6); /* the caller gives up, and opens the gates at once */
	if (late)
		gates(set, count, false);
	SUITE_CHECK(suite_wait(&w) == 0);
	gates(set, count, false);
	if (late || chance(5)) {
		suite.store->ops->cut_drop(&c);
		return;
	}
	t = suite.store->ops->txn_begin(suite.store);
	for (unsigned i = 0; i < count; i++) {
		struct slot *s = to[i];

		if (repoint) {
			SUITE_CHECK(suite.store->ops->txn_disk_repoint(t, &c, i, s->disk) == 0);
			put(t, s, s->bank_sectors[(s->version + 1) & 1], s->version + 1);
			__atomic_store_n(&s->repointing, true, __ATOMIC_RELEASE);
		} else {
			SUITE_CHECK(suite.store->ops->txn_disk_fork(t, &c, i, &s->disk) == 0);
			s->disk_id = suite.store->ops->disk_id(s->disk);
			s->version = s->resize_to = 0;
			s->sectors = s->bank_sectors[0];
			s->repointing = s->held = s->locked = false;
			SUITE_CHECK(suite.store->ops->disk_size(s->disk) == s->sectors * SECTOR);
			put(t, s, s->sectors, 0);
			__atomic_store_n(&s->state, SLOT_COMING, __ATOMIC_RELEASE);
		}
	}
	w = (struct suite_wait){0};
	suite.store->ops->cut_commit(&c, t, suite_waited, &w);
	SUITE_CHECK(suite_wait(&w) == 0);
	for (unsigned i = 0; i < count; i++) {
		struct slot *s = to[i];

		if (repoint) {
			s->sectors = s->bank_sectors[(s->version + 1) & 1];
			__atomic_store_n(&s->version, s->version + 1, __ATOMIC_RELEASE);
			__atomic_store_n(&s->repointing, false, __ATOMIC_RELEASE);
			SUITE_CHECK(suite.store->ops->disk_size(s->disk) == s->sectors * SECTOR);
		} else {
			s->state = SLOT_LIVE;
		}
	}
	suite.m->sets++;
}

void suite_repoint(struct slot *from, struct slot *to)
{
	if (from == to)
		return;
	lock_slot(to);
	suite_cut(&from, &to, 1, true);
	to->locked = false;
}

/* ---- opening, closing, verifying ---- */

static int found(void *arg, const void *key, size_t key_len, const void *value, size_t value_len)
{
	bool *there = arg;
	unsigned i = *(const uint8_t *)key - 1u;
	struct slot *s = &suite.m->slots[i];
	struct record r;

	SUITE_CHECK(key_len == 1 && value_len == sizeof(r) && i < SLOTS && !there[i]);
	memcpy(&r, value, sizeof(r));
	there[i] = true;
	SUITE_CHECK(s->state != SLOT_FREE && r.disk_id == s->disk_id);
	if (s->repointing && r.version == s->version + 1) {
		s->version++;
		s->sectors = s->bank_sectors[s->version & 1];
		s->repointing = false;
	}
	if (s->resize_to && r.sectors == s->resize_to)
		s->sectors = s->resize_to;
	SUITE_CHECK(r.version == s->version && r.sectors == s->sectors);
	SUITE_CHECK(suite.store->ops->disk_open(suite.store, s->disk_id, &s->disk) == 0);
	SUITE_CHECK(suite.store->ops->disk_size(s->disk) == s->sectors * SECTOR);
	s->state = SLOT_LIVE;
	return 0;
}

void suite_open(void)
{
	bool there[SLOTS] = {false};
	struct reactor_options o = {.workers = 2};

	SUITE_CHECK(reactor_create(&suite.reactor, &o) == 0);
	suite.store = suite_store.open(suite.reactor);
	suite.inflight = 0;
	SUITE_CHECK(suite.store->ops->iterate(suite.store, STORE_TABLE_LUN, found, there) == 0);
	for (unsigned i = 0; i < SLOTS; i++) {
		struct slot *s = &suite.m->slots[i];

		SUITE_CHECK(there[i] || s->state != SLOT_LIVE);
		if (!there[i])
			s->state = SLOT_FREE;
		s->held = s->locked = s->hydrating = s->repointing = false;
		s->inflight = 0;
		s->resize_to = 0;
	}
}

/* After a kill any of what may be there is a reader's answer. */
void suite_crashed(void)
{
	for (unsigned i = 0; i < SLOTS; i++)
		for (uint64_t k = 0; suite.m->slots[i].state == SLOT_LIVE && k < suite.m->slots[i].sectors;
			k++) {
			struct sector *x = sector_at(&suite.m->slots[i], k);

			x->busy = x->reading = 0;
			x->unsure = x->count > 1;
			for (unsigned n = 0; n < x->count; n++)
				x->tags[n].completed = 1;
		}
}

void suite_verify(void)
{
	suite_drain();
	for (unsigned i = 0; i < SLOTS; i++) {
		struct slot *s = &suite.m->slots[i];

		for (uint64_t at = 0; s->state == SLOT_LIVE && at < s->sectors; at += 2048) {
			suite_op_start(s, STORE_READ, at, s->sectors - at < 2048 ? s->sectors - at : 2048, 0);
			while (suite.inflight >= INFLIGHT)
				suite_turn();
		}
	}
	suite_drain();
}

void suite_close(void)
{
	struct suite_wait w = {0};

	for (unsigned i = 0; i < SLOTS; i++)
		suite_hydrate_end(&suite.m->slots[i]);
	suite_drain();
	suite.store->ops->close(suite.store, suite_waited, &w);
	while (!w.done)
		suite_turn();
	SUITE_CHECK(w.err == 0);
	reactor_destroy(suite.reactor);
}

void suite_map(void)
{
	suite.m = mmap(NULL, sizeof(*suite.m), PROT_READ | PROT_WRITE, MAP_SHARED, suite.model_fd, 0);
	SUITE_CHECK(suite.m != MAP_FAILED);
}

static void wait_reclaimed(bool (*more)(void))
{
	struct store_stats stats;

	for (unsigned tries = 0;; tries++) {
		suite.store->ops->stats(suite.store, &stats);
		if (!stats.reclaim_pending_steps && (!more || more()))
			return;
		SUITE_CHECK(tries < 10000);
		SUITE_CHECK(reactor_turn(suite.reactor, 20) >= 0);
	}
}

void suite_reclaimed(void)
{
	wait_reclaimed(NULL);
}

/* Deletes all; waits until the store has given all of it back. */
static void empty_store(void)
{
	for (unsigned i = 0; i < SLOTS; i++)
		if (suite.m->slots[i].state == SLOT_LIVE)
			suite_delete_disk(&suite.m->slots[i]);
	wait_reclaimed(suite_store.empty);
}

void suite_new(void)
{
	suite.model_fd = memfd_create("model", 0);
	SUITE_CHECK(suite.model_fd >= 0 && ftruncate(suite.model_fd, sizeof(*suite.m)) == 0);
	suite_map();
	suite.m->random = seed();
	suite.m->next_tag = 1;
	suite.m->completions = 1;
}

static void model_end(void)
{
	munmap(suite.m, sizeof(*suite.m));
	close(suite.model_fd);
}

/* Nothing is left of what a test made. */
void suite_end(void)
{
	printf("%llu operations, %llu sets, %llu hydrations\n", (unsigned long long)suite.m->operations,
		(unsigned long long)suite.m->sets, (unsigned long long)suite.m->hydrations);
	empty_store();
	suite_close();
	suite_store.end();
	model_end();
}

pid_t suite_victim(void)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	SUITE_CHECK(pid >= 0);
	if (pid == 0) { /* a program of its own: libraries of the store's may not be forked */
		char fd[16];

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		snprintf(fd, sizeof(fd), "%d", suite.model_fd);
		execl("/proc/self/exe", "victim", fd, NULL);
		_exit(127);
	}
	return pid;
}
