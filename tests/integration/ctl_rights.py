#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Whose a LUN, a number and a copy is, with the real daemon: over restarts and kills, and under other initiator names."""
import os
import struct
import sys
import time
import zlib

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_initiator import Channel, Reply, Session, message  # noqa: E402
from umbra_lab import Array, run_ctl  # noqa: E402


def wait_for(what, is_so, seconds=60):
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, what
        time.sleep(0.05)


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


def an_initiator_that_leaves_its_host_is_warned_of():
    """As another host's it would take that one's LUNs for its own disks: open-iscsi does not look."""
    first, second = 'iqn.2026-01.test:first', 'iqn.2026-01.test:second'
    with Array() as array:
        for name in ('a', 'b'):
            array.ctl('lun', 'create', name, '--size', '16M')
        array.add_host('h', first, '--iqn', second)
        assert not warned(array, 'host', 'set', 'h', '--iqn', first), 'it was not there'
        array.ctl('map', 'a', 'h')
        with Session(array, 'h') as session:
            session.read(1, 0, 1)
            assert not warned(array, 'host', 'set', 'h', '--iqn', first, '--iqn', second), 'it stays'
            assert warned(array, 'host', 'set', 'h', '--iqn', second)
            session.close(logout=False)
        array.ctl('unmap', 'a', 'h')
        assert warned(array, 'host', 'delete', 'h'), 'the numbers that rest are forgotten'
        array.add_host('never', first)
        array.ctl('map', 'b', 'never')
        array.ctl('unmap', 'b', 'never')
        assert not warned(array, 'host', 'delete', 'never'), 'it has seen no LUN'
    print('ok an initiator that leaves its host is warned of')


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


def two_names(array):
    """A host that logs in by either of two initiator names."""
    for name in ('data', 'other'):
        array.ctl('lun', 'create', name, '--size', '16M')
    array.add_host('h', 'iqn.2026-01.test:one', '--iqn', 'iqn.2026-01.test:two', '--control-without-chap')
    array.ctl('map', 'data', 'h')
    return (Session(array, iqn='iqn.2026-01.test:one'), Session(array, iqn='iqn.2026-01.test:two'),
            bytes.fromhex(array.ctl('lun', 'show', 'data')['id']))


def set_state(array, set_id):
    return {entry['id']: entry['state'] for entry in array.ctl('set', 'list')['sets']}.get(set_id.hex())


def a_set_is_its_hosts_whatever_the_path():
    """A commit that fails over to the other initiator name's path succeeds; so does all else."""
    with Array({'copysets': {'host_gone': '1s'}}) as array:
        one, two, lun = two_names(array)
        first, second, set_id = Channel(one), Channel(two), os.urandom(16)
        first.ask('set-begin', 'ok', set_id=set_id)
        shadow = second.ask('set-add', 'ok', set_id=set_id, lun_id=lun).lun_id
        assert first.ask('describe-lun', 'ok', lun_id=shadow).luns[0].id == shadow
        first.ask('set-arm', 'ok', set_id=set_id)
        # OUT over one path, IN over the other; and the same request again: one piece of work, one answer
        commit = message('set-commit', 77, set_id=set_id, deadline_ms=5000)
        first.post(commit)
        done = Reply(second.fetch())
        assert done.status == 'ok' and done.request_id == 77, done.fields
        assert second.exchange(commit).fields == done.fields
        # one path goes, for longer than host_gone: the host is there
        one.close()
        time.sleep(2.5)
        assert set_state(array, set_id) == 'committed'
        second.ask('set-keep', 'ok', set_id=set_id)
        one = Session(array, iqn='iqn.2026-01.test:one')
        first = Channel(one)
        job = second.ask('resync-start', 'ok', lun_id=shadow, target_id=lun).job
        wait_for('the resync does not end', lambda: first.ask('resync-state', 'ok', job=job).job_state == 2)
        lost = os.urandom(16)
        second.make_set(lost, [lun], keep=False)
        for session in (one, two):
            session.close()
        wait_for('the host has gone, its set has not', lambda: set_state(array, lost) is None)
        assert set_state(array, set_id) == 'kept'
    print('ok a set is its hosts whatever the path')


