/* SPDX-License-Identifier: Apache-2.0 */
/* What two controllers tell each other of themselves, as anybody who may write to the pool could have written it; and whether they
 * fit together. */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "array/card.h"
#include "array/pair.h"
#include "array/util/clock.h"
#include "tests/support/test.h"

static struct card a_card(unsigned number)
{
	struct card c = {.number = number,
		.beat = 7,
		.role = CARD_OWNER,
		.since_unix_ms = 1700000000000,
		.umbra = "1.2.3",
		.machine = "a-host",
		.array = "prod",
		.target = "iqn.2026-01.test:a",
		.process = {.machine = "boot:pid:[1]", .pid = 42, .start = 77},
		.portal_count = 2,
		.portals = {{"192.0.2.1", 3260, 1}, {"2001:db8::1", 3261, 2}}};

	return c;
}

TEST(a_card_is_read_as_it_was_written)
{
	struct card c = a_card(2), back;
	char text[STORE_CARD_MAX_BYTES];
	size_t len = card_write(&c, text, sizeof(text));

	assert_true(len > 0);
	assert_int_equal(card_read(text, len, &back), 0);
	assert_memory_equal(&c, &back, sizeof(c));
	assert_int_equal(card_write(&c, text, 100), 0);
}

TEST(the_largest_card_fits)
{
	struct card c = a_card(1), back;
	char text[STORE_CARD_MAX_BYTES];
	size_t len;

	c.beat = c.process.pid = c.process.start = c.since_unix_ms = INT64_MAX;
	memset(c.umbra, 'v', sizeof(c.umbra) - 1);
	memset(c.machine, 'm', sizeof(c.machine) - 1);
	memset(c.array, '"', sizeof(c.array) - 1);
	memset(c.target, 't', sizeof(c.target) - 1);
	memset(c.process.machine, '\\', sizeof(c.process.machine) - 1);
	for (c.portal_count = 0; c.portal_count < CARD_PORTALS_MAX; c.portal_count++)
		c.portals[c.portal_count] = (struct iscsi_peer_portal){
			"2001:0db8:1111:2222:3333:4444:5555:6666", UINT16_MAX, UINT16_MAX};
	len = card_write(&c, text, sizeof(text));
	assert_true(len > 0);
	assert_int_equal(card_read(text, len, &back), 0);
	assert_memory_equal(&c, &back, sizeof(c));
}

