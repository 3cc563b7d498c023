/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The COM object that VSS talks to: IVssHardwareSnapshotProviderEx (and its base),
 * IVssProviderCreateSnapshotSet, IVssProviderNotifications.
 */
#ifndef UMBRA_PROVIDER_PROVIDER_H
#define UMBRA_PROVIDER_PROVIDER_H

#include <windows.h>
#include <ole2.h>
#include "provider/array_client.h"

/* VSS breaks the hold off ten seconds after the first volume's began, which is before CommitSnapshots. */
#define PROVIDER_BUDGET_MS 5000

/* What all provider objects of the process share; borrowed, outlives them. */
struct provider_context {
	struct transport *transport;
	struct array_client *client;
	uint32_t (*budget_ms)(void); /* asked at PreCommit; NULL: PROVIDER_BUDGET_MS */
	enum up_copy_kind (*copy_kind)(
		void);                      /* asked where VSS leaves the choice; NULL: the array's default */
	void (*objects_changed)(LONG live); /* may be NULL */
};

HRESULT provider_create(const struct provider_context *context, REFIID iid, void **out);

/* Undoes what any object has under way, and leaves resyncs to their arrays: the service ends. */
void provider_abort_all(void);

/* A GUID's 16 bytes in the order of its text form: how it stands on the wire. */
void provider_guid_bytes(const GUID *guid, uint8_t out[16]);

#endif