def a_rebuilt_server_has_its_copies():
    with Array() as array:
        one, two, lun = two_names(array)
        shadow, = Channel(one).make_set(os.urandom(16), [lun])
        one.close()
        two.close()
        array.ctl('host', 'set', 'h', '--iqn', 'iqn.2026-01.test:rebuilt')
        array.add_host('stranger', 'iqn.2026-01.test:stranger', '--control-without-chap')
        array.ctl('unmap', 'data', 'h')
        array.ctl('lun', 'delete', 'data')  # the copy is all that is left
        door = array.ctl('map', 'other', 'h')['number']
        array.ctl('map', 'other', 'stranger')
        for how in (None, array.kill9):
            if how:
                how()
                array.start()
            with Session(array, 'stranger') as session:
                reply = Channel(session).ask('map', 'denied', lun_id=shadow)
                assert 'host h took it' in reply.text, reply.text
            with Session(array, iqn='iqn.2026-01.test:rebuilt') as session:
                channel = Channel(session, lun=door)
                assert shadow in [entry.id for entry in channel.ask('list', 'ok').luns]
                number = channel.ask('map', 'ok', lun_id=shadow).lun_number
                assert session.read(number, 0, 1) == bytes(512)
                channel.ask('unmap', 'ok', lun_id=shadow, scope=1)
        with Session(array, iqn='iqn.2026-01.test:rebuilt') as session:
            Channel(session, lun=door).ask('delete', 'ok', lun_id=shadow)
        assert array.ctl('host', 'add', 'iqn.x', '--iqn', 'iqn.2026-01.test:x', want=1)
    print('ok a rebuilt server has its copies')


# What VSS sets on a copy's partitions: read-only, shadow copy, hidden, no drive letter (bits 60 to 63).
MARKS = 0xF << 60
DATA_PARTITION = bytes.fromhex('a2a0d0ebe5b9334487c068b6b72699c7')
BLOCKS = 16 * 2048


def put_gpt(session, number, disk, marks):
    """Two partitions; disk: a letter, from which all identity is made."""
    entries = b''.join(DATA_PARTITION + disk * 15 + bytes([i]) + struct.pack('<QQQ', 2048 * i, 2048 * i + 99, marks)
                       + bytes(72) for i in (1, 2)).ljust(16384, b'\0')

    def header(here, other, table):
        raw = bytearray(b'EFI PART' + struct.pack('<IIIIQQQQ', 0x10000, 92, 0, 0, here, other, 34, BLOCKS - 34)
                        + disk * 16 + struct.pack('<QIII', table, 128, 128, zlib.crc32(entries)))
        struct.pack_into('<I', raw, 16, zlib.crc32(raw))
        return bytes(raw).ljust(512, b'\0')

    protective = bytearray(512)
    protective[450], protective[510:512] = 0xEE, b'\x55\xaa'
    session.write(number, 0, bytes(protective) + header(1, BLOCKS - 1, 2) + entries)
    session.write(number, BLOCKS - 33, entries + header(BLOCKS - 1, 1, BLOCKS - 33))
    session.flush(number)


def get_gpt(session, number):
    """Both tables whole and alike: (disk's identity, partitions' identities, attributes)."""
    found = []
    for at, table in ((1, 2), (BLOCKS - 1, BLOCKS - 33)):
        raw, entries = bytearray(session.read(number, at, 1)[:92]), session.read(number, table, 32)
        crc, = struct.unpack_from('<I', raw, 16)
        struct.pack_into('<I', raw, 16, 0)
        assert zlib.crc32(raw) == crc and struct.unpack_from('<I', raw, 88)[0] == zlib.crc32(entries), 'a broken GPT'
        found.append((bytes(raw[56:72]), entries[16:32] + entries[144:160],
                      struct.unpack_from('<Q', entries, 48)[0] | struct.unpack_from('<Q', entries, 176)[0]))
    assert found[0] == found[1], found
    return found[0]


def identity(disk):
    return disk * 16, disk * 15 + b'\x01' + disk * 15 + b'\x02'


def put_mbr(session, lun, signature):
    # one partition of NTFS from sector 2,048 on, as Windows makes it
    entry = bytes([0, 0, 0, 0, 7, 0, 0, 0]) + struct.pack('<II', 2048, 16384)
    session.write(lun, 0, bytes(440) + struct.pack('<IH', signature, 0) + entry + bytes(48) + b'\x55\xaa')


