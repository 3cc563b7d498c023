/* SPDX-License-Identifier: Apache-2.0 */
/* See pair.h. */
#include "array/pair.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <inttypes.h>
#include <net/if.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "array/iscsi/address.h"
#include "array/util/clock.h"

#define LIVES_MS     6000u /* a card is written every second or two */
#define ADDRESSES_MS 500u  /* this machine's may change, and are asked for no oftener */

struct pair {
	struct reactor *reactor;
	struct store_cards cards;
	struct reactor_message message;
	void (*changed)(void *arg);
	void *arg;
	pthread_mutex_t lock; /* guards what follows */
	bool posted, ending;
	struct card own, other;
	struct iscsi_portal portals[CONFIG_PORTALS_MAX];
	unsigned portal_count;
	uint64_t portals_ms; /* our card has had them since then; 0: it has not */
	bool known, lives, gone;
	bool silent;                 /* a store saw its card for seconds, and no change */
	bool fenced;                 /* it was locked out, and its card has not changed since */
	uint64_t lived_ms;           /* 0: not yet */
	uint64_t begun_ms, first_ms; /* we were there; its card was seen first */
	uint64_t looked_ms;          /* it was seen last, by whichever store */
	char problem[256];
	uint64_t epoch, others_epoch, leased_ms;
};

/* ---- our own ---- */

static void add_portal(struct card *c, const struct sockaddr_storage *address, uint16_t port, uint16_t group)
{
	struct iscsi_peer_portal *to = &c->portals[c->portal_count];
	char text[80];

	if (c->portal_count == CARD_PORTALS_MAX)
		return;
	iscsi_address_text(address, text, sizeof(text), false);
	size_t len = strlen(text);
	if (text[0] == '[' && len >= 2) {
		memmove(text, text + 1, len - 2);
		text[len - 2] = 0;
	}
	if (snprintf(to->address, sizeof(to->address), "%s", text) >= (int)sizeof(to->address))
		return;
	to->port = port;
	to->group = group;
	c->portal_count++;
}

