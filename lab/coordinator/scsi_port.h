/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disks of the SCSI port as VSS sees them: enumerated by \\.\PHYSICALDRIVE<n>, asked by
 * IOCTL_SCSI_PASS_THROUGH (the buffered form) for INQUIRY and VPD pages 00, 80 and 83, read and written for
 * the flags in the partition table.
 *
 * Invariants: no handle stays open between calls; a disk that does not answer is left out of a scan, never
 * guessed; transfers are bounded by PORT_MAX_TRANSFER_BYTES.
 */
#ifndef LAB_SCSI_PORT_H
#define LAB_SCSI_PORT_H

#include <stdbool.h>
#include <stdint.h>
#include <windows.h>
#include "array/util/gpt.h"
#include "lab/coordinator/lun_info.h"

#define PORT_MAX_DISKS          256
#define PORT_MAX_TRANSFER_BYTES 65536
#define PORT_NAME_CHARS         32

struct port_disk {
	int drive; /* \\.\PHYSICALDRIVE<drive> */
	wchar_t device[PORT_NAME_CHARS];
	struct lun_bytes bytes;
	VDS_LUN_INFORMATION info; /* owned */
	uint32_t block_bytes;
	uint64_t blocks;
	struct gpt_state table;
};

struct port_scan {
	size_t count;
	struct port_disk disks[PORT_MAX_DISKS];
};

/* Every disk that answers; NULL: no memory. Free with port_scan_free. */
struct port_scan *port_scan(void);
void port_scan_free(struct port_scan *s);

const struct port_disk *port_find_lun(const struct port_scan *s, int lun);
const struct port_disk *port_find_drive(const struct port_scan *s, int drive);

/* IOCTL_SCSI_RESCAN_BUS on every \\.\Scsi<n>: there. The number of ports that took it. */
unsigned port_rescan(void);

/* SYNCHRONIZE CACHE (10). S_OK or the failure. */
HRESULT port_flush(const struct port_disk *d);

/* The GPT functions over this disk; the handle is opened for their time only. */
HRESULT port_set_shadow_bits(const struct port_disk *d, struct gpt_state *before);
HRESULT port_restore_bits(const struct port_disk *d, const struct gpt_state *before);
/* gpt_get_identity and gpt_change; a table of another kind: VSS_E_CANNOT_REVERT_DISKID. */
HRESULT port_get_identity(const struct port_disk *d, struct gpt_identity *out);
HRESULT port_change(const struct port_disk *d, const struct gpt_identity *want, uint64_t clear);

/* One block. */
HRESULT port_read_block(const struct port_disk *d, uint64_t lba, void *block);
HRESULT port_write_block(const struct port_disk *d, uint64_t lba, const void *block);
HRESULT port_look(struct port_disk *d); /* refreshes d->table */

#endif
