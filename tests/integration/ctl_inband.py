#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The control channel through a real iSCSI session: a set's whole life, bad input, paths, rights."""
import os
import struct
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_initiator import Channel, LoginError, OPS, Reply, Session, message, refused  # noqa: E402
from umbra_lab import Array  # noqa: E402

SET = bytes(range(16))
OTHER = bytes(range(16, 32))
COPIES = bytes(range(32, 48))
UNKNOWN = b'\xEE' * 16
LEASE_S = 5  # far longer than from one request to the next, on a busy machine too


def shadows(array):
    return array.ctl('shadow', 'list')['shadows']


def life_of_a_set(array, session):
    channel = Channel(session)
    who = channel.ask('identify', 'ok')
    assert who.initiator_name == session.iqn and who.authenticated == 1 and who.capabilities & 13 == 13
    assert who.array_name == 'lab' and who.commit_budget_ms == 5000 and who.max_set_luns == 64
    assert who.array_id.hex() == array.ctl('status')['array']['id']

    addressed = channel.ask('describe-lun', 'ok').luns[0]
    assert addressed.id.hex() == session.serial(1) == array.ctl('lun', 'show', 'data')['id']
    assert addressed.size == session.blocks(1) * 512 and addressed.number == 1 and addressed.kind == 1

    log_id = bytes.fromhex(session.serial(2))
    session.write(1, 0, b'A' * 4096)
    session.write(2, 8, b'B' * 512)
    ids = channel.make_set(SET, [addressed.id, log_id], keep=False)
    for one in channel.ask('set-luns', 'ok', set_id=SET).luns:
        assert one.set_state == 4 and one.mapped_hosts == 0 and one.created_unix_ms > 1700000000000, vars(one)
    session.write(1, 0, b'C' * 4096)
    assert channel.ask('set-state', 'ok', set_id=SET).state_name == 'committed'
    entries = channel.ask('set-luns', 'ok', set_id=SET).luns
    assert [e.id for e in entries] == ids and all(e.kind == 2 and e.set_id == SET for e in entries)
    assert channel.ask('set-keep', 'ok', set_id=SET).state_name == 'kept'

    # no shadow is visible before it is mapped; then it holds what was there at the cut
    assert session.report_luns() == [1, 2]
    mapped = channel.ask('map', 'ok', lun_id=ids[0])
    assert mapped.lun_number == 3 and session.report_luns() == [1, 2, 3]
    assert session.serial(3) == ids[0].hex()
    assert session.read(3, 0, 8) == b'A' * 4096 and session.read(1, 0, 8) == b'C' * 4096
    session.write(3, 0, b'D' * 512)  # read/write at array level
    assert session.read(3, 0, 1) == b'D' * 512 and session.read(1, 0, 1) == b'C' * 512
    assert channel.ask('map', 'ok', lun_id=ids[0]).lun_number == 3

    channel.ask('unmap', 'ok', lun_id=ids[0], scope=1)
    assert session.report_luns() == [1, 2]
    channel.ask('map', 'ok', lun_id=ids[1])
    # a host wrote to the first one, and nobody sees it now: it goes only when that is meant (flag 1)
    channel.ask('delete', 'denied', lun_id=ids[0])
    channel.ask('delete', 'ok', lun_id=ids[0], flags=1)
    channel.ask('delete', 'ok', lun_id=ids[1])
    for shadow in ids:
        channel.ask('delete', 'ok', lun_id=shadow)  # it is gone already
    assert shadows(array) == [] and session.report_luns() == [1, 2]


