/* SPDX-License-Identifier: Apache-2.0 */
/* See copy_kind.h. */
#include "provider/copy_kind.h"

#include <stddef.h>
#include <string.h>

bool copy_wish_of_context(uint32_t context, enum up_copy_kind preferred, struct copy_wish *out)
{
	switch (context & (COPY_CONTEXT_DIFFERENTIAL | COPY_CONTEXT_PLEX)) {
	case 0:
		*out = (struct copy_wish){.kind = preferred};
		return true;
	case COPY_CONTEXT_DIFFERENTIAL:
		*out = (struct copy_wish){.kind = UP_COPY_DIFFERENTIAL, .required = true};
		return true;
	case COPY_CONTEXT_PLEX:
		*out = (struct copy_wish){.kind = UP_COPY_PLEX, .required = true};
		return true;
	default:
		return false;
	}
}

bool copy_wish_for(const struct copy_wish *wish, uint64_t capabilities, enum up_copy_kind *out)
{
	bool offered = wish->kind == UP_COPY_DEFAULT ||
		       (wish->kind == UP_COPY_DIFFERENTIAL && (capabilities & UP_CAP_DIFFERENTIAL)) ||
		       (wish->kind == UP_COPY_PLEX && (capabilities & UP_CAP_PLEX));

	*out = offered ? wish->kind : UP_COPY_DEFAULT;
	return offered || !wish->required;
}

bool copy_kind_parse(const char *word, enum up_copy_kind *out)
{
	static const struct {
		const char *word;
		enum up_copy_kind kind;
	} rows[] = {
		{"array", UP_COPY_DEFAULT}, {"differential", UP_COPY_DIFFERENTIAL}, {"plex", UP_COPY_PLEX}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (strcmp(word, rows[i].word) == 0) {
			*out = rows[i].kind;
			return true;
		}
	}
	return false;
}
