#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Backup programs' orders of calls, through the lab's vssapi.dll: umbrad, the provider as a service, a host with drives.

    lab_requesters.py [PART…]      the parts named, or all

D: and E: lie on LUNs 1 and 2, F: on LUN 1, too, G: on both; H: on a LUN of another array, C: on none. LUN 3 is what the lab's
own provider has for its shadow LUN.
"""
import json
import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lab_stack import Stack, labhost  # noqa: E402
from lab_tgt import Tgt  # noqa: E402
import lab_steps  # noqa: E402
import requesters  # noqa: E402

OK, PENDING, FINISHED, CANCELLED = 0, 0x42309, 0x4230A, 0x4230B
BAD_STATE, NOT_FOUND, IN_PROGRESS = 0x80042301, 0x80042308, 0x80042316
NOT_REGISTERED, NOT_SUPPORTED, NOT_BY_PROVIDER = 0x80042304, 0x8004230C, 0x8004230E
EXISTS, UNSUPPORTED_CONTEXT, BAD_DOCUMENT, BAD_ARGUMENT = 0x8004230D, 0x8004231B, 0x80042311, 0x80070057
UMBRA = '{c27fdb10-24d1-4708-9442-880e6246fe94}'
OTHER = '{7b0f8b6e-3c0a-4f0b-9b55-5e1f7e5c1a02}'  # the lab's own provider, umbra-lab-selftest
VETO, PERSISTENT, TRANSPORTABLE, TXF_RECOVERY = 0x80042306, 0x19, 0x20, 0x2000000
NOBODY = '{00000000-1111-2222-3333-444444444444}'
DEVICE = '\\\\?\\GLOBALROOT\\Device\\HarddiskVolumeShadowCopy'
UNIQUE_D = '\\\\?\\Volume{00000000-0000-0000-0000-000000000044}\\'
INIT = ['apartment mta', 'create', 'InitializeForBackup']
READY = INIT + ['SetContext 0', 'SetBackupState 0 0 5', 'GatherWriterMetadata']
SET = ['StartSnapshotSet', 'AddToSnapshotSet D:\\', 'PrepareForBackup', 'DoSnapshotSet']


class Step:
    """A line of umbra-lab-replay: its method, its codes, and what came out (the last of each key, and all of them)."""

    def __init__(self, line):
        self.line = line
        self.method = line.split()[0]
        self.all = re.findall(r'(\w+)=(\S+)', line)
        self.values = dict(self.all)
        self.hr = int(self.values['hr'], 16)
        self.status = int(self.values['status'], 16) if 'status' in self.values else None

    def good(self):
        return self.hr == OK and self.status in (None, FINISHED)

    def __str__(self):
        return self.line


def replay(s, *steps, host='A'):
    done = s.run('umbra-lab-replay.exe', *steps, host=host)
    return [Step(line) for line in done.stdout.splitlines() if ' hr=0x' in line]


def patiently(s, *steps):
    """As UrBackup and Bareos do: again while another set is being made; that of a requester that died ends when VSS notices."""
    while True:
        got = replay(s, *steps)
        if not any(step.method == 'StartSnapshotSet' and step.hr == IN_PROGRESS for step in got):
            return got


def start_replay(s, *steps, host='A'):
    command, env = s.state.host(host).command(labhost.need_program('umbra-lab-replay.exe'), *steps)
    with open(s.path('replay.out'), 'w') as out:
        return subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.DEVNULL)


def find(steps, method, nth=0):
    return [step for step in steps if step.method == method][nth]


def bad(steps):
    return [str(step) for step in steps if not step.good()]


def known(s):
    return s.ask('list')[1].get('sets')


def nothing_left(s, what):
    gone = labhost.wait_until(lambda: s.shadows() == [] and s.sets() == [], labhost.PATIENCE_S, 0.2)
    s.check(gone and known(s) == [], f'nothing is left {what}', (s.shadows(), s.sets(), known(s)))


def pieces(s):
    """The calls that each set caused, from the coordinator's log: {set: [(kind, name, hresult), …]}."""
    path = os.path.join(s.state.host('A').prefix, 'drive_c', 'ProgramData', 'umbra-lab', 'sessions.log')
    sets = {}
    with open(path, encoding='utf-8') as source:
        for line in source:
            word = line.split()
            sets.setdefault(word[0].lower(), []).append((word[1], word[5], word[4]))
    return sets


