/* SPDX-License-Identifier: Apache-2.0 */
/* The half of the driver that knows sockets and threads; see port.h. */
#include <winsock2.h>
#include <windows.h>
#include <string.h>
#include "lab/scsiport/port.h"
#include "array/util/bytes.h"

enum {
	MAX_WORKERS = 96,
	MAX_QUEUED = 1024,
	CONNECT_MS = 10000,
	/* The bridge keeps the time-outs, and holds what has no session: this much later it counts as gone. */
	GRACE_MS = 130000,
	PLAIN_MS = 90000 /* requests without a time-out of their own: a scan waits for a lost session */
};

struct port_worker {
	HANDLE thread;
	SOCKET socks[PORT_ADAPTERS_MAX]; /* one for each adapter's bridge */
	uint8_t *body;
	size_t cap_bytes;
	uint32_t tag;
};

/* queue_lock guards everything here but the workers' own fields. */
static CRITICAL_SECTION queue_lock, disks_lock, scan_lock;
static CONDITION_VARIABLE queue_filled;
static void *queue[MAX_QUEUED];
static unsigned int queue_head, queue_count, worker_count, idle_count;
static struct port_worker workers[MAX_WORKERS];
static bool stopping;
static void (*pool_work)(struct port_worker *worker, void *item);

void *port_alloc(size_t bytes)
{
	return HeapAlloc(GetProcessHeap(), HEAP_ZERO_MEMORY, bytes);
}

void port_free(void *p)
{
	if (p)
		HeapFree(GetProcessHeap(), 0, p);
}

void port_lock(void)
{
	EnterCriticalSection(&disks_lock);
}

void port_unlock(void)
{
	LeaveCriticalSection(&disks_lock);
}

void port_scan_lock(void)
{
	EnterCriticalSection(&scan_lock);
}

void port_scan_unlock(void)
{
	LeaveCriticalSection(&scan_lock);
}

/* --- the connection ---------------------------------------------------------------------------------------
 */

/* The port of an adapter's bridge, from the service's own key (written by umbra-lab-keeper.exe): read at
 * every connect, for a bridge that was started again may have another. 0: there is none. */
static DWORD bridge_port(unsigned int adapter)
{
	char name[] = "BridgePort0";
	DWORD port = 0, size = sizeof(port);

	name[sizeof(name) - 2] = (char)('0' + adapter);
	if (RegGetValueA(HKEY_LOCAL_MACHINE, "SYSTEM\\CurrentControlSet\\Services\\UmbraLabScsi\\Parameters",
		    name, RRF_RT_REG_DWORD, NULL, &port, &size) != ERROR_SUCCESS ||
		port > 65535)
		return 0;
	return port;
}

unsigned int port_adapters(void)
{
	unsigned int count = 0;

	while (count < PORT_ADAPTERS_MAX && bridge_port(count))
		count++;
	return count;
}

static void disconnect(struct port_worker *w, unsigned int adapter)
{
	if (w->socks[adapter] != INVALID_SOCKET)
		closesocket(w->socks[adapter]);
	w->socks[adapter] = INVALID_SOCKET;
}

static bool wait_socket(SOCKET sock, bool for_write, ULONGLONG until_ms)
{
	ULONGLONG now = GetTickCount64();
	ULONGLONG left = until_ms > now ? until_ms - now : 0;
	struct timeval tv = {.tv_sec = (long)(left / 1000), .tv_usec = (long)(left % 1000) * 1000};
	fd_set set, failed;

	FD_ZERO(&set);
	FD_ZERO(&failed);
	FD_SET(sock, &set);
	FD_SET(sock, &failed);
	return select(0, for_write ? NULL : &set, for_write ? &set : NULL, for_write ? &failed : NULL, &tv) >
		       0 &&
	       FD_ISSET(sock, &set);
}

/* Sockets are non-blocking all their life: every wait has an end. */
static bool connect_bridge(struct port_worker *w, unsigned int adapter)
{
	struct sockaddr_in addr = {.sin_family = AF_INET};
	DWORD port = bridge_port(adapter);
	SOCKET sock = port ? socket(AF_INET, SOCK_STREAM, IPPROTO_TCP) : INVALID_SOCKET;
	u_long on = 1;
	BOOL no_delay = TRUE;

	if (sock == INVALID_SOCKET)
		return false;
	w->socks[adapter] = sock;
	addr.sin_port = htons((u_short)port);
	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ioctlsocket(sock, FIONBIO, &on);
	setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, (const char *)&no_delay, sizeof(no_delay));
	if (connect(sock, (struct sockaddr *)&addr, sizeof(addr)) == 0 ||
		(WSAGetLastError() == WSAEWOULDBLOCK &&
			wait_socket(sock, true, GetTickCount64() + CONNECT_MS)))
		return true;
	disconnect(w, adapter);
	return false;
}

/* Nothing may come between two requests: what is readable now is the end of the connection. */
static bool still_connected(struct port_worker *w, unsigned int adapter)
{
	char byte;

	if (w->socks[adapter] == INVALID_SOCKET)
		return false;
	if (recv(w->socks[adapter], &byte, 1, MSG_PEEK) < 0 && WSAGetLastError() == WSAEWOULDBLOCK)
		return true;
	disconnect(w, adapter);
	return false;
}

