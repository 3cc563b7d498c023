#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a takeover finds under way: copy sets in every state and commits in flight, their leases, a resync, a hydration, the
flatten of a large image. The owner is killed, frozen, or loses its network to Ceph while its hosts still reach it; what was promised
is there at the other one, a commit is whole or not at all, and who asks for it again gets the true answer.

usage: ceph_takeover.py CASE…     UMBRA_TEST_SEED, UMBRA_TEST_RUNS, UMBRA_TEST_SECONDS: of the commits in flight"""
import json
import os
import random
import signal
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ceph_controllers import (HOSTS, PATIENCE_S, Session, Writer, block_of, end_well, names, removed_at_the_end,  # noqa: E402
                              start, time_to_serve, wait_until)
from ctl_kill9 import walk_to  # noqa: E402
from umbra_ceph import Cluster, end_in_order, skip_without_store  # noqa: E402
from umbra_initiator import Channel, Reply, ScsiError, message  # noqa: E402
from umbra_lab import run_ctl  # noqa: E402

LEASE_S = 15  # far longer than a takeover and what is asked after it, on a busy machine too
STATES = ('begun', 'added', 'armed', 'committed', 'kept', 'mapped', 'deleted')
IN_FLIGHT = 4     # commits at a time: one is made, others wait for their turn
FLIGHT_S = 0.5    # about as long as they take together
REPLACED = (6, 0x2800)
REMOVING, PARENT = 3, 4  # why an image is in Ceph's trash


class Asker(Session):
    """A session of both worlds: its own commands, and the control channel's."""

    def command(self, lun, cdb, out=None, length_in=0):
        status, sense, data = self.do(lun, cdb, out, length_in)
        return status, sense or (0, 0), data


def number_of(data):
    values = set(struct.unpack('>64Q', data))
    assert len(values) == 1, f'a torn block: {values}'
    return values.pop()


class Pair(threading.Thread):
    """Writes 1, 2, 3 … to LUN 1, then the same to LUN 2, until its controller is gone."""

    def __init__(self, session, first):
        super().__init__(daemon=True)
        self.session, self.issued, self.acknowledged = session, first, first

    def run(self):
        try:
            while True:
                self.issued += 1
                self.session.write(1, 0, block_of(self.issued))
                self.session.write(2, 0, block_of(self.issued))
                self.acknowledged = self.issued
        except (OSError, AssertionError):
            pass  # the connection has ended


# ---- the ends of an owner, each with what brings it back as the one that stands by


def back_after_loss(owner):
    """One that was out, and comes back as the one that stands by: in place, or by its end and a new start."""
    wait_until('it knows that it is out', lambda: owner.process.poll() is not None or
               'has lost the array' in owner.log() and role_of(owner) == 'standby')
    if owner.process.poll() is not None:
        assert owner.process.poll() == 1, owner.log()
        owner.process = None
        owner.start()


def ended_for_what_hung(controller):
    """librbd may keep a write for ever that was under way as its client was locked out: half a minute later umbrad ends over it."""
    wait_until('it stands by, or has ended', lambda: controller.process.poll() is not None or role_of(controller) == 'standby')
    if controller.process.poll() is not None:
        assert controller.process.poll() == 1 and 'has not given back all I/O' in controller.log(), controller.log()
        controller.process = None
        controller.start()


def role_of(controller):
    done = controller.ctl('status', check=False)
    return json.loads(done.stdout)['controller']['role'] if done.returncode == 0 else None


class Killed:
    name = 'kill -9'

    @staticmethod
    def strike(owner):
        owner.kill9()

    @staticmethod
    def back(owner):
        owner.start()


class Frozen:
    name = 'SIGSTOP'

    @staticmethod
    def strike(owner):
        owner.process.send_signal(signal.SIGSTOP)

    @staticmethod
    def back(owner):
        owner.process.send_signal(signal.SIGCONT)
        back_after_loss(owner)


class Cut:
    """It lives and its hosts reach it; Ceph does not."""
    name = 'a cut network'

    @staticmethod
    def strike(owner):
        with open(cut_file(owner), 'w'):
            pass

    @staticmethod
    def back(owner):
        os.unlink(cut_file(owner))
        back_after_loss(owner)


