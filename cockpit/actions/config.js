// SPDX-License-Identifier: Apache-2.0
// The array as a whole, by umbractl: setting it up, one file that describes it, metrics, what support needs. Secrets are in
// files that the description names, on this machine.
import { umbractlOutcome } from '../lib/array.js';
import { Wrong, absolute } from '../lib/parse.js';
import { settings } from '../settings.js';

export const PRUNE_WORD = 'prune';

function checkText(file) {
    try {
        JSON.parse(file);
    } catch (error) {
        throw new Wrong(`This is no JSON: ${error.message}`);
    }
}

export const configActions = {
    'setup': {
        title: 'Set up an array', submit: 'Set up', covers: ['yes', 'config'],
        intro: 'Makes this machine an array that runs: makes the pool, writes the configuration, and starts the service. What it has ' +
            'made goes again when a step before the service fails. Refused where there is an array or a pool already.',
        fields: () => [
            { name: 'pool', label: 'Where: the pool’s directory', type: 'text', covers: ['pool'], hint: 'empty: /srv/umbra' },
            { name: 'data_device', label: 'Data device', type: 'text', covers: ['data-device'],
                hint: 'a block device for the data; the pool’s directory has the rest' },
            { name: 'portal', label: 'Address of the storage network', type: 'text', covers: ['portal'],
                hint: 'ADDRESS[:PORT], several with commas; empty: all addresses' },
            { name: 'name', label: 'Name of the array', type: 'text', covers: ['name'], hint: 'empty: this machine’s' },
        ],
        run: async values => {
            const words = ['setup', '--yes', '--config', settings.configuration];
            for (const [member, option] of [['pool', '--pool'], ['data_device', '--data-device'], ['portal', '--portal'], ['name', '--name']]) {
                if (values[member])
                    words.push(option, values[member]);
            }
            return umbractlOutcome(words);
        },
    },
    'support': {
        title: 'Write what support needs', submit: 'Write', covers: ['config'],
        intro: 'Versions, what umbrad answers, its events and counters, the configuration, the service and its log, disks and addresses ' +
            'in one tar file on this machine. No secret is in it; names and addresses are.',
        fields: () => [{ name: 'file', label: 'File', type: 'text', required: true, hint: 'an absolute path that ends with .tar' }],
        run: ({ file }) => umbractlOutcome(['support', absolute(file), '--config', settings.configuration]),
    },
    'apply': {
        title: 'Apply a description', submit: 'Go', danger: true, wide: true,
        intro: 'Makes the array as a file says: LUNs, hosts, mappings and policies. What is there already stays; LUNs only grow. ' +
            'Paths of secrets’ files must be absolute.',
        confirm: (subject, values) => (values.prune && !values.check ? PRUNE_WORD : ''),
        confirmLabel: `What the file does not name is deleted, with its data. Type ${PRUNE_WORD}`,
        fields: () => [
            { name: 'file', label: 'The file', type: 'area', required: true, hint: 'JSON, as umbractl config export prints it' },
            { name: 'check', label: 'Only show what would be done', type: 'flag', value: true, covers: ['check', 'diff'] },
            { name: 'prune', label: 'Also take away what the file does not name, of the kinds that it speaks of', type: 'flag',
                covers: ['prune', 'yes'] },
        ],
        run: async ({ file, check, prune }) => {
            checkText(file);
            const words = ['apply', '-', '--diff'];
            if (check)
                words.push('--check');
            if (prune)
                words.push('--prune');
            if (prune && !check)
                words.push('--yes');
            return umbractlOutcome(words, { input: file });
        },
    },
    'config-export': {
        title: 'Show this array’s description', submit: 'Show', wide: true,
        intro: 'The file by which apply makes an array like this one. No secret is in it.',
        fields: () => [],
        run: () => umbractlOutcome(['config', 'export']),
    },
    'metrics': {
        title: 'Show the metrics', submit: 'Show', wide: true,
        intro: 'Counters and states as Prometheus reads them; umbra-metrics.socket hands them out.',
        fields: () => [],
        run: () => umbractlOutcome(['metrics']),
    },
};
