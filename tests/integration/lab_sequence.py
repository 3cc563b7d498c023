#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the lab's coordinator does when a provider fails: VSS's codes, AbortSnapshots when VSS sends it and only then,
the originals' flags cleared, the next set possible at once. The provider is the lab's own."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lab_stack import METHODS, Stack, by_role, called, labhost  # noqa: E402

MIB = 1 << 20
ENDLESS_MS = 3600000  # until the test says otherwise
PATIENCE_S = 120      # only a failure waits so long
STARTS = 20
VETO, E_FAIL, BAD_STATE, NO_STORAGE = 0x80042306, 0x80004005, 0x80042301, 0x8004231f
NAMES = {VETO: 'VSS_E_PROVIDER_VETO', E_FAIL: 'VSS_E_UNEXPECTED_PROVIDER_ERROR', BAD_STATE: 'VSS_E_BAD_STATE',
         NO_STORAGE: 'VSS_E_INSUFFICIENT_STORAGE', 1: 'VSS_E_UNEXPECTED_PROVIDER_ERROR'}


def flags_are_clear(s, result):
    _, scan = s.ask('scan')
    return all(one['table'] == 'gpt' for one in by_role(scan, 'disk') if one['lun'] == 1)


def good_set(s):
    s.tell()
    code, res = s.ask('create', '--lun', '1', '--lun', '2,1', '--no-import')
    order = [m for m in called(res) if m in METHODS or m in ('AreLunsSupported', 'BeginPrepareSnapshot')]
    s.check(code == 0 and res['hresult_name'] == 'S_OK', 'a set that goes well', res['message'])
    s.check(order == ['AreLunsSupported', 'BeginPrepareSnapshot'] * 2 + [
        'EndPrepareSnapshots', 'PreCommitSnapshots', 'CommitSnapshots', 'PostCommitSnapshots', 'GetTargetLuns',
        'GetTargetLuns', 'PreFinalCommitSnapshots', 'PostFinalCommitSnapshots'], 'the order of the calls', order)
    s.check(len(by_role(res, 'original')) == 2 and len(by_role(res, 'shadow')) == 2,
            'a LUN of two volumes is one LUN', res['luns'])
    s.check(res['commit_ms'] < res['hold_ms'] + 0.001 and res['writers'] == 0, 'the times of commit and hold')
    s.check(flags_are_clear(s, res), 'the flags are cleared')

    code, res = s.ask('create', '--lun', '1', '--no-import', '--targets-after', 'final')
    order = called(res)
    s.check(code == 0 and order.index('GetTargetLuns') > order.index('PostFinalCommitSnapshots'),
            'GetTargetLuns after PostFinalCommitSnapshots')


def failures_while_adding(s):
    for method in ('AreLunsSupported', 'BeginPrepareSnapshot'):
        for hr in (VETO, E_FAIL):
            s.tell(**{method: hr})
            code, res = s.ask('create', '--lun', '1', '--no-import')
            s.check(code == 1 and res['hresult_name'] == NAMES[hr], f'{method} fails with {hr:#x}',
                    res['hresult_name'])
            s.check('AbortSnapshots' not in called(res), f'no AbortSnapshots after {method}')
            s.check([c['hresult'] for c in res['calls'] if c['method'] == method] == [f'{hr:#010x}'],
                    'the record has the code as it was')
    s.tell(Supported=0)
    code, res = s.ask('create', '--lun', '1', '--no-import')
    s.check(code == 1 and res['hresult_name'] == 'VSS_E_VOLUME_NOT_SUPPORTED', 'a volume that is not supported')
    s.check('BeginPrepareSnapshot' not in called(res), 'no BeginPrepareSnapshot for it')


