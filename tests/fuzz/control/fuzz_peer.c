/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as messages from another controller: they are refused or carried out, each is answered once at most, and
 * what is kept of them goes. The input is a sequence of: a byte (bit 0: make it a
 * message of ours, with its words and its sum; bit 1: the call that runs is answered afterwards; bit 2: the lease is out from
 * here on, or back), two bytes of length, the message. What the decoders of commands and moves make of the payload is
 * encoded again and must be the same.
 */
#include <assert.h>
#include <isa-l/crc.h>
#include <stdlib.h>
#include <string.h>
#include "array/peer.h"
#include "array/util/bytes.h"

#define RUNNING_MAX 256u
#define CALL_MS     60000u /* patience */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct heard {
	struct store_wire_heard base;
	uint8_t *bytes;
	struct list_node link;
};

static struct store_wire wire;
static bool lease;
static uint64_t shown; /* the clock of who is asked, as the last answer told it */
static struct list unanswered;
static struct peer_asked *running[RUNNING_MAX];
static unsigned running_count;

static bool owns(struct store_wire *w)
{
	(void)w;
	return lease;
}

static uint64_t epoch(struct store_wire *w)
{
	(void)w;
	return 7;
}

static void ask(struct store_wire *w, struct store_wire_ask *a)
{
	(void)w, (void)a;
	abort(); /* nobody calls here */
}

static void heard_free(struct heard *h)
{
	list_remove(&h->link);
	free(h->bytes);
	free(h);
}

static void answer(struct store_wire *w, struct store_wire_heard *h, const void *data, size_t len)
{
	struct heard *k = container_of(h, struct heard, base);
	struct peer_message m;

	(void)w;
	assert(!len || (peer_decode(data, len, &m) && m.kind == PEER_ANSWER));
	if (len)
		shown = m.clock;
	heard_free(k);
}

static const struct store_wire_ops ops = {.owns = owns, .epoch = epoch, .ask = ask, .answer = answer};

static void check_command(const struct peer_asked *q)
{
	static uint8_t again[PEER_SCSI_MAX_BYTES], room[PEER_DATA_MAX_BYTES];
	const uint8_t *sent;
	struct scsi_remote r;

	if (peer_scsi_decode(q->data, q->len, &r, &sent)) {
		r.data = room;
		if (r.direction == SCSI_FROM_INITIATOR)
			memcpy(room, sent, r.data_len);
		assert(peer_scsi_encode(&r, again, sizeof(again)) == q->len &&
			memcmp(again, q->data, q->len) == 0);
	}
	r = (struct scsi_remote){.direction = SCSI_TO_INITIATOR, .data = room, .data_len = 512};
	if (peer_scsi_answer_decode(q->data, q->len, &r))
		assert(r.data_len <= 512 && r.sense_len <= SCSI_SENSE_MAX_BYTES);
}

static void check_move(const struct peer_asked *q)
{
	uint8_t call[PEER_MOVE_BYTES], again[PEER_MOVE_ANSWER_MAX_BYTES];
	struct peer_move_answer a;
	enum peer_move_what what;
	bool force;

	if (peer_move_decode(q->data, q->len, &what, &force)) {
		peer_move_encode(what, force, call);
		assert(memcmp(call, q->data, sizeof(call)) == 0);
	}
	if (peer_move_answer_decode(q->data, q->len, &a)) {
		struct peer_move_answer b;

		assert(peer_move_answer_decode(again, peer_move_answer_encode(&a, again), &b));
		assert(memcmp(&a, &b, sizeof(a)) == 0);
	}
}

static void serve(void *arg, struct peer_asked *q)
{
	(void)arg;
	check_command(q);
	check_move(q);
	if (running_count == RUNNING_MAX)
		peer_answer(q, -EAGAIN, NULL, 0);
	else
		running[running_count++] = q;
}

static void answer_one(void)
{
	struct peer_asked *q;
	uint8_t first;

	if (!running_count)
		return;
	q = running[--running_count];
	first = q->len ? q->data[0] : 0;
	peer_answer(q, first & 1 ? -EACCES : 0, q->data, first & 1 ? 0 : q->len);
}

/* Our words, and the sum that fits: else nothing gets behind it. */
static void make_ours(uint8_t *p, size_t len)
{
	if (len < PEER_HEADER_BYTES)
		return;
	memcpy(p, "UMPC\2\1", 6);
	put_be64(p + 8, 7);
	put_be32(p + 40, (uint32_t)(len - PEER_HEADER_BYTES));
	put_be64(p + 48, shown + CALL_MS);
	put_be32(p + 44, 0);
	put_be32(p + 44, ~crc32_iscsi(p, (int)len, ~0u));
}

static void one(struct peer *p, uint8_t how, const uint8_t *bytes, size_t len)
{
	const struct store_wire_user *user = peer_wire(p);
	struct heard *h = calloc(1, sizeof(*h));

	/* exactly as long as it is: what reads past it is seen */
	h->bytes = malloc(len ? len : 1);
	memcpy(h->bytes, bytes, len);
	if (how & 1)
		make_ours(h->bytes, len);
	h->base = (struct store_wire_heard){.to_owner = true, .data = h->bytes, .len = len};
	if (how & 4)
		lease = !lease;
	list_push_back(&unanswered, &h->link);
	user->heard(user->arg, &wire, &h->base);
	if (how & 2)
		answer_one();
}

/* A ping that comes too late, as every first call does. */
static void learn_the_clock(struct peer *p)
{
	static const uint8_t ping[PEER_HEADER_BYTES] = {[7] = PEER_PING, [23] = 0xFF, [31] = 1, [39] = 1};

	shown = 0;
	one(p, 1, ping, sizeof(ping));
	assert(shown);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct peer_options options;
	struct peer *p;

	if ((!options.reactor && reactor_create(&options.reactor, NULL)) || peer_create(&options, &p))
		abort();
	wire.ops = &ops;
	lease = true;
	list_init(&unanswered);
	running_count = 0;
	peer_wire(p)->up(peer_wire(p)->arg, &wire);
	peer_serve(p, PEER_SCSI, false, serve, NULL);
	peer_serve(p, PEER_NEXUS_LOST, false, serve, NULL);
	peer_serve(p, PEER_MOVE, false, serve, NULL);
	peer_serve(p, PEER_MANAGE, false, serve, NULL);
	learn_the_clock(p);
	while (size >= 3) {
		uint8_t how = data[0];
		size_t len = get_be16(data + 1);

		data += 3;
		size -= 3;
		len = len < size ? len : size;
		one(p, how, data, len);
		data += len;
		size -= len;
	}
	peer_stop(p);
	if (size & 1) /* half of the time there is no wire any more when the last ones are answered */
		while (running_count)
			answer_one();
	peer_wire(p)->down(peer_wire(p)->arg, &wire);
	while (running_count)
		answer_one();
	while (!list_empty(&unanswered)) /* who waits for the lease */
		heard_free(container_of(unanswered.head.next, struct heard, link));
	peer_destroy(p);
	return 0;
}
