#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An array that is slow on the control channel, under I/O: whatever the provider asks for meanwhile, no host's Windows resets
a LUN, and no command of anybody is aborted."""
import os
import sys
import threading
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab_steps  # noqa: E402
from lab_world import World, labhost  # noqa: E402
from umbra_initiator import ScsiError, Session  # noqa: E402

FETCH = 'a2'   # SECURITY PROTOCOL IN: the answer to a request
LATE_MS = 15000


def setUpModule():
    global world, number_on_b
    world = World(copysets={'lease': '120s', 'host_gone': '120s'})
    try:
        world.add_luns(3)
        number_on_b = world.array.ctl('map', 'l1', 'B')['number']  # a cluster's LUN
    except BaseException:
        world.close()
        raise


def tearDownModule():
    if not world.close():
        raise RuntimeError('processes were left')


class Load:
    """Reads of LUN 1 and 2 by host A's class driver, of LUN 1 by host B: every one is to be answered."""

    def __init__(self):
        self.over, self.trouble, self.done = threading.Event(), [], {'A': 0, 'B': 0}
        self.threads = [threading.Thread(target=self.run, args=(host,), daemon=True) for host in self.done]
        for thread in self.threads:
            thread.start()

    def run(self, host):
        try:
            self.of_host_a() if host == 'A' else self.of_host_b()
        except Exception as error:  # reported by stop()
            self.trouble.append(f'{host}: {error!r}')

    def of_host_a(self):
        path = labhost.windows_path(os.path.join(world.directory, 'read.bin'))
        while not self.over.is_set():
            for drive in ('PhysicalDrive1', 'PhysicalDrive2'):
                done = world.run('A', 'umbra-lab-probe.exe', 'read', drive, '0', '1048576', path)
                if done.returncode != 0:
                    raise RuntimeError(done.stdout + done.stderr)
                self.done['A'] += 1

    def of_host_b(self):
        with Session(world.array, 'B', timeout_s=60) as session:
            while not self.over.wait(0.005):
                try:
                    session.read(number_on_b, 0, 64)
                except ScsiError as error:
                    if error.sense[0] != 6 or error.sense[1] >> 8 != 0x3F:  # LUNs that come and go
                        raise
                self.done['B'] += 1

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join(120)
        return self.trouble


def import_told(done):
    """The provider tells the array of an import in a thread of its own: it is over, and no answer of it comes into the next request."""
    name = done['set'].strip('{}').lower().replace('-', '')
    if not labhost.wait_until(lambda: world.array.ctl('set', 'show', name)['import_us'] is not None, labhost.PATIENCE_S, 0.1):
        raise AssertionError('the array never heard of the import')
    return done


class NoReset(unittest.TestCase):
    maxDiff = None  # what a program said, to its end

    def setUp(self):
        self.bridge = world.state.host('A').bridge
        self.load = Load()
        self.addCleanup(self.clean_up)

    def clean_up(self):
        lab_steps.let_go(self.bridge)
        self.load.stop()
        world.clear_away()

    def answers_of(self, *words):
        """How many answers a request of VSS fetches, and its own answer."""
        before = self.bridge.counters()['faults']
        self.bridge.control('fault', 'delay-reply', '--op', FETCH, '--count', '0', '--ms', '0')
        done = world.vss('A', *words)
        if words[0] == 'create':
            import_told(done)
        self.bridge.control('fault', 'clear')
        return self.bridge.counters()['faults'] - before, done

    def with_a_late_answer(self, number, *words):
        before = self.bridge.counters()['faults']
        self.bridge.control('fault', 'delay-reply', '--op', FETCH, '--skip', str(number), '--ms', str(LATE_MS))
        done = world.vss('A', *words, timeout=300)
        self.bridge.control('fault', 'clear')
        self.assertGreater(self.bridge.counters()['faults'], before, 'no answer was late')
        self.assertEqual(world.state.harm(), [])
        return done

    def test_creation_and_deletion(self):
        create = ('create', '--lun', 1, '--lun', 2)
        created, done = self.answers_of(*create)
        deleted, done = self.answers_of('delete', done['set'])
        self.assertGreater(created, 5)
        self.assertGreater(deleted, 1)
        for number in (0, created // 2):
            done = self.with_a_late_answer(number, *create)
            world.vss('A', 'delete', done['set'])
        done = import_told(world.vss('A', *create))
        self.with_a_late_answer(deleted - 1, 'delete', done['set'])
        self.assertTrue(world.nothing_left(10), f'{world.sets()} {world.shadows()}')
        self.assertEqual(self.load.stop(), [])
        self.assertGreater(min(self.load.done.values()), 0, self.load.done)
        counters = [world.state.host(name).bridge.counters() for name in world.hosts]
        self.assertEqual([(c['resets'], c['aborted'], c['timeouts']) for c in counters], [(0, 0, 0)] * 2)


if __name__ == '__main__':
    unittest.main(verbosity=2)
