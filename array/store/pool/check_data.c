/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A check of the data itself: every block that an entry of the map has is read and compared with its checksum. Of a pool
 * that nobody has open; nothing is changed. What a crash left unsure, and what has no checksum, is counted.
 */
#include "array/store/pool/pool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct data_check {
	struct pool_check_data *with;
	const struct pool_host_ops *ops;
	struct pool_file *sums, *touched, *data;
	uint64_t segment; /* of `data`, and 1 */
	uint64_t sums_bytes, touched_bytes;
	uint32_t epoch;
	/* what was read last */
	uint64_t region, words_page; /* and 1 */
	pool_sums_of_chunk sum[POOL_SUMS_CHUNKS];
	uint64_t words[POOL_TOUCHED_REGIONS];
	uint8_t *chunk, *page;
};

static int open_sums(struct data_check *d)
{
	struct pool_host *host = d->with->host;
	struct pool_sums_label label;
	int err = d->ops->file_open(host, "sums", POOL_FILE_READONLY, &d->sums);

	if (!err)
		err = d->ops->file_open(host, "touched", POOL_FILE_READONLY, &d->touched);
	if (!err)
		err = d->ops->file_size(d->sums, &d->sums_bytes);
	if (!err)
		err = d->ops->file_size(d->touched, &d->touched_bytes);
	if (!err)
		err = pool_sums_label_read(d->sums, d->with->super->id, &label);
	if (!err && label.incarnation >= d->with->incarnation)
		d->epoch = label.epoch; /* else all are of before */
	return err == -ENOENT || err == -EBADMSG ? 0 : err;
}

/* The sums of a region, and its words. */
static int load(struct data_check *d, uint64_t region)
{
	uint64_t at = pool_sums_offset(region), page = region / POOL_TOUCHED_REGIONS;
	const uint8_t *id = d->with->super->id;
	int err = 0;

	if (d->region == region + 1)
		return 0;
	memset(d->sum, 0, sizeof(d->sum));
	if (d->epoch && at + POOL_SUMS_PAGE_BYTES <= d->sums_bytes) {
		err = d->ops->file_pread(d->sums, d->page, POOL_SUMS_PAGE_BYTES, at);
		if (!err)
			d->with->lost += pool_sums_decode(d->page, id, d->epoch, region, d->sum);
	}
	if (!err && d->words_page != page + 1) {
		memset(d->words, 0, sizeof(d->words));
		if (d->epoch && (page + 1) * POOL_SUMS_PAGE_BYTES <= d->touched_bytes)
			err = d->ops->file_pread(
				d->touched, d->page, POOL_SUMS_PAGE_BYTES, page * POOL_SUMS_PAGE_BYTES);
		if (!err && d->epoch && (page + 1) * POOL_SUMS_PAGE_BYTES <= d->touched_bytes)
			d->with->lost += pool_touched_decode(d->page, id, d->epoch, page, d->words);
		d->words_page = err ? 0 : page + 1;
	}
	d->region = err ? 0 : region + 1;
	return err;
}

/* The chunk's bytes, in d->chunk. */
static int read_chunk(struct data_check *d, uint64_t phys, char *name, size_t size, uint64_t *offset)
{
	bool device = d->with->super->data_device;
	uint64_t segment = device ? 0 : phys / POOL_SEGMENT_CHUNKS;
	int err;

	if (device)
		snprintf(name, size, "%s", d->with->data_device);
	else
		snprintf(name, size, "data.%u", (unsigned)segment);
	*offset = (phys - segment * POOL_SEGMENT_CHUNKS) << POOL_CHUNK_SHIFT;
	if (d->segment != segment + 1) {
		if (d->data)
			d->ops->file_close(d->data);
		d->data = NULL;
		d->segment = 0;
		err = d->ops->file_open(d->with->host, name, POOL_FILE_READONLY | POOL_FILE_DIRECT, &d->data);
		if (err)
			return err;
		d->segment = segment + 1;
	}
	return d->ops->file_pread(d->data, d->chunk, POOL_CHUNK_BYTES, *offset);
}

static void compare_chunk(struct data_check *d, const struct pool_map_key *key,
	const struct pool_map_value *v, const char *name, uint64_t offset)
{
	const uint32_t *known = d->sum[v->phys % POOL_SUMS_CHUNKS];

	for (unsigned i = 0; i < POOL_BLOCKS; i++) {
		uint32_t crc = pool_sum_begin(v->phys << 4 | i);
		char where[256];

		if (!(v->valid >> i & 1))
			continue;
		d->with->blocks++;
		if (!known[i]) {
			d->with->unknown++;
			continue;
		}
		crc = pool_crc(crc, d->chunk + (i << POOL_BLOCK_SHIFT), POOL_BLOCK_BYTES);
		if (pool_sum_end(crc) == known[i])
			continue;
		snprintf(where, sizeof(where), "%s at byte %llu", name,
			(unsigned long long)(offset + (i << POOL_BLOCK_SHIFT)));
		d->with->damaged(d->with->arg, key, i, where);
	}
}

static int each_entry(
	void *arg, const uint8_t *key, size_t key_len, const uint8_t *value, size_t value_len, bool intact)
{
	struct data_check *d = arg;
	uint64_t offset, region;
	struct pool_map_key k;
	struct pool_map_value v;
	char name[192];
	int err;

	d->with->step(d->with->arg);
	if (!intact || key_len != POOL_MAP_KEY_BYTES || value_len != POOL_MAP_VALUE_BYTES - 4)
		return 0; /* told of before */
	pool_map_key_decode(key, &k);
	pool_map_value_decode(value, &v);
	if (!v.phys || !v.valid || v.phys >= d->with->grown_chunks)
		return 0;
	region = v.phys / POOL_SUMS_CHUNKS;
	err = load(d, region);
	if (err)
		return err;
	if (d->words[region % POOL_TOUCHED_REGIONS] >> v.phys % POOL_SUMS_CHUNKS & 1) {
		d->with->blocks += (unsigned)__builtin_popcount(v.valid);
		d->with->unsure += (unsigned)__builtin_popcount(v.valid);
		return 0;
	}
	err = read_chunk(d, v.phys, name, sizeof(name), &offset);
	if (err == -ENOMEM)
		return err;
	if (err)
		d->with->unreadable(d->with->arg, &k, name, offset, err);
	else
		compare_chunk(d, &k, &v, name, offset);
	return 0;
}

int pool_check_data(struct pool_check_data *with, struct pool_meta *meta, MDB_txn *txn)
{
	struct data_check *d = calloc(1, sizeof(*d));
	int err;

	if (!d)
		return -ENOMEM;
	d->with = with;
	d->ops = with->host->ops;
	if (posix_memalign((void **)&d->chunk, POOL_BLOCK_BYTES, POOL_CHUNK_BYTES))
		d->chunk = NULL;
	d->page = malloc(POOL_SUMS_PAGE_BYTES);
	err = d->chunk && d->page ? open_sums(d) : -ENOMEM;
	if (!err)
		err = pool_meta_each(meta, txn, POOL_TABLE_MAP, each_entry, d);
	if (d->sums)
		d->ops->file_close(d->sums);
	if (d->touched)
		d->ops->file_close(d->touched);
	if (d->data)
		d->ops->file_close(d->data);
	free(d->chunk);
	free(d->page);
	free(d);
	return err;
}
