/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ROD tokens (SPC-4 5.17.6, 6.4): made, found, run out, taken back. A token is a bearer's: whoever has its 512
 * bytes may read what it stands for, on any LUN of the array, so it holds 256 random bits that nobody else is
 * told, and they are compared in constant time. It is in memory only: a restart ends all of them.
 *
 * It ends after its time without use; when the host that it was made for may not read the source any more
 * (unmapped, deleted); when a WRITE USING TOKEN says so. The last ones that ended are remembered, for the
 * right sense.
 */
#include "array/scsi/bounds.h"
#include "array/scsi/copy.h"
#include "array/scsi/nexus.h"
#include "array/scsi/sense.h"
#include "array/util/bytes.h"
#include "proto/identity.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define NS_A_S       UINT64_C(1000000000)
#define BODY_BYTES   (TOKEN_BYTES - 8)
#define AT_ID        8
#define AT_CREATOR   16
#define AT_BYTES     48
#define AT_DEVICE    96
#define AT_TARGET    128
#define AT_SECRET    384
#define SECRET_BYTES (TOKEN_BYTES - AT_SECRET)

static uint64_t now_ns(const struct scsi_target *t)
{
	return reactor_now_ns(array_settings(t->array)->reactor);
}

/* ---- life ---------------------------------------------------------------------------------------------- */

static void token_free(struct scsi_target *t, struct scsi_token *k, uint16_t asc)
{
	struct scsi_tokens *all = t->tokens;

	if (asc) {
		struct scsi_dead_token *dead = &all->dead[all->dead_next++ % TOKENS_DEAD_KEPT];

		memcpy(dead->bytes, k->bytes, TOKEN_BYTES);
		dead->asc = asc;
	}
	list_remove(&k->link);
	all->count--;
	lun_image_release(k->image);
	free(k);
}

static void arm(struct scsi_target *t)
{
	struct reactor *r = array_settings(t->array)->reactor;
	uint64_t first = UINT64_MAX, now = now_ns(t);

	list_for_each (node, &t->tokens->all) {
		const struct scsi_token *k = container_of(node, struct scsi_token, link);

		if (k->readers == 0 && k->expires_ns < first)
			first = k->expires_ns;
	}
	if (first == UINT64_MAX)
		reactor_timer_disarm(r, &t->tokens->timer);
	else
		reactor_timer_arm(r, &t->tokens->timer, first > now ? (first - now) / 1000000 + 1 : 0);
}

static void touch(struct scsi_target *t, struct scsi_token *k)
{
	k->expires_ns = now_ns(t) + k->timeout_s * NS_A_S;
}

static void expire(struct scsi_target *t)
{
	struct list_node *node = t->tokens->all.head.next;
	uint64_t now = now_ns(t);

	while (node != &t->tokens->all.head) {
		struct scsi_token *k = container_of(node, struct scsi_token, link);

		node = node->next;
		if (k->readers == 0 && k->expires_ns <= now)
			token_free(t, k, ASC_TOKEN_EXPIRED);
	}
}

struct tokens_box {
	struct scsi_tokens tokens;
	struct scsi_target *target;
};

static void timer_fire(struct reactor_timer *timer)
{
	struct scsi_target *t = container_of(timer, struct tokens_box, tokens.timer)->target;

	expire(t);
	arm(t);
}

int scsi_tokens_init(struct scsi_target *t)
{
	struct tokens_box *box = calloc(1, sizeof(*box));

	if (!box)
		return -ENOMEM;
	box->target = t;
	box->tokens.timer.fire = timer_fire;
	list_init(&box->tokens.all);
	t->tokens = &box->tokens;
	return 0;
}

void scsi_tokens_free(struct scsi_target *t)
{
	while (!list_empty(&t->tokens->all))
		token_free(t, container_of(t->tokens->all.head.next, struct scsi_token, link), 0);
	if (t->tokens->timer.heap_index)
		reactor_timer_disarm(array_settings(t->array)->reactor, &t->tokens->timer);
	free(container_of(t->tokens, struct tokens_box, tokens));
}

/* ---- making -------------------------------------------------------------------------------------------- */

/* SPC-4 6.4.5.2, SBC-3 6.7.2: what the token says of itself is for who looks at it; only the whole counts. */
static int fill_bytes(const struct scsi_target *t, struct scsi_token *k, const struct lun *source)
{
	uint8_t *b = k->bytes;
	size_t name_len = strlen(t->name);

	memset(b, 0, TOKEN_BYTES);
	put_be32(b, ROD_TYPE_POINT_IN_TIME);
	put_be16(b + 6, BODY_BYTES);
	b[AT_CREATOR] = 0xE4; /* an identification descriptor: NAA, of a disk */
	b[AT_CREATOR + 4] = 0x01;
	b[AT_CREATOR + 5] = 0x03;
	b[AT_CREATOR + 7] = 8;
	put_be64(b + AT_CREATOR + 8, up_id_naa(source->id));
	put_be24(b + AT_CREATOR + 29, SCSI_BLOCK_BYTES);
	put_be64(b + AT_BYTES + 8, k->blocks * SCSI_BLOCK_BYTES);
	put_be32(b + AT_DEVICE, SCSI_BLOCK_BYTES);
	b[AT_DEVICE + 5] = scsi_physical_exponent(t);
	put_be16(b + AT_DEVICE + 6, 0xC000); /* LBPME, LBPRZ */
	/* the target device: a SCSI name string of iSCSI, UTF-8 */
	b[AT_TARGET] = 0x53;
	b[AT_TARGET + 1] = 0xA8;
	b[AT_TARGET + 3] = (uint8_t)(name_len < 252 ? (name_len + 4) & ~3u : 252);
	memcpy(b + AT_TARGET + 4, t->name, name_len < 252 ? name_len : 252);
	if (getrandom(b + AT_ID, 8, 0) != 8 || getrandom(b + AT_SECRET, SECRET_BYTES, 0) != SECRET_BYTES)
		return -EIO;
	return 0;
}

