/* SPDX-License-Identifier: Apache-2.0 */
/* Management methods of an array with two controllers: which one owns it, and giving it to the other one. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "array/control/methods.h"
#include "array/util/json_text.h"

/* False: there is no other one. */
static bool look(struct mgmt_call *c, struct management_controllers *out)
{
	const struct management_transport *t = c->options->transport;

	if (!t || !t->controllers)
		return false;
	t->controllers(t->ctx, out);
	return true;
}

static json_t *age_ms(uint64_t ms)
{
	return ms == UINT64_MAX ? json_null() : json_integer((json_int_t)ms);
}

json_t *mgmt_controller_json(struct mgmt_call *c)
{
	struct management_controllers v;

	if (!look(c, &v))
		return json_null();
	return json_pack("{s:i, s:s, s:o, s:o, s:o, s:I, s:I, s:{s:i, s:s, s:b}}", "number",
		(int)v.self.number, "role", v.self.role, "owner", json_text(v.owner), "since_unix_ms",
		mgmt_time(v.self.since_unix_ms), "lease_age_ms", age_ms(v.lease_ms), "takeovers",
		(json_int_t)v.takes, "losses", (json_int_t)v.losses, "other", "number", (int)v.other.number,
		"role", v.other.role, "lives", v.other.lives);
}

static json_t *portals_json(const struct management_controller *m)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < m->portal_count; i++)
		json_array_append_new(
			list, json_pack("{s:o, s:i, s:i}", "address", json_text(m->portals[i].address),
				      "port", (int)m->portals[i].port, "group", (int)m->portals[i].group));
	return list;
}

static json_t *one_json(const struct management_controller *m, bool self)
{
	return json_pack("{s:i, s:b, s:b, s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "number", (int)m->number,
		"self", self, "lives", m->lives, "role", m->role, "machine", json_text(m->machine), "version",
		json_text(m->version), "target_name", json_text(m->target_name), "since_unix_ms",
		mgmt_time(m->since_unix_ms), "seen_ms_ago", age_ms(m->seen_ms), "portals", portals_json(m));
}

static bool none(struct mgmt_call *c)
{
	mgmt_fail(c, -EOPNOTSUPP,
		"This array has one controller: two need [controller] in umbrad.conf (docs/controllers.md).");
	return false;
}

static void controller_list_method(struct mgmt_call *c)
{
	struct management_controllers v;
	bool self_first;

	if (!mgmt_unpack(c, "{}") || (!look(c, &v) && !none(c)))
		return;
	self_first = v.self.number < v.other.number;
	json_t *self = one_json(&v.self, true), *other = one_json(&v.other, false);
	mgmt_result(c, json_pack("{s:[o, o], s:o, s:o, s:o, s:{s:s, s:o}}", "controllers",
			       self_first ? self : other, self_first ? other : self, "epoch",
			       v.epoch ? json_integer((json_int_t)v.epoch) : json_null(), "lease_age_ms",
			       age_ms(v.lease_ms), "problem", json_text(v.problem), "move", "state", v.move,
			       "text", json_text(v.move_text)));
}

struct move {
	struct management_move base;
	struct mgmt_call *call;
	unsigned to;
	char machine[80];
};

static void move_begun(struct management_move *base, int err, const struct fault *fault)
{
	struct move *m = container_of(base, struct move, base);
	struct mgmt_call *c = m->call;

	if (err)
		mgmt_fault(c, err, fault);
	else
		mgmt_result(c, json_pack("{s:i, s:o}", "to", (int)m->to, "machine", json_text(m->machine)));
	free(m);
}

static void controller_move_method(struct mgmt_call *c)
{
	const struct management_transport *t = c->options->transport;
	const struct management_controller *to;
	struct management_controllers v;
	struct move *m;
	int force = 0;

	if (!mgmt_unpack(c, "{s?b}", "force", &force) || (!look(c, &v) && !none(c)))
		return;
	m = calloc(1, sizeof(*m));
	if (!m) {
		mgmt_fault(c, -ENOMEM, NULL);
		return;
	}
	to = v.owns ? &v.other : &v.self;
	*m = (struct move){.base.done = move_begun, .call = c, .to = to->number};
	memcpy(m->machine, to->machine, sizeof(m->machine));
	t->move(t->ctx, force, &m->base);
}

const struct mgmt_method mgmt_controller_methods[] = {
	{"controller.list", controller_list_method, MGMT_ANYWHERE},
	{"controller.move", controller_move_method, MGMT_ANYWHERE},
	{NULL, NULL, MGMT_OWNER},
};
