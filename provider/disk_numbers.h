/* SPDX-License-Identifier: Apache-2.0 */
/* Which disks there are: those whose class driver tells Windows of a disk interface; no name is guessed. */
#ifndef UMBRA_PROVIDER_DISK_NUMBERS_H
#define UMBRA_PROVIDER_DISK_NUMBERS_H

#include <stdbool.h>
#include <stddef.h>
#include <windows.h>

struct disk_numbers {
	unsigned *numbers; /* owned: N of each \\.\PhysicalDriveN, ascending, each once */
	size_t count, cap;
	DWORD error; /* 0; else the list may lack disks: Windows does not tell them, or there is no memory */
};

struct disk_numbers disk_numbers_read(void);
void disk_numbers_free(struct disk_numbers *d);

/* Pure. Sets d->error when there is no memory. */
void disk_numbers_add(struct disk_numbers *d, unsigned number);

#endif
