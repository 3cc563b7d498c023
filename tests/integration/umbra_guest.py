# SPDX-License-Identifier: Apache-2.0
"""A Linux guest with the kernel's own initiator, file systems and device mapper, as a process of this user: User Mode
Linux. It needs no right and no disk image: its root is this machine's, and what runs here (open-iscsi, mkfs,
PostgreSQL) runs there. 10.0.2.2 there is 127.0.0.1 here, by slirp.

    with Guest() as guest:
        guest.login(array)                          # disks as the kernel finds them
        disk = guest.disk(array, 'a')               # /dev/sdX of LUN a, by its NAA designator
        guest.run(f'mkfs.ext4 -q {disk}')           # its output; raises GuestError unless it ends 0
        pid = guest.begin('a program that prints')  # what it prints: guest.lines()
        guest.kill()                                # a power cut

The guest is killed by its pid at the end, and slirp goes with it.
"""
import json
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PATIENCE = float(os.environ.get('UMBRA_TEST_PATIENCE', '1'))
LIMIT_S = 300 * PATIENCE
NEEDED = {'linux.uml': 'user-mode-linux', 'slirp-fullbolt': 'slirp', 'iscsid': 'open-iscsi', 'dmsetup': 'dmsetup'}
INITIATOR = 'iqn.2026-01.test:guest'


class GuestError(Exception):
    """A command in the guest failed; what it said."""


class GuestGone(GuestError):
    """The guest's kernel has ended, or stands still: nothing that it was asked for. scripts/check runs the test again."""


def missing(*more):
    """What a guest needs, and the programs in more, that this machine does not have: Debian packages mostly."""
    path = os.environ['PATH'] + ':/usr/sbin:/sbin'
    packages = [package for name, package in (*NEEDED.items(), *zip(more, more)) if not shutil.which(name, path=path)]
    if not packages and not runs_at_all():
        return ['a machine that lets User Mode Linux run (ptrace, shared memory that may be executed)']
    return packages


def skipped(*more):
    """The exit code of a test that is skipped, having said why; None when a guest can run."""
    lacking = missing(*more)
    if not lacking:
        return None
    print(f"skipped (scripts/bootstrap installs packages): this needs {', '.join(lacking)}")
    return 77


def guest_environment(folder):
    """Of linux.uml, whose files lie in the folder."""
    preload = {'LD_PRELOAD': os.environ['UMBRA_GUEST_REGISTERS']} if 'UMBRA_GUEST_REGISTERS' in os.environ else {}
    return {**os.environ, **preload, 'TMPDIR': memory_folder(folder)}


def runs_at_all():
    """Does a guest's first process run and end well? The guest panics behind that, as it must."""
    with tempfile.TemporaryDirectory(prefix='umbra-guest-') as folder:
        done = subprocess.run(
            ['linux.uml', 'mem=64M', f'uml_dir={folder}', 'root=/dev/root', 'rootfstype=hostfs', 'rootflags=/', 'ro',
             'init=/bin/true', 'con=null', 'con0=null,fd:1', 'panic=1'], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, timeout=LIMIT_S,
            env=guest_environment(folder), check=False)
    return b'Attempted to kill init! exitcode=0x00000000' in done.stdout


def memory_folder(other):
    """Where the file that is the guest's memory lies: in memory where there is enough."""
    try:
        room = os.statvfs('/dev/shm')
        return '/dev/shm' if room.f_bavail * room.f_frsize >= 2 << 30 else other
    except OSError:
        return other


class Line:
    """A serial line of the guest: two pipes."""

    def __init__(self):
        self.guest_reads, self.write_fd = os.pipe()
        self.read_fd, self.guest_writes = os.pipe()

    def argument(self):
        return f'fd:{self.guest_reads},fd:{self.guest_writes}'

    def ends(self):
        return self.guest_reads, self.guest_writes

    def started(self):
        for fd in self.ends():
            os.close(fd)
        self.incoming = os.fdopen(self.read_fd, 'r', errors='replace')
        self.outgoing = os.fdopen(self.write_fd, 'w')

    def close(self):
        for file in (self.incoming, self.outgoing):
            try:
                file.close()
            except OSError:
                pass


