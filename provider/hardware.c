/* SPDX-License-Identifier: Apache-2.0 */
/* IVssHardwareSnapshotProvider: which LUNs can be copied, their identities, import and deletion. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "events.h"
#include "provider/clock.h"
#include "provider/eventlog.h"
#include "provider/lun_identity.h"
#include "provider/provider_object.h"
#include "provider/imports.h"
#include "provider/result.h"
#include "provider/set_cost.h"
#include "provider/snapshot_set.h"

#define CONTEXTS_REFUSED (VSS_VOLSNAP_ATTR_CLIENT_ACCESSIBLE | VSS_VOLSNAP_ATTR_FILE_SHARE)

static HRESULT WINAPI hw_QueryInterface(IVssHardwareSnapshotProviderEx *iface, REFIID iid, void **out)
{
	return provider_query_interface(impl_from_IVssHardwareSnapshotProviderEx(iface), iid, out);
}

static ULONG WINAPI hw_AddRef(IVssHardwareSnapshotProviderEx *iface)
{
	return provider_add_ref(impl_from_IVssHardwareSnapshotProviderEx(iface));
}

static ULONG WINAPI hw_Release(IVssHardwareSnapshotProviderEx *iface)
{
	return provider_release(impl_from_IVssHardwareSnapshotProviderEx(iface));
}

static bool provider_count_is_sane(LONG count)
{
	return count > 0 && count <= SET_LUNS_MAX;
}

/* The ids of LUNs that are all ours; NULL with *result set otherwise. To be freed. */
uint8_t (*provider_recognise_all(const VDS_LUN_INFORMATION *luns, unsigned count, enum cs_result foreign,
	enum cs_result *result))[UP_ID_BYTES]
{
	uint8_t(*ids)[UP_ID_BYTES] = calloc(count, sizeof(*ids));

	if (!ids) {
		*result = CS_OUT_OF_MEMORY;
		return NULL;
	}
	for (unsigned i = 0; i < count; i++) {
		if (!lun_identity_recognise(&luns[i], ids[i])) {
			free(ids);
			*result = foreign;
			return NULL;
		}
	}
	*result = CS_OK;
	return ids;
}

/* What a context asks for; false: no provider of this kind can make it. */
static bool wish_of(struct provider *p, LONG context, struct copy_wish *wish)
{
	static_assert(COPY_CONTEXT_DIFFERENTIAL == VSS_VOLSNAP_ATTR_DIFFERENTIAL &&
			      COPY_CONTEXT_PLEX == VSS_VOLSNAP_ATTR_PLEX &&
			      COST_CONTEXT_NO_WRITERS == VSS_VOLSNAP_ATTR_NO_WRITERS,
		"copy_kind.h and set_cost.h have vss.h's bits");
	enum up_copy_kind preferred = p->context->copy_kind ? p->context->copy_kind() : UP_COPY_DEFAULT;

	return !(context & CONTEXTS_REFUSED) && copy_wish_of_context((uint32_t)context, preferred, wish);
}

/* Only what the array itself says it can copy now, and in that way, counts. */
static bool can_copy(struct provider *p, const uint8_t id[UP_ID_BYTES], const struct copy_wish *wish)
{
	struct up_lun lun;
	uint8_t array_id[UP_ID_BYTES];
	char name[UP_NAME_MAX_BYTES + 1];
	struct array_trouble trouble;
	uint64_t capabilities;
	enum up_copy_kind kind;

	if (array_client_find_lun(p->context->client, id, &lun, array_id, NULL) < 0 || !lun.number ||
		(lun.kind != UP_LUN_ORDINARY && lun.kind != UP_LUN_SHADOW))
		return false;
	if (array_client_capabilities(p->context->client, array_id, &capabilities, &trouble) < 0) {
		result_note(&trouble, "AreLunsSupported", id);
		return false;
	}
	/* With an event: else nobody would learn why VSS takes another provider, or none. */
	array_client_name(p->context->client, array_id, name);
	if (capabilities & UP_CAP_READ_ONLY) {
		result_event(UMBRA_EVENT_STORE_ERROR, "AreLunsSupported", id, name,
			"Its pool is read-only since a failure. Look at the pool's disk, then restart umbrad.");
		return false;
	}
	if (!array_client_offers(p->context->client, array_id, UP_CAP_DIFFERENTIAL | UP_CAP_PLEX)) {
		result_event(UMBRA_EVENT_NOT_AUTHENTICATED, "AreLunsSupported", id, name,
			"It offers this host no shadow copies.");
		return false;
	}
	return !wish->required || copy_wish_for(wish, capabilities, &kind);
}

