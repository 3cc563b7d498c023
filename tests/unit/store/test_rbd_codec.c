/* SPDX-License-Identifier: Apache-2.0 */
/* Names, records and errnos of the store in Ceph: what an administrator and the next umbrad find there. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "array/store/rbd/rbd.h"
#include "tests/support/test.h"

TEST(an_image_is_named_after_its_array_and_disk_and_only_such_a_name_is_the_arrays)
{
	static const char *const others[] = {"a.lun-", "a.lun-x", "a.lun-1x", "a.lun-01", "a.lun-1.",
		"a.lun-1.2.3", "a.lun-1.0", "a.lun-0", "a.lun-1.lun-2", "b.lun-1", "a.lun-+1", "a.lun- 1",
		"a.lun-18446744073709551616", "a.lun-1-copy", "aa.lun-1", "lun-1", ""};
	char name[RBD_IMAGE_NAME_BYTES], longest[STORE_MODULE_ARRAY_MAX_BYTES + 1];
	uint64_t id, copy;

	rbd_image_name(name, "a", 17, 0);
	assert_string_equal(name, "a.lun-17");
	assert_true(rbd_image_name_parse(name, "a", &id, &copy) && id == 17 && copy == 0);
	rbd_image_name(name, "a", 17, 23);
	assert_string_equal(name, "a.lun-17.23");
	assert_true(rbd_image_name_parse(name, "a", &id, &copy) && id == 17 && copy == 23);
	assert_int_equal(rbd_image_data("a", name), 23);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		assert_false(rbd_image_name_parse(others[i], "a", &id, &copy));
	/* An array whose name looks like an image of another one. */
	rbd_image_name(name, "a.lun-1", 5, 0);
	assert_false(rbd_image_name_parse(name, "a", &id, &copy));
	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = 0;
	rbd_image_name(name, longest, UINT64_MAX, UINT64_MAX);
	assert_true(
		rbd_image_name_parse(name, longest, &id, &copy) && id == UINT64_MAX && copy == UINT64_MAX);
}

TEST(a_disk_record_is_read_back_and_nothing_else_is_taken_for_one)
{
	static const char *const bad_values[] = {"", "512", "512 ", " a.lun-1", "x a.lun-1", "513 a.lun-1",
		"-512 a.lun-1", "0512 a.lun-1", "512  "};
	static const char *const bad_keys[] = {"disk.0000000000000000", "disk.00000000000000zz",
		"disk.000000000000001", "disk.00000000000000001", "dusk.0000000000000001",
		"disk.000000000000000A", "disk.-000000000000001"};
	char key[32], value[160], image[RBD_IMAGE_NAME_BYTES];
	uint64_t id, size_bytes;

	rbd_disk_key(key, 255);
	assert_string_equal(key, "disk.00000000000000ff");
	assert_true(rbd_disk_key_parse(key, strlen(key), &id) && id == 255);
	rbd_disk_value(value, UINT64_C(1) << 40, "a.lun-255");
	assert_string_equal(value, "1099511627776 a.lun-255");
	assert_true(rbd_disk_value_parse(value, strlen(value), &size_bytes, image));
	assert_true(size_bytes == UINT64_C(1) << 40);
	assert_string_equal(image, "a.lun-255");
	for (size_t i = 0; i + 1 < sizeof(bad_values) / sizeof(bad_values[0]); i++)
		assert_false(rbd_disk_value_parse(bad_values[i], strlen(bad_values[i]), &size_bytes, image));
	assert_false(rbd_disk_value_parse("512 a\0b", 7, &size_bytes, image));
	for (size_t i = 0; i < sizeof(bad_keys) / sizeof(bad_keys[0]); i++)
		assert_false(rbd_disk_key_parse(bad_keys[i], strlen(bad_keys[i]), &id));
}

