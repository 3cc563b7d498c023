/* SPDX-License-Identifier: Apache-2.0 */
/*
 * iSCSI PDUs on the wire (RFC 7143 chapter 11): opcodes, field offsets and flags of the 48-byte basic header
 * segment. Pure. Everything is big-endian except digests; fields are read with array/util/bytes.h at the
 * offsets below.
 */
#ifndef UMBRA_ISCSI_PDU_H
#define UMBRA_ISCSI_PDU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "array/util/bytes.h"

#define ISCSI_BHS_BYTES        48
#define ISCSI_AHS_MAX_BYTES    (255 * 4)
#define ISCSI_DIGEST_BYTES     4
#define ISCSI_TAG_RESERVED     0xffffffffu
#define ISCSI_LOGIN_TEXT_BYTES 8192 /* MaxRecvDataSegmentLength while logging in, both ways */

#define ISCSI_IMMEDIATE   0x40 /* byte 0 */
#define ISCSI_OPCODE_MASK 0x3f

enum iscsi_opcode {
	ISCSI_NOP_OUT = 0x00,
	ISCSI_SCSI_COMMAND = 0x01,
	ISCSI_TASK_MANAGEMENT = 0x02,
	ISCSI_LOGIN = 0x03,
	ISCSI_TEXT = 0x04,
	ISCSI_DATA_OUT = 0x05,
	ISCSI_LOGOUT = 0x06,
	ISCSI_SNACK = 0x10,
	ISCSI_NOP_IN = 0x20,
	ISCSI_SCSI_RESPONSE = 0x21,
	ISCSI_TASK_MANAGEMENT_RESPONSE = 0x22,
	ISCSI_LOGIN_RESPONSE = 0x23,
	ISCSI_TEXT_RESPONSE = 0x24,
	ISCSI_DATA_IN = 0x25,
	ISCSI_LOGOUT_RESPONSE = 0x26,
	ISCSI_R2T = 0x31,
	ISCSI_ASYNC = 0x32,
	ISCSI_REJECT = 0x3f,
};

/* byte 1, by PDU */
#define ISCSI_FINAL          0x80 /* all that have an F bit; Login: T */
#define ISCSI_CONTINUE       0x40 /* Text, Login: C */
#define ISCSI_COMMAND_READ   0x40
#define ISCSI_COMMAND_WRITE  0x20
#define ISCSI_ATTRIBUTE_MASK 0x07
#define ISCSI_OVERFLOW       0x04 /* SCSI Response, Data-In */
#define ISCSI_UNDERFLOW      0x02
#define ISCSI_STATUS_PRESENT 0x01 /* Data-In: S */

/* offsets in the BHS */
enum {
	ISCSI_AT_LUN = 8,
	ISCSI_AT_ISID = 8,
	ISCSI_AT_TSIH = 14,
	ISCSI_AT_ITT = 16,
	ISCSI_AT_TTT = 20,
	ISCSI_AT_CID = 20,            /* Login, Logout: 16 bits */
	ISCSI_AT_EXPECTED_LEN = 20,   /* SCSI Command */
	ISCSI_AT_REFERENCED_TAG = 20, /* Task Management */
	ISCSI_AT_CMDSN = 24,
	ISCSI_AT_EXPSTATSN = 28,
	ISCSI_AT_CDB = 32,
	ISCSI_AT_REF_CMDSN = 32,
	ISCSI_AT_STATSN = 24, /* to the initiator */
	ISCSI_AT_EXPCMDSN = 28,
	ISCSI_AT_MAXCMDSN = 32,
	ISCSI_AT_DATASN = 36, /* Data-In, Data-Out; R2T: R2TSN; SCSI Response: ExpDataSN */
	ISCSI_AT_STATUS_CLASS = 36,
	ISCSI_AT_ASYNC_EVENT = 36,
	ISCSI_AT_OFFSET = 40,
	ISCSI_AT_TIME2WAIT = 40,
	ISCSI_AT_TIME2RETAIN = 42,
	ISCSI_AT_ASYNC_PARAMETER1 = 38,
	ISCSI_AT_ASYNC_PARAMETER2 = 40,
	ISCSI_AT_ASYNC_PARAMETER3 = 42,
	ISCSI_AT_RESIDUAL = 44,
	ISCSI_AT_DESIRED_LEN = 44,
};

