/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One open device, and commands to it that need not be waited for: Windows cannot take a pass-through command back, and
 * resets the LUN when one is late. So every command has the disks' own time-out, which is long, and who is less patient
 * leaves it to a thread.
 *
 * Invariants:
 * - A courier serves one thread at a time.
 * - A command that was left behind touches nothing of its caller's: it has buffers of its own. Its thread closes the
 *   device when the driver gives the command back.
 * - So many threads at most are left behind in the process; then there is no patience for more of them: -ETIMEDOUT at once.
 */
#ifndef UMBRA_PROVIDER_COURIER_H
#define UMBRA_PROVIDER_COURIER_H

#include "provider/transport.h"

struct courier;

/* 0, or a negative errno as in transport.h. */
int courier_open(struct transport *t, const struct transport_device *device, struct courier **out);
void courier_close(struct courier *c);

/* Carries one command out. patience_ms 0: by the calling thread, as long as it takes, without taking memory. Else it is left
 * behind after that, -ETIMEDOUT, and the courier is of no more use: each later command fails likewise. */
int courier_command(struct courier *c, struct transport_command *command, uint32_t patience_ms);

#endif
