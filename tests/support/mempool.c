/* SPDX-License-Identifier: Apache-2.0 */
/* The pool's entry points over the store in memory: linked with umbrad's main.c they make an array that
 * forgets everything when it ends. For tests that are not about storage, and as the null store of benchmarks.
 * UMBRA_MEM_COPY_CUT_MS in the environment: a resync takes so long, and can be cancelled meanwhile.
 * UMBRA_MEM_CUT_MS: the gates of a commit stay closed for so long. */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include "array/store/pool/public.h"
#include "array/store/store.h"
#include "tests/support/memstore.h"

int pool_create(const struct pool_options *options, struct fault *fault)
{
	(void)options;
	(void)fault;
	return 0;
}

int pool_open(
	const struct pool_options *options, struct reactor *reactor, struct store **out, struct fault *fault)
{
	const char *slow = getenv("UMBRA_MEM_COPY_CUT_MS"), *closed = getenv("UMBRA_MEM_CUT_MS");
	static struct memstore *memory;

	(void)options;
	if (!memory)
		memory = memstore_create(0);
	if (!memory)
		return fault_set(fault, -ENOMEM, "No memory for the store: stop other programs.");
	if (slow)
		memstore_slow_copy_cuts(memory, (uint32_t)strtoul(slow, NULL, 10));
	if (closed)
		memstore_timing(memory, MEMSTORE_CUT, MEMSTORE_TIMED, (uint32_t)strtoul(closed, NULL, 10));
	*out = memstore_open(memory, reactor);
	return 0;
}

int pool_check(const struct pool_options *options, bool repair, void (*report)(void *arg, const char *line),
	void *arg, struct fault *fault)
{
	(void)options;
	(void)repair;
	(void)report;
	(void)arg;
	return fault_set(fault, -ENOTSUP, "A store in memory has nothing to check.");
}

int pool_checksums(const struct pool_options *options, struct fault *fault)
{
	(void)options;
	return fault_set(fault, -EOPNOTSUPP, "the store in memory has no pool");
}

int pool_upgrade(const struct pool_options *options, bool *changed, struct fault *fault)
{
	(void)options;
	*changed = false;
	return fault_set(fault, -EOPNOTSUPP, "the store in memory has no pool");
}

int pool_edit(const struct pool_options *options,
	int (*edit)(void *arg, struct store *store, struct fault *fault), void *arg, struct fault *fault)
{
	(void)options;
	(void)edit;
	(void)arg;
	return fault_set(fault, -EOPNOTSUPP, "the store in memory has no pool");
}

int pool_grow(const struct pool_options *options, uint64_t *capacity_bytes, struct fault *fault)
{
	(void)options;
	(void)capacity_bytes;
	return fault_set(fault, -EOPNOTSUPP, "A store in memory does not grow.");
}

int pool_restore(const struct pool_options *options, const char *from, bool salvage,
	struct pool_restored *out, struct fault *fault)
{
	(void)options;
	(void)from;
	(void)salvage;
	(void)out;
	return fault_set(fault, -EOPNOTSUPP, "A store in memory has nothing to restore.");
}

int pool_dump(const struct pool_options *options, bool entries,
	void (*row)(void *arg, const char *table, const struct pool_dump_field *fields, unsigned count),
	void *arg, struct fault *fault)
{
	(void)options;
	(void)entries;
	(void)row;
	(void)arg;
	return fault_set(fault, -ENOTSUP, "A store in memory has nothing to dump.");
}

int pool_give(const char *path, uid_t user, gid_t group, struct fault *fault)
{
	(void)path;
	(void)user;
	(void)group;
	return fault_set(fault, -EOPNOTSUPP, "A store in memory belongs to nobody.");
}
