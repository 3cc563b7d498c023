/* SPDX-License-Identifier: Apache-2.0 */
/* See two.h. */
#include "tests/unit/scsi/two.h"

#include <errno.h>
#include <string.h>

struct scsi_target *owner, *other;
struct client standby;
struct scsi_remote *kept;
unsigned forwards;
int forward_error;
bool forward_waits;
struct scsi_port_group groups[2];

/* To the owner, who is in this very process. */
static void pass_on(
	void *ctx, struct scsi_remote *r, void (*call)(struct scsi_target *t, struct scsi_remote *r))
{
	assert_ptr_equal(ctx, &kept);
	forwards++;
	if (forward_waits) {
		kept = r;
	} else if (forward_error) {
		r->err = forward_error;
		r->unsure = forward_error == -ETIMEDOUT;
		r->done(r);
	} else {
		call(owner, r);
	}
}

static void forward(void *ctx, struct scsi_remote *r)
{
	pass_on(ctx, r, scsi_remote_execute);
}

static void manage(void *ctx, struct scsi_remote *r)
{
	pass_on(ctx, r, scsi_remote_manage);
}

void reset_groups(enum scsi_access first, enum scsi_access second)
{
	memset(groups, 0, sizeof(groups));
	groups[0] = (struct scsi_port_group){
		.id = 1, .access = first, .preferred = true, .port_count = 2, .ports = {2, 1}};
	groups[1] = (struct scsi_port_group){.id = 2, .access = second, .port_count = 1, .ports = {3}};
}

int two_setup(void **state)
{
	static const struct scsi_standby_ops ops = {.ctx = &kept, .forward = forward, .manage = manage};
	struct scsi_target_options options = {.array = fake_start(),
		.target_name = "iqn.test:target",
		.groups = groups,
		.group_count = 2,
		.group = 2,
		.standby = &ops};

	(void)state;
	reset_groups(SCSI_ACCESS_OPTIMIZED, SCSI_ACCESS_STANDBY);
	kept = NULL;
	forwards = 0;
	forward_error = 0;
	forward_waits = false;
	if (scsi_target_create(&options, &other) != 0)
		return -1;
	options.group = 1;
	options.standby = NULL;
	if (scsi_target_create(&options, &owner) != 0)
		return -1;
	test_target = other;
	client_login(&standby, "iqn.test:a", 7, 3);
	client_clear_attentions(&standby);
	for (unsigned lun = 1; lun <= FAKE_LUNS; lun++)
		client_run(&standby, lun, TUR, NO_DATA);
	test_target = owner;
	client_login_all();
	return 0;
}

int two_teardown(void **state)
{
	if (standby.nexus)
		scsi_nexus_destroy(standby.nexus);
	standby.nexus = NULL;
	client_teardown_sessions();
	scsi_remote_lost(owner, NULL);
	scsi_target_destroy(other);
	return client_teardown(state);
}

uint8_t pr_out(struct client *c, uint8_t action, uint8_t type, uint8_t key, uint8_t action_key)
{
	uint8_t list[24] = {0};

	list[7] = key;
	list[15] = action_key;
	return client_run(c, 1, CDB(0x5F, action, type, 0, 0, 0, 0, 0, 24, 0), list, sizeof(list));
}

void rehome(struct client *c, struct scsi_target *t)
{
	struct scsi_nexus *n;

	assert_int_equal(scsi_nexus_rehome(c->nexus, t, &n), 0);
	c->nexus = n;
}
