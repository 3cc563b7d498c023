/* SPDX-License-Identifier: Apache-2.0 */
/* The reactor: order of timers, a full ring, cancellation, messages from other threads, jobs. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "array/reactor/reactor.h"
#include "tests/support/test.h"

static struct reactor *r;

static int set_up(void **state)
{
	struct reactor_options options = {.ring_entries = 8, .workers = 3};

	(void)state;
	return reactor_create(&r, &options);
}

static int tear_down(void **state)
{
	(void)state;
	reactor_destroy(r);
	return 0;
}

/* ---- timers ---- */

struct named_timer {
	struct reactor_timer timer;
	int number;
};
static int fired[64], fired_count;

static void note_fired(struct reactor_timer *t)
{
	fired[fired_count++] = container_of(t, struct named_timer, timer)->number;
}

TEST(timers_fire_in_order)
{
	static const unsigned delays[] = {30, 5, 20, 10, 1, 25, 15};
	struct named_timer timers[7] = {0};

	fired_count = 0;
	for (int i = 0; i < 7; i++) {
		timers[i].timer.fire = note_fired;
		timers[i].number = (int)delays[i];
		reactor_timer_arm(r, &timers[i].timer, delays[i]);
	}
	reactor_timer_disarm(r, &timers[3].timer);
	reactor_timer_disarm(r, &timers[3].timer);
	timers[0].number = 2;
	reactor_timer_arm(r, &timers[0].timer, 2); /* re-armed, earlier */
	while (fired_count < 6)
		assert_true(reactor_turn(r, 100) >= 0);
	static const int expected[] = {1, 2, 5, 15, 20, 25};
	assert_memory_equal(fired, expected, sizeof(expected));
}

static void free_fired(struct reactor_timer *t)
{
	fired_count++;
	free(container_of(t, struct named_timer, timer));
}

static void arm_again(struct reactor_timer *t)
{
	fired_count++;
	reactor_timer_arm(r, t, 0);
}

TEST(a_timer_may_free_or_arm_itself)
{
	static struct named_timer again[2];
	struct named_timer *gone = calloc(1, sizeof(*gone));

	assert_non_null(gone);
	fired_count = 0;
	gone->timer.fire = free_fired;
	reactor_timer_arm(r, &gone->timer, 0);
	for (int i = 0; i < 2; i++) {
		again[i].timer.fire = arm_again;
		reactor_timer_arm(r, &again[i].timer, 0);
	}
	reactor_turn(r, 0); /* each of them once */
	assert_int_equal(fired_count, 3);
	reactor_turn(r, 0);
	assert_int_equal(fired_count, 5);
	for (int i = 0; i < 2; i++)
		reactor_timer_disarm(r, &again[i].timer);
}

TEST(many_timers_keep_the_heap)
{
	enum {
		N = 500
	};
	static struct named_timer timers[N];
	uint64_t seed = 7;

	memset(timers, 0, sizeof(timers));
	for (int round = 0; round < 20000; round++) {
		seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
		struct named_timer *t = &timers[(seed >> 33) % N];
		t->timer.fire = note_fired;
		if (seed >> 63)
			reactor_timer_disarm(r, &t->timer);
		else
			reactor_timer_arm(r, &t->timer, 100000 + (seed >> 40) % 1000);
	}
	for (int i = 0; i < N; i++)
		reactor_timer_disarm(r, &timers[i].timer);
	fired_count = 0;
	reactor_turn(r, 0);
	assert_int_equal(fired_count, 0);
}

/* ---- ring operations ---- */

struct file_op {
	struct reactor_op op;
	struct iovec iov;
	char byte;
	int result;
	bool over;
};

static unsigned over_count;

static void file_done(struct reactor_op *op, int result)
{
	struct file_op *f = container_of(op, struct file_op, op);

	f->result = result;
	f->over = true;
	over_count++;
}

TEST(more_operations_than_the_ring_has_room_for)
{
	enum {
		N = 300
	};
	static struct file_op ops[N];
	char path[] = "/tmp/umbra-reactor-XXXXXX", back[N];
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	unlink(path);
	over_count = 0;
	memset(ops, 0, sizeof(ops));
	for (int i = 0; i < N; i++) {
		ops[i].byte = (char)i;
		ops[i].iov = (struct iovec){&ops[i].byte, 1};
		ops[i].op.done = file_done;
		reactor_writev(r, &ops[i].op, fd, &ops[i].iov, 1, (uint64_t)i);
	}
	while (over_count < N)
		assert_true(reactor_turn(r, 1000) >= 0);
	assert_int_equal(pread(fd, back, N, 0), N);
	for (int i = 0; i < N; i++) {
		assert_int_equal(ops[i].result, 1);
		assert_int_equal(back[i], (char)i);
	}
	struct file_op sync = {.op = {.done = file_done}};
	reactor_fdatasync(r, &sync.op, fd);
	while (!sync.over)
		reactor_turn(r, 1000);
	assert_int_equal(sync.result, 0);
	close(fd);
}

TEST(errors_are_results)
{
	struct file_op f = {.op = {.done = file_done}};

	f.iov = (struct iovec){&f.byte, 1};
	reactor_readv(r, &f.op, 9999, &f.iov, 1, 0);
	assert_false(f.over);
	while (!f.over)
		reactor_turn(r, 1000);
	assert_int_equal(f.result, -EBADF);
}

