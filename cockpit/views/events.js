// SPDX-License-Identifier: Apache-2.0
// Events with their remedies, the newest first, as they come.
import { h } from '../lib/dom.js';
import * as format from '../lib/format.js';
import { remedyOf } from '../remedies.js';
import { filterBox, passes, table } from '../ui/table.js';

const CAPTION = 'Events, the newest first';
const LEVELS = [['', 'all'], ['warning', 'warnings and errors'], ['error', 'errors']];
let level = '';

const wanted = event => level === '' || event.level === level || (level === 'warning' && event.level === 'error');

function levelBox(redraw) {
    return h('p', { class: 'filter' }, h('label', { for: 'event-level' }, 'Show'),
        h('select', { id: 'event-level', onchange: change => { level = change.target.value; redraw(); } },
            LEVELS.map(([value, text]) => h('option', { value, selected: value === level }, text))));
}

export const events = {
    title: 'Events',
    needs: () => ['status'],
    ready: data => data.status,
    render: ({ data, redraw }) => [
        h('div', { class: 'bar' }, h('h2', {}, 'Events'), levelBox(redraw), filterBox(CAPTION, 'Text', redraw)),
        table({ caption: CAPTION, redraw, key: event => String(event.serial), empty: 'There is none.',
            rows: data.events.filter(event => wanted(event) && passes(CAPTION, event.text, event.area, event.id)).reverse(), columns: [
                { heading: 'Time', whole: true, cell: event => format.time(event.unix_ms) },
                { heading: 'Level', cell: event => h('span', { class: `level ${event.level}` }, event.level) },
                { heading: 'Area', cell: event => event.area },
                { heading: 'What', cell: event => event.text },
                { heading: 'What to do', cell: event => remedyOf(event) },
                { heading: 'Id', whole: true, cell: event => event.id },
            ] }),
    ],
};
