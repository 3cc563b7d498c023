/* SPDX-License-Identifier: Apache-2.0 */
/* What all in-band requests share: how they end, who may do what, how a LUN is described. See requests.h. */
#include "array/control/requests.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "array/control/status.h"
#include "array/util/message.h"

void request_normalise(const char *name, char out[UP_NAME_MAX_BYTES + 1])
{
	size_t i = 0;

	for (; name[i] && i < UP_NAME_MAX_BYTES; i++)
		out[i] = (char)tolower((unsigned char)name[i]);
	out[i] = '\0';
}

/* ---- replies -------------------------------------------------------------------------------------- */

void request_put_text(struct up_msg *reply, const char *text)
{
	size_t len = strlen(text);

	if (len > UP_TEXT_MAX_BYTES)
		len = UP_TEXT_MAX_BYTES;
	memcpy(reply->text, text, len);
	reply->text[len] = '\0';
	reply->has |= UP_HAS(UP_TAG_TEXT);
}

/* The id stays whatever has to be cut of the text. */
static void refuse(struct request *r, enum up_status status, uint32_t message, const char *said)
{
	char id[MESSAGE_ID_BYTES], text[UP_TEXT_MAX_BYTES + 1];
	const int room = UP_TEXT_MAX_BYTES - (MESSAGE_ID_BYTES + 2);

	snprintf(text, sizeof(text), "%.*s [%s]", room, said, message_id(message, id));
	up_reply_init(&r->reply, &r->msg, status);
	request_put_text(&r->reply, text);
}

void request_refuse(struct request *r, enum up_status status, const char *format, ...)
{
	char text[UP_TEXT_MAX_BYTES + 1];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	refuse(r, status, message_of(format), text);
}

void request_refuse_text(struct request *r, enum up_status status, const char *text)
{
	const char *said = *text ? text : control_remedy(status);

	refuse(r, status, message_of(said), said);
}

void request_refuse_fault(struct request *r, enum up_status status, int err, const struct fault *fault)
{
	if (fault && fault->err)
		refuse(r, status, fault->message, fault->text);
	else
		refuse(r, status, fault_message(err), control_sentence(err));
}

void request_finish(struct request *r)
{
	if (r->lun) {
		lun_release(r->lun);
		r->lun = NULL;
	}
	r->done(r);
}

void request_fault(struct request *r, int err, const struct fault *fault)
{
	request_refuse_fault(r, control_status(err), err, fault);
	request_finish(r);
}

struct up_msg *request_accept(struct request *r)
{
	up_reply_init(&r->reply, &r->msg, UP_OK);
	return &r->reply;
}

bool request_put_entry(struct up_msg *reply, const struct up_lun *entry)
{
	if (reply->lun_count == UP_PAGE_MAX_LUNS)
		return false;
	reply->luns[reply->lun_count++] = *entry;
	reply->has |= UP_HAS(UP_TAG_LUN_ENTRY);
	return true;
}

/* ---- describing LUNs ------------------------------------------------------------------------------ */

/* What its copy set says of a shadow LUN; one whose set is forgotten is kept. */
static void describe_shadow(const struct lun *shadow, struct up_lun *out)
{
	struct set *set = set_find(shadow->array, shadow->set_id, NULL);
	struct set_view view;

	out->copy_kind = (uint32_t)shadow->copy_kind;
	out->set_state = UP_SET_KEPT;
	out->mapped_hosts = shadow->mappings;
	out->created_unix_ms = shadow->created_unix_ms;
	out->notified = shadow->notified;
	out->full_percent = lun_full_percent(shadow);
	if (!set)
		return;
	set_view_of(set, &view);
	out->set_state = (uint32_t)view.state;
}

void request_describe(const struct lun *lun, uint32_t number, struct up_lun *out)
{
	memset(out, 0, sizeof(*out));
	memcpy(out->id, lun->id, UP_ID_BYTES);
	memcpy(out->origin_id, lun->origin_id, UP_ID_BYTES);
	memcpy(out->set_id, lun->set_id, UP_ID_BYTES);
	out->size_bytes = lun->size_bytes;
	out->block_bytes = STORE_BLOCK_BYTES;
	out->kind = (uint32_t)lun->kind;
	out->number = number;
	if (lun->kind == LUN_SHADOW)
		describe_shadow(lun, out);
}

void request_describe_member(const struct set_view *view, const struct set_member *member, struct up_lun *out)
{
	memset(out, 0, sizeof(*out));
	memcpy(out->id, member->shadow_id, UP_ID_BYTES);
	memcpy(out->origin_id, member->original_id, UP_ID_BYTES);
	memcpy(out->set_id, view->id, UP_ID_BYTES);
	out->size_bytes = member->size_bytes;
	out->block_bytes = STORE_BLOCK_BYTES;
	out->kind = UP_LUN_FUTURE_SHADOW;
	out->copy_kind = (uint32_t)member->kind;
}

bool request_future(struct request *r, const uint8_t id[UP_ID_BYTES], struct up_lun *out)
{
	struct set_view view;

	for (struct set *s = set_next(r->array, NULL); s; s = set_next(r->array, s)) {
		set_view_of(s, &view);
		if (view.state > UP_SET_COMMITTING || !set_find(r->array, view.id, r->owner))
			continue;
		for (unsigned i = 0; i < view.member_count; i++) {
			if (memcmp(view.members[i].shadow_id, id, UP_ID_BYTES) != 0)
				continue;
			request_describe_member(&view, &view.members[i], out);
			return true;
		}
	}
	return false;
}

static bool owns(struct request *r, const struct lun *shadow)
{
	return set_find(r->array, shadow->set_id, r->owner) != NULL;
}

int request_may_manage(struct request *r, const struct lun *shadow, struct fault *fault)
{
	return owns(r, shadow) ? 0 : set_may_import(r->nexus->host, shadow, fault);
}

uint32_t request_deadline_ms(const struct request *r)
{
	uint32_t budget_ms = array_settings(r->array)->commit_budget_ms, deadline_ms = r->msg.deadline_ms;

	return !deadline_ms || deadline_ms > budget_ms ? budget_ms : deadline_ms;
}

struct host *request_host(const struct request *r)
{
	return r->nexus->host;
}
