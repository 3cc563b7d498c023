/* SPDX-License-Identifier: Apache-2.0 */
/* The suite over images in Ceph. In the end nothing of the array may be left but what its catalogue names. */
#include <string.h>
#include "array/store/module.h"
#include "tests/unit/store/suite.h"

static void notice(void *arg, enum store_notice level, const char *text)
{
	(void)arg, (void)level;
	fprintf(stderr, "notice: %s\n", text);
}

static void fenced(void *arg, const char *reason)
{
	(void)arg;
	fprintf(stderr, "fenced: %s\n", reason);
	abort();
}

static struct store_module_options options(void)
{
	return (struct store_module_options){.ceph_pool = getenv("UMBRA_TEST_CEPH_POOL"),
		.array = "suite",
		.notice = notice,
		.fenced = fenced};
}

static void begin(void)
{
	struct store_module_options o = options();
	struct fault f = {0};

	SUITE_CHECK(o.ceph_pool);
	if (umbra_store_module.create(&o, &f)) {
		fprintf(stderr, "%s\n", f.text);
		abort();
	}
}

/* No image, in the trash either, and no tie that is being cut. */
static bool empty(void)
{
	static unsigned asked;
	char command[300];

	if (asked++ % 16) /* it costs some processes */
		return false;
	snprintf(command, sizeof(command),
		"! (rbd -p %s ls; rbd -p %s trash ls -a; rados -p %s listomapkeys umbra.suite) | grep -q -e 'suite\\.' -e ^flat",
		options().ceph_pool, options().ceph_pool, options().ceph_pool);
	return system(command) == 0;
}

static void end(void)
{
	char command[200];

	snprintf(command, sizeof(command), "rados -p %s rm umbra.suite", options().ceph_pool);
	SUITE_CHECK(system(command) == 0);
}

static struct store *open_it(struct reactor *r)
{
	struct store_module_options o = options();
	struct fault f = {0};
	struct store *s;

	if (umbra_store_module.open(&o, r, &s, &f)) {
		fprintf(stderr, "%s\n", f.text);
		abort();
	}
	return s;
}

const struct suite_store suite_store = {.name = "rbd",
	.survives = true,
	.empty = empty,
	.begin = begin,
	.end = end,
	.open = open_it,
	.rounds = 3,
	.kills = 5};
