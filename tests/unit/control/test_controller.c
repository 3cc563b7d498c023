/* SPDX-License-Identifier: Apache-2.0 */
/* The one of two controllers that waits, over a module that a test plays: what it tells, and its end at any time. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "array/controller.h"
#include "tests/support/test.h"

/* What the module does inside open, which the test sets before the controller begins, or moves on under the lock. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned state_of_catalogue; /* 0: it cannot be read; else the value of its one record */
static bool is_free;                /* the owner has gone */
static unsigned looks;
static int open_error;
static unsigned opens;
/* What the module leaves for the reactor's thread when open is to end: its wire comes, and goes. */
static struct reactor_message last_word;
static const struct store_wire_user *wire_user;
static bool leaves_a_word;

static struct reactor *reactor;
static struct controller *controller;
static unsigned seen, owned, failed, stops, notices;
static unsigned wires_up, wires_down;
static uint64_t seen_digest;

/* ---- a store of nothing ---- */

static unsigned closes;

static void close_store(struct store *s, void (*done)(void *arg, int err), void *arg)
{
	free(s);
	closes++;
	done(arg, 0);
}

static const struct store_ops ops = {.name = "test", .close = close_store};

/* ---- the module ---- */

static unsigned catalogue(void)
{
	pthread_mutex_lock(&lock);
	unsigned s = state_of_catalogue;
	pthread_mutex_unlock(&lock);
	return s;
}

static bool free_now(void)
{
	pthread_mutex_lock(&lock);
	bool f = is_free;
	pthread_mutex_unlock(&lock);
	return f;
}

static void set(unsigned state, bool owner_gone)
{
	pthread_mutex_lock(&lock);
	state_of_catalogue = state;
	is_free = owner_gone;
	pthread_mutex_unlock(&lock);
}

static void await_looks(unsigned count)
{
	struct timespec pause = {.tv_nsec = 1000000};
	unsigned until, now;

	pthread_mutex_lock(&lock);
	until = now = looks;
	pthread_mutex_unlock(&lock);
	for (until += count; now < until; nanosleep(&pause, NULL)) {
		pthread_mutex_lock(&lock);
		now = looks;
		pthread_mutex_unlock(&lock);
	}
}

static void look(const struct store_standby *s)
{
	unsigned value = catalogue();
	int err = value ? 0 : -EAGAIN;

	s->begin(s->arg);
	if (!err)
		err = s->record(s->arg, STORE_TABLE_LUN, "k", 1, &value, sizeof(value));
	if (!err)
		err = s->disk(s->arg, 1, 512, 0);
	s->end(s->arg, err);
	pthread_mutex_lock(&lock);
	looks++;
	pthread_mutex_unlock(&lock);
}

static int open_store(
	const struct store_module_options *o, struct reactor *r, struct store **out, struct fault *fault)
{
	struct timespec pause = {.tv_nsec = 2000000};

	opens++;
	wire_user = o->wire;
	if (open_error)
		return fault_set(fault, open_error, "it does not open: try again");
	o->notice(o->notice_arg, STORE_NOTICE_WARNING, "inside");
	while (!free_now()) {
		look(o->standby);
		if (!o->standby->waits(o->standby->arg, "elsewhere")) {
			if (leaves_a_word)
				reactor_post(r, &last_word);
			return -ECANCELED;
		}
		nanosleep(&pause, NULL);
	}
	*out = calloc(1, sizeof(**out));
	(*out)->ops = &ops;
	(*out)->reactor = r;
	return 0;
}

static const struct store_module module = {.name = "test", .open = open_store};

/* ---- who is told ---- */

static void drop(void *arg, int err)
{
	(void)arg, (void)err;
}

static void on_seen(void *arg, struct snapshot *s)
{
	struct store *store = snapshot_store(s);

	(void)arg;
	seen++;
	seen_digest = snapshot_digest(s);
	store->ops->close(store, drop, NULL);
	reactor_stop(reactor);
}

static void on_owned(void *arg, struct store *store)
{
	(void)arg;
	owned++;
	store->ops->close(store, drop, NULL);
	reactor_stop(reactor);
}

static void on_failed(void *arg, const struct fault *fault)
{
	(void)arg;
	assert_string_equal(fault->text, "it does not open: try again");
	failed++;
	reactor_stop(reactor);
}

static void on_notice(void *arg, enum store_notice level, const char *text)
{
	(void)arg;
	assert_int_equal(level, STORE_NOTICE_WARNING);
	assert_string_equal(text, "inside");
	notices++;
}

static void on_stop(void *arg)
{
	(void)arg;
	stops++;
	reactor_stop(reactor);
}

static void on_wire_up(void *arg, struct controller *c, struct store_wire *w)
{
	(void)arg, (void)w;
	assert_ptr_equal(c, controller);
	assert_int_equal(stops, 0);
	wires_up++;
}

static void on_wire_down(void *arg, struct store_wire *w)
{
	(void)arg, (void)w;
	assert_int_equal(stops, 0);
	wires_down++;
}

static const struct controller_wire wire = {.up = on_wire_up, .down = on_wire_down};

static void wire_comes_and_goes(struct reactor_message *m)
{
	struct store_wire w = {.ops = NULL};

	(void)m;
	wire_user->up(wire_user->arg, &w);
	wire_user->down(wire_user->arg, &w);
}

static void run(void)
{
	assert_int_equal(reactor_run(reactor), 0);
}

