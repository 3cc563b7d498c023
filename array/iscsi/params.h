/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operational parameters of a session and how they are negotiated (RFC 7143 chapter 13). Pure: a table of
 * keys, each with its result function. The target only answers; the one key that it declares by itself is
 * MaxRecvDataSegmentLength.
 */
#ifndef UMBRA_ISCSI_PARAMS_H
#define UMBRA_ISCSI_PARAMS_H

#include <stdbool.h>
#include <stdint.h>
#include "array/iscsi/text.h"

struct iscsi_params {
	uint32_t max_send_segment;       /* the initiator's MaxRecvDataSegmentLength, bytes */
	uint32_t max_recv_segment;       /* ours: what we declared, bytes */
	uint32_t max_burst, first_burst; /* bytes */
	uint32_t max_outstanding_r2t;
	uint32_t max_connections, error_recovery_level;
	uint32_t time2wait, time2retain; /* seconds */
	uint32_t protocol_level;
	uint32_t initial_r2t, immediate_data; /* booleans */
	uint32_t data_pdu_in_order, data_sequence_in_order;
	uint32_t header_digest, data_digest; /* 0 None, 1 CRC32C */
};

/* What we would like: bounds of the answers. */
struct iscsi_wishes {
	uint32_t max_recv_segment, max_burst, first_burst, max_outstanding_r2t;
};

/* A negotiation under way. */
struct iscsi_negotiation {
	struct iscsi_params params;
	struct iscsi_wishes wishes;
	uint64_t seen;              /* keys offered so far, by table index */
	bool declared;              /* we have declared MaxRecvDataSegmentLength */
	uint32_t first_burst_offer; /* waits for the request's other keys; 0: none */
	bool first_burst_told;      /* an answer was given: it stays true */
};

/* The values that hold when a key is never offered. */
void iscsi_negotiation_init(struct iscsi_negotiation *n, const struct iscsi_wishes *wishes);
/* Answers one operational key of a login. 0: answered, perhaps with Reject, or FirstBurstLength, which is answered at
 * the request's end. -EALREADY: the key was offered before in this login. -ENOENT: no operational key. */
int iscsi_negotiate(
	struct iscsi_negotiation *n, const char *key, const char *value, struct iscsi_text_out *out);
/* All keys of a login request were answered but FirstBurstLength: it depends on MaxBurstLength, in whatever order the
 * two came (13.14). */
void iscsi_negotiate_end(struct iscsi_negotiation *n, struct iscsi_text_out *out);
/* Has a known key come before in this negotiation? seen: 0 at its beginning. */
bool iscsi_key_repeated(uint64_t *seen, const char *key);
/* The same in the full feature phase, where only MaxRecvDataSegmentLength may change. */
int iscsi_renegotiate(
	struct iscsi_params *params, const char *key, const char *value, struct iscsi_text_out *out);
/* Declares what is ours to declare, once. */
void iscsi_negotiation_declare(struct iscsi_negotiation *n, struct iscsi_text_out *out);

#endif
