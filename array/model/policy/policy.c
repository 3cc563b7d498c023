/* SPDX-License-Identifier: Apache-2.0 */
/* Policies: their structs and the calls that make, change and delete them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "array/model/policy/internal.h"

void policy_setup(struct policies *ps, struct array *a)
{
	a->policies = ps;
	ps->array = a;
	list_init(&ps->all);
	ps->timer.fire = policy_work_fire;
}

void policy_close_all(struct array *a)
{
	struct list_node *n;

	reactor_timer_disarm(a->options.reactor, &a->policies->timer);
	while ((n = list_pop(&a->policies->all)))
		free(container_of(n, struct policy, link));
	a->policies->count = 0;
}

/* ---- finding ---------------------------------------------------------------------------------------- */

struct policy *policy_find(struct array *a, const char *name)
{
	list_for_each (n, &a->policies->all) {
		struct policy *p = container_of(n, struct policy, link);

		if (strcmp(p->spec.name, name) == 0)
			return p;
	}
	return NULL;
}

struct policy *policy_next(struct array *a, const struct policy *after)
{
	struct list_node *n = after ? after->link.next : a->policies->all.head.next;

	return n != &a->policies->all.head ? container_of(n, struct policy, link) : NULL;
}

void policy_view_of(const struct policy *p, struct policy_view *out)
{
	out->spec = &p->spec;
	out->last_unix_ms = p->last_unix_ms;
	out->next_unix_ms = policy_next_unix_ms(&p->spec, array_clock_unix_ms());
}

void policy_link(struct array *a, struct policy *p)
{
	struct list_node *at = a->policies->all.head.prev;

	while (at != &a->policies->all.head &&
		strcmp(container_of(at, struct policy, link)->spec.name, p->spec.name) > 0)
		at = at->prev;
	list_insert_after(at, &p->link);
	a->policies->count++;
	policy_work_soon(a);
}

/* ---- what can be ------------------------------------------------------------------------------------ */

static int luns_check(const struct policy_spec *s, struct fault *fault)
{
	if (s->lun_count > POLICY_LUNS_MAX)
		return fault_set(
			fault, -EINVAL, "a policy is for at most %d LUNs: make two of it", POLICY_LUNS_MAX);
	if (s->every_ms && !s->lun_count)
		return fault_set(
			fault, -EINVAL, "a policy that takes copies needs the LUNs that it is for: --luns");
	for (unsigned i = 0; i < s->lun_count; i++)
		for (unsigned j = 0; j < i; j++)
			if (memcmp(s->luns[i], s->luns[j], UP_ID_BYTES) == 0)
				return fault_set(fault, -EINVAL, "a LUN is named twice: name it once");
	return 0;
}

static int times_check(const struct policy_spec *s, struct fault *fault)
{
	if (s->every_ms &&
		(s->every_ms < POLICY_EVERY_MIN_MS || s->every_ms > UINT64_C(3660) * POLICY_DAY_MS))
		return fault_set(fault, -EINVAL,
			"a policy takes copies every 1min to every 3660d: choose a time between");
	if (s->at_min != POLICY_NO_TIME &&
		(s->at_min >= 1440 || s->every_ms == 0 || s->every_ms % POLICY_DAY_MS))
		return fault_set(fault, -EINVAL,
			"a time of day from 00:00 to 23:59 goes with whole days: --every 1d --at 02:00");
	if (s->lock_ms && !s->every_ms)
		return fault_set(
			fault, -EINVAL, "a lock is for what a policy takes: say how often, with --every");
	if (s->lock_ms > UINT64_C(36525) * POLICY_DAY_MS)
		return fault_set(fault, -EINVAL, "a lock lasts at most 100 years: name a shorter time");
	return 0;
}

bool policy_at_parse(const char *text, uint16_t *at_min)
{
	unsigned hour, minute;
	int end = 0;

	*at_min = POLICY_NO_TIME;
	if (!*text)
		return true;
	if (strlen(text) != 5 || strspn(text, "0123456789:") != 5 ||
		sscanf(text, "%2u:%2u%n", &hour, &minute, &end) != 2 || end != 5 || hour >= 24 ||
		minute >= 60)
		return false;
	*at_min = (uint16_t)(hour * 60 + minute);
	return true;
}

int policy_spec_check(const struct policy_spec *s, struct fault *fault)
{
	unsigned rules = 0;
	int err;

	if (!array_name_valid(s->name, fault))
		return -EINVAL;
	if (!s->label[0] || !up_label_valid(s->label))
		return fault_set(fault, -EINVAL,
			"the label is empty, no UTF-8 or has control characters: use up to %d bytes of plain text",
			UP_LABEL_MAX_BYTES);
	for (unsigned i = 0; i < KEEP_PERIODS; i++) {
		if (s->keep.count[i] > KEEP_COUNT_MAX)
			return fault_set(fault, -EINVAL,
				"a rule keeps at most %d copies: choose a smaller number", KEEP_COUNT_MAX);
		rules |= s->keep.count[i];
	}
	if (!rules && !s->every_ms)
		return fault_set(fault, -EINVAL,
			"a policy with neither a time nor a rule does nothing: give --every, --keep or both");
	err = luns_check(s, fault);
	return err ? err : times_check(s, fault);
}

/* ---- the calls -------------------------------------------------------------------------------------- */

struct policy_change {
	struct change c;
	struct policy *p; /* as it is to be; NULL: deleted */
	char name[POLICY_NAME_MAX_BYTES + 1];
	bool replace;
};

