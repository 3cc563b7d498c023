/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever a script holds: every line becomes a command whose words lie in the line's own text, or is refused. */
#include <assert.h>
#include <stdint.h>
#include <string.h>
#include "lab/requester/script.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script_line l;
	const char *text = (const char *)data, *why = NULL;
	size_t next;
	for (size_t at = 0; at < size; at += next) {
		size_t len = script_next_line(text + at, size - at, &next);
		assert(next > 0 && next <= size - at && len <= next);
		enum script_found found = script_parse(text + at, len, &l, &why);
		assert(found != SCRIPT_ERROR || why);
		if (found != SCRIPT_COMMAND)
			continue;
		assert(l.name && l.count < SCRIPT_MAX_WORDS);
		for (unsigned i = 0; i < l.count; i++)
			assert(l.words[i] >= l.text &&
				l.words[i] + strlen(l.words[i]) < l.text + sizeof l.text);
	}
	return 0;
}
