/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registered hardware providers: the registry entries, activation by CLSID, and every call recorded.
 *
 * Invariants: a provider that was loaded has had OnLoad, and gets OnUnload before its last reference goes,
 * unless its process is gone; a provider whose process died is forgotten at the call that shows it, so that
 * the next request activates it anew; with KeepDead only when it is unloaded.
 */
#ifndef LAB_PROVIDER_HOST_H
#define LAB_PROVIDER_HOST_H

#include <stdbool.h>
#include <windows.h>
#include <vss.h>
#include <vsprov.h>
#include "lab/coordinator/record.h"

#define PROVIDERS_MAX     16
#define PROVIDER_TEXT_MAX 256

struct provider_entry {
	GUID id, clsid, version_id;
	VSS_PROVIDER_TYPE type;
	wchar_t name[PROVIDER_TEXT_MAX], version[PROVIDER_TEXT_MAX];
};

/* The registry. HRESULTs are those of IVssAdmin. */
HRESULT providers_register(const struct provider_entry *entry);
HRESULT providers_unregister(const GUID *id);
ULONG providers_list(struct provider_entry out[PROVIDERS_MAX]);

struct provider {
	struct provider_entry entry;
	IVssHardwareSnapshotProvider *hw;
	IVssHardwareSnapshotProviderEx *ex; /* NULL: an old provider */
	IVssProviderCreateSnapshotSet *set;
	IVssProviderNotifications *notify; /* may be NULL */
	bool loaded;
};

/* The loaded provider with this id, activated when it is not yet; NULL: record says why. Borrowed. */
struct provider *provider_load(const struct provider_entry *entry, struct record *r);

/* OnUnload. S_FALSE: busy and not forced, it stays. */
HRESULT provider_unload(struct provider *p, bool force, struct record *r);
/* All of them; false when one stays. r may be NULL: not recorded. */
bool providers_unload_all(bool force, struct record *r);
struct provider *provider_loaded(const GUID *id);

/* Forgets p when hr says that its process is gone. Returns hr. */
HRESULT provider_check(struct provider *p, HRESULT hr);

/* What the requester gets to see of a provider's code (vsprov.h documentation: anything outside the list is
 * VSS_E_UNEXPECTED_PROVIDER_ERROR). `preparing`: BeginPrepareSnapshot's longer list. */
HRESULT provider_visible_error(HRESULT hr, bool preparing);

#endif
