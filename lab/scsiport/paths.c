/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which path of a disk a command takes: what mpio and msdsm do with implicit ALUA, as strictly as they may.
 *
 * - Reads, writes and the class driver's own commands take the active path. Where that is refused as in standby or unavailable, or is
 *   gone, they take the next one; while the array changes hands they are sent again and again.
 * - A pass-through is sent once, over the active path, and its caller sees what came back: mpio repeats none. What came back moves the
 *   active path on for the next one. With Multipath 2 it takes a path that I/O does not, if there is one.
 */
#include <ntddk.h>
#include "lab/scsiport/ioctl.h"

enum {
	TAKEOVER_MS =
		60000, /* mpio's PDORemovePeriod and more: I/O waits so long for a path that serves it */
	PAUSE_MS = 100,
	ALUA_FIRST = 0x0A, /* 02/04: in transition, standby, unavailable */
	ALUA_LAST = 0x0C
};

static bool is_elsewhere(const struct labw_reply *rep)
{
	const uint8_t *s = rep->sense;
	bool fixed = rep->sense_bytes >= 14 && (s[0] & 0x7E) == 0x70;
	bool descriptors = rep->sense_bytes >= 4 && (s[0] & 0x7E) == 0x72;

	if (rep->scsi_status != 2 || (!fixed && !descriptors))
		return false;
	uint8_t key = fixed ? s[2] & 15 : s[1] & 15, asc = fixed ? s[12] : s[2], ascq = fixed ? s[13] : s[3];
	return key == 2 && asc == 4 && ascq >= ALUA_FIRST && ascq <= ALUA_LAST;
}

/* The next path after this one, in turns; the same where there is no other. */
static unsigned int next_path(const struct disk *disk, unsigned int adapter)
{
	for (unsigned int n = 1; n < PORT_ADAPTERS_MAX; n++) {
		unsigned int other = (adapter + n) % PORT_ADAPTERS_MAX;
		if (disk->paths[other].there)
			return other;
	}
	return adapter;
}

static uint32_t send(
	struct port_call *call, unsigned int adapter, struct labw_request *req, struct labw_reply *rep)
{
	req->lun = call->disk.paths[adapter].lun;
	return port_exchange(call->worker, adapter, req, rep);
}

static bool serves(uint32_t result, const struct labw_reply *rep)
{
	return result == LABW_OK ? !is_elsewhere(rep) : result != LABW_NOT_CONNECTED && result != LABW_LOST;
}

/* The coordinator reads and writes partition tables by pass-through, where VSS goes through the class driver. */
static bool is_block_io(uint8_t opcode)
{
	return opcode == 0x88 || opcode == 0x8A || opcode == 0x9E || opcode == 0x35 || opcode == 0x28 ||
	       opcode == 0x2A || opcode == 0x25;
}

uint32_t paths_exchange(struct port_call *call, struct labw_request *req, struct labw_reply *rep)
{
	LARGE_INTEGER pause = {.QuadPart = -10000LL * PAUSE_MS};
	unsigned int adapter = call->disk.active;
	bool raw = !(req->flags & LABW_F_CLASS) && !is_block_io(req->cdb[0]),
	     others = next_path(&call->disk, adapter) != adapter;
	uint32_t result;

	if (raw && others && port_setting(L"Multipath", 0) > 1)
		return send(call, next_path(&call->disk, adapter), req, rep);
	for (unsigned int tries = 0;; tries++) {
		result = send(call, adapter, req, rep);
		if (!others || serves(result, rep))
			break;
		adapter = next_path(&call->disk, adapter);
		if (raw || tries >= TAKEOVER_MS / PAUSE_MS)
			break;
		(void)KeDelayExecutionThread(KernelMode, FALSE, &pause);
	}
	if (adapter != call->disk.active)
		disks_set_active(call->disk.slot, call->disk.generation, adapter);
	call->disk.active = adapter;
	return result;
}
