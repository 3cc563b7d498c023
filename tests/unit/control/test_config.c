/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration: what is right is taken, what is wrong is refused with its line; sizes and times. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <errno.h>
#include "array/config.h"
#include "array/util/places.h"
#include "array/util/units.h"
#include "tests/support/test.h"

static struct config config;
static struct fault fault;
static char path[64];

static int load(const char *text)
{
	snprintf(path, sizeof(path), "/tmp/umbra-config-XXXXXX");
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	memset(&fault, 0, sizeof(fault));
	int err = config_load(path, &config, &fault);
	unlink(path);
	return err;
}

TEST(a_full_file_is_taken)
{
	assert_int_equal(load("# comment\n"
			      "[array]\nname = Prod_1\nluns_max = 100\n"
			      "[pool]\npath = /srv/umbra\nmap_memory = 256M\n"
			      "[iscsi]\nportals = 127.0.0.1:0, [::1]:3261\nportals = 10.0.0.1\n"
			      "login_timeout = 5s\ndiscovery_needs_chap = yes\nmax_burst = 512KiB\n"
			      "[scsi]\nthreshold_percent = 80\nphysical_block = 512\n"
			      "[copysets]\nlease = 10m\ncommit_budget = 2500ms\nset_luns_max = 8\n"
			      "copy_kind = plex\nhydrate_rate = 50M\nhydrations = 3\nrecycle_time = 24h\n"
			      "[management]\nsocket = /tmp/x.sock\ngroup = wheel\n"),
		0);
	assert_string_equal(config.array_name, "Prod_1");
	assert_string_equal(config.target_name, "iqn.2026-01.dev.umbra:prod-1");
	assert_int_equal(config.luns_max, 100);
	assert_string_equal(config.pool_path, "/srv/umbra");
	assert_int_equal(config.pool_map_memory_bytes, 256 << 20);
	assert_int_equal(config.portal_count, 3);
	assert_string_equal(config.portals[0].address, "127.0.0.1");
	assert_int_equal(config.portals[0].port, 0);
	assert_string_equal(config.portals[1].address, "::1");
	assert_int_equal(config.portals[1].port, 3261);
	assert_string_equal(config.portals[2].address, "10.0.0.1");
	assert_int_equal(config.portals[2].port, 3260);
	assert_int_equal(config.login_timeout_ms, 5000);
	assert_true(config.discovery_needs_chap);
	assert_int_equal(config.max_burst_bytes, 512 << 10);
	assert_int_equal(config.lease_ms, 600000);
	assert_int_equal(config.commit_budget_ms, 2500);
	assert_int_equal(config.set_luns_max, 8);
	assert_int_equal(config.copy_kind, UP_COPY_PLEX);
	assert_int_equal(config.hydrate_bytes_per_s, 50 << 20);
	assert_int_equal(config.hydrations_max, 3);
	assert_int_equal(config.recycle_ms, 86400000);
	assert_int_equal(config.threshold_percent, 80);
	assert_int_equal(config.physical_block_bytes, 512);
	assert_string_equal(config.socket_path, "/tmp/x.sock");
}

TEST(the_store_may_be_rbd)
{
	assert_int_equal(load("[store]\ntype = rbd\n[rbd]\npool = vol.1\nnamespace = umbra\n"
			      "client = array-1\nconf = /etc/ceph/other.conf\narray = prod-1\n"),
		0);
	assert_int_equal(config.store, CONFIG_STORE_RBD);
	assert_string_equal(config.rbd_pool, "vol.1");
	assert_string_equal(config.rbd_namespace, "umbra");
	assert_string_equal(config.rbd_client, "array-1");
	assert_string_equal(config.rbd_conf, "/etc/ceph/other.conf");
	assert_string_equal(config.rbd_array, "prod-1");
	assert_int_equal(load("[rbd]\npool = p\n[store]\ntype = rbd\n"), 0);
	assert_string_equal(config.rbd_array, "default");
	assert_string_equal(config.rbd_namespace, "");
	assert_string_equal(config.rbd_client, "");
	assert_string_equal(config.rbd_conf, "");
	assert_int_equal(load("[store]\ntype = pool\n[pool]\npath = /a\n"), 0);
	assert_int_equal(config.store, CONFIG_STORE_POOL);
}

