/* SPDX-License-Identifier: Apache-2.0 */
/* See harness.h. */
#include <stdio.h>
#include <time.h>
#include <unistd.h>
#include "proto/identity.h"
#include "array/store/module.h"
#include "array/store/pool/public.h"
#include "tests/unit/model/harness.h"

#ifdef HARNESS_RBD
#include <pthread.h>

unsigned harness_pool_mib; /* Ceph's pool has room enough */

static struct store_module_options rbd_options(struct harness *h)
{
	return (struct store_module_options){.ceph_pool = getenv("UMBRA_TEST_CEPH_POOL"), .array = h->path};
}

static const struct store_module *rbd_module(void)
{
	struct fault fault = {0};
	const struct store_module *m = store_module_load("rbd", &fault);

	if (!m)
		fail_msg("%s", fault.text);
	return m;
}

/* Each test has an array of its own in the pool. */
static void platform_setup(struct harness *h)
{
	static unsigned arrays;
	struct store_module_options o;
	struct fault fault = {0};

	assert_int_equal(reactor_create(&h->reactor, NULL), 0);
	snprintf(h->path, sizeof(h->path), "test-%d-%u", (int)getpid(), arrays++);
	o = rbd_options(h);
	if (rbd_module()->create(&o, &fault))
		fail_msg("%s", fault.text);
}

static void platform_teardown(struct harness *h)
{
	reactor_destroy(h->reactor);
}

struct opening {
	struct harness *h;
	struct store *store;
	struct fault fault;
};

static void *open_there(void *arg)
{
	struct opening *o = arg;
	struct store_module_options options = rbd_options(o->h);

	rbd_module()->open(&options, o->h->reactor, &o->store, &o->fault);
	return NULL;
}

/* On a thread of its own: librados takes a client's address from random numbers of the thread, of which a child has the same
 * ones to come as its parent. It would be given an address that is locked out. */
static struct store *platform_open(struct harness *h)
{
	struct opening o = {.h = h};
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, open_there, &o), 0);
	pthread_join(thread, NULL);
	if (!o.store)
		fail_msg("%s", o.fault.text);
	return o.store;
}
#elif defined(HARNESS_POOL)
#include <ftw.h>

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

unsigned harness_pool_mib = 256;

