#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The roles of two controllers, as the administrator sees and changes them: what they know of each other, the array moved from one to the
other under writes and copy sets, and what is refused. The two see as little of this machine as the service does, where that can be had.

UMBRA_TEST_SECONDS: with a minute or more (make soak) also what takes the half minute that a move waits."""
import ctypes
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ceph_controllers import (BLOCK, CHANGED, STANDBY, TRANSITION, Controller, Session, block_of, end_well, prepare,  # noqa: E402
                              read10, removed_at_the_end, run_step, stands_by, start, targets, wait_until, write10)
from umbra_ceph import PATIENCE_S, Cluster, end_in_order, free_port, skip_without_store  # noqa: E402
from umbra_initiator import Channel, ScsiError, Session as HostSession  # noqa: E402
from umbra_lab import CtlError, run_ctl, umbractl_path  # noqa: E402

SET = bytes(range(16))
SECONDS = float(os.environ.get('UMBRA_TEST_SECONDS') or 0)
LEASE_S, TRIES = 4, 8
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 0x40000
HOST = 'iqn.2026-01.test:copies'
RESERVATIONS = b'\x5e\0\0\0\0\0\0\x10\0\0'


def controllers(controller):
    return {one['number']: one for one in controller.ctl('controller', 'list')['controllers']}


def refused(controller, *command):
    try:
        controller.ctl(*command)
    except CtlError as error:
        return error.stderr + error.stdout
    raise AssertionError(f'{command} was done')


# ---- what the unit hides of /proc (ProcSubset=pid, ProtectProc=invisible), and gives


def hide_proc():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) or libc.mount(None, b'/', None, MS_REC | MS_PRIVATE, None) or \
            libc.mount(b'proc', b'/proc', b'proc', 0, b'subset=pid,hidepid=invisible'):
        raise OSError(ctypes.get_errno(), 'no /proc of its own')


def boot_id():
    with open('/proc/sys/kernel/random/boot_id') as file:
        return file.read().strip()


def can_hide_proc():
    try:
        return subprocess.run(['true'], preexec_fn=hide_proc).returncode == 0
    except subprocess.SubprocessError:
        return False


def as_a_service(controller):
    controller.popen.update(preexec_fn=hide_proc, env=dict(os.environ, UMBRA_BOOT_ID=boot_id().replace('-', '')))


def order(one, two):
    """The owner first, once each knows that the other one is there: after a change of roles that takes a second or two."""
    wait_until('both are there', lambda: sorted((one.role(), two.role())) == ['owner', 'standby'] and
               all(c['lives'] for both in (one, two) for c in controllers(both).values()))
    return (one, two) if one.role() == 'owner' else (two, one)


def has_moved(owner, other):
    """Each sees the end of a move for itself, one a moment after the other."""
    wait_until('they have changed places', lambda: (owner.role(), other.role()) == ('standby', 'owner'))


class Writer(threading.Thread):
    """Writes 1, 2, 3 … to a block of its own by whichever path takes it: the next one when the one before is acknowledged."""

    def __init__(self, paths, lba):
        super().__init__(daemon=True)
        self.paths, self.lba = paths, lba
        self.acknowledged, self.sent, self.over, self.failure, self.longest_s = 0, 0, False, None, 0.0

    def write(self, number):
        begun = time.monotonic()
        while True:
            for path in self.paths:
                status, sense, _ = path.do(1, write10(self.lba, 1), out=block_of(number))
                if status == 0:
                    self.longest_s = max(self.longest_s, time.monotonic() - begun)
                    return
                assert sense and sense[0] == 2, (status, sense)
            assert time.monotonic() < begun + PATIENCE_S, 'no path takes a write'
            time.sleep(0.01)

    def run(self):
        try:
            while not self.over:
                self.sent += 1
                self.write(self.sent)
                self.acknowledged = self.sent
        except BaseException as error:  # pylint: disable=broad-except
            self.failure = error

    def end(self):
        self.over = True
        self.join(PATIENCE_S)
        if self.failure:
            raise self.failure


# ---- the steps: both controllers, whichever owns the array, and the cluster


def they_know_each_other(one, two, cluster):
    """No portals of the other one are configured: they come from Ceph."""
    both = {f'127.0.0.1:{one.port},1', f'127.0.0.1:{two.port},2'}
    for controller in (one, two):
        wait_until('hosts are told of both', lambda controller=controller: targets(controller) == both)
        wait_until('both are there', lambda controller=controller: all(c['lives'] for c in controllers(controller).values()))
        known = controllers(controller)
        assert {n: (c['role'], c['machine'], c['self']) for n, c in known.items()} == {
            1: ('owner', os.uname().nodename, controller is one), 2: ('standby', os.uname().nodename, controller is two)}, known
        assert {(p['address'], p['port'], p['group']) for c in known.values() for p in c['portals']} == {
            ('127.0.0.1', one.port, 1), ('127.0.0.1', two.port, 2)}, known
        assert all(c['since_unix_ms'] and c['target_name'] == one.target for c in known.values()), known
        printed = controller.text('controller', 'list')
        assert 'standby' in printed and f'127.0.0.1:{two.port},2' in printed and 'epoch' in printed, printed
        listed = controller.ctl('controller', 'list')
        wait_until('the lease is seen', lambda controller=controller: controller.ctl('controller', 'list')['epoch'])
        assert listed['problem'] == '' and listed['move'] == {'state': 'none', 'text': ''}, listed
    assert json.loads(cluster.ceph('osd', 'dump', '-f', 'json').stdout).get('blocklist', {}) == {}
    assert 'controller 2: standby' in one.text('status')


def serves(session):
    status, sense, _ = session.do(1, read10(0, 1), length=BLOCK)
    assert status == 0 or sense in (STANDBY, TRANSITION), (status, sense)
    return status == 0


def a_move_loses_nothing(one, two, cluster):
    for asked_at_the_owner in (True, False):
        owner, other = order(one, two)
        mine, theirs = Session(owner, 'a'), Session(other, 'a')
        writer = Writer((Session(owner, 'a', 5), Session(other, 'a', 5)), 16)
        writer.start()
        wait_until('it writes', lambda writer=writer: writer.acknowledged > 10)
        stands_by(theirs)
        theirs.attentions.clear()
        begun = time.monotonic()
        move = moving(owner if asked_at_the_owner else other)
        wait_until('it serves, or says why it does not', lambda theirs=theirs, move=move: move.poll() or serves(theirs))
        seconds = time.monotonic() - begun
        out, error = move.communicate(timeout=PATIENCE_S)
        assert move.returncode == 0 and f'Controller {other.number}, on ' in out, (out, error)
        print(f'from controller move to the first I/O: {seconds:.1f} s; {out.strip()}')
        goal = writer.acknowledged + 10
        wait_until('the host goes on', lambda writer=writer, goal=goal: writer.failure or writer.acknowledged > goal)
        writer.end()
        print(f'the longest write over it: {writer.longest_s:.1f} s')
        assert struct.unpack('>Q', theirs.read(1, 16)[:8])[0] == writer.acknowledged == writer.sent
        assert CHANGED in theirs.attentions
        has_moved(owner, other)
        stands_by(mine)
        assert mine.groups() == {owner.number: (2, [owner.number]), other.number: (0, [other.number])}, mine.groups()
        assert metric(owner, 'umbra_controller_role{role="standby"}') == metric(other, 'umbra_controller_role{role="owner"}') == 1
        assert metric(owner, 'umbra_controller_role{role="owner"}') == metric(other, 'umbra_controller_losses_total') == 0
        assert metric(other, 'umbra_controller_takeovers_total') >= 1
        events = [event['text'] for event in owner.ctl('events')['events']]
        assert any('was moved to controller' in event for event in events), events
    # given back, not taken: nobody was locked out
    assert json.loads(cluster.ceph('osd', 'dump', '-f', 'json').stdout).get('blocklist', {}) == {}


def metric(controller, name):
    found = [line.rsplit(' ', 1)[1] for line in controller.text('metrics').splitlines() if line.startswith(name + ' ')]
    assert len(found) == 1, (name, found)
    return float(found[0])


def moving(owner, *options):
    return subprocess.Popen([umbractl_path(), '--socket', owner.socket, 'controller', 'move', *options],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def move_of(controller):
    return controller.ctl('controller', 'list')['move']


def arm(owner):
    session = HostSession(owner, iqn=HOST)
    channel = Channel(session)
    channel.ask('set-begin', 'ok', set_id=SET)
    channel.ask('set-add', 'ok', set_id=SET, lun_id=bytes.fromhex(session.serial(1)))
    channel.ask('set-arm', 'ok', set_id=SET)
    return session, channel


def ask_and_let_go(channel, op, **fields):
    """What a move waits for; it goes on at once, so the answer may be had only from the new owner."""
    try:
        channel.ask(op, 'ok', set_id=SET, **fields)
    except ScsiError as error:
        assert 'asc/ascq 0x040' in str(error), error


def a_set_is_waited_for(one, two, cluster):
    del cluster
    owner, other = order(one, two)
    session, channel = arm(owner)
    move = moving(owner)
    wait_until('it waits for the set', lambda: 'copy set' in move_of(owner)['text'])
    assert refused(owner, 'controller', 'move').count('being moved already')
    assert (owner.role(), move.poll()) == ('owner', None)
    ask_and_let_go(channel, 'set-commit', deadline_ms=5000)
    out, error = move.communicate(timeout=PATIENCE_S)
    assert move.returncode == 0 and 'copy set' in error, (out, error)
    has_moved(owner, other)
    session.close()
    session = HostSession(other, iqn=HOST)
    channel = Channel(session)
    assert channel.ask('set-state', 'ok', set_id=SET).state_name == 'committed'
    channel.ask('set-keep', 'ok', set_id=SET)
    session.close()
    assert len(other.ctl('shadow', 'list')['shadows']) == 1
    other.ctl('set', 'delete', SET.hex())


def a_set_is_given_up_by_force(one, two, cluster):
    del cluster
    for asked_at_the_owner in (True, False):
        owner, other = order(one, two)
        session, channel = arm(owner)
        (owner if asked_at_the_owner else other).ctl('controller', 'move', '--force')
        has_moved(owner, other)
        assert other.ctl('set', 'list')['sets'] == [] and other.ctl('shadow', 'list')['shadows'] == []
        del channel
        session.close()


def what_the_owner_waits_for_is_told_where_it_was_asked(one, two, cluster):
    """A second move, wherever it is asked for, is refused, and the first one goes on."""
    del cluster
    owner, other = order(one, two)
    session, channel = arm(owner)
    move = moving(other)
    for controller in (owner, other):
        wait_until('it waits for the set', lambda controller=controller: 'copy set' in move_of(controller)['text'])
        for options in ((), ('--force',)):
            assert 'being moved already' in refused(controller, 'controller', 'move', *options)
        assert move_of(controller)['state'] == 'waits' and 'copy set' in controller.text('controller', 'list')
    assert (owner.role(), other.role(), move.poll()) == ('owner', 'standby', None)
    ask_and_let_go(channel, 'set-abort')
    out, error = move.communicate(timeout=PATIENCE_S)
    assert move.returncode == 0 and f'Controller {other.number}, on ' in out and 'copy set' in error, (out, error)
    has_moved(owner, other)
    assert move_of(other) == move_of(owner) == {'state': 'none', 'text': ''}
    session.close()


def what_the_owner_does_not_do_is_told_where_it_was_asked(one, two, cluster):
    """It has waited for half a minute."""
    del cluster
    owner, other = order(one, two)
    session, channel = arm(owner)
    out, error = moving(other).communicate(timeout=PATIENCE_S)
    assert 'the array was not moved: a copy set is being made' in error, (out, error)
    assert (owner.role(), other.role()) == ('owner', 'standby')
    assert move_of(other)['state'] == move_of(owner)['state'] == 'failed'
    channel.ask('set-abort', 'ok', set_id=SET)
    session.close()


def the_wire_is_whole(one, two):
    """What only the owner knows is told through the path that is in standby."""
    owner, other = order(one, two)
    del owner
    session = Session(other, 'a', 2)
    wait_until('the mapping is known there', lambda: session.luns() == [1])
    wait_until('the owner answers there', lambda: session.do(1, RESERVATIONS, length=4096)[0] == 0)
    session.close()


def moves_that_overlap(one, two, cluster):
    """Asked for twice at each at once: what is not carried out is refused in words, and what is carried out is one move each."""
    del cluster
    silence = 'did not answer'  # for 10 s: a very busy machine; then nobody was told of what was done
    words = ('being moved already', 'was not moved again', 'try again in a few seconds', 'cannot be reached', silence)
    writer = Writer((Session(one, 'a', 5), Session(two, 'a', 5)), 16)
    writer.start()
    for _ in range(3):
        order(one, two)
        before = takeovers(one, two)
        moves = [moving(controller) for controller in (one, two, one, two)]
        ends = [(move.communicate(timeout=PATIENCE_S), move.returncode) for move in moves]
        wait_until('one owns, one stands by', lambda: {one.role(), two.role()} == {'owner', 'standby'})
        good = [out for (out, _), code in ends if code == 0]
        for (_, error), code in ends:
            assert code == 0 or any(word in error for word in words), error
        quiet = any(silence in error for (_, error), _ in ends)
        assert quiet or good and takeovers(one, two) - before == len(good), ends
        the_wire_is_whole(one, two)
    writer.end()


def takeovers(one, two):
    return sum(metric(controller, 'umbra_controller_takeovers_total') for controller in (one, two))


def a_move_back_before_the_first_one_has_ended(one, two, cluster):
    """The one that gave the array away is asked to take it again before it has seen that the other one has it."""
    del cluster
    owner, other = order(one, two)
    there = moving(owner)
    wait_until('it has it', lambda: there.poll() or other.role() == 'owner')
    back = moving(other)
    for move in (there, back):
        out, error = move.communicate(timeout=PATIENCE_S)
        assert move.returncode == 0, (out, error)
    has_moved(other, owner)
    assert not any('has taken it again' in event['text'] for event in owner.ctl('events')['events'])
    the_wire_is_whole(one, two)


def an_owner_that_does_not_answer(one, two, cluster):
    """It is frozen when it is asked: no answer comes, and the other one takes the array over. Then the owner is killed while it waits."""
    del cluster
    owner, other = order(one, two)
    owner.process.send_signal(signal.SIGSTOP)
    try:
        error = refused(other, 'controller', 'move')
    finally:
        owner.process.send_signal(signal.SIGCONT)
    assert 'was not moved again' in error or 'did not answer' in error and os.uname().nodename in error, error
    wait_until('it is taken over', lambda: (owner.role(), other.role()) == ('standby', 'owner'))
    owner, other = other, owner
    wait_until('it is there', lambda: all(c['lives'] for c in controllers(owner).values()))
    session, channel = arm(owner)
    del channel
    move = moving(other)
    wait_until('it waits for the set', lambda: 'copy set' in move_of(other)['text'])
    owner.kill9()
    out, error = move.communicate(timeout=PATIENCE_S)
    assert move.returncode == 0 and f'Controller {other.number}, on ' in out, (out, error)
    session.close()
    owner.start()
    has_moved(owner, other)


def hosts_are_told(session, other, state):
    """By a unit attention, of the state of the other one's ports."""
    wait_until(f'its ports are in state {state}', lambda: session.groups()[other.number] == (state, [other.number]))
    assert CHANGED in session.attentions, session.attentions
    session.attentions.clear()


