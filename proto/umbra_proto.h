/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control protocol between a host and the array: message layout and codec.
 *
 * A message is a 32-byte header followed by fields (tag, length, value), all big-endian. The codec is
 * pure C without an operating system: it is compiled into umbrad, umbra-vss.exe and the lab.
 * docs/protocol.md has the byte tables and the meaning of every request.
 *
 * Invariants:
 * - Decoding never reads past the bytes given, never allocates, and refuses every length that does not fit.
 * - Fields with an unknown tag are skipped; a known tag with a wrong length is an error.
 * - A message that decodes encodes again to a message with the same meaning.
 */
#ifndef UMBRA_PROTO_H
#define UMBRA_PROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The SCSI side: SPC-4 6.30/6.31 SECURITY PROTOCOL IN/OUT with this vendor-specific protocol; the
 * protocol-specific field is the mailbox slot. The vendor opcodes take the same CDB layout. */
#define UP_SECURITY_PROTOCOL 0xF0
#define UP_OPCODE_IN         0xA2
#define UP_OPCODE_OUT        0xB5
#define UP_OPCODE_VENDOR_IN  0xC2
#define UP_OPCODE_VENDOR_OUT 0xC5

#define UP_MAGIC             0x554D4252u /* "UMBR" */
#define UP_VERSION_MAJOR     1
#define UP_VERSION_MINOR     0
#define UP_HEADER_BYTES      32
#define UP_REQUEST_MAX_BYTES 16384
#define UP_REPLY_MAX_BYTES   16384
#define UP_ID_BYTES          16
#define UP_NAME_MAX_BYTES    223 /* an iSCSI name, RFC 7143 4.2.7.1 */
#define UP_TEXT_MAX_BYTES    255
#define UP_LABEL_MAX_BYTES   63 /* of a copy set's label */
#define UP_PAGE_MAX_LUNS     64 /* LUN entries in one reply */

/* Identity strings as INQUIRY and VPD 80h show them: no spaces, no padding. */
#define UP_VENDOR          "UMBRADEV"
#define UP_PRODUCT         "UMBRA-DISK-LUN-1"
#define UP_PRODUCT_CONTROL "UMBRA-CONTROL-LU" /* of the control LU: no disk for MPIO to claim */
#define UP_REVISION        "0001"
#define UP_SERIAL_BYTES    32 /* lower-case hex of the 128-bit id */

enum up_op {
	UP_OP_IDENTIFY = 1,       /* who is the array, who am I, what may I */
	UP_OP_DESCRIBE_LUN = 2,   /* identity, size, kind of one LUN (by LUN_ID, or the LUN asked through) */
	UP_OP_SET_BEGIN = 3,      /* start a copy set: SET_ID */
	UP_OP_SET_ADD = 4,        /* SET_ID, LUN_ID (original), COPY_KIND -> the shadow LUN's identity */
	UP_OP_SET_STATE = 5,      /* SET_ID -> STATE …; renews the lease */
	UP_OP_SET_ARM = 6,        /* SET_ID: everything that the commit needs is made ready */
	UP_OP_SET_COMMIT = 7,     /* SET_ID, DEADLINE_MS: the cut; replies when durable */
	UP_OP_SET_KEEP = 8,       /* SET_ID: the host has taken the identities over */
	UP_OP_SET_ABORT = 9,      /* SET_ID: undo, whatever the state before kept; idempotent */
	UP_OP_SET_LUNS = 10,      /* SET_ID, CURSOR -> LUN entries, CURSOR (0: last page) */
	UP_OP_MAP = 11,           /* LUN_ID of a shadow LUN: map to the asking host -> LUN_NUMBER */
	UP_OP_UNMAP = 12,         /* LUN_ID, SCOPE */
	UP_OP_DELETE = 13,        /* LUN_ID of a shadow LUN; one already gone succeeds */
	UP_OP_BREAK = 14,         /* LUN_ID: becomes an ordinary LUN; FLAGS: UP_BREAK_… */
	UP_OP_RESYNC_START = 15,  /* LUN_ID (shadow), TARGET_ID -> JOB; the same pair running: the same job */
	UP_OP_RESYNC_STATE = 16,  /* JOB -> JOB_STATE, PERCENT, TEXT when it failed */
	UP_OP_RESYNC_CANCEL = 17, /* JOB */
	UP_OP_LIST = 18,          /* diagnosis: LUNs that the asking host may see or import, CURSOR */
	UP_OP_NOTIFY = 19, /* LUN_ID of a shadow LUN, FLAGS: UP_NOTIFY_…; the array keeps a record of it */
	UP_OP_SET_LABEL = 20, /* SET_ID, LABEL: what its requester calls the set; empty: nothing */
	UP_OP_SET_TELL = 21,  /* SET_ID, what it cost: WRITERS and the times, or IMPORT_US, or both */
	/* SET_ID, LUN entries (their ids) -> a kept set of them, without VSS: all of SET_BEGIN to SET_KEEP in one request */
	UP_OP_SET_TAKE = 22,
	UP_OP_COUNT
};

