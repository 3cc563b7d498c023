#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Copies of running databases open, recover, and hold an instant. A real Linux kernel is the host: PostgreSQL with its
data on one LUN and its write-ahead log on another, and SQLite with a transaction over files on both, on ext4. While
they write, copy sets of both LUNs are taken; of each copy the file systems replay their journals, the databases recover, and

- all that was acknowledged before the cut is there, nothing that had not begun when it was over;
- sums hold, rows are the same by heap and by index, checksums of pages are right.

The control takes the LUNs one after the other, and must be found wrong: else the test could not fail.

UMBRA_COPIES (default 3) says how many; UMBRA_COPY_SECONDS, for how long at least. The guest is slow where the machine has no KVM.
UMBRA_RECOVER=here: copies are exported to files, and recover on this machine: e2fsck replays the journals, and the same
PostgreSQL and SQLite open what debugfs takes out. Then a thousand copies are a matter of an hour or two."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from umbra_guest import INITIATOR, Guest, skipped  # noqa: E402
from umbra_lab import Array  # noqa: E402

NAMES = ('pg', 'sqlite')
SETTINGS = ('fsync=on', 'full_page_writes=on', 'shared_buffers=1MB', 'max_wal_size=4MB', 'min_wal_size=2MB',
            'checkpoint_timeout=30s', 'unix_socket_directories=/run/postgresql', 'listen_addresses=', 'autovacuum_naptime=5s',
            'max_connections=10', 'wal_level=replica', 'jit=off', 'dynamic_shared_memory_type=mmap')
OVERLAY_BYTES = 48 << 20


def programs_of_postgresql():
    """The folder with initdb and postgres, which Debian does not put on the PATH."""
    done = subprocess.run(['sh', '-c', 'ls -d /usr/lib/postgresql/*/bin'], capture_output=True, text=True)
    found = done.stdout.split()
    return found[-1] if found else None


class Acknowledged(threading.Thread):
    """What the workloads have said."""

    def __init__(self, guest):
        super().__init__(daemon=True)
        self.guest, self.last, self.strange = guest, dict.fromkeys(NAMES, 0), []
        self.news = threading.Condition()

    def run(self):
        while (line := self.guest.printed.get()) is not None:
            words = line.split()
            with self.news:
                if len(words) == 2 and words[0] in NAMES and words[1].isdigit():
                    self.last[words[0]] = int(words[1])
                else:
                    self.strange.append(line)
                self.news.notify_all()

    def wait_past(self, limits, seconds=600):
        """Until each workload has gone past its limit."""
        with self.news:
            done = self.news.wait_for(lambda: self.strange or all(self.last[n] > limits[n] for n in NAMES), seconds)
            assert done and not self.strange, (self.strange, self.last, limits)
            return dict(self.last)


