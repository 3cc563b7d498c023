#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An array in Ceph and what goes wrong there: two umbrads for one array, an owner that was stopped and comes back, a cluster that is
nearly full, full, or has used up its quota, an OSD that is slow, hangs or is killed, monitors that are gone. No acknowledged write is
lost, the rest goes on, and all heals without a restart.

usage: ceph_trouble.py CASE"""
import contextlib
import json
import os
import select
import signal
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from raw_initiator import R2T, TMF_RESPONSE, Raw  # noqa: E402
from umbra_ceph import PATIENCE_S, Cluster, end_in_order, skip_without_ceph, skip_without_store, stop_still  # noqa: E402
from umbra_initiator import Channel, ScsiError, Session  # noqa: E402
from umbra_lab import Array, umbrad_path  # noqa: E402

GONE_S = 20  # how long the monitors are gone
LEASE_S = 6   # of the array's owner
FROZEN_S = 5  # for so long an OSD answers nothing
PACE_S = 2    # and no command that needs nothing of it takes longer, where none does on this machine without that
DELAY_S = 0.5  # what each operation of an OSD takes longer
HOST, SECRET = 'iqn.2026-01.test:h1', 'secret-of-h1-'


def block(value):
    return struct.pack('>Q', value) * 64


def one_lun(array, number, size):
    array.ctl('lun', 'create', f'a{number - 1}', '--size', size)
    array.ctl('map', f'a{number - 1}', 'h1', '--number', str(number))


def with_luns(array, count=1, size='4M'):
    """LUNs a0, a1 … with the numbers 1, 2 … for the host h1."""
    array.add_host('h1', HOST, secret=SECRET)
    for number in range(count):
        one_lun(array, number + 1, size)


def wait_until(what, holds, pause_s=0.05):
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(pause_s)


def made_at_last(channel, lun):
    """A copy set, when the cluster is well again and is known to be: the copy's id."""
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            return channel.make_set(os.urandom(16), [lun])[0]
        except AssertionError:
            assert time.monotonic() < end, 'no copy set is made'
            time.sleep(0.1)


@contextlib.contextmanager
def raw_session(array):
    with Raw(array.port) as raw:
        assert raw.login(HOST, array.target, SECRET).status == 0
        yield raw


class Later(threading.Thread):
    """A call that may hang: its result or exception. Its session must not be closed before it is over."""
    begun = []

    def __init__(self, call, *arguments):
        super().__init__(daemon=True)
        self.begun.append(self)
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

    @classmethod
    def all_over(cls):
        for one in cls.begun:
            one.join(PATIENCE_S)


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
        stop_still(first.process)
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


def refused(session, number, at_mib):
    """Writes, each time where nothing is yet, until the pool is full for the LUN: how the host is told."""
    end = time.monotonic() + PATIENCE_S
    for at in range(at_mib, 64):
        try:
            session.write(number, at * 2048, block(7) * 2048)
            time.sleep(0.2)
        except ScsiError as failure:
            assert failure.sense == (7, 0x2707), failure
            return
        assert time.monotonic() < end
    raise AssertionError('writes still go on')


def writes_again(session, number, value):
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            session.write(number, 0, block(value) * 2048)
            break
        except ScsiError as failure:
            assert failure.sense == (7, 0x2707) and time.monotonic() < end, failure
            time.sleep(0.1)
    assert session.read(number, 0, 1) == block(value)


def told(array, level, text):
    """Whether the administrator has been; who asks how full the pool is has umbrad look."""
    array.ctl('pool', 'status')
    return any(event['level'] == level and text in event['text'] for event in array.ctl('events')['events'])


def wait_told(array, level, text):
    wait_until(f'the administrator is told: {text}', lambda: told(array, level, text), pause_s=0.5)


def lun_id(array, number):
    """Of the LUN that with_luns gave this number."""
    return bytes.fromhex(next(lun['id'] for lun in array.ctl('lun', 'list')['luns'] if lun['name'] == f'a{number - 1}'))


def armed(channel, lun):
    set_id = os.urandom(16)
    channel.ask('set-begin', 'ok', set_id=set_id)
    channel.ask('set-add', 'ok', set_id=set_id, lun_id=lun)
    channel.ask('set-arm', 'ok', set_id=set_id)
    return set_id


