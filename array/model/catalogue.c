/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the catalogue at the start and checks that its records agree:
 * - every LUN has a disk of its own, of its size;
 * - names, ids and numbers are unique;
 * - a mapping has its host and its LUN, and a number that rests its host;
 * - a shadow LUN has its set, and a set its shadow LUNs;
 * - a lock has its set.
 * A catalogue that contradicts itself is refused as a whole (-EUCLEAN). Nothing is guessed.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "array/model/catalogue.h"
#include "array/model/policy/internal.h"
#include "array/model/set/internal.h"
#include "proto/identity.h"

struct loader {
	struct array *a;
	struct fault *fault;
	struct array_index disks; /* disk ids in use */
};

struct disk_seen {
	struct array_index_node node;
};

/* The sentence for a record that does not check. */
static int bad(struct loader *l, const char *what, const void *key, size_t key_len, int err, const char *why)
{
	char name[2 * STORE_KEY_MAX_BYTES + 1] = "";
	const uint8_t *k = key;

	for (size_t i = 0; i < key_len && i < 40; i++)
		snprintf(name + 2 * i, 3, "%02x", k[i]);
	if (err == -ENOTSUP)
		return fault_set(l->fault, err,
			"the %s record %s was written by a newer umbrad; install that one", what, name);
	if (err == -ENOMEM)
		return fault_set(l->fault, err, FAULT_NO_MEMORY);
	return fault_set(l->fault, err,
		"the %s record %.80s is damaged (%s): umbractl pool check looks at the rest; restore a backup of this pool",
		what, name, why);
}

static int disk_once(struct loader *l, uint64_t disk_id);

/* The disk of an image of an earlier run. Nobody uses it any more: it is deleted once the array is open. */
static int load_image(struct loader *l, const void *key, size_t key_len, const void *value, size_t len)
{
	struct store *store = l->a->options.store;
	struct store_disk *disk;
	uint64_t disk_id;
	int err = lun_image_record_get(key, key_len, value, len, &disk_id);

	if (err)
		return bad(l, "image", key, key_len, err, "its content does not check");
	err = disk_once(l, disk_id);
	if (!err)
		err = store->ops->disk_open(store, disk_id, &disk);
	if (err == -ENOENT)
		return bad(l, "image", key, key_len, -EUCLEAN, "its disk is not there");
	if (!err)
		err = lun_image_left_over(l->a, disk);
	return err ? array_store_fault(l->fault, err, "an image of a LUN") : 0;
}

static int load_policy(struct loader *l, const void *key, size_t key_len, const void *value, size_t len)
{
	struct policy *p;
	int err = policy_record_get(key, key_len, value, len, &p);

	if (err)
		return bad(l, "policy", key, key_len, err, "its content does not check");
	policy_link(l->a, p);
	return 0;
}

static int load_meta(void *arg, const void *key, size_t key_len, const void *value, size_t len)
{
	struct loader *l = arg;
	bool standby = l->a->options.standby;
	struct array_record r;

	if (standby && (lun_image_record_is(key, key_len) || policy_record_is(key, key_len)))
		return 0;
	if (lun_image_record_is(key, key_len))
		return load_image(l, key, key_len, value, len);
	if (policy_record_is(key, key_len))
		return load_policy(l, key, key_len, value, len);
	if (set_lock_record_is(key, key_len))
		return 0; /* once the sets are there */
	int err = array_ran_is(key, key_len) ? array_ran_get(key, key_len, value, len, &l->a->ran_before_ms)
					     : array_record_get(key, key_len, value, len, &r);

	if (err)
		return bad(l, "array", key, key_len, err, "its content does not check");
	if (array_ran_is(key, key_len))
		return 0;
	memcpy(l->a->id, r.id, UP_ID_BYTES);
	l->a->created_unix_ms = r.created_unix_ms;
	l->a->meta_durable = true;
	return 0;
}

static int disk_once(struct loader *l, uint64_t disk_id)
{
	struct disk_seen *d;

	if (array_index_first(&l->disks, disk_id))
		return -EEXIST;
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	array_index_add(&l->disks, &d->node, disk_id);
	return 0;
}

