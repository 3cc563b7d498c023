// SPDX-License-Identifier: Apache-2.0
// Everything that umbractl can change, changed by the page's forms as a user does it; what destroys asks for the name. Then
// what no form offers, over the page's own channel: umbrad refuses it, and nothing has changed.
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { actions } from '../../cockpit/actions/index.js';
import { accessible, browse, check, ctl, go, picture, ready, until, world } from './browser.mjs';

const used = new Set();
const pool = path.join(world.scratch, 'pool-2');

async function fill(frame, values) {
    for (const [name, value] of Object.entries(values)) {
        const field = frame.locator(`dialog #field-${name}`);
        const tag = await field.evaluate(element => (element.type === 'checkbox' ? 'checkbox' : element.tagName));
        if (tag === 'checkbox')
            await field.setChecked(value);
        else if (tag === 'SELECT')
            await field.selectOption({ label: value });
        else if (tag === 'DIV')
            for (const label of value)
                await field.getByLabel(label, { exact: true }).check();
        else
            await field.fill(value);
    }
}

const submit = frame => frame.locator('dialog button[type=submit]').click();
const close = frame => frame.locator('dialog .buttons button', { hasText: 'Close' }).click();
const gone = frame => frame.waitForSelector('dialog', { state: 'detached' });

/** Without the name, and with a wrong one, nothing happens but a word about it. */
async function guarded(frame, name) {
    for (const typed of ['', `${name}x`]) {
        await frame.locator('#field-confirm').fill(typed);
        await submit(frame);
        await frame.waitForSelector('#field-confirm-hint.wrong');
    }
    await frame.locator('#field-confirm').fill(name);
}

/** Opens an action's form by its button. scope: where, if there are several. */
async function open(frame, name, scope = '#view') {
    await frame.locator(`${scope} [data-action="${name}"]`).first().click();
    await frame.waitForSelector('dialog[open]');
    if (!used.has(name))
        await accessible(frame, `the form of ${name}`, 'dialog');
    used.add(name);
}

/** The whole: button, fields, the name where one is wanted, and the dialog is closed when umbrad has said yes. */
async function act(frame, name, values = {}, { confirm, scope, output } = {}) {
    await open(frame, name, scope);
    await fill(frame, values);
    if (confirm)
        await guarded(frame, confirm);
    await submit(frame);
    if (output) {
        await until(`${name} prints ${output}`, async () => output.test(await frame.locator('dialog pre.output').innerText().catch(() => '')));
        await close(frame);
    }
    await until(`${name} has ended`, async () => {
        const failure = await frame.locator('dialog .failure').innerText({ timeout: 1 }).catch(() => '');
        check(!failure, `${name} was refused: ${failure}`);
        return await frame.locator('dialog').count() === 0;
    });
    console.log(`ok   ${name}`);
}

/** The same, but umbrad refuses, in words that stand in the dialog. */
async function refused(frame, name, values, words, confirm, scope) {
    await open(frame, name, scope);
    await fill(frame, values);
    if (confirm)
        await frame.locator('#field-confirm').fill(confirm);
    await submit(frame);
    await until(`${name} is refused`, async () => words.test(await frame.locator('dialog .failure').innerText()));
    await close(frame);
    await gone(frame);
    console.log(`ok   ${name} is refused: ${words}`);
}

/** Follows a link in the view to what bears that name. */
async function visit(frame, view, name) {
    await go(frame, view);
    await frame.locator('#view').getByRole('link', { name, exact: true }).first().click();
    await until(`the page of ${name}`, async () => (await frame.locator('#view h2').first().innerText()) === name);
}

const copyOf = (set, lun) => ctl('set', 'show', set).members.find(member => member.lun === lun).shadow;

/** The page of a shadow LUN, by way of its set. */
async function visitCopy(frame, set, lun) {
    const copy = copyOf(set, lun);
    await visit(frame, 'Copy sets', set);
    await frame.locator('#view').getByRole('link', { name: copy, exact: true }).click();
    await until(`the page of ${copy}`, async () => (await frame.locator('#view h2').first().innerText()) === copy);
    return copy;
}

const lunOf = name => ctl('lun', 'list').luns.find(lun => lun.name === name);
const shadowOf = name => ctl('shadow', 'list').shadows.find(lun => lun.name === name);

