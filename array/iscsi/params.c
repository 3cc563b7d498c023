/* SPDX-License-Identifier: Apache-2.0 */
/* The negotiation table. See params.h; section numbers are RFC 7143's. */
#include "array/iscsi/params.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#define SEGMENT_MIN 512u
#define LENGTH_MAX  ((1u << 24) - 1)

enum rule {
	RULE_MIN,
	RULE_MAX,
	RULE_AND,
	RULE_OR,
	RULE_DECLARE,     /* a number; no answer */
	RULE_FIRST_BURST, /* as RULE_MIN, at the request's end: never more than MaxBurstLength */
	RULE_DIGEST,
	RULE_IGNORE,    /* a declaration of text; no answer */
	RULE_NO,        /* obsolete markers: "No" (13.25) */
	RULE_REJECT,    /* always */
	RULE_REPORTING, /* TaskReporting */
};

struct key {
	const char *name;
	enum rule rule;
	uint32_t low, high;
	size_t at;      /* in struct iscsi_params */
	uint32_t ours;  /* when no wish */
	size_t wish_at; /* in struct iscsi_wishes, or NO_WISH */
};

#define NO_WISH   SIZE_MAX
#define AT(field) offsetof(struct iscsi_params, field)
#define WISH(f)   offsetof(struct iscsi_wishes, f)

static const struct key keys[] = {
	{"HeaderDigest", RULE_DIGEST, 0, 0, AT(header_digest), 0, NO_WISH},      /* 13.1 */
	{"DataDigest", RULE_DIGEST, 0, 0, AT(data_digest), 0, NO_WISH},          /* 13.1 */
	{"MaxConnections", RULE_MIN, 1, 65535, AT(max_connections), 1, NO_WISH}, /* 13.2 */
	{"InitiatorAlias", RULE_IGNORE, 0, 0, 0, 0, NO_WISH},                    /* 13.7 */
	{"InitialR2T", RULE_OR, 0, 1, AT(initial_r2t), 0, NO_WISH},              /* 13.10 */
	{"ImmediateData", RULE_AND, 0, 1, AT(immediate_data), 1, NO_WISH},       /* 13.11 */
	{"MaxRecvDataSegmentLength", RULE_DECLARE, SEGMENT_MIN, LENGTH_MAX, AT(max_send_segment), 0, NO_WISH},
	{"MaxBurstLength", RULE_MIN, SEGMENT_MIN, LENGTH_MAX, AT(max_burst), 0, WISH(max_burst)}, /* 13.13 */
	{"FirstBurstLength", RULE_FIRST_BURST, SEGMENT_MIN, LENGTH_MAX, AT(first_burst), 0,
		WISH(first_burst)},                                             /* 13.14 */
	{"DefaultTime2Wait", RULE_MAX, 0, 3600, AT(time2wait), 0, NO_WISH},     /* 13.15 */
	{"DefaultTime2Retain", RULE_MIN, 0, 3600, AT(time2retain), 0, NO_WISH}, /* 13.16 */
	{"MaxOutstandingR2T", RULE_MIN, 1, 65535, AT(max_outstanding_r2t), 0, WISH(max_outstanding_r2t)},
	{"DataPDUInOrder", RULE_OR, 0, 1, AT(data_pdu_in_order), 1, NO_WISH},           /* 13.18 */
	{"DataSequenceInOrder", RULE_OR, 0, 1, AT(data_sequence_in_order), 1, NO_WISH}, /* 13.19 */
	{"ErrorRecoveryLevel", RULE_MIN, 0, 2, AT(error_recovery_level), 0, NO_WISH},   /* 13.20 */
	{"TaskReporting", RULE_REPORTING, 0, 0, 0, 0, NO_WISH},                         /* 13.23 */
	{"iSCSIProtocolLevel", RULE_MIN, 0, 31, AT(protocol_level), 1, NO_WISH},        /* 13.24 */
	{"IFMarker", RULE_NO, 0, 0, 0, 0, NO_WISH},                                     /* 13.25 */
	{"OFMarker", RULE_NO, 0, 0, 0, 0, NO_WISH},
	{"IFMarkInt", RULE_REJECT, 0, 0, 0, 0, NO_WISH},
	{"OFMarkInt", RULE_REJECT, 0, 0, 0, 0, NO_WISH},
	/* What is the target's to say, and what has its own time: the login, or the full feature phase. Where it
	 * may be said, others take it before it comes here. */
	{"TargetAlias", RULE_REJECT, 0, 0, 0, 0, NO_WISH},          /* 13.6 */
	{"TargetAddress", RULE_REJECT, 0, 0, 0, 0, NO_WISH},        /* 13.8 */
	{"TargetPortalGroupTag", RULE_REJECT, 0, 0, 0, 0, NO_WISH}, /* 13.9 */
	{"SendTargets", RULE_REJECT, 0, 0, 0, 0, NO_WISH},          /* 13.3 */
	{"TargetName", RULE_REJECT, 0, 0, 0, 0, NO_WISH},           /* 13.4 */
	{"InitiatorName", RULE_REJECT, 0, 0, 0, 0, NO_WISH},        /* 13.5 */
	{"SessionType", RULE_REJECT, 0, 0, 0, 0, NO_WISH},          /* 13.21 */
	{"AuthMethod", RULE_REJECT, 0, 0, 0, 0, NO_WISH},           /* 12.1 */
	{"CHAP_A", RULE_REJECT, 0, 0, 0, 0, NO_WISH},
	{"CHAP_I", RULE_REJECT, 0, 0, 0, 0, NO_WISH},
	{"CHAP_C", RULE_REJECT, 0, 0, 0, 0, NO_WISH},
	{"CHAP_N", RULE_REJECT, 0, 0, 0, 0, NO_WISH},
	{"CHAP_R", RULE_REJECT, 0, 0, 0, 0, NO_WISH},
};

