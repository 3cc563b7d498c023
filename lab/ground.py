# SPDX-License-Identifier: Apache-2.0
"""Where scenarios are played: hosts with a provider, LUNs that may be overwritten, and ways to look at them.

OwnGround brings up umbrad with a pool, the write hold broker and two hosts with Umbra's provider. UsersGround takes hosts
that are up (lab/lab up) with whatever provider is installed there; what only the array could tell is not checked then.
LUNs are counted from 1 in the order in which the scenario needs them; `number(n)` is the LUN number on host A.
"""
import glob
import os
import sys
import tempfile

import labhost

BLOCK = 512
FILLER = 'filler'
CAPACITY_MIB = 256  # of the own ground's pool: small enough to be filled


class Failure(Exception):
    """The scenario does not hold."""


class Ground:
    """What both have; state, hosts, directory and provider are set by the subclasses."""

    array = None
    provider = None  # its id for --provider, None: the first that supports the volumes

    def run(self, host, program, *words, timeout=labhost.PATIENCE_S):
        return self.state.host(host).run(labhost.need_program(program, self.state.bin), *words, capture=True,
                                         timeout=timeout)

    def vss(self, host, *words):
        """The requester's exit code and its JSON."""
        words = labhost.requester_arguments([str(w) for w in words])
        if self.provider:
            words += ['--provider', self.provider]
        done = self.run(host, 'umbra-lab-requester.exe', *words, '--json')
        answer = labhost.json_in(done.stdout)
        if answer is None:
            raise Failure(f'the requester gave no answer (exit code {done.returncode}): '
                          f'{(done.stderr or done.stdout).strip()[-500:]}')
        return done.returncode, answer

    def start_vss(self, host, *words):
        """The same, not waited for: to be given to finish_vss."""
        if self.provider:
            words += ('--provider', self.provider)
        return labhost.start_requester(self.state.host(host), *words)

    @staticmethod
    def finish_vss(child, timeout=labhost.PATIENCE_S):
        code, answer, text = labhost.finish_requester(child, timeout)
        return code, answer or {'hresult_name': 'no answer', 'message': text.strip()[-300:], 'calls': [], 'luns': []}

    def bridge(self, host):
        return self.state.host(host).bridge

    def forget_sets(self):
        """Deletes every set that a host knows; True when that went well."""
        good = True
        for host in self.hosts:
            done = self.run(host, 'umbra-lab-requester.exe', 'delete-all', '--json')
            good = good and done.returncode == 0
        return good

    def visible(self, host):
        """LUN numbers of the disks that a host sees."""
        return sorted(lun['lun'] for lun in self.vss(host, 'scan')[1]['luns'])


