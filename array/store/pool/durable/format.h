/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool on disk (docs/pool-format.md): constants, log frames and records, and the values in the metadata
 * environment. Encoders and decoders only: no I/O, no allocation. All integers are big-endian.
 *
 * Invariants: every frame and every value carries a CRC-32C that also covers the pool's id (and, for a value,
 * its table and key), so that a stray page of another pool or of another key is never believed.
 * Decoders trust nothing: they return -EBADMSG for whatever is out of shape.
 */
#ifndef UMBRA_POOL_FORMAT_H
#define UMBRA_POOL_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POOL_VERSION        1u
#define POOL_ID_BYTES       16
#define POOL_CHUNK_BYTES    65536u
#define POOL_CHUNK_SHIFT    16
#define POOL_BLOCK_BYTES    4096u
#define POOL_BLOCK_SHIFT    12
#define POOL_BLOCKS         16u /* blocks in a chunk */
#define POOL_ALL_BLOCKS     0xffffu
#define POOL_SEGMENT_CHUNKS (1u << 24) /* 1 TiB */
#define POOL_GROUP_CHUNKS   1024u      /* chunks of one bitmap */
#define POOL_GROUP_BYTES    (POOL_GROUP_CHUNKS / 8)
#define POOL_PHYS_MAX       ((UINT64_C(1) << 35) - 1) /* the largest physical chunk number */
#define POOL_GEN_MAX        (UINT32_MAX - 16u)
#define POOL_ENTRIES_OLD                                                                                     \
	2u /* pool_super.entries_each of a pool whose room for metadata was for whole chunks */
#define POOL_ENTRIES_SPLIT 16u /* of one with room for an entry for each block */

/* Features this program knows. An unknown bit in the first set refuses the pool, in the second makes the
 * data read-only, in the third all of it. */
#define POOL_FEATURE_SHARED   1u  /* refuses: a chunk may be in several entries (tables refs and loose) */
#define POOL_FEATURE_DIGESTS  2u  /* refuses: the table `digest` is kept */
#define POOL_FEATURE_SUMS     4u  /* refuses: each block of the data has a checksum (sums.h) */
#define POOL_FEATURE_SPLIT    8u  /* refuses: several entries may have blocks of one chunk (table split) */
#define POOL_FEATURE_MIRRORED 16u /* refuses: a mirror relies on the stamp on the data (stamp.h) */
#define POOL_FEATURE_SALVAGED 1u  /* data read-only: restored from metadata that is older than the data */
#define POOL_FEATURES_NEW                                                                                    \
	(POOL_FEATURE_SHARED | POOL_FEATURE_DIGESTS | POOL_FEATURE_SPLIT) /* of pools that are made now */
#define POOL_FEATURES_REFUSE        (POOL_FEATURES_NEW | POOL_FEATURE_SUMS | POOL_FEATURE_MIRRORED)
#define POOL_FEATURES_DATA_READONLY POOL_FEATURE_SALVAGED
#define POOL_FEATURES_META_READONLY 0u

/* ---- the file `pool`: identity and version -------------------------------------------------------- */

#define POOL_SUPER_BYTES 4096u

uint32_t pool_crc(uint32_t crc, const void *data, size_t len); /* CRC-32C; begins with ~0 */

struct pool_super {
	uint32_t version;
	uint64_t features_refuse, features_data_readonly, features_meta_readonly;
	uint8_t id[POOL_ID_BYTES];
	uint64_t capacity_chunks; /* chunk numbers handed out are 1 … capacity_chunks - 1 */
	uint64_t log_bytes;
	/* How many entries of the map the metadata has room for, for each chunk; while there are more, chunks are not split. */
	uint32_t entries_each;
	bool data_device; /* data lies on a device given at open, not in data.N */
};

void pool_super_encode(uint8_t out[POOL_SUPER_BYTES], const struct pool_super *super);
/* -EBADMSG: not a pool's or damaged; -ENOTSUP: a newer version (out->version is then set). */
int pool_super_decode(const uint8_t in[POOL_SUPER_BYTES], struct pool_super *out);

/* ---- the log --------------------------------------------------------------------------------------- */

#define POOL_LOG_START       4096u /* the first block names the file */
#define POOL_LOG_ALIGN       4096u
#define POOL_LOG_MIN_BYTES   (1u << 20)
#define POOL_FRAME_HEAD_SIZE 64u

struct pool_frame {
	uint64_t incarnation; /* of the opening that wrote it */
	uint64_t sequence;
	uint64_t offset; /* where it lies in the file */
	uint32_t payload_bytes;
	uint32_t records;
};

