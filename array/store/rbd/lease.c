/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who owns the array. The owner writes its name and a rising count, the beat, into the catalogue's header, and holds the lease
 * for LEASE_MS from when it sent a beat that was answered. Who wants the array watches the beat: when it has stood still for
 * longer than any lease, by its own clock alone, the owner holds none.
 *
 * Taking it is three steps, each whole: (1) the epoch rises, if neither it nor the beat has moved, and the old owner's addresses
 * go to the fence; from here on it changes nothing in the catalogue; (2) Ceph locks these addresses out; from here on it writes to
 * no image; (3) the fence is empty again. A taker that dies in between leaves the fence to the next one. So does one that may not lock
 * out: it gives the array back, and what follows it has not to lock it out as well.
 *
 * An owner on this machine whose process is gone need not be waited for. Its operations may still be on their way: it is fenced
 * like any other. Of this machine is who has its boot and its address to Ceph: two clones of a machine that ran have one boot.
 */
#include "array/store/rbd/rbd.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LEASE_MS    6000u
#define WATCH_MS    7000u /* longer, for clocks that do not run alike */
#define BEAT_MS     1500u
#define LOOK_MS     250u
#define STILL_BEATS 20u /* that librados's threads may deliver nothing, while Ceph answers */
/* Of the one who stands by, at what the catalogue holds: at once when the owner says that it has changed, but no oftener than the
 * one, and no more seldom than the other. */
#define FOLLOW_GAP_MS  100u
#define FOLLOW_SLOW_MS 10000u

/* ---- who we are ---- */

static void owner_self(struct rbd_owner *o, const struct rbd_cluster *c)
{
	memset(o, 0, sizeof(*o));
	snprintf(o->addresses, sizeof(o->addresses), "%s", c->addresses);
	process_self(&o->process);
	if (gethostname(o->host, sizeof(o->host) - 1))
		o->host[0] = 0;
	o->host[strcspn(o->host, "|")] = 0;
}

/* ---- the header ---- */

struct head {
	char format[24], epoch[24], beat[24], owner[512], fence[4096], home[RBD_HOME_BYTES];
};

static int head_read(struct rbd_store *s, struct head *h)
{
	rados_ioctx_t io = s->cluster.io;
	int err = rbd_catalogue_header(io, s->object, RBD_HEAD_FORMAT, h->format, sizeof(h->format));

	if (!err)
		err = rbd_catalogue_header(io, s->object, RBD_HEAD_EPOCH, h->epoch, sizeof(h->epoch));
	if (!err)
		err = rbd_catalogue_header(io, s->object, RBD_HEAD_OWNER, h->owner, sizeof(h->owner));
	if (!err)
		err = rbd_catalogue_header(io, s->object, RBD_HEAD_FENCE, h->fence, sizeof(h->fence));
	if (!err)
		err = rbd_catalogue_header(io, s->object, RBD_HEAD_HOME, h->home, sizeof(h->home));
	/* Last: what is read before it is of an older beat or of this one. */
	if (!err)
		err = rbd_catalogue_header(io, s->object, RBD_HEAD_BEAT, h->beat, sizeof(h->beat));
	return err;
}

static int operate(struct rbd_store *s, rados_write_op_t op)
{
	int err = rados_write_op_operate(op, s->cluster.io, s->object, NULL,
		LIBRADOS_OPERATION_FULL_FORCE | LIBRADOS_OPERATION_FULL_TRY);

	rados_release_write_op(op);
	return err;
}

/* ---- standing by ---- */

static void pause_ms(unsigned ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	nanosleep(&t, NULL);
}

/* Whose answers are to be believed. */
static void epoch_seen(struct rbd_store *s, const struct head *h)
{
	uint64_t epoch = 0;

	if (!h->owner[0] || !rbd_number_parse(h->epoch, &epoch))
		epoch = 0;
	atomic_store(&s->wire.epoch, epoch);
}

/* What there is is told, if it may have changed. */
static void follow(struct rbd_store *s, const struct store_standby *to, bool news)
{
	uint64_t since_ms = clock_boot_ms() - s->looked_ms;

	if (news && s->looked_ms && since_ms < FOLLOW_GAP_MS)
		pause_ms(FOLLOW_GAP_MS - (unsigned)since_ms);
	if (news || !s->looked_ms || since_ms >= FOLLOW_SLOW_MS)
		if (rbd_standby_look(s, to) == -EAGAIN)
			rbd_wire_news(s);
}

