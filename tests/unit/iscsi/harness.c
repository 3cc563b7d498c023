/* SPDX-License-Identifier: Apache-2.0 */
/* See harness.h. */
#include "tests/support/test.h"
#include "tests/unit/iscsi/harness.h"
#include "array/iscsi/internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 60000

static struct {
	struct reactor *reactor;
	struct iscsi_server *server;
	pthread_t thread;
	bool stopped;
} h;

static void *reactor_thread(void *arg)
{
	int err = reactor_run(arg);

	if (err < 0) {
		fprintf(stderr, "reactor: %s\n", strerror(-err));
		abort();
	}
	return NULL;
}

void harness_start(const struct iscsi_options *options)
{
	struct iscsi_portal portal = {.address = "127.0.0.1"};
	struct iscsi_options o = options ? *options : (struct iscsi_options){0};
	struct fault fault = {0};

	alarm(300); /* a test that hangs fails */
	memset(&h, 0, sizeof(h));
	stub_reset();
	stub_add_host(HOST_A, "", "");
	stub_add_host(HOST_C, "user", SECRET);
	assert_int_equal(reactor_create(&h.reactor, NULL), 0);
	o.reactor = h.reactor;
	o.target_name = TARGET;
	if (!o.portals) {
		o.portals = &portal;
		o.portal_count = 1;
	}
	if (iscsi_server_create(&o, &h.server, &fault) != 0)
		fail_msg("%s", fault.text);
	assert_int_equal(pthread_create(&h.thread, NULL, reactor_thread, h.reactor), 0);
}

struct remote_call {
	struct reactor_message message;
	void (*call)(void *arg);
	void *arg;
	pthread_mutex_t lock;
	pthread_cond_t done_cond;
	bool done;
};

static void run_remote(struct reactor_message *m)
{
	struct remote_call *r = container_of(m, struct remote_call, message);

	r->call(r->arg);
	pthread_mutex_lock(&r->lock);
	r->done = true;
	pthread_cond_signal(&r->done_cond);
	pthread_mutex_unlock(&r->lock);
}

void harness_call(void (*call)(void *arg), void *arg)
{
	struct remote_call r = {.message.call = run_remote,
		.call = call,
		.arg = arg,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.done_cond = PTHREAD_COND_INITIALIZER};

	reactor_post(h.reactor, &r.message);
	pthread_mutex_lock(&r.lock);
	while (!r.done)
		pthread_cond_wait(&r.done_cond, &r.lock);
	pthread_mutex_unlock(&r.lock);
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

struct check_call {
	bool (*check)(void);
	bool result;
};

static void run_check(void *arg)
{
	struct check_call *c = arg;

	c->result = c->check();
}

void harness_wait(bool (*check)(void))
{
	struct check_call c = {.check = check};
	uint64_t until = now_ms() + PATIENCE_MS;

	for (;;) {
		harness_call(run_check, &c);
		if (c.result)
			return;
		if (now_ms() > until)
			fail_msg("waited in vain");
		usleep(2000);
	}
}

struct patience {
	uint32_t login_ms, interval_ms, timeout_ms;
};

static void set_patience(void *arg)
{
	const struct patience *p = arg;
	struct iscsi_options *o = &h.server->options;

	o->login_timeout_ms = p->login_ms ? p->login_ms : 15000;
	o->nop_interval_ms = p->interval_ms ? p->interval_ms : 15000;
	o->nop_timeout_ms = p->timeout_ms ? p->timeout_ms : 30000;
	list_for_each (n, &h.server->conns) {
		struct iscsi_conn *c = container_of(n, struct iscsi_conn, link);

		if (c->state == ISCSI_CONN_LOGIN)
			iscsi_conn_deadline(c, o->login_timeout_ms);
		else
			iscsi_conn_timer_update(c);
	}
}

void harness_patience(uint32_t login_timeout_ms, uint32_t nop_interval_ms, uint32_t nop_timeout_ms)
{
	struct patience p = {login_timeout_ms, nop_interval_ms, nop_timeout_ms};

	harness_call(set_patience, &p);
}

static void stop_done(void *arg)
{
	h.stopped = true;
	reactor_stop(arg);
}

static void stop_server(void *arg)
{
	iscsi_server_stop(h.server, stop_done, arg);
}

void harness_stop(void)
{
	harness_call(stop_server, h.reactor);
	pthread_join(h.thread, NULL);
	assert_true(h.stopped);
	iscsi_server_destroy(h.server);
	reactor_destroy(h.reactor);
	assert_int_equal(stub.nexuses, 0);
	assert_int_equal(stub.running, 0);
	assert_int_equal(stub.parsed_unfinished, 0);
}

uint16_t harness_port(void)
{
	return iscsi_server_port(h.server, 0);
}

struct iscsi_server *harness_server(void)
{
	return h.server;
}

/* ---- raw initiator ------------------------------------------------------------------------------------ */

struct raw *raw_connect(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(harness_port())};
	struct raw *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	r->fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(r->fd, (struct sockaddr *)&a, sizeof(a)), 0);
	r->cmdsn = 100;
	r->itt = 1;
	return r;
}

