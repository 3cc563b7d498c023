/* SPDX-License-Identifier: Apache-2.0 */
/* See status.h. */
#include "array/control/status.h"

#include <errno.h>
#include <stddef.h>
#include "array/util/fault.h"

static const struct {
	int err;
	enum up_status status;
} rows[] = {
	{0, UP_OK},
	{ENOENT, UP_NOT_FOUND},
	{ENODEV, UP_NOT_FOUND},
	{EEXIST, UP_ID_CONFLICT},
	{EBADFD, UP_BAD_STATE},
	{EINVAL, UP_BAD_MESSAGE},
	{ENAMETOOLONG, UP_BAD_MESSAGE},
	{ERANGE, UP_BAD_MESSAGE},
	{ENOTSUP, UP_UNSUPPORTED},
	{EPERM, UP_DENIED},
	{EACCES, UP_DENIED},
	{ENOSPC, UP_NO_SPACE},
	{EMLINK, UP_LIMIT},
	{ENOBUFS, UP_LIMIT},
	{ENFILE, UP_LIMIT},
	{ETIME, UP_DEADLINE},
	{ETIMEDOUT, UP_DEADLINE},
	{EAGAIN, UP_BUSY},
	{EBUSY, UP_BUSY},
	{EIO, UP_IO_ERROR},
	{EROFS, UP_IO_ERROR},
	{EUCLEAN, UP_IO_ERROR},
	{ESHUTDOWN, UP_IO_ERROR},
	{EXDEV, UP_OTHER_STORE},
	{ENOMEM, UP_LIMIT},
};

/* What the protocol alone knows. The others are told by the words for the first errno above that becomes them. */
static const char *const remedies[UP_STATUS_COUNT] = {
	[UP_OK] = "",
	[UP_PENDING] = "The request still runs: fetch its reply again.",
	[UP_BAD_MESSAGE] = "The message is malformed: compare it with docs/protocol.md.",
	[UP_BAD_VERSION] = "Use the protocol version that this reply carries.",
	[UP_UNSUPPORTED] = "This array does not offer it: see the capabilities in the reply to identify.",
	[UP_NOT_FOUND] =
		"There is no such thing, or it is another host's: ask for the list of LUNs, or begin a new set.",
	[UP_BAD_STATE] =
		"The set is not in a state that allows this: ask for its state, or abort it and begin anew.",
	[UP_DENIED] = "The host's record on the array does not allow it: see umbractl host show.",
	[UP_NOT_AUTHENTICATED] =
		"Log in with CHAP, or let the administrator set control-without-chap for the host.",
	[UP_NOT_MAPPED] = "The LUN is not mapped to this host: see umbractl map.",
	[UP_ID_CONFLICT] = "The id is in use: choose a new random one.",
	[UP_INTERNAL] = "The array met an unexpected error: see its log and umbractl events.",
};

enum up_status control_status(int err)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].err == -err)
			return rows[i].status;
	return UP_INTERNAL;
}

const char *control_remedy(enum up_status status)
{
	if ((unsigned)status >= UP_STATUS_COUNT)
		status = UP_INTERNAL;
	for (size_t i = 0; !remedies[status] && i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].status == status)
			return fault_sentence(-rows[i].err);
	return remedies[status];
}

const char *control_sentence(int err)
{
	enum up_status status = control_status(err);

	return remedies[status] ? remedies[status] : fault_sentence(err);
}