/* Waits a moment, or less where there is news. */
static void wait_a_moment(struct rbd_store *s, const struct store_module_options *o)
{
	if (o->standby)
		follow(s, o->standby, rbd_wire_await(s, LOOK_MS));
	else
		pause_ms(LOOK_MS);
}

/* What was given back. */
static bool may_take(const struct store_module_options *o)
{
	return !o->standby || !o->standby->may_take || o->standby->may_take(o->standby->arg);
}

/* Its process is of this machine, which Ceph says as well, and there no more. */
static bool is_gone(const struct rbd_store *s, const struct rbd_owner *owner)
{
	return rbd_address_same_host(owner->addresses, s->cluster.addresses) && process_gone(&owner->process);
}

/* Waits until nobody holds a lease any more. 0; -EBUSY: the owner lives, and *h is of now; -ECANCELED. */
static int watch(
	struct rbd_store *s, const struct store_module_options *o, struct head *h, struct rbd_owner *owner)
{
	uint64_t begun_ms = clock_boot_ms();
	char epoch[24], beat[24];

	memcpy(epoch, h->epoch, sizeof(epoch));
	memcpy(beat, h->beat, sizeof(beat));
	while (clock_boot_ms() - begun_ms < WATCH_MS && !is_gone(s, owner)) {
		int err;

		if (o->standby && !o->standby->waits(o->standby->arg, owner->host))
			return -ECANCELED;
		wait_a_moment(s, o);
		err = head_read(s, h);
		if (err)
			return err;
		epoch_seen(s, h);
		rbd_cards_tend(s);
		if (strcmp(epoch, h->epoch) != 0 || strcmp(beat, h->beat) != 0) {
			if (strcmp(epoch, h->epoch) == 0)
				rbd_cards_lease(s, h->epoch, owner, true);
			return -EBUSY;
		}
		if (!h->owner[0])
			return may_take(o) ? 0 : -EBUSY;
	}
	return 0;
}

static int lock_out(
	struct rbd_store *s, const char *addresses, const struct store_module_options *o, struct fault *f)
{
	int err = rbd_cluster_blocklist(&s->cluster, addresses);

	return err < 0 ? rbd_open_fault(f, err, o, "lock the array's old owner out (ceph osd blocklist)") : 0;
}

static int claim(struct rbd_store *s, const struct head *h, const struct rbd_owner *old,
	const struct store_module_options *o, struct fault *f)
{
	char text[512], both[sizeof(h->fence) + sizeof(old->addresses) + 1];
	const char *fence = both;
	uint64_t beat = 0;
	struct rbd_owner self;
	rados_write_op_t op;
	int err;

	if (!rbd_number_parse(h->epoch, &s->epoch) || !rbd_number_parse(h->beat, &beat))
		return -EUCLEAN;
	snprintf(both, sizeof(both), "%s%s%s", h->fence, h->fence[0] && old->addresses[0] ? " " : "",
		old->addresses);
	if (strlen(both) >= sizeof(h->fence)) { /* takers that died: none of them has a lease */
		err = lock_out(s, h->fence, o, f);
		if (err)
			return err;
		fence = old->addresses;
	}
	op = rbd_catalogue_op(s->epoch++);
	rbd_op_cmp_text(op, RBD_HEAD_BEAT, h->beat);
	rbd_op_cmp_text(op, RBD_HEAD_OWNER, h->owner);
	rbd_op_cmp_text(op, RBD_HEAD_FENCE, h->fence);
	snprintf(text, sizeof(text), "%" PRIu64, s->epoch);
	rbd_op_set_text(op, RBD_HEAD_EPOCH, text);
	snprintf(text, sizeof(text), "%" PRIu64, beat + 1);
	rbd_op_set_text(op, RBD_HEAD_BEAT, text);
	owner_self(&self, &s->cluster);
	rbd_owner_format(text, &self);
	rbd_op_set_text(op, RBD_HEAD_OWNER, text);
	rbd_op_set_text(op, RBD_HEAD_FENCE, fence);
	if (!h->home[0])
		rbd_op_set_text(op, RBD_HEAD_HOME, s->cluster.home);
	s->lease.beat = beat + 1;
	uint64_t sent_ms = clock_boot_ms();
	err = operate(s, op);
	if (err)
		return err == -ECANCELED ? -EBUSY : err;
	atomic_store(&s->lease.valid_until_ms, sent_ms + LEASE_MS);
	atomic_store(&s->wire.epoch, 0);
	s->fenced_addresses = strdup(both);
	return s->fenced_addresses ? 0 : -ENOMEM;
}

