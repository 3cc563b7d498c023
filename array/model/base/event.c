/* SPDX-License-Identifier: Apache-2.0 */
/* Events: what happened, for the administrator. A ring of the last ones and a list of listeners. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "array/model/base/internal.h"
#include "array/util/message.h"

void array_event_as(
	struct array *a, enum array_event_level level, const char *area, uint32_t message, const char *text)
{
	uint64_t serial = ++a->event_serial;
	struct array_event *e = &a->events[(serial - 1) % ARRAY_EVENTS_KEPT];
	struct array_event copy;

	a->event_counts[level]++;
	memset(e, 0, sizeof(*e));
	e->serial = serial;
	e->unix_ms = array_clock_unix_ms();
	e->level = level;
	e->message = message;
	snprintf(e->area, sizeof(e->area), "%s", area);
	snprintf(e->text, sizeof(e->text), "%s", text);
	copy = *e; /* a listener may cause events */
	list_for_each_safe (n, &a->event_listeners) {
		struct array_event_listener *l = container_of(n, struct array_event_listener, link);

		l->event(l, &copy);
	}
}

void array_event_tell(
	struct array *a, enum array_event_level level, const char *area, const char *format, ...)
{
	char text[sizeof(((struct array_event *)NULL)->text)];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	array_event_as(a, level, area, message_of(format), text);
}

const struct array_event *array_event_after(const struct array *a, uint64_t after)
{
	uint64_t oldest = a->event_serial > ARRAY_EVENTS_KEPT ? a->event_serial - ARRAY_EVENTS_KEPT + 1 : 1;
	uint64_t want = after + 1 > oldest ? after + 1 : oldest;

	if (after == UINT64_MAX || want > a->event_serial)
		return NULL;
	return &a->events[(want - 1) % ARRAY_EVENTS_KEPT];
}

void array_event_inherit(struct array *a, const struct array *before)
{
	memcpy(a->events, before->events, sizeof(a->events));
	memcpy(a->event_counts, before->event_counts, sizeof(a->event_counts));
	a->event_serial = before->event_serial;
}

uint64_t array_event_count(const struct array *a, enum array_event_level level)
{
	return a->event_counts[level];
}

void array_event_listen(struct array *a, struct array_event_listener *l)
{
	list_push_back(&a->event_listeners, &l->link);
}

void array_event_unlisten(struct array_event_listener *l)
{
	list_remove(&l->link);
}

void array_room_listen(struct array *a, struct array_room_listener *l)
{
	list_push_back(&a->room_listeners, &l->link);
}

void array_room_unlisten(struct array_room_listener *l)
{
	list_remove(&l->link);
}

void array_room_taken(struct array *a, uint64_t bytes)
{
	list_for_each (n, &a->room_listeners) {
		struct array_room_listener *l = container_of(n, struct array_room_listener, link);

		l->taken(l, bytes);
	}
}
