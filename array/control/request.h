/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One in-band request, decoded, and what it does to the array (requests.c). It knows nothing of mailboxes;
 * the mailboxes (inband.c) know nothing of operations.
 */
#ifndef UMBRA_CONTROL_REQUEST_H
#define UMBRA_CONTROL_REQUEST_H

#include "array/model/array.h"

struct request {
	/* of the caller, before request_run */
	struct array *array;
	struct host_nexus *nexus; /* borrowed for the duration of request_run only */
	struct lun *addressed;    /* likewise; NULL: through the control LU */
	struct up_msg msg;
	void (*done)(struct request *r); /* once, perhaps from inside request_run; reply is complete */
	/* out */
	struct up_msg reply;
	/* private to request.c and requests*.c */
	char initiator[UP_NAME_MAX_BYTES + 1]; /* lower case */
	char owner[ARRAY_NAME_MAX_BYTES + 1];  /* the host: of sets and jobs */
	struct array_call call;
	struct lun *lun;          /* held while a call runs */
	struct set_taking taking; /* of set-take */
};

void request_run(struct request *r);

/* Makes r->reply a refusal; the text always says what to do. */
void request_refuse(struct request *r, enum up_status status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The same of a text that has no parameters; empty: the words for the status. */
void request_refuse_text(struct request *r, enum up_status status, const char *text);
/* The same of a fault; one without a text gets the words for err. */
void request_refuse_fault(struct request *r, enum up_status status, int err, const struct fault *fault);

/* iSCSI names compare without case: the one form to show. */
void request_normalise(const char *name, char out[UP_NAME_MAX_BYTES + 1]);

#endif
