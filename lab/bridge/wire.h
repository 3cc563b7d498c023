/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the SCSI port driver and the bridge say to each other over TCP: one request, one reply, in turn, on
 * each connection. Pure C without an operating system: compiled into the driver and the bridge.
 *
 * A frame is a 32-bit length (of what follows it) and a body; all integers big-endian. A body begins with
 * version (1), verb (1), flags (2), tag (4); the rest depends on the verb, see wire.c.
 *
 * Invariants:
 * - Decoding never reads past the bytes given, never allocates, and refuses every length that does not fit
 *   exactly: a body with bytes left over is an error.
 * - Decoded pointers (data, sense, LUN entries) are borrowed from the buffer that was decoded.
 */
#ifndef UMBRA_LAB_WIRE_H
#define UMBRA_LAB_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LABW_VERSION         1
#define LABW_LENGTH_BYTES    4
#define LABW_DATA_MAX_BYTES  (1024u * 1024u)
#define LABW_HEAD_MAX_BYTES  512u /* length word and body without data, of any request or EXEC reply */
#define LABW_CDB_MAX_BYTES   16u
#define LABW_SENSE_MAX_BYTES 252u
#define LABW_INQUIRY_BYTES   96u
#define LABW_MAX_LUNS        256u
#define LABW_LUN_BYTES       (24u + LABW_INQUIRY_BYTES)
#define LABW_BODY_MAX_BYTES  (LABW_DATA_MAX_BYTES + LABW_HEAD_MAX_BYTES)

enum labw_verb {
	LABW_LIST = 1,   /* the LUNs found by the last scan (waits for the first one) */
	LABW_RESCAN = 2, /* scans now, then as LIST */
	LABW_EXEC = 3,   /* one SCSI command */
	LABW_RESET = 4,  /* logical unit reset */
	LABW_STATUS = 5, /* counters, for people and tests */
	LABW_FAULT = 6,  /* arms a fault */
	LABW_VERB_COUNT
};

/* Request flags of EXEC. */
#define LABW_F_CLASS 1u /* as a class driver: repeat after unit attentions and after a lost session */

enum labw_result {
	LABW_OK = 0,            /* EXEC: the target answered; look at the SCSI status */
	LABW_BAD_REQUEST = 1,   /* the frame makes no sense */
	LABW_NOT_CONNECTED = 2, /* no session, and none came back within the link-down time */
	LABW_LOST = 3,          /* the session ended while the command was under way: outcome unknown */
	LABW_TIMEOUT = 4,       /* the command's own time-out; the LUN is being reset */
	LABW_BUSY = 5,          /* the bridge's bounds are reached */
	LABW_RESULT_COUNT
};

enum labw_direction {
	LABW_NONE = 0,
	LABW_OUT = 1,
	LABW_IN = 2
};

enum labw_fault_kind {
	LABW_FAULT_CLEAR = 0,       /* forget all armed faults */
	LABW_FAULT_DELAY = 1,       /* send the command value_ms later */
	LABW_FAULT_DELAY_REPLY = 2, /* send it at once, answer value_ms later than the target */
	LABW_FAULT_SILENT = 3,      /* send it, never answer: it will be late, or released */
	LABW_FAULT_DROP_BEFORE = 4, /* drop the session instead of sending it */
	LABW_FAULT_DROP_AFTER = 5,  /* send it, drop the session when the target has answered */
	LABW_FAULT_DROP_NOW = 6,    /* drop the session at once, whatever runs */
	LABW_FAULT_DOWN_NOW = 7,    /* drop the session and stay away for value_ms */
	LABW_FAULT_RELEASE =
		8, /* what is delayed goes on now, what is silent is lost, a session that stays away comes back */
	LABW_FAULT_KIND_COUNT
};

#define LABW_ANY_OPCODE 0x100u
#define LABW_ANY_LUN    0xFFFFu
#define LABW_HOLD_MS    3600000u /* of a delay: until it is released; no time-out counts meanwhile */