TEST(a_store_that_is_not_one_place_is_refused)
{
	static const struct {
		const char *text, *words;
	} rows[] = {
		{"[store]\ntype = ceph\n", ":2: type must be pool or rbd"},
		{"[store]\ntype = rbd\n", "[rbd] has no pool: add pool = POOL"},
		{"[store]\ntype = rbd\n[rbd]\npool = p\n[pool]\npath = /a\n",
			"there are keys in [pool]: remove them"},
		{"[pool]\npath = /a\n[rbd]\npool = p\n", "add type = rbd to [store]"},
		{"[rbd]\npool = a/b\n", ":2: pool is a name of at most 127 bytes, without"},
		{"[rbd]\nnamespace = a@b\n", ":2: namespace is a name of at most 127 bytes"},
		{"[rbd]\nclient = client.umbra\n", "without \"client.\": client = umbra."},
		{"[rbd]\nconf = ceph.conf\n", ":2: conf must be an absolute path"},
		{"[rbd]\narray = Prod\n", ":2: array must have at most 40 lower-case letters"},
		{"[rbd]\narray = aaaaaaaaaabbbbbbbbbbccccccccccddddddddddd\n",
			":2: array must have at most 40"},
		{"[rbd]\narray =\n", ":2: array must have 1 to"},
		{"[rbd]\npools = p\n", ":2: unknown key pools"},
	};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(load(rows[i].text), -EINVAL);
		if (!strstr(fault.text, rows[i].words))
			fail_msg("%s: %s", rows[i].text, fault.text);
	}
}

TEST(a_mirror_that_is_none_is_refused)
{
	static const char *const inside[] = {"/srv/umbra", "/srv/umbra/", "/srv//umbra/mirror", "/srv", "/"};
	char text[256];

	assert_int_equal(load("[pool]\npath = /srv/umbra\nlog_mirror = yes\n"), -EINVAL);
	assert_non_null(strstr(fault.text, "add meta_mirror = DIRECTORY"));
	assert_int_equal(load("[pool]\npath = /srv/umbra\nlog_mirror = no\n"), 0);
	for (unsigned i = 0; i < sizeof(inside) / sizeof(inside[0]); i++) {
		snprintf(text, sizeof(text), "[pool]\npath = /srv/umbra\nmeta_mirror = %s\n", inside[i]);
		assert_int_equal(load(text), -EINVAL);
		assert_non_null(strstr(fault.text, "would be lost together"));
	}
	assert_int_equal(
		load("[pool]\npath = /srv/umbra\nmeta_mirror = /srv/umbra-mirror\nlog_mirror = yes\n"), 0);
	assert_int_equal(load("[pool]\npath = /srv/umbra/\nmeta_mirror = /srv/umbr\n"), 0);
}

TEST(portals_have_groups_and_redirections)
{
	assert_int_equal(load("[pool]\npath = /a\n[iscsi]\n"
			      "redirect = [::1]:3261 storage-2.example.com:860 permanent\n"
			      "portals = 127.0.0.1:0, 10.0.0.1:3260/2, [::1]:3261/65535\n"
			      "redirect = 10.0.0.1 [2001:db8::1]:3260 temporary\n"
			      "max_burst = 4M\n[array]\nlun_size_max = 256T\nhost_luns_max = 1024\n"
			      "luns_max = 131072\n[copysets]\nsets_max = 65536\n"),
		0);
	assert_int_equal(config.portal_count, 3);
	assert_int_equal(config.portals[0].group, 0);
	assert_string_equal(config.portals[0].redirect, "");
	assert_string_equal(config.portals[1].address, "10.0.0.1");
	assert_int_equal(config.portals[1].group, 2);
	assert_string_equal(config.portals[1].redirect, "[2001:db8::1]:3260");
	assert_false(config.portals[1].moved);
	assert_int_equal(config.portals[2].group, 65535);
	assert_string_equal(config.portals[2].redirect, "storage-2.example.com:860");
	assert_true(config.portals[2].moved);
	assert_int_equal(config.max_burst_bytes, 4 << 20);
	assert_int_equal(config.lun_max_bytes, UINT64_C(256) << 40);
	assert_int_equal(config.host_luns_max, 1024);
	assert_int_equal(config.luns_max, 131072);
	assert_int_equal(config.sets_max, 65536);
}

