/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who owns an array in Ceph: one umbrad at a time, and who has lost it writes nothing, acknowledges nothing, and knows it. What an
 * opening leaves alone, and what it sweeps. What a cut does not wait for. How many threads librados has.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "array/reactor/reactor.h"
#include "array/store/module.h"
#include "array/store/rbd/rbd.h"
#include "array/store/store.h"
#include "tests/support/test.h"

#define MIB   (UINT64_C(1) << 20)
#define BLOCK 512u

/* Of the owner that is stopped, and of the test. */
struct shared {
	_Atomic uint64_t acknowledged, refused;
	_Atomic uint64_t disk_id;
};

static struct shared *shared;
static int shared_fd;
static struct reactor *reactor;
static bool is_fenced;

static void fenced(void *arg, const char *reason)
{
	(void)arg;
	fprintf(stderr, "fenced: %s\n", reason);
	is_fenced = true;
}

static struct store_module_options options(const char *array)
{
	return (struct store_module_options){
		.ceph_pool = getenv("UMBRA_TEST_CEPH_POOL"), .array = array, .fenced = fenced};
}

static void create(const char *array)
{
	struct store_module_options o = options(array);
	struct fault f = {0};
	int err = umbra_store_module.create(&o, &f);

	if (err)
		fail_msg("%s", f.text);
}

static int open_it(const char *array, struct store **s, struct fault *f)
{
	struct store_module_options o = options(array);
	int err = umbra_store_module.open(&o, reactor, s, f);

	if (err)
		fprintf(stderr, "%s\n", f->text);
	return err;
}

struct wait {
	bool done;
	int err;
};

static void ended(void *arg, int err)
{
	struct wait *w = arg;

	w->done = true;
	w->err = err;
}

static int wait_for(const struct wait *w)
{
	while (!w->done)
		assert_true(reactor_turn(reactor, 100) >= 0);
	return w->err;
}

static void close_it(struct store *s)
{
	struct wait w = {0};

	s->ops->close(s, ended, &w);
	wait_for(&w);
}

struct one_io {
	struct store_io io;
	struct wait w;
};

static void io_ended(struct store_io *io, int err)
{
	ended(&container_of(io, struct one_io, io)->w, err);
}

static int io(struct store_disk *d, enum store_io_op op, void *buf)
{
	struct iovec iov = {buf, BLOCK};
	struct one_io x = {
		.io = {.op = op, .len = BLOCK, .iov = &iov, .iov_count = 1, .disk = d, .done = io_ended}};

	d->store->ops->submit(&x.io);
	return wait_for(&x.w);
}

static int make_disk(struct store *s, struct store_disk **out)
{
	struct store_txn *t = s->ops->txn_begin(s);
	struct wait w = {0};

	assert_int_equal(s->ops->txn_disk_create(t, 8 * MIB, out), 0);
	s->ops->txn_commit(t, ended, &w);
	return wait_for(&w);
}

TEST(a_second_owner_is_refused_while_the_first_lives_and_served_when_it_has_ended)
{
	struct store *first, *second;
	struct fault f = {0};

	create("two");
	assert_int_equal(open_it("two", &first, &f), 0);
	assert_int_equal(open_it("two", &second, &f), -EBUSY);
	assert_non_null(strstr(f.text, "another umbrad owns the array two"));
	close_it(first);
	assert_int_equal(open_it("two", &second, &f), 0);
	close_it(second);
	assert_int_equal(open_it("none", &second, &f), -ENOENT);
}

