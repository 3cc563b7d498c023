/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What LUNs the session sees: REPORT LUNS, then INQUIRY, TEST UNIT READY and READ CAPACITY of each, all as a
 * class driver sends them (attentions that were pending are used up). One scan at a time.
 */
#ifndef UMBRA_LAB_SCAN_H
#define UMBRA_LAB_SCAN_H

#include "lab/bridge/session.h"

struct scan {
	struct session *session;
	void (*finished)(void *arg); /* after every scan */
	void *arg;
	uint64_t completed; /* scans ended, well or not */
	uint32_t result;    /* enum labw_result of the last one */
	bool running, again;
	struct labw_lun luns[LABW_MAX_LUNS]; /* of the last good one, in REPORT LUNS order */
	uint32_t lun_count;
	/* of the running one */
	struct labw_lun found[LABW_MAX_LUNS];
	uint32_t found_count, next;
};

void scan_init(struct scan *scan, struct session *session, void (*finished)(void *arg), void *arg);

/* Begins one, or another one after the running one. Returns the value of `completed` that ends it. */
uint64_t scan_start(struct scan *scan);

#endif