static int load_lun(void *arg, const void *key, size_t key_len, const void *value, size_t len)
{
	struct loader *l = arg;
	struct store *store = l->a->options.store;
	struct store_disk *disk;
	struct lun_record r;
	struct lun_box *b;
	int err = lun_record_get(key, key_len, value, len, &r);

	if (err)
		return bad(l, "LUN", key, key_len, err, "its content does not check");
	if ((r.role == LUN_ROLE_LIVE && lun_find_name(l->a, r.name)) || array_ident_taken(l->a, r.id))
		return bad(l, "LUN", key, key_len, -EUCLEAN, "another LUN has its name or its id");
	err = disk_once(l, r.disk_id);
	if (err == -ENOMEM)
		return bad(l, "LUN", key, key_len, err, "");
	if (err)
		return bad(l, "LUN", key, key_len, -EUCLEAN, "another LUN has its disk");
	err = store->ops->disk_open(store, r.disk_id, &disk);
	if (err == -ENOENT)
		return bad(l, "LUN", key, key_len, -EUCLEAN, "its disk is not there");
	if (err)
		return array_store_fault(l->fault, err, r.name);
	if (store->ops->disk_size(disk) != r.size_bytes)
		return bad(l, "LUN", key, key_len, -EUCLEAN, "its disk has another size");
	if (r.role == LUN_ROLE_RECYCLED && l->a->options.standby)
		return 0;
	if (r.role == LUN_ROLE_RECYCLED)
		return lun_recycled_load(l->a, &r, disk) ? bad(l, "LUN", key, key_len, -ENOMEM, "") : 0;
	b = lun_new(l->a, &r, disk);
	if (!b)
		return bad(l, "LUN", key, key_len, -ENOMEM, "");
	lun_link(b);
	return 0;
}

static int load_host(void *arg, const void *key, size_t key_len, const void *value, size_t len)
{
	struct loader *l = arg;
	struct host_record *r = calloc(1, sizeof(*r));
	struct host *h = NULL;
	int err = r ? host_record_get(key, key_len, value, len, r) : -ENOMEM;
	bool twice = false;

	for (unsigned i = 0; !err && i < r->iqn_count; i++)
		twice = twice || host_find_iqn(l->a, r->iqns[i]);
	if (!err) {
		h = host_new(l->a, r);
		err = h ? 0 : -ENOMEM;
	}
	free(r);
	if (twice && h) {
		host_free(h);
		return bad(l, "host", key, key_len, -EUCLEAN, "another host has one of its initiator names");
	}
	if (err)
		return bad(l, "host", key, key_len, err, "its content does not check");
	host_link(h);
	return 0;
}

static int load_rest(struct loader *l, const void *key, size_t key_len, const void *value, size_t len)
{
	struct rest_record r;
	int err = rest_record_get(key, key_len, value, len, &r);
	struct host *h = err ? NULL : host_find(l->a, r.host);

	if (err)
		return bad(l, "mapping", key, key_len, err, "its content does not check");
	if (!h)
		return bad(l, "mapping", key, key_len, -EUCLEAN, "its host is not there");
	err = rest_load(h, &r);
	return err ? bad(l, "mapping", key, key_len, err == -EEXIST ? -EUCLEAN : err,
			     "a number both rests and is in use")
		   : 0;
}

static int load_map(void *arg, const void *key, size_t key_len, const void *value, size_t len)
{
	struct loader *l = arg;
	struct map_record r;
	struct map *m;
	struct host *h;
	struct lun *lun;

	if (rest_record_is(key, key_len))
		return load_rest(l, key, key_len, value, len);
	int err = map_record_get(key, key_len, value, len, &r);

	if (err)
		return bad(l, "mapping", key, key_len, err, "its content does not check");
	h = host_find(l->a, r.host);
	lun = lun_find(l->a, r.lun_id);
	if (!h || !lun)
		return bad(l, "mapping", key, key_len, -EUCLEAN, "its host or its LUN is not there");
	if (map_lun(h, r.number))
		return bad(l, "mapping", key, key_len, -EUCLEAN, "another LUN of the host has its number");
	m = calloc(1, sizeof(*m));
	if (!m || map_page_make(h, r.number)) {
		free(m);
		return bad(l, "mapping", key, key_len, -ENOMEM, "");
	}
	m->host = h;
	m->lun = lun;
	m->number = r.number;
	m->seen = true; /* in an earlier life of the array, perhaps */
	map_link(m);
	return 0;
}

static int load_reservations(void *arg, const void *key, size_t key_len, const void *value, size_t len)
{
	struct loader *l = arg;
	uint8_t id[UP_ID_BYTES];
	const uint8_t *bytes;
	size_t bytes_len;
	struct lun *lun;
	int err = lun_reservations_record_get(key, key_len, value, len, id, &bytes, &bytes_len);

	if (err)
		return bad(l, "reservation", key, key_len, err, "its content does not check");
	lun = lun_find(l->a, id);
	if (!lun)
		return bad(l, "reservation", key, key_len, -EUCLEAN, "its LUN is not there");
	lun->reservations = malloc(bytes_len);
	if (!lun->reservations)
		return bad(l, "reservation", key, key_len, -ENOMEM, "");
	memcpy(lun->reservations, bytes, bytes_len);
	lun->reservations_len = (uint32_t)bytes_len;
	return 0;
}

/* The set's shadow LUN as the set has it, or NULL. */
static struct lun *member_shadow(struct array *a, const struct set *s, const struct set_member *m)
{
	struct lun *lun = lun_find(a, m->shadow_id);

	if (!lun || lun->kind != LUN_SHADOW || memcmp(lun->set_id, s->id, UP_ID_BYTES) != 0 ||
		memcmp(lun->origin_id, m->original_id, UP_ID_BYTES) != 0)
		return NULL;
	return lun;
}

