/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the transport writes to the array's events. Strangers cause these: only so many go through in a window of
 * time, and the last one says that more were left out.
 */
#include "array/iscsi/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "array/util/message.h"

#define EVENTS_WINDOW_NS UINT64_C(10000000000)
#define EVENTS_IN_WINDOW 64

void iscsi_event(struct iscsi_server *s, enum array_event_level level, const char *format, ...)
{
	uint64_t now = reactor_now_ns(s->reactor);
	char text[400];
	va_list args;

	if (now - s->events_window_ns > EVENTS_WINDOW_NS) {
		s->events_window_ns = now;
		s->events_in_window = 0;
	}
	if (++s->events_in_window > EVENTS_IN_WINDOW)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (s->events_in_window == EVENTS_IN_WINDOW)
		snprintf(text + strlen(text), sizeof(text) - strlen(text),
			" (many such events: some are left out)");
	array_event_as(s->options.array, level, "session", message_of(format), text);
}
