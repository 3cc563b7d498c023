/* SPDX-License-Identifier: Apache-2.0 */
/* The storage stack's questions, answered from the last scan and, for page 80h and 83h, by the LUN itself. */
#include <ntddk.h>
#include <ntddscsi.h>
#include <ntddstor.h>
#include <ntdddisk.h>
#include <string.h>
#include "array/util/bytes.h"
#include "lab/scsiport/ioctl.h"

enum {
	MAX_TRANSFER_BYTES = LABW_DATA_MAX_BYTES,
	VPD_BYTES = 255,
	SCRATCH_BYTES = 4096,
	BUS_TYPE_ISCSI = 9
};

/* Copies what fits; *out's first two words are version and size, so a caller with a header's room learns the
 * size. */
static NTSTATUS give(struct port_call *call, const void *data, uint32_t bytes)
{
	call->done_bytes = bytes < call->out_bytes ? bytes : call->out_bytes;
	memcpy(call->buf, data, call->done_bytes);
	return STATUS_SUCCESS;
}

static NTSTATUS give_whole(struct port_call *call, const void *data, uint32_t bytes)
{
	return call->out_bytes < bytes ? STATUS_BUFFER_TOO_SMALL : give(call, data, bytes);
}

/* Appends `len` characters and a NUL at *at; returns where they begin. */
static ULONG append(uint8_t *buf, uint32_t *at, const uint8_t *text, uint32_t len)
{
	ULONG begin = *at;

	memcpy(buf + begin, text, len);
	buf[begin + len] = 0;
	*at += len + 1;
	return begin;
}

/* A vital product data page of the disk: its body's length, and *body borrowed from the worker. */
static uint32_t vpd_page(struct port_call *call, uint8_t page, const uint8_t **body)
{
	uint8_t cdb[6] = {0x12, 1, page, 0, VPD_BYTES, 0};
	struct labw_reply rep;
	uint32_t len;

	if (!class_command(call, cdb, sizeof(cdb), VPD_BYTES, &rep) || rep.data_bytes < 4 ||
		rep.data[1] != page)
		return 0;
	len = get_be16(rep.data + 2);
	*body = rep.data + 4;
	return len < rep.data_bytes - 4 ? len : rep.data_bytes - 4;
}

static NTSTATUS device_property(struct port_call *call)
{
	uint8_t buf[1024] = {0};
	STORAGE_DEVICE_DESCRIPTOR *d = (STORAGE_DEVICE_DESCRIPTOR *)(void *)buf;
	const uint8_t *inquiry = call->disk.lun.inquiry, *serial = NULL;
	uint32_t at = FIELD_OFFSET(STORAGE_DEVICE_DESCRIPTOR, RawDeviceProperties);
	uint32_t serial_bytes = vpd_page(call, 0x80, &serial);

	d->Version = sizeof(*d);
	d->DeviceType = inquiry[0] & 0x1F;
	d->RemovableMedia = (inquiry[1] & 0x80) != 0;
	d->CommandQueueing = (inquiry[7] & 0x02) != 0;
	d->BusType = (STORAGE_BUS_TYPE)BUS_TYPE_ISCSI;
	d->RawPropertiesLength = call->disk.lun.inquiry_bytes;
	memcpy(buf + at, inquiry, call->disk.lun.inquiry_bytes);
	at += call->disk.lun.inquiry_bytes;
	d->VendorIdOffset = append(buf, &at, inquiry + 8, 8);
	d->ProductIdOffset = append(buf, &at, inquiry + 16, 16);
	d->ProductRevisionOffset = append(buf, &at, inquiry + 32, 4);
	if (serial_bytes)
		d->SerialNumberOffset = append(buf, &at, serial, serial_bytes);
	d->Size = at;
	return give(call, buf, at);
}

