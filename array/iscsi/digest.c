/* SPDX-License-Identifier: Apache-2.0 */
/* Header and data digests: CRC32C by ISA-L, which neither inverts its seed nor its result. See pdu.h. */
#include "array/iscsi/pdu.h"

#include <isa-l/crc.h>

uint32_t iscsi_digest_add(uint32_t crc, const void *data, size_t len)
{
	/* ISA-L takes a non-const pointer and does not write through it. */
	return crc32_iscsi((unsigned char *)(uintptr_t)data, (int)len, crc);
}

void iscsi_digest_put(uint8_t wire[ISCSI_DIGEST_BYTES], uint32_t crc)
{
	crc = ~crc;
	for (unsigned i = 0; i < ISCSI_DIGEST_BYTES; i++)
		wire[i] = (uint8_t)(crc >> (8 * i));
}

bool iscsi_digest_matches(const uint8_t wire[ISCSI_DIGEST_BYTES], uint32_t crc)
{
	uint8_t mine[ISCSI_DIGEST_BYTES];

	iscsi_digest_put(mine, crc);
	return mine[0] == wire[0] && mine[1] == wire[1] && mine[2] == wire[2] && mine[3] == wire[3];
}
