/* SPDX-License-Identifier: Apache-2.0 */
/* See message.h. */
#include "array/util/message.h"

#include <stddef.h>
#include "proto/message_id.h"

/* Messages whose words have changed: the hash of the new ones, and the id that it keeps. */
static const struct {
	uint32_t now, id;
} renamed[] = {
	{0, 0}, /* the end */
};

uint32_t message_of(const char *format)
{
	uint32_t hash = up_message_hash(format);

	for (size_t i = 0; renamed[i].now; i++)
		if (renamed[i].now == hash)
			return renamed[i].id;
	return hash;
}

const char *message_id(uint32_t message, char out[MESSAGE_ID_BYTES])
{
	return up_message_text(message, out);
}
