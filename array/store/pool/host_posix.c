/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The real machine under the pool: the reactor's ring, its workers, one checkpoint thread, real files in the
 * pool's directory. Short transfers are continued here.
 */
#include "array/store/pool/base/host.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>
#include "array/store/pool/durable/meta.h"

#define HOLD_TRIES      200u
#define HOLD_PAUSE_US   50000u
#define LMDB_ROOM_BYTES (16u << 20)

struct posix_host {
	struct pool_host base;
	struct reactor *reactor;
	int dir_fd, lock_fd;
	bool read_only;
	char meta[4096];
	bool meta_copied; /* to a directory of our own: the pool's cannot be written */
	/* the checkpoint thread; the queue belongs to the lock */
	pthread_t thread;
	bool thread_runs;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct list queue;
	bool stop;
};

struct posix_file {
	struct pool_file base;
	int fd;
	bool device;
};

static struct posix_host *host_of(struct pool_host *h)
{
	return container_of(h, struct posix_host, base);
}

static int fd_of(const struct pool_file *f)
{
	return ((const struct posix_file *)(const void *)f)->fd;
}

/* ---- files ----------------------------------------------------------------------------------------- */

static void find_alignment(struct posix_file *f, bool direct)
{
	f->base.memory_align = f->base.offset_align = 1;
	if (!direct)
		return;
	f->base.memory_align = POOL_BLOCK_BYTES;
	f->base.offset_align = POOL_BLOCK_BYTES;
#ifdef STATX_DIOALIGN
	struct statx sx;

	if (!statx(f->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) && (sx.stx_mask & STATX_DIOALIGN) &&
		sx.stx_dio_mem_align && sx.stx_dio_offset_align <= POOL_BLOCK_BYTES)
		f->base.memory_align = sx.stx_dio_mem_align < 512 ? 512 : sx.stx_dio_mem_align;
#endif
}

/*
 * A killed process is gone, and the lock on `lock` with it, while what its ring had given to the disk may still
 * be under way: it would land on chunks that were handed out anew, or on the log's new frames. Such a transfer
 * holds the open file, and so this lock on it. Blocks.
 */
static int hold_file(int fd, bool writable)
{
	struct flock lock = {.l_type = writable ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET};

	for (unsigned i = 0; fcntl(fd, F_OFD_SETLK, &lock); i++) {
		if (errno != EAGAIN && errno != EACCES)
			return errno == ENOLCK || errno == EOPNOTSUPP || errno == EINVAL ? 0 : -errno;
		if (i == HOLD_TRIES)
			return -EBUSY;
		usleep(HOLD_PAUSE_US);
	}
	return 0;
}

/* A directory opens, too, and a pipe waits for who writes to it. */
static int check_kind(int dir_fd, const char *name)
{
	struct stat st;

	if (fstatat(dir_fd, name, &st, 0))
		return errno == ENOENT ? 0 : -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode))
		return 0;
	return name[0] == '/' ? -ENOTBLK : -ESPIPE; /* a path: of the data device */
}

static int posix_file_open(struct pool_host *h, const char *name, unsigned flags, struct pool_file **out)
{
	struct posix_host *host = host_of(h);
	int how = O_CLOEXEC | (flags & POOL_FILE_READONLY || host->read_only ? O_RDONLY : O_RDWR);
	bool direct = flags & POOL_FILE_DIRECT;
	struct stat st;
	int err = check_kind(host->dir_fd, name);

	if (err)
		return err;
	struct posix_file *f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	if (flags & POOL_FILE_CREATE)
		how |= O_CREAT | O_EXCL;
	if (flags & POOL_FILE_DSYNC)
		how |= O_DSYNC;
	f->base.host = h;
	f->fd = openat(host->dir_fd, name, how | (direct ? O_DIRECT : 0), 0600);
	if (f->fd < 0 && direct && errno == EINVAL) {
		direct = false;
		f->fd = openat(host->dir_fd, name, how & ~O_EXCL, 0600);
	}
	err = f->fd < 0 || fstat(f->fd, &st) ? -errno : 0;
	if (!err && ((flags & (POOL_FILE_DIRECT | POOL_FILE_DSYNC) && (how & O_ACCMODE) == O_RDWR) ||
			    flags & POOL_FILE_HOLD))
		err = hold_file(f->fd, (how & O_ACCMODE) == O_RDWR);
	if (err) {
		if (f->fd >= 0)
			close(f->fd);
		free(f);
		return err;
	}
	f->device = S_ISBLK(st.st_mode);
	f->base.fixed_size = f->device;
	find_alignment(f, direct);
	*out = &f->base;
	return 0;
}

