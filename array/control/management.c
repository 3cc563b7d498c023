/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The management socket: JSON-RPC 2.0, one message a line, over a UNIX socket on the reactor. Lines become calls of
 * the methods here; what a call answers is made in rpc.c.
 *
 * Invariants:
 * - Only root, the daemon's own user and members of the configured group are served (SO_PEERCRED,
 *   SO_PEERGROUPS), whatever the socket file's mode.
 * - Bounded: connections, the length of a line, what waits to be sent (a follower that does not read is cut
 *   off). A connection has one call under way; further lines wait in its buffer, then in the kernel's.
 * - A connection is freed by a deferred call only, when it is closed and no operation of the ring uses its
 *   memory: so no function here loses its connection underneath itself. A call that runs on is cut loose.
 */
#include "array/control/management.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "array/control/methods.h"
#include "array/reactor/reactor.h"
#include "array/util/clock.h"
#include "array/util/message.h"

#define OUT_MAX_BYTES   (4u << 20)
#define OUT_WAIT_BYTES  (64u << 10) /* so much not sent yet: the next call waits */
#define CONNECTIONS_MAX 32
#define PEER_GROUPS_MAX 64

struct buffer {
	char *bytes;
	size_t used, size;
};

struct connection {
	struct list_node link;
	struct management *m;
	int fd;         /* -1: headless, for management_answer: what is sent stays in `out` */
	bool closing;   /* no more input; ends when all is sent */
	bool closed;    /* the socket is shut; freed when nothing uses it */
	bool following; /* gets events */
	bool receiving, sending, handling;
	struct mgmt_call *call;
	struct reactor_op recv_op, send_op;
	struct reactor_deferred reap;
	size_t in_used;
	struct buffer out, out_sending;
	size_t sent;
	struct iovec send_iov;
	char in[MGMT_MESSAGE_MAX_BYTES + 1];
};

struct management {
	struct management_options options;
	uint64_t started_unix_ms;
	int fd;
	gid_t group;
	bool has_group, stopping, accepting;
	struct reactor_op accept_op;
	struct reactor_timer accept_retry; /* when the process has no descriptor or memory for another */
	struct list connections;
	unsigned connection_count;
	unsigned calls; /* under way, also of connections that are gone */
	struct array_event_listener listener;
	json_t *none; /* empty params */
	void (*stopped)(void *arg);
	void *stopped_arg;
};

const struct mgmt_method *const mgmt_tables[] = {mgmt_lun_methods, mgmt_host_methods, mgmt_set_methods,
	mgmt_policy_methods, mgmt_resync_methods, mgmt_recycle_methods, mgmt_load_methods,
	mgmt_controller_methods, mgmt_status_methods};
const size_t mgmt_table_count = sizeof(mgmt_tables) / sizeof(mgmt_tables[0]);

/* ---- sending -------------------------------------------------------------------------------------- */

static void connection_close(struct connection *c);
static void handle_lines(struct connection *c);

static bool buffer_add(struct buffer *b, const char *bytes, size_t len)
{
	if (b->size - b->used < len) {
		size_t size = b->size ? b->size : 4096;
		while (size - b->used < len)
			size *= 2;
		char *grown = realloc(b->bytes, size);
		if (!grown)
			return false;
		b->bytes = grown;
		b->size = size;
	}
	memcpy(b->bytes + b->used, bytes, len);
	b->used += len;
	return true;
}

static void send_some(struct connection *c)
{
	c->send_iov.iov_base = c->out_sending.bytes + c->sent;
	c->send_iov.iov_len = c->out_sending.used - c->sent;
	c->sending = true;
	reactor_sendv(c->m->options.reactor, &c->send_op, c->fd, &c->send_iov, 1, MSG_NOSIGNAL);
}

static void send_next(struct connection *c)
{
	if (c->sending || c->closed || c->fd < 0)
		return;
	if (!c->out.used) {
		if (c->closing && !c->call)
			connection_close(c);
		return;
	}
	struct buffer empty = c->out_sending;
	c->out_sending = c->out;
	empty.used = 0;
	c->out = empty;
	c->sent = 0;
	send_some(c);
}

static void send_done(struct reactor_op *op, int result)
{
	struct connection *c = container_of(op, struct connection, send_op);

	c->sending = false;
	if (c->closed) {
		reactor_defer(c->m->options.reactor, &c->reap);
		return;
	}
	if (result <= 0) {
		connection_close(c);
		return;
	}
	c->sent += (size_t)result;
	if (c->sent < c->out_sending.used) {
		send_some(c);
		return;
	}
	send_next(c);
	handle_lines(c); /* those that waited for room in out */
}

