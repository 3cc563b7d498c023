/* SPDX-License-Identifier: Apache-2.0 */
/* See chap.h. */
#include "array/iscsi/chap.h"

#include <errno.h>
#include <string.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include "array/iscsi/text.h"

/* IANA "PPP Authentication Algorithms", those that iSCSI implementations use. */
static const struct algorithm {
	const char *number;
	const EVP_MD *(*md)(void);
	size_t len;
} algorithms[] = {
	{"5", EVP_md5, 16},
	{"6", EVP_sha1, 20},
	{"7", EVP_sha256, 32},
	{"8", EVP_sha3_256, 32},
};

#define FIRST_NUMBER 5

static const struct algorithm *find(unsigned algorithm)
{
	unsigned i = algorithm - FIRST_NUMBER;

	return i < sizeof(algorithms) / sizeof(algorithms[0]) ? &algorithms[i] : NULL;
}

unsigned chap_choose(const char *list)
{
	const char *numbers[sizeof(algorithms) / sizeof(algorithms[0])];
	int chosen;

	for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		numbers[i] = algorithms[i].number;
	chosen = iscsi_text_choose(list, numbers, sizeof(numbers) / sizeof(numbers[0]));
	return chosen < 0 ? CHAP_ALGORITHM_NONE : FIRST_NUMBER + (unsigned)chosen;
}

size_t chap_digest_len(unsigned algorithm)
{
	const struct algorithm *a = find(algorithm);

	return a ? a->len : 0;
}

int chap_response(unsigned algorithm, uint8_t identifier, const char *secret, const uint8_t *challenge,
	size_t challenge_len, uint8_t response[CHAP_DIGEST_MAX_BYTES])
{
	const struct algorithm *a = find(algorithm);
	EVP_MD_CTX *md;
	unsigned len = 0;
	bool ok;

	if (!a)
		return -EINVAL;
	md = EVP_MD_CTX_new();
	if (!md)
		return -ENOMEM;
	ok = EVP_DigestInit_ex(md, a->md(), NULL) == 1 && EVP_DigestUpdate(md, &identifier, 1) == 1 &&
	     EVP_DigestUpdate(md, secret, strlen(secret)) == 1 &&
	     EVP_DigestUpdate(md, challenge, challenge_len) == 1 &&
	     EVP_DigestFinal_ex(md, response, &len) == 1 && len == a->len;
	EVP_MD_CTX_free(md);
	return ok ? 0 : -ENOTSUP;
}

bool chap_equal(const uint8_t *a, const uint8_t *b, size_t len)
{
	return CRYPTO_memcmp(a, b, len) == 0;
}

void chap_wipe(void *secret, size_t len)
{
	OPENSSL_cleanse(secret, len);
}