static void platform_setup(struct harness *h)
{
	struct pool_options o = {.capacity_bytes = harness_pool_mib * MIB, .log_bytes = 4 * MIB};
	const char *tmp = getenv("TMPDIR");
	struct fault fault;

	assert_int_equal(reactor_create(&h->reactor, NULL), 0);
	snprintf(h->path, sizeof(h->path), "%.40s/umbra-model-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(h->path));
	o.path = h->path;
	assert_int_equal(pool_create(&o, &fault), 0);
}

static void platform_teardown(struct harness *h)
{
	reactor_destroy(h->reactor);
	nftw(h->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static struct store *platform_open(struct harness *h)
{
	struct pool_options o = {.path = h->path};
	struct store *s;
	struct fault fault;

	assert_int_equal(pool_open(&o, h->reactor, &s, &fault), 0);
	return s;
}
#endif

#ifdef HARNESS_POOL
void harness_advance(struct harness *h, unsigned ms)
{
	uint64_t until;

	reactor_turn(h->reactor, 0);
	until = reactor_now_ns(h->reactor) + UINT64_C(1000000) * ms;
	while (reactor_now_ns(h->reactor) < until)
		reactor_turn(h->reactor, 1);
}

static void harness_hurry(struct harness *h)
{
	(void)h;
}
#else
static void platform_setup(struct harness *h)
{
	h->reactor = simreactor_create();
	h->memory = memstore_create(0);
}

static void platform_teardown(struct harness *h)
{
	memstore_destroy(h->memory);
	simreactor_destroy(h->reactor);
}

static struct store *platform_open(struct harness *h)
{
	return memstore_open(h->memory, h->reactor);
}

void harness_advance(struct harness *h, unsigned ms)
{
	simreactor_advance(h->reactor, ms);
}

/* What a test has put on MANUAL hangs otherwise. */
static void harness_hurry(struct harness *h)
{
	memstore_complete_kind(h->memory, MEMSTORE_HYDRATE);
}
#endif

int harness_setup(void **state)
{
	struct harness *h = calloc(1, sizeof(*h));

	assert_non_null(h);
	platform_setup(h);
	harness_open(h);
	*state = h;
	return 0;
}

int harness_try_open(struct harness *h, struct fault *fault)
{
	h->store = platform_open(h);
	h->options.reactor = h->reactor;
	h->options.store = h->store;
	h->options.name = "test";
	return array_open(&h->options, &h->array, fault);
}

void harness_open(struct harness *h)
{
	struct fault fault;

	if (harness_try_open(h, &fault))
		fail_msg("%s", fault.text);
}

static void store_closed(void *arg, int err)
{
	(void)err;
	*(bool *)arg = true;
}

static void array_stopped(void *arg)
{
	*(bool *)arg = true;
}

void harness_close(struct harness *h)
{
	bool closed = false, stopped = false;

	if (h->array) {
		array_stop(h->array, array_stopped, &stopped);
		for (int i = 0; !stopped && i < 10000; i++) {
			harness_hurry(h);
			harness_advance(h, 1);
		}
		assert_true(stopped);
		array_close(h->array);
	}
	h->array = NULL;
	h->store->ops->close(h->store, store_closed, &closed);
	for (int i = 0; !closed && i < 10000; i++)
		harness_advance(h, 1);
	assert_true(closed);
}

void harness_reopen(struct harness *h)
{
	harness_close(h);
	harness_open(h);
}

#ifdef HARNESS_POOL
void harness_begin(struct harness *h)
{
	assert_int_equal(reactor_create(&h->reactor, NULL), 0);
	harness_open(h);
}

void harness_end(struct harness *h)
{
	harness_close(h);
	reactor_destroy(h->reactor);
}
#endif

int harness_teardown(void **state)
{
	struct harness *h = *state;

	harness_close(h);
	platform_teardown(h);
	free(h);
	return 0;
}

/* ---- calls ---- */

/* What is wrong, and behind a colon or semicolon what to do about it. */
static void says_what_to_do(const struct fault *f)
{
	const char *mark = f->err ? strpbrk(f->text, ":;") : ": .....";

	if (!mark || strlen(mark) < 6)
		fail_msg("a refusal without a remedy: %s", f->text);
}

static void waiter_done(struct array_call *call)
{
	says_what_to_do(&call->fault);
	container_of(call, struct waiter, call)->done++;
}

struct array_call *waiter_init(struct waiter *w)
{
	memset(w, 0, sizeof(*w));
	w->call.done = waiter_done;
	return &w->call;
}

int waiter_wait(struct harness *h, struct waiter *w)
{
	for (int i = 0; !w->done && i < 10000; i++)
		harness_advance(h, 1);
	assert_int_equal(w->done, 1);
	if (w->call.fault.err)
		assert_true(w->call.fault.text[0]);
	return w->call.fault.err;
}

struct lun *make_lun(struct harness *h, const char *name, uint64_t size_bytes)
{
	struct waiter w;

	lun_create(h->array, name, size_bytes, waiter_init(&w));
	if (waiter_wait(h, &w))
		fail_msg("%s", w.call.fault.text);
	return w.call.lun;
}

struct host *make_host(struct harness *h, const char *name, const char *iqn)
{
	struct host_record *r = calloc(1, sizeof(*r));
	struct waiter w;

	assert_non_null(r);
	snprintf(r->name, sizeof(r->name), "%s", name);
	snprintf(r->iqns[0], sizeof(r->iqns[0]), "%s", iqn);
	r->iqn_count = 1;
	r->import = HOST_IMPORT_OWN;
	host_add(h->array, r, waiter_init(&w));
	free(r);
	if (waiter_wait(h, &w))
		fail_msg("%s", w.call.fault.text);
	return w.call.host;
}

int do_map(struct harness *h, struct host *host, struct lun *lun, uint32_t number)
{
	struct waiter w;
	int err;

	map_add(host, lun, number, 0, NULL, waiter_init(&w));
	err = waiter_wait(h, &w);
	return err ? err : (int)w.call.number;
}

int do_unmap(struct harness *h, struct host *host, struct lun *lun)
{
	struct waiter w;

	map_remove(host, lun, NULL, waiter_init(&w));
	return waiter_wait(h, &w);
}

int do_delete(struct harness *h, struct lun *lun)
{
	struct waiter w;

	lun_delete(lun, waiter_init(&w));
	return waiter_wait(h, &w);
}

int do_arm(struct harness *h, const uint8_t *set, const char *owner)
{
	struct waiter w;

	set_arm(h->array, set, owner, waiter_init(&w));
	return waiter_wait(h, &w);
}

int do_commit(struct harness *h, const uint8_t *set, const char *owner, uint32_t deadline_ms)
{
	struct waiter w;

	set_commit(h->array, set, owner, deadline_ms, waiter_init(&w));
	return waiter_wait(h, &w);
}

void note_set(struct harness *h, const uint8_t *set)
{
	const struct set_notes notes = {.label = "weekly",
		.writers = UP_WRITERS_TOOK_PART,
		.frozen_us = 4,
		.flush_us = 1,
		.commit_us = 2,
		.release_us = 3,
		.import_us = 5};
	struct waiter w;

	set_note(h->array, set, NULL, &notes, SET_NOTE_LABEL | SET_NOTE_COST | SET_NOTE_IMPORT,
		waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
}

int do_keep(struct harness *h, const uint8_t *set, const char *owner)
{
	struct waiter w;

	set_keep(h->array, set, owner, waiter_init(&w));
	return waiter_wait(h, &w);
}

int do_abort(struct harness *h, const uint8_t *set, const char *owner)
{
	struct waiter w;

	set_abort(h->array, set, owner, waiter_init(&w));
	return waiter_wait(h, &w);
}

int do_set_delete(struct harness *h, const uint8_t *set)
{
	struct waiter w;

	set_delete(h->array, set, waiter_init(&w));
	return waiter_wait(h, &w);
}

struct io_wait {
	struct lun_io io;
	struct iovec iov;
	unsigned done;
	int err;
	_Alignas(4096) uint8_t data[4096];
};

static void io_done(struct lun_io *io, int err)
{
	struct io_wait *w = container_of(io, struct io_wait, io);

	w->done++;
	w->err = err;
}

static int do_io(struct harness *h, struct lun *lun, enum store_io_op op, uint64_t block, uint8_t *byte)
{
	struct io_wait *w = aligned_alloc(4096, sizeof(*w));
	int err;

	assert_non_null(w);
	memset(w, 0, sizeof(*w));
	memset(w->data, *byte, 512);
	w->iov.iov_base = w->data;
	w->iov.iov_len = 512;
	w->io.io.op = op;
	w->io.io.offset = block * 512;
	w->io.io.len = op == STORE_FLUSH ? 0 : 512;
	w->io.io.iov = &w->iov;
	w->io.io.iov_count = 1;
	w->io.lun = lun;
	w->io.done = io_done;
	lun_submit(&w->io);
	for (int i = 0; !w->done && i < 10000; i++)
		harness_advance(h, 1);
	assert_int_equal(w->done, 1);
	err = w->err;
	for (int i = 1; !err && op == STORE_READ && i < 512; i++)
		assert_int_equal(w->data[i], w->data[0]);
	*byte = w->data[0];
	free(w);
	return err;
}

int do_write(struct harness *h, struct lun *lun, uint64_t block, uint8_t byte)
{
	return do_io(h, lun, STORE_WRITE, block, &byte);
}

int do_read(struct harness *h, struct lun *lun, uint64_t block)
{
	uint8_t byte = 0xEE;
	int err = do_io(h, lun, STORE_READ, block, &byte);

	return err ? err : byte;
}

int do_flush(struct harness *h, struct lun *lun)
{
	uint8_t byte = 0;

	return do_io(h, lun, STORE_FLUSH, 0, &byte);
}

/* ---- sets ---- */

const uint8_t *set_id(unsigned n)
{
	static uint8_t ids[1024][UP_ID_BYTES];
	uint8_t *id = ids[n % 1024];

	memset(id, 0x5E, UP_ID_BYTES);
	id[14] = (uint8_t)(n >> 8);
	id[15] = (uint8_t)n;
	return id;
}

void make_armed(struct harness *h, const uint8_t *set, const char *owner, struct lun **luns, unsigned count,
	uint8_t (*shadows)[UP_ID_BYTES])
{
	struct fault fault;
	uint8_t unused[UP_ID_BYTES];

	assert_int_equal(set_begin(h->array, set, owner, &fault), 0);
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(set_add(h->array, set, owner, luns[i], UP_COPY_DIFFERENTIAL,
					 shadows ? shadows[i] : unused, &fault),
			0);
	assert_int_equal(do_arm(h, set, owner), 0);
}

enum up_set_state set_state(struct harness *h, const uint8_t *set)
{
	struct set *s = set_find(h->array, set, NULL);
	struct set_view v;

	if (!s)
		return 0;
	set_view_of(s, &v);
	return v.state;
}

/* ---- nexuses ---- */

static void count_mappings(struct host_nexus *n)
{
	container_of(n, struct watcher, nexus)->mappings_changed++;
}

static void count_resized(struct host_nexus *n, struct lun *lun, uint32_t number)
{
	assert_ptr_equal(map_lun(n->host, number), lun);
	container_of(n, struct watcher, nexus)->resized++;
}

static void count_protected(struct host_nexus *n, struct lun *lun, uint32_t number)
{
	assert_ptr_equal(map_lun(n->host, number), lun);
	container_of(n, struct watcher, nexus)->protected ++;
}

static void count_replaced(struct host_nexus *n, struct lun *lun, uint32_t number)
{
	assert_ptr_equal(map_lun(n->host, number), lun);
	container_of(n, struct watcher, nexus)->replaced++;
}

static void count_unmapped(struct host_nexus *n, struct lun *lun, uint32_t number)
{
	assert_non_null(lun);
	assert_true(number > 0);
	container_of(n, struct watcher, nexus)->unmapped++;
}

static void count_revoked(struct host_nexus *n)
{
	container_of(n, struct watcher, nexus)->revoked++;
}

int watcher_attach(struct harness *h, struct watcher *w, const char *iqn, bool authenticated)
{
	static const struct host_nexus_ops ops = {.mappings_changed = count_mappings,
		.lun_resized = count_resized,
		.lun_protected = count_protected,
		.lun_replaced = count_replaced,
		.lun_unmapped = count_unmapped,
		.host_revoked = count_revoked};

	memset(w, 0, sizeof(*w));
	w->nexus.ops = &ops;
	snprintf(w->nexus.initiator, sizeof(w->nexus.initiator), "%s", iqn);
	w->nexus.authenticated = authenticated;
	return host_nexus_attach(h->array, &w->nexus);
}

void watcher_detach(struct harness *h, struct watcher *w)
{
	host_nexus_detach(h->array, &w->nexus);
}

unsigned events_with(struct harness *h, const char *text)
{
	const struct array_event *e;
	unsigned count = 0;

	for (uint64_t at = 0; (e = array_event_after(h->array, at)); at = e->serial)
		count += strstr(e->text, text) != NULL;
	return count;
}

/* ---- the whole model ---- */

static void dump_luns(struct harness *h, FILE *f)
{
	char id[UP_SERIAL_BYTES + 1], origin[UP_SERIAL_BYTES + 1], set[UP_SERIAL_BYTES + 1];

	for (struct lun *l = lun_next(h->array, NULL); l; l = lun_next(h->array, l)) {
		up_id_format(l->id, id);
		up_id_format(l->origin_id, origin);
		up_id_format(l->set_id, set);
		fprintf(f, "lun %s %s %llu %d %s %s %llu\n", id, l->name, (unsigned long long)l->size_bytes,
			l->kind, origin, set, (unsigned long long)l->created_unix_ms);
	}
}

static int by_name(const void *a, const void *b)
{
	return strcmp(host_record_of(*(struct host *const *)a)->name,
		host_record_of(*(struct host *const *)b)->name);
}

static void dump_hosts(struct harness *h, FILE *f)
{
	struct host *hosts[64];
	unsigned count = 0;

	for (struct host *host = host_next(h->array, NULL); host; host = host_next(h->array, host)) {
		assert_true(count < 64);
		hosts[count++] = host;
	}
	qsort(hosts, count, sizeof(struct host *), by_name);
	for (unsigned i = 0; i < count; i++) {
		struct lun *l;

		fprintf(f, "host %s %s\n", host_record_of(hosts[i])->name, host_record_of(hosts[i])->iqns[0]);
		for (uint32_t n = map_next(hosts[i], 0, &l); n; n = map_next(hosts[i], n, &l))
			fprintf(f, "map %u %s\n", n, l->name);
	}
}

static int by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void dump_sets(struct harness *h, FILE *f)
{
	static char lines[256][64 * 34 + 120];
	unsigned count = 0;

	for (struct set *s = set_next(h->array, NULL); s; s = set_next(h->array, s)) {
		char id[UP_SERIAL_BYTES + 1];
		struct set_view v;
		int len;

		set_view_of(s, &v);
		if (v.state != UP_SET_COMMITTED && v.state != UP_SET_KEPT)
			continue;
		assert_true(count < 256);
		up_id_format(v.id, id);
		len = snprintf(
			lines[count], sizeof(lines[0]), "set %s %s %s %d", id, v.name, v.owner, v.state);
		for (unsigned i = 0; i < v.member_count; i++) {
			assert_non_null(lun_find(h->array, v.members[i].shadow_id));
			up_id_format(v.members[i].shadow_id, id);
			len += snprintf(lines[count] + len, sizeof(lines[0]) - (size_t)len, " %s", id);
		}
		count++;
	}
	qsort(lines, count, sizeof(lines[0]), by_text);
	for (unsigned i = 0; i < count; i++)
		fprintf(f, "%s\n", lines[i]);
}

char *harness_dump(struct harness *h)
{
	char *text;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	assert_non_null(f);
	dump_luns(h, f);
	dump_hosts(h, f);
	dump_sets(h, f);
	fclose(f);
	return text;
}

/* ---- chance ---- */

uint64_t test_seed(void)
{
	const char *given = getenv("UMBRA_TEST_SEED");
	struct timespec t;
	uint64_t seed;

	clock_gettime(CLOCK_REALTIME, &t);
	seed = given ? strtoull(given, NULL, 0) : (uint64_t)t.tv_nsec ^ ((uint64_t)t.tv_sec << 20);
	print_message("UMBRA_TEST_SEED=%llu\n", (unsigned long long)seed);
	return seed ? seed : 1;
}

uint64_t test_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);

	z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
	return z ^ (z >> 31);
}
