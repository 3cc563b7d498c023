/* SPDX-License-Identifier: Apache-2.0 */
/* The suite over the store in memory. */
#include "tests/support/memstore.h"
#include "tests/unit/store/suite.h"

static struct memstore *memory;

static void begin(void)
{
	memory = memstore_create(0);
	memstore_timing(memory, MEMSTORE_KINDS, MEMSTORE_DEFERRED, 0);
	memstore_timing(memory, MEMSTORE_CUT, MEMSTORE_TIMED, 2);
	memstore_timing(memory, MEMSTORE_WRITE, MEMSTORE_TIMED, 1);
}

static void end(void)
{
	memstore_destroy(memory);
}

static struct store *open_it(struct reactor *r)
{
	return memstore_open(memory, r);
}

const struct suite_store suite_store = {
	.name = "memory", .begin = begin, .end = end, .open = open_it, .rounds = 6};
