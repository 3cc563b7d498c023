/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See server.h. A connection reads a frame, waits for the session, writes the answer, reads again; while it
 * waits it reads nothing, so memory is bounded by connections × frame. A frame that makes no sense closes its
 * connection.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>
#include "array/util/bytes.h"
#include "lab/bridge/scan.h"
#include "lab/bridge/server.h"

enum {
	MAX_CONNECTIONS = 256
};

enum conn_state {
	CONN_READING,
	CONN_EXECUTING,
	CONN_SCANNING,
	CONN_WRITING
};

struct conn {
	int fd;
	enum conn_state state;
	uint8_t length_word[LABW_LENGTH_BYTES];
	uint8_t *body; /* owned; NULL until the length is known */
	size_t body_bytes, got;
	uint8_t *out; /* owned: the answer */
	size_t out_bytes, sent;
	struct labw_request req;
	struct session_cmd *cmd; /* while executing */
	uint64_t scan_awaited;
};

struct server {
	int listen_fd;
	struct session *session;
	struct scan scan;
	struct conn *conns[MAX_CONNECTIONS];
	unsigned int conn_count;
};

static void conn_close(struct server *srv, unsigned int i)
{
	struct conn *c = srv->conns[i];

	if (c->cmd)
		c->cmd->done = NULL;
	close(c->fd);
	free(c->body);
	free(c->out);
	free(c);
	srv->conns[i] = srv->conns[--srv->conn_count];
}

/* Builds the answer; `tail` (EXEC data, LIST entries) is copied. */
static void conn_answer(struct conn *c, struct labw_reply *rep, const uint8_t *tail, size_t tail_bytes)
{
	uint8_t head[LABW_HEAD_MAX_BYTES];
	size_t head_bytes;

	rep->verb = c->req.verb;
	rep->tag = c->req.tag;
	head_bytes = labw_reply_head(rep, head);
	c->cmd = NULL;
	c->state = CONN_WRITING;
	c->out_bytes = head_bytes + tail_bytes;
	c->sent = 0;
	c->out = head_bytes ? malloc(c->out_bytes) : NULL;
	if (!c->out) {
		c->out_bytes = 0; /* conn_write closes it */
		return;
	}
	memcpy(c->out, head, head_bytes);
	if (tail_bytes)
		memcpy(c->out + head_bytes, tail, tail_bytes);
}

static void on_cmd_done(struct session_cmd *cmd)
{
	struct conn *c = cmd->owner;
	struct labw_reply rep = {
		.result = cmd->result,
		.scsi_status = cmd->scsi_status,
		.residual_bytes = cmd->residual_bytes,
		.sense = cmd->sense,
		.sense_bytes = cmd->sense_bytes,
		.data_bytes = cmd->data_bytes,
	};

	conn_answer(c, &rep, cmd->data, cmd->result == LABW_OK ? cmd->data_bytes : 0);
}

static void answer_luns(struct server *srv, struct conn *c)
{
	static uint8_t entries[LABW_MAX_LUNS * LABW_LUN_BYTES];
	struct labw_reply rep = {.result = srv->scan.result, .lun_count = srv->scan.lun_count};
	size_t bytes = 0;

	if (rep.result == LABW_OK) {
		bytes = (size_t)rep.lun_count * LABW_LUN_BYTES;
		for (uint32_t i = 0; i < rep.lun_count; i++)
			labw_lun_put(&srv->scan.luns[i], entries + i * LABW_LUN_BYTES);
	}
	conn_answer(c, &rep, entries, bytes);
}

static void on_scan_finished(void *arg)
{
	struct server *srv = arg;

	if (!srv->scan.again)
		session_settled(srv->session);
	for (unsigned int i = 0; i < srv->conn_count; i++) {
		struct conn *c = srv->conns[i];

		if (c->state == CONN_SCANNING && srv->scan.completed >= c->scan_awaited)
			answer_luns(srv, c);
	}
}

static void on_session_up(void *arg)
{
	struct server *srv = arg;

	(void)scan_start(&srv->scan);
}

static void start_scan_for(struct server *srv, struct conn *c)
{
	if (c->req.verb == LABW_LIST && srv->scan.completed && srv->scan.result == LABW_OK) {
		answer_luns(srv, c);
		return;
	}
	c->state = CONN_SCANNING;
	c->scan_awaited = UINT64_MAX;
	c->scan_awaited = c->req.verb == LABW_LIST && srv->scan.running ? srv->scan.completed + 1
									: scan_start(&srv->scan);
	if (srv->scan.completed >= c->scan_awaited)
		answer_luns(srv, c);
}

