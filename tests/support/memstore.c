/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store in memory: see memstore.h.
 *
 * A disk is a hash table of 4 KiB slots. A slot has two pages, each counted: `now` (what reads see) and
 * `safe` (what a power loss leaves); they differ exactly when the slot is in the disk's dirty list. A cut is
 * a table of counted pages. Every operation under way is a struct mem_op in one queue, in order of
 * submission.
 */
#include "tests/support/memstore_internal.h"

int mem_call(struct memstore *m, bool changes)
{
	m->calls++;
	if (m->dead)
		return -ESHUTDOWN;
	if (m->latched && changes)
		return -EROFS;
	if (m->fail_at != m->calls)
		return 0;
	m->fail_hit = true;
	if (m->fail_latch)
		m->latched = true;
	return m->fail_err;
}

/* ---- cuts ---- */

static void frozen_take(struct mem_frozen *f)
{
	struct mem_disk *d = f->disk;

	f->taken = true;
	f->size_bytes = d->size_bytes;
	f->indexes = mem_must(calloc(d->slot_count + 1, sizeof(*f->indexes)));
	f->pages = mem_must(calloc(d->slot_count + 1, sizeof(struct mem_page *)));
	for (unsigned i = 0; i < d->slot_lists; i++)
		for (struct mem_slot *s = d->slots[i]; s; s = s->next)
			if (s->now) {
				f->indexes[f->count] = s->index;
				f->pages[f->count++] = mem_page_get(s->now);
			}
}

static void cut_end(struct mem_cut *c)
{
	struct memstore *m = c->m;

	for (unsigned i = 0; i < c->count; i++) {
		for (unsigned j = 0; j < c->frozen[i].count; j++)
			mem_page_put(m, c->frozen[i].pages[j]);
		free(c->frozen[i].indexes);
		free(c->frozen[i].pages);
	}
	list_remove(&c->link);
	if (c->cut)
		c->cut->priv = NULL;
	free(c->frozen);
	free(c);
}

/* ---- operations under way ---- */

static void op_effect(struct memstore *m, struct mem_op *op)
{
	if (op->early)
		return;
	op->early = true;
	if (!op->err && op->io && op->kind != MEMSTORE_FLUSH)
		op->err = mem_data_apply(m, op->disk, op->io);
}

static void op_flush_end(struct memstore *m, struct mem_op *op)
{
	for (unsigned i = 0; i < op->flush_count; i++) {
		if (!op->err)
			mem_slot_safe(m, op->disk, op->flush_slots[i], op->flush_pages[i], op->flush_serial);
		mem_page_put(m, op->flush_pages[i]);
	}
	free(op->flush_slots);
	free(op->flush_pages);
}

static void op_io_end(struct memstore *m, struct mem_op *op)
{
	struct store_io *io = op->io;

	op_effect(m, op);
	if (op->kind == MEMSTORE_FLUSH)
		op_flush_end(m, op);
	else if (!op->err && (io->flags & STORE_IO_FUA))
		mem_data_safe(m, op->disk, io->offset, io->offset + io->len);
	op->disk->inflight--;
	if (io->op == STORE_CLONE)
		disk_of(io->source)->inflight--;
	int err = op->err;
	free(op);
	io->done(io, err);
}

static void op_txn_end(struct memstore *m, struct mem_op *op)
{
	struct mem_cut *c = op->cut;

	if (op->err == 0)
		mem_txn_apply(op->txn);
	if (c && c->cut && op->err)
		c->cut->failed = c->count - 1;
	if (c)
		cut_end(c);
	op->done(op->arg, op->err);
	if (op->err && op->err != -EROFS && m->latched && !m->dead) {
		op->unsure = true;
		list_push_back(&m->ops, &op->link);
		return;
	}
	mem_txn_free(op->txn, op->err == 0 || m->dead);
	free(op);
}

static void op_prepare_end(struct mem_op *op)
{
	struct store_txn *t = op->txn;
	void (*done)(void *, int) = op->done;
	void *arg = op->arg;
	int err = op->err;

	free(op);
	if (!t)
		return;
	t->preparing = NULL;
	if (err && t->cut)
		cut_end(t->cut);
	if (err)
		mem_txn_free(t, false);
	done(arg, err);
}

