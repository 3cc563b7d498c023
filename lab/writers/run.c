/* SPDX-License-Identifier: Apache-2.0 */
/*
 * umbra-lab-writer run: streams of ordered writes, driven by one loop.
 *
 * Invariants:
 * - A stream has at most one write under way; B's write of record n starts after A's was answered, A's of n +
 *   1 after B's of n.
 * - After HELD was sent and until RELEASE comes no write to what is held (a LUN, or both) is under way and none is started.
 * - A write is repeated after a unit attention or a busy status, always with the same content.
 */
#include "lab/writers/writer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct run;

struct stream {
	struct run *run;
	uint32_t index;
	uint64_t done[2];       /* last answered record on A and B */
	int side;               /* whose turn it is: 0 A, 1 B */
	struct scsi_task *task; /* ours until its answer is here */
	bool under_way;
	int64_t due_us, began_us;
	uint8_t block[RECORD_BYTES];
};

struct run {
	const struct writer_options *o;
	struct lun luns[2];
	uint64_t id;
	struct stream streams[WRITER_MAX_STREAMS];
	uint32_t under_way, under_way_on[2];
	bool failed;
	int broker; /* -1: none */
	char line[128];
	size_t line_len;
	bool held[2]; /* A, B: nothing is begun there */
	bool unanswered;
	unsigned long hold_id;
	uint64_t writes, holds, worst_us;
	bool ready_said;
};

static int64_t now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void issue(struct stream *s);

static void on_answer(struct iscsi_context *iscsi, int status, void *command_data, void *arg)
{
	struct stream *s = arg;
	struct run *r = s->run;
	struct scsi_task *task = command_data;
	s->under_way = false;
	r->under_way--;
	r->under_way_on[s->side]--;
	bool again = task_wants_retry(task, status);
	scsi_free_scsi_task(s->task);
	s->task = NULL;
	if (again) {
		issue(s);
		return;
	}
	if (status != SCSI_STATUS_GOOD) {
		if (!writer_ending())
			fprintf(stderr, "umbra-lab-writer: a write to %c was refused: %s\n",
				s->side ? 'B' : 'A', iscsi_get_error(iscsi));
		r->failed = true;
		return;
	}
	int64_t now = now_us();
	uint64_t took = (uint64_t)(now - s->began_us);
	if (took > r->worst_us)
		r->worst_us = took;
	r->writes++;
	s->done[s->side]++;
	s->side = !s->side;
	s->due_us = now + r->o->pause_us;
}

static void issue(struct stream *s)
{
	struct run *r = s->run;
	struct lun *l = &r->luns[s->side];
	struct record_id id = {
		.run = r->id, .seq = s->done[s->side] + 1, .stream = s->index, .side = (uint32_t)s->side};
	uint64_t at = r->o->offset_bytes + record_slot(s->index, id.seq, r->o->slots) * RECORD_BYTES;
	record_make(s->block, &id);
	s->began_us = now_us();
	s->task = iscsi_write16_task(l->iscsi, l->number, at / l->block_bytes, s->block, RECORD_BYTES,
		(int)l->block_bytes, 0, 0, 0, 0, 0, on_answer, s);
	if (!s->task) {
		fprintf(stderr, "umbra-lab-writer: a write cannot be sent: %s\n", iscsi_get_error(l->iscsi));
		r->failed = true;
		return;
	}
	s->under_way = true;
	r->under_way++;
	r->under_way_on[s->side]++;
}

/* --- the hold --- */

static void broker_gone(struct run *r, const char *why)
{
	fprintf(stderr, "umbra-lab-writer: hold broker: %s\n", why);
	close(r->broker);
	r->broker = -1;
	r->failed = true;
}

static bool broker_say(struct run *r, const char *text)
{
	size_t len = strlen(text);
	if (send(r->broker, text, len, MSG_NOSIGNAL) == (ssize_t)len)
		return true;
	broker_gone(r, "it is gone");
	return false;
}

static bool broker_connect(struct run *r)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(r->o->hold_port)};
	char hello[160];
	int on = 1;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	r->broker = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (r->broker < 0 || connect(r->broker, (struct sockaddr *)&address, sizeof address) < 0) {
		broker_gone(r, strerror(errno));
		return false;
	}
	setsockopt(r->broker, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	snprintf(hello, sizeof hello, "WRITER %.40s %s %s\n", r->o->name, r->luns[0].serial,
		r->luns[1].serial);
	return broker_say(r, hello);
}

/* One line of JSON: where each stream stood while nothing was under way. */
static bool note_in_ledger(struct run *r)
{
	if (!r->o->ledger)
		return true;
	FILE *out = fopen(r->o->ledger, "a");
	if (!out)
		return false;
	fprintf(out, "{\"hold\": %lu, \"run\": %llu, \"expect\": \"", r->hold_id, (unsigned long long)r->id);
	for (uint32_t i = 0; i < r->o->streams; i++)
		fprintf(out, "%s%llu:%llu", i ? "," : "", (unsigned long long)r->streams[i].done[0],
			(unsigned long long)r->streams[i].done[1]);
	fprintf(out, "\"}\n");
	return fclose(out) == 0;
}

static void stand_still_when_idle(struct run *r)
{
	char text[64];
	if (!r->unanswered)
		return;
	for (int i = 0; i < 2; i++)
		if (r->held[i] && r->under_way_on[i])
			return;
	if (r->held[0] && r->held[1] && !note_in_ledger(r)) {
		fprintf(stderr, "umbra-lab-writer: %s: %s\n", r->o->ledger, strerror(errno));
		r->failed = true;
		return;
	}
	r->unanswered = false;
	r->holds += r->held[0] && r->held[1];
	snprintf(text, sizeof text, "HELD %lu\n", r->hold_id);
	broker_say(r, text);
}