async function luns(page, frame) {
    await go(frame, 'LUNs');
    await open(frame, 'lun-create');
    await accessible(frame, 'a form');
    await submit(frame);
    check(/needed/.test(await frame.locator('#field-name-hint').innerText()), 'an empty name is told');
    await fill(frame, { name: 'new', size: '8 potatoes' });
    await submit(frame);
    check(/is no size/.test(await frame.locator('#field-size-hint').innerText()), 'a size that is none is told');
    check(await frame.locator('#field-size').getAttribute('aria-invalid') === 'true', 'and so is the field');
    await accessible(frame, 'a form with what is wrong');
    await picture(page, 'form');
    await page.keyboard.press('Escape');
    await gone(frame);
    check(!lunOf('new'), 'nothing was made');
    await refused(frame, 'lun-create', { name: 'sql', size: '8M' }, /sql/);
    await refused(frame, 'lun-create', { name: '<b>x</b>', size: '8M' }, /is no name/);
    await act(frame, 'lun-create', { name: 'new', size: '8M' });
    check(lunOf('new').size_bytes === 8 << 20, 'the LUN is there');
    await until('its page is shown', async () => (await frame.locator('#view h2').first().innerText()) === 'new');
    await act(frame, 'lun-rename', { name: 'newer' });
    await until('the new name stands there', async () => (await frame.locator('#view h2').first().innerText()) === 'newer');
    await refused(frame, 'lun-resize', { size: '4M' }, /./);
    await act(frame, 'lun-resize', { size: '16M' });
    check(lunOf('newer').size_bytes === 16 << 20, 'it is larger');
    await act(frame, 'map', { host: 'backup', number: '5' });
    check(ctl('lun', 'show', 'newer').mapped_to[0].number === 5, 'it is mapped');
    await refused(frame, 'lun-delete', {}, /mapped/, 'newer');
    await act(frame, 'unmap');
    await until('it is unmapped', () => !ctl('lun', 'show', 'newer').mapped_to.length);
    await act(frame, 'lun-delete', {}, { confirm: 'newer' });
    await until('it is deleted', () => !lunOf('newer'));
}

/** Zeros do not count: random data, so that an import takes its time. */
function imageFile(name, bytes) {
    const file = path.join(world.scratch, name);
    fs.writeFileSync(file, crypto.randomBytes(bytes));
    return file;
}

async function images(frame) {
    await go(frame, 'LUNs');
    await act(frame, 'lun-import', { file: imageFile('disk.img', 4 << 20), name: 'imported', format: 'raw' }, { output: /imported/ });
    check(lunOf('imported').size_bytes === 4 << 20, 'the image is a LUN');
    await visit(frame, 'LUNs', 'imported');
    const file = path.join(world.scratch, 'out.img');
    await act(frame, 'lun-export', { file, format: 'raw' }, { output: /out\.img/ });
    check(fs.readFileSync(file).equals(fs.readFileSync(path.join(world.scratch, 'disk.img'))), 'and comes back as it was');
    await act(frame, 'lun-export', { file, format: 'raw', force: true }, { confirm: file, output: /out\.img/ });
    const copy = await visitCopy(frame, 'mine', 'log');
    await act(frame, 'shadow-export', { file: path.join(world.scratch, 'copy.qcow2') }, { output: /copy\.qcow2/ });
    check(fs.statSync(path.join(world.scratch, 'copy.qcow2')).size > 0 && shadowOf(copy), 'the copy is in a file');
    await go(frame, 'LUNs');
    await open(frame, 'lun-import');
    await fill(frame, { file: path.join(world.scratch, 'nowhere.img'), name: 'nowhere' });
    await submit(frame);
    await until('an import of nothing is refused', async () => /exit code/.test(await frame.locator('dialog .failure').innerText()));
    await close(frame);
    check(!lunOf('nowhere'), 'and leaves nothing');
}

