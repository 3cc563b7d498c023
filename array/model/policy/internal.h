/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of policies: policy.c (their structs and calls), record.c, judge.c (what is kept), schedule.c (when),
 * work.c (does it).
 *
 * policy/ and array/model itself may include it. Nobody outside array/model may.
 *
 * Invariants:
 * - One piece of work at a time, over all policies: a set that is taken, or one that is deleted. Each looks at the
 *   array as it is then.
 * - A set is deleted by set_delete, like the administrator's word: what is locked or in use stays.
 */
#ifndef UMBRA_MODEL_POLICY_INTERNAL_H
#define UMBRA_MODEL_POLICY_INTERNAL_H

#include "array/model/policy/policy.h"
#include "array/model/set/internal.h"

#define POLICY_SPARED_MAX 16u

struct policy {
	struct list_node link; /* by name */
	struct policy_spec spec;
	/* The last turn: its slot (schedule.c), and when it was by both clocks. taken false: there was none. */
	bool taken;
	uint64_t last_slot, last_unix_ms, last_ran_ms;
};

/* What the array has for its policies: array->policies. */
struct policies {
	struct array *array;
	struct list all;
	unsigned count;
	struct reactor_timer timer;
	bool working;
	uint64_t next_prune_ns;
	/* the set that is being taken, for the policy of this name */
	char turn_of[POLICY_NAME_MAX_BYTES + 1];
	struct set_taking taking;
	struct array_call call;
	/* sets that could not be deleted in this round */
	uint8_t spared[POLICY_SPARED_MAX][UP_ID_BYTES];
	unsigned spared_count;
};

void policy_setup(struct policies *ps, struct array *a);
void policy_close_all(struct array *a);

/* ---- record.c --------------------------------------------------------------------------------------- */

int policy_record_put(struct array *a, struct store_txn *t, const struct policy *p);
int policy_record_del(struct array *a, struct store_txn *t, const char *name);
bool policy_record_is(const void *key, size_t key_len); /* of the META table */
/* *out: allocated, the caller's. 0, -EUCLEAN, -ENOTSUP, -ENOMEM. */
int policy_record_get(const void *key, size_t key_len, const void *value, size_t len, struct policy **out);

/* ---- policy.c --------------------------------------------------------------------------------------- */

void policy_link(struct array *a, struct policy *p); /* moved */
/* Its turn is over, whatever came of it: noted, and durably so in the background. */
void policy_took(struct array *a, struct policy *p, uint64_t unix_ms);

/* ---- schedule.c ------------------------------------------------------------------------------------- */

uint64_t policy_slot(const struct policy_spec *spec, uint64_t unix_ms);
bool policy_due(const struct policy *p, uint64_t unix_ms, uint64_t ran_ms);
uint64_t policy_next_unix_ms(const struct policy_spec *spec, uint64_t unix_ms);

/* ---- work.c ----------------------------------------------------------------------------------------- */

void policy_work_fire(struct reactor_timer *t);
void policy_work_soon(struct array *a); /* something has changed: look at once */

#endif
