/* SPDX-License-Identifier: Apache-2.0 */
/* Other programs, run to their end. */
#ifndef UMBRA_CTL_RUN_H
#define UMBRA_CTL_RUN_H

#include <stddef.h>
#include <sys/types.h>

#define RUN_ABSENT 127

/* Runs argv (ended by NULL) without input. out: what it wrote to both outputs, cut to size, with a NUL. Returns its exit code,
 * RUN_ABSENT when it is not there, -1 when it was killed or could not be started. */
int run_program(const char *const *argv, char *out, size_t size);

/* The same in parts. In a new process: becomes that program, without input and with these outputs. Returns, an errno, when it
 * cannot. */
int run_become(const char *const *argv, int output, int error);
/* The exit code of a process; -1: it was killed, or there is none (fork's pid of -1). */
int run_wait(pid_t pid);

#endif
