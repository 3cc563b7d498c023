/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How SCSI commands reach an array: a small vtable, implemented by transport_spti.c (pass-through of Windows)
 * and by the tests' fake array.
 *
 * Invariants:
 * - A handle serves one thread at a time. command() allocates nothing: what it needs came with open().
 * - No caller chooses a time-out: Windows resets the LUN under everybody's I/O when it has passed. See courier.h.
 * - int results: 0, or a negative errno: -ENODEV (nothing there any more), -EIO (the device or the path
 *   failed), -ETIMEDOUT, -EACCES, -ENOMEM, -EOPNOTSUPP (the system refuses the command).
 */
#ifndef UMBRA_PROVIDER_TRANSPORT_H
#define UMBRA_PROVIDER_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRANSPORT_NAME_MAX_BYTES   40
#define TRANSPORT_DATA_MAX_BYTES   16384
#define TRANSPORT_SENSE_MAX_BYTES  32
#define TRANSPORT_SERIAL_MAX_BYTES 64

/* Where one logical unit is reached. */
struct transport_device {
	char name[TRANSPORT_NAME_MAX_BYTES]; /* "\\.\PhysicalDrive3", "\\.\Scsi2:" */
	uint8_t path, target, lun;           /* with a SCSI port only */
	bool is_port;
	uint8_t device_type; /* INQUIRY: 00h disk, 0Ch array controller */
	uint32_t route; /* of port, path and target: units with the same one fail together; 0: not known */
};

enum transport_direction {
	TRANSPORT_NONE,
	TRANSPORT_IN,
	TRANSPORT_OUT
};

struct transport_command {
	uint8_t cdb[16];
	uint8_t cdb_len_bytes;
	enum transport_direction direction;
	uint8_t *data;      /* borrowed */
	uint32_t len_bytes; /* of data; afterwards: bytes that were moved */
	/* results */
	uint8_t status; /* SCSI */
	uint8_t sense[TRANSPORT_SENSE_MAX_BYTES];
};

struct transport_handle;
struct transport;

struct transport_ops {
	/* Lists the logical units whose vendor is UP_VENDOR; at most `cap`. Returns how many. */
	unsigned (*enumerate)(struct transport *t, struct transport_device *out, unsigned cap);
	int (*open)(
		struct transport *t, const struct transport_device *device, struct transport_handle **out);
	/* 0: the command was carried out; command->status tells how it ended. */
	int (*command)(struct transport_handle *h, struct transport_command *command);
	void (*close)(struct transport_handle *h);
};

struct transport {
	const struct transport_ops *ops;
};

/* Pass-through. One for the process; nothing to free. */
struct transport *transport_spti(void);

/* Does this open drive (HANDLE) come from one of our arrays? Windows is asked, not the disk. */
bool transport_spti_is_ours(void *file);
/* Is this open drive (HANDLE) a disk of a failover cluster? */
bool transport_spti_is_clustered(void *file);

#endif
