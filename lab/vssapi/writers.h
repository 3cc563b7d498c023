/* SPDX-License-Identifier: Apache-2.0 */
/* See writers.c. */
#ifndef LAB_VSSAPI_WRITERS_H
#define LAB_VSSAPI_WRITERS_H

#include "lab/vssapi/snapshots.h"

UINT writers_count(void);
/* GetWriterStatus. */
HRESULT STDMETHODCALLTYPE writers_status(Components *iface, UINT index, VSS_ID *instance, VSS_ID *id,
	BSTR *name, VSS_WRITER_STATE *state, HRESULT *failure);

#endif
