#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A real Linux kernel as the host: its own initiator, ext4 on LUNs, while the array does what an administrator may ask
of it. What is written and synced is there after kill -9 of umbrad, whose session the initiator recovers in place without
a rescan; a disk whose LUN is gone never meets another LUN; LUNs grow under a mounted file system; fstrim gives space
back; a LUN that has taken the data of a copy is the copy's file system."""
import os
import socket
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_guest import INITIATOR, PATIENCE, Guest, skipped  # noqa: E402
from umbra_lab import Array  # noqa: E402

MARK = 'what the host wrote'


def free_port():
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return listener.getsockname()[1]


def wait_for(what, condition, seconds=300 * PATIENCE):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.2)


def new_file_system(array, guest, lun, size):
    """A LUN with ext4 on it, mounted in the guest at /mnt/LUN; its disk."""
    array.ctl('lun', 'create', lun, '--size', size)
    array.ctl('map', lun, 'guest')
    guest.rescan()
    disk = guest.disk(array, lun)
    guest.run(f'mkfs.ext4 -q -J size=4 {disk} && mkdir /mnt/{lun} && mount {disk} /mnt/{lun}')
    return disk


def synced_data_outlives_kills(array, guest):
    """The guest writes numbered files, each synced before its name is printed, over three kills of umbrad."""
    new_file_system(array, guest, 'files', '64M')
    writer = guest.begin("sh -c 'n=0; while [ ! -e /tmp/stop ]; do n=$((n + 1)); "
                         "head -c 20000 /dev/urandom >/tmp/f && md5sum </tmp/f >/tmp/s && "
                         "cp /tmp/f /mnt/files/$((n % 40)) && sync -f /mnt/files && "
                         "echo $((n % 40)) $(cat /tmp/s); done; echo end'")
    sums = {}

    def take(line):
        number, digest, _ = line.split()
        sums[number] = digest

    def read(lines):
        for _ in range(lines):
            take(guest.line())

    for _ in range(3):
        read(10)
        array.kill9()
        array.start()
    read(10)
    guest.run('touch /tmp/stop')
    while (line := guest.line()) != 'end':  # that it has ended may be known before
        take(line)
    assert guest.ended(writer) == 0
    guest.run('umount /mnt/files && mount $(blkid -o device -t TYPE=ext4 | head -1) /mnt/files')
    found = dict(reversed(line.split()) for line in
                 guest.run("cd /mnt/files && md5sum [0-9]* ").splitlines())
    assert {number: found[number] for number in sums} == sums
    disk = guest.run('findmnt -n -o SOURCE /mnt/files').strip()
    guest.run(f'umount /mnt/files && e2fsck -fn {disk}')
    print(f'ok {len(sums)} synced files after three kills')


def a_stale_disk_meets_no_other_lun(array, guest):
    """LUN "old" is taken away, umbrad is started again, another LUN is mapped: the guest never rescanned."""
    disk = new_file_system(array, guest, 'old', '32M')
    number = array.ctl('lun', 'show', 'old')['mapped_to'][0]['number']
    guest.run('umount /mnt/old')
    array.ctl('unmap', 'old', 'guest')
    array.kill9()
    array.start()
    wait_for('the initiator logs in again', lambda: array.ctl('sessions')['sessions'])
    array.ctl('lun', 'create', 'new', '--size', '32M')
    array.ctl('map', 'new', 'guest', '--number', str(number), want=1)
    array.ctl('map', 'new', 'guest')
    code, said = guest.run(f'dd if=/dev/zero of={disk} bs=4096 count=1 oflag=direct 2>&1', check=False)
    assert code != 0, said
    guest.rescan()
    fresh = guest.disk(array, 'new')
    assert fresh != disk
    guest.run(f'cmp -n 33554432 {fresh} /dev/zero')
    guest.run(f'for d in {disk} {fresh}; do echo 1 >/sys/block/${{d#/dev/}}/device/delete; done')
    array.ctl('unmap', 'new', 'guest')
    print('ok a stale disk met no other LUN')


def a_mounted_file_system_grows_and_shrinks_to_what_it_holds(array, guest):
    disk = new_file_system(array, guest, 'grow', '32M')
    array.ctl('lun', 'resize', 'grow', '--size', '96M')
    guest.rescan()
    wait_for('the kernel sees the new size',
             lambda: guest.run(f'blockdev --getsize64 {disk}').strip() == str(96 << 20))
    guest.run(f'resize2fs -f {disk} && head -c 50000000 /dev/urandom >/mnt/grow/big && sync -f /mnt/grow')
    full = array.ctl('lun', 'show', 'grow')['used_bytes']
    assert full > 50000000
    guest.run('rm /mnt/grow/big && sync -f /mnt/grow && fstrim /mnt/grow')
    wait_for('what was trimmed comes back', lambda: array.ctl('lun', 'show', 'grow')['used_bytes'] < full // 4)
    guest.run('umount /mnt/grow')
    print('ok a mounted file system grew; fstrim gave its space back')


def a_resync_brings_back_the_copy(array, guest):
    disk = new_file_system(array, guest, 'data', '32M')
    guest.run(f"echo '{MARK}' >/mnt/data/mark && sync -f /mnt/data")
    shadow = array.ctl('set', 'create', 'nightly', 'data')['members'][0]['shadow']
    guest.run('rm /mnt/data/mark && umount /mnt/data')
    array.ctl('shadow', 'resync', shadow, 'data')
    wait_for('the resync ends', lambda: all(job['state'] != 'running' for job in array.ctl('resync', 'list')['jobs']))
    guest.run(f'blockdev --flushbufs {disk} && mount {disk} /mnt/data')
    assert guest.run('cat /mnt/data/mark').strip() == MARK
    guest.run('umount /mnt/data')
    print('ok a resync brought back the copy')


def main():
    if (code := skipped()) is not None:
        return code
    config = {'iscsi': {'portals': f'127.0.0.1:{free_port()}'}}  # the same after a restart
    with Array(config) as array, Guest() as guest:
        array.add_host('guest', INITIATOR)
        guest.login(array, settings=[('node.session.timeo.replacement_timeout', '6000')])
        synced_data_outlives_kills(array, guest)
        a_stale_disk_meets_no_other_lun(array, guest)
        a_mounted_file_system_grows_and_shrinks_to_what_it_holds(array, guest)
        a_resync_brings_back_the_copy(array, guest)
    return 0


if __name__ == '__main__':
    sys.exit(main())
