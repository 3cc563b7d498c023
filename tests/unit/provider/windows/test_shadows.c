/* SPDX-License-Identifier: Apache-2.0 */
/* Kinds of copies, and what becomes of shadow LUNs: OnLunStateChange. */
#include "objects.h"

#include <string.h>
#include "events.h"

/* ---- kinds ---- */

static bool supported(const uint8_t (*of)[UP_ID_BYTES], LONG count, LONG flags)
{
	VDS_LUN_INFORMATION infos[4];
	WINBOOL yes = 7;

	for (LONG i = 0; i < count; i++)
		describe(&infos[i], of[i]);
	CHECK_HR(IVssHardwareSnapshotProviderEx_AreLunsSupported(hw, count, flags, NULL, infos, &yes), S_OK);
	for (LONG i = 0; i < count; i++)
		lun_identity_clear(&infos[i]);
	return yes;
}

/* The kind that the array was asked for, of the only shadow LUN of an original. */
static uint32_t kind_of_copy(unsigned array, const uint8_t original[UP_ID_BYTES])
{
	for (unsigned i = 0; i < FAKE_LUNS; i++)
		if (fakes[array].luns[i].there && !memcmp(fakes[array].luns[i].lun.origin_id, original, 16))
			return fakes[array].luns[i].lun.copy_kind;
	return 99;
}

static void kinds_are_honoured_as_far_as_the_array_makes_them(void)
{
	static const struct {
		uint64_t capabilities;
		LONG context;
		enum up_copy_kind preferred;
		int kind; /* -1: not supported */
	} rows[] = {
		{UP_CAP_DIFFERENTIAL | UP_CAP_PLEX, 0, UP_COPY_DEFAULT, UP_COPY_DEFAULT},
		{UP_CAP_DIFFERENTIAL | UP_CAP_PLEX, 0, UP_COPY_PLEX, UP_COPY_PLEX},
		{UP_CAP_DIFFERENTIAL | UP_CAP_PLEX, 0, UP_COPY_DIFFERENTIAL, UP_COPY_DIFFERENTIAL},
		{UP_CAP_DIFFERENTIAL, 0, UP_COPY_PLEX, UP_COPY_DEFAULT}, /* a preference, not a demand */
		{0, 0, UP_COPY_PLEX, UP_COPY_DEFAULT},
		{0, 0, UP_COPY_DEFAULT, UP_COPY_DEFAULT},
		{UP_CAP_DIFFERENTIAL | UP_CAP_PLEX, VSS_VOLSNAP_ATTR_PLEX, UP_COPY_DIFFERENTIAL,
			UP_COPY_PLEX},
		{UP_CAP_DIFFERENTIAL | UP_CAP_PLEX, VSS_VOLSNAP_ATTR_DIFFERENTIAL, UP_COPY_PLEX,
			UP_COPY_DIFFERENTIAL},
		{UP_CAP_DIFFERENTIAL | UP_CAP_PLEX, VSS_VOLSNAP_ATTR_PLEX | VSS_VOLSNAP_ATTR_TRANSPORTABLE,
			UP_COPY_DEFAULT, UP_COPY_PLEX},
		{UP_CAP_DIFFERENTIAL, VSS_VOLSNAP_ATTR_PLEX, UP_COPY_DEFAULT, -1},
		{UP_CAP_PLEX, VSS_VOLSNAP_ATTR_DIFFERENTIAL, UP_COPY_DEFAULT, -1},
		{UP_CAP_DIFFERENTIAL | UP_CAP_PLEX, VSS_VOLSNAP_ATTR_PLEX | VSS_VOLSNAP_ATTR_DIFFERENTIAL,
			UP_COPY_DEFAULT, -1},
	};

	start_with(1, 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		fakes[0].capabilities = rows[i].capabilities;
		preferred = rows[i].preferred;
		CHECK(supported(luns, 1, rows[i].context) == (rows[i].kind >= 0));
		HRESULT hr = begin(&set_id, &volume_id, rows[i].context, luns, 1);
		CHECK_HR(hr, rows[i].kind >= 0 ? S_OK : VSS_E_UNSUPPORTED_CONTEXT);
		if (rows[i].kind >= 0)
			CHECK(kind_of_copy(0, ids[0]) == (uint32_t)rows[i].kind);
		else
			CHECK(fake_shadows() == 0);
		CHECK_HR(abort_set(&set_id), S_OK);
		CHECK(fake_shadows() == 0);
	}
	finish();
}

