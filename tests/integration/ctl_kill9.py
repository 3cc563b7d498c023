#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kill -9 of umbrad at every step of a set's life, and at random instants under load. Afterwards: what was flushed is
there, no half set, every kept set whole and with the data of its cut, nothing left once the leases have ended.

UMBRA_TEST_SEED, UMBRA_KILL_ROUNDS (default 4) repeat and lengthen the random part."""
import json
import os
import random
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_initiator import Channel, ScsiError, Session, message  # noqa: E402
from umbra_lab import Array, run_ctl  # noqa: E402

LEASE_S = 5  # far longer than from one request to the next, on a busy machine too
STEPS = ['nothing', 'begun', 'added', 'armed', 'commit posted', 'committed', 'kept', 'mapped', 'deleted']


def block(value):
    return struct.pack('>Q', value) * 64


def value_of(session, lun):
    values = set(struct.unpack('>64Q', session.read(lun, 0, 1)))
    assert len(values) == 1, f'a torn block: {values}'
    return values.pop()


def wait_for(what, condition, seconds=600):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what()
        time.sleep(0.05)


def nothing_left(array):
    return not array.ctl('set', 'list')['sets'] and not array.ctl('shadow', 'list')['shadows']


def checked_start(array):
    if not array.ceph:
        done = run_ctl('pool', 'check', array.pool, '--json', check=False)
        assert done.returncode == 0 and json.loads(done.stdout)['findings'] == 0, done.stdout + done.stderr
    array.start()


def walk_to(channel, step, set_id, luns):
    """Goes as far as `step`; the shadow LUNs' ids."""
    shadows = []
    if step == 'nothing':
        return shadows
    channel.ask('set-begin', 'ok', set_id=set_id)
    if step == 'begun':
        return shadows
    shadows = [channel.ask('set-add', 'ok', set_id=set_id, lun_id=lun).lun_id for lun in luns]
    if step == 'added':
        return shadows
    channel.ask('set-arm', 'ok', set_id=set_id)
    if step == 'armed':
        return shadows
    channel.post(message('set-commit', 1, set_id=set_id, deadline_ms=5000))
    if step == 'commit posted':
        return shadows
    channel.fetch()
    if step == 'committed':
        return shadows
    channel.ask('set-keep', 'ok', set_id=set_id)
    if step == 'kept':
        return shadows
    for shadow in shadows:
        channel.ask('map', 'ok', lun_id=shadow)
    if step == 'mapped':
        return shadows
    for shadow in shadows:
        channel.ask('delete', 'ok', lun_id=shadow)
    return shadows


def every_step(array, luns):
    for number, step in enumerate(STEPS):
        set_id = os.urandom(16)
        with Session(array, 'h1') as session:
            session.write(1, 0, block(1000 + number))
            session.write(2, 0, block(1000 + number))
            session.flush(1)
            session.flush(2)
            shadows = walk_to(Channel(session), step, set_id, luns)
            array.kill9()
            session.close(logout=False)
        checked_start(array)
        found = {entry['id']: entry for entry in array.ctl('set', 'list')['sets']}
        state = found[set_id.hex()]['state'] if found else None
        wanted = {'commit posted': (None, 'committed'), 'committed': ('committed',), 'kept': ('kept',),
                  'mapped': ('kept',)}.get(step, (None,))
        assert state in wanted, f'killed when {step}: {state}'
        there = {entry['id'] for entry in array.ctl('shadow', 'list')['shadows']}
        assert there == (set(shadow.hex() for shadow in shadows) if state else set()), f'{step}: {there}'
        with Session(array, 'h1') as session:
            assert value_of(session, 1) == value_of(session, 2) == 1000 + number, step
            channel = Channel(session)
            if state == 'kept':
                session.write(1, 0, block(7))
                for shadow in shadows:
                    at = channel.ask('map', 'ok', lun_id=shadow).lun_number
                    assert value_of(session, at) == 1000 + number, step
                    channel.ask('delete', 'ok', lun_id=shadow)
            # an unknown outcome is an abort: it must be possible, whatever was reached
            elif number % 2:
                channel.ask('set-abort', 'ok', set_id=set_id)
                assert nothing_left(array), step
        wait_for(lambda: f'left behind after {step}: {array.ctl("set", "list")}', lambda: nothing_left(array))
    print('ok every step')