def bad_input(array, session):
    channel = Channel(session)
    data_id = bytes.fromhex(session.serial(1))
    for op in ('set-state', 'set-arm', 'set-keep', 'set-luns'):
        channel.ask(op, 'not found', set_id=UNKNOWN)
    channel.ask('set-commit', 'not found', set_id=UNKNOWN, deadline_ms=1000)
    channel.ask('set-abort', 'ok', set_id=UNKNOWN)
    foreign = bytes.fromhex(array.ctl('lun', 'show', 'foreign')['id'])
    channel.ask('set-begin', 'ok', set_id=OTHER)
    channel.ask('set-add', 'LUN not mapped', set_id=OTHER, lun_id=foreign)
    channel.ask('describe-lun', 'LUN not mapped', lun_id=foreign)
    channel.ask('map', 'denied', lun_id=foreign)
    channel.ask('delete', 'denied', lun_id=data_id, scope=2)
    channel.ask('unmap', 'denied', lun_id=data_id, scope=1)
    channel.ask('set-add', 'not supported', set_id=OTHER, lun_id=data_id, copy_kind=3)
    channel.ask('set-commit', 'wrong state', set_id=OTHER, deadline_ms=1000)
    channel.ask('set-add', 'ok', set_id=OTHER, lun_id=data_id)
    channel.ask('set-arm', 'ok', set_id=OTHER)
    channel.ask('set-commit', 'ok', set_id=OTHER, deadline_ms=0)
    channel.ask('set-commit', 'wrong state', set_id=OTHER, deadline_ms=1000)  # a second commit
    channel.ask('set-abort', 'ok', set_id=OTHER)
    assert shadows(array) == []
    channel.ask('break', 'not found', lun_id=UNKNOWN)
    channel.ask('break', 'ok', lun_id=data_id)  # an ordinary LUN is one already
    channel.ask('resync-start', 'not found', lun_id=data_id, target_id=UNKNOWN)
    channel.ask(77, 'not supported', lun_id=data_id)

    # malformed: always a reply
    good = message('set-begin', 4711, set_id=SET)
    for cut in range(1, len(good)):
        assert channel.exchange(good[:cut]).status == 'bad message', cut
    assert channel.exchange(b'X' + good[1:]).status == 'bad message'
    wrong_version = channel.exchange(message('identify', 4712, major=2))
    assert wrong_version.status == 'version not spoken' and wrong_version.major == 1
    assert channel.exchange(message('set-begin', 4713)).status == 'bad message'
    long = bytearray(message('identify', 4714) + bytes.fromhex('70000000') * 8192)
    long[8:12] = struct.pack('>I', len(long))
    assert channel.exchange(bytes(long)).status == 'bad message'  # 32 KiB
    assert channel.exchange(good + bytes(480)).status == 'ok'  # a transfer longer than the message
    channel.ask('set-abort', 'ok', set_id=SET)
    assert array.ctl('set', 'list')['sets'] == []


def copies(array, session):
    """What becomes of a copy besides its deletion, as its host asks for it."""
    channel = Channel(session)
    data_id = bytes.fromhex(session.serial(1))
    session.write(1, 0, b'E' * 4096)
    shadow = channel.make_set(COPIES, [data_id])[0]
    session.write(1, 0, b'F' * 4096)
    # resync: a job; the medium of the LUN has changed for its host
    job = channel.ask('resync-start', 'ok', lun_id=shadow, target_id=data_id)
    end = time.monotonic() + 600
    while job.job_state == 1:
        assert time.monotonic() < end
        time.sleep(0.05)
        job = channel.ask('resync-state', 'ok', job=job.job)
    assert job.job_state == 2 and job.percent == 100, job.fields
    assert session.command(1, bytes(6))[:2] == (2, (6, 0x2800))
    assert session.read(1, 0, 8) == b'E' * 4096
    assert channel.ask('resync-cancel', 'ok', job=job.job).job_state == 2
    channel.ask('resync-state', 'not found', job=job.job + 1)
    # what VSS tells of it is shown to whoever may see it
    channel.ask('notify', 'ok', lun_id=shadow, flags=0x200)
    channel.ask('notify', 'ok', lun_id=shadow, flags=0x400)
    assert channel.ask('describe-lun', 'ok', lun_id=shadow).luns[0].notified == 0x600
    # broken and masked in one request, or in two
    number = channel.ask('map', 'ok', lun_id=shadow).lun_number
    channel.ask('break', 'ok', lun_id=shadow)
    assert session.report_luns() == [1, 2, number]
    channel.ask('delete', 'denied', lun_id=shadow, scope=2)
    channel.ask('break', 'ok', lun_id=shadow, flags=1)
    assert session.report_luns() == [1, 2]
    assert array.ctl('set', 'list')['sets'] == []
    array.ctl('lun', 'delete', shadow.hex())


