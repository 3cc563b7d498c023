#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An array whose machine was copied: umbractl pool reidentify makes two of one. The copy's LUNs are other disks with the same data,
its copy sets, mappings and numbers are as they were, and the other array is untouched.

    pool_reidentify.py [TEST…]
"""
import os
import pty
import shutil
import struct
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_initiator import Session  # noqa: E402
from umbra_lab import Array, run_ctl, umbractl_path  # noqa: E402

SIZE = 1 << 20


def pattern(number):
    return struct.pack('>Q', number) * (SIZE // 8)


def register(session, lun, key):
    """A persistent reservation that outlives a power loss (APTPL)."""
    session.good('PERSISTENT RESERVE OUT', lun, struct.pack('>BBBxxIxx', 0x5F, 0, 0, 24)[:10],
                 out=struct.pack('>QQIBxxx', 0, key, 0, 1))


def keys(session, lun):
    data = session.good('PERSISTENT RESERVE IN', lun, struct.pack('>BBxxxxxHx', 0x5E, 0, 4096), length_in=4096)
    return [key for key, in struct.iter_unpack('>Q', data[8:8 + struct.unpack('>I', data[4:8])[0]])]


class Reidentify(unittest.TestCase):
    def setUp(self):
        self.first = Array(start=False, pool_options=('--capacity', '128M', '--log', '4M', '--checksums', 'on'))
        self.addCleanup(self.first.remove)
        self.first.config['copysets']['recycle_time'] = '1h'
        self.mirror = os.path.join(self.first.dir, 'mirror')
        self.first.config['pool']['meta_mirror'] = self.mirror
        self.first.write_config()
        self.first.start()
        for name in ('a', 'b'):
            self.first.ctl('lun', 'create', name, '--size', '16M')
        self.first.add_host('h', 'iqn.2026-01.test:h')
        self.first.ctl('map', 'a', 'h', '--number', '5')
        with Session(self.first, 'h') as session:
            session.write(5, 0, pattern(1))
            session.flush(5)
            register(session, 5, 0x1234)
            self.assertEqual(keys(session, 5), [0x1234])
        self.first.ctl('set', 'create', 'nightly', 'a', 'b', '--lock', '1d')
        self.first.ctl('set', 'create', 'binned', 'b')
        self.first.ctl('set', 'delete', 'binned')
        self.first.ctl('policy', 'create', 'p', '--luns', 'a', '--every', 'none', '--keep', 'daily=3', '--label', 'other')
        with Session(self.first, 'h') as session:
            session.write(5, 0, pattern(2))  # over what the copy holds
            session.flush(5)
        self.backup = os.path.join(self.first.dir, 'backup')
        self.first.ctl('pool', 'backup', self.backup)

    def copied(self):
        """What was copied of the first one's disk while its power was off."""
        copy = os.path.join(self.first.dir, 'copy')
        self.first.kill9()
        shutil.copytree(self.first.pool, copy)
        second = Array(pool=copy, start=False, name='second')
        self.addCleanup(second.remove)
        second.hosts = self.first.hosts
        self.first.start()
        return second

    @staticmethod
    def reidentify(pool, *more, want=0):
        done = run_ctl('pool', 'reidentify', pool, *more, check=False)
        if done.returncode != want:
            raise AssertionError(done.stdout + done.stderr)
        return done.stdout + done.stderr

    @staticmethod
    def identities(array):
        return {lun['name']: lun['id'] for lun in array.ctl('lun', 'list')['luns'] + array.ctl('shadow', 'list')['shadows']}

    def test_two_arrays_are_made_of_one(self):
        second = self.copied()
        before, sets = self.identities(self.first), self.first.ctl('set', 'list')['sets']
        said = self.reidentify(second.pool, '--yes')
        for identity in before.values():
            self.assertIn(identity, said)
        self.assertIn('1 mappings followed, persistent reservations of 1 LUNs are gone', said)
        self.assertIn('no findings', run_ctl('pool', 'check', '--data', second.pool).stdout)
        second.start()
        after = self.identities(second)
        self.assertEqual(sorted(after), sorted(before))
        self.assertEqual(len(after), 4)
        self.assertFalse(set(after.values()) & set(before.values()))
        self.assertEqual(self.identities(self.first), before)
        self.assertNotEqual(second.ctl('status')['array']['id'], self.first.ctl('status')['array']['id'])
        again = second.ctl('set', 'list')['sets']
        self.assertEqual([(s['name'], len(s['id'])) for s in again], [(s['name'], 32) for s in sets])
        self.assertFalse({s['id'] for s in again} & {s['id'] for s in sets})
        kept = second.ctl('set', 'show', 'nightly')
        self.assertIsNotNone(kept['locked_until_unix_ms'])
        self.assertEqual({m['shadow_id'] for m in kept['members']} | {m['lun_id'] for m in kept['members']},
                         set(after.values()))
        binned, = second.ctl('shadow', 'recycled')['luns']
        self.assertEqual(binned['origin_id'], after['b'])
        self.assertEqual(second.ctl('policy', 'show', 'p')['luns'][0]['id'], after['a'])
        with Session(self.first, 'h') as one, Session(second, 'h') as two:
            for page in (0x80, 0x83):
                self.assertNotEqual(one.inquiry(5, page)[4:], two.inquiry(5, page)[4:])
            self.assertEqual(two.serial(5), after['a'])
            self.assertEqual(keys(one, 5), [0x1234])
            self.assertEqual(keys(two, 5), [])
            self.assertEqual(two.read(5, 0, SIZE // 512), pattern(2))
            two.write(5, 0, pattern(3))
            self.assertEqual(one.read(5, 0, SIZE // 512), pattern(2))
        shadow = next(m['shadow'] for m in kept['members'] if m['lun_id'] == after['a'])
        second.ctl('shadow', 'map', shadow, 'h', '--number', '9')
        with Session(second, 'h') as two:
            self.assertEqual(two.read(9, 0, SIZE // 512), pattern(1))
        second.kill9()
        second.start()
        self.assertEqual(self.identities(second), after)

    def test_what_is_from_before_is_not_taken_for_the_newest(self):
        self.first.stop()
        for _ in range(2):  # all checksums are as good as before
            checked = run_ctl('pool', 'check', '--data', self.first.pool).stdout
            self.assertNotIn('not compared', checked)
            self.assertIn('no findings', checked)
            self.reidentify(self.first.pool, '--yes')
        for old in (self.backup, self.mirror):
            done = run_ctl('pool', 'restore', self.first.pool, '--from', old, check=False)
            self.assertEqual(done.returncode, 1, done.stdout)
            self.assertIn("older than the pool's data", done.stderr)
        self.first.start()
        after = self.identities(self.first)
        self.assertEqual(self.first.ctl('pool', 'status')['mirror'], 'current')  # made anew
        self.first.kill9()
        shutil.rmtree(os.path.join(self.first.pool, 'meta'))
        run_ctl('pool', 'restore', self.first.pool, '--from', self.mirror)
        self.first.start()
        self.assertEqual(self.identities(self.first), after)

    def test_it_asks_and_it_shows(self):
        before = self.identities(self.first)
        self.assertIn('in use', self.reidentify(self.first.pool, '--yes', want=1))
        self.first.kill9()
        shown = self.reidentify(self.first.pool, '--dry-run')
        for identity in before.values():
            self.assertIn(identity, shown)
        self.assertIn('Nothing has changed', shown)
        self.assertIn('--yes', self.reidentify(self.first.pool, want=2))
        self.assertEqual(self.typed('something else\n'), 1)
        self.first.start()
        self.assertEqual(self.identities(self.first), before)
        self.first.kill9()
        self.assertEqual(self.typed(self.first.pool + '\n'), 0)
        self.first.start()
        self.assertFalse(set(self.identities(self.first).values()) & set(before.values()))

    def typed(self, line):
        """umbractl at a terminal, with that typed: its exit code."""
        ours, its = pty.openpty()
        try:
            os.write(ours, line.encode())
            return subprocess.run([umbractl_path(), 'pool', 'reidentify', self.first.pool], stdin=its, capture_output=True,
                                  timeout=600).returncode
        finally:
            os.close(ours)
            os.close(its)

    def test_a_new_pool_has_no_identity_yet(self):
        new = os.path.join(self.first.dir, 'new')
        run_ctl('pool', 'create', new, '--capacity', '16M', '--log', '4M')
        self.assertIn('no id yet', self.reidentify(new, '--yes'))


if __name__ == '__main__':
    unittest.main()
