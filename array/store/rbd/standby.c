/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a controller that stands by learns of the catalogue, which another umbrad changes meanwhile. The records come in several
 * reads. A transaction in between would show as an epoch or a count of disks that differs, or as a count that is not that of
 * the records; what does not, because it changed neither, is seen in the next look as a whole. Nothing is written.
 */
#include "array/store/rbd/rbd.h"

#include <errno.h>
#include <string.h>

struct looking {
	const struct store_standby *to;
	enum store_table table;
	uint64_t disks;
};

static int record(void *arg, const void *key, size_t key_len, const void *value, size_t value_len)
{
	struct looking *l = arg;

	return l->to->record(l->to->arg, l->table, key, key_len, value, value_len);
}

static int disk(void *arg, uint64_t id, uint64_t size_bytes, uint64_t data)
{
	struct looking *l = arg;

	l->disks++;
	return l->to->disk(l->to->arg, id, size_bytes, data);
}

struct marks {
	char epoch[24], disks[24];
};

static int marks_read(struct rbd_store *s, struct marks *m)
{
	int err = rbd_catalogue_header(s->cluster.io, s->object, RBD_HEAD_EPOCH, m->epoch, sizeof(m->epoch));

	return err ? err
		   : rbd_catalogue_header(
			     s->cluster.io, s->object, RBD_HEAD_DISKS, m->disks, sizeof(m->disks));
}

static int look(struct rbd_store *s, struct looking *l)
{
	static const enum store_table tables[] = {
		STORE_TABLE_META, STORE_TABLE_LUN, STORE_TABLE_HOST, STORE_TABLE_MAP};
	struct marks before, after;
	uint64_t disks;
	int err = marks_read(s, &before);

	if (!err)
		err = rbd_catalogue_disks(s, disk, l);
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]) && !err; i++) {
		l->table = tables[i];
		err = rbd_catalogue_iterate(&s->base, tables[i], record, l);
	}
	if (!err)
		err = marks_read(s, &after);
	if (!err && (strcmp(before.epoch, after.epoch) != 0 || strcmp(before.disks, after.disks) != 0 ||
			    !rbd_number_parse(after.disks, &disks) || disks != l->disks))
		err = -EAGAIN;
	return err;
}

int rbd_standby_look(struct rbd_store *s, const struct store_standby *to)
{
	struct looking l = {.to = to};
	int err;

	to->begin(to->arg);
	err = look(s, &l);
	to->end(to->arg, err);
	s->looked_ms = clock_boot_ms();
	return err;
}
