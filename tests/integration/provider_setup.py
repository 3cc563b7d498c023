#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Set-up of umbra-vss.exe in the lab: its commands and its package, each twice, each failing, and what they leave.

provider_setup.py [SCENARIO …]: all of them, or those named.
"""
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import provider_lab  # noqa: E402
import lab_steps  # noqa: E402
from provider_lab import check, in_background, joined, set_text  # noqa: E402
import labhost  # noqa: E402

NEXT = 'umbra-vss-next'
PROVIDER_ID = 'c27fdb10-24d1-4708-9442-880e6246fe94'
IN_USE, ALREADY, NOT_REGISTERED, DENIED = 0x80042307, 0x80042303, 0x80042304, 0x80070005
NOTHING = {'clsid': '-', 'appid': '-', 'events': '-', 'event file': '-', 'service': '-'}
KEY_ACL = {'(A;CI;KA;;;SY)', '(A;CI;KA;;;BA)', '(A;CI;KR;;;BU)'}


def built(name):
    """A program or package that the tests alone use: it lies in the build folder, not among what users get."""
    return os.path.join(labhost.ROOT, 'build/windows/tests/unit/provider/windows', name)


def state(lab):
    """What Windows holds of the provider."""
    lines = lab.lab('run', '--host', 'A', built('umbra-test-setup-probe.exe')).splitlines()
    return dict(line.split('\t', 1) for line in lines if '\t' in line)


def registered(lab):
    """The provider's entry in VSS; None: not registered."""
    text = lab.lab('run', '--host', 'A', labhost.need_program('umbra-lab-requester.exe'), 'providers', '--json')
    return next((p for p in lab.json_in(text) if p['id'].strip('{}').lower() == PROVIDER_ID), None)


def vss_answers(lab, **answers):
    """Register=, Unregister=: what VSS answers instead of doing it (0: it does it); RegisterTimes=: how often."""
    for name, value in answers.items():
        name += '' if name.endswith('Times') else 'Answer'
        reg(lab, 'add', r'HKLM\Software\Umbra\Lab', '/v', name, '/t', 'REG_DWORD', '/d', str(value), '/f')


def reg(lab, *words):
    prefix = labhost.State(os.path.join(lab.dir, 'lab')).host('A').prefix
    lab.lab('run', '--host', 'A', os.path.join(prefix, 'drive_c/windows/system32/reg.exe'), *words)


def expect(lab, wanted, what):
    now = state(lab)
    differing = {k: now.get(k) for k in wanted if now.get(k) != wanted[k]}
    check(not differing, f'{what}: {differing} instead of {wanted}')


def events_of_setup(lab):
    with open(lab.trace('A'), errors='replace') as source:
        text = source.read()
    return [n for n in ('40', '41') for _ in range(text.count(f' event {n} '))]


def works(lab):
    lab.vss('A', 'delete', set_text(lab.vss('A', 'create', '--lun', '1')))


CLASS = '{DB5509AB-F8CD-4A11-8EFB-A1989538579C}'
APP = r'SOFTWARE\Classes\AppID\{F6DF2B1B-5A2C-407E-BB2D-A5097EB76D43}'
CLASS_KEY = r'SOFTWARE\Classes\CLSID' + '\\' + CLASS
EVENTS_KEY = r'SYSTEM\CurrentControlSet\Services\EventLog\Application\Umbra VSS Provider'
# O:BAG:BAD:(A;;0x3;;;SY)(A;;0x3;;;BA): starts the process, and lets nobody in.
LAUNCH_WITHOUT_ACTIVATION = (
    '0100048048000000580000000000000014000000020034000200000000001400030000000101000000000005120000000000180003000000'
    '010200000000000520000000200200000102000000000005200000002002000001020000000000052000000020020000')


def accounts(lab):
    """What Windows' COM lets each account do: {account: {start, activate, call}}; {(key, account): {read, write}}."""
    text = lab.lab('run', '--host', 'A', labhost.need_program('umbra-lab-rights.exe'), CLASS, CLASS_KEY, APP, EVENTS_KEY)
    may, keys = {}, {}
    for words in (line.split('\t') for line in text.splitlines()):
        rights = dict(w.split() for w in words if w.split()[-1] in ('yes', 'no'))
        if words[0] == 'key':
            keys[words[1], words[2]] = rights
        elif rights:
            may[words[0]] = rights
    return may, keys


