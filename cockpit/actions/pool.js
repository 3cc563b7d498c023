// SPDX-License-Identifier: Apache-2.0
// What can be done with pools: umbrad's own, over its socket; and by umbractl those that no umbrad has open, and those of Ceph's.
import { call, umbractlOutcome } from '../lib/array.js';
import { bytes } from '../lib/format.js';
import { absolute, size } from '../lib/parse.js';

const PATH = { name: 'path', label: 'Pool’s directory', type: 'text', required: true, hint: 'an absolute path on this machine' };
const DEVICE = { name: 'data_device', label: 'Data device', type: 'text', covers: ['data-device'],
    hint: 'if the pool’s data is on one' };
const OPTIONS = { data_device: '--data-device', capacity: '--capacity', log: '--log', checksums: '--checksums', from: '--from',
    namespace: '--namespace', client: '--client', conf: '--conf', array: '--array' };
const FLAGS = { repair: '--repair', data: '--data', map: '--map', salvage: '--salvage', dry_run: '--dry-run', keep_ids: '--keep-ids' };

/** umbractl with what the form says; its words are the result. */
function run(words, values) {
    const line = [...words];
    for (const [member, option] of Object.entries(OPTIONS)) {
        if (values[member])
            line.push(option, String(values[member]));
    }
    for (const [member, option] of Object.entries(FLAGS)) {
        if (values[member])
            line.push(option);
    }
    return umbractlOutcome(line);
}

const offline = verb => values => run(['pool', verb, absolute(values.path)], values);

const IN_CEPH = [
    { name: 'pool', label: 'Pool in Ceph', type: 'text', required: true },
    { name: 'namespace', label: 'Namespace', type: 'text', covers: ['namespace'], hint: 'in that pool; empty: none' },
    { name: 'client', label: 'Ceph user', type: 'text', covers: ['client'], hint: 'without “client.”; empty: admin' },
    { name: 'conf', label: 'Configuration of the cluster', type: 'text', covers: ['conf'], hint: 'empty: /etc/ceph/ceph.conf' },
    { name: 'array', label: 'Name of the array', type: 'text', covers: ['array'], hint: 'in that pool, which may have several; empty: default' },
];