/* In a reply. UP_PENDING: the request runs still; fetch again. */
enum up_status {
	UP_OK = 0,
	UP_PENDING = 1,
	UP_BAD_MESSAGE = 2,       /* magic, lengths, a field of wrong size, a required field missing */
	UP_BAD_VERSION = 3,       /* major version not spoken; the reply carries the array's */
	UP_UNSUPPORTED = 4,       /* operation or option not offered by this array */
	UP_NOT_FOUND = 5,         /* set, LUN or job unknown (to this host) */
	UP_BAD_STATE = 6,         /* not in this state of the set (second commit, add after arm …) */
	UP_DENIED = 7,            /* the host's record does not allow it */
	UP_NOT_AUTHENTICATED = 8, /* needs a session with CHAP */
	UP_NO_SPACE = 9,
	UP_LIMIT = 10,       /* a configured or built-in bound is reached */
	UP_DEADLINE = 11,    /* the commit was not durable in time; nothing is kept */
	UP_BUSY = 12,        /* something else is under way; try again */
	UP_IO_ERROR = 13,    /* the store failed */
	UP_OTHER_STORE = 14, /* the LUN lies in another store than the set */
	UP_NOT_MAPPED = 15,  /* the LUN is not mapped to the asking host */
	UP_ID_CONFLICT = 16, /* request id re-used with other content; set id exists for another host */
	UP_INTERNAL = 17,
	UP_STATUS_COUNT
};

enum up_copy_kind {
	UP_COPY_DEFAULT = 0, /* the array chooses, by its configuration */
	UP_COPY_DIFFERENTIAL = 1,
	UP_COPY_PLEX = 2,
};

enum up_lun_kind {
	UP_LUN_ORDINARY = 1,
	UP_LUN_SHADOW = 2,
	UP_LUN_FUTURE_SHADOW = 3, /* identity reserved by SET_ADD, not yet cut */
};

enum up_set_state {
	UP_SET_PREPARING = 1,
	UP_SET_ARMED = 2,
	UP_SET_COMMITTING = 3,
	UP_SET_COMMITTED = 4,
	UP_SET_KEPT = 5,
	UP_SET_ABORTED = 6,
};

/* What VSS had the applications' writers do. */
enum up_writers {
	UP_WRITERS_NOT_TOLD = 0,
	UP_WRITERS_TOOK_PART = 1, /* application-consistent */
	UP_WRITERS_LEFT_OUT = 2,  /* the requester's context had NO_WRITERS: as after a power failure */
	UP_WRITERS_NO_VSS = 3,    /* the set was made without VSS: what its host did is not known */
};

/* Longer than any copy takes: a time beyond it is a fault. A day. */
#define UP_COST_MAX_US (UINT64_C(86400) * 1000000)
/* I/O that was held for longer is a warning. VSS gives up at 10 s. */
#define UP_HOLD_SLOW_US (UINT64_C(5) * 1000000)

enum up_scope {
	UP_SCOPE_ME = 1,
	UP_SCOPE_ALL = 2
};

/* Of RESYNC_STATE. */
enum up_job_state {
	UP_JOB_RUNNING = 1,
	UP_JOB_DONE = 2,
	UP_JOB_CANCELLED = 3,
	UP_JOB_FAILED = 4,
};

/* FLAGS of BREAK. */
#define UP_BREAK_MASK 1u /* unmap it from the asking host first */
/* FLAGS of DELETE: also one to which a host wrote after its set was kept, and that the asking host does not see. */
#define UP_DELETE_WRITTEN 1u
/* FLAGS of NOTIFY: what IVssHardwareSnapshotProviderEx::OnLunStateChange told, with VSS's values. */
#define UP_NOTIFY_READ_WRITE    0x100u
#define UP_NOTIFY_PRE_RECOVERY  0x200u
#define UP_NOTIFY_POST_RECOVERY 0x400u
#define UP_NOTIFY_ALL           0x700u
/* Beside them in a LUN entry's `notified`, by the array itself: a host wrote to the shadow LUN. */
#define UP_NOTED_WRITTEN 0x1u

