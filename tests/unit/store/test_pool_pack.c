/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packing (background/pack.c), what can happen to it on its way: power loss at every step, failing reads and writes, hosts that
 * write to the chunk meanwhile, disks that are deleted. What it is good for, and what it costs, is in test_pool_split.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "tests/support/test.h"
#include "array/store/pool/background/background.h"
#include "tests/unit/store/world.h"

#define BLOCK  8u /* sectors */
#define CHUNK  CHUNK_SECTORS
#define CHUNKS 4u

/* A disk each of whose chunks lies in a place of before, and in one split chunk for each of some copies. All is durable. */
static struct model *scattered(struct world *w, uint64_t seed)
{
	struct model *m;

	world_init_split(w, seed, UINT64_C(8) << 20, 1 << 20);
	w->packs = 2;
	assert_int_equal(world_open(w), 0);
	m = world_create_disk(w, CHUNKS * CHUNK);
	assert_int_equal(world_write(w, m, 0, CHUNKS * CHUNK, 0), 0);
	for (unsigned k = 0; k < CHUNKS; k++) {
		world_fork(w, m);
		/* The first who writes a block has it in the first split chunk, the next one in the second. */
		for (unsigned i = 0; i < CHUNKS; i++)
			assert_int_equal(
				world_write(w, m, (k + i) % CHUNKS * CHUNK + 3 * k * BLOCK, 2 * BLOCK, 0), 0);
	}
	assert_int_equal(world_flush(w, m), 0);
	world_settle(w);
	return m;
}

static void end(struct world *w)
{
	struct model *m;

	world_settle(w);
	world_verify(w, false);
	while ((m = world_any_disk(w)))
		assert_int_equal(world_delete_disk(w, m), 0);
	assert_int_equal(world_used(w), 0); /* nothing was lost on the way */
	world_end(w);
}

static void steps(struct world *w, unsigned count)
{
	while (count-- && !world_dead(w))
		sim_step(&w->sim, true);
}

TEST(power_loss_at_every_step_loses_no_data_and_no_block)
{
	uint64_t seed = test_seed();
	unsigned states = 0, packed = 0;
	bool went = true;

	for (unsigned step = 1; went && step < 400; step++) {
		struct world w;
		struct model *m = scattered(&w, seed + step % 8);

		w.sim.off_at = w.sim.steps + step;
		world_pack(&w, m, 0, CHUNKS);
		for (unsigned i = 0; i < 8 && !world_dead(&w); i++)
			world_settle(&w);
		packed += pool_pack_count(world_pool(&w)) > 0;
		went = world_dead(&w);
		states += went;
		world_recover(&w);
		end(&w);
	}
	fprintf(stderr, "%u states, in %u a chunk had been packed\n", states, packed);
	assert_false(went);
	assert_true(states > 10 && packed > 5);
}

/* Long after the frame, with nothing else written: what it speaks of is on the disk. */
TEST(what_was_packed_and_flushed_outlives_the_power)
{
	for (unsigned i = 0; i < 8; i++) {
		struct world w;
		struct model *m = scattered(&w, test_seed() + i);

		world_pack(&w, m, 0, CHUNKS);
		world_settle(&w);
		assert_int_equal(pool_pack_count(world_pool(&w)), CHUNKS);
		assert_int_equal(world_flush(&w, m), 0);
		world_recover(&w);
		end(&w);
	}
}

TEST(a_failing_transfer_leaves_the_chunk_as_it_was)
{
	for (unsigned i = 0; i < 8; i++) {
		struct world w;
		struct model *m = scattered(&w, test_seed() + i);
		uint64_t blocks = world_used_blocks(&w);
		struct list held;

		world_pack(&w, m, 0, 1);
		world_hold(&w, i % 2 ? POOL_OP_READ : POOL_OP_WRITE, &held);
		while (!list_empty(&held)) {
			struct pool_op *op = container_of(list_pop(&held), struct pool_op, link);

			op->done(op, -EIO);
		}
		world_settle(&w);
		assert_int_equal(pool_pack_count(world_pool(&w)), 0);
		assert_int_equal(world_used_blocks(&w), blocks);
		end(&w);
	}
}

/* A host's write, of a chunk that is being packed, comes after it; a chunk that a host is at work on is left alone. */
TEST(a_write_meanwhile_is_not_lost)
{
	for (unsigned i = 0; i < 12; i++) {
		struct world w;
		struct model *m = scattered(&w, test_seed() + i);
		enum pool_op_kind kind = i % 2 ? POOL_OP_READ : POOL_OP_WRITE;
		struct world_io *x;
		struct list held;

		if (i % 3 == 0) {
			x = world_start_write(&w, m, BLOCK, 3 * BLOCK);
			world_hold(&w, POOL_OP_WRITE, &held);
			world_pack(&w, m, 0, 1);
			steps(&w, 100);
			assert_int_equal(pool_pack_count(world_pool(&w)), 0);
			world_release(&w, &held);
		} else {
			world_pack(&w, m, 0, 1);
			world_hold(&w, kind, &held);
			x = world_start_write(&w, m, BLOCK, 3 * BLOCK + i % 3 - 1);
			steps(&w, 100);
			assert_int_equal(m->inflight, 1);
			world_release(&w, &held);
		}
		assert_int_equal(world_wait(&w, x), 0);
		world_verify(&w, false);
		assert_int_equal(world_flush(&w, m), 0);
		world_recover(&w);
		end(&w);
	}
}

