/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The provider's state machine for one shadow copy set, as VSS drives it: which call is legal in which state,
 * what it makes the provider do and what the caller is told. Pure: no Windows, no array, no clock.
 *
 * A call is two steps. cs_call() judges it, moves the machine and says what to do (CS_DO_… bits); the caller
 * does that without any lock held and reports by cs_done(). Between the two, AbortSnapshots or a new set may
 * have come in: the epoch has moved on then, and cs_done() says so instead of going on.
 *
 * Invariants:
 * - Every result is one that VSS allows (vss-provider contract: anything else becomes "unexpected").
 * - A set that ends in any way without having been kept is always followed by CS_DO_UNDO; after a failure
 *   once more when it is aborted or replaced (undoing is idempotent, and the first try may not have got
 *   through).
 * - A kept set is never undone. Its identities are out, though perhaps only with VSS: when VSS aborts it before
 *   PostFinalCommitSnapshots, no requester has them, and what no host sees is withdrawn (CS_DO_WITHDRAW). In all
 *   other cases only what is known of it is dropped.
 */
#ifndef UMBRA_PROVIDER_COPYSET_H
#define UMBRA_PROVIDER_COPYSET_H

#include <stdbool.h>
#include <stdint.h>

#define CS_ID_BYTES 16

/* What a method may answer; HRESULTs are made of them at the COM edge (result.c). */
enum cs_result {
	CS_OK,
	CS_BUSY, /* OnUnload only: S_FALSE */
	CS_OUT_OF_MEMORY,
	CS_INVALID_ARGUMENT,
	CS_BAD_STATE,
	CS_NOT_FOUND,
	CS_NO_STORAGE,
	CS_TOO_MANY_SNAPSHOTS,
	CS_TOO_MANY_VOLUMES,
	CS_NOT_SUPPORTED, /* VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER */
	CS_UNSUPPORTED_CONTEXT,
	CS_VETO,            /* an event tells why */
	CS_NOT_IMPLEMENTED, /* ResyncLuns, and the reserved methods: E_NOTIMPL */
	CS_RESULT_COUNT
};

enum cs_state {
	CS_EMPTY,     /* no set */
	CS_PREPARING, /* LUNs are added */
	CS_ARMING,    /* EndPrepareSnapshots runs */
	CS_ARMED,
	CS_READYING,   /* PreCommitSnapshots runs */
	CS_READY,      /* the window may open */
	CS_COMMITTING, /* CommitSnapshots runs */
	CS_COMMITTED,
	CS_CHECKING, /* PostCommitSnapshots runs */
	CS_POSTCOMMITTED,
	CS_PREFINAL,
	CS_CREATED, /* PostFinalCommitSnapshots was there */
	CS_FAILED,  /* refused and undone; its id is still known */
	CS_STATE_COUNT
};

enum cs_call {
	CS_CALL_BEGIN_PREPARE,
	CS_CALL_END_PREPARE,
	CS_CALL_PRE_COMMIT,
	CS_CALL_COMMIT,
	CS_CALL_POST_COMMIT,
	CS_CALL_PRE_FINAL,
	CS_CALL_POST_FINAL,
	CS_CALL_GET_TARGETS, /* names no set: the current one */
	CS_CALL_ABORT,
	CS_CALL_UNLOAD,       /* OnUnload(FALSE) */
	CS_CALL_UNLOAD_FORCE, /* OnUnload(TRUE), the last Release, the service's end */
	CS_CALL_COUNT
};

/* What the caller of cs_call() has to do. */
#define CS_DO_UNDO    (1u << 0) /* abort the *previous* set on its arrays, first of all */
#define CS_DO_NEW     (1u << 1) /* start a new set */
#define CS_DO_ADD     (1u << 2) /* add the LUNs */
#define CS_DO_ARM     (1u << 3)
#define CS_DO_READY   (1u << 4) /* workers, handles, messages */
#define CS_DO_COMMIT  (1u << 5) /* wake and wait, nothing else */
#define CS_DO_CHECK   (1u << 6)
#define CS_DO_TARGETS (1u << 7) /* hand out identities */
#define CS_DO_FORGET  (1u << 8) /* the previous set was kept: only drop what is known of it */
#define CS_DO_WITHDRAW                                                                                       \
	(1u << 9)             /* it was kept, but VSS gave it up: delete those of its LUNs that nobody sees */
#define CS_DO_TELL (1u << 10) /* tell the arrays what the set cost */
#define CS_DO_END  (CS_DO_UNDO | CS_DO_FORGET | CS_DO_WITHDRAW) /* one of these: the previous set has ended */

struct cs_machine {
	enum cs_state state;
	uint8_t set_id[CS_ID_BYTES]; /* valid unless CS_EMPTY */
	uint32_t epoch;              /* moves on whenever a set ends or starts */
	bool kept;                   /* the array was told to keep the set */
};

struct cs_step {
	enum cs_result result;
	unsigned actions; /* CS_DO_… */
	uint32_t epoch;   /* for cs_done() */
};

void cs_init(struct cs_machine *m);

/* set_id: 16 bytes; NULL for GET_TARGETS and the two UNLOADs. */
struct cs_step cs_call(struct cs_machine *m, enum cs_call call, const uint8_t *set_id);

/* The work of `call` ended with `outcome`. Returns what the method answers: the outcome, or CS_BAD_STATE when
 * the set was aborted or replaced meanwhile. *actions gets CS_DO_UNDO when the set has to be undone now. */
enum cs_result cs_done(
	struct cs_machine *m, enum cs_call call, uint32_t epoch, enum cs_result outcome, unsigned *actions);

/* The array has been told to keep the set of this epoch. */
void cs_kept(struct cs_machine *m, uint32_t epoch);

/* A set is under way that a forced unload would undo. */
bool cs_busy(const struct cs_machine *m);

/* Between PreCommit's answer and PostCommit: no event, trace, file, registry or heap work. */
bool cs_in_window(const struct cs_machine *m);

/* Never NULL. */
const char *cs_state_name(enum cs_state state);
const char *cs_call_name(enum cs_call call); /* the COM method's name */
const char *cs_result_name(enum cs_result result);

#endif