static int fence(struct rbd_store *s, const struct store_module_options *o, struct fault *f)
{
	rados_write_op_t op;
	int err;

	if (!s->fenced_addresses[0])
		return 0;
	err = lock_out(s, s->fenced_addresses, o, f);
	if (err)
		return err;
	op = rbd_catalogue_op(s->epoch);
	rbd_op_set_text(op, RBD_HEAD_FENCE, "");
	err = operate(s, op);
	return err < 0 ? rbd_open_fault(f, err, o, "take the array") : 0;
}

/* ---- renewing ---- */

void rbd_lease_lost(struct rbd_lease *l, const char *reason)
{
	bool no = false;

	pthread_mutex_lock(&l->lock);
	if (atomic_compare_exchange_strong(&l->telling, &no, true)) {
		snprintf(l->reason, sizeof(l->reason), "%s", reason);
		atomic_store(&l->lost, true);
		reactor_post(l->s->base.reactor, &l->gone);
	}
	pthread_mutex_unlock(&l->lock);
}

static void gone(struct reactor_message *m)
{
	struct rbd_lease *l = container_of(m, struct rbd_lease, gone);
	struct rbd_store *s = l->s;

	rbd_io_fenced(s);
	if (s->fenced && !s->closing)
		s->fenced(s->notice_arg, l->reason);
}

static void renewed(struct reactor_message *m)
{
	struct rbd_lease *l = container_of(m, struct rbd_lease, renewed);

	atomic_store(&l->renewed_posted, false);
	rbd_io_lease_back(l->s);
}

static void beat(struct rbd_lease *l)
{
	struct rbd_store *s = l->s;
	uint64_t sent_ms = clock_boot_ms();
	rados_write_op_t op = rbd_catalogue_op(s->epoch);
	bool was_out = sent_ms >= atomic_load(&l->valid_until_ms), no = false;
	char text[24], epoch[24];
	int err;

	snprintf(epoch, sizeof(epoch), "%" PRIu64, s->epoch);
	snprintf(text, sizeof(text), "%" PRIu64, ++l->beat);
	rbd_op_set_text(op, RBD_HEAD_BEAT, text);
	err = operate(s, op);
	if (err == 0) {
		rbd_cards_lease(s, epoch, NULL, true);
		was_out = was_out || clock_boot_ms() >= atomic_load(&l->valid_until_ms);
		atomic_store(&l->valid_until_ms, sent_ms + LEASE_MS);
		if (was_out && atomic_compare_exchange_strong(&l->renewed_posted, &no, true))
			reactor_post(s->base.reactor, &l->renewed);
	} else if (err == -ECANCELED || err == -ENOENT) {
		rbd_lease_lost(l, err == -ENOENT ? "the array's catalogue has been deleted from Ceph's pool"
						 : "another umbrad has taken the array");
	} else if (err == -ESHUTDOWN) {
		rbd_lease_lost(l,
			"Ceph has locked this umbrad out: another one has taken the array, or an administrator did it (ceph "
			"osd blocklist ls)");
	}
	/* What else there may be is tried again. */
}

/*
 * What librados's threads are to deliver is not needed for a beat. So they are looked at besides: an answer that is there, and is not
 * delivered over many beats, never will be, and then all I/O stands still while the array is still held. It is given up: hosts have the
 * other path, or the next start. Beats are counted, not seconds, for a machine that was asleep.
 */
static void delivered(rados_completion_t c, void *arg)
{
	struct rbd_lease *l = arg;

	(void)c;
	atomic_store(&l->delivered, true);
}

