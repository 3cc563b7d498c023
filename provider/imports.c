/* SPDX-License-Identifier: Apache-2.0 */
/* How long imports take: see imports.h. */
#include "provider/imports.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "events.h"
#include "provider/array_client.h"
#include "provider/clock.h"
#include "provider/eventlog.h"
#include "provider/provider_object.h"
#include "provider/result.h"

#define IMPORT_AGAIN_US (UINT64_C(60) * 1000000) /* what did not arrive by then is imported anew */
#define LEAVE_LIMIT_MS  2000
#define LEAVE_PAUSE_MS  20

struct import {
	struct import_lun lun;
	uint64_t begun_us; /* of the set's first LocateLuns */
	bool arrived;
};

static SRWLOCK lock = SRWLOCK_INIT; /* guards what follows */
static struct import imports[IMPORTS_MAX];
static unsigned import_count;
static const struct provider_context *imports_context;

static volatile LONG telling; /* threads */

/* ---- the list, under the lock ------------------------------------------------------------------------ */

static struct import *import_of(const uint8_t lun_id[UP_ID_BYTES])
{
	for (unsigned i = 0; i < import_count; i++)
		if (memcmp(imports[i].lun.lun_id, lun_id, UP_ID_BYTES) == 0)
			return &imports[i];
	return NULL;
}

static void drop_at(unsigned i)
{
	import_count--;
	memmove(&imports[i], &imports[i + 1], (import_count - i) * sizeof(imports[0]));
}

static void drop_set(const uint8_t set_id[UP_ID_BYTES])
{
	uint8_t id[UP_ID_BYTES];

	memcpy(id, set_id, sizeof(id)); /* it may lie in what is dropped */
	for (unsigned i = import_count; i-- > 0;)
		if (memcmp(imports[i].lun.set_id, id, UP_ID_BYTES) == 0)
			drop_at(i);
}

/* When the set's import began that this call is a part of. */
static uint64_t begin_of(const uint8_t set_id[UP_ID_BYTES], uint64_t begun_us)
{
	for (unsigned i = 0; i < import_count; i++)
		if (memcmp(imports[i].lun.set_id, set_id, UP_ID_BYTES) == 0)
			return imports[i].begun_us;
	return begun_us;
}

static void locate_one(const struct import_lun *lun, uint64_t begun_us)
{
	uint64_t begin = begin_of(lun->set_id, begun_us);

	if (import_of(lun->lun_id)) /* two volumes on one LUN */
		return;
	if (import_count == IMPORTS_MAX)
		drop_at(0);
	imports[import_count++] = (struct import){.lun = *lun, .begun_us = begin};
}

void imports_located(const struct provider_context *context, const struct import_lun *luns, unsigned count,
	uint64_t begun_us)
{
	static const uint8_t none[UP_ID_BYTES];

	AcquireSRWLockExclusive(&lock);
	imports_context = context;
	for (unsigned i = 0; i < count; i++) {
		const struct import *known = import_of(luns[i].lun_id);
		if (known && (known->arrived || begun_us > known->begun_us + IMPORT_AGAIN_US))
			drop_set(known->lun.set_id);
	}
	for (unsigned i = 0; i < count; i++)
		if (memcmp(luns[i].set_id, none, UP_ID_BYTES) != 0)
			locate_one(&luns[i], begun_us);
	ReleaseSRWLockExclusive(&lock);
}

/* ---- telling ----------------------------------------------------------------------------------------- */

struct told {
	const struct provider_context *context;
	uint8_t set_id[UP_ID_BYTES], lun_id[UP_ID_BYTES];
	uint64_t import_us;
	unsigned luns, array_count;
	uint8_t arrays[ARRAYS_MAX][UP_ID_BYTES];
	struct up_msg request, reply;
	struct array_trouble trouble;
};