static HRESULT WINAPI hw_AreLunsSupported(IVssHardwareSnapshotProviderEx *iface, LONG count, LONG context,
	VSS_PWSZ *devices, VDS_LUN_INFORMATION *luns, WINBOOL *supported)
{
	struct provider *p = impl_from_IVssHardwareSnapshotProviderEx(iface);
	enum cs_result result = CS_OK;
	struct copy_wish wish;

	(void)devices; /* the structures say it all */
	if (supported)
		*supported = FALSE;
	if (!supported || !luns || !provider_count_is_sane(count))
		return provider_answer("AreLunsSupported", CS_INVALID_ARGUMENT);
	if (!wish_of(p, context, &wish))
		return provider_answer("AreLunsSupported: context", CS_OK);
	uint8_t(*ids)[UP_ID_BYTES] = provider_recognise_all(luns, (unsigned)count, CS_OK, &result);
	if (!ids)
		return provider_answer("AreLunsSupported: foreign", result);
	bool all = true;
	for (LONG i = 0; i < count && all; i++)
		all = can_copy(p, ids[i], &wish);
	free(ids);
	*supported = all;
	return provider_answer(all ? "AreLunsSupported: yes" : "AreLunsSupported: no", CS_OK);
}

static HRESULT WINAPI hw_FillInLunInfo(
	IVssHardwareSnapshotProviderEx *iface, VSS_PWSZ device, VDS_LUN_INFORMATION *lun, WINBOOL *supported)
{
	uint8_t id[UP_ID_BYTES];

	(void)iface;
	(void)device;
	if (supported)
		*supported = FALSE;
	if (!supported || !lun)
		return provider_answer("FillInLunInfo", CS_INVALID_ARGUMENT);
	if (!lun_identity_recognise(lun, id))
		return provider_answer("FillInLunInfo: foreign", CS_OK);
	if (!lun_identity_rebuild(lun, id))
		return provider_answer("FillInLunInfo", CS_OUT_OF_MEMORY);
	imports_arrived(id);
	*supported = TRUE;
	return provider_answer("FillInLunInfo: ours", CS_OK);
}

struct add_args {
	uint8_t snapshot_id[CS_ID_BYTES];
	const uint8_t (*luns)[UP_ID_BYTES];
	unsigned count;
	struct copy_wish wish;
	uint32_t context;
	enum cs_result refusal; /* the volume is none for us; CS_OK: it may be */
};

static enum cs_result work_add(struct provider *p, struct snapshot_set *s, uint32_t epoch, void *arg)
{
	const struct add_args *a = arg;

	(void)p;
	(void)epoch;
	set_note_context(s, a->context);
	return a->refusal != CS_OK ? a->refusal : set_add(s, a->snapshot_id, a->luns, a->count, &a->wish);
}

/* A new set id says that the set before was dropped, also when the volume itself is refused. */
static HRESULT WINAPI hw_BeginPrepareSnapshot(IVssHardwareSnapshotProviderEx *iface, VSS_ID set_id,
	VSS_ID snapshot_id, LONG context, LONG count, VSS_PWSZ *devices, VDS_LUN_INFORMATION *luns)
{
	struct provider *p = impl_from_IVssHardwareSnapshotProviderEx(iface);
	const char *call = cs_call_name(CS_CALL_BEGIN_PREPARE);
	struct add_args args = {.count = (unsigned)count, .context = (uint32_t)context};
	uint8_t(*ids)[UP_ID_BYTES] = NULL;

	(void)devices;
	if (!luns || !provider_count_is_sane(count) || IsEqualGUID(&set_id, &GUID_NULL) ||
		IsEqualGUID(&snapshot_id, &GUID_NULL))
		return provider_answer(call, CS_INVALID_ARGUMENT);
	if (wish_of(p, context, &args.wish))
		ids = provider_recognise_all(luns, (unsigned)count, CS_NOT_SUPPORTED, &args.refusal);
	else
		args.refusal = CS_UNSUPPORTED_CONTEXT;
	args.luns = (const uint8_t(*)[UP_ID_BYTES])ids;
	provider_guid_bytes(&snapshot_id, args.snapshot_id);
	HRESULT hr = provider_run_set_call(p, CS_CALL_BEGIN_PREPARE, &set_id, work_add, &args);
	free(ids);
	return hr;
}