static int setup(void **state)
{
	struct controller_options options = {.module = &module,
		.store = {.ceph_pool = "p", .notice = on_notice},
		.wire = &wire,
		.seen = on_seen,
		.owned = on_owned,
		.failed = on_failed};

	(void)state;
	seen = owned = failed = stops = notices = closes = opens = wires_up = wires_down = 0;
	leaves_a_word = false;
	last_word.call = wire_comes_and_goes;
	open_error = 0;
	if (reactor_create(&reactor, NULL))
		return -1;
	options.reactor = reactor;
	set(*(const unsigned *)*state, false);
	return controller_create(&options, &controller);
}

static int teardown(void **state)
{
	struct timespec pause = {.tv_nsec = 100000000};

	(void)state;
	set(1, true); /* a test that failed has left the thread */
	if (!owned && !stops)
		nanosleep(&pause, NULL);
	reactor_destroy(reactor);
	controller_destroy(controller);
	return 0;
}

static void stop(void)
{
	controller_stop(controller, on_stop, NULL);
	while (!stops)
		run();
	assert_int_equal(stops, 1);
}

/* ---- the tests ---- */

TEST(it_stands_by_and_follows_and_takes_over)
{
	struct store *store;
	struct snapshot *s;
	struct fault fault = {0};
	char owner[CONTROLLER_OWNER_BYTES];
	uint64_t first;

	assert_int_equal(controller_first(controller, &store, &s, &fault), 0);
	assert_null(store);
	assert_non_null(s);
	assert_int_equal(notices, 1);
	first = snapshot_digest(s);
	snapshot_free(s);
	set(2, false);
	while (!seen)
		run();
	assert_true(seen_digest != first);
	/* what is as before is not told again */
	first = seen_digest;
	await_looks(5);
	set(3, false);
	while (seen < 2)
		run();
	assert_true(seen_digest != first);
	controller_owner(controller, owner);
	assert_string_equal(owner, "elsewhere");
	/* nor what cannot be read */
	set(0, false);
	await_looks(5);
	set(3, true);
	while (!owned)
		run();
	assert_int_equal(seen, 2);
	assert_int_equal(owned, 1);
	assert_int_equal(closes, 1);
	assert_int_equal(opens, 1);
}

TEST(an_array_that_nobody_owns_is_taken_at_once)
{
	struct store *store;
	struct snapshot *s;
	struct fault fault = {0};

	assert_int_equal(controller_first(controller, &store, &s, &fault), 0);
	snapshot_free(s);
	if (!store) { /* it had been looked at before */
		set(1, true);
		while (!owned)
			run();
		return;
	}
	store->ops->close(store, drop, NULL);
}

TEST(it_ends_while_it_waits)
{
	struct store *store;
	struct snapshot *s;
	struct fault fault = {0};

	assert_int_equal(controller_first(controller, &store, &s, &fault), 0);
	snapshot_free(s);
	stop();
	assert_int_equal(owned, 0);
	assert_int_equal(closes, 0);
}

/* What the module has left for the reactor's thread comes before the end, after which the controller is no more: also where the
 * reactor has had no turn since the stop. */
TEST(it_ends_after_the_last_word_of_its_module)
{
	struct store *store;
	struct snapshot *s;
	struct fault fault = {0};
	struct timespec pause = {.tv_nsec = 100000000};

	assert_int_equal(controller_first(controller, &store, &s, &fault), 0);
	snapshot_free(s);
	leaves_a_word = true;
	controller_stop(controller, on_stop, NULL);
	nanosleep(&pause, NULL);
	while (!stops)
		run();
	assert_int_equal(stops, 1);
	assert_int_equal(wires_up, 1);
	assert_int_equal(wires_down, 1);
}

/* The array comes while it ends: it is given back, and nobody serves it. */
TEST(it_ends_with_the_array_in_its_hands)
{
	struct store *store;
	struct snapshot *s;
	struct fault fault = {0};
	struct timespec pause = {.tv_nsec = 50000000};

	assert_int_equal(controller_first(controller, &store, &s, &fault), 0);
	snapshot_free(s);
	set(1, true);
	nanosleep(&pause, NULL);
	stop();
	assert_int_equal(owned, 0);
	assert_true(closes <= 1);
}

TEST(a_first_try_that_fails_says_why)
{
	struct controller_options options = {.reactor = reactor,
		.module = &module,
		.store = {.ceph_pool = "p", .notice = on_notice},
		.failed = on_failed};
	struct controller *c;
	struct store *store;
	struct snapshot *s;
	struct fault fault = {0};

	stop();
	open_error = -EACCES;
	assert_int_equal(controller_create(&options, &c), 0);
	assert_int_equal(controller_first(c, &store, &s, &fault), -EACCES);
	assert_string_equal(fault.text, "it does not open: try again");
	assert_int_equal(failed, 0);
	controller_destroy(controller);
	controller = c; /* it goes after the reactor, which may still have its message */
}

int main(void)
{
	static const unsigned readable = 1;
#define T(f)                                                                                                 \
	{                                                                                                    \
#f, f, setup, teardown, (void *)(uintptr_t)&readable                                         \
	}
	const struct CMUnitTest tests[] = {T(it_stands_by_and_follows_and_takes_over),
		T(an_array_that_nobody_owns_is_taken_at_once), T(it_ends_while_it_waits),
		T(it_ends_after_the_last_word_of_its_module), T(it_ends_with_the_array_in_its_hands),
		T(a_first_try_that_fails_says_why)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
