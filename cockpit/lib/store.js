// SPDX-License-Identifier: Apache-2.0
// What the page knows of the array: lists that are fetched again and again while a view shows them, the load's history for
// the charts, and events as they come. One round after the other, never two at a time; a round that took long is
// followed by a longer pause.
import * as array from './array.js';

const PAUSE_MS = 2000;
const PAUSE_FACTOR = 10; // an array of 10,000 LUNs is not kept busy with telling of them
export const WINDOW_MS = 300000; // of the charts
const SPACE_LUNS_MAX = 200;
const SPACE_PAUSE_MS = 60000;
const EVENTS_MAX = 1000;

const SOURCES = {
    status: () => array.call('status'),
    luns: () => array.list('lun.list', 'luns'),
    shadows: () => array.list('shadow.list', 'luns'),
    recycled: () => array.list('recycle.list', 'luns'),
    jobs: () => array.list('resync.list', 'jobs'),
    hosts: () => array.list('host.list', 'hosts'),
    maps: () => array.list('map.list', 'mappings'),
    sets: () => array.list('set.list', 'sets', data.allSets ? { all: true } : {}),
    policies: () => array.list('policy.list', 'policies'),
    scrub: () => array.call('pool.scrub_status'),
    load: sampleLoad,
    space: sampleSpace,
};

/** Only the owner of the array tells them; a page of a controller that stands by says so (main.js), and shows none. */
const OWNERS = { recycled: [], jobs: [], sets: [], policies: [], scrub: { checksums: false } };

export function standsBy() {
    const controller = data.status && data.status.controller;
    return Boolean(controller && controller.role !== 'owner');
}

/** What is known. error: an RpcError while umbrad does not answer. */
export const data = { events: [], history: [], error: null, allSets: false, rates: new Map(), space: null };

let before = null;
let timer = null;
let running = null;
let again = false;
let following = null;
let needs = [];
let detail = null; // async () => {}: what else the view wants
let changed = () => {};

// ---- load: counters become rates

const NOTHING = { operations: 0, bytes: 0, ns: 0 };

function sum(hosts, kind) {
    return hosts.reduce((all, host) => ({
        operations: all.operations + host[kind].operations, bytes: all.bytes + host[kind].bytes, ns: all.ns + host[kind].ns,
    }), NOTHING);
}

function difference(now, then, seconds) {
    const operations = Math.max(0, now.operations - then.operations);
    return {
        operations: operations / seconds,
        bytes: Math.max(0, now.bytes - then.bytes) / seconds,
        latency: operations ? Math.max(0, now.ns - then.ns) / operations : 0,
    };
}

/** Rates of each session between two answers of `stats`, as umbractl top has them. */
function sessionRates(now, then, seconds) {
    const old = new Map((then || []).map(session => [`${session.initiator} ${session.peer}`, session]));
    return now.map(session => {
        const last = old.get(`${session.initiator} ${session.peer}`) || session;
        const perSecond = member => Math.max(0, session[member] - last[member]) / seconds;
        return { ...session, commands_s: perSecond('commands'), in_s: perSecond('bytes_in'), out_s: perSecond('bytes_out') };
    });
}

async function sampleLoad() {
    const hosts = await array.list('load.hosts', 'hosts');
    const stats = await array.call('stats');
    const now = { at: performance.now(), read: sum(hosts, 'read'), write: sum(hosts, 'write'), sessions: stats.sessions };
    const seconds = before ? Math.max(0.001, (now.at - before.at) / 1000) : 1;
    if (before) {
        data.history = [...data.history.filter(sample => sample.at > now.at - WINDOW_MS), {
            at: now.at,
            read: difference(now.read, before.read, seconds),
            write: difference(now.write, before.write, seconds),
            queue: hosts.reduce((all, host) => all + host.queue, 0),
        }];
    }
    data.sessions = sessionRates(stats.sessions, before && before.sessions, seconds);
    before = now;
    return hosts;
}

// ---- space: what only copies hold

/** Of each LUN what it shows; the rest of what was written through it only its copies hold. A walk through the map. */
async function sampleSpace() {
    const old = data.space;
    if (old && performance.now() - old.at < SPACE_PAUSE_MS)
        return old;
    const luns = await array.list('lun.list', 'luns');
    const shadows = await array.list('shadow.list', 'luns');
    const live = new Map();
    for (const lun of luns.slice(0, SPACE_LUNS_MAX)) {
        const space = await array.call('lun.space', { lun: lun.id }).catch(() => ({}));
        if (typeof space.exclusive_bytes === 'number')
            live.set(lun.id, Math.min(lun.used_bytes, space.exclusive_bytes + space.shared_bytes));
    }
    const originals = luns.reduce((all, lun) => all + lun.used_bytes, 0);
    const shown = luns.reduce((all, lun) => all + (live.has(lun.id) ? live.get(lun.id) : lun.used_bytes), 0);
    const copies = shadows.reduce((all, lun) => all + lun.used_bytes, 0);
    return { at: performance.now(), shown, held: originals - shown + copies, counted: live.size, luns: luns.length };
}

/** After a change: the space is counted again. */
export function forgetSpace() {
    if (data.space)
        data.space.at = -SPACE_PAUSE_MS;
}

// ---- events

function take(events) {
    const last = data.events.length ? data.events[data.events.length - 1].serial : 0;
    data.events = [...data.events, ...events.filter(event => event.serial > last)].slice(-EVENTS_MAX);
}

/** Follows the events on a connection of its own; again after it was lost. */
async function follow() {
    if (following && !following.closed)
        return;
    const started = (await array.call('status')).array.started_unix_ms;
    if (started !== data.eventsOf)
        data.events = []; // a restarted umbrad counts anew
    data.eventsOf = started;
    following = await array.connect((method, event) => {
        take([event]);
        changed();
    }, () => {});
    const last = data.events.length ? data.events[data.events.length - 1].serial : 0;
    await following.call('events.follow', { after: last });
}

// ---- rounds

async function round() {
    try {
        for (const name of new Set(['status', ...needs, 'load']))
            data[name] = name in OWNERS && standsBy() ? OWNERS[name] : await SOURCES[name]();
        await follow();
        if (detail)
            await detail();
        data.error = null;
    } catch (error) {
        if (!error.lost)
            console.warn('umbra:', error.message);
        data.error = error;
        before = null;
    }
}

async function loop() {
    const begun = performance.now();
    clearTimeout(timer);
    again = false;
    running = round();
    await running;
    running = null;
    changed();
    const took = performance.now() - begun;
    if (again)
        loop();
    else
        timer = setTimeout(() => !document.hidden && !running && loop(), Math.max(PAUSE_MS, PAUSE_FACTOR * took));
}

/** Fetches now, or again when a round is under way. */
export function refresh() {
    if (running)
        again = true;
    else
        loop();
}

/** What the view needs from now on. onChange: called after each round. */
export function want(names, fetchDetail, onChange) {
    needs = names;
    detail = fetchDetail;
    changed = onChange;
    refresh();
}

document.addEventListener('visibilitychange', () => !document.hidden && refresh());
