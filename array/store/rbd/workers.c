/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads for what blocks. A lane is a queue with threads of its own, made when they are needed, so that a deletion of hours
 * is in nobody's way, and the snapshots of a large set all begin at once, whatever else is under way. Results come back by
 * reactor_post.
 *
 * A job that needs an OSD which hangs has its thread until Ceph goes on. In lanes where hosts wait for jobs, the opening of images
 * before all, others must not wait for that: while jobs are queued there and none is taken any more, such a lane gets more threads.
 *
 * In the other lanes few work at a time, so that they leave the cluster to hosts, and a job may take long. There one that has given no sign
 * of life for a while counts as lost, and another one is taken in its place, by one more thread if need be. When it ends after all, as many
 * work as before.
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
/* While all are held up, or lost. */
static const unsigned lane_threads_most[RBD_LANES] = {[RBD_LANE_CUT] = 1024,
	[RBD_LANE_SHORT] = 2048,
	[RBD_LANE_MAPPED] = 256,
	[RBD_LANE_LOOK] = 64,
	[RBD_LANE_RECLAIM] = 32,
	[RBD_LANE_HYDRATE] = 32,
	[RBD_LANE_LABEL] = 16};

#define HELD_UP_MS 250
#define LOST_MS    5000u

/* Whether few work at a time there. */
static bool is_slow(const struct rbd_workers *w, const struct rbd_lane_state *lane)
{
	return lane >= &w->lanes[RBD_LANE_LOOK];
}

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

/* Under the lock. How many may work, which is not how many threads there are. */
static unsigned allowed(const struct rbd_workers *w, const struct rbd_lane_state *lane)
{
	if (!is_slow(w, lane))
		return lane->most;
	return lane->own + lane->lost < lane->most ? lane->own + lane->lost : lane->most;
}

static bool may_take(const struct rbd_workers *w, const struct rbd_lane_state *lane)
{
	return !list_empty(&lane->jobs) && lane->busy < allowed(w, lane);
}

void rbd_job_lives(struct rbd_job *job)
{
	atomic_store_explicit(&job->lived_ms, clock_boot_ms(), memory_order_relaxed);
}

static bool silent(const struct rbd_workers *w, const struct rbd_job *job)
{
	return atomic_load_explicit(&job->lived_ms, memory_order_relaxed) + w->lost_ms < clock_boot_ms();
}

bool rbd_job_hangs(struct rbd_workers *w, const struct rbd_job *job)
{
	pthread_mutex_lock(&w->lock);
	bool waits = list_linked(&job->link);

	pthread_mutex_unlock(&w->lock);
	return !waits && silent(w, job);
}

/* Under the lock, but for the work itself. */
static void run(struct rbd_workers *w, struct rbd_lane_state *lane, struct rbd_job *job)
{
	lane->taken++;
	lane->busy++;
	job->lost = false;
	rbd_job_lives(job);
	list_push_back(&lane->running, &job->runs);
	pthread_mutex_unlock(&w->lock);
	job->work(job);
	pthread_mutex_lock(&w->lock);
	list_remove(&job->runs);
	lane->lost -= job->lost;
	lane->busy--;
	job->message.call = finish;
	reactor_post(w->reactor, &job->message);
}

static void *worker(void *arg)
{
	struct thread_arg a = *(struct thread_arg *)arg;

	free(arg);
	pthread_mutex_lock(&a.w->lock);
	while (!a.w->end) {
		if (may_take(a.w, a.lane)) {
			run(a.w, a.lane, container_of(list_pop(&a.lane->jobs), struct rbd_job, link));
			continue;
		}
		a.lane->idle++;
		pthread_cond_wait(&a.lane->more, &a.w->lock);
		a.lane->idle--;
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

/* Under the lock. */
static void find_lost(struct rbd_workers *w, struct rbd_lane_state *lane)
{
	unsigned more = 0;

	list_for_each (n, &lane->running) {
		struct rbd_job *job = container_of(n, struct rbd_job, runs);
		bool lost = silent(w, job);

		lane->lost += (unsigned)lost - job->lost;
		job->lost = lost;
	}
	list_for_each (n, &lane->jobs) {
		if (lane->busy + more >= allowed(w, lane))
			break;
		if (lane->idle > more++)
			pthread_cond_signal(&lane->more);
		else if (lane->count < lane->most)
			thread_start(w, lane);
	}
}

/* Under the lock. True: jobs wait still. Where none was taken since the last look there are as many threads more. */
static bool look_at_lane(struct rbd_workers *w, struct rbd_lane_state *lane)
{
	bool held_up = lane->taken == lane->taken_before;
	unsigned room = lane->most - lane->count;

	lane->taken_before = lane->taken;
	if (list_empty(&lane->jobs))
		return false;
	if (is_slow(w, lane)) {
		find_lost(w, lane);
		return true;
	}
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
	w->lost_ms = LOST_MS;
	pthread_mutex_init(&w->lock, NULL);
	for (unsigned i = 0; i < RBD_LANES; i++) {
		struct rbd_lane_state *lane = &w->lanes[i];

		list_init(&lane->jobs);
		list_init(&lane->running);
		pthread_cond_init(&lane->more, NULL);
		lane->own = lane->max = lane_threads[i];
		lane->most = lane_threads_most[i];
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
	bool full; /* or may come to be held up */

	w->jobs++;
	job->workers = w;
	pthread_mutex_lock(&w->lock);
	list_push_back(&lane->jobs, &job->link);
	list_for_each (n, &lane->jobs)
		if (++waiting > lane->idle)
			break;
	full = is_slow(w, lane) ||
	       (waiting > lane->idle && lane->count >= lane->max && lane->count < lane->most);
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