def backups(s):
    """Every order of calls makes its copy, is told where it lies, and leaves nothing behind."""
    for name, order in requesters.REQUESTERS.items():
        volumes = ['D:\\'] if name in requesters.ONE_VOLUME else ['D:\\', 'E:\\']
        make, end = order(volumes)
        steps = replay(s, *make, *end)
        s.check(len(steps) == len(make) + len(end) and bad(steps) == [], f'{name}: every call succeeds',
                bad(steps) or len(steps))
        devices = [value for step in steps for key, value in step.all if key == 'device']
        s.check(len(set(devices)) == len(volumes) and all(d.startswith(DEVICE) for d in devices),
                f'{name}: a device for each volume', devices)
        calls = pieces(s)[find(steps, 'StartSnapshotSet').values['set'].lower()]
        asked = [n for kind, n, _ in calls if kind == 'call']
        s.check(asked.count('BeginPrepareSnapshot') == len(volumes) and 'CommitSnapshots' in asked and
                asked.index('BeginPrepareSnapshot') < asked.index('EndPrepareSnapshots') < asked.index('CommitSnapshots'),
                f'{name}: the provider is asked in VSS\'s order', asked)
        nothing_left(s, f'after {name}')


def by_guid(s):
    """A provider that is named; one that is not there; one that does not have the volume."""
    for name in ('restic', 'netbackup'):
        make, end = requesters.REQUESTERS[name](['D:\\'], UMBRA)
        steps = replay(s, *make, *end)
        s.check(bad(steps) == [] and find(steps, 'IsVolumeSupported').values['supported'] == '1',
                f'{name} names the provider', bad(steps))
        s.check(find(steps, 'GetSnapshotProperties').values['provider'].lower() == UMBRA, 'and is told so')
    steps = replay(s, *READY, f'IsVolumeSupported D:\\ {NOBODY}', 'StartSnapshotSet', f'AddToSnapshotSet D:\\ {NOBODY}',
                   f'AddToSnapshotSet C:\\ {UMBRA}', f'AddToSnapshotSet H:\\ {UMBRA}', 'AddToSnapshotSet H:\\',
                   'AddToSnapshotSet C:\\', 'AddToSnapshotSet Q:\\', 'AddToSnapshotSet D:', 'IsVolumeSupported C:\\',
                   'IsVolumeSupported H:\\', 'IsVolumeSupported Q:\\', 'AbortBackup', 'release')
    codes = [step.hr for step in steps[len(READY):]]
    s.check(codes == [NOT_REGISTERED, OK, NOT_REGISTERED, NOT_BY_PROVIDER, NOT_BY_PROVIDER, NOT_SUPPORTED, NOT_SUPPORTED,
                      NOT_FOUND, NOT_FOUND, OK, OK, NOT_FOUND, OK, OK], 'volumes and providers that are not', [hex(c) for c in codes])
    s.check([step.values['supported'] for step in steps if step.method == 'IsVolumeSupported'] == ['0'] * 4,
            'and none is supported')
    nothing_left(s, 'after refusals')


def goes_on_without(s):
    """A volume that cannot be added is left out, as Bareos does without a word: the rest is backed up."""
    steps = replay(s, *READY, 'StartSnapshotSet', 'AddToSnapshotSet C:\\', 'AddToSnapshotSet D:\\', 'AddToSnapshotSet H:\\',
                   f'AddToSnapshotSet {UNIQUE_D}', 'AddToSnapshotSet E:\\', 'PrepareForBackup', 'DoSnapshotSet', 'Query',
                   'DeleteSnapshots set', 'release')
    added = [step.hr for step in steps if step.method == 'AddToSnapshotSet']
    s.check(added == [NOT_SUPPORTED, OK, NOT_SUPPORTED, EXISTS, OK], 'two of five volumes are in the set', [hex(c) for c in added])
    s.check(find(steps, 'DoSnapshotSet').good() and find(steps, 'Query').values['count'] == '2', 'and both are copied',
            find(steps, 'DoSnapshotSet'))
    s.check(find(steps, 'DeleteSnapshots').values['deleted'] == '2', 'and deleted')
    nothing_left(s, 'after a set with gaps')


