#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""umbrad's memory under each bound on memory that umbrad.conf names (map_memory, buffer_memory), whatever a host does.
What is measured is its anonymous memory: pages of LMDB's file are the kernel's cache.

    pool_limits.py [TEST…]      (UMBRA_TEST_SEED: the seed)
"""
import os
import random
import struct
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from raw_initiator import DATA_OUT, FINAL, R2T, RESPONSE, Raw  # noqa: E402
from umbra_lab import Array  # noqa: E402

SEED = int(os.environ.get('UMBRA_TEST_SEED') or time.time_ns() % 1000000)
MIB = 1 << 20
LEAF = 32 * MIB  # of a LUN: what one leaf of the map is for
MID = 512 * LEAF
MAP_MEMORY, LOG, UNDER_WAY = 8 * MIB, 8 * MIB, 10 * MIB
SIZE = 64 << 40


def memory(array):
    """Bytes that are umbrad's own."""
    with open(f'/proc/{array.pid}/status') as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith('RssAnon'))


class Host:
    """A session that keeps 32 commands under way."""

    def __init__(self, array, iqn='iqn.2026-01.test:h1', more=()):
        self.raw = Raw(array.port)
        assert self.raw.login(iqn, array.target, more=more).status == 0
        self.open = 0

    def ended(self):
        pdu = self.raw.expect(RESPONSE, R2T)
        if pdu.opcode == R2T:
            raise AssertionError('the data went with the command')
        assert pdu.status == 0, (pdu.status, pdu.data[:20].hex())
        self.open -= 1

    def start(self, lun, cdb, out):
        while self.open >= 32:
            self.ended()
        self.raw.command(lun, cdb, out=out, immediate_data=out)
        self.open += 1

    def write(self, lun, offset):
        self.start(lun, struct.pack('>BBQIBB', 0x8A, 0, offset >> 9, 8, 0, 0), b'w' * 4096)

    def unmap(self, lun, offset):
        self.start(lun, struct.pack('>BBxxxxxHx', 0x42, 0, 24), struct.pack('>HHxxxxQIxxxx', 22, 16, offset >> 9, 8))

    def read(self, lun, offset):
        self.drain()
        status, _, _ = self.raw.do(lun, struct.pack('>BBQIBB', 0x88, 0, offset >> 9, 8, 0, 0), length=4096)
        assert status == 0, status

    def drain(self):
        while self.open:
            self.ended()

    def close(self):
        self.drain()
        self.raw.close()


