/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mappings: which host sees which LUN under which number. A LUN may have thousands of hosts, and a host
 * thousands of LUNs. So from (host, number) to the LUN it takes two array look-ups, and from (host, LUN) to
 * the number one look-up in a hash table.
 *
 * A number that was given up rests for a while (rest.c). One that the administrator names is used even if it
 * rests, unless the host may show the disk of its last LUN under it still: then he has to insist.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include "array/model/host/internal.h"

static struct map_page *page_of(const struct host *h, uint32_t number)
{
	assert(number <= ARRAY_LUN_NUMBER_MAX);
	return h->pages[number / MAP_PAGE_NUMBERS];
}

int map_page_make(struct host *h, uint32_t number)
{
	struct map_page **p = &h->pages[number / MAP_PAGE_NUMBERS];

	if (!*p)
		*p = calloc(1, sizeof(**p));
	return *p ? 0 : -ENOMEM;
}

static uint64_t hash_pair(const struct host *h, const struct lun *lun)
{
	const void *pair[2] = {h, lun};

	return XXH64(pair, sizeof(pair), 0);
}

void map_link(struct map *m)
{
	struct map_page *page = page_of(m->host, m->number);

	assert(page && !page->at[m->number % MAP_PAGE_NUMBERS].mapping);
	rest_end(m->host, m->number);
	page->at[m->number % MAP_PAGE_NUMBERS].mapping = m;
	page->used++;
	array_index_add(&m->host->array->hosts->mappings, &m->by_pair, hash_pair(m->host, m->lun));
	list_push_back(&lun_box_of(m->lun)->mappings, &m->link_lun);
	m->lun->mappings++;
	m->host->mappings++;
	m->host->array->hosts->mapping_count++;
}

/* It is the caller's then. */
static void mapping_unlink(struct map *m)
{
	struct map_page *page = page_of(m->host, m->number);

	page->at[m->number % MAP_PAGE_NUMBERS].mapping = NULL;
	page->used--;
	array_index_remove(&m->host->array->hosts->mappings, &m->by_pair);
	list_remove(&m->link_lun);
	m->lun->mappings--;
	m->host->mappings--;
	m->host->array->hosts->mapping_count--;
}

void map_free_all(struct host *h)
{
	for (unsigned i = 0; i < MAP_PAGES; i++) {
		for (unsigned j = 0; h->pages[i] && j < MAP_PAGE_NUMBERS; j++) {
			struct map *m = h->pages[i]->at[j].mapping;

			if (m)
				mapping_unlink(m);
			free(m);
			free(h->pages[i]->at[j].rest);
		}
		free(h->pages[i]);
		h->pages[i] = NULL;
	}
}

static struct map *mapping_find(const struct host *h, const struct lun *lun)
{
	struct array_index_node *n = array_index_first(&lun->array->hosts->mappings, hash_pair(h, lun));

	for (; n; n = array_index_again(n)) {
		struct map *m = container_of(n, struct map, by_pair);

		if (m->host == h && m->lun == lun)
			return m;
	}
	return NULL;
}

uint32_t map_number(const struct host *h, const struct lun *lun)
{
	const struct map *m = mapping_find(h, lun);

	return m ? m->number : 0;
}

struct lun *map_lun(const struct host *h, uint32_t number)
{
	const struct map_page *page;
	const struct map *m;

	if (number > ARRAY_LUN_NUMBER_MAX)
		return NULL;
	page = h->pages[number / MAP_PAGE_NUMBERS];
	m = page ? page->at[number % MAP_PAGE_NUMBERS].mapping : NULL;
	return m ? m->lun : NULL;
}

unsigned map_sessions(const struct lun *lun, const struct host *h)
{
	unsigned count = 0;

	list_for_each (n, &lun_box_of(lun)->mappings) {
		const struct map *m = container_of(n, struct map, link_lun);

		count += !h || m->host == h ? m->host->sessions : 0;
	}
	return count;
}

uint32_t map_next(const struct host *h, uint32_t number, struct lun **lun)
{
	for (uint32_t i = number + 1; i != 0 && i <= ARRAY_LUN_NUMBER_MAX; i++) {
		const struct map_page *page = page_of(h, i);

		if (!page || page->used == 0) {
			i |= MAP_PAGE_NUMBERS - 1;
			continue;
		}
		if (page->at[i % MAP_PAGE_NUMBERS].mapping) {
			if (lun)
				*lun = page->at[i % MAP_PAGE_NUMBERS].mapping->lun;
			return i;
		}
	}
	return 0;
}

