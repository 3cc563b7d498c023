/* SPDX-License-Identifier: Apache-2.0 */
/*
 * umbractl's inside, from the lowest file to the highest. One table (verbs.c) has every command with its operands,
 * options and texts; parsing, --help and the manual page all come from it, so they cannot disagree.
 *
 * A command's function returns the exit code: CTL_OK, CTL_FAILED (it has said why) or CTL_USAGE.
 */
#ifndef UMBRA_CTL_H
#define UMBRA_CTL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "array/util/json_text.h"

enum {
	CTL_OK = 0,
	CTL_FAILED = 1,
	CTL_USAGE = 2
};

#define CTL_OPERANDS_MAX 80
#define CTL_OPTIONS_MAX  40

struct option_row {
	const char *name;     /* without the dashes; NULL ends the list */
	const char *argument; /* NULL: a flag */
	const char *text;
};

struct invocation;

struct verb {
	const char *noun;
	const char *name;     /* NULL: the noun is the whole command */
	const char *operands; /* as the usage shows them */
	int operands_min, operands_max;
	const struct option_row *options; /* NULL: none */
	const char *text;                 /* a sentence or several */
	int (*run)(struct invocation *in);
};

struct given_option {
	const struct option_row *row;
	const char *value; /* NULL for a flag */
};

struct invocation {
	const struct verb *verb;
	const char *socket_path;
	bool json;
	int operand_count;
	const char *operands[CTL_OPERANDS_MAX];
	int option_count;
	struct given_option options[CTL_OPTIONS_MAX];
};

extern const struct verb ctl_verbs[]; /* ended by noun NULL */

/* ---- output.c: tables and values for people, JSON for programs ---------------------------------------------- */

struct table;
/* headings: ended by NULL; one that begins with '>' is right-aligned. */
struct table *table_new(const char *const *headings);
void table_cell(struct table *t, const char *text); /* row by row */
void table_print(struct table *t);                  /* and frees it */

/* Members of an object as text; never NULL. Valid until the next call but seven. */
const char *text_of(const json_t *object, const char *member);
const char *size_of(const json_t *object, const char *member);
const char *count_of(const json_t *object, const char *member);
/* What status answers: another controller owns the array, and only it knows copy sets, policies, jobs, the recycle bin and the pool. */
bool ctl_stands_by(const json_t *status);
const char *percent_of(const json_t *object, const char *member); /* "-": not there */
const char *yes_of(const json_t *object, const char *member);
const char *time_of(const json_t *object, const char *member); /* local time of a *_unix_ms, "-" for null */
const char *nanoseconds_of(const json_t *object, const char *member);
const char *duration_of(const json_t *object, const char *member); /* "13 d 4 h" of a *_ms, "-" for 0 */

/* A table of objects: a heading as table_new has it, and what of an object stands below. */
struct column {
	const char *heading; /* NULL ends the columns */
	const char *(*text)(const json_t *object, const char *member);
	const char *member;
};
void print_rows(const struct column *columns, const json_t *rows);

/* Prints the JSON and frees it. NULL: CTL_FAILED, else CTL_OK. */
int print_json(json_t *value);
/* Says what the daemon warns of in its result, if it does. What else it has to say ("note") print_result prints
 * behind its own line. */
