/* SPDX-License-Identifier: Apache-2.0 */
/* See fault.h. */
#include "array/util/fault.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

int fault_set(struct fault *f, int err, const char *format, ...)
{
	va_list args;

	if (!f)
		return err;
	f->err = err;
	va_start(args, format);
	vsnprintf(f->text, sizeof(f->text), format, args);
	va_end(args);
	return err;
}

int fault_errno(struct fault *f, int err)
{
	switch (err) {
	case -ENOMEM:
		return fault_set(f, err, FAULT_NO_MEMORY);
	case -ENOSPC:
		return fault_set(
			f, err, "%s: delete shadow copies or LUNs, or give the pool room", strerror(-err));
	case -EIO:
		return fault_set(f, err, "%s: look at the pool's disk and the kernel's log", strerror(-err));
	case -EROFS:
		return fault_set(f, err, "%s: look at the pool's disk, then restart umbrad", strerror(-err));
	case -EACCES:
	case -EPERM:
		return fault_set(f, err, "%s: look at the owner and mode, or be root", strerror(-err));
	case -EAGAIN:
	case -EBUSY:
		return fault_set(f, err, "%s: try again in a moment", strerror(-err));
	case -EUCLEAN:
		return fault_set(f, err, "%s: run umbractl pool check, or restore a backup", strerror(-err));
	default:
		return fault_set(f, err, "%s: see umbrad's log and umbractl events", strerror(-err));
	}
}
