/* SPDX-License-Identifier: Apache-2.0 */
/* See record.h. Layout, little-endian: magic 8, checksum 8, run 8, seq 8, stream 4, side 4, pattern. */
#include "lab/writers/record.h"

#include <string.h>

static const uint8_t magic[8] = "UMBLABW1";

enum {
	AT_CHECKSUM = 8,
	AT_RUN = 16,
	AT_SEQ = 24,
	AT_STREAM = 32,
	AT_SIDE = 36,
	AT_PATTERN = 40
};

static void put(uint8_t *p, uint64_t v, int bytes)
{
	for (int i = 0; i < bytes; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

static uint64_t get(const uint8_t *p, int bytes)
{
	uint64_t v = 0;
	for (int i = 0; i < bytes; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return v;
}

/* FNV-1a over the block with its checksum taken as zero, eight bytes at a time. */
static uint64_t checksum(const uint8_t block[RECORD_BYTES])
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);
	for (size_t i = 0; i < RECORD_BYTES; i += 8) {
		h ^= i == AT_CHECKSUM ? 0 : get(block + i, 8);
		h *= UINT64_C(0x100000001b3);
		h ^= h >> 29;
	}
	return h;
}

void record_make(uint8_t block[RECORD_BYTES], const struct record_id *id)
{
	uint64_t x = id->run ^ id->seq << 20 ^ (uint64_t)id->stream << 8 ^ id->side;
	memcpy(block, magic, sizeof magic);
	put(block + AT_RUN, id->run, 8);
	put(block + AT_SEQ, id->seq, 8);
	put(block + AT_STREAM, id->stream, 4);
	put(block + AT_SIDE, id->side, 4);
	for (size_t i = AT_PATTERN; i < RECORD_BYTES; i += 8) {
		x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		put(block + i, x, 8);
	}
	put(block + AT_CHECKSUM, checksum(block), 8);
}

/* RECORD_NONE: no record was ever here (no magic). */
static enum record_kind record_read(const uint8_t block[RECORD_BYTES], struct record_id *id)
{
	if (memcmp(block, magic, sizeof magic) != 0)
		return RECORD_NONE;
	id->run = get(block + AT_RUN, 8);
	id->seq = get(block + AT_SEQ, 8);
	id->stream = (uint32_t)get(block + AT_STREAM, 4);
	id->side = (uint32_t)get(block + AT_SIDE, 4);
	return get(block + AT_CHECKSUM, 8) == checksum(block) ? RECORD_GOOD : RECORD_DAMAGED;
}

uint64_t record_slot(uint32_t stream, uint64_t seq, uint32_t slots)
{
	return (uint64_t)stream * slots + seq % slots;
}

uint64_t area_latest_run(const uint8_t *blocks, size_t count)
{
	uint64_t latest = 0;
	for (size_t i = 0; i < count; i++) {
		struct record_id id;
		if (record_read(blocks + i * RECORD_BYTES, &id) == RECORD_GOOD && id.run > latest)
			latest = id.run;
	}
	return latest;
}

struct area_state area_check(
	const uint8_t *blocks, uint32_t slots, uint64_t run, uint32_t stream, uint32_t side)
{
	struct area_state s = {0};
	struct record_id id;
	for (uint32_t i = 0; i < slots && !s.wrong; i++) {
		enum record_kind kind = record_read(blocks + (size_t)i * RECORD_BYTES, &id);
		s.wrong_slot = i;
		if (kind == RECORD_DAMAGED)
			s.wrong = "a record is damaged";
		else if (kind == RECORD_GOOD &&
			 (id.stream != stream || id.side != side || id.seq % slots != i))
			s.wrong = "a record lies in another's place";
		else if (kind == RECORD_GOOD && id.run > run)
			s.wrong = "a record of a later run";
		else if (kind == RECORD_GOOD && id.run == run && id.seq > s.last)
			s.last = id.seq;
	}
	uint64_t oldest = s.last > slots ? s.last - slots + 1 : 1;
	for (uint64_t seq = oldest; seq <= s.last && !s.wrong; seq++) {
		const uint8_t *block = blocks + (size_t)(seq % slots) * RECORD_BYTES;
		s.wrong_slot = seq % slots;
		if (record_read(block, &id) != RECORD_GOOD || id.run != run || id.seq != seq)
			s.wrong = "an older record is missing";
	}
	return s;
}

const char *order_wrong(uint64_t a_last, uint64_t b_last)
{
	if (b_last > a_last)
		return "B without A: a write to B is there, the write to A that was answered before it is not";
	if (a_last - b_last > 1)
		return "A is ahead of B by more than one record: writes to B that were answered are missing";
	return NULL;
}
