#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""libiscsi's conformance tests (iscsi-test-cu), each in a process of its own with a time limit.

What is not passed must be in the tables below, with its reason; what is in them and passes all the same is an error
too, so that they stay true. Arguments: the library to preload where one is (a .so); regular expressions of the tests
to run, none: all. --memory: over the store in memory, without the one test that mostly sleeps.
"""
import concurrent.futures
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_initiator import Session  # noqa: E402
from umbra_lab import Array  # noqa: E402

LIMIT_S = 600 * float(os.environ.get('UMBRA_TEST_PATIENCE', '1'))
IQN = 'iqn.2007-10.com.github:sahlberg:libiscsi:iscsi-test'  # the tool's own default, and its second: -2

SKIPPED = {
    r'SCSI\.PreventAllow\..*': 'the medium is not removable',
    r'SCSI\.StartStopUnit\.Simple': 'the medium is not removable',
    r'SCSI\.Sanitize\.CryptoErase': 'LUNs are not encrypted: there is no key to forget',
    r'SCSI\.Sanitize\.(Readonly|Reservations)':
        'its parts for OVERWRITE and BLOCK ERASE are passed, the one for CRYPTO ERASE is skipped: there is no key to forget',
    r'SCSI\.WriteAtomic16\..*':
        'at a power loss one logical block is atomic: the pool cannot promise it of the 256 that the tests want',
    r'SCSI\.WriteSame1[06]\.ZeroBlocks':
        'WSNZ is set: a number of blocks must be given, for a number forgotten would erase all up to the end',
}
WITHOUT_COPIES = {  # a store that cannot clone ranges
    r'SCSI\.(ExtendedCopy|ReceiveCopyResults)\..*': 'EXTENDED COPY is not offered',
}
FAILED = {}  # by the tests' own faults
# Tests that want something of the array or of the tool that the others do without, and the proof that they do.
SMALL_BLOCKS = {
    r'SCSI\.GetLBAStatus\.UnmapSingle':
        'run against an array whose LUNs report physical blocks of 512 bytes (`physical_block = 512`): its second half asks '
        'for the status of block i + 1 and wants an answer that begins at i + (logical blocks a physical block), and the '
        'first descriptor begins at the block that was asked for (SBC-3 5.6.2), so only 1 can pass',
}
SLOWLY = {
    r'SCSI\.Sanitize\.Reset':
        'run against an array of its own that overwrites at 8 MiB a second and is patient (`sanitize_rate = 8M`, '
        '`nop_timeout = 10m`): it wants a SANITIZE still under way after 4 s, and then sleeps 60 s without answering pings',
}
SYNCHRONOUS = {
    r'iSCSI\.iSCSITMF\.LUNResetSimpleAsync':
        'run with `tests/conformance/sync_tmf.c` preloaded, which lets the call that queues the reset wait for its answer: '
        'the test checks a static variable, set by that answer alone, right after the queueing, before anything is sent',
}
PASSED, SKIP, FAIL = 'passed', 'skipped', 'failed'


def all_tests():
    listing = subprocess.run(['iscsi-test-cu', '--list'], capture_output=True, text=True, timeout=600).stdout
    names = {line.strip() for line in listing.splitlines() if re.fullmatch(r'\s*i?SCSI\.\w+\.\w+\s*', line)}
    # On the fresh LUN first: MultipathIO.CompareAndWrite zeroes 256 blocks and then expects zeros in 257.
    # Those that fill the whole LUN last: the store in memory is slow when it is full.
    return sorted(names, key=lambda name: ('.MultipathIO.' not in name, '.Sanitize.' in name, name))


def matches(table, name):
    return next((reason for pattern, reason in table.items() if re.fullmatch(pattern, name)), None)


def prepare(array):
    """A LUN for the tool's two initiator names. Its URL."""
    array.ctl('lun', 'create', 'disk', '--size', '256M')
    for host, iqn in (('one', IQN), ('two', IQN + '-2')):
        array.add_host(host, iqn)
        array.ctl('map', 'disk', host)
    return array.url('one', 1)


