/* SPDX-License-Identifier: Apache-2.0 */
/* The limits on connections and sessions: up to each, and one past it, which is told so when it asks to log in. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include "array/iscsi/internal.h"
#include "tests/support/test.h"
#include "tests/unit/iscsi/harness.h"

#define TO_FULL      (ISCSI_FINAL | 1 << 2 | 3)
#define OPERATIONAL  (1 << 2)
#define NO_RESOURCES 0x0302
#define HUNG_UP      0xffff
#define PATIENCE_MS  60000

static int start_with(const struct iscsi_options *options)
{
	harness_start(options);
	return 0;
}

static int start_defaults(void **state)
{
	(void)state;
	return start_with(NULL);
}

static int start_narrow(void **state)
{
	(void)state;
	return start_with(&(struct iscsi_options){.connections_max = 3, .connections_per_source = 2});
}

static int start_for_one(void **state)
{
	(void)state;
	return start_with(&(struct iscsi_options){.connections_max = 1});
}

static bool nobody(void)
{
	return harness_server()->conn_count == 0;
}

static bool one_left(void)
{
	return harness_server()->conn_count == 1;
}

static bool thirty_one(void)
{
	return harness_server()->conn_count == 31;
}

static bool three_left(void)
{
	return harness_server()->conn_count == 3;
}

/* All have hung up by then; others are served. */
static int stop(void **state)
{
	struct raw *r;

	(void)state;
	harness_wait(nobody);
	r = raw_session("");
	raw_test_unit_ready(r);
	raw_close(r);
	harness_stop();
	return 0;
}

/* ---- small initiators: many fit into a test ------------------------------------------------------------ */

/* From 127.0.0.`host`. */
static int peer_connect(unsigned host)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(harness_port())},
			   from = {.sin_family = AF_INET};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0)
		fail_msg("socket: %s", strerror(errno));
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	from.sin_addr.s_addr = htonl((INADDR_LOOPBACK & 0xffffff00) | host);
	assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof(from)), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

/* False: the peer has hung up. */
static bool take(int fd, uint8_t *to, size_t len)
{
	while (len > 0) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		ssize_t n;

		if (poll(&p, 1, PATIENCE_MS) != 1)
			fail_msg("the server said nothing");
		n = recv(fd, to, len, 0);
		if (n <= 0)
			return false;
		to += n;
		len -= (size_t)n;
	}
	return true;
}

/* One login request, with an ISID of its own; the answer's status, or HUNG_UP. */
static unsigned peer_login_step(int fd, uint8_t flags, unsigned isid, const char *keys, size_t len)
{
	uint8_t pdu[ISCSI_BHS_BYTES + 512] = {0}, answer[ISCSI_BHS_BYTES], text[ISCSI_LOGIN_TEXT_BYTES + 3];
	uint32_t padded = (uint32_t)len + iscsi_pad_len((uint32_t)len), back;

	assert_true(padded <= sizeof(pdu) - ISCSI_BHS_BYTES);
	iscsi_pdu_init(pdu, ISCSI_LOGIN, flags, 77);
	pdu[0] |= ISCSI_IMMEDIATE;
	put_be24(pdu + 5, (uint32_t)len);
	pdu[ISCSI_AT_ISID] = 0x40;
	put_be16(pdu + ISCSI_AT_ISID + 4, (uint16_t)isid);
	put_be32(pdu + ISCSI_AT_CMDSN, 9);
	memcpy(pdu + ISCSI_BHS_BYTES, keys, len);
	if (send(fd, pdu, ISCSI_BHS_BYTES + padded, MSG_NOSIGNAL) < 0 || !take(fd, answer, sizeof(answer)))
		return HUNG_UP;
	assert_int_equal(iscsi_opcode(answer), ISCSI_LOGIN_RESPONSE);
	assert_int_equal(get_be32(answer + ISCSI_AT_ITT), 77);
	assert_memory_equal(answer + ISCSI_AT_ISID, pdu + ISCSI_AT_ISID, 6);
	back = iscsi_data_len(answer);
	assert_true(back <= ISCSI_LOGIN_TEXT_BYTES);
	if (back > 0)
		assert_true(take(fd, text, back + iscsi_pad_len(back)));
	if (get_be16(answer + ISCSI_AT_STATUS_CLASS) != 0) { /* refused: no transition, no keys, the end */
		assert_int_equal(answer[1] & (ISCSI_FINAL | ISCSI_CONTINUE), 0);
		assert_int_equal(back, 0);
		assert_false(take(fd, text, 1));
	}
	return get_be16(answer + ISCSI_AT_STATUS_CLASS);
}

static unsigned peer_login(int fd, unsigned isid, const char *name, bool discovery)
{
	char keys[400];
	int len = snprintf(keys, sizeof(keys), "InitiatorName=%s%cSessionType=%s%cTargetName=%s%c", name, 0,
		discovery ? "Discovery" : "Normal", 0, TARGET, 0);

	return peer_login_step(fd, TO_FULL, isid, keys, (size_t)len);
}

