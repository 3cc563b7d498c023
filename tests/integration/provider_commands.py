#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The administrator's commands of umbra-vss.exe in the lab: orphans and check.

provider_commands.py [SCENARIO …]: all of them, or those named.
"""
import os
import pty
import re
import shutil
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import provider_lab  # noqa: E402
import lab_steps  # noqa: E402
import umbra_lab  # noqa: E402
from provider_lab import LEASE_MS, check, host_with_two_adapters, in_background, joined, set_text  # noqa: E402
import labhost  # noqa: E402


def command(lab, host, *words, want):
    """A command with --json: what it printed."""
    return lab.json_in(lab.run(host, *words, '--json', want=want))


def orphans_of(answer):
    return [o for array in answer['arrays'] for o in array['orphans']]


def in_trace(lab, host, words):
    with open(lab.trace(host), errors='replace') as trace:
        return words in trace.read()


def killed_before_keep(lab):
    """The provider dies while its keep request is on the way: the array keeps a set that VSS does not know."""
    open(lab.trace('A'), 'w').close()
    bridge = lab.bridge()
    lab_steps.hold(bridge, *lab_steps.READS)
    thread, result = in_background(lab.vss, 'A', 'create', '--lun', '1,2', want=None)
    lab_steps.stop_when_armed(lab.array, bridge, lambda: not thread.is_alive())
    lab.fault('clear')
    lab_steps.hold(bridge, lab_steps.POST)
    lab_steps.release(bridge)
    # The first request after PostCommitSnapshots is the keep. What is held when the trace does not have that call's end yet was
    # sent before it: so first the look at what is held, then the trace.
    while True:
        check(thread.is_alive(), 'the creation ended before')
        held = bridge.counters()['held']
        if in_trace(lab, 'A', 'PostCommitSnapshots: '):
            break
        if held:
            lab_steps.release(bridge)
        time.sleep(0.02)
    check(labhost.wait_until(lambda: bridge.counters()['held'], lab_steps.PATIENCE_S), 'no keep request was sent')
    states = [s['state'] for s in lab.sets()]
    check(states == ['committed'], f'the set is not committed and unkept: {states}')
    check(lab.kill_provider('A') == 1, 'no provider was killed')
    lab_steps.let_go(bridge)
    answer = joined(thread, result)
    check(int(answer['hresult'], 16) != 0, f'success without a provider: {answer}')
    end = time.monotonic() + lab_steps.PATIENCE_S
    while [s['state'] for s in lab.sets()] != ['kept']:
        check(time.monotonic() < end, f'the keep request did not arrive: {lab.sets()}')
        time.sleep(0.05)
    check(not lab.vss('A', 'list')['sets'], 'VSS knows the set')
    lab.restart_host('A')


def scenario_orphans(lab):
    """A set that the array keeps and VSS does not know: listed, deleted by name only, gone."""
    check(not orphans_of(command(lab, 'A', 'orphans', want=0)), 'orphans on a fresh array')
    killed_before_keep(lab)
    time.sleep(LEASE_MS / 1000 + 0.5)
    left = {s['id']: s for s in lab.shadows()}
    check(len(left) == 2, f'the array touched a kept set: {lab.shadows()}')

    found = orphans_of(command(lab, 'A', 'orphans', want=1))
    check({o['id'] for o in found} == set(left), f'{found} instead of {left}')
    originals = {lun['id'] for lun in lab.array.ctl('lun', 'list')['luns']}
    now_ms = time.time() * 1000
    for one in found:
        check(one['origin'] in originals and 'PhysicalDrive' in (one['origin_device'] or ''), f'{one}')
        check(one['set_state'] == 'kept' and one['size_bytes'] == 64 << 20, f'{one}')
        check(now_ms - 900000 < one['created_unix_ms'] <= now_ms, f'{one}')
        check(one['set'].strip('{}').replace('-', '').lower() == lab.sets()[0]['id'].replace('-', '').lower(),
              f"{one} is of {lab.sets()}")
    text = lab.run('A', 'orphans', want=1)
    check(all(i in text for i in left) and '--delete' in text, text)
    check({o['id'] for o in orphans_of(command(lab, 'B', 'orphans', want=1))} == set(left), 'host B may import all')
    check(len(lab.shadows()) == 2, 'looking has deleted something')

    first, second = sorted(left)
    answer = command(lab, 'A', 'orphans', '--delete', first, want=0)
    check([d['gone'] for d in answer['deleted']] == [True] and answer['deleted'][0]['message'] == 'deleted', f'{answer}')
    check([o['id'] for o in orphans_of(answer)] == [second] == [s['id'] for s in lab.shadows()], 'another one went')
    check('deleted' in lab.run('A', 'orphans', '--delete', second.upper(), first), 'twice is no failure')
    lab.expect_nothing_left('after orphans --delete', 0)
    check('no orphans' in lab.run('A', 'orphans'), 'not clean')
    lab.vss('A', 'delete', set_text(lab.vss('A', 'create', '--lun', '1,2')))
    lab.expect_nothing_left('after the next set', 0)


def scenario_orphans_spared(lab):
    """What is no orphan is neither listed nor deleted, whoever names it."""
    answer = lab.vss('A', 'create', '--lun', '1')
    shadow = lab.shadows()[0]['id']
    check(not orphans_of(command(lab, 'A', 'orphans', want=0)), 'an imported copy is listed')
    check(not orphans_of(command(lab, 'B', 'orphans', want=0)), 'a copy that another host sees is listed')
    told = command(lab, 'A', 'orphans', '--delete', shadow, want=1)['deleted'][0]
    check(not told['gone'] and 'this host' in told['message'], f'{told}')
    told = command(lab, 'B', 'orphans', '--delete', shadow, want=1)['deleted'][0]
    check(not told['gone'] and 'another host' in told['message'], f'{told}')
    original = lab.array.ctl('lun', 'show', 'lun1')['id']
    check(not command(lab, 'A', 'orphans', '--delete', original, want=1)['deleted'][0]['gone'], 'an original')
    check([s['id'] for s in lab.shadows()] == [shadow], 'it was deleted')
    lab.vss('A', 'delete', set_text(answer))

    document = os.path.join(lab.dir, 'waiting.xml')
    lab.vss('A', 'create', '--lun', '1', '--transportable', document)
    check(len(orphans_of(command(lab, 'A', 'orphans', want=1))) == 1, 'a copy that waits for its import')
    check('transportable' in lab.run('A', 'orphans', want=1), 'nothing warns of transportable copies')
    imported = lab.vss('B', 'import', document)
    check(not orphans_of(command(lab, 'A', 'orphans', want=0)), 'it is imported')
    told = command(lab, 'A', 'orphans', want=0)['arrays'][0]
    check([o['id'] for o in told['seen_elsewhere']] == [lab.shadows()[0]['id']] and not told['seen_here'], f'{told}')
    # both hosts import it: the first deletion is one for that host, the last one is the copy's end
    twice = lab.vss('A', 'import', document)
    check(len(command(lab, 'A', 'orphans', want=0)['arrays'][0]['seen_here']) == 1, 'what this host sees is not shown')
    lab.vss('A', 'delete', set_text(twice))
    check(len(lab.shadows()) == 1 and lab.vss('B', 'list')['sets'], 'it was taken from host B')
    lab.vss('B', 'delete', set_text(imported))
    check(not lab.shadows(), 'two hosts imported a copy, both deleted it, and it is still there')
    # what a failed import leaves: mapped, and unknown to VSS
    lab.vss('A', 'create', '--lun', '1', '--transportable', document)
    left = lab.shadows()[0]
    lab.array.ctl('shadow', 'map', left['name'], 'A')
    check(not orphans_of(command(lab, 'A', 'orphans', want=0)), 'what a host sees is no orphan')
    check('--unmap' in lab.run('A', 'orphans', want=0), 'nothing says what to do about it')
    check(command(lab, 'A', 'orphans', '--unmap', left['id'], want=0)['deleted'][0]['gone'], 'it was not unmapped')
    command(lab, 'A', 'orphans', '--delete', left['id'], want=0)
    for words in (['--delete'], ['--delete', 'x'], ['--delete', '0' * 31], ['--force'], [original]):
        lab.run('A', 'orphans', *words, want=2)
    lab_steps.away(lab.bridge())
    check('no array is reached' in lab.run('A', 'orphans', want=1), 'without an array')
    lab_steps.come_back(lab.bridge())
    lab.expect_nothing_left('at the end')


def reg(lab, host, *words):
    prefix = labhost.State(os.path.join(lab.dir, 'lab')).host(host).prefix
    lab.lab('run', '--host', host, os.path.join(prefix, 'drive_c/windows/system32/reg.exe'), *words)


def by_level(answer, level):
    return {f['area']: f for f in answer['findings'] if f['level'] == level}


def scenario_check(lab):
    """A sound host: everything is looked at and well. Then each thing is broken, found, and mended as it says."""
    answer = command(lab, 'A', 'check', want=0)
    check(answer['well'] and answer['lost'] == 0, f'{answer}')
    wanted = {'program', 'Windows', 'rights', 'service', 'service rights', 'COM class', 'COM rights', 'registry', 'services', 'start',
              'event source', 'settings', 'VSS', 'array', 'array CHAP', 'array offers', 'page 83'}
    check(wanted <= set(by_level(answer, 'ok')), f"missing: {wanted - set(by_level(answer, 'ok'))}")
    check(set(by_level(answer, 'skipped')) <= {'hardening'}, f'{answer}')
    check('OnlineAll' in by_level(answer, 'note').get('SAN policy', {}).get('remedy', ''), f'no policy: {answer}')
    text = lab.run('A', 'check')
    check('All is well.' in text and text.count('\n') >= len(answer['findings']), text)
    check(by_level(command(lab, 'B', 'check', want=0), 'note').get('array LUNs'), 'host B has no LUN of its own')
    for words in (['x'], ['--json', '--json']):
        lab.run('A', 'check', *words, want=2)

    key = r'HKLM\SYSTEM\CurrentControlSet\Services\partmgr\Parameters'
    for policy, level in ((2, 'note'), (1, 'ok'), (3, 'note'), (9, 'note')):
        reg(lab, 'A', 'add', key, '/v', 'SanPolicy', '/t', 'REG_DWORD', '/d', str(policy), '/f')
        check('SAN policy' in by_level(command(lab, 'A', 'check', want=0), level), f'policy {policy} is no {level}')
    reg(lab, 'A', 'delete', key, '/v', 'SanPolicy', '/f')

    app = r'HKLM\SOFTWARE\Classes\AppID\{F6DF2B1B-5A2C-407E-BB2D-A5097EB76D43}'
    reg(lab, 'A', 'add', app, '/v', 'AccessPermission', '/t', 'REG_BINARY', '/d', '0100', '/f')
    wrong = by_level(command(lab, 'A', 'check', want=1), 'wrong')
    check(set(wrong) == {'COM rights'} and 'upgrade' in wrong['COM rights']['remedy'], f'{wrong}')
    lab.run('A', 'upgrade')
    reg(lab, 'A', 'delete', app, '/v', 'LocalService', '/f')
    check('COM class' in by_level(command(lab, 'A', 'check', want=1), 'wrong'), 'AppID without the service')
    lab.run('A', 'install')
    command(lab, 'A', 'check', want=0)

    settings = (('DefaultCopyKind', 'REG_SZ', 'plexx', 'plex'), ('DefaultCopyKind', 'REG_DWORD', 1, 'a string'),
                ('CommitBudgetMs', 'REG_DWORD', 99, '100'), ('CommitBudgetMs', 'REG_SZ', '8000', 'DWORD'),
                ('TraceFile', 'REG_SZ', 'trace.txt', 'full path'), ('TraceFile', 'REG_SZ', r'C:\no-such\t', 'folder'))
    for name, kind, value, want in settings:
        lab.set_value('A', name, kind, value)
        wrong = by_level(command(lab, 'A', 'check', want=1), 'wrong')
        check(set(wrong) == {'settings'} and name in wrong['settings']['text'] and want in wrong['settings']['remedy'],
              f'{name} = {value}: {wrong}')
        reg(lab, 'A', 'delete', provider_lab.PROVIDER_KEY, '/v', name, '/f')
    lab.set_value('A', 'TraceFile', 'REG_SZ', labhost.windows_path(lab.trace('A')))
    lab.set_value('A', 'DefaultCopyKind', 'REG_SZ', 'plex')
    command(lab, 'A', 'check', want=0)
    reg(lab, 'A', 'delete', provider_lab.PROVIDER_KEY, '/v', 'DefaultCopyKind', '/f')

    lab.run('A', 'uninstall')
    wrong = by_level(command(lab, 'A', 'check', want=1), 'wrong')
    check({'service', 'COM class', 'COM rights', 'start', 'event source', 'VSS'} == set(wrong), f'{wrong}')
    check(all(one['remedy'] for one in wrong.values()), 'no word of how to mend it')
    lab.run('A', 'install')
    lab_steps.away(lab.bridge())
    wrong = by_level(command(lab, 'A', 'check', want=1), 'wrong')
    check('array' in wrong and set(wrong) <= {'array', 'page 83'}, f'without an array: {wrong}')
    lab_steps.come_back(lab.bridge())
    command(lab, 'A', 'check', want=0)
    lab.vss('A', 'delete', set_text(lab.vss('A', 'create', '--lun', '1')))
    lab.expect_nothing_left('at the end', 0)


def scenario_check_rights(lab):
    """An administrator's ordinary prompt has the group for denial only: check says so, and what to do."""
    probe = os.path.join(labhost.ROOT, 'build/windows/tests/unit/provider/windows/umbra-test-setup-probe.exe')
    path = labhost.windows_path(lab.provider)
    answer = lab.json_in(lab.lab('run', '--host', 'A', probe, '--not-elevated', f'"{path}" check --json', want=1))
    rights = by_level(answer, 'wrong').get('rights')
    check(rights and 'elevated prompt' in rights['remedy'], f'{answer}')
    check('prompt is not elevated' in lab.lab('run', '--host', 'A', probe, '--not-elevated', f'"{path}" status'), 'status')
    check(by_level(command(lab, 'A', 'check', want=0), 'ok').get('rights'), 'the lab itself is no administrator')
    check('elevated:' not in lab.run('A', 'status'), 'an elevated prompt is warned, too')


