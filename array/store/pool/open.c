/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making and opening a pool. Order at creation: first data segment, log, metadata, the device's label, and last the
 * file `pool` that makes it one; so what a crash leaves of a creation is no pool. At open: version, log label, replay of
 * the log into LMDB with a new incarnation (after which the log is empty), then disks and branches into
 * memory; the map itself is loaded on demand.
 */
#include "array/store/pool/pool.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>
#include "array/util/bytes.h"

#define DEFAULT_LOG_BYTES (UINT64_C(64) << 20)
#define DEFAULT_MAP_BYTES (UINT64_C(256) << 20)
#define DIRTY_MAX         65536u
#define MAP_LOADS_KEPT    1024u

/* ---- create ---------------------------------------------------------------------------------------- */

static int write_super(struct pool_host *host, const struct pool_super *super)
{
	uint8_t *buf;
	struct pool_file *f;
	int err;

	if (posix_memalign((void **)&buf, POOL_BLOCK_BYTES, POOL_SUPER_BYTES))
		return -ENOMEM;
	pool_super_encode(buf, super);
	err = host->ops->file_open(host, "pool", POOL_FILE_CREATE, &f);
	if (!err) {
		err = host->ops->file_pwrite(f, buf, POOL_SUPER_BYTES, 0);
		if (!err)
			err = host->ops->file_sync(f);
		host->ops->file_close(f);
	}
	free(buf);
	return err;
}

/* The device's chunk 0, which is never handed out, says whose data it holds. `super` NULL: nobody's. */
static int label_device(struct pool_host *host, const char *device, const struct pool_super *super)
{
	struct pool_file *f;
	uint8_t *buf;
	int err;

	if (posix_memalign((void **)&buf, POOL_BLOCK_BYTES, POOL_SUPER_BYTES))
		return -ENOMEM;
	memset(buf, 0, POOL_SUPER_BYTES);
	if (super)
		pool_super_encode(buf, super);
	err = host->ops->file_open(host, device, 0, &f);
	if (!err) {
		err = host->ops->file_pwrite(f, buf, POOL_SUPER_BYTES, 0);
		if (!err)
			err = host->ops->file_sync(f);
		host->ops->file_close(f);
	}
	free(buf);
	return err;
}

/* What label_device or write_super have written; as pool_super_decode, or what reading says. */
static int read_label(struct pool_file *f, struct pool_super *found)
{
	uint8_t *buf;
	int err;

	if (posix_memalign((void **)&buf, POOL_BLOCK_BYTES, POOL_SUPER_BYTES))
		return -ENOMEM;
	err = f->host->ops->file_pread(f, buf, POOL_SUPER_BYTES, 0);
	if (!err)
		err = pool_super_decode(buf, found);
	free(buf);
	return err;
}

/* Not what another pool has its data on. */
static int check_new_device(struct pool_file *f, const char *device, struct fault *fault)
{
	struct pool_super found;
	int err = read_label(f, &found);

	if (err == -ENOMEM)
		return err;
	if (err == 0 || err == -ENOTSUP)
		return fault_set(fault, -EEXIST,
			"%s holds the data of a pool already: name another device. If nobody needs that pool any "
			"more, clear the first 4 KiB of the device",
			device);
	if (err == -EBADMSG) /* nor is it too small for that: the caller looks at its size */
		return 0;
	return fault_set(fault, err,
		"the data device %s cannot be read (%s): look at the disk and the kernel's log", device,
		strerror(-err));
}

static int check_device(struct pool *p, const char *device, struct fault *fault)
{
	struct pool_super found;
	int err = read_label(p->data[0].file, &found);

	if (err == -ENOMEM)
		return err;
	if (!err && memcmp(found.id, p->super.id, POOL_ID_BYTES) == 0)
		return 0;
	return fault_set(fault, -EUCLEAN,
		"%s does not hold the data of this pool: name the device that it was made with", device);
}