/* One that is to be refused. */
static void peer_refused(unsigned host, unsigned isid, const char *name)
{
	int fd = peer_connect(host);

	assert_int_equal(peer_login(fd, isid, name, false), NO_RESOURCES);
	close(fd);
}

static void close_all(const int *fds, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		close(fds[i]);
}

/* ---- past the limits ----------------------------------------------------------------------------------- */

TEST(past_a_limit_a_login_is_refused_with_a_status)
{
	int half[2] = {peer_connect(1), peer_connect(1)}, other;

	peer_refused(1, 1, HOST_A); /* a third that has not logged in, of one address */
	assert_true(stub_saw_event("connections_per_source"));
	assert_false(stub_saw_event("connections_max"));
	assert_int_equal(peer_login(half[0], 1, HOST_A, false), 0);
	other = peer_connect(2);
	assert_int_equal(peer_login(other, 2, HOST_A, false), 0);
	peer_refused(2, 3, HOST_A); /* a fourth of all */
	assert_true(stub_saw_event("connections_max"));
	peer_refused(3, 3, "iqn.x:whoever"); /* nobody is asked who he is */
	close_all(half, 2);
	harness_wait(one_left);
	half[0] = peer_connect(2); /* there is room again */
	assert_int_equal(peer_login(half[0], 3, HOST_A, false), 0);
	close(half[0]);
	close(other);
}

/* Past a limit the first request of a login is answered, however long its text is; nothing else is. */
TEST(refused_at_the_first_request)
{
	static uint8_t noise[ISCSI_BHS_BYTES];
	uint8_t login[ISCSI_BHS_BYTES], answer[ISCSI_BHS_BYTES], text[ISCSI_LOGIN_TEXT_BYTES];
	int full[3], fd;

	for (unsigned i = 0; i < 3; i++) {
		full[i] = peer_connect(1);
		assert_int_equal(peer_login(full[i], i, HOST_A, false), 0);
	}
	fd = peer_connect(1);
	assert_int_equal(peer_login_step(fd, OPERATIONAL | ISCSI_CONTINUE, 9, "Initiator", 9), NO_RESOURCES);
	close(fd);
	fd = peer_connect(1);
	iscsi_pdu_init(login, ISCSI_LOGIN, 0, 1);
	put_be24(login + 5, sizeof(text));
	memset(text, 'a', sizeof(text));
	assert_int_equal(send(fd, login, sizeof(login), MSG_NOSIGNAL), sizeof(login));
	assert_int_equal(send(fd, text, sizeof(text), MSG_NOSIGNAL), sizeof(text));
	assert_true(take(fd, answer, sizeof(answer)));
	assert_int_equal(get_be16(answer + ISCSI_AT_STATUS_CLASS), NO_RESOURCES);
	close(fd);
	fd = peer_connect(1); /* no login request */
	assert_int_equal(send(fd, noise, sizeof(noise), MSG_NOSIGNAL), sizeof(noise));
	assert_false(take(fd, answer, 1));
	close(fd);
	close_all(full, 3);
}

/* Who never asks is not waited for. */
TEST(turned_away_and_silent)
{
	struct raw *r = raw_session("");
	uint8_t byte;
	int fd;

	harness_patience(200, 0, 0);
	fd = peer_connect(1);
	assert_false(take(fd, &byte, 1));
	close(fd);
	assert_true(stub_saw_event("connections_max"));
	assert_false(stub_saw_event("took too long"));
	raw_test_unit_ready(r);
	raw_close(r);
}

static bool sixteen_and_two(void)
{
	return harness_server()->conn_count == 18;
}

/* All who were turned away have 5 s at most; a login has 15. */
static bool waits_are_short(void)
{
	struct iscsi_server *s = harness_server();

	list_for_each (n, &s->conns) {
		struct iscsi_conn *c = container_of(n, struct iscsi_conn, link);

		if (c->turned_away && c->deadline_ns > reactor_now_ns(s->reactor) + UINT64_C(5000000000))
			return false;
	}
	return true;
}

/* Few wait to be told: 4 of an address, 16 of all. The others are closed at once. */
TEST(turned_away_and_too_many)
{
	int full[3], waiting[16];
	uint8_t byte;
	int fd;

	for (unsigned i = 0; i < 3; i++) {
		full[i] = peer_connect(1);
		assert_int_equal(peer_login(full[i], i, HOST_A, false), 0);
	}
	for (unsigned i = 0; i < 16; i++) {
		waiting[i] = peer_connect(2 + i / 4);
		if (i % 4 == 3) {
			fd = peer_connect(2 + i / 4);
			assert_false(take(fd, &byte, 1));
			close(fd);
		}
	}
	fd = peer_connect(9);
	assert_false(take(fd, &byte, 1));
	close(fd);
	harness_wait(waits_are_short);
	close(full[2]);
	harness_wait(sixteen_and_two);
	full[2] = peer_connect(2); /* who only waits takes nobody's place */
	assert_int_equal(peer_login(full[2], 2, HOST_A, false), 0);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(peer_login(waiting[i], i, HOST_A, false), NO_RESOURCES);
	close_all(waiting, 16);
	harness_wait(three_left);
	peer_refused(9, 1, HOST_A); /* there is room for one who waits again */
	close_all(full, 3);
}

