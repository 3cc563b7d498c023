/* SPDX-License-Identifier: Apache-2.0 */
/* What a set cost: see set_cost.h. */
#include "provider/set_cost.h"

#include <stdio.h>

/* Times come from one clock, in the order of the calls; one that is missing makes no phase. */
static uint64_t between(uint64_t from, uint64_t to)
{
	return from && to > from ? to - from : 0;
}

void set_cost_of(const struct set_times *t, uint32_t context, struct set_cost *out)
{
	out->writers = context & COST_CONTEXT_NO_WRITERS ? UP_WRITERS_LEFT_OUT : UP_WRITERS_TOOK_PART;
	out->frozen_us = between(t->pre_commit_in, t->post_final_in);
	out->flush_us = between(t->pre_commit_out, t->commit_in);
	out->commit_us = between(t->commit_in, t->commit_out);
	out->release_us = between(t->commit_out, t->post_commit_in);
}

uint64_t set_cost_held_us(const struct set_cost *c)
{
	return c->flush_us + c->commit_us + c->release_us;
}

bool set_cost_slow(const struct set_cost *c)
{
	return set_cost_held_us(c) > UP_HOLD_SLOW_US;
}

static unsigned long long ms(uint64_t us)
{
	return (us + 999) / 1000;
}

void set_cost_text(const struct set_cost *c, const char *label, char *out, size_t cap)
{
	bool took_part = c->writers == UP_WRITERS_TOOK_PART;

	snprintf(out, cap,
		"%s-consistent (writers %s). Applications were frozen for %llu ms; I/O was held for %llu ms: flush %llu, "
		"CommitSnapshots %llu, release %llu.%s%s",
		took_part ? "Application" : "Crash", up_writers_name(c->writers), ms(c->frozen_us),
		ms(set_cost_held_us(c)), ms(c->flush_us), ms(c->commit_us), ms(c->release_us),
		label[0] ? " Label: " : "", label);
}

void set_cost_slow_text(const struct set_cost *c, char *out, size_t cap)
{
	bool commit = c->commit_us >= c->flush_us && c->commit_us >= c->release_us;
	bool flush = !commit && c->flush_us >= c->release_us;

	snprintf(out, cap, "I/O was held for %llu ms; the slowest phase was %s with %llu ms: look at %s.",
		ms(set_cost_held_us(c)),
		commit  ? "CommitSnapshots"
		: flush ? "flush and hold"
			: "the release",
		ms(commit       ? c->commit_us
			: flush ? c->flush_us
				: c->release_us),
		commit  ? "the array and the paths to it"
		: flush ? "what else was written to this host's volumes, and how many volumes the set has"
			: "this host's load");
}
