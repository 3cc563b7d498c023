/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LMDB's pages, before LMDB looks at them. It trusts what it finds in its mapping: a damaged page makes it read outside
 * of it, or go on for ever. So the file is read here by pread, with bounds: both meta pages, the tree of free pages, the
 * tree of tables, and each table's tree: every page is what it says, nobody else's, in its place (keys ascend, and lie
 * between those of the page above), and a tree holds as many pages and entries as its record says.
 *
 * The layout is that of LMDB 0.9 on a machine with 64 bits, whose integers are the machine's own; elsewhere nothing is
 * checked. A page has 16 bytes of head, then the places of its nodes; nodes lie at its end. What is free may lie
 * beyond the end of the file, what is in use may not.
 */
#include "array/store/pool/durable/pages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD      16u /* of a page: number 8, pad 2, flags 2, lower 2, upper 2 (or pages 4) */
#define NODE      8u  /* of a node: low 2, high 2, flags 2, length of the key 2 */
#define TREE      48u /* bytes of a tree's record */
#define DEPTH_MAX 32u

#define PAGE_BRANCH   0x01u
#define PAGE_LEAF     0x02u
#define PAGE_OVERFLOW 0x04u
#define PAGE_META     0x08u
#define NODE_BIG      0x01u /* its value lies in pages of its own */
#define NODE_TREE     0x02u
#define INTEGER_KEYS  0x08u

#define META_MAGIC   0xbeefc0deu
#define META_VERSION 1u

/* A file of this size is read whole at each start; of a larger one the leaves of the large tables are not. */
#define SMALL_BYTES (UINT64_C(64) << 20)

struct pages;

struct tree {
	const char *name;
	uint16_t flags, depth;
	uint64_t branches, leaves, overflows, entries, root;
	uint64_t seen_branches, seen_leaves, seen_overflows, seen_entries;
	bool shallow; /* its leaves are not read */
	int (*node)(struct pages *w, struct tree *t, const uint8_t *node, const uint8_t *value, uint64_t len);
};

struct pages {
	int fd;
	uint64_t file_pages, last;
	size_t size;    /* of a page */
	uint8_t *seen;  /* a bit for each page */
	uint8_t *at;    /* the pages on the way from a root, then the same for a table's tree */
	unsigned level; /* the first one of `at` that is not in use */
	bool deep;
	struct fault *fault;
};

struct key {
	const uint8_t *data;
	size_t len;
};

static uint16_t u16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static uint32_t u32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static uint64_t u64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static int bad(struct pages *w, uint64_t page, const char *table, const char *what)
{
	return fault_set(w->fault, -EUCLEAN,
		"the pool's metadata is damaged: page %llu of meta/data.mdb (%s) %s; restore the directory `meta` from a backup of this pool",
		(unsigned long long)page, table, what);
}

static int read_at(struct pages *w, uint8_t *buf, uint64_t page, const char *table)
{
	ssize_t n;

	do
		n = pread(w->fd, buf, w->size, (off_t)(page * w->size));
	while (n < 0 && errno == EINTR);
	if (n == (ssize_t)w->size)
		return 0;
	if (n >= 0)
		return bad(w, page, table, "lies behind the end of the file");
	return fault_set(w->fault, -errno,
		"meta/data.mdb cannot be read (%s): look at the disk and the kernel's log", strerror(errno));
}

/* The page is within bounds and nobody has it yet. */
static int claim(struct pages *w, uint64_t page, const char *table)
{
	if (page < 2 || page > w->last)
		return bad(w, page, table, "is none of the file's");
	if (page >= w->file_pages)
		return bad(w, page, table, "lies behind the end of the file, which was cut short");
	if (w->seen[page / 8] >> (page % 8) & 1)
		return bad(w, page, table, "is used twice");
	w->seen[page / 8] |= (uint8_t)(1u << (page % 8));
	return 0;
}

/* ---- a page ------------------------------------------------------------------------------------------ */

static unsigned node_count(const uint8_t *page)
{
	return (u16(page + 12) - HEAD) / 2;
}

static const uint8_t *node_at(const uint8_t *page, unsigned i)
{
	return page + u16(page + HEAD + 2 * (size_t)i);
}

