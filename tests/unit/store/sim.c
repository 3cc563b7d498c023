/* SPDX-License-Identifier: Apache-2.0 */
/* See sim.h. */
#include "tests/unit/store/sim.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512u

/* A write that no sync has covered yet, in order. data NULL: zeros. */
struct sim_write {
	struct list_node link;
	uint64_t offset, len;
	uint8_t *data;
};

#define PIECE 65536u

struct sim_disk_file {
	struct list_node link;
	char name[32];
	uint8_t *now, *durable; /* of room bytes, from mmap: what is not touched costs nothing */
	uint8_t *touched;       /* a byte for each PIECE of them: not zero, perhaps */
	uint64_t room, size, durable_size;
	struct list unsynced;
	uint64_t unsynced_count, unsynced_base; /* number of the first one */
	uint8_t *lost;                          /* by sim_cut: as it was */
	uint64_t lost_size;
};

struct sim_open_file {
	struct pool_file base;
	struct sim *sim;
	struct sim_disk_file *file;
	bool dsync, mirror;
};

struct sim_host {
	struct pool_host base;
	struct sim *sim;
	bool mirror;
};

uint64_t sim_random(struct sim *s)
{
	uint64_t z = (s->rng += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

uint64_t sim_below(struct sim *s, uint64_t n)
{
	return sim_random(s) % n;
}

/* ---- files ----------------------------------------------------------------------------------------- */

static bool of_mirror(const struct pool_host *h)
{
	return h && ((const struct sim_host *)(const void *)h)->mirror;
}

static struct sim_disk_file *find_file(struct sim *s, const struct pool_host *h, const char *in_directory)
{
	char name[32];

	snprintf(name, sizeof(name), "%s%s",
		of_mirror(h) && strncmp(in_directory, "data.", 5) != 0 ? "mirror/" : "", in_directory);
	list_for_each (n, &s->files) {
		struct sim_disk_file *f = container_of(n, struct sim_disk_file, link);

		if (strcmp(f->name, name) == 0)
			return f;
	}
	return NULL;
}

static uint8_t *image_grown(uint8_t *image, uint64_t from, uint64_t to)
{
	void *grown = image ? mremap(image, from, to, MREMAP_MAYMOVE)
			    : mmap(NULL, to, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert(grown != MAP_FAILED);
	return grown;
}

static void make_room(struct sim_disk_file *f, uint64_t bytes)
{
	uint64_t room = f->room ? f->room : PIECE;

	while (room < bytes)
		room *= 2;
	if (room == f->room)
		return;
	f->now = image_grown(f->now, f->room, room);
	f->durable = image_grown(f->durable, f->room, room);
	f->touched = realloc(f->touched, room / PIECE);
	assert(f->touched);
	memset(f->touched + f->room / PIECE, 0, (room - f->room) / PIECE);
	f->room = room;
}

static void touch(struct sim_disk_file *f, uint64_t offset, uint64_t len)
{
	if (len > 0)
		memset(f->touched + offset / PIECE, 1, (offset + len - 1) / PIECE - offset / PIECE + 1);
}

/* Zeros where nothing else has ever been: no page of it comes into being. */
static void put_zeros(struct sim_disk_file *f, uint8_t *image, uint64_t offset, uint64_t len)
{
	for (uint64_t part; len > 0; offset += part, len -= part) {
		part = PIECE - offset % PIECE < len ? PIECE - offset % PIECE : len;
		if (f->touched[offset / PIECE])
			memset(image + offset, 0, part);
	}
}

static void put(
	struct sim_disk_file *f, uint8_t *image, const struct sim_write *w, uint64_t from, uint64_t len)
{
	if (!w->data) {
		put_zeros(f, image, w->offset + from, len);
		return;
	}
	touch(f, w->offset + from, len);
	memcpy(image + w->offset + from, w->data + from, len);
}

static void drop_first(struct sim_disk_file *f)
{
	struct sim_write *w = container_of(list_pop(&f->unsynced), struct sim_write, link);

	free(w->data);
	free(w);
	f->unsynced_count--;
	f->unsynced_base++;
}

static void sync_up_to(struct sim_disk_file *f, uint64_t number, uint64_t size)
{
	while (f->unsynced_count && f->unsynced_base < number) {
		struct sim_write *w = container_of(f->unsynced.head.next, struct sim_write, link);

		put(f, f->durable, w, 0, w->len);
		drop_first(f);
	}
	if (size > f->durable_size)
		f->durable_size = size;
}

static void tear(struct sim *s, struct sim_disk_file *f, const struct sim_write *w);

/* A sync failed: what it covered may be lost for ever, in any mixture, and no later sync says so. Readers go on seeing
 * it until the power goes. */
static void sync_failed(struct sim *s, struct sim_disk_file *f, uint64_t number)
{
	while (f->unsynced_count && f->unsynced_base < number) {
		tear(s, f, container_of(f->unsynced.head.next, struct sim_write, link));
		drop_first(f);
	}
}

static bool is_zero(const uint8_t *data, uint64_t len)
{
	return len > 0 && data[0] == 0 && memcmp(data, data + 1, len - 1) == 0;
}

/* iov NULL: a discard. */
static void file_write(
	struct sim_open_file *o, const struct iovec *iov, unsigned count, uint64_t offset, uint64_t len)
{
	struct sim_disk_file *f = o->file;
	struct sim_write *w = calloc(1, sizeof(*w));
	uint64_t at = 0;

	assert(w);
	make_room(f, offset + len);
	w->offset = offset;
	w->len = len;
	if (iov && !(count == 1 && iov->iov_len >= len && is_zero(iov->iov_base, len))) {
		w->data = malloc(len);
		assert(w->data);
		for (unsigned i = 0; i < count && at < len; i++) {
			uint64_t part = iov[i].iov_len < len - at ? iov[i].iov_len : len - at;

			memcpy(w->data + at, iov[i].iov_base, part);
			at += part;
		}
		assert(at == len);
	}
	if (iov && offset + len > f->size)
		f->size = offset + len;
	put(f, f->now, w, 0, len);
	list_push_back(&f->unsynced, &w->link);
	f->unsynced_count++;
	if (o->dsync)
		sync_up_to(f, f->unsynced_base + f->unsynced_count, f->size);
}

void sim_cut(struct sim *s, const char *name, uint64_t bytes)
{
	struct sim_disk_file *f = find_file(s, NULL, name);

	sync_up_to(f, f->unsynced_base + f->unsynced_count, f->size);
	if (bytes >= f->size)
		return;
	f->lost = realloc(f->lost, f->size);
	assert(f->lost);
	memcpy(f->lost, f->now, f->size);
	f->lost_size = f->size;
	memset(f->now + bytes, 0, f->size - bytes);
	memset(f->durable + bytes, 0, f->size - bytes);
	f->size = f->durable_size = bytes;
}

void sim_flip(struct sim *s, const char *name, uint64_t bit)
{
	struct sim_disk_file *f = find_file(s, NULL, name);

	assert(f && bit / 8 < f->size);
	sync_up_to(f, f->unsynced_base + f->unsynced_count, f->size);
	touch(f, bit / 8, 1);
	f->now[bit / 8] ^= (uint8_t)(1u << bit % 8);
	f->durable[bit / 8] = f->now[bit / 8];
}

uint8_t *sim_take(struct sim *s, const char *name, uint64_t *bytes)
{
	struct sim_disk_file *f = find_file(s, NULL, name);
	uint8_t *copy = malloc(f->size);

	assert(copy);
	memcpy(copy, f->now, f->size);
	*bytes = f->size;
	return copy;
}

void sim_put(struct sim *s, const char *name, const uint8_t *content, uint64_t bytes)
{
	struct sim_disk_file *f = find_file(s, NULL, name);

	sync_up_to(f, f->unsynced_base + f->unsynced_count, f->size);
	make_room(f, bytes);
	memset(f->now, 0, f->room);
	touch(f, 0, bytes);
	if (bytes)
		memcpy(f->now, content, bytes);
	memcpy(f->durable, f->now, f->room);
	f->size = f->durable_size = bytes;
}

void sim_uncut(struct sim *s, const char *name)
{
	struct sim_disk_file *f = find_file(s, NULL, name);

	touch(f, f->size, f->lost_size - f->size);
	memcpy(f->now + f->size, f->lost + f->size, f->lost_size - f->size);
	memcpy(f->durable + f->size, f->lost + f->size, f->lost_size - f->size);
	f->size = f->durable_size = f->lost_size;
}

static struct sim *sim_of(struct pool_host *h)
{
	return ((struct sim_host *)(void *)h)->sim;
}

static struct sim_open_file *open_of(struct pool_file *f)
{
	return (struct sim_open_file *)(void *)f;
}

/* A step that changes something: may fail, may be the last. */
static int fail(struct sim *s, const char *kind, const char *name)
{
	if (!s->failed[0])
		snprintf(s->failed, sizeof(s->failed), "%s %s", kind, name);
	s->failed_durable =
		s->failed_durable || (strncmp(name, "data.", 5) == 0 && strcmp(kind, "sync") == 0);
	return s->fail_err ? s->fail_err : -EIO;
}

static int step(struct sim *s, const char *kind, const char *name)
{
	if (s->power_off)
		return -EIO;
	s->steps++;
	if (s->off_at && s->steps >= s->off_at) {
		sim_power_off(s);
		return -EIO;
	}
	if (!s->fail_at || s->steps < s->fail_at || (s->fail_only && !strstr(name, s->fail_only)))
		return 0;
	if (!s->failing_until)
		s->failing_until = s->now_ms + s->fail_ms;
	return s->steps == s->fail_at || s->fail_forever || s->now_ms < s->failing_until ? fail(s, kind, name)
											 : 0;
}

/* The log's mark makes nothing durable, and comes when it comes: no step to count to. */
static int file_step(const struct sim_open_file *o, const char *kind)
{
	if (strcmp(o->file->name, "mark") == 0 && !o->mirror) {
		if (o->sim->power_off)
			return -EIO;
		return ++o->sim->marks == o->sim->fail_mark_at ? fail(o->sim, kind, "mark") : 0;
	}
	return o->mirror && o->sim->mirror_fails ? -EIO : step(o->sim, kind, o->file->name);
}

static int host_step(const struct pool_host *h, const char *kind, const char *name)
{
	struct sim *s = ((const struct sim_host *)(const void *)h)->sim;

	return of_mirror(h) && s->mirror_fails ? -EIO : step(s, of_mirror(h) ? "mirror's" : kind, name);
}

static struct sim_disk_file *new_file(struct sim *s, const struct pool_host *h, const char *name)
{
	struct sim_disk_file *f = calloc(1, sizeof(*f));

	assert(f);
	snprintf(f->name, sizeof(f->name), "%s%s", of_mirror(h) ? "mirror/" : "", name);
	list_init(&f->unsynced);
	make_room(f, 1);
	list_push_back(&s->files, &f->link);
	return f;
}

static int sim_file_open(struct pool_host *h, const char *name, unsigned flags, struct pool_file **out)
{
	struct sim *s = sim_of(h);
	struct sim_disk_file *f = find_file(s, h, name);
	struct sim_open_file *o;

	if (s->power_off || (of_mirror(h) && s->mirror_fails))
		return -EIO;
	if (flags & POOL_FILE_CREATE) {
		if (f)
			return -EEXIST;
		f = new_file(s, h, name);
	}
	if (!f)
		return -ENOENT;
	o = calloc(1, sizeof(*o));
	assert(o);
	o->base.host = h;
	o->base.memory_align = s->direct && (flags & POOL_FILE_DIRECT) ? 512 : 1;
	o->base.offset_align = s->direct && (flags & POOL_FILE_DIRECT) ? 4096 : 1;
	o->sim = s;
	o->file = f;
	o->dsync = (flags & POOL_FILE_DSYNC) != 0;
	o->mirror = of_mirror(h);
	*out = &o->base;
	return 0;
}

static void sim_file_close(struct pool_file *f)
{
	free(f);
}

static int sim_file_size(struct pool_file *f, uint64_t *out)
{
	*out = open_of(f)->file->size;
	return 0;
}

static int sim_file_pread(struct pool_file *f, void *buf, size_t len, uint64_t offset)
{
	struct sim_disk_file *d = open_of(f)->file;

	if (open_of(f)->sim->power_off)
		return -EIO;
	if (++open_of(f)->sim->preads == open_of(f)->sim->fail_pread_at)
		return fail(open_of(f)->sim, "read", d->name);
	if (offset + len > d->size)
		return -EBADMSG;
	memcpy(buf, d->now + offset, len);
	return 0;
}

static int sim_file_pwrite(struct pool_file *f, const void *buf, size_t len, uint64_t offset)
{
	struct iovec iov = {.iov_base = (void *)buf, .iov_len = len};
	int err = file_step(open_of(f), "sync"); /* of data: the stamp, which is synced next */

	if (!err)
		file_write(open_of(f), &iov, 1, offset, len);
	return err;
}

static int sim_file_sync(struct pool_file *f)
{
	struct sim_disk_file *d = open_of(f)->file;
	int err = file_step(open_of(f), "sync");

	if (!err)
		sync_up_to(d, d->unsynced_base + d->unsynced_count, d->size);
	else if (!open_of(f)->sim->power_off)
		sync_failed(open_of(f)->sim, d, d->unsynced_base + d->unsynced_count);
	return err;
}

static int sim_file_allocate(struct pool_file *f, uint64_t offset, uint64_t len)
{
	struct sim_open_file *o = open_of(f);
	uint64_t total = 0;
	int err = file_step(o, "allocate");

	if (err)
		return err;
	list_for_each (n, &o->sim->files)
		total += container_of(n, struct sim_disk_file, link)->size;
	if (o->sim->fs_bytes && total + (offset + len - o->file->size) > o->sim->fs_bytes)
		return -ENOSPC;
	make_room(o->file, offset + len);
	if (offset + len > o->file->size)
		o->file->size = offset + len;
	return 0;
}

static int sim_file_discard(struct pool_file *f, uint64_t offset, uint64_t len)
{
	int err = file_step(open_of(f), "discard");

	if (err)
		return err;
	open_of(f)->sim->discards++;
	file_write(open_of(f), NULL, 0, offset, len);
	return 0;
}

static int sim_file_replace(struct pool_host *h, const char *name, const void *buf, size_t len)
{
	struct sim *s = sim_of(h);
	struct sim_disk_file *f = find_file(s, h, name);
	int err = host_step(h, "replace", name); /* the new file is written */

	if (err)
		return err;
	err = host_step(h, "replace", name); /* and has the name; what a failure leaves is open */
	if (!err || sim_below(s, 2)) {
		if (!f)
			f = new_file(s, h, name);
		make_room(f, len);
		touch(f, 0, len);
		memcpy(f->now, buf, len);
		memcpy(f->durable, buf, len);
		f->size = f->durable_size = len;
	}
	return err;
}

static int sim_room(struct pool_host *h, uint64_t *bytes)
{
	struct sim *s = sim_of(h);

	*bytes = s->fs_bytes ? s->fs_bytes : UINT64_C(1) << 40;
	list_for_each (n, &s->files)
		*bytes -= container_of(n, struct sim_disk_file, link)->size;
	return 0;
}

static const char *sim_meta_path(struct pool_host *h)
{
	return of_mirror(h) ? sim_of(h)->mirror_meta : sim_of(h)->meta;
}

static int sim_meta_commit(struct pool_host *h, MDB_txn *txn)
{
	struct sim *s = sim_of(h);
	bool before = sim_below(s, 2);
	int err = s->no_memory && s->no_memory-- ? -ENOMEM : host_step(h, "commit", "meta");

	/* A power loss at this step: the commit had ended, or it had not begun. */
	if (err && !(s->off_at && s->steps == s->off_at && !before)) {
		pool_meta_abort(txn);
		return err;
	}
	if (pool_meta_commit(txn))
		abort();
	return err;
}

/* ---- transfers ------------------------------------------------------------------------------------- */

static void sim_submit(struct pool_host *h, struct pool_op *op)
{
	struct sim_open_file *o = open_of(op->file);
	struct sim *s = sim_of(h);

	if (op->kind != POOL_OP_SYNC) {
		uint64_t bytes = 0;

		for (unsigned i = 0; i < op->iov_count; i++) {
			bytes += op->iov[i].iov_len;
			assert((uintptr_t)op->iov[i].iov_base % o->base.memory_align == 0);
			assert(op->iov[i].iov_len % o->base.offset_align ==
				0); /* disks of 4 KiB blocks ask it */
		}
		assert(bytes == op->len && op->len > 0);
		assert(op->offset % o->base.offset_align == 0 && op->len % o->base.offset_align == 0);
	} else {
		op->offset = o->file->unsynced_base + o->file->unsynced_count; /* what it covers */
		op->len = o->file->size;
	}
	memset(&op->link, 0, sizeof(op->link));
	if (s->slow && op->kind != POOL_OP_SYNC && !o->dsync && sim_below(s, s->slow) == 0)
		list_push_back(&s->slow_ops, &op->link);
	else
		list_push_back(&s->ops, &op->link);
}

static void op_read(struct pool_op *op)
{
	struct sim_disk_file *f = open_of(op->file)->file;
	uint64_t at = op->offset;

	for (unsigned i = 0; i < op->iov_count; i++) {
		assert(at + op->iov[i].iov_len <= f->size);
		memcpy(op->iov[i].iov_base, f->now + at, op->iov[i].iov_len);
		at += op->iov[i].iov_len;
	}
}

/* Some of it may stand there. */
static void failed_write(struct sim *s, struct sim_open_file *o, const struct pool_op *op)
{
	uint64_t len = sim_below(s, op->len / SECTOR + 1) * SECTOR;

	if (len && strcmp(o->file->name, "mark") != 0)
		file_write(o, op->iov, op->iov_count, op->offset, len);
}

static void op_run(struct sim *s, struct pool_op *op)
{
	struct sim_open_file *o = open_of(op->file);
	int err = s->power_off ? -EIO : 0;

	if (!err && op->kind == POOL_OP_READ) {
		s->reads++;
		err = s->fail_read_at == s->reads ? fail(s, "read", o->file->name) : 0;
	} else if (!err) {
		list_push_front(&s->ops, &op->link); /* under way, should the power go now */
		err = file_step(o, op->kind == POOL_OP_SYNC ? "sync" : "write");
		list_remove(&op->link);
	}
	if (!err && op->kind == POOL_OP_READ) {
		op_read(op);
	} else if (!err && op->kind == POOL_OP_WRITE) {
		assert(op->offset + op->len <= o->file->size || strstr(o->file->name, "sums"));
		file_write(o, op->iov, op->iov_count, op->offset, op->len);
	} else if (op->kind == POOL_OP_WRITE && !s->power_off) {
		failed_write(s, o, op);
	} else if (!err) {
		sync_up_to(o->file, op->offset, op->len);
	} else if (op->kind == POOL_OP_SYNC && !s->power_off) {
		sync_failed(s, o->file, op->offset);
	}
	op->done(op, err);
}

/* ---- jobs, calls, timers --------------------------------------------------------------------------- */

static void sim_work(struct pool_host *h, struct pool_job *job, enum pool_queue queue)
{
	memset(&job->link, 0, sizeof(job->link));
	job->queue = queue;
	list_push_back(&sim_of(h)->jobs, &job->link);
}

static void sim_call(struct pool_host *h, struct pool_call *call)
{
	if (!list_linked(&call->link))
		list_push_back(&sim_of(h)->calls, &call->link);
}

static uint64_t sim_now_ns(struct pool_host *h)
{
	const struct sim *s = sim_of(h);

	return (s->now_ms + 1) * 1000000 + s->events * s->event_ns;
}

static void sim_timer_arm(struct pool_host *h, struct pool_timer *timer, uint64_t delay_ms)
{
	struct sim *s = sim_of(h);

	list_remove(&timer->link);
	timer->at = s->now_ms + delay_ms;
	list_push_back(&s->timers, &timer->link);
}

static void sim_timer_disarm(struct pool_host *h, struct pool_timer *timer)
{
	(void)h;
	list_remove(&timer->link);
}

/* Whoever gives the host back has nothing with it that comes later. */
static void sim_host_free(struct pool_host *h)
{
	const struct sim *s = sim_of(h);

	if (!((struct sim_host *)(void *)h)->mirror && !s->power_off) {
		assert(list_empty(&s->timers));
		assert(list_empty(&s->calls));
		assert(list_empty(&s->jobs) && list_empty(&s->jobs_done));
		assert(list_empty(&s->ops) && list_empty(&s->slow_ops));
	}
	free(h);
}

static const struct pool_host_ops sim_ops = {
	.file_open = sim_file_open,
	.file_close = sim_file_close,
	.file_size = sim_file_size,
	.file_pread = sim_file_pread,
	.file_pwrite = sim_file_pwrite,
	.file_sync = sim_file_sync,
	.file_allocate = sim_file_allocate,
	.file_discard = sim_file_discard,
	.file_replace = sim_file_replace,
	.room = sim_room,
	.meta_path = sim_meta_path,
	.meta_commit = sim_meta_commit,
	.submit = sim_submit,
	.work = sim_work,
	.call = sim_call,
	.timer_arm = sim_timer_arm,
	.timer_disarm = sim_timer_disarm,
	.now_ns = sim_now_ns,
	.free = sim_host_free,
};

struct pool_host *sim_mirror_host(struct sim *s)
{
	struct sim_host *h = (struct sim_host *)(void *)sim_host(s);

	h->mirror = true;
	return &h->base;
}

static int mirror_reopen(struct pool_mirror *m, struct pool_host **out, struct fault *fault)
{
	struct sim *s = *(struct sim **)m->reopen_arg;

	if (s->mirror_fails)
		return fault_set(fault, -ENOENT, "it is not there");
	*out = sim_mirror_host(s);
	return 0;
}

void sim_mirror_reopens(struct sim *s, struct pool *p)
{
	struct sim **arg = malloc(sizeof(struct sim *));

	assert(arg);
	*arg = s;
	p->mirror.reopen_arg = arg;
	p->mirror.reopen = mirror_reopen;
	pool_remake_later(&p->commit);
}

struct pool_host *sim_host(struct sim *s)
{
	struct sim_host *h = calloc(1, sizeof(*h));

	assert(h);
	h->base.ops = &sim_ops;
	h->sim = s;
	return &h->base;
}

static unsigned list_length(const struct list *l)
{
	unsigned n = 0;

	list_for_each (i, l) {
		(void)i;
		n++;
	}
	return n;
}

static struct list_node *take(struct list *l, unsigned index)
{
	struct list_node *n = l->head.next;

	while (index--)
		n = n->next;
	list_remove(n);
	return n;
}

/* Jobs of the checkpoint queue keep their order; there is one at a time anyway. */
static bool step_timer(struct sim *s)
{
	struct pool_timer *first = NULL;

	list_for_each (n, &s->timers) {
		struct pool_timer *t = container_of(n, struct pool_timer, link);

		if (!first || t->at < first->at)
			first = t;
	}
	if (!first)
		return false;
	if (first->at > s->now_ms)
		s->now_ms = first->at;
	list_remove(&first->link);
	first->fire(first);
	return true;
}

/* A slow transfer comes to its end, at last when nothing else is under way. */
static void slow_step(struct sim *s)
{
	unsigned slow = list_length(&s->slow_ops);
	bool idle = list_empty(&s->ops) && list_empty(&s->jobs) && list_empty(&s->jobs_done) &&
		    list_empty(&s->calls);

	if (slow && (idle || sim_below(s, 300) == 0))
		list_push_back(&s->ops, take(&s->slow_ops, (unsigned)sim_below(s, slow)));
}

bool sim_step(struct sim *s, bool timers)
{
	unsigned ops, jobs, done, calls;
	uint64_t pick;

	slow_step(s);
	ops = list_length(&s->ops);
	jobs = list_length(&s->jobs);
	done = list_length(&s->jobs_done);
	calls = list_length(&s->calls);
	s->events++;
	if (ops + jobs + done + calls == 0)
		return timers && step_timer(s);
	if (timers && sim_below(s, 200) == 0 && step_timer(s))
		return true;
	if (calls && sim_below(s, 4)) {
		struct pool_call *c = container_of(take(&s->calls, 0), struct pool_call, link);

		c->call(c);
		return true;
	}
	pick = sim_below(s, ops + jobs + done + calls);
	if (pick < ops) {
		op_run(s, container_of(take(&s->ops, (unsigned)pick), struct pool_op, link));
	} else if (pick < ops + jobs) {
		struct pool_job *j =
			container_of(take(&s->jobs, (unsigned)(pick - ops)), struct pool_job, link);

		j->work(j);
		list_push_back(&s->jobs_done, &j->link);
	} else if (pick < ops + jobs + done) {
		struct pool_job *j = container_of(
			take(&s->jobs_done, (unsigned)(pick - ops - jobs)), struct pool_job, link);

		j->done(j);
	} else {
		struct pool_call *c = container_of(take(&s->calls, 0), struct pool_call, link);

		c->call(c);
	}
	return true;
}

/* ---- power ----------------------------------------------------------------------------------------- */

/* Every sector of the write reached the disk, or did not. */
static void tear(struct sim *s, struct sim_disk_file *f, const struct sim_write *w)
{
	uint64_t all = sim_below(s, 3); /* often nothing or all of it */

	for (uint64_t at = 0; at < w->len; at += SECTOR) {
		uint64_t part = w->len - at < SECTOR ? w->len - at : SECTOR;

		if (all == 0 || (all == 1 && sim_below(s, 2)))
			put(f, f->durable, w, at, part);
	}
}

void sim_keep(struct sim *s)
{
	list_for_each (n, &s->files) {
		struct sim_disk_file *f = container_of(n, struct sim_disk_file, link);

		sync_up_to(f, f->unsynced_base + f->unsynced_count, f->size);
	}
}

/* What is not durable of this piece, and what lies behind the file's end, is lost. */
static void piece_lost(struct sim_disk_file *f, uint64_t at)
{
	uint64_t kept = f->size <= at ? 0 : f->size - at < PIECE ? f->size - at : PIECE;

	memset(f->durable + at + kept, 0, PIECE - kept);
	memcpy(f->now + at, f->durable + at, PIECE);
}

void sim_power_off(struct sim *s)
{
	if (s->power_off)
		return;
	s->power_off = true;
	list_for_each (n, &s->files) {
		struct sim_disk_file *f = container_of(n, struct sim_disk_file, link);

		list_for_each (k, &f->unsynced)
			tear(s, f, container_of(k, struct sim_write, link));
		while (f->unsynced_count)
			drop_first(f);
		/* A size may have become durable with other metadata. */
		if (sim_below(s, 2))
			f->durable_size = f->size;
	}
	while (!list_empty(&s->slow_ops))
		list_push_back(&s->ops, list_pop(&s->slow_ops));
	list_for_each (n, &s->ops) {
		struct pool_op *op = container_of(n, struct pool_op, link);
		struct sim_disk_file *f = open_of(op->file)->file;
		struct sim_write w = {.offset = op->offset, .len = op->len};
		uint64_t at = 0;

		if (op->kind != POOL_OP_WRITE)
			continue;
		w.data = malloc(op->len);
		assert(w.data);
		for (unsigned i = 0; i < op->iov_count; i++) {
			memcpy(w.data + at, op->iov[i].iov_base, op->iov[i].iov_len);
			at += op->iov[i].iov_len;
		}
		tear(s, f, &w);
		free(w.data);
	}
	list_for_each (n, &s->files) {
		struct sim_disk_file *f = container_of(n, struct sim_disk_file, link);

		f->size = f->durable_size;
		for (uint64_t at = 0; at < f->room; at += PIECE)
			if (f->touched[at / PIECE])
				piece_lost(f, at);
	}
}

void sim_power_on(struct sim *s)
{
	assert(list_empty(&s->ops) && list_empty(&s->slow_ops) && list_empty(&s->jobs) &&
		list_empty(&s->jobs_done));
	assert(list_empty(&s->calls) && list_empty(&s->timers));
	s->power_off = false;
	s->steps = s->off_at = s->fail_at = s->reads = s->fail_read_at = s->preads = s->fail_pread_at = 0;
	s->marks = s->fail_mark_at = 0;
	s->fail_forever = false;
	s->fail_ms = s->failing_until = 0;
	s->fail_err = 0;
	s->fail_only = NULL;
	s->failed[0] = 0;
	s->failed_durable = false;
}

/* ---- life ------------------------------------------------------------------------------------------ */

void sim_init(struct sim *s, uint64_t seed)
{
	/* Large buffers that come and go all the time: not from new pages each time. */
	mallopt(M_MMAP_THRESHOLD, 64 << 20);
	mallopt(M_TRIM_THRESHOLD, 256 << 20);
	memset(s, 0, sizeof(*s));
	s->rng = seed;
	list_init(&s->files);
	list_init(&s->ops);
	list_init(&s->slow_ops);
	list_init(&s->jobs);
	list_init(&s->jobs_done);
	list_init(&s->calls);
	list_init(&s->timers);
	snprintf(s->dir, sizeof(s->dir), "%s/umbra-sim-XXXXXX",
		access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (!mkdtemp(s->dir))
		abort();
	snprintf(s->meta, sizeof(s->meta), "%s/meta", s->dir);
	snprintf(s->mirror_meta, sizeof(s->mirror_meta), "%s/mirror-meta", s->dir);
}

void sim_destroy(struct sim *s)
{
	static const char *const names[] = {"data.mdb", "lock.mdb"};
	struct list_node *n;
	char path[128];

	while ((n = list_pop(&s->files))) {
		struct sim_disk_file *f = container_of(n, struct sim_disk_file, link);

		while (f->unsynced_count)
			drop_first(f);
		free(f->lost);
		if (f->room) {
			munmap(f->now, f->room);
			munmap(f->durable, f->room);
		}
		free(f->touched);
		free(f);
	}
	for (unsigned i = 0; i < 4; i++) {
		snprintf(path, sizeof(path), "%s/%s", i < 2 ? s->meta : s->mirror_meta, names[i % 2]);
		unlink(path);
	}
	rmdir(s->meta);
	rmdir(s->mirror_meta);
	rmdir(s->dir);
}

void sim_create(struct sim *s, uint64_t capacity_bytes, uint64_t log_bytes)
{
	struct pool_options options = {.path = "sim", .log_bytes = log_bytes, .checksums = !s->no_checksums};
	struct pool_host *h = sim_host(s);
	struct fault fault = {0};
	int err = pool_create_on(h, &options, capacity_bytes, &fault);

	if (!err && s->whole) {
		struct pool_super super;

		err = pool_read_super(h, &super, &fault);
		super.features_refuse &= ~(uint64_t)POOL_FEATURE_SPLIT;
		super.entries_each = 0;
		if (!err)
			err = pool_super_replace(h, &super);
	}
	if (err) {
		fprintf(stderr, "sim_create: %s\n", fault.text);
		abort();
	}
	h->ops->free(h);
}