TEST(cancel_ends_what_waits)
{
	enum {
		N = 40
	}; /* some with the kernel, some still waiting for the ring */
	static struct file_op ops[N];
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	memset(ops, 0, sizeof(ops));
	over_count = 0;
	for (int i = 0; i < N; i++) {
		ops[i].op.done = file_done;
		reactor_recv(r, &ops[i].op, fds[0], &ops[i].byte, 1, 0);
	}
	reactor_turn(r, 0);
	unsigned rounds = 0;
	while (over_count < N && rounds++ < 1000) {
		for (int i = 0; i < N; i++)
			if (!ops[i].over)
				reactor_cancel(r, &ops[i].op);
		reactor_turn(r, 10);
	}
	for (int i = 0; i < N; i++)
		assert_int_equal(ops[i].result, -ECANCELED);
	close(fds[0]);
	close(fds[1]);
}

TEST(vectors_cross_a_socket)
{
	char a[] = "hello ", b[] = "world", in[16] = "";
	struct iovec out[2] = {{a, 6}, {b, 5}};
	struct file_op send = {.op = {.done = file_done}}, recv = {.op = {.done = file_done}};
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	reactor_sendv(r, &send.op, fds[0], out, 2, 0);
	reactor_recv(r, &recv.op, fds[1], in, 11, MSG_WAITALL);
	while (!send.over || !recv.over)
		reactor_turn(r, 1000);
	assert_int_equal(send.result, 11);
	assert_int_equal(recv.result, 11);
	assert_string_equal(in, "hello world");
	close(fds[0]);
	close(fds[1]);
}

/* ---- deferred, messages, jobs ---- */

static struct reactor_deferred again;
static int deferred_calls;

static void defer_again(struct reactor_deferred *d)
{
	if (++deferred_calls < 3)
		reactor_defer(r, d);
}

TEST(deferred_calls_wait_for_the_next_turn)
{
	deferred_calls = 0;
	again.call = defer_again;
	reactor_defer(r, &again);
	reactor_defer(r, &again);
	for (int i = 1; i <= 3; i++) {
		assert_int_equal(reactor_turn(r, -1), 1);
		assert_int_equal(deferred_calls, i);
	}
}

enum {
	POSTS = 10000,
	POSTERS = 4
};
struct numbered {
	struct reactor_message message;
	int thread, number;
};
static struct numbered posts[POSTERS][POSTS];
static int last_of[POSTERS], posted;

static void take_post(struct reactor_message *m)
{
	struct numbered *n = container_of(m, struct numbered, message);

	assert_true(reactor_here(r));
	assert_int_equal(n->number, last_of[n->thread] + 1); /* in order of each thread */
	last_of[n->thread] = n->number;
	if (++posted == POSTS * POSTERS)
		reactor_stop(r);
}

static void *post_all(void *arg)
{
	struct numbered *mine = arg;

	for (int i = 0; i < POSTS; i++)
		reactor_post(r, &mine[i].message);
	return NULL;
}

TEST(messages_arrive_once_and_in_order)
{
	pthread_t threads[POSTERS];

	posted = 0;
	for (int t = 0; t < POSTERS; t++) {
		last_of[t] = 0;
		for (int i = 0; i < POSTS; i++)
			posts[t][i] = (struct numbered){
				.message = {.call = take_post}, .thread = t, .number = i + 1};
		pthread_create(&threads[t], NULL, post_all, posts[t]);
	}
	assert_int_equal(reactor_run(r), 0);
	assert_int_equal(posted, POSTS * POSTERS);
	for (int t = 0; t < POSTERS; t++)
		pthread_join(threads[t], NULL);
}

struct sum_job {
	struct reactor_job job;
	pthread_t worker;
	int value;
};
static int jobs_done;

static void square(struct reactor_job *job)
{
	struct sum_job *s = container_of(job, struct sum_job, job);

	s->worker = pthread_self();
	s->value *= s->value;
}

static void job_done(struct reactor_job *job)
{
	(void)job;
	assert_true(reactor_here(r));
	jobs_done++;
}

TEST(jobs_run_elsewhere_and_end_here)
{
	struct sum_job jobs[20] = {0};

	jobs_done = 0;
	for (int i = 0; i < 20; i++) {
		jobs[i].value = i;
		jobs[i].job.work = square;
		jobs[i].job.done = job_done;
		reactor_work(r, &jobs[i].job);
	}
	while (jobs_done < 20)
		assert_true(reactor_turn(r, 1000) >= 0);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(jobs[i].value, i * i);
		assert_false(pthread_equal(jobs[i].worker, pthread_self()));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(timers_fire_in_order, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_timer_may_free_or_arm_itself, set_up, tear_down),
		cmocka_unit_test_setup_teardown(many_timers_keep_the_heap, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			more_operations_than_the_ring_has_room_for, set_up, tear_down),
		cmocka_unit_test_setup_teardown(errors_are_results, set_up, tear_down),
		cmocka_unit_test_setup_teardown(cancel_ends_what_waits, set_up, tear_down),
		cmocka_unit_test_setup_teardown(vectors_cross_a_socket, set_up, tear_down),
		cmocka_unit_test_setup_teardown(deferred_calls_wait_for_the_next_turn, set_up, tear_down),
		cmocka_unit_test_setup_teardown(messages_arrive_once_and_in_order, set_up, tear_down),
		cmocka_unit_test_setup_teardown(jobs_run_elsewhere_and_end_here, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
