/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A backup of what finds the data: the superblock and the metadata, in which LMDB has all that was done before it began. It
 * is whole at once and old a moment later: what restores it (restore.c) needs the pool's log, or admits that it is old.
 */
#include "array/store/pool/pool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct pool_backup {
	struct pool *pool;
	struct store_backup *request;
	struct pool_waiter waiter;
	struct pool_job job;
	int err;
};

static void backup_end(struct pool_backup *b, int err)
{
	struct pool *p = b->pool;
	struct store_backup *request = b->request;

	free(b);
	p->readers--;
	request->done(request, err);
	pool_close_step(p);
}

static int make_place(const char *path, struct fault *fault)
{
	if (mkdir(path, 0700) && errno != EEXIST)
		return fault_set(fault, -errno,
			"the directory %s cannot be made (%s): umbrad makes it, so its parent must be there and umbrad's to write",
			path, strerror(errno));
	if (rmdir(path)) /* is it empty? */
		return fault_set(fault, errno == ENOTEMPTY ? -EEXIST : -errno,
			"%s is not empty: name a directory that is not there yet", path);
	return mkdir(path, 0700) ? fault_set(fault, -errno, "the directory %s cannot be made (%s)", path,
					   strerror(errno))
				 : 0;
}

/* The file `pool` is the last, as in a pool; it is read after the copy was made, for the pool may grow meanwhile. */
static void backup_work(struct pool_job *job)
{
	struct pool_backup *b = container_of(job, struct pool_backup, job);
	struct pool_super super;
	struct fault *fault = &b->request->fault;
	struct pool_host *to;

	b->err = make_place(b->request->path, fault);
	if (!b->err)
		b->err = pool_host_posix(b->request->path, NULL, true, false, &to, fault);
	if (b->err)
		return;
	b->err = pool_meta_copy(&b->pool->meta, to);
	if (!b->err)
		b->err = pool_read_super(b->pool->base.host, &super, fault);
	if (!b->err)
		b->err = pool_super_replace(to, &super);
	if (b->err)
		fault_set(fault, b->err,
			"the metadata cannot be copied to %s (%s): give it room, or look at its disk",
			b->request->path, strerror(-b->err));
	to->ops->free(to);
}

static void backup_copied(struct pool_job *job)
{
	struct pool_backup *b = container_of(job, struct pool_backup, job);

	backup_end(b, b->err);
}

static void backup_applied(struct pool_waiter *w, int err)
{
	struct pool_backup *b = container_of(w, struct pool_backup, waiter);

	if (err) {
		backup_end(b, err);
		return;
	}
	b->job.work = backup_work;
	b->job.done = backup_copied;
	b->pool->base.host->ops->work(b->pool->base.host, &b->job, POOL_QUEUE_WORKERS);
}

static void backup_flushed(void *arg, int err)
{
	struct pool_backup *b = arg;

	if (err) {
		backup_end(b, err);
		return;
	}
	b->waiter.wake = backup_applied;
	pool_applied_wait(&b->pool->commit.checkpoint, &b->waiter);
}

void pool_backup_start(struct store_backup *request)
{
	struct pool *p = pool_of(request->store);
	struct pool_backup *b = calloc(1, sizeof(*b));
	struct pool_txn *t = b ? pool_txn_new(&p->commit) : NULL;

	request->fault = (struct fault){0};
	if (!t) {
		free(b);
		request->done(request, -ENOMEM);
		return;
	}
	b->pool = p;
	b->request = request;
	p->readers++;
	pool_txn_ride(t, backup_flushed, b);
}
