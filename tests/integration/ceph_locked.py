#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What lasts over a change of the owner, whichever way that comes: a locked copy stays locked, also where the clock of the new owner's
machine is a month ahead; and images whose deletion was under way in Ceph go, and no others. And what lasts where the clock of one of
the two jumps: the lease, the bin, what policies keep, the lock; and writes, which do not even wait."""
import json
import os
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ceph_controllers import (BLOCK, HOSTS, Controller, Session, block_of, end_well, read10, removed_at_the_end, run_step, stands_by,  # noqa: E402
                              start, wait_until, write10)
from ceph_roles import Writer, has_moved, move_of, moving, order, refused, takeovers  # noqa: E402
from umbra_ceph import PATIENCE_S, Cluster, end_in_order, skip_without_store  # noqa: E402
from umbra_initiator import Channel, Session as HostSession  # noqa: E402
from umbra_lab import Management, run_ctl  # noqa: E402

DAY_MS = 24 * 3600 * 1000
OLD, NEW, OTHER = block_of(1), block_of(2), block_of(3)  # what the copy holds, what the LUN holds since, what an attack writes
LARGE = '16T'                                            # its deletion takes seconds, though nothing is in it
OBJECTS, OBJECT_BLOCKS = 600, (4 << 20) // BLOCK         # of an image whose deletion takes a moment


def unix_ms(controller):
    """By umbrad's clock."""
    with Management(controller.socket, PATIENCE_S) as management:
        return management.ask('stats')['unix_ms']


# ---- the locked copy


def lock_of(controller):
    shown = controller.ctl('set', 'show', 'locked')
    return {name: shown[name] for name in ('state', 'locked_until_unix_ms')}, shown['lock_left_ms']


def it_holds(owner, shadow, lock):
    """Nobody who asks the owner frees or changes it; it is there, and holds what it held."""
    now, left_ms = lock_of(owner)
    assert now == lock and 13 * DAY_MS < left_ms <= 14 * DAY_MS, (now, left_ms, lock)
    for command in (('set', 'delete', 'locked'), ('shadow', 'delete', shadow), ('shadow', 'break', shadow)):
        assert 'locked' in refused(owner, *command), command
    earlier = time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime((lock['locked_until_unix_ms'] - DAY_MS) / 1000))
    refused(owner, 'set', 'lock', 'locked', '--until', earlier)
    host = HostSession(owner, iqn=HOSTS['a'])
    reply = Channel(host).ask('delete', lun_id=bytes.fromhex(shadow))
    assert reply.status != 'ok', reply.fields
    host.close()
    session = Session(owner, 'a', 3)
    assert session.do(9, write10(0, 1), out=OTHER)[0] != 0
    assert session.read(9, 0) == OLD and session.read(1, 0) == NEW
    session.close()
    assert [one['id'] for one in owner.ctl('shadow', 'list')['shadows']] == [shadow]
    assert lock_of(owner)[0] == lock


def served_by(other):
    session = Session(other, 'a', 2)
    wait_until('the other one serves', lambda: session.do(1, read10(0, 1), length=BLOCK)[0] == 0)
    session.close()


def killed(owner, other):
    owner.kill9()
    served_by(other)
    owner.start()


def frozen(owner, other):
    owner.process.send_signal(signal.SIGSTOP)
    served_by(other)
    owner.process.send_signal(signal.SIGCONT)
    wait_until('it stands by', lambda: owner.role() == 'standby')


def moved(owner, other):
    owner.ctl('controller', 'move', '--force')
    has_moved(owner, other)


def moved_here(owner, other):
    other.ctl('controller', 'move')
    has_moved(owner, other)


