/* SPDX-License-Identifier: Apache-2.0 */
/* Which sets are a policy's, and which of them no rule keeps. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "array/model/policy/internal.h"

static bool is_of(const struct policy_spec *spec, const struct set *s)
{
	return s->state == UP_SET_KEPT && (s->owner[0] == 0 || spec->hosts) &&
	       strcmp(s->notes.label, spec->label) == 0;
}

static size_t count_of(struct array *a, const struct policy_spec *spec)
{
	size_t count = 0;

	for (const struct set *s = set_next(a, NULL); s; s = set_next(a, s))
		count += is_of(spec, s);
	return count;
}

/* East of UTC, at that time. */
static int32_t offset_s(int64_t at)
{
	time_t seconds = (time_t)at;
	struct tm local;

	return localtime_r(&seconds, &local) ? (int32_t)local.tm_gmtoff : 0;
}

static bool in_use(const struct set *s)
{
	for (unsigned i = 0; i < s->member_count; i++) {
		const struct lun *shadow = s->sides[i].shadow;

		if (shadow->mappings > 0 || lun_unkept(shadow) || lun_box_of(shadow)->cutting > 0)
			return true;
	}
	return false;
}

static enum policy_word word_of(const struct set *s)
{
	if (s->lock_unix_ms)
		return POLICY_LOCKED;
	return in_use(s) ? POLICY_IN_USE : POLICY_DELETES;
}

static bool has_rules(const struct keep_rules *rules)
{
	unsigned any = 0;

	for (unsigned i = 0; i < KEEP_PERIODS; i++)
		any |= rules->count[i];
	return any != 0;
}

static void verdicts_fill(const struct policy_spec *spec, struct set *const *sets,
	const struct keep_copy *copies, size_t count, struct policy_verdict *out)
{
	bool rules = has_rules(&spec->keep);

	for (size_t i = 0; i < count; i++) {
		out[i].set = sets[copies[i].tag];
		out[i].word = copies[i].keep || !rules ? POLICY_KEEPS : word_of(out[i].set);
		out[i].by = copies[i].by;
	}
}

int policy_judge(struct array *a, const struct policy_spec *spec, struct policy_verdict **out, size_t *count)
{
	size_t wanted = count_of(a, spec), n = 0;
	struct policy_verdict *verdicts = calloc(wanted + 1, sizeof(*verdicts));
	struct keep_copy *copies = calloc(wanted + 1, sizeof(*copies));
	struct set **sets = calloc(wanted + 1, sizeof(*sets));
	int err = verdicts && copies && sets ? 0 : -ENOMEM;

	for (struct set *s = err ? NULL : set_next(a, NULL); s; s = set_next(a, s)) {
		if (!is_of(spec, s))
			continue;
		int64_t made_s = (int64_t)(s->cut_unix_ms / 1000);
		copies[n] = (struct keep_copy){
			.made_s = made_s, .offset_s = offset_s(made_s), .tag = (unsigned)n};
		sets[n++] = s;
	}
	if (!err) {
		keep_apply(&spec->keep, copies, n, (int64_t)(array_clock_unix_ms() / 1000));
		verdicts_fill(spec, sets, copies, n, verdicts);
		*out = verdicts;
		*count = n;
		verdicts = NULL;
	}
	free(copies);
	free(sets);
	free(verdicts);
	return err;
}