def run_all(tests, pool, preload, told):
    """told(name, verdict, output) for every test; those that need an array of their own run beside the others."""
    def on_array(config, names):
        with Array(config=config, pool=pool) as array:
            url = prepare(array)
            offered.append(copies_offered(array))
            for name in names:
                told(name, *run(name, url, protector(array), preload))
                assert array.alive(), f'umbrad ended in {name}'

    offered, rest = [], list(tests)
    jobs = []
    for table, config in (
            (SLOWLY, {'scsi': {'sanitize_rate': '8M'}, 'iscsi': {'nop_timeout': '10m'}}),
            (SMALL_BLOCKS, {'scsi': {'physical_block': '512'}})):
        names = [name for name in tests if matches(table, name)]
        rest = [name for name in rest if name not in names]
        if names:
            jobs.append((config, names))
    with concurrent.futures.ThreadPoolExecutor() as threads:
        running = [threads.submit(on_array, *job) for job in jobs]
        if rest:
            on_array({}, rest)
        for job in running:
            job.result()
    return offered[0]


def protector(array):
    """What sets a LUN's software write protection (SWP, the control mode page) and takes it off."""
    def protect(on):
        with Session(array, 'one') as session:
            page = session.good('MODE SENSE', 1, bytes([0x1A, 8, 0x0A, 0, 255, 0]), length_in=255)[4:16]
            page = page[:4] + bytes([page[4] & ~0x08 | (0x08 if on else 0)]) + page[5:]
            session.good('MODE SELECT', 1, bytes([0x15, 0x10, 0, 0, 16, 0]), out=bytes(4) + page)
    return protect


def run(name, url, protect, preload=None):
    """(verdict, output); protect(True) makes the LUN read-only, for the one test that wants it so."""
    if '.ReadOnly.' not in name:
        return run_tool(name, url, preload if matches(SYNCHRONOUS, name) else None)
    protect(True)
    try:
        return run_tool(name, url)
    finally:
        protect(False)


def run_tool(name, url, preload=None):
    # A second session to the same LUN is what the multipath tests want; the others do without.
    urls = [url, url] if '.MultipathIO.' in name else [url]
    limit_s = 3 * LIMIT_S if matches(SLOWLY, name) else LIMIT_S
    env = dict(os.environ, LD_PRELOAD=preload) if preload else None
    try:
        done = subprocess.run(['iscsi-test-cu', '--dataloss', '--allow-sanitize', '--test', name, *urls], text=True,
                              capture_output=True, errors='replace', timeout=limit_s, env=env)
    except subprocess.TimeoutExpired as error:
        return FAIL, f'no end after {limit_s:.0f} s\n{(error.stdout or b"").decode(errors="replace")}'
    output = done.stdout + done.stderr
    # CUnit counts a skipped test as passed.
    if re.search(r'^\s*Test: .*\n?.*\[SKIPPED\]', output, re.M):
        return SKIP, output
    summary = re.search(r'^\s*tests\s+1\s+1\s+(\d)\s+(\d)\s+\d\s*$', output, re.M)
    return (PASSED if summary and summary.groups() == ('1', '0') else FAIL), output


def copies_offered(array):
    with Session(array, 'one') as session:
        return 0x8F in session.inquiry(1, 0x00)[4:]


def expected(name, copies=True):
    for table, verdict in ((SKIPPED, SKIP), (FAILED, FAIL), ({} if copies else WITHOUT_COPIES, SKIP)):
        reason = matches(table, name)
        if reason:
            return verdict, reason
    return PASSED, ''


def main():
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith('--')]
    preload, wanted = (arguments[0], arguments[1:]) if arguments[:1] and arguments[0].endswith('.so') else (None, arguments)
    tests = [name for name in all_tests() if not wanted or any(re.search(w, name) for w in wanted)]
    if '--memory' in sys.argv:
        tests = [name for name in tests if not matches(SLOWLY, name)]
    assert tests, 'iscsi-test-cu lists no such test'
    results, wrong = {}, []

    def told(name, verdict, output):
        results[name] = (verdict, output)

    copies = run_all(tests, '/nonexistent' if '--memory' in sys.argv else None, preload, told)
    for name in tests:
        verdict, output = results[name]
        want, reason = expected(name, copies)
        if verdict != want:
            wrong.append(f'{name}: {verdict}, not {want} {reason}')
            print(f'--- {wrong[-1]}\n{output}')
    counts = {what: sum(1 for verdict, _ in results.values() if verdict == what) for what in (PASSED, SKIP, FAIL)}
    print(f'{counts[PASSED]} passed, {counts[SKIP]} skipped, {counts[FAIL]} failed', flush=True)
    if wrong:
        sys.exit('\n'.join(wrong))


if __name__ == '__main__':
    main()
