// SPDX-License-Identifier: Apache-2.0
// Tables, lists of facts, buttons for actions. A table shows its first rows and, asked, more: there may be 10,000 LUNs.
import { h } from '../lib/dom.js';

const ROWS = 100;
const shown = new Map(); // by the table's caption
const filters = new Map();

/** How many rows a table shows: more after each push of its button. */
export function limitOf(caption) {
    return shown.get(caption) || ROWS;
}

function moreButton(caption, total, redraw) {
    if (total <= limitOf(caption))
        return null;
    const more = () => { shown.set(caption, limitOf(caption) + ROWS); redraw(); };
    return h('p', {}, `${limitOf(caption)} of ${total} are shown. `, h('button', { type: 'button', onclick: more }, 'Show more'));
}

/** A box that narrows a table to what contains a text. */
export function filterBox(caption, label, redraw) {
    const id = `filter-${caption.replace(/\W+/g, '-')}`;
    return h('p', { class: 'filter' }, h('label', { for: id }, label),
        h('input', { id, type: 'search', oninput: event => { filters.set(caption, event.target.value.toLowerCase()); redraw(); } }));
}

export function passes(caption, ...texts) {
    const wanted = filters.get(caption);
    return !wanted || texts.some(text => String(text || '').toLowerCase().includes(wanted));
}

const classOf = column => (column.right ? 'right' : column.whole ? 'whole' : null);

/** columns: { heading, cell(row), right, whole (one line) }; rows: each with a key of its own. empty: what is said when there are none. */
export function table({ caption, columns, rows, key, empty, redraw = () => {} }) {
    if (!rows.length)
        return h('div', { class: 'table' }, h('h3', {}, caption), h('p', { class: 'empty' }, empty || 'None.'));
    const first = columns[0];
    return h('div', { class: 'table' }, h('h3', {}, caption), h('div', { class: 'scroll', tabindex: '0', role: 'group', 'aria-label': caption },
        h('table', { 'aria-label': caption },
            h('thead', {}, h('tr', {}, columns.map(column => h('th', { scope: 'col', class: classOf(column) }, column.heading)))),
            h('tbody', {}, rows.slice(0, limitOf(caption)).map(row => h('tr', { 'data-key': key(row) },
                h('th', { scope: 'row', class: classOf(first) }, first.cell(row)),
                columns.slice(1).map(column => h('td', { class: classOf(column) }, column.cell(row)))))))),
    moreButton(caption, rows.length, redraw));
}

/** Pairs of a word and what it is. */
export function facts(pairs) {
    return h('dl', { class: 'facts' }, pairs.filter(pair => pair).map(([word, value]) =>
        h('div', {}, h('dt', {}, word), h('dd', {}, value === undefined || value === null || value === '' ? '-' : value))));
}

/** Buttons in a row: [action's name, label, subject]; null is left out. run: (name, subject). */
export function toolbar(run, label, buttons) {
    return h('div', { class: 'toolbar', role: 'group', 'aria-label': label }, buttons.filter(button => button).map(([name, text, subject]) =>
        h('button', { type: 'button', 'data-action': name, onclick: () => run(name, subject) }, text)));
}

/** A link to another view. */
export function link(path, text) {
    return h('a', { href: `#${cockpit.location.encode(path)}` }, text);
}

/** A card with a heading. */
export function card(heading, ...children) {
    return h('section', { class: 'card' }, h('h2', {}, heading), children);
}
