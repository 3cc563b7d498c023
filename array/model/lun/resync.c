/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resync: an ordinary LUN takes the data and the size of a shadow LUN. A job is a change of the catalogue
 * whose transaction is committed with a cut:
 *
 *	queue of changes: check, target refuses I/O → its I/O has ended → turn for a cut
 *	→ cut of the shadow LUN → transaction with the repointed disk → durable
 *	→ target serves the new data, its hosts are told
 *
 * Where the store may hang, the job has its turn among the changes for the check only, and again when what the target becomes is made
 * ready: then it is checked once more, and the transaction, which only writes, follows.
 *
 * One that mends what VSS wrote into the copy's partition table has a prelude: an image of the shadow LUN is
 * taken, the target's identity is read, the image is mended (marks.c), and the cut is the image's. So the
 * target never shows the marks, and whenever the power fails it has the old data or the mended.
 *
 * Invariants:
 * - target->resyncing is true exactly from the check to the end or the cancellation of its job.
 * - A job can be cancelled until its transaction has been given to the store, or longer where that can still give it up; until
 *   then nothing has changed. The change ends with the cancellation. The cut (struct resync_cut) lives until the store lets go of it.
 * - From the check on the shadow LUN is not deleted and not broken, and the target not deleted (`feeding`, `resyncing`). Whoever
 *   resizes the shadow LUN makes the job fail: what was cut has another size.
 * - One that hangs fails in the end, where the store can give a cut up.
 * - Whatever the cut needs is allocated before the job has a number.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "array/model/lun/internal.h"

#define RESYNC_ENDED_KEPT  256u
#define RESYNC_PATIENCE_MS 120000u /* for a cut of one LUN */

struct lun_resync {
	struct lun_resync_view view;
	struct resync_change *run; /* NULL: ended */
	struct list_node link;     /* array->luns->resyncs, ascending numbers */
};

struct resync_cut {
	struct array_turn turn;
	struct array *array;      /* NULL: closed */
	struct resync_change *op; /* NULL: cancelled */
	struct lun *shadow;       /* held */
	struct store_disk *disk;
	uint64_t size_bytes; /* of the disk, when the cut began */
	struct store_cut cut;
	struct store_txn *txn; /* that is prepared, or was */
	struct reactor_timer patience;
	/* prepared: its job waits for its second turn */
	bool waits, in_store, gate_closed, prepared, committing;
};

struct resync_change {
	struct change c;
	struct lun_resync *job;
	struct lun *shadow, *target; /* held */
	struct resync_cut *cut;      /* as long as the change owns it; NULL once the store has it */
	bool marked;                 /* target->resyncing, and one of shadow->feeding, are this job's */
	bool deep;                   /* the target is to hydrate */
	/* of one that mends */
	bool prelude; /* it is not submitted yet */
	struct array_call image_call;
	struct lun_image *image; /* one hold */
	struct lun_marks *marks;
	struct gpt_identity identity; /* the target's */
};

/* ---- jobs ---- */

static struct lun_resync *job_find(struct array *a, const char *owner, uint32_t number)
{
	list_for_each (n, &a->luns->resyncs) {
		struct lun_resync *job = container_of(n, struct lun_resync, link);

		if (job->view.job == number && (!owner || strcmp(job->view.owner, owner) == 0))
			return job;
	}
	return NULL;
}

static void jobs_trim(struct array *a)
{
	list_for_each_safe (n, &a->luns->resyncs) {
		struct lun_resync *job = container_of(n, struct lun_resync, link);

		if (a->luns->resyncs_ended <= RESYNC_ENDED_KEPT)
			return;
		if (job->run)
			continue;
		list_remove(&job->link);
		free(job);
		a->luns->resyncs_ended--;
	}
}

/* The LUNs' names for messages; they are held as long as the job runs. */
static void job_event(struct lun_resync *job, enum array_event_level level, const char *what, const char *why)
{
	struct resync_change *op = job->run;

	array_event_tell(op->target->array, level, "lun", "resync %u of LUN %s from %s %s%s%s", job->view.job,
		op->target->name, op->shadow->name, what, why ? ": " : "", why ? why : "");
}

