/* SPDX-License-Identifier: Apache-2.0 */
/*
 * umbra-lab-hold: the write hold broker. In Windows the kernel flushes and holds volumes between VSS's
 * flush-and-hold and release; in the lab the writers are Linux processes, and this broker makes them stand
 * still. Writers and the coordinator connect over TCP on 127.0.0.1 and speak lines; lab/README.md has the
 * protocol.
 *
 * Invariants:
 * - HELD is answered only when every writer connected at that time that writes to what is held has said that it stands
 *   still there. A hold grows LUN by LUN, as Windows flushes and holds volume by volume; its limit counts from the first.
 * - A hold ends by RELEASE, by the coordinator's going away, or at its limit, whichever comes first; whoever
 *   asks for the release after the limit is told EXPIRED.
 * - A writer that connects during a hold is held before its first write.
 * - Bounds: MAX_CLIENTS connections, LINE_BYTES a line; a peer beyond them is cut off.
 */
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_CLIENTS  256
#define LINE_BYTES   160
#define LUNS_MAX     2     /* of a writer */
#define LUN_CHARS    41    /* a serial number */
#define STOP_MS      10000 /* for a writer to stand still */
#define LIMIT_MAX_MS 60000

enum role {
	ROLE_NEW,
	ROLE_WRITER,
	ROLE_COORDINATOR
};
enum hold_state {
	HOLD_NONE,
	HOLD_STOPPING,
	HOLD_HELD,
	HOLD_EXPIRED
};

struct client {
	int fd; /* -1: a free slot */
	enum role role;
	char name[48];
	char luns[LUNS_MAX][LUN_CHARS]; /* a writer's; none told: it writes to all */
	bool standing; /* a writer that said HELD to the last step of the current hold, or that this does not concern */
	char line[LINE_BYTES];
	size_t len;
};

struct broker {
	int listener;
	struct client clients[MAX_CLIENTS];
	enum hold_state state;
	struct client *holder; /* the coordinator whose hold it is */
	unsigned long hold_id; /* of its last step */
	bool grows;            /* it is in force for other LUNs already */
	int64_t deadline_ms, limit_ms, held_at_ms;
};

static volatile sig_atomic_t ending;

static void on_signal(int sig)
{
	(void)sig;
	ending = 1;
}

static int64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void drop(struct broker *b, struct client *c);

__attribute__((format(printf, 3, 4))) static void say(
	struct broker *b, struct client *c, const char *format, ...)
{
	char text[LINE_BYTES];
	va_list args;
	va_start(args, format);
	int len = vsnprintf(text, sizeof text, format, args);
	va_end(args);
	/* A line is far below any socket buffer: a peer that does not take it whole has stopped reading. */
	if (c->fd >= 0 && send(c->fd, text, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT) != len)
		drop(b, c);
}

static unsigned count_writers(const struct broker *b, bool standing_only)
{
	unsigned n = 0;
	for (size_t i = 0; i < MAX_CLIENTS; i++)
		if (b->clients[i].fd >= 0 && b->clients[i].role == ROLE_WRITER &&
			(b->clients[i].standing || !standing_only))
			n++;
	return n;
}

static void release_writers(struct broker *b)
{
	b->state = HOLD_NONE;
	for (size_t i = 0; i < MAX_CLIENTS; i++) {
		struct client *c = &b->clients[i];
		if (c->fd >= 0 && c->role == ROLE_WRITER) {
			c->standing = false;
			say(b, c, "RELEASE %lu\n", b->hold_id);
		}
	}
}

/* A client goes; its hold, if it has one, ends. */
static void drop(struct broker *b, struct client *c)
{
	if (c->fd < 0)
		return;
	close(c->fd);
	c->fd = -1;
	if (b->holder == c) {
		b->holder = NULL;
		if (b->state == HOLD_STOPPING || b->state == HOLD_HELD)
			release_writers(b);
		b->state = HOLD_NONE;
	}
}

static void check_all_standing(struct broker *b)
{
	if (b->state != HOLD_STOPPING || count_writers(b, true) != count_writers(b, false))
		return;
	b->state = HOLD_HELD;
	if (!b->grows)
		b->held_at_ms = now_ms();
	b->deadline_ms = b->held_at_ms + b->limit_ms;
	say(b, b->holder, "HELD %u\n", count_writers(b, true));
}

static bool writes_to(const struct client *w, const char *lun)
{
	bool named = false, hit = !*lun;
	for (size_t i = 0; i < LUNS_MAX; i++) {
		named = named || w->luns[i][0];
		hit = hit || strcmp(w->luns[i], lun) == 0;
	}
	return hit || !named;
}

