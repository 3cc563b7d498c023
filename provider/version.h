/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The version of this program, and the version id by which VSS tells releases of a provider apart. The id is made of
 * the provider id and the version when the program is built (meson.build), so that no release can forget it.
 */
#ifndef UMBRA_PROVIDER_VERSION_H
#define UMBRA_PROVIDER_VERSION_H

#include <windows.h>

extern const char provider_version[];
extern const WCHAR provider_version_wide[];
extern const GUID provider_version_id;

#endif
