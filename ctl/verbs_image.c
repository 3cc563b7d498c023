/* SPDX-License-Identifier: Apache-2.0 */
/* umbractl lun import, lun export, shadow export. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>
#include "array/util/units.h"
#include "ctl/image.h"

/* ---- how far it is ------------------------------------------------------------------------------------ */

struct progress {
	struct lend *lend;
	struct client *client; /* NULL: nobody looks */
	uint64_t data_bytes, moved, began_ms, told_ms;
};

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void progress_begin(struct progress *p, struct lend *l, uint64_t data_bytes)
{
	*p = (struct progress){.lend = l, .data_bytes = data_bytes, .began_ms = now_ms()};
	if (isatty(STDERR_FILENO) && !l->in->json)
		p->client = client_open(l->in);
}

static void progress_tell(void *arg, double percent)
{
	struct progress *p = arg;
	char moved[UNITS_TEXT_BYTES], rate[UNITS_TEXT_BYTES];
	uint64_t now = now_ms(), elapsed = now - p->began_ms, left_s;

	if (!p->client || now - p->told_ms < 1000)
		return;
	p->told_ms = now;
	p->moved = lend_moved(p->lend, p->client);
	/* qemu-img tells whole percents; what lies between is by the bytes */
	double by_bytes = p->data_bytes ? 100.0 * (double)p->moved / (double)p->data_bytes : percent;
	double done = by_bytes < percent ? percent : by_bytes > percent + 1 ? percent + 1 : by_bytes;
	if (done > 100)
		done = 100;
	units_format_bytes(p->moved, moved);
	units_format_bytes(elapsed ? p->moved * 1000 / elapsed : 0, rate);
	left_s = done > 0 ? (uint64_t)((double)elapsed * (100 - done) / done / 1000) : 0;
	fprintf(stderr, "\r%.1f %%, %s, %s/s", done, moved, rate);
	if (done > 0)
		fprintf(stderr, ", %llu:%02u:%02u left", (unsigned long long)(left_s / 3600),
			(unsigned)(left_s / 60 % 60), (unsigned)(left_s % 60));
	fputs("\033[K", stderr);
}

static void progress_end(struct progress *p)
{
	if (p->client)
		fputs("\r\033[K", stderr);
	client_close(p->client);
	p->client = NULL;
}

/* Runs qemu-img convert as it has been put together. CTL_OK: all is there. */
static int convert(struct lend *l, struct qemu_run *r, uint64_t data_bytes, const char *what)
{
	struct progress p;

	progress_begin(&p, l, data_bytes);
	r->progress = progress_tell;
	r->progress_arg = &p;
	int code = qemu_do(l->in, r);
	progress_end(&p);
	if (!code && stop_asked())
		code = ctl_fail(l->in, -EINTR, "stopped: nothing of %s is left.", what);
	else if (!code && r->code)
		code = ctl_fail(l->in, -EIO,
			"%s cannot be copied (%s): nothing of it is left. See umbractl events, and try again.",
			what, r->error[0] ? r->error : "qemu-img ended without a word");
	return code;
}

static void add_convert(struct qemu_run *r, struct lend *l)
{
	qemu_add(r, "convert");
	lend_add(l, r);
	qemu_add(r, "-p");
	qemu_add(r, "-m");
	qemu_add(r, "8");
}

/* Signals, qemu-img, and what others left: before anything else. */
static int begin(const struct invocation *in)
{
	int code = stop_watch(in);

	if (!code)
		code = qemu_check(in);
	return code ? code : lend_sweep(in);
}

/* ---- import ------------------------------------------------------------------------------------------- */

