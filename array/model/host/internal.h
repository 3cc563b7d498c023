/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of hosts, mappings and nexuses.
 *
 * host/, set/ and array/model itself may include it. Nobody outside array/model may.
 */
#ifndef UMBRA_MODEL_HOST_INTERNAL_H
#define UMBRA_MODEL_HOST_INTERNAL_H

#include "array/model/host/host.h"
#include "array/model/lun/internal.h"

#define ARRAY_MAPPINGS_MAX 131072u /* over all hosts */
#define ARRAY_QUIET_MAX_MS 60000u  /* no attention is put off for longer */
#define MAP_PAGE_NUMBERS   256u
#define MAP_PAGES          ((ARRAY_LUN_NUMBER_MAX + 1) / MAP_PAGE_NUMBERS)

/* ---- record.c --------------------------------------------------------------------------------------- */

struct map_record {
	char host[ARRAY_NAME_MAX_BYTES + 1];
	uint8_t lun_id[UP_ID_BYTES];
	uint32_t number;
};

/* The numbers of one page (see mapping.c) that rest. */
struct rest_record {
	char host[ARRAY_NAME_MAX_BYTES + 1];
	uint8_t page;
	unsigned count;
	struct {
		uint8_t at; /* in the page */
		bool seen;
		uint8_t lun_id[UP_ID_BYTES];
	} rests[MAP_PAGE_NUMBERS];
};

int host_record_put(struct array *a, struct store_txn *t, const struct host_record *r);
int host_record_del(struct array *a, struct store_txn *t, const char *name);
int host_record_get(const void *key, size_t key_len, const void *value, size_t len, struct host_record *out);
int map_record_put(struct array *a, struct store_txn *t, const struct map_record *r);
int map_record_del(struct array *a, struct store_txn *t, const char *host, const uint8_t lun_id[UP_ID_BYTES]);
int map_record_get(const void *key, size_t key_len, const void *value, size_t len, struct map_record *out);
/* They lie in the table of the mappings. count 0: deletes it. */
int rest_record_put(struct array *a, struct store_txn *t, const struct rest_record *r);
bool rest_record_is(const void *key, size_t key_len);
int rest_record_get(const void *key, size_t key_len, const void *value, size_t len, struct rest_record *out);

/* ---- host.c ----------------------------------------------------------------------------------------- */

/* What the array has for its hosts: array->hosts. */
struct hosts {
	struct array *array;
	struct list all;
	unsigned count;
	struct array_index by_name, by_iqn;
	unsigned mapping_count;
	struct array_index mappings; /* by host and LUN */

	struct list nexuses_pending; /* to be told of changed mappings */
	struct list luns_resized;    /* hosts to be told of */
	unsigned quiet;              /* sets armed or committing: attentions wait */
	struct reactor_timer quiet_timer;
};

int host_setup(struct hosts *hosts, struct array *a); /* -ENOMEM; host_teardown is due all the same */
void host_close_all(struct array *a);                 /* frees the hosts */
void host_teardown(struct array *a);

/* A mapping, and when it is over the rest of its number. */
struct map {
	struct host *host;
	struct lun *lun; /* of a rest: NULL */
	uint32_t number;
	bool seen; /* a session may have seen the LUN under this number */
	struct array_index_node by_pair;
	struct list_node link_lun;
	/* of a rest */
	uint8_t lun_id[UP_ID_BYTES];
	uint64_t until_ns;
};

struct map_page {
	unsigned used;      /* mappings in it */
	bool rests_durable; /* the catalogue has a record of rests */
	bool rests_next;    /* and once the transaction under way is durable */
	struct {
		struct map *mapping;
		struct map *rest; /* perhaps over by now; NULL: none */
	} at[MAP_PAGE_NUMBERS];
};

struct host_iqn {
	struct array_index_node node;
	struct host *host;
	const char *iqn;
};

struct host {
	struct array *array;
	struct host_record record;
	struct array_index_node by_name;
	struct host_iqn iqns[ARRAY_HOST_IQNS_MAX];
	struct list nexuses;
	unsigned sessions;
	bool seen; /* it has had a session since the array was opened */
	struct load load;
	struct map_page *pages[MAP_PAGES];
	unsigned mappings;
	unsigned holds; /* the model's, one for each nexus, changes under way */
	unsigned updates;
	bool gone;
	struct list_node link;
	struct array_grave grave;
};

struct host *host_new(struct array *a, const struct host_record *record); /* not linked; NULL: no memory */
void host_link(struct host *h);
void host_hold(struct host *h);
void host_release(struct host *h);
void host_free(struct host *h);

/* ---- mapping.c -------------------------------------------------------------------------------------- */

void map_link(struct map *m);                       /* needs the page: map_page_make */
int map_page_make(struct host *h, uint32_t number); /* -ENOMEM */
void map_free_all(struct host *h);

/* ---- rest.c ----------------------------------------------------------------------------------------- */

/* A mapping that is unlinked becomes the rest of its number: moved. */
void rest_begin(struct map *m, uint64_t now_ns);
void rest_end(struct host *h, uint32_t number); /* if there is one */
/* The rest of the number, if it is not over; else NULL. */
const struct map *rest_find(const struct host *h, uint32_t number, uint64_t now_ns);
/* The record of the number's page as it is once the number has become `lun`'s, or rests after it was `gone`'s.
 * One of the two is NULL. rest_put_end: that is durable. */
int rest_put(struct host *h, uint32_t number, const struct map *gone, struct store_txn *t);
void rest_put_end(struct host *h, uint32_t number);
int rest_put_none(struct host *h, struct store_txn *t); /* the host is deleted */
/* From the catalogue: each rest begins anew. -ENOMEM, -EEXIST: a number of it is mapped, or rests already. */
int rest_load(struct host *h, const struct rest_record *r);

/* ---- nexus.c ---------------------------------------------------------------------------------------- */

void host_tell_mappings(struct host *h, const struct host_nexus *asker); /* now or after the quiet */
void host_tell_resized(struct lun *lun);
void host_tell_protected(struct lun *lun); /* at once: its write protection has changed */
void host_tell_replaced(struct lun *lun);  /* at once: what the hosts remember of its data is wrong */
void host_tell_unmapped(struct host *h, struct lun *lun, uint32_t number); /* at once */
void host_revoke(struct host *h, bool all); /* those that the record no longer allows */
/* A set becomes armed; its commit has ended. Attentions wait in between. */
void host_quiet_enter(struct array *a);
void host_quiet_leave(struct array *a);
void host_quiet_fire(struct reactor_timer *t);
void host_tell_now(struct array *a); /* what waits, quiet or not */

#endif