struct targets_args {
	const VDS_LUN_INFORMATION *sources;
	const uint8_t (*originals)[UP_ID_BYTES];
	unsigned count;
	VDS_LUN_INFORMATION *built; /* result */
};

/* Everything that can fail here comes before the arrays are told to keep the set. */
static enum cs_result work_targets(struct provider *p, struct snapshot_set *s, uint32_t epoch, void *arg)
{
	struct targets_args *a = arg;
	uint8_t(*shadows)[UP_ID_BYTES] = calloc(a->count, sizeof(*shadows));
	bool kept = false;

	if (!shadows)
		return CS_OUT_OF_MEMORY;
	enum cs_result result = set_lookup(s, a->originals, a->count, shadows);
	if (result == CS_OK) {
		a->built = lun_identity_build(a->sources, (const uint8_t(*)[UP_ID_BYTES])shadows, a->count);
		result = a->built ? set_handed(s, a->originals, a->count, &kept) : CS_OUT_OF_MEMORY;
	}
	free(shadows);
	if (kept) {
		EnterCriticalSection(&p->lock);
		cs_kept(&p->machine, epoch);
		LeaveCriticalSection(&p->lock);
	}
	return result;
}

static HRESULT WINAPI hw_GetTargetLuns(IVssHardwareSnapshotProviderEx *iface, LONG count, VSS_PWSZ *devices,
	VDS_LUN_INFORMATION *sources, VDS_LUN_INFORMATION *targets)
{
	struct provider *p = impl_from_IVssHardwareSnapshotProviderEx(iface);
	const char *call = cs_call_name(CS_CALL_GET_TARGETS);
	enum cs_result result;

	(void)devices;
	if (!sources || !targets || !provider_count_is_sane(count))
		return provider_answer(call, CS_INVALID_ARGUMENT);
	uint8_t(*ids)[UP_ID_BYTES] = provider_recognise_all(sources, (unsigned)count, CS_NOT_FOUND, &result);
	if (!ids)
		return provider_answer(call, result);
	struct targets_args args = {.sources = sources,
		.originals = (const uint8_t(*)[UP_ID_BYTES])ids,
		.count = (unsigned)count};
	result = provider_run(p, CS_CALL_GET_TARGETS, NULL, work_targets, &args);
	if (result == CS_OK)
		lun_identity_move(targets, args.built, args.count);
	else
		lun_identity_discard(args.built, args.count);
	free(ids);
	return provider_answer(call, result);
}

/* A request about one LUN. */
int provider_ask_lun(struct provider *p, const uint8_t array_id[UP_ID_BYTES], enum up_op op,
	const uint8_t id[UP_ID_BYTES], struct array_trouble *trouble)
{
	struct up_msg *m = calloc(2, sizeof(*m));

	if (!m) {
		*trouble = (struct array_trouble){.err = -ENOMEM, .op = (uint16_t)op};
		return -ENOMEM;
	}
	up_request_init(&m[0], op, 0);
	memcpy(m[0].lun_id, id, UP_ID_BYTES);
	m[0].has = UP_HAS(UP_TAG_LUN_ID);
	if (op == UP_OP_UNMAP || op == UP_OP_DELETE) {
		m[0].scope = UP_SCOPE_ME;
		m[0].has |= UP_HAS(UP_TAG_SCOPE);
	}
	if (op == UP_OP_DELETE) { /* VSS says so, who knows what is written to its shadow copies */
		m[0].flags = UP_DELETE_WRITTEN;
		m[0].has |= UP_HAS(UP_TAG_FLAGS);
	}
	/* Unmapping and deleting close the way through the LUN itself. */
	int err = array_client_request(p->context->client, array_id, id, &m[0], &m[1], trouble);
	free(m);
	return err;
}

/* Finds one of our LUNs; anything but CS_OK has its event. */
static enum cs_result find(struct provider *p, const char *call, const uint8_t id[UP_ID_BYTES],
	struct up_lun *lun, uint8_t array_id[UP_ID_BYTES])
{
	struct array_trouble trouble;
	int err = array_client_find_lun(p->context->client, id, lun, array_id, &trouble);

	if (err == -ENOENT) {
		result_event(UMBRA_EVENT_LUN_UNKNOWN, call, id, NULL, NULL);
		return CS_NOT_FOUND;
	}
	return err < 0 ? result_note(&trouble, call, id) : CS_OK;
}