/* The process that is stopped: writes until it is fenced. 42: as it should be. */
static _Noreturn void owner(void)
{
	struct store_disk *d;
	struct store *s;
	struct fault f = {0};
	uint8_t buf[BLOCK] = {1};
	int err = 0;

	if (open_it("stopped", &s, &f) || make_disk(s, &d))
		_exit(1);
	shared->disk_id = s->ops->disk_id(d);
	while (!is_fenced && !err) {
		err = io(d, STORE_WRITE, buf);
		shared->acknowledged += !err;
	}
	while (!is_fenced)
		reactor_turn(reactor, 100);
	for (unsigned i = 0; i < 3; i++)
		shared->refused +=
			io(d, STORE_WRITE, buf) == -ESHUTDOWN && io(d, STORE_READ, buf) == -ESHUTDOWN;
	_exit(shared->refused == 3 && make_disk(s, &d) == -ESHUTDOWN ? 42 : 2);
}

static void pause_ms(long ms)
{
	struct timespec t = {.tv_nsec = ms * 1000000};

	nanosleep(&t, NULL);
}

static pid_t owner_start(void)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid)
		return pid;
	char fd[16];
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(fd, sizeof(fd), "%d", shared_fd);
	execl("/proc/self/exe", "owner", fd, NULL);
	_exit(127);
}

TEST(an_owner_that_stood_still_is_fenced_and_acknowledges_nothing_any_more)
{
	uint8_t mine[BLOCK] = {2}, back[BLOCK];
	struct store_disk *d;
	struct store *s;
	struct fault f = {0};
	uint64_t acknowledged;
	int status;
	pid_t pid;

	create("stopped");
	pid = owner_start();
	while (shared->acknowledged < 20) {
		assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
		pause_ms(10);
	}
	kill(pid, SIGSTOP);
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	acknowledged = shared->acknowledged;
	assert_int_equal(open_it("stopped", &s, &f), 0);
	assert_int_equal(s->ops->disk_open(s, shared->disk_id, &d), 0);
	assert_int_equal(io(d, STORE_WRITE, mine), 0);
	kill(pid, SIGCONT);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 42);
	assert_true(shared->acknowledged == acknowledged);
	assert_int_equal(io(d, STORE_READ, back), 0);
	assert_memory_equal(back, mine, BLOCK);
	assert_false(is_fenced);
	close_it(s);
}

/* COMMAND -p POOL DO WHAT, quietly. */
static int run(const char *command, const char *arguments)
{
	char line[256];

	snprintf(line, sizeof(line), "%s -p %s %s >/dev/null 2>&1", command, getenv("UMBRA_TEST_CEPH_POOL"),
		arguments);
	return system(line);
}

TEST(a_catalogue_that_misses_a_disk_is_refused_and_no_image_is_swept)
{
	struct store_disk *d;
	struct store *s;
	struct fault f = {0};

	create("damaged");
	assert_int_equal(open_it("damaged", &s, &f), 0);
	assert_int_equal(make_disk(s, &d), 0);
	assert_int_equal(make_disk(s, &d), 0);
	close_it(s);
	assert_int_equal(run("rados", "rmomapkey umbra.damaged disk.0000000000000001"), 0);
	assert_int_equal(open_it("damaged", &s, &f), -EUCLEAN);
	assert_non_null(strstr(f.text, "damaged"));
	assert_int_equal(run("rbd", "info damaged.lun-1"), 0);
}

TEST(images_that_no_record_names_are_swept_and_others_are_left_alone)
{
	struct store_stats stats;
	struct store *s;
	struct fault f = {0};

	create("swept");
	assert_int_equal(run("rbd", "create --size 8M swept.lun-99"), 0);
	assert_int_equal(run("rbd", "create --size 8M swept.lun-99-mine"), 0);
	assert_int_equal(run("rbd", "create --size 8M other.lun-99"), 0);
	assert_int_equal(open_it("swept", &s, &f), 0);
	do {
		assert_true(reactor_turn(reactor, 100) >= 0);
		s->ops->stats(s, &stats);
	} while (stats.reclaim_pending_steps);
	close_it(s);
	assert_int_not_equal(run("rbd", "info swept.lun-99"), 0);
	assert_int_equal(run("rbd", "info swept.lun-99-mine"), 0);
	assert_int_equal(run("rbd", "info other.lun-99"), 0);
}

