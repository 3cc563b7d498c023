/* SPDX-License-Identifier: Apache-2.0 */
/* See suite.h. */
#include "tests/unit/store/suite.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include "tests/support/test.h"
#include "tests/unit/store/suite_model.h"

static unsigned quiet = 160; /* of so many steps, ten change more than data */

static void random_io(void)
{
	static const enum store_io_op kinds[] = {STORE_READ, STORE_READ, STORE_READ, STORE_WRITE, STORE_WRITE,
		STORE_WRITE, STORE_WRITE, STORE_UNMAP, STORE_COMPARE_WRITE, STORE_MAPPED};
	struct slot *s = suite_any_slot();
	enum store_io_op op = kinds[suite_below(sizeof(kinds) / sizeof(kinds[0]))];

	if (!s)
		return;
	if (suite_below(24) == 0) {
		suite_flush_start(s);
		return;
	}
	uint64_t most = suite_below(20) == 0 ? 12000 : suite_below(4) == 0 ? 256 : 16;
	uint64_t sector = suite_below(s->sectors);
	if (suite_below(3) == 0) /* about the border of two objects */
		sector = (8192 - suite_below(16)) % s->sectors;
	uint64_t count = 1 + suite_below(op == STORE_COMPARE_WRITE ? 32 : most);
	if (count > s->sectors - sector)
		count = s->sectors - sector;
	if (store_op_changes(op) && s->held)
		return;
	if (!suite_range_free(s, sector, count, store_op_changes(op))) {
		if (suite_below(4) == 0)
			suite_flush_start(s);
		return;
	}
	if (op == STORE_COMPARE_WRITE && !suite_compare_possible(s, sector, count))
		return;
	suite_op_start(s, op, sector, count, op == STORE_WRITE && suite_below(8) == 0 ? STORE_IO_FUA : 0);
}

static void cut_some(void)
{
	struct slot *set[3], *to[3];
	unsigned count = 0, wanted = 1 + (unsigned)suite_below(3);

	for (unsigned i = 0; i < SLOTS && count < wanted; i++)
		if (suite.m->slots[i].state == SLOT_LIVE && suite_below(2))
			set[count++] = &suite.m->slots[i];
	for (unsigned i = 0, k = 0; k < count; k++) {
		while (i < SLOTS && suite.m->slots[i].state != SLOT_FREE)
			i++;
		if (i == SLOTS)
			count = k;
		else
			to[k] = &suite.m->slots[i++];
	}
	if (count)
		suite_cut(set, to, count, false);
}

static void step(void)
{
	uint64_t kind = suite_below(quiet);
	struct slot *s = suite_any_slot(), *other = suite_any_slot();

	if (kind == 0)
		suite_create_disk();
	else if (kind == 1 && s && !suite_free_slot())
		suite_delete_disk(s);
	else if (kind == 2 && s)
		suite_resize_disk(s);
	else if (kind < 6)
		cut_some();
	else if (kind == 6 && s && other)
		suite_repoint(s, other);
	else if (kind < 9 && s)
		suite_hydrate_start(s);
	else if (kind == 9 && s)
		suite_hydrate_end(s);
	else
		random_io();
	while (suite.inflight >= INFLIGHT)
		suite_turn();
	SUITE_CHECK(reactor_turn(suite.reactor, 0) >= 0);
}

/* What was not flushed when the store was closed is there nevertheless. */
static void run(unsigned steps)
{
	for (unsigned i = 0; i < steps; i++)
		step();
}

TEST(random_operations_agree_with_the_model)
{
	suite_new();
	suite_store.begin();
	suite_open();
	for (unsigned i = 0; i < 3; i++)
		suite_create_disk();
	for (unsigned i = 0; i < suite_store.rounds; i++) {
		run(500);
		suite_verify();
		if (i % 2 == 0) {
			suite_close();
			suite_open();
			suite_verify();
		}
	}
	suite_end();
}

