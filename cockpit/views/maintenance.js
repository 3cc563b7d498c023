// SPDX-License-Identifier: Apache-2.0
// The pool and the array as a whole: scrub, growth, backup, one file that describes the array; and what umbractl does on
// pools that no umbrad has open, which works while umbrad does not answer.
import { h } from '../lib/dom.js';
import * as format from '../lib/format.js';
import { card, facts, toolbar } from '../ui/table.js';

function scrubFacts(scrub) {
    return facts([
        ['State', `${scrub.state}, ${scrub.percent} %`], ['Read', format.bytes(scrub.read_bytes)],
        ['Damaged', `${scrub.damaged} blocks`], ['Unreadable', `${scrub.unreadable} places`],
        ['Rate', scrub.rate ? format.rate(scrub.rate) : 'all'],
    ]);
}

export const maintenance = {
    title: 'Maintenance',
    offline: true,
    needs: () => ['status', 'scrub'],
    ready: data => data.error || (data.status && data.scrub),
    render: ({ data, run }) => [
        h('div', { class: 'bar' }, h('h2', {}, 'Maintenance')),
        h('div', { class: 'cards' },
            data.error ? null : card('Scrub', data.scrub.checksums ? scrubFacts(data.scrub)
                : h('p', {}, 'The pool keeps no checksums of its data: there is nothing that a scrub could compare with.'),
            toolbar(run, 'Scrub', [['scrub-start', 'Start'], ['scrub-stop', 'Stop']])),
            card('The pool', h('p', {}, 'More room, and a copy of what finds the data again.'),
                toolbar(run, 'Pool', [['pool-grow', 'Make larger'], !data.error && ['pool-backup', 'Back up the metadata']])),
            data.error ? null : card('The array', h('p', {}, 'One file that describes LUNs, hosts, mappings and policies; what monitoring reads.'),
                toolbar(run, 'Array', [['config-export', 'Show the description'], ['apply', 'Apply a description'], ['metrics', 'Show the metrics']])),
            card('This machine', h('p', {}, 'An array where there is none yet; and what tells others what is wrong.'),
                toolbar(run, 'Machine', [['setup', 'Set up an array'], ['support', 'Write what support needs']])),
            card('Pools that no umbrad has open', h('p', {}, 'By umbractl on this machine, with administrative access.'),
                toolbar(run, 'Pools', [['pool-create', 'Create'], ['pool-check', 'Check'], ['pool-dump', 'Dump'], ['pool-restore', 'Restore metadata'],
                    ['pool-checksums', 'Checksums on or off'],
                    ['pool-upgrade', 'Upgrade'], ['pool-reidentify', 'New identity'], ['rbd-create', 'Create in Ceph'], ['rbd-reidentify', 'New identity in Ceph'],
                    ['rbd-destroy', 'Delete in Ceph']]))),
    ],
};