/* Before its next beat, and though nobody has locked it out: what stands in the catalogue decides. */
TEST(a_transaction_of_another_epoch_changes_nothing)
{
	struct store_stats stats;
	struct store_disk *d;
	struct store *s;
	struct fault f = {0};

	create("epoch");
	assert_int_equal(open_it("epoch", &s, &f), 0);
	assert_int_equal(make_disk(s, &d), 0);
	assert_int_equal(run("rados", "setomapval umbra.epoch head.epoch 99"), 0);
	assert_int_equal(make_disk(s, &d), -ESHUTDOWN);
	while (!is_fenced)
		assert_true(reactor_turn(reactor, 100) >= 0);
	is_fenced = false;
	close_it(s);
	assert_int_equal(run("rados", "listomapkeys umbra.epoch | grep -c ^disk | grep -qx 1"), 0);
	assert_int_equal(run("rados", "getomapval umbra.epoch head.disks | grep -q '|1|'"), 0);
	/* The image that it had made goes with the next opening. */
	assert_int_equal(open_it("epoch", &s, &f), 0);
	do {
		assert_true(reactor_turn(reactor, 100) >= 0);
		s->ops->stats(s, &stats);
	} while (stats.reclaim_pending_steps);
	close_it(s);
	assert_int_equal(run("rbd", "ls | grep ^epoch | grep -qx epoch.lun-1"), 0);
	assert_int_not_equal(run("rbd", "ls | grep -qx epoch.lun-2"), 0);
}

static int delete_disk(struct store *s, struct store_disk *d)
{
	struct store_txn *t = s->ops->txn_begin(s);
	struct wait w = {0};

	assert_int_equal(s->ops->txn_disk_delete(t, d), 0);
	s->ops->txn_commit(t, ended, &w);
	return wait_for(&w);
}

/* Whoever deletes the image next would wait until they have gone by themselves, 30 s later. */
TEST(an_image_whose_deletion_rests_is_closed_with_the_store)
{
	uint8_t block[BLOCK] = {1};
	struct store_stats stats;
	struct store_disk *d;
	struct store *s;
	struct fault f = {0};

	create("rests");
	assert_int_equal(open_it("rests", &s, &f), 0);
	assert_int_equal(make_disk(s, &d), 0);
	assert_int_equal(io(d, STORE_WRITE, block), 0);
	assert_int_equal(run("rbd", "status rests.lun-1 | grep -q watcher="), 0);
	assert_false(s->ops->rest(s, true));
	assert_int_equal(delete_disk(s, d), 0);
	close_it(s);
	assert_int_equal(run("rbd", "status rests.lun-1 | grep 'Watchers: none'"), 0);
	assert_int_not_equal(run("rbd", "lock ls rests.lun-1 | grep ."), 0);
	assert_int_equal(open_it("rests", &s, &f), 0);
	do {
		assert_true(reactor_turn(reactor, 100) >= 0);
		s->ops->stats(s, &stats);
	} while (stats.reclaim_pending_steps);
	close_it(s);
	assert_int_not_equal(run("rbd", "info rests.lun-1"), 0);
}

/* ---- what else is under way at a cut */

#define OTHERS    200u /* more than there are threads for when nothing is held up */
#define CUT_MAX_S 60

static pthread_mutex_t let_go = PTHREAD_MUTEX_INITIALIZER;
static unsigned others_done;

static void other_work(struct rbd_job *job)
{
	(void)job;
	pthread_mutex_lock(&let_go);
	pthread_mutex_unlock(&let_go);
}

static void other_done(struct rbd_job *job)
{
	(void)job;
	others_done++;
}

