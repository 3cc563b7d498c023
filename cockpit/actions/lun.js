// SPDX-License-Identifier: Apache-2.0
// What can be done with LUNs and mappings. An action: what umbractl's verb of the same name does, as a form.
// See index.js for what its members mean.
import { call } from '../lib/array.js';
import { bytes } from '../lib/format.js';
import { hostChoices, lunChoices } from './choices.js';

const NUMBER_MAX = 16383;
const mapFields = data => [
    { name: 'host', label: 'Host', type: 'choice', required: true, options: hostChoices(data) },
    { name: 'number', label: 'LUN number', type: 'number', min: 1, max: NUMBER_MAX, covers: ['number'],
        hint: `1 to ${NUMBER_MAX}; empty: the lowest that is free` },
    { name: 'force', label: 'Even if the number rests after an unmap, and the host may still show the disk that it was',
        type: 'flag', covers: ['force'] },
];
const mapped = (method, lun) => async ({ host, number, force }) => {
    const result = await call(method, { lun: lun.id, host, number: number || 0, force });
    return { result, message: `${lun.name} mapped to ${host} as LUN ${result.number}` };
};

export const lunActions = {
    'lun-create': {
        title: 'Create LUN', submit: 'Create',
        intro: 'It is thin: space is used as it is written.',
        fields: () => [
            { name: 'name', label: 'Name', type: 'text', required: true },
            { name: 'size', label: 'Size', type: 'size', required: true, covers: ['size'], hint: 'as in 500G (powers of 1024)' },
        ],
        run: async ({ name, size }) => {
            const result = await call('lun.create', { name, size_bytes: size });
            return { result, message: `LUN ${name} made, ${bytes(size)}`, go: ['luns', result.id] };
        },
    },
    'lun-resize': {
        title: 'Make larger', submit: 'Resize',
        intro: 'Hosts are told. A LUN cannot become smaller.',
        fields: (data, lun) => [
            { name: 'size', label: 'New size', type: 'size', required: true, covers: ['size'],
                hint: `now ${bytes(lun.size_bytes)}` },
        ],
        run: async ({ size }, lun) => ({
            result: await call('lun.resize', { lun: lun.id, size_bytes: size }),
            message: `LUN ${lun.name} has ${bytes(size)} now`,
        }),
    },
    'lun-rename': {
        title: 'Rename', submit: 'Rename',
        intro: 'Hosts see its id, which stays.',
        fields: (data, lun) => [{ name: 'name', label: 'New name', type: 'text', required: true, value: lun.name }],
        run: async ({ name }, lun) => ({
            result: await call('lun.rename', { lun: lun.id, name }), message: `LUN ${lun.name} is ${name} now`,
        }),
    },
    'lun-delete': {
        title: 'Delete LUN', submit: 'Delete', danger: true,
        intro: 'The LUN and its data are deleted; they do not go to the recycle bin. Its copies stay. It must not be mapped.',
        confirm: lun => lun.name,
        fields: () => [],
        run: async (values, lun) => ({
            result: await call('lun.delete', { lun: lun.id }), message: `LUN ${lun.name} deleted`, go: ['luns'],
        }),
    },
    'map': {
        title: 'Map to a host', submit: 'Map',
        intro: 'Lets a host see the LUN.',
        fields: mapFields,
        run: (values, lun) => mapped('map.add', lun)(values),
    },
    'map-of-host': {
        title: 'Map a LUN', submit: 'Map',
        intro: 'Lets this host see a LUN.',
        fields: data => [
            { name: 'lun', label: 'LUN', type: 'choice', required: true, options: lunChoices(data) },
            ...mapFields(data).slice(1),
        ],
        run: ({ lun, number, force }, host) =>
            mapped('map.add', { id: lun, name: lun })({ host: host.name, number, force }),
    },
    'unmap': {
        title: 'Unmap', submit: 'Unmap', danger: true,
        intro: 'The host loses the disk: take it offline there first.',
        fields: () => [],
        run: async (values, { lun, host, shadow }) => ({
            result: await call(shadow ? 'shadow.unmap' : 'map.remove', { lun: lun.id, host }),
            message: `${lun.name} unmapped from ${host}`,
        }),
    },
    'shadow-map': {
        title: 'Map the copy to a host', submit: 'Map',
        intro: 'Lets a host see the shadow LUN.',
        fields: mapFields,
        run: (values, lun) => mapped('shadow.map', lun)(values),
    },
    'shadow-unmap': {
        title: 'Unmap from all hosts', submit: 'Unmap', danger: true,
        intro: 'The hosts lose the disk: take it offline there first.',
        fields: () => [],
        run: async (values, lun) => ({
            result: await call('shadow.unmap', { lun: lun.id }), message: `${lun.name} unmapped from all hosts`,
        }),
    },
};
