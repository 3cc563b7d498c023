/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeps every interface that a process serves registered with Wine's RPC until the process ends.
 *
 * When the last stub of an interface goes Wine unregisters it and waits for the calls that are under way. One that ends
 * just then (Wine 8: between RpcServerUnregisterIf's look at the number of calls and its creation of the event)
 * tells nobody, and the client waits for ever in its Release. A client that calls and then releases, as each of ours
 * does, meets that about once in a thousand times on a busy machine.
 *
 * So the first stub of an interface is followed by one for a placeholder that nobody ever calls or releases; IClassFactory,
 * of which activation makes and drops a stub each time, is kept with the first of them.
 */
#include <windows.h>
#include <objbase.h>
#include <stdbool.h>

#define INTERFACES_MAX 64

HRESULT WINAPI DllGetClassObject(REFCLSID clsid, REFIID iid, void **out); /* dlldata.c */
HRESULT WINAPI keep_get_class_object(REFCLSID clsid, REFIID iid, void **out);

static SRWLOCK lock = SRWLOCK_INIT; /* guards the next two */
static IID kept[INTERFACES_MAX];
static unsigned kept_count;
static IPSFactoryBuffer *made; /* widl's; set once */

static bool find(REFIID iid)
{
	for (unsigned i = 0; i < kept_count; i++)
		if (IsEqualIID(&kept[i], iid))
			return true;
	return false;
}

static bool is_kept(REFIID iid)
{
	AcquireSRWLockShared(&lock);
	bool found = find(iid);
	ReleaseSRWLockShared(&lock);
	return found;
}

/* True for one caller. */
static bool is_first(REFIID iid)
{
	AcquireSRWLockExclusive(&lock);
	bool first = kept_count < INTERFACES_MAX && !find(iid);
	if (first)
		kept[kept_count++] = *iid;
	ReleaseSRWLockExclusive(&lock);
	return first;
}

/* --- the placeholder: an object of every interface that is kept --- */

static HRESULT STDMETHODCALLTYPE placeholder_QueryInterface(IUnknown *iface, REFIID iid, void **out)
{
	*out = IsEqualIID(iid, &IID_IUnknown) || is_kept(iid) ? iface : NULL;
	return *out ? S_OK : E_NOINTERFACE;
}

static ULONG STDMETHODCALLTYPE placeholder_AddRef(IUnknown *iface)
{
	(void)iface;
	return 2;
}

static ULONG STDMETHODCALLTYPE placeholder_Release(IUnknown *iface)
{
	(void)iface;
	return 1;
}

static IUnknownVtbl placeholder_vtbl = {placeholder_QueryInterface, placeholder_AddRef, placeholder_Release};
static IUnknown placeholder = {&placeholder_vtbl};

static void keep(REFIID iid)
{
	IStream *stream = NULL;
	if (!is_first(iid) || FAILED(CreateStreamOnHGlobal(NULL, TRUE, &stream)))
		return;
	CoMarshalInterface(stream, iid, &placeholder, MSHCTX_LOCAL, NULL, MSHLFLAGS_TABLESTRONG);
	IStream_Release(stream);
}

/* --- the factory: widl's, and keep() --- */

static HRESULT STDMETHODCALLTYPE factory_QueryInterface(IPSFactoryBuffer *iface, REFIID iid, void **out)
{
	*out = IsEqualIID(iid, &IID_IUnknown) || IsEqualIID(iid, &IID_IPSFactoryBuffer) ? iface : NULL;
	return *out ? S_OK : E_NOINTERFACE;
}

static ULONG STDMETHODCALLTYPE factory_AddRef(IPSFactoryBuffer *iface)
{
	(void)iface;
	return IPSFactoryBuffer_AddRef(made);
}

static ULONG STDMETHODCALLTYPE factory_Release(IPSFactoryBuffer *iface)
{
	(void)iface;
	return IPSFactoryBuffer_Release(made);
}

static HRESULT STDMETHODCALLTYPE factory_CreateProxy(
	IPSFactoryBuffer *iface, IUnknown *outer, REFIID iid, IRpcProxyBuffer **proxy, void **out)
{
	(void)iface;
	return IPSFactoryBuffer_CreateProxy(made, outer, iid, proxy, out);
}

static HRESULT STDMETHODCALLTYPE factory_CreateStub(
	IPSFactoryBuffer *iface, REFIID iid, IUnknown *server, IRpcStubBuffer **stub)
{
	HRESULT hr = IPSFactoryBuffer_CreateStub(made, iid, server, stub);
	(void)iface;
	if (SUCCEEDED(hr) && server != &placeholder) {
		keep(iid);
		keep(&IID_IClassFactory);
	}
	return hr;
}

static IPSFactoryBufferVtbl factory_vtbl = {
	factory_QueryInterface, factory_AddRef, factory_Release, factory_CreateProxy, factory_CreateStub};
static IPSFactoryBuffer factory = {&factory_vtbl};

/* What the DLL exports as DllGetClassObject. */
HRESULT WINAPI keep_get_class_object(REFCLSID clsid, REFIID iid, void **out)
{
	IPSFactoryBuffer *theirs = NULL;
	HRESULT hr = DllGetClassObject(clsid, &IID_IPSFactoryBuffer, (void **)&theirs);
	if (FAILED(hr))
		return hr;
	InterlockedExchangePointer((void **)&made, theirs); /* always the same one; it is static */
	hr = factory_QueryInterface(&factory, iid, out);
	if (FAILED(hr))
		IPSFactoryBuffer_Release(theirs);
	return hr;
}
