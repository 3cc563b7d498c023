#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""umbra-vss.exe in the lab: installed, activated as a service by the coordinator, against umbrad over real sessions.

provider_lab.py [SCENARIO …]: all of them, or those named. What each must leave behind is counted on the array.
"""
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab_steps  # noqa: E402
import umbra_lab  # noqa: E402

ROOT = umbra_lab.ROOT
sys.path.insert(0, os.path.join(ROOT, 'lab'))
import labhost  # noqa: E402

LEASE_MS = 10000  # far longer than a set needs from one request to the next, also on a busy machine
VETO = 0x80042306
PROVIDER_KEY = r'HKLM\SOFTWARE\Umbra\Provider'


class Failed(Exception):
    pass


def check(condition, text):
    if not condition:
        raise Failed(text)


class Lab:
    """An array with four LUNs for host A, and the lab's hosts."""

    def __init__(self, hosts='A', lease_ms=LEASE_MS):
        self.dir = tempfile.mkdtemp(prefix='umbra-provider-lab-')
        self.array = umbra_lab.Array(config={'copysets': {'lease': f'{lease_ms}ms'}}, name='provider')
        self.hosts = hosts
        self.provider = labhost.need_program('umbra-vss.exe')
        for n in range(1, 5):
            self.array.ctl('lun', 'create', f'lun{n}', '--size', '64M')
        for host in hosts:
            self.bring_up(host)

    def bring_up(self, host):
        iqn, secret = f'iqn.1991-05.com.microsoft:lab-{host.lower()}', f'0123456789abc{host}'
        options = [] if host == 'A' else ['--control-lu', '--import', 'any']
        self.array.add_host(host, iqn, *options, secret=secret)
        if host == 'A':
            for n in range(1, 5):
                self.array.ctl('map', f'lun{n}', host)
        secret_file = os.path.join(self.dir, f'secret-{host}')
        with open(secret_file, 'w') as out:
            out.write(secret + '\n')
        self.lab('up', '--host', host, '--portal', self.array.portal(), '--target', self.array.target, '--initiator', iqn,
                 '--chap-user', iqn, '--chap-secret-file', secret_file, '--link-down-ms', '1000')
        self.set_value(host, 'TraceFile', 'REG_SZ', labhost.windows_path(self.trace(host)))
        self.run(host, 'install')

    def restart_host(self, host):
        """Wine's COM never forgets a server that was killed: only a host that starts afresh activates it again."""
        self.lab('down', '--host', host)
        self.lab('up', '--host', host)

    def remove(self):
        self.lab('down', want=None)
        harm = labhost.State(os.path.join(self.dir, 'lab')).harm()
        self.array.remove()
        shutil.rmtree(self.dir, ignore_errors=True)
        check(not harm, 'a host reset LUNs:\n' + '\n'.join(harm))

    def trace(self, host):
        return os.path.join(self.dir, f'trace-{host}')

    # Output goes to a file: servers that COM starts inherit a pipe, and its end would never come.
    def command(self, *arguments):
        """The exit code of lab/lab; its output, then what it and Wine say on the way."""
        path = os.path.join(self.dir, f'output-{threading.get_ident()}')
        with open(path, 'w+', errors='replace') as out, open(path + '-said', 'w+', errors='replace') as said:
            try:
                code = subprocess.run([sys.executable, os.path.join(ROOT, 'lab/lab'), '--state', os.path.join(self.dir, 'lab'),
                                       *arguments],
                                      stdin=subprocess.DEVNULL, stdout=out, stderr=said, timeout=labhost.PATIENCE_S).returncode
            except subprocess.TimeoutExpired as error:
                host = arguments[arguments.index('--host') + 1] if '--host' in arguments else 'A'
                raise labhost.Stuck(error, labhost.State(os.path.join(self.dir, 'lab')).host(host).prefix) from None
            out.seek(0)
            said.seek(0)
            return code, out.read() + said.read()

    @staticmethod
    def json_in(text):
        answer = labhost.json_in(text)
        check(answer is not None, f'no JSON: {text}')
        return answer

    def lab(self, *arguments, want=0):
        code, text = self.command(*arguments)
        if want is not None and code != want:
            raise Failed(f"lab {' '.join(arguments)}: exit code {code}\n{text}\n{self.pictures()}")
        return text

    def pictures(self):
        """What the hosts' processes are doing, for who looks into a failure."""
        state = labhost.State(os.path.join(self.dir, 'lab'))
        return '\n'.join(f'---- host {host}\n{labhost.picture(state.host(host).prefix)}' for host in self.hosts)

    def run(self, host, *arguments, want=0):
        return self.lab('run', '--host', host, self.provider, *arguments, want=want)

    def set_value(self, host, name, kind, value):
        regedit = os.path.join(labhost.State(os.path.join(self.dir, 'lab')).host(host).prefix,
                               'drive_c/windows/system32/reg.exe')
        self.lab('run', '--host', host, regedit, 'add', PROVIDER_KEY, '/v', name, '/t', kind, '/d', str(value), '/f')

    def vss(self, host, *arguments, want=0):
        code, text = self.command('vss', '--host', host, *arguments, '--json')
        check(labhost.json_in(text) is not None, f"vss {' '.join(arguments)}: exit code {code} and no JSON: {text}")
        answer = self.json_in(text)
        check(want is None or code == want,
              f"vss {' '.join(arguments)}: exit code {code}: {answer.get('hresult_name')} {answer.get('message')}\n{text}")
        return answer

    # ---- what is left on the array

    def sets(self):
        return self.array.rows('set', 'sets')

    def shadows(self):
        return self.array.rows('shadow', 'luns')

    def expect_nothing_left(self, why, within_s=LEASE_MS / 1000 + labhost.PATIENCE_S):
        end = time.monotonic() + within_s
        while self.sets() or self.shadows():
            check(time.monotonic() < end, f'{why}: left behind: {self.sets()} {self.shadows()}')
            time.sleep(0.1)

    # ---- faults

    def bridge(self):
        return labhost.State(os.path.join(self.dir, 'lab')).host('A').bridges[0]

    def fault(self, *arguments):
        self.bridge().control('fault', *arguments)

    def provider_pids(self, host):
        prefix = labhost.State(os.path.join(self.dir, 'lab')).host(host).prefix
        found = [(pid, labhost.command_line(pid)) for pid in labhost.prefix_processes(prefix)]
        return [pid for pid, words in found if any('umbra-vss.exe' in w for w in words) and 'run' in words and
                'lab' not in words]

    def kill_provider(self, host):
        pids = self.provider_pids(host)
        labhost.kill_processes(pids)
        return len(pids)

    def wait_for_event(self, host, number):
        """The event is in the trace (written after the volumes are released)."""
        for _ in range(600):
            with open(self.trace(host), errors='replace') as source:
                lines = [line for line in source if f' event {number} ' in line]
            if lines:
                return lines[-1]
            time.sleep(0.1)
        raise Failed(f'no event {number} in the trace')