void raw_close(struct raw *r)
{
	close(r->fd);
	free(r);
}

void raw_bytes(struct raw *r, const void *bytes, size_t len)
{
	const char *at = bytes;

	while (len > 0) {
		ssize_t n = send(r->fd, at, len, MSG_NOSIGNAL);

		if (n < 0)
			return; /* the server has hung up: the test sees it when it reads */
		at += n;
		len -= (size_t)n;
	}
}

void raw_send(struct raw *r, uint8_t *bhs, const void *data, uint32_t len)
{
	uint8_t digest[4], zeros[4] = {0};
	uint32_t crc;

	put_be24(bhs + 5, len);
	raw_bytes(r, bhs, ISCSI_BHS_BYTES);
	if (r->header_digest) {
		iscsi_digest_put(digest, iscsi_digest_add(ISCSI_DIGEST_BEGIN, bhs, ISCSI_BHS_BYTES));
		raw_bytes(r, digest, 4);
	}
	if (len == 0)
		return;
	raw_bytes(r, data, len);
	raw_bytes(r, zeros, iscsi_pad_len(len));
	if (r->data_digest) {
		crc = iscsi_digest_add(ISCSI_DIGEST_BEGIN, data, len);
		iscsi_digest_put(digest, iscsi_digest_add(crc, zeros, iscsi_pad_len(len)));
		raw_bytes(r, digest, 4);
	}
}