def no_set(channel, lun):
    """None can be made where there is no room, and the provider is told why."""
    set_id = os.urandom(16)
    channel.ask('set-begin', 'ok', set_id=set_id)
    channel.ask('set-add', 'ok', set_id=set_id, lun_id=lun)
    channel.ask('set-arm', 'no space', set_id=set_id)
    channel.ask('set-abort', 'ok', set_id=set_id)


def no_growth(array, cluster):
    """Neither a new LUN nor a larger one; what was tried has left nothing, no image whose object map is of no use either."""
    images = cluster.images()
    for words in (('lun', 'create', 'more', '--size', '64M'), ('lun', 'resize', 'a0', '--size', '640M')):
        done = array.ctl(*words, check=False)
        assert done.returncode == 1 and 'ENOSPC' in done.stdout and 'quota' in done.stdout and 'pool grow' not in done.stdout, done
    wait_until('nothing is left', lambda: cluster.images() == images)
    for name in images:
        about = json.loads(cluster.rbd('info', '--format', 'json', f'{cluster.pool}/{name}').stdout)
        assert not about['flags'] and about['size'] == 64 << 20, about


def full():
    """Nearly full: the administrator is told, and all goes on. Full: writes get DATA PROTECT and no copy set is made; what is there can
    be read and deleted. With room again all goes on."""
    with Cluster() as cluster, Array(ceph=cluster) as array:
        def ratio(name, part):
            cluster.ceph('osd', f'set-{name}-ratio', part)
        with_luns(array, 2, '64M')
        lun = lun_id(array, 1)
        kept = set(cluster.images())
        for name in ('large', 'unused'):
            array.ctl('lun', 'create', name, '--size', '16T')
        large = set(cluster.images()) - kept
        array.ctl('map', 'large', 'h1', '--number', '3')
        with Session(array, 'h1') as session:
            channel = Channel(session)
            session.write(3, 0, block(1))
            for at in range(0, 64):
                session.write(1, at * 2048, block(at) * 2048)
            for value, (name, part) in enumerate((('nearfull', '0.001'), ('backfillfull', '0.0015'))):
                ratio(name, part)
                wait_until(f'the cluster is {name}', lambda: name in cluster.pool_flags(), pause_s=0.5)  # pylint: disable=cell-var-from-loop
                wait_told(array, 'warning', f'pool {cluster.pool} is nearly full')
                session.write(2, 0, block(value) * 2048)
                channel.make_set(os.urandom(16), [lun])
            set_id = armed(channel, lun)
            ratio('full', '0.002')
            wait_until('the cluster is full', lambda: 'full' in cluster.pool_flags(), pause_s=0.5)
            refused(session, 2, 2)
            channel.ask('set-commit', 'no space', set_id=set_id, deadline_ms=5000)
            wait_told(array, 'error', f'pool {cluster.pool} is full')
            no_set(channel, lun)
            array.ctl('unmap', 'large', 'h1')
            for name in ('large', 'unused'):
                array.ctl('lun', 'delete', name)
            wait_until('what is deleted goes', lambda: not large & set(cluster.images()))
            assert len(large) == 2 and 'full' in cluster.pool_flags()
            no_growth(array, cluster)
            assert session.read(1, 2048, 1) == block(1)
            for name, part in (('full', '0.95'), ('backfillfull', '0.9'), ('nearfull', '0.85')):
                ratio(name, part)
            writes_again(session, 2, 8)
            wait_told(array, 'info', f'pool {cluster.pool} has room again')
            channel.make_set(os.urandom(16), [lun])
            assert array.ctl('lun', 'resize', 'a0', '--size', '128M')['size_bytes'] == 128 << 20


