/* SPDX-License-Identifier: Apache-2.0 */
/* The array as a whole: opening and closing it, and what its lower folders tell the upper ones. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "array/model/array.h"
#include "array/model/catalogue.h"
#include "array/model/policy/internal.h"
#include "array/model/set/internal.h"

static uint32_t or_default(uint32_t value, uint32_t if_zero)
{
	return value ? value : if_zero;
}

static void options_fill(struct array_options *o)
{
	o->lease_ms = or_default(o->lease_ms, 600000);
	o->host_gone_ms = or_default(o->host_gone_ms, 120000);
	o->commit_budget_ms = or_default(o->commit_budget_ms, 5000);
	o->number_rest_ms = or_default(o->number_rest_ms, 600000);
	o->luns_max = or_default(o->luns_max, 16384);
	o->hosts_max = or_default(o->hosts_max, 4096);
	o->sets_max = or_default(o->sets_max, 4096);
	o->hydrations_max = or_default(o->hydrations_max, 2);
	if (o->copy_kind == UP_COPY_DEFAULT)
		o->copy_kind = UP_COPY_DIFFERENTIAL;
	o->set_luns_max = or_default(o->set_luns_max, 64);
	o->host_luns_max = or_default(o->host_luns_max, ARRAY_LUN_NUMBER_MAX);
	if (o->lun_max_bytes == 0 || o->lun_max_bytes > ARRAY_LUN_MAX_BYTES)
		o->lun_max_bytes = ARRAY_LUN_MAX_BYTES;
	if (o->set_luns_max > SET_RECORD_MEMBERS_MAX)
		o->set_luns_max = SET_RECORD_MEMBERS_MAX;
}

static const struct array_news news = {
	.lun_resized = host_tell_resized,
	.lun_protected = host_tell_protected,
	.lun_replaced = host_tell_replaced,
	.host_came = set_host_came,
	.host_went = set_host_went,
	.set_name = set_name_of,
};

/* The array in one piece of memory. Each folder knows its own part of it. */
struct whole {
	struct array array;
	struct luns luns;
	struct hosts hosts;
	struct sets sets;
	struct policies policies;
};

struct array *array_new(const struct array_options *options)
{
	struct whole *w = calloc(1, sizeof(*w));
	struct array *a = w ? &w->array : NULL;

	if (!a)
		return NULL;
	a->news = &news;
	a->options = *options;
	options_fill(&a->options);
	snprintf(a->name, sizeof(a->name), "%s", options->name ? options->name : "umbra");
	a->options.name = a->name;
	a->opened_ns = reactor_now_ns(a->options.reactor);
	list_init(&a->turns);
	list_init(&a->turns_aside);
	list_init(&a->changes);
	list_init(&a->changes_away);
	list_init(&a->changes_held);
	list_init(&a->event_listeners);
	list_init(&a->room_listeners);
	array_graves_init(a);
	return a;
}

int array_setup(struct array *a)
{
	struct whole *w = container_of(a, struct whole, array);
	int errs[] = {array_index_init(&a->idents, a->options.luns_max), lun_setup(&w->luns, a),
		host_setup(&w->hosts, a), set_setup(&w->sets, a)};
	int err = 0;

	policy_setup(&w->policies, a);
	for (size_t i = 0; !err && i < sizeof(errs) / sizeof(errs[0]); i++)
		err = errs[i];
	return err;
}

int array_open(const struct array_options *options, struct array **out, struct fault *fault)
{
	struct array *a = array_new(options);
	int err = a ? array_setup(a) : -ENOMEM;

	if (err) {
		fault_set(fault, err, FAULT_NO_MEMORY);
	} else {
		err = catalogue_load(a, fault);
	}
	if (!err && options->standby) {
		*out = a;
		return 0;
	}
	if (!err && a->options.copy_kind == UP_COPY_PLEX && !a->options.store->ops->hydrate)
		err = fault_set(fault, -ENOTSUP,
			"copy_kind is plex, and this store makes differential copies only: take the line out of umbrad.conf");
	for (struct lun *lun = err ? NULL : lun_next(a, NULL); lun; lun = lun_next(a, lun))
		lun_hydration_kick(lun);
	if (!err && !a->meta_durable) {
		/* A new pool: the id becomes durable with the first change. Until then nobody has seen it:
		 * no host can log in. */
		a->created_unix_ms = array_clock_unix_ms();
		err = array_id_new(a, a->id);
		if (err)
			fault_set(fault, err, FAULT_NO_RANDOM);
	}
	if (err) {
		if (a)
			array_close(a);
		return err;
	}
	lun_images_bury(a);
	set_owners_settle(a);
	*out = a;
	return 0;
}

void array_reload(struct array *a, const struct array_options *options)
{
	struct array_options fresh = *options, *o = &a->options;

	options_fill(&fresh);
	o->lease_ms = fresh.lease_ms;
	o->host_gone_ms = fresh.host_gone_ms;
	o->commit_budget_ms = fresh.commit_budget_ms;
	o->number_rest_ms = fresh.number_rest_ms;
	o->hydrate_bytes_per_s = fresh.hydrate_bytes_per_s;
	o->hydrations_max = fresh.hydrations_max;
	o->recycle_s = fresh.recycle_s;
	o->host_luns_max = fresh.host_luns_max;
	o->lun_max_bytes = fresh.lun_max_bytes;
	if (o->store->ops->hydrate)
		o->copy_kind = fresh.copy_kind;
	if (o->standby)
		return;
	for (struct lun *lun = lun_next(a, NULL); lun; lun = lun_next(a, lun))
		lun_hydration_kick(lun);
}

void array_stand_by(struct array *a)
{
	a->options.standby = true;
	host_tell_now(a);
}

int array_check(struct store *store, struct reactor *reactor, struct fault *fault)
{
	struct array_options options = {.store = store, .reactor = reactor};
	struct array *a = array_new(&options);
	int err = a ? array_setup(a) : -ENOMEM;

	err = err ? fault_set(fault, err, FAULT_NO_MEMORY) : catalogue_load(a, fault);
	if (a)
		array_close(a);
	return err;
}

void array_stop(struct array *a, void (*done)(void *arg), void *arg)
{
	lun_hydration_stop(a, done, arg);
}

void array_close(struct array *a)
{
	lun_resync_close_all(a); /* while the changes of those that run are there */
	change_close_all(a);
	array_turns_close(a);
	lun_images_close(a);
	lun_marks_close(a);
	lun_recycle_close(a);
	policy_close_all(a);
	set_close_all(a);
	host_close_all(a);
	lun_close_all(a);
	reactor_timer_disarm(a->options.reactor, &a->grave_timer);
	array_graves_bury(a);
	set_teardown(a);
	host_teardown(a);
	lun_teardown(a);
	array_index_free(&a->idents);
	free(container_of(a, struct whole, array));
}
