/* SPDX-License-Identifier: Apache-2.0 */
/* A wire between two controllers (array/store/wire.h) that a test plays: what is asked at one end arrives at the other one in a later
 * turn of the reactor, and what comes back likewise, unless the test has it lost, damaged or said twice. */
#ifndef UMBRA_TEST_PLAYWIRE_H
#define UMBRA_TEST_PLAYWIRE_H

#include "array/peer.h"

struct play_end {
	struct store_wire base;
	struct reactor *reactor;
	struct peer *peer; /* the test's, made between play_end_init and play_end_up */
	struct play_end *other;
	bool owns;
	uint64_t epoch;
	/* of the next ones that are asked here */
	unsigned lose_questions, lose_answers, damage_answers, twice;
	unsigned asks;                       /* how many there were */
	uint64_t clock;                      /* of the other end, as the last answer told it */
	bool deaf;                           /* nobody listens at the other end */
	struct store_wire_heard *unanswered; /* that arrived here last, or NULL */
};

void play_end_init(
	struct play_end *e, struct play_end *other, struct reactor *reactor, bool owns, uint64_t epoch);
void play_end_up(struct play_end *e);
void play_end_down(struct play_end *e);
/* It arrives at the other end, and nobody waits for the answer. */
void play_say(struct play_end *from, const struct store_wire_ask *a);

#endif
