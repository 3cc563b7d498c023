// SPDX-License-Identifier: Apache-2.0
// What the page shows of an array under load: every view says what umbractl says, axe-core finds nothing in any of them, in
// light and in dark, the keyboard is enough, a narrow screen is not scrolled sideways; text of hosts stays text.
import { REMEDIES } from '../../cockpit/messages.js';
import { accessible, browse, check, ctl, go, picture, ready, until, world } from './browser.mjs';

const HOSTILE = '<img src=x onerror="window.top.hacked=1">';
const VIEWS = ['Overview', 'LUNs', 'Hosts', 'Copy sets', 'Policies', 'Events', 'Maintenance'];

const text = (frame, selector) => frame.locator(selector).innerText();

async function overview(page, frame) {
    const chart = title => frame.locator('figure.chart', { hasText: title }).locator('svg');
    for (const title of ['Throughput', 'Operations a second', 'Latency']) {
        await until(`${title} shows the load`, async () =>
            /write [1-9]/.test(await chart(title).getAttribute('aria-label')) && /read [1-9]/.test(await chart(title).getAttribute('aria-label')));
    }
    const before = await chart('Throughput').locator('polyline').first().getAttribute('points');
    await until('the chart goes on', async () => await chart('Throughput').locator('polyline').first().getAttribute('points') !== before);
    console.log('ok   overview: throughput, operations and latency are drawn, and go on');
    const held = await until('space held by snapshots', async () =>
        /held by snapshots ([1-9][\d.]* [KMG]iB)/.exec(await frame.locator('figure.stack svg').getAttribute('aria-label')));
    const status = ctl('status');
    check((await text(frame, '#view')).includes(status.array.target_name), 'the target’s name stands there');
    check((await text(frame, '#view')).includes('iqn.2026-01.test:db1'), 'the session stands there');
    console.log(`ok   overview: snapshots hold ${held[1]}`);
    await until('the chart has some samples', async () =>
        (await chart('Throughput').locator('polyline').first().getAttribute('points')).split(' ').length >= 4);
    await picture(page, 'overview');
}

async function tree(page, frame) {
    const row = name => frame.locator('[role=treegrid] tbody tr', { hasText: name });
    await row('sql').first().focus();
    check(await row('sql').first().getAttribute('aria-expanded') === 'false', 'the LUN’s copies are hidden at first');
    await page.keyboard.press('ArrowRight');
    await frame.waitForSelector('[role=treegrid] tr[aria-expanded="true"]');
    const copies = ctl('shadow', 'list').shadows.filter(shadow => shadow.origin === 'sql');
    check(await frame.locator('[role=treegrid] tr[aria-level="2"]').count() === copies.length, 'all copies stand below their LUN');
    await page.keyboard.press('ArrowDown');
    await until('the focus went down', () => frame.evaluate(() => document.activeElement.getAttribute('aria-level') === '2'));
    await picture(page, 'luns');
    await page.keyboard.press('Enter');
    await until('a copy is opened by the keyboard', async () => (await text(frame, '#view')).includes('Identity and space'));
    await ready(frame);
    await accessible(frame, 'one LUN');
    console.log('ok   LUNs: the tree is walked by the keyboard');
}

async function timelines(page, frame) {
    const told = ctl('set', 'list').sets.find(set => set.held_us !== null);
    await frame.getByRole('link', { name: told.id }).click();
    await until('the set’s page', async () => (await text(frame, '#view')).includes('Facts'));
    const shown = await text(frame, '.timeline');
    for (const words of ['Applications frozen 812.0 ms', 'I/O held 95.0 ms', 'flush 61.0 ms', 'CommitSnapshots 12.0 ms', 'release 22.0 ms',
        'Import 2.10 s', 'Array: commit window'])
        check(shown.includes(words), `the timeline says ${words}:\n${shown}`);
    const [frozen, held] = await frame.locator('svg.track').evaluateAll(tracks => tracks.map(track =>
        [...track.querySelectorAll('rect')].map(rect => rect.getBoundingClientRect()).map(box => [box.left, box.right])));
    check(held.length === 3 && held[0][0] >= frozen[0][0] - 1 && held.every(([, right]) => right <= frozen[0][1] + 1), 'the hold lies within the freeze');
    check((await text(frame, '#view')).includes(HOSTILE), 'the host’s label is shown as it is');
    await accessible(frame, 'one copy set');
    await picture(page, 'set');
    console.log('ok   copy sets: the timeline has the phases that the host told, and the array’s window');
}

async function policy(frame) {
    await frame.getByRole('link', { name: 'nightly', exact: true }).click();
    await frame.waitForSelector('table[aria-label="Preview"]');
    const rows = () => frame.locator('table[aria-label="Preview"] tbody tr').evaluateAll(found =>
        found.map(row => `${row.children[0].innerText} ${row.children[2].innerText} ${row.children[3].innerText}`).join('\n'));
    const wanted = () => ctl('policy', 'preview', 'nightly').sets.map(set => `${set.name} ${set.verdict} ${set.rules.join(', ') || '-'}`).join('\n');
    await until('the preview is umbractl’s', async () => await rows() === wanted()); // the policy may act meanwhile
    check(/^older locked -$/m.test(await rows()), `a set that no rule keeps, but a lock:\n${await rows()}`);
    await accessible(frame, 'one policy');
    console.log('ok   policies: the preview says what umbractl says');
}

async function events(frame) {
    await frame.locator('#event-level').selectOption('warning');
    await until('the refused login stands there', async () => (await text(frame, '#view')).includes('may not log in'));
    const { id } = ctl('events').events.find(event => event.text.includes('may not log in'));
    check(REMEDIES[id] && (await text(frame, '#view')).toLowerCase().includes(REMEDIES[id].toLowerCase()), 'with its remedy');
    check((await text(frame, '#view')).includes(id), 'and its id');
    await frame.locator('#event-level').selectOption('');
    ctl('lun', 'create', 'from-outside', '--size', '1M');
    await until('an event comes by itself', async () => (await text(frame, '#view')).includes('LUN from-outside created'));
    console.log('ok   events: with remedies, and as they come');
}

const narrow = frame => frame.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth);

await browse(async (page, frame) => {
    await overview(page, frame);
    for (const name of VIEWS) {
        await go(frame, name);
        await accessible(frame, name);
    }
    await go(frame, 'LUNs');
    await tree(page, frame);
    await go(frame, 'Copy sets');
    check((await text(frame, '#view')).includes(HOSTILE), 'a label with markup is shown as text');
    await picture(page, 'sets');
    await timelines(page, frame);
    await go(frame, 'Policies');
    await policy(frame);
    await go(frame, 'Events');
    await events(frame);
    // No markup of a host became an element.
    check(await page.evaluate(() => window.hacked) === undefined && await frame.locator('img').count() === 0, 'markup became an element');
    await page.evaluate(() => {
        localStorage.setItem('shell:style', 'dark');
        window.dispatchEvent(new CustomEvent('cockpit-style', { detail: { style: 'dark' } }));
    });
    await frame.waitForSelector('html.pf-theme-dark');
    await page.setViewportSize({ width: 360, height: 740 });
    for (const name of VIEWS) {
        await go(frame, name);
        await accessible(frame, `${name}, dark and narrow`);
        check(await narrow(frame), `${name} fits a narrow screen`);
    }
    await go(frame, 'Overview');
    await picture(page, 'narrow-dark');
});
console.log('ok   all views');
