/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each of two controllers tells the other one of itself, as a text that is kept in Ceph beside the catalogue: JSON, which
 * `rados getomapval` shows. Whoever may write to the pool may have written it, so what is read here is checked as any peer's
 * bytes are. Pure functions.
 */
#ifndef UMBRA_CARD_H
#define UMBRA_CARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "array/iscsi/iscsi.h"
#include "array/util/process.h"

#define CARD_FORMAT        1
#define CARD_PORTALS_MAX   16
#define CARD_VERSION_BYTES 24
#define CARD_MACHINE_BYTES 72

enum card_role {
	CARD_STANDBY,
	CARD_OWNER,
	CARD_ENDED, /* in order: nobody writes this card any more */
};

struct card {
	unsigned number; /* 1 or 2 */
	uint64_t beat;   /* rises each time that it is written: so it is seen that somebody does */
	enum card_role role;
	uint64_t since_unix_ms; /* in this role */
	char umbra[CARD_VERSION_BYTES];
	char machine[CARD_MACHINE_BYTES]; /* its host name */
	char array[80], target[UP_NAME_MAX_BYTES + 1];
	struct process_id process;
	unsigned portal_count;
	struct iscsi_peer_portal portals[CARD_PORTALS_MAX];
};

/* The length, without a 0 at the end; 0: no memory, or it does not fit. */
size_t card_write(const struct card *c, char *out, size_t size);
/* -EPROTONOSUPPORT: a newer umbrad's, of which only number, umbra and machine are set; -EUCLEAN: it is none. Never more than
 * `len` bytes are read; out is whole in any case. */
int card_read(const char *text, size_t len, struct card *out);

#endif
