/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening a pool. In this order: version, log label, replay of the log into LMDB with a new incarnation (after which
 * the log is empty), then disks and branches into memory. The map itself is loaded on demand.
 */
#include "array/store/pool/background/background.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "array/util/bytes.h"

#define DEFAULT_MAP_BYTES (UINT64_C(256) << 20)
#define RECORD_BYTES                                                                                         \
	16384u         /* of LMDB's pages, that a record of a batch may make dirty: map, gen, space, split */
#define SUMS_SHARE  8u /* of the memory: pages of checksums */
#define RECORDS_MIN 256u
#define RECORDS_MAX 65536u

/* ---- the way up (asks.h) --------------------------------------------------------------------------- */

static struct pool *above(struct pool_base *b)
{
	return container_of(b, struct pool, base);
}

static void ask_commit(struct pool_base *b)
{
	pool_commit_request(&above(b)->commit);
}

static void ask_commit_later(struct pool_base *b)
{
	pool_commit_later(&above(b)->commit);
}

static void ask_flush(struct pool_base *b, struct store_io *io)
{
	pool_flush_wait(&above(b)->commit, io);
}

static void ask_checkpoint(struct pool_base *b)
{
	struct pool_commit *c = &above(b)->commit;

	pool_commit_request(c);
	pool_checkpoint_hurry(&c->checkpoint);
}

static void ask_log_has_room(struct pool_base *b)
{
	pool_commit_log_has_room(&above(b)->commit);
}

static void ask_reclaim(struct pool_base *b, enum pool_reclaim_ask what)
{
	struct pool *p = above(b);

	if (what == POOL_RECLAIM_SCAN) {
		pool_reclaim_scan(p);
		return;
	}
	if (what == POOL_RECLAIM_LOOK)
		pool_reclaim_look(p);
	pool_reclaim_kick(p);
	pool_pack_kick(p); /* it may have waited for the frame */
}

static void ask_pack(struct pool_base *b, const struct pool_branch *branch, uint64_t chunk)
{
	pool_pack_note(above(b), branch, chunk);
}

static bool ask_may_free(struct pool_base *b)
{
	return pool_reclaim_may_free(above(b));
}

static bool ask_hurried(struct pool_base *b)
{
	struct pool *p = above(b);
	bool waits = pool_commit_hurried(&p->commit);

	waits = pool_wake_impatient(b, &p->space.alloc_waiters) || waits;
	return pool_wake_impatient(b, &p->map.room_waiters) || waits;
}

static void ask_ended(struct pool_base *b)
{
	pool_close_step(above(b));
}

static const struct pool_asks asks = {
	.commit = ask_commit,
	.commit_later = ask_commit_later,
	.flush = ask_flush,
	.checkpoint = ask_checkpoint,
	.log_has_room = ask_log_has_room,
	.reclaim = ask_reclaim,
	.pack = ask_pack,
	.may_free = ask_may_free,
	.hurried = ask_hurried,
	.ended = ask_ended,
};

/* ---- the parts ------------------------------------------------------------------------------------- */

/* Three quarters of the memory are the map's (less what checksums take, open_sums), the rest is LMDB's for the batches of
 * the checkpoint. */
static void share_memory(struct pool *p, uint64_t bytes)
{
	uint64_t records = bytes / 4 / RECORD_BYTES;

	p->memory_bytes = bytes;
	p->map.bytes_max = bytes - bytes / 4;
	if (records < RECORDS_MIN)
		records = RECORDS_MIN;
	p->commit.checkpoint.records_max = records < RECORDS_MAX ? records : RECORDS_MAX;
}

static struct pool *pool_new(struct pool_host *host, const struct pool_options *options)
{
	struct pool *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->store.ops = &pool_ops;
	p->base.host = host;
	p->base.asks = &asks;
	pool_patience_init(&p->base);
	list_init(&p->hydrations);
	pool_locks_init(&p->locks);
	pool_map_init(&p->map, &p->base, &p->meta, &p->store);
	pool_space_init(&p->space, &p->base, &p->super, &p->meta, &p->map);
	pool_commit_init(&p->commit, &p->base, &p->super, &p->meta, &p->map, &p->space, &p->log, &p->mirror);
	p->mirror = (struct pool_mirror){.base = &p->base,
		.super = &p->super,
		.space = &p->space,
		.host = options->mirror,
		.wanted = options->mirror || options->meta_mirror,
		.logs = options->log_mirror,
		.notice = options->notice,
		.notice_arg = options->notice_arg};
	p->damages.found = options->damaged;
	p->damages.arg = options->damaged_arg;
	p->scrubbed = options->scrubbed;
	share_memory(p, options->map_memory_bytes ? options->map_memory_bytes : DEFAULT_MAP_BYTES);
	p->reclaim = pool_reclaim_new(p);
	p->pack = pool_pack_new(p);
	p->scrub = pool_scrub_new(p);
	if (!pool_spares_init(&p->spares) || !p->reclaim || !p->pack || !p->scrub) {
		pool_scrub_free(p->scrub);
		pool_spares_destroy(&p->spares);
		pool_pack_free(p->pack);
		pool_reclaim_free(p->reclaim);
		free(p);
		return NULL;
	}
	return p;
}

