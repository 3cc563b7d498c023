/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why something failed: a negative errno for programs and one sentence for the administrator that says what
 * to do about it. Functions that take a `struct fault *` accept NULL.
 */
#ifndef UMBRA_UTIL_FAULT_H
#define UMBRA_UTIL_FAULT_H

#include <stdbool.h>
#include <stdint.h>

struct fault {
	int err;          /* negative errno, 0: nothing failed */
	uint32_t message; /* its id (message.h) */
	char text[248];   /* one sentence, no newline */
};

/* Fills *f (when not NULL) and returns err, so that `return fault_set(f, -ENOENT, "…")` works. */
int fault_set(struct fault *f, int err, const char *format, ...) __attribute__((format(printf, 3, 4)));

#define FAULT_NO_MEMORY "umbrad has no memory left: give its machine more, or try again later"
#define FAULT_NO_RANDOM "the kernel gives no random numbers: try again in a moment"

/* Once, at the start: this process' array lies in Ceph, and what helps is another thing than with a pool of its own. */
void fault_in_ceph(bool is);
/* The words for a negative errno that came without a text: what it is, what to do about it, and both in one sentence.
 * Never NULL, whatever err is. */
const char *fault_what(int err);
const char *fault_remedy(int err);
const char *fault_sentence(int err);
uint32_t fault_message(int err); /* the id of these words */
/* Fills *f with both; what an errno is that the array does not know, the C library says. */
int fault_errno(struct fault *f, int err);

#endif
