// SPDX-License-Identifier: Apache-2.0
// The management socket through Cockpit's channel: JSON-RPC 2.0, one message a line (docs/management.md). The bridge opens
// the socket with the rights of who is logged in, as administrator where that is turned on; umbrad decides.
const ANSWER_BYTES_MAX = 64 * 1024 * 1024;

/** Why a call failed, in umbrad's words: message, hint (what to do), errno (ENOENT …), id (docs/messages.md); or the connection's
 * problem. */
export class RpcError extends Error {
    constructor({ code, message, data }) {
        super(message);
        this.code = code;
        this.hint = (data && data.hint) || '';
        this.errno = (data && data.name) || '';
        this.id = (data && data.id) || '';
    }
}

const PROBLEMS = {
    'not-found': ['umbrad does not answer: its socket is not there.', 'Is it running? systemctl status umbrad'],
    'access-denied': ['You may not open umbrad’s socket.',
        'Turn on administrative access, or become a member of the group that [management] group names.'],
    'connection-refused': ['umbrad does not answer: nobody listens at its socket.', 'Is it running? systemctl status umbrad'],
};

function problemError(problem) {
    const [message, hint] = PROBLEMS[problem] || ['umbrad ended the connection.', 'Is it running? systemctl status umbrad'];
    const error = new RpcError({ message, data: { hint, name: problem || 'disconnected' } });
    error.lost = true;
    return error;
}

export class Connection {
    /** socket: its path. onNotification: called with (method, params). onLost: called with an RpcError. */
    constructor(socket, onNotification = () => {}, onLost = () => {}) {
        this.onNotification = onNotification;
        this.onLost = onLost;
        this.waiting = new Map();
        this.nextId = 1;
        this.text = '';
        this.decoder = new TextDecoder();
        this.closed = null;
        this.channel = cockpit.channel({ payload: 'stream', unix: socket, superuser: 'try', binary: true });
        this.channel.addEventListener('message', (event, data) => this.received(data));
        this.channel.addEventListener('close', (event, options) => this.lost(problemError(options.problem)));
    }

    /** The result; rejects with an RpcError. */
    call(method, params = {}) {
        if (this.closed)
            return Promise.reject(this.closed);
        const id = this.nextId++;
        const line = `${JSON.stringify({ jsonrpc: '2.0', id, method, params })}\n`;
        return new Promise((resolve, reject) => {
            this.waiting.set(id, { resolve, reject });
            this.channel.send(new TextEncoder().encode(line));
        });
    }

    received(data) {
        this.text += this.decoder.decode(data, { stream: true });
        const lines = this.text.split('\n');
        this.text = lines.pop();
        lines.filter(line => line).forEach(line => this.message(line));
        if (this.text.length > ANSWER_BYTES_MAX)
            this.close();
    }

    message(line) {
        let message;
        try {
            message = JSON.parse(line);
        } catch (error) {
            this.close();
            return;
        }
        const call = this.waiting.get(message.id);
        if (message.method) {
            this.onNotification(message.method, message.params);
        } else if (call) {
            this.waiting.delete(message.id);
            if (message.error)
                call.reject(new RpcError(message.error));
            else
                call.resolve(message.result);
        } else if (message.error) { // to nobody's call: this peer may not
            this.lost(new RpcError(message.error));
        }
    }

    lost(error) {
        if (this.closed)
            return;
        this.closed = error;
        error.lost = true;
        for (const { reject } of this.waiting.values())
            reject(error);
        this.waiting.clear();
        this.channel.close();
        this.onLost(error);
    }

    close() {
        this.lost(problemError('terminated'));
    }
}