static bool salvaged(const struct pool *p)
{
	return (p->super.features_data_readonly & POOL_FEATURE_SALVAGED) != 0;
}

/* Chunks that it says are one LUN's may have been another's for long. */
int pool_is_old(struct fault *fault)
{
	return fault_set(fault, -EUCLEAN,
		"the pool's metadata is older than its data (an old copy was put back): written with, it would mix up LUNs' data. "
		"Restore the mirror (`umbractl pool restore`), or this copy with --salvage, for reading only");
}

static int is_old(const struct pool *p, const struct pool_state *state, struct fault *fault)
{
	if (salvaged(p) || state->incarnation >= p->mirror.stamp.incarnation)
		return 0;
	pool_is_old(fault);
	return -ESTALE;
}

int pool_is_shut(struct fault *fault)
{
	return fault_set(fault, -EUCLEAN,
		"the pool is shut since a repair that could not mend all: `umbractl pool check` names what is missing; restore that from a backup of this pool, then run `umbractl pool check --repair`");
}

int pool_damaged(struct fault *fault)
{
	return fault_set(fault, -EUCLEAN,
		"the pool's log or metadata is damaged: run `umbractl pool check`, or restore it (`umbractl pool restore`)");
}

int pool_still_busy(struct fault *fault)
{
	return fault_set(fault, -EBUSY,
		"a process that was killed still has writes of this pool under way: try again when its disk has answered");
}

/* Before the new incarnation is durable: after a crash it is still known which sums are the last opening's. */
static int open_sums(struct pool *p, uint64_t before, uint64_t now, struct fault *fault)
{
	uint64_t memory = p->memory_bytes / SUMS_SHARE;
	int err;

	if (!(p->super.features_refuse & POOL_FEATURE_SUMS))
		return 0;
	err = pool_sums_open(&p->space.sums, before, now, memory, salvaged(p));
	if (!err && !salvaged(p))
		err = pool_touched_room(&p->space.sums, p->super.capacity_chunks);
	if (!err) {
		p->map.bytes_max -= memory;
		return 0;
	}
	if (err == -EBUSY)
		pool_still_busy(fault);
	else
		fault_set(fault, err,
			"the checksums of the pool's data (`sums`, `touched`) cannot be used (%s): give the file system room, or look at its disk",
			strerror(-err));
	return -ESTALE; /* it has been said */
}

static int replay(struct pool *p, struct pool_state *state, struct fault *fault)
{
	uint64_t before;
	struct pool_replay r = {0};
	MDB_txn *txn = NULL;
	int err = pool_meta_begin(&p->meta, false, &txn);

	if (!err)
		err = pool_meta_state(&p->meta, txn, state);
	if (!err && state->shut) {
		pool_meta_abort(txn);
		return pool_is_shut(fault);
	}
	if (!err)
		err = is_old(p, state, fault);
	if (!err)
		err = pool_log_read(p->base.host, p->log.file, &p->super, state, &r);
	if (!err && (r.cut_short || r.meta_old))
		err = -EUCLEAN;
	if (!err) {
		before = state->incarnation;
		pool_replay_begin(&r);
		err = open_sums(p, before, r.state.incarnation, fault);
	}
	if (!err)
		err = pool_meta_apply(&p->meta, txn, r.payloads, r.count, &r.state);
	if (err && txn)
		pool_meta_abort(txn);
	else if (!err)
		err = p->base.host->ops->meta_commit(p->base.host, txn);
	*state = r.state;
	pool_replay_free(&r);
	if (err == -ESTALE) /* it has been said */
		return -EUCLEAN;
	if (err == -EUCLEAN || err == -EBADMSG)
		return pool_damaged(fault);
	return err ? fault_set(fault, err,
			     "the pool's log cannot be replayed (%s): look at the disk and the kernel's log",
			     strerror(-err))
		   : 0;
}

static int load_tables(struct pool *p, const struct pool_state *state)
{
	MDB_txn *txn;
	int err = pool_meta_begin(&p->meta, true, &txn);

	if (err)
		return err;
	err = pool_map_open(&p->map, txn);
	if (!err)
		err = pool_commit_open(&p->commit, state, txn);
	if (!err)
		err = pool_space_open(&p->space, txn);
	pool_meta_abort(txn);
	return err;
}

