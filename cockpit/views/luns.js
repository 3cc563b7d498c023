// SPDX-License-Identifier: Apache-2.0
// LUNs with their copies as a tree (a treegrid: arrow keys move, open and close), the recycle bin, resyncs; and one LUN.
import { call } from '../lib/array.js';
import { h } from '../lib/dom.js';
import * as format from '../lib/format.js';
import { card, facts, filterBox, limitOf, link, passes, table, toolbar } from '../ui/table.js';

const CAPTION = 'LUNs and their copies';
const open = new Set();
let current = null; // the row that Tab comes to

function copiesOf(data) {
    const byOrigin = new Map([['', []], ...data.luns.map(lun => [lun.id, []])]);
    for (const shadow of data.shadows)
        byOrigin.get(byOrigin.has(shadow.origin_id) ? shadow.origin_id : '').push(shadow);
    return byOrigin;
}

/** The rows that are seen, from the top: { id, level, name, lun, copies }. */
function rowsOf(data) {
    const copies = copiesOf(data);
    const rows = [];
    const add = (row, below) => {
        rows.push({ ...row, copies: below.length });
        if (open.has(row.id))
            below.forEach(lun => rows.push({ id: lun.id, level: 2, name: lun.name, lun, copies: 0 }));
    };
    for (const lun of data.luns) {
        const below = copies.get(lun.id);
        if (passes(CAPTION, lun.name, lun.id, ...below.flatMap(copy => [copy.name, copy.id])))
            add({ id: lun.id, level: 1, name: lun.name, lun }, below);
    }
    const orphans = copies.get('');
    if (orphans.length)
        add({ id: 'orphans', level: 1, name: 'Copies of deleted LUNs', lun: null }, orphans);
    return rows;
}

function toggle(row, want, redraw) {
    if (row.copies && want !== open.has(row.id)) {
        if (want)
            open.add(row.id);
        else
            open.delete(row.id);
        redraw();
    }
}

function focusRow(row) {
    if (row) {
        current = row.getAttribute('data-key');
        row.tabIndex = 0;
        row.focus();
    }
}

function onKey(event, row, redraw) {
    const element = event.currentTarget;
    if (event.target !== element)
        return;
    const moves = { ArrowDown: element.nextElementSibling, ArrowUp: element.previousElementSibling,
        Home: element.parentNode.firstElementChild, End: element.parentNode.lastElementChild };
    if (event.key in moves)
        focusRow(moves[event.key]);
    else if (event.key === 'ArrowRight')
        toggle(row, true, redraw);
    else if (event.key === 'ArrowLeft')
        toggle(row, false, redraw);
    else if (event.key === 'Enter' && row.lun)
        cockpit.location.go(['luns', row.lun.id]);
    else
        return;
    event.preventDefault();
    redraw();
}

function nameCell(row, redraw) {
    const isOpen = open.has(row.id);
    return h('td', { role: 'gridcell', class: `level-${row.level}` },
        row.copies ? h('button', { type: 'button', class: 'twist', tabindex: '-1', 'aria-label': `${isOpen ? 'Hide' : 'Show'} the copies of ${row.name}`,
            onclick: () => toggle(row, !isOpen, redraw) }, isOpen ? '▾' : '▸') : h('span', { class: 'twist' }),
        row.lun ? link(['luns', row.lun.id], row.name) : row.name);
}

const kindOf = lun => (lun.copy_kind
    ? `${lun.copy_kind}${lun.full_percent === undefined ? '' : `, ${lun.full_percent} % (${lun.hydration})`}${lun.locked ? ', locked' : ''}` : 'LUN');

function treeRow(row, at, rows, redraw) {
    const { lun } = row;
    const tabbed = current ? row.id === current : at === 0;
    const cell = (text, right) => h('td', { role: 'gridcell', class: right ? 'right' : null }, text);
    return h('tr', {
        role: 'row', 'data-key': row.id, 'aria-level': row.level, tabindex: tabbed ? '0' : '-1',
        'aria-expanded': row.copies ? String(open.has(row.id)) : null, onkeydown: event => onKey(event, row, redraw),
    }, nameCell(row, redraw), cell(row.copies ? `${row.copies} copies` : lun ? kindOf(lun) : ''),
    cell(lun ? format.bytes(lun.size_bytes) : '', true), cell(lun ? format.bytes(lun.used_bytes) : '', true),
    cell(lun ? String(lun.mappings) : '', true), cell(lun ? format.time(lun.created_unix_ms) : ''));
}

