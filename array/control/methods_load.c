/* SPDX-License-Identifier: Apache-2.0 */
/* Management methods for what hosts ask of LUNs: counters since the start. Who wants rates asks twice. */
#include "array/control/methods.h"

static json_t *numbers(const uint64_t *values, unsigned count)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < count; i++)
		json_array_append_new(list, json_integer((json_int_t)values[i]));
	return list;
}

static uint64_t operations(const struct load_count *count)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i <= LOAD_BOUNDS; i++)
		sum += count->buckets[i];
	return sum;
}

/* Thousands of LUNs are idle: their buckets, all 0, are left out. */
static json_t *count_json(const struct load_count *count)
{
	uint64_t sum = operations(count);
	json_t *out = json_pack("{s:I, s:I, s:I}", "operations", (json_int_t)sum, "bytes",
		(json_int_t)count->bytes, "ns", (json_int_t)count->ns);

	if (out && sum)
		json_object_set_new(out, "buckets", numbers(count->buckets, LOAD_BOUNDS + 1));
	return out;
}

/* Puts the load into the object, which is returned. */
static json_t *with_load(json_t *out, const struct load *load, uint32_t queue)
{
	if (!out)
		return NULL;
	json_object_set_new(out, "queue", json_integer(queue));
	json_object_set_new(out, "failed", json_integer((json_int_t)load->failed));
	json_object_set_new(out, "read", count_json(&load->counts[LOAD_READ]));
	json_object_set_new(out, "write", count_json(&load->counts[LOAD_WRITE]));
	json_object_set_new(out, "other", json_integer((json_int_t)operations(&load->counts[LOAD_OTHER])));
	return out;
}

static void load_result(struct mgmt_call *c, struct mgmt_page *page, const char *name)
{
	json_t *result = mgmt_page_result(page, name);

	if (result)
		json_object_set_new(result, "bounds_ns", numbers(load_bounds_ns, LOAD_BOUNDS));
	mgmt_result(c, result);
}

static json_t *lun_load_json(struct lun *lun)
{
	uint64_t used_bytes = lun->gone ? 0 : lun->disk->store->ops->disk_used(lun->disk);
	json_t *out = json_pack("{s:s, s:o, s:s, s:I, s:o, s:i}", "name", lun->name, "id", mgmt_id(lun->id),
		"kind", lun->kind == LUN_SHADOW ? "shadow" : "ordinary", "size_bytes",
		(json_int_t)lun->size_bytes, "used_bytes", mgmt_owners(lun->array, (json_int_t)used_bytes),
		"mappings", (int)lun->mappings);

	return with_load(out, &lun->load, lun->queue);
}

static void load_luns_method(struct mgmt_call *c)
{
	struct mgmt_page page;

	if (!mgmt_page(c, &page))
		return;
	for (struct lun *lun = lun_next(c->array, NULL); lun && !page.more; lun = lun_next(c->array, lun))
		if (mgmt_page_takes(&page))
			json_array_append_new(page.entries, lun_load_json(lun));
	load_result(c, &page, "luns");
}

static void load_hosts_method(struct mgmt_call *c)
{
	struct mgmt_page page;

	if (!mgmt_page(c, &page))
		return;
	for (struct host *h = host_next(c->array, NULL); h && !page.more; h = host_next(c->array, h)) {
		if (mgmt_page_takes(&page))
			json_array_append_new(page.entries,
				with_load(json_pack("{s:s, s:i, s:i}", "name", host_record_of(h)->name,
						  "sessions", (int)host_sessions(h), "mappings",
						  (int)host_mappings(h)),
					host_load(h), host_queue(h)));
	}
	load_result(c, &page, "hosts");
}

const struct mgmt_method mgmt_load_methods[] = {
	{"load.luns", load_luns_method, MGMT_ANYWHERE},
	{"load.hosts", load_hosts_method, MGMT_ANYWHERE},
	{NULL, NULL, MGMT_OWNER},
};
