/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scrub: all blocks that the map has are read and compared with their checksums, one chunk after the other, in the order of
 * the map's keys as LMDB has them; so it is known whose they are. A block without a checksum gets one. What LMDB has may have
 * changed meanwhile: a block is said to be damaged only while its entry still has it.
 *
 * Where it stands is kept in the file `scrub`, every now and then and at its end: a restart goes on from there.
 */
#include "array/store/pool/background/background.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "array/util/bytes.h"

#define BATCH      256u
#define WINDOW_MS  100u
#define KEEP_EVERY 64u /* batches */
#define FILE_BYTES 96u
#define FILE_MAGIC "UmbraScr"

struct pool_scrub {
	struct pool *pool;
	struct store_scrub view;
	bool stop;              /* asked to */
	bool closing;           /* for the pool closes: it goes on at the next opening */
	bool waits;             /* for its timer or for a leaf */
	struct pool_map_key at; /* the next entry */
	struct pool_meta_entry *entries;
	size_t count, index;
	unsigned batches;
	struct pool_job job;
	int err;
	uint64_t all; /* entries in LMDB */
	struct pool_transfer transfer;
	struct iovec iov;
	uint8_t *bytes;
	struct pool_waiter waiter;
	struct pool_call call;
	struct pool_timer timer;
	uint64_t window_bytes;
	uint8_t file[FILE_BYTES];
	bool keep_only; /* the job writes the file, and that is all */
	bool ending;
};

static void scrub_next(struct pool_scrub *s);

/* ---- the file --------------------------------------------------------------------------------------- */

static void encode(struct pool_scrub *s, bool goes_on)
{
	uint8_t *out = s->file;

	memset(out, 0, FILE_BYTES);
	memcpy(out, FILE_MAGIC, 8);
	memcpy(out + 8, s->pool->super.id, POOL_ID_BYTES);
	put_be64(out + 24, s->at.branch);
	put_be64(out + 32, s->at.chunk);
	put_be32(out + 40, s->at.gen);
	put_be32(out + 44, goes_on);
	put_be64(out + 48, s->view.bytes_per_s);
	put_be64(out + 56, s->view.passed);
	put_be64(out + 64, s->view.bytes);
	put_be64(out + 72, s->view.damaged);
	put_be32(out + FILE_BYTES - 4, pool_crc(~0u, out, FILE_BYTES - 4));
}

/* True: the file says where a scrub stands. */
static bool decode(struct pool_scrub *s, bool *goes_on)
{
	const uint8_t *in = s->file;

	if (memcmp(in, FILE_MAGIC, 8) != 0 || memcmp(in + 8, s->pool->super.id, POOL_ID_BYTES) != 0 ||
		get_be32(in + FILE_BYTES - 4) != pool_crc(~0u, in, FILE_BYTES - 4))
		return false;
	s->at = (struct pool_map_key){
		.branch = get_be64(in + 24), .chunk = get_be64(in + 32), .gen = get_be32(in + 40)};
	*goes_on = get_be32(in + 44) != 0;
	s->view.bytes_per_s = get_be64(in + 48);
	s->view.passed = get_be64(in + 56);
	s->view.bytes = get_be64(in + 64);
	s->view.damaged = get_be64(in + 72);
	return true;
}

static void begin_again(struct pool_scrub *s)
{
	s->at = (struct pool_map_key){.gen = UINT32_MAX};
	s->view.passed = s->view.bytes = s->view.damaged = 0;
}

/* ---- the end ---------------------------------------------------------------------------------------- */

static void told(struct pool_scrub *s)
{
	struct pool *p = s->pool;

	s->view.running = false;
	s->ending = false;
	free(s->entries);
	free(s->bytes);
	s->entries = NULL;
	s->bytes = NULL;
	if (!s->closing && p->scrubbed)
		p->scrubbed(p->damages.arg, &s->view);
	pool_close_step(p);
}

static void scrub_work(struct pool_job *job)
{
	struct pool_scrub *s = container_of(job, struct pool_scrub, job);
	struct pool *p = s->pool;

	if (s->keep_only || s->batches % KEEP_EVERY == 1)
		p->base.host->ops->file_replace(p->base.host, "scrub", s->file, sizeof(s->file));
	if (s->keep_only)
		return;
	s->err = pool_meta_scan_map(&p->meta, &s->at, BATCH, &s->entries, &s->count, &s->all);
}

static void scrub_worked(struct pool_job *job)
{
	struct pool_scrub *s = container_of(job, struct pool_scrub, job);

	if (s->keep_only) {
		told(s);
		return;
	}
	if (s->err)
		s->view.err = s->err;
	s->view.total = s->all > s->view.passed ? s->all : s->view.passed;
	scrub_next(s);
}

