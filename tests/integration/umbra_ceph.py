#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A Ceph cluster for tests: real daemons on 127.0.0.1 with free ports, everything in a temporary directory.

    with Cluster() as cluster:                        # a monitor, an OSD with its data in memory, the pool `rbd`
        cluster.ceph('osd', 'stat'); cluster.rbd('ls')
        with Array(store=cluster) as array: …          # umbra_lab: an array in that pool
    Cluster('bluestore')                              # data on a sparse file: it survives cluster.osd_kill()
    Cluster(cephx=True).user('umbra', mon='…', osd='…')

    umbra_ceph.py [--bluestore] [--set 'KEY = VALUE']… PROGRAM [ARGUMENT…]

runs a program beside a cluster of its own: CEPH_CONF and UMBRA_TEST_CEPH_POOL tell it where that is. The exit code is the
program's; 77, which meson calls skipped, where Ceph's programs are not installed, and with --no-store, which stands for a program
that was not built. With --each the arguments are programs, too: all are run, one after another beside one cluster, and the exit
code is that of the last one that failed.

The daemons are children that the kernel kills with this process, however that ends, and a shell that waits for that end
removes the directory. Nobody waits for health: without a manager (ceph-mgr) there is none. One can be started
(mgr_start), and is needed for what depends on how much the pools hold: quotas, `ceph df`.

Each object is on one OSD. Where that stands still for longer than its lease of reading (`osd pool default read lease ratio`, 16 s by
default) and gets I/O before it has renewed it, a placement group without a second OSD, of which an acknowledgement would come, stays
`laggy`, and all its I/O waits until the OSD is marked down (seen with 16.2.15). So the lease is ten minutes.
"""
import ctypes
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid

PATIENCE_S = 240 * float(os.environ.get('UMBRA_TEST_PATIENCE', '1'))
PROGRAMS = ('ceph-mon', 'ceph-osd', 'monmaptool', 'ceph', 'rbd', 'rados', 'ceph-authtool')
POOL = 'rbd'
# Objects of a pool that librbd looks for, there or not.
LOOKED_FOR = ['rbd_trash', 'rbd_children', 'rbd_mirroring', 'rbd_group_directory', 'rbd_namespace', 'rbd_trash_purge_schedule', 'rbd_task',
              'rbd_mirror_snapshot_schedule']
STARTS = 5  # the monitor's port may be somebody else's by the time that it listens there
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)

CONF = '''\
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{port}]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
auth cluster required = {auth}
auth service required = {auth}
auth client required = {auth}
auth allow insecure global id reclaim = false
run dir = {dir}
pid file = {dir}/$name.pid
admin socket = {dir}/$name.$pid.asok
log file = {dir}/log/$name.log
crash dir = {dir}/log
keyring = {dir}/$name.keyring
osd pool default size = 1
osd pool default min size = 1
osd pool default read lease ratio = 30
osd crush chooseleaf type = 0
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon allow pool delete = true
mon warn on pool no redundancy = false
mon data avail crit = 1
mon data avail warn = 1
paxos propose interval = {propose_s}
paxos min wait = 0.01
{settings}
[client]
pid file =
admin socket =
log file =
[mon]
mon data = {dir}/$name
mon tick interval = 1
[mgr]
mgr data = {dir}/$name
mgr module path = {dir}/no-modules
mgr stats period = 1
[osd]
osd data = {dir}/$name
osd mgr report interval = 1
osd objectstore = {store}
memstore device bytes = 6G
bluestore block size = 12G
osd memory target = 939524096
'''


def missing():
    """The programs of Ceph's that are not installed."""
    return [name for name in PROGRAMS if not shutil.which(name)]


def skip_without_ceph(*more):
    """Ends a test that cannot run here, by name and reason. more: programs that not every one needs."""
    lacks = missing() + [name for name in more if not shutil.which(name)]
    if lacks:
        print(f"skipped: {', '.join(lacks)}: not installed (scripts/packages names the packages)")
        sys.exit(77)


def skip_without_store():
    """The same, and where umbrad was built without librbd."""
    skip_without_ceph()
    if not os.path.exists(os.path.join(os.environ.get('UMBRA_MODULES', ''), 'umbra-store-rbd.so')):
        print('skipped: this build has no store rbd (librbd-dev, librados-dev)')
        sys.exit(77)


def dies_with_us():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def free_port():
    with socket.create_server(('127.0.0.1', 0)) as probe:
        return probe.getsockname()[1]


def quiet_port():
    """A free port for a program that keeps it while it is started again and again: none that connections get for their own end."""
    with open('/proc/sys/net/ipv4/ip_local_port_range') as file:
        first = int(file.read().split()[0])
    for _ in range(200):
        port = random.randrange(min(10000, first - 1000), first)
        try:
            with socket.create_server(('127.0.0.1', port)):
                return port
        except OSError:
            continue
    return free_port()


