/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the configuration. One table has every key with its type and bounds; what is not in it is refused
 * with the line's number, for a misspelt key that is silently ignored is a limit that does not hold.
 */
#include "array/config.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "array/iscsi/address.h"
#include "array/store/module.h"
#include "array/util/message.h"
#include "array/util/places.h"
#include "array/util/units.h"

enum key_type {
	KEY_TEXT,
	KEY_NAME,
	KEY_PATH,
	KEY_IQN,
	KEY_COUNT,
	KEY_BYTES,
	KEY_MS,
	KEY_YES,
	KEY_KIND,
	KEY_STORE,
	KEY_CEPH,
	KEY_LABEL,
	KEY_PORTALS,
	KEY_PEERS,
	KEY_REDIRECT
};

struct key {
	const char *section, *name;
	enum key_type type;
	size_t offset;
	uint64_t min, max;
	bool live; /* may change while umbrad runs */
};

#define AT(member) offsetof(struct config, member)
static const struct key keys[] = {
	{"array", "name", KEY_NAME, AT(array_name), 0, 0, false},
	{"array", "luns_max", KEY_COUNT, AT(luns_max), 1, 131072, false},
	{"array", "hosts_max", KEY_COUNT, AT(hosts_max), 1, 4096, false},
	{"array", "host_luns_max", KEY_COUNT, AT(host_luns_max), 1, ARRAY_LUN_NUMBER_MAX, true},
	{"array", "lun_size_max", KEY_BYTES, AT(lun_max_bytes), ARRAY_LUN_MIN_BYTES, ARRAY_LUN_MAX_BYTES,
		true},
	{"store", "type", KEY_STORE, AT(store), 0, 0, false},
	{"pool", "path", KEY_PATH, AT(pool_path), 0, 0, false},
	{"pool", "data_device", KEY_PATH, AT(pool_data_device), 0, 0, false},
	{"pool", "meta_mirror", KEY_PATH, AT(pool_meta_mirror), 0, 0, false},
	{"pool", "log_mirror", KEY_YES, AT(pool_log_mirror), 0, 0, false},
	{"pool", "map_memory", KEY_BYTES, AT(pool_map_memory_bytes), 1 << 20, UINT64_C(1) << 40, false},
	{"rbd", "pool", KEY_CEPH, AT(rbd_pool), 0, 0, false},
	{"rbd", "namespace", KEY_CEPH, AT(rbd_namespace), 0, 0, false},
	{"rbd", "client", KEY_CEPH, AT(rbd_client), 0, 0, false},
	{"rbd", "conf", KEY_PATH, AT(rbd_conf), 0, 0, false},
	{"rbd", "array", KEY_LABEL, AT(rbd_array), 0, 0, false},
	{"controller", "number", KEY_COUNT, AT(controller), 1, 2, false},
	{"controller", "peer_portals", KEY_PEERS, 0, 0, 0, false},
	{"iscsi", "portals", KEY_PORTALS, 0, 0, 0, false},
	{"iscsi", "redirect", KEY_REDIRECT, 0, 0, 0, false},
	{"iscsi", "target_name", KEY_IQN, AT(target_name), 0, 0, false},
	{"iscsi", "connections_max", KEY_COUNT, AT(connections_max), 1, 16384, true},
	{"iscsi", "connections_per_source", KEY_COUNT, AT(connections_per_source), 1, 16384, true},
	{"iscsi", "sessions_max", KEY_COUNT, AT(sessions_max), 1, 16384, true},
	{"iscsi", "sessions_per_host", KEY_COUNT, AT(sessions_per_host), 1, 16384, true},
	{"iscsi", "tasks_max", KEY_COUNT, AT(tasks_max), 1, 1024, false},
	{"iscsi", "buffer_memory", KEY_BYTES, AT(buffer_bytes_max), 16 << 20, UINT64_C(1) << 40, false},
	{"iscsi", "login_timeout", KEY_MS, AT(login_timeout_ms), 100, 600000, true},
	{"iscsi", "nop_interval", KEY_MS, AT(nop_interval_ms), 100, 3600000, true},
	{"iscsi", "nop_timeout", KEY_MS, AT(nop_timeout_ms), 100, 3600000, true},
	{"iscsi", "logout_timeout", KEY_MS, AT(logout_timeout_ms), 100, 600000, true},
	{"iscsi", "max_recv_segment", KEY_BYTES, AT(max_recv_segment_bytes), 512, SCSI_TRANSFER_MAX_BYTES,
		false},
	{"iscsi", "max_burst", KEY_BYTES, AT(max_burst_bytes), 512, SCSI_TRANSFER_MAX_BYTES, false},
	{"iscsi", "first_burst", KEY_BYTES, AT(first_burst_bytes), 512, SCSI_TRANSFER_MAX_BYTES, false},
	{"iscsi", "discovery_needs_chap", KEY_YES, AT(discovery_needs_chap), 0, 0, true},
	{"scsi", "threshold_percent", KEY_COUNT, AT(threshold_percent), 10, 99, true},
	{"scsi", "physical_block", KEY_BYTES, AT(physical_block_bytes), 512, 4096, false},
	{"scsi", "sanitize_rate", KEY_BYTES, AT(sanitize_bytes_per_s), 1 << 20, UINT64_C(1) << 40, true},
	{"copysets", "lease", KEY_MS, AT(lease_ms), 100, 86400000, true},
	{"copysets", "host_gone", KEY_MS, AT(host_gone_ms), 100, 86400000, true},
	{"copysets", "commit_budget", KEY_MS, AT(commit_budget_ms), 10, 60000, true},
	{"copysets", "number_rest", KEY_MS, AT(number_rest_ms), 1, 86400000, true},
	{"copysets", "sets_max", KEY_COUNT, AT(sets_max), 1, 65536, false},
	{"copysets", "copy_kind", KEY_KIND, AT(copy_kind), 0, 0, true},
	{"copysets", "hydrate_rate", KEY_BYTES, AT(hydrate_bytes_per_s), 64 << 10, UINT64_C(1) << 40, true},
	{"copysets", "hydrations", KEY_COUNT, AT(hydrations_max), 1, 64, true},
	{"copysets", "recycle_time", KEY_MS, AT(recycle_ms), 1000, UINT32_MAX, true},
	{"copysets", "set_luns_max", KEY_COUNT, AT(set_luns_max), 1, 64, false},
	{"management", "socket", KEY_PATH, AT(socket_path), 0, 0, false},
	{"management", "group", KEY_TEXT, AT(management_group), 0, 0, false},
	{"management", "connections_max", KEY_COUNT, AT(management_connections_max), 1, 1024, true},
};
#undef AT
#define KEY_TOTAL (sizeof(keys) / sizeof(keys[0]))

