/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The volumes of HKLM\Software\Umbra\Lab\Volumes ("D" = "1,2"): \\?\Volume{…} names the LUNs that a drive lies on, and flushes
 * them. Wine's own device of that name knows no disk. Files are read and written through the drive's letter alone.
 */
#ifndef UMBRA_LAB_VOLUMES_H
#define UMBRA_LAB_VOLUMES_H

#include "lab/scsiport/ioctl.h"

/* What is there when the driver is loaded. A volume that cannot be made is none. */
void volumes_make(DRIVER_OBJECT *driver);
void volumes_destroy(void);

/* IRP_MJ_DEVICE_CONTROL and IRP_MJ_FLUSH_BUFFERS of the volume with that letter. */
NTSTATUS volume_ioctl(struct port_call *call, unsigned int letter, ULONG code);
NTSTATUS volume_flush(struct port_call *call, unsigned int letter);

#endif