def failures_in_the_set(s):
    for method in METHODS:
        for hr in (VETO, 1):
            s.tell(**{method: hr})
            code, res = s.ask('create', '--lun', '1', '--no-import')
            s.check(code == 1 and res['hresult_name'] == NAMES[hr], f'{method} gives {hr:#x}', res['hresult_name'])
            s.check(called(res).count('AbortSnapshots') == 1 and called(res)[-1] == 'AbortSnapshots',
                    f'one AbortSnapshots, last, after {method}', called(res))
        s.check(flags_are_clear(s, res), f'the flags are cleared after {method} failed')
    s.tell(AbortSnapshots=E_FAIL, CommitSnapshots=NO_STORAGE)
    code, res = s.ask('create', '--lun', '1', '--no-import')
    s.check(res['hresult_name'] == NAMES[NO_STORAGE], 'the first failure is the one that counts')


def a_provider_that_dies(s):
    for method in ('BeginPrepareSnapshot', 'CommitSnapshots', 'GetTargetLuns'):
        s.tell(**{method + 'Exit': 1})
        code, res = s.ask('create', '--lun', '1', '--no-import')
        s.check(code == 1 and res['hresult_name'] == 'VSS_E_UNEXPECTED_PROVIDER_ERROR', f'it dies in {method}',
                res['hresult_name'])
        s.check(flags_are_clear(s, res), 'the flags are cleared')
        s.tell()
        code, res = s.ask('create', '--lun', '1', '--no-import')
        s.check(code == 0 and 'CoCreateInstance' in called(res), 'the next set activates it anew', res['message'])


def time_limits(s):
    s.tell(CommitSnapshotsMs=10300)
    code, res = s.ask('create', '--lun', '1', '--no-import')
    s.check(code == 1 and res['hresult_name'] == 'VSS_E_HOLD_WRITES_TIMEOUT', 'CommitSnapshots over ten seconds',
            res['hresult_name'])
    s.check(called(res)[-1] == 'AbortSnapshots', 'is undone')
    s.check([c['hresult'] for c in res['calls'] if c['method'] == 'CommitSnapshots'] == ['0x00000000'],
            'though it had returned S_OK')


def imports(s):
    s.tell()
    s.setting('ImportWaitMs', 600)
    code, res = s.ask('create', '--lun', '1')
    s.check(code == 1 and res['hresult_name'] == 'VSS_E_NO_SNAPSHOTS_IMPORTED', 'a shadow LUN that never arrives',
            res['hresult_name'])
    document = s.path('document')
    code, res = s.ask('create', '--lun', '1', '--lun', '2', '--transportable', document)
    s.check(code == 0 and 'LocateLuns' not in called(res) and os.path.exists(document), 'a transportable set')
    s.tell(LocateLuns=VETO)
    code, res = s.ask('import', document)
    s.check(code == 1 and res['hresult_name'] == NAMES[VETO], 'LocateLuns fails', res['hresult_name'])
    s.check(called(res).count('FillInLunInfo') == 0, 'nobody is asked about disks then')
    code, res = s.ask('list')
    s.check(code == 0 and res['sets'] == [], 'a failed import leaves nothing')


def requesters_that_go_away(s):
    s.tell()
    for method in ('AreLunsSupported', 'BeginPrepareSnapshot') + METHODS:
        code, res = s.ask('create', '--lun', '1', '--no-import', '--abandon-after', method)
        s.check(code == 1 and res['hresult_name'] == 'VSS_S_ASYNC_CANCELLED' and called(res)[-1] == method,
                f'abandoned after {method}: nothing more is called', (called(res), res['message']))
        s.check(flags_are_clear(s, res), 'the flags are cleared')
        code, res = s.ask('create', '--lun', '1', '--no-import', '--abort-after', method)
        s.check(code == 1 and called(res)[-2:] == [method, 'AbortSnapshots'], f'aborted after {method}', (called(res), res['message']))
    code, res = s.ask('create', '--lun', '1', '--abandon-after', 'NoSuchMethod')
    s.check(code == 1 and res['hresult_name'] == 'E_INVALIDARG' and called(res) == [], 'a method that does not exist')


