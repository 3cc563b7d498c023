/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several ways to one array, of which some say nothing: no error, no answer. In the commit window another one carries the
 * request, which is done once; what comes back later is nobody's answer. All of it under the watch and the heap guard.
 */
#include "objects.h"

#include <errno.h>
#include <string.h>
#include "events.h"
#include "provider/device_names.h"
#include "provider/disk_numbers.h"

static void hang(unsigned device, enum fake_hang where)
{
	fake_devices[device].hang = where;
	fake_devices[device].hang_op = UP_OP_SET_COMMIT;
}

static void up_to_the_window(LONG lun_count)
{
	CHECK_HR(begin(&set_id, &volume_id, 0, luns, lun_count), S_OK);
	CHECK_HR(end_prepare(&set_id), S_OK);
	CHECK_HR(pre_commit(&set_id), S_OK);
}

/* Until what hung has come back, and the threads that waited for it have ended. */
static void release_hung(void)
{
	fake_release_hung();
	wait_for_threads();
	CHECK(fake_hung() == 0);
}

/* Two arrays, the first with two paths: wherever the first path stops, the second carries the commit, once. */
static void a_path_that_hangs_is_failed_over(void)
{
	static const enum fake_hang places[] = {FAKE_HANG_REQUEST, FAKE_HANG_TAKEN, FAKE_HANG_REPLY};

	for (unsigned i = 0; i < 3; i++) {
		start_with(2, 1);
		hang(0, places[i]);
		up_to_the_window(3);
		CHECK_HR(commit(&set_id), S_OK);
		CHECK(fake_hung() == 1 && events == 0);
		CHECK(fakes[0].executed[UP_OP_SET_COMMIT] == 1 && fakes[1].executed[UP_OP_SET_COMMIT] == 1);
		unsigned before = fake_devices[0].commands;
		CHECK_HR(post_commit(&set_id), S_OK);
		expect_event(UMBRA_EVENT_PATH_SILENT);
		CHECK(fake_find_set(0, set_bytes)->state == UP_SET_COMMITTED);
		CHECK(fake_devices[0].commands == before); /* it is asked last now */
		release_hung();
		CHECK(fakes[0].executed[UP_OP_SET_COMMIT] == 1);
		CHECK(fake_find_set(0, set_bytes)->state == UP_SET_COMMITTED);
		CHECK_HR(abort_set(&set_id), S_OK);
		CHECK(fake_shadows() == 0 && fake_open_sets() == 0);
		finish();
	}
}

/* The set is over, its object and its memory are gone, another set has been made: then the late one comes back. */
static void a_late_answer_after_the_end(void)
{
	for (unsigned i = 0; i < 2; i++) {
		start_with(2, 0);
		hang(0, i ? FAKE_HANG_REQUEST : FAKE_HANG_REPLY);
		committed(luns, 2);
		CHECK(fake_hung() == 1);
		fake_devices[0].hang = FAKE_HANG_NOT;
		CHECK_HR(abort_set(&set_id), S_OK);
		CHECK(fake_find_set(0, set_bytes)->state == UP_SET_ABORTED);
		CHECK_HR(begin(&other_set_id, &volume_id, 0, luns, 2), S_OK);
		CHECK_HR(end_prepare(&other_set_id), S_OK);
		CHECK_HR(pre_commit(&other_set_id), S_OK);
		CHECK_HR(commit(&other_set_id), S_OK);
		CHECK_HR(post_commit(&other_set_id), S_OK);
		unsigned done = fakes[0].executed[UP_OP_SET_COMMIT];
		release_hung();
		CHECK(done == 2 && fakes[0].executed[UP_OP_SET_COMMIT] == 2);
		CHECK(fake_find_set(0, set_bytes)->state == UP_SET_ABORTED && fake_shadows() == 2);
		CHECK_HR(abort_set(&other_set_id), S_OK);
		CHECK(fake_shadows() == 0);
		finish();
	}
}

/* Every path hangs: a veto when the budget is over. What comes back then tells the array to give the set up, whether
 * VSS has said so or not. */
static void every_path_hangs(void)
{
	for (unsigned i = 0; i < 2; i++) {
		start_with(2, 0);
		hang(0, i ? FAKE_HANG_REQUEST : FAKE_HANG_TAKEN);
		hang(1, FAKE_HANG_REPLY);
		budget = 2500;
		uint64_t before = GetTickCount64();
		up_to_the_window(2);
		CHECK_HR(commit(&set_id), VSS_E_PROVIDER_VETO);
		CHECK(fake_hung() == 2 && events == 0);
		CHECK(GetTickCount64() - before >= 2400);
		if (i)
			CHECK_HR(abort_set(&set_id), S_OK);
		frozen = 0;
		release_hung();
		CHECK(fake_find_set(0, set_bytes)->state == UP_SET_ABORTED && fake_shadows() == 0);
		CHECK_HR(abort_set(&set_id), S_OK);
		expect_event(UMBRA_EVENT_WINDOW);
		finish();
	}
}

