/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way of an I/O: held while the lease is out, blocked while a comparison has its range, its image opened, then to librbd and
 * back by the reactor's message. No cache lies in between: a write that is done is durable, so FUA asks for nothing more.
 *
 * COMPARE AND WRITE of one block is one operation of Ceph's (librbd takes no more). Of several it is a read, a comparison and a
 * write, and has its range for itself meanwhile: whatever changes a disk comes through here, for the image's lock is ours.
 */
#include "array/store/rbd/rbd.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define AGAIN_MS         10u
#define AGAIN_MAX        1000u
#define UNMAP_STEP_BYTES (UINT64_C(128) << 20) /* so much at a time, each as a whole before or after a cut */

#define ERROR_TOLD_MS 10000u
#define OLD_MS        10000u

enum phase {
	PHASE_ONLY,    /* the I/O is this one operation, or the steps of an UNMAP */
	PHASE_COMPARE, /* compared and written in one */
	PHASE_LOOK,    /* it did not fit: where? */
	PHASE_READ,    /* several blocks: to be compared here */
	PHASE_WRITE,
};

/* In the scratch of a store_io. */
struct rbd_io {
	struct store_io *io;
	struct rbd_image *image; /* with a reference, once open */
	struct list_node link;   /* of the disk: changing, ranges, blocked; of the store: held, kept */
	struct rbd_waiter waiter;
	struct reactor_message message;
	rbd_completion_t completion;
	int64_t result;
	enum phase phase;
	bool changing;   /* in the disk's list of those, or in ranges */
	int err;         /* kept back with it */
	uint64_t offset; /* UNMAP: up to here it is done */
	uint64_t mismatch;
	uint8_t *bounce;   /* compare: what is expected, what is written, what is there; len bytes each */
	struct iovec *iov; /* a shorter copy of the I/O's */
	struct reactor_timer again;
	unsigned tries; /* over `again` */
	unsigned when;  /* index of the store's ios */
};
_Static_assert(sizeof(struct rbd_io) <= STORE_SCRATCH_BYTES, "the scratch is too small");

static struct rbd_io *rbd_io_of(struct store_io *io)
{
	return (struct rbd_io *)(void *)io->scratch;
}

static struct rbd_store *store_of(const struct rbd_io *x)
{
	return rbd_store_of(x->io->disk->store);
}

static bool overlap(const struct rbd_io *a, const struct rbd_io *b)
{
	return a->io->offset < b->io->offset + b->io->len && b->io->offset < a->io->offset + a->io->len;
}

static bool overlaps_any(struct list *list, const struct rbd_io *x)
{
	list_for_each (n, list) {
		const struct rbd_io *other = container_of(n, struct rbd_io, link);

		if (other == x) /* those before it alone */
			return false;
		if (overlap(other, x))
			return true;
	}
	return false;
}

/* ---- the end ---- */

static void unblock(struct rbd_disk *d);

static void tell(struct rbd_io *x, int err)
{
	struct rbd_disk *d = rbd_disk_of(x->io->disk);

	d->inflight--;
	store_of(x)->ios[x->when]--;
	x->io->done(x->io, err);
}

bool rbd_ios_old(struct rbd_store *s)
{
	uint64_t now_ms = clock_boot_ms();
	bool recent = s->ios_since_ms && now_ms - s->ios_since_ms < OLD_MS;

	if (s->ios[!s->ios_now])
		return true;
	s->ios_now = !s->ios_now;
	s->ios_since_ms = now_ms;
	return !recent && s->ios[!s->ios_now];
}

static void end(struct rbd_io *x, int err)
{
	struct rbd_store *s = store_of(x);
	struct rbd_disk *d = rbd_disk_of(x->io->disk);
	bool woke = x->changing;

	if (err == -ESHUTDOWN)
		rbd_lease_lost(&s->lease,
			"Ceph has locked this umbrad out: another one has taken the array, or an administrator did "
			"it (ceph osd blocklist ls)");
	free(x->bounce);
	free(x->iov);
	if (x->changing)
		list_remove(&x->link);
	if (x->image) {
		x->image->ios--;
		rbd_image_put(x->image);
	}
	d->written = d->written || woke;
	if (woke && !list_empty(&d->blocked)) {
		d->inflight++; /* the disk stays over the others' calls */
		unblock(d);
		d->inflight--;
	}
	if (atomic_load(&s->lease.lost)) {
		tell(x, -ESHUTDOWN);
	} else if (rbd_lease_holds(&s->lease)) {
		tell(x, err);
	} else {
		x->err = err;
		list_push_back(&s->kept, &x->link);
	}
}

