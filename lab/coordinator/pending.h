/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shadow copy flags that are on originals right now, written down before they are set: a coordinator that
 * is killed in the middle of a set leaves no disk hidden and read-only for longer than until the next
 * request.
 */
#ifndef LAB_PENDING_H
#define LAB_PENDING_H

#include <stdbool.h>
#include <stddef.h>
#include "array/util/gpt.h"
#include "lab/coordinator/record.h"
#include "lab/coordinator/scsi_port.h"

/* Notes what the flags of these disks are before they are changed; false: it cannot be written. */
bool pending_note(const struct port_disk *const *disks, size_t count);
void pending_done(void); /* the flags are cleared again */

/* What an earlier coordinator has left: put back on every disk that is visible, as a phase of the record.
 * Nothing when there is nothing. */
void pending_mend(struct record *r);

#endif