def shapes(s):
    """Two volumes on a LUN, and a volume over two: a shadow LUN a LUN, a shadow copy a volume."""
    steps = replay(s, *READY, 'StartSnapshotSet', 'AddToSnapshotSet D:\\', 'AddToSnapshotSet F:\\', 'AddToSnapshotSet G:\\',
                   'PrepareForBackup', 'DoSnapshotSet', 'Query', 'GetSnapshotProperties 0', 'GetSnapshotProperties 2',
                   'DeleteSnapshots 0', 'GetSnapshotProperties 0', 'Query', 'DeleteSnapshots set', 'release')
    s.check(find(steps, 'DoSnapshotSet').good(), 'a set of three volumes on two LUNs', find(steps, 'DoSnapshotSet'))
    first = find(steps, 'GetSnapshotProperties').values
    s.check(first['in_set'] == '3' and first['volume'] == UNIQUE_D and first['state'] == '12' and int(first['time']) > 0,
            'what is told of a shadow copy', first)
    s.check(find(steps, 'DeleteSnapshots').values['deleted'] == '1' and find(steps, 'GetSnapshotProperties', 2).hr == NOT_FOUND,
            'one of them goes', find(steps, 'GetSnapshotProperties', 2))
    s.check([step.values['count'] for step in steps if step.method == 'Query'] == ['3', '2'], 'the others stay')
    s.check(find(steps, 'DeleteSnapshots', 1).good(), 'and go with the set', find(steps, 'DeleteSnapshots', 1))
    nothing_left(s, 'after a set of all shapes')


ORDER = (
    ('before InitializeForBackup nothing works', ['create', 'SetContext 0', 'SetBackupState 0 0 1', 'GatherWriterMetadata',
     'IsVolumeSupported D:\\', 'StartSnapshotSet', 'AddToSnapshotSet D:\\', 'DoSnapshotSet', 'Query', 'BackupComplete',
     'AbortBackup', 'AddComponent', 'SaveAsXML', 'release'], [OK] + [BAD_STATE] * 12 + [OK]),
    ('InitializeForBackup and SetContext are for once', INIT + ['InitializeForBackup', 'SetContext 0', 'SetContext 0', 'release'],
     [OK, OK, OK, BAD_STATE, OK, BAD_STATE, OK]),
    ('contexts that there are not', INIT + ['SetContext 0x1', 'SetContext 0x40000000', 'SetContext 0x9', 'release'],
     [OK, OK, OK, BAD_ARGUMENT, BAD_ARGUMENT, OK, OK]),
    ('the context is fixed when the set begins', READY[:3] + ['GatherWriterMetadata', 'StartSnapshotSet', 'SetContext 0',
     'AbortBackup', 'release'], [OK] * 5 + [BAD_STATE, OK, OK]),
    ('client-accessible copies are the system provider\'s', INIT + ['SetContext 0xd', 'SetBackupState 0 0 1',
     'GatherWriterMetadata', 'StartSnapshotSet', 'release'], [OK] * 6 + [UNSUPPORTED_CONTEXT, OK]),
    ('a set without the writers\' metadata', INIT + ['SetBackupState 0 0 1', 'StartSnapshotSet', 'release'],
     [OK] * 4 + [BAD_STATE, OK]),
    ('the metadata are gathered once', INIT + ['GetWriterMetadataCount', 'GatherWriterMetadata', 'GetWriterMetadataCount',
     'GatherWriterMetadata', 'AddComponent', 'GetWriterStatusCount', 'release'],
     [OK] * 3 + [BAD_STATE, OK, OK, BAD_STATE, NOT_FOUND, BAD_STATE, OK]),
    ('PrepareForBackup without SetBackupState', INIT + ['GatherWriterMetadata', 'PrepareForBackup', 'release'],
     [OK] * 4 + [BAD_STATE, OK]),
    ('no kind of backup', INIT + ['SetBackupState 0 0 0', 'SetBackupState 0 0 7', 'release'],
     [OK] * 3 + [BAD_ARGUMENT, BAD_ARGUMENT, OK]),
    ('AddToSnapshotSet and DoSnapshotSet without a set', READY + ['AddToSnapshotSet D:\\', 'DoSnapshotSet', 'BackupComplete',
     'ImportSnapshots', 'BreakSnapshotSet', 'release'], [OK] * 6 + [BAD_STATE] * 4 + [NOT_FOUND, OK]),
    ('an empty set', READY + ['StartSnapshotSet', 'PrepareForBackup', 'DoSnapshotSet', 'AbortBackup', 'release'],
     [OK] * 8 + [BAD_STATE, OK, OK]),
    ('DoSnapshotSet without PrepareForBackup, then with it', READY + ['StartSnapshotSet', 'AddToSnapshotSet D:\\',
     'DoSnapshotSet', 'PrepareForBackup', 'DoSnapshotSet', 'AddToSnapshotSet E:\\', 'StartSnapshotSet', 'SetBackupState 0 0 1',
     'BackupComplete', 'BackupComplete', 'release'],
     [OK] * 8 + [BAD_STATE, OK, OK, BAD_STATE, BAD_STATE, BAD_STATE, OK, BAD_STATE, OK]),
    ('a second set while one is begun', READY + ['StartSnapshotSet', 'StartSnapshotSet', 'AbortBackup', 'StartSnapshotSet',
     'release'], [OK] * 7 + [IN_PROGRESS, OK, BAD_STATE, OK]),
    ('what is not there', INIT + ['GetSnapshotProperties 0', 'DeleteSnapshots set', 'DeleteSnapshots 0', 'Query', 'Query 2',
     'Query 4', 'release'], [OK] * 3 + [NOT_FOUND, NOT_FOUND, NOT_FOUND, 1, BAD_ARGUMENT, OK, OK]),
    ('every interface', INIT + [f'QueryInterface {n}' for n in range(5)] + ['release'], [OK] * 9),
)


