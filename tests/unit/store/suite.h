/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One suite for every store: random operations beside a trivial model, on the real reactor, and kill -9 at random points. What a
 * store must be for it is a struct suite_store; each store's file has one, and is linked with the suite into a program of its own.
 *
 * The model lives in shared memory, so that it outlives a process that is killed; tags.h has what it knows of a sector. A
 * transaction under way may have happened or not: its record decides, and then all of it must have.
 */
#ifndef UMBRA_TESTS_STORE_SUITE_H
#define UMBRA_TESTS_STORE_SUITE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include "array/reactor/reactor.h"
#include "array/store/store.h"

struct suite_store {
	const char *name;
	bool survives;       /* the process: it can be killed */
	void (*begin)(void); /* an empty store, closed */
	void (*end)(void);
	struct store *(*open)(struct reactor *r);
	bool (*empty)(
		void); /* nothing of deleted disks is left, in the background either; NULL: the statistics tell */
	unsigned rounds, kills; /* how long it runs: as the store is fast */
};
extern const struct suite_store suite_store;

#define SUITE_CHECK(what)                                                                                    \
	do {                                                                                                 \
		if (!(what)) {                                                                               \
			fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #what);             \
			abort();                                                                             \
		}                                                                                            \
	} while (0)

#endif