TEST(what_is_left_out_has_defaults)
{
	assert_int_equal(load("[pool]\npath = /srv/umbra\n"), 0);
	assert_string_equal(config.array_name, "umbra");
	assert_string_equal(config.target_name, "iqn.2026-01.dev.umbra:umbra");
	assert_string_equal(config.socket_path, PLACE_SOCKET);
	assert_int_equal(config.portal_count, 1);
	assert_int_equal(config.portals[0].port, 3260);
	assert_int_equal(config.lease_ms, 0);
	assert_int_equal(config.copy_kind, UP_COPY_DEFAULT);
}

TEST(what_is_wrong_is_refused_with_its_line)
{
	static const struct {
		const char *text;
		int line;
		const char *says;
	} rows[] = {
		{"[pool]\npath = /a\n[iscsi]\nportal = 1.2.3.4\n", 4, "unknown key portal in [iscsi]"},
		{"[pool]\npath = /a\n[icsi]\nportals = 1.2.3.4\n", 4, "unknown section [icsi]"},
		{"path = /a\n", 1, "before any section"},
		{"[pool]\npath = relative\n", 2, "absolute path"},
		{"[pool]\npath =\n", 2, "path must have"},
		{"[pool]\npath = /a\npath = /b\n", 3, "twice"},
		{"[pool]\npath = /a\n\n[copysets]\nlease = 600\n", 5, "time with its unit"},
		{"[copysets]\nlease = 1ms\n", 2, "lease must be"},
		{"[copysets]\ncopy_kind = full\n", 2, "differential or plex"},
		{"[copysets]\nhydrations = 0\n", 2, "hydrations must be"},
		{"[scsi]\nthreshold_percent = 100\n", 2, "from 10 to 99"},
		{"[copysets]\nset_luns_max = 65\n", 2, "from 1 to 64"},
		{"[copysets]\nsets_max = 65537\n", 2, "from 1 to 65536"},
		{"[copysets]\nset_luns_max = -1\n", 2, "must be a number"},
		{"[copysets]\nset_luns_max = 5x\n", 2, "must be a number"},
		{"[pool]\nmap_memory = 1\n", 2, "must be a size"},
		{"[pool]\nmap_memory = lots\n", 2, "must be a size"},
		{"[iscsi]\ndiscovery_needs_chap = maybe\n", 2, "yes or no"},
		{"[iscsi]\nportals = 1.2.3.4:99999\n", 2, "no number from 0 to 65535"},
		{"[iscsi]\nportals = 1.2.3.4:x\n", 2, "no number from 0 to 65535"},
		{"[iscsi]\nportals = [::1\n", 2, "without ']'"},
		{"[iscsi]\nportals = [::1]x\n", 2, "no address and port"},
		{"[iscsi]\nportals = :3260\n", 2, "has no address"},
		{"[iscsi]\nportals = localhost:0\n", 2, "neither an IPv4 nor an IPv6 address"},
		{"[iscsi]\nportals = 999.1.1.1\n", 2, "neither an IPv4 nor an IPv6 address"},
		{"[iscsi]\nredirect = elsewhere 5.6.7.8:1 permanent\n", 2,
			"neither an IPv4 nor an IPv6 address"},
		{"[iscsi]\nportals = 1.2.3.4:5/0\n", 2, "no number from 1 to 65535"},
		{"[iscsi]\nportals = 1.2.3.4:5/65536\n", 2, "no number from 1 to 65535"},
		{"[iscsi]\nportals = 1.2.3.4:5/1x, 1.2.3.5\n", 2, "no number from 1 to 65535"},
		{"[iscsi]\nportals = /1\n", 2, "has no address"},
		{"[iscsi]\nportals = ::, ::1, ::2, ::3, ::4, ::5, ::6, ::7, ::8\n"
		 "portals = 0.0.0.0, 0.0.0.1, 0.0.0.2, 0.0.0.3, 0.0.0.4, 0.0.0.5, 0.0.0.6, 0.0.0.7\n",
			3, "more than 16 portals"},
		{"[pool]\npath = /a\n[iscsi]\nredirect = 1.2.3.4 5.6.7.8:1 temporary\n\n", 4,
			"none of the portals"},
		{"[iscsi]\nredirect = 1.2.3.4 5.6.7.8:1\n", 2, "temporary or permanent"},
		{"[iscsi]\nredirect = 1.2.3.4 5.6.7.8:1 soon\n", 2, "temporary or permanent"},
		{"[iscsi]\nredirect = 1.2.3.4 5.6.7.8:1 permanent ly\n", 2, "temporary or permanent"},
		{"[iscsi]\nredirect = 1.2.3.4 5.6.7.8 permanent\n", 2, "with a port"},
		{"[iscsi]\nredirect = 1.2.3.4 5.6.7.8:0 permanent\n", 2, "with a port"},
		{"[iscsi]\nredirect = 1.2.3.4 a,1:3260 permanent\n", 2, "with a port"},
		{"[iscsi]\nredirect = 1.2.3.4 [::1:3260 permanent\n", 2, "with a port"},
		{"[iscsi]\nredirect = 1.2.3.4:x 5.6.7.8:1 permanent\n", 2, "no number from 0 to 65535"},
		{"[iscsi]\nmax_recv_segment = 8M\n", 2, "from 512 B to 4 MiB"},
		{"[iscsi]\nmax_burst = 5M\n", 2, "must be a size"},
		{"[iscsi]\nsessions_max = 0\n", 2, "from 1 to 16384"},
		{"[array]\nhost_luns_max = 16384\n", 2, "from 1 to 16383"},
		{"[array]\nlun_size_max = 257T\n", 2, "must be a size"},
		{"[iscsi]\ntarget_name = umbra\n", 2, "iSCSI name"},
		{"[iscsi]\ntarget_name = iqn.2026-01.Example\n", 2, "lower-case"},
		{"[array]\nname = two words\n", 2, "letters, digits"},
		{"[pool]\npath = /a\nnonsense\n", 3, "neither [section]"},
	};
	char want[80];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(load(rows[i].text), -EINVAL);
		snprintf(want, sizeof(want), "%s:%d: ", path, rows[i].line);
		if (strncmp(fault.text, want, strlen(want)) != 0 || !strstr(fault.text, rows[i].says))
			fail_msg("row %zu: %s", i, fault.text);
	}
}