def set_text(answer):
    return answer['set']


def scenario_life(lab):
    """Create, import on the same host, delete; GetTargetLuns at both points; nothing left."""
    for arguments in (['--lun', '1,2', '--lun', '2,3'], ['--lun', '4', '--targets-after', 'final']):
        answer = lab.vss('A', 'create', *arguments)
        shadows = [lun for lun in answer['luns'] if lun['role'] == 'shadow']
        wanted = 3 if '1,2' in arguments else 1
        check(len(shadows) == wanted, f'{len(shadows)} shadow LUNs instead of {wanted}')
        check(len(lab.shadows()) == wanted, 'the array holds another number')
        check(all(s['state'] == 'kept' for s in lab.sets()), f'not kept: {lab.sets()}')
        check(all(lun['drive'] >= 0 for lun in shadows), 'a shadow LUN did not arrive')
        check(all(int(c['hresult'], 16) == 0 for c in answer['calls']), f"a call failed: {answer['calls']}")
        lab.vss('A', 'delete', set_text(answer))
        lab.expect_nothing_left('after delete', 0)


def scenario_transport(lab):
    """A transportable set is imported on another host, which knows nothing of its creation, and deleted there."""
    document = os.path.join(lab.dir, 'set.xml')
    answer = lab.vss('A', 'create', '--lun', '1', '--lun', '3', '--transportable', document)
    check(len(lab.shadows()) == 2, 'two shadow LUNs')
    lab.kill_provider('A')  # nothing that is needed lives in its memory
    imported = lab.vss('B', 'import', document)
    check(all(lun['drive'] >= 0 for lun in imported['luns'] if lun['role'] == 'shadow'), 'not all arrived')
    lab.vss('B', 'import', document, want=1)
    lab.vss('B', 'delete', set_text(answer))
    lab.restart_host('A')
    lab.expect_nothing_left('after delete on the other host', 0)


