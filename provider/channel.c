/* SPDX-License-Identifier: Apache-2.0 */
/* Control messages over SCSI commands. See channel.h. */
#include "provider/channel.h"

#include <errno.h>
#include <string.h>
#include <windows.h>

#define PROBE_PATIENCE_MS     5000
#define PENDING_PATIENCE_MS   10000 /* of an array that says that it works on it, from one time to the next */
#define PENDING_LIMIT_MS      60000
#define RETRY_PAUSE_MS        20
#define UNIT_ATTENTIONS_MAX   8
#define STATUS_GOOD           0x00
#define STATUS_CHECK          0x02
#define STATUS_BUSY           0x08
#define STATUS_TASK_SET_FULL  0x28
#define SENSE_NOT_READY       2
#define SENSE_ILLEGAL_REQUEST 5
#define SENSE_UNIT_ATTENTION  6
#define ASC_NOT_READY         0x04
#define ASCQ_TRANSITIONING                                                                                   \
	0x0A /* with it: the way's target port group changes its state, stands by, is unavailable */
#define ASCQ_UNAVAILABLE   0x0C
#define ASC_INVALID_OPCODE 0x20
#define ASC_NO_SUCH_UNIT   0x25 /* LOGICAL UNIT NOT SUPPORTED: it was unmapped */

struct sense {
	uint8_t key, asc, ascq;
};

static struct sense sense_parse(const uint8_t *s)
{
	switch (s[0] & 0x7F) {
	case 0x70:
	case 0x71:
		return (struct sense){s[2] & 15, s[12], s[13]};
	case 0x72:
	case 0x73:
		return (struct sense){s[1] & 15, s[2], s[3]};
	default:
		return (struct sense){0, 0, 0};
	}
}

/* How long one command is waited for; 0: as long as it takes. */
static uint32_t patience(uint32_t patience_ms, uint64_t deadline_ms)
{
	uint64_t now_ms = GetTickCount64(), left_ms = deadline_ms > now_ms ? deadline_ms - now_ms : 1;

	return patience_ms && left_ms < patience_ms ? (uint32_t)left_ms : patience_ms;
}

/* Carries one command out, repeating it over BUSY and unit attentions until the deadline. */
static int carry_out(
	struct channel *ch, struct transport_command *command, uint32_t patience_ms, uint64_t deadline_ms)
{
	uint32_t len_bytes = command->len_bytes;

	for (unsigned attentions = 0;;) {
		command->len_bytes = len_bytes;
		int err = courier_command(ch->courier, command, patience(patience_ms, deadline_ms));
		if (err < 0)
			return err;
		if (command->status == STATUS_GOOD)
			return 0;
		if (command->status == STATUS_BUSY || command->status == STATUS_TASK_SET_FULL) {
			if (GetTickCount64() + RETRY_PAUSE_MS >= deadline_ms)
				return -ETIMEDOUT;
			Sleep(RETRY_PAUSE_MS);
			continue;
		}
		if (command->status != STATUS_CHECK)
			return -EIO;
		struct sense sense = sense_parse(command->sense);
		if (sense.key == SENSE_UNIT_ATTENTION && ++attentions <= UNIT_ATTENTIONS_MAX)
			continue;
		if (sense.key == SENSE_ILLEGAL_REQUEST && sense.asc == ASC_INVALID_OPCODE)
			return -EOPNOTSUPP;
		if (sense.key == SENSE_ILLEGAL_REQUEST && sense.asc == ASC_NO_SUCH_UNIT)
			return -ENODEV;
		if (sense.key == SENSE_NOT_READY && sense.asc == ASC_NOT_READY &&
			sense.ascq >= ASCQ_TRANSITIONING && sense.ascq <= ASCQ_UNAVAILABLE)
			return -ENOTCONN;
		return -EIO;
	}
}

static int inquiry(struct channel *ch, bool vital, uint8_t page, uint8_t *buf, uint8_t cap, uint32_t *len)
{
	struct transport_command c = {.cdb = {0x12, vital ? 1 : 0, page, 0, cap},
		.cdb_len_bytes = 6,
		.direction = TRANSPORT_IN,
		.data = buf,
		.len_bytes = cap};
	int err = carry_out(ch, &c, PROBE_PATIENCE_MS, GetTickCount64() + PROBE_PATIENCE_MS);

	*len = c.len_bytes;
	return err;
}

static int read_serial(struct channel *ch, char serial[TRANSPORT_SERIAL_MAX_BYTES + 1])
{
	uint8_t page[4 + TRANSPORT_SERIAL_MAX_BYTES] = {0};
	uint32_t len;
	int err = inquiry(ch, true, 0x80, page, sizeof(page), &len);

	serial[0] = '\0';
	if (err < 0)
		return err;
	if (len < 4 || page[1] != 0x80)
		return -EIO;
	size_t n = page[3];
	if (n > len - 4)
		n = len - 4;
	while (n && (page[4 + n - 1] == ' ' || page[4 + n - 1] == '\0'))
		n--;
	memcpy(serial, page + 4, n);
	serial[n] = '\0';
	return 0;
}

