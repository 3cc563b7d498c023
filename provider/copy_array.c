/* SPDX-License-Identifier: Apache-2.0 */
/* See copy_array.h. */
#include "provider/copy_array.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "provider/array_client.h"
#include "provider/provider.h"
#include "provider/refusal.h"

/* Each array is asked; `take` gets what those answer that know the set. False: one did not do it, for no good reason. */
static bool ask_all(
	const struct up_msg *request, void (*take)(const struct up_msg *reply, void *arg), void *arg)
{
	static struct up_msg asked, reply; /* too large for the stack */
	uint8_t ids[ARRAYS_MAX][UP_ID_BYTES];
	struct array_client *client = array_client_create(transport_spti());
	bool good = client != NULL;

	if (client)
		array_client_discover(client);
	unsigned count = client ? array_client_ids(client, ids) : 0;
	for (unsigned i = 0; i < count; i++) {
		struct array_trouble trouble = {0};
		asked = *request;
		int err = array_client_request(client, ids[i], NULL, &asked, &reply, &trouble);
		if (!err) {
			take(&reply, arg);
		} else if (err != -EPROTO ||
			   (reply.status != UP_NOT_FOUND && reply.status != UP_UNSUPPORTED)) {
			refusal_say("array %s: %s", trouble.array,
				trouble.text[0] ? trouble.text : "it does not answer");
			good = false;
		}
	}
	if (client)
		array_client_destroy(client);
	return good;
}

static void begin(struct up_msg *request, enum up_op op, const GUID *set)
{
	up_request_init(request, (uint16_t)op, 0);
	provider_guid_bytes(set, request->set_id);
	request->has = UP_HAS(UP_TAG_SET_ID);
}

static void ignore(const struct up_msg *reply, void *arg)
{
	(void)reply;
	(void)arg;
}

bool copy_tell_label(const GUID *set, const WCHAR *label)
{
	static struct up_msg request;

	begin(&request, UP_OP_SET_LABEL, set);
	if (!WideCharToMultiByte(CP_UTF8, 0, label, -1, request.label, sizeof(request.label), NULL, NULL))
		return false;
	request.has |= UP_HAS(UP_TAG_LABEL);
	return ask_all(&request, ignore, NULL);
}

static void longest(uint64_t *of, uint64_t us)
{
	*of = us > *of ? us : *of;
}

static void take_cost(const struct up_msg *reply, void *arg)
{
	struct set_cost *cost = arg;

	if (!(reply->has & UP_HAS(UP_TAG_WRITERS)))
		return;
	cost->writers = (enum up_writers)reply->writers;
	longest(&cost->frozen_us, reply->frozen_us);
	longest(&cost->flush_us, reply->flush_us);
	longest(&cost->commit_us, reply->commit_us);
	longest(&cost->release_us, reply->release_us);
}

bool copy_ask_cost(const GUID *set, struct set_cost *out)
{
	static struct up_msg request;

	memset(out, 0, sizeof(*out));
	begin(&request, UP_OP_SET_STATE, set);
	ask_all(&request, take_cost, out);
	return out->writers != UP_WRITERS_NOT_TOLD;
}