def scenario_refused(lab):
    """Copies that cannot be made are not promised, and nothing is left."""
    answer = lab.vss('A', 'create', '--lun', '1', '--context', 'plex,differential', want=1)
    check(int(answer['hresult'], 16) != 0x8004230F, f'an undocumented code reached the requester: {answer}')
    lab.expect_nothing_left('both kinds at once', 0)
    for context in ('plex', 'differential'):
        lab.vss('A', 'delete', set_text(lab.vss('A', 'create', '--lun', '1', '--context', context)))
        lab.expect_nothing_left(context, 0)


def scenario_unmapped(lab):
    """A LUN that is not this host's any more is not supported, and asking for it harms nothing."""
    lab.array.ctl('unmap', 'lun4', 'A')
    answer = lab.vss('A', 'create', '--lun', '1', '--lun', '4', want=1)
    check(int(answer['hresult'], 16) != 0x8004230F, f'an undocumented code reached the requester: {answer}')
    lab.expect_nothing_left('a foreign LUN in the set')
    lab.array.ctl('map', 'lun4', 'A')


def in_background(function, *arguments, **options):
    result = {}

    def work():
        try:
            result['answer'] = function(*arguments, **options)
        except Exception as error:  # reported by who joins
            result['error'] = error
    thread = threading.Thread(target=work)
    thread.start()
    return thread, result


def joined(thread, result, timeout_s=labhost.PATIENCE_S):
    thread.join(timeout_s)
    check(not thread.is_alive(), 'the requester did not come back')
    if 'error' in result:
        raise result['error']
    return result['answer']


def scenario_slow_commit(lab):
    """The array answers the commit too late: a veto within the budget, an event, the set undone, the next one works."""
    lab.set_value('A', 'CommitBudgetMs', 'REG_DWORD', 150)
    lab_steps.hold(lab.bridge(), *lab_steps.READS)
    thread, result = in_background(lab.vss, 'A', 'create', '--lun', '1,2', want=1)
    lab_steps.stop_when_armed(lab.array, lab.bridge(), lambda: not thread.is_alive())
    lab.fault('clear')
    lab_steps.hold(lab.bridge(), lab_steps.POST)
    lab_steps.release(lab.bridge())
    event = lab.wait_for_event('A', 8)  # while the array has not even seen the commit
    lab_steps.let_go(lab.bridge())
    answer = joined(thread, result)
    commits = [c for c in answer['calls'] if c['method'] == 'CommitSnapshots']
    check(len(commits) == 1 and int(commits[0]['hresult'], 16) == VETO, f'CommitSnapshots: {answer}')
    check(commits[0]['ms'] < 5000, f"CommitSnapshots took {commits[0]['ms']} ms, as with the budget that is the default")
    check('call=CommitSnapshots' in event and 'array=provider' in event, event)
    lab.set_value('A', 'CommitBudgetMs', 'REG_DWORD', 8000)
    answer = lab.vss('A', 'create', '--lun', '1,2')
    lab.vss('A', 'delete', set_text(answer))
    lab.expect_nothing_left('after a late commit')


def scenario_array_away(lab):
    """The session is lost and stays away: vetoes with events, no crash, and all is well when it is back."""
    lab_steps.away(lab.bridge())
    lab.vss('A', 'create', '--lun', '1', want=1)
    lab_steps.come_back(lab.bridge())
    answer = lab.vss('A', 'create', '--lun', '1')
    lab.vss('A', 'delete', set_text(answer))
    lab.expect_nothing_left('after the session was away')


