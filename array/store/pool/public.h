/* SPDX-License-Identifier: Apache-2.0 */
/* The pool for those who use it: making, opening, checking and dumping one on the real machine. */
#ifndef UMBRA_POOL_PUBLIC_H
#define UMBRA_POOL_PUBLIC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "array/store/store.h"
#include "array/util/fault.h"

struct pool_host;

/* A block of the data does not fit its checksum. */
struct pool_damage {
	uint64_t disk_id; /* who found it there; 0: not known */
	uint64_t disk_offset;
	char file[24]; /* where it lies */
	uint64_t file_offset;
};

struct pool_options {
	const char *path;          /* directory */
	const char *data_device;   /* NULL, or a block device or file for the data instead of data.N */
	uint64_t map_memory_bytes; /* bound of the map cache, 0: default */
	uint64_t log_bytes;        /* create only, 0: default */
	bool checksums;            /* create, checksums: each block of the data has one */
	uint64_t capacity_bytes;   /* create, grow: 0: what the file system or the device has */
	const char *meta_mirror;   /* open only: NULL, or a directory for a second copy of the metadata */
	bool log_mirror;           /* and of the log */
	struct pool_host *mirror;  /* the host of that directory; pool_open makes it */
	/* open only: something happened that an administrator should know; or NULL */
	void (*notice)(void *arg, const char *text);
	void *notice_arg;
	/* open only: of each damaged block once, about; or NULL */
	void (*damaged)(void *arg, const struct pool_damage *damage);
	/* open only: a scrub has ended; or NULL */
	void (*scrubbed)(void *arg, const struct store_scrub *view);
	void *damaged_arg; /* of both */
	bool read_only;    /* open for check and dump */
	bool data;         /* check only: the data, too, where it has checksums */
	/* check only: from 0 to 100 while it goes on, with the argument of `report`; NULL: nobody watches */
	void (*progress)(void *arg, unsigned percent);
	/* check only: says whether the catalogue fits itself and the disks, which the pool cannot know. The store can be asked
	 * for iterate, disk_open, disk_id and disk_size, and lasts during the call. NULL: nobody looks */
	int (*catalogue)(struct store *store, struct fault *fault);
};

/* Makes an empty pool with a new random pool id. Blocks. -EEXIST when there is one, -ENOENT, -EACCES … */
int pool_create(const struct pool_options *options, struct fault *fault);
/* What root has of the pool in this directory, or of a mirror, becomes the user's; nothing where there is none. */
int pool_give(const char *path, uid_t user, gid_t group, struct fault *fault);
/* Replays the log, takes the pool's lock. Blocks. -EBUSY: in use; -EUCLEAN: damaged; -ENOTSUP: newer format;
 * -ENOENT: no pool there; each with a text that says what to do. */
int pool_open(
	const struct pool_options *options, struct reactor *reactor, struct store **out, struct fault *fault);
/* Raises the capacity of a pool that nobody has open. *capacity_bytes: what it is then. Blocks. -EINVAL: it would become
 * smaller; -ENOSPC: there is no more room. */
int pool_grow(const struct pool_options *options, uint64_t *capacity_bytes, struct fault *fault);
/* From now on the pool, which nobody has open, keeps checksums or does not. Blocks. */
int pool_checksums(const struct pool_options *options, struct fault *fault);
/* The pool, which nobody has open, gets what a pool that is made now has; *changed: false: it had it. Blocks. -EUCLEAN: it is
 * damaged. */
int pool_upgrade(const struct pool_options *options, bool *changed, struct fault *fault);
/* Lets `edit` change the catalogue of a pool that nobody has open: all that it puts and deletes becomes durable, or nothing does.
 * Of the store it is given there are iterate, disk_open, disk_id, disk_size, txn_begin, txn_put, txn_del and txn_drop, during the
 * call. 0: keep it; more: nothing is kept (only that, with options->read_only); an error: neither. Blocks. */
int pool_edit(const struct pool_options *options,
	int (*edit)(void *arg, struct store *store, struct fault *fault), void *arg, struct fault *fault);
/* What a restore found: for the words to the administrator. */
struct pool_restored {
	bool from_log;   /* the pool's own log went on where the copy ended */
	uint64_t frames; /* that came from a log */
	bool salvaged;   /* older than the data, or damaged: for reading only */
	bool damaged;    /* some of its records */
	char kept[64];   /* the directory's name for what was there before, or empty */
	uint64_t
		capacity_bytes; /* it had grown since the copy was made: what it has now, at least what its log names; else 0 */
};
/* Puts metadata from `from`, a mirror or a backup, in the place of what is lost or damaged in a pool that nobody has open:
 * `pool`, `meta`, and the log when that is lost too. Blocks. -ESTALE: it, with the logs that there are, is older than the data;
 * -EUCLEAN: it is damaged; `salvage` restores it for reading only. */
int pool_restore(const struct pool_options *options, const char *from, bool salvage,
	struct pool_restored *out, struct fault *fault);
/* Verifies a pool that nobody has open: prints findings by `report` (one line each), repairs when asked.
 * Returns the number of findings left, or a negative errno. Blocks. */
int pool_check(const struct pool_options *options, bool repair, void (*report)(void *arg, const char *line),
	void *arg, struct fault *fault);

struct pool_dump_field {
	const char *name, *text; /* text NULL: a number */
	uint64_t number;
};
/* Tells what a pool holds that nobody has open, and changes nothing: rows of the tables pool, log, disk, branch,
 * todo, map (one for each branch, or with `entries` one for each entry), catalogue, damaged (values
 * with a wrong CRC), total. Rows of one table follow one another. 0 or a negative errno. Blocks. */
int pool_dump(const struct pool_options *options, bool entries,
	void (*row)(void *arg, const char *table, const struct pool_dump_field *fields, unsigned count),
	void *arg, struct fault *fault);

#endif
