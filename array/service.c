/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See service.h. systemd asks for the drop-in when it reads its units (packaging/systemd/umbra-generator), before file
 * systems are mounted: nothing here looks at the places that it names.
 */
#include "array/service.h"

#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "array/store/pool/public.h"

#define DEVICE_GROUP                                                                                         \
	"disk" /* whose members block devices are readable and writable to, on Debian and elsewhere */
#define CEPH_GROUP "ceph" /* may read the keyrings that are the cluster's */
#define LOW_PORTS  1024

/* One word of a unit file: in quotes, and nothing in it means something to systemd. */
static void put_word(FILE *out, const char *prefix, const char *word)
{
	fprintf(out, "\"%s", prefix);
	for (; *word; word++) {
		if (*word == '"' || *word == '\\')
			fputc('\\', out);
		else if (*word == '%')
			fputc('%', out);
		fputc(*word, out);
	}
	fputc('"', out);
}

/* The name of the device's unit, as systemd-escape --path makes it. */
static void put_device_unit(FILE *out, const char *path)
{
	bool begins = true;

	while (*path == '/')
		path++;
	for (; *path; path++) {
		unsigned char c = (unsigned char)*path;
		if (c == '/') {
			if (path[1] && path[1] != '/')
				fputc('-', out);
		} else if (isalnum(c) || c == '_' || c == ':' || (c == '.' && !begins)) {
			fputc(c, out);
		} else {
			fprintf(out, "\\x%02x", c);
		}
		begins = false;
	}
	fputs(".device", out);
}

static void put_place(FILE *out, const char *path)
{
	fputs("RequiresMountsFor=", out);
	put_word(out, "", path);
	fputc('\n', out);
}

static void put_writable(FILE *out, const char *path)
{
	fputs("ReadWritePaths=", out);
	put_word(out, "-", path);
	fputc('\n', out);
}

static bool has_low_port(const struct config *config)
{
	bool low = false;

	for (unsigned i = 0; i < config->portal_count; i++)
		low = low || (config->portals[i].port && config->portals[i].port < LOW_PORTS);
	return low;
}

/* Returns whether the pool's data is on a device. */
static bool put_dependencies(const struct config *config, FILE *out)
{
	const char *device = config->pool_data_device;
	bool is_node = !strncmp(device, "/dev/", 5);

	put_place(out, config->pool_path);
	if (*config->pool_meta_mirror)
		put_place(out, config->pool_meta_mirror);
	if (is_node) {
		fputs("Wants=", out);
		put_device_unit(out, device);
		fputs("\nAfter=", out);
		put_device_unit(out, device);
		fputc('\n', out);
	} else if (*device) {
		put_place(out, device);
	}
	return is_node;
}

static void put_rights(const struct config *config, FILE *out, bool is_node)
{
	const char *device = config->pool_data_device;

	put_writable(out, config->pool_path);
	if (*config->pool_meta_mirror)
		put_writable(out, config->pool_meta_mirror);
	if (is_node) {
		fputs("SupplementaryGroups=" DEVICE_GROUP
		      "\nPrivateDevices=no\nDevicePolicy=closed\nDeviceAllow=",
			out);
		put_word(out, "", device);
		fputs(" rw\n", out);
	} else if (*device) {
		put_writable(out, device);
	}
}

void service_write_unit(const struct config *config, FILE *out)
{
	bool has_pool = config->store == CONFIG_STORE_POOL, is_node = false;

	fputs("# What umbrad.conf says, for systemd. Made anew by: systemctl daemon-reload\n[Unit]\n", out);
	if (has_pool)
		is_node = put_dependencies(config, out);
	fputs("\n[Service]\n", out);
	if (has_pool)
		put_rights(config, out, is_node);
	else if (getgrnam(CEPH_GROUP))
		fputs("SupplementaryGroups=" CEPH_GROUP "\n", out);
	/* A group that is not there would keep the service from starting without a word of umbrad's. */
	if (*config->management_group && getgrnam(config->management_group))
		fprintf(out, "SupplementaryGroups=%s\n", config->management_group);
	/* A portal at all of the machine's addresses: the other controller is told which these are (getifaddrs). */
	if (config->controller)
		fputs("RestrictAddressFamilies=AF_NETLINK\n", out);
	if (has_low_port(config))
		fputs("AmbientCapabilities=CAP_NET_BIND_SERVICE\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE\n",
			out);
}

int service_give_pool(const struct config *config, const char *user, struct fault *fault)
{
	const struct passwd *who = getpwnam(user);
	const char *mirror = config->pool_meta_mirror;

	if (config->store != CONFIG_STORE_POOL)
		return 0;
	if (!who)
		return fault_set(fault, -ENOENT,
			"there is no user %s: systemd-sysusers makes it (or useradd --system %s)", user,
			user);
	if (geteuid() != 0)
		return fault_set(fault, -EPERM, "only root can give the pool away: run this as root");
	uid_t uid = who->pw_uid;
	gid_t gid = who->pw_gid;
	int err = pool_give(config->pool_path, uid, gid, fault);
	if (!err && *mirror) {
		mkdir(mirror, 0700); /* umbrad may not; that it is there, or cannot be, is told by umbrad */
		err = pool_give(mirror, uid, gid, fault);
	}
	return err;
}
