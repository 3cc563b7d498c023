/* SPDX-License-Identifier: Apache-2.0 */
/* See fake_array.h. */
#include "tests/unit/scsi/fake_array.h"

#include <stdarg.h>
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "tests/support/simreactor.h"

#define NUMBERS 512 /* LUN numbers a host can have here */

struct array {
	struct array_options options;
	uint8_t id[16];
};

struct host {
	struct host_record record;
	struct lun *map[NUMBERS];
	struct load load;
};

struct fake_lun fake_luns[FAKE_LUNS];
struct store_stats fake_stats;
int fake_error, fake_io_error;
bool fake_hold_io;
unsigned fake_held, fake_gate_queued, fake_holds, fake_nexuses;

bool fake_hold_keeps, fake_quiet;
unsigned fake_keeps;

#define KEEPS_MAX 1024

static struct keep {
	struct lun *lun;
	uint8_t *bytes;
	size_t len;
	struct array_call *call;
} keeps[KEEPS_MAX];
static unsigned keeps_waiting;
static struct array array;
static struct host hosts[FAKE_HOSTS], twins[FAKE_HOSTS];
static bool twins_come;
static struct list held_io, gate_io;
static bool gate_closed;

static void stats(struct store *s, struct store_stats *out)
{
	(void)s;
	*out = fake_stats;
}

static uint64_t disk_used(const struct store_disk *d)
{
	(void)d;
	return 256u << 20;
}

static struct store_ops store_ops = {.name = "fake", .stats = stats, .disk_used = disk_used};
static struct store store = {.ops = &store_ops};

/* An image of a LUN: its bytes at that instant. */
struct fake_image {
	struct lun_image image;
	struct store_disk disk;
	uint8_t data[];
};

bool fake_hold_images;
unsigned fake_images;
static struct {
	struct lun *lun;
	struct array_call *call;
} takes[64];
static unsigned takes_waiting;

void fake_clones(bool offered)
{
	store_ops.clones = offered;
}

struct array *fake_start(void)
{
	memset(hosts, 0, sizeof(hosts));
	memset(twins, 0, sizeof(twins));
	twins_come = false;
	for (unsigned i = 0; i < FAKE_HOSTS; i++) {
		snprintf(hosts[i].record.name, sizeof(hosts[i].record.name), "%c", 'a' + (int)i);
		snprintf(hosts[i].record.iqns[0], sizeof(hosts[i].record.iqns[0]), "iqn.test:%c",
			'a' + (int)i);
		hosts[i].record.iqn_count = 1;
	}
	hosts[2].record.control_lu = true;
	for (unsigned i = 0; i < FAKE_LUNS; i++) {
		struct fake_lun *f = &fake_luns[i];

		memset(&f->lun, 0, sizeof(f->lun));
		memset(f->lun.id, (int)(0x10 + i), sizeof(f->lun.id));
		f->lun.size_bytes = FAKE_LUN_BYTES;
		f->flushes = f->writes = f->fua_writes = f->unmaps = f->clones = 0;
		if (!f->clean)
			for (unsigned b = 0; b < FAKE_LUN_BYTES; b++)
				f->data[b] = (uint8_t)(b * 7 + (b >> 9) + i);
		f->clean = true;
		hosts[0].map[i + 1] = hosts[1].map[i + 1] = &f->lun;
	}
	list_init(&held_io);
	list_init(&gate_io);
	gate_closed = fake_hold_io = fake_hold_keeps = fake_quiet = false;
	fake_keeps = 0;
	fake_error = fake_io_error = 0;
	fake_held = fake_gate_queued = fake_holds = fake_nexuses = 0;
	fake_stats =
		(struct store_stats){.capacity_bytes = UINT64_C(10) << 30, .used_bytes = UINT64_C(4) << 30};
	memset(array.id, 0xA5, sizeof(array.id));
	array.options.store = &store;
	array.options.reactor = simreactor_create();
	fake_hold_images = false;
	fake_images = takes_waiting = 0;
	store_ops.clones = true;
	return &array;
}