TEST(comments_may_follow_values)
{
	assert_int_equal(
		load("[pool] # where\npath = /a#b\t# not #c\n#d\n[iscsi]\nportals = 127.0.0.1:1 # one\n"
		     "portals = 127.0.0.1:2 ; two\n"),
		0);
	assert_string_equal(config.pool_path, "/a#b");
	assert_int_equal(config.portal_count, 2);
}

TEST(a_missing_path_or_file_is_told)
{
	assert_int_equal(load("[pool]\npath = /a\n[scsi]\nphysical_block = 1024\n"), -EINVAL);
	assert_non_null(strstr(fault.text, "512 or 4096"));
	assert_int_equal(load("[array]\nname = a\n"), -EINVAL);
	assert_non_null(strstr(fault.text, "umbractl pool create"));
	assert_int_equal(config_load("/nonexistent/umbrad.conf", &config, &fault), -ENOENT);
	assert_non_null(strstr(fault.text, "--config"));
}

TEST(a_line_too_long_is_refused)
{
	char text[1200];

	memset(text, 'a', sizeof(text));
	memcpy(text, "[pool]\npath = /", 15);
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(load(text), -EINVAL);
	assert_non_null(strstr(fault.text, ":2: "));
}

TEST(sizes_are_parsed)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {{"0", 0}, {"512", 512}, {"1K", 1024}, {"1k", 1024}, {"64KiB", 65536}, {"3MB", 3 << 20},
		{"500G", UINT64_C(500) << 30}, {"1.5T", UINT64_C(1536) << 30}, {"0.5K", 512},
		{"2P", UINT64_C(2) << 50}, {"10 M", 10 << 20}, {"7B", 7}};
	static const char *const bad[] = {
		"", "G", "-1", "1.5", "1.", "1X", "1KK", "1Ki B", "0x10", "1.1234567G", " 1", "1e3"};
	uint64_t bytes;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(units_parse_bytes(good[i].text, &bytes), 0);
		assert_int_equal(bytes, good[i].bytes);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_not_equal(units_parse_bytes(bad[i], &bytes), 0);
	assert_int_equal(units_parse_bytes("8192P", &bytes), -ERANGE);
	assert_int_equal(units_parse_bytes("99999999999999999999", &bytes), -ERANGE);
}