def cut_file(controller):
    return os.path.join(controller.dir, 'cut')


def with_a_network_to_cut(controller):
    controller.popen = {'env': dict(os.environ, LD_PRELOAD=os.environ['UMBRA_CUT_NETWORK'], UMBRA_TEST_CUT=cut_file(controller),
                                    ASAN_OPTIONS='verify_asan_link_order=0')}


def taken_over(how, owner, other, theirs):
    """Strikes the owner; when the other one serves its session, seconds."""
    theirs.do(1, bytes(6))
    begun = time.monotonic()
    how.strike(owner)
    seconds = time_to_serve(theirs, begun)
    print(f'{how.name}: {seconds:.1f} s to the first I/O', flush=True)
    assert other.role() == 'owner'
    return seconds


def anew(session, controller):
    """After a wait: a session in which nobody answers pings is ended by the array in time."""
    session.close()
    return Asker(controller, 'a', 21)


# ---- copy sets


def lun_ids(controller, *wanted):
    return [bytes.fromhex(controller.ctl('lun', 'show', name)['id']) for name in wanted]


def set_states(controller):
    return {entry['id']: entry['state'] for entry in controller.ctl('set', 'list')['sets']}


def shadow_ids(controller):
    return {entry['id'] for entry in controller.ctl('shadow', 'list')['shadows']}


def nothing_is_left(controller, cluster, images):
    wait_until('sets and copies are gone', lambda: not set_states(controller) and not shadow_ids(controller))
    wait_until(f'their images are gone, {images} are left', lambda: len(cluster.images()) == images)


def identity(session, number):
    return session.good(number, b'\x12\x01\x83\x04\0\0', length=1024)[4:40]  # up to what the port adds


def sets_in_every_state(how, owner, other, cluster):
    """One takeover meets a set in each state."""
    mine = Asker(owner, 'a', 20)
    luns, sets = lun_ids(owner, 'a', 'b'), {}
    for number, step in enumerate(STATES):
        mine.write(1, 0, block_of(100 + number))
        mine.write(2, 0, block_of(100 + number))
        set_id = os.urandom(16)
        sets[step] = set_id, walk_to(Channel(mine, slot=10 + number), step, set_id, luns)
    forgotten = os.urandom(16)
    walk_to(Channel(mine, slot=30), 'committed', forgotten, luns)
    mapped = [number for number in mine.luns() if number > 2]
    before = {number: identity(mine, number) for number in mine.luns()}
    mine.write(1, 0, block_of(7))
    theirs = Asker(other, 'a', 21)
    taken_over(how, owner, other, theirs)
    asked = time.monotonic()
    assert theirs.luns() == sorted(before) and {number: identity(theirs, number) for number in before} == before
    assert set_states(other) == {sets['committed'][0].hex(): 'committed', forgotten.hex(): 'committed',
                                 sets['kept'][0].hex(): 'kept', sets['mapped'][0].hex(): 'kept'}
    for number, step in enumerate(STATES):
        set_id, shadows = sets[step]
        channel = Channel(theirs, slot=10 + number)
        commit = message('set-commit', 1, set_id=set_id, deadline_ms=5000)
        if step in ('begun', 'added', 'armed', 'deleted'):
            for op in ('set-state', 'set-arm', 'set-keep'):
                channel.ask(op, 'not found', set_id=set_id)
            assert channel.exchange(commit).status == 'not found', step
            channel.ask('set-abort', 'ok', set_id=set_id)
        elif step == 'committed':
            again = channel.exchange(commit)
            assert again.status == 'ok' and again.state_name == 'committed', again.status
            channel.ask('set-commit', 'wrong state', set_id=set_id, deadline_ms=5000)
            assert 0 < channel.ask('set-state', 'ok', set_id=set_id).lease_ms <= LEASE_S * 1000
        if step in ('committed', 'kept', 'mapped'):
            channel.ask('set-keep', 'ok', set_id=set_id)
            for shadow in shadows:
                at = channel.ask('map', 'ok', lun_id=shadow).lun_number
                assert (at in mapped) == (step == 'mapped'), (step, at, mapped)
                assert number_of(theirs.read(at, 0)) == 100 + number, step
                channel.ask('delete', 'ok', lun_id=shadow)
    assert number_of(theirs.read(1, 0)) == 7
    how.back(owner)
    for session in (mine, theirs):
        session.close()
    # nobody asks for this one any more: it ends with its lease, which began anew
    wait_until('the lease ends', lambda: not set_states(other))
    print(f'a lease of {LEASE_S} s ended {time.monotonic() - asked:.0f} s after the takeover', flush=True)
    nothing_is_left(other, cluster, 2)