async function sets(frame) {
    await go(frame, 'Copy sets');
    await act(frame, 'set-create', { name: 'mine', luns: ['sql', 'log'], label: 'by-hand', kind: 'plex: a full copy, made independent in the background' });
    const set = ctl('set', 'show', 'mine');
    check(set.label === 'by-hand' && set.state === 'kept' && set.members.every(member => member.copy === 'plex'), 'the set is as the form said');
    await until('its page is shown', async () => (await frame.locator('#view h2').first().innerText()) === 'mine');
    await open(frame, 'set-lock');
    await frame.locator('#field-confirm').fill('mine');
    await submit(frame);
    await until('one of the two is wanted', async () => /one of the two/.test(await frame.locator('dialog .failure').innerText()));
    await close(frame);
    await go(frame, 'Copy sets');
    await act(frame, 'set-create', { name: 'safe', luns: ['sql'] });
    await act(frame, 'set-lock', { for: '14d' }, { confirm: 'safe' });
    check(ctl('set', 'show', 'safe').lock_left_ms > 13 * 86400000, 'it is locked');
    await refused(frame, 'set-delete', {}, /locked/, 'safe');
    await go(frame, 'Copy sets');
    await act(frame, 'set-create', { name: 'fleeting', luns: ['log'], unkept: true });
    await act(frame, 'set-abort', {}, { confirm: 'fleeting' });
    await until('it is undone', () => !ctl('set', 'list').sets.some(found => found.name === 'fleeting'));
}

async function copies(frame) {
    const mapped = await visitCopy(frame, 'mine', 'log');
    await act(frame, 'shadow-map', { host: 'backup' });
    await until('the host stands there', async () => /backup/.test(await frame.locator('#view').innerText()));
    await act(frame, 'unmap');
    await until('the copy is unmapped', () => !shadowOf(mapped).mappings);
    await act(frame, 'shadow-map', { host: 'backup', number: '7' });
    await act(frame, 'shadow-unmap');
    await until('from all', () => !shadowOf(mapped).mappings);
    await act(frame, 'shadow-resync', { target: 'log' }, { confirm: 'log' });
    await until('the resync is done', () => ctl('resync', 'list').jobs.some(job => job.shadow === mapped && job.state === 'done'));
    await act(frame, 'shadow-delete', {}, { confirm: mapped });
    await until('the copy is deleted', () => !shadowOf(mapped));
    await until('the bin has it', async () => (await frame.locator('table[aria-label="Recycle bin"]').innerText().catch(() => '')).includes(mapped));
    await act(frame, 'shadow-undelete', {}, { scope: `tr:has-text("${mapped}")` });
    await until('it is back', () => shadowOf(mapped));
    await visitCopy(frame, 'mine', 'log');
    await act(frame, 'shadow-delete', {}, { confirm: mapped });
    await until('the bin has it again', async () => (await frame.locator('table[aria-label="Recycle bin"]').innerText().catch(() => '')).includes(mapped));
    await act(frame, 'shadow-purge', {}, { confirm: mapped, scope: `tr:has-text("${mapped}")` });
    await until('it is gone for good', () => !ctl('shadow', 'recycled').luns.some(lun => lun.name === mapped));
    await visitCopy(frame, 'older', 'log'); // which is locked
    await refused(frame, 'shadow-delete', {}, /locked/, copyOf('older', 'log'));
    const broken = await visitCopy(frame, 'independent', 'log');
    await act(frame, 'shadow-break', {}, { confirm: broken });
    await until('it is an ordinary LUN', () => lunOf(broken));
    await visit(frame, 'Copy sets', 'before-update');
    await act(frame, 'set-delete', {}, { confirm: 'before-update' });
    await until('the set is deleted', () => !ctl('set', 'list').sets.some(set => set.name === 'before-update'));
}

