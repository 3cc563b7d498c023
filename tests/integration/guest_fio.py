#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""fio's own verification over a power cut. fio writes in a real Linux kernel, each write with FUA, and saves what was
acknowledged; its trigger then cuts the power: umbrad is killed at that instant, and the guest. fio reads back in a new
guest what it had saved as acknowledged.

UMBRA_KILL_ROUNDS (default 2) lengthens it."""
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_guest import INITIATOR, Guest, skipped  # noqa: E402
from umbra_lab import Array  # noqa: E402

JOB = ('--name=fua --rw=randwrite --bsrange=512-32k --size=6M --offset_increment=6M --numjobs=4 --direct=1 --sync=dsync --ioengine=psync '
       '--verify=crc32c --verify_fatal=1 --randrepeat=0')


def fio(disk, seed, more):
    return f'cd /mnt/host && fio {JOB} --randseed={seed} --filename={disk} {more}'


def disk_of(array, guest, lun):
    guest.login(array)
    return guest.disk(array, lun)


def cut(array, folder, lun, seed):
    """Until fio's trigger, whose only work is a file that is seen here."""
    trigger = os.path.join(folder, 'cut')
    with Guest(shared=folder) as guest:
        disk = disk_of(array, guest, lun)
        guest.begin('sh -c "' + fio(disk, seed, "--do_verify=0 --trigger-timeout=3 --trigger='touch /mnt/host/cut; sleep 1000'")
                    + '"')
        while not os.path.exists(trigger):
            assert guest.printed.empty() or 'error' not in guest.line(), guest.console()
            time.sleep(0.01)
        array.kill9()
        guest.kill()
    states = [name for name in os.listdir(folder) if name.endswith('.state')]
    assert states, os.listdir(folder)
    return states


def main():
    if (code := skipped('fio')) is not None:
        return code
    with Array() as array:
        array.add_host('guest', INITIATOR)
        for number in range(int(os.environ.get('UMBRA_KILL_ROUNDS', '2'))):
            lun, folder = f'lun-{number}', os.path.join(array.dir, f'round-{number}')
            os.mkdir(folder)
            array.ctl('lun', 'create', lun, '--size', '32M')
            array.ctl('map', lun, 'guest')
            states = cut(array, folder, lun, 77 + number)
            array.start()
            with Guest(shared=folder) as guest:
                disk = disk_of(array, guest, lun)
                code, said = guest.run(fio(disk, 77 + number, '--verify_only --verify_state_load=1'), check=False)
                assert code == 0, said
            print(f'ok round {number}: {states}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
