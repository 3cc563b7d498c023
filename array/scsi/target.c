/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The target as its transports and the array see it: its life, that of its nexuses, and what the array's model
 * tells them.
 */
#include "array/scsi/access.h"
#include "array/scsi/attention.h"
#include "array/scsi/command.h"
#include "array/scsi/copy.h"
#include "array/scsi/lun.h"
#include "array/scsi/nexus.h"
#include "array/scsi/notice.h"
#include "array/scsi/reserve.h"
#include "array/scsi/sanitize.h"
#include "array/scsi/task.h"
#include "array/scsi/threshold.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void nexus_over(struct scsi_nexus *n)
{
	struct scsi_target *t = n->target;

	scsi_copies_free(n);
	list_remove(&n->link);
	host_nexus_detach(t->array, &n->array);
	free(n);
	scsi_target_check_stop(t);
}

void scsi_target_reload(struct scsi_target *t, const struct scsi_target_options *options)
{
	t->threshold_percent =
		options->threshold_percent ? options->threshold_percent : SCSI_THRESHOLD_PERCENT;
	t->sanitize_bytes_per_s =
		options->sanitize_bytes_per_s ? options->sanitize_bytes_per_s : SCSI_SANITIZE_BYTES_PER_S;
}

int scsi_target_create(const struct scsi_target_options *options, struct scsi_target **out)
{
	struct scsi_target *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	if (strlen(options->target_name) >= sizeof(t->name)) {
		free(t);
		return -ENAMETOOLONG;
	}
	scsi_command_table_init();
	t->array = options->array;
	t->nexus_over = nexus_over;
	memcpy(t->name, options->target_name, strlen(options->target_name) + 1);
	if (options->inband) {
		t->inband = *options->inband;
		t->has_inband = true;
	}
	scsi_target_reload(t, options);
	t->physical_block_bytes =
		options->physical_block_bytes ? options->physical_block_bytes : STORE_PHYSICAL_BYTES;
	list_init(&t->nexuses);
	list_init(&t->tmfs);
	list_init(&t->sanitizing);
	list_init(&t->remotes);
	int err = scsi_access_init(t, options);
	if (!err)
		err = scsi_tokens_init(t);
	if (err) {
		free(t);
		return err;
	}
	scsi_threshold_begin(t);
	*out = t;
	return 0;
}

void scsi_target_owns(struct scsi_target *t)
{
	scsi_notices_begin(t);
}

void scsi_target_leaves(struct scsi_target *t)
{
	scsi_notices_settle(t);
}

void scsi_target_stop(struct scsi_target *t, void (*done)(void *arg), void *arg)
{
	t->stop_done = done;
	t->stop_arg = arg;
	scsi_notices_end(t);
	scsi_remote_lost(t, NULL);
	scsi_sanitize_stop(t);
	scsi_target_check_stop(t);
}

void scsi_target_destroy(struct scsi_target *t)
{
	if (!t)
		return;
	assert(list_empty(&t->nexuses) && list_empty(&t->tmfs));
	scsi_notices_end(t);
	scsi_threshold_end(t);
	scsi_tokens_free(t);
	free(t);
}

/* ---- what the array tells ------------------------------------------------------------------------------ */

static struct scsi_nexus *nexus_of(struct host_nexus *n)
{
	return container_of(n, struct scsi_nexus, array);
}

static void mappings_changed(struct host_nexus *an)
{
	scsi_attention_set(nexus_of(an), 0, ATTENTION_REPORTED_LUNS);
}

static void lun_resized(struct host_nexus *an, struct lun *lun, uint32_t number)
{
	(void)lun;
	scsi_attention_set(nexus_of(an), number, ATTENTION_CAPACITY);
}

static void lun_protected(struct host_nexus *an, struct lun *lun, uint32_t number)
{
	(void)lun;
	scsi_attention_set(nexus_of(an), number, ATTENTION_MODE_PARAMETERS);
}

static void lun_replaced(struct host_nexus *an, struct lun *lun, uint32_t number)
{
	(void)lun;
	scsi_attention_set(nexus_of(an), number, ATTENTION_MEDIUM_CHANGED);
}

static bool task_is_on_lun(const struct scsi_task *task, const void *lun)
{
	return task->lun_held == lun;
}

static void lun_unmapped(struct host_nexus *an, struct lun *lun, uint32_t number)
{
	struct scsi_nexus *n = nexus_of(an);
	struct scsi_lun *s = lun->scsi;

	scsi_attention_forget(n, number);
	if (s && s->legacy_holder == n)
		s->legacy_holder = NULL;
	/* The initiator did not ask for their end: they are answered. */
	scsi_nexus_abort_tasks(n, task_is_on_lun, lun, SCSI_END_UNMAPPED);
	scsi_copy_stop_on(n, lun);
	scsi_tokens_revoke(n->target, host_record_of(an->host)->name, lun);
}

static void host_revoked(struct host_nexus *an)
{
	struct scsi_nexus *n = nexus_of(an);

	if (n->ops && n->ops->close && !n->lost)
		n->ops->close(n->transport);
}

/* Without memory for its state: no, for its kept reservations are not known. */
static bool may_write(struct host_nexus *an, struct lun *lun)
{
	const struct scsi_lun *s = scsi_lun_get(lun);

	return s && !scsi_reserve_excludes(s, nexus_of(an), CONFLICT_WRITE);
}