/* Of a portal at all of this machine's addresses: those that other machines may know. */
static void add_all(struct card *c, int family, uint16_t port, uint16_t group)
{
	struct ifaddrs *all, *i;

	if (getifaddrs(&all))
		return;
	for (i = all; i; i = i->ifa_next) {
		struct sockaddr_storage address = {0};
		int is = i->ifa_addr ? i->ifa_addr->sa_family : AF_UNSPEC;

		if (!(i->ifa_flags & IFF_UP) || (i->ifa_flags & IFF_LOOPBACK) ||
			(is != AF_INET && is != AF_INET6) || (family == AF_INET && is != AF_INET))
			continue;
		memcpy(&address, i->ifa_addr,
			is == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
		if (is == AF_INET6 &&
			IN6_IS_ADDR_LINKLOCAL(
				&((const struct sockaddr_in6 *)(const void *)&address)->sin6_addr))
			continue;
		add_portal(c, &address, port, group);
	}
	freeifaddrs(all);
}

/* Where hosts find us; a portal that sends them elsewhere is none of ours. Under the lock. */
static void portals_now(struct pair *p)
{
	uint64_t now = clock_boot_ms();

	if (p->portals_ms && now - p->portals_ms < ADDRESSES_MS)
		return;
	p->portals_ms = now;
	p->own.portal_count = 0;
	memset(p->own.portals, 0, sizeof(p->own.portals));
	for (unsigned i = 0; i < p->portal_count; i++) {
		const struct iscsi_portal *from = &p->portals[i];
		struct sockaddr_storage address;
		socklen_t len;

		if (!from->port || from->redirect[0] ||
			iscsi_address_parse(from->address, from->port, &address, &len))
			continue;
		if (iscsi_address_is_wildcard(&address))
			add_all(&p->own, address.ss_family, from->port, config_portal_group(from));
		else
			add_portal(&p->own, &address, from->port, config_portal_group(from));
	}
}

static size_t write_card(void *arg, char out[STORE_CARD_MAX_BYTES], bool ended)
{
	struct pair *p = arg;
	size_t len = 0;

	pthread_mutex_lock(&p->lock);
	if (!ended || p->ending) { /* else the process goes on, and another store writes it */
		enum card_role role = p->own.role;

		portals_now(p);
		p->own.beat++;
		p->own.role = ended ? CARD_ENDED : role;
		len = card_write(&p->own, out, STORE_CARD_MAX_BYTES);
		p->own.role = role;
	}
	pthread_mutex_unlock(&p->lock);
	return len;
}

/* ---- do they fit ---- */

static uint16_t group_of_both(const struct card *a, const struct card *b)
{
	for (unsigned i = 0; i < a->portal_count; i++)
		for (unsigned j = 0; j < b->portal_count; j++)
			if (a->portals[i].group == b->portals[j].group)
				return a->portals[i].group;
	return 0;
}

/* What was read under the other one's number. 0: they fit. Under the lock. */
static int fits(const struct pair *p, unsigned number, int err, const struct card *c, struct fault *f)
{
	if (err == -EPROTONOSUPPORT)
		return fault_set(f, err,
			"controller %u (on %s) runs umbrad %s, whose card this umbrad (%s) does not understand: bring both to one version",
			number, c->machine, c->umbra, UMBRA_VERSION);
	if (err)
		return 0; /* it is nobody's */
	if (strcmp(c->target, p->own.target) != 0)
		return fault_set(f, -EINVAL,
			"controller %u (on %s) serves the array under the target name %s, and this one under %s: set the same [iscsi] target_name on both",
			number, c->machine, c->target, p->own.target);
	if (group_of_both(c, &p->own))
		return fault_set(f, -EINVAL,
			"controller %u (on %s) has the portal group %u as well: give the portals of the two in [iscsi] different ones (ADDRESS/GROUP)",
			number, c->machine, group_of_both(c, &p->own));
	return 0;
}

static int same_number(const struct card *c, struct fault *f)
{
	return fault_set(f, -EADDRINUSE,
		"there is a controller %u already, on %s (process %" PRIu64
		"): give one of the two the other number ([controller] number = %u)",
		c->number, c->machine, c->process.pid, 3 - c->number);
}

static int read_card(unsigned number, const char *text, size_t len, struct card *out)
{
	int err = card_read(text, len, out);

	return err != -EUCLEAN && out->number != number ? -EUCLEAN : err;
}

static int admit(void *arg, unsigned number, const char *text, size_t len, bool lives, struct fault *fault)
{
	struct pair *p = arg;
	struct fault why = {0};
	struct card c;
	int err = read_card(number, text, len, &c);

	/* Nobody is behind it. */
	if (err == -EUCLEAN || (!err && (c.role == CARD_ENDED || process_gone(&c.process) ||
						process_same(&c.process, &p->own.process))))
		return 0;
	pthread_mutex_lock(&p->lock);
	portals_now(p);
	err = number == p->own.number ? same_number(&c, &why) : fits(p, number, err, &c, &why);
	pthread_mutex_unlock(&p->lock);
	if (err && lives)
		*fault = why;
	return err && !lives ? -EAGAIN : err;
}

/* ---- what is seen ---- */

/* Under the lock. */
static void tell(struct pair *p)
{
	if (!p->posted)
		reactor_post(p->reactor, &p->message);
	p->posted = true;
}

static bool same_portals(const struct card *a, const struct card *b)
{
	return a->portal_count == b->portal_count && memcmp(a->portals, b->portals, sizeof(a->portals)) == 0;
}

/* When it was seen to change last, 0: never. A store that is new has not seen it change, but perhaps another card than the store before,
 * which was not long ago: then it has changed since. Under the lock. */
static uint64_t changed_ms(const struct pair *p, const struct card *c, uint64_t still_ms, uint64_t now)
{
	bool another = c->beat != p->other.beat || !process_same(&c->process, &p->other.process);

	if (still_ms != UINT64_MAX)
		return now - still_ms;
	return p->known && another && now - p->looked_ms < LIVES_MS ? p->looked_ms : p->lived_ms;
}

/* What hosts are told, and so not before it is certain. Under the lock. */
static bool is_gone(const struct pair *p)
{
	uint64_t since_ms = p->lived_ms > p->first_ms ? p->lived_ms : p->first_ms;

	if (!p->known) /* it has never been there, while somebody looked */
		return p->leased_ms > p->begun_ms && p->leased_ms - p->begun_ms >= LIVES_MS;
	return !p->lives && (p->fenced || p->silent || p->other.role == CARD_ENDED ||
				    process_gone(&p->other.process) || p->looked_ms - since_ms >= LIVES_MS);
}

/* Whether that is news. Under the lock. */
static bool look_whether_gone(struct pair *p)
{
	bool before = p->gone;

	p->gone = is_gone(p);
	return p->gone != before;
}

/* Under the lock. */
static void other_seen(struct pair *p, unsigned number, int err, const struct card *c, uint64_t still_ms)
{
	uint64_t now = clock_boot_ms(), then = changed_ms(p, c, still_ms, now);
	bool another = !p->known || c->beat != p->other.beat || !process_same(&c->process, &p->other.process);
	bool lives, news;
	struct fault why = {0};

	p->fenced = p->fenced && !another;
	lives = then && now - then < LIVES_MS && c->role != CARD_ENDED && err != -EUCLEAN && !p->fenced &&
		!process_gone(&c->process);
	news = !p->known || lives != p->lives || c->role != p->other.role || !same_portals(c, &p->other);
	if (!p->known)
		p->first_ms = now;
	p->known = true;
	p->lives = lives;
	p->looked_ms = now;
	p->silent = still_ms != UINT64_MAX && still_ms >= LIVES_MS;
	if (lives)
		p->lived_ms = then;
	p->other = *c;
	news = look_whether_gone(p) || news;
	if (lives)
		fits(p, number, err, c, &why);
	if (strcmp(p->problem, why.text) != 0) {
		snprintf(p->problem, sizeof(p->problem), "%s", why.text);
		news = true;
	}
	if (news)
		tell(p);
}

/* Somebody else's under our number. Under the lock. */
static void rival_seen(struct pair *p, const struct card *c, uint64_t still_ms)
{
	struct fault why = {0};

	if (still_ms >= LIVES_MS || c->role == CARD_ENDED || process_same(&c->process, &p->own.process))
		return;
	same_number(c, &why);
	if (strcmp(p->problem, why.text) == 0)
		return;
	snprintf(p->problem, sizeof(p->problem), "%s", why.text);
	tell(p);
}

static void card_seen(void *arg, unsigned number, const char *text, size_t len, uint64_t still_ms)
{
	struct pair *p = arg;
	struct card c;
	int err = read_card(number, text, len, &c);

	pthread_mutex_lock(&p->lock);
	if (number != p->own.number && (err != -EUCLEAN || p->known))
		other_seen(p, number, err, &c, still_ms);
	else if (number == p->own.number && !err)
		rival_seen(p, &c, still_ms);
	pthread_mutex_unlock(&p->lock);
}

static void lease_seen(void *arg, uint64_t epoch, bool ours)
{
	struct pair *p = arg;

	pthread_mutex_lock(&p->lock);
	p->epoch = epoch;
	if (!ours)
		p->others_epoch = epoch;
	p->leased_ms = clock_boot_ms();
	if (!p->known && look_whether_gone(p))
		tell(p);
	pthread_mutex_unlock(&p->lock);
}

static void owner_fenced(void *arg, const struct process_id *owner)
{
	struct pair *p = arg;

	pthread_mutex_lock(&p->lock);
	if (p->known && process_same(owner, &p->other.process)) {
		p->fenced = true;
		p->lives = false;
		p->gone = true;
		tell(p);
	}
	pthread_mutex_unlock(&p->lock);
}

/* ---- on the reactor's thread ---- */

static void arrived(struct reactor_message *m)
{
	struct pair *p = container_of(m, struct pair, message);

	pthread_mutex_lock(&p->lock);
	p->posted = false;
	pthread_mutex_unlock(&p->lock);
	p->changed(p->arg);
}

void pair_look(struct pair *p, struct pair_look *out)
{
	uint64_t now = clock_boot_ms();

	pthread_mutex_lock(&p->lock);
	portals_now(p);
	*out = (struct pair_look){.own = p->own,
		.other = p->other,
		.known = p->known,
		.lives = p->lives && now - p->lived_ms < LIVES_MS,
		.gone = p->gone,
		.seen_ms = p->lived_ms ? now - p->lived_ms : UINT64_MAX,
		.epoch = p->epoch,
		.others_epoch = p->others_epoch,
		.lease_ms = p->leased_ms ? now - p->leased_ms : UINT64_MAX};
	snprintf(out->problem, sizeof(out->problem), "%s", p->problem);
	pthread_mutex_unlock(&p->lock);
	out->other.number = 3 - out->own.number;
}

void pair_set_role(struct pair *p, enum card_role role)
{
	pthread_mutex_lock(&p->lock);
	if (p->own.role != role || !p->own.since_unix_ms)
		p->own.since_unix_ms = clock_unix_ms();
	p->own.role = role;
	pthread_mutex_unlock(&p->lock);
}

void pair_set_portals(struct pair *p, const struct iscsi_portal *portals, unsigned count)
{
	pthread_mutex_lock(&p->lock);
	memcpy(p->portals, portals, count * sizeof(portals[0]));
	p->portal_count = count;
	p->portals_ms = 0;
	pthread_mutex_unlock(&p->lock);
}

void pair_end(struct pair *p)
{
	pthread_mutex_lock(&p->lock);
	p->ending = true;
	pthread_mutex_unlock(&p->lock);
}

const struct store_cards *pair_cards(struct pair *p)
{
	return &p->cards;
}

struct pair *pair_new(const struct config *c, struct reactor *reactor, void (*changed)(void *arg), void *arg)
{
	struct pair *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->reactor = reactor;
	p->changed = changed;
	p->arg = arg;
	p->begun_ms = clock_boot_ms();
	p->message.call = arrived;
	p->cards = (struct store_cards){.arg = p,
		.number = c->controller,
		.write = write_card,
		.admit = admit,
		.read = card_seen,
		.lease = lease_seen,
		.fenced = owner_fenced};
	pthread_mutex_init(&p->lock, NULL);
	p->own.number = c->controller;
	p->own.since_unix_ms = clock_unix_ms();
	snprintf(p->own.umbra, sizeof(p->own.umbra), "%s", UMBRA_VERSION);
	snprintf(p->own.array, sizeof(p->own.array), "%.79s", c->array_name);
	snprintf(p->own.target, sizeof(p->own.target), "%s", c->target_name);
	if (gethostname(p->own.machine, sizeof(p->own.machine) - 1))
		p->own.machine[0] = 0;
	process_self(&p->own.process);
	pair_set_portals(p, c->portals, c->portal_count);
	return p;
}

void pair_free(struct pair *p)
{
	if (!p)
		return;
	pthread_mutex_destroy(&p->lock);
	free(p);
}
