#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two arrays in one Ceph pool, each with an owner of its own, seen by one Windows host through an adapter each, and a copy set over
LUNs of both, made by VSS with the provider. A writer goes from LUN to LUN and from one array to the other, and writes the next only
when the one before is acknowledged. Under VSS's hold both arrays commit, and the copies hold exactly what was acknowledged when it
began. What is not of one instant the same look must see: copies of one array out of one set and of the other out of the next.

UMBRA_TEST_LUNS: of each array; VSS takes 64 in one set, 32 of each."""
import os
import re
import socket
import sys
import tempfile
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ceph_arrays import Writer, number_of, of_one_instant  # noqa: E402
from lab_world import World, labhost  # noqa: E402
from umbra_ceph import PATIENCE_S, Cluster, end_in_order, skip_without_store  # noqa: E402
from umbra_initiator import Session  # noqa: E402
from umbra_lab import Array  # noqa: E402

TRIES = 8
VETOES = ('VSS_E_PROVIDER_VETO', 'VSS_E_FLUSH_WRITES_TIMEOUT', 'VSS_E_HOLD_WRITES_TIMEOUT')
CONFIG = {'copysets': {'lease': '60s', 'number_rest': '1ms'}}


class TwoArrays(World):
    """Host A, with an adapter for each array."""

    def __init__(self, arrays, luns):  # pylint: disable=super-init-not-called
        self.arrays, self.hold, self.resets_expected = arrays, None, False
        self.hosts = ('A',)
        self.directory = tempfile.mkdtemp(prefix='umbra-lab-')
        self.state = labhost.State(os.path.join(self.directory, 'lab'))
        self._start_hold()
        for adapter, array in enumerate(arrays):
            self.array = array
            if adapter:
                first = self.state.settings('A')
                array.add_host('A', first['initiator'], secret=arrays[0].hosts['A'][1])
                self.state.configure('A', dict(first, portal=array.portal(), target=array.target), adapter=adapter)
            else:
                self.add_host('A')
            for number in range(1, luns + 1):
                array.ctl('lun', 'create', f'l{number}', '--size', '4M')
                array.ctl('map', f'l{number}', 'A', '--number', str(number))
        self.up('A')


class Held(threading.Thread):
    """Between the hold broker and a writer; `expected`: what had been acknowledged when the last hold began."""

    def __init__(self, port, writer):
        super().__init__(daemon=True)
        self.writer, self.expected = writer, None
        self.socket = socket.create_connection(('127.0.0.1', port))
        self.lines = self.socket.makefile('r')
        self.socket.sendall(b'WRITER arrays\n')
        assert self.lines.readline() == 'OK\n'
        self.start()

    def run(self):
        standing = False
        for line in self.lines:
            word, number = line.split()[:2]
            if word == 'HOLD':
                if not standing:
                    self.writer.held().acquire()
                    standing, self.expected = True, dict(self.writer.at)
                self.socket.sendall(f'HELD {number}\n'.encode())
            elif standing:
                standing = False
                self.writer.held().release()

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.join(PATIENCE_S)
        self.lines.close()
        self.socket.close()


def drives(world, luns):
    """The numbers of the host's disks that are LUNs of the arrays."""
    ids = {lun['id'] for array in world.arrays for lun in array.ctl('lun', 'list')['luns']}
    found = []

    def seen():
        disks = re.findall(r"^disk (\d+) .* serial '([^']*)'", world.run('A', 'umbra-lab-probe.exe', 'list').stdout, re.MULTILINE)
        found[:] = [number for number, serial in disks if serial.strip().lower() in ids]
        return len(found) == luns * len(world.arrays)
    assert labhost.wait_until(seen, PATIENCE_S, 0.2), found
    return found


def a_set(world, numbers):
    """Made by VSS. On a machine that has no time for it within VSS's own limits it is vetoed, leaves nothing, and is made again."""
    for left in reversed(range(TRIES)):
        done = world.vss('A', 'create', *(word for number in numbers for word in ('--lun', f'd{number}')), '--no-import', want=None)
        if done['hresult_name'] == 'S_OK':
            return done
        assert left and done['hresult_name'] in VETOES, done
        for array in world.arrays:
            assert labhost.wait_until(lambda: not array.ctl('shadow', 'list')['shadows'], PATIENCE_S, 0.2)  # pylint: disable=cell-var-from-loop
        print(f"{done['hresult_name']}: once more", file=sys.stderr, flush=True)
    return None


def copies(world, luns):
    """What the only set's copies hold, by array and number of the original; then they go."""
    found = []
    for array in world.arrays:
        values = {}
        with Session(array, 'A') as session:
            for shadow in array.ctl('shadow', 'list')['shadows']:
                at = array.ctl('shadow', 'map', shadow['id'], 'A')['number']
                values[int(shadow['origin'][1:])] = number_of(session.read(at, 0, 1))
                array.ctl('shadow', 'unmap', shadow['id'], 'A')
        for row in array.ctl('set', 'list')['sets']:
            assert (row['state'], row['luns']) == ('kept', luns), row
            array.ctl('set', 'delete', row['id'])
        found.append(values)
    return found


def sets_under_load(world, luns):
    numbers = drives(world, luns)
    writer = Writer(world.arrays, luns, host='A')
    writer.start()
    held = Held(world.hold_port, writer)
    found = []
    for _ in range(2):
        writer.wrote(3 * len(writer.places))
        done = a_set(world, numbers)
        assert done['writers'] == 1, done
        found.append(copies(world, luns))
        assert of_one_instant(writer, found[-1]), found[-1]
        assert {place: found[-1][place[0]][place[1]] for place in writer.places} == held.expected
        print(f"{len(numbers)} LUNs over {len(world.arrays)} arrays: writers stood still for {done['hold_ms']:.0f} ms", flush=True)
    assert not of_one_instant(writer, [found[0][0], found[1][1]]) and not of_one_instant(writer, [found[1][0], found[0][1]])
    held.close()
    writer.end()


def main():
    luns = int(os.environ.get('UMBRA_TEST_LUNS', '3'))
    skip_without_store()
    end_in_order()
    with Cluster() as cluster, Array(CONFIG, ceph=cluster, name='one') as one, Array(CONFIG, ceph=cluster, name='two') as two:
        world = TwoArrays((one, two), luns)
        try:
            sets_under_load(world, luns)
            assert world.state.harm() == [], world.state.harm()
        finally:
            world.end()
    print('ok')


if __name__ == '__main__':
    main()
