/* SPDX-License-Identifier: Apache-2.0 */
/* The model of suite.h, and the operations that a store and it are told of together. */
#ifndef UMBRA_TESTS_STORE_SUITE_MODEL_H
#define UMBRA_TESTS_STORE_SUITE_MODEL_H

#include <sys/types.h>
#include "tests/unit/store/suite.h"
#include "tests/unit/store/tags.h"

#define SLOTS      8u
#define SECTORS    20480u /* at most a disk: over two objects of Ceph's and a bit */
#define CANDIDATES 4u
#define INFLIGHT   16u

struct sector {
	struct tag tags[CANDIDATES];
	uint8_t count, busy, reading;
	uint8_t unsure; /* any of them may be what a reader sees: it is a copy from while they were written */
};

enum slot_state {
	SLOT_FREE,
	SLOT_COMING, /* a transaction under way makes it */
	SLOT_LIVE,
	SLOT_GOING
};

struct slot {
	enum slot_state state;
	struct store_disk *disk; /* of the running process */
	uint64_t disk_id, sectors, version, resize_to;
	bool repointing;
	unsigned inflight;
	bool held, locked; /* held: nothing that changes; locked: nothing at all */
	struct store_hydration h;
	bool hydrating;
	struct sector bank[2][SECTORS]; /* the version's parity says which; a repoint fills the other one */
	uint64_t bank_sectors[2];
};

struct model {
	struct slot slots[SLOTS];
	uint64_t next_tag, completions, operations, sets, hydrations;
	uint64_t random;
	uint64_t more[32]; /* of whoever uses it */
};

extern struct suite {
	struct model *m; /* shared with the process that is killed */
	int model_fd;
	struct reactor *reactor;
	struct store *store;
	unsigned inflight;
	void (*meanwhile)(void); /* what else is begun where a transaction is waited for; NULL: nothing */
	bool whims;              /* a transaction or a cut may be dropped */
} suite;

uint64_t suite_below(uint64_t n); /* a random number */
void suite_turn(void);
void suite_drain(void);

struct suite_wait {
	bool done;
	int err;
};
void suite_waited(void *arg, int err); /* of a struct suite_wait */
int suite_wait(struct suite_wait *w);

/* ---- I/O: started only. A range must be free. */
bool suite_range_free(struct slot *s, uint64_t from, uint64_t count, bool changes);
bool suite_compare_possible(struct slot *s, uint64_t sector, uint64_t count);
void suite_op_start(struct slot *s, enum store_io_op op, uint64_t sector, uint64_t count, unsigned flags);
void suite_flush_start(struct slot *s);

/* ---- disks: each waits, but for hydrate_start */
struct slot *suite_any_slot(void);  /* a random one that is live; NULL */
struct slot *suite_free_slot(void); /* NULL */
int suite_commit(struct store_txn *t);
void suite_create_disk(void); /* if there is room for one */
void suite_delete_disk(struct slot *s);
void suite_resize_disk(struct slot *s);
void suite_hydrate_start(struct slot *s);
void suite_hydrate_end(struct slot *s);
/* The cut, with I/O under way; then forks of all, or one of them behind another disk, or nothing. */
void suite_cut(struct slot **set, struct slot **to, unsigned count, bool repoint);
void suite_repoint(struct slot *from, struct slot *to);

/* ---- the whole */
void suite_new(void);       /* a model of an empty store */
void suite_map(void);       /* another process' model */
void suite_open(void);      /* the store: each record is one that the model allows */
void suite_crashed(void);   /* after a kill any of what may be there is a reader's answer */
void suite_reclaimed(void); /* what was deleted has gone */
void suite_verify(void);    /* all that can be read */
void suite_close(void);
void suite_end(void); /* nothing is left of what a test made */
/* This program again, with its model: main()'s second argument is suite.model_fd. It is killed with us. */
pid_t suite_victim(void);

#endif
