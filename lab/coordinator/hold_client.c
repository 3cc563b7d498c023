/* SPDX-License-Identifier: Apache-2.0 */
/* See hold_client.h. */
#include <winsock2.h>
#include "lab/coordinator/hold_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vsserror.h>
#include "lab/coordinator/settings.h"

#define ANSWER_MS 30000 /* the broker gives its writers ten seconds */

static SOCKET connect_broker(WORD port)
{
	static LONG started;
	WSADATA data;
	if (InterlockedExchange(&started, 1) == 0 && WSAStartup(MAKEWORD(2, 2), &data) != 0)
		return INVALID_SOCKET;
	SOCKET s = socket(AF_INET, SOCK_STREAM, IPPROTO_TCP);
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	DWORD ms = ANSWER_MS;
	BOOL on = TRUE;
	if (s == INVALID_SOCKET)
		return s;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, (const char *)&ms, sizeof ms);
	setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, (const char *)&ms, sizeof ms);
	setsockopt(s, IPPROTO_TCP, TCP_NODELAY, (const char *)&on, sizeof on);
	if (connect(s, (const struct sockaddr *)&address, sizeof address) == 0)
		return s;
	closesocket(s);
	return INVALID_SOCKET;
}

/* Sends one line, reads the one that answers (without its end). */
static BOOL ask(SOCKET s, const char *line, char answer[HOLD_LINE_BYTES])
{
	int len = (int)strlen(line), have = 0;
	if (send(s, line, len, 0) != len)
		return FALSE;
	while (have < HOLD_LINE_BYTES - 1) {
		if (recv(s, answer + have, 1, 0) != 1)
			return FALSE;
		if (answer[have] == '\n')
			break;
		have++;
	}
	answer[have] = 0;
	return TRUE;
}

uintptr_t hold_connect(WORD port)
{
	SOCKET s = connect_broker(port);
	return s == INVALID_SOCKET ? 0 : (uintptr_t)s;
}

BOOL hold_ask(uintptr_t connection, const char *line, char answer[HOLD_LINE_BYTES])
{
	return ask((SOCKET)connection, line, answer);
}

HRESULT hold_lun(struct hold *h, const char *serial, DWORD limit_ms)
{
	char line[128], answer[HOLD_LINE_BYTES];
	DWORD port = settings_dword(L"HoldPort", 0);
	bool first = h->socket == 0;
	if (port == 0)
		return S_OK;
	SOCKET s = first ? connect_broker((WORD)port) : (SOCKET)h->socket;
	if (s == INVALID_SOCKET)
		return VSS_E_FLUSH_WRITES_TIMEOUT;
	snprintf(line, sizeof line, "%sHOLD %lu %.40s\n", first ? "COORDINATOR\n" : "",
		(unsigned long)limit_ms, serial && *serial ? serial : "-");
	if (!ask(s, line, answer) || strncmp(answer, "HELD ", 5) != 0) {
		closesocket(s);
		h->socket = 0;
		return VSS_E_FLUSH_WRITES_TIMEOUT;
	}
	h->socket = s;
	h->writers = (int)strtol(answer + 5, NULL, 10);
	return S_OK;
}

HRESULT hold_end(struct hold *h)
{
	char answer[HOLD_LINE_BYTES];
	if (h->socket == 0)
		return S_OK;
	BOOL good = ask((SOCKET)h->socket, "RELEASE\n", answer) && strncmp(answer, "RELEASED", 8) == 0;
	closesocket((SOCKET)h->socket);
	h->socket = 0;
	return good ? S_OK : VSS_E_HOLD_WRITES_TIMEOUT;
}