class Writer(threading.Thread):
    """Writes n to LUN 1, then n to LUN 2, and so on; now and then flushes both."""

    def __init__(self, array, first, rng):
        super().__init__(daemon=True)
        self.session = Session(array, 'h1')
        for number in (1, 2):  # a kill may have left one behind the other, for what was not flushed may be lost
            self.session.write(number, 0, block(first))
            self.session.flush(number)
        self.issued = self.durable = first
        self.pace = rng.choice([1, 3, 20])

    def run(self):
        try:
            while True:
                self.issued += 1
                done = self.issued
                self.session.write(1, 0, block(done))
                self.session.write(2, 0, block(done))
                if done % self.pace == 0:
                    self.session.flush(1)
                    self.session.flush(2)
                    self.durable = done
        except (ConnectionError, ScsiError):
            pass


def take_sets(array, luns, kept, tried):
    """Takes sets until the array is gone."""
    try:
        with Session(array, 'h1') as session:
            channel = Channel(session)
            while True:
                set_id = os.urandom(16)
                tried.append(set_id)
                shadows = channel.make_set(set_id, luns, keep=True)
                kept[set_id] = shadows
                if len(kept) > 3:  # and let one go
                    old = next(iter(kept))
                    for shadow in kept.pop(old):
                        channel.ask('delete', 'ok', lun_id=shadow)
    except (ConnectionError, ScsiError):
        pass


def verify_round(array, writer, kept, tried):
    with Session(array, 'h1') as session:
        first, second = value_of(session, 1), value_of(session, 2)
        for value in (first, second):
            assert writer.durable <= value <= writer.issued, (writer.durable, value, writer.issued)
        there = {entry['id']: entry['origin'] for entry in array.ctl('shadow', 'list')['shadows']}
        known = {entry['id']: entry for entry in array.ctl('set', 'list')['sets']}
        assert set(known) <= {set_id.hex() for set_id in tried}
        channel = Channel(session)
        for set_id, shadows in kept.items():
            # the one whose deletion was under way may be half gone, or all
            members = [shadow for shadow in shadows if shadow.hex() in there]
            if len(members) < 2:
                assert set_id == next(iter(kept)), f'kept set {set_id.hex()} has lost LUNs: {there}'
            else:
                assert known[set_id.hex()]['state'] == 'kept'
                numbers = [channel.ask('map', 'ok', lun_id=shadow).lun_number for shadow in members]
                one, two = (value_of(session, number) for number in numbers)
                assert two <= one <= two + 1, f'B without A: {one}, {two}'
        for name, entry in known.items():
            if bytes.fromhex(name) not in kept:
                assert entry['state'] in ('committed', 'kept') and entry['luns'] in (1, 2), entry
        for shadow in there:
            channel.ask('unmap', 'ok', lun_id=bytes.fromhex(shadow), scope=2)
    for name, entry in known.items():
        if entry['state'] == 'kept':
            array.ctl('set', 'delete', name)
    wait_for(lambda: f'left behind: {array.ctl("set", "list")}', lambda: nothing_left(array))
    return max(first, second, writer.issued)


def random_instants(array, luns):
    seed = int(os.environ.get('UMBRA_TEST_SEED', '20260104'))
    rounds = int(os.environ.get('UMBRA_KILL_ROUNDS', '4'))
    rng = random.Random(seed)
    print(f'seed {seed} (UMBRA_TEST_SEED)')
    with Session(array, 'h1') as session:
        session.write(1, 0, block(0))
        session.write(2, 0, block(0))
    value, taken = 0, 0
    for _ in range(rounds):
        writer = Writer(array, value, rng)
        kept, tried = {}, []
        sets = threading.Thread(target=take_sets, args=(array, luns, kept, tried), daemon=True)
        writer.start()
        sets.start()
        time.sleep(rng.uniform(0.05, 0.8))
        array.kill9()
        for thread in (writer, sets):
            thread.join(600)
            assert not thread.is_alive(), 'an initiator hangs'
        writer.session.close(logout=False)
        checked_start(array)
        value = verify_round(array, writer, kept, tried)
        taken += len(tried)
    print(f'ok {rounds} random instants, {value} writes, {taken} sets')


def main():
    config = {'copysets': {'lease': f'{LEASE_S}s', 'host_gone': '1s', 'number_rest': '1ms'}}
    with Array(config) as array:
        array.ctl('lun', 'create', 'a', '--size', '64M')
        array.ctl('lun', 'create', 'b', '--size', '64M')
        array.add_host('h1', 'iqn.2026-01.test:h1', secret='secret-of-h1-')
        luns = [bytes.fromhex(array.ctl('lun', 'show', name)['id']) for name in 'ab']
        for name in 'ab':
            array.ctl('map', name, 'h1')
        every_step(array, luns)
        random_instants(array, luns)


if __name__ == '__main__':
    main()
