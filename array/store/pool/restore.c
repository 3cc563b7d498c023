/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metadata from a mirror or a backup in the place of what is lost. What is older than the data must not be written with: a
 * chunk that it calls one LUN's may be another's by now. So a copy is taken only when a log goes on where it ends, to the last
 * frame that there is, and when it is of the opening that the stamp on the data names. Anything else is restored, if at all, for
 * reading only (POOL_FEATURE_SALVAGED). So is a copy with records that are damaged or missing, which CRCs and digests tell.
 *
 * What is there already is set aside, not deleted. The file `pool` is written last; a restore that was interrupted is
 * repeated.
 */
#include "array/store/pool/durable/digest.h"
#include "array/store/pool/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES 4300u

struct restore {
	const struct pool_options *options;
	const char *from;
	struct pool_host *host, *source;
	struct pool_super super;
	struct pool_stamp stamp, mirror; /* of the data; of the source, zeros: it is no mirror */
	struct pool_meta meta;           /* the source's */
	struct pool_state state;         /* where it ends */
	bool log_is_own, log_is_mirrors;
	uint64_t frames;
	uint64_t chunks;   /* that the log names, and so the pool has */
	char why_old[160]; /* empty: it has everything */
	bool damaged;      /* records of the source */
};

/* ---- what there is ---------------------------------------------------------------------------------- */

static int read_supers(struct restore *r, struct fault *fault)
{
	struct pool_super own;
	struct fault ignored;
	int err = pool_read_super(r->source, &r->super, fault);

	if (err)
		return fault_set(fault, err,
			"%s holds no copy of a pool's metadata: its file `pool` is missing or damaged",
			r->from);
	err = pool_read_super(r->host, &own, &ignored);
	if (err == -ENOTSUP && fault)
		*fault = ignored;
	if (err == -ENOTSUP)
		return err;
	if (err)
		return 0;
	if (memcmp(own.id, r->super.id, POOL_ID_BYTES) != 0)
		return fault_set(fault, -EINVAL,
			"%s holds metadata of another pool than %s: name the mirror or a backup of this one",
			r->from, r->options->path);
	if (own.features_data_readonly & POOL_FEATURE_SALVAGED)
		own.features_data_readonly &=
			~(uint64_t)POOL_FEATURE_SALVAGED; /* perhaps this copy is a better one */
	if (own.capacity_chunks < r->super.capacity_chunks)
		own.capacity_chunks = r->super.capacity_chunks;
	r->super = own;
	return 0;
}

static int read_data(struct restore *r, struct fault *fault)
{
	const char *device = r->options->data_device;
	struct pool_super label;
	struct pool_file *f;
	int err;

	if (r->super.data_device && !device)
		return fault_set(
			fault, -ENXIO, "the pool keeps its data on a device: name it with --data-device");
	err = r->host->ops->file_open(
		r->host, r->super.data_device ? device : "data.0", POOL_FILE_READONLY, &f);
	if (err)
		return fault_set(fault, err,
			"the pool's data (%s) cannot be opened (%s): without it there is nothing to restore",
			r->super.data_device ? device : "data.0", strerror(-err));
	if (r->super.data_device &&
		(pool_label_read(f, &label) || memcmp(label.id, r->super.id, POOL_ID_BYTES) != 0))
		err = fault_set(fault, -EUCLEAN,
			"%s does not hold the data of this pool: name the device that it was made with",
			device);
	else if ((err = pool_stamp_read(f, r->super.id, &r->stamp)))
		fault_set(
			fault, err, "the pool's data cannot be read (%s): look at its disk", strerror(-err));
	r->host->ops->file_close(f);
	if (!err && (err = pool_stamp_read_mirror(r->source, r->super.id, &r->mirror)))
		fault_set(fault, err, "%s cannot be read (%s): look at its disk", r->from, strerror(-err));
	return err;
}

static int read_source(struct restore *r, struct fault *fault)
{
	MDB_txn *txn;
	struct fault why = {0};
	int whole = 0, err = pool_meta_open(&r->meta, r->source, &r->super, POOL_META_CHECK, &why);

	if (err == -EUCLEAN) /* not the pool's, of which the words speak */
		return fault_set(fault, err,
			"the copy in %s is damaged: use another one (`umbractl pool dump` tells what is left in it)",
			r->from);
	if (err) {
		if (fault)
			*fault = why;
		return err;
	}
	err = pool_meta_begin(&r->meta, true, &txn);
	if (!err) {
		err = pool_meta_state(&r->meta, txn, &r->state);
		whole = err ? err : pool_digest_whole(&r->meta, txn);
		pool_meta_abort(txn);
	}
	r->damaged = whole == -EUCLEAN;
	if (!err && !r->damaged)
		err = whole;
	return err ? fault_set(fault, err, "the metadata in %s is damaged: use another copy", r->from) : 0;
}

