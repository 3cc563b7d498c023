/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The little JSON that the lab's Windows programs need (there is no packaged library for them): a writer into
 * a growing buffer, and a strict reader into a tree. Pure C without an operating system.
 *
 * Invariants:
 * - The writer keeps the syntax: commas and nesting are its own affair; an
 *   allocation that fails latches `failed` and the text is then not to be used.
 * - The reader is bounded: JSON_MAX_DEPTH levels, JSON_MAX_NODES values, one contiguous input; whatever the
 *   input holds, it ends with a tree or with NULL.
 */
#ifndef LAB_JSON_H
#define LAB_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_MAX_DEPTH  32
#define JSON_MAX_NODES  100000
#define JSON_MAX_LEVELS 32 /* of the writer */

struct json_out {
	char *text; /* owned; NUL-terminated when not NULL */
	size_t len, cap;
	bool failed;
	unsigned depth;
	bool has_item[JSON_MAX_LEVELS + 1];
};

void json_out_free(struct json_out *j);
/* kind is '{' or '['; key NULL inside an array or at the top. */
void json_open(struct json_out *j, const char *key, char kind);
void json_close(struct json_out *j, char kind);                           /* '}' or ']' */
void json_string(struct json_out *j, const char *key, const char *value); /* NULL value: null */
void json_int(struct json_out *j, const char *key, int64_t value);
/* A number with three decimals: value_us / 1000, for milliseconds out of microseconds. */
void json_ms(struct json_out *j, const char *key, int64_t value_us);
void json_bool(struct json_out *j, const char *key, bool value);
void json_hex32(struct json_out *j, const char *key, uint32_t value);                     /* "0x80042308" */
void json_bytes(struct json_out *j, const char *key, const uint8_t *bytes, size_t count); /* hex digits */

enum json_type {
	JSON_NULL,
	JSON_BOOL,
	JSON_INT,
	JSON_STRING,
	JSON_ARRAY,
	JSON_OBJECT
};

struct json_value {
	enum json_type type;
	int64_t number;           /* JSON_INT, JSON_BOOL; fractions are refused */
	char *string;             /* JSON_STRING, owned by the tree, NUL-terminated, holds no NUL */
	char *key;                /* inside an object */
	struct json_value *child; /* first of an array or object */
	struct json_value *next;  /* the next in the same array or object */
};

/* The tree of one document (surrounding blanks allowed), or NULL when it is not JSON or out of bounds. */
struct json_value *json_parse(const char *text, size_t len);
void json_free(struct json_value *v); /* NULL is allowed */

/* Members; NULL (or the default) when absent or of another type. */
const struct json_value *json_get(const struct json_value *object, const char *key, enum json_type type);
const char *json_get_string(const struct json_value *object, const char *key);
int64_t json_get_int(const struct json_value *object, const char *key, int64_t otherwise);
/* Hex digits into a malloc'ed block (NULL with *count 0 for an empty string); false when absent or not hex.
 */
bool json_get_bytes(const struct json_value *object, const char *key, uint8_t **bytes, size_t *count);

#endif
