# SPDX-License-Identifier: Apache-2.0
"""Scenarios: stories of shadow copies, played against a real provider in the lab. lab/README.md has the language.

A file is read whole before anything happens: an unknown sentence is refused with its line. Each sentence is one row of
STEPS: a pattern and what it does. Sentences that make a request take "fails with CODE [or CODE…]" at their end, or
"ends with CODE or S_OK" where both are right.
"""
import os
import re
import signal
import subprocess
import time
import zlib

import labhost
from ground import BLOCK, Failure, SkipScenario

TEXT_LBA, TEXT_BLOCKS = 8192, 16  # where `write` puts its text: behind partition tables and the ordered writers' records
RECOVERY_LBA_GPT, RECOVERY_FROM_END = 1024, 64  # the coordinator's sequence_internal.h
CONTEXTS = {'differential': 'differential', 'plex': 'plex', 'persistent': 'persistent,no-auto-release',
            'without writers': 'no-writers', 'with auto-recovery': 'recovery', 'without auto-recovery': 'no-auto-recovery',
            'client-accessible': 'client-accessible'}
CREATE_WORDS = {'not imported': ['--no-import'], 'targets after the final commit': ['--targets-after', 'final'],
                'targets after the commit': ['--targets-after', 'post-commit'], 'held for 9 s before': ['--stagger-ms', '9000'],
                'held for 5 s after': ['--hold-ms', '5050'],
                'asked as no VSS would': ['--any-context']}
BREAK_WORDS = {'read-write': ['--read-write'], 'masked': ['--mask'], 'all identities reverted': ['--revert', 'all'],
               'no identity reverted': ['--revert', 'none']}
UNANNOUNCED = ['-bw']  # BreakSnapshotSet, then read-write by the Virtual Disk Service: no provider hears of either
BREAK_WORDS['unannounced'] = UNANNOUNCED
SIZE = {'M': 1, 'G': 1024}
SEED = os.environ.get('UMBRA_LAB_SEED', '1')  # of what VSS is free to do; empty: nothing is varied


class BadScenario(labhost.LabError):
    """The file cannot be understood."""


class Copy:
    """A shadow copy set as the scenario knows it."""

    def __init__(self, answer, host, document, numbers):
        self.id, self.document, self.host = answer.get('set'), document, host
        self.originals = {lun['serial']: numbers[lun['lun']] for lun in answer['luns'] if lun['role'] == 'original'}
        self.ids = {self.originals[lun['pair']]: lun['serial'] for lun in answer['luns']
                    if lun['role'] == 'shadow' and lun['pair'] in self.originals}  # of the shadow LUNs on the array
        self.snapshots = {}  # first LUN of the volume: its shadow copy
        for one in answer.get('snapshots', []):
            self.snapshots.setdefault(numbers[one['original_lun']], one['snapshot'])
        self.sizes = {numbers[lun['lun']]: lun['size_bytes'] for lun in answer['luns'] if lun['role'] == 'original'}
        self.luns = {}  # host: {LUN of the scenario: number of its shadow LUN there}
        self.see(host, answer)

    def see(self, host, answer):
        self.luns[host] = {self.originals[lun['pair']]: lun['lun'] for lun in answer['luns']
                           if lun['role'] == 'shadow' and lun['lun'] >= 0 and lun['pair'] in self.originals}


class Run:
    """One scenario on one ground."""

    def __init__(self, ground, seed='', name=''):
        self.ground, self.sets, self.writers = ground, {}, []
        self.seed, self.name, self.requests = seed, name, 0
        self.expected = None  # codes that the next request may fail with
        self.answer = {'calls': []}
        self.documents = 0
        self.saved = {}  # identities by name
        self.plain = {}  # ids of the sets without VSS

    # ---- requests

    def judge(self, words, code, answer):
        self.answer, expected, self.expected = answer, self.expected, None
        result = answer.get('hresult_name') or answer.get('hresult')
        if expected is None and code != 0:
            raise Failure(f'{" ".join(map(str, words))}: {result}: {answer.get("message")}')
        if expected is not None and code == 0 and 'S_OK' in expected:
            return answer
        if expected is not None and (code == 0 or (result not in expected and 'anything' not in expected)):
            raise Failure(f'{" ".join(map(str, words))}: {result}: {answer.get("message")}; '
                          f'{" or ".join(expected)} was expected')
        return answer

    def varied(self):
        """What VSS is free to do differs from request to request, and is the same for the same seed."""
        self.requests += 1
        number = zlib.crc32(f'{self.seed}/{self.name}/{self.requests}'.encode()) >> 1
        return ('--seed', str(number or 1)) if self.seed else ()

    def ask(self, host, *words):
        code, answer = self.ground.vss(host, *words, *self.varied())
        return self.judge(words, code, answer)

    def copy(self, name):
        if name not in self.sets:
            raise Failure(f'there is no set {name}')
        return self.sets[name]

    def shadow_number(self, name, n, host):
        copy = self.copy(name)
        host = host or copy.host
        number = copy.luns.get(host, {}).get(n)
        if number is None:
            raise Failure(f'host {host} does not see the copy of LUN {n} in {name}')
        return host, number

    def numbers(self):
        return {self.ground.number(n): n for n in range(1, len(self.ground.current) + 1)}

    # ---- content

    @staticmethod
    def text(words):
        return b''.join((f'{words}/{i};'.encode() * BLOCK)[:BLOCK] for i in range(TEXT_BLOCKS))

    def holds(self, host, number, words, what):
        found = self.ground.read(host, number, TEXT_LBA, TEXT_BLOCKS)
        if found != self.text(words):
            raise Failure(f'{what} holds {found[:40]!r} …, not "{words}"')

    def table(self, host, number):
        for lun in self.ground.vss(host, 'scan')[1]['luns']:
            if lun['lun'] == number:
                return lun['table']
        raise Failure(f'host {host} does not see LUN {number}')

    def identity(self, host, number):
        """Disk GUID of a GPT, or the MBR's signature."""
        header = self.ground.read(host, number, 0, 2)
        return header[512 + 56:512 + 72] if header[512:520] == b'EFI PART' else header[440:444]

    def last_calls(self):
        return [call['method'] for call in self.answer.get('calls', []) if call['method'][0] != '(']

    def close(self):
        for writer in self.writers:
            if writer.poll() is None:
                writer.kill()
            writer.wait()
            writer.stderr.close()


