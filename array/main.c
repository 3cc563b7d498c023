/* SPDX-License-Identifier: Apache-2.0 */
/*
 * umbrad: wires the parts together and ends them in order.
 *
 * Start: configuration, store, array, SCSI target, in-band channel, iSCSI server, management socket; only then
 * is it ready (systemd is told, the port file is written). Any failure names its remedy and ends the program:
 * exit code 2 for a wrong command line or configuration, 1 for all else.
 *
 * With [controller] there is another umbrad with the same array, and one of the two owns it: role.c.
 *
 * The end (SIGTERM, SIGINT): the same order backwards, on the reactor, each step begun when the one before is
 * over. SIGHUP reads the configuration again and takes what may change meanwhile. A second signal ends the program at once: nothing acknowledged is lost by that, as with any crash.
 * With an array in Ceph the end has a limit, for each of its steps may wait for an OSD that never answers.
 */
#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>
#include "array/daemon.h"
#include "array/peer_scsi.h"
#include "array/service.h"
#include "array/standby.h"
#include "array/store/module.h"
#include "array/store/pool/public.h"
#include "array/store/store.h"
#include "array/util/message.h"
#include "array/util/places.h"

#define ADDRESS_PAUSE_MS 50
#define ADDRESS_TRIES    200
#define END_LIMIT_S      20 /* of an array in Ceph; umbrad(8) and docs/ceph.md tell it */

/* ---- the log -------------------------------------------------------------------------------------- */

/* journald reads the level from the prefix; a terminal does not need it. */
void daemon_log(int level, const char *area, const char *text, uint32_t message)
{
	char id[MESSAGE_ID_BYTES], mark[MESSAGE_ID_BYTES + 4] = "";

	if (message)
		snprintf(mark, sizeof(mark), " [%s]", message_id(message, id));
	if (getenv("JOURNAL_STREAM"))
		fprintf(stderr, "<%d>%s: %s%s\n", level, area, text, mark);
	else
		fprintf(stderr, "umbrad: %s: %s%s\n", area, text, mark);
}

static void log_event(struct array_event_listener *l, const struct array_event *e)
{
	static const int levels[] = {
		[ARRAY_EVENT_INFO] = 6, [ARRAY_EVENT_WARNING] = 4, [ARRAY_EVENT_ERROR] = 3};

	(void)l;
	daemon_log(levels[e->level], e->area, e->text, e->message);
}

int daemon_fail(struct daemon *d, const char *area, struct fault *fault, int err)
{
	if (!fault->err)
		fault_errno(fault, err);
	daemon_log(3, area, fault->text, fault->message);
	sd_notifyf(0, "STATUS=%s\nERRNO=%d", fault->text, -err);
	d->exit_code = 1;
	return err;
}

_Noreturn void daemon_end_at_once(const char *reason)
{
	char text[300];

	snprintf(text, sizeof(text), "this umbrad has lost the array and ends at once: %s", reason);
	daemon_log(3, "rbd", text, message_of("this umbrad has lost the array and ends at once"));
	sd_notifyf(0, "STATUS=%s\nERRNO=%d", text, ESHUTDOWN);
	_exit(1);
}

static const char *store_area(const struct daemon *d)
{
	return d->config.store == CONFIG_STORE_RBD ? "rbd" : "pool";
}

/* ---- what the management shows of the transport ------------------------------------------------------ */

static bool transport_session(void *ctx, unsigned index, struct management_session *out)
{
	struct daemon *d = ctx;
	struct iscsi_session_view view;

	if (!d->iscsi || !iscsi_session_view(d->iscsi, index, &view))
		return false;
	memset(out, 0, sizeof(*out));
	snprintf(out->initiator, sizeof(out->initiator), "%s", view.initiator);
	snprintf(out->peer, sizeof(out->peer), "%s", view.peer);
	out->authenticated = view.authenticated;
	out->header_digest = view.header_digest;
	out->data_digest = view.data_digest;
	out->commands = view.commands;
	out->bytes_in = view.bytes_in;
	out->bytes_out = view.bytes_out;
	out->since_unix_ms = view.since_unix_ms;
	return true;
}