/* Its capacity, when it may be used. */
static int take_device(
	struct pool_host *host, const char *device, struct pool_super *super, struct fault *fault)
{
	struct pool_file *f;
	uint64_t size;
	int err = host->ops->file_open(host, device, 0, &f);

	if (!err) {
		err = host->ops->file_size(f, &size);
		if (err)
			host->ops->file_close(f);
	}
	if (err)
		return fault_set(fault, err,
			"the data device %s cannot be opened (%s): look at its path, its owner and mode, and at who else uses it",
			device, strerror(-err));
	err = check_new_device(f, device, fault);
	host->ops->file_close(f);
	if (err)
		return err;
	super->data_device = true;
	super->capacity_chunks = size >> POOL_CHUNK_SHIFT;
	if (super->capacity_chunks < 16)
		return fault_set(fault, -ENOSPC,
			"the data device %s is smaller than 1 MiB: name a larger one", device);
	return 0;
}

static int create_data(struct pool_host *host, const struct pool_options *options, struct pool_super *super,
	struct fault *fault)
{
	uint64_t first = super->capacity_chunks < 1024 ? super->capacity_chunks : 1024;
	struct pool_file *f;
	int err;

	if (options->data_device)
		return take_device(host, options->data_device, super, fault);
	err = host->ops->file_open(host, "data.0", POOL_FILE_CREATE, &f);
	if (err)
		return fault_set(fault, err,
			"data.0 cannot be made in %s (%s): look at the directory's owner and mode, and at the file system",
			options->path, strerror(-err));
	err = host->ops->file_allocate(f, 0, first << POOL_CHUNK_SHIFT);
	if (!err)
		err = host->ops->file_sync(f);
	host->ops->file_close(f);
	return err ? fault_set(fault, err,
			     "data.0 in %s cannot be written (%s): give the file system room, or look at its disk",
			     options->path, strerror(-err))
		   : 0;
}

int pool_create_on(struct pool_host *host, const struct pool_options *options, uint64_t capacity_bytes,
	struct fault *fault)
{
	struct pool_super super = {.version = POOL_VERSION, .features_refuse = POOL_FEATURE_SHARED};
	struct pool_file *f;
	int err;

	err = host->ops->file_open(host, "pool", POOL_FILE_READONLY, &f);
	if (!err) {
		host->ops->file_close(f);
		return fault_set(fault, -EEXIST,
			"%s holds a pool already: open it, or give another directory for the new one",
			options->path);
	}
	super.log_bytes = options->log_bytes ? options->log_bytes : DEFAULT_LOG_BYTES;
	super.log_bytes -= super.log_bytes % POOL_LOG_ALIGN;
	if (super.log_bytes < POOL_LOG_MIN_BYTES)
		super.log_bytes = POOL_LOG_MIN_BYTES;
	super.capacity_chunks = (capacity_bytes >> POOL_CHUNK_SHIFT) + 1; /* chunk 0 is never used */
	if (!options->data_device && capacity_bytes < (1u << 20))
		return fault_set(fault, -ENOSPC,
			"there is no room for a pool in %s: at least %llu MiB must be free", options->path,
			(unsigned long long)((super.log_bytes >> 20) + 65));
	if (super.capacity_chunks > POOL_PHYS_MAX)
		super.capacity_chunks = POOL_PHYS_MAX;
	if (getrandom(super.id, sizeof(super.id), 0) != (ssize_t)sizeof(super.id))
		return fault_set(
			fault, -EIO, "the system gave no random number for the pool's id: try again");
	err = create_data(host, options, &super, fault);
	if (err)
		return err;
	err = pool_log_create(host, &super);
	if (err)
		return fault_set(fault, err,
			"the log of %llu MiB cannot be written in %s (%s): give the file system room, or choose a smaller one (--log)",
			(unsigned long long)(super.log_bytes >> 20), options->path, strerror(-err));
	err = pool_meta_create(host, &super);
	if (err)
		return fault_set(fault, err,
			"the metadata cannot be made in %s (%s): give the file system room, or look at its disk",
			options->path, strerror(-err));
	err = super.data_device ? label_device(host, options->data_device, &super) : 0;
	if (err)
		return fault_set(fault, err,
			"the data device %s cannot be written (%s): look at the disk and the kernel's log",
			options->data_device, strerror(-err));
	err = write_super(host, &super);
	if (err && super.data_device)
		label_device(host, options->data_device, NULL);
	if (err)
		return fault_set(fault, err,
			"the pool in %s cannot be completed (%s): give the file system room, or look at its disk",
			options->path, strerror(-err));
	return 0;
}

