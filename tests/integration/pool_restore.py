#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What finds a pool's data again: umbractl pool backup, the mirror (meta_mirror, log_mirror), umbractl pool restore. Each
test loses something for good and then reads every block that was acknowledged.

    pool_restore.py [TEST…]
"""
import os
import shutil
import struct
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_initiator import Session  # noqa: E402
from umbra_lab import Array, run_ctl  # noqa: E402

BLOCK = 4096
PLACES = 400  # each in a chunk of its own


def content(place, round_):
    return struct.pack('>QQ', place, round_) * (BLOCK // 16)


def map_records(pages):
    """Where the values of the map's entries begin, by LMDB's leaves: keys of 20 bytes, (branch, chunk, generation)."""
    for page in range(2 * BLOCK, len(pages), BLOCK):
        number, flags, lower = struct.unpack_from('<QxxHH', pages, page)
        if (number, flags) == (page // BLOCK, 2):
            for at in struct.unpack_from(f'<{(lower - 16) // 2}H', pages, page + 16):
                size, key_size = struct.unpack_from('<I2xH', pages, page + at)
                if key_size == 20:
                    yield page + at + 8 + key_size, size


def flip_record(pages):
    at, _ = list(map_records(pages))[50]
    return pages[:at] + bytes([pages[at] ^ 1]) + pages[at + 1:]


def swap_records(pages):
    (one, size), (two, _) = list(map_records(pages))[50:52]
    pages = bytearray(pages)
    pages[one:one + size], pages[two:two + size] = pages[two:two + size], pages[one:one + size]
    return bytes(pages)


class Restore(unittest.TestCase):
    def begin(self, mirror=True, log=True, options=('--capacity', '256M', '--log', '4M')):
        self.array = Array(start=False, pool_options=options)
        self.addCleanup(self.array.remove)
        self.mirror = os.path.join(self.array.dir, 'mirror')
        if mirror:
            self.array.config['pool'].update(meta_mirror=self.mirror, log_mirror='yes' if log else 'no')
        self.array.write_config()
        self.array.start()
        self.array.ctl('lun', 'create', 'a', '--size', '128M')
        self.array.add_host('h', 'iqn.2026-01.test:h')
        self.array.ctl('map', 'a', 'h')
        self.written = {}

    def write(self, round_, places):
        """Acknowledged as durable, by FUA or by a flush at the end."""
        with Session(self.array, 'h') as session:
            for place in places:
                session.write(1, place * 128, content(place, round_), fua=place % 50 == 0)
                self.written[place] = round_
            session.flush(1)

    def verify(self):
        with Session(self.array, 'h') as session:
            for place, round_ in self.written.items():
                self.assertEqual(session.read(1, place * 128, 8), content(place, round_), f'place {place}')

    def lose(self, *names):
        for name in names:
            path = os.path.join(self.array.pool, name)
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)

    def restore(self, from_, *more, want=0):
        done = run_ctl('pool', 'restore', self.array.pool, '--from', from_, *more, check=False)
        self.assertEqual(done.returncode, want, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def status(self, key):
        return self.array.ctl('pool', 'status')[key]

    def again(self):
        """The restored pool serves, and goes on as any."""
        self.array.start()
        self.verify()
        self.write(9, range(0, PLACES, 3))
        self.array.kill9()
        self.array.start()
        self.verify()
        self.array.stop()
        self.assertIn('no findings', run_ctl('pool', 'check', self.array.pool).stdout)

    def write_and_kill(self):
        """Some of it is in the metadata, the rest in the log only."""
        self.write(1, range(PLACES))
        self.array.ctl('set', 'create', 's', 'a')
        self.write(2, range(0, PLACES, 2))
        self.array.kill9()

    def test_what_is_lost_of_the_directory_comes_from_the_mirror(self):
        for lost in (('meta',), ('pool',), ('pool', 'meta'), ('log',), ('pool', 'meta', 'log')):
            with self.subTest(lost=lost):
                self.begin()
                self.write_and_kill()
                self.lose(*lost)
                refused = self.array_refuses()
                self.assertIn('restore', refused)
                self.assertIn('Nothing that was acknowledged is missing', self.restore(self.mirror))
                self.again()

    def test_a_damaged_mirror_is_named_not_the_pool(self):
        self.begin()
        self.write(1, range(PLACES))
        self.array.stop()
        path = os.path.join(self.mirror, 'meta', 'data.mdb')
        with open(path, 'r+b') as file:
            pages = file.read()
            for at in range(2 * BLOCK, len(pages), BLOCK):
                if struct.unpack_from('<QxxH', pages, at) == (at // BLOCK, 2):  # a leaf: its entries' places
                    file.seek(at + 16)
                    file.write(b'\xff' * 8)
        self.lose('meta')
        said = self.restore(self.mirror, want=1)
        self.assertIn(f'the copy in {self.mirror} is damaged', said)
        self.assertFalse(os.path.exists(os.path.join(self.array.pool, 'meta')), 'nothing was touched')

    def test_a_backup_with_damaged_or_lost_records_is_refused(self):
        self.begin(mirror=False)
        self.write(1, range(PLACES))
        backup = os.path.join(self.array.dir, 'backup')
        self.array.ctl('pool', 'backup', backup)
        self.array.stop()
        self.lose('meta')
        path = os.path.join(backup, 'meta', 'data.mdb')
        with open(path, 'rb') as file:
            whole = file.read()
        for what, change in (('a bit of a record', flip_record), ('two records in each other\'s place', swap_records)):
            with self.subTest(what=what):
                with open(path, 'wb') as file:
                    file.write(change(whole))
                said = self.restore(backup, want=1)
                self.assertIn(f'the copy in {backup} is damaged', said)
                self.assertIn('--salvage', said)
                self.assertFalse(os.path.exists(os.path.join(self.array.pool, 'meta')), 'nothing was touched')
                self.assertIn('It is damaged: the pool is for reading only', self.restore(backup, '--salvage'))
                self.lose('meta')
        with open(path, 'wb') as file:
            file.write(whole)
        self.restore(backup)
        self.again()

    def array_refuses(self):
        with self.assertRaises(RuntimeError) as caught:
            self.array.start()
        return str(caught.exception)

    def test_a_mirror_without_a_log_needs_the_pools_log(self):
        self.begin(log=False)
        self.write_and_kill()
        self.lose('pool', 'meta')
        self.restore(self.mirror)
        self.again()
        self.array.start()
        self.write(4, range(100))
        self.array.kill9()
        self.lose('pool', 'meta', 'log')
        self.assertIn('log is lost', self.restore(self.mirror, want=1))

    def test_a_lost_mirror_is_an_event_and_the_pool_goes_on(self):
        self.begin()
        self.write(1, range(100))
        self.assertEqual(self.status('mirror'), 'current')
        self.array.stop()
        shutil.rmtree(self.mirror)
        with open(self.mirror, 'w'):  # where it was, nothing can be made
            pass
        self.array.start()
        self.assertIn('mirror', str(self.array.ctl('events')))
        self.assertNotEqual(self.status('mirror'), 'current')
        self.write(2, range(50, 150))
        os.unlink(self.mirror)
        end = time.monotonic() + 600
        while self.status('mirror') != 'current':  # made anew, without a restart
            self.assertLess(time.monotonic(), end, self.status('mirror'))
            time.sleep(0.2)
        self.assertIn('current again', str(self.array.ctl('events')))
        self.write(3, range(100, 200))
        self.array.kill9()
        self.lose('pool', 'meta', 'log')
        self.restore(self.mirror)
        self.again()

    def test_a_mirror_that_is_behind_is_refused_with_the_reason(self):
        self.begin()
        self.write(1, range(PLACES))
        self.array.stop()
        kept = self.array.config['pool'].pop('meta_mirror')
        self.array.config['pool'].pop('log_mirror')
        self.array.write_config()
        self.array.start()
        with Session(self.array, 'h') as session:  # its chunks become others'
            for place in range(PLACES):
                session.good('UNMAP', 1, struct.pack('>BBxxxxxHx', 0x42, 0, 24),
                             out=struct.pack('>HHxxxxQIxxxx', 22, 16, place * 128, 128))
        self.written = {}
        self.write(2, range(PLACES, 2 * PLACES))
        self.array.kill9()
        said = self.restore(kept, want=1)
        self.assertIn('older than the pool\'s data', said)
        self.assertIn('--salvage', said)
        self.array.start()  # nothing was touched
        self.verify()
        self.array.kill9()
        self.lose('pool', 'meta', 'log')
        self.assertIn('older than the pool\'s data', self.restore(kept, want=1))
        self.assertIn('for reading only', self.restore(kept, '--salvage'))
        self.array.start()
        self.assertTrue(self.status('read_only'))
        self.assertIn('salvage', self.status('read_only_reason'))
        with Session(self.array, 'h') as session:
            status, sense, _ = session.command(1, struct.pack('>BBQIBB', 0x8A, 0, 0, 8, 0, 0), out=bytes(BLOCK))
            if status == 2 and sense[0] == 6:
                status, sense, _ = session.command(1, struct.pack('>BBQIBB', 0x8A, 0, 0, 8, 0, 0), out=bytes(BLOCK))
            self.assertEqual((status, sense[0]), (2, 7))  # DATA PROTECT

    def test_old_metadata_that_is_put_back_by_hand_is_refused(self):
        self.begin(mirror=False)
        self.write(1, range(100))
        self.array.stop()
        old = os.path.join(self.array.dir, 'old')
        shutil.copytree(self.array.pool, old, ignore=shutil.ignore_patterns('data.[0-9]*'))
        self.array.start()
        self.write(2, range(100))
        self.array.stop()
        self.lose('meta')
        shutil.copytree(os.path.join(old, 'meta'), os.path.join(self.array.pool, 'meta'))
        shutil.copy(os.path.join(old, 'log'), self.array.pool)
        for _ in range(3):
            self.assertIn('older than its data', self.array_refuses())

    def test_a_backup_with_the_pools_log_loses_nothing(self):
        self.begin(mirror=False)
        self.write(1, range(PLACES))
        backup = os.path.join(self.array.dir, 'backup')
        self.assertEqual(self.array.ctl('pool', 'backup', backup)['path'], backup)
        again = self.array.ctl('pool', 'backup', backup, check=False)
        self.assertEqual(again.returncode, 1)
        self.assertIn('not empty', again.stderr)
        self.write(2, range(0, PLACES, 2))
        self.array.kill9()
        self.lose('pool', 'meta')
        self.restore(backup)
        self.again()
        self.assertIn('older than the pool\'s data', self.restore(backup, want=1))  # it was opened since

    def test_a_backup_from_before_the_pool_grew_loses_nothing(self):
        self.begin(mirror=False, options=('--capacity', '16M', '--log', '4M'))
        self.write(1, range(100))
        backup = os.path.join(self.array.dir, 'backup')
        self.array.ctl('pool', 'backup', backup)
        self.array.ctl('pool', 'grow', '--capacity', '64M')
        self.write(2, range(200, 600))
        self.array.kill9()
        self.lose('pool', 'meta')
        self.assertIn('The pool had grown', self.restore(backup))
        self.array.start()
        self.verify()
        self.assertGreaterEqual(self.status('capacity_bytes'), 500 * 65536)
        self.array.ctl('pool', 'grow', '--capacity', '64M')
        self.array.stop()
        self.again()

    def test_a_backup_is_of_one_pool(self):
        self.begin(mirror=False)
        backup = os.path.join(self.array.dir, 'backup')
        self.array.ctl('pool', 'backup', backup)
        self.array.stop()
        other = os.path.join(self.array.dir, 'other')
        run_ctl('pool', 'create', other, '--capacity', '16M', '--log', '4M')
        refused = run_ctl('pool', 'restore', other, '--from', backup, check=False)
        self.assertIn('another pool', refused.stderr)
        self.assertEqual(refused.returncode, 1)
        nothing = run_ctl('pool', 'restore', other, '--from', self.array.dir, check=False)
        self.assertIn('holds no copy', nothing.stderr)


if __name__ == '__main__':
    unittest.main()
