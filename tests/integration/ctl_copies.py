#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What becomes of copies, by umbractl and with real data: break, resync, plex copies, locks, each over a restart or a kill -9."""
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_initiator import ScsiError, Session  # noqa: E402
from umbra_lab import Array  # noqa: E402

BLOCKS = 256  # 128 KiB of each disk are compared


def pattern(letter):
    return letter.encode() * (BLOCKS * 512)


def put(array, number, letter):
    with Session(array, 'h') as session:
        session.write(number, 0, pattern(letter))
        session.flush(number)


def holds(array, number, letter):
    with Session(array, 'h') as session:
        found = session.read(number, 0, BLOCKS)
    assert found == pattern(letter), f'LUN {number} holds {found[:1]!r}…, not {letter}'


def copy(array, name, lun, *options):
    """The name of the shadow LUN."""
    return array.ctl('set', 'create', name, lun, *options)['members'][0]['shadow']


def fails(array, name, *arguments):
    error = array.ctl(*arguments, want=1)['error']['data']
    assert error['name'] == name, error


def breaks(array):
    put(array, 1, 'a')
    shadow = copy(array, 'broken', 'data')
    identity = array.ctl('lun', 'show', shadow)
    assert identity['kind'] == 'shadow' and identity['copy_kind'] == 'differential', identity
    number = array.ctl('shadow', 'map', shadow, 'h')['number']
    put(array, 1, 'b')
    with Session(array, 'h') as session:
        serial = session.serial(number)
        array.ctl('shadow', 'break', shadow)
        assert session.serial(number) == serial and session.read(number, 0, BLOCKS) == pattern('a')
    after = array.ctl('lun', 'show', shadow)
    assert after['kind'] == 'ordinary' and after['id'] == identity['id'] and 'origin_id' not in after, after
    assert not array.ctl('shadow', 'list')['shadows'] and not array.ctl('set', 'list')['sets']
    array.ctl('shadow', 'break', shadow)  # again: done already
    fails(array, 'EINVAL', 'shadow', 'delete', shadow)
    array.restart()
    holds(array, number, 'a')
    holds(array, 1, 'b')
    array.ctl('unmap', shadow, 'h')
    array.ctl('lun', 'delete', shadow)


def resyncs(array):
    put(array, 1, 'c')
    shadow = copy(array, 'good', 'data')
    put(array, 1, 'd')
    later = copy(array, 'later', 'data')
    done = array.ctl('shadow', 'resync', shadow, 'data')
    assert done['state'] == 'done' and done['percent'] == 100 and done['target'] == 'data', done
    holds(array, 1, 'c')
    array.kill9()
    array.start()
    holds(array, 1, 'c')

    # the source and the other copies live on; the source serves again, for another LUN, which takes its size
    put(array, 1, 'e')
    array.ctl('lun', 'create', 'larger', '--size', '32M')
    array.ctl('map', 'larger', 'h', '--number', '7')
    put(array, 7, 'x')
    assert 'of larger: done' in array.text('shadow', 'resync', shadow, 'larger')
    holds(array, 7, 'c')
    holds(array, 1, 'e')
    assert array.ctl('lun', 'show', 'larger')['size_bytes'] == array.ctl('lun', 'show', 'data')['size_bytes']
    array.ctl('shadow', 'map', later, 'h', '--number', '9')
    holds(array, 9, 'd')
    jobs = array.ctl('resync', 'list')['jobs']
    assert [(job['target'], job['state']) for job in jobs] == [('larger', 'done')], jobs
    assert array.ctl('resync', 'cancel', str(jobs[0]['job']))['state'] == 'done'
    assert 'larger' in array.text('resync', 'list')

    array.ctl('lun', 'create', 'small', '--size', '2M')
    fails(array, 'EINVAL', 'shadow', 'resync', shadow, 'small')
    fails(array, 'EINVAL', 'shadow', 'resync', 'data', 'larger')
    fails(array, 'EINVAL', 'shadow', 'resync', shadow, later)
    fails(array, 'ENOENT', 'shadow', 'resync', shadow, 'nobody')
    fails(array, 'ENOENT', 'resync', 'cancel', '4711')
    array.ctl('resync', 'cancel', 'x', want=2)
    holds(array, 7, 'c')
    array.ctl('shadow', 'unmap', later)
    for name in ('good', 'later'):
        array.ctl('set', 'delete', name)
    holds(array, 1, 'e')
    holds(array, 7, 'c')


def wait_full(array, shadow):
    end = time.monotonic() + 600
    while True:
        lun = array.ctl('lun', 'show', shadow)
        if lun.get('hydration') == 'full':
            return lun
        assert lun['hydration'] == 'running' and 0 <= lun['full_percent'] <= 100, lun
        assert time.monotonic() < end, lun
        time.sleep(0.05)


