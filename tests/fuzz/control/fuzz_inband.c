/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as messages on the control channel, over the real model: every one gets a reply that decodes, and
 * a refusal has a text. The input is a sequence of: a byte (bits 0-1 host, 2-3 slot, 4 post it twice, 5 short
 * buffer), two bytes of length, the message. In messages, sixteen bytes 11h stand for the LUN's id and
 * sixteen bytes 33h for that of the shadow LUN promised last.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "tests/unit/control/rig.h"

#define INPUTS_A_RIG 500
#define MESSAGES_MAX 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct rig rig;
static struct lun *lun;
static unsigned inputs;
static uint8_t shadow_id[UP_ID_BYTES];

static void put_ids(uint8_t *bytes, size_t len)
{
	uint8_t ones[UP_ID_BYTES], threes[UP_ID_BYTES];

	memset(ones, 0x11, sizeof(ones));
	memset(threes, 0x33, sizeof(threes));
	for (size_t i = 0; i + UP_ID_BYTES <= len; i++) {
		if (!memcmp(bytes + i, ones, UP_ID_BYTES))
			memcpy(bytes + i, lun->id, UP_ID_BYTES);
		else if (!memcmp(bytes + i, threes, UP_ID_BYTES))
			memcpy(bytes + i, shadow_id, UP_ID_BYTES);
	}
}

static void flag_up(void *arg, long result)
{
	*(bool *)arg = true;
	assert(result == 16 || result == -1000 || result >= UP_HEADER_BYTES);
}

static void one(uint8_t how, const uint8_t *bytes, size_t len)
{
	static struct up_msg reply;
	static uint8_t small[16];
	struct host_nexus *n = &rig.nexus[how & 3];
	uint16_t slot = how >> 2 & 3;
	bool done = false;
	/* exactly as long as it is: what reads past it is seen */
	uint8_t *copy = malloc(len ? len : 1);

	memcpy(copy, bytes, len);
	put_ids(copy, len);
	for (unsigned times = 1 + (how >> 4 & 1); times; times--) {
		int err = inband_out(rig.inband, n, lun, slot, copy, len);
		assert(!err);
	}
	free(copy);
	if (how & 32) {
		inband_in(rig.inband, n, slot, small, sizeof(small), flag_up, &done);
		rig_until(&rig, &done);
	}
	bool there = rig_fetch(&rig, n, slot, &reply);
	assert(there);
	assert(reply.status == UP_OK || reply.text[0]);
	assert(reply.status < UP_STATUS_COUNT && reply.status != UP_INTERNAL);
	if (reply.op == UP_OP_SET_ADD && reply.status == UP_OK)
		memcpy(shadow_id, reply.lun_id, UP_ID_BYTES);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (inputs++ % INPUTS_A_RIG == 0) {
		if (inputs > 1)
			rig_close(&rig);
		rig_open(&rig, NULL, NULL);
		lun = rig_lun(&rig, "data", 1 << 20);
		rig_map(&rig, 0, lun);
	}
	for (unsigned i = 0; i < MESSAGES_MAX && size >= 3; i++) {
		size_t len = (size_t)data[1] << 8 | data[2];
		uint8_t how = data[0];
		data += 3;
		size -= 3;
		if (len > size)
			len = size;
		one(how, data, len);
		data += len;
		size -= len;
	}
	return 0;
}
