/* SPDX-License-Identifier: Apache-2.0 */
/*
 * umbra-lab-probe.exe: looks at the lab's disks from inside a prefix, as a Windows program would; for people
 * and for tests. Prints one fact a line. Exit code 0; 1: refused by Windows (the error code is printed); 2:
 * wrong usage; 3: the LUN did not answer GOOD (status and sense are printed).
 */
#include <windows.h>
#include <winioctl.h>
#include <ntddscsi.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	DATA_MAX = 1024 * 1024,
	SENSE_MAX = 252,
	DISKS = 256,
	THREADS_MAX = 64
};

struct packet {
	SCSI_PASS_THROUGH spt;
	uint8_t sense[SENSE_MAX];
	_Alignas(16) uint8_t data[DATA_MAX];
};

struct command {
	uint8_t cdb[16];
	uint8_t cdb_bytes;
	uint8_t lun;
	const uint8_t *out;
	uint32_t out_bytes, in_bytes;
	uint32_t timeout_s;
};

static int refused(const char *what)
{
	printf("error %lu %s\n", GetLastError(), what);
	return 1;
}

static void print_hex(const char *name, const uint8_t *p, size_t len)
{
	printf("%s ", name);
	for (size_t i = 0; i < len; i++)
		printf("%02x", p[i]);
	printf("\n");
}

static HANDLE open_device(const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "\\\\.\\%s", name);
	return CreateFileA(path, GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL,
		OPEN_EXISTING, 0, NULL);
}

/* Fills *p; false as DeviceIoControl does. */
static bool execute(HANDLE dev, const struct command *c, struct packet *p)
{
	DWORD got, in = (DWORD)(offsetof(struct packet, data) + c->out_bytes);
	DWORD out = (DWORD)(offsetof(struct packet, data) + c->in_bytes);

	memset(p, 0, offsetof(struct packet, data));
	p->spt.Length = sizeof(p->spt);
	p->spt.Lun = c->lun;
	p->spt.CdbLength = c->cdb_bytes;
	p->spt.SenseInfoLength = SENSE_MAX;
	p->spt.DataIn = c->in_bytes ? SCSI_IOCTL_DATA_IN : SCSI_IOCTL_DATA_OUT;
	p->spt.DataTransferLength = c->in_bytes ? c->in_bytes : c->out_bytes;
	p->spt.TimeOutValue = c->timeout_s ? c->timeout_s : 10;
	p->spt.DataBufferOffset = offsetof(struct packet, data);
	p->spt.SenseInfoOffset = offsetof(struct packet, sense);
	memcpy(p->spt.Cdb, c->cdb, c->cdb_bytes);
	if (c->out_bytes)
		memcpy(p->data, c->out, c->out_bytes);
	return DeviceIoControl(dev, IOCTL_SCSI_PASS_THROUGH, p, in, p, out, &got, NULL);
}

static size_t parse_hex(const char *text, uint8_t *out, size_t cap)
{
	size_t n = 0;
	unsigned int byte;

	for (; text[0] && text[1] && n < cap; text += 2) {
		if (sscanf(text, "%2x", &byte) != 1)
			return 0;
		out[n++] = (uint8_t)byte;
	}
	return *text ? 0 : n;
}

static void print_query(HANDLE dev)
{
	uint8_t buf[1024];
	STORAGE_PROPERTY_QUERY q = {.PropertyId = StorageDeviceProperty};
	STORAGE_DEVICE_DESCRIPTOR *d = (STORAGE_DEVICE_DESCRIPTOR *)(void *)buf;
	GET_LENGTH_INFORMATION length = {0};
	SCSI_ADDRESS address = {0};
	DWORD got;

	if (DeviceIoControl(dev, IOCTL_SCSI_GET_ADDRESS, NULL, 0, &address, sizeof(address), &got, NULL))
		printf(" port %u path %u target %u lun %u", address.PortNumber, address.PathId,
			address.TargetId, address.Lun);
	if (DeviceIoControl(dev, IOCTL_DISK_GET_LENGTH_INFO, NULL, 0, &length, sizeof(length), &got, NULL))
		printf(" bytes %lld", length.Length.QuadPart);
	memset(buf, 0, sizeof(buf));
	if (DeviceIoControl(
		    dev, IOCTL_STORAGE_QUERY_PROPERTY, &q, sizeof(q), buf, sizeof(buf) - 1, &got, NULL))
		printf(" bus %d vendor '%s' product '%s' serial '%s'", d->BusType, buf + d->VendorIdOffset,
			buf + d->ProductIdOffset,
			d->SerialNumberOffset ? (char *)buf + d->SerialNumberOffset : "");
}

