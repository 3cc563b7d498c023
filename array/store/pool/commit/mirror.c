/* SPDX-License-Identifier: Apache-2.0 */
/* The second copy of the metadata, and of the log (mirror.h). */
#include "array/store/pool/commit/mirror.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "array/store/pool/durable/super.h"

/* ---- the stamp --------------------------------------------------------------------------------------- */

static struct pool_file *data_file(const struct pool_mirror *m)
{
	return m->space->data[0].file;
}

int pool_mirror_stamp(struct pool_mirror *m)
{
	return pool_stamp_read(data_file(m), m->super->id, &m->stamp);
}

/* Nothing is mirrored any more. The same whoever asks: the epoch is one more than the mirror's. */
static int strike_off(struct pool_mirror *m)
{
	struct pool_stamp stamp = m->stamp;

	stamp.epoch++;
	stamp.flags = 0;
	return pool_stamp_write(data_file(m), m->super->id, &stamp);
}

void pool_mirror_lost(struct pool_mirror *m, int err, const char *what)
{
	char text[384];

	if (!m->active)
		return;
	m->active = false;
	snprintf(m->reason, sizeof(m->reason), "%s cannot be written: %s", what, strerror(-err));
	snprintf(text, sizeof(text),
		"the mirror of the metadata is lost (%s); the pool goes on without it: mend its place, and umbrad makes it anew "
		"by itself within a minute",
		m->reason);
	if (m->notice)
		m->notice(m->notice_arg, text);
}

void pool_mirror_tell(struct pool_mirror *m, const char *what, int err)
{
	char text[384];

	snprintf(text, sizeof(text), "%s (%s): it tries again, and hosts are told BUSY while it must wait",
		what, strerror(-err));
	if (m->notice)
		m->notice(m->notice_arg, text);
}

/* ---- opening ---------------------------------------------------------------------------------------- */

static int refuse(struct pool_mirror *m, int err, const char *what)
{
	snprintf(m->failure, sizeof(m->failure), "%s: %s", what, strerror(-err));
	return err;
}

/* Not another pool's mirror, nor a pool. */
static int check_place(struct pool_mirror *m, struct pool_super *found)
{
	struct fault fault;
	int err = pool_read_super(m->host, found, &fault);

	if (err == -ENOENT)
		return 0;
	if (!err && memcmp(found->id, m->super->id, POOL_ID_BYTES) != 0)
		return refuse(m, -EEXIST, "its directory holds another pool or its mirror");
	return err ? refuse(m, err, "its file `pool` cannot be read") : 0;
}

/* The frames that it lacks are still in the pool's log: it gets them and the pool's state. */
static int catch_up(
	struct pool_mirror *m, struct pool_host *pool, struct pool_file *log, const struct pool_state *after)
{
	struct pool_replay r = {0};
	struct pool_state state;
	struct fault fault;
	MDB_txn *txn = NULL;
	int err = pool_meta_open(&m->meta, m->host, m->super, POOL_META_USE, &fault);

	if (!err)
		err = pool_meta_begin(&m->meta, false, &txn);
	if (!err)
		err = pool_meta_state(&m->meta, txn, &state);
	if (!err)
		err = pool_log_read(pool, log, m->super, &state, &r);
	if (!err && (r.cut_short || r.meta_old || r.state.applied_sequence != after->applied_sequence))
		err = -ESTALE;
	if (!err) {
		r.state.incarnation = after->incarnation;
		r.state.log_offset = after->log_offset;
		err = pool_meta_apply(&m->meta, txn, r.payloads, r.count, &r.state);
	}
	if (err)
		pool_meta_abort(txn);
	else
		err = m->host->ops->meta_commit(m->host, txn);
	pool_replay_free(&r);
	if (err)
		pool_meta_close(&m->meta);
	return err;
}

static int open_log(struct pool_mirror *m)
{
	int err = m->host->ops->file_open(m->host, "log", POOL_FILE_DSYNC, &m->log);

	if (err == -ENOENT) {
		err = pool_log_create(m->host, m->super);
		if (!err)
			err = m->host->ops->file_open(m->host, "log", POOL_FILE_DSYNC, &m->log);
	}
	return err ? err : pool_log_check(m->host, m->log, m->super);
}