/* A log that is this pool's and whole; NULL: none. */
static struct pool_file *log_of(const struct restore *r, struct pool_host *host)
{
	struct pool_file *f;

	if (host->ops->file_open(host, "log", POOL_FILE_READONLY, &f))
		return NULL;
	if (!pool_log_check(host, f, &r->super))
		return f;
	host->ops->file_close(f);
	return NULL;
}

/* ---- is it old? ------------------------------------------------------------------------------------- */

/* Where a log brings the copy. */
struct end {
	bool there, behind; /* it has changes that do not follow the copy's */
	int err;
	uint64_t sequence, frames;
	uint64_t chunks; /* that the pool has at least */
};

/* One more than the highest chunk that the frames name: the pool may have grown since the copy was made. */
static uint64_t chunks_named(const struct pool_replay *replay)
{
	uint64_t chunks = 0;

	for (size_t i = 0; i < replay->count; i++) {
		const struct pool_payload *payload = &replay->payloads[i];
		struct pool_record record;
		int64_t size;

		for (size_t at = 0; at < payload->len; at += (size_t)size) {
			uint64_t end = 0;

			size = pool_record_decode(payload->data + at, payload->len - at, &record);
			if (size <= 0)
				break; /* who opens the pool finds it */
			if (record.type == POOL_RECORD_MAP_PUT)
				end = record.map.value.phys + 1;
			else if (record.type == POOL_RECORD_FREE || record.type == POOL_RECORD_UNSHARE)
				end = record.run.phys + record.run.count;
			else if (record.type == POOL_RECORD_FREE_BLOCKS)
				end = record.blocks.phys + 1;
			if (end > chunks)
				chunks = end;
		}
	}
	return chunks;
}

static struct end follow_log(const struct restore *r, struct pool_host *host)
{
	struct pool_file *log = log_of(r, host);
	struct pool_frame newest = {0};
	struct pool_replay replay;
	struct end end = {.there = log != NULL};

	if (!log)
		return end;
	end.err = pool_log_read(host, log, &r->super, &r->state, &replay);
	if (!end.err)
		end.err = pool_log_newest(host, log, &r->super, &newest);
	end.sequence = replay.state.applied_sequence;
	end.frames = replay.count;
	end.chunks = end.err ? 0 : chunks_named(&replay);
	end.behind = replay.cut_short || replay.meta_old || newest.incarnation > replay.state.incarnation ||
		     (newest.incarnation == replay.state.incarnation && newest.sequence > end.sequence);
	pool_replay_free(&replay);
	host->ops->file_close(log);
	return end;
}

static bool leads_on(const struct end *end)
{
	return end->there && !end->err && !end->behind;
}

static void judge(struct restore *r)
{
	bool current = pool_stamp_current(&r->stamp, &r->mirror);
	struct end own = follow_log(r, r->host), mirrors = {0};
	const char *why = NULL;

	if (current && (r->stamp.flags & POOL_STAMP_LOGGED))
		mirrors = follow_log(r, r->source);
	r->log_is_mirrors = leads_on(&mirrors) && (!leads_on(&own) || mirrors.sequence > own.sequence);
	r->log_is_own = !r->log_is_mirrors && leads_on(&own);
	r->frames = r->log_is_mirrors ? mirrors.frames : own.frames;
	r->chunks = r->log_is_mirrors ? mirrors.chunks : own.chunks;
	if (r->state.incarnation < r->stamp.incarnation)
		why = "the pool was opened, and perhaps written, after it was made";
	else if (r->log_is_own || r->log_is_mirrors)
		return;
	else if (own.there)
		why = own.err ? "the pool's log cannot be read"
			      : "the pool's log goes on after it with changes that it lacks";
	else if (r->mirror.epoch && !current)
		why = "the mirror is behind: the pool had gone on without it, and the pool's log is lost";
	else
		why = "the pool's log is lost, and it has none that goes on to the end";
	snprintf(r->why_old, sizeof(r->why_old), "%s", why);
}

/* ---- doing it --------------------------------------------------------------------------------------- */

static void path_of(char out[PATH_BYTES], const struct restore *r, const char *name, const char *suffix)
{
	snprintf(out, PATH_BYTES, "%s/%s%s", r->options->path, name, suffix);
}

/* Whose the directory is, his is what lies in it. */
static int give(const struct restore *r, const char *path)
{
	struct stat st;

	return stat(r->options->path, &st) || chown(path, st.st_uid, st.st_gid) ? -errno : 0;
}

static int set_aside(struct restore *r, const char *name, struct pool_restored *out)
{
	char from[PATH_BYTES], to[PATH_BYTES], suffix[32];

	path_of(from, r, name, "");
	for (unsigned i = 1;; i++) {
		snprintf(suffix, sizeof(suffix), ".lost-%u", i);
		path_of(to, r, name, suffix);
		if (access(to, F_OK))
			break;
	}
	if (rename(from, to))
		return errno == ENOENT ? 0 : -errno;
	snprintf(out->kept, sizeof(out->kept), "%s%s", name, suffix);
	return 0;
}

