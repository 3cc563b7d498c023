/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The coordinator's side of the write hold: a line protocol over TCP to the hold broker (lab/hold) on the
 * Linux side, which the lab's writers are connected to. See lab/README.md for the protocol.
 *
 * Invariants: no broker configured (HoldPort 0 or absent): holds succeed and hold nobody; a broker configured
 * but gone: the hold fails, never silently. The connection lives from the first hold_lun to hold_end.
 */
#ifndef LAB_HOLD_CLIENT_H
#define LAB_HOLD_CLIENT_H

#include <stdbool.h>
#include <stdint.h>
#include <windows.h>

#define HOLD_LINE_BYTES 256

/* Of any protocol of lines on 127.0.0.1: 0: nobody is there. */
uintptr_t hold_connect(WORD port);
/* Sends a line, reads the one that answers (without its end). */
BOOL hold_ask(uintptr_t connection, const char *line, char answer[HOLD_LINE_BYTES]);

struct hold {
	uintptr_t socket; /* 0: none */
	int writers;      /* that stand still, or write elsewhere */
};

/* Everybody who writes to the LUN (its serial number) stands still there when it returns S_OK, besides where they do already;
 * the broker lets all go on limit_ms after the first of a hold whatever happens. *h is zero before the first.
 * VSS_E_FLUSH_WRITES_TIMEOUT: the broker is gone or a writer did not stop in time; nobody is held then. */
HRESULT hold_lun(struct hold *h, const char *serial, DWORD limit_ms);

/* Lets them go on. VSS_E_HOLD_WRITES_TIMEOUT when the limit had passed before (what was copied meanwhile is
 * worthless). Idempotent; S_OK when nothing was held. */
HRESULT hold_end(struct hold *h);

#endif
