/* SPDX-License-Identifier: Apache-2.0 */
/* See codec.h. */
#include "array/store/rbd/codec.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void rbd_image_name(char out[RBD_IMAGE_NAME_BYTES], const char *array, uint64_t id, uint64_t copy)
{
	if (copy)
		snprintf(out, RBD_IMAGE_NAME_BYTES, "%s.lun-%" PRIu64 ".%" PRIu64, array, id, copy);
	else
		snprintf(out, RBD_IMAGE_NAME_BYTES, "%s.lun-%" PRIu64, array, id);
}

/* Digits up to `end`, as snprintf writes them: no sign, no leading zero. NULL: no number is there. */
static const char *digits(const char *text, uint64_t *out)
{
	uint64_t n = 0;
	const char *p = text;

	for (; *p >= '0' && *p <= '9'; p++) {
		uint64_t digit = (uint64_t)(*p - '0');

		if (n > (UINT64_MAX - digit) / 10)
			return NULL;
		n = n * 10 + digit;
	}
	if (p == text || (p > text + 1 && text[0] == '0'))
		return NULL;
	*out = n;
	return p;
}

bool rbd_number_parse(const char *text, uint64_t *out)
{
	const char *end = digits(text, out);

	return end && !*end;
}

bool rbd_image_name_parse(const char *name, const char *array, uint64_t *id, uint64_t *copy)
{
	size_t len = strlen(array);

	*copy = 0;
	if (strncmp(name, array, len) != 0 || strncmp(name + len, ".lun-", 5) != 0)
		return false;
	const char *p = digits(name + len + 5, id);
	if (p && *p == '.') {
		p = digits(p + 1, copy);
		if (!*copy) /* the first image of a disk has no number */
			return false;
	}
	return p && !*p && *id;
}

uint64_t rbd_image_data(const char *array, const char *name)
{
	uint64_t id, copy;

	return rbd_image_name_parse(name, array, &id, &copy) ? copy : 0;
}

size_t rbd_record_key(char out[RBD_KEY_BYTES], unsigned table, const void *key, size_t key_len)
{
	out[0] = (char)('0' + table);
	out[1] = '.';
	memcpy(out + 2, key, key_len);
	return key_len + 2;
}

void rbd_disk_key(char out[32], uint64_t id)
{
	snprintf(out, 32, "disk.%016" PRIx64, id);
}

bool rbd_disk_key_parse(const char *key, size_t key_len, uint64_t *id)
{
	char text[17], again[32], *end;

	if (key_len != 21 || memcmp(key, "disk.", 5) != 0)
		return false;
	memcpy(text, key + 5, 16);
	text[16] = 0;
	*id = strtoull(text, &end, 16);
	rbd_disk_key(again, *id);
	return *id && !*end && memcmp(again, key, key_len) == 0;
}

bool rbd_image_of_key(char image[RBD_IMAGE_NAME_BYTES], const char *key, size_t key_len)
{
	size_t prefix = strlen("todo."), len = key_len - prefix;

	if (key_len <= prefix || len >= RBD_IMAGE_NAME_BYTES || memchr(key, 0, key_len))
		return false;
	memcpy(image, key + prefix, len);
	image[len] = 0;
	return true;
}

void rbd_disk_value(char out[160], uint64_t size_bytes, const char *image)
{
	snprintf(out, 160, "%" PRIu64 " %s", size_bytes, image);
}

bool rbd_disk_value_parse(
	const char *value, size_t len, uint64_t *size_bytes, char image[RBD_IMAGE_NAME_BYTES])
{
	char text[160];
	const char *p;

	if (len == 0 || len >= sizeof(text) || memchr(value, 0, len))
		return false;
	memcpy(text, value, len);
	text[len] = 0;
	p = digits(text, size_bytes);
	if (!p || *p != ' ' || !p[1] || strlen(p + 1) >= RBD_IMAGE_NAME_BYTES || *size_bytes % 512)
		return false;
	snprintf(image, RBD_IMAGE_NAME_BYTES, "%s", p + 1);
	return true;
}