static void tell_array(struct told *t, const uint8_t array_id[UP_ID_BYTES])
{
	struct up_msg *m = &t->request;
	char detail[200];

	up_request_init(m, UP_OP_SET_TELL, 0);
	memcpy(m->set_id, t->set_id, UP_ID_BYTES);
	m->import_us = t->import_us;
	m->has = UP_HAS(UP_TAG_SET_ID) | UP_HAS(UP_TAG_IMPORT_US);
	int err = array_client_request(t->context->client, array_id, NULL, m, &t->reply, &t->trouble);
	if (err == 0 ||
		(err == -EPROTO && t->reply.status == UP_UNSUPPORTED)) /* an older array keeps no record */
		return;
	snprintf(detail, sizeof(detail), "How long its import took was not recorded (%s).",
		t->trouble.err < 0 ? "no answer" : up_status_name(t->trouble.status));
	result_event(UMBRA_EVENT_NOT_TOLD, "LocateLuns", t->lun_id, t->trouble.array, detail);
}

static DWORD WINAPI tell_thread(void *arg)
{
	struct told *t = arg;
	const struct provider_context *context = t->context;
	char detail[100], name[UP_NAME_MAX_BYTES + 1];

	for (unsigned i = 0; i < t->array_count; i++)
		tell_array(t, t->arrays[i]);
	array_client_name(context->client, t->arrays[0], name);
	snprintf(detail, sizeof(detail), "%u LUNs; their disks were there after %llu ms.", t->luns,
		(unsigned long long)((t->import_us + 999) / 1000));
	result_event(UMBRA_EVENT_IMPORTED, "LocateLuns", t->lun_id, name, detail);
	free(t);
	provider_object_ended(context);
	InterlockedDecrement(&telling);
	return 0;
}

/* Under the lock: whom to tell when this was the last disk of its set; NULL: it was not. */
static struct told *told_of(const struct import *last)
{
	struct told *t = NULL;

	for (unsigned i = 0; i < import_count; i++)
		if (memcmp(imports[i].lun.set_id, last->lun.set_id, UP_ID_BYTES) == 0 && !imports[i].arrived)
			return NULL;
	t = imports_context ? calloc(1, sizeof(*t)) : NULL;
	if (!t)
		return NULL;
	t->context = imports_context;
	t->import_us = clock_us() - last->begun_us;
	memcpy(t->set_id, last->lun.set_id, UP_ID_BYTES);
	memcpy(t->lun_id, last->lun.lun_id, UP_ID_BYTES);
	for (unsigned i = 0; i < import_count; i++) {
		unsigned known = 0;
		if (memcmp(imports[i].lun.set_id, last->lun.set_id, UP_ID_BYTES) != 0)
			continue;
		t->luns++;
		while (known < t->array_count &&
			memcmp(t->arrays[known], imports[i].lun.array_id, UP_ID_BYTES) != 0)
			known++;
		if (known == t->array_count && known < ARRAYS_MAX)
			memcpy(t->arrays[t->array_count++], imports[i].lun.array_id, UP_ID_BYTES);
	}
	return t;
}

void imports_arrived(const uint8_t lun_id[UP_ID_BYTES])
{
	struct told *t = NULL;

	AcquireSRWLockExclusive(&lock);
	struct import *import = import_of(lun_id);
	if (import && !import->arrived) {
		import->arrived = true;
		t = told_of(import);
	}
	ReleaseSRWLockExclusive(&lock);
	if (!t)
		return;
	InterlockedIncrement(&telling);
	provider_object_began(t->context);
	HANDLE thread = CreateThread(NULL, 0, tell_thread, t, 0, NULL);
	if (thread) {
		CloseHandle(thread);
		return;
	}
	provider_object_ended(t->context);
	InterlockedDecrement(&telling);
	free(t);
}

void imports_leave(void)
{
	AcquireSRWLockExclusive(&lock);
	import_count = 0;
	ReleaseSRWLockExclusive(&lock);
	for (DWORD waited_ms = 0; telling && waited_ms < LEAVE_LIMIT_MS; waited_ms += LEAVE_PAUSE_MS)
		Sleep(LEAVE_PAUSE_MS);
}