class OwnGround(Ground):
    """umbrad, its provider, hosts A and B. The World of the integration tests, with LUNs on demand."""

    def __init__(self, hosts=('A', 'B')):
        sys.path.insert(0, os.path.join(labhost.ROOT, 'tests', 'integration'))
        from lab_world import World
        self.world = World(hosts=hosts, pool_options=('--capacity', f'{CAPACITY_MIB}M'))
        self.array, self.state, self.hosts = self.world.array, self.world.state, self.world.hosts
        self.directory, self.hold_port = self.world.directory, self.world.hold_port
        self.pool = {}  # size in MiB: [(name, number)]
        self.current, self.tgt, self.filler, self.without_control_lu = [], None, None, None

    def need(self, sizes_mib):
        """Takes LUNs of those sizes, empty ones; only where they are many, the ones of an earlier scenario."""
        taken, self.current = {}, []
        for size in sizes_mib:
            rows = self.pool.setdefault(size, [])
            at = taken.get(size, 0)
            taken[size] = at + 1
            if at == len(rows):
                name = f'lun-{size}m-{at + 1}'
                self.array.ctl('lun', 'create', name, '--size', f'{size}M')
                rows.append((name, self.array.ctl('map', name, 'A')['number']))
            self.current.append(rows[at])
        self.world.rescan('A')

    def number(self, n):
        return self.current[n - 1][1]

    def read(self, host, number, lba, blocks):
        return self.world.read(host, number, lba, blocks)

    def write(self, host, number, lba, data):
        self.world.write(host, number, lba, data)

    def url(self, host, number):
        return ['--initiator', self.array.hosts[host][0]], self.array.url(host, number)

    def shadows(self):
        return self.world.shadows()

    def nothing_left(self, seconds=15):
        return self.world.nothing_left(seconds)

    def left(self):
        return f'sets {self.world.sets()}, shadow LUNs {self.world.shadows()}'

    def strike(self, who):
        """Takes one part away in the middle, and brings it back where it does not come by itself."""
        if who == 'array':
            self.array.kill9()
            self.start_array()
        elif who in ('provider', 'coordinator'):
            program = 'umbra-vss.exe' if who == 'provider' else 'umbra-lab-vss.exe'
            if self.state.host('A').kill_program(program) != 1:
                raise Failure(f'no {program} ran')
        elif who == 'host':
            host = self.state.host('A')
            host.kill()
            host.down()
            host.up()

    def start_array(self):
        """Until every host has its session again: a disk whose session is gone answers nobody."""
        self.world.start_array()

    def vss_stopped_when_armed(self, host, then, *words):
        """A creation during which then() is called, while the array has the set armed and VSS stands still before the commit.
        Its exit code and its JSON."""
        import lab_steps
        lab_steps.hold(self.bridge(host), *lab_steps.READS)
        child = self.start_vss(host, *words)
        try:
            lab_steps.stop_when_armed(self.array, self.bridge(host), lambda: child.poll() is not None)
            then()
        except AssertionError as error:
            raise Failure(str(error)) from None
        finally:
            lab_steps.let_go(self.bridge(host))
        return self.finish_vss(child)

    def add_foreign(self):
        """A LUN of tgt on a second adapter of host A, which is started afresh."""
        from lab_tgt import Tgt
        self.tgt = Tgt(self.directory)
        self.tgt.add_lun(1, 8 << 20)
        self.state.host('A').down()
        self.state.configure('A', dict(self.tgt.settings(), initiator='iqn.1991-05.com.microsoft:lab-a'), adapter=1)
        self.state.host('A').up()

    def remove_foreign(self):
        self.state.host('A').down()
        self.state.drop_adapter('A', 1)
        self.state.host('A').up()
        self.tgt.close()
        self.tgt = None

    def drop_control_lu(self, host):
        """The host's LUN 0 goes with its sessions: it is started afresh."""
        self.array.ctl('host', 'set', host, '--no-control-lu')
        self.without_control_lu = host
        self.restart(host)

    def restart(self, host):
        self.state.host(host).down()
        self.state.host(host).up()

    def fill(self, all_but_mib=0):
        """Writes to a LUN of its own until the pool has no room for more, or so much room only. May be asked again."""
        from umbra_initiator import ScsiError
        if self.filler is None:
            self.array.ctl('lun', 'create', FILLER, '--size', f'{2 * CAPACITY_MIB}M')
            self.filler = {'number': self.array.ctl('map', FILLER, 'A')['number'], 'lba': 0}
        pool = self.array.ctl('pool', 'status')
        room = pool['capacity_bytes'] - pool['used_bytes']
        session = self.world.session('A')
        try:
            while not all_but_mib or room > all_but_mib << 20:
                blocks = 1 << 11 if room > 8 << 20 else 1 << 7  # a chunk at a time in the end
                session.write(self.filler['number'], self.filler['lba'], os.urandom(blocks * 512))
                self.filler['lba'] += blocks
                room -= blocks * 512
                if self.filler['lba'] == 2 * CAPACITY_MIB << 11:
                    raise Failure(f'{2 * CAPACITY_MIB} MiB went into a pool of {CAPACITY_MIB}')
        except ScsiError:
            pass
        finally:
            session.close()

    def empty(self):
        self.filler = None
        self.array.ctl('unmap', FILLER, 'A', check=False)
        self.array.ctl('lun', 'delete', FILLER, check=False)

    def clean_up(self):
        """After a scenario, however it ended: nothing of it is left on the array, nor in the hosts' catalogues."""
        for host in self.hosts:
            self.bridge(host).control('fault', 'clear')
        if not self.array.process:
            self.start_array()
        if self.tgt:
            self.remove_foreign()
        self.empty()
        self.array.ctl('host', 'set', 'B', '--import', 'any', check=False)
        self.forget_sets()
        if self.without_control_lu:
            self.array.ctl('host', 'set', self.without_control_lu, '--control-lu')
            self.restart(self.without_control_lu)
            self.without_control_lu = None
        self.world.clear_away()
        for host in self.hosts:  # what VSS knows and cannot delete, for its disks are gone
            for path in glob.glob(os.path.join(self.state.host(host).prefix, 'drive_c', 'ProgramData', 'umbra-lab', '{*.json')):
                os.unlink(path)
        if len(self.current) <= 8:  # the next scenario finds empty LUNs; writing to all of many would take too long
            for size in self.pool:
                self.pool[size] = [row for row in self.pool[size] if row not in self.current]
        mine = {name for rows in self.pool.values() for name, _ in rows}
        for lun in self.array.ctl('lun', 'list')['luns']:
            if lun['name'] in mine or lun.get('kind') == 'shadow':
                continue
            for host in self.hosts:
                self.array.ctl('unmap', lun['name'], host, check=False)
            self.array.ctl('lun', 'delete', lun['name'], check=False)
        for host in self.hosts:
            self.world.rescan(host)

    def close(self):
        return self.world.close()


