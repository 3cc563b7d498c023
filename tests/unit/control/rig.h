/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole array without a transport, for the tests of the control layer: store in memory, the real model, the
 * in-band channel, a headless management. Host h1 (CHAP, imports own), h2 (CHAP, own), h3 (no CHAP), h4 (no
 * CHAP, control without CHAP, imports any).
 */
#ifndef UMBRA_TEST_RIG_H
#define UMBRA_TEST_RIG_H

#include "array/control/control.h"
#include "array/control/management.h"
#include "array/reactor/reactor.h"
#include "tests/support/memstore.h"

#define RIG_HOSTS 4

struct rig {
	struct memstore *memory;
	struct reactor *reactor;
	struct store *store;
	struct array *array;
	struct inband *inband;
	struct management *management;
	struct host *hosts[RIG_HOSTS];
	struct host_nexus nexus[RIG_HOSTS];
	struct host_nexus second; /* of h1, over another path, its name in capitals */
	uint64_t next_request_id;
};

/* The one LUN to which reservations of others let no nexus write; NULL: none. */
extern const struct lun *rig_reserved;

/* Options: lease_ms and so on may be given, NULL for the defaults. */
void rig_open(struct rig *rig, const struct array_options *options, const struct inband_options *inband);
void rig_close(struct rig *rig);
/* Turns the reactor until *flag; fails after some seconds. */
void rig_until(struct rig *rig, const bool *flag);
void rig_turn(struct rig *rig, unsigned turns);

struct lun *rig_lun(struct rig *rig, const char *name, uint64_t size_bytes);
uint32_t rig_map(struct rig *rig, unsigned host, struct lun *lun);
void rig_lock(struct rig *rig, const uint8_t set_id[UP_ID_BYTES], uint64_t for_ms);

/* ---- in-band */

/* A request with a new id. */
void rig_request(struct rig *rig, struct up_msg *m, enum up_op op);
void rig_set_id(struct up_msg *m, const uint8_t id[UP_ID_BYTES]);
void rig_lun_id(struct up_msg *m, const uint8_t id[UP_ID_BYTES]);
int rig_post(struct rig *rig, struct host_nexus *n, struct lun *lun, uint16_t slot, const struct up_msg *m);
/* Fetches; waits. False: there was nothing (a SCSI error). The reply must decode. */
bool rig_fetch(struct rig *rig, struct host_nexus *n, uint16_t slot, struct up_msg *reply);
/* Posts and fetches in slot 1; asserts that the reply belongs to the request and that refusals have a text.
 */
enum up_status rig_ask(struct rig *rig, struct host_nexus *n, const struct up_msg *m, struct up_msg *reply);

#endif
