/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the lab keeps its settings and its state in a Wine prefix (services see no environment and no working
 * directory of their caller).
 *
 *   HKLM\Software\Umbra\Lab        HoldPort, IdleMs, ImportWaitMs, Seed, StaggerMs (DWORD), StateDir (string)
 *   HKLM\System\CurrentControlSet\Services\VSS\Providers\{id}   registered providers, as Windows keeps them
 */
#ifndef LAB_SETTINGS_H
#define LAB_SETTINGS_H

#include <stddef.h>
#include <windows.h>

#define LAB_KEY           L"Software\\Umbra\\Lab"
#define LAB_PROVIDERS_KEY L"System\\CurrentControlSet\\Services\\VSS\\Providers"

DWORD settings_dword(const wchar_t *name, DWORD otherwise);

/* The folder of the catalogue, made when it is not there; false when that fails. */
BOOL settings_state_dir(wchar_t *out, size_t chars);

#endif
