/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the models of the store's tests know of a sector. A sector that is written holds one 64-bit number, its tag, 64 times; zeros
 * are tag 0. Its history is a list of tags, oldest first: [0] is durable, or older than all that may be lost; the others were
 * written later. A reader must see the last one that is complete; after a crash any of them may be there. A flush that ends takes
 * off what it made durable.
 *
 * Each function leaves, after each of its steps, a history that holds: the process may be killed in it, and the history outlive it.
 */
#ifndef UMBRA_TESTS_STORE_TAGS_H
#define UMBRA_TESTS_STORE_TAGS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR 512u

struct tag {
	uint64_t value;
	uint64_t completed; /* number of its completion; 0: under way */
};

/* The last complete one. */
static inline uint64_t tags_now(const struct tag *tags, unsigned count)
{
	while (count-- > 0)
		if (tags[count].completed)
			return tags[count].value;
	fprintf(stderr, "a sector without a complete tag\n");
	abort();
}

static inline bool tags_allow(const struct tag *tags, unsigned count, uint64_t value)
{
	for (unsigned i = 0; i < count; i++)
		if (tags[i].value == value)
			return true;
	return false;
}

/* A flush has ended that began when there were so many completions: how many are left. */
static inline unsigned tags_flushed(struct tag *tags, unsigned count, uint64_t completions)
{
	unsigned keep = 0;

	for (unsigned i = 0; i < count; i++)
		if (tags[i].completed && tags[i].completed <= completions)
			keep = i;
	for (unsigned i = keep; keep && i < count; i++)
		tags[i - keep] = tags[i];
	return count - keep;
}

static inline void tag_fill(uint8_t *sectors, uint64_t count, uint64_t tag)
{
	for (uint64_t i = 0; i < count * SECTOR / 8; i++)
		memcpy(sectors + i * 8, &tag, 8);
}

static inline uint64_t tag_of(const uint8_t *sector)
{
	uint64_t tag, other;

	memcpy(&tag, sector, 8);
	for (unsigned i = 8; i < SECTOR; i += 8) {
		memcpy(&other, sector + i, 8);
		if (other != tag) {
			fprintf(stderr, "a sector is torn: %llu, %llu\n", (unsigned long long)tag,
				(unsigned long long)other);
			abort();
		}
	}
	return tag;
}

#endif
