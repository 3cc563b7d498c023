/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arrays that live in this process behind struct transport: INQUIRY, VPD 80h and the control protocol, with
 * faults on demand. What they hold can be looked at directly.
 */
#ifndef UMBRA_TESTS_PROVIDER_FAKE_ARRAY_H
#define UMBRA_TESTS_PROVIDER_FAKE_ARRAY_H

#include <stdbool.h>
#include <stdint.h>
#include <windows.h>
#include "proto/umbra_proto.h"
#include "provider/transport.h"

#define FAKE_ARRAYS  9 /* one more than the provider takes */
#define FAKE_LUNS    128
#define FAKE_SETS    32
#define FAKE_DEVICES 64
#define FAKE_JOBS    64

struct fake_lun {
	bool there;
	struct up_lun lun; /* number != 0: mapped to this host */
	uint64_t content;  /* stands for the data: a copy takes its original's */
};

struct fake_job {
	enum up_job_state state; /* 0: none */
	uint8_t shadow_id[UP_ID_BYTES], target_id[UP_ID_BYTES];
	unsigned polls;
};

struct fake_set {
	bool there;
	uint8_t id[UP_ID_BYTES];
	enum up_set_state state;
	uint64_t commit_request; /* the id of the request that committed it, which may come again */
	/* what set-tell told of it: the fields' bits, and their values */
	uint64_t told, frozen_us, flush_us, commit_us, release_us, import_us;
	uint32_t writers;
	char label[UP_LABEL_MAX_BYTES + 1]; /* in replies to it */
};

struct fake_array {
	uint8_t id[UP_ID_BYTES];
	struct fake_lun luns[FAKE_LUNS];
	struct fake_set sets[FAKE_SETS];
	struct fake_job jobs[FAKE_JOBS]; /* by number; 0 is none */
	uint64_t capabilities;
	uint32_t next_number, next_shadow, next_job;
	unsigned executed[UP_OP_COUNT];
	/* faults */
	bool offline;
	bool silent;                        /* nothing is answered; the time-outs take no time here */
	unsigned asked;                     /* commands that met its silence */
	enum up_status refuse[UP_OP_COUNT]; /* instead of doing it */
	unsigned refuse_count[UP_OP_COUNT]; /* how often; 0: always */
	DWORD delay_ms[UP_OP_COUNT];        /* IN waits so long; the work is done at its end */
	unsigned pending[UP_OP_COUNT];      /* IN says so many times that the request runs still */
	unsigned lose_replies;              /* so many INs fail */
	bool old_opcodes_filtered;          /* A2h and B5h are invalid */
	unsigned job_polls;                 /* so many RESYNC_STATEs until a job is done */
	bool jobs_stand;                    /* they go on for ever */
	bool jobs_fail;                     /* they end so */
	bool cancels_come_late;             /* the job was done just before */
};

/* Where a command of `hang_op` stops, on this device only, until fake_release_hung(). */
enum fake_hang {
	FAKE_HANG_NOT,
	FAKE_HANG_REQUEST, /* before the array has it */
	FAKE_HANG_TAKEN,   /* the array has it; that it has does not come back */
	FAKE_HANG_REPLY    /* the request is there; its reply does not come back */
};

struct fake_device {
	unsigned array;
	uint8_t lun_id[UP_ID_BYTES]; /* zero: the control LU */
	bool broken;                 /* the path is dead */
	bool ghost;                  /* Windows still shows it, but the array has unmapped it */
	bool times_out;              /* as a path that is silent looks after the SCSI time-out */
	bool stands_by;   /* leads to the array's other controller, which tells who it is and nothing else */
	unsigned refused; /* so many commands met 02/04/0B there */
	enum fake_hang hang;
	enum up_op hang_op;
	uint32_t route;
	unsigned commands; /* so many have come to it */
};

extern struct fake_array fakes[FAKE_ARRAYS];
extern struct fake_device fake_devices[FAKE_DEVICES];
extern unsigned fake_device_count;

/* Called while a commit is under way, by the thread that asks for it; NULL: nothing is. */
extern void (*fake_in_commit)(void);

/* Forgets everything. */
void fake_reset(void);
/* A mapped ordinary LUN, visible as a drive; its id is made of array and n. */
void fake_add_lun(unsigned array, unsigned n, uint8_t id[UP_ID_BYTES]);
void fake_add_control_lu(unsigned array);
/* The controller that this device leads to owns its array now, and has none of the other one's mailboxes. */
void fake_take_over(unsigned device);
/* As Windows does after a while: drives appear and vanish with the mappings. */
void fake_rescan(void);
struct transport *fake_transport(void);

struct fake_lun *fake_find(const uint8_t id[UP_ID_BYTES]);
struct fake_set *fake_find_set(unsigned array, const uint8_t id[UP_ID_BYTES]);
/* Shadow LUNs on all arrays. */
unsigned fake_shadows(void);
/* Sets that are neither kept nor aborted. */
unsigned fake_open_sets(void);
/* Devices that are open at this moment. */
LONG fake_open_handles(void);
/* Commands that hang at this moment; what has hung goes on, and nothing hangs any more until fake_reset(). */
LONG fake_hung(void);
void fake_release_hung(void);

#endif
