#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A copy set hangs, for the OSD that has the header of one image does not answer: it is vetoed by its deadline, and the set behind it,
whose OSDs are well, is committed and kept. So hangs that LUN's resize, and other changes are made meanwhile. What they have left under
way leaves nothing when the OSD goes on, nor where umbrad was killed meanwhile.

usage: ceph_hang.py"""
import json
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ceph_trouble import Later, armed, block, lun_id, made_at_last, snapshots, wait_until, with_luns  # noqa: E402
from umbra_ceph import LOOKED_FOR, Cluster, end_in_order, skip_without_store  # noqa: E402
from umbra_initiator import Channel, Session  # noqa: E402
from umbra_lab import Array  # noqa: E402

HUNG_MS = 1500
NEXT_MS = 5000
TRIES = 8  # one of the many objects that a copy is made of may be in the group that hangs
LUNS = 4
GROWN = '80M'
SNAPSHOTS = 12  # and more numbers than are taken while the group is aside: each snapshot takes one, and one when it goes


def groups_of(cluster, names):
    """{name: its placement group}"""
    done = subprocess.run(['ceph', '-f', 'json'], input=''.join(f'osd map {cluster.pool} {name}\n' for name in names),
                          stdout=subprocess.PIPE, text=True, env=cluster.environment(), check=True)
    found = [json.loads(line) for line in done.stdout.splitlines() if line]
    assert [one['objname'] for one in found] == names, (found, names)
    return {one['objname']: one['pgid'] for one in found}


def image_id(cluster, array, number):
    (name,) = [name for name in cluster.images() if name == f"{array.ceph['array']}.lun-{number}"]
    return json.loads(cluster.rbd('info', '--format', 'json', f'{cluster.pool}/{name}').stdout)['id']


def one_group_aside(cluster, array):
    """All is on osd.0, but for the placement group of the one LUN's header. (The LUN, another whose sets need nothing in that group), by
    number, and the group; None: there are none such."""
    ids = {number: image_id(cluster, array, number) for number in range(1, LUNS + 1)}
    named = cluster.rados('ls').stdout.split()
    (taken,) = [pool['snap_seq'] for pool in json.loads(cluster.ceph('osd', 'dump', '-f', 'json').stdout)['pools']]
    named += LOOKED_FOR
    for image in ids.values():
        assert f'rbd_object_map.{image}' in named, named
        named += [f'rbd_data.{image}.{0:016x}', *(f'rbd_object_map.{image}.{taken + number:016x}' for number in range(1, SNAPSHOTS + 1))]
    groups = groups_of(cluster, list(dict.fromkeys(named)))

    def needs(well):
        return {group for name, group in groups.items() if not any(image in name for image in ids.values() if image != ids[well])}
    pairs = [(sick, well) for well in ids for sick in ids if groups[f'rbd_header.{ids[sick]}'] not in needs(well)]
    if not pairs:
        return None
    group = groups[f'rbd_header.{ids[pairs[0][0]]}']
    cluster.ceph('osd', 'pg-upmap-items', group, '0', '1')

    wait_until('the group is on the other OSD', lambda: cluster.has_settled(group, 1), pause_s=0.2)
    return *pairs[0], group


def commit(channel, set_id, deadline_ms):
    return channel.ask('set-commit', set_id=set_id, deadline_ms=deadline_ms).status


def one_hangs(array, cluster, sick, well):
    """The LUN's writes are held for its set, and go on at its deadline; a set of another LUN, which came behind it, is committed and kept,
    and so are those that follow."""
    with Session(array, 'h1') as session, Session(array, 'h1') as other:
        first, second = Channel(session, lun=well), Channel(other, lun=well)
        sick, well = lun_id(array, sick), lun_id(array, well)
        for lun in (sick, well):
            made_at_last(second, lun)  # their images are open
        hung, behind = armed(first, sick), armed(second, well)
        cluster.freeze('osd.1')
        vetoed = Later(commit, first, hung, HUNG_MS)
        wait_until('it is being committed', lambda: array.ctl('set', 'show', hung.hex())['state'] == 'committing')
        tries = [commit(second, behind, NEXT_MS)]
        assert vetoed.end() is None and vetoed.result == 'deadline passed', (vetoed.failure, vetoed.result)
        while tries[-1] != 'ok':
            assert tries[-1] == 'deadline passed' and len(tries) < TRIES, tries
            behind = armed(second, well)
            tries.append(commit(second, behind, NEXT_MS))
        second.ask('set-keep', 'ok', set_id=behind)
        print(f'behind one that hangs: {tries}', flush=True)


def grow(array, number):
    return array.ctl('lun', 'resize', f'a{number - 1}', '--size', GROWN, check=False)


def changes_pass(array, sick, well):
    """The resize that hangs, behind which the other LUN is renamed, and back."""
    resize = Later(grow, array, sick)
    time.sleep(0.5)  # should it come behind them all the same, nothing is shown, and nothing fails
    for names in (f'a{well - 1}', 'renamed'), ('renamed', f'a{well - 1}'):
        array.ctl('lun', 'rename', *names)
    assert resize.is_alive(), (resize.failure, resize.result)
    return resize


def nothing_is_left(array, cluster, images, sick, well):
    """Of what hung, once all goes on and its LUN was used again."""
    with Session(array, 'h1') as session:
        channel = Channel(session, lun=well)
        for number in (sick, well):
            session.write(number, 8, block(number + 7))
            made_at_last(channel, lun_id(array, number))
            assert session.read(number, 0, 1) == block(number) and session.read(number, 8, 1) == block(number + 7)
        for shadow in array.ctl('shadow', 'list')['shadows']:
            channel.ask('delete', 'ok', lun_id=bytes.fromhex(shadow['id']))

    def gone():
        trash = cluster.rbd('trash', 'ls', '--all', cluster.pool).stdout
        return cluster.images() == images and not snapshots(cluster) and not trash
    wait_until('nothing is left', gone, pause_s=0.5)


def in_one_array(cluster, killed):
    """One of its own, for the numbers of its snapshots are known in advance. False: it has no two such LUNs."""
    with Array(ceph=cluster) as array:
        with_luns(array, LUNS)
        found = one_group_aside(cluster, array)
        if not found:
            return False
        *luns, group = found
        images = cluster.images()
        with Session(array, 'h1') as session:
            for number in luns:
                session.write(number, 0, block(number))
        try:
            one_hangs(array, cluster, *luns)
            resize = changes_pass(array, *luns)
            if killed:
                array.kill9()
                array.start()
        finally:
            cluster.thaw('osd.1')
            Later.all_over()
        grown = resize.result.returncode == 0
        assert not (grown and killed), resize.result
        sick = next(lun for lun in array.ctl('lun', 'list')['luns'] if lun['name'] == f'a{luns[0] - 1}')
        assert sick['size_bytes'] == (80 if grown else 4) << 20, (sick, resize.result)
        nothing_is_left(array, cluster, images, *luns)
        cluster.ceph('osd', 'rm-pg-upmap-items', group)
        wait_until('the group is on the OSD of all others', lambda: cluster.has_settled(group, 0), pause_s=0.2)
        print('ok, umbrad was killed' if killed else 'ok', flush=True)
        return True


def main():
    skip_without_store()
    end_in_order()
    with Cluster(osds=2) as cluster:
        cluster.ceph('osd', 'set-require-min-compat-client', 'luminous')
        cluster.ceph('osd', 'crush', 'reweight', 'osd.0', '1')
        cluster.ceph('osd', 'crush', 'reweight', 'osd.1', '0.03')
        for killed in (False, True):
            while not in_one_array(cluster, killed):
                pass


if __name__ == '__main__':
    main()