static void pulse_end(struct rbd_lease *l)
{
	if (l->pulse)
		rados_aio_release(l->pulse);
	l->pulse = NULL;
}

/* Nothing of it comes any more: not waited for where it never would. */
static void pulse_stop(struct rbd_lease *l)
{
	if (!l->pulse || (l->still > atomic_load(&l->still_max) && !atomic_load(&l->delivered)))
		return;
	while (!rados_aio_is_complete(l->pulse)) {
		rados_aio_cancel(
			l->s->cluster.io, l->pulse); /* again, where it is just sent to another OSD */
		pause_ms(1);
	}
	rados_aio_wait_for_complete_and_cb(l->pulse);
	pulse_end(l);
}

static void pulse(struct rbd_lease *l)
{
	struct rbd_store *s = l->s;

	if (l->pulse && !atomic_load(&l->delivered)) {
		l->still += rados_aio_is_complete(l->pulse);
		if (l->still > atomic_load(&l->still_max))
			rbd_lease_lost(
				l, "the threads of Ceph's library stand still, and this umbrad with them");
		return;
	}
	pulse_end(l);
	l->still = 0;
	atomic_store(&l->delivered, false);
	if (rados_aio_create_completion2(l, delivered, &l->pulse) < 0)
		l->pulse = NULL;
	else if (rados_aio_stat(s->cluster.io, s->object, l->pulse, &l->pulse_size, &l->pulse_when) < 0)
		pulse_end(l);
}

static void *renew(void *arg)
{
	struct rbd_lease *l = arg;

	pthread_mutex_lock(&l->lock);
	while (!l->end && !atomic_load(&l->lost)) {
		struct timespec t;

		pthread_mutex_unlock(&l->lock);
		beat(l);
		pulse(l);
		rbd_cards_tend(l->s);
		clock_gettime(CLOCK_MONOTONIC, &t);
		t.tv_sec += BEAT_MS / 1000;
		t.tv_nsec += (long)(BEAT_MS % 1000) * 1000000;
		if (t.tv_nsec >= 1000000000) {
			t.tv_nsec -= 1000000000;
			t.tv_sec++;
		}
		pthread_mutex_lock(&l->lock);
		while (!l->end && !atomic_load(&l->lost) &&
			pthread_cond_timedwait(&l->more, &l->lock, &t) == 0)
			;
	}
	pthread_mutex_unlock(&l->lock);
	return NULL;
}

void rbd_lease_init(struct rbd_store *s)
{
	struct rbd_lease *l = &s->lease;
	pthread_condattr_t attr;

	l->s = s;
	atomic_store(&l->still_max, STILL_BEATS);
	l->renewed.call = renewed;
	l->gone.call = gone;
	pthread_mutex_init(&l->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&l->more, &attr);
	pthread_condattr_destroy(&attr);
}

void rbd_lease_fini(struct rbd_store *s)
{
	assert(!s->lease.running);
	pthread_cond_destroy(&s->lease.more);
	pthread_mutex_destroy(&s->lease.lock);
}

static int renew_start(struct rbd_lease *l)
{
	sigset_t all, before;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&l->thread, NULL, renew, l);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	l->running = !err;
	return -err;
}

/* Its records were copied with a pool. Who has the original serves the same disks, and neither knows of the other. */
static int is_copy(const struct rbd_store *s, const struct head *h, struct fault *f)
{
	bool here = strncmp(h->home, s->cluster.home, strcspn(h->home, " ")) == 0;

	return fault_set(f, -EXDEV,
		"the array %s was made in another %s: this is a copy, with the same disks to hosts. Give it ids of its own (umbractl "
		"rbd reidentify; with --keep-ids where the other one is gone for good)",
		s->array, here ? "pool or namespace" : "cluster");
}

/* One try, whose fault is set where the error alone does not say it. */
static int try_take(
	struct rbd_store *s, const struct store_module_options *o, struct rbd_owner *owner, struct fault *f)
{
	struct head h;
	int err = head_read(s, &h);

