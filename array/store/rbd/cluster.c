/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connection to Ceph. What the administrator's ceph.conf says holds, and what the pool and the images have besides (rbd config
 * pool set), but for what would make an answer of ours untrue:
 * - no cache, on no disk of this machine either: a write that is done is on the OSDs;
 * - no bound of time for an operation: librados forgets one that timed out, the OSD does it all the same;
 * - a write is copied when librbd takes it: without that, librbd 16 never answers one that it fails before it sends it (it waits
 *   for a snapshot, and the client is locked out meanwhile): the answer waits for the buffer, and the buffer for the answer;
 * - a parent that still has children goes to the trash, and is deleted with its last child;
 * - who is locked out stays so for a year: a machine that was asleep must not find its list entry gone.
 */
#include "array/store/rbd/rbd.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCKLIST_SECONDS (365u * 24 * 3600)

static const struct {
	const char *name, *value;
} settings[] = {
	{"admin_socket", ""}, /* the service may write to no folder of Ceph's */
	{"log_file", ""},
	{"client_mount_timeout",
		"15"}, /* of the connecting alone: an answer within reason that nobody is there */
	{"rados_osd_op_timeout", "0"},
	{"rados_mon_op_timeout", "0"},
	/* An OSD that answers no more takes its share of these only; what there can be in flight is bounded by the array. */
	{"objecter_inflight_ops", "65536"},
	{"objecter_inflight_op_bytes", "4294967296"},
	{"rbd_cache", "false"},
	{"rbd_plugins", ""},
	{"rbd_persistent_cache_mode", "disabled"},
	{"rbd_disable_zero_copy_writes", "true"},
	{"rbd_non_blocking_aio", "true"},
	{"rbd_move_to_trash_on_remove", "false"},
	{"rbd_move_parent_to_trash_on_remove", "true"},
	{"rbd_blocklist_on_break_lock", "true"},
	{"rbd_blocklist_expire_seconds", "0"}, /* the monitors' own; librbd 16 fails with another */
	{"rbd_atime_update_interval", "0"},
	{"rbd_mtime_update_interval", "0"},
	/* An object is one piece of the LUN: what is copied is told by it (hydrate.c). */
	{"rbd_default_stripe_unit", "0"},
	{"rbd_default_stripe_count", "0"},
};

/*
 * Two threads of librados's hand each I/O to one another; one takes less processor time for it. Where ceph.conf has another number than
 * Ceph's default, that holds.
 *
 * What one thread delivers must not wait for it, nor what two deliver for both. librbd (16) waits so where a call holds an image's lock
 * until Ceph has answered: rbd_diff_iterate2 does that with the parent's objects (two images at once stand still for ever with two
 * threads, and all images with them), rbd_get_parent while it asks the trash, rbd_list_children while it asks all pools (whose answers
 * need no such thread, but hold up the one that wants the lock). They are not called (scripts/check-source): objects.c and chain.c
 * ask the headers and maps. The other calls of ours give the locks back before they wait, by librbd's source; test_rbd_threads.c makes
 * them at once. If threads stand still all the same, the array is given up (lease.c).
 */
static void one_thread(struct rbd_cluster *c)
{
	char value[16];

	if (rados_conf_get(c->rados, "librados_thread_count", value, sizeof(value)) == 0 &&
		strcmp(value, "2") == 0)
		rados_conf_set(c->rados, "librados_thread_count", "1");
}

/* The value that must hold, or NULL where the administrator's may. */
static const char *setting(const char *name)
{
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
		if (strcmp(settings[i].name, name) == 0)
			return settings[i].value;
	return NULL;
}

#define CONFIG_OPTIONS_MAX 1024

/* Ceph's pool and each of its images may have a configuration of their own (rbd config pool set), which librbd puts above the
 * program's. The image's is above its pool's. */
int rbd_cluster_image_settings(rbd_image_t image, char told[RBD_SETTING_BYTES])
{
	rbd_config_option_t *options = calloc(CONFIG_OPTIONS_MAX, sizeof(options[0]));
	int count = CONFIG_OPTIONS_MAX, changed = 0;
	int err = options ? rbd_config_image_list(image, options, &count) : -ENOMEM;

	if (err < 0) {
		free(options);
		return err;
	}
	for (int i = 0; err >= 0 && i < count; i++) {
		const rbd_config_option_t *o = &options[i];
		const char *value = o->source == RBD_CONFIG_SOURCE_CONFIG ? NULL : setting(o->name);
		char key[80];

		if (!value || strcmp(o->value, value) == 0)
			continue;
		snprintf(told, RBD_SETTING_BYTES, "%.60s = %.60s", o->name, o->value);
		snprintf(key, sizeof(key), "conf_%.70s", o->name);
		err = rbd_metadata_set(image, key, value);
		changed = 1;
	}
	rbd_config_image_list_cleanup(options, count);
	free(options);
	return err < 0 ? err : changed;
}

