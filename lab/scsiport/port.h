/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the two halves of umbra-lab-scsi.sys share: the half that knows the kernel's headers (driver.c,
 * disks.c, ioctl.c) and the half that knows Windows sockets (net.c). The headers of the two do not mix, so
 * only plain types pass between them.
 *
 * Requests run on a pool of worker threads, each with a TCP connection of its own to the bridge: pass-through
 * from several threads goes in parallel, and the dispatch thread (there is only one) never waits.
 */
#ifndef UMBRA_LAB_PORT_H
#define UMBRA_LAB_PORT_H

#include <stdbool.h>
#include <stdint.h>
#include "lab/bridge/wire.h"

#define PORT_ADAPTERS_MAX 4u /* \\.\Scsi0: to Scsi3:, one for each bridge */

struct port_worker; /* one thread of the pool */

/* --- net.c ------------------------------------------------------------------------------------------------
 */

/* work(worker, item) runs on a worker thread for every queued item. */
bool port_pool_start(void (*work)(struct port_worker *worker, void *item));
/* Waits for the items under way; queued ones are run, too. */
void port_pool_stop(void);
/* False when the queue is full. */
bool port_pool_queue(void *item);

/* How many bridges umbra-lab-keeper.exe named. */
unsigned int port_adapters(void);

/* A DWORD of HKLM\Software\Umbra\Lab, or `otherwise`. At PASSIVE_LEVEL. */
unsigned int port_setting(const wchar_t *name, unsigned int otherwise);
/* A string of the registry; false: there is none, or it is too long. */
bool port_text(const wchar_t *path, const wchar_t *name, wchar_t *out, unsigned int chars);

/* One request to an adapter's bridge, one reply; *rep borrows from the worker until its next exchange.
 * Returns rep's result, or LABW_NOT_CONNECTED when the bridge does not answer in time. Never waits longer
 * than req->timeout_ms and a bit. */
uint32_t port_exchange(struct port_worker *worker, unsigned int adapter, const struct labw_request *req,
	struct labw_reply *rep);

void *port_alloc(size_t bytes); /* zeroed; NULL when out of memory */
void port_free(void *p);

/* Guards the table of disks; held for moments, never over an exchange. */
void port_lock(void);
void port_unlock(void);

/* One scan at a time, so that an older one never overwrites a newer; held over its exchange. Taken before
 * port_lock. */
void port_scan_lock(void);
void port_scan_unlock(void);

#endif
