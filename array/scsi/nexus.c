/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every command needs of the target and of its nexus. Both are made and ended in target.c.
 *
 * A nexus lives until its transport has destroyed it and its last task and TMF are over.
 */
#include "array/scsi/bounds.h"
#include "array/scsi/nexus.h"

#include <assert.h>
#include <string.h>

/* ---- the target ---------------------------------------------------------------------------------------- */

/* Ascending. False: it is among them, or there is no room. */
static bool insert_port(uint16_t ports[SCSI_PORTS_MAX], unsigned *count, uint16_t tag)
{
	unsigned at = 0;

	while (at < *count && ports[at] < tag)
		at++;
	if ((at < *count && ports[at] == tag) || *count == SCSI_PORTS_MAX)
		return false;
	memmove(ports + at + 1, ports + at, (*count - at) * sizeof(ports[0]));
	ports[at] = tag;
	++*count;
	return true;
}

void scsi_target_add_port(struct scsi_target *t, uint16_t tag)
{
	if (insert_port(t->ports, &t->port_count, tag))
		insert_port(t->own->ports, &t->own->port_count, tag);
}

bool scsi_target_has_port(const struct scsi_target *t, uint16_t tag)
{
	for (unsigned i = 0; i < t->port_count; i++)
		if (t->ports[i] == tag)
			return true;
	return false;
}

bool scsi_copies_offered(const struct scsi_target *t)
{
	return array_settings(t->array)->store->ops->clones;
}

uint8_t scsi_physical_exponent(const struct scsi_target *t)
{
	uint8_t exponent = 0;

	while ((uint32_t)SCSI_BLOCK_BYTES << exponent < t->physical_block_bytes)
		exponent++;
	return exponent;
}

void scsi_target_check_stop(struct scsi_target *t)
{
	void (*done)(void *arg) = t->stop_done;

	if (!done || t->stopped || !list_empty(&t->nexuses) || !list_empty(&t->sanitizing))
		return;
	t->stopped = true;
	done(t->stop_arg);
}

/* ---- nexuses ------------------------------------------------------------------------------------------- */

void scsi_nexus_get(struct scsi_nexus *n)
{
	n->refs++;
}

void scsi_nexus_put(struct scsi_nexus *n)
{
	assert(n->refs > 0);
	if (--n->refs > 0)
		return;
	n->target->nexus_over(n);
}
