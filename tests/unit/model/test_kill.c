/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copy sets over a store, and kill -9 at any moment: a child writes in chains and makes, keeps, aborts and
 * deletes sets as fast as it can, half of them of plex copies, and resyncs a LUN to them; it notes in shared memory what it asked for and what it was answered. After
 * the kill the parent opens the store: every set is there whole or not at all, and as the answers said; the
 * copies are in order.
 */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "tests/unit/model/chains.h"

#ifdef HARNESS_RBD
#define ROUNDS 4 /* the opening and the snapshots take longer than a pool's */
#define SLOWER 6
#else
#define ROUNDS 12
#define SLOWER 1
#endif
#define NOTES_MAX  64
#define KEPT_A_RUN 6 /* sets that a child leaves alive */

struct note {
	uint8_t id[UP_ID_BYTES], ids[CHAIN_LUNS][UP_ID_BYTES];
	bool commit_asked, committed, keep_asked, kept, abort_asked, aborted, delete_asked, deleted;
	struct chain_count before[CHAINS], after[CHAINS];
};

struct shared {
	struct chain_count counts[CHAINS];
	atomic_bool begun;
	unsigned note_count, sets;
	/* "r" was resynced from the one last, and perhaps from the other since */
	uint8_t resynced_from[UP_ID_BYTES], resync_from[UP_ID_BYTES];
	bool resync_asked;
	struct note notes[NOTES_MAX];
};

static const char *const names[CHAIN_LUNS] = {"a", "b", "c"};

static void find_luns(struct harness *h, struct lun **luns)
{
	for (unsigned i = 0; i < CHAIN_LUNS; i++)
		luns[i] = lun_find_name(h->array, names[i]);
}

/* ---- the child ---- */

/* Another LUN, outside the chains, takes a copy's data. */
static void resync(struct harness *h, struct shared *m, const uint8_t copy[UP_ID_BYTES])
{
	struct lun_resync_view v = {.state = LUN_RESYNC_RUNS};
	struct waiter w;

	m->resync_asked = true;
	memcpy(m->resync_from, copy, UP_ID_BYTES);
	lun_resync_start(
		h->array, "", lun_find(h->array, copy), lun_find_name(h->array, "r"), 0, waiter_init(&w));
	if (waiter_wait(h, &w))
		_exit(5);
	while (v.state == LUN_RESYNC_RUNS && lun_resync_view_of(h->array, "", w.call.job, &v) == 0)
		harness_advance(h, 1);
	if (v.state != LUN_RESYNC_DONE)
		_exit(6);
	m->resync_asked = false;
	memcpy(m->resynced_from, copy, UP_ID_BYTES);
}

static void one_set(struct harness *h, struct chain_run *r, struct shared *m, struct note *n)
{
	enum up_copy_kind kind = test_random(&r->random) % 2 ? UP_COPY_PLEX : UP_COPY_DIFFERENTIAL;

	memcpy(n->id, set_id(m->sets++), UP_ID_BYTES);
	if (set_begin(h->array, n->id, "", NULL))
		_exit(7);
	for (unsigned i = 0; i < CHAIN_LUNS; i++)
		if (set_add(h->array, n->id, "", r->luns[i], kind, n->ids[i], NULL))
			_exit(8);
	if (do_arm(h, n->id, ""))
		_exit(9);
	memcpy(n->before, m->counts, sizeof(n->before));
	n->commit_asked = true;
	if (do_commit(h, n->id, "", 0))
		_exit(3);
	memcpy(n->after, m->counts, sizeof(n->after));
	n->committed = true;
	if (test_random(&r->random) % 4 == 0) {
		n->abort_asked = true;
		n->aborted = do_abort(h, n->id, "") == 0;
		return;
	}
	n->keep_asked = true;
	n->kept = do_keep(h, n->id, "") == 0;
	resync(h, m, n->ids[0]);
	if (test_random(&r->random) % 3 == 0) {
		n->delete_asked = true;
		n->deleted = do_set_delete(h, n->id) == 0;
	}
}

static void child(struct harness *h, struct shared *m, uint64_t seed)
{
	struct chain_run r = {.h = h, .counts = m->counts, .random = seed};
	unsigned alive = 0;

	harness_begin(h);
	m->begun = true;
	find_luns(h, r.luns);
	chains_settle(&r);
	chains_start(&r);
	while (alive < KEPT_A_RUN && m->note_count < NOTES_MAX) {
		struct note *n = &m->notes[m->note_count++];

		memset(n, 0, sizeof(*n));
		one_set(h, &r, m, n);
		alive += n->kept && !n->deleted;
	}
	for (;;)
		harness_advance(h, 1);
}

