/* SPDX-License-Identifier: Apache-2.0 */
/* The methods of the management socket, each a row of a table in methods_*.c, and what they share (methods.c). */
#ifndef UMBRA_CONTROL_METHODS_H
#define UMBRA_CONTROL_METHODS_H

#include "array/control/rpc.h"

/* Entries in one list reply: I/O waits while it is made, some 10 us each. */
#define MGMT_PAGE_MAX 200

/* Who answers while another controller owns the array. One that stands by has read hosts, LUNs and mappings, and knows its own
 * sessions, events and counters: that there is no copy set, say, or that the pool is empty, would not be true. */
enum mgmt_where {
	MGMT_OWNER = 1, /* the owner alone: all that changes the array, too */
	MGMT_ANYWHERE
};

struct mgmt_method {
	const char *name;
	void (*run)(struct mgmt_call *c);
	enum mgmt_where where;
};
/* Each ended by a row without a name. */
extern const struct mgmt_method mgmt_lun_methods[], mgmt_host_methods[], mgmt_set_methods[],
	mgmt_policy_methods[], mgmt_resync_methods[], mgmt_recycle_methods[], mgmt_load_methods[],
	mgmt_controller_methods[], mgmt_status_methods[];
/* All of them, and how many. */
extern const struct mgmt_method *const mgmt_tables[];
extern const size_t mgmt_table_count;

/* The params, all of them, by jansson's unpack format (strict: unknown members are refused). False: the
 * call has been ended. */
bool mgmt_unpack(struct mgmt_call *c, const char *format, ...);

/* A page of a list that is walked from its beginning: as many entries as "limit" says, from "offset" on. */
struct mgmt_page {
	size_t offset, limit;
	size_t next; /* as many were passed */
	bool more;   /* and there is another one: the walk may end */
	json_t *entries;
};
/* False: ended. _of: the two are unpacked already. */
bool mgmt_page(struct mgmt_call *c, struct mgmt_page *p);
bool mgmt_page_of(struct mgmt_call *c, struct mgmt_page *p, json_int_t from, json_int_t count);
/* Of the next entry: whether it belongs to the page, and is to be appended. */
bool mgmt_page_takes(struct mgmt_page *p);
/* {"NAME": entries, "next": the next offset or null}; the entries are moved. */
json_t *mgmt_page_result(struct mgmt_page *p, const char *name);
/* For a list that is not walked: what is asked for, and the result. */
bool mgmt_range_of(
	struct mgmt_call *c, json_int_t from, json_int_t count, size_t most, size_t *offset, size_t *limit);
json_t *mgmt_range_result(const char *name, json_t *entries, size_t next, bool more);

/* By name or id; NULL: the call has been ended with -ENOENT. */
struct lun *mgmt_find_lun(struct mgmt_call *c, const char *name);
struct lun *mgmt_find_shadow(struct mgmt_call *c, const char *name);
struct host *mgmt_find_host(struct mgmt_call *c, const char *name);
struct set *mgmt_find_set(struct mgmt_call *c, const char *name);

/* 32 hex digits. */
json_t *mgmt_id(const uint8_t id[UP_ID_BYTES]);
/* A time as milliseconds, or null for 0. */
json_t *mgmt_time(uint64_t unix_ms);
/* A number that only the owner of the array knows: null for a controller that stands by. */
json_t *mgmt_owners(const struct array *a, json_int_t number);
json_t *mgmt_lun_json(struct lun *lun, bool detail);
/* For the `done` of a call's array_call: ends the call with the LUN, or with the fault. */
void mgmt_lun_done(struct array_call *call);
/* This one of two controllers; null: there is no other one. */
json_t *mgmt_controller_json(struct mgmt_call *c);
json_t *mgmt_event_json(const struct array_event *e);

#endif
