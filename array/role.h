/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this umbrad is of two controllers: the one that owns the array, or the one that stands by. Which of the two, the store's
 * module decides (controller.h waits for it); here is what changes with it.
 */
#ifndef UMBRA_ROLE_H
#define UMBRA_ROLE_H

#include "array/control/control.h"
#include "array/reactor/reactor.h"
#include "array/store/module.h"

struct daemon;
struct controller;
struct peer;
struct peer_scsi;

enum role_state {
	ROLE_OWNER, /* also of an array that has no other controller */
	ROLE_STANDBY,
	/* It was the owner, and what it served answers nothing any more: until the catalogue has been read over a new connection
	 * to Ceph. */
	ROLE_LOSING,
};

struct role {
	enum role_state state;
	struct store_module_options store; /* for each connection */
	const struct store_module *module;
	struct controller *waiting; /* not of an owner */
	struct controller *giver;   /* the store that is served came from it; it lives as long */
	struct peer *peer;          /* to the other one; NULL: there is none */
	struct peer_scsi *peer_scsi;
	bool lost_early; /* the store was lost before it was served */
	struct reactor_timer losing;
	unsigned retired; /* what was served before and is not gone yet */
	bool end_waits_for_retired;
	struct reactor_timer stop_waiting;
};

/* Before the reactor runs: the array into d->store, or, while another umbrad owns it, what its catalogue says. */
int role_open(struct daemon *d, const struct store_module *module, const struct store_module_options *store,
	struct fault *fault);
/* d->scsi carries out what the other one passes on, if this one owns the array. */
void role_serves(struct daemon *d);
void role_serves_no_more(struct daemon *d); /* d->scsi ends */
/* For the store's options, of any store in Ceph: another umbrad has the array, or may have it. */
void role_fenced(void *arg, const char *reason);
/* What is served, or is about to be, only shows what another umbrad's array has. */
bool role_stands_by(const struct daemon *d);
/* For the management: ctx is the daemon. */
void role_view(void *ctx, struct management_controller *out);

/* Steps of the end (main.c): true: daemon_step_done comes. */
bool role_stop_waiting(struct daemon *d);
bool role_wait_for_retired(struct daemon *d);
void role_destroy(struct daemon *d); /* the reactor has ended */

#endif