/* Everything anew: first it is said to be worth nothing, last to be the pool's. */
static int copy_all(struct pool_mirror *m, struct pool_meta *meta)
{
	struct pool_stamp stamp = {0};
	struct fault fault;
	int err = pool_stamp_write_mirror(m->host, m->super->id, &stamp);

	if (!err)
		err = pool_meta_copy(meta, m->host);
	if (!err)
		err = pool_meta_open(&m->meta, m->host, m->super, POOL_META_USE, &fault);
	return err;
}

static int make(struct pool_mirror *m, struct pool_host *pool, struct pool_meta *meta, struct pool_file *log,
	const struct pool_state *after, bool *anew)
{
	struct pool_stamp own;
	struct pool_super found = {0};
	int err = check_place(m, &found);

	if (err)
		return err;
	err = pool_stamp_read_mirror(m->host, m->super->id, &own);
	if (err)
		return refuse(m, err, "its directory cannot be read");
	*anew = !pool_stamp_current(&m->stamp, &own) ||
		((m->stamp.flags & POOL_STAMP_LOGGED) != 0) != m->logs || catch_up(m, pool, log, after);
	if (*anew && (err = copy_all(m, meta)))
		return refuse(m, err, "the metadata cannot be copied to it");
	if (memcmp(&found, m->super, sizeof(found)) != 0 && (err = pool_super_replace(m->host, m->super)))
		return refuse(m, err, "its file `pool` cannot be written");
	if (m->logs && (err = open_log(m)))
		return refuse(m, err, "its log cannot be made or opened");
	return 0;
}

/* A program that knows nothing of mirrors must not open a pool that has one: it would leave the stamp as it is. */
static int say_mirrored(struct pool_mirror *m, struct pool_host *pool, bool mirrored)
{
	uint64_t features = m->super->features_refuse & ~(uint64_t)POOL_FEATURE_MIRRORED;

	if (mirrored)
		features |= POOL_FEATURE_MIRRORED;
	if (features == m->super->features_refuse)
		return 0;
	m->super->features_refuse = features;
	return pool_super_replace(pool, m->super);
}

int pool_mirror_open(struct pool_mirror *m, struct pool_host *pool, struct pool_meta *meta,
	struct pool_file *log, const struct pool_state *after)
{
	struct pool_stamp stamp = m->stamp;
	bool anew = false;
	int err = m->host ? say_mirrored(m, pool, true) : 0;

	if (err)
		return err;
	m->active = m->host && !make(m, pool, meta, log, after, &anew);
	stamp.incarnation = after->incarnation;
	if (m->active && anew) {
		stamp.epoch++;
		stamp.flags = POOL_STAMP_MIRRORED | (m->logs ? POOL_STAMP_LOGGED : 0);
		err = pool_stamp_write_mirror(m->host, m->super->id, &stamp);
		if (err) {
			refuse(m, err, "its file `mirror` cannot be written");
			m->active = false;
		}
	}
	if (!m->active && m->failure[0])
		memcpy(m->reason, m->failure, sizeof(m->reason));
	if (!m->active && stamp.flags) { /* there was one: it is behind from now on */
		stamp.epoch++;
		stamp.flags = 0;
	}
	err = pool_stamp_write(data_file(m), m->super->id, &stamp);
	m->stamp = stamp;
	return !err && !m->host ? say_mirrored(m, pool, false) : err;
}

static void let_go(struct pool_mirror *m)
{
	if (m->log)
		m->host->ops->file_close(m->log);
	m->log = NULL;
	pool_meta_close(&m->meta);
	if (m->host)
		m->host->ops->free(m->host);
	m->host = NULL;
}

void pool_mirror_close(struct pool_mirror *m)
{
	let_go(m);
	free(m->reopen_arg);
	m->reopen_arg = NULL;
}

/* ---- made anew -------------------------------------------------------------------------------------- */

int pool_mirror_reopen(struct pool_mirror *m)
{
	struct pool_stamp none = {0};
	struct pool_super found;
	struct fault fault = {0};
	int err;

	let_go(m);
	err = m->reopen(m, &m->host, &fault);
	if (err) {
		m->host = NULL;
		snprintf(m->failure, sizeof(m->failure), "%.190s", fault.text);
		return err;
	}
	err = check_place(m, &found);
	if (!err && (err = pool_stamp_write_mirror(m->host, m->super->id, &none)))
		refuse(m, err, "its file `mirror` cannot be written");
	return err;
}