/* One array has no path that answers, the other one has: neither has a copy. */
static void all_or_nothing(void)
{
	start_with(2, 2);
	for (unsigned i = 0; i < fake_device_count; i++)
		if (fake_devices[i].array == 1)
			hang(i, FAKE_HANG_REQUEST);
	hang(0, FAKE_HANG_REPLY);
	budget = 2500;
	up_to_the_window(4);
	CHECK_HR(commit(&set_id), VSS_E_PROVIDER_VETO);
	CHECK(fakes[0].executed[UP_OP_SET_COMMIT] == 1 && fakes[1].executed[UP_OP_SET_COMMIT] == 0);
	frozen = 0;
	release_hung();
	CHECK(fake_shadows() == 0 && fake_open_sets() == 0);
	CHECK_HR(abort_set(&set_id), S_OK);
	expect_event(UMBRA_EVENT_WINDOW);
	finish();
}

static DWORD WINAPI release_after_the_first(void *unused)
{
	(void)unused;
	while (!fakes[0].executed[UP_OP_SET_COMMIT])
		Sleep(5);
	Sleep(100);
	fake_release_hung();
	return 0;
}

/* The array is busy and is asked again, with a new request: what hung brings the answer to the first one meanwhile. */
static void a_late_answer_to_an_earlier_request(void)
{
	start_with(2, 0);
	hang(0, FAKE_HANG_REPLY);
	CHECK_HR(begin(&set_id, &volume_id, 0, luns, 2), S_OK);
	CHECK_HR(end_prepare(&set_id), S_OK);
	HANDLE thread = CreateThread(NULL, 0, release_after_the_first, NULL, 0, NULL);
	fakes[0].refuse[UP_OP_SET_COMMIT] = UP_BUSY;
	fakes[0].refuse_count[UP_OP_SET_COMMIT] = 1;
	fakes[0].delay_ms[UP_OP_SET_COMMIT] = 500;
	CHECK_HR(pre_commit(&set_id), S_OK);
	CHECK_HR(commit(&set_id), S_OK);
	CHECK(fakes[0].executed[UP_OP_SET_COMMIT] == 2);
	WaitForSingleObject(thread, INFINITE);
	CloseHandle(thread);
	CHECK_HR(post_commit(&set_id), S_OK);
	CHECK_HR(abort_set(&set_id), S_OK);
	eventlog_drain();
	finish();
}

/* A path that hangs and one that fails: the third one is asked as soon as the second has failed. */
static void one_hangs_one_fails(void)
{
	start_with(3, 0);
	hang(0, FAKE_HANG_REQUEST);
	up_to_the_window(1);
	fake_devices[1].broken = true;
	CHECK_HR(commit(&set_id), S_OK);
	CHECK(fakes[0].executed[UP_OP_SET_COMMIT] == 1 && fake_hung() == 1);
	CHECK_HR(post_commit(&set_id), S_OK);
	expect_event(UMBRA_EVENT_PATH_SILENT);
	release_hung();
	CHECK_HR(abort_set(&set_id), S_OK);
	CHECK(fake_shadows() == 0);
	finish();
}

/* However short the budget, each path has its try. */
static void every_path_has_its_try(void)
{
	start_with(4, 0);
	for (unsigned i = 0; i < 4; i++)
		hang(i, FAKE_HANG_REQUEST);
	budget = 2800; /* less than a second for each before the last */
	up_to_the_window(1);
	CHECK_HR(commit(&set_id), VSS_E_PROVIDER_VETO);
	CHECK(fake_hung() == 4);
	CHECK_HR(abort_set(&set_id), S_OK);
	release_hung();
	CHECK(fake_shadows() == 0);
	expect_event(UMBRA_EVENT_WINDOW);
	finish();
}

static void check_order(const unsigned *order, unsigned count)
{
	static struct array_info info;

	CHECK(array_client_info(context.client, fakes[0].id, &info) == 0 && info.path_count == count);
	for (unsigned i = 0; i < count; i++)
		CHECK(!memcmp(info.paths[i].lun_id, fake_devices[order[i]].lun_id, UP_ID_BYTES));
}