struct labw_fault {
	uint8_t kind;    /* enum labw_fault_kind */
	uint16_t opcode; /* LABW_ANY_OPCODE: any */
	uint16_t lun;    /* LABW_ANY_LUN: any */
	uint16_t count;  /* how many commands it hits, 0: until cleared */
	uint16_t skip;   /* so many matching commands pass first */
	uint32_t value_ms;
};

struct labw_request {
	uint8_t verb; /* enum labw_verb */
	uint16_t flags;
	uint32_t tag;
	/* EXEC, RESET */
	uint16_t lun;
	uint32_t timeout_ms;
	/* EXEC */
	uint8_t direction; /* enum labw_direction */
	uint8_t cdb_bytes; /* 1 … LABW_CDB_MAX_BYTES */
	uint8_t cdb[LABW_CDB_MAX_BYTES];
	uint32_t data_bytes; /* OUT: the length of data; IN: at most this much comes back; NONE: 0 */
	const uint8_t *data; /* OUT only, borrowed */
	/* FAULT */
	struct labw_fault fault;
};

/* One LUN of a scan. */
struct labw_lun {
	uint16_t lun;
	uint16_t inquiry_bytes; /* 36 … LABW_INQUIRY_BYTES */
	uint32_t block_bytes;   /* 0: not a block device, or not ready */
	uint64_t blocks;
	uint64_t identity; /* a hash of VPD page 83h: another LUN under the same number is seen */
	uint8_t inquiry[LABW_INQUIRY_BYTES];
};

struct labw_status {
	uint32_t connected;     /* 1: the session is up */
	uint32_t sessions;      /* logins that succeeded */
	uint32_t rescan_wanted; /* 3F/0E seen since the last scan */
	uint32_t commands;
	uint32_t timeouts;
	uint32_t lost;
	uint32_t faults;  /* commands that a fault hit */
	uint32_t held;    /* commands that a fault delays now */
	uint32_t resets;  /* of a LUN, of the target, of the session, after a command that was late */
	uint32_t aborted; /* other commands that a reset ended, this host's or another's */
};

struct labw_reply {
	uint8_t verb;
	uint16_t flags;
	uint32_t tag;
	uint32_t result; /* enum labw_result; with an error nothing else is set */
	/* EXEC */
	uint8_t scsi_status;
	uint32_t residual_bytes; /* of a transfer that was shorter than asked */
	uint32_t sense_bytes;
	const uint8_t *sense;
	uint32_t data_bytes;
	const uint8_t *data;
	/* LIST, RESCAN: lun_count entries of LABW_LUN_BYTES, see labw_lun_get */
	uint32_t lun_count;
	const uint8_t *lun_entries;
	/* STATUS */
	struct labw_status status;
};

/* Length of the body that a length word announces, or 0 when no frame may have it. */
size_t labw_body_bytes(const uint8_t length_word[LABW_LENGTH_BYTES]);

/* Writes length word and body up to, not including, the data (EXEC OUT): the caller sends req->data after it.
 * Returns the bytes written (≤ LABW_HEAD_MAX_BYTES), 0 when the request is not valid. */
size_t labw_request_head(const struct labw_request *req, uint8_t head[LABW_HEAD_MAX_BYTES]);
bool labw_request_decode(struct labw_request *req, const uint8_t *body, size_t len_bytes);

/* As above for a reply: EXEC's data and LIST's entries are sent by the caller after the head. */
size_t labw_reply_head(const struct labw_reply *rep, uint8_t head[LABW_HEAD_MAX_BYTES]);
bool labw_reply_decode(struct labw_reply *rep, const uint8_t *body, size_t len_bytes);

void labw_lun_put(const struct labw_lun *lun, uint8_t entry[LABW_LUN_BYTES]);
/* False when the entry makes no sense. */
bool labw_lun_get(struct labw_lun *lun, const uint8_t entry[LABW_LUN_BYTES]);

#endif