int pool_mirror_copy(struct pool_mirror *m, struct pool_meta *meta)
{
	int err = copy_all(m, meta);

	return err ? refuse(m, err, "the metadata cannot be copied to it") : 0;
}

int pool_mirror_restamp(struct pool_mirror *m, struct pool_host *pool, int *latch)
{
	struct pool_stamp stamp;
	int err = pool_stamp_read(data_file(m), m->super->id, &stamp);

	if (err)
		return refuse(m, err, "the stamp on the data cannot be read");
	if ((err = say_mirrored(m, pool, true)))
		return refuse(m, err, "the pool's file `pool` cannot be written");
	if ((err = pool_super_replace(m->host, m->super)))
		return refuse(m, err, "its file `pool` cannot be written");
	if (m->logs && (err = open_log(m)))
		return refuse(m, err, "its log cannot be made or opened");
	stamp.epoch = (stamp.epoch > m->stamp.epoch ? stamp.epoch : m->stamp.epoch) + 2;
	stamp.incarnation = m->stamp.incarnation;
	stamp.flags = POOL_STAMP_MIRRORED | (m->logs ? POOL_STAMP_LOGGED : 0);
	if ((err = pool_stamp_write_mirror(m->host, m->super->id, &stamp)))
		return refuse(m, err, "its file `mirror` cannot be written");
	m->stamp = stamp;
	err = pool_stamp_write(data_file(m), m->super->id, &stamp);
	if (err) { /* what stands there nobody knows */
		*latch = strike_off(m);
		return refuse(m, err, "the stamp on the data cannot be written");
	}
	return 0;
}

void pool_mirror_again(struct pool_mirror *m)
{
	m->active = true;
	m->reason[0] = 0;
	if (m->notice)
		m->notice(m->notice_arg, "the mirror of the metadata is current again");
}

/* ---- frames ----------------------------------------------------------------------------------------- */

static void struck_off(struct pool_job *job)
{
	struct pool_mirror *m = container_of(job, struct pool_mirror, job);

	m->done(m->arg, m->err);
}

static void strike_work(struct pool_job *job)
{
	struct pool_mirror *m = container_of(job, struct pool_mirror, job);

	m->err = strike_off(m);
}

static void frame_written(struct pool_op *op, int err)
{
	struct pool_mirror *m = container_of(op, struct pool_mirror, op);

	if (!err) {
		m->done(m->arg, 0);
		return;
	}
	pool_mirror_lost(m, err, "its log");
	m->job.work = strike_work;
	m->job.done = struck_off;
	m->base->host->ops->work(m->base->host, &m->job, POOL_QUEUE_WORKERS);
}

void pool_mirror_frame(struct pool_mirror *m, uint8_t *frame, uint64_t bytes, uint64_t offset,
	void (*done)(void *arg, int err), void *arg)
{
	m->done = done;
	m->arg = arg;
	m->iov = (struct iovec){.iov_base = frame, .iov_len = bytes};
	m->op = (struct pool_op){.done = frame_written,
		.kind = POOL_OP_WRITE,
		.file = m->log,
		.iov = &m->iov,
		.iov_count = 1,
		.offset = offset,
		.len = bytes};
	m->host->ops->submit(m->host, &m->op);
}

/* ---- the checkpoint, the superblock ----------------------------------------------------------------- */

int pool_mirror_apply(struct pool_mirror *m, const struct pool_payload *payloads, size_t count,
	const struct pool_state *state, int *lost)
{
	struct pool_state own = *state;
	MDB_txn *txn = NULL;
	int err = pool_meta_begin(&m->meta, false, &txn);

	if (!err) {
		err = pool_meta_apply(&m->meta, txn, payloads, count, &own);
		if (err)
			pool_meta_abort(txn);
		else
			err = m->host->ops->meta_commit(m->host, txn);
	}
	*lost = err;
	return err ? strike_off(m) : 0;
}

int pool_mirror_super(struct pool_mirror *m, const struct pool_super *super, int *lost)
{
	*lost = m->active ? pool_super_replace(m->host, super) : 0;
	return *lost ? strike_off(m) : 0;
}
