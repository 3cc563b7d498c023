/* SPDX-License-Identifier: Apache-2.0 */
/* The bridge's --control client: asks a running bridge for its state, or arms a fault in it. */
#ifndef UMBRA_LAB_CONTROL_H
#define UMBRA_LAB_CONTROL_H

/* argv: PORTFILE COMMAND …. Returns the exit code: 0, 1 (failed, said why), 2 (wrong usage, said nothing). */
int control_main(int argc, char **argv);

#endif