/* ---- the parent ---- */

static void check_note(struct harness *h, const struct shared *m, const struct note *n)
{
	const struct chain_count *high = n->committed ? n->after : m->counts;
	enum up_set_state now = set_state(h, n->id);
	uint32_t seen[CHAINS][CHAIN_LUNS];

	assert_true(now == 0 || now == UP_SET_COMMITTED || now == UP_SET_KEPT);
	if (!n->commit_asked || n->aborted || n->deleted)
		assert_int_equal(now, 0);
	if (n->committed && !n->abort_asked && !n->delete_asked)
		assert_true(now != 0);
	if (n->kept && !n->delete_asked)
		assert_int_equal(now, UP_SET_KEPT);
	if (now == UP_SET_KEPT)
		assert_true(n->keep_asked);
	for (unsigned i = 0; i < CHAIN_LUNS; i++)
		assert_int_equal(lun_find(h->array, n->ids[i]) != NULL, now != 0);
	if (now)
		chains_check(h, (uint8_t(*)[UP_ID_BYTES])(uintptr_t)n->ids, n->before, high, seen);
}

static void end_note(struct harness *h, const struct note *n)
{
	if (set_state(h, n->id) == UP_SET_KEPT)
		assert_int_equal(do_set_delete(h, n->id), 0);
	else if (set_state(h, n->id))
		assert_int_equal(do_abort(h, n->id, ""), 0);
}

/* Does "r" hold what the copy holds? Yes if that is gone. */
static bool holds(struct harness *h, const uint8_t copy[UP_ID_BYTES])
{
	struct lun *r = lun_find_name(h->array, "r"), *shadow = lun_find(h->array, copy);

	for (unsigned i = 0; shadow && i < CHAINS; i++)
		if (chain_value(h, r, i) != chain_value(h, shadow, i))
			return false;
	return true;
}

static void check_resync(struct harness *h, struct shared *m)
{
	assert_true(holds(h, m->resynced_from) || (m->resync_asked && holds(h, m->resync_from)));
	m->resync_asked = false;
	memset(m->resynced_from, 0, sizeof(m->resynced_from));
}

static unsigned check_round(struct harness *h, struct shared *m)
{
	unsigned luns = 0, committed = 0;

	harness_begin(h);
	for (unsigned i = 0; i < m->note_count; i++) {
		check_note(h, m, &m->notes[i]);
		committed += m->notes[i].committed;
	}
	check_resync(h, m);
	for (unsigned i = 0; i < m->note_count; i++)
		end_note(h, &m->notes[i]);
	for (struct lun *l = lun_next(h->array, NULL); l; l = lun_next(h->array, l))
		luns++;
	assert_int_equal(luns, CHAIN_LUNS + 1);
	harness_end(h);
	m->note_count = 0;
	return committed;
}

/* Until the child has the array open, or has ended. */
static void wait_for_begin(struct shared *m, pid_t pid)
{
	siginfo_t info = {0};

	while (!m->begun && waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && !info.si_pid)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

TEST(sets_survive_kills_whole)
{
	struct harness *h = *state;
	struct shared *m = mmap(NULL, sizeof(*m), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t random = test_seed();
	unsigned committed = 0;

	assert_ptr_not_equal(m, MAP_FAILED);
	for (unsigned i = 0; i < CHAIN_LUNS; i++)
		make_lun(h, names[i], MIB);
	make_lun(h, "r", MIB);
	harness_end(h);
	/* A slow machine gets more rounds, and more time in each, until enough was committed. */
	for (unsigned round = 0; round < ROUNDS || committed <= ROUNDS; round++) {
		uint64_t seed = test_random(&random), ms = 20 + test_random(&random) % 250 * SLOWER;
		uint64_t slower_ms = ms * (1 + round / ROUNDS);
		struct timespec nap = {
			.tv_sec = (time_t)(slower_ms / 1000), .tv_nsec = (long)(slower_ms % 1000) * 1000000};
		int status;
		m->begun = false;
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0) {
			child(h, m, seed);
			_exit(4);
		}
		/* Now and then the opening is what the kill meets. */
		if (round % 4 != 3)
			wait_for_begin(m, pid);
		nanosleep(&nap, NULL);
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status)); /* it had not failed itself */
		committed += check_round(h, m);
	}
	print_message("%u sets were committed\n", committed);
	munmap(m, sizeof(*m));
	harness_begin(h);
}

#define t(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {t(sets_survive_kills_whole)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
