/* SPDX-License-Identifier: Apache-2.0 */
/* What public.h offers: the functions of pool.h on the real machine. */
#include "array/store/pool/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* What stays free for metadata, beside the log. */
#define META_RESERVE_BYTES (UINT64_C(64) << 20)

static const char *const parts[] = {"pool", "log", "data.0", "meta/data.mdb", "meta/lock.mdb"};

static void part_path(char *out, size_t size, const char *dir, const char *part)
{
	snprintf(out, size, "%s/%s", dir, part);
}

/* Is there something of a pool, though no whole one? */
static bool has_parts(const char *dir)
{
	char path[4096];
	struct stat st;

	for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		part_path(path, sizeof(path), dir, parts[i]);
		if (!stat(path, &st))
			return i > 0; /* a whole one gets its own answer */
	}
	return false;
}

/* Of a creation that failed; there was nothing before it. */
static void remove_parts(const char *dir)
{
	char path[4096];

	for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		part_path(path, sizeof(path), dir, parts[i]);
		unlink(path);
	}
	part_path(path, sizeof(path), dir, "meta");
	rmdir(path);
}

/* Mounted, or a part of another volume? */
static int check_unused(const char *device, struct fault *fault)
{
	struct stat st;
	int fd;

	if (stat(device, &st) || !S_ISBLK(st.st_mode)) /* what is wrong is told where it is opened */
		return 0;
	fd = open(device, O_RDONLY | O_EXCL | O_CLOEXEC);
	if (fd < 0 && errno == EBUSY)
		return fault_set(fault, -EBUSY,
			"the data device %s is in use (mounted, or part of another volume): name another device",
			device);
	if (fd >= 0)
		close(fd);
	return 0;
}

int pool_create(const struct pool_options *options, struct fault *fault)
{
	uint64_t capacity = options->capacity_bytes, log_bytes = options->log_bytes;
	struct pool_host *host;
	struct statvfs fs;
	int err;

	if (mkdir(options->path, 0700) && errno != EEXIST)
		return fault_set(fault, -errno,
			"the directory %s cannot be made (%s): make its parent directory, or be root",
			options->path, strerror(errno));
	err = options->data_device ? check_unused(options->data_device, fault) : 0;
	if (!err)
		err = pool_host_posix(options->path, NULL, true, false, &host, fault);
	if (err)
		return err;
	if (has_parts(options->path)) {
		host->ops->free(host);
		return fault_set(fault, -EEXIST,
			"%s holds parts of a pool, but not the file `pool`: remove them if a creation was "
			"interrupted, else bring that file back with `umbractl pool restore`",
			options->path);
	}
	if (!capacity && !options->data_device) {
		uint64_t reserve;

		if (statvfs(options->path, &fs)) {
			host->ops->free(host);
			return fault_set(fault, -errno,
				"the free space of %s cannot be found (%s): look at the disk and the kernel's log",
				options->path, strerror(errno));
		}
		capacity = (uint64_t)fs.f_bavail * fs.f_frsize;
		/* The map of a full pool takes about 0.2 % of its data, and up to 3 % where chunks are split. */
		reserve = META_RESERVE_BYTES + (log_bytes ? log_bytes : UINT64_C(64) << 20) + capacity / 32;
		capacity = capacity > reserve ? capacity - reserve : 0;
	}
	err = pool_create_on(host, options, capacity, fault);
	if (err && err != -EEXIST)
		remove_parts(options->path);
	host->ops->free(host);
	return err;
}

/* Where it cannot be opened the pool goes on without: pool_open_on strikes it off. */
static int mirror_host(const char *path, struct reactor *reactor, struct pool_host **out, struct fault *fault)
{
	if (mkdir(path, 0700) && errno != EEXIST)
		return fault_set(fault, -errno, "%s cannot be made: %s", path, strerror(errno));
	return pool_host_posix(path, reactor, true, false, out, fault);
}

static void open_mirror(struct pool_options *options, struct reactor *reactor, struct fault *fault)
{
	if (mirror_host(options->meta_mirror, reactor, &options->mirror, fault) && options->notice)
		options->notice(options->notice_arg, fault->text);
}

static int reopen_mirror(struct pool_mirror *m, struct pool_host **out, struct fault *fault)
{
	struct pool *p = container_of(m, struct pool, mirror);

	return mirror_host(m->reopen_arg, p->store.reactor, out, fault);
}

/* Should it be lost, or not be there now. */
static void keep_reopening(struct pool *p, const char *path, const struct fault *fault)
{
	p->mirror.reopen_arg = strdup(path);
	p->mirror.reopen = p->mirror.reopen_arg && !p->base.latched ? reopen_mirror : NULL;
	if (!p->mirror.host)
		snprintf(p->mirror.reason, sizeof(p->mirror.reason), "%.190s", fault->text);
	pool_remake_later(&p->commit);
}