static bool transport_portal(void *ctx, unsigned index, struct management_portal *out)
{
	struct daemon *d = ctx;

	if (!d->iscsi || index >= d->config.portal_count)
		return false;
	memset(out, 0, sizeof(*out));
	snprintf(out->address, sizeof(out->address), "%s", d->config.portals[index].address);
	out->port = iscsi_server_port(d->iscsi, index);
	out->group = config_portal_group(&d->config.portals[index]);
	if (d->config.portals[index].redirect[0])
		snprintf(out->redirect, sizeof(out->redirect), "%s, %s", d->config.portals[index].redirect,
			d->config.portals[index].moved ? "permanently" : "for now");
	return true;
}

static unsigned transport_logout(void *ctx, const char *initiator)
{
	struct daemon *d = ctx;

	return d->iscsi ? iscsi_session_logout(d->iscsi, initiator) : 0;
}

/* Whole or not at all: who waits for the file never reads half of it. One port a line, in portal order. */
static int write_port_file(struct daemon *d)
{
	char temporary[4096];

	if (!d->port_file)
		return 0;
	snprintf(temporary, sizeof(temporary), "%s.new", d->port_file);
	FILE *file = fopen(temporary, "we");
	if (!file)
		return -errno;
	for (unsigned i = 0; i < d->config.portal_count; i++)
		fprintf(file, "%u\n", iscsi_server_port(d->iscsi, i));
	if (fclose(file) || rename(temporary, d->port_file))
		return -errno;
	return 0;
}

/* ---- start ---------------------------------------------------------------------------------------- */

/* Of the store: before there is an array it is kept for later. */
static void store_notice(void *arg, enum store_notice level, const char *text)
{
	static const enum array_event_level levels[] = {[STORE_NOTICE_INFO] = ARRAY_EVENT_INFO,
		[STORE_NOTICE_WARNING] = ARRAY_EVENT_WARNING,
		[STORE_NOTICE_ERROR] = ARRAY_EVENT_ERROR};
	struct daemon *d = arg;

	if (!d->array) {
		snprintf(d->store_notice, sizeof(d->store_notice), "%s", text);
		d->store_notice_level = level;
	} else if (d->config.store == CONFIG_STORE_RBD) {
		array_event_as(d->array, levels[level], "rbd", message_of("Ceph tells of trouble"), text);
	} else {
		array_event_as(
			d->array, levels[level], "pool", message_of("the pool tells of trouble"), text);
	}
}

static void pool_notice(void *arg, const char *text)
{
	store_notice(arg, STORE_NOTICE_ERROR, text);
}

static void pool_damaged(void *arg, const struct pool_damage *damage)
{
	struct daemon *d = arg;
	char where[64];

	snprintf(where, sizeof(where), "%s at byte %llu", damage->file,
		(unsigned long long)damage->file_offset);
	if (d->array)
		lun_damaged(d->array, damage->disk_id, damage->disk_offset, where);
}

static void pool_scrubbed(void *arg, const struct store_scrub *view)
{
	struct daemon *d = arg;
	bool bad = view->damaged || view->unreadable || view->err;

	if (d->array)
		array_event_tell(d->array, bad ? ARRAY_EVENT_ERROR : ARRAY_EVENT_INFO, "pool",
			"the scrub of the pool %s: %llu MiB read, %llu blocks damaged, %llu places unreadable%s",
			view->finished ? "has ended"
			: view->err    ? "failed"
				       : "was stopped",
			(unsigned long long)(view->bytes >> 20), (unsigned long long)view->damaged,
			(unsigned long long)view->unreadable,
			view->damaged ? "; events before name them" : "");
}

struct array_options daemon_array_options(const struct daemon *d)
{
	const struct config *c = &d->config;

