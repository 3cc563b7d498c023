/* SPDX-License-Identifier: Apache-2.0 */
/*
 * umbra-lab-requester.exe: the backup software's part in the lab. Asks VSS (vssapi.dll) for shadow copy sets, prints what
 * came of it. Ends 0 (done), 1 (failed: why and what to do on
 * stderr, or in the JSON), 2 (wrong usage), 4 (what it had to say could not be written).
 */
#include <windows.h>
#include <objbase.h>
#include <vss.h>
#include <vsserror.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#include "lab/coordinator/settings.h"
#include "lab/requester/request.h"

static void usage(FILE *out)
{
	fputs(options_usage, out);
	fputs(vshadow_usage, out);
	fputs("or, as diskshadow has it: umbra-lab-requester diskshadow -s FILE [-l LOG] [--json] [--calls]\n",
		out);
}

#define OUTPUT_LOST 4 /* the exit code */

static bool is(const wchar_t *a, const wchar_t *b)
{
	return wcscmp(a, b) == 0;
}

static const struct {
	const wchar_t *name;
	enum verb verb;
} verbs[] = {{L"create", VERB_CREATE}, {L"import", VERB_IMPORT}, {L"list", VERB_LIST},
	{L"delete", VERB_DELETE}, {L"delete-one", VERB_DELETE_ONE}, {L"delete-oldest", VERB_DELETE_OLDEST},
	{L"delete-all", VERB_DELETE_ALL}, {L"break", VERB_BREAK}, {L"mask", VERB_BREAK},
	{L"resync", VERB_RESYNC}, {L"expose", VERB_EXPOSE}, {L"unexpose", VERB_EXPOSE}, {L"scan", VERB_SCAN},
	{L"providers", VERB_PROVIDERS}, {L"unload", VERB_UNLOAD}, {L"diskshadow", VERB_DISKSHADOW}};

/* The verb that a word names, with what it means by itself. */
static void set_verb(struct options *o, const wchar_t *word)
{
	for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
		if (is(word, verbs[i].name))
			o->verb = verbs[i].verb;
	if (is(word, L"mask"))
		o->break_flags = VSS_BREAKEX_FLAG_MASK_LUNS;
	if (is(word, L"unexpose"))
		o->name = L"";
}

/* 0: go on; 1: help was asked for; 2: wrong usage. */
static int understand(struct options *o, int argc, wchar_t **argv)
{
	options_init(o);
	if (argc == 2 && is(argv[1], L"--help"))
		return 1;
	if (argc >= 2 && vshadow_speaks(argv[1]))
		return !vshadow_parse(o, argc, argv) ? 2 : o->help;
	if (argc >= 2)
		set_verb(o, argv[1]);
	if (o->verb == VERB_NONE) {
		usage(stderr);
		return 2;
	}
	if (!options_parse(o, argc, argv))
		return 2;
	if (o->help)
		return 1;
	const char *why = options_incomplete(o);
	if (why)
		fprintf(stderr, "umbra-lab-requester: %s; --help shows the usage\n", why);
	return why ? 2 : 0;
}

/* For the coordinator's next request: see lab/coordinator/settings.h. -1: no such value. */
static void set_for_request(const wchar_t *name, LONG value)
{
	if (value < 0)
		RegDeleteKeyValueW(HKEY_LOCAL_MACHINE, LAB_KEY, name);
	else
		RegSetKeyValueW(HKEY_LOCAL_MACHINE, LAB_KEY, name, REG_DWORD, &value, sizeof value);
}

int wmain(int argc, wchar_t **argv);

int wmain(int argc, wchar_t **argv)
{
	static struct options o;
	int rc = understand(&o, argc, argv);
	if (rc == 1)
		usage(stdout);
	if (rc != 0)
		return rc == 1 ? 0 : rc;
	set_for_request(L"Seed", o.seed ? o.seed : -1);
	set_for_request(L"StaggerMs", o.stagger_ms);
	HRESULT hr = CoInitializeEx(NULL, COINIT_MULTITHREADED);
	if (FAILED(hr))
		return request_fail("COM cannot be used", hr);
	rc = o.verb == VERB_DISKSHADOW ? diskshadow_run(o.file, &o) : request_whole(&o);
	CoUninitialize();
	/* A caller that reads nothing is to know whether there was nothing to read. */
	return fflush(stdout) || ferror(stdout) ? OUTPUT_LOST : rc;
}
