#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The unmodified restic.exe backs up NTFS volumes on Umbra LUNs from the shadow copies that it asks VSS for.

    restic.py RESTIC.EXE FOLDER [PART…]     FOLDER gets report.json and report.html of one backup

`make requesters` builds restic.exe and runs this. Not part of `make check`.
"""
import hashlib
import os
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, '..', 'integration'), os.path.join(HERE, '..', '..', 'lab', 'demo')]
from lab_requesters import nothing_left  # noqa: E402
from lab_stack import Stack, labhost  # noqa: E402
from lab_volumes import SKIPPED, Counter, drive, make_ntfs  # noqa: E402
import report  # noqa: E402
import volumes  # noqa: E402

SECONDS = 900
PASSWORD = 'instant'


class Restic:
    def __init__(self, s, program):
        self.s, self.program = s, program
        self.repository = s.path('repository')

    def command(self, *words):
        host = self.s.state.host('A')
        command, env = host.command(self.program, '-r', labhost.windows_path(self.repository), '--no-cache', *words)
        return command, dict(env, RESTIC_PASSWORD=PASSWORD)

    def run(self, *words):
        """Its output goes to a file: a pipe would stay open as long as what it has started."""
        command, env = self.command(*words)
        path = self.s.path('restic.out')
        with open(path, 'w') as out:
            done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, timeout=SECONDS)
        with open(path, encoding='utf-8', errors='replace') as source:
            return done.returncode, source.read()

    def start(self, *words):
        command, env = self.command(*words)
        with open(self.s.path('restic.bg'), 'w') as out:
            return subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)

    def restore(self, name):
        """The latest snapshot's files: {name: content}."""
        target = self.s.path(name)
        code, said = self.run('restore', 'latest', '--target', labhost.windows_path(target))
        self.s.check(code == 0, 'restic restores it', said[-500:])
        files = {}
        for folder, _, names in os.walk(target):
            for one in names:
                with open(os.path.join(folder, one), 'rb') as source:
                    files[one] = source.read()
        shutil.rmtree(target, ignore_errors=True)
        return files


def log_path(s):
    return os.path.join(s.state.host('A').prefix, 'drive_c', 'ProgramData', 'umbra-lab', 'sessions.log')


def sets_in_log(s):
    """{set: [(kind, name, start_ms, ms, code)]} of the coordinator's log."""
    sets = {}
    with open(log_path(s), encoding='utf-8') as source:
        for line in source:
            word = line.split()
            sets.setdefault(word[0], []).append((word[1], word[5], int(word[2]), int(word[3]), word[4]))
    return sets


def phases(entries):
    """Calls and phases of a set for the report's timeline, in their order; a phase that is one call is drawn once."""
    calls = {name for kind, name, *_ in entries if kind == 'call'}
    out = [{'name': name, 'start_ms': float(start), 'ms': float(ms), 'hresult': code,
            'kind': 'provider' if kind == 'call' else 'hold' if 'Hold' in name else 'service'}
           for kind, name, start, ms, code in entries if kind == 'call' or (kind == 'phase' and name not in calls)]
    return sorted(out, key=lambda one: one['start_ms'])


def held_ms(drawn):
    """From the writers standing still to their release."""
    at = {p['name']: p for p in drawn}
    if 'FlushAndHold' not in at or 'ReleaseWrites' not in at:
        return 0.0
    return at['ReleaseWrites']['start_ms'] - at['FlushAndHold']['start_ms'] - at['FlushAndHold']['ms']


def backup(s, r, folder):
    """Both drives, byte by byte what they had; a report of the run."""
    blob = os.urandom(3 << 20)
    with open(os.path.join(drive(s, 'D'), 'blob.bin'), 'wb') as out:
        out.write(blob)
    os.sync()
    code, said = r.run('init')
    s.check(code == 0, 'restic makes its repository', said[-500:])
    begun = time.monotonic()
    code, said = r.run('backup', '--use-fs-snapshot', 'D:\\', 'E:\\')
    took = time.monotonic() - begun
    s.check(code == 0 and said.count('successfully created snapshot') == 2, 'it backs up two volumes, each from a snapshot', said[-800:])
    nothing_left(s, 'after the backup')
    sets = sets_in_log(s)
    s.check(len(sets) == 2 and all(any(name == 'CommitSnapshots' and code == '0x00000000' for _, name, _, _, code in one)
                                   for one in sets.values()), 'two sets were committed', sets.keys())
    files = r.restore('restored')
    s.check(files.get('blob.bin') == blob and files.get('still.txt') == b'stays as it is\n', 'what comes back is identical',
            {name: len(content) for name, content in files.items()})
    write_report(s, folder, sets, took, said)


