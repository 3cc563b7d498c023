/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every sequence of three operations, and the power goes at every write, sync and commit of it: afterwards each flushed
 * sector is there, every other one is old or new by itself (what was not synced is torn in sectors of 512 bytes, any
 * mixture of it survives), every acknowledged set holds its cut, and a check finds nothing. Each sequence is tried with
 * its operations one after the other, and with each begun while those before are under way, in an order of the
 * machine's events that the seed draws.
 *
 * A state is one sequence with one place of the power loss. There are 38,000, and each is many, for what the cache loses and in
 * which order things happen the seed draws. That is too much for each run: UMBRA_TEST_RUNS says how many are taken, spread over all
 * sequences (0: all, with one seed after the other, until there are 200,000); another seed takes others. Beyond them the power goes
 * once behind each sequence whose places are all taken.
 */
#include <stdio.h>
#include <stdlib.h>
#include "tests/support/test.h"
#include "tests/unit/store/world.h"

enum step {
	WRITE,
	OVERWRITE,
	UNMAP,
	FLUSH,
	SET,
	DELETE,
	RESYNC,
	RECORD,
	RESIZE,
	HYDRATE,
	GROW,
	PACK,
	STEPS
};

static const char *const step_names[STEPS] = {"write", "overwrite", "unmap", "flush", "set", "delete",
	"resync", "record", "resize", "hydrate", "grow", "pack"};

#define SEQUENCES    (2 * STEPS * STEPS * STEPS) /* one after the other, and overlapped */
#define LENGTH       3u
#define STATES       10000u
#define STATES_ALL   200000u
#define PLACES_DRAWN 16u /* where a part of the states begins */

#define CHUNKS   128u /* in the pool, at first */
#define GROWS_BY 16u

/* The one under way, or the last. */
static struct growth {
	struct store_grow request;
	bool busy;
	unsigned wanted, done; /* how often */
} growth;

static unsigned step_of(unsigned sequence, unsigned i)
{
	for (; i > 0; i--)
		sequence /= STEPS;
	return sequence % STEPS;
}

static struct model *original(struct world *w)
{
	return &w->disk[0];
}

/* The newest copy; NULL: there is none. */
static struct model *copy(struct world *w)
{
	struct model *newest = NULL;

	for (unsigned i = 1; i < WORLD_DISKS; i++) {
		struct model *m = &w->disk[i];

		if (m->disk_id && !m->maybe && !m->held && (!newest || m->disk_id > newest->disk_id))
			newest = m;
	}
	return newest;
}

static void take_set(struct world *w)
{
	struct model *m = original(w);

	world_cut_start(w, &m, 1, false);
}

static void delete_copy(struct world *w)
{
	struct model *m;

	world_drain(w);
	m = copy(w);
	if (m && !world_dead(w))
		world_delete_disk(w, m);
}

static void resync(struct world *w)
{
	struct model *from;

	world_drain(w);
	from = copy(w);
	if (!from || world_dead(w))
		return;
	world_hydrate_cancel(w, original(w));
	if (!world_dead(w))
		world_repoint_start(w, from, original(w));
}

/* What an administrator's change is to the store, a break or a mapping: a record of the catalogue. */
static void put_record(struct world *w)
{
	struct store_txn *t = w->store->ops->txn_begin(w->store);
	struct world_wait wait = {0};

	assert_int_equal(w->store->ops->txn_put(t, STORE_TABLE_HOST, "h", 1, &w->sim.steps, 8), 0);
	w->store->ops->txn_commit(t, world_txn_done, &wait);
	world_txn_wait(w, &wait);
}

static void resize(struct world *w)
{
	world_drain(w);
	if (!world_dead(w))
		world_resize(w, original(w), original(w)->sectors + CHUNK_SECTORS);
}

static void grown(struct store_grow *request, int err)
{
	(void)request;
	growth.busy = false;
	growth.done += !err;
}

/* The pool itself, under whatever else goes on. */
static void grow(struct world *w)
{
	if (growth.busy)
		return;
	growth.busy = true;
	growth.wanted++;
	growth.request = (struct store_grow){.store = w->store,
		.capacity_bytes = (CHUNKS + GROWS_BY * (uint64_t)growth.wanted) << POOL_CHUNK_SHIFT,
		.done = grown};
	w->store->ops->grow(&growth.request);
}

static void grow_end(struct world *w)
{
	while (growth.busy)
		assert_true(sim_step(&w->sim, true));
}

/* What was said to have grown has. */
static void check_capacity(struct world *w)
{
	struct store_stats stats;
	uint64_t chunks;

	w->store->ops->stats(w->store, &stats);
	chunks = stats.capacity_bytes >> POOL_CHUNK_SHIFT;
	assert_true(chunks >= CHUNKS + GROWS_BY * growth.done && chunks <= CHUNKS + GROWS_BY * growth.wanted);
	assert_int_equal(chunks % GROWS_BY, 0);
}

