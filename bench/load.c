/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A steady load for benchmarks: random reads or writes of 4 KiB within the first MIB of a LUN, DEPTH at once, until its input
 * ends. With RATE so many a second are begun, at most DEPTH of them at once, each counted from when it was due. Each 100 ms a
 * line: how many ended in them, and the longest and the sum of them in microseconds.
 *
 * usage: load PORTAL TARGET INITIATOR LUN read|write DEPTH MIB [RATE]
 */
#include <errno.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BYTES      4096u
#define TICK_US    100000u
#define DEPTH_MAX  256u
#define BLOCK      512u
#define PER_MIB    (1048576u / BYTES)
#define TIMEOUT_MS 10

struct request {
	struct load *load;
	uint64_t begun_us;
	struct request *next; /* idle, too */
	struct scsi_iovec iov;
	uint8_t data[BYTES];
};

struct load {
	struct iscsi_context *iscsi;
	int lun;
	bool writes, failed;
	uint64_t blocks, random, ended, longest_us, sum_us;
	uint64_t rate, due; /* 0: as many as go; those that were due, in all */
	uint64_t start_us;
	struct request *idle;
	struct request requests[DEPTH_MAX];
};

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

static uint64_t next_random(struct load *l)
{
	l->random ^= l->random << 13;
	l->random ^= l->random >> 7;
	l->random ^= l->random << 17;
	return l->random;
}

static void begin(struct request *r, uint64_t due_us);

static void ended(struct iscsi_context *iscsi, int status, void *data, void *arg)
{
	struct request *r = arg;
	uint64_t took_us = now_us() - r->begun_us;

	(void)iscsi;
	scsi_free_scsi_task(data);
	if (status == SCSI_STATUS_GOOD) {
		r->load->ended++;
		r->load->sum_us += took_us;
		if (took_us > r->load->longest_us)
			r->load->longest_us = took_us;
	} else if (status != SCSI_STATUS_BUSY) {
		r->load->failed = true;
		return;
	}
	if (r->load->rate) {
		r->next = r->load->idle;
		r->load->idle = r;
	} else {
		begin(r, now_us());
	}
}

static void begin(struct request *r, uint64_t due_us)
{
	struct load *l = r->load;
	uint64_t lba = next_random(l) % l->blocks * (BYTES / BLOCK);
	struct scsi_task *task;

	r->begun_us = due_us;
	r->iov = (struct scsi_iovec){.iov_base = r->data, .iov_len = BYTES};
	if (l->writes) {
		memcpy(r->data, &r->begun_us, sizeof(r->begun_us));
		task = iscsi_write16_task(
			l->iscsi, l->lun, lba, r->data, BYTES, BLOCK, 0, 0, 0, 0, 0, ended, r);
	} else {
		task = iscsi_read16_task(l->iscsi, l->lun, lba, BYTES, BLOCK, 0, 0, 0, 0, 0, ended, r);
		if (task)
			scsi_task_set_iov_in(task, &r->iov, 1);
	}
	l->failed = l->failed || !task;
}

/* Those that are due, as far as DEPTH lets them. Returns how long to sleep until the next one is. */
static struct timespec begin_due(struct load *l)
{
	uint64_t now = now_us(), at_us = l->start_us + l->due * 1000000u / l->rate,
		 left_us = TIMEOUT_MS * 1000u;

	while (l->idle && at_us <= now && !l->failed) {
		struct request *r = l->idle;

		l->idle = r->next;
		begin(r, at_us);
		at_us = l->start_us + ++l->due * 1000000u / l->rate;
	}
	if (l->idle && at_us < now + left_us)
		left_us = at_us > now ? at_us - now : 0;
	return (struct timespec){.tv_nsec = (long)left_us * 1000};
}

static int run(struct load *l, unsigned depth)
{
	struct timespec sleep = {.tv_nsec = TIMEOUT_MS * 1000000};
	uint64_t tick_us = now_us() + TICK_US;

	l->start_us = now_us();
	for (unsigned i = 0; i < depth; i++) {
		struct request *r = &l->requests[i];

		r->load = l;
		if (l->rate) {
			r->next = l->idle;
			l->idle = r;
		} else {
			begin(r, now_us());
		}
	}
	while (!l->failed) {
		if (l->rate)
			sleep = begin_due(l);
		struct pollfd fds[] = {
			{.fd = iscsi_get_fd(l->iscsi), .events = (short)iscsi_which_events(l->iscsi)},
			{.fd = 0, .events = POLLIN}};

		if (ppoll(fds, 2, &sleep, NULL) < 0 && errno != EINTR)
			return 1;
		if (fds[1].revents)
			return 0;
		if (iscsi_service(l->iscsi, fds[0].revents))
			break;
		if (now_us() >= tick_us) {
			printf("%llu %llu %llu\n", (unsigned long long)l->ended,
				(unsigned long long)l->longest_us, (unsigned long long)l->sum_us);
			fflush(stdout);
			l->ended = l->longest_us = l->sum_us = 0;
			tick_us = now_us() + TICK_US;
		}
	}
	fprintf(stderr, "load: %s\n", iscsi_get_error(l->iscsi));
	return 1;
}

int main(int argc, char **argv)
{
	static struct load load = {.random = 88172645463325252u};
	unsigned long depth = argc == 8 || argc == 9 ? strtoul(argv[6], NULL, 10) : 0;

	if (depth < 1 || depth > DEPTH_MAX) {
		fprintf(stderr, "usage: load PORTAL TARGET INITIATOR LUN read|write DEPTH MIB [RATE]\n");
		return 2;
	}
	load.lun = (int)strtoul(argv[4], NULL, 10);
	load.writes = strcmp(argv[5], "write") == 0;
	load.blocks = strtoul(argv[7], NULL, 10) * PER_MIB;
	load.rate = argc == 9 ? strtoul(argv[8], NULL, 10) : 0;
	load.iscsi = iscsi_create_context(argv[3]);
	if (!load.iscsi || iscsi_set_targetname(load.iscsi, argv[2]) ||
		iscsi_set_session_type(load.iscsi, ISCSI_SESSION_NORMAL) ||
		iscsi_full_connect_sync(load.iscsi, argv[1], load.lun)) {
		fprintf(stderr, "load: %s\n", load.iscsi ? iscsi_get_error(load.iscsi) : "no memory");
		return 1;
	}
	return run(&load, (unsigned)depth);
}
