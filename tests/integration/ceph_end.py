#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What waits for an OSD that does not answer, and what does not. A move to the other controller waits, and hosts are served. Deletions that
need nothing of it go on. The end of umbrad (SIGTERM) comes, without the array being given back, and says so; the other controller, or the
next start, locks the old one out and has what was acknowledged. When the OSD goes on, so do what waits for it at the other one, and the
deletions.

usage: ceph_end.py"""
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from raw_initiator import R2T, RESPONSE  # noqa: E402
from ceph_controllers import (BLOCK, HOSTS, Session, all_live, block_of, removed_at_the_end, run_step, start, time_to_serve,  # noqa: E402
                              wait_until, write10)
from ceph_roles import move_of, moving  # noqa: E402
from umbra_ceph import LOOKED_FOR, PATIENCE_S, Cluster, end_in_order, skip_without_store  # noqa: E402
from umbra_lab import Array, run_ctl  # noqa: E402

OBJECT_BLOCKS = (4 << 20) // BLOCK
OBJECTS = 128  # of a LUN, among which there is one of the group that hangs
GROUPS = 32  # of the pool
SICK, WELL = 'osd.1', 16  # the OSD, and a block whose object is on the other one


def together(cluster, commands):
    """What ceph prints for all of them, one after the other."""
    return subprocess.run(['ceph'], input='\n'.join(commands) + '\n', capture_output=True, text=True, env=cluster.environment(),
                          timeout=PATIENCE_S, check=True).stdout


def groups_of(cluster, names):
    """{name: (placement group, OSD)}; -1: nobody has it, while it goes from one to another."""
    out = together(cluster, [f'osd map {cluster.pool} {name}' for name in names])
    found = {name: (group, int(osd or -1)) for name, group, osd in
             re.findall(r"object '(\S+)' -> pg \S+ \((\S+)\) .* acting \(\[(\d*)\]", out)}
    assert set(found) == set(names), out
    return found


def hashed(name):
    """Of an object's name, as Ceph places it: Bob Jenkins' hash of 1996."""
    mask, data = 0xFFFFFFFF, name.encode()
    a, b, c = 0x9E3779B9, 0x9E3779B9, 0

    def mix(a, b, c):
        for x, y, z in ((13, 8, 13), (12, 16, 5), (3, 10, 15)):
            a = (a - b - c & mask) ^ c >> x
            b = (b - c - a & mask) ^ a << y & mask
            c = (c - a - b & mask) ^ b >> z
        return a, b, c
    while len(data) >= 12:
        x, y, z = struct.unpack('<III', data[:12])
        a, b, c = mix(a + x & mask, b + y & mask, c + z & mask)
        data = data[12:]
    x, y, z = struct.unpack('<III', (data[:8].ljust(8, b'\0') + b'\0' + data[8:]).ljust(12, b'\0'))
    return mix(a + x & mask, b + y & mask, c + z + len(name) & mask)[2]


def one_group_aside(cluster, images):
    """All is on one OSD, but for a placement group with nothing but hosts' data: {image: the first block of an object of its there}. The
    first object of each image is not in it."""
    prefixes = {image: json.loads(cluster.rbd('info', '--format', 'json', f'{cluster.pool}/{image}').stdout)['block_name_prefix']
                for image in cluster.images()}
    names = [name for name in cluster.rados('ls').stdout.split() if not name.startswith('rbd_data')]
    names += LOOKED_FOR + ['umbra-owner.default', 'umbra-room.default']
    names += [f'{prefix}.{0:016x}' for prefix in prefixes.values()]
    needed = groups_of(cluster, names)
    pool = needed['rbd_trash'][0].partition('.')[0]
    data = {image: [f'{pool}.{hashed(f"{prefixes[image]}.{number:016x}") % GROUPS:x}' for number in range(OBJECTS)] for image in images}
    needed_groups = {group for group, _ in needed.values()}
    group = next(one for one in data[images[0]] if one not in needed_groups and all(one in groups for groups in data.values()))
    together(cluster, [f'osd pg-upmap-items {group} 0 1'] + [f'osd pg-upmap-items {one} 1 0' for one, osd in needed.values() if osd == 1])
    wait_until('the group is on the other OSD', lambda: cluster.has_settled(group, 1))
    for one in sorted(needed_groups):  # what has moved is whole there: nothing of it is to come from the other one
        wait_until(f'the group {one} is on the one', lambda one=one: cluster.has_settled(one, 0))
    return {image: groups.index(group) * OBJECT_BLOCKS for image, groups in data.items()}


def begun(session, lba, number):
    """A write that hangs: Ceph has it."""
    raw = session.raw
    while True:
        raw.command(1, write10(lba, 1), out=block_of(number))
        pdu = raw.expect(R2T, RESPONSE)
        if pdu.opcode == R2T:
            break
        assert pdu.sense()[0] == 6, pdu.sense()  # the other controller has come or gone
    raw.data_out(pdu, block_of(number))
    raw.echo()


class Ending:
    """What SIGTERM comes to."""

    def __init__(self, array):
        self.array, self.code, self.since = array, None, time.monotonic()
        self.process, array.process = array.process, None
        self.process.send_signal(signal.SIGTERM)

    def over(self, waited_for):
        code, seconds = self.process.wait(PATIENCE_S), time.monotonic() - self.since
        assert code == 1, (code, self.array.log())
        last = self.array.log().splitlines()[-1]
        assert 'ends without giving the array back' in last and f'it waits still for {waited_for}.' in last, last
        print(f'{seconds:.1f} s: {last}', flush=True)


def blocklisted(cluster):
    return len(json.loads(cluster.ceph('osd', 'dump', '-f', 'json').stdout).get('blocklist', {}))


def a_move_waits_for_what_hangs(one, two, cluster, sick):
    """…and hosts are served meanwhile; then it goes on."""
    mine = Session(one, 'a'), Session(one, 'a', 2)
    for session in mine:
        session.read(1, sick)
    cluster.freeze(SICK)
    try:
        begun(mine[0], sick, 9)
        move = moving(one)
        wait_until('the move waits', lambda: 'I/O of hosts hangs' in move_of(one)['text'] or one.role() != 'owner')
        mine[1].write(1, WELL, block_of(9))
        assert one.role() == 'owner' and move_of(one)['state'] == 'waits', move_of(one)
    finally:
        cluster.thaw(SICK)
    out, error = move.communicate(timeout=PATIENCE_S)
    assert move.returncode == 0, (out, error)
    assert mine[0].raw.expect(RESPONSE).status == 0
    theirs = Session(two, 'a')
    assert theirs.read(1, sick) == theirs.read(1, WELL) == block_of(9)
    for session in (*mine, theirs):
        session.close()


def deletions_that_hang(alone, cluster, name):
    """As many as are made at a time: the next one, which needs nothing of that OSD, is made all the same."""
    for lun in ('a', 'b', 'well'):
        alone.ctl('unmap', lun, 'a')
        alone.ctl('lun', 'delete', lun)
    wait_until('the third one goes', lambda: f'{name}.lun-3' not in cluster.images())
    assert {f'{name}.lun-1', f'{name}.lun-2'} < set(cluster.images())


def the_end_comes(one, two, alone, cluster, at):
    """Of an owner with a host's write under way and a move that waits for it, and of an umbrad of its own with deletions."""
    name, sick = alone.ceph['array'], at['default.lun-1']
    mine, theirs, its = Session(one, 'a'), Session(two, 'a'), Session(alone, 'a')
    for lba, number in ((sick, 1), (WELL, 3)):
        mine.write(1, lba, block_of(number))
    for number in (1, 2):
        its.write(number, at[f'{name}.lun-{number}'], block_of(4))
    its.write(4, 0, block_of(5))
    its.close()
    wait_until('a move is begun', lambda: all_live(one))
    cluster.freeze(SICK)
    try:
        begun(mine, sick, 6)
        move = moving(one)
        deletions_that_hang(alone, cluster, name)
        both = Ending(one), Ending(alone)
        both[0].over('iSCSI sessions')
        both[1].over('the store')
        assert move.wait(PATIENCE_S) != 0
        print(f'{time_to_serve(theirs, time.monotonic()):.1f} s from its end to the first I/O at the other one', flush=True)
        assert blocklisted(cluster) and two.role() == 'owner'
        assert theirs.read(1, WELL) == block_of(3)
        theirs.write(1, WELL, block_of(7))
        alone.start()
        its = Session(alone, 'a')
        assert its.read(4, 0) == block_of(5)
        its.close()
        begun(theirs, sick, 8)
    finally:
        cluster.thaw(SICK)
    assert theirs.raw.expect(RESPONSE).status == 0
    assert theirs.read(1, sick) == block_of(8)
    wait_until('what was deleted goes', lambda: not {f'{name}.lun-1', f'{name}.lun-2'} & set(cluster.images()))
    theirs.close()