/* Capabilities of IDENTIFY. */
#define UP_CAP_DIFFERENTIAL (UINT64_C(1) << 0)
#define UP_CAP_PLEX         (UINT64_C(1) << 1)
#define UP_CAP_BREAK        (UINT64_C(1) << 2)
#define UP_CAP_RESYNC       (UINT64_C(1) << 3)
#define UP_CAP_READ_ONLY    (UINT64_C(1) << 4) /* no offer: nothing can be changed now, no copy be made */
/* No offer: another controller owns the array, and the other bits say nothing. All but identify ends with 02/04/0B here, and
 * belongs on another path. */
#define UP_CAP_STANDBY (UINT64_C(1) << 5)

/* Field tags. A tag's type never changes; see the table in umbra_proto.c. */
enum up_tag {
	UP_TAG_TEXT = 1,              /* UTF-8, why a request failed and what to do */
	UP_TAG_ARRAY_ID = 2,          /* 16 bytes */
	UP_TAG_ARRAY_NAME = 3,        /* UTF-8 */
	UP_TAG_INITIATOR_NAME = 4,    /* the asking host's, as authenticated */
	UP_TAG_CAPABILITIES = 5,      /* u64 */
	UP_TAG_AUTHENTICATED = 6,     /* u32, 1: the session did CHAP */
	UP_TAG_MAX_SET_LUNS = 7,      /* u32 */
	UP_TAG_LEASE_MS = 8,          /* u32: of an unkept set; in SET_STATE what is left */
	UP_TAG_SET_ID = 9,            /* 16 bytes, the host's choice (VSS: the snapshot set id) */
	UP_TAG_LUN_ID = 10,           /* 16 bytes */
	UP_TAG_TARGET_ID = 11,        /* 16 bytes */
	UP_TAG_COPY_KIND = 12,        /* u32, enum up_copy_kind */
	UP_TAG_STATE = 13,            /* u32, enum up_set_state */
	UP_TAG_DEADLINE_MS = 14,      /* u32, from the arrival of the request */
	UP_TAG_WINDOW_NS = 15,        /* u64: how long the gates were closed */
	UP_TAG_DURABLE_NS = 16,       /* u64: from the cut to its durability */
	UP_TAG_CURSOR = 17,           /* u32, paging; 0: from the start, or no more */
	UP_TAG_LUN_NUMBER = 18,       /* u32 */
	UP_TAG_SCOPE = 19,            /* u32, enum up_scope */
	UP_TAG_FLAGS = 20,            /* u32, operation-specific */
	UP_TAG_PERCENT = 21,          /* u32 */
	UP_TAG_LUN_ENTRY = 22,        /* struct up_lun, may repeat */
	UP_TAG_MAX_REQUEST = 23,      /* u32 bytes */
	UP_TAG_COMMIT_BUDGET_MS = 24, /* u32: the array's own longest deadline */
	UP_TAG_JOB = 25,              /* u32 */
	UP_TAG_JOB_STATE = 26,        /* u32, enum up_job_state */
	UP_TAG_LABEL = 27,            /* UTF-8, no control characters; of a set */
	UP_TAG_WRITERS = 28,          /* u32, enum up_writers */
	UP_TAG_FROZEN_US = 29,        /* u64: from PreCommitSnapshots to PostFinalCommitSnapshots */
	UP_TAG_FLUSH_US = 30,         /* u64: of the hold, before CommitSnapshots */
	UP_TAG_COMMIT_US = 31,        /* u64: of the hold, CommitSnapshots */
	UP_TAG_RELEASE_US = 32,       /* u64: of the hold, after CommitSnapshots */
	UP_TAG_IMPORT_US = 33,        /* u64: from LocateLuns until the disks were there */
	UP_TAG_COUNT
};

/* One LUN as the control channel describes it. All identity follows from id, see identity.h.
 * Wire layout (96 bytes): id 16, origin 16, set 16, size 8, block 4, kind 4, number 4, copy_kind 4,
 * set_state 4, mapped_hosts 4, created 8, notified 4, full_percent 4. */
