/* SPDX-License-Identifier: Apache-2.0 */
/* Third-party copies: EXTENDED COPY, tokens (ODX), what can be asked of them, and everything that may end them. */
#include "tests/unit/scsi/client.h"

#include <errno.h>
#include <string.h>
#include "array/scsi/bounds.h"
#include "array/scsi/copy.h"
#include "array/scsi/reserve.h"
#include "array/util/bytes.h"
#include "proto/identity.h"

#define BLOCKS (FAKE_LUN_BYTES / 512)

static uint8_t list[4096];

/* ---- commands ------------------------------------------------------------------------------------------ */

static size_t ranges(uint8_t *at, const struct scsi_range *r, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		memset(at + 16 * i, 0, 16);
		put_be64(at + 16 * i, r[i].lba);
		put_be32(at + 16 * i + 8, r[i].blocks);
	}
	return 16 * count;
}

static void out_cdb(uint8_t cdb[16], uint8_t action, uint32_t id, size_t len)
{
	memset(cdb, 0, 16);
	cdb[0] = COPY_OUT;
	cdb[1] = action;
	put_be32(cdb + 6, id);
	put_be32(cdb + 10, (uint32_t)len);
}

static size_t populate_list(uint8_t flags, uint32_t timeout_s, const struct scsi_range *r, unsigned count)
{
	size_t len = 16 + ranges(list + 16, r, count);

	memset(list, 0, 16);
	put_be16(list, (uint16_t)(len - 2));
	list[2] = flags;
	put_be32(list + 4, timeout_s);
	put_be16(list + 14, (uint16_t)(16 * count));
	return len;
}

static uint8_t populate(struct client *c, unsigned lun, uint32_t id, uint8_t flags, uint32_t timeout_s,
	const struct scsi_range *r, unsigned count)
{
	size_t len = populate_list(flags, timeout_s, r, count);
	uint8_t cdb[16];

	out_cdb(cdb, COPY_POPULATE, id, len);
	return client_run(c, lun, cdb, sizeof(cdb), list, len);
}

static size_t write_list(
	uint8_t flags, uint64_t offset, const uint8_t *token, const struct scsi_range *r, unsigned count)
{
	size_t len = 536 + ranges(list + 536, r, count);

	memset(list, 0, 536);
	put_be16(list, (uint16_t)(len - 2));
	list[2] = flags;
	put_be64(list + 8, offset);
	memcpy(list + 16, token, 512);
	put_be16(list + 534, (uint16_t)(16 * count));
	return len;
}

static uint8_t write_token(struct client *c, unsigned lun, uint32_t id, uint8_t flags, uint64_t offset,
	const uint8_t *token, const struct scsi_range *r, unsigned count)
{
	size_t len = write_list(flags, offset, token, r, count);
	uint8_t cdb[16];

	out_cdb(cdb, COPY_WRITE, id, len);
	return client_run(c, lun, cdb, sizeof(cdb), list, len);
}

static uint8_t information(struct client *c, unsigned lun, uint32_t id)
{
	uint8_t cdb[16] = {COPY_IN, COPY_TOKENS};

	put_be32(cdb + 2, id);
	put_be32(cdb + 10, 1024);
	return client_run(c, lun, cdb, sizeof(cdb), NULL, 0);
}

/* state, transferred blocks; the token is to be there or not */
static void expect_information(
	struct client *c, unsigned lun, uint32_t id, uint8_t action, uint8_t state, uint64_t blocks)
{
	const uint8_t *d;

	expect_good(information(c, lun, id));
	d = test_last.data;
	assert_int_equal(get_be32(d), test_last.len - 4);
	assert_int_equal(d[4], action);
	assert_int_equal(d[5], state);
	assert_int_equal(d[15], 0xF1);
	assert_int_equal(get_be64(d + 16), blocks);
	unsigned at = 32 + d[13];
	bool token = action == COPY_POPULATE && state == 1;

	assert_true(d[14] <= d[13]);
	assert_int_equal(get_be32(d + at), token ? 514 : 0);
	assert_int_equal(test_last.len, at + 4 + (token ? 514 : 0));
}

static void make_token(
	struct client *c, unsigned lun, const struct scsi_range *r, unsigned count, uint8_t token[512])
{
	uint64_t blocks = 0;

	for (unsigned i = 0; i < count; i++)
		blocks += r[i].blocks;
	expect_good(populate(c, lun, 77, 0, 0, r, count));
	expect_information(c, lun, 77, COPY_POPULATE, 1, blocks);
	memcpy(token, test_last.data + 38, 512);
}

static uint8_t *block(unsigned lun, uint64_t lba)
{
	fake_luns[lun - 1].clean = false;
	return fake_luns[lun - 1].data + lba * 512;
}

static void mark(unsigned lun, uint64_t lba, unsigned blocks, uint8_t byte)
{
	memset(block(lun, lba), byte, 512 * blocks);
}

static void expect_bytes(unsigned lun, uint64_t lba, unsigned blocks, uint8_t byte)
{
	for (unsigned i = 0; i < 512 * blocks; i++)
		assert_int_equal(block(lun, lba)[i], byte);
}

/* ---- EXTENDED COPY ------------------------------------------------------------------------------------- */

static uint8_t *add_target(uint8_t *at, unsigned lun)
{
	memset(at, 0, 32);
	at[0] = 0xE4;
	at[4] = 1;
	at[5] = 3;
	at[7] = 8;
	put_be64(at + 8, up_id_naa(fake_luns[lun - 1].lun.id));
	put_be24(at + 29, 512);
	return at + 32;
}

