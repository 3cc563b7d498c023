/* SPDX-License-Identifier: Apache-2.0 */
/* What policies do: sets are taken when their time has come, and deleted when no rule keeps them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include "array/model/policy/internal.h"

#define LOOK_MS    5000u
#define PRUNE_NS   (UINT64_C(60) * 1000000000)
#define NAME_TRIES 100u

static void work_arm(struct array *a, uint32_t ms)
{
	struct policies *ps = a->policies;

	reactor_timer_disarm(a->options.reactor, &ps->timer);
	if (ps->count > 0 && !ps->working)
		reactor_timer_arm(a->options.reactor, &ps->timer, ms);
}

void policy_work_soon(struct array *a)
{
	a->policies->next_prune_ns = 0;
	work_arm(a, 0);
}

/* ---- taking ----------------------------------------------------------------------------------------- */

static void turn_done(struct array_call *call)
{
	struct policies *ps = container_of(call, struct policies, call);
	struct array *a = ps->array;
	struct policy *p = policy_find(a, ps->turn_of);
	const struct set *s = set_find(a, ps->taking.set_id, "");
	char label[ARRAY_NAME_MAX_BYTES + 1];

	ps->working = false;
	if (call->fault.err)
		array_event_tell(a, ARRAY_EVENT_ERROR, "policy", "policy %s took no copies: %s", ps->turn_of,
			call->fault.text);
	else if (s)
		array_event_tell(a, ARRAY_EVENT_INFO, "policy", "policy %s took copy set %s of %u LUN(s)",
			ps->turn_of, set_label(s, label), s->member_count);
	if (p)
		policy_took(a, p, array_clock_unix_ms());
	policy_work_soon(a);
}

/* NAME-20261130T001500, in UTC; after a clock that was set back with a number behind it. */
static void name_set(struct array *a, const struct policy *p, char out[ARRAY_NAME_MAX_BYTES + 1])
{
	time_t seconds = (time_t)(array_clock_unix_ms() / 1000);
	char text[20] = "";
	struct tm utc;

	if (gmtime_r(&seconds, &utc))
		strftime(text, sizeof(text), "%Y%m%dT%H%M%S", &utc);
	snprintf(out, ARRAY_NAME_MAX_BYTES + 1, "%s-%s", p->spec.name, text);
	for (unsigned i = 2; set_find_name(a, out) && i < NAME_TRIES; i++)
		snprintf(out, ARRAY_NAME_MAX_BYTES + 1, "%s-%s-%u", p->spec.name, text, i);
}

/* A set without one of its LUNs would not be what the administrator relies on. */
static int luns_find(struct array *a, const struct policy_spec *spec, struct lun **luns, struct fault *fault)
{
	for (unsigned i = 0; i < spec->lun_count; i++) {
		luns[i] = lun_find(a, spec->luns[i]);
		if (!luns[i])
			return fault_set(fault, -ENOENT,
				"one of its LUNs was deleted: umbractl policy set %s --luns names those that it is for",
				spec->name);
	}
	return 0;
}

static void turn_begin(struct array *a, const struct policy *p)
{
	struct policies *ps = a->policies;
	struct lun *luns[POLICY_LUNS_MAX];
	char name[ARRAY_NAME_MAX_BYTES + 1];
	struct set_order order = {.name = name,
		.label = p->spec.label,
		.luns = luns,
		.lun_count = p->spec.lun_count,
		.kind = UP_COPY_DEFAULT,
		.keep = true,
		.lock_ms = p->spec.lock_ms};
	struct fault fault;

	ps->working = true;
	memcpy(ps->turn_of, p->spec.name, sizeof(ps->turn_of));
	memset(&ps->call, 0, sizeof(ps->call));
	ps->call.done = turn_done;
	name_set(a, p, name);
	int err = luns_find(a, &p->spec, luns, &fault);
	if (!err && getrandom(ps->taking.set_id, UP_ID_BYTES, 0) != UP_ID_BYTES)
		err = fault_set(&fault, -EAGAIN, FAULT_NO_RANDOM);
	if (err)
		array_call_end(&ps->call, err, &fault);
	else
		set_take(a, &ps->taking, &order, &ps->call);
}

/* ---- deleting --------------------------------------------------------------------------------------- */

static void prune_done(struct array_call *call)
{
	struct policies *ps = container_of(call, struct policies, call);

	ps->working = false;
	if (call->fault.err) {
		array_event_tell(ps->array, ARRAY_EVENT_WARNING, "policy",
			"policy %s could not delete a copy set, and tries again: %s", ps->turn_of,
			call->fault.text);
		memcpy(ps->spared[ps->spared_count++], ps->taking.set_id, UP_ID_BYTES);
	}
	work_arm(ps->array, 0);
}

static bool is_spared(const struct policies *ps, const struct set *s)
{
	for (unsigned i = 0; i < ps->spared_count; i++)
		if (memcmp(ps->spared[i], s->id, UP_ID_BYTES) == 0)
			return true;
	return false;
}

/* The oldest one that the policy lets go; NULL: there is none. */
static struct set *find_old(struct array *a, const struct policy *p)
{
	struct policy_verdict *verdicts;
	struct set *found = NULL;
	size_t count;

	if (policy_judge(a, &p->spec, &verdicts, &count))
		return NULL; /* no memory: the next round */
	while (!found && count-- > 0)
		if (verdicts[count].word == POLICY_DELETES && !is_spared(a->policies, verdicts[count].set))
			found = verdicts[count].set;
	free(verdicts);
	return found;
}

/* False: there is nothing to delete. */
static bool prune_begin(struct array *a, const struct policy *p)
{
	struct policies *ps = a->policies;
	struct set *s = ps->spared_count < POLICY_SPARED_MAX ? find_old(a, p) : NULL;
	char label[ARRAY_NAME_MAX_BYTES + 1];

	if (!s)
		return false;
	array_event_tell(a, ARRAY_EVENT_INFO, "policy",
		"policy %s deletes copy set %s: none of its rules keeps it", p->spec.name,
		set_label(s, label));
	ps->working = true;
	memcpy(ps->turn_of, p->spec.name, sizeof(ps->turn_of));
	memcpy(ps->taking.set_id, s->id, UP_ID_BYTES);
	memset(&ps->call, 0, sizeof(ps->call));
	ps->call.done = prune_done;
	set_delete(a, ps->taking.set_id, &ps->call);
	return true;
}

/* ---- one piece of work after the other --------------------------------------------------------------- */

void policy_work_fire(struct reactor_timer *t)
{
	struct policies *ps = container_of(t, struct policies, timer);
	struct array *a = ps->array;
	uint64_t unix_ms = array_clock_unix_ms(), ran_ms = array_ran_ms(a),
		 now = reactor_now_ns(a->options.reactor);

	list_for_each (n, &ps->all) {
		const struct policy *p = container_of(n, struct policy, link);

		if (policy_due(p, unix_ms, ran_ms)) {
			turn_begin(a, p);
			return;
		}
	}
	if (now >= ps->next_prune_ns) {
		list_for_each (n, &ps->all)
			if (prune_begin(a, container_of(n, struct policy, link)))
				return;
		ps->spared_count = 0;
		ps->next_prune_ns = now + PRUNE_NS;
	}
	work_arm(a, LOOK_MS);
}
