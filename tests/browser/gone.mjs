// SPDX-License-Identifier: Apache-2.0
// umbrad goes, and the page says so, with what to do; what needs no umbrad is still there; it comes back by itself when umbrad
// does. Who stops and starts umbrad waits for the files that are written here.
import fs from 'node:fs';
import path from 'node:path';
import { accessible, browse, check, ctl, go, ready, until, world } from './browser.mjs';

const tell = name => fs.writeFileSync(path.join(world.scratch, name), '');

await browse(async (page, frame) => {
    tell('stop');
    await until('the page says that umbrad does not answer', async () =>
        /systemctl status umbrad/.test(await frame.locator('#head [role=alert]').innerText({ timeout: 1000 }).catch(() => '')));
    check(/Nothing is shown/.test(await frame.locator('#view').innerText()), 'nothing old is shown as if it were true');
    await accessible(frame, 'without umbrad');
    await until('umbrad has ended', () => fs.existsSync(path.join(world.scratch, 'stopped')));
    await go(frame, 'Maintenance');
    check(await frame.locator('[data-action="pool-check"]').count() === 1 && await frame.locator('[data-action="scrub-start"]').count() === 0,
        'what needs no umbrad is there, and nothing else');
    await frame.locator('[data-action="pool-check"]').click();
    await frame.locator('#field-path').fill(path.join(path.dirname(world.socket), 'pool'));
    await frame.locator('dialog button[type=submit]').click();
    await until('umbractl checks the pool', async () => /no findings/.test(await frame.locator('dialog pre.output').innerText()));
    await frame.locator('dialog .buttons button', { hasText: 'Close' }).click();
    tell('start');
    await frame.waitForSelector('#head [role=alert]', { state: 'detached' });
    await go(frame, 'LUNs');
    await ready(frame);
    check((await frame.locator('#view').innerText()).includes(ctl('lun', 'list').luns[0].name), 'the LUNs are back');
    await go(frame, 'Events');
    ctl('lun', 'create', 'afterwards', '--size', '1M');
    await until('events come again', async () => (await frame.locator('#view').innerText()).includes('LUN afterwards created'));
});
console.log('ok   umbrad goes and comes back');
