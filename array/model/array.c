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
#include "array/model/set/set.h"
#include "array/model/internal.h"
#include "proto/identity.h"

unsigned array_luns_taken(const struct array *a)
{
	return a->lun_count + a->reserved_count + a->recycled_count;
}

uint64_t array_clock_unix_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint64_t array_clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

bool array_name_valid(const char *name, struct fault *fault)
{
	size_t len = strlen(name);
	bool ok = len > 0 && len <= ARRAY_NAME_MAX_BYTES && name[0] != '-';

	for (size_t i = 0; ok && i < len; i++)
		ok = isascii((unsigned char)name[i]) &&
		     (isalnum((unsigned char)name[i]) || strchr("._-", name[i]));
	if (!ok)
		fault_set(fault, -EINVAL,
			"\"%.64s\" is no name: 1 to %d of the characters A-Z a-z 0-9 . _ -, not beginning "
			"with -",
			name, ARRAY_NAME_MAX_BYTES);
	return ok;
}

bool array_name_allowed(const char *name, struct fault *fault)
{
	uint8_t id[UP_ID_BYTES];

	if (!array_name_valid(name, fault))
		return false;
	if (up_id_parse(name, id)) {
		fault_set(fault, -EINVAL,
			"\"%.64s\" looks like an id and could be taken for another's; choose another name",
			name);
		return false;
	}
	return true;
}

bool array_id_zero(const uint8_t id[UP_ID_BYTES])
{
	static const uint8_t zero[UP_ID_BYTES];

	return memcmp(id, zero, UP_ID_BYTES) == 0;
}

/* ---- identities ---- */

void array_ident_add(struct array *a, struct array_ident *i, const uint8_t *id)
{
	i->id = id;
	array_index_add(&a->idents, &i->node, up_id_naa(id));
}

void array_ident_remove(struct array *a, struct array_ident *i)
{
	array_index_remove(&a->idents, &i->node);
}

bool array_ident_taken(const struct array *a, const uint8_t id[UP_ID_BYTES])
{
	return array_index_first(&a->idents, up_id_naa(id)) != NULL;
}

int array_id_new(struct array *a, uint8_t id[UP_ID_BYTES])
{
	do {
		if (getrandom(id, UP_ID_BYTES, 0) != UP_ID_BYTES)
			return -EIO;
	} while (array_id_zero(id) || array_ident_taken(a, id));
	return 0;
}

/* ---- graves ---- */

static void graves_bury(struct array *a)
{
	struct list_node *n;

	while ((n = list_pop(&a->graves))) {
		struct array_grave *g = container_of(n, struct array_grave, link);

		g->bury(g);
	}
}

static void grave_timer_fire(struct reactor_timer *t)
{
	graves_bury(container_of(t, struct array, grave_timer));
}

void array_grave_add(struct array *a, struct array_grave *g)
{
	list_push_back(&a->graves, &g->link);
	reactor_timer_arm(a->options.reactor, &a->grave_timer, 0);
}

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
	if (o->set_luns_max > RECORD_MEMBERS_MAX)
		o->set_luns_max = RECORD_MEMBERS_MAX;
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

static struct array *array_new(const struct array_options *options)
{
	struct array *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
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
	list_init(&a->graves);
	list_init(&a->event_listeners);
	a->quiet_timer.fire = host_quiet_timer_fire;
	a->grave_timer.fire = grave_timer_fire;
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
		lun_free(container_of(n, struct lun_box, lun.link));
	graves_bury(a);
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

const uint8_t *array_id(const struct array *a)
{
	return a->id;
}

const char *array_name(const struct array *a)
{
	return a->name;
}

const struct array_options *array_settings(const struct array *a)
{
	return &a->options;
}