def scenario_rights(lab):
    """COM on Windows lets LocalSystem and administrators start, activate and call the class, and nobody else anything. A
    launch list without activation, as earlier versions wrote it: VSS is refused, check says so, upgrade mends it."""
    may, keys = accounts(lab)
    check(set(may) == {'SYSTEM', 'administrator', 'user', 'LocalService', 'NetworkService'}, f'{may}')
    for account, rights in may.items():
        wanted = 'yes' if account in ('SYSTEM', 'administrator') else 'no'
        check(set(rights.values()) == {wanted}, f'{account}: {rights}')
    check(len(keys) == 15, f'{keys}')
    for (key, account), rights in keys.items():  # RPCSS and the event log read them as NetworkService and LocalService
        wanted = {'read': 'yes', 'write': 'yes' if account in ('SYSTEM', 'administrator') else 'no'}
        check(rights == wanted, f'{key}: {account}: {rights}')
    works(lab)

    reg(lab, 'add', 'HKLM\\' + APP, '/v', 'LaunchPermission', '/t', 'REG_BINARY', '/d', LAUNCH_WITHOUT_ACTIVATION, '/f')
    may, _ = accounts(lab)
    check({a for a in may if may[a]['activate'] == 'yes'} == set(), f'{may}')
    lab.lab('run', '--host', 'A', labhost.need_program('umbra-lab-requester.exe'), 'unload')
    answer = lab.vss('A', 'create', '--lun', '1', want=1)
    check(answer['hresult_name'] == 'VSS_E_UNEXPECTED_PROVIDER_ERROR' and 'LocalSystem' in answer['message'], f'{answer}')
    check([c['hresult'].lower() for c in answer['calls']] == ['0x80070005'], f"{answer['calls']}")
    lab.expect_nothing_left('nobody is let in', 0)
    text = lab.run('A', 'check', want=1)
    check('LaunchPermission' in text and 'umbra-vss upgrade' in text, text)
    lab.run('A', 'upgrade')
    works(lab)


def scenario_commands(lab):
    """Every command twice; what they make in Windows; wrong usage is 2."""
    lab.run('A', 'install')
    now = state(lab)
    for key in ('clsid', 'appid', 'settings', 'events'):
        acl = now[key]
        check(KEY_ACL == set(a + ')' for a in acl[acl.index('('):].split(')')[:-1]), f'{key}: {acl}')
    program = labhost.windows_path(lab.provider)
    check(now['service'].lower() == f'"{program}" run'.lower(), f"not quoted: {now['service']}")
    check(now['account'] == 'LocalSystem' and now['start'] == '3', f'{now}')
    for name, value in (('sid', '1'), ('privileges', 'SeChangeNotifyPrivilege SeImpersonatePrivilege SeIncreaseWorkingSetPrivilege '),
                        ('failure', '1/5000 1/5000 0/0 ')):
        told = now.get(name)
        print(f'   service {name}: {told or "this Wine does not tell"}')
        check(told in (value, None, '', '0'), f'{name}: {told}')
    check('registered, version' in lab.run('A', 'status'), 'status')
    lab.run('A', 'upgrade')
    check(state(lab) == now, 'an upgrade to the same version changes something')
    works(lab)
    trace = lab.trace('A')
    for _ in range(2):
        lab.run('A', 'uninstall')
    expect(lab, NOTHING, 'after uninstall')
    check(registered(lab) is None, 'VSS knows it still')
    check(state(lab)['settings'] != '-', "the administrator's settings are gone")
    check('not installed' in lab.run('A', 'status', want=1), 'status after uninstall')
    lab.vss('A', 'create', '--lun', '1', want=1)
    lab.expect_nothing_left('without a provider', 0)
    reg(lab, 'delete', provider_lab.PROVIDER_KEY, '/v', 'TraceFile', '/f')
    lab.run('A', 'uninstall')
    check(state(lab)['settings'] == '-', 'an empty key of settings is left')
    for words in ([], ['no-such-command'], ['install', 'x'], ['uninstall', 'x'], ['uninstall', '--force', '-x']):
        lab.run('A', *words, want=2)
    help_text = lab.run('A', '--help')
    for word in ('install', 'uninstall', 'upgrade', 'status', 'check', 'orphans', 'run', '--json', 'Exit code'):
        check(word in help_text, f'nothing about {word}')
    check(help_text == lab.run('A', 'orphans', '--help'), 'help after a command')
    lab.run('A', 'install')
    lab.set_value('A', 'TraceFile', 'REG_SZ', labhost.windows_path(trace))
    works(lab)


