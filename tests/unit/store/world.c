/* SPDX-License-Identifier: Apache-2.0 */
/* See world.h. */
#include "tests/unit/store/world.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "array/store/pool/background/background.h"

struct since {
	uint64_t sector, value;
};

struct world_io {
	struct store_io io;
	struct world *w;
	struct model *m, *from; /* from: a clone's source */
	uint64_t sector, count, tag, from_sector;
	uint8_t *buf;
	uint64_t *before; /* READ: what the sectors held when it began */
	struct list_node read_link;
	struct since *since; /* READ: what was written to them until it ended */
	size_t since_count;
	struct iovec iov[4];
	uint64_t flush_from; /* completions when the flush was submitted */
	bool expect_miscompare, waited, done;
	int err;
};

uint64_t test_seed(void)
{
	const char *env = getenv("UMBRA_TEST_SEED");
	uint64_t seed = env ? strtoull(env, NULL, 0) : (uint64_t)time(NULL) * 1000003;

	printf("seed: UMBRA_TEST_SEED=%llu\n", (unsigned long long)seed);
	fflush(stdout);
	return seed;
}

struct pool *world_pool(struct world *w)
{
	return pool_of(w->store);
}

/* ---- sectors --------------------------------------------------------------------------------------- */

static void sector_push(struct sector *s, uint64_t value, uint64_t completed)
{
	if (s->count == s->room) {
		s->room = s->room ? 2 * s->room : 2;
		s->tags = realloc(s->tags, s->room * sizeof(s->tags[0]));
		assert(s->tags);
	}
	s->tags[s->count++] = (struct tag){value, completed};
}

static void sector_set(struct sector *s, uint64_t value)
{
	s->count = 0;
	sector_push(s, value, 1);
	s->busy = false;
}

static uint64_t sector_now(const struct sector *s)
{
	return tags_now(s->tags, s->count);
}

static bool sector_allows(const struct sector *s, uint64_t value)
{
	return tags_allow(s->tags, s->count, value);
}

void world_sectors_free(struct sector *s, uint64_t count)
{
	for (uint64_t i = 0; s && i < count; i++)
		free(s[i].tags);
	free(s);
}

void world_model_free(struct model *m)
{
	world_sectors_free(m->s, m->sectors);
	world_sectors_free(m->next_s, m->next_sectors);
	memset(m, 0, sizeof(*m));
}

void world_model_init(struct model *m, uint64_t sectors)
{
	memset(m, 0, sizeof(*m));
	m->sectors = sectors;
	m->s = calloc(sectors, sizeof(m->s[0]));
	assert(m->s);
	for (uint64_t i = 0; i < sectors; i++)
		sector_set(&m->s[i], 0);
}

struct sector *world_sectors_copy(const struct model *from)
{
	struct sector *to = calloc(from->sectors, sizeof(to[0]));

	assert(to);
	for (uint64_t k = 0; k < from->sectors; k++) {
		const struct sector *s = &from->s[k];

		sector_set(&to[k], sector_now(s));
		/* A write under way falls on either side. */
		if (!s->tags[s->count - 1].completed) {
			for (unsigned t = s->count; t-- > 0 && !s->tags[t].completed;)
				sector_push(&to[k], s->tags[t].value, 0);
		}
	}
	return to;
}

/* ---- I/O ------------------------------------------------------------------------------------------- */

/* For the reads under way, which may find it there even when it is written over at once. */
static void note_written(struct world *w, struct model *m, uint64_t sector, uint64_t value)
{
	list_for_each (n, &w->reads) {
		struct world_io *x = container_of(n, struct world_io, read_link);

		if (x->m != m || sector < x->sector || sector >= x->sector + x->count)
			continue;
		x->since = realloc(x->since, (x->since_count + 1) * sizeof(x->since[0]));
		assert(x->since);
		x->since[x->since_count++] = (struct since){sector, value};
	}
}

static bool written_since(const struct world_io *x, uint64_t sector, uint64_t value)
{
	for (size_t i = 0; i < x->since_count; i++) {
		if (x->since[i].sector == sector && x->since[i].value == value)
			return true;
	}
	return false;
}