/* A whole frame is here. False: it makes no sense. */
static bool conn_request(struct server *srv, struct conn *c, uint64_t now_ms)
{
	struct labw_reply rep = {.result = LABW_OK};
	uint8_t *body;

	if (!labw_request_decode(&c->req, c->body, c->body_bytes))
		return false;
	switch (c->req.verb) {
	case LABW_EXEC:
	case LABW_RESET:
		body = c->body;
		c->body = NULL;
		c->state = CONN_EXECUTING;
		c->cmd = session_submit(srv->session, &c->req, body, on_cmd_done, c, now_ms);
		if (!c->cmd) {
			rep.result = LABW_BUSY;
			conn_answer(c, &rep, NULL, 0);
		}
		return true;
	case LABW_LIST:
	case LABW_RESCAN:
		start_scan_for(srv, c);
		break;
	case LABW_FAULT:
		session_fault(srv->session, &c->req.fault, now_ms);
		conn_answer(c, &rep, NULL, 0);
		break;
	case LABW_STATUS:
		rep.status = *session_counters(srv->session);
		conn_answer(c, &rep, NULL, 0);
		break;
	default:
		return false;
	}
	free(c->body);
	c->body = NULL;
	return true;
}

/* False: close. */
static bool conn_read(struct server *srv, struct conn *c, uint64_t now_ms)
{
	while (c->state == CONN_READING) {
		bool in_length = !c->body;
		size_t want = (in_length ? LABW_LENGTH_BYTES : c->body_bytes) - c->got;
		ssize_t n = recv(c->fd, (in_length ? c->length_word : c->body) + c->got, want, MSG_DONTWAIT);

		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			return false;
		if (n < 0)
			return true;
		c->got += (size_t)n;
		if ((size_t)n < want)
			continue;
		c->got = 0;
		if (!in_length)
			return conn_request(srv, c, now_ms);
		c->body_bytes = labw_body_bytes(c->length_word);
		c->body = c->body_bytes ? malloc(c->body_bytes) : NULL;
		if (!c->body)
			return false;
	}
	return true;
}

static bool conn_write(struct conn *c)
{
	if (!c->out)
		return false;
	while (c->sent < c->out_bytes) {
		ssize_t n =
			send(c->fd, c->out + c->sent, c->out_bytes - c->sent, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		c->sent += (size_t)n;
	}
	free(c->out);
	c->out = NULL;
	c->state = CONN_READING;
	return true;
}

static void server_accept(struct server *srv)
{
	int fd = accept4(srv->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	int one = 1;
	struct conn *c;

	if (fd < 0)
		return;
	c = srv->conn_count < MAX_CONNECTIONS ? calloc(1, sizeof(*c)) : NULL;
	if (!c) {
		close(fd);
		return;
	}
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	c->fd = fd;
	srv->conns[srv->conn_count++] = c;
}

static short conn_events(const struct conn *c)
{
	switch (c->state) {
	case CONN_READING:
		return POLLIN;
	case CONN_WRITING:
		return POLLOUT;
	default:
		return POLLRDHUP; /* the driver gave up */
	}
}

static void serve_conns(struct server *srv, const struct pollfd *polled, unsigned int count, uint64_t now_ms)
{
	/* From the end: conn_close moves the last one into the gap. */
	for (unsigned int i = count; i-- > 0;) {
		struct conn *c = srv->conns[i];
		bool keep = true;

		if (c->state == CONN_READING && polled[i].revents)
			keep = conn_read(srv, c, now_ms);
		else if ((c->state == CONN_EXECUTING || c->state == CONN_SCANNING) &&
			 polled[i].revents & (POLLRDHUP | POLLHUP | POLLERR))
			keep = false;
		if (keep && c->state == CONN_WRITING)
			keep = conn_write(c);
		if (!keep)
			conn_close(srv, i);
	}
}

/* Answers that came while the session was served. */
static void write_answers(struct server *srv)
{
	for (unsigned int i = srv->conn_count; i-- > 0;) {
		if (srv->conns[i]->state == CONN_WRITING && !conn_write(srv->conns[i]))
			conn_close(srv, i);
	}
}

static int server_turn(struct server *srv)
{
	static struct pollfd fds[MAX_CONNECTIONS + 2];
	unsigned int count = srv->conn_count;
	uint64_t now_ms = session_now_ms();

	for (unsigned int i = 0; i < count; i++)
		fds[i] = (struct pollfd){.fd = srv->conns[i]->fd, .events = conn_events(srv->conns[i])};
	fds[count] = (struct pollfd){.fd = srv->listen_fd, .events = POLLIN};
	fds[count + 1] =
		(struct pollfd){.fd = session_fd(srv->session), .events = session_events(srv->session)};
	if (poll(fds, count + 2, session_wait_ms(srv->session, now_ms)) < 0)
		return errno == EINTR ? 0 : -errno;
	now_ms = session_now_ms();
	serve_conns(srv, fds, count, now_ms);
	session_service(srv->session, fds[count + 1].revents, now_ms);
	write_answers(srv);
	if (fds[count].revents & POLLIN)
		server_accept(srv);
	return 0;
}

int server_run(int listen_fd, struct session *session, volatile sig_atomic_t *stop)
{
	static struct server srv;
	int err = 0;

	srv.listen_fd = listen_fd;
	srv.session = session;
	scan_init(&srv.scan, session, on_scan_finished, &srv);
	session_on_up(session, on_session_up, &srv);
	while (!*stop && err == 0)
		err = server_turn(&srv);
	while (srv.conn_count)
		conn_close(&srv, srv.conn_count - 1);
	close(listen_fd);
	return err;
}
