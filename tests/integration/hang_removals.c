// SPDX-License-Identifier: Apache-2.0
/*
 * Preloaded into umbrad: while the file $UMBRA_TEST_HANG exists, who deletes an image never comes back from librbd, as happens there to
 * a client that Ceph has locked out in the middle of it.
 */
#include <dlfcn.h>
#include <rbd/librbd.h>
#include <stdlib.h>
#include <unistd.h>

typedef int removal(rados_ioctx_t io, const char *name, librbd_progress_fn_t progress, void *arg);

int rbd_remove_with_progress(rados_ioctx_t io, const char *name, librbd_progress_fn_t progress, void *arg)
{
	const char *file = getenv("UMBRA_TEST_HANG");
	void *librbd = dlopen("librbd.so.1", RTLD_NOW | RTLD_NOLOAD);
	removal *real = librbd ? (removal *)dlsym(librbd, "rbd_remove_with_progress") : NULL;

	while (file && access(file, F_OK) == 0)
		pause();
	return real ? real(io, name, progress, arg) : -1;
}
