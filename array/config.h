/* SPDX-License-Identifier: Apache-2.0 */
/* umbrad's configuration file: INI, every key known and checked. umbrad.conf(5) describes the keys. */
#ifndef UMBRA_CONFIG_H
#define UMBRA_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include "array/util/fault.h"
#include "array/iscsi/iscsi.h"

#define CONFIG_TEXT_MAX_BYTES 255
#define CONFIG_PORTALS_MAX    16

enum config_store {
	CONFIG_STORE_POOL,
	CONFIG_STORE_RBD,
};

/* Numbers: 0 means the default of the part that they are for. */
struct config {
	char array_name[CONFIG_TEXT_MAX_BYTES + 1];
	uint32_t luns_max, hosts_max, host_luns_max;
	uint64_t lun_max_bytes;

	enum config_store store;
	char pool_path[CONFIG_TEXT_MAX_BYTES + 1];
	char pool_data_device[CONFIG_TEXT_MAX_BYTES + 1];
	char pool_meta_mirror[CONFIG_TEXT_MAX_BYTES + 1]; /* empty: none */
	bool pool_log_mirror;
	uint64_t pool_map_memory_bytes;

	char rbd_pool[CONFIG_TEXT_MAX_BYTES + 1];
	char rbd_namespace[CONFIG_TEXT_MAX_BYTES + 1]; /* empty: none */
	char rbd_client[CONFIG_TEXT_MAX_BYTES + 1];    /* empty: admin */
	char rbd_conf[CONFIG_TEXT_MAX_BYTES + 1];      /* empty: where librados looks */
	char rbd_array[CONFIG_TEXT_MAX_BYTES + 1];

	uint32_t controller;                           /* 1 or 2; 0: there is no other controller */
	struct iscsi_portal peers[CONFIG_PORTALS_MAX]; /* the other one's portals */
	unsigned peer_count;

	struct iscsi_portal portals[CONFIG_PORTALS_MAX];
	unsigned portal_count;
	char target_name[UP_NAME_MAX_BYTES + 1];
	uint32_t connections_max, connections_per_source, sessions_max, sessions_per_host, tasks_max;
	uint64_t buffer_bytes_max;
	uint32_t login_timeout_ms, nop_interval_ms, nop_timeout_ms, logout_timeout_ms;
	uint64_t max_recv_segment_bytes, max_burst_bytes, first_burst_bytes;
	bool discovery_needs_chap;

	uint32_t threshold_percent;
	uint64_t physical_block_bytes, sanitize_bytes_per_s;

	uint32_t lease_ms, host_gone_ms, commit_budget_ms, number_rest_ms, sets_max, set_luns_max;
	enum up_copy_kind copy_kind;
	uint64_t hydrate_bytes_per_s;
	uint32_t hydrations_max, recycle_ms;

	char socket_path[CONFIG_TEXT_MAX_BYTES + 1];
	char management_group[CONFIG_TEXT_MAX_BYTES + 1];
	uint32_t management_connections_max;
};

static inline uint16_t config_portal_group(const struct iscsi_portal *portal)
{
	return portal->group ? portal->group : 1;
}

/* Reads the file and fills in what it leaves open. A negative errno with a text that begins with
 * FILE:LINE: where there is a line. */
int config_load(const char *path, struct config *out, struct fault *fault);

/* Takes from a configuration that was read again what may change while umbrad runs. taken, refused: the keys that differ and
 * were taken, and those that need a restart. */
#define CONFIG_NAMES_BYTES 160
void config_take(struct config *running, const struct config *fresh, char taken[CONFIG_NAMES_BYTES],
	char refused[CONFIG_NAMES_BYTES]);

#endif