def in_progress(s):
    return s.ask('list')[1]['hresult_name'] == 'VSS_E_SNAPSHOT_SET_IN_PROGRESS'


def resyncs(s):
    s.tell()
    document = s.path('resync')
    code, res = s.ask('-t=' + document, '1', '2,1')
    ids = [one['snapshot'] for one in res['snapshots']]
    s.check(code == 0 and len(ids) == 2, 'a transportable set of two volumes', res['message'])

    def resync(*words):
        return s.ask('resync', document, *words)
    code, res = resync('--snapshot', ids[0])
    s.check(code == 1 and res['hresult_name'] == 'VSS_E_UNSELECTED_VOLUME' and called(res) == [],
            'a volume on the same LUN must be named', res['hresult_name'])
    both = [w for i in ids for w in ('--snapshot', i)]
    for takes_ms in (0, 900):
        s.tell(ResyncTakesMs=takes_ms)
        code, res = resync(*both)
        s.check(code == 0 and called(res)[-1] == 'QueryStatus' and res['percent'] == 100,
                f'a resync of both in {takes_ms} ms', (res['message'], res.get('percent')))
    s.check(sorted(one['lun'] for one in by_role(res, 'target')) == [1, 2], 'each original once', res['luns'])
    s.check(flags_are_clear(s, res), 'the target has no shadow copy flags')
    s.tell(ResyncTakesMs=ENDLESS_MS)
    code, res = resync(*both, '--cancel-after-ms', '300')
    s.check(code == 1 and res['hresult_name'] == 'VSS_S_ASYNC_CANCELLED' and called(res).count('Cancel') == 1,
            'cancelled', called(res))
    code, res = resync(*both, '--release-early')
    s.check(code == 0 and called(res)[-1] == 'QueryStatus', 'released while it works', res['message'])
    # The requester goes away: the coordinator waits on, mends the target and is there for the next request.
    s.tell(ResyncTakesMs=ENDLESS_MS)
    command, env = s.state.host('A').command(labhost.need_program('umbra-lab-requester.exe'), 'resync',
                                             labhost.windows_path(document), *both)
    with open(s.path('gone'), 'w') as out:
        seen = False
        for _ in range(STARTS):  # one that meets our own question on its way is refused, as it does not wait for its turn
            child = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
            seen = labhost.wait_until(lambda: in_progress(s) or child.poll() is not None, PATIENCE_S) and in_progress(s)
            if seen:
                break
            child.wait()
        child.kill()
        child.wait()
    s.check(seen, 'a resync is on the way')
    s.check(in_progress(s), 'it goes on without its requester')
    s.tell()
    s.check(labhost.wait_until(lambda: s.ask('list')[0] == 0, PATIENCE_S), 'it ends without its requester')
    s.check(flags_are_clear(s, res), 'and its target was mended')
    s.tell(ResyncTakesMs=ENDLESS_MS)
    code, res = resync('--snapshot', ids[1] + ',2')
    s.check(code == 1 and res['hresult_name'] == 'VSS_E_VOLUME_NOT_SUPPORTED', 'a volume of two LUNs to one LUN')
    code, res = resync('--snapshot', ids[0] + ',2', '--no-volume-check', '--cancel-after-ms', '0')
    s.check('ResyncLuns' in called(res), 'to another LUN, without the check', res['message'])
    for hr, name in ((VETO, NAMES[VETO]), (0x80004001, 'E_NOTIMPL'), (E_FAIL, NAMES[E_FAIL])):
        s.tell(ResyncLuns=hr)
        code, res = resync(*both)
        s.check(code == 1 and res['hresult_name'] == name, f'ResyncLuns gives {hr:#x}', res['hresult_name'])
    s.tell(ResyncEnds=NO_STORAGE)
    code, res = resync(*both)
    s.check(code == 1 and res['hresult_name'] == NAMES[NO_STORAGE], 'it fails on the way', res['hresult_name'])
    code, res = s.ask('resync', document, '--snapshot', '{00000000-0000-0000-0000-000000000001}')
    s.check(code == 1 and res['hresult_name'] == 'VSS_E_SNAPSHOT_NOT_IN_SET', 'a shadow copy of another set')
    code, res = s.ask('create', '--lun', '1', '--no-import', '--document', document)
    code, res = s.ask('resync', document, '--snapshot', res['snapshots'][0]['snapshot'])
    s.check(code == 1 and res['hresult_name'] == 'VSS_E_NONTRANSPORTABLE_BCD', 'a set that is not transportable')


