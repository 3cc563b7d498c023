#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""SANITIZE outlives a kill -9 of umbrad: begun again by the first command, finished, and then a LUN like any other. Its
shadow copies keep what they have, and an orderly stop does not wait for its end."""
import os
import struct
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_initiator import Session  # noqa: E402
from umbra_lab import Array  # noqa: E402

MIB, SIZE = 1 << 20, 4 << 20
IN_PROGRESS = (2, 0x041B)
PATIENCE_S = 120 * float(os.environ.get('UMBRA_TEST_PATIENCE', '1'))


def overwrite(session, lun, byte):
    """IMMED, one pass."""
    data = struct.pack('>BxH', 1, 4) + bytes([byte]) * 4
    session.good('SANITIZE', lun, struct.pack('>BB5xHx', 0x48, 0x81, len(data)), out=data)


def sense(session, lun):
    """The sense of a TEST UNIT READY that is no attention, or None."""
    for _ in range(8):
        status, found, _ = session.command(lun, bytes(6))
        if status == 0:
            return None
        if found[0] != 6:
            return found
    raise AssertionError('attentions without end')


def until_ready(session, lun):
    end = time.monotonic() + PATIENCE_S
    while sense(session, lun) == IN_PROGRESS:
        assert time.monotonic() < end, 'the SANITIZE does not end'
        time.sleep(0.2)
    assert sense(session, lun) is None


def main():
    with Array(config={'scsi': {'sanitize_rate': '1M'}}) as array:
        array.ctl('lun', 'create', 'disk', '--size', str(SIZE))
        array.add_host('one', 'iqn.2026-01.test:one')
        array.ctl('map', 'disk', 'one')
        with Session(array, 'one') as one:
            for at in range(0, SIZE, MIB):
                one.write(1, at // 512, b'\x11' * MIB)
            one.flush(1)
            array.ctl('set', 'create', 'before', 'disk')
            shadow = array.ctl('set', 'show', 'before')['members'][0]['shadow']
            overwrite(one, 1, 0xA5)
            assert sense(one, 1) == IN_PROGRESS
            refused = array.ctl('shadow', 'resync', shadow, 'disk', want=1)
            assert 'is being sanitized' in str(refused), refused
        array.kill9()
        array.restart()
        with Session(array, 'one') as one:
            assert sense(one, 1) == IN_PROGRESS
        array.restart()  # in good order
        with Session(array, 'one') as one:
            assert sense(one, 1) == IN_PROGRESS
            until_ready(one, 1)
            assert one.read(1, 0, SIZE // 512) == b'\xA5' * SIZE
            one.write(1, 0, b'\x22' * 512)
            one.flush(1)
        array.kill9()
        array.restart()
        with Session(array, 'one') as one:
            assert sense(one, 1) is None, 'it began again'
            assert one.read(1, 0, 1) == b'\x22' * 512
            shadow = array.ctl('set', 'show', 'before')['members'][0]['shadow']
            number = array.ctl('map', shadow, 'one')['number']
            assert one.read(number, 0, SIZE // 512) == b'\x11' * SIZE, 'the shadow copy has lost its data'
    print('a SANITIZE outlives umbrad')


if __name__ == '__main__':
    main()
