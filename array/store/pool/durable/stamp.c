/* SPDX-License-Identifier: Apache-2.0 */
/* The stamp on the data and the mirror's own (stamp.h). It fits into one sector: a crash leaves the old one or the new. */
#include "array/store/pool/durable/stamp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "array/util/bytes.h"

#define STAMP_OFFSET 4096u /* in chunk 0, behind a device's label */
#define STAMP_USED   64u

static const uint8_t magic[8] = "UmbraStm";

static void encode(uint8_t *out, const uint8_t id[POOL_ID_BYTES], const struct pool_stamp *stamp)
{
	memset(out, 0, POOL_STAMP_BYTES);
	memcpy(out, magic, sizeof(magic));
	memcpy(out + 8, id, POOL_ID_BYTES);
	put_be64(out + 24, stamp->epoch);
	put_be64(out + 32, stamp->incarnation);
	put_be32(out + 40, stamp->flags);
	put_be32(out + STAMP_USED - 4, pool_crc(~0u, out, STAMP_USED - 4));
}

static void decode(const uint8_t *in, const uint8_t id[POOL_ID_BYTES], struct pool_stamp *out)
{
	memset(out, 0, sizeof(*out));
	if (memcmp(in, magic, sizeof(magic)) != 0 || memcmp(in + 8, id, POOL_ID_BYTES) != 0 ||
		get_be32(in + STAMP_USED - 4) != pool_crc(~0u, in, STAMP_USED - 4))
		return;
	out->epoch = get_be64(in + 24);
	out->incarnation = get_be64(in + 32);
	out->flags = get_be32(in + 40);
}

static int read_at(
	struct pool_file *f, uint64_t offset, const uint8_t id[POOL_ID_BYTES], struct pool_stamp *out)
{
	uint8_t *buf;
	int err;

	memset(out, 0, sizeof(*out));
	if (posix_memalign((void **)&buf, POOL_STAMP_BYTES, POOL_STAMP_BYTES))
		return -ENOMEM;
	err = f->host->ops->file_pread(f, buf, POOL_STAMP_BYTES, offset);
	if (!err)
		decode(buf, id, out);
	free(buf);
	return err == -EBADMSG ? 0 : err; /* shorter than that: none */
}

int pool_stamp_read(struct pool_file *data, const uint8_t id[POOL_ID_BYTES], struct pool_stamp *out)
{
	return read_at(data, STAMP_OFFSET, id, out);
}

int pool_stamp_write(struct pool_file *data, const uint8_t id[POOL_ID_BYTES], const struct pool_stamp *stamp)
{
	uint8_t *buf;
	int err;

	if (posix_memalign((void **)&buf, POOL_STAMP_BYTES, POOL_STAMP_BYTES))
		return -ENOMEM;
	encode(buf, id, stamp);
	err = data->host->ops->file_pwrite(data, buf, POOL_STAMP_BYTES, STAMP_OFFSET);
	if (!err)
		err = data->host->ops->file_sync(data);
	free(buf);
	return err;
}

int pool_stamp_read_mirror(struct pool_host *mirror, const uint8_t id[POOL_ID_BYTES], struct pool_stamp *out)
{
	struct pool_file *f;
	int err = mirror->ops->file_open(mirror, "mirror", POOL_FILE_READONLY, &f);

	memset(out, 0, sizeof(*out));
	if (err)
		return err == -ENOENT ? 0 : err;
	err = read_at(f, 0, id, out);
	mirror->ops->file_close(f);
	return err;
}

int pool_stamp_write_mirror(
	struct pool_host *mirror, const uint8_t id[POOL_ID_BYTES], const struct pool_stamp *stamp)
{
	uint8_t buf[POOL_STAMP_BYTES];

	encode(buf, id, stamp);
	return mirror->ops->file_replace(mirror, "mirror", buf, sizeof(buf));
}