static bool send_all(SOCKET sock, const uint8_t *buf, size_t len, ULONGLONG until_ms)
{
	while (len) {
		int n = send(sock, (const char *)buf, (int)len, 0);

		if (n < 0 && (WSAGetLastError() != WSAEWOULDBLOCK || !wait_socket(sock, true, until_ms)))
			return false;
		if (n > 0) {
			buf += n;
			len -= (size_t)n;
		}
	}
	return true;
}

static bool receive_all(SOCKET sock, uint8_t *buf, size_t len, ULONGLONG until_ms)
{
	while (len) {
		int n = recv(sock, (char *)buf, (int)len, 0);

		if (n == 0 || (n < 0 && (WSAGetLastError() != WSAEWOULDBLOCK ||
						!wait_socket(sock, false, until_ms))))
			return false;
		if (n > 0) {
			buf += n;
			len -= (size_t)n;
		}
	}
	return true;
}

static bool reserve(struct port_worker *w, size_t bytes)
{
	uint8_t *grown;

	if (bytes <= w->cap_bytes)
		return true;
	grown = port_alloc(bytes);
	if (!grown)
		return false;
	port_free(w->body);
	w->body = grown;
	w->cap_bytes = bytes;
	return true;
}

static bool exchange(
	struct port_worker *w, unsigned int adapter, struct labw_request *req, struct labw_reply *rep)
{
	uint8_t head[LABW_HEAD_MAX_BYTES];
	ULONGLONG until = GetTickCount64() + (req->timeout_ms ? req->timeout_ms + GRACE_MS : PLAIN_MS);
	size_t len, data = req->verb == LABW_EXEC && req->direction == LABW_OUT ? req->data_bytes : 0;
	SOCKET sock;

	req->tag = ++w->tag;
	len = labw_request_head(req, head);
	if (!len || (!still_connected(w, adapter) && !connect_bridge(w, adapter)))
		return false;
	sock = w->socks[adapter];
	if (!send_all(sock, head, len, until) || (data && !send_all(sock, req->data, data, until)) ||
		!receive_all(sock, head, LABW_LENGTH_BYTES, until))
		return false;
	len = labw_body_bytes(head);
	return len && reserve(w, len) && receive_all(sock, w->body, len, until) &&
	       labw_reply_decode(rep, w->body, len) && rep->tag == req->tag && rep->verb == req->verb;
}

uint32_t port_exchange(
	struct port_worker *w, unsigned int adapter, const struct labw_request *req, struct labw_reply *rep)
{
	struct labw_request copy = *req;

	if (exchange(w, adapter, &copy, rep))
		return rep->result;
	disconnect(w, adapter);
	memset(rep, 0, sizeof(*rep));
	rep->result = LABW_NOT_CONNECTED;
	return rep->result;
}

/* --- the pool ---------------------------------------------------------------------------------------------
 */

static DWORD WINAPI worker_main(void *arg)
{
	struct port_worker *w = arg;

	EnterCriticalSection(&queue_lock);
	for (;;) {
		void *item;

		while (!queue_count && !stopping) {
			idle_count++;
			SleepConditionVariableCS(&queue_filled, &queue_lock, INFINITE);
			idle_count--;
		}
		if (!queue_count)
			break;
		item = queue[queue_head];
		queue_head = (queue_head + 1) % MAX_QUEUED;
		queue_count--;
		LeaveCriticalSection(&queue_lock);
		pool_work(w, item);
		EnterCriticalSection(&queue_lock);
	}
	LeaveCriticalSection(&queue_lock);
	for (unsigned int i = 0; i < PORT_ADAPTERS_MAX; i++)
		disconnect(w, i);
	port_free(w->body);
	w->body = NULL;
	w->cap_bytes = 0;
	return 0;
}

bool port_pool_queue(void *item)
{
	bool queued = false;

	EnterCriticalSection(&queue_lock);
	if (!stopping && queue_count < MAX_QUEUED) {
		/* One more thread when every idle one has something to take already. */
		if (queue_count >= idle_count && worker_count < MAX_WORKERS) {
			struct port_worker *w = &workers[worker_count];

			for (unsigned int i = 0; i < PORT_ADAPTERS_MAX; i++)
				w->socks[i] = INVALID_SOCKET;
			w->thread = CreateThread(NULL, 0, worker_main, w, 0, NULL);
			if (w->thread)
				worker_count++;
		}
		if (worker_count) {
			queue[(queue_head + queue_count++) % MAX_QUEUED] = item;
			queued = true;
		}
	}
	LeaveCriticalSection(&queue_lock);
	WakeConditionVariable(&queue_filled);
	return queued;
}

bool port_pool_start(void (*work)(struct port_worker *worker, void *item))
{
	WSADATA data;

	InitializeCriticalSection(&queue_lock);
	InitializeCriticalSection(&disks_lock);
	InitializeCriticalSection(&scan_lock);
	InitializeConditionVariable(&queue_filled);
	queue_head = queue_count = worker_count = idle_count = 0;
	stopping = false;
	pool_work = work;
	return WSAStartup(MAKEWORD(2, 2), &data) == 0;
}

void port_pool_stop(void)
{
	EnterCriticalSection(&queue_lock);
	stopping = true;
	LeaveCriticalSection(&queue_lock);
	WakeAllConditionVariable(&queue_filled);
	for (unsigned int i = 0; i < worker_count; i++) {
		WaitForSingleObject(workers[i].thread, INFINITE);
		CloseHandle(workers[i].thread);
	}
	WSACleanup();
}
