/* SPDX-License-Identifier: Apache-2.0 */
/* The provider among the providers that VSS knows: asked, added, removed. COM must be initialised. */
#ifndef UMBRA_PROVIDER_SETUP_REGISTRATION_H
#define UMBRA_PROVIDER_SETUP_REGISTRATION_H

#include <stdbool.h>
#include <windows.h>
#include <ole2.h>
#include <vss.h>

/* S_OK: *props is filled in, to be freed; S_FALSE: not registered. */
HRESULT registration_query(VSS_PROVIDER_PROP *props);
void registration_free(VSS_PROVIDER_PROP *props);

/* What this program registers; nothing in it is to be freed. */
void registration_of_this(VSS_PROVIDER_PROP *props);
bool registration_is_this(const VSS_PROVIDER_PROP *props);

/* One that is there is replaced: unregistered, then registered, as VSS wants an upgrade done. */
HRESULT registration_add(const VSS_PROVIDER_PROP *props);
/* Not there, or no VSS: S_OK. VSS_E_PROVIDER_IN_USE: a shadow copy is being made with it. */
HRESULT registration_remove(void);
/* Without VSS, which cannot be asked: its entry in the registry goes. */
HRESULT registration_erase(void);

#endif
