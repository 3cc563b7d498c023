/* SPDX-License-Identifier: Apache-2.0 */
/* See standby.h. */
#include "array/standby.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "array/reactor/reactor.h"
#include "array/store/store.h"

#define RETIRE_LOOK_MS 100

static bool is_ours(const struct config *c, uint16_t group)
{
	for (unsigned i = 0; i < c->portal_count; i++)
		if (config_portal_group(&c->portals[i]) == group)
			return true;
	return false;
}

/* A card may have anything on it: what does not fit is told elsewhere (pair.c), and left out here. */
unsigned standby_peers(const struct config *c, struct pair *pair, struct iscsi_peer_portal *out)
{
	struct pair_look look;
	unsigned count = 0;

	for (unsigned i = 0; i < c->peer_count && count < CARD_PORTALS_MAX; i++, count++) {
		memcpy(out[count].address, c->peers[i].address, sizeof(out[count].address));
		out[count].port = c->peers[i].port;
		out[count].group = config_portal_group(&c->peers[i]);
	}
	if (count)
		return count;
	pair_look(pair, &look);
	for (unsigned i = 0; i < look.other.portal_count; i++)
		if (!is_ours(c, look.other.portals[i].group))
			out[count++] = look.other.portals[i];
	return count;
}

/* Of an owner that is gone it is not said: it is about to be followed, and what this one says of its own ports is what counts then. */
static enum scsi_access others_access(enum scsi_access own, bool gone)
{
	switch (own) {
	case SCSI_ACCESS_OPTIMIZED:
		return gone ? SCSI_ACCESS_UNAVAILABLE : SCSI_ACCESS_STANDBY;
	case SCSI_ACCESS_STANDBY:
		return SCSI_ACCESS_OPTIMIZED;
	default:
		return SCSI_ACCESS_TRANSITIONING;
	}
}

void standby_groups(const struct config *c, enum scsi_access own, bool gone,
	const struct iscsi_peer_portal *peers, unsigned count, struct scsi_port_group groups[2])
{
	memset(groups, 0, 2 * sizeof(groups[0]));
	groups[0].id = (uint16_t)c->controller;
	groups[0].access = own;
	groups[1].id = (uint16_t)(3 - c->controller);
	groups[1].access = others_access(own, gone);
	for (unsigned i = 0; i < c->portal_count; i++)
		groups[0].ports[groups[0].port_count++] = config_portal_group(&c->portals[i]);
	for (unsigned i = 0; i < count; i++)
		groups[1].ports[groups[1].port_count++] = peers[i].group;
	/* As long as nothing is known of it: the group that it has if nobody says another. */
	if (!count && !is_ours(c, groups[1].id))
		groups[1].ports[groups[1].port_count++] = groups[1].id;
}

/* ---- what was served before ---------------------------------------------------------------------------- */

struct retired {
	struct served served;
	struct reactor *reactor;
	struct management *management;
	struct reactor_timer step;
	void (*gone)(void *arg, int err);
	void *arg;
};

struct retired *retired_new(void)
{
	return calloc(1, sizeof(struct retired));
}

static void closed(void *arg, int err)
{
	struct retired *r = arg;
	void (*gone)(void *arg, int err) = r->gone;

	controller_destroy(r->served.giver);
	arg = r->arg;
	free(r);
	gone(arg, err);
}

/* The next step, not from inside what has just ended. */
static void next(struct retired *r, void (*step)(struct reactor_timer *timer), uint64_t delay_ms)
{
	r->step.fire = step;
	reactor_timer_arm(r->reactor, &r->step, delay_ms);
}

static void close_all(struct reactor_timer *timer)
{
	struct retired *r = container_of(timer, struct retired, step);

	scsi_target_destroy(r->served.scsi);
	if (r->served.inband)
		inband_destroy(r->served.inband);
	array_close(r->served.array);
	r->served.store->ops->close(r->served.store, closed, r);
}

static void array_stopped(void *arg)
{
	next(arg, close_all, 0);
}

static void stop_array(struct reactor_timer *timer)
{
	struct retired *r = container_of(timer, struct retired, step);

	array_stop(r->served.array, array_stopped, r);
}

static void inband_stopped(void *arg)
{
	next(arg, stop_array, 0);
}

static void look(struct reactor_timer *timer)
{
	struct retired *r = container_of(timer, struct retired, step);

	if (!management_is_idle(r->management))
		next(r, look, RETIRE_LOOK_MS);
	else if (r->served.inband)
		inband_stop(r->served.inband, inband_stopped, r);
	else
		inband_stopped(r);
}

static void target_stopped(void *arg)
{
	next(arg, look, 0);
}

void retired_go(struct retired *r, const struct served *what, struct reactor *reactor,
	struct management *management, void (*gone)(void *arg, int err), void *arg)
{
	*r = (struct retired){
		.served = *what, .reactor = reactor, .management = management, .gone = gone, .arg = arg};
	scsi_target_stop(what->scsi, target_stopped, r);
}
