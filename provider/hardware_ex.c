/* SPDX-License-Identifier: Apache-2.0 */
/* What IVssHardwareSnapshotProviderEx adds: state changes of shadow LUNs, resynchronisation. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "events.h"
#include "provider/eventlog.h"
#include "provider/lun_identity.h"
#include "provider/provider_object.h"
#include "provider/resync.h"
#include "provider/result.h"

/* "Not supported. This method is reserved for future use." So the documentation of this method and of OnReuseLuns
 * (learn.microsoft.com, vsprov.h: nf-vsprov-ivsshardwaresnapshotproviderex-getprovidercapabilities, -onreuseluns), and
 * of the values themselves (vss.h: VSS_PROVIDER_CAPABILITIES). Microsoft's sample provider and the public ones answer
 * E_NOTIMPL. VSS learns what is possible from AreLunsSupported, whose answer depends on the array. */
HRESULT WINAPI hw_GetProviderCapabilities(IVssHardwareSnapshotProviderEx *iface, ULONGLONG *mask)
{
	(void)iface;
	if (!mask)
		return provider_answer("GetProviderCapabilities", CS_INVALID_ARGUMENT);
	*mask = 0;
	return provider_answer("GetProviderCapabilities", CS_NOT_IMPLEMENTED);
}

/* ---- OnLunStateChange ---------------------------------------------------------------------------------
 *
 * What Microsoft says (vsprov.h: IVssHardwareSnapshotProviderEx::OnLunStateChange; vss.h: _VSS_HARDWARE_OPTIONS;
 * vsbackup.h: IVssBackupComponentsEx2::BreakSnapshotSetEx; "Breaking Shadow Copies"):
 *   NOTIFY_READ_WRITE     the shadow copy LUNs will be converted permanently to read-write; "set only as a
 *                         notification", no action is required. It is what a break with
 *                         VSS_BREAKEX_FLAG_MAKE_READ_WRITE comes to.
 *   NOTIFY_LUN_PRE_, _POST_RECOVERY   they are read-write for a while, for TxF or writers' auto-recovery; no action
 *                         is required: on the array they are read-write throughout.
 *   DO_MASK_LUNS          "must be masked from the current machine but not deleted".
 * After a break the set is no shadow copy any more, and VSS forgets it. A LUN that stayed a shadow LUN on the
 * array would be nobody's then: VSS will never call OnLunEmpty for it, and "umbra-vss orphans" would offer it for
 * deletion as soon as no host sees it. So NOTIFY_READ_WRITE makes it an ordinary LUN (UP_OP_BREAK): same identity,
 * data and mappings. A break without that flag reaches no provider by the documentation; the administrator of
 * the array has "umbractl shadow break" for it.
 * Documented results: S_OK, E_OUTOFMEMORY, E_INVALIDARG, VSS_E_PROVIDER_VETO. */

static_assert(UP_NOTIFY_READ_WRITE == VSS_ONLUNSTATECHANGE_NOTIFY_READ_WRITE &&
		      UP_NOTIFY_PRE_RECOVERY == VSS_ONLUNSTATECHANGE_NOTIFY_LUN_PRE_RECOVERY &&
		      UP_NOTIFY_POST_RECOVERY == VSS_ONLUNSTATECHANGE_NOTIFY_LUN_POST_RECOVERY,
	"the protocol has VSS's values");
#define NOTIFY_FLAGS (UP_NOTIFY_READ_WRITE | UP_NOTIFY_PRE_RECOVERY | UP_NOTIFY_POST_RECOVERY)

struct change {
	struct provider *p;
	const char *call;
	DWORD flags;
	unsigned ours, broken;
	bool not_told;     /* the event that says so is queued */
	bool cannot_break; /* an array does not offer it */
	uint8_t first[UP_ID_BYTES];
	char array[UP_NAME_MAX_BYTES + 1]; /* of the last LUN that was found */
};

/* A LUN of ours as it stands on its array. */
struct found {
	struct up_lun lun;
	uint8_t array_id[UP_ID_BYTES];
};

