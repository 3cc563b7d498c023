#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A Windows host with a path to each of an array's two controllers, over a real Ceph cluster: it makes shadow copies while one path is in
standby, and goes on over the other one after a planned move, without a veto."""
import os
import re
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ceph_controllers import names, removed_at_the_end, start, wait_until  # noqa: E402
from lab_world import World, labhost  # noqa: E402
from umbra_ceph import Cluster, end_in_order, skip_without_store  # noqa: E402
from umbra_lab import run_ctl  # noqa: E402

LUNS = ('l1', 'l2')


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
        wait_until('the other one owns the array', lambda: self.other.role() == 'owner')
        self.array.start()
        self.array, self.other = self.other, self.array
        wait_until('both sessions are there', lambda: all(b.counters()['connected'] == 1 for b in self.state.host('A').bridges))


def drives(world):
    """Numbers of the array's disks that the host sees, when both controllers are known as ways to the array."""
    said = world.run('A', 'umbra-vss.exe', 'status').stdout
    return re.findall(r'PhysicalDrive(\d+)', said) if said.count('control LU') == 2 else []


def a_set(world):
    """Made, committed and kept, over whichever path leads to the owner; nobody vetoes it."""
    found = []

    def seen():
        world.rescan('A')  # what was in standby shows its disks when it is asked again
        found[:] = drives(world)[:len(LUNS)]
        return len(found) == len(LUNS)
    wait_until('the disks are there', seen)
    done = world.vss('A', 'create', *(word for number in found for word in ('--lun', f'd{number}')), '--no-import')
    assert done['hresult_name'] == 'S_OK', done
    assert [(s['state'], s['luns']) for s in world.sets()] == [('kept', len(LUNS))], world.sets()
    world.array.ctl('set', 'delete', world.sets()[0]['id'])
    print(f"a set over d{', d'.join(found)}, owner: controller {world.array.number}", flush=True)


def main():
    skip_without_store()
    end_in_order()
    with Cluster() as cluster:
        run_ctl('rbd', 'create', cluster.pool, '--conf', cluster.conf)
        one, two = start(cluster)
        with removed_at_the_end(one, two):
            world = TwoControllers(one, two)
            try:
                a_set(world)
                world.move()
                a_set(world)
                assert world.state.harm() == [], world.state.harm()
            finally:
                world.end()


if __name__ == '__main__':
    main()