/* Windows sees LUN numbers up to 254 of a target. */
#define NUMBER_COMMON_MAX 254
#define WINDOWS_IQN       "iqn.1991-05.com.microsoft:"

/* Told by the initiator name that Windows has unless somebody changed it. */
static bool runs_windows(const struct host *h)
{
	for (unsigned i = 0; i < h->record.iqn_count; i++)
		if (strncmp(h->record.iqns[i], WINDOWS_IQN, strlen(WINDOWS_IQN)) == 0)
			return true;
	return false;
}

/* The lowest number from..to that is free and does not rest; 0: none. */
static uint32_t number_rested(const struct host *h, uint32_t from, uint32_t to, uint64_t now)
{
	for (uint32_t i = from; i <= to; i++) {
		const struct map_page *page = page_of(h, i);
		unsigned at = i % MAP_PAGE_NUMBERS;

		if (!page || (!page->at[at].mapping && !rest_find(h, i, now)))
			return i;
		if (page->used == MAP_PAGE_NUMBERS)
			i |= MAP_PAGE_NUMBERS - 1;
	}
	return 0;
}

/* The number of 1..to that has rested longest, if it has rested for a tenth of its time; 0: none. */
static uint32_t number_longest_rested(const struct host *h, uint32_t to, uint64_t now)
{
	uint64_t best_until = now + h->array->options.number_rest_ms * UINT64_C(900000) + 1;
	uint32_t best = 0;

	for (uint32_t i = 1; i <= to; i++) {
		const struct map_page *page = page_of(h, i);
		unsigned at = i % MAP_PAGE_NUMBERS;

		if (!page || page->at[at].mapping)
			continue;
		uint64_t until_ns = page->at[at].rest ? page->at[at].rest->until_ns : 0;
		if (until_ns < best_until) {
			best_until = until_ns;
			best = i;
		}
	}
	return best;
}

/* A number for a mapping that names none; 0: there is none. Many sets one after another would use up the
 * numbers that Windows sees. Before that happens, a number that has rested for a tenth of its time is used
 * again. That is a minute by default, twice as long as Windows shows a device that has gone. A host that runs
 * Windows gets no number beyond. */
static uint32_t number_free(const struct host *h)
{
	uint64_t now = reactor_now_ns(h->array->options.reactor);
	uint32_t number = number_rested(h, 1, NUMBER_COMMON_MAX, now);

	if (!number)
		number = number_longest_rested(h, NUMBER_COMMON_MAX, now);
	if (!number && !runs_windows(h))
		number = number_rested(h, NUMBER_COMMON_MAX + 1, ARRAY_LUN_NUMBER_MAX, now);
	return number;
}

/* ---- map ---- */

struct map_change {
	struct change c;
	struct host *host; /* held; remove_all: NULL */
	struct lun *lun;   /* held */
	uint32_t number;
	unsigned flags;
	const struct host_nexus *asker; /* compared only, never followed */
	struct map *mapping;            /* add: the new one */
};

static void map_clear(struct change *c)
{
	struct map_change *op = container_of(c, struct map_change, c);

	free(op->mapping);
	if (!c->array)
		return;
	lun_release(op->lun);
	if (op->host)
		host_release(op->host);
}

/* A LUN mapped there would never appear on Windows, and an import would end in a time-out of VSS. */
static int refuse_windows(struct map_change *op, int err, struct fault *fault)
{
	fault_set(fault, err, "host %s runs Windows, which sees LUN numbers 1 to %d: %s",
		op->host->record.name, NUMBER_COMMON_MAX,
		op->number
			? "choose one of those"
			: "none is free; unmap LUNs it needs no more, a number is free a minute after that");
	array_event_tell(op->c.array, ARRAY_EVENT_WARNING, "host", "LUN %s was not mapped: %s", op->lun->name,
		fault->text);
	return err;
}

