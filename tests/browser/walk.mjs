// SPDX-License-Identifier: Apache-2.0
// walk.mjs SECONDS SEED: a walk at random through the page: links, buttons, forms filled with what fits and with what does not,
// names typed right and wrong; another administrator changes things meanwhile. Nothing but umbrad's refusals may come of it:
// no error of the page, no violation that axe-core finds, no markup made of text.
import path from 'node:path';
import { accessible, browse, check, ctl, picture, ready, world } from './browser.mjs';

const [seconds, seed] = process.argv.slice(2).map(Number);
const UNTRIED = ['setup']; // it is for the machine as a whole
const TEXTS = ['', 'a', 'sql', 'log', 'x1', 'x2', '<b>x</b>', '"><img src=x onerror="window.top.hacked=1">', '../../etc/passwd', '-rf', '64M', '1G', '0', '-1',
    '1e309', '14d', '1h', '2027-01-31', 'hourly=3,daily=2', 'iqn.2026-01.test:x', 'é'.repeat(100), 'x'.repeat(70000), '\u202egnp.exe', '5'];
const PATHS = ['path', 'file', 'from', 'pool', 'data_device'];

let state = seed >>> 0;
function random(below) { // xorshift
    state ^= state << 13; state >>>= 0;
    state ^= state >>> 17;
    state ^= state << 5; state >>>= 0;
    return (state || (state = 1)) % below;
}
const oneOf = list => list[random(list.length)];
const counts = { forms: 0, done: 0, refused: 0, links: 0, outside: 0 };

async function fillForm(frame) {
    for (const field of await frame.locator('dialog input, dialog select, dialog textarea').elementHandles()) {
        const { id, type } = await field.evaluate(element => ({ id: element.id, type: element.type }));
        const name = id.replace('field-', '');
        if (!await field.isVisible() || name === 'confirm')
            continue;
        if (type === 'checkbox')
            await field.setChecked(random(2) === 1);
        else if (type === 'select-one')
            await field.evaluate((element, at) => {
                element.selectedIndex = at % Math.max(1, element.options.length);
                element.dispatchEvent(new Event('change', { bubbles: true }));
            }, random(8));
        else if (PATHS.includes(name) && id !== 'field-file-apply')
            await field.fill(path.join(world.scratch, oneOf(['one', 'two', 'three'])));
        else
            await field.fill(oneOf(TEXTS));
    }
}

async function typeName(frame) {
    const field = frame.locator('#field-confirm');
    if (!await field.isVisible())
        return;
    const wanted = (await frame.locator('label[for="field-confirm"]').innerText()).replace(/^.*: /, '');
    await field.fill(random(3) ? wanted : `${wanted}x`);
}

async function form(frame) {
    counts.forms++;
    await fillForm(frame);
    await typeName(frame);
    await frame.locator('dialog button[type=submit]').click();
    await frame.waitForFunction(() => {
        const dialog = document.querySelector('dialog');
        return !dialog || [...dialog.querySelectorAll('.hint.wrong, .failure p, pre.output:not([hidden])')].some(node => node.textContent)
            && !dialog.querySelector('button[type=submit]').disabled;
    });
    if (await frame.locator('dialog').count() === 0) {
        counts.done++;
        return;
    }
    counts.refused++;
    await frame.locator('dialog .buttons button').last().click();
    await frame.waitForSelector('dialog', { state: 'detached' });
}

function fromOutside() {
    counts.outside++;
    try {
        const name = `w${random(6)}`;
        oneOf([() => ctl('lun', 'create', name, '--size', '2M'), () => ctl('lun', 'delete', name), () => ctl('set', 'create', name, name),
            () => ctl('set', 'delete', name), () => ctl('policy', 'delete', 'x1')])();
    } catch (error) {
        check(error.status === 1 || error.status === 2, `umbractl: ${error.message}`); // it says that it cannot be
    }
}

/** Pushes a button of the view, or follows a link; what has gone meanwhile is no matter. */
async function step(frame) {
    const buttons = await frame.locator('#view [data-action]').elementHandles();
    const links = await frame.locator('a').elementHandles();
    const button = random(2) && buttons.length ? oneOf(buttons) : null;
    try {
        if (button && !UNTRIED.includes(await button.getAttribute('data-action')))
            await button.click({ timeout: 2000 });
        else
            await oneOf(links).click({ timeout: 2000 });
    } catch (error) {
        check(/Timeout|not attached|detached/.test(error.message), error.message);
        return;
    }
    if (await frame.locator('dialog[open]').count())
        await form(frame);
    else
        counts.links++;
}

await browse(async (page, frame) => {
    const end = performance.now() + 1000 * seconds;
    for (let steps = 1; performance.now() < end; steps++) {
        await step(frame);
        if (random(10) === 0)
            fromOutside();
        if (steps % 50 === 0) {
            await ready(frame);
            await accessible(frame, `after ${steps} steps ${JSON.stringify(counts)}`);
            await picture(page, 'walk');
        }
        check(await page.evaluate(() => window.hacked) === undefined && await frame.locator('img').count() === 0, 'text became markup');
    }
    check(ctl('status').array.name, 'umbrad answers');
    check(counts.done && counts.refused, `forms were done and refused: ${JSON.stringify(counts)}`);
});
console.log(`ok   a walk of ${seconds} s, seed ${seed}: ${JSON.stringify(counts)}`);