def scenario_check_needed(lab):
    """Windows' own services: an initiator that is not there after a restart is a note, VSS without its events is wrong."""
    sc = os.path.join(labhost.State(os.path.join(lab.dir, 'lab')).host('A').prefix, 'drive_c/windows/system32/sc.exe')
    for service, start, level, words in (('MSiSCSI', 'demand', 'note', 'sc config MSiSCSI start= auto'),
                                         ('MSiSCSI', 'disabled', 'note', 'after a restart'),
                                         ('MSiSCSI', 'auto', 'ok', 'not disabled'),
                                         ('EventSystem', 'disabled', 'wrong', 'sc config EventSystem start= auto'),
                                         ('EventSystem', 'demand', 'ok', 'not disabled')):
        lab.lab('run', '--host', 'A', sc, 'create', service, 'binPath=', r'C:\nothing.exe', 'start=', start)
        one = by_level(command(lab, 'A', 'check', want=1 if level == 'wrong' else 0), level).get('services')
        check(one and words in one['text'] + (one['remedy'] or ''), f'{service} {start}: {one}')
        lab.lab('run', '--host', 'A', sc, 'delete', service)


def scenario_check_service(lab):
    """A service that was changed by hand, or whose program others can change or is gone: found, and how to mend it."""
    probe = os.path.join(labhost.ROOT, 'build/windows/tests/unit/provider/windows/umbra-test-setup-probe.exe')
    place = os.path.join(labhost.State(os.path.join(lab.dir, 'lab')).host('A').prefix, 'drive_c/Program Files/copy')
    os.makedirs(place)
    copy = shutil.copy(lab.provider, os.path.join(place, 'umbra-vss.exe'))
    path = 'C:\\Program Files\\copy\\umbra-vss.exe'

    def found(area, level, *words):
        one = by_level(command(lab, 'A', 'check', want=1 if level == 'wrong' else 0), level).get(area)
        check(one and all(w in one['text'] + (one['remedy'] or '') for w in words), f'{area}: {one}')
    lab.lab('run', '--host', 'A', probe, '--start', '4')
    found('service', 'wrong', 'disabled', 'sc config umbra-vss start= demand')
    lab.lab('run', '--host', 'A', probe, '--start', '3', '--command', f'"{path}" run')
    found('service', 'note', 'another copy', 'upgrade')
    os.chmod(copy, 0o777)
    found('service rights', 'wrong', 'others than administrators', 'Program Files')
    check('0x8007053a' in lab.lab('run', '--host', 'A', copy, 'install', want=1).lower(), 'a lax program installs itself')
    os.chmod(copy, 0o755)
    os.chmod(place, 0o777)
    found('service rights', 'wrong', 'others than administrators')
    os.unlink(copy)
    found('service', 'wrong', 'its program is gone')
    lab.run('A', 'upgrade')
    reg(lab, 'A', 'add', r'HKLM\SYSTEM\CurrentControlSet\Services\EventLog\Application\Umbra VSS Provider', '/v',
        'EventMessageFile', '/t', 'REG_SZ', '/d', r'C:\nothing.exe', '/f')
    found('event source', 'wrong', 'gone')
    lab.run('A', 'upgrade')
    command(lab, 'A', 'check', want=0)
    lab.vss('A', 'delete', set_text(lab.vss('A', 'create', '--lun', '1')))