static void posix_file_close(struct pool_file *f)
{
	close(fd_of(f));
	free(f);
}

static int posix_file_size(struct pool_file *f, uint64_t *out)
{
	off_t end = lseek(fd_of(f), 0, SEEK_END);

	if (end < 0)
		return -errno;
	*out = (uint64_t)end;
	return 0;
}

static int posix_file_pread(struct pool_file *f, void *buf, size_t len, uint64_t offset)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(fd_of(f), (char *)buf + done, len - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EBADMSG;
		done += (size_t)n;
	}
	return 0;
}

static int posix_file_pwrite(struct pool_file *f, const void *buf, size_t len, uint64_t offset)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pwrite(fd_of(f), (const char *)buf + done, len - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	return 0;
}

static int posix_file_sync(struct pool_file *f)
{
	struct posix_host *host = host_of(f->host);

	if (fsync(fd_of(f)) || fsync(host->dir_fd)) /* the name, too */
		return -errno;
	return 0;
}

static int posix_file_allocate(struct pool_file *f, uint64_t offset, uint64_t len)
{
	if (!fallocate(fd_of(f), 0, (off_t)offset, (off_t)len))
		return 0;
	if (errno != EOPNOTSUPP)
		return -errno;
	return ftruncate(fd_of(f), (off_t)(offset + len)) ? -errno : 0;
}

static int posix_file_discard(struct pool_file *f, uint64_t offset, uint64_t len)
{
	uint64_t range[2] = {offset, len};

	if (((struct posix_file *)(void *)f)->device)
		return ioctl(fd_of(f), BLKDISCARD, range) ? -errno : 0;
	return fallocate(fd_of(f), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len)
		       ? -errno
		       : 0;
}

/* Owner and mode stay as they are: root may do it for umbrad. */
static int replace_write(
	struct posix_host *host, const char *name, const char *temporary, const void *buf, size_t len)
{
	int fd = openat(host->dir_fd, temporary, O_CLOEXEC | O_WRONLY | O_CREAT | O_TRUNC, 0600);
	struct posix_file f = {.base.host = &host->base, .fd = fd};
	struct stat old = {0};
	int err;

	if (fd < 0)
		return -errno;
	err = fstatat(host->dir_fd, name, &old, 0) && errno != ENOENT ? -errno : 0;
	if (!err && old.st_mode && (fchown(fd, old.st_uid, old.st_gid) || fchmod(fd, old.st_mode & 07777)))
		err = -errno;
	if (!err)
		err = posix_file_pwrite(&f.base, buf, len, 0);
	if (!err && fsync(fd))
		err = -errno;
	close(fd);
	return err;
}

static int posix_file_replace(struct pool_host *h, const char *name, const void *buf, size_t len)
{
	struct posix_host *host = host_of(h);
	char temporary[64];
	int err;

	snprintf(temporary, sizeof(temporary), "%s.new", name);
	err = replace_write(host, name, temporary, buf, len);
	if (!err && renameat(host->dir_fd, temporary, host->dir_fd, name))
		err = -errno;
	if (err) {
		unlinkat(host->dir_fd, temporary, 0);
		return err;
	}
	return fsync(host->dir_fd) ? -errno : 0;
}

