/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LUNs from files and into files. qemu-img knows the formats; it reads and writes the LUN as any host does, over iSCSI,
 * as a host that is made for the purpose and goes again. From the lowest file to the highest: stop.c (Ctrl+C), qemu.c
 * (qemu-img), image.c (what a file is), lend.c (the host), sink.c (a LUN to standard output), verbs_image.c.
 */
#ifndef UMBRA_CTL_IMAGE_H
#define UMBRA_CTL_IMAGE_H

#include <sys/types.h>
#include "ctl/ctl.h"

/* ---- stop.c ------------------------------------------------------------------------------------------- */

/* From now on SIGINT, SIGTERM and SIGHUP end nothing by themselves, but are told by stop_asked. */
int stop_watch(const struct invocation *in);
bool stop_asked(void);
int stop_descriptor(void); /* readable: look at stop_asked */
void stop_child(void);     /* in a new process: signals do what they do, and it ends with its parent */

/* ---- qemu.c ------------------------------------------------------------------------------------------- */

#define QEMU_ARGUMENTS_MAX 24
#define QEMU_OPTIONS_BYTES 8192

struct qemu_run {
	const char *arguments[QEMU_ARGUMENTS_MAX + 1]; /* behind "qemu-img" */
	int argument_count;
	int inherited[2]; /* descriptors, 0: none */
	/* Called at least once a second while it runs, with percent as it tells it; NULL: its output is kept. */
	void (*progress)(void *arg, double percent);
	void *progress_arg;
	/* afterwards */
	int code;     /* its exit code; -1: it was stopped */
	char *output; /* freed by qemu_clear */
	size_t output_bytes;
	char error[400]; /* its first line on standard error */
};

void qemu_add(struct qemu_run *r, const char *argument);
/* Runs it to its end. CTL_OK also when it failed (see code); else said why. */
int qemu_do(const struct invocation *in, struct qemu_run *r);
void qemu_clear(struct qemu_run *r);
/* Is it here, with iSCSI? */
int qemu_check(const struct invocation *in);
/* "key=value" behind options, commas in value as qemu-img wants them. False: too long. */
bool qemu_option(char options[QEMU_OPTIONS_BYTES], const char *key, const char *value);

/* ---- image.c ------------------------------------------------------------------------------------------ */

struct image {
	const char *path;
	const char *format; /* qemu-img's name */
	bool device;
	uint64_t size_bytes; /* of the disk in it */
	uint64_t data_bytes; /* about what it takes */
	char options[QEMU_OPTIONS_BYTES];
};

/* A file's name for people: what a terminal would take for its own is left out. Valid until the next call but one. */
const char *image_shown(const char *path);
/* qemu-img's name of the format that --format, or the file's ending, says. NULL: said why. */
const char *image_format(const struct invocation *in, const char *path);
/* Looks at a file that is to be imported: refuses what is no whole image. */
int image_look(const struct invocation *in, const char *path, struct image *out);
/* A name for the LUN: the file's, without its ending. */
void image_name(const char *path, char out[65]);
/* About how many bytes of data qemu-img's options lead to. l: NULL, or whose they are. */
struct lend;
int image_measure(const struct invocation *in, struct lend *l, const char *options, uint64_t *bytes);

/* ---- lend.c ------------------------------------------------------------------------------------------- */

/* Why a LUN is lent: it tells what is to go when who lent it has died. */
#define LEND_IMPORT "i" /* the LUN */
#define LEND_EXPORT "e" /* the copy set */
#define LEND_SHADOW "s" /* nothing */

struct lend {
	const struct invocation *in;
	char host[65], iqn[128];
	int secret; /* a descriptor with the CHAP secret */
	bool host_made, mapped;
	char lun[65];                     /* its id */
	char options[QEMU_OPTIONS_BYTES]; /* the LUN, as qemu-img wants it */
};

/* Takes away what broken-off imports and exports left, if nothing uses it. */
int lend_sweep(const struct invocation *in);
/* A name that tells of whose it is: "umbractl-e-…" */
void lend_set_name(char out[65]);
int lend_open(struct lend *l, const struct invocation *in, const char *why, const char *lun_id);
void lend_close(struct lend *l);
/* The options of qemu-img that go with l->options. */
void lend_add(struct lend *l, struct qemu_run *r);
/* What the host has moved so far, both ways. */
uint64_t lend_moved(struct lend *l, struct client *c);

/* ---- sink.c ------------------------------------------------------------------------------------------- */

struct sink {
	pid_t pid;
	int socket; /* qemu-img's end */
	int finish; /* a byte there: all has been written, the rest is zeros */
};

/* A disk of so many bytes that can only be written, and in order: it goes to standard output. */
int sink_open(struct sink *s, const struct invocation *in, uint64_t size_bytes);
/* whole: nothing is missing. CTL_OK: all bytes are out. */
int sink_close(struct sink *s, const struct invocation *in, bool whole);

#endif