static void op_cut_end(struct mem_op *op)
{
	struct mem_cut *c = op->cut;

	if (!c->cut) {
		free(op);
		cut_end(c);
		return;
	}
	for (unsigned i = 0; i < c->count; i++)
		if (!op->err && !c->frozen[i].taken)
			frozen_take(&c->frozen[i]);
	c->done = true;
	void (*done)(void *, int) = op->done;
	void *arg = op->arg;
	int err = op->err;
	free(op);
	if (err) {
		c->cut->failed = c->count - 1;
		cut_end(c);
	}
	done(arg, err);
}

static bool toss(struct memstore *m)
{
	return m->random && (mem_random(&m->random) >> 20 & 1);
}

static void op_cut_ready(struct mem_op *op)
{
	struct mem_cut *c = op->cut;
	struct memstore *m = c->m;

	if (op->err || !c->cut) {
		op_cut_end(op);
		return;
	}
	store_cut_begins(c->cut);
	c->begun = true;
	for (unsigned i = 0; i < c->count; i++) {
		if (c->frozen[i].disk->fork)
			op->delay_ms = m->copy_cut_ms;
		if (toss(m))
			frozen_take(&c->frozen[i]);
	}
	op->kind = MEMSTORE_CUT;
	op->err = mem_call(m, true);
	mem_op_start(m, op);
}

/* A quarter of the disk has been copied, or it stops. */
static void op_hydrate_end(struct memstore *m, struct mem_op *op)
{
	struct store_hydration *h = op->hydration;
	int err = op->err;

	if (!err) {
		h->passed_bytes += h->total_bytes / 4;
		if (h->passed)
			h->passed(h);
		if (h->passed_bytes + 3 < h->total_bytes) {
			op->err = mem_call(m, true);
			mem_op_start(m, op);
			return;
		}
		h->total_bytes = h->passed_bytes = op->disk->size_bytes;
		op->disk->shares = false;
	}
	op->disk->hydration = NULL;
	h->priv = NULL;
	free(op);
	h->done(h, err);
}

static void op_end(struct memstore *m, struct mem_op *op)
{
	list_remove(&op->link);
	switch (op->kind) {
	case MEMSTORE_RESERVE:
		mem_op_reserve_end(m, op);
		break;
	case MEMSTORE_PREPARE:
		op_prepare_end(op);
		break;
	case MEMSTORE_TXN:
	case MEMSTORE_CUT_COMMIT:
		op_txn_end(m, op);
		break;
	case MEMSTORE_CUT_READY:
		op_cut_ready(op);
		break;
	case MEMSTORE_CUT:
		op_cut_end(op);
		break;
	case MEMSTORE_HYDRATE:
		op_hydrate_end(m, op);
		break;
	default:
		op_io_end(m, op);
		break;
	}
}

static void mem_timer_set(struct memstore *m)
{
	uint64_t now = reactor_now_ns(m->head.reactor), first = UINT64_MAX;

	list_for_each (n, &m->ops) {
		struct mem_op *op = container_of(n, struct mem_op, link);

		if (op->when == MEMSTORE_TIMED && !op->unsure && op->due_ns < first)
			first = op->due_ns;
	}
	if (first != UINT64_MAX)
		reactor_timer_arm(
			m->head.reactor, &m->timer, first > now ? (first - now + 999999) / 1000000 : 0);
}

static struct mem_op *op_due(struct memstore *m, enum memstore_when when, uint64_t now)
{
	list_for_each (n, &m->ops) {
		struct mem_op *op = container_of(n, struct mem_op, link);

		if (op->when == when && !op->unsure && (when != MEMSTORE_TIMED || op->due_ns <= now))
			return op;
	}
	return NULL;
}

static void mem_timer_fire(struct reactor_timer *t)
{
	struct memstore *m = container_of(t, struct memstore, timer);
	struct mem_op *op;

	while ((op = op_due(m, MEMSTORE_TIMED, reactor_now_ns(m->head.reactor))))
		op_end(m, op);
	mem_timer_set(m);
}