/* A file that cannot be written costs a restart the way that was made, nothing else. */
static void scrub_end(struct pool_scrub *s)
{
	s->ending = true;
	s->keep_only = true;
	if (!s->stop && !s->view.err) {
		s->view.finished = true;
		s->at = (struct pool_map_key){.gen = UINT32_MAX};
	}
	encode(s, s->closing);
	s->job.work = scrub_work;
	s->job.done = scrub_worked;
	s->pool->base.host->ops->work(s->pool->base.host, &s->job, POOL_QUEUE_WORKERS);
}

/* ---- an entry --------------------------------------------------------------------------------------- */

/* Some disk that sees what the branch has. */
static uint64_t seen_by(const struct pool_branch *b)
{
	while (b && !b->disk)
		b = b->child_count ? b->children[0] : NULL;
	return b ? b->disk->id : 0;
}

static const struct pool_meta_entry *current(const struct pool_scrub *s)
{
	return &s->entries[s->index];
}

static void entry_done(struct pool_scrub *s)
{
	s->index++;
	s->view.passed++;
	scrub_next(s);
}

/* The blocks are damaged, if the entry still has them. */
static void confirm(struct pool_scrub *s)
{
	const struct pool_meta_entry *e = current(s);
	struct pool *p = s->pool;
	struct pool_branch *b = pool_branch_find(&p->map, e->key.branch);
	const struct pool_entry *now = NULL;
	struct pool_entry unpacked;
	struct pool_leaf *leaf = NULL;
	unsigned count;
	int err = b ? pool_map_leaf(&p->map, b, e->key.chunk, false, &s->waiter, &leaf) : 0;

	if (err == -EAGAIN) {
		s->waits = true;
		return;
	}
	count = !err && leaf ? pool_map_entries(leaf, e->key.chunk, &now, &unpacked) : 0;
	for (unsigned i = 0; i < count; i++) {
		if (now[i].gen != e->key.gen || now[i].phys != e->value.phys)
			continue;
		s->transfer.damaged &= now[i].valid;
		if (!s->transfer.damaged)
			break;
		s->view.damaged += (unsigned)__builtin_popcount(s->transfer.damaged);
		pool_damage_found(p, seen_by(b), e->key.chunk, &s->transfer);
	}
	entry_done(s);
}

static void leaf_loaded(struct pool_waiter *w, int err)
{
	struct pool_scrub *s = container_of(w, struct pool_scrub, waiter);

	s->waits = false;
	if (err)
		entry_done(s); /* its leaf is damaged: it is told of where it is read */
	else
		confirm(s);
}

static void was_read(struct pool_transfer *t, int err)
{
	struct pool_scrub *s = container_of(t, struct pool_scrub, transfer);

	s->view.bytes += t->len;
	s->window_bytes += t->len;
	if (err == -EUCLEAN && t->damaged) {
		confirm(s);
		return;
	}
	if (err)
		s->view.unreadable++;
	entry_done(s);
}

static void entry_read(struct pool_scrub *s)
{
	const struct pool_meta_entry *e = current(s);
	unsigned first = (unsigned)__builtin_ctz(e->value.valid);
	unsigned last = 31u - (unsigned)__builtin_clz(e->value.valid);

	s->iov = (struct iovec){
		.iov_base = s->bytes, .iov_len = (size_t)(last - first + 1) << POOL_BLOCK_SHIFT};
	s->transfer = (struct pool_transfer){.done = was_read,
		.kind = POOL_OP_READ,
		.iov = &s->iov,
		.iov_count = 1,
		.len = (uint32_t)s->iov.iov_len,
		.only = e->value.valid,
		.adopts = true};
	pool_data_submit(&s->pool->space, &s->transfer, e->value.phys, (uint64_t)first << POOL_BLOCK_SHIFT);
}

/* ---- one after the other ---------------------------------------------------------------------------- */

static void window_over(struct pool_timer *timer)
{
	struct pool_scrub *s = container_of(timer, struct pool_scrub, timer);

	s->waits = false;
	s->window_bytes = 0;
	scrub_next(s);
}

/* Its share of the time is used up. */
static bool window_full(struct pool_scrub *s)
{
	if (!s->view.bytes_per_s || s->window_bytes < s->view.bytes_per_s / (1000 / WINDOW_MS))
		return false;
	s->waits = true;
	s->timer.fire = window_over;
	s->pool->base.host->ops->timer_arm(s->pool->base.host, &s->timer, WINDOW_MS);
	return true;
}

