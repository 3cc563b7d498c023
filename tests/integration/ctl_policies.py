#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Policies by umbractl: made, changed, previewed, deleted, over a kill -9; copies taken by themselves, and those deleted that
no rule keeps. When a turn comes is told by the model's test with a clock of its own; here it is the first one, at once."""
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_lab import Array  # noqa: E402

PATIENCE_S = 300


def fails(array, name, *arguments):
    error = array.ctl(*arguments, want=1)['error']['data']
    assert error['name'] == name, error


def until(condition):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def names(array):
    return [one['name'] for one in array.ctl('set', 'list')['sets']]


def takes(array):
    made = array.ctl('policy', 'create', 'nightly', '--luns', 'a,b', '--every', '1d', '--at', '02:30', '--keep',
                     'daily=7,weekly=4', '--lock', '14d')
    assert (made['label'], made['at'], made['keep'], made['every_ms']) == ('nightly', '02:30', 'daily=7,weekly=4', 86400000)
    assert [lun['name'] for lun in made['luns']] == ['a', 'b'] and not made['hosts'], made
    until(lambda: names(array))
    taken = array.ctl('set', 'list')['sets'][0]
    until(lambda: array.ctl('set', 'show', taken['id'])['locked_until_unix_ms'])
    taken = array.ctl('set', 'show', taken['id'])
    assert taken['name'].startswith('nightly-2') and taken['label'] == 'nightly' and taken['luns'] == 2, taken
    fails(array, 'EPERM', 'set', 'delete', taken['name'])
    shown = array.text('policy', 'show', 'nightly')
    assert 'daily=7,weekly=4' in shown and '02:30' in shown and '14 d' in shown, shown
    assert 'nightly' in array.text('policy', 'list')
    sets = array.ctl('policy', 'preview', 'nightly')['sets']
    assert [(one['name'], one['verdict'], one['rules']) for one in sets] == [
        (taken['name'], 'keeps', ['daily', 'weekly'])], sets
    assert 'daily,weekly' in array.text('policy', 'preview', 'nightly')
    return taken['name']


def restarts(array, taken):
    before = array.ctl('policy', 'show', 'nightly')
    array.kill9()
    array.start()
    after = array.ctl('policy', 'show', 'nightly')
    assert {k: after[k] for k in after if k != 'next_unix_ms'} == {k: before[k] for k in before if k != 'next_unix_ms'}
    changed = array.ctl('policy', 'set', 'nightly', '--at', 'none', '--every', '12h', '--keep', 'none', '--lock', 'none')
    assert (changed['at'], changed['keep'], changed['lock_ms'], len(changed['luns'])) == (None, '', 0, 2), changed
    until(lambda: len(names(array)) == 2)  # another schedule: its first turn comes at once
    array.ctl('policy', 'delete', 'nightly')
    fails(array, 'ENOENT', 'policy', 'show', 'nightly')
    assert taken in names(array)


def prunes(array):
    """Sets of one label, made within one day: a policy with daily=1 leaves the newest, and what is locked."""
    for name in ('s1', 's2', 's3', 's4'):
        array.ctl('set', 'create', name, 'a', '--label', 'sql', *(('--lock', '1d') if name == 's2' else ()))
        time.sleep(1.1)  # copies are told apart by the second
    array.ctl('set', 'create', 'other', 'a', '--label', 'SQL')
    array.ctl('policy', 'create', 'prune', '--label', 'sql', '--keep', 'yearly=1')
    until(lambda: not {'s1', 's3'} & set(names(array)))
    assert {'s2', 's4', 'other'} <= set(names(array))
    words = {one['name']: one['verdict'] for one in array.ctl('policy', 'preview', 'prune')['sets']}
    assert words == {'s4': 'keeps', 's2': 'locked'}, words
    assert any('deletes copy set s1' in event['text'] for event in array.ctl('events')['events'])