async function hosts(frame) {
    await go(frame, 'Hosts');
    await refused(frame, 'host-add', { name: 'bad', iqns: 'iqn.2026-01.test:bad', import: 'also those of the hosts named below (named)' }, /Name the hosts/);
    await act(frame, 'host-add', { name: 'db2', iqns: 'iqn.2026-01.test:db2\niqn.2026-01.test:db2-b', chap_secret: 'abcdefghijkl', control_lu: true,
        import: 'also those of the hosts named below (named)', import_hosts: ['db1'] });
    const host = ctl('host', 'show', 'db2');
    check(host.chap && host.control_lu && host.iqns.length === 2 && host.import_hosts[0] === 'db1', `the host is as the form said: ${JSON.stringify(host)}`);
    await until('its page is shown', async () => (await frame.locator('#view h2').first().innerText()) === 'db2');
    await refused(frame, 'host-set', { chap_secret: 'abcdefghijkm', no_chap: true }, /contradict/);
    await act(frame, 'host-set', { iqns: 'iqn.2026-01.test:db2', no_chap: true, control_lu: false, import: 'copies of all LUNs (any)' });
    const changed = ctl('host', 'show', 'db2');
    check(!changed.chap && !changed.control_lu && changed.iqns.length === 1 && changed.import === 'any', 'the host is changed');
    await act(frame, 'map-of-host', { lun: 'log', number: '9' });
    check(ctl('host', 'show', 'db2').mappings[0].number === 9, 'a LUN is mapped to it');
    await until('its LUN is shown', async () => await frame.locator('[data-action="unmap"]').count() === 1);
    await act(frame, 'unmap');
    await act(frame, 'session-logout');
    await act(frame, 'host-windows', {}, { output: /iscsi|Iscsi/ });
    await act(frame, 'host-delete', {}, { confirm: 'db2' });
    await until('the host is deleted', () => !ctl('host', 'list').hosts.some(found => found.name === 'db2'));
}

async function policies(frame) {
    await go(frame, 'Policies');
    await refused(frame, 'policy-create', { name: 'odd', luns: ['log'], every: '1h', keep: 'sometimes=3' }, /./);
    await act(frame, 'policy-create', { name: 'hourly', luns: ['log'], every: '1d', at: '02:30', keep: 'hourly=24,daily=7', label: 'h', lock: '1s' });
    const made = ctl('policy', 'show', 'hourly');
    check(made.every_ms === 86400000 && made.at === '02:30' && made.keep === 'hourly=24,daily=7' && made.label === 'h' && made.lock_ms === 1000, 'the policy is as the form said');
    await until('its page is shown', async () => (await frame.locator('#view h2').first().innerText()) === 'hourly');
    await act(frame, 'policy-set', { every: '2h', at: '', keep: '', hosts: true, lock: '' });
    const changed = ctl('policy', 'show', 'hourly');
    check(changed.every_ms === 7200000 && changed.at === null && changed.keep === '' && changed.hosts && !changed.lock_ms && changed.luns[0].name === 'log', 'the policy is changed');
    await act(frame, 'policy-delete', {}, { confirm: 'hourly' });
    check(!ctl('policy', 'list').policies.some(policy => policy.name === 'hourly'), 'the policy is deleted');
}

async function maintenance(page, frame) {
    await go(frame, 'Maintenance');
    await act(frame, 'scrub-start', { rate: '1M' });
    await act(frame, 'scrub-stop');
    await until('the scrub has stopped', () => ['stopped', 'finished'].includes(ctl('pool', 'scrub', 'status').state));
    await act(frame, 'pool-grow', { capacity: '1G' });
    check(ctl('pool', 'status').capacity_bytes === 2 ** 30, 'the pool is larger');
    await act(frame, 'pool-backup', { path: path.join(world.scratch, 'backup') });
    check(fs.readdirSync(path.join(world.scratch, 'backup')).length, 'the backup is there');
    await act(frame, 'pool-create', { path: pool, capacity: '64M', log: '8M' }, { output: /Pool made/ });
    await act(frame, 'pool-checksums', { path: pool, word: 'on' }, { output: /keeps checksums/ });
    await act(frame, 'pool-checksums', { path: pool, word: 'off' }, { output: /keeps no checksums/ });
    await act(frame, 'pool-checksums', { path: pool, word: 'on' }, { output: /keeps checksums/ });
    await act(frame, 'pool-check', { path: pool, data: true }, { output: /no findings/ });
    await act(frame, 'pool-check', { path: pool, repair: true }, { confirm: pool, output: /no findings/ });
    await act(frame, 'pool-upgrade', { path: pool }, { output: /new pools have/ });
    await act(frame, 'pool-reidentify', { path: pool, dry_run: true }, { output: /has no id yet/ });
    await act(frame, 'pool-reidentify', { path: pool }, { confirm: pool, output: /has no id yet/ });
    await act(frame, 'pool-dump', { path: pool }, { output: /superblock|pool/ });
    await act(frame, 'pool-grow', { path: pool, capacity: '128M' }, { output: /128 MiB/ });
    // The backup is another pool's: umbractl refuses, and its words are shown.
    await open(frame, 'pool-restore');
    await fill(frame, { path: pool, from: path.join(world.scratch, 'backup') });
    await guarded(frame, pool);
    await submit(frame);
    await until('pool-restore is refused', async () => /exit code 1/.test(await frame.locator('dialog .failure').innerText()));
    await close(frame);
    // The package for Ceph is not there: umbractl says so.
    for (const action of ['rbd-create', 'rbd-reidentify', 'rbd-destroy']) {
        await open(frame, action);
        await fill(frame, { pool: 'rbd', namespace: 'n', client: 'umbra', conf: '/etc/ceph/ceph.conf', array: 'a' });
        if (action !== 'rbd-create')
            await guarded(frame, 'a');
        await submit(frame);
        await until(`${action} is refused`, async () => /install the package umbra-rbd[^]*exit code 1|exit code 1[^]*install the package umbra-rbd/.test(await frame.locator('dialog').innerText()));
        await close(frame);
    }
    await act(frame, 'config-export', {}, { output: /"luns"/ });
    await act(frame, 'metrics', {}, { output: /umbra_build_info/ });
    await act(frame, 'support', { file: path.join(world.scratch, 'support.tar') }, { output: /support\.tar/ });
    check(fs.statSync(path.join(world.scratch, 'support.tar')).size > 1024, 'the tar is there');
    await open(frame, 'setup'); // where there is an array already
    await fill(frame, { pool: path.join(world.scratch, 'pool-3'), name: 'again' });
    await submit(frame);
    await until('setup is refused', async () => /exit code [12]/.test(await frame.locator('dialog .failure').innerText()));
    await close(frame);
    await apply(frame);
}

