/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stores that are not linked into umbrad but loaded by it, so that only those who use them need their libraries: what such a
 * module gives (one symbol, `umbra_store_module`), and how it is found.
 *
 * A module takes reactor and util from the program that loads it: there is one reactor. So it fits the umbrad that it was built
 * with and no other.
 */
#ifndef UMBRA_STORE_MODULE_H
#define UMBRA_STORE_MODULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "array/util/fault.h"
#include "array/util/process.h"

struct reactor;
struct store;
struct store_wire_user;

#define STORE_MODULE_VERSION         8
#define STORE_MODULE_ARRAY_MAX_BYTES 40
#define STORE_MODULE_ARRAY           "default" /* the array, where none is named */

/*
 * For a controller that stands by: while another umbrad owns the array, open does not fail with -EBUSY but waits for it, and
 * tells meanwhile what the catalogue says. All calls come from inside open, on its thread.
 */
struct store_standby {
	void *arg;
	/* Several times a second. False: open ends with -ECANCELED. owner: the owner's machine, "" when it is not known. */
	bool (*waits)(void *arg, const char *owner);
	/* When the catalogue may have changed, and every few seconds: what the array's tables hold that hosts and administrators see
	 * (LUN, HOST, MAP, META), its disks, then the end. A record or disk that does not return 0 ends it. err: it could not be
	 * read as a whole. */
	void (*begin)(void *arg);
	int (*record)(void *arg, unsigned table, const void *key, size_t key_len, const void *value,
		size_t value_len);
	int (*disk)(
		void *arg, uint64_t id, uint64_t size_bytes, uint64_t data); /* data: store_ops.disk_data */
	void (*end)(void *arg, int err);
	/* The array was given back, and nobody has it. False: not this one, for now. NULL: at once. */
	bool (*may_take)(void *arg);
};

/*
 * What an array's controllers tell each other of themselves: a text (a card) under the number of each, kept beside the catalogue
 * while and after the store is open or being opened. Calls come from the store's threads.
 */
#define STORE_CARD_MAX_BYTES 4096
#define STORE_CARDS_MAX      2
struct store_cards {
	void *arg;
	unsigned number; /* ours: 1 … STORE_CARDS_MAX */
	/* Ours, as it is now; no two are the same. ended: it is the last one. Returns its length; 0: none is written this time. */
	size_t (*write)(void *arg, char out[STORE_CARD_MAX_BYTES], bool ended);
	/* Before the first one is written, each that is there. 0, or an error with its fault: then open ends with it. -EAGAIN: it
	 * does not fit if somebody is still behind it; it comes once more if it changes while it is looked at (lives). */
	int (*admit)(
		void *arg, unsigned number, const char *text, size_t len, bool lives, struct fault *fault);
	/* Every second or two, each that is there. still_ms: for so long it has not changed; UINT64_MAX: it never has while it was
	 * looked at. */
	void (*read)(void *arg, unsigned number, const char *text, size_t len, uint64_t still_ms);
	/* The owner's lease was just renewed, or seen to have been, or is another than before. ours: this process has it. */
	void (*lease)(void *arg, uint64_t epoch, bool ours);
	/* This process has taken the array from its owner, which had not given it back, and was locked out. */
	void (*fenced)(void *arg, const struct process_id *owner);
};

enum store_notice {
	STORE_NOTICE_INFO,
	STORE_NOTICE_WARNING,
	STORE_NOTICE_ERROR
};

struct store_module_options {
	const char *cluster_conf; /* ceph.conf; NULL: where librados looks (CEPH_CONF, /etc/ceph/ceph.conf) */
	const char *client_id;    /* the cephx user without "client."; NULL: admin */
	const char *ceph_pool;    /* the RADOS pool */
	const char *ceph_namespace; /* in that pool; NULL or "": none */
	const char *array;          /* the array in that pool, which may hold several */
	/* One that was made in another cluster, pool or namespace is opened all the same, and is of this one with its first transaction. */
	bool moved;
	/* For the administrator; or NULL. On the reactor's thread, or inside open. */
	void (*notice)(void *arg, enum store_notice level, const char *text);
	void *notice_arg;
	/* The store has lost its right to the array (fenced, or the lease was taken): nothing can be written any more. Once, on
	 * the reactor's thread; or NULL. Its arg is notice_arg. */
	void (*fenced)(void *arg, const char *reason);
	const struct store_standby *standby; /* NULL: it does not wait */
	const struct store_wire_user *wire;  /* to the array's other controllers; NULL: there is none */
	const struct store_cards *cards;     /* NULL: there is no other controller */
};

struct store_module {
	unsigned version;    /* STORE_MODULE_VERSION */
	const char *umbra;   /* UMBRA_VERSION that it was built with */
	const char *name;    /* "rbd" */
	const char *library; /* what it stands on, for --version: "librbd 1.16.0" */
	/* Blocks. -EEXIST: there is such an array. */
	int (*create)(const struct store_module_options *o, struct fault *fault);
	/* Takes the array's lease (when its old owner's has run out, or the owner is blocklisted), raises the epoch, sweeps. Blocks;
	 * from any thread, also while the reactor runs, which has the store from when open has returned.
	 * -EBUSY: another umbrad owns it; -ENOENT; -EXDEV: it is a copy (moved); -EACCES, -EPERM (the fault says which right is missing); -ETIMEDOUT: the cluster
	 * does not answer. */
	int (*open)(const struct store_module_options *o, struct reactor *reactor, struct store **out,
		struct fault *fault);
	/* Of a store that open gave, and that nothing uses: deletes the array. 0: all but the catalogue has gone, and that goes with the
	 * close that is to come. Else the array is as it was, or empty, and the rest is deleted by doing this again; -EBUSY: an image
	 * cannot be deleted (notice said which). How much is left, stats tells (reclaim_pending_steps). */
	void (*destroy)(struct store *s, void (*done)(void *arg, int err), void *arg);
};

/* In the module. */
extern const struct store_module umbra_store_module;

/* ---- in the programs -------------------------------------------------------------------------------- */

/* The name of an array. */
static inline bool store_module_array_ok(const char *name)
{
	size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789.-");

	return len && len <= STORE_MODULE_ARRAY_MAX_BYTES && !name[len];
}

/* Of a pool, a namespace or a user of Ceph's that is named to us. librbd writes POOL/NAMESPACE/IMAGE@SNAPSHOT. */
#define STORE_MODULE_CEPH_MAX_BYTES 127
static inline bool store_module_ceph_ok(const char *name)
{
	return *name && strlen(name) <= STORE_MODULE_CEPH_MAX_BYTES && !strpbrk(name, "/@ \t\r\n");
}

/* Loads umbra-store-NAME.so from the folder that UMBRA_MODULES names, or else from where packages put it, as seen from the
 * program, or from the program's own folder. It stays loaded. NULL: the fault says why, and what to install. */
const struct store_module *store_module_load(const char *name, struct fault *fault);

#endif
