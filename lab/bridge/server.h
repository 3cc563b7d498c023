/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bridge's TCP side: connections of the driver, one request at a time on each. server_run() is the
 * bridge's only loop; it ends when *stop becomes nonzero (a signal handler sets it).
 */
#ifndef UMBRA_LAB_SERVER_H
#define UMBRA_LAB_SERVER_H

#include <signal.h>
#include "lab/bridge/session.h"

/* listen_fd is moved; session is borrowed. 0 or a negative errno. */
int server_run(int listen_fd, struct session *session, volatile sig_atomic_t *stop);

#endif
