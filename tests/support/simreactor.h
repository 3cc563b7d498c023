/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reactor with a clock of the test's, for simulations: timers and deferred calls as array/reactor/reactor.h
 * has them, no ring, no threads. A program links either this or the real reactor.
 */
#ifndef UMBRA_TEST_SIMREACTOR_H
#define UMBRA_TEST_SIMREACTOR_H

#include <stdint.h>
#include "array/reactor/reactor.h"

struct reactor *simreactor_create(void);
void simreactor_destroy(struct reactor *r);
/* Runs deferred calls and every timer that is due within the next ms, in order of time. */
void simreactor_advance(struct reactor *r, uint64_t ms);

#endif
