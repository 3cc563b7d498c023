/* SPDX-License-Identifier: Apache-2.0 */
/* See page83.h. */
#include "provider/page83.h"

#include <string.h>

#define DESCRIPTOR_HEAD_BYTES 12 /* version, size, number of identifiers */
#define IDENTIFIER_HEAD_BYTES 16 /* code set 4, type 4, size 2, next 2, association 4 */

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static bool vss_uses(uint32_t type, uint32_t association)
{
	return association == 0 && (type == 1 || type == 2 || type == 3 || type == 8);
}

bool page83_parse(const uint8_t *descriptor, size_t len_bytes, struct page83_disk *out)
{
	size_t at = DESCRIPTOR_HEAD_BYTES;

	memset(out, 0, sizeof(*out));
	if (len_bytes < DESCRIPTOR_HEAD_BYTES)
		return false;
	uint32_t count = get32(descriptor + 8);
	for (uint32_t i = 0; i < count; i++) {
		if (len_bytes - at < IDENTIFIER_HEAD_BYTES)
			return false;
		const uint8_t *id = descriptor + at;
		uint16_t size = get16(id + 8), next = get16(id + 10);
		if (size > len_bytes - at - IDENTIFIER_HEAD_BYTES)
			return false;
		if (size && vss_uses(get32(id + 4), get32(id + 12)) && out->id_count < PAGE83_IDS_MAX) {
			out->ids[out->id_count].type = (uint8_t)get32(id + 4);
			out->ids[out->id_count].len_bytes = size;
			memcpy(out->ids[out->id_count].bytes, id + IDENTIFIER_HEAD_BYTES,
				size < PAGE83_ID_MAX_BYTES ? size : PAGE83_ID_MAX_BYTES);
			out->id_count++;
		}
		if (i + 1 == count)
			break;
		if (next < IDENTIFIER_HEAD_BYTES + size || next > len_bytes - at)
			return false;
		at += next;
	}
	return true;
}

/* Is every identifier of a one of b's too? */
static bool has_none_of_its_own(const struct page83_disk *a, const struct page83_disk *b)
{
	for (unsigned i = 0; i < a->id_count; i++) {
		bool found = false;
		for (unsigned n = 0; n < b->id_count && !found; n++)
			found = a->ids[i].type == b->ids[n].type &&
				a->ids[i].len_bytes == b->ids[n].len_bytes &&
				!memcmp(a->ids[i].bytes, b->ids[n].bytes, PAGE83_ID_MAX_BYTES);
		if (!found)
			return false;
	}
	return true;
}

bool page83_confused(const struct page83_disk *a, const struct page83_disk *b)
{
	return a->id_count && b->id_count && (has_none_of_its_own(a, b) || has_none_of_its_own(b, a));
}
