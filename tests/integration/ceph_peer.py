#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What two controllers of an array in Ceph say to each other, with the rights that docs/ceph.md names and no more: a change is
followed when it is made; reservations, mode pages and logs are the owner's through the standby path, too, and what is registered
there holds after a takeover; foreign bytes harm nobody; a controller that is started again, or whose listening was cut off, is heard."""
import os
import struct
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ceph_controllers import (BLOCK, STANDBY, Controller, Session, block_of, end_well, names, prepare, read10,  # noqa: E402
                              removed_at_the_end, run_step, wait_until, write10)
from ceph_rights import documented  # noqa: E402
from umbra_ceph import Cluster, end_in_order, free_port, skip_without_store  # noqa: E402
from umbra_lab import run_ctl  # noqa: E402

STARTS = 5
CHANGES, PATIENT_S = 8, 40  # who looks every ten seconds only takes twice as long for so many
BUSY, CONFLICT = 0x08, 0x18
ABORTED = (0xB, 0)


def start(cluster):
    for attempt in range(STARTS):
        ports = [free_port(), free_port()]
        pair = Controller(cluster, 1, ports), Controller(cluster, 2, ports)
        try:
            for controller in pair:
                controller.config['rbd']['client'] = 'umbra'
                controller.write_config()
                controller.start()
            return pair
        except RuntimeError as error:
            for controller in reversed(pair):
                controller.remove()
            if 'cannot be opened' not in str(error) or attempt == STARTS - 1:
                raise
    return None


# ---- SCSI


def pr_out(session, action, key, action_key, kind=0, all_ports=False):
    data = struct.pack('>QQ4xBxxx', key, action_key, 4 if all_ports else 0)
    return session.do(1, struct.pack('>BBBxxIx', 0x5F, action, kind, 24), out=data)[:2]


def keys(session):
    data = session.good(1, b'\x5e\0\0\0\0\0\0\x10\0\0', length=4096)
    return sorted(struct.unpack('>Q', data[i:i + 8])[0] for i in range(8, len(data), 8))


def full_status(session):
    """[(key, port)] of READ FULL STATUS"""
    data = session.good(1, b'\x5e\3\0\0\0\0\0\x10\0\0', length=4096)[8:]
    found = []
    while data:
        key, port = struct.unpack('>Q10xH', data[:20])
        found.append((key, port))
        data = data[24 + struct.unpack('>I', data[20:24])[0]:]
    return sorted(found)


def caching(session):
    return session.good(1, b'\x1a\x08\x08\0\xff\0', length=255)


def passes(session):
    """Whether the owner answers through this path."""
    status, sense, _ = session.do(1, b'\x5e\0\0\0\0\0\0\x10\0\0', length=4096)
    assert status in (0, BUSY) or sense in (STANDBY, (2, 0x040A)), (status, sense)
    return status == 0


# ---- the steps


def a_change_is_followed_when_it_is_made(owner, other):
    wait_until('the hosts are known', lambda: names(other, 'host') == ['a', 'b'])
    session = Session(other, 'a')
    wait_until('the mapping is known', lambda: session.luns() == [1])
    begun = time.monotonic()
    for number in range(CHANGES):
        owner.ctl('lun', 'rename', *(('data', 'other') if number % 2 == 0 else ('other', 'data')))
        wait_until('the new name is known', lambda: names(other, 'lun') == names(owner, 'lun'))
    seconds = time.monotonic() - begun
    print(f'{CHANGES} changes: {seconds:.1f} s')
    assert seconds < PATIENT_S, 'the catalogue is looked at now and then, not when it has changed'
    session.close()


def the_owner_answers_through_both_paths(owner, other):
    mine, theirs, foreign = Session(owner, 'a', 2), Session(other, 'a', 2), Session(owner, 'b', 3)
    assert keys(theirs) == []
    assert pr_out(theirs, 0, 0, 0xA) == (0, None)
    assert pr_out(mine, 0, 0, 0xB) == (0, None)
    assert full_status(mine) == full_status(theirs) == [(0xA, other.number), (0xB, owner.number)]
    # it is that nexus' own registration: its key, no other, is asked for
    assert pr_out(theirs, 0, 0xB, 0xC)[0] == CONFLICT
    assert pr_out(theirs, 1, 0xA, 0, kind=5) == (0, None)  # Write Exclusive, Registrants Only
    assert foreign.do(1, write10(8, 1), out=block_of(1))[0] == CONFLICT
    mine.write(1, 8, block_of(2))
    assert theirs.do(1, read10(8, 1), length=BLOCK)[1] == STANDBY
    # mode pages and logs: one set of them
    before = caching(mine)
    assert caching(theirs) == before
    page = bytearray(before[4:])
    page[0] &= 0x3F
    page[2] ^= 4  # WCE
    assert theirs.do(1, b'\x15\x10\0\0' + bytes([len(page) + 4, 0]), out=b'\0\0\0\0' + bytes(page))[0] == 0
    assert caching(mine) == caching(theirs) != before
    pages = b'\x4d\0\x40\0\0\0\0\0\xff\0'
    assert mine.good(1, pages, length=255) == theirs.good(1, pages, length=255)
    # a refusal comes through as it is said there
    assert theirs.do(1, b'\x1a\x08\x3e\0\xff\0', length=255)[1] == (5, 0x2400)
    for session in (mine, theirs, foreign):
        session.close()


def object_of_owner(cluster):
    (name,) = [n for n in cluster.rados('ls').stdout.split() if n.startswith('umbra-owner.')]
    return name


def watchers(cluster, name):
    return [line for line in cluster.rados('listwatchers', name).stdout.split('\n') if line]


def foreign_bytes_harm_nobody(cluster, owner, other):
    name = object_of_owner(cluster)
    catalogue = 'umbra.' + name.split('.', 1)[1]
    for target in (name, catalogue):
        for words in ('x', 'UMPC', 'UMPC' + 200 * 'A', 5000 * 'UMPC'):
            cluster.rados('notify', target, words)
    session = Session(other, 'a', 2)
    assert keys(session) == [0xA, 0xB]
    assert (owner.role(), other.role()) == ('owner', 'standby')
    session.close()


def listening_is_taken_up_again(cluster, other):
    """The object is deleted under the owner, and with it what it listened by."""
    name = object_of_owner(cluster)
    assert len(watchers(cluster, name)) == 1
    cluster.rados('rm', name)
    session = Session(other, 'a', 2)
    wait_until('the owner is heard again', lambda: passes(session))
    assert len(watchers(cluster, name)) == 1
    session.close()


def who_is_started_again_is_heard(other):
    """Though the process before, which did not take its leave, still seems to listen."""
    other.kill9()
    other.start()
    session = Session(other, 'a', 2)
    wait_until('the mapping is known', lambda: session.luns() == [1])
    wait_until('the owner answers', lambda: passes(session))
    assert keys(session) == [0xA, 0xB]
    session.close()


def what_was_registered_there_holds_after_a_takeover(owner, other):
    theirs, foreign = Session(other, 'a', 2), Session(other, 'b', 3)
    owner.kill9()
    # What is asked meanwhile ends, one way or another, and is never a lie.
    while theirs.do(1, read10(0, 1), length=BLOCK)[0] != 0:
        status, sense = pr_out(theirs, 0, 0xA, 0xA)
        assert status in (0, BUSY) or sense in (STANDBY, (2, 0x040A), ABORTED), (status, sense)
    assert other.role() == 'owner'
    assert full_status(theirs) == [(0xA, other.number), (0xB, owner.number)]
    theirs.write(1, 8, block_of(3))
    assert foreign.do(1, write10(8, 1), out=block_of(1))[0] == CONFLICT
    assert pr_out(theirs, 3, 0xA, 0) == (0, None)  # CLEAR, by whom it had registered through the standby path
    foreign.write(1, 8, block_of(4))
    owner.start()
    assert owner.role() == 'standby'
    session = Session(owner, 'a', 2)
    wait_until('the mapping is known', lambda: session.luns() == [1])
    wait_until('the new owner answers', lambda: passes(session))
    assert pr_out(session, 0, 0, 0xD) == (0, None)
    assert full_status(theirs) == [(0xD, owner.number)]
    for each in (theirs, foreign, session):
        each.close()


def main():
    skip_without_store()
    end_in_order()
    with Cluster(cephx=True) as cluster:
        cluster.user('client.umbra', **documented())
        run_ctl('rbd', 'create', cluster.pool, '--conf', cluster.conf)
        one, two = start(cluster)
        with removed_at_the_end(one, two):
            prepare(one)
            for step, arguments in ((a_change_is_followed_when_it_is_made, (one, two)), (the_owner_answers_through_both_paths, (one, two)),
                                    (foreign_bytes_harm_nobody, (cluster, one, two)), (listening_is_taken_up_again, (cluster, two)),
                                    (who_is_started_again_is_heard, (two,)),
                                    (what_was_registered_there_holds_after_a_takeover, (one, two))):
                run_step(step, *arguments)
            end_well(two, one)


if __name__ == '__main__':
    main()
