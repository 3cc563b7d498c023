/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The catalogue, read when the array is opened.
 *
 * Its records, by the store's tables. Integers are big-endian; a text is a length byte and its bytes.
 *
 *	record:  version u8 (1; of a HOST 2, of a LUN 2 to 5, of a SET 1 to 3), fields,
 *	         checksum u32 (XXH32 over key and value, table as the seed)
 *	META:    key "array";              id 16, created u64
 *	         key "ran";                version 2: running time in ms u64
 *	         key "lock", set id;       version 2: end by the wall clock in ms u64, by running time in ms u64
 *	         key "policy:", name;      version 2: label text, hosts u8 (0, 1), every_ms u64, at_min u16,
 *	                                   copies kept hourly, daily, weekly, monthly, yearly u16, lock_ms u64,
 *	                                   last turn: taken u8 (0, 1), slot u64, ms by the wall clock u64, by
 *	                                   running time u64; LUNs u16, id 16 each
 *	         key "image", disk id u64; nothing: a hidden disk that goes with a restart
 *	LUN:     key id;                   kind u8, serial, size, created, disk id (u64 each), origin id 16,
 *	                                   set id 16, name; since version 2: role u8 (0 live, 1 recycled),
 *	                                   hydration u8 (0 none, 1 wanted, 2 full), notified u32 (version 3:
 *	                                   with the bit that a host has written to it);
 *	                                   of a recycled one: deleted, purge (u64 each), and of its set: name,
 *	                                   owner, cut, window, durable (u64 each); since version 4 (recycled
 *	                                   ones only) the running time at which it is purged u64; version 5
 *	                                   (recycled ones only): its set's notes
 *	HOST:    key name;                 flags u8 (1 control LU, 2 control without CHAP), import u8,
 *	                                   names u8, initiator names, CHAP user, CHAP secret, hosts u8,
 *	                                   host names, since version 2: our CHAP secret
 *	MAP:     key host, NUL, LUN id;    number u32
 *	         key host, NUL, page u8;   version 2: of each number of the page that rests: place in the page u8,
 *	                                   seen u8, LUN id 16
 *	SET:     key id;                   state u8, name, owner, cut, window, durable (u64 each),
 *	                                   (owner: a host's name; of earlier programs an initiator's)
 *	                                   members u16, of each: original 16, shadow 16, kind u8, size u64; since version 2 (sets of
 *	                                   hosts only) the running time at the cut u64; version 3 (sets of
 *	                                   which a host told): notes
 *	         notes:                    label, writers u8 (enum up_writers), frozen, flush, commit, release
 *	                                   (microseconds u64 each), imported u8 (0 or 1), import u64
 *	RESERVATION: key LUN id;           bytes of the SCSI layer (scsi/reserve_keep.c)
 *
 * A damaged record is -EUCLEAN, one with a higher version -ENOTSUP. Reading never trusts a length.
 */
#ifndef UMBRA_MODEL_CATALOGUE_H
#define UMBRA_MODEL_CATALOGUE_H

#include "array/model/base/base.h"

int catalogue_load(struct array *a, struct fault *fault);

/* ---- array.c: the array that it is read into; array_close frees it ------------------------------------ */

struct array *array_new(const struct array_options *options); /* NULL: no memory */
int array_setup(struct array *a);                             /* its folders' parts: 0 or -ENOMEM */

#endif