class MapMemory(unittest.TestCase):
    """A pool whose map has little memory, and a host that touches another leaf with each command."""

    def setUp(self, options=()):
        self.rng = random.Random(SEED)
        config = {'pool': {'map_memory': str(MAP_MEMORY)}}
        self.array = Array(config, pool_options=('--capacity', '4G', '--log', str(LOG), *options))
        self.array.add_host('h1', 'iqn.2026-01.test:h1')
        self.array.ctl('lun', 'create', 'big', '--size', str(SIZE))
        self.array.ctl('map', 'big', 'h1', '--number', '1')
        self.begin()

    def tearDown(self):
        self.array.remove()

    def begin(self):
        self.host = Host(self.array)
        self.host.raw.ready(1)
        self.at_start, self.most = memory(self.array), 0

    def look(self):
        self.most = max(self.most, memory(self.array) - self.at_start)

    def bounded(self, what, offsets):
        for i, offset in enumerate(offsets):
            what(1, offset)
            if i % 100 == 0:
                self.look()
        self.host.drain()
        self.look()
        self.assertLess(self.most, MAP_MEMORY + LOG + UNDER_WAY,
                        f'{self.most / MIB:.1f} MiB for {len(offsets)} commands; seed {SEED}')

    def scattered(self, count, step=LEAF):
        return [index * step for index in self.rng.sample(range(SIZE // step), min(count, SIZE // step))]

    def end(self):
        self.host.close()
        self.assertEqual(self.array.stop(), 0)

    def test_scattered_writes_to_a_new_lun(self):
        self.bounded(self.host.write, self.scattered(12000))
        self.end()

    def test_writes_each_of_which_needs_a_page_of_the_tree_besides(self):
        self.bounded(self.host.write, self.scattered(4096, MID))
        self.end()

    def test_what_was_written_is_there_after_the_memory_was_full(self):
        places = self.scattered(8000)
        self.bounded(self.host.write, places)
        self.assertEqual(self.host.raw.do(1, struct.pack('>BBQIBB', 0x91, 0, 0, 0, 0, 0))[0], 0)
        self.host.close()
        self.array.kill9()
        self.array.start()
        self.begin()
        for offset in self.rng.sample(places, 500):
            status, _, data = self.host.raw.do(1, struct.pack('>BBQIBB', 0x88, 0, offset >> 9, 8, 0, 0), length=4096)
            self.assertEqual((status, data), (0, b'w' * 4096))
        self.bounded(self.host.read, self.scattered(6000))
        self.end()

    def test_scattered_unmaps_over_a_copys_data(self):
        places = self.scattered(8000)
        self.bounded(self.host.write, places)
        self.array.ctl('set', 'create', 's', 'big')
        self.bounded(self.host.unmap, places)
        self.bounded(self.host.write, places)
        self.end()


    def test_writes_over_copies_with_checksums(self):
        self.host.close()
        self.array.remove()
        self.setUp(('--checksums', 'on'))
        places = [place + 65536 * self.rng.randrange(512) for place in self.scattered(9000)]
        self.bounded(self.host.write, places)
        self.array.ctl('set', 'create', 's', 'big')
        self.bounded(self.host.write, places[:3000])
        self.end()


class BufferMemory(unittest.TestCase):
    """Hosts that send all of their writes' data but the end, or receive nothing of what they read."""

    def test_writes_that_never_end(self):
        bound = 16 * MIB
        with Array({'iscsi': {'buffer_memory': str(bound)}}, pool_options=('--capacity', '1G')) as array:
            keys = [('MaxRecvDataSegmentLength', '262144'), ('MaxBurstLength', '1048576'), ('FirstBurstLength', '65536')]
            hosts = []
            array.ctl('lun', 'create', 'a', '--size', '1G')
            for i in range(4):
                array.add_host(f'h{i}', f'iqn.2026-01.test:h{i}')
                array.ctl('map', 'a', f'h{i}', '--number', '1')
            at_start = memory(array)
            for i in range(16):
                host = Host(array, f'iqn.2026-01.test:h{i % 4}', keys)
                host.raw.ready(1)
                hosts.append(host)
            sessions = memory(array)
            for host in hosts:
                self.hold(host)
            most = memory(array)
            self.assertLess(most - sessions, bound + 2 * MIB, f'{(most - sessions) / MIB:.1f} MiB')
            self.assertLess(sessions - at_start, 16 * MIB, f'{(sessions - at_start) / MIB:.1f} MiB')
            for host in hosts:
                host.raw.cut()

    def test_reads_that_nobody_receives(self):
        bound = 16 * MIB
        with Array({'iscsi': {'buffer_memory': str(bound)}}, pool_options=('--capacity', '1G')) as array:
            array.ctl('lun', 'create', 'a', '--size', '64M')
            hosts = []
            for i in range(16):
                if i < 4:
                    array.add_host(f'h{i}', f'iqn.2026-01.test:h{i}')
                    array.ctl('map', 'a', f'h{i}', '--number', '1')
                hosts.append(Host(array, f'iqn.2026-01.test:h{i % 4}', [('MaxRecvDataSegmentLength', '262144')]))
                hosts[-1].raw.ready(1)
            sessions = most = memory(array)
            for host in hosts:  # 4 MiB each, 2 GiB in all
                for _ in range(32):
                    host.raw.command(1, struct.pack('>BBQIBB', 0x88, 0, 0, 8192, 0, 0), length=4 * MIB)
            end = time.monotonic() + 3
            while time.monotonic() < end:
                most = max(most, memory(array))
                time.sleep(0.1)
            self.assertGreater(most - sessions, 4 * MIB, 'nothing was read')
            self.assertLess(most - sessions, bound + 4 * MIB, f'{(most - sessions) / MIB:.1f} MiB')
            for host in hosts:
                host.raw.cut()

    def hold(self, host):
        """16 writes of 1 MiB: to each R2T all but its last PDU; what is refused is."""
        tags = {host.raw.command(1, struct.pack('>BBQIBB', 0x8A, 0, 0, 2048, 0, 0), out=bytes(MIB)) for _ in range(16)}
        while tags:
            pdu = host.raw.expect(RESPONSE, R2T)
            tags.discard(pdu.itt)
            if pdu.opcode == R2T:
                wanted, = struct.unpack('>I', pdu.header[44:48])
                for i in range(wanted // 8192 - 1):
                    offset, = struct.unpack('>I', pdu.header[40:44])
                    host.raw.send(struct.pack('>BBxx4x8xIIIIIII4x', DATA_OUT, 0, pdu.itt, pdu.ttt, 0,
                                              host.raw.statsn + 1, 0, i, offset + i * 8192), b'd' * 8192)


if __name__ == '__main__':
    print(f'seed {SEED}')
    unittest.main()