enum iscsi_reject {
	ISCSI_REJECT_DATA_DIGEST = 0x02,
	ISCSI_REJECT_SNACK = 0x03,
	ISCSI_REJECT_PROTOCOL = 0x04,
	ISCSI_REJECT_UNSUPPORTED = 0x05,
	ISCSI_REJECT_IMMEDIATE = 0x06,
	ISCSI_REJECT_TASK_IN_PROGRESS = 0x07,
	ISCSI_REJECT_INVALID_FIELD = 0x09,
	ISCSI_REJECT_NEGOTIATION = 0x0b, /* Negotiation Reset */
	ISCSI_REJECT_WAIT_LOGOUT = 0x0c,
};

/* Login status: class in the high byte, detail in the low one (RFC 7143 11.13.5) */
enum iscsi_login_status {
	ISCSI_LOGIN_SUCCESS = 0x0000,
	ISCSI_LOGIN_MOVED_FOR_NOW = 0x0101,
	ISCSI_LOGIN_MOVED = 0x0102,
	ISCSI_LOGIN_INITIATOR_ERROR = 0x0200,
	ISCSI_LOGIN_AUTH_FAILED = 0x0201,
	ISCSI_LOGIN_FORBIDDEN = 0x0202,
	ISCSI_LOGIN_NOT_FOUND = 0x0203,
	ISCSI_LOGIN_VERSION = 0x0205,
	ISCSI_LOGIN_TOO_MANY_CONNECTIONS = 0x0206,
	ISCSI_LOGIN_MISSING_PARAMETER = 0x0207,
	ISCSI_LOGIN_SESSION_TYPE = 0x0209,
	ISCSI_LOGIN_NO_SESSION = 0x020a,
	ISCSI_LOGIN_INVALID_REQUEST = 0x020b,
	ISCSI_LOGIN_TARGET_ERROR = 0x0300,
	ISCSI_LOGIN_UNAVAILABLE = 0x0301,
	ISCSI_LOGIN_NO_RESOURCES = 0x0302,
};

static inline bool iscsi_login_redirects(enum iscsi_login_status status)
{
	return status >> 8 == 1;
}

static inline enum iscsi_opcode iscsi_opcode(const uint8_t *bhs)
{
	return (enum iscsi_opcode)(bhs[0] & ISCSI_OPCODE_MASK);
}

static inline bool iscsi_immediate(const uint8_t *bhs)
{
	return bhs[0] & ISCSI_IMMEDIATE;
}

static inline uint32_t iscsi_ahs_len(const uint8_t *bhs)
{
	return bhs[4] * 4u;
}

static inline uint32_t iscsi_data_len(const uint8_t *bhs)
{
	return get_be24(bhs + 5);
}

/* 0 … 3 bytes that follow data_len bytes so that the next thing begins on a word. */
static inline uint32_t iscsi_pad_len(uint32_t data_len)
{
	return -data_len & 3;
}

/* a < b, a <= b in serial number arithmetic (RFC 1982) */
static inline bool iscsi_sn_lt(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) < 0;
}

static inline bool iscsi_sn_le(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) <= 0;
}

/* Zeroes the BHS and sets opcode, flags and ITT. */
void iscsi_pdu_init(uint8_t bhs[ISCSI_BHS_BYTES], enum iscsi_opcode opcode, uint8_t flags, uint32_t itt);
/* The whole CDB of a SCSI Command with its extension (AHS type 1). Returns its length, or 0 when the AHS is
 * malformed or the CDB longer than cap. header: BHS and AHS. */
unsigned iscsi_pdu_cdb(const uint8_t *header, uint8_t *cdb, unsigned cap);

/* CRC32C as iSCSI has it: digest_begin, digest_add …, digest_end gives the value that is on the wire,
 * little-endian (RFC 7143 13.1). */
#define ISCSI_DIGEST_BEGIN 0xffffffffu
uint32_t iscsi_digest_add(uint32_t crc, const void *data, size_t len);
void iscsi_digest_put(uint8_t wire[ISCSI_DIGEST_BYTES], uint32_t crc);
bool iscsi_digest_matches(const uint8_t wire[ISCSI_DIGEST_BYTES], uint32_t crc);

#endif