static void check_read(struct world_io *x)
{
	for (uint64_t i = 0; i < x->count; i++) {
		const struct sector *s = &x->m->s[x->sector + i];
		uint64_t have = tag_of(x->buf + i * SECTOR);

		/* What was there when the read began, or what was written since. */
		if (have == sector_now(s) || have == x->before[i] || x->before[i] == UINT64_MAX ||
			written_since(x, x->sector + i, have))
			continue;
		if (sector_allows(s, have) &&
			(s->tags[s->count - 1].completed == 0 || sector_now(s) != x->before[i]))
			continue;
		fprintf(stderr, "disk %llu sector %llu: read %llu, expected %llu\n",
			(unsigned long long)x->m->disk_id, (unsigned long long)(x->sector + i),
			(unsigned long long)have, (unsigned long long)sector_now(s));
		abort();
	}
}

static void finish(struct world_io *x, int err)
{
	x->m->inflight--;
	x->w->inflight--;
	if (x->from) {
		x->from->inflight--;
		for (uint64_t i = 0; i < x->count; i++)
			x->from->s[x->from_sector + i].cloned--;
		x->w->cloned += x->count;
		x->w->shared += x->io.shared_bytes / SECTOR;
	}
	x->err = err;
	x->done = true;
	free(x->buf);
	free(x->before);
	free(x->since);
	list_remove(&x->read_link);
	x->buf = NULL;
	if (!x->waited)
		free(x);
}

static void count_error(struct world *w, int err)
{
	w->enospc += err == -ENOSPC;
	w->eio += err == -EIO;
	w->erofs += err == -EROFS;
	w->busy += err == -EAGAIN;
	if (err != -ENOSPC && err != -EIO && err != -EROFS && err != -EAGAIN &&
		!(w->no_memory && err == -ENOMEM)) {
		fprintf(stderr, "unexpected error %d\n", err);
		abort();
	}
}

static void io_done(struct store_io *io, int err)
{
	struct world_io *x = container_of(io, struct world_io, io);
	struct world *w = x->w;

	if (io->op != STORE_READ)
		trace("done disk %llu op %d tag %llu: %d", (unsigned long long)x->m->disk_id, (int)io->op,
			(unsigned long long)x->tag, err);
	if (err == -EILSEQ ||
		(io->op == STORE_COMPARE_WRITE && (err == -ENOSPC || err == -ENOMEM || err == -EAGAIN))) {
		assert(err != -EILSEQ || x->expect_miscompare);
		if (err != -EILSEQ)
			count_error(w, err);
		for (uint64_t i = 0; i < x->count; i++) {
			struct sector *s = &x->m->s[x->sector + i];

			s->count--; /* it never was */
			s->busy = false;
		}
		finish(x, err);
		return;
	}
	if (err)
		count_error(w, err);
	assert(err || !x->expect_miscompare);
	switch (io->op) {
	case STORE_READ:
		if (!err && !w->sim.power_off)
			check_read(x);
		break;
	case STORE_FLUSH:
		for (uint64_t i = 0; !err && i < x->m->sectors; i++)
			x->m->s[i].count = tags_flushed(x->m->s[i].tags, x->m->s[i].count, x->flush_from);
		break;
	default:
		w->completions++;
		for (uint64_t i = 0; i < x->count; i++) {
			struct sector *s = &x->m->s[x->sector + i];

			s->busy = false;
			note_written(w, x->m, x->sector + i, s->tags[s->count - 1].value);
			/* After an error the old or the new may be there: the reader may see either. */
			if (!err)
				s->tags[s->count - 1].completed = w->completions;
			if (!err && (io->flags & STORE_IO_FUA))
				s->count = tags_flushed(s->tags, s->count, w->completions);
		}
		break;
	}
	finish(x, err);
}

static struct world_io *io_new(
	struct world *w, struct model *m, enum store_io_op op, uint64_t sector, uint64_t count)
{
	struct world_io *x = calloc(1, sizeof(*x));

	assert(x);
	x->w = w;
	x->m = m;
	x->sector = sector;
	x->count = count;
	x->io.op = op;
	x->io.disk = m->disk;
	x->io.offset = sector * SECTOR;
	x->io.len = count * SECTOR;
	x->io.done = io_done;
	x->io.iov = x->iov;
	m->inflight++;
	w->inflight++;
	return x;
}