/* lun: "" for all. More of a hold that the coordinator has already, or its first step. */
static void begin_hold(struct broker *b, struct client *c, long limit_ms, const char *lun)
{
	b->grows = b->state == HOLD_HELD && b->holder == c && *lun;
	if (b->state != HOLD_NONE && !b->grows) {
		say(b, c, b->holder == c ? "FAIL the hold is over\n" : "FAIL another hold is in force\n");
		return;
	}
	b->state = HOLD_STOPPING;
	b->holder = c;
	b->hold_id++;
	if (!b->grows)
		b->limit_ms = limit_ms;
	b->deadline_ms = now_ms() + STOP_MS;
	if (b->grows && b->deadline_ms > b->held_at_ms + b->limit_ms)
		b->deadline_ms = b->held_at_ms + b->limit_ms;
	for (size_t i = 0; i < MAX_CLIENTS; i++) {
		struct client *w = &b->clients[i];
		w->standing = w->role == ROLE_WRITER && !writes_to(w, lun);
		if (w->fd >= 0 && w->role == ROLE_WRITER && !w->standing)
			say(b, w, "HOLD %lu%s%s\n", b->hold_id, *lun ? " " : "", lun);
	}
	check_all_standing(b);
}

static void end_hold(struct broker *b, struct client *c)
{
	long long held_ms = (long long)(now_ms() - b->held_at_ms);
	if (b->holder != c || b->state == HOLD_NONE) {
		say(b, c, "FAIL no hold of yours is in force\n");
		return;
	}
	b->holder = NULL;
	if (b->state == HOLD_EXPIRED) {
		b->state = HOLD_NONE;
		say(b, c, "EXPIRED %lld\n", held_ms);
		return;
	}
	release_writers(b);
	say(b, c, "RELEASED %lld\n", held_ms);
}

static void on_deadline(struct broker *b)
{
	if (b->state == HOLD_STOPPING) {
		const char *slow = "?";
		for (size_t i = 0; i < MAX_CLIENTS; i++)
			if (b->clients[i].fd >= 0 && b->clients[i].role == ROLE_WRITER &&
				!b->clients[i].standing)
				slow = b->clients[i].name;
		struct client *holder = b->holder;
		b->holder = NULL;
		release_writers(b);
		say(b, holder, "FAIL writer %s did not stop\n", slow);
	} else if (b->state == HOLD_HELD) {
		release_writers(b);
		b->state = HOLD_EXPIRED;
	}
}

static void on_writer_line(struct broker *b, struct client *c)
{
	char *end;
	if (strncmp(c->line, "HELD ", 5) != 0) {
		say(b, c, "FAIL writers say HELD <id>\n");
		return;
	}
	if (strtoul(c->line + 5, &end, 10) == b->hold_id && *end == 0) {
		c->standing = true;
		check_all_standing(b);
	}
}

static void on_coordinator_line(struct broker *b, struct client *c)
{
	if (strcmp(c->line, "RELEASE") == 0) {
		end_hold(b, c);
		return;
	}
	char *end = c->line;
	long limit_ms = strncmp(c->line, "HOLD ", 5) == 0 ? strtol(c->line + 5, &end, 10) : 0;
	if (*end == ' ' && end[1] && !strchr(end + 1, ' ') && strlen(end + 1) < LUN_CHARS)
		end++;
	else if (*end != 0)
		limit_ms = 0;
	if (limit_ms <= 0 || limit_ms > LIMIT_MAX_MS)
		say(b, c, "FAIL HOLD <1..%d ms> [LUN] or RELEASE\n", LIMIT_MAX_MS);
	else
		begin_hold(b, c, limit_ms, end);
}

/* NAME [LUN [LUN]]; what is longer or more is no LUN of a hold. */
static void take_writer(struct client *c, const char *words)
{
	size_t len = strcspn(words, " ");
	snprintf(c->name, sizeof c->name, "%.*s", (int)(len < 47 ? len : 47), words);
	for (size_t i = 0; i < LUNS_MAX && words[len]; i++) {
		words += len + 1;
		len = strcspn(words, " ");
		snprintf(c->luns[i], LUN_CHARS, "%.*s", (int)(len < LUN_CHARS ? len : 0), words);
	}
}

static void on_line(struct broker *b, struct client *c)
{
	if (c->role == ROLE_WRITER) {
		on_writer_line(b, c);
	} else if (c->role == ROLE_COORDINATOR) {
		on_coordinator_line(b, c);
	} else if (strcmp(c->line, "COORDINATOR") == 0) {
		c->role = ROLE_COORDINATOR;
	} else if (strncmp(c->line, "WRITER ", 7) == 0) {
		c->role = ROLE_WRITER;
		take_writer(c, c->line + 7);
		say(b, c, "OK\n");
		if (b->state == HOLD_STOPPING || b->state == HOLD_HELD)
			say(b, c, "HOLD %lu\n", b->hold_id);
	} else {
		say(b, c, "FAIL WRITER <name> or COORDINATOR first\n");
		drop(b, c);
	}
}

static void on_readable(struct broker *b, struct client *c)
{
	char bytes[512];
	ssize_t got = recv(c->fd, bytes, sizeof bytes, MSG_DONTWAIT);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		bool was_writer = c->role == ROLE_WRITER;
		drop(b, c);
		if (was_writer)
			check_all_standing(b);
		return;
	}
	for (ssize_t i = 0; i < got && c->fd >= 0; i++) {
		if (bytes[i] == '\n') {
			c->line[c->len] = 0;
			c->len = 0;
			on_line(b, c);
		} else if (c->len + 1 < sizeof c->line) {
			c->line[c->len++] = bytes[i];
		} else {
			drop(b, c);
		}
	}
}