void pool_log_label_encode(uint8_t out[POOL_LOG_START], const uint8_t id[POOL_ID_BYTES], uint64_t log_bytes);
int pool_log_label_check(const uint8_t in[POOL_LOG_START], const uint8_t id[POOL_ID_BYTES]);

/* `buf` holds POOL_FRAME_HEAD_SIZE bytes of room, then the payload; writes the head, its CRC included. */
void pool_frame_seal(uint8_t *buf, const uint8_t id[POOL_ID_BYTES], const struct pool_frame *frame);
/* Reads a head; the payload may not be there yet. -EBADMSG: not a frame, or its length exceeds max_bytes. */
int pool_frame_head(
	const uint8_t *buf, const uint8_t id[POOL_ID_BYTES], uint64_t max_bytes, struct pool_frame *out);
/* With the whole payload behind the head: -EBADMSG when the CRC is wrong. */
int pool_frame_check(const uint8_t *buf, const uint8_t id[POOL_ID_BYTES], const struct pool_frame *frame);
/* Bytes the frame takes in the file. */
uint64_t pool_frame_bytes(uint64_t payload_bytes);

/* ---- the file `mark`: what was durable in the log, at least --------------------------------------------- */

#define POOL_MARK_BYTES      64u
#define POOL_MARK_FILE_BYTES 4096u

struct pool_mark {
	uint64_t incarnation, sequence; /* of a frame that was durable before this was written */
};

void pool_mark_encode(
	uint8_t out[POOL_MARK_BYTES], const uint8_t id[POOL_ID_BYTES], const struct pool_mark *mark);
/* -EBADMSG: not one of this pool, or torn: it says nothing. */
int pool_mark_decode(
	const uint8_t in[POOL_MARK_BYTES], const uint8_t id[POOL_ID_BYTES], struct pool_mark *out);

enum pool_record_type {
	POOL_RECORD_MAP_PUT = 1,
	POOL_RECORD_MAP_DEL = 2,
	POOL_RECORD_FREE = 3,
	POOL_RECORD_BRANCH_PUT = 4,
	POOL_RECORD_BRANCH_DEL = 5,
	POOL_RECORD_DISK_PUT = 6,
	POOL_RECORD_DISK_DEL = 7,
	POOL_RECORD_CATALOGUE_PUT = 8,
	POOL_RECORD_CATALOGUE_DEL = 9,
	POOL_RECORD_TODO_PUT = 10,
	POOL_RECORD_TODO_DEL = 11,
	POOL_RECORD_IDS = 12,
	POOL_RECORD_UNSHARE = 13,
	POOL_RECORD_FREE_BLOCKS = 14, /* of a split chunk */
};

struct pool_map_key {
	uint64_t branch, chunk;
	uint32_t gen;
};

struct pool_map_value {
	uint64_t phys; /* 0: no data, only known zeros */
	uint16_t valid, zero;
	bool shared; /* other entries may have the chunk, too; never without data */
	bool split;  /* other entries may have other blocks of the chunk; never without data, nor shared */
};

struct pool_branch_value {
	uint32_t gen;
	uint32_t parent_gen;
	uint64_t parent; /* 0: none */
	uint64_t blocks; /* that its entries hold: of a whole chunk all, of a split one those with data */
};

struct pool_disk_value {
	uint64_t branch;
	uint64_t size_bytes;
};

/* A decoded record; pointers go into the buffer it was decoded from. */
struct pool_record {
	enum pool_record_type type;
	union {
		struct {
			struct pool_map_key key;
			struct pool_map_value value;
		} map;
		struct {
			uint64_t phys, count;
		} run;
		struct {
			uint64_t phys;
			uint16_t mask;
		} blocks;
		struct {
			uint64_t id;
			struct pool_branch_value value;
		} branch;
		struct {
			uint64_t id;
			struct pool_disk_value value;
		} disk;
		struct {
			uint8_t table;
			uint16_t key_len;
			uint32_t value_len;
			const uint8_t *key, *value;
		} catalogue;
		struct {
			uint64_t branch;
			uint32_t gen;
		} todo;
		struct {
			uint64_t next_branch, next_disk;
		} ids;
	};
};

#define POOL_RECORD_HEAD_BYTES 8u
/* Room that is enough for any record but a catalogue one. */
#define POOL_RECORD_MAX_FIXED 48u
/* Bytes of the encoded record. */
size_t pool_record_size(const struct pool_record *record);
size_t pool_record_encode(uint8_t *out, const struct pool_record *record);
/* Bytes taken, or -EBADMSG. */
int64_t pool_record_decode(const uint8_t *in, size_t left, struct pool_record *out);

/* ---- the metadata environment ---------------------------------------------------------------------- */