	return (struct array_options){
		.reactor = d->reactor,
		.store = d->store,
		.name = c->array_name,
		.lease_ms = c->lease_ms,
		.host_gone_ms = c->host_gone_ms,
		.commit_budget_ms = c->commit_budget_ms,
		.number_rest_ms = c->number_rest_ms,
		.copy_kind = c->copy_kind,
		.hydrate_bytes_per_s = c->hydrate_bytes_per_s,
		.hydrations_max = c->hydrations_max,
		.recycle_s = c->recycle_ms / 1000,
		.luns_max = c->luns_max,
		.hosts_max = c->hosts_max,
		.host_luns_max = c->host_luns_max,
		.lun_max_bytes = c->lun_max_bytes,
		.sets_max = c->sets_max,
		.set_luns_max = c->set_luns_max,
		.standby = role_stands_by(d),
	};
}

static int open_pool(struct daemon *d, struct fault *fault)
{
	const struct config *c = &d->config;
	struct pool_options options = {
		.path = c->pool_path,
		.data_device = c->pool_data_device[0] ? c->pool_data_device : NULL,
		.meta_mirror = c->pool_meta_mirror[0] ? c->pool_meta_mirror : NULL,
		.log_mirror = c->pool_log_mirror,
		.map_memory_bytes = c->pool_map_memory_bytes,
		.notice = pool_notice,
		.notice_arg = d,
		.damaged = pool_damaged,
		.scrubbed = pool_scrubbed,
		.damaged_arg = d,
	};

	snprintf(d->place, sizeof(d->place), "%s", c->pool_path);
	return pool_open(&options, d->reactor, &d->store, fault);
}

/* Of an array without another controller. What is under way ends with the process, as in a crash: hosts see a path that is gone. */
static void store_fenced(void *arg, const char *reason)
{
	(void)arg;
	daemon_end_at_once(reason);
}

static int open_rbd(struct daemon *d, struct fault *fault)
{
	const struct config *c = &d->config;
	struct store_module_options options = {
		.cluster_conf = c->rbd_conf[0] ? c->rbd_conf : NULL,
		.client_id = c->rbd_client[0] ? c->rbd_client : NULL,
		.ceph_pool = c->rbd_pool,
		.ceph_namespace = c->rbd_namespace[0] ? c->rbd_namespace : NULL,
		.array = c->rbd_array,
		.notice = store_notice,
		.notice_arg = d,
		.fenced = store_fenced,
	};
	const struct store_module *module = store_module_load("rbd", fault);

	snprintf(d->place, sizeof(d->place), "%s/%s%s%s", c->rbd_pool, c->rbd_namespace,
		*c->rbd_namespace ? "/" : "", c->rbd_array);
	if (!module)
		return fault->err;
	return c->controller ? role_open(d, module, &options, fault)
			     : module->open(&options, d->reactor, &d->store, fault);
}

static int open_array(struct daemon *d, struct fault *fault)
{
	int err = reactor_create(&d->reactor, NULL);

	if (err)
		return fault_set(fault, err,
			"io_uring is not available (%s): it needs Linux 5.10 or later, and a "
			"container must allow it.",
			strerror(-err));
	fault_in_ceph(d->config.store == CONFIG_STORE_RBD);
	err = d->config.store == CONFIG_STORE_RBD ? open_rbd(d, fault) : open_pool(d, fault);
	if (err)
		return err;
	struct array_options options = daemon_array_options(d);

	err = array_open(&options, &d->array, fault);
	if (err)
		return err;
	d->log.event = log_event;
	array_event_listen(d->array, &d->log);
	d->listening = true;
	if (d->store_notice[0])
		store_notice(d, d->store_notice_level, d->store_notice);
	return 0;
}

int daemon_open_inband(struct daemon *d)
{
	struct inband_options options = {.array = d->array, .reactor = d->reactor};

	d->inband_hook = (struct scsi_inband){.out = inband_out, .in = inband_in, .cancel = inband_cancel};
	int err = inband_create(&options, &d->inband);
	d->inband_hook.ctx = d->inband;
	return err;
}