void print_warning(const json_t *result);
/* The warning; then with --json the JSON; else the format, as printf. Frees value. NULL value: CTL_FAILED. */
int print_result(const struct invocation *in, json_t *value, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* ---- options.c -------------------------------------------------------------------------------------- */

/* The n-th value of an option (0: the first), NULL: not given. A flag's value is "". */
const char *ctl_option(const struct invocation *in, const char *name, int n);
bool ctl_flag(const struct invocation *in, const char *name);
const char *ctl_command_name(const struct verb *v); /* valid until the next call */
/* Prints the text with "umbractl: " before and where to read on, returns CTL_USAGE. */
int ctl_usage(const struct invocation *in, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Prints reason and remedy (as JSON too, when asked), returns CTL_FAILED. */
int ctl_fail(const struct invocation *in, int err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* What cannot be taken back: typed at a terminal, or said beforehand (--yes, --dry-run). CTL_OK, or the exit code. warning: what it does;
 * what: whose name is to be typed. */
int ctl_confirm(const struct invocation *in, const char *warning, const char *what, const char *name);
/* The same of a fault; one without a text gets the words for err. */
struct fault;
int ctl_fail_fault(const struct invocation *in, int err, struct fault *fault);
/* These return false when the value is wrong (or required and not there), and have said so: the exit code is
 * CTL_USAGE. An option that was not given leaves *bytes or *number as it is. */
bool ctl_size(const struct invocation *in, const char *name, bool required, uint64_t *bytes);
bool ctl_number(
	const struct invocation *in, const char *name, json_int_t min, json_int_t max, json_int_t *number);
/* How long from now: 12h, 14d. More than 0. */
bool ctl_duration(const struct invocation *in, const char *name, json_int_t *ms);
/* A date, with a time or without, local or (Z) in UTC. */
bool ctl_date(const struct invocation *in, const char *name, json_int_t *unix_ms);
bool ctl_operand_number(
	const struct invocation *in, int operand, json_int_t min, json_int_t max, json_int_t *number);

/* ---- client.c: the daemon --------------------------------------------------------------------------- */

struct client;
struct client *client_open(const struct invocation *in); /* NULL: said why */
/* The same without a word. */
struct client *client_try(const struct invocation *in);
void client_close(struct client *c);
/* params: moved, may be NULL. The result (owned by the caller) or NULL: said why. */
json_t *client_call(struct client *c, const char *method, json_t *params);
/* The params of the next notification (owned by the caller), NULL: the daemon has gone. */
json_t *client_next_event(struct client *c);
/* Opens, calls, closes. */
json_t *ctl_call(const struct invocation *in, const char *method, json_t *params);
/* The same for what the first operand names: it is the parameter `as`. */
json_t *ctl_call_named(const struct invocation *in, const char *method, const char *as);

/* ---- verbs_host.c ----------------------------------------------------------------------------------- */

/* The first line of a file as the parameter `member`. option: who named the file. Returns the exit code. */
int ctl_secret(const struct invocation *in, const char *option, const char *member, const char *path,
	json_t *params);

/* ---- verbs_rbd.c ------------------------------------------------------------------------------------ */

/* Which array in Ceph the operand and the options name. Returns the exit code. */
struct store_module_options;
int ctl_rbd_options(const struct invocation *in, struct store_module_options *out);

/* ---- list.c ------------------------------------------------------------------------------------------- */

/* All pages of a list: an array (owned), NULL: said why. flag: NULL, or a parameter to set to true. */
json_t *ctl_list(const struct invocation *in, const char *method, const char *member, const char *flag);
/* base: what each page is asked with besides its offset; moved. */
json_t *ctl_list_of(const struct invocation *in, const char *method, const char *member, json_t *base);
/* The same of what the first operand names: it is the parameter `as`. */
json_t *ctl_list_named(const struct invocation *in, const char *method, const char *member, const char *as);
/* Fetches a whole list and prints it, as a table or as JSON ({as: […]}). Returns the exit code. */
int print_list(const struct invocation *in, const char *method, const char *member, const char *as,
	const char *flag, const struct column *columns);

/* ---- help.c: from the table ---------------------------------------------------------------------------- */

void ctl_print_help(const struct verb *v);
void ctl_print_overview(void);
void ctl_print_manual(void);

/* ---- the commands ----------------------------------------------------------------------------------- */

int verb_pool_create(struct invocation *in);
int verb_pool_check(struct invocation *in);
int verb_pool_dump(struct invocation *in);
int verb_pool_status(struct invocation *in);
int verb_pool_scrub(struct invocation *in);
int verb_pool_checksums(struct invocation *in);
int verb_pool_upgrade(struct invocation *in);
int verb_pool_reidentify(struct invocation *in);
int verb_pool_grow(struct invocation *in);
int verb_pool_backup(struct invocation *in);
int verb_pool_restore(struct invocation *in);
int verb_rbd_create(struct invocation *in);
int verb_rbd_destroy(struct invocation *in);
int verb_rbd_reidentify(struct invocation *in);
int verb_controller_list(struct invocation *in);
int verb_controller_move(struct invocation *in);
int verb_lun_create(struct invocation *in);
int verb_lun_list(struct invocation *in);
int verb_lun_show(struct invocation *in);
int verb_lun_resize(struct invocation *in);
int verb_lun_rename(struct invocation *in);
int verb_lun_delete(struct invocation *in);
int verb_lun_import(struct invocation *in);
int verb_lun_export(struct invocation *in);
int verb_map(struct invocation *in);
int verb_map_list(struct invocation *in);
int verb_unmap(struct invocation *in);
int verb_shadow_list(struct invocation *in);
int verb_shadow_map(struct invocation *in);
int verb_shadow_unmap(struct invocation *in);
int verb_shadow_delete(struct invocation *in);
int verb_shadow_break(struct invocation *in);
int verb_shadow_recycled(struct invocation *in);
int verb_shadow_undelete(struct invocation *in);
int verb_shadow_purge(struct invocation *in);
int verb_shadow_export(struct invocation *in);
int verb_shadow_resync(struct invocation *in);
int verb_resync_list(struct invocation *in);
int verb_resync_cancel(struct invocation *in);
int verb_host_add(struct invocation *in);
int verb_host_set(struct invocation *in);
int verb_host_list(struct invocation *in);
int verb_host_show(struct invocation *in);
int verb_host_delete(struct invocation *in);
int verb_set_create(struct invocation *in);
int verb_set_list(struct invocation *in);
int verb_set_show(struct invocation *in);
int verb_set_delete(struct invocation *in);
int verb_set_abort(struct invocation *in);
int verb_set_lock(struct invocation *in);
int verb_policy_create(struct invocation *in);
int verb_policy_set(struct invocation *in);
int verb_policy_list(struct invocation *in);
int verb_policy_show(struct invocation *in);
int verb_policy_preview(struct invocation *in);
int verb_policy_delete(struct invocation *in);
int verb_apply(struct invocation *in);
int verb_config_export(struct invocation *in);
int verb_setup(struct invocation *in);
int verb_support(struct invocation *in);
int verb_status(struct invocation *in);
int verb_session_list(struct invocation *in);
int verb_session_logout(struct invocation *in);
int verb_events(struct invocation *in);
int verb_top(struct invocation *in);
int verb_metrics(struct invocation *in);

#endif