def options(text, table, what):
    """', differential, plex' as the words that the table has for each."""
    found = []
    for item in filter(None, (part.strip() for part in (text or '').split(','))):
        if item not in table:
            raise BadScenario(f'{item!r} is not known of {what}; known: {", ".join(table)}')
        found.append(table[item])
    return found


def volumes(run, text):
    """'LUN 1 and LUNs 2+3' as --lun options."""
    words = []
    if text == 'every LUN':
        return [w for n in range(1, len(run.ground.current) + 1) for w in ('--lun', str(run.ground.number(n)))]
    for volume in re.split(r' and |, (?=LUN)', text):
        words += ['--lun', ','.join(str(run.ground.number(int(n))) for n in re.findall(r'\d+', volume))]
    return words


# --- what a set cost ----------------------------------------------------------------------------------------------

CLOCK_MS = 1.0  # what two readings of one clock in two programs may differ by, roundings included
NO_WRITERS = 0x10  # of a context


class Cost:
    """What the provider told the array of a set, beside what the coordinator saw of the same calls. Each of the provider's
    times lies within a call that the coordinator has measured from outside."""

    def __init__(self, run, copy, answer):
        self.run, self.copy, self.answer = run, copy, answer
        self.calls = [(c['method'], c['start_ms'], c['start_ms'] + c['ms']) for c in answer.get('calls', [])]

    def view(self):
        return self.run.ground.array.ctl('set', 'show', self.copy.id.strip('{}').lower().replace('-', ''))

    def call(self, method, which=0):
        """When it began and ended."""
        return [(begin, end) for name, begin, end in self.calls if name == method][which]

    def within(self, what, told_us, least_ms, most_ms):
        if told_us is None or not least_ms - CLOCK_MS <= told_us / 1000 <= most_ms + CLOCK_MS:
            raise Failure(f'{self.copy.id}: the array was told {what} {told_us} us, the coordinator saw '
                          f'{least_ms:.3f} to {most_ms:.3f} ms')

    def between(self, what, told_us, first, last):
        self.within(what, told_us, last[0] - first[1], last[1] - first[0])

    def check_create(self):
        view, ready, commit = self.view(), self.call('PreCommitSnapshots'), self.call('CommitSnapshots')
        after, final = self.call('PostCommitSnapshots'), self.call('PostFinalCommitSnapshots')
        writers = 'left out' if int(self.answer['context'], 16) & NO_WRITERS else 'took part'
        if view['writers'] != writers:
            raise Failure(f'{self.copy.id}: writers {view["writers"]!r}, not {writers!r}')
        recovered = any(c['method'] == 'OnLunStateChange' and c['arguments'].endswith('flags 0x400')
                        for c in self.answer['calls'])
        if view['auto_recovery'] != ('done' if recovered else 'none'):
            raise Failure(f'{self.copy.id}: auto-recovery {view["auto_recovery"]!r}, recovered: {recovered}')
        self.between('frozen_us', view['frozen_us'], ready, final)
        self.between('flush_us', view['flush_us'], ready, commit)
        self.within('commit_us', view['commit_us'], view['durable_ns'] / 1e6, commit[1] - commit[0])
        self.between('release_us', view['release_us'], commit, after)
        self.between('held_us', view['held_us'], ready, after)
        self.within('held_us', view['held_us'], self.answer['hold_ms'], view['frozen_us'] / 1000)

    def check_import(self):
        """It is told by a thread: an earlier import's figure may stand there still."""
        disks = {lun['device'] for lun in self.answer['luns'] if lun['role'] == 'shadow' and lun['device']}
        begin = self.call('LocateLuns')
        asked = [(c['start_ms'], c['start_ms'] + c['ms']) for c in self.answer['calls']
                 if c['method'] == 'FillInLunInfo' and c['start_ms'] >= begin[0] and c['arguments'] in disks]
        least, most = asked[-1][0] - begin[1], asked[-1][1] - begin[0]

        def told():
            us = self.view()['import_us']
            return us is not None and least - CLOCK_MS <= us / 1000 <= most + CLOCK_MS
        if not labhost.wait_until(told, labhost.PATIENCE_S, 0.1):
            self.within('import_us', self.view()['import_us'], least, most)