class Guest:
    def __init__(self, initiator=INITIATOR, memory='256M', disks=(), shared=None):
        """disks: files here that are /dev/ubda, /dev/ubdb, … there, without a cache of the guest's below them. shared: a
        folder here that is /mnt/host there."""
        self.initiator = initiator
        self.dir = tempfile.mkdtemp(prefix='umbra-guest-')
        self.console_path = os.path.join(self.dir, 'console')
        self.talk, self.news = Line(), Line()
        self.printed = queue.Queue()
        preload = [f"LD_PRELOAD={os.environ['UMBRA_NODELAY']}"] if 'UMBRA_NODELAY' in os.environ else []
        with open(self.console_path, 'w') as console:
            self.process = subprocess.Popen(
                ['linux.uml', f'mem={memory}', f'uml_dir={self.dir}', 'umid=guest', 'root=/dev/root',
                 'rootfstype=hostfs', 'rootflags=/', 'ro', 'init=' + os.path.join(HERE, 'guest_init'), 'con=null',
                 'con0=null,fd:1', *(f'ubd{i}={path}' for i, path in enumerate(disks)), 'ssl=null', 'ssl0=' + self.talk.argument(), 'ssl1=' + self.news.argument(),
                 'eth0=slirp,,/usr/bin/env,' + ','.join(preload + ['slirp-fullbolt'])],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True,
                pass_fds=self.talk.ends() + self.news.ends(), env=guest_environment(self.dir))
        for line in (self.talk, self.news):
            line.started()
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()
        self.release = self._answer('the start', LIMIT_S)['ready']
        if shared:
            self.run(f'mkdir /mnt/host && mount -t hostfs -o sync,{shared} none /mnt/host')

    def _listen(self):
        try:
            for line in self.news.incoming:
                self.printed.put(line.rstrip('\r\n'))
        except (OSError, ValueError):
            pass
        self.printed.put(None)

    def _answer(self, what, limit_s):
        found = queue.Queue()
        threading.Thread(target=lambda: found.put(self.talk.incoming.readline()), daemon=True).start()
        try:
            line = found.get(timeout=limit_s)
        except queue.Empty:
            line = ''
        if not line:
            ended = self.process.poll()
            state = f'does not answer in {limit_s:.0f} s' if ended is None else f'has ended ({ended})'
            raise GuestGone(f'{what}: the guest {state}\n{self.console()}')
        return json.loads(line)

    def _ask(self, what, patience_s=LIMIT_S, **asked):
        try:
            self.talk.outgoing.write(json.dumps(asked) + '\n')
            self.talk.outgoing.flush()
        except BrokenPipeError:
            pass  # the answer's place tells
        return self._answer(what, patience_s + 60)

    # ---- commands

    def run(self, command, check=True, limit_s=LIMIT_S):
        """A shell command's output; check=False: (exit code, output)."""
        answer = self._ask(command, limit_s, run=command, limit_s=limit_s)
        if not check:
            return answer['code'], answer['said']
        if answer['code'] != 0:
            raise GuestError(f"{command}: {answer['code']}\n{answer['said']}")
        return answer['said']

    def begin(self, command):
        return self._ask(command, begin=command)['pid']

    def ended(self, pid, limit_s=LIMIT_S):
        return self._ask(f'waiting for {pid}', limit_s, wait=pid, limit_s=limit_s)['code']

    def line(self, limit_s=LIMIT_S):
        """The next line that a program of begin() has printed; None when the guest is gone."""
        try:
            return self.printed.get(timeout=limit_s)
        except queue.Empty:
            raise GuestError(f'nothing was printed in {limit_s} s\n{self.console()}') from None

    def heard(self):
        """After kill(): waits until all that was printed is in `printed`."""
        self.listener.join(LIMIT_S)

    def modules(self, *names):
        self.run('modprobe -d /mnt/modules -a ' + ' '.join(names))

    def console(self):
        with open(self.console_path, errors='replace') as file:
            return file.read()[-6000:]

    # ---- the initiator

    def login(self, array, settings=()):
        """Logs in to each portal of the array. settings: (name, value) of iscsiadm's node records."""
        self.modules('sd_mod', 'iscsi_tcp')
        self.run(f'echo InitiatorName={self.initiator} >/etc/iscsi/initiatorname.iscsi; : >/etc/iscsi/iscsid.conf; '
                 'iscsid && sleep 0.2')
        for port in array.ports:
            where = f'-T {array.target} -p 10.0.2.2:{port}'
            self.run(f'iscsiadm -m node -o new {where},1')
            for name, value in settings:
                self.run(f'iscsiadm -m node {where} -o update -n {name} -v {value}')
            self.run(f'iscsiadm -m node {where} -l')

    def rescan(self):
        self.run('iscsiadm -m session -R')

    def disks(self):
        """{NAA designator without 0x: [/dev/sdX, …]} as the kernel has read it."""
        found = {}
        for line in self.run('for d in /sys/block/sd*; do [ -e $d/device/wwid ] && '
                             'echo ${d##*/} $(cat $d/device/wwid); done; true').splitlines():
            name, wwid = line.split()
            found.setdefault(wwid.removeprefix('naa.').lower(), []).append('/dev/' + name)
        return found

    def disk(self, array, lun, limit_s=60 * PATIENCE):
        """The first disk of that LUN or shadow LUN; waits for it."""
        naa = array.ctl('lun', 'show', lun)['naa'][4:].lower()
        end = time.monotonic() + limit_s
        while True:
            disks = self.disks()
            if naa in disks:
                return disks[naa][0]
            if time.monotonic() > end:
                raise GuestError(f'no disk {naa}, but {disks}\n{self.console()}')
            time.sleep(0.1)

    # ---- the end

    def kill(self):
        """A power cut."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind:
            print(f"--- the guest's console\n{self.console()}---", flush=True)
        self.kill()
        for line in (self.talk, self.news):
            line.close()
        shutil.rmtree(self.dir, ignore_errors=True)