def nobody_takes_it(one, two, cluster):
    """The other one freezes just before: the array comes back. And one that is not there is not moved to."""
    del cluster
    owner, other = order(one, two)
    session = Session(owner, 'a')
    session.write(1, 0, block_of(3))
    assert session.groups()[other.number] == (2, [other.number])
    other.process.send_signal(signal.SIGSTOP)
    move = moving(owner)
    out, error = move.communicate(timeout=PATIENCE_S)
    assert move.returncode == 1 and 'has taken it again' in error, (out, error)
    assert owner.role() == 'owner' and session.read(1, 0) == block_of(3)
    wait_until('it is missed', lambda: not controllers(owner)[other.number]['lives'])
    assert 'is not there to take the array' in refused(owner, 'controller', 'move')
    hosts_are_told(session, other, 3)
    wait_until('it is told', lambda: any('is not there any more' in e['text'] for e in owner.ctl('events')['events']))
    assert metric(owner, 'umbra_controller_other_up') == 0
    assert move_of(owner)['state'] == 'failed'
    other.process.send_signal(signal.SIGCONT)
    assert metric(owner, 'umbra_controller_lease_age_seconds') >= 0
    wait_until('it is there again', lambda: controllers(owner)[other.number]['role'] == 'standby')
    hosts_are_told(session, other, 2)
    session.write(1, 0, block_of(4))
    assert owner.role() == 'owner'
    assert Session(other, 'a').do(1, read10(0, 1), length=BLOCK)[1] == STANDBY
    assert other.stop() == 0
    wait_until('its end is known', lambda: controllers(owner)[other.number]['role'] == 'ended')
    assert f'127.0.0.1:{other.port},{other.number}' in targets(owner)  # hosts still learn of it
    hosts_are_told(session, other, 3)
    other.start()
    hosts_are_told(session, other, 2)


