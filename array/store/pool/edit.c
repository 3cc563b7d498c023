/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The catalogue of a pool that nobody has open is changed, all of it or nothing: the log's frames, the change and a new
 * incarnation are one transaction of LMDB, as at a start.
 *
 * A copy of the metadata from before must not come back unnoticed. So the mirror is struck off before (the next start makes it
 * anew), and the data's stamp names the new incarnation after: a restore of a backup from before is refused as old.
 */
#include "array/store/pool/pool.h"

#include <errno.h>
#include <string.h>
#include "array/store/pool/durable/digest.h"
#include "array/store/pool/durable/sums.h"

struct edit {
	struct pool_host *host;
	const struct pool_options *options;
	struct pool_super super;
	struct pool_file *data, *log;
	struct pool_stamp stamp;
	struct pool_meta meta;
	MDB_txn *txn;
	int (*edit)(void *arg, struct store *store, struct fault *fault);
	void *arg;
};

static int open_data(struct edit *e, struct fault *fault)
{
	const char *name = e->super.data_device ? e->options->data_device : "data.0";
	int err;

	if (!name)
		return fault_set(
			fault, -ENXIO, "the pool keeps its data on a device: name it with --data-device");
	err = e->host->ops->file_open(
		e->host, name, e->options->read_only ? POOL_FILE_READONLY : 0, &e->data);
	if (err)
		return pool_data_fault(fault, err, name);
	if (e->super.data_device && (err = pool_device_check(e->data, name, &e->super, fault)))
		return err;
	err = pool_stamp_read(e->data, e->super.id, &e->stamp);
	return err ? pool_data_fault(fault, err, name) : 0;
}

static int unreadable(int err, struct fault *fault)
{
	if (err == -EUCLEAN || err == -EBADMSG)
		return pool_damaged(fault);
	return fault_set(fault, err, "the pool cannot be read (%s): look at the disk and the kernel's log",
		strerror(-err));
}

static int open_log(struct edit *e, struct fault *fault)
{
	int err = e->host->ops->file_open(e->host, "log", POOL_FILE_READONLY | POOL_FILE_HOLD, &e->log);

	if (err == -EBUSY)
		return pool_still_busy(fault);
	if (!err)
		err = pool_log_check(e->host, e->log, &e->super);
	return err ? unreadable(err == -ENOENT ? -EUCLEAN : err, fault) : 0;
}

/* Up to what was acknowledged last. */
static int replay(struct edit *e, struct pool_state *state, uint64_t *before, struct fault *fault)
{
	struct pool_replay r = {0};
	int err = pool_meta_begin(&e->meta, false, &e->txn);

	if (!err)
		err = pool_meta_state(&e->meta, e->txn, state);
	*before = state->incarnation;
	if (!err && state->shut)
		return pool_is_shut(fault);
	if (!err && state->incarnation < e->stamp.incarnation)
		return pool_is_old(fault);
	if (!err)
		err = pool_log_read(e->host, e->log, &e->super, state, &r);
	if (!err && (r.cut_short || r.meta_old))
		err = -EUCLEAN;
	if (!err) {
		pool_replay_begin(&r);
		err = pool_meta_apply(&e->meta, e->txn, r.payloads, r.count, &r.state);
		*state = r.state;
	}
	pool_replay_free(&r);
	return err ? unreadable(err, fault) : 0;
}

static int keep(struct edit *e, const struct pool_state *state, uint64_t before)
{
	int err = pool_digest_flush(&e->meta, e->txn);

	if (!err && e->stamp.flags) {
		e->stamp.epoch++;
		e->stamp.flags = 0;
		err = pool_stamp_write(e->data, e->super.id, &e->stamp);
	}
	if (!err && (e->super.features_refuse & POOL_FEATURE_SUMS))
		err = pool_sums_carry(e->host, e->super.id, before, state->incarnation);
	if (!err) {
		err = e->host->ops->meta_commit(e->host, e->txn);
		e->txn = NULL;
	}
	if (!err) {
		e->stamp.incarnation = state->incarnation;
		err = pool_stamp_write(e->data, e->super.id, &e->stamp);
	}
	return err;
}

static int run(struct edit *e, struct fault *fault)
{
	struct pool_state state = {0};
	uint64_t before = 0;
	int err = open_data(e, fault);

	if (!err)
		err = open_log(e, fault);
	if (!err)
		err = pool_meta_open(&e->meta, e->host, &e->super, POOL_META_CHECK, fault);
	if (!err)
		err = replay(e, &state, &before, fault);
	if (!err)
		err = pool_catalogue_edit(&e->meta, e->txn, e->edit, e->arg, fault);
	if (err)
		return err < 0 ? err : 0;
	err = keep(e, &state, before);
	return err ? fault_set(fault, err,
			     "the pool cannot be written (%s): look at its disk, and run this again: all was changed, or nothing",
			     strerror(-err))
		   : 0;
}

int pool_edit_on(struct pool_host *host, const struct pool_options *options,
	int (*edit)(void *arg, struct store *store, struct fault *fault), void *arg, struct fault *fault)
{
	struct edit e = {.host = host, .options = options, .edit = edit, .arg = arg};
	int err = pool_read_super(host, &e.super, fault);

	if (!err)
		err = pool_super_usable(&e.super, fault);
	if (!err && (e.super.features_data_readonly & POOL_FEATURE_SALVAGED))
		err = fault_set(fault, -EROFS,
			"the pool was restored with --salvage and is for reading only: copy what you need into a new pool");
	if (!err)
		err = run(&e, fault);
	if (e.txn)
		pool_meta_abort(e.txn);
	pool_meta_close(&e.meta);
	if (e.log)
		host->ops->file_close(e.log);
	if (e.data)
		host->ops->file_close(e.data);
	return err;
}
