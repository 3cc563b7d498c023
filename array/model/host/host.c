/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hosts: initiator names and their rights. An initiator name belongs to at most one host. The struct of a
 * deleted host lives until its last session has ended.
 */
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "array/model/host/internal.h"

static void host_bury(struct array_grave *g)
{
	host_free(container_of(g, struct host, grave));
}

static void secrets_wipe(struct host_record *r)
{
	explicit_bzero(r->chap_secret, sizeof(r->chap_secret));
	explicit_bzero(r->mutual_secret, sizeof(r->mutual_secret));
}

void host_free(struct host *h)
{
	map_free_all(h);
	secrets_wipe(&h->record);
	free(h);
}

int host_setup(struct hosts *hosts, struct array *a)
{
	int err;

	a->hosts = hosts;
	hosts->array = a;
	list_init(&hosts->all);
	list_init(&hosts->nexuses_pending);
	list_init(&hosts->luns_resized);
	hosts->quiet_timer.fire = host_quiet_fire;
	err = array_index_init(&hosts->by_name, a->options.hosts_max);
	err = err ? err : array_index_init(&hosts->by_iqn, a->options.hosts_max);
	return err ? err : array_index_init(&hosts->mappings, ARRAY_MAPPINGS_MAX);
}

void host_close_all(struct array *a)
{
	struct list_node *n;

	reactor_timer_disarm(a->options.reactor, &a->hosts->quiet_timer);
	while ((n = list_pop(&a->hosts->all)))
		host_free(container_of(n, struct host, link));
}

void host_teardown(struct array *a)
{
	array_index_free(&a->hosts->by_name);
	array_index_free(&a->hosts->by_iqn);
	array_index_free(&a->hosts->mappings);
}

void host_hold(struct host *h)
{
	assert(h->holds > 0);
	h->holds++;
}

void host_release(struct host *h)
{
	assert(h->holds > 0);
	if (--h->holds == 0)
		array_grave_add(h->array, &h->grave);
}

struct host *host_new(struct array *a, const struct host_record *record)
{
	struct host *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->array = a;
	h->record = *record;
	h->holds = 1;
	h->grave.bury = host_bury;
	list_init(&h->nexuses);
	return h;
}

static void iqns_link(struct host *h)
{
	for (unsigned i = 0; i < h->record.iqn_count; i++) {
		h->iqns[i].host = h;
		h->iqns[i].iqn = h->record.iqns[i];
		array_index_add(
			&h->array->hosts->by_iqn, &h->iqns[i].node, array_hash_text(h->record.iqns[i]));
	}
}

static void iqns_unlink(struct host *h)
{
	for (unsigned i = 0; i < h->record.iqn_count; i++)
		array_index_remove(&h->array->hosts->by_iqn, &h->iqns[i].node);
}

void host_link(struct host *h)
{
	struct array *a = h->array;

	list_push_back(&a->hosts->all, &h->link);
	array_index_add(&a->hosts->by_name, &h->by_name, array_hash_text(h->record.name));
	iqns_link(h);
	a->hosts->count++;
}

static void host_unlink(struct host *h)
{
	struct array *a = h->array;

	list_remove(&h->link);
	array_index_remove(&a->hosts->by_name, &h->by_name);
	iqns_unlink(h);
	a->hosts->count--;
	h->gone = true;
	host_release(h);
}

struct host *host_find(struct array *a, const char *name)
{
	struct array_index_node *n = array_index_first(&a->hosts->by_name, array_hash_text(name));

	for (; n; n = array_index_again(n)) {
		struct host *h = container_of(n, struct host, by_name);

		if (strcmp(h->record.name, name) == 0)
			return h;
	}
	return NULL;
}

static void lower(char *text)
{
	for (; *text; text++)
		*text = (char)tolower((unsigned char)*text);
}

struct host *host_find_iqn(struct array *a, const char *iqn)
{
	char name[UP_NAME_MAX_BYTES + 1];
	struct array_index_node *n;

