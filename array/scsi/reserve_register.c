/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PERSISTENT RESERVE OUT's REGISTER and REGISTER AND IGNORE EXISTING KEY (SPC-4 5.13.7), with SPEC_I_PT
 * (other initiator ports too) and ALL_TG_PT (through every target port). All of a command's registrations are
 * made, or none.
 *
 * An initiator port that is registered already is left as it is by another's SPEC_I_PT.
 */
#include "array/scsi/command.h"
#include "array/scsi/lun.h"
#include "array/scsi/nexus.h"
#include "array/scsi/reserve.h"
#include "array/scsi/sense.h"
#include "array/util/bytes.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "proto/identity.h"

/* Registrations that a command is about to make. */
struct fresh {
	struct list list;
	unsigned count;
	size_t bytes; /* of all, the LUN's included, as they are kept */
};

struct scsi_registrant *scsi_pr_registrant_new(
	struct scsi_task *task, const struct scsi_nexus_name *name, uint64_t key)
{
	struct scsi_lun *s = scsi_lun_of(task);
	size_t bytes = scsi_reserve_pack_size(s);
	struct scsi_registrant *r;

	scsi_reserve_pack_size_add(&bytes, name);
	r = s->registrant_count < PR_REGISTRANTS_MAX && bytes <= LUN_RESERVATIONS_MAX_BYTES
		    ? calloc(1, sizeof(*r))
		    : NULL;
	if (!r) {
		scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_REGISTRATION_RESOURCES);
		return NULL;
	}
	r->name = *name;
	r->key = key;
	return r;
}

static void fresh_free(struct fresh *f)
{
	struct list_node *node;

	while ((node = list_pop(&f->list)))
		free(container_of(node, struct scsi_registrant, link));
}

static bool fresh_has(const struct fresh *f, const struct scsi_nexus_name *name)
{
	list_for_each (node, &f->list) {
		const struct scsi_registrant *r = container_of(node, struct scsi_registrant, link);

		if (r->name.port == name->port && memcmp(r->name.isid, name->isid, 6) == 0 &&
			strcasecmp(r->name.initiator, name->initiator) == 0)
			return true;
	}
	return false;
}

static bool fresh_add(
	struct scsi_task *task, struct fresh *f, const struct scsi_nexus_name *name, uint64_t key)
{
	const struct scsi_lun *s = scsi_lun_of(task);
	struct scsi_registrant *r;

	if (scsi_reserve_find_name(s, name) || fresh_has(f, name))
		return true;
	scsi_reserve_pack_size_add(&f->bytes, name);
	if (s->registrant_count + f->count >= PR_REGISTRANTS_MAX || f->bytes > LUN_RESERVATIONS_MAX_BYTES)
		return scsi_fail(task, SENSE_ILLEGAL_REQUEST, ASC_REGISTRATION_RESOURCES);
	r = scsi_pr_registrant_new(task, name, key);
	if (!r)
		return false;
	list_push_back(&f->list, &r->link);
	f->count++;
	return true;
}

/* Through its port, or through all. */
static bool fresh_add_ports(
	struct scsi_task *task, struct fresh *f, struct scsi_nexus_name *name, bool all_ports, uint64_t key)
{
	const struct scsi_target *t = task->nexus->target;

	name->port = task->nexus->portal_group_tag;
	if (!fresh_add(task, f, name, key))
		return false;
	for (unsigned i = 0; all_ports && i < t->port_count; i++) {
		name->port = t->ports[i];
		if (!fresh_add(task, f, name, key))
			return false;
	}
	return true;
}

/* ---- TransportIDs -------------------------------------------------------------------------------------- */

