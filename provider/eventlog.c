/* SPDX-License-Identifier: Apache-2.0 */
/* The queue of events and trace lines, and the thread that writes it. See eventlog.h. */
#include "provider/eventlog.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "provider/ids.h"

#define NOTES 512

static struct {
	CRITICAL_SECTION lock; /* guards what follows; held for copying only */
	bool ready;
	struct event_note notes[NOTES];
	unsigned first, used, lost;
	unsigned holds;
	ULONGLONG held_since_ms;
	bool stopping, writing;
	HANDLE wake, thread;
	HANDLE source;
	HANDLE trace;
	void (*sink)(const struct event_note *note);
} log_state;

static void set_text(char *out, size_t cap, const char *text)
{
	snprintf(out, cap, "%s", text && *text ? text : "-");
}

static ULONGLONG now_100ns(void)
{
	FILETIME t;

	GetSystemTimeAsFileTime(&t);
	return (ULONGLONG)t.dwHighDateTime << 32 | t.dwLowDateTime;
}

/* Under the lock. NULL: full. */
static struct event_note *next_note(void)
{
	if (log_state.used == NOTES) {
		log_state.lost++;
		return NULL;
	}
	struct event_note *n = &log_state.notes[(log_state.first + log_state.used++) % NOTES];
	n->time_100ns = now_100ns();
	return n;
}

void eventlog_note(DWORD id, const char *call, const char *lun, const char *array, const char *detail)
{
	if (!log_state.ready)
		return;
	EnterCriticalSection(&log_state.lock);
	struct event_note *n = next_note();
	if (n) {
		n->id = id;
		set_text(n->call, sizeof(n->call), call);
		set_text(n->lun, sizeof(n->lun), lun);
		set_text(n->array, sizeof(n->array), array);
		set_text(n->detail, sizeof(n->detail), detail);
	}
	bool held = log_state.holds > 0;
	LeaveCriticalSection(&log_state.lock);
	if (!held)
		SetEvent(log_state.wake);
}

bool eventlog_tracing(void)
{
	return log_state.ready && log_state.trace != INVALID_HANDLE_VALUE;
}

void eventlog_trace(const char *format, ...)
{
	va_list args;

	if (!eventlog_tracing())
		return;
	EnterCriticalSection(&log_state.lock);
	struct event_note *n = next_note();
	if (n) {
		n->id = 0;
		va_start(args, format);
		vsnprintf(n->detail, sizeof(n->detail), format, args);
		va_end(args);
	}
	bool held = log_state.holds > 0;
	LeaveCriticalSection(&log_state.lock);
	if (!held)
		SetEvent(log_state.wake);
}

void eventlog_hold(void)
{
	if (!log_state.ready)
		return;
	EnterCriticalSection(&log_state.lock);
	log_state.holds++;
	log_state.held_since_ms = GetTickCount64();
	LeaveCriticalSection(&log_state.lock);
}

void eventlog_release(void)
{
	if (!log_state.ready)
		return;
	EnterCriticalSection(&log_state.lock);
	if (log_state.holds)
		log_state.holds--;
	LeaveCriticalSection(&log_state.lock);
	SetEvent(log_state.wake);
}

bool eventlog_held(void)
{
	if (!log_state.ready)
		return false;
	EnterCriticalSection(&log_state.lock);
	bool held =
		log_state.holds > 0 && GetTickCount64() - log_state.held_since_ms < EVENTLOG_HOLD_LIMIT_MS;
	LeaveCriticalSection(&log_state.lock);
	return held;
}

static const char *severity_name(DWORD id)
{
	static const char *const names[] = {"success", "information", "warning", "error"};

	return names[id >> 30];
}

static void write_trace(const struct event_note *n)
{
	char line[640];
	FILETIME t = {(DWORD)n->time_100ns, (DWORD)(n->time_100ns >> 32)};
	SYSTEMTIME s;
	DWORD written;
	int len;

	if (log_state.trace == INVALID_HANDLE_VALUE || !FileTimeToSystemTime(&t, &s))
		return;
	len = snprintf(line, sizeof(line), "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ ", s.wYear, s.wMonth, s.wDay,
		s.wHour, s.wMinute, s.wSecond, s.wMilliseconds);
	if (n->id)
		len += snprintf(line + len, sizeof(line) - (size_t)len,
			"event %lu %s call=%s lun=%s array=%s detail=%s\r\n", (unsigned long)(n->id & 0xFFFF),
			severity_name(n->id), n->call, n->lun, n->array, n->detail);
	else
		len += snprintf(line + len, sizeof(line) - (size_t)len, "%s\r\n", n->detail);
	if (len > 0 && (size_t)len < sizeof(line))
		WriteFile(log_state.trace, line, (DWORD)len, &written, NULL);
}