TEST(times_are_parsed)
{
	uint32_t ms;

	assert_int_equal(units_parse_ms("250ms", &ms), 0);
	assert_int_equal(ms, 250);
	assert_int_equal(units_parse_ms("5 s", &ms), 0);
	assert_int_equal(ms, 5000);
	assert_int_equal(units_parse_ms("2min", &ms), 0);
	assert_int_equal(ms, 120000);
	assert_int_equal(units_parse_ms("1h", &ms), 0);
	assert_int_equal(ms, 3600000);
	assert_int_equal(units_parse_ms("5", &ms), -EINVAL);
	assert_int_equal(units_parse_ms("s", &ms), -EINVAL);
	assert_int_equal(units_parse_ms("5d", &ms), -EINVAL);
	assert_int_equal(units_parse_ms("5000000h", &ms), -ERANGE);
}

TEST(long_times_are_parsed)
{
	uint64_t ms;

	assert_int_equal(units_parse_long_ms("14d", &ms), 0);
	assert_int_equal(ms, UINT64_C(14) * 86400000);
	assert_int_equal(units_parse_long_ms("8 w", &ms), 0);
	assert_int_equal(ms, UINT64_C(56) * 86400000);
	assert_int_equal(units_parse_long_ms("7y", &ms), 0);
	assert_int_equal(ms, UINT64_C(7) * 365 * 86400000);
	assert_int_equal(units_parse_long_ms("90min", &ms), 0);
	assert_int_equal(ms, 5400000);
	assert_int_equal(units_parse_long_ms("3m", &ms), -EINVAL); /* minutes or months? */
	assert_int_equal(units_parse_long_ms("-3d", &ms), -EINVAL);
	assert_int_equal(units_parse_long_ms("14", &ms), -EINVAL);
	assert_int_equal(units_parse_long_ms("999999999999y", &ms), -ERANGE);
}

TEST(sizes_are_shown)
{
	char text[UNITS_TEXT_BYTES];

	units_format_bytes(0, text);
	assert_string_equal(text, "0 B");
	units_format_bytes(1023, text);
	assert_string_equal(text, "1023 B");
	units_format_bytes(65536, text);
	assert_string_equal(text, "64 KiB");
	units_format_bytes(UINT64_C(1536) << 30, text);
	assert_string_equal(text, "1.5 TiB");
	units_format_bytes(UINT64_MAX, text);
	assert_string_equal(text, "16384.0 PiB");
}

#define CEPH "[store]\ntype = rbd\n[rbd]\npool = p\n"

TEST(two_controllers_know_each_other)
{
	assert_int_equal(
		load(CEPH "[controller]\nnumber = 2\npeer_portals = 192.0.2.1, [2001:db8::1]:3261/7\n"
			  "[iscsi]\nportals = 0.0.0.0:3260 192.0.2.2:3262/5\n"),
		0);
	assert_int_equal(config.controller, 2);
	assert_int_equal(config.portals[0].group, 2);
	assert_int_equal(config.portals[1].group, 5);
	assert_int_equal(config.peer_count, 2);
	assert_string_equal(config.peers[0].address, "192.0.2.1");
	assert_int_equal(config.peers[0].port, 3260);
	assert_int_equal(config.peers[0].group, 1);
	assert_int_equal(config.peers[1].port, 3261);
	assert_int_equal(config.peers[1].group, 7);
	/* without a portal of its own it listens everywhere, in its own group all the same */
	assert_int_equal(load(CEPH "[controller]\nnumber = 2\npeer_portals = 192.0.2.1\n"), 0);
	assert_int_equal(config.portals[0].group, 2);
	/* alone there is no group to be had, and none given */
	assert_int_equal(load(CEPH), 0);
	assert_int_equal(config.controller, 0);
	assert_int_equal(config.portals[0].group, 0);
}