/* The card of above with one thing changed. */
static int read_changed(const char *from, const char *to, struct card *back)
{
	struct card c = a_card(2);
	char text[STORE_CARD_MAX_BYTES], changed[2 * STORE_CARD_MAX_BYTES];
	size_t len = card_write(&c, text, sizeof(text) - 1);
	char *at;

	text[len] = 0;
	at = strstr(text, from);
	assert_non_null(at);
	len = (size_t)snprintf(
		changed, sizeof(changed), "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
	return card_read(changed, len, back);
}

TEST(what_is_no_card_is_refused)
{
	static const struct {
		const char *from, *to;
	} bad[] = {
		{"\"number\":2", "\"number\":0"},
		{"\"number\":2", "\"number\":3"},
		{"\"number\":2", "\"number\":-1"},
		{"\"number\":2", "\"number\":\"2\""},
		{"\"number\":2", "\"number\":2,\"number\":2"},
		{"\"card\":1", "\"card\":0"},
		{"\"card\":1", "\"cart\":1"},
		{"\"beat\":7", "\"beat\":-7"},
		{"\"beat\":7", "\"beat\":7.5"},
		{"\"owner\"", "\"ower\""},
		{"\"role\":\"owner\"", "\"role\":1"},
		{"a-host", "a\\nhost"},
		{"a-host", "a\\u0000host"},
		{"a-host", "a\\u00e9host"},
		{"1.2.3", "1.2.3.4.5.6.7.8.9.10.11.12"},
		{"192.0.2.1", "0.0.0.0"},
		{"192.0.2.1", "an.example"},
		{"192.0.2.1", "192.0.2.1.5"},
		{"\"port\":3260", "\"port\":0"},
		{"\"port\":3260", "\"port\":65536"},
		{"\"group\":1", "\"group\":0"},
		{"\"portals\":[", "\"portals\":{\"x\":["},
		{"}]}", "}]"},
		{"}]}", "}]}}"},
	};
	struct card back;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (read_changed(bad[i].from, bad[i].to, &back) != -EUCLEAN)
			fail_msg("%s in place of %s was taken", bad[i].to, bad[i].from);
	assert_int_equal(card_read("", 0, &back), -EUCLEAN);
	assert_int_equal(card_read("[]", 2, &back), -EUCLEAN);
	assert_int_equal(card_read("\0", 1, &back), -EUCLEAN);
	assert_int_equal(back.number, 0);
}

TEST(a_newer_umbrads_card_tells_whose_it_is)
{
	struct card back;

	assert_int_equal(read_changed("\"card\":1", "\"card\":2", &back), -EPROTONOSUPPORT);
	assert_int_equal(back.number, 2);
	assert_string_equal(back.umbra, "1.2.3");
	assert_string_equal(back.machine, "a-host");
	assert_int_equal(back.portal_count, 0);
	/* what a newer one has besides does no harm */
	assert_int_equal(read_changed("\"card\":1", "\"card\":1,\"more\":[{}]", &back), 0);
}

/* ---- do they fit ---- */

static struct config config;
static struct reactor *reactor;
static struct pair *pair;

static void changed(void *arg)
{
	(void)arg;
}

static void begin(unsigned number)
{
	memset(&config, 0, sizeof(config));
	config.controller = number;
	snprintf(config.target_name, sizeof(config.target_name), "iqn.2026-01.test:a");
	config.portal_count = 1;
	config.portals[0] = (struct iscsi_portal){.address = "192.0.2.9", .port = 3260, .group = 5};
	assert_int_equal(reactor_create(&reactor, NULL), 0);
	pair = pair_new(&config, reactor, changed, NULL);
	assert_non_null(pair);
}

static void end(void)
{
	pair_free(pair);
	reactor_destroy(reactor);
}

static int admit(const struct card *c, bool lives, struct fault *f)
{
	const struct store_cards *cards = pair_cards(pair);
	char text[STORE_CARD_MAX_BYTES];
	size_t len = card_write(c, text, sizeof(text));

	return cards->admit(cards->arg, c->number, text, len, lives, f);
}

static void expect_refusal(const struct card *c, const char *words)
{
	struct fault f = {0};

	assert_int_equal(admit(c, false, &f), -EAGAIN);
	assert_int_equal(f.err, 0);
	assert_true(admit(c, true, &f) < 0);
	if (!strstr(f.text, words))
		fail_msg("%s: not in: %s", words, f.text);
}

TEST(only_what_lives_and_does_not_fit_is_refused)
{
	struct fault f = {0};
	struct card c = a_card(2);

	begin(1);
	assert_int_equal(admit(&c, false, &f), 0);
	snprintf(c.target, sizeof(c.target), "iqn.2026-01.test:b");
	expect_refusal(&c, "under the target name iqn.2026-01.test:b");
	c.role = CARD_ENDED;
	assert_int_equal(admit(&c, false, &f), 0);
	c = a_card(2);
	c.portals[1].group = 5;
	expect_refusal(&c, "has the portal group 5 as well");
	c = a_card(1);
	expect_refusal(&c, "there is a controller 1 already");
	process_self(&c.process); /* we were it before */
	assert_int_equal(admit(&c, false, &f), 0);
	c.process.start++; /* and this one is no more */
	assert_int_equal(admit(&c, false, &f), 0);
	assert_int_equal(
		pair_cards(pair)->admit(pair_cards(pair)->arg, 2, "{}", 2, false, &f), 0); /* nobody's */
	assert_int_equal(f.err, 0);
	end();
}

TEST(the_other_one_lives_while_its_card_changes)
{
	const struct store_cards *cards;
	struct card c = a_card(2);
	struct pair_look look;
	char text[STORE_CARD_MAX_BYTES];
	size_t len = card_write(&c, text, sizeof(text));

	begin(1);
	cards = pair_cards(pair);
	pair_look(pair, &look);
	assert_false(look.known || look.lives);
	assert_int_equal(look.other.number, 2);
	cards->read(cards->arg, 2, text, len, UINT64_MAX); /* nobody has seen it change */
	pair_look(pair, &look);
	assert_true(look.known && !look.lives);
	assert_int_equal(look.other.portal_count, 2);
	cards->read(cards->arg, 2, text, len, 100);
	pair_look(pair, &look);
	assert_true(look.lives && look.seen_ms < 60000);
	cards->read(cards->arg, 2, text, len, UINT64_MAX); /* another store, which is new */
	pair_look(pair, &look);
	assert_true(look.lives);
	cards->read(cards->arg, 2, text, len, 60000);
	pair_look(pair, &look);
	assert_false(look.lives);
	cards->read(cards->arg, 2, "{}", 2, 100);
	pair_look(pair, &look);
	assert_false(look.lives || look.other.portal_count);
	c.portals[0].group = 5;
	len = card_write(&c, text, sizeof(text));
	cards->read(cards->arg, 2, text, len, 100);
	pair_look(pair, &look);
	assert_true(look.lives && strstr(look.problem, "portal group 5"));
	end();
}

static void read_at(const struct card *c, uint64_t still_ms, struct pair_look *look)
{
	const struct store_cards *cards = pair_cards(pair);
	char text[STORE_CARD_MAX_BYTES];
	size_t len = card_write(c, text, sizeof(text));

	cards->read(cards->arg, c->number, text, len, still_ms);
	pair_look(pair, look);
}

/* ---- this machine's addresses, which the test plays ---- */

static unsigned addresses_asked, addresses;

int getifaddrs(struct ifaddrs **all)
{
	static struct sockaddr_in address[2];
	static struct ifaddrs list[2];

	addresses_asked++;
	for (unsigned i = 0; i < addresses; i++) {
		address[i].sin_family = AF_INET;
		address[i].sin_addr.s_addr = htonl(0xC0000201 + i); /* 192.0.2.1 */
		list[i] = (struct ifaddrs){.ifa_addr = (struct sockaddr *)(void *)&address[i],
			.ifa_flags = IFF_UP,
			.ifa_next = i + 1 < addresses ? &list[i + 1] : NULL};
	}
	*all = addresses ? list : NULL;
	return 0;
}

void freeifaddrs(struct ifaddrs *all)
{
	(void)all;
}

/* A move looks every 20 ms. */
TEST(a_machines_addresses_are_asked_for_now_and_then_and_are_those_of_now)
{
	const struct iscsi_portal everywhere = {.address = "0.0.0.0", .port = 3260, .group = 7};
	const struct timespec pause = {.tv_nsec = 10000000};
	struct pair_look look;
	uint64_t begun_ms;

	begin(1);
	addresses = 1;
	pair_set_portals(pair, &everywhere, 1);
	addresses_asked = 0;
	begun_ms = clock_boot_ms();
	for (unsigned i = 0; i < 1000; i++) {
		pair_look(pair, &look);
		assert_int_equal(look.own.portal_count, 1);
		assert_string_equal(look.own.portals[0].address, "192.0.2.1");
	}
	assert_true(addresses_asked <= 2 + (clock_boot_ms() - begun_ms) / 500);
	addresses = 2;
	do {
		nanosleep(&pause, NULL);
		pair_look(pair, &look);
	} while (look.own.portal_count != 2);
	assert_string_equal(look.own.portals[1].address, "192.0.2.2");
	addresses = 0;
	pair_set_portals(pair, &everywhere, 1); /* the configuration was read again */
	pair_look(pair, &look);
	assert_int_equal(look.own.portal_count, 0);
	end();
}

/* Each move has a new connection to Ceph, which has seen no card change yet. */
TEST(a_card_that_differs_from_what_the_store_before_saw_has_changed)
{
	struct card c = a_card(2);
	struct pair_look look;

	begin(1);
	read_at(&c, UINT64_MAX, &look);
	assert_false(look.lives);
	read_at(&c, UINT64_MAX, &look);
	assert_false(look.lives);
	c.beat++;
	read_at(&c, UINT64_MAX, &look);
	assert_true(look.lives);
	end();
}

/* What hosts are told of its ports. */
TEST(the_other_one_is_gone_when_that_is_certain)
{
	const struct store_cards *cards;
	struct card c = a_card(2);
	struct pair_look look;

	begin(1);
	cards = pair_cards(pair);
	pair_look(pair, &look);
	assert_false(look.gone);
	cards->lease(cards->arg, 1, true); /* nothing is known yet */
	read_at(&c, UINT64_MAX, &look);
	assert_false(look.gone || look.lives);
	read_at(&c, 100, &look);
	assert_true(look.lives && !look.gone);
	read_at(&c, 60000, &look);
	assert_true(look.gone && !look.lives);
	c.beat++;
	read_at(&c, 0, &look);
	assert_true(look.lives && !look.gone);
	c.role = CARD_ENDED;
	read_at(&c, 0, &look);
	assert_true(look.gone && !look.lives);
	end();
}

TEST(the_other_one_is_gone_when_it_was_locked_out)
{
	const struct store_cards *cards;
	struct card c = a_card(2);
	struct pair_look look;
	struct process_id another;

	begin(1);
	cards = pair_cards(pair);
	read_at(&c, 100, &look);
	another = c.process;
	another.pid++; /* one that had been there before it */
	cards->fenced(cards->arg, &another);
	pair_look(pair, &look);
	assert_true(look.lives && !look.gone);
	cards->fenced(cards->arg, &c.process);
	pair_look(pair, &look);
	assert_true(look.gone && !look.lives);
	read_at(&c, 200, &look); /* its last word is not old yet */
	assert_true(look.gone && !look.lives);
	c.beat++; /* it stands by, over a new connection */
	read_at(&c, 0, &look);
	assert_true(look.lives && !look.gone);
	end();
}

TEST(the_other_one_is_gone_when_its_process_on_this_machine_is)
{
	struct card c = a_card(2);
	struct pair_look look;

	begin(1);
	process_self(&c.process);
	read_at(&c, 0, &look);
	assert_true(look.lives && !look.gone);
	c.process.start++;
	read_at(&c, 0, &look);
	assert_true(look.gone && !look.lives);
	end();
}

TEST(our_own_card_says_what_we_are)
{
	const struct store_cards *cards;
	char text[STORE_CARD_MAX_BYTES];
	struct card first, second;
	size_t len;

	begin(2);
	cards = pair_cards(pair);
	pair_set_role(pair, CARD_STANDBY);
	len = cards->write(cards->arg, text, false);
	assert_int_equal(card_read(text, len, &first), 0);
	assert_int_equal(first.number, 2);
	assert_int_equal(first.role, CARD_STANDBY);
	assert_int_equal(first.portal_count, 1);
	assert_string_equal(first.portals[0].address, "192.0.2.9");
	assert_int_equal(first.portals[0].group, 5);
	assert_int_equal(cards->write(cards->arg, text, true), 0); /* another store writes on */
	pair_end(pair);
	len = cards->write(cards->arg, text, true);
	assert_int_equal(card_read(text, len, &second), 0);
	assert_int_equal(second.role, CARD_ENDED);
	assert_true(second.beat > first.beat);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_card_is_read_as_it_was_written),
		cmocka_unit_test(the_largest_card_fits),
		cmocka_unit_test(what_is_no_card_is_refused),
		cmocka_unit_test(a_newer_umbrads_card_tells_whose_it_is),
		cmocka_unit_test(only_what_lives_and_does_not_fit_is_refused),
		cmocka_unit_test(the_other_one_lives_while_its_card_changes),
		cmocka_unit_test(a_card_that_differs_from_what_the_store_before_saw_has_changed),
		cmocka_unit_test(the_other_one_is_gone_when_that_is_certain),
		cmocka_unit_test(the_other_one_is_gone_when_it_was_locked_out),
		cmocka_unit_test(the_other_one_is_gone_when_its_process_on_this_machine_is),
		cmocka_unit_test(our_own_card_says_what_we_are),
		cmocka_unit_test(a_machines_addresses_are_asked_for_now_and_then_and_are_those_of_now),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