function tree(data, redraw) {
    const rows = rowsOf(data);
    if (!rows.some(row => row.id === current))
        current = null;
    const visible = rows.slice(0, limitOf(CAPTION));
    const head = (text, right) => h('th', { role: 'columnheader', scope: 'col', class: right ? 'right' : null }, text);
    return h('div', { class: 'scroll' }, h('table', { role: 'treegrid', 'aria-label': CAPTION },
        h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, head('Name'), head('Kind'), head('Size', true), head('Used', true), head('Hosts', true),
            head('Made'))),
        h('tbody', { role: 'rowgroup' }, visible.map((row, at) => treeRow(row, at, rows, redraw)))),
    rows.length > visible.length ? h('p', {}, `${visible.length} of ${rows.length} are shown: narrow them.`) : null);
}

function bin(data, run, redraw) {
    return table({ caption: 'Recycle bin', rows: data.recycled, key: lun => lun.id, redraw,
        empty: 'Empty. Deleted copies lie here for [copysets] recycle_time.', columns: [
            { heading: 'Name', cell: lun => lun.name },
            { heading: 'Original', cell: lun => lun.origin },
            { heading: 'Size', right: true, cell: lun => format.bytes(lun.size_bytes) },
            { heading: 'Used', right: true, cell: lun => format.bytes(lun.used_bytes) },
            { heading: 'Deleted', whole: true, cell: lun => format.time(lun.deleted_unix_ms) },
            { heading: 'Gone for good', whole: true, cell: lun => format.time(lun.purge_unix_ms) },
            { heading: 'Actions', cell: lun => toolbar(run, `Actions for ${lun.name}`,
                [['shadow-undelete', 'Take out', lun], ['shadow-purge', 'Delete for good', lun]]) },
        ] });
}

function resyncs(data, run, redraw) {
    return table({ caption: 'Resyncs', rows: data.jobs, key: job => String(job.job), redraw, empty: 'None since umbrad started.', columns: [
        { heading: 'Job', cell: job => String(job.job) },
        { heading: 'Copy', cell: job => job.shadow },
        { heading: 'LUN', cell: job => job.target },
        { heading: 'State', cell: job => job.state },
        { heading: 'Done', right: true, cell: job => `${job.percent} %` },
        { heading: 'Note', cell: job => job.error || job.note || '' },
        { heading: 'Actions', cell: job => (job.state === 'running'
            ? toolbar(run, `Actions for resync ${job.job}`, [['resync-cancel', 'Cancel', { ...job, title: String(job.job) }]]) : '') },
    ] });
}

export const luns = {
    title: 'LUNs',
    needs: () => ['luns', 'shadows', 'recycled', 'jobs', 'hosts'],
    ready: data => data.luns && data.shadows && data.recycled && data.jobs,
    render: ({ data, run, redraw }) => [
        h('div', { class: 'bar' }, h('h2', {}, 'LUNs'), filterBox(CAPTION, 'Name or id', redraw),
            toolbar(run, 'LUNs', [['lun-create', 'Create LUN'], ['lun-import', 'Import'], ['set-create', 'Take copies']])),
        data.luns.length || data.shadows.length ? tree(data, redraw) : h('p', { class: 'empty' }, 'There is no LUN yet.'),
        h('p', { class: 'hint' }, 'Arrow keys move through the tree; right and left show and hide the copies.'),
        bin(data, run, redraw), resyncs(data, run, redraw),
    ],
};

// ---- one LUN

let shown = null;