def sending_again(array, session):
    """The same request over another session is the same request."""
    set_id = os.urandom(16)
    with Session(array, 'h1') as path:
        first, second = Channel(session, lun=1, slot=9), Channel(path, lun=2, slot=9)
        raw = message('set-begin', 99, set_id=set_id)
        reply = first.exchange(raw)
        assert second.exchange(raw).raw == reply.raw
        assert Reply(second.fetch()).raw == reply.raw
        assert second.exchange(message('set-abort', 99, set_id=set_id)).status == 'id in use'
        first.ask('set-add', 'ok', set_id=set_id, lun_id=bytes.fromhex(session.serial(1)))
        second.ask('set-arm', 'ok', set_id=set_id)
        commit = message('set-commit', 100, set_id=set_id, deadline_ms=5000)
        first.post(commit)  # posted here, fetched there, sent again
        reply = Reply(second.fetch())
        assert reply.status == 'ok' and reply.state_name == 'committed'
        assert second.exchange(commit).raw == reply.raw
        assert first.exchange(commit).raw == reply.raw
        second.ask('set-abort', 'ok', set_id=set_id)
    empty = Channel(session, slot=1234)
    failure = refused(empty.fetch)
    assert failure.status == 2 and failure.sense[0] == 5
    # the vendor opcodes carry the same
    assert Channel(session, slot=8, vendor=True).ask('identify').status == 'ok'


def rights(array, session):
    set_id = os.urandom(16)
    channel = Channel(session)
    shadow, = channel.make_set(set_id, [bytes.fromhex(session.serial(1))])
    with Session(array, 'h2') as other, Session(array, 'h3') as plain, Session(array, 'backup') as backup:
        them = Channel(other)
        them.ask('map', 'denied', lun_id=shadow)
        them.ask('delete', 'denied', lun_id=shadow)
        them.ask('set-state', 'not found', set_id=set_id)
        them.ask('set-begin', 'id in use', set_id=set_id)
        # no CHAP: looks, changes nothing
        assert Channel(plain).ask('identify', 'ok').capabilities & 3 == 0
        Channel(plain).ask('set-begin', 'not authenticated', set_id=UNKNOWN)
        # a backup host that has no LUN: through the control LU
        assert backup.report_luns() == [0]
        door = Channel(backup, lun=0)
        door.ask('describe-lun', 'bad message')
        assert door.ask('map', 'ok', lun_id=shadow).lun_number == 1
        assert backup.serial(1) == shadow.hex()
        channel.ask('map', 'ok', lun_id=shadow)
        # both have imported it: the first is done with it, the last one deletes it
        left = channel.ask('delete', 'ok', lun_id=shadow)
        assert [entry.mapped_hosts for entry in left.luns] == [1] and left.luns[0].number == 0
        assert backup.read(1, 0, 1)
        channel.ask('delete', 'busy', lun_id=shadow)
        assert not door.ask('delete', 'ok', lun_id=shadow).luns
    channel.ask('map', 'not found', lun_id=shadow)
    # what the administrator took: a host may import it, never delete it, nor break it off
    array.ctl('set', 'create', 'nightly', 'data')
    mine = bytes.fromhex(shadows(array)[0]['id'])
    channel.ask('map', 'ok', lun_id=mine)
    channel.ask('delete', 'denied', lun_id=mine)
    channel.ask('delete', 'denied', lun_id=mine, scope=2)
    channel.ask('break', 'denied', lun_id=mine)
    channel.ask('unmap', 'ok', lun_id=mine, scope=1)
    channel.ask('delete', 'denied', lun_id=mine)
    assert [bytes.fromhex(s['id']) for s in shadows(array)] == [mine]
    array.ctl('set', 'delete', 'nightly')
    try:
        Session(array, 'h1', secret='a wrong secret')
        raise AssertionError('a wrong secret let us in')
    except LoginError:
        pass
    try:
        Session(array, iqn='iqn.2026-01.test:nobody')
        raise AssertionError('an unknown initiator was let in')
    except LoginError:
        pass