static int cmd_list(int argc, char **argv)
{
	(void)argv;
	if (argc != 0)
		return 2;
	for (int n = 0; n < DISKS; n++) {
		char name[32];
		HANDLE dev;

		snprintf(name, sizeof(name), "PhysicalDrive%d", n);
		dev = open_device(name);
		if (dev == INVALID_HANDLE_VALUE)
			continue;
		printf("disk %d", n);
		print_query(dev);
		printf("\n");
		CloseHandle(dev);
	}
	return 0;
}

/* Every adapter there is, as Windows' disk management does. */
static int cmd_rescan(int argc, char **argv)
{
	DWORD got;

	(void)argv;
	if (argc != 0)
		return 2;
	for (unsigned n = 0;; n++) {
		char name[32];
		HANDLE dev;
		BOOL done;

		snprintf(name, sizeof(name), "Scsi%u:", n);
		dev = open_device(name);
		if (dev == INVALID_HANDLE_VALUE && n > 0)
			break;
		if (dev == INVALID_HANDLE_VALUE)
			return refused("opening");
		done = DeviceIoControl(dev, IOCTL_SCSI_RESCAN_BUS, NULL, 0, NULL, 0, &got, NULL);
		if (!done)
			return refused("rescanning");
		CloseHandle(dev);
	}
	printf("ok\n");
	return 0;
}

/* What the adapter says of its LUNs. */
static int cmd_inquiry_data(int argc, char **argv)
{
	static uint8_t buf[64 * 1024];
	SCSI_ADAPTER_BUS_INFO *info = (SCSI_ADAPTER_BUS_INFO *)(void *)buf;
	HANDLE dev;
	DWORD got;

	(void)argv;
	if (argc != 0)
		return 2;
	dev = open_device("Scsi0:");
	if (dev == INVALID_HANDLE_VALUE)
		return refused("opening");
	if (!DeviceIoControl(dev, IOCTL_SCSI_GET_INQUIRY_DATA, NULL, 0, buf, sizeof(buf), &got, NULL))
		return refused("asking");
	for (ULONG at = info->BusData[0].InquiryDataOffset; at;) {
		SCSI_INQUIRY_DATA *d = (SCSI_INQUIRY_DATA *)(void *)(buf + at);

		printf("lun %u type %u claimed %d\n", d->Lun, d->InquiryData[0] & 0x1F, d->DeviceClaimed);
		at = d->NextInquiryDataOffset;
	}
	return 0;
}

static int print_answer(const struct packet *p)
{
	printf("status %02x\n", p->spt.ScsiStatus);
	if (p->spt.SenseInfoLength && p->spt.ScsiStatus)
		print_hex("sense", p->sense, p->spt.SenseInfoLength);
	if (p->spt.DataIn == SCSI_IOCTL_DATA_IN && p->spt.DataTransferLength)
		print_hex("data", p->data, p->spt.DataTransferLength);
	return p->spt.ScsiStatus ? 3 : 0;
}

static bool parse_command(int argc, char **argv, struct command *c)
{
	static uint8_t out[DATA_MAX];

	c->cdb_bytes = argc > 0 ? (uint8_t)parse_hex(argv[0], c->cdb, sizeof(c->cdb)) : 0;
	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--in") == 0)
			c->in_bytes = strtoul(argv[i + 1], NULL, 10);
		else if (strcmp(argv[i], "--out") == 0)
			c->out_bytes = (uint32_t)parse_hex(argv[i + 1], out, sizeof(out));
		else if (strcmp(argv[i], "--lun") == 0)
			c->lun = (uint8_t)strtoul(argv[i + 1], NULL, 10);
		else if (strcmp(argv[i], "--timeout") == 0)
			c->timeout_s = strtoul(argv[i + 1], NULL, 10);
		else
			return false;
	}
	c->out = out;
	return c->cdb_bytes && argc % 2 == 1 && c->in_bytes <= DATA_MAX && !(c->in_bytes && c->out_bytes);
}

/* DEVICE CDB [--in BYTES | --out HEX] [--lun N] [--timeout S] */
static int cmd_cdb(int argc, char **argv)
{
	static struct packet p;
	struct command c = {0};
	HANDLE dev;

	if (argc < 2 || !parse_command(argc - 1, argv + 1, &c))
		return 2;
	dev = open_device(argv[0]);
	if (dev == INVALID_HANDLE_VALUE)
		return refused("opening");
	if (!execute(dev, &c, &p))
		return refused("pass-through");
	return print_answer(&p);
}

