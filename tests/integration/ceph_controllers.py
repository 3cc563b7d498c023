#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two umbrads in front of one array in Ceph: one owns it, the other stands by and follows its catalogue; it takes the array over when
the owner is killed, stopped in order, or frozen; a frozen one that wakes up changes nothing. Initiators keep their sessions
with the one that takes over, and their reservations."""
import contextlib
import os
import signal
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from raw_initiator import ASYNC, DATA_IN, FINAL, NO_TAG, R2T, RESPONSE, TEXT, TEXT_RESPONSE, TMF_RESPONSE, Raw, pairs, text  # noqa: E402
from umbra_ceph import PATIENCE_S, Cluster, end_in_order, quiet_port, skip_without_store  # noqa: E402
from umbra_lab import Array, CtlError, run_ctl  # noqa: E402

STARTS = 5  # a port may be somebody else's by the time that umbrad listens there
BLOCK = 512
HOSTS = {'a': 'iqn.2026-01.test:a', 'b': 'iqn.2026-01.test:b'}
STANDBY, TRANSITION, CHANGED = (2, 0x040B), (2, 0x040A), (6, 0x2A06)
THREE = (1, 3, 4)  # LUNs
LUN_RESET, COMPLETE, NO_LUN = 5, 0, 2  # RFC 7143 11.5.1, 11.6.1


class Controller(Array):
    """One of the two: an Array whose pool is in Ceph."""

    def __init__(self, cluster, number, ports, config=None):
        super().__init__(config, pool='/', start=False)  # it makes none
        self.number = number
        del self.config['pool']
        self.config['iscsi']['portals'] = f'127.0.0.1:{ports[number - 1]}'
        self.config.update(store={'type': 'rbd'}, rbd={'pool': cluster.pool, 'conf': cluster.conf},
                           controller={'number': number})
        self.write_config()

    def role(self):
        return self.ctl('status')['controller']['role']


def wait_until(what, holds):
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def names(controller, what):
    return sorted(thing['name'] for thing in controller.ctl(what, 'list')[what + 's'])


class Session:
    """An initiator that takes unit attentions as they come."""

    def __init__(self, controller, host, isid=1, timeout_s=600):
        self.raw = Raw(controller.port, timeout_s=timeout_s)
        self.raw.isid = bytes([0x80, 0, 0, 0, 0, isid])
        answer = self.raw.login(HOSTS[host], controller.target)
        assert answer.status == 0, answer.status
        self.attentions = []

    def close(self):
        self.raw.close()

    def once(self, lun, cdb, out=None, length=0):
        """(status, sense, data)"""
        self.raw.command(lun, cdb, out=out, length=length)
        data = b''
        while True:
            pdu = self.raw.expect(R2T, DATA_IN, RESPONSE, ASYNC)
            if pdu.opcode == ASYNC:
                raise ConnectionError('asked to log out')
            if pdu.opcode == R2T:
                offset, size = struct.unpack('>II', pdu.header[40:48])
                self.raw.data_out(pdu, out[offset:offset + size])
            elif pdu.opcode == DATA_IN:
                data += pdu.data
                if pdu.flags & 1:
                    return pdu.status, None, data
            else:
                return pdu.status, pdu.sense() if pdu.status == 2 else None, data

    def do(self, lun, cdb, out=None, length=0):
        while True:
            status, sense, data = self.once(lun, cdb, out, length)
            if not sense or sense[0] != 6:
                return status, sense, data
            self.attentions.append(sense)

    def good(self, lun, cdb, out=None, length=0):
        status, sense, data = self.do(lun, cdb, out, length)
        assert status == 0, (status, sense, cdb)
        return data

    def read(self, lun, lba, blocks=1):
        return self.good(lun, read10(lba, blocks), length=blocks * BLOCK)

    def write(self, lun, lba, data):
        self.good(lun, write10(lba, len(data) // BLOCK), out=data)

    def manage(self, function, lun):
        """The response to a task management function."""
        self.raw.tmf(function, lun)
        return self.raw.expect(TMF_RESPONSE).header[2]

    def luns(self):
        data = self.good(0, b'\xa0\0\0\0\0\0' + struct.pack('>I', 4096), length=4096)
        return [struct.unpack('>H', data[i:i + 2])[0] for i in range(8, len(data), 8)]

    def groups(self, lun=1):
        """{id: (state, ports)}"""
        data = self.good(lun, b'\xa3\x0a\0\0\0\0' + struct.pack('>I', 4096), length=4096)[4:]
        found = {}
        while data:
            ports = [struct.unpack('>I', data[8 + 4 * i:12 + 4 * i])[0] for i in range(data[7])]
            found[struct.unpack('>H', data[2:4])[0]] = (data[0] & 15, ports)
            data = data[8 + 4 * data[7]:]
        return found


def read10(lba, blocks):
    return struct.pack('>BBIBHB', 0x28, 0, lba, 0, blocks, 0)


def write10(lba, blocks):
    return struct.pack('>BBIBHB', 0x2A, 8, lba, 0, blocks, 0)  # FUA


def block_of(number):
    return struct.pack('>Q', number) * (BLOCK // 8)


class Writer(threading.Thread):
    """Writes 1, 2, 3 … to block 0, the next when the one before is acknowledged, until its controller is gone."""

    def __init__(self, session):
        super().__init__(daemon=True)
        self.session, self.acknowledged, self.sent = session, 0, 0

    def run(self):
        try:
            while True:
                self.sent += 1
                self.session.write(1, 0, block_of(self.sent))
                self.acknowledged = self.sent
        except (OSError, AssertionError):
            pass  # the connection has ended


def time_to_serve(session, begun):
    """The session is with the one that stands by: seconds from `begun` until it reads and writes."""
    def serves():
        status, sense, _ = session.do(1, read10(0, 1), length=BLOCK)
        assert status == 0 or sense in (STANDBY, TRANSITION), (status, sense)
        return status == 0
    wait_until('the other controller serves', serves)
    session.write(1, 8, block_of(8))
    return time.monotonic() - begun


def all_live(controller):
    """Whether it knows of both that they are there, a second or two after their starts: before, no move is begun."""
    known = controller.ctl('controller', 'list')['controllers']
    return len(known) == 2 and all(one['lives'] for one in known)


def start(cluster, config=None, prepare_one=lambda controller: None):
    for attempt in range(STARTS):
        ports = [quiet_port(), quiet_port()]
        one, two = Controller(cluster, 1, ports, config), Controller(cluster, 2, ports, config)
        try:
            for controller in (one, two):
                prepare_one(controller)
            one.start()
            two.start()
            wait_until('each knows that the other one is there', lambda: all_live(one) and all_live(two))
            return one, two
        except RuntimeError as error:
            two.remove()
            one.remove()
            if 'cannot be opened' not in str(error) or attempt == STARTS - 1:
                raise


@contextlib.contextmanager
def removed_at_the_end(*controllers):
    """Where something goes wrong their logs are shown first."""
    try:
        yield
    except BaseException:
        for controller in controllers:
            sys.stderr.write(f'--- the log of controller {controller.number}\n{controller.log()}---\n')
        raise
    finally:
        for controller in controllers:
            controller.remove()


def end_well(*controllers):
    for controller in controllers:
        assert controller.stop() == 0, controller.log()


def run_step(step, *arguments):
    begun = time.monotonic()
    step(*arguments)
    print(f'ok {step.__name__} ({time.monotonic() - begun:.1f} s)', flush=True)


def prepare(one):
    for name, iqn in HOSTS.items():
        one.ctl('host', 'add', name, '--iqn', iqn)
    one.ctl('lun', 'create', 'data', '--size', '64M')
    one.ctl('map', 'data', 'a', '--number', '1')
    one.ctl('map', 'data', 'b', '--number', '1')


# ---- the steps: owner, other (they change places) and what is kept between them


def one_owns_the_other_stands_by(one, two):
    assert (one.role(), two.role()) == ('owner', 'standby')
    assert two.ctl('status')['controller']['owner'] == os.uname().nodename
    assert 'stands by' in two.text('status')
    prepare(one)
    mine = Session(one, 'a')
    wait_until('the host is known there', lambda: names(two, 'host') == ['a', 'b'])
    wait_until('the LUN is known there', lambda: names(two, 'lun') == ['data'])
    other = Session(two, 'a')
    wait_until('the mapping is known there', lambda: other.luns() == [1])
    assert mine.luns() == other.luns() == [1]
    inquiry = b'\x12\x01\x83\x04\0\0'
    assert mine.good(1, inquiry, length=1024)[4:-16] == other.good(1, inquiry, length=1024)[4:-16]
    for session in (mine, other):
        assert session.groups() == {1: (0, [1]), 2: (2, [2])}, session.groups()
    mine.write(1, 0, block_of(77))
    for cdb, arguments in ((read10(0, 1), {'length': BLOCK}), (write10(0, 1), {'out': block_of(1)}), (b'\0' * 6, {})):
        assert other.do(1, cdb, **arguments)[1] == STANDBY
    assert mine.read(1, 0) == block_of(77)
    one.ctl('set', 'create', 'kept', 'data')
    path = os.path.join(two.dir, 'x.raw')
    with open(path, 'wb') as file:
        file.write(bytes(range(256)) * 4096)
    for command in (('lun', 'create', 'x', '--size', '64M'), ('unmap', 'data', 'a'), ('lun', 'delete', 'data'),
                    ('set', 'create', 'x', 'data'), ('set', 'show', 'kept'), ('set', 'delete', 'kept'), ('policy', 'delete', 'x'),
                    ('policy', 'show', 'x'), ('shadow', 'purge', 'x'), ('set', 'list'), ('policy', 'list'), ('resync', 'list'),
                    ('shadow', 'recycled'), ('pool', 'status'), ('config', 'export'), ('lun', 'import', path), ('lun', 'export', 'data', path + '.raw')):
        try:
            two.text(*command)
            raise AssertionError(f'{command} was done by a controller that stands by')
        except CtlError as error:
            assert 'this controller stands by' in error.stderr, error
    assert two.ctl('status')['counts']['sets'] is None and two.ctl('lun', 'show', 'data')['used_bytes'] is None
    metrics = two.text('metrics')
    assert 'umbra_controller_role{role="standby"} 1' in metrics and 'umbra_hosts 2' in metrics, metrics
    assert not [line for line in metrics.split('\n') if line.startswith(('umbra_sets{', 'umbra_pool_'))], metrics
    two.text('support', os.path.join(two.dir, 'support.tar'))
    both = {f'127.0.0.1:{one.port},1', f'127.0.0.1:{two.port},2'}
    for controller in (one, two):
        wait_until('hosts are told of both', lambda controller=controller: targets(controller) == both)
    mine.close()
    other.close()


def targets(controller):
    raw = Raw(controller.port)
    assert raw.login(HOSTS['a']).status == 0
    raw.send(raw.header(TEXT, FINAL, ttt=NO_TAG), text([('SendTargets', 'All')]))
    found = {value for key, value in pairs(raw.expect(TEXT_RESPONSE).data) if key == 'TargetAddress'}
    raw.close()
    return found


def what_changes_is_followed(one, two):
    session = Session(two, 'a')
    session.luns()
    one.ctl('lun', 'create', 'more', '--size', '64M')
    one.ctl('map', 'more', 'a', '--number', '2')
    wait_until('the new LUN is reported', lambda: session.luns() == [1, 2])
    assert session.do(1, b'\0' * 6)[1] == STANDBY
    assert CHANGED not in session.attentions, session.attentions  # nothing of the access states has changed
    one.ctl('unmap', 'more', 'a')
    one.ctl('lun', 'delete', 'more')
    wait_until('it is gone', lambda: session.luns() == [1])
    one.ctl('host', 'set', 'a', '--iqn', HOSTS['a'] + '-renamed')
    wait_until('who is no host any more is ended', lambda: ended(session))
    one.ctl('host', 'set', 'a', '--iqn', HOSTS['a'])
    wait_until('and comes back', lambda: can_log_in(two))


def ended(session):
    try:
        session.do(1, b'\0' * 6)
        return False
    except OSError:
        return True


def can_log_in(controller):
    raw = Raw(controller.port)
    try:
        return raw.login(HOSTS['a'], controller.target).status == 0
    except OSError:
        return False
    finally:
        raw.close()


def pr_out(session, action, kind, key, action_key, aptpl, lun=1):
    data = struct.pack('>QQ4xBxxx', key, action_key, 4 | aptpl if action in (0, 6) else 0)  # ALL_TG_PT
    return session.do(lun, struct.pack('>BBBxxIx', 0x5F, action, kind, 24), out=data)


def pr_keys(session):
    data = session.good(1, b'\x5e\0\0\0\0\0\0\x10\0\0', length=4096)
    return sorted(struct.unpack('>Q', data[i:i + 8])[0] for i in range(8, len(data), 8))


def pr_generation(session):
    return struct.unpack('>I', session.good(1, b'\x5e\0\0\0\0\0\0\x10\0\0', length=4096)[:4])[0]


def a_killed_owner_is_followed(one, two):
    """…and its reservation, which did not ask to be kept, holds."""
    writer = Writer(Session(one, 'a'))
    mine, theirs, foreign = Session(one, 'a', 2), Session(two, 'a'), Session(two, 'b')
    assert pr_out(mine, 0, 0, 0, 0xA, 0)[0] == 0
    assert pr_out(Session(one, 'a'), 6, 0, 0, 0xA, 0)[0] == 0
    writer.session = Session(one, 'a')
    assert pr_out(theirs, 0, 0, 0xB, 0xA, 0)[0] == 0x18  # the owner knows its key
    assert pr_out(mine, 1, 5, 0xA, 0, 0)[0] == 0  # Write Exclusive, Registrants Only
    assert pr_out(foreign, 0, 0, 0, 0xB, 0)[0] == 0 and pr_out(mine, 4, 5, 0xA, 0xB, 0)[0] == 0
    generation = pr_generation(mine)
    assert generation == 4, generation  # three registrations and PREEMPT
    writer.start()
    wait_until('it writes', lambda: writer.acknowledged > 20)
    begun = time.monotonic()
    one.kill9()
    writer.join(PATIENCE_S)
    seconds = 0.0

    def serves():
        nonlocal seconds
        seconds = time.monotonic() - begun
        return theirs.do(1, read10(0, 1), length=BLOCK)[0] == 0
    wait_until('the other controller serves', serves)
    print(f'from kill -9 to the first I/O: {seconds:.1f} s')
    assert CHANGED in theirs.attentions
    last = struct.unpack('>Q', theirs.read(1, 0)[:8])[0]
    assert last in (writer.acknowledged, writer.acknowledged + 1), (last, writer.acknowledged)
    assert theirs.groups() == {1: (3, [1]), 2: (0, [2])}, theirs.groups()  # nobody is at its ports
    assert two.role() == 'owner'
    # the reservation: of host a, through all ports; b may read and not write
    assert set(pr_keys(theirs)) == {0xA}
    assert pr_generation(theirs) == generation
    foreign.read(1, 0)
    assert (6, 0x2A05) in foreign.attentions, foreign.attentions  # its registration was preempted
    assert foreign.do(1, write10(8, 1), out=block_of(1))[0] == 0x18
    assert pr_out(Session(two, 'a', 2), 3, 0, 0xA, 0, 0)[0] == 0  # CLEAR, by the one that had registered
    foreign.write(1, 8, block_of(1))
    # it comes back, and stands by
    theirs.attentions.clear()
    one.start()
    assert pr_generation(Session(one, 'a')) == pr_generation(theirs) == generation + 1  # CLEAR
    assert one.role() == 'standby'
    assert Session(one, 'a').do(1, read10(0, 1), length=BLOCK)[1] == STANDBY
    wait_until('hosts are told that it is there', lambda: theirs.groups() == {1: (2, [1]), 2: (0, [2])})
    assert theirs.attentions.count(CHANGED) == 1, theirs.attentions


def an_orderly_end_gives_it_back(owner, other):
    session = Session(other, 'a')
    session.do(1, b'\0' * 6)
    Session(owner, 'a').write(1, 0, block_of(5))
    begun = time.monotonic()
    assert owner.stop() == 0
    print(f'from SIGTERM to the first I/O: {time_to_serve(session, begun):.1f} s')
    assert session.read(1, 0) == block_of(5)
    owner.start()
    assert (owner.role(), other.role()) == ('standby', 'owner')


def locked_out(cluster):
    return cluster.ceph('osd', 'blocklist', 'ls').stdout.split('\n')


def a_frozen_owner_is_locked_out(owner, other, cluster):
    before = len(locked_out(cluster))
    writer = Writer(Session(owner, 'a'))
    session = Session(other, 'a')
    session.do(1, b'\0' * 6)
    writer.start()
    wait_until('it writes', lambda: writer.acknowledged > 20)
    begun = time.monotonic()
    owner.process.send_signal(signal.SIGSTOP)
    seconds = time_to_serve(session, begun)
    print(f'from SIGSTOP to the first I/O: {seconds:.1f} s')
    acknowledged = writer.acknowledged
    last = struct.unpack('>Q', session.read(1, 0)[:8])[0]
    assert last >= acknowledged, (last, acknowledged)
    session.write(1, 0, block_of(10 ** 6))
    assert session.groups() == {owner.number: (3, [owner.number]), other.number: (0, [other.number])}, session.groups()
    pid = owner.process.pid
    owner.process.send_signal(signal.SIGCONT)
    writer.join(PATIENCE_S)
    assert writer.acknowledged <= last, 'a write was acknowledged by an owner that had been replaced'
    wait_until('it stands by', lambda: owner.role() == 'standby')
    assert session.read(1, 0) == block_of(10 ** 6), 'the owner that had been replaced wrote'
    assert len(locked_out(cluster)) > before, locked_out(cluster)
    # the same process, and its sessions are those from before
    stands_by(writer.session)
    assert CHANGED in writer.session.attentions, writer.session.attentions
    assert writer.session.groups() == {owner.number: (2, [owner.number]), other.number: (0, [other.number])}
    assert any('has lost the array' in event['text'] for event in owner.ctl('events')['events'])
    # and it takes the array over again
    other.kill9()
    print(f'from kill -9 to the first I/O: {time_to_serve(writer.session, time.monotonic()):.1f} s')
    assert writer.session.read(1, 0) == block_of(10 ** 6)
    assert owner.role() == 'owner' and owner.process.poll() is None and owner.process.pid == pid
    other.start()
    assert other.role() == 'standby'


def stands_by(session):
    """It may be on its way there."""
    def standby():
        sense = session.do(1, read10(0, 1), length=BLOCK)[1]
        assert sense in (STANDBY, TRANSITION), sense
        return sense == STANDBY
    wait_until('the path is in standby', standby)


def the_one_that_stands_by_may_end(owner, other):
    session = Session(owner, 'a')
    assert other.stop() == 0
    session.write(1, 0, block_of(6))
    other.start()
    other.kill9()
    other.start()
    assert other.role() == 'standby'
    assert session.read(1, 0) == block_of(6)


def told(session, lun, cdb, length):
    """What a path is told before its command on a LUN is carried out."""
    session.attentions.clear()
    wait_until('it is carried out', lambda: session.do(lun, cdb, length=length)[0] == 0)
    return session.attentions[:]


def do_away(mine, key):
    """With another one's reservation or registration, on three LUNs; what its paths have to be told."""
    for lun in THREE:
        for action, kind, service_key in ((6, 0, key), (1, 5, 0))[:1 + (lun == 3)]:
            assert pr_out(mine, action, kind, 0 if action == 6 else key, service_key, 0, lun)[0] == 0
    assert pr_out(mine, 4, 5, key, 0xB, 0, 1)[0] == 0  # PREEMPT
    assert pr_out(mine, 2, 5, key, 0, 0, 3)[0] == 0  # RELEASE
    assert pr_out(mine, 3, 0, key, 0, 0, 4)[0] == 0  # CLEAR
    return {1: [(6, 0x2A05)], 3: [(6, 0x2A04)], 4: [(6, 0x2A03)]}


