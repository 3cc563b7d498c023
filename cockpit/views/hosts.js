// SPDX-License-Identifier: Apache-2.0
// Hosts, their sessions, which LUN they see under which number; and one host.
import { h } from '../lib/dom.js';
import * as format from '../lib/format.js';
import { card, facts, filterBox, link, passes, table, toolbar } from '../ui/table.js';
import { sessionTable } from './overview.js';

const CAPTION = 'Known hosts';
const importOf = host => (host.import === 'named' ? `named: ${host.import_hosts.join(', ')}` : host.import);

function loadOf(data, host) {
    return (data.load || []).find(entry => entry.name === host.name) || { queue: 0, failed: 0, read: {}, write: {} };
}

function hostTable(data, redraw) {
    const rows = data.hosts.filter(host => passes(CAPTION, host.name, ...host.iqns));
    return table({ caption: CAPTION, rows, key: host => host.name, redraw, empty: 'There is no host.', columns: [
        { heading: 'Name', cell: host => link(['hosts', host.name], host.name) },
        { heading: 'Sessions', right: true, cell: host => String(host.sessions) },
        { heading: 'CHAP', cell: host => (host.chap ? host.mutual_chap ? 'mutual' : 'yes' : 'no') },
        { heading: 'May import', cell: importOf },
        { heading: 'Queue', right: true, cell: host => String(loadOf(data, host).queue) },
        { heading: 'Failed', right: true, cell: host => String(loadOf(data, host).failed) },
        { heading: 'Initiators', cell: host => host.iqns.join(', ') },
    ] });
}

function mapTable(maps, caption, run, redraw) {
    const subject = map => ({ lun: { id: map.lun_id, name: map.lun }, host: map.host, shadow: map.shadow, title: `${map.lun} from ${map.host}` });
    return table({ caption, rows: maps, key: map => `${map.host} ${map.number}`, redraw, empty: 'None.', columns: [
        { heading: 'LUN', cell: map => link(['luns', map.lun_id], map.lun) },
        { heading: 'Host', cell: map => map.host },
        { heading: 'Number', right: true, cell: map => String(map.number) },
        { heading: 'Actions', cell: map => toolbar(run, `Actions for ${map.lun} on ${map.host}`, [['unmap', 'Unmap', subject(map)]]) },
    ] });
}

/** Shadow LUNs are unmapped by a method of their own. */
function withKind(data, maps) {
    const shadows = new Set((data.shadows || []).map(shadow => shadow.id));
    return maps.map(map => ({ ...map, shadow: shadows.has(map.lun_id) }));
}

export const hosts = {
    title: 'Hosts',
    needs: () => ['hosts', 'maps', 'luns', 'shadows'],
    ready: data => data.hosts && data.maps && data.shadows,
    render: ({ data, run, redraw }) => [
        h('div', { class: 'bar' }, h('h2', {}, 'Hosts'), filterBox(CAPTION, 'Name or initiator', redraw),
            toolbar(run, 'Hosts', [['host-add', 'Add host'], ['session-logout', 'Ask all to log out']])),
        hostTable(data, redraw), sessionTable(data.sessions),
        mapTable(withKind(data, data.maps), 'Who sees what', run, redraw),
    ],
};

export const host = {
    title: 'Hosts',
    needs: () => ['hosts', 'maps', 'luns', 'shadows'],
    ready: data => data.hosts && data.maps && data.shadows,
    render: ({ data, path, run, redraw }) => {
        const found = data.hosts.find(entry => entry.name === path[1]);
        if (!found)
            return [h('h2', {}, 'Host'), h('p', { class: 'empty' }, `There is no host ${path[1]}.`), h('p', {}, link(['hosts'], 'All hosts'))];
        return [
            h('p', {}, link(['hosts'], 'All hosts')),
            h('div', { class: 'bar' }, h('h2', {}, found.name), toolbar(run, `Actions for ${found.name}`, [
                ['host-set', 'Change', found], ['map-of-host', 'Map a LUN', found], ['session-logout', 'Ask to log out', found],
                ['host-windows', 'On Windows', found],
                ['host-delete', 'Delete', found]])),
            card('Record', facts([
                ['Initiators', found.iqns.join(', ')], ['CHAP', format.yes(found.chap)], ['CHAP name', found.chap_user],
                ['Mutual CHAP', format.yes(found.mutual_chap)], ['Control LU', format.yes(found.control_lu)],
                ['Copies without CHAP', format.yes(found.control_without_chap)], ['May import', importOf(found)],
            ])),
            sessionTable((data.sessions || []).filter(session => session.host === found.name)),
            mapTable(withKind(data, data.maps.filter(map => map.host === found.name)), 'LUNs that it sees', run, redraw),
        ];
    },
};