/* DEVICE OFFSET BYTES FILE: ReadFile from the device into FILE; `write`: WriteFile of all of FILE at OFFSET.
 */
static int copy(int argc, char **argv, bool to_device)
{
	static uint8_t buf[DATA_MAX];
	OVERLAPPED at = {0};
	unsigned long long offset;
	HANDLE dev;
	FILE *f;
	DWORD bytes, got = 0;

	if (argc != (to_device ? 3 : 4))
		return 2;
	offset = strtoull(argv[1], NULL, 10);
	at.Offset = (DWORD)offset;
	at.OffsetHigh = (DWORD)(offset >> 32);
	f = fopen(argv[argc - 1], to_device ? "rb" : "wb");
	if (!f)
		return 2;
	bytes = to_device ? (DWORD)fread(buf, 1, sizeof(buf), f) : strtoul(argv[2], NULL, 10);
	dev = bytes <= sizeof(buf) ? open_device(argv[0]) : INVALID_HANDLE_VALUE;
	if (dev == INVALID_HANDLE_VALUE)
		return refused("opening");
	if (!(to_device ? WriteFile(dev, buf, bytes, &got, &at) : ReadFile(dev, buf, bytes, &got, &at)))
		return refused("transfer");
	if (to_device && !FlushFileBuffers(dev))
		return refused("flush");
	if (!to_device && fwrite(buf, 1, got, f) != got)
		return 2;
	fclose(f);
	printf("bytes %lu\n", got);
	return got == bytes ? 0 : 3;
}

static int cmd_read(int argc, char **argv)
{
	return copy(argc, argv, false);
}

static int cmd_write(int argc, char **argv)
{
	return copy(argc, argv, true);
}

struct load {
	HANDLE thread;
	const char *device;
	unsigned long count, failures;
};

static DWORD WINAPI load_main(void *arg)
{
	struct load *l = arg;
	struct command c = {.cdb = {0x12, 0, 0, 0, 96, 0}, .cdb_bytes = 6, .in_bytes = 96, .timeout_s = 20};
	struct packet *p = malloc(sizeof(*p));
	HANDLE dev = open_device(l->device);

	for (unsigned long i = 0; i < l->count; i++) {
		if (!p || dev == INVALID_HANDLE_VALUE || !execute(dev, &c, p) || p->spt.ScsiStatus)
			l->failures++;
	}
	CloseHandle(dev);
	free(p);
	return 0;
}

/* DEVICE THREADS COUNT: each thread sends COUNT INQUIRYs. */
static int cmd_parallel(int argc, char **argv)
{
	static struct load loads[THREADS_MAX];
	unsigned long threads = argc == 3 ? strtoul(argv[1], NULL, 10) : 0, failures = 0;
	ULONGLONG start = GetTickCount64();

	if (threads == 0 || threads > THREADS_MAX)
		return 2;
	for (unsigned long i = 0; i < threads; i++) {
		loads[i] = (struct load){.device = argv[0], .count = strtoul(argv[2], NULL, 10)};
		loads[i].thread = CreateThread(NULL, 0, load_main, &loads[i], 0, NULL);
	}
	for (unsigned long i = 0; i < threads; i++) {
		WaitForSingleObject(loads[i].thread, INFINITE);
		failures += loads[i].failures;
	}
	printf("failures %lu\nms %llu\n", failures, GetTickCount64() - start);
	return failures ? 3 : 0;
}

/* DEVICE: opens it, says so, and sends a TEST UNIT READY through that handle for every line on its input. */
static int cmd_keep(int argc, char **argv)
{
	static struct packet p;
	struct command c = {.cdb_bytes = 6};
	char line[16];
	HANDLE dev;

	if (argc != 1)
		return 2;
	dev = open_device(argv[0]);
	if (dev == INVALID_HANDLE_VALUE)
		return refused("opening");
	printf("open\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		if (execute(dev, &c, &p))
			printf("status %02x\n", p.spt.ScsiStatus);
		else
			refused("pass-through");
		fflush(stdout);
	}
	return 0;
}

