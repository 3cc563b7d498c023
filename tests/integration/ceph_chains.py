#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""LUNs whose images have many parents. One far up may not be there: librbd asks each level ten times and so would never come to
an end; umbrad does not ask it, tells what is wrong at once, and mends what can be mended when it starts. And umbrad lets none have too many.

usage: ceph_chains.py CASE"""
import json
import os
import struct
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_ceph import PATIENCE_S, Cluster, end_in_order, skip_without_store  # noqa: E402
from umbra_initiator import Session, refused  # noqa: E402
from umbra_lab import Array  # noqa: E402

LEVELS = 8
PARENTS_MAX = 8  # of an image; more are for a while
NO_ANSWER_S = 120


def block(value):
    return struct.pack('>Q', value) * 64


def wait_until(what, holds):
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def info(cluster, image):
    return json.loads(cluster.rbd('info', '--format', 'json', f'{cluster.pool}/{image}').stdout)


def deepen(cluster, image, levels):
    """The image goes behind so many clones of clones, of which the last has its name. Their names, the oldest first."""
    chain = [f'{image}-old-{number}' for number in range(levels)]
    cluster.rbd('mv', image, chain[0])
    for older, newer in zip(chain, chain[1:] + [image]):
        cluster.rbd('snap', 'create', f'{older}@s')
        cluster.rbd('clone', '--rbd-default-clone-format', '2', f'{older}@s', newer)
    return chain


def broken():
    """One that is not there is told of, and holds nobody up; where nothing of it is needed, the LUN is there again."""
    with Cluster() as cluster, Array(ceph=cluster) as array:
        array.add_host('h1', 'iqn.2026-01.test:h1', secret='secret-of-h1-')
        for number, name in enumerate(('deep', 'other', 'copied'), 1):
            array.ctl('lun', 'create', name, '--size', '16M')
            array.ctl('map', name, 'h1', '--number', str(number))
        with Session(array, 'h1') as session:
            session.write(1, 0, block(1))
            session.write(3, 0, block(3))
        assert array.stop() == 0
        chains = [deepen(cluster, f"{array.ceph['array']}.lun-{number}", LEVELS) for number in (1, 3)]
        lost = [info(cluster, chain[0])['id'] for chain in chains]
        for number in lost:
            cluster.rados('rm', f'rbd_header.{number}')
        array.start()
        with Session(array, 'h1', timeout_s=NO_ANSWER_S) as session:
            assert refused(session.read, 1, 0, 1).sense == (3, 0x1100)
            session.write(2, 0, block(2))
            assert array.ctl('set', 'create', 'c', 'copied', check=False).returncode == 1
            (other,) = array.ctl('set', 'create', 'o', 'other')['members']
            assert other['shadow_id']
            array.ctl('lun', 'list')  # asks how much each holds
            assert 'or its parent is not' in array.log(), array.log()
        # Killed when the next oldest had all that its parent has: it needs nothing of what is lost.
        assert array.stop() == 0
        clones = [chain[1] for chain in chains]
        for clone in clones:
            number = cluster.rados('get', f'rbd_id.{clone}', '-').stdout[4:]
            cluster.rados('setomapval', f"umbra.{array.ceph['array']}", f'flat.{clone}', number)
        array.start()
        with Session(array, 'h1', timeout_s=NO_ANSWER_S) as session:
            assert session.read(1, 0, 1) == session.read(3, 0, 1) == bytes(512)
            session.write(1, 0, block(4))
            assert session.read(1, 0, 1) == block(4)
            assert session.mapped(1, 0) and not session.mapped(1, 10000)
        wait_until('the ties are cut', lambda: 'flat.' not in cluster.rados('listomapkeys', f"umbra.{array.ceph['array']}").stdout)
        assert not any('parent' in info(cluster, clone) for clone in clones)
        assert array.stop() == 0


def parents(cluster, image):
    """How many there are."""
    found, about = 0, info(cluster, image)
    while 'parent' in about:
        found += 1
        about = json.loads(cluster.rbd('info', '--format', 'json', '-p', cluster.pool, '--image-id', about['parent']['id']).stdout)
    return found


def image_of(array, lun):
    return array.ctl('lun', 'show', lun)['image'].split('/')[1]


def hydrates(array, lun):
    return array.ctl('lun', 'show', lun).get('hydration') in ('running', 'waiting')


def taken_back(array, number):
    """A copy of the LUN, which the LUN becomes."""
    (member,) = array.ctl('set', 'create', f's{number}', 'data')['members']
    array.ctl('shadow', 'resync', member['shadow_id'], 'data')
    return member['shadow_id']


def bounded():
    """A LUN that becomes one of its copies again and again, and one that is a copy's copy's copy, share nothing with the others when
    there are too many of them, also over a death; and what all of them hold is right."""
    with Cluster() as cluster, Array({'copysets': {'hydrate_rate': '1M'}}, ceph=cluster) as array:
        array.add_host('h1', 'iqn.2026-01.test:h1', secret='secret-of-h1-')
        array.ctl('lun', 'create', 'data', '--size', '16M')
        array.ctl('map', 'data', 'h1', '--number', '1')
        want, copies = {}, {}

        def holds(session, number, blocks):
            for lba, value in blocks.items():
                assert session.read(number, lba, 1) == block(value), (number, lba, value)

        with Session(array, 'h1') as session:
            for number in range(3):
                for lba in (0, 9000 + number, 18000, 27000 + number):
                    session.write(1, lba, block(100 * number + lba))
                    want[lba] = 100 * number + lba
                copies[taken_back(array, number)] = dict(want)
                holds(session, 1, want)
        assert hydrates(array, 'data') and parents(cluster, image_of(array, 'data')) > PARENTS_MAX
        array.kill9()
        del array.config['copysets']['hydrate_rate']
        array.write_config()
        array.start()
        wait_until('it shares nothing', lambda: not hydrates(array, 'data'))
        assert parents(cluster, image_of(array, 'data')) == 0
        with Session(array, 'h1') as session:
            for number in range(3, 9):
                session.write(1, 50 + number, block(number))
                want[50 + number] = number
                shadow = taken_back(array, number)
                wait_until('it has few parents', lambda: not hydrates(array, 'data'))
                holds(session, 1, want)
                array.ctl('shadow', 'delete', shadow)
            assert parents(cluster, image_of(array, 'data')) <= PARENTS_MAX
            for number, (shadow, blocks) in enumerate(copies.items(), 2):
                array.ctl('shadow', 'map', shadow, 'h1', '--number', str(number))
                holds(session, number, blocks)
            lun, number = 'data', 0
            while number < PARENTS_MAX + 2:
                (member,) = array.ctl('set', 'create', f'b{number}', lun)['members']
                lun, number = member['shadow_id'], number + 1
                array.ctl('shadow', 'break', lun)
                wait_until('it has few parents', lambda: not hydrates(array, lun))
            assert parents(cluster, image_of(array, lun)) <= PARENTS_MAX
            array.ctl('map', lun, 'h1', '--number', '9')
            holds(session, 9, want)
        assert 'is full' in array.text('events')
        assert array.stop() == 0


def unproved():
    """An object that a copy's object map has and the copy has not, as librbd leaves it where it was killed before it wrote: what the
    original has there is the copy's when it is full."""
    with Cluster() as cluster, Array({'copysets': {'hydrate_rate': '1M'}}, ceph=cluster) as array:
        array.add_host('h1', 'iqn.2026-01.test:h1', secret='secret-of-h1-')
        array.ctl('lun', 'create', 'data', '--size', '64M')
        array.ctl('map', 'data', 'h1', '--number', '1')
        with Session(array, 'h1') as session:
            for number in range(16):
                session.write(1, number * 8192, block(number + 1))
        (member,) = array.ctl('set', 'create', 'p', 'data', '--plex')['members']
        copy = member['shadow_id']
        wait_until('it has begun', lambda: array.ctl('lun', 'show', copy)['full_percent'] > 0)
        about = info(cluster, image_of(array, copy))
        array.kill9()
        cluster.rados('rm', f"{about['block_name_prefix']}.{1:016x}")
        del array.config['copysets']['hydrate_rate']
        array.write_config()
        array.start()
        wait_until('it is full', lambda: array.ctl('lun', 'show', copy)['full_percent'] == 100)
        array.ctl('shadow', 'map', copy, 'h1', '--number', '2')
        with Session(array, 'h1') as session:
            assert [session.read(2, number * 8192, 1) for number in range(16)] == [block(number + 1) for number in range(16)]


def main():
    skip_without_store()
    end_in_order()
    cases = {case.__name__: case for case in (broken, bounded, unproved)}
    cases[sys.argv[1]]()
    print('ok', sys.argv[1])


if __name__ == '__main__':
    main()