static void on_connection(struct broker *b)
{
	int fd = accept4(b->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), on = 1;
	if (fd < 0)
		return;
	for (size_t i = 0; i < MAX_CLIENTS; i++) {
		if (b->clients[i].fd >= 0)
			continue;
		b->clients[i] = (struct client){.fd = fd};
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
		return;
	}
	close(fd);
}

/* -1: nothing is awaited but what comes over sockets. */
static int wait_ms(const struct broker *b)
{
	if (b->state != HOLD_STOPPING && b->state != HOLD_HELD)
		return -1;
	int64_t left = b->deadline_ms - now_ms();
	return left > 0 ? (int)left : 0;
}

/* waiting: the signals that may come while it waits, and then only: one that came between the question whether to end and a wait
 * without limit would be slept over. */
static void serve(struct broker *b, const sigset_t *waiting)
{
	while (!ending) {
		struct pollfd fds[MAX_CLIENTS + 1] = {{.fd = b->listener, .events = POLLIN}};
		for (size_t i = 0; i < MAX_CLIENTS; i++)
			fds[i + 1] = (struct pollfd){.fd = b->clients[i].fd, .events = POLLIN};
		int ms = wait_ms(b);
		struct timespec limit = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
		int ready = ppoll(fds, MAX_CLIENTS + 1, ms < 0 ? NULL : &limit, waiting);
		if (ready < 0 && errno == EINTR)
			continue;
		if (ready < 0)
			break;
		/* Lines are read before the limit is looked at: when the machine has stood still, a RELEASE
		 * may have come in time. */
		for (size_t i = 0; i < MAX_CLIENTS; i++)
			if (fds[i + 1].revents && fds[i + 1].fd == b->clients[i].fd && b->clients[i].fd >= 0)
				on_readable(b, &b->clients[i]);
		if (wait_ms(b) == 0)
			on_deadline(b);
		if (fds[0].revents)
			on_connection(b);
	}
}

static int listen_on(unsigned port, unsigned *bound)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	socklen_t len = sizeof address;
	int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
		bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 64) < 0 ||
		getsockname(fd, (struct sockaddr *)&address, &len) < 0) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	*bound = ntohs(address.sin_port);
	return fd;
}

/* The port appears in the file whole or not at all. */
static bool write_port(const char *path, unsigned port)
{
	char beside[4096];
	if (snprintf(beside, sizeof beside, "%s.new", path) >= (int)sizeof beside)
		return false;
	FILE *out = fopen(beside, "w");
	if (!out)
		return false;
	bool good = fprintf(out, "%u\n", port) > 0;
	good = fclose(out) == 0 && good;
	return good && rename(beside, path) == 0;
}

static const char usage_text[] =
	"usage: umbra-lab-hold [--port N] [--port-file FILE]\n"
	"The lab's write hold broker: listens on 127.0.0.1 (port N, default any free one), writes the port to FILE or\n"
	"stdout, serves until SIGTERM. Ends 0, 1 (failed) or 2 (wrong usage).\n";

int main(int argc, char **argv)
{
	static const struct option longs[] = {{"port", required_argument, NULL, 'p'},
		{"port-file", required_argument, NULL, 'f'}, {"help", no_argument, NULL, 'h'}, {0}};
	static struct broker b;
	const char *port_file = NULL;
	unsigned long port = 0;
	unsigned bound = 0;
	char *end = NULL;
	for (int opt; (opt = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
		if (opt == 'p') {
			port = strtoul(optarg, &end, 10);
			if (*optarg == 0 || *end != 0 || port > 65535)
				opt = '?';
		} else if (opt == 'f') {
			port_file = optarg;
		} else if (opt == 'h') {
			fputs(usage_text, stdout);
			return 0;
		}
		if (opt == '?') {
			fputs(usage_text, stderr);
			return 2;
		}
	}
	if (optind != argc) {
		fputs(usage_text, stderr);
		return 2;
	}
	struct sigaction act = {.sa_handler = on_signal};
	sigset_t ends, before;
	sigaction(SIGTERM, &act, NULL);
	sigaction(SIGINT, &act, NULL);
	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	sigprocmask(SIG_BLOCK, &ends, &before);
	for (size_t i = 0; i < MAX_CLIENTS; i++)
		b.clients[i].fd = -1;
	b.listener = listen_on((unsigned)port, &bound);
	if (b.listener < 0) {
		fprintf(stderr, "umbra-lab-hold: cannot listen on 127.0.0.1:%lu: %s\n", port,
			strerror(errno));
		return 1;
	}
	if (port_file && !write_port(port_file, bound)) {
		fprintf(stderr, "umbra-lab-hold: %s cannot be written: %s\n", port_file, strerror(errno));
		return 1;
	}
	if (!port_file) {
		printf("%u\n", bound);
		fflush(stdout);
	}
	serve(&b, &before);
	for (size_t i = 0; i < MAX_CLIENTS; i++)
		if (b.clients[i].fd >= 0)
			close(b.clients[i].fd);
	close(b.listener);
	return 0;
}
