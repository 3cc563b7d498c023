/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Merging the entries of one chunk of a branch, under the chunk's exclusive lock, until every entry is seen
 * by somebody directly:
 *
 * - an entry that no viewer sees goes, and its chunk with it;
 * - an older entry that is only seen through a newer one gives that one the blocks it lacks (known zeros, a whole place, and
 *   blocks of a split chunk that both are in move without copying) and goes. Of two in split chunks both may go to a new place, so that what is
 *   left of many does not lie about in chunks that nobody can have as a whole; without room the older one only loses
 *   what is hidden. Where the newer one has fewer blocks than it lacks, its own are copied to
 *   the older one's chunk, and it takes that.
 *
 * Blocks are copied to where nobody reads them before the map says so: the newer entry has none there, or hides what the
 * older one has. The record that says so follows the data's flush like any other. After a crash before it the old map holds:
 * what the newer entry durably has still hides the places that were written to, and what it has since the last flush may be
 * there or not, sector by sector, as after any write that was not flushed.
 */
#include "array/store/pool/background/background.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

static void merge_run(struct pool_merge *m);

/* What was taken for copies that have not been made. */
static void untake(struct pool_merge *m)
{
	struct pool *p = m->pool;
	struct pool_entry *newer,
		place = {.phys = m->to_phys, .split = m->split, .held = m->valid | m->newer_valid};

	if (m->anew) {
		pool_entry_let_go(&p->space, NULL, &place);
	} else if (m->claims) {
		newer = pool_map_edit(&p->map, m->leaf, m->chunk, m->newer_gen);
		assert(newer && newer->split);
		pool_free_blocks(&p->space, m->branch, newer->phys, newer->held & (uint16_t)~newer->valid);
		newer->held = newer->valid;
	}
	m->anew = m->claims = false;
}

static void merge_end(struct pool_merge *m, int err)
{
	struct pool *p = m->pool;

	untake(m);
	if (m->bounce)
		pool_bounce_put(p, m->bounce);
	m->bounce = NULL;
	if (m->leaf)
		pool_leaf_unpin(m->leaf);
	m->leaf = NULL;
	pool_lock_release(&p->locks, &m->wait);
	m->done(m, err);
}

static void entry_drop(struct pool_merge *m, const struct pool_entry *e)
{
	struct pool_entry gone = *e;

	pool_map_remove(&m->pool->map, m->leaf, m->chunk, gone.gen);
	pool_entry_let_go(&m->pool->space, m->branch, &gone);
}

/* The older entry has given what was needed. */
static void give(struct pool_merge *m, uint32_t older_gen, uint16_t valid, uint16_t zero, bool with_chunk)
{
	struct pool *p = m->pool;
	struct pool_entry *older = pool_map_edit(&p->map, m->leaf, m->chunk, older_gen);
	struct pool_entry *newer = pool_map_edit(&p->map, m->leaf, m->chunk, m->newer_gen);

	assert(older && newer && !(newer->valid & valid));
	if (valid && newer->phys == older->phys) { /* of one split chunk: they are the newer one's now */
		assert(newer->split && older->split && !with_chunk);
		newer->held |= valid;
		older->held &= (uint16_t)~valid;
	}
	if (with_chunk) {
		assert(!newer->phys);
		if (older->split)
			pool_free_blocks(&p->space, m->branch, older->phys, older->held & (uint16_t)~valid);
		newer->phys = older->phys;
		newer->shared = older->shared;
		newer->split = older->split;
		newer->held = older->split ? valid : 0;
		older->phys = older->shared = older->split = older->held = 0;
	}
	if (valid || zero) {
		newer->valid |= valid;
		newer->zero |= zero;
		pool_map_mark_dirty(&p->map, m->leaf, m->chunk, newer);
	}
	entry_drop(m, older);
}

/* `to` gets the chunk of `from`, which is whole and from's alone; `from` gets what `to` had. */
static void change_chunks(struct pool_entry *to, struct pool_entry *from)
{
	const struct pool_entry was = *to;

	assert(!from->shared && !from->split);
	to->phys = from->phys;
	to->shared = to->split = to->held = 0;
	from->phys = was.phys;
	from->shared = was.shared;
	from->split = was.split;
	from->held = was.held;
}