enum pool_table {
	POOL_TABLE_STATE = 0,
	POOL_TABLE_CATALOGUE,
	POOL_TABLE_DISK,
	POOL_TABLE_BRANCH,
	POOL_TABLE_MAP,
	POOL_TABLE_GEN,
	POOL_TABLE_SPACE,
	POOL_TABLE_TODO,
	POOL_TABLE_REFS, /* this one and the next only with POOL_FEATURE_SHARED */
	POOL_TABLE_LOOSE,
	POOL_TABLE_DIGEST, /* with POOL_FEATURE_DIGESTS */
	POOL_TABLE_SPLIT,  /* with POOL_FEATURE_SPLIT */
	POOL_TABLES
};

struct pool_state {
	uint64_t incarnation;
	uint64_t applied_sequence; /* the last frame that is in here */
	uint64_t log_offset;       /* where the next one is */
	uint64_t next_branch, next_disk;
	bool shut; /* a repair left what makes it dangerous to open the pool */
};

#define POOL_MAP_KEY_BYTES      20u /* branch, chunk, ~gen: the newest generation comes first */
#define POOL_MAP_VALUE_BYTES    16u /* value sizes include their CRC */
#define POOL_GEN_KEY_BYTES      20u /* branch, gen, chunk */
#define POOL_BRANCH_VALUE_BYTES 32u
#define POOL_DISK_VALUE_BYTES   24u
#define POOL_STATE_VALUE_BYTES  48u
#define POOL_STATE_SHUT_BYTES   56u /* of a pool that is shut: who does not know it takes it for damaged */
#define POOL_SPACE_VALUE_BYTES  (POOL_GROUP_BYTES + 4u)
#define POOL_SPLIT_CHUNKS       512u /* in one record of the table split: the blocks of each that are used */
#define POOL_SPLIT_BYTES        (2u * POOL_SPLIT_CHUNKS)
#define POOL_TODO_KEY_BYTES     12u
#define POOL_REF_KEY_BYTES      28u /* chunk number, then the map's key */
#define POOL_LOOSE_KEY_BYTES    8u  /* chunk number */
#define POOL_DIGEST_KEY_BYTES   17u /* table; of the map: branch, chunk / 512; of refs: chunk number / 64 */
#define POOL_DIGEST_VALUE_BYTES 20u
#define POOL_DIGEST_REFS        64u  /* chunks of the data, in one digest of refs */
#define POOL_DIGEST_CHUNKS      512u /* of a disk, in one digest: a leaf of the map */

void pool_map_key_encode(uint8_t out[POOL_MAP_KEY_BYTES], const struct pool_map_key *key);
void pool_map_key_decode(const uint8_t in[POOL_MAP_KEY_BYTES], struct pool_map_key *key);
void pool_gen_key_encode(uint8_t out[POOL_GEN_KEY_BYTES], const struct pool_map_key *key);
void pool_gen_key_decode(const uint8_t in[POOL_GEN_KEY_BYTES], struct pool_map_key *key);
void pool_map_value_encode(uint8_t out[POOL_MAP_VALUE_BYTES], const struct pool_map_value *value);
void pool_map_value_decode(const uint8_t in[POOL_MAP_VALUE_BYTES], struct pool_map_value *value);
void pool_ref_key_encode(uint8_t out[POOL_REF_KEY_BYTES], uint64_t phys, const struct pool_map_key *key);
void pool_ref_key_decode(const uint8_t in[POOL_REF_KEY_BYTES], uint64_t *phys, struct pool_map_key *key);
void pool_branch_value_encode(uint8_t out[POOL_BRANCH_VALUE_BYTES], const struct pool_branch_value *value);
void pool_branch_value_decode(const uint8_t in[POOL_BRANCH_VALUE_BYTES], struct pool_branch_value *value);
void pool_disk_value_encode(uint8_t out[POOL_DISK_VALUE_BYTES], const struct pool_disk_value *value);
void pool_disk_value_decode(const uint8_t in[POOL_DISK_VALUE_BYTES], struct pool_disk_value *value);
/* Both return the value's bytes; decode 0 when it is none. */
size_t pool_state_encode(uint8_t out[POOL_STATE_SHUT_BYTES], const struct pool_state *state);
size_t pool_state_decode(const uint8_t *in, size_t value_len, struct pool_state *state);

/* The CRC in the last four bytes of a value, over id, table, key and the bytes before it. */
void pool_value_seal(const uint8_t id[POOL_ID_BYTES], enum pool_table table, const void *key, size_t key_len,
	uint8_t *value, size_t value_len);
bool pool_value_ok(const uint8_t id[POOL_ID_BYTES], enum pool_table table, const void *key, size_t key_len,
	const uint8_t *value, size_t value_len);

#endif
