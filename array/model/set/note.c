/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a copy set's hosts tell of it: the label that its requester gave it, and what it cost them. The array keeps it
 * with the set's record, shows it, and draws one conclusion: I/O that was held for long is worth a warning.
 *
 * A set that is not committed has no record yet: a label waits in memory for the commit, which writes it.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "array/model/set/internal.h"

struct note {
	struct change c;
	struct set *s; /* held */
	struct set_notes notes;
	unsigned which; /* SET_NOTE_… */
};

static struct note *note_of(struct change *c)
{
	return container_of(c, struct note, c);
}

static void merge(struct set_notes *into, const struct set_notes *from, unsigned which)
{
	if (which & SET_NOTE_LABEL)
		memcpy(into->label, from->label, sizeof(into->label));
	if (which & SET_NOTE_COST) {
		into->writers = from->writers;
		into->frozen_us = from->frozen_us;
		into->flush_us = from->flush_us;
		into->commit_us = from->commit_us;
		into->release_us = from->release_us;
	}
	if (which & SET_NOTE_IMPORT) {
		into->imported = true;
		into->import_us = from->import_us;
	}
}

static bool same(const struct set_notes *x, const struct set_notes *y)
{
	return strcmp(x->label, y->label) == 0 && x->writers == y->writers && x->frozen_us == y->frozen_us &&
	       x->flush_us == y->flush_us && x->commit_us == y->commit_us && x->release_us == y->release_us &&
	       x->imported == y->imported && x->import_us == y->import_us;
}

static int notes_check(const struct set_notes *n, unsigned which, struct fault *fault)
{
	if ((which & SET_NOTE_LABEL) && !up_label_valid(n->label))
		return fault_set(fault, -EINVAL,
			"the label is no UTF-8 or has control characters: use up to %d bytes of plain text",
			UP_LABEL_MAX_BYTES);
	if ((which & SET_NOTE_COST) && (n->writers < UP_WRITERS_TOOK_PART || n->writers > UP_WRITERS_NO_VSS))
		return fault_set(fault, -EINVAL,
			"writers %u is unknown: use 1 (took part), 2 (left out) or 3 (no VSS)",
			(unsigned)n->writers);
	if (((which & SET_NOTE_COST) &&
		    (n->frozen_us > UP_COST_MAX_US || n->flush_us > UP_COST_MAX_US ||
			    n->commit_us > UP_COST_MAX_US || n->release_us > UP_COST_MAX_US)) ||
		((which & SET_NOTE_IMPORT) && n->import_us > UP_COST_MAX_US))
		return fault_set(fault, -EINVAL, "a time is longer than a day: send microseconds");
	return 0;
}

/* May it be told now? 0; 1: in memory, for the commit to write. */
static int state_check(const struct set *s, unsigned which, struct fault *fault)
{
	bool early = s->state == UP_SET_PREPARING || s->state == UP_SET_ARMED;

	if (s->forgotten || s->undo_due)
		return fault_set(fault, -ENOENT, "the copy set was aborted meanwhile: begin a new one");
	if (s->state == UP_SET_COMMITTED || s->state == UP_SET_KEPT)
		return 0;
	if (which == SET_NOTE_LABEL && early)
		return 1;
	if (which == SET_NOTE_LABEL && s->state == UP_SET_COMMITTING)
		return fault_set(fault, -EBUSY, "the copy set is being committed: try again in a moment");
	return fault_set(fault, -EBADFD, "the copy set is %s: %s", up_set_state_name(s->state),
		s->state == UP_SET_ABORTED ? "begin a new one" : "tell what it cost when it is committed");
}

static int note_check(struct change *c)
{
	struct note *op = note_of(c);
	struct set_notes after = op->s->notes;
	int err = state_check(op->s, op->which, &c->fault);

	merge(&after, &op->notes, op->which);
	return err ? err : same(&after, &op->s->notes);
}

static int note_build(struct change *c, struct store_txn *t)
{
	struct note *op = note_of(c);
	struct set_record r;

	set_record_of(op->s, &r);
	merge(&r.notes, &op->notes, op->which);
	return set_record_put(c->array, t, &r);
}

