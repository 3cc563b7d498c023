/* SPDX-License-Identifier: Apache-2.0 */
/* An initiator in a test: sends CDBs to the SCSI layer as a transport does and looks at the answers. */
#ifndef UMBRA_TEST_CLIENT_H
#define UMBRA_TEST_CLIENT_H

#include "tests/support/test.h"
#include "tests/unit/scsi/fake_array.h"

#define CLIENT_DATA_MAX (1u << 20)

struct client {
	struct scsi_nexus *nexus;
	bool close_asked;
};

/* One command and its end. */
struct exchange {
	struct scsi_task task;
	struct client *client;
	bool parsed, done;
	uint8_t *data;     /* CLIENT_DATA_MAX, of the exchange's */
	uint32_t len;      /* bytes of the answer */
	unsigned key, asc; /* of the sense, either form; asc << 8 | ascq */
};

extern struct scsi_target *test_target;
extern struct client test_a, test_a2, test_b, test_c; /* hosts a (two sessions), b, c (control LU) */
extern struct exchange test_last;                     /* of client_run() */

/* cmocka fixtures: a fake array, a target, the four sessions without power-on attentions. */
int client_setup(void **state);
int client_setup_inband(void **state, const struct scsi_inband *inband);
int client_teardown(void **state);

void client_login_all(void); /* the four sessions, without attentions */
void client_teardown_sessions(void);
void client_login(struct client *c, const char *iqn, uint8_t isid_tail, uint16_t tag);
void client_clear_attentions(struct client *c);

/* Begins a command; send: data-out (may be NULL), its length. Finished or under way when it returns. */
void client_begin(struct client *c, struct exchange *x, unsigned lun, const void *cdb, size_t cdb_len,
	const void *send, size_t send_len);
void client_begin_attribute(struct client *c, struct exchange *x, unsigned lun, const void *cdb,
	size_t cdb_len, const void *send, size_t send_len, enum scsi_attribute attribute, uint64_t tag);
void exchange_free(struct exchange *x);

/* Runs to the end in test_last; returns the status. */
uint8_t client_run(
	struct client *c, unsigned lun, const void *cdb, size_t cdb_len, const void *send, size_t send_len);

#define CDB(...)         ((const uint8_t[]){__VA_ARGS__}), sizeof((const uint8_t[]){__VA_ARGS__})
#define NO_DATA          NULL, 0
#define run(c, lun, ...) client_run(&test_##c, lun, __VA_ARGS__)

#define expect_good(status) assert_int_equal(status, SCSI_STATUS_GOOD)
#define expect_sense(status, key_, asc_)                                                                     \
	do {                                                                                                 \
		assert_int_equal(status, SCSI_STATUS_CHECK_CONDITION);                                       \
		assert_int_equal(test_last.key, key_);                                                       \
		assert_int_equal(test_last.asc, asc_);                                                       \
	} while (0)
#define expect_conflict(status) assert_int_equal(status, SCSI_STATUS_RESERVATION_CONFLICT)

/* A task's `done` inside an exchange. */
void exchange_done(struct scsi_task *task);
/* Sense key and ASC in either form. */
void exchange_sense(struct exchange *x);

#endif