int rbd_cluster_order(rados_ioctx_t io, uint64_t *order)
{
	rbd_config_option_t *options = calloc(CONFIG_OPTIONS_MAX, sizeof(options[0]));
	int count = CONFIG_OPTIONS_MAX;
	int err = options ? rbd_config_pool_list(io, options, &count) : -ENOMEM;

	if (err < 0) {
		free(options);
		return err;
	}
	err = -EINVAL;
	for (int i = 0; i < count; i++)
		if (strcmp(options[i].name, "rbd_default_order") == 0 &&
			rbd_number_parse(options[i].value, order) && *order < 64)
			err = 0;
	rbd_config_pool_list_cleanup(options, count);
	free(options);
	return err;
}

static const char *user_of(const struct store_module_options *o)
{
	return o->client_id && *o->client_id ? o->client_id : "admin";
}

static int configure(struct rbd_cluster *c, const struct store_module_options *o, struct fault *f)
{
	int err = rados_conf_read_file(c->rados, o->cluster_conf);

	if (err < 0)
		return fault_set(f, err,
			"Ceph's configuration (%s) cannot be read: %s; copy it from the cluster, or name it in umbrad.conf (rbd.conf)",
			o->cluster_conf ? o->cluster_conf : "/etc/ceph/ceph.conf", strerror(-err));
	rados_conf_parse_env(c->rados, NULL);
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
		err = rados_conf_set(c->rados, settings[i].name, settings[i].value);
		if (err < 0)
			return fault_set(f, err,
				"this librbd does not take the option %s = %s: take the version that umbrad was built with",
				settings[i].name, settings[i].value);
	}
	one_thread(c);
	return 0;
}

static int pool_open(struct rbd_cluster *c, const struct store_module_options *o, struct fault *f)
{
	const char *space = o->ceph_namespace ? o->ceph_namespace : "";
	bool exists = true;
	int err = rados_ioctx_create(c->rados, o->ceph_pool, &c->io);

	if (err == -ENOENT)
		return fault_set(f, err,
			"the cluster has no pool %s: was it renamed (ceph osd pool ls), or is it another cluster (ceph fsid)? Else make "
			"one (ceph osd pool create %s; rbd pool init %s)",
			o->ceph_pool, o->ceph_pool, o->ceph_pool);
	if (err < 0)
		return rbd_open_fault(f, err, o, "open the pool");
	if (*space) {
		err = rbd_namespace_exists(c->io, space, &exists);
		if (err < 0)
			return rbd_open_fault(f, err, o, "look for the namespace");
		if (!exists)
			return fault_set(f, -ENOENT,
				"the pool %s has no namespace %s: make one (rbd namespace create %s/%s)",
				o->ceph_pool, space, o->ceph_pool, space);
	}
	rados_ioctx_set_namespace(c->io, space);
	rados_set_pool_full_try(c->io);
	return 0;
}

/* A pool's id stays when it is renamed, and no other pool of the cluster ever has it. */
static int home_find(struct rbd_cluster *c, const struct store_module_options *o)
{
	char fsid[64];
	int err = rados_cluster_fsid(c->rados, fsid, sizeof(fsid));

	if (err >= 0)
		snprintf(c->home, sizeof(c->home), "%.40s %lld %.120s", fsid,
			(long long)rados_ioctx_get_id(c->io), o->ceph_namespace ? o->ceph_namespace : "");
	return err < 0 ? err : 0;
}

int rbd_cluster_connect(struct rbd_cluster *c, const struct store_module_options *o, struct fault *f)
{
	int err = rados_create(&c->rados, user_of(o));

	memset(&c->io, 0, sizeof(c->io));
	c->addresses = NULL;
	if (err < 0)
		return fault_set(f, err,
			"librados does not start: %s: see rbd.client in umbrad.conf, and the machine's memory",
			strerror(-err));
	err = configure(c, o, f);
	if (!err) {
		err = rados_connect(c->rados);
		if (err == -ENOENT || err == -EACCES || err == -EPERM)
			fault_set(f, err,
				"there is no key for client.%s on this machine, or the wrong one, or it has no caps for the monitors: put it into "
				"/etc/ceph/ceph.client.%s.keyring, which umbrad's user must be able to read (ceph auth get client.%s), and "
				"give it mon 'profile rbd'",
				user_of(o), user_of(o), user_of(o));
		else if (err < 0)
			err = rbd_open_fault(f, err, o, "connect");
	}
	if (!err)
		err = pool_open(c, o, f);
	if (!err) {
		err = rados_getaddrs(c->rados, &c->addresses);
		if (err >= 0)
			err = home_find(c, o);
		if (err < 0)
			err = rbd_open_fault(f, err, o, "tell this client's address");
	}
	if (err)
		rbd_cluster_close(c);
	return err;
}