	memset(owner, 0, sizeof(*owner));
	if (err == -ENOENT)
		return fault_set(f, err,
			"the pool %s holds no array named %s: is it the right cluster (ceph fsid), pool and namespace? Else make it "
			"(umbractl rbd create)",
			o->ceph_pool, s->array);
	if (!err && !h.format[0]) /* its records were cleared */
		return -EUCLEAN;
	if (!err && strcmp(h.format, RBD_FORMAT) != 0)
		return fault_set(f, -EPROTONOSUPPORT,
			"the catalogue of the array %s has the format %s, and this umbrad knows %s: take a newer umbrad",
			s->array, h.format, RBD_FORMAT);
	if (!err && h.home[0] && !o->moved && strcmp(h.home, s->cluster.home) != 0)
		return is_copy(s, &h, f);
	if (!err && !h.owner[0] && !may_take(o)) {
		const struct timespec t = {.tv_nsec = LOOK_MS * 1000000L};

		rbd_cards_lease(s, h.epoch, owner, false); /* whoever had it last */
		rbd_cards_tend(s);
		nanosleep(&t, NULL);
		return o->standby->waits(o->standby->arg, "") ? -EBUSY : -ECANCELED;
	}
	if (!err && h.owner[0]) {
		if (!rbd_owner_parse(h.owner, owner))
			return -EUCLEAN;
		rbd_cards_lease(s, h.epoch, owner, false);
		epoch_seen(s, &h);
		/* Without a word from the owner, at each beat. */
		if (o->standby)
			follow(s, o->standby, !rbd_wire_listens(s));
		err = watch(s, o, &h, owner);
		if (!h.owner[0])
			memset(owner, 0, sizeof(*owner));
	}
	/* librados draws its address' number at random, and a process that was forked draws like its parent. */
	if (!err && (strcmp(owner->addresses, s->cluster.addresses) == 0 ||
			    strstr(h.fence, s->cluster.addresses)))
		return fault_set(f, -EADDRINUSE,
			"this umbrad has the same address to Ceph as the one that it follows (%s): start it again",
			s->cluster.addresses);
	return err ? err : claim(s, &h, owner, o, f);
}

int rbd_lease_take(struct rbd_store *s, const struct store_module_options *o, struct fault *f)
{
	struct rbd_owner owner;
	struct fault why = {0};
	int err;

	err = rbd_cards_join(s, &why);
	if (!err)
		do
			err = try_take(s, o, &owner, &why);
		while (err == -EBUSY && o->standby);
	if (why.err) {
		if (f)
			*f = why;
		return why.err;
	}
	if (err == -ECANCELED)
		return fault_set(f, err, "the wait for the array was ended: start umbrad again");
	if (err == -EBUSY)
		return fault_set(f, err,
			"another umbrad owns the array %s of the pool %s (on %s, process %" PRIu64
			"): stop it first",
			s->array, o->ceph_pool, owner.host[0] ? owner.host : "another machine",
			owner.process.pid);
	if (err == -EUCLEAN)
		return fault_set(f, err,
			"the catalogue of the array (object %s) is damaged: its header is not in known words; nothing "
			"was changed",
			s->object);
	if (err < 0)
		return rbd_open_fault(f, err, o, "read and write the array's catalogue");
	/* Renewed from now on: locking many out takes a while. And what is not locked out is left to who follows, with the array. */
	if (renew_start(&s->lease))
		return fault_set(f, -ENOMEM, FAULT_NO_MEMORY);
	err = fence(s, o, f);
	if (!err && owner.addresses[0] && s->cards.user)
		s->cards.user->fenced(s->cards.user->arg, &owner.process);
	return err;
}

void rbd_lease_release(struct rbd_store *s)
{
	struct rbd_lease *l = &s->lease;

	if (!l->running)
		return;
	pthread_mutex_lock(&l->lock);
	l->end = true;
	pthread_cond_broadcast(&l->more);
	pthread_mutex_unlock(&l->lock);
	pthread_join(l->thread, NULL);
	l->running = false;
	pulse_stop(l);
	if (!atomic_load(&l->lost) && s->destroy) {
		s->close_err = rbd_destroy_catalogue(s);
	} else if (!atomic_load(&l->lost)) {
		rados_write_op_t op = rbd_catalogue_op(s->epoch);

		rbd_cards_leave(s);
		rbd_op_set_text(op, RBD_HEAD_OWNER, "");
		operate(s, op);
	}
}