def findings(lab, area, *words):
    """What check finds of an area."""
    code, text = lab.command('run', '--host', 'A', lab.provider, 'check', *words, '--json')
    check(code in (0, 1), text)
    return [f for f in lab.json_in(text)['findings'] if f['area'] == area and f['level'] == 'wrong']


def scenario_dead_proxies(lab):
    """VSS gets no word when the provider's process ends, and goes on calling what is gone: every shadow copy fails until VSS
    unloads its providers. Nothing is left on the array, and check, and the event of a stopped service, say what to do."""
    state = labhost.State(os.path.join(lab.dir, 'lab'))
    system = os.path.join(state.host('A').prefix, 'drive_c/windows/system32')
    def keep_dead(value):
        lab.lab('run', '--host', 'A', os.path.join(system, 'reg.exe'), 'add', r'HKLM\Software\Umbra\Lab', '/v', 'KeepDead', '/t',
                'REG_DWORD', '/d', str(value), '/f')
    def unload():
        lab.lab('run', '--host', 'A', labhost.need_program('umbra-lab-requester.exe'), 'unload')
    keep_dead(1)
    for end in ('stopped', 'killed'):
        lab.vss('A', 'delete', set_text(lab.vss('A', 'create', '--lun', '1')))
        check(findings(lab, 'VSS') == [], 'a provider that lives is taken for dead')
        if end == 'killed':
            check(lab.kill_provider('A') == 1, 'it did not run')
        else:
            lab.lab('run', '--host', 'A', os.path.join(system, 'net.exe'), 'stop', 'umbra-vss')
            check(labhost.wait_until(lambda: not lab.provider_pids('A'), labhost.PATIENCE_S), 'it does not end')
            lab.wait_for_event('A', 29)
        for _ in range(2):
            answer = lab.vss('A', 'create', '--lun', '1,2', want=1)
            check(answer['hresult_name'] == 'VSS_E_UNEXPECTED_PROVIDER_ERROR', f'{answer}')
        found = findings(lab, 'VSS')
        check(len(found) == 1 and 'net stop vss' in found[0]['remedy'] and '0x800706BA' in found[0]['text'], f'{end}: {found}')
        unload()
        lab.vss('A', 'delete', set_text(lab.vss('A', 'create', '--lun', '1')))
        check(findings(lab, 'VSS') == [], f'after VSS has let go: {findings(lab, "VSS")}')
    unload()  # nobody has it loaded: that it ends is nothing to tell of
    lab.kill_provider('A')
    check(findings(lab, 'VSS') == [], 'what was unloaded is taken for loaded')
    keep_dead(0)
    lab.restart_host('A')
    lab.expect_nothing_left('after the dead proxies', 0)


def scenario_right_after_boot(lab):
    """VSS asks for the provider before the iSCSI session is there: a clear no, nothing that lasts, and the same process serves as
    soon as the LUNs have come. The service is started by that, and by nothing else."""
    lab.restart_host('A')
    check(lab.provider_pids('A') == [], 'it runs before anybody wants it')
    lab_steps.away(lab.bridge())
    answer = lab.vss('A', 'create', '--lun', '1', want=1)
    check(answer['hresult_name'] in ('VSS_E_OBJECT_NOT_FOUND', 'VSS_E_VOLUME_NOT_SUPPORTED'), f'{answer}')
    code, text = lab.command('run', '--host', 'A', lab.provider, 'check', '--json')
    wrong = {f['area'] for f in lab.json_in(text)['findings'] if f['level'] == 'wrong'}
    check(code == 1 and 'array' in wrong and wrong <= {'array', 'page 83'}, f'{wrong}')
    before = lab.provider_pids('A')
    check(len(before) == 1, f'processes: {before}')
    lab_steps.come_back(lab.bridge())
    lab.vss('A', 'delete', set_text(lab.vss('A', 'create', '--lun', '1,2')))
    check(lab.provider_pids('A') == before, 'another process')
    lab.expect_nothing_left('after the boot', 0)