static void mem_deferred_call(struct reactor_deferred *d)
{
	struct memstore *m = container_of(d, struct memstore, deferred);
	unsigned count = 0;

	list_for_each (n, &m->ops)
		count += container_of(n, struct mem_op, link)->when == MEMSTORE_DEFERRED;
	while (count-- > 0) {
		struct mem_op *op = op_due(m, MEMSTORE_DEFERRED, 0);

		if (op)
			op_end(m, op);
	}
	if (op_due(m, MEMSTORE_DEFERRED, 0))
		reactor_defer(m->head.reactor, &m->deferred);
}

struct mem_op *mem_op_new(enum memstore_kind kind, int err)
{
	struct mem_op *op = mem_must(calloc(1, sizeof(*op)));

	op->kind = kind;
	op->err = err;
	return op;
}

void mem_op_start(struct memstore *m, struct mem_op *op)
{
	op->when = m->dead ? MEMSTORE_INLINE : op->delay_ms ? MEMSTORE_TIMED : m->timing[op->kind].when;
	if (!op->delay_ms)
		op->delay_ms = m->timing[op->kind].delay_ms;
	list_push_back(&m->ops, &op->link);
	if (op->kind == MEMSTORE_WRITE && toss(m))
		op_effect(m, op);
	switch (op->when) {
	case MEMSTORE_INLINE:
		op_end(m, op);
		break;
	case MEMSTORE_DEFERRED:
		reactor_defer(m->head.reactor, &m->deferred);
		break;
	case MEMSTORE_TIMED:
		op->due_ns = reactor_now_ns(m->head.reactor) + UINT64_C(1000000) * op->delay_ms;
		mem_timer_set(m);
		break;
	case MEMSTORE_MANUAL:
		break;
	}
}

/* ---- the vtable's calls ---- */

static void flush_begin(struct memstore *m, struct mem_op *op)
{
	unsigned i = 0;

	op->flush_serial = ++m->serial;
	list_for_each (n, &op->disk->dirty)
		op->flush_count++;
	op->flush_slots = mem_must(calloc(op->flush_count + 1, sizeof(struct mem_slot *)));
	op->flush_pages = mem_must(calloc(op->flush_count + 1, sizeof(struct mem_page *)));
	list_for_each (n, &op->disk->dirty) {
		struct mem_slot *s = container_of(n, struct mem_slot, dirty);

		op->flush_slots[i] = s;
		op->flush_pages[i++] = mem_page_get(s->now);
	}
}

static void clone_check(struct memstore *m, struct store_io *io)
{
	struct mem_disk *from = disk_of(io->source);

	assert(io->source->store == io->disk->store && (from->usable || m->dead));
	assert(io->source_offset % STORE_BLOCK_BYTES == 0);
	assert(io->source_offset <= from->size_bytes && io->len <= from->size_bytes - io->source_offset);
	assert(io->source != io->disk || io->offset + io->len <= io->source_offset ||
		io->source_offset + io->len <= io->offset);
	io->shared_bytes = 0;
	from->inflight++;
}

/* Cuts through the disk that are not done yet. */
static void cuts_spoil(struct memstore *m, const struct mem_disk *d)
{
	list_for_each (n, &m->cuts) {
		struct mem_cut *c = container_of(n, struct mem_cut, link);

		for (unsigned i = 0; c->begun && !c->done && i < c->count; i++)
			c->spoiled = c->spoiled || c->frozen[i].disk == d;
	}
}

static void mem_submit(struct store_io *io)
{
	struct mem_disk *d = disk_of(io->disk);
	struct memstore *m = mem_of(d->head.store);
	bool writes = store_op_changes(io->op);
	struct mem_op *op = mem_op_new(writes                  ? MEMSTORE_WRITE
				       : io->op == STORE_FLUSH ? MEMSTORE_FLUSH
							       : MEMSTORE_READ,
		mem_call(m, writes));

	assert(m->open && (d->usable || m->dead));
	assert(io->offset % STORE_BLOCK_BYTES == 0 && io->len % STORE_BLOCK_BYTES == 0);
	assert(io->offset <= d->size_bytes && io->len <= d->size_bytes - io->offset);
	assert(store_op_any_length(io->op) || io->len <= STORE_IO_MAX_BYTES);
	if (io->op == STORE_CLONE)
		clone_check(m, io);
	if (writes)
		cuts_spoil(m, d);
	op->io = io;
	op->disk = d;
	d->inflight++;
	d->ready = true;
	if (op->kind == MEMSTORE_FLUSH && !op->err)
		flush_begin(m, op);
	mem_op_start(m, op);
}