def vshadows_switches(s):
    s.tell()
    for words in (('-bex',), ('-b=x',), ('-ad', '-ap', '1'), ('-tr', '-nar', '1'), ('-nw',), ('-q', '1'), ('-q', '-da'),
                  ('-mask', '1'), ('-resync=x',), ('-zz', '1'), ('-t=', '1'), ('-el={0}',)):
        s.check(s.ask(*words)[0] == 2, f'wrong usage: {" ".join(words)}')
    code, res = s.ask('-p', '-nw', '-ad', '-nar', '1', '--no-such')
    s.check(code == 2, 'an unknown option')
    code, res = s.ask('-p', '-nw', '-ad', '-nar', '1', '--abandon-after', 'AreLunsSupported')
    s.check('context 0x2001b' in res['calls'][-1]['arguments'], 'the context of -p -nw -ad -nar',
            res['calls'][-1]['arguments'])
    for words in (('-b={00000000-0000-0000-0000-000000000001}',), ('-dx={00000000-0000-0000-0000-000000000001}',),
                  ('-s={00000000-0000-0000-0000-000000000001}',), ('-do=1',),
                  ('-el={00000000-0000-0000-0000-000000000001},X:',)):
        code, res = s.ask(*words)
        s.check(code == 1 and res['hresult_name'] == 'VSS_E_OBJECT_NOT_FOUND', f'{words[0]}: not found')
    code, res = s.ask('break', '{00000000-0000-0000-0000-000000000001}', '--revert', 'all', '--revert', 'none')
    s.check(code == 1 and res['hresult_name'] == 'E_INVALIDARG', 'break flags that exclude each other')
    s.check(s.ask('-q')[0] == 0 and s.ask('-da')[0] == 0, 'nothing to list or to delete')


def unloading(s):
    s.tell(OnUnload=1)
    s.ask('create', '--lun', '1', '--no-import')
    code, res = s.ask('unload')
    s.check(code == 1 and called(res) == ['OnUnload'], 'a busy provider stays', res['message'])
    done = s.run('umbra-lab-selftest.exe', 'unregister-provider')
    s.check('0x80042307' in done.stdout, 'VSS_E_PROVIDER_IN_USE for it', done.stdout)
    code, res = s.ask('unload', '--force')
    s.check(code == 0 and called(res) == ['OnUnload'], 'forced it goes')
    s.tell()
    code, res = s.ask('create', '--lun', '1', '--no-import', '--unload')
    s.check(called(res)[-1] == 'OnUnload', '--unload unloads at the end')
    done = s.run('umbra-lab-selftest.exe', 'unregister-provider')
    s.check(done.returncode == 0, 'unregistered', done.stdout)
    code, res = s.ask('create', '--lun', '1')
    s.check(code == 1 and res['hresult_name'] == 'VSS_E_PROVIDER_NOT_REGISTERED', 'without a provider')


def main():
    with Stack(luns={'a': '32M', 'b': '32M'}) as s:
        s.make_gpt(1, 32 * MIB)
        s.install_selftest()
        for part in (good_set, failures_while_adding, failures_in_the_set, a_provider_that_dies, imports,
                     requesters_that_go_away, resyncs, vshadows_switches, unloading):
            print(f'-- {part.__name__}')
            part(s)
        s.install_selftest()
        time_limits(s)
        return s.done()


if __name__ == '__main__':
    sys.exit(main())
