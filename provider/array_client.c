/* SPDX-License-Identifier: Apache-2.0 */
/* Discovery of arrays and requests to them. See array_client.h. */
#include "provider/array_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>
#include <objbase.h>
#include "proto/identity.h"

#define DEVICES_MAX         288
#define SLOTS               32
#define REDISCOVER_AFTER_MS 250
#define IDENTIFY_LIMIT_MS   5000 /* of discovery, which asks every LUN that may answer */
#define REQUEST_PATIENCE_MS                                                                                  \
	10000 /* outside the commit window an array answers in a second, if only that it works on it */
#define TRIES_PER_PATH 2
#define GAPS_PAUSE_MS                                                                                        \
	1000 /* between two looks for what said nothing; SILENT_MS when such a look takes longer */
#define TAKEOVER_PAUSE_MS 250
#define SILENT_MS         60000 /* so long an array that timed out, or a way over which nothing came, is asked last */

struct array_client {
	struct transport *transport;
	SRWLOCK lock;      /* guards arrays, count, gaps, discovered_ms; never held during I/O */
	SRWLOCK discovery; /* held during a discovery; taken before `lock` */
	unsigned count;
	bool gaps;                 /* the last discovery met a device whose array is not among them */
	struct array_info *arrays; /* ARRAYS_MAX */
	uint64_t discovered_ms, discovery_took_ms, devices_seen; /* of the last one; seen: of_devices */
	uint32_t takeover_limit_ms;
	volatile LONG64 takeover_missed_ms; /* when one was last waited for in vain; 0: never */
	volatile LONG64 next_request_id;
	volatile LONG next_slot;
	uint16_t first_slot; /* random: another process of this host uses others */
};

/* One request's memory: too large for a stack. */
struct request_room {
	struct exchange x;
	struct array_info info;
};

struct array_client *array_client_create(struct transport *t)
{
	struct array_client *c = calloc(1, sizeof(*c));
	GUID random;

	if (!c)
		return NULL;
	c->arrays = calloc(ARRAYS_MAX, sizeof(*c->arrays));
	if (!c->arrays || FAILED(CoCreateGuid(&random))) {
		array_client_destroy(c);
		return NULL;
	}
	c->transport = t;
	c->takeover_limit_ms = TAKEOVER_LIMIT_MS;
	InitializeSRWLock(&c->lock);
	InitializeSRWLock(&c->discovery);
	memcpy((void *)&c->next_request_id, &random, sizeof(c->next_request_id));
	memcpy(&c->first_slot, random.Data4 + 2, sizeof(c->first_slot));
	return c;
}

void array_client_set_takeover_limit(struct array_client *c, uint32_t limit_ms)
{
	c->takeover_limit_ms = limit_ms;
}

void array_client_destroy(struct array_client *c)
{
	if (!c)
		return;
	free(c->arrays);
	free(c);
}

uint64_t array_client_new_request_id(struct array_client *c)
{
	return (uint64_t)InterlockedIncrement64(&c->next_request_id);
}

uint16_t array_client_new_slot(struct array_client *c)
{
	return (uint16_t)(c->first_slot + (ULONG)InterlockedIncrement(&c->next_slot) % SLOTS);
}

/* ---- discovery ------------------------------------------------------------------------------------ */

/* Exchanges one request over an open channel, without retries. 0: the status is UP_OK. */
static int ask(struct array_client *c, struct channel *ch, struct exchange *x, enum up_op op)
{
	struct up_msg *request = &x->reply; /* free until the answer is there */

	up_request_init(request, op, array_client_new_request_id(c));
	int err = exchange_prepare(x, request, array_client_new_slot(c));
	ch->patience_ms = IDENTIFY_LIMIT_MS;
	if (err == 0)
		err = channel_exchange(ch, x, GetTickCount64() + IDENTIFY_LIMIT_MS);
	if (err == 0 && x->reply.status != UP_OK)
		err = -EPROTO;
	return err;
}

/* A command that is late harms nobody on the control LU: what Windows does about it hits no data. */
static unsigned rank(const struct channel_path *p)
{
	if (p->is_shadow)
		return 2;
	return channel_path_controls(p) ? 0 : 1;
}

