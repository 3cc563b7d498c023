/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a shadow copy set cost its host, from the times at which VSS's calls came and went. Pure.
 *
 * What a provider can know: whether the context left the writers out, and its own calls. VSS holds I/O after
 * PreCommitSnapshots has returned and lets it go before PostCommitSnapshots comes: the hold was not longer than what
 * lies between. VSS tells a provider neither which writers there were nor that one of them failed.
 */
#ifndef UMBRA_PROVIDER_SET_COST_H
#define UMBRA_PROVIDER_SET_COST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "proto/umbra_proto.h"

#define COST_CONTEXT_NO_WRITERS 0x10u /* VSS_VOLSNAP_ATTR_NO_WRITERS, as in vss.h */

/* By one clock, in microseconds. */
struct set_times {
	uint64_t pre_commit_in, pre_commit_out, commit_in, commit_out, post_commit_in, post_final_in;
};

struct set_cost {
	enum up_writers writers;
	uint64_t frozen_us, flush_us, commit_us, release_us;
};

void set_cost_of(const struct set_times *t, uint32_t context, struct set_cost *out);
uint64_t set_cost_held_us(const struct set_cost *c);
bool set_cost_slow(const struct set_cost *c); /* I/O was held for longer than UP_HOLD_SLOW_US */

/* For the Application log. label: empty: none. */
void set_cost_text(const struct set_cost *c, const char *label, char *out, size_t cap);
/* Of a slow one: the slowest phase, and where to look. */
void set_cost_slow_text(const struct set_cost *c, char *out, size_t cap);

#endif