/* message is moved. */
static void send_json(struct connection *c, json_t *message)
{
	char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;

	json_decref(message);
	if (c->closed) {
		free(text);
		return;
	}
	bool fits = text && c->out.used + strlen(text) < OUT_MAX_BYTES;
	if (!fits || !buffer_add(&c->out, text, strlen(text)) || !buffer_add(&c->out, "\n", 1))
		connection_close(c);
	free(text);
	if (!c->closed)
		send_next(c);
}

/* ---- calls ---------------------------------------------------------------------------------------- */

static void tell_stopped(struct management *m)
{
	if (!m->stopped || m->calls || m->connection_count || m->accepting)
		return;
	void (*stopped)(void *arg) = m->stopped;
	m->stopped = NULL;
	stopped(m->stopped_arg);
}

static void call_end(struct mgmt_call *call, json_t *answer)
{
	struct connection *c = call->connection;
	struct management *m = call->management;

	if (call->lun)
		lun_release(call->lun);
	if (c) {
		c->call = NULL;
		if (answer && call->id)
			send_json(c, answer);
		else
			json_decref(answer);
	} else {
		json_decref(answer);
	}
	json_decref(call->message);
	free(call);
	assert(m->calls > 0);
	m->calls--;
	if (c && !c->closed)
		handle_lines(c);
	tell_stopped(m);
}

/* ---- events --------------------------------------------------------------------------------------- */

static void notify(struct connection *c, const struct array_event *e)
{
	send_json(c, json_pack("{s:s, s:s, s:o}", "jsonrpc", "2.0", "method", "event", "params",
			     mgmt_event_json(e)));
}

static void on_event(struct array_event_listener *l, const struct array_event *e)
{
	struct management *m = container_of(l, struct management, listener);

	list_for_each_safe (node, &m->connections) {
		struct connection *c = container_of(node, struct connection, link);
		if (c->following && !c->closed)
			notify(c, e);
	}
}

static void follow(struct mgmt_call *call, uint64_t after)
{
	struct connection *c = call->connection;
	struct array *a = call->array;

	mgmt_result(call, json_pack("{s:b}", "following", 1));
	if (!c)
		return;
	for (const struct array_event *e = array_event_after(a, after); e && !c->closed;
		e = array_event_after(a, e->serial))
		notify(c, e);
	c->following = !c->closed && c->fd >= 0;
}

/* ---- requests ------------------------------------------------------------------------------------- */

static const struct mgmt_door door = {.end = call_end, .follow = follow};

static const struct mgmt_method *find_method(const char *name)
{
	for (size_t t = 0; t < mgmt_table_count; t++)
		for (const struct mgmt_method *method = mgmt_tables[t]; method->name; method++)
			if (!strcmp(method->name, name))
				return method;
	return NULL;
}

/* Why a message is no JSON-RPC 2.0 request, or NULL. */
static const char *request_fault(json_t *message)
{
	if (json_is_array(message))
		return "batches are not served: send one request a line";
	if (!json_is_object(message))
		return "a request is an object";
	const char *version = json_string_value(json_object_get(message, "jsonrpc"));
	if (!version || strcmp(version, "2.0") != 0)
		return "\"jsonrpc\" must be \"2.0\"";
	if (!json_is_string(json_object_get(message, "method")))
		return "\"method\" must be a string";
	json_t *id = json_object_get(message, "id");
	if (id && !json_is_string(id) && !json_is_number(id) && !json_is_null(id))
		return "\"id\" must be a string, a number or null";
	json_t *params = json_object_get(message, "params");
	if (params && !json_is_object(params))
		return "\"params\" must be an object (parameters have names)";
	return NULL;
}

