/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VDS_LUN_INFORMATION as VSS handles it: built from a disk's INQUIRY data, copied, freed, compared.
 *
 * Invariants: every pointer in a structure made here is a CoTaskMem block of its own; a structure is either
 * whole or zeroed; strings are the INQUIRY fields as they stand (padding included), so that a provider that
 * pads otherwise is found out.
 */
#ifndef LAB_LUN_INFO_H
#define LAB_LUN_INFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <windows.h>
#include <vdslun.h>

#define LUN_INFO_MAX_IDENTIFIERS 32
#define LUN_INFO_MAX_BYTES       4096 /* of one identifier, port or address */

/* What a disk answered. Lengths in bytes; a page that is not there has length 0. */
struct lun_bytes {
	uint8_t inquiry[96], vpd80[255], vpd83[1024];
	size_t inquiry_len, vpd80_len, vpd83_len;
	uint8_t port, path, target, lun;
};

/* From the answers of a disk (contract of VDS: page 83 descriptors with association 0 only). False: no
 * memory. */
bool lun_info_build(VDS_LUN_INFORMATION *out, const struct lun_bytes *bytes);

bool lun_info_copy(VDS_LUN_INFORMATION *out, const VDS_LUN_INFORMATION *from);
void lun_info_free(VDS_LUN_INFORMATION *info); /* the members; leaves *info zeroed */
/* count structures and the array itself (CoTaskMem); NULL is allowed. */
void lun_info_free_array(VDS_LUN_INFORMATION *infos, size_t count);
VDS_LUN_INFORMATION *lun_info_alloc_array(size_t count); /* zeroed */

/* The name of the first field that VSS compares and that differs, or NULL: same LUN. Bus type, disk signature
 * and interconnects are not compared. */
const char *lun_info_difference(const VDS_LUN_INFORMATION *a, const VDS_LUN_INFORMATION *b);

/* NULL, or why VSS could not work with this as the identity of a shadow LUN. */
const char *lun_info_unfit(const VDS_LUN_INFORMATION *info);

/* "type/codeset:hex" each, separated by blanks; cut to cap. */
void lun_info_identifiers_text(const VDS_LUN_INFORMATION *info, char *out, size_t cap);

/*
 * A call with [in, out] structures from this process to another: before, lun_info_shelve keeps the pointers
 * that go in; after, lun_info_reclaim frees those that came back as other ones. Wine's proxies allocate what
 * comes back anew and drop what went in; Windows' free it themselves, and there lun_info_reclaim does
 * nothing.
 */
struct lun_info_shelf {
	VDS_LUN_INFORMATION *before; /* shallow, owned; NULL: nothing is reclaimed */
	size_t count;
};
void lun_info_shelve(struct lun_info_shelf *shelf, const VDS_LUN_INFORMATION *infos, size_t count);
void lun_info_reclaim(struct lun_info_shelf *shelf, const VDS_LUN_INFORMATION *infos);

#endif