def quota():
    """The same of the pool's quota, which an administrator may raise, or delete something; and an umbrad that finds it used up starts."""
    skip_without_ceph('ceph-mgr')
    with Cluster() as cluster, Array(ceph=cluster) as array:
        def limit(bytes_):
            cluster.ceph('osd', 'pool', 'set-quota', cluster.pool, 'max_bytes', str(bytes_))
        cluster.mgr_start()
        with_luns(array, 3, '64M')
        lun = lun_id(array, 1)
        with Session(array, 'h1') as session:
            channel = Channel(session)
            for number, blocks in ((1, 8), (3, 60)):
                for at in range(blocks):
                    session.write(number, at * 2048, block(at) * 2048)
            (shadow,) = channel.make_set(os.urandom(16), [lun])
            set_id = armed(channel, lun)
            limit(60 << 20)
            wait_until('the quota is used up', lambda: 'full_quota' in cluster.pool_flags(), pause_s=0.5)
            refused(session, 2, 2)
            channel.ask('set-commit', 'no space', set_id=set_id, deadline_ms=5000)
            wait_told(array, 'error', 'the quota')
            no_set(channel, lun)
            no_growth(array, cluster)
            at = channel.ask('map', 'ok', lun_id=shadow).lun_number
            assert session.read(at, 2048, 1) == block(1)
            limit(0)
            writes_again(session, 2, 8)
            wait_told(array, 'info', f'pool {cluster.pool} has room again')
            channel.make_set(os.urandom(16), [lun])
            limit(60 << 20)
            wait_until('the quota is used up', lambda: 'full_quota' in cluster.pool_flags(), pause_s=0.5)
        array.restart()
        with Session(array, 'h1') as session:
            assert told(array, 'error', 'the quota')
            assert session.read(1, 2048, 1) == block(1) and session.read(2, 0, 1) == block(8)
            refused(session, 2, 32)
            array.ctl('unmap', 'a2', 'h1')
            array.ctl('lun', 'delete', 'a2')
            writes_again(session, 2, 9)
            made_at_last(Channel(session), lun)


def by_osd(cluster, array):
    """Makes LUNs until each of two OSDs has the data of two: the OSD that has the array's records, and the LUNs' numbers by OSD."""
    luns = {0: [], 1: []}
    with_luns(array, 0)
    with Session(array, 'h1') as session:
        while min(len(numbers) for numbers in luns.values()) < 2:
            number = sum(len(numbers) for numbers in luns.values()) + 1
            assert number < 100, luns
            one_lun(array, number, '4M')
            session.write(number, 0, block(number))
            (name,) = [name for name in cluster.images() if name.endswith(f'-{number}')]
            about = json.loads(cluster.rbd('info', '--format', 'json', f'{cluster.pool}/{name}').stdout)
            luns[cluster.osd_of(about['block_name_prefix'] + '.0000000000000000')].append(number)
    return cluster.osd_of(f"umbra.{array.ceph['array']}"), luns


def aborted(raw, lun):
    """A write that hangs, and that its host gives up."""
    cdb = struct.pack('>BBIBHB', 0x2A, 0, 8, 0, 1, 0)
    tag = raw.command(lun, cdb, out=block(1))
    raw.data_out(raw.expect(R2T), block(1))
    raw.echo()
    raw.tmf(1, lun, tag=tag, refcmdsn=raw.cmdsn - 1)


class Pace:
    """What goes on beside an OSD that hangs, and how long the slowest of each kind took."""

    def __init__(self, array, session, channel, numbers):
        self.array, self.session, self.channel, self.numbers = array, session, channel, numbers
        self.slowest, self.rounds = {}, 0

    def take(self, kind, call, *arguments):
        begun = time.monotonic()
        result = call(*arguments)
        self.slowest[kind] = max(self.slowest.get(kind, 0), time.monotonic() - begun)
        return result

    def round(self):
        self.rounds += 1
        for number in self.numbers:
            self.take('write', self.session.write, number, 0, block(self.rounds))
            assert self.take('read', self.session.read, number, 0, 1) == block(self.rounds)
            self.take('flush', self.session.flush, number)
        self.take('in-band', self.channel.ask, 'identify', 'ok')
        self.take('umbractl', self.array.ctl, 'lun', 'list')