/* How many of the first `count` ways have the rank and the route of `p`. */
static unsigned alike(const struct array_info *a, unsigned count, const struct channel_path *p)
{
	unsigned found = 0;

	for (unsigned i = 0; i < count; i++)
		found += rank(&a->paths[i]) == rank(p) && a->paths[i].device.route == p->device.route;
	return found;
}

/* Does the way at `i` come after one of that rank and turn? */
static bool is_later(const struct array_info *a, unsigned i, unsigned of_rank, unsigned turn)
{
	unsigned own = rank(&a->paths[i]);

	return own != of_rank ? own > of_rank : alike(a, i, &a->paths[i]) > turn;
}

/* Inserts by rank. Within a rank the routes take turns, so that the first few ways do not fail together. When
 * the table is full the last one falls out. */
static void add_path(struct array_info *a, const struct channel_path *p)
{
	unsigned at = a->path_count, turn = alike(a, a->path_count, p);

	while (at > 0 && is_later(a, at - 1, rank(p), turn))
		at--;
	if (at == ARRAY_PATHS_MAX)
		return;
	unsigned moved = a->path_count - at;
	if (a->path_count == ARRAY_PATHS_MAX)
		moved--;
	else
		a->path_count++;
	memmove(&a->paths[at + 1], &a->paths[at], moved * sizeof(*p));
	a->paths[at] = *p;
}

static bool says_standby(const struct up_msg *identity)
{
	return identity->op == UP_OP_IDENTIFY && up_has(identity, UP_TAG_CAPABILITIES) &&
	       (identity->capabilities & UP_CAP_STANDBY);
}

static void take_identity(struct array_info *a, const struct up_msg *identity)
{
	memcpy(a->id, identity->array_id, UP_ID_BYTES);
	snprintf(a->name, sizeof(a->name), "%s", identity->array_name);
	snprintf(a->initiator, sizeof(a->initiator), "%s", identity->initiator_name);
	a->stands_by = says_standby(identity);
	a->capabilities = a->stands_by ? 0 : identity->capabilities;
	a->max_set_luns = identity->max_set_luns;
	a->commit_budget_ms = identity->commit_budget_ms;
	a->authenticated = identity->authenticated != 0;
	if (!a->name[0])
		up_id_format(a->id, a->name);
}

static struct array_info *array_slot(
	struct array_info *arrays, unsigned *count, const struct up_msg *identity)
{
	for (unsigned i = 0; i < *count; i++) {
		if (memcmp(arrays[i].id, identity->array_id, UP_ID_BYTES) != 0)
			continue;
		if (arrays[i].stands_by)
			take_identity(&arrays[i], identity);
		return &arrays[i];
	}
	if (*count == ARRAYS_MAX)
		return NULL;
	struct array_info *a = &arrays[(*count)++];
	memset(a, 0, sizeof(*a));
	take_identity(a, identity);
	return a;
}

/* One look through the host's devices. Devices on one route fail together. So do those of one array, where
 * the last look has told whose they are: with multipathing the LUNs of all arrays may stand on one route. */
struct tour {
	unsigned device_count, count;
	bool gaps;
	struct array_info *arrays; /* ARRAYS_MAX; owned until they are the client's */
	struct exchange x;
	struct transport_device devices[DEVICES_MAX];
	uint8_t owner[DEVICES_MAX]; /* the last look's array, from 1; 0: not known */
	enum tour_stop {
		STOP_LEFT_OUT, /* not asked, or not yet */
		STOP_TOLD,
		STOP_SILENT
	} stops[DEVICES_MAX];
};

/* Asks one device which array it belongs to and what it is. 0: what there is to know of it is known; -ENOMEM; -ETIMEDOUT:
 * nothing came back. */