def stop_still(process):
    """Stops a process; when it returns none of its threads does anything more."""
    process.send_signal(signal.SIGSTOP)
    tasks = f'/proc/{process.pid}/task'

    def state(task):
        try:
            with open(f'{tasks}/{task}/stat') as stat:
                return stat.read().rpartition(')')[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):  # that thread has ended
            return 'T'
    while not all(state(task) == 'T' for task in os.listdir(tasks)):
        time.sleep(0.005)



class Cluster:
    """store: memstore or bluestore; cephx: with keys; fast: a monitor round takes 50 ms, not the default 1 s; settings: more
    lines of [global]; osds: how many, of which each object is on one."""

    def __init__(self, store='memstore', cephx=False, fast=True, settings=(), pool=POOL, osds=1):
        self.store, self.cephx, self.pool, self.osds = store, cephx, pool, osds
        self.propose_s = 0.05 if fast else 1.0
        self.settings = list(settings)
        self.daemons = {}  # name: Popen
        self.dir = tempfile.mkdtemp(prefix='umbra-ceph-')
        self.conf = os.path.join(self.dir, 'ceph.conf')
        self.reaper = subprocess.Popen(
            ['sh', '-c', 'cat >/dev/null; while rm -rf "$0"; [ -e "$0" ]; do sleep 1; done', self.dir], stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            self._start()
        except BaseException:
            self.remove(show=True)
            raise

    # ---- the start

    def _start(self):
        for attempt in range(STARTS):
            self._make_monitor()
            if self._monitor_answers():
                break
            self._kill('mon.a')
            shutil.rmtree(os.path.join(self.dir, 'mon.a'))
        else:
            raise RuntimeError(f'the monitor did not start in {STARTS} attempts')
        for number in range(self.osds):
            self._make_osd(number)
        groups = str(8 if self.osds == 1 else 32)
        self.ceph('osd', 'pool', 'create', self.pool, groups, groups, 'replicated')
        self.wait_for_osd()
        self.rbd('pool', 'init', self.pool)

    def _make_monitor(self):
        self.fsid = str(uuid.uuid4())
        port = free_port()
        for name in ('mon.a', 'log'):
            os.makedirs(os.path.join(self.dir, name), exist_ok=True)
        with open(self.conf, 'w') as file:
            file.write(CONF.format(fsid=self.fsid, port=port, auth='cephx' if self.cephx else 'none', dir=self.dir,
                                   store=self.store, propose_s=self.propose_s, settings='\n'.join(self.settings)))
        monmap = os.path.join(self.dir, 'monmap')
        self._run('monmaptool', '--create', '--clobber', '--fsid', self.fsid, '--addv', 'a', f'[v2:127.0.0.1:{port}]', monmap)
        keys = []
        if self.cephx:
            admin = os.path.join(self.dir, 'client.admin.keyring')
            self._run('ceph-authtool', '--create-keyring', admin, '--gen-key', '-n', 'client.admin', '--cap', 'mon', 'allow *',
                      '--cap', 'osd', 'allow *', '--cap', 'mgr', 'allow *')
            monitors = os.path.join(self.dir, 'mon.keyring')
            self._run('ceph-authtool', '--create-keyring', monitors, '--gen-key', '-n', 'mon.', '--cap', 'mon', 'allow *')
            self._run('ceph-authtool', monitors, '--import-keyring', admin)
            keys = ['--keyring', monitors]
        self._run('ceph-mon', '-i', 'a', '--mkfs', '--monmap', monmap, *keys)
        self.mon_start()

    def _monitor_answers(self):
        """False: it has ended, as it does when its port is taken. It has the port before it answers."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            if self.daemons['mon.a'].poll() is not None:
                return False
            if self.ceph('--connect-timeout', '5', 'mon', 'stat', check=False).returncode == 0:
                return True
        raise RuntimeError('the monitor does not answer')

    def _make_osd(self, number):
        name = str(uuid.uuid4())
        os.mkdir(os.path.join(self.dir, f'osd.{number}'))
        self.ceph('osd', 'new', name)
        if self.cephx:
            self.user(f'osd.{number}', mon='allow profile osd', osd='allow *', mgr='allow profile osd')
        self._run('ceph-osd', '-i', str(number), '--mkfs', '--osd-uuid', name)
        self.osd_start(number)

    def wait_for_osd(self):
        end = time.monotonic() + PATIENCE_S
        while json.loads(self.ceph('osd', 'stat', '-f', 'json').stdout)['num_up_osds'] != self.osds:
            if time.monotonic() > end:
                raise RuntimeError('the OSD does not come up')
            time.sleep(0.05)

    # ---- the daemons

    def _daemon(self, name, *command):
        assert name not in self.daemons
        with open(os.path.join(self.dir, 'log', name + '.out'), 'a') as log:
            self.daemons[name] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment(),
                                                  preexec_fn=dies_with_us)

    def _kill(self, name):
        process = self.daemons.pop(name, None)
        if process:
            process.kill()
            process.wait()

    def mon_start(self):
        self._daemon('mon.a', 'ceph-mon', '-f', '-i', 'a')

    def mon_kill(self):
        self._kill('mon.a')

    def mgr_start(self):
        """From now on the monitors know how much there is, each second. It has none of its modules: they are what takes it long."""
        for name in ('mgr.a', 'no-modules'):
            os.makedirs(os.path.join(self.dir, name), exist_ok=True)
        if self.cephx:
            self.user('mgr.a', mon='allow profile mgr', osd='allow *')
        self._daemon('mgr.a', 'ceph-mgr', '-f', '-i', 'a')
        end = time.monotonic() + PATIENCE_S
        while not json.loads(self.ceph('df', '-f', 'json').stdout)['stats']['total_bytes']:
            if time.monotonic() > end:
                raise RuntimeError('the manager tells the monitors of nothing')
            time.sleep(0.1)

    def osd_start(self, number=0):
        self._daemon(f'osd.{number}', 'ceph-osd', '-f', '-i', str(number))

    def osd_kill(self, number=0):
        """As by a power cut, which the monitor is told of. What is in memory (memstore) is lost."""
        self._kill(f'osd.{number}')
        self.ceph('osd', 'down', str(number))

    def freeze(self, name='osd.0'):
        stop_still(self.daemons[name])

    def thaw(self, name='osd.0'):
        self.daemons[name].send_signal(signal.SIGCONT)

    # ---- commands

    def environment(self, **more):
        """For the programs that use the cluster."""
        return dict(os.environ, CEPH_CONF=self.conf, UMBRA_TEST_CEPH_POOL=self.pool, CEPH_ARGS='', **more)

    def _run(self, *command, check=True, **options):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors='replace',
                              env=self.environment(), timeout=PATIENCE_S, **options)
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def ceph(self, *arguments, check=True):
        return self._run('ceph', *arguments, check=check)

    def rbd(self, *arguments, check=True):
        return self._run('rbd', *arguments, check=check)

    def rados(self, *arguments, check=True):
        return self._run('rados', '-p', self.pool, *arguments, check=check)

    def has_settled(self, group, osd):
        """Whether the placement group is on that OSD alone, and clean. While it goes from one to another nobody has it for a moment."""
        asked = self.ceph('pg', group, 'query', '-f', 'json', check=False)
        if asked.returncode != 0:
            return False
        about = json.loads(asked.stdout)
        return about['state'] == 'active+clean' and about['acting'] == [osd]

    def osd_of(self, name):
        """The OSD that has the object of that name."""
        return json.loads(self.ceph('osd', 'map', self.pool, name, '-f', 'json').stdout)['acting_primary']

    def pool_flags(self):
        """What the monitors hold of the pool: nearfull, full, full_quota …"""
        pools = json.loads(self.ceph('osd', 'pool', 'ls', 'detail', '-f', 'json').stdout)
        return next(pool['flags_names'] for pool in pools if pool['pool_name'] == self.pool).split(',')

    def images(self, namespace=''):
        return json.loads(self.rbd('ls', '--format', 'json', f'{self.pool}/{namespace}' if namespace else self.pool).stdout)

    def user(self, name, **caps):
        """A key for NAME (osd.0, client.umbra), with these rights, where daemons and clients look for it."""
        words = [word for pair in caps.items() for word in pair]
        self.ceph('auth', 'get-or-create', name, *words, '-o', os.path.join(self.dir, name + '.keyring'))

    def take_user(self, name):
        self.ceph('auth', 'rm', name)
        os.unlink(os.path.join(self.dir, name + '.keyring'))

    # ---- the end

    def _show(self):
        folder = os.path.join(self.dir, 'log')
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
            if name.endswith(('.log', '.out')):
                with open(os.path.join(folder, name), errors='replace') as file:
                    sys.stderr.write(f'--- the end of {name}\n{file.read()[-3000:]}')

    def remove(self, show=False):
        for name in list(self.daemons):
            self._kill(name)
        if show:
            self._show()
        shutil.rmtree(self.dir, ignore_errors=True)
        self.reaper.stdin.close()
        self.reaper.wait()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.remove(show=bool(kind) and kind is not SystemExit)


def end_in_order():
    """SIGTERM, as meson sends it past a time limit, ends this process as an exception does."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def run(command, cluster):
    program = subprocess.Popen(command, env=cluster.environment(), preexec_fn=dies_with_us)
    try:
        return program.wait()
    finally:
        program.kill()


def main(arguments):
    store, settings, each = 'memstore', [], False
    while arguments and arguments[0].startswith('--'):
        option = arguments.pop(0)
        if option == '--bluestore':
            store = 'bluestore'
        elif option == '--no-store':
            print('skipped: this build has no store rbd (librbd-dev, librados-dev)')
            sys.exit(77)
        elif option == '--each':
            each = True
        elif option == '--set' and arguments:
            settings.append(arguments.pop(0))
        else:
            sys.exit(__doc__)
    if not arguments:
        sys.exit(__doc__)
    skip_without_ceph()
    end_in_order()
    code = 0
    with Cluster(store, settings=settings) as cluster:
        for command in [[name] for name in arguments] if each else [arguments]:
            code = run(command, cluster) or code
    return 128 - code if code < 0 else code


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
