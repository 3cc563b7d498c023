/* SPDX-License-Identifier: Apache-2.0 */
/* What the C made by widl expects of the headers around it; included in front of each file of vss_ps.dll. */
#ifndef LAB_PROXY_STUB_DECL_H
#define LAB_PROXY_STUB_DECL_H

#include <windows.h>
#include <objbase.h>

HRESULT WINAPI IUnknown_QueryInterface_Proxy(IUnknown *This, REFIID riid, void **ppvObject);
ULONG WINAPI IUnknown_AddRef_Proxy(IUnknown *This);
ULONG WINAPI IUnknown_Release_Proxy(IUnknown *This);

#endif