int daemon_open_target(struct daemon *d)
{
	const struct config *c = &d->config;
	struct scsi_port_group groups[2];
	uint16_t ports[CONFIG_PORTALS_MAX]; /* every initiator is told of all, whichever are in use */

	for (unsigned i = 0; i < c->portal_count; i++)
		ports[i] = config_portal_group(&c->portals[i]);
	struct scsi_target_options options = {
		.ports = ports,
		.port_count = c->portal_count,
		.array = d->array,
		.target_name = c->target_name,
		.inband = &d->inband_hook,
		.threshold_percent = c->threshold_percent,
		.physical_block_bytes = (uint32_t)c->physical_block_bytes,
		.sanitize_bytes_per_s = c->sanitize_bytes_per_s,
	};

	if (c->controller) {
		role_groups(d, groups);
		options.groups = groups;
		options.group_count = 2;
		options.group = groups[0].id;
		options.standby = peer_scsi_standby(d->role.peer_scsi);
	}
	return scsi_target_create(&options, &d->scsi);
}

/* A killed daemon's ring, and with it its listening sockets, goes a moment after its process: so an address
 * in use is tried again for a while: longer than a moment where I/O of that ring is still under way. */
static int listen_patiently(struct daemon *d, const struct iscsi_options *options, struct fault *fault)
{
	static const struct timespec pause = {.tv_nsec = ADDRESS_PAUSE_MS * 1000000l};
	int err = iscsi_server_create(options, &d->iscsi, fault);

	if (err == -EADDRINUSE)
		daemon_log(5, "iscsi", "the address of a portal is in use: it is waited for, up to 10 s", 0);
	for (unsigned i = 0; err == -EADDRINUSE && i < ADDRESS_TRIES; i++) {
		nanosleep(&pause, NULL);
		memset(fault, 0, sizeof(*fault));
		err = iscsi_server_create(options, &d->iscsi, fault);
	}
	return err;
}

static struct iscsi_options iscsi_options_of(const struct daemon *d)
{
	const struct config *c = &d->config;

	return (struct iscsi_options){
		.reactor = d->reactor,
		.array = d->array,
		.scsi = d->scsi,
		.target_name = c->target_name,
		.portals = c->portals,
		.portal_count = c->portal_count,
		.connections_max = c->connections_max,
		.connections_per_source = c->connections_per_source,
		.sessions_max = c->sessions_max,
		.sessions_per_host = c->sessions_per_host,
		.tasks_max = c->tasks_max,
		.buffer_bytes_max = c->buffer_bytes_max,
		.login_timeout_ms = c->login_timeout_ms,
		.nop_interval_ms = c->nop_interval_ms,
		.nop_timeout_ms = c->nop_timeout_ms,
		.logout_timeout_ms = c->logout_timeout_ms,
		.max_recv_segment_bytes = (uint32_t)c->max_recv_segment_bytes,
		.max_burst_bytes = (uint32_t)c->max_burst_bytes,
		.first_burst_bytes = (uint32_t)c->first_burst_bytes,
		.discovery_needs_chap = c->discovery_needs_chap,
	};
}

static int open_iscsi(struct daemon *d, struct fault *fault)
{
	struct iscsi_options options = iscsi_options_of(d);
	int err = listen_patiently(d, &options, fault);

	return err ? err : role_listens(d);
}

static int open_management(struct daemon *d, struct fault *fault)
{
	const struct config *c = &d->config;
	struct management_options options = {
		.array = d->array,
		.reactor = d->reactor,
		.socket_path = c->socket_path,
		.pool_path = d->place,
		.group = c->management_group[0] ? c->management_group : NULL,
		.connections_max = c->management_connections_max,
		.transport = &d->transport,
	};

	d->transport = (struct management_transport){.ctx = d,
		.controllers = c->controller ? role_view : NULL,
		.move = role_move,
		.target_name = c->target_name,
		.session = transport_session,
		.portal = transport_portal,
		.logout = transport_logout};
	return management_create(&options, &d->management, fault);
}

static int open_doors(struct daemon *d, struct fault *fault)
{
	int err = daemon_open_inband(d);

	if (!err)
		err = daemon_open_target(d);
	if (!err)
		role_serves(d);
	if (!err)
		err = open_iscsi(d, fault);
	return err ? err : open_management(d, fault);
}

