/* SPDX-License-Identifier: Apache-2.0 */
/* See apply.h. */
#include "ctl/apply.h"
#include <errno.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "array/util/units.h"

#define PATH_BYTES 4200

/* ---- the plan --------------------------------------------------------------------------------------- */

bool plan_wrong(struct plan *p, const char *format, ...)
{
	va_list args;
	char text[400];

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (!p->failed)
		ctl_fail(p->in, -EINVAL, "%s: %s Nothing was changed.", p->path, text);
	p->failed = true;
	return false;
}

/* sign: '+', '~' or '-'. params and values: moved; values are what the change is about, for --diff. */
void plan_add(struct plan *p, char sign, const char *method, json_t *params, json_t *values,
	const char *format, ...)
{
	va_list args;
	char text[300];

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	json_array_append_new(sign == '-' ? p->ends : p->steps,
		json_pack("{s:s#, s:s, s:s, s:o, s:o*}", "change", &sign, 1, "what", text, "method", method,
			"params", params, "values", values));
}

/* ---- the file --------------------------------------------------------------------------------------- */

static const char *const kinds[] = {"luns", "hosts", "mappings", "policies"};

static bool check_kinds(struct plan *p)
{
	const char *key;
	json_t *value;

	json_object_foreach(p->file, key, value)
	{
		bool known = false;
		for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
			known = known || strcmp(key, kinds[i]) == 0;
		if (!known)
			return plan_wrong(p,
				"\"%.80s\" is unknown: it may have luns, hosts, mappings and policies.", key);
		if (!json_is_array(value))
			return plan_wrong(p, "\"%s\" is not a list.", key);
	}
	return true;
}

/* No two entries of a list have one name. */
static bool check_names(struct plan *p, const char *kind)
{
	json_t *seen = json_object(), *entry;
	bool good = true;
	size_t i;

	json_array_foreach(json_object_get(p->file, kind), i, entry)
	{
		const char *name = json_string_value(json_object_get(entry, "name"));

		if (!name)
			good = plan_wrong(p, "%s[%zu] has no name.", kind, i);
		else if (json_object_get(seen, name))
			good = plan_wrong(p, "%s has %.80s twice.", kind, name);
		else
			json_object_set_new(seen, name, json_true());
		if (!good)
			break;
	}
	json_decref(seen);
	return good;
}

struct source {
	FILE *file;
	bool begun, utf16;
};

/* jansson's reader: passes over the byte order mark that editors of Windows set. */
static size_t read_source(void *buffer, size_t size, void *arg)
{
	struct source *s = arg;
	size_t len = fread(buffer, 1, size, s->file);

	if (s->begun)
		return len;
	s->begun = true;
	s->utf16 = len >= 2 && (memcmp(buffer, "\xff\xfe", 2) == 0 || memcmp(buffer, "\xfe\xff", 2) == 0);
	if (len >= 3 && memcmp(buffer, "\xef\xbb\xbf", 3) == 0) {
		len -= 3;
		memmove(buffer, (char *)buffer + 3, len);
	}
	return len;
}

bool plan_read(struct plan *p)
{
	json_error_t where;
	struct source source = {.file = strcmp(p->path, "-") == 0 ? stdin : fopen(p->path, "re")};

	if (!source.file)
		return plan_wrong(p, "%s.", strerror(errno));
	p->file = json_load_callback(read_source, &source, JSON_REJECT_DUPLICATES, &where);
	if (source.file != stdin)
		fclose(source.file);
	if (!p->file && source.utf16)
		return plan_wrong(p, "it is UTF-16 text: save it as UTF-8.");
	if (!p->file)
		return plan_wrong(p, "line %d: %s.", where.line, where.text);
	if (!json_is_object(p->file))
		return plan_wrong(p, "it is not a JSON object.");
	return check_kinds(p) && check_names(p, "luns") && check_names(p, "hosts") &&
	       check_names(p, "policies");
}

/* ---- values ----------------------------------------------------------------------------------------- */

json_t *plan_find(json_t *list, const char *member, const char *value)
{
	json_t *entry;
	size_t i;

	json_array_foreach(list, i, entry)
	{
		const char *is = json_string_value(json_object_get(entry, member));
		if (is && strcmp(is, value) == 0)
			return entry;
	}
	return NULL;
}

bool plan_unpack(struct plan *p, const char *kind, size_t at, json_t *entry, const char *format, ...)
{
	json_error_t where;
	va_list args;

	va_start(args, format);
	int err = json_vunpack_ex(entry, &where, JSON_STRICT, format, args);
	va_end(args);
	return err ? plan_wrong(p, "%s[%zu]: %s.", kind, at, where.text) : true;
}

bool plan_bytes(struct plan *p, const char *what, const json_t *value, uint64_t *bytes)
{
	if (json_is_integer(value) && json_integer_value(value) > 0) {
		*bytes = (uint64_t)json_integer_value(value);
		return true;
	}
	if (json_is_string(value) && !units_parse_bytes(json_string_value(value), bytes))
		return true;
	return plan_wrong(p, "%s has no size as in \"500G\" or 1048576.", what);
}

/* NULL, "none" and "": 0. */
bool plan_ms(struct plan *p, const char *what, const char *text, json_int_t *ms)
{
	uint64_t value = 0;

	if (text && *text && strcmp(text, "none") != 0 && (units_parse_long_ms(text, &value) || !value))
		return plan_wrong(p, "%s: %.40s is no time as in \"1h\" or \"14d\".", what, text);
	*ms = (json_int_t)value;
	return true;
}

/* A secret's file lies beside the file that names it, unless its path is absolute. */
bool plan_secret(struct plan *p, json_t *params, const char *member, const char *file)
{
	char path[PATH_BYTES], copy[PATH_BYTES];

	snprintf(copy, sizeof(copy), "%s", p->path);
	if (file[0] == '/' || strcmp(p->path, "-") == 0)
		snprintf(path, sizeof(path), "%s", file);
	else
		snprintf(path, sizeof(path), "%.2000s/%.2000s", dirname(copy), file);
	if (ctl_secret(p->in, "the host's entry", member, path, params) != CTL_OK)
		p->failed = true;
	return !p->failed;
}
