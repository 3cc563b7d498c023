/* SPDX-License-Identifier: Apache-2.0 */
/*
 * docs/provider-states.md is written by this program from the state machine itself (provider/copyset.c): every state
 * that any sequence of calls can reach is found by trying them all, and every call is made in each.
 *
 * states_table --write FILE   writes it ("ninja -C build/linux provider-states")
 * states_table --check FILE   ends with 1 when FILE says anything else
 */
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "provider/copyset.h"

static const uint8_t current_set[CS_ID_BYTES] = {0xA}, other_set[CS_ID_BYTES] = {0xB};

static char text[32768];
static size_t used;

__attribute__((format(printf, 1, 2))) static void put(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	used += (size_t)vsnprintf(text + used, sizeof(text) - used, format, args);
	va_end(args);
	if (used >= sizeof(text))
		abort();
}

/* ---- the states, kept or not ---- */

static struct cs_machine reached[CS_STATE_COUNT][2];
static bool is_reached[CS_STATE_COUNT][2];

static bool names_a_set(enum cs_call c)
{
	return c != CS_CALL_GET_TARGETS && c != CS_CALL_UNLOAD && c != CS_CALL_UNLOAD_FORCE;
}

static struct cs_step make_call(struct cs_machine *m, enum cs_call c, const uint8_t *set)
{
	return cs_call(m, c, names_a_set(c) ? set : NULL);
}

/* That can fail. To tell the arrays what a set cost cannot. */
static bool has_work(struct cs_step step)
{
	return (step.actions & ~(CS_DO_END | CS_DO_TELL)) != 0;
}

static void explore(struct cs_machine m)
{
	unsigned actions;

	if (is_reached[m.state][m.kept])
		return;
	is_reached[m.state][m.kept] = true;
	reached[m.state][m.kept] = m;
	for (enum cs_call c = 0; c < CS_CALL_COUNT; c++) {
		struct cs_machine next = m;
		struct cs_step step = make_call(&next, c, current_set);
		explore(next);
		if (!has_work(step))
			continue;
		for (int failed = 0; failed < 2; failed++) {
			struct cs_machine done = next;
			if (c == CS_CALL_GET_TARGETS && !failed)
				cs_kept(&done, step.epoch);
			(void)cs_done(&done, c, step.epoch, failed ? CS_VETO : CS_OK, &actions);
			explore(done);
		}
	}
}

/* ---- the page ---- */

static const char *end_name(unsigned actions)
{
	return actions & CS_DO_UNDO ? "undone, " : actions & CS_DO_WITHDRAW ? "withdrawn, " : "";
}

static void put_cell(const struct cs_machine *before, enum cs_call c, const uint8_t *set)
{
	struct cs_machine m = *before;
	struct cs_step step = make_call(&m, c, set);
	unsigned actions;

	if (step.result == CS_BAD_STATE) {
		put(" – |");
	} else if (step.result != CS_OK) {
		put(" %s |", cs_result_name(step.result));
	} else {
		if (has_work(step))
			(void)cs_done(&m, c, step.epoch, CS_OK, &actions);
		bool same = m.state == before->state && !(step.actions & (CS_DO_END | CS_DO_NEW));
		put(" %s%s |", end_name(step.actions), same ? "stays" : cs_state_name(m.state));
	}
}

/* With another set's id, the calls between the first and the last of a set all answer the same. */
static bool in_table(const uint8_t *set, enum cs_call c)
{
	return set == current_set || c == CS_CALL_BEGIN_PREPARE || c == CS_CALL_ABORT;
}

static void check_unknown(const struct cs_machine *before, enum cs_call c)
{
	struct cs_machine m = *before;

	if (names_a_set(c) && make_call(&m, c, other_set).result != CS_NOT_FOUND) {
		fprintf(stderr, "%s with another set's id does not answer %s.\n", cs_call_name(c),
			cs_result_name(CS_NOT_FOUND));
		exit(1);
	}
}

static void put_row(const struct cs_machine *m, const uint8_t *set)
{
	put("| %s%s |", cs_state_name(m->state), m->kept ? ", kept" : "");
	for (enum cs_call c = 0; c < CS_CALL_COUNT; c++) {
		if (in_table(set, c))
			put_cell(m, c, set);
		else
			check_unknown(m, c);
	}
	put("\n");
}

