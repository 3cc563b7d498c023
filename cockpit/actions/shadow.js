// SPDX-License-Identifier: Apache-2.0
// What can be done with shadow LUNs, the recycle bin and resyncs.
import { call } from '../lib/array.js';
import { lunIdChoices } from './choices.js';

const KEEP_MARKS = {
    name: 'keep_marks', type: 'flag', covers: ['keep-marks'],
    label: 'Leave what VSS wrote into the partition table: attributes (hidden, read-only, no drive letter, shadow copy)',
};
const nameOf = (data, id) => ((data.luns || []).find(lun => lun.id === id) || { name: id }).name;

export const shadowActions = {
    'shadow-delete': {
        title: 'Delete copy', submit: 'Delete', danger: true,
        intro: 'The shadow LUN is deleted. It must not be mapped.',
        confirm: lun => lun.name,
        fields: () => [],
        run: async (values, lun) => ({
            result: await call('shadow.delete', { lun: lun.id }), message: `Shadow LUN ${lun.name} deleted`, go: ['luns'],
        }),
    },
    'shadow-break': {
        title: 'Make an ordinary LUN', submit: 'Break', danger: true,
        intro: 'The shadow LUN becomes an ordinary one, with the same id, data and hosts; its copy set forgets it. VSS’s marks are ' +
            'taken off its partitions (GPT); hosts that see it rescan. There is no way back.',
        confirm: lun => lun.name,
        fields: () => [KEEP_MARKS],
        run: async ({ keep_marks }, lun) => ({
            result: await call('shadow.break', { lun: lun.id, keep_marks }), message: `${lun.name} is an ordinary LUN now`,
        }),
    },
    'shadow-resync': {
        title: 'Put this copy’s data back', submit: 'Resync', danger: true,
        intro: 'The chosen LUN holds the data of this copy again; what it holds now is lost. The copy and all other copies stay. Take ' +
            'the disk offline on its host first. A LUN that is smaller is refused.',
        confirm: (lun, values, data) => nameOf(data, values.target),
        confirmLabel: 'Type the name of the LUN whose data is lost',
        fields: (data, lun) => [
            { name: 'target', label: 'LUN that gets the data', type: 'choice', required: true, options: lunIdChoices(data),
                value: lun.origin_id },
            { ...KEEP_MARKS, label: 'Leave what VSS wrote into the copy’s partition table: attributes, and the disk identity that an ' +
                'import gave to it' },
        ],
        run: async ({ target, keep_marks }, lun) => {
            const result = await call('resync.start', { shadow: lun.id, target, keep_marks });
            return { result, message: `Resync ${result.job} of ${result.target} has begun` };
        },
    },
    'resync-cancel': {
        title: 'Cancel resync', submit: 'Cancel the resync', danger: true,
        intro: 'One that has come to the change runs on: a LUN is never left between two states.',
        fields: () => [],
        run: async (values, job) => {
            const result = await call('resync.cancel', { job: job.job });
            return { result, message: `Resync ${result.job} of ${result.target}: ${result.state}` };
        },
    },
    'shadow-undelete': {
        title: 'Take out of the bin', submit: 'Take out',
        intro: 'It is a shadow LUN again, in its copy set. No host sees it until it is mapped.',
        fields: () => [],
        run: async (values, lun) => ({
            result: await call('recycle.undelete', { lun: lun.id }), message: `Shadow LUN ${lun.name} is back; no host sees it`,
        }),
    },
    'shadow-purge': {
        title: 'Delete for good', submit: 'Delete for good', danger: true,
        intro: 'Its space returns now. There is no way back.',
        confirm: lun => lun.name,
        fields: () => [],
        run: async (values, lun) => ({
            result: await call('recycle.purge', { lun: lun.id }), message: `Shadow LUN ${lun.name} is deleted for good`,
        }),
    },
};
