/* SPDX-License-Identifier: Apache-2.0 */
/* The limits of the model: up to each, and one past it, with a word on which it is. */
#include <stdio.h>
#include "tests/unit/model/harness.h"

#define IQN_A "iqn.1991-05.com.microsoft:a"
#define IQN_B "iqn.1991-05.com.microsoft:b"

/* No Windows: that sees numbers up to 254 only. */
#define IQN_MANY "iqn.2026-01.test:many"

static int lun(struct harness *h, unsigned n, uint64_t size_bytes, const char *says)
{
	char name[32];
	struct waiter w;
	int err;

	snprintf(name, sizeof(name), "lun%u", n);
	lun_create(h->array, name, size_bytes, waiter_init(&w));
	err = waiter_wait(h, &w);
	if (err)
		assert_non_null(strstr(w.call.fault.text, says));
	return err;
}

static int host(struct harness *h, unsigned n, const char *says)
{
	static struct host_record r;
	struct waiter w;
	int err;

	memset(&r, 0, sizeof(r));
	snprintf(r.name, sizeof(r.name), "host%u", n);
	r.iqn_count = 1;
	snprintf(r.iqns[0], sizeof(r.iqns[0]), "iqn.2026-01.test:host%u", n);
	r.import = HOST_IMPORT_OWN;
	host_add(h->array, &r, waiter_init(&w));
	err = waiter_wait(h, &w);
	if (err)
		assert_non_null(strstr(w.call.fault.text, says));
	return err;
}

static int map(struct harness *h, struct host *to, struct lun *l, const char *says)
{
	struct waiter w;
	int err;

	map_add(to, l, 0, 0, NULL, waiter_init(&w));
	err = waiter_wait(h, &w);
	if (err)
		assert_non_null(strstr(w.call.fault.text, says));
	return err;
}

static unsigned mapped(const struct host *a)
{
	unsigned count = 0;

	for (uint32_t number = map_next(a, 0, NULL); number; number = map_next(a, number, NULL))
		count++;
	return count;
}

/* 16,384 LUNs, all that have a number mapped to one host. */
TEST(all_luns)
{
	struct harness *h = *state;
	struct host *a = make_host(h, "a", IQN_MANY);
	struct lun *l = NULL;

	for (unsigned i = 0; i < 16384; i++)
		assert_int_equal(lun(h, i, MIB, ""), 0);
	assert_int_equal(lun(h, 16384, MIB, "luns_max"), -EMLINK);
	for (unsigned i = 0; i < ARRAY_LUN_NUMBER_MAX; i++)
		assert_int_equal(map(h, a, l = lun_next(h->array, l), ""), 0);
	assert_int_equal(map(h, a, lun_next(h->array, l), "host_luns_max"), -EMLINK);
	assert_int_equal(mapped(a), ARRAY_LUN_NUMBER_MAX);
	assert_string_equal(map_lun(a, 1024)->name, "lun1023");
	assert_int_equal(do_write(h, map_lun(a, ARRAY_LUN_NUMBER_MAX), 2047, 5), 0);
}

/* In the order in which they were made, though they come back in the order of their ids. */
TEST(many_luns_come_back)
{
	struct harness *h = *state;
	struct host *a = make_host(h, "a", IQN_MANY);
	char name[32];
	struct lun *l = NULL;

	for (unsigned i = 0; i < 1024; i++) {
		assert_int_equal(lun(h, i, MIB, ""), 0);
		assert_int_equal(map(h, a, l = lun_next(h->array, l), ""), 0);
	}
	harness_reopen(h);
	assert_int_equal(mapped(host_find(h->array, "a")), 1024);
	l = NULL;
	for (unsigned i = 0; i < 1024; i++) {
		l = lun_next(h->array, l);
		snprintf(name, sizeof(name), "lun%u", i);
		assert_string_equal(l->name, name);
		assert_ptr_equal(map_lun(host_find(h->array, "a"), i + 1), l);
	}
}

TEST(all_hosts)
{
	struct harness *h = *state;

	for (unsigned i = 0; i < 4096; i++)
		assert_int_equal(host(h, i, ""), 0);
	assert_int_equal(host(h, 4096, "hosts_max"), -EMLINK);
	assert_non_null(host_find_iqn(h->array, "iqn.2026-01.test:host4095"));
}