/* The disk goes, and reclaim is to free its branch: it waits until the chunk has been packed. */
TEST(a_deletion_meanwhile_waits_for_the_chunk)
{
	for (unsigned i = 0; i < 8; i++) {
		struct world w;
		struct model *m = scattered(&w, test_seed() + i);
		struct list held;

		world_pack(&w, m, 0, CHUNKS);
		world_hold(&w, i % 2 ? POOL_OP_READ : POOL_OP_WRITE, &held);
		for (unsigned k = 0; k < WORLD_DISKS && i % 4 < 2; k++) {
			if (w.disk[k].disk_id && &w.disk[k] != m)
				assert_int_equal(world_delete_disk(&w, &w.disk[k]), 0);
		}
		assert_int_equal(world_delete_disk(&w, m), 0);
		steps(&w, 400);
		world_release(&w, &held);
		end(&w);
	}
}

/* Closing waits for the chunk at hand, not for all that was noted. */
TEST(a_pool_closes_meanwhile)
{
	for (unsigned i = 0; i < 8; i++) {
		struct world w;
		struct model *m = scattered(&w, test_seed() + i);

		struct list held;
		int closed = 0;

		world_pack(&w, m, 0, CHUNKS);
		world_hold(&w, i % 2 ? POOL_OP_READ : POOL_OP_WRITE, &held);
		w.store->ops->close(w.store, world_ended, &closed);
		steps(&w, 400);
		assert_int_equal(closed, 0);
		world_release(&w, &held);
		while (!closed)
			assert_true(sim_step(&w.sim, true));
		assert_int_equal(closed, 1);
		w.store = NULL;
		assert_int_equal(world_check(&w, false), 0);
		assert_int_equal(world_open(&w), 0);
		end(&w);
	}
}

/* Little is free, or somebody waits for a chunk: the room is theirs. */
TEST(nothing_is_packed_while_room_is_short)
{
	struct world w;
	struct model *m = scattered(&w, test_seed());
	struct pool_space *s = &world_pool(&w)->space;
	uint64_t reserved = s->reserved_chunks;

	s->reserved_chunks = world_pool(&w)->super.capacity_chunks - s->used_chunks - 2;
	world_pack(&w, m, 0, CHUNKS);
	world_settle(&w);
	assert_int_equal(pool_pack_count(world_pool(&w)), 0);
	s->reserved_chunks = reserved;
	world_pack(&w, m, 0, CHUNKS);
	world_settle(&w);
	assert_int_equal(pool_pack_count(world_pool(&w)), CHUNKS);
	end(&w);
}

/* Beside a client it rests for what it has worked, not for the time in which there was nothing to do. */
TEST(what_is_noted_later_is_packed_at_once)
{
	struct world w;
	struct model *m = scattered(&w, test_seed());

	w.packs = 0; /* reads note nothing */
	w.sim.event_ns = 1000;
	for (unsigned i = 0; i < CHUNKS; i++) {
		world_pack(&w, m, i, i + 1);
		for (unsigned n = 0; pool_pack_count(world_pool(&w)) <= i; n++) {
			assert_true(n < 10000); /* the timer of a rest would not fire */
			if (n % 8 == 0)
				world_start_read(&w, m, 0, 8);
			sim_step(&w.sim, false);
		}
		while (sim_step(&w.sim, false))
			;
		w.sim.now_ms += 60000; /* and then nobody reads so for a while */
	}
	end(&w);
}

/* However little is noted at a time. */
TEST(what_is_noted_bit_by_bit_is_packed_with_rests)
{
	struct world w;
	struct model *m = scattered(&w, test_seed());

	w.packs = 0;
	w.sim.event_ns = 500000;
	for (unsigned i = 0; i < CHUNKS; i++) {
		bool rested = false;

		world_pack(&w, m, i, i + 1);
		for (unsigned n = 0; pool_pack_count(world_pool(&w)) <= i; n++) {
			assert_true(n < 10000);
			if (n % 8 == 0)
				world_start_read(&w, m, 0, 8);
			rested = rested || pool_pack_rests(world_pool(&w));
			sim_step(&w.sim, !pool_pack_busy(world_pool(&w)));
		}
		assert_int_equal(rested, i > 0); /* for the one before */
	}
	end(&w);
}

/* However many chunks with little room there are before it. */
TEST(room_is_found_wherever_it_is)
{
	static uint16_t little[POOL_GROUP_CHUNKS], much[POOL_GROUP_CHUNKS];
	uint16_t *groups[] = {little, little, little, little, little, little, NULL, much}, open[8];
	struct pool_space s = {.group_count = 8, .split_groups = groups, .split_open = open};
	uint64_t phys = 0;
	unsigned calls = 1;

	memset(open, 0xff, sizeof(open));
	for (unsigned i = 0; i < POOL_GROUP_CHUNKS; i++)
		little[i] = 1u << i % 8;
	much[5] = 0xfff;
	much[6] = 0xff; /* nothing besides */
	much[7] = 0x7f;
	while (pool_split_best(&s, 0xff, &phys) != 0xff)
		assert_true(++calls < 4);
	assert_int_equal(phys, 7 * POOL_GROUP_CHUNKS + 6);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(power_loss_at_every_step_loses_no_data_and_no_block),
		cmocka_unit_test(what_was_packed_and_flushed_outlives_the_power),
		cmocka_unit_test(a_failing_transfer_leaves_the_chunk_as_it_was),
		cmocka_unit_test(a_write_meanwhile_is_not_lost),
		cmocka_unit_test(a_deletion_meanwhile_waits_for_the_chunk),
		cmocka_unit_test(a_pool_closes_meanwhile),
		cmocka_unit_test(nothing_is_packed_while_room_is_short),
		cmocka_unit_test(what_is_noted_later_is_packed_at_once),
		cmocka_unit_test(what_is_noted_bit_by_bit_is_packed_with_rests),
		cmocka_unit_test(room_is_found_wherever_it_is),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