/* The errno of the array's for what librbd said; what is no answer in the way of things is told. */
static int result_err(struct rbd_io *x, int64_t r)
{
	struct rbd_store *s = store_of(x);
	int err = r < 0 ? rbd_err((int)r) : 0;
	uint64_t now_ms = clock_boot_ms();

	if (err == -ENOSPC)
		rbd_room_refresh(s); /* and tells why */
	if ((err == -EIO || r == -EPERM || r == -EACCES) &&
		(!s->error_told_ms || now_ms - s->error_told_ms > ERROR_TOLD_MS)) {
		s->error_told_ms = now_ms;
		rbd_notice(s, "Ceph answers I/O on the image %s (at %llu, %llu bytes) with: %s",
			x->image->name, (unsigned long long)x->io->offset, (unsigned long long)x->io->len,
			strerror((int)-r));
	}
	return err;
}

/* ---- librbd ---- */

static void advance(struct reactor_message *m);

static void completed(rbd_completion_t c, void *arg)
{
	struct rbd_io *x = arg;

	x->result = rbd_aio_get_return_value(c);
	reactor_post(x->image->s->base.reactor, &x->message);
}

static const struct iovec *iov_exact(struct rbd_io *x, int *count)
{
	const struct store_io *io = x->io;
	uint64_t len = io->len;
	unsigned n = 0;

	while (n < io->iov_count && len > io->iov[n].iov_len)
		len -= io->iov[n++].iov_len;
	assert(n < io->iov_count);
	*count = (int)n + 1;
	if (len == io->iov[n].iov_len)
		return io->iov;
	x->iov = malloc((n + 1) * sizeof(x->iov[0]));
	if (!x->iov)
		return NULL;
	memcpy(x->iov, io->iov, (n + 1) * sizeof(x->iov[0]));
	x->iov[n].iov_len = len;
	return x->iov;
}

static int read_write(struct rbd_io *x)
{
	const struct store_io *io = x->io;
	int count;
	const struct iovec *iov = iov_exact(x, &count);

	if (!iov)
		return -ENOMEM;
	return io->op == STORE_READ ? rbd_aio_readv(x->image->handle, iov, count, io->offset, x->completion)
				    : rbd_aio_writev(x->image->handle, iov, count, io->offset, x->completion);
}

static int operate(struct rbd_io *x)
{
	const struct store_io *io = x->io;
	rbd_image_t handle = x->image->handle;
	uint64_t left = io->offset + io->len - x->offset;
	char *bounce = (char *)x->bounce;

	switch (x->phase) {
	case PHASE_COMPARE:
		return (int)rbd_aio_compare_and_write(handle, io->offset, io->len, bounce, bounce + io->len,
			x->completion, &x->mismatch, 0);
	case PHASE_LOOK:
	case PHASE_READ:
		return rbd_aio_read(handle, io->offset, io->len, bounce + 2 * io->len, x->completion);
	case PHASE_WRITE:
		return rbd_aio_write(handle, io->offset, io->len, bounce + io->len, x->completion);
	case PHASE_ONLY:
		break;
	}
	if (io->op == STORE_FLUSH)
		return rbd_aio_flush(handle, x->completion);
	if (io->op == STORE_UNMAP) /* also parts of objects become zeros, unlike those of a discard */
		return rbd_aio_write_zeroes(handle, x->offset,
			left < UNMAP_STEP_BYTES ? left : UNMAP_STEP_BYTES, x->completion, 0, 0);
	return read_write(x);
}