void daemon_ready(struct daemon *d)
{
	char text[400];

	snprintf(text, sizeof(text), "array %s %s %s on port %u", array_name(d->array),
		role_stands_by(d) ? "stands by for" : "serves", d->config.target_name,
		iscsi_server_port(d->iscsi, 0));
	daemon_log(6, "array", text, 0);
	sd_notifyf(0, "READY=1\nSTATUS=%s", text);
}

/* ---- SIGHUP ----------------------------------------------------------------------------------------- */

static void tell_reload(struct daemon *d, const char *taken, const char *refused)
{
	if (d->fresh_fault.err)
		array_event_tell(d->array, ARRAY_EVENT_ERROR, "config",
			"the configuration was read again and is wrong, so nothing changes: %s",
			d->fresh_fault.text);
	else if (*refused)
		array_event_tell(d->array, ARRAY_EVENT_WARNING, "config",
			"the configuration was read again; these change only when umbrad is restarted: %s",
			refused);
	if (!d->fresh_fault.err && (*taken || !*refused))
		array_event_tell(d->array, ARRAY_EVENT_INFO, "config",
			"the configuration was read again; %s%s",
			*taken ? "these have changed: " : "nothing has changed", taken);
}

/* What began keeps the times and limits that it began with. */
static void reload(struct reactor_message *message)
{
	struct daemon *d = container_of(message, struct daemon, reload_message);
	char taken[CONFIG_NAMES_BYTES] = "", refused[CONFIG_NAMES_BYTES] = "";

	if (d->array && d->management && !d->step) {
		if (!d->fresh_fault.err)
			config_take(&d->config, &d->fresh, taken, refused);
		if (*taken) {
			struct array_options array = daemon_array_options(d);
			struct iscsi_options iscsi = iscsi_options_of(d);
			struct scsi_target_options scsi = {.threshold_percent = d->config.threshold_percent,
				.sanitize_bytes_per_s = d->config.sanitize_bytes_per_s};

			array_reload(d->array, &array);
			iscsi_server_reload(d->iscsi, &iscsi);
			scsi_target_reload(d->scsi, &scsi);
			management_reload(d->management, d->config.management_connections_max);
			role_reload(d);
		}
		tell_reload(d, taken, refused);
		sd_notify(0, "READY=1");
	}
	sem_post(&d->reloaded);
}

/* On the signals' thread: a file may be slow to read. */
static void read_again(struct daemon *d)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu",
		(unsigned long long)now.tv_sec * 1000000 + (unsigned long long)now.tv_nsec / 1000);
	d->fresh_fault = (struct fault){0};
	config_load(d->config_path, &d->fresh, &d->fresh_fault);
	reactor_post(d->reactor, &d->reload_message);
	while (sem_wait(&d->reloaded) && errno == EINTR)
		;
}

/* ---- the end -------------------------------------------------------------------------------------- */

void daemon_step_done(void *arg)
{
	struct daemon *d = arg;

	d->step++;
	reactor_defer(d->reactor, &d->next_step);
}

static void store_closed(void *arg, int err)
{
	struct daemon *d = arg;

	d->store = NULL;
	if (err == -ESHUTDOWN && d->role.state == ROLE_LOSING)
		err = 0; /* another one has it */
	if (err) {
		struct fault fault = {0};
		if (d->config.store == CONFIG_STORE_RBD)
			fault_set(&fault, err,
				"The array in Ceph could not be closed cleanly (%s): look at the cluster (ceph -s); the "
				"next start recovers it.",
				strerror(-err));
		else
			fault_set(&fault, err,
				"The pool could not be closed cleanly (%s): look at its disk, then run umbractl "
				"pool check.",
				strerror(-err));
		daemon_fail(d, store_area(d), &fault, err);
	}
	daemon_step_done(d);
}

static bool stop_management(struct daemon *d)
{
	if (!d->management)
		return false;
	management_stop(d->management, daemon_step_done, d);
	return true;
}

static bool stop_iscsi(struct daemon *d)
{
	if (!d->iscsi)
		return false;
	iscsi_server_stop(d->iscsi, daemon_step_done, d);
	return true;
}

