/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names and records of the store in Ceph, as `rbd ls` and `rados listomapkeys` show them. Pure functions.
 *
 * Images:   ARRAY.lun-ID     a disk's image; ID is the disk's, decimal
 *           ARRAY.lun-ID.N   the image behind the disk since it was made to hold a copy's data (a resync); N rises
 * Object:   umbra.ARRAY      the catalogue, an object with omap:
 *           head.NAME        format, epoch, beat, owner, fence, next, disks
 *           disk.ID          ID in 16 hex digits; value "SIZE IMAGE"
 *           todo.IMAGE       an image to be deleted
 *           flat.IMAGE       all that its parent had is copied, and the tie is being cut (tie.c); value "ID SNAP POOL PARENT SPACE",
 *                            the image's id and what it was a clone of; "ID" or "" by an umbrad before this one
 *           T.KEY            a record of table T (a digit); the key's bytes as they are
 *           No other object of an array's begins with "umbra.": whatever followed could be another array's name.
 */
#ifndef UMBRA_STORE_RBD_CODEC_H
#define UMBRA_STORE_RBD_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "array/util/process.h"

#define RBD_IMAGE_NAME_BYTES 96 /* what librbd takes */
#define RBD_KEY_BYTES        320
#define RBD_CUT_PREFIX       "umbra-cut-" /* snapshots while a cut is under way: EPOCH-NUMBER follows */

#define RBD_HEAD_FORMAT "head.format"
#define RBD_HEAD_EPOCH  "head.epoch"
#define RBD_HEAD_BEAT   "head.beat"  /* a count that the owner raises while it lives */
#define RBD_HEAD_OWNER  "head.owner" /* "ADDRESSES|MACHINE PID START|HOST", "": nobody */
#define RBD_HEAD_FENCE  "head.fence" /* addresses that are to be locked out before anything is written */
#define RBD_HEAD_NEXT   "head.next"  /* the next disk's id */
#define RBD_HEAD_DISKS  "head.disks" /* how many disk records there must be */
#define RBD_HEAD_CARD   "head.controller." /* and a number: what that controller says of itself (cards.c) */
#define RBD_HEAD_HOME                                                                                        \
	"head.home" /* where it was made: "CLUSTER POOL NAMESPACE" by their ids; absent: an umbrad before this one did it */
#define RBD_HOME_BYTES 256
#define RBD_FORMAT     "1"

/* The names of an array's image; `copy` 0: the first one. */
void rbd_image_name(char out[RBD_IMAGE_NAME_BYTES], const char *array, uint64_t id, uint64_t copy);
/* Whether it is such a name, and of which disk. */
bool rbd_image_name_parse(const char *name, const char *array, uint64_t *id, uint64_t *copy);
/* Which data a disk has whose image has that name (store_ops.disk_data). */
uint64_t rbd_image_data(const char *array, const char *name);

size_t rbd_record_key(char out[RBD_KEY_BYTES], unsigned table, const void *key, size_t key_len);
void rbd_disk_key(char out[32], uint64_t id);
bool rbd_disk_key_parse(const char *key, size_t key_len, uint64_t *id);
void rbd_disk_value(char out[160], uint64_t size_bytes, const char *image);
bool rbd_disk_value_parse(
	const char *value, size_t len, uint64_t *size_bytes, char image[RBD_IMAGE_NAME_BYTES]);
/* Of the keys `todo.IMAGE` and `flat.IMAGE`; false: the name is none, or the key is shorter than that. */
bool rbd_image_of_key(char image[RBD_IMAGE_NAME_BYTES], const char *key, size_t key_len);
/* Decimal, nothing else. */
bool rbd_number_parse(const char *text, uint64_t *out);

/* Who owns the array. */
struct rbd_owner {
	char addresses[256];
	struct process_id process;
	char host[72];
};
void rbd_owner_format(char out[512], const struct rbd_owner *o);
bool rbd_owner_parse(const char *text, struct rbd_owner *out);
/* Whether two clients of Ceph, by their addresses as librados has them (IP:port/number), are on one host. */
bool rbd_address_same_host(const char *a, const char *b);

/* What the classes on Ceph's OSDs take and give: numbers are little-endian, texts stand behind their length. */
struct rbd_bytes {
	uint8_t data[8192];
	size_t len;
};
void rbd_put_u32(struct rbd_bytes *b, size_t value);
void rbd_put_u64(struct rbd_bytes *b, uint64_t value);
void rbd_put_text(struct rbd_bytes *b, const char *text);
/* From *at on, which goes on behind it. False: less is there. */
bool rbd_take_u32(const struct rbd_bytes *b, size_t *at, size_t *value);
bool rbd_take_u64(const struct rbd_bytes *b, size_t *at, uint64_t *value);
bool rbd_take_text(const struct rbd_bytes *b, size_t *at, const char **text, size_t *len);
/* A count, and so many pairs of texts: the answer to metadata_list. False: less is there; those that were there were told. */
bool rbd_pairs_parse(const struct rbd_bytes *b,
	void (*each)(void *arg, const char *key, size_t key_len, const char *value, size_t value_len),
	void *arg);

/* Ceph's own objects of an image: what has its id, by its name; its header; the map of what it has, or a snapshot of it. */
#define RBD_ID_BYTES     64
#define RBD_OBJECT_BYTES 128
void rbd_id_object(char out[RBD_OBJECT_BYTES], const char *image);
bool rbd_id_parse(const struct rbd_bytes *b, char id[RBD_ID_BYTES]);
void rbd_header_object(char out[RBD_OBJECT_BYTES], const char *id);
#define RBD_HEAD (~UINT64_C(1)) /* no snapshot: CEPH_NOSNAP */
void rbd_map_object(char out[RBD_OBJECT_BYTES], const char *id, uint64_t snap);

/* What an image is a clone of. */
struct rbd_parent {
	int64_t pool; /* -1: of nothing */
	char space[128], id[RBD_ID_BYTES];
	uint64_t snap;
};
/* An image whose tie to its parent is being cut. pool -1: an umbrad before this one said only which; its id may be "". */
#define RBD_TIE_BYTES 320
struct rbd_tie {
	char id[RBD_ID_BYTES];
	struct rbd_parent parent;
};
void rbd_tie_format(char out[RBD_TIE_BYTES], const struct rbd_tie *t);
bool rbd_tie_parse(const char *value, size_t len, struct rbd_tie *out);
/* The answers of the class `rbd` to parent_get, and to parent_overlap_get: how much of the parent shows through. */
bool rbd_parent_parse(const struct rbd_bytes *b, struct rbd_parent *out);
bool rbd_overlap_parse(const struct rbd_bytes *b, uint64_t *bytes);
/* The answer to get_size. */
bool rbd_size_parse(const struct rbd_bytes *b, uint64_t *object_bytes, uint64_t *size_bytes);
/* The first number of 64 bits, as get_flags and get_features have it. */
bool rbd_number_take(const struct rbd_bytes *b, uint64_t *out);
/* The answer to object_map_load: of how many objects it tells, and from where on, two bits each. */
bool rbd_map_parse(const void *data, size_t len, uint64_t *objects, size_t *at);

#endif