#define KEY_COUNT (sizeof(keys) / sizeof(keys[0]))
_Static_assert(KEY_COUNT <= 64, "one bit a key in iscsi_negotiation.seen");

static uint32_t *field(struct iscsi_params *params, const struct key *key)
{
	return (uint32_t *)(void *)((char *)params + key->at);
}

static uint32_t our_value(const struct iscsi_negotiation *n, const struct key *key)
{
	if (key->wish_at == NO_WISH)
		return key->ours;
	return *(const uint32_t *)(const void *)((const char *)&n->wishes + key->wish_at);
}

void iscsi_negotiation_init(struct iscsi_negotiation *n, const struct iscsi_wishes *wishes)
{
	*n = (struct iscsi_negotiation){
		.wishes = *wishes,
		.params =
			{
				.max_send_segment = 8192,
				.max_recv_segment = 8192,
				.max_burst = 262144,
				.first_burst = 65536,
				.max_outstanding_r2t = 1,
				.max_connections = 1,
				.time2wait = 2,
				.time2retain = 20,
				.initial_r2t = 1,
				.immediate_data = 1,
				.data_pdu_in_order = 1,
				.data_sequence_in_order = 1,
			},
	};
}

static void answer_number(
	struct iscsi_negotiation *n, const struct key *key, const char *value, struct iscsi_text_out *out)
{
	uint32_t *result = field(&n->params, key), ours = our_value(n, key);
	uint64_t offer;

	if (!iscsi_text_number(value, key->high, &offer) || offer < key->low) {
		iscsi_text_put(out, key->name, "Reject");
		return;
	}
	if (key->rule == RULE_FIRST_BURST) {
		n->first_burst_offer = (uint32_t)offer;
		return;
	}
	if (key->rule == RULE_DECLARE) {
		*result = (uint32_t)offer;
		return;
	}
	/* A burst shorter than the first one, which was answered in an earlier request, contradicts what both know. */
	if (key->at == AT(max_burst) && n->first_burst_told && offer < n->params.first_burst) {
		iscsi_text_put(out, key->name, "Reject");
		return;
	}
	if (key->rule == RULE_MIN)
		*result = offer < ours ? (uint32_t)offer : ours;
	else
		*result = offer > ours ? (uint32_t)offer : ours;
	if (n->params.first_burst > n->params.max_burst)
		n->params.first_burst = n->params.max_burst;
	iscsi_text_putf(out, key->name, "%u", *result);
}