static bool stop_target(struct daemon *d)
{
	if (!d->scsi)
		return false;
	role_serves_no_more(d);
	scsi_target_stop(d->scsi, daemon_step_done, d);
	return true;
}

static bool stop_inband(struct daemon *d)
{
	if (!d->inband)
		return false;
	inband_stop(d->inband, daemon_step_done, d);
	return true;
}

static bool stop_array(struct daemon *d)
{
	if (!d->array)
		return false;
	array_stop(d->array, daemon_step_done, d);
	return true;
}

/* What nobody uses any more. What was lost may still look at what has been there for all. */
static bool free_parts(struct daemon *d)
{
	if (d->management && !d->role.leaves_behind)
		management_destroy(d->management);
	if (d->iscsi && !d->role.leaves_behind)
		iscsi_server_destroy(d->iscsi);
	if (d->scsi)
		scsi_target_destroy(d->scsi);
	if (d->inband)
		inband_destroy(d->inband);
	if (d->listening)
		array_event_unlisten(&d->log);
	if (d->array)
		array_close(d->array);
	d->management = NULL;
	d->iscsi = NULL;
	d->scsi = NULL;
	d->inband = NULL;
	d->listening = false;
	d->array = NULL;
	return false;
}

static bool close_store(struct daemon *d)
{
	if (!d->store)
		return false;
	d->store->ops->close(d->store, store_closed, d);
	return true;
}

static const struct end_step {
	const char *what; /* systemctl status shows it, should the end take long */
	bool (*stop)(struct daemon
			*d); /* true: daemon_step_done() is called when it has ended, perhaps from inside */
} end_steps[] = {
	{"the wait for the array", role_stop_waiting},
	{"management calls", stop_management},
	{"iSCSI sessions", stop_iscsi},
	{"what was served before", role_wait_for_retired},
	{"the SCSI target's background work", stop_target},
	{"control requests", stop_inband},
	{"the array's jobs", stop_array},
	{"the parts' memory", free_parts},
	{"the store", close_store},
};
#define END_STEPS (sizeof(end_steps) / sizeof(end_steps[0]))

static void next_step(struct reactor_deferred *deferred)
{
	struct daemon *d = container_of(deferred, struct daemon, next_step);

	if (d->step == END_STEPS) {
		reactor_stop(d->reactor);
		return;
	}
	if (!d->exit_code) /* else the status says what failed */
		sd_notifyf(0, "STATUS=stopping: %s", end_steps[d->step].what);
	if (!end_steps[d->step].stop(d))
		daemon_step_done(d);
}

_Noreturn void daemon_end_unfinished(struct daemon *d)
{
	unsigned step = d->step;
	const char *what = end_steps[step < END_STEPS ? step : END_STEPS - 1].what;
	char text[400];

	if (d->end_gives_back)
		snprintf(text, sizeof(text),
			"umbrad ends without giving the array back: Ceph does not answer, and it waits still for %s. No acknowledged write is "
			"lost; who takes the array next, another umbrad or this one's next start, locks this one out first, as after "
			"a crash. Look at the cluster (ceph -s, ceph health detail)",
			what);
	else
		snprintf(text, sizeof(text),
			"umbrad, which did not own the array, ends at once: Ceph does not answer, and it waits still for %s",
			what);
	daemon_log(d->end_gives_back ? 3 : 4, "rbd", text,
		message_of(d->end_gives_back ? "umbrad ends without giving the array back"
					     : "umbrad, which did not own the array, ends at once"));
	if (d->end_gives_back)
		sd_notifyf(0, "STATUS=%s\nERRNO=%d", text, ETIMEDOUT);
	_exit(d->end_gives_back ? 1 : 0);
}

/* It has a thread of its own: what it is there for might keep up the reactor, too. */
static void *end_limit(void *arg)
{
	struct timespec left = {.tv_sec = END_LIMIT_S};

	while (nanosleep(&left, &left) && errno == EINTR)
		;
	daemon_end_unfinished(arg);
}

