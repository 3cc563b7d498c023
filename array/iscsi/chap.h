/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CHAP (RFC 1994) as iSCSI uses it (RFC 7143 12.1.3): the algorithms and their arithmetic, by OpenSSL. Pure.
 */
#ifndef UMBRA_ISCSI_CHAP_H
#define UMBRA_ISCSI_CHAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHAP_DIGEST_MAX_BYTES    32
#define CHAP_CHALLENGE_MAX_BYTES 1024
#define CHAP_ALGORITHM_NONE      0

/* The first algorithm of the initiator's list (CHAP_A, "7,5") that we have: 5 MD5, 6 SHA1, 7 SHA-256,
 * 8 SHA3-256. CHAP_ALGORITHM_NONE: none. */
unsigned chap_choose(const char *list);
/* Bytes of a response, and of the challenges that we make. */
size_t chap_digest_len(unsigned algorithm);
/* response = H(identifier, secret, challenge). 0 or a negative errno (the library refuses the algorithm). */
int chap_response(unsigned algorithm, uint8_t identifier, const char *secret, const uint8_t *challenge,
	size_t challenge_len, uint8_t response[CHAP_DIGEST_MAX_BYTES]);
/* In constant time. */
bool chap_equal(const uint8_t *a, const uint8_t *b, size_t len);
/* Overwrites a secret so that the compiler keeps the store. */
void chap_wipe(void *secret, size_t len);

#endif
