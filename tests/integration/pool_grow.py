#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""umbractl pool grow: a full pool of umbrad's while it runs, one in a directory, one on a data device.

    pool_grow.py [TEST…]
"""
import os
import shutil
import struct
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_initiator import Session  # noqa: E402
from umbra_lab import Array, run_ctl  # noqa: E402

CHUNK = 65536
MIB = 1 << 20


def put(session, at):
    """64 KiB of their own place's: the status and sense; unit attentions are passed over."""
    while True:
        cdb = struct.pack('>BBQIBB', 0x8A, 0, at * 128, 128, 0, 0)
        status, sense, _ = session.command(1, cdb, out=struct.pack('>Q', at + 1) * (CHUNK // 8))
        if status != 2 or sense[0] != 6:
            return status, sense


class Grow(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix='umbra-grow-')

    def tearDown(self):
        shutil.rmtree(self.dir)

    def begin(self, array):
        array.ctl('lun', 'create', 'a', '--size', '1G')
        array.add_host('h', 'iqn.2026-01.test:h')
        array.ctl('map', 'a', 'h')

    def fill(self, session, at=0):
        """The first place that found no room."""
        while put(session, at)[0] == 0:
            at += 1
        status, sense = put(session, at)
        self.assertEqual((status, sense[0], sense[1]), (2, 7, 0x2707))
        return at

    def written(self, session, count):
        for at in range(count):
            self.assertEqual(session.read(1, at * 128, 128), struct.pack('>Q', at + 1) * (CHUNK // 8), f'place {at}')

    def capacity(self, array):
        return array.ctl('pool', 'status')['capacity_bytes']

    def test_a_full_pool_grows_while_umbrad_runs(self):
        with Array(pool_options=('--capacity', '4M', '--log', '4M')) as array:
            self.begin(array)
            with Session(array, 'h') as session:
                at = self.fill(session)
                refused = array.ctl('pool', 'grow', '--capacity', '2M', check=False)
                self.assertEqual(refused.returncode, 1)
                self.assertIn('cannot become smaller', refused.stderr)
                self.assertEqual(array.ctl('pool', 'grow', '--capacity', '8M')['capacity_bytes'], 8 * MIB)
                self.assertEqual(put(session, at)[0], 0)
                at = self.fill(session, at)
                self.assertEqual(at, 8 * MIB // CHUNK)
                grown = array.ctl('pool', 'grow')['capacity_bytes']  # all that the file system has
                self.assertGreater(grown, 64 * MIB)
                self.assertEqual(put(session, at)[0], 0)
                session.flush(1)
                self.assertIn('capacity of', str(array.ctl('events')))
            array.kill9()
            array.start()
            self.assertEqual(self.capacity(array), grown)
            with Session(array, 'h') as session:
                self.written(session, at + 1)
            in_use = run_ctl('pool', 'grow', array.pool, '--capacity', '1G', check=False)
            self.assertEqual(in_use.returncode, 1)
            self.assertIn('in use', in_use.stderr)
            self.assertEqual(array.stop(), 0)
            self.assertIn('no findings', run_ctl('pool', 'check', array.pool).stdout)

    def test_a_pool_on_a_device_grows_with_it(self):
        device, pool = self.dir + '/device', self.dir + '/pool'
        with open(device, 'wb') as file:
            file.truncate(4 * MIB)
        run_ctl('pool', 'create', pool, '--data-device', device, '--log', '4M')
        with Array({'pool': {'data_device': device}}, pool=pool) as array:
            self.begin(array)
            with Session(array, 'h') as session:
                at = self.fill(session)
                refused = array.ctl('pool', 'grow', check=False)
                self.assertEqual(refused.returncode, 1)
                self.assertIn('enlarge it', refused.stderr)
                os.truncate(device, 8 * MIB)
                refused = array.ctl('pool', 'grow', '--capacity', '1G', check=False)
                self.assertIn('the data device has 8 MiB only', refused.stderr)
                array.ctl('pool', 'grow')
                self.assertEqual(put(session, at)[0], 0)
                at = self.fill(session, at)
                self.assertEqual(at, 8 * MIB // CHUNK - 1)
            array.stop()
            os.truncate(device, 12 * MIB)
            refused = run_ctl('pool', 'grow', pool, check=False)
            self.assertIn('--data-device', refused.stderr)
            refused = run_ctl('pool', 'grow', pool, '--data-device', '/dev/zero', check=False)
            self.assertIn('the data device /dev/zero cannot be opened (Block device required)', refused.stderr)
            foreign = device + '.foreign'
            with open(foreign, 'wb') as file:
                file.truncate(12 * MIB)
            refused = run_ctl('pool', 'grow', pool, '--data-device', foreign, check=False)
            self.assertIn('does not hold the data of this pool', refused.stderr)
            run_ctl('pool', 'grow', pool, '--data-device', device)
            array.start()
            with Session(array, 'h') as session:
                self.assertEqual(put(session, at)[0], 0)
                self.written(session, at + 1)
            array.stop()
            self.assertIn('no findings', run_ctl('pool', 'check', pool, '--data-device', device).stdout)

    def test_a_pool_that_nobody_has_open_grows(self):
        with Array(pool_options=('--capacity', '4M', '--log', '4M')) as array:
            array.stop()
            os.chmod(array.pool + '/pool', 0o640)
            smaller = run_ctl('pool', 'grow', array.pool, '--capacity', '1M', check=False)
            self.assertEqual(smaller.returncode, 1)
            self.assertIn('cannot become smaller', smaller.stderr)
            self.assertIn('capacity of 64 MiB', run_ctl('pool', 'grow', array.pool, '--capacity', '64M').stdout)
            self.assertEqual(os.stat(array.pool + '/pool').st_mode & 0o777, 0o640)
            self.assertEqual([name for name in os.listdir(array.pool) if 'new' in name], [])
            array.start()
            self.assertEqual(self.capacity(array), 64 * MIB)


if __name__ == '__main__':
    unittest.main()