static NTSTATUS adapter_property(struct port_call *call)
{
	STORAGE_ADAPTER_DESCRIPTOR d = {
		.Version = sizeof(d),
		.Size = sizeof(d),
		.MaximumTransferLength = MAX_TRANSFER_BYTES,
		.MaximumPhysicalPages = MAX_TRANSFER_BYTES / 4096 + 1,
		.CommandQueueing = TRUE,
		.BusType = BUS_TYPE_ISCSI,
	};

	return give(call, &d, sizeof(d));
}

/* Page 83h's designators (SPC-4 7.8.6) as STORAGE_IDENTIFIERs. */
static NTSTATUS device_id_property(struct port_call *call)
{
	uint8_t buf[SCRATCH_BYTES] = {0};
	STORAGE_DEVICE_ID_DESCRIPTOR *d = (STORAGE_DEVICE_ID_DESCRIPTOR *)(void *)buf;
	const uint32_t head = FIELD_OFFSET(STORAGE_IDENTIFIER, Identifier);
	const uint8_t *body = NULL;
	uint32_t len = vpd_page(call, 0x83, &body);
	uint32_t at = FIELD_OFFSET(STORAGE_DEVICE_ID_DESCRIPTOR, Identifiers);

	for (uint32_t i = 0; i + 4 <= len && i + 4 + body[i + 3] <= len; i += 4u + body[i + 3]) {
		STORAGE_IDENTIFIER *id = (STORAGE_IDENTIFIER *)(void *)(buf + at);
		uint32_t bytes = (head + body[i + 3] + 3) & ~3u;

		if (at + bytes > sizeof(buf))
			break;
		id->CodeSet = (STORAGE_IDENTIFIER_CODE_SET)(body[i] & 0x0F);
		id->Type = (STORAGE_IDENTIFIER_TYPE)(body[i + 1] & 0x0F);
		id->Association = (STORAGE_ASSOCIATION_TYPE)(body[i + 1] >> 4 & 3);
		id->IdentifierSize = body[i + 3];
		id->NextOffset = (USHORT)bytes;
		memcpy(id->Identifier, body + i + 4, body[i + 3]);
		at += bytes;
		d->NumberOfIdentifiers++;
	}
	if (!d->NumberOfIdentifiers)
		return STATUS_NOT_SUPPORTED;
	d->Version = sizeof(*d);
	d->Size = at;
	return give(call, buf, at);
}

NTSTATUS query_property(struct port_call *call)
{
	STORAGE_PROPERTY_QUERY *q = (STORAGE_PROPERTY_QUERY *)(void *)call->buf;
	STORAGE_PROPERTY_ID id;

	if (call->in_bytes < FIELD_OFFSET(STORAGE_PROPERTY_QUERY, AdditionalParameters))
		return STATUS_BUFFER_TOO_SMALL;
	id = q->PropertyId;
	if (id != StorageAdapterProperty &&
		(call->is_adapter || (id != StorageDeviceProperty && id != StorageDeviceIdProperty)))
		return STATUS_NOT_SUPPORTED;
	if (q->QueryType == PropertyExistsQuery)
		return STATUS_SUCCESS;
	if (q->QueryType != PropertyStandardQuery)
		return STATUS_NOT_SUPPORTED;
	if (call->out_bytes < sizeof(STORAGE_DESCRIPTOR_HEADER))
		return STATUS_BUFFER_TOO_SMALL;
	if (id == StorageAdapterProperty)
		return adapter_property(call);
	return id == StorageDeviceProperty ? device_property(call) : device_id_property(call);
}