def on_an_mbr_disk_the_host_is_asked():
    """Where VSS's marks lie on such a disk nobody says: what to do is told, and whose the signature is."""
    with Array({'copysets': {'number_rest': '1ms'}}) as array:
        array.ctl('lun', 'create', 'data', '--size', '16M')
        array.add_host('h', 'iqn.2026-01.test:h')
        array.ctl('map', 'data', 'h', '--number', '1')
        with Session(array, 'h') as session:
            put_mbr(session, 1, 0xAABBCCDD)
            shadow = array.ctl('set', 'create', 's', 'data')['members'][0]['shadow']
            put_mbr(session, 1, 0x11223344)
            done = array.ctl('shadow', 'resync', shadow, 'data')['note']
            assert 'attributes volume clear' in done and 'signature 11223344, as the LUN had before' in done, done
            assert struct.unpack_from('<I', session.read(1, 0, 1), 440)[0] == 0x11223344
            array.ctl('shadow', 'map', shadow, 'h')
            done = array.ctl('shadow', 'break', shadow)['note']
            assert 'attributes volume clear' in done and done.endswith('signature AABBCCDD'), done
    print('ok on an MBR disk the host is asked')


def an_administrators_way_back_leaves_no_marks():
    """A copy that VSS made has its marks in its partition table, and an import another identity of the disk."""
    with Array({'copysets': {'number_rest': '1ms'}}) as array:
        array.ctl('lun', 'create', 'data', '--size', '16M')
        array.ctl('lun', 'create', 'blank', '--size', '16M')
        array.add_host('h', 'iqn.2026-01.test:h')
        array.ctl('map', 'data', 'h', '--number', '1')
        array.ctl('map', 'blank', 'h', '--number', '2')
        with Session(array, 'h') as session:
            put_gpt(session, 1, b'i', MARKS | 1)  # as an imported copy: marked, and of another identity
            session.write(1, 5000, b'old' + bytes(509))
            shadow = array.ctl('set', 'create', 'good', 'data')['members'][0]['shadow']
            put_gpt(session, 1, b'o', 0)
            session.write(1, 5000, b'new' + bytes(509))
            done = array.ctl('shadow', 'resync', shadow, 'data')
            assert 'marks were taken off' in done['note'] and '{6F6F6F6F-' in done['note'], done
            assert get_gpt(session, 1) == (*identity(b'o'), 1) and session.read(1, 5000, 1)[:3] == b'old'
            array.kill9()
        array.start()
        with Session(array, 'h') as session:
            assert get_gpt(session, 1) == (*identity(b'o'), 1)
            # a LUN that had no table has the copy's identity; what is asked to stay stays
            array.ctl('shadow', 'resync', shadow, 'blank')
            assert get_gpt(session, 2) == (*identity(b'i'), 1)
            array.ctl('shadow', 'resync', shadow, 'data', '--keep-marks')
            assert get_gpt(session, 1) == (*identity(b'i'), MARKS | 1)
            number = array.ctl('shadow', 'map', shadow, 'h')['number']
            broken = array.text('shadow', 'break', shadow)
            assert 'VSS\'s marks were taken off its partitions; disk identity {69696969-' in broken, broken
            assert get_gpt(session, number) == (*identity(b'i'), 1) and session.read(number, 5000, 1)[:3] == b'old'
            # a damaged table is left alone, and said
            session.write(1, 2, bytes(512))
            shadow = array.ctl('set', 'create', 'damaged', 'data')['members'][0]['shadow']
            assert 'damaged' in array.ctl('shadow', 'break', shadow)['note']
        done = array.ctl('shadow', 'resync', array.ctl('set', 'create', 'n', 'blank')['members'][0]['shadow'], 'blank')
        assert 'no marks' in done['note'], done
    print('ok an administrators way back leaves no marks')


def main():
    an_administrators_way_back_leaves_no_marks()
    on_an_mbr_disk_the_host_is_asked()
    a_set_is_its_hosts_whatever_the_path()
    a_rebuilt_server_has_its_copies()
    a_number_rests_over_restarts()
    an_initiator_that_leaves_its_host_is_warned_of()
    a_lun_in_use_is_warned_of()


if __name__ == '__main__':
    main()