/* The newer entry's blocks are in the older one's chunk, too. */
static void take_chunk(struct pool_merge *m)
{
	struct pool_map *map = &m->pool->map;
	struct pool_entry *older = pool_map_edit(map, m->leaf, m->chunk, m->older_gen);
	struct pool_entry *newer = pool_map_edit(map, m->leaf, m->chunk, m->newer_gen);

	assert(older && newer && newer->phys == m->from_phys);
	change_chunks(newer, older);
	newer->valid |= m->valid;
	newer->zero |= m->zero;
	pool_map_mark_dirty(map, m->leaf, m->chunk, newer);
	entry_drop(m, older);
}

/* Both entries' blocks are in the new place. */
static void take_new(struct pool_merge *m)
{
	struct pool *p = m->pool;
	struct pool_entry *older = pool_map_edit(&p->map, m->leaf, m->chunk, m->older_gen);
	struct pool_entry *newer = pool_map_edit(&p->map, m->leaf, m->chunk, m->newer_gen);

	assert(older && newer && older->split && newer->split && newer->valid == m->newer_valid);
	pool_entry_let_go(&p->space, m->branch, newer);
	newer->phys = m->to_phys;
	newer->split = m->split;
	newer->valid |= m->valid;
	newer->zero |= m->zero;
	newer->held = m->split ? newer->valid : 0;
	m->branch->blocks += pool_entry_blocks(newer);
	m->anew = false;
	pool_map_mark_dirty(&p->map, m->leaf, m->chunk, newer);
	entry_drop(m, older);
}

/* ---- copying --------------------------------------------------------------------------------------- */

static void copy_next(struct pool_merge *m);

static void copy_start(struct pool_merge *m, enum pool_op_kind kind, uint64_t phys)
{
	m->iov = (struct iovec){.iov_base = m->bounce, .iov_len = (size_t)m->run << POOL_BLOCK_SHIFT};
	m->transfer = (struct pool_transfer){.done = m->copy_done,
		.kind = kind,
		.iov = &m->iov,
		.iov_count = 1,
		.len = (uint32_t)m->iov.iov_len};
	pool_data_submit(&m->pool->space, &m->transfer, phys, (uint64_t)m->block << POOL_BLOCK_SHIFT);
}

static void copy_written(struct pool_transfer *t, int err)
{
	struct pool_merge *m = container_of(t, struct pool_merge, transfer);

	if (err) {
		merge_end(m, err);
		return;
	}
	pool_data_written(&m->pool->space, m->to_phys);
	m->pool->copied_blocks += m->run;
	m->left &= (uint16_t)~pool_block_mask(m->block, m->run);
	copy_next(m);
}

static void copy_read(struct pool_transfer *t, int err)
{
	struct pool_merge *m = container_of(t, struct pool_merge, transfer);

	if (t->damaged)
		pool_damage_found(m->pool, m->branch->disk ? m->branch->disk->id : 0, m->chunk, t);
	if (err) {
		merge_end(m, err);
		return;
	}
	m->copy_done = copy_written;
	copy_start(m, POOL_OP_WRITE, m->to_phys);
}

static void copy_next(struct pool_merge *m)
{
	if (!m->left && m->anew && !m->newers) {
		m->newers = true;
		m->from_phys = m->newer_phys;
		m->left = m->newer_valid;
	}
	if (!m->left) {
		m->claims = false;
		if (m->anew)
			take_new(m);
		else if (m->upward)
			take_chunk(m);
		else
			give(m, m->older_gen, m->valid, m->zero, false);
		merge_run(m);
		return;
	}
	m->block = (unsigned)__builtin_ctz(m->left);
	m->run = pool_run_length(m->left, NULL, m->block);
	m->copy_done = copy_read;
	copy_start(m, POOL_OP_READ, m->from_phys);
}

/* ---- many at once ----------------------------------------------------------------------------------- */

