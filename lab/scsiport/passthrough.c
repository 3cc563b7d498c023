/* SPDX-License-Identifier: Apache-2.0 */
/* Commands: the caller's own (IOCTL_SCSI_PASS_THROUGH, raw) and the driver's (as a class driver sends them).
 */
#include <ntddk.h>
#include <ntddscsi.h>
#include <string.h>
#include "array/util/bytes.h"
#include "lab/scsiport/ioctl.h"

enum {
	DEFAULT_TIMEOUT_MS = 60000, /* a disk's TimeOutValue on msiscsi */
	CHUNK_BYTES = 256 * 1024,
	ALIGNMENT = 16 /* as strict as an adapter may be; see query.c */
};

static NTSTATUS status_of(uint32_t result)
{
	switch (result) {
	case LABW_OK:
		return STATUS_SUCCESS;
	case LABW_NOT_CONNECTED:
		return STATUS_DEVICE_NOT_CONNECTED;
	case LABW_LOST:
		return STATUS_IO_DEVICE_ERROR;
	case LABW_TIMEOUT:
		return STATUS_IO_TIMEOUT;
	case LABW_BUSY:
		return STATUS_INSUFFICIENT_RESOURCES;
	default:
		return STATUS_INVALID_PARAMETER;
	}
}

/* Does [offset, offset + length) lie behind the structure and inside `bytes`? */
static bool inside(uint64_t offset, uint64_t length, uint64_t bytes)
{
	return offset >= sizeof(SCSI_PASS_THROUGH) && length <= bytes && offset <= bytes - length;
}

static NTSTATUS check_pass_through(const struct port_call *call, const SCSI_PASS_THROUGH *spt)
{
	uint64_t room = spt->DataIn == SCSI_IOCTL_DATA_IN ? call->out_bytes : call->in_bytes;

	if (spt->Length != sizeof(*spt))
		return STATUS_REVISION_MISMATCH;
	if (spt->CdbLength == 0 || spt->CdbLength > sizeof(spt->Cdb) ||
		spt->DataIn > SCSI_IOCTL_DATA_UNSPECIFIED)
		return STATUS_INVALID_PARAMETER;
	if (spt->DataTransferLength > LABW_DATA_MAX_BYTES)
		return STATUS_INVALID_PARAMETER;
	if (spt->DataTransferLength && !inside(spt->DataBufferOffset, spt->DataTransferLength, room))
		return STATUS_INVALID_PARAMETER;
	if (spt->DataTransferLength && spt->DataBufferOffset % ALIGNMENT)
		return STATUS_INVALID_PARAMETER;
	if (spt->SenseInfoLength && !inside(spt->SenseInfoOffset, spt->SenseInfoLength, call->out_bytes))
		return STATUS_INVALID_PARAMETER;
	if (call->out_bytes < sizeof(*spt))
		return STATUS_BUFFER_TOO_SMALL;
	return STATUS_SUCCESS;
}

/* Which LUN: a disk's own, else what the caller wrote; see lab/README.md for what the adapter refuses. */
static NTSTATUS pick_lun(const struct port_call *call, const SCSI_PASS_THROUGH *spt, uint16_t *lun)
{
	if (!call->is_adapter) {
		*lun = call->disk.lun.lun;
		return STATUS_SUCCESS;
	}
	if (spt->PathId != 0 || spt->TargetId != 0)
		return STATUS_NO_SUCH_DEVICE;
	*lun = spt->Lun;
	if (spt->Cdb[0] != 0x12 && spt->Cdb[0] != 0xA0 && disks_claimed(call->adapter, spt->Lun))
		return STATUS_INVALID_DEVICE_REQUEST; /* Storport; ERROR_INVALID_FUNCTION */
	return STATUS_SUCCESS;
}

static void put_outcome(struct port_call *call, SCSI_PASS_THROUGH *spt, const struct labw_reply *rep)
{
	uint64_t end = sizeof(*spt), part;
	uint32_t sense = rep->sense_bytes < spt->SenseInfoLength ? rep->sense_bytes : spt->SenseInfoLength;
	uint32_t data = rep->data_bytes < spt->DataTransferLength ? rep->data_bytes : spt->DataTransferLength;

	spt->ScsiStatus = rep->scsi_status;
	if (spt->DataIn == SCSI_IOCTL_DATA_IN) {
		if (data)
			memcpy(call->buf + spt->DataBufferOffset, rep->data, data);
		spt->DataTransferLength = data;
		end = data ? spt->DataBufferOffset + data : end;
	} else if (rep->residual_bytes <= spt->DataTransferLength) {
		spt->DataTransferLength -= rep->residual_bytes;
	}
	if (sense)
		memcpy(call->buf + spt->SenseInfoOffset, rep->sense, sense);
	part = spt->SenseInfoOffset + (uint64_t)sense;
	if (sense && part > end)
		end = part;
	spt->SenseInfoLength = (UCHAR)sense;
	call->done_bytes = (uint32_t)end;
}