def commits_in_flight(how, owner, other, cluster, dice):
    """Some commits at once, so that the owner's end meets one at some step, one that waits and one that is done."""
    mine = Asker(owner, 'a', 20)
    luns, raw, acknowledged = lun_ids(owner, 'a', 'b'), {}, {}
    sets = [os.urandom(16) for _ in range(IN_FLIGHT)]
    first = number_of(mine.read(1, 0))
    mine.write(2, 0, block_of(first))
    writer = Pair(Session(owner, 'a', 22), first)
    for slot, set_id in enumerate(sets):
        walk_to(Channel(mine, slot=slot), 'armed', set_id, luns)
    writer.start()
    wait_until('it writes', lambda: writer.acknowledged > first + 3 or not writer.is_alive())
    theirs = Asker(other, 'a', 21)
    theirs.do(1, bytes(6))
    for slot, set_id in enumerate(sets):
        raw[set_id] = message('set-commit', 77, set_id=set_id, deadline_ms=5000)
        acknowledged[set_id] = writer.acknowledged
        Channel(mine, slot=slot).post(raw[set_id])
    time.sleep(dice.uniform(0, FLIGHT_S))
    taken_over(how, owner, other, theirs)
    answers = {}
    for slot, set_id in enumerate(sets):
        answers[set_id] = Channel(theirs, slot=slot).exchange(raw[set_id]).status
    made = {set_id for set_id in sets if answers[set_id] == 'ok'}
    assert set(answers.values()) <= {'ok', 'not found'}, answers
    assert set_states(other) == {set_id.hex(): 'committed' for set_id in made}
    for slot, set_id in enumerate(sets):
        if set_id in made:
            Channel(theirs, slot=slot).ask('set-keep', 'ok', set_id=set_id)
    how.back(owner)
    theirs = anew(theirs, other)
    writer.join(PATIENCE_S)
    assert not writer.is_alive(), 'a command that was under way gets no answer'
    ended_for_what_hung(owner)
    for slot, set_id in enumerate(sets):  # what the old one may still have to say is no other answer
        try:
            said = Reply(Channel(mine, slot=slot).fetch()).status
        except (OSError, ScsiError, struct.error):
            continue
        assert said == answers[set_id] or said != 'ok', (said, answers[set_id])
    for slot, set_id in enumerate(sets):
        channel = Channel(theirs, slot=slot)
        if set_id not in made:
            continue
        copies = {entry.origin: entry.id for entry in channel.ask('set-luns', 'ok', set_id=set_id).luns}
        one, two = (number_of(theirs.read(channel.ask('map', 'ok', lun_id=copies[lun]).lun_number, 0)) for lun in luns)
        assert two <= one <= two + 1, f'B without A: {one}, {two}'
        assert acknowledged[set_id] <= two and one <= writer.issued, (acknowledged[set_id], two, one, writer.issued)
        for copy in copies.values():
            channel.ask('delete', 'ok', lun_id=copy)
    one, two = (number_of(theirs.read(lun, 0)) for lun in (1, 2))
    assert two <= one <= two + 1 and writer.acknowledged <= two, (one, two, writer.acknowledged)
    print(f'{len(made)} of {len(sets)} commits are there', flush=True)
    theirs.write(2, 0, block_of(one))
    for session in (mine, theirs, writer.session):
        session.close()
    nothing_is_left(other, cluster, 2)


