/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the array's controllers tell each other of themselves: a text of each in the catalogue's header, written by whoever it is
 * about, owner or not, and no part of any transaction. So it lies on the OSDs that the lease needs anyway: where it cannot be
 * written, no lease can be renewed either.
 *
 * Whether somebody is still behind a card is seen by its changes, by this machine's clock alone. Time in which nothing could be
 * read does not count: nobody could write, either.
 */
#include "array/store/rbd/rbd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TEND_MS 1000u
#define WATCH_MS                                                                                             \
	4000u /* of one that must not be there: longer than between two of its changes, on a busy machine, too */
#define LOOK_MS 100u
#define GAP_MS  4000u /* between two looks there are two seconds, or a little more */

static void card_key(char out[32], unsigned number)
{
	snprintf(out, 32, RBD_HEAD_CARD "%u", number);
}

static void take(struct rbd_card *c, const char *text, size_t len)
{
	/* One that is too long is no card: it is read as an empty one. */
	if (len > sizeof(c->text))
		len = 0;
	if (c->changed_ms && c->len == len && memcmp(c->text, text, len) == 0)
		return;
	c->moved = c->changed_ms != 0;
	c->changes++;
	memcpy(c->text, text, len);
	c->len = len;
	c->changed_ms = clock_boot_ms();
}

/* After a gap in which nothing was read. */
static void pass_over(struct rbd_cards *c, uint64_t now_ms)
{
	uint64_t gap_ms = c->read_ms ? now_ms - c->read_ms : 0;

	for (unsigned i = 0; i < STORE_CARDS_MAX && gap_ms > GAP_MS; i++)
		if (c->cards[i].changed_ms)
			c->cards[i].changed_ms += gap_ms;
	c->read_ms = now_ms;
}

static int cards_read(struct rbd_store *s)
{
	rados_read_op_t op = rados_create_read_op();
	char names[STORE_CARDS_MAX][32], *key, *value;
	const char *keys[STORE_CARDS_MAX];
	size_t lens[STORE_CARDS_MAX], key_len, len;
	rados_omap_iter_t iter;
	int prval = 0, err;

	for (unsigned i = 0; i < STORE_CARDS_MAX; i++) {
		card_key(names[i], i + 1);
		keys[i] = names[i];
		lens[i] = strlen(names[i]);
	}
	rados_read_op_omap_get_vals_by_keys2(op, keys, STORE_CARDS_MAX, lens, &iter, &prval);
	err = rados_read_op_operate(op, s->cluster.io, s->object, 0);
	if (err >= 0)
		err = prval;
	if (err >= 0)
		pass_over(&s->cards, clock_boot_ms());
	while (err >= 0 && (err = rados_omap_get_next2(iter, &key, &value, &key_len, &len)) >= 0 && key)
		for (unsigned i = 0; i < STORE_CARDS_MAX; i++)
			if (key_len == lens[i] && memcmp(key, names[i], key_len) == 0)
				take(&s->cards.cards[i], len ? value : "", len);
	rados_omap_get_end(iter); /* there whatever came of the operation */
	rados_release_read_op(op);
	return err < 0 ? err : 0;
}

static void card_write(struct rbd_store *s, bool ended)
{
	const struct store_cards *user = s->cards.user;
	char text[STORE_CARD_MAX_BYTES], key[32];
	size_t len = user->write(user->arg, text, ended);
	rados_write_op_t op;

	if (!len)
		return;
	card_key(key, user->number);
	op = rados_create_write_op();
	rados_write_op_assert_exists(op);
	rbd_op_cmp_text(op, RBD_HEAD_FORMAT, RBD_FORMAT);
	rbd_op_set(op, key, strlen(key), text, len);
	/* One that is not written is one that did not change: its reader sees it. */
	rados_write_op_operate(op, s->cluster.io, s->object, NULL,
		LIBRADOS_OPERATION_FULL_FORCE | LIBRADOS_OPERATION_FULL_TRY);
	rados_release_write_op(op);
}

void rbd_cards_tend(struct rbd_store *s)
{
	struct rbd_cards *c = &s->cards;
	uint64_t now_ms = clock_boot_ms();

	if (!c->user || (c->tended_ms && now_ms - c->tended_ms < TEND_MS) || cards_read(s) != 0)
		return;
	c->tended_ms = now_ms;
	now_ms = clock_boot_ms();
	for (unsigned i = 0; i < STORE_CARDS_MAX; i++)
		if (c->cards[i].changed_ms)
			c->user->read(c->user->arg, i + 1, c->cards[i].text, c->cards[i].len,
				c->cards[i].moved ? now_ms - c->cards[i].changed_ms : UINT64_MAX);
	card_write(s, false);
}

void rbd_cards_leave(struct rbd_store *s)
{
	if (s->cards.user && s->cards.tended_ms)
		card_write(s, true);
}

void rbd_cards_lease(struct rbd_store *s, const char *epoch, const struct rbd_owner *owner, bool renewed)
{
	struct rbd_cards *c = &s->cards;
	struct process_id self;
	uint64_t number;

	if (!c->user || !rbd_number_parse(epoch, &number) || (!renewed && number == c->epoch))
		return;
	c->epoch = number;
	process_self(&self);
	c->user->lease(c->user->arg, number, !owner || process_same(&owner->process, &self));
}

/* ---- the beginning ---- */

/* Of those that are to be watched: does one change? */
static int watch(struct rbd_store *s, const bool doubtful[STORE_CARDS_MAX], struct fault *f)
{
	struct rbd_cards *c = &s->cards;
	uint64_t begun_ms = clock_boot_ms(), seen[STORE_CARDS_MAX];

	for (unsigned i = 0; i < STORE_CARDS_MAX; i++)
		seen[i] = c->cards[i].changes;
	while (clock_boot_ms() - begun_ms < WATCH_MS) {
		const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000L};
		int err;

		nanosleep(&pause, NULL);
		err = cards_read(s);
		for (unsigned i = 0; i < STORE_CARDS_MAX && !err; i++)
			if (doubtful[i] && c->cards[i].changes != seen[i])
				err = c->user->admit(
					c->user->arg, i + 1, c->cards[i].text, c->cards[i].len, true, f);
		if (err)
			return err;
	}
	return 0;
}

int rbd_cards_join(struct rbd_store *s, struct fault *f)
{
	struct rbd_cards *c = &s->cards;
	bool doubtful[STORE_CARDS_MAX] = {false}, any = false;
	int err = c->user ? cards_read(s) : 0;

	if (err == -ENOENT) /* the array itself is not there, which is told in better words */
		return 0;
	for (unsigned i = 0; c->user && i < STORE_CARDS_MAX && !err; i++) {
		if (!c->cards[i].changed_ms)
			continue;
		err = c->user->admit(c->user->arg, i + 1, c->cards[i].text, c->cards[i].len, false, f);
		doubtful[i] = err == -EAGAIN;
		any = any || doubtful[i];
		err = doubtful[i] ? 0 : err;
	}
	return any && !err ? watch(s, doubtful, f) : err;
}
