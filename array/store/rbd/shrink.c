/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a large image holds is given back before the image itself is deleted: librbd deletes an image in one go, for minutes if
 * it is large and full, and an array that is to end, or to go to another umbrad, would have to wait for that. So the image is cut shorter
 * from its end, by pieces that each take some hundred milliseconds, and between two of them it can be left as it is: whoever has the array
 * next goes on. An image with snapshots is left whole: its objects belong to them, too.
 */
#include "array/store/rbd/rbd.h"
#include "array/util/clock.h"

#include <errno.h>

#define PIECE_BYTES (UINT64_C(16) << 30) /* to begin with, and what is left for the deletion itself */
#define LEAST_BYTES (UINT64_C(256) << 20)
#define LARGE_BYTES (UINT64_C(64) << 30) /* what is opened for it */
#define LONG_MS     300u

static bool has_snapshots(rbd_image_t handle)
{
	rbd_snap_info_t one;
	int max = 1, count = rbd_snap_list(handle, &one, &max);

	if (count > 0)
		rbd_snap_list_end(&one);
	return count != 0; /* -ERANGE: more than one */
}

int rbd_shrink_progress(uint64_t done, uint64_t all, void *job)
{
	(void)done, (void)all;
	rbd_job_lives(job);
	return 0;
}

int rbd_shrink(struct rbd_store *s, rbd_image_t handle, struct rbd_job *job)
{
	uint64_t size, piece = PIECE_BYTES;

	if (rbd_get_size(handle, &size) < 0 || size <= PIECE_BYTES || has_snapshots(handle))
		return 0;
	while (size > PIECE_BYTES) {
		uint64_t begun = clock_boot_ms(), took, left = size > piece ? size - piece : 0;

		if (rbd_leaves(s))
			return -EINTR;
		left = left > PIECE_BYTES ? left : PIECE_BYTES;
		if (rbd_resize2(handle, left, true, rbd_shrink_progress, job) < 0)
			return 0; /* the deletion will say why */
		size = left;
		took = clock_boot_ms() - begun;
		if (took < LONG_MS)
			piece *= 2;
		else if (took > 2 * LONG_MS && piece > LEAST_BYTES)
			piece /= 2;
	}
	return rbd_leaves(s) ? -EINTR : 0;
}

/* By its header: most images are not large, and need not be opened. */
static bool is_large(rados_ioctx_t io, const char *id)
{
	struct rbd_header h;

	return rbd_header_read(io, id, RBD_HEAD, &h) >= 0 && h.size_bytes > LARGE_BYTES &&
	       rbd_header_has_snapshots(io, id) == 0;
}

int rbd_shrink_closed(struct rbd_store *s, const char *id, struct rbd_job *job)
{
	rbd_image_t handle;
	int err;

	if (!is_large(s->cluster.io, id))
		return 0;
	if (rbd_leaves(s))
		return -EINTR;
	if (rbd_chain_of(s, id) < 0 || rbd_open_by_id(s->cluster.io, id, &handle, NULL) < 0)
		return 0;
	err = rbd_image_own(s, handle) == 0 ? rbd_shrink(s, handle, job) : 0;
	rbd_close(handle);
	return err;
}
