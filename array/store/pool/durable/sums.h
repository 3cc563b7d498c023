/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stands in the files of the checksums, with POOL_FEATURE_SUMS: `sums` has a CRC-32C for each block of the data,
 * `touched` a bit for each chunk of which `sums` may not be up to date. A page of `sums` and a word of `touched` stand for a
 * region of POOL_SUMS_CHUNKS chunks. Every sector of 512 bytes has a CRC of its own, for that is what a power loss tears.
 *
 * Each sector also names the epoch: sums of before it, of data that was written without them since, say nothing.
 */
#ifndef UMBRA_POOL_SUMS_FORMAT_H
#define UMBRA_POOL_SUMS_FORMAT_H

#include "array/store/pool/base/host.h"
#include "array/store/pool/durable/format.h"

#define POOL_SUMS_SECTOR       512u
#define POOL_SUMS_PAGE_BYTES   4096u
#define POOL_SUMS_PAGE_SECTORS (POOL_SUMS_PAGE_BYTES / POOL_SUMS_SECTOR)
#define POOL_SUMS_IN_SECTOR    7u                                             /* chunks */
#define POOL_SUMS_CHUNKS       (POOL_SUMS_PAGE_SECTORS * POOL_SUMS_IN_SECTOR) /* of a page: a region */
#define POOL_SUMS_ALL_CHUNKS   ((UINT64_C(1) << POOL_SUMS_CHUNKS) - 1)
#define POOL_TOUCHED_IN_SECTOR 62u                                               /* regions */
#define POOL_TOUCHED_REGIONS   (POOL_SUMS_PAGE_SECTORS * POOL_TOUCHED_IN_SECTOR) /* of a page of `touched` */

/* The sums of a region's blocks; 0: not known. */
typedef uint32_t pool_sums_of_chunk[POOL_BLOCKS];

/* The sum of the block `place` (chunk number << 4 | block): begins with this, goes on with pool_crc over the block's
 * bytes, and ends with pool_sum_end. The place is part of it: a block that lies at another's place is not taken for it. */
static inline uint32_t pool_sum_begin(uint64_t place)
{
	return ~(uint32_t)place ^ (uint32_t)(place >> 32) * 0x9e3779b9u;
}

static inline uint32_t pool_sum_end(uint32_t crc)
{
	return crc ? crc : 1; /* 0 is "not known" */
}

/* The label: the first page of `sums`. */
struct pool_sums_label {
	uint64_t incarnation; /* of the last opening that kept the sums */
	uint32_t epoch;
};

void pool_sums_label_encode(uint8_t out[POOL_SUMS_PAGE_BYTES], const uint8_t id[POOL_ID_BYTES],
	const struct pool_sums_label *label);
/* -EBADMSG: none of this pool. */
int pool_sums_label_decode(
	const uint8_t in[POOL_SUMS_PAGE_BYTES], const uint8_t id[POOL_ID_BYTES], struct pool_sums_label *out);

/* Where the page of a region lies in `sums`. */
static inline uint64_t pool_sums_offset(uint64_t region)
{
	return (region + 1) * POOL_SUMS_PAGE_BYTES;
}

/* Pages that `touched` has for so many chunks. */
static inline uint64_t pool_touched_pages(uint64_t chunks)
{
	return chunks / (POOL_SUMS_CHUNKS * POOL_TOUCHED_REGIONS) + 1;
}

void pool_sums_encode(uint8_t out[POOL_SUMS_PAGE_BYTES], const uint8_t id[POOL_ID_BYTES], uint32_t epoch,
	uint64_t region, const pool_sums_of_chunk sums[POOL_SUMS_CHUNKS]);
/* How many of the page's sectors are damaged: their sums are not known. */
unsigned pool_sums_decode(const uint8_t in[POOL_SUMS_PAGE_BYTES], const uint8_t id[POOL_ID_BYTES],
	uint32_t epoch, uint64_t region, pool_sums_of_chunk sums[POOL_SUMS_CHUNKS]);

void pool_touched_encode(uint8_t out[POOL_SUMS_PAGE_BYTES], const uint8_t id[POOL_ID_BYTES], uint32_t epoch,
	uint64_t page, const uint64_t chunks[POOL_TOUCHED_REGIONS]);
/* How many of the page's sectors are damaged: their chunks count as touched. */
unsigned pool_touched_decode(const uint8_t in[POOL_SUMS_PAGE_BYTES], const uint8_t id[POOL_ID_BYTES],
	uint32_t epoch, uint64_t page, uint64_t chunks[POOL_TOUCHED_REGIONS]);

/* Sums of the opening `before` are those of the incarnation `now`, too, which is not durable yet. Nothing to do where there
 * are none. Blocks. */
int pool_sums_carry(struct pool_host *host, const uint8_t id[POOL_ID_BYTES], uint64_t before, uint64_t now);

/* Reads the label of `sums`. 0, -EBADMSG, or what reading says. Blocks. */
int pool_sums_label_read(
	struct pool_file *sums, const uint8_t id[POOL_ID_BYTES], struct pool_sums_label *out);

#endif
