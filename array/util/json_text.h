/* SPDX-License-Identifier: Apache-2.0 */
/* Text as JSON that may be no UTF-8: a peer's bytes, a path, a name cut within a character. */
#ifndef UMBRA_UTIL_JSON_TEXT_H
#define UMBRA_UTIL_JSON_TEXT_H

#include <stdlib.h>
#include <string.h>
#include <jansson.h>

/* A new string; of text that is no UTF-8 each byte beyond ASCII becomes a ?: shown, not trusted. NULL: no memory. */
static inline json_t *json_text(const char *text)
{
	json_t *string = json_string(text);
	char *clean = string ? NULL : strdup(text);

	if (!clean)
		return string;
	for (char *c = clean; *c; c++)
		if ((unsigned char)*c >= 0x80)
			*c = '?';
	string = json_string(clean);
	free(clean);
	return string;
}

#endif
