/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The iSCSI target (RFC 7143): portals, connections, login with CHAP, PDUs with digests, data transfer,
 * task management. ERL 0, one connection a session, several sessions a host.
 */
#ifndef UMBRA_ISCSI_H
#define UMBRA_ISCSI_H

#include "array/scsi/scsi.h"

struct reactor;
struct iscsi_server;

#define ISCSI_REDIRECT_MAX_BYTES 255

struct iscsi_portal {
	char address[64]; /* "127.0.0.1", "::", … */
	uint16_t port;    /* 0: any free one; the real one is told by iscsi_server_port */
	uint16_t group;   /* portal group tag, which is the SCSI target port's number too; 0: 1 */
	char redirect[ISCSI_REDIRECT_MAX_BYTES + 1]; /* logins are sent to this "host:port"; empty: served */
	bool moved;                                  /* for good */
};

/* Every bound of the transport; 0: the default in brackets. */
struct iscsi_options {
	struct reactor *reactor;
	struct array *array;
	struct scsi_target *scsi;
	const char *target_name;
	const struct iscsi_portal *portals;
	unsigned portal_count;
	unsigned connections_max;        /* [512] */
	unsigned sessions_max;           /* [256] */
	unsigned sessions_per_host;      /* [32] */
	unsigned connections_per_source; /* before login is complete [32] */
	unsigned tasks_max;              /* outstanding commands a session [128] */
	uint64_t buffer_bytes_max;       /* data buffers of all sessions [256 MiB] */
	uint32_t login_timeout_ms;       /* [15000] */
	uint32_t nop_interval_ms;        /* of silence, docs/umbrad.conf.5, before a ping [15000] */
	uint32_t nop_timeout_ms;         /* [30000] */
	uint32_t logout_timeout_ms;      /* for an initiator that was asked to log out [5000] */
	uint32_t max_recv_segment_bytes; /* what we declare [262144] */
	uint32_t max_burst_bytes;        /* [1048576] */
	uint32_t first_burst_bytes;      /* [262144] */
	bool discovery_needs_chap;
};
/* Binds and listens. -EADDRINUSE, -EADDRNOTAVAIL … with a text. */
int iscsi_server_create(const struct iscsi_options *options, struct iscsi_server **out, struct fault *fault);
/* Takes the limits of connections and sessions, the times, and discovery_needs_chap, for what comes from now on. */
void iscsi_server_reload(struct iscsi_server *s, const struct iscsi_options *options);
uint16_t iscsi_server_port(const struct iscsi_server *s, unsigned portal);
/* From now on sessions are another SCSI target's, over that array: the ones that there are keep their connections and
 * go on there (scsi_nexus_rehome); whose initiator is no host's there is ended. The old target has no nexus any more when
 * what ran is over and the connections on their way out are gone: scsi_target_stop says when. */
void iscsi_server_rehome(struct iscsi_server *s, struct array *array, struct scsi_target *scsi);
/* A portal of another controller of this target, as SendTargets tells it after our own. */
struct iscsi_peer_portal {
	char address[64]; /* one that hosts can reach, no wildcard */
	uint16_t port, group;
};
#define ISCSI_PEER_PORTALS_MAX 48
/* Instead of those before. -EINVAL: an address that is none, a port or group of 0, or too many; then nothing changes. */
int iscsi_server_set_peers(struct iscsi_server *s, const struct iscsi_peer_portal *peers, unsigned count);
/* Accepts no more, asks initiators to log out, ends all connections; then `done`. */
void iscsi_server_stop(struct iscsi_server *s, void (*done)(void *arg), void *arg);
void iscsi_server_destroy(struct iscsi_server *s); /* after done */

struct iscsi_session_view {
	char initiator[UP_NAME_MAX_BYTES + 1];
	char peer[80]; /* "address:port" */
	bool authenticated, header_digest, data_digest;
	uint64_t commands, bytes_in, bytes_out;
	uint64_t since_unix_ms;
};
/* Asks this initiator's sessions (NULL: all sessions) to log out; those that do not are ended after
 * logout_timeout_ms. Returns how many were asked. */
unsigned iscsi_session_logout(struct iscsi_server *s, const char *initiator);
/* Sessions that are logged in; index 0 … until false. */
bool iscsi_session_view(const struct iscsi_server *s, unsigned index, struct iscsi_session_view *out);

#endif
