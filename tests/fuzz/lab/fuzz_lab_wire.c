/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a frame between driver and bridge, of either direction: refused, or encodes to the same bytes.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "lab/bridge/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void as_request(const uint8_t *body, size_t len)
{
	struct labw_request req, again;
	uint8_t head[LABW_HEAD_MAX_BYTES];
	size_t head_bytes;

	if (!labw_request_decode(&req, body, len))
		return;
	head_bytes = labw_request_head(&req, head);
	assert(head_bytes > LABW_LENGTH_BYTES && labw_body_bytes(head) == len);
	if (req.direction != LABW_OUT) {
		assert(labw_request_decode(&again, head + LABW_LENGTH_BYTES, head_bytes - LABW_LENGTH_BYTES));
		assert(memcmp(&req, &again, sizeof(req)) == 0);
	} else {
		assert(req.data >= body && req.data + req.data_bytes == body + len);
	}
}

static void as_reply(const uint8_t *body, size_t len)
{
	struct labw_reply rep;
	struct labw_lun lun;
	uint8_t head[LABW_HEAD_MAX_BYTES];

	if (!labw_reply_decode(&rep, body, len))
		return;
	assert(labw_reply_head(&rep, head) > LABW_LENGTH_BYTES && labw_body_bytes(head) == len);
	for (uint32_t i = 0; i < rep.lun_count; i++)
		(void)labw_lun_get(&lun, rep.lun_entries + (size_t)i * LABW_LUN_BYTES);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < LABW_LENGTH_BYTES || size > LABW_BODY_MAX_BYTES)
		return 0;
	(void)labw_body_bytes(data);
	as_request(data + LABW_LENGTH_BYTES, size - LABW_LENGTH_BYTES);
	as_reply(data + LABW_LENGTH_BYTES, size - LABW_LENGTH_BYTES);
	return 0;
}