# ---- jobs


def fill(session, number, value, places):
    for place in places:
        session.write(number, place, block_of(value))


def a_resync(how, owner, other, cluster, dice):
    """The target has the old data or the copy's, all of it; it is none that is half done, and can be begun anew."""
    mine = Asker(owner, 'a', 20)
    target, places = lun_ids(owner, 'a')[0], range(0, 131072, 16384)
    fill(mine, 1, 1000, places)
    set_id = os.urandom(16)
    (copy,) = Channel(mine).make_set(set_id, [target])
    fill(mine, 1, 2000, places)
    theirs = Asker(other, 'a', 21)
    job = Channel(mine).ask('resync-start', 'ok', lun_id=copy, target_id=target).job
    time.sleep(dice.uniform(0, 0.2))
    theirs.do(2, bytes(6))
    begun = time.monotonic()
    how.strike(owner)
    wait_until('the other controller serves', lambda: theirs.do(2, bytes(6))[0] == 0)
    print(f'{how.name}: {time.monotonic() - begun:.1f} s', flush=True)
    values = {number_of(theirs.read(1, place)) for place in places}
    assert values in ({1000}, {2000}), values
    assert (REPLACED in theirs.attentions) == (values == {1000}), theirs.attentions
    channel = Channel(theirs)
    channel.ask('resync-state', 'not found', job=job)
    fill(theirs, 1, 3000, places)
    again = channel.ask('resync-start', 'ok', lun_id=copy, target_id=target)

    def over():
        state = channel.ask('resync-state', 'ok', job=again.job)
        assert state.job_state in (1, 2), state.fields
        return state.job_state == 2
    wait_until('the resync is done', over)
    assert {number_of(theirs.read(1, place)) for place in places} == {1000}
    channel.ask('delete', 'ok', lun_id=copy)
    how.back(owner)
    for session in (mine, theirs):
        session.close()
    print(f'the resync had {"not " if values == {2000} else ""}been done', flush=True)
    nothing_is_left(other, cluster, 2)


def tied(cluster):
    """The images that need another one."""
    return {name for name in cluster.images() if 'parent' in json.loads(
        cluster.rbd('info', '--format', 'json', f'{cluster.pool}/{name}').stdout)}


def a_hydration(how, owner, other, cluster):
    """A plex copy that was being made independent goes on at the other one, and has what it had."""
    mine = Asker(owner, 'a', 20)
    places = range(0, 131072, 8192)
    fill(mine, 1, 5, places)
    before = tied(cluster)
    owner.ctl('set', 'create', 'p', 'a', '--plex')
    fill(mine, 1, 6, places)
    (shadow,) = shadow_ids(owner)
    wait_until('it hydrates', lambda: owner.ctl('lun', 'show', shadow)['full_percent'] > 0)
    assert tied(cluster) > before, 'the hydration was over before the takeover'
    theirs = Asker(other, 'a', 21)
    taken_over(how, owner, other, theirs)
    other.ctl('shadow', 'map', shadow, 'a', '--number', '9')
    assert {number_of(theirs.read(9, place)) for place in places} == {5}
    how.back(owner)
    wait_until('it is full', lambda: other.ctl('lun', 'show', shadow)['full_percent'] == 100)
    assert tied(cluster) == before
    theirs = anew(theirs, other)
    assert {number_of(theirs.read(9, place)) for place in places} == {5}
    other.ctl('shadow', 'unmap', shadow, 'a')
    other.ctl('set', 'delete', 'p')
    for session in (mine, theirs):
        session.close()
    nothing_is_left(other, cluster, 2)


def cut_short(cluster, image):
    """What the catalogue says where an umbrad before this one had copied all that the image's parent has, and was killed."""
    cluster.rados('setomapval', 'umbra.default', f'flat.{image}', id_of(cluster, image))


def id_of(cluster, image):
    return json.loads(cluster.rbd('info', '--format', 'json', f'{cluster.pool}/{image}').stdout)['id']


