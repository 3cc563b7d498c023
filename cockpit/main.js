// SPDX-License-Identifier: Apache-2.0
// The page: which view is shown (Cockpit's location says), the navigation, and redrawing when something has changed.
import { actions } from './actions/index.js';
import { h, patch } from './lib/dom.js';
import { data, forgetSpace, refresh, want, standsBy } from './lib/store.js';
import { followTheme } from './lib/theme.js';
import { openDialog } from './ui/dialog.js';
import { notify } from './ui/notices.js';
import { link } from './ui/table.js';
import { events } from './views/events.js';
import { host, hosts } from './views/hosts.js';
import { lun, luns } from './views/luns.js';
import { maintenance } from './views/maintenance.js';
import { overview } from './views/overview.js';
import { policies, policy } from './views/policies.js';
import { set, sets } from './views/sets.js';

/** First word of the location: [all, one]. */
const VIEWS = { '': [overview], luns: [luns, lun], hosts: [hosts, host], sets: [sets, set], policies: [policies, policy],
    events: [events], maintenance: [maintenance] };

let view = null;
let path = [];

function navigation() {
    return h('nav', { 'aria-label': 'Umbra' }, h('ul', {}, Object.entries(VIEWS).map(([word, [all]]) => {
        const item = link(word ? [word] : [], all.title);
        if ((path[0] || '') === word)
            item.setAttribute('aria-current', 'page');
        return h('li', {}, item);
    })));
}

function heading() {
    const { status, error } = data;
    return [
        h('h1', {}, 'Umbra', status ? h('span', { class: 'array' }, ` ${status.array.name}`) : null),
        navigation(),
        error ? h('div', { class: 'failure', role: 'alert' }, h('p', {}, error.message), error.hint ? h('p', {}, error.hint) : null) : null,
        !error && standsBy() ? h('div', { class: 'hint', role: 'status' }, 'This controller stands by: copy sets, policies, resyncs, the recycle bin and '
            + 'what the pool holds are not shown here. Ask the controller that owns the array.') : null,
    ];
}

/** A dialog for an action; afterwards what it changed is fetched. */
function run(name, subject) {
    openDialog(actions[name], subject, data, outcome => {
        if (outcome.output === undefined || outcome.failed)
            notify(outcome.message, outcome.failed ? 'error' : 'done');
        for (const text of outcome.result ? [outcome.result.warning, outcome.result.note] : []) {
            if (text)
                notify(text, 'warning');
        }
        if (outcome.go)
            cockpit.location.go(outcome.go);
        forgetSpace();
        refresh();
    });
}

function draw() {
    const ready = (!data.error || view.offline) && view.ready(data, path);
    patch(document.getElementById('head'), heading());
    if (ready)
        patch(document.getElementById('view'), view.render({ data, path, run, redraw: draw, refresh }));
    else
        patch(document.getElementById('view'), h('p', { class: 'empty' }, data.error ? 'Nothing is shown until umbrad answers.' : 'Loading …'));
    document.body.dataset.ready = String(Boolean(ready));
}

function show() {
    ({ path } = cockpit.location);
    const [all, one] = VIEWS[path[0] || ''] || VIEWS[''];
    view = path.length > 1 && one ? one : all;
    document.title = `${view.title} – Umbra`;
    want(view.needs(), view.fetch ? () => view.fetch(path) : null, draw);
    draw();
}

followTheme();
cockpit.addEventListener('locationchanged', () => {
    show();
    document.getElementById('view').focus();
});
show();