static void txn_start(struct store_txn *t, struct mem_cut *cut, void (*done)(void *arg, int err), void *arg)
{
	struct memstore *m = t->m;
	struct mem_op *op = mem_op_new(cut ? MEMSTORE_CUT_COMMIT : MEMSTORE_TXN, mem_call(m, true));

	assert(!t->failed && !t->preparing && t->cut == cut);
	op->txn = t;
	op->cut = cut;
	op->done = done;
	op->arg = arg;
	mem_op_start(m, op);
}

static void mem_txn_prepare(
	struct store_txn *t, struct store_cut *cut, void (*ready)(void *arg, int err), void *arg)
{
	struct mem_op *op = mem_op_new(MEMSTORE_PREPARE, mem_call(t->m, true));

	assert(!t->failed && !t->prepared && t->cut == (cut ? cut->priv : NULL));
	t->prepared = true;
	t->preparing = op;
	op->txn = t;
	op->done = ready;
	op->arg = arg;
	if (t->cut) {
		assert(t->cut->done && !t->cut->ended && !t->cut->spoiled && !t->cut->txn);
		t->cut->txn = t;
	}
	mem_op_start(t->m, op);
}

static void mem_txn_commit(struct store_txn *t, void (*done)(void *arg, int err), void *arg)
{
	txn_start(t, NULL, done, arg);
}

static void mem_cut(struct store *s, struct store_cut *cut, void (*cut_done)(void *arg, int err), void *arg)
{
	struct memstore *m = mem_of(s);
	struct mem_op *op = mem_op_new(MEMSTORE_CUT_READY, mem_call(m, true));
	struct mem_cut *c = mem_must(calloc(1, sizeof(*c)));

	assert((list_empty(&m->cuts) || m->hang) && cut->count > 0);
	list_push_back(&m->cuts, &c->link);
	cut->priv = c;
	c->m = m;
	c->cut = cut;
	c->count = cut->count;
	c->frozen = mem_must(calloc(cut->count, sizeof(*c->frozen)));
	for (unsigned i = 0; i < cut->count; i++) {
		c->frozen[i].disk = disk_of(cut->disks[i]);
		assert(c->frozen[i].disk->usable || m->dead);
		m->opened_in_cuts += m->lazy && !c->frozen[i].disk->ready;
	}
	op->cut = c;
	op->done = cut_done;
	op->arg = arg;
	mem_op_start(m, op);
}

static void mem_cut_commit(
	struct store_cut *cut, struct store_txn *t, void (*done)(void *arg, int err), void *arg)
{
	struct mem_cut *c = cut->priv;

	assert(c && c->done && !c->ended && !c->spoiled && t->cut == c && (!c->txn || c->txn == t));
	c->ended = true;
	c->txn = NULL;
	txn_start(t, c, done, arg);
}

static void mem_cut_drop(struct store_cut *cut)
{
	struct mem_cut *c = cut->priv;

	assert(c && c->done && !c->ended && !c->txn);
	cut_end(c);
}

/* Its operation goes on, and nobody is called back. A transaction may be beyond that: at random, where the test has asked for it. */
static bool mem_cut_give_up(struct store_cut *cut)
{
	struct mem_cut *c = cut->priv;
	struct memstore *m = c->m;

	assert(c);
	if (c->ended && (m->dead || m->latched || toss(m)))
		return false;
	if (c->done && !c->ended) {
		if (c->txn) {
			c->txn->cut = NULL;
			mem_txn_drop(c->txn);
		}
		cut_end(c);
		return true;
	}
	list_for_each (n, &m->ops) {
		struct mem_op *op = container_of(n, struct mem_op, link);

		if (op->cut != c)
			continue;
		if (op->txn)
			mem_txn_free(op->txn, false);
		op->txn = NULL;
		op->kind = MEMSTORE_CUT;
	}
	list_remove(&c->link);
	cut->priv = c->cut = NULL;
	return true;
}

static unsigned mem_cut_waits(const struct store_cut *cut, unsigned *first)
{
	const struct mem_cut *c = cut->priv;

	*first = 0;
	return c->done && !c->ended ? 0 : c->count;
}