/* apart: so many places further, for two writes under way to one sector may end either way. */
static void begin(struct world *w, enum step step, uint64_t apart)
{
	struct model *m = original(w);

	if (m->next_s) /* a disk's gate is closed while it becomes another */
		world_drain(w);
	if (world_dead(w))
		return;
	switch (step) {
	case WRITE: /* what holds little */
		world_start_write(w, m, CHUNK_SECTORS + 50 + apart * 24, 24);
		break;
	case OVERWRITE: /* what is shared, not by whole blocks, over the edge to the next chunk */
		world_start_write(w, m, CHUNK_SECTORS - 15 + apart * 20, 20);
		break;
	case UNMAP: /* a whole chunk, and parts */
		world_unmap(w, m, 0, 96);
		world_unmap(w, m, CHUNK_SECTORS + 96, CHUNK_SECTORS);
		break;
	case FLUSH:
		world_flush(w, m);
		break;
	case SET:
		take_set(w);
		break;
	case DELETE:
		delete_copy(w);
		break;
	case RESYNC:
		resync(w);
		break;
	case RECORD:
		put_record(w);
		break;
	case RESIZE:
		resize(w);
		break;
	case GROW:
		grow(w);
		break;
	case PACK: /* what a reader of all of it asks for */
		world_pack(w, m, 0, 3);
		break;
	default:
		m = copy(w);
		if (m)
			world_hydrate_start(w, m, 0);
	}
}

/* The sequence, until the power goes. */
static void play(struct world *w, unsigned sequence, bool overlapped)
{
	for (unsigned i = 0; i < LENGTH && !world_dead(w); i++) {
		begin(w, step_of(sequence, i), overlapped ? i : 0);
		if (!overlapped) {
			world_drain(w);
			grow_end(w);
		}
		for (uint64_t k = overlapped ? sim_below(&w->sim, 4) : 0; k > 0; k--)
			sim_step(&w->sim, true);
	}
	world_drain(w);
	grow_end(w);
	if (!world_dead(w))
		world_idle(w);
}

/* An original with some of its chunks flushed, and two copies that share them, one of which lies in three places. */
static void prepare(struct world *w, uint64_t seed)
{
	struct model *m;

	growth = (struct growth){0};
	world_init(w, seed, (uint64_t)CHUNKS << POOL_CHUNK_SHIFT, 1 << 20);
	w->sim.direct = seed & 1;
	w->sim.slow = seed % 4 ? 0 : 8;
	w->packs = 2;
	assert_int_equal(world_open(w), 0);
	m = world_create_disk(w, 3 * CHUNK_SECTORS);
	assert_ptr_equal(m, original(w));
	assert_int_equal(world_write(w, m, 16, CHUNK_SECTORS, 0), 0);
	assert_int_equal(world_flush(w, m), 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(world_cut(w, &m, 1), 0);
		assert_int_equal(world_write(w, m, CHUNK_SECTORS - 16 * (i + 2), 8, 0), 0);
		assert_int_equal(world_flush(w, m), 0);
	}
	world_idle(w);
	w->sim.steps = 0;
}

/* False: the sequence had ended before there were so many places; the power went behind it. */
static bool try_state(unsigned sequence, bool overlapped, uint64_t seed, uint64_t place)
{
	struct world w;
	bool met;

	trace("%s, %s, %s%s: seed %llu, place %llu", step_names[step_of(sequence, 0)],
		step_names[step_of(sequence, 1)], step_names[step_of(sequence, 2)],
		overlapped ? ", overlapped" : "", (unsigned long long)seed, (unsigned long long)place);
	prepare(&w, seed);
	w.sim.off_at = place;
	play(&w, sequence, overlapped);
	met = w.sim.power_off;
	world_recover(&w);
	check_capacity(&w);
	world_end(&w);
	return met;
}

TEST(power_loss_at_every_place_of_every_short_sequence_keeps_what_was_promised)
{
	unsigned wanted = test_runs(STATES), least = wanted ? wanted : STATES_ALL, states = 0, behind = 0;
	uint64_t seed = test_seed();

	for (unsigned i = 0; states < least; i++) { /* and anew, with other seeds, for what is left over */
		uint64_t due = wanted ? (uint64_t)(i + 1) * wanted / SEQUENCES : UINT64_MAX;
		uint64_t place = wanted ? 1 + (seed + i) % PLACES_DRAWN : 1;
		bool met = true;

		if (wanted && due > least)
			due = least;
		for (; states < due && met; place++) {
			met = try_state(i % SEQUENCES / 2, i % 2, seed + i, place);
			states += met;
			behind += !met;
		}
	}
	fprintf(stderr, "%u states; and %u times the power went behind the sequence\n", states, behind);
	assert_true(states >= least);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(power_loss_at_every_place_of_every_short_sequence_keeps_what_was_promised),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
