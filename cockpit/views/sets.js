// SPDX-License-Identifier: Apache-2.0
// Copy sets, each as a timeline of its phases; and one set.
import { call } from '../lib/array.js';
import { h } from '../lib/dom.js';
import * as format from '../lib/format.js';
import { card, facts, filterBox, link, passes, table, toolbar } from '../ui/table.js';
import { life, strip, timeline } from '../ui/timeline.js';

const CAPTION = 'All copy sets';
const writersOf = set => (set.consistency === 'not told' ? set.writers : `${set.writers}: ${set.consistency}-consistent`);

function allBox(data, refresh) {
    return h('p', { class: 'filter' }, h('input', { type: 'checkbox', id: 'all-sets', checked: data.allSets,
        onchange: event => { data.allSets = event.target.checked; refresh(); } }),
    h('label', { for: 'all-sets' }, 'Aborted ones too, while they are remembered'));
}

export const sets = {
    title: 'Copy sets',
    needs: () => ['sets', 'luns'],
    ready: data => data.sets && data.luns,
    render: ({ data, run, redraw, refresh }) => [
        h('div', { class: 'bar' }, h('h2', {}, 'Copy sets'), filterBox(CAPTION, 'Name, label or owner', redraw), allBox(data, refresh),
            toolbar(run, 'Copy sets', [['set-create', 'Take copies']])),
        table({ caption: CAPTION, redraw, key: set => set.id, empty: 'There is no copy set.',
            rows: [...data.sets].reverse().filter(set => passes(CAPTION, set.name, set.label, set.owner, set.id)), columns: [
                { heading: 'Name', cell: set => link(['sets', set.id], set.name || set.id) },
                { heading: 'Timeline', cell: set => strip(set) },
                { heading: 'Frozen', right: true, cell: set => (set.frozen_us === null ? '-' : format.microseconds(set.frozen_us)) },
                { heading: 'I/O held', right: true, cell: set => (set.held_us === null ? '-' : format.microseconds(set.held_us)) },
                { heading: 'Window', right: true, cell: set => format.nanoseconds(set.window_ns) },
                { heading: 'State', cell: set => set.state },
                { heading: 'Cut', whole: true, cell: set => format.time(set.cut_unix_ms) },
                { heading: 'Locked until', whole: true, cell: set => format.time(set.locked_until_unix_ms) },
                { heading: 'Writers', whole: true, cell: writersOf },
                { heading: 'Label', cell: set => set.label },
                { heading: 'Owner', cell: set => set.owner || 'administrator' },
            ] }),
    ],
};

let shown = null;

async function fetchSet(id) {
    const found = await call('set.show', { set: id }).catch(error => (error.lost ? Promise.reject(error) : { missing: error.message }));
    shown = { ...found, asked: id };
}

function members(set) {
    return table({ caption: 'Its LUNs', rows: set.members, key: member => member.shadow_id, empty: 'It has no LUN.', columns: [
        { heading: 'LUN', cell: member => link(['luns', member.lun_id], member.lun || member.lun_id) },
        { heading: 'Copy', cell: member => (member.shadow_state === 'present' ? link(['luns', member.shadow_id], member.shadow) : member.shadow) },
        { heading: 'State', cell: member => member.shadow_state },
        { heading: 'Kind', cell: member => member.copy },
        { heading: 'Size', right: true, cell: member => format.bytes(member.size_bytes) },
    ] });
}

export const set = {
    title: 'Copy sets',
    needs: () => ['luns'],
    fetch: path => fetchSet(path[1]),
    ready: (data, path) => data.luns && shown && shown.asked === path[1],
    render: ({ run }) => {
        if (shown.missing)
            return [h('h2', {}, 'Copy set'), h('p', { class: 'empty' }, shown.missing), h('p', {}, link(['sets'], 'All copy sets'))];
        const locked = shown.lock_left_ms > 0;
        return [
            h('p', {}, link(['sets'], 'All copy sets')),
            h('div', { class: 'bar' }, h('h2', {}, shown.name || shown.id), toolbar(run, `Actions for ${shown.name}`, [
                shown.state === 'kept' && ['set-lock', locked ? 'Lock for longer' : 'Lock', shown],
                shown.state === 'kept' ? ['set-delete', 'Delete', shown] : shown.state !== 'aborted' && ['set-abort', 'Undo', shown]])),
            card('Timeline', life(shown), timeline(shown)),
            h('div', { class: 'cards' }, card('Facts', facts([
                ['Id', shown.id], ['Owner', shown.owner || 'administrator'], ['State', shown.state], ['Label', shown.label],
                ['Cut', format.time(shown.cut_unix_ms)], ['Durable after', format.nanoseconds(shown.durable_ns)],
                ['Writers', writersOf(shown)], ['Auto-recovery', shown.auto_recovery],
                shown.lease_left_ms > 0 && ['Its lease ends in', format.duration(shown.lease_left_ms)],
                ['Locked', locked ? `until ${format.time(shown.locked_until_unix_ms)}, and for ${format.duration(shown.lock_left_ms)} of umbrad’s running time` : 'no'],
            ])), h('section', { class: 'card' }, members(shown))),
        ];
    },
};
