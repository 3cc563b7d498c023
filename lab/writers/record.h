/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the ordered writer writes: blocks of RECORD_BYTES that name their run, stream, side and sequence
 * number and carry a checksum over everything. Pure functions, so that the rules of verification can be
 * unit-tested.
 *
 * The order: stream s writes record n to LUN A, waits for the answer, writes record n to LUN B, waits, goes
 * on with n + 1. Record n of stream s lies in slot n % slots of the stream's area on each LUN. So at any
 * instant a(s) - b(s) is 0 or 1 on an array that keeps the order across LUNs, and a copy that shows b(s) >
 * a(s) is not of one instant.
 */
#ifndef LAB_WRITERS_RECORD_H
#define LAB_WRITERS_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RECORD_BYTES 4096

struct record_id {
	uint64_t run; /* a later run of the writer has a higher number */
	uint64_t seq; /* from 1 */
	uint32_t stream;
	uint32_t side; /* 0: LUN A, 1: LUN B */
};

enum record_kind {
	RECORD_NONE,
	RECORD_GOOD,
	RECORD_DAMAGED
};

void record_make(uint8_t block[RECORD_BYTES], const struct record_id *id);

/* Where record seq of a stream lies, in records from the start of the area. */
uint64_t record_slot(uint32_t stream, uint64_t seq, uint32_t slots);

/* What one stream's area on one LUN shows. */
struct area_state {
	uint64_t last;     /* highest sequence number of the run, 0: none */
	const char *wrong; /* NULL, or what breaks the rules */
	uint64_t wrong_slot;
};

/* The highest run number in an area of `count` blocks, 0: none. */
uint64_t area_latest_run(const uint8_t *blocks, size_t count);
/* Checks `slots` blocks of (stream, side) for that run: every record whole and in its place, none missing
 * between the oldest that can still be there and the last. */
struct area_state area_check(
	const uint8_t *blocks, uint32_t slots, uint64_t run, uint32_t stream, uint32_t side);

/* NULL, or why A and B of one stream cannot be of one instant. */
const char *order_wrong(uint64_t a_last, uint64_t b_last);

#endif
