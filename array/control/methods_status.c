/* SPDX-License-Identifier: Apache-2.0 */
/* Management methods that show: the array, its pool, sessions, events, counters. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "array/control/methods.h"
#include "array/util/clock.h"
#include "array/util/json_text.h"

/* Of one answer. */
#define SESSIONS_MAX 1000 /* all that status and stats show; session.list has the rest */
#define EVENTS_MAX   1000

static json_t *pool_json(struct mgmt_call *c)
{
	struct store *store = array_settings(c->array)->store;
	struct store_scrub scrub = {0};
	struct store_stats stats = {0};

	store->ops->stats(store, &stats);
	if (store->ops->scrub_view)
		store->ops->scrub_view(store, &scrub);
	return json_pack("{s:s, s:s?, s:I, s:I, s:I, s:I, s:I, s:b, s:o, s:o, s:b, s:I, s:I, s:I, s:I}",
		"store", store->ops->name, "path", c->options->pool_path, "capacity_bytes",
		(json_int_t)stats.capacity_bytes, "used_bytes", (json_int_t)stats.used_bytes,
		"reclaim_pending_bytes", (json_int_t)stats.reclaim_pending_bytes, "reclaim_pending_steps",
		(json_int_t)stats.reclaim_pending_steps, "reserved_bytes", (json_int_t)stats.reserved_bytes,
		"read_only", stats.read_only, "read_only_reason", json_text(stats.read_only_reason), "mirror",
		json_text(stats.mirror[0] ? stats.mirror : "none"), "checksums", scrub.possible, "log_bytes",
		(json_int_t)stats.log_bytes, "log_used_bytes", (json_int_t)stats.log_used_bytes,
		"map_memory_bytes", (json_int_t)stats.map_memory_bytes, "map_memory_used_bytes",
		(json_int_t)stats.map_memory_used_bytes);
}

static json_t *session_json(struct mgmt_call *c, const struct management_session *s)
{
	const struct host *h = host_find_iqn(c->array, s->initiator);

	return json_pack("{s:o, s:s?, s:s, s:b, s:b, s:b, s:I, s:I, s:I, s:o}", "initiator",
		json_text(s->initiator), "host", h ? host_record_of(h)->name : NULL, "peer", s->peer,
		"authenticated", s->authenticated, "header_digest", s->header_digest, "data_digest",
		s->data_digest, "commands", (json_int_t)s->commands, "bytes_in", (json_int_t)s->bytes_in,
		"bytes_out", (json_int_t)s->bytes_out, "since_unix_ms", mgmt_time(s->since_unix_ms));
}

/* Of this host (NULL: of all): at most `limit` from the offset-th on. *more: there are others behind. */
static json_t *sessions_page(
	struct mgmt_call *c, const struct host *h, size_t offset, size_t limit, bool *more)
{
	const struct management_transport *t = c->options->transport;
	struct management_session session;
	json_t *list = json_array();
	size_t skip = offset;

	*more = false;
	for (unsigned i = 0; t && !*more && t->session(t->ctx, i, &session); i++) {
		if ((h && host_find_iqn(c->array, session.initiator) != h) || (skip && skip--))
			continue;
		*more = json_array_size(list) == limit;
		if (!*more)
			json_array_append_new(list, session_json(c, &session));
	}
	return list;
}

static json_t *portals_json(struct mgmt_call *c)
{
	const struct management_transport *t = c->options->transport;
	struct management_portal portal;
	json_t *list = json_array();

	for (unsigned i = 0; t && t->portal(t->ctx, i, &portal); i++)
		json_array_append_new(list, json_pack("{s:s, s:i, s:i, s:s*}", "address", portal.address,
						    "port", (int)portal.port, "group", (int)portal.group,
						    "redirect", portal.redirect[0] ? portal.redirect : NULL));
	return list;
}

static json_t *limits_json(struct mgmt_call *c)
{
	const struct array_options *s = array_settings(c->array);

	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:I, s:I, s:I}", "luns_max",
		(json_int_t)s->luns_max, "host_luns_max", (json_int_t)s->host_luns_max, "lun_max_bytes",
		(json_int_t)s->lun_max_bytes, "hosts_max", (json_int_t)s->hosts_max, "sets_max",
		(json_int_t)s->sets_max, "set_luns_max", (json_int_t)s->set_luns_max, "lease_ms",
		(json_int_t)s->lease_ms, "host_gone_ms", (json_int_t)s->host_gone_ms, "commit_budget_ms",
		(json_int_t)s->commit_budget_ms, "number_rest_ms", (json_int_t)s->number_rest_ms, "copy_kind",
		s->copy_kind == UP_COPY_PLEX ? "plex" : "differential", "hydrate_bytes_per_s",
		(json_int_t)s->hydrate_bytes_per_s, "hydrations_max", (json_int_t)s->hydrations_max,
		"recycle_ms", (json_int_t)s->recycle_s * 1000);
}

