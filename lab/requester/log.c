/* SPDX-License-Identifier: Apache-2.0 */
/* See log.h. */
#include "lab/requester/log.h"

#include <windows.h>
#include <fcntl.h>
#include <io.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

/* stdout of the C library and of the programs that are started. */
static void point_stdout_at(int descriptor)
{
	_dup2(descriptor, 1);
	SetStdHandle(STD_OUTPUT_HANDLE, (HANDLE)_get_osfhandle(1));
}

bool log_open(struct log *l, const wchar_t *path)
{
	int file = _wopen(path, _O_CREAT | _O_TRUNC | _O_APPEND | _O_WRONLY | _O_TEXT, _S_IREAD | _S_IWRITE);
	l->reader = file < 0 ? -1 : _wopen(path, _O_RDONLY | _O_BINARY);
	fflush(stdout);
	l->real = l->reader < 0 ? -1 : _dup(1);
	l->open = l->real >= 0;
	if (l->open) {
		_setmode(l->real, _O_BINARY); /* the file's lines have their ends already */
		point_stdout_at(file);
	} else if (l->reader >= 0) {
		_close(l->reader);
	}
	if (file >= 0)
		_close(file);
	return l->open;
}

void log_tell(struct log *l)
{
	char some[4096];
	int len;
	if (!l->open)
		return;
	fflush(stdout);
	_lseek(l->reader, 0, SEEK_CUR); /* the end that was met is forgotten */
	while ((len = _read(l->reader, some, sizeof some)) > 0)
		_write(l->real, some, (unsigned)len);
}

void log_add(struct log *l, const char *format, ...)
{
	va_list args;
	if (!l->open)
		return;
	log_tell(l);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	fflush(stdout);
	_lseek(l->reader, 0, SEEK_END); /* it is not told again */
}

void log_close(struct log *l)
{
	if (!l->open)
		return;
	log_tell(l);
	point_stdout_at(l->real);
	_setmode(1, _O_TEXT);
	_close(l->real);
	_close(l->reader);
	l->open = false;
}
