/* SPDX-License-Identifier: Apache-2.0 */
/* See support_text.h. */
#include "provider/support_text.h"

#include <ctype.h>
#include <string.h>
#include "provider/output.h"

#define RECORD_HEAD_BYTES 56
#define TEXT_BYTES        600
#define TYPE_ERROR        1 /* EVENTLOG_ERROR_TYPE … */
#define TYPE_WARNING      2

static bool contains(const char *text, const char *word)
{
	size_t len = strlen(word);

	for (; *text; text++) {
		size_t i = 0;
		while (i < len && tolower((unsigned char)text[i]) == word[i])
			i++;
		if (i == len)
			return true;
	}
	return false;
}

bool support_is_secret(const char *name)
{
	static const char *const words[] = {"secret", "passw", "pwd", "chap", "credential", "token"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (contains(name, words[i]))
			return true;
	return false;
}

bool support_source_wanted(const char *source)
{
	static const char *const names[] = {"Umbra VSS Provider", "VSS", "volsnap", "iScsiPrt", "disk",
		"partmgr", "DCOM", "Microsoft-Windows-DistributedCOM", "Service Control Manager", "mpio",
		"msdsm", "Ntfs", "VDS Basic Provider", "Virtual Disk Service", "storport", "MSiSCSI",
		"MsiInstaller"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		size_t k = 0;
		while (names[i][k] &&
			tolower((unsigned char)names[i][k]) == tolower((unsigned char)source[k]))
			k++;
		if (!names[i][k] && !source[k])
			return true;
	}
	return false;
}

static uint32_t little(const uint8_t *p, unsigned bytes)
{
	uint32_t v = 0;

	while (bytes-- > 0)
		v = v << 8 | p[bytes];
	return v;
}

static size_t put_utf8(uint32_t c, char *out, size_t at, size_t cap)
{
	uint8_t bytes[4];
	size_t count = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

	if (at + count >= cap)
		return at;
	if (count == 1) {
		bytes[0] = (uint8_t)c;
	} else {
		for (size_t i = count - 1; i > 0; i--, c >>= 6)
			bytes[i] = (uint8_t)(0x80 | (c & 0x3f));
		bytes[0] = (uint8_t)((0xf00 >> count) | c);
	}
	memcpy(out + at, bytes, count);
	return at + count;
}

size_t support_utf8(const uint8_t *utf16, size_t len, char *out, size_t cap)
{
	size_t from = 0, at = 0;

	for (; from + 2 <= len; from += 2) {
		uint32_t c = little(utf16 + from, 2);
		if (!c) {
			from += 2;
			break;
		}
		if (c >= 0xd800 && c < 0xdc00 && from + 4 <= len) {
			uint32_t low = little(utf16 + from + 2, 2);
			bool pair = low >= 0xdc00 && low < 0xe000;
			c = pair ? 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00) : 0xfffd;
			from += pair ? 2 : 0;
		} else if (c >= 0xd800 && c < 0xe000) {
			c = 0xfffd;
		}
		at = put_utf8(c < ' ' || c == 0x7f ? ' ' : c, out, at, cap);
	}
	out[at] = '\0';
	return from;
}

bool support_event_parse(const uint8_t *buf, size_t len, size_t at, struct support_event *out)
{
	memset(out, 0, sizeof(*out));
	if (at > len || len - at < RECORD_HEAD_BYTES)
		return false;
	const uint8_t *r = buf + at;
	out->len_bytes = little(r, 4);
	if (out->len_bytes < RECORD_HEAD_BYTES || out->len_bytes > len - at)
		return false;
	out->unix_s = little(r + 12, 4);
	out->id = little(r + 20, 4);
	out->type = (uint16_t)little(r + 24, 2);
	out->string_count = little(r + 26, 2);
	out->strings_at = little(r + 36, 4);
	support_utf8(
		r + RECORD_HEAD_BYTES, out->len_bytes - RECORD_HEAD_BYTES, out->source, sizeof(out->source));
	return true;
}

void support_event_print(const uint8_t *buf, size_t len, size_t at, const struct support_event *e, FILE *out)
{
	char when[OUTPUT_TIME_CHARS], text[TEXT_BYTES];
	size_t from = e->strings_at;

	(void)len;
	output_time((uint64_t)e->unix_s * 1000, when);
	fprintf(out, "%s  %-11s %s %u:", when,
		e->type == TYPE_ERROR     ? "error"
		: e->type == TYPE_WARNING ? "warning"
					  : "information",
		e->source, (unsigned)(e->id & 0xffff));
	for (unsigned i = 0; i < e->string_count && from < e->len_bytes; i++) {
		from += support_utf8(buf + at + from, e->len_bytes - from, text, sizeof(text));
		fprintf(out, "%s%s", i ? " | " : " ", text);
	}
	fputc('\n', out);
}

void support_hex(const uint8_t *bytes, size_t len, size_t most, FILE *out)
{
	for (size_t i = 0; i < len && i < most; i++)
		fprintf(out, "%02x", bytes[i]);
	if (len > most)
		fprintf(out, "… (%zu bytes)", len);
}
