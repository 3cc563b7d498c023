/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A shadow copy set as the coordinator remembers it, and as the document of a transportable set carries it to
 * another host (the lab's counterpart of the Backup Components Document): JSON either way.
 *
 * Invariants: a set has at least one volume, a volume at least one LUN; each LUN appears once, whatever the
 * number of volumes on it; a file of the catalogue appears whole or not at all (written beside, then
 * renamed).
 */
#ifndef LAB_CATALOGUE_H
#define LAB_CATALOGUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <windows.h>
#include <vdslun.h>
#include "array/util/gpt.h"

#define SET_MAX_VOLUMES    64  /* VSS: at most 64 volumes in a set */
#define CATALOGUE_MAX      256 /* sets that are listed */
#define SET_MAX_LUNS       256
#define SET_MAX_MEMBERS    512
#define SET_NAME_BYTES     64
#define DOCUMENT_MAX_BYTES (8u << 20)

struct set_lun {
	VDS_LUN_INFORMATION original, shadow; /* owned */
	int drive, lun;                       /* of the original where the set was made */
	uint64_t size_bytes;
	struct gpt_identity identity; /* of the original's partition table when the set was made */
};

struct set_volume {
	GUID snapshot_id;
	GUID provider_id;             /* whose copy it is */
	char name[SET_NAME_BYTES];    /* of the volume, UTF-8; empty: it has none */
	char exposed[SET_NAME_BYTES]; /* UTF-8; empty: not exposed */
	LONG device;                  /* n of HarddiskVolumeShadowCopy<n>; 0: none on this host */
	size_t first, count;          /* in members[] */
};

struct shadow_set {
	GUID id, provider_id; /* of the first volume */
	LONG context;
	bool transportable, imported;
	ULONG made_count; /* volumes that it was made with */
	char created[32]; /* ISO 8601, UTC */
	char machine[64]; /* where it was made */
	size_t volume_count, lun_count, member_count;
	struct set_volume volumes[SET_MAX_VOLUMES];
	struct set_lun luns[SET_MAX_LUNS];
	size_t members[SET_MAX_MEMBERS]; /* indices into luns */
};

struct shadow_set *set_new(void); /* zeroed; NULL: no memory */
void set_free(struct shadow_set *s);

/* The index of the volume with this snapshot id, or -1. */
int set_find_snapshot(const struct shadow_set *s, const GUID *snapshot_id);
/* Is there a volume but `except` (-1: none) that lies on LUN `lun`? */
bool set_uses_lun(const struct shadow_set *s, size_t lun, int except);
/* Whose copy this LUN is: all volumes on it are one provider's. */
const GUID *set_lun_provider(const struct shadow_set *s, size_t lun);
/* Is it of more than one provider? */
bool set_is_mixed(const struct shadow_set *s);
/* Takes a volume out, and the LUNs on which no other volume lies. */
void set_remove_volume(struct shadow_set *s, size_t volume);

/* The document, CoTaskMem, or NULL without memory. */
char *set_to_document(const struct shadow_set *s);
/* NULL when it is not a document of this version, with *why set to a constant text. */
struct shadow_set *set_from_document(const char *text, size_t len, const char **why);

bool catalogue_has(const GUID *id);
bool catalogue_store(const struct shadow_set *s);
struct shadow_set *catalogue_load(const GUID *id); /* NULL: not there, or damaged */
/* The set that has this shadow copy, and which of its volumes it is; NULL: no set has it. */
struct shadow_set *catalogue_find_snapshot(const GUID *snapshot_id, int *volume);
bool catalogue_remove(const GUID *id);
/* The ids there are, at most cap; the number. */
size_t catalogue_list(GUID *ids, size_t cap);

#endif
