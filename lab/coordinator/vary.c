/* SPDX-License-Identifier: Apache-2.0 */
/* See vary.h. */
#include "lab/coordinator/vary.h"

#include <string.h>
#include <wchar.h>

static const wchar_t *const methods[] = {L"EndPrepareSnapshots", L"PreCommitSnapshots", L"CommitSnapshots",
	L"PostCommitSnapshots", L"GetTargetLuns", L"PreFinalCommitSnapshots", L"PostFinalCommitSnapshots"};

/* splitmix64 */
static uint32_t next(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (uint32_t)((z ^ (z >> 31)) >> 32);
}

static uint32_t below(uint64_t *state, uint32_t limit)
{
	return next(state) % limit;
}

void vary_choose(struct variation *v, uint32_t seed)
{
	uint64_t state = seed;
	memset(v, 0, sizeof *v);
	if (!seed)
		return;
	v->seed = seed;
	v->targets_late = below(&state, 2);
	v->locate_set = below(&state, 2);
	v->reload = below(&state, 4) == 0;
	v->held_first = below(&state, 2) ? below(&state, 64) : 0;
	v->stagger_ms = below(&state, VARY_STAGGER_MAX_MS + 1);
	v->freeze_ms = below(&state, VARY_FREEZE_MAX_MS + 1);
	if (below(&state, 5) < 2) {
		v->trial = 1 + below(&state, 6);
		if (v->trial >= VARY_TRIALS) /* aborts are half of them: there are so many places for one */
			v->trial = VARY_ABORTED;
		v->trial_reload = below(&state, 3) == 0;
		v->method = methods[below(&state, sizeof methods / sizeof methods[0])];
		v->abort_us = below(&state, 3) ? below(&state, VARY_ABORT_MAX_US) : 0;
	}
}

void vary_text(const struct variation *v, wchar_t out[VARY_TEXT_CHARS])
{
	static const wchar_t *const trials[VARY_TRIALS] = {[VARY_NO_TRIAL] = L"",
		[VARY_DROPPED] = L", one dropped before",
		[VARY_ABORTED] = L", one aborted before in ",
		[VARY_NOT_FROZEN] = L", one before whose writers did not freeze",
		[VARY_NOT_THAWED] = L", one before whose writers did not thaw"};
	bool in = v->trial == VARY_ABORTED;
	swprintf(out, VARY_TEXT_CHARS,
		L"seed %u: targets %ls, located by %ls, holds %u ms apart from volume %u on, frozen %u ms%ls%ls%ls%ls",
		(unsigned)v->seed, v->targets_late ? L"late" : L"early", v->locate_set ? L"set" : L"volume",
		(unsigned)v->stagger_ms, v->held_first, (unsigned)v->freeze_ms,
		v->reload ? L", reloaded" : L"", trials[v->trial], in ? v->method : L"",
		v->trial && v->trial_reload ? L", reloaded after it" : L"");
	out[VARY_TEXT_CHARS - 1] = 0;
}