def a_connection_that_comes_too_late_is_for_nothing(one, two, cluster):
    """The monitors do not answer for as long as a move waits. What it has begun to connect is there after that, and the owner goes on
    answering the other one."""
    owner, other = order(one, two)
    the_wire_is_whole(one, two)
    session = Session(other, 'a', 2)
    cluster.freeze('mon.a')
    try:
        out, error = moving(owner).communicate(timeout=PATIENCE_S)
    finally:
        cluster.thaw('mon.a')
    assert 'Ceph does not answer on a new connection' in error, (out, error)
    end = time.monotonic() + 10  # until it has connected, and is given up
    while time.monotonic() < end:
        assert session.do(1, RESERVATIONS, length=4096)[0] == 0
        time.sleep(0.2)
    assert (owner.role(), other.role()) == ('owner', 'standby')
    session.close()


def a_move_while_the_one_before_is_still_being_given_up(one, two, cluster):
    """The next one begins when the connection of the one before has not come up yet: each keeps to its own."""
    owner, other = order(one, two)
    cluster.freeze('mon.a')
    try:
        out, error = moving(owner).communicate(timeout=PATIENCE_S)
        assert 'Ceph does not answer on a new connection' in error, (out, error)
        move = moving(owner)
        wait_until('it waits', lambda: move_of(owner)['state'] == 'waits')
    finally:
        cluster.thaw('mon.a')
    out, error = move.communicate(timeout=PATIENCE_S)
    assert move.returncode == 0, (out, error)
    has_moved(owner, other)
    end = time.monotonic() + 10  # until what was given up is gone
    while time.monotonic() < end:
        the_wire_is_whole(one, two)
        time.sleep(0.5)