struct up_lun {
	uint8_t id[UP_ID_BYTES];
	uint8_t origin_id[UP_ID_BYTES]; /* of a shadow LUN: its original; else zero */
	uint8_t set_id[UP_ID_BYTES];    /* of a shadow LUN: its copy set; else zero */
	uint64_t size_bytes;
	uint32_t block_bytes;
	uint32_t kind;      /* enum up_lun_kind */
	uint32_t number;    /* LUN number for the asking host, 0: not mapped to it */
	uint32_t copy_kind; /* enum up_copy_kind */
	/* of a shadow LUN; else, and from arrays that do not tell, zero */
	uint32_t set_state;       /* enum up_set_state of its copy set */
	uint32_t mapped_hosts;    /* how many hosts see it, the asking one included */
	uint64_t created_unix_ms; /* of the shadow LUN */
	uint32_t notified;     /* of a shadow LUN: UP_NOTIFY_… that its hosts told, UP_NOTED_…, or'ed */
	uint32_t full_percent; /* of a plex copy: how far it is independent of its original, 100: wholly */
};
#define UP_LUN_WIRE_BYTES 96

/* A decoded message: every field that any operation knows, with a bit in `has` for each present. */
struct up_msg {
	uint8_t version_major, version_minor;
	uint16_t op; /* enum up_op */
	bool is_reply;
	uint32_t status;     /* enum up_status; replies only */
	uint64_t request_id; /* chosen by the host, repeated in the reply */

	uint64_t has; /* UP_HAS(tag) bits */
	uint8_t array_id[UP_ID_BYTES];
	uint8_t set_id[UP_ID_BYTES];
	uint8_t lun_id[UP_ID_BYTES];
	uint8_t target_id[UP_ID_BYTES];
	uint64_t capabilities, window_ns, durable_ns;
	uint64_t frozen_us, flush_us, commit_us, release_us, import_us;
	uint32_t authenticated, max_set_luns, lease_ms, copy_kind, state, deadline_ms, cursor, lun_number;
	uint32_t scope, flags, percent, max_request, commit_budget_ms, job, job_state, writers;
	char text[UP_TEXT_MAX_BYTES + 1];           /* NUL-terminated */
	char label[UP_LABEL_MAX_BYTES + 1];         /* NUL-terminated */
	char array_name[UP_NAME_MAX_BYTES + 1];     /* NUL-terminated */
	char initiator_name[UP_NAME_MAX_BYTES + 1]; /* NUL-terminated */
	uint32_t lun_count;
	struct up_lun luns[UP_PAGE_MAX_LUNS];
};
#define UP_HAS(tag)      (UINT64_C(1) << (tag))
#define up_has(msg, tag) (((msg)->has & UP_HAS(tag)) != 0)

/* Zeroes *m and makes it a request of this version. */
void up_request_init(struct up_msg *m, enum up_op op, uint64_t request_id);

/* Zeroes *m and makes it the reply to *request (which may be NULL: op and request id 0). */
void up_reply_init(struct up_msg *m, const struct up_msg *request, enum up_status status);

/* Encodes the fields whose bit is set in m->has (LUN entries: lun_count of them).
 * Returns the length in bytes, or 0 when `cap_bytes` is too small or lun_count out of bounds. */
size_t up_encode(const struct up_msg *m, uint8_t *buf, size_t cap_bytes);

/* Decodes exactly one message. Bytes after its length are ignored (a SCSI transfer may be longer).
 * Returns UP_OK, UP_BAD_MESSAGE or UP_BAD_VERSION; with an error m holds op, request_id and versions as
 * far as they could be read, so that a reply can be made. m is always wholly initialised. */
enum up_status up_decode(struct up_msg *m, const uint8_t *buf, size_t len_bytes);

/* The length in bytes that the header announces, or 0 when there is no valid header yet. */
size_t up_peek_length(const uint8_t *buf, size_t len_bytes);

/* UP_OK when every field that m->op requires in a request is there, else UP_BAD_MESSAGE or UP_UNSUPPORTED
 * (operation unknown); *missing, when not NULL, names the field. */
enum up_status up_request_check(const struct up_msg *m, const char **missing);

/* Short names for messages and traces; never NULL. */
const char *up_op_name(uint32_t op);
const char *up_status_name(uint32_t status);
const char *up_set_state_name(uint32_t state);
const char *up_writers_name(uint32_t writers); /* "took part", "left out", "no VSS", "not told" */

/* Is it UTF-8 without control characters, and short enough to be a label? Empty is one, too. */
bool up_label_valid(const char *label);

/* Does the operation change something (and so need an authenticated session)? */
bool up_op_changes(uint32_t op);

#endif