void iscsi_negotiate_end(struct iscsi_negotiation *n, struct iscsi_text_out *out)
{
	uint32_t least = n->first_burst_offer;

	if (!n->first_burst_offer)
		return;
	if (least > n->wishes.first_burst)
		least = n->wishes.first_burst;
	if (least > n->params.max_burst)
		least = n->params.max_burst;
	n->params.first_burst = least;
	n->first_burst_told = true;
	n->first_burst_offer = 0;
	iscsi_text_putf(out, "FirstBurstLength", "%u", least);
}

static void answer_boolean(
	struct iscsi_negotiation *n, const struct key *key, const char *value, struct iscsi_text_out *out)
{
	uint32_t *result = field(&n->params, key), ours = our_value(n, key), offer;

	if (strcmp(value, "Yes") == 0) {
		offer = 1;
	} else if (strcmp(value, "No") == 0) {
		offer = 0;
	} else {
		iscsi_text_put(out, key->name, "Reject");
		return;
	}
	*result = key->rule == RULE_AND ? (offer & ours) : (offer | ours);
	iscsi_text_put(out, key->name, *result ? "Yes" : "No");
}

static void answer_digest(
	struct iscsi_negotiation *n, const struct key *key, const char *value, struct iscsi_text_out *out)
{
	static const char *const names[] = {"None", "CRC32C"};
	int chosen = iscsi_text_choose(value, names, 2);

	if (chosen < 0) {
		iscsi_text_put(out, key->name, "Reject");
		return;
	}
	*field(&n->params, key) = (uint32_t)chosen;
	iscsi_text_put(out, key->name, names[chosen]);
}

static void answer(
	struct iscsi_negotiation *n, const struct key *key, const char *value, struct iscsi_text_out *out)
{
	switch (key->rule) {
	case RULE_MIN:
	case RULE_MAX:
	case RULE_DECLARE:
	case RULE_FIRST_BURST:
		answer_number(n, key, value, out);
		break;
	case RULE_AND:
	case RULE_OR:
		answer_boolean(n, key, value, out);
		break;
	case RULE_DIGEST:
		answer_digest(n, key, value, out);
		break;
	case RULE_IGNORE:
		break;
	case RULE_NO:
		iscsi_text_put(out, key->name, "No");
		break;
	case RULE_REJECT:
		iscsi_text_put(out, key->name, "Reject");
		break;
	case RULE_REPORTING:
		iscsi_text_put(out, key->name, iscsi_text_listed(value, "RFC3720") ? "RFC3720" : "Reject");
		break;
	}
}

static const struct key *find(const char *name)
{
	for (unsigned i = 0; i < KEY_COUNT; i++)
		if (strcmp(keys[i].name, name) == 0)
			return &keys[i];
	return NULL;
}

static bool first_time(uint64_t *seen, const struct key *k)
{
	uint64_t bit = UINT64_C(1) << (k - keys);
	bool first = !(*seen & bit);

	*seen |= bit;
	return first;
}

bool iscsi_key_repeated(uint64_t *seen, const char *key)
{
	const struct key *k = find(key);

	return k && !first_time(seen, k);
}

int iscsi_negotiate(
	struct iscsi_negotiation *n, const char *key, const char *value, struct iscsi_text_out *out)
{
	const struct key *k = find(key);

	if (!k)
		return -ENOENT;
	if (!first_time(&n->seen, k))
		return -EALREADY;
	answer(n, k, value, out);
	return 0;
}

int iscsi_renegotiate(
	struct iscsi_params *params, const char *key, const char *value, struct iscsi_text_out *out)
{
	const struct key *k = find(key);
	uint64_t offer;

	if (!k)
		return -ENOENT;
	if (k->rule == RULE_IGNORE)
		return 0;
	if (k->rule == RULE_DECLARE && iscsi_text_number(value, k->high, &offer) && offer >= k->low)
		*field(params, k) = (uint32_t)offer;
	else
		iscsi_text_put(out, k->name, "Reject");
	return 0;
}

void iscsi_negotiation_declare(struct iscsi_negotiation *n, struct iscsi_text_out *out)
{
	if (n->declared)
		return;
	n->declared = true;
	n->params.max_recv_segment = n->wishes.max_recv_segment;
	iscsi_text_putf(out, "MaxRecvDataSegmentLength", "%u", n->params.max_recv_segment);
}
