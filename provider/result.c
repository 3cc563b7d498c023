/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of result.h. */
#include "provider/result.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <vss.h>
#include "events.h"
#include "proto/identity.h"
#include "provider/eventlog.h"

HRESULT result_hresult(enum cs_result result)
{
	static const HRESULT table[CS_RESULT_COUNT] = {
		[CS_OK] = S_OK,
		[CS_BUSY] = S_FALSE,
		[CS_OUT_OF_MEMORY] = E_OUTOFMEMORY,
		[CS_INVALID_ARGUMENT] = E_INVALIDARG,
		[CS_BAD_STATE] = VSS_E_BAD_STATE,
		[CS_NOT_FOUND] = VSS_E_OBJECT_NOT_FOUND,
		[CS_NO_STORAGE] = VSS_E_INSUFFICIENT_STORAGE,
		[CS_TOO_MANY_SNAPSHOTS] = VSS_E_MAXIMUM_NUMBER_OF_SNAPSHOTS_REACHED,
		[CS_TOO_MANY_VOLUMES] = VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED,
		[CS_NOT_SUPPORTED] = VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER,
		[CS_UNSUPPORTED_CONTEXT] = VSS_E_UNSUPPORTED_CONTEXT,
		[CS_VETO] = VSS_E_PROVIDER_VETO,
		[CS_NOT_IMPLEMENTED] = E_NOTIMPL,
	};

	assert((unsigned)result < CS_RESULT_COUNT);
	return table[result];
}

static const struct {
	enum cs_result result;
	DWORD event_id;
} by_status[UP_STATUS_COUNT] = {
	[UP_OK] = {CS_VETO, UMBRA_EVENT_INTERNAL}, /* an answer without what was asked for */
	[UP_PENDING] = {CS_VETO, UMBRA_EVENT_BUSY},
	[UP_BAD_MESSAGE] = {CS_VETO, UMBRA_EVENT_VERSION},
	[UP_BAD_VERSION] = {CS_VETO, UMBRA_EVENT_VERSION},
	[UP_UNSUPPORTED] = {CS_VETO, UMBRA_EVENT_VERSION},
	[UP_NOT_FOUND] = {CS_VETO, UMBRA_EVENT_SET_LOST},
	[UP_BAD_STATE] = {CS_VETO, UMBRA_EVENT_SET_LOST},
	[UP_DENIED] = {CS_VETO, UMBRA_EVENT_DENIED},
	[UP_NOT_AUTHENTICATED] = {CS_VETO, UMBRA_EVENT_NOT_AUTHENTICATED},
	[UP_NO_SPACE] = {CS_NO_STORAGE, UMBRA_EVENT_NO_SPACE},
	[UP_LIMIT] = {CS_TOO_MANY_SNAPSHOTS, UMBRA_EVENT_LIMIT},
	[UP_DEADLINE] = {CS_VETO, UMBRA_EVENT_DEADLINE},
	[UP_BUSY] = {CS_VETO, UMBRA_EVENT_BUSY},
	[UP_IO_ERROR] = {CS_VETO, UMBRA_EVENT_STORE_ERROR},
	[UP_OTHER_STORE] = {CS_VETO, UMBRA_EVENT_OTHER_STORE},
	[UP_NOT_MAPPED] = {CS_VETO, UMBRA_EVENT_DENIED},
	[UP_ID_CONFLICT] = {CS_VETO, UMBRA_EVENT_REFUSED},
	[UP_INTERNAL] = {CS_VETO, UMBRA_EVENT_REFUSED},
};

/* *event_id gets the message of events.mc. */
static enum cs_result result_of_trouble(const struct array_trouble *trouble, DWORD *event_id)
{
	if (trouble->err == -ENOMEM) {
		*event_id = UMBRA_EVENT_INTERNAL;
		return CS_OUT_OF_MEMORY;
	}
	if (trouble->err < 0) {
		*event_id = trouble->err == -ENOTCONN ? UMBRA_EVENT_STANDBY : UMBRA_EVENT_UNREACHABLE;
		return CS_VETO;
	}
	if (trouble->status >= UP_STATUS_COUNT) {
		*event_id = UMBRA_EVENT_VERSION;
		return CS_VETO;
	}
	*event_id = by_status[trouble->status].event_id;
	return by_status[trouble->status].result;
}

void result_event(
	DWORD event_id, const char *call, const uint8_t *lun_id, const char *array, const char *detail)
{
	char lun[UP_SERIAL_BYTES + 1] = "";

	if (lun_id)
		up_id_format(lun_id, lun);
	eventlog_note(event_id, call, lun, array, detail);
}

enum cs_result result_note(const struct array_trouble *trouble, const char *call, const uint8_t *lun_id)
{
	char detail[UP_TEXT_MAX_BYTES + 80];
	DWORD event_id;
	enum cs_result result = result_of_trouble(trouble, &event_id);

	if (trouble->err < 0)
		snprintf(detail, sizeof(detail), "Request \"%s\": error %d.", up_op_name(trouble->op),
			-trouble->err);
	else
		snprintf(detail, sizeof(detail), "Request \"%s\": %s. %s", up_op_name(trouble->op),
			up_status_name(trouble->status), trouble->text);
	result_event(event_id, call, lun_id, trouble->array, detail);
	return result;
}
