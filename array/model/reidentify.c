/* SPDX-License-Identifier: Apache-2.0 */
/*
 * New ids for an array that is a copy of another one: its own, those of its LUNs (the recycle bin's, too) and of its copy
 * sets. Everything that names one of them follows: which LUN a copy is of, the members of sets, locks, mappings, numbers that
 * rest, policies. An id whose LUN has gone gets another one, too, the same wherever it stands. Persistent reservations go:
 * they are agreements between hosts about the LUNs of the other array. Hosts, names, disks and data stay.
 *
 * The catalogue is looked through first, as at a start: a damaged one gets no new ids. What becomes of the transaction is the
 * caller's affair.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "array/model/array.h"
#include "array/model/base/pack.h"
#include "array/model/catalogue.h"
#include "array/model/policy/internal.h"
#include "array/model/set/internal.h"

/* An id and the one that takes its place. */
struct twin {
	struct array_index_node node;
	struct array_ident ident;
	uint8_t old[UP_ID_BYTES], fresh[UP_ID_BYTES];
};

/* A record as it was: tables are read before they are written. */
struct old_record {
	struct list_node link;
	enum store_table table;
	size_t key_len, value_len;
	uint8_t bytes[];
};

struct renewal {
	struct array_reidentify *request;
	struct array *a;
	struct store_txn *txn;
	struct array_index twins;
	struct list records;
	enum store_table table; /* being read */
};

/* ---- ids -------------------------------------------------------------------------------------------- */

/* The new id in the place of the old one. None stays none. */
static int renew(struct renewal *r, uint8_t id[UP_ID_BYTES])
{
	struct array_index_node *n = array_index_first(&r->twins, array_hash_id(id));
	struct twin *twin = NULL;
	int err;

	if (array_id_zero(id))
		return 0;
	for (; n && !twin; n = array_index_again(n))
		if (memcmp(container_of(n, struct twin, node)->old, id, UP_ID_BYTES) == 0)
			twin = container_of(n, struct twin, node);
	if (!twin) {
		twin = calloc(1, sizeof(*twin));
		err = twin ? array_id_new(r->a, twin->fresh) : -ENOMEM;
		if (err) {
			free(twin);
			return err;
		}
		memcpy(twin->old, id, UP_ID_BYTES);
		array_ident_add(r->a, &twin->ident, twin->fresh);
		array_index_add(&r->twins, &twin->node, array_hash_id(id));
	}
	memcpy(id, twin->fresh, UP_ID_BYTES);
	return 0;
}

static void twins_free(struct renewal *r)
{
	for (uint64_t i = 0; r->twins.buckets && i <= r->twins.mask; i++)
		while (r->twins.buckets[i]) {
			struct twin *t = container_of(r->twins.buckets[i], struct twin, node);

			r->twins.buckets[i] = t->node.next;
			array_ident_remove(r->a, &t->ident);
			free(t);
		}
	array_index_free(&r->twins);
}

static void tell(struct renewal *r, enum array_identified what, const char *name,
	const uint8_t old[UP_ID_BYTES], const uint8_t fresh[UP_ID_BYTES])
{
	r->request->counts[what]++;
	if (r->request->each)
		r->request->each(r->request->arg, what, name, old, fresh);
}

/* ---- records ---------------------------------------------------------------------------------------- */

static int delete_old(struct renewal *r, const struct old_record *o)
{
	return pack_del(r->a, r->txn, o->table, o->bytes, o->key_len);
}

static int renew_array(struct renewal *r, const struct old_record *o, const void *value)
{
	struct array_record record;
	uint8_t old[UP_ID_BYTES];
	int err = array_record_get(o->bytes, o->key_len, value, o->value_len, &record);

	memcpy(old, record.id, UP_ID_BYTES);
	if (!err)
		err = renew(r, record.id);
	if (!err)
		err = array_record_put(r->a, r->txn, &record);
	if (!err)
		tell(r, ARRAY_IDENTIFIED_ARRAY, "", old, record.id);
	return err;
}

static int renew_policy(struct renewal *r, const struct old_record *o, const void *value)
{
	struct policy *p;
	int err = policy_record_get(o->bytes, o->key_len, value, o->value_len, &p);

	if (err)
		return err;
	for (unsigned i = 0; !err && i < p->spec.lun_count; i++)
		err = renew(r, p->spec.luns[i]);
	if (!err)
		err = policy_record_put(r->a, r->txn, p);
	free(p);
	return err;
}

static int renew_lock(struct renewal *r, const struct old_record *o, const void *value)
{
	struct lock_record record;
	int err = set_lock_record_get(o->bytes, o->key_len, value, o->value_len, &record);

	if (!err)
		err = delete_old(r, o);
	if (!err)
		err = renew(r, record.set_id);
	return err ? err : set_lock_record_put(r->a, r->txn, &record);
}

static int renew_meta(struct renewal *r, const struct old_record *o, const void *value)
{
	if (lun_image_record_is(o->bytes, o->key_len) || array_ran_is(o->bytes, o->key_len))
		return 0; /* no id in them */
	if (policy_record_is(o->bytes, o->key_len))
		return renew_policy(r, o, value);
	if (set_lock_record_is(o->bytes, o->key_len))
		return renew_lock(r, o, value);
	return renew_array(r, o, value);
}

