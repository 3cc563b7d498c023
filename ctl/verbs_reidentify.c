/* SPDX-License-Identifier: Apache-2.0 */
/*
 * umbractl pool reidentify, rbd reidentify: new ids for an array whose machine, disks or Ceph pool were copied. Two arrays with the same ids on one network
 * are one array to a host with multipath, which then reads and writes now here, now there.
 */
#include <stdio.h>
#include <string.h>
#include "array/model/array.h"
#include "array/reactor/reactor.h"
#include "array/store/module.h"
#include "array/store/pool/public.h"
#include "array/store/store.h"
#include "ctl/ctl.h"
#include "proto/identity.h"

#define NO_RING "The system refuses what umbrad runs on, io_uring (%s): run this where umbrad runs, as root."
#define LOST    "Its hosts will find other LUNs than those they know, and its shadow copies are unknown to them."

#define KEPT                                                                                                 \
	"Where it was copied from there must be no umbrad any more, ever: to hosts, the two would be one array."

struct reidentify {
	struct array_reidentify request;
	struct reactor *reactor;
	bool look;  /* --dry-run */
	bool keep;  /* --keep-ids: only where the array is changes */
	bool fresh; /* there is no id yet */
	json_t *rows;
};

static void add_row(void *arg, enum array_identified what, const char *name, const uint8_t old[UP_ID_BYTES],
	const uint8_t fresh[UP_ID_BYTES])
{
	static const char *const kinds[ARRAY_IDENTIFIED_COUNT] = {
		"array", "lun", "shadow", "recycled", "set"};
	struct reidentify *r = arg;
	char was[UP_SERIAL_BYTES + 1], is[UP_SERIAL_BYTES + 1] = "-"; /* a look's own are thrown away */

	up_id_format(old, was);
	if (!r->look)
		up_id_format(fresh, is);
	json_array_append_new(r->rows, json_pack("{s:s, s:o, s:s, s:s}", "kind", kinds[what], "name",
					       json_text(name), "old_id", was, "new_id", is));
}

/* *txn: the change, or NULL where there is nothing to be kept. */
static int prepare(struct reidentify *r, struct store *store, struct store_txn **txn, struct fault *fault)
{
	int err;

	r->request.store = store;
	r->request.reactor = r->reactor;
	r->request.each = add_row;
	r->request.arg = r;
	err = array_reidentify(&r->request, txn, fault);
	r->fresh = !err && !*txn;
	return err;
}

static int print(const struct invocation *in, struct reidentify *r, const char *where, const char *then)
{
	static const struct column columns[] = {{"KIND", text_of, "kind"}, {"NAME", text_of, "name"},
		{"OLD ID", text_of, "old_id"}, {"NEW ID", text_of, "new_id"}, {NULL, NULL, NULL}};
	const struct array_reidentify *q = &r->request;

	if (!in->json && !r->fresh)
		print_rows(columns, r->rows);
	json_t *result = json_pack("{s:o, s:b, s:O, s:i, s:i}", "path", json_text(where), "changed",
		!r->look && !r->fresh, "ids", r->rows, "mappings", (int)q->mappings, "reservations",
		(int)q->reservations);
	if (r->fresh)
		return print_result(in, result,
			"The array in %s has no id yet: it gets one with its first change. Nothing was done.\n",
			where);
	if (r->look)
		return print_result(in, result,
			"%u mappings would follow, persistent reservations of %u LUNs would go. Nothing has changed.\n",
			q->mappings, q->reservations);
	return print_result(in, result,
		"%u mappings followed, persistent reservations of %u LUNs are gone.\n"
		"Give it a target_name and portals of its own in umbrad.conf before umbrad starts%s. docs/operations.md tells what hosts "
		"must do.\n",
		q->mappings, q->reservations, then);
}

/* ---- a pool ----------------------------------------------------------------------------------------- */

static int edit(void *arg, struct store *store, struct fault *fault)
{
	struct reidentify *r = arg;
	struct store_txn *txn;
	int err = prepare(r, store, &txn, fault);

	if (txn)
		store->ops->txn_drop(txn); /* what it put is kept with all of the edit, or not */
	return err < 0 ? err : r->look || r->fresh;
}

