// SPDX-License-Identifier: Apache-2.0
// What can be done with the two controllers of an array in Ceph.
import { call } from '../lib/array.js';
import { Wrong } from '../lib/parse.js';

const LOOK_MS = 200;

/** The list when the move is over. */
async function moved(job) {
    for (let told = '';;) {
        await new Promise(resolve => setTimeout(resolve, LOOK_MS));
        const list = await call('controller.list');
        const { state, text } = list.move;
        if (state === 'failed')
            throw new Wrong(`The array was not moved: ${text}`);
        if (state === 'none')
            return list;
        if (job && text && text !== told)
            job.say(`Waiting: ${text}`);
        told = text;
    }
}

export const controllerActions = {
    'controller-move': {
        title: 'Move the array', submit: 'Move', danger: true,
        intro: 'The controller that stands by owns the array then, and the one that owns it now stands by. Copy sets that are being made, and other calls, have ' +
            '30 seconds to end, while hosts are served as ever; else nothing changes. Hosts go on over the other path, within about a second.',
        fields: () => [{ name: 'force', label: 'Do not wait for copy sets that are being made: they are undone', type: 'flag', covers: ['force'] }],
        run: async ({ force }, subject, job) => {
            const to = await call('controller.move', { force: Boolean(force) });
            const result = await moved(job);
            return { result, message: `Controller ${to.to}, on ${to.machine}, owns the array` };
        },
    },
};