def a_locked_copy_stays_locked(one, two, cluster):
    """The next owner's clock is a month ahead when it takes the array, and is set back once; the machine of the one before has the right time."""
    owner, other = order(one, two)
    session = Session(owner, 'a')
    session.write(1, 0, OLD)
    session.close()
    owner.ctl('set', 'create', 'locked', 'data')
    (shadow,) = [shadow['id'] for shadow in owner.ctl('shadow', 'list')['shadows']]
    owner.ctl('shadow', 'map', shadow, 'a', '--number', '9')
    owner.ctl('set', 'lock', 'locked', '--for', '14d')
    session = Session(owner, 'a')
    session.write(1, 0, NEW)
    session.close()
    lock = lock_of(owner)[0]
    images = cluster.images()
    it_holds(owner, shadow, lock)
    for change in (killed, moved, frozen, moved_here):
        owner, other = order(one, two)
        before = unix_ms(owner)
        other.set_clock(30)
        assert unix_ms(other) > before + 29 * DAY_MS, 'the clock was not set forward'
        change(owner, other)
        it_holds(other, shadow, lock)
        other.kill9() if change is moved else None  # and it begins with that clock
        if change is moved:
            served_by(owner)
            it_holds(owner, shadow, lock)
            other.start()
            moved_here(*order(one, two))
            it_holds(other, shadow, lock)
        other.set_clock(0)
        it_holds(other, shadow, lock)
        print(f'{change.__name__}: it is locked', flush=True)
    assert set(cluster.images()) == set(images)


# ---- deletions


def fill(session, number):
    for at in range(OBJECTS):
        session.write(number, at * OBJECT_BLOCKS, NEW)


def what_is_being_deleted_goes(one, two, cluster):
    """The array is moved, then its owner killed, while images are being deleted."""
    kept = set(cluster.images())
    for change in (moving, None):
        owner, other = order(one, two)
        session, told = Session(owner, 'a'), set()
        for number in (11, 12, 13):
            owner.ctl('lun', 'create', f'gone{number}', '--size', '4G')
            owner.ctl('map', f'gone{number}', 'a', '--number', str(number))
            fill(session, number)
            owner.ctl('unmap', f'gone{number}', 'a')
        session.close()
        assert len(set(cluster.images()) - kept) == 3
        for number in (11, 12, 13):
            owner.ctl('lun', 'delete', f'gone{number}')
        if change:
            move = moving(owner)
            while move.poll() is None:
                told.add(move_of(owner)['text'])
                time.sleep(0.02)
            out, error = move.communicate(timeout=PATIENCE_S)
            assert move.returncode == 0, (out, error)
            print(f'the move waited for: {sorted(told - {""})}; of {len(set(cluster.images()) - kept)} images nobody had begun')
        else:
            owner.kill9()
        served_by(other)
        wait_until('what was deleted is gone', lambda: set(cluster.images()) == kept)
        assert not cluster.rbd('trash', 'ls', cluster.pool).stdout.split()
        session = Session(other, 'a')
        assert session.read(1, 0) == NEW and session.read(9, 0) == OLD
        session.close()
        if not change:
            owner.start()
        stands_by(Session(owner, 'a', 4))


def a_large_one_is_left_half_deleted(one, two, cluster):
    """No move waits for the whole deletion of a large LUN: whoever has the array next goes on with it, also after a kill."""
    kept, owner = set(cluster.images()), order(one, two)[0]
    owner.ctl('lun', 'create', 'large', '--size', LARGE)
    owner.ctl('map', 'large', 'a', '--number', '20')
    session = Session(owner, 'a')
    session.write(20, 0, NEW)
    session.close()
    owner.ctl('unmap', 'large', 'a')
    (image,) = set(cluster.images()) - kept

    def size():
        return json.loads(cluster.rbd('info', '--format', 'json', f'{cluster.pool}/{image}').stdout)['size']
    begun = size()
    owner.ctl('lun', 'delete', 'large')
    wait_until('it becomes smaller', lambda: size() < begun)
    owner.ctl('controller', 'move')
    half = size()
    wait_until('the next owner goes on', lambda: set(cluster.images()) == kept or size() < half)
    print(f'{begun >> 30} GiB: {half >> 30} at the move', flush=True)
    owner, other = order(one, two)
    owner.kill9()
    served_by(other)
    wait_until('it is gone', lambda: set(cluster.images()) == kept)
    owner.start()
    assert not cluster.rbd('trash', 'ls', cluster.pool).stdout.split()


