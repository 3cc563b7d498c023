// SPDX-License-Identifier: Apache-2.0
// Light or dark, as Cockpit's shell is: it keeps the choice in the browser's storage and tells its own window of a change,
// and the storage tells this one. "auto", the default, follows the system.
const dark = window.matchMedia('(prefers-color-scheme: dark)');

function follow() {
    const style = window.localStorage.getItem('shell:style') || 'auto';
    document.documentElement.classList.toggle('pf-theme-dark', style === 'dark' || (style === 'auto' && dark.matches));
}

export function followTheme() {
    window.addEventListener('storage', event => event.key === 'shell:style' && follow());
    window.addEventListener('cockpit-style', follow);
    dark.addEventListener('change', follow);
    follow();
}