/* One array makes plex copies, the other does not: where VSS leaves the choice a set may hold both kinds. */
static void a_set_of_two_kinds(void)
{
	VDS_LUN_INFORMATION two[2];

	start_with(1, 1);
	memset(two, 0, sizeof(two));
	fakes[1].capabilities = UP_CAP_DIFFERENTIAL;
	preferred = UP_COPY_PLEX;
	CHECK(supported(luns, 2, 0));
	CHECK(!supported(luns, 2, VSS_VOLSNAP_ATTR_PLEX) && supported(luns, 1, VSS_VOLSNAP_ATTR_PLEX));
	committed(luns, 2);
	CHECK(kind_of_copy(0, ids[0]) == UP_COPY_PLEX && kind_of_copy(1, ids[1]) == UP_COPY_DEFAULT);
	CHECK_HR(targets(luns, 2, two), S_OK);
	lun_identity_clear(&two[0]);
	lun_identity_clear(&two[1]);
	finish();
}

/* Two volumes on one LUN have one copy, of one kind. */
static void volumes_on_one_lun_agree_on_the_kind(void)
{
	start_with(1, 0);
	CHECK_HR(begin(&set_id, &volume_id, VSS_VOLSNAP_ATTR_PLEX, luns, 1), S_OK);
	CHECK_HR(begin(&set_id, &second_volume_id, VSS_VOLSNAP_ATTR_DIFFERENTIAL, luns, 1),
		VSS_E_UNSUPPORTED_CONTEXT);
	expect_event(UMBRA_EVENT_COPY_KIND);
	CHECK_HR(begin(&set_id, &second_volume_id, VSS_VOLSNAP_ATTR_PLEX, luns, 1), S_OK);
	CHECK(fake_shadows() == 1);
	CHECK_HR(abort_set(&set_id), S_OK);
	finish();
}

static void an_array_that_cannot_be_asked_supports_no_kind(void)
{
	start_with(1, 0);
	CHECK(supported(luns, 1, VSS_VOLSNAP_ATTR_PLEX));
	fakes[0].refuse[UP_OP_IDENTIFY] = UP_INTERNAL;
	CHECK(!supported(luns, 1, VSS_VOLSNAP_ATTR_PLEX));
	CHECK_HR(begin(&set_id, &volume_id, VSS_VOLSNAP_ATTR_PLEX, luns, 1), VSS_E_PROVIDER_VETO);
	expect_event(UMBRA_EVENT_REFUSED);
	CHECK(fake_shadows() == 0);
	finish();
}

/* ---- OnLunStateChange ---- */

static VDS_LUN_INFORMATION out[3];
static struct fake_lun *shadow[2];

/* Two shadow LUNs, kept and mapped to this host. */
static void two_shadows(void)
{
	start_with(2, 0);
	memset(out, 0, sizeof(out));
	committed(luns, 2);
	CHECK_HR(targets(luns, 2, out), S_OK);
	CHECK_HR(IVssHardwareSnapshotProviderEx_LocateLuns(hw, 2, out), S_OK);
	fake_rescan();
	for (int i = 0; i < 2; i++) {
		uint8_t id[UP_ID_BYTES];
		CHECK(lun_identity_recognise(&out[i], id));
		shadow[i] = fake_find(id);
	}
}

static void end_shadows(void)
{
	for (int i = 0; i < 3; i++)
		lun_identity_clear(&out[i]);
	finish();
}

static HRESULT change(DWORD count, DWORD flags)
{
	return IVssHardwareSnapshotProviderEx_OnLunStateChange(hw, out, NULL, count, flags);
}

static void recoveries_are_recorded_only(void)
{
	two_shadows();
	CHECK_HR(change(2, VSS_ONLUNSTATECHANGE_NOTIFY_LUN_PRE_RECOVERY), S_OK);
	CHECK(shadow[0]->lun.notified == 0x200 && shadow[1]->lun.notified == 0x200);
	eventlog_drain();
	CHECK(events == 1 && strstr(last_event.detail, "2 LUNs") &&
		strstr(last_event.detail, "about to recover"));
	CHECK(!strcmp(last_event.array, "fake-a"));
	CHECK_HR(change(2, VSS_ONLUNSTATECHANGE_NOTIFY_LUN_POST_RECOVERY), S_OK);
	CHECK(shadow[0]->lun.notified == 0x600);
	CHECK(shadow[0]->lun.kind == UP_LUN_SHADOW && shadow[0]->lun.number && shadow[1]->lun.number);
	CHECK(fakes[0].executed[UP_OP_BREAK] == 0 && fakes[0].executed[UP_OP_UNMAP] == 0);
	expect_event(UMBRA_EVENT_STATE_CHANGE);
	end_shadows();
}

