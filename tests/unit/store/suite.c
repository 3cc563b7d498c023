/* SPDX-License-Identifier: Apache-2.0 */
/* See suite.h. */
#include "tests/unit/store/suite.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "tests/support/test.h"
#include "tests/unit/store/tags.h"

#define SLOTS      8u
#define SECTORS    20480u /* at most a disk: over two objects of Ceph's and a bit */
#define CANDIDATES 4u
#define INFLIGHT   16u

struct sector {
	struct tag tags[CANDIDATES];
	uint8_t count, busy, reading;
	uint8_t unsure; /* any of them may be what a reader sees: it is a copy from while they were written */
};

enum slot_state {
	SLOT_FREE,
	SLOT_COMING, /* a transaction under way makes it */
	SLOT_LIVE,
	SLOT_GOING
};

struct slot {
	enum slot_state state;
	struct store_disk *disk; /* of the running process */
	uint64_t disk_id, sectors, version, resize_to;
	bool repointing;
	unsigned inflight;
	bool held, locked; /* held: nothing that changes; locked: nothing at all */
	struct store_hydration h;
	bool hydrating;
	struct sector bank[2][SECTORS]; /* the version's parity says which; a repoint fills the other one */
	uint64_t bank_sectors[2];
};

struct model {
	struct slot slots[SLOTS];
	uint64_t next_tag, completions, operations, sets, hydrations;
	uint64_t random;
};

static unsigned quiet = 160; /* of so many steps, ten change more than data */
static struct model *m;
static struct reactor *reactor;
static struct store *store;
static unsigned inflight;