static unsigned host_count(const struct scsi_target *t, const char *host)
{
	unsigned count = 0;

	list_for_each (node, &t->tokens->all)
		count += strcmp(container_of(node, struct scsi_token, link)->host, host) == 0;
	return count;
}

int scsi_token_new(struct scsi_nexus *n, struct lun *source, struct lun_image *image, uint32_t timeout_s,
	const struct scsi_range *ranges, unsigned count, struct scsi_token **out)
{
	struct scsi_target *t = n->target;
	const char *host = host_record_of(n->array.host)->name;
	struct scsi_token *k;
	int err;

	expire(t);
	if (t->tokens->count >= TOKENS_MAX || host_count(t, host) >= TOKENS_HOST_MAX)
		return -ENOBUFS;
	k = calloc(1, sizeof(*k) + count * sizeof(*ranges));
	if (!k)
		return -ENOMEM;
	memcpy(k->ranges, ranges, count * sizeof(*ranges));
	k->range_count = count;
	for (unsigned i = 0; i < count; i++)
		k->blocks += ranges[i].blocks;
	err = fill_bytes(t, k, source);
	if (err) {
		free(k);
		return err;
	}
	memcpy(k->host, host, strlen(host) + 1);
	memcpy(k->source_id, source->id, sizeof(k->source_id));
	k->image = image;
	k->timeout_s = timeout_s;
	touch(t, k);
	list_push_back(&t->tokens->all, &k->link);
	t->tokens->count++;
	arm(t);
	*out = k;
	return 0;
}

/* ---- finding ------------------------------------------------------------------------------------------- */

static bool same(const uint8_t *a, const uint8_t *b, size_t len)
{
	unsigned diff = 0;

	while (len-- > 0)
		diff |= (unsigned)(*a++ ^ *b++);
	return diff == 0;
}

static bool host_may_read(const struct scsi_target *t, const struct scsi_token *k)
{
	const struct host *h = host_find(t->array, k->host);
	const struct lun *source = lun_find(t->array, k->source_id);

	return h && source && !source->gone && map_number(h, source) != 0;
}

static uint16_t dead_asc(const struct scsi_tokens *all, const uint8_t *bytes)
{
	for (unsigned i = 0; i < TOKENS_DEAD_KEPT; i++)
		if (all->dead[i].asc && same(all->dead[i].bytes, bytes, TOKEN_BYTES))
			return all->dead[i].asc;
	return ASC_TOKEN_UNKNOWN;
}

static struct scsi_token *invalid(struct scsi_task *task, uint16_t asc)
{
	scsi_fail(task, SENSE_ILLEGAL_REQUEST, asc);
	return NULL;
}

struct scsi_token *scsi_token_find(struct scsi_task *task, const uint8_t *bytes)
{
	struct scsi_target *t = task->nexus->target;

	if (get_be32(bytes) != ROD_TYPE_POINT_IN_TIME)
		return invalid(task, ASC_TOKEN_TYPE);
	if (get_be16(bytes + 6) != BODY_BYTES)
		return invalid(task, ASC_TOKEN_LENGTH);
	expire(t);
	list_for_each (node, &t->tokens->all) {
		struct scsi_token *k = container_of(node, struct scsi_token, link);

		if (!same(k->bytes + AT_ID, bytes + AT_ID, 8))
			continue;
		if (!same(k->bytes, bytes, TOKEN_BYTES))
			return invalid(task, ASC_TOKEN_CORRUPT);
		if (host_may_read(t, k))
			return k;
		if (k->readers == 0)
			token_free(t, k, ASC_TOKEN_REVOKED);
		return invalid(task, ASC_TOKEN_REVOKED);
	}
	return invalid(task, dead_asc(t->tokens, bytes));
}

void scsi_token_read(struct scsi_target *t, struct scsi_token *k)
{
	k->readers++;
	arm(t);
}

void scsi_token_end(struct scsi_target *t, struct scsi_token *k, bool destroy)
{
	touch(t, k);
	if (--k->readers == 0 && (destroy || !host_may_read(t, k)))
		token_free(t, k, destroy ? ASC_TOKEN_DELETED : ASC_TOKEN_REVOKED);
	arm(t);
}

void scsi_tokens_revoke(struct scsi_target *t, const char *host, const struct lun *lun)
{
	struct list_node *node = t->tokens->all.head.next;

	while (node != &t->tokens->all.head) {
		struct scsi_token *k = container_of(node, struct scsi_token, link);

		node = node->next;
		if (k->readers == 0 && strcmp(k->host, host) == 0 &&
			memcmp(k->source_id, lun->id, sizeof(k->source_id)) == 0)
			token_free(t, k, ASC_TOKEN_REVOKED);
	}
	arm(t);
}
