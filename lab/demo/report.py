# SPDX-License-Identifier: Apache-2.0
"""The demo's report: report.json as documented in lab/README.md, and report.html, one self-contained page with
each set's timeline drawn as SVG and the same figures as a table."""
import html
import json
import os

COLOURS = {'provider': '#2f6db5', 'service': '#9aa5b1', 'hold': '#d9822b', 'window': '#c23030'}
WIDTH, LEFT, ROW = 960, 190, 22

STYLE = """
:root { color-scheme: light dark; --ink: #1c2733; --soft: #5c7080; --line: #d3dae1; --paper: #ffffff; --band: #f5f8fa }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8edf2; --soft: #a7b6c2; --line: #394b59; --paper: #182026; --band: #202b33 }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 1000px;
  margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; margin: 0 } h2 { font-size: 1.15rem; margin: 2.2rem 0 .3rem }
h3 { font-size: .95rem; margin: 1rem 0 .2rem; font-weight: 600 }
p.lead { color: var(--soft); margin: .2rem 0 1rem }
.figures { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1rem 0 }
.figure { background: var(--band); border: 1px solid var(--line); border-radius: 6px; padding: .5rem .9rem }
.figure b { display: block; font-size: 1.25rem } .figure span { color: var(--soft); font-size: .85rem }
h1 + p { margin-bottom: 1.2rem } svg { width: 100%; height: auto } svg text { font: 12px system-ui, sans-serif; fill: var(--ink) }
svg .soft { fill: var(--soft) } svg .grid { stroke: var(--line) }
table { border-collapse: collapse; width: 100%; font-size: .88rem } td, th { padding: .2rem .5rem; text-align: left;
  border-bottom: 1px solid var(--line) } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
details { margin-top: .5rem } summary { cursor: pointer; color: var(--soft) }
.ok { color: #0f9960 } .bad { color: #c23030 } code { font-size: .9em }
"""


def kind_of(phase):
    """Who does the work of a phase: the provider (a COM call), the write hold, or the VSS service's part."""
    return phase.get('kind') or ('hold' if 'hold' in phase['name'].lower() else 'service')


def nice_step(span):
    step = 1.0
    while span / step > 10:
        for factor in (2, 2.5, 2):
            step *= factor
            if span / step <= 10:
                break
    return step


def timeline(phases):
    """The SVG of some phases: a row for each, in order, on a common scale in milliseconds from the first."""
    zero = phases[0]['start_ms'] if phases else 0.0
    phases = [dict(p, start_ms=p['start_ms'] - zero) for p in phases]
    end = max([p['start_ms'] + p['ms'] for p in phases] + [1])
    scale = (WIDTH - LEFT - 70) / end
    height = ROW * len(phases) + 34
    out = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="timeline of the set">']
    step, at = nice_step(end), 0.0
    while at <= end:
        x = LEFT + at * scale
        out.append(f'<line class="grid" x1="{x:.1f}" y1="4" x2="{x:.1f}" y2="{height - 26}" stroke-width="1"/>'
                   f'<text class="soft" x="{x:.1f}" y="{height - 10}" text-anchor="middle">{at:g} ms</text>')
        at += step
    for row, phase in enumerate(phases):
        y = 6 + row * ROW
        x, width = LEFT + phase['start_ms'] * scale, max(phase['ms'] * scale, 1.5)
        label = html.escape(phase['name'])
        bad = phase.get('hresult', '0x00000000') not in ('0x00000000', '0x0', '', None)
        colour = COLOURS['window'] if bad else COLOURS[kind_of(phase)]
        out.append(f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end">{label}</text>'
                   f'<rect x="{x:.1f}" y="{y + 2}" width="{width:.1f}" height="{ROW - 7}" rx="2" fill="{colour}">'
                   f'<title>{label}: {phase["ms"]:.2f} ms from {phase["start_ms"]:.1f} ms</title></rect>'
                   f'<text class="soft" x="{x + width + 5:.1f}" y="{y + 13}">{phase["ms"]:.2f}</text>')
    out.append('</svg>')
    return ''.join(out)


def around_the_hold(phases):
    """From PreCommitSnapshots to PostCommitSnapshots: what applications wait for."""
    names = [p['name'] for p in phases]
    if 'PreCommitSnapshots' not in names or 'PostCommitSnapshots' not in names:
        return []
    return phases[names.index('PreCommitSnapshots'):names.index('PostCommitSnapshots') + 1]


def figure(value, what):
    return f'<div class="figure"><b>{value}</b><span>{html.escape(what)}</span></div>'


