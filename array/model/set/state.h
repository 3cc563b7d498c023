/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A copy set's life as a pure function: state × event → next state or refusal. No I/O, no memory.
 *
 *	preparing ─arm→ armed ─commit→ committing ─durable→ committed ─keep→ kept ─delete→ (gone)
 *	    └──────abort────┴───────────┴─failed, abort───────┴→ aborted
 */
#ifndef UMBRA_MODEL_SET_STATE_H
#define UMBRA_MODEL_SET_STATE_H

#include "proto/umbra_proto.h"

enum set_event {
	SET_BEGIN,
	SET_ADD,
	SET_ARM,
	SET_COMMIT,  /* the cut is asked for */
	SET_DURABLE, /* the store has made the cut durable */
	SET_FAILED,  /* it has not and will not; or the deadline passed */
	SET_KEEP,
	SET_ABORT,
	SET_EXPIRE, /* the lease ended, or the host has gone */
	SET_DELETE, /* by the administrator, of a kept set */
	SET_EVENTS
};

/* 0 and *next (perhaps the same state again), or a refusal that leaves the state:
 * -EBADFD: not in this state; -EEXIST: begin of a set that is there; -EBUSY: a commit runs, ask later;
 * -ECANCELED: durable, but the set was aborted meanwhile: it must be undone. */
int set_state_next(enum up_set_state state, enum set_event event, enum up_set_state *next);

/* Does a set in this state still need a lease? */
int set_state_unkept(enum up_set_state state);

#endif
