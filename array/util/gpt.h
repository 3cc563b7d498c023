/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What VSS writes into a disk's partition table. The shadow copy flags: read-only, shadow copy, hidden and no
 * drive letter, attribute bits 60-63 of the GPT entries of its data partitions (UEFI 5.3, winioctl.h). The
 * identity: the GPT's disk and partition GUIDs or the MBR's signature, which no two disks of a host may share.
 * Pure C: the disk is behind a read/write vtable.
 *
 * Invariants: nothing is written unless both headers and both entry arrays were read and their checksums are
 * right; the backup is written before the primary, so that a table cut off in the middle is still readable.
 */
#ifndef UMBRA_UTIL_GPT_H
#define UMBRA_UTIL_GPT_H

#include <stdbool.h>
#include <stdint.h>

#define GPT_BIT_READ_ONLY   (UINT64_C(1) << 60)
#define GPT_BIT_SHADOW_COPY (UINT64_C(1) << 61)
#define GPT_BIT_HIDDEN      (UINT64_C(1) << 62)
#define GPT_BIT_NO_LETTER   (UINT64_C(1) << 63)
#define GPT_SHADOW_BITS     (GPT_BIT_READ_ONLY | GPT_BIT_SHADOW_COPY | GPT_BIT_HIDDEN | GPT_BIT_NO_LETTER)

#define GPT_MAX_ENTRIES 128

/* Whole blocks; 0, or a negative number that the functions here hand through. */
struct gpt_disk {
	void *arg;
	uint32_t block_bytes; /* 512 .. 4096 */
	uint64_t blocks;
	int (*read)(void *arg, uint64_t lba, uint32_t blocks, void *buf);
	int (*write)(void *arg, uint64_t lba, uint32_t blocks, const void *buf);
};

enum gpt_kind {
	GPT_NONE,
	GPT_MBR,
	GPT_GPT,
	GPT_DAMAGED
};

struct gpt_state {
	enum gpt_kind kind;
	uint8_t disk_id[16]; /* GPT: as on the disk, a GUID's memory layout; MBR: 4 bytes of signature */
	unsigned partitions; /* entries in use */
	uint64_t bits[GPT_MAX_ENTRIES]; /* attributes & GPT_SHADOW_BITS of each entry; 0 for unused ones */
	bool flagged;                   /* some data partition carries the shadow copy bit */
};

/* Looks at the partition table. 0 (state->kind says what was found) or a negative read error. */
int gpt_look(const struct gpt_disk *disk, struct gpt_state *state);

/* Sets GPT_SHADOW_BITS on every entry in use but EFI system and Microsoft reserved ones. `before` receives
 * what was there. A disk without GPT is left alone: 0 with before->kind != GPT_GPT. */
int gpt_set_shadow_bits(const struct gpt_disk *disk, struct gpt_state *before);

/* Puts the bits back as `before` has them; 0 without a write when before->kind is not GPT_GPT. */
int gpt_restore_bits(const struct gpt_disk *disk, const struct gpt_state *before);

/* What tells a disk from another. */
struct gpt_identity {
	enum gpt_kind kind;                         /* GPT_GPT or GPT_MBR; anything else: it has none */
	uint8_t disk_id[16];                        /* as in gpt_state */
	unsigned count;                             /* GPT: entries of partition_ids */
	uint8_t partition_ids[GPT_MAX_ENTRIES][16]; /* unique partition GUIDs; zero for unused entries */
};

/* 0 or a negative read error. A damaged table has no identity. */
int gpt_get_identity(const struct gpt_disk *disk, struct gpt_identity *out);

/* Gives the disk that identity and takes the bits `clear` (of GPT_SHADOW_BITS) off its data partitions. want NULL:
 * the bits only. -EINVAL, nothing written, when the disk's table is of another kind than want's. */
int gpt_change(const struct gpt_disk *disk, const struct gpt_identity *want, uint64_t clear);

/* IEEE 802.3 CRC-32 as GPT uses it. */
uint32_t gpt_crc32(const void *data, uint32_t len_bytes);

#endif