void fake_stop(void)
{
	fake_restart();
	simreactor_destroy(array.options.reactor);
	array.options.reactor = NULL;
	for (unsigned i = 0; i < FAKE_LUNS; i++) {
		free(fake_luns[i].lun.reservations);
		fake_luns[i].lun.reservations = NULL;
	}
}

struct array *fake_again(void)
{
	return &array;
}

void fake_restart(void)
{
	for (unsigned i = 0; i < FAKE_LUNS; i++)
		if (fake_luns[i].lun.scsi) {
			fake_luns[i].lun.scsi_free(fake_luns[i].lun.scsi);
			fake_luns[i].lun.scsi = NULL;
		}
}

void fake_advance(unsigned ms)
{
	simreactor_advance(array.options.reactor, ms);
}

struct host *fake_host(unsigned i)
{
	return &hosts[i];
}

struct host *fake_twin(unsigned i)
{
	twins_come = true;
	twins[i].record = hosts[i].record;
	return &twins[i];
}

void fake_map(struct host *h, uint32_t number, struct lun *lun)
{
	h->map[number] = lun;
}

/* ---- array.h ------------------------------------------------------------------------------------------- */

const uint8_t *array_id(const struct array *a)
{
	return a->id;
}

const struct array_options *array_settings(const struct array *a)
{
	return &a->options;
}

unsigned fake_events;
char fake_event[256];

void array_event_tell(
	struct array *a, enum array_event_level level, const char *area, const char *format, ...)
{
	va_list args;

	(void)a;
	(void)level;
	(void)area;
	va_start(args, format);
	vsnprintf(fake_event, sizeof(fake_event), format, args);
	va_end(args);
	fake_events++;
}

static struct array_room_listener *fake_room;

void array_room_listen(struct array *a, struct array_room_listener *l)
{
	(void)a;
	fake_room = l;
}

void array_room_unlisten(struct array_room_listener *l)
{
	if (fake_room == l)
		fake_room = NULL;
}

void fake_take_room(uint64_t bytes)
{
	fake_room->taken(fake_room, bytes);
}

bool host_is_quiet(const struct array *a)
{
	(void)a;
	return fake_quiet;
}

const struct host_record *host_record_of(const struct host *h)
{
	return &h->record;
}

struct load *host_load(struct host *h)
{
	return &h->load;
}

struct lun *lun_find(struct array *a, const uint8_t id[UP_ID_BYTES])
{
	(void)a;
	for (unsigned i = 0; i < FAKE_LUNS; i++)
		if (memcmp(fake_luns[i].lun.id, id, UP_ID_BYTES) == 0 && !fake_luns[i].lun.gone)
			return &fake_luns[i].lun;
	return NULL;
}

struct host *host_find(struct array *a, const char *name)
{
	(void)a;
	for (unsigned i = 0; i < FAKE_HOSTS; i++)
		if (strcmp(hosts[i].record.name, name) == 0)
			return &hosts[i];
	return NULL;
}

int host_nexus_attach(struct array *a, struct host_nexus *n)
{
	(void)a;
	for (unsigned i = 0; i < FAKE_HOSTS; i++)
		if (strcmp(hosts[i].record.iqns[0], n->initiator) == 0) {
			n->host = twins_come ? &twins[i] : &hosts[i];
			fake_nexuses++;
			return 0;
		}
	return -EACCES;
}

void host_nexus_detach(struct array *a, struct host_nexus *n)
{
	(void)a;
	n->host = NULL;
	fake_nexuses--;
}

struct lun *map_lun(const struct host *h, uint32_t number)
{
	return number < NUMBERS ? h->map[number] : NULL;
}

struct host *host_find_iqn(struct array *a, const char *iqn)
{
	(void)a;
	for (unsigned i = 0; i < FAKE_HOSTS; i++)
		if (strcasecmp(hosts[i].record.iqns[0], iqn) == 0)
			return twins_come ? &twins[i] : &hosts[i];
	return NULL;
}

struct lun *lun_next(struct array *a, const struct lun *after)
{
	const struct fake_lun *f = after ? container_of(after, struct fake_lun, lun) + 1 : fake_luns;

