#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Drives that are NTFS on Umbra LUNs, and shadow copies that a Windows program reads: every file of one instant.

Two files of D: and one of E: have a counter, written one after the other, each with fsync, without a pause. A shadow copy of both
drives must show what was there when the writers were held: the same number everywhere, or a step more in what is written first.
"""
import os
import subprocess
import sys
import threading
import time

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__)),
                os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'lab', 'demo')]
import ntfs  # noqa: E402
from lab_requesters import INIT, READY, bad, find, known, nothing_left, replay, start_replay  # noqa: E402
from lab_stack import Stack, labhost  # noqa: E402
import volumes  # noqa: E402

SIZE = 64 << 20
SKIPPED = 77


class Counter(threading.Thread):
    """Writes 1, 2, 3, … to each of the files, in their order, until it is stopped."""

    def __init__(self, paths):
        super().__init__(daemon=True)
        self.paths, self.number, self.stopping, self.error = paths, 0, False, None
        self.longest, self.stood_at = 0, 0  # the longest step, and the number that was complete then

    def run(self):
        files = [os.open(path, os.O_RDWR | os.O_CREAT, 0o644) for path in self.paths]
        try:
            while not self.stopping:
                begun = time.monotonic()
                for fd in files:
                    os.pwrite(fd, b'%09d\n' % (self.number + 1), 0)
                    os.fsync(fd)
                if time.monotonic() - begun > self.longest:
                    self.longest, self.stood_at = time.monotonic() - begun, self.number
                self.number += 1
        except OSError as error:
            self.error = error
        finally:
            for fd in files:
                os.close(fd)

    def stop(self):
        self.stopping = True
        self.join(labhost.PATIENCE_S)
        return self.error is None and not self.is_alive()


def make_ntfs(s, number):
    image = s.path('ntfs.img')
    ntfs.make_disk(image, SIZE, {'still.txt': b'stays as it is\n'}, s.directory)
    options, target = s.qemu_img(number)
    subprocess.run(['qemu-img', 'convert', '-n', '-f', 'raw', *options[:2], image, '--target-image-opts', target], check=True,
                   stdout=subprocess.DEVNULL)
    os.unlink(image)


def drive(s, name):
    return os.path.join(s.state.host('A').path, 'volumes', name)


def devices(steps):
    """The numbers of the shadow copies' devices, in the order of GetSnapshotProperties."""
    return [step.values['device'].rpartition('Copy')[2] for step in steps
            if step.method == 'GetSnapshotProperties' and 'device' in step.values]


def one_instant(s):
    """Three times, while the counters run: the copy has one instant, and keeps it."""
    counter = Counter([os.path.join(drive(s, 'D'), 'a.txt'), os.path.join(drive(s, 'D'), 'b.txt'),
                       os.path.join(drive(s, 'E'), 'c.txt')])
    counter.start()
    labhost.wait_until(lambda: counter.number > 3, labhost.PATIENCE_S)
    made = [*INIT, 'SetContext 0x19', 'StartSnapshotSet', 'AddToSnapshotSet D:\\', 'AddToSnapshotSet E:\\', 'DoSnapshotSet',
            'GetSnapshotProperties 0', 'GetSnapshotProperties 1', 'release']
    for _ in range(3):
        before = counter.number
        steps = replay(s, *made)
        after = counter.number
        if not s.check(bad(steps) == [] and len(devices(steps)) == 2, 'a shadow copy of both drives', bad(steps)):
            break
        d, e = devices(steps)
        reads = [f'read {d} a.txt', f'read {d} b.txt', f'read {e} c.txt', f'read {d} still.txt']
        first = [step.values.get('text') for step in replay(s, *reads)]
        seen = [int(text) for text in first[:3]] if all(t and t.isdigit() for t in first[:3]) else []
        s.check(len(seen) == 3 and seen[0] >= seen[1] >= seen[2] >= seen[0] - 1, 'all files are of one instant', first)
        s.check(bool(seen) and before <= seen[0] <= after + 1, 'which lies in the time of the set', (before, first, after))
        labhost.wait_until(lambda: counter.number > after + 3, labhost.PATIENCE_S)
        s.check([step.values.get('text') for step in replay(s, *reads)] == first and first[3] == 'stays',
                'and stays, while the counters go on', first)
        made_set = find(steps, 'StartSnapshotSet').values['set']
        steps = replay(s, *INIT, f'DeleteSnapshots {made_set}', f'read {d} a.txt', 'release')
        s.check(find(steps, 'DeleteSnapshots').good() and find(steps, 'read').hr != 0, 'deleted, it is there no more', bad(steps))
        s.check(not os.path.ismount(drive(s, f'shadow{d}')), 'and not mounted')
    s.check(counter.stop(), 'the counters had no failure', counter.error)
    nothing_left(s, 'after them')