/* ---- the defaults: 512 connections, 32 of an address, 256 sessions, 32 of a host ------------------------ */

#define HOSTS 8

static const char *host_name(unsigned i)
{
	static char name[64];

	snprintf(name, sizeof(name), "iqn.2026-01.test:host%u", i);
	return name;
}

/* Both ends of all connections are this process's. */
static bool descriptors(unsigned wanted)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_max < wanted)
		return false;
	if (limit.rlim_cur < wanted)
		limit.rlim_cur = wanted;
	return setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

static void add_hosts(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i <= HOSTS; i++)
		stub_add_host(host_name(i), "", "");
}

TEST(by_default_32_strangers_of_an_address_are_taken)
{
	int silent[32], fd;

	for (unsigned i = 0; i < 32; i++)
		silent[i] = peer_connect(2);
	peer_refused(2, 1, HOST_A);
	assert_true(stub_saw_event("connections_per_source"));
	fd = peer_connect(1);
	assert_int_equal(peer_login(fd, 1, HOST_A, false), 0);
	close(fd);
	close_all(silent, 32);
}

/* Anybody may have a discovery session, under whatever name: those of one address leave room for the others, and a
 * host that has the address too may log in when one of them has gone. */
TEST(discovery_sessions_count_as_strangers_of_their_address)
{
	int hoard[32], fd;

	for (unsigned i = 0; i < 32; i++) {
		hoard[i] = peer_connect(2);
		assert_int_equal(peer_login(hoard[i], i, "iqn.x:whoever", true), 0);
	}
	peer_refused(2, 1, HOST_A);
	assert_true(stub_saw_event("connections_per_source"));
	fd = peer_connect(1);
	assert_int_equal(peer_login(fd, 1, HOST_A, false), 0);
	close(fd);
	close(hoard[31]);
	harness_wait(thirty_one);
	hoard[31] = peer_connect(2);
	assert_int_equal(peer_login(hoard[31], 1, HOST_A, false), 0);
	fd = peer_connect(2); /* which is none for discovery */
	assert_int_equal(peer_login(fd, 2, HOST_A, true), 0);
	close(fd);
	close_all(hoard, 32);
}

static bool one_less_than_full(void)
{
	return harness_server()->conn_count == 511;
}

TEST(by_default_a_host_has_32_sessions_of_256)
{
	static int fds[512];
	unsigned count = 0;

	if (!descriptors(1200))
		skip();
	harness_call(add_hosts, NULL);
	for (unsigned i = 0; i < HOSTS; i++) {
		for (unsigned j = 0; j < 32; j++) {
			fds[count] = peer_connect(1);
			assert_int_equal(peer_login(fds[count++], j, host_name(i), false), 0);
		}
		if (i == 0) {
			peer_refused(1, 32, host_name(0));
			assert_true(stub_saw_event("sessions_per_host"));
		}
	}
	assert_int_equal(stub.nexuses, 256);
	peer_refused(1, 1, host_name(HOSTS));
	assert_true(stub_saw_event("sessions_max"));
	for (; count < 512; count++) { /* discovery sessions take no session's place, but a connection's */
		fds[count] = peer_connect(2 + count / 32);
		assert_int_equal(peer_login(fds[count], 0, HOST_A, true), 0);
	}
	assert_false(stub_saw_event("connections_max"));
	assert_false(stub_saw_event("connections_per_source"));
	peer_refused(1, 1, HOST_A);
	assert_true(stub_saw_event("connections_max"));
	close(fds[--count]);
	harness_wait(one_less_than_full);
	fds[count] = peer_connect(1);
	assert_int_equal(peer_login(fds[count++], 0, HOST_A, true), 0);
	close_all(fds, count);
}

#define T_WITH(name, s) cmocka_unit_test_setup_teardown(name, s, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T_WITH(past_a_limit_a_login_is_refused_with_a_status, start_narrow),
		T_WITH(refused_at_the_first_request, start_narrow),
		T_WITH(turned_away_and_silent, start_for_one),
		T_WITH(turned_away_and_too_many, start_narrow),
		T_WITH(by_default_32_strangers_of_an_address_are_taken, start_defaults),
		T_WITH(discovery_sessions_count_as_strangers_of_their_address, start_defaults),
		T_WITH(by_default_a_host_has_32_sessions_of_256, start_defaults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
