#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A Windows host with a path to each of an array's two controllers, over a real Ceph cluster: it makes shadow copies while one path is in
standby, and goes on over the other one after a planned move, and where the owner is killed in the middle of a set, without a veto. Where
the owner is killed, frozen, cut off from Ceph or moved while it is asked to commit, the set is whole and kept, or VSS is told that there is
none, and nothing of it is left. One that was killed when it had carried the commit out costs no set."""
import contextlib
import os
import re
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab_steps  # noqa: E402
from ceph_controllers import all_live, names, removed_at_the_end, start, wait_until  # noqa: E402
from ceph_takeover import Cut, Frozen, Killed, with_a_network_to_cut  # noqa: E402
from lab_world import World, labhost  # noqa: E402
from umbra_ceph import Cluster, end_in_order, skip_without_store  # noqa: E402
from umbra_lab import run_ctl  # noqa: E402

LUNS = ('l1', 'l2')
CONFIG = {'copysets': {'lease': '15s', 'number_rest': '1ms'}}


class Moved:
    """By an administrator who does not wait for sets that are not committed."""
    name = 'moved'

    @staticmethod
    def strike(owner):
        owner.text('controller', 'move', '--force')

    @staticmethod
    def back(owner):
        wait_until('it stands by', lambda: owner.role() == 'standby')


class TwoControllers(World):
    """Host A, with an adapter for each controller; self.array is the owner."""

    def __init__(self, one, two):  # pylint: disable=super-init-not-called
        self.array, self.other, self.hold, self.resets_expected = one, two, None, False
        self.hosts = ('A',)
        self.directory = tempfile.mkdtemp(prefix='umbra-lab-')
        self.state = labhost.State(os.path.join(self.directory, 'lab'))
        self._start_hold()
        self.add_host('A', ('--control-lu',))
        self.state.configure('A', dict(self.state.settings('A'), portal=two.portal()), adapter=1)
        for name in LUNS:
            one.ctl('lun', 'create', name, '--size', '8M')
            one.ctl('map', name, 'A')
        wait_until('the other controller knows the host', lambda: names(two, 'host') == ['A'] and names(two, 'lun') == list(LUNS))
        self.up('A')

    def move(self):
        """The owner gives the array back, and stands by."""
        assert self.array.stop() == 0, self.array.log()
        self.change_places()

    def bridge(self):
        """To the owner."""
        return self.state.host('A').bridges[self.array.number - 1]

    def change_places(self, back=Killed.back):
        """What owned the array comes back, and stands by."""
        wait_until('the other one owns the array', lambda: self.other.role() == 'owner')
        back(self.array)
        self.array, self.other = self.other, self.array
        wait_until('each knows that the other one is there', lambda: all_live(self.array))
        wait_until('both sessions are there', lambda: all(b.counters()['connected'] == 1 for b in self.state.host('A').bridges))


def drives(world):
    """Numbers of the array's disks that the host sees, when both controllers are known as ways to the array."""
    said = world.run('A', 'umbra-vss.exe', 'status').stdout
    return re.findall(r'PhysicalDrive(\d+)', said) if said.count('control LU') == 2 else []


def disks(world):
    """The first ones, as words for the requester."""
    found = []

    def seen():
        world.rescan('A')  # what was in standby shows its disks when it is asked again
        found[:] = drives(world)[:len(LUNS)]
        return len(found) == len(LUNS)
    wait_until('the disks are there', seen)
    return [word for number in found for word in ('--lun', f'd{number}')]


def is_kept(world, done):
    assert done['hresult_name'] == 'S_OK', done
    assert [(s['state'], s['luns']) for s in world.sets()] == [('kept', len(LUNS))], world.sets()
    world.array.ctl('set', 'delete', world.sets()[0]['id'])
    print(f'a set, owner: controller {world.array.number}', flush=True)


def a_set(world):
    """Made, committed and kept, over whichever path leads to the owner; nobody vetoes it."""
    is_kept(world, world.vss('A', 'create', *disks(world), '--no-import'))