static int posix_room(struct pool_host *h, uint64_t *bytes)
{
	struct statvfs fs;

	if (fstatvfs(host_of(h)->dir_fd, &fs))
		return -errno;
	*bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	return 0;
}

static const char *posix_meta_path(struct pool_host *h)
{
	return host_of(h)->meta;
}

static int posix_meta_commit(struct pool_host *h, MDB_txn *txn)
{
	(void)h;
	return pool_meta_commit(txn);
}

/* ---- transfers ------------------------------------------------------------------------------------- */

static void transfer(struct posix_host *host, struct pool_op *op);

static void advance(struct pool_op *op, size_t n)
{
	op->offset += n;
	op->len -= n;
	while (n && op->iov_count) {
		if (n < op->iov[0].iov_len) {
			op->iov[0].iov_base = (char *)op->iov[0].iov_base + n;
			op->iov[0].iov_len -= n;
			return;
		}
		n -= op->iov[0].iov_len;
		op->iov++;
		op->iov_count--;
	}
}

static void ring_done(struct reactor_op *ring, int result)
{
	struct pool_op *op = container_of(ring, struct pool_op, ring);

	if (op->kind == POOL_OP_SYNC || (result < 0 && result != -EINTR && result != -EAGAIN)) {
		op->done(op, result < 0 ? result : 0);
		return;
	}
	if (result == 0) { /* past the end of the file, or nowhere to write */
		op->done(op, -EIO);
		return;
	}
	if (result > 0)
		advance(op, (size_t)result);
	if (op->len == 0)
		op->done(op, 0);
	else
		transfer(host_of(op->file->host), op);
}

static void transfer(struct posix_host *host, struct pool_op *op)
{
	op->ring.done = ring_done;
	if (op->kind == POOL_OP_READ)
		reactor_readv(host->reactor, &op->ring, fd_of(op->file), op->iov, op->iov_count, op->offset);
	else if (op->kind == POOL_OP_WRITE)
		reactor_writev(host->reactor, &op->ring, fd_of(op->file), op->iov, op->iov_count, op->offset);
	else
		reactor_fdatasync(host->reactor, &op->ring, fd_of(op->file));
}

static void posix_submit(struct pool_host *h, struct pool_op *op)
{
	transfer(host_of(h), op);
}

/* ---- threads, calls, timers ------------------------------------------------------------------------ */

static void job_arrived(struct reactor_message *m)
{
	struct pool_job *job = container_of(m, struct pool_job, message);

	job->done(job);
}

static void *checkpoint_thread(void *arg)
{
	struct posix_host *host = arg;

	pthread_mutex_lock(&host->lock);
	for (;;) {
		struct list_node *n = list_pop(&host->queue);
		struct pool_job *job;

		if (!n) {
			if (host->stop)
				break;
			pthread_cond_wait(&host->wake, &host->lock);
			continue;
		}
		pthread_mutex_unlock(&host->lock);
		job = container_of(n, struct pool_job, link);
		job->work(job);
		job->message.call = job_arrived;
		reactor_post(host->reactor, &job->message);
		pthread_mutex_lock(&host->lock);
	}
	pthread_mutex_unlock(&host->lock);
	return NULL;
}

static void worker_work(struct reactor_job *j)
{
	struct pool_job *job = container_of(j, struct pool_job, job);

	job->work(job);
}

static void worker_done(struct reactor_job *j)
{
	struct pool_job *job = container_of(j, struct pool_job, job);

	job->done(job);
}

static void posix_work(struct pool_host *h, struct pool_job *job, enum pool_queue queue)
{
	struct posix_host *host = host_of(h);

	if (queue == POOL_QUEUE_WORKERS) {
		memset(&job->job, 0, sizeof(job->job));
		job->job.work = worker_work;
		job->job.done = worker_done;
		reactor_work(host->reactor, &job->job);
		return;
	}
	memset(&job->link, 0, sizeof(job->link));
	pthread_mutex_lock(&host->lock);
	list_push_back(&host->queue, &job->link);
	pthread_cond_signal(&host->wake);
	pthread_mutex_unlock(&host->lock);
}

