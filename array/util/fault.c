/* SPDX-License-Identifier: Apache-2.0 */
/* See fault.h. */
#include "array/util/fault.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

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