static int visit(struct array_client *c, struct tour *t, const struct transport_device *device)
{
	struct channel_path p = {.device = *device};
	uint64_t begun_ms = GetTickCount64();
	struct array_info *a = NULL;
	struct exchange *x = &t->x;
	struct channel ch;

	int err = channel_open(c->transport, &p, &ch);
	if (err == -ENOMEM)
		return err;
	if (err == 0)
		err = channel_inquire(&ch, &p.device.device_type, p.serial);
	if (err == 0)
		err = ask(c, &ch, x, UP_OP_IDENTIFY);
	if (err == 0 && up_has(&x->reply, UP_TAG_ARRAY_ID))
		a = array_slot(t->arrays, &t->count, &x->reply);
	/* The device is there and gave no answer: it may be the only way to an array. Or its array is one too
	 * many for the table. */
	t->gaps = t->gaps || (err < 0 && err != -ENODEV) || (err == 0 && !a);
	p.stands_by = a && says_standby(&x->reply);
	if (p.stands_by && p.device.device_type == 0) {
		/* Of what kind it is the owner knows alone: it is asked when there is no other way. */
		p.is_shadow = true;
		(void)up_id_parse(p.serial, p.lun_id);
	} else if (a && p.device.device_type == 0) {
		err = ask(c, &ch, x, UP_OP_DESCRIBE_LUN);
		if (err == 0 && x->reply.lun_count > 0) {
			memcpy(p.lun_id, x->reply.luns[0].id, UP_ID_BYTES);
			p.is_shadow = x->reply.luns[0].kind != UP_LUN_ORDINARY;
		}
	}
	channel_close(&ch);
	if (a)
		add_path(a, &p);
	/* Windows gives some time-outs back as errors of the device. */
	bool late = GetTickCount64() - begun_ms >= IDENTIFY_LIMIT_MS / 2;
	return err == -ETIMEDOUT || (err < 0 && late) ? -ETIMEDOUT : 0;
}

static bool same_device(const struct transport_device *a, const struct transport_device *b)
{
	return !strcmp(a->name, b->name) && a->is_port == b->is_port && a->path == b->path &&
	       a->target == b->target && a->lun == b->lun;
}

/* To which array the devices belonged at the last look. Only a hint, for names move. */
static void find_owners(struct array_client *c, struct tour *t)
{
	AcquireSRWLockShared(&c->lock);
	for (unsigned i = 0; i < t->device_count; i++)
		for (unsigned n = 0; n < c->count && !t->owner[i]; n++)
			for (unsigned k = 0; k < c->arrays[n].path_count; k++)
				if (same_device(&c->arrays[n].paths[k].device, &t->devices[i]))
					t->owner[i] = (uint8_t)(n + 1);
	ReleaseSRWLockShared(&c->lock);
}

/* Has one of the devices from … to - 1 been silent that fails together with this one? */
static bool is_hopeless(const struct tour *t, unsigned i, unsigned from, unsigned to)
{
	for (unsigned n = from; n < to; n++)
		if (t->stops[n] == STOP_SILENT && t->devices[n].route == t->devices[i].route &&
			t->owner[n] == t->owner[i])
			return true;
	return false;
}

/* A number that is another one where the devices are others: FNV-1a of what tells them apart. */
static uint64_t of_devices(const struct transport_device *devices, unsigned count)
{
	uint64_t hash = UINT64_C(14695981039346656037);

	for (unsigned i = 0; i < count; i++) {
		char text[TRANSPORT_NAME_MAX_BYTES + 32];
		snprintf(text, sizeof(text), "%s %d %u %u %u", devices[i].name, devices[i].is_port,
			devices[i].path, devices[i].target, devices[i].lun);
		for (const char *c = text; *c; c++)
			hash = (hash ^ (uint8_t)*c) * UINT64_C(1099511628211);
	}
	return hash;
}

/* 0, -ENOMEM. */
static int tour_visit(struct array_client *c, struct tour *t, unsigned i)
{
	int err = visit(c, t, &t->devices[i]);

	t->stops[i] = err == -ETIMEDOUT ? STOP_SILENT : STOP_TOLD;
	return err == -ENOMEM ? err : 0;
}

/* After a device that says nothing, those with which it fails together are left out. Then they are asked from the last
 * one on, up to the first that says nothing either: it may have been that one device. So silence costs two time-outs,
 * however many LUNs it takes with it, and what answers is found. */
