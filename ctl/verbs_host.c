/* SPDX-License-Identifier: Apache-2.0 */
/* umbractl host. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "ctl/ctl.h"
#include "ctl/windows.h"

#define SECRET_MAX_BYTES  255
#define BYTE_ORDER_MARK   "\xef\xbb\xbf"
#define SECRET_TEXT_BYTES (SECRET_MAX_BYTES + sizeof(BYTE_ORDER_MARK) + 1) /* with the line's end and a NUL */

/* The first line of the file that `option` names, as the user wrote it, into secret. */
static int read_secret(
	const struct invocation *in, const char *option, const char *path, char secret[SECRET_TEXT_BYTES])
{
	FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");

	if (!file)
		return ctl_fail(in, -errno, "%s: %s: %s names a file with the secret in its first line.",
			path, strerror(errno), option);
	char *line = fgets(secret, SECRET_TEXT_BYTES, file);
	int err = ferror(file) ? errno : 0; /* a directory opens, too */
	if (file != stdin)
		fclose(file);
	if (err)
		return ctl_fail(in, -err, "%s: %s: %s names a file with the secret in its first line.", path,
			strerror(err), option);
	if (!line)
		return ctl_fail(in, -ENODATA, "%s is empty: put the secret in its first line.", path);
	if (strncmp(secret, "\xff\xfe", 2) == 0 || strncmp(secret, "\xfe\xff", 2) == 0)
		return ctl_fail(in, -EINVAL, "%s is UTF-16 text: save it as UTF-8 or ASCII.", path);
	if (strncmp(secret, BYTE_ORDER_MARK, strlen(BYTE_ORDER_MARK)) == 0) /* as Windows' editors write it */
		memmove(secret, secret + strlen(BYTE_ORDER_MARK),
			strlen(secret + strlen(BYTE_ORDER_MARK)) + 1);
	secret[strcspn(secret, "\r\n")] = '\0';
	if (!*secret || strlen(secret) > SECRET_MAX_BYTES)
		return ctl_fail(in, -EINVAL,
			"The first line of %s has no or more than %d characters: write the secret there, 12 to "
			"16 characters for Windows.",
			path, SECRET_MAX_BYTES);
	return CTL_OK;
}

/* "own", "any" or "named:a,b". */
static int add_import(const struct invocation *in, json_t *params)
{
	const char *import = ctl_option(in, "import", 0);

	if (!import)
		return CTL_OK;
	if (!strcmp(import, "own") || !strcmp(import, "any")) {
		json_object_set_new(params, "import", json_string(import));
		return CTL_OK;
	}
	if (strncmp(import, "named:", 6) != 0 || !import[6])
		return ctl_usage(in, "--import %s: it is own, any, or named:HOST[,HOST…].", import);
	json_t *hosts = json_array();
	for (const char *at = import + 6; *at; at += *at == ',') {
		size_t len = strcspn(at, ",");
		if (len)
			json_array_append_new(hosts, json_stringn(at, len));
		at += len;
	}
	json_object_set_new(params, "import", json_string("named"));
	json_object_set_new(params, "import_hosts", hosts);
	return CTL_OK;
}

static void add_flag(const struct invocation *in, json_t *params, const char *option, const char *no_option,
	const char *member)
{
	if (ctl_flag(in, option))
		json_object_set_new(params, member, json_true());
	else if (ctl_flag(in, no_option))
		json_object_set_new(params, member, json_false());
}

int ctl_secret(
	const struct invocation *in, const char *option, const char *member, const char *path, json_t *params)
{
	char secret[SECRET_TEXT_BYTES];
	int failed = read_secret(in, option, path, secret);

	if (!failed)
		json_object_set_new(params, member, json_string(secret));
	explicit_bzero(secret, sizeof(secret));
	if (failed)
		return failed;
	if (!json_object_get(params, member))
		return ctl_fail(in, -EINVAL, "The secret in %s is not UTF-8 text: choose another.", path);
	return CTL_OK;
}

/* A secret from the file that `option` names, or none any more with `no_option`. */
static int add_secret(const struct invocation *in, json_t *params, const char *option, const char *no_option,
	const char *member)
{
	const char *path = ctl_option(in, option, 0);

	if (path && ctl_flag(in, no_option))
		return ctl_usage(in, "--%s and --%s contradict each other.", option, no_option);
	char what[40];

	snprintf(what, sizeof(what), "--%s", option);
	int failed = path ? ctl_secret(in, what, member, path, params) : CTL_OK;
	if (failed)
		return failed;
	if (ctl_flag(in, no_option))
		json_object_set_new(params, member, json_string(""));
	return CTL_OK;
}

