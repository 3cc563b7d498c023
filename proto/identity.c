/* SPDX-License-Identifier: Apache-2.0 */
/* Identity strings and designators from a 128-bit id. See identity.h. */
#include "identity.h"

#include <string.h>

static const char lower_hex[] = "0123456789abcdef";
static const char upper_hex[] = "0123456789ABCDEF";

void up_id_format(const uint8_t id[UP_ID_BYTES], char out[UP_SERIAL_BYTES + 1])
{
	for (size_t i = 0; i < UP_ID_BYTES; i++) {
		out[2 * i] = lower_hex[id[i] >> 4];
		out[2 * i + 1] = lower_hex[id[i] & 15];
	}
	out[UP_SERIAL_BYTES] = '\0';
}

bool up_id_parse(const char *text, uint8_t id[UP_ID_BYTES])
{
	uint8_t parsed[UP_ID_BYTES] = {0};
	size_t digits = 0;

	for (; *text; text++) {
		if (*text == '-' || *text == '{' || *text == '}')
			continue;
		int value = up_hex_digit(*text);
		if (value < 0 || digits == 2 * UP_ID_BYTES)
			return false;
		parsed[digits / 2] = (uint8_t)(parsed[digits / 2] << 4 | value);
		digits++;
	}
	if (digits != 2 * UP_ID_BYTES)
		return false;
	memcpy(id, parsed, sizeof(parsed));
	return true;
}

uint64_t up_id_naa(const uint8_t id[UP_ID_BYTES])
{
	uint64_t high = 0;

	for (size_t i = 0; i < 8; i++)
		high = high << 8 | id[i];
	return UINT64_C(3) << 60 | high >> 4;
}

void up_id_designators(const uint8_t id[UP_ID_BYTES], struct up_designator out[UP_DESIGNATORS])
{
	char serial[UP_SERIAL_BYTES + 1];
	uint64_t naa = up_id_naa(id);

	memset(out, 0, UP_DESIGNATORS * sizeof(*out));
	up_id_format(id, serial);

	out[0].code_set = 2;
	out[0].type = 1;
	out[0].len_bytes = 8 + UP_SERIAL_BYTES;
	memcpy(out[0].bytes, UP_VENDOR, 8);
	memcpy(out[0].bytes + 8, serial, UP_SERIAL_BYTES);

	out[1].code_set = 1;
	out[1].type = 3;
	out[1].len_bytes = 8;
	out[2].code_set = 3;
	out[2].type = 8;
	out[2].len_bytes = 24;
	memcpy(out[2].bytes, "naa.", 4);
	for (unsigned i = 0; i < 8; i++) {
		uint8_t byte = (uint8_t)(naa >> (56 - 8 * i));
		out[1].bytes[i] = byte;
		out[2].bytes[4 + 2 * i] = (uint8_t)upper_hex[byte >> 4];
		out[2].bytes[5 + 2 * i] = (uint8_t)upper_hex[byte & 15];
	}
}

size_t up_id_vpd83(const uint8_t id[UP_ID_BYTES], uint8_t *buf, size_t cap_bytes)
{
	struct up_designator designators[UP_DESIGNATORS];
	size_t used = 0;

	up_id_designators(id, designators);
	for (size_t i = 0; i < UP_DESIGNATORS; i++) {
		const struct up_designator *d = &designators[i];
		if (cap_bytes - used < 4u + d->len_bytes)
			return 0;
		buf[used] = d->code_set;
		buf[used + 1] = d->type; /* PIV 0, association 0 */
		buf[used + 2] = 0;
		buf[used + 3] = d->len_bytes;
		memcpy(buf + used + 4, d->bytes, d->len_bytes);
		used += 4u + d->len_bytes;
	}
	return used;
}