def scenario_check_paths(lab):
    """One LUN seen twice, as two disks: VSS could not tell them apart. And a session without CHAP."""
    host_with_two_adapters(lab, 'D', [lab.array, lab.array])
    wrong = by_level(command(lab, 'D', 'check', want=1), 'wrong')
    check(set(wrong) == {'page 83'} and 'MPIO' in wrong['page 83']['remedy'], f'{wrong}')
    lab.lab('down', '--host', 'D')
    lab.hosts = lab.hosts.replace('D', '')
    iqn = 'iqn.1991-05.com.microsoft:lab-e'
    lab.array.add_host('E', iqn)
    lab.array.ctl('lun', 'create', 'of-E', '--size', '64M')
    lab.array.ctl('map', 'of-E', 'E')
    lab.lab('up', '--host', 'E', '--portal', lab.array.portal(), '--target', lab.array.target, '--initiator', iqn)
    lab.run('E', 'install')
    wrong = by_level(command(lab, 'E', 'check', want=1), 'wrong')
    check(set(wrong) == {'array CHAP'} and 'chap-file' in wrong['array CHAP']['remedy'], f'{wrong}')
    # nor does VSS begin what would be refused; where the array allows it, all is well
    answer = lab.vss('E', 'create', '--lun', '1', want=1)
    check(answer['hresult_name'] == 'VSS_E_VOLUME_NOT_SUPPORTED', answer)
    check('BeginPrepareSnapshot' not in [call['method'] for call in answer['calls']], answer)
    lab.array.ctl('host', 'set', 'E', '--control-without-chap')
    command(lab, 'E', 'check', want=0)
    lab.vss('E', 'delete', set_text(lab.vss('E', 'create', '--lun', '1')))
    lab.lab('down', '--host', 'E')