/* The 12 digits after ",i,0x". */
static bool read_isid(const uint8_t *text, size_t len, uint8_t isid[6])
{
	if (len != 12)
		return false;
	for (unsigned i = 0; i < 6; i++) {
		int high = up_hex_digit((char)text[2 * i]), low = up_hex_digit((char)text[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		isid[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

bool scsi_pr_transport_id(const uint8_t **at, size_t *len, struct scsi_nexus_name *out, bool *has_isid)
{
	static const char separator[] = ",i,0x";
	const uint8_t *p = *at, *comma;
	size_t text, name;

	memset(out, 0, sizeof(*out));
	if (*len < 4 || (p[0] & 0x3F) != 0x05 || p[0] >> 6 > 1)
		return false;
	text = get_be16(p + 2);
	if (text < 20 || text % 4 != 0 || text > *len - 4)
		return false;
	*at += 4 + text;
	*len -= 4 + text;
	*has_isid = p[0] >> 6 == 1;
	p += 4;
	text = strnlen((const char *)p, text);
	comma = memchr(p, ',', text);
	if (*has_isid != (comma != NULL))
		return false;
	name = comma ? (size_t)(comma - p) : text;
	if (name == 0 || name > UP_NAME_MAX_BYTES)
		return false;
	memcpy(out->initiator, p, name);
	if (!comma)
		return true;
	text -= name;
	return text > sizeof(separator) - 1 && memcmp(comma, separator, sizeof(separator) - 1) == 0 &&
	       read_isid(comma + sizeof(separator) - 1, text - (sizeof(separator) - 1), out->isid);
}

/* A name without a port stands for the ports that are logged in under it. */
static bool fresh_add_living(
	struct scsi_task *task, struct fresh *f, const char *initiator, bool all_ports, uint64_t key)
{
	bool any = false;

	list_for_each (node, &task->nexus->target->nexuses) {
		const struct scsi_nexus *n = container_of(node, struct scsi_nexus, link);
		struct scsi_nexus_name name;

		if (n->lost || strcasecmp(n->array.initiator, initiator) != 0)
			continue;
		scsi_reserve_name(n, &name);
		any = true;
		if (!fresh_add_ports(task, f, &name, all_ports, key))
			return false;
	}
	return any || scsi_fail_parameter(task, PR_LIST_BYTES + 4);
}

static bool fresh_add_listed(struct scsi_task *task, struct fresh *f, bool all_ports, uint64_t key)
{
	const uint8_t *at = task->data + PR_LIST_BYTES + 4;
	struct scsi_nexus_name name;
	bool has_isid, good = true;
	size_t len;

	len = task->data_len - PR_LIST_BYTES - 4;
	if (get_be32(at - 4) != len)
		return scsi_fail_parameter(task, PR_LIST_BYTES);
	while (good && len > 0) {
		unsigned where = (unsigned)(at - task->data);

		if (!scsi_pr_transport_id(&at, &len, &name, &has_isid))
			return scsi_fail_parameter(task, where);
		good = has_isid ? fresh_add_ports(task, f, &name, all_ports, key)
				: fresh_add_living(task, f, name.initiator, all_ports, key);
	}
	return good;
}

/* ---- the actions --------------------------------------------------------------------------------------- */

/* A registered nexus: its key changes, or it goes; through all ports if that is asked. */
static void change_own(
	struct scsi_task *task, struct scsi_lun *s, const struct scsi_pr_request *q, bool all_ports)
{
	const struct scsi_target *t = task->nexus->target;
	struct scsi_nexus_name name = q->self->name;

	for (unsigned i = 0; i < (all_ports ? t->port_count : 1); i++) {
		struct scsi_registrant *r;

		name.port = all_ports ? t->ports[i] : task->nexus->portal_group_tag;
		r = scsi_reserve_find_name(s, &name);
		if (r && q->action_key == 0)
			scsi_reserve_unregister(task, s, r);
		else if (r)
			r->key = q->action_key;
	}
}

static bool register_new(struct scsi_task *task, struct scsi_lun *s, const struct scsi_pr_request *q,
	bool all_ports, bool listed)
{
	struct fresh f = {.bytes = scsi_reserve_pack_size(s)};
	struct scsi_nexus_name own;
	struct list_node *node;

	list_init(&f.list);
	scsi_reserve_name(task->nexus, &own);
	if (!fresh_add_ports(task, &f, &own, all_ports, q->action_key) ||
		(listed && !fresh_add_listed(task, &f, all_ports, q->action_key))) {
		fresh_free(&f);
		return false;
	}
	while ((node = list_pop(&f.list)))
		list_push_back(&s->registrants, node);
	s->registrant_count += f.count;
	return true;
}

bool scsi_pr_register(struct scsi_task *task, struct scsi_lun *s, const struct scsi_pr_request *q)
{
	bool all_ports = task->data[20] & PR_ALL_TG_PT, listed = task->data[20] & PR_SPEC_I_PT;

	if (q->action == PR_REGISTER && q->key != (q->self ? q->self->key : 0))
		return scsi_conflict(task);
	if (q->self && listed)
		return scsi_fail_parameter(task, 20);
	if (q->self)
		change_own(task, s, q, all_ports);
	else if (q->action_key != 0 && !register_new(task, s, q, all_ports, listed))
		return false;
	s->pr_kept = task->data[20] & PR_APTPL;
	s->pr_generation++;
	return true;
}
