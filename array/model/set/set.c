/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copy sets: their structs and names, the calls that need no I/O (begin, add), keep and abort. state.c alone
 * says which call may follow which.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "array/model/set/internal.h"
#include "proto/identity.h"

/* ---- calls that wait ---- */

struct waiter {
	struct list_node link;
	struct array_call *call;
};

bool set_wait(struct list *waiters, struct array_call *call)
{
	struct waiter *w = malloc(sizeof(*w));

	if (!w) {
		array_call_refuse(call, -ENOMEM, FAULT_NO_MEMORY);
		return false;
	}
	w->call = call;
	list_push_back(waiters, &w->link);
	return true;
}

void set_tell(struct list *waiters, int err, const struct fault *fault)
{
	struct list now;
	struct list_node *n;

	list_init(&now);
	while ((n = list_pop(waiters)))
		list_push_back(&now, n);
	while ((n = list_pop(&now))) {
		struct waiter *w = container_of(n, struct waiter, link);
		struct array_call *call = w->call;

		free(w);
		array_call_end(call, err, fault);
	}
}

void set_drop(struct list *waiters)
{
	struct list_node *n;

	while ((n = list_pop(waiters)))
		free(container_of(n, struct waiter, link));
}

/* ---- structs ---- */

void set_free(struct set *s)
{
	set_lease_stop(s);
	set_reserve_close(s);
	set_drop(&s->undo_waiters);
	for (unsigned i = 0; i < s->member_count; i++)
		if (s->sides[i].shadow && !s->shadows_linked)
			lun_free(lun_box_of(s->sides[i].shadow));
	free(s->members);
	free(s->sides);
	free(s);
}

void set_discard(struct set *s)
{
	free(s->members);
	free(s->sides);
	free(s);
}

static void set_bury(struct array_grave *g)
{
	set_free(container_of(g, struct set, grave));
}

struct set *set_new(struct array *a, const uint8_t id[UP_ID_BYTES], const char *owner, unsigned members)
{
	struct set *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->array = a;
	memcpy(s->id, id, UP_ID_BYTES);
	snprintf(s->owner, sizeof(s->owner), "%s", owner);
	s->state = UP_SET_PREPARING;
	s->holds = 1;
	s->shadows_linked = true;
	s->grave.bury = set_bury;
	list_init(&s->undo_waiters);
	list_init(&s->arm_waiters);
	set_lease_init(s);
	s->members = calloc(members, sizeof(*s->members));
	s->sides = calloc(members, sizeof(*s->sides));
	if (!s->members || !s->sides) {
		set_free(s);
		return NULL;
	}
	return s;
}

void set_hold(struct set *s)
{
	s->holds++;
}

void set_release(struct set *s)
{
	assert(s->holds > 0);
	if (--s->holds == 0)
		array_grave_add(s->array, &s->grave);
}

void set_link(struct set *s)
{
	struct sets *sets = s->array->sets;

	list_push_back(&sets->all, &s->link);
	if (s->state != UP_SET_KEPT && s->state != UP_SET_ABORTED)
		list_push_back(&sets->unkept, &s->unkept_link);
	array_index_add(&sets->by_id, &s->by_id, array_hash_id(s->id));
	if (s->name[0])
		array_index_add(&sets->by_name, &s->by_name, array_hash_text(s->name));
	sets->count++;
}

void set_forget(struct set *s)
{
	struct array *a = s->array;

	assert(!s->forgotten && !s->undo_due && !s->commit);
	set_lease_stop(s);
	set_reserve_give_back(s);
	list_remove(&s->link);
	list_remove(&s->unkept_link);
	array_index_remove(&a->sets->by_id, &s->by_id);
	if (s->name[0])
		array_index_remove(&a->sets->by_name, &s->by_name);
	if (s->state == UP_SET_ABORTED)
		a->sets->aborted_count--;
	else
		a->sets->count--;
	s->forgotten = true;
	set_release(s);
}

int set_setup(struct sets *sets, struct array *a)
{
	a->sets = sets;
	sets->array = a;
	sets->lock_timer.fire = set_lock_fire;
	int err = array_index_init(&sets->by_id, a->options.sets_max);

	list_init(&sets->all);
	list_init(&sets->unkept);
	return err ? err : array_index_init(&sets->by_name, a->options.sets_max);
}

