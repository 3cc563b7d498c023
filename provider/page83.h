/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page 83 identifiers of disks as Windows hands them out, and whether VSS could tell two disks apart by
 * them: of the identifiers with association 0 and type 1, 2, 3 or 8 each disk needs one that the other has
 * not. Pure.
 */
#ifndef UMBRA_PROVIDER_PAGE83_H
#define UMBRA_PROVIDER_PAGE83_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE83_IDS_MAX      8
#define PAGE83_ID_MAX_BYTES 64

struct page83_disk {
	unsigned id_count; /* those that VSS uses */
	struct {
		uint8_t type;
		uint16_t len_bytes;                 /* as the disk says */
		uint8_t bytes[PAGE83_ID_MAX_BYTES]; /* the first of them, rest zero */
	} ids[PAGE83_IDS_MAX];
};

/* descriptor: STORAGE_DEVICE_ID_DESCRIPTOR. False: it is malformed; *out holds what could be read. */
bool page83_parse(const uint8_t *descriptor, size_t len_bytes, struct page83_disk *out);

/* Has one of the two no identifier of its own? Disks without any are never confused. */
bool page83_confused(const struct page83_disk *a, const struct page83_disk *b);

#endif