/* message is moved. */
static void start_call(struct connection *c, struct management *m, json_t *message)
{
	json_t *id = json_object_get(message, "id");
	const char *name = json_string_value(json_object_get(message, "method"));
	const struct mgmt_method *method = find_method(name);
	struct mgmt_call *call = method ? calloc(1, sizeof(*call)) : NULL;

	if (!call) {
		if (id && !method)
			send_json(c, mgmt_error_json(id, MGMT_NO_METHOD, message_of("no such method"),
					     "no such method", 0,
					     "umbractl and umbrad should have the same version"));
		else if (id)
			send_json(c, mgmt_error_json(id, MGMT_INTERNAL, fault_message(-ENOMEM),
					     "umbrad has no memory", -ENOMEM, "try again"));
		json_decref(message);
		return;
	}
	call->door = &door;
	call->management = m;
	call->connection = c;
	call->options = &m->options;
	call->array = m->options.array;
	call->started_unix_ms = m->started_unix_ms;
	call->message = message;
	call->id = id;
	call->params = json_object_get(message, "params");
	if (!call->params)
		call->params = m->none;
	c->call = call;
	m->calls++;
	if (array_settings(call->array)->standby && method->where != MGMT_ANYWHERE)
		mgmt_fail(call, -ESHUTDOWN,
			"this controller stands by, and another one owns the array: ask that one (umbractl status names it)");
	else
		method->run(call);
}

static void handle_message(struct connection *c, struct management *m, const char *line, size_t len)
{
	json_error_t where;
	json_t *message = json_loadb(line, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &where);
	const char *fault = message ? request_fault(message) : NULL;

	if (!message) {
		send_json(c, mgmt_error_json(json_null(), MGMT_PARSE_ERROR, message_of("no JSON"), where.text,
				     0, "one JSON object a line, UTF-8"));
	} else if (fault) {
		send_json(c, mgmt_error_json(json_null(), MGMT_INVALID_REQUEST, message_of(fault), fault, 0,
				     "see JSON-RPC 2.0"));
		json_decref(message);
	} else {
		start_call(c, m, message);
	}
}

static bool blank(const char *line, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r')
			return false;
	return true;
}

/* Handles the whole lines in hand, one call at a time; then asks for more. A peer that sends on and takes no answers
 * waits. Not recursive: a call that ends at once comes back here by call_end and finds `handling` set. */
static void handle_lines(struct connection *c)
{
	if (c->handling || c->fd < 0)
		return;
	c->handling = true;
	while (!c->call && !c->closed && c->out.used < OUT_WAIT_BYTES) {
		char *end = memchr(c->in, '\n', c->in_used);
		if (!end)
			break;
		size_t len = (size_t)(end - c->in);
		if (!blank(c->in, len))
			handle_message(c, c->m, c->in, len);
		c->in_used -= len + 1;
		memmove(c->in, end + 1, c->in_used);
	}
	c->handling = false;
	if (c->closed)
		return;
	if (c->call || c->receiving || c->out.used >= OUT_WAIT_BYTES)
		return;
	if (c->in_used == MGMT_MESSAGE_MAX_BYTES) {
		c->in_used = 0;
		c->closing = true;
		send_json(c, mgmt_error_json(json_null(), MGMT_INVALID_REQUEST,
				     message_of("the line is longer than 65536 bytes"),
				     "the line is longer than 65536 bytes", 0, "send smaller requests"));
		return;
	}
	if (c->closing) {
		send_next(c);
		return;
	}
	c->receiving = true;
	reactor_recv(c->m->options.reactor, &c->recv_op, c->fd, c->in + c->in_used,
		MGMT_MESSAGE_MAX_BYTES - c->in_used, 0);
}

/* ---- connections ---------------------------------------------------------------------------------- */

static void connection_close(struct connection *c)
{
	struct reactor *reactor = c->m->options.reactor;

	if (c->closed)
		return;
	c->closed = true;
	c->following = false;
	if (c->fd < 0)
		return;
	shutdown(c->fd, SHUT_RDWR);
	if (c->receiving)
		reactor_cancel(reactor, &c->recv_op);
	if (c->sending)
		reactor_cancel(reactor, &c->send_op);
	reactor_defer(reactor, &c->reap);
}

static void connection_reap(struct reactor_deferred *d)
{
	struct connection *c = container_of(d, struct connection, reap);
	struct management *m = c->m;

	if (c->receiving || c->sending)
		return; /* their end defers us again */
	if (c->call)
		c->call->connection = NULL;
	list_remove(&c->link);
	close(c->fd);
	free(c->out.bytes);
	free(c->out_sending.bytes);
	free(c);
	m->connection_count--;
	tell_stopped(m);
}

static void recv_done(struct reactor_op *op, int result)
{
	struct connection *c = container_of(op, struct connection, recv_op);

	c->receiving = false;
	if (c->closed) {
		reactor_defer(c->m->options.reactor, &c->reap);
		return;
	}
	if (result < 0) {
		connection_close(c);
		return;
	}
	if (result == 0) {
		c->closing = true;
		c->following = false;
	}
	c->in_used += (size_t)result;
	handle_lines(c);
}

