/* SPDX-License-Identifier: Apache-2.0 */
/*
 * umbra-lab-writer: proves the order of writes across two LUNs (record.h has the rule), through iSCSI.
 *
 *   run     streams of records to LUN A, then B, until SIGTERM or --seconds; stands still when the hold
 * broker says so, at any point between two writes, and notes in the ledger where each stream stood verify
 * reads two LUNs (originals or shadow LUNs) and checks that they are of one instant
 *
 * Ends 0; 1: failed, or what was read breaks the order; 2: wrong usage. Ends, too, when the process that started it is gone.
 */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "lab/writers/writer.h"

#define PARENT_POLL_MS 200

static const char usage_text[] =
	"usage: umbra-lab-writer run    --a URL --b URL [options]\n"
	"       umbra-lab-writer verify --a URL --b URL [options]\n"
	"  URL: iscsi://[USER%SECRET@]HOST:PORT/TARGET/LUN\n"
	"  --initiator NAME   initiator name (default iqn.2025-01.dev.umbra:lab-writer)\n"
	"  --offset BYTES     where the records begin on both LUNs (default 0; a multiple of 4096)\n"
	"  --slots N          records kept a stream (default 64)\n"
	"  --streams N        independent streams (default 4)\n"
	"run only:\n"
	"  --hold PORT        stand still when the hold broker on 127.0.0.1:PORT asks for it\n"
	"  --no-hold          never stand still (the default without --hold): the order is the array's alone\n"
	"  --ledger FILE      append a line of JSON at each hold: where every stream stood\n"
	"  --name NAME        what the broker calls this writer (default writer)\n"
	"  --pause-us N       between two writes of a stream (default 1000)\n"
	"  --seconds N        end after so long (default: at SIGTERM)\n"
	"  --ready FILE       create FILE when the first write was answered\n"
	"verify only:\n"
	"  --expect A:B,...   the sequence numbers of each stream, as the ledger has them\n"
	"  --json             the result as JSON\n";

static volatile sig_atomic_t ending;

static void on_signal(int sig)
{
	(void)sig;
	ending = 1;
}

bool writer_ending(void)
{
	return ending != 0;
}

/* Nobody is left who could end it, and libiscsi would try for ever to reach an array that has gone with the test. A thread
 * of its own: libiscsi's waits cannot be left. */
static void *end_with_parent(void *arg)
{
	const pid_t parent = *(const pid_t *)arg;
	const struct timespec pause = {.tv_nsec = PARENT_POLL_MS * 1000000};
	while (getppid() == parent)
		nanosleep(&pause, NULL);
	_exit(1);
}

static void watch_parent(void)
{
	static pid_t parent;
	pthread_t thread;
	parent = getppid();
	if (pthread_create(&thread, NULL, end_with_parent, &parent) == 0)
		pthread_detach(thread);
}

enum {
	OPT_A = 1,
	OPT_B,
	OPT_INITIATOR,
	OPT_OFFSET,
	OPT_SLOTS,
	OPT_STREAMS,
	OPT_HOLD,
	OPT_NO_HOLD,
	OPT_LEDGER,
	OPT_NAME,
	OPT_PAUSE,
	OPT_SECONDS,
	OPT_READY,
	OPT_EXPECT,
	OPT_JSON,
	OPT_HELP
};

static const struct option longs[] = {{"a", required_argument, NULL, OPT_A},
	{"b", required_argument, NULL, OPT_B}, {"initiator", required_argument, NULL, OPT_INITIATOR},
	{"offset", required_argument, NULL, OPT_OFFSET}, {"slots", required_argument, NULL, OPT_SLOTS},
	{"streams", required_argument, NULL, OPT_STREAMS}, {"hold", required_argument, NULL, OPT_HOLD},
	{"no-hold", no_argument, NULL, OPT_NO_HOLD}, {"ledger", required_argument, NULL, OPT_LEDGER},
	{"name", required_argument, NULL, OPT_NAME}, {"pause-us", required_argument, NULL, OPT_PAUSE},
	{"seconds", required_argument, NULL, OPT_SECONDS}, {"ready", required_argument, NULL, OPT_READY},
	{"expect", required_argument, NULL, OPT_EXPECT}, {"json", no_argument, NULL, OPT_JSON},
	{"help", no_argument, NULL, OPT_HELP}, {0}};

static bool number(const char *text, uint64_t most, uint64_t *out)
{
	char *end;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end != 0 || errno != 0 || value > most)
		return false;
	*out = value;
	return true;
}

static bool option(struct writer_options *o, int opt, const char *text)
{
	uint64_t value = 0;
	bool good = true;
	switch (opt) {
	case OPT_A:
		o->url[0] = text;
		return true;
	case OPT_B:
		o->url[1] = text;
		return true;
	case OPT_INITIATOR:
		o->initiator = text;
		return true;
	case OPT_LEDGER:
		o->ledger = text;
		return true;
	case OPT_NAME:
		o->name = text;
		return true;
	case OPT_READY:
		o->ready = text;
		return true;
	case OPT_EXPECT:
		o->expect = text;
		return true;
	case OPT_JSON:
		o->json = true;
		return true;
	case OPT_NO_HOLD:
		o->hold_port = 0;
		return true;
	case OPT_OFFSET:
		good = number(text, INT64_MAX, &o->offset_bytes) && o->offset_bytes % RECORD_BYTES == 0;
		return good;
	case OPT_SLOTS:
		good = number(text, 65536, &value) && value > 0;
		o->slots = (uint32_t)value;
		return good;
	case OPT_STREAMS:
		good = number(text, WRITER_MAX_STREAMS, &value) && value > 0;
		o->streams = (uint32_t)value;
		return good;
	case OPT_HOLD:
		good = number(text, 65535, &value) && value > 0;
		o->hold_port = (uint16_t)value;
		return good;
	case OPT_PAUSE:
		good = number(text, 60000000, &value);
		o->pause_us = (uint32_t)value;
		return good;
	case OPT_SECONDS:
		good = number(text, 86400, &value);
		o->seconds = (uint32_t)value;
		return good;
	default:
		return false;
	}
}

int main(int argc, char **argv)
{
	struct writer_options o = {.initiator = "iqn.2025-01.dev.umbra:lab-writer",
		.slots = 64,
		.streams = 4,
		.pause_us = 1000,
		.name = "writer"};
	const char *verb = argc > 1 ? argv[1] : "";
	watch_parent();
	bool run = strcmp(verb, "run") == 0;
	if (strcmp(verb, "--help") == 0) {
		fputs(usage_text, stdout);
		return 0;
	}
	if (!run && strcmp(verb, "verify") != 0) {
		fputs(usage_text, stderr);
		return 2;
	}
	optind = 2;
	for (int opt; (opt = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
		if (opt == OPT_HELP) {
			fputs(usage_text, stdout);
			return 0;
		}
		if (!option(&o, opt, optarg)) {
			fputs("umbra-lab-writer: an option is unknown or its value out of range; --help\n",
				stderr);
			return 2;
		}
	}
	if (optind != argc || !o.url[0] || !o.url[1]) {
		fputs(usage_text, stderr);
		return 2;
	}
	struct sigaction act = {.sa_handler = on_signal};
	sigaction(SIGTERM, &act, NULL);
	sigaction(SIGINT, &act, NULL);
	return run ? writer_run(&o) : writer_verify(&o);
}
