/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes and times as people write them: "500G", "64KiB", "10m", "250ms". */
#ifndef UMBRA_UTIL_UNITS_H
#define UMBRA_UTIL_UNITS_H

#include <stddef.h>
#include <stdint.h>

/* Bytes: a decimal number, perhaps with a fraction, and K, M, G, T, P (powers of 1024; "iB" or "B" may
 * follow). -EINVAL: not that, -ERANGE: more than 2^63 - 1. */
int units_parse_bytes(const char *text, uint64_t *bytes);

/* Milliseconds: a whole number and ms, s, m (min) or h. -EINVAL, -ERANGE (more than 2^32 - 1). */
int units_parse_ms(const char *text, uint32_t *ms);

/* Milliseconds of what lasts longer: a whole number and s, min, h, d, w or y (365 days). A bare m is refused, for it could
 * be a minute or a month. -EINVAL, -ERANGE (more than 2^63 - 1). */
int units_parse_long_ms(const char *text, uint64_t *ms);

/* "1.5 TiB", "64 KiB", "512 B". */
#define UNITS_TEXT_BYTES 16
void units_format_bytes(uint64_t bytes, char out[UNITS_TEXT_BYTES]);

#endif
