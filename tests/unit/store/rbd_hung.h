/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store in Ceph of which calls to librbd can be made to hang, as where an OSD does not answer. What the tests of one program share:
 * one reactor, one store.
 */
#ifndef UMBRA_TESTS_RBD_HUNG_H
#define UMBRA_TESTS_RBD_HUNG_H

#include <stdbool.h>
#include <stdint.h>
#include "array/reactor/reactor.h"
#include "array/store/module.h"
#include "array/store/rbd/rbd.h"
#include "tests/support/test.h"

#define MIB (UINT64_C(1) << 20)

extern struct reactor *reactor;
extern struct store *s;

enum call {
	CALL_NONE,
	CALL_CREATE,
	CALL_OPENED, /* from its end */
	CALL_HEADER,
	CALL_SNAP,
	CALL_CLONE,
	CALL_RESIZE,
	CALL_STRIPE,
	CALL_REMOVE,
	CALL_LABEL,
	CALL_UNTIE, /* a snapshot is removed whose last clone is cut off */
	CALL_STAT,
	CALL_HELD
};

struct wait {
	unsigned done;
	int err;
};

/* Its end is `hydrated`. */
struct hydration {
	struct store_hydration h;
	struct wait wait;
};

struct access {
	struct store_io io;
	struct iovec iov;
	struct wait wait;
	_Alignas(4096) uint32_t data[1024];
};

/* A call of this kind, on its thread. */
void comes(enum call call);
/* Calls of this kind hang from now on, so many of them at most; those that hang do so until they are let go. */
void hang_some(enum call call, unsigned count);
void hang(enum call call);
/* Those that come from now on do not hang. */
void hang_no_more(void);
void let_go(void);
struct store_module_options options(void);
void ended(void *arg, int err);
void hydrated(struct store_hydration *h, int err);
/* The reactor turns meanwhile. False: it took too long. */
bool until(bool (*holds)(const void *arg), const void *arg);
int wait_for(const struct wait *w);
void wait_until_hang(unsigned count);
/* Of a test: an array that is empty. */
int store_setup(void **state);
/* Of a shell's command. */
int output_lines(const char *command);
/* Images, in the trash or not. */
int images(void);
/* Of the image, in the trash of snapshots or not. */
int snapshots(struct store_disk *d);
bool is_idle(const void *unused);
/* What goes on in the background is over, but for an original's deletion, which is tried again after its copy's. */
void assert_left(int count);
void make_disks(struct store_disk **out, unsigned count);
int store_teardown(void **state);
void delete_disk(struct store_disk *d);
/* A copy of one of the cut's disks. */
void commit_fork(struct store_cut *c, unsigned index, struct store_disk **copy, struct wait *w);
/* Cut and committed, while others hang. */
struct store_disk *copy_of(struct store_disk *d);
/* Of the first block, whose first number is told at the end. */
struct access *access_begin(struct store_disk *d, enum store_io_op op, uint32_t value);
uint32_t access_end(struct access *x);

#endif
