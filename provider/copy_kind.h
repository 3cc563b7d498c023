/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which kind of copy an array is asked for: what VSS's context demands, else what this host's settings prefer,
 * as far as the array offers it. Pure.
 */
#ifndef UMBRA_PROVIDER_COPY_KIND_H
#define UMBRA_PROVIDER_COPY_KIND_H

#include <stdbool.h>
#include <stdint.h>
#include "proto/umbra_proto.h"

/* VSS_VOLSNAP_ATTR_DIFFERENTIAL and _PLEX, as in vss.h. */
#define COPY_CONTEXT_DIFFERENTIAL 0x20000u
#define COPY_CONTEXT_PLEX         0x40000u

struct copy_wish {
	enum up_copy_kind kind; /* UP_COPY_DEFAULT: whatever the array makes */
	bool required;          /* else another kind will do */
};

/* What a context asks for. preferred: where it leaves the choice. False: both kinds at once, which no copy is. */
bool copy_wish_of_context(uint32_t context, enum up_copy_kind preferred, struct copy_wish *out);

/* What to ask an array with these UP_CAP_… for. False: it cannot make what is required. */
bool copy_wish_for(const struct copy_wish *wish, uint64_t capabilities, enum up_copy_kind *out);

/* The setting's words "differential", "plex", "array"; false: none of them, *out is as it was. */
bool copy_kind_parse(const char *word, enum up_copy_kind *out);

#endif
