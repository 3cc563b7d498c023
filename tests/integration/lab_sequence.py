#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the lab's coordinator does when a provider fails: VSS's codes, AbortSnapshots when VSS sends it and only then,
the originals' flags cleared, the next set possible at once. The provider is the lab's own."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lab_stack import METHODS, Stack, by_role, called  # noqa: E402

MIB = 1 << 20
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
    s.setting('IdleMs', 300)
    s.run('umbra-lab-selftest.exe', 'unregister-provider')
    code, res = s.ask('create', '--lun', '1')
    s.check(code == 1 and res['hresult_name'] == 'VSS_E_PROVIDER_NOT_REGISTERED', 'without a provider')


def main():
    with Stack(luns={'a': '32M', 'b': '32M'}) as s:
        s.make_gpt(1, 32 * MIB)
        s.install_selftest()
        for part in (good_set, failures_while_adding, failures_in_the_set, a_provider_that_dies, imports, unloading):
            print(f'-- {part.__name__}')
            part(s)
        s.install_selftest()
        time_limits(s)
        return s.done()


if __name__ == '__main__':
    sys.exit(main())
