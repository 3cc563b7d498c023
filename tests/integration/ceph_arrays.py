#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two arrays in one Ceph pool, each with an owner of its own, and a copy set over 64 LUNs, half of them on each. A writer goes from LUN
to LUN, from one array to the other, and writes the next only when the one before is acknowledged. It is held as VSS holds
writers, both arrays commit in that window, as the provider has them, and the copies are of one instant: each holds exactly
what was acknowledged to it. Without the hold they are not, which the same look must see."""
import os
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_ceph import PATIENCE_S, Cluster, end_in_order, skip_without_store  # noqa: E402
from umbra_initiator import Channel, Session, message  # noqa: E402
from umbra_lab import Array  # noqa: E402

LUNS = 32  # of each array
DEADLINE_MS = 9000
TRIES = 8  # a set that is late is vetoed, as it must be, and nothing of it is kept: a requester begins a new one


def block(value):
    return struct.pack('>Q', value) * 64


def number_of(data):
    values = set(struct.unpack('>64Q', data))
    assert len(values) == 1, f'a torn block: {values}'
    return values.pop()


class Writer(threading.Thread):
    """Writes 1 to all LUNs in turn, then 2, and so on; `at`: what was acknowledged, by LUN. Each array has LUNs 1 … luns."""

    def __init__(self, arrays, luns, host='h'):
        super().__init__(daemon=True)
        self.sessions = [Session(array, host) for array in arrays]
        self.places = [(which, number + 1) for number in range(luns) for which in range(len(arrays))]
        self.at = {place: 0 for place in self.places}
        self.may_write, self.over, self.failure = threading.Lock(), False, None

    def run(self):
        try:
            number = 0
            while True:
                number += 1
                for place in self.places:
                    with self.may_write:
                        if self.over:
                            return
                        self.sessions[place[0]].write(place[1], 0, block(number))
                        self.at[place] = number
        except BaseException as failure:  # pylint: disable=broad-except
            self.failure = failure

    def held(self):
        """As VSS's hold: what has begun ends, nothing begins."""
        return self.may_write

    def wrote(self, more):
        end, before = time.monotonic() + PATIENCE_S, sum(self.at.values())
        while sum(self.at.values()) < before + more:
            assert not self.failure and time.monotonic() < end, self.failure
            time.sleep(0.01)

    def end(self):
        with self.may_write:
            self.over = True
        self.join(PATIENCE_S)
        for session in self.sessions:
            session.close()
        if self.failure:
            raise self.failure


class Half(threading.Thread):
    """What the provider does for one of the arrays: everything before the window, and in it one message."""

    def __init__(self, array, set_id):
        super().__init__(daemon=True)
        self.session = Session(array, 'h')
        self.channel, self.set_id, self.reply, self.failure = Channel(self.session), set_id, None, None
        self.luns = [bytes.fromhex(array.ctl('lun', 'show', f'l{number}')['id']) for number in range(LUNS)]
        self.channel.ask('set-begin', 'ok', set_id=set_id)
        self.shadows = [self.channel.ask('set-add', 'ok', set_id=set_id, lun_id=lun).lun_id for lun in self.luns]
        self.channel.ask('set-arm', 'ok', set_id=set_id)
        self.commit = message('set-commit', int.from_bytes(os.urandom(8), 'big'), set_id=set_id, deadline_ms=DEADLINE_MS)

    def run(self):
        try:
            self.reply = self.channel.exchange(self.commit)
        except BaseException as failure:  # pylint: disable=broad-except
            self.failure = failure

    def end(self):
        """Is it committed? Else it was late."""
        self.join(PATIENCE_S)
        if self.failure:
            raise self.failure
        assert self.reply.status in ('ok', 'deadline passed'), (self.reply.status, self.reply.fields)
        return self.reply.status == 'ok'

    def vetoed(self):
        """The set is late, here or on the other array: nothing of it is left."""
        self.channel.ask('set-abort', 'ok', set_id=self.set_id)
        for shadow in self.shadows:
            self.channel.ask('map', 'not found', lun_id=shadow)
        self.session.close()

    def copies(self):
        """What they hold, by number; then they go."""
        self.channel.ask('set-keep', 'ok', set_id=self.set_id)
        found = {}
        for number, shadow in enumerate(self.shadows):
            at = self.channel.ask('map', 'ok', lun_id=shadow).lun_number
            found[number + 1] = number_of(self.session.read(at, 0, 1))
        for shadow in self.shadows:
            self.channel.ask('delete', 'ok', lun_id=shadow)
        self.session.close()
        return found


def of_one_instant(writer, found):
    """Whether a write that was acknowledged before another began is never missing where that is there."""
    values = [found[which][number] for which, number in writer.places]
    return all(before >= after for before, after in zip(values, values[1:])) and values[-1] >= values[0] - 1


def in_time(arrays, committed):
    """The halves of a set that committed(halves) says is committed: a new one for each that is late, as under load."""
    for _ in range(TRIES):
        set_id = os.urandom(16)
        halves = [Half(array, set_id) for array in arrays]
        if committed(halves):
            return halves
        print('late: vetoed, and a new one is begun', flush=True)
        for half in halves:
            half.vetoed()
    raise AssertionError(f'{TRIES} sets were not durable within {DEADLINE_MS} ms each')


def both_in_one_window(arrays, writer):
    def committed(halves):
        nonlocal expected, window_s
        writer.wrote(100)
        with writer.held():
            expected = dict(writer.at)
            begun = time.monotonic()
            for half in halves:
                half.start()
            good = [half.end() for half in halves]
            window_s = time.monotonic() - begun
        return all(good)

    expected, window_s = None, None
    halves = in_time(arrays, committed)
    writer.wrote(10)
    found = [half.copies() for half in halves]
    assert of_one_instant(writer, found), found
    assert {place: found[place[0]][place[1]] for place in writer.places} == expected
    windows = ', '.join(f'{half.reply.window_ns / 1e6:.0f} ms' for half in halves)
    print(f'{len(writer.places)} LUNs over {len(arrays)} arrays, committed in {window_s * 1000:.0f} ms (windows {windows})')


def without_a_hold(arrays, writer):
    """The look at the copies is one that sees it."""
    def committed(halves):
        good = []
        for half in halves:
            half.start()
            good.append(half.end())
            writer.wrote(3 * len(writer.places))
        return all(good)

    assert not of_one_instant(writer, [half.copies() for half in in_time(arrays, committed)])


def main():
    skip_without_store()
    end_in_order()
    config = {'copysets': {'number_rest': '1ms', 'commit_budget': f'{DEADLINE_MS}ms'}}
    with Cluster() as cluster, Array(config, ceph=cluster) as one, Array(config, ceph=cluster) as two:
        for array in (one, two):
            array.add_host('h', 'iqn.2026-01.test:h', secret='secret-of-h-')
            for number in range(LUNS):
                array.ctl('lun', 'create', f'l{number}', '--size', '4M')
                array.ctl('map', f'l{number}', 'h', '--number', str(number + 1))
        writer = Writer((one, two), LUNS)
        writer.start()
        for step in (both_in_one_window, without_a_hold, both_in_one_window):
            step((one, two), writer)
            print('ok', step.__name__, flush=True)
        writer.end()


if __name__ == '__main__':
    main()