static void job_end(struct lun_resync *job, int err, const struct fault *fault)
{
	struct array *a = job->run->target->array;

	if (job->view.state == LUN_RESYNC_RUNS) {
		job->view.state = err ? LUN_RESYNC_FAILED : LUN_RESYNC_DONE;
		if (err)
			job->view.fault = *fault;
		else
			job->view.percent = 100;
		job_event(job, err ? ARRAY_EVENT_ERROR : ARRAY_EVENT_INFO, err ? "failed" : "is done",
			err ? fault->text : NULL);
	}
	job->run = NULL;
	a->luns->resyncs_ended++;
	jobs_trim(a);
}

/* ---- checks ---- */

static int luns_check(const struct lun *shadow, const struct lun *target, struct fault *fault)
{
	if (shadow->gone || target->gone)
		return fault_set(fault, -ENODEV, "LUN %s is being deleted: name another",
			shadow->gone ? shadow->name : target->name);
	if (shadow->kind != LUN_SHADOW)
		return fault_set(fault, -EINVAL,
			"LUN %s is no shadow LUN; a resync takes its data from one: umbractl shadow list shows them",
			shadow->name);
	if (target->kind != LUN_ORDINARY)
		return fault_set(fault, -EINVAL,
			"LUN %s is a shadow LUN; a resync replaces the data of an ordinary one: name such a LUN, or break this one",
			target->name);
	if (target->sanitizing)
		return fault_set(fault, -EBUSY, "LUN %s is being sanitized: wait for its end", target->name);
	if (target->size_bytes < shadow->size_bytes)
		return fault_set(fault, -EINVAL, "LUN %s is smaller than %s: resize it to %llu bytes first",
			target->name, shadow->name, (unsigned long long)shadow->size_bytes);
	if (lun_unkept(shadow))
		return fault_set(fault, -EBUSY,
			"LUN %s belongs to a copy set that is not kept yet; keep it first", shadow->name);
	if (lun_box_of(target)->unkept > 0)
		return fault_set(fault, -EBUSY,
			"LUN %s is in a copy set that is not finished; keep or abort the set first",
			target->name);
	return 0;
}

/* ---- the change ---- */

static struct resync_change *op_of(struct change *c)
{
	return container_of(c, struct resync_change, c);
}

static int resync_check(struct change *c)
{
	struct resync_change *op = op_of(c);
	int err;

	if (op->job->view.state != LUN_RESYNC_RUNS)
		return -ECANCELED;
	if (c->fault.err) /* of the prelude */
		return c->fault.err;
	err = luns_check(op->shadow, op->target, &c->fault);
	if (err)
		return err;
	op->target->resyncing = op->marked = true;
	lun_box_of(op->shadow)->feeding++;
	return 0;
}

static int resync_again(struct change *c)
{
	struct resync_change *op = op_of(c);

	if (op->job->view.state != LUN_RESYNC_RUNS)
		return -ECANCELED;
	if (c->fault.err) /* the store has let go of it meanwhile */
		return c->fault.err;
	return luns_check(op->shadow, op->target, &c->fault);
}

static bool resync_drain(struct change *c, unsigned index)
{
	return lun_change_drain(c, index == 0 ? op_of(c)->target : NULL);
}

static void target_unmark(struct resync_change *op)
{
	if (!op->marked)
		return;
	op->marked = false;
	op->target->resyncing = false;
	lun_box_of(op->shadow)->feeding--;
	lun_hydration_kick(op->target);
}

static void resync_end(struct change *c, int err)
{
	struct resync_change *op = op_of(c);
	struct lun *target = op->target;
	bool resized;

	if (err) {
		target_unmark(op);
		job_end(op->job, err, &c->fault);
		return;
	}
	resized = target->size_bytes != op->shadow->size_bytes;
	target->size_bytes = op->shadow->size_bytes;
	target->hydration = LUN_HYDRATION_NONE;
	if (op->deep)
		lun_hydration_want(target);
	target_unmark(op);
	if (op->job->view.note[0])
		job_event(op->job, ARRAY_EVENT_INFO, "has mended the partition table", op->job->view.note);
	job_end(op->job, 0, NULL);
	target->array->news->lun_replaced(target);
	lun_label_due(target);
	if (resized)
		target->array->news->lun_resized(target);
}

