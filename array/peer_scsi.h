/* SPDX-License-Identifier: Apache-2.0 */
/* SCSI commands that a controller in standby passes on to the one that owns the array (array/peer.h): both ends. */
#ifndef UMBRA_PEER_SCSI_H
#define UMBRA_PEER_SCSI_H

#include "array/peer.h"
#include "array/scsi/scsi.h"

struct peer_scsi;

/* Makes both. 0, -ENOMEM. */
int peer_scsi_create(struct peer **peer, struct reactor *reactor, struct peer_scsi **out);
/* For a target that may stand by; lives as long as the peer_scsi. */
const struct scsi_standby_ops *peer_scsi_standby(struct peer_scsi *s);
/* The target that carries out what the other one passes on; NULL: none does. What stood for the other one's nexuses at the target
 * before has ended when it returns, but for tasks that run. */
void peer_scsi_serve(struct peer_scsi *s, struct scsi_target *t);
/* After peer_stop and the end of both targets. NULL is fine. */
void peer_scsi_destroy(struct peer_scsi *s);

#endif