static uint8_t *add_segment(
	uint8_t *at, unsigned from, unsigned to, uint16_t blocks, uint64_t from_lba, uint64_t to_lba)
{
	memset(at, 0, 28);
	at[0] = 0x02;
	at[3] = 0x18;
	put_be16(at + 4, (uint16_t)from);
	put_be16(at + 6, (uint16_t)to);
	put_be16(at + 10, blocks);
	put_be64(at + 12, from_lba);
	put_be64(at + 20, to_lba);
	return at + 28;
}

static void header(uint8_t id, unsigned targets, unsigned segments)
{
	memset(list, 0, 16);
	list[0] = id;
	put_be16(list + 2, (uint16_t)(32 * targets));
	put_be32(list + 8, 28 * segments);
}

static uint8_t extended(struct client *c, unsigned lun, size_t len)
{
	uint8_t cdb[16];

	out_cdb(cdb, COPY_EXTENDED, 0, len);
	return client_run(c, lun, cdb, sizeof(cdb), list, len);
}

/* From LUN 1 to LUN 2, and within LUN 2 over itself. */
static size_t two_segments(void)
{
	uint8_t *at = list + 16;

	header(9, 2, 2);
	at = add_target(at, 1);
	at = add_target(at, 2);
	at = add_segment(at, 0, 1, 100, 8, 16);
	at = add_segment(at, 1, 1, 64, 1000, 1001);
	return (size_t)(at - list);
}

TEST(segments_are_copied)
{
	const uint8_t *d;

	mark(1, 8, 100, 0xA1);
	mark(2, 1000, 1, 0xB1);
	mark(2, 1001, 63, 0xB2);
	/* any LUN that the host sees may be asked */
	size_t len = two_segments();
	list[17] = 0xC0; /* LU ID TYPE: ignored, the descriptor has a name */
	expect_good(extended(&test_a, 3, len));
	expect_bytes(2, 16, 100, 0xA1);
	expect_bytes(2, 1001, 1, 0xB1);
	expect_bytes(2, 1002, 63, 0xB2);
	assert_int_equal(fake_images, 0);
	/* what became of it: of this nexus alone */
	expect_good(run(a, 3, CDB(COPY_IN, COPY_STATUS1, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 64), NO_DATA));
	d = test_last.data;
	assert_int_equal(test_last.len, 12);
	assert_int_equal(d[4], 1);
	assert_int_equal(get_be16(d + 5), 2);
	assert_int_equal(d[7], 0);
	assert_int_equal(get_be32(d + 8), 164 * 512);
	expect_good(run(a, 3, CDB(COPY_IN, COPY_FAILURE, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 64), NO_DATA));
	assert_int_equal(get_be32(test_last.data), 0);
	expect_sense(run(a, 3, CDB(COPY_IN, COPY_STATUS1, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 64), NO_DATA), 5,
		0x2400);
	expect_sense(run(a2, 3, CDB(COPY_IN, COPY_STATUS1, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 64), NO_DATA), 5,
		0x2400);
	/* nothing to do; a list id that nobody asks for */
	expect_good(extended(&test_a, 1, 0));
	two_segments();
	list[0] = 0;
	list[1] = 0x18;
	expect_good(extended(&test_a, 1, 16 + 64 + 56));
	expect_sense(run(a, 1, CDB(COPY_IN, COPY_STATUS1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 64), NO_DATA), 5,
		0x2400);
}

TEST(bad_lists_change_nothing)
{
	size_t len;

	len = two_segments();
	expect_sense(extended(&test_a, 1, 15), 5, 0x1A00);
	two_segments();
	expect_sense(extended(&test_a, 1, len - 1), 5, 0x1A00);
	two_segments();
	put_be32(list + 8, 0xFFFFFFFF);
	expect_sense(extended(&test_a, 1, len), 5, 0x1A00);
	two_segments();
	put_be16(list + 2, 32 * 9);
	put_be32(list + 8, 28);
	expect_sense(extended(&test_a, 1, 16 + 32 * 9 + 28), 5, 0x2606);
	two_segments();
	put_be16(list + 2, 32);
	put_be32(list + 8, 28 * 65);
	expect_sense(extended(&test_a, 1, 16 + 32 + 28 * 65), 5, 0x2608);
	two_segments();
	put_be32(list + 12, 4);
	expect_sense(extended(&test_a, 1, len), 5, 0x260B);
	two_segments();
	list[16] = 0xE0;
	expect_sense(extended(&test_a, 1, len), 5, 0x2607);
	two_segments();
	list[16 + 64] = 0x03;
	expect_sense(extended(&test_a, 1, len), 5, 0x2609);
	two_segments();
	put_be24(list + 16 + 29, 4096);
	expect_sense(extended(&test_a, 1, len), 5, 0x2600);
	two_segments();
	list[1] = 0x08;
	expect_sense(extended(&test_a, 1, len), 5, 0x2600);
	/* a null device, a device of another type, a LUN that nobody has, a descriptor that is not there */
	two_segments();
	list[17] = 0x20;
	expect_sense(extended(&test_a, 1, len), 0xA, 0x0804);
	two_segments();
	list[17] = 0x01;
	expect_sense(extended(&test_a, 1, len), 0xA, 0x0D03);
	two_segments();
	list[16 + 15] ^= 1;
	expect_sense(extended(&test_a, 1, len), 0xA, 0x0804);
	two_segments();
	put_be16(list + 16 + 64 + 28 + 6, 2);
	expect_sense(extended(&test_a, 1, len), 0xA, 0x0804);
	/* beyond the end of either */
	two_segments();
	put_be64(list + 16 + 64 + 28 + 12, BLOCKS - 63);
	expect_sense(extended(&test_a, 1, len), 0xA, 0);
	two_segments();
	put_be64(list + 16 + 64 + 28 + 20, UINT64_MAX);
	expect_sense(extended(&test_a, 1, len), 0xA, 0);
	/* LUNs of other hosts are not there */
	fake_map(fake_host(0), 2, NULL);
	two_segments();
	expect_sense(extended(&test_a, 1, len), 0xA, 0x0804);
	assert_int_equal(fake_luns[0].clones + fake_luns[1].clones, 0);
	assert_int_equal(fake_images, 0);
}