	if (strlen(iqn) > UP_NAME_MAX_BYTES)
		return NULL;
	snprintf(name, sizeof(name), "%s", iqn);
	lower(name);
	for (n = array_index_first(&a->hosts->by_iqn, array_hash_text(name)); n; n = array_index_again(n)) {
		struct host_iqn *i = container_of(n, struct host_iqn, node);

		if (strcmp(i->iqn, name) == 0)
			return i->host;
	}
	return NULL;
}

struct host *host_next(struct array *a, const struct host *after)
{
	struct list_node *n = after ? after->link.next : a->hosts->all.head.next;

	return n && n != &a->hosts->all.head ? container_of(n, struct host, link) : NULL;
}

const struct host_record *host_record_of(const struct host *h)
{
	return &h->record;
}

unsigned host_sessions(const struct host *h)
{
	return h->sessions;
}

unsigned host_mappings(const struct host *h)
{
	return h->mappings;
}

struct load *host_load(struct host *h)
{
	return &h->load;
}

uint32_t host_queue(const struct host *h)
{
	uint32_t queue = 0;

	list_for_each (n, &h->nexuses)
		queue += container_of(n, struct host_nexus, link_host)->queue;
	return queue;
}

/* RFC 7143 4.2.7: iqn., eui. or naa. and what may follow, in lower case. */
static bool iqn_valid(const char *iqn)
{
	if (strncmp(iqn, "iqn.", 4) != 0 && strncmp(iqn, "eui.", 4) != 0 && strncmp(iqn, "naa.", 4) != 0)
		return false;
	for (const char *p = iqn + 4; *p; p++)
		if (!islower((unsigned char)*p) && !isdigit((unsigned char)*p) && !strchr(".:-_", *p))
			return false;
	return iqn[4] != 0;
}

static int iqns_check(struct host_record *r, struct fault *fault)
{
	for (unsigned i = 0; i < r->iqn_count; i++) {
		lower(r->iqns[i]);
		if (!iqn_valid(r->iqns[i]))
			return fault_set(fault, -EINVAL,
				"\"%.100s\" is no iSCSI name: it begins with iqn., eui. or naa. and has only "
				"letters, digits and .:-_: give it as the initiator shows it",
				r->iqns[i]);
		for (unsigned j = 0; j < i; j++)
			if (strcmp(r->iqns[i], r->iqns[j]) == 0)
				return fault_set(
					fault, -EINVAL, "%s is given twice: leave one out", r->iqns[i]);
	}
	return 0;
}

/* RFC 7143 9.2.1: a secret that proves one side must not prove the other. */
static int secrets_check(const struct host_record *r, struct fault *fault)
{
	if (r->mutual_secret[0] == 0)
		return 0;
	if (r->chap_secret[0] == 0)
		return fault_set(fault, -EINVAL,
			"mutual CHAP needs a CHAP secret of the host too: give both, or neither");
	if (strcmp(r->mutual_secret, r->chap_secret) == 0)
		return fault_set(
			fault, -EINVAL, "the secret for mutual CHAP is the host's own: choose another one");
	return 0;
}

int host_record_check(struct host_record *r, struct fault *fault)
{
	int err;

	if (!array_name_valid(r->name, fault))
		return -EINVAL;
	if (r->iqn_count > ARRAY_HOST_IQNS_MAX || r->import_host_count > ARRAY_HOST_IQNS_MAX)
		return fault_set(fault, -EMLINK,
			"a host has at most %d initiator names and %d named hosts: leave some out",
			ARRAY_HOST_IQNS_MAX, ARRAY_HOST_IQNS_MAX);
	if (r->import < HOST_IMPORT_OWN || r->import > HOST_IMPORT_ANY)
		return fault_set(fault, -EINVAL, "import is own, named or any: choose one of them");
	err = iqns_check(r, fault);
	if (!err)
		err = secrets_check(r, fault);
	for (unsigned i = 0; !err && i < r->import_host_count; i++)
		if (!array_name_valid(r->import_hosts[i], fault))
			err = -EINVAL;
	return err;
}

