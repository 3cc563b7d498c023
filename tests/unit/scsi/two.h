/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two controllers in one process: test_target is the owner, with the ports 1 and 2, and the clients of client.h; `other` is the one
 * that stands by, with port 3.
 */
#ifndef UMBRA_TEST_SCSI_TWO_H
#define UMBRA_TEST_SCSI_TWO_H

#include "tests/unit/scsi/client.h"

#define TUR CDB(0x00, 0, 0, 0, 0, 0)

extern struct scsi_target *owner, *other;
extern struct client standby; /* host a at `other` */
extern struct scsi_port_group groups[2];
/* What `other` passes on goes to the owner; or is kept, or ends with an error. */
extern unsigned forwards;
extern struct scsi_remote *kept;
extern int forward_error;
extern bool forward_waits;

int two_setup(void **state);
int two_teardown(void **state);
void reset_groups(enum scsi_access first, enum scsi_access second);
/* PERSISTENT RESERVE OUT with its list, to LUN 1 */
uint8_t pr_out(struct client *c, uint8_t action, uint8_t type, uint8_t key, uint8_t action_key);
void rehome(struct client *c, struct scsi_target *t);

#endif