NTSTATUS query_inquiry_data(struct port_call *call)
{
	static const uint32_t first = sizeof(SCSI_ADAPTER_BUS_INFO);
	const uint32_t entry = (FIELD_OFFSET(SCSI_INQUIRY_DATA, InquiryData) + 36u + 3u) & ~3u;
	SCSI_ADAPTER_BUS_INFO *info = (SCSI_ADAPTER_BUS_INFO *)(void *)call->buf;
	struct labw_lun *luns = port_alloc(sizeof(*luns) * LABW_MAX_LUNS);
	uint32_t count = luns ? disks_all_luns(call->adapter, luns, LABW_MAX_LUNS) : 0;
	NTSTATUS status = STATUS_SUCCESS;

	if (!luns || call->out_bytes < first + count * entry) {
		status = luns ? STATUS_BUFFER_TOO_SMALL : STATUS_INSUFFICIENT_RESOURCES;
		port_free(luns);
		return status;
	}
	memset(call->buf, 0, first + count * entry);
	info->NumberOfBuses = 1;
	info->BusData[0].NumberOfLogicalUnits = (UCHAR)(count < 255 ? count : 255);
	info->BusData[0].InitiatorBusId = 255;
	info->BusData[0].InquiryDataOffset = count ? first : 0;
	for (uint32_t i = 0; i < count; i++) {
		SCSI_INQUIRY_DATA *d = (SCSI_INQUIRY_DATA *)(void *)(call->buf + first + i * entry);

		d->Lun = (UCHAR)luns[i].lun;
		d->DeviceClaimed = disks_claimed(call->adapter, luns[i].lun);
		d->InquiryDataLength = 36;
		d->NextInquiryDataOffset = i + 1 < count ? first + (i + 1) * entry : 0;
		memcpy(d->InquiryData, luns[i].inquiry, 36);
	}
	port_free(luns);
	call->done_bytes = first + count * entry;
	return status;
}

NTSTATUS query_capabilities(struct port_call *call)
{
	IO_SCSI_CAPABILITIES c = {
		.Length = sizeof(c),
		.MaximumTransferLength = MAX_TRANSFER_BYTES,
		.MaximumPhysicalPages = MAX_TRANSFER_BYTES / 4096 + 1,
		.TaggedQueuing = TRUE,
	};

	return give_whole(call, &c, sizeof(c));
}

NTSTATUS query_address(struct port_call *call)
{
	SCSI_ADDRESS a = {.Length = sizeof(a),
		.PortNumber = (UCHAR)call->adapter,
		.Lun = (UCHAR)call->disk.paths[call->adapter].lun};

	return give_whole(call, &a, sizeof(a));
}

NTSTATUS query_device_number(struct port_call *call)
{
	STORAGE_DEVICE_NUMBER n = {
		.DeviceType = FILE_DEVICE_DISK, .DeviceNumber = call->disk.number, .PartitionNumber = 0};

	return give_whole(call, &n, sizeof(n));
}

NTSTATUS query_geometry(struct port_call *call, bool extended)
{
	DISK_GEOMETRY_EX ex = {0};

	ex.Geometry.MediaType = FixedMedia;
	ex.Geometry.TracksPerCylinder = 255;
	ex.Geometry.SectorsPerTrack = 63;
	ex.Geometry.BytesPerSector = call->disk.lun.block_bytes;
	ex.Geometry.Cylinders.QuadPart = (LONGLONG)(call->disk.lun.blocks / (255 * 63));
	ex.DiskSize.QuadPart = (LONGLONG)(call->disk.lun.blocks * call->disk.lun.block_bytes);
	if (extended)
		return give_whole(call, &ex, FIELD_OFFSET(DISK_GEOMETRY_EX, Data));
	return give_whole(call, &ex.Geometry, sizeof(ex.Geometry));
}

NTSTATUS query_length(struct port_call *call)
{
	GET_LENGTH_INFORMATION l;

	l.Length.QuadPart = (LONGLONG)(call->disk.lun.blocks * call->disk.lun.block_bytes);
	return give_whole(call, &l, sizeof(l));
}

NTSTATUS query_clustered(struct port_call *call)
{
	BOOLEAN clustered = call->adapter == 0 && port_setting(L"ClusteredLun", ~0u) == call->disk.lun.lun;

	return give_whole(call, &clustered, sizeof(clustered));
}