def parent_and_copy(owner, cluster, name, number):
    """A LUN, and a copy of it that a host has written to: its shadow LUN; both images."""
    before, shadows = set(cluster.images()), shadow_ids(owner)
    owner.ctl('lun', 'create', name, '--size', '16M')
    (parent,) = set(cluster.images()) - before
    owner.ctl('set', 'create', f'set-{name}', name)
    (shadow,) = shadow_ids(owner) - shadows
    (image,) = set(cluster.images()) - before - {parent}
    owner.ctl('shadow', 'map', shadow, 'a', '--number', str(number))
    session = Session(owner, 'a', 20)
    session.write(number, 0, block_of(number))
    session.close()
    return shadow, parent, image


def a_parent_that_goes_later(owner, other, cluster):
    """The owner died when it had copied all that an image's parent has: the image still names its parent, which goes long after the
    takeover, and before anybody opens the image; or a copy of it, for whose sake it lies in the trash."""
    _, parent, image = parent_and_copy(owner, cluster, 'old', 8)
    deleted, parent_of_deleted, image_of_deleted = parent_and_copy(owner, cluster, 'older', 7)
    owner.ctl('shadow', 'unmap', deleted, 'a')
    owner.ctl('shadow', 'break', deleted)
    before = shadow_ids(owner)
    owner.ctl('set', 'create', 'of-deleted', deleted)
    (copy,) = shadow_ids(owner) - before
    owner.ctl('shadow', 'map', copy, 'a', '--number', '9')
    for one in (image, image_of_deleted):
        cut_short(cluster, one)
    owner.ctl('lun', 'delete', deleted)
    wait_until('it lies in the trash', lambda: image_of_deleted not in cluster.images())
    theirs = Session(other, 'a', 21)
    taken_over(Killed, owner, other, theirs)
    for one in (parent, parent_of_deleted):
        cluster.rados('rm', f'rbd_header.{id_of(cluster, one)}')
    assert number_of(theirs.read(8, 0)) == 8
    assert 'parent' not in json.loads(cluster.rbd('info', '--format', 'json', f'{cluster.pool}/{image}').stdout)
    assert number_of(theirs.read(9, 0)) == 7
    theirs.close()
    Killed.back(owner)


def a_move_to_the_trash_that_was_cut_short(owner, other, cluster):
    """librbd was killed when it had moved a deleted image, on which a copy hangs, to the trash, but for the last step: the entry does not
    count yet. The image goes behind the copy all the same. And one on which nothing hangs."""
    shadow, parent, _ = parent_and_copy(owner, cluster, 'moved', 6)
    number, alone = id_of(cluster, parent), 'default.lun-999'
    cluster.rbd('create', '--size', '8M', f'{cluster.pool}/{alone}')
    number_alone = id_of(cluster, alone)

    def cut_short_there(number, source):
        file_name = os.path.join(cluster.dir, 'value')
        cluster.rados('getomapval', 'rbd_trash', f'id_{number}', file_name)
        with open(file_name, 'rb') as file:
            entry = file.read()
        assert entry[-1] == 0, entry  # it counts
        with open(file_name, 'wb') as file:
            file.write(entry[:6] + bytes([source]) + entry[7:-1] + b'\1')
        cluster.rados('setomapval', 'rbd_trash', f'id_{number}', '--input-file', file_name)

    def in_the_trash():
        entries = cluster.rados('listomapkeys', 'rbd_trash').stdout.split()
        return [key for key in entries if key in (f'id_{number}', f'id_{number_alone}')]
    owner.ctl('lun', 'delete', 'moved')
    wait_until('it lies in the trash', lambda: parent not in cluster.images())
    cluster.rbd('trash', 'mv', f'{cluster.pool}/{alone}')
    cluster.rados('setomapval', 'umbra.default', f'todo.{alone}', '')
    cut_short_there(number, PARENT)
    cut_short_there(number_alone, REMOVING)
    theirs = Session(other, 'a', 21)
    taken_over(Killed, owner, other, theirs)
    theirs.close()
    other.ctl('shadow', 'unmap', shadow, 'a')
    other.ctl('shadow', 'delete', shadow)
    wait_until('it is gone', lambda: not in_the_trash())
    Killed.back(owner)