static uint8_t reserve(struct client *c, unsigned lun, uint8_t type)
{
	uint8_t keys[24] = {0};

	keys[15] = 7;
	expect_good(client_run(c, lun, CDB(0x5F, 6, 0, 0, 0, 0, 0, 0, 24), keys, 24));
	memset(keys, 0, 24);
	keys[7] = 7;
	return client_run(c, lun, CDB(0x5F, 1, type, 0, 0, 0, 0, 0, 24), keys, 24);
}

TEST(others_reservations_hold)
{
	static const struct scsi_range r = {0, 8};
	uint8_t token[512];

	make_token(&test_a, 1, &r, 1, token);
	expect_good(reserve(&test_b, 2, PR_WRITE_EXCLUSIVE));
	expect_sense(extended(&test_a, 1, two_segments()), 0xA, 0x0D01);
	expect_conflict(extended(&test_a, 2, two_segments()));
	expect_conflict(write_token(&test_a, 2, 1, 0, 0, token, &r, 1));
	expect_good(populate(&test_a, 2, 2, 0, 0, &r, 1)); /* reading is not excluded */
	expect_good(reserve(&test_b, 3, PR_EXCLUSIVE_ACCESS));
	expect_conflict(populate(&test_a, 3, 3, 0, 0, &r, 1));
	expect_good(write_token(&test_b, 2, 4, 0, 0, token, &r, 1));
	assert_int_equal(fake_luns[1].clones, 1);
}

/* ---- tokens -------------------------------------------------------------------------------------------- */

TEST(data_of_one_instant)
{
	static const struct scsi_range from[] = {{100, 10}, {300, 20}}, to[] = {{0, 5}, {40, 15}, {80, 10}};
	static const struct scsi_range small = {500, 4}, more = {600, 30};
	uint8_t token[512], other[512];

	mark(1, 100, 10, 0x11);
	mark(1, 300, 20, 0x22);
	make_token(&test_a, 1, from, 2, token);
	assert_int_equal(fake_images, 1);
	assert_int_equal(get_be32(token), 0x00800000);
	assert_int_equal(get_be16(token + 6), 504);
	assert_int_equal(
		get_be16(token + 128), 0x53A8); /* the target: iSCSI, UTF-8; PIV, a SCSI name string */
	assert_memory_equal(token + 132, "iqn.", 4);
	assert_int_equal(get_be64(token + 56), 30 * 512);
	mark(1, 100, 10, 0xEE);
	mark(1, 300, 20, 0xEE);
	/* on another LUN, by another host: whoever has the token */
	expect_good(write_token(&test_b, 2, 5, 0, 0, token, to, 3));
	expect_information(&test_b, 2, 5, COPY_WRITE, 1, 30);
	expect_bytes(2, 0, 5, 0x11);
	expect_bytes(2, 40, 5, 0x11);
	expect_bytes(2, 45, 10, 0x22);
	expect_bytes(2, 80, 10, 0x22);
	/* from within it, again */
	expect_good(write_token(&test_a, 1, 5, 0, 8, token, &small, 1));
	expect_bytes(1, 500, 2, 0x11);
	expect_bytes(1, 502, 2, 0x22);
	/* less than was asked for: what there is, and it is told */
	expect_good(write_token(&test_a, 1, 6, 0, 25, token, &more, 1));
	expect_information(&test_a, 1, 6, COPY_WRITE, 3, 5);
	expect_bytes(1, 600, 5, 0x22);
	expect_sense(write_token(&test_a, 1, 6, 0, 30, token, &more, 1), 5, 0x2600);
	/* no two are alike, and most of it cannot be guessed */
	make_token(&test_a, 1, from, 2, other);
	unsigned differ = 0;
	for (unsigned i = 0; i < 512; i++)
		differ += token[i] != other[i];
	assert_true(differ > 100);
}

TEST(zeros_need_no_token)
{
	static const struct scsi_range r[] = {{3, 5}, {64, 64}};
	uint8_t zero[512] = {0xFF, 0xFF, 0, 1, 0, 0, 1, 0xF8};

	mark(1, 0, 128, 0x33);
	expect_good(write_token(&test_a, 1, 1, 0, 0, zero, r, 2));
	expect_information(&test_a, 1, 1, COPY_WRITE, 1, 69);
	expect_bytes(1, 0, 3, 0x33);
	expect_bytes(1, 3, 5, 0);
	expect_bytes(1, 8, 56, 0x33);
	expect_bytes(1, 64, 64, 0);
	assert_int_equal(fake_luns[0].unmaps, 2);
}

TEST(a_token_that_is_not_ours_is_refused)
{
	static const struct scsi_range r = {0, 8};
	uint8_t token[512], bad[512];

	make_token(&test_a, 1, &r, 1, token);
	memcpy(bad, token, 512);
	bad[0] = 0x01;
	expect_sense(write_token(&test_a, 2, 1, 0, 0, bad, &r, 1), 5, 0x2301);
	memcpy(bad, token, 512);
	bad[7] ^= 1;
	expect_sense(write_token(&test_a, 2, 1, 0, 0, bad, &r, 1), 5, 0x230A);
	memcpy(bad, token, 512);
	bad[8] ^= 1;
	expect_sense(write_token(&test_a, 2, 1, 0, 0, bad, &r, 1), 5, 0x2304);
	for (unsigned i = 16; i < 512; i += 31) {
		memcpy(bad, token, 512);
		bad[i] ^= 0x10;
		expect_sense(write_token(&test_a, 2, 1, 0, 0, bad, &r, 1), 5, 0x2305);
	}
	expect_good(write_token(&test_a, 2, 1, 0, 0, token, &r, 1));
	/* taken away with its last use, if that is wanted */
	expect_good(write_token(&test_a, 2, 1, 2, 0, token, &r, 1));
	assert_int_equal(fake_images, 0);
	expect_sense(write_token(&test_a, 2, 1, 0, 0, token, &r, 1), 5, 0x2309);
}