/* 0 or -EPERM. */
static int check_peer(const struct management *m, int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);
	gid_t groups[PEER_GROUPS_MAX];

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len))
		return -EPERM;
	if (peer.uid == 0 || peer.uid == geteuid())
		return 0;
	if (!m->has_group)
		return -EPERM;
	if (peer.gid == m->group)
		return 0;
	len = sizeof(groups);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len))
		return -EPERM;
	for (size_t i = 0; i < len / sizeof(groups[0]); i++)
		if (groups[i] == m->group)
			return 0;
	return -EPERM;
}

static void refuse_connection(int fd, const char *message, const char *hint)
{
	json_t *error = mgmt_error_json(json_null(), MGMT_REFUSED, message_of(message), message, 0, hint);
	char *text = error ? json_dumps(error, JSON_COMPACT) : NULL;

	json_decref(error);
	if (text) {
		struct iovec iov[2] = {{text, strlen(text)}, {(char[]){"\n"}, 1}};
		struct msghdr header = {.msg_iov = iov, .msg_iovlen = 2};
		(void)!sendmsg(fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
	}
	free(text);
	close(fd);
}

static void take_connection(struct management *m, int fd)
{
	unsigned max = m->options.connections_max ? m->options.connections_max : CONNECTIONS_MAX;

	if (check_peer(m, fd)) {
		refuse_connection(fd, "this user may not manage the array",
			"be root, or a member of the group that [management] group names");
		return;
	}
	struct connection *c = m->connection_count < max ? calloc(1, sizeof(*c)) : NULL;
	if (!c) {
		refuse_connection(fd, "too many management connections",
			"end some, or raise [management] connections_max");
		return;
	}
	c->m = m;
	c->fd = fd;
	c->recv_op.done = recv_done;
	c->send_op.done = send_done;
	c->reap.call = connection_reap;
	list_push_back(&m->connections, &c->link);
	m->connection_count++;
	handle_lines(c);
}

static void accept_next(struct management *m)
{
	m->accepting = true;
	reactor_accept(m->options.reactor, &m->accept_op, m->fd);
}

static void accept_again(struct reactor_timer *t)
{
	accept_next(container_of(t, struct management, accept_retry));
}

static void accept_done(struct reactor_op *op, int result)
{
	struct management *m = container_of(op, struct management, accept_op);

	m->accepting = false;
	if (m->stopping) {
		if (result >= 0)
			close(result);
		tell_stopped(m);
		return;
	}
	if (reactor_accept_starved(result)) {
		reactor_timer_arm(m->options.reactor, &m->accept_retry, REACTOR_ACCEPT_RETRY_MS);
		return;
	}
	if (result >= 0)
		take_connection(m, result);
	accept_next(m);
}

/* ---- the socket ----------------------------------------------------------------------------------- */

int management_find_group(const char *name, gid_t *gid, struct fault *fault)
{
	const struct group *group = getgrnam(name);

	if (!group)
		return fault_set(fault, -ENOENT,
			"The group %s of [management] group does not exist: groupadd it, or "
			"remove the line.",
			name);
	*gid = group->gr_gid;
	return 0;
}

/* Does somebody answer at the other end? That a connection is made proves nothing: the kernel takes down the
 * ring of a killed daemon, and with it the listening socket, a moment after the process has gone. */
static bool is_served(int fd)
{
	static const char question[] = "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"pool.status\"}\n";
	struct timeval patience = {.tv_sec = 2};
	struct ucred peer = {0};
	socklen_t len = sizeof(peer);
	char answer;

	if (!getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) && peer.pid == getpid())
		return true; /* ourselves: who asks cannot answer */
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return send(fd, question, sizeof(question) - 1, MSG_NOSIGNAL) > 0 && recv(fd, &answer, 1, 0) > 0;
}