/* ---- open ------------------------------------------------------------------------------------------ */

int pool_read_super(struct pool_host *host, struct pool_super *out, struct fault *fault)
{
	struct pool_file *f;
	int err = host->ops->file_open(host, "pool", POOL_FILE_READONLY, &f);

	if (err) {
		if (err == -ENOENT)
			return fault_set(fault, err,
				"there is no pool there: check the path, or make one with `umbractl pool create`");
		return fault_set(fault, err,
			"the pool cannot be read (%s): look at its owner and mode, at the disk and the kernel's log",
			strerror(-err));
	}
	err = read_label(f, out);
	host->ops->file_close(f);
	if (err == -ENOMEM)
		return err;
	if (err == -ENOTSUP)
		return fault_set(fault, err,
			"the pool has format %u, this program knows up to %u: install a newer Umbra",
			out->version, POOL_VERSION);
	if (err)
		return fault_set(
			fault, -EUCLEAN, "the file `pool` is damaged: restore it from a backup of this pool");
	return 0;
}

static struct pool *pool_new(struct pool_host *host, const struct pool_options *options)
{
	struct pool *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->base.ops = &pool_ops;
	p->host = host;
	for (unsigned i = 0; i < POOL_HASH_BUCKETS; i++) {
		list_init(&p->branch_hash[i]);
		list_init(&p->disk_hash[i]);
		list_init(&p->lock_hash[i]);
	}
	struct list *lists[] = {&p->dirty_branches, &p->lru, &p->lock_free, &p->sub_free, &p->piece_free,
		&p->alloc_waiters, &p->flushes, &p->txns, &p->cycle_flushes, &p->cycle_txns, &p->backlog,
		&p->checkpointing, &p->applied_waiters, &p->applied_running, &p->todos, &p->hydrations,
		&p->reserves, &p->grace_waiters, &p->grace_running_waiters};

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		list_init(lists[i]);
	p->map_bytes_max = options->map_memory_bytes ? options->map_memory_bytes : DEFAULT_MAP_BYTES;
	p->map_loads_kept = MAP_LOADS_KEPT;
	p->bounce_free = calloc(64, sizeof(p->bounce_free[0]));
	p->reclaim = pool_reclaim_new(p);
	if (!p->bounce_free || !p->reclaim) {
		free(p->bounce_free);
		pool_reclaim_free(p->reclaim);
		free(p);
		return NULL;
	}
	return p;
}

int pool_check_log_file(struct pool_host *host, struct pool_file *log, const struct pool_super *super)
{
	uint64_t size;
	uint8_t *buf;
	int err = host->ops->file_size(log, &size);

	if (err)
		return err;
	if (size < super->log_bytes)
		return -EBADMSG;
	if (posix_memalign((void **)&buf, POOL_LOG_ALIGN, POOL_LOG_START))
		return -ENOMEM;
	err = host->ops->file_pread(log, buf, POOL_LOG_START, 0);
	if (!err)
		err = pool_log_label_check(buf, super->id);
	free(buf);
	return err;
}

