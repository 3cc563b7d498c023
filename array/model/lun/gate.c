/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gate: every I/O from the SCSI layer to the store passes it, and it holds a LUN's writes back during a
 * cut.
 *
 * Invariants:
 * - While the gate is closed, WRITE, UNMAP and COMPARE_WRITE queue; READ and FLUSH pass. When it opens, what
 *   has queued goes on in order of arrival, before anything that comes later. Each is first asked again by
 *   `recheck`.
 * - An I/O counts in inflight[epoch] from lun_submit until its `done` has returned, also while it queues.
 * - A drain turns the epoch and waits for the old counter. No two drains run at once, so the other counter is
 *   zero whenever the epoch turns.
 */
#include <assert.h>
#include <errno.h>
#include "array/model/lun/internal.h"

#define TROUBLE_PAUSE_NS (UINT64_C(60) * 1000000000)

void lun_gate_init(struct lun_box *b)
{
	list_init(&b->gate_queue);
	list_init(&b->drains);
	list_init(&b->drains_next);
}

/* Turns the epoch for the waiters in drains_next; again and again, as long as the old counter is zero. */
static void drain_turn(struct lun_box *b)
{
	struct lun *lun = &b->lun;

	lun_hold(lun);
	while (!b->draining && !list_empty(&b->drains_next)) {
		struct list_node *n;

		assert(list_empty(&b->drains) && b->inflight[b->epoch ^ 1] == 0);
		while ((n = list_pop(&b->drains_next)))
			list_push_back(&b->drains, n);
		b->epoch ^= 1;
		b->draining = true;
		if (b->inflight[b->epoch ^ 1] > 0)
			break;
		/* A waiter may drain again from inside: that one waits for the next epoch. */
		while ((n = list_pop(&b->drains))) {
			struct array_drain *d = container_of(n, struct array_drain, link);

			d->idle(d);
		}
		b->draining = false;
	}
	lun_release(lun);
}

static void inflight_down(struct lun *lun, unsigned epoch)
{
	struct lun_box *b = lun_box_of(lun);
	struct list_node *n;

	assert(b->inflight[epoch] > 0);
	if (--b->inflight[epoch] > 0 || !b->draining || epoch == b->epoch)
		return;
	lun_hold(lun);
	while ((n = list_pop(&b->drains))) {
		struct array_drain *d = container_of(n, struct array_drain, link);

		d->idle(d);
	}
	b->draining = false;
	drain_turn(b);
	lun_release(lun);
}

void lun_gate_drain(struct lun *lun, struct array_drain *d)
{
	struct lun_box *b = lun_box_of(lun);

	list_push_back(&b->drains_next, &d->link);
	drain_turn(b);
}

/* ---- what a change waits for ---- */

static void change_idle(struct array_drain *d)
{
	change_drained(container_of(d, struct change, drain));
}

static void change_io_idle(struct array_drain *d)
{
	struct change *c = container_of(d, struct change, drain);

	d->idle = change_idle;
	lun_hydration_halt(c->draining, d);
}

bool lun_change_drain(struct change *c, struct lun *lun)
{
	if (!lun)
		return false;
	c->draining = lun;
	c->draining_name = lun->name;
	c->drain.idle = change_io_idle;
	lun_gate_drain(lun, &c->drain);
	return true;
}

bool lun_change_drain_io(struct change *c, struct lun *lun)
{
	c->draining = lun;
	c->draining_name = lun->name;
	c->drain.idle = change_idle;
	lun_gate_drain(lun, &c->drain);
	return true;
}

/* ---- I/O ---- */

static void io_end(struct lun_io *io, int err)
{
	struct lun *lun = io->lun;
	unsigned epoch = io->epoch;

	io->done(io, err); /* its memory may be gone */
	inflight_down(lun, epoch);
}