struct reading {
	const char *path;
	FILE *file;
	int line;
	struct config *config;
	bool seen[KEY_TOTAL];
	/* redirections, for their portals may come later in the file */
	unsigned redirect_count;
	struct redirect {
		int line;
		struct iscsi_portal from; /* with where to */
	} redirects[CONFIG_PORTALS_MAX];
	struct fault *fault;
	int err; /* of the first error; later lines are not looked at */
};

#define FAIL(r, ...) ((r)->err = fault_set_line((r), __VA_ARGS__))
static int fault_set_line(struct reading *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int fault_set_line(struct reading *r, const char *format, ...)
{
	char text[200];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fault_set(r->fault, -EINVAL, "%s:%d: %s", r->path, r->line, text);
	if (r->fault)
		r->fault->message = message_of(format);
	return -EINVAL;
}

/* A "#" behind a blank begins a comment, as a ";" does in inih. */
static void cut_comment(char *line)
{
	for (char *at = strchr(line, '#'); at; at = strchr(at + 1, '#'))
		if (at == line || at[-1] == ' ' || at[-1] == '\t') {
			memcpy(at, "\n", 2);
			return;
		}
}

/* inih's reader: counts the lines, refuses those that do not fit (inih would cut them silently). */
static char *read_line(char *buffer, int size, void *stream)
{
	struct reading *r = stream;

	if (r->err || !fgets(buffer, size, r->file))
		return NULL;
	r->line++;
	if (r->line == 1 && (strncmp(buffer, "\xff\xfe", 2) == 0 || strncmp(buffer, "\xfe\xff", 2) == 0)) {
		FAIL(r, "the file is UTF-16 text: save it as UTF-8 or ASCII.");
		return NULL;
	}
	if (!strchr(buffer, '\n') && !feof(r->file)) {
		FAIL(r, "the line is longer than %d characters: shorten it (portals may be given on several lines).",
			size - 2);
		return NULL;
	}
	cut_comment(buffer);
	return buffer;
}

static int store_text(struct reading *r, const struct key *k, const char *value)
{
	char *at = (char *)r->config + k->offset;
	size_t max = k->type == KEY_IQN ? UP_NAME_MAX_BYTES : CONFIG_TEXT_MAX_BYTES;

	if (!*value || strlen(value) > max)
		return FAIL(r, "%s must have 1 to %zu characters.", k->name, max);
	if (k->type == KEY_PATH && *value != '/')
		return FAIL(r, "%s must be an absolute path (begin with /).", k->name);
	if (k->type == KEY_NAME)
		for (const char *c = value; *c; c++)
			if (c - value >= ARRAY_NAME_MAX_BYTES ||
				(!isalnum((unsigned char)*c) && !strchr("._-", *c)))
				return FAIL(r, "%s must have at most %d letters, digits, '.', '_' or '-'.",
					k->name, ARRAY_NAME_MAX_BYTES);
	if (k->type == KEY_IQN) {
		if (strncmp(value, "iqn.", 4) && strncmp(value, "eui.", 4) && strncmp(value, "naa.", 4))
			return FAIL(r, "%s must be an iSCSI name, as in iqn.2026-01.com.example:array1.",
				k->name);
		for (const char *c = value; *c; c++)
			if (!islower((unsigned char)*c) && !isdigit((unsigned char)*c) && !strchr(".:-", *c))
				return FAIL(r,
					"%s may have lower-case letters, digits, '.', ':' and '-' only.",
					k->name);
	}
	if (k->type == KEY_CEPH && !store_module_ceph_ok(value))
		return FAIL(r, "%s is a name of at most %d bytes, without blanks, '/' and '@'.", k->name,
			STORE_MODULE_CEPH_MAX_BYTES);
	if (k->type == KEY_CEPH && !strncmp(value, "client.", 7))
		return FAIL(r, "%s is written without \"client.\": %s = %s.", k->name, k->name, value + 7);
	if (k->type == KEY_LABEL && !store_module_array_ok(value))
		return FAIL(r, "%s must have at most %d lower-case letters, digits, '.' or '-'.", k->name,
			STORE_MODULE_ARRAY_MAX_BYTES);
	memcpy(at, value, strlen(value) + 1);
	return 0;
}

static int store_count(struct reading *r, const struct key *k, const char *value)
{
	char *end;

	errno = 0;
	unsigned long long number = strtoull(value, &end, 10);
	if (!isdigit((unsigned char)*value) || *end || errno || number < k->min || number > k->max)
		return FAIL(
			r, "%s must be a number from %" PRIu64 " to %" PRIu64 ".", k->name, k->min, k->max);
	*(uint32_t *)(void *)((char *)r->config + k->offset) = (uint32_t)number;
	return 0;
}

static int store_bytes(struct reading *r, const struct key *k, const char *value)
{
	char low[UNITS_TEXT_BYTES], high[UNITS_TEXT_BYTES];
	uint64_t bytes;

	units_format_bytes(k->min, low);
	units_format_bytes(k->max, high);
	if (units_parse_bytes(value, &bytes) || bytes < k->min || bytes > k->max)
		return FAIL(r, "%s must be a size from %s to %s, as in 256M.", k->name, low, high);
	*(uint64_t *)(void *)((char *)r->config + k->offset) = bytes;
	return 0;
}

static int store_ms(struct reading *r, const struct key *k, const char *value)
{
	uint32_t ms;

	if (units_parse_ms(value, &ms) || ms < k->min || ms > k->max)
		return FAIL(r,
			"%s must be a time with its unit from %" PRIu64 "ms to %" PRIu64
			"ms, as in 10s or 5m.",
			k->name, k->min, k->max);
	*(uint32_t *)(void *)((char *)r->config + k->offset) = ms;
	return 0;
}

static int store_yes(struct reading *r, const struct key *k, const char *value)
{
	bool yes = !strcmp(value, "yes") || !strcmp(value, "true") || !strcmp(value, "on");

	if (!yes && strcmp(value, "no") && strcmp(value, "false") && strcmp(value, "off"))
		return FAIL(r, "%s must be yes or no.", k->name);
	*(bool *)((char *)r->config + k->offset) = yes;
	return 0;
}

static int store_kind(struct reading *r, const struct key *k, const char *value)
{
	bool plex = !strcmp(value, "plex");

	if (!plex && strcmp(value, "differential") != 0)
		return FAIL(r, "%s must be differential or plex.", k->name);
	*(enum up_copy_kind *)(void *)((char *)r->config + k->offset) =
		plex ? UP_COPY_PLEX : UP_COPY_DIFFERENTIAL;
	return 0;
}

static int store_type(struct reading *r, const struct key *k, const char *value)
{
	bool rbd = !strcmp(value, "rbd");

	if (!rbd && strcmp(value, "pool") != 0)
		return FAIL(r, "%s must be pool or rbd.", k->name);
	*(enum config_store *)(void *)((char *)r->config + k->offset) =
		rbd ? CONFIG_STORE_RBD : CONFIG_STORE_POOL;
	return 0;
}

/* "address:port", "[v6 address]:port" or an address alone (port 3260). */
static int read_address(
	struct reading *r, const char *key, const char *text, size_t len, struct iscsi_portal *portal)
{
	const char *end = text + len, *address = text, *port = NULL;
	size_t address_len = len;
	struct sockaddr_storage parsed;
	socklen_t parsed_len;
	unsigned long number = 3260;

	if (*text == '[') {
		const char *close = memchr(text, ']', len);
		if (!close)
			return FAIL(r, "%s: '[' without ']' in %.*s.", key, (int)len, text);
		address = text + 1;
		address_len = (size_t)(close - address);
		port = close + 1 < end && close[1] == ':' ? close + 2 : NULL;
		if (!port && close + 1 != end)
			return FAIL(
				r, "%s: %.*s is no address and port, as in [::]:3260.", key, (int)len, text);
	} else {
		const char *colon = memchr(text, ':', len);
		if (colon && !memchr(colon + 1, ':', (size_t)(end - colon - 1))) {
			address_len = (size_t)(colon - text);
			port = colon + 1;
		}
	}
	if (port) {
		char *stop;
		errno = 0;
		number = strtoul(port, &stop, 10);
		if (!isdigit((unsigned char)*port) || stop != end || number > 65535)
			return FAIL(
				r, "%s: the port in %.*s is no number from 0 to 65535.", key, (int)len, text);
	}
	if (!address_len || address_len >= sizeof(portal->address))
		return FAIL(r, "%s: %.*s has no address.", key, (int)len, text);
	memcpy(portal->address, address, address_len);
	portal->address[address_len] = '\0';
	portal->port = (uint16_t)number;
	if (iscsi_address_parse(portal->address, portal->port, &parsed, &parsed_len))
		return FAIL(r,
			"%s: %s is neither an IPv4 nor an IPv6 address: write one, as in 192.0.2.1 or "
			"[2001:db8::1] (names are not looked up).",
			key, portal->address);
	return 0;
}

/* An address, perhaps with "/" and a portal group. */
static int store_portal(struct reading *r, const struct key *k, const char *text, size_t len)
{
	bool ours = k->type == KEY_PORTALS;
	unsigned *count = ours ? &r->config->portal_count : &r->config->peer_count;
	struct iscsi_portal *portal = (ours ? r->config->portals : r->config->peers) + *count;
	const char *slash = memchr(text, '/', len);
	unsigned long group = 0;

	if (*count == CONFIG_PORTALS_MAX)
		return FAIL(r, "more than %d portals: leave some out.", CONFIG_PORTALS_MAX);
	if (slash) {
		char *stop;

		errno = 0;
		group = strtoul(slash + 1, &stop, 10);
		if (!isdigit((unsigned char)slash[1]) || stop != text + len || group < 1 || group > 65535)
			return FAIL(r, "%s: the group in %.*s is no number from 1 to 65535.", k->name,
				(int)len, text);
		len = (size_t)(slash - text);
	}
	if (read_address(r, k->name, text, len, portal))
		return r->err;
	portal->group = (uint16_t)group;
	++*count;
	return 0;
}

/* Where to: a name or an address with a port, as hosts are to be told. */
static bool redirect_ok(const char *to)
{
	const char *colon = strrchr(to, ':');
	char *stop;

	if (!colon || colon == to || !isdigit((unsigned char)colon[1]) ||
		strlen(to) > ISCSI_REDIRECT_MAX_BYTES)
		return false;
	errno = 0;
	unsigned long port = strtoul(colon + 1, &stop, 10);
	if (*stop || errno || port < 1 || port > 65535)
		return false;
	if (*to == '[')
		return colon[-1] == ']' &&
		       strspn(to + 1, "0123456789abcdefABCDEF:.") == (size_t)(colon - to - 2);
	return strspn(to, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-") ==
	       (size_t)(colon - to);
}

/* "portal, where to, temporary or permanent" */
static int store_redirect(struct reading *r, const char *value)
{
	struct redirect *to = &r->redirects[r->redirect_count];
	char words[3][ISCSI_REDIRECT_MAX_BYTES + 1], rest[2];

	if (r->redirect_count == CONFIG_PORTALS_MAX)
		return FAIL(r, "more than %d redirections: leave some out.", CONFIG_PORTALS_MAX);
	if (sscanf(value, "%255s %255s %255s %1s", words[0], words[1], words[2], rest) != 3 ||
		(strcmp(words[2], "temporary") != 0 && strcmp(words[2], "permanent") != 0))
		return FAIL(r, "redirect must be a portal, where to, and temporary or permanent, as in "
			       "10.0.0.1:3260 10.0.0.2:3260 temporary.");
	if (!redirect_ok(words[1]))
		return FAIL(r, "redirect: %.80s is no address or name with a port, as in 10.0.0.2:3260.",
			words[1]);
	if (read_address(r, "redirect", words[0], strlen(words[0]), &to->from))
		return r->err;
	memcpy(to->from.redirect, words[1], strlen(words[1]) + 1);
	to->from.moved = strcmp(words[2], "permanent") == 0;
	to->line = r->line;
	r->redirect_count++;
	return 0;
}

static int apply_redirects(struct reading *r)
{
	for (unsigned i = 0; i < r->redirect_count; i++) {
		const struct iscsi_portal *from = &r->redirects[i].from;
		bool found = false;

		for (unsigned j = 0; j < r->config->portal_count; j++) {
			struct iscsi_portal *p = &r->config->portals[j];

			if (p->port != from->port || strcmp(p->address, from->address) != 0)
				continue;
			memcpy(p->redirect, from->redirect, sizeof(p->redirect));
			p->moved = from->moved;
			found = true;
		}
		if (!found) {
			r->line = r->redirects[i].line;
			return FAIL(r,
				"redirect: %s port %u is none of the portals: name one of them, as portals has it.",
				from->address, from->port);
		}
	}
	return 0;
}

static int store_portals(struct reading *r, const struct key *k, const char *value)
{
	if (!value[strspn(value, ", \t")])
		return FAIL(r, "%s names no address: give one, as in 192.0.2.1:3260, or leave the line out.",
			k->name);
	while (*value) {
		size_t len = strcspn(value, ", \t");
		if (len && store_portal(r, k, value, len))
			return r->err;
		value += len;
		value += strspn(value, ", \t");
	}
	return 0;
}

static int store_value(struct reading *r, const struct key *k, const char *value)
{
	switch (k->type) {
	case KEY_TEXT:
	case KEY_NAME:
	case KEY_PATH:
	case KEY_IQN:
	case KEY_CEPH:
	case KEY_LABEL:
		return store_text(r, k, value);
	case KEY_COUNT:
		return store_count(r, k, value);
	case KEY_BYTES:
		return store_bytes(r, k, value);
	case KEY_MS:
		return store_ms(r, k, value);
	case KEY_YES:
		return store_yes(r, k, value);
	case KEY_KIND:
		return store_kind(r, k, value);
	case KEY_STORE:
		return store_type(r, k, value);
	case KEY_PORTALS:
	case KEY_PEERS:
		return store_portals(r, k, value);
	case KEY_REDIRECT:
		return store_redirect(r, value);
	}
	return -EINVAL;
}

/* inih's handler: non-zero goes on. */
static int take(void *user, const char *section, const char *name, const char *value)
{
	struct reading *r = user;
	bool section_known = false;

	for (size_t i = 0; i < KEY_TOTAL; i++) {
		const struct key *k = &keys[i];
		if (strcmp(section, k->section) != 0)
			continue;
		section_known = true;
		if (strcmp(name, k->name) != 0)
			continue;
		if (r->seen[i] && k->type != KEY_PORTALS && k->type != KEY_PEERS && k->type != KEY_REDIRECT)
			FAIL(r, "%s is given twice in [%s]: remove one.", name, section);
		else
			store_value(r, k, value);
		r->seen[i] = true;
		return !r->err;
	}
	if (!*section)
		FAIL(r, "%s stands before any section: put it below [array], [pool], [iscsi] …", name);
	else if (!section_known)
		FAIL(r, "unknown section [%s]: the sections are array, store, pool, rbd, controller, iscsi, scsi, copysets, management.",
			section);
	else
		FAIL(r, "unknown key %s in [%s]: see umbrad.conf(5) for those there are.", name, section);
	return 0;
}

static bool section_seen(const struct reading *r, const char *section)
{
	for (size_t i = 0; i < KEY_TOTAL; i++)
		if (r->seen[i] && strcmp(keys[i].section, section) == 0)
			return true;
	return false;
}

/* Does the place lie in the directory, or is it the same? */
static bool within(const char *directory, const char *place)
{
	for (;;) {
		while (*directory == '/' && *place == '/' && directory[1] == '/')
			directory++;
		while (*directory == '/' && *place == '/' && place[1] == '/')
			place++;
		if (!*directory || *directory != *place)
			break;
		directory++;
		place++;
	}
	directory += strspn(directory, "/");
	return !*directory && (!*place || *place == '/' || place[-1] == '/');
}

/* A second copy that is lost with the first, or that is not made at all, is worse than none: somebody relies on it. */
static int check_mirror(struct reading *r)
{
	const struct config *c = r->config;

	if (c->pool_log_mirror && !c->pool_meta_mirror[0])
		return fault_set(r->fault, -EINVAL,
			"%s: log_mirror is for the mirror, and [pool] has none: add meta_mirror = DIRECTORY on another disk, or remove log_mirror.",
			r->path);
	if (c->pool_meta_mirror[0] &&
		(within(c->pool_path, c->pool_meta_mirror) || within(c->pool_meta_mirror, c->pool_path)))
		return fault_set(r->fault, -EINVAL,
			"%s: meta_mirror and the pool's path lie in one another, and would be lost together: name a directory on another disk.",
			r->path);
	return 0;
}

/* One place for the data, and no doubt which. */
static int check_store(struct reading *r)
{
	struct config *c = r->config;

	if (c->store == CONFIG_STORE_RBD && section_seen(r, "pool"))
		return fault_set(r->fault, -EINVAL,
			"%s: the store is rbd ([store] type), but there are keys in [pool]: remove them.",
			r->path);
	if (c->store == CONFIG_STORE_POOL && section_seen(r, "rbd"))
		return fault_set(r->fault, -EINVAL,
			"%s: the store is a pool, but there are keys in [rbd]: add type = rbd to [store], or remove them.",
			r->path);
	if (c->store == CONFIG_STORE_POOL && !c->pool_path[0])
		return fault_set(r->fault, -EINVAL,
			"%s: [pool] has no path: add path = DIRECTORY (made by umbractl "
			"pool create DIRECTORY).",
			r->path);
	if (c->store == CONFIG_STORE_RBD && !c->rbd_pool[0])
		return fault_set(r->fault, -EINVAL,
			"%s: [rbd] has no pool: add pool = POOL (of Ceph; prepared by umbractl rbd create POOL).",
			r->path);
	if (!c->rbd_array[0])
		snprintf(c->rbd_array, sizeof(c->rbd_array), "%s", STORE_MODULE_ARRAY);
	return check_mirror(r);
}

/* Another controller's portals are told to hosts as they stand here. */
static bool reachable(const struct iscsi_portal *p)
{
	struct sockaddr_storage address;
	socklen_t len;

	return p->port && iscsi_address_parse(p->address, p->port, &address, &len) == 0 &&
	       !iscsi_address_is_wildcard(&address);
}

static bool same_place(const struct iscsi_portal *a, const struct iscsi_portal *b)
{
	struct sockaddr_storage at[2];
	socklen_t len;

	return a->port == b->port && iscsi_address_parse(a->address, a->port, &at[0], &len) == 0 &&
	       iscsi_address_parse(b->address, b->port, &at[1], &len) == 0 &&
	       iscsi_address_same(&at[0], &at[1]);
}

/* The other controller is reached elsewhere, by ports with numbers of their own. */
static int check_controller(struct reading *r)
{
	struct config *c = r->config;

	if (!c->controller && !c->peer_count)
		return 0;
	if (!c->controller)
		return fault_set(r->fault, -EINVAL,
			"%s: [controller] has no number: add number = 1, and number = 2 on the other controller.",
			r->path);
	if (c->store != CONFIG_STORE_RBD)
		return fault_set(r->fault, -EINVAL,
			"%s: two controllers need a store that both reach: set type = rbd in [store], or remove [controller].",
			r->path);
	for (unsigned i = 0; i < c->portal_count; i++)
		if (!c->portals[i].group)
			c->portals[i].group = (uint16_t)c->controller;
	for (unsigned i = 0; i < c->peer_count; i++) {
		struct iscsi_portal *p = &c->peers[i];

		if (!reachable(p))
			return fault_set(r->fault, -EINVAL,
				"%s: peer_portals: hosts cannot reach the other controller at %s port %u: name an address of its own.",
				r->path, p->address, p->port);
		if (!p->group)
			p->group = (uint16_t)(3 - c->controller);
		for (unsigned j = 0; j < c->portal_count; j++) {
			if (same_place(&c->portals[j], p))
				return fault_set(r->fault, -EINVAL,
					"%s: peer_portals: %s port %u is this controller's own portal: name the other one's.",
					r->path, p->address, p->port);
			if (c->portals[j].group == p->group)
				return fault_set(r->fault, -EINVAL,
					"%s: the portal group %u is on both controllers: give portals in [iscsi] and peer_portals different ones (ADDRESS/GROUP).",
					r->path, p->group);
		}
	}
	return 0;
}

static int fill_in(struct reading *r)
{
	struct config *c = r->config;

	int err = check_store(r);
	if (err)
		return err;
	if (c->physical_block_bytes && c->physical_block_bytes != 512 && c->physical_block_bytes != 4096)
		return fault_set(
			r->fault, -EINVAL, "%s: physical_block in [scsi] must be 512 or 4096.", r->path);
	if (!c->array_name[0])
		snprintf(c->array_name, sizeof(c->array_name), "umbra");
	if (!c->socket_path[0])
		snprintf(c->socket_path, sizeof(c->socket_path), "%s", PLACE_SOCKET);
	if (!c->target_name[0]) {
		int used = snprintf(c->target_name, sizeof(c->target_name), "iqn.2026-01.dev.umbra:");
		for (const char *n = c->array_name; *n; n++)
			c->target_name[used++] = *n == '_' ? '-' : (char)tolower((unsigned char)*n);
		c->target_name[used] = '\0';
	}
	if (!c->portal_count) {
		snprintf(c->portals[0].address, sizeof(c->portals[0].address), "0.0.0.0");
		c->portals[0].port = 3260;
		c->portal_count = 1;
	}
	err = check_controller(r);
	return err ? err : apply_redirects(r);
}

int config_load(const char *path, struct config *out, struct fault *fault)
{
	struct reading r = {.path = path, .config = out, .fault = fault};

	memset(out, 0, sizeof(*out));
	r.file = fopen(path, "re");
	if (!r.file) {
		int err = -errno;
		return fault_set(fault, err, "%s: %s: give the configuration with --config FILE.", path,
			strerror(-err));
	}
	int bad_line = ini_parse_stream(read_line, &r, take, &r);
	fclose(r.file);
	if (r.err)
		return r.err;
	if (bad_line) {
		r.line = bad_line;
		return FAIL(&r, "neither [section] nor key = value nor comment: correct or remove the line.");
	}
	return fill_in(&r);
}

/* ---- reading it again ------------------------------------------------------------------------------- */

static size_t key_bytes(const struct key *k)
{
	switch (k->type) {
	case KEY_COUNT:
	case KEY_MS:
		return sizeof(uint32_t);
	case KEY_BYTES:
		return sizeof(uint64_t);
	case KEY_YES:
		return sizeof(bool);
	case KEY_KIND:
		return sizeof(enum up_copy_kind);
	case KEY_STORE:
		return sizeof(enum config_store);
	default:
		return 0;
	}
}

static bool peers_differ(const struct config *a, const struct config *b)
{
	if (a->peer_count != b->peer_count)
		return true;
	for (unsigned i = 0; i < a->peer_count; i++)
		if (strcmp(a->peers[i].address, b->peers[i].address) != 0 ||
			a->peers[i].port != b->peers[i].port || a->peers[i].group != b->peers[i].group)
			return true;
	return false;
}

static bool portals_differ(const struct config *a, const struct config *b, bool redirect)
{
	if (!redirect && a->portal_count != b->portal_count)
		return true;
	for (unsigned i = 0; i < a->portal_count && i < b->portal_count; i++) {
		const struct iscsi_portal *x = &a->portals[i], *y = &b->portals[i];
		if (redirect ? strcmp(x->redirect, y->redirect) != 0 || x->moved != y->moved
			     : strcmp(x->address, y->address) != 0 || x->port != y->port ||
					x->group != y->group)
			return true;
	}
	return false;
}

static bool differs(const struct key *k, const struct config *a, const struct config *b)
{
	const char *x = (const char *)a + k->offset, *y = (const char *)b + k->offset;
	size_t bytes = key_bytes(k);

	if (k->type == KEY_PEERS)
		return peers_differ(a, b);
	if (k->type == KEY_PORTALS || k->type == KEY_REDIRECT)
		return portals_differ(a, b, k->type == KEY_REDIRECT);
	return bytes ? memcmp(x, y, bytes) != 0 : strcmp(x, y) != 0;
}

/* Puts the name at the end of a list, as far as there is room. */
static void list_add(char list[CONFIG_NAMES_BYTES], const char *name)
{
	size_t used = strlen(list);

	snprintf(list + used, CONFIG_NAMES_BYTES - used, "%s%s", used ? ", " : "", name);
}

void config_take(struct config *running, const struct config *fresh, char taken[CONFIG_NAMES_BYTES],
	char refused[CONFIG_NAMES_BYTES])
{
	taken[0] = refused[0] = '\0';
	for (size_t i = 0; i < KEY_TOTAL; i++) {
		const struct key *k = &keys[i];
		char *at = (char *)running + k->offset;
		const char *from = (const char *)fresh + k->offset;
		size_t bytes = key_bytes(k);

		if (!differs(k, running, fresh))
			continue;
		list_add(k->live ? taken : refused, k->name);
		if (k->live)
			memcpy(at, from, bytes ? bytes : strlen(from) + 1);
	}
}
