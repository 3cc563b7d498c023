/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arrays that this host sees, the ways to each, and requests to them.
 *
 * Invariants:
 * - What is known of arrays is a cache: every opened device is checked to be the one meant, and when no known
 *   way works, or nobody knows a LUN, the host's devices are looked through again.
 * - No lock is held during I/O, except that one discovery runs at a time.
 * - No device stays open between requests.
 * - A way over which nothing came back, and what shares its route, is asked last for a while.
 * - Of an array with two controllers the ways to the one that stands by are asked after the others, which costs one command. While all
 *   ways stand by, one controller is about to take the array over: it is waited for.
 * - Nor does a look through the devices wait for each of them: two LUNs of a route that say nothing speak for
 *   it.
 */
#ifndef UMBRA_PROVIDER_ARRAY_CLIENT_H
#define UMBRA_PROVIDER_ARRAY_CLIENT_H

#include "provider/channel.h"

#define ARRAYS_MAX      8
#define ARRAY_PATHS_MAX 16
#define TAKEOVER_LIMIT_MS                                                                                    \
	12000 /* so long an array may take until one of its controllers owns it; then nobody waits for a while */
#define REQUEST_LIMIT_MS 21000 /* two paths that answer nothing for REQUEST_PATIENCE_MS each */

struct array_info {
	uint8_t id[UP_ID_BYTES];
	char name[UP_NAME_MAX_BYTES + 1];
	char initiator[UP_NAME_MAX_BYTES + 1]; /* what the array calls this host */
	uint64_t capabilities;
	uint32_t max_set_luns, commit_budget_ms; /* 0: not told */
	bool authenticated;
	uint64_t silent_ms; /* when it last let a request time out; 0: it answered since */
	bool stands_by; /* nobody but a controller that stands by has told of it: capabilities say nothing */
	unsigned path_count;
	/* The best first: control LU, originals, shadow LUNs; of each by turns one of every route. */
	struct channel_path paths[ARRAY_PATHS_MAX];
};

/* Why a request failed, for the event log. */
struct array_trouble {
	int err;         /* negative errno: the array could not be asked; 0: it refused */
	uint32_t status; /* enum up_status, when it answered */
	uint16_t op;     /* enum up_op */
	char array[UP_NAME_MAX_BYTES + 1];
	char text[UP_TEXT_MAX_BYTES + 1]; /* the array's own words, or empty */
};

struct array_client;

/* The transport is borrowed. NULL: out of memory. */
struct array_client *array_client_create(struct transport *t);
/* Tests wait less than TAKEOVER_LIMIT_MS. */
void array_client_set_takeover_limit(struct array_client *c, uint32_t limit_ms);
void array_client_destroy(struct array_client *c);

/* Looks through the host's devices. Returns the number of arrays found. */
unsigned array_client_discover(struct array_client *c);
/* The same where the devices are not those of the last look any more, or that one met some that said nothing. Before a set: a way that was
 * not there then may be what leads to the array when the one that is there now dies in the commit. */
void array_client_refresh(struct array_client *c);
/* The last look met a device of an array that could not be asked, or more arrays than there is room for:
 * there may be arrays that are not known. */
bool array_client_has_gaps(struct array_client *c);
/* Copies what is known. -ENOENT. */
int array_client_info(struct array_client *c, const uint8_t array_id[UP_ID_BYTES], struct array_info *out);
/* Its name, or its id where it is not known. */
void array_client_name(
	struct array_client *c, const uint8_t array_id[UP_ID_BYTES], char out[UP_NAME_MAX_BYTES + 1]);
unsigned array_client_ids(struct array_client *c, uint8_t ids[ARRAYS_MAX][UP_ID_BYTES]);

/* What the array offers at this moment, UP_CAP_…; as array_client_request. */
int array_client_capabilities(struct array_client *c, const uint8_t array_id[UP_ID_BYTES],
	uint64_t *capabilities, struct array_trouble *trouble);

/* Does it offer this host one of these (UP_CAP_…)? Asked afresh only when what is known says no. */
bool array_client_offers(struct array_client *c, const uint8_t array_id[UP_ID_BYTES], uint64_t capabilities);

uint64_t array_client_new_request_id(struct array_client *c);
uint16_t array_client_new_slot(struct array_client *c);

/* Nothing came back over this device in time. */
void array_client_silent(
	struct array_client *c, const uint8_t array_id[UP_ID_BYTES], const struct transport_device *device);

/* Asks one array over any way to it. not_through (may be NULL): a LUN that may vanish by the request, used
 * only when there is no other way. request->request_id is set here. trouble may be NULL.
 * 0: *reply has the status UP_OK. -EPROTO: the array refused, *reply and *trouble tell. Else it could not be
 * asked: -EHOSTUNREACH, -ENOMEM, -ETIMEDOUT, -ENOTCONN (all ways to it lead to controllers that stand by). */
int array_client_request(struct array_client *c, const uint8_t array_id[UP_ID_BYTES],
	const uint8_t *not_through, struct up_msg *request, struct up_msg *reply,
	struct array_trouble *trouble);

/* Which array knows this LUN? 0, *lun and array_id are filled in; -ENOENT: every array answered and none
 * does; else the first failure (trouble tells). When no array knows it or one did not answer, the devices may
 * be looked through again and the arrays asked once more, which may take seconds. */
int array_client_find_lun(struct array_client *c, const uint8_t lun_id[UP_ID_BYTES], struct up_lun *lun,
	uint8_t array_id[UP_ID_BYTES], struct array_trouble *trouble);

#endif