static int tour_make(struct array_client *c, struct tour *t)
{
	int err = 0;

	find_owners(c, t);
	for (unsigned i = 0; i < t->device_count && !err; i++)
		if (!is_hopeless(t, i, 0, i))
			err = tour_visit(c, t, i);
	for (unsigned i = t->device_count; i-- > 0 && !err;)
		if (t->stops[i] == STOP_LEFT_OUT && !is_hopeless(t, i, i + 1, t->device_count))
			err = tour_visit(c, t, i);
	return err;
}

/* Of what kind a LUN is that only a controller that stands by was asked through, another way to it may have told. */
static void settle_kinds(struct array_info *a)
{
	for (unsigned i = 0; i < a->path_count; i++)
		for (unsigned n = 0; n < a->path_count; n++)
			if (a->paths[i].stands_by && !a->paths[n].stands_by &&
				!memcmp(a->paths[i].lun_id, a->paths[n].lun_id, UP_ID_BYTES))
				a->paths[i].is_shadow = a->paths[n].is_shadow;
}

static struct tour *tour_create(void)
{
	struct tour *t = calloc(1, sizeof(*t));

	if (t)
		t->arrays = calloc(ARRAYS_MAX, sizeof(*t->arrays));
	if (t && !t->arrays) {
		free(t);
		t = NULL;
	}
	return t;
}

static void tour_free(struct tour *t)
{
	if (t)
		free(t->arrays);
	free(t);
}

/* How many arrays there are now, or -ENOMEM: then what was known stays, for a list with gaps would make LUNs look gone.
 * not_before_ms: nothing is done when a discovery has ended since. */
static int discover_since(struct array_client *c, uint64_t not_before_ms)
{
	int err = -ENOMEM;

	AcquireSRWLockExclusive(&c->discovery);
	AcquireSRWLockShared(&c->lock);
	bool fresh = c->discovered_ms && c->discovered_ms >= not_before_ms;
	int known = (int)c->count;
	ReleaseSRWLockShared(&c->lock);
	if (fresh) {
		ReleaseSRWLockExclusive(&c->discovery);
		return known;
	}
	struct tour *t = tour_create();
	uint64_t begun_ms = GetTickCount64();
	if (t) {
		t->device_count = c->transport->ops->enumerate(c->transport, t->devices, DEVICES_MAX);
		err = tour_make(c, t);
	}
	for (unsigned i = 0; t && i < t->count; i++)
		settle_kinds(&t->arrays[i]);
	if (!err) {
		AcquireSRWLockExclusive(&c->lock);
		struct array_info *old = c->arrays;
		c->arrays = t->arrays;
		c->count = t->count;
		c->gaps = t->gaps;
		c->discovered_ms = GetTickCount64();
		c->discovery_took_ms = c->discovered_ms - begun_ms;
		c->devices_seen = of_devices(t->devices, t->device_count);
		ReleaseSRWLockExclusive(&c->lock);
		known = (int)t->count;
		t->arrays = old;
	}
	tour_free(t);
	ReleaseSRWLockExclusive(&c->discovery);
	return err ? err : known;
}

unsigned array_client_discover(struct array_client *c)
{
	int count = discover_since(c, UINT64_MAX);

	return count < 0 ? 0 : (unsigned)count;
}

void array_client_refresh(struct array_client *c)
{
	struct transport_device *devices = calloc(DEVICES_MAX, sizeof(*devices));
	uint64_t now_ms = GetTickCount64();

	if (!devices)
		return;
	unsigned count = c->transport->ops->enumerate(c->transport, devices, DEVICES_MAX);
	AcquireSRWLockShared(&c->lock);
	uint64_t pause_ms = c->discovery_took_ms < GAPS_PAUSE_MS ? GAPS_PAUSE_MS : SILENT_MS;
	bool due = c->discovered_ms && (c->devices_seen != of_devices(devices, count) ||
					       (c->gaps && now_ms - c->discovered_ms >= pause_ms));
	ReleaseSRWLockShared(&c->lock);
	free(devices);
	if (due)
		(void)discover_since(c, now_ms);
}

