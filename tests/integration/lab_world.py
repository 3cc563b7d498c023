# SPDX-License-Identifier: Apache-2.0
"""Everything at once for the lab's scenarios: an array (umbrad and a pool), the hold broker, two hosts under Wine with
the provider installed, and the Linux side's own look at the LUNs.

    with World() as world:
        world.add_luns(3)                                   # LUNs l1 … l3 with numbers 1 … on host A
        done = world.vss('A', 'create', '--lun', '1,2')     # the requester's JSON
        world.write('A', 1, 0, b'...'); world.read('A', 4, 0, 1)
        world.shadows(), world.sets()                       # what the array has
"""
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, '..', '..', 'lab')]
import labhost  # noqa: E402
from lab_tgt import free_port  # noqa: E402
from umbra_initiator import Session  # noqa: E402
from umbra_lab import Array  # noqa: E402

SECRET = '0123456789abcdef'
MIB = 1 << 20
BLOCK = 512


class World:
    def __init__(self, copysets=None, hosts=('A', 'B'), up=True, pool_options=()):
        self.array = self.hold = None
        self.resets_expected = False  # set by a story that is about late commands
        self.hosts = hosts
        self.directory = tempfile.mkdtemp(prefix='umbra-lab-')
        self.state = labhost.State(os.path.join(self.directory, 'lab'))
        try:
            settings = {'lease': '10s', 'host_gone': '60s', 'number_rest': '1ms'}
            settings.update(copysets or {})
            # A port of its own: the array keeps it when it is started again.
            self.array = Array(config={'copysets': settings, 'iscsi': {'portals': f'127.0.0.1:{free_port()}'}},
                               pool_options=pool_options)
            self._start_hold()
            for name in hosts:
                # B is a backup host: it begins without a LUN and may import what others made.
                options = () if name == 'A' else ('--control-lu', '--import', 'any')
                self.add_host(name, options)
                if up:
                    self.up(name)
        except BaseException:
            self._close()
            raise

    def _start_hold(self):
        port_file = os.path.join(self.directory, 'hold.port')
        self.hold = subprocess.Popen([labhost.need_program('umbra-lab-hold'), '--port-file', port_file],
                                     stdin=subprocess.DEVNULL)
        if not labhost.wait_until(lambda: os.path.exists(port_file), labhost.PATIENCE_S):
            raise RuntimeError('the hold broker did not start')
        with open(port_file) as source:
            self.hold_port = int(source.read())

    def add_host(self, name, options=()):
        iqn = f'iqn.1991-05.com.microsoft:lab-{name.lower()}'
        self.array.add_host(name, iqn, *options, secret=SECRET)
        secret_file = os.path.join(self.directory, f'secret-{name}')
        with open(secret_file, 'w') as out:
            out.write(SECRET + '\n')
        self.state.configure(name, {'portal': self.array.portal(), 'target': self.array.target, 'initiator': iqn,
                                    'chap_user': iqn, 'chap_secret_file': secret_file, 'link_down_ms': 6000,
                                    'hold_port': self.hold_port, 'import_wait_ms': 4000})

    def up(self, name):
        """The host with the provider installed."""
        self.state.host(name).up()
        done = self.run(name, 'umbra-vss.exe', 'install')
        if done.returncode != 0:
            raise RuntimeError(f'the provider cannot be installed: exit code {done.returncode} {done.stdout}{done.stderr}')

    # ---- Windows programs

    def run(self, name, program, *arguments, timeout=labhost.PATIENCE_S):
        return self.state.host(name).run(labhost.need_program(program), *arguments, capture=True, timeout=timeout)

    def vss(self, name, *words, want=0, timeout=labhost.PATIENCE_S):
        """The requester's verb; its JSON as a dict. want: the exit code, None: any."""
        words = labhost.requester_arguments([str(w) for w in words])
        done = self.run(name, 'umbra-lab-requester.exe', *words, '--json', timeout=timeout)
        if want is not None and done.returncode != want:
            raise AssertionError(f'{words}: exit code {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-1000:]}')
        answer = labhost.json_in(done.stdout)
        if answer is None and want is not None:
            raise AssertionError(f'{words}: no JSON: {done.stdout[-2000:]}{done.stderr[-1000:]}')
        return answer or {'hresult': None, 'message': done.stdout + done.stderr, 'calls': [], 'luns': [], 'sets': []}

    def start_vss(self, name, *words):
        """The same, not waited for: to be given to finish_vss."""
        return labhost.start_requester(self.state.host(name), *words)

    @staticmethod
    def finish_vss(child, timeout=labhost.PATIENCE_S):
        """Its exit code and its JSON (or None)."""
        return labhost.finish_requester(child, timeout)[:2]

    # ---- the array

    def add_luns(self, count, size='8M', host='A', prefix='l'):
        """prefix1 … prefixN, mapped to the host. Their numbers."""
        numbers = []
        for i in range(1, count + 1):
            self.array.ctl('lun', 'create', f'{prefix}{i}', '--size', size)
            mapped = self.array.ctl('map', f'{prefix}{i}', host)
            numbers.append(mapped['number'])
        for name in self.hosts:
            if self.state.host(name).is_up():
                self.rescan(name)
        return numbers

    def rescan(self, name):
        done = self.run(name, 'umbra-lab-probe.exe', 'rescan')
        if done.returncode != 0:
            raise RuntimeError(f'rescan: exit code {done.returncode} {done.stdout}{done.stderr}')

    def shadows(self):
        return self.array.rows('shadow', 'luns')

    def sets(self):
        return self.array.rows('set', 'sets')

    def start_array(self):
        """Until every host that is up has its session again: a disk whose session is gone answers nobody."""
        self.array.start()
        self.await_sessions()

    def await_sessions(self):
        for name in self.hosts:
            host = self.state.host(name)
            if host.is_up() and not labhost.wait_until(
                    lambda: all(bridge.counters()['connected'] == 1 for bridge in host.bridges), labhost.PATIENCE_S, 0.1):
                raise RuntimeError(f'host {name} has no session with the array that came back')

    def nothing_left(self, seconds=0):
        """Neither shadow LUNs nor sets on the array, at once (0) or after a while (a lease), on a busy machine a longer one."""
        return labhost.wait_until(lambda: not self.shadows() and not self.sets(), seconds and seconds + labhost.PATIENCE_S, 0.1)

    def clear_away(self):
        """Every set and shadow LUN goes, by the administrator's hand."""
        for row in self.sets():
            self.array.ctl('set', 'abort', row['id'], check=False)
        for row in self.shadows():
            for host in self.hosts:
                self.array.ctl('shadow', 'unmap', row['id'], host, check=False)
            self.array.ctl('shadow', 'delete', row['id'], check=False)

    def session(self, host):
        return Session(self.array, host)

    def write(self, host, number, lba, data):
        session = self.session(host)
        try:
            session.write(number, lba, data)
        finally:
            session.close()

    def read(self, host, number, lba, blocks):
        session = self.session(host)
        try:
            return session.read(number, lba, blocks)
        finally:
            session.close()

    # ---- the end

    def close(self):
        """True when no process is left. No story may have made a host's Windows reset anything."""
        harm = [] if self.resets_expected else self.state.harm()
        clean = self._close()
        if harm:
            raise RuntimeError('a host reset LUNs:\n' + '\n'.join(harm))
        return clean

    def end(self):
        """All but the array. True when no process is left."""
        clean = all([self.state.host(name).down() for name in self.hosts if name in self.state.names()])
        if self.hold:
            self.hold.terminate()
            self.hold.wait()
        shutil.rmtree(self.directory, ignore_errors=True)
        return clean

    def _close(self):
        clean = self.end()
        if self.array:
            self.array.remove()
        return clean

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind:
            sys.stderr.write(f"--- umbrad's log\n{self.array.log()[-4000:]}---\n")
        if not self.close() and not kind:
            raise RuntimeError('processes were left')


def lun_of(done, role, index=0):
    """The index-th entry with that role of a requester's answer."""
    return [lun for lun in done['luns'] if lun['role'] == role][index]
