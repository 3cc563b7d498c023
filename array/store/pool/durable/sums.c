/* SPDX-License-Identifier: Apache-2.0 */
/* See sums.h. Decoders trust nothing: what does not check is "not known", or "touched", which is the safe side. */
#include "array/store/pool/durable/sums.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "array/util/bytes.h"

#define LABEL_MAGIC "UmbraSum"
#define LABEL_BYTES 64u

/* Of a sector: sums or words first, then this. */
#define AT_EPOCH (POOL_SUMS_SECTOR - 8u)
#define AT_CRC   (POOL_SUMS_SECTOR - 4u)

_Static_assert(POOL_SUMS_IN_SECTOR *POOL_BLOCKS * 4 <= AT_EPOCH, "a sector's sums");
_Static_assert(POOL_TOUCHED_IN_SECTOR * 8 <= AT_EPOCH, "a sector's words");
_Static_assert(POOL_SUMS_CHUNKS < 64, "a region's chunks are bits of a word");

void pool_sums_label_encode(uint8_t out[POOL_SUMS_PAGE_BYTES], const uint8_t id[POOL_ID_BYTES],
	const struct pool_sums_label *label)
{
	memset(out, 0, POOL_SUMS_PAGE_BYTES);
	memcpy(out, LABEL_MAGIC, 8);
	memcpy(out + 8, id, POOL_ID_BYTES);
	put_be64(out + 24, label->incarnation);
	put_be32(out + 32, label->epoch);
	put_be32(out + LABEL_BYTES - 4, pool_crc(~0u, out, LABEL_BYTES - 4));
}

int pool_sums_label_decode(
	const uint8_t in[POOL_SUMS_PAGE_BYTES], const uint8_t id[POOL_ID_BYTES], struct pool_sums_label *out)
{
	if (memcmp(in, LABEL_MAGIC, 8) != 0 || memcmp(in + 8, id, POOL_ID_BYTES) != 0 ||
		get_be32(in + LABEL_BYTES - 4) != pool_crc(~0u, in, LABEL_BYTES - 4))
		return -EBADMSG;
	out->incarnation = get_be64(in + 24);
	out->epoch = get_be32(in + 32);
	return 0;
}

int pool_sums_label_read(struct pool_file *sums, const uint8_t id[POOL_ID_BYTES], struct pool_sums_label *out)
{
	uint8_t buf[POOL_SUMS_PAGE_BYTES];
	uint64_t size;
	int err = sums->host->ops->file_size(sums, &size);

	if (!err && size < sizeof(buf))
		return -EBADMSG;
	if (!err)
		err = sums->host->ops->file_pread(sums, buf, sizeof(buf), 0);
	return err ? err : pool_sums_label_decode(buf, id, out);
}

int pool_sums_carry(struct pool_host *host, const uint8_t id[POOL_ID_BYTES], uint64_t before, uint64_t now)
{
	uint8_t bytes[POOL_SUMS_PAGE_BYTES];
	struct pool_sums_label label;
	struct pool_file *f;
	int err = host->ops->file_open(host, "sums", 0, &f);

	if (err)
		return err == -ENOENT ? 0 : err;
	err = pool_sums_label_read(f, id, &label);
	if (!err && label.incarnation >= before && label.incarnation < now) {
		label.incarnation = now;
		pool_sums_label_encode(bytes, id, &label);
		err = host->ops->file_pwrite(f, bytes, sizeof(bytes), 0);
		if (!err)
			err = host->ops->file_sync(f);
	}
	host->ops->file_close(f);
	return err == -EBADMSG ? 0 : err;
}

/* The sector's number in its file and the pool's id are part of its CRC. */
static uint32_t sector_crc(
	const uint8_t *sector, const uint8_t id[POOL_ID_BYTES], const char *file, uint64_t number)
{
	uint8_t head[8];
	uint32_t crc = pool_crc(~0u, id, POOL_ID_BYTES);

	put_be64(head, number);
	crc = pool_crc(crc, file, 4);
	crc = pool_crc(crc, head, sizeof(head));
	return pool_crc(crc, sector, AT_CRC);
}

static void seal(
	uint8_t *sector, const uint8_t id[POOL_ID_BYTES], uint32_t epoch, const char *file, uint64_t number)
{
	put_be32(sector + AT_EPOCH, epoch);
	put_be32(sector + AT_CRC, sector_crc(sector, id, file, number));
}

enum sector_state {
	SECTOR_GOOD,
	SECTOR_NONE,
	SECTOR_DAMAGED
};