export const poolActions = {
    'pool-create': {
        title: 'Create a pool', submit: 'Create',
        intro: 'Makes an empty pool in a directory (made when it is not there). umbrad is not needed; its configuration then names the pool.',
        fields: () => [
            PATH, { ...DEVICE, hint: 'a block device (or file) for the data, instead of files beside the metadata' },
            { name: 'capacity', label: 'Capacity', type: 'size', covers: ['capacity'],
                hint: 'use at most this much for data; empty: what the file system has' },
            { name: 'log', label: 'Size of the intent log', type: 'size', covers: ['log'], hint: 'empty: 64M' },
            { name: 'checksums', label: 'Checksums', type: 'choice', covers: ['checksums'], value: 'off',
                options: [{ value: 'off', label: 'off' }, { value: 'on', label: 'on: of each 4 KiB block of the data' }] },
        ],
        run: offline('create'),
    },
    'rbd-create': {
        title: 'Create an array in Ceph', submit: 'Create',
        intro: 'Makes an empty array in a pool of a Ceph cluster, which rbd pool init has prepared. Needs the package umbra-rbd; umbrad is not ' +
            'needed, and its configuration then names the array.',
        fields: () => IN_CEPH,
        run: values => run(['rbd', 'create', values.pool], values),
    },
    'rbd-destroy': {
        title: 'Delete an array in Ceph', submit: 'Delete', danger: true,
        intro: 'Deletes all LUNs and copies of an array in Ceph, with their data, and its records. Nothing brings them back. No umbrad may own ' +
            'it, and no copy set may be locked. Stopped meanwhile it leaves the array whole, or empty, and goes on when it is done again.',
        confirm: (subject, values) => values.array || 'default',
        confirmLabel: 'Type the name of the array',
        fields: () => IN_CEPH,
        run: values => run(['rbd', 'destroy', values.pool, '--yes'], values),
    },
    'rbd-reidentify': {
        title: 'Give an array in Ceph a new identity', submit: 'Change', danger: true,
        intro: 'For an array whose Ceph pool was copied, to another cluster say: it, its LUNs and copy sets get ids of their own. Data and ' +
            'copies stay; persistent reservations go. Hosts find new disks, and VSS knows the copies no more. No umbrad may own it.',
        confirm: (subject, values) => (values.dry_run ? '' : values.array || 'default'),
        confirmLabel: 'Type the name of the array',
        fields: () => [
            ...IN_CEPH,
            { name: 'dry_run', label: 'Only show what would get another id', type: 'flag', covers: ['dry-run'] },
            { name: 'keep_ids', label: 'Keep the ids: the array that this one is a copy of is gone for good', type: 'flag', covers: ['keep-ids'] },
        ],
        run: values => run(['rbd', 'reidentify', values.pool, '--yes'], values),
    },
    'pool-check': {
        title: 'Check a pool', submit: 'Check',
        intro: 'Verifies a pool that no umbrad has open, and prints what is wrong with it.',
        fields: () => [
            PATH, DEVICE,
            { name: 'data', label: 'Also read all data and compare it with its checksums', type: 'flag', covers: ['data'] },
            { name: 'repair', label: 'Mend what can be mended (copy the pool first)', type: 'flag', covers: ['repair'] },
        ],
        confirm: (subject, values) => (values.repair ? values.path : ''),
        confirmLabel: 'To mend, type the pool’s directory again',
        run: offline('check'),
    },
    'pool-dump': {
        title: 'Dump a pool', submit: 'Dump',
        intro: 'Prints what a pool holds as the next start would find it, for diagnosis. Changes nothing; no umbrad must have it open.',
        fields: () => [PATH, { name: 'map', label: 'Every entry of the map', type: 'flag', covers: ['map'] }],
        run: offline('dump'),
    },
    'pool-restore': {
        title: 'Restore a pool’s metadata', submit: 'Restore', danger: true,
        intro: 'Puts metadata from a mirror or a backup in the place of what is lost or damaged in a pool that no umbrad has open. What ' +
            'was there is set aside, not deleted.',
        confirm: (subject, values) => values.path || '',
        confirmLabel: 'Type the pool’s directory again',
        fields: () => [
            PATH, { name: 'from', label: 'From', type: 'text', required: true, covers: ['from'],
                hint: 'the mirror (meta_mirror) or a backup (pool backup)' },
            DEVICE,
            { name: 'salvage', label: 'Restore what is older than the data, too; the pool is then for reading only, and data may be ' +
                'another LUN’s', type: 'flag', covers: ['salvage'] },
        ],
        run: offline('restore'),
    },
    'pool-checksums': {
        title: 'Checksums on or off', submit: 'Change', danger: true,
        intro: 'Keeps checksums of the data of a pool from now on, or no more; no umbrad must have it open. Versions of Umbra without ' +
            'checksums do not open a pool that has them.',
        fields: () => [
            PATH, { name: 'word', label: 'Checksums', type: 'choice', required: true,
                options: [{ value: 'on', label: 'on' }, { value: 'off', label: 'off' }] },
        ],
        run: ({ path, word }) => run(['pool', 'checksums', absolute(path), word], {}),
    },
    'pool-upgrade': {
        title: 'Upgrade a pool', submit: 'Upgrade', danger: true,
        intro: 'Gives a pool that an earlier version of Umbra made what pools have that are made now; no umbrad must have it open. It is ' +
            'checked before. Versions without these do not open it any more.',
        fields: () => [PATH, DEVICE],
        run: offline('upgrade'),
    },
    'pool-reidentify': {
        title: 'Give an array a new identity', submit: 'Change', danger: true,
        intro: 'For an array whose machine or disks were copied: it, its LUNs and copy sets get ids of their own, so that both may be on one ' +
            'network. Data and copies stay; persistent reservations go. Hosts find new disks, and VSS knows the copies no more. No umbrad ' +
            'must have it open.',
        confirm: (subject, values) => (values.dry_run ? '' : values.path || ''),
        confirmLabel: 'Type the pool’s directory again',
        fields: () => [
            PATH, DEVICE,
            { name: 'dry_run', label: 'Only show what would get another id', type: 'flag', covers: ['dry-run'] },
        ],
        run: values => run(['pool', 'reidentify', absolute(values.path), '--yes'], values),
    },
    'pool-grow': {
        title: 'Make the pool larger', submit: 'Grow',
        intro: 'After its file system or data device was enlarged. A pool cannot become smaller.',
        fields: () => [
            { name: 'path', label: 'Pool’s directory', type: 'text', hint: 'empty: umbrad’s pool while it runs' },
            { ...DEVICE, hint: 'with a directory: where the pool’s data is, if not in it' },
            { name: 'capacity', label: 'New capacity', type: 'size', covers: ['capacity'],
                hint: 'empty: all that the file system or the device has' },
        ],
        run: async values => {
            if (values.path)
                return run(['pool', 'grow', absolute(values.path)], values);
            const result = await call('pool.grow', { capacity_bytes: values.capacity || 0 });
            return { result, message: `${result.path} has a capacity of ${bytes(result.capacity_bytes)}` };
        },
    },
    'pool-backup': {
        title: 'Back up the metadata', submit: 'Back up',
        intro: 'Copies what finds the data again to a new directory, by umbrad while it runs. It is no copy of the data, and restores the ' +
            'pool only together with its log.',
        fields: () => [{ ...PATH, label: 'New directory' }],
        run: async ({ path }) => {
            const result = await call('pool.backup', { path: absolute(path) });
            return { result, message: `The pool’s metadata is in ${result.path}` };
        },
    },
    'scrub-start': {
        title: 'Start a scrub', submit: 'Start',
        intro: 'Reads all data in the background and compares it with its checksums. Each damaged block is an event. One that was stopped ' +
            'goes on where it was; while one runs its rate is changed.',
        fields: () => [{ name: 'rate', label: 'Bytes a second', type: 'text', value: '64M', required: true, covers: ['rate'],
            hint: '0: as fast as it goes' }],
        run: async ({ rate }) => ({
            result: await call('pool.scrub_start', { bytes_per_s: rate === '0' ? 0 : size(rate) }), message: 'The scrub runs',
        }),
    },
    'scrub-stop': {
        title: 'Stop the scrub', submit: 'Stop',
        intro: 'The next start goes on where it is.',
        fields: () => [],
        run: async () => ({ result: await call('pool.scrub_stop', {}), message: 'The scrub is stopped' }),
    },
};