TEST(tokens_run_out)
{
	static const struct scsi_range r = {0, 8};
	uint8_t token[512];

	expect_sense(populate(&test_a, 1, 1, 0, TOKEN_TIMEOUT_MAX_S + 1, &r, 1), 5, 0x2600);
	expect_good(populate(&test_a, 1, 1, 0, 5, &r, 1));
	expect_good(information(&test_a, 1, 1));
	memcpy(token, test_last.data + 38, 512);
	fake_advance(4000);
	expect_good(write_token(&test_a, 2, 1, 0, 0, token, &r, 1)); /* use begins the time again */
	fake_advance(4000);
	expect_good(write_token(&test_a, 2, 1, 0, 0, token, &r, 1));
	assert_int_equal(fake_images, 1);
	fake_advance(5100);
	assert_int_equal(fake_images, 0); /* nobody had to ask */
	expect_sense(write_token(&test_a, 2, 1, 0, 0, token, &r, 1), 5, 0x2307);
	make_token(&test_a, 1, &r, 1, token);
	fake_advance(TOKEN_TIMEOUT_S * 1000 - 100);
	assert_int_equal(fake_images, 1);
	fake_advance(200);
	assert_int_equal(fake_images, 0);
}

TEST(unmapping_takes_the_tokens_back)
{
	static const struct scsi_range r = {0, 8};
	struct host_nexus *model = scsi_nexus_array(test_a.nexus);
	uint8_t token[512], second[512];

	make_token(&test_a, 1, &r, 1, token);
	fake_map(fake_host(0), 1, NULL);
	model->ops->lun_unmapped(model, &fake_luns[0].lun, 1);
	assert_int_equal(fake_images, 0);
	expect_sense(write_token(&test_a, 2, 1, 0, 0, token, &r, 1), 5, 0x2306);
	/* without a session to tell it to */
	make_token(&test_b, 3, &r, 1, second);
	fake_map(fake_host(1), 3, NULL);
	expect_sense(write_token(&test_a, 2, 1, 0, 0, second, &r, 1), 5, 0x2306);
	assert_int_equal(fake_images, 0);
	/* and with the LUN */
	make_token(&test_b, 4, &r, 1, second);
	fake_luns[3].lun.gone = true;
	expect_sense(write_token(&test_a, 2, 1, 0, 0, second, &r, 1), 5, 0x2306);
	fake_luns[3].lun.gone = false;
}

TEST(bad_ranges_are_refused)
{
	static const struct scsi_range beyond = {BLOCKS - 4, 5}, far = {UINT64_MAX, 1}, none = {8, 0};
	static const struct scsi_range twice[] = {{0, 8}, {7, 8}};
	struct scsi_range many[COPY_RANGES_MAX + 1];
	uint8_t zero[512] = {0xFF, 0xFF, 0, 1, 0, 0, 1, 0xF8}, cdb[16];
	size_t len;

	for (unsigned i = 0; i <= COPY_RANGES_MAX; i++)
		many[i] = (struct scsi_range){8 * i, 8};
	expect_sense(populate(&test_a, 1, 1, 0, 0, &beyond, 1), 5, 0x2100);
	expect_sense(populate(&test_a, 1, 1, 0, 0, &far, 1), 5, 0x2100);
	expect_sense(populate(&test_a, 1, 1, 0, 0, &none, 1), 5, 0x2600);
	expect_sense(populate(&test_a, 1, 1, 0, 0, twice, 2), 5, 0x2600);
	expect_sense(populate(&test_a, 1, 1, 0, 0, many, COPY_RANGES_MAX + 1), 5, 0x2608);
	expect_good(populate(&test_a, 1, 1, 0, 0, many, COPY_RANGES_MAX));
	expect_sense(populate(&test_a, 1, 1, 0, 0, many, 0), 5, 0x2600);
	expect_sense(write_token(&test_a, 1, 1, 0, 0, zero, twice, 2), 5, 0x2600);
	expect_sense(write_token(&test_a, 1, 1, 0, 0, zero, &beyond, 1), 5, 0x2100);
	/* a type of data that is not offered; one that is */
	len = populate_list(2, 0, many, 1);
	put_be32(list + 8, 0x00010000);
	out_cdb(cdb, COPY_POPULATE, 1, len);
	expect_sense(client_run(&test_a, 1, cdb, 16, list, len), 5, 0x2301);
	put_be32(list + 8, 0x0080FFFF);
	expect_good(client_run(&test_a, 1, cdb, 16, list, len));
	/* lengths that do not fit */
	for (size_t cut = 1; cut <= len; cut += 7) {
		out_cdb(cdb, COPY_POPULATE, 1, len - cut);
		expect_sense(client_run(&test_a, 1, cdb, 16, list, len - cut), 5, 0x1A00);
	}
	put_be16(list, (uint16_t)(len - 3));
	out_cdb(cdb, COPY_POPULATE, 1, len);
	expect_sense(client_run(&test_a, 1, cdb, 16, list, len), 5, 0x2600);
	/* more than a token may stand for */
	fake_luns[0].lun.size_bytes = UINT64_C(1) << 40;
	many[0].blocks = TOKEN_BLOCKS_MAX;
	many[1] = (struct scsi_range){TOKEN_BLOCKS_MAX, 1};
	expect_sense(populate(&test_a, 1, 1, 0, 0, many, 2), 5, 0x2600);
	expect_good(populate(&test_a, 1, 1, 0, 0, many, 1));
}