def check_costs(run, copy, answer):
    """In every story, of every set that was made or imported."""
    if run.ground.array is None:
        return
    cost = Cost(run, copy, answer)
    methods = [name for name, _, _ in cost.calls]
    if 'PostFinalCommitSnapshots' in methods:
        cost.check_create()
    if 'LocateLuns' in methods and any(lun['role'] == 'shadow' and lun['device'] for lun in answer['luns']):
        cost.check_import()


STEPS = []  # (compiled pattern, function)


def step(pattern):
    """Registers a sentence. SET, LUN, ON, TEXT and VOLUMES stand for what the language calls so (L[U]N: the bare word)."""
    for name, regex in (('SET', r'(\w+)'), ('LUN', r'LUN (\d+)'), (' ON', r'(?: on ([AB]))?'), ('TEXT', r'"([^"]*)"'),
                        ('VOLUMES', r'(every LUN|LUNs? \d+(?:\+\d+)*(?:(?: and |, )LUNs? \d+(?:\+\d+)*)*)')):
        pattern = re.sub(rf'{name}\b' if name[0] == ' ' else rf'\b{name}\b', lambda _: regex, pattern)

    def add(function):
        STEPS.append((re.compile(pattern + r'\Z'), function))
        return function
    return add


# --- requests ---------------------------------------------------------------------------------------------------

def create_words(run, luns, wishes):
    wishes = [w.strip() for w in (wishes or '').split(',') if w.strip()]
    contexts = [CONTEXTS[w] for w in wishes if w in CONTEXTS]
    words = ['create'] + volumes(run, luns) + (['--context', ','.join(contexts)] if contexts else [])
    run.documents += 1
    document = os.path.join(run.ground.directory, f'document-{run.documents}.json')
    words += ['--transportable' if 'transportable' in wishes else '--document', document]
    for wish in wishes:
        words += CREATE_WORDS.get(wish, [])
    return words, document


def check_create(wishes):
    options(wishes, {**CONTEXTS, **CREATE_WORDS, 'transportable': 1}, 'a set')


@step(r'create a set SET of VOLUMES((?:, [A-Za-z0-9 -]+)*)')
def create(run, name, luns, wishes):
    failing = run.expected is not None
    words, document = create_words(run, luns, wishes)
    answer = run.ask('A', *words)
    if not failing:
        run.sets[name] = Copy(answer, 'A', document, run.numbers())
        check_costs(run, run.sets[name], answer)


@step(r'create a set SET of the copy of LUN in SET on ([AB])')
def create_of_copy(run, name, n, source, host):
    """On the host that sees the copy, which is a disk like any other there."""
    failing = run.expected is not None
    _, number = run.shadow_number(source, int(n), host)
    answer = run.ask(host, 'create', '--lun', str(number))
    if not failing:
        run.sets[name] = Copy(answer, host, None, {number: int(n)})
        check_costs(run, run.sets[name], answer)


@step(r'(abandon|abort) a set of VOLUMES((?:, [A-Za-z- ]+)*) after (\w+)')
def give_up(run, how, luns, wishes, method):
    words, _ = create_words(run, luns, wishes)
    run.expected = ['VSS_S_ASYNC_CANCELLED']
    run.ask('A', *words, f'--{how}-after', method)


@step(r'import SET on ([AB])')
def import_set(run, name, host):
    copy, failing = run.copy(name), run.expected is not None
    answer = run.ask(host, 'import', copy.document)
    if not failing:
        copy.host = host
        copy.see(host, answer)
        check_costs(run, copy, answer)


def plain(run, host, *words, refused=False):
    """umbra-vss set …: its answer; refused: it must fail, and say why."""
    done = run.ground.run(host, 'umbra-vss.exe', 'set', *words, '--json')
    if refused != (done.returncode == 1) or (done.returncode and not done.stderr.strip()):
        raise Failure(f'set {" ".join(words)}: exit code {done.returncode}: {done.stdout[-400:]}{done.stderr[-400:]}')
    return None if refused else labhost.json_in(done.stdout)


@step(r'take a set SET of VOLUMES without VSS')
def take_plain(run, name, luns):
    """The first LUN is named by its drive, the others by their ids."""
    disks = {lun['lun']: lun for lun in run.ground.vss('A', 'scan')[1]['luns']}
    numbers = range(1, len(run.ground.current) + 1) if luns == 'every LUN' else map(int, re.findall(r'\d+', luns))
    wanted = [disks[run.ground.number(n)] for n in numbers]
    names = [wanted[0]['device'].rsplit('\\', 1)[1]] + [disk['serial'] for disk in wanted[1:]]
    answer = plain(run, 'A', 'create', '--luns', *names, '--label', name)
    if [one['original'] for one in answer['luns']] != [disk['serial'] for disk in wanted] or answer['label'] != name:
        raise Failure(f'{answer}')
    run.plain[name] = answer['set']


@step(r'(restore|delete) SET without VSS( is refused)?')
def end_plain(run, verb, name, refused):
    words = ['--overwrite'] if verb == 'restore' else []
    plain(run, 'A', verb, run.plain.get(name) or run.copy(name).id, *words, refused=bool(refused))


