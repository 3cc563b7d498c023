/* SPDX-License-Identifier: Apache-2.0 */
/* What the files requests*.c share (request.c), and the handlers of each. */
#ifndef UMBRA_CONTROL_REQUESTS_H
#define UMBRA_CONTROL_REQUESTS_H

#include "array/control/request.h"

/* ---- request.c ---- */

/* The reply is complete. */
void request_finish(struct request *r);
/* Makes the reply UP_OK, to be filled in; ends nothing. */
struct up_msg *request_accept(struct request *r);
void request_put_text(struct up_msg *reply, const char *text);
/* Refuses with the array's error, and ends. */
void request_fault(struct request *r, int err, const struct fault *fault);
#define REFUSE(r, status, ...)                                                                               \
	do {                                                                                                 \
		request_refuse(r, status, __VA_ARGS__);                                                      \
		request_finish(r);                                                                           \
	} while (0)
struct host *request_host(const struct request *r);
/* May the asking host manage (map, delete, break) that shadow LUN? 0, -EPERM. */
int request_may_manage(struct request *r, const struct lun *shadow, struct fault *fault);
/* The deadline of a commit that the request asks for, within the array's budget. */
uint32_t request_deadline_ms(const struct request *r);
/* Is id the reserved identity of a shadow LUN in a set of this host's that is not cut yet? */
bool request_future(struct request *r, const uint8_t id[UP_ID_BYTES], struct up_lun *out);
void request_describe(const struct lun *lun, uint32_t number, struct up_lun *out);
/* The same of a member of a set that is not cut yet. */
void request_describe_member(
	const struct set_view *view, const struct set_member *member, struct up_lun *out);
bool request_put_entry(struct up_msg *reply, const struct up_lun *entry); /* false: the page is full */

/* ---- requests.c ---- */

/* What a reply about a set says of it; r->owner's, or with another's set id: as one that is gone. */
void request_put_set(struct request *r, struct up_msg *reply);

/* ---- requests_note.c ---- */

#define REQUEST_COST_TIMES                                                                                   \
	(UP_HAS(UP_TAG_FROZEN_US) | UP_HAS(UP_TAG_FLUSH_US) | UP_HAS(UP_TAG_COMMIT_US) |                     \
		UP_HAS(UP_TAG_RELEASE_US))
void request_set_label(struct request *r);
void request_set_tell(struct request *r);

/* ---- requests_take.c ---- */

void request_set_take(struct request *r);

/* ---- requests_shadow.c ---- */

void request_map(struct request *r);
void request_unmap(struct request *r);
void request_delete(struct request *r);
void request_break(struct request *r);
void request_notify(struct request *r);

/* ---- requests_resync.c ---- */

void request_resync_start(struct request *r);
void request_resync_state(struct request *r);
void request_resync_cancel(struct request *r);

#endif
