/* SPDX-License-Identifier: Apache-2.0 */
/* See client.h. */
#include "tests/unit/scsi/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "array/util/bytes.h"

struct scsi_target *test_target;
struct client test_a, test_a2, test_b, test_c;
struct exchange test_last;

static void close_asked(void *transport)
{
	((struct client *)transport)->close_asked = true;
}

static const struct scsi_nexus_ops nexus_ops = {.close = close_asked};

void client_login(struct client *c, const char *iqn, uint8_t isid_tail, uint16_t tag)
{
	struct scsi_nexus_options options = {.initiator_name = iqn,
		.isid = {0x80, 0, 0, 0, 0, isid_tail},
		.portal_group_tag = tag,
		.authenticated = true,
		.ops = &nexus_ops,
		.transport = c};

	c->close_asked = false;
	assert_int_equal(scsi_nexus_create(test_target, &options, &c->nexus), 0);
}

void client_clear_attentions(struct client *c)
{
	static const uint8_t tur[6];

	for (unsigned lun = 0; lun <= FAKE_LUNS; lun++)
		for (unsigned i = 0; i < 20; i++)
			if (client_run(c, lun, tur, sizeof(tur), NULL, 0) == SCSI_STATUS_GOOD ||
				test_last.key != 6)
				break;
}

int client_setup_inband(void **state, const struct scsi_inband *inband)
{
	struct scsi_target_options options = {
		.array = fake_start(), .target_name = "iqn.test:target", .inband = inband};

	(void)state;
	if (scsi_target_create(&options, &test_target) != 0)
		return -1;
	client_login_all();
	return 0;
}

void client_login_all(void)
{
	client_login(&test_a, "iqn.test:a", 1, 1);
	client_login(&test_a2, "iqn.test:a", 2, 1);
	client_login(&test_b, "iqn.test:b", 1, 2);
	client_login(&test_c, "iqn.test:c", 1, 1);
	client_clear_attentions(&test_a);
	client_clear_attentions(&test_a2);
	client_clear_attentions(&test_b);
	client_clear_attentions(&test_c);
}

int client_setup(void **state)
{
	return client_setup_inband(state, NULL);
}

void client_teardown_sessions(void)
{
	struct client *all[] = {&test_a, &test_a2, &test_b, &test_c};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (all[i]->nexus) {
			scsi_nexus_destroy(all[i]->nexus);
			all[i]->nexus = NULL;
		}
}

int client_teardown(void **state)
{
	(void)state;
	client_teardown_sessions();
	exchange_free(&test_last);
	assert_int_equal(fake_holds, 0);
	assert_int_equal(fake_nexuses, 0);
	scsi_target_destroy(test_target);
	assert_int_equal(fake_images, 0);
	fake_stop();
	return 0;
}

void exchange_sense(struct exchange *x)
{
	const uint8_t *s = x->task.sense;

	x->key = x->asc = 0;
	if (x->task.status != SCSI_STATUS_CHECK_CONDITION)
		return;
	if (s[0] == 0x72) {
		x->key = s[1] & 0x0F;
		x->asc = get_be16(s + 2);
	} else {
		x->key = s[2] & 0x0F;
		x->asc = get_be16(s + 12);
	}
}

void exchange_done(struct scsi_task *task)
{
	struct exchange *x = container_of(task, struct exchange, task);

	assert_false(x->done);
	x->done = true;
	x->len = task->data_len;
	exchange_sense(x);
}

void client_begin_attribute(struct client *c, struct exchange *x, unsigned lun, const void *cdb,
	size_t cdb_len, const void *send, size_t send_len, enum scsi_attribute attribute, uint64_t tag)
{
	memset(&x->task, 0xEE, sizeof(x->task)); /* the layer may not rely on what was there */
	free(x->data);
	x->data = NULL;
	x->parsed = x->done = false;
	x->len = 0;
	x->client = c;
	x->task.nexus = c->nexus;
	memset(x->task.lun, 0, sizeof(x->task.lun));
	x->task.lun[0] = lun > 255 ? (uint8_t)(0x40 | lun >> 8) : 0;
	x->task.lun[1] = (uint8_t)lun;
	memset(x->task.cdb, 0, sizeof(x->task.cdb));
	memcpy(x->task.cdb, cdb, cdb_len);
	x->task.cdb_len = 16; /* as iSCSI: always 16 bytes */
	x->task.attribute = attribute;
	x->task.tag = tag;
	x->task.offered_len = (uint32_t)send_len;
	x->task.done = exchange_done;
	x->parsed = scsi_task_parse(&x->task);
	if (!x->parsed) {
		assert_int_not_equal(x->task.status, SCSI_STATUS_GOOD);
		x->done = true;
		exchange_sense(x);
		return;
	}
	assert_true(x->task.data_len <= SCSI_TRANSFER_MAX_BYTES);
	/* Exactly as long as the layer asked for, so that a sanitizer sees every byte too many. */
	x->data = malloc(x->task.data_len ? x->task.data_len : 1);
	memset(x->data, 0xCC, x->task.data_len);
	x->task.data = x->task.data_len ? x->data : NULL;
	if (x->task.direction == SCSI_FROM_INITIATOR) {
		x->task.data_in_hand = (uint32_t)(send_len < x->task.data_len ? send_len : x->task.data_len);
		if (send)
			memcpy(x->data, send, x->task.data_in_hand);
	}
	scsi_task_execute(&x->task);
}

void client_begin(struct client *c, struct exchange *x, unsigned lun, const void *cdb, size_t cdb_len,
	const void *send, size_t send_len)
{
	client_begin_attribute(c, x, lun, cdb, cdb_len, send, send_len, SCSI_SIMPLE, 0);
}

void exchange_free(struct exchange *x)
{
	free(x->data);
	x->data = NULL;
}

uint8_t client_run(
	struct client *c, unsigned lun, const void *cdb, size_t cdb_len, const void *send, size_t send_len)
{
	client_begin(c, &test_last, lun, cdb, cdb_len, send, send_len);
	assert_true(test_last.done);
	assert_false(test_last.task.aborted);
	return test_last.task.status;
}