def order(s):
    """Calls out of order get VSS's answers, and leave nothing."""
    for what, words, codes in ORDER:
        steps = replay(s, *words)
        got = [step.hr for step in steps]
        s.check(got == codes, what, [str(step) for step, want in zip(steps, codes) if step.hr != want] or got)
    s.check(find(replay(s, *INIT, 'Query 4', 'release'), 'Query').values['provider'].lower() == UMBRA,
            'the provider is in the list of providers')
    nothing_left(s, 'after calls out of order')


def asynchronous(s):
    """IVssAsync: pending, finished, cancelled, left alone."""
    steps = replay(s, *READY, *SET, 'release')
    do = find(steps, 'DoSnapshotSet')
    s.check(do.values['wait'] == '0x00000000' and do.status == FINISHED and int(do.values['again'], 16) == FINISHED,
            'Cancel after the end says that it had ended', do)
    steps = replay(s, *READY, *SET[:3], 'DoSnapshotSet 0', 'Query', 'release')
    do = find(steps, 'DoSnapshotSet')
    s.check((do.values.get('pending') == '1' or do.status == FINISHED) and do.values['wait'] == '0x00000000',
            'Wait whose time is over succeeds, and the operation is pending', do)
    s.check(do.status in (CANCELLED, FINISHED), 'then it ends, cancelled or too late for that', do)
    count = find(steps, 'Query').values['count']
    s.check(count == ('0' if do.status == CANCELLED else '1'), 'and there is a copy only when it was too late', (do.line, count))
    nothing_left(s, 'after a cancelled set')
    steps = replay(s, *READY, *SET[:3], 'DoSnapshotSet leave', 'release')
    s.check(bad(steps) == [], 'an operation that nobody waits for', bad(steps))
    nothing_left(s, 'after it, for its requester is gone')
    steps = patiently(s, *READY, *SET, 'GetSnapshotProperties 0', 'release')
    s.check(bad(steps) == [], 'the next set goes well', bad(steps))
    nothing_left(s, 'after it')


def times_out(s):
    """A requester whose patience ends while the set is being made (restic: 120 s an operation), in each way of giving up: the set is
    undone, whatever the provider had done of it, and the next one is made."""
    bridge = s.state.host('A').bridges[0]
    for ends in (['AbortBackup', 'release'], ['die']):
        for name in ('end', 'gave-up'):
            if os.path.exists(s.path(name)):
                os.unlink(s.path(name))
        lab_steps.hold(bridge, *lab_steps.READS)  # VSS stands still once the array has the set armed
        waiting = start_replay(s, *READY, *SET[:3], 'DoSnapshotSet giveup 200', f"touch {labhost.windows_path(s.path('gave-up'))}",
                               f"await {labhost.windows_path(s.path('end'))}", *ends)
        try:
            s.check(gave_up_when_armed(s, bridge, waiting), 'it gives up while the array has the set armed', s.sets())
            open(s.path('end'), 'w').close()
            labhost.wait_until(lambda: waiting.poll() is not None or ends != ['die'], labhost.PATIENCE_S)
        finally:
            lab_steps.let_go(bridge)
        s.check(waiting.wait(labhost.PATIENCE_S) == (9 if ends == ['die'] else 0), f'and ends by {ends[0]}')
        with open(s.path('replay.out')) as out:
            s.check(' pending=1' in out.read(), 'having been told that it is under way')
        steps = patiently(s, *READY, *SET, 'release')
        s.check(bad(steps) == [], 'the next set goes well', bad(steps))
        nothing_left(s, 'after both')


