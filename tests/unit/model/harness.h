/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An array over a store, and its clock, for the tests of model/. The same tests run over the store in
 * memory with a simulated clock and (HARNESS_POOL) over the pool with the real reactor; with HARNESS_RBD besides
 * over the store rbd in place of the pool, in the cluster that CEPH_CONF and UMBRA_TEST_CEPH_POOL name.
 */
#ifndef UMBRA_TEST_COPYSET_HARNESS_H
#define UMBRA_TEST_COPYSET_HARNESS_H

#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include "array/model/array.h"
#include "array/reactor/reactor.h"
#include "tests/support/test.h"
#ifndef HARNESS_POOL
#include "tests/support/memstore.h"
#include "tests/support/simreactor.h"
#endif

#define MIB (UINT64_C(1) << 20)
/* Milliseconds of a test: real ones are longer, so that a busy machine does not upset it. */
#ifdef HARNESS_POOL
#define TICKS(ms) ((ms)*5)
#else
#define TICKS(ms) (ms)
#endif

struct harness {
	struct reactor *reactor;
#ifndef HARNESS_POOL
	struct memstore *memory;
#else
	char path[64];
#endif
	struct store *store;
	struct array_options options;
	struct array *array;
};

#ifdef HARNESS_POOL
extern unsigned harness_pool_mib; /* of pools made from now on */
#endif
/* cmocka's setup and teardown: *state is a struct harness with an open, empty array. */
int harness_setup(void **state);
int harness_teardown(void **state);
void harness_open(struct harness *h);
int harness_try_open(struct harness *h, struct fault *fault); /* the store too */
void harness_close(struct harness *h);                        /* orderly, both */
void harness_reopen(struct harness *h);
#ifdef HARNESS_POOL
/* Open and close with a reactor of their own: before and after a fork. */
void harness_begin(struct harness *h);
void harness_end(struct harness *h);
#endif
/* Lets so much time pass. */
void harness_advance(struct harness *h, unsigned ms);

/* A call and whether it is done. */
struct waiter {
	struct array_call call;
	unsigned done; /* how often: must end at 1 */
};
struct array_call *waiter_init(struct waiter *w);
/* Waits for it; returns the error. */
int waiter_wait(struct harness *h, struct waiter *w);

/* How many of the events that are kept have the text in theirs. */
unsigned events_with(struct harness *h, const char *text);

struct lun *make_lun(struct harness *h, const char *name, uint64_t size_bytes);
struct host *make_host(struct harness *h, const char *name, const char *iqn);
int do_map(struct harness *h, struct host *host, struct lun *lun, uint32_t number);
int do_unmap(struct harness *h, struct host *host, struct lun *lun);
int do_delete(struct harness *h, struct lun *lun);
int do_arm(struct harness *h, const uint8_t *set, const char *owner);
int do_commit(struct harness *h, const uint8_t *set, const char *owner, uint32_t deadline_ms);
int do_keep(struct harness *h, const uint8_t *set, const char *owner);
/* Its owner tells all that can be told of it: the label "weekly", the times 4 and 1, 2, 3; 5. */
void note_set(struct harness *h, const uint8_t *set);
int do_abort(struct harness *h, const uint8_t *set, const char *owner);
int do_set_delete(struct harness *h, const uint8_t *set);
/* 512 bytes filled with `byte` at a block. */
int do_write(struct harness *h, struct lun *lun, uint64_t block, uint8_t byte);
int do_read(struct harness *h, struct lun *lun, uint64_t block); /* the byte, or a negative errno */
int do_flush(struct harness *h, struct lun *lun);
/* A set id from a number. */
const uint8_t *set_id(unsigned n);
/* begin, add all, arm: must succeed */
void make_armed(struct harness *h, const uint8_t *set, const char *owner, struct lun **luns, unsigned count,
	uint8_t (*shadows)[UP_ID_BYTES]);
enum up_set_state set_state(struct harness *h, const uint8_t *set); /* 0: unknown */

/* A nexus that counts what it is told. */
struct watcher {
	struct host_nexus nexus;
	unsigned mappings_changed, resized, protected, replaced, unmapped, revoked;
};
int watcher_attach(struct harness *h, struct watcher *w, const char *iqn, bool authenticated);
void watcher_detach(struct harness *h, struct watcher *w);

/* The durable model as text: LUNs, hosts, mappings, committed and kept sets. Allocated. */
char *harness_dump(struct harness *h);

uint64_t test_seed(void); /* UMBRA_TEST_SEED or a random one, printed */
uint64_t test_random(uint64_t *state);

#endif