/* The buffers in up to three pieces, sometimes at odd addresses. */
static void make_iov(struct world_io *x, uint64_t bytes)
{
	struct sim *s = &x->w->sim;
	size_t shift = sim_below(s, 3) == 0 ? 4 : 0;
	void *raw;

	if (posix_memalign(&raw, 4096, bytes + 4096))
		abort();
	if (shift) { /* keep the address to free: the data lies behind it */
		x->buf = raw;
		x->iov[0].iov_base = x->buf;
	}
	x->buf = raw;
	x->iov[0].iov_base = raw;
	x->iov[0].iov_len = bytes;
	x->io.iov_count = 1;
	if (sim_below(s, 3) == 0 && bytes > SECTOR) {
		size_t first = (1 + sim_below(s, bytes / SECTOR - 1)) * SECTOR - (shift ? 4 : 0);

		x->iov[0].iov_len = first;
		x->iov[1].iov_base = (uint8_t *)raw + first;
		x->iov[1].iov_len = bytes - first;
		x->io.iov_count = 2;
	}
}

static bool range_free(const struct model *m, uint64_t sector, uint64_t count)
{
	for (uint64_t i = sector; i < sector + count; i++) {
		if (m->s[i].busy || m->s[i].cloned)
			return false;
	}
	return true;
}

/* A length that is often a block, sometimes odd, now and then long. */
static void random_range(struct world *w, const struct model *m, uint64_t *sector, uint64_t *count)
{
	uint64_t kind = sim_below(&w->sim, 10);

	if (kind < 5) {
		*count = 8 * (1 + sim_below(&w->sim, 4));
		*sector = sim_below(&w->sim, m->sectors / 8) * 8;
	} else if (kind < 8) {
		*count = 1 + sim_below(&w->sim, 20);
		*sector = sim_below(&w->sim, m->sectors);
	} else {
		*count = 1 + sim_below(&w->sim, 400);
		*sector = sim_below(&w->sim, m->sectors);
	}
	if (*sector + *count > m->sectors)
		*count = m->sectors - *sector;
}

static struct world_io *start_change(struct world *w, struct model *m, enum store_io_op op, uint64_t sector,
	uint64_t count, unsigned flags, bool miscompare, bool waited)
{
	struct world_io *x = io_new(w, m, op, sector, count);
	uint64_t bytes = count * SECTOR * (op == STORE_COMPARE_WRITE ? 2 : 1);

	x->waited = waited;
	x->tag = op == STORE_UNMAP ? 0 : ++w->next_tag;
	x->io.flags = flags;
	if (op != STORE_UNMAP) {
		make_iov(x, bytes);
		tag_fill(x->buf + bytes - count * SECTOR, count, x->tag);
	}
	if (op == STORE_COMPARE_WRITE) {
		for (uint64_t i = 0; i < count; i++)
			tag_fill(x->buf + i * SECTOR, 1, sector_now(&m->s[sector + i]));
		if (miscompare)
			x->buf[sim_below(&w->sim, count * SECTOR)] ^= 1;
		x->expect_miscompare = miscompare;
	}
	for (uint64_t i = 0; i < count; i++) {
		sector_push(&m->s[sector + i], x->tag, 0);
		m->s[sector + i].busy = true;
	}
	trace("disk %llu op %d tag %llu sectors %llu + %llu", (unsigned long long)m->disk_id, (int)op,
		(unsigned long long)x->tag, (unsigned long long)sector, (unsigned long long)count);
	m->disk->store->ops->submit(&x->io);
	return x;
}

static struct world_io *start_clone(struct world *w, struct model *m, uint64_t sector, uint64_t count,
	struct model *from, uint64_t from_sector, unsigned flags, bool waited)
{
	struct world_io *x = io_new(w, m, STORE_CLONE, sector, count);

	x->waited = waited;
	x->io.flags = flags;
	x->from = from;
	x->from_sector = from_sector;
	x->io.source = from->disk;
	x->io.source_offset = from_sector * SECTOR;
	from->inflight++;
	for (uint64_t i = 0; i < count; i++) {
		from->s[from_sector + i].cloned++;
		sector_push(&m->s[sector + i], sector_now(&from->s[from_sector + i]), 0);
		m->s[sector + i].busy = true;
	}
	trace("disk %llu clone of disk %llu sectors %llu + %llu to %llu", (unsigned long long)m->disk_id,
		(unsigned long long)from->disk_id, (unsigned long long)from_sector, (unsigned long long)count,
		(unsigned long long)sector);
	m->disk->store->ops->submit(&x->io);
	return x;
}

