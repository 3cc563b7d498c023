/* SPDX-License-Identifier: Apache-2.0 */
/* One request to VSS, as the options say, and what is printed of it. */
#ifndef LAB_REQUESTER_REQUEST_H
#define LAB_REQUESTER_REQUEST_H

#include <windows.h>
#include "lab/requester/options.h"

/* Asks; *res may stay NULL when it fails. Not for PROVIDERS and DELETE_ALL, which have more than one answer. */
HRESULT request_run(const struct options *o, LAB_RESULT **res);

/* Prints one answer, writes the document where one is wanted; the exit code. */
int request_show(const char *verb, const struct options *o, HRESULT hr, const LAB_RESULT *res);

/* Both, whatever the verb; the exit code. */
int request_whole(struct options *o);

/* Says what failed on stderr; 1. */
int request_fail(const char *what, HRESULT hr);

/* A whole text file as wide characters, malloc'ed; NULL: GetLastError. UTF-8 with a byte order mark or without one,
 * UTF-16 with one, else the code page of Windows: what editors, PowerShell and `echo >` leave. */
wchar_t *request_read_file(const wchar_t *path);

/* diskshadow.c: runs a script. The exit code. */
int diskshadow_run(const wchar_t *path, const struct options *like);

#endif