TEST(controllers_that_cannot_be_are_refused)
{
	static const struct {
		const char *text, *says;
	} bad[] = {
		{CEPH "[controller]\nnumber = 3\n", "from 1 to 2"},
		{CEPH "[controller]\npeer_portals = 192.0.2.1\n", "no number"},
		{"[pool]\npath = /x\n[controller]\nnumber = 1\npeer_portals = 192.0.2.1\n", "type = rbd"},
		{CEPH "[controller]\nnumber = 1\npeer_portals = 0.0.0.0\n", "cannot reach"},
		{CEPH "[controller]\nnumber = 1\npeer_portals = 192.0.2.1:0\n", "cannot reach"},
		{CEPH "[controller]\nnumber = 1\npeer_portals = array.example\n", "neither an IPv4"},
		{CEPH "[controller]\nnumber = 1\npeer_portals = 192.0.2.1/0\n", "from 1 to 65535"},
		{CEPH "[controller]\nnumber = 1\npeer_portals = 192.0.2.1/1\n", "is on both controllers"},
		{CEPH "[controller]\nnumber = 2\npeer_portals = 192.0.2.1\n[iscsi]\nportals = 192.0.2.2/1\n",
			"is on both controllers"},
		{CEPH "[controller]\nnumber = 1\npeer_portals = 192.0.2.1\n[iscsi]\nportals = 192.0.2.1\n",
			"192.0.2.1 port 3260 is this controller's own portal"},
		{CEPH "[controller]\nnumber = 2\npeer_portals = [2001:db8::1]:3261\n[iscsi]\n"
		      "portals = 192.0.2.1, [2001:DB8:0::1]:3261/9\n",
			"2001:db8::1 port 3261 is this controller's own portal"},
		{CEPH "[controller]\nnumber = 0\n", "from 1 to 2"},
		{CEPH "[controller]\nnumber = two\n", "from 1 to 2"},
		{CEPH "[controller]\nnumber =\n", "from 1 to 2"},
		{CEPH "[controller]\nnumber = 1\npeer_portals =\n", ":7: peer_portals names no address"},
		{CEPH "[controller]\nnumber = 1\npeer_portals = , ,\n", ":7: peer_portals names no address"},
		{"[pool]\npath = /x\n[iscsi]\nportals =\n", ":4: portals names no address"},
		{CEPH "[controller]\nnumber = 1\npeer = 192.0.2.1\n", "unknown key peer"},
		{"[controller]\nnumber = 1\n[pool]\npath = /x\n", "set type = rbd in [store]"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(load(bad[i].text), -EINVAL);
		if (!strstr(fault.text, bad[i].says))
			fail_msg("\"%s\" does not say \"%s\"", fault.text, bad[i].says);
	}
}

TEST(controllers_do_not_change_while_umbrad_runs)
{
	char taken[CONFIG_NAMES_BYTES], refused[CONFIG_NAMES_BYTES];
	static struct config running;

	assert_int_equal(load(CEPH "[controller]\nnumber = 1\npeer_portals = 192.0.2.1\n"), 0);
	running = config;
	config_take(&running, &config, taken, refused);
	assert_string_equal(refused, "");
	assert_int_equal(load(CEPH "[controller]\nnumber = 1\npeer_portals = 192.0.2.2\n"), 0);
	config_take(&running, &config, taken, refused);
	assert_string_equal(refused, "peer_portals");
	assert_string_equal(taken, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_full_file_is_taken),
		cmocka_unit_test(the_store_may_be_rbd),
		cmocka_unit_test(a_store_that_is_not_one_place_is_refused),
		cmocka_unit_test(a_mirror_that_is_none_is_refused),
		cmocka_unit_test(portals_have_groups_and_redirections),
		cmocka_unit_test(what_is_left_out_has_defaults),
		cmocka_unit_test(what_is_wrong_is_refused_with_its_line),
		cmocka_unit_test(comments_may_follow_values),
		cmocka_unit_test(a_missing_path_or_file_is_told),
		cmocka_unit_test(a_line_too_long_is_refused),
		cmocka_unit_test(sizes_are_parsed),
		cmocka_unit_test(times_are_parsed),
		cmocka_unit_test(long_times_are_parsed),
		cmocka_unit_test(sizes_are_shown),
		cmocka_unit_test(two_controllers_know_each_other),
		cmocka_unit_test(controllers_that_cannot_be_are_refused),
		cmocka_unit_test(controllers_do_not_change_while_umbrad_runs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
