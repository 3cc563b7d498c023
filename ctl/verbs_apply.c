/* SPDX-License-Identifier: Apache-2.0 */
/* umbractl apply, config export. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "array/util/units.h"
#include "ctl/apply.h"

/* ---- apply ------------------------------------------------------------------------------------------ */

static bool fetch(struct plan *p)
{
	p->luns = ctl_list(p->in, "lun.list", "luns", NULL);
	p->hosts = p->luns ? ctl_list(p->in, "host.list", "hosts", NULL) : NULL;
	p->maps = p->hosts ? ctl_list(p->in, "map.list", "mappings", NULL) : NULL;
	p->policies = p->maps ? ctl_list(p->in, "policy.list", "policies", NULL) : NULL;
	return p->policies != NULL;
}

static void plan_free(struct plan *p)
{
	json_t *const owned[] = {
		p->file, p->luns, p->hosts, p->maps, p->policies, p->iqns, p->mapped, p->steps, p->ends};

	for (size_t i = 0; i < sizeof(owned) / sizeof(owned[0]); i++)
		json_decref(owned[i]);
}

static void print_step(const struct invocation *in, const json_t *step)
{
	const char *member;
	json_t *value;

	printf("%s %s\n", text_of(step, "change"), text_of(step, "what"));
	if (!ctl_flag(in, "diff"))
		return;
	json_object_foreach(json_object_get(step, "values"), member, value)
	{
		char *is = json_dumps(json_object_get(value, "is"), JSON_ENCODE_ANY | JSON_COMPACT);
		char *becomes = json_dumps(json_object_get(value, "becomes"), JSON_ENCODE_ANY | JSON_COMPACT);
		printf("    %s: %s -> %s\n", member, is ? is : "-", becomes ? becomes : "-");
		free(is);
		free(becomes);
	}
}

/* False: a step has failed, and umbrad's words for it were printed. */
static bool carry_out(const struct plan *p, size_t *done)
{
	struct client *c = client_open(p->in);
	bool good = c != NULL;
	json_t *step;
	size_t i;

	json_array_foreach(p->steps, i, step)
	{
		json_t *result = good ? client_call(c, text_of(step, "method"),
						json_incref(json_object_get(step, "params")))
				      : NULL;
		good = result != NULL;
		if (!good)
			break;
		print_warning(result);
		json_decref(result);
		++*done;
		if (!p->in->json)
			print_step(p->in, step);
	}
	if (c)
		client_close(c);
	return good;
}

/* Secrets are not shown. */
static json_t *shown(const struct plan *p)
{
	json_t *list = json_array(), *step;
	size_t i;

	json_array_foreach(p->steps, i, step) json_array_append_new(
		list, json_pack("{s:O, s:O, s:O*}", "change", json_object_get(step, "change"), "what",
			      json_object_get(step, "what"), "values", json_object_get(step, "values")));
	return list;
}

static int tell(const struct plan *p, size_t done, bool good)
{
	size_t all = json_array_size(p->steps);
	bool check = ctl_flag(p->in, "check");

	if (!good) { /* umbrad's words were the answer, in JSON too */
		fprintf(stderr,
			"umbractl: %zu of %zu changes were made; apply again when the cause is mended.\n",
			done, all);
		return CTL_FAILED;
	}
	if (p->in->json)
		return print_json(json_pack("{s:b, s:I, s:I, s:o}", "check", (int)check, "changes",
			(json_int_t)all, "done", (json_int_t)done, "steps", shown(p)));
	printf(check ? "%zu change(s) to make\n" : "%zu change(s) made\n", all);
	return CTL_OK;
}

static int run_plan(struct plan *p)
{
	size_t done = 0, i;
	json_t *step;

	json_array_extend(p->steps, p->ends);
	if (json_array_size(p->ends) && !ctl_flag(p->in, "check") && !ctl_flag(p->in, "yes")) {
		json_array_foreach(p->ends, i, step)
			fprintf(stderr, "%s %s\n", text_of(step, "change"), text_of(step, "what"));
		return ctl_fail(p->in, -EPERM,
			"%s does not name these: --prune --yes takes them away, and what they hold. Nothing was changed.",
			p->path);
	}
	if (!ctl_flag(p->in, "check")) {
		bool good = carry_out(p, &done);
		return tell(p, done, good);
	}
	if (!p->in->json)
		json_array_foreach(p->steps, i, step) print_step(p->in, step);
	return tell(p, 0, true);
}

int verb_apply(struct invocation *in)
{
	struct plan p = {.in = in,
		.path = in->operands[0],
		.prune = ctl_flag(in, "prune"),
		.iqns = json_object(),
		.mapped = json_object(),
		.steps = json_array(),
		.ends = json_array()};
	int code = CTL_FAILED;

	if (plan_read(&p) && fetch(&p) && plan_make(&p))
		code = run_plan(&p);
	plan_free(&p);
	return code;
}

