/* SPDX-License-Identifier: Apache-2.0 */
/* A process of this machine or another, by a name that no other one ever has. */
#ifndef UMBRA_UTIL_PROCESS_H
#define UMBRA_UTIL_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

struct process_id {
	/* Boot and name space of processes: where a process number means something. Machines that were cloned differ in their boot.
	 * "-…": it is not known, and nobody else's. */
	char machine[80];
	uint64_t pid, start; /* start: in ticks since the machine's; 0: it is not known */
};

void process_self(struct process_id *out);
/* It was of this machine, and is certainly there no more. */
bool process_gone(const struct process_id *p);
bool process_same(const struct process_id *a, const struct process_id *b);

#endif