def committed_and_not_kept(world):
    """A requester whose copies are committed; what keeps them is held at the bridge to the owner. (The bridge, its process.)"""
    bridge, wanted = world.bridge(), disks(world)
    lab_steps.hold(bridge, lab_steps.POST)
    child = world.start_vss('A', 'create', *wanted, '--no-import')

    def is_committed():
        if bridge.counters()['held']:
            if [row['state'] for row in world.sets()] == ['committed']:
                return True
            lab_steps.release(bridge)
        assert child.poll() is None, world.finish_vss(child)
        return False
    wait_until('the set is committed', is_committed)
    return bridge, child


def a_set_whose_owner_dies(world):
    """Its copies are committed, and nobody has asked to keep them yet: the provider asks the other controller, and they are kept."""
    bridge, child = committed_and_not_kept(world)
    world.array.kill9()
    wait_until('the other one owns the array', lambda: world.other.role() == 'owner')
    lab_steps.let_go(bridge)
    done = world.finish_vss(child)[1]
    world.change_places()
    is_kept(world, done)


def a_commit_whose_owner_goes(world, how, kind):
    """…before the request is there (delay), or when it was carried out and the answer is not there (delay-reply)."""
    bridge, wanted = world.bridge(), disks(world)
    lab_steps.hold(bridge, *lab_steps.READS)
    child = world.start_vss('A', 'create', *wanted, '--no-import')
    lab_steps.stop_when_armed(world.array, bridge, lambda: child.poll() is not None)
    bridge.control('fault', 'clear')
    before = bridge.counters()['faults']
    bridge.control('fault', kind, '--op', lab_steps.POST, '--ms', lab_steps.HOLD_MS, '--count', '0')
    lab_steps.release(bridge)
    wait_until('the commit is asked for', lambda: bridge.counters()['faults'] > before)
    if kind == 'delay-reply':
        wait_until('it is committed', lambda: [row['state'] for row in world.sets()] == ['committed'])
    how.strike(world.array)
    if how is Cut:
        lab_steps.let_go(bridge)  # the owner is asked, and knows nothing yet
    wait_until('the other one owns the array', lambda: world.other.role() == 'owner')
    lab_steps.let_go(bridge)
    code, done = world.finish_vss(child)
    world.change_places(how.back)
    print(f"{how.name} in a commit, {kind}: {done['hresult_name']}", flush=True)
    if code == 0:
        is_kept(world, done)
        return
    assert (how, kind) != (Killed, 'delay-reply'), done  # the other one takes the array at once, and knows that it was carried out
    assert done['hresult_name'] in ('VSS_E_PROVIDER_VETO', 'VSS_E_HOLD_WRITES_TIMEOUT'), done
    assert world.nothing_left(1), (world.sets(), world.shadows())


def a_keeping_whose_owner_is_frozen(world):
    """It says nothing more, and its session stays: the provider does not wait for it longer than for a takeover."""
    bridge, child = committed_and_not_kept(world)
    Frozen.strike(world.array)
    lab_steps.let_go(bridge)
    wait_until('the other one owns the array', lambda: world.other.role() == 'owner')
    wait_until('the set is kept', lambda: [row['state'] for row in world.other.rows('set', 'sets')] == ['kept'] or child.poll() is not None)
    world.change_places(Frozen.back)  # VSS itself looks at the originals' disks over there
    is_kept(world, world.finish_vss(child)[1])


@contextlib.contextmanager
def world_over(kind):
    """A world of this kind over two controllers of a new cluster; the lab saw no harm done in it by the end."""
    skip_without_store()
    end_in_order()
    with Cluster() as cluster:
        run_ctl('rbd', 'create', cluster.pool, '--conf', cluster.conf)
        one, two = start(cluster, CONFIG, with_a_network_to_cut)
        with removed_at_the_end(one, two):
            world = kind(one, two)
            try:
                yield world
                assert world.state.harm() == [], world.state.harm()
            finally:
                world.end()


def main():
    with world_over(TwoControllers) as world:
        a_set(world)
        world.move()
        a_set(world)
        a_set_whose_owner_dies(world)
        for how, kind in ((Killed, 'delay'), (Killed, 'delay-reply'), (Moved, 'delay'), (Frozen, 'delay-reply'), (Cut, 'delay')):
            a_commit_whose_owner_goes(world, how, kind)
        a_keeping_whose_owner_is_frozen(world)
        a_set(world)


if __name__ == '__main__':
    main()