/* Ways that do not fail together come first: LUNs 1 to 3 stand on one route, 4 on another. */
static void routes_take_turns(void)
{
	static const unsigned order[] = {0, 3, 1, 2};

	start_with(4, 0);
	for (unsigned i = 0; i < 4; i++)
		fake_devices[i].route = i < 3 ? 1 : 2;
	for (unsigned i = 0; i < 3; i++)
		hang(i, FAKE_HANG_REPLY);
	CHECK_HR(begin(&set_id, &volume_id, 0, luns, 1), S_OK);
	check_order(order, 4);
	CHECK_HR(end_prepare(&set_id), S_OK);
	CHECK_HR(pre_commit(&set_id), S_OK);
	CHECK_HR(commit(&set_id), S_OK);
	CHECK(fake_hung() == 1); /* the others of that route were not tried */
	unsigned before = fake_devices[1].commands;
	CHECK_HR(post_commit(&set_id), S_OK);
	CHECK(fake_devices[1].commands == before); /* they are silent too, for all that is known */
	expect_event(UMBRA_EVENT_PATH_SILENT);
	release_hung();
	CHECK_HR(abort_set(&set_id), S_OK);
	finish();
}

/* A path that is silent when the window is prepared costs one time-out, not one for each of its LUNs. */
static void silent_before_the_window(void)
{
	start_with(3, 0);
	for (unsigned i = 0; i < 3; i++)
		fake_devices[i].route = i < 2 ? 1 : 2;
	CHECK_HR(begin(&set_id, &volume_id, 0, luns, 1), S_OK);
	CHECK_HR(end_prepare(&set_id), S_OK);
	fake_devices[0].times_out = fake_devices[1].times_out = true;
	unsigned first = fake_devices[0].commands, second = fake_devices[1].commands;
	CHECK_HR(pre_commit(&set_id), S_OK);
	CHECK_HR(commit(&set_id), S_OK);
	CHECK_HR(post_commit(&set_id), S_OK);
	CHECK(fake_devices[0].commands == first + 1 && fake_devices[1].commands == second);
	CHECK_HR(abort_set(&set_id), S_OK);
	eventlog_drain();
	CHECK(fake_shadows() == 0 && events == 0);
	finish();
}

/* More LUNs on one route than are remembered: the other route is remembered all the same. */
static void a_route_is_not_crowded_out(void)
{
	uint8_t id[UP_ID_BYTES];
	static struct array_info info;

	start();
	for (unsigned i = 0; i < ARRAY_PATHS_MAX + 4; i++)
		fake_add_lun(0, i + 1, id);
	for (unsigned i = 0; i < fake_device_count; i++)
		fake_devices[i].route = i < ARRAY_PATHS_MAX + 3 ? 1 : 2;
	CHECK(array_client_discover(context.client) == 1);
	CHECK(array_client_info(context.client, fakes[0].id, &info) == 0);
	CHECK(info.path_count == ARRAY_PATHS_MAX);
	CHECK(info.paths[0].device.route == 1 && info.paths[1].device.route == 2);
	finish();
}

/* Outside of the window: a path that has timed out is asked last, and still asked when there is no other. */
static void a_silent_path_is_asked_last(void)
{
	struct array_trouble trouble;
	uint64_t capabilities;

	start_with(2, 0);
	CHECK(array_client_discover(context.client) == 1);
	fake_devices[0].times_out = true;
	CHECK(array_client_capabilities(context.client, fakes[0].id, &capabilities, &trouble) == 0);
	unsigned before = fake_devices[0].commands;
	CHECK(array_client_capabilities(context.client, fakes[0].id, &capabilities, &trouble) == 0);
	CHECK(fake_devices[0].commands == before);
	fake_devices[1].broken = true;
	CHECK(array_client_capabilities(context.client, fakes[0].id, &capabilities, &trouble) < 0);
	fake_devices[0].times_out = false;
	CHECK(array_client_capabilities(context.client, fakes[0].id, &capabilities, &trouble) == 0);
	finish();
}

/* What has answered is asked in its turn again. */
static void a_path_that_was_silent_and_answers(void)
{
	struct array_trouble trouble;
	uint64_t capabilities;

	start_with(2, 0);
	CHECK(array_client_discover(context.client) == 1);
	fake_devices[0].times_out = true;
	CHECK(array_client_capabilities(context.client, fakes[0].id, &capabilities, &trouble) == 0);
	fake_devices[0].times_out = false;
	fake_devices[1].broken = true;
	CHECK(array_client_capabilities(context.client, fakes[0].id, &capabilities, &trouble) == 0);
	fake_devices[1].broken = false;
	unsigned first = fake_devices[0].commands, second = fake_devices[1].commands;
	CHECK(array_client_capabilities(context.client, fakes[0].id, &capabilities, &trouble) == 0);
	CHECK(fake_devices[0].commands > first && fake_devices[1].commands == second);
	finish();
}

/* The control LU is asked as long as there is one: a command that is late there hits nobody's data. In the commit window the
 * originals carry it. */