/* For good: an ordinary LUN with the same identity and mapping; a repeated call finds it done. */
static void read_write_breaks(void)
{
	two_shadows();
	uint32_t number = shadow[0]->lun.number;
	for (int i = 0; i < 2; i++) {
		CHECK_HR(change(2, VSS_ONLUNSTATECHANGE_NOTIFY_READ_WRITE), S_OK);
		CHECK(shadow[0]->lun.kind == UP_LUN_ORDINARY && shadow[1]->lun.kind == UP_LUN_ORDINARY);
		CHECK(shadow[0]->lun.notified == 0x100 && shadow[0]->lun.number == number);
		CHECK(fakes[0].executed[UP_OP_BREAK] == 2 && fakes[0].executed[UP_OP_NOTIFY] == 2);
		expect_event(UMBRA_EVENT_STATE_CHANGE);
		CHECK(!strstr(last_event.detail, "ordinary") == (i == 1));
	}
	CHECK_HR(IVssHardwareSnapshotProviderEx_OnLunEmpty(hw, NULL, &out[0]), VSS_E_PROVIDER_VETO);
	expect_event(UMBRA_EVENT_ORDINARY);
	CHECK(!strcmp(last_event.array, "fake-a"));
	/* the mask comes in a call of its own */
	CHECK_HR(change(2, VSS_ONLUNSTATECHANGE_DO_MASK_LUNS), S_OK);
	CHECK(!shadow[0]->lun.number && !shadow[1]->lun.number && shadow[0]->there);
	CHECK_HR(change(2, VSS_ONLUNSTATECHANGE_DO_MASK_LUNS), S_OK);
	expect_event(UMBRA_EVENT_STATE_CHANGE);
	CHECK(fakes[0].executed[UP_OP_UNMAP] == 0 && fakes[0].executed[UP_OP_DELETE] == 0);
	end_shadows();
}

static void read_write_and_mask_together(void)
{
	two_shadows();
	for (int i = 0; i < 2; i++) {
		CHECK_HR(
			change(2, VSS_ONLUNSTATECHANGE_NOTIFY_READ_WRITE | VSS_ONLUNSTATECHANGE_DO_MASK_LUNS),
			S_OK);
		fake_rescan();
		for (int n = 0; n < 2; n++)
			CHECK(shadow[n]->there && shadow[n]->lun.kind == UP_LUN_ORDINARY &&
				!shadow[n]->lun.number);
	}
	CHECK(fakes[0].executed[UP_OP_BREAK] == 2 && fakes[0].executed[UP_OP_DELETE] == 0);
	end_shadows();
}

static void masking(void)
{
	two_shadows();
	fakes[0].refuse[UP_OP_UNMAP] = UP_DENIED; /* the first LUN; the second is masked all the same */
	fakes[0].refuse_count[UP_OP_UNMAP] = 1;
	CHECK_HR(change(2, VSS_ONLUNSTATECHANGE_DO_MASK_LUNS), VSS_E_PROVIDER_VETO);
	expect_event(UMBRA_EVENT_DENIED);
	CHECK(shadow[0]->lun.number && !shadow[1]->lun.number);
	CHECK_HR(IVssHardwareSnapshotProviderEx_LocateLuns(hw, 2, out), S_OK);
	fake_rescan();
	unsigned asked = fakes[0].executed[UP_OP_UNMAP];
	for (int i = 0; i < 2; i++)
		CHECK_HR(change(2, VSS_ONLUNSTATECHANGE_DO_MASK_LUNS), S_OK);
	CHECK(!shadow[0]->lun.number && !shadow[1]->lun.number);
	CHECK(fakes[0].executed[UP_OP_UNMAP] == asked + 2); /* once each */
	CHECK(fakes[0].executed[UP_OP_DELETE] == 0 && shadow[0]->lun.kind == UP_LUN_SHADOW);
	expect_event(UMBRA_EVENT_STATE_CHANGE);
	CHECK(strstr(last_event.detail, "masked"));
	/* all at once: recovered, then masked */
	CHECK_HR(IVssHardwareSnapshotProviderEx_LocateLuns(hw, 2, out), S_OK);
	fake_rescan();
	CHECK_HR(change(2, VSS_ONLUNSTATECHANGE_NOTIFY_LUN_POST_RECOVERY | VSS_ONLUNSTATECHANGE_DO_MASK_LUNS),
		S_OK);
	CHECK(shadow[1]->lun.notified == 0x400 && !shadow[1]->lun.number);
	/* gone: nobody sees them */
	for (int i = 0; i < 2; i++)
		CHECK_HR(IVssHardwareSnapshotProviderEx_OnLunEmpty(hw, NULL, &out[i]), S_OK);
	CHECK_HR(change(2, VSS_ONLUNSTATECHANGE_DO_MASK_LUNS), S_OK);
	CHECK_HR(change(2, VSS_ONLUNSTATECHANGE_NOTIFY_READ_WRITE), S_OK);
	end_shadows();
}