static unsigned long long ms(uint64_t us)
{
	return (us + 999) / 1000;
}

/* A hold that was long, with the phase that made it so, and where to look. */
static void tell_slow(struct set *s, const char *label)
{
	const struct set_notes *n = &s->notes;
	bool commit = n->commit_us >= n->flush_us && n->commit_us >= n->release_us;
	bool flush = !commit && n->flush_us >= n->release_us;

	array_event_tell(s->array, ARRAY_EVENT_WARNING, "set",
		"copy set %s held its host's I/O for %llu ms, VSS allows 10 s; slowest: %s, %llu ms: look at %s",
		label, ms(set_notes_held_us(n)),
		commit  ? "CommitSnapshots"
		: flush ? "flush and hold"
			: "release",
		ms(commit       ? n->commit_us
			: flush ? n->flush_us
				: n->release_us),
		commit ? "the array and the paths to it" : "the host's load");
}

static void note_tell(struct set *s, unsigned which)
{
	const struct set_notes *n = &s->notes;
	char label[ARRAY_NAME_MAX_BYTES + 1];

	set_label(s, label);
	if (which & SET_NOTE_LABEL)
		array_event_tell(s->array, ARRAY_EVENT_INFO, "set", "copy set %s %s%s", label,
			n->label[0] ? "is labelled " : "has no label any more", n->label);
	if (which & SET_NOTE_COST)
		array_event_tell(s->array, ARRAY_EVENT_INFO, "set",
			"copy set %s: writers %s, applications frozen %llu ms, I/O held %llu ms (flush %llu, "
			"CommitSnapshots %llu, release %llu)%s%s",
			label, up_writers_name(n->writers), ms(n->frozen_us), ms(set_notes_held_us(n)),
			ms(n->flush_us), ms(n->commit_us), ms(n->release_us), n->label[0] ? ", label " : "",
			n->label);
	if ((which & SET_NOTE_COST) && set_notes_held_us(n) > UP_HOLD_SLOW_US)
		tell_slow(s, label);
	if (which & SET_NOTE_IMPORT)
		array_event_tell(s->array, ARRAY_EVENT_INFO, "set",
			"copy set %s was imported: its disks were there after %llu ms", label,
			ms(n->import_us));
}

static void note_end(struct change *c, int err)
{
	struct note *op = note_of(c);
	struct set_notes after = op->s->notes;

	merge(&after, &op->notes, op->which);
	if (err || same(&after, &op->s->notes))
		return;
	op->s->notes = after;
	note_tell(op->s, op->which);
}

static void note_clear(struct change *c)
{
	if (c->array)
		set_release(note_of(c)->s);
}

void set_without_vss(struct set *s, const char *label)
{
	assert(s->state == UP_SET_PREPARING && !s->arming && up_label_valid(label));
	snprintf(s->notes.label, sizeof(s->notes.label), "%s", label);
	s->notes.writers = UP_WRITERS_NO_VSS;
}

void set_note(struct array *a, const uint8_t set_id[UP_ID_BYTES], const char *owner,
	const struct set_notes *notes, unsigned which, struct array_call *call)
{
	static const struct change_ops ops = {
		.check = note_check, .build = note_build, .end = note_end, .clear = note_clear};
	struct set *s = set_find(a, set_id, owner);
	struct fault fault;
	struct note *op;
	int err = notes_check(notes, which, &fault);

	if (!err && !s)
		err = fault_set(&fault, -ENOENT,
			"there is no such copy set: it was aborted, or its last copy is gone");
	if (!err)
		err = state_check(s, which, &fault);
	if (err < 0) {
		array_call_end(call, err, &fault);
		return;
	}
	if (owner)
		set_lease_renew(s);
	if (err) {
		merge(&s->notes, notes, which);
		array_call_end(call, 0, NULL);
		return;
	}
	op = change_new(a, sizeof(*op), &ops, call);
	if (!op)
		return;
	op->s = s;
	op->notes = *notes;
	op->which = which;
	set_hold(s);
	change_submit(&op->c);
}