def plexes(array):
    """A full copy needs its original no more, nor does it notice that it is killed half-way."""
    array.ctl('lun', 'create', 'origin', '--size', '16M')
    array.ctl('map', 'origin', 'h', '--number', '3')
    with Session(array, 'h') as session:
        for at in range(0, 16 * 2048, BLOCKS):
            session.write(3, at, pattern('p'))
        session.flush(3)
    plex, mixed = copy(array, 'plex', 'origin', '--plex'), copy(array, 'thin', 'origin', '--differential')
    put(array, 3, 'q')
    assert array.ctl('lun', 'show', plex)['copy_kind'] == 'plex'
    assert array.ctl('lun', 'show', mixed)['copy_kind'] == 'differential'
    array.kill9()
    array.start()
    array.ctl('set', 'delete', 'thin')
    array.ctl('unmap', 'origin', 'h')
    array.ctl('lun', 'delete', 'origin')
    full = wait_full(array, plex)
    assert full['full_percent'] == 100, full
    assert any(plex in line and '100 %' in line for line in array.text('shadow', 'list').splitlines())
    array.restart()
    array.ctl('shadow', 'map', plex, 'h', '--number', '5')
    with Session(array, 'h') as session:
        for at in range(0, 16 * 2048, BLOCKS):
            assert session.read(5, at, BLOCKS) == pattern('p'), at
    array.ctl('shadow', 'unmap', plex)
    array.ctl('set', 'delete', 'plex')
    array.ctl('set', 'create', 'both', 'data', '--plex', '--differential', want=2)


def recycle(array):
    array.config['copysets']['recycle_time'] = '1h'
    array.write_config()
    array.restart()
    put(array, 1, 'r')
    shadow = copy(array, 'kept', 'data')
    put(array, 1, 's')
    array.ctl('set', 'delete', 'kept')
    array.kill9()
    array.start()
    assert not array.ctl('shadow', 'list')['shadows']
    assert [lun['name'] for lun in array.ctl('shadow', 'recycled')['luns']] == [shadow]
    array.ctl('shadow', 'undelete', shadow)
    assert [one['name'] for one in array.ctl('set', 'list')['sets']] == ['kept']
    array.ctl('shadow', 'map', shadow, 'h', '--number', '12')
    holds(array, 12, 'r')
    array.ctl('shadow', 'unmap', shadow)
    array.ctl('shadow', 'delete', shadow)
    array.ctl('shadow', 'purge', shadow)
    fails(array, 'ENOENT', 'shadow', 'undelete', shadow)
    assert not array.ctl('shadow', 'recycled')['luns']


def refused_write(array, number):
    """The sense key and code that a write to the LUN is answered with."""
    with Session(array, 'h') as session:
        try:
            session.write(number, 0, bytes(512))
        except ScsiError as error:
            return error.sense
    return None


def locks(array):
    """Nobody gets rid of a locked copy, by any way that umbractl or an initiator has."""
    put(array, 1, 'l')
    shadow = copy(array, 'locked', 'data')
    put(array, 1, 'm')
    array.ctl('shadow', 'map', shadow, 'h', '--number', '14')
    for options in ((), ('--for', '3m'), ('--for', '0d'), ('--until', 'soon'), ('--until', '2027-02-30'),
                    ('--for', '1d', '--until', '2100-01-01')):
        array.ctl('set', 'lock', 'locked', *options, want=2)
    fails(array, 'EINVAL', 'set', 'lock', 'locked', '--until', '2020-01-31')
    fails(array, 'ENOENT', 'set', 'lock', 'nobody', '--for', '1d')
    array.ctl('set', 'lock', 'locked', '--for', '14d')
    locked = array.ctl('set', 'lock', 'locked', '--until', '2100-01-31T18:00:00Z')
    assert locked['locked_until_unix_ms'] == 4105101600000, locked
    fails(array, 'EPERM', 'set', 'lock', 'locked', '--for', '1h')
    assert 'locked ' in array.text('set', 'show', 'locked') and '2100-01-31' in array.text('set', 'list')
    for again in range(2):
        assert refused_write(array, 14) == (7, 0x2702)
        fails(array, 'EPERM', 'shadow', 'break', shadow)
        fails(array, 'EPERM', 'shadow', 'delete', shadow)
        fails(array, 'EPERM', 'set', 'delete', 'locked')
        array.ctl('set', 'abort', 'locked', want=1)
        fails(array, 'ENOENT', 'shadow', 'purge', shadow)
        fails(array, 'EINVAL', 'shadow', 'resync', shadow, shadow)
        fails(array, 'EINVAL', 'lun', 'delete', shadow)
        array.kill9()
        array.start()
    array.ctl('shadow', 'resync', shadow, 'data')
    array.ctl('shadow', 'unmap', shadow)
    fails(array, 'EPERM', 'shadow', 'delete', shadow)
    array.ctl('shadow', 'map', shadow, 'h', '--number', '14')
    holds(array, 14, 'l')
    holds(array, 1, 'l')
    array.ctl('shadow', 'unmap', shadow)
    array.ctl('unmap', 'data', 'h')
    array.ctl('lun', 'delete', 'data')
    assert array.ctl('set', 'show', 'locked')['members'][0]['shadow_state'] == 'present'


def main():
    with Array() as array:
        array.add_host('h', 'iqn.x:h', secret='secret-of-host')
        array.ctl('lun', 'create', 'data', '--size', '16M')
        array.ctl('map', 'data', 'h', '--number', '1')
        breaks(array)
        resyncs(array)
        recycle(array)
        plexes(array)
        locks(array)
        assert array.stop() == 0


if __name__ == '__main__':
    main()
