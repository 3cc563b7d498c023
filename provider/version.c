/* SPDX-License-Identifier: Apache-2.0 */
/* See version.h. On its own: the tests link another version of the program with this file compiled anew. */
#include "provider/version.h"

#define WIDE_(text) L##text
#define WIDE(text)  WIDE_(text)

const char provider_version[] = UMBRA_VERSION;
const WCHAR provider_version_wide[] = WIDE(UMBRA_VERSION);
const GUID provider_version_id = UMBRA_VERSION_ID;
