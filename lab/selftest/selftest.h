/* SPDX-License-Identifier: Apache-2.0 */
/*
 * umbra-lab-selftest.exe: a provider that does all kinds of things with its structures (started by COM) and the
 * client that checks what comes across (`client`), so that the proxy-stub is tested over two processes before
 * anybody looks for such a fault in a real provider.
 *
 * What the provider does follows from the arguments: a method that takes a context or a device name takes its
 * mode from there, one that takes a set id returns the id's Data1 as its HRESULT. With devices that are not the
 * test's (the coordinator's), it plays a plain provider whose answers the registry can change:
 * HKLM\Software\Umbra\Lab\Selftest, DWORD values "<method>" (the HRESULT to return) and "<method>Ms" (to sleep
 * before); the string "ShadowSerial" names a disk of the host by its serial number, which then is what it has made.
 */
#ifndef LAB_SELFTEST_H
#define LAB_SELFTEST_H

#include <stdbool.h>
#include <stddef.h>
#include <windows.h>
#include <vss.h>
#include <vdslun.h>
#include <vsprov.h>

/* {7B0F8B6E-3C0A-4F0B-9B55-5E1F7E5C1A01}, ...02 the provider id */
extern const GUID selftest_clsid, selftest_provider_id;

enum mode {
	MODE_KEEP = 1, /* leaves everything alone */
	MODE_LARGER,   /* frees and rebuilds larger */
	MODE_SMALLER,
	MODE_NULL, /* frees all, leaves NULL and 0 */
	MODE_SAME, /* frees and rebuilds with the same content */
	MODE_FAIL, /* changes nothing, returns VSS_E_PROVIDER_VETO */
	MODE_COUNT
};

/* pattern.c: what LUN `index` looks like going in, and coming back in a mode. All CoTaskMem. */
void pattern_fill(VDS_LUN_INFORMATION *out, unsigned index, enum mode mode);
const char *pattern_check(const VDS_LUN_INFORMATION *info, unsigned index, enum mode mode);
void pattern_free(VDS_LUN_INFORMATION *info);
/* Every pointer inside is a CoTaskMem block of its own, large enough. */
bool pattern_is_heap(const VDS_LUN_INFORMATION *info);

int selftest_serve(void);
int selftest_client(void);
/* requester.c: vssapi.dll's operations; a client that is ended, and one that stays, with objects of the coordinator. */
int selftest_requester(void);
int selftest_leaves(void);
int selftest_holds(void);
/* hostile.c: a hostile caller of the provider of that class, {…}; 0 when every answer was allowed. */
int selftest_hostile(const wchar_t *class_text);

#endif
