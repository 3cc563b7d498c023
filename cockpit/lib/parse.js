// SPDX-License-Identifier: Apache-2.0
// What people type, read by umbractl's rules (array/util/units.c, ctl/options.c): whoever knows one knows the other. Each
// returns the value, or throws a Wrong whose text says how it is written.
export class Wrong extends Error {}

const SHIFTS = { K: 10, M: 20, G: 30, T: 40, P: 50 };

/** "500G", "1.5T", "1048576". More than 0. */
export function size(text) {
    const wrong = new Wrong(`${text} is no size: write it as in 500G, 1.5T or 1048576.`);
    const found = /^(\d+)(?:\.(\d{1,6}))? ?(?:([KMGTP])(i?[Bb]?)|[Bb])?$/i.exec(text);
    if (!found || (found[2] && !found[3]) || (found[4] && found[4].startsWith('I')))
        throw wrong;
    const unit = 1n << BigInt(found[3] ? SHIFTS[found[3].toUpperCase()] : 0);
    const fraction = found[2] ? unit * BigInt(found[2]) / 10n ** BigInt(found[2].length) : 0n;
    const value = BigInt(found[1]) * unit + fraction;
    if (value === 0n || value > BigInt(Number.MAX_SAFE_INTEGER))
        throw wrong;
    return Number(value);
}

const LENGTHS = { s: 1000, min: 60000, h: 3600000, d: 86400000, w: 7 * 86400000, y: 365 * 86400000 };

/** "90min", "12h", "14d", "8w", "7y" in milliseconds. More than 0. */
export function duration(text) {
    const found = /^(\d+) ?(s|min|h|d|w|y)$/.exec(text);
    const ms = found ? Number(found[1]) * LENGTHS[found[2]] : 0;
    if (!ms || !Number.isSafeInteger(ms))
        throw new Wrong(`${text} is no time: write it as in 90min, 12h, 14d, 8w or 7y.`);
    return ms;
}

/** "2027-01-31", "2027-01-31 18:00" (local time), "2027-01-31T18:00:00Z" in milliseconds since 1970. */
export function date(text) {
    const found = /^(\d{4})-(\d\d?)-(\d\d?)(?:[T ](\d\d?):(\d\d)(?::(\d\d))?)?(Z?)$/.exec(text);
    if (found) {
        const [year, month, day, hour, minute, second] = found.slice(1, 7).map(part => Number(part || 0));
        const utc = Boolean(found[7]);
        const ms = utc ? Date.UTC(year, month - 1, day, hour, minute, second)
            : new Date(year, month - 1, day, hour, minute, second).getTime();
        const back = new Date(ms);
        const same = utc ? back.getUTCDate() === day && back.getUTCMonth() === month - 1
            : back.getDate() === day && back.getMonth() === month - 1;
        if (ms > 0 && same && hour < 24 && minute < 60 && second < 62)
            return ms;
    }
    throw new Wrong(`${text} is no date: write it as in 2027-01-31, 2027-01-31 18:00 or 2027-01-31T18:00:00Z.`);
}

/** A whole number within its bounds. */
export function number(text, min, max) {
    const value = /^\d+$/.test(text) ? Number(text) : NaN;
    if (!(value >= min && value <= max))
        throw new Wrong(`${text} is no number from ${min} to ${max}.`);
    return value;
}

/** A path on the array's machine. */
export function absolute(path) {
    if (!path.startsWith('/'))
        throw new Wrong(`${path} is no absolute path: begin it with a slash.`);
    return path;
}
