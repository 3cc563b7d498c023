/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a catalogue said at some time, as a store that only shows it: for a controller that stands by while another one owns
 * the array. Its disks have a size and no data: all I/O, every transaction and every cut ends with -ESHUTDOWN.
 *
 * It is filled on one thread and belongs to the reactor's from its first use as a store on.
 */
#ifndef UMBRA_STORE_SNAPSHOT_H
#define UMBRA_STORE_SNAPSHOT_H

#include "array/store/store.h"

struct snapshot;

struct snapshot *snapshot_new(struct reactor *reactor); /* NULL: no memory */
/* Each record comes once. -ENOMEM, -EMSGSIZE. */
int snapshot_record(struct snapshot *s, enum store_table table, const void *key, size_t key_len,
	const void *value, size_t value_len);
int snapshot_disk(struct snapshot *s, uint64_t id, uint64_t size_bytes, uint64_t data);
/* The same for two that say the same, in whatever order. META does not count: beside the array's id, which never changes, it has
 * what goes on at its owner. */
uint64_t snapshot_digest(const struct snapshot *s);
struct store *snapshot_store(struct snapshot *s); /* its close frees the snapshot */
void snapshot_free(struct snapshot *s);           /* NULL is fine */

#endif
