/* SPDX-License-Identifier: Apache-2.0 */
/* The factory is static: one for the life of the process. See class_object.h. */
#include "provider/class_object.h"

#include "provider/eventlog.h"
#include "provider/ids.h"

struct class_object {
	IClassFactory IClassFactory_iface;
	const struct provider_context *context;
	DWORD cookie;
};

static inline struct class_object *impl_from_IClassFactory(IClassFactory *iface)
{
	return CONTAINING_RECORD(iface, struct class_object, IClassFactory_iface);
}

static HRESULT WINAPI factory_QueryInterface(IClassFactory *iface, REFIID iid, void **out)
{
	if (!out)
		return E_INVALIDARG;
	*out = NULL;
	if (!iid)
		return E_INVALIDARG;
	if (!IsEqualIID(iid, &IID_IUnknown) && !IsEqualIID(iid, &IID_IClassFactory))
		return E_NOINTERFACE;
	*out = iface;
	return S_OK;
}

static ULONG WINAPI factory_AddRef(IClassFactory *iface)
{
	(void)iface;
	return 2;
}

static ULONG WINAPI factory_Release(IClassFactory *iface)
{
	(void)iface;
	return 1;
}

static HRESULT WINAPI factory_CreateInstance(IClassFactory *iface, IUnknown *outer, REFIID iid, void **out)
{
	struct class_object *factory = impl_from_IClassFactory(iface);

	if (!out)
		return E_INVALIDARG;
	*out = NULL;
	if (!iid)
		return E_INVALIDARG;
	if (outer)
		return CLASS_E_NOAGGREGATION;
	HRESULT hr = provider_create(factory->context, iid, out);
	eventlog_trace("provider object: 0x%08lx", (unsigned long)hr);
	return hr;
}

static HRESULT WINAPI factory_LockServer(IClassFactory *iface, WINBOOL lock)
{
	(void)iface;
	if (lock)
		CoAddRefServerProcess();
	else
		CoReleaseServerProcess();
	return S_OK;
}

static const IClassFactoryVtbl factory_vtbl = {
	factory_QueryInterface,
	factory_AddRef,
	factory_Release,
	factory_CreateInstance,
	factory_LockServer,
};

static struct class_object the_factory = {.IClassFactory_iface = {&factory_vtbl}};

HRESULT class_object_register(const struct provider_context *context)
{
	the_factory.context = context;
	return CoRegisterClassObject(&CLSID_UmbraProvider, (IUnknown *)&the_factory.IClassFactory_iface,
		CLSCTX_LOCAL_SERVER, REGCLS_MULTIPLEUSE | REGCLS_SUSPENDED, &the_factory.cookie);
}

HRESULT class_object_resume(void)
{
	return CoResumeClassObjects();
}

void class_object_revoke(void)
{
	if (the_factory.cookie)
		CoRevokeClassObject(the_factory.cookie);
	the_factory.cookie = 0;
}