def frozen():
    """One of two OSDs hangs: LUNs whose data is on the other one go on as fast as before, so do sessions, the control channel and
    management. A copy set over the others is vetoed by its deadline, and a command that its host gives up ends with its I/O: what is
    written later stays. Then the OSD goes on, and so does all else."""
    with Cluster(osds=2) as cluster, Array(ceph=cluster) as array:
        catalogue, luns = by_osd(cluster, array)
        with Session(array, 'h1') as session, Session(array, 'h1') as other, raw_session(array) as raw:
            slow = 1 - catalogue
            lun = lun_id(array, luns[slow][0])
            raw.ready(luns[slow][0])
            channel = Channel(other, lun=luns[catalogue][0])
            before, pace = (Pace(array, other, channel, luns[catalogue]) for _ in range(2))
            for _ in range(5):
                before.round()
            cluster.freeze(f'osd.{slow}')
            begun = time.monotonic()
            try:
                stuck = Later(session.write, luns[slow][0], 0, block(99))
                aborted(raw, luns[slow][0])
                set_id = armed(channel, lun)
                why = channel.ask('set-commit', 'deadline passed', set_id=set_id, deadline_ms=1500).text
                assert f'no answer for LUN a{luns[slow][0] - 1};' in why, why
                while pace.rounds < 20 or time.monotonic() < begun + FROZEN_S:
                    pace.round()
                other.inquiry(luns[slow][0])
                assert array.ctl('status')['counts']['luns'] == len(luns[0] + luns[1])
                array.ctl('lun', 'rename', 'a0', 'renamed')
                assert stuck.is_alive(), 'the write did not wait for its OSD'
                assert not select.select([raw.socket], [], [], 0)[0], 'the abort did not wait for the write'
            finally:
                cluster.thaw(f'osd.{slow}')
                Later.all_over()
            bound_s = max(PACE_S, 10 * max(before.slowest.values()))
            print(f'{pace.rounds} rounds, slowest before: {before.slowest}, then: {pace.slowest}')
            assert max(pace.slowest.values()) < bound_s, (before.slowest, pace.slowest)
            assert stuck.end() is None, stuck.failure
            assert other.read(luns[slow][0], 0, 1) == block(99)
            assert raw.expect(TMF_RESPONSE).result == 0
            assert raw.write10(luns[slow][0], 8, block(2))[0] == 0
            made_at_last(channel, lun)
            assert other.read(luns[slow][0], 8, 1) == block(2)


def slow():
    """An OSD that takes its time for each operation: I/O does, too, and a copy set over both OSDs is made. The OSD with the array's
    records hangs for longer than the lease: hosts wait until it holds again. Nobody is told of an error, and nothing stays behind."""
    with Cluster(osds=2) as cluster, Array({'copysets': {'commit_budget': '60s'}}, ceph=cluster) as array:
        catalogue, luns = by_osd(cluster, array)
        with Session(array, 'h1') as session, Session(array, 'h1') as other:
            late = 1 - catalogue
            channel = Channel(session, lun=luns[late][0])
            both = [lun_id(array, luns[osd][0]) for osd in (late, catalogue)]
            for osd, probability in ((late, '1'), (late, '0')):
                for key, value in (('duration', '0.03'), ('probability', probability)):
                    cluster.ceph('tell', f'osd.{osd}', 'config', 'set', f'osd_debug_inject_dispatch_delay_{key}', value)
                begun = time.monotonic()
                session.write(luns[late][0], 0, block(50))
                took_s = time.monotonic() - begun
                assert probability == '0' or took_s >= 0.03, f'the OSD is not slow: {took_s} s'
                set_id = os.urandom(16)
                channel.ask('set-begin', 'ok', set_id=set_id)
                copies = [channel.ask('set-add', 'ok', set_id=set_id, lun_id=lun).lun_id for lun in both]
                channel.ask('set-arm', 'ok', set_id=set_id)
                channel.ask('set-commit', 'ok', set_id=set_id, deadline_ms=60000)
                channel.ask('set-keep', 'ok', set_id=set_id)
                at = channel.ask('map', 'ok', lun_id=copies[0]).lun_number
                assert session.read(at, 0, 1) == block(50)
            cluster.freeze(f'osd.{catalogue}')
            try:
                time.sleep(LEASE_S + 1)
                kept = [Later(session.write, luns[late][0], 0, block(60)), Later(other.read, luns[late][1], 0, 1)]
                time.sleep(1)
                assert all(one.is_alive() for one in kept), 'a host was answered without a lease'
            finally:
                cluster.thaw(f'osd.{catalogue}')
                Later.all_over()
            for one in kept:
                assert one.end() is None, one.failure
            assert session.read(luns[late][0], 0, 1) == block(60)
            made_at_last(channel, both[0])
            assert not [event for event in array.ctl('events')['events'] if event['level'] == 'error']