def refused_at_start(cluster, one, words, number, group='', target=None):
    other = Controller(cluster, number, (free_port(), free_port()))
    other.config['iscsi']['portals'] += group
    other.config['iscsi']['target_name'] = target or one.target
    other.write_config()
    try:
        other.start()
    except RuntimeError as error:
        assert words in str(error), error
    else:
        raise AssertionError(f'it has started, though: {words}')
    finally:
        other.remove()


def a_dead_owner_on_the_same_machine_is_not_waited_for(one, two, cluster):
    """Where its lease is waited for that takes 5 s at least. A busy machine has several tries to be faster than that."""
    for controller in (one, two):
        path = os.path.join(cluster.dir, f'card{controller.number}')
        cluster.rados('getomapval', 'umbra.default', f'head.controller.{controller.number}', path)
        with open(path) as file:
            assert json.load(file)['boot'].startswith(boot_id() + ':pid:['), path
    for _ in range(TRIES):
        owner, other = order(one, two)
        session = Session(other, 'a')
        stands_by(session)
        begun = time.monotonic()
        owner.kill9()
        wait_until('the other one serves', lambda session=session: serves(session))
        seconds = time.monotonic() - begun
        print(f'from kill -9 to the first I/O: {seconds:.1f} s')
        session.close()
        owner.start()
        has_moved(owner, other)
        if seconds < LEASE_S:
            return
    raise AssertionError('its lease was waited for')