static int replay(struct pool *p, struct fault *fault)
{
	struct pool_replay r = {0};
	MDB_txn *txn = NULL;
	int err = pool_meta_begin(&p->meta, false, &txn);

	if (!err)
		err = pool_meta_state(&p->meta, txn, &p->state);
	if (!err)
		err = pool_log_read(p->host, p->log_file, &p->super, &p->state, &r);
	if (!err && r.cut_short)
		err = -EUCLEAN;
	if (!err) {
		/* A new incarnation: no frame of the past can be taken for one of the future. */
		r.state.incarnation++;
		r.state.log_offset = POOL_LOG_START;
		err = pool_meta_apply(&p->meta, txn, r.payloads, r.count, &r.state);
	}
	if (err && txn)
		mdb_txn_abort(txn);
	else if (!err)
		err = p->host->ops->meta_commit(p->host, txn);
	p->state = r.state;
	pool_replay_free(&r);
	if (err == -EUCLEAN || err == -EBADMSG)
		return fault_set(fault, -EUCLEAN,
			"the pool's log or metadata is damaged: run `umbractl pool check`, or restore a backup");
	return err ? fault_set(fault, err,
			     "the pool's log cannot be replayed (%s): look at the disk and the kernel's log",
			     strerror(-err))
		   : 0;
}

static int load_branch(
	void *arg, const uint8_t *key, size_t key_len, const uint8_t *value, size_t value_len, bool intact)
{
	struct pool *p = arg;
	struct pool_branch_value v;
	struct pool_branch *b;

	if (!intact || key_len != 8 || value_len != POOL_BRANCH_VALUE_BYTES - 4)
		return -EUCLEAN;
	pool_branch_value_decode(value, &v);
	b = pool_branch_new(p, get_be64(key));
	if (!b)
		return -ENOMEM;
	b->gen = v.gen;
	b->parent_gen = v.parent_gen;
	b->chunks = v.chunks;
	b->parent_id = v.parent;
	return 0;
}

static int load_disk(
	void *arg, const uint8_t *key, size_t key_len, const uint8_t *value, size_t value_len, bool intact)
{
	struct pool *p = arg;
	struct pool_disk_value v;
	struct pool_branch *b;

	if (!intact || key_len != 8 || value_len != POOL_DISK_VALUE_BYTES - 4)
		return -EUCLEAN;
	pool_disk_value_decode(value, &v);
	b = pool_branch_find(p, v.branch);
	if (!b || b->disk)
		return -EUCLEAN;
	return pool_disk_new(p, get_be64(key), b, v.size_bytes) ? 0 : -ENOMEM;
}

static int load_todo(
	void *arg, const uint8_t *key, size_t key_len, const uint8_t *value, size_t value_len, bool intact)
{
	struct pool *p = arg;
	struct pool_todo *t;

	(void)value;
	(void)value_len;
	if (!intact || key_len != POOL_TODO_KEY_BYTES)
		return -EUCLEAN;
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->branch = get_be64(key);
	t->gen = get_be32(key + 8);
	t->sequence = p->state.applied_sequence;
	if (!t->sequence)
		t->sequence = 1;
	list_push_back(&p->todos, &t->link);
	return 0;
}

static int attach_branches(struct pool *p)
{
	for (unsigned i = 0; i < POOL_HASH_BUCKETS; i++) {
		list_for_each (n, &p->branch_hash[i]) {
			struct pool_branch *b = container_of(n, struct pool_branch, hash_link), *parent;

			if (!b->parent_id)
				continue;
			parent = pool_branch_find(p, b->parent_id);
			if (!parent || parent == b || b->parent_gen == 0)
				return -EUCLEAN;
			pool_branch_attach(parent, b);
		}
	}
	/* No circles: parents are older. */
	for (unsigned i = 0; i < POOL_HASH_BUCKETS; i++) {
		list_for_each (n, &p->branch_hash[i]) {
			const struct pool_branch *b = container_of(n, struct pool_branch, hash_link);

			if (b->parent && b->parent->id >= b->id)
				return -EUCLEAN;
		}
	}
	return 0;
}