async function fetchLun(id) {
    const lun = await call('lun.show', { lun: id }).catch(error => (error.lost ? Promise.reject(error) : { missing: error.message }));
    if (!lun.missing && (!shown || shown.id !== id || shown.used_bytes !== lun.used_bytes || !shown.counted))
        Object.assign(lun, await call('lun.space', { lun: id }).catch(() => ({})), { counted: true });
    else if (!lun.missing)
        Object.assign(lun, { exclusive_bytes: shown.exclusive_bytes, shared_bytes: shown.shared_bytes,
            deletion_frees_bytes: shown.deletion_frees_bytes, counted: true });
    shown = lun.missing ? { id, ...lun } : lun;
}

function identity(lun) {
    const shadow = lun.kind === 'shadow';
    return facts([
        ['Id', lun.id], ['Kind', lun.kind], ['Size', format.bytes(lun.size_bytes)], ['Used', format.bytes(lun.used_bytes)],
        ['Its alone', format.bytes(lun.exclusive_bytes)], ['Shared with copies', format.bytes(lun.shared_bytes)],
        ['Deletion gives back', format.bytes(lun.deletion_frees_bytes)],
        ['Vendor and product', `${lun.vendor} ${lun.product}`], ['Serial number', lun.serial], ['NAA', lun.naa],
        ['Made', format.time(lun.created_unix_ms)],
        shadow && ['Original', link(['luns', lun.origin_id], lun.origin || lun.origin_id)],
        shadow && ['Copy set', link(['sets', lun.set_id], lun.set_id)],
        shadow && ['Copy', kindOf(lun)],
        shadow && ['Hosts told', lun.notified.join(', ')],
    ]);
}

function mappings(lun, run) {
    return table({ caption: 'Hosts that see it', rows: lun.mapped_to, key: entry => entry.host, empty: 'No host sees it.', columns: [
        { heading: 'Host', cell: entry => link(['hosts', entry.host], entry.host) },
        { heading: 'LUN number', right: true, cell: entry => String(entry.number) },
        { heading: 'Actions', cell: entry => toolbar(run, `Actions for ${entry.host}`, [
            ['unmap', 'Unmap', { lun, host: entry.host, shadow: lun.kind === 'shadow', title: `${lun.name} from ${entry.host}` }]]) },
    ] });
}

function buttons(lun) {
    return lun.kind === 'shadow'
        ? [['shadow-map', 'Map to a host', lun], ['shadow-unmap', 'Unmap from all', lun], ['shadow-resync', 'Put data back', lun],
            ['shadow-export', 'Write to a file', lun],
            ['shadow-break', 'Make ordinary', lun], ['shadow-delete', 'Delete', lun]]
        : [['map', 'Map to a host', lun], ['set-create', 'Take copies', lun], ['lun-resize', 'Make larger', lun],
            ['lun-rename', 'Rename', lun], ['lun-export', 'Write to a file', lun], ['lun-delete', 'Delete', lun]];
}

export const lun = {
    title: 'LUNs',
    needs: () => ['luns', 'shadows', 'hosts'],
    fetch: path => fetchLun(path[1]),
    ready: (data, path) => data.luns && shown && shown.id === path[1],
    render: ({ data, run, redraw }) => {
        if (shown.missing)
            return [h('h2', {}, 'LUN'), h('p', { class: 'empty' }, shown.missing), h('p', {}, link(['luns'], 'All LUNs'))];
        const copies = data.shadows.filter(shadow => shadow.origin_id === shown.id);
        return [
            h('p', {}, link(['luns'], 'All LUNs')),
            h('div', { class: 'bar' }, h('h2', {}, shown.name), toolbar(run, `Actions for ${shown.name}`, buttons(shown))),
            h('div', { class: 'cards' }, card('Identity and space', identity(shown)), h('section', { class: 'card' }, mappings(shown, run))),
            shown.kind === 'shadow' ? null : table({ caption: 'Copies', rows: copies, key: copy => copy.id, redraw, empty: 'It has no copy.', columns: [
                { heading: 'Name', cell: copy => link(['luns', copy.id], copy.name) },
                { heading: 'Copy set', cell: copy => link(['sets', copy.set_id], copy.set_id.slice(0, 8)) },
                { heading: 'Kind', cell: kindOf },
                { heading: 'Used', right: true, cell: copy => format.bytes(copy.used_bytes) },
                { heading: 'Made', whole: true, cell: copy => format.time(copy.created_unix_ms) }] }),
        ];
    },
};
