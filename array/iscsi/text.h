/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text keys (RFC 7143 6.1): key=value pairs, each ended by a NUL, in the data segments of Login and Text
 * PDUs. Pure. Reading changes the buffer (nothing is copied); writing stops at the buffer's end and remembers
 * it.
 */
#ifndef UMBRA_ISCSI_TEXT_H
#define UMBRA_ISCSI_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ISCSI_KEY_MAX_BYTES  63
#define ISCSI_TEXT_MAX_BYTES 16384 /* one whole negotiation step, over all its PDUs */
#define ISCSI_TEXT_KEYS_MAX  128   /* in it */

struct iscsi_text_in {
	char *at, *end;
};

/* The text is buf[0..len). */
void iscsi_text_begin(struct iscsi_text_in *in, char *buf, size_t len);
/* 1: *key and *value point into the buffer, NUL-terminated. 0: no more. -EBADMSG: no "=", an empty or too
 * long key name, a character that key names do not have, or no NUL at the end. */
int iscsi_text_next(struct iscsi_text_in *in, const char **key, const char **value);

struct iscsi_text_out {
	char *buf;
	size_t len, cap;
	bool overflow;
};

void iscsi_text_put(struct iscsi_text_out *out, const char *key, const char *value);
void iscsi_text_putf(struct iscsi_text_out *out, const char *key, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Decimal or 0x-hexadecimal (RFC 7143 6.1: numerical-value). False: anything else, or > max. */
bool iscsi_text_number(const char *value, uint64_t max, uint64_t *out);
/* 0x-hexadecimal or 0b-base64 (binary-value). The number of bytes, or -1: malformed or more than cap. */
int iscsi_text_binary(const char *value, uint8_t *out, size_t cap);
/* "0x…" for len bytes; cap ≥ 2 * len + 3. */
void iscsi_text_hex(const uint8_t *bytes, size_t len, char *out, size_t cap);
/* Is word one of the comma-separated items of list? Case counts. */
bool iscsi_text_listed(const char *list, const char *word);
/* The index in words[0..count) of the first item of list that is among them, -1: none. */
int iscsi_text_choose(const char *list, const char *const *words, unsigned count);

#endif