async function apply(frame) {
    const file = JSON.stringify({ luns: [{ name: 'sql', size: '64M' }, { name: 'log', size: '64M' }, { name: 'described', size: '2M' }] });
    await act(frame, 'apply', { file, check: true }, { output: /1 change\(s\) to make/ });
    check(!lunOf('described'), 'nothing is made when it is only shown');
    await act(frame, 'apply', { file, check: false }, { output: /1 change\(s\) made/ });
    check(lunOf('described'), 'the LUN is made');
    const without = JSON.stringify({ luns: ctl('lun', 'list').luns.filter(lun => lun.name !== 'described').map(lun => ({ name: lun.name, size: String(lun.size_bytes) })) });
    await act(frame, 'apply', { file: without, check: false, prune: true }, { confirm: 'prune', output: /1 change\(s\) made/ });
    await until('it is taken away', () => !lunOf('described'));
    await refused(frame, 'apply', { file: '{"luns": [', check: true }, /no JSON/);
}

/** A job that has ended has no button any more: the form is opened by the page's own module. */
async function cancel(frame) {
    const { job } = ctl('resync', 'list').jobs[0];
    used.add('resync-cancel');
    await frame.evaluate(async number => {
        const [{ openDialog }, { actions: all }] = await Promise.all([import('./ui/dialog.js'), import('./actions/index.js')]);
        openDialog(all['resync-cancel'], { job: number, title: String(number) }, {}, outcome => { window.cancelled = outcome.message; });
    }, job);
    await frame.waitForSelector('dialog[open]');
    await submit(frame);
    await until('the job has ended before', async () => /done/.test(await frame.evaluate(() => window.cancelled || '')));
    console.log('ok   resync-cancel');
}

/** An array with one controller has no button for it: by the page's own module, and umbrad refuses. */
async function move(frame) {
    used.add('controller-move');
    await frame.evaluate(async () => {
        const [{ openDialog }, { actions: all }] = await Promise.all([import('./ui/dialog.js'), import('./actions/index.js')]);
        openDialog(all['controller-move'], {}, {}, () => {});
    });
    await frame.waitForSelector('dialog[open]');
    await submit(frame);
    await until('there is no other controller', async () => /one controller/.test(await frame.locator('dialog .failure').innerText()));
    await close(frame);
    console.log('ok   controller-move is refused');
}

// ---- what no form offers