static void limit_the_end(struct daemon *d)
{
	pthread_t thread;

	d->end_gives_back = d->store && role_owns_still(d);
	if (d->config.store == CONFIG_STORE_RBD && pthread_create(&thread, NULL, end_limit, d) == 0)
		pthread_detach(thread); /* it goes with the process */
}

static void begin_stop(struct reactor_message *message)
{
	struct daemon *d = container_of(message, struct daemon, stop_message);

	sd_notify(0, "STOPPING=1");
	daemon_log(6, "array", "stopping", 0);
	d->end_begun = true;
	limit_the_end(d);
	role_end(d);
	d->next_step.call = next_step;
	reactor_defer(d->reactor, &d->next_step);
}

static void signals_awaited(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
}

static void *wait_for_signals(void *arg)
{
	struct daemon *d = arg;
	sigset_t set;
	int number;

	signals_awaited(&set);
	for (bool ending = false;;) {
		if (sigwait(&set, &number))
			continue;
		if (number == SIGHUP && !ending) {
			read_again(d);
		} else if (number != SIGHUP) {
			if (ending)
				_exit(1);
			ending = true;
			reactor_post(d->reactor, &d->stop_message);
		}
	}
	return NULL;
}

/* While the store is being opened, which may take long (a cluster that does not answer, another umbrad's lease that has yet to
 * run out), nothing is acknowledged: a signal ends all of it at once. */
static void *wait_while_opening(void *arg)
{
	sigset_t set;
	int number;

	(void)arg;
	signals_awaited(&set);
	sigdelset(&set, SIGHUP); /* taken when the array is open */
	while (sigwait(&set, &number))
		;
	sd_notify(0, "STOPPING=1");
	daemon_log(6, "array", "stopped while it was starting", 0);
	_exit(0);
}

static int open_array_or_end(struct daemon *d, struct fault *fault)
{
	pthread_t waiting;
	int err = -pthread_create(&waiting, NULL, wait_while_opening, NULL);

	if (err)
		return err;
	err = open_array(d, fault);
	pthread_cancel(waiting);
	pthread_join(waiting, NULL);
	return err;
}

static int start_signals(struct daemon *d)
{
	d->stop_message.call = begin_stop;
	d->reload_message.call = reload;
	sem_init(&d->reloaded, 0, 0);
	int err = pthread_create(&d->signals, NULL, wait_for_signals, d);
	d->signals_started = !err;
	return -err;
}

static int refuse(const struct fault *fault, int code)
{
	char id[MESSAGE_ID_BYTES];

	fprintf(stderr, "umbrad: %s [%s]\n", fault->text, message_id(fault->message, id));
	return code;
}

/* The store only closes on a running reactor: also after a start that failed half-way. */
static int run_to_the_end(struct daemon *d)
{
	int err = reactor_run(d->reactor);

	if (err) {
		struct fault fault;

		fault_set(&fault, err,
			"the reactor failed (%s): see the kernel's log, and start umbrad again",
			strerror(-err));
		refuse(&fault, 1);
	}
	if (d->signals_started) {
		pthread_cancel(d->signals);
		pthread_join(d->signals, NULL);
	}
	if (d->port_file)
		unlink(d->port_file);
	if (d->role.leaves_behind) /* and ends with the process */
		_exit(err ? 1 : d->exit_code);
	reactor_destroy(d->reactor);
	role_destroy(d);
	return err ? 1 : d->exit_code;
}

static int serve(struct daemon *d)
{
	struct fault fault = {0};
	sigset_t set;

	signals_awaited(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL); /* before any thread exists */
	signal(SIGPIPE, SIG_IGN);
	int err = open_array_or_end(d, &fault);
	if (err)
		daemon_fail(d, store_area(d), &fault, err);
	else if ((err = open_doors(d, &fault)) || (err = start_signals(d)) || (err = write_port_file(d)))
		daemon_fail(d, "start", &fault, err);
	if (!d->reactor)
		return d->exit_code;
	if (err)
		begin_stop(&d->stop_message);
	else
		daemon_ready(d);
	return run_to_the_end(d);
}

