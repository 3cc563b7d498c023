/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The superblock: the file `pool`, which makes a directory a pool, and its copy on a data device, which says
 * whose data the device holds.
 */
#include "array/store/pool/durable/super.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int pool_super_write(struct pool_host *host, const struct pool_super *super)
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

int pool_super_replace(struct pool_host *host, const struct pool_super *super)
{
	uint8_t buf[POOL_SUPER_BYTES];

	pool_super_encode(buf, super);
	return host->ops->file_replace(host, "pool", buf, sizeof(buf));
}

/* The device's chunk 0, which is never handed out, says whose data it holds. `super` NULL: nobody's. */
int pool_label_write(struct pool_host *host, const char *device, const struct pool_super *super)
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

/* What pool_label_write or pool_super_write have written; as pool_super_decode, or what reading says. */
int pool_label_read(struct pool_file *f, struct pool_super *found)
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

int pool_device_check(
	struct pool_file *f, const char *device, const struct pool_super *super, struct fault *fault)
{
	struct pool_super found;
	uint64_t size;
	int err = f->host->ops->file_size(f, &size);

	if (!err)
		err = size < POOL_SUPER_BYTES ? -EBADMSG : pool_label_read(f, &found);
	if (err && err != -EBADMSG && err != -ENOTSUP)
		return pool_data_fault(fault, err, device);
	if (err == -EBADMSG)
		return fault_set(fault, -EUCLEAN,
			"%s does not hold the data of this pool, nor of another: name the device that it was made with, or restore that from a backup",
			device);
	if (err || memcmp(found.id, super->id, POOL_ID_BYTES) != 0)
		return fault_set(fault, -EUCLEAN,
			"%s holds the data of another pool (its id begins with %02x%02x%02x%02x): name the device that this one was made with",
			device, found.id[0], found.id[1], found.id[2], found.id[3]);
	if (size >> POOL_CHUNK_SHIFT < super->capacity_chunks)
		return fault_set(fault, -EUCLEAN,
			"%s has %llu bytes, and the pool's data go to %llu: the device became smaller; give it its size back, what lay at its end may still be there",
			device, (unsigned long long)size,
			(unsigned long long)(super->capacity_chunks << POOL_CHUNK_SHIFT));
	return 0;
}

int pool_super_usable(const struct pool_super *super, struct fault *fault)
{
	if (super->features_meta_readonly & ~(uint64_t)POOL_FEATURES_META_READONLY ||
		super->features_data_readonly & ~(uint64_t)POOL_FEATURES_DATA_READONLY)
		return fault_set(fault, -ENOTSUP,
			"the pool uses features that this program can only read: install a newer Umbra");
	return 0;
}

int pool_data_fault(struct fault *fault, int err, const char *name)
{
	if (err == -EACCES || err == -EPERM)
		return fault_set(fault, err,
			"the user that umbrad runs as may not use the pool's data (%s): %s; for a device of the service's run systemctl "
			"daemon-reload and see that the group disk may read and write it; files must be that user's",
			name, strerror(-err));
	return fault_set(fault, err == -ENOENT ? -EUCLEAN : err,
		"the pool's data (%s) cannot be opened: %s; put it back, or restore it from a backup of this pool",
		name, strerror(-err));
}

int pool_read_super(struct pool_host *host, struct pool_super *out, struct fault *fault)
{
	struct pool_file *f;
	int err = host->ops->file_open(host, "pool", POOL_FILE_READONLY, &f);

	if (err) {
		if (err == -ENOENT)
			return fault_set(fault, err,
				"there is no pool there: check the path, make one with `umbractl pool create`, or bring its lost file `pool` back with `umbractl pool restore`");
		return fault_set(fault, err,
			"the pool cannot be read (%s): look at its owner and mode, at the disk and the kernel's log",
			strerror(-err));
	}
	err = pool_label_read(f, out);
	host->ops->file_close(f);
	if (err && err != -ENOTSUP && err != -EBADMSG && err != -EUCLEAN)
		return fault_set(fault, err,
			"the file `pool` cannot be read (%s): look at the disk and the kernel's log",
			strerror(-err));
	if (err == -ENOTSUP)
		return fault_set(fault, err,
			"the pool has format %u, this program knows up to %u: install a newer Umbra",
			out->version, POOL_VERSION);
	if (err)
		return fault_set(fault, -EUCLEAN,
			"the file `pool` is damaged: bring it back with `umbractl pool restore` from the mirror or a backup");
	return 0;
}
