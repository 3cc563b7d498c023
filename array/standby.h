/* SPDX-License-Identifier: Apache-2.0 */
/* What two controllers tell hosts of each other, and how one of them lets go of what it served. */
#ifndef UMBRA_STANDBY_H
#define UMBRA_STANDBY_H

#include "array/config.h"
#include "array/control/control.h"
#include "array/controller.h"
#include "array/iscsi/iscsi.h"
#include "array/pair.h"
#include "array/scsi/scsi.h"

/* The other controller's portals, as the configuration says them, or else its card. At most CARD_PORTALS_MAX. */
unsigned standby_peers(const struct config *c, struct pair *pair, struct iscsi_peer_portal *out);
/* This controller's ports, in this state, and the other one's. gone: those cannot be reached. */
void standby_groups(const struct config *c, enum scsi_access own, bool gone,
	const struct iscsi_peer_portal *peers, unsigned count, struct scsi_port_group groups[2]);

/* What an array is served by. */
struct served {
	struct store *store;
	struct array *array;
	struct inband *inband; /* or NULL */
	struct scsi_target *scsi;
	struct controller *giver; /* the store came from it; or NULL */
};
struct retired;
struct retired *retired_new(void); /* NULL: no memory. free() when it is not to go */
/* Its sessions are elsewhere. It goes when nothing of it is under way any more, and no call of the management, which has the array
 * that it began with; then `gone`. err: of the store's end; -ESHUTDOWN: it had lost the array. */
void retired_go(struct retired *r, const struct served *what, struct reactor *reactor,
	struct management *management, void (*gone)(void *arg, int err), void *arg);

#endif