static int put_meta(struct restore *r, struct pool_restored *out)
{
	char fresh[PATH_BYTES], file[PATH_BYTES + 16], place[PATH_BYTES];
	int err;

	path_of(fresh, r, "meta", ".new");
	path_of(place, r, "meta", "");
	if (mkdir(fresh, 0700) && errno != EEXIST)
		return -errno;
	err = pool_meta_copy_to(&r->meta, fresh);
	snprintf(file, sizeof(file), "%s/data.mdb", fresh);
	if (!err)
		err = give(r, file);
	if (!err)
		err = give(r, fresh);
	if (!err)
		err = set_aside(r, "meta", out);
	if (!err && rename(fresh, place))
		err = -errno;
	return err;
}

/* The mirror's log, or an empty one. */
static int put_log(struct restore *r, struct pool_restored *out)
{
	struct pool_file *from = r->log_is_mirrors && !out->salvaged ? log_of(r, r->source) : NULL, *to;
	char path[PATH_BYTES];
	uint8_t *buf;
	int err = set_aside(r, "log", out);

	if (!err)
		err = set_aside(r, "mark", out); /* of that log */
	if (!err)
		err = pool_log_create(r->host, &r->super);
	if (!err && from && !(err = r->host->ops->file_open(r->host, "log", 0, &to))) {
		err = posix_memalign((void **)&buf, 4096, 1 << 20) ? -ENOMEM : 0;
		for (uint64_t at = 0; at < r->super.log_bytes && !err; at += 1 << 20) {
			uint64_t left = r->super.log_bytes - at;
			size_t len = left < 1 << 20 ? (size_t)left : 1 << 20;

			err = r->source->ops->file_pread(from, buf, len, at);
			if (!err)
				err = r->host->ops->file_pwrite(to, buf, len, at);
		}
		if (!err)
			err = r->host->ops->file_sync(to);
		free(buf);
		r->host->ops->file_close(to);
	}
	if (from)
		r->source->ops->file_close(from);
	path_of(path, r, "log", "");
	return err ? err : give(r, path);
}

static int put(struct restore *r, struct pool_restored *out)
{
	char path[PATH_BYTES];
	int err = 0;

	out->frames = r->frames;
	out->from_log = r->log_is_own;
	if (!r->log_is_own || out->salvaged)
		err = put_log(r, out);
	if (!err)
		err = put_meta(r, out);
	if (!err && out->salvaged)
		r->super.features_data_readonly |= POOL_FEATURE_SALVAGED;
	if (!err)
		err = pool_super_replace(r->host, &r->super);
	path_of(path, r, "pool", "");
	return err ? err : give(r, path);
}

static int run(struct restore *r, bool salvage, struct pool_restored *out, struct fault *fault)
{
	int err = read_supers(r, fault);

	if (!err)
		err = read_data(r, fault);
	if (!err)
		err = read_source(r, fault);
	if (err)
		return err;
	if (r->damaged && !salvage)
		return fault_set(fault, -EUCLEAN,
			"the copy in %s is damaged (some of its records are missing, or are not what was written): use another one; or "
			"restore it with --salvage, for reading only",
			r->from);
	judge(r);
	out->damaged = r->damaged;
	if (r->super.capacity_chunks < r->chunks && r->chunks <= POOL_PHYS_MAX) {
		r->super.capacity_chunks = r->chunks;
		out->capacity_bytes = (r->chunks - 1) << POOL_CHUNK_SHIFT;
	}
	out->salvaged = r->why_old[0] || r->damaged;
	if (r->why_old[0] && !salvage)
		return fault_set(fault, -ESTALE,
			"this copy is older than the pool's data (%s): written with, it would mix up LUNs' data. Use a newer one; or "
			"restore it with --salvage, for reading only",
			r->why_old);
	err = put(r, out);
	return err ? fault_set(fault, err,
			     "the pool in %s cannot be written (%s): give it room, or look at its disk, and repeat this",
			     r->options->path, strerror(-err))
		   : 0;
}

int pool_restore(const struct pool_options *options, const char *from, bool salvage,
	struct pool_restored *out, struct fault *fault)
{
	struct restore r = {.options = options, .from = from};
	int err = pool_host_posix(options->path, NULL, true, false, &r.host, fault);

	memset(out, 0, sizeof(*out));
	if (err)
		return err;
	err = pool_host_posix(from, NULL, true, false, &r.source, fault);
	if (!err) {
		err = run(&r, salvage, out, fault);
		pool_meta_close(&r.meta);
		r.source->ops->free(r.source);
	}
	r.host->ops->free(r.host);
	return err;
}
