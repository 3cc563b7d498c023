#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""umbra-vss as a requester: copy, copies, import, delete, restore, over the lab's vssapi.dll.

    lab_copy.py [PART…]      the parts named, or all

Host A has D: on LUN 1 and E: on LUN 2, H: on a LUN of another array, C: on none. Host B may import everything.
"""
import os
import pty
import subprocess
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ctl_messages import ID, catalogue  # noqa: E402
from lab_requesters import add_foreign  # noqa: E402
from lab_stack import SECRET, Stack, iqn, labhost  # noqa: E402
import lab_steps  # noqa: E402

WRITERS_KEY = r'HKEY_LOCAL_MACHINE\Software\Umbra\Lab\Writers'
COPIES_KEY = 'Software\\\\Umbra\\\\Copies\\\\'
NOBODY = '{00000000-1111-2222-3333-444444444444}'
DEVICE = '\\\\?\\GLOBALROOT\\Device\\HarddiskVolumeShadowCopy'


def umbra(s, *words, want=0, host='A'):
    """A command with --json: what it printed. Of the exit code there is a check."""
    done = s.run('umbra-vss.exe', *words, '--json', host=host)
    s.check(done.returncode == want, f"umbra-vss {' '.join(words)} ends with {want}",
            (done.returncode, done.stdout, done.stderr))
    answer = labhost.json_in(done.stdout) or {}
    answer['stderr'] = done.stderr
    return answer


def writers(s, **fates):
    """The host's writers from now on: a name's fate, '' or 'freeze 0x800423f4'."""
    s.registry(f'[-{WRITERS_KEY}]', f'[{WRITERS_KEY}]', *(f'"{name}"="{fate}"' for name, fate in fates.items()))


def noted(s, host='A'):
    """How many sets the host has a note of."""
    path = os.path.join(s.state.host(host).prefix, 'drive_c', 'copies.reg')
    reg = os.path.join(s.state.host(host).prefix, 'drive_c/windows/system32/reg.exe')
    s.state.host(host).run(reg, 'export', r'HKLM\Software\Umbra\Copies', r'C:\copies.reg', '/y', capture=True,
                           timeout=labhost.PATIENCE_S)
    try:
        with open(path, encoding='utf-16') as source:
            text = source.read()
        os.unlink(path)
        return text.count('Umbra\\Copies\\{')
    except FileNotFoundError:
        return 0


def nothing_left(s, what):
    gone = labhost.wait_until(lambda: s.shadows() == [] and s.sets() == [], labhost.PATIENCE_S, 0.2)
    s.check(gone and s.ask('list')[1].get('sets') == [], f'nothing is left {what}', (s.shadows(), s.sets()))
    s.check(umbra(s, 'copies')['copies'] == [] and noted(s) == 0, 'and nothing is remembered')


def qemu_io(s, number, command):
    """A command of qemu-io's on a LUN, by a session of its own."""
    target = (f'driver=iscsi,transport=tcp,portal={s.array.portal()},target={s.array.target},lun={number},user={iqn("writer")},'
              f'password-secret=s,initiator-name={iqn("writer")}')
    done = subprocess.run(['qemu-io', '--object', f'secret,id=s,data={SECRET}', '-c', command, '--image-opts', target],
                          capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return done.returncode == 0 and 'verification failed' not in done.stdout


def no_provider(s):
    """Before its set-up."""
    answer = umbra(s, 'copy', 'D:', want=1)
    s.check('umbra-vss install' in answer['stderr'] and not answer['made'], 'it says what is missing', answer)


def three_commands(s):
    """From the package to the first copy, as README.md has them; then the package goes again."""
    host = s.state.host('A')
    msiexec = os.path.join(host.prefix, 'drive_c/windows/system32/msiexec.exe')
    package = labhost.windows_path(labhost.need_program('umbra-vss.msi'))
    installed = os.path.join(host.prefix, 'drive_c/Program Files/Umbra/umbra-vss.exe')
    commands = ([msiexec, '/i', package, '/qn'], [installed, 'check'], [installed, 'copy', 'D:', '--label', 'first'])
    for program, *words in commands:
        done = host.run(program, *words, capture=True, timeout=labhost.PATIENCE_S)
        s.check(done.returncode == 0, f"{os.path.basename(program)} {' '.join(words)}", done.stdout + done.stderr)
    s.check(len(s.shadows()) == 1 and s.sets()[0]['label'] == 'first', 'and there is a copy', s.sets())
    s.check(host.run(installed, 'delete', done.stdout.split()[0], capture=True, timeout=labhost.PATIENCE_S).returncode == 0,
            'which is deleted')
    nothing_left(s, 'after it')
    done = host.run(msiexec, '/x', package, '/qn', capture=True, timeout=labhost.PATIENCE_S)
    s.check(done.returncode == 0 and not os.path.exists(installed), 'the package is removed', done.stdout + done.stderr)
    reg = os.path.join(host.prefix, 'drive_c/windows/system32/reg.exe')
    done = host.run(reg, 'query', r'HKLM\Software\Umbra\Copies', capture=True, timeout=labhost.PATIENCE_S)
    s.check(done.returncode != 0, 'with the key of the copies, in which there is nothing', done.stdout)


def usage(s):
    for words in ([], ['D:', '--keep', 'daily=7'], ['D:', 'd:\\'], ['D:', '--label', 'x', '--keep', 'daily=0'], ['D:', '--what']):
        done = s.run('umbra-vss.exe', 'copy', *words)
        s.check(done.returncode == 2 and 'Usage' in done.stderr and '--transportable' in done.stderr,
                f"wrong usage: copy {' '.join(words)}", (done.returncode, done.stderr))
    for words in (['delete'], ['restore'], ['import'], ['copies', 'x'], ['restore', 'nonsense']):
        s.check(s.run('umbra-vss.exe', *words).returncode == 2, f"wrong usage: {' '.join(words)}")
    ids_are_known(s)


def ids_are_known(s):
    """Each refusal has an id, by which docs/messages.md has these words."""
    rows, told = catalogue(), set()
    for words in (['copy'], ['copy', 'D:', 'd:\\'], ['copy', 'D:', '--what'], ['delete', 'x'], ['restore', 'nonsense'], ['set', 'delete'],
                  ['set', 'create', '--luns', 'x', '--label'], ['check', '--lun'], ['support'], ['adopt', 'x'], ['orphans', '--delete', 'x'],
                  ['uninstall', '--all'], ['nonsense'], ['import', 'none.xml'], ['support', 'X:\\none\\x.txt']):
        done = s.run('umbra-vss.exe', *words)
        lines = [line for line in done.stderr.splitlines() if line.startswith('umbra-vss: ')]
        ids = [ID.findall(line) for line in lines]
        s.check(done.returncode in (1, 2) and lines and all(ids), f"{' '.join(words)}: refused, with an id", (done.returncode, done.stderr))
        for line, numbers in zip(lines, ids):
            s.check(numbers[-1] in rows and rows[numbers[-1]].search(line), 'which docs/messages.md has', line)
            told.add(numbers[-1])
    s.check(len(told) >= 12, 'ids of their own', told)


def two_volumes(s):
    """Copied at one instant, told in one line, listed, deleted."""
    writers(s, **{'Lab Writer': '', 'Other Writer': ''})
    answer = umbra(s, 'copy', 'D:', 'e:\\', '--label', 'nightly')
    devices = [one['device'] for one in answer['copies']]
    s.check(len(set(devices)) == 2 and all(d.startswith(DEVICE) for d in devices), 'two copies, here', answer)
    s.check(answer['application_consistent'] and [w['failed'] for w in answer['writers']] == [False, False],
            'both writers took part', answer['writers'])
    s.check(set(answer['phases_ms']) == {'writers', 'prepare', 'snapshot', 'import'}, 'each phase has its time', answer)
    s.check([(one['state'], one['label']) for one in s.sets()] == [('kept', 'nightly')] and len(s.shadows()) == 2,
            'one set on the array, with its label', s.sets())
    cost, told = answer['cost_us'] or {}, s.array.ctl('set', 'show', s.sets()[0]['id'])
    s.check(cost.get('commit', 0) > 0 and sum(cost.values()) - cost['frozen'] <= cost['frozen'] and
            {name: told.get(f'{name}_us') for name in cost} == cost, 'what it cost is what the array has', (cost, told))
    found = umbra(s, 'copies')['copies']
    s.check([(c['set'], c['label'], c['restorable']) for c in found] == [(answer['set'], 'nightly', True)] * 2 and
            sorted(c['device'] for c in found) == sorted(devices) and len({c['volume'] for c in found}) == 2,
            'copies has them with their label', found)
    s.check(umbra(s, 'copies', '--label', 'other')['copies'] == [], 'and not under another')
    s.check(umbra(s, 'delete', NOBODY, want=1)['deleted'] == [] and len(s.shadows()) == 2, 'an unknown set is not deleted')
    s.check(umbra(s, 'delete', answer['set'])['deleted'] == [answer['set']], 'deleted')
    nothing_left(s, 'after it')
    done = s.run('umbra-vss.exe', 'copy', 'D:', '--writers', 'none')
    lines = [line for line in done.stdout.splitlines() if line]
    s.check(done.returncode == 0 and len(lines) == 1 and 'without writers' in lines[0] and ' ms' in lines[0], 'one line of result',
            (done.returncode, done.stdout, done.stderr))
    s.check(s.run('umbra-vss.exe', 'delete', lines[0].split()[0]).returncode == 0, 'its first word is the set')
    nothing_left(s, 'after it')


def writers_fail(s):
    """What a writer that fails makes of the copy."""
    for fate in ('prepare 0x800423f3', 'freeze 0x800423f4'):
        writers(s, **{'Lab Writer': fate, 'Other Writer': ''})
        answer = umbra(s, 'copy', 'D:', '--label', 'w', want=1)
        s.check(not answer['made'] and fate[-10:] in answer['stderr'] and 'Lab Writer' in answer['stderr'],
                f'{fate}: no copy, and why', answer)
        nothing_left(s, f'after {fate}')
    answer = umbra(s, 'copy', 'D:', '--writers', 'any', want=3)
    s.check(answer['made'] and not answer['application_consistent'], 'any: there is a copy, which is told of', answer)
    umbra(s, 'delete', answer['set'])
    answer = umbra(s, 'copy', 'D:', '--writers', 'other writer', want=3)
    umbra(s, 'delete', answer['set'])
    umbra(s, 'copy', 'D:', '--writers', 'Lab Writer', want=1)
    answer = umbra(s, 'copy', 'D:', '--writers', 'Other Writer,Third Writer', want=1)
    s.check('no writer "Third Writer"' in answer['stderr'], 'a writer that is not there is named', answer)
    writers(s, **{'Lab Writer': ''})
    nothing_left(s, 'after failed writers')


def foreign(s):
    """A volume that Umbra does not have makes the whole copy fail."""
    for words in (['C:'], ['D:', 'H:'], ['Q:'], ['D:', 'C:']):
        answer = umbra(s, 'copy', *words, want=1)
        s.check(words[-1] in answer['stderr'] and not answer['made'], 'the volume is named', answer)
    nothing_left(s, 'after volumes of others')


def keep(s):
    """Only copies of the same label and volumes are deleted, and only when the new one is good."""
    other = [umbra(s, 'copy', 'D:', '--label', 'other')['set'], umbra(s, 'copy', 'E:', '--label', 'h')['set'],
             umbra(s, 'copy', 'D:')['set']]
    first = umbra(s, 'copy', 'D:', '--label', 'h', '--keep', 'yearly=1')
    s.check((first['kept'], first['deleted']) == (1, 0), 'the first is kept', first)
    writers(s, **{'Lab Writer': 'freeze 0x800423f4'})
    umbra(s, 'copy', 'D:', '--label', 'h', '--keep', 'yearly=1', want=1)
    writers(s, **{'Lab Writer': ''})
    have = {c['set'] for c in umbra(s, 'copies')['copies']}
    s.check(have == {first['set'], *other}, 'a copy that failed deletes nothing', have)
    second = umbra(s, 'copy', 'D:', '--label', 'h', '--keep', 'yearly=1')
    s.check((second['kept'], second['deleted']) == (1, 1), 'the second replaces it', second)
    have = {c['set'] for c in umbra(s, 'copies')['copies']}
    s.check(have == {second['set'], *other}, 'and others stay', have)
    writers(s, **{'Lab Writer': 'freeze 0x800423f4'})
    third = umbra(s, 'copy', 'D:', '--label', 'h', '--keep', 'yearly=1', '--writers', 'any', want=3)
    s.check(third['made'] and third['deleted'] == 0, 'nor does one of which a writer failed delete any', third)
    writers(s, **{'Lab Writer': ''})
    umbra(s, 'delete', second['set'], third['set'], *other)
    whole = umbra(s, 'copy', 'D:', 'E:', '--label', 'h')
    answer = s.ask('delete-one', whole['copies'][0]['copy'])
    both = umbra(s, 'copy', 'D:', 'E:', '--label', 'h', '--keep', 'yearly=1')
    s.check((both['kept'], both['deleted']) == (1, 0), 'a set of which a part is gone counts for nothing', (answer, both))
    umbra(s, 'delete', whole['set'], both['set'])
    nothing_left(s, 'after them')


def typed(s, host, ready, keys, *words):
    """A command on a console: typed at it when ready() holds. Its exit code and what stood there."""
    command, env = s.state.host(host).command(labhost.need_program('umbra-vss.exe'), *words)
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(command[0], command, dict(env, TERM='xterm'))

    said = []

    def read():
        try:
            while True:
                said.append(os.read(terminal, 65536))
        except OSError:  # nobody has it open any more
            pass
    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        if not labhost.wait_until(ready, labhost.PATIENCE_S, 0.05):
            raise AssertionError(f"never ready: {b''.join(said)}")
        os.write(terminal, keys)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        reader.join(labhost.PATIENCE_S)
        return code, b''.join(said).decode(errors='replace')
    finally:
        os.close(terminal)


def interrupted(s):
    """Ctrl+C while the set is being made: nothing is left."""
    bridge = s.state.host('A').bridges[0]
    lab_steps.hold(bridge, *lab_steps.READS)  # VSS stands still before the commit
    armed = []

    def ready():
        """Armed, and still there a moment after: then the key is typed, and only then the reads go on."""
        if not bridge.counters()['held']:
            return False
        if any(one['state'] == 'armed' for one in s.array.ctl('set', 'list')['sets']):
            armed.append(True)
            threading.Timer(1, lambda: lab_steps.let_go(bridge)).start()
            return True
        lab_steps.release(bridge)
        return False
    try:
        code, text = typed(s, 'A', ready, b'\x03', 'copy', 'D:', 'E:', '--label', 'c')
    finally:
        lab_steps.let_go(bridge)
    s.check(armed and code == 1 and 'no copy' in text, 'it ends with 1, and says that there is no copy', (code, text))
    nothing_left(s, 'after Ctrl+C')
    answer = umbra(s, 'copy', 'D:')
    umbra(s, 'delete', answer['set'])
    nothing_left(s, 'after the next copy')


def transportable(s):
    """A file, and another host that imports it."""
    path = s.path('copy.xml')
    answer = umbra(s, 'copy', 'D:', 'E:', '--label', 't', '--transportable', labhost.windows_path(path))
    s.check([one['device'] for one in answer['copies']] == [None, None] and os.path.getsize(path) > 100, 'not imported here', answer)
    found = umbra(s, 'copies')['copies']
    s.check([c['device'] for c in found] == [None, None] and found[0]['set'] == answer['set'], 'and told so', found)
    done = s.run('umbra-vss.exe', 'import', labhost.windows_path(path), host='B')
    s.check(done.returncode == 0, 'imported on the other host', done.stdout + done.stderr)
    s.check(s.run('umbra-vss.exe', 'import', labhost.windows_path(path), host='B').returncode == 1, 'once only')
    there = umbra(s, 'copies', host='B')['copies']
    s.check(len(there) == 2 and all(c['device'].startswith(DEVICE) for c in there), 'and found there', there)
    umbra(s, 'delete', there[0]['set'], host='B')
    s.check(s.shadows() == [], 'deleted there', s.shadows())
    umbra(s, 'delete', answer['set'])
    nothing_left(s, 'when its maker has forgotten it')
    with open(path, 'w') as out:
        out.write('<BackupComponents/>')
    s.check(s.run('umbra-vss.exe', 'import', labhost.windows_path(path), host='B').returncode == 1, 'no document of VSS')
    answer = umbra(s, 'copy', 'D:', '--transportable', labhost.windows_path(path))
    umbra(s, 'delete', answer['set'])
    nothing_left(s, 'after one that nobody imported')
    answer = umbra(s, 'copy', 'D:', '--transportable', r'C:\no such folder\x', want=1)
    nothing_left(s, 'where the file cannot be written')


def restore(s):
    """What was written since goes, the copy stays."""
    s.check(qemu_io(s, 1, 'write -P 0x41 32M 64k') and qemu_io(s, 2, 'write -P 0x51 32M 64k'), 'written before')
    answer = umbra(s, 'copy', 'D:', 'E:')
    s.check(qemu_io(s, 1, 'write -P 0x42 32M 64k') and qemu_io(s, 2, 'write -P 0x52 32M 64k'), 'and after')
    done = s.run('umbra-vss.exe', 'restore', answer['set'])
    s.check(done.returncode == 1 and answer['copies'][0]['volume'] in done.stderr and '--overwrite' in done.stderr and qemu_io(s, 1, 'read -P 0x42 32M 64k'),
            'without --overwrite nothing is done', done.stderr)
    done = s.run('umbra-vss.exe', 'restore', answer['set'], answer['copies'][1]['volume'], '--overwrite')
    s.check(done.returncode == 0 and qemu_io(s, 1, 'read -P 0x42 32M 64k') and qemu_io(s, 2, 'read -P 0x51 32M 64k'),
            'one volume of it', done.stdout + done.stderr)
    done = s.run('umbra-vss.exe', 'restore', answer['set'], '--overwrite')
    s.check(done.returncode == 0 and qemu_io(s, 1, 'read -P 0x41 32M 64k') and qemu_io(s, 2, 'read -P 0x51 32M 64k'),
            'both', done.stdout + done.stderr)
    s.check(s.run('umbra-vss.exe', 'restore', answer['set'], 'F:', '--overwrite').returncode == 1, 'a volume that is not in it')
    s.check(s.run('umbra-vss.exe', 'restore', NOBODY, '--overwrite').returncode == 1, 'a set that is not known')
    s.check(len(umbra(s, 'copies')['copies']) == 2, 'the copy is still there')
    umbra(s, 'delete', answer['set'])
    nothing_left(s, 'after a restore')


PARTS = (usage, two_volumes, writers_fail, foreign, keep, interrupted, transportable, restore)


def main(names):
    with Stack(luns={'data': '64M', 'log': '64M'}, hosts='AB', hold=True, config={'copysets': {'lease': '10s'}},
               host_options={'B': ('--control-lu', '--import', 'any')}, volumes={'A': 'D=1 E=2 H=99'}) as s:
        tgt = add_foreign(s)
        try:
            if not names or 'no_provider' in names:
                no_provider(s)
            if not names or 'three_commands' in names:
                three_commands(s)
            s.install_provider('A')
            s.install_provider('B')
            for part in PARTS:
                if not names or part.__name__ in names:
                    print(f'-- {part.__name__}')
                    part(s)
        finally:
            tgt.close()
        return s.done()


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
