/* SPDX-License-Identifier: Apache-2.0 */
/* What a worker does with a request: reads and writes, pass-through, and the storage queries. */
#ifndef UMBRA_LAB_IOCTL_H
#define UMBRA_LAB_IOCTL_H

#include <ntddk.h>
#include "lab/scsiport/disks.h"

/* mingw-w64 has it not. METHOD_BUFFERED, FILE_ANY_ACCESS; out: a BOOLEAN. */
#ifndef IOCTL_DISK_IS_CLUSTERED
#define IOCTL_DISK_IS_CLUSTERED 0x000700F8
#endif

/* What the handlers get: the caller's buffer (in and out), and the disk, if it is one. */
struct port_call {
	struct port_worker *worker;
	uint8_t *buf;
	uint32_t in_bytes, out_bytes;
	bool is_adapter;
	unsigned int adapter; /* this one, or the disk's */
	struct disk disk;     /* when not the adapter */
	uint32_t done_bytes;  /* out: how much of buf goes back */
};

/* Serves the request; the caller completes it with the status. irp->IoStatus.Information is set. */
NTSTATUS ioctl_run(struct port_worker *worker, IRP *irp, IO_STACK_LOCATION *stack,
	const struct device_extension *ext, uint32_t generation);

/* passthrough.c */
NTSTATUS pass_through(struct port_call *call);
NTSTATUS disk_transfer(struct port_call *call, bool write, uint64_t offset_bytes, uint32_t bytes);
NTSTATUS disk_flush(struct port_call *call);
/* One command to the disk as a class driver sends it; *rep borrows from the worker. False unless it ended
 * GOOD. */
bool class_command(struct port_call *call, const uint8_t *cdb, unsigned int cdb_bytes, uint32_t in_bytes,
	struct labw_reply *rep);

/* paths.c: one command to the disk over one of its paths; see there. *rep borrows from the worker. */
uint32_t paths_exchange(struct port_call *call, struct labw_request *req, struct labw_reply *rep);

/* query.c */
NTSTATUS query_property(struct port_call *call);
NTSTATUS query_inquiry_data(struct port_call *call);
NTSTATUS query_capabilities(struct port_call *call);
NTSTATUS query_address(struct port_call *call);
NTSTATUS query_device_number(struct port_call *call);
NTSTATUS query_geometry(struct port_call *call, bool extended);
NTSTATUS query_length(struct port_call *call);
NTSTATUS query_clustered(struct port_call *call);

#endif
