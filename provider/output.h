/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands print: JSON strings, set ids, times. Pure. */
#ifndef UMBRA_PROVIDER_OUTPUT_H
#define UMBRA_PROVIDER_OUTPUT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "proto/umbra_proto.h"

#define OUTPUT_SET_ID_CHARS 39 /* a GUID in braces and a NUL */
#define OUTPUT_TIME_CHARS   40

/* text (UTF-8; NULL: null) as a JSON string with its quotes; control characters are escaped. */
void output_json_string(FILE *out, const char *text);

/* As VSS and its tools show the set's id: {xxxxxxxx-xxxx-…}, upper case. */
void output_set_id(const uint8_t id[UP_ID_BYTES], char out[OUTPUT_SET_ID_CHARS]);

/* "2026-01-31 23:59:58 UTC"; 0 gives "-". */
void output_time(uint64_t unix_ms, char out[OUTPUT_TIME_CHARS]);

#endif
