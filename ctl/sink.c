/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A LUN to standard output. qemu-img writes to disks only, so it is given one: an NBD server (the short, old way of greeting;
 * nobody but qemu-img is at the other end of the socket pair) in a process of its own, which takes writes in ascending order,
 * puts zeros where something was left out, and can neither be read nor go back.
 */
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "ctl/image.h"
#include "ctl/run.h"

#define PIECE_BYTES     (256u << 10)
#define WRITE_MAX_BYTES (64u << 20)
#define REQUEST_MAGIC   0x25609513u
#define REPLY_MAGIC     0x67446698u

enum {
	COMMAND_READ,
	COMMAND_WRITE,
	COMMAND_DISCONNECT,
	COMMAND_FLUSH
};
enum {
	FLAG_HAS_FLAGS = 1,
	FLAG_FLUSH = 4
};

struct greeting {
	char magic[8];
	uint64_t old, size;
	uint32_t flags;
	char zeros[124];
} __attribute__((packed));

struct request {
	uint32_t magic;
	uint16_t flags, type;
	uint64_t handle, offset;
	uint32_t len;
} __attribute__((packed));

struct reply {
	uint32_t magic, err;
	uint64_t handle;
} __attribute__((packed));

static char piece[PIECE_BYTES];

static bool get(int fd, void *to, size_t len)
{
	for (char *at = to; len;) {
		ssize_t got = read(fd, at, len);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		at += got;
		len -= (size_t)got;
	}
	return true;
}

static bool put(int fd, const void *from, size_t len)
{
	for (const char *at = from; len;) {
		ssize_t sent = write(fd, at, len);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			return false;
		at += sent;
		len -= (size_t)sent;
	}
	return true;
}

static bool put_zeros(uint64_t len)
{
	memset(piece, 0, sizeof(piece));
	while (len) {
		size_t part = len < sizeof(piece) ? (size_t)len : sizeof(piece);
		if (!put(STDOUT_FILENO, piece, part))
			return false;
		len -= part;
	}
	return true;
}

static bool put_data(int socket, uint32_t len)
{
	while (len) {
		size_t part = len < sizeof(piece) ? len : sizeof(piece);
		if (!get(socket, piece, part) || !put(STDOUT_FILENO, piece, part))
			return false;
		len -= (uint32_t)part;
	}
	return true;
}

static bool greet(int socket, uint64_t size)
{
	struct greeting hello = {.magic = {'N', 'B', 'D', 'M', 'A', 'G', 'I', 'C'},
		.old = htobe64(UINT64_C(0x0000420281861253)),
		.size = htobe64(size),
		.flags = htobe32(FLAG_HAS_FLAGS | FLAG_FLUSH)};

	return put(socket, &hello, sizeof(hello));
}

/* Serves until the other end has gone; how far it came. False: it cannot go on. */
static bool serve(int socket, uint64_t size, uint64_t *at)
{
	struct request q;

	while (get(socket, &q, sizeof(q))) {
		struct reply answer = {.magic = htobe32(REPLY_MAGIC), .handle = q.handle};
		uint64_t offset = be64toh(q.offset);
		uint32_t len = be32toh(q.len);
		uint16_t type = be16toh(q.type);

		if (be32toh(q.magic) != REQUEST_MAGIC || type == COMMAND_DISCONNECT)
			return type == COMMAND_DISCONNECT;
		if (type == COMMAND_WRITE) {
			if (offset < *at || len > WRITE_MAX_BYTES || offset > size || len > size - offset)
				return false; /* behind this the stream has no meaning */
			if (!put_zeros(offset - *at) || !put_data(socket, len))
				return false;
			*at = offset + len;
		} else if (type != COMMAND_FLUSH) {
			answer.err = htobe32(EINVAL);
		}
		if (!put(socket, &answer, sizeof(answer)))
			return false;
	}
	return true;
}

/* The process: exit code 0, or 1. */
static int run(int socket, int finish, uint64_t size)
{
	uint64_t at = 0;
	char whole;

	if (!greet(socket, size) || !serve(socket, size, &at))
		return 1;
	return get(finish, &whole, 1) && put_zeros(size - at) ? 0 : 1;
}

int sink_open(struct sink *s, const struct invocation *in, uint64_t size_bytes)
{
	int ends[2], finish[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) ||
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, finish))
		return ctl_fail(in, -errno, "no socket can be made (%s): try again.", strerror(errno));
	s->pid = fork();
	if (s->pid == 0) {
		stop_child();
		close(ends[0]);
		close(finish[0]);
		_exit(run(ends[1], finish[1], size_bytes));
	}
	close(ends[1]);
	close(finish[1]);
	s->socket = ends[0];
	s->finish = finish[0];
	return s->pid > 0 ? CTL_OK
			  : ctl_fail(in, -errno, "no process can be made (%s): try again.", strerror(errno));
}

int sink_close(struct sink *s, const struct invocation *in, bool whole)
{
	close(s->socket);
	if (whole)
		(void)!send(s->finish, "", 1, MSG_NOSIGNAL);
	shutdown(s->finish, SHUT_WR);
	int code = run_wait(s->pid);
	close(s->finish);
	if (whole && code)
		return ctl_fail(
			in, -EPIPE, "standard output takes no more: what has gone there is not whole.");
	return CTL_OK;
}
