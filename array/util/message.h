/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A message's id, by which docs/messages.md finds it whatever it says of this LUN or that: "UMB-" and six digits of a hash of its
 * format. When the words of a message change, its row in message.c keeps the id that it had; scripts/messages says so.
 */
#ifndef UMBRA_UTIL_MESSAGE_H
#define UMBRA_UTIL_MESSAGE_H

#include <stdint.h>
#include "proto/message_id.h"

#define MESSAGE_ID_BYTES UP_MESSAGE_ID_BYTES

/* Never 0, which is no message. */
uint32_t message_of(const char *format);
/* Its id as text: out, and what is returned. */
const char *message_id(uint32_t message, char out[MESSAGE_ID_BYTES]);

#endif
