/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A LUN's identity as initiators see it, derived from its 128-bit id by pure functions, so that INQUIRY,
 * the control channel, GetTargetLuns and FillInLunInfo agree byte for byte on every host.
 *
 * The designators (SPC-4 7.8.6, all with association 0), in this order:
 *   1. T10 vendor id (type 1, ASCII): "UMBRADEV" and the 32 hex digits of the id: 40 bytes
 *   2. NAA locally assigned (type 3, binary): 3h and the first 60 bits of the id: 8 bytes
 *   3. SCSI name string (type 8, UTF-8): "naa.3…" with 16 upper-case hex digits, NUL-padded to 24 bytes
 */
#ifndef UMBRA_IDENTITY_H
#define UMBRA_IDENTITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "umbra_proto.h"

#define UP_DESIGNATORS          3
#define UP_DESIGNATOR_MAX_BYTES 40

struct up_designator {
	uint8_t code_set; /* 1 binary, 2 ASCII, 3 UTF-8 */
	uint8_t type;     /* 1 T10 vendor id, 3 NAA, 8 SCSI name string */
	uint8_t len_bytes;
	uint8_t bytes[UP_DESIGNATOR_MAX_BYTES];
};

/* The value of a hex digit of either case, or -1. */
static inline int up_hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* 32 lower-case hex digits and a NUL. */
void up_id_format(const uint8_t id[UP_ID_BYTES], char out[UP_SERIAL_BYTES + 1]);

/* Parses 32 hex digits (either case); dashes and braces as in a GUID's text form are skipped (digits are
 * taken in the order written). False when text holds anything else. */
bool up_id_parse(const char *text, uint8_t id[UP_ID_BYTES]);

/* The NAA designator's 64 bits. */
uint64_t up_id_naa(const uint8_t id[UP_ID_BYTES]);

/* Fills out[0..UP_DESIGNATORS-1] in the order above. */
void up_id_designators(const uint8_t id[UP_ID_BYTES], struct up_designator out[UP_DESIGNATORS]);

/* The VPD 83h page body (designation descriptors, without the 4-byte page header) for the id.
 * Returns its length in bytes, or 0 when cap is too small. */
size_t up_id_vpd83(const uint8_t id[UP_ID_BYTES], uint8_t *buf, size_t cap_bytes);

#endif
