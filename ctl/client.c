/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon's management socket: JSON-RPC 2.0, one message a line. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>
#include "ctl/ctl.h"

#define ANSWER_TIMEOUT_S 120

struct client {
	const struct invocation *in;
	int fd;
	json_int_t next_id;
	char *buffer;
	size_t used, size;
};

static struct client *cannot_reach(const struct invocation *in, int err)
{
	const char *advice =
		err == -ENOENT || err == -ECONNREFUSED
			? "is umbrad running? (systemctl status umbrad; --socket names another socket)"
		: err == -EACCES || err == -EPERM
			? "be root, or a member of the group that [management] group names"
			: "see umbrad's log";

	ctl_fail(in, err, "umbrad does not answer at %s (%s): %s.", in->socket_path, strerror(-err), advice);
	return NULL;
}

/* NULL: *err says why. */
static struct client *reach(const struct invocation *in, int *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval timeout = {.tv_sec = ANSWER_TIMEOUT_S};

	*err = -ENAMETOOLONG;
	if (strlen(in->socket_path) >= sizeof(address.sun_path))
		return NULL;
	memcpy(address.sun_path, in->socket_path, strlen(in->socket_path) + 1);
	struct client *c = calloc(1, sizeof(*c));
	*err = -ENOMEM;
	if (!c)
		return NULL;
	c->in = in;
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof(address))) {
		*err = -errno;
		client_close(c);
		return NULL;
	}
	setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	return c;
}

struct client *client_open(const struct invocation *in)
{
	int err;
	struct client *c = reach(in, &err);

	return c ? c : cannot_reach(in, err);
}

struct client *client_try(const struct invocation *in)
{
	int err;

	return reach(in, &err);
}

void client_close(struct client *c)
{
	if (!c)
		return;
	if (c->fd >= 0)
		close(c->fd);
	free(c->buffer);
	free(c);
}

static int send_all(int fd, const char *bytes, size_t len)
{
	while (len) {
		ssize_t sent = send(fd, bytes, len, MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			return -errno;
		bytes += sent;
		len -= (size_t)sent;
	}
	return 0;
}

/* One line as JSON; NULL: *err says why (0: the daemon closed the connection). */
static json_t *receive(struct client *c, int *err)
{
	*err = 0;
	for (;;) {
		char *end = c->used ? memchr(c->buffer, '\n', c->used) : NULL;
		if (end) {
			size_t len = (size_t)(end - c->buffer);
			json_t *message = json_loadb(c->buffer, len, 0, NULL);
			c->used -= len + 1;
			memmove(c->buffer, end + 1, c->used);
			if (!message)
				*err = -EBADMSG;
			return message;
		}
		if (c->used == c->size) {
			size_t size = c->size ? 2 * c->size : 65536;
			char *grown = realloc(c->buffer, size);
			if (!grown) {
				*err = -ENOMEM;
				return NULL;
			}
			c->buffer = grown;
			c->size = size;
		}
		ssize_t got = recv(c->fd, c->buffer + c->used, c->size - c->used, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			*err = got < 0 ? -errno : 0;
			return NULL;
		}
		c->used += (size_t)got;
	}
}

static int send_request(struct client *c, const char *method, json_t *params)
{
	json_t *request = json_pack("{s:s, s:I, s:s, s:o}", "jsonrpc", "2.0", "id", ++c->next_id, "method",
		method, "params", params ? params : json_object());
	char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;

	json_decref(request);
	if (!text)
		return -ENOMEM;
	int err = send_all(c->fd, text, strlen(text));
	if (!err)
		err = send_all(c->fd, "\n", 1);
	free(text);
	return err;
}

/* The daemon's error, told to the user. */
static void tell_error(const struct invocation *in, json_t *error)
{
	const char *message = json_string_value(json_object_get(error, "message"));
	const char *hint = json_string_value(json_object_get(json_object_get(error, "data"), "hint"));
	const char *id = json_string_value(json_object_get(json_object_get(error, "data"), "id"));

	fprintf(stderr, "umbractl: %s\n", message ? message : "umbrad reports an error without a text");
	if (hint)
		fprintf(stderr, "  %s%s%s%s\n", hint, id ? " [" : "", id ? id : "", id ? "]" : "");
	if (in->json)
		print_json(json_pack("{s:O}", "error", error));
}

json_t *client_call(struct client *c, const char *method, json_t *params)
{
	int err = send_request(c, method, params);
	json_t *message = NULL;

	/* A refused connection is answered before it is asked: look, even when sending failed. */
	for (;;) {
		int receive_err;
		message = receive(c, &receive_err);
		if (!message) {
			err = err ? err : receive_err;
			ctl_fail(c->in, err, "umbrad ended the connection (%s): see its log.",
				err == -EAGAIN ? "no answer in 120 s"
				: err          ? strerror(-err)
					       : "without an answer");
			return NULL;
		}
		if (json_object_get(message, "id") || json_object_get(message, "error"))
			break;
		json_decref(message); /* an event */
	}
	json_t *error = json_object_get(message, "error"), *result = json_object_get(message, "result");
	if (error)
		tell_error(c->in, error);
	else if (!result)
		ctl_fail(c->in, -EBADMSG,
			"umbrad's answer makes no sense: are umbractl and umbrad of one version?");
	json_incref(error ? NULL : result);
	json_decref(message);
	return error ? NULL : result;
}

json_t *client_next_event(struct client *c)
{
	struct timeval forever = {0};
	int err;

	setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &forever, sizeof(forever));
	for (;;) {
		json_t *message = receive(c, &err);
		if (!message)
			return NULL;
		const char *method = json_string_value(json_object_get(message, "method"));
		json_t *params = method && !strcmp(method, "event")
					 ? json_incref(json_object_get(message, "params"))
					 : NULL;
		json_decref(message);
		if (params)
			return params;
	}
}

json_t *ctl_call(const struct invocation *in, const char *method, json_t *params)
{
	struct client *c = client_open(in);

	if (!c) {
		json_decref(params);
		return NULL;
	}
	json_t *result = client_call(c, method, params);
	client_close(c);
	return result;
}

json_t *ctl_call_named(const struct invocation *in, const char *method, const char *as)
{
	return ctl_call(in, method, json_pack("{s:s}", as, in->operands[0]));
}
