/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See role.h. What a controller in standby serves comes from a snapshot of the catalogue, and is made anew, under the sessions that
 * there are, whenever that changes, and when it becomes the owner. An owner that loses the array ends at once, and stands by when
 * it is started again.
 */
#include "array/role.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>
#include "array/standby.h"
#include "array/store/store.h"
#include "array/util/message.h"

#define STOP_WAITING_MS 10000 /* for a cluster that does not answer */

/* ---- what is served --------------------------------------------------------------------------------------- */

static void retired_gone(void *arg)
{
	struct daemon *d = arg;

	if (--d->retired == 0 && d->end_waits_for_retired)
		daemon_step_done(d);
}

/* Serves from d->store; what was served before goes. An error: all is as it was, and d->store is still the caller's. */
static int serve_anew(struct daemon *d, struct store *store, bool standby, struct fault *fault)
{
	const struct served before = {.store = d->store, .array = d->array, .scsi = d->scsi};
	struct retired *r = retired_new();
	struct scsi_inband inband_before = d->inband_hook;
	bool standby_before = d->standby;
	struct array *array = NULL;
	int err = r ? 0 : -ENOMEM;

	d->store = store;
	d->standby = standby;
	struct array_options options = daemon_array_options(d);
	if (!err)
		err = array_open(&options, &array, fault);
	if (!err) {
		d->array = array;
		err = daemon_open_inband(d);
	}
	if (!err)
		err = daemon_open_target(d);
	if (err) {
		if (array)
			array_close(array);
		d->store = before.store;
		d->array = before.array;
		d->scsi = before.scsi;
		d->inband_hook = inband_before;
		d->standby = standby_before;
		free(r);
		return err;
	}
	array_event_unlisten(&d->log);
	array_event_listen(d->array, &d->log);
	iscsi_server_rehome(d->iscsi, d->array, d->scsi);
	management_set_array(d->management, d->array);
	d->retired++;
	retired_go(r, &before, d->reactor, d->management, retired_gone, d);
	return 0;
}

static void snapshot_closed(void *arg, int err)
{
	(void)arg, (void)err;
}

static void catalogue_seen(void *arg, struct snapshot *s)
{
	struct daemon *d = arg;
	struct store *store = snapshot_store(s);
	struct fault fault = {0};
	int err = serve_anew(d, store, true, &fault);

	if (!err)
		return;
	/* Of two changes, perhaps; the next look has it whole. */
	if (!fault.err)
		fault_errno(&fault, err);
	array_event_tell(d->array, ARRAY_EVENT_WARNING, "controller",
		"what the array's owner has changed could not be taken in, and is tried again with its next change: %s",
		fault.text);
	store->ops->close(store, snapshot_closed, NULL);
}

static void owning_failed(void *arg, const struct fault *fault)
{
	struct daemon *d = arg;

	array_event_tell(d->array, ARRAY_EVENT_ERROR, "controller",
		"this controller stands by and cannot take the array over; it tries again: %s", fault->text);
}

static void array_owned(void *arg, struct store *store)
{
	struct daemon *d = arg;
	struct fault fault = {0};
	int err = serve_anew(d, store, false, &fault);

	if (err) {
		/* Nobody has been told of anything: as after a crash, the other controller or the next start takes it. */
		daemon_fail(d, "controller", &fault, err);
		_exit(1);
	}
	array_event_tell(d->array, ARRAY_EVENT_WARNING, "controller",
		"controller %u owns the array from now on: the other one gave it back, or was locked out of Ceph",
		d->config.controller);
	daemon_ready(d);
}

/* Another umbrad has the array, or may have it. What is under way ends with the process, as in a crash: hosts then see a path
 * that is gone, and go to the other one, where an orderly end would give them errors. */
void role_fenced(void *arg, const char *reason)
{
	char text[300];

	(void)arg;
	snprintf(text, sizeof(text), "this umbrad has lost the array and ends at once: %s", reason);
	daemon_log(3, "rbd", text, message_of("this umbrad has lost the array and ends at once"));
	sd_notifyf(0, "STATUS=%s\nERRNO=%d", text, ESHUTDOWN);
	_exit(1);
}

/* ---- the start ------------------------------------------------------------------------------------------ */

int role_open(struct daemon *d, const struct store_module *module, const struct store_module_options *store,
	struct fault *fault)
{
	struct controller_options options = {.reactor = d->reactor,
		.module = module,
		.store = *store,
		.seen = catalogue_seen,
		.owned = array_owned,
		.failed = owning_failed,
		.arg = d};
	struct snapshot *seen = NULL;
	int err = controller_create(&options, &d->controller);

	if (!err)
		err = controller_first(d->controller, &d->store, &seen, fault);
	d->standby = seen != NULL;
	if (seen)
		d->store = snapshot_store(seen);
	return err;
}

/* ---- what there is to see ------------------------------------------------------------------------------- */

void role_view(void *ctx, struct management_controller *out)
{
	struct daemon *d = ctx;

	memset(out, 0, sizeof(*out));
	out->number = d->config.controller;
	out->owns = !d->standby;
	if (d->standby)
		controller_owner(d->controller, out->owner);
}

/* ---- the end -------------------------------------------------------------------------------------------- */

/* A cluster that does not answer: nothing is acknowledged here that could be lost. */
static void stop_waiting_fired(struct reactor_timer *timer)
{
	_exit(container_of(timer, struct daemon, stop_waiting)->exit_code);
}

static void waits_no_more(void *arg)
{
	struct daemon *d = arg;

	reactor_timer_disarm(d->reactor, &d->stop_waiting);
	daemon_step_done(d);
}

bool role_stop_waiting(struct daemon *d)
{
	if (!d->controller || !d->standby)
		return false;
	d->stop_waiting.fire = stop_waiting_fired;
	reactor_timer_arm(d->reactor, &d->stop_waiting, STOP_WAITING_MS);
	controller_stop(d->controller, waits_no_more, d);
	return true;
}

bool role_wait_for_retired(struct daemon *d)
{
	d->end_waits_for_retired = true;
	return d->retired > 0;
}
