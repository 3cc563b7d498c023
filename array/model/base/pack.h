/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packing and unpacking of catalogue records. A record is a version byte, its fields and a checksum over key
 * and value; catalogue.h lists the fields. Reading never trusts a length. A damaged record is -EUCLEAN, one
 * with a higher version -ENOTSUP.
 */
#ifndef UMBRA_MODEL_PACK_H
#define UMBRA_MODEL_PACK_H

#include "array/model/base/internal.h"

#define PACK_VERSION 1

/* Packs into the array's scratch page: one record at a time. Bounds are the program's. */
struct packer {
	uint8_t *p;
	size_t len;
};

void pack_bytes(struct packer *k, const void *from, size_t len);
void pack_u8(struct packer *k, uint8_t v);
void pack_u16(struct packer *k, uint16_t v);
void pack_u32(struct packer *k, uint32_t v);
void pack_u64(struct packer *k, uint64_t v);
void pack_text(struct packer *k, const char *text);
void pack_notes(struct packer *k, const struct set_notes *n);
struct packer pack_begin_version(struct array *a, uint8_t version);
struct packer pack_begin(struct array *a);
int pack_put(struct array *a, struct store_txn *t, enum store_table table, const void *key, size_t key_len,
	struct packer *k);
int pack_del(struct array *a, struct store_txn *t, enum store_table table, const void *key, size_t len);

struct unpacker {
	const uint8_t *p;
	size_t left;
	bool bad; /* past the end, or a value that cannot be */
};

void unpack_bytes(struct unpacker *u, void *to, size_t len);
uint8_t unpack_u8(struct unpacker *u);
uint16_t unpack_u16(struct unpacker *u);
uint32_t unpack_u32(struct unpacker *u);
uint64_t unpack_u64(struct unpacker *u);
void unpack_text(struct unpacker *u, char *to, size_t cap);
void unpack_notes(struct unpacker *u, struct set_notes *n);
/* newest: the highest version that this program reads. The record's own goes to *version. */
int unpack_begin_version(enum store_table table, const void *key, size_t key_len, const void *value,
	size_t len, struct unpacker *u, uint8_t newest, uint8_t *version);
int unpack_begin(enum store_table table, const void *key, size_t key_len, const void *value, size_t len,
	struct unpacker *u);
int unpack_end(const struct unpacker *u);
bool unpack_id_key(const void *key, size_t key_len, uint8_t id[UP_ID_BYTES]);

#endif