static int check_room(const struct invocation *in, const struct image *i)
{
	char needs[UNITS_TEXT_BYTES], has[UNITS_TEXT_BYTES];
	json_t *pool = ctl_call(in, "pool.status", NULL);
	json_int_t room = json_integer_value(json_object_get(pool, "capacity_bytes")) -
			  json_integer_value(json_object_get(pool, "used_bytes")) -
			  json_integer_value(json_object_get(pool, "reserved_bytes"));

	if (!pool)
		return CTL_FAILED;
	bool in_ceph = strcmp(text_of(pool, "store"), "rbd") == 0;
	/* 0: a cluster that does not tell, or a controller that stands by. */
	if (json_integer_value(json_object_get(pool, "capacity_bytes")) == 0)
		room = INT64_MAX;
	json_decref(pool);
	if ((json_int_t)i->data_bytes <= room || ctl_flag(in, "force"))
		return CTL_OK;
	units_format_bytes(i->data_bytes, needs);
	units_format_bytes(room > 0 ? (uint64_t)room : 0, has);
	return ctl_fail(in, -ENOSPC,
		"%s needs up to %s, and the pool has %s left: enlarge %s, or, where much of it is zeros, which take none, give "
		"--force.",
		image_shown(i->path), needs, has,
		in_ceph ? "Ceph's pool (OSDs, or its quota)" : "the pool (umbractl pool grow)");
}

/* The LUN, half made. */
static void undo_import(const struct invocation *in, const char *id)
{
	json_decref(ctl_call(in, "lun.delete", json_pack("{s:s}", "lun", id)));
}

static int fill(const struct invocation *in, const struct image *i, const char *id)
{
	struct qemu_run r = {0};
	struct lend l;
	int code = lend_open(&l, in, LEND_IMPORT, id);

	if (!code) {
		add_convert(&r, &l);
		qemu_add(&r, "-W");
		qemu_add(&r, "-n");
		qemu_add(&r, "--target-is-zero");
		qemu_add(&r, "-t");
		qemu_add(&r, "writeback"); /* with a flush at the end */
		qemu_add(&r, "--image-opts");
		qemu_add(&r, "--target-image-opts");
		qemu_add(&r, i->options);
		qemu_add(&r, l.options);
		code = convert(&l, &r, i->data_bytes, "the import");
		qemu_clear(&r);
	}
	lend_close(&l);
	return code;
}

int verb_lun_import(struct invocation *in)
{
	const char *given = ctl_option(in, "name", 0);
	struct image image;
	char name[65];

	int code = begin(in);
	if (!code)
		code = image_look(in, in->operands[0], &image);
	if (!code)
		code = check_room(in, &image);
	if (code)
		return code;
	if (stop_asked())
		return ctl_fail(in, -EINTR, "stopped: nothing was made.");
	image_name(in->operands[0], name);
	json_t *lun = ctl_call(in, "lun.create",
		json_pack("{s:s, s:I}", "name", given ? given : name, "size_bytes",
			(json_int_t)image.size_bytes));
	if (!lun)
		return CTL_FAILED;
	char id[65];
	snprintf(id, sizeof(id), "%s", text_of(lun, "id"));
	json_decref(lun);
	code = fill(in, &image, id);
	if (code) {
		undo_import(in, id);
		return code;
	}
	lun = ctl_call(in, "lun.show", json_pack("{s:s}", "lun", id));
	return print_result(in, lun, "LUN %s made of %s, %s, id %s\n", text_of(lun, "name"),
		image_shown(in->operands[0]), size_of(lun, "size_bytes"), text_of(lun, "id"));
}

/* ---- export ------------------------------------------------------------------------------------------- */

struct target {
	const char *path, *format; /* path NULL: standard output */
	char folder[4096];
	char partial[4096 + 32]; /* the file until it is whole; empty: it has no name until then */
	int fd;
};