/* As if a reader had found the chunks in many places. */
void world_pack(struct world *w, struct model *m, uint64_t chunk, uint64_t end)
{
	for (; chunk < end; chunk++)
		pool_pack_note(world_pool(w), pool_disk_of(m->disk)->branch, chunk);
}

void world_start_read(struct world *w, struct model *m, uint64_t sector, uint64_t count)
{
	struct world_io *x = io_new(w, m, STORE_READ, sector, count);

	make_iov(x, count * SECTOR);
	memset(x->buf, 0xee, count * SECTOR);
	x->before = calloc(count, sizeof(x->before[0]));
	assert(x->before);
	for (uint64_t i = 0; i < count; i++)
		x->before[i] = m->s[sector + i].tags[m->s[sector + i].count - 1].completed
				       ? sector_now(&m->s[sector + i])
				       : UINT64_MAX; /* one of several */
	list_push_back(&w->reads, &x->read_link);
	m->disk->store->ops->submit(&x->io);
	if (w->packs)
		world_pack(w, m, sector / CHUNK_SECTORS, (sector + count - 1) / CHUNK_SECTORS + 1);
}

static struct world_io *start_flush(struct world *w, struct model *m, bool waited)
{
	struct world_io *x = io_new(w, m, STORE_FLUSH, 0, 0);

	x->waited = waited;
	x->flush_from = w->completions;
	m->disk->store->ops->submit(&x->io);
	return x;
}

static bool clean_for_compare(const struct model *m, uint64_t sector, uint64_t count)
{
	for (uint64_t i = sector; i < sector + count; i++) {
		if (!m->s[i].tags[m->s[i].count - 1].completed) /* a failed write: either may be there */
			return false;
	}
	return true;
}

/* Mostly whole chunks that lie alike, so that they may be shared. */
static bool random_clone(struct world *w, struct model *m)
{
	struct model *from = &w->disk[sim_below(&w->sim, WORLD_DISKS)];
	uint64_t kind = sim_below(&w->sim, 10), count = 1 + sim_below(&w->sim, 300), sector, at;

	if (!from->disk_id || from->maybe)
		return false;
	sector = sim_below(&w->sim, m->sectors);
	at = sim_below(&w->sim, from->sectors);
	if (kind < 7) {
		sector -= sector % 128;
		at = sim_below(&w->sim, 2) ? sector : at - at % 128;
	}
	if (kind < 5)
		count = 128 * (1 + sim_below(&w->sim, 4));
	if (at >= from->sectors)
		return false;
	if (count > m->sectors - sector)
		count = m->sectors - sector;
	if (count > from->sectors - at)
		count = from->sectors - at;
	if (from == m && sector < at + count && at < sector + count)
		return false;
	for (uint64_t i = at; i < at + count; i++) {
		if (from->s[i].busy)
			return false;
	}
	if (!range_free(m, sector, count) || !clean_for_compare(from, at, count))
		return false;
	start_clone(w, m, sector, count, from, at, sim_below(&w->sim, 8) ? 0 : STORE_IO_FUA, false);
	return true;
}

bool world_random_op(struct world *w)
{
	struct model *m = &w->disk[sim_below(&w->sim, WORLD_DISKS)];
	uint64_t kind = sim_below(&w->sim, 100), sector, count;

	if (!m->disk_id || m->maybe)
		return false;
	random_range(w, m, &sector, &count);
	if (kind < 25) {
		world_start_read(w, m, sector, count);
		return true;
	}
	if (kind < 35) {
		start_flush(w, m, false);
		return true;
	}
	if (kind >= 92)
		return !m->held && random_clone(w, m);
	if (m->held || !range_free(m, sector, count))
		return false;
	if (kind < 75) {
		start_change(w, m, STORE_WRITE, sector, count, sim_below(&w->sim, 8) ? 0 : STORE_IO_FUA,
			false, false);
	} else if (kind < 85) {
		start_change(w, m, STORE_UNMAP, sector, count, 0, false, false);
	} else {
		count = count > 255 ? 255 : count;
		if (!clean_for_compare(m, sector, count))
			return false;
		start_change(w, m, STORE_COMPARE_WRITE, sector, count, 0, sim_below(&w->sim, 3) == 0, false);
	}
	return true;
}

