/* SPDX-License-Identifier: Apache-2.0 */
/* Who a process is, and that it is taken for gone only where that is certain: also in a service that sees little of /proc. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>
#include "array/util/process.h"
#include "tests/support/test.h"

#define NOBODY 65534

static int setup(void **state)
{
	(void)state;
	return unsetenv("UMBRA_BOOT_ID");
}

/* The kernel's, as systemd writes it for %b. */
static void boot_id(char out[40])
{
	FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
	unsigned len = 0;

	assert_non_null(file);
	for (int c; len < 32 && (c = fgetc(file)) != EOF && c != '\n';)
		if (c != '-')
			out[len++] = (char)c;
	out[len] = 0;
	fclose(file);
}

static pid_t sleeper(struct process_id *id)
{
	int ends[2];
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	pid = fork();
	if (!pid) {
		process_self(id);
		if (write(ends[1], id, sizeof(*id)) != (ssize_t)sizeof(*id))
			_exit(1);
		for (;;)
			pause();
	}
	assert_int_equal(read(ends[0], id, sizeof(*id)), sizeof(*id));
	close(ends[0]);
	close(ends[1]);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* Runs f in a process whose /proc is that of a service with ProcSubset=pid and ProtectProc=invisible, as somebody who is not root.
 * False: no file system may be mounted here. */
static bool in_a_sandbox(bool (*f)(const struct process_id *id), const struct process_id *id)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
			mount("proc", "/proc", "proc", 0, "subset=pid,hidepid=invisible") ||
			setresuid(NOBODY, NOBODY, NOBODY))
			_exit(77);
		_exit(f(id) ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		return false;
	assert_int_equal(WEXITSTATUS(status), 0);
	return true;
}

#define SANDBOX(f, id)                                                                                       \
	do {                                                                                                 \
		if (!in_a_sandbox(f, id)) {                                                                  \
			print_message("no /proc of its own may be mounted here: only root may do that\n");   \
			skip();                                                                              \
		}                                                                                            \
	} while (0)

/* ---- the tests ---- */

TEST(a_process_is_gone_when_it_has_ended)
{
	struct process_id self, other, successor;
	pid_t pid = sleeper(&other);

	process_self(&self);
	assert_true(process_same(&self, &self));
	assert_false(process_same(&self, &other));
	assert_string_equal(self.machine, other.machine);
	assert_false(process_gone(&self) || process_gone(&other));
	successor = other;
	successor.start--; /* its number is another one's now */
	assert_true(process_gone(&successor));
	kill(pid, SIGKILL);
	while (!process_gone(&other)) /* nobody has waited for it yet */
		usleep(1000);
	end(pid);
	assert_true(process_gone(&other));
}

TEST(of_another_machine_nothing_is_known)
{
	struct process_id other;

	end(sleeper(&other));
	assert_true(process_gone(&other));
	other.machine[0] =
		other.machine[0] == '0' ? '1' : '0'; /* a clone of this one, which has another boot */
	assert_false(process_gone(&other));
	snprintf(other.machine, sizeof(other.machine), "-");
	assert_false(process_gone(&other));
	other.machine[0] = 0;
	assert_false(process_gone(&other));
}

TEST(no_number_is_taken_for_another)
{
	struct process_id id;

	process_self(&id);
	id.pid |= UINT64_C(1) << 32;
	assert_false(process_gone(&id));
	id.pid = 0; /* to kill: the whole group */
	assert_false(process_gone(&id));
	id.pid = UINT64_MAX;
	assert_false(process_gone(&id));
}

TEST(what_the_environment_says_is_not_looked_at_where_the_kernel_tells)
{
	struct process_id before, after;

	process_self(&before);
	setenv("UMBRA_BOOT_ID", "00000000000000000000000000000001", 1);
	process_self(&after);
	assert_string_equal(before.machine, after.machine);
}

static bool knows_the_machine(const struct process_id *outside)
{
	struct process_id self;

	process_self(&self);
	return self.start && strcmp(self.machine, outside->machine) == 0;
}

TEST(a_service_knows_its_machine_by_what_systemd_gives_it)
{
	struct process_id self;
	char boot[40];

	process_self(&self);
	boot_id(boot);
	setenv("UMBRA_BOOT_ID", boot, 1);
	SANDBOX(knows_the_machine, &self);
}

static bool knows_nothing(const struct process_id *dead)
{
	static const char *const bad[] = {NULL, "", "-", "%b", "0123456789abcdef0123456789abcde",
		"0123456789abcdef0123456789abcdef0", "0123456789abcdef0123456789abcdeg"};
	struct process_id one, two;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (bad[i])
			setenv("UMBRA_BOOT_ID", bad[i], 1);
		process_self(&one);
		process_self(&two);
		if (one.machine[0] != '-' || strlen(one.machine) < 10 || !process_same(&one, &two) ||
			process_gone(dead) || process_gone(&one))
			return false;
		two = *dead;
		memcpy(two.machine, one.machine, sizeof(two.machine));
		if (process_gone(&two))
			return false;
	}
	return true;
}

TEST(a_service_that_does_not_know_its_machine_takes_nobody_for_gone)
{
	struct process_id dead;

	end(sleeper(&dead));
	SANDBOX(knows_nothing, &dead);
}

static bool sees_that_it_lives(const struct process_id *other)
{
	return !process_gone(other);
}

static bool sees_that_it_is_gone(const struct process_id *other)
{
	return process_gone(other);
}

/* Another user's process, as of an umbrad that root has started by hand, is not shown. */
TEST(who_is_hidden_is_not_gone)
{
	struct process_id other;
	char boot[40];
	pid_t pid = sleeper(&other);

	boot_id(boot);
	setenv("UMBRA_BOOT_ID", boot, 1);
	SANDBOX(sees_that_it_lives, &other);
	end(pid);
	SANDBOX(sees_that_it_is_gone, &other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_process_is_gone_when_it_has_ended, setup),
		cmocka_unit_test_setup(of_another_machine_nothing_is_known, setup),
		cmocka_unit_test_setup(no_number_is_taken_for_another, setup),
		cmocka_unit_test_setup(
			what_the_environment_says_is_not_looked_at_where_the_kernel_tells, setup),
		cmocka_unit_test_setup(a_service_knows_its_machine_by_what_systemd_gives_it, setup),
		cmocka_unit_test_setup(a_service_that_does_not_know_its_machine_takes_nobody_for_gone, setup),
		cmocka_unit_test_setup(who_is_hidden_is_not_gone, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
