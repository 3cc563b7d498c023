/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What Wine's RPC service does not do: it never forgets the class objects of a process that was killed, so
 * that activation finds the dead one for ever. The remedy restarts it; servers that run lose their
 * registration by that, so the services of registered providers are stopped too (as when VSS's last reference
 * goes). Nor does it hold activations back from a server that is about to end, or let one wait for a service.
 */
#ifndef LAB_WINE_RPC_H
#define LAB_WINE_RPC_H

#include <stdbool.h>
#include <windows.h>

bool under_wine(void);

/* Is hr what activation says when it found a dead process's class object? */
bool wine_found_dead_class(HRESULT hr);

/* Stops RpcSs (the next activation starts it), then the services of registered providers but those for which
 * in_use says true (NULL: none is in use). */
void wine_forget_dead_classes(bool (*in_use)(const GUID *provider_id));

/* Starts the service that serves a class, if one does and has stopped, and waits until it runs or has failed. An activation does
 * so, too, but Wine's then spins for a second before it looks for the class again. killed_too: also one that was killed; not
 * before its dead class is forgotten. */
void wine_start_service(const CLSID *clsid, bool killed_too);

/* CoCreateInstance of the coordinator; once more where it met one that was ending, or had been killed. */
HRESULT wine_reach_coordinator(REFIID iid, void **out);

#endif
