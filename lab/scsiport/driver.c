/* SPDX-License-Identifier: Apache-2.0 */
/*
 * umbra-lab-scsi.sys: a SCSI port for Wine whose LUNs are a real iSCSI target's. Loading, unloading, and the
 * dispatch routines. These run on the one thread that serves all requests to drivers, so everything that may
 * wait goes to a worker (ioctl.c) and is completed from there.
 */
#include <ntddk.h>
#include "lab/scsiport/disks.h"
#include "lab/scsiport/interface.h"
#include "lab/scsiport/ioctl.h"
#include "lab/scsiport/volumes.h"

NTSTATUS WINAPI DriverEntry(DRIVER_OBJECT *driver, UNICODE_STRING *path);

static DEVICE_OBJECT *adapters[PORT_ADAPTERS_MAX];

static const struct device_extension *extension(DEVICE_OBJECT *device)
{
	return device->DeviceExtension;
}

static NTSTATUS complete(IRP *irp, NTSTATUS status)
{
	irp->IoStatus.Status = status;
	irp->IoStatus.Information = 0;
	IoCompleteRequest(irp, IO_NO_INCREMENT);
	return status;
}

static NTSTATUS WINAPI on_create(DEVICE_OBJECT *device, IRP *irp)
{
	FILE_OBJECT *file = IoGetCurrentIrpStackLocation(irp)->FileObject;
	unsigned int slot = extension(device)->slot;
	uint32_t generation = slot == SLOT_ADAPTER || slot == SLOT_VOLUME ? 1 : disks_open(slot);

	if (!generation)
		return complete(irp, STATUS_NO_SUCH_DEVICE);
	if (file)
		file->FsContext = (void *)(ULONG_PTR)generation;
	return complete(irp, STATUS_SUCCESS);
}

static NTSTATUS WINAPI on_close(DEVICE_OBJECT *device, IRP *irp)
{
	(void)device;
	return complete(irp, STATUS_SUCCESS);
}

static NTSTATUS WINAPI on_request(DEVICE_OBJECT *device, IRP *irp)
{
	(void)device;
	IoMarkIrpPending(irp);
	if (port_pool_queue(irp))
		return STATUS_PENDING;
	irp->IoStatus.Status = STATUS_INSUFFICIENT_RESOURCES;
	irp->IoStatus.Information = 0;
	IoCompleteRequest(irp, IO_NO_INCREMENT);
	return STATUS_PENDING;
}

static void work(struct port_worker *worker, void *item)
{
	IRP *irp = item;
	IO_STACK_LOCATION *stack = IoGetCurrentIrpStackLocation(irp);
	uint32_t generation = stack->FileObject ? (uint32_t)(ULONG_PTR)stack->FileObject->FsContext : 0;

	irp->IoStatus.Information = 0;
	irp->IoStatus.Status = ioctl_run(worker, irp, stack, extension(stack->DeviceObject), generation);
	IoCompleteRequest(irp, IO_NO_INCREMENT);
}

static void delete_adapters(void)
{
	UNICODE_STRING link;
	WCHAR buf[32];

	for (unsigned int i = 0; i < PORT_ADAPTERS_MAX && adapters[i]; i++) {
		port_name(&link, buf, "\\DosDevices\\Scsi", i, ":");
		IoDeleteSymbolicLink(&link);
		IoDeleteDevice(adapters[i]);
		adapters[i] = NULL;
	}
}

static void WINAPI on_unload(DRIVER_OBJECT *driver)
{
	(void)driver;
	port_pool_stop();
	volumes_destroy();
	disks_destroy();
	delete_adapters();
}

static NTSTATUS make_adapter(DRIVER_OBJECT *driver, unsigned int i)
{
	struct device_extension *ext;
	UNICODE_STRING name, link;
	WCHAR name_buf[32], link_buf[32];
	NTSTATUS status;

	port_name(&name, name_buf, "\\Device\\ScsiPort", i, "");
	port_name(&link, link_buf, "\\DosDevices\\Scsi", i, ":");
	status = IoCreateDevice(driver, sizeof(*ext), &name, FILE_DEVICE_CONTROLLER, 0, FALSE, &adapters[i]);
	if (!NT_SUCCESS(status))
		return status;
	ext = adapters[i]->DeviceExtension;
	ext->slot = SLOT_ADAPTER;
	ext->adapter = i;
	status = IoCreateSymbolicLink(&link, &name);
	adapters[i]->Flags &= ~(ULONG)DO_DEVICE_INITIALIZING;
	return status;
}

NTSTATUS WINAPI DriverEntry(DRIVER_OBJECT *driver, UNICODE_STRING *path)
{
	NTSTATUS status = STATUS_SUCCESS;

	/* Wine's loader calls the entry point as if it were a DllMain, too: the second argument is then the
	 * reason. */
	if ((ULONG_PTR)path <= 3)
		return TRUE;
	port_driver = driver;
	if (!port_pool_start(work))
		return STATUS_INSUFFICIENT_RESOURCES;
	(void)interface_set(INTERFACE_GHOST, true);
	driver->MajorFunction[IRP_MJ_CREATE] = on_create;
	driver->MajorFunction[IRP_MJ_CLOSE] = on_close;
	driver->MajorFunction[IRP_MJ_CLEANUP] = on_close;
	driver->MajorFunction[IRP_MJ_READ] = on_request;
	driver->MajorFunction[IRP_MJ_WRITE] = on_request;
	driver->MajorFunction[IRP_MJ_FLUSH_BUFFERS] = on_request;
	driver->MajorFunction[IRP_MJ_DEVICE_CONTROL] = on_request;
	driver->DriverUnload = on_unload;
	for (unsigned int i = 0; i < port_adapters() && NT_SUCCESS(status); i++)
		status = make_adapter(driver, i);
	if (NT_SUCCESS(status)) {
		volumes_make(driver);
	} else {
		delete_adapters();
		port_pool_stop();
	}
	return status;
}