def scenario_commands_fail(lab):
    """VSS refuses: a first install leaves nothing, a replaced or removed version stays as it was."""
    older = state(lab)
    version = registered(lab)
    newer = built(NEXT + '.exe')
    vss_answers(lab, Unregister=IN_USE)
    text = lab.lab('run', '--host', 'A', newer, 'upgrade', want=1)
    check('80042307' in text and 'Wait until' in text, text)
    text = lab.run('A', 'uninstall', want=1)
    check('80042307' in text, text)
    check(state(lab) == older and registered(lab) == version, 'a provider in use was touched')
    vss_answers(lab, Unregister=0, RegisterTimes=1, Register=DENIED)
    text = lab.lab('run', '--host', 'A', newer, 'upgrade', want=1)
    check('80070005' in text and 'elevated' in text and 'as it was before' in text, text)
    check(state(lab) == older and registered(lab) == version, f'a failed upgrade: {state(lab)} {registered(lab)}')
    check(set(events_of_setup(lab)) == {'40'}, f'events: {events_of_setup(lab)}')
    works(lab)
    vss_answers(lab, Register=DENIED)
    text = lab.lab('run', '--host', 'A', newer, 'upgrade', want=1)
    check('putting things back failed' in text and registered(lab) is None, text)
    check(events_of_setup(lab).count('41') == 1, f'the event says that nothing has changed: {events_of_setup(lab)}')
    vss_answers(lab, Register=0)
    lab.run('A', 'install')
    check(state(lab) == older and registered(lab) == version, 'it cannot be mended by installing again')

    lab.run('A', 'uninstall')
    for hresult in (DENIED, ALREADY):
        vss_answers(lab, Register=hresult)
        check('as it was before' in lab.run('A', 'install', want=1), 'it says nothing')
        expect(lab, NOTHING, f'a refused first install ({hresult:#x})')
    vss_answers(lab, Register=0, Unregister=NOT_REGISTERED)
    lab.run('A', 'install')
    lab.run('A', 'uninstall')
    expect(lab, NOTHING, 'VSS had forgotten it')
    vss_answers(lab, Unregister=0)
    lab.lab('run', '--host', 'A', newer, 'install')  # over what VSS knows still: an upgrade
    after = registered(lab)
    check(after['version_id'] != version['version_id'] and after['clsid'] == version['clsid'], f'{after}')
    check(NEXT in state(lab)['service'], 'the service runs the old one')
    wrong = lab.run('A', 'check', want=1)
    check('not this program' in wrong, wrong)
    lab.run('A', 'upgrade')
    check(registered(lab) == version and state(lab) == older, 'back to the older one')
    works(lab)


def scenario_in_use(lab):
    """While a shadow copy is being made nothing is stopped, replaced or removed, and the copy is made."""
    before, version = state(lab), registered(lab)
    for words in ((built(NEXT + '.exe'), 'upgrade'), (lab.provider, 'uninstall')):
        lab_steps.hold(lab.bridge(), *lab_steps.READS)
        thread, result = in_background(lab.vss, 'A', 'create', '--lun', '1,2')
        lab_steps.stop_when_armed(lab.array, lab.bridge(), lambda: not thread.is_alive())
        text = lab.lab('run', '--host', 'A', *words, want=1)
        alive = thread.is_alive()
        lab_steps.let_go(lab.bridge())
        check(alive and '80042307' in text and 'Wait until' in text, f'{alive}: {text}')
        lab.vss('A', 'delete', set_text(joined(thread, result)))
        check(state(lab) == before and registered(lab) == version, f'{words}: {state(lab)}')


def scenario_ordinary_prompt(lab):
    """An administrator who has not elevated the prompt: refused before anything is changed, and told what to do."""
    before, version = state(lab), registered(lab)
    for words in ('install', 'upgrade', 'uninstall', 'uninstall --force'):
        command = f'"{labhost.windows_path(lab.provider)}" {words}'
        text = lab.lab('run', '--host', 'A', built('umbra-test-setup-probe.exe'), '--not-elevated', command, want=1)
        check('elevated prompt' in text and 'everything is as it was before' in text, f'{words}: {text}')
        check(not any(done in text for done in (': done', ': removed', ': stopped', 'putting things back', 'look as if')), f'{words}: {text}')
        check(state(lab) == before and registered(lab) == version, f'{words}: {state(lab)} {registered(lab)}')