bool array_client_has_gaps(struct array_client *c)
{
	AcquireSRWLockShared(&c->lock);
	bool gaps = c->gaps;
	ReleaseSRWLockShared(&c->lock);
	return gaps;
}

int array_client_info(struct array_client *c, const uint8_t array_id[UP_ID_BYTES], struct array_info *out)
{
	int err = -ENOENT;

	AcquireSRWLockShared(&c->lock);
	for (unsigned i = 0; i < c->count; i++) {
		if (memcmp(c->arrays[i].id, array_id, UP_ID_BYTES) == 0) {
			*out = c->arrays[i];
			err = 0;
		}
	}
	ReleaseSRWLockShared(&c->lock);
	return err;
}

void array_client_name(
	struct array_client *c, const uint8_t array_id[UP_ID_BYTES], char out[UP_NAME_MAX_BYTES + 1])
{
	up_id_format(array_id, out);
	AcquireSRWLockShared(&c->lock);
	for (unsigned i = 0; i < c->count; i++)
		if (memcmp(c->arrays[i].id, array_id, UP_ID_BYTES) == 0)
			memcpy(out, c->arrays[i].name, sizeof(c->arrays[i].name));
	ReleaseSRWLockShared(&c->lock);
}

unsigned array_client_ids(struct array_client *c, uint8_t ids[ARRAYS_MAX][UP_ID_BYTES])
{
	AcquireSRWLockShared(&c->lock);
	unsigned count = c->count;
	for (unsigned i = 0; i < count; i++)
		memcpy(ids[i], c->arrays[i].id, UP_ID_BYTES);
	ReleaseSRWLockShared(&c->lock);
	return count;
}

/* ---- requests ------------------------------------------------------------------------------------- */

/* The way over this device, and what shares its route. */
static void mark_silent(struct array_info *a, const struct transport_device *device, uint64_t until_ms)
{
	for (unsigned n = 0; n < a->path_count; n++) {
		const struct transport_device *d = &a->paths[n].device;
		bool same = d->route ? d->route == device->route : !strcmp(d->name, device->name);
		if (same)
			a->paths[n].silent_until_ms = until_ms;
	}
}

void array_client_silent(
	struct array_client *c, const uint8_t array_id[UP_ID_BYTES], const struct transport_device *device)
{
	uint64_t until_ms = GetTickCount64() + SILENT_MS;

	AcquireSRWLockExclusive(&c->lock);
	for (unsigned i = 0; i < c->count; i++)
		if (memcmp(c->arrays[i].id, array_id, UP_ID_BYTES) == 0)
			mark_silent(&c->arrays[i], device, until_ms);
	ReleaseSRWLockExclusive(&c->lock);
}

/* Something came back over this device: it is no silent one any more. Of its neighbours that tells nothing. */
static void mark_heard(struct array_info *a, const struct transport_device *device)
{
	for (unsigned n = 0; n < a->path_count; n++)
		if (same_device(&a->paths[n].device, device))
			a->paths[n].silent_until_ms = 0;
}

static void remember_heard(
	struct array_client *c, struct array_info *info, const struct transport_device *device)
{
	mark_heard(info, device);
	AcquireSRWLockExclusive(&c->lock);
	for (unsigned i = 0; i < c->count; i++)
		if (memcmp(c->arrays[i].id, info->id, UP_ID_BYTES) == 0)
			mark_heard(&c->arrays[i], device);
	ReleaseSRWLockExclusive(&c->lock);
}

/* Whether the way over this device leads to the owner of its array. */
static void mark_standby(struct array_info *a, const struct transport_device *device, bool stands_by)
{
	for (unsigned n = 0; n < a->path_count; n++)
		if (same_device(&a->paths[n].device, device))
			a->paths[n].stands_by = stands_by;
}

static void remember_standby(struct array_client *c, struct array_info *info,
	const struct transport_device *device, bool stands_by)
{
	mark_standby(info, device, stands_by);
	AcquireSRWLockExclusive(&c->lock);
	for (unsigned i = 0; i < c->count; i++)
		if (memcmp(c->arrays[i].id, info->id, UP_ID_BYTES) == 0)
			mark_standby(&c->arrays[i], device, stands_by);
	ReleaseSRWLockExclusive(&c->lock);
}