/* ---- add, update, delete ---- */

struct host_change {
	struct change c;
	struct host *host; /* add: the new one, owned; else held */
	struct host_record record;
	unsigned updates; /* of the host, when the record was given */
};

/* self: the host that may have these initiator names already. */
static int iqns_free(
	struct array *a, const struct host_record *r, const struct host *self, struct fault *fault)
{
	for (unsigned i = 0; i < r->iqn_count; i++) {
		struct host *other = host_find_iqn(a, r->iqns[i]);

		if (other && other != self)
			return fault_set(fault, -EEXIST,
				"%s belongs to host %s: take it from that one first, or delete that one",
				r->iqns[i], other->record.name);
	}
	return 0;
}

static bool same_secret(const char *ours, const char *theirs)
{
	return ours[0] != 0 && strcmp(ours, theirs) == 0;
}

/* No secret of ours may be any host's (RFC 7143 9.2.1). self: NULL, or the record that this one replaces. */
static int secrets_free(
	struct array *a, const struct host_record *r, const struct host *self, struct fault *fault)
{
	for (struct host *h = host_next(a, NULL); h; h = host_next(a, h))
		if (h != self && (same_secret(r->mutual_secret, h->record.chap_secret) ||
					 same_secret(h->record.mutual_secret, r->chap_secret)))
			return fault_set(fault, -EINVAL,
				"a secret for mutual CHAP must not be a host's secret, and one of the two is "
				"host %s's: choose another",
				h->record.name);
	return 0;
}

static int add_check(struct change *c)
{
	struct host_change *op = container_of(c, struct host_change, c);
	struct array *a = c->array;
	int err = host_record_check(&op->record, &c->fault);

	if (err)
		return err;
	if (iqn_valid(op->record.name)) /* commands take both, and copy sets are whose name it is */
		return fault_set(&c->fault, -EINVAL,
			"%s reads as an initiator's name: call the host something else, and give that as its initiator name",
			op->record.name);
	if (host_find(a, op->record.name))
		return fault_set(&c->fault, -EEXIST,
			"there is a host %s already: choose another name, or change that one",
			op->record.name);
	err = iqns_free(a, &op->record, NULL, &c->fault);
	if (!err)
		err = secrets_free(a, &op->record, NULL, &c->fault);
	if (!err && a->hosts->count >= a->options.hosts_max)
		err = fault_set(&c->fault, -EMLINK,
			"the array has its %u hosts; delete one or raise hosts_max", a->options.hosts_max);
	if (err)
		return err;
	op->host = host_new(a, &op->record);
	return op->host ? 0 : -ENOMEM;
}

static int host_build(struct change *c, struct store_txn *t)
{
	return host_record_put(c->array, t, &container_of(c, struct host_change, c)->record);
}

static void add_end(struct change *c, int err)
{
	struct host_change *op = container_of(c, struct host_change, c);

	if (err)
		return;
	host_link(op->host);
	c->call->host = op->host;
	op->host = NULL;
	array_event_tell(c->array, ARRAY_EVENT_INFO, "host", "host %s added", op->record.name);
}

static void add_clear(struct change *c)
{
	struct host_change *op = container_of(c, struct host_change, c);

	secrets_wipe(&op->record);
	if (op->host)
		host_free(op->host);
}

void host_add(struct array *a, const struct host_record *record, struct array_call *call)
{
	static const struct change_ops ops = {
		.check = add_check, .build = host_build, .end = add_end, .clear = add_clear};
	struct host_change *op = change_new(a, sizeof(*op), &ops, call);

	if (!op)
		return;
	op->record = *record;
	change_submit(&op->c);
}