static void cut_free(struct resync_cut *k)
{
	if (k->array)
		lun_release(k->shadow);
	free(k);
}

/* ---- the cut ---- */

/* The change ends. One that waits for its second turn ends with that. */
static void op_leave(struct resync_change *op, int err, const char *what, bool waits)
{
	if (err && err != -ECANCELED && op->c.fault.err != err)
		array_store_fault(&op->c.fault, err, what);
	if (waits)
		return;
	if (op->c.away)
		change_ready(&op->c, err);
	else
		change_written(&op->c, err);
}

/* The store has let go of the cut. The change, if it is still there, ends with err. */
static void cut_leave(struct resync_cut *k, int err, const char *what)
{
	struct array *a = k->array;
	struct resync_change *op = k->op;
	bool waits = k->prepared;

	reactor_timer_disarm(a->options.reactor, &k->patience);
	array_turn_leave(a, &k->turn);
	lun_box_of(k->shadow)->cutting--;
	cut_free(k);
	if (op) {
		op->cut = NULL;
		op_leave(op, err, what, waits);
	}
	array_turns_run(a);
}

static void resync_clear(struct change *c)
{
	struct resync_change *op = op_of(c);

	if (op->cut &&
		op->cut->in_store) { /* the second check has refused it, or the array is being closed */
		op->cut->op = NULL;
		if (array_cut_give_up(c->array, &op->cut->cut))
			cut_leave(op->cut, 0, NULL);
	} else if (op->cut) {
		op->cut->array = c->array;
		cut_free(op->cut);
	}
	lun_marks_free(op->marks);
	if (!c->array)
		return;
	if (op->image)
		lun_image_release(op->image);
	lun_release(op->shadow);
	lun_release(op->target);
}

static void cut_durable(void *arg, int err)
{
	struct resync_cut *k = arg;

	if (!k->array) {
		struct resync_change *op = k->op;

		free(k);
		op->cut = NULL;
		change_written(&op->c, err);
		return;
	}
	cut_leave(k, err, "the resync could not be made durable");
}

static int records_build(struct resync_cut *k, struct store_txn *t)
{
	struct resync_change *op = k->op;
	struct lun_record r;
	int err = array_meta_put(k->array, t);

	if (k->size_bytes != op->shadow->size_bytes)
		return fault_set(&op->c.fault, -EBUSY,
			"LUN %s was resized while it was being cut: start the resync again",
			op->shadow->name);
	lun_record_of(op->target, &r);
	r.size_bytes = op->shadow->size_bytes;
	op->deep = lun_hydration_deep(k->disk);
	r.hydration = op->deep ? LUN_HYDRATION_RUNS : LUN_HYDRATION_NONE;
	return err ? err : lun_record_put(k->array, t, &r);
}

static void shadow_gate_open(struct resync_cut *k)
{
	if (!k->gate_closed)
		return;
	k->gate_closed = false;
	lun_gate_open(k->shadow);
}

static void cut_prepared(void *arg, int err)
{
	struct resync_cut *k = arg;

	if (err) {
		k->txn = NULL;
		cut_leave(k, err, "the resync could not be prepared");
		return;
	}
	k->prepared = true;
	change_ready(&k->op->c, 0);
}

static void cut_done(void *arg, int err)
{
	struct resync_cut *k = arg;
	struct store *store = k->disk->store;
	struct store_txn *t;

	if (!k->array) {
		struct resync_change *op = k->op;

		if (!err)
			store->ops->cut_drop(&k->cut);
		free(k);
		if (op) {
			op->cut = NULL;
			change_written(&op->c, -ECANCELED);
		}
		return;
	}
	shadow_gate_open(k);
	if (err || !k->op) {
		if (!err)
			store->ops->cut_drop(&k->cut);
		cut_leave(k, err, "the cut of the shadow LUN failed");
		return;
	}
	k->op->job->view.percent = 75;
	t = store->ops->txn_begin(store);
	err = t ? store->ops->txn_disk_repoint(t, &k->cut, 0, k->op->target->disk) : -ENOMEM;
	if (!err && k->op->c.away) {
		k->txn = t;
		store->ops->txn_prepare(t, &k->cut, cut_prepared, k);
		return;
	}
	if (!err)
		err = records_build(k, t);
	if (!err) {
		k->committing = true;
		store->ops->cut_commit(&k->cut, t, cut_durable, k);
		return;
	}
	if (t)
		store->ops->txn_drop(t);
	store->ops->cut_drop(&k->cut);
	cut_leave(k, err, "the resync could not be prepared");
}

