/* SPDX-License-Identifier: Apache-2.0 */
/* What umbrad's own files share: the daemon as a whole, and what main.c, which starts and ends it, gives role.c. */
#ifndef UMBRA_DAEMON_H
#define UMBRA_DAEMON_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include "array/config.h"
#include "array/control/control.h"
#include "array/iscsi/iscsi.h"
#include "array/reactor/reactor.h"
#include "array/role.h"
#include "array/scsi/scsi.h"

struct daemon {
	char store_notice[400]; /* at its opening */
	enum store_notice store_notice_level;
	char place[1024]; /* where the data is, for people */
	struct config config;
	const char *config_path, *port_file;
	struct reactor *reactor;
	struct store *store;
	struct array *array;
	struct inband *inband;
	struct scsi_inband inband_hook;
	struct scsi_target *scsi;
	struct iscsi_server *iscsi;
	struct management_transport transport;
	struct management *management;
	struct array_event_listener log;
	bool listening;
	struct role role; /* [controller] */
	/* SIGHUP: what the thread of the signals has read; the reactor's thread takes it and posts the semaphore */
	struct config fresh;
	struct fault fresh_fault;
	struct reactor_message reload_message;
	sem_t reloaded;
	/* the end */
	pthread_t signals;
	bool signals_started;
	struct reactor_message stop_message;
	struct reactor_deferred next_step;
	atomic_uint step; /* the thread that limits the end looks at it */
	bool end_begun;
	bool end_gives_back; /* the array; since the end has begun */
	int exit_code;
};

/* To the journal, or to the terminal. message: its id, 0: none. */
void daemon_log(int level, const char *area, const char *text, uint32_t message);
/* Tells why umbrad fails, and sets its exit code. Returns err. */
int daemon_fail(struct daemon *d, const char *area, struct fault *fault, int err);
/* The array is another umbrad's, or may be, and this one cannot stand by. */
_Noreturn void daemon_end_at_once(const char *reason);
/* The end has begun, and takes too long: the rest is as in a crash. */
_Noreturn void daemon_end_unfinished(struct daemon *d);
/* As the configuration and the role say. */
struct array_options daemon_array_options(const struct daemon *d);
int daemon_open_inband(struct daemon *d); /* into d, for d->array */
int daemon_open_target(struct daemon *d); /* likewise */
void daemon_ready(struct daemon *d);      /* systemd and the journal are told what is served */
/* A step of the end is over. */
void daemon_step_done(void *arg);

#endif