TEST(tokens_of_a_host_are_bounded)
{
	static const struct scsi_range r = {0, 8};
	uint8_t token[512];

	for (unsigned i = 0; i < TOKENS_HOST_MAX; i++)
		expect_good(populate(&test_a, 1, i, 0, 600, &r, 1));
	expect_sense(populate(&test_a, 1, 1, 0, 0, &r, 1), 5, 0x550D);
	expect_information(&test_a, 1, 1, COPY_POPULATE, 2, 0);
	assert_int_equal(fake_images, TOKENS_HOST_MAX);
	make_token(&test_b, 1, &r, 1, token); /* others have theirs */
	fake_advance(600001);
	make_token(&test_a, 1, &r, 1, token);
	assert_int_equal(fake_images, 1);
}

/* A copy without a list id has nothing to do with one whose list id is 0. */
TEST(no_list_id_is_not_the_list_id_0)
{
	size_t len = two_segments();
	struct exchange x = {0};
	uint8_t cdb[16];

	list[0] = 0;
	expect_good(extended(&test_a, 1, len));
	list[1] = 0x18;
	expect_good(extended(&test_a, 1, len));
	expect_good(run(a, 1, CDB(COPY_IN, COPY_STATUS1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12), NO_DATA));
	list[1] = 0;
	fake_hold_io = true;
	out_cdb(cdb, COPY_EXTENDED, 0, len);
	client_begin(&test_a, &x, 1, cdb, sizeof(cdb), list, len);
	assert_false(x.done);
	fake_hold_io = false;
	list[1] = 0x18;
	expect_good(extended(&test_a, 1, len));
	fake_complete();
	assert_true(x.done);
	expect_good(x.task.status);
	exchange_free(&x);
}

/* Nothing of a copy that is under way, in the background or by order of another LUN, lands behind a SANITIZE. */
TEST(sanitize_waits_for_copies)
{
	static const uint8_t zeros[4 * 512];
	static const struct scsi_range r = {0, 4};
	struct exchange x = {0};
	uint8_t token[512], cdb[16];
	size_t len;

	fake_luns[0].clean = fake_luns[1].clean = false;
	make_token(&test_a, 1, &r, 1, token);
	fake_hold_io = true;
	expect_good(write_token(&test_a, 2, 5, 1, 0, token, &r, 1));
	fake_hold_io = false;
	assert_int_equal(run(b, 2, CDB(0x48, 0x02), NO_DATA), SCSI_STATUS_BUSY);
	fake_complete();
	expect_good(run(b, 2, CDB(0x48, 0x02), NO_DATA));
	assert_memory_equal(fake_luns[1].data, zeros, sizeof(zeros));
	len = two_segments();
	out_cdb(cdb, COPY_EXTENDED, 0, len);
	fake_hold_io = true;
	client_begin(&test_a, &x, 1, cdb, sizeof(cdb), list, len);
	fake_hold_io = false;
	assert_int_equal(run(b, 2, CDB(0x48, 0x02), NO_DATA), SCSI_STATUS_BUSY);
	fake_complete();
	assert_true(x.done);
	expect_good(run(b, 2, CDB(0x48, 0x02), NO_DATA));
	assert_memory_equal(fake_luns[1].data + 16 * 512, zeros, sizeof(zeros));
	exchange_free(&x);
}

/* 1,024: four hosts with all that they may have, and a fifth finds no room, until the time of theirs is over. */
TEST(tokens_of_the_array_are_bounded)
{
	static const struct scsi_range r = {0, 8};
	struct client all[5] = {test_a, test_b};
	uint8_t token[512];

	fake_luns[0].lun.size_bytes = 8 * 512; /* there are as many images */
	for (unsigned i = 2; i < 5; i++) {
		char name[] = {"iqn.test:a"};

		name[sizeof(name) - 2] = (char)('a' + i);
		fake_map(fake_host(i), 1, &fake_luns[0].lun);
		client_login(&all[i], name, 9, 1);
		client_run(&all[i], 1, CDB(0x00), NO_DATA);
		client_clear_attentions(&all[i]);
	}
	for (unsigned i = 0; i < TOKENS_MAX; i++)
		expect_good(populate(&all[i / TOKENS_HOST_MAX], 1, i, 0, 600, &r, 1));
	assert_int_equal(fake_images, 1024);
	expect_sense(populate(&all[4], 1, 1, 0, 0, &r, 1), 5, 0x550D);
	expect_information(&all[4], 1, 1, COPY_POPULATE, 2, 0);
	assert_int_equal(fake_images, 1024);
	fake_advance(600001);
	make_token(&all[4], 1, &r, 1, token);
	assert_int_equal(fake_images, 1);
	for (unsigned i = 2; i < 5; i++)
		scsi_nexus_destroy(all[i].nexus);
}

/* ---- how they run and end ------------------------------------------------------------------------------ */

static struct scsi_tmf_call tmf_call;
static unsigned tmf_done;

static void tmf_ended(struct scsi_tmf_call *call, enum scsi_tmf_result result)
{
	(void)call;
	assert_int_equal(result, SCSI_TMF_COMPLETE);
	tmf_done++;
}

