/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a file is that is to become a LUN. Nothing is made before all of it has been looked at: the format is the one that was
 * said or the one of the ending, never a guess from the content, for who can write to a disk can write there what looks
 * like an image with another file behind it. Images that lead to other files are refused for that.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "ctl/image.h"

#define CHECK_LEAKS 3 /* space that is lost, no data */
#define CHECK_NONE  63

static const struct format {
	const char *name, *qemu;
} formats[] = {{"raw", "raw"}, {"img", "raw"}, {"qcow2", "qcow2"}, {"vhdx", "vhdx"}, {"vmdk", "vmdk"},
	{"vhd", "vpc"}, {"vpc", "vpc"}};

const char *image_shown(const char *path)
{
	static char texts[2][160];
	static unsigned next;
	char *out = texts[next++ % 2];
	size_t used = 0;

	for (; *path && used < sizeof(texts[0]) - 1; path++)
		out[used++] = iscntrl((unsigned char)*path) ? '?' : *path;
	while (*path && used && ((unsigned char)out[used] & 0xc0) == 0x80)
		used--; /* not within a character */
	out[used] = '\0';
	return out;
}

static const char *find_format(const char *name)
{
	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
		if (strcasecmp(name, formats[i].name) == 0)
			return formats[i].qemu;
	return NULL;
}

const char *image_format(const struct invocation *in, const char *path)
{
	const char *said = ctl_option(in, "format", 0), *slash = strrchr(path, '/');
	const char *dot = strrchr(slash ? slash : path, '.');
	const char *format = said ? find_format(said) : dot ? find_format(dot + 1) : NULL;

	if (!format && said)
		ctl_usage(in, "--format %s: it is raw, qcow2, vhdx, vmdk or vhd.", image_shown(said));
	else if (!format)
		ctl_usage(in,
			"The ending of %s names no format: give --format raw, qcow2, vhdx, vmdk or vhd.",
			image_shown(path));
	return format;
}

void image_name(const char *path, char out[65])
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	const char *dot = strrchr(name, '.');
	int len = dot && dot > name && find_format(dot + 1) ? (int)(dot - name) : (int)strlen(name);

	snprintf(out, 65, "%.*s", len, name);
}

/* A device must be nobody's: a file system that is mounted writes on. */
static int look_at_device(const struct invocation *in, const char *path)
{
	int fd = open(path, O_RDONLY | O_EXCL | O_CLOEXEC), sector = 0;

	if (fd < 0 && errno == EBUSY && ctl_flag(in, "force"))
		return CTL_OK;
	if (fd < 0)
		return ctl_fail(in, -errno,
			errno == EBUSY
				? "%s is in use (%s): unmount it, or stop what serves it; --force reads it all the same, "
				  "and what is written meanwhile may be missing."
				: "%s cannot be read (%s): look at its rights.",
			image_shown(path), strerror(errno));
	int err = ioctl(fd, BLKSSZGET, &sector);
	close(fd);
	if (!err && sector != 512 && !ctl_flag(in, "force"))
		return ctl_fail(in, -EINVAL,
			"%s has sectors of %d bytes, and LUNs have 512: its partition table would not be found. "
			"--force imports it all the same.",
			image_shown(path), sector);
	return CTL_OK;
}

static int look_at_file(const struct invocation *in, struct image *i)
{
	struct stat status;

	if (stat(i->path, &status))
		return ctl_fail(in, -errno, "%s: %s: name a file or a block device.", image_shown(i->path),
			strerror(errno));
	i->device = S_ISBLK(status.st_mode);
	if (!i->device && !S_ISREG(status.st_mode))
		return ctl_fail(in, -EINVAL, "%s is neither a file nor a block device: name one.",
			image_shown(i->path));
	if (!i->device && access(i->path, R_OK))
		return ctl_fail(
			in, -errno, "%s: %s: look at its rights.", image_shown(i->path), strerror(errno));
	i->format = i->device && !ctl_flag(in, "format") ? "raw" : image_format(in, i->path);
	if (!i->format)
		return CTL_USAGE;
	if (!qemu_option(i->options, "driver", i->format) ||
		!qemu_option(i->options, "file.driver", i->device ? "host_device" : "file") ||
		!qemu_option(i->options, "file.filename", i->path))
		return ctl_fail(in, -ENAMETOOLONG, "%s: the name is too long: give it a shorter one.",
			image_shown(i->path));
	return i->device ? look_at_device(in, i->path) : CTL_OK;
}

/* Runs qemu-img's command over the options, with its answer as JSON: owned, NULL when there is none. */
static json_t *ask(const struct invocation *in, struct qemu_run *r, const char *command, const char *options)
{
	json_t *answer = NULL;

	qemu_add(r, command);
	qemu_add(r, "--output=json");
	qemu_add(r, "--image-opts");
	qemu_add(r, options);
	if (!qemu_do(in, r) && r->output)
		answer = json_loads(r->output, 0, NULL);
	return answer;
}

static int not_an_image(const struct invocation *in, const struct image *i, const struct qemu_run *r)
{
	if (stop_asked())
		return ctl_fail(in, -EINTR, "stopped: nothing was made.");
	return ctl_fail(in, -EINVAL,
		"%s is no whole image of the format %s (%s): give the right --format, or copy the file anew.",
		image_shown(i->path), i->format, r->error[0] ? r->error : "qemu-img says nothing of it");
}