static struct key key_of(const uint8_t *node)
{
	return (struct key){node + NODE, u16(node + 6)};
}

static uint64_t node_child(const uint8_t *node)
{
	return u16(node) | (uint64_t)u16(node + 2) << 16 | (uint64_t)u16(node + 4) << 32;
}

static uint64_t node_value_len(const uint8_t *node)
{
	return u16(node) | (uint64_t)u16(node + 2) << 16;
}

static int compare(const struct tree *t, struct key a, struct key b)
{
	size_t len = a.len < b.len ? a.len : b.len;
	int order;

	if (t->flags & INTEGER_KEYS) {
		uint64_t va = u64(a.data), vb = u64(b.data);

		return va < vb ? -1 : va > vb;
	}
	order = memcmp(a.data, b.data, len);
	return order ? order : a.len < b.len ? -1 : a.len > b.len;
}

/* Does the node lie within the page? */
static bool node_fits(struct pages *w, const struct tree *t, const uint8_t *page, unsigned i, bool leaf)
{
	unsigned at = u16(page + HEAD + 2 * (size_t)i), upper = u16(page + 14);
	const uint8_t *node = page + at;
	uint64_t end;

	if (at < upper || at + NODE > w->size || at % 2)
		return false;
	end = at + NODE + u16(node + 6);
	if (leaf)
		end += u16(node + 4) & NODE_BIG ? 8 : node_value_len(node);
	return end <= w->size && (!(t->flags & INTEGER_KEYS) || (!leaf && i == 0) || u16(node + 6) == 8);
}

/* The nodes of a page, and their order; lo: none is before it; hi: all are. Either may be without data. */
static int check_nodes(
	struct pages *w, const struct tree *t, const uint8_t *page, bool leaf, struct key lo, struct key hi)
{
	unsigned lower = u16(page + 12), upper = u16(page + 14), count;
	struct key before = {0};

	if (lower < HEAD || lower % 2 || lower > upper || upper > w->size)
		return bad(w, u64(page), t->name, "has a wrong head");
	count = node_count(page);
	if (count == 0 || (!leaf && count < 2))
		return bad(w, u64(page), t->name, "is empty");
	for (unsigned i = 0; i < count; i++) {
		struct key key;

		if (!node_fits(w, t, page, i, leaf))
			return bad(w, u64(page), t->name, "has an entry that does not lie within it");
		key = key_of(node_at(page, i));
		if (!leaf && i == 0) /* it has no key */
			continue;
		if ((before.data && compare(t, before, key) >= 0) || (lo.data && compare(t, key, lo) < 0) ||
			(hi.data && compare(t, key, hi) >= 0))
			return bad(w, u64(page), t->name, "has entries that are not in order");
		before = key;
	}
	return 0;
}

/* ---- a tree ------------------------------------------------------------------------------------------ */

/* A value in pages of its own. *first is read into `buf`. */
static int check_big(struct pages *w, struct tree *t, const uint8_t *node, uint8_t *buf)
{
	uint64_t first = u64(key_of(node).data + key_of(node).len);
	uint64_t pages = (HEAD - 1 + node_value_len(node)) / w->size + 1;
	int err = 0;

	for (uint64_t i = 0; i < pages && !err; i++)
		err = claim(w, first + i, t->name);
	if (!err)
		err = read_at(w, buf, first, t->name);
	if (!err && (u64(buf) != first || u16(buf + 10) != PAGE_OVERFLOW || u32(buf + 12) != pages))
		err = bad(w, first, t->name, "is not what it should be");
	t->seen_overflows += pages;
	return err;
}

static int table_node(
	struct pages *w, struct tree *all, const uint8_t *node, const uint8_t *value, uint64_t len);

static int check_leaf(struct pages *w, struct tree *t, const uint8_t *page)
{
	uint8_t *big = w->at + (size_t)w->level * w->size;
	unsigned count = node_count(page);
	int err = 0;

	for (unsigned i = 0; i < count && !err; i++) {
		const uint8_t *node = node_at(page, i), *value = key_of(node).data + key_of(node).len;
		unsigned flags = u16(node + 4);

		if (flags & ~(NODE_BIG | (t->node == table_node ? NODE_TREE : 0u)))
			return bad(w, u64(page), t->name, "has an entry of an unknown kind");
		t->seen_entries++;
		if (flags & NODE_BIG) {
			err = check_big(w, t, node, big);
			value = NULL;
		}
		if (!err && t->node)
			err = t->node(w, t, node, value, node_value_len(node));
	}
	return err;
}

