/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A LUN is lent to this machine for a while: a host is made for it, with a CHAP secret that nobody else learns, the LUN is
 * mapped to it, and both go again. The host's name says who made it and why ("umbractl-e-ID-PID-BEGIN"), so that the next
 * import or export finds what one left that was killed: its process is gone, and it has no session.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>
#include "ctl/image.h"

#define ID_BYTES   32
#define OWN_PREFIX "umbractl-" /* of all names here */

/* When a process began, in the kernel's ticks; 0: there is none. */
static unsigned long long began(long pid)
{
	char path[40], text[1024];
	unsigned long long ticks = 0;

	snprintf(path, sizeof(path), "/proc/%ld/stat", pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
	if (fd >= 0)
		close(fd);
	if (got <= 0)
		return 0;
	text[got] = '\0';
	const char *at = strrchr(text, ')'); /* the program's name ends there, field 2 */
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	if (at)
		ticks = strtoull(at + 1, NULL, 10);
	return ticks;
}

static void own_name(const char *why, const char *id, char out[65])
{
	long pid = (long)getpid();

	snprintf(out, 65, OWN_PREFIX "%s-%.32s-%ld-%llu", why, id, pid, began(pid));
}

void lend_set_name(char out[65])
{
	own_name(LEND_EXPORT, "set", out);
}

/* Whose name is it? False: nobody's of ours, or of one that lives. */
static bool left_behind(const char *name, char why[2], char id[ID_BYTES + 1])
{
	unsigned long long begin;
	long pid;
	int end = 0;

	if (sscanf(name, OWN_PREFIX "%1[ies]-%32[0-9a-fset]-%ld-%llu%n", why, id, &pid, &begin, &end) != 4 ||
		name[end])
		return false;
	return pid > 0 && began(pid) != begin;
}

static int call(const struct invocation *in, const char *method, const char *as, const char *name)
{
	json_t *result = ctl_call(in, method, json_pack("{s:s}", as, name));

	json_decref(result);
	return result ? CTL_OK : CTL_FAILED;
}

/* Does the list have it? As id or as name. */
static bool listed(const struct invocation *in, const char *method, const char *member, const char *what)
{
	json_t *list = ctl_list(in, method, member, NULL), *item;
	bool found = false;
	size_t i;

	json_array_foreach(list, i, item) found = found || strcmp(text_of(item, "id"), what) == 0;
	json_decref(list);
	return found;
}

static void sweep_host(const struct invocation *in, const json_t *host)
{
	char why[2], id[ID_BYTES + 1];
	const char *name = json_string_value(json_object_get(host, "name"));

	if (!name || !left_behind(name, why, id) || json_integer_value(json_object_get(host, "sessions")))
		return;
	if (*why == *LEND_IMPORT) {
		if (listed(in, "lun.list", "luns", id)) {
			json_decref(
				ctl_call(in, "map.remove", json_pack("{s:s, s:s}", "lun", id, "host", name)));
			call(in, "lun.delete", "lun", id);
			fprintf(stderr, "umbractl: an import was broken off: its LUN %s is deleted.\n", id);
		}
	} else if (listed(in, "shadow.list", "luns", id)) {
		json_decref(ctl_call(in, "shadow.unmap", json_pack("{s:s, s:s}", "lun", id, "host", name)));
	}
	call(in, "host.delete", "host", name);
}

int lend_sweep(const struct invocation *in)
{
	json_t *hosts = ctl_list(in, "host.list", "hosts", NULL), *item;
	json_t *sets =
		hosts ? ctl_list_of(in, "set.list", "sets", json_pack("{s:s}", "prefix", OWN_PREFIX)) : NULL;
	int code = sets ? CTL_OK : CTL_FAILED;
	char why[2], id[ID_BYTES + 1];
	size_t i;

	json_array_foreach(hosts, i, item) sweep_host(in, item);
	json_array_foreach(sets, i, item)
	{
		const char *name = json_string_value(json_object_get(item, "name"));
		if (name && left_behind(name, why, id))
			call(in, "set.delete", "set", name);
	}
	json_decref(hosts);
	json_decref(sets);
	return code;
}

/* ---- one that is lent ------------------------------------------------------------------------------- */

/* The address at which this machine finds the array. */
static int find_portal(struct lend *l, const json_t *status, char out[80])
{
	const json_t *array = json_object_get(status, "array");
	json_t *portal, *chosen = NULL;
	size_t i;

	json_array_foreach(json_object_get(array, "portals"), i,
		portal) if (!chosen && !json_object_get(portal, "redirect")) chosen = portal;
	if (!chosen)
		return ctl_fail(l->in, -ENOTSUP,
			"The array sends hosts elsewhere from each of its portals: it needs one that serves.");
	const char *address = text_of(chosen, "address");
	if (strcmp(address, "0.0.0.0") == 0)
		address = "127.0.0.1";
	else if (strcmp(address, "::") == 0)
		address = "::1";
	snprintf(out, 80, strchr(address, ':') ? "[%s]:%s" : "%s:%s", address, count_of(chosen, "port"));
	return CTL_OK;
}

/* A secret of 16 characters, in memory only; and the parameter for it. */
static int make_secret(struct lend *l, json_t *params)
{
	unsigned char random[8];
	char text[2 * sizeof(random) + 1];

	l->secret = memfd_create("umbractl", MFD_CLOEXEC);
	if (l->secret < 0 || getrandom(random, sizeof(random), 0) != sizeof(random))
		return ctl_fail(l->in, -errno, "no secret can be made (%s): try again.", strerror(errno));
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(text + 2 * i, 3, "%02x", random[i]);
	if (write(l->secret, text, sizeof(text) - 1) != sizeof(text) - 1)
		return ctl_fail(l->in, -errno, "no secret can be made (%s): try again.", strerror(errno));
	json_object_set_new(params, "chap_secret", json_string(text));
	return CTL_OK;
}

static int make_host(struct lend *l)
{
	json_t *params = json_pack("{s:s, s:[s]}", "name", l->host, "iqns", l->iqn);
	int code = make_secret(l, params);

	if (code) {
		json_decref(params);
		return code;
	}
	json_t *host = ctl_call(l->in, "host.add", params);
	l->host_made = host != NULL;
	json_decref(host);
	return host ? CTL_OK : CTL_FAILED;
}

static bool make_options(struct lend *l, const char *portal, const json_t *status, json_int_t number)
{
	char text[16];

	snprintf(text, sizeof(text), "%lld", (long long)number);
	return qemu_option(l->options, "driver", "iscsi") && qemu_option(l->options, "transport", "tcp") &&
	       qemu_option(l->options, "portal", portal) &&
	       qemu_option(l->options, "target", text_of(json_object_get(status, "array"), "target_name")) &&
	       qemu_option(l->options, "lun", text) && qemu_option(l->options, "initiator-name", l->iqn) &&
	       qemu_option(l->options, "user", l->iqn) && qemu_option(l->options, "password-secret", "umbra");
}

int lend_open(struct lend *l, const struct invocation *in, const char *why, const char *lun_id)
{
	bool import = *why == *LEND_IMPORT;
	char portal[80];

	*l = (struct lend){.in = in, .secret = -1};
	snprintf(l->lun, sizeof(l->lun), "%s", lun_id);
	own_name(why, lun_id, l->host);
	snprintf(l->iqn, sizeof(l->iqn), "iqn.2026-01.dev.umbra:%s", l->host);
	json_t *status = ctl_call(in, "status", NULL);
	int code = status ? find_portal(l, status, portal) : CTL_FAILED;
	if (!code)
		code = make_host(l);
	json_t *mapping = code ? NULL
			       : ctl_call(in, import ? "map.add" : "shadow.map",
					 json_pack("{s:s, s:s}", "lun", lun_id, "host", l->host));
	l->mapped = mapping != NULL;
	if (mapping &&
		!make_options(l, portal, status, json_integer_value(json_object_get(mapping, "number"))))
		code = ctl_fail(in, -ENAMETOOLONG, "the target's name is too long for qemu-img.");
	else if (!mapping)
		code = CTL_FAILED;
	json_decref(mapping);
	json_decref(status);
	return code;
}

void lend_close(struct lend *l)
{
	if (l->mapped)
		json_decref(ctl_call(
			l->in, "map.remove", json_pack("{s:s, s:s}", "lun", l->lun, "host", l->host)));
	if (l->host_made)
		call(l->in, "host.delete", "host", l->host);
	if (l->secret > 0)
		close(l->secret);
	l->mapped = l->host_made = false;
	l->secret = -1;
}

void lend_add(struct lend *l, struct qemu_run *r)
{
	static char object[80];

	snprintf(object, sizeof(object), "secret,id=umbra,file=/proc/self/fd/%d", l->secret);
	qemu_add(r, "--object");
	qemu_add(r, object);
	r->inherited[0] = l->secret;
}

uint64_t lend_moved(struct lend *l, struct client *c)
{
	json_t *list = c ? client_call(c, "session.list", json_pack("{s:s}", "host", l->host)) : NULL,
	       *session;
	json_int_t bytes = 0;
	size_t i;

	json_array_foreach(json_object_get(list, "sessions"), i, session)
	{
		bytes += json_integer_value(json_object_get(session, "bytes_in")) +
			 json_integer_value(json_object_get(session, "bytes_out"));
	}
	json_decref(list);
	return (uint64_t)bytes;
}
