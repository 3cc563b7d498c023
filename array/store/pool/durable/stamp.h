/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stamp: what the data itself says of the metadata that belongs to it, in chunk 0, which is never handed out. It names the
 * opening that last wrote the data, so that older metadata is not taken for the pool's; and whether there is a mirror that
 * has everything. The mirror has a stamp of its own, the file `mirror`: it is current while both say the same epoch.
 */
#ifndef UMBRA_POOL_STAMP_H
#define UMBRA_POOL_STAMP_H

#include "array/store/pool/base/host.h"
#include "array/store/pool/durable/format.h"

#define POOL_STAMP_MIRRORED                                                                                  \
	1u /* a mirror has what is acknowledged: the metadata, with the log of this directory */
#define POOL_STAMP_LOGGED 2u /* and it has the log, too */

#define POOL_STAMP_BYTES 4096u

struct pool_stamp {
	uint64_t epoch;       /* one more whenever a mirror comes or goes */
	uint64_t incarnation; /* of the opening; 0: none has said */
	uint32_t flags;
};

/* All block. What is no stamp of this pool reads as zeros. */
int pool_stamp_read(struct pool_file *data, const uint8_t id[POOL_ID_BYTES], struct pool_stamp *out);
int pool_stamp_write(struct pool_file *data, const uint8_t id[POOL_ID_BYTES], const struct pool_stamp *stamp);
int pool_stamp_read_mirror(struct pool_host *mirror, const uint8_t id[POOL_ID_BYTES], struct pool_stamp *out);
int pool_stamp_write_mirror(
	struct pool_host *mirror, const uint8_t id[POOL_ID_BYTES], const struct pool_stamp *stamp);

/* Has the mirror everything? With its own log, or with the pool's. */
static inline bool pool_stamp_current(const struct pool_stamp *data, const struct pool_stamp *mirror)
{
	return (data->flags & POOL_STAMP_MIRRORED) && data->epoch == mirror->epoch;
}

#endif