int channel_inquire(struct channel *ch, uint8_t *device_type, char serial[TRANSPORT_SERIAL_MAX_BYTES + 1])
{
	uint8_t data[36] = {0};
	uint32_t len;
	int err = inquiry(ch, false, 0, data, sizeof(data), &len);

	if (err < 0)
		return err;
	if (len < sizeof(data) || memcmp(data + 8, UP_VENDOR, 8) != 0)
		return -ENODEV;
	*device_type = data[0] & 0x1F;
	return read_serial(ch, serial);
}

int channel_open(struct transport *t, const struct channel_path *path, struct channel *out)
{
	char serial[TRANSPORT_SERIAL_MAX_BYTES + 1];

	memset(out, 0, sizeof(*out));
	int err = courier_open(t, &path->device, &out->courier);
	if (err < 0 || !path->serial[0])
		return err;
	err = read_serial(out, serial);
	if (err == 0 && strcmp(serial, path->serial) != 0)
		err = -ENODEV;
	if (err < 0)
		channel_close(out);
	return err;
}

void channel_close(struct channel *ch)
{
	courier_close(ch->courier);
	ch->courier = NULL;
}

int exchange_prepare(struct exchange *x, const struct up_msg *request, uint16_t slot)
{
	x->slot = slot;
	x->request_id = request->request_id;
	x->op = request->op;
	x->out_len_bytes = up_encode(request, x->out, sizeof(x->out));
	return x->out_len_bytes ? 0 : -EINVAL;
}

/* SPC-4 6.30, 6.31: byte 1 the protocol, 2–3 the mailbox, 6–9 the length. */
static void security_cdb(struct transport_command *c, uint8_t opcode, uint16_t slot, uint32_t len)
{
	memset(c->cdb, 0, sizeof(c->cdb));
	c->cdb[0] = opcode;
	c->cdb[1] = UP_SECURITY_PROTOCOL;
	c->cdb[2] = (uint8_t)(slot >> 8);
	c->cdb[3] = (uint8_t)slot;
	c->cdb[6] = (uint8_t)(len >> 24);
	c->cdb[7] = (uint8_t)(len >> 16);
	c->cdb[8] = (uint8_t)(len >> 8);
	c->cdb[9] = (uint8_t)len;
	c->cdb_len_bytes = 12;
	c->len_bytes = len;
}

static int post(struct channel *ch, struct exchange *x, uint64_t deadline_ms)
{
	struct transport_command c = {.direction = TRANSPORT_OUT, .data = x->out};

	security_cdb(&c, ch->vendor_opcodes ? UP_OPCODE_VENDOR_OUT : UP_OPCODE_OUT, x->slot,
		(uint32_t)x->out_len_bytes);
	int err = carry_out(ch, &c, ch->patience_ms, deadline_ms);
	if (err != -EOPNOTSUPP || ch->vendor_opcodes)
		return err;
	ch->vendor_opcodes = true;
	return post(ch, x, deadline_ms);
}

static int fetch(struct channel *ch, struct exchange *x, uint64_t deadline_ms)
{
	struct transport_command c = {.direction = TRANSPORT_IN, .data = x->in};

	security_cdb(&c, ch->vendor_opcodes ? UP_OPCODE_VENDOR_IN : UP_OPCODE_IN, x->slot, sizeof(x->in));
	int err = carry_out(ch, &c, ch->patience_ms, deadline_ms);
	if (err < 0)
		return err;
	enum up_status decoded = up_decode(&x->reply, x->in, c.len_bytes);
	if (!x->reply.is_reply || x->reply.request_id != x->request_id)
		return -EBADMSG;
	if (decoded == UP_BAD_VERSION && x->reply.status == UP_BAD_VERSION)
		return 0; /* the array says that it does not speak our version */
	return decoded == UP_OK && x->reply.op == x->op ? 0 : -EBADMSG;
}

int channel_exchange(struct channel *ch, struct exchange *x, uint64_t deadline_ms)
{
	uint64_t limit_ms = GetTickCount64() + PENDING_LIMIT_MS;
	int err = post(ch, x, deadline_ms);

	while (err == 0) {
		err = fetch(ch, x, deadline_ms);
		if (err < 0 || x->reply.status != UP_PENDING)
			break;
		uint64_t now_ms = GetTickCount64();
		if (now_ms >= limit_ms)
			return -EINPROGRESS;
		if (deadline_ms < now_ms + PENDING_PATIENCE_MS)
			deadline_ms = now_ms + PENDING_PATIENCE_MS;
		Sleep(RETRY_PAUSE_MS);
	}
	return err;
}
