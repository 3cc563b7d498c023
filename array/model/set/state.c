/* SPDX-License-Identifier: Apache-2.0 */
/* The table of a copy set's life: see state.h. Positive entries are states, negative ones refusals. */
#include <assert.h>
#include <errno.h>
#include "array/model/set/state.h"

#define P UP_SET_PREPARING
#define A UP_SET_ARMED
#define G UP_SET_COMMITTING
#define C UP_SET_COMMITTED
#define K UP_SET_KEPT
#define X UP_SET_ABORTED

/* clang-format off */
static const short table[X + 1][SET_EVENTS] = {
/*	      BEGIN    ADD      ARM      COMMIT   DURABLE     FAILED   KEEP     ABORT    EXPIRE   DELETE */
	[P] = {P,       P,       A,       -EBADFD, -EBADFD,    -EBADFD, -EBADFD, X,       X,       -EBADFD},
	[A] = {-EBADFD, -EBADFD, A,       G,       -EBADFD,    -EBADFD, -EBADFD, X,       X,       -EBADFD},
	[G] = {-EEXIST, -EBADFD, -EBADFD, -EBADFD, C,          X,       -EBADFD, X,       -EBUSY,  -EBADFD},
	[C] = {-EEXIST, -EBADFD, -EBADFD, -EBADFD, -EBADFD,    -EBADFD, K,       X,       X,       -EBADFD},
	[K] = {-EEXIST, -EBADFD, -EBADFD, -EBADFD, -EBADFD,    -EBADFD, K,       -EBADFD, -EBADFD, X},
	[X] = {-EBADFD, -EBADFD, -EBADFD, -EBADFD, -ECANCELED, X,       -EBADFD, X,       X,       -EBADFD},
};
/* clang-format on */

int set_state_next(enum up_set_state state, enum set_event event, enum up_set_state *next)
{
	short entry;

	assert(state >= P && state <= X && event < SET_EVENTS);
	entry = table[state][event];
	if (entry < 0)
		return entry;
	*next = (enum up_set_state)entry;
	return 0;
}

int set_state_unkept(enum up_set_state state)
{
	return state != K && state != X;
}
