/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pool changes hands: what root has made, or an umbrad that ran as root, becomes the user's that umbrad runs as.
 *
 * Invariants:
 * - Only what a pool is made of, and only what is root's: whatever else lies there stays as it is.
 * - The directory is given last. Until then nobody but root can have put anything there; afterwards only plain files of
 *   one name are given, and no link is followed, so that its owner cannot make other files of root's his.
 */
#include "array/store/pool/public.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const pool_files[] = {
	"pool", "data.[0-9]*", "log", "mark", "sums", "touched", "scrub", "lock", "mirror", "*.new", NULL};
static const char *const meta_files[] = {"data.mdb", "lock.mdb", NULL};
static const char *const folders[] = {"meta", "meta.new", NULL};

struct gift {
	uid_t user;
	gid_t group;
};

static bool is_one_of(const char *const *names, const char *name)
{
	for (; *names; names++)
		if (!fnmatch(*names, name, 0))
			return true;
	return false;
}

static int give_if_roots(const struct gift *g, int fd, bool folder)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if (st.st_uid != 0 || (folder ? !S_ISDIR(st.st_mode) : !S_ISREG(st.st_mode) || st.st_nlink != 1))
		return 0;
	return fchownat(fd, "", g->user, g->group, AT_EMPTY_PATH) ? -errno : 0;
}

static int give_file(const struct gift *g, int folder, const char *name)
{
	int fd = openat(folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	int err = fd < 0 ? -errno : give_if_roots(g, fd, false);

	if (fd >= 0)
		close(fd);
	return err == -ENOENT ? 0 : err; /* it was there a moment ago */
}

/* The files of these names in it. */
static int give_files(const struct gift *g, int folder, const char *const *names)
{
	int again = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), err = 0;
	DIR *dir = again >= 0 ? fdopendir(again) : NULL;
	const struct dirent *entry;

	if (!dir) {
		err = -errno;
		if (again >= 0)
			close(again);
		return err;
	}
	while (!err && (entry = readdir(dir)))
		if (is_one_of(names, entry->d_name))
			err = give_file(g, folder, entry->d_name);
	closedir(dir);
	return err;
}

static int give_folders(const struct gift *g, int top)
{
	int err = 0;

	for (const char *const *name = folders; *name && !err; name++) {
		int fd = openat(top, *name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			continue; /* none, or no directory */
		err = give_files(g, fd, meta_files);
		if (!err)
			err = give_if_roots(g, fd, true);
		close(fd);
	}
	return err;
}

static bool has_file(int top, const char *name)
{
	struct stat st;

	return !fstatat(top, name, &st, AT_SYMLINK_NOFOLLOW) && S_ISREG(st.st_mode);
}

static bool is_empty(int top)
{
	int again = openat(top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = again >= 0 ? fdopendir(again) : NULL;
	const struct dirent *entry;
	bool empty = dir != NULL;

	while (empty && (entry = readdir(dir)))
		empty = !strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..") ||
			!strcmp(entry->d_name, "lost+found");
	if (dir)
		closedir(dir);
	else if (again >= 0)
		close(again);
	return empty;
}

static int give_all(const struct gift *g, int top)
{
	int err = 0;

	if (has_file(top, "pool") || has_file(top, "mirror")) {
		err = give_files(g, top, pool_files);
		if (!err)
			err = give_folders(g, top);
	} else if (!is_empty(top)) {
		return 0; /* whatever it is, it is no pool */
	}
	return err ? err : give_if_roots(g, top, true);
}

int pool_give(const char *path, uid_t user, gid_t group, struct fault *fault)
{
	const struct gift g = {.user = user, .group = group};
	struct stat st;
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int err = fd < 0 || fstat(fd, &st) ? -errno : 0;

	if (!err && user != 0 && (st.st_uid == 0 || st.st_uid == user))
		err = give_all(&g, fd);
	if (fd >= 0)
		close(fd);
	if (!err || err == -ENOENT) /* what is not there is told by who opens it */
		return 0;
	return fault_set(fault, err,
		"the pool in %s cannot be given to the user that umbrad runs as (%s): look at its disk, or do it by chown -R",
		path, strerror(-err));
}
