#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Nobody frees or changes a locked copy: every operation there is × whoever may ask for it. The operations come from the product's own
lists: the tables of the management socket's methods and of the in-band requests (in the sources), the SCSI commands that a LUN
reports, umbractl's help. One that has no row here fails the test: say what it does to a copy.

Each is tried twice with the same arguments: at a kept copy set, and at one that is locked besides. A row says what becomes of the
first one's copies, which proves that the second try could have done harm:

    FREES    it succeeds, and they are gone or changed; at the locked set it is refused
    STAYS    it succeeds at both, and harms neither
    REFUSED  it succeeds at neither: no copy allows that, locked or not
    HINDERED it succeeds, and harms nothing, but is refused at the locked set
    EITHER   whatever it answers, it harms neither

After each the copies are read, and the lock is as it was. Then what happens by itself: retention, the recycle bin's time, a full
pool, a restart, a kill, a clock that is set forward. Two controllers: what the owner does is this, and what the other one does is the owner's.
"""
import json
import os
import re
import struct
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from scsi_copy import extended_copy, finished, populate, token_of, write_using  # noqa: E402
from umbra_initiator import OPS, Channel, ScsiError, Session  # noqa: E402
from umbra_lab import ROOT, Array, Management, Refused, run_ctl  # noqa: E402

FREES, STAYS, REFUSED, HINDERED, EITHER = 'frees', 'stays', 'refused', 'hindered', 'either'
MIB, BLOCKS, DAY_MS = 1 << 20, 16, 24 * 3600 * 1000
OLD, NEW, OTHER = b'\xA5' * 512, b'\x3C' * 512, b'\xEE' * 512  # what the copy holds, what the original does now, what an attack writes
PATIENCE_S = 300 * float(os.environ.get('UMBRA_TEST_PATIENCE', '1'))
OK = 'ok'


def until(condition):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


class Failed(Exception):
    """A method's refusal: the errno's name."""


class Lab:
    """The array, its hosts (h owns copies and sees their originals; other may import whatever there is; reader looks), and calls to it."""

    def __init__(self, array):
        self.array, self.count, self.sessions = array, 0, {}
        for name, options in (('h', ()), ('other', ('--import', 'any')), ('reader', ('--import', 'any')), ('visitor', ())):
            array.add_host(name, f'iqn.2026-01.test:{name}', '--control-lu', *options, secret=f'secret-{name:.<9}')

    def call(self, method, **params):
        try:
            with Management(self.array.socket, PATIENCE_S) as management:
                return management.ask(method, **params)
        except Refused as refused:
            raise Failed(refused.name) from None

    def session(self, host):
        if host not in self.sessions:
            self.sessions[host] = Session(self.array, host)
        return self.sessions[host]

    def leave(self):
        for session in self.sessions.values():
            session.close(logout=False)
        self.sessions = {}

    def fresh(self, what):
        self.count += 1
        return f'{what}{self.count}'


class Copies:
    """A kept set of the copies of two LUNs, which hold something else since."""

    def __init__(self, lab, owner, locked, label=None):
        self.lab, self.locked, self.name = lab, locked, lab.fresh('set')
        self.label = label or self.name
        self.luns, self.numbers = [], []
        session = lab.session('h')
        for _ in range(2):
            self.luns.append(lab.call('lun.create', name=lab.fresh('lun'), size_bytes=MIB)['id'])
            self.numbers.append(lab.call('map.add', lun=self.luns[-1], host='h')['number'])
            session.write(self.numbers[-1], 0, OLD * BLOCKS)
        if owner:
            self.id = os.urandom(16).hex()
            made = Channel(session, 0).make_set(bytes.fromhex(self.id), [bytes.fromhex(lun) for lun in self.luns])
            self.shadows = [shadow.hex() for shadow in made]
        else:
            made = lab.call('set.create', name=self.name, luns=self.luns, label=self.label)
            self.id, self.shadows = made['id'], [member['shadow_id'] for member in made['members']]
        self.copy = self.shadows[0]
        for number in self.numbers:
            session.write(number, 0, NEW * BLOCKS)
        self.until = lab.call('set.lock', set=self.id, for_ms=14 * DAY_MS)['locked_until_unix_ms'] if locked else None

    def harm(self):
        """What has become of them, read by a host that has nothing else to do; None: nothing."""
        lab = self.lab
        try:
            found = lab.call('set.show', set=self.id)
            if sorted(member['shadow_id'] for member in found['members'] if member['shadow_state'] == 'present') != sorted(self.shadows):
                return f'its members are {found["members"]}'
            if (found['state'], found['locked_until_unix_ms']) != ('kept', self.until):
                return f'it is {found["state"]}, locked until {found["locked_until_unix_ms"]}'
            for number, shadow in enumerate(self.shadows, 1):
                shown = lab.call('shadow.show', lun=shadow)
                if (shown['size_bytes'], shown['locked']) != (MIB, self.locked):
                    return f'a copy is {shown}'
                lab.call('shadow.unmap', lun=shadow)
                lab.call('shadow.map', lun=shadow, host='reader', number=number, force=True)
                data = lab.session('reader').read(number, 0, BLOCKS)
                lab.call('shadow.unmap', lun=shadow)
                if data != OLD * BLOCKS:
                    return 'a copy has other data'
        except Failed as error:
            return f'it cannot be looked at: {error}'
        return None


class Trial:
    """Rows of one list, at a set of either kind. owner: of the sets."""

    def __init__(self, lab, owner=None):
        self.lab, self.owner, self.rows = lab, owner, 0
        self.kept, self.locked = Copies(lab, owner, False), Copies(lab, owner, True)

    def row(self, what, effect, attempt, whole=True):
        """attempt(copies): raises Failed or ScsiError when refused. whole: the sets can be used again."""
        answers, harm = [], []
        for copies in (self.kept, self.locked):
            try:
                attempt(copies)
                answers.append(OK)
            except (Failed, ScsiError) as error:
                answers.append(str(error))
            harm.append(copies.harm())
        said = f'{what}: answers {answers}, became of them {harm}'
        assert harm[1] is None, f'A LOCKED COPY IS HARMED by {said}'
        good = [answer == OK for answer in answers]
        wanted = {FREES: [True, False], STAYS: [True, True], REFUSED: [False, False], HINDERED: [True, False], EITHER: good}[effect]
        assert good == wanted and bool(harm[0]) == (effect == FREES), f'{effect} is not so: {said}'
        self.rows += 1
        if harm[0] or not whole:
            self.kept = Copies(self.lab, self.owner, False)
        if not whole:
            self.locked = Copies(self.lab, self.owner, True)

    def classified(self, what, there, rows):
        """Every operation that there is has a row, and each row is one of those."""
        there, rows = set(there), set(rows)
        assert there, what
        assert not there - rows, f'{what} without a row in {os.path.basename(__file__)}: {sorted(map(str, there - rows))}'
        assert not rows - there, f'rows of {what} that are not there any more: {sorted(map(str, rows - there))}'


# ---- the administrator at the management socket

def methods():
    found, folder = [], os.path.join(ROOT, 'array/control')
    for name in sorted(os.listdir(folder)):
        if name.endswith('.c'):
            with open(os.path.join(folder, name)) as file:
                found += re.findall(r'^\t\{"([a-z_.]+)", \w+_method, \w+\},', file.read(), re.M)
    return found


def value_of(what, copies):
    return what(copies) if callable(what) else what


def after(*steps):
    """An attempt of several, of which the last one counts."""
    def attempt(c):
        for step in steps[:-1]:
            try:
                step(c)
            except Failed:
                pass
        steps[-1](c)
    return attempt


def copy(c):
    return c.copy


def original(c):
    return c.luns[0]


def set_id(c):
    return c.id


def policy_name(c):
    return 'policy-of-' + c.name


def method_rows(lab):
    """Method: its rows, each (effect, attempt)."""
    call = lab.call

    def one(method, **params):  # values, or functions of the copies
        return lambda c: call(method, **{name: value_of(value, c) for name, value in params.items()})

    def resync(shadow, target):
        def attempt(c):
            job = call('resync.start', shadow=shadow(c), target=target(c))['job']
            until(lambda: call('resync.state', job=job)['state'] != 'running')
            assert call('resync.state', job=job)['state'] == 'done'
        return attempt
    make_policy = one('policy.create', name=policy_name, luns=lambda c: [c.luns[1]], label=lambda c: 'of ' + c.name, keep='daily=7')
    drop_policy = one('policy.delete', policy=policy_name)
    add_host = one('host.add', name='passing', iqns=['iqn.2026-01.test:passing'])
    drop_host = one('host.delete', host='passing')
    rows = {method: [(STAYS, one(method))] for method in (
        'status', 'pool.status', 'pool.scrub_status', 'session.list', 'stats', 'load.luns',
        'load.hosts', 'events.list', 'events.follow', 'lun.list', 'map.list', 'host.list', 'set.list', 'policy.list', 'resync.list',
        'recycle.list', 'shadow.list')}
    rows.update({
        'controller.list': [(REFUSED, one('controller.list'))],  # there is one
        'controller.move': [(REFUSED, one('controller.move', force=True))],
        'pool.grow': [(EITHER, one('pool.grow', capacity_bytes=72 * MIB))],
        'pool.scrub_start': [(EITHER, one('pool.scrub_start'))],  # the one before may be at its end
        'pool.scrub_stop': [(EITHER, one('pool.scrub_stop'))],
        'pool.backup': [(STAYS, one('pool.backup', path=lambda c: os.path.join(lab.array.dir, lab.fresh('backup'))))],
        'session.logout': [(STAYS, one('session.logout', host='visitor'))],
        'lun.create': [(STAYS, one('lun.create', name=lambda c: lab.fresh('more'), size_bytes=MIB)),
                       (REFUSED, one('lun.create', name=lambda c: call('shadow.show', lun=c.copy)['name'], size_bytes=MIB))],
        'lun.show': [(STAYS, one('lun.show', lun=copy))],
        'lun.space': [(STAYS, one('lun.space', lun=copy))],
        'lun.resize': [(FREES, one('lun.resize', lun=copy, size_bytes=2 * MIB)), (STAYS, one('lun.resize', lun=lambda c: c.luns[1], size_bytes=2 * MIB))],
        'lun.rename': [(STAYS, one('lun.rename', lun=copy, name=lambda c: lab.fresh('named')))],
        'lun.delete': [(REFUSED, one('lun.delete', lun=copy)),
                       (STAYS, after(one('map.remove', lun=original, host='h'), one('lun.delete', lun=original)))],
        'map.add': [(STAYS, one('map.add', lun=copy, host='visitor'))],
        'map.remove': [(STAYS, after(one('map.add', lun=copy, host='visitor'), one('map.remove', lun=copy, host='visitor')))],
        'host.add': [(STAYS, after(drop_host, add_host))],
        'host.set': [(STAYS, one('host.set', host='h', control_without_chap=False))],
        'host.show': [(STAYS, one('host.show', host='h'))],
        'host.delete': [(STAYS, after(add_host, drop_host)), (REFUSED, one('host.delete', host='h'))],
        'set.create': [(STAYS, one('set.create', luns=lambda c: [c.luns[1]]))],
        'set.show': [(STAYS, one('set.show', set=set_id))],
        'set.keep': [(EITHER, one('set.keep', set=set_id))],
        'set.abort': [(REFUSED, one('set.abort', set=set_id))],
        'set.delete': [(FREES, one('set.delete', set=set_id))],
        'set.lock': [(FREES, one('set.lock', set=set_id, for_ms=1000)),  # "frees": the lock is not what it was
                     (REFUSED, one('set.lock', set=set_id, until_unix_ms=1000))],
        'policy.create': [(STAYS, make_policy)],
        'policy.set': [(STAYS, one('policy.set', policy=policy_name, keep='yearly=1', hosts=True, luns=[]))],
        'policy.show': [(STAYS, one('policy.show', policy=policy_name))],
        'policy.preview': [(STAYS, one('policy.preview', policy=policy_name))],
        'policy.delete': [(STAYS, drop_policy)],
        'resync.start': [(STAYS, resync(copy, original)), (REFUSED, resync(lambda c: c.shadows[1], copy))],
        'resync.state': [(EITHER, one('resync.state', job=1))],
        'resync.cancel': [(EITHER, one('resync.cancel', job=1))],
        'recycle.undelete': [(HINDERED, after(one('shadow.delete', lun=copy), one('recycle.undelete', lun=copy)))],
        'recycle.purge': [(FREES, after(one('shadow.delete', lun=copy), one('recycle.purge', lun=copy))), (REFUSED, one('recycle.purge', lun=copy))],
        'shadow.show': [(STAYS, one('shadow.show', lun=copy))],
        'shadow.map': [(STAYS, one('shadow.map', lun=copy, host='h'))],
        'shadow.unmap': [(STAYS, after(one('shadow.map', lun=copy, host='visitor'), one('shadow.unmap', lun=copy)))],
        'shadow.delete': [(FREES, one('shadow.delete', lun=copy))],
        'shadow.break': [(FREES, one('shadow.break', lun=copy)), (FREES, one('shadow.break', lun=copy, keep_marks=True))],
    })
    return rows


def administrator(lab):
    trial, there = Trial(lab), methods()
    rows = method_rows(lab)
    trial.classified('methods', there, rows)
    for method in [m for m in rows if m != 'lun.delete'] + ['lun.delete']:  # which takes an original away
        for effect, attempt in rows[method]:
            trial.row(method, effect, attempt)
    return trial.rows


# ---- hosts, in-band

def requests():
    with open(os.path.join(ROOT, 'proto/umbra_proto.c')) as file:
        return re.findall(r'^\t\[UP_OP_\w+\] = \{"([a-z-]+)"', file.read(), re.M)


def request_rows(channel, mine):
    """Request: its rows. mine: what becomes of those about sets, of which others than the owner are told nothing."""
    def ask(op, **fields):
        def attempt(c):
            values = {name: value_of(value, c) for name, value in fields.items()}
            reply = channel.ask(op, **{name: bytes.fromhex(value) if name.endswith('_id') else value for name, value in values.items()})
            if reply.status != OK:
                raise Failed(reply.status)
        return attempt

    def mapped(attempt):
        def both(c):
            ask('map', lun_id=copy)(c)
            attempt(c)
        return both

    def plain(attempt):
        return attempt
    return {
        'identify': [(STAYS, ask('identify'))],
        'describe-lun': [(STAYS, ask('describe-lun', lun_id=copy))],
        'set-begin': [(EITHER, ask('set-begin', set_id=set_id))],
        'set-add': [(REFUSED, ask('set-add', set_id=set_id, lun_id=original))],
        'set-state': [(mine, ask('set-state', set_id=set_id))],
        'set-arm': [(EITHER, ask('set-arm', set_id=set_id))],
        'set-commit': [(EITHER, ask('set-commit', set_id=set_id, deadline_ms=5000))],
        'set-keep': [(mine, ask('set-keep', set_id=set_id))],
        'set-abort': [(EITHER, ask('set-abort', set_id=set_id))],
        'set-luns': [(mine, ask('set-luns', set_id=set_id))],
        'map': [(STAYS, ask('map', lun_id=copy))],
        'unmap': [(STAYS, mapped(ask('unmap', lun_id=copy, scope=scope))) for scope in (1, 2)],
        'delete': [(FREES, step(ask('delete', lun_id=copy, scope=scope, flags=flags)))
                   for step in (plain, mapped) for scope in (1, 2) for flags in (0, 1)],
        'break': [(FREES, step(ask('break', lun_id=copy, flags=flags))) for step in (plain, mapped) for flags in (0, 1)],
        'resync-start': [(mine, ask('resync-start', lun_id=copy, target_id=original)),
                         (REFUSED, mapped(ask('resync-start', lun_id=lambda c: c.shadows[1], target_id=copy)))],
        'resync-state': [(EITHER, ask('resync-state', job=1))],
        'resync-cancel': [(EITHER, ask('resync-cancel', job=1))],
        'list': [(STAYS, ask('list'))],
        'notify': [(STAYS, ask('notify', lun_id=copy, flags=flag)) for flag in (0x100, 0x200, 0x400)],
        'set-label': [(mine, ask('set-label', set_id=set_id, label='another'))],
        'set-tell': [(mine, ask('set-tell', set_id=set_id, import_us=5))],
        'set-take': [(REFUSED, ask('set-take', set_id=set_id, luns=lambda c: [bytes.fromhex(original(c))]))],
    }


def in_band(lab):
    """The host that owns the set, which frees it but for the lock, and one that may import it."""
    rows = 0
    for host, mine in (('h', STAYS), ('other', EITHER)):
        trial, table = Trial(lab, owner='h'), request_rows(Channel(lab.session(host), 0), mine)
        trial.classified('in-band requests', requests(), table)
        trial.classified('in-band requests of umbra_initiator', requests(), OPS)
        for op, tries in table.items():
            for effect, attempt in tries:
                trial.row(f'{op} of {host}', effect, attempt)
        rows += trial.rows
    return rows


# ---- hosts, by SCSI

def command(cdb, out=None, length_in=0):
    return lambda session, number, c: session.good('command', number, bytes(cdb), out=out, length_in=length_in)


def ten(op, byte1=0, lba=0, length=1):
    return struct.pack('>BBIBHB', op, byte1, lba, 0, length, 0)


def twelve(op, byte1=0, lba=0, length=1):
    return struct.pack('>BBIIBB', op, byte1, lba, length, 0, 0)


def sixteen(op, byte1=0, lba=0, length=1):
    return struct.pack('>BBQIBB', op, byte1, lba, length, 0, 0)


def reserve_out(action, key=0, new=0, kind=1):
    return command(struct.pack('>BBB2xIx', 0x5F, action, kind, 24), out=struct.pack('>QQ8x', key, new))


def copied(session, number, c):
    extended_copy(session, number, c.numbers[1], number, 0, 0, BLOCKS)


def by_token(session, number, c):
    write_using(session, number, 2, token_of(session, c.numbers[1], (0, BLOCKS)), (0, BLOCKS))
    assert finished(session, number, 2)[:2] == (1, BLOCKS)


def mailbox(vendor):
    return lambda session, number, c: Channel(session, number, vendor=vendor).ask('identify', 'ok')


UNMAPPED = struct.pack('>HH4xQI4x', 22, 16, 0, MIB // 512)
# (opcode, service action): (effect, attempt(session, number, copies)). In this order.
SCSI = {
    (0x00, 0): (STAYS, command(bytes(6))),
    (0x03, 0): (STAYS, command([3, 0, 0, 0, 252, 0], length_in=252)),
    (0x08, 0): (STAYS, command([8, 0, 0, 0, 1, 0], length_in=512)),
    (0x0A, 0): (FREES, command([10, 0, 0, 0, 1, 0], out=OTHER)),
    (0x12, 0): (STAYS, command([0x12, 0, 0, 0, 96, 0], length_in=96)),
    (0x15, 0): (STAYS, command([0x15, 0x10, 0, 0, 0, 0])),
    (0x16, 0): (STAYS, command([0x16, 0, 0, 0, 0, 0])),
    (0x17, 0): (STAYS, command([0x17, 0, 0, 0, 0, 0])),
    (0x1A, 0): (STAYS, command([0x1A, 0, 0x3F, 0, 255, 0], length_in=255)),
    (0x1B, 0): (STAYS, command([0x1B, 0, 0, 0, 1, 0])),
    (0x1D, 0): (STAYS, command([0x1D, 4, 0, 0, 0, 0])),
    (0x1E, 0): (STAYS, command([0x1E, 0, 0, 0, 0, 0])),
    (0x25, 0): (STAYS, command([0x25] + [0] * 9, length_in=8)),
    (0x28, 0): (STAYS, command(ten(0x28), length_in=512)),
    (0x2A, 0): (FREES, command(ten(0x2A), out=OTHER)),
    (0x2E, 0): (FREES, command(ten(0x2E), out=OTHER)),
    (0x2F, 0): (STAYS, command(ten(0x2F))),
    (0x34, 0): (STAYS, command(ten(0x34))),
    (0x35, 0): (STAYS, command(ten(0x35))),
    (0x37, 0): (EITHER, command(ten(0x37, length=8), length_in=8)),
    (0x41, 0): (FREES, command(ten(0x41), out=OTHER)),
    (0x42, 0): (FREES, command(struct.pack('>B6xHx', 0x42, len(UNMAPPED)), out=UNMAPPED)),
    (0x48, 0x01): (FREES, command(struct.pack('>BB5xHx', 0x48, 0x01, 8), out=struct.pack('>BxH4s', 1, 4, OTHER[:4]))),
    (0x48, 0x02): (FREES, command([0x48, 0x02] + [0] * 8)),
    (0x48, 0x1F): (EITHER, command([0x48, 0x1F] + [0] * 8)),
    (0x4D, 0): (STAYS, command([0x4D, 0, 0x40, 0, 0, 0, 0, 1, 0, 0], length_in=256)),
    (0x55, 0): (STAYS, command([0x55, 0x10] + [0] * 8)),
    (0x5A, 0): (STAYS, command([0x5A, 0, 0x3F, 0, 0, 0, 0, 1, 0, 0], length_in=256)),
    **{(0x5E, action): (STAYS, command([0x5E, action, 0, 0, 0, 0, 0, 16, 0, 0], length_in=4096)) for action in range(4)},
    (0x5F, 0): (STAYS, reserve_out(0, new=1)),
    (0x5F, 1): (STAYS, reserve_out(1, key=1)),
    (0x5F, 2): (STAYS, reserve_out(2, key=1)),
    (0x5F, 4): (EITHER, reserve_out(4, key=1, new=2)),
    (0x5F, 5): (EITHER, reserve_out(5, key=1, new=2)),
    (0x5F, 6): (STAYS, reserve_out(6, new=1)),
    (0x5F, 7): (EITHER, reserve_out(7, key=1, new=2)),
    (0x5F, 3): (STAYS, reserve_out(3, key=1)),
    (0x83, 0x00): (FREES, copied),
    (0x83, 0x10): (STAYS, lambda session, number, c: populate(session, number, 3, (0, BLOCKS))),
    (0x83, 0x11): (FREES, by_token),
    (0x83, 0x1C): (EITHER, command(struct.pack('>BBI10x', 0x83, 0x1C, 3))),
    **{(0x84, action): (EITHER, command(struct.pack('>BBI4xIxx', 0x84, action, 3, 1024), length_in=1024)) for action in (0, 3, 4, 5, 7)},
    (0x88, 0): (STAYS, command(sixteen(0x88), length_in=512)),
    (0x89, 0): (FREES, command(struct.pack('>BBQ3xBxx', 0x89, 0, 0, 1), out=OLD + OTHER)),
    (0x8A, 0): (FREES, command(sixteen(0x8A), out=OTHER)),
    (0x8B, 0): (FREES, command(sixteen(0x8B), out=OTHER)),
    (0x8E, 0): (FREES, command(sixteen(0x8E), out=OTHER)),
    (0x8F, 0): (STAYS, command(sixteen(0x8F))),
    (0x90, 0): (STAYS, command(sixteen(0x90))),
    (0x91, 0): (STAYS, command(sixteen(0x91))),
    (0x93, 0): (FREES, command(sixteen(0x93), out=OTHER)),
    (0x9E, 0x10): (STAYS, command(sixteen(0x9E, 0x10, length=32), length_in=32)),
    (0x9E, 0x12): (STAYS, command(sixteen(0x9E, 0x12, length=24), length_in=24)),
    (0xA0, 0): (STAYS, command(struct.pack('>B5xIxx', 0xA0, 4096), length_in=4096)),
    (0xA2, 0): (STAYS, mailbox(False)),
    (0xA3, 0x0A): (STAYS, command(struct.pack('>BB4xIxx', 0xA3, 0x0A, 1024), length_in=1024)),
    (0xA3, 0x0C): (STAYS, command(struct.pack('>BB4xIxx', 0xA3, 0x0C, 8192), length_in=8192)),
    (0xA3, 0x0D): (STAYS, command(struct.pack('>BB4xIxx', 0xA3, 0x0D, 16), length_in=16)),
    (0xA8, 0): (STAYS, command(twelve(0xA8), length_in=512)),
    (0xAA, 0): (FREES, command(twelve(0xAA), out=OTHER)),
    (0xAE, 0): (FREES, command(twelve(0xAE), out=OTHER)),
    (0xAF, 0): (STAYS, command(twelve(0xAF))),
    (0xB5, 0): (STAYS, mailbox(False)),
    (0xB7, 0): (EITHER, command(twelve(0xB7, length=8), length_in=8)),
    (0xC2, 0): (STAYS, mailbox(True)),
    (0xC5, 0): (STAYS, mailbox(True)),
}


def reported(session, number):
    """REPORT SUPPORTED OPERATION CODES, all of them: (opcode, service action)."""
    data = session.good('REPORT SUPPORTED OPERATION CODES', number, struct.pack('>BB4xIxx', 0xA3, 0x0C, 8192), length_in=8192)
    length = struct.unpack('>I', data[:4])[0]
    assert length + 4 <= len(data)
    return [(op, action) for op, action in struct.iter_unpack('>BxHxxxx', data[4:4 + length])]


def scsi(lab):
    """The host that the copies are mapped to; then another one that they are mapped to, too."""
    session, rows, count = lab.session('h'), SCSI, 0
    kept, locked = Copies(lab, None, False), Copies(lab, None, True)
    numbers = {}
    for copies in (kept, locked):
        for host in ('h', 'other'):
            for shadow in copies.shadows:
                numbers[host, copies, shadow] = lab.call('shadow.map', lun=shadow, host=host)['number']
    for lun in kept.luns + locked.luns:
        lab.call('map.add', lun=lun, host='other')
    there = reported(session, numbers['h', kept, kept.copy])
    Trial.classified(None, 'SCSI commands', there, rows)
    for host in ('h', 'other'):
        session = lab.session(host)
        for copies in (kept, locked):
            copies.numbers = [next(m['number'] for m in lab.call('lun.show', lun=lun)['mapped_to'] if m['host'] == host) for lun in copies.luns]
        for key, (effect, attempt) in rows.items():
            answers, changed = [], []
            for copies in (kept, locked):
                number = numbers[host, copies, copies.copy]
                try:
                    attempt(session, number, copies)
                    answers.append(OK)
                except ScsiError as error:
                    answers.append(error.sense)
                changed.append(session.read(number, 0, BLOCKS) != OLD * BLOCKS)
            said = f'command {key[0]:02X}h/{key[1]:02X}h of {host}: answers {answers}, changed {changed}'
            assert not changed[1], f'A LOCKED COPY IS CHANGED by {said}'
            good = [answer == OK for answer in answers]
            wanted = {FREES: [True, False], STAYS: [True, True], EITHER: good}[effect]
            assert good == wanted and changed[0] == (effect == FREES), f'{effect} is not so: {said}'
            if changed[0]:
                session.write(numbers[host, kept, kept.copy], 0, OLD * BLOCKS)
            count += 1
    for copies in (kept, locked):
        assert copies.harm() is None, copies.harm()
    return count


# ---- umbractl

def verbs():
    """From the help, and where a word is behind it: pool create, map."""
    found = re.findall(r'^  ([a-z]+(?: [a-z]+)?)(?= [A-Z[]| [a-z]+\||$)', run_ctl('--help').stdout, re.M)
    assert 'set delete' in found and 'map' in found and len(found) > 50, found
    return found


# Not at this array: another store's, or what is said.
ELSEWHERE = {'setup', 'rbd create', 'rbd destroy', 'rbd reidentify', 'controller list', 'controller move'}


def name(c):
    return c.name


def online_rows(lab):
    folder = lab.array.dir

    def new(what):
        return lambda c: lab.fresh(what)

    def file(ending):
        return lambda c: os.path.join(folder, lab.fresh('file') + ending)

    def run(*words):
        def attempt(c):
            done = run_ctl(*(value_of(word, c) for word in words), socket=lab.array.socket, check=False)
            assert done.returncode in (0, 1), done
            if done.returncode:
                raise Failed(done.stderr)
        return attempt
    image = os.path.join(folder, 'image.raw')
    with open(image, 'wb') as out:
        out.truncate(MIB)
    rows = {verb: [(STAYS, run(*verb.split()))] for verb in (
        'pool status', 'lun list', 'host list', 'mappings', 'set list', 'config export', 'policy list', 'shadow list', 'shadow recycled',
        'resync list', 'status', 'sessions', 'events', 'metrics')}
    rows.update({
        'pool grow': [(EITHER, run('pool', 'grow', '--capacity', '80M'))],
        'pool backup': [(STAYS, run('pool', 'backup', file('')))],
        'pool scrub': [(EITHER, run('pool', 'scrub', 'start'))],
        'lun create': [(STAYS, run('lun', 'create', new('made'), '--size', '1M'))],
        'lun show': [(STAYS, run('lun', 'show', copy))],
        'lun resize': [(FREES, run('lun', 'resize', copy, '--size', '2M'))],
        'lun rename': [(STAYS, run('lun', 'rename', copy, new('renamed')))],
        'lun delete': [(REFUSED, run('lun', 'delete', copy))],
        'lun import': [(STAYS, run('lun', 'import', image, '--name', new('imported')))],
        'lun export': [(STAYS, run('lun', 'export', original, file('.raw')))],
        'host add': [(STAYS, run('host', 'add', new('host'), '--iqn', lambda c: 'iqn.2026-01.test:' + lab.fresh('x')))],
        'host set': [(STAYS, run('host', 'set', 'visitor', '--control-lu'))],
        'host show': [(STAYS, run('host', 'show', 'h'))],
        'host delete': [(REFUSED, run('host', 'delete', 'h'))],
        'map': [(STAYS, run('map', copy, 'visitor'))],
        'unmap': [(STAYS, after(run('map', copy, 'visitor'), run('unmap', copy, 'visitor')))],
        'set create': [(STAYS, run('set', 'create', new('another'), original))],
        'set show': [(STAYS, run('set', 'show', name))],
        'set delete': [(FREES, run('set', 'delete', name))],
        'set abort': [(REFUSED, run('set', 'abort', name))],
        'set lock': [(FREES, run('set', 'lock', name, '--for', '1h'))],  # the lock is not what it was
        'policy create': [(STAYS, run('policy', 'create', name, '--luns', original, '--every', 'none', '--keep', 'daily=7', '--label', lambda c: 'l' + c.name))],
        'policy set': [(STAYS, run('policy', 'set', name, '--keep', 'yearly=1', '--vss'))],
        'policy show': [(STAYS, run('policy', 'show', name))],
        'policy preview': [(STAYS, run('policy', 'preview', name))],
        'policy delete': [(STAYS, run('policy', 'delete', name))],
        'shadow map': [(STAYS, run('shadow', 'map', copy, 'visitor'))],
        'shadow unmap': [(STAYS, after(run('map', copy, 'visitor'), run('shadow', 'unmap', copy)))],
        'shadow delete': [(FREES, run('shadow', 'delete', copy))],
        'shadow break': [(FREES, run('shadow', 'break', copy))],
        'shadow undelete': [(HINDERED, after(run('shadow', 'delete', copy), run('shadow', 'undelete', copy)))],
        'shadow purge': [(FREES, after(run('shadow', 'delete', copy), run('shadow', 'purge', copy)))],
        'shadow export': [(STAYS, run('shadow', 'export', copy, file('.raw')))],
        'shadow resync': [(STAYS, run('shadow', 'resync', copy, original)), (REFUSED, run('shadow', 'resync', lambda c: c.shadows[1], copy))],
        'resync cancel': [(EITHER, run('resync', 'cancel', '1'))],
        'session logout': [(STAYS, run('session', 'logout', 'visitor'))],
        'top': [(STAYS, run('top', '--count', '1', '--interval', '100ms'))],
        'support': [(STAYS, run('support', file('.tar'), '--config', lab.array.config_path))],
    })
    return rows


def offline_words(array):
    """Of a pool whose umbrad does not run: verb: (exit code, words)…"""
    pool, backup = array.pool, os.path.join(array.dir, 'before')
    return {
        'pool create': [(1, (pool,))],
        'pool check': [(0, (pool,)), (0, (pool, '--repair', '--data'))],
        'pool dump': [(0, (pool,))],
        'pool grow': [(0, (pool, '--capacity', '96M'))],
        'pool checksums': [(0, (pool, 'off')), (0, (pool, 'on'))],
        'pool upgrade': [(0, (pool,))],
        'pool restore': [(1, (pool, '--from', backup))],  # of a time before the lock
        'pool reidentify': [(0, (pool, '--yes'))],
    }


def umbractl(lab):
    trial, array = Trial(lab), lab.array
    online, offline = online_rows(lab), offline_words(array)
    trial.classified('commands of umbractl', verbs(), set(online) | set(offline) | ELSEWHERE | {'apply'})
    for verb, tries in online.items():
        for effect, attempt in tries:
            trial.row('umbractl ' + verb, effect, attempt)
    # Whatever an array has, by a file that names nothing: the originals go, and what is the administrator's of them.
    kept, locked = trial.kept, trial.locked
    path = os.path.join(array.dir, 'nothing.json')
    hosts = [{'name': name, 'iqns': [iqn], 'control_lu': True, 'import': 'any' if name in ('other', 'reader') else 'own'}
             for name, (iqn, _) in array.hosts.items()]
    with open(path, 'w') as file:
        json.dump({'luns': [], 'hosts': hosts, 'mappings': [], 'policies': []}, file)
    lab.leave()
    array.text('apply', path, '--prune', '--yes')
    assert not lab.call('lun.list')['luns'], 'nothing was pruned'
    for copies in (kept, locked):
        assert copies.harm() is None, copies.harm()
    count = trial.rows + 1
    for verb, tries in offline.items():
        for code, words in tries:
            lab.leave()
            array.stop()
            done = run_ctl(*verb.split(), *words, check=False)
            assert done.returncode == code, (verb, words, done)
            array.start()
            if verb == 'pool reidentify':  # the same set, by other ids
                shown = lab.call('set.show', set=locked.name)
                assert shown['id'] != locked.id, shown
                locked.id, locked.shadows = shown['id'], [member['shadow_id'] for member in shown['members']]
                locked.copy = locked.shadows[0]
            assert locked.harm() is None, (verb, words, locked.harm())
            count += 1
    assert kept_lock_refuses(lab, locked)
    return count


def kept_lock_refuses(lab, locked):
    """It is not only shown as locked."""
    for method, params in (('set.delete', {'set': locked.id}), ('shadow.delete', {'lun': locked.copy}), ('shadow.break', {'lun': locked.copy})):
        try:
            lab.call(method, **params)
        except Failed as error:
            assert str(error) == 'EPERM', (method, error)
        else:
            raise AssertionError(f'{method} frees a locked copy')
    return locked.harm() is None


# ---- what happens by itself

def retention(lab):
    """A policy prunes what is not locked, of the administrator's sets and of hosts'."""
    label = 'pruned'
    made = [Copies(lab, None, False, label), Copies(lab, None, True, label), Copies(lab, 'h', False), Copies(lab, 'h', True)]
    for copies in made[2:]:
        Channel(lab.session('h'), 0).ask('set-label', 'ok', set_id=bytes.fromhex(copies.id), label=label)
    time.sleep(1.1)  # copies are told apart by the second: this one is the newest
    Copies(lab, None, False, label)
    lab.call('policy.create', name='prunes', label=label, keep='yearly=1', hosts=True)
    until(lambda: made[0].harm() and made[2].harm())
    words = {one['id']: one['verdict'] for one in lab.call('policy.preview', policy='prunes')['sets']}
    for copies in (made[1], made[3]):
        assert words[copies.id] == 'locked' and copies.harm() is None, (words, copies.harm())
    lab.call('policy.delete', policy='prunes')


def full(lab):
    """A pool without room: nothing is given back for it."""
    kept, locked = Copies(lab, None, False), Copies(lab, None, True)
    filler = lab.call('lun.create', name='filler', size_bytes=1 << 30)['id']
    session, number = lab.session('h'), lab.call('map.add', lun=filler, host='h')['number']
    try:
        for at in range(1024):
            session.write(number, at * 2048, OTHER * 2048)
    except ScsiError as error:
        assert error.sense == (7, 0x2707), error
    else:
        raise AssertionError('the pool does not become full')
    for number in locked.numbers:  # what would be kept for the copy has no room
        try:
            session.write(number, 1024, OTHER)
        except ScsiError:
            pass
    for copies in (kept, locked):
        assert copies.harm() is None, copies.harm()
    assert kept_lock_refuses(lab, locked)
    lab.call('map.remove', lun=filler, host='h')
    lab.call('lun.delete', lun=filler)
    until(lambda: not lab.call('pool.status')['reclaim_pending_steps'])


def restarts(lab, locked):
    for again in (lab.array.restart, lambda: (lab.array.kill9(), lab.array.start())):
        lab.leave()
        again()
        assert locked.harm() is None and kept_lock_refuses(lab, locked), locked.harm()


def bin_ends(lab, locked):
    """What lies in the recycle bin goes when its time is over; a locked copy never lies there."""
    lab.leave()
    lab.array.config['copysets']['recycle_time'] = '1s'
    lab.array.write_config()
    lab.array.restart()
    kept = Copies(lab, None, False)
    lab.call('set.delete', set=kept.id)
    assert kept_lock_refuses(lab, locked)
    until(lambda: not {lun['id'] for lun in lab.call('recycle.list')['luns']} & set(kept.shadows))
    assert locked.harm() is None, locked.harm()


def clock(lab, locked):
    """Set forward while umbrad runs, and before it starts. A short lock does end, by running time."""
    lab.leave()
    lab.array.stop()
    lab.array.with_a_clock()
    lab.array.start()
    short = Copies(lab, None, False)
    lab.call('set.lock', set=short.id, for_ms=1000)
    before = lab.call('stats')['unix_ms']
    lab.array.set_clock(30)
    assert lab.call('stats')['unix_ms'] >= before + 29 * DAY_MS, 'the clock was not set forward'
    assert locked.harm() is None and kept_lock_refuses(lab, locked), locked.harm()
    until(lambda: lab.call('set.show', set=short.id)['locked_until_unix_ms'] is None)
    lab.call('set.delete', set=short.id)
    restarts(lab, locked)
    left = lab.call('set.show', set=locked.id)['lock_left_ms']
    assert left > 13 * DAY_MS, left


def main():
    begun = time.monotonic()
    with Array(config={'copysets': {'recycle_time': '1h'}}, pool_options=('--capacity', '64M', '--checksums', 'on')) as array:
        array.ctl('pool', 'backup', os.path.join(array.dir, 'before'))
        lab = Lab(array)

        def part(name, run, *arguments):
            told = run(lab, *arguments)
            print(f'{time.monotonic() - begun:6.2f} s: {name}' + (f', {told} tries at either set' if told else ''), flush=True)
        part('administrator', administrator)
        part('hosts, in-band', in_band)
        part('hosts, by SCSI', scsi)
        part('retention', retention)
        part('full pool', full)
        locked = Copies(lab, 'h', True)
        part('restarts', restarts, locked)
        part('recycle bin', bin_ends, locked)
        part('clock', clock, locked)
        lab.leave()
        array.stop()
        array.popen = {}
        array.config['copysets']['recycle_time'] = '1h'
        array.write_config()
        array.start()
        part('umbractl', umbractl)
        lab.leave()


if __name__ == '__main__':
    main()
