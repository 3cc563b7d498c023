/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Policies: the array takes copies by a schedule, and deletes those that no rule keeps.
 *
 * policy/ and array/model itself may include it. Everybody else includes array/model/array.h.
 */
#ifndef UMBRA_MODEL_POLICY_H
#define UMBRA_MODEL_POLICY_H

#include "array/model/set/set.h"
#include "proto/keep_rules.h"

#define POLICY_NAME_MAX_BYTES 40 /* the name of a set that it takes is its name and a time */
#define POLICY_LUNS_MAX       64
#define POLICIES_MAX          1024u
#define POLICY_EVERY_MIN_MS   60000u
#define POLICY_DAY_MS         86400000u
#define POLICY_NO_TIME        UINT16_MAX

struct policy_spec {
	char name[POLICY_NAME_MAX_BYTES + 1];
	char label[UP_LABEL_MAX_BYTES + 1]; /* of the sets that it takes, and of those that it deletes */
	bool hosts;                         /* it deletes sets that hosts have taken under this label, too */
	uint64_t every_ms;                  /* 0: it takes none, and only deletes */
	/* Minutes after midnight, local time: every_ms is whole days then. POLICY_NO_TIME: the times are whole
	 * multiples of every_ms, in UTC. */
	uint16_t at_min;
	struct keep_rules keep; /* all 0: it deletes nothing */
	uint64_t lock_ms;       /* what it takes is locked for so long; 0: not */
	unsigned lun_count;
	uint8_t luns[POLICY_LUNS_MAX][UP_ID_BYTES];
};

struct policy;

struct policy_view {
	const struct policy_spec *spec;      /* borrowed */
	uint64_t last_unix_ms, next_unix_ms; /* when it last took a set, or tried; when it will. 0: never */
};

/* Can there be such a policy, whatever the array? 0 or -EINVAL. */
int policy_spec_check(const struct policy_spec *spec, struct fault *fault);
/* "02:30"; "": at no time of the day. False: it is something else. */
bool policy_at_parse(const char *text, uint16_t *at_min);
/* -EINVAL: a spec that cannot be; -EEXIST: the name, or another policy with this label; -EMLINK. With `replace` it is
 * there already and changes: -ENOENT. A new one with every_ms takes its first set at once. */
void policy_put(struct array *a, const struct policy_spec *spec, bool replace, struct array_call *call);
/* The policy only: the sets stay. -ENOENT. */
void policy_delete(struct array *a, const char *name, struct array_call *call);
struct policy *policy_find(struct array *a, const char *name);
struct policy *policy_next(struct array *a, const struct policy *after); /* NULL: the first; by name */
void policy_view_of(const struct policy *p, struct policy_view *out);

/* What a policy says of a set under its label. */
enum policy_word {
	POLICY_KEEPS,   /* `by` says which rules; 0: it has none */
	POLICY_LOCKED,  /* no rule keeps it, but it is locked */
	POLICY_IN_USE,  /* no rule keeps it, but a host sees one of its copies, or one is just being copied */
	POLICY_DELETES, /* within a minute */
};

struct policy_verdict {
	struct set *set;
	enum policy_word word;
	unsigned by; /* a bit, 1u << KEEP_…, for each rule */
};

/* The verdicts on all its sets, the newest first: *out is the caller's to free. 0 or -ENOMEM. */
int policy_judge(struct array *a, const struct policy_spec *spec, struct policy_verdict **out, size_t *count);

#endif
