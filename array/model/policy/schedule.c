/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a policy takes a set. Time is cut into slots, one for each turn; a policy takes a set when the slot is another
 * than that of its last turn. What was missed while umbrad did not run is one slot further, or a hundred: one turn.
 *
 * A wall clock that was set back has slots that lie behind the last turn's. Then a turn comes when its time has passed by
 * umbrad's running time, so that a clock that was once far ahead does not end a schedule for years, and the hour that an
 * autumn night has twice does not bring two turns.
 */
#include <time.h>
#include "array/model/policy/internal.h"

/* Seconds of local time, as if they were UTC. */
static int64_t local_s(uint64_t unix_ms)
{
	time_t seconds = (time_t)(unix_ms / 1000);
	struct tm local;

	return localtime_r(&seconds, &local) ? seconds + local.tm_gmtoff : seconds;
}

uint64_t policy_slot(const struct policy_spec *s, uint64_t unix_ms)
{
	int64_t since;

	if (s->at_min == POLICY_NO_TIME)
		return unix_ms / s->every_ms;
	since = local_s(unix_ms) - s->at_min * 60;
	return since < 0 ? 0 : (uint64_t)since / (s->every_ms / 1000);
}

bool policy_due(const struct policy *p, uint64_t unix_ms, uint64_t ran_ms)
{
	uint64_t slot;

	if (p->spec.every_ms == 0)
		return false;
	if (!p->taken)
		return true;
	slot = policy_slot(&p->spec, unix_ms);
	return slot > p->last_slot || (slot < p->last_slot && ran_ms - p->last_ran_ms >= p->spec.every_ms);
}

uint64_t policy_next_unix_ms(const struct policy_spec *s, uint64_t unix_ms)
{
	if (s->every_ms == 0)
		return 0;
	if (s->at_min == POLICY_NO_TIME)
		return (unix_ms / s->every_ms + 1) * s->every_ms;
	uint64_t every_s = s->every_ms / 1000,
		 since = (uint64_t)(local_s(unix_ms) - s->at_min * 60) % every_s;
	return (unix_ms / 1000 + every_s - since) * 1000;
}