void set_close_all(struct array *a)
{
	struct list_node *n;

	reactor_timer_disarm(a->options.reactor, &a->sets->lock_timer);
	while ((n = list_pop(&a->sets->all)))
		set_free(container_of(n, struct set, link));
}

void set_teardown(struct array *a)
{
	array_index_free(&a->sets->by_id);
	array_index_free(&a->sets->by_name);
}

/* The oldest aborted sets beyond the bound are not remembered any more. */
static void aborted_trim(struct array *a)
{
	list_for_each_safe (n, &a->sets->all) {
		struct set *s = container_of(n, struct set, link);

		if (a->sets->aborted_count <= SET_ABORTED_KEPT)
			return;
		if (s->state == UP_SET_ABORTED && !s->undo_due)
			set_forget(s);
	}
}

void set_let_go(struct set *s)
{
	for (unsigned i = 0; i < s->member_count; i++) {
		struct set_side *side = &s->sides[i];

		if (side->original) {
			lun_box_of(side->original)->unkept--;
			lun_release(side->original);
			side->original = NULL;
		}
		if (side->reserved) {
			array_ident_remove(s->array, &side->ident);
			side->reserved = false;
			s->array->luns->reserved_count--;
		}
	}
	if (s->state != UP_SET_KEPT)
		set_reserve_give_back(s);
}

static void shadows_unkept(struct set *s, bool unkept)
{
	for (unsigned i = 0; i < s->member_count; i++) {
		struct lun_box *b = s->sides[i].shadow ? lun_box_of(s->sides[i].shadow) : NULL;

		if (!b)
			continue;
		b->copy_unkept = unkept;
		b->unkept += unkept ? 1 : -1u;
	}
}

static void shadows_hydrate(struct set *s)
{
	for (unsigned i = 0; i < s->member_count; i++)
		lun_hydration_kick(s->sides[i].shadow);
}

/* A committed set found at the start protects its originals again. */
static void originals_find(struct set *s)
{
	for (unsigned i = 0; i < s->member_count; i++) {
		struct set_side *side = &s->sides[i];

		if (side->original)
			continue;
		side->original = lun_find(s->array, s->members[i].original_id);
		if (!side->original)
			continue;
		lun_hold(side->original);
		lun_box_of(side->original)->unkept++;
	}
}

void set_enter(struct set *s, enum up_set_state next)
{
	struct array *a = s->array;
	enum up_set_state before = s->state;
	bool quiet = next == UP_SET_ARMED || next == UP_SET_COMMITTING;

	s->state = next;
	if (next == UP_SET_KEPT || next == UP_SET_ABORTED)
		list_remove(&s->unkept_link);
	if (next == UP_SET_COMMITTED && before != next) {
		shadows_unkept(s, true);
		originals_find(s);
	}
	if (before == UP_SET_COMMITTED && next == UP_SET_KEPT)
		shadows_unkept(s, false);
	if (next == UP_SET_KEPT)
		shadows_hydrate(s);
	if (next == UP_SET_KEPT || (next == UP_SET_ABORTED && !s->undo_due))
		set_let_go(s);
	if (next == UP_SET_ABORTED && before != UP_SET_ABORTED) {
		a->sets->count--;
		a->sets->aborted_count++;
		aborted_trim(a);
	}
	set_lease_follow(s);
	if (quiet && !s->quiet) {
		s->quiet = true;
		host_quiet_enter(a);
	} else if (!quiet && s->quiet) {
		s->quiet = false;
		host_quiet_leave(a);
	}
}

void set_record_of(const struct set *s, struct set_record *out)
{
	memset(out, 0, sizeof(*out));
	memcpy(out->id, s->id, UP_ID_BYTES);
	out->state = s->state;
	memcpy(out->name, s->name, sizeof(out->name));
	memcpy(out->owner, s->owner, sizeof(out->owner));
	out->cut_unix_ms = s->cut_unix_ms;
	out->window_ns = s->window_ns;
	out->durable_ns = s->durable_ns;
	out->cut_ran_ms = s->cut_ran_ms;
	out->commit_request = s->commit_request;
	out->notes = s->notes;
	out->member_count = s->member_count;
	out->members = s->members;
}