static void mem_hydrate(struct store_hydration *h)
{
	struct mem_disk *d = disk_of(h->disk);
	struct memstore *m = mem_of(d->head.store);
	struct mem_op *op = mem_op_new(MEMSTORE_HYDRATE, mem_call(m, true));

	assert((d->usable || m->dead) && !d->hydration);
	h->passed_bytes = d->shares ? 0 : d->size_bytes;
	h->total_bytes = d->size_bytes;
	h->priv = op;
	op->hydration = h;
	op->disk = d;
	d->hydration = op;
	mem_op_start(m, op);
}

static void mem_hydrate_cancel(struct store_hydration *h)
{
	struct mem_op *op = h->priv;

	assert(op);
	if (!op->err)
		op->err = -ECANCELED;
}

static int mem_disk_open(struct store *s, uint64_t disk_id, struct store_disk **out)
{
	struct memstore *m = mem_of(s);
	int err = mem_call(m, false);

	if (err)
		return err;
	list_for_each (n, &m->disks) {
		struct mem_disk *d = container_of(n, struct mem_disk, link);

		if (d->id == disk_id && d->durable) {
			d->usable = true;
			*out = &d->head;
			return 0;
		}
	}
	return -ENOENT;
}

static uint64_t mem_disk_id(const struct store_disk *d)
{
	return container_of(d, const struct mem_disk, head)->id;
}

static uint64_t mem_disk_size(const struct store_disk *d)
{
	return container_of(d, const struct mem_disk, head)->size_bytes;
}

static uint64_t mem_disk_used(const struct store_disk *d)
{
	const struct mem_disk *md = container_of(d, const struct mem_disk, head);
	uint64_t used = 0;

	for (unsigned i = 0; i < md->slot_lists; i++)
		for (struct mem_slot *s = md->slots[i]; s; s = s->next)
			used += s->now ? PAGE_BYTES : 0;
	return used;
}

static int mem_iterate(struct store *s, enum store_table table,
	int (*each)(void *arg, const void *key, size_t key_len, const void *value, size_t value_len),
	void *arg)
{
	struct memstore *m = mem_of(s);
	int err = mem_call(m, false);

	return err ? err : mem_records_each(m, table, each, arg);
}

static void mem_stats(struct store *s, struct store_stats *out)
{
	struct memstore *m = mem_of(s);

	memset(out, 0, sizeof(*out));
	out->capacity_bytes = m->capacity_bytes ? m->capacity_bytes : UINT64_C(1) << 50;
	out->used_bytes = m->page_count * PAGE_BYTES;
	out->reserved_bytes = (uint64_t)memstore_reserved(m) * STORE_RESERVE_CHUNKS * (64 << 10);
	out->read_only = m->latched;
	if (m->latched)
		memcpy(out->read_only_reason, "a test made a call fail", 24);
}

static void mem_stop(struct memstore *m)
{
	if (m->head.reactor)
		reactor_timer_disarm(m->head.reactor, &m->timer);
	m->open = false;
}

static void mem_close(struct store *s, void (*done)(void *arg, int err), void *arg)
{
	struct memstore *m = mem_of(s);

	assert(!memstore_pending_kind(m, MEMSTORE_HYDRATE) && !m->reserves);
	memstore_complete_all(m);
	list_for_each (n, &m->disks) {
		struct mem_disk *d = container_of(n, struct mem_disk, link);

		assert(d->inflight == 0);
		if (!m->latched && !m->dead)
			mem_data_safe(m, d, 0, UINT64_MAX);
	}
	mem_stop(m);
	done(arg, m->latched ? -EROFS : 0);
}

static bool mem_label(struct store_disk *disk, const struct store_label *l)
{
	struct memstore *m = mem_of(disk->store);
	struct mem_disk *d = disk_of(disk);

	assert(m->open && (d->usable || m->dead) && list_empty(&m->cuts) && (!l->lun || l->naa[0]));
	if (m->label_calls++ % 4 == 3) /* it has enough for now */
		return false;
	snprintf(d->label, sizeof(d->label), "%s %s %s %s", l->lun ? l->lun : "-", l->kind,
		l->copy_of ? l->copy_of : "-", l->set ? l->set : "-");
	return true;
}

const char *memstore_label(const struct store_disk *d)
{
	return container_of(d, const struct mem_disk, head)->label;
}