LAB_PROVIDERS = r'HKLM\SYSTEM\CurrentControlSet\Services\VSS\Providers'
# As qemu-ga's registers itself: a software provider, in front of ours in the list.
QEMU = {'id': '{3629D4ED-EE09-4E0E-9A5C-6D8BA2872AEF}', 'name': 'QEMU Guest Agent VSS Provider', 'type': '2',
        'version': '8.2.0', 'clsid': '{6E6A3492-8D4D-440C-9619-5E5D0CC31CA8}'}


def scenario_beside_others(lab):
    """Another vendor's provider is registered, too: ours is found, made, replaced and removed beside it, and it stays."""
    key = LAB_PROVIDERS + '\\' + QEMU['id']
    reg(lab, 'add', key, '/ve', '/t', 'REG_SZ', '/d', QEMU['name'], '/f')
    reg(lab, 'add', key, '/v', 'Type', '/t', 'REG_DWORD', '/d', QEMU['type'], '/f')
    reg(lab, 'add', key, '/v', 'Version', '/t', 'REG_SZ', '/d', QEMU['version'], '/f')
    reg(lab, 'add', key, '/v', 'VersionId', '/t', 'REG_SZ', '/d', '{00000000-0000-0000-0000-000000000009}', '/f')
    reg(lab, 'add', key + '\\CLSID', '/ve', '/t', 'REG_SZ', '/d', QEMU['clsid'], '/f')

    def others():
        text = lab.lab('run', '--host', 'A', labhost.need_program('umbra-lab-requester.exe'), 'providers', '--json')
        return [p for p in lab.json_in(text) if p['id'].strip('{}').lower() != PROVIDER_ID]
    theirs = others()
    check(len(theirs) == 1 and theirs[0]['name'] == QEMU['name'], f'{theirs}')
    ours = registered(lab)
    check(ours is not None, 'ours is not in the list')
    check('registered, version' in lab.run('A', 'status'), 'status')
    lab.run('A', 'check')
    works(lab)
    lab.lab('run', '--host', 'A', built(NEXT + '.exe'), 'upgrade')
    check(registered(lab)['version_id'] != ours['version_id'] and others() == theirs, f'{others()}')
    lab.run('A', 'upgrade')
    works(lab)
    for _ in range(2):
        lab.run('A', 'uninstall')
    check(registered(lab) is None and others() == theirs, f'{registered(lab)} {others()}')
    check('not installed' in lab.run('A', 'status', want=1), 'status takes theirs for ours')
    lab.vss('A', 'create', '--lun', '1', want=1)  # no hardware provider is left
    lab.run('A', 'install')
    works(lab)
    reg(lab, 'delete', key, '/f')


LANGUAGES = (('de_DE', '0407', 1252), ('ru_RU', '0419', 1251), ('ja_JP', '0411', 932), ('tr_TR', '041f', 1254))


def scenario_languages(lab):
    """Windows in German, Russian, Japanese and Turkish: accounts have other names there, letters other pairs of cases."""
    places = os.path.join(lab.dir, 'locales')
    os.makedirs(places)
    before = {name: os.environ.get(name) for name in ('LC_ALL', 'LOCPATH')}
    try:
        for language, number, page in LANGUAGES:
            place = os.path.join(places, language + '.UTF-8')
            made = subprocess.run(['localedef', '-i', language, '-f', 'UTF-8', place], capture_output=True, text=True)
            check(os.path.isdir(place), f'the package locales is needed: {made.stderr}')
            os.environ.update(LC_ALL=language + '.UTF-8', LOCPATH=places)
            lab.restart_host('A')
            lab.run('A', 'uninstall')
            lab.run('A', 'install')
            now = state(lab)
            for key in ('clsid', 'appid', 'settings', 'events'):
                check(KEY_ACL == set(a + ')' for a in now[key][now[key].index('('):].split(')')[:-1]), f'{language}: {now[key]}')
            may, _ = accounts(lab)
            check({a for a in may if 'yes' in may[a].values()} == {'SYSTEM', 'administrator'}, f'{language}: {may}')
            check('All is well.' in lab.run('A', 'check'), language)
            works(lab)
            path = os.path.join(lab.dir, f'{language} Größe ölçüsü İıŞş размер 容量 "x" & %TEMP%.txt'.replace('"', "'"))
            lab.run('A', 'support', labhost.windows_path(path))
            with open(path, encoding='utf-8') as source:
                told = next(line for line in source if line.startswith('language: '))
            check(told.startswith(f'language: {number}, code pages {page} and '), f'{language}: {told}')
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
        lab.restart_host('A')


