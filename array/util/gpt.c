/* SPDX-License-Identifier: Apache-2.0 */
/* See gpt.h. Fields of header and entry are taken by offset, little-endian (UEFI 5.3.2, 5.3.3). */
#include "array/util/gpt.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum {
	HEADER_SIZE = 12,
	HEADER_CRC = 16,
	HEADER_SELF = 24,
	HEADER_OTHER = 32,
	HEADER_DISK_ID = 56,
	HEADER_ENTRIES_LBA = 72,
	HEADER_ENTRY_COUNT = 80,
	HEADER_ENTRY_BYTES = 84,
	HEADER_ENTRIES_CRC = 88,
	HEADER_MIN_BYTES = 92,
	ENTRY_BYTES = 128,
	ENTRY_ID = 16,
	ENTRY_ATTRIBUTES = 48,
	MBR_SIGNATURE = 440,
	MBR_SIGNATURE_BYTES = 4,
	MAX_BLOCK_BYTES = 4096,
	ARRAY_BYTES = GPT_MAX_ENTRIES * ENTRY_BYTES,
};

static const uint8_t type_efi_system[16] = {
	0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b};
static const uint8_t type_msr[16] = {
	0x16, 0xe3, 0xc9, 0xe3, 0x5c, 0x0b, 0xb8, 0x4d, 0x81, 0x7d, 0xf9, 0x2d, 0xf0, 0x02, 0x15, 0xae};
static const uint8_t type_unused[16];

struct table {
	uint8_t header[MAX_BLOCK_BYTES];
	uint8_t entries[ARRAY_BYTES];
	uint64_t lba, entries_lba;
	uint32_t count;
};

static uint32_t le32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t le64(const uint8_t *p)
{
	return le32(p) | (uint64_t)le32(p + 4) << 32;
}

static void put_le32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