static int try_path(
	struct array_client *c, const struct channel_path *p, struct exchange *x, uint64_t deadline_ms)
{
	struct channel ch;
	int err = channel_open(c->transport, p, &ch);

	ch.patience_ms = REQUEST_PATIENCE_MS;
	for (unsigned n = 0; err == 0 && n < TRIES_PER_PATH; n++) {
		err = channel_exchange(&ch, x, deadline_ms);
		if (err == 0) {
			channel_close(&ch);
			return says_standby(&x->reply) ? -ENOTCONN : 0;
		}
		if (err == -EBADMSG) /* somebody else uses this mailbox */
			x->slot = array_client_new_slot(c);
		if (err == -EBADMSG || err == -EIO)
			err = 0; /* once more */
	}
	channel_close(&ch);
	return err ? err : -EIO;
}

/* One way, and what its answer says of it. */
static int try_and_mark(struct array_client *c, struct array_info *info, const struct channel_path *p,
	struct exchange *x, uint64_t deadline_ms)
{
	int err = try_path(c, p, x, deadline_ms);

	if (err == -ETIMEDOUT) {
		array_client_silent(c, info->id, &p->device);
		mark_silent(info, &p->device, UINT64_MAX);
	}
	if ((err == 0 || err == -ENOTCONN) && p->silent_until_ms)
		remember_heard(c, info, &p->device);
	if ((err == 0 || err == -ENOTCONN) && p->stands_by != (err == -ENOTCONN))
		remember_standby(c, info, &p->device, err == -ENOTCONN);
	return err;
}

/* When a way's turn is: those that stand by after the others, then silent ones, those through `not_through` last of all. */
static unsigned turn_of(const struct channel_path *p, const uint8_t *not_through, uint64_t now_ms)
{
	bool last = not_through && memcmp(p->lun_id, not_through, UP_ID_BYTES) == 0;

	return last * 3u + (channel_path_silent(p, now_ms) ? 2 : p->stands_by);
}

/* Tries all ways to the array, in turns. When a way says nothing now, those that share its route go behind the others
 * at once, so that a dead route does not use up the time. -ENOTCONN: no way leads to its owner. */
static int try_paths(struct array_client *c, struct array_info *info, const uint8_t *not_through,
	struct exchange *x, uint64_t deadline_ms)
{
	bool tried[ARRAY_PATHS_MAX] = {false}, stands_by = false;
	uint64_t begun_ms = GetTickCount64();
	int err = -EHOSTUNREACH;

	for (unsigned turn = 0; turn < 6; turn++) {
		for (unsigned i = 0; i < info->path_count; i++) {
			const struct channel_path *p = &info->paths[i];
			if (tried[i] || turn < turn_of(p, not_through, begun_ms))
				continue;
			if (GetTickCount64() >= deadline_ms)
				return -ETIMEDOUT;
			tried[i] = true;
			err = try_and_mark(c, info, p, x, deadline_ms);
			if (err == 0 || err == -ENOMEM || err == -EINPROGRESS)
				return err;
			stands_by = stands_by || err == -ENOTCONN;
		}
	}
	if (stands_by)
		return -ENOTCONN;
	return err == -ETIMEDOUT ? err : -EHOSTUNREACH;
}

/* The same, while one of its controllers is about to take the array over. */
static int try_paths_patiently(struct array_client *c, struct array_info *info, const uint8_t *not_through,
	struct exchange *x, uint64_t deadline_ms)
{
	uint64_t begun_ms = GetTickCount64(), missed_ms = (uint64_t)c->takeover_missed_ms;
	uint64_t until_ms = begun_ms + c->takeover_limit_ms;
	bool patient = !missed_ms || begun_ms - missed_ms >= SILENT_MS;

	if (deadline_ms < until_ms)
		until_ms = deadline_ms;
	for (;;) {
		int err = try_paths(c, info, not_through, x, deadline_ms);
		if (err != -ENOTCONN || !patient)
			return err;
		if (GetTickCount64() + TAKEOVER_PAUSE_MS >= until_ms) {
			InterlockedExchange64(&c->takeover_missed_ms, (LONG64)GetTickCount64());
			return err;
		}
		Sleep(TAKEOVER_PAUSE_MS);
	}
}

