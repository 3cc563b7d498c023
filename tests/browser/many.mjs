// SPDX-License-Identifier: Apache-2.0
// The page with thousands of LUNs: each view that lists them is there and usable while umbrad serves them all; how long it took
// is printed. What is not shown is said, and a word in the box finds any of them.
import { accessible, browse, check, ctl, go, picture, ready, until } from './browser.mjs';

const COUNT = ctl('status').counts.luns;
const text = (frame, selector) => frame.locator(selector).innerText();

async function timed(what, act) {
    const begin = performance.now();
    await act();
    console.log(`ok   ${what}: ${Math.round(performance.now() - begin)} ms`);
}

/** The page's longest pause in a round of fetching and drawing, as a user who types would feel it. */
async function longestPause(frame) {
    return frame.evaluate(() => new Promise(done => {
        let last = performance.now(), longest = 0;
        const tick = () => {
            const now = performance.now();
            longest = Math.max(longest, now - last);
            last = now;
        };
        const timer = setInterval(tick, 10);
        setTimeout(() => { clearInterval(timer); done(longest); }, 4000);
    }));
}

await browse(async (page, frame) => {
    check(COUNT >= 2000, `only ${COUNT} LUNs`);
    for (const view of ['Overview', 'Hosts', 'Copy sets', 'Events', 'LUNs'])
        await timed(`${view} with ${COUNT} LUNs`, () => go(frame, view));
    const rows = frame.locator('[role=treegrid] tbody tr');
    check(await rows.count() === 100, `${await rows.count()} rows at once`);
    check((await text(frame, '#view')).includes(`100 of ${COUNT} are shown`), 'what is not shown is said');
    await accessible(frame, `${COUNT} LUNs`);
    console.log(`ok   the page's longest pause in 4 s: ${Math.round(await longestPause(frame))} ms`);
    const wanted = `lun-${COUNT - 1}`;
    await timed('one of them is found by its name', async () => {
        await frame.getByRole('searchbox', { name: 'Name or id' }).fill(wanted);
        await until('it alone is shown', async () => await rows.count() === 1 && (await rows.first().innerText()).includes(wanted));
    });
    await timed('and opened', async () => {
        await frame.getByRole('link', { name: wanted, exact: true }).click();
        await until('its page', async () => (await text(frame, '#view')).includes('Identity and space'));
        await ready(frame);
    });
    check((await text(frame, '#view')).includes(ctl('lun', 'show', wanted).serial), 'it is that one');
    await go(frame, 'LUNs');
    await frame.getByRole('searchbox', { name: 'Name or id' }).fill('with-a-copy');
    await until('the one with copies', async () => await rows.count() === 1);
    await rows.first().focus();
    await page.keyboard.press('ArrowRight');
    await until('its copies', async () => await frame.locator('[role=treegrid] tr[aria-level="2"]').count() >= 1);
    await picture(page, 'many');
    ctl('lun', 'create', 'one-more', '--size', '1M');
    await frame.getByRole('searchbox', { name: 'Name or id' }).fill('one-more');
    await until('a LUN that is made now comes by itself', async () => await rows.count() === 1);
    console.log('ok   the tree is narrowed, walked, and goes on');
});
