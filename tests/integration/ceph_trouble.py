#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An array in Ceph and what goes wrong there: two umbrads for one array, an owner that was stopped and comes back, a full cluster, an
OSD that hangs or is killed, monitors that are gone. No acknowledged write is lost, the rest goes on, and all heals without a restart.

usage: ceph_trouble.py CASE"""
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_ceph import PATIENCE_S, Cluster, end_in_order, skip_without_store  # noqa: E402
from umbra_initiator import Channel, ScsiError, Session  # noqa: E402
from umbra_lab import Array, umbrad_path  # noqa: E402

GONE_S = 20  # how long the monitors are gone
LUNS = 20     # so many that each of two OSDs has some


def block(value):
    return struct.pack('>Q', value) * 64


def with_luns(array, count=1, size='4M'):
    """LUNs a0, a1 … with the numbers 1, 2 … for the host h1."""
    array.add_host('h1', 'iqn.2026-01.test:h1', secret='secret-of-h1-')
    for number in range(count):
        array.ctl('lun', 'create', f'a{number}', '--size', size)
        array.ctl('map', f'a{number}', 'h1', '--number', str(number + 1))


def wait_until(what, holds):
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.05)


class Later(threading.Thread):
    """A call that may hang: its result or exception."""

    def __init__(self, call, *arguments):
        super().__init__(daemon=True)
        self.call, self.arguments, self.result, self.failure = call, arguments, None, None
        self.start()

    def run(self):
        try:
            self.result = self.call(*self.arguments)
        except (ConnectionError, ScsiError, AssertionError) as failure:
            self.failure = failure

    def end(self):
        self.join(PATIENCE_S)
        assert not self.is_alive(), f'{self.call.__name__} hangs'
        return self.failure


def blocks_sigterm(pid):
    """Whether umbrad is so far that it takes signals itself."""
    with open(f'/proc/{pid}/status') as status:
        mask = next(int(line.split()[1], 16) for line in status if line.startswith('SigBlk:'))
    return bool(mask >> signal.SIGTERM - 1 & 1)


def run_umbrad(array):
    return subprocess.run([umbrad_path(), '--config', array.config_path], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=PATIENCE_S)


def owners():
    """A second umbrad is refused while the first lives. One that was stopped and comes back, its array taken by another meanwhile,
    writes nothing any more, not even what it had been sent before, and ends."""
    with Cluster() as cluster, Array(ceph=cluster) as first:
        with_luns(first)
        second = Array(of=first, start=False)
        second.hosts = first.hosts
        done = run_umbrad(second)
        assert done.returncode == 1 and 'another umbrad' in done.stderr and f'process {first.pid}' in done.stderr, done
        session = Session(first, 'h1')
        session.write(1, 0, block(1))
        first.process.send_signal(signal.SIGSTOP)
        late = Later(session.write, 1, 0, block(2))
        try:
            second.start()
            with Session(second, 'h1') as other:
                assert other.read(1, 0, 1) == block(1)
                other.write(1, 0, block(3))
                first.process.send_signal(signal.SIGCONT)
                assert first.process.wait(PATIENCE_S) == 1
                first.process = None
                assert isinstance(late.end(), ConnectionError), late.failure
                assert 'has lost the array' in first.log(), first.log()
                assert other.read(1, 0, 1) == block(3)
                other.write(1, 0, block(4))
            assert second.stop() == 0
        finally:
            session.close(logout=False)
            second.remove()
        first.start()
        with Session(first, 'h1') as session:
            assert session.read(1, 0, 1) == block(4)


def full():
    """Writes get DATA PROTECT and no copy set is made; what is there can be read and deleted. With room again all goes on."""
    with Cluster() as cluster, Array(ceph=cluster) as array:
        with_luns(array, 2, '64M')
        lun = bytes.fromhex(array.ctl('lun', 'show', 'a0')['id'])
        with Session(array, 'h1') as session:
            for at in range(0, 64):
                session.write(1, at * 2048, block(at) * 2048)
            for name, ratio in (('nearfull', '0.001'), ('backfillfull', '0.0015'), ('full', '0.002')):
                cluster.ceph('osd', f'set-{name}-ratio', ratio)
            wait_until('the cluster is full', lambda: 'full' in cluster.ceph('osd', 'dump').stdout.split('flags', 1)[0] or
                       ' full' in cluster.ceph('health').stdout)
            refused = None
            end = time.monotonic() + PATIENCE_S
            while not refused and time.monotonic() < end:
                try:
                    session.write(2, 0, block(7) * 2048)
                    time.sleep(0.1)
                except ScsiError as failure:
                    refused = failure
            assert refused and refused.sense == (7, 0x2707), refused
            assert session.read(1, 2048, 1) == block(1)
            for name, ratio in (('full', '0.95'), ('backfillfull', '0.9'), ('nearfull', '0.85')):
                cluster.ceph('osd', f'set-{name}-ratio', ratio)
            end = time.monotonic() + PATIENCE_S
            while refused and time.monotonic() < end:
                try:
                    session.write(2, 0, block(8) * 2048)
                    refused = None
                except ScsiError as failure:
                    refused = failure
                    time.sleep(0.1)
            assert not refused, refused
            assert session.read(2, 0, 1) == block(8)
            Channel(session).make_set(os.urandom(16), [lun])


def frozen():
    """One of two OSDs hangs: LUNs whose data is on the other one go on, so do sessions and management. Then it goes on, and so does
    the I/O that it had."""
    with Cluster(osds=2) as cluster, Array(ceph=cluster) as array:
        catalogue = cluster.osd_of(f"umbra.{array.ceph['array']}")
        slow = 1 - catalogue
        with_luns(array, LUNS)
        with Session(array, 'h1') as session, Session(array, 'h1') as other:
            luns = {0: [], 1: []}  # by the OSD that has the data
            for number in range(LUNS):
                session.write(number + 1, 0, block(number))
            prefixes = {name: cluster.rbd('info', '--format', 'json', f'{cluster.pool}/{name}').stdout for name in cluster.images()}
            assert len(prefixes) == LUNS, prefixes
            for number, name in enumerate(sorted(prefixes, key=lambda n: int(n.rsplit('-', 1)[1]))):
                prefix = json.loads(prefixes[name])['block_name_prefix']
                luns[cluster.osd_of(prefix + '.0000000000000000')].append(number + 1)
            assert luns[0] and luns[1], luns
            cluster.freeze(f'osd.{slow}')
            try:
                stuck = Later(session.write, luns[slow][0], 0, block(99))
                for round_ in range(20):
                    for number in luns[catalogue]:
                        other.write(number, 0, block(100 + round_))
                        assert other.read(number, 0, 1) == block(100 + round_)
                other.inquiry(luns[slow][0])
                assert array.ctl('status')['counts']['luns'] == LUNS
                array.ctl('lun', 'rename', 'a0', 'renamed')
                assert stuck.is_alive(), 'the write did not wait for its OSD'
            finally:
                cluster.thaw(f'osd.{slow}')
            assert stuck.end() is None, stuck.failure
            assert other.read(luns[slow][0], 0, 1) == block(99)


def lost():
    """The OSD is killed under load and comes back with what its disk has: the writes wait for it, each that was acknowledged is there, and
    umbrad needs no restart."""
    with Cluster('bluestore') as cluster, Array(ceph=cluster) as array:
        with_luns(array, 1, '16M')
        acknowledged, ended = {}, threading.Event()

        def write(session):
            count = 0
            while not ended.is_set():
                count += 1
                at = count * 7919 % 16384
                session.write(1, at, block(count))
                acknowledged[at] = count

        with Session(array, 'h1') as session, Session(array, 'h1') as reader:
            writer = Later(write, session)
            try:
                for _ in range(2):
                    before = len(acknowledged)
                    wait_until('there are writes', lambda: len(acknowledged) > before + 200 or writer.failure)
                    cluster.osd_kill()
                    cluster.osd_start()
                wait_until('it goes on', lambda: len(acknowledged) > before + 400 or writer.failure)
            finally:
                ended.set()
            assert writer.end() is None, writer.failure
            for at, count in acknowledged.items():
                assert reader.read(1, at, 1) == block(count), f'LBA {at}'
            lun = bytes.fromhex(array.ctl('lun', 'show', 'a0')['id'])
            Channel(session).make_set(os.urandom(16), [lun])


def monitors():
    """The monitors are gone for 20 s: I/O goes on; a copy set, which needs them, is vetoed by its deadline and leaves nothing, not even
    a LUN that waits; then one is made. An umbrad that starts meanwhile ends when it is told to."""
    with Cluster() as cluster, Array({'copysets': {'commit_budget': '2s'}}, ceph=cluster) as array:
        with_luns(array)
        lun = bytes.fromhex(array.ctl('lun', 'show', 'a0')['id'])
        with Session(array, 'h1') as session:
            session.write(1, 0, block(1))
            cluster.mon_kill()
            gone = time.monotonic()
            channel = Channel(session)
            set_id = os.urandom(16)
            channel.ask('set-begin', 'ok', set_id=set_id)
            channel.ask('set-add', 'ok', set_id=set_id, lun_id=lun)
            channel.ask('set-arm', 'ok', set_id=set_id)
            reply = channel.ask('set-commit', set_id=set_id, deadline_ms=2000)
            assert reply.status == 'deadline passed', reply.status
            second = Array(of=array, start=False)
            try:
                process = subprocess.Popen([umbrad_path(), '--config', second.config_path], stdin=subprocess.DEVNULL,
                                           stderr=subprocess.PIPE, text=True)
                wait_until('it listens for signals', lambda: blocks_sigterm(process.pid))
                process.send_signal(signal.SIGTERM)
                said = process.communicate(timeout=PATIENCE_S)[1]
                assert process.returncode == 0 and 'stopped while it was starting' in said, (process.returncode, said)
            finally:
                second.remove()
            value = 1
            while time.monotonic() < gone + GONE_S:
                value += 1
                session.write(1, 0, block(value))
                assert session.read(1, 0, 1) == block(value)
                time.sleep(0.2)
            cluster.mon_start()
            end = time.monotonic() + PATIENCE_S
            while True:
                try:
                    (shadow,) = channel.make_set(os.urandom(16), [lun])
                    break
                except AssertionError:
                    assert time.monotonic() < end, 'no copy set is made'
            at = channel.ask('map', 'ok', lun_id=shadow).lun_number
            assert session.read(at, 0, 1) == block(value)
            assert len(array.ctl('shadow', 'list')['shadows']) == 1


def main():
    skip_without_store()
    end_in_order()
    cases = {case.__name__: case for case in (owners, full, frozen, lost, monitors)}
    cases[sys.argv[1]]()
    print('ok', sys.argv[1])


if __name__ == '__main__':
    main()
