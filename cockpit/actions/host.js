// SPDX-License-Identifier: Apache-2.0
// What can be done with hosts and their sessions. Secrets go to umbrad and never come back.
import { call, umbractlOutcome } from '../lib/array.js';
import { Wrong } from '../lib/parse.js';
import { hostChoices } from './choices.js';

const SECRET_MAX_BYTES = 255;

const IMPORT = [
    { value: 'own', label: 'copies of LUNs that are mapped to it (own)' },
    { value: 'named', label: 'also those of the hosts named below (named)' },
    { value: 'any', label: 'copies of all LUNs (any)' },
];

const iqnsField = (value, required) => ({
    name: 'iqns', label: 'iSCSI initiator names', type: 'lines', required, value, covers: ['iqn'],
    hint: 'one a line, up to 16, as the initiator’s settings show them',
});
const importFields = (data, host) => [
    { name: 'import', label: 'Shadow LUNs that it may import', type: 'choice', options: IMPORT, covers: ['import'],
        value: host ? host.import : 'own', required: true },
    { name: 'import_hosts', label: 'Named hosts', type: 'many', value: host ? host.import_hosts : [],
        options: hostChoices(data).filter(choice => !host || choice.value !== host.name) },
];
const flagFields = (host, no) => [
    { name: 'control_lu', label: 'Show the control LU as LUN 0, for a host that has no LUN yet', type: 'flag',
        value: host && host.control_lu, covers: ['control-lu', ...(no ? ['no-control-lu'] : [])] },
    { name: 'control_without_chap', label: 'Let the host take shadow copies without CHAP: whoever claims its name can',
        type: 'flag', value: host && host.control_without_chap,
        covers: ['control-without-chap', ...(no ? ['no-control-without-chap'] : [])] },
];

function checkSecret(secret, what) {
    if (secret && new TextEncoder().encode(secret).length > SECRET_MAX_BYTES)
        throw new Wrong(`${what} has more than ${SECRET_MAX_BYTES} characters: take 12 to 16 for Windows.`);
}

/** What the form says of a host's import, as umbrad takes it. */
function importOf({ import: whose, import_hosts: hosts }) {
    if (whose !== 'named')
        return { import: whose };
    if (!hosts.length)
        throw new Wrong('Name the hosts whose shadow LUNs it may import.');
    return { import: 'named', import_hosts: hosts };
}

function common(values) {
    const params = { iqns: values.iqns, control_lu: values.control_lu, control_without_chap: values.control_without_chap,
        ...importOf(values) };
    checkSecret(values.chap_secret, 'The CHAP secret');
    checkSecret(values.mutual_chap_secret, 'The mutual CHAP secret');
    for (const member of ['chap_secret', 'mutual_chap_secret']) {
        if (values[member])
            params[member] = values[member];
    }
    return params;
}

/** A secret that is taken away is an empty one. */
function withoutSecrets(values, params) {
    for (const [flag, member] of [['no_chap', 'chap_secret'], ['no_mutual_chap', 'mutual_chap_secret']]) {
        if (values[flag] && params[member])
            throw new Wrong('A new secret and no secret contradict each other.');
        if (values[flag])
            params[member] = '';
    }
    return params;
}

export const hostActions = {
    'host-add': {
        title: 'Add host', submit: 'Add',
        intro: 'Makes a host known by its iSCSI initiator names.',
        fields: data => [
            { name: 'name', label: 'Name', type: 'text', required: true },
            iqnsField([], true),
            { name: 'chap_secret', label: 'CHAP secret', type: 'secret', covers: ['chap-file'],
                hint: '12 to 16 characters for Windows; without one whoever claims its name sees its LUNs' },
            { name: 'chap_user', label: 'CHAP name', type: 'text', covers: ['chap-user'], hint: 'empty: the initiator name' },
            { name: 'mutual_chap_secret', label: 'The array’s own CHAP secret', type: 'secret', covers: ['mutual-chap-file'],
                hint: 'by which the array proves itself to the host' },
            ...flagFields(null, false),
            ...importFields(data, null),
        ],
        run: async values => {
            const params = { name: values.name, ...common(values) };
            if (values.chap_user)
                params.chap_user = values.chap_user;
            const result = await call('host.add', params);
            return { result, go: ['hosts', result.name], message: `Host ${result.name} added` +
                (result.chap ? '' : '; it has no CHAP secret: whoever claims its name sees its LUNs') };
        },
    },
    'host-set': {
        title: 'Change host', submit: 'Change',
        intro: 'A changed secret ends the host’s sessions; it logs in again with the new one.',
        fields: (data, host) => [
            iqnsField(host.iqns, true),
            { name: 'chap_secret', label: 'New CHAP secret', type: 'secret', covers: ['chap-file'],
                hint: host.chap ? 'empty: the one it has stays' : 'it has none' },
            { name: 'no_chap', label: 'Ask no CHAP of this host any more', type: 'flag', covers: ['no-chap'] },
            { name: 'chap_user', label: 'CHAP name', type: 'text', value: host.chap_user, covers: ['chap-user'],
                hint: 'empty: the initiator name' },
            { name: 'mutual_chap_secret', label: 'New CHAP secret of the array', type: 'secret', covers: ['mutual-chap-file'],
                hint: host.mutual_chap ? 'empty: the one it has stays' : 'it has none' },
            { name: 'no_mutual_chap', label: 'The array does not prove itself to the host any more', type: 'flag',
                covers: ['no-mutual-chap'] },
            ...flagFields(host, true),
            ...importFields(data, host),
        ],
        run: async (values, host) => ({
            result: await call('host.set', { host: host.name, ...withoutSecrets(values, common(values)),
                chap_user: values.chap_user || '' }),
            message: `Host ${host.name} changed`,
        }),
    },
    'host-windows': {
        title: 'What to type on Windows', submit: 'Show', wide: true, covers: ['windows'],
        intro: 'PowerShell lines for the server: initiator, CHAP, MPIO. No secret is in them.',
        fields: () => [],
        run: (values, host) => umbractlOutcome(['host', 'show', host.name, '--windows']),
    },
    'host-delete': {
        title: 'Delete host', submit: 'Delete', danger: true,
        intro: 'The array forgets the host, its secrets and its rights; its sessions end. It must have no LUN mapped.',
        confirm: host => host.name,
        fields: () => [],
        run: async (values, host) => ({
            result: await call('host.delete', { host: host.name }), message: `Host ${host.name} deleted`, go: ['hosts'],
        }),
    },
    'session-logout': {
        title: 'Ask to log out', submit: 'Ask', danger: true,
        intro: 'The initiators are asked to log out; sessions that stay are ended after logout_timeout. Initiators log in again ' +
            'as they are configured, and then meet changed portals and redirections.',
        fields: () => [],
        run: async (values, host) => {
            const result = await call('session.logout', host ? { host: host.name } : {});
            return { result, message: `${result.asked} session(s) asked to log out` };
        },
    },
};
