// SPDX-License-Identifier: Apache-2.0
// LUNs from disk images and devices of the array's machine, LUNs and copies to files there: by umbractl, which tells its
// progress and can be stopped; nothing half done is left.
import { umbractlOutcome } from '../lib/array.js';
import { absolute } from '../lib/parse.js';

const FORMATS = ['', 'raw', 'qcow2', 'vhdx', 'vmdk', 'vhd'].map(value => ({ value, label: value || 'by the file’s ending' }));
const FORMAT = { name: 'format', label: 'Format', type: 'choice', options: FORMATS, covers: ['format'] };

function withOptions(words, { format, force, name }) {
    return [...words, ...(name ? ['--name', name] : []), ...(format ? ['--format', format] : []), ...(force ? ['--force'] : [])];
}

const exportTo = noun => ({
    title: 'Write to a file', submit: 'Write',
    intro: 'A file on the array’s machine, as after a power failure at one instant; hosts may write on. Zeros take no space. It has its ' +
        'name only when it is whole.',
    fields: () => [
        { name: 'file', label: 'File', type: 'text', required: true, hint: 'an absolute path' },
        FORMAT,
        { name: 'force', label: 'Overwrite a file that is there', type: 'flag', covers: ['force'] },
    ],
    confirm: (lun, values) => (values.force ? values.file || '' : ''),
    confirmLabel: 'To overwrite it, type the path again',
    run: (values, lun, job) => umbractlOutcome(withOptions([noun, 'export', lun.id, absolute(values.file)], values), { job }),
});

export const imageActions = {
    'lun-import': {
        title: 'Import a LUN', submit: 'Import',
        intro: 'Makes a LUN of a disk image, or of a block device, of the array’s machine. All of it is looked at first: a damaged or cut ' +
            'image, one that leads to other files, or one larger than the room in the pool is refused.',
        fields: () => [
            { name: 'file', label: 'File or device', type: 'text', required: true, hint: 'an absolute path' },
            { name: 'name', label: 'Name of the LUN', type: 'text', covers: ['name'], hint: 'empty: the file’s, without its ending' },
            FORMAT,
            { name: 'force', label: 'Also what may be larger than the room in the pool, and devices that are in use or have sectors of 4096 ' +
                'bytes', type: 'flag', covers: ['force'] },
        ],
        run: (values, subject, job) => umbractlOutcome(withOptions(['lun', 'import', absolute(values.file)], values), { job }),
    },
    'lun-export': exportTo('lun'),
    'shadow-export': exportTo('shadow'),
};