class Package:
    """msiexec in the lab, silent."""

    def __init__(self, lab):
        self.lab = lab
        prefix = labhost.State(os.path.join(lab.dir, 'lab')).host('A').prefix
        self.msiexec = os.path.join(prefix, 'drive_c/windows/system32/msiexec.exe')
        self.folder = os.path.join(prefix, 'drive_c/Program Files/Umbra')
        self.program = os.path.join(self.folder, 'umbra-vss.exe')
        self.this, self.next = labhost.need_program('umbra-vss.msi'), built(NEXT + '.msi')

    def run(self, option, package, *properties, want=0):
        """want: 0, 1 for any failure (Wine cuts exit codes to 8 bits), None for either."""
        seen = len(self.said())
        code, text = self.lab.command('run', '--host', 'A', self.msiexec, option, labhost.windows_path(package), '/qn',
                                      *properties)
        check(want is None or (code != 0) == bool(want),
              f'msiexec {option} {os.path.basename(package)}: exit code {code}\n{text}\nThe program, in its trace:\n'
              f'{self.said()[seen:] or "nothing"}\nWindows holds: {state(self.lab)}')

    def said(self):
        """What the program that the package runs told: nobody sees its output."""
        path = self.lab.trace('A')
        if not os.path.exists(path):
            return ''
        with open(path, errors='replace') as source:
            return source.read()

    def expect_program(self, name):
        """The file that is installed is this one; None: no file, no folder."""
        if name is None:
            check(not os.path.exists(self.folder), f'left: {self.folder}')
            return
        check(os.path.exists(self.program), 'no program was placed')
        with open(self.program, 'rb') as placed, open(name, 'rb') as wanted:
            check(placed.read() == wanted.read(), f'the program is not {os.path.basename(name)}')

    def expect_nothing(self, what):
        self.expect_program(None)
        expect(self.lab, NOTHING, what)
        check(registered(self.lab) is None, f'{what}: VSS knows a provider')


def scenario_package(lab):
    """Install, repair, upgrade, uninstall, each twice; a downgrade is refused; nothing stays."""
    package, this, newer = Package(lab), labhost.need_program('umbra-vss.exe'), built(NEXT + '.exe')
    lab.run('A', 'uninstall')
    for _ in range(2):
        package.run('/i', package.this)
        package.expect_program(this)
    first, version = state(lab), registered(lab)
    check(first['service'] == '"C:\\Program Files\\Umbra\\umbra-vss.exe" run', first['service'])
    check(first['event file'] == 'C:\\Program Files\\Umbra\\umbra-vss-events.dll', first['event file'])
    works(lab)
    check(lab.provider_pids('A'), 'the service does not run')
    os.unlink(package.program)
    reg(lab, 'delete', r'HKLM\SOFTWARE\Classes\AppID\{F6DF2B1B-5A2C-407E-BB2D-A5097EB76D43}', '/f')
    for _ in range(2):
        package.run('/i', package.this, 'REINSTALL=ALL', 'REINSTALLMODE=amus')  # /fa, which Wine wants a code for
        package.expect_program(this)
        check(state(lab) == first, f'repaired to {state(lab)} from {first}')
    works(lab)
    for _ in range(2):
        package.run('/i', package.next)
        package.expect_program(newer)
    after = registered(lab)
    check(after['version_id'] != version['version_id'] and after['version'] != version['version'], f'{after}')
    check(state(lab) == first, f'upgraded to {state(lab)} from {first}')
    works(lab)
    package.run('/i', package.this, want=1)
    package.expect_program(newer)
    check(registered(lab) == after, 'a refused downgrade changed something')
    package.run('/x', package.next)
    package.expect_nothing('after removal')
    package.run('/x', package.next, want=None)  # Windows says 1605, no such product; Wine says nothing
    package.expect_nothing('after a second removal')


class Held:
    """Somebody else has a handle to the service, as the Services console and monitoring agents do."""

    def __init__(self, lab):
        self.file = os.path.join(lab.dir, 'held')
        self.thread, self.result = in_background(lab.lab, 'run', '--host', 'A', built('umbra-test-setup-probe.exe'), '--hold',
                                                 labhost.windows_path(self.file))
        check(labhost.wait_until(lambda: os.path.exists(self.file) or not self.thread.is_alive(), 60), 'the probe hangs')
        check(self.thread.is_alive(), f'nothing is held: {self.result}')

    def release(self):
        os.unlink(self.file)
        joined(self.thread, self.result)


