/* SPDX-License-Identifier: Apache-2.0 */
/* umbra-lab-writer verify: are these two LUNs of one instant? record.h has the rule. */
#include "lab/writers/writer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct expectation {
	bool given;
	uint64_t last[WRITER_MAX_STREAMS][2];
};

/* "A:B,A:B…", as many as there are streams. */
static bool parse_expect(const struct writer_options *o, struct expectation *e)
{
	const char *p = o->expect;
	e->given = p != NULL;
	for (uint32_t i = 0; p && i < o->streams; i++) {
		char *end;
		e->last[i][0] = strtoull(p, &end, 10);
		if (end == p || *end != ':')
			return false;
		p = end + 1;
		e->last[i][1] = strtoull(p, &end, 10);
		if (end == p || *end != (i + 1 < o->streams ? ',' : 0))
			return false;
		p = end + 1;
	}
	return true;
}

static uint8_t *read_area(const struct writer_options *o, int side)
{
	struct lun l = {0};
	size_t bytes = (size_t)o->streams * o->slots * RECORD_BYTES;
	uint8_t *blocks = malloc(bytes);
	if (!blocks)
		fprintf(stderr, "umbra-lab-writer: out of memory\n");
	if (!blocks || !lun_open(&l, o->url[side], o->initiator) ||
		!lun_read(&l, o->offset_bytes, blocks, bytes)) {
		free(blocks);
		blocks = NULL;
	}
	lun_close(&l);
	return blocks;
}

/* One stream; NULL, or what is wrong. */
static const char *check_stream(const struct writer_options *o, uint8_t *const area[2], uint64_t run,
	uint32_t stream, const struct expectation *e, uint64_t last[2])
{
	const char *wrong = NULL;
	for (uint32_t side = 0; side < 2; side++) {
		const uint8_t *blocks = area[side] + (size_t)stream * o->slots * RECORD_BYTES;
		struct area_state s = area_check(blocks, o->slots, run, stream, side);
		last[side] = s.last;
		if (s.wrong && !wrong)
			wrong = s.wrong;
	}
	if (!wrong)
		wrong = order_wrong(last[0], last[1]);
	if (!wrong && e->given && (last[0] != e->last[stream][0] || last[1] != e->last[stream][1]))
		wrong = "it does not stand where the ledger says that it stood at the hold";
	return wrong;
}

static int check(const struct writer_options *o, uint8_t *const area[2], const struct expectation *e)
{
	size_t count = (size_t)o->streams * o->slots;
	uint64_t runs[2] = {area_latest_run(area[0], count), area_latest_run(area[1], count)};
	uint64_t run = runs[0] > runs[1] ? runs[0] : runs[1];
	bool good = run != 0;
	if (!good)
		fprintf(stderr, "umbra-lab-writer: there is no record on these LUNs\n");
	if (o->json)
		printf("{\"run\": %llu, \"streams\": [", (unsigned long long)run);
	for (uint32_t i = 0; i < o->streams; i++) {
		uint64_t last[2];
		const char *wrong = check_stream(o, area, run, i, e, last);
		if (o->json)
			printf("%s{\"a\": %llu, \"b\": %llu, \"wrong\": %s%s%s}", i ? ", " : "",
				(unsigned long long)last[0], (unsigned long long)last[1], wrong ? "\"" : "",
				wrong ? wrong : "null", wrong ? "\"" : "");
		else
			printf("stream %u: A %llu, B %llu%s%s\n", (unsigned)i, (unsigned long long)last[0],
				(unsigned long long)last[1], wrong ? ": " : "", wrong ? wrong : "");
		good = good && !wrong;
	}
	if (o->json)
		printf("], \"good\": %s}\n", good ? "true" : "false");
	return good ? 0 : 1;
}

int writer_verify(const struct writer_options *o)
{
	struct expectation *e = calloc(1, sizeof *e);
	uint8_t *area[2] = {NULL, NULL};
	int rc = 1;
	if (e && !parse_expect(o, e)) {
		fprintf(stderr, "umbra-lab-writer: --expect wants A:B for each of the %u streams\n",
			(unsigned)o->streams);
		rc = 2;
	} else if (e && (area[0] = read_area(o, 0)) && (area[1] = read_area(o, 1))) {
		rc = check(o, area, e);
	}
	free(area[0]);
	free(area[1]);
	free(e);
	return rc;
}
