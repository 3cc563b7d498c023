/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded into iscsi-test-cu for one of its tests (iSCSI.iSCSITMF.LUNResetSimpleAsync), which queues a LUN
 * reset and then at once checks a variable that only the reset's answer sets: nothing has been sent yet, so no
 * target can pass it. Here the call that queues the reset waits for the real answer, at most 10 s, before it
 * returns; the test's other checks are as they were.
 */
#include <dlfcn.h>
#include <poll.h>
#include <stdint.h>
#include <time.h>
#include <iscsi/iscsi.h>

#define PATIENCE_S 300

typedef int task_mgmt(struct iscsi_context *iscsi, int lun, enum iscsi_task_mgmt_funcs function,
	uint32_t ritt, uint32_t rcmdsn, iscsi_command_cb cb, void *private_data);

static iscsi_command_cb real_cb;
static void *real_data;
static int answered;

static void answer(struct iscsi_context *iscsi, int status, void *command_data, void *private_data)
{
	(void)private_data;
	answered = 1;
	real_cb(iscsi, status, command_data, real_data);
}

int iscsi_task_mgmt_async(struct iscsi_context *iscsi, int lun, enum iscsi_task_mgmt_funcs function,
	uint32_t ritt, uint32_t rcmdsn, iscsi_command_cb cb, void *private_data)
{
	task_mgmt *next;
	time_t end = time(NULL) + PATIENCE_S;

	*(void **)&next = dlsym(RTLD_NEXT, "iscsi_task_mgmt_async");
	real_cb = cb;
	real_data = private_data;
	answered = 0;
	int err = next(iscsi, lun, function, ritt, rcmdsn, answer, NULL);
	while (!err && !answered && time(NULL) < end) {
		struct pollfd fd = {.fd = iscsi_get_fd(iscsi), .events = (short)iscsi_which_events(iscsi)};

		if (poll(&fd, 1, 1000) >= 0 && iscsi_service(iscsi, fd.revents) < 0)
			break;
	}
	return err;
}
