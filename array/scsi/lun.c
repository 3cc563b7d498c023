/* SPDX-License-Identifier: Apache-2.0 */
/* What a LUN keeps for the SCSI layer (lun->scsi), and LUN numbers on the wire. */
#include "array/scsi/lun.h"
#include "array/scsi/notice.h"
#include "array/scsi/reserve.h"
#include "array/scsi/sanitize.h"

#include <stdlib.h>
#include <string.h>

static void lun_state_free(void *scsi)
{
	struct scsi_lun *s = scsi;
	struct list_node *node;

	while ((node = list_pop(&s->registrants)))
		free(container_of(node, struct scsi_registrant, link));
	scsi_notices_free(s);
	scsi_sanitize_free(s->sanitize);
	free(s);
}

struct scsi_lun *scsi_lun_get(struct lun *lun)
{
	if (lun->scsi)
		return lun->scsi;
	struct scsi_lun *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->mode = scsi_mode_default();
	list_init(&s->blocked);
	list_init(&s->registrants);
	list_init(&s->notices);
	if (lun->reservations && !scsi_reserve_unpack(s, lun->reservations, lun->reservations_len)) {
		lun_state_free(s);
		return NULL;
	}
	lun->scsi = s;
	lun->scsi_free = lun_state_free;
	return s;
}

uint32_t scsi_lun_decode(const uint8_t lun[8])
{
	static const uint8_t zero[6];

	if (memcmp(lun + 2, zero, sizeof(zero)) != 0)
		return SCSI_NO_LUN;
	switch (lun[0] >> 6) {
	case 0: /* peripheral device addressing, bus 0 */
		return lun[0] == 0 ? lun[1] : SCSI_NO_LUN;
	case 1: /* flat space addressing */
		return (uint32_t)(lun[0] & 0x3F) << 8 | lun[1];
	default:
		return SCSI_NO_LUN;
	}
}

void scsi_lun_encode(uint32_t number, uint8_t lun[8])
{
	memset(lun, 0, 8);
	if (number > 255)
		lun[0] = (uint8_t)(0x40 | number >> 8);
	lun[1] = (uint8_t)number;
}