static void start_values(struct pool *p, const struct pool_state *state)
{
	uint64_t frame_max = (p->super.log_bytes - POOL_LOG_START) / 4;

	pool_log_start(&p->log, state);
	p->map.applied = state->applied_sequence;
	p->map.next_branch = state->next_branch;
	p->map.next_disk = state->next_disk;
	/* A quarter of a frame at most for the map: 40 bytes an entry, 24 its chunk's free, 48 its branch. */
	p->map.dirty_max = frame_max / 4 / 112;
	if (p->map.dirty_max > p->commit.checkpoint.records_max)
		p->map.dirty_max = p->commit.checkpoint.records_max;
}

static int open_mirror(struct pool *p, const struct pool_state *state, struct fault *fault)
{
	int err = pool_mirror_open(&p->mirror, p->base.host, &p->meta, p->log.file, state);
	char text[384];

	if (err)
		return fault_set(fault, err,
			"the pool cannot note its opening (%s): look at the disk of its data and of the file `pool`",
			strerror(-err));
	if (p->mirror.host && !p->mirror.active && p->mirror.notice) {
		snprintf(text, sizeof(text),
			"the metadata is not mirrored (%s); the pool goes on without: mend the mirror's place, and umbrad makes it by itself",
			p->mirror.reason);
		p->mirror.notice(p->mirror.notice_arg, text);
	}
	return 0;
}

static int open_parts(struct pool *p, const struct pool_options *options, struct fault *fault)
{
	struct pool_state state;
	int err;

	err = pool_read_super(p->base.host, &p->super, fault);
	if (err)
		return err;
	err = pool_super_usable(&p->super, fault);
	if (err)
		return err;
	if (p->super.data_device && !options->data_device)
		return fault_set(fault, -ENXIO,
			"the pool keeps its data on a device: name it with data_device in the configuration");
	if (!p->super.data_device && options->data_device && options->notice)
		options->notice(options->notice_arg,
			"data_device names a device, but the pool keeps its data in its directory: remove data_device from the "
			"configuration, or name the directory of the pool that was made with that device");
	err = pool_log_open(&p->log, p->base.host, &p->super);
	if (err == -EBUSY)
		return pool_still_busy(fault);
	if (err && err != -ENOENT && err != -EBADMSG)
		return fault_set(fault, err,
			"the pool's file `log` cannot be read (%s): look at the disk and the kernel's log",
			strerror(-err));
	if (err)
		return fault_set(fault, -EUCLEAN,
			"the pool's file `log` is missing or damaged: where the mirror has a log, `umbractl pool restore` brings it back");
	err = pool_meta_open(&p->meta, p->base.host, &p->super, POOL_META_USE, fault);
	if (err)
		return err;
	err = pool_data_open(&p->space, p->super.data_device ? options->data_device : NULL);
	if (err == -EBUSY)
		return pool_still_busy(fault);
	if (err)
		return pool_data_fault(fault, err, p->super.data_device ? options->data_device : "data.0");
	err = p->super.data_device
		      ? pool_device_check(p->space.data[0].file, options->data_device, &p->super, fault)
		      : 0;
	if (err)
		return err;
	err = pool_mirror_stamp(&p->mirror);
	if (err)
		return fault_set(fault, err,
			"the pool's data cannot be read (%s): look at its disk and the kernel's log",
			strerror(-err));
	err = replay(p, &state, fault);
	if (err)
		return err;
	err = salvaged(p) ? 0 : open_mirror(p, &state, fault);
	if (err)
		return err;
	start_values(p, &state);
	err = load_tables(p, &state);
	if (err && p->space.beyond)
		return fault_set(fault, -EUCLEAN,
			"data.%u is too short: the pool has data in its chunk %llu, behind the end. Restore that file from a backup of this pool; `umbractl pool check` says what is lost without it",
			(unsigned)(p->space.grown_chunks / POOL_SEGMENT_CHUNKS),
			(unsigned long long)p->space.beyond);
	if (err)
		return fault_set(fault, err,
			"the pool's metadata is damaged: run `umbractl pool check`, or restore it (`umbractl pool restore`)");
	return 0;
}

int pool_open_on(struct pool_host *host, const struct pool_options *options, struct reactor *reactor,
	struct store **out, struct fault *fault)
{
	struct pool *p = pool_new(host, options);
	int err;

	if (!p) {
		host->ops->free(host);
		if (options->mirror)
			options->mirror->ops->free(options->mirror);
		return fault_set(
			fault, -ENOMEM, "there is not enough memory to open the pool: give umbrad more");
	}
	p->store.reactor = reactor;
	err = open_parts(p, options, fault);
	if (err) {
		pool_destroy(p);
		return err;
	}
	p->opened = true;
	if (salvaged(p)) {
		p->base.latched = -EROFS;
		snprintf(p->base.latch_reason, sizeof(p->base.latch_reason),
			"it was restored with --salvage from metadata that is older than its data: see docs/operations.md");
	}
	*out = &p->store;
	pool_sums_start(&p->space.sums);
	pool_scrub_resume(p);
	pool_reclaim_look(p);
	pool_reclaim_kick(p);
	return 0;
}
