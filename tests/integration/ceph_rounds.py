#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two controllers in front of an array in Ceph, and whatever may happen to them, in rounds at random: killed, frozen, stopped in order,
cut off from Ceph for good or for a blink, moved, both at once. Two hosts write in order to two LUNs, by whichever path takes it; one takes
copy sets of both. All the while:

- what was acknowledged is read back, and nothing older or never sent comes instead;
- a copy set is there whole or not at all, as whoever asked was told or is told when he asks again; its copies are of one
  instant: of each host the second LUN's number is the first one's or the one before, and none is older than what was acknowledged before.

UMBRA_TEST_SEED; UMBRA_TEST_RUNS: rounds (default 3); UMBRA_TEST_SECONDS: no round begins after these (default: no limit)"""
import os
import random
import signal
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ceph_controllers import (BLOCK, PATIENCE_S, block_of, end_well, read10, removed_at_the_end, start,  # noqa: E402
                              wait_until, write10)
from ceph_takeover import Asker, cut_file, lun_ids, number_of, role_of, shadow_ids, set_states, two_luns, with_a_network_to_cut  # noqa: E402
from umbra_ceph import Cluster, end_in_order, skip_without_store  # noqa: E402
from umbra_initiator import Channel, ScsiError, Reply  # noqa: E402
from umbra_lab import run_ctl  # noqa: E402

PATH_S = 5      # a path that says nothing for so long is left for the other one
BUSY = 8
STEPS = 8       # each host goes on so far in each round


class Lost(Exception):
    """This path does not do it; the other one may."""


class Actor(threading.Thread):
    """Somebody with a path to each controller, of which one works most of the time."""

    def __init__(self, host, controllers, isid):
        super().__init__(daemon=True)
        self.host, self.controllers, self.isid = host, controllers, isid
        self.paths, self.at, self.over, self.failure = {}, 0, False, None

    def path(self):
        if self.at not in self.paths:
            self.paths[self.at] = Asker(self.controllers[self.at], self.host, self.isid, timeout_s=PATH_S)
        return self.paths[self.at]

    def insist(self, action):
        """Over one path or the other, until it is done: its result. None: the test is over."""
        while not self.over:
            try:
                return action(self.path())
            except (OSError, struct.error):
                gone = self.paths.pop(self.at, None)
                if gone:
                    gone.close()
            except Lost:
                pass
            except AssertionError as error:  # a login that was refused
                if self.at in self.paths:
                    raise error
            self.at = 1 - self.at
            time.sleep(0.02)
        return None

    def run(self):
        try:
            while not self.over:
                self.step()
        except BaseException as error:  # pylint: disable=broad-except
            self.failure = error
        for path in self.paths.values():
            path.close()

    def check(self):
        if self.failure:
            raise self.failure


def done(answer):
    """A command's data. NOT READY and BUSY are a path's affair, and so is a LUN that the one that stands by has not heard of yet;
    all else is a failure."""
    status, sense, data = answer
    if status == BUSY or status and sense and (sense[0] == 2 or sense == (5, 0x2500)):
        raise Lost
    assert status == 0, (status, sense)
    return data


class Host(Actor):
    """Writes 1, 2, 3 … to its block of LUN 1, then the same to LUN 2, and reads each back."""

    def __init__(self, host, lba, controllers, isid):
        super().__init__(host, controllers, isid)
        self.lba, self.issued, self.acknowledged = lba, 0, 0

    def step(self):
        number = self.issued = self.issued + 1
        for lun in (1, 2):
            self.insist(lambda path, lun=lun: done(path.do(lun, write10(self.lba, 1), out=block_of(number))))
            data = self.insist(lambda path, lun=lun: done(path.do(lun, read10(self.lba, 1), length=BLOCK)))
            if data is None:
                return
            assert data == block_of(number), f'{self.host}, LUN {lun}: {number_of(data)} in place of {number}'
        self.acknowledged = number


class Requester(Actor):
    """Takes a set of both LUNs, looks at it, and deletes it."""

    def __init__(self, host, controllers, isid, luns, hosts):
        super().__init__(host, controllers, isid)
        self.luns, self.hosts, self.made, self.missed, self.never = luns, hosts, 0, 0, []

    def ask(self, op, wanted, **fields):
        """The answer, whose status is one of `wanted`; by whichever path."""
        def once(path):
            try:
                reply = Channel(path).ask(op, **fields)
            except ScsiError as error:
                assert error.status == BUSY or error.sense[0] == 2 or error.sense == (5, 0x2500), error
                raise Lost from None
            if reply.status in ('busy', 'deadline passed', 'store error') and reply.status not in wanted:  # the last: its array ends
                raise Lost
            assert reply.status in wanted, (op, reply.status, reply.fields)
            return reply
        return self.insist(once)

    def take(self, set_id):
        """Whether it is there: told, or asked for when nobody told."""
        try:
            reply = Channel(self.path()).ask('set-take', set_id=set_id, luns=self.luns)
            if reply.status == 'ok':
                return True
            assert reply.status in ('deadline passed', 'busy', 'store error'), (reply.status, reply.fields)
        except (OSError, struct.error, ScsiError):
            gone = self.paths.pop(self.at, None)
            if gone:
                gone.close()
            self.at = 1 - self.at
        except AssertionError:
            if self.at in self.paths:
                raise
            self.at = 1 - self.at
        while not self.over:
            reply = self.ask('set-state', ('ok', 'not found'), set_id=set_id)
            if reply is None or reply.status == 'not found' or reply.state_name == 'aborted':
                return False
            if reply.state_name == 'kept':
                return True
            if reply.state_name == 'committed':  # its array may have died before it was kept
                self.ask('set-keep', ('ok',), set_id=set_id)
            time.sleep(0.05)
        return False

    def step(self):
        set_id = os.urandom(16)
        before = {host: host.acknowledged for host in self.hosts}
        there = self.take(set_id)
        after = {host: host.issued for host in self.hosts}
        if self.over:
            return
        if not there:
            self.missed += 1
            self.never.append(set_id.hex())
            time.sleep(0.05)
            return
        reply = self.ask('set-luns', ('ok',), set_id=set_id)
        if reply is None:
            return
        copies = {entry.origin: entry.id for entry in reply.luns}
        assert set(copies) == set(self.luns), f'half a set: {copies}'
        values = []
        for lun in self.luns:
            reply = self.ask('map', ('ok',), lun_id=copies[lun])
            if reply is None:
                return
            values.append([self.insist(lambda path, host=host: done(path.do(reply.lun_number, read10(host.lba, 1), length=BLOCK)))
                           for host in self.hosts])
        if self.over:
            return
        for host, one, two in zip(self.hosts, *values):
            one, two = number_of(one), number_of(two)
            assert two <= one <= two + 1, f'not of one instant: {host.host} {one}, {two}'
            assert before[host] <= two and one <= after[host], (before[host], two, one, after[host])
        for copy in copies.values():
            self.ask('delete', ('ok',), lun_id=copy)
        self.made += 1
        time.sleep(0.05)


# ---- what may happen


def cut(controller):
    with open(cut_file(controller), 'w'):
        pass


def heal(controller):
    if os.path.exists(cut_file(controller)):
        os.unlink(cut_file(controller))


def strike(dice, owner, other):
    """What happens, and what brings back what it took."""
    def freeze(controller):
        controller.process.send_signal(signal.SIGSTOP)
        return lambda: controller.process.send_signal(signal.SIGCONT)

    def end(controller):
        assert controller.stop() == 0, controller.log()

    def blink(controller):
        cut(controller)
        time.sleep(dice.uniform(0.1, 8))
        heal(controller)

    def move(controller):  # refused until the other one has said that it is there
        wait_until('the array is moved', lambda: controller.ctl('controller', 'move', check=False).returncode == 0)

    def move_at_both():
        moves = [threading.Thread(target=lambda c=c: c.ctl('controller', 'move', check=False)) for c in (owner, other, owner, other)]
        for one in moves:
            one.start()
        for one in moves:
            one.join()

    def move_and(controller, killed):
        begun = threading.Thread(target=lambda: controller.ctl('controller', 'move', check=False))
        begun.start()
        time.sleep(dice.uniform(0, 0.5))
        killed.kill9()
        begun.join()

    def both():
        owner.kill9()
        other.kill9()
    what = {
        'the owner is killed': owner.kill9,
        'the owner is frozen': lambda: freeze(owner),
        'the owner is cut off': lambda: cut(owner),
        'the owner is cut off for a moment': lambda: blink(owner),
        'the owner ends': lambda: end(owner),
        'the array is moved': lambda: move(owner),
        'the array is moved, asked at the other one': lambda: move(other),
        'the array is moved, asked at both': move_at_both,
        'the array is moved, and its owner killed over it': lambda: move_and(owner, owner),
        'the array is moved, and the other one killed over it': lambda: move_and(owner, other),
        'the other one is killed': other.kill9,
        'the other one is frozen': lambda: freeze(other),
        'the other one is cut off': lambda: cut(other),
        'both are killed': both,
    }
    name = dice.choice(sorted(what))
    return name, what[name]() or (lambda: None)


def ended_by_itself(controller):
    """As one does that has lost the array and cannot stand by in time."""
    if not controller.process or controller.process.poll() is None:
        return False
    assert controller.process.poll() == 1 and 'has lost the array' in controller.log(), controller.log()
    controller.process = None
    return True


def whole(controllers):
    """Brings back what has ended; whether one owns, and one stands by."""
    for controller in controllers:
        heal(controller)
        if ended_by_itself(controller) or not controller.process:
            controller.start()
    return {role_of(controller) for controller in controllers} == {'owner', 'standby'}


def goes_on(controllers, actors, hosts, sets=0):
    goals = {host: host.acknowledged + STEPS for host in hosts}
    requester = actors[-1]
    made = requester.made + sets

    def reached():
        for actor in actors:
            actor.check()
        for controller in controllers:
            if ended_by_itself(controller):
                print(f'controller {controllers.index(controller) + 1} ended by itself, and is started again', flush=True)
                heal(controller)
                controller.start()  # as systemd does
        return all(host.acknowledged >= goal for host, goal in goals.items()) and requester.made >= made
    wait_until('the hosts go on', reached)


def rounds(controllers, dice, count, seconds):
    hosts = [Host('a', 16, controllers, 3), Host('b', 24, controllers, 4)]
    requester = Requester('a', controllers, 5, lun_ids(controllers[0], 'a', 'b'), hosts)
    actors = hosts + [requester]
    for actor in actors:
        actor.start()
    goes_on(controllers, actors, hosts)
    begun, slowest, number = time.monotonic(), 0.0, 0
    while number < count and (not seconds or time.monotonic() - begun < seconds):
        owner, other = sorted(controllers, key=lambda c: role_of(c) != 'owner')
        since = time.monotonic()
        what, thaw = strike(dice, owner, other)
        if what == 'both are killed':
            (other if dice.random() < 0.5 else owner).start()
        goes_on(controllers, actors, hosts)
        took = time.monotonic() - since
        slowest = max(slowest, took)
        thaw()
        wait_until('one owns, one stands by', lambda: whole(controllers))
        print(f'round {number}: {what}, {took:.1f} s', flush=True)
        number += 1
    goes_on(controllers, actors, hosts, 2)
    for actor in actors:
        actor.over = True
        actor.join(PATIENCE_S)
        actor.check()
    (owner,) = [controller for controller in controllers if role_of(controller) == 'owner']
    left = set(set_states(owner))
    assert not left & set(requester.never), 'a set is there of which it was said that it is not'
    assert len(left) <= 1 and len(shadow_ids(owner)) <= 2, left  # the last one was not deleted any more
    print(f'{number} rounds, the longest until all went on {slowest:.1f} s; {sum(host.acknowledged for host in hosts)} pairs of writes, '
          f'{requester.made} sets, {requester.missed} not made', flush=True)


def main():
    skip_without_store()
    end_in_order()
    seed = int(os.environ.get('UMBRA_TEST_SEED') or random.SystemRandom().randrange(10 ** 9))
    count, seconds = int(os.environ.get('UMBRA_TEST_RUNS') or 3), float(os.environ.get('UMBRA_TEST_SECONDS') or 0)
    print(f'UMBRA_TEST_SEED={seed} UMBRA_TEST_RUNS={count}', flush=True)
    with Cluster() as cluster:
        run_ctl('rbd', 'create', cluster.pool, '--conf', cluster.conf)
        both = start(cluster, {'copysets': {'number_rest': '1ms'}}, with_a_network_to_cut)
        with removed_at_the_end(*both):
            two_luns(*both)
            for number, name in enumerate('ab'):
                both[0].ctl('map', name, 'b', '--number', str(number + 1))
            rounds(both, random.Random(seed), count, seconds)
            end_well(*both)


if __name__ == '__main__':
    main()