static int add_options(const struct invocation *in, json_t *params)
{
	const char *user = ctl_option(in, "chap-user", 0), *iqn;
	int failed;

	if (ctl_flag(in, "iqn")) {
		json_t *iqns = json_array();
		for (int i = 0; (iqn = ctl_option(in, "iqn", i)); i++)
			json_array_append_new(iqns, json_string(iqn));
		json_object_set_new(params, "iqns", iqns);
	}
	failed = add_secret(in, params, "chap-file", "no-chap", "chap_secret");
	if (!failed)
		failed = add_secret(in, params, "mutual-chap-file", "no-mutual-chap", "mutual_chap_secret");
	if (failed)
		return failed;
	if (user)
		json_object_set_new(params, "chap_user", json_string(user));
	add_flag(in, params, "control-lu", "no-control-lu", "control_lu");
	add_flag(in, params, "control-without-chap", "no-control-without-chap", "control_without_chap");
	return add_import(in, params);
}

int verb_host_add(struct invocation *in)
{
	json_t *params = json_pack("{s:s}", "name", in->operands[0]);
	int failed =
		ctl_flag(in, "iqn")
			? add_options(in, params)
			: ctl_usage(in, "--iqn is needed: the initiator's name, as its settings show it.");

	if (failed) {
		json_decref(params);
		return failed;
	}
	json_t *host = ctl_call(in, "host.add", params);
	bool windows = host && ctl_flag(in, "windows") && !in->json;
	if (windows)
		json_incref(host);
	failed = print_result(in, host, "Host %s added%s\n", text_of(host, "name"),
		json_is_true(json_object_get(host, "chap"))
			? ""
			: "; it has no CHAP secret: whoever claims its name sees its LUNs");
	if (windows) {
		failed = windows_print(in, host);
		json_decref(host);
	}
	return failed;
}

int verb_host_set(struct invocation *in)
{
	json_t *params = json_pack("{s:s}", "host", in->operands[0]);
	int failed = add_options(in, params);

	if (!failed && json_object_size(params) == 1)
		failed = ctl_usage(in, "nothing to change is given.");
	if (failed) {
		json_decref(params);
		return failed;
	}
	return print_result(in, ctl_call(in, "host.set", params), "Host %s changed\n", in->operands[0]);
}

/* The strings of a list with commas between. */
static const char *joined(const json_t *list, char *out, size_t size)
{
	json_t *item;
	size_t i, used = 0;

	out[0] = '\0';
	json_array_foreach(list, i, item)
	{
		int more = snprintf(out + used, size - used, "%s%s", i ? "," : "", json_string_value(item));
		if (more < 0 || (size_t)more >= size - used)
			break;
		used += (size_t)more;
	}
	return *out ? out : "-";
}

static const char *import_of(const json_t *host, char *out, size_t size)
{
	char names[1024];

	if (strcmp(text_of(host, "import"), "named") != 0)
		snprintf(out, size, "%s", text_of(host, "import"));
	else
		snprintf(out, size, "named:%s",
			joined(json_object_get(host, "import_hosts"), names, sizeof(names)));
	return out;
}

int verb_host_list(struct invocation *in)
{
	static const char *const headings[] = {
		"NAME", ">SESSIONS", "CHAP", "CONTROL-LU", "IMPORT", "INITIATORS", NULL};
	json_t *hosts = ctl_list(in, "host.list", "hosts", NULL), *host;
	char text[5000];
	size_t i;

	if (!hosts)
		return CTL_FAILED;
	if (in->json)
		return print_json(json_pack("{s:o}", "hosts", hosts));
	struct table *t = table_new(headings);
	json_array_foreach(hosts, i, host)
	{
		table_cell(t, text_of(host, "name"));
		table_cell(t, count_of(host, "sessions"));
		table_cell(t, yes_of(host, "chap"));
		table_cell(t, yes_of(host, "control_lu"));
		table_cell(t, import_of(host, text, sizeof(text)));
		table_cell(t, joined(json_object_get(host, "iqns"), text, sizeof(text)));
	}
	table_print(t);
	json_decref(hosts);
	return CTL_OK;
}

int verb_host_show(struct invocation *in)
{
	json_t *host = ctl_call_named(in, "host.show", "host"), *item;
	char import[1200];
	size_t i;

	if (host && ctl_flag(in, "windows") && !in->json) {
		int code = windows_print(in, host);
		json_decref(host);
		return code;
	}
	if (host && !in->json) {
		printf("name                  %s\n", text_of(host, "name"));
		json_array_foreach(json_object_get(host, "iqns"), i, item)
			printf("initiator             %s\n", json_string_value(item));
		printf("CHAP                  %s\nCHAP user             %s\nmutual CHAP           %s\n"
		       "control LU            %s\n"
		       "control without CHAP  %s\nmay import            %s\nsessions              %s\n",
			yes_of(host, "chap"), text_of(host, "chap_user"), yes_of(host, "mutual_chap"),
			yes_of(host, "control_lu"), yes_of(host, "control_without_chap"),
			import_of(host, import, sizeof(import)), count_of(host, "sessions"));
		json_array_foreach(json_object_get(host, "mappings"), i, item)
			printf("LUN %-5s             %s\n", count_of(item, "number"), text_of(item, "lun"));
	}
	return print_result(in, host, "%s", "");
}

int verb_host_delete(struct invocation *in)
{
	return print_result(
		in, ctl_call_named(in, "host.delete", "host"), "Host %s deleted\n", in->operands[0]);
}
