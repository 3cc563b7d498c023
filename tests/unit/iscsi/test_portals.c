/* SPDX-License-Identifier: Apache-2.0 */
/* Portals whose address the machine does not have, or that another program has. */
#include <string.h>
#include "array/iscsi/internal.h"
#include "tests/support/test.h"
#include "tests/unit/iscsi/harness.h"

static struct iscsi_portal portals[] = {
	{.address = "127.0.0.1"}, {.address = "192.0.2.77"}, {.address = "2001:db8::77"}};

static int start(void **state)
{
	(void)state;
	harness_start(&(struct iscsi_options){.portals = portals, .portal_count = 3});
	return 0;
}

static int stop(void **state)
{
	(void)state;
	harness_stop();
	return 0;
}

TEST(an_absent_address_does_not_stop_the_array)
{
	struct raw *r = raw_session("");

	assert_true(stub_saw_event("192.0.2.77: this machine has no such address"));
	assert_true(stub_saw_event("2001:db8::77: this machine has no such address"));
	raw_test_unit_ready(r);
	raw_close(r);
}

TEST(a_port_that_another_has_does)
{
	struct iscsi_portal taken = {.address = "127.0.0.1", .port = iscsi_server_port(harness_server(), 0)};
	struct iscsi_options o = {.reactor = harness_server()->reactor,
		.target_name = "iqn.2026-01.test:second",
		.portals = &taken,
		.portal_count = 1};
	struct iscsi_server *second = NULL;
	struct fault fault = {0};

	assert_true(iscsi_server_create(&o, &second, &fault) < 0);
	assert_non_null(strstr(fault.text, "cannot be opened"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(an_absent_address_does_not_stop_the_array, start, stop),
		cmocka_unit_test_setup_teardown(a_port_that_another_has_does, start, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
