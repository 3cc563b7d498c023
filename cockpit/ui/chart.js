// SPDX-License-Identifier: Apache-2.0
// Live line charts in SVG. The lines are drawn without text, so that they may be stretched; labels and the newest values
// stand beside them as text, which is what a screen reader reads.
import { h, svg } from '../lib/dom.js';

const WIDTH = 600;
const HEIGHT = 120;

/** The next round number: 1, 2 or 5 times a power of the base. */
function roof(value, base) {
    if (value <= 0)
        return 1;
    const unit = base ** Math.floor(Math.log(value) / Math.log(base));
    return [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].map(step => step * unit).find(top => top >= value) || value;
}

/** The newest value stands at the right edge. */
function points(values, times, window, top) {
    const now = times[times.length - 1];
    return values.map((value, at) =>
        `${(WIDTH * (1 - (now - times[at]) / window)).toFixed(1)},${(HEIGHT * (1 - Math.min(value / top, 1))).toFixed(1)}`).join(' ');
}

/** lines: { label, values, class }; times: of the values, in ms; window: how much of the past is shown, in ms; text: how a
 * value is written; span: what stands below the left edge. */
export function chart({ title, lines, times, window, text, base = 10, span }) {
    const top = roof(Math.max(0, ...lines.flatMap(line => line.values)), base);
    const latest = line => (line.values.length ? text(line.values[line.values.length - 1]) : 'not told yet');
    const summary = `${title}: ${lines.map(line => `${line.label} ${latest(line)}`).join(', ')}`;
    return h('figure', { class: 'chart' },
        h('figcaption', {}, h('h3', {}, title), h('ul', { class: 'legend' }, lines.map(line =>
            h('li', {}, h('span', { class: `swatch ${line.class}`, 'aria-hidden': 'true' }), `${line.label} `, h('b', {}, latest(line)))))),
        h('div', { class: 'plot' },
            h('span', { class: 'top', 'aria-hidden': 'true' }, text(top)),
            svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': summary },
                [0.25, 0.5, 0.75].map(part => svg('line', { class: 'grid', x1: 0, x2: WIDTH, y1: HEIGHT * part, y2: HEIGHT * part })),
                lines.map(line => svg('polyline', { class: `line ${line.class}`, points: points(line.values, times, window, top) }))),
            h('span', { class: 'from', 'aria-hidden': 'true' }, span), h('span', { class: 'to', 'aria-hidden': 'true' }, 'now')));
}

/** One bar of parts: { label, bytes, class }, of a whole; and the same as a list. */
export function stack({ title, parts, whole, text }) {
    let at = 0;
    const rects = parts.map(part => {
        const x = at;
        at += whole ? 100 * part.bytes / whole : 0;
        return svg('rect', { class: `part ${part.class}`, x: `${x}%`, width: `${Math.max(0, at - x)}%`, y: 0, height: '100%' });
    });
    const summary = `${title}: ${parts.map(part => `${part.label} ${text(part.bytes)}`).join(', ')}`;
    return h('figure', { class: 'stack' },
        svg('svg', { class: 'bar', role: 'img', 'aria-label': summary }, rects),
        h('ul', { class: 'legend column' }, parts.map(part =>
            h('li', {}, h('span', { class: `swatch ${part.class}`, 'aria-hidden': 'true' }), `${part.label} `, h('b', {}, text(part.bytes))))));
}
