/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disk interfaces (GUID_DEVINTERFACE_DISK) that Windows' plug and play keeps, in the registry where Wine's SetupDi
 * looks for them: disks are listed as on Windows, by interfaces whose names tell no number.
 */
#ifndef UMBRA_LAB_INTERFACE_H
#define UMBRA_LAB_INTERFACE_H

#include <ntddk.h>
#include <stdbool.h>

#define INTERFACE_CHARS 160

/* One that is always listed, and never leads anywhere: a disk that went after it was listed. A slot's is its number + 1. */
#define INTERFACE_GHOST 0u

/* \DosDevices\SCSI#…: what an interface is opened by. */
void interface_link(UNICODE_STRING *name, WCHAR buf[INTERFACE_CHARS], unsigned int n);

/* Is it listed? They are first listed in the order of their numbers. At PASSIVE_LEVEL. */
NTSTATUS interface_set(unsigned int n, bool listed);

#endif