def delay(cluster, seconds):
    for key, value in (('duration', seconds), ('probability', '1' if seconds else '0')):
        cluster.ceph('tell', 'osd.0', 'config', 'set', f'osd_debug_inject_dispatch_delay_{key}', str(value))


def snapshots(cluster):
    return [snap for name in cluster.images()
            for snap in json.loads(cluster.rbd('snap', 'ls', '--all', '--format', 'json', f'{cluster.pool}/{name}').stdout)]


def delayed():
    """Whatever is asked of the OSDs comes half a second later, as over a bad network: a copy set, which needs a dozen such steps, is vetoed by
    its deadline, the writes that it held go on, and nothing of it is left. Then the next one is made."""
    with Cluster() as cluster, Array(ceph=cluster) as array:
        with_luns(array, 2)
        luns = [lun_id(array, number) for number in (1, 2)]
        with Session(array, 'h1') as session, Session(array, 'h1') as other:
            for number in (1, 2):
                session.write(number, 0, block(number))
            channel = Channel(other)
            images, set_id = cluster.images(), os.urandom(16)
            channel.ask('set-begin', 'ok', set_id=set_id)
            for lun in luns:
                channel.ask('set-add', 'ok', set_id=set_id, lun_id=lun)
            channel.ask('set-arm', 'ok', set_id=set_id)
            delay(cluster, DELAY_S)
            held = Later(session.write, 1, 0, block(3))
            channel.ask('set-commit', 'deadline passed', set_id=set_id, deadline_ms=1500)
            assert held.end() is None, held.failure
            assert not array.ctl('shadow', 'list')['shadows'] and not array.ctl('set', 'list')['sets']
            delay(cluster, 0)
            assert session.read(1, 0, 1) == block(3)
            wait_until('nothing of it is left', lambda: not snapshots(cluster) and cluster.images() == images)
            copies = channel.make_set(os.urandom(16), luns)
            at = channel.ask('map', 'ok', lun_id=copies[0]).lun_number
            assert other.read(at, 0, 1) == block(3)


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
                Later.all_over()
            assert writer.end() is None, writer.failure
            for at, count in acknowledged.items():
                assert reader.read(1, at, 1) == block(count), f'LBA {at}'
            lun = lun_id(array, 1)
            Channel(session).make_set(os.urandom(16), [lun])


def monitors():
    """The monitors are gone for 20 s: I/O goes on; a copy set, which needs them, is vetoed by its deadline and leaves nothing, not even
    a LUN that waits; then one is made. An umbrad that starts meanwhile ends when it is told to."""
    with Cluster() as cluster, Array({'copysets': {'commit_budget': '2s'}}, ceph=cluster) as array:
        with_luns(array)
        lun = lun_id(array, 1)
        with Session(array, 'h1') as session:
            session.write(1, 0, block(1))
            cluster.mon_kill()
            gone = time.monotonic()
            channel = Channel(session)
            set_id = os.urandom(16)
            channel.ask('set-begin', 'ok', set_id=set_id)
            channel.ask('set-add', 'ok', set_id=set_id, lun_id=lun)
            channel.ask('set-arm', 'ok', set_id=set_id)
            with Session(array, 'h1') as other:
                second = Channel(other)
                commit = Later(lambda: second.ask('set-commit', set_id=set_id, deadline_ms=2000))
                wait_until('it is being committed', lambda: array.ctl('set', 'show', set_id.hex())['state'] == 'committing')
                session.write(1, 0, block(1))  # no host waits for the monitors
                assert array.ctl('set', 'show', set_id.hex())['state'] == 'committing'
                assert commit.end() is None and commit.result.status == 'deadline passed', (commit.failure, commit.result)
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
            shadow = made_at_last(channel, lun)
            at = channel.ask('map', 'ok', lun_id=shadow).lun_number
            assert session.read(at, 0, 1) == block(value)
            assert len(array.ctl('shadow', 'list')['shadows']) == 1


def main():
    skip_without_store()
    end_in_order()
    cases = {case.__name__: case for case in (owners, full, quota, frozen, slow, delayed, lost, monitors)}
    cases[sys.argv[1]]()
    print('ok', sys.argv[1])


if __name__ == '__main__':
    main()
