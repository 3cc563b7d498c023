/* SPDX-License-Identifier: Apache-2.0 */
/* What "umbra-vss support" may write, and in what words. Pure. */
#ifndef UMBRA_PROVIDER_SUPPORT_TEXT_H
#define UMBRA_PROVIDER_SUPPORT_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define SUPPORT_NAME_CHARS 256

/* Does a value of this name hold a secret, as far as a name tells? Then its content is left out. */
bool support_is_secret(const char *name);

/* Events of these sources are written. */
bool support_source_wanted(const char *source);

struct support_event {
	uint32_t len_bytes; /* of the whole record */
	uint32_t unix_s, id;
	uint16_t type; /* EVENTLOG_…_TYPE */
	char source[SUPPORT_NAME_CHARS];
	unsigned string_count;
	size_t strings_at;
};

/* An EVENTLOGRECORD as ReadEventLogW gives it, at `at` of the buffer. False: it is malformed, nothing more can be read. */
bool support_event_parse(const uint8_t *buf, size_t len, size_t at, struct support_event *out);
/* One line: time, source, level, id, what was inserted into its text. */
void support_event_print(const uint8_t *buf, size_t len, size_t at, const struct support_event *e, FILE *out);

/* UTF-16, little-endian, up to its NUL or len; control characters become blanks. Returns the bytes behind it (with its NUL). */
size_t support_utf8(const uint8_t *utf16, size_t len, char *out, size_t cap);

/* As two digits a byte, at most `most` bytes, then how many there are. */
void support_hex(const uint8_t *bytes, size_t len, size_t most, FILE *out);

#endif