static void the_control_lu_is_asked_first(void)
{
	struct array_trouble trouble;
	uint64_t capabilities;

	start_with(2, 0);
	fake_add_control_lu(0);
	CHECK(array_client_discover(context.client) == 1);
	unsigned first = fake_devices[0].commands, second = fake_devices[1].commands;
	unsigned control = fake_devices[2].commands;
	CHECK(array_client_capabilities(context.client, fakes[0].id, &capabilities, &trouble) == 0);
	CHECK(fake_devices[0].commands == first && fake_devices[1].commands == second);
	CHECK(fake_devices[2].commands > control);
	fake_devices[2].broken = true;
	CHECK(array_client_capabilities(context.client, fakes[0].id, &capabilities, &trouble) == 0);
	fake_devices[2].broken = false;
	for (unsigned i = 0; i < 2; i++)
		hang(i, FAKE_HANG_REQUEST);
	up_to_the_window(1);
	CHECK_HR(commit(&set_id), S_OK); /* over the control LU in the end */
	CHECK(fake_hung() == 2);
	CHECK_HR(post_commit(&set_id), S_OK);
	expect_event(UMBRA_EVENT_PATH_SILENT);
	release_hung();
	CHECK_HR(abort_set(&set_id), S_OK);
	finish();
}

/* The best ways are all on the route that is silent, the other one has only a LUN: it is next, not last. */
static void a_worse_way_on_another_route_is_next(void)
{
	struct array_trouble trouble;
	uint64_t capabilities;

	start_with(5, 0);
	fake_add_control_lu(0);
	for (unsigned i = 0; i < 6; i++)
		fake_devices[i].route = i == 4 ? 2 : 1;
	CHECK(array_client_discover(context.client) == 1);
	unsigned before[6];
	for (unsigned i = 0; i < 6; i++) {
		before[i] = fake_devices[i].commands;
		fake_devices[i].times_out = i != 4;
	}
	CHECK(array_client_capabilities(context.client, fakes[0].id, &capabilities, &trouble) == 0);
	for (unsigned i = 0; i < 4; i++)
		CHECK(fake_devices[i].commands == before[i]);
	CHECK(fake_devices[5].commands == before[5] + 1);
	/* each is asked, once, when there is no other way */
	fake_devices[4].broken = true;
	CHECK(array_client_capabilities(context.client, fakes[0].id, &capabilities, &trouble) == -ETIMEDOUT);
	for (unsigned i = 0; i < 6; i++)
		CHECK(i == 4 || fake_devices[i].commands == before[i] + 1 + (i == 5));
	finish();
}

/* Outside of the window, too, a command that does not come back holds nobody: it is left behind, with its device. */
static void a_command_is_left_behind(void)
{
	struct array_trouble trouble;
	uint64_t capabilities;

	start_with(2, 0);
	CHECK(array_client_discover(context.client) == 1);
	fake_devices[0].hang = FAKE_HANG_REPLY;
	fake_devices[0].hang_op = UP_OP_IDENTIFY;
	uint64_t begun_ms = GetTickCount64();
	CHECK(array_client_capabilities(context.client, fakes[0].id, &capabilities, &trouble) == 0);
	CHECK(GetTickCount64() - begun_ms >= 5000 && fake_hung() == 1 && fake_open_handles() == 1);
	CHECK(array_client_capabilities(context.client, fakes[0].id, &capabilities, &trouble) == 0);
	CHECK(fake_hung() == 1); /* not asked again */
	release_hung();
	finish();
}

/* An array that says that it works on it is waited for, past the deadline for one that is silent. */
static void a_request_that_is_pending(void)
{
	static struct exchange x;
	struct channel_path path = {.device.name = "0"};
	struct up_msg request;
	struct channel ch;

	for (unsigned i = 0; i < 2; i++) {
		start_with(1, 0);
		CHECK(channel_open(context.transport, &path, &ch) == 0);
		ch.patience_ms = i ? 60000 : 0;
		/* the first answer comes before the deadline on a busy machine, too; the last one never does */
		const uint32_t deadline_ms = i ? 3000 : 100;
		fakes[0].pending[UP_OP_IDENTIFY] = deadline_ms / 20 + 5;
		fakes[0].delay_ms[UP_OP_IDENTIFY] = 50; /* longer than who is late would wait */
		up_request_init(&request, UP_OP_IDENTIFY, array_client_new_request_id(context.client));
		CHECK(exchange_prepare(&x, &request, array_client_new_slot(context.client)) == 0);
		CHECK(channel_exchange(&ch, &x, GetTickCount64() + deadline_ms) == 0);
		CHECK(x.reply.status == UP_OK && fakes[0].executed[UP_OP_IDENTIFY] == 1);
		channel_close(&ch);
		finish();
	}
}

/* ---- two controllers ---- */