def registered_by_another_path(owner, other, isid):
    """Host b, through all ports, by a session at the owner; the path at the other one, which asks the owner nothing."""
    first = Session(owner, 'b', isid)
    for lun in THREE:
        assert pr_out(first, 6, 0, 0, 0xB, 0, lun)[0] == 0
    first.close()
    path = Session(other, 'b', isid)
    for lun in THREE:
        assert path.do(lun, b'\0' * 6)[1] == STANDBY
    return path


def control_page(session, lun):
    return session.good(lun, b'\x1a\x08\x0a\0\xff\0', length=255)[4:]


def protect(session, lun):
    page = bytearray(control_page(session, lun))
    page[4] |= 8  # SWP
    session.good(lun, b'\x15\x10\0\0\x10\0', out=b'\0' * 4 + bytes([page[0] & 0x3F]) + page[1:])


def what_became_of_reservations_is_told(owner, other):
    """…on paths that another one had registered, though the owner is killed or moved before they sent a command; and once. So are mode
    pages, which hold."""
    keys = b'\x5e\0\0\0\0\0\0\x10\0\0'
    for lun in THREE[1:]:
        owner.ctl('lun', 'create', f'more{lun}', '--size', '64M')
        for host in ('a', 'b'):
            owner.ctl('map', f'more{lun}', host, '--number', str(lun))
    seen = Session(other, 'b')
    wait_until('the LUNs are known there', lambda: seen.luns() == list(THREE))
    for lun in THREE:
        seen.do(lun, b'\0' * 6)
    path = registered_by_another_path(owner, other, 5)
    expected = do_away(Session(owner, 'a', 2), 0xA)
    assert control_page(seen, 4)[4] & 8 == 0
    protect(Session(owner, 'a', 2), 4)
    owner.kill9()
    for lun, attentions in expected.items():
        assert told(path, lun, read10(0, 1), BLOCK) == [CHANGED] + attentions, (lun, path.attentions)
        # it had not registered, and had asked for one LUN's pages
        assert told(seen, lun, read10(0, 1), BLOCK) == [CHANGED] + [(6, 0x2A01)] * (lun == 4), (lun, seen.attentions)
    assert control_page(seen, 4)[4] & 8
    assert seen.do(4, write10(0, 1), out=block_of(1))[1] == (7, 0x2702)
    owner.start()
    there = registered_by_another_path(other, owner, 6)
    expected = do_away(Session(other, 'a', 2), 0xA)
    path.attentions.clear()
    wait_until('it knows that the first one is back', lambda: all_live(other))
    other.text('controller', 'move')
    wait_until('the array is moved', lambda: owner.role() == 'owner')
    for lun, attentions in expected.items():
        assert told(there, lun, read10(0, 1), BLOCK) == [CHANGED] + attentions, (lun, there.attentions)
        wait_until('the owner answers there', lambda lun=lun: path.do(lun, keys, length=4096)[0] == 0)
    # of what came before nothing again; on one LUN it was registered still
    assert path.attentions == [CHANGED] + [CHANGED] + expected[3] + [CHANGED], path.attentions