def main():
    skip_without_store()
    end_in_order()
    with Cluster(osds=2) as cluster:
        cluster.ceph('osd', 'set-require-min-compat-client', 'luminous')
        cluster.ceph('osd', 'crush', 'reweight', 'osd.0', '1')
        cluster.ceph('osd', 'crush', 'reweight', 'osd.1', '0.01')
        run_ctl('rbd', 'create', cluster.pool, '--conf', cluster.conf)
        one, two = start(cluster)
        with removed_at_the_end(one, two), Array(ceph=cluster, name='alone') as alone:
            for array, luns in ((one, ('data',)), (alone, ('a', 'b', 'well', 'stays'))):
                array.ctl('host', 'add', 'a', '--iqn', HOSTS['a'])
                for number, lun in enumerate(luns):
                    array.ctl('lun', 'create', lun, '--size', f'{OBJECTS * 4}M')
                    array.ctl('map', lun, 'a', '--number', str(number + 1))
            at = one_group_aside(cluster, ['default.lun-1'] + [f"{alone.ceph['array']}.lun-{number}" for number in (1, 2)])
            run_step(a_move_waits_for_what_hangs, one, two, cluster, at['default.lun-1'])
            run_step(the_end_comes, two, one, alone, cluster, at)


if __name__ == '__main__':
    main()
