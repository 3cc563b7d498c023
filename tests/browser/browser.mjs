// SPDX-License-Identifier: Apache-2.0
// What the browser tests share: the browser, the page in its frame, axe-core, umbractl to look from the other side.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

export const world = JSON.parse(process.env.UMBRA_WORLD);
const require = createRequire(path.join(world.modules, 'x.js'));
const { chromium } = require('playwright-core');
const AXE = fs.readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const PATIENCE_MS = 120000 * world.patience; // only a test that hangs meets it
const HANGS_MS = 20 * PATIENCE_MS;
const STARTS = 3;

export function check(holds, what) {
    if (!holds)
        throw new Error(`FAIL: ${what}`);
}

/** Waits until condition() is true; what it returned. Only a test that hangs meets the end. */
export async function until(what, condition) {
    const end = performance.now() + PATIENCE_MS;
    for (;;) {
        const found = await condition();
        if (found)
            return found;
        check(performance.now() < end, `${what}: waited for in vain`);
        await new Promise(resolve => setTimeout(resolve, 50));
    }
}

/** umbractl --json: what the array says. */
export function ctl(...words) {
    return JSON.parse(execFileSync(world.umbractl, [...words, '--json', '--socket', world.socket], { encoding: 'utf8' }) || 'null');
}

/** The browser; it may fail to start on a machine that is busy, and is tried again. */
async function launch() {
    for (let left = STARTS; ; left--) {
        try {
            return await chromium.launch({ executablePath: world.chromium, timeout: PATIENCE_MS,
                args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'] });
        } catch (error) {
            if (left <= 1)
                throw error;
            console.log(`the browser did not start, once more: ${error.message.split('\n')[0]}`);
        }
    }
}

/** Opens the page in Cockpit's shell, and calls story(page, frame). options: of the context (viewport, colours). */
export async function browse(story, options = {}) {
    const browser = await launch();
    const hangs = setTimeout(() => { console.log('FAIL: the test hangs'); process.exit(1); }, HANGS_MS);
    const faults = [];
    try {
        const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
        const page = await context.newPage();
        context.setDefaultTimeout(PATIENCE_MS);
        page.on('pageerror', error => faults.push(`${error.message}\n${error.stack}`));
        page.on('console', message => { if (/Content Security Policy|umbra/i.test(message.text()) && message.type() === 'error') faults.push(message.text()); });
        await page.goto(`${world.url}/umbra`);
        const frame = await frameOf(page);
        await ready(frame);
        await story(page, frame).catch(async error => {
            await page.screenshot({ path: path.join(world.pictures, 'failed.png') }).catch(() => {});
            throw error;
        });
        check(!faults.length, `the page has errors:\n${faults.join('\n')}`);
    } finally {
        clearTimeout(hangs);
        await browser.close();
    }
}

async function frameOf(page) {
    const handle = await page.waitForSelector('iframe[name="cockpit1:localhost/umbra"]', { state: 'attached' });
    const frame = await handle.contentFrame();
    await frame.waitForSelector('#view');
    return frame;
}

/** Waits until the view shows what it fetched. */
export const ready = frame => frame.waitForSelector('body[data-ready="true"]');

/** Goes to a view by its link, and waits for its heading. */
export async function go(frame, name) {
    await frame.getByRole('navigation', { name: 'Umbra' }).getByRole('link', { name, exact: true }).click();
    await frame.waitForSelector(`nav a[aria-current="page"]:text-is("${name}")`);
    await ready(frame);
}

export async function picture(page, name) {
    await page.screenshot({ path: path.join(world.pictures, `${name}.png`) });
}

/** axe-core finds nothing, in the whole or within a part. It is put in by the debugger's way, which the content security policy does not bind. */
export async function accessible(frame, what, within = 'html') {
    if (!await frame.evaluate(() => Boolean(window.axe)))
        await frame.evaluate(AXE);
    const { violations } = await frame.evaluate(part => window.axe.run(part, { resultTypes: ['violations'] }), within);
    check(!violations.length, `${what}: axe-core: ${JSON.stringify(violations.map(found =>
        ({ id: found.id, help: found.help, nodes: found.nodes.slice(0, 3).map(node => node.html.slice(0, 200)) })), null, 1)}`);
    if (within === 'html')
        console.log(`ok   ${what}: axe-core finds no violation`);
}
