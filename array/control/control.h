/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control layer: who asks what of the array. Two doors: the in-band mailboxes behind SECURITY PROTOCOL
 * IN/OUT (hosts; proto/) and the management socket (administrators; JSON-RPC 2.0 on a UNIX socket).
 */
#ifndef UMBRA_CONTROL_H
#define UMBRA_CONTROL_H

#include <sys/types.h>
#include "array/model/array.h"

struct reactor;
struct scsi_inband;

/* ---- in-band ---- */
struct inband;

struct inband_options {
	struct array *array;
	struct reactor *reactor;
	unsigned mailboxes_per_host; /* 0: 64 */
	unsigned mailboxes_max;      /* all hosts together, 0: 1024 */
	unsigned wait_ms;            /* before IN says that the request runs still, 0: 1000 */
};
int inband_create(const struct inband_options *options, struct inband **out);
/* `done` (perhaps from inside) when no request runs any more. No nexus is left that could send another. */
void inband_stop(struct inband *b, void (*done)(void *arg), void *arg);
void inband_destroy(struct inband *b); /* after done */

/* The functions for struct scsi_inband (array/scsi/scsi.h), with ctx = the struct inband. control/ does not
 * include scsi/: main.c wires them. */
int inband_out(
	void *ctx, struct host_nexus *nexus, struct lun *lun, uint16_t slot, const uint8_t *data, size_t len);
void *inband_in(void *ctx, struct host_nexus *nexus, uint16_t slot, uint8_t *buf, size_t cap,
	void (*done)(void *arg, long result), void *arg);
void inband_cancel(void *ctx, void *token);

/* ---- management socket ---- */
struct management;

/* What the transport shows of itself; main.c wires it, for control/ does not include iscsi/. */
struct management_session {
	char initiator[UP_NAME_MAX_BYTES + 1];
	char peer[80]; /* "address:port" */
	bool authenticated, header_digest, data_digest;
	uint64_t commands, bytes_in, bytes_out;
	uint64_t since_unix_ms;
};
struct management_portal {
	char address[64];
	uint16_t port, group;
	char redirect[300]; /* "address, permanently", empty: it serves */
};
/* One of two controllers. Of the other one, what it has left in Ceph. */
#define MANAGEMENT_CONTROLLER_PORTALS_MAX 16
struct management_controller {
	unsigned number;
	bool known, lives;
	const char *role; /* "owner", "standby", "leaving" (on its way there), "ended" (in order), "gone" */
	char machine[80], version[24], target_name[UP_NAME_MAX_BYTES + 1];
	uint64_t since_unix_ms; /* in its role; 0: it is not known */
	uint64_t seen_ms;       /* so long ago it was seen to live; UINT64_MAX: it was not */
	unsigned portal_count;
	struct management_portal portals[MANAGEMENT_CONTROLLER_PORTALS_MAX];
};
struct management_controllers {
	struct management_controller self, other;
	bool owns;         /* this one, the array; else it stands by */
	char owner[80];    /* the machine that does, as the catalogue says; "": this one, or nobody */
	char problem[256]; /* the two do not fit together; "": they do */
	uint64_t epoch;    /* of the owner's lease; 0: it is not known */
	uint64_t lease_ms; /* so long ago it was renewed; UINT64_MAX: it is not known */
	uint64_t takes,
		losses; /* how often this umbrad became the owner since it started, and how often it was replaced */
	const char *move;    /* "none", "waits" (for what is under way), "leaves", "failed" */
	char move_text[300]; /* what it waits for, or why it failed */
};

/* A move of the array that somebody wants. */
struct management_move {
	/* Comes once, perhaps from inside: 0: it has begun; else why it does not, in words. */
	void (*done)(struct management_move *m, int err, const struct fault *fault);
};

struct management_transport {
	void *ctx;
	void (*controllers)(void *ctx, struct management_controllers *out); /* NULL: there is no other one */
	/* Gives the array to the controller that does not own it; begins to. */
	void (*move)(void *ctx, bool force, struct management_move *m);
	const char *target_name;
	/* Both: index 0 … until false. */
	bool (*session)(void *ctx, unsigned index, struct management_session *out);
	bool (*portal)(void *ctx, unsigned index, struct management_portal *out);
	/* Asks this initiator's sessions (NULL: all) to log out. Returns how many were asked. */
	unsigned (*logout)(void *ctx, const char *initiator);
};

struct management_options {
	struct array *array;
	struct reactor *reactor;
	const char *socket_path;
	const char *pool_path;                        /* shown in the status; may be NULL */
	const char *group;                            /* NULL: root and the daemon's own user only */
	unsigned connections_max;                     /* 0: 32 */
	const struct management_transport *transport; /* may be NULL; outlives the management */
};
/* -EADDRINUSE: another daemon answers there; a socket that nobody serves is replaced. */
int management_find_group(const char *name, gid_t *gid, struct fault *fault); /* of options.group; -ENOENT */
int management_create(const struct management_options *options, struct management **out, struct fault *fault);
/* Calls that begin from now on are about this array. Those under way still have the one before. */
void management_set_array(struct management *m, struct array *array);
bool management_is_idle(const struct management *m); /* no call is under way */
/* For who connects from now on. 0: 32. */
void management_reload(struct management *m, unsigned connections_max);
/* Accepts no more, ends the connections, removes the socket; `done` (perhaps from inside) when no call runs.
 */
void management_stop(struct management *m, void (*done)(void *arg), void *arg);
void management_destroy(struct management *m); /* after done */

#endif
