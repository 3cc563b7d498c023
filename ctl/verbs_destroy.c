/* SPDX-License-Identifier: Apache-2.0 */
/* umbractl rbd destroy: deletes an array in Ceph, by the module of that store. Locked copies are kept from whoever asks, here too. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "array/model/set/internal.h"
#include "array/reactor/reactor.h"
#include "array/store/module.h"
#include "array/store/store.h"
#include "ctl/ctl.h"

#define TELL_MS 1000u
#define NO_RING "The system refuses what umbrad runs on, io_uring (%s): run this where umbrad runs, as root."

struct destroying {
	struct reactor *reactor;
	const struct store_module *rbd;
	struct store *store;
	struct reactor_timer tell;
	uint64_t told;
	unsigned disks; /* images that are named */
	bool quiet;
};

static void notice(void *arg, enum store_notice level, const char *text)
{
	(void)arg;
	if (level != STORE_NOTICE_INFO)
		fprintf(stderr, "umbractl: %s\n", text);
}

static void ended(void *arg, int err)
{
	*(int *)arg = err ? err : 1;
}

static int wait_for(struct destroying *d, const int *end)
{
	int err = 0;

	while (!*end && err >= 0)
		err = reactor_turn(d->reactor, -1);
	return err < 0 ? err : *end < 0 ? *end : 0;
}

static void tell(struct reactor_timer *timer)
{
	struct destroying *d = container_of(timer, struct destroying, tell);
	struct store_stats stats;

	d->store->ops->stats(d->store, &stats);
	if (stats.reclaim_pending_steps && stats.reclaim_pending_steps != d->told)
		fprintf(stderr, "%llu images are left to delete\n",
			(unsigned long long)stats.reclaim_pending_steps);
	d->told = stats.reclaim_pending_steps;
	reactor_timer_arm(d->reactor, timer, TELL_MS);
}

static int find_lock(void *arg, const void *key, size_t key_len, const void *value, size_t value_len)
{
	(void)arg, (void)value, (void)value_len;
	return set_lock_record_is(key, key_len);
}

static int count(void *arg, const void *key, size_t key_len, const void *value, size_t value_len)
{
	struct destroying *d = arg;

	(void)key, (void)key_len, (void)value, (void)value_len;
	d->disks++;
	return 0;
}

/* What keeps the array from going. 0: nothing does. */
static int look(struct destroying *d, struct fault *fault)
{
	const struct store_ops *ops = d->store->ops;
	int err = ops->iterate(d->store, STORE_TABLE_META, find_lock, NULL);

	if (err > 0)
		return fault_set(fault, -EROFS,
			"the array has locked copy sets: it stays until their locks have ended (umbractl set list), which they do "
			"while umbrad runs");
	if (!err)
		err = ops->iterate(d->store, STORE_TABLE_LUN, count, d);
	return err < 0 ? fault_set(fault, err, "the array's records in Ceph cannot be read (%s): see ceph -s",
				 strerror(-err))
		       : 0;
}

static int destroy(struct destroying *d, struct fault *fault)
{
	int end = 0, err = look(d, fault);

	if (err)
		return err;
	d->tell.fire = tell;
	if (!d->quiet)
		reactor_timer_arm(d->reactor, &d->tell, TELL_MS);
	d->rbd->destroy(d->store, ended, &end);
	err = wait_for(d, &end);
	reactor_timer_disarm(d->reactor, &d->tell);
	if (err == -EBUSY)
		return fault_set(fault, err,
			"the array is empty now, but images are left that have snapshots or clones made by hand (rbd snap ls, rbd trash "
			"ls): delete those, and run this again");
	return err ? fault_set(fault, err,
			     "the array could not be deleted (%s): look at the cluster (ceph -s), and run this again",
			     strerror(-err))
		   : 0;
}

static int in_ceph(struct destroying *d, struct fault *fault)
{
	int end = 0, err = destroy(d, fault), closed;

	d->store->ops->close(d->store, ended, &end);
	closed = wait_for(d, &end);
	if (!err && closed)
		err = fault_set(fault, closed,
			"the array's catalogue could not be deleted (%s), its images are: run this again",
			strerror(-closed));
	return err;
}

int verb_rbd_destroy(struct invocation *in)
{
	struct reactor_options reactor = {.workers = 1};
	struct destroying d = {.quiet = in->json};
	struct store_module_options options;
	struct fault fault = {0};
	int code = ctl_rbd_options(in, &options), err;

	if (!code)
		code = ctl_confirm(in,
			"All LUNs of the array and all copies of them are deleted, with their data. Nothing brings them back.",
			"the array's name in Ceph", options.array);
	if (code)
		return code;
	options.notice = notice;
	options.moved = true;
	d.rbd = store_module_load("rbd", &fault);
	if (!d.rbd)
		return ctl_fail_fault(in, fault.err, &fault);
	err = reactor_create(&d.reactor, &reactor);
	if (err)
		return ctl_fail(in, err, NO_RING, strerror(-err));
	err = d.rbd->open(&options, d.reactor, &d.store, &fault);
	if (!err)
		err = in_ceph(&d, &fault);
	reactor_destroy(d.reactor);
	if (err)
		return ctl_fail_fault(in, err, &fault);
	return print_result(in,
		json_pack("{s:o, s:o, s:i}", "pool", json_text(options.ceph_pool), "array",
			json_text(options.array), "luns", (int)d.disks),
		"Array %s of %s is deleted, with %u LUNs and copies.\n", options.array, options.ceph_pool,
		d.disks);
}