/* As Ceph 16 answers: a clone of the snapshot 4 of 10a of the pool 3, and one of nothing. */
TEST(a_parent_is_read_as_the_class_tells_it_and_nothing_short_of_it_is)
{
	static const char clone[] = "\1\1\x1b\0\0\0\3\0\0\0\0\0\0\0\0\0\0\0\3\0\0\0"
				    "10a"
				    "\4\0\0\0\0\0\0\0",
			  none[] = "\1\1\x18\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\0"
				   "\xfe\xff\xff\xff\xff\xff\xff\xff",
			  all[] = "\1\0\0\x10\0\0\0\0\0";
	struct rbd_bytes b = {.len = sizeof(clone) - 1};
	struct rbd_parent p;
	uint64_t bytes;

	memcpy(b.data, clone, b.len);
	assert_true(rbd_parent_parse(&b, &p));
	assert_true(p.pool == 3 && p.snap == 4);
	assert_string_equal(p.id, "10a");
	assert_string_equal(p.space, "");
	for (b.len = 0; b.len < sizeof(clone) - 1; b.len++)
		assert_false(rbd_parent_parse(&b, &p));
	b.data[1] = 2; /* of a Ceph whose answers are others */
	assert_false(rbd_parent_parse(&b, &p));
	b.len = sizeof(none) - 1;
	memcpy(b.data, none, b.len);
	assert_true(rbd_parent_parse(&b, &p) && p.pool == -1);
	b.data[6] = 3, memset(b.data + 7, 0, 7); /* of an image without an id */
	assert_false(rbd_parent_parse(&b, &p));
	b.len = sizeof(all) - 1;
	memcpy(b.data, all, b.len);
	assert_true(rbd_overlap_parse(&b, &bytes) && bytes == 16 << 16);
	for (b.len = 0; b.len < sizeof(all) - 1; b.len++)
		assert_false(rbd_overlap_parse(&b, &bytes));
	b.data[0] = 0;
	b.len = 1;
	assert_true(rbd_overlap_parse(&b, &bytes) && bytes == 0);
}

/* As Ceph 16 answers: 5 objects, of which the second and the last are there; and 2^22 bytes each, 20 MiB. */
TEST(a_map_and_a_size_are_read_as_the_class_tells_them_and_nothing_short_of_them_is)
{
	static const char map[] = "\x0e\0\0\0\1\1\x08\0\0\0\5\0\0\0\0\0\0\0\x10\x40",
			  of_future[] = "\x0e\0\0\0\2\2\x08\0\0\0\5\0\0\0\0\0\0\0",
			  longer[] = "\x0f\0\0\0\2\1\x09\0\0\0\5\0\0\0\0\0\0\0\7\x10\x40",
			  size[] = "\x16\0\0\x40\1\0\0\0\0";
	struct rbd_bytes b = {.len = sizeof(size) - 1};
	uint64_t objects, object_bytes, bytes;
	size_t at;

	assert_true(rbd_map_parse(map, sizeof(map) - 1, &objects, &at) && objects == 5 && at == 18);
	for (size_t len = 0; len < 18; len++)
		assert_false(rbd_map_parse(map, len, &objects, &at));
	assert_false(rbd_map_parse(of_future, sizeof(of_future) - 1, &objects, &at));
	assert_true(rbd_map_parse(longer, sizeof(longer) - 1, &objects, &at) && objects == 5 && at == 19);
	memcpy(b.data, size, b.len);
	assert_true(
		rbd_size_parse(&b, &object_bytes, &bytes) && object_bytes == 4 << 20 && bytes == 20 << 20);
	for (b.len = 0; b.len < sizeof(size) - 1; b.len++)
		assert_false(rbd_size_parse(&b, &object_bytes, &bytes));
}

TEST(an_images_objects_are_named_as_ceph_names_them_and_its_id_is_read_or_nothing_is)
{
	char object[RBD_OBJECT_BYTES], id[RBD_ID_BYTES];
	struct rbd_bytes b = {.len = 0};

	rbd_id_object(object, "a.lun-1");
	assert_string_equal(object, "rbd_id.a.lun-1");
	rbd_header_object(object, "1013fa99dd53");
	assert_string_equal(object, "rbd_header.1013fa99dd53");
	rbd_map_object(object, "1013fa99dd53", RBD_HEAD);
	assert_string_equal(object, "rbd_object_map.1013fa99dd53");
	rbd_map_object(object, "1013fa99dd53", 27);
	assert_string_equal(object, "rbd_object_map.1013fa99dd53.000000000000001b");

	rbd_put_text(&b, "1013fa99dd53");
	assert_true(rbd_id_parse(&b, id));
	assert_string_equal(id, "1013fa99dd53");
	while (b.len--)
		assert_false(rbd_id_parse(&b, id));
	b.len = 0;
	rbd_put_text(&b, "");
	assert_false(rbd_id_parse(&b, id));
	b.len = 0;
	rbd_put_u32(&b, RBD_ID_BYTES); /* none is so long */
	memset(b.data + b.len, 'a', RBD_ID_BYTES);
	b.len += RBD_ID_BYTES;
	assert_false(rbd_id_parse(&b, id));
}

