/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What two controllers know of each other: each has a card in Ceph (card.h), which its store keeps written and read
 * (struct store_cards). Here is our own one, the other one's, and whether the two fit together.
 *
 * The store's threads write here, the reactor's reads: all of it is under one lock.
 */
#ifndef UMBRA_PAIR_H
#define UMBRA_PAIR_H

#include "array/card.h"
#include "array/config.h"
#include "array/reactor/reactor.h"
#include "array/store/module.h"

struct pair;

/* changed: on the reactor's thread: what pair_look tells is new. NULL: no memory. */
struct pair *pair_new(const struct config *c, struct reactor *reactor, void (*changed)(void *arg), void *arg);
void pair_free(struct pair *p); /* no store uses its cards any more; NULL is fine */
const struct store_cards *pair_cards(struct pair *p);

/* What our card says from now on. */
void pair_set_role(struct pair *p, enum card_role role);
/* At most CONFIG_PORTALS_MAX; one without a port is not told of. */
void pair_set_portals(struct pair *p, const struct iscsi_portal *portals, unsigned count);
void pair_end(struct pair *p); /* umbrad ends: the last card says so */

struct pair_look {
	struct card own, other; /* other: all 0 when nothing is known of it but its number */
	bool known;             /* it has left a card */
	bool lives;             /* somebody is behind it, as far as was seen within the last seconds */
	bool gone; /* nobody is behind its ports: it has ended, was locked out, or has said nothing for seconds */
	uint64_t seen_ms;      /* so long ago it was seen to live; UINT64_MAX: it was not */
	char problem[256];     /* why the two do not fit together; "": they do, or it is not there */
	uint64_t epoch;        /* of the last lease that was seen; 0: none was */
	uint64_t others_epoch; /* of the last one that was another process' */
	uint64_t lease_ms;     /* so long ago it was renewed */
};
void pair_look(struct pair *p, struct pair_look *out);

#endif
