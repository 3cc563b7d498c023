/* SPDX-License-Identifier: Apache-2.0 */
/*
 * umbra-lab-rights {CLSID} [KEY …]: what COM on Windows would let each account do with a class as it is registered here,
 * "ACCOUNT<tab>start yes|no<tab>activate yes|no<tab>call yes|no" a line; then who may read and who may change each key
 * of HKLM that is named, "key<tab>KEY<tab>ACCOUNT<tab>read yes|no<tab>write yes|no".
 */
#include <objbase.h>
#include <stdio.h>
#include "lab/coordinator/com_rights.h"

static const char *yes(bool is)
{
	return is ? "yes" : "no";
}

int wmain(int argc, wchar_t **argv);

int wmain(int argc, wchar_t **argv)
{
	CLSID clsid;
	if (argc < 2 || CLSIDFromString(argv[1], &clsid) != S_OK) {
		fputs("usage: umbra-lab-rights {CLSID} [KEY of HKLM ...]\n", stderr);
		return 2;
	}
	for (enum com_account who = 0; who < COM_ACCOUNTS; who++)
		printf("%s\tstart %s\tactivate %s\tcall %s\n", com_account_name(who),
			yes(com_may_activate(&clsid, who, false) == S_OK),
			yes(com_may_activate(&clsid, who, true) == S_OK),
			yes(com_may_call(&clsid, who) == S_OK));
	for (int i = 2; i < argc; i++)
		for (enum com_account who = 0; who < COM_ACCOUNTS; who++)
			printf("key\t%ls\t%s\tread %s\twrite %s\n", argv[i], com_account_name(who),
				yes(key_gives(argv[i], who, KEY_READ)),
				yes(key_gives(argv[i], who, KEY_SET_VALUE)));
	return 0;
}