/* There is no end of it. */
static void patience_ends(struct reactor_timer *t)
{
	struct resync_cut *k = container_of(t, struct resync_cut, patience);

	if (!k->op || !array_cut_give_up(k->array, &k->cut))
		return;
	shadow_gate_open(k);
	cut_leave(k, -ETIME, "the store did not cut the shadow LUN in time, and nothing has changed");
}

static void shadow_gate_close(struct store_cut *cut)
{
	struct resync_cut *k = container_of(cut, struct resync_cut, cut);

	if (!k->array || !k->op)
		return;
	k->gate_closed = true;
	lun_gate_close(k->shadow);
}

static void cut_begin(struct array_turn *turn)
{
	struct resync_cut *k = container_of(turn, struct resync_cut, turn);
	struct store *store = k->array->options.store;

	k->waits = false;
	k->in_store = true;
	k->disk = k->op->image ? k->op->image->disk : k->shadow->disk;
	k->size_bytes = store->ops->disk_size(k->disk);
	k->cut.disks = &k->disk;
	k->cut.count = 1;
	k->cut.begins = shadow_gate_close;
	k->op->job->view.percent = 50;
	lun_box_of(k->shadow)->cutting++;
	k->patience.fire = patience_ends;
	if (store->ops->cut_give_up)
		reactor_timer_arm(k->array->options.reactor, &k->patience, RESYNC_PATIENCE_MS);
	store->ops->cut(store, &k->cut, cut_done, k);
}

static void cut_orphan(struct array_turn *turn)
{
	struct resync_cut *k = container_of(turn, struct resync_cut, turn);
	struct resync_change *op = k->op;

	reactor_timer_disarm(k->array->options.reactor, &k->patience);
	if (k->txn && !k->committing) { /* its change is an orphan already */
		array_cut_give_up(k->array, &k->cut);
	} else if (k->in_store) {
		k->array = NULL;
		return;
	}
	k->array = NULL;
	free(k);
	if (!op)
		return;
	op->cut = NULL;
	change_written(&op->c, -ECANCELED);
}

static void cut_start(struct change *c)
{
	struct resync_change *op = op_of(c);

	if (op->job->view.state != LUN_RESYNC_RUNS) {
		op_leave(op, -ECANCELED, NULL, false);
		return;
	}
	op->job->view.percent = 25;
	op->cut->turn.begin = cut_begin;
	op->cut->turn.orphan = cut_orphan;
	op->cut->waits = true;
	array_turn_aside(c->array, &op->cut->turn);
}

/* In the second turn, where there is one, the cut is there. */
static void resync_write(struct change *c)
{
	struct resync_cut *k = op_of(c)->cut;
	int err;

	if (!c->back) {
		cut_start(c);
		return;
	}
	k->prepared = false;
	err = records_build(k, k->txn);
	if (!err) {
		k->committing = true;
		k->disk->store->ops->cut_commit(&k->cut, k->txn, cut_durable, k);
		return;
	}
	array_cut_give_up(k->array, &k->cut);
	cut_leave(k, err, "the resync could not be prepared");
}

/* ---- calls ---- */

static struct resync_change *op_new(struct lun *shadow, struct lun *target)
{
	static const struct change_ops ops = {.check = resync_check,
		.drain = resync_drain,
		.again = resync_again,
		.ahead = cut_start,
		.write = resync_write,
		.end = resync_end,
		.clear = resync_clear};
	struct array *a = target->array;
	struct resync_change *op = change_new(a, sizeof(*op), &ops, NULL);