def refuses(array):
    for options, says in ((('--keep', 'daily'), 'keep takes'), (('--keep', 'daily=0'), 'keep takes'), (('--keep', 'daily=10000'), 'keep takes'),
                          (('--keep', 'daily=-1'), 'keep takes'), (('--keep', 'daily=+1'), 'keep takes'), (('--keep', 'daily=0x7'), 'keep takes'),
                          (('--keep', 'daily=18446744073709551617'), 'keep takes'), (('--keep', 'daily=4294967297'), 'keep takes'),
                          (('--keep', 'sometimes=3'), 'keep takes'), (('--keep', 'daily=7,daily=8'), 'keep takes'),
                          (('--keep', 'daily=7,'), 'keep takes'), (('--keep', ' daily=7'), 'keep takes'), (('--keep', 'Daily=7'), 'keep takes'),
                          (('--luns', 'a,a', '--every', '1h'), 'named twice'), (('--every', '1h'), '--luns'), ((), 'does nothing'),
                          (('--luns', 'a', '--every', '59s'), 'every 1min'), (('--luns', 'a', '--every', '3661d'), '3660d'),
                          (('--luns', 'a', '--every', '1h', '--at', '02:00'), 'whole days'), (('--luns', 'a', '--at', '02:00'), 'does nothing'),
                          (('--luns', 'a', '--every', '90000s', '--at', '02:00'), 'whole days'), (('--luns', 'a', '--lock', '1d'), 'does nothing'),
                          (('--keep', 'daily=1', '--lock', '1d'), 'say how often'), (('--luns', 'a', '--every', '1h', '--lock', '101y'), '100 years'),
                          (('--label', '', '--keep', 'daily=1'), 'label'), (('--label', 'a\tb', '--keep', 'daily=1'), 'label'),
                          (('--label', 'x' * 300, '--keep', 'daily=1'), 'label'), (('--luns', ',', '--every', '1h'), 'no LUN')):
        error = array.ctl('policy', 'create', 'bad', *options, want=1)['error']['message']
        assert says in error, (options, error)
        error = array.ctl('policy', 'set', 'prune', *options, want=1)['error']['message'] if options and 'does nothing' not in says and \
            '--every' not in options and '--at' not in options else says
        assert says in error, (options, error)
    for name in ('-bad', 'a b', '', 'x' * 41, 'a\nb', '../x'):
        assert 'name' in array.ctl('policy', 'create', name, '--keep', 'daily=1', check=False).stderr, name
    for at in ('24:00', '2:30', '02:60', '+2:30', ' 2:30', '02:3a', '0230', '02:30:00'):
        error = array.ctl('policy', 'create', 'bad', '--luns', 'a', '--every', '1d', '--at', at, want=1)['error']['message']
        assert 'time of the day' in error, (at, error)
    for options in (('--every', 'often'), ('--every', '5'), ('--every', '0h'), ('--every', '-1h'), ('--every', '99999999999999999y'),
                    ('--lock', '3m'), ('--lock', '0d'), ('--lock', '-1d'), ('--vss', '--no-vss')):
        array.ctl('policy', 'create', 'bad', '--luns', 'a', *options, want=2)
    fails(array, 'ENOENT', 'policy', 'create', 'bad', '--luns', 'nobody', '--every', '1h')
    fails(array, 'EEXIST', 'policy', 'create', 'prune', '--label', 'x', '--keep', 'daily=1')
    fails(array, 'EEXIST', 'policy', 'create', 'twin', '--label', 'sql', '--keep', 'daily=1')
    fails(array, 'ENOENT', 'policy', 'set', 'nobody', '--keep', 'daily=1')
    fails(array, 'ENOENT', 'policy', 'preview', 'nobody')
    fails(array, 'ENOENT', 'policy', 'delete', 'nobody')
    assert [one['name'] for one in array.ctl('policy', 'list')['policies']] == ['prune']


def main():
    with Array() as array:
        for name in ('a', 'b'):
            array.ctl('lun', 'create', name, '--size', '1M')
        restarts(array, takes(array))
        prunes(array)
        refuses(array)
        assert array.stop() == 0


if __name__ == '__main__':
    main()