def gave_up_when_armed(s, bridge, process):
    """Lets VSS read until the array has the set armed; then until the requester has given up."""
    def armed():
        if any(one['state'] == 'armed' for one in s.sets()):
            return True
        if bridge.counters()['held']:
            lab_steps.release(bridge)
        return process.poll() is not None
    labhost.wait_until(armed, labhost.PATIENCE_S, 0.05)
    return process.poll() is None and labhost.wait_until(
        lambda: os.path.exists(s.path('gave-up')), labhost.PATIENCE_S, 0.05)


def two_requesters(s):
    """One makes sets at a time; the other is told so, and has its turn afterwards."""
    first = start_replay(s, *READY, 'StartSnapshotSet', 'AddToSnapshotSet D:\\', f"touch {labhost.windows_path(s.path('begun'))}",
                         f"await {labhost.windows_path(s.path('go'))}", 'PrepareForBackup', 'DoSnapshotSet', 'release')
    s.check(labhost.wait_until(lambda: os.path.exists(s.path('begun')), labhost.PATIENCE_S), 'one has begun a set')
    steps = replay(s, *READY, 'StartSnapshotSet', 'IsVolumeSupported E:\\', 'release')
    s.check(find(steps, 'StartSnapshotSet').hr == IN_PROGRESS and find(steps, 'IsVolumeSupported').values['supported'] == '1',
            'another is told so', find(steps, 'StartSnapshotSet'))
    code, res = s.ask('create', '--lun', '2')
    s.check(code == 1 and res['hresult_name'] == 'VSS_E_SNAPSHOT_SET_IN_PROGRESS' and 'another requester' in res['message'],
            'the lab\'s own requester, too', res['message'])
    open(s.path('go'), 'w').close()
    s.check(first.wait(labhost.PATIENCE_S) == 0, 'the first one goes on')
    with open(s.path('replay.out')) as out:
        s.check('DoSnapshotSet' in out.read(), 'to its end')
    steps = replay(s, *READY, *SET, 'release')
    s.check(find(steps, 'DoSnapshotSet').good(), 'then it is the other\'s turn', bad(steps))
    nothing_left(s, 'after both')


def lifetime(s):
    """Auto-release sets go with their requester, persistent ones stay."""
    steps = replay(s, *READY, *SET, 'BackupComplete', 'Query', 'release')
    s.check(bad(steps) == [] and find(steps, 'Query').values['count'] == '1', 'a set of a backup', bad(steps))
    nothing_left(s, 'when its object is released')
    persistent = [*INIT, 'SetContext 0x9', 'SetBackupState 0 0 1', 'GatherWriterMetadata', *SET]
    for end in ('release', 'die'):
        steps = replay(s, *persistent, end)
        made = find(steps, 'StartSnapshotSet').values['set']
        s.check([one['set'].lower() for one in known(s)] == [made.lower()], f'a persistent set stays after {end}', known(s))
        steps = replay(s, *INIT, 'Query', 'release')
        s.check(find(steps, 'Query').values['count'] == '0', 'it is not of the context of backups')
        steps = replay(s, *INIT, f'SetContext {requesters.CTX_ALL}', 'Query', f'DeleteSnapshots {made}', 'release')
        s.check(find(steps, 'Query').values['count'] == '1' and find(steps, 'DeleteSnapshots').values['deleted'] == '1',
                'another requester sees and deletes it', bad(steps))
        nothing_left(s, f'after a persistent set and {end}')


def deaths(s):
    """Each requester dies after each of its calls: its set goes, the next one's is made."""
    for name, order_of in requesters.REQUESTERS.items():
        make, _ = order_of(['D:\\'])
        persistent = name in ('urbackup', 'netbackup', 'vshadow')
        first = next(n for n, step in enumerate(make) if step.startswith('StartSnapshotSet'))
        last = next(n for n, step in enumerate(make) if step.startswith('DoSnapshotSet'))
        for at in range(first, last + (0 if persistent else 1)):
            steps = patiently(s, *make[:at + 1], 'die')
            s.check(len(steps) == at + 1 and bad(steps) == [], f'{name} dies after {make[at]}', bad(steps))
            s.check(labhost.wait_until(lambda: known(s) == [], labhost.PATIENCE_S, 0.2), 'and no shadow copy is known', known(s))
        steps = patiently(s, *make[:last], 'DoSnapshotSet leave', 'die')
        s.check(len(steps) == last + 1, f'{name} dies in the middle of DoSnapshotSet', bad(steps))
        if persistent:
            patiently(s, *READY, 'StartSnapshotSet', 'release')  # it has ended
            for one in known(s):
                s.ask('delete', one['set'])
        nothing_left(s, 'of it')
    make, end = requesters.restic(['D:\\'])
    s.check(bad(patiently(s, *make, *end)) == [], 'after all these deaths a backup goes well')
    nothing_left(s, 'after it')