def write_report(s, folder, sets, took, said):
    told = []
    for one, entries in sets.items():
        drawn = phases(entries)
        told.append({'id': one, 'title': 'restic backup --use-fs-snapshot, one volume', 'luns': [1], 'transportable': False,
                     'phases': drawn, 'commit_window_ms': None, 'hold_ms': held_ms(drawn), 'verified': s.failed == 0})
    checks = [('restic reads from shadow copies of both volumes', said.count('successfully created snapshot') == 2),
              ('restored files are identical', s.failed == 0),
              (f'the backup took {took:.1f} s', True)]
    report.write(folder, {'sets': told, 'steps': [], 'orphans': len(s.shadows()), 'program': 'restic 0.14.0, unmodified',
                          'seconds': round(took, 1)}, checks)


def instant(s, r, folder):
    """Two files get one counter after the other while the backup runs: what is restored was there at one instant."""
    del folder
    counter = Counter([os.path.join(drive(s, 'D'), 'seq-a.txt'), os.path.join(drive(s, 'D'), 'seq-b.txt')])
    counter.start()
    labhost.wait_until(lambda: counter.number > 3, labhost.PATIENCE_S)
    before = counter.number
    code, said = r.run('backup', '--use-fs-snapshot', 'D:\\')
    after = counter.number
    s.check(code == 0, 'a backup while files are written', said[-500:])
    s.check(counter.stop() and after > before, 'the writer went on meanwhile', (counter.error, before, after))
    files = r.restore('instant')
    numbers = [int(files[name]) if name in files and files[name].strip().isdigit() else -1 for name in ('seq-a.txt', 'seq-b.txt')]
    s.check(numbers[1] <= numbers[0] <= numbers[1] + 1 and before <= numbers[0] <= after + 1, 'both files are of one instant',
            (numbers, before, after))
    print(f'     the counter stood at {before} before, at {numbers} in the copy, at {after} afterwards')
    nothing_left(s, 'after it')


def killed(s, r, folder):
    """kill -9 in mid backup: the set goes, the next backup goes well."""
    del folder
    with open(os.path.join(drive(s, 'D'), 'big.bin'), 'wb') as out:
        out.write(os.urandom(24 << 20))
    os.sync()
    for _ in range(8):  # it may be too fast for us
        process = r.start('backup', '--use-fs-snapshot', 'D:\\')
        labhost.wait_until(lambda: s.ask('list')[1].get('sets') or process.poll() is not None, labhost.PATIENCE_S, 0.05)
        if process.poll() is None:
            break
        process.wait()
    alive = process.poll() is None
    process.kill()
    process.wait(labhost.PATIENCE_S)
    s.check(alive, 'it is killed while its shadow copy is there')
    nothing_left(s, 'after its death')
    r.run('unlock')
    code, said = r.run('backup', '--use-fs-snapshot', 'D:\\')
    s.check(code == 0 and 'successfully created snapshot' in said, 'the next backup goes well', said[-500:])
    files = r.restore('after')
    s.check(hashlib.sha256(files.get('big.bin', b'')).digest() == digest(os.path.join(drive(s, 'D'), 'big.bin')), 'with all there is')
    nothing_left(s, 'after it')


def digest(path):
    with open(path, 'rb') as source:
        return hashlib.sha256(source.read()).digest()


def not_ours(s, r, folder):
    """A volume on no LUN: no snapshot, which restic says in one line, and reads the live volume."""
    del folder
    inside = os.path.join(s.state.host('A').prefix, 'drive_c', 'live')
    os.makedirs(inside, exist_ok=True)
    with open(os.path.join(inside, 'live.txt'), 'w') as out:
        out.write('live\n')
    code, said = r.run('backup', '--use-fs-snapshot', 'C:\\live')
    s.check(code == 0 and 'failed to create snapshot' in said, 'a volume of C: is read live, with one line', said[-500:])
    nothing_left(s, 'after it')


PARTS = (backup, instant, killed, not_ours)


def main(program, folder, names):
    why = volumes.missing()
    if why:
        print(f'skipped: {why}')
        return SKIPPED
    with Stack(luns={'data': '128M', 'log': '64M'}, hold=True, config={'copysets': {'lease': '10s'}}, volumes={'A': 'D=1 E=2'},
               mounted=True) as s:
        make_ntfs(s, 1)
        make_ntfs(s, 2)
        s.state.host('A').up()
        s.install_provider('A')
        r = Restic(s, os.path.abspath(program))
        for part in PARTS:
            if not names or part.__name__ in names or part is backup:
                print(f'-- {part.__name__}', flush=True)
                part(s, r, folder)
        print(f'{len(s.shadows())} shadow LUNs are on the array')
        return s.done()


if __name__ == '__main__':
    if len(sys.argv) < 3:
        print(__doc__)
        sys.exit(2)
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