const char *set_label(const struct set *s, char out[ARRAY_NAME_MAX_BYTES + 1])
{
	char hex[UP_SERIAL_BYTES + 1];

	up_id_format(s->id, hex);
	snprintf(out, ARRAY_NAME_MAX_BYTES + 1, "%s", s->name[0] ? s->name : hex);
	return out;
}

/* ---- finding ---- */

static struct set *find_any(struct array *a, const uint8_t id[UP_ID_BYTES])
{
	struct array_index_node *n = array_index_first(&a->sets->by_id, array_hash_id(id));

	for (; n; n = array_index_again(n)) {
		struct set *s = container_of(n, struct set, by_id);

		if (memcmp(s->id, id, UP_ID_BYTES) == 0)
			return s;
	}
	return NULL;
}

struct set *set_find(struct array *a, const uint8_t set_id[UP_ID_BYTES], const char *owner)
{
	struct set *s = find_any(a, set_id);

	return s && (!owner || set_owner_same(a, s->owner, owner)) ? s : NULL;
}

struct set *set_find_name(struct array *a, const char *name)
{
	struct array_index_node *n = array_index_first(&a->sets->by_name, array_hash_text(name));

	for (; n; n = array_index_again(n)) {
		struct set *s = container_of(n, struct set, by_name);

		if (s->state != UP_SET_ABORTED && strcmp(s->name, name) == 0)
			return s;
	}
	return NULL;
}

struct set *set_next(struct array *a, const struct set *after)
{
	struct list_node *n = after ? after->link.next : a->sets->all.head.next;

	return n && n != &a->sets->all.head ? container_of(n, struct set, link) : NULL;
}

const char *set_name_of(struct array *a, const uint8_t id[UP_ID_BYTES])
{
	const struct set *s = set_find(a, id, NULL);

	return s && s->name[0] ? s->name : NULL;
}

void set_view_of(const struct set *s, struct set_view *out)
{
	uint64_t now = reactor_now_ns(s->array->options.reactor);

	memset(out, 0, sizeof(*out));
	memcpy(out->id, s->id, UP_ID_BYTES);
	memcpy(out->name, s->name, sizeof(out->name));
	memcpy(out->owner, s->owner, sizeof(out->owner));
	out->state = s->state;
	if (set_state_unkept(s->state) && s->lease_until_ns > now)
		out->lease_left_ms = (uint32_t)((s->lease_until_ns - now) / 1000000);
	out->cut_unix_ms = s->cut_unix_ms;
	out->window_ns = s->window_ns;
	out->durable_ns = s->durable_ns;
	out->lock_unix_ms = s->lock_unix_ms;
	if (s->lock_unix_ms)
		out->lock_left_ms = set_lock_left_ms(s) + 1;
	out->notes = s->notes;
	out->member_count = s->member_count;
	out->members = s->members;
}

struct set *set_find_for(struct array *a, const uint8_t id[UP_ID_BYTES], const char *owner,
	enum set_event event, enum up_set_state *next, int *err, struct fault *fault)
{
	struct set *s = set_find(a, id, owner);
	char label[ARRAY_NAME_MAX_BYTES + 1];

	if (!s) {
		*err = fault_set(fault, -ENOENT,
			"there is no such copy set; it may have been aborted when its lease "
			"ended: begin a new one");
		return NULL;
	}
	*err = set_state_next(s->state, event, next);
	if (!*err)
		return s;
	fault_set(fault, *err, "copy set %s is %s: this is not possible any more; %s", set_label(s, label),
		up_set_state_name(s->state),
		event == SET_ABORT ? "delete its shadow LUNs instead" : "begin a new set");
	return NULL;
}

/* ---- begin, add ---- */

int set_begin(struct array *a, const uint8_t set_id[UP_ID_BYTES], const char *owner, struct fault *fault)
{
	struct set *s = find_any(a, set_id);
	const struct host *h;
	enum up_set_state next;

	if (array_id_zero(set_id) || strlen(owner) > UP_NAME_MAX_BYTES)
		return fault_set(fault, -EINVAL, "the id of a copy set is zero: choose a random one");
	if (s && !set_owner_same(a, s->owner, owner))
		return fault_set(fault, -EEXIST, "the set id is in use by another host; choose another");
	if (s) {
		int err;

		if (!set_find_for(a, set_id, owner, SET_BEGIN, &next, &err, fault))
			return err;
		set_lease_renew(s);
		return 0;
	}
	if (a->sets->count >= a->options.sets_max)
		return fault_set(fault, -EMLINK,
			"the array has its %u copy sets; delete one or raise sets_max", a->options.sets_max);
	h = set_owner_host(a, owner);
	s = set_new(a, set_id, h ? h->record.name : owner, a->options.set_luns_max);
	if (!s)
		return fault_set(fault, -ENOMEM, FAULT_NO_MEMORY);
	set_link(s);
	set_lease_follow(s);
	return 0;
}

