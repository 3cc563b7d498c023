/* SPDX-License-Identifier: Apache-2.0 */
/* The store in memory: pages, slots, disks and the data in them. See memstore.h and memstore_internal.h. */
#include "tests/support/memstore_internal.h"

/* ---- pages and slots ---- */

struct mem_page *mem_page_get(struct mem_page *p)
{
	if (p)
		p->refs++;
	return p;
}

void mem_page_put(struct memstore *m, struct mem_page *p)
{
	if (p && --p->refs == 0) {
		m->page_count--;
		free(p);
	}
}

static struct mem_page *page_new(struct memstore *m, const struct mem_page *copy)
{
	struct mem_page *p = mem_must(malloc(sizeof(*p)));

	p->refs = 1;
	m->page_count++;
	if (copy)
		memcpy(p->bytes, copy->bytes, PAGE_BYTES);
	else
		memset(p->bytes, 0, PAGE_BYTES);
	return p;
}

static void slot_lists_make(struct mem_disk *d, unsigned count)
{
	d->slots = mem_must(calloc(count, sizeof(struct mem_slot *)));
	d->slot_lists = count;
}

/* A large disk's lists stay short: a list is walked for every page of every request. */
static void slot_lists_grow(struct mem_disk *d)
{
	struct mem_slot **old = d->slots;
	unsigned count = d->slot_lists;

	slot_lists_make(d, count * 4);
	for (unsigned i = 0; i < count; i++)
		while (old[i]) {
			struct mem_slot *s = old[i];

			old[i] = s->next;
			s->next = d->slots[s->index % d->slot_lists];
			d->slots[s->index % d->slot_lists] = s;
		}
	free(old);
}

struct mem_slot *mem_slot_find(struct mem_disk *d, uint64_t index, bool make)
{
	for (struct mem_slot *s = d->slots[index % d->slot_lists]; s; s = s->next)
		if (s->index == index)
			return s;
	if (!make)
		return NULL;
	if (d->slot_count >= 2 * d->slot_lists)
		slot_lists_grow(d);
	struct mem_slot **at = &d->slots[index % d->slot_lists];
	struct mem_slot *s = mem_must(calloc(1, sizeof(*s)));
	s->index = index;
	s->next = *at;
	*at = s;
	d->slot_count++;
	return s;
}

void mem_slot_dirty(struct mem_disk *d, struct mem_slot *s)
{
	list_remove(&s->dirty);
	if (s->now != s->safe)
		list_push_back(&d->dirty, &s->dirty);
}

/* The slot's page, owned by it alone, to be written to. */
static struct mem_page *slot_own(struct memstore *m, struct mem_disk *d, struct mem_slot *s)
{
	if (!s->now || s->now->refs > 1) {
		struct mem_page *fresh = page_new(m, s->now);

		mem_page_put(m, s->now);
		s->now = fresh;
	}
	mem_slot_dirty(d, s);
	return s->now;
}

/* A later flush may have ended before an earlier one: never steps back. */
void mem_slot_safe(
	struct memstore *m, struct mem_disk *d, struct mem_slot *s, struct mem_page *page, uint64_t serial)
{
	if (serial < s->safe_serial)
		return;
	s->safe_serial = serial;
	mem_page_get(page);
	mem_page_put(m, s->safe);
	s->safe = page;
	mem_slot_dirty(d, s);
}

struct mem_disk *mem_disk_new(struct memstore *m, uint64_t size_bytes)
{
	struct mem_disk *d = mem_must(calloc(1, sizeof(*d)));

	d->head.store = &m->head;
	d->id = ++m->next_id;
	d->size_bytes = size_bytes;
	slot_lists_make(d, SLOT_LISTS_FIRST);
	list_init(&d->dirty);
	list_push_back(&m->disks, &d->link);
	return d;
}

static void slots_free(struct memstore *m, struct mem_disk *d)
{
	for (unsigned i = 0; i < d->slot_lists; i++)
		while (d->slots[i]) {
			struct mem_slot *s = d->slots[i];

			d->slots[i] = s->next;
			mem_page_put(m, s->now);
			mem_page_put(m, s->safe);
			list_remove(&s->dirty);
			free(s);
		}
	d->slot_count = 0;
}

void mem_disk_free(struct memstore *m, struct mem_disk *d)
{
	assert(d->inflight == 0);
	slots_free(m, d);
	list_remove(&d->link);
	free(d->slots);
	free(d);
}

