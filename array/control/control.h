/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control layer: who asks what of the array. Two doors: the in-band mailboxes behind SECURITY PROTOCOL
 * IN/OUT (hosts; proto/) and the management socket (administrators; JSON-RPC 2.0 on a UNIX socket).
 */
#ifndef UMBRA_CONTROL_H
#define UMBRA_CONTROL_H

#include "array/copyset/array.h"

struct reactor;
struct scsi_inband;

/* ---- in-band ---- */
struct inband;

struct inband_options {
	struct array *array;
	struct reactor *reactor;
	unsigned mailboxes_per_initiator; /* 0: 64 */
	unsigned mailboxes_max;           /* all initiators together, 0: 4096 */
};
int inband_create(const struct inband_options *options, struct inband **out);
void inband_destroy(struct inband *b);

/* The functions for struct scsi_inband (array/scsi/scsi.h), with ctx = the struct inband. control/ does not
 * include scsi/: main.c wires them. */
int inband_out(void *ctx, struct array_nexus *nexus, struct lun *lun, uint16_t slot, const uint8_t *data,
	size_t len);
void *inband_in(void *ctx, struct array_nexus *nexus, uint16_t slot, uint8_t *buf, size_t cap,
	void (*done)(void *arg, long result), void *arg);
void inband_cancel(void *ctx, void *token);

/* ---- management socket ---- */
struct management;

struct management_options {
	struct array *array;
	struct reactor *reactor;
	const char *socket_path;
	unsigned connections_max; /* 0: 32 */
};
/* -EADDRINUSE: another daemon answers there; a socket that nobody serves is replaced. */
int management_create(const struct management_options *options, struct management **out, struct fault *fault);
void management_destroy(struct management *m);

#endif