# ---- clocks that jump


def beat(cluster):
    """How often the owner has renewed its lease."""
    found = cluster.rados('getomapval', 'umbra.default', 'head.beat', os.path.join(cluster.dir, 'beat'))
    assert found.returncode == 0
    with open(os.path.join(cluster.dir, 'beat')) as file:
        return int(file.read())


def bin_of(controller):
    return [lun['id'] for lun in controller.ctl('shadow', 'recycled')['luns']]


def verdicts(controller):
    return {one['name']: one['verdict'] for one in controller.ctl('policy', 'preview', 'hourly')['sets']}


def clocks_that_jump(one, two, cluster):
    """By a month, forth and back, of either; then the owner is killed, and its successor's clock is a month behind."""
    owner, other = order(one, two)
    owner.ctl('set', 'create', 'deleted', 'data')
    owner.ctl('set', 'delete', 'deleted')
    (binned,) = bin_of(owner)
    owner.ctl('policy', 'create', 'hourly', '--luns', 'data', '--every', '1h', '--keep', 'hourly=1')
    wait_until('the policy takes a copy', lambda: verdicts(owner))
    writer, before = Writer((Session(owner, 'a', 5),), 4096), takeovers(one, two)
    writer.start()

    def all_holds(controller, name):
        assert 'locked' in refused(controller, 'set', 'delete', 'locked')
        assert lock_of(controller)[1] > 13 * DAY_MS
        assert binned in bin_of(controller)
        controller.ctl('set', 'create', name, 'data', '--label', 'hourly')
        kept = verdicts(controller)
        assert kept[name] == 'keeps', kept
    for days, others_days in ((30, -30), (-30, 30), (0, -30)):
        beats, written, right = beat(cluster), writer.acknowledged, unix_ms(owner)
        owner.set_clock(days)
        other.set_clock(others_days)
        assert abs(unix_ms(owner) - right) > 29 * DAY_MS, 'the clock did not jump'
        wait_until('it renews its lease', lambda beats=beats: beat(cluster) >= beats + 3)
        wait_until('writes go on', lambda written=written: writer.acknowledged > written + 3)
        all_holds(owner, f'at-{days}')
        assert (owner.role(), other.role()) == ('owner', 'standby') and takeovers(one, two) == before
        print(f'{days} days, {others_days} days: nothing is different', flush=True)
    writer.end()
    owner.kill9()
    served_by(other)
    all_holds(other, 'behind')
    session = Session(other, 'a', 6)
    assert session.read(1, 4096) == block_of(writer.acknowledged)
    session.close()
    owner.set_clock(30)
    owner.start()
    other.ctl('shadow', 'undelete', binned)
    stands_by(Session(owner, 'a', 4))


def main():
    skip_without_store()
    end_in_order()
    with Cluster(cephx=True) as cluster:
        run_ctl('rbd', 'create', cluster.pool, '--conf', cluster.conf)
        one, two = start(cluster, {'copysets': {'number_rest': '1ms', 'recycle_time': '1h'}}, Controller.with_a_clock)
        with removed_at_the_end(one, two):
            for name, iqn in HOSTS.items():
                one.ctl('host', 'add', name, '--iqn', iqn, '--control-without-chap')
            one.ctl('lun', 'create', 'data', '--size', '64M')
            one.ctl('map', 'data', 'a', '--number', '1')
            wait_until('the hosts are known there', lambda: len(two.ctl('host', 'list')['hosts']) == 2)
            for step in (a_locked_copy_stays_locked, what_is_being_deleted_goes, a_large_one_is_left_half_deleted, clocks_that_jump):
                run_step(step, one, two, cluster)
            end_well(one, two)


if __name__ == '__main__':
    main()
