// SPDX-License-Identifier: Apache-2.0
// The fields of forms: each kind knows its element and how what was typed becomes a value. Empty text is undefined.
import { h } from '../lib/dom.js';
import * as parse from '../lib/parse.js';

const text = element => element.value.trim() || undefined;
const parsed = reader => (element, field) => {
    const typed = text(element);
    return typed === undefined ? undefined : reader(typed, field);
};
const input = (type, more) => (field, id) =>
    h('input', { id, type, value: field.value || null, autocomplete: 'off', spellcheck: 'false', ...more });

function choice(field, id) {
    const options = field.options.map(option =>
        h('option', { value: option.value, selected: option.value === field.value }, option.label));
    return h('select', { id }, options);
}

function many(field, id) {
    const boxes = field.options.map((option, at) => h('label', { class: 'box' },
        h('input', { type: 'checkbox', value: option.value, id: `${id}-${at}`, checked: (field.value || []).includes(option.value) }),
        h('span', {}, option.label)));
    return h('div', { id, class: 'many', role: 'group', tabindex: '-1' }, boxes.length ? boxes : h('span', {}, 'There are none.'));
}

const KINDS = {
    text: { make: input('text'), read: text },
    secret: { make: input('password', { autocomplete: 'new-password' }), read: element => element.value || undefined },
    size: { make: input('text'), read: parsed(parse.size) },
    duration: { make: input('text'), read: parsed(parse.duration) },
    date: { make: input('text'), read: parsed(parse.date) },
    number: { make: input('text', { inputmode: 'numeric' }), read: parsed((typed, field) => parse.number(typed, field.min, field.max)) },
    flag: { make: (field, id) => h('input', { id, type: 'checkbox', checked: Boolean(field.value) }), read: element => element.checked },
    choice: { make: choice, read: text },
    many: { make: many, read: element => [...element.querySelectorAll('input:checked')].map(box => box.value) },
    area: { make: (field, id) => h('textarea', { id, rows: 12, spellcheck: 'false' }, field.value || ''), read: text },
    lines: {
        make: (field, id) => h('textarea', { id, rows: 2, spellcheck: 'false' }, (field.value || []).join('\n')),
        read: element => element.value.split('\n').map(line => line.trim()).filter(line => line),
    },
};

/** A field in its row: { row, read(), fail(message), element }. */
export function makeField(field, id) {
    const kind = KINDS[field.type];
    const hintId = `${id}-hint`;
    const element = kind.make(field, id);
    const hint = h('p', { class: 'hint', id: hintId }, field.hint || '');
    const group = field.type === 'many';
    const label = group ? h('span', { class: 'label', id: `${id}-label` }, field.label)
        : h('label', { for: id, class: field.type === 'flag' ? 'box' : 'label' }, field.label);

    element.setAttribute('aria-describedby', hintId);
    if (group)
        element.setAttribute('aria-labelledby', `${id}-label`);
    if (field.required && !group)
        element.setAttribute('aria-required', 'true');
    const row = field.type === 'flag' ? h('div', { class: 'field flag' }, element, label, hint)
        : h('div', { class: 'field' }, label, element, hint);
    const fail = message => {
        hint.textContent = message || field.hint || '';
        hint.classList.toggle('wrong', Boolean(message));
        if (!group)
            element.setAttribute('aria-invalid', message ? 'true' : 'false');
    };
    const read = () => {
        const value = kind.read(element, field);
        if (field.required && (value === undefined || (Array.isArray(value) && !value.length)))
            throw new parse.Wrong('This is needed.');
        return value;
    };
    return { field, row, element, read, fail };
}