def held(s):
    """While the drives are held nothing gets to the LUNs, and the copy has the very number at which the writer stood."""
    counter = Counter([os.path.join(drive(s, 'D'), 'a.txt'), os.path.join(drive(s, 'E'), 'c.txt')])
    counter.start()
    labhost.wait_until(lambda: counter.number > 3, labhost.PATIENCE_S)
    code, res = s.ask('create', '--lun', '1', '--lun', '2', '--hold-ms', '3000')
    s.check(code == 0 and res['writers'] == 1, 'a set that is held for three seconds', res['message'])
    s.check(counter.stop() and counter.longest > 2.5, 'the writer stands still so long', (counter.error, counter.longest))
    found = find(replay(s, *INIT, 'SetContext 0xffffffff', 'Query', 'release'), 'Query')
    d, e = [value.rpartition('Copy')[2] for key, value in found.all if key == 'device']
    seen = [step.values.get('text') for step in replay(s, f'read {d} a.txt', f'read {e} c.txt')]
    numbers = [int(text) for text in seen if text and text.isdigit()]
    s.check(len(numbers) == 2 and counter.stood_at <= numbers[1] <= numbers[0] <= counter.stood_at + 1,
            'the copy has what was written until then', (seen, counter.stood_at))
    s.ask('delete', res.get('set', '{}'))
    nothing_left(s, 'after it')


def own_requester(s):
    """umbra-vss copy, while the counters run: its copies are of one instant, and named by their drives."""
    counter = Counter([os.path.join(drive(s, 'D'), 'a.txt'), os.path.join(drive(s, 'E'), 'c.txt')])
    counter.start()
    labhost.wait_until(lambda: counter.number > 3, labhost.PATIENCE_S)
    done = s.run('umbra-vss.exe', 'copy', 'D:', 'E:', '--label', 'files', '--json')
    answer = labhost.json_in(done.stdout) or {'copies': []}
    d, e = [one['device'].rpartition('Copy')[2] for one in answer['copies'] if one['device']] or ('0', '0')
    s.check(done.returncode == 0 and [one['volume'] for one in answer['copies']] == ['D:\\', 'E:\\'], 'umbra-vss copy of both drives',
            done.stdout + done.stderr)
    seen = [step.values.get('text') for step in replay(s, f'read {d} a.txt', f'read {e} c.txt', f'read {e} still.txt')]
    numbers = [int(text) for text in seen[:2] if text and text.isdigit()]
    s.check(len(numbers) == 2 and numbers[1] <= numbers[0] <= numbers[1] + 1 and seen[2] == 'stays', 'of one instant', seen)
    s.check(counter.stop(), 'the counter had no failure', counter.error)
    again = s.run('umbra-vss.exe', 'copy', 'e:\\', 'D:', '--label', 'files', '--keep', 'yearly=1', '--json')
    told = labhost.json_in(again.stdout) or {}
    s.check((told.get('kept'), told.get('deleted')) == (1, 1), 'the next one, in whatever order, replaces it', again.stdout)
    s.check(s.run('umbra-vss.exe', 'delete', told.get('set', '{}')).returncode == 0, 'and is deleted')
    nothing_left(s, 'after it')