static void put_le64(uint8_t *p, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

uint32_t gpt_crc32(const void *data, uint32_t len_bytes)
{
	const uint8_t *p = data;
	uint32_t crc = 0xffffffffu;
	for (uint32_t i = 0; i < len_bytes; i++) {
		crc ^= p[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc & 1 ? crc >> 1 ^ 0xedb88320u : crc >> 1;
	}
	return ~crc;
}

static uint32_t header_crc(const uint8_t *header, uint32_t size)
{
	uint8_t copy[MAX_BLOCK_BYTES];
	memcpy(copy, header, size);
	put_le32(copy + HEADER_CRC, 0);
	return gpt_crc32(copy, size);
}

static uint32_t array_blocks(const struct gpt_disk *disk, uint32_t count)
{
	return (count * ENTRY_BYTES + disk->block_bytes - 1) / disk->block_bytes;
}

/* One header and its entries: 0, a negative read error, or 1 when it is not a good table. */
static int load(const struct gpt_disk *disk, uint64_t lba, struct table *t)
{
	int rc = disk->read(disk->arg, lba, 1, t->header);
	if (rc < 0)
		return rc;
	uint32_t size = le32(t->header + HEADER_SIZE);
	t->lba = lba;
	t->entries_lba = le64(t->header + HEADER_ENTRIES_LBA);
	t->count = le32(t->header + HEADER_ENTRY_COUNT);
	if (memcmp(t->header, "EFI PART", 8) != 0 || size < HEADER_MIN_BYTES || size > disk->block_bytes ||
		header_crc(t->header, size) != le32(t->header + HEADER_CRC) ||
		le64(t->header + HEADER_SELF) != lba)
		return 1;
	if (t->count == 0 || t->count > GPT_MAX_ENTRIES ||
		le32(t->header + HEADER_ENTRY_BYTES) != ENTRY_BYTES || t->entries_lba < 2 ||
		t->entries_lba >= disk->blocks ||
		array_blocks(disk, t->count) > disk->blocks - t->entries_lba)
		return 1;
	rc = disk->read(disk->arg, t->entries_lba, array_blocks(disk, t->count), t->entries);
	if (rc < 0)
		return rc;
	return gpt_crc32(t->entries, t->count * ENTRY_BYTES) == le32(t->header + HEADER_ENTRIES_CRC) ? 0 : 1;
}

static int store(const struct gpt_disk *disk, struct table *t)
{
	put_le32(t->header + HEADER_ENTRIES_CRC, gpt_crc32(t->entries, t->count * ENTRY_BYTES));
	put_le32(t->header + HEADER_CRC, header_crc(t->header, le32(t->header + HEADER_SIZE)));
	int rc = disk->write(disk->arg, t->entries_lba, array_blocks(disk, t->count), t->entries);
	return rc < 0 ? rc : disk->write(disk->arg, t->lba, 1, t->header);
}

static bool is_data_partition(const uint8_t *entry)
{
	return memcmp(entry, type_unused, 16) != 0 && memcmp(entry, type_efi_system, 16) != 0 &&
	       memcmp(entry, type_msr, 16) != 0;
}

static void describe(const struct table *t, struct gpt_state *state)
{
	state->kind = GPT_GPT;
	memcpy(state->disk_id, t->header + HEADER_DISK_ID, 16);
	for (uint32_t i = 0; i < t->count; i++) {
		const uint8_t *entry = t->entries + (size_t)i * ENTRY_BYTES;
		if (memcmp(entry, type_unused, 16) == 0)
			continue;
		state->partitions++;
		state->bits[i] = le64(entry + ENTRY_ATTRIBUTES) & GPT_SHADOW_BITS;
		if (is_data_partition(entry) && (state->bits[i] & GPT_BIT_SHADOW_COPY))
			state->flagged = true;
	}
}

/* Both tables (backup may be NULL: not wanted); *state says what the disk has. */
static int load_both(
	const struct gpt_disk *disk, struct table *primary, struct table *backup, struct gpt_state *state)
{
	uint8_t mbr[MAX_BLOCK_BYTES];
	memset(state, 0, sizeof *state);
	if (disk->block_bytes < 512 || disk->block_bytes > MAX_BLOCK_BYTES || disk->blocks < 8)
		return 0;
	int rc = disk->read(disk->arg, 0, 1, mbr);
	if (rc < 0)
		return rc;
	if (mbr[510] != 0x55 || mbr[511] != 0xaa)
		return 0;
	state->kind = GPT_MBR;
	memcpy(state->disk_id, mbr + MBR_SIGNATURE, MBR_SIGNATURE_BYTES);
	rc = load(disk, 1, primary);
	if (rc < 0)
		return rc;
	if (rc > 0) {
		if (mbr[446 + 4] == 0xee)
			state->kind = GPT_DAMAGED;
		return 0;
	}
	if (backup) {
		uint64_t other = le64(primary->header + HEADER_OTHER);
		rc = other < disk->blocks ? load(disk, other, backup) : 1;
		if (rc < 0)
			return rc;
		if (rc > 0 || backup->count != primary->count) {
			state->kind = GPT_DAMAGED;
			return 0;
		}
	}
	describe(primary, state);
	return 0;
}

int gpt_look(const struct gpt_disk *disk, struct gpt_state *state)
{
	struct table *primary = malloc(sizeof *primary);
	int rc = primary ? load_both(disk, primary, NULL, state) : -ENOMEM;
	free(primary);
	return rc;
}

/* What becomes of a table. */
struct edit {
	const struct gpt_state *bits; /* each data partition gets these … */
	uint64_t set, clear;          /* … or, where bits is NULL, its own with these set or cleared */
	const struct gpt_identity *identity; /* NULL: as it is */
};

static void edit_table(struct table *t, const struct edit *e)
{
	if (e->identity)
		memcpy(t->header + HEADER_DISK_ID, e->identity->disk_id, 16);
	for (uint32_t i = 0; i < t->count; i++) {
		uint8_t *entry = t->entries + (size_t)i * ENTRY_BYTES;
		if (e->identity && i < e->identity->count && memcmp(entry, type_unused, 16) != 0)
			memcpy(entry + ENTRY_ID, e->identity->partition_ids[i], 16);
		if (!is_data_partition(entry))
			continue;
		uint64_t old = le64(entry + ENTRY_ATTRIBUTES);
		uint64_t attributes =
			e->bits ? (old & ~GPT_SHADOW_BITS) | e->bits->bits[i] : (old | e->set) & ~e->clear;
		put_le64(entry + ENTRY_ATTRIBUTES, attributes);
	}
}

/* Reads both tables, edits them, writes backup, then primary. A disk without GPT is left alone. */
static int change(const struct gpt_disk *disk, struct gpt_state *before, const struct edit *e)
{
	struct table *both = calloc(2, sizeof *both);
	if (!both)
		return -ENOMEM;
	int rc = load_both(disk, &both[0], &both[1], before);
	if (rc == 0 && before->kind == GPT_GPT) {
		for (int copy = 1; copy >= 0 && rc == 0; copy--) {
			edit_table(&both[copy], e);
			rc = store(disk, &both[copy]);
		}
	}
	free(both);
	return rc;
}

int gpt_set_shadow_bits(const struct gpt_disk *disk, struct gpt_state *before)
{
	static const struct edit all = {.set = GPT_SHADOW_BITS};
	return change(disk, before, &all);
}

int gpt_restore_bits(const struct gpt_disk *disk, const struct gpt_state *before)
{
	struct gpt_state now;
	const struct edit back = {.bits = before};
	return before->kind == GPT_GPT ? change(disk, &now, &back) : 0;
}

int gpt_get_identity(const struct gpt_disk *disk, struct gpt_identity *out)
{
	struct gpt_state state;
	struct table *t = malloc(sizeof *t);
	memset(out, 0, sizeof *out);
	int rc = t ? load_both(disk, t, NULL, &state) : -ENOMEM;
	if (rc == 0 && (state.kind == GPT_GPT || state.kind == GPT_MBR)) {
		out->kind = state.kind;
		memcpy(out->disk_id, state.disk_id, 16);
		out->count = state.kind == GPT_GPT ? t->count : 0;
		for (uint32_t i = 0; i < out->count; i++) {
			const uint8_t *entry = t->entries + (size_t)i * ENTRY_BYTES;
			if (memcmp(entry, type_unused, 16) != 0)
				memcpy(out->partition_ids[i], entry + ENTRY_ID, 16);
		}
	}
	free(t);
	return rc;
}

static int change_mbr_signature(const struct gpt_disk *disk, const uint8_t *signature)
{
	uint8_t mbr[MAX_BLOCK_BYTES];
	int rc = disk->read(disk->arg, 0, 1, mbr);
	if (rc < 0)
		return rc;
	memcpy(mbr + MBR_SIGNATURE, signature, MBR_SIGNATURE_BYTES);
	rc = disk->write(disk->arg, 0, 1, mbr);
	return rc < 0 ? rc : 0;
}

int gpt_change(const struct gpt_disk *disk, const struct gpt_identity *want, uint64_t clear)
{
	struct gpt_state now;
	int rc = gpt_look(disk, &now);
	if (rc < 0)
		return rc;
	if (want && want->kind != now.kind)
		return -EINVAL;
	if (want && now.kind == GPT_MBR)
		return change_mbr_signature(disk, want->disk_id);
	const struct edit e = {.clear = clear & GPT_SHADOW_BITS, .identity = want};
	rc = change(disk, &now, &e);
	return rc == 0 && want && now.kind != GPT_GPT ? -EINVAL : rc; /* the backup was damaged */
}