int set_rename(struct set *s, const char *name, struct fault *fault)
{
	struct set *other;

	if (!array_name_allowed(name, fault))
		return -EINVAL;
	if (s->state != UP_SET_PREPARING && s->state != UP_SET_ARMED)
		return fault_set(fault, -EBADFD,
			"the set is %s, and gets its name before the commit: begin a new one",
			up_set_state_name(s->state));
	other = set_find_name(s->array, name);
	if (other && other != s)
		return fault_set(fault, -EEXIST, "there is a copy set %s already; choose another name", name);
	if (s->name[0])
		array_index_remove(&s->array->sets->by_name, &s->by_name);
	snprintf(s->name, sizeof(s->name), "%s", name);
	array_index_add(&s->array->sets->by_name, &s->by_name, array_hash_text(s->name));
	return 0;
}

static int add_check(
	struct array *a, struct set *s, struct lun *original, enum up_copy_kind kind, struct fault *fault)
{
	if (kind != UP_COPY_PLEX && kind != UP_COPY_DIFFERENTIAL)
		return fault_set(
			fault, -EINVAL, "unknown kind of copy: ask for default, differential or plex");
	if (kind == UP_COPY_PLEX && !a->options.store->ops->hydrate)
		return fault_set(
			fault, -ENOTSUP, "this array's store makes differential copies only: ask for one");
	/* A LUN that is gone has no disk any more. */
	if (original->gone)
		return fault_set(fault, -ENODEV, "LUN %s is being deleted: leave it out", original->name);
	if (original->resyncing)
		return fault_set(
			fault, -EBUSY, "LUN %s is being resynced; wait for it or cancel it", original->name);
	if (original->array != a || original->disk->store != a->options.store)
		return fault_set(fault, -EXDEV,
			"LUN %s lies in another store than the set: make a set for each store",
			original->name);
	if (lun_unkept(original))
		return fault_set(fault, -EBUSY,
			"LUN %s belongs to a copy set that is not kept yet: keep that one first",
			original->name);
	if (s->member_count >= a->options.set_luns_max)
		return fault_set(fault, -EMLINK,
			"a copy set has at most %u LUNs: make two of it, or raise set_luns_max",
			a->options.set_luns_max);
	if (lun_taken(a) >= a->options.luns_max)
		return fault_set(fault, -EMLINK,
			"the array has its %u LUNs; delete shadow copies or raise luns_max",
			a->options.luns_max);
	return 0;
}

/* Two volumes of one LUN: one copy. */
static int add_again(struct set *s, unsigned member, enum up_copy_kind kind, uint8_t shadow_id[UP_ID_BYTES],
	struct fault *fault)
{
	if (kind != UP_COPY_DEFAULT && kind != s->members[member].kind)
		return fault_set(fault, -EBADFD,
			"LUN %s is in the set already, for another kind of copy: ask for the same kind",
			s->sides[member].original->name);
	memcpy(shadow_id, s->members[member].shadow_id, UP_ID_BYTES);
	set_lease_renew(s);
	return 0;
}

int set_add(struct array *a, const uint8_t set_id[UP_ID_BYTES], const char *owner, struct lun *original,
	enum up_copy_kind kind, uint8_t shadow_id[UP_ID_BYTES], struct fault *fault)
{
	enum up_set_state next;
	int err;
	struct set *s = set_find_for(a, set_id, owner, SET_ADD, &next, &err, fault);

