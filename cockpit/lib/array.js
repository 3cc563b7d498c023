// SPDX-License-Identifier: Apache-2.0
// The array behind the page: where its socket is, calls to umbrad (connecting again when that has gone), whole lists, and
// umbractl for what works on pools that no umbrad has open.
import { Connection } from './rpc.js';
import { settings } from '../settings.js';

const LINES_PER_PAGE = 1000;
const LOAD_PER_PAGE = 250; // I/O waits while umbrad writes an answer

let connection = null;
let socket = null;

/** [management] socket of a configuration's text, null: it names none. Comments and blanks as libinih reads them. */
export function socketOf(text) {
    let section = '';
    let found = null;
    for (const raw of text.split('\n')) {
        const line = raw.replace(/(^|\s)[;#].*$/, '').trim();
        const heading = /^\[([^\]]*)\]$/.exec(line);
        const pair = /^socket\s*[=:]\s*(.*)$/.exec(line);
        if (heading)
            section = heading[1].trim();
        else if (pair && section === 'management')
            found = pair[1].trim() || found;
    }
    return found;
}

/** The socket's path. The configuration may be unreadable: then the default. */
export async function findSocket() {
    if (!socket) {
        const file = cockpit.file(settings.configuration, { superuser: 'try' });
        const text = await file.read().catch(() => null);
        file.close();
        socket = (text && socketOf(text)) || settings.socket;
    }
    return socket;
}

export async function connect(onNotification, onLost) {
    return new Connection(await findSocket(), onNotification, onLost);
}

/** A method of umbrad. Rejects with an RpcError. */
export async function call(method, params) {
    if (!connection || connection.closed) {
        socket = connection ? null : socket; // a restarted umbrad may have another configuration
        connection = await connect();
    }
    return connection.call(method, params);
}

/** All entries of a list, page by page. */
export async function list(method, member, params = {}) {
    const limit = method.startsWith('load.') ? LOAD_PER_PAGE : LINES_PER_PAGE;
    const all = [];
    let offset = 0;
    while (offset !== null) {
        const page = await call(method, { ...params, offset, limit });
        all.push(...page[member]);
        offset = page.next > offset ? page.next : null;
    }
    return all;
}

/** What a terminal would show: of what was written over a line, the last. */
const asShown = text => text.replace(/\x1b\[K/g, '').replace(/\r\n/g, '\n').replace(/[^\n]*\r(?=[^\n])/g, '');

/** umbractl as a program, as administrator where the session is one. Resolves with { text, code }. input: for its standard
 * input. job: { say(text), onCancel(stop) }: it has a terminal, tells its progress, and can be stopped. */
export async function umbractl(words, { input, job } = {}) {
    const path = await findSocket();
    const options = { superuser: 'try', err: 'out', environ: [`UMBRA_SOCKET=${path}`], pty: Boolean(job) };
    return new Promise(resolve => {
        let text = '';
        const process = cockpit.spawn([settings.umbractl, ...words], options);
        process.stream(data => {
            text += data;
            if (job)
                job.say(asShown(text));
        });
        if (!job)
            process.input(input || '');
        else
            job.onCancel(() => process.close('cancelled'));
        process.then(() => resolve({ text: asShown(text), code: 0 }))
            .catch(error => resolve({ text: asShown(text) || error.message, code: error.exit_status || 1 }));
    });
}

/** The same as the outcome of an action. */
export async function umbractlOutcome(words, options) {
    const done = await umbractl(words, options);
    return { output: done.text, failed: done.code !== 0, message: `umbractl ${words.slice(0, 2).join(' ')}: exit code ${done.code}` };
}