/* A part of the image that is another file. VMDK: pieces beside the image are its own. */
static const char *leads_to(const struct image *i, const json_t *info)
{
	const json_t *data = json_object_get(json_object_get(info, "format-specific"), "data");
	const char *other = json_string_value(json_object_get(info, "backing-filename"));
	const char *slash = strrchr(i->path, '/');
	size_t folder = slash ? (size_t)(slash - i->path) + 1 : 0, n;
	json_t *extent;

	if (!other)
		other = json_string_value(json_object_get(data, "data-file"));
	json_array_foreach(json_object_get(data, "extents"), n, extent)
	{
		const char *name = json_string_value(json_object_get(extent, "filename"));
		if (!other && name && (strncmp(name, i->path, folder) != 0 || strchr(name + folder, '/')))
			other = name;
	}
	return other;
}

/* ---- a VMDK's description ------------------------------------------------------------------------------ */

#define VMDK_TEXT_BYTES (1u << 20) /* of a description; it has a line for each piece */

/* The description of a VMDK: the file itself, or what its header points to. Owned; NULL: it cannot be read. */
static char *vmdk_description(const char *path)
{
	uint64_t offset = 0;
	uint8_t head[64] = {0};
	char *text = calloc(1, VMDK_TEXT_BYTES + 1);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool good = text && fd >= 0 && pread(fd, head, sizeof(head), 0) >= 0;

	if (memcmp(head, "KDMV", 4) == 0)
		for (unsigned i = 0; i < 8; i++) /* sectors, little-endian */
			offset |= (uint64_t)head[28 + i] << 8 * i;
	good = good && offset < UINT64_C(1) << 40 &&
	       pread(fd, text, VMDK_TEXT_BYTES, (off_t)(offset * 512)) >= 0;
	if (fd >= 0)
		close(fd);
	if (good)
		return text;
	free(text);
	return NULL;
}

/* The name of the piece that a line is about, its end cut off; NULL: the line is about none. */
static char *piece_named(char *line)
{
	static const char *const words[] = {"RW", "RDONLY", "NOACCESS"};
	char *begin = strchr(line, '"'), *end = begin ? strchr(begin + 1, '"') : NULL;
	bool piece = false;

	line += strspn(line, " \t");
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		piece = piece || (strncasecmp(line, words[i], strlen(words[i])) == 0 &&
					 isspace((unsigned char)line[strlen(words[i])]));
	if (!piece || !begin)
		return NULL;
	if (end)
		*end = '\0';
	return begin + 1;
}

/* Pieces are files beside it. That is seen to here: qemu-img opens what is named before it tells the names, and a pipe, or a
 * device, may be harmed by that, or never come to an end. */
static int look_at_pieces(const struct invocation *in, const struct image *i)
{
	const char *slash = strrchr(i->path, '/');
	int folder = slash ? (int)(slash - i->path) + 1 : 0, code = CTL_OK;
	char *text = vmdk_description(i->path), *rest = text, *line, path[4200];
	struct stat status;

	if (!text)
		return ctl_fail(in, -EIO, "%s cannot be read: look at its rights.", image_shown(i->path));
	while (!code && (line = strsep(&rest, "\n"))) {
		const char *piece = piece_named(line);

		if (!piece)
			continue;
		snprintf(path, sizeof(path), "%.*s%s", folder, i->path, piece);
		if (strpbrk(piece, "/:") || (!lstat(path, &status) && !S_ISREG(status.st_mode)))
			code = ctl_fail(in, -EINVAL,
				"%s leads to another file (%s): make one whole image of it first, by qemu-img convert.",
				image_shown(i->path), image_shown(piece));
	}
	free(text);
	return code;
}

static int look_inside(const struct invocation *in, struct image *i)
{
	struct qemu_run r = {0};
	json_t *info = ask(in, &r, "info", i->options);
	const char *other = info ? leads_to(i, info) : NULL;
	json_int_t size = json_integer_value(json_object_get(info, "virtual-size"));
	int code = CTL_OK;

	if (r.code || !info || size <= 0)
		code = not_an_image(in, i, &r);
	else if (other)
		code = ctl_fail(in, -EINVAL,
			"%s leads to another file (%s): make one whole image of it first, by qemu-img convert.",
			image_shown(i->path), image_shown(other));
	i->size_bytes = ((uint64_t)size + 511) / 512 * 512;
	json_decref(info);
	qemu_clear(&r);
	if (code)
		return code;
	json_decref(ask(in, &r, "check", i->options));
	if (r.code != 0 && r.code != CHECK_LEAKS && r.code != CHECK_NONE)
		code = not_an_image(in, i, &r);
	qemu_clear(&r);
	return code;
}

int image_measure(const struct invocation *in, struct lend *l, const char *options, uint64_t *bytes)
{
	struct qemu_run r = {0};

	qemu_add(&r, "measure");
	if (l)
		lend_add(l, &r);
	qemu_add(&r, "--output=json");
	qemu_add(&r, "-O");
	qemu_add(&r, "qcow2"); /* raw has no holes there */
	qemu_add(&r, "--image-opts");
	qemu_add(&r, options);
	int code = qemu_do(in, &r);
	json_t *answer = !code && r.output ? json_loads(r.output, 0, NULL) : NULL;

	if (!code && stop_asked())
		code = ctl_fail(in, -EINTR, "stopped: nothing is left.");
	else if (!code && (r.code || !answer))
		code = ctl_fail(in, -EIO, "the data cannot be read (%s): see what it is read from.", r.error);
	*bytes = (uint64_t)json_integer_value(json_object_get(answer, "required"));
	json_decref(answer);
	qemu_clear(&r);
	return code;
}

int image_look(const struct invocation *in, const char *path, struct image *out)
{
	*out = (struct image){.path = path};
	int code = look_at_file(in, out);
	if (!code && strcmp(out->format, "vmdk") == 0)
		code = look_at_pieces(in, out);
	if (!code)
		code = look_inside(in, out);
	return code ? code : image_measure(in, NULL, out->options, &out->data_bytes);
}