static int walk(
	struct pages *w, struct tree *t, uint64_t number, unsigned depth, struct key lo, struct key hi)
{
	bool leaf = depth == t->depth;
	uint8_t *page = w->at + (size_t)w->level * w->size;
	int err = claim(w, number, t->name);

	*(leaf ? &t->seen_leaves : &t->seen_branches) += 1;
	if (err || (leaf && t->shallow))
		return err;
	err = read_at(w, page, number, t->name);
	if (!err && (u64(page) != number || u16(page + 10) != (leaf ? PAGE_LEAF : PAGE_BRANCH)))
		err = bad(w, number, t->name, "is not what it should be");
	if (!err)
		err = check_nodes(w, t, page, leaf, lo, hi);
	w->level++;
	if (!err && leaf)
		err = check_leaf(w, t, page);
	for (unsigned i = 0, n = leaf ? 0 : node_count(page); i < n && !err; i++)
		err = walk(w, t, node_child(node_at(page, i)), depth + 1, i ? key_of(node_at(page, i)) : lo,
			i + 1 < n ? key_of(node_at(page, i + 1)) : hi);
	w->level--;
	return err;
}

static void tree_decode(struct tree *t, const uint8_t *in)
{
	t->flags = u16(in + 4);
	t->depth = u16(in + 6);
	t->branches = u64(in + 8);
	t->leaves = u64(in + 16);
	t->overflows = u64(in + 24);
	t->entries = u64(in + 32);
	t->root = u64(in + 40);
}

static int check_tree(struct pages *w, struct tree *t, uint64_t page)
{
	struct key none = {0};
	int err;

	if (t->root == UINT64_MAX)
		return t->depth || t->entries ? bad(w, page, t->name, "has a table without content") : 0;
	if (t->depth == 0 || t->depth > DEPTH_MAX)
		return bad(w, page, t->name, "has a table of a wrong depth");
	err = walk(w, t, t->root, 1, none, none);
	if (!err && (t->seen_branches != t->branches || t->seen_leaves != t->leaves))
		err = bad(w, t->root, t->name, "leads to more or fewer pages than its table has");
	if (!err && !t->shallow && (t->seen_overflows != t->overflows || t->seen_entries != t->entries))
		err = bad(w, t->root, t->name, "leads to more or fewer entries than its table has");
	return err;
}

/* ---- the trees --------------------------------------------------------------------------------------- */

/* A table's record in the tree of tables. */
static int table_node(
	struct pages *w, struct tree *all, const uint8_t *node, const uint8_t *value, uint64_t len)
{
	struct key key = key_of(node);
	struct tree t = {0};
	char name[32];

	(void)all;
	snprintf(name, sizeof(name), "%.*s", key.len < 24 ? (int)key.len : 24, (const char *)key.data);
	t.name = name;
	if (!value || len != TREE || !(u16(node + 4) & NODE_TREE))
		return bad(w, 0, name, "is in use, and a table's record is none");
	tree_decode(&t, value);
	t.shallow = !w->deep && (!strcmp(name, "map") || !strcmp(name, "gen") || !strcmp(name, "refs"));
	if (t.flags)
		return bad(w, t.root, name, "is of a table of an unknown kind");
	return check_tree(w, &t, t.root);
}

/* A list of free pages: how many, then they. */
static int free_node(struct pages *w, struct tree *t, const uint8_t *node, const uint8_t *value, uint64_t len)
{
	uint64_t at = value ? 0 : u64(key_of(node).data + key_of(node).len) * w->size + HEAD, count = 0;
	uint8_t *list = malloc(len + 8);
	int err = 0;

	if (!list)
		return -ENOMEM;
	if (value)
		memcpy(list, value, len);
	else if (pread(w->fd, list, len, (off_t)at) != (ssize_t)len)
		err = bad(w, at / w->size, t->name, "lies behind the end of the file");
	if (!err && (len < 8 || len % 8 || (count = u64(list)) > len / 8 - 1))
		err = bad(w, t->root, t->name, "leads to a list that is none");
	for (uint64_t i = 1; i <= count && !err; i++) {
		uint64_t page = u64(list + 8 * i);

		if (page < 2 || page > w->last)
			err = bad(w, page, t->name, "is none of the file's");
		else if (page < w->file_pages)
			err = claim(w, page, t->name);
	}
	free(list);
	return err;
}

