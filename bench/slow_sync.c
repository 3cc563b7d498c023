// SPDX-License-Identifier: Apache-2.0
/*
 * Preloaded into umbrad by bench/deletions --sync-ms: a disk whose flushes take SLOW_SYNC_US microseconds. Each fdatasync, and
 * each write through a file that is open with O_DSYNC, is done that much later: in the ring by a linked time-out, in a thread
 * (LMDB) by sleeping. Reads and other writes are as fast as they are.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct __kernel_timespec delay;

__attribute__((constructor)) static void begin(void)
{
	const char *us = getenv("SLOW_SYNC_US");

	delay.tv_nsec = (us ? strtol(us, NULL, 10) : 0) * 1000;
}

static int syncs(int fd)
{
	struct stat st;
	int flags = fcntl(fd, F_GETFL);

	return flags != -1 && (flags & O_DSYNC) && !fstat(fd, &st) && S_ISREG(st.st_mode);
}

static int slow(const struct io_uring_sqe *sqe)
{
	return sqe->opcode == IORING_OP_FSYNC ||
	       ((sqe->opcode == IORING_OP_WRITE || sqe->opcode == IORING_OP_WRITEV) && syncs(sqe->fd));
}

/* What was asked for since the last call: each one that syncs goes to the end of the queue, behind a time-out. */
static void put_off(struct io_uring *ring)
{
	unsigned end = ring->sq.sqe_tail;

	for (unsigned i = ring->sq.sqe_head; i != end; i++) {
		struct io_uring_sqe *sqe = &ring->sq.sqes[i & ring->sq.ring_mask], *wait, *again;

		if (!delay.tv_nsec || !slow(sqe) || io_uring_sq_space_left(ring) < 2)
			continue;
		wait = io_uring_get_sqe(ring);
		again = io_uring_get_sqe(ring);
		*again = *sqe;
		io_uring_prep_timeout(wait, &delay, 0, IORING_TIMEOUT_ETIME_SUCCESS);
		wait->flags |= IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS;
		io_uring_prep_nop(sqe);
		sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	}
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int io_uring_submit(struct io_uring *ring)
{
	put_off(ring);
	return REAL(io_uring_submit)(ring);
}

int io_uring_submit_and_get_events(struct io_uring *ring)
{
	put_off(ring);
	return REAL(io_uring_submit_and_get_events)(ring);
}

int io_uring_submit_and_wait(struct io_uring *ring, unsigned count)
{
	put_off(ring);
	return REAL(io_uring_submit_and_wait)(ring, count);
}

int io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe, unsigned count,
	struct __kernel_timespec *ts, sigset_t *mask)
{
	put_off(ring);
	return REAL(io_uring_submit_and_wait_timeout)(ring, cqe, count, ts, mask);
}

int fdatasync(int fd)
{
	usleep((useconds_t)(delay.tv_nsec / 1000));
	return REAL(fdatasync)(fd);
}

int fsync(int fd)
{
	usleep((useconds_t)(delay.tv_nsec / 1000));
	return REAL(fsync)(fd);
}

ssize_t pwrite(int fd, const void *buf, size_t len, off_t offset)
{
	if (syncs(fd))
		usleep((useconds_t)(delay.tv_nsec / 1000));
	return REAL(pwrite)(fd, buf, len, offset);
}