void rbd_cluster_close(struct rbd_cluster *c)
{
	if (c->addresses)
		rados_buffer_free(c->addresses);
	if (c->io)
		rados_ioctx_destroy(c->io);
	rados_shutdown(c->rados);
	memset(c, 0, sizeof(*c));
}

int rbd_cluster_blocklist(struct rbd_cluster *c, const char *addresses)
{
	char *copy = strdup(addresses), *rest = NULL;
	int err = copy ? 0 : -ENOMEM;

	for (char *a = copy ? strtok_r(copy, " ,", &rest) : NULL; a && err >= 0;
		a = strtok_r(NULL, " ,", &rest))
		err = rados_blocklist_add(c->rados, a, BLOCKLIST_SECONDS);
	free(copy);
	/* From here on no OSD that has seen an operation of ours takes one of theirs. */
	return err < 0 ? err : rados_wait_for_latest_osdmap(c->rados);
}

int rbd_cluster_may_blocklist(struct rbd_cluster *c)
{
	static const char *command =
		"{\"prefix\": \"osd blocklist\", \"blocklistop\": \"add\", \"addr\": \"nobody/0\"}";
	int err = rados_mon_command(c->rados, &command, 1, NULL, 0, NULL, NULL, NULL, NULL);

	return err == -EACCES || err == -EPERM ? err : 0;
}

static uint64_t number_of(const json_t *object, const char *key)
{
	const json_t *v = json_object_get(object, key);

	return json_is_number(v) && json_number_value(v) > 0 ? (uint64_t)json_number_value(v) : 0;
}

static void room_of(const json_t *stats, struct rbd_room *out)
{
	uint64_t quota = number_of(stats, "quota_bytes");

	out->used_bytes = number_of(stats, "stored");
	out->capacity_bytes = out->used_bytes + number_of(stats, "max_avail");
	if (quota && quota < out->capacity_bytes)
		out->capacity_bytes = quota;
}

/* "hashpspool,full,full_quota": whether the word is one of these. */
static bool has_flag(const char *names, const char *word)
{
	size_t len = strlen(word);

	for (const char *p = names; (p = strstr(p, word)); p += len)
		if ((p == names || p[-1] == ',') && (!p[len] || p[len] == ','))
			return true;
	return false;
}

static enum rbd_fullness fullness_of(const char *flags)
{
	if (has_flag(flags, "full_quota"))
		return RBD_QUOTA;
	if (has_flag(flags, "full"))
		return RBD_FULL;
	return has_flag(flags, "nearfull") || has_flag(flags, "backfillfull") ? RBD_NEARLY_FULL : RBD_ROOM;
}

static int ask_monitors(struct rbd_cluster *c, const char *command, json_t **out)
{
	char *text = NULL;
	size_t len = 0;
	int err = rados_mon_command(c->rados, &command, 1, NULL, 0, &text, &len, NULL, NULL);

	if (err < 0)
		return err;
	*out = json_loadb(text, len, 0, NULL);
	rados_buffer_free(text);
	return *out ? 0 : -EIO;
}

static const json_t *pool_in(const json_t *pools, const char *key, const char *pool)
{
	size_t i;
	const json_t *one;

	json_array_foreach(pools, i, one)
	{
		const char *name = json_string_value(json_object_get(one, key));

		if (name && strcmp(name, pool) == 0)
			return one;
	}
	return NULL;
}

int rbd_cluster_room(struct rbd_cluster *c, const char *pool, struct rbd_room *out)
{
	json_t *df = NULL, *pools = NULL;
	int err = ask_monitors(c, "{\"prefix\": \"df\", \"detail\": \"detail\", \"format\": \"json\"}", &df);

	memset(out, 0, sizeof(*out));
	if (err >= 0)
		err = ask_monitors(c,
			"{\"prefix\": \"osd pool ls\", \"detail\": \"detail\", \"format\": \"json\"}",
			&pools);
	if (err >= 0) {
		const char *flags =
			json_string_value(json_object_get(pool_in(pools, "pool_name", pool), "flags_names"));

		room_of(json_object_get(pool_in(json_object_get(df, "pools"), "name", pool), "stats"), out);
		out->fullness = flags ? fullness_of(flags) : RBD_ROOM;
	}
	json_decref(df);
	json_decref(pools);
	return err;
}