/* As many as a set may have: each is known again when VSS asks to mask them in a call of its own. */
static void many_are_broken_then_masked(void)
{
	static VDS_LUN_INFORMATION many[100];
	const unsigned count = sizeof(many) / sizeof(many[0]);
	uint8_t id[UP_ID_BYTES];

	start_with(0, 0);
	fake_add_control_lu(0); /* masking takes the ways through the LUNs */
	for (unsigned i = 0; i < count; i++) {
		fake_add_lun(0, i + 1, id);
		fake_find(id)->lun.kind = UP_LUN_SHADOW;
		describe(&many[i], id);
	}
	CHECK_HR(IVssHardwareSnapshotProviderEx_OnLunStateChange(
			 hw, many, NULL, count, VSS_ONLUNSTATECHANGE_NOTIFY_READ_WRITE),
		S_OK);
	CHECK(fakes[0].executed[UP_OP_BREAK] == count);
	CHECK_HR(IVssHardwareSnapshotProviderEx_OnLunStateChange(
			 hw, many, NULL, count, VSS_ONLUNSTATECHANGE_DO_MASK_LUNS),
		S_OK);
	for (unsigned i = 0; i < FAKE_LUNS; i++)
		CHECK(!fakes[0].luns[i].there || !fakes[0].luns[i].lun.number);
	for (unsigned i = 0; i < count; i++)
		lun_identity_clear(&many[i]);
	finish();
}

/* An ordinary LUN that we have not broken is never unmapped, whatever is said of it. */
static void other_ordinary_luns_are_not_masked(void)
{
	two_shadows();
	lun_identity_clear(&out[0]);
	describe(&out[0], ids[0]);
	CHECK_HR(change(1, VSS_ONLUNSTATECHANGE_DO_MASK_LUNS), VSS_E_PROVIDER_VETO);
	expect_event(UMBRA_EVENT_ORDINARY);
	CHECK_HR(change(1, VSS_ONLUNSTATECHANGE_NOTIFY_READ_WRITE), S_OK);
	CHECK(fake_find(ids[0])->lun.number);
	CHECK(fakes[0].executed[UP_OP_BREAK] == 0 && fakes[0].executed[UP_OP_UNMAP] == 0);
	end_shadows();
}

static void luns_of_others_are_skipped(void)
{
	two_shadows();
	describe(&out[2], ids[0]);
	out[2].m_szVendorId[0] = 'X';
	VDS_LUN_INFORMATION foreign = out[2];
	out[2] = out[1];
	out[1] = foreign;
	CHECK_HR(change(3, VSS_ONLUNSTATECHANGE_DO_MASK_LUNS), S_OK);
	CHECK(!shadow[0]->lun.number && !shadow[1]->lun.number);
	expect_event(UMBRA_EVENT_STATE_CHANGE);
	CHECK(strstr(last_event.detail, "2 LUNs"));
	CHECK_HR(IVssHardwareSnapshotProviderEx_OnLunStateChange(
			 hw, &out[1], NULL, 1, VSS_ONLUNSTATECHANGE_DO_MASK_LUNS),
		S_OK);
	eventlog_drain();
	CHECK(events == 0); /* nothing of ours: nothing to tell */
	end_shadows();
}

