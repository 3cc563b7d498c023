/* SPDX-License-Identifier: Apache-2.0 */
/* The one table from an errno of librados and librbd to the array's, and the words for what goes wrong at the opening. */
#include "array/store/rbd/rbd.h"

#include <errno.h>
#include <string.h>

static const struct {
	int ceph, store;
} rows[] = {
	{ESHUTDOWN,
		ESHUTDOWN}, /* EBLOCKLISTED is the same number: this client is locked out of the cluster */
	{ECANCELED, ESHUTDOWN}, /* the guard of a write operation: the epoch is another owner's */
	{ENOSPC, ENOSPC},       /* an OSD, or the cluster, is full */
	{EDQUOT, ENOSPC},       /* the pool's quota */
	{EROFS, EROFS},         /* another client has the image's exclusive lock and does not give it up */
	{EILSEQ, EILSEQ},       /* a comparison */
	{ENOMEM, ENOMEM}, {EMSGSIZE, EMSGSIZE}, {E2BIG, EMSGSIZE},
	{EPERM, EAGAIN}, /* this client's rights were taken away: it is to wait until it has them again */
	{EACCES, EAGAIN},
	{ETIMEDOUT, EAGAIN}, /* nothing of ours has a bound of time; if it comes, the initiator asks again */
	{EAGAIN, EAGAIN}, {EBUSY, EAGAIN},
	{EINPROGRESS, EAGAIN}, /* image.c: an image that it hangs on loses its parent, and that takes long */
	{EREMOTE, EAGAIN},     /* image.c: it is not primary: until somebody promotes it */
};

int rbd_err(int r)
{
	if (r >= 0)
		return r;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].ceph == -r)
			return -rows[i].store;
	return -EIO;
}

int rbd_open_fault(struct fault *f, int r, const struct store_module_options *o, const char *what)
{
	const char *user = o->client_id ? o->client_id : "admin";

	switch (-r) {
	case EACCES:
	case EPERM:
		return fault_set(f, r,
			"Ceph does not allow client.%s to %s: give it the caps mon 'profile rbd' and osd 'profile rbd pool=%s' (ceph "
			"auth caps)",
			user, what, o->ceph_pool);
	case ETIMEDOUT:
		return fault_set(f, r,
			"Ceph's monitors do not answer (%s): see mon_host in ceph.conf, and ceph -s", what);
	case ESHUTDOWN:
		return fault_set(f, r,
			"Ceph has locked this client out (%s): another umbrad took the array; start again",
			what);
	case ENOSPC:
	case EDQUOT:
		return fault_set(f, -ENOSPC, "Ceph's pool %s is full (%s): make room, or raise its quota",
			o->ceph_pool, what);
	default:
		return fault_set(f, r,
			"Ceph cannot %s: %s (pool %s, client.%s): see ceph -s, and the logs of its OSDs",
			what, strerror(-r), o->ceph_pool, user);
	}
}
