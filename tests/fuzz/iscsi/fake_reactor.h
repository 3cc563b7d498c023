/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reactor without kernel: receives come out of a buffer, sends vanish, time passes when told. What
 * iscsi/ uses of array/reactor/reactor.h and no more; linked instead of it.
 */
#ifndef UMBRA_FUZZ_FAKE_REACTOR_H
#define UMBRA_FUZZ_FAKE_REACTOR_H

#include "array/reactor/reactor.h"

struct reactor {
	uint64_t now_ns;
	struct list deferred;
	struct reactor_op *receiving, *sending;
	bool cancel_receive, cancel_send;
};

void fake_reactor_init(struct reactor *r);
/* Runs what is deferred, until nothing is. */
void fake_reactor_settle(struct reactor *r);
/* Gives up to len bytes to the receive that waits; returns how many it took, 0: none waits. len 0: the end.
 */
size_t fake_reactor_feed(struct reactor *r, const uint8_t *bytes, size_t len);
/* Ends the send that is under way; part: perhaps not all of it. */
void fake_reactor_sent(struct reactor *r, bool part);
void fake_reactor_advance(struct reactor *r, uint64_t ms);

#endif
