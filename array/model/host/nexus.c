/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nexuses: what the sessions must be told. Unit attentions (3F/0E, 2A/09) wait while a set is armed or
 * committing, because a host that gets one may stop its I/O for seconds. They never wait longer than
 * ARRAY_QUIET_MAX_MS.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include "array/model/host/internal.h"

static bool nexus_allowed(const struct host *h, const struct host_nexus *n)
{
	if (h->gone || host_find_iqn(h->array, n->initiator) != h)
		return false;
	return n->authenticated || h->record.chap_secret[0] == 0;
}

int host_nexus_attach(struct array *a, struct host_nexus *n)
{
	struct host *h = host_find_iqn(a, n->initiator);

	if (!h || !nexus_allowed(h, n))
		return -EACCES;
	n->host = h;
	host_hold(h);
	h->sessions++;
	h->seen = true;
	n->pending_mappings = false;
	n->link_pending.next = n->link_pending.prev = NULL;
	list_push_back(&h->nexuses, &n->link_host);
	array_event_tell(
		a, ARRAY_EVENT_INFO, "session", "%s of host %s connected", n->initiator, h->record.name);
	a->news->host_came(a, h);
	return 0;
}

void host_nexus_detach(struct array *a, struct host_nexus *n)
{
	struct host *h = n->host;

	if (!h)
		return;
	list_remove(&n->link_host);
	list_remove(&n->link_pending);
	n->host = NULL;
	h->sessions--;
	array_event_tell(
		a, ARRAY_EVENT_INFO, "session", "%s of host %s disconnected", n->initiator, h->record.name);
	a->news->host_went(a, h);
	host_release(h);
}

static void quiet_put_off(struct array *a)
{
	/* The first that waits sets the limit for all. */
	if (a->hosts->quiet_timer.heap_index == 0)
		reactor_timer_arm(a->options.reactor, &a->hosts->quiet_timer, ARRAY_QUIET_MAX_MS);
}

void host_tell_mappings(struct host *h, const struct host_nexus *asker)
{
	struct array *a = h->array;

	list_for_each (node, &h->nexuses) {
		struct host_nexus *n = container_of(node, struct host_nexus, link_host);

		if (n == asker || n->pending_mappings)
			continue;
		n->pending_mappings = true;
		list_push_back(&a->hosts->nexuses_pending, &n->link_pending);
		quiet_put_off(a);
	}
	if (a->hosts->quiet == 0)
		host_tell_now(a);
}

void host_tell_resized(struct lun *lun)
{
	struct array *a = lun->array;
	struct lun_box *b = lun_box_of(lun);

	if (!list_linked(&b->link_resized)) {
		list_push_back(&a->hosts->luns_resized, &b->link_resized);
		quiet_put_off(a);
	}
	if (a->hosts->quiet == 0)
		host_tell_now(a);
}

static void tell_resized(struct host_nexus *n, struct lun *lun, uint32_t number)
{
	n->ops->lun_resized(n, lun, number);
}

static void tell_protected(struct host_nexus *n, struct lun *lun, uint32_t number)
{
	n->ops->lun_protected(n, lun, number);
}

static void tell_replaced(struct host_nexus *n, struct lun *lun, uint32_t number)
{
	n->ops->lun_replaced(n, lun, number);
}

/* Every nexus that sees the LUN. */
static void tell_all(struct lun *lun, void (*tell)(struct host_nexus *n, struct lun *lun, uint32_t number))
{
	list_for_each (n, &lun_box_of(lun)->mappings) {
		struct map *m = container_of(n, struct map, link_lun);

		list_for_each_safe (node, &m->host->nexuses)
			tell(container_of(node, struct host_nexus, link_host), lun, m->number);
	}
}

void host_tell_protected(struct lun *lun)
{
	tell_all(lun, tell_protected);
}

void host_tell_replaced(struct lun *lun)
{
	tell_all(lun, tell_replaced);
}

void host_tell_now(struct array *a)
{
	struct list_node *n;

	reactor_timer_disarm(a->options.reactor, &a->hosts->quiet_timer);
	while ((n = list_pop(&a->hosts->nexuses_pending))) {
		struct host_nexus *nexus = container_of(n, struct host_nexus, link_pending);

		nexus->pending_mappings = false;
		nexus->ops->mappings_changed(nexus);
	}
	while ((n = list_pop(&a->hosts->luns_resized)))
		tell_all(&container_of(n, struct lun_box, link_resized)->lun, tell_resized);
}

void host_tell_unmapped(struct host *h, struct lun *lun, uint32_t number)
{
	list_for_each_safe (node, &h->nexuses) {
		struct host_nexus *n = container_of(node, struct host_nexus, link_host);

		n->ops->lun_unmapped(n, lun, number);
	}
}

void host_revoke(struct host *h, bool all)
{
	host_hold(h);
	list_for_each_safe (node, &h->nexuses) {
		struct host_nexus *n = container_of(node, struct host_nexus, link_host);

		if (all || !nexus_allowed(h, n))
			n->ops->host_revoked(n);
	}
	host_release(h);
}

bool host_is_quiet(const struct array *a)
{
	return a->hosts->quiet > 0;
}

void host_quiet_enter(struct array *a)
{
	a->hosts->quiet++;
}

void host_quiet_leave(struct array *a)
{
	assert(a->hosts->quiet > 0);
	if (--a->hosts->quiet == 0)
		host_tell_now(a);
}

void host_quiet_fire(struct reactor_timer *t)
{
	host_tell_now(container_of(t, struct hosts, quiet_timer)->array);
}
