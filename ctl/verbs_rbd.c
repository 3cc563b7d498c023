/* SPDX-License-Identifier: Apache-2.0 */
/* umbractl rbd: makes an array in a Ceph cluster, by the module of that store; umbrad is not asked. */
#include <stdio.h>
#include <string.h>
#include "array/store/module.h"
#include "ctl/ctl.h"

/* A line of umbrad.conf, for an option that was given. */
static void add_line(char *lines, size_t room, const char *key, const char *value)
{
	size_t used = strlen(lines);

	if (value)
		snprintf(lines + used, room - used, "  %s = %s\n", key, value);
}

static bool named_well(const char *name)
{
	return !name || store_module_ceph_ok(name);
}

int ctl_rbd_options(const struct invocation *in, struct store_module_options *out)
{
	const char *array = ctl_option(in, "array", 0), *space = ctl_option(in, "namespace", 0);

	*out = (struct store_module_options){
		.cluster_conf = ctl_option(in, "conf", 0),
		.client_id = ctl_option(in, "client", 0),
		.ceph_pool = in->operands[0],
		.ceph_namespace = space && *space ? space : NULL,
		.array = array ? array : STORE_MODULE_ARRAY,
	};
	if (!store_module_array_ok(out->array))
		return ctl_usage(in, "--array takes at most %d lower-case letters, digits, '.' or '-'",
			STORE_MODULE_ARRAY_MAX_BYTES);
	if (!named_well(out->ceph_pool) || !named_well(out->ceph_namespace) || !named_well(out->client_id))
		return ctl_usage(in,
			"POOL, --namespace and --client take a name each of at most %d bytes, without blanks, '/' and '@'",
			STORE_MODULE_CEPH_MAX_BYTES);
	if (out->client_id && strncmp(out->client_id, "client.", 7) == 0)
		return ctl_usage(in, "--client takes the user's name without \"client.\"");
	return CTL_OK;
}

int verb_rbd_create(struct invocation *in)
{
	struct store_module_options options;
	char lines[4096] = "";
	struct fault fault = {0};
	int err = ctl_rbd_options(in, &options);

	if (err)
		return err;
	const struct store_module *rbd = store_module_load("rbd", &fault);
	if (!rbd)
		return ctl_fail_fault(in, fault.err, &fault);
	err = rbd->create(&options, &fault);

	if (err)
		return ctl_fail_fault(in, err, &fault);
	add_line(lines, sizeof(lines), "namespace", options.ceph_namespace);
	add_line(lines, sizeof(lines), "client", options.client_id);
	add_line(lines, sizeof(lines), "conf", options.cluster_conf);
	add_line(lines, sizeof(lines), "array", ctl_option(in, "array", 0));
	return print_result(in,
		json_pack("{s:o, s:o}", "pool", json_text(options.ceph_pool), "array",
			json_text(options.array)),
		"Array %s made in %s. Name it in umbrad.conf, in the place of [pool]:\n  [store]\n  type = rbd\n  [rbd]\n"
		"  pool = %s\n%s",
		options.array, options.ceph_pool, options.ceph_pool, lines);
}
