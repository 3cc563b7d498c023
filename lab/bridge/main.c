/* SPDX-License-Identifier: Apache-2.0 */
/* umbra-lab-bridge: command line. Serves, or (--control) speaks to a serving one; see control.h. */
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "lab/bridge/control.h"
#include "lab/bridge/server.h"

static const char USAGE[] =
	"usage: umbra-lab-bridge --portal HOST:PORT --target IQN --initiator IQN --port-file FILE [options]\n"
	"       umbra-lab-bridge --control PORTFILE COMMAND ...\n"
	"\n"
	"Keeps an iSCSI session as one host and serves it to umbra-lab-scsi.sys on 127.0.0.1.\n"
	"  --portal HOST:PORT       the target's portal\n"
	"  --target IQN             the target's name\n"
	"  --initiator IQN          this host's name\n"
	"  --adapter N              which of this host's adapters this is (default 0)\n"
	"  --chap-user NAME         log in by CHAP (default without: none)\n"
	"  --chap-secret-file FILE  its first line is the secret\n"
	"  --port N                 where to listen (default 0: any free port)\n"
	"  --port-file FILE         written, with the port in it, when the bridge listens\n"
	"  --link-down-ms N         how long commands wait for a lost session (default 60000)\n"
	"  --reset-ms N             how long a reset may take before the next, harder one (default 10000)\n"
	"  --nop-ms N               keepalive interval, 0: none (default 5000)\n"
	"\n"
	"Commands for a running bridge (PORTFILE is its port file):\n"
	"  status | list | rescan | fault KIND [--op HEX] [--lun N] [--count N] [--skip N] [--ms N]\n"
	"  KIND: delay, delay-reply, silent, drop-before, drop-after, drop-now, down-now, clear, release\n"
	"  --op: only this operation code; --count: how many commands (default 1, 0: until clear); --skip: after\n"
	"  so many that match. clear: forget them; release: what is delayed or away (down-now) goes on at once,\n"
	"  what is silent is lost\n";

struct options {
	struct session_options session;
	const char *secret_file, *port_file;
	unsigned long port;
};

static volatile sig_atomic_t stop_requested;

static void on_signal(int sig)
{
	(void)sig;
	stop_requested = 1;
}

static bool parse_number(const char *text, unsigned long max, unsigned long *out)
{
	char *end;

	errno = 0;
	*out = strtoul(text, &end, 10);
	return errno == 0 && *text && *text != '-' && *end == '\0' && *out <= max;
}

static int parse_options(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {{"portal", 1, NULL, 'p'}, {"target", 1, NULL, 't'},
		{"initiator", 1, NULL, 'i'}, {"adapter", 1, NULL, 'a'}, {"chap-user", 1, NULL, 'u'},
		{"chap-secret-file", 1, NULL, 's'}, {"port", 1, NULL, 'P'}, {"port-file", 1, NULL, 'f'},
		{"link-down-ms", 1, NULL, 'l'}, {"nop-ms", 1, NULL, 'n'}, {"reset-ms", 1, NULL, 'r'},
		{"help", 0, NULL, 'h'}, {NULL, 0, NULL, 0}};
	unsigned long number;
	int opt;

	while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (opt) {
		case 'p':
			o->session.portal = optarg;
			break;
		case 't':
			o->session.target = optarg;
			break;
		case 'i':
			o->session.initiator = optarg;
			break;
		case 'a':
			if (!parse_number(optarg, 0xFFFF, &number))
				return 2;
			o->session.adapter = (uint16_t)number;
			break;
		case 'u':
			o->session.chap_user = optarg;
			break;
		case 's':
			o->secret_file = optarg;
			break;
		case 'f':
			o->port_file = optarg;
			break;
		case 'P':
			if (!parse_number(optarg, 65535, &o->port))
				return 2;
			break;
		case 'l':
			if (!parse_number(optarg, 3600000, &number))
				return 2;
			o->session.link_down_ms = (uint32_t)number;
			break;
		case 'r':
			if (!parse_number(optarg, 3600000, &number) || !number)
				return 2;
			o->session.reset_ms = (uint32_t)number;
			break;
		case 'n':
			if (!parse_number(optarg, 3600000, &number))
				return 2;
			o->session.nop_ms = (uint32_t)number;
			break;
		case 'h':
			fputs(USAGE, stdout);
			exit(0);
		default:
			return 2;
		}
	}
	if (optind != argc || !o->session.portal || !o->session.target || !o->session.initiator ||
		!o->port_file || !o->session.chap_user != !o->secret_file)
		return 2;
	return 0;
}

/* The first line, without its end. */
static int read_secret(const char *path, char *buf, size_t cap)
{
	FILE *f = fopen(path, "re");
	char *line;

	if (!f) {
		fprintf(stderr, "umbra-lab-bridge: cannot read the CHAP secret in %s: %s\n", path,
			strerror(errno));
		return 1;
	}
	line = fgets(buf, (int)cap, f);
	fclose(f);
	if (!line || strcspn(buf, "\r\n") == 0 || strlen(buf) == cap - 1) {
		fprintf(stderr, "umbra-lab-bridge: %s: the first line must be the CHAP secret\n", path);
		return 1;
	}
	buf[strcspn(buf, "\r\n")] = '\0';
	return 0;
}

static int listen_local(unsigned long port, unsigned int *bound_port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(addr);
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0 || listen(fd, 128) != 0 ||
		getsockname(fd, (struct sockaddr *)&addr, &len) != 0) {
		int err = -errno;

		close(fd);
		return err;
	}
	*bound_port = ntohs(addr.sin_port);
	return fd;
}

/* Whole or not at all: by rename. */
static int write_port_file(const char *path, unsigned int port)
{
	char tmp[4096];
	FILE *f;

	if (snprintf(tmp, sizeof(tmp), "%s.new", path) >= (int)sizeof(tmp))
		return -ENAMETOOLONG;
	f = fopen(tmp, "we");
	if (!f)
		return -errno;
	fprintf(f, "%u\n", port);
	if (fclose(f) != 0 || rename(tmp, path) != 0)
		return -errno;
	return 0;
}

static int serve(struct options *o)
{
	struct sigaction sa = {.sa_handler = on_signal};
	char secret[256];
	unsigned int port = 0;
	struct session *session;
	int fd, err;

	if (o->secret_file) {
		if (read_secret(o->secret_file, secret, sizeof(secret)) != 0)
			return 1;
		o->session.chap_secret = secret;
	}
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
	fd = listen_local(o->port, &port);
	err = fd < 0 ? fd : write_port_file(o->port_file, port);
	if (err) {
		fprintf(stderr, "umbra-lab-bridge: cannot listen on 127.0.0.1:%lu or write %s: %s\n", o->port,
			o->port_file, strerror(-err));
		return 1;
	}
	session = session_create(&o->session, session_now_ms());
	if (!session)
		return 1;
	err = server_run(fd, session, &stop_requested);
	session_destroy(session);
	(void)unlink(o->port_file);
	if (err)
		fprintf(stderr, "umbra-lab-bridge: %s\n", strerror(-err));
	return err ? 1 : 0;
}

int main(int argc, char **argv)
{
	struct options o = {.session = {.link_down_ms = 60000, .reset_ms = 10000, .nop_ms = 5000}};

	if (argc >= 2 && strcmp(argv[1], "--control") == 0) {
		int rc = control_main(argc - 2, argv + 2);

		if (rc == 2)
			fputs(USAGE, stderr);
		return rc;
	}
	if (parse_options(argc, argv, &o) != 0) {
		fputs(USAGE, stderr);
		return 2;
	}
	return serve(&o);
}
