/* SPDX-License-Identifier: Apache-2.0 */
/* See playwire.h. */
#include "tests/support/playwire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct carried {
	struct store_wire_heard heard; /* at the other end */
	struct play_end *from;
	struct store_wire_ask *ask; /* NULL: the asker has had its end */
	bool lose_answer, damage_answer;
	uint8_t *data, *answer;
	size_t answer_len;
	int err;
	struct reactor_deferred there, back;
};

static struct play_end *end_of(struct store_wire *w)
{
	return container_of(w, struct play_end, base);
}

static bool owns(struct store_wire *w)
{
	return end_of(w)->owns;
}

static uint64_t epoch(struct store_wire *w)
{
	return end_of(w)->epoch;
}

static void back(struct reactor_deferred *d)
{
	struct carried *c = container_of(d, struct carried, back);
	struct store_wire_ask *a = c->ask;

	a->answer_count = 0;
	if (!c->err && c->answer_len)
		a->answers[a->answer_count++] = (struct store_wire_answer){c->answer, c->answer_len};
	a->asked(a, c->err);
	free(c->data);
	free(c->answer);
	free(c);
}

static void there(struct reactor_deferred *d)
{
	struct carried *c = container_of(d, struct carried, there);
	struct play_end *to = c->from->other;
	const struct store_wire_user *user = peer_wire(to->peer);

	to->unanswered = &c->heard;
	user->heard(user->arg, &to->base, &c->heard);
}

/* The asker is told when the first delivery is answered; of a second one it hears nothing. */
static void answer(struct store_wire *w, struct store_wire_heard *h, const void *data, size_t len)
{
	struct carried *c = container_of(h, struct carried, heard);
	struct peer_message m;

	if (end_of(w)->unanswered == h)
		end_of(w)->unanswered = NULL;
	if (!c->ask) {
		free(c->data);
		free(c);
		return;
	}
	if (len) {
		c->from->clock = peer_decode(data, len, &m) ? m.clock : 0;
		c->answer = malloc(len);
		memcpy(c->answer, data, len);
		if (c->damage_answer)
			c->answer[len - 1] ^= 1;
	}
	c->answer_len = len;
	if (c->lose_answer)
		c->err = -ETIMEDOUT;
	c->back = (struct reactor_deferred){.call = back};
	reactor_defer(c->from->reactor, &c->back);
}

static struct carried *carry(struct play_end *from, const struct store_wire_ask *a)
{
	struct carried *c = calloc(1, sizeof(*c));

	c->from = from;
	c->data = malloc(a->len);
	memcpy(c->data, a->data, a->len);
	c->heard = (struct store_wire_heard){.to_owner = a->to_owner, .data = c->data, .len = a->len};
	c->there = (struct reactor_deferred){.call = there};
	return c;
}

void play_say(struct play_end *from, const struct store_wire_ask *a)
{
	struct carried *c = carry(from, a);

	reactor_defer(from->reactor, &c->there);
}

static bool take(unsigned *count)
{
	if (!*count)
		return false;
	--*count;
	return true;
}

static void ask(struct store_wire *w, struct store_wire_ask *a)
{
	struct play_end *from = end_of(w);
	struct carried *c = carry(from, a);

	from->asks++;
	c->ask = a;
	if (from->deaf || take(&from->lose_questions)) {
		c->err = from->deaf ? 0 : -ETIMEDOUT;
		c->back = (struct reactor_deferred){.call = back};
		reactor_defer(from->reactor, &c->back);
		return;
	}
	c->lose_answer = take(&from->lose_answers);
	c->damage_answer = take(&from->damage_answers);
	if (take(&from->twice))
		play_say(from, a);
	reactor_defer(from->reactor, &c->there);
}

static const struct store_wire_ops ops = {.owns = owns, .epoch = epoch, .ask = ask, .answer = answer};

void play_end_init(
	struct play_end *e, struct play_end *other, struct reactor *reactor, bool is_owner, uint64_t of_owner)
{
	*e = (struct play_end){
		.base = {&ops}, .reactor = reactor, .other = other, .owns = is_owner, .epoch = of_owner};
}

void play_end_up(struct play_end *e)
{
	peer_wire(e->peer)->up(peer_wire(e->peer)->arg, &e->base);
}

void play_end_down(struct play_end *e)
{
	peer_wire(e->peer)->down(peer_wire(e->peer)->arg, &e->base);
}