# ---- a cut network


def a_cut_network(owner, other, cluster):
    """It writes nothing any more, tells its hosts of no write, and comes back as the one that stands by."""
    writer = Writer(Session(owner, 'a', 23))
    writer.start()
    wait_until('it writes', lambda: writer.acknowledged > 20 or not writer.is_alive())
    theirs = Asker(other, 'a', 21)
    taken_over(Cut, owner, other, theirs)
    acknowledged, last = writer.acknowledged, number_of(theirs.read(1, 0))
    assert acknowledged <= last <= acknowledged + 1, (acknowledged, last)
    assert owner.process.poll() is None, 'the owner is no more: its network was not cut'
    theirs.write(1, 0, block_of(10 ** 6))
    Cut.back(owner)
    theirs = anew(theirs, other)
    writer.join(PATIENCE_S)
    assert not writer.is_alive(), 'a command that was under way gets no answer'
    ended_for_what_hung(owner)
    assert writer.acknowledged == acknowledged, 'a write was acknowledged by an owner that had been replaced'
    assert number_of(theirs.read(1, 0)) == 10 ** 6, 'the owner that had been replaced wrote'
    assert (owner.role(), other.role()) == ('standby', 'owner')
    theirs.close()


# ---- the program


def two_luns(one, two):
    for name, iqn in HOSTS.items():
        one.ctl('host', 'add', name, '--iqn', iqn, '--control-without-chap')
    for number, name in enumerate('ab'):
        one.ctl('lun', 'create', name, '--size', '64M')
        one.ctl('map', name, 'a', '--number', str(number + 1))
    with_zeros = Session(one, 'a')
    for number in (1, 2):
        with_zeros.write(number, 0, block_of(0))
    with_zeros.close()
    wait_until('the LUNs are known there', lambda: names(two, 'lun') == ['a', 'b'])


def case_sets(owner, other, cluster, dice):
    sets_in_every_state(Killed, owner, other, cluster)
    begun, seconds = time.monotonic(), float(os.environ.get('UMBRA_TEST_SECONDS') or 0)
    for _ in range(int(os.environ.get('UMBRA_TEST_RUNS') or 2)):
        if seconds and time.monotonic() - begun > seconds:
            break
        owner, other = other, owner
        commits_in_flight(Killed, owner, other, cluster, dice)
    owner, other = other, owner
    commits_in_flight(Frozen, owner, other, cluster, dice)
    return other, owner


def case_jobs(owner, other, cluster, dice):
    a_resync(Killed, owner, other, cluster, dice)
    a_hydration(Killed, other, owner, cluster)
    return owner, other


def case_cut(owner, other, cluster, dice):
    a_cut_network(owner, other, cluster)
    commits_in_flight(Cut, other, owner, cluster, dice)
    return owner, other


def case_parent(owner, other, cluster, _):
    a_move_to_the_trash_that_was_cut_short(owner, other, cluster)
    a_parent_that_goes_later(other, owner, cluster)
    return owner, other


def main(wanted):
    skip_without_store()
    end_in_order()
    seed = int(os.environ.get('UMBRA_TEST_SEED') or random.SystemRandom().randrange(10 ** 9))
    print(f'UMBRA_TEST_SEED={seed}')
    cases = {name[len('case_'):]: case for name, case in globals().items() if name.startswith('case_')}
    with Cluster() as cluster:
        run_ctl('rbd', 'create', cluster.pool, '--conf', cluster.conf)
        config = {'copysets': {'lease': f'{LEASE_S}s', 'hydrate_rate': '16M', 'number_rest': '1ms'}}
        both = start(cluster, config, with_a_network_to_cut)
        pair = both
        with removed_at_the_end(*both):
            two_luns(*pair)
            for name in wanted or cases:
                begun = time.monotonic()
                pair = cases[name](*pair, cluster, random.Random(seed))
                print(f'ok {name} ({time.monotonic() - begun:.1f} s)', flush=True)
            end_well(*both)


if __name__ == '__main__':
    main(sys.argv[1:])
