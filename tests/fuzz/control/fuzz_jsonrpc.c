/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as lines on the management socket, over the real model: every answer is JSON-RPC 2.0 with a
 * result or an error that has a message. */
#include <assert.h>
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "tests/unit/control/rig.h"

#define INPUTS_A_RIG 500
#define LINES_MAX    16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct rig rig;
static unsigned inputs;

static void check_line(const char *line, size_t len)
{
	json_t *json = json_loadb(line, len, 0, NULL);

	assert(json);
	assert(!strcmp(json_string_value(json_object_get(json, "jsonrpc")), "2.0"));
	json_t *error = json_object_get(json, "error"), *result = json_object_get(json, "result");
	json_t *method = json_object_get(json, "method"); /* of an event */
	assert(!!error + !!result + !!method == 1);
	assert(!error || *json_string_value(json_object_get(error, "message")));
	json_decref(json);
}

static void check(const char *answer)
{
	for (const char *end; *answer; answer = *end ? end + 1 : end) {
		end = strchrnul(answer, '\n');
		check_line(answer, (size_t)(end - answer));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (inputs++ % INPUTS_A_RIG == 0) {
		if (inputs > 1)
			rig_close(&rig);
		rig_open(&rig, NULL, NULL);
		rig_lun(&rig, "data", 1 << 20);
	}
	for (unsigned i = 0; i < LINES_MAX && size; i++) {
		const uint8_t *end = memchr(data, '\n', size);
		size_t len = end ? (size_t)(end - data) : size;
		char *line = malloc(len ? len : 1);
		memcpy(line, data, len);
		char *answer = management_answer(rig.management, line, len);
		free(line);
		if (answer)
			check(answer);
		free(answer);
		rig_turn(&rig, 1);
		data += len + !!end;
		size -= len + !!end;
	}
	return 0;
}