bool world_start(struct world *w, struct model *m, enum store_io_op op, uint64_t sector, uint64_t count)
{
	if (m->held || !range_free(m, sector, count) ||
		(op == STORE_COMPARE_WRITE && !clean_for_compare(m, sector, count)))
		return false;
	start_change(w, m, op, sector, count, 0, false, false);
	return true;
}

int world_wait(struct world *w, struct world_io *x)
{
	int err;

	while (!x->done) {
		bool went = sim_step(&w->sim, true);

		assert(went && "an I/O never ends");
	}
	err = x->err;
	free(x);
	return err;
}

int world_write(struct world *w, struct model *m, uint64_t sector, uint64_t count, unsigned flags)
{
	return world_wait(w, start_change(w, m, STORE_WRITE, sector, count, flags, false, true));
}

struct world_io *world_start_write(struct world *w, struct model *m, uint64_t sector, uint64_t count)
{
	return start_change(w, m, STORE_WRITE, sector, count, 0, false, true);
}

struct world_io *world_start_compare(struct world *w, struct model *m, uint64_t sector, uint64_t count)
{
	return start_change(w, m, STORE_COMPARE_WRITE, sector, count, 0, false, true);
}

struct world_io *world_start_compare_fua(struct world *w, struct model *m, uint64_t sector, uint64_t count)
{
	return start_change(w, m, STORE_COMPARE_WRITE, sector, count, STORE_IO_FUA, false, true);
}

struct world_io *world_start_clone(struct world *w, struct model *m, uint64_t sector, uint64_t count,
	struct model *from, uint64_t from_sector)
{
	return start_clone(w, m, sector, count, from, from_sector, 0, true);
}

int world_unmap(struct world *w, struct model *m, uint64_t sector, uint64_t count)
{
	return world_wait(w, start_change(w, m, STORE_UNMAP, sector, count, 0, false, true));
}

int world_clone(struct world *w, struct model *m, uint64_t sector, uint64_t count, struct model *from,
	uint64_t from_sector, uint64_t *shared)
{
	uint64_t before = w->shared;
	int err = world_wait(w, start_clone(w, m, sector, count, from, from_sector, 0, true));

	if (shared)
		*shared = (w->shared - before) * SECTOR;
	return err;
}

int world_flush(struct world *w, struct model *m)
{
	return world_wait(w, start_flush(w, m, true));
}

void world_drain(struct world *w)
{
	unsigned idle = 0;

	while (w->inflight) {
		if (!sim_step(&w->sim, true))
			assert(++idle < 10 && "an I/O never ends");
	}
}

void world_idle(struct world *w)
{
	for (unsigned i = 0; i < 200000 && sim_step(&w->sim, true); i++)
		;
}

/* ---- open, close, verify --------------------------------------------------------------------------- */

static void init(
	struct world *w, uint64_t seed, uint64_t capacity_bytes, uint64_t log_bytes, bool plain, bool whole)
{
	memset(w, 0, sizeof(*w));
	list_init(&w->reads);
	sim_init(&w->sim, seed);
	w->sim.no_checksums = plain;
	w->sim.whole = whole;
	sim_create(&w->sim, capacity_bytes, log_bytes);
	w->max_sectors = 16 * 128;
}

/* Pools of before are tested, too. */
static bool as_before(uint64_t seed)
{
	return seed % 4 == 3;
}

void world_init(struct world *w, uint64_t seed, uint64_t capacity_bytes, uint64_t log_bytes)
{
	init(w, seed, capacity_bytes, log_bytes, false, as_before(seed));
}

void world_init_whole(struct world *w, uint64_t seed, uint64_t capacity_bytes, uint64_t log_bytes)
{
	init(w, seed, capacity_bytes, log_bytes, false, true);
}

void world_init_split(struct world *w, uint64_t seed, uint64_t capacity_bytes, uint64_t log_bytes)
{
	init(w, seed, capacity_bytes, log_bytes, false, false);
}