static void go(struct rbd_io *x)
{
	int err = rbd_aio_create_completion(x, completed, &x->completion);

	if (err < 0) {
		end(x, -ENOMEM);
		return;
	}
	x->message.call = advance;
	err = operate(x);
	if (err < 0) {
		rbd_aio_release(x->completion);
		end(x, result_err(x, err));
	}
}

static bool reads(const struct rbd_io *x)
{
	return x->phase == PHASE_LOOK || x->phase == PHASE_READ ||
	       (x->phase == PHASE_ONLY && x->io->op == STORE_READ);
}

/* ---- COMPARE AND WRITE ---- */

/* It has its range for itself. */
static bool exclusive(const struct rbd_io *x)
{
	return x->io->op == STORE_COMPARE_WRITE && x->io->len > STORE_BLOCK_BYTES;
}

static void gather(const struct store_io *io, uint8_t *to, uint64_t len)
{
	for (unsigned i = 0; len; i++) {
		uint64_t part = io->iov[i].iov_len < len ? io->iov[i].iov_len : len;

		assert(i < io->iov_count);
		memcpy(to, io->iov[i].iov_base, part);
		to += part;
		len -= part;
	}
}

static void compare_begin(struct rbd_io *x)
{
	x->bounce = malloc(3 * x->io->len);
	if (!x->bounce) {
		end(x, -ENOMEM);
		return;
	}
	gather(x->io, x->bounce, 2 * x->io->len);
	x->phase = exclusive(x) ? PHASE_READ : PHASE_COMPARE;
	go(x);
}

/* Whether what was read is what is expected; else where it is not. */
static bool fits(struct rbd_io *x)
{
	const uint8_t *want = x->bounce, *have = x->bounce + 2 * x->io->len;

	for (uint64_t i = 0; i < x->io->len; i++)
		if (want[i] != have[i]) {
			x->io->miscompare_offset = i;
			return false;
		}
	return true;
}

static void compare_advance(struct rbd_io *x)
{
	switch (x->phase) {
	case PHASE_COMPARE:
		if (x->result == -EILSEQ) {
			x->phase =
				PHASE_LOOK; /* librbd's own answer is right for the first block of an object only */
			go(x);
			return;
		}
		break;
	case PHASE_LOOK:
		if (x->result >= 0 && fits(x)) { /* somebody wrote it meanwhile: once more */
			x->phase = PHASE_COMPARE;
			go(x);
			return;
		}
		if (x->result >= 0)
			x->result = -EILSEQ;
		break;
	case PHASE_READ:
		if (x->result >= 0 && fits(x)) {
			x->phase = PHASE_WRITE;
			go(x);
			return;
		}
		if (x->result >= 0)
			x->result = -EILSEQ;
		break;
	default:
		break;
	}
	end(x, result_err(x, x->result));
}

static void again(struct reactor_timer *t)
{
	go(container_of(t, struct rbd_io, again));
}

/* librbd answers -EINVAL to what begins beyond the end, and cuts off a read that goes beyond it. The range lies within the disk: it
 * is for a moment only that librbd sees the image, or the one that it hangs on, otherwise (met once in some hundred runs of the suite;
 * why, is not known). Nothing was done. */
static bool must_try_again(struct rbd_io *x)
{
	if (x->tries == AGAIN_MAX)
		return false;
	x->tries++;
	x->again.fire = again;
	reactor_timer_arm(store_of(x)->base.reactor, &x->again, AGAIN_MS);
	return true;
}

static void advance(struct reactor_message *m)
{
	struct rbd_io *x = container_of(m, struct rbd_io, message);
	struct store_io *io = x->io;

	rbd_aio_release(x->completion);
	if (reads(x) && x->result >= 0 && (uint64_t)x->result < io->len)
		x->result = -EINVAL;
	if (x->result == -EINVAL && must_try_again(x))
		return;
	if (x->phase != PHASE_ONLY) {
		compare_advance(x);
		return;
	}
	if (x->result >= 0 && io->op == STORE_UNMAP) {
		x->offset += UNMAP_STEP_BYTES;
		if (x->offset < io->offset + io->len) {
			go(x);
			return;
		}
	}
	end(x, result_err(x, x->result));
}