	(void)a;
	return f < fake_luns + FAKE_LUNS ? &fake_luns[f - fake_luns].lun : NULL;
}

uint32_t map_number(const struct host *h, const struct lun *lun)
{
	for (uint32_t i = 1; i < NUMBERS; i++)
		if (h->map[i] == lun)
			return i;
	return 0;
}

uint32_t map_next(const struct host *h, uint32_t number, struct lun **lun)
{
	for (uint32_t i = number + 1; i < NUMBERS; i++)
		if (h->map[i]) {
			*lun = h->map[i];
			return i;
		}
	return 0;
}

void lun_hold(struct lun *lun)
{
	container_of(lun, struct fake_lun, lun)->holds++;
	fake_holds++;
}

void lun_release(struct lun *lun)
{
	struct fake_lun *f = container_of(lun, struct fake_lun, lun);

	assert(f->holds > 0);
	f->holds--;
	fake_holds--;
}

/* ---- I/O ----------------------------------------------------------------------------------------------- */

static int compare_write(struct fake_lun *f, struct store_io *io)
{
	const uint8_t *data = io->iov[0].iov_base;

	assert(io->iov_count == 1 && io->iov[0].iov_len == 2 * io->len);
	for (uint64_t i = 0; i < io->len; i++)
		if (f->data[io->offset + i] != data[i]) {
			io->miscompare_offset = i;
			return -EILSEQ;
		}
	memcpy(f->data + io->offset, data + io->len, io->len);
	return 0;
}

static bool block_mapped(const struct fake_lun *f, uint64_t at)
{
	static const uint8_t zeros[STORE_PHYSICAL_BYTES];

	return memcmp(f->data + at / sizeof(zeros) * sizeof(zeros), zeros, sizeof(zeros)) != 0;
}

/* Tells of at most 64 KiB at once, so that the caller has to ask again. */
static void mapped(struct fake_lun *f, struct store_io *io)
{
	uint64_t at = io->offset, end = io->offset + io->len;

	io->mapped = block_mapped(f, at);
	while (at < end && at - io->offset < 65536 && block_mapped(f, at) == io->mapped)
		at = (at / STORE_PHYSICAL_BYTES + 1) * STORE_PHYSICAL_BYTES;
	io->run_bytes = (at < end ? at : end) - io->offset;
}

static int perform(struct lun_io *l)
{
	struct fake_lun *f = container_of(l->lun, struct fake_lun, lun);
	struct store_io *io = &l->io;

	if (fake_error)
		return fake_error;
	if (fake_io_error)
		return fake_io_error;
	if (l->lun->resyncing)
		return -EBUSY;
	if (io->offset + io->len > l->lun->size_bytes)
		return -ERANGE;
	assert(io->offset % STORE_BLOCK_BYTES == 0 && io->len % STORE_BLOCK_BYTES == 0);
	f->clean &= io->op == STORE_READ || io->op == STORE_FLUSH;
	switch (io->op) {
	case STORE_READ:
		assert(io->len <= STORE_IO_MAX_BYTES && io->iov_count == 1 && io->iov[0].iov_len == io->len);
		memcpy(io->iov[0].iov_base, f->data + io->offset, io->len);
		return 0;
	case STORE_WRITE:
		assert(io->len <= STORE_IO_MAX_BYTES && io->iov_count == 1 && io->iov[0].iov_len == io->len);
		memcpy(f->data + io->offset, io->iov[0].iov_base, io->len);
		f->writes++;
		f->fua_writes += (io->flags & STORE_IO_FUA) != 0;
		return 0;
	case STORE_COMPARE_WRITE:
		return compare_write(f, io);
	case STORE_UNMAP:
		memset(f->data + io->offset, 0, io->len);
		f->unmaps++;
		return 0;
	case STORE_FLUSH:
		f->flushes++;
		return 0;
	case STORE_MAPPED:
		mapped(f, io);
		return 0;
	case STORE_CLONE:
		memcpy(f->data + io->offset,
			container_of(io->source, struct fake_image, disk)->data + io->source_offset, io->len);
		f->clones++;
		return 0;
	}
	return -EINVAL;
}

