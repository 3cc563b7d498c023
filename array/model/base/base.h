/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every folder of the model needs: the array's settings and identity, the call that asks for a change,
 * and events.
 *
 * The folders of array/model may include it. Everybody else includes array/model/array.h.
 */
#ifndef UMBRA_MODEL_BASE_H
#define UMBRA_MODEL_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "array/store/store.h"
#include "array/util/fault.h"
#include "array/util/list.h"
#include "proto/umbra_proto.h"

#define ARRAY_NAME_MAX_BYTES 64 /* names of LUNs, hosts, sets: [A-Za-z0-9._-] and not starting with '-' */
#define ARRAY_LUN_NUMBER_MAX 16383

struct array;
struct host;
struct set;
struct reactor;
struct lun;
struct lun_image;

struct array_options {
	struct reactor *reactor;
	struct store *store;       /* open; stays the caller's */
	const char *name;          /* shown to hosts and administrators */
	uint32_t lease_ms;         /* of an unkept set, 0: 600000 */
	uint32_t host_gone_ms;     /* after its last session an unkept set of a host is aborted, 0: 120000 */
	uint32_t commit_budget_ms; /* longest deadline of a commit, 0: 5000 */
	uint32_t number_rest_ms;   /* a LUN number rests after an unmap, 0: 600000 */
	enum up_copy_kind copy_kind;  /* what DEFAULT becomes; 0: differential */
	uint64_t hydrate_bytes_per_s; /* of each plex copy, 0: as fast as it goes */
	unsigned hydrations_max;      /* at a time, the others wait; 0: 2 */
	uint32_t recycle_s; /* deleted shadow LUNs stay in the recycle bin for so long; 0: not at all */
	uint32_t luns_max, hosts_max, sets_max, set_luns_max; /* 0: 16384, 4096, 4096, 64 */
	uint32_t host_luns_max; /* mapped to one host, 0: ARRAY_LUN_NUMBER_MAX */
	uint64_t lun_max_bytes; /* of a new or resized LUN, 0: ARRAY_LUN_MAX_BYTES */
	/* Another controller owns the array: of its catalogue there are the hosts, the LUNs and the mappings, and nothing goes on
	 * by itself. The store refuses whatever would change. */
	bool standby;
};

const uint8_t *array_id(const struct array *a); /* 16 bytes, persistent */
const char *array_name(const struct array *a);
const struct array_options *array_settings(const struct array *a); /* with the defaults filled in */

/* An asynchronous change. The memory is the caller's and stays valid until `done`, which may be called from
 * inside the call. */
struct array_call {
	void (*done)(struct array_call *call);
	struct fault fault; /* fault.err 0: it is done and durable */
	/* results, as the call says */
	struct lun *lun;
	struct host *host;
	struct lun_image *image;
	uint32_t number, job;
	char note[224]; /* what else there is to say, or empty */
	uint64_t window_ns, durable_ns;
};

/* What the hosts of a copy set told of it: its label, and what it cost them. */
struct set_notes {
	char label[UP_LABEL_MAX_BYTES + 1]; /* UTF-8; empty: none */
	enum up_writers writers;            /* UP_WRITERS_NOT_TOLD: and the next four times neither */
	uint64_t frozen_us, flush_us, commit_us, release_us;
	bool imported; /* import_us is told */
	uint64_t import_us;
};
static inline bool set_notes_any(const struct set_notes *n)
{
	return n->label[0] || n->writers || n->imported;
}
/* How long I/O was held, as the host saw it. */
static inline uint64_t set_notes_held_us(const struct set_notes *n)
{
	return n->flush_us + n->commit_us + n->release_us;
}

/* ---- events ----------------------------------------------------------------------------------------- */

enum array_event_level {
	ARRAY_EVENT_INFO = 1,
	ARRAY_EVENT_WARNING = 2,
	ARRAY_EVENT_ERROR = 3
};

struct array_event {
	uint64_t serial; /* 1, 2, 3 … since the array was opened */
	uint64_t unix_ms;
	enum array_event_level level;
	uint32_t message; /* its id (array/util/message.h) */
	char area[16];    /* "lun", "host", "set", "session", "store" */
	char text[232];
};

void array_event_tell(struct array *a, enum array_event_level level, const char *area, const char *format,
	...) __attribute__((format(printf, 4, 5)));
/* The same of a text that is ready; message: what its format had, as a fault has it. */
void array_event_as(
	struct array *a, enum array_event_level level, const char *area, uint32_t message, const char *text);
/* Keeps the last 1,024. The oldest kept event with a serial > after, or NULL. */
const struct array_event *array_event_after(const struct array *a, uint64_t after);
/* How many of this level there were since the array was opened. */
/* a, which has told of nothing yet, goes on with what `before` has told and counted. */
void array_event_inherit(struct array *a, const struct array *before);
uint64_t array_event_count(const struct array *a, enum array_event_level level);
/* Called on every new event; one listener for each list node. */
struct array_event_listener {
	void (*event)(struct array_event_listener *l, const struct array_event *e);
	struct list_node link;
};
void array_event_listen(struct array *a, struct array_event_listener *l);
void array_event_unlisten(struct array_event_listener *l);

/* ---- room that the array itself takes --------------------------------------------------------------- */

/* Called when plex copies have taken about so many bytes more of the store, which no host has written. */
struct array_room_listener {
	void (*taken)(struct array_room_listener *l, uint64_t bytes);
	struct list_node link;
};
void array_room_listen(struct array *a, struct array_room_listener *l);
void array_room_unlisten(struct array_room_listener *l);

#endif