static void write_event(const struct event_note *n)
{
	static const WORD types[] = {
		EVENTLOG_SUCCESS, EVENTLOG_INFORMATION_TYPE, EVENTLOG_WARNING_TYPE, EVENTLOG_ERROR_TYPE};
	WCHAR texts[4][300];
	const WCHAR *inserts[4];
	const char *fields[4] = {n->call, n->lun, n->array, n->detail};

	if (!n->id)
		return;
	if (log_state.sink) {
		log_state.sink(n);
		return;
	}
	for (unsigned i = 0; i < 4; i++) {
		if (!MultiByteToWideChar(CP_UTF8, 0, fields[i], -1, texts[i], 300))
			wcscpy_s(texts[i], 300, L"-");
		inserts[i] = texts[i];
	}
	if (!log_state.source)
		log_state.source = RegisterEventSourceW(NULL, UMBRA_EVENT_SOURCE);
	if (log_state.source)
		ReportEventW(log_state.source, types[n->id >> 30], 0, n->id, NULL, 4, 0, inserts, NULL);
}

/* Writes while nothing holds. Returns how long to sleep until a hold ends by itself. */
static DWORD write_queue(bool *stop)
{
	struct event_note n;

	for (;;) {
		DWORD sleep_ms = INFINITE;
		EnterCriticalSection(&log_state.lock);
		*stop = log_state.stopping;
		bool held = false;
		if (log_state.holds && !*stop) {
			ULONGLONG age_ms = GetTickCount64() - log_state.held_since_ms;
			held = age_ms < EVENTLOG_HOLD_LIMIT_MS;
			if (held)
				sleep_ms = (DWORD)(EVENTLOG_HOLD_LIMIT_MS - age_ms);
		}
		bool some = log_state.used && !held;
		if (some) {
			n = log_state.notes[log_state.first];
			log_state.first = (log_state.first + 1) % NOTES;
			log_state.used--;
		} else if (log_state.lost && !held) {
			memset(&n, 0, sizeof(n));
			n.time_100ns = now_100ns();
			snprintf(n.detail, sizeof(n.detail), "%u entries were lost: the queue was full",
				log_state.lost);
			log_state.lost = 0;
			some = true;
		}
		log_state.writing = some;
		LeaveCriticalSection(&log_state.lock);
		if (!some)
			return sleep_ms;
		write_trace(&n);
		write_event(&n);
	}
}

static DWORD WINAPI writer(void *arg)
{
	bool stop = false;
	DWORD sleep_ms;

	(void)arg;
	while (sleep_ms = write_queue(&stop), !stop)
		WaitForSingleObject(log_state.wake, sleep_ms);
	return 0;
}

bool eventlog_start(const WCHAR *trace_file)
{
	memset(&log_state, 0, sizeof(log_state));
	InitializeCriticalSection(&log_state.lock);
	log_state.trace = INVALID_HANDLE_VALUE;
	if (trace_file && *trace_file)
		log_state.trace = CreateFileW(trace_file, FILE_APPEND_DATA,
			FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_ALWAYS, FILE_ATTRIBUTE_NORMAL, NULL);
	log_state.wake = CreateEventW(NULL, FALSE, FALSE, NULL);
	if (log_state.wake)
		log_state.thread = CreateThread(NULL, 0, writer, NULL, 0, NULL);
	if (!log_state.thread) {
		if (log_state.wake)
			CloseHandle(log_state.wake);
		DeleteCriticalSection(&log_state.lock);
		return false;
	}
	log_state.ready = true;
	return true;
}

void eventlog_stop(void)
{
	if (!log_state.ready)
		return;
	EnterCriticalSection(&log_state.lock);
	log_state.stopping = true;
	LeaveCriticalSection(&log_state.lock);
	SetEvent(log_state.wake);
	WaitForSingleObject(log_state.thread, INFINITE);
	log_state.ready = false;
	CloseHandle(log_state.thread);
	CloseHandle(log_state.wake);
	if (log_state.source)
		DeregisterEventSource(log_state.source);
	if (log_state.trace != INVALID_HANDLE_VALUE)
		CloseHandle(log_state.trace);
	DeleteCriticalSection(&log_state.lock);
}

void eventlog_set_sink(void (*sink)(const struct event_note *note))
{
	log_state.sink = sink;
}

void eventlog_drain(void)
{
	for (bool busy = true; busy;) {
		SetEvent(log_state.wake);
		Sleep(1);
		EnterCriticalSection(&log_state.lock);
		busy = log_state.used || log_state.writing;
		LeaveCriticalSection(&log_state.lock);
	}
}
