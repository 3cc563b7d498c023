/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names and ids under which Windows knows the provider. The provider id, the CLSID and the AppID never
 * change; the version id is in version.h.
 */
#ifndef UMBRA_PROVIDER_IDS_H
#define UMBRA_PROVIDER_IDS_H

#include <windows.h>

/* {C27FDB10-24D1-4708-9442-880E6246FE94} */
DEFINE_GUID(UMBRA_PROVIDER_ID, 0xc27fdb10, 0x24d1, 0x4708, 0x94, 0x42, 0x88, 0x0e, 0x62, 0x46, 0xfe, 0x94);
/* {DB5509AB-F8CD-4A11-8EFB-A1989538579C} */
DEFINE_GUID(CLSID_UmbraProvider, 0xdb5509ab, 0xf8cd, 0x4a11, 0x8e, 0xfb, 0xa1, 0x98, 0x95, 0x38, 0x57, 0x9c);
/* {F6DF2B1B-5A2C-407E-BB2D-A5097EB76D43} */
DEFINE_GUID(APPID_UmbraProvider, 0xf6df2b1b, 0x5a2c, 0x407e, 0xbb, 0x2d, 0xa5, 0x09, 0x7e, 0xb7, 0x6d, 0x43);

#define UMBRA_PROVIDER_TEXT L"{C27FDB10-24D1-4708-9442-880E6246FE94}"
#define UMBRA_CLSID_TEXT    L"{DB5509AB-F8CD-4A11-8EFB-A1989538579C}"
#define UMBRA_APPID_TEXT    L"{F6DF2B1B-5A2C-407E-BB2D-A5097EB76D43}"

#define UMBRA_PROVIDER_NAME   L"Umbra VSS Hardware Provider"
#define UMBRA_SERVICE_NAME    L"umbra-vss"
#define UMBRA_SERVICE_DISPLAY L"Umbra VSS Hardware Provider"
#define UMBRA_SERVICE_ABOUT                                                                                  \
	L"Makes application-consistent shadow copies of LUNs on Umbra arrays for the Volume Shadow Copy service."
#define UMBRA_EVENT_SOURCE L"Umbra VSS Provider"
#define UMBRA_EVENT_DLL    L"umbra-vss-events.dll"

#define UMBRA_KEY_CLSID   L"SOFTWARE\\Classes\\CLSID\\" UMBRA_CLSID_TEXT
#define UMBRA_KEY_APPID   L"SOFTWARE\\Classes\\AppID\\" UMBRA_APPID_TEXT
#define UMBRA_KEY_EVENTS  L"SYSTEM\\CurrentControlSet\\Services\\EventLog\\Application\\" UMBRA_EVENT_SOURCE
#define UMBRA_KEY_SERVICE L"SYSTEM\\CurrentControlSet\\Services\\" UMBRA_SERVICE_NAME
/* Where VSS keeps what RegisterProvider told it. Touched only where VSS itself cannot be asked. */
#define UMBRA_KEY_VSS    L"SYSTEM\\CurrentControlSet\\Services\\VSS\\Providers\\" UMBRA_PROVIDER_TEXT
#define UMBRA_KEY_VENDOR L"SOFTWARE\\Umbra"
/* See copy_book.h. */
#define UMBRA_KEY_COPIES L"SOFTWARE\\Umbra\\Copies"
/* Volatile: see load_mark.h. */
#define UMBRA_KEY_LOADED L"SOFTWARE\\Umbra\\Loaded"
/* Settings, all optional: see settings.h. */
#define UMBRA_KEY_SETTINGS_A "SOFTWARE\\Umbra\\Provider"
#define UMBRA_KEY_SETTINGS   TEXT(UMBRA_KEY_SETTINGS_A)

/* LocalSystem (VSS runs as it) and administrators, locally. Who may call: execute (1), locally (2). Who may launch:
 * besides, activate locally (8), without which COM refuses CoCreateInstance whether the service runs or not. */
#define UMBRA_ACCESS_SDDL L"O:BAG:BAD:(A;;0x3;;;SY)(A;;0x3;;;BA)"
#define UMBRA_LAUNCH_SDDL L"O:BAG:BAD:(A;;0xB;;;SY)(A;;0xB;;;BA)"
/* Who may write the keys of set-up: the same; users read (COM and the event viewer do so for them). Protected: a laxer
 * parent hands nothing down. */
#define UMBRA_KEY_SDDL L"O:BAD:P(A;CI;KA;;;SY)(A;CI;KA;;;BA)(A;CI;KR;;;BU)"

#endif
