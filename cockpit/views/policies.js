// SPDX-License-Identifier: Apache-2.0
// Policies; and one policy with its preview: what becomes of each copy set, and why.
import { list } from '../lib/array.js';
import { h } from '../lib/dom.js';
import * as format from '../lib/format.js';
import { card, facts, link, table, toolbar } from '../ui/table.js';

const everyOf = policy => (policy.every_ms ? `${format.duration(policy.every_ms)}${policy.at ? ` at ${policy.at}` : ''}` : 'only deletes');

export const policies = {
    title: 'Policies',
    needs: () => ['policies', 'luns'],
    ready: data => data.policies && data.luns,
    render: ({ data, run, redraw }) => [
        h('div', { class: 'bar' }, h('h2', {}, 'Policies'), toolbar(run, 'Policies', [['policy-create', 'Create policy']])),
        table({ caption: 'All policies', rows: data.policies, key: policy => policy.name, redraw, empty: 'There is no policy: nothing is copied or deleted by itself.', columns: [
            { heading: 'Name', cell: policy => link(['policies', policy.name], policy.name) },
            { heading: 'Every', cell: everyOf },
            { heading: 'Keeps', cell: policy => policy.keep || 'everything' },
            { heading: 'Label', cell: policy => policy.label },
            { heading: 'Lock', cell: policy => format.duration(policy.lock_ms) },
            { heading: 'Last', whole: true, cell: policy => format.time(policy.last_unix_ms) },
            { heading: 'Next', whole: true, cell: policy => format.time(policy.next_unix_ms) },
        ] }),
    ],
};

let preview = null;

async function fetchPreview(name) {
    const sets = await list('policy.preview', 'sets', { policy: name }).catch(error => (error.lost ? Promise.reject(error) : []));
    preview = { name, sets };
}

function previewTable(redraw) {
    const deleted = preview.sets.filter(set => set.verdict === 'deletes').length;
    return [
        h('p', {}, `${preview.sets.length} copy sets under its label: ${preview.sets.length - deleted} stay, ${deleted} will be deleted.`),
        table({ caption: 'Preview', rows: preview.sets, key: set => set.id, redraw, empty: 'There is no copy set under its label.', columns: [
            { heading: 'Copy set', cell: set => link(['sets', set.id], set.name || set.id) },
            { heading: 'Cut', whole: true, cell: set => format.time(set.cut_unix_ms) },
            { heading: 'Verdict', cell: set => h('span', { class: `verdict ${set.verdict.replace(' ', '-')}` }, set.verdict) },
            { heading: 'Rules', cell: set => set.rules.join(', ') || '-' },
            { heading: 'Locked until', whole: true, cell: set => format.time(set.locked_until_unix_ms) },
            { heading: 'Owner', cell: set => set.owner || 'administrator' },
        ] }),
    ];
}

export const policy = {
    title: 'Policies',
    needs: () => ['policies', 'luns'],
    fetch: path => fetchPreview(path[1]),
    ready: (data, path) => data.policies && preview && preview.name === path[1],
    render: ({ data, path, run, redraw }) => {
        const found = data.policies.find(entry => entry.name === path[1]);
        if (!found)
            return [h('h2', {}, 'Policy'), h('p', { class: 'empty' }, `There is no policy ${path[1]}.`), h('p', {}, link(['policies'], 'All policies'))];
        return [
            h('p', {}, link(['policies'], 'All policies')),
            h('div', { class: 'bar' }, h('h2', {}, found.name), toolbar(run, `Actions for ${found.name}`,
                [['policy-set', 'Change', found], ['policy-delete', 'Delete', found]])),
            h('div', { class: 'cards' }, card('Policy', facts([
                ['LUNs', found.luns.map(entry => entry.name).join(', ')], ['Every', everyOf(found)], ['Keeps', found.keep || 'everything'],
                ['Label', found.label], ['Deletes copies of hosts', format.yes(found.hosts)], ['Locks for', format.duration(found.lock_ms)],
                ['Last', format.time(found.last_unix_ms)], ['Next', format.time(found.next_unix_ms)],
            ])), h('section', { class: 'card wide' }, previewTable(redraw))),
        ];
    },
};