void mem_disk_take(struct memstore *m, struct mem_disk *d, struct mem_disk *content)
{
	slots_free(m, d);
	assert(list_empty(&content->dirty));
	struct mem_slot **empty = d->slots;
	d->slots = content->slots;
	content->slots = empty;
	unsigned empty_lists = d->slot_lists;
	d->slot_lists = content->slot_lists;
	content->slot_lists = empty_lists;
	d->slot_count = content->slot_count;
	content->slot_count = 0;
	d->size_bytes = content->size_bytes;
	d->shares = content->shares;
	mem_disk_free(m, content);
}

/* ---- data ---- */

/* Copies between the iovec from byte `skip` on and a buffer. */
static void iov_copy(const struct store_io *io, uint64_t skip, void *buf, uint64_t len, bool to_iov)
{
	uint8_t *p = buf;

	for (unsigned i = 0; i < io->iov_count && len > 0; i++) {
		uint64_t have = io->iov[i].iov_len;

		if (skip >= have) {
			skip -= have;
			continue;
		}
		uint64_t part = have - skip < len ? have - skip : len;
		uint8_t *at = (uint8_t *)io->iov[i].iov_base + skip;
		if (to_iov)
			memcpy(at, p, part);
		else
			memcpy(p, at, part);
		p += part;
		len -= part;
		skip = 0;
	}
	assert(len == 0);
}

static void data_copy_out(struct mem_disk *d, uint64_t at, uint8_t *buf, uint64_t len)
{
	while (len > 0) {
		uint64_t within = at % PAGE_BYTES;
		uint64_t part = PAGE_BYTES - within < len ? PAGE_BYTES - within : len;
		struct mem_slot *s = mem_slot_find(d, at / PAGE_BYTES, false);

		if (s && s->now)
			memcpy(buf, s->now->bytes + within, part);
		else
			memset(buf, 0, part);
		at += part;
		buf += part;
		len -= part;
	}
}

static void data_read(struct mem_disk *d, const struct store_io *io)
{
	for (uint64_t done = 0; done < io->len;) {
		uint8_t copy[PAGE_BYTES];
		uint64_t part = PAGE_BYTES < io->len - done ? PAGE_BYTES : io->len - done;

		data_copy_out(d, io->offset + done, copy, part);
		iov_copy(io, done, copy, part, true);
		done += part;
	}
}

static int data_write(struct memstore *m, struct mem_disk *d, const struct store_io *io, uint64_t skip)
{
	if (m->capacity_bytes && (m->page_count + io->len / PAGE_BYTES + 2) * PAGE_BYTES > m->capacity_bytes)
		return -ENOSPC;
	for (uint64_t done = 0; done < io->len;) {
		uint64_t at = io->offset + done, within = at % PAGE_BYTES;
		uint64_t part = PAGE_BYTES - within < io->len - done ? PAGE_BYTES - within : io->len - done;
		struct mem_slot *s = mem_slot_find(d, at / PAGE_BYTES, true);

		iov_copy(io, skip + done, slot_own(m, d, s)->bytes + within, part, false);
		done += part;
	}
	return 0;
}

static int data_compare(struct mem_disk *d, struct store_io *io)
{
	for (uint64_t i = 0; i < io->len; i++) {
		uint64_t at = io->offset + i;
		struct mem_slot *s = mem_slot_find(d, at / PAGE_BYTES, false);
		uint8_t have = s && s->now ? s->now->bytes[at % PAGE_BYTES] : 0, want;

		iov_copy(io, i, &want, 1, false);
		if (have != want) {
			io->miscompare_offset = i;
			return -EILSEQ;
		}
	}
	return 0;
}

static void slot_unmap(struct memstore *m, struct mem_disk *d, struct mem_slot *s, uint64_t from, uint64_t to)
{
	uint64_t start = s->index * PAGE_BYTES, end = start + PAGE_BYTES;

	if (to <= start || from >= end || !s->now)
		return;
	if (from <= start && to >= end) {
		mem_page_put(m, s->now);
		s->now = NULL;
		mem_slot_dirty(d, s);
		return;
	}
	uint64_t first = from > start ? from - start : 0, last = to < end ? to - start : PAGE_BYTES;
	memset(slot_own(m, d, s)->bytes + first, 0, last - first);
}