/* All blocks are in the home's chunk: the newest entry takes it, the others go, and their blocks with them. */
static void many_done(struct pool_merge *m)
{
	struct pool_map *map = &m->pool->map;
	struct pool_entry *newest = pool_map_edit(map, m->leaf, m->chunk, m->gens[0]), *home;

	home = m->home ? pool_map_edit(map, m->leaf, m->chunk, m->gens[m->home]) : newest;
	assert(newest && home && home->phys == m->to_phys && !home->shared && !home->split);
	if (m->home)
		change_chunks(newest, home);
	newest->valid = m->valid;
	newest->zero = m->zero;
	pool_map_mark_dirty(map, m->leaf, m->chunk, newest);
	for (unsigned i = 1; i < m->count; i++)
		entry_drop(m, pool_map_edit(map, m->leaf, m->chunk, m->gens[i]));
	merge_run(m);
}

/* One transfer for each run of the blocks in `mask`; *at: the first free copy. */
static void many_start(struct pool_merge *m, unsigned *at, enum pool_op_kind kind, uint64_t phys,
	uint16_t mask, void (*done)(struct pool_transfer *t, int err))
{
	while (mask) {
		unsigned first = (unsigned)__builtin_ctz(mask), run = pool_run_length(mask, NULL, first);
		struct merge_copy *c = &m->copies[(*at)++];

		c->merge = m;
		c->iov = (struct iovec){.iov_base = m->bounce + ((size_t)first << POOL_BLOCK_SHIFT),
			.iov_len = (size_t)run << POOL_BLOCK_SHIFT};
		c->transfer = (struct pool_transfer){.done = done,
			.kind = kind,
			.iov = &c->iov,
			.iov_count = 1,
			.len = (uint32_t)c->iov.iov_len};
		m->under_way++;
		mask &= (uint16_t)~pool_block_mask(first, run);
		pool_data_submit(&m->pool->space, &c->transfer, phys, (uint64_t)first << POOL_BLOCK_SHIFT);
	}
}

static void many_written(struct pool_merge *m)
{
	if (--m->under_way)
		return;
	pool_data_written(&m->pool->space, m->to_phys);
	if (m->err) {
		merge_end(m, m->err);
		return;
	}
	m->pool->copied_blocks += (unsigned)__builtin_popcount(m->left);
	many_done(m);
}

static void many_write_ended(struct pool_transfer *t, int err)
{
	struct pool_merge *m = container_of(t, struct merge_copy, transfer)->merge;

	m->err = m->err ? m->err : err;
	many_written(m);
}

static void many_read(struct pool_merge *m)
{
	unsigned at = 0;

	if (--m->under_way)
		return;
	if (m->err) { /* all stays as it is */
		merge_end(m, m->err);
		return;
	}
	m->under_way = 1;
	many_start(m, &at, POOL_OP_WRITE, m->to_phys, m->left, many_write_ended);
	many_written(m);
}

static void many_read_ended(struct pool_transfer *t, int err)
{
	struct pool_merge *m = container_of(t, struct merge_copy, transfer)->merge;

	if (t->damaged)
		pool_damage_found(m->pool, m->branch->disk ? m->branch->disk->id : 0, m->chunk, t);
	m->err = m->err ? m->err : err;
	many_read(m);
}

/* The blocks of one of many that newer ones do not hide; `seen`: what those have. */
static uint16_t shows(struct pool_entry e, uint16_t *seen)
{
	uint16_t valid = e.valid & (uint16_t) ~*seen;

	*seen |= e.valid | e.zero;
	return valid;
}

/* Of entries between which nobody sees anything: the one with a chunk of its own that has most of what stays. False: none can
 * take the others' blocks. */
static bool find_home(struct pool_merge *m, const struct pool_entry *e)
{
	unsigned most = 0;
	uint16_t seen = 0;

	for (unsigned i = 0; i < m->count; i++) {
		unsigned blocks = (unsigned)__builtin_popcount(shows(e[i], &seen));

		if (e[i].shared)
			return false;
		if (!e[i].phys || e[i].split || blocks <= most)
			continue;
		most = blocks;
		m->home = i;
	}
	return most > 0;
}

/* How many entries from the first on nobody tells apart. */
static unsigned count_alike(const struct pool_branch *b, const struct pool_entry *e, unsigned n)
{
	unsigned count = 1;

	while (count < n && count < POOL_BLOCKS && !pool_branch_viewer_in(b, e[count].gen, e[count - 1].gen))
		count++;
	return count;
}