static json_t *counts_json(struct mgmt_call *c)
{
	json_int_t luns = 0, shadows = 0, hosts = 0, sets = 0, unkept = 0, recycled = 0,
		   lun_recycled_bytes = 0;
	struct set_view view;

	for (struct lun *l = lun_next(c->array, NULL); l; l = lun_next(c->array, l)) {
		if (l->kind == LUN_SHADOW)
			shadows++;
		else
			luns++;
	}
	for (struct host *h = host_next(c->array, NULL); h; h = host_next(c->array, h))
		hosts++;
	for (struct set *s = set_next(c->array, NULL); s; s = set_next(c->array, s)) {
		set_view_of(s, &view);
		sets += view.state != UP_SET_ABORTED;
		unkept += view.state != UP_SET_KEPT && view.state != UP_SET_ABORTED;
	}
	struct lun_recycled_view bin;
	for (bool is = lun_recycled_next(c->array, NULL, &bin); is;
		is = lun_recycled_next(c->array, bin.id, &bin)) {
		recycled++;
		lun_recycled_bytes += (json_int_t)bin.used_bytes;
	}
	return json_pack("{s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "luns", luns, "shadows", shadows, "hosts",
		hosts, "sets", mgmt_owners(c->array, sets), "sets_unkept", mgmt_owners(c->array, unkept),
		"recycled", mgmt_owners(c->array, recycled), "recycled_bytes",
		mgmt_owners(c->array, lun_recycled_bytes));
}

static json_t *events_json(const struct array *a)
{
	return json_pack("{s:I, s:I, s:I}", "info", (json_int_t)array_event_count(a, ARRAY_EVENT_INFO),
		"warning", (json_int_t)array_event_count(a, ARRAY_EVENT_WARNING), "error",
		(json_int_t)array_event_count(a, ARRAY_EVENT_ERROR));
}

static void status_method(struct mgmt_call *c)
{
	const struct management_transport *t = c->options->transport;
	bool more;

	if (!mgmt_unpack(c, "{}"))
		return;
	json_t *array = json_pack("{s:o, s:s, s:s, s:i, s:I, s:s?, s:o}", "id", mgmt_id(array_id(c->array)),
		"name", array_name(c->array), "version", UMBRA_VERSION, "pid", (int)getpid(),
		"started_unix_ms", (json_int_t)c->started_unix_ms, "target_name", t ? t->target_name : NULL,
		"portals", portals_json(c));
	json_t *sessions = sessions_page(c, NULL, 0, SESSIONS_MAX, &more);
	mgmt_result(c, json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:o}", "array", array, "controller",
			       mgmt_controller_json(c), "pool", pool_json(c), "counts", counts_json(c),
			       "limits", limits_json(c), "sessions", sessions, "sessions_more", more,
			       "events", events_json(c->array)));
}

static void pool_status_method(struct mgmt_call *c)
{
	if (mgmt_unpack(c, "{}"))
		mgmt_result(c, pool_json(c));
}

struct pool_grow {
	struct store_grow grow;
	struct mgmt_call *call;
};

static void pool_grown(struct store_grow *grow, int err)
{
	struct pool_grow *g = container_of(grow, struct pool_grow, grow);
	struct mgmt_call *c = g->call;

	if (err) {
		mgmt_fault(c, err, &grow->fault);
	} else {
		array_event_tell(c->array, ARRAY_EVENT_INFO, "pool",
			"the pool has a capacity of %llu MiB now",
			(unsigned long long)(grow->capacity_bytes >> 20));
		mgmt_result(c, pool_json(c));
	}
	free(g);
}

static void pool_grow_method(struct mgmt_call *c)
{
	struct store *store = array_settings(c->array)->store;
	json_int_t capacity = 0;
	struct pool_grow *g;

	if (!mgmt_unpack(c, "{s?I}", "capacity_bytes", &capacity))
		return;
	if (capacity < 0) {
		mgmt_bad_params(c, "capacity_bytes must be 0 (all that there is) or more");
		return;
	}
	if (!store->ops->grow) {
		mgmt_fail(c, -EOPNOTSUPP,
			"this array's store does not grow by a command: it lies in Ceph, which grows with its OSDs (docs/ceph.md).");
		return;
	}
	g = calloc(1, sizeof(*g));
	if (!g) {
		mgmt_fail(c, -ENOMEM, "umbrad has no memory for this: try again.");
		return;
	}
	g->call = c;
	g->grow =
		(struct store_grow){.store = store, .capacity_bytes = (uint64_t)capacity, .done = pool_grown};
	store->ops->grow(&g->grow);
}

