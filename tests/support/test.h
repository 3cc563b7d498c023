/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every unit test begins with: cmocka and the headers that it wants before itself, and TEST().
 *
 *	TEST(writes_queue_at_a_closed_gate_and_go_on_in_order)
 *	{
 *		...
 *	}
 *
 * The name is a sentence that holds when the test passes; main() lists it with cmocka_unit_test().
 * UMBRA_TEST_CASE=NAME runs only the tests of that name; * and ? stand for any characters.
 */
#ifndef UMBRA_TEST_H
#define UMBRA_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

/* `state` is cmocka's: what the test's setup left there. */
#define TEST(name) static void name(__attribute__((unused)) void **state)

/* Before main(). A constructor in each file that has tests: the later ones change nothing. */
__attribute__((constructor)) static void test_only_case(void)
{
	const char *only = getenv("UMBRA_TEST_CASE");

	if (only)
		cmocka_set_test_filter(only);
}

#endif
