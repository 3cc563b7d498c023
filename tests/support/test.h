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
 */
#ifndef UMBRA_TEST_H
#define UMBRA_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

/* `state` is cmocka's: what the test's setup left there. */
#define TEST(name) static void name(__attribute__((unused)) void **state)

#endif
