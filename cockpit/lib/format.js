// SPDX-License-Identifier: Apache-2.0
// Numbers as people read them, in umbractl's words.
const PREFIXES = ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi'];

/** 1610612736: "1.5 GiB". */
export function bytes(value) {
    if (typeof value !== 'number')
        return 'not told';
    let power = 0;
    while (power < 5 && value / 1024 ** power >= 1024)
        power++;
    const number = value / 1024 ** power;
    return `${power && !Number.isInteger(number) ? number.toFixed(1) : Math.round(number)} ${PREFIXES[power]}B`;
}

export const rate = value => `${bytes(Math.round(value))}/s`;

/** Of 1500: "1.5 k". */
export function count(value) {
    if (value < 1000)
        return value < 10 && !Number.isInteger(value) ? value.toFixed(1) : String(Math.round(value));
    return value < 1e6 ? `${(value / 1e3).toFixed(1)} k` : `${(value / 1e6).toFixed(1)} M`;
}

/** A short time, in nanoseconds: "12.3 ms". */
export function nanoseconds(value) {
    if (typeof value !== 'number')
        return 'not told';
    if (value < 1e3)
        return `${Math.round(value)} ns`;
    if (value < 1e6)
        return `${(value / 1e3).toFixed(1)} µs`;
    return value < 1e9 ? `${(value / 1e6).toFixed(1)} ms` : `${(value / 1e9).toFixed(2)} s`;
}

export const microseconds = value => nanoseconds(typeof value === 'number' ? value * 1000 : value);

const UNITS = [['y', 365 * 86400000], ['d', 86400000], ['h', 3600000], ['min', 60000], ['s', 1000]];

/** A long time, in milliseconds: "13 d 4 h"; none: "-". */
export function duration(ms) {
    const words = [];
    for (const [unit, length] of UNITS) {
        if (ms >= length && words.length < 2)
            words.push(`${Math.floor(ms / length)} ${unit}`);
        else if (words.length)
            break;
        ms %= length;
    }
    return words.join(' ') || '-';
}

/** The same as the forms take it back: "90min", in the largest unit that it is a whole number of. */
export function durationInput(ms) {
    const found = UNITS.find(([, length]) => ms && ms % length === 0);
    return found ? `${ms / found[1]}${found[0]}` : '';
}

/** Milliseconds since 1970 as local time; null: "-". */
export function time(ms) {
    if (typeof ms !== 'number')
        return '-';
    const date = new Date(ms);
    const two = number => String(number).padStart(2, '0');
    return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ` +
        `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

export const yes = value => (value ? 'yes' : 'no');
export const percent = (part, whole) => (whole ? `${(100 * part / whole).toFixed(1)} %` : '-');
