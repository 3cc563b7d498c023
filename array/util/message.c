/* SPDX-License-Identifier: Apache-2.0 */
/* See message.h. */
#include "array/util/message.h"

#include <stddef.h>
#include <stdio.h>

#define FNV_BEGIN 2166136261u
#define FNV_PRIME 16777619u
#define ID_MASK   0xffffffu

/* Messages whose words have changed: the hash of the new ones, and the id that it keeps. */
static const struct {
	uint32_t now, id;
} renamed[] = {
	{0, 0}, /* the end */
};

uint32_t message_of(const char *format)
{
	uint32_t hash = FNV_BEGIN;

	for (; *format; format++)
		hash = (hash ^ (unsigned char)*format) * FNV_PRIME;
	hash = (hash ^ hash >> 24) & ID_MASK;
	for (size_t i = 0; renamed[i].now; i++)
		if (renamed[i].now == hash)
			return renamed[i].id;
	return hash ? hash : 1;
}

const char *message_id(uint32_t message, char out[MESSAGE_ID_BYTES])
{
	snprintf(out, MESSAGE_ID_BYTES, "UMB-%06X", (unsigned)(message & ID_MASK));
	return out;
}
