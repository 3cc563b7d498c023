#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""packaging/windows/first-run.ps1: its brackets and quotes, and every line for umbra-vss and diskshadow played in the lab.

There is no PowerShell here. The script is kept so simple that its lines can be taken out and played in their order: what
they compare is compared on the LUNs themselves.
"""
import os
import re
import subprocess
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, 'lab'))
import ground as grounds  # noqa: E402
import labhost  # noqa: E402
import scenario  # noqa: E402

SCRIPT = os.path.join(ROOT, 'packaging', 'windows', 'first-run.ps1')
PAIRS = {')': '(', '}': '{', ']': '['}
RUN = re.compile(r'\s*& \$UmbraVss (?P<vss>.*)|\s*Invoke-DiskShadow \'(?P<name>[\w-]+)\' @"|'
                 r"\s*(?:\$Metadata = Join-Path \$Folder '(?P<metadata>[\w.]+)')|"
                 r"\s*Set-Content-Of-Volume '(?P<write>\w+)'|\s*Assert-Content (?P<drive>\$\w+) '(?P<holds>\w+)'")


def read():
    with open(SCRIPT, encoding='ascii') as source:
        return source.read()


def fault(text, seen=None):
    """What is wrong with the script's brackets, quotes and here-strings; None: nothing. seen: where those are that count."""
    open_ones, i, line = [], 0, 1
    seen = [] if seen is None else seen
    while i < len(text):
        c, rest = text[i], text[i:]
        if rest.startswith('@"\n') or rest.startswith("@'\n"):
            end = text.find(f'\n{text[i + 1]}@', i)
            if end < 0:
                return f'line {line}: a here-string without an end'
            line += text.count('\n', i, end + 1)
            i = end + 3
            continue
        if c == '#':
            i = text.find('\n', i)
            continue
        if c in '"\'':
            end = text.find(c, i + 1)
            if end < 0 or '\n' in text[i:end]:
                return f'line {line}: a quote without an end'
            seen += [i, end]
            i = end
        elif c in PAIRS.values():
            seen.append(i)
            open_ones.append((c, line))
        elif c in PAIRS:
            seen.append(i)
            if not open_ones or open_ones.pop()[0] != PAIRS[c]:
                return f'line {line}: a {c} too many'
        line += c == '\n'
        i += 1
    return f'line {open_ones[-1][1]}: {open_ones[-1][0]} is not closed' if open_ones else None


def steps(text):
    """(kind, what …) in the order of the script: vss, diskshadow, metadata, write, holds."""
    found, rows = [], text.splitlines()
    for n, row in enumerate(rows):
        match = RUN.fullmatch(row)
        if not match:
            continue
        if match['name']:
            end = next(k for k in range(n + 1, len(rows)) if rows[k] == '"@')
            found.append(('diskshadow', match['name'], rows[n + 1:end]))
        elif match['drive']:
            found.append(('holds', match['drive'], match['holds']))
        else:
            kind = next(k for k in ('vss', 'metadata', 'write') if match[k])
            found.append((kind, match[kind]))
    return found


