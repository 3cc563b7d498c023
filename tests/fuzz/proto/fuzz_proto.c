/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a control message: decodes or is refused; what decodes encodes and decodes to the same. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "proto/umbra_proto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct up_msg first, second;
	static uint8_t wire[UP_REPLY_MAX_BYTES];

	(void)up_peek_length(data, size);
	if (up_decode(&first, data, size) != UP_OK)
		return 0;
	(void)up_request_check(&first, NULL);
	if (!first.is_reply)
		first.status = 0;
	size_t len = up_encode(&first, wire, sizeof(wire));
	assert(len > 0);
	assert(up_decode(&second, wire, len) == UP_OK);
	assert(memcmp(&first, &second, sizeof(first)) == 0);
	return 0;
}
