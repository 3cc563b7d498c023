/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One shadow copy set as it stands on the arrays: which originals, which shadow LUNs, on which arrays; and
 * the requests that move it along. When each may run is copyset.h's business.
 *
 * Invariants:
 * - Counted references: a method that works on a set holds one, so that AbortSnapshots can drop it meanwhile.
 * - No lock is held during I/O. A cancelled set starts no new request but its undoing, and what slipped
 *   through is undone by who sent it.
 * - Whoever returns a result other than CS_OK has queued the event that explains it.
 */
#ifndef UMBRA_PROVIDER_SNAPSHOT_SET_H
#define UMBRA_PROVIDER_SNAPSHOT_SET_H

#include <stdbool.h>
#include <stdint.h>
#include "provider/array_client.h"
#include "provider/copy_kind.h"
#include "provider/copyset.h"

#define SET_SNAPSHOTS_MAX 64 /* volumes, VSS's own limit */
#define SET_LUNS_MAX      256

struct snapshot_set;

/* One reference. NULL: out of memory. */
struct snapshot_set *set_create(
	struct array_client *client, struct transport *transport, const uint8_t set_id[UP_ID_BYTES]);
void set_ref(struct snapshot_set *s);
void set_unref(struct snapshot_set *s);

/* Adds one volume: its LUNs, all or none of them. */
enum cs_result set_add(struct snapshot_set *s, const uint8_t snapshot_id[CS_ID_BYTES],
	const uint8_t (*luns)[UP_ID_BYTES], unsigned count, const struct copy_wish *wish);
/* VSS's context of the set, the same with each of its volumes. */
void set_note_context(struct snapshot_set *s, uint32_t context);

enum cs_result set_arm(struct snapshot_set *s);
/* Opens the window for set_commit. budget_ms: how long CommitSnapshots may take. */
enum cs_result set_ready(struct snapshot_set *s, uint32_t budget_ms);
/* Wakes and waits; nothing else. A failure is undone by the window's threads. */
enum cs_result set_commit(struct snapshot_set *s);
/* After the window: closes it, traces its times, asks the arrays whether the set is committed. */
enum cs_result set_check(struct snapshot_set *s);

/* The shadow LUNs of these originals. CS_NOT_FOUND: an original is none of this set. */
enum cs_result set_lookup(struct snapshot_set *s, const uint8_t (*originals)[UP_ID_BYTES], unsigned count,
	uint8_t (*shadows)[UP_ID_BYTES]);
/* Their identities (after set_lookup) are being given out. When they were the last of the set, the arrays are
 * told to keep it, and *kept is set. */
enum cs_result set_handed(
	struct snapshot_set *s, const uint8_t (*originals)[UP_ID_BYTES], unsigned count, bool *kept);

/* VSS is through with the set: tells its arrays, and the Application log, what it cost. That an array does not hear of it
 * changes nothing for VSS. */
void set_tell(struct snapshot_set *s);

/* Tells every array to give the set up; may be called again and at any time. call: for the event log. */
void set_undo(struct snapshot_set *s, const char *call);
/* The set was kept, yet VSS gave it up before any requester had it: deletes those of its LUNs that no host sees. What
 * stays, stays with an event. */
void set_withdraw(struct snapshot_set *s, const char *call);
/* The set was kept, yet VSS gave it up: says so in the event log. */
void set_left(struct snapshot_set *s, const char *call);

#endif
