/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The array's model: LUNs, hosts, mappings, copy sets and policies, over one store (later several). The SCSI layer and
 * the control layer both use it and never each other. This is the one header for everybody outside
 * array/model.
 *
 * Rules:
 * - Reactor thread only. Nothing blocks, except array_open.
 * - What changes the catalogue is durable before its call is done.
 * - Pointers to LUNs, hosts and sets are borrowed and valid until the current callback returns, unless held
 *   by lun_hold(). A LUN that was deleted stays a valid pointer for who holds it, with lun->gone set.
 * - int results: 0 or a negative errno; `fault` (may be NULL) gets a sentence for the administrator.
 */
#ifndef UMBRA_ARRAY_H
#define UMBRA_ARRAY_H

#include "array/model/host/host.h"
#include "array/model/lun/lun.h"
#include "array/model/policy/policy.h"
#include "array/model/set/set.h"

/* Reads the catalogue; blocks. -EUCLEAN: a record is damaged or contradicts another. */
int array_open(const struct array_options *options, struct array **out, struct fault *fault);
/* Takes the options that may change while it runs: times, rates, the kind of copies, host_luns_max, lun_max_bytes. What has begun
 * goes on as it began. */
void array_reload(struct array *a, const struct array_options *options);
/* Another umbrad owns the array from now on, or is about to: no change begins any more, and hosts are told what they were not told
 * yet, for their sessions go on elsewhere. */
void array_stand_by(struct array *a);
/* Would array_open take the catalogue? The same answers; changes and keeps nothing. Blocks. Of the store it needs iterate,
 * disk_open, disk_id and disk_size; the reactor must not run. */
int array_check(struct store *store, struct reactor *reactor, struct fault *fault);
/* What gets another id. */
enum array_identified {
	ARRAY_IDENTIFIED_ARRAY,
	ARRAY_IDENTIFIED_LUN,
	ARRAY_IDENTIFIED_SHADOW,
	ARRAY_IDENTIFIED_RECYCLED,
	ARRAY_IDENTIFIED_SET,
	ARRAY_IDENTIFIED_COUNT
};
struct array_reidentify {
	struct store *store; /* nobody else uses it */
	struct reactor *reactor;
	/* Of each one, or NULL. What it is given is valid during the call; an array, and a set of a host, has the name "". */
	void (*each)(void *arg, enum array_identified what, const char *name, const uint8_t old[UP_ID_BYTES],
		const uint8_t fresh[UP_ID_BYTES]);
	void *arg;
	/* out: how many got one; mappings that followed; reservations that went */
	unsigned counts[ARRAY_IDENTIFIED_COUNT], mappings, reservations;
};
/* New ids for an array that was copied with its store, so that the two can be on one network (reidentify.c says what changes).
 * *out: the transaction, to be committed or dropped; NULL: the array has no id yet. -EUCLEAN: as array_open. Blocks. Of the store it
 * needs besides what array_check does: txn_begin, txn_put, txn_del, txn_drop. */
int array_reidentify(struct array_reidentify *request, struct store_txn **out, struct fault *fault);
/* Ends the model's background work in the store, so that the store can be closed. `done` may be called from
 * inside. Only array_close may follow. */
void array_stop(struct array *a, void (*done)(void *arg), void *arg);
/* Aborts and deletes nothing: sets and LUNs stay as durable as they were. No I/O and no nexus may be left. */
void array_close(struct array *a);

#endif
