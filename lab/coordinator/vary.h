/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What VSS is free to do, and a provider must bear: chosen by a seed for one request, the same for the same seed. Pure.
 *
 * Time that VSS and its writers take is not waited for: it is added to what the clocks of sequence.h show, so that no
 * verdict hangs on the machine's speed.
 */
#ifndef LAB_VARY_H
#define LAB_VARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VARY_STAGGER_MAX_MS 2500
#define VARY_FREEZE_MAX_MS  40000
#define VARY_ABORT_MAX_US   30000
#define VARY_TEXT_CHARS     240

/* A set that fails before the one that is asked for: made in part, and given up. */
enum vary_trial {
	VARY_NO_TRIAL,
	VARY_DROPPED,    /* after BeginPrepareSnapshot, without a word to the provider */
	VARY_ABORTED,    /* AbortSnapshots from another thread, while `method` runs */
	VARY_NOT_FROZEN, /* a writer's time-out before the commit */
	VARY_NOT_THAWED, /* … and after it */
	VARY_TRIALS
};

struct variation {
	uint32_t seed;     /* 0: nothing is varied */
	bool targets_late; /* GetTargetLuns after PostFinalCommitSnapshots */
	bool locate_set;   /* LocateLuns once, with all LUNs of the set, instead of once a volume */
	bool reload;       /* the providers are unloaded before the request, if they let themselves be */
	bool trial_reload; /* … and between the trial and the set itself */
	unsigned
		held_first; /* the volume (modulo their number) that is flushed and held first; the others follow in turn */
	uint32_t stagger_ms; /* from the hold of the first volume to that of the last */
	uint32_t freeze_ms;  /* that the writers take */
	enum vary_trial trial;
	const wchar_t *method; /* of VARY_ABORTED */
	uint32_t abort_us;     /* how long after its begin */
};

void vary_choose(struct variation *v, uint32_t seed);

/* For the record of calls. */
void vary_text(const struct variation *v, wchar_t out[VARY_TEXT_CHARS]);

#endif
