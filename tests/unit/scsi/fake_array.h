/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The array's model as the SCSI layer's tests want it: LUNs in memory, a gate that a test closes, I/O that a
 * test may hold back or let fail. Plays the functions of array/model/array.h that array/scsi calls, so what
 * is tested is linked without the real model.
 */
#ifndef UMBRA_TEST_FAKE_ARRAY_H
#define UMBRA_TEST_FAKE_ARRAY_H

#include "array/scsi/scsi.h"

#define FAKE_LUNS      4
#define FAKE_HOSTS     5
#define FAKE_LUN_BYTES (1u << 20)

struct fake_lun {
	struct lun lun;
	uint8_t data[FAKE_LUN_BYTES];
	bool clean; /* data is the pattern; whoever writes to it directly sets this to false */
	unsigned holds, flushes, writes, fua_writes, unmaps, clones;
};

extern struct fake_lun fake_luns[FAKE_LUNS];
extern struct store_stats fake_stats;
extern int fake_error;     /* the next I/Os end with it, and changes of the catalogue */
extern int fake_io_error;  /* the next I/Os alone */
extern bool fake_hold_io;  /* I/O stays under way until fake_complete() */
extern unsigned fake_held; /* how many do */
extern unsigned fake_gate_queued;
extern unsigned fake_holds; /* lun_hold() without lun_release() */
extern unsigned fake_nexuses;
extern bool fake_hold_keeps;         /* lun_keep_reservations() waits for fake_kept() */
extern unsigned fake_events;         /* told by array_event_tell */
extern char fake_event[256];         /* the last one */
extern bool fake_quiet;              /* a copy set is armed */
void fake_take_room(uint64_t bytes); /* plex copies take so much */
extern unsigned fake_keeps;          /* how often it was called */
extern bool fake_hold_images;        /* lun_image_take() waits for fake_taken() */
extern unsigned fake_images;         /* that are held */

/* Fresh: hosts "iqn.test:a" to ":e" (c with a control LU); LUN i at number i + 1 for a and b, none for the others.
 * The LUNs hold a pattern. */
struct array *fake_start(void);
struct array *fake_again(void); /* the one that was started */
void fake_stop(void);
struct host *fake_host(unsigned i);
/* Nexuses that come from now on belong to another array's host of that name, and this is it: with no LUNs mapped. */
struct host *fake_twin(unsigned i);
void fake_map(struct host *h, uint32_t number, struct lun *lun); /* lun NULL: unmaps, without telling */
void fake_complete_one(void);                                    /* the oldest held back */
void fake_complete(void);                                        /* all I/O held back */
void fake_kept(void);
void fake_taken(void);
void fake_clones(bool offered); /* by the store; at the start it does */
void fake_advance(unsigned ms); /* lets time pass */
void fake_restart(void);        /* the LUNs forget what is not durable; no task or nexus may know of them */
void fake_gate(bool closed);    /* opening lets the queued writes go on */

#endif