#define MANY_HOSTS 4096u
#define MANY_LUNS  32u /* to each host: 131,072 mappings */

static struct host *many_host(struct harness *h, unsigned i)
{
	char name[32];

	snprintf(name, sizeof(name), "host%u", i);
	return host_find(h->array, name);
}

static struct lun *many_lun(struct harness *h, unsigned i)
{
	char name[32];

	snprintf(name, sizeof(name), "lun%u", i);
	return lun_find_name(h->array, name);
}

/* And one LUN that nobody sees. */
static void map_all(struct harness *h)
{
	for (unsigned j = 0; j <= MANY_LUNS; j++)
		assert_int_equal(lun(h, j, MIB, ""), 0);
	for (unsigned i = 0; i < MANY_HOSTS; i++)
		assert_int_equal(host(h, i, ""), 0);
	for (unsigned i = 0; i < MANY_HOSTS; i++)
		for (unsigned j = 0; j < MANY_LUNS; j++)
			assert_int_equal(map(h, many_host(h, i), many_lun(h, j), ""), 0);
}

/* Every mapping is found from both sides, and another one is refused. */
static void mappings_full(struct harness *h)
{
	assert_int_equal(map(h, many_host(h, 7), many_lun(h, MANY_LUNS), "its 131072 mappings"), -EMLINK);
	for (unsigned j = 0; j < MANY_LUNS; j++)
		assert_int_equal(many_lun(h, j)->mappings, MANY_HOSTS);
	for (unsigned i = 0; i < MANY_HOSTS; i++) {
		struct host *to = many_host(h, i);

		assert_int_equal(mapped(to), MANY_LUNS);
		for (unsigned j = 0; j < MANY_LUNS; j++)
			assert_int_equal(map_number(to, many_lun(h, j)), j + 1);
		assert_int_equal(map_number(to, many_lun(h, MANY_LUNS)), 0);
	}
}

/* 131,072 mappings, thousands on every LUN. */
TEST(all_mappings)
{
	struct harness *h = *state;
	struct lun *one_more;
	struct waiter w;

	map_all(h);
	mappings_full(h);
	harness_reopen(h);
	mappings_full(h);
	one_more = many_lun(h, MANY_LUNS);
	assert_int_equal(map(h, many_host(h, 9), many_lun(h, 3), ""), 0); /* the same again is no other one */
	assert_int_equal(do_unmap(h, many_host(h, 9), many_lun(h, 3)), 0);
	assert_int_equal(map(h, many_host(h, 7), one_more, ""), 0);
	assert_int_equal(map(h, many_host(h, 8), one_more, "its 131072 mappings"), -EMLINK);
	assert_int_equal(do_delete(h, many_lun(h, 0)), -EBUSY);
	map_remove_all(many_lun(h, 0), NULL, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), 0);
	assert_int_equal(do_delete(h, many_lun(h, 0)), 0);
	assert_int_equal(map(h, many_host(h, 8), one_more, ""), 0);
}

/* One by one they go, too, and their hosts. */
TEST(all_mappings_go)
{
	struct harness *h = *state;
	struct waiter w;

	map_all(h);
	for (unsigned i = 0; i < MANY_HOSTS; i++) {
		struct host *from = many_host(h, (i * 5 + 11) % MANY_HOSTS); /* not in the order of mapping */

		for (unsigned j = 0; j < MANY_LUNS; j++)
			assert_int_equal(do_unmap(h, from, many_lun(h, j)), 0);
		assert_int_equal(host_mappings(from), 0);
		host_delete(from, waiter_init(&w));
		assert_int_equal(waiter_wait(h, &w), 0);
	}
	for (unsigned j = 0; j <= MANY_LUNS; j++)
		assert_int_equal(do_delete(h, many_lun(h, j)), 0);
	assert_int_equal(memstore_records(h->memory, STORE_TABLE_MAP), 0);
}