/* ---- export ----------------------------------------------------------------------------------------- */

/* "500G" where it is a whole number of these, else bytes. */
static json_t *size_json(uint64_t bytes)
{
	static const char units[] = "TGM";
	char text[24];

	for (unsigned i = 0; i < 3; i++) {
		unsigned shift = 40 - 10 * i;
		if (bytes & ((UINT64_C(1) << shift) - 1))
			continue;
		snprintf(text, sizeof(text), "%llu%c", (unsigned long long)(bytes >> shift), units[i]);
		return json_string(text);
	}
	return json_integer((json_int_t)bytes);
}

/* In the largest unit that it is a whole number of. */
static json_t *time_json(const json_t *policy, const char *member)
{
	static const struct {
		const char *unit;
		json_int_t ms;
	} units[] = {{"d", 86400000}, {"h", 3600000}, {"min", 60000}, {"s", 1000}};
	json_int_t ms = json_integer_value(json_object_get(policy, member));
	char text[32];

	for (size_t i = 0; ms && i < sizeof(units) / sizeof(units[0]); i++) {
		if (ms % units[i].ms)
			continue;
		snprintf(text, sizeof(text), "%lld%s", (long long)(ms / units[i].ms), units[i].unit);
		return json_string(text);
	}
	return json_string("none");
}

static json_t *export_lun(const json_t *lun)
{
	return json_pack("{s:O, s:o}", "name", json_object_get(lun, "name"), "size",
		size_json((uint64_t)json_integer_value(json_object_get(lun, "size_bytes"))));
}

/* A secret never leaves the array: its file is to be written, where the file goes to another one. */
static void export_secret(
	const json_t *host, const char *there, const char *member, const char *suffix, json_t *out)
{
	char file[128];

	if (!json_is_true(json_object_get(host, there)))
		return;
	snprintf(file, sizeof(file), "%s%s", text_of(host, "name"), suffix);
	json_object_set_new(out, member, json_string(file));
}

static json_t *export_host(const json_t *host)
{
	static const char *const members[] = {
		"name", "iqns", "chap_user", "control_lu", "control_without_chap", "import", "import_hosts"};
	json_t *out = json_object();

	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
		json_object_set(out, members[i], json_object_get(host, members[i]));
	if (strcmp(text_of(host, "import"), "named") != 0)
		json_object_del(out, "import_hosts");
	if (!*json_string_value(json_object_get(host, "chap_user")))
		json_object_del(out, "chap_user");
	export_secret(host, "chap", "chap_secret_file", ".chap", out);
	export_secret(host, "mutual_chap", "mutual_chap_secret_file", ".mutual-chap", out);
	return out;
}

static json_t *export_map(const json_t *map)
{
	return json_pack("{s:O, s:O, s:O}", "lun", json_object_get(map, "lun"), "host",
		json_object_get(map, "host"), "number", json_object_get(map, "number"));
}

static json_t *export_policy(const json_t *policy)
{
	json_t *luns = json_array(), *lun, *at = json_object_get(policy, "at");
	size_t i;

	json_array_foreach(json_object_get(policy, "luns"), i, lun)
		json_array_append(luns, json_object_get(lun, "name"));
	return json_pack("{s:O, s:o, s:o, s:s, s:O, s:O, s:O, s:o}", "name", json_object_get(policy, "name"),
		"luns", luns, "every", time_json(policy, "every_ms"), "at",
		json_is_string(at) ? json_string_value(at) : "", "keep", json_object_get(policy, "keep"),
		"label", json_object_get(policy, "label"), "vss", json_object_get(policy, "hosts"), "lock",
		time_json(policy, "lock_ms"));
}

static json_t *export_list(json_t *list, json_t *(*each)(const json_t *entry))
{
	json_t *out = json_array(), *entry;
	size_t i;

	json_array_foreach(list, i, entry) json_array_append_new(out, each(entry));
	return out;
}

/* Mappings of shadow LUNs are nothing that a file could make again. */
static json_t *export_maps(const struct plan *p)
{
	json_t *out = json_array(), *map;
	size_t i;

	json_array_foreach(p->maps, i, map) if (plan_find(p->luns, "name", text_of(map, "lun")))
		json_array_append_new(out, export_map(map));
	return out;
}

int verb_config_export(struct invocation *in)
{
	struct plan p = {.in = in};
	json_t *file = NULL;

	if (fetch(&p))
		file = json_pack("{s:o, s:o, s:o, s:o}", "luns", export_list(p.luns, export_lun), "hosts",
			export_list(p.hosts, export_host), "mappings", export_maps(&p), "policies",
			export_list(p.policies, export_policy));
	plan_free(&p);
	if (!file)
		return CTL_FAILED;
	json_dumpf(file, stdout, JSON_INDENT(2));
	printf("\n");
	json_decref(file);
	return CTL_OK;
}
