/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of a role's changes: what role.c, role_move.c and role_ask.c have of each other. */
#ifndef UMBRA_ROLE_MOVE_H
#define UMBRA_ROLE_MOVE_H

#include "array/role.h"

/* ---- role.c ---- */
void role_set_state(struct daemon *d, enum role_state state); /* the other controller is told */
void role_tell_hosts(struct daemon *d);                       /* of the state */
int role_wait(struct daemon *d);                              /* for the array, from now on */
/* Serves from the store; what was served before goes, then `gone`. An error: all is as it was, and the store is the caller's. */
int role_serve(struct daemon *d, struct store *store, enum role_state state, void (*gone)(void *arg, int err),
	struct fault *fault);
void role_take_wire(struct daemon *d); /* of the store that waits */
void role_retired_gone(void *arg, int err);
void role_snapshot_closed(void *arg, int err); /* of a snapshot that was not served */

/* ---- role_move.c ---- */
/* Begins a move, at the owner; else says why not. asked: by the other one, which is there, then. */
int role_move_begin(struct daemon *d, bool force, bool asked, struct fault *fault);
bool role_may_take(void *arg);              /* on the waiting controller's thread */
void role_move_came_back(struct daemon *d); /* this one owns the array, whatever a move wanted */
void role_move_lost(struct daemon *d);      /* another one does */
void role_move_stop(struct daemon *d);      /* umbrad ends */

/* ---- role_ask.c ---- */
/* The same, at the one that stands by. */
void role_ask(struct daemon *d, bool force, struct management_move *request);
void role_ask_serve(struct daemon *d); /* what the other one asks for, from now on */
void role_ask_owns(struct daemon *d);  /* this one owns the array now */
void role_ask_stop(struct daemon *d);  /* umbrad ends */

#endif