def scenario_one_of_two_arrays(lab):
    """One of two arrays says nothing: no command says that all is well, or that there are no orphans."""
    with umbra_lab.Array(config={'copysets': {'lease': f'{LEASE_MS}ms'}}, name='second') as second:
        host = host_with_two_adapters(lab, 'F', [lab.array, second])
        check(command(lab, 'F', 'orphans', want=0)['complete'], 'both arrays answer')
        command(lab, 'F', 'check', want=0)
        lab_steps.hold(host.bridges[1], lab_steps.POST)
        answer = command(lab, 'F', 'orphans', want=1)
        check(len(answer['arrays']) == 1 and not answer['complete'] and not orphans_of(answer), f'{answer}')
        check('does not answer' in lab.run('F', 'orphans', want=1), 'orphans does not tell')
        check('does not answer' in lab.run('F', 'status', want=1), 'status does not tell')
        wrong = by_level(command(lab, 'F', 'check', want=1), 'wrong')
        check('does not answer' in wrong.get('array', {}).get('text', ''), f'{wrong}')
        lab_steps.let_go(host.bridges[1])
        command(lab, 'F', 'check', want=0)
        check(len(command(lab, 'F', 'orphans', want=0)['arrays']) == 2, 'it is back')
        lab.lab('down', '--host', 'F')
        lab.hosts = lab.hosts.replace('F', '')