/* ---- the beginning ---- */

static void mapped(struct store_io *io, int err)
{
	end(rbd_io_of(io), err);
}

static void opened(struct rbd_waiter *w, int err)
{
	struct rbd_io *x = container_of(w, struct rbd_io, waiter);

	if (err) {
		end(x, err);
		return;
	}
	x->image = rbd_disk_of(x->io->disk)->image;
	x->image->ios++;
	switch (x->io->op) {
	case STORE_MAPPED:
		rbd_mapped(x->image, x->io, mapped);
		return;
	case STORE_COMPARE_WRITE:
		compare_begin(x);
		return;
	default:
		go(x);
	}
}

static bool must_wait(struct rbd_disk *d, const struct rbd_io *x)
{
	return overlaps_any(&d->ranges, x) || overlaps_any(&d->blocked, x) ||
	       (exclusive(x) && overlaps_any(&d->changing, x));
}

static void start(struct rbd_io *x)
{
	struct rbd_disk *d = rbd_disk_of(x->io->disk);

	if (store_op_changes(x->io->op)) {
		x->changing = true;
		list_push_back(exclusive(x) ? &d->ranges : &d->changing, &x->link);
	}
	x->waiter.call = opened;
	rbd_image_need(d->image, &x->waiter);
}

static void unblock(struct rbd_disk *d)
{
	bool again = true;

	while (again) {
		again = false;
		list_for_each (n, &d->blocked) {
			struct rbd_io *x = container_of(n, struct rbd_io, link);

			if (must_wait(d, x))
				continue;
			list_remove(&x->link);
			start(x);
			again = true; /* the list may have changed in it */
			break;
		}
	}
}

static void begin(struct rbd_io *x)
{
	struct rbd_disk *d = rbd_disk_of(x->io->disk);

	/* Nothing was written since the image was opened: a flush has nothing to wait for. */
	if (x->io->op == STORE_FLUSH && d->image->state == RBD_IMAGE_CLOSED)
		end(x, 0);
	else if (x->io->len == 0 && x->io->op != STORE_FLUSH)
		end(x, 0);
	else if (store_op_changes(x->io->op) && must_wait(d, x))
		list_push_back(&d->blocked, &x->link);
	else
		start(x);
}

void rbd_submit(struct store_io *io)
{
	struct rbd_disk *d = rbd_disk_of(io->disk);
	struct rbd_store *s = rbd_store_of(d->base.store);
	struct rbd_io *x = rbd_io_of(io);

	assert(io->op != STORE_CLONE && !d->pending && !s->closing);
	assert(io->offset % STORE_BLOCK_BYTES == 0 && io->len % STORE_BLOCK_BYTES == 0);
	assert(io->offset <= d->size_bytes && io->len <= d->size_bytes - io->offset);
	assert(store_op_any_length(io->op) || io->len <= STORE_IO_MAX_BYTES);
	memset(x, 0, sizeof(*x));
	x->io = io;
	x->offset = io->offset;
	x->when = s->ios_now;
	s->ios[x->when]++;
	d->inflight++;
	if (atomic_load(&s->lease.lost))
		tell(x, -ESHUTDOWN);
	else if (!rbd_lease_holds(&s->lease))
		list_push_back(&s->held, &x->link);
	else
		begin(x);
}

/* ---- the lease ---- */

void rbd_io_lease_back(struct rbd_store *s)
{
	struct list_node *n;

	while (rbd_lease_holds(&s->lease) && (n = list_pop(&s->kept))) {
		struct rbd_io *x = container_of(n, struct rbd_io, link);

		tell(x, x->err);
	}
	while (rbd_lease_holds(&s->lease) && (n = list_pop(&s->held)))
		begin(container_of(n, struct rbd_io, link));
}

void rbd_io_fenced(struct rbd_store *s)
{
	struct list_node *n;

	while ((n = list_pop(&s->kept)) || (n = list_pop(&s->held)))
		tell(container_of(n, struct rbd_io, link), -ESHUTDOWN);
}
