/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making the provider known to Windows and to VSS, and undoing that. Every command can be run twice; what
 * fails is rolled back, and says what to do. Results are exit codes: 0, 1, 2 (wrong usage).
 */
#ifndef UMBRA_PROVIDER_SETUP_H
#define UMBRA_PROVIDER_SETUP_H

#include <windows.h>

int setup_install(void);
/* --keep-service: what is made anew by an upgrade that follows goes, the service stays, stopped. --force: the
 * registration with VSS is erased where VSS cannot be asked (of one that is disabled it always is). */
int setup_uninstall(int count, WCHAR **words);

/* A sentence about a failed call to VSS or the system; never NULL. */
const char *setup_explain(HRESULT hr);

#endif
