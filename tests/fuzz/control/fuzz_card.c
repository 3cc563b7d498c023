/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as the card of a controller: read or refused; what is read can be written, and is read as the same. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "array/card.h"
#include "array/store/module.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[STORE_CARD_MAX_BYTES];
	struct card first, second;

	if (card_read((const char *)data, size, &first) != 0) {
		assert(first.portal_count == 0);
		return 0;
	}
	assert(first.number == 1 || first.number == 2);
	assert(first.portal_count <= CARD_PORTALS_MAX);
	size_t len = card_write(&first, text, sizeof(text));
	assert(len > 0);
	assert(card_read(text, len, &second) == 0);
	assert(memcmp(&first, &second, sizeof(first)) == 0);
	return 0;
}
