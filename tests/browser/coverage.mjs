// SPDX-License-Identifier: Apache-2.0
// Without a browser: the page has every command and option of umbractl (standard input: {command: [option …]}, from its own
// help), and forms read what is typed as umbractl does.
import fs from 'node:fs';
import { actions } from '../../cockpit/actions/index.js';
import { socketOf } from '../../cockpit/lib/array.js';
import * as format from '../../cockpit/lib/format.js';
import * as parse from '../../cockpit/lib/parse.js';
import { phasesOf } from '../../cockpit/ui/timeline.js';
import { VERBS } from '../../cockpit/verbs.js';

const commands = JSON.parse(fs.readFileSync(0, 'utf8'));
const findings = [];
const say = text => findings.push(text);
const SUBJECT = { name: 'x', iqns: [], import_hosts: [], luns: [], size_bytes: 0 };

/** The options of umbractl that an action's fields stand for. */
function covered(name) {
    const action = actions[name];
    if (!action)
        return say(`verbs.js names the action ${name}, and there is none`) || [];
    return [...action.covers || [], ...action.fields({}, SUBJECT).flatMap(field => field.covers || [])];
}

for (const [command, options] of Object.entries(commands)) {
    const verb = VERBS[command];
    if (!verb) {
        say(`the page has no ${command}`);
        continue;
    }
    const names = verb.actions || [];
    const has = new Set([...names.flatMap(covered), ...Object.keys(verb.without || {})]);
    options.filter(option => !has.has(option)).forEach(option => say(`the page's ${command} has no --${option}`));
    Object.keys(verb.without || {}).filter(option => !options.includes(option)).forEach(option => say(`${command} has no --${option}`));
    if (!names.length && !verb.view)
        say(`${command} has neither an action nor a view`);
    if (/^(.* )?(delete|abort|purge|break|resync|lock|restore|reidentify|apply)$/.test(command) && !names.every(name => actions[name] && actions[name].confirm))
        say(`${command} destroys, and asks for no name`);
}
Object.keys(VERBS).filter(command => !commands[command]).forEach(command => say(`umbractl has no ${command}`));
const named = new Set(Object.values(VERBS).flatMap(verb => verb.actions || []));
Object.keys(actions).filter(name => !named.has(name)).forEach(name => say(`verbs.js does not name the action ${name}`));

// What is typed, as umbractl reads it. null: refused.
const value = (reader, ...words) => {
    try {
        return reader(...words);
    } catch (error) {
        return error instanceof parse.Wrong ? null : say(`${words[0]}: ${error.stack}`);
    }
};
const expect = (what, found, wanted) => JSON.stringify(found) === JSON.stringify(wanted) || say(`${what}: ${found}, not ${wanted}`);
for (const [text, wanted] of [['500G', 500 * 2 ** 30], ['1.5T', 1.5 * 2 ** 40], ['1048576', 1048576], ['4KiB', 4096], ['4 k', 4096], ['4Ki', 4096], ['7B', 7],
    ['0', null], ['-1', null], ['1.5', null], ['1.5B', null], ['4KI', null], ['4 KB ', null], ['1e9', null], ['0x10', null], ['9999999P', null], ['', null], ['1G1', null]])
    expect(`size ${text}`, value(parse.size, text), wanted);
for (const [text, wanted] of [['90min', 5400000], ['12h', 43200000], ['14d', 14 * 86400000], ['8w', 8 * 604800000], ['7y', 7 * 365 * 86400000], ['1 s', 1000],
    ['0h', null], ['5m', null], ['h', null], ['1.5h', null], ['99999999999999999y', null]])
    expect(`time ${text}`, value(parse.duration, text), wanted);
for (const [text, wanted] of [['2027-01-31T18:00:00Z', Date.UTC(2027, 0, 31, 18)], ['2027-02-30', null], ['2027-01-31 25:00', null], ['tomorrow', null],
    ['2027-01-31', new Date(2027, 0, 31).getTime()], ['2027-01-31 18:00', new Date(2027, 0, 31, 18).getTime()]])
    expect(`date ${text}`, value(parse.date, text), wanted);
for (const [text, wanted] of [['1', 1], ['16383', 16383], ['16384', null], ['0', null], ['1.0', null], ['+1', null]])
    expect(`number ${text}`, value(parse.number, text, 1, 16383), wanted);
expect('size', [0, 1023, 1536, 2 ** 40].map(format.bytes), ['0 B', '1023 B', '1.5 KiB', '1 TiB']);
expect('short times', [801, 148323, 1.5e6, 2.1e9, null].map(format.nanoseconds), ['801 ns', '148.3 µs', '1.5 ms', '2.10 s', 'not told']);
expect('long times', [0, 3600000, 90061000].map(format.duration), ['-', '1 h', '1 d 1 h']);
for (const [text, wanted] of [['[management]\nsocket = /a/b ; c\n', '/a/b'], ['[pool]\nsocket = /x\n', null], ['', null], ['[management]\n# socket = /x\nsocket=/y\n', '/y']])
    expect(`socket of ${JSON.stringify(text)}`, socketOf(text), wanted);

// A timeline never leaves its scale, whatever a host told.
const told = { frozen_us: 10, held_us: 95, flush_us: 61, commit_us: 12, release_us: 22, import_us: null, window_ns: 900, durable_ns: 500, writers: 'took part' };
for (const row of phasesOf(told))
    for (const bar of row.bars)
        if (bar.from < 0 || Math.max(bar.from, bar.to) > row.scale + 1e-9)
            say(`the bar ${bar.label} of ${row.label} leaves the scale`);

findings.forEach(text => console.log(text));
console.log(`${Object.keys(commands).length} commands, ${Object.keys(actions).length} actions: ${findings.length} findings`);
process.exit(findings.length ? 1 : 0);
