/* SPDX-License-Identifier: Apache-2.0 */
/* Which LUNs of the arrays are meant by the names of drives and volumes, and whether a drive is offline. */
#ifndef UMBRA_PROVIDER_SET_LUNS_H
#define UMBRA_PROVIDER_SET_LUNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <wchar.h>
#include "proto/umbra_proto.h"

struct set_luns {
	unsigned count;
	uint8_t ids[UP_PAGE_MAX_LUNS][UP_ID_BYTES]; /* each once */
};

/* Adds a LUN (an id, or a drive), or all those on which a volume lies; a volume's file system is flushed, too. False: *why
 * says what is wrong and what to do. */
bool set_luns_add(struct set_luns *luns, const wchar_t *word, bool volume, char *why, size_t cap);

/* Is the LUN a drive of this host's that Windows has online? drive gets its name. Where Windows does not tell: false. */
bool set_lun_online(const uint8_t id[UP_ID_BYTES], char *drive, size_t cap);

#endif
