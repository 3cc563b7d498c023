// SPDX-License-Identifier: Apache-2.0
// What to do about an event, by its id, in the words of docs/messages.md.
import { REMEDIES } from './messages.js';

/** The remedy for an event; '': nothing is to be done. */
export function remedyOf(event) {
    const words = event.level === 'info' ? '' : REMEDIES[event.id] || '';
    return words && words[0].toUpperCase() + words.slice(1);
}