static bool read_all(struct raw *r, void *to, size_t len)
{
	char *at = to;

	while (len > 0) {
		struct pollfd p = {.fd = r->fd, .events = POLLIN};
		ssize_t n;

		if (poll(&p, 1, PATIENCE_MS) != 1)
			fail_msg("the server said nothing");
		n = recv(r->fd, at, len, 0);
		if (n <= 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

bool raw_receive(struct raw *r)
{
	uint8_t tail[8];
	uint32_t pad, crc;

	if (!read_all(r, r->bhs, ISCSI_BHS_BYTES))
		return false;
	if (r->header_digest) {
		assert_true(read_all(r, tail, 4));
		assert_true(iscsi_digest_matches(
			tail, iscsi_digest_add(ISCSI_DIGEST_BEGIN, r->bhs, ISCSI_BHS_BYTES)));
	}
	assert_int_equal(r->bhs[4], 0);
	r->data_len = iscsi_data_len(r->bhs);
	assert_true(r->data_len <= sizeof(r->data));
	if (r->data_len == 0)
		return true;
	pad = iscsi_pad_len(r->data_len);
	assert_true(read_all(r, r->data, r->data_len));
	assert_true(read_all(r, tail, pad + (r->data_digest ? 4 : 0)));
	if (r->data_digest) {
		crc = iscsi_digest_add(ISCSI_DIGEST_BEGIN, r->data, r->data_len);
		assert_true(iscsi_digest_matches(tail + pad, iscsi_digest_add(crc, tail, pad)));
	}
	return true;
}

void raw_expect(struct raw *r, enum iscsi_opcode opcode)
{
	if (!raw_receive(r))
		fail_msg("the connection ended; expected opcode %02x", opcode);
	if (iscsi_opcode(r->bhs) != opcode)
		fail_msg("opcode %02x came, %02x was expected (byte 2: %02x)", iscsi_opcode(r->bhs), opcode,
			r->bhs[2]);
}

void raw_expect_end(struct raw *r)
{
	while (raw_receive(r))
		;
}

void raw_login_request(struct raw *r, uint8_t flags, const char *keys)
{
	uint8_t bhs[ISCSI_BHS_BYTES];
	char text[20000];
	size_t len = strlen(keys);

	assert_true(len < sizeof(text));
	for (size_t i = 0; i <= len; i++)
		text[i] = keys[i] == '\n' ? '\0' : keys[i];
	iscsi_pdu_init(bhs, ISCSI_LOGIN, flags, r->itt);
	bhs[0] |= ISCSI_IMMEDIATE;
	bhs[8] = 0x40;
	bhs[13] = 1;
	put_be16(bhs + ISCSI_AT_CID, 1);
	put_be32(bhs + ISCSI_AT_CMDSN, r->cmdsn);
	raw_send(r, bhs, text, (uint32_t)len);
}

unsigned raw_login_status(const struct raw *r)
{
	return get_be16(r->bhs + ISCSI_AT_STATUS_CLASS);
}

struct raw *raw_session(const char *more_keys)
{
	struct raw *r = raw_connect();
	char keys[4000];

	snprintf(keys, sizeof(keys),
		"InitiatorName=" HOST_A "\nTargetName=" TARGET "\nSessionType=Normal\n%s", more_keys);
	raw_login_request(r, ISCSI_FINAL | 1 << 2 | 3, keys);
	raw_expect(r, ISCSI_LOGIN_RESPONSE);
	assert_int_equal(raw_login_status(r), 0);
	assert_int_equal(r->bhs[1], ISCSI_FINAL | 1 << 2 | 3);
	r->header_digest = strstr(more_keys, "HeaderDigest=CRC32C") != NULL;
	r->data_digest = strstr(more_keys, "DataDigest=CRC32C") != NULL;
	return r;
}

void raw_command(
	struct raw *r, uint8_t *bhs, uint8_t flags, uint32_t edtl, const uint8_t *cdb, size_t cdb_len)
{
	iscsi_pdu_init(bhs, ISCSI_SCSI_COMMAND, flags | SCSI_SIMPLE, ++r->itt);
	bhs[9] = 1; /* LUN 1 */
	put_be32(bhs + ISCSI_AT_EXPECTED_LEN, edtl);
	put_be32(bhs + ISCSI_AT_CMDSN, r->cmdsn++);
	memcpy(bhs + ISCSI_AT_CDB, cdb, cdb_len);
}

void raw_write10(struct raw *r, uint8_t *bhs, bool final, uint32_t lba, uint32_t blocks)
{
	uint8_t cdb[10] = {0x2a};

	put_be32(cdb + 2, lba);
	put_be16(cdb + 7, (uint16_t)blocks);
	raw_command(r, bhs, (final ? ISCSI_FINAL : 0) | ISCSI_COMMAND_WRITE, blocks * 512, cdb, sizeof(cdb));
}

void raw_read10(struct raw *r, uint8_t *bhs, uint32_t lba, uint32_t blocks)
{
	uint8_t cdb[10] = {0x28};

	put_be32(cdb + 2, lba);
	put_be16(cdb + 7, (uint16_t)blocks);
	raw_command(r, bhs, ISCSI_FINAL | ISCSI_COMMAND_READ, blocks * 512, cdb, sizeof(cdb));
}

void raw_test_unit_ready(struct raw *r)
{
	uint8_t bhs[ISCSI_BHS_BYTES], cdb[6] = {0};

	raw_command(r, bhs, ISCSI_FINAL, 0, cdb, sizeof(cdb));
	raw_send(r, bhs, NULL, 0);
	raw_expect(r, ISCSI_SCSI_RESPONSE);
	assert_int_equal(get_be32(r->bhs + ISCSI_AT_ITT), r->itt);
	assert_int_equal(r->bhs[3], 0);
}

void raw_data_out(struct raw *r, bool final, uint32_t itt, uint32_t ttt, uint32_t datasn, uint32_t offset,
	const void *data, uint32_t len)
{
	uint8_t bhs[ISCSI_BHS_BYTES];

	iscsi_pdu_init(bhs, ISCSI_DATA_OUT, final ? ISCSI_FINAL : 0, itt);
	put_be32(bhs + ISCSI_AT_TTT, ttt);
	put_be32(bhs + ISCSI_AT_DATASN, datasn);
	put_be32(bhs + ISCSI_AT_OFFSET, offset);
	raw_send(r, bhs, data, len);
}