/* Would the host take the LUN for the one that had the number before? */
static int rest_check(const struct map_change *op, struct fault *fault)
{
	const struct host *h = op->host;
	uint64_t now = reactor_now_ns(h->array->options.reactor);
	const struct map *rest = rest_find(h, op->number, now);
	const struct lun *last = rest ? lun_find(h->array, rest->lun_id) : NULL;

	if (!rest || last == op->lun || (op->flags & MAP_FORCE) || (!rest->seen && h->sessions == 0))
		return 0;
	return fault_set(fault, -EBUSY,
		"number %u of host %s was LUN %s's and rests for %u s more: the host may still write to that disk. "
		"Rescan there and wait, choose another number, or use --force",
		op->number, h->record.name, last ? last->name : "(deleted)",
		(unsigned)((rest->until_ns - now) / 1000000000 + 1));
}

static int number_choose(struct map_change *op, struct fault *fault)
{
	bool named = op->number != 0;
	int err;

	if (op->number > NUMBER_COMMON_MAX && op->number <= ARRAY_LUN_NUMBER_MAX && runs_windows(op->host))
		return refuse_windows(op, -EINVAL, fault);
	if (!op->number)
		op->number = number_free(op->host);
	if (!op->number && runs_windows(op->host))
		return refuse_windows(op, -EMLINK, fault);
	if (!op->number)
		return fault_set(fault, -EMLINK,
			"host %s has no LUN number left: unmap LUNs; a number is free some minutes after that",
			op->host->record.name);
	if (op->number > ARRAY_LUN_NUMBER_MAX)
		return fault_set(fault, -EINVAL, "LUN numbers go from 1 to %d: choose one of those",
			ARRAY_LUN_NUMBER_MAX);
	if (map_lun(op->host, op->number))
		return fault_set(fault, -EEXIST,
			"host %s has another LUN with number %u: choose another number",
			op->host->record.name, op->number);
	err = named ? rest_check(op, fault) : 0;
	return err ? err : map_page_make(op->host, op->number);
}

static int add_check(struct change *c)
{
	struct map_change *op = container_of(c, struct map_change, c);
	uint32_t have = map_number(op->host, op->lun);
	int err;

	if (op->lun->gone || op->host->gone)
		return fault_set(
			&c->fault, -ENODEV, "the LUN or the host is being deleted: nothing is left to do");
	if (have && op->number && op->number != have)
		return fault_set(&c->fault, -EEXIST,
			"LUN %s is mapped to host %s with number %u already: unmap it first to give it another",
			op->lun->name, op->host->record.name, have);
	if (have) {
		op->number = have;
		return 1;
	}
	if (lun_unkept(op->lun))
		return fault_set(&c->fault, -EBUSY,
			"LUN %s belongs to a copy set that is not kept yet; keep it first", op->lun->name);
	if (c->array->hosts->mapping_count >= ARRAY_MAPPINGS_MAX)
		return fault_set(
			&c->fault, -EMLINK, "the array has its %u mappings; remove some", ARRAY_MAPPINGS_MAX);
	if (op->host->mappings >= c->array->options.host_luns_max)
		return fault_set(&c->fault, -EMLINK,
			"host %s has its %u LUNs; unmap some or raise host_luns_max", op->host->record.name,
			c->array->options.host_luns_max);
	err = number_choose(op, &c->fault);
	if (err)
		return err;
	op->mapping = calloc(1, sizeof(*op->mapping));
	return op->mapping ? 0 : -ENOMEM;
}

static int add_build(struct change *c, struct store_txn *t)
{
	struct map_change *op = container_of(c, struct map_change, c);
	struct map_record r = {.number = op->number};

	memcpy(r.host, op->host->record.name, sizeof(r.host));
	memcpy(r.lun_id, op->lun->id, UP_ID_BYTES);
	int err = map_record_put(c->array, t, &r);
	return err ? err : rest_put(op->host, op->number, NULL, t);
}

static void add_end(struct change *c, int err)
{
	struct map_change *op = container_of(c, struct map_change, c);

	if (err)
		return;
	c->call->number = op->number;
	c->call->lun = op->lun;
	c->call->host = op->host;
	if (!op->mapping)
		return;
	op->mapping->host = op->host;
	op->mapping->lun = op->lun;
	op->mapping->number = op->number;
	rest_put_end(op->host, op->number);
	map_link(op->mapping);
	op->mapping = NULL;
	array_event_tell(c->array, ARRAY_EVENT_INFO, "host", "LUN %s mapped to host %s with number %u",
		op->lun->name, op->host->record.name, op->number);
	host_tell_mappings(op->host, op->asker);
}

