/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any records as the catalogue: the array opens, or says that it is damaged. The checksums are made right, so
 * that what is behind them is reached; one that opens lives through its leases and opens again.
 *
 * Input: records of table u8, key length u8, value length u16, key, value without its checksum. Four disks of
 * 1 MiB with the ids 1 to 4 are there.
 */
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <xxhash.h>
#include "array/model/array.h"
#include "array/util/bytes.h"
#include "tests/support/memstore.h"
#include "tests/support/simreactor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void nothing(void *arg, int err)
{
	(void)arg;
	(void)err;
}

static void stopped(void *arg)
{
	(void)arg;
}

static void make_disks(struct store *s)
{
	struct store_txn *t = s->ops->txn_begin(s);
	struct store_disk *d;

	for (int i = 0; i < 4; i++)
		assert(s->ops->txn_disk_create(t, 1 << 20, &d) == 0);
	s->ops->txn_commit(t, nothing, NULL);
	s->ops->close(s, nothing, NULL);
}

static void put_records(struct memstore *m, const uint8_t *data, size_t size)
{
	static uint8_t value[STORE_VALUE_MAX_BYTES];

	while (size >= 4) {
		enum store_table table = STORE_TABLE_META + data[0] % (STORE_TABLE_COUNT - 1);
		size_t key_len = data[1], len = get_be16(data + 2);

		data += 4;
		size -= 4;
		if (key_len == 0 || key_len > size || len > size - key_len || len > sizeof(value) - 4)
			return;
		memcpy(value, data + key_len, len);
		put_be32(value + len, XXH32(value, len, XXH32(data, key_len, (uint32_t)table)));
		memstore_record_put(m, table, data, key_len, value, len + 4);
		data += key_len + len;
		size -= key_len + len;
	}
}

/* Reads through everything; the number of things. */
static unsigned walk(struct array *a)
{
	unsigned count = 0;
	struct lun_recycled_view bin;
	struct set_view v;
	struct lun *l;

	for (l = lun_next(a, NULL); l; l = lun_next(a, l)) {
		assert(lun_find(a, l->id) == l && lun_find_name(a, l->name) == l);
		count++;
	}
	for (struct host *h = host_next(a, NULL); h; h = host_next(a, h)) {
		assert(host_find(a, host_record_of(h)->name) == h);
		for (uint32_t n = map_next(h, 0, &l); n; n = map_next(h, n, &l))
			assert(map_number(h, l) == n);
		count++;
	}
	for (struct set *s = set_next(a, NULL); s; s = set_next(a, s)) {
		set_view_of(s, &v);
		for (unsigned i = 0; v.state != UP_SET_ABORTED && i < v.member_count; i++)
			assert(lun_find(a, v.members[i].shadow_id));
		count++;
	}
	for (bool is = lun_recycled_next(a, NULL, &bin); is; is = lun_recycled_next(a, bin.id, &bin)) {
		assert(!lun_find(a, bin.id) && bin.purge_unix_ms >= bin.deleted_unix_ms);
		count++;
	}
	return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reactor *r = simreactor_create();
	struct memstore *m = memstore_create(0);
	struct array_options options = {.reactor = r, .name = "fuzz"};
	struct fault fault;

	make_disks(memstore_open(m, r));
	put_records(m, data, size);
	for (int round = 0; round < 2; round++) {
		struct array *a;
		int err;

		options.store = memstore_open(m, r);
		err = array_open(&options, &a, &fault);
		assert(err == 0 || (round == 0 && (err == -EUCLEAN || err == -ENOTSUP)));
		if (!err) {
			walk(a);
			simreactor_advance(r, 1300000);
			walk(a);
			array_stop(a, stopped, NULL);
			array_close(a);
		}
		options.store->ops->close(options.store, nothing, NULL);
		if (err)
			break;
	}
	memstore_destroy(m);
	simreactor_destroy(r);
	return 0;
}