static int load_tables(struct pool *p)
{
	MDB_txn *txn;
	int err = pool_meta_begin(&p->meta, true, &txn);

	if (err)
		return err;
	err = pool_meta_each(&p->meta, txn, POOL_TABLE_BRANCH, load_branch, p);
	if (!err)
		err = pool_meta_each(&p->meta, txn, POOL_TABLE_DISK, load_disk, p);
	if (!err)
		err = pool_meta_each(&p->meta, txn, POOL_TABLE_TODO, load_todo, p);
	if (!err)
		err = pool_refs_loose_count(&p->meta, txn, &p->loose_count);
	if (!err)
		err = pool_refs_count(&p->meta, txn, &p->refs_count);
	mdb_txn_abort(txn);
	p->loose_likely = p->loose_count > 0;
	if (!err)
		err = attach_branches(p);
	if (!err)
		err = pool_alloc_load(p);
	return err;
}

static void start_values(struct pool *p)
{
	uint64_t frame_max = (p->super.log_bytes - POOL_LOG_START) / 4;

	p->sequence = p->applied = p->state.applied_sequence;
	p->log_offset = p->state.log_offset;
	p->next_branch = p->state.next_branch;
	p->next_disk = p->state.next_disk;
	p->checkpoint_state = p->state;
	/* A quarter of a frame at most for the map: 40 bytes an entry, 24 its chunk's free, 48 its branch. */
	p->dirty_max = frame_max / 4 / 112;
	if (p->dirty_max > DIRTY_MAX)
		p->dirty_max = DIRTY_MAX;
}

static int still_busy(struct fault *fault)
{
	return fault_set(fault, -EBUSY,
		"a process that was killed still has writes of this pool under way: try again when its disk has answered");
}

static int open_parts(struct pool *p, const struct pool_options *options, struct fault *fault)
{
	int err;

	err = pool_read_super(p->host, &p->super, fault);
	if (err)
		return err;
	if (p->super.features_meta_readonly & ~(uint64_t)POOL_FEATURES_META_READONLY ||
		p->super.features_data_readonly & ~(uint64_t)POOL_FEATURES_DATA_READONLY)
		return fault_set(fault, -ENOTSUP,
			"the pool uses features that this program can only read: install a newer Umbra");
	if (p->super.data_device && !options->data_device)
		return fault_set(fault, -ENXIO,
			"the pool keeps its data on a device: name it with data_device in the configuration");
	err = p->host->ops->file_open(p->host, "log", POOL_FILE_DSYNC, &p->log_file);
	if (!err)
		err = pool_check_log_file(p->host, p->log_file, &p->super);
	if (err == -EBUSY)
		return still_busy(fault);
	if (err)
		return fault_set(fault, err == -ENOENT || err == -EBADMSG ? -EUCLEAN : err,
			"the pool's file `log` is missing or damaged: restore it from a backup of this pool");
	err = pool_meta_open(&p->meta, p->host, &p->super, false, fault);
	if (err)
		return err;
	err = replay(p, fault);
	if (err)
		return err;
	err = pool_data_open(p, p->super.data_device ? options->data_device : NULL);
	if (err == -EBUSY)
		return still_busy(fault);
	if (err)
		return fault_set(fault, err == -ENOENT ? -EUCLEAN : err,
			"the pool's data (%s) cannot be opened: %s; put it back, or restore it from a backup of this "
			"pool",
			options->data_device ? options->data_device : "data.0", strerror(-err));
	if (p->super.data_device && (err = check_device(p, options->data_device, fault)))
		return err;
	start_values(p);
	err = load_tables(p);
	if (err)
		return fault_set(fault, err,
			"the pool's metadata is damaged: run `umbractl pool check`, or restore a backup");
	return 0;
}

int pool_open_on(struct pool_host *host, const struct pool_options *options, struct reactor *reactor,
	struct store **out, struct fault *fault)
{
	struct pool *p = pool_new(host, options);
	int err;

	if (!p) {
		host->ops->free(host);
		return fault_set(
			fault, -ENOMEM, "there is not enough memory to open the pool: give umbrad more");
	}
	p->base.reactor = reactor;
	err = open_parts(p, options, fault);
	if (err) {
		pool_destroy(p);
		return err;
	}
	p->opened = true;
	*out = &p->base;
	pool_reclaim_look(p);
	pool_reclaim_kick(p);
	return 0;
}
