/* SPDX-License-Identifier: Apache-2.0 */
/* Building and reading basic header segments. See pdu.h. */
#include "array/iscsi/pdu.h"

#include <string.h>

#define AHS_EXTENDED_CDB 1

void iscsi_pdu_init(uint8_t bhs[ISCSI_BHS_BYTES], enum iscsi_opcode opcode, uint8_t flags, uint32_t itt)
{
	memset(bhs, 0, ISCSI_BHS_BYTES);
	bhs[0] = (uint8_t)opcode;
	bhs[1] = flags;
	put_be32(bhs + ISCSI_AT_ITT, itt);
}

unsigned iscsi_pdu_cdb(const uint8_t *header, uint8_t *cdb, unsigned cap)
{
	const uint8_t *ahs = header + ISCSI_BHS_BYTES;
	uint32_t left = iscsi_ahs_len(header);
	unsigned len = 16;

	if (cap < len)
		return 0;
	memcpy(cdb, header + ISCSI_AT_CDB, len);
	while (left > 0) {
		uint32_t specific, whole;

		if (left < 4)
			return 0;
		specific = get_be16(ahs); /* counts from byte 3 */
		whole = (3 + specific + 3) & ~3u;
		if (whole > left)
			return 0;
		if (ahs[2] == AHS_EXTENDED_CDB) {
			/* one reserved byte, then what follows the first 16 bytes of the CDB */
			if (specific < 1 || len != 16 || specific - 1 > cap - len)
				return 0;
			memcpy(cdb + len, ahs + 4, specific - 1);
			len += specific - 1;
		}
		ahs += whole;
		left -= whole;
	}
	return len;
}