def the_original_goes(array, session):
    """Whoever loses the original loses its copies as well; but when it is deleted, the copy's own host has it still."""
    array.ctl('lun', 'create', 'lost', '--size', '16M')
    number = array.ctl('map', 'lost', 'h1')['number']
    session.report_luns()
    session.write(number, 0, b'G' * 512)
    channel = Channel(session)
    log_id = bytes.fromhex(session.serial(2))
    shadow = channel.make_set(os.urandom(16), [bytes.fromhex(session.serial(number))])[0]
    array.ctl('unmap', 'lost', 'h1')
    assert 'not mapped' in channel.ask('map', 'denied', lun_id=shadow).text
    channel.ask('resync-start', 'denied', lun_id=shadow, target_id=log_id)  # it would read the copy for the host
    array.ctl('lun', 'delete', 'lost')
    with Session(array, 'h2') as other:
        assert 'host h1 took it' in Channel(other).ask('map', 'denied', lun_id=shadow).text
    number = channel.ask('map', 'ok', lun_id=shadow).lun_number
    assert session.read(number, 0, 1) == b'G' * 512
    channel.ask('delete', 'ok', lun_id=shadow)


def wait_for(what, condition, seconds=600):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def nothing_is_left_behind(array):
    """A host that goes in the middle of a set; a lease that ends."""
    set_id = os.urandom(16)
    session = Session(array, 'h1')
    channel = Channel(session)
    channel.make_set(set_id[::-1], [bytes.fromhex(session.serial(1))], keep=False)
    session.close(logout=False)
    assert len(shadows(array)) == 1
    wait_for('the host is gone, its set is not', lambda: not array.ctl('set', 'list')['sets'])
    assert shadows(array) == []
    with Session(array, 'h1') as again:
        Channel(again).make_set(set_id, [bytes.fromhex(again.serial(1))], keep=False)
        end = time.monotonic() + LEASE_S + 2  # polls renew the lease
        while time.monotonic() < end:
            assert Channel(again).ask('set-state', 'ok', set_id=set_id).state_name == 'committed'
            time.sleep(0.2)
        wait_for('the lease has ended, the set has not', lambda: not array.ctl('set', 'list')['sets'])
        assert shadows(array) == []
        Channel(again).ask('set-keep', 'wrong state', set_id=set_id)
        # a commit after the lease has ended
        late = os.urandom(16)
        Channel(again).ask('set-begin', 'ok', set_id=late)
        Channel(again).ask('set-add', 'ok', set_id=late, lun_id=bytes.fromhex(again.serial(1)))
        Channel(again).ask('set-arm', 'ok', set_id=late)
        wait_for('the lease has ended, the set has not', lambda: not array.ctl('set', 'list')['sets'])
        Channel(again).ask('set-commit', 'wrong state', set_id=late, deadline_ms=5000)
        assert shadows(array) == []