static int ask_with_flags(
	struct change *c, const struct found *f, enum up_op op, uint32_t flags, struct array_trouble *trouble)
{
	struct up_msg *m = calloc(2, sizeof(*m));

	if (!m) {
		*trouble = (struct array_trouble){.err = -ENOMEM, .op = (uint16_t)op};
		return -ENOMEM;
	}
	up_request_init(&m[0], op, 0);
	memcpy(m[0].lun_id, f->lun.id, UP_ID_BYTES);
	m[0].flags = flags;
	m[0].has = UP_HAS(UP_TAG_LUN_ID) | UP_HAS(UP_TAG_FLAGS);
	/* The way through the LUN itself may close. */
	int err = array_client_request(c->p->context->client, f->array_id, f->lun.id, &m[0], &m[1], trouble);
	free(m);
	return err;
}

/* A notification that does not arrive stops nothing: it asks for no work. */
static void not_told(struct change *c, const uint8_t id[UP_ID_BYTES], const struct array_trouble *trouble)
{
	char detail[UP_TEXT_MAX_BYTES + 80];

	if (c->not_told)
		return;
	c->not_told = true;
	if (trouble->err < 0)
		snprintf(detail, sizeof(detail), "Error %d.", -trouble->err);
	else
		snprintf(detail, sizeof(detail), "%s. %s", up_status_name(trouble->status), trouble->text);
	result_event(UMBRA_EVENT_NOT_TOLD, c->call, id, trouble->array, detail);
}

static void notify(struct change *c, const struct found *f)
{
	struct array_trouble trouble;
	int err = ask_with_flags(c, f, UP_OP_NOTIFY, c->flags & NOTIFY_FLAGS, &trouble);

	/* An older array keeps no record. */
	if (err < 0 && !(err == -EPROTO && trouble.status == UP_UNSUPPORTED))
		not_told(c, f->lun.id, &trouble);
}

/* The last few LUNs that became ordinary by us: VSS may ask to mask them in a call of its own. */
static void remember_broken(struct provider *p, const uint8_t id[UP_ID_BYTES])
{
	EnterCriticalSection(&p->lock);
	memcpy(p->broken[p->broken_next++ % BROKEN_MAX], id, UP_ID_BYTES);
	LeaveCriticalSection(&p->lock);
}

static bool was_broken(struct provider *p, const uint8_t id[UP_ID_BYTES])
{
	bool found = false;

	EnterCriticalSection(&p->lock);
	for (unsigned i = 0; i < BROKEN_MAX && !found; i++)
		found = memcmp(p->broken[i], id, UP_ID_BYTES) == 0;
	LeaveCriticalSection(&p->lock);
	return found;
}

/* Makes it an ordinary LUN, masked if that is wanted too. */
static enum cs_result make_ordinary(struct change *c, struct found *f)
{
	bool mask = (c->flags & VSS_ONLUNSTATECHANGE_DO_MASK_LUNS) != 0;
	struct array_trouble trouble;
	uint64_t capabilities;

	if (array_client_capabilities(c->p->context->client, f->array_id, &capabilities, &trouble) < 0)
		return result_note(&trouble, c->call, f->lun.id);
	if (!(capabilities & UP_CAP_BREAK)) {
		if (!c->cannot_break)
			result_event(UMBRA_EVENT_STILL_SHADOW, c->call, f->lun.id, trouble.array, NULL);
		c->cannot_break = true;
		return CS_OK;
	}
	if (ask_with_flags(c, f, UP_OP_BREAK, mask ? UP_BREAK_MASK : 0, &trouble) < 0)
		return result_note(&trouble, c->call, f->lun.id);
	remember_broken(c->p, f->lun.id);
	c->broken++;
	f->lun.kind = UP_LUN_ORDINARY;
	if (mask)
		f->lun.number = 0;
	return CS_OK;
}

/* One that we have broken before: an ordinary LUN is unmapped by its break only. */
static enum cs_result mask_ordinary(struct change *c, const struct found *f)
{
	struct array_trouble trouble;
	struct found now;

