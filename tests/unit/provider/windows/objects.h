/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The provider object through its interfaces, against the arrays of fake_array.h: what its tests share. One object at a
 * time, made by start() and ended by finish(). The calls below build what VSS would hand over and free it again.
 */
#ifndef UMBRA_TESTS_PROVIDER_OBJECTS_H
#define UMBRA_TESTS_PROVIDER_OBJECTS_H

#include <windows.h>
#include <ole2.h>
#include <vss.h>
#include <vsprov.h>
#include "check.h"
#include "fake_array.h"
#include "guard.h"
#include "provider/eventlog.h"
#include "provider/lun_identity.h"
#include "provider/provider.h"
#include "watch.h"

extern struct provider_context context;
extern IVssHardwareSnapshotProviderEx *hw;
extern IVssProviderCreateSnapshotSet *set;
extern IVssProviderNotifications *notify;
extern uint32_t budget;             /* of the commit window; start() resets it */
extern enum up_copy_kind preferred; /* DefaultCopyKind; likewise */

extern const VSS_ID set_id, other_set_id, volume_id, second_volume_id;
extern uint8_t set_bytes[16]; /* set_id, as the arrays know it */

/* The LUNs that start_with() made: first those of the first array, then those of the second. */
extern uint8_t ids[8][UP_ID_BYTES];
extern const uint8_t (*const luns)[UP_ID_BYTES];

/* Events that were written, and the last of them. */
extern struct event_note last_event;
extern volatile LONG events;

void start(void);
/* Over another transport than the fake arrays'. */
void start_over(struct transport *transport);
void start_with(unsigned on_first, unsigned on_second);
void finish(void);
/* Waits until the threads of a window have ended, which they do by themselves. */
void wait_for_threads(void);

/* Everything that the tests so far have taken is given back; start() expects it, too. */
void expect_no_leak(void);

/* As VSS builds it from INQUIRY data. */
void describe(VDS_LUN_INFORMATION *lun, const uint8_t id[UP_ID_BYTES]);
HRESULT begin(
	const VSS_ID *s, const VSS_ID *volume, LONG flags, const uint8_t (*of)[UP_ID_BYTES], LONG count);
HRESULT end_prepare(const VSS_ID *s);
HRESULT pre_commit(const VSS_ID *s);
HRESULT commit(const VSS_ID *s);
HRESULT post_commit(const VSS_ID *s);
HRESULT abort_set(const VSS_ID *s);
/* A set from its beginning to PostCommitSnapshots. */
void committed(const uint8_t (*of)[UP_ID_BYTES], LONG count);
HRESULT targets(const uint8_t (*of)[UP_ID_BYTES], LONG count, VDS_LUN_INFORMATION *out);
/* Waits until the event is there: the queue has its own thread. */
void expect_event(DWORD id);

/* COM, the event queue, the tests, and the end of it. */
int run_object_tests(const struct test *tests, size_t count);

#endif
