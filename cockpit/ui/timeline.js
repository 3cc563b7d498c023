// SPDX-License-Identifier: Apache-2.0
// A copy set as a timeline of its phases: how long applications stood frozen, in it how long I/O was held and by which
// phase, and, on a scale of its own, the array's part: the commit window and the time until the copy was durable.
// Hosts tell lengths, not instants: the hold is drawn at the end of the freeze, which ends with it.
import { h, svg } from '../lib/dom.js';
import { microseconds, nanoseconds } from '../lib/format.js';

const told = value => typeof value === 'number';

/** The rows: { label, value, bars: [{ label, from, to, class, text }], scale } in microseconds. */
export function phasesOf(set) {
    const held = told(set.held_us) ? set.held_us : 0;
    const frozen = told(set.frozen_us) ? set.frozen_us : held;
    const total = Math.max(frozen, held) + (told(set.import_us) ? set.import_us : 0);
    const begin = Math.max(0, frozen - held);
    const rows = [];
    const bar = (label, from, length, name) => ({ label, from, to: from + length, class: name, text: microseconds(length) });

    if (told(set.frozen_us))
        rows.push({ label: 'Applications frozen', value: microseconds(set.frozen_us), scale: total,
            bars: [bar('frozen', 0, set.frozen_us, 'frozen')] });
    if (told(set.held_us))
        rows.push({ label: 'I/O held', value: microseconds(set.held_us), scale: total, bars: [
            bar('flush', begin, set.flush_us, 'flush'),
            bar('CommitSnapshots', begin + set.flush_us, set.commit_us, 'commit'),
            bar('release', begin + set.flush_us + set.commit_us, set.release_us, 'release')] });
    if (told(set.import_us))
        rows.push({ label: 'Import', value: microseconds(set.import_us), scale: total,
            bars: [bar('import', Math.max(frozen, held), set.import_us, 'import')] });
    if (told(set.window_ns) && told(set.durable_ns))
        rows.push({ label: 'Array: commit window', value: nanoseconds(set.window_ns), zoomed: true,
            scale: Math.max(set.window_ns, set.durable_ns) / 1000, bars: [
                { label: 'window', from: 0, to: set.window_ns / 1000, class: 'window', text: nanoseconds(set.window_ns) },
                { label: 'until durable', from: set.window_ns / 1000, to: set.durable_ns / 1000, class: 'durable',
                    text: nanoseconds(set.durable_ns) }] });
    return rows;
}

function drawn(row) {
    return row.bars.filter(bar => bar.to > bar.from).reverse().map(bar => { // the first on top: it may be a hair
        const width = 100 * (bar.to - bar.from) / (row.scale || 1);
        return svg('rect', { class: `phase ${bar.class}`, x: `${100 * bar.from / (row.scale || 1)}%`, y: 0, height: '100%',
            style: { width: `max(2px, ${width}%)` } }, svg('title', {}, `${bar.label}: ${bar.text}`));
    });
}

const words = row => `${row.label} ${row.value}${row.bars.length > 1 ? ` (${row.bars.map(bar => `${bar.label} ${bar.text}`).join(', ')})` : ''}`;

/** For a list: one strip, with its words for who cannot see it. */
export function strip(set) {
    const rows = phasesOf(set);
    const main = rows.find(row => row.label === 'I/O held') || rows[rows.length - 1];
    if (!main)
        return h('span', {}, '-');
    return svg('svg', { class: 'strip', role: 'img', 'aria-label': rows.map(words).join('; ') },
        rows.filter(row => !row.zoomed).slice(0, 1).map(row => drawn(row)),
        drawn(main));
}

/** What is behind the numbers that are not there. */
function silence(set) {
    if (set.writers === 'no VSS')
        return 'Made without VSS: no application was asked to stand still, and no host held its I/O.';
    if (!told(set.held_us))
        return 'The host has not told how long its applications and its I/O stood still.';
    return '';
}

/** The whole, for one set. */
export function timeline(set) {
    const rows = phasesOf(set);
    return h('div', { class: 'timeline' },
        rows.map(row => h('div', { class: 'row' },
            h('div', { class: 'what' }, row.label, ' ', h('b', {}, row.value)),
            svg('svg', { class: 'track', role: 'img', 'aria-label': words(row) }, drawn(row)),
            h('ul', { class: 'legend' }, row.bars.map(bar => h('li', {},
                h('span', { class: `swatch ${bar.class}`, 'aria-hidden': 'true' }), `${bar.label} `, h('b', {}, bar.text)))),
            row.zoomed ? h('p', { class: 'hint' }, `on a scale of its own: the whole width is ${microseconds(row.scale)}`) : null)),
        silence(set) ? h('p', {}, silence(set)) : null);
}

const STATES = ['preparing', 'armed', 'committing', 'committed', 'kept'];

/** Where the set is in its life. */
export function life(set) {
    const at = STATES.indexOf(set.state);
    return h('ol', { class: 'life', 'aria-label': 'The set’s life' },
        (at < 0 ? [set.state] : STATES).map((state, index) => h('li', {
            class: index < at ? 'passed' : state === set.state ? 'now' : null, 'aria-current': state === set.state ? 'step' : null,
        }, state)));
}