static void tmf(struct client *c, enum scsi_tmf function, unsigned lun, uint64_t tag)
{
	tmf_call = (struct scsi_tmf_call){
		.function = function, .tag = tag, .done = tmf_ended, .nexus = c->nexus};
	tmf_call.lun[1] = (uint8_t)lun;
	tmf_done = 0;
	scsi_tmf(&tmf_call);
}

TEST(a_copy_in_the_background_goes_on_after_its_answer)
{
	static const struct scsi_range r = {0, 8};
	uint8_t token[512];

	fake_hold_images = true;
	expect_good(populate(&test_a, 1, 4, 1, 0, &r, 1));
	expect_information(&test_a, 1, 4, COPY_POPULATE, 0x12, 0);
	expect_sense(populate(&test_a, 1, 4, 1, 0, &r, 1), 5, 0x0016);
	mark(1, 0, 8, 0x44);
	fake_taken();
	expect_information(&test_a, 1, 4, COPY_POPULATE, 1, 8);
	memcpy(token, test_last.data + 38, 512);
	fake_hold_images = false;
	fake_hold_io = true;
	expect_good(write_token(&test_a, 2, 5, 1, 0, token, &r, 1));
	expect_information(&test_a, 2, 5, COPY_WRITE, 0x12, 0);
	/* another path of the same host may ask, another host may not */
	expect_information(&test_a2, 2, 5, COPY_WRITE, 0x12, 0);
	expect_sense(information(&test_b, 2, 5), 5, 0x2400);
	fake_hold_io = false;
	fake_complete();
	expect_information(&test_a2, 2, 5, COPY_WRITE, 1, 8);
	expect_bytes(2, 0, 8, 0x44);
	/* a reset ends it, and waits for the step that runs */
	fake_hold_io = true;
	expect_good(write_token(&test_a, 2, 6, 1, 0, token, &r, 1));
	tmf(&test_b, SCSI_LUN_RESET, 2, 0);
	assert_int_equal(tmf_done, 0);
	fake_hold_io = false;
	fake_complete();
	assert_int_equal(tmf_done, 1);
	client_clear_attentions(&test_a);
	expect_information(&test_a, 2, 6, COPY_WRITE, 0x60, 8);
	/* so does the initiator's own command */
	fake_hold_io = true;
	expect_good(write_token(&test_a, 2, 7, 1, 0, token, &r, 1));
	expect_good(run(a, 2, CDB(COPY_OUT, COPY_ABORT, 0, 0, 0, 7), NO_DATA));
	fake_hold_io = false;
	fake_complete();
	expect_information(&test_a, 2, 7, COPY_WRITE, 0x60, 8);
	expect_sense(run(a, 2, CDB(COPY_OUT, COPY_ABORT, 0, 0, 0, 8), NO_DATA), 5, 0x2400);
}

static void begin_write(struct client *c, struct exchange *x, const uint8_t *token, uint64_t tag)
{
	static const struct scsi_range r = {0, 8};
	size_t len = write_list(0, 0, token, &r, 1);
	uint8_t cdb[16];

	out_cdb(cdb, COPY_WRITE, 50, len);
	client_begin_attribute(c, x, 2, cdb, sizeof(cdb), list, len, SCSI_SIMPLE, tag);
}

TEST(a_copy_in_the_foreground_can_be_aborted)
{
	static const struct scsi_range r = {0, 8};
	struct exchange x = {0};
	uint8_t token[512];

	make_token(&test_a, 1, &r, 1, token);
	/* while a step runs: it is waited for */
	fake_hold_io = true;
	begin_write(&test_a, &x, token, 9);
	assert_false(x.done);
	expect_information(&test_a, 2, 50, COPY_WRITE, 0x11, 0);
	tmf(&test_a, SCSI_ABORT_TASK, 2, 9);
	assert_int_equal(tmf_done, 0);
	fake_hold_io = false;
	fake_complete();
	assert_int_equal(tmf_done, 1);
	assert_true(x.done && x.task.aborted);
	expect_information(&test_a, 2, 50, COPY_WRITE, 0x60, 8);
	/* while it waits at the gate of a commit: at once */
	fake_gate(true);
	begin_write(&test_a, &x, token, 10);
	assert_int_equal(fake_gate_queued, 1);
	tmf(&test_a, SCSI_ABORT_TASK, 2, 10);
	assert_int_equal(tmf_done, 1);
	assert_true(x.done && x.task.aborted);
	assert_int_equal(fake_gate_queued, 0);
	fake_gate(false);
	/* what changed meanwhile counts when the gate opens */
	fake_gate(true);
	begin_write(&test_a, &x, token, 11);
	expect_good(reserve(&test_b, 2, PR_WRITE_EXCLUSIVE));
	fake_gate(false);
	assert_true(x.done);
	assert_int_equal(x.task.status, SCSI_STATUS_RESERVATION_CONFLICT);
	exchange_free(&x);
}

