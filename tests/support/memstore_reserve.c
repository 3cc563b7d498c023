/* SPDX-License-Identifier: Apache-2.0 */
/* Room set aside, of the store in memory: a number of disks that is counted. See memstore.h. */
#include "tests/support/memstore_internal.h"

void mem_op_reserve_end(struct memstore *m, struct mem_op *op)
{
	struct mem_reserve *r = op->reserve;
	struct store_reserve *owner = r->owner;
	unsigned room = m->reserve_room > m->reserved ? m->reserve_room - m->reserved : 0;
	int err = op->err;

	free(op);
	if (!owner) { /* nobody asks any more */
		free(r);
		return;
	}
	for (unsigned i = 0; !err && i < owner->count; i++)
		disk_of(owner->disks[i])->ready = true;
	if (owner->ready_only) {
		owner->priv = NULL;
		m->reserves--;
		free(r);
		owner->done(owner, err);
		return;
	}
	if (!err && r->disks > room && !owner->at_hand)
		err = -ENOSPC;
	if (r->disks > room)
		r->disks = room;
	if (err) {
		owner->priv = NULL;
		m->reserves--;
		free(r);
	} else {
		m->reserved += r->disks;
	}
	owner->done(owner, err);
}

void mem_reserve(struct store_reserve *owner)
{
	struct memstore *m = mem_of(owner->disks[0]->store);
	struct mem_op *op = mem_op_new(MEMSTORE_RESERVE, owner->at_hand ? 0 : mem_call(m, true));
	struct mem_reserve *r = mem_must(calloc(1, sizeof(*r)));

	for (unsigned i = 0; i < owner->count; i++)
		assert(disk_of(owner->disks[i])->usable || m->dead);
	r->m = m;
	r->owner = owner;
	r->disks = owner->count;
	m->reserves++;
	owner->priv = r;
	op->reserve = r;
	mem_op_start(m, op);
}

void mem_reserve_join(struct store_reserve *owner, struct store_disk *d)
{
	struct mem_reserve *r = owner->priv;

	assert(r->owner == owner && (disk_of(d)->usable || r->m->dead));
	r->joined++;
}

void mem_reserve_end(struct store_reserve *owner)
{
	struct mem_reserve *r = owner->priv;
	struct memstore *m = r->m;

	assert(r->owner == owner);
	owner->priv = NULL;
	r->owner = NULL;
	m->reserves--;
	list_for_each (n, &m->ops) {
		if (container_of(n, struct mem_op, link)->reserve == r)
			return; /* its end frees it */
	}
	m->reserved -= r->disks;
	free(r);
}

void memstore_open_lazily(struct memstore *m)
{
	m->lazy = true;
}

unsigned memstore_opened_in_cuts(const struct memstore *m)
{
	return m->opened_in_cuts;
}

unsigned memstore_reserved(const struct memstore *m)
{
	return m->reserved;
}

void memstore_reserve_room(struct memstore *m, unsigned disks)
{
	m->reserve_room = disks;
}