def scenario_package_held(lab):
    """An upgrade while somebody holds the service open succeeds, and one that fails can be repeated: never neither version.

    What the older package does when a newer one replaces it is asked of it as Windows does (UPGRADINGPRODUCTCODE): Wine
    leaves that property out.
    """
    package, newer = Package(lab), built(NEXT + '.exe')
    lab.run('A', 'uninstall')
    package.run('/i', package.this)
    works(lab)
    held = Held(lab)
    package.run('/x', package.this, 'UPGRADINGPRODUCTCODE={00000000-0000-0000-0000-000000000001}')
    check(registered(lab) is None and state(lab)['service'] != '-', f'{state(lab)}')
    vss_answers(lab, RegisterTimes=1, Register=DENIED)
    package.run('/i', package.next, want=1)
    package.run('/i', package.next)
    package.expect_program(newer)
    works(lab)
    held.release()
    works(lab)

    # removed by hand the service goes, and comes back as soon as nobody holds it
    held = Held(lab)
    package.run('/x', package.next)
    thread, result = in_background(lab.run, 'A', 'install')
    held.release()
    joined(thread, result)
    works(lab)


def scenario_package_fails(lab):
    """VSS refuses: a first installation leaves nothing, a removal everything, an upgrade nothing half done.

    Wine removes an older product in a transaction of its own and keeps no copies of the files: what Windows brings back
    when an upgrade fails, Wine does not. That the package asks for it is tested on its tables (test_package.py).
    """
    package, this = Package(lab), labhost.need_program('umbra-vss.exe')
    lab.run('A', 'uninstall')
    for hresult in (DENIED, ALREADY):
        vss_answers(lab, Register=hresult)
        package.run('/i', package.this, want=1)
        vss_answers(lab, Register=0)
        package.expect_nothing(f'a refused first installation ({hresult:#x})')
    package.run('/i', package.this)
    before, version = state(lab), registered(lab)
    works(lab)
    vss_answers(lab, RegisterTimes=1, Register=DENIED)
    package.run('/i', package.next, want=1)
    if os.path.exists(package.program):
        package.expect_program(this)
        check(state(lab) == before and registered(lab) == version, f'a refused upgrade: {state(lab)}')
    else:
        package.expect_nothing('a refused upgrade')
        package.run('/i', package.this)
    works(lab)
    vss_answers(lab, Unregister=IN_USE)
    package.run('/x', package.this, want=1)
    vss_answers(lab, Unregister=0)
    package.expect_program(this)
    check(state(lab) == before and registered(lab) == version, f'a refused removal: {state(lab)} {registered(lab)}')
    works(lab)
    lab.run('A', 'uninstall')


def scenario_secrets(lab):
    """After a shadow copy, failed calls and checks with a trace: the host's CHAP secret is nowhere on the host."""
    works(lab)
    lab.run('A', 'check')
    lab_steps.away(lab.bridge())
    lab.vss('A', 'create', '--lun', '1', want=1)
    lab_steps.come_back(lab.bridge())
    prefix = labhost.State(os.path.join(lab.dir, 'lab')).host('A').prefix
    lab.lab('down', '--host', 'A')  # the registry is in its files now
    with open(os.path.join(lab.dir, 'secret-A')) as source:
        secret = source.read().strip().encode()
    forms = [secret, secret.decode().encode('utf-16-le'), secret.hex().encode()]
    places = [lab.trace('A')] + [os.path.join(prefix, n) for n in os.listdir(prefix) if n.endswith('.reg')]
    for folder in ('ProgramData', 'Program Files', 'users', 'windows/temp', 'windows/logs'):
        for where, _, names in os.walk(os.path.join(prefix, 'drive_c', folder)):
            places += [os.path.join(where, name) for name in names]
    check(sum(p.endswith('.reg') for p in places) == 3 and os.path.getsize(lab.trace('A')) > 1000, f'{places[:5]}')
    for place in places:
        if os.path.isfile(place) and not os.path.islink(place):
            with open(place, 'rb') as source:
                text = source.read()
            check(not any(form in text for form in forms), f'the secret is in {place}')
    lab.lab('up', '--host', 'A')


SCENARIOS = {name[len('scenario_'):]: function for name, function in list(globals().items())
             if name.startswith('scenario_')}

if __name__ == '__main__':
    sys.exit(provider_lab.main(sys.argv[1:], SCENARIOS, hosts='A', lease_ms=600000))