/* Three entries and more that nobody tells apart, one of which has a chunk of its own: each block is copied once, to where it
 * is to be, where pairs would copy some again and again. True: the merge waits for it or has ended. */
static bool merge_many(struct pool_merge *m, const struct pool_entry *e, unsigned n)
{
	uint16_t seen = 0;
	unsigned at = 0;

	m->count = count_alike(m->branch, e, n);
	if (m->count < 3 || !find_home(m, e))
		return false;
	if (!m->bounce && !(m->bounce = pool_bounce_get(m->pool))) {
		merge_end(m, -ENOMEM);
		return true;
	}
	m->to_phys = e[m->home].phys;
	m->valid = m->left = 0;
	m->under_way = 1;
	m->err = 0;
	for (unsigned i = 0; i < m->count; i++) {
		uint16_t mask = shows(e[i], &seen);

		m->gens[i] = e[i].gen;
		m->valid |= mask;
		if (i == m->home)
			continue;
		m->left |= mask;
		many_start(m, &at, POOL_OP_READ, e[i].phys, mask, many_read_ended);
	}
	m->zero = seen & (uint16_t)~m->valid;
	many_read(m);
	return true;
}

/* ---- what to do ------------------------------------------------------------------------------------ */

/* Is it less to copy what the newer entry has than what it lacks? Never into a shared chunk, nor into a split one, where the
 * blocks may be others'. */
static bool cheaper_upward(struct pool_entry newer, struct pool_entry older, uint16_t lacks)
{
	if (newer.split || older.split)
		return newer.split && !older.split;
	return !older.shared && __builtin_popcount(newer.valid) < __builtin_popcount(lacks);
}

/* Of two in split chunks: gets room for the blocks of both, in the newer one's chunk or anew. A chunk for it is not taken from
 * the clients. */
static bool split_room(struct pool_merge *m, struct pool_entry newer)
{
	struct pool_space *s = &m->pool->space;
	uint16_t all = newer.valid | m->valid;

	m->to_phys = newer.phys;
	m->newer_phys = newer.phys;
	m->newer_valid = newer.valid;
	m->newers = false;
	if (pool_split_take(s, newer.phys, m->valid)) {
		struct pool_entry *e = pool_map_edit(&m->pool->map, m->leaf, m->chunk, newer.gen);

		assert(e && !(e->held & m->valid));
		e->held |= m->valid;
		m->branch->blocks += (unsigned)__builtin_popcount(m->valid);
		m->claims = true;
		return true;
	}
	m->split = all != POOL_ALL_BLOCKS;
	m->anew = m->split && pool_split_find(s, all, &m->to_phys);
	if (!m->anew && pool_alloc_spare_room(s))
		m->anew = !(m->split ? pool_split_alloc(s, all, &m->to_phys) : pool_alloc(s, &m->to_phys));
	return m->anew;
}

/* Both have blocks of one split chunk: nothing is to be copied. */
static bool same_place(struct pool_entry newer, struct pool_entry older)
{
	return newer.split && older.split && newer.phys == older.phys;
}

/* True: the merge waits for a copy or has ended. */
static bool merge_pair(struct pool_merge *m, struct pool_entry newer, struct pool_entry older)
{
	uint16_t need = (uint16_t)((older.valid | older.zero) & ~(newer.valid | newer.zero));

	m->newer_gen = newer.gen;
	m->older_gen = older.gen;
	m->valid = older.valid & need;
	m->zero = older.zero & need;
	if (!m->valid || !newer.phys || same_place(newer, older)) {
		give(m, older.gen, m->valid, m->zero, m->valid && !newer.phys);
		return false;
	}
	if (!m->bounce && !(m->bounce = pool_bounce_get(m->pool))) {
		merge_end(m, -ENOMEM);
		return true;
	}
	m->upward = cheaper_upward(newer, older, m->valid);
	m->from_phys = m->upward ? newer.phys : older.phys;
	if (!newer.split || !older.split)
		m->to_phys = m->upward ? older.phys : newer.phys;
	m->left = m->upward ? newer.valid : m->valid;
	copy_next(m);
	return true;
}

