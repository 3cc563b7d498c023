/* SPDX-License-Identifier: Apache-2.0 */
/* IVssEnumObject over what Query found, and the memory of VSS's structures. */
#include "lab/vssapi/vssapi.h"

#include <stdlib.h>
#include <string.h>
#include <wchar.h>

struct list {
	IVssEnumObject IVssEnumObject_iface;
	LONG refs;
	VSS_OBJECT_PROP *items; /* owned */
	ULONG count, at;
};

wchar_t *copy_text(const wchar_t *text)
{
	size_t bytes = text ? (wcslen(text) + 1) * sizeof *text : 0;
	wchar_t *out = text ? CoTaskMemAlloc(bytes) : NULL;
	if (out)
		memcpy(out, text, bytes);
	return out;
}

void free_snapshot(VSS_SNAPSHOT_PROP *p)
{
	CoTaskMemFree(p->m_pwszSnapshotDeviceObject);
	CoTaskMemFree(p->m_pwszOriginalVolumeName);
	CoTaskMemFree(p->m_pwszOriginatingMachine);
	CoTaskMemFree(p->m_pwszServiceMachine);
	CoTaskMemFree(p->m_pwszExposedName);
	CoTaskMemFree(p->m_pwszExposedPath);
	memset(p, 0, sizeof *p);
}

static void free_item(VSS_OBJECT_PROP *item)
{
	if (item->Type == VSS_OBJECT_SNAPSHOT) {
		free_snapshot(&item->Obj.Snap);
	} else if (item->Type == VSS_OBJECT_PROVIDER) {
		CoTaskMemFree(item->Obj.Prov.m_pwszProviderName);
		CoTaskMemFree(item->Obj.Prov.m_pwszProviderVersion);
	}
}

void list_free_items(VSS_OBJECT_PROP *items, ULONG count)
{
	for (ULONG i = 0; i < count; i++)
		free_item(&items[i]);
	free(items);
}

/* A copy that the caller frees. */
static void copy_item(VSS_OBJECT_PROP *out, const VSS_OBJECT_PROP *in)
{
	*out = *in;
	if (in->Type == VSS_OBJECT_SNAPSHOT) {
		const VSS_SNAPSHOT_PROP *from = &in->Obj.Snap;
		VSS_SNAPSHOT_PROP *to = &out->Obj.Snap;
		to->m_pwszSnapshotDeviceObject = copy_text(from->m_pwszSnapshotDeviceObject);
		to->m_pwszOriginalVolumeName = copy_text(from->m_pwszOriginalVolumeName);
		to->m_pwszOriginatingMachine = copy_text(from->m_pwszOriginatingMachine);
		to->m_pwszServiceMachine = copy_text(from->m_pwszServiceMachine);
		to->m_pwszExposedName = copy_text(from->m_pwszExposedName);
		to->m_pwszExposedPath = copy_text(from->m_pwszExposedPath);
	} else if (in->Type == VSS_OBJECT_PROVIDER) {
		out->Obj.Prov.m_pwszProviderName = copy_text(in->Obj.Prov.m_pwszProviderName);
		out->Obj.Prov.m_pwszProviderVersion = copy_text(in->Obj.Prov.m_pwszProviderVersion);
	}
}

static struct list *impl_from_IVssEnumObject(IVssEnumObject *iface)
{
	return CONTAINING_RECORD(iface, struct list, IVssEnumObject_iface);
}

static HRESULT STDMETHODCALLTYPE list_QueryInterface(IVssEnumObject *iface, REFIID iid, void **out)
{
	if (!out)
		return E_POINTER;
	*out = IsEqualIID(iid, &IID_IUnknown) || IsEqualIID(iid, &IID_IVssEnumObject) ? iface : NULL;
	if (!*out)
		return E_NOINTERFACE;
	IVssEnumObject_AddRef(iface);
	return S_OK;
}

static ULONG STDMETHODCALLTYPE list_AddRef(IVssEnumObject *iface)
{
	return (ULONG)InterlockedIncrement(&impl_from_IVssEnumObject(iface)->refs);
}

