/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One open way to an array: a device handle that was checked to be the logical unit it is believed to be, and
 * the exchange of control messages over it by SECURITY PROTOCOL OUT and IN.
 *
 * Invariants:
 * - A channel serves one thread at a time; exchanging allocates nothing.
 * - A request keeps its id over every repetition, on whatever channel: the array does the work once.
 * - Results are 0 or a negative errno, as in transport.h, and -EBADMSG: the answer is not one to our request;
 * -EINPROGRESS: the array answers, again and again, that it works on it; -ENOTCONN: the way leads to a controller that stands by, or is
 * about to own the array (02/04/0A to 0C): the request was not taken, and belongs on another way.
 */
#ifndef UMBRA_PROVIDER_CHANNEL_H
#define UMBRA_PROVIDER_CHANNEL_H

#include <string.h>
#include "proto/umbra_proto.h"
#include "provider/courier.h"

/* Of a logical unit of ours. */
struct channel_path {
	struct transport_device device;
	char serial[TRANSPORT_SERIAL_MAX_BYTES + 1]; /* VPD 80h; empty: not checked on opening */
	uint8_t lun_id[UP_ID_BYTES];                 /* zero: the control LU */
	bool is_shadow;
	uint64_t silent_until_ms; /* nothing came back over it lately: asked last until then */
	bool stands_by; /* -ENOTCONN when it was asked last, or it said so itself: asked after the others */
};

/* Is it the control LU? */
static inline bool channel_path_controls(const struct channel_path *p)
{
	static const uint8_t zero[UP_ID_BYTES];

	return memcmp(p->lun_id, zero, UP_ID_BYTES) == 0;
}

static inline bool channel_path_silent(const struct channel_path *p, uint64_t now_ms)
{
	return now_ms < p->silent_until_ms;
}

struct channel {
	struct courier *courier; /* owned */
	bool vendor_opcodes;     /* the standard ones are filtered on the way */
	uint32_t
		patience_ms; /* with a command of an exchange; 0: as long as it takes, as in the commit window */
};

/* Opens and checks that VPD page 80h still is path->serial: drive numbers move. -ENODEV when it is not. */
int channel_open(struct transport *t, const struct channel_path *path, struct channel *out);
void channel_close(struct channel *ch);

/* INQUIRY data for discovery. serial gets the unit serial number without padding. */
int channel_inquire(struct channel *ch, uint8_t *device_type, char serial[TRANSPORT_SERIAL_MAX_BYTES + 1]);

/* A message ready to be sent and room for its answer; all preallocated. */
struct exchange {
	uint16_t slot;       /* mailbox */
	uint64_t request_id; /* as in `out` */
	uint16_t op;
	size_t out_len_bytes;
	uint8_t out[UP_REQUEST_MAX_BYTES];
	uint8_t in[UP_REPLY_MAX_BYTES];
	struct up_msg reply;
};

/* Encodes the request. -EINVAL: it does not fit. */
int exchange_prepare(struct exchange *x, const struct up_msg *request, uint16_t slot);

/* Sends x->out and waits for the answer, at most until deadline_ms on GetTickCount64's clock; longer, up to a minute, for an
 * array that says meanwhile that it works on it.
 * 0: x->reply holds the answer, whatever its status. */
int channel_exchange(struct channel *ch, struct exchange *x, uint64_t deadline_ms);

#endif
