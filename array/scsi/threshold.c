/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The soft threshold of thin provisioning (SBC-3 4.7.3.8): when the store is fuller than its threshold, every host
 * learns 38/07 on each of its LUNs, and the administrator by an event, once, and again only after there was room. The
 * store is asked each time that so many bytes were written, not on a timer: it fills by what hosts write, copy and
 * overwrite, and by what plex copies take, of which the array tells.
 *
 * No attention may disturb a copy set that is about to commit: the store is asked later then.
 */
#include "array/scsi/attention.h"
#include "array/scsi/nexus.h"
#include "array/scsi/threshold.h"

#define ASK_BYTES     (UINT64_C(16) << 20)
#define WRITE_BYTES   (UINT64_C(64) << 10) /* what a small write may take: a chunk */
#define REARM_PERCENT 5u

uint64_t scsi_threshold_bytes(const struct scsi_target *t)
{
	struct store *store = array_settings(t->array)->store;
	struct store_stats stats = {0};

	store->ops->stats(store, &stats);
	return stats.capacity_bytes / 100 * (100 - t->threshold_percent);
}

static void ask(struct scsi_target *t)
{
	struct store *store = array_settings(t->array)->store;
	struct store_stats stats = {0};
	uint64_t percent;

	store->ops->stats(store, &stats);
	percent = stats.capacity_bytes >= 100 ? stats.used_bytes / (stats.capacity_bytes / 100) : 0;
	if (percent >= t->threshold_percent && !t->threshold_told) {
		t->threshold_told = true;
		array_event_tell(t->array, ARRAY_EVENT_WARNING, "store",
			"the store is %u %% full, and its hosts are told (threshold_percent is %u): delete shadow copies and "
			"LUNs that nobody needs, have the hosts give space back (UNMAP), or make it larger",
			(unsigned)percent, t->threshold_percent);
		scsi_attention_all(t, ATTENTION_SOFT_THRESHOLD);
	} else if (percent + REARM_PERCENT < t->threshold_percent) {
		t->threshold_told = false;
	}
}

void scsi_threshold_written(struct scsi_target *t, uint64_t bytes)
{
	t->written_unasked += bytes > WRITE_BYTES ? bytes : WRITE_BYTES;
	if (t->written_unasked < ASK_BYTES || host_is_quiet(t->array))
		return;
	t->written_unasked = 0;
	ask(t);
}

static void taken(struct array_room_listener *l, uint64_t bytes)
{
	scsi_threshold_written(container_of(l, struct scsi_target, room), bytes);
}

void scsi_threshold_begin(struct scsi_target *t)
{
	t->room.taken = taken;
	array_room_listen(t->array, &t->room);
}

void scsi_threshold_end(struct scsi_target *t)
{
	array_room_unlisten(&t->room);
}