static void on_broker_line(struct run *r)
{
	char *end;
	if (strncmp(r->line, "HOLD ", 5) == 0) {
		r->hold_id = strtoul(r->line + 5, &end, 10);
		for (int i = 0; i < 2; i++)
			if (*end != ' ' || strcmp(end + 1, r->luns[i].serial) == 0)
				r->held[i] = true;
		r->unanswered = true;
	} else if (strncmp(r->line, "RELEASE ", 8) == 0) {
		r->held[0] = r->held[1] = r->unanswered = false;
	} else if (strcmp(r->line, "OK") != 0) {
		broker_gone(r, r->line);
	}
}

static void on_broker_readable(struct run *r)
{
	char bytes[256];
	ssize_t got = recv(r->broker, bytes, sizeof bytes, MSG_DONTWAIT);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		broker_gone(r, "it is gone");
		return;
	}
	for (ssize_t i = 0; i < got && r->broker >= 0; i++) {
		if (bytes[i] == '\n') {
			r->line[r->line_len] = 0;
			r->line_len = 0;
			on_broker_line(r);
		} else if (r->line_len + 1 < sizeof r->line) {
			r->line[r->line_len++] = bytes[i];
		} else {
			broker_gone(r, "a line too long");
		}
	}
}

/* --- the loop --- */

/* Starts what is due; how long until the next one is, in microseconds. */
static int64_t start_due(struct run *r)
{
	int64_t now = now_us(), wait = 100000;
	for (uint32_t i = 0; i < r->o->streams && !r->failed; i++) {
		struct stream *s = &r->streams[i];
		if (s->under_way || r->held[s->side])
			continue;
		if (s->due_us <= now)
			issue(s);
		else if (s->due_us - now < wait)
			wait = s->due_us - now;
	}
	return wait;
}

static void wait_and_serve(struct run *r, int64_t wait_us)
{
	struct pollfd fds[3] = {{.fd = r->broker, .events = POLLIN}};
	struct timespec timeout = {.tv_sec = wait_us / 1000000, .tv_nsec = wait_us % 1000000 * 1000};
	for (int i = 0; i < 2; i++) {
		fds[i + 1].fd = iscsi_get_fd(r->luns[i].iscsi);
		fds[i + 1].events = (short)iscsi_which_events(r->luns[i].iscsi);
	}
	if (ppoll(fds, 3, &timeout, NULL) < 0 && errno != EINTR) {
		r->failed = true;
		return;
	}
	if (r->broker >= 0 && fds[0].revents)
		on_broker_readable(r);
	for (int i = 0; i < 2 && !r->failed; i++) {
		if (iscsi_service(r->luns[i].iscsi, fds[i + 1].revents) < 0) {
			if (!writer_ending())
				fprintf(stderr, "umbra-lab-writer: %s\n", iscsi_get_error(r->luns[i].iscsi));
			r->failed = true;
		}
	}
}

static void say_ready(struct run *r)
{
	if (r->ready_said || r->writes == 0 || !r->o->ready)
		return;
	FILE *out = fopen(r->o->ready, "w");
	if (out)
		fclose(out);
	r->ready_said = true;
}

static void loop(struct run *r)
{
	int64_t end_us = r->o->seconds ? now_us() + (int64_t)r->o->seconds * 1000000 : INT64_MAX;
	while (!r->failed) {
		bool over = writer_ending() || now_us() >= end_us;
		if (over && r->under_way == 0)
			return;
		int64_t wait_us = over ? 100000 : start_due(r);
		stand_still_when_idle(r);
		wait_and_serve(r, wait_us);
		say_ready(r);
	}
}

static bool fits(const struct run *r)
{
	uint64_t need = r->o->offset_bytes + (uint64_t)r->o->streams * r->o->slots * RECORD_BYTES;
	for (int i = 0; i < 2; i++) {
		if (need <= r->luns[i].blocks * r->luns[i].block_bytes)
			continue;
		fprintf(stderr, "umbra-lab-writer: LUN %c is too small: %llu bytes are needed\n",
			i ? 'B' : 'A', (unsigned long long)need);
		return false;
	}
	return true;
}

int writer_run(const struct writer_options *o)
{
	struct run *r = calloc(1, sizeof *r);
	struct timespec t;
	if (!r)
		return 1;
	r->o = o;
	r->broker = -1;
	clock_gettime(CLOCK_REALTIME, &t);
	r->id = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
	for (uint32_t i = 0; i < o->streams; i++)
		r->streams[i] = (struct stream){.run = r, .index = i};
	if (lun_open(&r->luns[0], o->url[0], o->initiator) &&
		lun_open(&r->luns[1], o->url[1], o->initiator) && fits(r) &&
		(!o->hold_port || broker_connect(r)))
		loop(r);
	else
		r->failed = true;
	printf("{\"run\": %llu, \"writes\": %llu, \"holds\": %llu, \"slowest_ms\": %.3f, \"failed\": %s}\n",
		(unsigned long long)r->id, (unsigned long long)r->writes, (unsigned long long)r->holds,
		(double)r->worst_us / 1000.0, r->failed ? "true" : "false");
	bool failed = r->failed;
	if (r->broker >= 0)
		close(r->broker);
	lun_close(&r->luns[0]);
	lun_close(&r->luns[1]);
	for (uint32_t i = 0; i < o->streams; i++)
		if (r->streams[i].task) /* libiscsi told nobody that it will get no answer */
			scsi_free_scsi_task(r->streams[i].task);
	free(r);
	return failed ? 1 : 0;
}
