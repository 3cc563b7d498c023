/* SPDX-License-Identifier: Apache-2.0 */
/* The suite over the pool, on the real file system. */
#include <string.h>
#include "array/store/pool/public.h"
#include "tests/unit/store/suite.h"

#define PATH "UMBRA_TEST_SUITE_PATH" /* in the environment, for the processes that are killed */

static struct pool_options options(void)
{
	return (struct pool_options){.path = getenv(PATH), .capacity_bytes = UINT64_C(512) << 20};
}

static void begin(void)
{
	char path[] = "/tmp/umbra-suite-XXXXXX";

	SUITE_CHECK(mkdtemp(path) && setenv(PATH, path, 1) == 0);
	struct pool_options o = options();
	SUITE_CHECK(pool_create(&o, NULL) == 0);
}

static void end(void)
{
	struct pool_options o = options();
	char command[128];

	SUITE_CHECK(pool_check(&o, false, NULL, NULL, NULL) == 0);
	snprintf(command, sizeof(command), "rm -r -- %s", o.path);
	SUITE_CHECK(system(command) == 0);
}

static struct store *open_it(struct reactor *r)
{
	struct pool_options o = options();
	struct store *s;

	SUITE_CHECK(pool_open(&o, r, &s, NULL) == 0);
	return s;
}

const struct suite_store suite_store = {.name = "pool",
	.survives = true,
	.begin = begin,
	.end = end,
	.open = open_it,
	.rounds = 4,
	.kills = 10};
