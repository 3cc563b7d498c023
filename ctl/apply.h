/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One file that describes an array: apply.c reads it and holds the plan, apply_check.c says what is wrong with it, apply_plan.c
 * compares it with the array, verbs_apply.c carries it out, and writes such a file.
 */
#ifndef UMBRA_CTL_APPLY_H
#define UMBRA_CTL_APPLY_H

#include "ctl/ctl.h"

struct plan {
	const struct invocation *in;
	const char *path;
	bool prune, failed;
	json_t *file;                           /* what is wanted */
	json_t *luns, *hosts, *maps, *policies; /* what is there */
	json_t *iqns, *mapped;                  /* of the file, as far as it was looked at */
	json_t *steps,
		*ends; /* what makes or changes something; what takes something away, in the order of its doing */
};

/* Says what is wrong with the file, once; false. */
bool plan_wrong(struct plan *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
void plan_add(struct plan *p, char sign, const char *method, json_t *params, json_t *values,
	const char *format, ...) __attribute__((format(printf, 6, 7)));
bool plan_read(struct plan *p);
json_t *plan_find(json_t *list, const char *member, const char *value);
bool plan_unpack(struct plan *p, const char *kind, size_t at, json_t *entry, const char *format, ...);
bool plan_bytes(struct plan *p, const char *what, const json_t *value, uint64_t *bytes);
bool plan_ms(struct plan *p, const char *what, const char *text, json_int_t *ms);
bool plan_secret(struct plan *p, json_t *params, const char *member, const char *file);

/* apply_check.c: false: it has been said why. */
bool check_lun(struct plan *p, size_t at, const char *name, uint64_t size_bytes);
bool check_host(struct plan *p, size_t at, const json_t *entry, const char *name);
bool check_map(struct plan *p, size_t at, const char *lun, const char *host, const json_t *number);
bool check_policy(struct plan *p, size_t at, const char *name, const json_t *words);

/* apply_plan.c: false: it has been said why. */
bool plan_make(struct plan *p);

#endif