/* One change. 0: nothing is left to do; 1: something was done; 2: waits or has ended. */
static int merge_step(struct pool_merge *m)
{
	struct pool_branch *b = m->branch;
	const struct pool_entry *e = NULL;
	struct pool_entry unpacked, *bottom;
	unsigned n = pool_map_entries(m->leaf, m->chunk, &e, &unpacked);

	if (n == 0)
		return 0;
	for (unsigned i = 0; i < n; i++) {
		unpacked = e[i];
		if (!unpacked.valid && !unpacked.zero) { /* of a write that failed */
			entry_drop(m, &unpacked);
			return 1;
		}
	}
	for (unsigned i = 1; i < n; i++) {
		uint16_t hidden = pool_entry_hidden(b, e, i);

		unpacked = e[i];
		if (hidden == (unpacked.valid | unpacked.zero)) {
			entry_drop(m, &unpacked);
			return 1;
		}
		if (hidden && unpacked.split) {
			pool_target_shed_entry(m->pool, m->leaf, m->chunk, unpacked.gen, hidden);
			return 1;
		}
	}
	unpacked = e[0];
	if (!pool_branch_viewer_from(b, unpacked.gen)) {
		entry_drop(m, &unpacked);
		return 1;
	}
	for (unsigned i = 0; i + 2 < n; i++) {
		if (merge_many(m, e + i, n - i))
			return 2;
	}
	for (unsigned i = 0; i + 1 < n; i++) {
		uint16_t lacks = (uint16_t)(e[i + 1].valid & ~(e[i].valid | e[i].zero));

		if (e[i].shared && lacks) /* never (clone.c); it would be written to */
			continue;
		if (e[i].split && lacks && e[i + 1].shared) /* nor that one */
			continue;
		if (pool_branch_viewer_in(b, e[i + 1].gen, e[i].gen))
			continue;
		if (e[i].split && lacks && e[i + 1].split && !same_place(e[i], e[i + 1])) {
			m->valid = lacks;
			if (!split_room(m, e[i])) /* they take no more room than one */
				continue;
		}
		return merge_pair(m, e[i], e[i + 1]) ? 2 : 1;
	}
	if (!b->parent && e[n - 1].zero) { /* nothing older to hide */
		unpacked = e[n - 1];
		bottom = pool_map_edit(&m->pool->map, m->leaf, m->chunk, unpacked.gen);
		assert(bottom);
		bottom->zero = 0;
		if (bottom->valid)
			pool_map_mark_dirty(&m->pool->map, m->leaf, m->chunk, bottom);
		else
			entry_drop(m, bottom);
		return 1;
	}
	return 0;
}

static void merge_run(struct pool_merge *m)
{
	int more;

	if (!m->leaf) {
		struct pool_leaf *leaf;
		int err = pool_map_leaf(&m->pool->map, m->branch, m->chunk, false, &m->waiter, &leaf);

		if (err == -EAGAIN)
			return;
		if (err || !leaf) {
			merge_end(m, err);
			return;
		}
		m->leaf = leaf;
		pool_leaf_pin(leaf);
	}
	do
		more = merge_step(m);
	while (more == 1);
	if (more == 0)
		merge_end(m, 0);
}

static void merge_woken(struct pool_waiter *w, int err)
{
	struct pool_merge *m = container_of(w, struct pool_merge, waiter);

	if (err)
		merge_end(m, err);
	else
		merge_run(m);
}

static void merge_granted(struct pool_lock_wait *w)
{
	merge_run(container_of(w, struct pool_merge, wait));
}

void pool_merge_chunk(struct pool_merge *m, struct pool *p, struct pool_branch *b, uint64_t chunk,
	void (*done)(struct pool_merge *m, int err))
{
	memset(m, 0, offsetof(struct pool_merge, copies));
	m->pool = p;
	m->branch = b;
	m->chunk = chunk;
	m->done = done;
	m->waiter.wake = merge_woken;
	m->wait.granted = merge_granted;
	pool_lock_enqueue(&p->locks, b->id, chunk, &m->wait);
	pool_lock_pump(&p->locks, b->id, chunk);
}
