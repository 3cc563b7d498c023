/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Surfaced shadow copies: the volume manager of the host (lab/volumes.py; setting VolumePort, 0: none) mounts what arrives as
 * HarddiskVolumeShadowCopyN, and lets go of it before its LUN does.
 */
#ifndef LAB_SURFACE_H
#define LAB_SURFACE_H

#include <windows.h>

/* S_OK, also without a manager; VSS_E_UNEXPECTED when it fails (there is no file system, or the manager is gone). */
HRESULT surface_mount(LONG device, int lun);
void surface_unmount(LONG device);

#endif