void world_init_plain(struct world *w, uint64_t seed, uint64_t capacity_bytes, uint64_t log_bytes)
{
	init(w, seed, capacity_bytes, log_bytes, true, as_before(seed));
}

void world_destroy(struct world *w)
{
	assert(!w->store);
	for (unsigned i = 0; i < WORLD_DISKS; i++) {
		if (w->disk[i].s)
			world_model_free(&w->disk[i]);
	}
	sim_destroy(&w->sim);
}

struct found {
	struct world *w;
	bool seen[WORLD_DISKS];
	uint64_t set_ids[256];
	unsigned set_count;
};

/* Did the repoint come to be that was under way when the power went? */
static void found_repointed(struct model *m, uint64_t version)
{
	if (!m->next_s)
		return;
	if (version == m->next_version) {
		world_sectors_free(m->s, m->sectors);
		m->s = m->next_s;
		m->sectors = m->next_sectors;
		m->version = version;
		m->alone = false;
	} else {
		world_sectors_free(m->next_s, m->next_sectors);
	}
	m->next_s = NULL;
}

static int each_name(void *arg, const void *key, size_t key_len, const void *value, size_t value_len)
{
	struct found *f = arg;
	uint64_t id, have[2];
	char text[32];

	assert(key_len < sizeof(text) && value_len == sizeof(have));
	memcpy(text, key, key_len);
	text[key_len] = 0;
	id = strtoull(text + 5, NULL, 10);
	memcpy(have, value, sizeof(have));
	for (unsigned i = 0; i < WORLD_DISKS; i++) {
		struct model *m = &f->w->disk[i];

		if (m->disk_id != id)
			continue;
		found_repointed(m, have[1]);
		if (have[0] == m->resizing) /* it came to be before the power went */
			world_model_grow(m, m->resizing);
		m->resizing = 0;
		assert(m->sectors == have[0] && m->version == have[1]);
		f->seen[i] = true;
		return 0;
	}
	fprintf(stderr, "disk %llu is not known\n", (unsigned long long)id);
	abort();
}

static int each_set(void *arg, const void *key, size_t key_len, const void *value, size_t value_len)
{
	struct found *f = arg;

	(void)key;
	(void)key_len;
	/* The set's disks were made in the same transaction: all, or (deleted since) some, never one unknown.
	 */
	for (size_t i = 0; i < value_len / 8 && f->set_count < 256; i++)
		memcpy(&f->set_ids[f->set_count++], (const uint8_t *)value + 8 * i, 8);
	return 0;
}

static void noticed(void *arg, const char *text)
{
	trace("notice: %s", text);
	((struct world *)arg)->notices++;
}

static void damaged(void *arg, const struct pool_damage *damage)
{
	struct world *w = arg;

	w->damaged++;
	w->damage = *damage;
}

int world_open(struct world *w)
{
	struct pool_options options = {.path = "sim",
		.map_memory_bytes = w->map_memory,
		.mirror = w->mirrored ? sim_mirror_host(&w->sim) : NULL,
		.log_mirror = w->log_mirrored,
		.notice = noticed,
		.notice_arg = w,
		.damaged = damaged,
		.damaged_arg = w};
	struct found f = {.w = w};
	struct fault fault = {0};
	int err = pool_open_on(w->from_mirror ? sim_mirror_host(&w->sim) : sim_host(&w->sim), &options, NULL,
		&w->store, &fault);

	if (err) {
		if (!w->sim.power_off && !w->sim.fail_at)
			fprintf(stderr, "open: %d %s\n", err, fault.text);
		w->store = NULL;
		return err;
	}
	if (w->mirrored)
		sim_mirror_reopens(&w->sim, world_pool(w));
	if (w->packs)
		pool_pack_few(world_pool(w), w->packs - 1);
	if (w->map_memory) /* leaves come and go all the time */
		world_pool(w)->map.leaves_kept = 8;
	err = w->store->ops->iterate(w->store, STORE_TABLE_LUN, each_name, &f);
	assert(!err);
	err = w->store->ops->iterate(w->store, STORE_TABLE_SET, each_set, &f);
	assert(!err);
	for (unsigned i = 0; i < WORLD_DISKS; i++) {
		struct model *m = &w->disk[i];
		struct store_disk *disk;
		bool in_set = false;

		if (!m->disk_id)
			continue;
		err = w->store->ops->disk_open(w->store, m->disk_id, &disk);
		assert((err == 0) == f.seen[i] && "half a transaction");
		for (unsigned k = 0; k < f.set_count; k++)
			in_set = in_set || f.set_ids[k] == m->disk_id;
		assert(!(f.seen[i] && m->parent && !in_set) && "half a set");
		assert((f.seen[i] || m->maybe) && "a disk is lost");
		if (!f.seen[i]) {
			world_model_free(m);
			continue;
		}
		m->disk = disk;
		m->maybe = m->held = false;
		assert(!m->alone || !pool_disk_of(disk)->branch->parent);
		assert(w->store->ops->disk_size(disk) == m->sectors * SECTOR);
	}
	return 0;
}