def costs_and_labels(array, session):
    """What a host tells of its set stands with it, over a power loss of the array too."""
    channel = Channel(session)
    data = channel.ask('describe-lun', 'ok').luns[0].id
    times = {'writers': 1, 'frozen_us': 812000, 'flush_us': 61000, 'commit_us': 12000, 'release_us': 22000}
    set_id = os.urandom(16)
    channel.ask('set-begin', 'ok', set_id=set_id)
    channel.ask('set-add', 'ok', set_id=set_id, lun_id=data)
    assert channel.ask('set-label', 'ok', set_id=set_id, label='nightly').label == 'nightly'
    channel.ask('set-tell', 'wrong state', set_id=set_id, **times)
    channel.ask('set-arm', 'ok', set_id=set_id)
    channel.ask('set-commit', 'ok', set_id=set_id, deadline_ms=5000)
    channel.ask('set-keep', 'ok', set_id=set_id)
    view = array.ctl('set', 'show', set_id.hex())
    assert (view['label'], view['writers'], view['held_us']) == ('nightly', 'not told', None), view
    assert 'not told' in array.text('set', 'show', set_id.hex())
    channel.ask('set-tell', 'ok', set_id=set_id, **times)
    channel.ask('set-tell', 'ok', set_id=set_id, import_us=2100000)
    channel.ask('set-tell', 'bad message', set_id=set_id, writers=1)
    view = array.ctl('set', 'show', set_id.hex())
    assert (view['writers'], view['consistency'], view['held_us'], view['import_us']) == (
        'took part', 'application', 95000, 2100000), view
    text = array.text('set', 'show', set_id.hex())
    assert 'took part: application-consistent' in text and '95.0 ms: flush 61.0 ms' in text and 'nightly' in text, text
    array.ctl('set', 'delete', set_id.hex())


def without_vss(array, session):
    """One request: a kept set; the same rights as step by step."""
    channel = Channel(session)
    data, log = (channel.ask('describe-lun', 'ok', lun_id=bytes.fromhex(array.ctl('lun', 'show', name)['id'])).luns[0].id
                 for name in ('data', 'log'))
    foreign = bytes.fromhex(array.ctl('lun', 'show', 'foreign')['id'])
    set_id = os.urandom(16)
    channel.ask('set-take', 'LUN not mapped', set_id=set_id, luns=[data, foreign])
    channel.ask('set-take', 'not found', set_id=set_id, luns=[data, bytes(16)])
    channel.ask('set-take', 'bad message', set_id=set_id)
    reply = channel.ask('set-take', 'ok', set_id=set_id, luns=[data, log], label='sql')
    assert [lun.origin for lun in reply.luns] == [data, log] and reply.state_name == 'kept' and reply.writers == 3
    channel.ask('set-take', 'id in use', set_id=set_id, luns=[data])
    view = array.ctl('set', 'show', set_id.hex())
    assert (view['writers'], view['consistency'], view['label']) == ('no VSS', 'crash', 'sql'), view
    for lun in reply.luns:
        channel.ask('delete', 'ok', lun_id=lun.id)
    assert shadows(array) == []


def main():
    memory = '--memory' in sys.argv
    config = {'copysets': {'lease': f'{LEASE_S}s', 'host_gone': '1s', 'number_rest': '1ms'}}
    with Array(config) as array:
        for name, size in (('data', '64M'), ('log', '32M'), ('foreign', '16M')):
            array.ctl('lun', 'create', name, '--size', size)
        array.add_host('h1', 'iqn.2026-01.test:h1', secret='secret-of-h1-')
        array.add_host('h2', 'iqn.2026-01.test:h2', secret='secret-of-h2-')
        array.add_host('h3', 'iqn.2026-01.test:h3')
        array.add_host('backup', 'iqn.2026-01.test:backup', '--control-lu', '--import', 'any',
                       secret='secret-of-backup')
        array.ctl('map', 'data', 'h1')
        array.ctl('map', 'log', 'h1')
        array.ctl('map', 'foreign', 'h2')
        array.ctl('map', 'foreign', 'h3')
        with Session(array, 'h1') as session:
            for step in (life_of_a_set, bad_input, costs_and_labels, without_vss, copies, sending_again, rights, the_original_goes):
                step(array, session)
                print('ok', step.__name__)
        nothing_is_left_behind(array)
        print('ok', nothing_is_left_behind.__name__)
        if not memory:
            array.kill9()
            array.restart()
            assert shadows(array) == [] and len(array.ctl('lun', 'list')['luns']) == 3
            print('ok restart')
    assert len(OPS) == 22


if __name__ == '__main__':
    main()