TEST(errors_are_told_in_sense_and_in_the_status)
{
	static const struct scsi_range r = {0, 8};
	uint8_t token[512], page[16] = {0, 0, 0, 0, 0x0A, 0x0A, 0, 0x10, 0x08, 0x40};

	make_token(&test_a, 1, &r, 1, token);
	fake_error = -ENOSPC;
	expect_sense(write_token(&test_a, 2, 5, 0, 0, token, &r, 1), 7, 0x2707);
	expect_good(write_token(&test_a, 2, 6, 1, 0, token, &r, 1));
	expect_sense(populate(&test_a, 2, 7, 0, 0, &r, 1), 7, 0x2707);
	fake_error = 0;
	expect_information(&test_a, 2, 6, COPY_WRITE, 2, 0);
	assert_int_equal(test_last.data[12], SCSI_STATUS_CHECK_CONDITION);
	assert_int_equal(test_last.data[14], 18);
	assert_int_equal(test_last.data[32 + 2], 7);
	assert_int_equal(get_be16(test_last.data + 32 + 12), 0x2707);
	/* write protection, of the LUN that is written to alone */
	put_be16(page + 12, 0xFFFF);
	expect_good(run(a, 2, CDB(0x15, 0x10, 0, 0, 16), page, sizeof(page)));
	expect_sense(write_token(&test_a, 2, 5, 0, 0, token, &r, 1), 7, 0x2702);
	expect_sense(extended(&test_a, 1, two_segments()), 7, 0x2702);
	expect_good(run(a, 1, CDB(COPY_IN, COPY_FAILURE, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 128), NO_DATA));
	assert_int_equal(test_last.data[56], SCSI_STATUS_CHECK_CONDITION);
	assert_int_equal(get_be16(test_last.data + 58), 18);
	assert_int_equal(get_be16(test_last.data + 60 + 12), 0x2702);
	/* a LUN under resync */
	fake_luns[2].lun.resyncing = true;
	expect_sense(write_token(&test_a, 3, 5, 0, 0, token, &r, 1), 2, 0x0407);
	fake_luns[2].lun.resyncing = false;
}

TEST(without_a_write_cache_it_is_durable)
{
	uint8_t page[24] = {0, 0, 0, 0, 0x08, 0x12};
	static const struct scsi_range r[] = {{0, 8}, {80, 8}};
	uint8_t token[512];

	make_token(&test_a, 1, r, 2, token);
	expect_good(write_token(&test_a, 2, 1, 0, 0, token, r, 2));
	assert_int_equal(fake_luns[1].flushes, 0);
	expect_good(run(a, 2, CDB(0x15, 0x10, 0, 0, 24), page, sizeof(page)));
	unsigned before = fake_luns[1].flushes;
	expect_good(write_token(&test_a, 2, 1, 0, 0, token, r, 2));
	assert_true(fake_luns[1].flushes > before);
}

TEST(a_lost_nexus_takes_its_copies_along)
{
	static const struct scsi_range r = {0, 8};
	uint8_t token[512];

	make_token(&test_a2, 1, &r, 1, token);
	fake_hold_io = true;
	expect_good(write_token(&test_a2, 2, 5, 1, 0, token, &r, 1));
	scsi_nexus_destroy(test_a2.nexus);
	test_a2.nexus = NULL;
	expect_sense(information(&test_a, 2, 5), 5, 0x2400);
	fake_hold_io = false;
	fake_complete();
	assert_int_equal(fake_nexuses, 3);
	/* the token does not depend on it */
	expect_good(write_token(&test_a, 2, 5, 0, 0, token, &r, 1));
}

TEST(results_are_kept_within_bounds)
{
	static const struct scsi_range r = {0, 8};
	struct exchange x[COPY_RUNNING_MAX];
	uint8_t token[512];

	make_token(&test_a, 1, &r, 1, token);
	for (uint32_t id = 100; id < 100 + 2 * COPY_KEPT_MAX; id++)
		expect_good(write_token(&test_a, 2, id, 0, 0, token, &r, 1));
	expect_sense(information(&test_a, 2, 100), 5, 0x2400);
	expect_information(&test_a, 2, 99 + 2 * COPY_KEPT_MAX, COPY_WRITE, 1, 8);
	expect_information(&test_a, 2, 100 + COPY_KEPT_MAX, COPY_WRITE, 1, 8);
	/* all that may run do: of a host a half */
	memset(x, 0, sizeof(x));
	fake_hold_io = true;
	for (uint32_t i = 0; i < COPY_RUNNING_MAX / 2; i++)
		expect_good(write_token(i % 2 ? &test_a : &test_a2, 2, i, 1, 0, token, &r, 1));
	assert_int_equal(write_token(&test_a, 2, 999, 1, 0, token, &r, 1), SCSI_STATUS_BUSY);
	for (uint32_t i = 0; i < COPY_RUNNING_MAX / 2; i++)
		expect_good(write_token(&test_b, 2, i, 1, 0, token, &r, 1));
	assert_int_equal(write_token(&test_b, 2, 999, 1, 0, token, &r, 1), SCSI_STATUS_BUSY);
	assert_int_equal(write_token(&test_a, 2, 999, 1, 0, token, &r, 1), SCSI_STATUS_BUSY);
	fake_hold_io = false;
	fake_complete();
	expect_good(write_token(&test_a, 2, 999, 1, 0, token, &r, 1));
}

/* ---- what is said of it -------------------------------------------------------------------------------- */