def what_does_not_fit_is_refused(one, two, cluster):
    for controller in (one, two):
        refused_at_start(cluster, one, f'there is a controller {controller.number} already', controller.number)
    owner, other = order(one, two)
    assert other.stop() == 0
    refused_at_start(cluster, owner, 'under the target name', other.number, target='iqn.2026-01.test:another')
    refused_at_start(cluster, owner, f'has the portal group {owner.number} as well', other.number, group=f'/{owner.number}')
    other.start()
    assert (owner.role(), other.role()) == ('owner', 'standby')


def an_array_that_is_removed_leaves_nothing(one, two, cluster):
    """As docs/ceph.md has it; then another one is made in its place."""
    def objects(*begins):
        return {name for name in cluster.rados('ls').stdout.split() if name.startswith(begins)}
    owner, other = order(one, two)
    for host in ('a', 'b', 'copies'):
        owner.ctl('unmap', 'data', host)
    owner.ctl('lun', 'delete', 'data')
    wait_until('its images are gone', lambda: not cluster.images() and not cluster.rbd('trash', 'ls', cluster.pool).stdout.split())
    end_well(other, owner)
    assert objects('umbra', 'rbd_data', 'rbd_header', 'rbd_object_map') == {'umbra.default', 'umbra-owner.default'}
    for name in ('umbra.default', 'umbra-owner.default'):
        cluster.rados('rm', name)
    run_ctl('rbd', 'create', cluster.pool, '--conf', cluster.conf)
    for controller in (one, two):
        controller.start()
    assert {one.role(), two.role()} == {'owner', 'standby'}
    assert one.ctl('lun', 'list')['luns'] == [] and one.ctl('host', 'list')['hosts'] == []