struct pool_backup {
	struct store_backup backup;
	struct mgmt_call *call;
	char path[4096];
};

static void pool_backed_up(struct store_backup *backup, int err)
{
	struct pool_backup *b = container_of(backup, struct pool_backup, backup);
	struct mgmt_call *c = b->call;

	if (err) {
		mgmt_fault(c, err, &backup->fault);
	} else {
		array_event_tell(
			c->array, ARRAY_EVENT_INFO, "pool", "the pool's metadata was copied to %s", b->path);
		mgmt_result(c, json_pack("{s:s}", "path", b->path));
	}
	free(b);
}

static void pool_backup_method(struct mgmt_call *c)
{
	struct store *store = array_settings(c->array)->store;
	struct pool_backup *b;
	const char *path;

	if (!mgmt_unpack(c, "{s:s}", "path", &path))
		return;
	if (*path != '/' || strlen(path) >= sizeof(b->path)) {
		mgmt_bad_params(c, "path must be an absolute path");
		return;
	}
	if (!store->ops->backup) {
		mgmt_fail(c, -EOPNOTSUPP,
			"this array's store has no metadata to copy: it lies in Ceph, whose copies and backups are what keeps it (docs/ceph.md).");
		return;
	}
	b = calloc(1, sizeof(*b));
	if (!b) {
		mgmt_fail(c, -ENOMEM, "umbrad has no memory for this: try again.");
		return;
	}
	b->call = c;
	snprintf(b->path, sizeof(b->path), "%s", path);
	b->backup = (struct store_backup){.store = store, .path = b->path, .done = pool_backed_up};
	store->ops->backup(&b->backup);
}

static json_t *scrub_json(struct store *store)
{
	struct store_scrub v = {0};

	store->ops->scrub_view(store, &v);
	return json_pack("{s:s, s:b, s:i, s:I, s:I, s:I, s:I, s:I}", "state",
		v.running    ? "running"
		: v.err      ? "failed"
		: v.finished ? "finished"
		: v.passed   ? "stopped"
			     : "none",
		"checksums", v.possible, "percent",
		v.finished ? 100
		: v.total  ? (int)(v.passed * 100 / v.total)
			   : 0,
		"read_bytes", (json_int_t)v.bytes, "damaged", (json_int_t)v.damaged, "unreadable",
		(json_int_t)v.unreadable, "rate", (json_int_t)v.bytes_per_s, "settling",
		(json_int_t)v.settling);
}

/* The store that can be scrubbed; NULL: the call has been ended. */
static struct store *scrub_store(struct mgmt_call *c)
{
	struct store *store = array_settings(c->array)->store;

	if (store->ops->scrub_view)
		return store;
	mgmt_fail(c, -EOPNOTSUPP,
		"this array's store keeps no checksums of its own: it lies in Ceph, whose scrubs look for damage (ceph pg deep-scrub).");
	return NULL;
}

static void pool_scrub_status_method(struct mgmt_call *c)
{
	struct store *store = mgmt_unpack(c, "{}") ? scrub_store(c) : NULL;

	if (store)
		mgmt_result(c, scrub_json(store));
}

static void pool_scrub_start_method(struct mgmt_call *c)
{
	json_int_t rate = 0;
	struct store *store;
	int err;

	if (!mgmt_unpack(c, "{s?I}", "bytes_per_s", &rate))
		return;
	if (rate < 0) {
		mgmt_bad_params(c, "bytes_per_s must not be negative");
		return;
	}
	store = scrub_store(c);
	if (!store)
		return;
	err = store->ops->scrub_start(store, (uint64_t)rate);
	if (err == -EOPNOTSUPP)
		mgmt_fail(c, err,
			"the pool keeps no checksums to compare with: stop umbrad, run `umbractl pool checksums PATH on`, start it again.");
	else if (err == -EROFS)
		mgmt_fail(c, err, "the pool is read-only: `umbractl pool status` says why.");
	else if (err == -EBUSY)
		mgmt_fail(c, err, "a scrub is just ending: try again.");
	else if (err)
		mgmt_fail(c, err, "umbrad has no memory for this: try again.");
	else
		mgmt_result(c, scrub_json(store));
}