static void tell(
	struct array_trouble *t, int err, const struct up_msg *reply, enum up_op op, const char *array)
{
	if (!t)
		return;
	memset(t, 0, sizeof(*t));
	t->op = (uint16_t)op;
	snprintf(t->array, sizeof(t->array), "%s", array);
	if (err == -EPROTO) {
		t->status = reply->status;
		snprintf(t->text, sizeof(t->text), "%s", reply->text);
	} else {
		t->err = err;
	}
}

/* How the last request to it ended. */
static void remember(struct array_client *c, const uint8_t array_id[UP_ID_BYTES], bool silent)
{
	AcquireSRWLockExclusive(&c->lock);
	for (unsigned i = 0; i < c->count; i++)
		if (memcmp(c->arrays[i].id, array_id, UP_ID_BYTES) == 0)
			c->arrays[i].silent_ms = silent ? GetTickCount64() : 0;
	ReleaseSRWLockExclusive(&c->lock);
}

/* The known arrays. Those that have not answered lately come last, so that a LUN of another array does not
 * wait for them. */
static unsigned ids_by_answer(struct array_client *c, uint8_t ids[ARRAYS_MAX][UP_ID_BYTES])
{
	uint64_t now_ms = GetTickCount64();
	unsigned count = 0;

	AcquireSRWLockShared(&c->lock);
	for (int late = 0; late < 2; late++) {
		for (unsigned i = 0; i < c->count; i++) {
			uint64_t since_ms = c->arrays[i].silent_ms;
			bool silent = since_ms && now_ms - since_ms < SILENT_MS;
			if (silent == (late == 1))
				memcpy(ids[count++], c->arrays[i].id, UP_ID_BYTES);
		}
	}
	ReleaseSRWLockShared(&c->lock);
	return count;
}

int array_client_request(struct array_client *c, const uint8_t array_id[UP_ID_BYTES],
	const uint8_t *not_through, struct up_msg *request, struct up_msg *reply,
	struct array_trouble *trouble)
{
	char id_text[UP_SERIAL_BYTES + 1];
	struct request_room *room = malloc(sizeof(*room));

	up_id_format(array_id, id_text);
	if (!room) {
		tell(trouble, -ENOMEM, NULL, (enum up_op)request->op, id_text);
		return -ENOMEM;
	}
	request->request_id = array_client_new_request_id(c);
	room->info.name[0] = '\0';
	uint64_t now = GetTickCount64(), deadline_ms = now + REQUEST_LIMIT_MS;
	int err = exchange_prepare(&room->x, request, array_client_new_slot(c));
	if (err == 0) {
		err = array_client_info(c, array_id, &room->info);
		if (err == 0)
			err = try_paths(c, &room->info, not_through, &room->x, deadline_ms);
		if (err < 0 && err != -ENOMEM && err != -ETIMEDOUT && err != -EINPROGRESS) {
			int known = discover_since(c, now + 1);
			err = known < 0 ? known : array_client_info(c, array_id, &room->info);
			if (err == 0)
				err = try_paths_patiently(c, &room->info, not_through, &room->x, deadline_ms);
		}
		if (err == -ENOENT)
			err = -EHOSTUNREACH;
		if (err == -EINPROGRESS)
			err = -ETIMEDOUT;
		remember(c, array_id, err == -ETIMEDOUT);
	}
	if (err == 0) {
		*reply = room->x.reply;
		if (reply->status != UP_OK)
			err = -EPROTO;
	}
	tell(trouble, err, reply, (enum up_op)request->op, room->info.name[0] ? room->info.name : id_text);
	free(room);
	return err;
}