/* The initiator gets sense data, the administrator an event: not more than one of a kind in a while. */
static void tell_trouble(const struct lun *lun, int err)
{
	static const struct {
		int err;
		enum array_event_level level;
	} rows[] = {{-ENOSPC, ARRAY_EVENT_WARNING}, {-EROFS, ARRAY_EVENT_ERROR}, {-EIO, ARRAY_EVENT_ERROR}};
	struct array *a = lun->array;
	uint64_t now = array_clock_ns();

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (rows[i].err != err ||
			(a->luns->trouble_ns[i] && now - a->luns->trouble_ns[i] < TROUBLE_PAUSE_NS))
			continue;
		a->luns->trouble_ns[i] = now;
		array_event_tell(
			a, rows[i].level, "pool", "I/O of LUN %s failed: %s", lun->name, fault_sentence(err));
		if (err == -ENOSPC && a->luns->recycled_count > 0)
			array_event_tell(a, ARRAY_EVENT_WARNING, "pool",
				"%u shadow LUN(s) in the recycle bin hold %llu MiB: umbractl shadow purge gives it back",
				a->luns->recycled_count, (unsigned long long)(lun_recycled_bytes(a) >> 20));
	}
}

static void io_store_done(struct store_io *sio, int err)
{
	struct lun_io *io = container_of(sio, struct lun_io, io);

	if (err)
		tell_trouble(io->lun, err);
	io_end(io, err);
}

static bool io_changes(const struct lun_io *io)
{
	return store_op_changes(io->io.op);
}

/* The first write to a shadow LUN is noted before it goes to the store: see lun_note_write. */
static void io_go(struct lun_io *io)
{
	struct lun *lun = io->lun;

	if (lun->kind == LUN_SHADOW && !(lun->notified & UP_NOTED_WRITTEN) && io_changes(io))
		lun_note_write(lun);
	io->io.disk = lun->disk;
	io->io.done = io_store_done;
	lun->disk->store->ops->submit(&io->io);
}

static bool io_in_range(const struct lun_io *io)
{
	uint64_t size = io->lun->size_bytes;

	return io->io.offset <= size && io->io.len <= size - io->io.offset;
}

static int refusal(const struct lun_io *io)
{
	const struct lun *lun = io->lun;

	if (lun->gone)
		return -ENODEV;
	if (lun->resyncing)
		return -EBUSY;
	return lun->locked && io_changes(io) ? -EROFS : 0;
}

void lun_submit(struct lun_io *io)
{
	struct lun *lun = io->lun;
	struct lun_box *b = lun_box_of(lun);

	io->gate_link.next = io->gate_link.prev = NULL;
	io->epoch = b->epoch;
	b->inflight[io->epoch]++;
	int err = (lun->gone | lun->resyncing | lun->locked) ? refusal(io) : 0;

	if (err)
		io_end(io, err);
	else if (!io_in_range(io))
		io_end(io, -ERANGE);
	else if (b->gate_closed > 0 && io_changes(io))
		list_push_back(&b->gate_queue, &io->gate_link);
	else
		io_go(io);
}

bool lun_io_withdraw(struct lun_io *io)
{
	if (!list_linked(&io->gate_link))
		return false;
	list_remove(&io->gate_link);
	inflight_down(io->lun, io->epoch);
	return true;
}

void lun_gate_close(struct lun *lun)
{
	lun_box_of(lun)->gate_closed++;
}

static void io_admit(struct lun_io *io)
{
	int err = io->recheck ? io->recheck(io) : 0;

	if (!err)
		err = refusal(io);
	if (!err && !io_in_range(io))
		err = -ERANGE;
	if (err)
		io_end(io, err);
	else
		io_go(io);
}

/* The gate counts as closed until the queue is empty, so that what comes meanwhile queues behind it. */
void lun_gate_open(struct lun *lun)
{
	struct lun_box *b = lun_box_of(lun);
	struct list_node *n;

	assert(b->gate_closed > 0);
	if (b->gate_closed > 1) {
		b->gate_closed--;
		return;
	}
	lun_hold(lun);
	while ((n = list_pop(&b->gate_queue)))
		io_admit(container_of(n, struct lun_io, gate_link));
	b->gate_closed--;
	lun_release(lun);
}