static const struct host_nexus_ops array_ops = {
	.may_write = may_write,
	.mappings_changed = mappings_changed,
	.lun_resized = lun_resized,
	.lun_protected = lun_protected,
	.lun_replaced = lun_replaced,
	.lun_unmapped = lun_unmapped,
	.host_revoked = host_revoked,
};

/* ---- life ---------------------------------------------------------------------------------------------- */

int scsi_nexus_create(
	struct scsi_target *t, const struct scsi_nexus_options *options, struct scsi_nexus **out)
{
	size_t name_len = strlen(options->initiator_name);
	struct scsi_nexus *n;

	if (name_len > UP_NAME_MAX_BYTES)
		return -EACCES;
	n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	memcpy(n->array.initiator, options->initiator_name, name_len + 1);
	n->array.authenticated = options->authenticated;
	n->array.ops = &array_ops;
	int err = host_nexus_attach(t->array, &n->array);
	if (err) {
		free(n);
		return err;
	}
	n->target = t;
	n->ops = options->ops;
	n->transport = options->transport;
	memcpy(n->isid, options->isid, sizeof(n->isid));
	n->portal_group_tag = options->portal_group_tag;
	scsi_target_add_port(t, n->portal_group_tag);
	n->control_lu = host_record_of(n->array.host)->control_lu;
	n->refs = 1;
	list_init(&n->tasks);
	list_init(&n->copies);
	list_push_back(&t->nexuses, &n->link);
	for (uint32_t i = 0; i <= ARRAY_LUN_NUMBER_MAX; i++)
		n->attention[i] = 1u << ATTENTION_POWER_ON;
	*out = n;
	return 0;
}

static bool every_task(const struct scsi_task *task, const void *arg)
{
	(void)task;
	(void)arg;
	return true;
}

void scsi_nexus_destroy(struct scsi_nexus *n)
{
	n->lost = true;
	scsi_nexus_abort_tasks(n, every_task, NULL, SCSI_END_SILENT);
	scsi_copy_stop_on(n, NULL);
	scsi_reserve_nexus_lost(n);
	scsi_access_nexus_lost(n);
	scsi_nexus_put(n);
}

static uint64_t data_of(const struct lun *lun)
{
	const struct store_ops *ops = lun->disk ? lun->disk->store->ops : NULL;

	return ops && ops->disk_data ? ops->disk_data(lun->disk) : 0;
}

/* What n's initiator has to be told: what it was not told yet, and what is different from now on. */
static void inherit_attentions(struct scsi_nexus *n, const struct scsi_nexus *old)
{
	bool same_groups = n->target->group_count == old->target->group_count &&
			   n->target->own->id == old->target->own->id &&
			   memcmp(n->target->groups, old->target->groups, sizeof(n->target->groups)) == 0;

	n->attention_nexus = old->attention_nexus;
	n->attention[0] = old->attention[0];
	for (uint32_t i = 1; i <= ARRAY_LUN_NUMBER_MAX; i++) {
		const struct lun *before = map_lun(old->array.host, i);
		struct lun *now = map_lun(n->array.host, i);
		bool same = before && now && memcmp(before->id, now->id, sizeof(now->id)) == 0;
		const struct scsi_lun *s = before ? before->scsi : NULL;

		n->attention[i] = same || !before ? old->attention[i] : 0;
		if ((before || now) && !same)
			scsi_attention_set(n, 0, ATTENTION_REPORTED_LUNS);
		if (now && !same_groups)
			scsi_attention_set(n, i, ATTENTION_ACCESS_STATE);
		if (same && before->size_bytes != now->size_bytes)
			scsi_attention_set(n, i, ATTENTION_CAPACITY);
		if (same && data_of(before) != data_of(now)) /* a resync */
			scsi_attention_set(n, i, ATTENTION_MEDIUM_CHANGED);
		if (same && before->locked != now->locked)
			scsi_attention_set(n, i, ATTENTION_MODE_PARAMETERS);
		if (now && scsi_access_is_owner(n->target))
			scsi_notice_hand(n, now, i);
		if (same && s && s->legacy_holder == old) /* it ends with the nexus */
			scsi_attention_set(n, i, ATTENTION_RESERVATIONS_RELEASED);
	}
}

int scsi_nexus_rehome(struct scsi_nexus *old, struct scsi_target *t, struct scsi_nexus **out)
{
	struct scsi_nexus_options options = {.initiator_name = old->array.initiator,
		.portal_group_tag = old->portal_group_tag,
		.authenticated = old->array.authenticated,
		.ops = old->ops,
		.transport = old->transport};
	int err;

	memcpy(options.isid, old->isid, sizeof(options.isid));
	err = scsi_nexus_create(t, &options, out);
	if (err)
		return err;
	(*out)->control_lu = old->control_lu;
	(*out)->forwarded = old->forwarded && t->own->access == SCSI_ACCESS_STANDBY;
	inherit_attentions(*out, old);
	old->lost = true;
	scsi_nexus_abort_tasks(old, every_task, NULL, SCSI_END_MOVED);
	scsi_copy_stop_on(old, NULL);
	scsi_reserve_nexus_lost(old);
	scsi_nexus_put(old);
	return 0;
}

void scsi_nexus_move(struct scsi_nexus *n, void *transport)
{
	scsi_nexus_abort_tasks(n, every_task, NULL, SCSI_END_SILENT);
	n->transport = transport;
}

struct host_nexus *scsi_nexus_array(struct scsi_nexus *n)
{
	return &n->array;
}