int array_client_capabilities(struct array_client *c, const uint8_t array_id[UP_ID_BYTES],
	uint64_t *capabilities, struct array_trouble *trouble)
{
	struct up_msg *m = calloc(2, sizeof(*m));

	*capabilities = 0;
	if (!m) {
		tell(trouble, -ENOMEM, NULL, UP_OP_IDENTIFY, "");
		return -ENOMEM;
	}
	up_request_init(&m[0], UP_OP_IDENTIFY, 0);
	int err = array_client_request(c, array_id, NULL, &m[0], &m[1], trouble);
	if (err == 0 && up_has(&m[1], UP_TAG_CAPABILITIES))
		*capabilities = m[1].capabilities;
	free(m);
	return err;
}

bool array_client_offers(struct array_client *c, const uint8_t array_id[UP_ID_BYTES], uint64_t capabilities)
{
	uint64_t known = 0;

	AcquireSRWLockShared(&c->lock);
	for (unsigned i = 0; i < c->count; i++)
		if (memcmp(c->arrays[i].id, array_id, UP_ID_BYTES) == 0)
			known = c->arrays[i].capabilities;
	ReleaseSRWLockShared(&c->lock);
	if (known & capabilities)
		return true;
	return array_client_capabilities(c, array_id, &known, NULL) == 0 && (known & capabilities);
}

static bool is_unknown_here(uint32_t status)
{
	return status == UP_NOT_FOUND || status == UP_NOT_MAPPED;
}

/* One round over the arrays known now. */
static int find_lun_once(struct array_client *c, const uint8_t lun_id[UP_ID_BYTES], struct up_lun *lun,
	uint8_t array_id[UP_ID_BYTES], struct array_trouble *trouble)
{
	uint8_t ids[ARRAYS_MAX][UP_ID_BYTES];
	unsigned count = ids_by_answer(c, ids);
	struct up_msg *m = calloc(2, sizeof(*m));
	struct array_trouble here;
	int result = -ENOENT;

	if (!m) {
		tell(trouble, -ENOMEM, NULL, UP_OP_DESCRIBE_LUN, "");
		return -ENOMEM;
	}
	for (unsigned i = 0; i < count; i++) {
		up_request_init(&m[0], UP_OP_DESCRIBE_LUN, 0);
		memcpy(m[0].lun_id, lun_id, UP_ID_BYTES);
		m[0].has = UP_HAS(UP_TAG_LUN_ID);
		int err = array_client_request(c, ids[i], NULL, &m[0], &m[1], &here);
		if (err == 0 && m[1].lun_count == 1) {
			*lun = m[1].luns[0];
			memcpy(array_id, ids[i], UP_ID_BYTES);
			result = 0;
			break;
		}
		if (err == -EPROTO && is_unknown_here(here.status))
			continue;
		if (result == -ENOENT) {
			result = err ? err : -EIO;
			if (trouble)
				*trouble = here;
		}
	}
	free(m);
	return result;
}

int array_client_find_lun(struct array_client *c, const uint8_t lun_id[UP_ID_BYTES], struct up_lun *lun,
	uint8_t array_id[UP_ID_BYTES], struct array_trouble *trouble)
{
	uint64_t now = GetTickCount64();

	tell(trouble, -EHOSTUNREACH, NULL, UP_OP_DESCRIBE_LUN, "");
	int err = find_lun_once(c, lun_id, lun, array_id, trouble);
	if (err != 0 && err != -ENOMEM) {
		/* A LUN that nobody knows is often asked for, and devices were just looked through. */
		uint8_t ids[ARRAYS_MAX][UP_ID_BYTES];
		bool patient = err == -ENOENT && array_client_ids(c, ids) > 0 && !array_client_has_gaps(c) &&
			       now > REDISCOVER_AFTER_MS;
		int count = discover_since(c, patient ? now - REDISCOVER_AFTER_MS : now + 1);
		if (count < 0)
			tell(trouble, count, NULL, UP_OP_DESCRIBE_LUN, "");
		err = count < 0 ? count
		      : count   ? find_lun_once(c, lun_id, lun, array_id, trouble)
				: -EHOSTUNREACH;
	}
	if (err == -ENOENT && array_client_has_gaps(c)) { /* it may be the LUN of an array that is away */
		tell(trouble, -EHOSTUNREACH, NULL, UP_OP_DESCRIBE_LUN, "");
		err = -EHOSTUNREACH;
	}
	return err;
}