static void pool_scrub_stop_method(struct mgmt_call *c)
{
	struct store *store = mgmt_unpack(c, "{}") ? scrub_store(c) : NULL;

	if (!store)
		return;
	store->ops->scrub_stop(store);
	mgmt_result(c, scrub_json(store));
}

static void session_list_method(struct mgmt_call *c)
{
	json_int_t from = 0, count = MGMT_PAGE_MAX;
	const struct host *h = NULL;
	const char *name = NULL;
	size_t offset, limit;
	bool more;

	if (!mgmt_unpack(c, "{s?I, s?I, s?s}", "offset", &from, "limit", &count, "host", &name) ||
		!mgmt_range_of(c, from, count, MGMT_PAGE_MAX, &offset, &limit))
		return;
	if (name) {
		h = mgmt_find_host(c, name);
		if (!h)
			return;
	}
	json_t *list = sessions_page(c, h, offset, limit, &more);
	mgmt_result(c, mgmt_range_result("sessions", list, offset + json_array_size(list), more));
}

/* Without a host: all sessions. */
static void session_logout_method(struct mgmt_call *c)
{
	const struct management_transport *t = c->options->transport;
	const char *name = NULL;
	const struct host *h = NULL;
	json_int_t asked = 0;

	if (!mgmt_unpack(c, "{s?s}", "host", &name))
		return;
	if (name) {
		h = mgmt_find_host(c, name);
		if (!h)
			return;
	}
	for (unsigned i = 0; t && h && i < host_record_of(h)->iqn_count; i++)
		asked += t->logout(t->ctx, host_record_of(h)->iqns[i]);
	if (t && !h)
		asked = t->logout(t->ctx, NULL);
	mgmt_result(c, json_pack("{s:I}", "asked", asked));
}

/* Counters since the start; who wants rates asks twice. */
static void stats_method(struct mgmt_call *c)
{
	bool more;

	if (mgmt_unpack(c, "{}"))
		mgmt_result(
			c, json_pack("{s:I, s:o, s:o}", "unix_ms", (json_int_t)clock_unix_ms(), "pool",
				   pool_json(c), "sessions", sessions_page(c, NULL, 0, SESSIONS_MAX, &more)));
}

static void events_list_method(struct mgmt_call *c)
{
	json_int_t after = 0, limit = EVENTS_MAX;

	if (!mgmt_unpack(c, "{s?I, s?I}", "after", &after, "limit", &limit))
		return;
	if (after < 0 || limit < 1) {
		mgmt_bad_params(c, "after must be 0 or more, limit 1 or more");
		return;
	}
	json_t *list = json_array();
	uint64_t last = (uint64_t)after;
	const struct array_event *e = array_event_after(c->array, last);
	for (; e && json_array_size(list) < (size_t)limit && json_array_size(list) < EVENTS_MAX;
		e = array_event_after(c->array, last)) {
		json_array_append_new(list, mgmt_event_json(e));
		last = e->serial;
	}
	mgmt_result(
		c, json_pack("{s:o, s:I, s:b}", "events", list, "last", (json_int_t)last, "more", e != NULL));
}

static void events_follow_method(struct mgmt_call *c)
{
	json_int_t after = 0;

	if (!mgmt_unpack(c, "{s?I}", "after", &after))
		return;
	if (after < 0)
		mgmt_bad_params(c, "after must be 0 or more");
	else
		mgmt_follow(c, (uint64_t)after);
}

const struct mgmt_method mgmt_status_methods[] = {
	{"status", status_method, MGMT_ANYWHERE},
	{"pool.status", pool_status_method, MGMT_OWNER},
	{"pool.grow", pool_grow_method, MGMT_OWNER},
	{"pool.backup", pool_backup_method, MGMT_OWNER},
	{"pool.scrub_start", pool_scrub_start_method, MGMT_OWNER},
	{"pool.scrub_stop", pool_scrub_stop_method, MGMT_OWNER},
	{"pool.scrub_status", pool_scrub_status_method, MGMT_OWNER},
	{"session.list", session_list_method, MGMT_ANYWHERE},
	{"session.logout", session_logout_method, MGMT_ANYWHERE},
	{"stats", stats_method, MGMT_ANYWHERE},
	{"events.list", events_list_method, MGMT_ANYWHERE},
	{"events.follow", events_follow_method, MGMT_ANYWHERE},
	{NULL, NULL, MGMT_OWNER},
};
