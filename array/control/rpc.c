/* SPDX-License-Identifier: Apache-2.0 */
/* How a management call ends: its result or its fault as JSON-RPC 2.0. See rpc.h. */
#include "array/control/rpc.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "array/util/json_text.h"
#include "array/util/message.h"

json_t *mgmt_error_json(json_t *id, int code, uint32_t number, const char *message, int err, const char *hint)
{
	char number_text[MESSAGE_ID_BYTES];
	json_t *data =
		err ? json_pack("{s:i, s:s, s:s}", "errno", -err, "name", strerrorname_np(-err), "hint", hint)
		    : json_pack("{s:s}", "hint", hint);

	if (data)
		json_object_set_new(data, "id", json_string(message_id(number, number_text)));
	/* json_text: a name in the message may have been cut within a character */
	return json_pack("{s:s, s:O?, s:{s:i, s:o, s:o}}", "jsonrpc", "2.0", "id", id, "error", "code", code,
		"message", json_text(message), "data", data);
}

void mgmt_result(struct mgmt_call *c, json_t *result)
{
	if (!result) {
		mgmt_fail(c, -ENOMEM, "umbrad has no memory for the answer: try again.");
		return;
	}
	c->door->end(c, json_pack("{s:s, s:O?, s:o}", "jsonrpc", "2.0", "id", c->id, "result", result));
}

void mgmt_fault(struct mgmt_call *c, int err, const struct fault *fault)
{
	bool told = fault && fault->err && fault->text[0];

	c->door->end(c, mgmt_error_json(c->id, MGMT_FAILED, told ? fault->message : fault_message(err),
				told ? fault->text : fault_what(err), err, fault_remedy(err)));
}

void mgmt_fail(struct mgmt_call *c, int err, const char *format, ...)
{
	struct fault fault = {.err = err, .message = message_of(format)};
	va_list args;

	va_start(args, format);
	vsnprintf(fault.text, sizeof(fault.text), format, args);
	va_end(args);
	mgmt_fault(c, err, &fault);
}

struct mgmt_call *mgmt_call_of(struct array_call *call)
{
	return container_of(call, struct mgmt_call, call);
}

json_t *mgmt_warned(const struct mgmt_call *c, json_t *result)
{
	if (result && c->warning[0])
		json_object_set_new(result, "warning", json_text(c->warning));
	return result;
}

void mgmt_done(struct array_call *call)
{
	struct mgmt_call *c = mgmt_call_of(call);

	if (call->fault.err)
		mgmt_fault(c, call->fault.err, &call->fault);
	else
		mgmt_result(c, mgmt_warned(c, json_object()));
}

void mgmt_bad_params(struct mgmt_call *c, const char *format, ...)
{
	char text[MGMT_HINT_MAX_BYTES];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	c->door->end(c, mgmt_error_json(c->id, MGMT_BAD_PARAMS, message_of(format), text, 0,
				"see the method's parameters in docs/management.md"));
}

void mgmt_follow(struct mgmt_call *c, uint64_t after)
{
	c->door->follow(c, after);
}