def dead_requester(s):
    """A program that dies while it has a file of the copy open: unmounted, deleted."""
    begun = s.path('begun')
    reader = start_replay(s, *READY, 'StartSnapshotSet', 'AddToSnapshotSet D:\\', 'PrepareForBackup', 'DoSnapshotSet',
                          f'touch {labhost.windows_path(begun)}', f"await {labhost.windows_path(s.path('never'))}")
    s.check(labhost.wait_until(lambda: os.path.exists(begun), labhost.PATIENCE_S), 'a copy is made')
    folders = [name for name in os.listdir(drive(s, '')) if name.startswith('shadow') and not name.endswith('.file') and
               os.path.ismount(drive(s, name))]
    s.check(len(folders) == 1, 'and mounted', folders)
    reading = open(os.path.join(drive(s, folders[0]), 'still.txt'), 'rb') if folders else None
    reader.kill()
    reader.wait(labhost.PATIENCE_S)
    nothing_left(s, 'when its requester is killed')
    s.check(not any(os.path.ismount(drive(s, name)) for name in folders), 'and nothing is mounted')
    if reading:
        reading.close()
    s.check(known(s) == [], 'or known')


def without_vss(s):
    """umbra-vss set create --volumes: the LUNs that the drives lie on, by what the volumes say; what is no volume of the array is named."""
    serials = {one['lun']: one['serial'] for one in s.ask('scan')[1]['luns']}
    for drives, luns in ((['E:'], [2]), (['D:\\', 'E:'], [1, 2]), (['G:', 'D:'], [1, 2])):
        done = s.run('umbra-vss.exe', 'set', 'create', '--volumes', *drives, '--json')
        answer = labhost.json_in(done.stdout) or {}
        s.check(done.returncode == 0 and [one['original'] for one in answer['luns']] == [serials[n] for n in luns],
                f'a set without VSS of {" ".join(drives)} has their LUNs', (done.returncode, done.stdout, done.stderr))
        s.check(len(s.shadows()) == len(luns), 'the array has their copies', s.shadows())
        done = s.run('umbra-vss.exe', 'set', 'delete', answer.get('set', ''))
        s.check(done.returncode == 0, 'deleted', done.stderr)
    for drive_name, why in (('C:', 'C:'), ('Q:', 'Q: is no volume that can be opened')):
        done = s.run('umbra-vss.exe', 'set', 'create', '--volumes', drive_name)
        s.check(done.returncode == 1 and why in done.stderr and s.sets() == [], f'{drive_name} is refused by name',
                (done.returncode, done.stderr))
    nothing_left(s, 'after sets of volumes')


def make_spanned(s):
    """G: lies on both LUNs. There is nothing to mount, but Windows knows the drive."""
    host, folder = s.state.host('A'), s.path('spanned')
    os.makedirs(folder)
    os.makedirs(host.path, exist_ok=True)
    labhost.copy_prefix(labhost.prepare_prefix(), host.prefix)
    os.symlink(folder, os.path.join(host.prefix, 'dosdevices', 'g:'))


def main():
    why = volumes.missing()
    if why:
        print(f'skipped: {why}')
        return SKIPPED
    with Stack(luns={'data': '64M', 'log': '64M'}, hold=True, config={'copysets': {'lease': '10s'}}, volumes={'A': 'D=1 E=2 G=1,2'},
               mounted=True) as s:
        make_ntfs(s, 1)
        make_ntfs(s, 2)
        make_spanned(s)
        s.state.host('A').up()
        s.install_provider('A')
        steps = replay(s, 'read D:\\still.txt', 'read E:\\still.txt')
        s.check([step.values.get('text') for step in steps] == ['stays', 'stays'], 'a Windows program reads the drives', bad(steps))
        one_instant(s)
        held(s)
        own_requester(s)
        dead_requester(s)
        without_vss(s)
        return s.done()


if __name__ == '__main__':
    sys.exit(main())