static void put_table(const uint8_t *set)
{
	put("| state |");
	for (enum cs_call c = 0; c < CS_CALL_COUNT; c++)
		if (in_table(set, c))
			put(" %s |", cs_call_name(c));
	put("\n|---|");
	for (enum cs_call c = 0; c < CS_CALL_COUNT; c++)
		if (in_table(set, c))
			put("---|");
	put("\n");
	for (enum cs_state s = 0; s < CS_STATE_COUNT; s++)
		for (int kept = 0; kept < 2; kept++)
			if (is_reached[s][kept])
				put_row(&reached[s][kept], set);
	put("\n");
}

static void put_failures(void)
{
	put("| state | call | next state | on the arrays |\n|---|---|---|---|\n");
	for (enum cs_state s = 0; s < CS_STATE_COUNT; s++) {
		for (enum cs_call c = 0; c < CS_CALL_COUNT; c++) {
			struct cs_machine m = reached[s][0];
			unsigned actions = 0;
			if (!is_reached[s][0])
				continue;
			struct cs_step step = make_call(&m, c, current_set);
			if (!has_work(step))
				continue;
			(void)cs_done(&m, c, step.epoch, CS_VETO, &actions);
			put("| %s | %s | %s | %s |\n", cs_state_name(s), cs_call_name(c),
				cs_state_name(m.state),
				actions & CS_DO_UNDO ? "the set is undone" : "the rest of the set stays");
		}
	}
	put("\n");
}

static void put_page(void)
{
	put("<!-- Written by tests/unit/provider/states_table.c from provider/copyset.c: ninja -C build/linux "
	    "provider-states -->\n"
	    "# States of the VSS provider\n\n"
	    "One provider object has at most one shadow copy set that is not finished. What each call of VSS does in "
	    "each state\nof it, and the state that follows when its work ends well. The page is "
	    "written from the code itself.\n\n"
	    "- `–`: VSS_E_BAD_STATE; nothing happens. Names of other codes: the call answers that.\n"
	    "- *undone*: the arrays are told to abort the set; none of its copies is left.\n"
	    "- *kept*: GetTargetLuns has handed out the set's last identity and the arrays keep it. Such a set is "
	    "never undone.\n"
	    "- *withdrawn*: VSS gave a kept set up before its end. Those of its copies that no host sees are deleted, "
	    "the others\n  stay, with an event.\n"
	    "- States that end in *-ing* last while a call does its work; others can come in between.\n\n"
	    "## Calls that name the current set, or none\n\n");
	put_table(current_set);
	put("## Calls that name another set\n\n"
	    "VSS does not say when a set is dropped before DoSnapshotSet: BeginPrepareSnapshot with a new id says it.\n"
	    "The other calls answer VSS_E_OBJECT_NOT_FOUND.\n\n");
	put_table(other_set);
	put("## When the work of a call fails\n\n"
	    "The call answers the code of the failure; a veto has its event. An abort, a new set or an unload that "
	    "comes in while\nthe work is under way wins: the call then answers VSS_E_BAD_STATE, and what it had done "
	    "is undone.\n\n");
	put_failures();
	put("## The other methods\n\n"
	    "AreLunsSupported, FillInLunInfo, LocateLuns, OnLunEmpty, OnLunStateChange, ResyncLuns, OnLoad and the "
	    "reserved\nGetProviderCapabilities and OnReuseLuns depend on no set: they do the same in every state and "
	    "change none.\nOnUnload also answers S_FALSE, unless it is forced, while a resync runs that ResyncLuns "
	    "started.\n");
}

int main(int argc, char **argv)
{
	static char found[sizeof(text) + 1];
	struct cs_machine m;

	if (argc != 3 || (strcmp(argv[1], "--write") && strcmp(argv[1], "--check"))) {
		fputs("Usage: states_table --write FILE | --check FILE\n", stderr);
		return 2;
	}
	cs_init(&m);
	explore(m);
	put_page();
	bool write = !strcmp(argv[1], "--write");
	FILE *f = fopen(argv[2], write ? "w" : "r");
	if (!f) {
		perror(argv[2]);
		return 1;
	}
	if (write)
		return fwrite(text, 1, used, f) != used || fclose(f) != 0;
	size_t len = fread(found, 1, sizeof(found), f);
	fclose(f);
	for (enum cs_state s = 0; s < CS_STATE_COUNT; s++) {
		if (!is_reached[s][0] && !is_reached[s][1]) {
			fprintf(stderr, "No sequence of calls leads to the state \"%s\".\n",
				cs_state_name(s));
			return 1;
		}
	}
	if (len != used || memcmp(found, text, used) != 0) {
		fprintf(stderr,
			"%s is not what provider/copyset.c does: ninja -C build/linux provider-states\n",
			argv[2]);
		return 1;
	}
	return 0;
}
