/* SPDX-License-Identifier: Apache-2.0 */
/* Who is to know of damaged blocks learns of each once. */
#include "array/store/pool/io/io.h"

#include <stdio.h>

static bool told(struct pool_damages *d, uint64_t place)
{
	for (unsigned i = 0; i < POOL_DAMAGES_KEPT; i++) {
		if (d->place[i] == place)
			return true;
	}
	d->place[d->next++ % POOL_DAMAGES_KEPT] = place;
	return false;
}

void pool_damage_found(struct pool *p, uint64_t disk_id, uint64_t chunk, const struct pool_transfer *t)
{
	struct pool_damage damage = {.disk_id = disk_id};

	for (unsigned i = 0; i < POOL_BLOCKS; i++) {
		if (!(t->damaged >> i & 1) || told(&p->damages, t->phys << 4 | i) || !p->damages.found)
			continue;
		damage.disk_offset = (chunk << POOL_CHUNK_SHIFT) + (i << POOL_BLOCK_SHIFT);
		damage.file_offset =
			(t->offset & ~(uint64_t)(POOL_CHUNK_BYTES - 1)) + (i << POOL_BLOCK_SHIFT);
		if (p->super.data_device)
			snprintf(damage.file, sizeof(damage.file), "the data device");
		else
			snprintf(damage.file, sizeof(damage.file), "data.%u",
				(unsigned)(t->phys / POOL_SEGMENT_CHUNKS));
		p->damages.found(p->damages.arg, &damage);
	}
}