static void next_batch(struct pool_scrub *s)
{
	if (s->count) { /* behind the last one; newer generations of a chunk come first */
		s->at = s->entries[s->count - 1].key;
		if (s->at.gen)
			s->at.gen--;
		else
			s->at = (struct pool_map_key){
				.branch = s->at.branch, .chunk = s->at.chunk + 1, .gen = UINT32_MAX};
	}
	free(s->entries);
	s->entries = NULL;
	s->count = s->index = 0;
	encode(s, true);
	s->job.work = scrub_work;
	s->job.done = scrub_worked;
	s->keep_only = false;
	s->batches++; /* the job looks at it */
	s->pool->base.host->ops->work(s->pool->base.host, &s->job, POOL_QUEUE_WORKERS);
}

static void scrub_called(struct pool_call *call)
{
	scrub_next(container_of(call, struct pool_scrub, call));
}

static void scrub_next(struct pool_scrub *s)
{
	bool all = s->batches && s->count < BATCH && s->index == s->count;

	if (s->stop || s->view.err || all) {
		if (s->index < s->count)
			s->at = current(s)->key;
		scrub_end(s);
		return;
	}
	if (window_full(s))
		return;
	while (s->index < s->count && (!current(s)->value.phys || !current(s)->value.valid)) {
		s->index++;
		s->view.passed++;
	}
	if (s->index < s->count) {
		entry_read(s);
	} else if (s->count && s->count < BATCH) {
		s->call.call = scrub_called;
		s->pool->base.host->ops->call(s->pool->base.host, &s->call);
	} else {
		next_batch(s);
	}
}

/* ---- from outside ----------------------------------------------------------------------------------- */

static int scrub_begin(struct pool_scrub *s)
{
	if (posix_memalign((void **)&s->bytes, POOL_BLOCK_BYTES, POOL_CHUNK_BYTES)) {
		s->bytes = NULL;
		return -ENOMEM;
	}
	s->waiter = (struct pool_waiter){.wake = leaf_loaded};
	s->stop = s->closing = s->waits = false;
	s->view.running = true;
	s->view.finished = false;
	s->view.err = 0;
	s->count = s->index = s->batches = 0;
	s->window_bytes = 0;
	s->call.call = scrub_called;
	s->pool->base.host->ops->call(s->pool->base.host, &s->call);
	return 0;
}

int pool_scrub_start(struct store *store, uint64_t bytes_per_s)
{
	struct pool *p = pool_of(store);
	struct pool_scrub *s = p->scrub;

	if (!p->space.sums.on)
		return -EOPNOTSUPP;
	if (p->base.latched)
		return -EROFS;
	if (s->ending || (s->view.running && s->stop))
		return -EBUSY;
	s->view.bytes_per_s = bytes_per_s;
	if (s->view.running)
		return 0; /* at this rate from now on */
	if (s->view.finished)
		begin_again(s);
	s->view.unreadable = 0;
	return scrub_begin(s);
}

static void scrub_halt(struct pool_scrub *s)
{
	if (!s->view.running || s->ending)
		return;
	s->stop = true;
	if (s->waits && list_linked(&s->waiter.link))
		return; /* the leaf comes */
	if (s->waits) {
		s->pool->base.host->ops->timer_disarm(s->pool->base.host, &s->timer);
		s->waits = false;
		s->call.call = scrub_called;
		s->pool->base.host->ops->call(s->pool->base.host, &s->call);
	}
}

void pool_scrub_stop(struct store *store)
{
	scrub_halt(pool_of(store)->scrub);
}

void pool_scrub_view(struct store *store, struct store_scrub *out)
{
	struct pool *p = pool_of(store);

	*out = p->scrub->view;
	out->possible = p->space.sums.on;
	out->settling = p->space.sums.counts.unsure > p->space.sums.counts.settled && p->space.sums.settling
				? p->space.sums.counts.unsure - p->space.sums.counts.settled
				: 0;
}

void pool_scrub_close(struct pool *p)
{
	p->scrub->closing = p->scrub->view.running && !p->scrub->stop;
	scrub_halt(p->scrub);
}

bool pool_scrub_busy(const struct pool *p)
{
	return p->scrub && p->scrub->view.running;
}

/* Reads the file. Blocks. */
struct pool_scrub *pool_scrub_new(struct pool *p)
{
	struct pool_scrub *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->pool = p;
	begin_again(s);
	return s;
}

void pool_scrub_resume(struct pool *p)
{
	const struct pool_host_ops *ops = p->base.host->ops;
	struct pool_scrub *s = p->scrub;
	bool goes_on = false;
	struct pool_file *f;

	if (!p->space.sums.on || ops->file_open(p->base.host, "scrub", POOL_FILE_READONLY, &f))
		return;
	if (ops->file_pread(f, s->file, FILE_BYTES, 0) || !decode(s, &goes_on))
		begin_again(s);
	ops->file_close(f);
	if (goes_on && !p->base.latched)
		scrub_begin(s);
}

void pool_scrub_free(struct pool_scrub *s)
{
	if (!s)
		return;
	free(s->entries);
	free(s->bytes);
	free(s);
}
