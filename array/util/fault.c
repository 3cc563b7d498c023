/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See fault.h. The one table from an errno of the array's to words: what it is, and what to do about it. Whoever tells a
 * person of an errno takes them from here.
 */
#include "array/util/fault.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include "array/util/message.h"

struct words {
	int err;
	const char *what, *remedy, *sentence;
};

#define ROW(err, what, remedy)                                                                               \
	{                                                                                                    \
		err, what, remedy, what ": " remedy                                                          \
	}
#define DISK_WHAT   "the pool's disk reports errors"
#define DISK_REMEDY "look at it and the kernel's log, then run umbractl pool check"

static const struct words rows[] = {
	/* the pool */
	ROW(ENOSPC, "the pool is full", "delete shadow LUNs or LUNs, or enlarge it (umbractl pool grow)"),
	ROW(EROFS, "the pool is read-only since a write to its disk failed",
		"look at the disk, then restart umbrad"),
	ROW(EIO, DISK_WHAT, DISK_REMEDY),
	ROW(ENXIO, DISK_WHAT, DISK_REMEDY),
	ROW(EUCLEAN, "records of the pool are damaged",
		"stop umbrad, run umbractl pool check, or restore a backup"),
	ROW(ETIME, "the pool's disk was too slow", "nothing of the set is kept: try again"),
	/* umbrad */
	ROW(ENOMEM, "umbrad has no memory left", "give its machine more, or try again later"),
	ROW(ESHUTDOWN, "umbrad is ending", "try again when umbrad runs again"),
	ROW(EAGAIN, "it is busy", "try again in a moment"),
	ROW(EMLINK, "a limit of the array is reached", "see umbractl status and umbrad.conf(5)"),
	ROW(ENOBUFS, "a limit of the array is reached", "see umbractl status and umbrad.conf(5)"),
	/* what was asked for */
	ROW(ENOENT, "there is no such thing", "check the name; the list command shows those there are"),
	ROW(ENODEV, "it is being deleted, or gone", "the list command shows those there are"),
	ROW(EEXIST, "the name or number is taken",
		"choose another name or number, or take the other away first"),
	ROW(EBUSY, "something uses it still", "unmap it, or wait for what runs"),
	ROW(EBADFD, "what is asked for fits another state", "umbractl set show tells it"),
	ROW(ECANCELED, "somebody else undid it meanwhile", "begin anew"),
	ROW(EXDEV, "the LUNs lie in several stores", "make a set for each store"),
	ROW(EINVAL, "the value is not valid", "correct it"),
	ROW(ERANGE, "the value is out of range", "correct it"),
	ROW(EMSGSIZE, "it is too much at once", "ask for less"),
	ROW(ENOTSUP, "this version does not offer it", "see the documentation for what it offers"),
	ROW(EPERM, "it is not allowed", "be root, or see the host's rights: umbractl host show"),
	ROW(EACCES, "it is not allowed", "look at the owner and mode, or be root"),
};
/* Of an array in Ceph, where they differ. */
#define IN_CEPH(err, what, remedy) ROW(err, what, remedy)
static const struct words rows_in_ceph[] = {
	IN_CEPH(ENOSPC, "the pool is full",
		"delete shadow LUNs or LUNs, or give Ceph's pool room: OSDs, or its quota (see ceph health detail)"),
	IN_CEPH(EROFS, "the pool is read-only since a write to its disk failed",
		"see umbractl events and ceph osd blocklist ls, then restart umbrad"),
	IN_CEPH(EIO, DISK_WHAT, "see ceph -s, ceph health detail and umbractl events"),
	IN_CEPH(ENXIO, DISK_WHAT, "see ceph -s, ceph health detail and umbractl events"),
	IN_CEPH(ETIME, "Ceph did not answer in time", "see ceph -s and ceph health detail, and try again"),
	IN_CEPH(EUCLEAN, "records of the pool are damaged",
		"see umbractl events and ceph health detail: was something changed in Ceph's pool by hand?"),
};
static bool in_ceph;

static const struct words other = ROW(0, "it failed unexpectedly", "see umbrad's log and umbractl events");

void fault_in_ceph(bool is)
{
	in_ceph = is;
}

static const struct words *words_of(int err)
{
	for (size_t i = 0; in_ceph && i < sizeof(rows_in_ceph) / sizeof(rows_in_ceph[0]); i++)
		if (rows_in_ceph[i].err == -err)
			return &rows_in_ceph[i];
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].err == -err)
			return &rows[i];
	return &other;
}

const char *fault_what(int err)
{
	const struct words *w = words_of(err);
	const char *library = w == &other ? strerrordesc_np(-err) : NULL;

	return library ? library : w->what;
}

const char *fault_remedy(int err)
{
	return words_of(err)->remedy;
}

const char *fault_sentence(int err)
{
	return words_of(err)->sentence;
}

uint32_t fault_message(int err)
{
	return message_of(words_of(err)->what);
}

int fault_set(struct fault *f, int err, const char *format, ...)
{
	va_list args;

	if (!f)
		return err;
	f->err = err;
	f->message = message_of(format);
	va_start(args, format);
	vsnprintf(f->text, sizeof(f->text), format, args);
	va_end(args);
	return err;
}

int fault_errno(struct fault *f, int err)
{
	fault_set(f, err, "%s: %s", fault_what(err), fault_remedy(err));
	if (f)
		f->message = fault_message(err);
	return err;
}
