/* SPDX-License-Identifier: Apache-2.0 */
/* See status.h. Every line that reports a fault says how to mend it. */
#include "provider/status.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <windows.h>
#include <ole2.h>
#include "proto/identity.h"
#include "provider/array_client.h"
#include "provider/com_security.h"
#include "provider/ids.h"
#include "provider/refusal.h"
#include "provider/setup.h"
#include "provider/setup_bounded.h"
#include "provider/setup_registration.h"
#include "provider/setup_service.h"
#include "provider/version.h"

static bool show_service(void)
{
	const char *state = setup_service_state();
	bool there = strcmp(state, "not installed") != 0;

	printf("service:        %s%s\n", state, there ? "" : " - run \"umbra-vss install\"");
	return there;
}

static bool show_registration(void)
{
	VSS_PROVIDER_PROP props;
	HRESULT hr = registration_query(&props);

	if (FAILED(hr)) {
		printf("VSS:            cannot be asked (0x%08lx). %s\n", (unsigned long)hr,
			setup_explain(hr));
		return false;
	}
	if (hr == S_FALSE) {
		puts("VSS:            the provider is not registered - run \"umbra-vss install\"");
		return false;
	}
	bool current = registration_is_this(&props);
	printf("VSS:            registered, version %ls%s\n",
		props.m_pwszProviderVersion ? props.m_pwszProviderVersion : L"?",
		current ? "" : " - not this program's; run \"umbra-vss upgrade\"");
	registration_free(&props);
	return current;
}

static void show_array(const struct array_info *a)
{
	char id[UP_SERIAL_BYTES + 1];

	up_id_format(a->id, id);
	printf("array:          %s (%s)\n", a->name, id);
	printf("  this host is  %s%s\n", a->initiator,
		a->authenticated ? ", authenticated by CHAP"
				 : ", without CHAP: the array may refuse shadow copies");
	for (unsigned i = 0; i < a->path_count; i++) {
		const struct channel_path *p = &a->paths[i];
		printf("  by            %s  %s%s\n", p->device.name,
			p->device.device_type ? "control LU" : p->serial,
			p->is_shadow ? " (shadow copy)" : "");
	}
}

static bool show_arrays(void)
{
	static struct array_info info;
	uint8_t ids[ARRAYS_MAX][UP_ID_BYTES];
	struct array_client *client = array_client_create(transport_spti());

	if (!client) {
		puts("arrays:         out of memory");
		return false;
	}
	array_client_discover(client);
	unsigned count = array_client_ids(client, ids);
	for (unsigned i = 0; i < count; i++)
		if (array_client_info(client, ids[i], &info) == 0)
			show_array(&info);
	bool gaps = array_client_has_gaps(client);
	array_client_destroy(client);
	if (count && gaps)
		puts("arrays:         a device of an array does not answer, there may be more - \"umbra-vss check\" tells how to "
		     "mend it");
	if (!count)
		puts("arrays:         none is reached - connect the array's iSCSI target, map a LUN to this host, and run "
		     "this as an administrator");
	return count > 0 && !gaps;
}

int status_show(void)
{
	HRESULT hr = CoInitializeEx(NULL, COINIT_MULTITHREADED | COINIT_DISABLE_OLE1DDE);

	if (SUCCEEDED(hr))
		hr = com_security_client();
	if (FAILED(hr)) {
		refusal_say("%s: error 0x%08lx. %s", "COM", (unsigned long)hr, setup_explain(hr));
		return 1;
	}
	printf("umbra-vss:      %s\n", provider_version);
	bool ok = show_service();
	ok = show_registration() && ok;
	ok = show_arrays() && ok;
	if (!setup_bounded_hangs())
		CoUninitialize();
	return ok ? 0 : 1;
}
