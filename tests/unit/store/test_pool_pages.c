/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Damaged pages of LMDB: whatever stands in them, check and open end with an answer, and what can still be read is what
 * was written. Nothing crashes, and nothing is believed that is not so.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tests/support/test.h"
#include "tests/unit/store/world.h"

#define CAPACITY (UINT64_C(24) << 20)
#define PAGE     4096u

struct image {
	char path[128];
	uint8_t *bytes;
	uint64_t len;
};

static void image_read(struct world *w, struct image *image)
{
	struct stat st;
	int fd;

	snprintf(image->path, sizeof(image->path), "%s/data.mdb", w->sim.meta);
	fd = open(image->path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0 && !fstat(fd, &st));
	image->len = (uint64_t)st.st_size;
	image->bytes = malloc(image->len);
	assert_int_equal(read(fd, image->bytes, image->len), image->len);
	close(fd);
}

static void image_write(const struct image *image, const uint8_t *bytes, uint64_t len)
{
	int fd = open(image->path, O_WRONLY | O_TRUNC | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), len);
	close(fd);
}

static int check(struct world *w, char *said)
{
	struct pool_options options = {.path = "sim"};
	struct pool_host *h = sim_host(&w->sim);
	struct fault fault = {0};
	int rc = pool_check_on(h, &options, false, NULL, NULL, &fault);

	h->ops->free(h);
	if (said)
		snprintf(said, 256, "%s", fault.text);
	return rc;
}

static int open_raw(struct world *w)
{
	struct pool_options options = {.path = "sim"};
	struct fault fault = {0};
	int err = pool_open_on(sim_host(&w->sim), &options, NULL, &w->store, &fault);

	if (err)
		w->store = NULL;
	return err;
}

struct raw {
	struct store_io io;
	struct iovec iov;
	bool done;
	int err;
};

static void raw_done(struct store_io *io, int err)
{
	struct raw *r = container_of(io, struct raw, io);

	r->done = true;
	r->err = err;
}

/* Every sector is what was written last, or an error. */
static void read_all(struct world *w, const struct model *m)
{
	static uint64_t buf[POOL_CHUNK_BYTES / 8];
	struct store_disk *d;

	if (w->store->ops->disk_open(w->store, m->disk_id, &d))
		return;
	for (uint64_t at = 0; at + CHUNK_SECTORS <= m->sectors; at += CHUNK_SECTORS) {
		struct raw r = {.iov = {.iov_base = buf, .iov_len = sizeof(buf)}};

		r.io = (struct store_io){.op = STORE_READ,
			.disk = d,
			.offset = at * SECTOR,
			.len = sizeof(buf),
			.iov = &r.iov,
			.iov_count = 1,
			.done = raw_done};
		w->store->ops->submit(&r.io);
		while (!r.done)
			sim_step(&w->sim, true);
		for (unsigned i = 0; i < CHUNK_SECTORS && !r.err; i++) {
			const struct sector *s = &m->s[at + i];

			assert_int_equal(buf[i * SECTOR / 8], s->tags[s->count - 1].value);
		}
	}
}

static void fill(struct world *w, uint64_t seed)
{
	world_begin(w, seed, CAPACITY);
	for (unsigned i = 0; i < 4; i++)
		assert_non_null(world_create_disk(w, (4 + 30 * i) * CHUNK_SECTORS));
	for (unsigned i = 0; i < 200; i++) {
		struct model *m = world_any_disk(w);

		if (i % 40 == 39 && !w->disk[WORLD_DISKS - 2].disk_id) {
			world_drain(w);
			world_fork(w, m);
		} else {
			world_random_op(w);
		}
	}
	world_settle(w);
	assert_int_equal(world_close(w), 0);
	assert_int_equal(check(w, NULL), 0);
}

/* ---- damage ------------------------------------------------------------------------------------------ */

static void junk(struct world *w, uint8_t *page)
{
	static const unsigned places[] = {0, 8, 10, 12, 14, 16, 18, 20, 40, 48, 100, 1000, 2000, 4000};
	uint8_t *at = sim_below(&w->sim, 3) ? page + places[sim_below(&w->sim, 14)]
					    : page + sim_below(&w->sim, PAGE - 16);

	for (uint64_t i = sim_below(&w->sim, 3) ? 16 : 1; i; i--)
		*at++ = (uint8_t)sim_random(&w->sim);
}

