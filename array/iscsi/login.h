/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The login phase of one connection (RFC 7143 chapter 6.3) as a state machine without I/O: a Login Request
 * goes in, a Login Response comes out. Who the initiator is and what it must prove comes from a vtable.
 *
 * The caller checks what needs other sessions (limits, reinstatement) and the SCSI nexus after DONE, before
 * it sends the last response.
 */
#ifndef UMBRA_ISCSI_LOGIN_H
#define UMBRA_ISCSI_LOGIN_H

#include "array/iscsi/chap.h"
#include "array/iscsi/params.h"
#include "array/iscsi/pdu.h"

#define ISCSI_NAME_MAX_BYTES 223

/* What the array knows of an initiator. */
struct iscsi_account {
	bool known;
	char user[256];          /* expected CHAP_N; empty: the initiator's name */
	char secret[256];        /* empty: no CHAP asked */
	char mutual_secret[256]; /* empty: we cannot prove ourselves */
};

struct iscsi_login_ops {
	/* initiator: lower case. Fills *out (which is zeroed). */
	void (*account)(void *ctx, const char *initiator, struct iscsi_account *out);
	/* 0 or a negative errno */
	int (*random)(void *ctx, uint8_t *bytes, size_t len);
};

struct iscsi_login_options {
	const struct iscsi_login_ops *ops;
	void *ctx;
	const char *target_name;
	uint16_t portal_group_tag;
	const char *redirect; /* "host:port" where hosts find the target now; NULL or empty: here */
	bool moved;           /* for good */
	bool discovery_needs_chap;
	struct iscsi_wishes wishes;
};

enum iscsi_chap_step {
	CHAP_NOT_STARTED,
	CHAP_WANT_ALGORITHM,
	CHAP_WANT_RESPONSE,
	CHAP_PASSED
};

struct iscsi_login {
	struct iscsi_login_options options;
	struct iscsi_negotiation negotiation;
	struct iscsi_account account;
	char initiator[ISCSI_NAME_MAX_BYTES + 1]; /* lower case */
	uint8_t isid[6];
	uint16_t tsih, cid;
	uint32_t cmdsn;
	bool discovery;
	bool authenticated; /* by CHAP */
	/* private */
	bool begun, identified, auth_offered;
	bool saw_initiator, saw_target, saw_session_type;
	uint8_t stage; /* 0 security, 1 operational */
	enum iscsi_chap_step chap;
	unsigned chap_algorithm;
	uint8_t chap_id, chap_challenge[CHAP_DIGEST_MAX_BYTES];
	bool mutual;
	char text[ISCSI_TEXT_MAX_BYTES]; /* of the requests of this step */
	size_t text_len;
	char target_asked[ISCSI_NAME_MAX_BYTES + 1];
};

enum iscsi_login_result {
	ISCSI_LOGIN_MORE,   /* send the response, wait for the next request */
	ISCSI_LOGIN_DONE,   /* the response ends the login */
	ISCSI_LOGIN_FAILED, /* send it and close */
};

struct iscsi_login_response {
	uint8_t flags; /* byte 1 */
	enum iscsi_login_status status;
	const char *reason; /* of a failure, for the administrator */
	struct iscsi_text_out text;
	char buf[ISCSI_LOGIN_TEXT_BYTES];
};

void iscsi_login_init(struct iscsi_login *l, const struct iscsi_login_options *options);
/* bhs is a Login Request's; data its data segment. */
enum iscsi_login_result iscsi_login_step(struct iscsi_login *l, const uint8_t *bhs, const char *data,
	size_t len, struct iscsi_login_response *response);
/* Forgets secrets. */
void iscsi_login_wipe(struct iscsi_login *l);

#endif