TEST(a_cut_waits_for_no_image_that_is_opened_cloned_or_cleaned_up_meanwhile)
{
	static struct rbd_job others[OTHERS];
	struct store_disk *disks[2];
	struct store_cut cut = {.disks = disks, .count = 2};
	uint8_t buf[BLOCK] = {1};
	struct store *s;
	struct fault f = {0};
	struct wait w = {0};
	time_t end = time(NULL) + CUT_MAX_S;
	bool in_time;

	create("busy");
	assert_int_equal(open_it("busy", &s, &f), 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(make_disk(s, &disks[i]), 0);
		assert_int_equal(io(disks[i], STORE_WRITE, buf), 0); /* its image is open */
	}
	pthread_mutex_lock(&let_go);
	for (unsigned i = 0; i < OTHERS; i++) {
		others[i] = (struct rbd_job){.work = other_work, .done = other_done};
		rbd_work(&rbd_store_of(s)->workers, RBD_LANE_SHORT, &others[i]);
	}
	s->ops->cut(s, &cut, ended, &w);
	while (!w.done && time(NULL) < end)
		reactor_turn(reactor, 100);
	in_time = w.done;
	pthread_mutex_unlock(&let_go);
	assert_int_equal(wait_for(&w), 0);
	s->ops->cut_drop(&cut);
	while (others_done < OTHERS)
		assert_true(reactor_turn(reactor, 100) >= 0);
	close_it(s);
	assert_true(in_time);
}

/* Ends while all that `lane` had before hangs. */
static bool ends_meanwhile(struct store_disk *d, enum store_io_op op, enum rbd_lane lane)
{
	static struct rbd_job others[OTHERS];
	uint8_t buf[BLOCK] = {1};
	struct iovec iov = {buf, BLOCK};
	struct one_io x = {
		.io = {.op = op, .len = BLOCK, .iov = &iov, .iov_count = 1, .disk = d, .done = io_ended}};
	time_t end = time(NULL) + CUT_MAX_S;
	bool in_time;

	others_done = 0;
	pthread_mutex_lock(&let_go);
	for (unsigned i = 0; i < OTHERS; i++) {
		others[i] = (struct rbd_job){.work = other_work, .done = other_done};
		rbd_work(&rbd_store_of(d->store)->workers, lane, &others[i]);
	}
	d->store->ops->submit(&x.io);
	while (!x.w.done && time(NULL) < end)
		reactor_turn(reactor, 100);
	in_time = x.w.done && others_done == 0;
	pthread_mutex_unlock(&let_go);
	assert_int_equal(wait_for(&x.w), 0);
	while (others_done < OTHERS)
		assert_true(reactor_turn(reactor, 100) >= 0);
	return in_time;
}

/* As after a takeover, when each LUN's image is opened, and an OSD that many of them need hangs. */
TEST(a_lun_is_served_though_many_others_are_held_up)
{
	struct store_disk *d;
	struct store *s;
	struct fault f = {0};

	create("heldup");
	assert_int_equal(open_it("heldup", &s, &f), 0);
	assert_int_equal(make_disk(s, &d), 0);
	assert_int_equal(rbd_disk_of(d)->image->state, RBD_IMAGE_CLOSED);
	assert_true(ends_meanwhile(d, STORE_READ, RBD_LANE_SHORT));
	assert_true(ends_meanwhile(d, STORE_MAPPED, RBD_LANE_MAPPED));
	assert_true(ends_meanwhile(d, STORE_MAPPED, RBD_LANE_LOOK));
	close_it(s);
}

struct ready {
	struct store_reserve r;
	struct wait w;
};

static void ready_ended(struct store_reserve *r, int err)
{
	ended(&container_of(r, struct ready, r)->w, err);
}

/* The array asks for it when it arms any copy set. */
TEST(images_are_opened_before_a_cut_when_they_are_asked_for)
{
	struct store *s;
	struct store_disk *disks[2];
	struct fault f = {0};

	create("ready");
	assert_int_equal(open_it("ready", &s, &f), 0);
	assert_true(s->ops->opens_lazily);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(make_disk(s, &disks[i]), 0);
		assert_int_equal(rbd_disk_of(disks[i])->image->state, RBD_IMAGE_CLOSED);
	}
	struct ready ready = {.r = {.disks = disks, .count = 2, .ready_only = true, .done = ready_ended}};
	/* Of no matter how much room there is. */
	rbd_store_of(s)->room = (struct rbd_room){.fullness = RBD_FULL};
	s->ops->reserve(&ready.r);
	assert_int_equal(wait_for(&ready.w), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(rbd_disk_of(disks[i])->image->state, RBD_IMAGE_OPEN);
	close_it(s);
}

