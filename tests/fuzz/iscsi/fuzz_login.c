/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The login state machine fed arbitrary keys. Input: steps of one byte of flags, two of length and the text; bit 4 of
 * the first flags makes the portal one that redirects. Whatever comes, nobody without the secret gets in as iqn.c
 * (which the corpus has) or iqn.d (which nobody has).
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "array/iscsi/login.h"

static void account(void *ctx, const char *initiator, struct iscsi_account *out)
{
	(void)ctx;
	out->known = strcmp(initiator, "iqn.a") == 0 || strcmp(initiator, "iqn.c") == 0 ||
		     strcmp(initiator, "iqn.d") == 0;
	if (strcmp(initiator, "iqn.d") == 0)
		snprintf(out->secret, sizeof(out->secret), "not even the corpus knows it");
	if (strcmp(initiator, "iqn.c") == 0) {
		snprintf(out->secret, sizeof(out->secret), "nobody knows this");
		snprintf(out->mutual_secret, sizeof(out->mutual_secret), "nor that");
	}
}

static int numbers(void *ctx, uint8_t *bytes, size_t len)
{
	(void)ctx;
	memset(bytes, 0x42, len);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct iscsi_login_ops ops = {.account = account, .random = numbers};
	struct iscsi_login_options options = {.ops = &ops,
		.target_name = "iqn.t",
		.portal_group_tag = 1,
		.wishes = {262144, 1048576, 262144, 8}};
	struct iscsi_login *l = malloc(sizeof(*l));
	struct iscsi_login_response *r = malloc(sizeof(*r));
	enum iscsi_login_result result = ISCSI_LOGIN_MORE;

	if (!l || !r)
		abort();
	if (size > 0 && data[0] & 0x10)
		options.redirect = "10.0.0.1:3260";
	iscsi_login_init(l, &options);
	while (size >= 3 && result == ISCSI_LOGIN_MORE) {
		uint8_t bhs[ISCSI_BHS_BYTES];
		size_t len = get_be16(data + 1);

		iscsi_pdu_init(bhs, ISCSI_LOGIN, data[0], 1);
		data += 3;
		size -= 3;
		if (len > size)
			len = size;
		if (len > ISCSI_LOGIN_TEXT_BYTES)
			len = ISCSI_LOGIN_TEXT_BYTES;
		result = iscsi_login_step(l, bhs, (const char *)data, len, r);
		assert(r->text.len <= sizeof(r->buf));
		assert(!iscsi_login_redirects(r->status) || (options.redirect && !l->discovery));
		assert((result == ISCSI_LOGIN_FAILED) == (r->status != ISCSI_LOGIN_SUCCESS));
		data += len;
		size -= len;
	}
	if (result == ISCSI_LOGIN_DONE) {
		const struct iscsi_params *p = &l->negotiation.params;

		assert(l->discovery || !options.redirect);
		assert(l->discovery || strcmp(l->initiator, "iqn.d") != 0);
		assert(l->discovery || l->authenticated == (strcmp(l->initiator, "iqn.c") == 0));
		assert(p->max_send_segment >= 512 && p->max_send_segment < 1 << 24);
		assert(p->first_burst <= p->max_burst && p->max_burst >= 512 && p->first_burst >= 512);
		assert(p->max_outstanding_r2t >= 1 && p->max_outstanding_r2t <= 8);
		assert(p->error_recovery_level == 0 && p->max_connections == 1);
		assert(p->data_pdu_in_order && p->data_sequence_in_order);
	}
	iscsi_login_wipe(l);
	free(l);
	free(r);
	return 0;
}
