#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Offloaded copies over iSCSI: tokens and EXTENDED COPY between two LUNs and two hosts. Over a store that clones, the
copy takes no space where whole chunks lie alike, and what is copied is that of one instant. --memory: not the pool."""
import os
import struct
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_initiator import ScsiError, Session, refused  # noqa: E402
from umbra_lab import Array  # noqa: E402

MIB = 1 << 20
CHUNK = 128  # blocks that can be shared
PATIENCE_S = 60 * float(os.environ.get('UMBRA_TEST_PATIENCE', '1'))


def ranges(*pairs):
    return b''.join(struct.pack('>QI4x', lba, blocks) for lba, blocks in pairs)


def populate(session, lun, list_id, *pairs, immediate=False, timeout_s=0):
    body = struct.pack('>BxIIxxH', int(immediate), timeout_s, 0, 16 * len(pairs)) + ranges(*pairs)
    data = struct.pack('>H', len(body)) + body
    session.good('POPULATE TOKEN', lun, struct.pack('>BB4xIIxx', 0x83, 0x10, list_id, len(data)), out=data)


def write_using(session, lun, list_id, token, *pairs, offset=0, immediate=False):
    body = struct.pack('>B5xQ', int(immediate), offset) + token + struct.pack('>6xH', 16 * len(pairs)) + ranges(*pairs)
    data = struct.pack('>H', len(body)) + body
    session.good('WRITE USING TOKEN', lun, struct.pack('>BB4xIIxx', 0x83, 0x11, list_id, len(data)), out=data)


def information(session, lun, list_id):
    """(state, blocks, token or None) of RECEIVE ROD TOKEN INFORMATION."""
    data = session.good('RECEIVE ROD TOKEN INFORMATION', lun, struct.pack('>BBI4xIxx', 0x84, 7, list_id, 1024),
                        length_in=1024)
    blocks, at = struct.unpack('>Q', data[16:24])[0], 32 + data[13]
    length = struct.unpack('>I', data[at:at + 4])[0]
    return data[5], blocks, data[at + 6:at + 4 + length] if length else None


def finished(session, lun, list_id):
    end = time.monotonic() + PATIENCE_S
    while True:
        found = information(session, lun, list_id)
        if found[0] not in (0x11, 0x12):
            return found
        assert time.monotonic() < end, 'the copy does not end'
        time.sleep(0.05)


def token_of(session, lun, *pairs, **options):
    populate(session, lun, 1, *pairs, **options)
    state, blocks, token = finished(session, lun, 1)
    assert (state, blocks) == (1, sum(count for _, count in pairs)), (state, blocks)
    assert len(token) == 512
    return token


def naa(session, lun):
    page, at = session.inquiry(lun, 0x83), 4
    while page[at + 1] & 0x3F != 3:
        at += 4 + page[at + 3]
    return page[at + 4:at + 12]


def extended_copy(session, asked, source, dest, lba, to, blocks):
    """LUN numbers of the session."""
    def target(lun):
        return struct.pack('>B3xBBxB', 0xE4, 1, 3, 8) + naa(session, lun) + bytes(13) + b'\x00\x02\x00'
    segment = struct.pack('>BBHHHxxHQQ', 2, 0, 24, 0, 1, blocks, lba, to)
    data = struct.pack('>BBH4xII', 7, 0, 64, len(segment), 0) + target(source) + target(dest) + segment
    session.good('EXTENDED COPY', asked, struct.pack('>BB8xIxx', 0x83, 0, len(data)), out=data)
    status = session.good('RECEIVE COPY STATUS', asked, struct.pack('>BBB7xIxx', 0x84, 0, 7, 64), length_in=64)
    assert status[4] == 1 and struct.unpack('>I', status[8:12])[0] == 512 * blocks, status.hex()


def write(session, lun, lba, data):
    for at in range(0, len(data), MIB):
        session.write(lun, lba + at // 512, data[at:at + MIB])


def read(session, lun, lba, length):
    return b''.join(session.read(lun, lba + at // 512, min(MIB, length - at) // 512) for at in range(0, length, MIB))


def pattern(seed, length):
    line = bytes((seed * 7 + i * 13) & 0xFF for i in range(509))
    return (line * (length // len(line) + 1))[:length]


def used(array):
    return array.ctl('status')['pool']['used_bytes']


def instants(one, two):
    """What a token stands for does not change with its source; another host may write it elsewhere."""
    old = pattern(1, 4 * MIB)
    write(one, 1, 0, old)
    token = token_of(one, 1, (0, 4096), (4096, 4096))
    write(one, 1, 0, pattern(2, 4 * MIB))
    write_using(two, 1, 2, token, (0, 8192))
    assert finished(two, 1, 2)[:2] == (1, 8192)
    assert read(two, 1, 0, 4 * MIB) == old
    # in the background, from the middle of it, to places that lie differently
    write_using(two, 1, 3, token, (20001, 1000), (30003, 24), offset=777, immediate=True)
    assert finished(two, 1, 3)[:2] == (1, 1024)
    assert read(two, 1, 20001, 1000 * 512) + read(two, 1, 30003, 24 * 512) == old[777 * 512:(777 + 1024) * 512]
    # the LUN that it was taken from
    write_using(one, 1, 2, token, (0, 8192))
    assert read(one, 1, 0, 4 * MIB) == old
    return token


def zeros(one):
    token = struct.pack('>I2xH', 0xFFFF0001, 504) + bytes(504)
    write(one, 1, 60000, pattern(3, MIB))
    write_using(one, 1, 4, token, (60001, 2046))
    data = read(one, 1, 60000, MIB)
    assert data == pattern(3, MIB)[:512] + bytes(2046 * 512) + pattern(3, MIB)[-512:]


def shared(array, one):
    """Where both lie alike, a copy takes no space worth mentioning."""
    size = 32 * MIB
    write(one, 1, 1024 * CHUNK, pattern(4, size))
    one.flush(1)
    before = used(array)
    extended_copy(one, 2, 1, 2, 1024 * CHUNK, 2048 * CHUNK, 65535)
    token = token_of(one, 1, (1024 * CHUNK, size // 512))
    write_using(one, 2, 5, token, (1024 * CHUNK, size // 512))
    assert finished(one, 2, 5)[:2] == (1, size // 512)
    assert read(one, 2, 1024 * CHUNK, size) == pattern(4, size)
    assert read(one, 2, 2048 * CHUNK, 65535 * 512) == pattern(4, size)[:65535 * 512]
    grown = used(array) - before
    assert grown < size // 8, f'copies of {2 * size} bytes took {grown}'
    # and each goes its own way afterwards
    write(one, 1, 1024 * CHUNK, pattern(5, MIB))
    write(one, 2, 2048 * CHUNK, pattern(6, MIB))
    assert read(one, 2, 1024 * CHUNK, size) == pattern(4, size)
    assert read(one, 1, 1024 * CHUNK + 2048, size - MIB) == pattern(4, size)[MIB:]
    return token


def ends(array, one, two, token):
    bad = token[:-1] + bytes([token[-1] ^ 1])
    assert refused(write_using, two, 1, 6, bad, (0, 8)).sense == (5, 0x2305)
    quick = token_of(one, 1, (0, 8), timeout_s=1)
    end = time.monotonic() + PATIENCE_S
    while True:  # asking does not renew it, for what is asked for is refused
        time.sleep(1.2)
        try:
            write_using(two, 1, 6, quick, (0, 8))
        except ScsiError as error:
            assert error.sense == (5, 0x2307), error
            break
        assert time.monotonic() < end, 'the token does not run out'
    # the host that it was made for loses the source; so does the token
    array.ctl('unmap', 'a', 'one')
    assert refused(write_using, two, 1, 6, token, (0, 8)).sense == (5, 0x2306)
    array.ctl('map', 'a', 'one')


def restarts(array):
    """A token ends with umbrad, what was copied does not; nor is anything left behind that takes space."""
    with Session(array, 'one') as one:
        second, number = one.report_luns()  # the first one has been mapped again, to a new number
        token = token_of(one, number, (0, 4096))
        one.flush(second)
    array.kill9()
    array.restart()
    with Session(array, 'one') as one:
        assert refused(write_using, one, number, 1, token, (0, 8)).sense == (5, 0x2304)
        assert read(one, second, 1024 * CHUNK, MIB) == pattern(4, MIB)


def main():
    memory = '--memory' in sys.argv
    with Array(pool='/nonexistent' if memory else None) as array:
        for name in ('a', 'b', 'c'):
            array.ctl('lun', 'create', name, '--size', '256M')
        for host, luns in (('one', 'ab'), ('two', 'c')):
            array.add_host(host, f'iqn.2026-01.test:{host}')
            for lun in luns:
                array.ctl('map', lun, host)
        with Session(array, 'one') as one, Session(array, 'two') as two:
            if 0x8F not in one.inquiry(1, 0x00)[4:]:
                print('the store does not clone: nothing is offered')
                return
            token = instants(one, two)
            zeros(one)
            if not memory:
                shared(array, one)
            ends(array, one, two, token)
        if not memory:
            restarts(array)
    print('offloaded copies: good')


if __name__ == '__main__':
    main()
