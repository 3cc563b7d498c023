/* SPDX-License-Identifier: Apache-2.0 */
/* Names and ids: what may be one, and which are taken. */
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include "array/model/base/internal.h"
#include "proto/identity.h"

bool array_name_valid(const char *name, struct fault *fault)
{
	size_t len = strlen(name);
	bool ok = len > 0 && len <= ARRAY_NAME_MAX_BYTES && name[0] != '-';

	for (size_t i = 0; ok && i < len; i++)
		ok = isascii((unsigned char)name[i]) &&
		     (isalnum((unsigned char)name[i]) || strchr("._-", name[i]));
	if (!ok)
		fault_set(fault, -EINVAL,
			"\"%.64s\" is no name: 1 to %d of the characters A-Z a-z 0-9 . _ -, not beginning "
			"with -",
			name, ARRAY_NAME_MAX_BYTES);
	return ok;
}

bool array_name_allowed(const char *name, struct fault *fault)
{
	uint8_t id[UP_ID_BYTES];

	if (!array_name_valid(name, fault))
		return false;
	if (up_id_parse(name, id)) {
		fault_set(fault, -EINVAL,
			"\"%.64s\" looks like an id and could be taken for another's; choose another name",
			name);
		return false;
	}
	return true;
}

bool array_id_zero(const uint8_t id[UP_ID_BYTES])
{
	static const uint8_t zero[UP_ID_BYTES];

	return memcmp(id, zero, UP_ID_BYTES) == 0;
}

void array_ident_add(struct array *a, struct array_ident *i, const uint8_t *id)
{
	i->id = id;
	array_index_add(&a->idents, &i->node, up_id_naa(id));
}

void array_ident_remove(struct array *a, struct array_ident *i)
{
	array_index_remove(&a->idents, &i->node);
}

bool array_ident_taken(const struct array *a, const uint8_t id[UP_ID_BYTES])
{
	return array_index_first(&a->idents, up_id_naa(id)) != NULL;
}

int array_id_new(struct array *a, uint8_t id[UP_ID_BYTES])
{
	do {
		if (getrandom(id, UP_ID_BYTES, 0) != UP_ID_BYTES)
			return -EIO;
	} while (array_id_zero(id) || array_ident_taken(a, id));
	return 0;
}

const uint8_t *array_id(const struct array *a)
{
	return a->id;
}

const char *array_name(const struct array *a)
{
	return a->name;
}

const struct array_options *array_settings(const struct array *a)
{
	return &a->options;
}