const HOSTILE = [
    '{"jsonrpc":"2.0","id":1,"method":"lun.create","params":{"name":"x","size_bytes":-1}}',
    '{"jsonrpc":"2.0","id":1,"method":"lun.create","params":{"name":"<script>","size_bytes":1048576}}',
    '{"jsonrpc":"2.0","id":1,"method":"lun.create","params":{"name":"x","size_bytes":"1048576"}}',
    '{"jsonrpc":"2.0","id":1,"method":"lun.create","params":{"name":"x","size_bytes":1048576,"surprise":true}}',
    '{"jsonrpc":"2.0","id":1,"method":"lun.create","params":{"name":"x","size_bytes":1e300}}',
    '{"jsonrpc":"2.0","id":1,"method":"lun.create","params":["x",1048576]}',
    '{"jsonrpc":"2.0","id":1,"method":"lun.delete","params":{"lun":"../../etc/passwd"}}',
    '{"jsonrpc":"2.0","id":1,"method":"lun.delete","params":{"lun":{"$ne":null}}}',
    '{"jsonrpc":"2.0","id":1,"method":"map.add","params":{"lun":"sql","host":"backup","number":99999}}',
    '{"jsonrpc":"2.0","id":1,"method":"set.create","params":{"name":"x","luns":[]}}',
    '{"jsonrpc":"2.0","id":1,"method":"set.lock","params":{"set":"safe","for_ms":-5}}',
    '{"jsonrpc":"2.0","id":1,"method":"set.lock","params":{"set":"safe","until_unix_ms":1}}',
    '{"jsonrpc":"2.0","id":1,"method":"set.unlock","params":{"set":"safe"}}',
    '{"jsonrpc":"2.0","id":1,"method":"policy.create","params":{"name":"x","keep":"hourly=999999999999"}}',
    '{"jsonrpc":"2.0","id":1,"method":"host.add","params":{"name":"x","iqns":["not a name"]}}',
    '{"jsonrpc":"2.0","id":1,"method":"pool.backup","params":{"path":"relative"}}',
    '{"jsonrpc":"2.0","id":1,"method":"lun.list","params":{"offset":-1,"limit":1000000}}',
    '{"jsonrpc":"1.0","id":1,"method":"status"}',
    '[{"jsonrpc":"2.0","id":1,"method":"lun.delete","params":{"lun":"log"}}]',
    '{"id":1}',
    'null',
    'GET / HTTP/1.1',
    '\u0000\u0001\u0002',
    `{"jsonrpc":"2.0","id":1,"method":"status","params":${'['.repeat(3000)}${']'.repeat(3000)}}`,
    `{"jsonrpc":"2.0","id":1,"method":"status","params":{"x":"${'x'.repeat(70000)}"}}`,
];

/** One line on a channel of its own: what umbrad answers, or that it has closed the connection. */
function sendLine(frame, line) {
    return frame.evaluate(([socket, text]) => new Promise(resolve => {
        const channel = cockpit.channel({ payload: 'stream', unix: socket, superuser: 'try', binary: true });
        const decoder = new TextDecoder();
        let answer = '';
        channel.addEventListener('message', (event, data) => {
            answer += decoder.decode(data, { stream: true });
            if (answer.includes('\n'))
                channel.close();
        });
        channel.addEventListener('close', () => resolve(answer));
        channel.send(new TextEncoder().encode(`${text}\n`));
    }), [world.socket, line]);
}

async function hostile(frame) {
    const everything = () => JSON.stringify([ctl('config', 'export'), ctl('set', 'list', '--all').sets.map(set => [set.id, set.state, set.locked_until_unix_ms]),
        ctl('shadow', 'list').shadows.map(lun => lun.id)]);
    const before = everything();
    for (const line of HOSTILE) {
        const answer = await sendLine(frame, line);
        const parsed = answer ? JSON.parse(answer.split('\n')[0]) : null;
        check(!parsed || (parsed.error && parsed.error.message), `refused: ${line.slice(0, 100)}: ${answer.slice(0, 300)}`);
        check(parsed, `answered: ${line.slice(0, 100)}`);
    }
    check(everything() === before, 'what was refused changed something');
    console.log(`ok   ${HOSTILE.length} lines that no form offers are refused`);
}

await browse(async (page, frame) => {
    await luns(page, frame);
    await sets(frame);
    await images(frame);
    await copies(frame);
    await hosts(frame);
    await policies(frame);
    await maintenance(page, frame);
    await cancel(frame);
    await move(frame);
    await hostile(frame);
    await ready(frame);
    const left = Object.keys(actions).filter(name => !used.has(name));
    check(!left.length, `actions that no test uses: ${left.join(', ')}`);
});
console.log('ok   all changes');
