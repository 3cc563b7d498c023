/* SPDX-License-Identifier: Apache-2.0 */
/* The class object (factory) of the provider's CLSID, and its registration with COM. */
#ifndef UMBRA_PROVIDER_CLASS_OBJECT_H
#define UMBRA_PROVIDER_CLASS_OBJECT_H

#include <windows.h>
#include "provider/provider.h"

/* Registers suspended, for all clients; class_object_resume() opens the door. */
HRESULT class_object_register(const struct provider_context *context);
HRESULT class_object_resume(void);
void class_object_revoke(void);

#endif
