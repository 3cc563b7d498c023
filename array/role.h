/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this umbrad is of two controllers: the one that owns the array, or the one that stands by. Which of the two, the store's
 * module decides (controller.h waits for it); here is what changes with it.
 */
#ifndef UMBRA_ROLE_H
#define UMBRA_ROLE_H

#include "array/daemon.h"
#include "array/store/module.h"

/* Before the reactor runs: the array into d->store, or, while another umbrad owns it, what its catalogue says. */
int role_open(struct daemon *d, const struct store_module *module, const struct store_module_options *store,
	struct fault *fault);
/* For the store's options, of any store in Ceph: another umbrad has the array, or may have it. */
void role_fenced(void *arg, const char *reason);
/* For the management: ctx is the daemon. */
void role_view(void *ctx, struct management_controller *out);

/* Steps of the end (main.c): true: daemon_step_done comes. */
bool role_stop_waiting(struct daemon *d);
bool role_wait_for_retired(struct daemon *d);

#endif