TEST(records_of_two_tables_never_share_a_key_and_any_bytes_are_a_key)
{
	char one[RBD_KEY_BYTES], two[RBD_KEY_BYTES];
	uint8_t longest[STORE_KEY_MAX_BYTES];

	memset(longest, 0, sizeof(longest));
	assert_int_equal(rbd_record_key(one, STORE_TABLE_LUN, "a\0b", 3), 5);
	assert_memory_equal(one, "2.a\0b", 5);
	assert_int_equal(rbd_record_key(two, STORE_TABLE_HOST, "a\0b", 3), 5);
	assert_memory_not_equal(one, two, 5);
	assert_true(rbd_record_key(one, STORE_TABLE_RESERVATION, longest, sizeof(longest)) <= RBD_KEY_BYTES);
}

TEST(an_owner_is_read_back_and_a_half_one_is_refused)
{
	struct rbd_owner o = {.addresses = "127.0.0.1:0/123",
		.process.machine = "boot:pid:[1]",
		.process.pid = 42,
		.process.start = 77,
		.host = "a host"};
	struct rbd_owner back;
	char text[512];

	rbd_owner_format(text, &o);
	assert_string_equal(text, "127.0.0.1:0/123|boot:pid:[1] 42 77|a host");
	assert_true(rbd_owner_parse(text, &back));
	assert_memory_equal(&o, &back, sizeof(o));
	assert_false(rbd_owner_parse("", &back));
	assert_false(rbd_owner_parse("127.0.0.1:0/123", &back));
	assert_false(rbd_owner_parse("127.0.0.1:0/123|boot 42", &back));
	assert_false(rbd_owner_parse("127.0.0.1:0/123|boot 42 77", &back));
}

TEST(each_errno_of_cephs_has_its_meaning)
{
	assert_int_equal(rbd_err(0), 0);
	assert_int_equal(rbd_err(4096), 4096);
	assert_int_equal(rbd_err(-ESHUTDOWN), -ESHUTDOWN); /* locked out */
	assert_int_equal(rbd_err(-ECANCELED), -ESHUTDOWN); /* another epoch */
	assert_int_equal(rbd_err(-ENOSPC), -ENOSPC);
	assert_int_equal(rbd_err(-EDQUOT), -ENOSPC);
	assert_int_equal(rbd_err(-EILSEQ), -EILSEQ);
	assert_int_equal(rbd_err(-EROFS), -EROFS);
	assert_int_equal(rbd_err(-ETIMEDOUT), -EAGAIN);
	assert_int_equal(rbd_err(-EPERM), -EAGAIN); /* its rights were taken away, and may come back */
	assert_int_equal(rbd_err(-EACCES), -EAGAIN);
	assert_int_equal(rbd_err(-ENOENT), -EIO); /* somebody has deleted the image */
	assert_int_equal(rbd_err(-EINVAL), -EIO);
}

TEST(what_goes_wrong_at_the_opening_says_what_to_do)
{
	struct store_module_options o = {.ceph_pool = "vms", .client_id = "umbra"};
	struct fault f = {0};

	assert_int_equal(rbd_open_fault(&f, -EACCES, &o, "connect"), -EACCES);
	assert_non_null(strstr(f.text, "client.umbra"));
	assert_non_null(strstr(f.text, "profile rbd pool=vms"));
	assert_int_equal(rbd_open_fault(&f, -ETIMEDOUT, &o, "connect"), -ETIMEDOUT);
	assert_non_null(strstr(f.text, "monitors"));
	assert_int_equal(rbd_open_fault(&f, -EDQUOT, &o, "connect"), -ENOSPC);
	assert_non_null(strstr(f.text, "quota"));
	assert_int_equal(rbd_open_fault(NULL, -EIO, &o, "connect"), -EIO);
}

