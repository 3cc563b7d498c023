/* SPDX-License-Identifier: Apache-2.0 */
/* umbra-vss.exe: the command line. Exit codes: 0 done, 1 failed (with a reason), 2 wrong usage. */
#include <fcntl.h>
#include <io.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <wchar.h>
#include <windows.h>
#include "provider/adopt.h"
#include "provider/check.h"
#include "provider/copies.h"
#include "provider/copy.h"
#include "provider/orphans.h"
#include "provider/path_rights.h"
#include "provider/refusal.h"
#include "provider/service.h"
#include "provider/sets.h"
#include "provider/setup.h"
#include "provider/status.h"
#include "provider/support.h"
#include "provider/version.h"

static const char usage[] =
	"Usage: umbra-vss COMMAND [OPTION ...]\n"
	"\n"
	"The VSS hardware provider for Umbra arrays.\n"
	"\n"
	"  install     register the provider with Windows and with VSS; what fails leaves everything as it was\n"
	"  uninstall   undo that; shadow copies on the arrays and your settings stay\n"
	"              --force  also where VSS cannot be asked; --keep-service  the service stays, for an upgrade\n"
	"  upgrade     replace another version's registration by this program's (install does so, too)\n"
	"  status      what is installed and which arrays are reached\n"
	"  check       look at all that a shadow copy needs, and say how to mend it; [--json]\n"
	"              --lun PhysicalDriveN  prepare a shadow copy of that LUN, too, and give it up\n"
	"  orphans     list shadow LUNs on the arrays that no host sees, and apart those that one sees; [--json]\n"
	"              --delete ID ...  delete those named, and nothing else\n"
	"              --delete-written ID ...  also those to which a host wrote since\n"
	"              --unmap ID ...  take those that a failed import left from this host\n"
	"  adopt       ID ...  make ordinary LUNs of shadow LUNs that were broken off unknown to the provider; [--json]\n"
	"  copy        VOLUME ...  make an application-consistent copy of the volumes; \"copy\" alone tells its options\n"
	"              [--label LABEL] [--keep hourly=24,daily=7] [--writers WHICH] [--transportable FILE] [--json]\n"
	"  copies      the copies that there are; [--label LABEL] [--json]\n"
	"  import      FILE|SET  take a copy that was made with --transportable onto this host\n"
	"  delete      SET ...  delete copies, through VSS; [--json]\n"
	"  restore     SET [VOLUME ...] --overwrite  the volumes get back what they had when the copy was made\n"
	"  set         create|list|restore|delete  copy sets without VSS; \"set\" alone tells its options\n"
	"  support     FILE.txt  write all that tells what is wrong into one file, without secrets\n"
	"  run         serve: what the service manager starts; in a console until Ctrl+C\n"
	"  --version   print the version\n"
	"  --help      print this\n"
	"\n"
	"Set-up can be repeated. All but --version and --help need an elevated prompt.\n"
	"What goes wrong is in the Application log, source \"Umbra VSS Provider\". Settings are optional values of\n"
	"HKLM\\SOFTWARE\\Umbra\\Provider: CommitBudgetMs, DefaultCopyKind, TraceFile.\n"
	"Exit code: 0 all is well, 1 something is wrong or was found, 2 wrong usage; of copy also 3: the copy is there,\n"
	"and something else failed.\n";

static const struct {
	const WCHAR *name;
	int (*run)(void);
} commands[] = {
	{L"install", setup_install},
	{L"upgrade", setup_install},
	{L"status", status_show},
	{L"run", service_run},
};

/* Commands with words of their own. */
static const struct {
	const WCHAR *name;
	int (*run)(int count, WCHAR **words);
} worded[] = {
	{L"adopt", adopt_run},
	{L"check", check_run},
	{L"copies", copies_run},
	{L"copy", copy_run},
	{L"delete", delete_run},
	{L"import", import_run},
	{L"orphans", orphans_run},
	{L"restore", restore_run},
	{L"set", sets_run},
	{L"uninstall", setup_uninstall},
	{L"support", support_run},
};

static bool is_help(const WCHAR *word)
{
	return !wcscmp(word, L"--help") || !wcscmp(word, L"-h") || !wcscmp(word, L"/?");
}

#define CONSOLE_BYTES 65536

static UINT console_before;

static void console_back(void)
{
	fflush(stdout);
	fflush(stderr);
	SetConsoleOutputCP(console_before);
}

/* All that is printed is UTF-8 (paths, names); a console shows its own code page, and keeps the one that it is given. It gets
 * whole texts: byte by byte, as the C library writes to it, many a Windows puts no character together. */
static void console_utf8(void)
{
	console_before = GetConsoleOutputCP();
	if (!console_before || !SetConsoleOutputCP(CP_UTF8))
		return;
	atexit(console_back);
	setvbuf(stdout, NULL, _IOFBF, CONSOLE_BYTES);
	setvbuf(stderr, NULL, _IOFBF, CONSOLE_BYTES);
	/* Nor is the C library to translate: a console goes to the first column by a line feed alone. */
	if (_isatty(_fileno(stdout)))
		_setmode(_fileno(stdout), _O_BINARY);
	if (_isatty(_fileno(stderr)))
		_setmode(_fileno(stderr), _O_BINARY);
}

/* Windows does not say so of a disk or service that it hides: set-up refuses such a prompt, the others go on with what they see. */
static void warn_of_prompt(void)
{
	if (!path_rights_is_administrator())
		refusal_say(
			"this prompt is not elevated: arrays, disks and services may look as if they were not "
			"there. Start the command from an elevated prompt, as an administrator.");
}

int wmain(int argc, WCHAR **argv); /* what -municode starts */

int wmain(int argc, WCHAR **argv)
{
	/* Nothing is ever loaded from the program's folder or the current one. */
	SetDefaultDllDirectories(LOAD_LIBRARY_SEARCH_SYSTEM32);
	(void)HeapSetInformation(NULL, HeapEnableTerminationOnCorruption, NULL, 0);
	console_utf8();
	if (argc > 1 && is_help(argv[argc - 1])) {
		fputs(usage, stdout);
		return 0;
	}
	if (argc == 2 && !wcscmp(argv[1], L"--version")) {
		printf("umbra-vss %s\n", provider_version);
		return 0;
	}
	if (argc > 1 && wcscmp(argv[1], L"install") != 0 && wcscmp(argv[1], L"upgrade") != 0 &&
		wcscmp(argv[1], L"uninstall") != 0)
		warn_of_prompt();
	for (size_t i = 0; argc == 2 && i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!wcscmp(argv[1], commands[i].name))
			return commands[i].run();
	for (size_t i = 0; argc >= 2 && i < sizeof(worded) / sizeof(worded[0]); i++)
		if (!wcscmp(argv[1], worded[i].name))
			return worded[i].run(argc - 2, argv + 2);
	return refusal_words("there is no such command, or it takes other words", usage);
}