class Databases:
    def __init__(self, array, guest):
        self.array, self.guest, self.here = array, guest, os.environ.get('UMBRA_RECOVER') == 'here'
        self.programs = programs_of_postgresql()
        for lun, size in (('data', '192M'), ('wal', '96M')):
            array.ctl('lun', 'create', lun, '--size', size)
            array.ctl('map', lun, 'guest')
        guest.login(array)
        guest.modules('dm_snapshot', 'loop')
        for lun in ('data', 'wal'):
            disk = guest.disk(array, lun)
            guest.run(f'mkfs.ext4 -q -J size=4 {disk} && mkdir /mnt/{lun} && mount {disk} /mnt/{lun} && chmod 777 /mnt/{lun}')
        self.initialize()
        self.acknowledged = Acknowledged(guest)
        self.acknowledged.start()
        for name in NAMES:
            guest.begin(f'python3 {HERE}/guest_workload.py {name}')

    def as_postgres(self, command):
        return self.guest.run(f'setpriv --reuid=postgres --regid=postgres --clear-groups {command}')

    def initialize(self):
        self.as_postgres(f'{self.programs}/initdb -k --wal-segsize=1 -U postgres -X /mnt/wal/pg -D /mnt/data/pg')
        options = ' '.join('-c ' + setting for setting in SETTINGS)
        self.as_postgres(f"{self.programs}/pg_ctl -w -t 600 -D /mnt/data/pg -o '{options}' -l /tmp/pg.log start")
        self.psql('create table account (id int primary key, held bigint); '
                  'insert into account select i, 0 from generate_series(0, 199) i; '
                  'create table done (n int primary key, filler text); checkpoint;')
        self.guest.run("for file in /mnt/data/one.db /mnt/wal/two.db; do python3 -c \"import sqlite3; "
                       "c = sqlite3.connect('$file'); c.executescript('create table account (held integer); "
                       "insert into account values (0); create table done (n integer primary key, filler text);')\"; done; "
                       "chmod 666 /mnt/*/*.db")

    def psql(self, statements):
        return self.guest.run(f"psql -h /run/postgresql -U postgres -qAtX -v ON_ERROR_STOP=1 <<'X'\n{statements}\nX\n")

    def issued(self):
        return {name: int(self.guest.run(f'cat /run/issued-{name}')) for name in NAMES}

    def take(self, name, *luns):
        """A copy set; its shadow LUNs, in the order of the LUNs."""
        return [member['shadow'] for member in self.array.ctl('set', 'create', name, *luns)['members']]

    def recover(self, data, wal):
        """Opens the copy's databases: (exit code, what was said)."""
        return self.recover_here(data, wal) if self.here else self.recover_in_guest(data, wal)

    def recover_here(self, data, wal):
        folder = tempfile.mkdtemp(prefix='umbra-copy-')
        try:
            os.chmod(folder, 0o755)
            for lun, shadow in (('data', data), ('wal', wal)):
                image, files = os.path.join(folder, lun + '.raw'), os.path.join(folder, lun)
                self.array.ctl('shadow', 'export', shadow, image)
                os.mkdir(files)
                done = subprocess.run(['e2fsck', '-E', 'journal_only', '-y', image], capture_output=True, text=True)
                assert done.returncode in (0, 1), (done.returncode, done.stdout + done.stderr)
                # Then it must be whole by itself.
                done = subprocess.run(['e2fsck', '-fn', image], capture_output=True, text=True)
                if done.returncode:
                    return done.returncode, f'{lun}: {done.stdout}{done.stderr}'
                done = subprocess.run(['debugfs', '-R', f'rdump / {files}', image], capture_output=True, text=True)
                assert done.returncode == 0, done.stderr
                os.unlink(image)
                os.chmod(files, 0o777)
            # Where the guest had them: SQLite's journals name one another by their paths.
            done = subprocess.run(
                ['unshare', '-m', 'sh', '-ec', 'mount -t tmpfs none /mnt; mkdir /mnt/data /mnt/wal; '
                 f'mount --bind {folder}/data /mnt/data; mount --bind {folder}/wal /mnt/wal; '
                 f'exec {sys.executable} {HERE}/guest_recover.py {self.programs}'], capture_output=True, text=True)
            return done.returncode, done.stdout + done.stderr
        finally:
            shutil.rmtree(folder)
            for shadow in (data, wal):
                self.array.ctl('shadow', 'delete', shadow)

    def recover_in_guest(self, data, wal):
        disks = []
        for shadow in (data, wal):
            self.array.ctl('shadow', 'map', shadow, 'guest')
        self.guest.rescan()
        for lun, shadow in (('data', data), ('wal', wal)):
            disks.append(self.guest.disk(self.array, shadow))
            self.guest.run(f'truncate -s {OVERLAY_BYTES} /tmp/{lun}.cow && loop=$(losetup -f --show /tmp/{lun}.cow) && '
                           f'dmsetup create copy-{lun} --noudevsync --table "0 $(blockdev --getsz {disks[-1]}) snapshot '
                           f'{disks[-1]} $loop N 8" && dmsetup mknodes')
        verdict = self.guest.run("unshare -m sh -c 'mount -t ext4 /dev/mapper/copy-data /mnt/data && "
                                 'mount -t ext4 /dev/mapper/copy-wal /mnt/wal && '
                                 f"python3 {HERE}/guest_recover.py {self.programs}'", check=False)
        for lun, disk in zip(('data', 'wal'), disks):
            self.guest.run(f'dmsetup remove --noudevsync --retry copy-{lun} && losetup -D && rm /tmp/{lun}.cow && '
                           f'echo 1 >/sys/block/{disk[5:]}/device/delete')
        for shadow in (data, wal):
            self.array.ctl('shadow', 'unmap', shadow)
            self.array.ctl('shadow', 'delete', shadow)
        return verdict

    def copy(self, number):
        before = dict(self.acknowledged.last)
        data, wal = self.take(f'copy-{number}', 'data', 'wal')
        issued = self.issued()
        code, said = self.recover(data, wal)
        assert code == 0, f'copy {number}: {code}\n{said}'
        found = json.loads(said.splitlines()[-1])
        for name in NAMES:
            assert before[name] <= found[name] <= issued[name], f'copy {number}, {name}: {before}, {found}, {issued}'
        self.acknowledged.wait_past(found)
        return found

    def control(self):
        """The two LUNs one after the other, with work and a checkpoint between: no copy of an instant."""
        wal, = self.take('control-wal', 'wal')
        for _ in range(2):
            self.acknowledged.wait_past(self.issued())
            self.psql('checkpoint; select pg_switch_wal();')
        self.acknowledged.wait_past(self.issued())
        data, = self.take('control-data', 'data')
        return self.recover(data, wal)


def main():
    if (code := skipped((programs_of_postgresql() or '/usr/lib/postgresql') + '/initdb')) is not None:
        return code
    wanted, seconds = (int(os.environ.get(name, default))
                       for name, default in (('UMBRA_COPIES', '3'), ('UMBRA_COPY_SECONDS', '0')))
    with Array({'copysets': {'number_rest': '1ms'}}) as array, Guest(memory='384M') as guest:
        array.add_host('guest', INITIATOR)
        databases = Databases(array, guest)
        databases.acknowledged.wait_past(dict.fromkeys(NAMES, 10))
        end, copies = time.monotonic() + seconds, 0
        while copies < wanted or time.monotonic() < end:
            found = databases.copy(copies)
            copies += 1
            print(f"ok copy {copies}: PostgreSQL {found['pg']}, SQLite {found['sqlite']} transactions", flush=True)
        code, said = databases.control()
        assert code, f'a copy LUN by LUN was not found wrong: {said}'
        print(f'ok {copies} of {copies} copies recovered; the control did not:', said.splitlines()[-1])
    return 0


if __name__ == '__main__':
    sys.exit(main())
