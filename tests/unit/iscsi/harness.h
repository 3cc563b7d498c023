/* SPDX-License-Identifier: Apache-2.0 */
/* The server over the stub SCSI layer, on a reactor thread of its own, and a raw initiator to misbehave with.
 */
#ifndef UMBRA_TEST_ISCSI_HARNESS_H
#define UMBRA_TEST_ISCSI_HARNESS_H

#include "array/iscsi/iscsi.h"
#include "array/iscsi/pdu.h"
#include "array/reactor/reactor.h"
#include "tests/unit/iscsi/stub_scsi.h"

#define TARGET "iqn.2026-01.org.umbra:test"
#define HOST_A "iqn.1991-05.com.microsoft:a"
#define HOST_C "iqn.1991-05.com.microsoft:chap"
#define SECRET "twelve-chars-secret"

/* Starts the server; options may be NULL (reactor, array, target are filled in). Hosts A (no CHAP) and C. */
void harness_start(const struct iscsi_options *options);
/* Stops it with whatever is active and checks that nothing is left of any session. */
void harness_stop(void);
uint16_t harness_port(void);
/* From now on the server has so much patience, with the sessions that there are too; 0: the default. A test sets up what it
 * needs before: how fast it is then does not matter. */
void harness_patience(uint32_t login_timeout_ms, uint32_t nop_interval_ms, uint32_t nop_timeout_ms);
/* Calls on the reactor's thread and waits. */
void harness_call(void (*call)(void *arg), void *arg);
struct iscsi_server *harness_server(void);
/* Waits until check() is true on the reactor's thread; fails after a minute. */
void harness_wait(bool (*check)(void));

/* ---- raw initiator ---- */
struct raw {
	int fd;
	bool header_digest, data_digest;
	uint32_t cmdsn, expstatsn, itt;
	uint8_t bhs[ISCSI_BHS_BYTES]; /* of the last PDU that came */
	uint8_t data[1 << 20];
	uint32_t data_len;
};

struct raw *raw_connect(void);
void raw_close(struct raw *r);
void raw_bytes(struct raw *r, const void *bytes, size_t len);
/* Sends a PDU: fills data length, pads, adds digests. */
void raw_send(struct raw *r, uint8_t *bhs, const void *data, uint32_t len);
/* The next PDU; false: the connection has ended. Fails the test after a minute. */
bool raw_receive(struct raw *r);
/* Expects a PDU of this opcode. */
void raw_expect(struct raw *r, enum iscsi_opcode opcode);
/* Expects the connection's end, after any PDUs. */
void raw_expect_end(struct raw *r);
/* One login request. keys: "A=b\nC=d\n" */
void raw_login_request(struct raw *r, uint8_t flags, const char *keys);
unsigned raw_login_status(const struct raw *r);
/* Connects and logs in as HOST_A without security; more keys, or "". */
struct raw *raw_session(const char *more_keys);
/* Fills a SCSI command with the next tag and CmdSN. */
void raw_command(
	struct raw *r, uint8_t *bhs, uint8_t flags, uint32_t edtl, const uint8_t *cdb, size_t cdb_len);
void raw_write10(struct raw *r, uint8_t *bhs, bool final, uint32_t lba, uint32_t blocks);
void raw_read10(struct raw *r, uint8_t *bhs, uint32_t lba, uint32_t blocks);
void raw_test_unit_ready(struct raw *r); /* whole exchange: the session works */
void raw_data_out(struct raw *r, bool final, uint32_t itt, uint32_t ttt, uint32_t datasn, uint32_t offset,
	const void *data, uint32_t len);

#endif
