#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Shadow copies end to end: umbrad, the provider as a service under Wine, two hosts, writers that are really held.

    lab_vss.py [PART…]      the parts named, or all
"""
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lab_stack import Stack, by_role, called, labhost  # noqa: E402

MIB = 1 << 20
SIZE = 64 * MIB


def number_of(result, original):
    """LUN number of the shadow LUN whose original is that LUN, as the host sees it."""
    serial = next(one['serial'] for one in by_role(result, 'original') if one['lun'] == original)
    return next(one['lun'] for one in by_role(result, 'shadow') if one['pair'] == serial)


def nothing_left(s, what):
    s.check(s.shadows() == [] and s.sets() == [], f'nothing is left on the array: {what}', s.shadows())


def disks(s, host='A'):
    return sorted(one['lun'] for one in by_role(s.ask('scan', host=host)[1], 'disk'))


def same_host(s):
    writer = s.start_writer(1, 2)
    code, res = s.ask('create', '--lun', '1', '--lun', '2')
    if not s.check(code == 0, 'a set of two LUNs, imported on the same host', res['message']):
        return
    s.check(res['writers'] == 1, 'one writer stood still')
    s.check(all(p['hresult'] == '0x00000000' for p in res['phases']), 'every phase succeeded', res['phases'])
    print(f"     CommitSnapshots {res['commit_ms']} ms, held {res['hold_ms']} ms")
    s.check([one['table'] for one in by_role(res, 'shadow')] == ['gpt+flags', 'none'],
            'the shadow LUN has the shadow copy flags', [one['table'] for one in res['luns']])
    s.check([one['table'] for one in by_role(res, 'original')] == ['gpt', 'none'], 'the original has not')
    a, b = number_of(res, 1), number_of(res, 2)
    expect = s.ledger()[-1]['expect']
    code, verdict = s.verify(a, b, expect)
    s.check(code == 0, 'the copy shows the instant of the hold', verdict)
    time.sleep(0.3)
    code, verdict = s.verify(a, b, expect)
    s.check(code == 0, 'and does not change while the originals do', verdict)
    s.check(s.stop_writer(writer) == 0, 'the writer had no failure')
    code, again = s.ask('list')
    s.check(code == 0 and [one['set'] for one in again['sets']] == [res['set']], 'list shows the set')
    code, gone = s.ask('delete', res['set'])
    s.check(code == 0 and called(gone) == ['FillInLunInfo', 'OnLunEmpty'] * 2, 'delete', gone['message'])
    nothing_left(s, 'after delete')
    s.check(disks(s) == [1, 2, 3], 'the host sees the originals only')
    code, gone = s.ask('delete', res['set'])
    s.check(code == 1 and gone['hresult_name'] == 'VSS_E_OBJECT_NOT_FOUND', 'a second delete fails cleanly')


def order_by_the_array_alone(s):
    writer = s.start_writer(1, 2, hold=False, name='unheld')
    for _ in range(3):
        code, res = s.ask('create', '--lun', '1', '--lun', '2')
        if not s.check(code == 0, 'a set while writers go on', res['message']):
            break
        s.check(res['writers'] == 0, 'nobody stands still')
        code, verdict = s.verify(number_of(res, 1), number_of(res, 2))
        s.check(code == 0, 'B without A is not seen', verdict)
        s.ask('delete', res['set'])
    s.check(s.stop_writer(writer) == 0, 'the writer had no failure')
    nothing_left(s, 'after three sets')


def transportable(s):
    document = s.path('set.json')
    writer = s.start_writer(1, 2, name='transport')
    code, res = s.ask('create', '--lun', '1', '--lun', '2', '--transportable', document)
    s.check(code == 0 and 'LocateLuns' not in called(res), 'a transportable set', res['message'])
    s.check(disks(s) == [1, 2, 3] and disks(s, 'B') == [], 'nobody sees its LUNs yet')
    code, got = s.ask('import', document, host='B')
    s.check(code == 0, 'imported on another host', got['message'])
    shadow = {one['pair']: one['lun'] for one in by_role(got, 'shadow')}
    numbers = [shadow.get(one['serial']) for one in by_role(res, 'original')]
    s.check(None not in numbers and disks(s, 'B') == sorted(numbers), 'that host sees them', numbers)
    code, verdict = s.verify(*numbers, s.ledger('transport')[-1]['expect'], host='B')
    s.check(code == 0, 'they show the instant of the hold', verdict)
    code, again = s.ask('import', document, host='B')
    s.check(code == 1 and again['hresult_name'] == 'VSS_E_OBJECT_ALREADY_EXISTS' and called(again) == [],
            'a second import fails cleanly', again['hresult_name'])
    code, gone = s.ask('delete', res['set'], host='B')
    s.check(code == 0, 'deleted there', gone['message'])
    nothing_left(s, 'after the transportable set')
    code, again = s.ask('import', document, host='B')
    s.check(code == 1 and again['hresult_name'] != 'VSS_E_UNEXPECTED_PROVIDER_ERROR',
            'importing what was deleted fails with a code that VSS knows', again['hresult_name'])
    s.check(s.ask('list', host='B')[1]['sets'] == [], 'and records nothing')
    s.stop_writer(writer)


def volumes_and_luns(s):
    code, res = s.ask('create', '--lun', '1', '--lun', '1', '--lun', '2,3', '--lun', '3')
    s.check(code == 0 and len(by_role(res, 'shadow')) == 3,
            'two volumes on one LUN and one over two LUNs: a shadow LUN each', res['message'])
    s.check(len(s.shadows()) == 3, 'three on the array, too')
    s.check(s.ask('delete', res.get('set', '{}'))[0] == 0, 'deleted')
    code, res = s.ask('create', '--lun', '1', '--targets-after', 'final')
    s.check(code == 0, 'GetTargetLuns after PostFinalCommitSnapshots', res['message'])
    s.check(s.ask('delete', res.get('set', '{}'))[0] == 0, 'deleted')
    nothing_left(s, 'after sets of all shapes')


def refused(s):
    for words, name, what in (
            (('--context', 'differential,plex'), 'VSS_E_VOLUME_NOT_SUPPORTED', 'differential and plex'),
            (('--context', 'client-accessible', '--any-context'), 'VSS_E_VOLUME_NOT_SUPPORTED',
             'a client-accessible copy')):
        code, res = s.ask('create', '--lun', '1', *words)
        s.check(code == 1 and res['hresult_name'] == name, what, res['hresult_name'])
        s.check('BeginPrepareSnapshot' not in called(res), 'nothing is begun for it')
    for kind in ('differential', 'plex'):
        code, res = s.ask('create', '--lun', '1', '--context', kind)
        s.check(code == 0, f'a {kind} copy is made', res['message'])
        s.check([one['copy_kind'] for one in s.shadows()] == [kind], 'of that kind on the array', s.shadows())
        s.check(s.ask('delete', res.get('set', '{}'))[0] == 0, 'deleted')
    nothing_left(s, 'after refusals')


def hold_failures(s):
    code, res = s.ask('create', '--lun', '1', '--hold-ms', '10500')
    s.check(code == 1 and res['hresult_name'] == 'VSS_E_HOLD_WRITES_TIMEOUT', 'a hold over ten seconds',
            res['hresult_name'])
    s.check(called(res)[-1] == 'AbortSnapshots', 'is aborted')
    nothing_left(s, 'after an overrun')
    port = s.hold_port
    s.broker.terminate()
    s.broker.wait(labhost.PATIENCE_S)
    code, res = s.ask('create', '--lun', '1')
    s.check(code == 1 and res['hresult_name'] == 'VSS_E_FLUSH_WRITES_TIMEOUT', 'without the hold broker',
            res['hresult_name'])
    s.check('CommitSnapshots' not in called(res) and called(res)[-1] == 'AbortSnapshots', 'nothing is committed')
    nothing_left(s, 'without the hold broker')
    s.start_broker(port)
    code, res = s.ask('create', '--lun', '1')
    s.check(code == 0, 'with the broker again', res['message'])
    s.ask('delete', res.get('set', '{}'))
    s.check([one['table'] for one in by_role(s.ask('scan')[1], 'disk') if one['lun'] == 1] == ['gpt'],
            'the original has no flags left')


def kill_after_commit(s, name):
    """A set whose program `name` is killed while the writers are held after the commit. The requester's exit code."""
    command, env = s.state.host('A').command(labhost.need_program('umbra-lab-requester.exe'), 'create', '--lun', '1',
                                             '--lun', '2', '--hold-ms', '9500', '--json')
    with open(s.path('killed.json'), 'w') as out:
        child = subprocess.Popen(command, env=env, stdout=out, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        committed = labhost.wait_until(lambda: any(one['state'] == 'committed' for one in s.sets()) or
                                       child.poll() is not None, 120)
        victims = s.state.host('A').kill_program(name)
        code = child.wait(labhost.PATIENCE_S)
    s.check(committed and victims and code == 1, f'{name} killed after the commit: the set fails',
            (committed, victims, code))
    s.check(labhost.wait_until(lambda: s.shadows() == [] and s.sets() == [], labhost.PATIENCE_S),
            'the array itself undoes the set when its lease ends', s.sets())


def provider_killed(s):
    """kill -9 between sets and in the middle of one (while the writers are held after the commit)."""
    code, res = s.ask('create', '--lun', '1', '--no-import', '--document', s.path('kept.json'))
    s.check(code == 0, 'a set', res['message'])
    s.state.host('A').kill_program('umbra-vss')
    code, got = s.ask('import', s.path('kept.json'))
    s.check(code == 0, 'a kept set is imported by the provider that starts anew', (got['message'], got['calls']))
    s.check(s.ask('delete', res.get('set', '{}'))[0] == 0, 'and deleted')
    kill_after_commit(s, 'umbra-vss')
    code, res = s.ask('create', '--lun', '1')
    s.check(code == 0, 'the next set goes well', res['message'])
    s.ask('delete', res.get('set', '{}'))
    nothing_left(s, 'after kills')


def coordinator_killed(s):
    """kill -9 of the VSS service's player: writers go on, the array cleans up, the flags go at the next request."""
    writer = s.start_writer(1, 2, name='killed')
    kill_after_commit(s, 'umbra-lab-vss')
    before = len(s.ledger('killed'))
    code, res = s.ask('create', '--lun', '1', '--lun', '2')  # both, or the writer is held in part
    s.check(code == 0, 'the next set goes well', res['message'])
    s.check([p['hresult'] for p in res['phases'] if p['name'] == 'MendFlags'] == ['0x00000000'],
            'the flags that were left are cleared first')
    s.check(by_role(res, 'original')[0]['table'] == 'gpt', 'the original has no flags left')
    s.check(len(s.ledger('killed')) == before + 1 and s.stop_writer(writer) == 0, 'the writer had gone on')
    s.ask('delete', res.get('set', '{}'))
    nothing_left(s, 'after the coordinator was killed')


PARTS = (same_host, order_by_the_array_alone, transportable, volumes_and_luns, refused, hold_failures, provider_killed,
         coordinator_killed)


def main(names):
    with Stack(luns={'data': '64M', 'log': '64M', 'more': '64M'}, hosts='AB', hold=True,
               config={'copysets': {'lease': '10s'}}, host_options={'B': ('--control-lu', '--import', 'any')}) as s:
        s.make_gpt(1, SIZE)
        s.install_provider('A')
        s.install_provider('B')
        for part in PARTS:
            if not names or part.__name__ in names:
                print(f'-- {part.__name__}')
                part(s)
        return s.done()


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
