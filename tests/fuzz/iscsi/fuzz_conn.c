/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection fed arbitrary bytes: PDU parser, login, full feature phase, with a stub SCSI layer whose
 * tasks may hang. Input: one byte of mode, then steps: a length byte pair and as many bytes for the peer, or
 * (length 0xffff …) something that happens on this side. At the end nothing may be left of it.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "array/iscsi/internal.h"
#include "tests/fuzz/iscsi/fake_reactor.h"
#include "tests/unit/iscsi/stub_scsi.h"

#define MODE_LOGGED_IN   1 /* the login is sent for the fuzzer … */
#define MODE_UNSOLICITED 2 /* … with InitialR2T=No */
#define MODE_SMALL       4 /* … with small bursts and segments */
#define MODE_SLOW_SENDS  8 /* sends end only now and then */
#define MODE_HANG_WRITES 16
#define MODE_TURNED_AWAY 32 /* it is past a limit */

static struct reactor reactor;
static struct iscsi_server server;

static void feed(const uint8_t *bytes, size_t len)
{
	while (len > 0) {
		size_t n = fake_reactor_feed(&reactor, bytes, len);

		fake_reactor_settle(&reactor);
		if (n == 0) {
			fake_reactor_sent(&reactor, false); /* perhaps it waits for the peer to read */
			fake_reactor_settle(&reactor);
			n = fake_reactor_feed(&reactor, bytes, len);
			fake_reactor_settle(&reactor);
			if (n == 0)
				return;
		}
		bytes += n;
		len -= n;
	}
}

static void log_in(uint8_t mode)
{
	static const char plain[] = "InitiatorName=iqn.a\0TargetName=iqn.t\0MaxRecvDataSegmentLength=65536";
	static const char loose[] =
		"InitiatorName=iqn.a\0TargetName=iqn.t\0InitialR2T=No\0MaxOutstandingR2T=4";
	static const char small[] =
		"InitiatorName=iqn.a\0TargetName=iqn.t\0InitialR2T=No\0MaxOutstandingR2T=4\0"
		"MaxBurstLength=1024\0FirstBurstLength=512\0MaxRecvDataSegmentLength=512";
	const char *text = mode & MODE_SMALL ? small : mode & MODE_UNSOLICITED ? loose : plain;
	size_t len = mode & MODE_SMALL         ? sizeof(small)
		     : mode & MODE_UNSOLICITED ? sizeof(loose)
					       : sizeof(plain);
	uint8_t pdu[ISCSI_BHS_BYTES + 256] = {0};

	iscsi_pdu_init(pdu, ISCSI_LOGIN, 0x87, 1);
	pdu[0] |= ISCSI_IMMEDIATE;
	put_be24(pdu + 5, (uint32_t)len);
	memcpy(pdu + ISCSI_BHS_BYTES, text, len);
	feed(pdu, ISCSI_BHS_BYTES + len + iscsi_pad_len((uint32_t)len));
	fake_reactor_sent(&reactor, false);
	fake_reactor_settle(&reactor);
}

static void happen(uint8_t what)
{
	switch (what % 8) {
	case 0:
		stub_release_all();
		break;
	case 1:
		fake_reactor_sent(&reactor, true);
		break;
	case 2:
		fake_reactor_sent(&reactor, false);
		break;
	case 3:
		fake_reactor_advance(&reactor, 5000);
		break;
	case 4:
		stub.flags ^= STUB_HANG_WRITES;
		break;
	case 5:
		stub_abort_parsed();
		break;
	case 6:
		stub_revoke_all();
		break;
	case 7:
		if (what & 8)
			iscsi_server_rehome(&server, NULL, NULL);
		else
			iscsi_session_logout(&server, NULL);
		break;
	}
	fake_reactor_settle(&reactor);
}

static void run(uint8_t mode, const uint8_t *data, size_t size)
{
	while (size >= 2) {
		uint16_t len = get_be16(data);

		data += 2;
		size -= 2;
		if (len >= 0xff00) {
			happen((uint8_t)len);
			continue;
		}
		if (len > size)
			len = (uint16_t)size;
		feed(data, len);
		data += len;
		size -= len;
		if (!(mode & MODE_SLOW_SENDS)) {
			fake_reactor_sent(&reactor, false);
			fake_reactor_settle(&reactor);
		}
	}
}

static void end(void)
{
	/* Whatever still waits ends with the connection; some of it needs a few turns. */
	for (unsigned i = 0; i < 20 && server.conn_count > 0; i++) {
		fake_reactor_feed(&reactor, NULL, 0);
		fake_reactor_settle(&reactor);
		fake_reactor_sent(&reactor, false);
		fake_reactor_settle(&reactor);
		stub_release_all();
		fake_reactor_advance(&reactor, 10000);
		fake_reactor_settle(&reactor);
	}
	assert(server.conn_count == 0);
	assert(server.buffers.bytes_used == 0);
	assert(stub.nexuses == 0 && stub.running == 0 && stub.parsed_unfinished == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool ready;
	struct iscsi_options options = {.reactor = &reactor,
		.target_name = "iqn.t",
		.tasks_max = 16,
		.buffer_bytes_max = 1 << 20,
		.nop_interval_ms = 5000,
		.nop_timeout_ms = 5000};
	struct sockaddr_storage nowhere = {.ss_family = AF_INET};
	struct iscsi_conn *c;
	struct list_node *n;

	if (size == 0)
		return 0;
	if (!ready) {
		stub_reset();
		stub_add_host("iqn.a", "", "");
		stub_add_host("iqn.c", "u", "secret-of-c");
		ready = true;
	}
	stub.flags = data[0] & MODE_HANG_WRITES ? STUB_HANG_WRITES : 0;
	fake_reactor_init(&reactor);
	iscsi_server_init(&server, &options);
	c = iscsi_conn_create(&server, -1, 0, &nowhere, &nowhere);
	if (!c)
		abort();
	if (data[0] & MODE_TURNED_AWAY)
		iscsi_conn_turn_away(c);
	if (data[0] & MODE_LOGGED_IN)
		log_in(data[0]);
	run(data[0], data + 1, size - 1);
	end();
	while ((n = list_pop(&server.free_tasks)))
		free(container_of(n, struct iscsi_task, link));
	iscsi_buffers_free(&server.buffers);
	return 0;
}
