/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads for what blocks. A lane is a queue with threads of its own, made when they are needed, so that a deletion of hours
 * is in nobody's way, and the snapshots of a large set all begin at once, whatever else is under way. Results come back by
 * reactor_post.
 *
 * A job that needs an OSD which hangs has its thread until Ceph goes on. In lanes where hosts wait for jobs, the opening of images
 * before all, others must not wait for that: while jobs are queued there and none is taken any more, such a lane gets more threads.
 */
#include "array/store/rbd/rbd.h"

#include <assert.h>
#include <signal.h>
#include <stdlib.h>

static const unsigned lane_threads[RBD_LANES] = {[RBD_LANE_CUT] = 64,
	[RBD_LANE_SHORT] = 64,
	[RBD_LANE_MAPPED] = 4,
	[RBD_LANE_LOOK] = 4,
	[RBD_LANE_RECLAIM] = 2,
	[RBD_LANE_HYDRATE] = 4,
	[RBD_LANE_LABEL] = 1};
/* While all are held up; 0: no more than those. */
static const unsigned lane_threads_most[RBD_LANES] = {
	[RBD_LANE_CUT] = 1024, [RBD_LANE_SHORT] = 2048, [RBD_LANE_MAPPED] = 256};

#define HELD_UP_MS 250

struct thread_arg {
	struct rbd_workers *w;
	struct rbd_lane_state *lane;
};

static void finish(struct reactor_message *m)
{
	struct rbd_job *job = container_of(m, struct rbd_job, message);

	job->workers->jobs--;
	job->done(job);
}

static void *worker(void *arg)
{
	struct thread_arg a = *(struct thread_arg *)arg;

	free(arg);
	pthread_mutex_lock(&a.w->lock);
	for (;;) {
		a.lane->idle++;
		while (list_empty(&a.lane->jobs) && !a.w->end)
			pthread_cond_wait(&a.lane->more, &a.w->lock);
		a.lane->idle--;
		struct list_node *n = list_pop(&a.lane->jobs);
		if (!n)
			break;
		a.lane->taken++;
		pthread_mutex_unlock(&a.w->lock);
		struct rbd_job *job = container_of(n, struct rbd_job, link);
		job->work(job);
		job->message.call = finish;
		reactor_post(a.w->reactor, &job->message);
		pthread_mutex_lock(&a.w->lock);
	}
	pthread_mutex_unlock(&a.w->lock);
	return NULL;
}

/* Under the lock. Signals are the main thread's. Without memory for one more thread those that there are do the work. */
static void thread_start(struct rbd_workers *w, struct rbd_lane_state *lane)
{
	struct thread_arg *a = malloc(sizeof(*a));
	sigset_t all, before;

	if (!a)
		return;
	*a = (struct thread_arg){w, lane};
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (pthread_create(&lane->threads[lane->count], NULL, worker, a) == 0)
		lane->count++;
	else
		free(a);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* Under the lock. As many threads more as jobs wait, where none was taken since the last look. True: some wait still. */
static bool look_at_lane(struct rbd_workers *w, struct rbd_lane_state *lane)
{
	bool held_up = lane->taken == lane->taken_before;
	unsigned room = lane->most - lane->count;

	lane->taken_before = lane->taken;
	if (list_empty(&lane->jobs) || lane->most == lane->max)
		return false;
	list_for_each (n, &lane->jobs)
		if (held_up && room) {
			thread_start(w, lane);
			room--;
		}
	return true;
}

static void look(struct reactor_timer *timer)
{
	struct rbd_workers *w = container_of(timer, struct rbd_workers, look);
	bool again = false;

	pthread_mutex_lock(&w->lock);
	for (unsigned i = 0; i < RBD_LANES; i++)
		again = look_at_lane(w, &w->lanes[i]) || again;
	pthread_mutex_unlock(&w->lock);
	if (again)
		reactor_timer_arm(w->reactor, &w->look, HELD_UP_MS);
}

int rbd_workers_start(struct rbd_workers *w, struct reactor *r)
{
	int err = 0;

	w->reactor = r;
	w->look.fire = look;
	pthread_mutex_init(&w->lock, NULL);
	for (unsigned i = 0; i < RBD_LANES; i++) {
		struct rbd_lane_state *lane = &w->lanes[i];

		list_init(&lane->jobs);
		pthread_cond_init(&lane->more, NULL);
		lane->own = lane->max = lane_threads[i];
		lane->most = lane_threads_most[i] ? lane_threads_most[i] : lane->max;
		lane->threads = calloc(lane->most, sizeof(lane->threads[0]));
		if (lane->threads)
			thread_start(w, lane); /* one there always is */
		if (!lane->count)
			err = -ENOMEM;
	}
	return err;
}

void rbd_workers_stop(struct rbd_workers *w)
{
	assert(!w->jobs);
	if (w->look.heap_index)
		reactor_timer_disarm(w->reactor, &w->look);
	pthread_mutex_lock(&w->lock);
	w->end = true;
	for (unsigned i = 0; i < RBD_LANES; i++)
		pthread_cond_broadcast(&w->lanes[i].more);
	pthread_mutex_unlock(&w->lock);
	for (unsigned i = 0; i < RBD_LANES; i++) {
		while (w->lanes[i].count)
			pthread_join(w->lanes[i].threads[--w->lanes[i].count], NULL);
		free(w->lanes[i].threads);
		pthread_cond_destroy(&w->lanes[i].more);
	}
	pthread_mutex_destroy(&w->lock);
}

void rbd_work(struct rbd_workers *w, enum rbd_lane which, struct rbd_job *job)
{
	struct rbd_lane_state *lane = &w->lanes[which];
	unsigned waiting = 0;
	bool full;

	w->jobs++;
	job->workers = w;
	pthread_mutex_lock(&w->lock);
	list_push_back(&lane->jobs, &job->link);
	list_for_each (n, &lane->jobs)
		if (++waiting > lane->idle)
			break;
	full = waiting > lane->idle && lane->count >= lane->max && lane->count < lane->most;
	if (waiting > lane->idle && lane->count < lane->max)
		thread_start(w, lane);
	pthread_cond_signal(&lane->more);
	pthread_mutex_unlock(&w->lock);
	if (full && !w->look.heap_index)
		reactor_timer_arm(w->reactor, &w->look, HELD_UP_MS);
}

void rbd_work_hangs(struct rbd_workers *w, enum rbd_lane which, int more)
{
	struct rbd_lane_state *lane = &w->lanes[which];

	pthread_mutex_lock(&w->lock);
	lane->hang += (unsigned)more;
	lane->max = lane->own + lane->hang;
	if (lane->max > lane->most)
		lane->max = lane->most;
	pthread_mutex_unlock(&w->lock);
}

bool rbd_work_cancel(struct rbd_workers *w, struct rbd_job *job)
{
	pthread_mutex_lock(&w->lock);
	bool waits = list_linked(&job->link);

	list_remove(&job->link);
	pthread_mutex_unlock(&w->lock);
	w->jobs -= waits;
	return waits;
}