static int set_fill(struct set *s, const struct set_record *r)
{
	memcpy(s->name, r->name, sizeof(s->name));
	s->cut_unix_ms = r->cut_unix_ms;
	s->window_ns = r->window_ns;
	s->durable_ns = r->durable_ns;
	s->cut_ran_ms = r->cut_ran_ms;
	s->commit_request = r->commit_request;
	s->notes = r->notes;
	for (unsigned i = 0; i < r->member_count; i++) {
		s->members[i] = r->members[i];
		s->sides[i].shadow = member_shadow(s->array, s, &r->members[i]);
		for (unsigned j = 0; j < i; j++)
			if (s->sides[j].shadow == s->sides[i].shadow)
				return -EUCLEAN;
		if (!s->sides[i].shadow || (r->state != UP_SET_KEPT && s->sides[i].shadow->mappings > 0))
			return -EUCLEAN;
		s->member_count++;
	}
	return 0;
}

static int load_set(void *arg, const void *key, size_t key_len, const void *value, size_t len)
{
	struct loader *l = arg;
	struct set_record r;
	struct set *s;
	int err = set_record_get(key, key_len, value, len, &r);

	if (err)
		return bad(l, "copy set", key, key_len, err, "its content does not check");
	s = set_new(l->a, r.id, r.owner, r.member_count);
	err = s ? set_fill(s, &r) : -ENOMEM;
	free(r.members);
	if (err) {
		if (s)
			set_free(s);
		return bad(l, "copy set", key, key_len, err, "one of its shadow LUNs is not there or mapped");
	}
	set_link(s);
	set_enter(s, r.state);
	return set_reserve_again(s) ? bad(l, "copy set", key, key_len, -ENOMEM, "") : 0;
}

static int load_lock(void *arg, const void *key, size_t key_len, const void *value, size_t len)
{
	struct loader *l = arg;
	struct lock_record r;
	int err;

	if (!set_lock_record_is(key, key_len))
		return 0;
	err = set_lock_record_get(key, key_len, value, len, &r);
	if (err)
		return bad(l, "lock", key, key_len, err, "its content does not check");
	err = set_lock_load(l->a, &r);
	return err ? bad(l, "lock", key, key_len, err, "its copy set is not there or not kept") : 0;
}

/* Every shadow LUN must be a member of its set. */
static int shadows_check(struct loader *l)
{
	for (struct lun *lun = lun_next(l->a, NULL); lun; lun = lun_next(l->a, lun)) {
		struct set *s = lun->kind == LUN_SHADOW ? set_find(l->a, lun->set_id, NULL) : NULL;
		bool member = lun->kind != LUN_SHADOW;

		for (unsigned i = 0; s && i < s->member_count; i++)
			member = member || s->sides[i].shadow == lun;
		if (!member)
			return bad(l, "LUN", lun->id, UP_ID_BYTES, -EUCLEAN, "its copy set is not there");
	}
	return 0;
}

static void disks_free(struct array_index *x)
{
	for (uint64_t i = 0; x->buckets && i <= x->mask; i++)
		while (x->buckets[i]) {
			struct disk_seen *d = container_of(x->buckets[i], struct disk_seen, node);

			x->buckets[i] = d->node.next;
			free(d);
		}
	array_index_free(x);
}

int catalogue_load(struct array *a, struct fault *fault)
{
	static const struct {
		enum store_table table;
		int (*each)(void *arg, const void *key, size_t key_len, const void *value, size_t value_len);
	} tables[] = {{STORE_TABLE_META, load_meta}, {STORE_TABLE_LUN, load_lun},
		{STORE_TABLE_HOST, load_host}, {STORE_TABLE_MAP, load_map}, {STORE_TABLE_SET, load_set},
		{STORE_TABLE_META, load_lock}, {STORE_TABLE_RESERVATION, load_reservations}};
	enum {
		STANDBY_TABLES = 4
	};
	struct store *store = a->options.store;
	struct loader l = {.a = a, .fault = fault};
	struct fault none;
	int err = array_index_init(&l.disks, a->options.luns_max);

	if (!fault)
		l.fault = &none;
	l.fault->err = 0;
	a->luns->loading = true;
	/* Sets, locks and reservations are the owner's affair. */
	for (size_t i = 0;
		!err && i < (a->options.standby ? STANDBY_TABLES : sizeof(tables) / sizeof(tables[0])); i++)
		err = store->ops->iterate(store, tables[i].table, tables[i].each, &l);
	a->luns->loading = false;
	if (!err)
		set_owners_resolve(a);
	if (!err)
		err = lun_order_all(a);
	if (!err && !a->options.standby)
		err = shadows_check(&l);
	if (!err && !a->meta_durable && a->luns->count + a->hosts->count > 0)
		err = fault_set(l.fault, -EUCLEAN,
			"the array record is missing: umbractl pool check looks at the rest; restore a backup of this pool");
	disks_free(&l.disks);
	if (err && l.fault->err != err)
		array_store_fault(l.fault, err, "the catalogue cannot be read");
	return err;
}