def drive_of(lab, host, number):
    return next(lun['drive'] for lun in lab.vss(host, 'scan')['luns'] if lun['lun'] == number)


def scenario_check_lun(lab):
    """A set is really prepared on the LUN that is named, and given up; what stands in its way is named."""
    drive = drive_of(lab, 'A', 1)
    for name in (f'PhysicalDrive{drive}', str(drive), f'\\\\.\\PHYSICALDRIVE{drive}'):
        well = [f for f in command(lab, 'A', 'check', '--lun', name, want=0)['findings'] if f['level'] == 'ok']
        check(any(f['area'] == 'try' and 'given up' in f['text'] for f in well), f'{well}')
        check(any(f['area'] == 'page 83' and lab.array.ctl('lun', 'show', 'lun1')['id'] in f['text'] for f in well), f'{well}')
        check(not lab.sets() and not lab.shadows(), f'left: {lab.sets()} {lab.shadows()}')
    for words in (['--lun'], ['--lun', 'x'], ['--lun', '1', '--lun', '2'], ['--lun', 'PhysicalDrive']):
        lab.run('A', 'check', *words, want=2)
    wrong = by_level(command(lab, 'A', 'check', '--lun', '77', want=1), 'wrong')
    check(set(wrong) == {'try'} and 'no LUN of an Umbra array' in wrong['try']['text'], f'{wrong}')

    lab.run('A', 'uninstall')
    wrong = by_level(command(lab, 'A', 'check', '--lun', str(drive), want=1), 'wrong')
    check('CoCreateInstance' in wrong['try']['text'] and wrong['try']['remedy'], f'{wrong}')
    lab.run('A', 'install')
    command(lab, 'A', 'check', '--lun', str(drive), want=0)
    lab.expect_nothing_left('after the tries', 0)


