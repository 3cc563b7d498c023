/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unit attentions (SAM-5 5.14): what an initiator has to be told before its next command on a LUN runs. A bit
 * for each kind, for each nexus and LUN, so the same thing is never queued twice; the lowest bit goes first.
 *
 * 3F/0E (REPORTED LUNS DATA HAS CHANGED) belongs to the nexus: told on one LUN only, and done with once the
 * initiator asks REPORT LUNS. Attentions must not disturb a commit: the array sees to that by calling
 * late.
 */
#include "array/scsi/attention.h"
#include "array/scsi/nexus.h"
#include "array/scsi/sense.h"

#include <assert.h>

static const uint16_t attention_asc[ATTENTION_COUNT] = {
	[ATTENTION_POWER_ON] = 0x2900,
	[ATTENTION_TARGET_RESET] = 0x2902,
	[ATTENTION_LUN_RESET] = 0x2903,
	[ATTENTION_NEXUS_LOSS] = 0x2907,
	[ATTENTION_REPORTED_LUNS] = 0x3F0E,
	[ATTENTION_MEDIUM_CHANGED] = 0x2800,
	[ATTENTION_ACCESS_STATE] = ASC_ACCESS_STATE_CHANGED,
	[ATTENTION_CAPACITY] = 0x2A09,
	[ATTENTION_MODE_PARAMETERS] = 0x2A01,
	[ATTENTION_RESERVATIONS_PREEMPTED] = 0x2A03,
	[ATTENTION_RESERVATIONS_RELEASED] = 0x2A04,
	[ATTENTION_REGISTRATIONS_PREEMPTED] = 0x2A05,
	[ATTENTION_SOFT_THRESHOLD] = 0x3807,
};
static_assert(ATTENTION_COUNT <= 16, "attentions fit their mask");

void scsi_attention_set(struct scsi_nexus *n, uint32_t number, enum scsi_attention what)
{
	uint16_t bit = (uint16_t)(1u << what);

	if (what == ATTENTION_REPORTED_LUNS)
		n->attention_nexus |= bit;
	else if (number <= ARRAY_LUN_NUMBER_MAX)
		n->attention[number] |= bit;
}

void scsi_attention_others(
	struct scsi_target *t, struct lun *lun, const struct scsi_nexus *except, enum scsi_attention what)
{
	list_for_each (node, &t->nexuses) {
		struct scsi_nexus *n = container_of(node, struct scsi_nexus, link);
		uint32_t number;

		if (n == except || n->lost)
			continue;
		number = map_number(n->array.host, lun);
		if (number != 0)
			scsi_attention_set(n, number, what);
	}
}

void scsi_attention_all(struct scsi_target *t, enum scsi_attention what)
{
	list_for_each (node, &t->nexuses) {
		struct scsi_nexus *n = container_of(node, struct scsi_nexus, link);
		uint32_t number = 0;
		struct lun *lun;

		while (!n->lost && (number = map_next(n->array.host, number, &lun)) != 0)
			scsi_attention_set(n, number, what);
	}
}

void scsi_attention_forget(struct scsi_nexus *n, uint32_t number)
{
	if (number <= ARRAY_LUN_NUMBER_MAX)
		n->attention[number] = 0;
}

bool scsi_attention_pending(const struct scsi_nexus *n, uint32_t number)
{
	return (n->attention_nexus | n->attention[number]) != 0;
}

bool scsi_attention_take(struct scsi_nexus *n, uint32_t number, struct scsi_sense *out)
{
	unsigned bits = n->attention_nexus | n->attention[number];

	for (unsigned i = 0; i < ATTENTION_COUNT; i++) {
		if (!(bits & 1u << i))
			continue;
		n->attention_nexus &= (uint16_t) ~(1u << i);
		n->attention[number] &= (uint16_t) ~(1u << i);
		*out = (struct scsi_sense){.key = SENSE_UNIT_ATTENTION, .asc = attention_asc[i]};
		return true;
	}
	return false;
}
