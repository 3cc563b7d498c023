/* SPDX-License-Identifier: Apache-2.0 */
/* Which handler serves which request. */
#include <ntddk.h>
#include <ntddscsi.h>
#include <ntddstor.h>
#include <ntdddisk.h>
#include "lab/scsiport/ioctl.h"
#include "lab/scsiport/volumes.h"

static NTSTATUS adapter_ioctl(struct port_call *call, ULONG code)
{
	switch (code) {
	case IOCTL_SCSI_PASS_THROUGH:
		return pass_through(call);
	case IOCTL_SCSI_RESCAN_BUS:
		return disks_refresh(call->worker, call->adapter, LABW_RESCAN);
	case IOCTL_SCSI_GET_INQUIRY_DATA:
		return query_inquiry_data(call);
	case IOCTL_SCSI_GET_CAPABILITIES:
		return query_capabilities(call);
	case IOCTL_STORAGE_QUERY_PROPERTY:
		return query_property(call);
	default:
		return STATUS_INVALID_DEVICE_REQUEST;
	}
}

static NTSTATUS disk_ioctl(struct port_call *call, ULONG code)
{
	switch (code) {
	case IOCTL_SCSI_PASS_THROUGH:
		return pass_through(call);
	case IOCTL_SCSI_GET_ADDRESS:
		return query_address(call);
	case IOCTL_SCSI_GET_CAPABILITIES:
		return query_capabilities(call);
	case IOCTL_STORAGE_QUERY_PROPERTY:
		return query_property(call);
	case IOCTL_STORAGE_GET_DEVICE_NUMBER:
		return query_device_number(call);
	case IOCTL_DISK_GET_DRIVE_GEOMETRY:
		return query_geometry(call, false);
	case IOCTL_DISK_GET_DRIVE_GEOMETRY_EX:
		return query_geometry(call, true);
	case IOCTL_DISK_GET_LENGTH_INFO:
		return query_length(call);
	case IOCTL_DISK_IS_CLUSTERED:
		return query_clustered(call);
	case IOCTL_DISK_IS_WRITABLE:
		return STATUS_SUCCESS;
	default:
		return STATUS_INVALID_DEVICE_REQUEST;
	}
}

static NTSTATUS device_control(struct port_call *call, IO_STACK_LOCATION *stack)
{
	ULONG code = stack->Parameters.DeviceIoControl.IoControlCode;

	call->in_bytes = stack->Parameters.DeviceIoControl.InputBufferLength;
	call->out_bytes = stack->Parameters.DeviceIoControl.OutputBufferLength;
	return call->is_adapter ? adapter_ioctl(call, code) : disk_ioctl(call, code);
}

static NTSTATUS volume_run(struct port_call *call, IO_STACK_LOCATION *stack, unsigned int letter)
{
	call->out_bytes = stack->Parameters.DeviceIoControl.OutputBufferLength;
	switch (stack->MajorFunction) {
	case IRP_MJ_DEVICE_CONTROL:
		return volume_ioctl(call, letter, stack->Parameters.DeviceIoControl.IoControlCode);
	case IRP_MJ_FLUSH_BUFFERS:
		return volume_flush(call, letter);
	default:
		return STATUS_INVALID_DEVICE_REQUEST;
	}
}

NTSTATUS ioctl_run(struct port_worker *worker, IRP *irp, IO_STACK_LOCATION *stack,
	const struct device_extension *ext, uint32_t generation)
{
	struct port_call call = {
		.worker = worker, .is_adapter = ext->slot == SLOT_ADAPTER, .adapter = ext->adapter};
	NTSTATUS status;

	call.buf = irp->AssociatedIrp.SystemBuffer;
	if (ext->slot == SLOT_VOLUME) {
		call.adapter = 0;
		status = volume_run(&call, stack, ext->adapter);
		irp->IoStatus.Information = call.done_bytes;
		return status;
	}
	if (!call.is_adapter) {
		if (!disks_get(ext->slot, generation, &call.disk))
			return STATUS_NO_SUCH_DEVICE;
		call.adapter = call.disk.adapter;
	}
	switch (stack->MajorFunction) {
	case IRP_MJ_DEVICE_CONTROL:
		status = device_control(&call, stack);
		break;
	case IRP_MJ_READ:
		status = disk_transfer(&call, false, (uint64_t)stack->Parameters.Read.ByteOffset.QuadPart,
			stack->Parameters.Read.Length);
		break;
	case IRP_MJ_WRITE:
		status = disk_transfer(&call, true, (uint64_t)stack->Parameters.Write.ByteOffset.QuadPart,
			stack->Parameters.Write.Length);
		break;
	case IRP_MJ_FLUSH_BUFFERS:
		status = disk_flush(&call);
		break;
	default:
		status = STATUS_INVALID_DEVICE_REQUEST;
	}
	irp->IoStatus.Information = call.done_bytes;
	return status;
}