static void call_now(struct reactor_deferred *d)
{
	struct pool_call *call = container_of(d, struct pool_call, deferred);

	call->call(call);
}

static void posix_call(struct pool_host *h, struct pool_call *call)
{
	call->deferred.call = call_now;
	reactor_defer(host_of(h)->reactor, &call->deferred);
}

static void timer_now(struct reactor_timer *t)
{
	struct pool_timer *timer = container_of(t, struct pool_timer, timer);

	timer->fire(timer);
}

static void posix_timer_arm(struct pool_host *h, struct pool_timer *timer, uint64_t delay_ms)
{
	timer->timer.fire = timer_now;
	reactor_timer_arm(host_of(h)->reactor, &timer->timer, delay_ms);
}

static void posix_timer_disarm(struct pool_host *h, struct pool_timer *timer)
{
	reactor_timer_disarm(host_of(h)->reactor, &timer->timer);
}

/* ---- a pool on a place that cannot be written ------------------------------------------------------ */

static void meta_remove(struct posix_host *host)
{
	static const char *const names[] = {"data.mdb", "lock.mdb"};
	char path[4200];

	for (unsigned i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%s", host->meta, names[i]);
		unlink(path);
	}
	rmdir(host->meta);
}

static int copy_file(int in, int out)
{
	static char buf[1 << 16];
	ssize_t n;

	while ((n = read(in, buf, sizeof(buf))) > 0) {
		for (ssize_t at = 0, done; at < n; at += done) {
			done = write(out, buf + at, (size_t)(n - at));
			if (done <= 0)
				return done < 0 ? -errno : -EIO;
		}
	}
	return n < 0 ? -errno : 0;
}

/* Who looks at a pool applies its log in a transaction of LMDB's that is thrown away, and LMDB must be able to write. So
 * that happens in a copy. */
static int meta_copy(struct posix_host *host, struct fault *fault)
{
	int in = openat(host->dir_fd, "meta/data.mdb", O_RDONLY | O_CLOEXEC), out = -1, err;
	const char *place = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
	char path[4200];

	if (in < 0)
		return 0; /* what is wrong is told where it is opened */
	snprintf(host->meta, sizeof(host->meta), "%s/umbra-pool-XXXXXX", place);
	err = mkdtemp(host->meta) ? 0 : -errno;
	if (!err) {
		host->meta_copied = true;
		snprintf(path, sizeof(path), "%s/data.mdb", host->meta);
		out = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		err = out < 0 ? -errno : copy_file(in, out);
	}
	if (out >= 0 && close(out) && !err)
		err = -errno;
	close(in);
	return err ? fault_set(fault, err,
			     "the pool's place cannot be written, so its metadata must be copied to be looked at, and %s does not take it (%s): name another directory by TMPDIR",
			     place, strerror(-err))
		   : 0;
}

/* ---- life ------------------------------------------------------------------------------------------ */

static void posix_free(struct pool_host *h)
{
	struct posix_host *host = host_of(h);

	if (host->thread_runs) {
		pthread_mutex_lock(&host->lock);
		host->stop = true;
		pthread_cond_signal(&host->wake);
		pthread_mutex_unlock(&host->lock);
		pthread_join(host->thread, NULL);
	}
	pthread_mutex_destroy(&host->lock);
	pthread_cond_destroy(&host->wake);
	if (host->meta_copied)
		meta_remove(host);
	if (host->lock_fd >= 0)
		close(host->lock_fd);
	if (host->dir_fd >= 0)
		close(host->dir_fd);
	free(host);
}

