/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random I/O through libiscsi against a model in memory: many commands in flight, none overlapping, each read
 * verified; the whole area is unmapped before and read back at the end. Exit code 0: all that was read was
 * what had been written.
 *
 *   iscsi_random URL INITIATOR [--ops N] [--depth N] [--seed N] [--digest] [--bytes N] [--pings N]
 *
 * --pings: all writes are short enough to be immediate data, and before the end it is silent until the target has
 * pinged so often. (Debian 12's libiscsi gives its answer to a ping the CmdSN of a Data-Out that waits to be sent,
 * and then refuses to send it; https://github.com/sahlberg/libiscsi/pull/328.)
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

#define BLOCK     512u
#define OP_BLOCKS 1024u /* longest operation */
#define DEPTH_MAX 128u
#define SHORT     16u /* blocks */
#define STALL_S   120

static struct {
	struct iscsi_context *iscsi;
	int lun;
	uint32_t blocks;
	uint32_t *versions; /* 0: zeros */
	bool *busy;
	uint32_t next_version;
	uint64_t left, done;
	unsigned in_flight, depth, pings, pings_wanted;
	uint64_t random_state;
	bool failed;
} t;

struct op {
	uint32_t lba, count, version; /* version of a write; unmap: 0 */
	bool reads;
	uint8_t *data;
};

static uint32_t random_below(uint32_t n)
{
	t.random_state ^= t.random_state << 13;
	t.random_state ^= t.random_state >> 7;
	t.random_state ^= t.random_state << 17;
	return (uint32_t)((t.random_state >> 16) % n);
}

static void fill_block(uint8_t *p, uint32_t lba, uint32_t version)
{
	uint64_t x = ((uint64_t)lba << 32 | version) * UINT64_C(0x9e3779b97f4a7c15) + 1;

	if (version == 0) {
		memset(p, 0, BLOCK);
		return;
	}
	for (unsigned i = 0; i < BLOCK; i += 8) {
		x ^= x >> 29;
		x *= UINT64_C(0xbf58476d1ce4e5b9);
		memcpy(p + i, &x, 8);
	}
}

static void fail(const char *what, uint32_t lba)
{
	fprintf(stderr, "iscsi_random: %s at block %u: %s\n", what, lba, iscsi_get_error(t.iscsi));
	t.failed = true;
}

static void verify(const struct op *op, const struct scsi_task *task)
{
	uint8_t expected[BLOCK];

	if (task->datain.size != (int)(op->count * BLOCK)) {
		fail("short read", op->lba);
		return;
	}
	for (uint32_t i = 0; i < op->count; i++) {
		fill_block(expected, op->lba + i, t.versions[op->lba + i]);
		if (memcmp(expected, task->datain.data + i * BLOCK, BLOCK) != 0) {
			fail("wrong data", op->lba + i);
			return;
		}
	}
}

static void start_some(void);

static void op_done(struct iscsi_context *iscsi, int status, void *command_data, void *arg)
{
	struct scsi_task *task = command_data;
	struct op *op = arg;

	(void)iscsi;
	if (status != SCSI_STATUS_GOOD)
		fail("status", op->lba);
	else if (op->reads)
		verify(op, task);
	for (uint32_t i = 0; i < op->count; i++) {
		t.busy[op->lba + i] = false;
		if (!op->reads)
			t.versions[op->lba + i] = op->version;
	}
	scsi_free_scsi_task(task);
	free(op->data);
	free(op);
	t.in_flight--;
	t.done++;
	start_some();
}

static bool start_read(struct op *op)
{
	op->reads = true;
	if (random_below(2))
		return iscsi_read16_task(
			t.iscsi, t.lun, op->lba, op->count * BLOCK, BLOCK, 0, 0, 0, 0, 0, op_done, op);
	return iscsi_read10_task(
		t.iscsi, t.lun, op->lba, op->count * BLOCK, BLOCK, 0, 0, 0, 0, 0, op_done, op);
}

static bool start_write(struct op *op)
{
	op->version = ++t.next_version;
	op->data = malloc(op->count * BLOCK);
	if (!op->data)
		return false;
	for (uint32_t i = 0; i < op->count; i++)
		fill_block(op->data + i * BLOCK, op->lba + i, op->version);
	if (random_below(2))
		return iscsi_write16_task(t.iscsi, t.lun, op->lba, op->data, op->count * BLOCK, BLOCK, 0, 0,
			random_below(16) == 0, 0, 0, op_done, op);
	return iscsi_write10_task(
		t.iscsi, t.lun, op->lba, op->data, op->count * BLOCK, BLOCK, 0, 0, 0, 0, 0, op_done, op);
}

static bool start_unmap(struct op *op)
{
	struct unmap_list list = {.lba = op->lba, .num = op->count};

	return iscsi_unmap_task(t.iscsi, t.lun, 0, 0, &list, 1, op_done, op);
}

static bool overlaps(uint32_t lba, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if (t.busy[lba + i])
			return true;
	return false;
}

static void start_one(uint32_t lba, uint32_t count, unsigned kind)
{
	struct op *op = calloc(1, sizeof(*op));

	if (!op) {
		t.failed = true;
		return;
	}
	op->lba = lba;
	op->count = count;
	for (uint32_t i = 0; i < count; i++)
		t.busy[lba + i] = true;
	t.in_flight++;
	if (!(kind < 9 ? start_read(op) : kind < 19 ? start_write(op) : start_unmap(op)))
		fail("cannot start", lba);
}

static void start_some(void)
{
	while (t.in_flight < t.depth && t.left > 0 && !t.failed) {
		uint32_t most = t.pings_wanted || random_below(4) ? SHORT : OP_BLOCKS;
		uint32_t count = 1 + random_below(most);
		uint32_t lba = random_below(t.blocks - count + 1);

		if (overlaps(lba, count)) {
			if (t.in_flight > 0)
				return;
			continue;
		}
		t.left--;
		start_one(lba, count, random_below(20));
	}
}

static void log_line(int level, const char *line)
{
	(void)level;
	if (strncmp(line, "NOP-In received", 15) == 0)
		t.pings++;
}

/* Until all is done and the target has pinged so often. */
static void run_until_idle(unsigned pings)
{
	uint64_t seen = t.done;
	time_t last = time(NULL);

	while ((t.in_flight > 0 || t.pings < pings) && !t.failed) {
		struct pollfd p = {.fd = iscsi_get_fd(t.iscsi), .events = (short)iscsi_which_events(t.iscsi)};

		if (poll(&p, 1, 1000) < 0 || iscsi_service(t.iscsi, p.revents) != 0) {
			fail("connection", 0);
			return;
		}
		if (t.done != seen) {
			seen = t.done;
			last = time(NULL);
		} else if (time(NULL) - last > STALL_S) {
			fail("no progress", 0);
		}
	}
}

#define KIND_READ  0
#define KIND_UNMAP 19

static void whole_area(unsigned kind)
{
	for (uint32_t lba = 0; lba < t.blocks && !t.failed; lba += OP_BLOCKS) {
		start_one(lba, t.blocks - lba < OP_BLOCKS ? t.blocks - lba : OP_BLOCKS, kind);
		run_until_idle(0);
	}
}

static bool open_session(const char *text, const char *initiator, bool digest)
{
	struct iscsi_url *url;

	t.iscsi = iscsi_create_context(initiator);
	url = iscsi_parse_full_url(t.iscsi, text);
	if (!url)
		return false;
	iscsi_set_targetname(t.iscsi, url->target);
	iscsi_set_session_type(t.iscsi, ISCSI_SESSION_NORMAL);
	iscsi_set_header_digest(t.iscsi, digest ? ISCSI_HEADER_DIGEST_CRC32C : ISCSI_HEADER_DIGEST_NONE);
	iscsi_set_noautoreconnect(t.iscsi, 1);
	if (t.pings_wanted) {
		iscsi_set_log_level(t.iscsi, 6);
		iscsi_set_log_fn(t.iscsi, log_line);
	}
	if (url->user[0])
		iscsi_set_initiator_username_pwd(t.iscsi, url->user, url->passwd);
	t.lun = url->lun;
	if (iscsi_full_connect_sync(t.iscsi, url->portal, url->lun) != 0)
		return false;
	iscsi_destroy_url(url);
	return true;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"ops", 1, NULL, 'o'}, {"depth", 1, NULL, 'd'},
		{"seed", 1, NULL, 's'}, {"digest", 0, NULL, 'g'}, {"bytes", 1, NULL, 'b'},
		{"pings", 1, NULL, 'p'}, {0}};
	uint64_t bytes = 8 << 20, ops, seed = (uint64_t)time(NULL);
	bool digest = false;
	int c;

	t.left = 2000;
	t.depth = 16;
	if (getenv("UMBRA_TEST_SEED"))
		seed = strtoull(getenv("UMBRA_TEST_SEED"), NULL, 0);
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		uint64_t n = optarg ? strtoull(optarg, NULL, 0) : 0;

		switch (c) {
		case 'o':
			t.left = n;
			break;
		case 'd':
			t.depth = n > DEPTH_MAX ? DEPTH_MAX : (unsigned)n;
			break;
		case 's':
			seed = n;
			break;
		case 'g':
			digest = true;
			break;
		case 'b':
			bytes = n;
			break;
		case 'p':
			t.pings_wanted = (unsigned)n;
			break;
		default:
			return 2;
		}
	}
	if (argc - optind != 2)
		return 2;
	printf("seed %llu\n", (unsigned long long)seed);
	t.random_state = seed * 2 + 1;
	t.blocks = (uint32_t)(bytes / BLOCK);
	t.versions = calloc(t.blocks, sizeof(*t.versions));
	t.busy = calloc(t.blocks, sizeof(*t.busy));
	if (!t.versions || !t.busy || !open_session(argv[optind], argv[optind + 1], digest)) {
		fprintf(stderr, "iscsi_random: no session: %s\n",
			t.iscsi ? iscsi_get_error(t.iscsi) : "no memory");
		return 1;
	}
	ops = t.left;
	t.left = 0;
	whole_area(KIND_UNMAP);
	t.left = ops;
	start_some();
	run_until_idle(0);
	run_until_idle(t.pings_wanted ? t.pings + t.pings_wanted : 0);
	whole_area(KIND_READ);
	if (t.failed)
		return 1;
	iscsi_logout_sync(t.iscsi);
	iscsi_destroy_context(t.iscsi);
	printf("%llu operations\n", (unsigned long long)t.done);
	return 0;
}
