/* SPDX-License-Identifier: Apache-2.0 */
/* The lab's reading of COM's access lists, by the documentation's own rules and example. */
#include <objbase.h>
#include <sddl.h>
#include <string.h>
#include "check.h"
#include "lab/coordinator/com_rights.h"

#define CLSID_TEXT L"{11111111-2222-3333-4444-555555555555}"
#define CLASS_KEY  L"Software\\Classes\\CLSID\\" CLSID_TEXT
#define APP_KEY    L"Software\\Classes\\AppID\\" CLSID_TEXT
#define START      (COM_LAUNCH_LOCAL | COM_ACTIVATE_LOCAL)

static bool gives(const WCHAR *sddl, enum com_account who, DWORD rights)
{
	PSECURITY_DESCRIPTOR sd = NULL;

	CHECK(ConvertStringSecurityDescriptorToSecurityDescriptorW(sddl, SDDL_REVISION_1, &sd, NULL));
	bool result = com_list_gives(sd, who, rights);
	LocalFree(sd);
	return result;
}

/* 0x3 lets a process be started, and nobody activate the class in it. */
static void activation_is_a_right_of_its_own(void)
{
	static const WCHAR without[] = L"O:BAG:BAD:(A;;0x3;;;SY)(A;;0x3;;;BA)";
	static const WCHAR with[] = L"O:BAG:BAD:(A;;0xB;;;SY)(A;;0xB;;;BA)";

	for (enum com_account who = COM_SYSTEM; who <= COM_ADMINISTRATOR; who++) {
		CHECK(gives(without, who, COM_LAUNCH_LOCAL) && !gives(without, who, COM_ACTIVATE_LOCAL));
		CHECK(!gives(without, who, START) && gives(with, who, START));
		CHECK(gives(without, who, COM_CALL_LOCAL));
		CHECK(!gives(with, who, START | 0x10)); /* from another machine */
	}
	for (enum com_account who = COM_USER; who < COM_ACCOUNTS; who++)
		CHECK(!gives(with, who, COM_LAUNCH_LOCAL) && !gives(with, who, COM_ACTIVATE_LOCAL) &&
			!gives(without, who, COM_CALL_LOCAL));
}

static void an_entry_of_the_old_format_means_all(void)
{
	static const WCHAR list[] = L"O:BAG:BAD:(A;;0x1;;;SY)(A;;0x1;;;LS)";

	CHECK(gives(list, COM_SYSTEM, START | 0x14) && gives(list, COM_LOCAL_SERVICE, START));
	CHECK(!gives(list, COM_USER, COM_ACTIVATE_LOCAL));
	CHECK(!gives(L"O:BAG:BAD:(D;;0x1;;;SY)(A;;0x1;;;SY)", COM_SYSTEM, COM_ACTIVATE_LOCAL));
}

static void invalid_lists_give_nothing(void)
{
	CHECK(!gives(L"O:BAG:BAD:(A;;0xB;;;SY)(A;;0x1;;;BA)", COM_SYSTEM, START)); /* both formats */
	CHECK(!gives(L"O:BAG:BAD:(A;;0xA;;;SY)", COM_SYSTEM, START));              /* without 1 */
	CHECK(!gives(L"D:(A;;0xB;;;SY)", COM_SYSTEM, START));         /* without owner and group */
	CHECK(!gives(L"O:BAG:BAD:", COM_SYSTEM, COM_ACTIVATE_LOCAL)); /* an empty list */
	CHECK(gives(L"O:BAG:BA", COM_USER, START));                   /* no list at all */
}

/* The example of "Access Control Lists for COM": 0xB for SYSTEM, 0x1F for administrators, 0xB for who is logged on. */
static void entries_count_in_their_order_and_when_they_apply(void)
{
	static const WCHAR list[] = L"O:BAG:BAD:(D;;0xB;;;BU)(A;;0xB;;;SY)(A;;0x1F;;;BA)(A;;0xB;;;IU)";

	CHECK(gives(list, COM_SYSTEM, START) && !gives(list, COM_USER, COM_ACTIVATE_LOCAL));
	CHECK(!gives(list, COM_ADMINISTRATOR, START)); /* a user as well, and denied first */
	CHECK(gives(L"O:BAG:BAD:(A;;0xB;;;IU)(D;;0xB;;;BU)", COM_USER, START));
	CHECK(!gives(L"O:BAG:BAD:(A;IOCI;0xB;;;SY)", COM_SYSTEM, START));
	CHECK(gives(L"O:BAG:BAD:(A;;0x3;;;SY)(A;;0x9;;;BA)", COM_SYSTEM, START)); /* from two entries */
}