static enum cs_result locate(struct provider *p, const uint8_t id[UP_ID_BYTES], const char *call,
	bool *mapped_now, struct import_lun *import)
{
	struct array_trouble trouble;
	struct up_lun lun;
	enum cs_result result = find(p, call, id, &lun, import->array_id);

	*mapped_now = false;
	if (result != CS_OK)
		return result;
	if (lun.number == 0 && lun.kind != UP_LUN_SHADOW)
		return CS_NOT_FOUND; /* only shadow LUNs are ours to unmask */
	memcpy(import->lun_id, id, UP_ID_BYTES);
	memcpy(import->set_id, lun.set_id, UP_ID_BYTES);
	if (lun.number != 0)
		return CS_OK;
	if (provider_ask_lun(p, import->array_id, UP_OP_MAP, id, &trouble) < 0)
		return result_note(&trouble, call, id);
	*mapped_now = true;
	return CS_OK;
}

/* All or nothing: what this call unmasked is masked again when a later LUN fails. */
static HRESULT WINAPI hw_LocateLuns(
	IVssHardwareSnapshotProviderEx *iface, LONG count, VDS_LUN_INFORMATION *luns)
{
	struct provider *p = impl_from_IVssHardwareSnapshotProviderEx(iface);
	const char *call = "LocateLuns";
	uint64_t begun_us = clock_us();
	struct array_trouble trouble;
	enum cs_result result;
	LONG done = 0;

	if (!luns || !provider_count_is_sane(count))
		return provider_answer(call, CS_INVALID_ARGUMENT);
	uint8_t(*ids)[UP_ID_BYTES] = provider_recognise_all(luns, (unsigned)count, CS_NOT_FOUND, &result);
	if (!ids)
		return provider_answer(call, result);
	struct import_lun *imports = calloc((size_t)count, sizeof(*imports));
	bool *mapped = calloc((size_t)count, sizeof(*mapped));
	if (!imports || !mapped)
		result = CS_OUT_OF_MEMORY;
	while (done < count && result == CS_OK) {
		result = locate(p, ids[done], call, &mapped[done], &imports[done]);
		done++;
	}
	for (LONG i = 0; result != CS_OK && i < done; i++)
		if (mapped[i])
			(void)provider_ask_lun(p, imports[i].array_id, UP_OP_UNMAP, ids[i], &trouble);
	if (result == CS_OK)
		imports_located(p->context, imports, (unsigned)count, begun_us);
	free(mapped);
	free(imports);
	free(ids);
	return provider_answer(call, result);
}

static HRESULT WINAPI hw_OnLunEmpty(
	IVssHardwareSnapshotProviderEx *iface, VSS_PWSZ device, VDS_LUN_INFORMATION *info)
{
	struct provider *p = impl_from_IVssHardwareSnapshotProviderEx(iface);
	const char *call = "OnLunEmpty";
	struct array_trouble trouble;
	uint8_t id[UP_ID_BYTES], array_id[UP_ID_BYTES];
	char name[UP_NAME_MAX_BYTES + 1];
	struct up_lun lun;

	(void)device;
	if (!info)
		return provider_answer(call, CS_INVALID_ARGUMENT);
	if (!lun_identity_recognise(info, id))
		return provider_answer(call, CS_NOT_FOUND);
	int err = array_client_find_lun(p->context->client, id, &lun, array_id, &trouble);
	if (err == -ENOENT) /* every array answered: it is gone already */
		return provider_answer("OnLunEmpty: gone", CS_OK);
	if (err < 0)
		return provider_answer(call, result_note(&trouble, call, id));
	if (lun.kind != UP_LUN_SHADOW) {
		array_client_name(p->context->client, array_id, name);
		result_event(UMBRA_EVENT_ORDINARY, call, id, name, NULL);
		return provider_answer(call, CS_VETO);
	}
	if (provider_ask_lun(p, array_id, UP_OP_DELETE, id, &trouble) <
		0) /* the array unmaps it from us first */
		return provider_answer(call, result_note(&trouble, call, id));
	return provider_answer(call, CS_OK);
}

const IVssHardwareSnapshotProviderExVtbl provider_hardware_vtbl = {
	hw_QueryInterface,
	hw_AddRef,
	hw_Release,
	hw_AreLunsSupported,
	hw_FillInLunInfo,
	hw_BeginPrepareSnapshot,
	hw_GetTargetLuns,
	hw_LocateLuns,
	hw_OnLunEmpty,
	hw_GetProviderCapabilities,
	hw_OnLunStateChange,
	hw_ResyncLuns,
	hw_OnReuseLuns,
};