static ULONG STDMETHODCALLTYPE list_Release(IVssEnumObject *iface)
{
	struct list *l = impl_from_IVssEnumObject(iface);
	LONG refs = InterlockedDecrement(&l->refs);
	if (refs == 0) {
		list_free_items(l->items, l->count);
		free(l);
	}
	return (ULONG)refs;
}

static HRESULT STDMETHODCALLTYPE list_Next(
	IVssEnumObject *iface, ULONG want, VSS_OBJECT_PROP *out, ULONG *got)
{
	struct list *l = impl_from_IVssEnumObject(iface);
	ULONG n = 0;
	if (!out || !got)
		return E_POINTER;
	for (; n < want && l->at < l->count; n++)
		copy_item(&out[n], &l->items[l->at++]);
	*got = n;
	return n == want ? S_OK : S_FALSE;
}

static HRESULT STDMETHODCALLTYPE list_Skip(IVssEnumObject *iface, ULONG count)
{
	struct list *l = impl_from_IVssEnumObject(iface);
	ULONG left = l->count - l->at;
	l->at += count < left ? count : left;
	return count <= left ? S_OK : S_FALSE;
}

static HRESULT STDMETHODCALLTYPE list_Reset(IVssEnumObject *iface)
{
	impl_from_IVssEnumObject(iface)->at = 0;
	return S_OK;
}

static HRESULT STDMETHODCALLTYPE list_Clone(IVssEnumObject *iface, IVssEnumObject **out)
{
	struct list *l = impl_from_IVssEnumObject(iface);
	if (!out)
		return E_POINTER;
	*out = NULL;
	VSS_OBJECT_PROP *items = calloc(l->count + 1, sizeof *items);
	if (!items)
		return E_OUTOFMEMORY;
	for (ULONG i = 0; i < l->count; i++)
		copy_item(&items[i], &l->items[i]);
	HRESULT hr = list_create(items, l->count, out);
	if (hr == S_OK)
		impl_from_IVssEnumObject(*out)->at = l->at;
	return hr;
}

static const IVssEnumObjectVtbl list_vtbl = {
	list_QueryInterface, list_AddRef, list_Release, list_Next, list_Skip, list_Reset, list_Clone};

HRESULT list_create(VSS_OBJECT_PROP *items, ULONG count, IVssEnumObject **out)
{
	struct list *l = calloc(1, sizeof *l);
	if (!l) {
		list_free_items(items, count);
		return E_OUTOFMEMORY;
	}
	l->IVssEnumObject_iface.lpVtbl = (IVssEnumObjectVtbl *)(uintptr_t)&list_vtbl;
	l->refs = 1;
	l->items = items;
	l->count = count;
	*out = &l->IVssEnumObject_iface;
	return S_OK;
}

static void free_texts(wchar_t **texts, size_t count)
{
	for (size_t i = 0; i < count; i++)
		CoTaskMemFree(texts[i]);
}

static void free_lun(LAB_LUN *l)
{
	free_texts((wchar_t *[]){l->role, l->device, l->vendor, l->product, l->revision, l->serial,
			   l->identifiers, l->state, l->pair},
		9);
}

void free_result(LAB_RESULT *r)
{
	if (!r)
		return;
	for (ULONG i = 0; i < r->call_count; i++)
		free_texts((wchar_t *[]){r->calls[i].method, r->calls[i].arguments}, 2);
	for (ULONG i = 0; i < r->phase_count; i++)
		CoTaskMemFree(r->phases[i].name);
	for (ULONG i = 0; i < r->lun_count; i++)
		free_lun(&r->luns[i]);
	for (ULONG i = 0; i < r->set_count; i++)
		free_texts((wchar_t *[]){r->sets[i].state, r->sets[i].created}, 2);
	for (ULONG i = 0; i < r->snapshot_count; i++) {
		LAB_SNAPSHOT *s = &r->snapshots[i];
		free_texts((wchar_t *[]){s->created, s->exposed, s->name, s->machine}, 4);
	}
	free_texts((wchar_t *[]){(wchar_t *)r->calls, (wchar_t *)r->phases, (wchar_t *)r->luns,
			   (wchar_t *)r->sets, (wchar_t *)r->snapshots, r->message, r->document},
		7);
	CoTaskMemFree(r);
}