static void admit(struct lun_io *l)
{
	if (fake_hold_io) {
		list_push_back(&held_io, &l->gate_link);
		fake_held++;
		return;
	}
	l->done(l, perform(l));
}

void lun_submit(struct lun_io *io)
{
	bool passes = io->io.op == STORE_READ || io->io.op == STORE_FLUSH;

	io->gate_link = (struct list_node){NULL, NULL};
	if (gate_closed && !passes) {
		list_push_back(&gate_io, &io->gate_link);
		fake_gate_queued++;
		return;
	}
	admit(io);
}

bool lun_io_withdraw(struct lun_io *io)
{
	list_for_each (node, &gate_io) {
		if (node == &io->gate_link) {
			list_remove(node);
			fake_gate_queued--;
			return true;
		}
	}
	return false;
}

static void take_end(struct lun *lun, struct array_call *call)
{
	size_t len = lun->size_bytes < FAKE_LUN_BYTES ? lun->size_bytes : FAKE_LUN_BYTES;
	struct fake_image *i = fake_error ? NULL : calloc(1, sizeof(*i) + len);

	call->fault.err = fake_error;
	call->image = NULL;
	if (i) {
		memcpy(i->data, container_of(lun, struct fake_lun, lun)->data, len);
		i->image =
			(struct lun_image){.array = &array, .disk = &i->disk, .size_bytes = len, .users = 1};
		call->image = &i->image;
		fake_images++;
	}
	call->done(call);
}

void lun_image_take(struct lun *lun, struct array_call *call)
{
	if (fake_hold_images && takes_waiting < 64) {
		takes[takes_waiting].lun = lun;
		takes[takes_waiting++].call = call;
	} else {
		take_end(lun, call);
	}
}

void fake_taken(void)
{
	unsigned count = takes_waiting;

	takes_waiting = 0;
	for (unsigned i = 0; i < count; i++)
		take_end(takes[i].lun, takes[i].call);
}

void lun_image_hold(struct lun_image *i)
{
	i->users++;
}

void lun_image_release(struct lun_image *i)
{
	assert(i->users > 0);
	if (--i->users > 0)
		return;
	fake_images--;
	free(container_of(i, struct fake_image, image));
}

static void keep_end(struct keep *k)
{
	int err = fake_error;

	if (err) {
		free(k->bytes);
	} else {
		free(k->lun->reservations);
		k->lun->reservations = k->bytes;
		k->lun->reservations_len = (uint32_t)k->len;
	}
	k->call->fault.err = err;
	k->call->done(k->call);
}

void lun_keep_reservations(struct lun *lun, const void *bytes, size_t len, struct array_call *call)
{
	struct keep k = {.lun = lun, .len = len, .call = call, .bytes = len ? malloc(len) : NULL};

	assert(len <= LUN_RESERVATIONS_MAX_BYTES);
	if (len)
		memcpy(k.bytes, bytes, len);
	fake_keeps++;
	if (fake_hold_keeps && keeps_waiting < KEEPS_MAX)
		keeps[keeps_waiting++] = k;
	else
		keep_end(&k);
}

/* The waiting ones, in order; what their ends begin is next time's. */
void fake_kept(void)
{
	static struct keep now[KEEPS_MAX];
	unsigned count = keeps_waiting;

	memcpy(now, keeps, sizeof(now));
	keeps_waiting = 0;
	for (unsigned i = 0; i < count; i++)
		keep_end(&now[i]);
}

void fake_complete_one(void)
{
	struct lun_io *l = container_of(list_pop(&held_io), struct lun_io, gate_link);

	fake_held--;
	l->done(l, perform(l));
}

void fake_complete(void)
{
	while (!list_empty(&held_io))
		fake_complete_one();
}

void fake_gate(bool closed)
{
	struct list_node *node;

	gate_closed = closed;
	while (!closed && (node = list_pop(&gate_io))) {
		struct lun_io *l = container_of(node, struct lun_io, gate_link);
		int err = l->recheck ? l->recheck(l) : 0;

		fake_gate_queued--;
		if (err)
			l->done(l, err);
		else
			admit(l);
	}
}
