/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of disks: which LUN is \\.\PhysicalDriveN now.
 *
 * A slot's device object is made once and never deleted; only its symbolic link comes and goes. A handle
 * remembers the slot's generation from when it was opened, and is dead once that has passed, so it can never
 * reach another LUN.
 */
#ifndef UMBRA_LAB_DISKS_H
#define UMBRA_LAB_DISKS_H

#include <ntddk.h>
#include "lab/scsiport/port.h"

#define DISKS_MAX   LABW_MAX_LUNS
#define DISKS_FIRST 1 /* \\.\PhysicalDrive0 is the system disk on Windows */

struct disk_path {
	bool there;
	uint16_t lun; /* its number on that adapter */
};

struct disk {
	bool present;
	bool listed;         /* its interface is */
	uint32_t generation; /* odd while present */
	unsigned int slot;   /* in the table */
	unsigned int number; /* N of PhysicalDriveN */
	unsigned int
		adapter; /* of its first path; with the setting Multipath it may have one on each adapter */
	struct labw_lun lun;
	struct disk_path paths[PORT_ADAPTERS_MAX]; /* by adapter */
	unsigned int active;                       /* the path that I/O takes */
	DEVICE_OBJECT *device;                     /* NULL: never used */
};

/* A device object's extension: which slot of the table, or SLOT_ADAPTER and which adapter, or SLOT_VOLUME and which letter. */
struct device_extension {
	unsigned int slot, adapter;
};
#define SLOT_ADAPTER 0xFFFFu
#define SLOT_VOLUME  0xFFFEu

/* Asks the adapter's bridge (verb LABW_LIST or LABW_RESCAN) and makes the table fit. */
NTSTATUS disks_refresh(struct port_worker *worker, unsigned int adapter, uint8_t verb);

/* The generation to remember, 0 when the slot has no disk. */
uint32_t disks_open(unsigned int slot);

/* A copy of the slot, if `generation` is still its. */
bool disks_get(unsigned int slot, uint32_t generation, struct disk *out);

/* The disk of this LUN, if there is one. */
bool disks_find(unsigned int adapter, unsigned int lun, struct disk *out);

/* I/O takes that path from now on: the disk's others do not lead to the owner, or are gone. */
void disks_set_active(unsigned int slot, uint32_t generation, unsigned int adapter);

/* Has a disk claimed this LUN? */
bool disks_claimed(unsigned int adapter, unsigned int lun);

/* Every LUN of the adapter's last scan, disks and others: copies at most `max`, returns the count. */
uint32_t disks_all_luns(unsigned int adapter, struct labw_lun *out, uint32_t max);

/* Removes every link and device object. */
void disks_destroy(void);

/* For disks.c, given by driver.c: the driver's object. */
extern DRIVER_OBJECT *port_driver;

/* Text with a number in it as a kernel string; buf holds at least strlen(prefix) + 12 characters. */
void port_name(UNICODE_STRING *name, WCHAR *buf, const char *prefix, unsigned int number, const char *suffix);

#endif
