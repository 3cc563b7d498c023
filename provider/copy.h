/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "umbra-vss copy": a requester of VSS, for people and the Task Scheduler.
 *
 * A copy is a persistent, transportable set that is imported at once on this host: so it can be read here, and its LUNs can be
 * resynced (VSS does that for transportable sets only). With --transportable it is left to whoever imports the document.
 *
 * Invariants:
 * - Exit code 0 means that everything that was asked for is done. When it is 1 there is no copy; 3: there is one, and stderr
 *   says what else failed.
 * - Nothing is deleted for --keep unless the new copy is there and its writers have succeeded, and nothing but copies with
 *   its label and of its volumes.
 */
#ifndef UMBRA_PROVIDER_COPY_H
#define UMBRA_PROVIDER_COPY_H

#include <windows.h>

int copy_run(int count, WCHAR **words);

#endif
