/* SPDX-License-Identifier: Apache-2.0 */
/* Threads for what may block: jobs in order of arrival, results posted back to the reactor. */
#include "array/reactor/internal.h"

#include <errno.h>
#include <signal.h>

static void finish(struct reactor_message *m)
{
	struct reactor_job *job = container_of(m, struct reactor_job, message);

	job->done(job);
}

static void *worker(void *arg)
{
	struct reactor *r = arg;

	pthread_mutex_lock(&r->lock);
	for (;;) {
		while (!r->first && !r->workers_end)
			pthread_cond_wait(&r->more, &r->lock);
		struct reactor_job *job = r->first;
		if (!job)
			break;
		r->first = job->next;
		if (!r->first)
			r->last = NULL;
		pthread_mutex_unlock(&r->lock);
		job->work(job);
		job->message.call = finish;
		reactor_post(r, &job->message);
		pthread_mutex_lock(&r->lock);
	}
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

void reactor_work(struct reactor *r, struct reactor_job *job)
{
	job->next = NULL;
	job->reactor = r;
	pthread_mutex_lock(&r->lock);
	if (r->last)
		r->last->next = job;
	else
		r->first = job;
	r->last = job;
	pthread_cond_signal(&r->more);
	pthread_mutex_unlock(&r->lock);
}

/* Signals are the main thread's: workers block them all. */
int reactor_workers_start(struct reactor *r, unsigned count)
{
	sigset_t all, before;
	int err = 0;

	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->more, NULL);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (count > REACTOR_WORKERS_MAX)
		count = REACTOR_WORKERS_MAX;
	while (r->worker_count < count) {
		err = pthread_create(&r->workers[r->worker_count], NULL, worker, r);
		if (err)
			break;
		r->worker_count++;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!err)
		return 0;
	reactor_workers_stop(r);
	return -err;
}

void reactor_workers_stop(struct reactor *r)
{
	pthread_mutex_lock(&r->lock);
	r->workers_end = true;
	pthread_cond_broadcast(&r->more);
	pthread_mutex_unlock(&r->lock);
	while (r->worker_count)
		pthread_join(r->workers[--r->worker_count], NULL);
	pthread_cond_destroy(&r->more);
	pthread_mutex_destroy(&r->lock);
}
