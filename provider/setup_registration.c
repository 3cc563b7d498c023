/* SPDX-License-Identifier: Apache-2.0 */
/* The provider among the providers that VSS knows. See setup_registration.h. */
#include "provider/setup_registration.h"

#include <stdlib.h>
#include <string.h>
#include <vsadmin.h>
#include "provider/ids.h"
#include "provider/setup_bounded.h"
#include "provider/setup_registry.h"
#include "provider/version.h"

#define VSS_LIMIT_MS 60000
#define VSS_TRIES    8
#define VSS_PAUSE_MS 500

/* VSS ends by itself when it has been idle for some minutes. Who comes in that moment hears one of these, from the activation
 * or from the first call, and meets a new process when asking again. */
static bool is_ending(HRESULT hr)
{
	static const HRESULT codes[] = {CO_E_SERVER_EXEC_FAILURE, CO_E_SERVER_STOPPING, CO_E_OBJNOTCONNECTED,
		RPC_E_DISCONNECTED, RPC_E_SERVER_DIED, RPC_E_SERVER_DIED_DNE,
		HRESULT_FROM_WIN32(RPC_S_SERVER_UNAVAILABLE), HRESULT_FROM_WIN32(RPC_S_CALL_FAILED),
		HRESULT_FROM_WIN32(RPC_S_CALL_FAILED_DNE)};

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (hr == codes[i])
			return true;
	return false;
}

/* Each call can be made again whether the one before had its effect or not. */
static HRESULT with_vss(HRESULT (*call)(IVssAdmin *admin, void *arg), void *arg)
{
	HRESULT hr = E_FAIL;

	for (unsigned n = 0; n < VSS_TRIES; n++) {
		IVssAdmin *admin;
		if (n)
			Sleep(VSS_PAUSE_MS);
		hr = CoCreateInstance(
			&CLSID_VSSCoordinator, NULL, CLSCTX_LOCAL_SERVER, &IID_IVssAdmin, (void **)&admin);
		if (SUCCEEDED(hr)) {
			hr = call(admin, arg);
			IVssAdmin_Release(admin);
		}
		if (!is_ending(hr))
			break;
	}
	return hr;
}

/* After one call that never came back there is no point in further ones. */
static HRESULT ask_vss(HRESULT (*work)(void *arg), void *arg)
{
	return setup_bounded_hangs() ? HRESULT_FROM_WIN32(ERROR_TIMEOUT)
				     : setup_bounded(work, arg, VSS_LIMIT_MS);
}

static HRESULT remove_call(IVssAdmin *admin, void *unused)
{
	(void)unused;
	HRESULT hr = IVssAdmin_UnregisterProvider(admin, UMBRA_PROVIDER_ID);

	return hr == VSS_E_PROVIDER_NOT_REGISTERED ? S_OK : hr;
}

static HRESULT remove_work(void *unused)
{
	HRESULT hr = with_vss(remove_call, unused);

	return hr == REGDB_E_CLASSNOTREG ? S_OK : hr; /* where there is no VSS nothing is registered */
}

HRESULT registration_remove(void)
{
	return ask_vss(remove_work, NULL);
}

HRESULT registration_erase(void)
{
	return registry_delete(UMBRA_KEY_VSS);
}

static HRESULT add_call(IVssAdmin *admin, void *arg)
{
	const VSS_PROVIDER_PROP *props = arg;
	HRESULT hr = S_OK;

	for (unsigned round = 0; round < 2; round++) {
		hr = IVssAdmin_RegisterProvider(admin, UMBRA_PROVIDER_ID, props->m_ClassId,
			props->m_pwszProviderName, props->m_eProviderType, props->m_pwszProviderVersion,
			props->m_ProviderVersionId);
		if (hr != VSS_E_PROVIDER_ALREADY_REGISTERED || round)
			break;
		/* Somebody was faster, or QueryProviders did not tell of it: replaced, as an upgrade is. */
		HRESULT removed = IVssAdmin_UnregisterProvider(admin, UMBRA_PROVIDER_ID);
		if (FAILED(removed) && removed != VSS_E_PROVIDER_NOT_REGISTERED) {
			hr = removed;
			break;
		}
	}
	return hr;
}

static HRESULT add_work(void *arg)
{
	return with_vss(add_call, arg);
}

HRESULT registration_add(const VSS_PROVIDER_PROP *props)
{
	VSS_PROVIDER_PROP *copy = malloc(sizeof(*copy));

	if (!copy)
		return E_OUTOFMEMORY;
	*copy = *props; /* its texts are the caller's, who frees none while a call hangs */
	HRESULT hr = ask_vss(add_work, copy);
	if (!setup_bounded_hangs())
		free(copy);
	return hr;
}

void registration_of_this(VSS_PROVIDER_PROP *props)
{
	static WCHAR name[] = UMBRA_PROVIDER_NAME, version[32]; /* VSS takes no const text */

	wcscpy_s(version, 32, provider_version_wide);
	memset(props, 0, sizeof(*props));
	props->m_ProviderId = UMBRA_PROVIDER_ID;
	props->m_pwszProviderName = name;
	props->m_eProviderType = VSS_PROV_HARDWARE;
	props->m_pwszProviderVersion = version;
	props->m_ProviderVersionId = provider_version_id;
	props->m_ClassId = CLSID_UmbraProvider;
}

bool registration_is_this(const VSS_PROVIDER_PROP *p)
{
	return IsEqualGUID(&p->m_ProviderVersionId, &provider_version_id) &&
	       IsEqualGUID(&p->m_ClassId, &CLSID_UmbraProvider) && p->m_eProviderType == VSS_PROV_HARDWARE;
}

void registration_free(VSS_PROVIDER_PROP *props)
{
	if (setup_bounded_hangs())
		return;
	CoTaskMemFree(props->m_pwszProviderName);
	CoTaskMemFree(props->m_pwszProviderVersion);
	memset(props, 0, sizeof(*props));
}

static HRESULT query_call(IVssAdmin *admin, void *arg)
{
	VSS_PROVIDER_PROP *props = arg;
	IVssEnumObject *list;
	HRESULT hr = IVssAdmin_QueryProviders(admin, &list);

	if (FAILED(hr))
		return hr;
	for (;;) {
		VSS_OBJECT_PROP one;
		ULONG fetched = 0;
		memset(&one, 0, sizeof(one));
		hr = IVssEnumObject_Next(list, 1, &one, &fetched);
		if (hr != S_OK || !fetched)
			break;
		if (one.Type == VSS_OBJECT_PROVIDER &&
			IsEqualGUID(&one.Obj.Prov.m_ProviderId, &UMBRA_PROVIDER_ID)) {
			*props = one.Obj.Prov;
			break;
		}
		if (one.Type == VSS_OBJECT_PROVIDER)
			registration_free(&one.Obj.Prov);
	}
	IVssEnumObject_Release(list);
	return FAILED(hr) ? hr : props->m_pwszProviderName ? S_OK : S_FALSE;
}

static HRESULT query_work(void *arg)
{
	return with_vss(query_call, arg);
}

HRESULT registration_query(VSS_PROVIDER_PROP *props)
{
	VSS_PROVIDER_PROP *found = calloc(1, sizeof(*found));

	memset(props, 0, sizeof(*props));
	if (!found)
		return E_OUTOFMEMORY;
	HRESULT hr = ask_vss(query_work, found);
	if (setup_bounded_hangs())
		return hr;
	*props = *found;
	free(found);
	return hr;
}