static const struct store_ops mem_ops = {
	.name = "memory",
	.label = mem_label,
	.close = mem_close,
	.stats = mem_stats,
	.disk_open = mem_disk_open,
	.disk_id = mem_disk_id,
	.disk_size = mem_disk_size,
	.disk_used = mem_disk_used,
	.submit = mem_submit,
	.txn_begin = mem_txn_begin,
	.txn_put = mem_txn_put,
	.txn_del = mem_txn_del,
	.txn_disk_create = mem_txn_disk_create,
	.txn_disk_fork = mem_txn_disk_fork,
	.txn_disk_delete = mem_txn_disk_delete,
	.txn_disk_resize = mem_txn_disk_resize,
	.txn_disk_repoint = mem_txn_disk_repoint,
	.txn_commit = mem_txn_commit,
	.txn_drop = mem_txn_drop,
	.iterate = mem_iterate,
	.cut = mem_cut,
	.cut_commit = mem_cut_commit,
	.cut_drop = mem_cut_drop,
	.hydrate = mem_hydrate,
	.hydrate_cancel = mem_hydrate_cancel,
	.hydrate_hangs = mem_hydrate_hangs,
	.clones = true,
	.reserve = mem_reserve,
	.reserve_join = mem_reserve_join,
	.reserve_end = mem_reserve_end,
};

/* ---- the test's side ---- */

struct memstore *memstore_create(uint64_t capacity_bytes)
{
	struct memstore *m = mem_must(calloc(1, sizeof(*m)));

	m->head.ops = &mem_ops;
	m->capacity_bytes = capacity_bytes;
	m->reserve_room = UINT_MAX;
	list_init(&m->disks);
	list_init(&m->ops);
	list_init(&m->cuts);
	m->timer.fire = mem_timer_fire;
	m->deferred.call = mem_deferred_call;
	return m;
}

/* A crash decides what became of failed transactions. There was no crash: they did not take effect. */
static void unsure_free(struct memstore *m)
{
	list_for_each_safe (n, &m->ops) {
		struct mem_op *op = container_of(n, struct mem_op, link);

		assert(op->unsure);
		list_remove(n);
		mem_txn_free(op->txn, true);
		free(op);
	}
}

void memstore_destroy(struct memstore *m)
{
	if (m->open)
		mem_stop(m);
	unsure_free(m);
	list_for_each_safe (n, &m->disks)
		mem_disk_free(m, container_of(n, struct mem_disk, link));
	mem_records_free(m);
	assert(m->page_count == 0);
	free(m);
}

/* Brings every disk back to what is safe. */
struct store *memstore_open(struct memstore *m, struct reactor *reactor)
{
	assert(!m->open);
	unsure_free(m);
	list_for_each_safe (n, &m->disks) {
		struct mem_disk *d = container_of(n, struct mem_disk, link);

		d->usable = d->ready = false;
		if (!d->durable) {
			mem_disk_free(m, d);
			continue;
		}
		list_for_each_safe (sn, &d->dirty) {
			struct mem_slot *s = container_of(sn, struct mem_slot, dirty);

			mem_page_put(m, s->now);
			s->now = mem_page_get(s->safe);
			mem_slot_dirty(d, s);
		}
	}
	m->own_ops = mem_ops;
	m->own_ops.opens_lazily = m->lazy;
	m->own_ops.cut_give_up = m->hang ? mem_cut_give_up : NULL;
	m->own_ops.cut_waits = m->hang ? mem_cut_waits : NULL;
	m->own_ops.txn_prepare = m->hang ? mem_txn_prepare : NULL;
	m->head.ops = &m->own_ops;
	m->head.reactor = reactor;
	m->open = true;
	m->dead = m->latched = false;
	m->fail_at = 0;
	return &m->head;
}

void memstore_timing(struct memstore *m, enum memstore_kind kind, enum memstore_when when, uint32_t delay_ms)
{
	for (int k = 0; k < MEMSTORE_KINDS; k++)
		if (kind == MEMSTORE_KINDS || (int)kind == k) {
			m->timing[k].when = when;
			m->timing[k].delay_ms = delay_ms;
		}
}

void memstore_let_cuts_hang(struct memstore *m)
{
	m->hang = true;
}