def scenario_lost_answers(lab):
    """The session drops after a control command went out, at each of them in turn: the work is done once."""
    for skip_ms in range(0, 1500, 300):
        lab.fault('delay', '--op', 'b5', '--count', '0', '--ms', '100')
        thread, result = in_background(lab.vss, 'A', 'create', '--lun', '1,2', '--no-import', want=None)
        time.sleep(0.4 + skip_ms / 1000)
        lab.fault('drop-now')
        lab.fault('clear')
        answer = joined(thread, result)
        sets = lab.sets()
        if int(answer['hresult'], 16) == 0:
            check(len(sets) == 1 and sets[0]['state'] == 'kept' and len(lab.shadows()) == 2, f'{sets}')
            lab.array.ctl('set', 'delete', sets[0]['id'])
        lab.expect_nothing_left(f'drop after {skip_ms} ms')


def scenario_killed_provider(lab):
    """The provider is killed at every step of a creation: the array cleans up after the lease, the next set works."""
    steps, died = 0, set()
    for step in range(0, 24, 2):
        lab.vss('A', 'delete', set_text(lab.vss('A', 'create', '--lun', '3')))  # it runs, and works
        lab_steps.hold(lab.bridge(), lab_steps.POST)
        thread, result = in_background(lab.vss, 'A', 'create', '--lun', '1,2', '--no-import', want=None)
        stands = lab_steps.let_pass(lab.bridge(), step, lambda: not thread.is_alive())
        state = {s['state'] for s in lab.sets()} or {'none'}
        killed = lab.kill_provider('A') if stands else 0
        lab_steps.let_go(lab.bridge())  # what the dead one had sent still arrives
        answer = joined(thread, result)
        kept, end = [], time.monotonic() + LEASE_MS / 1000 + labhost.PATIENCE_S
        while lab.sets() or lab.shadows():
            check(time.monotonic() < end, f'killed at step {step} ({state}): left: {lab.sets()} {lab.shadows()}')
            for one in [s['id'] for s in lab.sets() if s['state'] == 'kept']:
                lab.array.ctl('set', 'delete', one)  # VSS has, or would have got, the identities: no lease ends that
                kept.append(one)
            time.sleep(0.1)
        if not killed:
            break
        steps += 1
        died |= state
        check(int(answer['hresult'], 16) != 0 or kept, f'success without a provider: {answer}')
        lab.restart_host('A')
    check(steps >= 4, f'the provider was killed at only {steps} steps')
    print(f'   killed at {steps} steps; sets were {", ".join(sorted(died))}')
    lab.vss('A', 'delete', set_text(lab.vss('A', 'create', '--lun', '1,2')))
    lab.expect_nothing_left('after all', 0)


def host_with_two_adapters(lab, name, arrays):
    """A host with a session to each of the arrays (twice the same: two paths). It sees one LUN of each."""
    iqn, secret = f'iqn.1991-05.com.microsoft:lab-{name.lower()}', f'0123456789abc{name}'
    secret_file = os.path.join(lab.dir, f'secret-{name}')
    with open(secret_file, 'w') as out:
        out.write(secret + '\n')
    state = labhost.State(os.path.join(lab.dir, 'lab'))
    for array in {id(a): a for a in arrays}.values():
        array.add_host(name, iqn, secret=secret)
        array.ctl('lun', 'create', f'of-{name}', '--size', '64M')
        array.ctl('map', f'of-{name}', name)
    for adapter, array in enumerate(arrays):
        state.configure(name, {'portal': array.portal(), 'target': array.target, 'initiator': iqn, 'chap_user': iqn,
                               'chap_secret_file': secret_file, 'link_down_ms': 1000}, adapter)
    lab.lab('up', '--host', name)
    lab.hosts += name
    lab.set_value(name, 'TraceFile', 'REG_SZ', labhost.windows_path(lab.trace(name)))
    lab.run(name, 'install')
    host = state.host(name)
    sessions = [bridge.counters()['sessions'] for bridge in host.bridges]
    check(max(sessions) == 1, f'logins of the adapters, which must not push each other out: {sessions}')
    return host


