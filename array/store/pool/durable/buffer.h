/* SPDX-License-Identifier: Apache-2.0 */
/* Records one behind the other, as a frame or a transaction has them. */
#ifndef UMBRA_POOL_BUFFER_H
#define UMBRA_POOL_BUFFER_H

#include <stddef.h>
#include <stdint.h>
#include "array/store/pool/base/base.h"
#include "array/store/pool/durable/format.h"

struct pool_buffer {
	uint8_t *data;
	size_t len, cap;
	uint32_t records;
};

/* Applies payloads of frames, oldest first, and the state. Blocks. */
struct pool_payload {
	const uint8_t *data;
	size_t len;
};

void pool_buffer_record(struct pool_buffer *b, const struct pool_record *record);
void pool_buffer_bytes(struct pool_buffer *b, const void *data, size_t len);
/* A record for each run of chunk numbers. */
void pool_buffer_runs(struct pool_buffer *b, enum pool_record_type type, const struct pool_free_list *sorted);

#endif