def a_reset_in_standby_is_the_luns(owner, other):
    """LOGICAL UNIT RESET through the path in standby: hosts at the owner learn of it, once, and mode pages are the first ones again."""
    there, mine, another = Session(other, 'a'), Session(owner, 'a', 2), Session(owner, 'b', 3)
    for session in (mine, another):
        session.read(1, 0)
    protect(mine, 1)
    assert told(another, 1, read10(0, 1), BLOCK) == [(6, 0x2A01)]
    assert there.manage(LUN_RESET, 1) == COMPLETE
    for session in (mine, another):
        assert told(session, 1, read10(0, 1), BLOCK) == [(6, 0x2903)], session.attentions
        assert told(session, 1, read10(0, 1), BLOCK) == []
    assert control_page(mine, 1)[4] & 8 == 0
    assert there.manage(LUN_RESET, 77) == NO_LUN


def main():
    skip_without_store()
    end_in_order()
    with Cluster() as cluster:
        run_ctl('rbd', 'create', cluster.pool, '--conf', cluster.conf)
        one, two = start(cluster)
        with removed_at_the_end(one, two):
            for step, arguments in ((one_owns_the_other_stands_by, (one, two)), (what_changes_is_followed, (one, two)),
                                    (a_killed_owner_is_followed, (one, two)), (an_orderly_end_gives_it_back, (two, one)),
                                    (a_frozen_owner_is_locked_out, (one, two, cluster)),
                                    (the_one_that_stands_by_may_end, (one, two)),
                                    (what_became_of_reservations_is_told, (one, two)),
                                    (a_reset_in_standby_is_the_luns, (one, two))):
                run_step(step, *arguments)
            end_well(one, two)


if __name__ == '__main__':
    main()
