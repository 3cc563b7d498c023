#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The kernel's own record of what it wrote (dm-log-writes) judges the array. The record holds each write once a
flush after it, or its FUA, has been acknowledged. At random instants umbrad is killed, and the host's power goes:
what is recorded must be on the LUN, or something newer at that place; and a copy must hold all that was recorded
before it was asked for. A sector that stands in a wrong place is found, too.

UMBRA_TEST_SEED, UMBRA_KILL_ROUNDS (default 2) repeat and lengthen it."""
import os
import random
import struct
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from umbra_guest import INITIATOR, Guest, skipped  # noqa: E402
from umbra_initiator import Session  # noqa: E402
from umbra_lab import Array  # noqa: E402

MIB = 1 << 20
LUN_BYTES, LOG_BYTES = 16 * MIB, 2048 * MIB
MAGIC = 0x6A736677736872  # Documentation/admin-guide/device-mapper/log-writes.rst
DISCARD, MARK = 4, 8


class Record:
    """The log device, as far as its super block says: what is recorded of each sector."""

    def __init__(self, path):
        with open(path, 'rb') as log:
            magic, version, self.entries, size = struct.unpack('<QQQI', log.read(28))
            self.last = {}  # sector: the number of its last write; 0: discarded
            self.writes = self.discards = 0
            if not magic:
                return  # nothing is recorded yet
            assert (magic, version, size) == (MAGIC, 1, 512), (magic, version, size)
            at = 1
            for _ in range(self.entries):
                at = self._entry(log, at)

    def _entry(self, log, at):
        log.seek(at * 512)
        sector, count, flags, _ = struct.unpack('<QQQQ', log.read(32))
        if flags & DISCARD:
            self.discards += 1
            self.last.update((sector + i, 0) for i in range(count))
            return at + 1
        if not flags & MARK and count:
            self.writes += 1
            log.seek((at + 1) * 512)
            data = log.read(count * 512)
            for i in range(count):
                place, number = struct.unpack_from('<QQ', data, i * 512)
                assert place == sector + i, 'the record is read wrongly'
                self.last[sector + i] = number
        return at + 1 + count


class Discards:
    """Those that the scribbler has said it would issue: {sector: highest number}."""

    def __init__(self, guest):
        self.guest, self.highest = guest, {}

    def read(self):
        while not self.guest.printed.empty():
            line = self.guest.printed.get()
            words = (line or '').split()
            if words[:1] == ['discard']:
                at, count, number = map(int, words[1:])
                for sector in range(at, at + count):
                    self.highest[sector] = max(number, self.highest.get(sector, 0))
            else:
                assert not words or words == ['begun'], line


def judge(what, data, record, discards):
    """Holds the data at least what is recorded? discards: what may be empty."""
    wrong = []
    for sector in range(LUN_BYTES // 512):
        text = data[sector * 512:(sector + 1) * 512]
        place, number = struct.unpack_from('<QQ', text)
        if text != text[:16] * 32 or (number and place != sector):
            wrong.append(f'sector {sector} holds {place}, {number}, or parts of several writes')
        elif number < record.last.get(sector, 0) and not (
                number == 0 and discards.highest.get(sector, 0) > record.last[sector]):
            wrong.append(f'sector {sector} holds write {number}, {record.last[sector]} is recorded')
    assert not wrong, f'{what}: {len(wrong)} sectors wrong:\n' + '\n'.join(wrong[:8])


def content(array, lun):
    with Session(array, 'reader') as session:
        return b''.join(session.read(lun, at, 2048) for at in range(0, LUN_BYTES // 512, 2048))


def a_round(array, rng, record_path):
    with open(record_path, 'wb') as log:
        log.truncate(LOG_BYTES)
    array.ctl('lun', 'create', 'a', '--size', str(LUN_BYTES))
    for host in ('guest', 'reader'):
        array.ctl('map', 'a', host, '--number', '1', '--force')
    copies = []
    with Guest(disks=[record_path]) as guest:
        guest.modules('dm_log_writes')
        guest.login(array)
        disk = guest.disk(array, 'a')
        guest.run(f'dmsetup create logged --noudevsync --table "0 {LUN_BYTES // 512} log-writes {disk} /dev/ubda" '
                  '&& dmsetup mknodes')
        discards = Discards(guest)
        guest.begin(f'python3 {HERE}/guest_scribbler.py /dev/mapper/logged {LUN_BYTES // 512} {rng.randrange(1000)}')
        while Record(record_path).entries < 50:
            time.sleep(0.2)
        for name in ('one', 'two'):
            time.sleep(rng.uniform(0.1, 2))
            before = Record(record_path)
            copies.append((array.ctl('set', 'create', name, 'a')['members'][0]['shadow'], before))
        time.sleep(rng.uniform(0.1, 2))
        array.kill9()
        guest.kill()
        guest.heard()
        discards.read()
    record = Record(record_path)
    array.start()
    judge('the LUN after a kill', content(array, 1), record, discards)
    for i, (shadow, before) in enumerate(copies):
        array.ctl('shadow', 'map', shadow, 'reader', '--number', str(10 + i), '--force')
        judge(f'copy {i}', content(array, 10 + i), before, discards)
        array.ctl('shadow', 'unmap', shadow)
        array.ctl('shadow', 'delete', shadow)
    for host in ('guest', 'reader'):
        array.ctl('unmap', 'a', host)
    array.ctl('lun', 'delete', 'a')
    print(f'ok {record.entries} entries of the record, {record.writes} writes, {record.discards} discards', flush=True)


def main():
    if (code := skipped()) is not None:
        return code
    seed = int(os.environ.get('UMBRA_TEST_SEED', '20260104'))
    print(f'seed {seed} (UMBRA_TEST_SEED)')
    rng = random.Random(seed)
    with Array() as array:
        array.add_host('guest', INITIATOR)
        array.add_host('reader', 'iqn.2026-01.test:reader')
        for _ in range(int(os.environ.get('UMBRA_KILL_ROUNDS', '2'))):
            a_round(array, rng, os.path.join(array.dir, 'record'))
    return 0


if __name__ == '__main__':
    sys.exit(main())
