/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as what the store in Ceph reads there: names, keys and values of the catalogue, and the answers of Ceph's classes. The first
 * byte says as what. It is read or refused; what is read is written as the same bytes again where umbrad writes such things, texts end
 * within their bounds, and nothing behind the bytes is looked at.
 */
#include <assert.h>
#include <inttypes.h>
#include <sanitizer/asan_interface.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "array/store/rbd/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ARRAY      "umbra"
#define ENDS(text) assert(memchr(text, 0, sizeof(text)))

static void same(const char *again, const char *value, size_t len)
{
	assert(strlen(again) == len && memcmp(again, value, len) == 0);
}

/* ---- texts, which umbrad writes as well ---- */

static void number(const char *text)
{
	char again[24];
	uint64_t n;

	if (!rbd_number_parse(text, &n))
		return;
	snprintf(again, sizeof(again), "%" PRIu64, n);
	same(again, text, strlen(text));
}

static void image_name(const char *text)
{
	char again[RBD_IMAGE_NAME_BYTES];
	uint64_t id, copy;

	assert(rbd_image_data(ARRAY, text) == 0 || rbd_image_name_parse(text, ARRAY, &id, &copy));
	if (!rbd_image_name_parse(text, ARRAY, &id, &copy))
		return;
	rbd_image_name(again, ARRAY, id, copy);
	same(again, text, strlen(text));
}

static void owner(const char *text)
{
	char again[512];
	struct rbd_owner first, second;

	if (!rbd_owner_parse(text, &first))
		return;
	ENDS(first.addresses);
	ENDS(first.process.machine);
	ENDS(first.host);
	rbd_owner_format(again, &first);
	assert(rbd_owner_parse(again, &second));
	assert(memcmp(&first, &second, sizeof(first)) == 0);
	assert(first.addresses[0] && first.process.machine[0]);
}

static void addresses(const char *text)
{
	const char *other = text + strcspn(text, " ");

	if (rbd_address_same_host(text, *other ? other + 1 : other))
		assert(strncmp(text, other + 1, strcspn(text, "/") + 1) == 0);
}

/* ---- keys and values: bytes with a length ---- */

static void disk_key(const char *value, size_t len)
{
	char again[32];
	uint64_t id;

	if (!rbd_disk_key_parse(value, len, &id))
		return;
	rbd_disk_key(again, id);
	same(again, value, len);
}

static void disk_value(const char *value, size_t len)
{
	char again[160], image[RBD_IMAGE_NAME_BYTES];
	uint64_t size_bytes;

	if (!rbd_disk_value_parse(value, len, &size_bytes, image))
		return;
	ENDS(image);
	assert(size_bytes % 512 == 0);
	rbd_disk_value(again, size_bytes, image);
	same(again, value, len);
}

static void image_of_key(const char *value, size_t len)
{
	char again[RBD_KEY_BYTES], image[RBD_IMAGE_NAME_BYTES];

	if (!rbd_image_of_key(image, value, len))
		return;
	ENDS(image);
	snprintf(again, sizeof(again), "%.5s%s", value, image);
	same(again, value, len);
}

static void tie(const char *value, size_t len)
{
	char again[RBD_TIE_BYTES];
	struct rbd_tie t;

	if (!rbd_tie_parse(value, len, &t))
		return;
	ENDS(t.id);
	ENDS(t.parent.id);
	ENDS(t.parent.space);
	if (t.parent.pool < 0) {
		same(t.id, value, len);
		return;
	}
	assert(t.id[0] && t.parent.id[0]);
	rbd_tie_format(again, &t);
	same(again, value, len);
}

static void map(const char *value, size_t len)
{
	uint64_t objects;
	size_t at;

	if (rbd_map_parse(value, len, &objects, &at))
		assert(at >= 18 && at <= len);
}

/* ---- the answers of the classes ---- */

static void answer_id(const struct rbd_bytes *b)
{
	char id[RBD_ID_BYTES];

	if (!rbd_id_parse(b, id))
		return;
	ENDS(id);
	assert(id[0] && b->len >= 4 + strlen(id));
}

static void answer_parent(const struct rbd_bytes *b)
{
	struct rbd_parent p;

	if (!rbd_parent_parse(b, &p))
		return;
	ENDS(p.space);
	ENDS(p.id);
	assert(p.pool < 0 || p.id[0]);
}

static void answer_numbers(const struct rbd_bytes *b)
{
	uint64_t bytes, object_bytes, size_bytes, n;

	if (rbd_size_parse(b, &object_bytes, &size_bytes))
		assert(object_bytes >= 512 && (object_bytes & (object_bytes - 1)) == 0 && b->len >= 9);
	if (!rbd_overlap_parse(b, &bytes))
		assert(bytes == 0);
	assert(rbd_number_take(b, &n) == (b->len >= 8));
}

struct seen {
	const struct rbd_bytes *b;
	size_t len;
};

static void pair(void *arg, const char *key, size_t key_len, const char *value, size_t value_len)
{
	struct seen *s = arg;

	assert((const uint8_t *)key >= s->b->data &&
		(const uint8_t *)value + value_len <= s->b->data + s->b->len);
	s->len += 8 + key_len + value_len;
}

static void answer_pairs(const struct rbd_bytes *b)
{
	struct seen s = {.b = b, .len = 4};

	(void)rbd_pairs_parse(b, pair, &s);
	assert(s.len <= b->len || s.len == 4);
}

/* ---- what is it ---- */

static void (*const texts[])(const char *text) = {number, image_name, owner, addresses};
static void (*const values[])(const char *value, size_t len) = {disk_key, disk_value, image_of_key, tie, map};
static void (*const answers[])(const struct rbd_bytes *b) = {
	answer_id, answer_parent, answer_numbers, answer_pairs};
#define COUNT(list) (sizeof(list) / sizeof(list[0]))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct rbd_bytes b;

	if (!size)
		return 0;
	size_t which = *data++ % (COUNT(texts) + COUNT(values) + COUNT(answers));
	char *copy = malloc(--size + 1);

	assert(copy);
	memcpy(copy, data, size);
	copy[size] = 0;
	if (which < COUNT(texts)) {
		texts[which](copy);
	} else if (which - COUNT(texts) < COUNT(values)) {
		char *exact = malloc(size ? size : 1);

		assert(exact);
		memcpy(exact, data, size);
		values[which - COUNT(texts)](exact, size);
		free(exact);
	} else {
		b.len = size < sizeof(b.data) ? size : sizeof(b.data);
		memcpy(b.data, data, b.len);
		ASAN_POISON_MEMORY_REGION(b.data + b.len, sizeof(b.data) - b.len);
		answers[which - COUNT(texts) - COUNT(values)](&b);
		ASAN_UNPOISON_MEMORY_REGION(b.data, sizeof(b.data));
	}
	free(copy);
	return 0;
}
