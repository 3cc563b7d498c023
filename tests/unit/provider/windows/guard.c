/* SPDX-License-Identifier: Apache-2.0 */
/* See guard.h. A block is a reservation of its own: header, marked bytes, the block, its tail, a page without access. */
#include "guard.h"

#include <stdint.h>
#include <string.h>
#include <objbase.h>
#include "check.h"

#define PAGE        4096u
#define GRANULARITY 65536u /* reservations begin at multiples: so a block's header is found */
#define MARK        0xF5   /* before the block and in its tail */
#define FRESH       0xA5   /* what an allocation holds that was not zeroed */
#define QUARANTINE  8192   /* freed blocks that stay untouchable */

enum family {
	FAMILY_HEAP = 0x48454150,
	FAMILY_TASK = 0x5441534B,
	FAMILY_FREED = 0x46524545
};

struct header {
	uint32_t family;
	size_t size, room; /* of the block; from the reservation's begin to the page without access */
};

void (*guard_watch)(bool is_free);

static volatile LONG live;
static volatile LONG fail_countdown = -1; /* the allocation that takes it from 0 fails */
static volatile LONG failures;
static SRWLOCK quarantine_lock = SRWLOCK_INIT;
static void *quarantine[QUARANTINE];
static unsigned quarantine_next;

LONG guard_live(void)
{
	return InterlockedCompareExchange(&live, 0, 0);
}

void guard_fail_after(LONG n)
{
	InterlockedExchange(&failures, 0);
	InterlockedExchange(&fail_countdown, n);
}

bool guard_fail_end(void)
{
	InterlockedExchange(&fail_countdown, -1);
	return InterlockedExchange(&failures, 0) != 0;
}

static bool is_to_fail(void)
{
	for (;;) {
		LONG left = fail_countdown;
		if (left < 0)
			return false;
		if (InterlockedCompareExchange(&fail_countdown, left - 1, left) != left)
			continue;
		if (left == 0)
			InterlockedIncrement(&failures);
		return left == 0;
	}
}

static struct header *header_of(void *block)
{
	return (struct header *)((uintptr_t)block & ~(uintptr_t)(GRANULARITY - 1));
}

static void *take(size_t size, enum family family, int fill)
{
	size_t tail = -size & 15,
	       room = (sizeof(struct header) + 16 + size + tail + PAGE - 1) & ~(size_t)(PAGE - 1);

	if (guard_watch)
		guard_watch(false);
	if (is_to_fail())
		return NULL;
	char *base = VirtualAlloc(NULL, room + PAGE, MEM_RESERVE, PAGE_NOACCESS);
	CHECK(base && VirtualAlloc(base, room, MEM_COMMIT, PAGE_READWRITE));
	*(struct header *)base = (struct header){.family = family, .size = size, .room = room};
	char *block = base + room - tail - size;
	memset(base + sizeof(struct header), MARK, (size_t)(block - base) - sizeof(struct header));
	memset(block, fill, size);
	memset(block + size, MARK, tail);
	InterlockedIncrement(&live);
	return block;
}

static void check_marks(const struct header *h, const char *block)
{
	const char *base = (const char *)h;

	CHECK(block == base + h->room - (-h->size & 15) - h->size); /* not into the middle of a block */
	for (const char *at = base + sizeof(*h); at < block; at++)
		CHECK((uint8_t)*at == MARK);
	for (const char *at = block + h->size; at < base + h->room; at++)
		CHECK((uint8_t)*at == MARK);
}

static void give(void *block, enum family family)
{
	DWORD old;

	if (guard_watch)
		guard_watch(true);
	if (!block)
		return;
	struct header *h = header_of(block);
	CHECK(h->family == (uint32_t)family); /* a second free faults here: the page is gone */
	check_marks(h, block);
	size_t room = h->room;
	h->family = FAMILY_FREED;
	CHECK(VirtualProtect(h, room, PAGE_NOACCESS, &old));
	InterlockedDecrement(&live);
	AcquireSRWLockExclusive(&quarantine_lock);
	void *oldest = quarantine[quarantine_next];
	quarantine[quarantine_next] = h;
	quarantine_next = (quarantine_next + 1) % QUARANTINE;
	ReleaseSRWLockExclusive(&quarantine_lock);
	if (oldest)
		CHECK(VirtualFree(oldest, 0, MEM_RELEASE));
}

static void *change(void *block, size_t size, enum family family)
{
	char *fresh = take(size, family, FRESH);

	if (!block || !fresh)
		return fresh;
	size_t old = header_of(block)->size;
	memcpy(fresh, block, old < size ? old : size);
	give(block, family);
	return fresh;
}

/* ---- the C library's family ---- */

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);
void __wrap_free(void *block);

void *__wrap_malloc(size_t size)
{
	return take(size, FAMILY_HEAP, FRESH);
}

void *__wrap_calloc(size_t count, size_t size)
{
	CHECK(!size || count <= SIZE_MAX / size / 2);
	return take(count * size, FAMILY_HEAP, 0);
}

void *__wrap_realloc(void *block, size_t size)
{
	return change(block, size, FAMILY_HEAP);
}

void __wrap_free(void *block)
{
	give(block, FAMILY_HEAP);
}

/* ---- COM's family: imported, so what is replaced is the import's entry ---- */

static LPVOID WINAPI task_take(SIZE_T size)
{
	return take(size, FAMILY_TASK, FRESH);
}

static LPVOID WINAPI task_change(LPVOID block, SIZE_T size)
{
	return change(block, size, FAMILY_TASK);
}

static void WINAPI task_give(LPVOID block)
{
	give(block, FAMILY_TASK);
}

extern LPVOID(WINAPI *__wrap___imp_CoTaskMemAlloc)(SIZE_T);
extern LPVOID(WINAPI *__wrap___imp_CoTaskMemRealloc)(LPVOID, SIZE_T);
extern void(WINAPI *__wrap___imp_CoTaskMemFree)(LPVOID);
LPVOID(WINAPI *__wrap___imp_CoTaskMemAlloc)(SIZE_T) = task_take;
LPVOID(WINAPI *__wrap___imp_CoTaskMemRealloc)(LPVOID, SIZE_T) = task_change;
void(WINAPI *__wrap___imp_CoTaskMemFree)(LPVOID) = task_give;