/* A file without a name goes by itself, whatever ends us. Some file systems have none. */
static int open_partial(const struct invocation *in, struct target *t)
{
	const char *slash = strrchr(t->path, '/');
	int len = slash == t->path ? 1 : slash ? (int)(slash - t->path) : 1;

	snprintf(t->folder, sizeof(t->folder), "%.*s", len, slash ? t->path : ".");
	t->fd = open(t->folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (t->fd >= 0)
		return CTL_OK;
	snprintf(t->partial, sizeof(t->partial), "%s/.umbractl-XXXXXX", t->folder);
	t->fd = mkostemp(t->partial, O_CLOEXEC);
	if (t->fd >= 0)
		return CTL_OK;
	t->partial[0] = '\0';
	return ctl_fail(in, -errno, "%s cannot be written (%s): name another folder.", image_shown(t->folder),
		strerror(errno));
}

static int open_target(const struct invocation *in, struct target *t)
{
	struct stat status;

	*t = (struct target){.path = in->operands[1], .format = "raw", .fd = -1};
	if (strcmp(t->path, "-") == 0) {
		t->path = NULL;
		if (in->json)
			return ctl_usage(in, "--json and standard output contradict each other.");
		if (ctl_flag(in, "format") && strcmp(ctl_option(in, "format", 0), "raw") != 0)
			return ctl_usage(
				in, "To standard output goes raw data only: name a file for other formats.");
		return isatty(STDOUT_FILENO)
			       ? ctl_usage(in, "Standard output is a terminal: give it a pipe or a file.")
			       : CTL_OK;
	}
	t->format = image_format(in, t->path);
	if (!t->format)
		return CTL_USAGE;
	if (strlen(t->path) >= sizeof(t->folder))
		return ctl_fail(in, -ENAMETOOLONG, "the file's name is too long: give it a shorter one.");
	if (!lstat(t->path, &status) && (!ctl_flag(in, "force") || !S_ISREG(status.st_mode)))
		return ctl_fail(in, -EEXIST,
			S_ISREG(status.st_mode) ? "%s is there already: name another file, or give --force."
						: "%s is there, and no file: name another.",
			image_shown(t->path));
	return open_partial(in, t);
}

/* The file is whole, and gets its name. */
static int publish(const struct invocation *in, struct target *t)
{
	unsigned flags = ctl_flag(in, "force") ? 0 : RENAME_NOREPLACE;
	char own[64];
	int err = fsync(t->fd) ? errno : 0;

	snprintf(own, sizeof(own), "/proc/self/fd/%d", t->fd);
	if (!err && !t->partial[0]) {
		snprintf(t->partial, sizeof(t->partial), "%s/.umbractl-%ld", t->folder, (long)getpid());
		unlink(t->partial);
		if (linkat(AT_FDCWD, own, AT_FDCWD, t->partial, AT_SYMLINK_FOLLOW))
			err = errno;
	}
	if (!err && renameat2(AT_FDCWD, t->partial, AT_FDCWD, t->path, flags))
		err = errno;
	if (!err) {
		int folder = open(t->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		t->partial[0] = '\0';
		if (folder < 0 || fsync(folder))
			err = errno;
		if (folder >= 0)
			close(folder);
	}
	return err ? ctl_fail(in, -err, "%s cannot be written (%s): look at its folder, and try again.",
			     image_shown(t->path), strerror(err))
		   : CTL_OK;
}

static void close_target(struct target *t)
{
	if (t->fd >= 0)
		close(t->fd);
	if (t->partial[0])
		unlink(t->partial);
}

static int check_folder(const struct invocation *in, const struct target *t, uint64_t data_bytes)
{
	char needs[UNITS_TEXT_BYTES], has[UNITS_TEXT_BYTES];
	struct statvfs fs;

	if (statvfs(t->folder, &fs) || (uint64_t)fs.f_bavail * fs.f_frsize >= data_bytes)
		return CTL_OK;
	units_format_bytes(data_bytes, needs);
	units_format_bytes((uint64_t)fs.f_bavail * fs.f_frsize, has);
	return ctl_fail(in, -ENOSPC, "the copy needs %s, and %s has %s left: name another folder.", needs,
		image_shown(t->folder), has);
}

static int to_file(struct lend *l, struct target *t, uint64_t data_bytes)
{
	struct qemu_run r = {0};
	char target[64];
	int code = check_folder(l->in, t, data_bytes);

	if (code)
		return code;
	add_convert(&r, l);
	qemu_add(&r, "-W");
	qemu_add(&r, "-t");
	qemu_add(&r, "writeback");
	qemu_add(&r, "-O");
	qemu_add(&r, t->format);
	if (strcmp(t->format, "vpc") == 0) {
		qemu_add(&r, "-o");
		qemu_add(&r, "force_size=on"); /* not rounded to cylinders */
	}
	qemu_add(&r, "--image-opts");
	qemu_add(&r, l->options);
	snprintf(target, sizeof(target), "/proc/self/fd/%d", t->fd);
	qemu_add(&r, target);
	r.inherited[1] = t->fd;
	code = convert(l, &r, data_bytes, "the export");
	qemu_clear(&r);
	return code ? code : publish(l->in, t);
}

static int to_output(struct lend *l, uint64_t size_bytes, uint64_t data_bytes)
{
	struct qemu_run r = {0};
	struct sink s;
	char target[80];
	int code = sink_open(&s, l->in, size_bytes);

	if (code)
		return code;
	snprintf(target, sizeof(target), "driver=raw,file.driver=nbd,file.server.type=fd,file.server.str=%d",
		s.socket);
	add_convert(&r, l); /* without -W: in order */
	qemu_add(&r, "-n");
	qemu_add(&r, "--target-is-zero");
	qemu_add(&r, "--image-opts");
	qemu_add(&r, "--target-image-opts");
	qemu_add(&r, l->options);
	qemu_add(&r, target);
	r.inherited[1] = s.socket;
	code = convert(l, &r, data_bytes, "the export");
	qemu_clear(&r);
	int ended = sink_close(&s, l->in, !code);
	return code ? code : ended;
}

static int export_shadow(struct invocation *in, const char *why, const json_t *shadow, struct target *t)
{
	uint64_t size = (uint64_t)json_integer_value(json_object_get(shadow, "size_bytes")), data = 0;
	struct lend l;
	int code = lend_open(&l, in, why, text_of(shadow, "id"));

	if (!code)
		code = image_measure(in, &l, l.options, &data);
	if (!code)
		code = t->path ? to_file(&l, t, data) : to_output(&l, size, data);
	lend_close(&l);
	return code;
}

static int tell_export(struct invocation *in, const struct target *t, const json_t *lun)
{
	if (!t->path)
		return CTL_OK;
	return print_result(in,
		json_pack("{s:O, s:s, s:s, s:O}", "lun", json_object_get(lun, "name"), "file", t->path,
			"format", t->format, "size_bytes", json_object_get(lun, "size_bytes")),
		"%s written to %s\n", text_of(lun, "name"), image_shown(t->path));
}

/* The copy that was made for the export, out of the recycle bin, too. */
static void drop_copy(struct invocation *in, const char *set, const char *shadow)
{
	json_t *done = ctl_call(in, "set.delete", json_pack("{s:s}", "set", set));
	json_t *bin = done ? ctl_list(in, "recycle.list", "luns", NULL) : NULL, *item;
	size_t i;

	json_array_foreach(bin, i, item) if (strcmp(text_of(item, "id"), shadow) == 0)
		json_decref(ctl_call(in, "recycle.purge", json_pack("{s:s}", "lun", shadow)));
	json_decref(bin);
	json_decref(done);
}

static int copy_of_shadow(struct invocation *in, const json_t *shadow, struct target *t)
{
	return export_shadow(in, LEND_SHADOW, shadow, t);
}

/* Hosts may write on: what is exported is a copy of one instant. */
static int copy_of_lun(struct invocation *in, const json_t *lun, struct target *t)
{
	char name[65], id[65];

	(void)lun; /* a set takes it by the name that was given */
	lend_set_name(name);
	json_t *set = ctl_call(in, "set.create",
		json_pack("{s:s, s:[s], s:b}", "name", name, "luns", in->operands[0], "keep", 1));
	if (!set)
		return CTL_FAILED;
	json_t *member = json_array_get(json_object_get(set, "members"), 0);
	snprintf(id, sizeof(id), "%s", text_of(member, "shadow_id"));
	json_t *shadow = ctl_call(in, "shadow.show", json_pack("{s:s}", "lun", id));
	int code = shadow ? export_shadow(in, LEND_EXPORT, shadow, t) : CTL_FAILED;
	drop_copy(in, name, id);
	json_decref(shadow);
	json_decref(set);
	return code;
}

/* what: the LUN, as the method shows it. */
static int export(struct invocation *in, const char *method,
	int (*copy)(struct invocation *in, const json_t *what, struct target *t))
{
	struct target t;
	int code = begin(in);
	json_t *what = code ? NULL : ctl_call_named(in, method, "lun");

	if (!what)
		return code ? code : CTL_FAILED;
	code = open_target(in, &t);
	if (!code) {
		code = copy(in, what, &t);
		close_target(&t);
	}
	if (!code)
		code = tell_export(in, &t, what);
	json_decref(what);
	return code;
}

int verb_lun_export(struct invocation *in)
{
	return export(in, "lun.show", copy_of_lun);
}

int verb_shadow_export(struct invocation *in)
{
	return export(in, "shadow.show", copy_of_shadow);
}