void memstore_slow_copy_cuts(struct memstore *m, uint32_t delay_ms)
{
	m->copy_cut_ms = delay_ms;
}

void memstore_scatter(struct memstore *m, uint64_t seed)
{
	m->random = seed;
}

unsigned memstore_pending(const struct memstore *m)
{
	return memstore_pending_kind(m, MEMSTORE_KINDS);
}

unsigned memstore_pending_kind(const struct memstore *m, enum memstore_kind kind)
{
	unsigned count = 0;

	list_for_each (n, &m->ops) {
		const struct mem_op *op = container_of(n, struct mem_op, link);

		count += !op->unsure && (kind == MEMSTORE_KINDS || op->kind == kind);
	}
	return count;
}

static bool is_txn(enum memstore_kind kind)
{
	return kind == MEMSTORE_TXN || kind == MEMSTORE_CUT_COMMIT;
}

/* The index'th pending operation of the kinds; of transactions always the earliest. */
static struct mem_op *op_pending(struct memstore *m, enum memstore_kind kind, unsigned index)
{
	struct mem_op *first_txn = NULL;

	list_for_each (n, &m->ops) {
		struct mem_op *op = container_of(n, struct mem_op, link);

		if (op->unsure)
			continue;
		if (is_txn(op->kind) && !first_txn)
			first_txn = op;
		if (kind != MEMSTORE_KINDS && op->kind != kind)
			continue;
		if (index-- == 0)
			return is_txn(op->kind) ? first_txn : op;
	}
	return NULL;
}

void memstore_complete(struct memstore *m, unsigned index)
{
	op_end(m, mem_must(op_pending(m, MEMSTORE_KINDS, index)));
}

bool memstore_complete_kind(struct memstore *m, enum memstore_kind kind)
{
	struct mem_op *op = op_pending(m, kind, 0);

	if (op)
		op_end(m, op);
	return op != NULL;
}

void memstore_complete_all(struct memstore *m)
{
	struct mem_op *op;

	while ((op = op_pending(m, MEMSTORE_KINDS, 0)))
		op_end(m, op);
}

void memstore_fail(struct memstore *m, unsigned nth, int err, bool latch)
{
	m->fail_at = nth ? m->calls + nth : 0;
	m->fail_err = err;
	m->fail_latch = latch;
	m->fail_hit = false;
}

uint64_t memstore_calls(const struct memstore *m)
{
	return m->calls;
}

bool memstore_failed(const struct memstore *m)
{
	return m->fail_hit;
}

void memstore_crash(struct memstore *m, uint64_t seed)
{
	bool surviving = true;
	struct mem_op *op;

	assert(m->open && !m->dead);
	m->dead = true;
	list_for_each_safe (n, &m->ops) {
		op = container_of(n, struct mem_op, link);
		if (!is_txn(op->kind))
			continue;
		if (!seed || (mem_random(&seed) >> 20 & 1))
			surviving = false;
		if (surviving && (!op->err || op->unsure))
			mem_txn_apply(op->txn);
	}
	while ((op = op_pending(m, MEMSTORE_KINDS, 0))) {
		op->err = -ESHUTDOWN;
		op_end(m, op);
	}
	list_for_each (n, &m->disks) {
		struct mem_disk *d = container_of(n, struct mem_disk, link);

		list_for_each_safe (sn, &d->dirty) {
			struct mem_slot *s = container_of(sn, struct mem_slot, dirty);

			if (seed && (mem_random(&seed) >> 20 & 1))
				mem_slot_safe(m, d, s, s->now, ++m->serial);
		}
	}
	mem_stop(m);
}

unsigned memstore_disks(const struct memstore *m)
{
	unsigned count = 0;

	list_for_each (n, &m->disks)
		count += container_of(n, struct mem_disk, link)->durable;
	return count;
}

bool memstore_shares(struct store_disk *d)
{
	return disk_of(d)->shares;
}

void memstore_peek(struct store_disk *d, uint64_t offset, void *buf, uint64_t len)
{
	uint8_t *out = buf;

	for (uint64_t i = 0; i < len; i++) {
		struct mem_slot *s = mem_slot_find(disk_of(d), (offset + i) / PAGE_BYTES, false);

		out[i] = s && s->now ? s->now->bytes[(offset + i) % PAGE_BYTES] : 0;
	}
}