	if (!op)
		return NULL;
	op->cut = calloc(1, sizeof(*op->cut));
	op->job = calloc(1, sizeof(*op->job));
	if (!op->cut || !op->job) {
		free(op->cut);
		free(op->job);
		free(op);
		return NULL;
	}
	op->shadow = op->cut->shadow = shadow;
	op->target = target;
	op->cut->array = a;
	op->cut->op = op;
	lun_hold(shadow);
	lun_hold(shadow); /* the cut's */
	lun_hold(target);
	op->prelude = true;
	return op;
}

/* Begins at a random number, so that job numbers from before a restart are unknown. */
static uint32_t number_new(struct array *a)
{
	uint32_t chance;

	if (a->luns->resync_last == 0 && getrandom(&chance, sizeof(chance), 0) == sizeof(chance))
		a->luns->resync_last = chance >> 2;
	return ++a->luns->resync_last;
}

static struct lun_resync *job_new(struct resync_change *op, const char *owner)
{
	struct array *a = op->target->array;
	struct lun_resync *job = op->job;

	job->run = op;
	job->view.job = number_new(a);
	job->view.state = LUN_RESYNC_RUNS;
	snprintf(job->view.owner, sizeof(job->view.owner), "%s", owner);
	memcpy(job->view.shadow_id, op->shadow->id, UP_ID_BYTES);
	memcpy(job->view.target_id, op->target->id, UP_ID_BYTES);
	list_push_back(&a->luns->resyncs, &job->link);
	job_event(job, ARRAY_EVENT_INFO, "has begun", NULL);
	return job;
}

/* The running job with this target, or NULL. */
static struct lun_resync *job_of_target(struct array *a, const struct lun *target)
{
	list_for_each (n, &a->luns->resyncs) {
		struct lun_resync *job = container_of(n, struct lun_resync, link);

		if (job->run && job->view.state == LUN_RESYNC_RUNS && job->run->target == target)
			return job;
	}
	return NULL;
}

/* ---- the prelude ---- */

static void prelude_end(struct resync_change *op, int err, const char *what)
{
	if (err)
		array_store_fault(&op->c.fault, err, what);
	lun_marks_free(op->marks);
	op->marks = NULL;
	op->prelude = false;
	change_submit(&op->c);
}

static void mend_written(struct lun_marks *m, int err)
{
	prelude_end(m->arg, err, "the marks of VSS in the copy's partition table could not be taken off");
}

static void image_read(struct lun_marks *m, int err)
{
	struct resync_change *op = m->arg;

	if (err || op->job->view.state != LUN_RESYNC_RUNS) {
		prelude_end(op, err, "the copy's partition table cannot be read");
		return;
	}
	lun_marks_edit(m, op->identity.kind == GPT_NONE ? NULL : &op->identity);
	memcpy(op->job->view.note, m->note, sizeof(op->job->view.note));
	lun_marks_write(m, mend_written);
}

static void target_read(struct lun_marks *m, int err)
{
	struct resync_change *op = m->arg;

	if (err || op->job->view.state != LUN_RESYNC_RUNS) {
		prelude_end(op, err, "the LUN's partition table cannot be read");
		return;
	}
	lun_marks_identity(m, &op->identity);
	lun_marks_read(m, op->image->disk, image_read);
}

static void image_taken(struct array_call *call)
{
	struct resync_change *op = container_of(call, struct resync_change, image_call);
	int err = call->fault.err;

	op->image = call->image;
	if (!err && op->target->gone)
		err = -ENODEV;
	if (!err && op->c.array->luns->stopping)
		err = -ESHUTDOWN;
	if (err || op->job->view.state != LUN_RESYNC_RUNS)
		prelude_end(op, err, "the copy cannot be mended");
	else
		lun_marks_read_lun(op->marks, op->target, target_read);
}

static void prelude_begin(struct resync_change *op)
{
	op->marks = lun_marks_new(op->c.array, op);
	if (!op->marks) {
		prelude_end(op, -ENOMEM, "the copy cannot be mended");
		return;
	}
	op->image_call.done = image_taken;
	lun_image_take(op->shadow, &op->image_call);
}

