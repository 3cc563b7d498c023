// SPDX-License-Identifier: Apache-2.0
// What was done, and what umbrad warned of, above the view; a live region, so that screen readers tell it.
import { h, patch } from '../lib/dom.js';

const KEPT = 5;
let notices = [];
let next = 0;

function draw() {
    patch(document.getElementById('notices'), notices.map(notice =>
        h('div', { class: `notice ${notice.level}`, 'data-key': String(notice.id) },
            h('p', {}, notice.text),
            h('button', { type: 'button', 'aria-label': `Dismiss: ${notice.text}`, onclick: () => dismiss(notice.id) }, 'Dismiss'))));
}

function dismiss(id) {
    notices = notices.filter(notice => notice.id !== id);
    draw();
}

/** level: done, warning, error. */
export function notify(text, level = 'done') {
    notices = [...notices, { id: next++, text, level }].slice(-KEPT);
    draw();
}
