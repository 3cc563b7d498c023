/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hosts, what is mapped to them, and their sessions as the model sees them.
 *
 * host/, set/ and array/model itself may include it. Everybody else includes array/model/array.h.
 */
#ifndef UMBRA_MODEL_HOST_H
#define UMBRA_MODEL_HOST_H

#include "array/model/lun/lun.h"

#define ARRAY_HOST_IQNS_MAX  16
#define ARRAY_CHAP_MAX_BYTES 255

struct host_nexus;

enum host_import {
	HOST_IMPORT_OWN = 1,   /* shadow LUNs whose original is mapped to this host */
	HOST_IMPORT_NAMED = 2, /* those, and those of originals mapped to one of import_hosts */
	HOST_IMPORT_ANY = 3,
};

struct host_record {
	char name[ARRAY_NAME_MAX_BYTES + 1];
	unsigned iqn_count;
	char iqns[ARRAY_HOST_IQNS_MAX][UP_NAME_MAX_BYTES + 1]; /* iSCSI initiator names, lower case */
	char chap_user[ARRAY_CHAP_MAX_BYTES + 1];              /* empty: the initiator name */
	char chap_secret[ARRAY_CHAP_MAX_BYTES + 1];            /* empty: no CHAP asked of this host */
	char mutual_secret[ARRAY_CHAP_MAX_BYTES + 1]; /* our proof to this host; empty: we have none */
	bool control_lu;                              /* LUN 0 is the control LU */
	bool control_without_chap; /* may change things over the control channel without CHAP */
	enum host_import import;
	unsigned import_host_count;
	char import_hosts[ARRAY_HOST_IQNS_MAX][ARRAY_NAME_MAX_BYTES + 1]; /* with NAMED: whose copies */
};

/* Lower-cases names, checks everything that does not depend on other hosts. -EINVAL, -EMLINK. */
int host_record_check(struct host_record *record, struct fault *fault);
void host_add(struct array *a, const struct host_record *record, struct array_call *call); /* host */
/* Replaces the record. Sessions that it no longer allows are closed; when a CHAP name or secret has changed,
 * all are. */
void host_update(struct host *h, const struct host_record *record, struct array_call *call);
void host_delete(struct host *h, struct array_call *call); /* -EBUSY while it has mappings */
struct host *host_find(struct array *a, const char *name);
struct host *host_find_iqn(struct array *a, const char *iqn); /* case-insensitive */
struct host *host_next(struct array *a, const struct host *after);
const struct host_record *host_record_of(const struct host *h);
unsigned host_sessions(const struct host *h);
unsigned host_mappings(const struct host *h); /* LUNs that it sees */
/* Who leaves its record with disks that it may show still: it takes the LUNs of another record for them. */
bool host_initiator_leaves(const struct host *h, const char *iqn); /* it is logged in, and sees LUNs or did */
bool host_has_rests(const struct host *h);                         /* numbers rest under which it saw LUNs */
struct load *host_load(struct host *h);    /* of all its sessions since the start; the SCSI layer's */
uint32_t host_queue(const struct host *h); /* operations under way, of its sessions now */

/* ---- mappings --------------------------------------------------------------------------------------- */

/* number 0: the lowest free number that does not rest. Numbers below 255 are preferred, even one that has
 * rested for only a tenth of the time. `asker` (may be NULL) gets no unit attention. call->number is the
 * result. If the LUN is mapped already, the call succeeds with its number. -EBUSY: the number rests, it was
 * another LUN's, and the host may show that one's disk under it still; MAP_FORCE maps all the same. */
#define MAP_FORCE 1u
void map_add(struct host *h, struct lun *lun, uint32_t number, unsigned flags, struct host_nexus *asker,
	struct array_call *call);
/* Done when no I/O of the host on the LUN is under way any more. Succeeds, too, when it is not mapped. */
void map_remove(struct host *h, struct lun *lun, struct host_nexus *asker, struct array_call *call);
void map_remove_all(struct lun *lun, struct host_nexus *asker, struct array_call *call);
uint32_t map_number(const struct host *h, const struct lun *lun); /* 0: not mapped */
struct lun *map_lun(const struct host *h, uint32_t number);       /* hot path; NULL */
/* How many sessions have the LUN: those of h, or, with NULL, of all hosts that see it. */
unsigned map_sessions(const struct lun *lun, const struct host *h);
/* Ascending numbers: the next mapping after `number`, 0: the first. Returns its number, 0: no more. */
uint32_t map_next(const struct host *h, uint32_t number, struct lun **lun);

/* ---- nexuses: sessions, as the model sees them ------------------------------------------------------ */

struct host_nexus_ops {
	void (*mappings_changed)(struct host_nexus *n); /* 3F/0E; already put off during a commit */
	void (*lun_resized)(struct host_nexus *n, struct lun *lun, uint32_t number);   /* 2A/09, likewise */
	void (*lun_protected)(struct host_nexus *n, struct lun *lun, uint32_t number); /* 2A/01: lock */
	void (*lun_replaced)(struct host_nexus *n, struct lun *lun, uint32_t number);  /* 28/00: resync */
	/* The mapping number → lun is going; I/O of this nexus on it is to end. */
	void (*lun_unmapped)(struct host_nexus *n, struct lun *lun, uint32_t number);
	void (*host_revoked)(struct host_nexus *n); /* close the session */
	/* Do the reservations of others let this nexus write to the LUN? */
	bool (*may_write)(struct host_nexus *n, struct lun *lun);
};

/* Embedded in the SCSI layer's nexus. */
struct host_nexus {
	const struct host_nexus_ops *ops;
	struct host *host;                        /* borrowed; set by attach */
	char initiator[UP_NAME_MAX_BYTES + 1];    /* as logged in */
	bool authenticated;                       /* by CHAP */
	uint32_t queue;                           /* the SCSI layer's: operations under way */
	struct list_node link_host, link_pending; /* private */
	bool pending_mappings;                    /* private */
};
/* initiator, authenticated and ops set. -EACCES: no host has this initiator name. */
int host_nexus_attach(struct array *a, struct host_nexus *n);
void host_nexus_detach(struct array *a, struct host_nexus *n);

/* A set is armed or commits: unit attentions, which would disturb hosts, must wait. */
bool host_is_quiet(const struct array *a);

#endif