def main():
    skip_without_store()
    end_in_order()
    with Cluster() as cluster:
        run_ctl('rbd', 'create', cluster.pool, '--conf', cluster.conf)
        hidden = can_hide_proc()
        if not hidden:
            print('left out: the /proc of the service, which only root may mount')
        one, two = start(cluster, prepare_one=as_a_service if hidden else lambda controller: None)
        with removed_at_the_end(one, two):
            prepare(one)
            one.ctl('host', 'add', 'copies', '--iqn', HOST, '--control-without-chap')
            one.ctl('map', 'data', 'copies', '--number', '1')
            wait_until('the hosts are known there', lambda: len(two.ctl('host', 'list')['hosts']) == 3)
            session = Session(two, 'a')
            wait_until('the mapping is known there', lambda: session.luns() == [1])
            long = (a_connection_that_comes_too_late_is_for_nothing, a_move_while_the_one_before_is_still_being_given_up,
                    what_the_owner_does_not_do_is_told_where_it_was_asked) if SECONDS >= 60 else ()
            for step in (they_know_each_other, a_move_loses_nothing, a_set_is_waited_for, a_set_is_given_up_by_force,
                         what_the_owner_waits_for_is_told_where_it_was_asked, moves_that_overlap,
                         a_move_back_before_the_first_one_has_ended, a_dead_owner_on_the_same_machine_is_not_waited_for, an_owner_that_does_not_answer, nobody_takes_it, *long,
                         what_does_not_fit_is_refused, an_array_that_is_removed_leaves_nothing):
                run_step(step, one, two, cluster)
            end_well(one, two)


if __name__ == '__main__':
    main()
