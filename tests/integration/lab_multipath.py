#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One disk for a LUN of two controllers, as MPIO makes it, where a pass-through takes the path that I/O does not: shadow copies are made,
imported, broken off, resynced and deleted, and the owner is killed or frozen in between, and while the provider's first request of a
deletion, a break or a resync is under way. UMBRA_TEST_RUNS: each of them by both; without it, killed.

usage: lab_multipath.py"""
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab_steps  # noqa: E402
from ceph_controllers import wait_until  # noqa: E402
from ceph_takeover import Frozen, Killed  # noqa: E402
from lab_controllers import LUNS, TwoControllers, world_over  # noqa: E402


class OneDisk(TwoControllers):
    MULTIPATH = 2

    def up(self, name):
        self.state.configure(name, dict(self.state.settings(name), multipath=self.MULTIPATH))
        super().up(name)


def disks(world, count=len(LUNS)):
    """Each LUN is one disk with two paths, whichever controller owns the array. The other one learns of a mapping a moment later."""
    found = []

    def mappings(array):
        return sorted((m['lun_id'], m['number']) for m in array.ctl('mappings')['mappings'])

    def seen():
        if mappings(world.array) != mappings(world.other):
            return False
        world.rescan('A')
        found[:] = re.findall(r'PhysicalDrive(\d+)', world.run('A', 'umbra-vss.exe', 'status').stdout)
        return len(found) == count and len({row['luns'] for row in world.state.host('A').status()['adapters']}) == 1
    wait_until(f'{count} disks are there', seen)
    return [word for number in found for word in ('--lun', f'd{number}')]


def nothing_but_the_originals(world):
    for row in world.array.ctl('lun', 'list')['luns']:
        if row['name'] not in LUNS:
            world.array.ctl('unmap', row['name'], 'A')
            world.array.ctl('lun', 'delete', row['name'])
    for row in world.sets():
        world.array.ctl('set', 'delete', row['id'])
    assert world.nothing_left(10), (world.sets(), world.shadows())


def a_life(world, strike=lambda world: None):
    done = world.vss('A', 'create', *disks(world))
    strike(world)
    world.vss('A', 'delete', done['set'])
    assert world.nothing_left(10), (world.sets(), world.shadows())
    done = world.vss('A', 'create', *disks(world))
    strike(world)
    world.vss('A', 'break', done['set'], '--read-write')
    disks(world, 2 * len(LUNS))
    nothing_but_the_originals(world)
    print(f'a life, owner: controller {world.array.number}', flush=True)


def struck(how):
    """A disk that came while one controller stood by gets its second path with the next look at the bus."""
    def strike(world):
        disks(world, 2 * len(LUNS))
        how.strike(world.array)
        world.change_places(how.back)
    return strike


def within(world, how, verb, kind):
    """The owner goes before it has the request (delay), or when its answer is under way; the verb goes on at the other one."""
    path = os.path.join(world.directory, f'{verb}-{how.name}')
    done = world.vss('A', 'create', *disks(world), *(('--transportable', path) if verb == 'resync' else ()))
    words = {'delete': ['delete', done['set']], 'break': ['break', done['set'], '--read-write'],
             'resync': ['resync', path] + [word for one in done['snapshots'] for word in ('--snapshot', one['snapshot'])]}[verb]
    if verb != 'resync':
        disks(world, 2 * len(LUNS))
    bridge = world.bridge()
    before = bridge.counters()['faults']
    bridge.control('fault', kind, '--op', lab_steps.POST, '--ms', lab_steps.HOLD_MS, '--count', '0')
    child = world.start_vss('A', *words)
    wait_until('the owner is asked', lambda: bridge.counters()['faults'] > before)
    how.strike(world.array)
    lab_steps.let_go(bridge)
    world.change_places(how.back)
    code, said = world.finish_vss(child)
    print(f"{how.name} in {verb}, {kind}: {said['hresult_name']}", flush=True)
    assert code == 0, said
    assert len(world.shadows()) == (len(LUNS) if verb == 'resync' else 0), world.shadows()
    assert len(world.array.ctl('lun', 'list')['luns']) == len(LUNS) * (2 if verb == 'break' else 1)
    nothing_but_the_originals(world)


def everything(world):
    a_life(world)
    for how in (Killed, Frozen):
        a_life(world, struck(how))
        for verb in ('delete', 'break', 'resync'):
            within(world, how, verb, 'delay' if how is Killed else 'delay-reply')


def main():
    with world_over(OneDisk) as world:
        if os.environ.get('UMBRA_TEST_RUNS'):
            everything(world)
        else:
            a_life(world, struck(Killed))
            for verb in ('delete', 'break', 'resync'):
                within(world, Killed, verb, 'delay')


if __name__ == '__main__':
    main()
