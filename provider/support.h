/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "umbra-vss support FILE": everything that somebody else needs to tell what is wrong, in one text file. Nothing in it is
 * a secret: values whose name says so are left out, and no place is read where Windows keeps CHAP secrets.
 */
#ifndef UMBRA_PROVIDER_SUPPORT_H
#define UMBRA_PROVIDER_SUPPORT_H

#include <stdio.h>
#include <wchar.h>

/* The words after "support". Exit code: 0 the file is written, 1 it is not, 2 wrong usage. */
int support_run(int count, wchar_t **words);

/* support_windows.c: its sections. */
void support_system(FILE *out);
void support_registry(FILE *out);
void support_events(FILE *out);
void support_programs(FILE *out);
void support_trace(FILE *out);

#endif
