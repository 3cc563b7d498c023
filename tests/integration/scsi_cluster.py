#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A shared disk under a failover cluster of three nodes: every node registers a key of its own (REGISTER AND IGNORE
EXISTING KEY, here with APTPL), the owner reserves with type 5 (write exclusive, registrants only), a challenger
preempts the owner's key, the owner releases. Those are the steps that Windows validates on each shared disk before it
forms a cluster ("Validate SCSI-3 Persistent Reservation", Microsoft's AskCore blog of 2009-04-15), and the service
actions and types that its class driver passes on (IOCTL_STORAGE_PERSISTENT_RESERVE_OUT, learn.microsoft.com).

The array is killed (SIGKILL) and started again between the steps and in the middle of them: what was answered is there
afterwards, what was not answered is there wholly or not at all.
"""
import os
import random
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_initiator import Session  # noqa: E402
from umbra_lab import Array  # noqa: E402

NODES = ['node1', 'node2', 'node3']
KEYS = {'node1': 0x6E6F646531000001, 'node2': 0x6E6F646532000001, 'node3': 0x6E6F646533000001}
REGISTER, RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_ABORT, REGISTER_IGNORE, MOVE = range(8)
WRITE_EXCLUSIVE_RO = 5
GOOD, CHECK, CONFLICT = 0x00, 0x02, 0x18
APTPL = 1
PREEMPTED, RELEASED, REGISTRATIONS_PREEMPTED = 0x2A03, 0x2A04, 0x2A05


class Cluster:
    def __init__(self, array):
        self.array, self.sessions = array, {}

    def connect(self):
        for number, node in enumerate(NODES):
            self.sessions[node] = Session(self.array, node, isid=0x100 + number)
            self.forget_attentions(node)

    def disconnect(self):
        for session in self.sessions.values():
            session.close(logout=False)
        self.sessions = {}

    def crash(self):
        """kill -9, a new start, new sessions of the same initiator ports."""
        self.array.kill9()
        self.disconnect()
        self.array.start()
        self.connect()

    def forget_attentions(self, node):
        for _ in range(8):
            if self.sessions[node].command(1, bytes(6))[0] == GOOD:
                return

    def attention(self, node):
        """The unit attention that waits for a node, or None."""
        status, sense, _ = self.sessions[node].command(1, bytes(6))
        return sense[1] if status == CHECK and sense[0] == 6 else None

    def out(self, node, action, key, new_key=0, kind=0, flags=0):
        data = struct.pack('>QQIBxH', key, new_key, 0, flags, 0)
        cdb = struct.pack('>BBBxxIx', 0x5F, action, kind, len(data))
        return self.sessions[node].command(1, cdb, out=data)[0]

    def read(self, action):
        cdb = struct.pack('>BBxxxxxHx', 0x5E, action, 8192)
        return self.sessions['node3'].good('PERSISTENT RESERVE IN', 1, cdb, length_in=8192)

    def keys(self):
        data = self.read(0)
        length = struct.unpack('>I', data[4:8])[0]
        return sorted(struct.unpack(f'>{length // 8}Q', data[8:8 + length]))

    def reservation(self):
        """(key, type) or None."""
        data = self.read(1)
        if struct.unpack('>I', data[4:8])[0] == 0:
            return None
        return struct.unpack('>Q', data[8:16])[0], data[21]

    def write(self, node, value):
        cdb = struct.pack('>BBQIBB', 0x8A, 0, 0, 1, 0, 0)
        return self.sessions[node].command(1, cdb, out=bytes([value]) * 512)[0]

    def first_byte(self, node):
        return self.sessions[node].read(1, 0, 1)[0]


def equal(found, wanted, what):
    assert found == wanted, f'{what}: {found!r}, not {wanted!r}'


def form(cluster):
    """The nodes join; node 1 owns the disk."""
    for node in NODES:
        equal(cluster.out(node, REGISTER_IGNORE, 0, KEYS[node], flags=APTPL), GOOD, f'{node} registers')
    equal(cluster.keys(), sorted(KEYS.values()), 'the keys')
    equal(cluster.reservation(), None, 'nobody holds yet')
    equal(cluster.out('node1', RESERVE, KEYS['node1'], kind=WRITE_EXCLUSIVE_RO), GOOD, 'node 1 reserves')
    equal(cluster.out('node2', RESERVE, KEYS['node2'], kind=WRITE_EXCLUSIVE_RO), CONFLICT, 'node 2 cannot reserve')
    equal(cluster.reservation(), (KEYS['node1'], WRITE_EXCLUSIVE_RO), 'the reservation')


def owner(cluster, node, value):
    equal(cluster.reservation(), (KEYS[node], WRITE_EXCLUSIVE_RO), f'{node} holds')
    equal(cluster.write(node, value), GOOD, f'{node} writes')
    equal(cluster.first_byte('node3'), value, 'what was written')


def challenge(cluster):
    """Node 2 takes the disk from node 1, which is fenced off until it registers again."""
    equal(cluster.out('node2', PREEMPT, KEYS['node2'], KEYS['node1'], WRITE_EXCLUSIVE_RO), GOOD, 'node 2 preempts')
    equal(cluster.attention('node1'), REGISTRATIONS_PREEMPTED, 'what node 1 learns')
    equal(cluster.attention('node3'), None, 'what node 3 learns')
    fenced(cluster)


def fenced(cluster):
    equal(cluster.keys(), sorted([KEYS['node2'], KEYS['node3']]), 'the keys')
    equal(cluster.write('node1', 0xEE), CONFLICT, 'node 1 writes')
    equal(cluster.first_byte('node1') == 0xEE, False, 'node 1 wrote')
    equal(cluster.out('node1', RESERVE, KEYS['node1'], kind=WRITE_EXCLUSIVE_RO), CONFLICT, 'node 1 reserves')
    equal(cluster.out('node1', RELEASE, KEYS['node1'], kind=WRITE_EXCLUSIVE_RO), CONFLICT, 'node 1 releases')
    owner(cluster, 'node2', 0x22)
    equal(cluster.write('node3', 0x33), GOOD, 'node 3, a registrant, writes')


def defend(cluster):
    """Node 1 comes back and challenges, node 2 defends itself: it removes the key (PREEMPT AND ABORT)."""
    equal(cluster.out('node1', REGISTER_IGNORE, 0, KEYS['node1'], flags=APTPL), GOOD, 'node 1 registers again')
    equal(cluster.out('node2', PREEMPT_ABORT, KEYS['node2'], KEYS['node1'], WRITE_EXCLUSIVE_RO), GOOD, 'node 2 defends')
    equal(cluster.attention('node1'), REGISTRATIONS_PREEMPTED, 'what node 1 learns')
    fenced(cluster)


def hand_over(cluster):
    """A planned move: node 2 releases, node 3 reserves."""
    equal(cluster.out('node2', RELEASE, KEYS['node2'], kind=WRITE_EXCLUSIVE_RO), GOOD, 'node 2 releases')
    equal(cluster.attention('node3'), RELEASED, 'what node 3 learns')
    equal(cluster.reservation(), None, 'nobody holds')
    equal(cluster.out('node3', RESERVE, KEYS['node3'], kind=WRITE_EXCLUSIVE_RO), GOOD, 'node 3 reserves')
    owner(cluster, 'node3', 0x44)


def dissolve(cluster):
    equal(cluster.out('node3', CLEAR, KEYS['node3']), GOOD, 'node 3 clears')
    equal(cluster.attention('node2'), PREEMPTED, 'what node 2 learns')
    equal(cluster.keys(), [], 'the keys')
    equal(cluster.write('node1', 0x55), GOOD, 'anybody writes')


def sequence(cluster, crashes):
    def between():
        if crashes:
            cluster.crash()

    form(cluster)
    between()
    equal(cluster.keys(), sorted(KEYS.values()), 'the keys after a crash')
    owner(cluster, 'node1', 0x11)
    between()
    challenge(cluster)
    between()
    fenced(cluster)
    defend(cluster)
    between()
    fenced(cluster)
    hand_over(cluster)
    between()
    owner(cluster, 'node3', 0x45)
    dissolve(cluster)
    between()
    equal((cluster.keys(), cluster.reservation()), ([], None), 'after the end')


def killed_in_the_middle(cluster, seed):
    """Ownership goes round by preempting while the array is killed at a random instant. Afterwards: the owner is who
    was answered last, or who asked last; and who is not registered is fenced off."""
    dice = random.Random(seed)
    form(cluster)
    cluster.disconnect()
    cluster.connect()
    for _ in range(6):
        state = {'holder': cluster.reservation()[0], 'asked': None}
        stop_at = time.monotonic() + dice.uniform(0.0, 0.15)
        ended = threading.Event()

        def kill():
            time.sleep(max(0.0, stop_at - time.monotonic()))
            cluster.array.process.kill()
            ended.set()

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            while True:
                for node in NODES:
                    if KEYS[node] == state['holder']:
                        continue
                    if cluster.out(node, REGISTER_IGNORE, 0, KEYS[node], flags=APTPL) == CHECK:
                        continue  # an attention; asked again in the next round
                    state['asked'] = KEYS[node]
                    if cluster.out(node, PREEMPT, KEYS[node], state['holder'], WRITE_EXCLUSIVE_RO) == GOOD:
                        state['holder'] = KEYS[node]
                    state['asked'] = None
        except (ConnectionError, OSError):
            pass
        killer.join()
        cluster.crash()
        key, kind = cluster.reservation()
        equal(kind, WRITE_EXCLUSIVE_RO, 'the type')
        assert key == state['holder'] or key == state['asked'], f'{key:#x} holds: {state}'
        assert key in cluster.keys(), 'who holds is registered'
        for node in NODES:
            if KEYS[node] not in cluster.keys():
                equal(cluster.write(node, 0x66), CONFLICT, f'{node} writes')
    equal(cluster.out('node1', REGISTER_IGNORE, 0, KEYS['node1'], flags=APTPL), GOOD, 'node 1 registers')
    equal(cluster.out('node1', CLEAR, KEYS['node1']), GOOD, 'node 1 clears')


def atomic(cluster, times=40):
    """COMPARE AND WRITE under concurrency: every node adds to one counter, and no addition is lost."""
    def add(node):
        session = cluster.sessions[node]
        for _ in range(times):
            while True:
                old = session.read(1, 64, 1)
                new = (int.from_bytes(old[:8], 'big') + 1).to_bytes(8, 'big') + old[8:]
                cdb = struct.pack('>BBQBBBBBB', 0x89, 0, 64, 0, 0, 0, 1, 0, 0)
                status, sense, _ = session.command(1, cdb, out=old + new)
                if status == GOOD:
                    break
                assert sense[0] in (0x0E, 0x06), sense  # MISCOMPARE: another was first

    cluster.sessions['node1'].write(1, 64, bytes(512))
    threads = [threading.Thread(target=add, args=(node,)) for node in NODES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    equal(int.from_bytes(cluster.sessions['node2'].read(1, 64, 1)[:8], 'big'), times * len(NODES), 'the counter')


def main():
    seed = int(os.environ.get('UMBRA_TEST_SEED') or random.SystemRandom().randrange(1 << 32))
    print(f'seed {seed}', flush=True)
    with Array() as array:
        array.ctl('lun', 'create', 'witness', '--size', '64M')
        for node in NODES:
            array.add_host(node, f'iqn.1991-05.com.microsoft:{node}.test')
            array.ctl('map', 'witness', node)
        cluster = Cluster(array)
        cluster.connect()
        sequence(cluster, crashes=False)
        sequence(cluster, crashes=True)
        killed_in_the_middle(cluster, seed)
        atomic(cluster)
        cluster.disconnect()
    print('the cluster keeps its disk')


main()