static uint64_t below(uint64_t n)
{
	m->random ^= m->random << 13;
	m->random ^= m->random >> 7;
	m->random ^= m->random << 17;
	return (m->random >> 11) % n;
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

static void turn(void)
{
	SUITE_CHECK(reactor_turn(reactor, 1000) >= 0);
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

static bool range_free(struct slot *s, uint64_t from, uint64_t count, bool changes)
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
	++m->completions;
	for (uint64_t i = 0; i < o->count; i++) {
		struct sector *x = sector_at(o->s, o->sector + i);

		x->tags[x->count - 1].completed = m->completions;
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

	inflight--;
	o->s->inflight--;
	m->operations++;
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
	unsigned parts = sectors > 2 ? 1 + (unsigned)below(3) : 1;

	for (unsigned i = 0; i < parts; i++) {
		uint64_t left = sectors - at - (parts - 1 - i);
		uint64_t part = i + 1 == parts ? left : 1 + below(left);

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
	o->misses = below(3) == 0;
	if (o->misses) {
		o->miss_at = below(o->count * SECTOR);
		o->buf[o->miss_at] ^= 0x55;
	}
}

static void op_start(struct slot *s, enum store_io_op op, uint64_t sector, uint64_t count, unsigned flags)
{
	struct op *o = calloc(1, sizeof(*o));

	SUITE_CHECK(o);
	o->s = s;
	o->sector = sector;
	o->count = count;
	o->tag = op == STORE_UNMAP ? 0 : ++m->next_tag;
	o->flush_from = m->completions;
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
	inflight++;
	s->inflight++;
	store->ops->submit(&o->io);
}

static struct slot *any_slot(void)
{
	struct slot *s = &m->slots[below(SLOTS)];

	return s->state == SLOT_LIVE && !s->locked ? s : NULL;
}

static void flush_start(struct slot *s)
{
	op_start(s, STORE_FLUSH, 0, 0, 0);
}

static bool compare_possible(struct slot *s, uint64_t sector, uint64_t count)
{
	for (uint64_t i = sector; i < sector + count; i++)
		if (sector_at(s, i)->unsure)
			return false;
	return true;
}

static void random_io(void)
{
	static const enum store_io_op kinds[] = {STORE_READ, STORE_READ, STORE_READ, STORE_WRITE, STORE_WRITE,
		STORE_WRITE, STORE_WRITE, STORE_UNMAP, STORE_COMPARE_WRITE, STORE_MAPPED};
	struct slot *s = any_slot();
	enum store_io_op op = kinds[below(sizeof(kinds) / sizeof(kinds[0]))];

	if (!s)
		return;
	if (below(24) == 0) {
		flush_start(s);
		return;
	}
	uint64_t most = below(20) == 0 ? 12000 : below(4) == 0 ? 256 : 16;
	uint64_t sector = below(s->sectors);
	if (below(3) == 0) /* about the border of two objects */
		sector = (8192 - below(16)) % s->sectors;
	uint64_t count = 1 + below(op == STORE_COMPARE_WRITE ? 32 : most);
	if (count > s->sectors - sector)
		count = s->sectors - sector;
	if (store_op_changes(op) && s->held)
		return;
	if (!range_free(s, sector, count, store_op_changes(op))) {
		if (below(4) == 0)
			flush_start(s);
		return;
	}
	if (op == STORE_COMPARE_WRITE && !compare_possible(s, sector, count))
		return;
	op_start(s, op, sector, count, op == STORE_WRITE && below(8) == 0 ? STORE_IO_FUA : 0);
}

static void drain_slot(struct slot *s)
{
	while (s->inflight)
		turn();
}

static void drain(void)
{
	while (inflight)
		turn();
}

/* ---- transactions ---- */

struct record {
	uint64_t disk_id, sectors, version;
};

struct wait {
	bool done;
	int err;
};

static void waited(void *arg, int err)
{
	struct wait *w = arg;

	w->done = true;
	w->err = err;
}

/* Other disks are used meanwhile. */
static int wait_for(struct wait *w)
{
	while (!w->done) {
		if (inflight < INFLIGHT)
			random_io();
		SUITE_CHECK(reactor_turn(reactor, inflight < INFLIGHT ? 0 : 1000) >= 0);
	}
	return w->err;
}

static void put(struct store_txn *t, struct slot *s, uint64_t sectors, uint64_t version)
{
	uint8_t key = (uint8_t)(1 + (s - m->slots));
	struct record r = {s->disk_id, sectors, version};

	SUITE_CHECK(store->ops->txn_put(t, STORE_TABLE_LUN, &key, 1, &r, sizeof(r)) == 0);
}

static int commit(struct store_txn *t)
{
	struct wait w = {0};

	store->ops->txn_commit(t, waited, &w);
	return wait_for(&w);
}

static struct slot *free_slot(void)
{
	for (unsigned i = 0; i < SLOTS; i++)
		if (m->slots[i].state == SLOT_FREE)
			return &m->slots[i];
	return NULL;
}

static void create_disk(void)
{
	struct slot *s = free_slot();
	struct store_txn *t;

	if (!s)
		return;
	t = store->ops->txn_begin(store);
	s->sectors = 9000 + below(8000);
	SUITE_CHECK(store->ops->txn_disk_create(t, s->sectors * SECTOR, &s->disk) == 0);
	s->disk_id = store->ops->disk_id(s->disk);
	s->version = 0;
	s->repointing = s->held = s->locked = false;
	s->resize_to = 0;
	for (uint64_t i = 0; i < SECTORS; i++)
		sector_is(sector_at(s, i), 0);
	__atomic_store_n(&s->state, SLOT_COMING, __ATOMIC_RELEASE);
	put(t, s, s->sectors, 0);
	if (below(8) == 0) {
		store->ops->txn_drop(t);
		s->state = SLOT_FREE;
		return;
	}
	SUITE_CHECK(commit(t) == 0);
	s->state = SLOT_LIVE;
}

static void hydrated(struct store_hydration *h, int err)
{
	struct slot *s = container_of(h, struct slot, h);

	SUITE_CHECK(err == 0 || err == -ECANCELED);
	SUITE_CHECK(err || h->passed_bytes == h->total_bytes);
	s->hydrating = false;
	m->hydrations += !err;
}

static void hydrate_start(struct slot *s)
{
	if (s->hydrating)
		return;
	s->hydrating = true;
	s->h = (struct store_hydration){
		.disk = s->disk, .bytes_per_s = below(2) ? 0 : UINT64_C(16) << 20, .done = hydrated};
	store->ops->hydrate(&s->h);
}

static void hydrate_end(struct slot *s)
{
	if (s->hydrating)
		store->ops->hydrate_cancel(&s->h);
	while (s->hydrating)
		turn();
}

static void lock_slot(struct slot *s)
{
	s->locked = true;
	hydrate_end(s);
	drain_slot(s);
}

static void delete_disk(struct slot *s)
{
	struct store_txn *t = store->ops->txn_begin(store);
	uint8_t key = (uint8_t)(1 + (s - m->slots));

	lock_slot(s);
	SUITE_CHECK(store->ops->txn_disk_delete(t, s->disk) == 0);
	SUITE_CHECK(store->ops->txn_del(t, STORE_TABLE_LUN, &key, 1) == 0);
	s->state = SLOT_GOING;
	SUITE_CHECK(commit(t) == 0);
	s->state = SLOT_FREE;
}

static void resize_disk(struct slot *s)
{
	struct store_txn *t = store->ops->txn_begin(store);
	uint64_t sectors = s->sectors + 1 + below(3000);

	if (sectors > SECTORS) {
		store->ops->txn_drop(t);
		return;
	}
	for (uint64_t i = s->sectors; i < sectors; i++)
		sector_is(sector_at(s, i), 0);
	SUITE_CHECK(store->ops->txn_disk_resize(t, s->disk, sectors * SECTOR) == 0);
	put(t, s, sectors, s->version);
	__atomic_store_n(&s->resize_to, sectors, __ATOMIC_RELEASE);
	SUITE_CHECK(commit(t) == 0);
	s->sectors = sectors;
	s->resize_to = 0;
	SUITE_CHECK(store->ops->disk_size(s->disk) == sectors * SECTOR);
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
static void cut(struct slot **set, struct slot **to, unsigned count, bool repoint)
{
	struct store_disk *disks[3];
	struct store_cut c = {.disks = disks, .count = count};
	struct wait w = {0};
	struct store_txn *t;

	for (unsigned i = 0; i < 4; i++)
		random_io();
	gates(set, count, true);
	for (unsigned i = 0; i < count; i++) {
		disks[i] = set[i]->disk;
		bank_copy(set[i], to[i], repoint ? (to[i]->version + 1) & 1 : 0);
	}
	store->ops->cut(store, &c, waited, &w);
	bool late = below(6) == 0; /* the caller gives up, and opens the gates at once */
	if (late)
		gates(set, count, false);
	SUITE_CHECK(wait_for(&w) == 0);
	gates(set, count, false);
	if (late || below(5) == 0) {
		store->ops->cut_drop(&c);
		return;
	}
	t = store->ops->txn_begin(store);
	for (unsigned i = 0; i < count; i++) {
		struct slot *s = to[i];

		if (repoint) {
			SUITE_CHECK(store->ops->txn_disk_repoint(t, &c, i, s->disk) == 0);
			put(t, s, s->bank_sectors[(s->version + 1) & 1], s->version + 1);
			__atomic_store_n(&s->repointing, true, __ATOMIC_RELEASE);
		} else {
			SUITE_CHECK(store->ops->txn_disk_fork(t, &c, i, &s->disk) == 0);
			s->disk_id = store->ops->disk_id(s->disk);
			s->version = s->resize_to = 0;
			s->sectors = s->bank_sectors[0];
			s->repointing = s->held = s->locked = false;
			SUITE_CHECK(store->ops->disk_size(s->disk) == s->sectors * SECTOR);
			put(t, s, s->sectors, 0);
			__atomic_store_n(&s->state, SLOT_COMING, __ATOMIC_RELEASE);
		}
	}
	w = (struct wait){0};
	store->ops->cut_commit(&c, t, waited, &w);
	SUITE_CHECK(wait_for(&w) == 0);
	for (unsigned i = 0; i < count; i++) {
		struct slot *s = to[i];

		if (repoint) {
			s->sectors = s->bank_sectors[(s->version + 1) & 1];
			__atomic_store_n(&s->version, s->version + 1, __ATOMIC_RELEASE);
			__atomic_store_n(&s->repointing, false, __ATOMIC_RELEASE);
			SUITE_CHECK(store->ops->disk_size(s->disk) == s->sectors * SECTOR);
		} else {
			s->state = SLOT_LIVE;
		}
	}
	m->sets++;
}

static void cut_some(void)
{
	struct slot *set[3], *to[3];
	unsigned count = 0, wanted = 1 + (unsigned)below(3);

	for (unsigned i = 0; i < SLOTS && count < wanted; i++)
		if (m->slots[i].state == SLOT_LIVE && below(2))
			set[count++] = &m->slots[i];
	for (unsigned i = 0, k = 0; k < count; k++) {
		while (i < SLOTS && m->slots[i].state != SLOT_FREE)
			i++;
		if (i == SLOTS)
			count = k;
		else
			to[k] = &m->slots[i++];
	}
	if (count)
		cut(set, to, count, false);
}

static void repoint_one(struct slot *from, struct slot *to)
{
	if (from == to)
		return;
	lock_slot(to);
	cut(&from, &to, 1, true);
	to->locked = false;
}

static void step(void)
{
	uint64_t kind = below(quiet);
	struct slot *s = any_slot(), *other = any_slot();

	if (kind == 0)
		create_disk();
	else if (kind == 1 && s && !free_slot())
		delete_disk(s);
	else if (kind == 2 && s)
		resize_disk(s);
	else if (kind < 6)
		cut_some();
	else if (kind == 6 && s && other)
		repoint_one(s, other);
	else if (kind < 9 && s)
		hydrate_start(s);
	else if (kind == 9 && s)
		hydrate_end(s);
	else
		random_io();
	while (inflight >= INFLIGHT)
		turn();
	SUITE_CHECK(reactor_turn(reactor, 0) >= 0);
}

/* ---- opening, closing, verifying ---- */

static int found(void *arg, const void *key, size_t key_len, const void *value, size_t value_len)
{
	bool *there = arg;
	unsigned i = *(const uint8_t *)key - 1u;
	struct slot *s = &m->slots[i];
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
	SUITE_CHECK(store->ops->disk_open(store, s->disk_id, &s->disk) == 0);
	SUITE_CHECK(store->ops->disk_size(s->disk) == s->sectors * SECTOR);
	s->state = SLOT_LIVE;
	return 0;
}

static void open_store(void)
{
	bool there[SLOTS] = {false};
	struct reactor_options o = {.workers = 2};

	SUITE_CHECK(reactor_create(&reactor, &o) == 0);
	store = suite_store.open(reactor);
	inflight = 0;
	SUITE_CHECK(store->ops->iterate(store, STORE_TABLE_LUN, found, there) == 0);
	for (unsigned i = 0; i < SLOTS; i++) {
		struct slot *s = &m->slots[i];

		SUITE_CHECK(there[i] || s->state != SLOT_LIVE);
		if (!there[i])
			s->state = SLOT_FREE;
		s->held = s->locked = s->hydrating = s->repointing = false;
		s->inflight = 0;
		s->resize_to = 0;
	}
}

/* After a kill any of what may be there is a reader's answer. */
static void model_crashed(void)
{
	for (unsigned i = 0; i < SLOTS; i++)
		for (uint64_t k = 0; m->slots[i].state == SLOT_LIVE && k < m->slots[i].sectors; k++) {
			struct sector *x = sector_at(&m->slots[i], k);

			x->busy = x->reading = 0;
			x->unsure = x->count > 1;
			for (unsigned n = 0; n < x->count; n++)
				x->tags[n].completed = 1;
		}
}

static void verify(void)
{
	drain();
	for (unsigned i = 0; i < SLOTS; i++) {
		struct slot *s = &m->slots[i];

		for (uint64_t at = 0; s->state == SLOT_LIVE && at < s->sectors; at += 2048) {
			op_start(s, STORE_READ, at, s->sectors - at < 2048 ? s->sectors - at : 2048, 0);
			while (inflight >= INFLIGHT)
				turn();
		}
	}
	drain();
}

static void close_store(void)
{
	struct wait w = {0};

	for (unsigned i = 0; i < SLOTS; i++)
		hydrate_end(&m->slots[i]);
	drain();
	store->ops->close(store, waited, &w);
	while (!w.done)
		turn();
	SUITE_CHECK(w.err == 0);
	reactor_destroy(reactor);
}

static int model_fd;

static void model_map(void)
{
	m = mmap(NULL, sizeof(*m), PROT_READ | PROT_WRITE, MAP_SHARED, model_fd, 0);
	SUITE_CHECK(m != MAP_FAILED);
}

/* Deletes all; waits until the store has given all of it back. */
static void empty_store(void)
{
	struct store_stats stats;

	for (unsigned i = 0; i < SLOTS; i++)
		if (m->slots[i].state == SLOT_LIVE)
			delete_disk(&m->slots[i]);
	for (unsigned tries = 0;; tries++) {
		store->ops->stats(store, &stats);
		if (!stats.reclaim_pending_steps && (!suite_store.empty || suite_store.empty()))
			return;
		SUITE_CHECK(tries < 10000);
		SUITE_CHECK(reactor_turn(reactor, 20) >= 0);
	}
}

static void model_new(void)
{
	model_fd = memfd_create("model", 0);
	SUITE_CHECK(model_fd >= 0 && ftruncate(model_fd, sizeof(*m)) == 0);
	model_map();
	m->random = seed();
	m->next_tag = 1;
	m->completions = 1;
}

static void model_end(void)
{
	munmap(m, sizeof(*m));
	close(model_fd);
}

/* What was not flushed when the store was closed is there nevertheless. */
static void run(unsigned steps)
{
	for (unsigned i = 0; i < steps; i++)
		step();
}

/* Nothing is left of what a test made. */
static void test_end(void)
{
	printf("%llu operations, %llu sets, %llu hydrations\n", (unsigned long long)m->operations,
		(unsigned long long)m->sets, (unsigned long long)m->hydrations);
	empty_store();
	close_store();
	suite_store.end();
	model_end();
}

TEST(random_operations_agree_with_the_model)
{
	model_new();
	suite_store.begin();
	open_store();
	for (unsigned i = 0; i < 3; i++)
		create_disk();
	for (unsigned i = 0; i < suite_store.rounds; i++) {
		run(500);
		verify();
		if (i % 2 == 0) {
			close_store();
			open_store();
			verify();
		}
	}
	test_end();
}

/* ---- kill -9 ---- */

static _Noreturn void victim(void)
{
	model_map();
	quiet = 40;
	open_store();
	model_crashed();
	verify();
	for (unsigned i = 0; i < 3; i++)
		create_disk();
	for (;;)
		step();
}

static void kill_once(void)
{
	uint64_t target, before = m->operations;
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	SUITE_CHECK(pid >= 0);
	if (pid == 0) { /* a program of its own: libraries of the store's may not be forked */
		char fd[16];

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		snprintf(fd, sizeof(fd), "%d", model_fd);
		execl("/proc/self/exe", "victim", fd, NULL);
		_exit(127);
	}
	/* Verifying takes as many reads as there are disks; the rest is at random. */
	target = before + 40 + below(below(2) ? 400 : 4000);
	for (;;) {
		struct timespec t = {.tv_nsec = 1000000 + (long)below(2000000)};

		nanosleep(&t, NULL);
		if (waitpid(pid, &status, WNOHANG) == pid) {
			fprintf(stderr, "the store's process ended by itself: %d\n", status);
			abort();
		}
		if (__atomic_load_n(&m->operations, __ATOMIC_ACQUIRE) >= target)
			break;
	}
	kill(pid, SIGKILL);
	SUITE_CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

TEST(what_was_acknowledged_survives_a_kill)
{
	if (!suite_store.survives)
		return;
	model_new();
	suite_store.begin();
	for (unsigned i = 0; i < suite_store.kills; i++)
		kill_once();
	open_store();
	model_crashed();
	verify();
	test_end();
}

/* ---- ordered writers ---- */

#define WRITERS 3u

struct writer {
	struct store_io io;
	struct slot *slots[WRITERS];
	uint64_t number;
	unsigned at;
	bool held, busy, stop;
	uint64_t buf[SECTOR / 8];
	struct iovec iov;
};

static void writer_done(struct store_io *io, int err);

/* The next number goes to the next disk only when the last disk has it. */
static void writer_go(struct writer *w)
{
	if (w->held || w->busy || w->stop)
		return;
	w->busy = true;
	w->buf[0] = w->number;
	w->iov = (struct iovec){w->buf, SECTOR};
	w->io = (struct store_io){.op = STORE_WRITE,
		.len = SECTOR,
		.iov = &w->iov,
		.iov_count = 1,
		.done = writer_done,
		.disk = w->slots[w->at]->disk,
		.damaged_offset = STORE_NOWHERE};
	store->ops->submit(&w->io);
}

static void writer_done(struct store_io *io, int err)
{
	struct writer *w = container_of(io, struct writer, io);

	SUITE_CHECK(err == 0);
	w->busy = false;
	w->at = (w->at + 1) % WRITERS;
	w->number += w->at == 0;
	writer_go(w);
}

static void simple_done(struct store_io *io, int err)
{
	SUITE_CHECK(err == 0);
	io->done = NULL;
}

static uint64_t first_number(struct store_disk *d)
{
	uint64_t buf[SECTOR / 8];
	struct iovec iov = {buf, SECTOR};
	struct store_io io = {.op = STORE_READ,
		.len = SECTOR,
		.iov = &iov,
		.iov_count = 1,
		.done = simple_done,
		.disk = d,
		.damaged_offset = STORE_NOWHERE};

	store->ops->submit(&io);
	while (io.done)
		turn();
	return buf[0];
}

static void one_instant(struct writer *w)
{
	struct store_disk *disks[WRITERS], *copies[WRITERS];
	struct store_cut c = {.disks = disks, .count = WRITERS};
	struct wait wait = {0};
	struct store_txn *t;
	uint64_t n[WRITERS];

	for (uint64_t until = w->number + 3 + below(20); w->number < until;)
		turn();
	for (unsigned i = 0; i < WRITERS; i++)
		disks[i] = w->slots[i]->disk;
	w->held = true;
	store->ops->cut(store, &c, waited, &wait);
	while (!wait.done)
		turn();
	SUITE_CHECK(wait.err == 0);
	w->held = false;
	writer_go(w);
	t = store->ops->txn_begin(store);
	for (unsigned i = 0; i < WRITERS; i++)
		SUITE_CHECK(store->ops->txn_disk_fork(t, &c, i, &copies[i]) == 0);
	wait = (struct wait){0};
	store->ops->cut_commit(&c, t, waited, &wait);
	while (!wait.done)
		turn();
	SUITE_CHECK(wait.err == 0);
	for (unsigned i = 0; i < WRITERS; i++)
		n[i] = first_number(copies[i]);
	for (unsigned i = 0; i + 1 < WRITERS; i++)
		SUITE_CHECK(n[i] == n[i + 1] || n[i] == n[i + 1] + 1);
	SUITE_CHECK(n[0] <= n[WRITERS - 1] + 1);
	t = store->ops->txn_begin(store);
	for (unsigned i = 0; i < WRITERS; i++)
		SUITE_CHECK(store->ops->txn_disk_delete(t, copies[i]) == 0);
	wait = (struct wait){0};
	store->ops->txn_commit(t, waited, &wait);
	while (!wait.done)
		turn();
	SUITE_CHECK(wait.err == 0);
}

TEST(a_cut_under_ordered_writers_is_of_one_instant)
{
	static struct writer w;

	model_new();
	suite_store.begin();
	open_store();
	while (m->slots[WRITERS - 1].state != SLOT_LIVE)
		create_disk();
	drain();
	for (unsigned i = 0; i < WRITERS; i++)
		w.slots[i] = &m->slots[i];
	w.number = 1;
	writer_go(&w);
	for (unsigned i = 0; i < 10; i++)
		one_instant(&w);
	w.stop = true;
	while (w.busy)
		turn();
	test_end();
}

int main(int argc, char **argv)
{
	if (argc == 2) {
		model_fd = (int)strtol(argv[1], NULL, 10);
		victim();
	}
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_operations_agree_with_the_model),
		cmocka_unit_test(what_was_acknowledged_survives_a_kill),
		cmocka_unit_test(a_cut_under_ordered_writers_is_of_one_instant),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