TEST(clients_of_one_host_are_told_by_their_address)
{
	assert_true(rbd_address_same_host("192.0.2.1:0/17", "192.0.2.1:0/3820500335"));
	assert_true(rbd_address_same_host("[2001:db8::1]:0/17", "[2001:db8::1]:0/18"));
	assert_false(rbd_address_same_host("192.0.2.1:0/17", "192.0.2.11:0/17"));
	assert_false(rbd_address_same_host("192.0.2.11:0/17", "192.0.2.1:0/17"));
	assert_false(rbd_address_same_host("", ""));
	assert_false(rbd_address_same_host("192.0.2.1", "192.0.2.1"));
	assert_false(rbd_address_same_host("192.0.2.1:0/17", ""));
}

TEST(a_tie_is_read_back_and_what_an_umbrad_before_this_one_said_of_one)
{
	static const char *const wrong[] = {"a ", "a 1", "a 1 2", "a 1 2 ", "a 1 2 b", "a x 2 b ",
		"a 1 -2 b ", "a 01 2 b ", " 1 2 b ", "a 1 9223372036854775808 b ", "a 1 2  b"};
	struct rbd_tie t = {.id = "10ab",
			       .parent = {.pool = 7, .snap = 18, .id = "20cd", .space = "two words"}},
		       back;
	char text[RBD_TIE_BYTES];

	rbd_tie_format(text, &t);
	assert_string_equal(text, "10ab 18 7 20cd two words");
	assert_true(rbd_tie_parse(text, strlen(text), &back));
	assert_string_equal(back.id, t.id);
	assert_string_equal(back.parent.id, t.parent.id);
	assert_string_equal(back.parent.space, t.parent.space);
	assert_true(back.parent.pool == 7 && back.parent.snap == 18);
	t.parent.space[0] = 0;
	rbd_tie_format(text, &t);
	assert_true(rbd_tie_parse(text, strlen(text), &back));
	assert_string_equal(back.parent.space, "");
	assert_true(rbd_tie_parse("10ab", 4, &back));
	assert_string_equal(back.id, "10ab");
	assert_int_equal(back.parent.pool, -1);
	assert_true(rbd_tie_parse("", 0, &back));
	assert_string_equal(back.id, "");
	assert_int_equal(back.parent.pool, -1);
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_false(rbd_tie_parse(wrong[i], strlen(wrong[i]), &back));
	assert_false(rbd_tie_parse("a\0b", 3, &back));
	memset(text, 'a', sizeof(text));
	for (unsigned len = RBD_ID_BYTES; len <= sizeof(text); len++)
		assert_false(rbd_tie_parse(text, len, &back));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			an_image_is_named_after_its_array_and_disk_and_only_such_a_name_is_the_arrays),
		cmocka_unit_test(a_disk_record_is_read_back_and_nothing_else_is_taken_for_one),
		cmocka_unit_test(a_parent_is_read_as_the_class_tells_it_and_nothing_short_of_it_is),
		cmocka_unit_test(
			a_map_and_a_size_are_read_as_the_class_tells_them_and_nothing_short_of_them_is),
		cmocka_unit_test(
			an_images_objects_are_named_as_ceph_names_them_and_its_id_is_read_or_nothing_is),
		cmocka_unit_test(records_of_two_tables_never_share_a_key_and_any_bytes_are_a_key),
		cmocka_unit_test(an_owner_is_read_back_and_a_half_one_is_refused),
		cmocka_unit_test(each_errno_of_cephs_has_its_meaning),
		cmocka_unit_test(what_goes_wrong_at_the_opening_says_what_to_do),
		cmocka_unit_test(a_tie_is_read_back_and_what_an_umbrad_before_this_one_said_of_one),
		cmocka_unit_test(clients_of_one_host_are_told_by_their_address),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
