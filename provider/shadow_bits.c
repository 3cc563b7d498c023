/* SPDX-License-Identifier: Apache-2.0 */
/* See shadow_bits.h: the pure part. */
#include "provider/shadow_bits.h"

#include <stdbool.h>
#include <string.h>

#define HEADER_BYTES       92
#define ENTRY_MIN_BYTES    128
#define ENTRY_MAX_BYTES    4096
#define ENTRIES_MAX        128
#define ATTRIBUTE_SHADOW   (UINT64_C(1) << 61) /* GPT_BASIC_DATA_ATTRIBUTE_SHADOW_COPY */
#define AT_ENTRIES_LBA     72
#define AT_ENTRY_COUNT     80
#define AT_ENTRY_BYTES     84
#define AT_ATTRIBUTES      48
#define MICROSOFT_RESERVED 0xe3c9e316u /* the first digits of its type: it bears no attributes */

static uint64_t little(const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;

	while (bytes-- > 0)
		v = v << 8 | p[bytes];
	return v;
}

static enum shadow_bits look(const uint8_t *start, size_t len, size_t block)
{
	static const uint8_t unused[16];
	const uint8_t *header = start + block;
	bool any = false;

	if (len < block + HEADER_BYTES || memcmp(header, "EFI PART", 8) != 0)
		return SHADOW_BITS_UNKNOWN;
	uint64_t lba = little(header + AT_ENTRIES_LBA, 8), count = little(header + AT_ENTRY_COUNT, 4),
		 step = little(header + AT_ENTRY_BYTES, 4);
	if (step < ENTRY_MIN_BYTES || step > ENTRY_MAX_BYTES || lba > len / block)
		return SHADOW_BITS_UNKNOWN;
	for (uint64_t i = 0; i < count && i < ENTRIES_MAX; i++) {
		uint64_t at = lba * block + i * step;
		if (at > len || len - at < ENTRY_MIN_BYTES)
			break;
		const uint8_t *entry = start + at;
		if (!memcmp(entry, unused, sizeof(unused)) || little(entry, 4) == MICROSOFT_RESERVED)
			continue;
		any = true;
		if (little(entry + AT_ATTRIBUTES, 8) & ATTRIBUTE_SHADOW)
			return SHADOW_BITS_SET;
	}
	return any ? SHADOW_BITS_CLEAR : SHADOW_BITS_UNKNOWN;
}

enum shadow_bits shadow_bits_of(const uint8_t *start, size_t len_bytes)
{
	enum shadow_bits found = look(start, len_bytes, 512);

	return found != SHADOW_BITS_UNKNOWN ? found : look(start, len_bytes, 4096);
}