static void stands_by(bool first, bool second, bool third)
{
	fake_devices[0].stands_by = first;
	fake_devices[1].stands_by = second;
	fake_devices[2].stands_by = third;
}

/* It was committed, and there is nothing to tell. */
static void ends_well(const VSS_ID *id)
{
	CHECK_HR(post_commit(id), S_OK);
	eventlog_drain();
	CHECK(events == 0);
	CHECK_HR(abort_set(id), S_OK);
}

static void a_set_is_made(void)
{
	up_to_the_window(3);
	CHECK_HR(commit(&set_id), S_OK);
	ends_well(&set_id);
	CHECK(fake_shadows() == 0 && fake_open_sets() == 0);
}

/* The first way leads to the controller that stands by: the array is known by it, and it costs nothing. After a planned move
 * the others do. */
static void who_stands_by_is_passed_over(void)
{
	static struct array_info info;

	start_with(3, 0);
	stands_by(true, false, false);
	a_set_is_made();
	CHECK(array_client_info(context.client, fakes[0].id, &info) == 0 && info.path_count == 3);
	CHECK(info.capabilities == fakes[0].capabilities && !info.stands_by &&
		!array_client_has_gaps(context.client));
	CHECK(fake_devices[0].refused == 0);
	stands_by(false, true, true);
	CHECK_HR(begin(&other_set_id, &volume_id, 0, luns, 3), S_OK);
	CHECK_HR(end_prepare(&other_set_id), S_OK);
	unsigned second = fake_devices[1].refused, third = fake_devices[2].refused;
	CHECK(second > 0 && third > 0);
	CHECK_HR(pre_commit(&other_set_id), S_OK);
	CHECK_HR(commit(&other_set_id), S_OK);
	CHECK_HR(post_commit(&other_set_id), S_OK);
	CHECK(fake_devices[1].refused == second && fake_devices[2].refused == third); /* they are known now */
	eventlog_drain();
	CHECK(events == 0 && fakes[0].executed[UP_OP_SET_COMMIT] == 2);
	CHECK_HR(abort_set(&other_set_id), S_OK);
	finish();
}

/* The move comes when the lanes are open: what is asked goes to the next one at once, also in the window. */
static void a_move_before_the_commit(void)
{
	start_with(2, 0);
	fake_add_control_lu(0);
	stands_by(false, false, true);
	up_to_the_window(2);
	stands_by(true, true, false);
	CHECK_HR(commit(&set_id), S_OK);
	CHECK(fakes[0].executed[UP_OP_SET_COMMIT] == 1);
	ends_well(&set_id);
	finish();
}

/* The only way to the owner was silent lately; many lead to the controller that stands by, and carry no commit. */
static void only_a_silent_way_leads_to_the_owner(void)
{
	static struct array_info info;

	start_with(6, 0);
	for (unsigned i = 0; i < 6; i++) {
		fake_devices[i].stands_by = i > 0;
		fake_devices[i].route = i > 0 ? 2 : 1;
	}
	CHECK_HR(begin(&set_id, &volume_id, 0, luns, 1), S_OK);
	CHECK_HR(end_prepare(&set_id), S_OK);
	CHECK(array_client_info(context.client, fakes[0].id, &info) == 0 && info.path_count == 6);
	for (unsigned i = 0; i < 6; i++)
		if (!memcmp(info.paths[i].lun_id, fake_devices[0].lun_id, UP_ID_BYTES))
			array_client_silent(context.client, fakes[0].id, &info.paths[i].device);
	CHECK_HR(pre_commit(&set_id), S_OK);
	CHECK_HR(commit(&set_id), S_OK);
	CHECK_HR(post_commit(&set_id), S_OK);
	eventlog_drain();
	CHECK(events == 0 && fakes[0].executed[UP_OP_SET_COMMIT] == 1);
	CHECK_HR(abort_set(&set_id), S_OK);
	finish();
}

static DWORD WINAPI takes_over(void *unused)
{
	(void)unused;
	Sleep(600);
	fake_devices[1].stands_by = false;
	return 0;
}

/* Nobody owns the array for a moment: that is waited for. */
static void a_takeover_is_waited_for(void)
{
	start_with(3, 0);
	a_set_is_made();
	stands_by(true, true, true);
	HANDLE thread = CreateThread(NULL, 0, takes_over, NULL, 0, NULL);
	CHECK_HR(begin(&other_set_id, &volume_id, 0, luns, 3), S_OK);
	CHECK_HR(end_prepare(&other_set_id), S_OK);
	CHECK_HR(pre_commit(&other_set_id), S_OK);
	CHECK_HR(commit(&other_set_id), S_OK);
	CHECK_HR(post_commit(&other_set_id), S_OK);
	WaitForSingleObject(thread, INFINITE);
	CloseHandle(thread);
	eventlog_drain();
	CHECK(events == 0);
	CHECK_HR(abort_set(&other_set_id), S_OK);
	finish();
}