/* Removes a socket that nobody serves any more. */
static int clear_path(const struct sockaddr_un *address, struct fault *fault)
{
	struct stat st;

	if (lstat(address->sun_path, &st))
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return fault_set(fault, -EEXIST,
			"%s exists and is no socket: remove it, or set [management] socket.",
			address->sun_path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	bool served = connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 && is_served(fd);
	close(fd);
	if (served)
		return fault_set(fault, -EADDRINUSE,
			"Another umbrad answers at %s: stop it, or set another [management] "
			"socket.",
			address->sun_path);
	return unlink(address->sun_path) ? -errno : 0;
}

static int make_parent(const char *path)
{
	char parent[sizeof(((struct sockaddr_un *)0)->sun_path)];
	const char *slash = strrchr(path, '/');

	if (!slash || slash == path)
		return 0;
	memcpy(parent, path, (size_t)(slash - path));
	parent[slash - path] = '\0';
	return mkdir(parent, 0755) && errno != EEXIST ? -errno : 0;
}

static int bind_socket(struct management *m, const struct sockaddr_un *address)
{
	m->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (m->fd < 0)
		return -errno;
	mode_t mask = umask(0177);
	int err = bind(m->fd, (const struct sockaddr *)address, sizeof(*address)) ? -errno : 0;
	umask(mask);
	if (!err && m->has_group)
		err = chown(address->sun_path, (uid_t)-1, m->group) || chmod(address->sun_path, 0660) ? -errno
												      : 0;
	if (!err && listen(m->fd, 64))
		err = -errno;
	if (err)
		close(m->fd);
	return err;
}

static int open_socket(struct management *m, struct fault *fault)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const char *path = m->options.socket_path;

	if (strlen(path) >= sizeof(address.sun_path))
		return fault_set(fault, -ENAMETOOLONG,
			"The path of the management socket has more than %zu characters: "
			"set a shorter [management] socket.",
			sizeof(address.sun_path) - 1);
	memcpy(address.sun_path, path, strlen(path) + 1);
	int err = make_parent(path);
	if (!err)
		err = clear_path(&address, fault);
	if (err && fault && fault->err)
		return err;
	if (!err)
		err = bind_socket(m, &address);
	if (err)
		return fault_set(fault, err,
			"The management socket %s cannot be made (%s): set [management] socket to "
			"a place that umbrad may write to.",
			path, strerror(-err));
	return 0;
}

struct management *management_headless(const struct management_options *options)
{
	struct management *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->fd = -1;
	m->options = *options;
	m->started_unix_ms = clock_unix_ms();
	list_init(&m->connections);
	m->none = json_object();
	m->listener.event = on_event;
	if (!m->none) {
		free(m);
		return NULL;
	}
	array_event_listen(options->array, &m->listener);
	return m;
}

int management_create(const struct management_options *options, struct management **out, struct fault *fault)
{
	struct management *m = management_headless(options);

	if (!m)
		return -ENOMEM;
	int err = m->options.group ? management_find_group(m->options.group, &m->group, fault) : 0;

	m->has_group = m->options.group && !err;
	if (!err)
		err = open_socket(m, fault);
	if (err) {
		m->fd = -1;
		management_destroy(m);
		return err;
	}
	m->accept_op.done = accept_done;
	m->accept_retry.fire = accept_again;
	accept_next(m);
	*out = m;
	return 0;
}

void management_set_array(struct management *m, struct array *array)
{
	array_event_unlisten(&m->listener);
	m->options.array = array;
	array_event_listen(array, &m->listener);
}

bool management_is_idle(const struct management *m)
{
	return m->calls == 0;
}

void management_reload(struct management *m, unsigned connections_max)
{
	m->options.connections_max = connections_max;
}

void management_stop(struct management *m, void (*done)(void *arg), void *arg)
{
	m->stopping = true;
	m->stopped = done;
	m->stopped_arg = arg;
	if (m->accepting)
		reactor_cancel(m->options.reactor, &m->accept_op);
	reactor_timer_disarm(m->options.reactor, &m->accept_retry);
	list_for_each_safe (node, &m->connections) {
		struct connection *c = container_of(node, struct connection, link);
		connection_close(c);
	}
	if (m->fd >= 0)
		unlink(m->options.socket_path);
	tell_stopped(m);
}

void management_destroy(struct management *m)
{
	assert(!m->calls && !m->connection_count && !m->accepting);
	array_event_unlisten(&m->listener);
	if (m->fd >= 0)
		close(m->fd);
	json_decref(m->none);
	free(m);
}

char *management_answer(struct management *m, const char *line, size_t len)
{
	struct connection c = {.m = m, .fd = -1};
	char *answer = NULL;

	handle_message(&c, m, line, len);
	if (c.call)
		c.call->connection = NULL;
	if (c.out.used)
		answer = strndup(c.out.bytes, c.out.used - 1);
	free(c.out.bytes);
	return answer;
}