/* SPC-4 7.8.17.7 … 7.8.17.11: each field in its place, and nothing in the reserved ones. */
static void page_descriptor(const uint8_t *d)
{
	uint8_t expected[4 + 4 + 2 * 64] = {0};
	unsigned len = 4u + get_be16(d + 2);

	put_be16(expected, get_be16(d));
	put_be16(expected + 2, (uint16_t)(len - 4));
	switch (get_be16(d)) {
	case 0x0000:
		assert_int_equal(len, 36);
		put_be16(expected + 10, COPY_RANGES_MAX);
		put_be32(expected + 12, TOKEN_TIMEOUT_MAX_S);
		put_be32(expected + 16, TOKEN_TIMEOUT_S);
		put_be64(expected + 20, TOKEN_BLOCKS_MAX);
		put_be64(expected + 28, TOKEN_BLOCKS_OPTIMAL);
		break;
	case 0x0004:
		assert_int_equal(len, 32);
		put_be16(expected + 8, COPY_TARGETS_MAX);
		put_be16(expected + 10, COPY_SEGMENTS_MAX);
		put_be32(expected + 12, COPY_LIST_MAX_BYTES);
		break;
	case 0x0008:
		assert_int_equal(len, 8);
		memcpy(expected + 4, "\x02\x02\xE4", 3);
		break;
	case 0x000C:
		assert_int_equal(len, 8);
		break;
	case 0x0106:
		assert_int_equal(len, 96);
		put_be32(expected + 16, 1);
		put_be32(expected + 20, UINT32_MAX);
		put_be32(expected + 24, TOKEN_TIMEOUT_MAX_S);
		put_be16(expected + 46, 48);
		put_be16(expected + 50, 44);
		put_be16(expected + 54, SCSI_UNMAP_GRANULARITY);
		put_be64(expected + 56, TOKEN_BLOCKS_MAX * 512);
		for (unsigned i = 0; i < 3; i++)
			put_be64(expected + 64 + 8 * i, TOKEN_BLOCKS_OPTIMAL * 512);
		break;
	case 0x0108:
		assert_int_equal(len, 136);
		put_be16(expected + 6, 128);
		put_be32(expected + 8, ROD_TYPE_POINT_IN_TIME);
		expected[12] = 0x03; /* TOKEN_IN, TOKEN_OUT */
		put_be32(expected + 72, ROD_TYPE_ZERO);
		expected[76] = 0x02;
		break;
	case 0x8001:
		assert_int_equal(len, 36);
		put_be32(expected + 4, COPY_RUNNING_MAX);
		put_be32(expected + 8, COPY_KEPT_MAX);
		put_be32(expected + 12, 65535 * 512);
		expected[16] = 9;
		break;
	default: /* 0001h: looked at by the caller */
		return;
	}
	assert_memory_equal(d, expected, len);
}

TEST(the_third_party_copy_page_tells_what_is_offered)
{
	static const uint16_t types[] = {0x0000, 0x0001, 0x0004, 0x0008, 0x000C, 0x0106, 0x0108, 0x8001};
	static const uint8_t commands[] = {
		0x83, 4, 0x00, 0x10, 0x11, 0x1C, 0x84, 5, 0x00, 0x03, 0x04, 0x05, 0x07};
	unsigned at = 4, count = 0;

	expect_good(run(a, 1, CDB(0x12, 1, 0x8F, 4, 0), NO_DATA));
	const uint8_t *d = test_last.data;

	assert_int_equal(4 + get_be16(d + 2), test_last.len);
	for (; at < test_last.len; at += 4 + get_be16(d + at + 2)) {
		assert_true(count < 8);
		assert_int_equal(get_be16(d + at), types[count]);
		assert_int_equal(get_be16(d + at + 2) % 4, 0);
		page_descriptor(d + at);
		if (count == 1) {
			assert_int_equal(d[at + 4], sizeof(commands));
			assert_memory_equal(d + at + 5, commands, sizeof(commands));
		}
		count++;
	}
	assert_int_equal(at, test_last.len);
	assert_int_equal(count, 8);
	expect_good(run(a, 1, CDB(COPY_IN, COPY_PARAMETERS, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0), NO_DATA));
	assert_int_equal(test_last.len, 46);
	assert_int_equal(get_be32(test_last.data), 42);
	assert_int_equal(get_be16(test_last.data + 8), COPY_TARGETS_MAX);
	assert_int_equal(get_be16(test_last.data + 10), COPY_SEGMENTS_MAX);
	assert_int_equal(test_last.data[37], 9);
	assert_int_equal(test_last.data[43], 2);
	assert_int_equal(test_last.data[45], 0xE4);
	expect_good(run(a, 1, CDB(0x12, 0, 0, 0, 96), NO_DATA));
	assert_int_equal(test_last.data[5] & 0x08, 0x08);
}

TEST(only_where_the_store_can)
{
	static const struct scsi_range r = {0, 8};

	fake_clones(false);
	expect_sense(populate(&test_a, 1, 1, 0, 0, &r, 1), 5, 0x2000);
	expect_sense(information(&test_a, 1, 1), 5, 0x2000);
	expect_sense(run(a, 1, CDB(0x12, 1, 0x8F, 4, 0), NO_DATA), 5, 0x2400);
	expect_good(run(a, 1, CDB(0x12, 1, 0, 4, 0), NO_DATA));
	assert_null(memchr(test_last.data + 4, 0x8F, test_last.len - 4));
	expect_good(run(a, 1, CDB(0x12, 0, 0, 0, 96), NO_DATA));
	assert_int_equal(test_last.data[5] & 0x08, 0);
	expect_good(run(a, 1, CDB(0xA3, 0x0C, 2, 0x83, 0, 0x10, 0, 0, 1, 0), NO_DATA));
	assert_int_equal(test_last.data[1], 1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, client_setup, client_teardown)
	const struct CMUnitTest tests[] = {T(segments_are_copied), T(bad_lists_change_nothing),
		T(others_reservations_hold), T(data_of_one_instant), T(zeros_need_no_token),
		T(a_token_that_is_not_ours_is_refused), T(tokens_run_out), T(unmapping_takes_the_tokens_back),
		T(bad_ranges_are_refused), T(tokens_of_a_host_are_bounded),
		T(tokens_of_the_array_are_bounded), T(no_list_id_is_not_the_list_id_0),
		T(sanitize_waits_for_copies), T(a_copy_in_the_background_goes_on_after_its_answer),
		T(a_copy_in_the_foreground_can_be_aborted), T(errors_are_told_in_sense_and_in_the_status),
		T(without_a_write_cache_it_is_durable), T(a_lost_nexus_takes_its_copies_along),
		T(results_are_kept_within_bounds), T(the_third_party_copy_page_tells_what_is_offered),
		T(only_where_the_store_can)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
