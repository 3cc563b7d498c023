/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a pool. In this order: the first data segment, the log, the metadata, the device's label, and last the
 * file `pool`, which makes it one. So what a crash leaves of a creation is no pool.
 */
#include "array/store/pool/pool.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#define DEFAULT_LOG_BYTES (UINT64_C(64) << 20)

/* Not what another pool has its data on. */
static int check_new_device(struct pool_file *f, const char *device, struct fault *fault)
{
	struct pool_super found;
	int err = pool_label_read(f, &found);

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

/* The files of the checksums, so that they have room later: with nothing in them. */
static int create_sums(struct pool_host *host, const struct pool_super *super)
{
	static const char *const names[] = {"sums", "touched"};
	const uint64_t bytes[] = {
		POOL_SUMS_PAGE_BYTES, pool_touched_pages(super->capacity_chunks) * POOL_SUMS_PAGE_BYTES};
	int err = 0;

	for (unsigned i = 0; !err && i < 2; i++) {
		struct pool_file *f;

		err = host->ops->file_open(host, names[i], POOL_FILE_CREATE, &f);
		if (err == -EEXIST) /* of a creation that was interrupted, or removed but for this */
			err = host->ops->file_open(host, names[i], 0, &f);
		if (err)
			break;
		err = host->ops->file_allocate(f, 0, bytes[i]);
		if (!err)
			err = host->ops->file_sync(f);
		host->ops->file_close(f);
	}
	return err;
}

int pool_create_on(struct pool_host *host, const struct pool_options *options, uint64_t capacity_bytes,
	struct fault *fault)
{
	struct pool_super super = {.version = POOL_VERSION,
		.features_refuse = POOL_FEATURES_NEW,
		.entries_each = POOL_ENTRIES_SPLIT};
	struct pool_file *f;
	int err;

	err = host->ops->file_open(host, "pool", POOL_FILE_READONLY, &f);
	if (!err) {
		host->ops->file_close(f);
		return fault_set(fault, -EEXIST,
			"%s holds a pool already: open it, or give another directory for the new one",
			options->path);
	}
	if (options->checksums)
		super.features_refuse |= POOL_FEATURE_SUMS;
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
	if (err == -ENOMEM)
		return pool_meta_no_room(&super, fault);
	if (err)
		return fault_set(fault, err,
			"the metadata cannot be made in %s (%s): give the file system room, or look at its disk",
			options->path, strerror(-err));
	err = options->checksums ? create_sums(host, &super) : 0;
	if (err)
		return fault_set(fault, err,
			"the files of the checksums cannot be made in %s (%s): give the file system room, or look at its disk",
			options->path, strerror(-err));
	err = super.data_device ? pool_label_write(host, options->data_device, &super) : 0;
	if (err)
		return fault_set(fault, err,
			"the data device %s cannot be written (%s): look at the disk and the kernel's log",
			options->data_device, strerror(-err));
	err = pool_super_write(host, &super);
	if (err && super.data_device)
		pool_label_write(host, options->data_device, NULL);
	if (err)
		return fault_set(fault, err,
			"the pool in %s cannot be completed (%s): give the file system room, or look at its disk",
			options->path, strerror(-err));
	return 0;
}
