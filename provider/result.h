/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two translations at the provider's edges: what an array or a path said → what the method answers and
 * which event explains it; and that answer → HRESULT.
 */
#ifndef UMBRA_PROVIDER_RESULT_H
#define UMBRA_PROVIDER_RESULT_H

#include <windows.h>
#include "provider/array_client.h"
#include "provider/copyset.h"

HRESULT result_hresult(enum cs_result result);

/* What a failed request means for the method, and queues the event. lun_id may be NULL. */
enum cs_result result_note(const struct array_trouble *trouble, const char *call, const uint8_t *lun_id);

/* Queues an event about a set's array. lun_id, array and detail may be NULL. */
void result_event(
	DWORD event_id, const char *call, const uint8_t *lun_id, const char *array, const char *detail);

#endif
