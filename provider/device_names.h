/* SPDX-License-Identifier: Apache-2.0 */
/* Which devices of a kind there are: Windows is asked for the names that exist, none is guessed. */
#ifndef UMBRA_PROVIDER_DEVICE_NAMES_H
#define UMBRA_PROVIDER_DEVICE_NAMES_H

#include <stdbool.h>
#include <windows.h>

struct device_names {
	WCHAR *text; /* owned: names, one behind the other, each with its NUL; an empty one ends them */
};

/* Empty when there is no memory, or Windows does not tell. */
struct device_names device_names_read(void);
void device_names_free(struct device_names *names);

/* The lowest number n >= `from` for which there is a device PREFIXnSUFFIX ("PhysicalDrive", ""; "Scsi", ":"). False: none. */
bool device_names_next(const struct device_names *names, const WCHAR *prefix, const WCHAR *suffix,
	unsigned from, unsigned *n);

#endif
