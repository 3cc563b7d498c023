/* SPDX-License-Identifier: Apache-2.0 */
/* See json.h. The writer first, then the reader: recursive descent with a depth and a node bound. */
#include "lab/coordinator/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "proto/identity.h"

static void put(struct json_out *j, const char *text, size_t len)
{
	if (j->failed)
		return;
	if (j->len + len + 1 > j->cap) {
		size_t cap = j->cap ? j->cap * 2 : 4096;
		while (cap < j->len + len + 1)
			cap *= 2;
		char *grown = realloc(j->text, cap);
		if (!grown) {
			j->failed = true;
			return;
		}
		j->text = grown;
		j->cap = cap;
	}
	memcpy(j->text + j->len, text, len);
	j->len += len;
	j->text[j->len] = 0;
}

static void put_text(struct json_out *j, const char *text)
{
	put(j, text, strlen(text));
}

static void put_quoted(struct json_out *j, const char *value)
{
	put(j, "\"", 1);
	for (const unsigned char *p = (const unsigned char *)value; *p; p++) {
		char esc[8];
		if (*p == '"' || *p == '\\') {
			esc[0] = '\\';
			esc[1] = (char)*p;
			put(j, esc, 2);
		} else if (*p < 0x20) {
			snprintf(esc, sizeof esc, "\\u%04x", *p);
			put_text(j, esc);
		} else {
			put(j, (const char *)p, 1);
		}
	}
	put(j, "\"", 1);
}

static void item(struct json_out *j, const char *key)
{
	if (j->has_item[j->depth])
		put(j, ",", 1);
	if (j->depth > 0) {
		put(j, "\n", 1);
		for (unsigned i = 0; i < j->depth; i++)
			put(j, " ", 1);
	}
	j->has_item[j->depth] = true;
	if (key) {
		put_quoted(j, key);
		put(j, ": ", 2);
	}
}

void json_out_free(struct json_out *j)
{
	free(j->text);
	memset(j, 0, sizeof *j);
}

void json_open(struct json_out *j, const char *key, char kind)
{
	item(j, key);
	put(j, &kind, 1);
	if (j->depth >= JSON_MAX_LEVELS) {
		j->failed = true;
		return;
	}
	j->has_item[++j->depth] = false;
}

void json_close(struct json_out *j, char kind)
{
	if (j->depth == 0) {
		j->failed = true;
		return;
	}
	bool had = j->has_item[j->depth--];
	if (had) {
		put(j, "\n", 1);
		for (unsigned i = 0; i < j->depth; i++)
			put(j, " ", 1);
	}
	put(j, &kind, 1);
}

void json_string(struct json_out *j, const char *key, const char *value)
{
	item(j, key);
	if (value)
		put_quoted(j, value);
	else
		put_text(j, "null");
}

void json_int(struct json_out *j, const char *key, int64_t value)
{
	char text[32];
	snprintf(text, sizeof text, "%" PRId64, value);
	item(j, key);
	put_text(j, text);
}

void json_ms(struct json_out *j, const char *key, int64_t value_us)
{
	char text[40];
	int64_t magnitude = value_us < 0 ? -value_us : value_us;
	snprintf(text, sizeof text, "%s%" PRId64 ".%03d", value_us < 0 ? "-" : "", magnitude / 1000,
		(int)(magnitude % 1000));
	item(j, key);
	put_text(j, text);
}

void json_bool(struct json_out *j, const char *key, bool value)
{
	item(j, key);
	put_text(j, value ? "true" : "false");
}

void json_hex32(struct json_out *j, const char *key, uint32_t value)
{
	char text[16];
	snprintf(text, sizeof text, "0x%08x", (unsigned)value);
	json_string(j, key, text);
}

void json_bytes(struct json_out *j, const char *key, const uint8_t *bytes, size_t count)
{
	item(j, key);
	put(j, "\"", 1);
	for (size_t i = 0; i < count; i++) {
		char digits[3];
		snprintf(digits, sizeof digits, "%02x", bytes[i]);
		put(j, digits, 2);
	}
	put(j, "\"", 1);
}

struct reader {
	const char *p, *end;
	unsigned depth, nodes;
};

static void skip_blanks(struct reader *r)
{
	while (r->p < r->end && (*r->p == ' ' || *r->p == '\t' || *r->p == '\n' || *r->p == '\r'))
		r->p++;
}

static bool take(struct reader *r, const char *word)
{
	size_t len = strlen(word);
	if ((size_t)(r->end - r->p) < len || memcmp(r->p, word, len) != 0)
		return false;
	r->p += len;
	return true;
}

/* One escape after the backslash, as UTF-8 at out; the number of bytes, or 0 when it is none that we take
 * (surrogates and NUL are refused). */
static size_t read_escape(struct reader *r, char *out)
{
	if (r->p >= r->end)
		return 0;
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	char c = *r->p++;
	const char *at = c ? strchr(from, c) : NULL;
	if (at) {
		*out = to[at - from];
		return 1;
	}
	if (c != 'u' || r->end - r->p < 4)
		return 0;
	unsigned code = 0;
	for (int i = 0; i < 4; i++) {
		int digit = up_hex_digit(*r->p++);
		if (digit < 0)
			return 0;
		code = code * 16 + (unsigned)digit;
	}
	if (code == 0 || (code >= 0xd800 && code <= 0xdfff))
		return 0;
	if (code < 0x80) {
		out[0] = (char)code;
		return 1;
	}
	if (code < 0x800) {
		out[0] = (char)(0xc0 | code >> 6);
		out[1] = (char)(0x80 | (code & 0x3f));
		return 2;
	}
	out[0] = (char)(0xe0 | code >> 12);
	out[1] = (char)(0x80 | (code >> 6 & 0x3f));
	out[2] = (char)(0x80 | (code & 0x3f));
	return 3;
}