/* ---- the command line ------------------------------------------------------------------------------ */

static const char help[] =
	"usage: umbrad [--config FILE] [--check-config | --unit | --give-pool USER] [--foreground] [--port-file FILE]\n"
	"\n"
	"Serves the LUNs of a pool, or of a Ceph cluster, over iSCSI, with atomic\n"
	"snapshot sets for Umbra's VSS provider.\n"
	"\n"
	"  --config FILE     the configuration (default " PLACE_CONFIG ")\n"
	"  --check-config    say whether the configuration is right, and end\n"
	"  --unit            print what the configuration needs of systemd, a drop-in for umbrad.service, and end\n"
	"  --give-pool USER  make root's pool the user's that umbrad is to run as, and end\n"
	"  --foreground      stay in the foreground and log to standard error (umbrad always does)\n"
	"  --port-file FILE  when ready, write the portals' ports there, one a line\n"
	"  --version         print the version, and which stores there are\n"
	"  --help            print this\n"
	"\n"
	"Exit codes: 0 ended by a signal, 1 failed, 2 wrong command line or configuration. See umbrad(8).\n";

static int print_version(void)
{
	struct fault fault = {0};
	const struct store_module *rbd = store_module_load("rbd", &fault);

	printf("umbrad %s\nstores: pool, rbd (%s)\n", UMBRA_VERSION,
		rbd                    ? rbd->library
		: fault.err == -ENOENT ? "not installed: package umbra-rbd"
				       : fault.text);
	return 0;
}

struct command_line {
	const char *config, *port_file, *user;
	int only; /* an option's letter: do that, and end; 0: serve */
};

/* 0, or an exit code + 1. */
static int read_command_line(int argc, char **argv, struct command_line *out)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'},
		{"check-config", no_argument, NULL, 'k'},
		{"unit", no_argument, NULL, 'u'},
		{"give-pool", required_argument, NULL, 'g'},
		{"foreground", no_argument, NULL, 'f'},
		{"port-file", required_argument, NULL, 'p'},
		{"version", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	struct fault fault;
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			out->config = optarg;
			break;
		case 'g':
			out->user = optarg;
			out->only = option;
			break;
		case 'k':
		case 'u':
			out->only = option;
			break;
		case 'f':
			break;
		case 'p':
			out->port_file = optarg;
			break;
		case 'v':
			return 1 + print_version();
		case 'h':
			fputs(help, stdout);
			return 1;
		default:
			fault_set(&fault, -EINVAL, "%s is no option, or lacks its value: see umbrad --help",
				argv[optind - 1]);
			return 1 + refuse(&fault, 2);
		}
	}
	if (optind < argc) {
		fault_set(&fault, -EINVAL, "unexpected argument %s: see umbrad --help", argv[optind]);
		return 1 + refuse(&fault, 2);
	}
	return 0;
}

/* What the start would refuse, and can be seen without the pool or Ceph. */
static int check(const struct config *config, struct fault *fault)
{
	gid_t group;
	int err = config->management_group[0] ? management_find_group(config->management_group, &group, fault)
					      : 0;

	if (!err && config->store == CONFIG_STORE_RBD && !store_module_load("rbd", fault))
		err = fault->err;
	return err;
}

int main(int argc, char **argv)
{
	static struct daemon d;
	struct command_line line = {.config = PLACE_CONFIG};
	struct fault fault = {0};
	int code = read_command_line(argc, argv, &line);

	if (code)
		return code - 1;
	d.config_path = line.config;
	d.port_file = line.port_file;
	if (config_load(line.config, &d.config, &fault))
		return refuse(&fault, 2);
	switch (line.only) {
	case 'k':
		if (check(&d.config, &fault))
			return refuse(&fault, 2);
		printf("%s: ok\n", line.config);
		return 0;
	case 'u':
		service_write_unit(&d.config, stdout);
		return 0;
	case 'g':
		return service_give_pool(&d.config, line.user, &fault) ? refuse(&fault, 1) : 0;
	default:
		return serve(&d);
	}
}