void lun_resync_start(struct array *a, const char *owner, struct lun *shadow, struct lun *target,
	unsigned flags, struct array_call *call)
{
	struct lun_resync *job = job_of_target(a, target);
	struct resync_change *op;
	struct fault fault;
	int err;

	call->job = 0;
	if (!a->options.store->ops->txn_disk_repoint) {
		array_call_refuse(
			call, -ENOTSUP, "this array's store does not offer resync: copy the data on a host");
		return;
	}
	if (job && job->run->shadow == shadow && strcmp(job->view.owner, owner) == 0) {
		call->job = job->view.job;
		array_call_end(call, 0, NULL);
		return;
	}
	if (job) {
		array_call_refuse(call, -EBUSY, "LUN %s is being resynced already; wait for it or cancel it",
			target->name);
		return;
	}
	err = luns_check(shadow, target, &fault);
	if (err) {
		array_call_end(call, err, &fault);
		return;
	}
	op = op_new(shadow, target);
	if (!op) {
		array_call_refuse(call, -ENOMEM,
			"umbrad has no memory, or too many changes are waiting: try again in a moment");
		return;
	}
	job = job_new(op, owner);
	call->job = job->view.job; /* it may have ended, and be forgotten, before change_submit returns */
	if (flags & LUN_MEND_MARKS)
		prelude_begin(op);
	else
		prelude_end(op, 0, NULL);
	array_call_end(call, 0, NULL);
}

int lun_resync_view_of(struct array *a, const char *owner, uint32_t job, struct lun_resync_view *out)
{
	struct lun_resync *found = job_find(a, owner, job);

	if (!found)
		return -ENOENT;
	*out = found->view;
	return 0;
}

uint32_t lun_resync_next(struct array *a, uint32_t after)
{
	list_for_each (n, &a->luns->resyncs) {
		const struct lun_resync *job = container_of(n, struct lun_resync, link);

		if (job->view.job > after)
			return job->view.job;
	}
	return 0;
}

/* Takes the cut away from the change, and ends the change if it waits for the cut. given_up: the store has let go of it. */
static void run_cancel(struct resync_change *op, bool given_up)
{
	struct resync_cut *k = op->cut;
	struct array *a = k->array;

	target_unmark(op);
	if (op->prelude || (!k->waits && !k->in_store))
		return; /* mending, queued or draining: it will see that it was cancelled */
	if (k->in_store) {
		bool queued = k->prepared; /* it will see it, too */

		k->op = NULL;
		op->cut = NULL;
		shadow_gate_open(k);
		if (given_up)
			cut_leave(k, 0, NULL);
		op_leave(op, -ECANCELED, NULL, queued);
		return;
	}
	array_turn_leave(a, &k->turn); /* the first in the queue has begun: nobody waits for this one */
	op_leave(op, -ECANCELED, NULL, false);
}

int lun_resync_cancel(struct array *a, const char *owner, uint32_t number, struct fault *fault)
{
	struct lun_resync *job = job_find(a, owner, number);
	struct resync_cut *k;
	bool given_up;

	if (!job)
		return fault_set(fault, -ENOENT,
			"there is no resync %u: umbractl resync list shows those there are", number);
	if (job->view.state != LUN_RESYNC_RUNS)
		return 0;
	k = job->run->cut;
	given_up = k->in_store && array_cut_give_up(a, &k->cut);
	if (k->committing && !given_up)
		return 0;
	job->view.state = LUN_RESYNC_CANCELLED;
	job_event(job, ARRAY_EVENT_INFO, "was cancelled", NULL);
	run_cancel(job->run, given_up);
	return 0;
}

void lun_resync_close_all(struct array *a)
{
	struct list_node *n;

	while ((n = list_pop(&a->luns->resyncs))) {
		struct lun_resync *job = container_of(n, struct lun_resync, link);

		if (job->run &&
			job->run->prelude) { /* no list of changes has it; its image is closed with the others */
			lun_marks_free(job->run->marks);
			free(job->run->cut);
			free(job->run);
		}
		free(job);
	}
}
