/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and writing text keys. See text.h. */
#include "array/iscsi/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "proto/identity.h"

void iscsi_text_begin(struct iscsi_text_in *in, char *buf, size_t len)
{
	in->at = buf;
	in->end = len ? buf + len : buf; /* no text: buf may be NULL */
}

static bool key_name_ok(const char *key, size_t len)
{
	if (len == 0 || len > ISCSI_KEY_MAX_BYTES)
		return false;
	for (size_t i = 0; i < len; i++) {
		char c = key[i];

		if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
			    c == '.' || c == '-' || c == '+' || c == '@' || c == '_' || c == '#'))
			return false;
	}
	return true;
}

int iscsi_text_next(struct iscsi_text_in *in, const char **key, const char **value)
{
	char *nul, *equals;

	/* Some initiators pad with NULs inside the data segment. */
	while (in->at < in->end && *in->at == '\0')
		in->at++;
	if (in->at == in->end)
		return 0;
	nul = memchr(in->at, '\0', (size_t)(in->end - in->at));
	if (!nul)
		return -EBADMSG;
	equals = memchr(in->at, '=', (size_t)(nul - in->at));
	if (!equals || !key_name_ok(in->at, (size_t)(equals - in->at)))
		return -EBADMSG;
	*equals = '\0';
	*key = in->at;
	*value = equals + 1;
	in->at = nul + 1;
	return 1;
}

void iscsi_text_put(struct iscsi_text_out *out, const char *key, const char *value)
{
	iscsi_text_putf(out, key, "%s", value);
}

void iscsi_text_putf(struct iscsi_text_out *out, const char *key, const char *format, ...)
{
	size_t key_len = strlen(key), room = out->cap - out->len;
	va_list args;
	int n;

	if (out->overflow || key_len + 2 > room) {
		out->overflow = true;
		return;
	}
	va_start(args, format);
	memcpy(out->buf + out->len, key, key_len);
	out->buf[out->len + key_len] = '=';
	n = vsnprintf(out->buf + out->len + key_len + 1, room - key_len - 1, format, args);
	va_end(args);
	if (n < 0 || (size_t)n >= room - key_len - 1) {
		out->overflow = true;
		return;
	}
	out->len += key_len + 1 + (size_t)n + 1;
}

static bool is_prefix(const char *value, char letter)
{
	return value[0] == '0' && (value[1] | 0x20) == letter;
}

bool iscsi_text_number(const char *value, uint64_t max, uint64_t *out)
{
	bool hex = is_prefix(value, 'x');
	unsigned base = hex ? 16 : 10;
	uint64_t n = 0;

	if (hex)
		value += 2;
	if (*value == '\0')
		return false;
	for (; *value; value++) {
		int d = up_hex_digit(*value);

		if (d < 0 || (unsigned)d >= base || n > (max - (unsigned)d) / base)
			return false;
		n = n * base + (unsigned)d;
	}
	*out = n;
	return n <= max;
}

static int binary_hex(const char *digits, uint8_t *out, size_t cap)
{
	size_t count = strlen(digits), n = 0, i = 0;

	if (count == 0 || (count + 1) / 2 > cap)
		return -1;
	if (count % 2) { /* an odd count: the first digit is a byte of its own */
		int d = up_hex_digit(digits[i++]);

		if (d < 0)
			return -1;
		out[n++] = (uint8_t)d;
	}
	for (; i < count; i += 2) {
		int high = up_hex_digit(digits[i]), low = up_hex_digit(digits[i + 1]);

		if (high < 0 || low < 0)
			return -1;
		out[n++] = (uint8_t)(high << 4 | low);
	}
	return (int)n;
}

static int base64_digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static int binary_base64(const char *digits, uint8_t *out, size_t cap)
{
	size_t count = strlen(digits), n = 0;
	uint32_t bits = 0;
	unsigned have = 0;

	if (count == 0 || count % 4)
		return -1;
	for (unsigned pad = 0; pad < 2 && digits[count - 1] == '='; pad++)
		count--;
	for (size_t i = 0; i < count; i++) {
		int d = base64_digit(digits[i]);

		if (d < 0)
			return -1;
		bits = bits << 6 | (unsigned)d;
		have += 6;
		if (have >= 8) {
			if (n == cap)
				return -1;
			have -= 8;
			out[n++] = (uint8_t)(bits >> have);
		}
	}
	return (int)n;
}

int iscsi_text_binary(const char *value, uint8_t *out, size_t cap)
{
	if (is_prefix(value, 'x'))
		return binary_hex(value + 2, out, cap);
	if (is_prefix(value, 'b'))
		return binary_base64(value + 2, out, cap);
	return -1;
}

void iscsi_text_hex(const uint8_t *bytes, size_t len, char *out, size_t cap)
{
	int at = snprintf(out, cap, "0x");

	for (size_t i = 0; i < len; i++)
		at += snprintf(out + at, cap - (size_t)at, "%02x", bytes[i]);
}

/* Calls for each item; the item's length goes to *len. */
static const char *list_item(const char **list, size_t *len)
{
	const char *item = *list;

	if (!item)
		return NULL;
	*len = strcspn(item, ",");
	*list = item[*len] == ',' ? item + *len + 1 : NULL;
	return item;
}

bool iscsi_text_listed(const char *list, const char *word)
{
	return iscsi_text_choose(list, &word, 1) == 0;
}

int iscsi_text_choose(const char *list, const char *const *words, unsigned count)
{
	const char *item;
	size_t len;

	while ((item = list_item(&list, &len)))
		for (unsigned i = 0; i < count; i++)
			if (strlen(words[i]) == len && memcmp(words[i], item, len) == 0)
				return (int)i;
	return -1;
}
