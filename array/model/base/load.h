/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much hosts ask of a LUN, and one host of all of them: counters since the start, which the SCSI layer keeps and the
 * management shows. They belong to the reactor's thread.
 */
#ifndef UMBRA_MODEL_LOAD_H
#define UMBRA_MODEL_LOAD_H

#include <stdint.h>

enum load_kind {
	LOAD_READ,
	LOAD_WRITE,
	LOAD_OTHER, /* UNMAP, SYNCHRONIZE CACHE, INQUIRY … */
	LOAD_KINDS
};

#define LOAD_BOUNDS 9

/* Of the buckets but the last, which takes the rest. Nanoseconds; an operation of just so long is within. */
static const uint64_t load_bounds_ns[LOAD_BOUNDS] = {
	100000, 250000, 1000000, 2500000, 10000000, 50000000, 250000000, 1000000000, 5000000000};

struct load_count {
	uint64_t bytes, ns;                /* all operations together */
	uint64_t buckets[LOAD_BOUNDS + 1]; /* operations, by how long they took */
};

struct load {
	struct load_count counts[LOAD_KINDS]; /* of what ended well */
	uint64_t failed;                      /* operations that ended otherwise, aborted ones too */
};

static inline void load_add(struct load *l, enum load_kind kind, uint64_t bytes, uint64_t ns)
{
	struct load_count *c = &l->counts[kind];
	unsigned bucket = 0;

	while (bucket < LOAD_BOUNDS && ns > load_bounds_ns[bucket])
		bucket++;
	c->bytes += bytes;
	c->ns += ns;
	c->buckets[bucket]++;
}

#endif
