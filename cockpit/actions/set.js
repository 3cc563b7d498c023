// SPDX-License-Identifier: Apache-2.0
// What can be done with copy sets.
import { call } from '../lib/array.js';
import { time } from '../lib/format.js';
import { Wrong } from '../lib/parse.js';
import { lunIdChoices } from './choices.js';

export const KINDS = [
    { value: '', label: 'as the configuration says (copy_kind)' },
    { value: 'differential', label: 'differential: shares what the originals do not change' },
    { value: 'plex', label: 'plex: a full copy, made independent in the background' },
];

export const setActions = {
    'set-create': {
        title: 'Take copies', submit: 'Take',
        intro: 'Copies of the LUNs at one instant: crash-consistent, without VSS.',
        fields: (data, lun) => [
            { name: 'name', label: 'Name', type: 'text', required: true },
            { name: 'luns', label: 'LUNs', type: 'many', required: true, options: lunIdChoices(data), value: lun ? [lun.id] : [] },
            { name: 'label', label: 'Label', type: 'text', covers: ['label'], hint: 'by which policies and people find the set' },
            { name: 'kind', label: 'Kind', type: 'choice', options: KINDS, covers: ['plex', 'differential'] },
            { name: 'lock', label: 'Lock it at once for', type: 'duration', covers: ['lock'],
                hint: 'as in 12h, 14d: nobody can delete it before; empty: not locked' },
            { name: 'unkept', label: 'Leave it unkept: the array undoes it when its lease ends', type: 'flag', covers: ['no-keep'] },
        ],
        run: async ({ name, luns, label, kind, lock, unkept }) => {
            const params = { name, luns, keep: !unkept };
            if (label)
                params.label = label;
            if (kind)
                params.kind = kind;
            if (lock)
                params.lock_ms = lock;
            const result = await call('set.create', params);
            return { result, message: `Copy set ${name} taken`, go: ['sets', result.id] };
        },
    },
    'set-lock': {
        title: 'Lock', submit: 'Lock', danger: true,
        intro: 'Until then nobody, no host and no administrator, can delete its shadow LUNs, break them or write to them. A lock ' +
            'can be made longer, never shorter, and there is no way to end one.',
        confirm: set => set.name || set.id,
        fields: () => [
            { name: 'for', label: 'For', type: 'duration', covers: ['for'], hint: 'from now on: 90min, 12h, 14d, 8w, 7y' },
            { name: 'until', label: 'Or until', type: 'date', covers: ['until'],
                hint: '2027-01-31, 2027-01-31 18:00 (local time) or 2027-01-31T18:00:00Z' },
        ],
        run: async ({ for: length, until }, set) => {
            if (!length === !until)
                throw new Wrong('Give one of the two, as in 14d.');
            const result = await call('set.lock', length ? { set: set.id, for_ms: length } : { set: set.id, until_unix_ms: until });
            return { result, message: `Set ${set.name} is locked until ${time(result.locked_until_unix_ms)}` };
        },
    },
    'set-delete': {
        title: 'Delete set', submit: 'Delete', danger: true,
        intro: 'The set and its shadow LUNs are deleted. None of them may be mapped.',
        confirm: set => set.name || set.id,
        fields: () => [],
        run: async (values, set) => ({
            result: await call('set.delete', { set: set.id }), message: `Set ${set.name} and its shadow LUNs deleted`, go: ['sets'],
        }),
    },
    'set-abort': {
        title: 'Undo set', submit: 'Undo', danger: true,
        intro: 'Undoes a set that is not kept yet, whoever began it: a backup that is under way fails.',
        confirm: set => set.name || set.id,
        fields: () => [],
        run: async (values, set) => ({
            result: await call('set.abort', { set: set.id }), message: `Set ${set.name} undone`, go: ['sets'],
        }),
    },
};