NTSTATUS pass_through(struct port_call *call)
{
	SCSI_PASS_THROUGH *spt = (SCSI_PASS_THROUGH *)(void *)call->buf;
	struct labw_request req = {.verb = LABW_EXEC};
	struct labw_reply rep;
	NTSTATUS status;

	if (call->in_bytes < sizeof(*spt))
		return STATUS_BUFFER_TOO_SMALL;
	status = check_pass_through(call, spt);
	if (NT_SUCCESS(status))
		status = pick_lun(call, spt, &req.lun);
	if (!NT_SUCCESS(status))
		return status;
	req.cdb_bytes = spt->CdbLength;
	memcpy(req.cdb, spt->Cdb, spt->CdbLength);
	/* 30 days at most: milliseconds fit. */
	req.timeout_ms = spt->TimeOutValue
				 ? (spt->TimeOutValue < 2592000 ? spt->TimeOutValue : 2592000) * 1000
				 : DEFAULT_TIMEOUT_MS;
	req.data_bytes = spt->DataTransferLength;
	if (req.data_bytes)
		req.direction = spt->DataIn == SCSI_IOCTL_DATA_IN ? LABW_IN : LABW_OUT;
	if (req.direction == LABW_OUT)
		req.data = call->buf + spt->DataBufferOffset;
	status = status_of(call->is_adapter ? port_exchange(call->worker, call->adapter, &req, &rep)
					    : paths_exchange(call, &req, &rep));
	if (NT_SUCCESS(status))
		put_outcome(call, spt, &rep);
	return status;
}

bool class_command(struct port_call *call, const uint8_t *cdb, unsigned int cdb_bytes, uint32_t in_bytes,
	struct labw_reply *rep)
{
	struct labw_request req = {
		.verb = LABW_EXEC,
		.flags = LABW_F_CLASS,
		.lun = call->disk.lun.lun,
		.timeout_ms = DEFAULT_TIMEOUT_MS,
		.direction = in_bytes ? LABW_IN : LABW_NONE,
		.cdb_bytes = (uint8_t)cdb_bytes,
		.data_bytes = in_bytes,
	};

	memcpy(req.cdb, cdb, cdb_bytes);
	return paths_exchange(call, &req, rep) == LABW_OK && rep->scsi_status == 0;
}

/* READ 16 or WRITE 16 of whole blocks. */
static NTSTATUS transfer_chunk(
	struct port_call *call, bool write, uint64_t lba, uint32_t blocks, uint8_t *buf)
{
	uint32_t bytes = blocks * call->disk.lun.block_bytes;
	struct labw_request req = {
		.verb = LABW_EXEC,
		.flags = LABW_F_CLASS,
		.lun = call->disk.lun.lun,
		.timeout_ms = DEFAULT_TIMEOUT_MS,
		.direction = write ? LABW_OUT : LABW_IN,
		.cdb_bytes = 16,
		.data_bytes = bytes,
		.data = write ? buf : NULL,
	};
	struct labw_reply rep;
	NTSTATUS status;

	req.cdb[0] = write ? 0x8A : 0x88;
	put_be64(req.cdb + 2, lba);
	put_be32(req.cdb + 10, blocks);
	status = status_of(paths_exchange(call, &req, &rep));
	if (!NT_SUCCESS(status))
		return status;
	if (rep.scsi_status != 0 || (!write && rep.data_bytes != bytes))
		return STATUS_IO_DEVICE_ERROR;
	if (!write)
		memcpy(buf, rep.data, bytes);
	return STATUS_SUCCESS;
}

NTSTATUS disk_transfer(struct port_call *call, bool write, uint64_t offset_bytes, uint32_t bytes)
{
	uint32_t block = call->disk.lun.block_bytes, done = 0;

	if (call->is_adapter)
		return STATUS_INVALID_DEVICE_REQUEST;
	if (!block || block > CHUNK_BYTES || offset_bytes % block || bytes % block)
		return STATUS_INVALID_PARAMETER;
	if (bytes / block > call->disk.lun.blocks ||
		offset_bytes / block > call->disk.lun.blocks - bytes / block)
		return write ? STATUS_NONEXISTENT_SECTOR : STATUS_END_OF_FILE;
	while (done < bytes) {
		uint32_t part = bytes - done < CHUNK_BYTES ? bytes - done : CHUNK_BYTES / block * block;
		NTSTATUS status = transfer_chunk(
			call, write, (offset_bytes + done) / block, part / block, call->buf + done);

		if (!NT_SUCCESS(status))
			return status;
		done += part;
	}
	call->done_bytes = done;
	return STATUS_SUCCESS;
}

NTSTATUS disk_flush(struct port_call *call)
{
	static const uint8_t synchronize_cache[10] = {0x35};
	struct labw_reply rep;

	if (call->is_adapter)
		return STATUS_INVALID_DEVICE_REQUEST;
	return class_command(call, synchronize_cache, sizeof(synchronize_cache), 0, &rep)
		       ? STATUS_SUCCESS
		       : STATUS_IO_DEVICE_ERROR;
}