static void put_list(const WCHAR *name, const WCHAR *sddl)
{
	PSECURITY_DESCRIPTOR sd = NULL;
	ULONG size = 0;

	CHECK(ConvertStringSecurityDescriptorToSecurityDescriptorW(sddl, SDDL_REVISION_1, &sd, &size));
	CHECK(RegSetKeyValueW(HKEY_LOCAL_MACHINE, APP_KEY, name, REG_BINARY, sd, size) == ERROR_SUCCESS);
	LocalFree(sd);
}

static void put_text(const WCHAR *key, const WCHAR *name, const WCHAR *text)
{
	CHECK(RegSetKeyValueW(HKEY_LOCAL_MACHINE, key, name, REG_SZ, text,
		      (DWORD)((wcslen(text) + 1) * sizeof *text)) == ERROR_SUCCESS);
}

static void protect(const WCHAR *key, const WCHAR *sddl)
{
	PSECURITY_DESCRIPTOR sd = NULL;
	HKEY handle;

	CHECK(ConvertStringSecurityDescriptorToSecurityDescriptorW(sddl, SDDL_REVISION_1, &sd, NULL));
	CHECK(RegOpenKeyExW(HKEY_LOCAL_MACHINE, key, 0, WRITE_DAC, &handle) == ERROR_SUCCESS);
	CHECK(RegSetKeySecurity(handle, DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION,
		      sd) == ERROR_SUCCESS);
	RegCloseKey(handle);
	LocalFree(sd);
}

/* What the registry holds: no AppID, lists of its own, and keys that RPCSS cannot read. */
static void a_class_is_judged_by_its_registration(void)
{
	CLSID clsid;

	CHECK(CLSIDFromString(CLSID_TEXT, &clsid) == S_OK);
	put_text(CLASS_KEY, NULL, L"test");
	CHECK_HR(com_may_activate(&clsid, COM_SYSTEM, false), S_OK); /* by default */
	CHECK_HR(com_may_activate(&clsid, COM_USER, false), S_OK);
	CHECK_HR(com_may_activate(&clsid, COM_LOCAL_SERVICE, false), E_ACCESSDENIED);
	CHECK_HR(com_may_call(&clsid, COM_USER), E_ACCESSDENIED);
	put_text(CLASS_KEY, L"AppID", CLSID_TEXT);
	put_list(L"LaunchPermission", L"O:BAG:BAD:(A;;0x9;;;SY)(A;;0xB;;;BA)");
	put_list(L"AccessPermission", L"O:BAG:BAD:(A;;0x3;;;SY)");
	CHECK_HR(com_may_activate(&clsid, COM_SYSTEM, true), S_OK);
	CHECK_HR(com_may_activate(&clsid, COM_ADMINISTRATOR, false), S_OK);
	CHECK_HR(com_may_activate(&clsid, COM_USER, true), E_ACCESSDENIED);
	CHECK_HR(com_may_call(&clsid, COM_SYSTEM), S_OK);
	CHECK_HR(com_may_call(&clsid, COM_LOCAL_SERVICE), E_ACCESSDENIED);
	protect(APP_KEY, L"D:P(A;;KA;;;SY)(A;;KA;;;BA)");
	CHECK(!key_gives(APP_KEY, COM_NETWORK_SERVICE, KEY_READ) &&
		key_gives(APP_KEY, COM_SYSTEM, KEY_WRITE));
	CHECK_HR(com_may_activate(&clsid, COM_SYSTEM, true), E_ACCESSDENIED);
	protect(APP_KEY, L"D:P(A;;KA;;;SY)(A;;KA;;;BA)(A;;KR;;;BU)");
	CHECK_HR(com_may_activate(&clsid, COM_SYSTEM, true), S_OK);
	CHECK(RegDeleteTreeW(HKEY_LOCAL_MACHINE, APP_KEY) == ERROR_SUCCESS);
	CHECK(RegDeleteTreeW(HKEY_LOCAL_MACHINE, CLASS_KEY) == ERROR_SUCCESS);
	CHECK_HR(com_may_activate(&clsid, COM_SYSTEM, true), REGDB_E_CLASSNOTREG);
}

int main(void)
{
	static const struct test tests[] = {
		TEST(activation_is_a_right_of_its_own),
		TEST(an_entry_of_the_old_format_means_all),
		TEST(invalid_lists_give_nothing),
		TEST(entries_count_in_their_order_and_when_they_apply),
		TEST(a_class_is_judged_by_its_registration),
	};

	return run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