static uint64_t posix_now_ns(struct pool_host *h)
{
	struct timespec now;

	(void)h;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static const struct pool_host_ops posix_ops = {
	.file_open = posix_file_open,
	.file_close = posix_file_close,
	.file_size = posix_file_size,
	.file_pread = posix_file_pread,
	.file_pwrite = posix_file_pwrite,
	.file_sync = posix_file_sync,
	.file_allocate = posix_file_allocate,
	.file_discard = posix_file_discard,
	.file_replace = posix_file_replace,
	.room = posix_room,
	.meta_path = posix_meta_path,
	.meta_commit = posix_meta_commit,
	.submit = posix_submit,
	.work = posix_work,
	.call = posix_call,
	.timer_arm = posix_timer_arm,
	.timer_disarm = posix_timer_disarm,
	.now_ns = posix_now_ns,
	.free = posix_free,
};

static int take_lock(struct posix_host *host, const char *path, struct fault *fault)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int err;

	host->lock_fd = openat(host->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (host->lock_fd < 0 && errno == EROFS && host->read_only) {
		/* The same machine may have it mounted elsewhere, too. */
		lock.l_type = F_RDLCK;
		err = meta_copy(host, fault);
		host->lock_fd = err ? -1 : openat(host->dir_fd, "lock", O_RDONLY | O_CLOEXEC);
		if (err || (host->lock_fd < 0 && errno == ENOENT))
			return err;
	}
	if (host->lock_fd < 0)
		return fault_set(fault, -errno, "%s/lock cannot be opened: %s%s", path, strerror(errno),
			errno == EROFS
				? "; the service may write only where umbrad.conf had the pool when systemd read it: "
				  "run systemctl daemon-reload, or mount it writable"
			: errno == EACCES
				? "; the pool must belong to the user that opens it: the service's start does "
				  "that, umbrad --give-pool USER does it by hand"
				: "; look at the disk and the kernel's log");
	if (!fcntl(host->lock_fd, F_OFD_SETLK, &lock))
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return fault_set(fault, -EBUSY,
			"the pool %s is in use by another process: stop that one (umbrad?) first", path);
	return fault_set(fault, -errno,
		"%s/lock cannot be locked (%s): the pool needs a file system with locks", path,
		strerror(errno));
}

int pool_host_posix(const char *path, struct reactor *reactor, bool lock, bool read_only,
	struct pool_host **out, struct fault *fault)
{
	struct posix_host *host = calloc(1, sizeof(*host));
	int err = 0;

	if (!host)
		return fault_set(
			fault, -ENOMEM, "there is not enough memory to open the pool: give umbrad more");
	host->base.ops = &posix_ops;
	host->base.meta_reserve_bytes = LMDB_ROOM_BYTES;
	host->reactor = reactor;
	host->read_only = read_only;
	host->lock_fd = -1;
	list_init(&host->queue);
	pthread_mutex_init(&host->lock, NULL);
	pthread_cond_init(&host->wake, NULL);
	host->dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (host->dir_fd < 0)
		err = fault_set(fault, -errno,
			errno == ENOENT
				? "there is no directory %s: check the path (%s)"
				: "the directory %s cannot be opened: look at its owner and mode, and that its user may pass those above it (%s)",
			path, strerror(errno));
	else if (snprintf(host->meta, sizeof(host->meta), "%s/meta", path) >= (int)sizeof(host->meta))
		err = fault_set(fault, -ENAMETOOLONG, "the pool's path is too long: choose a shorter one");
	if (!err && lock)
		err = take_lock(host, path, fault);
	if (!err && reactor) {
		host->thread_runs = !pthread_create(&host->thread, NULL, checkpoint_thread, host);
		if (!host->thread_runs)
			err = fault_set(fault, -EAGAIN,
				"the system gave the pool no thread: raise the limit of tasks, then try again");
	}
	if (err) {
		posix_free(&host->base);
		return err;
	}
	*out = &host->base;
	return 0;
}
