#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Damaged blocks of the data, on real files: MEDIUM ERROR with the LBA, an event that names LUN, LBA and file, and nothing of the
kind where nothing is damaged, kills included.

    pool_damage.py [TEST…]
"""
import os
import struct
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from raw_initiator import RESPONSE, Raw  # noqa: E402
from umbra_initiator import ScsiError, Session  # noqa: E402
from umbra_lab import Array  # noqa: E402

BLOCK = 4096
BLOCKS = 256
PLAIN = ('--capacity', '64M', '--log', '4M')
ON = PLAIN + ('--checksums', 'on')


def content(block, version=0):
    return struct.pack('>QQ', 0x5D0C5D0C00000000 | block, version) * (BLOCK // 16)


class Damage(unittest.TestCase):
    def begin(self, array):
        array.ctl('lun', 'create', 'a', '--size', '1G')
        array.add_host('h', 'iqn.2026-01.test:h')
        array.ctl('map', 'a', 'h')

    def fill(self, array, version=0, first=0, count=BLOCKS):
        with Session(array, 'h') as session:
            for block in range(first, first + count):
                session.write(1, block * 8, content(block, version))
            self.assertEqual(session.command(1, bytes([0x35]) + bytes(9))[0], 0)  # SYNCHRONIZE CACHE

    def place(self, array, block):
        """Where the block lies in data.0; the array stands still."""
        with open(os.path.join(array.pool, 'data.0'), 'rb') as file:
            at = file.read().find(content(block))
        self.assertGreater(at, 0)
        return at

    def damage(self, array, at):
        with open(os.path.join(array.pool, 'data.0'), 'r+b') as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 0x10]))

    def damaged(self, array, versions=(0,)):
        """The blocks that cannot be read; all others are as they were written."""
        found = []
        with Session(array, 'h') as session:
            for block in range(BLOCKS):
                try:
                    data = session.read(1, block * 8, 8)
                    self.assertTrue(data in [content(block, v) for v in versions], block)
                except ScsiError as error:
                    self.assertEqual(error.sense, (3, 0x1100))
                    found.append(block)
        return found

    def information(self, array, lba, blocks):
        """Of the sense data that a READ(10) there gets."""
        with Raw(array.port) as raw:
            self.assertEqual(raw.login('iqn.2026-01.test:h', array.target).status, 0)
            raw.ready(1)
            raw.command(1, struct.pack('>BBIBHB', 0x28, 0, lba, 0, blocks, 0), length=blocks * 512)
            sense = raw.expect(RESPONSE).data[2:]
            self.assertEqual((sense[0], sense[2] & 15), (0xF0, 3))
            return struct.unpack('>I', sense[3:7])[0]

    def test_a_damaged_block_is_told_of_and_healed(self):
        with Array(pool_options=ON) as array:
            self.begin(array)
            self.fill(array)
            array.stop()
            at = self.place(array, 77)
            self.assertEqual(array.ctl('pool', 'check', '--data', array.pool)['lines'], [])
            self.damage(array, at + 1234)
            found = array.ctl('pool', 'check', '--data', array.pool, want=1)
            self.assertEqual(found['findings'], 1)
            self.assertIn(f'LBA {77 * 8} is damaged (data.0 at byte {at})', found['lines'][0])
            array.start()
            self.assertEqual(self.damaged(array), [77])
            self.assertEqual(self.information(array, 70 * 8, 80), 77 * 8)
            self.assertEqual(self.information(array, 77 * 8 + 3, 2), 77 * 8 + 3)
            events = [e for e in array.ctl('events')['events'] if 'damaged' in e['text']]
            self.assertEqual(len(events), 1, events)  # once, however often it is read
            for part in ('LUN a', f'LBA {77 * 8}', f'data.0 at byte {at}'):
                self.assertIn(part, events[0]['text'])
            self.fill(array, 0, 77, 1)
            self.assertEqual(self.damaged(array), [])

    def scrub(self, array):
        while array.ctl('pool', 'scrub', 'status')['state'] == 'running':
            time.sleep(0.05)
        return array.ctl('pool', 'scrub', 'status')

    def test_a_scrub_finds_damage_that_nobody_reads(self):
        with Array(pool_options=ON) as array:
            self.begin(array)
            self.fill(array)
            array.stop()
            at = self.place(array, 200)
            self.damage(array, at)
            array.start()
            self.assertEqual(array.ctl('pool', 'scrub', 'status')['state'], 'none')
            self.assertIn('checksums  on\n', array.text('pool', 'status'))
            array.ctl('pool', 'scrub', 'start', '--rate', '1G')
            found = self.scrub(array)
            self.assertEqual((found['state'], found['percent'], found['damaged'], found['unreadable']),
                             ('finished', 100, 1, 0))
            events = [e['text'] for e in array.ctl('events')['events']]
            self.assertTrue(any('LUN a' in e and f'LBA {200 * 8}' in e for e in events), events)
            self.assertTrue(any('scrub of the pool has ended' in e and '1 blocks damaged' in e for e in events), events)
            self.fill(array, 0, 200, 1)
            array.ctl('pool', 'scrub', 'start', '--rate', '0')
            self.assertEqual(self.scrub(array)['damaged'], 0)
            self.assertIn('finished, 100 %', array.text('pool', 'scrub', 'status'))
            for wrong in (('begin',), ('stop', '--rate', '1M'), ('start', '--rate', 'much')):
                self.assertEqual(array.ctl('pool', 'scrub', *wrong, check=False).returncode, 2)

    def test_kills_make_no_damage(self):
        with Array(pool_options=ON) as array:
            self.begin(array)
            self.fill(array)
            for version in range(1, 4):
                self.fill(array, version, 10 * version, 100)
                with Session(array, 'h') as session:  # not flushed
                    for block in range(200, 230):
                        session.write(1, block * 8, content(block, version))
                array.kill9()
                array.start()
                self.assertEqual(self.damaged(array, range(version + 1)), [])
            self.assertFalse([e for e in array.ctl('events')['events'] if 'damaged' in e['text']])

    def test_reads_and_writes_of_one_place_at_once_make_no_damage(self):
        """Two hosts write other patterns over each other while two read: whatever they see, it is not called damaged."""
        with Array(pool_options=ON) as array:
            array.ctl('lun', 'create', 'a', '--size', '1M')
            hosts = [f'iqn.2026-01.test:h{i}' for i in range(4)]
            for i, iqn in enumerate(hosts):
                array.add_host(f'h{i}', iqn)
                array.ctl('map', 'a', f'h{i}')

            def bench(iqn, size, *more):
                image = (f'driver=iscsi,transport=tcp,portal={array.portal()},target={array.target},lun=1,'
                         f'initiator-name={iqn}')
                return subprocess.Popen(['qemu-img', 'bench', '-c', '5000', '-d', '16', '-t', 'none', '-s', str(size), '-S',
                                         str(size), *more, '--image-opts', image], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            running = [bench(hosts[0], 65536, '-w', '--pattern=17'), bench(hosts[1], 32768, '-w', '--pattern=34'),
                       bench(hosts[2], 65536), bench(hosts[3], 4096)]
            for process in running:
                said = process.communicate()[1]
                self.assertEqual(process.returncode, 0, said[-300:])
            array.restart()
            with Session(array, 'h0') as session:
                for block in range(256):
                    session.read(1, block * 8, 8)
            self.assertEqual(array.ctl('pool', 'scrub', 'start', '--rate', '0')['checksums'], True)
            self.assertEqual(self.scrub(array)['damaged'], 0)

    @staticmethod
    def as_of_before(path):
        """The superblock of a pool that was made without shared chunks and digests."""
        with open(path, 'r+b') as pool:
            block = bytearray(pool.read(4096))
            block[16:24] = bytes(8)
            crc = 0xffffffff
            for byte in block[:4092]:
                crc ^= byte
                for _ in range(8):
                    crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
            block[4092:] = crc.to_bytes(4, 'big')
            pool.seek(0)
            pool.write(block)

    def test_a_pool_of_an_earlier_version_is_upgraded(self):
        with Array(pool_options=PLAIN, start=False) as array:
            self.as_of_before(os.path.join(array.pool, 'pool'))
            array.start()
            self.begin(array)
            self.fill(array)
            refused = array.ctl('pool', 'upgrade', array.pool, check=False)
            self.assertEqual(refused.returncode, 1)  # umbrad has it
            array.stop()
            for changed in (True, False):
                self.assertIs(array.ctl('pool', 'upgrade', array.pool)['changed'], changed)
            array.start()
            with Session(array, 'h') as session:
                self.assertEqual(len(session.read(1, 50 * 8, 8)), BLOCK)
            array.stop()
            array.ctl('pool', 'check', array.pool)
            with open(os.path.join(array.pool, 'pool'), 'rb') as pool:
                self.assertEqual(pool.read(24)[16:], bytes(7) + b'\x0b')

    def test_a_pool_gets_checksums_and_loses_them_again(self):
        with Array(pool_options=PLAIN) as array:
            self.begin(array)
            self.fill(array)
            array.stop()
            refused = array.ctl('pool', 'check', '--data', array.pool, check=False)
            self.assertIn('keeps no checksums', refused.stderr)
            array.ctl('pool', 'checksums', array.pool, 'on')
            array.start()
            self.fill(array, 0, 0, 100)
            array.stop()
            places = [self.place(array, b) for b in (50, 150)]
            for at in places:
                self.damage(array, at + BLOCK - 1)
            array.start()
            found = []
            with Session(array, 'h') as session:
                for block in (50, 150):
                    try:
                        session.read(1, block * 8, 8)
                    except ScsiError:
                        found.append(block)
            self.assertEqual(found, [50])  # the other one was written before
            array.stop()
            array.ctl('pool', 'checksums', array.pool, 'off')
            array.start()
            with Session(array, 'h') as session:
                session.read(1, 50 * 8, 8)
            array.stop()
            refused = array.ctl('pool', 'checksums', array.pool, 'maybe', check=False)
            self.assertEqual(refused.returncode, 2)
            array.start()
            refused = array.ctl('pool', 'checksums', array.pool, 'on', check=False)
            self.assertEqual(refused.returncode, 1)
            self.assertIs(array.ctl('pool', 'status')['checksums'], False)
            refused = array.ctl('pool', 'scrub', 'start', check=False)
            self.assertEqual(refused.returncode, 1)
            self.assertIn('keeps no checksums', refused.stderr)


if __name__ == '__main__':
    unittest.main()
