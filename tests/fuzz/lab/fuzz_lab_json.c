/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever a document holds, the reader ends with a tree that is JSON-shaped, or with none. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include "lab/coordinator/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(const struct json_value *v, unsigned depth)
{
	assert(depth <= JSON_MAX_DEPTH);
	for (; v; v = v->next) {
		uint8_t *bytes;
		size_t count;
		assert((v->type == JSON_STRING) == (v->string != NULL));
		if (v->type == JSON_OBJECT)
			for (const struct json_value *m = v->child; m; m = m->next) {
				assert(m->key);
				if (json_get_bytes(v, m->key, &bytes, &count))
					free(bytes);
			}
		walk(v->child, depth + 1);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct json_value *v = json_parse((const char *)data, size);
	walk(v, 0);
	json_free(v);
	return 0;
}