static HANDLE died;

/* Two LUNs at the owner, and the other controller's control LU. */
static void start_with_both(void)
{
	start_with(2, 0);
	fake_add_control_lu(0);
	stands_by(false, false, true);
}

static void owner_dies(void)
{
	fake_devices[0].broken = fake_devices[1].broken = true;
	SetEvent(died);
}

static DWORD WINAPI other_takes_over(void *unused)
{
	(void)unused;
	WaitForSingleObject(died, INFINITE);
	Sleep(600);
	fake_take_over(2);
	return 0;
}

/* In the window: the owner dies before the commit has come to it, or with its answer. The other controller takes a moment to take the
 * array, and says what became of the set. */
static void the_owner_dies_in_the_commit(void)
{
	for (unsigned carried_out = 0; carried_out < 2; carried_out++) {
		start_with_both();
		died = CreateEventW(NULL, TRUE, FALSE, NULL);
		HANDLE thread = CreateThread(NULL, 0, other_takes_over, NULL, 0, NULL);
		up_to_the_window(2);
		fakes[0].lose_replies = carried_out;
		if (carried_out)
			fake_in_commit = owner_dies;
		else
			owner_dies();
		CHECK_HR(commit(&set_id), S_OK);
		fake_in_commit = NULL;
		CHECK(fakes[0].executed[UP_OP_SET_COMMIT] == 1 + carried_out && fake_devices[2].refused > 2);
		ends_well(&set_id);
		WaitForSingleObject(thread, INFINITE);
		CloseHandle(thread);
		CloseHandle(died);
		finish();
		CHECK(fake_open_sets() == 0);
	}
}

/* Nor does it ask for ever, where nobody takes the array: VSS is told before its time is over, and nothing is left. */
static void the_owner_dies_in_the_commit_for_good(void)
{
	start_with_both();
	up_to_the_window(2);
	fake_devices[0].broken = fake_devices[1].broken = true;
	uint64_t begun_ms = GetTickCount64();
	CHECK_HR(commit(&set_id), VSS_E_PROVIDER_VETO);
	CHECK(GetTickCount64() - begun_ms >= 1000 && fake_devices[2].refused > 4);
	fake_take_over(2); /* now it does, and is told that the set is given up */
	for (unsigned i = 0; i < 3000 && fake_open_sets(); i++)
		Sleep(10);
	CHECK(fake_open_sets() == 0 && fake_shadows() == 0);
	CHECK_HR(abort_set(&set_id), S_OK);
	expect_event(UMBRA_EVENT_STANDBY);
	finish();
}

/* Another controller's control LU comes back between two sets: Windows shows it again, or it says something again. The next set can be
 * committed over it. */
static void what_has_come_back_is_a_way(void)
{
	for (unsigned shown = 0; shown < 2; shown++) {
		start_with(2, 0);
		if (shown) {
			fake_add_control_lu(0);
			fake_devices[2].times_out = true;
		}
		up_to_the_window(2);
		CHECK_HR(commit(&set_id), S_OK);
		CHECK_HR(post_commit(&set_id), S_OK);
		CHECK_HR(abort_set(&set_id), S_OK);
		if (shown)
			Sleep(1100); /* it is not asked all the time */
		else
			fake_add_control_lu(0);
		fake_devices[2].times_out = false;
		fake_devices[2].stands_by = true;
		CHECK_HR(begin(&other_set_id, &volume_id, 0, luns, 2), S_OK);
		CHECK_HR(end_prepare(&other_set_id), S_OK);
		CHECK_HR(pre_commit(&other_set_id), S_OK);
		fake_devices[0].broken = fake_devices[1].broken = true;
		fake_take_over(2);
		CHECK_HR(commit(&other_set_id), S_OK);
		ends_well(&other_set_id);
		finish();
	}
}

/* There are as many ways to the owner as there may be lanes, and more: one lane is the other controller's. */
static void one_lane_leads_to_who_stands_by(void)
{
	start_with(6, 0);
	fake_add_control_lu(0);
	fake_devices[6].stands_by = true;
	up_to_the_window(1);
	for (unsigned i = 0; i < 6; i++)
		fake_devices[i].broken = true;
	fake_take_over(6);
	CHECK_HR(commit(&set_id), S_OK);
	CHECK_HR(post_commit(&set_id), S_OK);
	eventlog_drain();
	CHECK(events == 0 && fakes[0].executed[UP_OP_SET_COMMIT] == 1);
	CHECK_HR(abort_set(&set_id), S_OK);
	finish();
}