void rbd_owner_format(char out[512], const struct rbd_owner *o)
{
	snprintf(out, 512, "%s|%s %" PRIu64 " %" PRIu64 "|%s", o->addresses, o->process.machine,
		o->process.pid, o->process.start, o->host);
}

bool rbd_owner_parse(const char *text, struct rbd_owner *out)
{
	int end = 0;

	memset(out, 0, sizeof(*out));
	if (sscanf(text, "%255[^|]|%79[^| ] %" SCNu64 " %" SCNu64 "|%n", out->addresses, out->process.machine,
		    &out->process.pid, &out->process.start, &end) != 4 ||
		!end)
		return false;
	snprintf(out->host, sizeof(out->host), "%s", text + end);
	return true;
}

bool rbd_address_same_host(const char *a, const char *b)
{
	size_t len = strcspn(a, "/");

	return len && a[len] && strncmp(a, b, len + 1) == 0;
}

void rbd_put_u32(struct rbd_bytes *b, size_t value)
{
	for (unsigned i = 0; i < 4; i++)
		b->data[b->len++] = (uint8_t)(value >> (8 * i));
}

void rbd_put_u64(struct rbd_bytes *b, uint64_t value)
{
	rbd_put_u32(b, (uint32_t)value);
	rbd_put_u32(b, value >> 32);
}

void rbd_put_text(struct rbd_bytes *b, const char *text)
{
	size_t len = strlen(text);

	rbd_put_u32(b, len);
	memcpy(b->data + b->len, text, len);
	b->len += len;
}

bool rbd_take_u32(const struct rbd_bytes *b, size_t *at, size_t *value)
{
	if (b->len - *at < 4)
		return false;
	*value = 0;
	for (unsigned i = 0; i < 4; i++)
		*value |= (size_t)b->data[(*at)++] << (8 * i);
	return true;
}

bool rbd_take_u64(const struct rbd_bytes *b, size_t *at, uint64_t *value)
{
	size_t low, high;

	if (!rbd_take_u32(b, at, &low) || !rbd_take_u32(b, at, &high))
		return false;
	*value = (uint64_t)high << 32 | low;
	return true;
}

bool rbd_take_text(const struct rbd_bytes *b, size_t *at, const char **text, size_t *len)
{
	if (!rbd_take_u32(b, at, len) || b->len - *at < *len)
		return false;
	*text = (const char *)b->data + *at;
	*at += *len;
	return true;
}

bool rbd_pairs_parse(const struct rbd_bytes *b,
	void (*each)(void *arg, const char *key, size_t key_len, const char *value, size_t value_len),
	void *arg)
{
	size_t at = 0, count;

	if (!rbd_take_u32(b, &at, &count))
		return false;
	for (; count; count--) {
		const char *key, *value;
		size_t key_len, value_len;

		if (!rbd_take_text(b, &at, &key, &key_len) || !rbd_take_text(b, &at, &value, &value_len))
			return false;
		each(arg, key, key_len, value, value_len);
	}
	return true;
}

static bool copy_text(const struct rbd_bytes *b, size_t *at, char *out, size_t size)
{
	const char *text;
	size_t len;

	if (!rbd_take_text(b, at, &text, &len) || len >= size || memchr(text, 0, len))
		return false;
	memcpy(out, text, len);
	out[len] = 0;
	return true;
}

void rbd_id_object(char out[RBD_OBJECT_BYTES], const char *image)
{
	snprintf(out, RBD_OBJECT_BYTES, "rbd_id.%s", image);
}

bool rbd_id_parse(const struct rbd_bytes *b, char id[RBD_ID_BYTES])
{
	size_t at = 0;

	return copy_text(b, &at, id, RBD_ID_BYTES) && id[0];
}

void rbd_header_object(char out[RBD_OBJECT_BYTES], const char *id)
{
	snprintf(out, RBD_OBJECT_BYTES, "rbd_header.%s", id);
}

void rbd_map_object(char out[RBD_OBJECT_BYTES], const char *id, uint64_t snap)
{
	if (snap == RBD_HEAD)
		snprintf(out, RBD_OBJECT_BYTES, "rbd_object_map.%s", id);
	else
		snprintf(out, RBD_OBJECT_BYTES, "rbd_object_map.%s.%016" PRIx64, id, snap);
}