static void assert_threads(const char *threads)
{
	struct fault f;
	struct store *s;
	char value[16];

	assert_int_equal(open_it("threads", &s, &f), 0);
	assert_int_equal(
		rados_conf_get(rbd_store_of(s)->cluster.rados, "librados_thread_count", value, sizeof(value)),
		0);
	assert_string_equal(value, threads);
	close_it(s);
}

TEST(librados_has_one_thread_unless_the_administrator_gives_it_more)
{
	create("threads");
	assert_threads("1");
	setenv("CEPH_ARGS", "--librados-thread-count=3", 1);
	assert_threads("3");
	unsetenv("CEPH_ARGS");
}

static atomic_bool goes_on;

static void stands_still(rados_completion_t c, void *arg)
{
	(void)c, (void)arg;
	while (!atomic_load(&goes_on))
		usleep(1000);
}

/* As where librbd waits for itself: Ceph answers, and nobody hears of it. */
TEST(an_array_is_given_up_when_the_threads_of_cephs_library_stand_still)
{
	struct fault f = {0};
	struct rbd_store *s;
	struct store *base;
	rados_completion_t c;
	uint64_t size;
	time_t when, until = time(NULL) + 60;

	create("still");
	is_fenced = false;
	assert_int_equal(open_it("still", &base, &f), 0);
	s = rbd_store_of(base);
	atomic_store(&s->lease.still_max, 1);
	assert_int_equal(rados_aio_create_completion2(NULL, stands_still, &c), 0);
	assert_int_equal(rados_aio_stat(s->cluster.io, s->object, c, &size, &when), 0);
	while (!is_fenced && time(NULL) < until)
		assert_true(reactor_turn(reactor, 100) >= 0);
	assert_true(is_fenced);
	assert_false(rbd_lease_holds(&s->lease));
	atomic_store(&goes_on, true);
	while (!atomic_load(&s->lease.delivered))
		usleep(1000);
	rados_aio_wait_for_complete_and_cb(c);
	rados_aio_release(c);
	close_it(base);
	is_fenced = false;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_second_owner_is_refused_while_the_first_lives_and_served_when_it_has_ended),
		cmocka_unit_test(an_owner_that_stood_still_is_fenced_and_acknowledges_nothing_any_more),
		cmocka_unit_test(a_catalogue_that_misses_a_disk_is_refused_and_no_image_is_swept),
		cmocka_unit_test(images_that_no_record_names_are_swept_and_others_are_left_alone),
		cmocka_unit_test(a_transaction_of_another_epoch_changes_nothing),
		cmocka_unit_test(an_image_whose_deletion_rests_is_closed_with_the_store),
		cmocka_unit_test(a_cut_waits_for_no_image_that_is_opened_cloned_or_cleaned_up_meanwhile),
		cmocka_unit_test(a_lun_is_served_though_many_others_are_held_up),
		cmocka_unit_test(images_are_opened_before_a_cut_when_they_are_asked_for),
		cmocka_unit_test(librados_has_one_thread_unless_the_administrator_gives_it_more),
		cmocka_unit_test(an_array_is_given_up_when_the_threads_of_cephs_library_stand_still),
	};
	struct reactor_options o = {.workers = 1};

	if (reactor_create(&reactor, &o))
		return 1;
	shared_fd = argc == 2 ? (int)strtol(argv[1], NULL, 10) : memfd_create("shared", 0);
	if (ftruncate(shared_fd, sizeof(*shared)))
		return 1;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, shared_fd, 0);
	if (argc == 2)
		owner();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
