/* SPDX-License-Identifier: Apache-2.0 */
/* The number of a message, by which docs/messages.md finds it: a hash of its format, the same in all programs. Pure. */
#ifndef UMBRA_MESSAGE_ID_H
#define UMBRA_MESSAGE_ID_H

#include <stdint.h>

#define UP_MESSAGE_ID_BYTES 11 /* "UMB-" and six digits, with a NUL */

/* 24 bits, never 0. */
uint32_t up_message_hash(const char *format);
/* As text: out, and what is returned. */
const char *up_message_text(uint32_t message, char out[UP_MESSAGE_ID_BYTES]);

#endif
