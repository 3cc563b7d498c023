/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chains of dependent writers: each writes n to one LUN, waits for the answer, writes n to the next LUN and
 * so on, then goes on with n + 1. A copy of all the LUNs never shows a later write of a chain without the
 * earlier ones.
 */
#ifndef UMBRA_TEST_COPYSET_CHAINS_H
#define UMBRA_TEST_COPYSET_CHAINS_H

#include "tests/unit/model/harness.h"

#define CHAIN_LUNS 3
#define CHAINS     8

/* What a chain has done, by hop; may lie in shared memory. */
struct chain_count {
	uint32_t submitted[CHAIN_LUNS], answered[CHAIN_LUNS];
};

struct chain;

struct chain_run {
	struct harness *h;
	struct lun *luns[CHAIN_LUNS];
	struct chain_count *counts; /* CHAINS of them */
	uint64_t random;
	struct chain *chains;
	bool stop;
	unsigned held; /* writes that met a closed gate */
};

/* h, luns, counts (going on from there) and random set. The way of each chain depends on its number only. */
void chains_start(struct chain_run *r);
/* Before chains_start, after a crash (which may lose what was not flushed): every hop has the chain's last
 * value. */
void chains_settle(struct chain_run *r);
bool chains_busy(const struct chain_run *r); /* after stop = true */
void chains_free(struct chain_run *r);
/* What a LUN has in the place of that chain. */
uint32_t chain_value(struct harness *h, struct lun *lun, unsigned number);
/* Reads the values of every chain in copies (found by id, in the order of luns) and checks their order, and
 * that each lies between low's answered and high's submitted. */
void chains_check(struct harness *h, uint8_t (*ids)[UP_ID_BYTES], const struct chain_count *low,
	const struct chain_count *high, uint32_t (*seen)[CHAIN_LUNS]);

#endif