void map_add(struct host *h, struct lun *lun, uint32_t number, unsigned flags, struct host_nexus *asker,
	struct array_call *call)
{
	static const struct change_ops ops = {
		.check = add_check, .build = add_build, .end = add_end, .clear = map_clear};
	struct map_change *op = change_new(h->array, sizeof(*op), &ops, call);

	if (!op)
		return;
	op->host = h;
	host_hold(h);
	op->lun = lun;
	lun_hold(lun);
	op->number = number;
	op->flags = flags;
	op->asker = asker;
	change_submit(&op->c);
}

/* ---- unmap ---- */

/* The call waits for the I/O that had been submitted before. Other changes go on meanwhile. */
struct unmap_wait {
	struct array_drain drain;
	struct array_call *call;
};

static void unmap_idle(struct array_drain *d)
{
	struct unmap_wait *w = container_of(d, struct unmap_wait, drain);
	struct array_call *call = w->call;

	free(w);
	array_call_end(call, 0, NULL);
}

struct unmap_change {
	struct map_change m;
	struct unmap_wait *wait;
};

static int remove_check(struct change *c)
{
	struct unmap_change *op = container_of(c, struct unmap_change, m.c);

	if (op->m.host ? !mapping_find(op->m.host, op->m.lun) : op->m.lun->mappings == 0)
		return 1;
	op->wait = calloc(1, sizeof(*op->wait));
	return op->wait ? 0 : -ENOMEM;
}

/* Its record goes, and its number rests. */
static int mapping_del(const struct map *m, struct store_txn *t)
{
	int err = map_record_del(m->host->array, t, m->host->record.name, m->lun->id);

	return err ? err : rest_put(m->host, m->number, m, t);
}

static int remove_build(struct change *c, struct store_txn *t)
{
	struct map_change *op = container_of(c, struct map_change, c);
	int err = 0;

	if (op->host)
		return mapping_del(mapping_find(op->host, op->lun), t);
	list_for_each (n, &lun_box_of(op->lun)->mappings)
		err = err ? err : mapping_del(container_of(n, struct map, link_lun), t);
	return err;
}

static void mapping_remove(struct map *m, const struct host_nexus *asker)
{
	struct array *a = m->host->array;
	struct host *h = m->host;
	struct lun *lun = m->lun;
	uint32_t number = m->number;

	mapping_unlink(m);
	memcpy(m->lun_id, lun->id, UP_ID_BYTES);
	m->lun = NULL;
	m->seen = m->seen || h->seen;
	rest_begin(m, reactor_now_ns(a->options.reactor));
	rest_put_end(h, number);
	array_event_tell(a, ARRAY_EVENT_INFO, "host", "LUN %s unmapped from host %s, was number %u",
		lun->name, h->record.name, number);
	host_tell_unmapped(h, lun, number);
	host_tell_mappings(h, asker);
}

static void remove_end(struct change *c, int err)
{
	struct unmap_change *op = container_of(c, struct unmap_change, m.c);
	struct lun *lun = op->m.lun;

	if (err || !op->wait)
		return;
	if (op->m.host) {
		mapping_remove(mapping_find(op->m.host, lun), op->m.asker);
	} else {
		list_for_each_safe (n, &lun_box_of(lun)->mappings)
			mapping_remove(container_of(n, struct map, link_lun), op->m.asker);
	}
	op->wait->call = c->call;
	op->wait->drain.idle = unmap_idle;
	c->call = NULL;
	lun_gate_drain(lun, &op->wait->drain);
	op->wait = NULL;
}

static void remove_clear(struct change *c)
{
	free(container_of(c, struct unmap_change, m.c)->wait);
	map_clear(c);
}

static void remove_start(
	struct array *a, struct host *h, struct lun *lun, struct host_nexus *asker, struct array_call *call)
{
	static const struct change_ops ops = {
		.check = remove_check, .build = remove_build, .end = remove_end, .clear = remove_clear};
	struct unmap_change *op = change_new(a, sizeof(*op), &ops, call);

	if (!op)
		return;
	op->m.host = h;
	if (h)
		host_hold(h);
	op->m.lun = lun;
	lun_hold(lun);
	op->m.asker = asker;
	change_submit(&op->m.c);
}

void map_remove(struct host *h, struct lun *lun, struct host_nexus *asker, struct array_call *call)
{
	remove_start(h->array, h, lun, asker, call);
}

void map_remove_all(struct lun *lun, struct host_nexus *asker, struct array_call *call)
{
	remove_start(lun->array, NULL, lun, asker, call);
}