static void data_unmap(struct memstore *m, struct mem_disk *d, const struct store_io *io)
{
	for (unsigned i = 0; i < d->slot_lists; i++)
		for (struct mem_slot *s = d->slots[i]; s; s = s->next)
			slot_unmap(m, d, s, io->offset, io->offset + io->len);
}

static bool page_mapped(struct mem_disk *d, uint64_t at)
{
	struct mem_slot *s = mem_slot_find(d, at / PAGE_BYTES, false);

	return s && s->now;
}

static void data_mapped(struct mem_disk *d, struct store_io *io)
{
	uint64_t at = io->offset, end = io->offset + io->len;

	io->mapped = page_mapped(d, at);
	while (at < end && page_mapped(d, at) == io->mapped)
		at = (at / PAGE_BYTES + 1) * PAGE_BYTES;
	io->run_bytes = (at < end ? at : end) - io->offset;
}

/* The block becomes that of the source: the same page, where both lie alike. */
static void clone_block(
	struct memstore *m, struct mem_disk *d, struct store_io *io, uint64_t done, uint64_t part)
{
	struct mem_disk *from_disk = disk_of(io->source);
	uint64_t at = io->offset + done, from = io->source_offset + done;
	uint8_t copy[PAGE_BYTES];

	if (part == PAGE_BYTES && from % PAGE_BYTES == 0) {
		struct mem_slot *have = mem_slot_find(from_disk, from / PAGE_BYTES, false);
		struct mem_page *page = have ? mem_page_get(have->now) : NULL;
		struct mem_slot *s = mem_slot_find(d, at / PAGE_BYTES, true);

		mem_page_put(m, s->now);
		s->now = page;
		mem_slot_dirty(d, s);
		return;
	}
	data_copy_out(from_disk, from, copy, part);
	memcpy(slot_own(m, d, mem_slot_find(d, at / PAGE_BYTES, true))->bytes + at % PAGE_BYTES, copy, part);
}

static int data_clone(struct memstore *m, struct mem_disk *d, struct store_io *io)
{
	uint64_t first = (io->offset + CLONE_CHUNK_BYTES - 1) / CLONE_CHUNK_BYTES * CLONE_CHUNK_BYTES;
	uint64_t last = (io->offset + io->len) / CLONE_CHUNK_BYTES * CLONE_CHUNK_BYTES;
	bool alike = io->offset % CLONE_CHUNK_BYTES == io->source_offset % CLONE_CHUNK_BYTES;

	io->shared_bytes = alike && last > first ? last - first : 0;
	if (m->capacity_bytes &&
		(m->page_count + (io->len - io->shared_bytes) / PAGE_BYTES + 2) * PAGE_BYTES >
			m->capacity_bytes)
		return -ENOSPC;
	for (uint64_t done = 0; done < io->len;) {
		uint64_t room = PAGE_BYTES - (io->offset + done) % PAGE_BYTES;
		uint64_t part = room < io->len - done ? room : io->len - done;

		clone_block(m, d, io, done, part);
		done += part;
	}
	return 0;
}

void mem_data_safe(struct memstore *m, struct mem_disk *d, uint64_t from, uint64_t to)
{
	list_for_each_safe (n, &d->dirty) {
		struct mem_slot *s = container_of(n, struct mem_slot, dirty);

		if (s->index * PAGE_BYTES < to && (s->index + 1) * PAGE_BYTES > from)
			mem_slot_safe(m, d, s, s->now, ++m->serial);
	}
}

int mem_data_apply(struct memstore *m, struct mem_disk *d, struct store_io *io)
{
	int err = 0;

	switch (io->op) {
	case STORE_READ:
		data_read(d, io);
		break;
	case STORE_WRITE:
		err = data_write(m, d, io, 0);
		break;
	case STORE_COMPARE_WRITE:
		err = data_compare(d, io);
		if (!err)
			err = data_write(m, d, io, io->len);
		break;
	case STORE_UNMAP:
		data_unmap(m, d, io);
		break;
	case STORE_FLUSH:
		break;
	case STORE_MAPPED:
		data_mapped(d, io);
		break;
	case STORE_CLONE:
		err = data_clone(m, d, io);
		break;
	}
	return err;
}

bool mem_hydrate_hangs(const struct store_hydration *h)
{
	return disk_of(h->disk)->hydration_hangs;
}

void memstore_hydration_hangs(struct store_disk *d, bool hangs)
{
	disk_of(d)->hydration_hangs = hangs;
}