def scenario_cluster(lab):
    """A disk of a cluster: copies of it belong to a host outside, which check says. It is not said of others."""
    def told(well=0):
        return [f for f in command(lab, 'A', 'check', want=well)['findings'] if f['area'] == 'cluster']
    check(told() == [], f'{told()}')
    lab_key = r'HKLM\Software\Umbra\Lab'
    reg(lab, 'A', 'add', r'HKLM\Cluster', '/f')
    found = told()
    check([f['level'] for f in found] == ['ok'] and 'a node' in found[0]['text'], f'{found}')
    reg(lab, 'A', 'add', lab_key, '/v', 'ClusteredLun', '/t', 'REG_DWORD', '/d', '1', '/f')
    found = told()
    check([f['level'] for f in found] == ['note'] and 'PhysicalDrive' in found[0]['text'] and
          'transportable' in found[0]['remedy'], f'{found}')
    path = os.path.join(lab.dir, 'support-cluster.txt')
    lab.run('A', 'support', labhost.windows_path(path))
    with open(path, encoding='utf-8') as source:
        text = source.read()
    check('cluster node: yes' in text and text.count(', of a cluster') == 1, text[:3000])
    reg(lab, 'A', 'delete', lab_key, '/v', 'ClusteredLun', '/f')
    reg(lab, 'A', 'delete', r'HKLM\Cluster', '/f')
    check(told() == [], f'{told()}')


def on_console(host, *words, until=None, keys=b''):
    """A program on a Windows console, whose screen is this terminal: how it ended, and what stood there. keys: typed when
    `until` stands there."""
    command, env = host.command(*words)
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(command[0], command, dict(env, TERM='xterm'))
    said, end = b'', time.monotonic() + labhost.PATIENCE_S
    try:
        while time.monotonic() < end:
            try:
                said += os.read(terminal, 65536)
            except OSError:  # nobody has it open any more
                break
            text = re.sub(rb'\x1b\[[0-9;?]*[A-Za-z]', b'', said.replace(b'\x1b[K\x1b[1C', b' ')).decode(errors='replace')
            if until and until in text:
                os.write(terminal, keys)
                until = None
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text
    finally:
        os.close(terminal)


def scenario_console(lab):
    """Names are shown as they are, the console has its own code page again behind the command, and Ctrl+C ends `run` in order."""
    host = labhost.State(os.path.join(lab.dir, 'lab')).host('A')
    folder = os.path.join(host.prefix, 'drive_c/Program Files/größe')
    os.makedirs(folder)
    shutil.copy(lab.provider, os.path.join(folder, 'umbra-vss.exe'))
    probe = os.path.join(labhost.ROOT, 'build/windows/tests/unit/provider/windows/umbra-test-setup-probe.exe')
    lab.lab('run', '--host', 'A', probe, '--start', '3', '--command', '"C:\\Program Files\\größe\\umbra-vss.exe" run')
    cmd = os.path.join(host.prefix, 'drive_c/windows/system32/cmd.exe')
    code, text = on_console(host, cmd, '/c', f'chcp & {labhost.windows_path(lab.provider)} check & chcp')
    pages = re.findall(r'Active code page: (\d+)', text)
    check(code == 0 and len(pages) == 2 and pages[0] == pages[1] != '65001', f'{code}: {text}')
    check('Files\\größe\\umbra-vss.exe' in re.sub(r'[\r\n]', '', text), f'a name is not shown as it is: {text}')
    lab.run('A', 'upgrade')
    code, text = on_console(host, lab.provider, 'run', until='Ctrl+C ends it', keys=b'\x03')
    check(code == 0 and 'serves in the foreground' in text, f'{code}: {text}')
    shutil.rmtree(folder)


