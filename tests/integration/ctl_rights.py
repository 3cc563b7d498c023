#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Whose a LUN, a number and a copy is, with the real daemon: over restarts and kills, and under other initiator names."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_initiator import Session  # noqa: E402
from umbra_lab import Array, run_ctl  # noqa: E402


def refused(array, *arguments):
    """The sentence of a refusal with EBUSY."""
    error = array.ctl(*arguments, want=1)['error']
    assert error['data']['name'] == 'EBUSY', error
    return error['message']


def warned(array, *arguments):
    done = run_ctl(*arguments, socket=array.socket, check=False)
    assert done.returncode == 0, done
    return 'umbractl: warning: ' in done.stderr


def a_number_rests_over_restarts():
    """A host's stale disk must not meet another LUN: its initiator recovers the session and does not rescan."""
    with Array() as array:
        for name in ('old', 'new'):
            array.ctl('lun', 'create', name, '--size', '16M')
        array.add_host('h', 'iqn.2026-01.test:h')
        assert array.ctl('map', 'old', 'h')['number'] == 1
        with Session(array, 'h') as session:
            session.write(1, 0, b'a' * 512)
            assert warned(array, 'unmap', 'old', 'h')
            for how in (array.kill9, array.stop, array.kill9):
                how()
                array.start()
                # whether or not the host is back by now
                assert 'rests' in refused(array, 'map', 'new', 'h', '--number', '1')
                with Session(array, 'h') as again:
                    assert 'old' in refused(array, 'map', 'new', 'h', '--number', '1')
                    number = array.ctl('map', 'new', 'h')['number']
                    assert number > 1, 'the number of another LUN was given out after a restart'
                    status, _, _ = again.command(1, bytes([0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0]), b'x' * 512)
                    assert status, 'a stale disk could write'
                    array.ctl('unmap', 'new', 'h')
            session.close(logout=False)
        assert array.ctl('map', 'old', 'h', '--number', '1')['number'] == 1, 'its own disk may come back'
        array.ctl('unmap', 'old', 'h')
        assert array.ctl('map', 'new', 'h', '--number', '1', '--force')['number'] == 1
        array.restart()
        with Session(array, 'h') as session:
            assert session.read(1, 0, 1) == bytes(512)
    print('ok a number rests over restarts')


def a_lun_in_use_is_warned_of():
    with Array() as array:
        array.ctl('lun', 'create', 'data', '--size', '16M')
        array.add_host('h', 'iqn.2026-01.test:h')
        array.ctl('map', 'data', 'h')
        shadow = array.ctl('set', 'create', 'good', 'data')['members'][0]['shadow']
        assert not warned(array, 'shadow', 'resync', shadow, 'data')
        with Session(array, 'h'):
            assert warned(array, 'shadow', 'resync', shadow, 'data')
            assert warned(array, 'shadow', 'resync', shadow, 'data', '--no-wait')
            assert array.ctl('lun', 'delete', 'data', want=1)['error']['data']['name'] == 'EBUSY'
            array.ctl('shadow', 'map', shadow, 'h')
            assert warned(array, 'shadow', 'unmap', shadow)
        assert not warned(array, 'unmap', 'data', 'h')
    print('ok a LUN in use is warned of')


def main():
    a_number_rests_over_restarts()
    a_lun_in_use_is_warned_of()


if __name__ == '__main__':
    main()