int world_close(struct world *w)
{
	struct world_wait wait = {0};

	world_drain(w);
	for (unsigned i = 0; i < WORLD_DISKS; i++)
		world_hydrate_cancel(w, &w->disk[i]);
	w->store->ops->close(w->store, world_txn_done, &wait);
	w->store = NULL;
	return world_txn_wait(w, &wait);
}

static void verify_sector(struct model *m, uint64_t i, uint64_t have, bool crashed)
{
	struct sector *s = &m->s[i];
	bool open = !s->tags[s->count - 1].completed;

	if (crashed || open ? !sector_allows(s, have) : have != sector_now(s)) {
		fprintf(stderr, "disk %llu sector %llu holds %llu; allowed:", (unsigned long long)m->disk_id,
			(unsigned long long)i, (unsigned long long)have);
		for (unsigned k = 0; k < s->count; k++)
			fprintf(stderr, " %llu%s", (unsigned long long)s->tags[k].value,
				s->tags[k].completed ? "" : "?");
		fprintf(stderr, "\n");
		abort();
	}
	if (crashed)
		sector_set(s, have);
	else if (open)
		s->tags[s->count - 1].completed = 0;
}

static void verify_disk(struct world *w, struct model *m, bool crashed)
{
	uint64_t step = 256;

	for (uint64_t at = 0; at < m->sectors; at += step) {
		uint64_t n = m->sectors - at < step ? m->sectors - at : step;
		struct world_io *x = io_new(w, m, STORE_READ, at, n);
		uint8_t *data;

		x->waited = true;
		make_iov(x, n * SECTOR);
		data = malloc(n * SECTOR);
		assert(data);
		memset(x->buf, 0xee, n * SECTOR);
		/* io_done compares with the model as of now; after a crash several values may do. */
		x->io.done = io_done;
		x->count = 0;
		free(data);
		x->iov[0].iov_len = n * SECTOR;
		x->io.iov_count = 1;
		data = x->buf;
		x->buf = NULL; /* kept */
		m->disk->store->ops->submit(&x->io);
		if (world_wait(w, x)) {
			fprintf(stderr, "a read failed\n");
			abort();
		}
		for (uint64_t i = 0; i < n; i++)
			verify_sector(m, at + i, tag_of(data + i * SECTOR), crashed);
		free(data);
	}
}

void world_verify(struct world *w, bool crashed)
{
	for (unsigned i = 0; i < WORLD_DISKS; i++) {
		if (w->disk[i].disk_id && !w->disk[i].maybe)
			verify_disk(w, &w->disk[i], crashed);
	}
}

void world_crash(struct world *w)
{
	int err;

	sim_power_off(&w->sim);
	world_drain(w);
	if (w->store)
		world_close(w);
	sim_power_on(&w->sim);
	err = world_open(w);
	assert(!err);
	world_verify(w, true);
}

static void report_line(void *arg, const char *line)
{
	(void)arg;
	fprintf(stderr, "check: %s\n", line);
}

unsigned world_check(struct world *w, bool repair)
{
	struct pool_options options = {.path = "sim"};
	struct pool_host *h = sim_host(&w->sim);
	struct fault fault = {0};
	int rc = pool_check_on(h, &options, repair, report_line, NULL, &fault);

	h->ops->free(h);
	if (rc < 0) {
		fprintf(stderr, "check: %s\n", fault.text);
		abort();
	}
	return (unsigned)rc;
}