@step(r'A lists (.*) without VSS')
def lists_plain(run, names):
    found = sorted(one['label'] or '?' for one in plain(run, 'A', 'list')['sets'])
    if found != sorted([] if names == 'no set' else names.split(' and ')):
        raise Failure(f'{found}')


@step(r'delete SET ON')
def delete(run, name, host):
    run.ask(host or run.copy(name).host, 'delete', run.copy(name).id)


@step(r'delete the copy of LUN in SET ON')
def delete_one(run, n, name, host):
    run.ask(host or run.copy(name).host, 'delete-one', run.copy(name).snapshots[int(n)])


@step(r'delete the oldest copy of LUN ON')
def delete_oldest(run, n, host):
    run.ask(host or 'A', 'delete-oldest', run.ground.number(int(n)))


@step(r'delete every set ON')
def delete_every(run, host):
    done = run.ground.run(host or 'A', 'umbra-lab-requester.exe', 'delete-all', '--json')
    if done.returncode != 0:
        raise Failure(done.stdout[-800:] + done.stderr[-300:])


@step(r'break SET ON((?:, [a-z- ]+)*)')
def break_set(run, name, host, flags):
    words = sum(options(flags, BREAK_WORDS, 'a break'), [])
    copy = run.copy(name)
    if words == UNANNOUNCED:
        run.ask(host or copy.host, f'-bw={copy.id}')
    else:
        run.ask(host or copy.host, 'break', copy.id, *words)


@step(r'mask SET ON')
def mask(run, name, host):
    run.ask(host or run.copy(name).host, 'mask', run.copy(name).id)


@step(r'resync SET(?: LUN)?(?: to LUN)?((?:, [a-z0-9 -]+)*)')
def resync(run, name, source, target, wishes):
    copy = run.copy(name)
    words = ['resync', copy.document]
    for first, snapshot in copy.snapshots.items():
        if source is None or int(source) == first:
            words += ['--snapshot', snapshot + (f',{run.ground.number(int(target))}' if target else '')]
    for wish in filter(None, (w.strip() for w in (wishes or '').split(','))):
        cancelled = re.fullmatch(r'cancelled after (\d+) ms', wish)
        words += ['--cancel-after-ms', cancelled[1]] if cancelled else RESYNC_WORDS[wish]
    run.ask('A', *words)


RESYNC_WORDS = {'with its identity': ['--revert-identity'], 'whatever else is lost': ['--no-volume-check'],
                'not waited for': ['--release-early']}


def check_resync(wishes):
    wishes = re.sub(r'cancelled after \d+ ms', 'with its identity', wishes or '')
    options(wishes, RESYNC_WORDS, 'a resync')


@step(r'expose the copy of LUN in SET as (\w:)')
def expose(run, n, name, letter):
    run.ask(run.copy(name).host, 'expose', run.copy(name).snapshots[int(n)], letter)


@step(r'unload the provider( by force)? ON')
def unload(run, force, host):
    run.ask(host or 'A', 'unload', *(['--force'] if force else []))


# --- what must be so --------------------------------------------------------------------------------------------

@step(r'write TEXT to LUN')
def write(run, words, n):
    run.ground.write('A', run.ground.number(int(n)), TEXT_LBA, run.text(words))


@step(r'write TEXT to the copy of LUN in SET ON')
def write_copy(run, words, n, name, host):
    host, number = run.shadow_number(name, int(n), host)
    run.ground.write(host, number, TEXT_LBA, run.text(words))


@step(r'LUN holds TEXT')
def lun_holds(run, n, words):
    run.holds('A', run.ground.number(int(n)), words, f'LUN {n}')


@step(r'the copy of LUN in SET ON holds TEXT')
def copy_holds(run, n, name, host, words):
    host, number = run.shadow_number(name, int(n), host)
    run.holds(host, number, words, f'the copy of LUN {n} in {name}')


@step(r'write its own text to every L[U]N')
def write_every(run):
    for n in range(1, len(run.ground.current) + 1):
        run.ground.write('A', run.ground.number(n), TEXT_LBA, run.text(f'LUN {n}'))


@step(r'the copy of every L[U]N in SET ON holds its own text')
def every_copy_holds(run, name, host):
    for n in range(1, len(run.ground.current) + 1):
        at, number = run.shadow_number(name, n, host)
        run.holds(at, number, f'LUN {n}', f'the copy of LUN {n} in {name}')


@step(r'partition LUN')
def partition(run, n):
    """A GPT with one partition over the whole LUN, as sgdisk makes it."""
    path = os.path.join(run.ground.directory, 'gpt.img')
    number = run.ground.number(int(n))
    blocks = next(lun['size_bytes'] for lun in run.ground.vss('A', 'scan')[1]['luns'] if lun['lun'] == number) // BLOCK
    with open(path, 'wb') as image:
        image.truncate(blocks * BLOCK)
    subprocess.run(['sgdisk', '--clear', '--new=1:2048:0', '--typecode=1:0700', path], check=True, capture_output=True)
    with open(path, 'rb') as image:
        for lba in (0, blocks - 64):
            image.seek(lba * BLOCK)
            run.ground.write('A', number, lba, image.read(64 * BLOCK))
    os.unlink(path)


@step(r'LUN has (the shadow copy flags|no flags)')
def lun_flags(run, n, what):
    expect_table(run, 'A', run.ground.number(int(n)), what, f'LUN {n}')