static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* A pass-through that is mostly right, with some fields that are not. */
static void spoil(SCSI_PASS_THROUGH *spt, uint64_t *seed)
{
	*spt = (SCSI_PASS_THROUGH){.Length = sizeof(*spt),
		.CdbLength = 6,
		.SenseInfoLength = 18,
		.DataIn = SCSI_IOCTL_DATA_IN,
		.DataTransferLength = 96,
		.TimeOutValue = 5,
		.DataBufferOffset = 128,
		.SenseInfoOffset = sizeof(*spt),
		.Cdb = {0x12, 0, 0, 0, 96, 0}};
	for (unsigned int n = next_random(seed) % 4; n; n--) {
		uint64_t v = next_random(seed) >> (next_random(seed) % 64);

		switch (next_random(seed) % 9) {
		case 0:
			spt->Length = (USHORT)v;
			break;
		case 1:
			spt->CdbLength = (UCHAR)v;
			break;
		case 2:
			spt->SenseInfoLength = (UCHAR)v;
			break;
		case 3:
			spt->DataIn = (UCHAR)(v % 4);
			break;
		case 4:
			spt->DataTransferLength = (ULONG)v;
			break;
		case 5:
			spt->DataBufferOffset = v;
			break;
		case 6:
			spt->SenseInfoOffset = (ULONG)v;
			break;
		case 7:
			spt->Lun = (UCHAR)v;
			break;
		default:
			spt->PathId = (UCHAR)v;
		}
	}
}

/* DEVICE SEED COUNT: requests with wrong lengths, offsets and buffers; the driver refuses or serves each. */
static int cmd_fuzz(int argc, char **argv)
{
	static const DWORD codes[] = {IOCTL_SCSI_PASS_THROUGH, IOCTL_SCSI_PASS_THROUGH,
		IOCTL_SCSI_PASS_THROUGH, IOCTL_SCSI_GET_ADDRESS, IOCTL_STORAGE_QUERY_PROPERTY,
		IOCTL_SCSI_GET_INQUIRY_DATA, IOCTL_SCSI_GET_CAPABILITIES, IOCTL_DISK_GET_LENGTH_INFO,
		IOCTL_DISK_GET_DRIVE_GEOMETRY, 0x700F8 /* IOCTL_DISK_IS_CLUSTERED */, 0x4D000};
	static uint8_t buf[4096];
	uint64_t seed = argc == 3 ? strtoull(argv[1], NULL, 10) : 0;
	unsigned long served = 0, refused_count = 0;
	HANDLE dev;

	if (!seed)
		return 2;
	dev = open_device(argv[0]);
	if (dev == INVALID_HANDLE_VALUE)
		return refused("opening");
	for (unsigned long left = strtoul(argv[2], NULL, 10); left; left--) {
		DWORD code = codes[next_random(&seed) % (sizeof(codes) / sizeof(codes[0]))], got = 0;
		bool small = next_random(&seed) % 4 == 0;
		DWORD in = small ? (DWORD)(next_random(&seed) % 200) : 1024;
		DWORD out = small ? (DWORD)(next_random(&seed) % 200) : 1024;

		memset(buf, 0, sizeof(buf));
		if (code == IOCTL_SCSI_PASS_THROUGH)
			spoil((SCSI_PASS_THROUGH *)(void *)buf, &seed);
		if (DeviceIoControl(dev, code, buf, in, buf, out, &got, NULL) && got <= out)
			served++;
		else if (got > out)
			return refused("more came back than there is room for");
		else
			refused_count++;
	}
	printf("served %lu refused %lu\n", served, refused_count);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(int argc, char **argv);
	} commands[] = {{"list", cmd_list}, {"rescan", cmd_rescan}, {"inquiry-data", cmd_inquiry_data},
		{"cdb", cmd_cdb}, {"read", cmd_read}, {"write", cmd_write}, {"parallel", cmd_parallel},
		{"keep", cmd_keep}, {"fuzz", cmd_fuzz}};
	int rc = 2;

	for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(argv[1], commands[i].name) == 0)
			rc = commands[i].run(argc - 2, argv + 2);
	}
	if (rc == 2)
		fprintf(stderr,
			"usage: umbra-lab-probe.exe list | rescan | inquiry-data\n"
			"       umbra-lab-probe.exe cdb DEVICE CDB [--in BYTES | --out HEX] [--lun N] "
			"[--timeout S]\n"
			"       umbra-lab-probe.exe read DEVICE OFFSET BYTES FILE | write DEVICE OFFSET FILE\n"
			"       umbra-lab-probe.exe parallel DEVICE THREADS COUNT | keep DEVICE | fuzz DEVICE SEED COUNT\n"
			"DEVICE: PhysicalDrive1, Scsi0: ...\n");
	return rc;
}
