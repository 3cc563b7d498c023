/* SPDX-License-Identifier: Apache-2.0 */
/* Loading a store's module: the one that fits is taken and uses this program's reactor; for each that does not, the words that tell
 * what to install. UMBRA_MODULES, from meson, is the folder of module_for_test.c's modules. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "array/reactor/reactor.h"
#include "array/store/module.h"
#include "tests/support/test.h"

static struct fault fault;

static const struct store_module *load(const char *name)
{
	memset(&fault, 0, sizeof(fault));
	return store_module_load(name, &fault);
}

TEST(a_module_that_fits_is_loaded)
{
	const struct store_module *m = load("good");
	struct store_module_options options = {.ceph_pool = "p", .array = "a"};

	assert_non_null(m);
	assert_string_equal(m->library, "libnothing 1");
	assert_int_equal(m->create(&options, &fault), -EEXIST);
	assert_string_equal(fault.text, "There is an array a in p.");
}

TEST(a_module_uses_the_program_s_reactor)
{
	const struct store_module *m = load("good");
	struct store_module_options options = {0};
	struct reactor *reactor;
	struct store *store;

	assert_non_null(m);
	assert_int_equal(reactor_create(&reactor, NULL), 0);
	assert_int_equal(m->open(&options, reactor, &store, &fault), 0);
	assert_int_equal(reactor_run(reactor), 0); /* ends, for the module has stopped it */
	reactor_destroy(reactor);
}

TEST(a_module_that_is_not_there_names_its_package)
{
	assert_null(load("rbd-that-is-not-there"));
	assert_int_equal(fault.err, -ENOENT);
	assert_non_null(strstr(fault.text, "install the package umbra-rbd-that-is-not-there"));
}

TEST(a_module_of_another_version_is_refused)
{
	static const char *const names[] = {"layout", "umbra", "symbol", "name"};

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		assert_null(load(names[i]));
		assert_int_equal(fault.err, -ELIBBAD);
		assert_non_null(strstr(fault.text, "of the same version"));
		assert_non_null(strstr(fault.text, "(" UMBRA_VERSION ")"));
	}
}

TEST(what_is_no_module_says_what_the_loader_says)
{
	char folder[] = "/tmp/umbra-module-XXXXXX", path[64], *given = strdup(getenv("UMBRA_MODULES"));

	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/umbra-store-broken.so", folder);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	fputs("no ELF", file);
	fclose(file);
	setenv("UMBRA_MODULES", folder, 1);
	assert_null(load("broken"));
	assert_int_equal(fault.err, -ELIBACC);
	assert_non_null(strstr(fault.text, "cannot be loaded ("));
	assert_non_null(strstr(fault.text, "install the package umbra-broken anew"));
	assert_null(load("good")); /* looked for there only */
	assert_int_equal(fault.err, -ENOENT);
	setenv("UMBRA_MODULES", given, 1);
	unlink(path);
	rmdir(folder);
	free(given);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_module_that_fits_is_loaded),
		cmocka_unit_test(a_module_uses_the_program_s_reactor),
		cmocka_unit_test(a_module_that_is_not_there_names_its_package),
		cmocka_unit_test(a_module_of_another_version_is_refused),
		cmocka_unit_test(what_is_no_module_says_what_the_loader_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