	if (was_broken(c->p, f->lun.id)) {
		if (ask_with_flags(c, f, UP_OP_BREAK, UP_BREAK_MASK, &trouble) < 0)
			return result_note(&trouble, c->call, f->lun.id);
		int err = array_client_find_lun(
			c->p->context->client, f->lun.id, &now.lun, now.array_id, &trouble);
		if (err == -ENOENT || (err == 0 && !now.lun.number))
			return CS_OK;
	}
	result_event(UMBRA_EVENT_ORDINARY, c->call, f->lun.id, c->array,
		"It is not masked from this host; on the array, \"umbractl unmap\" does it.");
	return CS_VETO;
}

static enum cs_result mask(struct change *c, const struct found *f)
{
	struct array_trouble trouble;

	if (!f->lun.number) /* masked already */
		return CS_OK;
	if (f->lun.kind == UP_LUN_ORDINARY)
		return mask_ordinary(c, f);
	if (provider_ask_lun(c->p, f->array_id, UP_OP_UNMAP, f->lun.id, &trouble) < 0)
		return result_note(&trouble, c->call, f->lun.id);
	return CS_OK;
}

static enum cs_result change_one(struct change *c, const uint8_t id[UP_ID_BYTES])
{
	const DWORD work = VSS_ONLUNSTATECHANGE_NOTIFY_READ_WRITE | VSS_ONLUNSTATECHANGE_DO_MASK_LUNS;
	struct array_trouble trouble;
	enum cs_result result = CS_OK;
	struct found f;
	int err = array_client_find_lun(c->p->context->client, id, &f.lun, f.array_id, &trouble);

	if (err == -ENOENT) /* every array answered: it is gone, or masked and ordinary already */
		return CS_OK;
	if (err < 0 && (c->flags & work))
		return result_note(&trouble, c->call, id);
	if (err < 0) {
		not_told(c, id, &trouble);
		return CS_OK;
	}
	array_client_name(c->p->context->client, f.array_id, c->array);
	if (f.lun.kind == UP_LUN_SHADOW) { /* else a call that is repeated after a break */
		if (c->flags & NOTIFY_FLAGS)
			notify(c, &f);
		if (c->flags & VSS_ONLUNSTATECHANGE_NOTIFY_READ_WRITE)
			result = make_ordinary(c, &f);
	}
	if (result == CS_OK && (c->flags & VSS_ONLUNSTATECHANGE_DO_MASK_LUNS))
		result = mask(c, &f);
	return result;
}

/* For the Application log: once a call, however many LUNs it is about. */
static void record(const struct change *c)
{
	const DWORD known = NOTIFY_FLAGS | VSS_ONLUNSTATECHANGE_DO_MASK_LUNS;
	char detail[300];

	snprintf(detail, sizeof(detail), "%u LUNs (flags 0x%lx):%s%s%s%s%s%s", c->ours,
		(unsigned long)c->flags,
		c->flags & VSS_ONLUNSTATECHANGE_NOTIFY_READ_WRITE ? " they become read-write for good;" : "",
		c->broken ? " they are ordinary LUNs of the array now;" : "",
		c->flags & VSS_ONLUNSTATECHANGE_NOTIFY_LUN_PRE_RECOVERY
			? " writers are about to recover them;"
			: "",
		c->flags & VSS_ONLUNSTATECHANGE_NOTIFY_LUN_POST_RECOVERY ? " writers have recovered them;"
									 : "",
		c->flags & VSS_ONLUNSTATECHANGE_DO_MASK_LUNS ? " they are masked from this host, not deleted;"
							     : "",
		c->flags & ~known || !c->flags ? " nothing else that is known to this version;" : "");
	result_event(UMBRA_EVENT_STATE_CHANGE, c->call, c->first, c->array, detail);
}

/* LUNs of others in the array are none of our business. The work goes on past a LUN that fails; it may be
 * asked for again: what is done already is not done twice. */