/* There is no other way: a veto that says so, and the next one does not wait. */
static void only_who_stands_by_is_there(void)
{
	start_with(3, 0);
	array_client_set_takeover_limit(context.client, 1000);
	stands_by(true, true, true);
	CHECK_HR(begin(&set_id, &volume_id, 0, luns, 3), VSS_E_PROVIDER_VETO);
	expect_event(UMBRA_EVENT_STANDBY);
	unsigned refused = fake_devices[0].refused;
	CHECK_HR(begin(&set_id, &volume_id, 0, luns, 3), VSS_E_PROVIDER_VETO);
	CHECK(fake_devices[0].refused < refused + 8);
	expect_event(UMBRA_EVENT_STANDBY);
	finish();
}

static void stand_on_routes(unsigned first_count, uint32_t first, uint32_t others)
{
	for (unsigned i = 0; i < fake_device_count; i++)
		fake_devices[i].route = i < first_count ? first : others;
}

/* A look for arrays: a route that says nothing costs two time-outs, not one for each of its LUNs, and hides nobody else. */
static void a_silent_route_is_not_waited_for(void)
{
	static const uint32_t routes[] = {1, 0}; /* or not known */
	struct array_trouble trouble;
	uint8_t id[UP_ID_BYTES], array_id[UP_ID_BYTES];
	static struct array_info info;
	struct up_lun lun;

	for (unsigned i = 0; i < 2; i++) {
		start_with(0, 0);
		for (unsigned n = 0; n < 30; n++)
			fake_add_lun(0, n + 1, id);
		fake_add_lun(1, 1, id);
		stand_on_routes(30, routes[i], 2);
		fakes[0].silent = true;
		CHECK(array_client_discover(context.client) == 1);
		CHECK(fakes[0].asked == 2);
		CHECK(array_client_info(context.client, fakes[1].id, &info) == 0 && info.path_count == 1);
		/* what was not asked may know the LUN */
		CHECK(array_client_find_lun(context.client, fake_devices[7].lun_id, &lun, array_id,
			      &trouble) == -EHOSTUNREACH);
		fakes[0].silent = false;
		CHECK(array_client_find_lun(
			      context.client, fake_devices[7].lun_id, &lun, array_id, &trouble) == 0);
		CHECK(array_client_info(context.client, fakes[0].id, &info) == 0 &&
			info.path_count == ARRAY_PATHS_MAX);
		finish();
	}
}

/* The same array has another way: all of its LUNs there are ways to it. */
static void the_other_route_is_found(void)
{
	static struct array_info info;
	uint8_t id[UP_ID_BYTES];

	start_with(0, 0);
	for (unsigned n = 0; n < 12; n++)
		fake_add_lun(0, n + 1, id);
	stand_on_routes(10, 1, 2);
	for (unsigned i = 0; i < 10; i++)
		fake_devices[i].times_out = true;
	CHECK(array_client_discover(context.client) == 1);
	CHECK(array_client_info(context.client, fakes[0].id, &info) == 0 && info.path_count == 2);
	unsigned asked = 0;
	for (unsigned i = 0; i < 10; i++)
		asked += fake_devices[i].commands;
	CHECK(asked == 2);
	finish();
}

/* One LUN that says nothing does not speak for those beside it. */
static void one_silent_lun_hides_no_other(void)
{
	static struct array_info info;

	for (unsigned silent = 0; silent < 5; silent += 2) {
		start_with(5, 0);
		stand_on_routes(5, 1, 1);
		fake_devices[silent].times_out = true;
		CHECK(array_client_discover(context.client) == 1);
		CHECK(array_client_info(context.client, fakes[0].id, &info) == 0 && info.path_count == 4);
		CHECK(fake_devices[silent].commands == 1);
		finish();
	}
}

/* With multipathing the LUNs of all arrays may stand on one route: the silent array takes none with it that was known. */
static void one_route_for_all_arrays(void)
{
	static struct array_info info;
	uint8_t id[UP_ID_BYTES];

	start_with(3, 2);
	for (unsigned n = 3; n < 6; n++)
		fake_add_lun(0, n + 1, id);
	stand_on_routes(fake_device_count, 1, 1);
	CHECK(array_client_discover(context.client) == 2);
	fakes[0].silent = true;
	for (unsigned turn = 0; turn < 2; turn++) {
		fakes[0].asked = 0;
		CHECK(array_client_discover(context.client) == 1);
		CHECK(fakes[0].asked == 2);
		CHECK(array_client_info(context.client, fakes[1].id, &info) == 0 && info.path_count == 2);
	}
	fakes[0].silent = false;
	CHECK(array_client_discover(context.client) == 2);
	finish();
}