def importer_dies(s):
    """A requester that dies while the copy that it imports is on its way: the copy goes with it, as one that it had imported does."""
    document = labhost.windows_path(s.path('dies.xml'))
    steps = replay(s, *INIT, 'SetContext 0x30', 'StartSnapshotSet', 'AddToSnapshotSet D:\\', 'DoSnapshotSet',
                   f'SaveAsXML {document}', 'release')
    s.check(bad(steps) == [] and len(s.shadows()) == 1, 'a transportable set that is to go with its requester', bad(steps))
    bridge, now = s.state.host('B').bridge, s.path('die.now')
    lab_steps.hold(bridge, lab_steps.POST)
    importer = start_replay(s, 'apartment mta', 'create', f'InitializeForBackup {document}', 'SetContext 0x30', 'ImportSnapshots leave',
                            f'await {labhost.windows_path(now)}', 'die', host='B')
    s.check(labhost.wait_until(lambda: bridge.counters()['held'], labhost.PATIENCE_S, 0.05), 'its import stands still')
    with open(now, 'w'):
        pass
    importer.wait(labhost.PATIENCE_S)
    time.sleep(0.5)  # VSS has noticed its end; where it has not, it notices afterwards
    lab_steps.let_go(bridge)
    nothing_left(s, 'when its importer died in the middle')
    s.check(s.ask('list', host='B')[1].get('sets') == [], 'nor known where it was to be')


def transportable(s):
    """A document from one host to the other, in a context of its own; what was imported for a backup goes with its importer."""
    document = labhost.windows_path(s.path('set.xml'))
    steps = replay(s, *INIT, 'SetContext 0x39', 'StartSnapshotSet', 'AddToSnapshotSet D:\\', 'DoSnapshotSet',
                   'GetSnapshotProperties 0', f'SaveAsXML {document}', 'release')
    s.check(find(steps, 'DoSnapshotSet').good() and find(steps, 'GetSnapshotProperties').hr == NOT_FOUND,
            'a transportable set, of which there is nothing to see here', [str(step) for step in steps])
    steps = replay(s, 'apartment sta', 'create', f'InitializeForBackup {document}', 'SetContext 0x39', 'ImportSnapshots',
                   'Query', 'ImportSnapshots', 'release', host='B')
    found = find(steps, 'Query')
    s.check(find(steps, 'ImportSnapshots').good() and found.values['count'] == '1', 'imported on another host',
            [str(step) for step in steps])
    s.check(found.values['volume'] == UNIQUE_D and found.values['device'].startswith(DEVICE) and
            int(found.values['attributes'], 16) & 0x80000, 'with the name of its volume', found)
    s.check(find(steps, 'ImportSnapshots', 1).status == EXISTS, 'once only', find(steps, 'ImportSnapshots', 1))
    steps = replay(s, *INIT, f'SetContext {requesters.CTX_ALL}', 'Query', 'release', host='B')
    made = find(steps, 'Query').values['set']
    steps = replay(s, *INIT, f'DeleteSnapshots {made}', 'release', host='B')
    s.check(find(steps, 'DeleteSnapshots').good(), 'deleted there', find(steps, 'DeleteSnapshots'))
    nothing_left(s, 'after it')
    importer_dies(s)
    with open(s.path('bad.xml'), 'wb') as out:
        out.write('<BackupComponents/>'.encode('utf-16-le'))
    steps = replay(s, 'apartment sta', 'create', f"InitializeForBackup {labhost.windows_path(s.path('bad.xml'))}", 'release')
    s.check(find(steps, 'InitializeForBackup').hr == BAD_DOCUMENT, 'no document of VSS', find(steps, 'InitializeForBackup'))


def install_another(s):
    if not any(OTHER in one.line.lower() for one in replay(s, *INIT, 'Query 4', 'release')):
        s.install_selftest()


