/* SPDX-License-Identifier: Apache-2.0 */
/* See control.h. Blocking and short-lived: one request, one reply. */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include "lab/bridge/control.h"
#include "lab/bridge/wire.h"

static const char *const fault_names[LABW_FAULT_KIND_COUNT] = {
	[LABW_FAULT_CLEAR] = "clear",
	[LABW_FAULT_DELAY] = "delay",
	[LABW_FAULT_DELAY_REPLY] = "delay-reply",
	[LABW_FAULT_SILENT] = "silent",
	[LABW_FAULT_DROP_BEFORE] = "drop-before",
	[LABW_FAULT_DROP_AFTER] = "drop-after",
	[LABW_FAULT_DROP_NOW] = "drop-now",
	[LABW_FAULT_DOWN_NOW] = "down-now",
	[LABW_FAULT_RELEASE] = "release",
};

static bool number(const char *text, int base, unsigned long max, unsigned long *out)
{
	char *end;

	errno = 0;
	*out = strtoul(text, &end, base);
	return errno == 0 && *text && *text != '-' && *end == '\0' && *out <= max;
}

static bool parse_fault(int argc, char **argv, struct labw_fault *fault)
{
	unsigned long v;

	*fault = (struct labw_fault){.opcode = LABW_ANY_OPCODE, .lun = LABW_ANY_LUN, .count = 1};
	if (argc < 1)
		return false;
	for (fault->kind = 0; strcmp(argv[0], fault_names[fault->kind]) != 0;) {
		if (++fault->kind == LABW_FAULT_KIND_COUNT)
			return false;
	}
	for (int i = 1; i < argc; i += 2) {
		if (i + 1 >= argc)
			return false;
		if (strcmp(argv[i], "--op") == 0 && number(argv[i + 1], 16, 0xFF, &v))
			fault->opcode = (uint16_t)v;
		else if (strcmp(argv[i], "--lun") == 0 && number(argv[i + 1], 10, LABW_MAX_LUNS - 1, &v))
			fault->lun = (uint16_t)v;
		else if (strcmp(argv[i], "--count") == 0 && number(argv[i + 1], 10, 0xFFFF, &v))
			fault->count = (uint16_t)v;
		else if (strcmp(argv[i], "--skip") == 0 && number(argv[i + 1], 10, 0xFFFF, &v))
			fault->skip = (uint16_t)v;
		else if (strcmp(argv[i], "--ms") == 0 && number(argv[i + 1], 10, 3600000, &v))
			fault->value_ms = (uint32_t)v;
		else
			return false;
	}
	return true;
}

static bool parse_command(int argc, char **argv, struct labw_request *req)
{
	static const struct {
		const char *name;
		uint8_t verb;
	} plain[] = {{"status", LABW_STATUS}, {"list", LABW_LIST}, {"rescan", LABW_RESCAN}};

	req->tag = 1;
	if (strcmp(argv[0], "fault") == 0) {
		req->verb = LABW_FAULT;
		return parse_fault(argc - 1, argv + 1, &req->fault);
	}
	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
		if (strcmp(argv[0], plain[i].name) == 0)
			req->verb = plain[i].verb;
	}
	return req->verb && argc == 1;
}

static int connect_bridge(const char *port_file)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval patience = {.tv_sec = 300};
	char text[16] = "";
	unsigned long port;
	FILE *f = fopen(port_file, "re");
	int fd, err;

	if (!f)
		return -errno;
	if (!fgets(text, sizeof(text), f))
		text[0] = '\0';
	fclose(f);
	text[strcspn(text, "\n")] = '\0';
	if (!number(text, 10, 65535, &port))
		return -EINVAL;
	addr.sin_port = htons((uint16_t)port);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

static bool receive(int fd, uint8_t *buf, size_t len)
{
	return recv(fd, buf, len, MSG_WAITALL) == (ssize_t)len;
}

static bool exchange(int fd, const struct labw_request *req, struct labw_reply *rep, uint8_t **body)
{
	uint8_t head[LABW_HEAD_MAX_BYTES];
	size_t len = labw_request_head(req, head);

	if (!len || send(fd, head, len, MSG_NOSIGNAL) != (ssize_t)len ||
		!receive(fd, head, LABW_LENGTH_BYTES))
		return false;
	len = labw_body_bytes(head);
	*body = len ? malloc(len) : NULL;
	return *body && receive(fd, *body, len) && labw_reply_decode(rep, *body, len) && rep->tag == req->tag;
}

static void print_luns(const struct labw_reply *rep)
{
	struct labw_lun lun;

	for (uint32_t i = 0; i < rep->lun_count; i++) {
		if (labw_lun_get(&lun, rep->lun_entries + (size_t)i * LABW_LUN_BYTES))
			printf("lun %u type %u blocks %llu of %u %.8s %.16s\n", lun.lun,
				lun.inquiry[0] & 0x1F, (unsigned long long)lun.blocks, lun.block_bytes,
				(const char *)lun.inquiry + 8, (const char *)lun.inquiry + 16);
	}
}

static void print_status(const struct labw_status *st)
{
	printf("connected %u\nsessions %u\nrescan-wanted %u\ncommands %u\ntimeouts %u\nlost %u\nfaults %u\nheld %u\n"
	       "resets %u\naborted %u\n",
		st->connected, st->sessions, st->rescan_wanted, st->commands, st->timeouts, st->lost,
		st->faults, st->held, st->resets, st->aborted);
}

int control_main(int argc, char **argv)
{
	struct labw_request req = {0};
	struct labw_reply rep;
	uint8_t *body = NULL;
	int fd, rc = 1;

	if (argc < 2 || !parse_command(argc - 1, argv + 1, &req))
		return 2;
	fd = connect_bridge(argv[0]);
	if (fd < 0) {
		fprintf(stderr, "umbra-lab-bridge: no bridge answers at the port in %s: %s\n", argv[0],
			strerror(-fd));
		return 1;
	}
	if (!exchange(fd, &req, &rep, &body)) {
		fprintf(stderr, "umbra-lab-bridge: the bridge gave no answer\n");
	} else if (rep.result != LABW_OK) {
		fprintf(stderr, "umbra-lab-bridge: failed (result %u)%s\n", rep.result,
			rep.result == LABW_NOT_CONNECTED ? ": there is no session with the target" : "");
	} else {
		if (rep.verb == LABW_STATUS)
			print_status(&rep.status);
		else if (rep.verb != LABW_FAULT)
			print_luns(&rep);
		rc = 0;
	}
	free(body);
	close(fd);
	return rc;
}