	if (!s)
		return err;
	if (s->arming)
		return fault_set(fault, -EBUSY, "the copy set is being armed; add LUNs before that");
	for (unsigned i = 0; i < s->member_count; i++)
		if (s->sides[i].original == original)
			return add_again(s, i, kind, shadow_id, fault);
	if (kind == UP_COPY_DEFAULT)
		kind = a->options.copy_kind;
	err = add_check(a, s, original, kind, fault);
	if (err)
		return err;
	struct set_member *m = &s->members[s->member_count];
	struct set_side *side = &s->sides[s->member_count];
	err = array_id_new(a, m->shadow_id);
	if (err)
		return fault_set(fault, err, FAULT_NO_RANDOM);
	memcpy(m->original_id, original->id, UP_ID_BYTES);
	m->kind = kind;
	m->size_bytes = original->size_bytes;
	side->original = original;
	lun_hold(original);
	lun_box_of(original)->unkept++;
	array_ident_add(a, &side->ident, m->shadow_id);
	side->reserved = true;
	a->luns->reserved_count++;
	s->member_count++;
	memcpy(shadow_id, m->shadow_id, UP_ID_BYTES);
	set_lease_renew(s);
	return 0;
}

/* ---- keep ---- */

struct keep {
	struct change c;
	struct set *s; /* held */
};

static int keep_check(struct change *c)
{
	struct set *s = container_of(c, struct keep, c)->s;
	enum up_set_state next;
	int err;

	if (s->forgotten)
		return fault_set(&c->fault, -ENOENT, "the copy set was aborted meanwhile: begin a new one");
	if (s->state == UP_SET_KEPT)
		return 1;
	return set_find_for(c->array, s->id, NULL, SET_KEEP, &next, &err, &c->fault) ? 0 : err;
}

static int keep_build(struct change *c, struct store_txn *t)
{
	struct set_record r;

	set_record_of(container_of(c, struct keep, c)->s, &r);
	r.state = UP_SET_KEPT;
	return set_record_put(c->array, t, &r);
}

static void keep_end(struct change *c, int err)
{
	struct set *s = container_of(c, struct keep, c)->s;
	char label[ARRAY_NAME_MAX_BYTES + 1];

	if (err || s->state == UP_SET_KEPT)
		return;
	set_enter(s, UP_SET_KEPT);
	array_event_tell(c->array, ARRAY_EVENT_INFO, "set", "copy set %s kept, %u LUN(s)%s%s",
		set_label(s, label), s->member_count, s->notes.label[0] ? ", label " : "", s->notes.label);
}

static void keep_clear(struct change *c)
{
	if (c->array)
		set_release(container_of(c, struct keep, c)->s);
}

void set_keep(struct array *a, const uint8_t set_id[UP_ID_BYTES], const char *owner, struct array_call *call)
{
	static const struct change_ops ops = {
		.check = keep_check, .build = keep_build, .end = keep_end, .clear = keep_clear};
	enum up_set_state next;
	struct fault fault;
	int err;
	struct set *s = set_find_for(a, set_id, owner, SET_KEEP, &next, &err, &fault);
	struct keep *op;

	if (!s) {
		array_call_end(call, err, &fault);
		return;
	}
	set_lease_renew(s);
	op = change_new(a, sizeof(*op), &ops, call);
	if (!op)
		return;
	op->s = s;
	set_hold(s);
	change_submit(&op->c);
}

/* ---- abort ---- */

void set_abort(struct array *a, const uint8_t set_id[UP_ID_BYTES], const char *owner, struct array_call *call)
{
	enum up_set_state next;
	struct fault fault;
	int err;
	struct set *s = set_find_for(a, set_id, owner, SET_ABORT, &next, &err, &fault);
	char label[ARRAY_NAME_MAX_BYTES + 1];

	if (!s) {
		array_call_end(call, err, &fault);
		return;
	}
	if (s->state == UP_SET_COMMITTED) {
		set_undo_start(s, call);
		return;
	}
	if (s->state != UP_SET_ABORTED)
		array_event_tell(a, ARRAY_EVENT_INFO, "set", "copy set %s aborted", set_label(s, label));
	if (s->state == UP_SET_COMMITTING) {
		fault_set(&fault, -ECANCELED, "the copy set was aborted meanwhile: begin a new one");
		set_commit_give_up(s, -ECANCELED, &fault);
	} else if (s->state != UP_SET_ABORTED) {
		set_enter(s, next);
	}
	if (s->undo_due)
		set_undo_wait(s, call);
	else
		array_call_end(call, 0, NULL);
}
