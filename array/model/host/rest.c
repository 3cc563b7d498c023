/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A LUN number that was given up rests for a while, so that a host that has not rescanned yet never takes one
 * LUN for another: it would write to the new one what was meant for the old one. The rest is durable with its
 * host's mappings, in the transaction that removes the mapping, because an initiator recovers its session over
 * a restart of the array without looking which LUNs there are. The array cannot know how long it was down, so
 * after a restart each rest begins anew.
 *
 * A record in the catalogue holds the rests of a page of numbers. Rests that are over leave it with the next
 * change in the page.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "array/model/host/internal.h"

static struct map **slot_of(const struct host *h, uint32_t number)
{
	struct map_page *page = h->pages[number / MAP_PAGE_NUMBERS];

	return page ? &page->at[number % MAP_PAGE_NUMBERS].rest : NULL;
}

static uint64_t until(const struct host *h, uint64_t now_ns)
{
	return now_ns + UINT64_C(1000000) * h->array->options.number_rest_ms;
}

void rest_begin(struct map *m, uint64_t now_ns)
{
	struct map **slot = slot_of(m->host, m->number);

	assert(slot && !*slot && !m->lun);
	m->until_ns = until(m->host, now_ns);
	*slot = m;
}

void rest_end(struct host *h, uint32_t number)
{
	struct map **slot = slot_of(h, number);

	if (!slot)
		return;
	free(*slot);
	*slot = NULL;
}

const struct map *rest_find(const struct host *h, uint32_t number, uint64_t now_ns)
{
	struct map **slot = slot_of(h, number);

	return slot && *slot && (*slot)->until_ns > now_ns ? *slot : NULL;
}

bool host_has_rests(const struct host *h)
{
	uint64_t now = reactor_now_ns(h->array->options.reactor);

	for (uint32_t i = 1; i <= ARRAY_LUN_NUMBER_MAX; i++) {
		const struct map *rest = h->pages[i / MAP_PAGE_NUMBERS] ? rest_find(h, i, now) : NULL;

		if (!h->pages[i / MAP_PAGE_NUMBERS])
			i |= MAP_PAGE_NUMBERS - 1;
		if (rest && (rest->seen || h->sessions > 0))
			return true;
	}
	return false;
}

bool host_initiator_leaves(const struct host *h, const char *iqn)
{
	if (h->mappings == 0 && !host_has_rests(h))
		return false;
	list_for_each (node, &h->nexuses)
		if (strcasecmp(container_of(node, struct host_nexus, link_host)->initiator, iqn) == 0)
			return true;
	return false;
}

/* ---- the catalogue ---------------------------------------------------------------------------------- */

static void rest_pack(
	struct rest_record *r, const struct map *m, const uint8_t lun_id[UP_ID_BYTES], bool seen)
{
	r->rests[r->count].at = (uint8_t)(m->number % MAP_PAGE_NUMBERS);
	r->rests[r->count].seen = seen;
	memcpy(r->rests[r->count].lun_id, lun_id, UP_ID_BYTES);
	r->count++;
}

int rest_put(struct host *h, uint32_t number, const struct map *gone, struct store_txn *t)
{
	struct map_page *page = h->pages[number / MAP_PAGE_NUMBERS];
	uint64_t now = reactor_now_ns(h->array->options.reactor);
	uint32_t first = number - number % MAP_PAGE_NUMBERS;
	struct rest_record r = {.page = (uint8_t)(number / MAP_PAGE_NUMBERS)};

	page->rests_next = false;
	if (!gone && !page->rests_durable)
		return 0;
	memcpy(r.host, h->record.name, sizeof(r.host));
	for (uint32_t i = first; i < first + MAP_PAGE_NUMBERS; i++) {
		const struct map *rest = i == number ? NULL : rest_find(h, i, now);

		if (rest)
			rest_pack(&r, rest, rest->lun_id, rest->seen);
	}
	if (gone)
		rest_pack(&r, gone, gone->lun->id, gone->seen || h->seen);
	page->rests_next = r.count > 0;
	return rest_record_put(h->array, t, &r);
}

void rest_put_end(struct host *h, uint32_t number)
{
	struct map_page *page = h->pages[number / MAP_PAGE_NUMBERS];

	page->rests_durable = page->rests_next;
}

int rest_put_none(struct host *h, struct store_txn *t)
{
	struct rest_record r = {.count = 0};
	int err = 0;

	memcpy(r.host, h->record.name, sizeof(r.host));
	for (unsigned i = 0; !err && i < MAP_PAGES; i++) {
		r.page = (uint8_t)i;
		if (h->pages[i] && h->pages[i]->rests_durable)
			err = rest_record_put(h->array, t, &r);
	}
	return err;
}

int rest_load(struct host *h, const struct rest_record *r)
{
	uint64_t now = reactor_now_ns(h->array->options.reactor);

	for (unsigned i = 0; i < r->count; i++) {
		uint32_t number = r->page * MAP_PAGE_NUMBERS + r->rests[i].at;
		struct map *m = calloc(1, sizeof(*m));

		if (!m || map_page_make(h, number)) {
			free(m);
			return -ENOMEM;
		}
		if (map_lun(h, number) || *slot_of(h, number)) {
			free(m);
			return -EEXIST;
		}
		m->host = h;
		m->number = number;
		m->seen = r->rests[i].seen;
		memcpy(m->lun_id, r->rests[i].lun_id, UP_ID_BYTES);
		rest_begin(m, now);
		h->pages[r->page]->rests_durable = true;
	}
	return 0;
}