@step(r'the copy of LUN in SET ON has (the shadow copy flags|no flags)')
def copy_flags(run, n, name, host, what):
    host, number = run.shadow_number(name, int(n), host)
    expect_table(run, host, number, what, f'the copy of LUN {n} in {name}')


def expect_table(run, host, number, what, whose):
    table = run.table(host, number)
    if table != ('gpt+flags' if what.startswith('the') else 'gpt'):
        raise Failure(f'the partition table of {whose} is {table!r}')


@step(r'remember the identity of LUN')
def remember(run, n):
    run.saved[int(n)] = run.identity('A', run.ground.number(int(n)))


@step(r'LUN has (its|another) identity')
def lun_identity(run, n, what):
    same = run.identity('A', run.ground.number(int(n))) == run.saved[int(n)]
    if same != (what == 'its'):
        raise Failure(f'the identity of LUN {n} is {"the same" if same else "another"}')


@step(r'the copy of LUN in SET ON has (its|another) identity')
def copy_identity(run, n, name, host, what):
    host, number = run.shadow_number(name, int(n), host)
    same = run.identity(host, number) == run.saved[int(n)]
    if same != (what == 'its'):
        raise Failure(f'the copy of LUN {n} has {"the" if same else "not the"} identity of its original')


@step(r'the copy of LUN in SET ON is recovered')
def recovered(run, n, name, host):
    host, number = run.shadow_number(name, int(n), host)
    gpt = run.table(host, number).startswith('gpt')
    lba = RECOVERY_LBA_GPT if gpt else run.copy(name).sizes[int(n)] // BLOCK - RECOVERY_FROM_END
    found = run.ground.read(host, number, lba, 1)
    if not found.startswith(b'umbra-lab recovered the set ' + run.copy(name).id[1:9].lower().encode()):
        raise Failure(f'block {lba} holds {found[:40]!r} …')


@step(r'([AB]) (sees|does not see) the copy of LUN in SET')
def sees(run, host, how, n, name):
    run.ground.run(host, 'umbra-lab-probe.exe', 'rescan')
    number = run.copy(name).luns.get(host, {}).get(int(n))
    there = number is not None and number in run.ground.visible(host)
    if there != (how == 'sees'):
        raise Failure(f'host {host} sees {run.ground.visible(host)}')


@step(r'([AB]) knows (no set|\d+ sets?)')
def knows(run, host, how):
    count = len(run.ground.vss(host, 'list')[1]['sets'])
    if count != (0 if how == 'no set' else int(how.split()[0])):
        raise Failure(f'host {host} knows {count} sets')


@step(r'the calls were ([\w, ]+)')
def calls_were(run, wanted):
    """In this order; others may lie between."""
    left = [w.strip() for w in wanted.split(',')]
    for method in run.last_calls():
        if left and method == left[0]:
            left.pop(0)
    if left:
        raise Failure(f'{left[0]} is missing, or in another place: {", ".join(run.last_calls())}')


@step(r'the provider was (not called|called (?:once|\d+ times) for (\w+)|not asked for (\w+))')
def called(run, how, counted, absent):
    made = run.last_calls()
    if how == 'not called' and made:
        raise Failure(f'it was called: {", ".join(made)}')
    if absent and absent in made:
        raise Failure(f'{absent} was called')
    if counted and made.count(counted) != (1 if 'once' in how else int(how.split()[1])):
        raise Failure(f'{counted} was called {made.count(counted)} times')


@step(r'the provider was told (\w+)')
def told(run, flag):
    values = {'read-write': '0x100', 'pre-recovery': '0x200', 'post-recovery': '0x400', 'mask': '0x800'}
    key = {'readwrite': 'read-write', 'prerecovery': 'pre-recovery', 'postrecovery': 'post-recovery'}.get(flag, flag)
    if not any(c['method'] == 'OnLunStateChange' and c['arguments'].endswith(f'flags {values.get(key, flag)}')
               for c in run.answer['calls']):
        raise Failure(f'no OnLunStateChange({flag}): {[c["arguments"] for c in run.answer["calls"]]}')


@step(r'the commit was in time')
def in_time(run):
    """VSS gives up after ten seconds; the lab's coordinator, too."""
    if not 0 <= run.answer.get('commit_ms', -1) < 10000 or run.answer.get('hold_ms', 10000) >= 10000:
        raise Failure(f'CommitSnapshots {run.answer.get("commit_ms")} ms, hold {run.answer.get("hold_ms")} ms')


@step(r'the array says of (\w+|the only set): writers (took part|left out|not told|no VSS)')
def writers_are(run, name, what):
    if run.ground.array is None:
        return
    sets = run.ground.array.ctl('set', 'list')['sets']
    set_id = None if name == 'the only set' else run.plain.get(name) or run.copy(name).id
    wanted = set_id and set_id.strip('{}').lower().replace('-', '')
    found = [one['writers'] for one in sets if wanted in (None, one['id'])]
    if found != [what]:
        raise Failure(f'the array has {found}')


