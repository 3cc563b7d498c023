// SPDX-License-Identifier: Apache-2.0
// Makes and updates elements. Text becomes text nodes and nothing else, so that a name with markup in it is shown as it is.
// Views are functions that make the whole of what they show; patch() changes what is there into it, and so keeps the
// focus, the scrolling and what is open.
const SVG = 'http://www.w3.org/2000/svg';
const HANDLERS = ['onclick', 'onchange', 'oninput', 'onkeydown', 'onsubmit'];

function append(node, children) {
    for (const child of children.flat(Infinity)) {
        if (child === null || child === undefined || child === false)
            continue;
        node.append(child instanceof Node ? child : document.createTextNode(String(child)));
    }
}

function make(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes || {})) {
        if (value === null || value === undefined || value === false)
            continue;
        if (HANDLERS.includes(name))
            node[name] = value;
        else if (name === 'style') // by the object model: the content security policy has no inline styles
            Object.entries(value).forEach(([property, text]) => node.style.setProperty(property, text));
        else
            node.setAttribute(name, value === true ? '' : String(value));
    }
    append(node, children);
    return node;
}

/** An element of HTML. Children: texts, nodes, lists of them; null and false are left out. */
export function h(tag, attributes, ...children) {
    return make(document.createElement(tag), attributes, children);
}

/** An element of SVG. */
export function svg(tag, attributes, ...children) {
    return make(document.createElementNS(SVG, tag), attributes, children);
}

const keyOf = node => (node.nodeType === Node.ELEMENT_NODE ? node.getAttribute('data-key') : null);

function patchAttributes(old, fresh) {
    for (const { name } of [...old.attributes]) {
        if (name !== 'style' && !fresh.hasAttribute(name) && !(name === 'open' && old.nodeName === 'DETAILS'))
            old.removeAttribute(name);
    }
    for (const { name, value } of [...fresh.attributes]) {
        if (name !== 'style' && old.getAttribute(name) !== value)
            old.setAttribute(name, value);
    }
    if (old.style.cssText !== fresh.style.cssText)
        old.style.cssText = fresh.style.cssText;
    for (const handler of HANDLERS)
        old[handler] = fresh[handler];
}

function patchNode(old, fresh) {
    if (old.nodeType === Node.TEXT_NODE) {
        if (old.data !== fresh.data)
            old.data = fresh.data;
        return;
    }
    patchAttributes(old, fresh);
    patchChildren(old, [...fresh.childNodes]);
}

const alike = (old, fresh) => old.nodeType === fresh.nodeType && old.nodeName === fresh.nodeName;

function patchChildren(parent, wanted) {
    const keyed = new Map();
    const keys = new Set(wanted.map(keyOf));

    for (const child of [...parent.childNodes]) {
        const key = keyOf(child);
        if (key !== null && keys.has(key))
            keyed.set(key, child);
        else if (key !== null)
            child.remove();
    }
    let at = parent.firstChild;
    for (const fresh of wanted) {
        const key = keyOf(fresh);
        let old = key === null ? at : keyed.get(key);
        if (!old || !alike(old, fresh) || (key === null && keyOf(old) !== null)) {
            parent.insertBefore(fresh, at);
            continue;
        }
        if (old === at)
            at = at.nextSibling;
        else
            parent.insertBefore(old, at);
        patchNode(old, fresh);
    }
    while (at) {
        const next = at.nextSibling;
        at.remove();
        at = next;
    }
}

/** Makes parent's children those: a list as h() takes it. */
export function patch(parent, ...children) {
    const scratch = document.createElement('div');
    append(scratch, children);
    patchChildren(parent, [...scratch.childNodes]);
}
