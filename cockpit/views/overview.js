// SPDX-License-Identifier: Apache-2.0
// The array at a glance: space, load as live charts, what wants attention, sessions.
import { h } from '../lib/dom.js';
import * as format from '../lib/format.js';
import { WINDOW_MS } from '../lib/store.js';
import { remedyOf } from '../remedies.js';
import { chart, stack } from '../ui/chart.js';
import { card, facts, link, table, toolbar } from '../ui/table.js';

const ATTENTION = 5;

function spaceParts(data) {
    const { pool, counts } = data.status;
    const { space } = data;
    const held = space ? space.held : 0;
    const recycled = counts.recycled_bytes || 0;
    const live = space ? space.shown : Math.max(0, pool.used_bytes - recycled - pool.reclaim_pending_bytes);
    const told = live + held + recycled + pool.reclaim_pending_bytes;
    const free = Math.max(0, pool.capacity_bytes - Math.max(told, pool.used_bytes) - pool.reserved_bytes);
    return [
        { label: 'LUNs show', bytes: live, class: 'live' },
        { label: 'held by snapshots', bytes: held, class: 'held' },
        { label: 'recycle bin', bytes: recycled, class: 'recycled' },
        { label: 'being given back', bytes: pool.reclaim_pending_bytes, class: 'reclaim' },
        { label: 'set aside for shadow copies', bytes: pool.reserved_bytes, class: 'reserved' },
        { label: 'free', bytes: free, class: 'free' },
    ];
}

function spaceCard(data) {
    const { pool } = data.status;
    return card('Space',
        pool.read_only ? h('p', { class: 'failure', role: 'alert' }, `The pool is read-only: ${pool.read_only_reason}`) : null,
        stack({ title: 'Space', parts: spaceParts(data), whole: pool.capacity_bytes, text: format.bytes }),
        facts([
            ['Capacity', format.bytes(pool.capacity_bytes)],
            ['Used', `${format.bytes(pool.used_bytes)} (${format.percent(pool.used_bytes, pool.capacity_bytes)})`],
            ['Intent log', `${format.bytes(pool.log_used_bytes)} of ${format.bytes(pool.log_bytes)}`],
            ['Map cache', `${format.bytes(pool.map_memory_used_bytes)} of ${format.bytes(pool.map_memory_bytes)}`],
            ['Metadata mirror', pool.mirror],
            ['Checksums', pool.checksums ? 'on' : 'off'],
            ['Pool', pool.path],
        ]),
        data.space && data.space.counted < data.space.luns
            ? h('p', { class: 'hint' }, `Counted for ${data.space.counted} of ${data.space.luns} LUNs; the others count as live.`) : null);
}

/** Of an array in Ceph with two controllers. */
function role({ number, role: is, owner, other }) {
    if (is === 'owner')
        return `${number}, which owns the array; controller ${other.number}: ${other.role}`;
    return `${number}, which stands by${owner ? `; the array is owned by umbrad on ${owner}` : ''}`;
}

function moveLabel({ role: is }) {
    return is === 'owner' ? 'Move to the other controller' : 'Move to this controller';
}

function arrayCard(data, run) {
    const { array, controller, counts, limits, events } = data.status;
    return card('Array', facts([
        ['Name', array.name],
        ['Target', array.target_name],
        ['Portals', array.portals.map(portal =>
            `${portal.address}:${portal.port}, group ${portal.group}${portal.redirect ? `, sends hosts to ${portal.redirect}` : ''}`).join('; ')],
        ...(controller ? [['Controller', role(controller)]] : []),
        ['umbrad', `${array.version}, since ${format.time(array.started_unix_ms)}`],
        ['LUNs', `${counts.luns} and ${counts.shadows} shadow LUNs of ${limits.luns_max}`],
        ['Hosts', `${counts.hosts} of ${limits.hosts_max}`],
        ['Copy sets', counts.sets === null ? 'not told' : `${counts.sets} of ${limits.sets_max}, ${counts.sets_unkept} of them not kept yet`],
        ['Recycle bin', counts.recycled === null ? 'not told' : `${counts.recycled} shadow LUNs`],
        ['Events since the start', `${events.error} errors, ${events.warning} warnings`],
    ]), controller ? toolbar(run, 'Controller', [['controller-move', moveLabel(controller)]]) : null);
}

function charts(data) {
    const of = (kind, member) => data.history.map(sample => sample[kind][member]);
    const common = { times: data.history.map(sample => sample.at), window: WINDOW_MS, span: '5 min ago' };
    return h('section', { class: 'card wide' }, h('h2', {}, 'Load'), h('div', { class: 'charts' },
        chart({ ...common, title: 'Throughput', text: format.rate, base: 1024, lines: [
            { label: 'read', class: 'read', values: of('read', 'bytes') }, { label: 'write', class: 'write', values: of('write', 'bytes') }] }),
        chart({ ...common, title: 'Operations a second', text: format.count, lines: [
            { label: 'read', class: 'read', values: of('read', 'operations') },
            { label: 'write', class: 'write', values: of('write', 'operations') }] }),
        chart({ ...common, title: 'Latency', text: format.nanoseconds, lines: [
            { label: 'read', class: 'read', values: of('read', 'latency') }, { label: 'write', class: 'write', values: of('write', 'latency') }] }),
        chart({ ...common, title: 'Queue', text: format.count, lines: [
            { label: 'commands under way', class: 'queue', values: data.history.map(sample => sample.queue) }] })));
}

function attention(data) {
    const events = data.events.filter(event => event.level !== 'info').slice(-ATTENTION).reverse();
    return card('Attention',
        events.length ? h('ul', { class: 'events' }, events.map(event => h('li', { class: event.level, 'data-key': String(event.serial) },
            h('p', {}, h('b', {}, event.level), ` ${format.time(event.unix_ms)}`), h('p', {}, event.text),
            remedyOf(event) ? h('p', { class: 'remedy' }, remedyOf(event)) : null)))
            : h('p', { class: 'empty' }, 'No warning and no error since umbrad started.'),
        h('p', {}, link(['events'], 'All events')));
}

export function sessionTable(sessions, caption = 'Sessions') {
    return table({ caption, rows: sessions || [], key: row => `${row.initiator} ${row.peer}`, empty: 'No host is logged in.', columns: [
        { heading: 'Host', cell: row => (row.host ? link(['hosts', row.host], row.host) : '-') },
        { heading: 'Initiator', cell: row => row.initiator },
        { heading: 'From', cell: row => row.peer },
        { heading: 'CHAP', cell: row => format.yes(row.authenticated) },
        { heading: 'Commands/s', right: true, cell: row => format.count(row.commands_s || 0) },
        { heading: 'Received', right: true, cell: row => format.rate(row.in_s || 0) },
        { heading: 'Sent', right: true, cell: row => format.rate(row.out_s || 0) },
        { heading: 'Since', whole: true, cell: row => format.time(row.since_unix_ms) },
    ] });
}

export const overview = {
    title: 'Overview',
    needs: () => ['status', 'space'],
    ready: data => data.status,
    render: ({ data, run }) => h('div', { class: 'cards' }, spaceCard(data), attention(data), charts(data), arrayCard(data, run),
        h('section', { class: 'card wide' }, h('h2', {}, 'Sessions'), sessionTable(data.sessions, 'Sessions and their load'))),
};