void rbd_tie_format(char out[RBD_TIE_BYTES], const struct rbd_tie *t)
{
	const struct rbd_parent *p = &t->parent;

	snprintf(out, RBD_TIE_BYTES, "%s %" PRIu64 " %" PRIi64 " %s %s", t->id, p->snap, p->pool, p->id,
		p->space);
}

/* Up to a blank, or to the end; behind the blank it goes on. NULL: it is too long, or empty. */
static const char *word(const char *text, char *out, size_t size)
{
	size_t len = strcspn(text, " ");

	if (!len || len >= size)
		return NULL;
	memcpy(out, text, len);
	out[len] = 0;
	return text + len + (text[len] == ' ');
}

bool rbd_tie_parse(const char *value, size_t len, struct rbd_tie *out)
{
	char text[RBD_TIE_BYTES];
	const char *p = text;
	uint64_t pool;

	memset(out, 0, sizeof(*out));
	out->parent.pool = -1;
	if (!len)
		return true;
	if (len >= sizeof(text) || memchr(value, 0, len))
		return false;
	memcpy(text, value, len);
	text[len] = 0;
	p = word(p, out->id, sizeof(out->id));
	if (!p || (!*p && p[-1] != ' '))
		return p;
	p = digits(p, &out->parent.snap);
	p = p && *p == ' ' ? digits(p + 1, &pool) : NULL;
	p = p && *p == ' ' && pool <= INT64_MAX ? word(p + 1, out->parent.id, sizeof(out->parent.id)) : NULL;
	if (!p || p[-1] != ' ' || strlen(p) >= sizeof(out->parent.space))
		return false;
	out->parent.pool = (int64_t)pool;
	snprintf(out->parent.space, sizeof(out->parent.space), "%s", p);
	return true;
}

/* Its version, the oldest that can read it, its length, then what it holds. */
bool rbd_parent_parse(const struct rbd_bytes *b, struct rbd_parent *out)
{
	size_t at = 2, len;
	uint64_t pool;

	if (b->len < at || b->data[1] > 1 || !rbd_take_u32(b, &at, &len) || b->len - at < len ||
		!rbd_take_u64(b, &at, &pool) || !copy_text(b, &at, out->space, sizeof(out->space)) ||
		!copy_text(b, &at, out->id, sizeof(out->id)) || !rbd_take_u64(b, &at, &out->snap))
		return false;
	out->pool = (int64_t)pool;
	return out->pool < 0 || out->id[0];
}

bool rbd_overlap_parse(const struct rbd_bytes *b, uint64_t *bytes)
{
	size_t at = 1;

	*bytes = 0;
	return b->len >= at && (!b->data[0] || rbd_take_u64(b, &at, bytes));
}

bool rbd_size_parse(const struct rbd_bytes *b, uint64_t *object_bytes, uint64_t *size_bytes)
{
	size_t at = 1;

	if (b->len < at || b->data[0] < 9 || b->data[0] > 32)
		return false;
	*object_bytes = UINT64_C(1) << b->data[0];
	return rbd_take_u64(b, &at, size_bytes);
}

bool rbd_number_take(const struct rbd_bytes *b, uint64_t *out)
{
	size_t at = 0;

	return rbd_take_u64(b, &at, out);
}

/* The length of its head; that head's version, the oldest that can read it, its length again, the count. Then the objects. */
bool rbd_map_parse(const void *data, size_t len, uint64_t *objects, size_t *at)
{
	struct rbd_bytes head = {.len = len < 18 ? len : 18};
	size_t whole, inner, here = 0;

	memcpy(head.data, data, head.len);
	if (!rbd_take_u32(&head, &here, &whole) || whole < 14 || whole > len - here || head.data[5] > 1)
		return false;
	here += 2;
	*at = 4 + whole;
	return rbd_take_u32(&head, &here, &inner) && rbd_take_u64(&head, &here, objects);
}
