/* SPDX-License-Identifier: Apache-2.0 */
/* Which hosts may see a shadow LUN. */
#include <errno.h>
#include <stdio.h>
#include "array/model/set/internal.h"

/* Did the host see the LUN from which the copy was taken? When the original is gone, only the host that took
 * the copy counts as such. */
static bool had_original(const struct host *h, const struct lun *shadow, const struct lun *original)
{
	if (original)
		return map_number(h, original) != 0;
	return set_find(h->array, shadow->set_id, h->record.name) != NULL;
}

/* Who took a copy, for messages. */
static const char *taker(const struct lun *shadow, char out[UP_NAME_MAX_BYTES + 16])
{
	const struct set *s = set_find(shadow->array, shadow->set_id, NULL);
	const struct host *h = s ? set_owner_host(s->array, s->owner) : NULL;

	if (h)
		snprintf(out, UP_NAME_MAX_BYTES + 16, "host %s", h->record.name);
	else if (!s || !s->owner[0])
		snprintf(out, UP_NAME_MAX_BYTES + 16, "the administrator");
	else
		snprintf(out, UP_NAME_MAX_BYTES + 16, "%.200s, which is no host now,", s->owner);
	return out;
}

int set_may_import(const struct host *h, const struct lun *shadow, struct fault *fault)
{
	struct lun *original = lun_find(h->array, shadow->origin_id);
	char who[UP_NAME_MAX_BYTES + 16];

	if (shadow->kind != LUN_SHADOW)
		return fault_set(fault, -EPERM, "LUN %s is not a shadow copy; only the administrator maps it",
			shadow->name);
	if (h->record.import == HOST_IMPORT_ANY || had_original(h, shadow, original))
		return 0;
	for (unsigned i = 0; h->record.import == HOST_IMPORT_NAMED && i < h->record.import_host_count; i++) {
		struct host *named = host_find(h->array, h->record.import_hosts[i]);

		if (named && had_original(named, shadow, original))
			return 0;
	}
	if (!original)
		return fault_set(fault, -EPERM,
			"host %s may not import this shadow copy: its original is gone, and %s took it; see import in "
			"the host's record (umbractl host set --import)",
			h->record.name, taker(shadow, who));
	return fault_set(fault, -EPERM,
		"host %s may not import this shadow copy: its original is not mapped to it; see import in the host's "
		"record (umbractl host set --import)",
		h->record.name);
}
