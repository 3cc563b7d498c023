# SPDX-License-Identifier: Apache-2.0
"""The page in Cockpit, in a real browser, over a real array with load: cockpit_page.py views|changes|gone|many|SECONDS.

views: everything is shown, accessibly. changes: every command of umbractl that changes something, through the page's forms,
and what no form offers. gone: umbrad stops and is started again. many: 2,000 LUNs. A number: a walk at random for so long, with the seed UMBRA_TEST_SEED. Pictures are left in
build/browser/pictures.
"""
import json
import os
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_cockpit import Cockpit, missing  # noqa: E402
from umbra_initiator import Channel, LoginError, Session  # noqa: E402
from umbra_lab import Array  # noqa: E402

SKIP = 77
MANY = 2000
HOSTILE = '<img src=x onerror="window.top.hacked=1">'
BLOCKS = 128  # of 512 bytes: 64 KiB


class Load(threading.Thread):
    """A host that reads and writes until it is told to stop. may_end: its LUN may be taken away from it."""

    def __init__(self, array, may_end):
        super().__init__(daemon=True)
        self.array, self.may_end = array, may_end
        self.over, self.ended = threading.Event(), None

    def run(self):
        data, at = os.urandom(BLOCKS * 512), 0
        try:
            with Session(self.array, 'db1') as session:
                while not self.over.is_set():
                    session.write(1, at * BLOCKS, data)
                    session.read(1, at * BLOCKS, BLOCKS)
                    at = (at + 1) % 512
                    self.over.wait(0.002)
        except Exception as error:  # told by who joins
            self.ended = error

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, value, trace):
        self.over.set()
        self.join()
        if kind is None and self.ended and not self.may_end:
            raise self.ended


def told_set(session):
    """A copy set of a host through VSS, with a label that is no text but markup."""
    channel, set_id = Channel(session), os.urandom(16)
    data = channel.ask('describe-lun', 'ok').luns[0].id
    channel.ask('set-begin', 'ok', set_id=set_id)
    channel.ask('set-add', 'ok', set_id=set_id, lun_id=data)
    channel.ask('set-label', 'ok', set_id=set_id, label=HOSTILE)
    channel.ask('set-arm', 'ok', set_id=set_id)
    channel.ask('set-commit', 'ok', set_id=set_id, deadline_ms=5000)
    channel.ask('set-keep', 'ok', set_id=set_id)
    channel.ask('set-tell', 'ok', set_id=set_id, writers=1, frozen_us=812000, flush_us=61000, commit_us=12000, release_us=22000)
    channel.ask('set-tell', 'ok', set_id=set_id, import_us=2100000)


def furnish(array):
    array.ctl('lun', 'create', 'sql', '--size', '64M')
    array.ctl('lun', 'create', 'log', '--size', '64M')
    array.add_host('db1', 'iqn.2026-01.test:db1', secret='0123456789ab')
    array.add_host('backup', 'iqn.2026-01.test:backup', secret='0123456789cd')
    array.ctl('map', 'sql', 'db1')
    with Session(array, 'db1') as session:
        for at in range(64):
            session.write(1, at * BLOCKS, os.urandom(BLOCKS * 512))
        told_set(session)
    try:  # an event, with the initiator's own words in it
        Session(array, iqn='iqn.2026-01.test:db1', secret='wrong-wrong-12').close()
        raise AssertionError('a wrong secret was let in')
    except LoginError:
        pass
    array.ctl('set', 'create', 'before-update', 'sql', 'log', '--label', 'manual')
    array.ctl('set', 'create', 'independent', 'log', '--plex')
    array.ctl('set', 'create', 'older', 'log', '--label', 'nightly')
    array.ctl('set', 'lock', 'older', '--for', '1d')  # no rule keeps it, but it stays
    array.ctl('policy', 'create', 'nightly', '--luns', 'log', '--every', '1h', '--keep', 'daily=2')


def wait_for(cockpit, name, browsing):
    """Until the browser's test has written that file, or has ended."""
    while browsing.is_alive() and not os.path.exists(os.path.join(cockpit.dir, name)):
        browsing.join(0.05)


def gone(array):
    failed = []

    def browse():
        try:
            cockpit.browse('gone.mjs')
        except AssertionError as error:
            failed.append(error)

    array.ctl('lun', 'create', 'sql', '--size', '64M')
    with Cockpit(array) as cockpit:
        browsing = threading.Thread(target=browse)
        browsing.start()
        wait_for(cockpit, 'stop', browsing)
        array.stop()
        open(os.path.join(cockpit.dir, 'stopped'), 'w').close()
        wait_for(cockpit, 'start', browsing)
        array.start()
        browsing.join()
    if failed:
        raise failed[0]


def many(array):
    """2,000 LUNs, a host that sees a thousand of them, a copy set of 64."""
    names = [f'lun-{number}' for number in range(1, MANY)] + ['with-a-copy']
    path = os.path.join(array.dir, 'many.json')
    with open(path, 'w') as file:
        json.dump({'luns': [{'name': name, 'size': '1M'} for name in names], 'hosts': [{'name': 'db1', 'iqns': ['iqn.2026-01.test:db1']}],
                   'mappings': [{'lun': name, 'host': 'db1'} for name in names[:1000]]}, file)
    array.ctl('apply', path)
    array.ctl('set', 'create', 'first', *names[-64:])
    with Cockpit(array) as cockpit:
        cockpit.browse('many.mjs')


def main():
    lacks = missing()
    if lacks:
        print(f'SKIP cockpit-{sys.argv[1]}: {lacks}')
        return SKIP
    with Array(config={'copysets': {'recycle_time': '1h'}}, pool_options=('--capacity', '512M', '--checksums', 'on')) as array:
        if sys.argv[1] == 'gone':
            gone(array)
            return 0
        if sys.argv[1] == 'many':
            many(array)
            return 0
        furnish(array)
        story = sys.argv[1] in ('views', 'changes')
        with Load(array, may_end=not story), Cockpit(array) as cockpit:
            if story:
                cockpit.browse(f'{sys.argv[1]}.mjs')
            else:
                cockpit.browse('walk.mjs', sys.argv[1], os.environ.get('UMBRA_TEST_SEED', '1'))
            assert array.alive()
    return 0


if __name__ == '__main__':
    sys.exit(main())
