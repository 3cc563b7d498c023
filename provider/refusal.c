/* SPDX-License-Identifier: Apache-2.0 */
/* See refusal.h. */
#include "provider/refusal.h"

#include <stdarg.h>
#include <stdio.h>
#include "proto/message_id.h"

static void end_line(const char *format)
{
	char id[UP_MESSAGE_ID_BYTES];

	fprintf(stderr, " [%s]\n", up_message_text(up_message_hash(format), id));
}

void refusal_say(const char *format, ...)
{
	va_list values;

	fputs("umbra-vss: ", stderr);
	va_start(values, format);
	vfprintf(stderr, format, values);
	va_end(values);
	end_line(format);
}

int refusal_words(const char *why, const char *usage)
{
	fprintf(stderr, "umbra-vss: %s.", why);
	end_line(why);
	fputs(usage, stderr);
	return 2;
}