/* More arrays than are taken: a LUN of the last one is not said to be gone. */
static void an_array_too_many(void)
{
	uint8_t id[UP_ID_BYTES], array_id[UP_ID_BYTES];
	struct array_trouble trouble;
	struct up_lun lun;

	start_with(0, 0);
	for (unsigned a = 0; a < FAKE_ARRAYS; a++)
		fake_add_lun(a, 1, id);
	CHECK(array_client_discover(context.client) == ARRAYS_MAX && ARRAYS_MAX < FAKE_ARRAYS);
	CHECK(array_client_find_lun(context.client, id, &lun, array_id, &trouble) == -EHOSTUNREACH);
	for (unsigned i = 0; i < fake_device_count; i++)
		fake_devices[i].ghost = fake_devices[i].array == 0; /* that one goes */
	CHECK(array_client_find_lun(context.client, id, &lun, array_id, &trouble) == 0);
	finish();
}

/* However high their numbers are, in whatever order they come; one that is told twice is one. */
static void disks_are_numbered_once_and_in_order(void)
{
	static const unsigned told[] = {70000, 3, 300, 0, 3, 70000, 4, 0}, wanted[] = {0, 3, 4, 300, 70000};
	struct disk_numbers d = {0};

	for (size_t i = 0; i < sizeof(told) / sizeof(told[0]); i++)
		disk_numbers_add(&d, told[i]);
	CHECK(d.count == sizeof(wanted) / sizeof(wanted[0]) && !d.error);
	CHECK(!memcmp(d.numbers, wanted, sizeof(wanted)));
	for (unsigned n = 1000; n > 500; n--)
		disk_numbers_add(&d, n);
	CHECK(d.count == 505 && d.numbers[4] == 501 && d.numbers[504] == 70000);
	disk_numbers_free(&d);
	CHECK(!d.numbers && !d.count);
	struct disk_numbers real = disk_numbers_read();
	CHECK(!real.error); /* no disk here has an interface */
	disk_numbers_free(&real);
}

/* However high their numbers are, in whatever order they come. */
static void adapters_are_found_by_the_names_that_exist(void)
{
	static WCHAR text[] =
		L"C:\0PhysicalDrive70000\0PhysicalDrive9x\0physicaldrive300\0PhysicalDrives7\0PhysicalDrive\0"
		L"Scsi2:\0Scsi40:\0Scsi41\0PhysicalDrive0\0SCSI#Disk&Ven_X#1\0";
	const struct device_names names = {text}, none = {NULL};
	unsigned n;

	CHECK(device_names_next(&names, L"PhysicalDrive", L"", 0, &n) && n == 0);
	CHECK(device_names_next(&names, L"PhysicalDrive", L"", 1, &n) && n == 300);
	CHECK(device_names_next(&names, L"PhysicalDrive", L"", 301, &n) && n == 70000);
	CHECK(!device_names_next(&names, L"PhysicalDrive", L"", 70001, &n));
	CHECK(device_names_next(&names, L"Scsi", L":", 3, &n) && n == 40);
	CHECK(!device_names_next(&names, L"Scsi", L":", 41, &n));
	CHECK(!device_names_next(&none, L"Scsi", L":", 0, &n));
	struct device_names real = device_names_read();
	CHECK(real.text && *real.text);
	device_names_free(&real);
}

int main(void)
{
	static const struct test tests[] = {
		TEST(a_path_that_hangs_is_failed_over),
		TEST(a_late_answer_after_the_end),
		TEST(every_path_hangs),
		TEST(all_or_nothing),
		TEST(a_late_answer_to_an_earlier_request),
		TEST(one_hangs_one_fails),
		TEST(every_path_has_its_try),
		TEST(routes_take_turns),
		TEST(silent_before_the_window),
		TEST(a_route_is_not_crowded_out),
		TEST(a_silent_path_is_asked_last),
		TEST(a_path_that_was_silent_and_answers),
		TEST(the_control_lu_is_asked_first),
		TEST(a_worse_way_on_another_route_is_next),
		TEST(a_command_is_left_behind),
		TEST(a_request_that_is_pending),
		TEST(who_stands_by_is_passed_over),
		TEST(a_move_before_the_commit),
		TEST(only_a_silent_way_leads_to_the_owner),
		TEST(a_takeover_is_waited_for),
		TEST(the_owner_dies_in_the_commit),
		TEST(the_owner_dies_in_the_commit_for_good),
		TEST(what_has_come_back_is_a_way),
		TEST(one_lane_leads_to_who_stands_by),
		TEST(only_who_stands_by_is_there),
		TEST(a_silent_route_is_not_waited_for),
		TEST(the_other_route_is_found),
		TEST(one_silent_lun_hides_no_other),
		TEST(one_route_for_all_arrays),
		TEST(an_array_too_many),
		TEST(disks_are_numbered_once_and_in_order),
		TEST(adapters_are_found_by_the_names_that_exist),
	};

	return run_object_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