/* Of a page with nodes: the places of some. */
static void fewer_nodes(struct world *w, uint8_t *page)
{
	uint16_t lower;

	memcpy(&lower, page + 12, 2);
	lower = (uint16_t)(lower - 2 * (1 + sim_below(&w->sim, 4)));
	memcpy(page + 12, &lower, 2);
}

static void damage(struct world *w, const struct image *image, uint8_t *bytes, uint64_t *len)
{
	uint64_t pages = image->len / PAGE, at = sim_below(&w->sim, pages), from = sim_below(&w->sim, pages);
	uint8_t *page = bytes + at * PAGE;

	memcpy(bytes, image->bytes, image->len);
	*len = image->len;
	switch (sim_below(&w->sim, 10)) {
	case 0:
		*len = sim_below(&w->sim, 4) ? at * PAGE : sim_below(&w->sim, image->len);
		break;
	case 1:
		memset(page, 0, PAGE);
		break;
	case 2:
		memcpy(page, image->bytes + from * PAGE, PAGE);
		break;
	case 3: /* but for its number */
		memcpy(page + 8, image->bytes + from * PAGE + 8, PAGE - 8);
		break;
	case 4:
	case 5:
		fewer_nodes(w, page);
		break;
	default:
		junk(w, page);
	}
}

static unsigned found, harmless, refused;

static void damaged_pages(uint64_t seed)
{
	struct image image;
	struct world w;
	uint8_t *bytes;
	uint64_t len;

	fill(&w, seed);
	image_read(&w, &image);
	bytes = malloc(image.len);
	assert_non_null(bytes);
	for (unsigned i = 0; i < 30; i++) {
		int rc;

		damage(&w, &image, bytes, &len);
		image_write(&image, bytes, len);
		rc = check(&w, NULL);
		assert_true(rc >= 0 || rc == -EUCLEAN);
		found += rc != 0;
		harmless += rc == 0;
	}
	if (open_raw(&w) == 0) {
		for (unsigned i = 0; i < WORLD_DISKS; i++)
			if (w.disk[i].disk_id)
				read_all(&w, &w.disk[i]);
		world_close(&w);
	} else {
		refused++;
	}
	free(bytes);
	free(image.bytes);
	world_destroy(&w);
}

TEST(damaged_pages_are_answered_and_never_believed)
{
	test_seeds(40, damaged_pages);
	print_message("%u found, %u harmless; %u not opened\n", found, harmless, refused);
	if (test_runs(40) >= 40)
		assert_true(found > 300 && refused > 8);
}

/* The text names the file, the table and what to do. */
TEST(what_is_said_of_a_damaged_page_says_what_to_do)
{
	static const uint8_t zeros[PAGE];
	char said[256];
	struct image image;
	struct world w;

	fill(&w, test_seed());
	image_read(&w, &image);
	image_write(&image, zeros, PAGE);
	assert_int_equal(check(&w, said), -EUCLEAN);
	assert_non_null(strstr(said, "meta/data.mdb"));
	assert_non_null(strstr(said, "restore the directory `meta`"));
	image_write(&image, image.bytes, 40960 < image.len ? 40960 : image.len / 2);
	assert_int_equal(check(&w, said), -EUCLEAN);
	assert_non_null(strstr(said, "behind the end of the file"));
	assert_int_equal(open_raw(&w), -EUCLEAN);
	unlink(image.path);
	assert_int_equal(check(&w, said), -EUCLEAN);
	assert_non_null(strstr(said, "is missing"));
	free(image.bytes);
	world_destroy(&w);
}

/* What LMDB makes of pages that became damaged since ends the program with a text, not with a signal. */
TEST(a_fault_while_metadata_is_read_ends_with_what_to_do)
{
	struct world_edit e;
	struct world w;
	char said[512];
	int ends[2], status;
	ssize_t n;
	pid_t pid;

	world_begin(&w, test_seed(), CAPACITY);
	assert_int_equal(world_close(&w), 0);
	assert_int_equal(pipe(ends), 0);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		dup2(ends[1], STDERR_FILENO);
		world_edit_begin(&w, &e);
		raise(SIGSEGV);
		_exit(0);
	}
	assert_true(pid > 0);
	close(ends[1]);
	n = read(ends[0], said, sizeof(said) - 1);
	assert_true(n > 0);
	said[n] = 0;
	close(ends[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	assert_non_null(strstr(said, "umbractl pool check"));
	world_destroy(&w);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(damaged_pages_are_answered_and_never_believed),
		cmocka_unit_test(what_is_said_of_a_damaged_page_says_what_to_do),
		cmocka_unit_test(a_fault_while_metadata_is_read_ends_with_what_to_do),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