TEST(configured_ones)
{
	struct harness *h = *state;
	struct waiter w;
	struct lun *l[3];
	struct host *a;

	harness_close(h);
	h->options.luns_max = 4;
	h->options.hosts_max = 2;
	h->options.host_luns_max = 2;
	h->options.lun_max_bytes = 4 * MIB;
	harness_open(h);
	for (unsigned i = 0; i < 3; i++)
		l[i] = make_lun(h, (const char *[]){"l0", "l1", "l2"}[i], 4 * MIB);
	assert_int_equal(lun(h, 3, 4 * MIB + 512, "lun_size_max"), -EINVAL);
	lun_resize(l[0], 5 * MIB, waiter_init(&w));
	assert_int_equal(waiter_wait(h, &w), -EINVAL);
	assert_int_equal(lun(h, 3, MIB, ""), 0);
	assert_int_equal(lun(h, 4, MIB, "luns_max"), -EMLINK);
	a = make_host(h, "a", IQN_A);
	make_host(h, "b", IQN_B);
	assert_int_equal(host(h, 3, "hosts_max"), -EMLINK);
	assert_int_equal(map(h, a, l[0], ""), 0);
	assert_int_equal(map(h, a, l[1], ""), 0);
	assert_int_equal(map(h, a, l[2], "host_luns_max"), -EMLINK);
	assert_int_equal(map(h, a, l[1], ""), 0); /* the same again is no other one */
	assert_int_equal(do_unmap(h, a, l[0]), 0);
	assert_int_equal(map(h, a, l[2], ""), 0);
}

/* One LUN with more copies than the default allows, each in a set of its own with a name. */
TEST(thousands_of_copies_of_one_lun)
{
	enum {
		COPIES = 4200
	};
	struct harness *h = *state;
	struct lun *l;
	char name[32];

	harness_close(h);
	h->options.luns_max = 2 * COPIES;
	h->options.sets_max = COPIES;
	harness_open(h);
	l = make_lun(h, "l", MIB);
	for (unsigned i = 0; i < COPIES; i++) {
		make_armed(h, set_id(i), "", &l, 1, NULL);
		snprintf(name, sizeof(name), "s%u", i);
		assert_int_equal(set_rename(set_find(h->array, set_id(i), ""), name, NULL), 0);
		assert_int_equal(do_commit(h, set_id(i), "", 0), 0);
		assert_int_equal(do_keep(h, set_id(i), ""), 0);
	}
	assert_int_equal(set_begin(h->array, set_id(COPIES), "", NULL), -EMLINK);
	harness_reopen(h);
	for (unsigned i = 0; i < COPIES; i += 100) {
		snprintf(name, sizeof(name), "s%u", i);
		assert_ptr_equal(set_find_name(h->array, name), set_find(h->array, set_id(i), ""));
	}
	assert_int_equal(do_set_delete(h, set_id(77)), 0);
	assert_null(set_find_name(h->array, "s77"));
	assert_int_equal(set_begin(h->array, set_id(COPIES), "", NULL), 0);
	assert_int_equal(set_rename(set_find(h->array, set_id(COPIES), ""), "s77", NULL), 0);
}

TEST(the_largest_lun)
{
	struct harness *h = *state;
	struct lun *l;

	assert_int_equal(lun(h, 0, ARRAY_LUN_MAX_BYTES, ""), 0);
	l = lun_find_name(h->array, "lun0");
	assert_int_equal(l->size_bytes, UINT64_C(256) << 40);
	assert_int_equal(do_write(h, l, ARRAY_LUN_MAX_BYTES / 512 - 1, 7), 0);
	assert_int_equal(do_read(h, l, ARRAY_LUN_MAX_BYTES / 512 - 1), 7);
	assert_int_equal(do_read(h, l, 0), 0);
	assert_int_equal(do_write(h, l, ARRAY_LUN_MAX_BYTES / 512, 7), -ERANGE);
	assert_int_equal(lun(h, 1, ARRAY_LUN_MAX_BYTES + 512, "256 TiB"), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(all_luns, harness_setup, harness_teardown),
		cmocka_unit_test_setup_teardown(many_luns_come_back, harness_setup, harness_teardown),
		cmocka_unit_test_setup_teardown(all_hosts, harness_setup, harness_teardown),
		cmocka_unit_test_setup_teardown(all_mappings, harness_setup, harness_teardown),
		cmocka_unit_test_setup_teardown(all_mappings_go, harness_setup, harness_teardown),
		cmocka_unit_test_setup_teardown(configured_ones, harness_setup, harness_teardown),
		cmocka_unit_test_setup_teardown(the_largest_lun, harness_setup, harness_teardown),
		cmocka_unit_test_setup_teardown(
			thousands_of_copies_of_one_lun, harness_setup, harness_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