static int renew_lun(struct renewal *r, const struct old_record *o, const void *value)
{
	struct lun_record record;
	int err = lun_record_get(o->bytes, o->key_len, value, o->value_len, &record);

	if (!err)
		err = delete_old(r, o);
	if (!err)
		err = renew(r, record.id);
	if (!err)
		err = renew(r, record.origin_id);
	if (!err)
		err = renew(r, record.set_id);
	if (!err)
		err = lun_record_put(r->a, r->txn, &record);
	if (!err)
		tell(r,
			record.role == LUN_ROLE_RECYCLED ? ARRAY_IDENTIFIED_RECYCLED
			: record.kind == LUN_SHADOW      ? ARRAY_IDENTIFIED_SHADOW
							 : ARRAY_IDENTIFIED_LUN,
			record.name, o->bytes, record.id);
	return err;
}

static int renew_rest(struct renewal *r, const struct old_record *o, const void *value)
{
	struct rest_record record;
	int err = rest_record_get(o->bytes, o->key_len, value, o->value_len, &record);

	for (unsigned i = 0; !err && i < record.count; i++)
		err = renew(r, record.rests[i].lun_id);
	return err ? err : rest_record_put(r->a, r->txn, &record);
}

static int renew_map(struct renewal *r, const struct old_record *o, const void *value)
{
	struct map_record record;
	int err;

	if (rest_record_is(o->bytes, o->key_len))
		return renew_rest(r, o, value);
	err = map_record_get(o->bytes, o->key_len, value, o->value_len, &record);
	if (!err)
		err = delete_old(r, o);
	if (!err)
		err = renew(r, record.lun_id);
	if (!err)
		err = map_record_put(r->a, r->txn, &record);
	r->request->mappings += !err;
	return err;
}

static int renew_set(struct renewal *r, const struct old_record *o, const void *value)
{
	struct set_record record;
	int err = set_record_get(o->bytes, o->key_len, value, o->value_len, &record);

	if (!err)
		err = delete_old(r, o);
	if (!err)
		err = renew(r, record.id);
	for (unsigned i = 0; !err && i < record.member_count; i++) {
		err = renew(r, record.members[i].original_id);
		if (!err)
			err = renew(r, record.members[i].shadow_id);
	}
	if (!err)
		err = set_record_put(r->a, r->txn, &record);
	if (!err)
		tell(r, ARRAY_IDENTIFIED_SET, record.name, o->bytes, record.id);
	free(record.members);
	return err;
}

static int drop_reservation(struct renewal *r, const struct old_record *o, const void *value)
{
	(void)value;
	r->request->reservations++;
	return delete_old(r, o);
}

/* ---- all of it -------------------------------------------------------------------------------------- */

static const struct {
	enum store_table table;
	int (*again)(struct renewal *r, const struct old_record *o, const void *value);
} tables[] = {
	{STORE_TABLE_META, renew_meta},
	{STORE_TABLE_LUN, renew_lun},
	{STORE_TABLE_MAP, renew_map},
	{STORE_TABLE_SET, renew_set},
	{STORE_TABLE_RESERVATION, drop_reservation},
}; /* hosts have names, no ids */

static int keep_record(void *arg, const void *key, size_t key_len, const void *value, size_t value_len)
{
	struct renewal *r = arg;
	struct old_record *o = malloc(sizeof(*o) + key_len + value_len);

	if (!o)
		return -ENOMEM;
	*o = (struct old_record){.table = r->table, .key_len = key_len, .value_len = value_len};
	memcpy(o->bytes, key, key_len);
	memcpy(o->bytes + key_len, value, value_len);
	list_push_back(&r->records, &o->link);
	return 0;
}

static int renew_all(struct renewal *r)
{
	struct store *store = r->request->store;
	int err = 0;

	for (size_t i = 0; !err && i < sizeof(tables) / sizeof(tables[0]); i++) {
		struct list_node *n;

		r->table = tables[i].table;
		err = store->ops->iterate(store, r->table, keep_record, r);
		while ((n = list_pop(&r->records))) {
			struct old_record *o = container_of(n, struct old_record, link);

			if (!err)
				err = tables[i].again(r, o, o->bytes + o->key_len);
			free(o);
		}
	}
	return err;
}

int array_reidentify(struct array_reidentify *request, struct store_txn **out, struct fault *fault)
{
	struct array_options options = {.store = request->store, .reactor = request->reactor};
	struct renewal r = {.request = request};
	struct array *a = array_new(&options);
	int err = a ? array_setup(a) : -ENOMEM;

	*out = NULL;
	list_init(&r.records);
	r.a = a;
	err = err ? fault_set(fault, err, FAULT_NO_MEMORY) : catalogue_load(a, fault);
	if (!err && a->meta_durable) {
		err = array_index_init(&r.twins, a->options.luns_max);
		r.txn = err ? NULL : request->store->ops->txn_begin(request->store);
		err = r.txn ? renew_all(&r) : -ENOMEM;
		if (err && r.txn)
			request->store->ops->txn_drop(r.txn);
		else
			*out = r.txn;
		if (err)
			array_store_fault(fault, err, "the new identities");
	}
	if (a) {
		twins_free(&r);
		array_close(a);
	}
	return err;
}