def scenario_high_numbers(lab):
    """A disk is found whatever its number: Windows gives high ones to what comes while many others are there, with gaps."""
    lab_key = r'HKLM\Software\Umbra\Lab'
    for name, value in (('FirstDrive', 4711), ('DriveStep', 13)):
        reg(lab, 'A', 'add', lab_key, '/v', name, '/t', 'REG_DWORD', '/d', str(value), '/f')
    lab.restart_host('A')
    path = os.path.join(lab.dir, 'support-high.txt')
    lab.run('A', 'support', labhost.windows_path(path))
    with open(path, encoding='utf-8') as source:
        disks = source.read().partition('== disks ==')[2].partition('\n== ')[0]
    check(all(f'PhysicalDrive{n} (ours)' in disks for n in range(4711, 4711 + 4 * 13, 13)), disks)
    check(disks.count('PhysicalDrive') == 4, disks)
    found = command(lab, 'A', 'check', '--lun', '4711', want=0)['findings']
    check([f['level'] for f in found if f['area'] == 'try'] == ['ok'], f'{found}')
    check(any(f['area'] == 'page 83' and 'over 4 disks' in f['text'] for f in found), f'{found}')
    # A copy's disk can be opened before Windows lists it.
    reg(lab, 'A', 'add', lab_key, '/v', 'LateDisks', '/t', 'REG_DWORD', '/d', '1', '/f')
    answer = lab.vss('A', 'create', '--lun', '1,2')
    check(all(lun['drive'] >= 4711 for lun in answer['luns']), f"{answer['luns']}")
    lab.vss('A', 'delete', set_text(answer))
    for name in ('FirstDrive', 'DriveStep', 'LateDisks'):
        reg(lab, 'A', 'delete', lab_key, '/v', name, '/f')
    lab.restart_host('A')
    lab.expect_nothing_left('after the set', 0)


def scenario_support(lab):
    """One file with everything, and no secret."""
    secret = '0123456789abcA'
    lab.set_value('A', 'ChapSecret', 'REG_SZ', secret)
    lab.vss('A', 'delete', set_text(lab.vss('A', 'create', '--lun', '1')))
    path = os.path.join(lab.dir, 'support.txt')
    check('no secrets' in lab.run('A', 'support', labhost.windows_path(path)), 'it says nothing')
    with open(path, encoding='utf-8') as source:
        text = source.read()
    parts = ['system', 'check', 'registry', 'arrays', 'disks', 'events', 'programs', 'trace', 'end']
    places = [text.find(f'== {part} ==') for part in parts]
    check(-1 not in places and places == sorted(places), f'{dict(zip(parts, places))}')
    for words in ('All is well.', 'LaunchPermission = O:BAG:BAD:(A;;', 'AccessPermission = O:BAG:BAD:(A;;', '(ours)',
                  lab.array.ctl('lun', 'show', 'lun1')['id'], '83: association 0 type 1', 'ChapSecret = (left out)',
                  'CommitSnapshots', 'vssadmin.exe list writers', 'iscsicli.exe SessionList', 'LocalService = "umbra-vss"'):
        check(words in text, f'{words!r} is missing in:\n{text[:6000]}')
    check(secret not in text, 'the secret is in it')
    reg(lab, 'A', 'delete', provider_lab.PROVIDER_KEY, '/v', 'ChapSecret', '/f')
    for words in ([], ['--json'], ['a', 'b']):
        lab.run('A', 'support', *words, want=2)
    lab.run('A', 'support', r'C:\no-such\support.txt', want=1)
    lab.expect_nothing_left('at the end')


SCENARIOS = {name[len('scenario_'):]: function for name, function in list(globals().items())
             if name.startswith('scenario_')}

if __name__ == '__main__':
    sys.exit(provider_lab.main(sys.argv[1:], SCENARIOS))