def beside_another(s):
    """Another hardware provider that refuses everything, registered beside: whoever names none still reaches Umbra's."""
    install_another(s)
    s.tell(Supported=0)
    for name in ('restic', 'bareos', 'vshadow'):
        make, end = requesters.REQUESTERS[name](['D:\\'])
        steps = replay(s, *make, *end)
        s.check(bad(steps) == [], f'{name} beside another provider', bad(steps))
    steps = replay(s, *INIT, 'Query 4', 'release')
    s.check(find(steps, 'Query').values['count'] == '2', 'both are in the list', find(steps, 'Query'))
    nothing_left(s, 'beside another provider')


STEPS = ('EndPrepareSnapshots', 'PreCommitSnapshots', 'CommitSnapshots', 'PostCommitSnapshots', 'GetTargetLuns',
         'PreFinalCommitSnapshots', 'PostFinalCommitSnapshots')


def clear_away(s):
    """By the administrator's hand."""
    for one in s.sets():
        s.array.ctl('set', 'abort', one['id'], check=False)
    for one in s.shadows():
        s.array.ctl('shadow', 'delete', one['id'], check=False)


def mixed(s):
    """D: is Umbra's, E: another provider's, in one set: both are called at each step; whatever the other one fails, and whoever comes
    first, nothing is left of Umbra's part, but where all of Umbra's calls were over."""
    install_another(s)
    s.tell(Supported=1)
    start = [*INIT, 'SetContext 0x39', 'StartSnapshotSet']
    ours, theirs = f'AddToSnapshotSet D:\\ {UMBRA}', f'AddToSnapshotSet E:\\ {OTHER}'
    for adds in ([ours, theirs], [theirs, ours]):
        steps = replay(s, *start, *adds, 'DoSnapshotSet', 'release')
        s.check(bad(steps) == [], 'a set of two providers', bad(steps))
        calls = [name for kind, name, _ in pieces(s)[find(steps, 'StartSnapshotSet').values['set'].lower()] if kind == 'call']
        s.check(all(calls.count(name) == 2 for name in STEPS), 'each is called at each step', calls)
        s.check([one['state'] for one in s.sets()] == ['kept'] and len(s.shadows()) == 1, 'the array has its part', s.sets())
        clear_away(s)
        nothing_left(s, 'when an administrator has deleted it')
        for name in STEPS if adds[0] == theirs else ('CommitSnapshots', 'PostFinalCommitSnapshots'):
            s.tell(Supported=1, **{name: 0x80042306})
            steps = replay(s, *start, *adds, 'DoSnapshotSet', 'release')
            calls = [one for kind, one, _ in pieces(s)[find(steps, 'StartSnapshotSet').values['set'].lower()] if kind == 'call']
            s.check(find(steps, 'DoSnapshotSet').status == 0x80042306 and calls.count('AbortSnapshots') == 2,
                    f'the other one fails {name}: both are aborted', (find(steps, 'DoSnapshotSet').line, calls))
            if name == 'PostFinalCommitSnapshots' and adds[0] == ours:
                s.check([one['state'] for one in s.sets()] == ['kept'],
                        'behind the last call of Umbra\'s own it stays: nobody could tell the set from one that was handed over', s.sets())
                clear_away(s)
            nothing_left(s, f'after {name}')
        s.tell(Supported=1)
    steps = replay(s, *start, ours, 'AddToSnapshotSet F:\\', f'AddToSnapshotSet G:\\ {OTHER}', 'AbortBackup', 'release')
    s.check([step.hr for step in steps if step.method == 'AddToSnapshotSet'] == [OK, OK, NOT_BY_PROVIDER],
            'volumes on one LUN are one provider\'s', [str(step) for step in steps])
    s.tell(Supported=0)


def called(answer):
    return [call['method'] for call in answer['calls']]


def two_providers(s, context, *adds):
    """A set of both, the other one's copy being LUN 3: its id, its shadow copies, and its document for the lab's requester."""
    saved, document = s.path('mixed.xml'), s.path('mixed.json')
    steps = replay(s, *INIT, f'SetContext {context:#x}', 'StartSnapshotSet', *adds, 'DoSnapshotSet',
                   f'SaveAsXML {labhost.windows_path(saved)}', 'release')
    s.check(bad(steps) == [], f'a set of two providers, context {context:#x}', bad(steps))
    with open(saved, encoding='utf-16-le') as source, open(document, 'w') as out:
        out.write(source.read())
    return (find(steps, 'StartSnapshotSet').values['set'].lower(),
            [step.values['snapshot'] for step in steps if step.method == 'AddToSnapshotSet'], document)