static enum sector_state look(const uint8_t *sector, const uint8_t id[POOL_ID_BYTES], uint32_t epoch,
	const char *file, uint64_t number)
{
	static const uint8_t zeros[POOL_SUMS_SECTOR];

	if (get_be32(sector + AT_CRC) == sector_crc(sector, id, file, number))
		return get_be32(sector + AT_EPOCH) == epoch ? SECTOR_GOOD : SECTOR_NONE;
	return memcmp(sector, zeros, sizeof(zeros)) == 0 ? SECTOR_NONE : SECTOR_DAMAGED;
}

void pool_sums_encode(uint8_t out[POOL_SUMS_PAGE_BYTES], const uint8_t id[POOL_ID_BYTES], uint32_t epoch,
	uint64_t region, const pool_sums_of_chunk sums[POOL_SUMS_CHUNKS])
{
	memset(out, 0, POOL_SUMS_PAGE_BYTES);
	for (unsigned s = 0; s < POOL_SUMS_PAGE_SECTORS; s++) {
		uint8_t *sector = out + s * POOL_SUMS_SECTOR;

		for (unsigned i = 0; i < POOL_SUMS_IN_SECTOR * POOL_BLOCKS; i++)
			put_be32(sector + 4 * i,
				sums[s * POOL_SUMS_IN_SECTOR + i / POOL_BLOCKS][i % POOL_BLOCKS]);
		seal(sector, id, epoch, "sums", region * POOL_SUMS_PAGE_SECTORS + s);
	}
}

unsigned pool_sums_decode(const uint8_t in[POOL_SUMS_PAGE_BYTES], const uint8_t id[POOL_ID_BYTES],
	uint32_t epoch, uint64_t region, pool_sums_of_chunk sums[POOL_SUMS_CHUNKS])
{
	unsigned damaged = 0;

	memset(sums, 0, POOL_SUMS_CHUNKS * sizeof(sums[0]));
	for (unsigned s = 0; s < POOL_SUMS_PAGE_SECTORS; s++) {
		const uint8_t *sector = in + s * POOL_SUMS_SECTOR;
		enum sector_state state =
			look(sector, id, epoch, "sums", region * POOL_SUMS_PAGE_SECTORS + s);

		damaged += state == SECTOR_DAMAGED;
		if (state != SECTOR_GOOD)
			continue;
		for (unsigned i = 0; i < POOL_SUMS_IN_SECTOR * POOL_BLOCKS; i++)
			sums[s * POOL_SUMS_IN_SECTOR + i / POOL_BLOCKS][i % POOL_BLOCKS] =
				get_be32(sector + 4 * i);
	}
	return damaged;
}

void pool_touched_encode(uint8_t out[POOL_SUMS_PAGE_BYTES], const uint8_t id[POOL_ID_BYTES], uint32_t epoch,
	uint64_t page, const uint64_t chunks[POOL_TOUCHED_REGIONS])
{
	memset(out, 0, POOL_SUMS_PAGE_BYTES);
	for (unsigned s = 0; s < POOL_SUMS_PAGE_SECTORS; s++) {
		uint8_t *sector = out + s * POOL_SUMS_SECTOR;

		for (unsigned i = 0; i < POOL_TOUCHED_IN_SECTOR; i++)
			put_be64(sector + 8 * i, chunks[s * POOL_TOUCHED_IN_SECTOR + i]);
		seal(sector, id, epoch, "touc", page * POOL_SUMS_PAGE_SECTORS + s);
	}
}

unsigned pool_touched_decode(const uint8_t in[POOL_SUMS_PAGE_BYTES], const uint8_t id[POOL_ID_BYTES],
	uint32_t epoch, uint64_t page, uint64_t chunks[POOL_TOUCHED_REGIONS])
{
	unsigned damaged = 0;

	for (unsigned s = 0; s < POOL_SUMS_PAGE_SECTORS; s++) {
		const uint8_t *sector = in + s * POOL_SUMS_SECTOR;
		enum sector_state state = look(sector, id, epoch, "touc", page * POOL_SUMS_PAGE_SECTORS + s);

		damaged += state == SECTOR_DAMAGED;
		for (unsigned i = 0; i < POOL_TOUCHED_IN_SECTOR; i++) {
			uint64_t word = 0;

			if (state != SECTOR_NONE)
				word = state == SECTOR_GOOD ? get_be64(sector + 8 * i) : POOL_SUMS_ALL_CHUNKS;
			chunks[s * POOL_TOUCHED_IN_SECTOR + i] = word & POOL_SUMS_ALL_CHUNKS;
		}
	}
	return damaged;
}
