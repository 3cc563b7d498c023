/* SPDX-License-Identifier: Apache-2.0 */
/* The superblock: the file `pool`, and the label of a data device. All block. */
#ifndef UMBRA_POOL_SUPER_H
#define UMBRA_POOL_SUPER_H

#include "array/store/pool/base/host.h"
#include "array/store/pool/durable/format.h"

/* Puts it in the place of the one there is, as a whole. */
int pool_super_replace(struct pool_host *host, const struct pool_super *super);
int pool_super_write(struct pool_host *host, const struct pool_super *super);

int pool_read_super(struct pool_host *host, struct pool_super *out, struct fault *fault);

int pool_label_write(struct pool_host *host, const char *device, const struct pool_super *super);
int pool_label_read(struct pool_file *f, struct pool_super *found);
/* Is it this pool's device, and as large as it was? */
int pool_device_check(
	struct pool_file *f, const char *device, const struct pool_super *super, struct fault *fault);
/* -ENOTSUP: it has features that this program can only read. */
int pool_super_usable(const struct pool_super *super, struct fault *fault);
/* The data, a file or a device, cannot be opened. */
int pool_data_fault(struct fault *fault, int err, const char *name);

#endif
