/* SPDX-License-Identifier: Apache-2.0 */
/* The array: opening and closing, identities, names, and what the other files share. */
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include "array/model/array.h"
#include "array/model/catalogue.h"
#include "array/model/set/internal.h"
#include "proto/identity.h"

/* ---- open and close ---- */

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

static int indexes_init(struct array *a)
{
	const struct array_options *o = &a->options;
	int err = array_index_init(&a->luns_by_id, o->luns_max);

	err = err ? err : array_index_init(&a->luns_by_name, o->luns_max);
	err = err ? err : array_index_init(&a->idents, o->luns_max);
	err = err ? err : array_index_init(&a->hosts_by_name, o->hosts_max);
	err = err ? err : array_index_init(&a->hosts_by_iqn, o->hosts_max);
	err = err ? err : array_index_init(&a->mappings, ARRAY_MAPPINGS_MAX);
	err = err ? err : array_index_init(&a->sets_by_id, o->sets_max);
	err = err ? err : array_index_init(&a->recycled_by_id, o->luns_max);
	return err;
}

static const struct array_news news = {
	.lun_resized = host_tell_resized,
	.lun_replaced = host_tell_replaced,
	.initiator_came = set_initiator_came,
	.initiator_went = set_initiator_went,
};

static struct array *array_new(const struct array_options *options)
{
	struct array *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->news = &news;
	a->options = *options;
	options_fill(&a->options);
	snprintf(a->name, sizeof(a->name), "%s", options->name ? options->name : "umbra");
	a->options.name = a->name;
	list_init(&a->luns);
	list_init(&a->hosts);
	list_init(&a->nexuses_pending);
	list_init(&a->luns_resized);
	list_init(&a->sets);
	list_init(&a->turns);
	list_init(&a->images);
	list_init(&a->images_dying);
	list_init(&a->resyncs);
	list_init(&a->hydrations);
	list_init(&a->recycled);
	list_init(&a->changes);
	array_graves_init(a);
	list_init(&a->event_listeners);
	a->quiet_timer.fire = host_quiet_timer_fire;
	a->hydration_timer.fire = lun_hydration_timer_fire;
	a->recycle_timer.fire = lun_recycle_timer_fire;
	a->lun_serial = 1;
	return a;
}

int array_open(const struct array_options *options, struct array **out, struct fault *fault)
{
	struct array *a = array_new(options);
	int err = a ? indexes_init(a) : -ENOMEM;

	if (err) {
		fault_set(fault, err, FAULT_NO_MEMORY);
	} else {
		err = catalogue_load(a, fault);
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
	*out = a;
	return 0;
}

void array_stop(struct array *a, void (*done)(void *arg), void *arg)
{
	lun_hydration_stop(a, done, arg);
}

void array_close(struct array *a)
{
	struct list_node *n;

	change_close_all(a);
	array_turns_close(a);
	lun_images_close(a);
	lun_resync_close_all(a);
	lun_recycle_close(a);
	set_close_all(a);
	reactor_timer_disarm(a->options.reactor, &a->quiet_timer);
	reactor_timer_disarm(a->options.reactor, &a->grave_timer);
	reactor_timer_disarm(a->options.reactor, &a->hydration_timer);
	while ((n = list_pop(&a->hosts)))
		host_free(container_of(n, struct host, link));
	while ((n = list_pop(&a->luns)))
		lun_free(container_of(n, struct lun_box, link));
	array_graves_bury(a);
	array_index_free(&a->luns_by_id);
	array_index_free(&a->luns_by_name);
	array_index_free(&a->idents);
	array_index_free(&a->hosts_by_name);
	array_index_free(&a->hosts_by_iqn);
	array_index_free(&a->mappings);
	array_index_free(&a->sets_by_id);
	array_index_free(&a->recycled_by_id);
	free(a);
}
