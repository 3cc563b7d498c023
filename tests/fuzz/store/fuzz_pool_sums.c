/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as the small things beside the log and the data. The first byte chooses: the log's mark, the label of `sums`, a
 * page of `sums`, a page of `touched`. As they come they are refused, sector by sector, or encode to the same again; with the
 * rest as content they are sealed rightly, and say what went in.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include "array/store/pool/durable/sums.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t id[POOL_ID_BYTES] = "a pool's 16 byte";

static void mark(const uint8_t *in)
{
	uint8_t again[POOL_MARK_BYTES];
	struct pool_mark m, second;

	if (pool_mark_decode(in, id, &m) != 0)
		memcpy(&m, in, sizeof(m));
	pool_mark_encode(again, id, &m);
	assert(pool_mark_decode(again, id, &second) == 0);
	assert(second.incarnation == m.incarnation && second.sequence == m.sequence);
}

static void label(const uint8_t *in)
{
	uint8_t again[POOL_SUMS_PAGE_BYTES];
	struct pool_sums_label l, second;

	if (pool_sums_label_decode(in, id, &l) != 0)
		memcpy(&l, in, sizeof(l));
	pool_sums_label_encode(again, id, &l);
	assert(pool_sums_label_decode(again, id, &second) == 0);
	assert(second.incarnation == l.incarnation && second.epoch == l.epoch);
	again[40] ^= 1;
	assert(pool_sums_label_decode(again, id, &second) == -EBADMSG);
}

static void sums(const uint8_t *in)
{
	static pool_sums_of_chunk s[POOL_SUMS_CHUNKS], second[POOL_SUMS_CHUNKS];
	uint8_t again[POOL_SUMS_PAGE_BYTES];

	assert(pool_sums_decode(in, id, 3, 5, s) <= POOL_SUMS_PAGE_SECTORS);
	memcpy(s, in, sizeof(s));
	pool_sums_encode(again, id, 3, 5, s);
	assert(pool_sums_decode(again, id, 3, 5, second) == 0);
	assert(memcmp(s, second, sizeof(s)) == 0);
	/* Of another epoch: nothing is known. At another place: damaged. */
	assert(pool_sums_decode(again, id, 4, 5, second) == 0 && second[0][0] == 0);
	assert(pool_sums_decode(again, id, 3, 6, second) == POOL_SUMS_PAGE_SECTORS);
}

static void touched(const uint8_t *in)
{
	uint64_t words[POOL_TOUCHED_REGIONS], second[POOL_TOUCHED_REGIONS];
	uint8_t again[POOL_SUMS_PAGE_BYTES];

	assert(pool_touched_decode(in, id, 3, 5, words) <= POOL_SUMS_PAGE_SECTORS);
	for (unsigned i = 0; i < POOL_TOUCHED_REGIONS; i++) {
		assert((words[i] & ~POOL_SUMS_ALL_CHUNKS) == 0);
		memcpy(&words[i], in + 8 * i, 8);
		words[i] &= POOL_SUMS_ALL_CHUNKS;
	}
	pool_touched_encode(again, id, 3, 5, words);
	assert(pool_touched_decode(again, id, 3, 5, second) == 0);
	assert(memcmp(words, second, sizeof(words)) == 0);
	again[0] ^= 1;
	assert(pool_touched_decode(again, id, 3, 5, second) == 1 && second[0] == POOL_SUMS_ALL_CHUNKS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t page[POOL_SUMS_PAGE_BYTES];

	if (size == 0)
		return 0;
	size--;
	memset(page, 0, sizeof(page));
	memcpy(page, data + 1, size < sizeof(page) ? size : sizeof(page));
	switch (data[0] & 3) {
	case 0:
		mark(page);
		break;
	case 1:
		label(page);
		break;
	case 2:
		sums(page);
		break;
	default:
		touched(page);
	}
	return 0;
}
