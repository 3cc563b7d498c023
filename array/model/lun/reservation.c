/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a LUN's reservations need to survive a restart: bytes of the SCSI layer, in a record of the catalogue.
 * The model does not know what they mean.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "array/model/lun/internal.h"

struct keep {
	struct change c;
	struct lun *lun; /* held */
	uint8_t *bytes;
	uint32_t len;
};

static int keep_check(struct change *c)
{
	struct keep *op = container_of(c, struct keep, c);
	const struct lun *lun = op->lun;

	if (lun->gone)
		return fault_set(
			&c->fault, -ENODEV, "LUN %s is being deleted: nothing is left to do", lun->name);
	return op->len == lun->reservations_len &&
	       (op->len == 0 || memcmp(op->bytes, lun->reservations, op->len) == 0);
}

static int keep_build(struct change *c, struct store_txn *t)
{
	struct keep *op = container_of(c, struct keep, c);

	return lun_reservations_record_put(c->array, t, op->lun->id, op->bytes, op->len);
}

static void keep_end(struct change *c, int err)
{
	struct keep *op = container_of(c, struct keep, c);

	if (err)
		return;
	free(op->lun->reservations);
	op->lun->reservations = op->bytes;
	op->lun->reservations_len = op->len;
	op->bytes = NULL;
}

static void keep_clear(struct change *c)
{
	struct keep *op = container_of(c, struct keep, c);

	if (c->array)
		lun_release(op->lun);
	free(op->bytes);
}

void lun_keep_reservations(struct lun *lun, const void *bytes, size_t len, struct array_call *call)
{
	static const struct change_ops ops = {
		.check = keep_check, .build = keep_build, .end = keep_end, .clear = keep_clear};
	struct keep *op;

	if (len > LUN_RESERVATIONS_MAX_BYTES) {
		array_call_refuse(call, -EMSGSIZE,
			"LUN %s has too many registrations to keep: clear those of hosts that are gone",
			lun->name);
		return;
	}
	op = change_new(lun->array, sizeof(*op), &ops, call);
	if (!op)
		return;
	op->lun = lun;
	lun_hold(lun);
	op->len = (uint32_t)len;
	op->bytes = len ? malloc(len) : NULL;
	if (len && !op->bytes) {
		keep_clear(&op->c);
		free(op);
		array_call_refuse(call, -ENOMEM, FAULT_NO_MEMORY);
		return;
	}
	if (len)
		memcpy(op->bytes, bytes, len);
	change_submit(&op->c);
}
