/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands say on standard error when they refuse, fail or warn: a sentence with cause and remedy, and its id. */
#ifndef UMBRA_PROVIDER_REFUSAL_H
#define UMBRA_PROVIDER_REFUSAL_H

/* "umbra-vss: SENTENCE [UMB-…]" and a new line; the id is of the format. */
void refusal_say(const char *format, ...) __attribute__((format(gnu_printf, 1, 2)));

/* A command line that is wrong: why (a constant, without its full stop), then how it is used. Returns 2, the exit code. */
int refusal_words(const char *why, const char *usage);

#endif
