/* SPDX-License-Identifier: Apache-2.0 */
/* Words of a command line that are plain ASCII when they are right at all: ids, rules. */
#ifndef UMBRA_PROVIDER_ASCII_H
#define UMBRA_PROVIDER_ASCII_H

#include <stdbool.h>
#include <stddef.h>
#include <wchar.h>

/* The word with its NUL in `out`. False: it has more than size - 1 characters, or one that is not ASCII. */
static inline bool ascii_of(const wchar_t *word, char *out, size_t size)
{
	size_t len = wcslen(word);

	if (len >= size)
		return false;
	for (size_t i = 0; i <= len; i++) {
		if ((unsigned long)word[i] > 0x7E)
			return false;
		out[i] = (char)word[i];
	}
	return true;
}

#endif
