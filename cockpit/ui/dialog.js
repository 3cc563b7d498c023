// SPDX-License-Identifier: Apache-2.0
// An action as a dialog: its fields, what is wrong with them, what umbrad said. The browser's own dialog element keeps the
// focus inside and gives it back. What destroys asks for a name to be typed, and its button does nothing until it is right.
import { h } from '../lib/dom.js';
import { Wrong } from '../lib/parse.js';
import { makeField } from './fields.js';

/** Values of all fields, null when one is wrong (the first of those has the focus then). */
function readAll(fields) {
    const values = {};
    let first = null;
    for (const entry of fields) {
        try {
            values[entry.field.name] = entry.read();
            entry.fail('');
        } catch (error) {
            if (!(error instanceof Wrong))
                throw error;
            entry.fail(error.message);
            first = first || entry;
        }
    }
    if (first)
        first.element.focus();
    return first ? null : values;
}

/** What stands in the fields now, as far as it can be read. */
function roughly(fields) {
    const values = {};
    for (const { field, read } of fields) {
        try {
            values[field.name] = read();
        } catch (error) {
            values[field.name] = undefined;
        }
    }
    return values;
}

/** The field for the name that is to be typed; hidden while nothing is destroyed. */
function makeGuard(action, subject, data, fields) {
    const guard = makeField({ name: 'confirm', type: 'text', label: ' ', hint: '' }, 'field-confirm');
    const label = guard.row.querySelector('label');
    const wanted = values => (action.confirm ? action.confirm(subject, values, data) || '' : '');
    const update = () => {
        const name = wanted(roughly(fields));
        guard.row.hidden = !name;
        label.textContent = `${action.confirmLabel || 'Type the name to go on'}: ${name}`;
    };
    const holds = values => {
        const name = wanted(values);
        const right = !name || guard.element.value === name;
        guard.fail(right ? '' : `Type ${name} exactly as it stands here.`);
        if (!right)
            guard.element.focus();
        return right;
    };
    update();
    return { row: guard.row, update, holds };
}

/** The dialog around a form. */
function frame(action, subject, form) {
    const name = subject && (subject.title || subject.name);
    return h('dialog', { class: action.wide ? 'wide' : null, 'aria-labelledby': 'dialog-title', 'aria-describedby': 'dialog-intro' },
        h('h2', { id: 'dialog-title' }, name ? `${action.title}: ${name}` : action.title),
        h('p', { id: 'dialog-intro' }, action.intro || ''), form);
}

function errorText(error) {
    return [error.message, error.hint, error.id].filter(text => text).map(text => h('p', {}, text));
}

/** Shows it. data: the lists to choose from. done: called with what run() returned, when it has succeeded. */
export function openDialog(action, subject, data, done) {
    const fields = action.fields(data, subject).map(field => makeField(field, `field-${field.name}`));
    const guard = makeGuard(action, subject, data, fields);
    const failure = h('div', { class: 'failure', role: 'alert' });
    const output = h('pre', { class: 'output', tabindex: '0', hidden: true, 'aria-label': 'What was printed' });
    const submit = h('button', { type: 'submit', class: action.danger ? 'danger' : 'primary' }, action.submit);
    const cancel = h('button', { type: 'button', onclick: () => leave() }, 'Close');
    let busy = false;
    let stop = null; // what stops the job that runs
    const job = { say: text => say(text), onCancel: wayToStop => { stop = wayToStop; cancel.textContent = 'Cancel'; } };

    function leave() {
        if (busy && stop)
            stop();
        else
            dialog.close();
    }

    async function go() {
        const values = readAll(fields);
        failure.replaceChildren();
        if (busy || !values || !guard.holds(values))
            return;
        busy = true;
        submit.disabled = true;
        try {
            const outcome = await action.run(values, subject, job);
            if (outcome.output === undefined)
                dialog.close();
            else
                showOutput(outcome);
            done(outcome);
        } catch (error) {
            failure.replaceChildren(...errorText(error));
        }
        busy = false;
        stop = null;
        cancel.textContent = 'Close';
        submit.disabled = false;
    }

    function say(text) {
        output.hidden = false;
        output.textContent = text;
    }

    function showOutput({ output: text, failed, message }) {
        say(text);
        if (failed)
            failure.replaceChildren(h('p', {}, message));
        output.focus();
    }

    const form = h('form', {
        method: 'dialog', novalidate: true,
        onsubmit: event => { event.preventDefault(); go(); },
        oninput: () => guard.update(),
        onchange: () => guard.update(),
    }, fields.map(entry => entry.row), guard.row, failure, h('div', { class: 'buttons' }, submit, cancel), output);
    const dialog = frame(action, subject, form);

    dialog.addEventListener('cancel', event => { // Escape
        event.preventDefault();
        leave();
    });
    dialog.addEventListener('close', () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
    return dialog;
}
