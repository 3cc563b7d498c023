/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this umbrad is of two controllers: the one that owns the array, or the one that stands by. Which of the two, the store's
 * module decides (controller.h waits for it); here is what changes with it.
 */
#ifndef UMBRA_ROLE_H
#define UMBRA_ROLE_H

#include <stdatomic.h>
#include "array/control/control.h"
#include "array/pair.h"
#include "array/peer.h"
#include "array/reactor/reactor.h"
#include "array/scsi/scsi.h"
#include "array/store/module.h"
#include "array/store/snapshot.h"
#include "array/store/wire.h"

struct daemon;
struct controller;
struct peer_scsi;

enum role_state {
	ROLE_OWNER, /* also of an array that has no other controller */
	ROLE_STANDBY,
	/* It was the owner, and what it served answers nothing any more: until the catalogue has been read over a new connection
	 * to Ceph. */
	ROLE_LOSING,
	/* It gives the array back, or has, and nobody has it yet. */
	ROLE_LEAVING,
};

/* Giving the array to the other controller. */
struct role_move {
	bool waits, failed, force; /* waits: for what is under way, as the owner */
	bool asked;                /* this one stands by, and the owner is moving it here, or was asked to */
	char text[300];            /* what it waits for, or why it failed */
	struct snapshot *seen;     /* of the catalogue, as the controller that stands by will show it */
	uint64_t until_ns, free_ns, epoch;
	atomic_bool hold; /* the array is not for this one */
	struct reactor_timer timer;
};

/* A move that was asked for here, where the array is not: what the owner says of it. */
struct role_ask {
	struct peer_call call;
	bool calls; /* under way */
	uint8_t bytes[PEER_MOVE_BYTES];
	struct management_move *request; /* until the owner has said whether it does; NULL: it has */
	uint64_t until_ns;
	struct reactor_timer timer;
};

struct role {
	enum role_state state;
	struct pair *pair;                 /* NULL: there is no other controller */
	struct store_module_options store; /* for each connection */
	const struct store_module *module;
	struct controller *waiting; /* not of an owner, but for one that is about to leave */
	struct controller *giver;   /* the store that is served came from it; it lives as long */
	struct peer *peer;          /* to the other one; NULL: there is none */
	struct peer_scsi *peer_scsi;
	struct store_wire *wire_in_use;  /* that the peer has; or NULL */
	struct store_wire *wire_to_come; /* of `waiting`, while the owner's is in use */
	bool lost_early;                 /* what `waiting` has got was lost before it was served */
	struct reactor_timer losing;
	struct role_move move;
	struct role_ask ask;
	uint64_t takes, losses;
	bool other_lived, other_known; /* as was told */
	char problem_told[256];
	unsigned retired; /* what was served before and is not gone yet */
	unsigned lost;    /* of these, and of what is served: what was lost */
	bool end_waits_for_retired;
	bool leaves_behind; /* something of what was lost stays until the process ends */
	struct reactor_timer stop_waiting;
};

/* Before the reactor runs: the array into d->store, or, while another umbrad owns it, what its catalogue says. */
int role_open(struct daemon *d, const struct store_module *module, const struct store_module_options *store,
	struct fault *fault);
/* d->scsi carries out what the other one passes on, if this one owns the array. */
void role_serves(struct daemon *d);
void role_serves_no_more(struct daemon *d); /* d->scsi ends */
/* What is served, or is about to be, only shows what another umbrad's array has. */
bool role_stands_by(const struct daemon *d);
bool role_owns_still(const struct daemon *d); /* the array, and be it that it is giving it back */
void role_groups(struct daemon *d, struct scsi_port_group groups[2]); /* of both controllers */
int role_listens(struct daemon *d);                                   /* d->iscsi is there */
void role_reload(struct daemon *d);                                   /* the configuration was */

/* For the management: ctx is the daemon. */
void role_view(void *ctx, struct management_controllers *out);
/* Begins to give the array to the controller that does not own it: waits for what is under way, for MOVE_WAIT_MS at most, while hosts
 * are served as before. The one that stands by asks the owner to. force: copy sets that are being made are not waited for, and are
 * not there afterwards. */
void role_move(void *ctx, bool force, struct management_move *m);

void role_end(struct daemon *d); /* umbrad ends: nothing of this begins any more */
/* Steps of the end (main.c): true: daemon_step_done comes. */
bool role_stop_waiting(struct daemon *d);
bool role_wait_for_retired(struct daemon *d);
void role_destroy(struct daemon *d); /* the reactor has ended */

#endif