def scenario_two_arrays(lab):
    """One volume over two arrays: both commit in one window, or neither has anything."""
    with umbra_lab.Array(config={'copysets': {'lease': f'{LEASE_MS}ms'}}, name='second') as second:
        host = host_with_two_adapters(lab, 'C', [lab.array, second])

        def nothing_on_second():
            return not second.ctl('set', 'list')['sets'] and not second.ctl('shadow', 'list')['shadows']
        answer = lab.vss('C', 'create', '--lun', 'd1,d2')
        for array in (lab.array, second):
            check([s['state'] for s in array.ctl('set', 'list')['sets']] == ['kept'], 'not kept on both')
        lab.vss('C', 'delete', set_text(answer))
        lab.expect_nothing_left('after delete', 0)
        check(nothing_on_second(), 'left on the second array')

        lab_steps.hold(host.bridges[1], *lab_steps.READS)
        thread, result = in_background(lab.vss, 'C', 'create', '--lun', 'd1,d2', want=1)
        lab_steps.stop_when_armed(second, host.bridges[1], lambda: not thread.is_alive())
        host.bridges[1].control('fault', 'clear')
        host.bridges[1].control('fault', 'drop-before', '--op', 'b5', '--count', '0')  # each control message
        lab_steps.release(host.bridges[1])
        answer = joined(thread, result)
        commits = [c for c in answer['calls'] if c['method'] == 'CommitSnapshots']
        check(commits and int(commits[0]['hresult'], 16) == VETO, f'CommitSnapshots: {answer}')
        lab.expect_nothing_left('one of two arrays was lost in the window')
        host.bridges[1].control('fault', 'clear')
        end = time.monotonic() + LEASE_MS / 1000 + labhost.PATIENCE_S
        while not nothing_on_second():
            check(time.monotonic() < end, f"left: {second.ctl('set', 'list')} {second.ctl('shadow', 'list')}")
        check('array=second' in lab.wait_for_event('C', 1), 'the event names another array')
        lab.vss('C', 'delete', set_text(lab.vss('C', 'create', '--lun', 'd1,d2')))
        lab.lab('down', '--host', 'C')
        lab.hosts = lab.hosts.replace('C', '')


def scenario_two_paths(lab):
    """A path is lost while the commit is under way on it: the other one carries it, once, within the window."""
    host = host_with_two_adapters(lab, 'D', [lab.array, lab.array])
    lab_steps.hold(host.bridges[1], *lab_steps.READS)
    thread, result = in_background(lab.vss, 'D', 'create', '--lun', 'd2', '--no-import')
    lab_steps.stop_when_armed(lab.array, host.bridges[1], lambda: not thread.is_alive())
    host.bridges[0].control('fault', 'drop-before', '--op', 'b5', '--count', '0')
    lab_steps.let_go(host.bridges[1])
    answer = joined(thread, result)
    commits = [c for c in answer['calls'] if c['method'] == 'CommitSnapshots']
    check(commits[0]['ms'] < 8000, f'CommitSnapshots took {commits[0]["ms"]} ms')
    sets = lab.sets()
    check([s['state'] for s in sets] == ['kept'] and len(lab.shadows()) == 1, f'{sets}')
    print(f'   CommitSnapshots with the path lost: {commits[0]["ms"]:.0f} ms')
    lab.array.ctl('set', 'delete', sets[0]['id'])
    lab.lab('down', '--host', 'D')
    lab.hosts = lab.hosts.replace('D', '')


SCENARIOS = {name[len('scenario_'):]: function for name, function in list(globals().items())
             if name.startswith('scenario_')}


def main(names, scenarios, hosts='AB', lease_ms=LEASE_MS):
    unknown = [n for n in names if n not in scenarios]
    if unknown:
        print(f"no scenario {unknown[0]}; there are {', '.join(scenarios)}", file=sys.stderr)
        return 2
    lab = Lab(hosts, lease_ms)
    try:
        for name in names or scenarios:
            start = time.monotonic()
            scenarios[name](lab)
            print(f'{name}: passed in {time.monotonic() - start:.1f} s', flush=True)
    except Exception:
        for host in lab.hosts:
            if os.path.exists(lab.trace(host)):
                with open(lab.trace(host), errors='replace') as trace:
                    print(f'---- trace of {host}\n' + ''.join(trace.readlines()[-40:]))
        print('---- umbrad\n' + '\n'.join(lab.array.log().splitlines()[-40:]), flush=True)
        raise
    finally:
        lab.remove()
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:], SCENARIOS))
