/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that stays in memory: what the commit window touches must not wait for a paging file that lies on a volume that
 * is held. Best effort: what cannot be locked is told in the trace, and works.
 */
#ifndef UMBRA_PROVIDER_MEMORY_H
#define UMBRA_PROVIDER_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

/* Windows lets a process lock no more than its minimum working set, 200 KiB unless it asks: once at the start. */
void memory_allow_locking(size_t bytes);
bool memory_lock(void *at, size_t bytes);
void memory_unlock(void *at, size_t bytes);

#endif