int pool_open(
	const struct pool_options *options, struct reactor *reactor, struct store **out, struct fault *fault)
{
	struct pool_host *host;
	struct pool_options with = *options;
	struct fault mirror = {0};
	int err = pool_host_posix(options->path, reactor, true, false, &host, fault);

	if (err)
		return err;
	if (options->meta_mirror)
		open_mirror(&with, reactor, &mirror);
	err = pool_open_on(host, &with, reactor, out, fault);
	if (!err && options->meta_mirror)
		keep_reopening(pool_of(*out), options->meta_mirror, &mirror);
	return err;
}

int pool_grow(const struct pool_options *options, uint64_t *capacity_bytes, struct fault *fault)
{
	struct pool_host *host;
	int err = pool_host_posix(options->path, NULL, true, false, &host, fault);

	if (err)
		return err;
	err = pool_grow_on(host, options, capacity_bytes, fault);
	host->ops->free(host);
	return err;
}

int pool_checksums(const struct pool_options *options, struct fault *fault)
{
	struct pool_super super;
	struct pool_host *host;
	int err = pool_host_posix(options->path, NULL, true, false, &host, fault);

	if (err)
		return err;
	err = pool_read_super(host, &super, fault);
	if (!err)
		err = pool_super_usable(&super, fault);
	if (!err && options->checksums != !!(super.features_refuse & POOL_FEATURE_SUMS)) {
		super.features_refuse ^= POOL_FEATURE_SUMS;
		err = pool_super_replace(host, &super);
		if (err)
			fault_set(fault, err,
				"the file `pool` cannot be written (%s): give the file system room, or look at its disk; nothing has changed",
				strerror(-err));
	}
	host->ops->free(host);
	return err;
}

/* A repair changes what the mirror does not see: it is struck off before. */
static int forget_mirror(struct pool_host *host, const struct pool_options *options)
{
	struct pool_super super;
	struct pool_stamp stamp;
	struct pool_file *f;
	struct fault fault;
	int err = pool_read_super(host, &super, &fault);

	if (err || !(super.features_refuse & POOL_FEATURE_MIRRORED)) /* what is wrong the check tells */
		return 0;
	err = host->ops->file_open(
		host, super.data_device && options->data_device ? options->data_device : "data.0", 0, &f);
	if (err)
		return 0;
	err = pool_stamp_read(f, super.id, &stamp);
	if (!err && stamp.flags) {
		stamp.epoch++;
		stamp.flags = 0;
		err = pool_stamp_write(f, super.id, &stamp);
	}
	host->ops->file_close(f);
	return err;
}

/* The mirror's metadata is another one then, and made anew. */
int pool_upgrade(const struct pool_options *options, bool *changed, struct fault *fault)
{
	struct pool_host *host;
	int err = pool_host_posix(options->path, NULL, true, false, &host, fault);

	if (err)
		return err;
	err = forget_mirror(host, options);
	if (err)
		fault_set(fault, err,
			"the pool's data cannot be written (%s): look at its disk and the kernel's log",
			strerror(-err));
	else
		err = pool_upgrade_on(host, options, changed, fault);
	host->ops->free(host);
	return err;
}

int pool_edit(const struct pool_options *options,
	int (*edit)(void *arg, struct store *store, struct fault *fault), void *arg, struct fault *fault)
{
	struct pool_host *host;
	int err = pool_host_posix(options->path, NULL, true, options->read_only, &host, fault);

	if (err)
		return err;
	err = pool_edit_on(host, options, edit, arg, fault);
	host->ops->free(host);
	return err;
}

int pool_check(const struct pool_options *options, bool repair, void (*report)(void *arg, const char *line),
	void *arg, struct fault *fault)
{
	struct pool_host *host;
	int err = pool_host_posix(options->path, NULL, true, !repair, &host, fault);

	if (err)
		return err;
	err = repair ? forget_mirror(host, options) : 0;
	if (err)
		fault_set(fault, err,
			"the pool's data cannot be written (%s): look at its disk and the kernel's log",
			strerror(-err));
	else
		err = pool_check_on(host, options, repair, report, arg, fault);
	host->ops->free(host);
	return err;
}

int pool_dump(const struct pool_options *options, bool entries,
	void (*row)(void *arg, const char *table, const struct pool_dump_field *fields, unsigned count),
	void *arg, struct fault *fault)
{
	struct pool_host *host;
	int err = pool_host_posix(options->path, NULL, true, true, &host, fault);

	if (err)
		return err;
	err = pool_dump_on(host, entries, row, arg, fault);
	host->ops->free(host);
	return err;
}