def mixed_lives(s):
    """What was made by two providers is recovered, deleted, broken and resynced: each is called for its own."""
    install_another(s)
    their_copy = [one['serial'] for one in s.ask('scan')[1]['luns'] if one['lun'] == 3][0]
    ours, theirs = f'AddToSnapshotSet D:\\ {UMBRA}', f'AddToSnapshotSet E:\\ {OTHER}'
    s.tell(Supported=1, ShadowSerial=their_copy)
    made, _, _ = two_providers(s, PERSISTENT | TXF_RECOVERY, ours, theirs)
    told = [name for kind, name, hr in pieces(s)[made] if kind == 'call' and hr == '0x00000000']
    s.check(told.count('OnLunStateChange') == 4, 'both hear of both ends of the recovery', told)
    code, res = s.ask('delete', made)
    s.check(code == 0 and called(res).count('OnLunEmpty') == 2, 'deleted by both', (res['message'], called(res)))
    nothing_left(s, 'of it')

    made, _, _ = two_providers(s, PERSISTENT, theirs, ours)
    s.tell(Supported=1, ShadowSerial=their_copy, OnLunStateChange=VETO)
    code, res = s.ask('break', made, '--read-write')
    s.check(code == 1 and res['hresult_name'] == 'VSS_E_PROVIDER_VETO' and len(s.shadows()) == 1,
            'the other one refuses the break: Umbra was not told', (res['hresult_name'], called(res)))
    s.tell(Supported=1, ShadowSerial=their_copy)
    ordinary = {one['name'] for one in s.array.ctl('lun', 'list')['luns']}
    code, res = s.ask('break', made, '--read-write')
    s.check(code == 0 and called(res).count('OnLunStateChange') == 2, 'broken', (res['message'], called(res)))
    left = [one['name'] for one in s.array.ctl('lun', 'list')['luns'] if one['name'] not in ordinary]
    s.check(len(left) == 1 and s.shadows() == [] and known(s) == [], 'Umbra\'s copy is a LUN like any other', (left, s.shadows()))
    for name in left:
        s.array.ctl('unmap', name, 'A', check=False)
        s.array.ctl('lun', 'delete', name, check=False)

    made, copies, document = two_providers(s, PERSISTENT | TRANSPORTABLE, ours, theirs)
    wanted = [word for copy in copies for word in ('--snapshot', copy)]
    code, res = s.ask('resync', document, *wanted)
    s.check(code == 0 and [call['arguments'] for call in res['calls'] if call['method'] == 'ResyncLuns'] == ['1 LUNs'] * 2 and
            res['percent'] == 100, 'each resyncs its own', (res['message'], called(res)))
    s.tell(Supported=1, ShadowSerial=their_copy, ResyncLuns=VETO)
    code, res = s.ask('resync', document, *wanted)
    s.check(code == 1 and res['hresult_name'] == 'VSS_E_PROVIDER_VETO' and called(res).count('ResyncLuns') == 2,
            'the second one refuses', (res['message'], called(res)))
    s.check([one['lun'] for one in res['luns'] if one['role'] == 'target' and one['table'] == 'gpt'] == [1],
            'the first one\'s target is in order all the same', res['luns'])
    s.tell(Supported=0)
    clear_away(s)
    nothing_left(s, 'after sets of two providers')


PARTS = (backups, by_guid, goes_on_without, shapes, order, asynchronous, times_out, two_requesters, lifetime, transportable, beside_another, mixed, mixed_lives)


def add_foreign(s):
    """LUN 99 of tgt on a second adapter of host A, which is started afresh."""
    tgt = Tgt(s.directory)
    tgt.add_lun(99, 8 << 20)
    s.state.host('A').down()
    s.state.configure('A', dict(tgt.settings(), initiator='iqn.1991-05.com.microsoft:lab-a'), adapter=1)
    s.state.host('A').up()
    return tgt


def main(names):
    with Stack(luns={'data': '64M', 'log': '64M', 'theirs': '64M'}, hosts='AB', hold=True, config={'copysets': {'lease': '10s'}},
               host_options={'B': ('--control-lu', '--import', 'any')}, volumes={'A': 'D=1 E=2 F=1 G=1,2 H=99'}) as s:
        s.make_gpt(1, 64 << 20)
        tgt = add_foreign(s)
        try:
            s.install_provider('A')
            s.install_provider('B')
            for part in PARTS + (deaths,):
                if part.__name__ in names or (not names and part in PARTS):
                    print(f'-- {part.__name__}')
                    part(s)
        finally:
            tgt.close()
        return s.done()


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