static void held_clear(struct change *c)
{
	struct host_change *op = container_of(c, struct host_change, c);

	secrets_wipe(&op->record);
	if (c->array)
		host_release(op->host);
}

static int gone_check(struct change *c, const struct host *h)
{
	return h->gone ? fault_set(&c->fault, -ENODEV,
				 "host %s is deleted already: nothing is left to do, or add it anew",
				 h->record.name)
		       : 0;
}

static int update_check(struct change *c)
{
	struct host_change *op = container_of(c, struct host_change, c);
	int err = gone_check(c, op->host);

	/* The record was made from an older one: it would undo what another change has done since. */
	if (!err && op->updates != op->host->updates)
		err = fault_set(&c->fault, -EAGAIN, "host %s was changed meanwhile: try again",
			op->host->record.name);
	if (!err)
		err = host_record_check(&op->record, &c->fault);
	if (!err && strcmp(op->record.name, op->host->record.name) != 0)
		err = fault_set(&c->fault, -EINVAL, "host %s keeps its name; add another host instead",
			op->host->record.name);
	if (!err)
		err = iqns_free(c->array, &op->record, op->host, &c->fault);
	return err ? err : secrets_free(c->array, &op->record, op->host, &c->fault);
}

/* A session that logged in with the old secret has not proved that it knows the new one. When no secret is
 * asked for any more, it may go on. */
static bool proof_differs(const struct host_record *old, const struct host_record *r)
{
	if (strcmp(old->mutual_secret, r->mutual_secret) != 0)
		return true;
	return r->chap_secret[0] != 0 &&
	       (strcmp(old->chap_secret, r->chap_secret) != 0 || strcmp(old->chap_user, r->chap_user) != 0);
}

static void update_end(struct change *c, int err)
{
	struct host_change *op = container_of(c, struct host_change, c);
	bool other_proof;

	if (err)
		return;
	other_proof = proof_differs(&op->host->record, &op->record);
	iqns_unlink(op->host);
	op->host->record = op->record;
	op->host->updates++;
	iqns_link(op->host);
	c->call->host = op->host;
	array_event_tell(c->array, ARRAY_EVENT_INFO, "host", "host %s changed", op->record.name);
	host_revoke(op->host, other_proof);
}

void host_update(struct host *h, const struct host_record *record, struct array_call *call)
{
	static const struct change_ops ops = {
		.check = update_check, .build = host_build, .end = update_end, .clear = held_clear};
	struct host_change *op = change_new(h->array, sizeof(*op), &ops, call);

	if (!op)
		return;
	op->host = h;
	host_hold(h);
	op->record = *record;
	op->updates = h->updates;
	change_submit(&op->c);
}

static int delete_check(struct change *c)
{
	struct host_change *op = container_of(c, struct host_change, c);
	int err = gone_check(c, op->host);

	if (!err && op->host->mappings > 0)
		err = fault_set(&c->fault, -EBUSY, "host %s has %u LUN(s) mapped; unmap them first",
			op->host->record.name, op->host->mappings);
	return err;
}

static int delete_build(struct change *c, struct store_txn *t)
{
	struct host *h = container_of(c, struct host_change, c)->host;
	int err = rest_put_none(h, t);

	return err ? err : host_record_del(c->array, t, h->record.name);
}

static void delete_end(struct change *c, int err)
{
	struct host_change *op = container_of(c, struct host_change, c);

	if (err)
		return;
	array_event_tell(c->array, ARRAY_EVENT_INFO, "host", "host %s deleted", op->host->record.name);
	host_unlink(op->host);
	host_revoke(op->host, true);
}

void host_delete(struct host *h, struct array_call *call)
{
	static const struct change_ops ops = {
		.check = delete_check, .build = delete_build, .end = delete_end, .clear = held_clear};
	struct host_change *op = change_new(h->array, sizeof(*op), &ops, call);

	if (!op)
		return;
	op->host = h;
	host_hold(h);
	change_submit(&op->c);
}