/* A string at its opening quote; malloc'ed, or NULL. Text never grows by unescaping. */
static char *read_string(struct reader *r)
{
	if (!take(r, "\""))
		return NULL;
	const char *close = r->p;
	while (close < r->end && *close != '"')
		close += *close == '\\' && close + 1 < r->end ? 2 : 1;
	char *text = malloc((size_t)(close - r->p) + 1);
	size_t len = 0;
	while (text && r->p < r->end && *r->p != '"') {
		unsigned char c = (unsigned char)*r->p++;
		size_t got = 1;
		if (c == '\\')
			got = read_escape(r, text + len);
		else
			text[len] = (char)c;
		if (c < 0x20 || got == 0) {
			free(text);
			return NULL;
		}
		len += got;
	}
	if (!text || !take(r, "\"")) {
		free(text);
		return NULL;
	}
	text[len] = 0;
	return text;
}

static bool read_number(struct reader *r, int64_t *number)
{
	bool negative = take(r, "-");
	uint64_t magnitude = 0;
	const char *first = r->p;
	while (r->p < r->end && *r->p >= '0' && *r->p <= '9') {
		if (magnitude > (uint64_t)INT64_MAX / 10 - 1)
			return false;
		magnitude = magnitude * 10 + (uint64_t)(*r->p++ - '0');
	}
	if (r->p == first || (r->p < r->end && (*r->p == '.' || *r->p == 'e' || *r->p == 'E')))
		return false;
	*number = negative ? -(int64_t)magnitude : (int64_t)magnitude;
	return true;
}

static struct json_value *read_value(struct reader *r);

/* The members after the opening bracket, up to and with the closing one. */
static bool read_members(struct reader *r, struct json_value *v, char close)
{
	struct json_value **link = &v->child;
	char closing[2] = {close, 0};
	skip_blanks(r);
	if (take(r, closing))
		return true;
	for (;;) {
		char *key = NULL;
		skip_blanks(r);
		if (v->type == JSON_OBJECT) {
			key = read_string(r);
			skip_blanks(r);
			if (!key || !take(r, ":")) {
				free(key);
				return false;
			}
		}
		struct json_value *member = read_value(r);
		if (!member) {
			free(key);
			return false;
		}
		member->key = key;
		*link = member;
		link = &member->next;
		skip_blanks(r);
		if (take(r, closing))
			return true;
		if (!take(r, ","))
			return false;
	}
}

static struct json_value *read_value(struct reader *r)
{
	struct json_value *v = calloc(1, sizeof *v);
	bool good = false;
	if (!v || r->depth >= JSON_MAX_DEPTH || ++r->nodes > JSON_MAX_NODES) {
		free(v);
		return NULL;
	}
	r->depth++;
	skip_blanks(r);
	char c = r->p < r->end ? *r->p : 0;
	if (c == '{' || c == '[') {
		v->type = c == '{' ? JSON_OBJECT : JSON_ARRAY;
		r->p++;
		good = read_members(r, v, c == '{' ? '}' : ']');
	} else if (c == '"') {
		v->type = JSON_STRING;
		v->string = read_string(r);
		good = v->string != NULL;
	} else if (c == 't' || c == 'f') {
		v->type = JSON_BOOL;
		v->number = c == 't';
		good = take(r, c == 't' ? "true" : "false");
	} else if (c == 'n') {
		good = take(r, "null");
	} else {
		v->type = JSON_INT;
		good = read_number(r, &v->number);
	}
	r->depth--;
	if (good)
		return v;
	json_free(v);
	return NULL;
}

struct json_value *json_parse(const char *text, size_t len)
{
	struct reader r = {.p = text, .end = text + len};
	struct json_value *v = read_value(&r);
	skip_blanks(&r);
	if (v && r.p != r.end) {
		json_free(v);
		return NULL;
	}
	return v;
}

void json_free(struct json_value *v)
{
	while (v) {
		struct json_value *next = v->next;
		json_free(v->child);
		free(v->string);
		free(v->key);
		free(v);
		v = next;
	}
}

const struct json_value *json_get(const struct json_value *object, const char *key, enum json_type type)
{
	if (!object || object->type != JSON_OBJECT)
		return NULL;
	for (const struct json_value *v = object->child; v; v = v->next)
		if (strcmp(v->key, key) == 0)
			return v->type == type ? v : NULL;
	return NULL;
}

const char *json_get_string(const struct json_value *object, const char *key)
{
	const struct json_value *v = json_get(object, key, JSON_STRING);
	return v ? v->string : NULL;
}

int64_t json_get_int(const struct json_value *object, const char *key, int64_t otherwise)
{
	const struct json_value *v = json_get(object, key, JSON_INT);
	return v ? v->number : otherwise;
}

bool json_get_bytes(const struct json_value *object, const char *key, uint8_t **bytes, size_t *count)
{
	const char *text = json_get_string(object, key);
	size_t len = text ? strlen(text) : 0;
	*bytes = NULL;
	*count = 0;
	if (!text || len % 2 != 0)
		return false;
	uint8_t *out = malloc(len / 2 + 1);
	if (!out)
		return false;
	for (size_t i = 0; i < len / 2; i++) {
		int high = up_hex_digit(text[2 * i]), low = up_hex_digit(text[2 * i + 1]);
		if (high < 0 || low < 0) {
			free(out);
			return false;
		}
		out[i] = (uint8_t)(high << 4 | low);
	}
	if (len == 0) {
		free(out);
		return true;
	}
	*bytes = out;
	*count = len / 2;
	return true;
}
