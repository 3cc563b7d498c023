/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands that may be left behind. See courier.h.
 *
 * The thread starts with the first command that has a limit. `away` tells whose the command and its buffer are: the
 * thread's while it is set. The memory belongs to the caller and the thread together.
 */
#include "provider/courier.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

#define LEFT_MAX     64
#define THREAD_STACK (64 * 1024)

struct courier {
	volatile LONG refs; /* the caller's, and the thread's */
	struct transport *transport;
	struct transport_handle *handle; /* owned */
	HANDLE go, back;                 /* auto reset; NULL until there is a thread */
	volatile LONG over;              /* set before `go`: the thread ends */
	bool left;                       /* the caller has given up a command */
	int err;
	struct transport_command command; /* its data is `data` */
	uint8_t data[TRANSPORT_DATA_MAX_BYTES];
};

static volatile LONG left_behind; /* threads, in the process */

static void courier_deref(struct courier *c)
{
	if (InterlockedDecrement(&c->refs))
		return;
	if (c->handle)
		c->transport->ops->close(c->handle);
	if (c->go)
		CloseHandle(c->go);
	if (c->back)
		CloseHandle(c->back);
	free(c);
}

int courier_open(struct transport *t, const struct transport_device *device, struct courier **out)
{
	struct courier *c = calloc(1, sizeof(*c));

	*out = NULL;
	if (!c)
		return -ENOMEM;
	c->refs = 1;
	c->transport = t;
	int err = t->ops->open(t, device, &c->handle);
	if (err < 0) {
		free(c);
		return err;
	}
	*out = c;
	return 0;
}

static DWORD WINAPI courier_thread(void *arg)
{
	struct courier *c = arg;

	for (;;) {
		WaitForSingleObject(c->go, INFINITE);
		if (c->over)
			break;
		c->err = c->transport->ops->command(c->handle, &c->command);
		SetEvent(c->back);
	}
	if (c->left)
		InterlockedDecrement(&left_behind);
	courier_deref(c);
	return 0;
}

static int start_thread(struct courier *c)
{
	if (c->go)
		return 0;
	c->go = CreateEventW(NULL, FALSE, FALSE, NULL);
	c->back = CreateEventW(NULL, FALSE, FALSE, NULL);
	InterlockedIncrement(&c->refs);
	HANDLE thread = c->go && c->back ? CreateThread(NULL, THREAD_STACK, courier_thread, c,
						   STACK_SIZE_PARAM_IS_A_RESERVATION, NULL)
					 : NULL;
	if (thread) {
		CloseHandle(thread);
		return 0;
	}
	InterlockedDecrement(&c->refs);
	if (c->go)
		CloseHandle(c->go);
	if (c->back)
		CloseHandle(c->back);
	c->go = c->back = NULL;
	return -ENOMEM;
}

/* The thread finds `over` when the driver gives the command back, and closes the device. */
static void leave(struct courier *c)
{
	c->left = true;
	InterlockedIncrement(&left_behind);
	InterlockedExchange(&c->over, 1);
	SetEvent(c->go);
}

int courier_command(struct courier *c, struct transport_command *command, uint32_t patience_ms)
{
	if (c->left || command->len_bytes > sizeof(c->data))
		return c->left ? -ETIMEDOUT : -EINVAL;
	if (!patience_ms)
		return c->transport->ops->command(c->handle, command);
	if (InterlockedCompareExchange(&left_behind, 0, 0) >= LEFT_MAX)
		return -ETIMEDOUT;
	int err = start_thread(c);
	if (err < 0)
		return err;
	uint8_t *data = command->data;
	c->command = *command;
	c->command.data = c->data;
	if (command->direction == TRANSPORT_OUT)
		memcpy(c->data, data, command->len_bytes);
	SetEvent(c->go);
	if (WaitForSingleObject(c->back, patience_ms) != WAIT_OBJECT_0) {
		leave(c);
		return -ETIMEDOUT;
	}
	*command = c->command;
	command->data = data;
	if (c->err == 0 && command->direction == TRANSPORT_IN)
		memcpy(data, c->data, command->len_bytes);
	return c->err;
}

void courier_close(struct courier *c)
{
	if (!c)
		return;
	if (!c->left) { /* at once, not when the thread has ended: no device stays open between requests */
		c->transport->ops->close(c->handle);
		c->handle = NULL;
	}
	if (c->go && !c->left) {
		InterlockedExchange(&c->over, 1);
		SetEvent(c->go);
	}
	courier_deref(c);
}