def cost_table(cost):
    """What the provider told the array of a set."""
    def ms(key):
        return 'not told' if cost[key] is None else f'{cost[key]:.2f} ms'
    consistency = cost['consistency'] + ('-consistent' if cost['consistency'] != 'not told' else '')
    held = ms('held_ms')
    if cost['held_ms'] is not None:
        held += f": flush {ms('flush_ms')}, CommitSnapshots {ms('commit_ms')}, release {ms('release_ms')}"
    rows = (('label', cost['label'] or '-'), ('consistency', f"{consistency}; writers {cost['writers']}"),
            ('auto-recovery', cost['auto_recovery']), ('applications frozen', ms('frozen_ms')), ('I/O held', held),
            ('import, until the disks were there', ms('import_ms')))
    return ('<h3>What it cost, as the provider told the array</h3><table>'
            + ''.join(f'<tr><td>{html.escape(a)}</td><td>{html.escape(b)}</td></tr>' for a, b in rows) + '</table>')


def section(one):
    title = 'transportable' if one['transportable'] else 'imported on the same host'
    rows = ''.join(
        f'<tr><td>{html.escape(p["name"])}</td><td class="n">{p["start_ms"]:.1f}</td><td class="n">{p["ms"]:.3f}</td>'
        f'<td><code>{html.escape(str(p.get("hresult", "")))}</code></td></tr>' for p in one['phases'])
    commit = next((p['ms'] for p in one['phases'] if p['name'] == 'CommitSnapshots'), 0.0)
    verdict = '<span class="ok">verified</span>' if one['verified'] else '<span class="bad">not verified</span>'
    return (f'<h2>{html.escape(one.get("title") or title)}</h2><p class="lead"><code>{html.escape(one["id"])}</code>, '
            f'{len(one["luns"])} LUNs</p><div class="figures">'
            + (figure(f'{one["commit_window_ms"] * 1000:.1f} µs', 'commit window: gates closed on the array')
               if one['commit_window_ms'] is not None else '')
            + figure(f'{commit:.2f} ms', 'CommitSnapshots as the coordinator saw it')
            + figure(f'{one["hold_ms"]:.1f} ms', 'write hold: writers stood still')
            + figure(verdict, 'contents as of the instant') + '</div>'
            + '<h3>From PreCommit to PostCommit</h3>' + timeline(around_the_hold(one['phases']))
            + (cost_table(one['cost']) if 'cost' in one else '')
            + '<h3>The whole set</h3>' + timeline(one['phases'])
            + '<details><summary>as a table</summary><table><tr><th>phase</th><th class="n">start ms</th>'
              f'<th class="n">ms</th><th>HRESULT</th></tr>{rows}</table></details>')


def step_section(one):
    """A request that made no set: breaking, resyncing."""
    total = max([p['start_ms'] + p['ms'] for p in one['phases']] + [0])
    percent = '' if one.get('percent') is None else figure(f"{one['percent']} %", 'as the provider told it last')
    return (f'<h2>{html.escape(one["title"])}</h2><p class="lead"><code>{html.escape(one["id"])}</code></p>'
            f'<div class="figures">{figure(f"{total:.0f} ms", "from the request to its end")}{percent}</div>'
            + timeline(one['phases']))


def page(report, checks):
    good = all(ok for _, ok in checks) and report['orphans'] == 0
    listed = ''.join(f'<tr><td>{html.escape(what)}</td><td class="{"ok" if ok else "bad"}">'
                     f'{"holds" if ok else "does not hold"}</td></tr>' for what, ok in checks)
    legend = ' · '.join(f'<span style="color:{COLOURS[k]}">■</span> {t}' for k, t in (
        ('provider', 'call to the provider'), ('service', 'work of the VSS service'), ('hold', 'writers held')))
    return ('<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" '
            'content="width=device-width, initial-scale=1"><title>Umbra: shadow copy sets, end to end</title>'
            f'<style>{STYLE}</style><h1>Shadow copy sets, end to end</h1><p class="lead">umbrad on loopback, the '
            'provider as a service under Wine, the lab in the place of the VSS service. '
            f'{"All of it held." if good else "Not all of it held."}</p><table>{listed}</table><p class="lead">{legend}'
            '</p>' + ''.join(section(s) for s in report['sets'])
            + ''.join(step_section(s) for s in report.get('steps', [])) + '</html>\n')


def write(folder, report, checks):
    """report: the dict of report.json; checks: (sentence, held) pairs. Overwrites both files."""
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, 'report.json'), 'w', encoding='utf-8') as out:
        json.dump(report, out, indent=1)
        out.write('\n')
    with open(os.path.join(folder, 'report.html'), 'w', encoding='utf-8') as out:
        out.write(page(report, checks))