/* The two meta pages; the newer one counts. */
static int check_meta(struct pages *w, uint64_t max_bytes, struct tree *unused, struct tree *tables)
{
	uint64_t txn[2];
	unsigned newer;

	for (unsigned i = 0; i < 2; i++) {
		const uint8_t *meta = w->at + i * w->size;
		int err = read_at(w, w->at + i * w->size, i, "meta");

		if (err)
			return err;
		if (u64(meta) != i || u16(meta + 10) != PAGE_META || u32(meta + HEAD) != META_MAGIC ||
			u32(meta + HEAD + 4) != META_VERSION || u32(meta + HEAD + 24) != w->size)
			return bad(w, i, "meta", "is not what it should be");
		txn[i] = u64(meta + HEAD + 24 + 2 * TREE + 8);
	}
	newer = txn[1] > txn[0];
	if (txn[newer] - txn[!newer] > 1 || (txn[newer] && txn[newer] % 2 != newer))
		return bad(w, newer, "meta", "has a number that does not follow the other's");
	w->last = u64(w->at + newer * w->size + HEAD + 24 + 2 * TREE);
	if (w->last < 1 || w->last >= max_bytes / w->size)
		return bad(w, newer, "meta", "says a size that cannot be");
	tree_decode(unused, w->at + newer * w->size + HEAD + 24);
	tree_decode(tables, w->at + newer * w->size + HEAD + 24 + TREE);
	if (unused->flags != INTEGER_KEYS || tables->flags != 0)
		return bad(w, newer, "meta", "has tables of an unknown kind");
	return 0;
}

static int check_file(struct pages *w, uint64_t max_bytes)
{
	struct tree unused = {.name = "free pages", .node = free_node};
	struct tree tables = {.name = "tables", .node = table_node};
	int err = check_meta(w, max_bytes, &unused, &tables);

	if (!err)
		err = check_tree(w, &tables, 0);
	return err ? err : check_tree(w, &unused, 0);
}

int pool_pages_check(const char *dir, uint64_t max_bytes, bool deep, struct fault *fault)
{
	struct pages w = {.fault = fault, .size = (size_t)sysconf(_SC_PAGESIZE)};
	char path[4200];
	struct stat st;
	int err;

	if (sizeof(size_t) != 8)
		return 0;
	snprintf(path, sizeof(path), "%s/data.mdb", dir);
	w.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* whatever lies there, say a pipe */
	if (w.fd < 0 || fstat(w.fd, &st)) {
		err = -errno;
		if (w.fd >= 0)
			close(w.fd);
		return err == -ENOENT
			       ? fault_set(fault, -EUCLEAN,
					 "the pool's metadata %s is missing: restore the directory `meta` from a backup of this pool",
					 path)
			       : fault_set(fault, err,
					 "the pool's metadata %s cannot be opened (%s): look at its owner and mode, at the disk and the kernel's log",
					 path, strerror(-err));
	}
	w.deep = deep || (uint64_t)st.st_size <= SMALL_BYTES;
	w.file_pages = (uint64_t)st.st_size / w.size;
	posix_fadvise(w.fd, 0, 0, w.deep ? POSIX_FADV_WILLNEED : POSIX_FADV_RANDOM);
	w.seen = calloc(w.file_pages / 8 + 1, 1);
	w.at = malloc((2 * DEPTH_MAX + 4) * w.size);
	err = w.seen && w.at ? check_file(&w, max_bytes) : -ENOMEM;
	free(w.seen);
	free(w.at);
	close(w.fd);
	if (err == -ENOMEM)
		return fault_set(fault, err,
			"there is not enough memory to look at the pool's metadata: give the program more");
	return err;
}