static void bad_arguments_of_a_state_change(void)
{
	two_shadows();
	CHECK_HR(IVssHardwareSnapshotProviderEx_OnLunStateChange(hw, NULL, out, 1, 0x800), E_INVALIDARG);
	CHECK_HR(change(0, 0x800), E_INVALIDARG);
	CHECK_HR(change(0xFFFFFFFF, 0x800), E_INVALIDARG);
	CHECK_HR(IVssHardwareSnapshotProviderEx_OnLunStateChange(hw, out, out, 2, 0), S_OK);
	CHECK_HR(change(2, 0x10000), S_OK); /* what a later VSS may say */
	expect_event(UMBRA_EVENT_STATE_CHANGE);
	CHECK(strstr(last_event.detail, "nothing else"));
	CHECK(fakes[0].executed[UP_OP_NOTIFY] == 0 && shadow[0]->lun.number);
	end_shadows();
}

/* A notification that does not get through is no veto; work that fails is. */
static void troubles_with_the_array(void)
{
	two_shadows();
	fakes[0].refuse[UP_OP_NOTIFY] = UP_IO_ERROR;
	CHECK_HR(change(2, VSS_ONLUNSTATECHANGE_NOTIFY_LUN_PRE_RECOVERY), S_OK);
	eventlog_drain();
	CHECK(events == 2); /* not told (once), and the record of the call */
	events = 0;
	fakes[0].refuse[UP_OP_NOTIFY] = UP_UNSUPPORTED; /* an older array */
	CHECK_HR(change(2, VSS_ONLUNSTATECHANGE_NOTIFY_LUN_PRE_RECOVERY), S_OK);
	eventlog_drain();
	CHECK(events == 1);
	fakes[0].refuse[UP_OP_BREAK] = UP_IO_ERROR;
	CHECK_HR(change(2, VSS_ONLUNSTATECHANGE_NOTIFY_READ_WRITE), VSS_E_PROVIDER_VETO);
	expect_event(UMBRA_EVENT_STORE_ERROR);
	fakes[0].refuse[UP_OP_BREAK] = UP_NO_SPACE; /* has a code of its own elsewhere, but not here */
	CHECK_HR(change(2, VSS_ONLUNSTATECHANGE_NOTIFY_READ_WRITE), VSS_E_PROVIDER_VETO);
	expect_event(UMBRA_EVENT_NO_SPACE);
	fakes[0].refuse[UP_OP_BREAK] = UP_OK;
	fakes[0].offline = true;
	CHECK_HR(change(2, VSS_ONLUNSTATECHANGE_NOTIFY_LUN_POST_RECOVERY), S_OK);
	expect_event(UMBRA_EVENT_STATE_CHANGE);
	CHECK_HR(change(2, VSS_ONLUNSTATECHANGE_DO_MASK_LUNS), VSS_E_PROVIDER_VETO);
	expect_event(UMBRA_EVENT_UNREACHABLE);
	CHECK_HR(change(2, VSS_ONLUNSTATECHANGE_NOTIFY_READ_WRITE), VSS_E_PROVIDER_VETO);
	fakes[0].offline = false;
	CHECK(shadow[0]->lun.kind == UP_LUN_SHADOW && shadow[0]->lun.number);
	/* an array that cannot break: said, no veto, and masking works */
	fakes[0].capabilities = UP_CAP_DIFFERENTIAL;
	eventlog_drain();
	events = 0;
	CHECK_HR(change(2, VSS_ONLUNSTATECHANGE_NOTIFY_READ_WRITE | VSS_ONLUNSTATECHANGE_DO_MASK_LUNS), S_OK);
	eventlog_drain();
	CHECK(events == 2);
	CHECK(shadow[0]->lun.kind == UP_LUN_SHADOW && !shadow[0]->lun.number && !shadow[1]->lun.number);
	end_shadows();
}

int main(void)
{
	static const struct test tests[] = {
		TEST(kinds_are_honoured_as_far_as_the_array_makes_them),
		TEST(a_set_of_two_kinds),
		TEST(volumes_on_one_lun_agree_on_the_kind),
		TEST(an_array_that_cannot_be_asked_supports_no_kind),
		TEST(recoveries_are_recorded_only),
		TEST(read_write_breaks),
		TEST(read_write_and_mask_together),
		TEST(masking),
		TEST(many_are_broken_then_masked),
		TEST(other_ordinary_luns_are_not_masked),
		TEST(luns_of_others_are_skipped),
		TEST(bad_arguments_of_a_state_change),
		TEST(troubles_with_the_array),
	};

	return run_object_tests(tests, sizeof(tests) / sizeof(tests[0]));
}
