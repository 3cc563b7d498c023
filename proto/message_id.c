/* SPDX-License-Identifier: Apache-2.0 */
/* See message_id.h. scripts/messages computes the same. */
#include "proto/message_id.h"

#include <stdio.h>

#define FNV_BEGIN 2166136261u
#define FNV_PRIME 16777619u
#define ID_MASK   0xffffffu

uint32_t up_message_hash(const char *format)
{
	uint32_t hash = FNV_BEGIN;

	for (; *format; format++)
		hash = (hash ^ (unsigned char)*format) * FNV_PRIME;
	hash = (hash ^ hash >> 24) & ID_MASK;
	return hash ? hash : 1;
}

const char *up_message_text(uint32_t message, char out[UP_MESSAGE_ID_BYTES])
{
	snprintf(out, UP_MESSAGE_ID_BYTES, "UMB-%06X", (unsigned)(message & ID_MASK));
	return out;
}
