/* SPDX-License-Identifier: Apache-2.0 */
/* diskshadow's /l LOG: what goes to stdout, also from the programs that it starts, goes to a file, too. While
 * there is a log, stdout is that file, and log_tell copies what has come since to the real stdout. So no
 * thread is needed, and no program that outlives the script holds a pipe open. */
#ifndef LAB_REQUESTER_LOG_H
#define LAB_REQUESTER_LOG_H

#include <stdbool.h>
#include <wchar.h>

/* All zeros: there is no log; the functions do nothing. */
struct log {
	bool open;
	int reader; /* of the file: where what is not told yet begins */
	int real;   /* the descriptor that stdout was */
};

bool log_open(struct log *l, const wchar_t *path);
void log_tell(struct log *l);
/* Into the file only: what stands on stderr already. */
void log_add(struct log *l, const char *format, ...) __attribute__((format(gnu_printf, 2, 3)));
void log_close(struct log *l);

#endif