class UsersGround(Ground):
    """Hosts that are up, LUNs that the user names, any provider. I/O goes through the hosts' own disks."""

    def __init__(self, state, clsid, luns):
        self.state = state
        self.hosts = [name for name in ('A', 'B') if name in state.names() and state.host(name).is_up()]
        if 'A' not in self.hosts:
            raise labhost.LabError('no host A is up: lab/lab up --host A … brings one up, lab/lab run installs a provider')
        self.provider = labhost.provider_of_class(state.host('A'), clsid)
        settings = state.settings('A')
        self.hold_port = settings.get('hold_port')
        disks = {lun['lun']: lun for lun in self.vss('A', 'scan')[1]['luns'] if lun['port'] == 0}
        missing = [n for n in luns if n not in disks]
        if missing or not luns:
            raise labhost.LabError(f'--luns names LUNs of host A that may be overwritten; it sees {sorted(disks)}')
        self.luns = [(n, disks[n]['size_bytes'] >> 20) for n in luns]
        self.before = {host: self.visible(host) for host in self.hosts}
        self.current = []
        self.directory = tempfile.mkdtemp(prefix='umbra-scenario-')

    def need(self, sizes_mib):
        left, self.current = list(self.luns), []
        for size in sizes_mib:
            fits = [row for row in left if row[1] >= size]
            if not fits:
                raise SkipScenario(f'it needs {len(sizes_mib)} LUNs of {sizes_mib} MiB')
            row = min(fits, key=lambda r: r[1])
            left.remove(row)
            self.current.append(row[0])

    def number(self, n):
        return self.current[n - 1]

    def device(self, host, number):
        for lun in self.vss(host, 'scan')[1]['luns']:
            if lun['lun'] == number and lun['port'] == 0:
                return lun['device'][4:]  # without \\.\
        raise Failure(f'host {host} has no LUN {number}')

    def probe(self, host, *words):
        done = self.run(host, 'umbra-lab-probe.exe', *words)
        if done.returncode != 0:
            raise Failure(f'umbra-lab-probe {words[0]}: {(done.stderr or done.stdout).strip()}')

    def read(self, host, number, lba, blocks):
        path = os.path.join(self.directory, 'data')
        self.probe(host, 'read', self.device(host, number), str(lba * BLOCK), str(blocks * BLOCK),
                   labhost.windows_path(path))
        with open(path, 'rb') as source:
            return source.read()

    def write(self, host, number, lba, data):
        path = os.path.join(self.directory, 'data')
        with open(path, 'wb') as out:
            out.write(data)
        self.probe(host, 'write', self.device(host, number), str(lba * BLOCK), labhost.windows_path(path))

    def nothing_left(self, seconds=15):
        """As far as the hosts can tell."""
        def same():
            for host in self.hosts:
                self.run(host, 'umbra-lab-probe.exe', 'rescan')
            return all(self.visible(host) == self.before[host] for host in self.hosts)
        return not any(self.vss(host, 'list')[1]['sets'] for host in self.hosts) and \
            labhost.wait_until(same, seconds, 0.5)

    def left(self):
        return f'the hosts see {[self.visible(host) for host in self.hosts]}, not {list(self.before.values())}'

    def clean_up(self):
        for host in self.hosts:
            self.bridge(host).control('fault', 'clear')
        self.forget_sets()
        for host in self.hosts:
            self.run(host, 'umbra-lab-probe.exe', 'rescan')

    def close(self):
        labhost.shutil.rmtree(self.directory, ignore_errors=True)
        return True


class SkipScenario(Exception):
    """It cannot be played here, and why."""