class Form(unittest.TestCase):
    def test_brackets_and_quotes(self):
        text = read()
        self.assertIsNone(fault(text))
        self.assertLess(text.count('\n'), 200, 'short enough to be read before it is run')
        seen = []
        fault(text, seen)
        self.assertGreater(len(seen), 200)
        for at in seen:
            self.assertIsNotNone(fault(text[:at] + text[at + 1:]), f'{text[at]} at {at} can go unnoticed')

    def test_every_line_is_played(self):
        """No line that runs one of the two programs is written so that the other test would miss it."""
        text = read()
        found = [kind for kind, *_ in steps(text)]
        self.assertEqual(found.count('vss'), len(re.findall(r'& \$UmbraVss', text)))
        self.assertEqual(found.count('diskshadow'), len(re.findall(r'Invoke-DiskShadow \'', text)))
        self.assertEqual(len(re.findall(r'diskshadow /s', text)), 1, 'the one of the function')
        numbers = re.findall(r"Invoke-Step '(\d+) ", text)
        self.assertEqual(numbers, [str(n) for n in range(2, 10)])


    def test_no_disk_but_an_umbra_lun_is_overwritten(self):
        """What looks at the disk stands before all that changes one, outside of any step, and ends the script."""
        rows = read().splitlines()
        guards = [n for n, row in enumerate(rows) if row.startswith('if ($Named.') and 'throw' in row]
        self.assertEqual(len(guards), 2)
        self.assertIn("-notlike 'UMBRADEV*'", rows[guards[0]])
        self.assertIn('-not $Overwrite', rows[guards[1]])
        changes = [n for n, row in enumerate(rows) if re.search(r'\b(Set|Clear|Initialize)-Disk\b|New-Partition|Format-Volume', row)]
        self.assertGreater(min(changes), max(guards))
        self.assertGreater(next(n for n, row in enumerate(rows) if row.startswith('Invoke-Step')), max(guards))


class Played(unittest.TestCase):
    def setUp(self):
        self.ground = grounds.OwnGround(hosts=('A',))
        self.addCleanup(self.close)

    def close(self):
        self.assertTrue(self.ground.close(), 'processes were left')

    def vss(self, words, known):
        words = [known.get(w.strip('"'), w.strip('"')) for w in words.split()]
        words = [re.sub(r'\$(\w+)', lambda m: known['$' + m[1]], w) for w in words]
        done = self.ground.run('A', 'umbra-vss.exe', *words)
        self.assertEqual(done.returncode, 0, f'umbra-vss {words}: {done.stdout}{done.stderr}')
        return done.stdout

    def diskshadow(self, name, rows, known):
        text = '\n'.join(re.sub(r'\$(\w+)', lambda m: known['$' + m[1]], row) for row in rows) + '\n'
        path = os.path.join(self.ground.directory, name + '.dsh')
        with open(path, 'w') as out:
            out.write(text)
        with open(path + '.out', 'w+') as out:
            code = subprocess.run([sys.executable, os.path.join(ROOT, 'lab', 'lab'), '--state', self.ground.state.path,
                                   'diskshadow', '/s', path], stdin=subprocess.DEVNULL, stdout=out, stderr=out).returncode
            out.seek(0)
            self.assertEqual(code, 0, f'{name}:\n{text}\n{out.read()}')

    def test_the_whole_script(self):
        ground = self.ground
        ground.need([8])
        lun = ground.number(1)
        drive = next(one['drive'] for one in ground.vss('A', 'scan')[1]['luns'] if one['lun'] == lun)
        folder = ground.directory
        known = {'$Volume': str(lun), '$Copy': 'S:', '$Disk': str(drive), '$Folder': labhost.windows_path(folder),
                 '$Metadata': os.path.join(folder, 'set.cab')}
        run = scenario.Run(ground)
        scenario.partition(run, 1)
        for step in steps(read()):
            print('   ', *step[:2], file=sys.stderr, flush=True)
            if step[0] == 'vss':
                said = self.vss(step[1], known)
                self.assertNotIn('broken off', said)
            elif step[0] == 'diskshadow':
                self.diskshadow(step[1], step[2], known)
            elif step[0] == 'metadata':
                known['$Metadata'] = os.path.join(folder, step[1])
            elif step[0] == 'write':
                scenario.write(run, step[1], '1')
            else:
                number = lun if step[1] == '$Volume' else next(n for n in ground.visible('A') if n != lun)
                run.holds('A', number, step[2], step[1])
        self.assertEqual(len(ground.visible('A')), 2, 'the LUN and the copy of the last step')
        self.assertEqual(ground.shadows(), [])
        ground.clean_up()


if __name__ == '__main__':
    unittest.main(verbosity=2)