/* ---- kill -9 ---- */

static _Noreturn void victim(void)
{
	suite_map();
	quiet = 40;
	suite_open();
	suite_crashed();
	suite_verify();
	for (unsigned i = 0; i < 3; i++)
		suite_create_disk();
	for (;;)
		step();
}

static void kill_once(void)
{
	uint64_t target, before = suite.m->operations;
	int status;
	pid_t pid;

	pid = suite_victim();
	/* Verifying takes as many reads as there are disks; the rest is at random. */
	target = before + 40 + suite_below(suite_below(2) ? 400 : 4000);
	for (;;) {
		struct timespec t = {.tv_nsec = 1000000 + (long)suite_below(2000000)};

		nanosleep(&t, NULL);
		if (waitpid(pid, &status, WNOHANG) == pid) {
			fprintf(stderr, "the store's process ended by itself: %d\n", status);
			abort();
		}
		if (__atomic_load_n(&suite.m->operations, __ATOMIC_ACQUIRE) >= target)
			break;
	}
	kill(pid, SIGKILL);
	SUITE_CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

TEST(what_was_acknowledged_survives_a_kill)
{
	if (!suite_store.survives)
		return;
	suite_new();
	suite_store.begin();
	for (unsigned i = 0; i < suite_store.kills; i++)
		kill_once();
	suite_open();
	suite_crashed();
	suite_verify();
	suite_end();
}

/* ---- ordered writers ---- */

#define WRITERS 3u

struct writer {
	struct store_io io;
	struct slot *slots[WRITERS];
	uint64_t number;
	unsigned at;
	bool held, busy, stop;
	uint64_t buf[SECTOR / 8];
	struct iovec iov;
};

static void writer_done(struct store_io *io, int err);

/* The next number goes to the next disk only when the last disk has it. */
static void writer_go(struct writer *w)
{
	if (w->held || w->busy || w->stop)
		return;
	w->busy = true;
	w->buf[0] = w->number;
	w->iov = (struct iovec){w->buf, SECTOR};
	w->io = (struct store_io){.op = STORE_WRITE,
		.len = SECTOR,
		.iov = &w->iov,
		.iov_count = 1,
		.done = writer_done,
		.disk = w->slots[w->at]->disk,
		.damaged_offset = STORE_NOWHERE};
	suite.store->ops->submit(&w->io);
}

static void writer_done(struct store_io *io, int err)
{
	struct writer *w = container_of(io, struct writer, io);

	SUITE_CHECK(err == 0);
	w->busy = false;
	w->at = (w->at + 1) % WRITERS;
	w->number += w->at == 0;
	writer_go(w);
}

static void simple_done(struct store_io *io, int err)
{
	SUITE_CHECK(err == 0);
	io->done = NULL;
}

static uint64_t first_number(struct store_disk *d)
{
	uint64_t buf[SECTOR / 8];
	struct iovec iov = {buf, SECTOR};
	struct store_io io = {.op = STORE_READ,
		.len = SECTOR,
		.iov = &iov,
		.iov_count = 1,
		.done = simple_done,
		.disk = d,
		.damaged_offset = STORE_NOWHERE};

	suite.store->ops->submit(&io);
	while (io.done)
		suite_turn();
	return buf[0];
}

static void one_instant(struct writer *w)
{
	struct store_disk *disks[WRITERS], *copies[WRITERS];
	struct store_cut c = {.disks = disks, .count = WRITERS};
	struct suite_wait wait = {0};
	struct store_txn *t;
	uint64_t n[WRITERS];

	for (uint64_t until = w->number + 3 + suite_below(20); w->number < until;)
		suite_turn();
	for (unsigned i = 0; i < WRITERS; i++)
		disks[i] = w->slots[i]->disk;
	w->held = true;
	suite.store->ops->cut(suite.store, &c, suite_waited, &wait);
	while (!wait.done)
		suite_turn();
	SUITE_CHECK(wait.err == 0);
	w->held = false;
	writer_go(w);
	t = suite.store->ops->txn_begin(suite.store);
	for (unsigned i = 0; i < WRITERS; i++)
		SUITE_CHECK(suite.store->ops->txn_disk_fork(t, &c, i, &copies[i]) == 0);
	wait = (struct suite_wait){0};
	suite.store->ops->cut_commit(&c, t, suite_waited, &wait);
	while (!wait.done)
		suite_turn();
	SUITE_CHECK(wait.err == 0);
	for (unsigned i = 0; i < WRITERS; i++)
		n[i] = first_number(copies[i]);
	for (unsigned i = 0; i + 1 < WRITERS; i++)
		SUITE_CHECK(n[i] == n[i + 1] || n[i] == n[i + 1] + 1);
	SUITE_CHECK(n[0] <= n[WRITERS - 1] + 1);
	t = suite.store->ops->txn_begin(suite.store);
	for (unsigned i = 0; i < WRITERS; i++)
		SUITE_CHECK(suite.store->ops->txn_disk_delete(t, copies[i]) == 0);
	wait = (struct suite_wait){0};
	suite.store->ops->txn_commit(t, suite_waited, &wait);
	while (!wait.done)
		suite_turn();
	SUITE_CHECK(wait.err == 0);
}

TEST(a_cut_under_ordered_writers_is_of_one_instant)
{
	static struct writer w;

	suite_new();
	suite_store.begin();
	suite_open();
	while (suite.m->slots[WRITERS - 1].state != SLOT_LIVE)
		suite_create_disk();
	suite_drain();
	for (unsigned i = 0; i < WRITERS; i++)
		w.slots[i] = &suite.m->slots[i];
	w.number = 1;
	writer_go(&w);
	for (unsigned i = 0; i < 10; i++)
		one_instant(&w);
	w.stop = true;
	while (w.busy)
		suite_turn();
	suite_end();
}

/* ---- what lies between becomes independent ---- */

/* A copy of a copy, which is in use meanwhile: it has what it had, also when the first of the three is no more. */
TEST(a_copy_of_a_copy_stays_whole_when_what_lies_between_needs_its_original_no_more)
{
	struct slot *first, *between, *last;

	suite.meanwhile = NULL;
	suite.whims = false;
	suite_new();
	suite_store.begin();
	suite_open();
	for (unsigned i = 0; i < 3; i++)
		suite_create_disk();
	first = &suite.m->slots[0];
	between = &suite.m->slots[1];
	last = &suite.m->slots[2];
	suite_op_start(first, STORE_WRITE, 0, 1024, 0);
	suite_op_start(first, STORE_WRITE, 8192, 512, 0);
	suite_drain();
	suite_repoint(first, between);
	suite_repoint(between, last);
	suite_op_start(last, STORE_READ, 0, 8, 0);
	suite_op_start(between, STORE_WRITE, 8, 8, 0);
	suite_drain();
	suite_hydrate_start(between);
	while (between->hydrating)
		suite_turn();
	suite_delete_disk(first);
	suite_reclaimed();
	suite_op_start(last, STORE_WRITE, 512, 8, 0);
	suite_drain();
	suite_verify();
	suite_end();
	suite.meanwhile = random_io;
	suite.whims = true;
}

int main(int argc, char **argv)
{
	suite.meanwhile = random_io;
	suite.whims = true;
	if (argc == 2) {
		suite.model_fd = (int)strtol(argv[1], NULL, 10);
		victim();
	}
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_operations_agree_with_the_model),
		cmocka_unit_test(what_was_acknowledged_survives_a_kill),
		cmocka_unit_test(a_cut_under_ordered_writers_is_of_one_instant),
		cmocka_unit_test(
			a_copy_of_a_copy_stays_whole_when_what_lies_between_needs_its_original_no_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
