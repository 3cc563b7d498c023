/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commit window: one thread an array and one for each way to it, with their devices open and their messages built,
 * all waiting for one event. CommitSnapshots sets it and waits.
 *
 * Invariants:
 * - Between window_open() and window_commit()'s return nothing here takes heap, registry, event log or file
 *   work (the pass-through itself excepted).
 * - The provider's own clock decides: what is not there within the budget is a failure, and then every array
 *   is told to give the set up, even by a thread that was stuck and comes back later.
 * - A way over which nothing comes back costs the window a second, not the set: the same request goes over the next one
 *   beside it. What comes back over the first one later is the answer to that request, or nobody's.
 * - The memory belongs to the set and to the threads together: a stuck thread outlives its set.
 */
#ifndef UMBRA_PROVIDER_WINDOW_H
#define UMBRA_PROVIDER_WINDOW_H

#include "provider/array_client.h"

struct window;

/* How one array's commit ended. */
struct window_result {
	bool answered; /* within the budget */
	struct array_trouble trouble;
	bool ok;
	uint64_t window_ns, durable_ns; /* as the array measured them */
};

/* A way to an array over which nothing has come back. */
struct window_silence {
	struct transport_device device;
	uint32_t for_ms;
};

/* Opens devices, builds messages, starts the threads. array_deadline_ms goes to the arrays. 0, -ENOMEM,
 * -EHOSTUNREACH (*failed is the index of the array). */
int window_open(struct array_client *client, struct transport *transport, const uint8_t set_id[UP_ID_BYTES],
	const struct array_info *arrays, unsigned count, uint32_t array_deadline_ms, struct window **out,
	unsigned *failed);

/* Commits on all arrays. True: every one committed within budget_ms, or what is left of it: the holds may have begun as early as
 * window_open's end. *elapsed_us on our own clock. */
bool window_commit(struct window *w, uint32_t budget_ms, uint64_t *elapsed_us);
/* What it had, after window_commit. */
uint32_t window_budget_ms(const struct window *w);
/* After window_commit. */
void window_result(const struct window *w, unsigned index, struct window_result *out);
/* Likewise: the ways to the array that have been silent for long at this moment, one a call. *next counts, from 0. */
bool window_silent(const struct window *w, unsigned index, unsigned *next, struct window_silence *out);

/* Gives the reference up; threads that were never told to commit just end. */
void window_close(struct window *w);

#endif