static struct policy_change *change_of(struct change *c)
{
	return container_of(c, struct policy_change, c);
}

static int no_policy(struct change *c)
{
	return fault_set(&c->fault, -ENOENT,
		"there is no policy %s: umbractl policy list shows those there are", change_of(c)->name);
}

static int put_check(struct change *c)
{
	struct policy_change *op = change_of(c);
	const struct policy *old = policy_find(c->array, op->name);

	if (!op->p)
		return fault_set(&c->fault, -ENOMEM, FAULT_NO_MEMORY);
	if (op->replace && !old)
		return no_policy(c);
	if (!op->replace && old)
		return fault_set(&c->fault, -EEXIST,
			"there is a policy %s already: umbractl policy set changes it", op->name);
	if (!old && c->array->policies->count >= POLICIES_MAX)
		return fault_set(
			&c->fault, -EMLINK, "the array has its %u policies; delete one", POLICIES_MAX);
	list_for_each (n, &c->array->policies->all) {
		const struct policy *other = container_of(n, struct policy, link);

		if (other != old && strcmp(other->spec.label, op->p->spec.label) == 0)
			return fault_set(&c->fault, -EEXIST,
				"policy %s is for the label %s: two policies would delete each other's copies",
				other->spec.name, other->spec.label);
	}
	if (old && old->spec.every_ms == op->p->spec.every_ms && old->spec.at_min == op->p->spec.at_min) {
		op->p->taken = old->taken;
		op->p->last_slot = old->last_slot;
	}
	if (old) {
		op->p->last_unix_ms = old->last_unix_ms;
		op->p->last_ran_ms = old->last_ran_ms;
	}
	return 0;
}

static int put_build(struct change *c, struct store_txn *t)
{
	int err = array_ran_put(c->array, t);

	return err ? err : policy_record_put(c->array, t, change_of(c)->p);
}

static void old_drop(struct array *a, const char *name)
{
	struct policy *old = policy_find(a, name);

	if (!old)
		return;
	list_remove(&old->link);
	a->policies->count--;
	free(old);
}

static void put_end(struct change *c, int err)
{
	struct policy_change *op = change_of(c);

	if (err)
		return;
	old_drop(c->array, op->name);
	policy_link(c->array, op->p);
	op->p = NULL;
	array_event_tell(c->array, ARRAY_EVENT_INFO, "policy", "policy %s %s", op->name,
		op->replace ? "changed" : "made");
}

static void policy_clear(struct change *c)
{
	free(change_of(c)->p);
}

void policy_put(struct array *a, const struct policy_spec *spec, bool replace, struct array_call *call)
{
	static const struct change_ops ops = {
		.check = put_check, .build = put_build, .end = put_end, .clear = policy_clear};
	struct policy_change *op;
	struct fault fault;
	int err = policy_spec_check(spec, &fault);

	if (err) {
		array_call_end(call, err, &fault);
		return;
	}
	op = change_new(a, sizeof(*op), &ops, call);
	if (!op)
		return;
	op->replace = replace;
	memcpy(op->name, spec->name, sizeof(op->name));
	op->p = calloc(1, sizeof(*op->p));
	if (op->p)
		op->p->spec = *spec;
	change_submit(&op->c);
}

static int delete_check(struct change *c)
{
	return policy_find(c->array, change_of(c)->name) ? 0 : no_policy(c);
}

static int delete_build(struct change *c, struct store_txn *t)
{
	return policy_record_del(c->array, t, change_of(c)->name);
}

static void delete_end(struct change *c, int err)
{
	if (err)
		return;
	old_drop(c->array, change_of(c)->name);
	array_event_tell(c->array, ARRAY_EVENT_INFO, "policy", "policy %s deleted; its copy sets stay",
		change_of(c)->name);
}

void policy_delete(struct array *a, const char *name, struct array_call *call)
{
	static const struct change_ops ops = {
		.check = delete_check, .build = delete_build, .end = delete_end};
	struct policy_change *op;

	if (strlen(name) > POLICY_NAME_MAX_BYTES) {
		array_call_refuse(call, -ENOENT, "there is no policy %.80s", name);
		return;
	}
	op = change_new(a, sizeof(*op), &ops, call);
	if (!op)
		return;
	memcpy(op->name, name, strlen(name));
	change_submit(&op->c);
}

/* ---- what it did last ------------------------------------------------------------------------------- */

static int took_check(struct change *c)
{
	return policy_find(c->array, change_of(c)->name) ? 0 : 1;
}

static int took_build(struct change *c, struct store_txn *t)
{
	int err = array_ran_put(c->array, t);

	return err ? err : policy_record_put(c->array, t, policy_find(c->array, change_of(c)->name));
}

static void took_end(struct change *c, int err)
{
	(void)c;
	(void)err; /* after a restart its turn may come once more */
}

void policy_took(struct array *a, struct policy *p, uint64_t unix_ms)
{
	static const struct change_ops ops = {.check = took_check, .build = took_build, .end = took_end};
	struct policy_change *op;

	p->taken = true;
	p->last_unix_ms = unix_ms;
	p->last_ran_ms = array_ran_ms(a);
	p->last_slot = p->spec.every_ms ? policy_slot(&p->spec, unix_ms) : 0;
	op = change_new(a, sizeof(*op), &ops, NULL);
	if (!op)
		return;
	memcpy(op->name, p->spec.name, sizeof(op->name));
	change_submit(&op->c);
}