@step(r'the array warned of (flush and hold|CommitSnapshots|release) in SET')
def warned(run, phase, name):
    if run.ground.array is None:
        return
    wanted = run.copy(name).id.strip('{}').lower().replace('-', '')
    events = run.ground.array.ctl('events')['events']
    if not any(e['level'] == 'warning' and wanted in e['text'] and f'slowest: {phase}' in e['text'] for e in events):
        raise Failure(f'no such warning: {[e["text"] for e in events][-5:]}')


@step(r'(\d+|no) shadow LUNs? (?:is|are) on the array')
def count_shadows(run, count):
    if run.ground.array is None:
        return
    wanted = 0 if count == 'no' else int(count)
    if not labhost.wait_until(lambda: len(run.ground.shadows()) == wanted, labhost.PATIENCE_S, 0.2):
        raise Failure(f'{len(run.ground.shadows())} shadow LUNs: {run.ground.left()}')


@step(r'nothing is left')
def nothing_left(run):
    if not run.ground.nothing_left():
        raise Failure(run.ground.left())


# --- writers ----------------------------------------------------------------------------------------------------

def own_ground(run):
    if run.ground.array is None:
        raise SkipScenario('it needs an array of its own: leave out --clsid')
    return run.ground


@step(r'writers run on LUN and LUN(, held| without hold)?')
def start_writers(run, a, b, how):
    """umbra-lab-writer: a record on the first LUN, then on the second, and so on; held: by the broker at a commit."""
    ground = own_ground(run)
    ready = os.path.join(ground.directory, f'ready-{time.time_ns()}')
    initiator, _ = ground.url('A', 0)
    urls = ['--a', ground.url('A', ground.number(int(a)))[1], '--b', ground.url('A', ground.number(int(b)))[1]]
    hold = ['--hold', str(ground.hold_port)] if how == ', held' else ['--no-hold']
    writer = subprocess.Popen([labhost.need_program('umbra-lab-writer'), 'run', *urls, *initiator, '--streams', '8',
                               '--pause-us', '200', '--ready', ready, *hold], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    run.writers.append(writer)
    if not labhost.wait_until(lambda: os.path.exists(ready) or writer.poll() is not None, labhost.PATIENCE_S) or \
            writer.poll() is not None:
        raise Failure('the writers did not start')


@step(r'the writers stop')
def stop_writers(run):
    for writer in run.writers:
        writer.send_signal(signal.SIGTERM)
        said = writer.communicate(timeout=labhost.PATIENCE_S)[1]
        if writer.returncode != 0:
            raise Failure(f'a writer failed: {said[-300:]}')
    run.writers = []


@step(r'the copies of LUN and LUN in SET are of one instant')
def one_instant(run, a, b, name):
    ground = own_ground(run)
    host, first = run.shadow_number(name, int(a), None)
    _, second = run.shadow_number(name, int(b), None)
    initiator, url = ground.url(host, first)
    done = subprocess.run([labhost.need_program('umbra-lab-writer'), 'verify', '--a', url, '--b',
                           ground.url(host, second)[1], *initiator, '--streams', '8'], capture_output=True, text=True,
                          timeout=labhost.PATIENCE_S, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise Failure(f'they are not: {(done.stdout + done.stderr)[-400:]}')


# --- set-up, rights, callers ------------------------------------------------------------------------------------

@step(r'(install|uninstall|upgrade) the provider')
def set_up(run, verb):
    done = own_ground(run).run('A', 'umbra-vss.exe', verb)
    if done.returncode != 0:
        raise Failure(f'umbra-vss {verb}: {done.stdout[-400:]}{done.stderr[-400:]}')


@step(r'(\d+|no) providers? (?:is|are) registered')
def registered(run, count):
    done = run.ground.run('A', 'umbra-lab-requester.exe', 'providers')
    found = len(done.stdout.splitlines())
    if found != (0 if count == 'no' else int(count)):
        raise Failure(f'{found} are: {done.stdout}')


@step(r'B (may|may not) import')
def right_to_import(run, how):
    own_ground(run).array.ctl('host', 'set', 'B', '--import', 'any' if how == 'may' else 'own')


@step(r'B sees its L[U]Ns only, without the control LU')
def without_control_lu(run):
    own_ground(run).drop_control_lu('B')


@step(r'B is taken from the copy of LUN in SET')
def unmapped(run, n, name):
    """By the array's administrator: a server that is rebuilt, or away for a day."""
    own_ground(run).array.ctl('shadow', 'unmap', run.copy(name).ids[int(n)], 'B')
    run.ground.world.rescan('B')


def orphans(run, *words):
    done = own_ground(run).run('A', 'umbra-vss.exe', 'orphans', '--json', *words)
    answer = labhost.json_in(done.stdout)
    if answer is None:
        raise Failure(f'umbra-vss orphans: {done.stdout[-400:]}{done.stderr[-400:]}')
    return answer


@step(r'the orphans that A is offered (have|do not have) the copy of LUN in SET')
def offered(run, how, n, name):
    found = [o['id'] for array in orphans(run)['arrays'] for o in array['orphans']]
    if (run.copy(name).ids[int(n)] in found) != (how == 'have'):
        raise Failure(f'{found} are offered')


@step(r'deleting the copy of LUN in SET as an orphan(, written to or not,)? (is refused|succeeds)')
def delete_orphan(run, n, name, written, how):
    told = orphans(run, '--delete-written' if written else '--delete', run.copy(name).ids[int(n)])['deleted'][0]
    if told['gone'] != (how == 'succeeds'):
        raise Failure(f'{told}')


@step(r'adopting the copy of LUN in SET on ([AB]) (is refused|succeeds)')
def adopt(run, n, name, host, how):
    done = own_ground(run).run(host, 'umbra-vss.exe', 'adopt', '--json', run.copy(name).ids[int(n)])
    told = (labhost.json_in(done.stdout) or {'adopted': [{'done': None}]})['adopted'][0]
    if told['done'] is not (how == 'succeeds') or done.returncode != (0 if told['done'] else 1):
        raise Failure(f'{done.stdout[-400:]}{done.stderr[-400:]}')


@step(r'([AB]) is (told|not told) that the copy of LUN in SET was broken off')
def told_of_break(run, host, how, n, name):
    done = own_ground(run).run(host, 'umbra-vss.exe', 'check', '--json')
    answer = labhost.json_in(done.stdout) or {'findings': []}
    found = [f for f in answer['findings'] if f['area'] == 'broken off']
    if any(run.copy(name).ids[int(n)] in f['remedy'] for f in found) != (how == 'told'):
        raise Failure(f'{found}: {done.stderr[-300:]}')


@step(r'a hostile caller gets only answers that VSS knows')
def hostile(run):
    """NULL pointers, impossible counts, foreign LUNs, unknown sets: umbra-lab-selftest hostile."""
    listed = run.ground.run('A', 'umbra-lab-requester.exe', 'providers').stdout
    rows = [row for row in listed.splitlines() if not run.ground.provider or run.ground.provider in row]
    done = run.ground.run('A', 'umbra-lab-selftest.exe', 'hostile', re.search(r'class (\{[-0-9A-Fa-f]+\})', rows[0])[1])
    if done.returncode != 0:
        raise Failure(done.stdout[-800:])


@step(r'a L[U]N of another array is on A')
def foreign(run):
    own_ground(run).add_foreign()


@step(r'create a set of the foreign L[U]N(?: and LUN)? fails with (\w+)')
def create_foreign(run, n, code):
    """Alone, as a volume beside another one, or in one volume with it."""
    scan = run.ground.vss('A', 'scan')[1]['luns']
    drive = next(f"d{lun['drive']}" for lun in scan if lun['port'] == 1)
    mine = next(f"d{lun['drive']}" for lun in scan if lun['port'] == 0 and n and lun['lun'] == run.ground.number(int(n))) \
        if n else None
    for volumes_wanted in ([[drive]] if not n else [[mine, drive], [f'{mine},{drive}']]):
        run.expected = [code]
        run.ask('A', 'create', *[w for v in volumes_wanted for w in ('--lun', v)])


# --- what breaks ------------------------------------------------------------------------------------------------

OUT_OPCODE = 'b5'  # of the control channel's requests (SECURITY PROTOCOL OUT)


@step(r'the array (goes down|comes back)')
def array_power(run, how):
    ground = own_ground(run)
    if how == 'goes down':
        ground.array.kill9()
    else:
        ground.start_array()


@step(r'the array (is full|has room again)')
def array_room(run, how):
    ground = own_ground(run)
    if how == 'is full':
        ground.fill()
    else:
        ground.empty()


@step(r'create a set SET of VOLUMES while the array becomes full')
def create_and_fill(run, name, luns):
    """Little room is left before; nothing of it from the moment on when the array has armed the set, which waits for that."""
    ground = own_ground(run)
    ground.fill(all_but_mib=4)
    words, document = create_words(run, luns, '')
    code, answer = ground.vss_stopped_when_armed('A', ground.fill, *words)
    run.judge(words, code, answer)
    run.sets[name] = Copy(answer, 'A', document, run.numbers())


@step(r'every request takes (\d+) ms longer')
def slow(run, ms):
    own_ground(run).bridge('A').control('fault', 'delay', '--op', OUT_OPCODE, '--count', '0', '--ms', ms)


@step(r'requests are fast again')
def fast(run):
    own_ground(run).bridge('A').control('fault', 'clear')


@step(r'the (provider|array|host|path|coordinator) fails at request (\d+) of a set of VOLUMES')
def strike(run, who, number, luns):
    """A creation that is struck when its n-th request on the control channel is on the way. Whatever comes of it, the next
    sentence says what must hold."""
    ground = own_ground(run)
    words, _ = create_words(run, luns, '')
    bridge = ground.bridge('A')
    before = bridge.counters()['faults']
    kind = 'drop-before' if who == 'path' else 'delay'
    bridge.control('fault', kind, '--op', OUT_OPCODE, '--skip', number, '--ms', '3600000')
    child = ground.start_vss('A', *words)
    labhost.wait_until(lambda: bridge.counters()['faults'] > before or child.poll() is not None, labhost.PATIENCE_S, 0.03)
    if bridge.counters()['faults'] == before:
        run.answer = ground.finish_vss(child)[1]
        bridge.control('fault', 'clear')
        raise Failure(f'a creation has no request {number}')
    ground.strike(who)
    if who != 'host':  # whose bridge is another one now
        bridge.control('fault', 'clear')
        bridge.control('fault', 'release')
    run.answer = ground.finish_vss(child)[1]


@step(r'what is left is whole')
def whole(run):
    """Within the lease: no set but those kept, and these with every LUN; no shadow LUN without its set."""
    ground, left = own_ground(run), {}

    def settled():
        sets, shadows = ground.world.sets(), ground.shadows()
        left.update(sets=sets, shadows=shadows)
        mine = [[s for s in shadows if s['set_id'] == row['id']] for row in sets]
        return all(row['state'] == 'kept' and len(luns) == row['luns'] for row, luns in zip(sets, mine)) and \
            sum(map(len, mine)) == len(shadows)
    if not labhost.wait_until(settled, labhost.PATIENCE_S, 0.2):
        raise Failure(f'{left}')
    ground.forget_sets()
    ground.world.clear_away()


# --- reading and playing a file ---------------------------------------------------------------------------------

class Line:
    def __init__(self, number, text, function, groups, codes):
        self.number, self.text, self.function, self.groups, self.codes = number, text, function, groups, codes


class Scenario:
    def __init__(self, path):
        self.path, self.name = path, os.path.splitext(os.path.basename(path))[0]
        self.story, self.sizes, self.lines, self.hosts = [], [], [], {'A'}
        try:
            with open(path, encoding='utf-8') as source:
                rows = source.read().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise BadScenario(f'{path}: {error}') from None
        self._read(list(enumerate(rows, 1)))

    def _bad(self, number, why):
        raise BadScenario(f'{self.path}:{number}: {why}')

    def _read(self, rows):
        while rows:
            number, row = rows.pop(0)
            text = row.strip()
            if text.startswith('#') and not self.lines:
                self.story.append(text.lstrip('# '))
            if not text or text.startswith('#'):
                continue
            loop = re.fullmatch(r'for each (\w+) (?:in|of) (.+):', text)
            if not loop:
                self._add(number, text)
                continue
            body = []
            while rows and (rows[0][1].startswith((' ', '\t')) or not rows[0][1].strip()):
                body.append(rows.pop(0))
            if not any(line.strip() for _, line in body):
                self._bad(number, 'nothing is indented below the loop')
            for value in loop[2].split(','):
                for at, line in body:
                    text = line.strip().replace(f'${loop[1]}', value.strip())
                    if text and not text.startswith('#'):
                        self._add(at, text)

    def _add(self, number, text):
        need = re.fullmatch(r'needs (.+)', text)
        if need:
            self._need(number, need[1])
            return
        codes = None
        failing = None if text.startswith('create a set of the foreign') else re.fullmatch(
            r'(.+) (?:fails|ends) with ((?:\w+)(?: or \w+)*)', text)
        sentence = text
        if failing:
            sentence, codes = failing[1], failing[2].split(' or ')
        for pattern, function in STEPS:
            match = pattern.match(sentence)
            if match:
                break
        else:
            self._bad(number, f'no such sentence: {sentence}')
        try:
            if function in (create, give_up):
                check_create(match.groups()[2])
            elif function is break_set:
                options(match.groups()[2], BREAK_WORDS, 'a break')
            elif function is resync:
                check_resync(match.groups()[3])
        except BadScenario as error:
            self._bad(number, error)
        if ' on B' in text or text.startswith('B '):
            self.hosts.add('B')
        self.lines.append(Line(number, text, function, match.groups(), codes))

    def _need(self, number, text):
        for part in re.split(r', | and ', text):
            match = re.fullmatch(r'(\d+) LUNs?(?: of (\d+)([MG]))?', part)
            if not match:
                self._bad(number, f'needs what? "{part}" is not "N LUNs [of SIZE]"')
            self.sizes += [int(match[2]) * SIZE[match[3]] if match[2] else 8] * int(match[1])
        if len(self.sizes) > 250:
            self._bad(number, 'too many LUNs')


def play(scenario, ground, say=print, seed=SEED):
    """True: it holds. False: it does not, or cannot be played here ("skip"). An empty seed: VSS varies nothing."""
    began = time.monotonic()
    say(f'== {scenario.name}: {" ".join(scenario.story)}')
    run, line, good = Run(ground, seed, scenario.name), None, True
    try:
        missing = scenario.hosts - set(ground.hosts)
        if missing:
            raise SkipScenario(f'it needs host {", ".join(sorted(missing))}')
        ground.need(scenario.sizes or [8])
        for line in scenario.lines:
            run.expected = line.codes
            at = time.monotonic()
            line.function(run, *line.groups)
            say(f'   ok   {time.monotonic() - at:6.2f} s  {line.text}')
    except SkipScenario as why:
        say(f'   skip  {why}')
    except (Failure, labhost.LabError, subprocess.SubprocessError, OSError, KeyError, RuntimeError) as error:
        good = False
        say(f'   FAIL  {scenario.path}:{line.number if line else 0}: {line.text if line else ""}\n'
            f'         {type(error).__name__}: {error}')
        for call in run.answer.get('calls', []):
            say(f'         {call["start_ms"]:10.1f} ms {call["method"]:26} {call["hresult"]} {call["arguments"]}')
        say(f'         the same again: UMBRA_LAB_SEED={seed}')
    finally:
        run.close()
        ground.clean_up()
    say(f'-- {scenario.name}: {"holds" if good else "DOES NOT HOLD"}, {time.monotonic() - began:.1f} s')
    return good