HRESULT WINAPI hw_OnLunStateChange(IVssHardwareSnapshotProviderEx *iface, VDS_LUN_INFORMATION *shadows,
	VDS_LUN_INFORMATION *originals, DWORD count, DWORD flags)
{
	struct change c = {.p = impl_from_IVssHardwareSnapshotProviderEx(iface),
		.call = "OnLunStateChange",
		.flags = flags};
	enum cs_result result = CS_OK;

	(void)originals;
	if (!shadows || !count || count > SET_LUNS_MAX)
		return provider_answer(c.call, CS_INVALID_ARGUMENT);
	for (DWORD i = 0; i < count; i++) {
		uint8_t id[UP_ID_BYTES];
		if (!lun_identity_recognise(&shadows[i], id))
			continue;
		if (!c.ours++)
			memcpy(c.first, id, UP_ID_BYTES);
		enum cs_result one = change_one(&c, id);
		if (result == CS_OK && one != CS_OK) /* the method has no other codes; the event is queued */
			result = one == CS_OUT_OF_MEMORY ? one : CS_VETO;
	}
	if (result == CS_OK && c.ours)
		record(&c);
	return provider_answer(c.call, result);
}

/* Ids of LUNs that must all be ours; a foreign one has its event. NULL with *result set; to be freed. */
static uint8_t (*recognise_pairs(
	const char *call, const VDS_LUN_INFORMATION *luns, DWORD count, enum cs_result *result))[UP_ID_BYTES]
{
	uint8_t(*ids)[UP_ID_BYTES] = provider_recognise_all(luns, count, CS_VETO, result);
	uint8_t id[UP_ID_BYTES];

	for (DWORD i = 0; i < count && *result == CS_VETO; i++) {
		if (lun_identity_recognise(&luns[i], id))
			continue;
		eventlog_note(UMBRA_EVENT_RESYNC_PAIR, call,
			luns[i].m_szSerialNumber ? luns[i].m_szSerialNumber : "(without serial number)",
			"(none of Umbra's)", "It lies on no Umbra array.");
		break;
	}
	return ids;
}

/* Documented results (vsprov.h: IVssHardwareSnapshotProviderEx::ResyncLuns): S_OK, E_OUTOFMEMORY,
 * VSS_E_PROVIDER_VETO, VSS_E_INSUFFICIENT_STORAGE. E_NOTIMPL is what IVssBackupComponentsEx3::RecoverSet documents for a
 * provider that cannot; E_INVALIDARG is allowed to providers everywhere. "If the destination LUN is larger than
 * the source LUN, the provider must resize it": the array does, with the data. */
HRESULT WINAPI hw_ResyncLuns(IVssHardwareSnapshotProviderEx *iface, VDS_LUN_INFORMATION *sources,
	VDS_LUN_INFORMATION *targets, DWORD count, IVssAsync **async)
{
	struct provider *p = impl_from_IVssHardwareSnapshotProviderEx(iface);
	const char *call = "ResyncLuns";
	enum cs_result result;

	if (async)
		*async = NULL;
	if (!sources || !targets || !count || count > SET_LUNS_MAX || !async)
		return provider_answer(call, CS_INVALID_ARGUMENT);
	uint8_t(*from)[UP_ID_BYTES] = recognise_pairs(call, sources, count, &result);
	uint8_t(*to)[UP_ID_BYTES] = from ? recognise_pairs(call, targets, count, &result) : NULL;
	if (to)
		result = resync_start(p->context, (const uint8_t(*)[UP_ID_BYTES])from,
			(const uint8_t(*)[UP_ID_BYTES])to, count, async);
	free(from);
	free(to);
	if (result != CS_OUT_OF_MEMORY && result != CS_NO_STORAGE && result != CS_INVALID_ARGUMENT &&
		result != CS_NOT_IMPLEMENTED && result != CS_OK)
		result = CS_VETO; /* the event is queued */
	return provider_answer(call, result);
}

HRESULT WINAPI hw_OnReuseLuns(IVssHardwareSnapshotProviderEx *iface, VDS_LUN_INFORMATION *shadows,
	VDS_LUN_INFORMATION *originals, DWORD count)
{
	(void)iface;
	(void)shadows;
	(void)originals;
	(void)count;
	return provider_answer("OnReuseLuns", CS_NOT_IMPLEMENTED); /* as GetProviderCapabilities */
}
