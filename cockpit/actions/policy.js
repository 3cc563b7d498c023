// SPDX-License-Identifier: Apache-2.0
// What can be done with policies.
import { call } from '../lib/array.js';
import { durationInput } from '../lib/format.js';
import { lunIdChoices } from './choices.js';

const fields = (data, policy) => [
    { name: 'luns', label: 'LUNs', type: 'many', options: lunIdChoices(data), covers: ['luns'],
        value: policy ? policy.luns.map(lun => lun.id) : [], hint: 'what to take copies of, at one instant' },
    { name: 'every', label: 'Every', type: 'duration', covers: ['every'], value: policy ? durationInput(policy.every_ms) : '',
        hint: '15min, 1h, 1d; empty: it takes no copies, and only deletes' },
    { name: 'at', label: 'At', type: 'text', covers: ['at'], value: policy && policy.at,
        hint: 'with whole days: the time of the day, local time, as in 02:30; empty: at multiples of the period, in UTC' },
    { name: 'keep', label: 'Keep', type: 'text', covers: ['keep'], value: policy && policy.keep,
        hint: 'hourly=24,daily=7,weekly=4,monthly=12,yearly=3: of each of the last so many hours, days … the newest copy is kept; ' +
            'empty: everything' },
    { name: 'label', label: 'Label', type: 'text', covers: ['label'], value: policy && policy.label,
        hint: 'of the copies that it takes, and of those that it deletes; empty: its name' },
    { name: 'hosts', label: 'Delete copies that hosts took under the label, too, VSS’s own included', type: 'flag',
        covers: ['vss', 'no-vss'], value: policy && policy.hosts },
    { name: 'lock', label: 'Lock what it takes for', type: 'duration', covers: ['lock'],
        value: policy ? durationInput(policy.lock_ms) : '', hint: '14d; empty: not locked' },
];

/** All of it: what is empty in the form is none. */
function params({ luns, every, at, keep, label, hosts, lock }) {
    const all = { luns, every_ms: every || 0, at: at || '', keep: keep || '', hosts, lock_ms: lock || 0 };
    return label ? { ...all, label } : all;
}

export const policyActions = {
    'policy-create': {
        title: 'Create policy', submit: 'Create',
        intro: 'The array takes crash-consistent copies by itself, and deletes those under its label that no rule keeps. The first ' +
            'copies are taken at once.',
        fields: data => [{ name: 'name', label: 'Name', type: 'text', required: true }, ...fields(data, null)],
        run: async values => {
            const result = await call('policy.create', { name: values.name, ...params(values) });
            return { result, message: `Policy ${result.name} made`, go: ['policies', result.name] };
        },
    },
    'policy-set': {
        title: 'Change policy', submit: 'Change', danger: true,
        intro: 'Copies under its label that no rule keeps any more are deleted within a minute. What is locked or mapped to a host stays.',
        fields,
        run: async (values, policy) => ({
            result: await call('policy.set', { policy: policy.name, ...params(values) }), message: `Policy ${policy.name} changed`,
        }),
    },
    'policy-delete': {
        title: 'Delete policy', submit: 'Delete', danger: true,
        intro: 'No copies are taken or deleted by it any more. Its copy sets stay.',
        confirm: policy => policy.name,
        fields: () => [],
        run: async (values, policy) => ({
            result: await call('policy.delete', { policy: policy.name }), go: ['policies'],
            message: `Policy ${policy.name} deleted; its copy sets stay`,
        }),
    },
};
