/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The provider object from the inside: for the files that implement its interfaces (hardware.c, hardware_ex.c,
 * create_set.c) and for provider.c, which holds its life and carries calls out.
 */
#ifndef UMBRA_PROVIDER_PROVIDER_OBJECT_H
#define UMBRA_PROVIDER_PROVIDER_OBJECT_H

#include <stdbool.h>
#include <stdint.h>
#include <vss.h>
#include <vsprov.h>
#include "provider/copyset.h"
#include "provider/provider.h"
#include "provider/snapshot_set.h"

#define BROKEN_MAX SET_LUNS_MAX /* as many as one call may name */

struct provider {
	IVssHardwareSnapshotProviderEx IVssHardwareSnapshotProviderEx_iface;
	IVssProviderCreateSnapshotSet IVssProviderCreateSnapshotSet_iface;
	IVssProviderNotifications IVssProviderNotifications_iface;
	volatile LONG refs;
	const struct provider_context *context;
	struct provider *next; /* in live_objects, under live_lock */
	CRITICAL_SECTION lock;
	struct cs_machine machine;
	struct snapshot_set *set;                /* one reference; NULL: none */
	bool held;                               /* we hold the event log's writer back */
	uint8_t broken[BROKEN_MAX][UP_ID_BYTES]; /* the LUNs that OnLunStateChange made ordinary last */
	unsigned broken_next;
};

static inline struct provider *impl_from_IVssHardwareSnapshotProviderEx(IVssHardwareSnapshotProviderEx *iface)
{
	return CONTAINING_RECORD(iface, struct provider, IVssHardwareSnapshotProviderEx_iface);
}

static inline struct provider *impl_from_IVssProviderCreateSnapshotSet(IVssProviderCreateSnapshotSet *iface)
{
	return CONTAINING_RECORD(iface, struct provider, IVssProviderCreateSnapshotSet_iface);
}

static inline struct provider *impl_from_IVssProviderNotifications(IVssProviderNotifications *iface)
{
	return CONTAINING_RECORD(iface, struct provider, IVssProviderNotifications_iface);
}

extern const IVssHardwareSnapshotProviderExVtbl provider_hardware_vtbl;
extern const IVssProviderCreateSnapshotSetVtbl provider_create_set_vtbl;
extern const IVssProviderNotificationsVtbl provider_notifications_vtbl;

/* ---- provider.c ---- */

HRESULT provider_query_interface(struct provider *p, REFIID iid, void **out);
ULONG provider_add_ref(struct provider *p);
ULONG provider_release(struct provider *p);

/* Counts what clients hold: while there is something the service does not idle out. */
void provider_object_began(const struct provider_context *context);
void provider_object_ended(const struct provider_context *context);

/* Translates and traces. Not inside the window: see the commit path, which does without. */
HRESULT provider_answer(const char *call, enum cs_result result);

/* What a call does with the set, without any lock. NULL: nothing. */
typedef enum cs_result set_work(struct provider *p, struct snapshot_set *s, uint32_t epoch, void *arg);

/* Has the state machine judge the call, then the work done. */
enum cs_result provider_run(
	struct provider *p, enum cs_call call, const uint8_t *set_id, set_work *work, void *arg);
/* The same for a method that names a set: with its answer. */
HRESULT provider_run_set_call(
	struct provider *p, enum cs_call call, const VSS_ID *set_id, set_work *work, void *arg);

/* ---- hardware.c ---- */

/* The ids of LUNs that are all ours; NULL with *result set otherwise. To be freed. */
uint8_t (*provider_recognise_all(const VDS_LUN_INFORMATION *luns, unsigned count, enum cs_result foreign,
	enum cs_result *result))[UP_ID_BYTES];
/* A request about one LUN. */
int provider_ask_lun(struct provider *p, const uint8_t array_id[UP_ID_BYTES], enum up_op op,
	const uint8_t id[UP_ID_BYTES], struct array_trouble *trouble);

/* ---- hardware_ex.c: what IVssHardwareSnapshotProviderEx adds ---- */

HRESULT WINAPI hw_GetProviderCapabilities(IVssHardwareSnapshotProviderEx *iface, ULONGLONG *mask);
HRESULT WINAPI hw_OnLunStateChange(IVssHardwareSnapshotProviderEx *iface, VDS_LUN_INFORMATION *shadows,
	VDS_LUN_INFORMATION *originals, DWORD count, DWORD flags);
HRESULT WINAPI hw_ResyncLuns(IVssHardwareSnapshotProviderEx *iface, VDS_LUN_INFORMATION *sources,
	VDS_LUN_INFORMATION *targets, DWORD count, IVssAsync **async);
HRESULT WINAPI hw_OnReuseLuns(IVssHardwareSnapshotProviderEx *iface, VDS_LUN_INFORMATION *shadows,
	VDS_LUN_INFORMATION *originals, DWORD count);

#endif
