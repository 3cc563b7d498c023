/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The limit that loopback TCP sets: one thread answers each 48-byte request with so many bytes, another keeps a
 * number of requests in flight. No protocol, no storage. Prints requests per second, and the microseconds of
 * the processors that each takes, of both threads together.
 *
 * usage: pingpong IN_FLIGHT SECONDS SERVER_CPU CLIENT_CPU BYTES
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <time.h>
#include <unistd.h>

enum {
	REQUEST_BYTES = 48,
	IN_FLIGHT_MAX = 1024,
	OUT_BYTES = 8 << 20, /* what may be in flight */
};

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static int whole(int fd, const uint8_t *buf, size_t len)
{
	while (len) {
		ssize_t n = send(fd, buf, len, MSG_NOSIGNAL);
		if (n <= 0)
			return -1;
		buf += n;
		len -= (size_t)n;
	}
	return 0;
}

struct server {
	int fd, cpu;
	size_t reply_bytes;
};

/* Answers as many requests as a read brought, in one send. */
static void *serve(void *arg)
{
	static uint8_t in[IN_FLIGHT_MAX * REQUEST_BYTES], out[OUT_BYTES];
	struct server *s = arg;
	size_t have = 0;

	pin(s->cpu);
	for (;;) {
		ssize_t n = recv(s->fd, in, sizeof(in) - have % REQUEST_BYTES, 0);
		if (n <= 0)
			return NULL;
		have += (size_t)n;
		size_t requests = have / REQUEST_BYTES;
		have %= REQUEST_BYTES;
		if (whole(s->fd, out, requests * s->reply_bytes))
			return NULL;
	}
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static double cpu_us(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* Prints what came of it; false: it failed. */
static bool ask(int fd, unsigned in_flight, double seconds, size_t reply_bytes)
{
	static uint8_t request[IN_FLIGHT_MAX * REQUEST_BYTES], reply[1 << 20];
	double start = now(), end = start + seconds, cpu = cpu_us();
	uint64_t bytes = 0, answered = 0;

	if (whole(fd, request, (size_t)in_flight * REQUEST_BYTES))
		return false;
	while (now() < end) {
		ssize_t n = recv(fd, reply, sizeof(reply), 0);
		if (n <= 0)
			return false;
		bytes += (uint64_t)n;
		uint64_t over = bytes / reply_bytes - answered;
		answered += over;
		if (over && whole(fd, request, (size_t)over * REQUEST_BYTES))
			return false;
	}
	printf("%.0f %.1f\n", (double)answered / (now() - start), (cpu_us() - cpu) / (double)answered);
	return true;
}

static int connect_pair(int fds[2])
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(at);
	int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);

	if (listener < 0 || bind(listener, (struct sockaddr *)&at, len) || listen(listener, 1) ||
		getsockname(listener, (struct sockaddr *)&at, &len))
		return -1;
	fds[0] = socket(AF_INET, SOCK_STREAM, 0);
	if (fds[0] < 0 || connect(fds[0], (struct sockaddr *)&at, len))
		return -1;
	fds[1] = accept(listener, NULL, NULL);
	close(listener);
	for (int i = 0; i < 2; i++)
		setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fds[1] < 0 ? -1 : 0;
}

int main(int argc, char **argv)
{
	unsigned long in_flight = argc == 6 ? strtoul(argv[1], NULL, 10) : 0;
	size_t reply_bytes = argc == 6 ? REQUEST_BYTES + strtoul(argv[5], NULL, 10) : 0;
	struct server server;
	pthread_t thread;
	int fds[2];

	if (in_flight < 1 || in_flight > IN_FLIGHT_MAX || reply_bytes > OUT_BYTES / in_flight) {
		fprintf(stderr, "usage: pingpong IN_FLIGHT SECONDS SERVER_CPU CLIENT_CPU BYTES\n");
		return 2;
	}
	if (connect_pair(fds)) {
		fprintf(stderr, "pingpong: %s\n", strerror(errno));
		return 1;
	}
	server = (struct server){fds[1], (int)strtol(argv[3], NULL, 10), reply_bytes};
	if (pthread_create(&thread, NULL, serve, &server))
		return 1;
	pin((int)strtol(argv[4], NULL, 10));
	bool done = ask(fds[0], (unsigned)in_flight, strtod(argv[2], NULL), reply_bytes);
	shutdown(fds[0], SHUT_RDWR);
	pthread_join(thread, NULL);
	return done ? 0 : 1;
}
