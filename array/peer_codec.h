/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The messages between the controllers of an array (docs/protocol.md, "Between controllers"): their bytes, and nothing of what is
 * done with them. Pure functions. What is decoded comes from anybody who may write to the store: everything is bounded and
 * checked here, and points into the bytes that it was decoded from.
 *
 * Integers are big-endian. A message:
 *   0  "UMPC"    4  version 2    5  kind    6  topic (16 bits)
 *   8  epoch of the owner        16  caller    24  number of the call    32  floor, or (an answer) the error
 *   40 bytes of the payload (32 bits)    44  CRC-32C of all bytes, with these four as zero    48  clock
 *   56 the payload
 */
#ifndef UMBRA_PEER_CODEC_H
#define UMBRA_PEER_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "array/scsi/scsi.h"
#include "array/store/wire.h"

#define PEER_HEADER_BYTES      56u
#define PEER_PAYLOAD_MAX_BYTES (STORE_WIRE_MAX_BYTES - PEER_HEADER_BYTES)
/* Of a SCSI command's data, either way; none that is passed on has more but by mistake. */
#define PEER_DATA_MAX_BYTES (128u << 10)

enum peer_kind {
	PEER_CALL = 1,
	PEER_ANSWER = 2
};

enum peer_topic {
	PEER_PING = 1,       /* no payload: the caller is still there */
	PEER_SCSI = 2,       /* a command of a host that is logged in at the caller */
	PEER_NEXUS_LOST = 3, /* a host's session there has ended */
	PEER_MOVE = 4,       /* the array is to be moved to the caller, or how far that is */
	PEER_MANAGE = 5,     /* a task management function of such a host */
	PEER_TOPICS = 16     /* all are below */
};

struct peer_message {
	enum peer_kind kind;
	uint16_t topic;
	uint64_t epoch;
	uint64_t caller; /* drawn at random by each process */
	uint64_t number; /* rises from 1 */
	uint64_t floor;  /* PEER_CALL: all below are over */
	/* In ms, of who is asked. PEER_CALL: not to be begun afterwards, 0: not known; PEER_ANSWER: what it shows. */
	uint64_t clock;
	int err; /* PEER_ANSWER: 0 or a negative errno, and no payload then */
	const uint8_t *data;
	uint32_t len;
};

/* The bytes written; 0: they do not fit into `cap`. */
size_t peer_encode(const struct peer_message *m, uint8_t *out, size_t cap);
bool peer_decode(const uint8_t *in, size_t len, struct peer_message *out);

/* PEER_SCSI, without data PEER_MANAGE (in place of the CDB a byte, the function's number; its answer has no payload), and, without CDB and
 * data, PEER_NEXUS_LOST:
 *   0 ISID (6)    6 port (16 bits)    8 flags (1: authenticated)    9 direction (0 none, 1 in, 2 out)
 *   10 bytes of the CDB    11 bytes of the initiator's name    12 bytes of the data, or room for it (32 bits)
 *   16 LUN id (16)    32 CDB, name, data (direction 2 only)
 * data of `r` is not written to, nor taken: *data points to what was sent. */
size_t peer_scsi_encode(const struct scsi_remote *r, uint8_t *out, size_t cap);
bool peer_scsi_decode(const uint8_t *in, size_t len, struct scsi_remote *r, const uint8_t **data);
#define PEER_SCSI_MAX_BYTES (32u + SCSI_CDB_MAX_BYTES + UP_NAME_MAX_BYTES + PEER_DATA_MAX_BYTES)

/* The answer:  0 status    1 bytes of sense    2 zero (2)    4 bytes of data (32 bits)    8 sense, data */
size_t peer_scsi_answer_encode(const struct scsi_remote *r, uint8_t *out, size_t cap);
/* Sets status, sense, data and data_len of r, whose data_len is the room; more than that makes it a bad answer. */
bool peer_scsi_answer_decode(const uint8_t *in, size_t len, struct scsi_remote *r);
#define PEER_SCSI_ANSWER_MAX_BYTES (8u + SCSI_SENSE_MAX_BYTES + PEER_DATA_MAX_BYTES)

/* PEER_MOVE:  0 what (1 begin, 2 look)    1 flags (1: by force, of begin) */
enum peer_move_what {
	PEER_MOVE_BEGIN = 1,
	PEER_MOVE_LOOK = 2
};
#define PEER_MOVE_BYTES 2u
void peer_move_encode(enum peer_move_what what, bool force, uint8_t out[PEER_MOVE_BYTES]);
bool peer_move_decode(const uint8_t *in, size_t len, enum peer_move_what *what, bool *force);

/* Its answer:  0 state    1 zero    2 errno for which it does not begin (16 bits)    4 id of the words (32 bits)    8 the words */
enum peer_move_state {
	PEER_MOVE_NONE = 0, /* none is under way */
	PEER_MOVE_WAITS = 1,
	PEER_MOVE_FAILED = 2
};
struct peer_move_answer {
	enum peer_move_state state;
	int err;          /* 0, or a negative errno */
	uint32_t message; /* id of the words (array/util/message.h), 0: none */
	char text[300];   /* what it waits for, or why it failed, or does not begin */
};
#define PEER_MOVE_ANSWER_MAX_BYTES (8u + 299u)
size_t peer_move_answer_encode(const struct peer_move_answer *a, uint8_t out[PEER_MOVE_ANSWER_MAX_BYTES]);
/* Of the words what is no printable ASCII comes out as a question mark. */
bool peer_move_answer_decode(const uint8_t *in, size_t len, struct peer_move_answer *a);

#endif