int verb_pool_reidentify(struct invocation *in)
{
	struct reactor_options reactor = {.ring_entries = 8, .workers = 1};
	struct reidentify r = {.look = ctl_flag(in, "dry-run")};
	struct pool_options options = {.path = in->operands[0],
		.data_device = ctl_option(in, "data-device", 0),
		.read_only = r.look};
	struct fault fault = {0};
	int code = ctl_confirm(in, LOST, "the pool's directory", options.path);

	if (code)
		return code;
	int err = reactor_create(&r.reactor, &reactor);
	if (err)
		return ctl_fail(in, err, NO_RING, strerror(-err));
	r.rows = json_array();
	err = pool_edit(&options, edit, &r, &fault);
	reactor_destroy(r.reactor);
	code = err ? ctl_fail_fault(in, err, &fault)
		   : print(in, &r, options.path,
			     ", and make a new backup (pool backup): one from before has the old ids");
	json_decref(r.rows);
	return code;
}

/* ---- an array in Ceph ------------------------------------------------------------------------------- */

static void ended(void *arg, int err)
{
	*(int *)arg = err ? err : 1;
}

static int wait_for(struct reidentify *r, const int *end)
{
	int err = 0;

	while (!*end && err >= 0)
		err = reactor_turn(r->reactor, -1);
	return err < 0 ? err : *end < 0 ? *end : 0;
}

/* Also where no id is to change, for with that the array is of this cluster and pool. */
static int prepare_in_ceph(
	struct reidentify *r, struct store *store, struct store_txn **txn, struct fault *fault)
{
	int err = 0;

	*txn = NULL;
	if (!r->keep)
		err = prepare(r, store, txn, fault);
	if (!err && !*txn)
		*txn = store->ops->txn_begin(store);
	return err ? err : *txn ? 0 : fault_errno(fault, -ENOMEM);
}

static int in_ceph(struct reidentify *r, struct store *store, struct fault *fault)
{
	struct store_txn *txn;
	int err = prepare_in_ceph(r, store, &txn, fault), end = 0;

	if (txn && r->look) {
		store->ops->txn_drop(txn);
	} else if (txn) {
		store->ops->txn_commit(txn, ended, &end);
		err = wait_for(r, &end);
		if (err)
			fault_set(fault, err,
				"the array's catalogue in Ceph could not be written (%s): look at the cluster (ceph -s), and run this again: all was changed, or nothing",
				strerror(-err));
	}
	end = 0;
	store->ops->close(store, ended, &end);
	wait_for(r, &end);
	return err;
}

int verb_rbd_reidentify(struct invocation *in)
{
	struct reactor_options reactor = {.workers = 1};
	struct reidentify r = {.look = ctl_flag(in, "dry-run"), .keep = ctl_flag(in, "keep-ids")};
	struct store_module_options options;
	struct fault fault = {0};
	struct store *store;
	int code = ctl_rbd_options(in, &options), err;

	if (!code && r.keep && r.look)
		code = ctl_usage(in, "--keep-ids changes no id: there is nothing for --dry-run to show");
	if (!code)
		code = ctl_confirm(in, r.keep ? KEPT : LOST, "the array's name in Ceph", options.array);
	if (code)
		return code;
	const struct store_module *rbd = store_module_load("rbd", &fault);
	if (!rbd)
		return ctl_fail_fault(in, fault.err, &fault);
	err = reactor_create(&r.reactor, &reactor);
	if (err)
		return ctl_fail(in, err, NO_RING, strerror(-err));
	options.moved = true;
	r.rows = json_array();
	err = rbd->open(&options, r.reactor, &store, &fault);
	if (!err)
		err = in_ceph(&r, store, &fault);
	reactor_destroy(r.reactor);
	code = err ? ctl_fail_fault(in, err, &fault)
	       : r.keep
		       ? print_result(in, json_pack("{s:o}", "array", json_text(options.array)),
				 "The array %s is of this cluster and pool now, and has the ids that it had.\n",
				 options.array)
		       : print(in, &r, options.array, "");
	json_decref(r.rows);
	return code;
}
