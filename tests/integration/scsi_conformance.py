#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""libiscsi's conformance tests (iscsi-test-cu), each in a process of its own with a time limit.

What is not passed must be in the tables below, with its reason; what is in them and passes all the same is an error
too, so that they stay true. Arguments: regular expressions of the tests to run; none: all.
"""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_initiator import Session  # noqa: E402
from umbra_lab import Array  # noqa: E402

LIMIT_S = 60 * float(os.environ.get('UMBRA_TEST_PATIENCE', '1'))
IQN = 'iqn.2007-10.com.github:sahlberg:libiscsi:iscsi-test'  # the tool's own default, and its second: -2

SKIPPED = {
    r'SCSI\.PreventAllow\..*': 'the medium is not removable',
    r'SCSI\.StartStopUnit\.Simple': 'the medium is not removable',
    r'SCSI\.Sanitize\..*': 'SANITIZE is not offered; the tests want to be asked for besides',
    r'SCSI\.WriteAtomic16\..*': 'WRITE ATOMIC is not offered',
    r'SCSI\.WriteSame1[06]\.ZeroBlocks': 'WSNZ is set: a number of blocks must be given',
}
WITHOUT_COPIES = {  # a store that cannot clone ranges
    r'SCSI\.(ExtendedCopy|ReceiveCopyResults)\..*': 'EXTENDED COPY is not offered',
}
FAILED = {  # by the tests' own faults
    r'SCSI\.GetLBAStatus\.UnmapSingle':
        'asks for block i + 1 and wants an answer that begins at i + (logical blocks a physical block): no target whose '
        'physical blocks are larger than its logical ones can pass',
    r'iSCSI\.iSCSITMF\.LUNResetSimpleAsync':
        'wants the answer to its reset before it has read from the connection: no target can pass',
}
PASSED, SKIP, FAIL = 'passed', 'skipped', 'failed'


def all_tests():
    listing = subprocess.run(['iscsi-test-cu', '--list'], capture_output=True, text=True, timeout=60).stdout
    names = {line.strip() for line in listing.splitlines() if re.fullmatch(r'\s*i?SCSI\.\w+\.\w+\s*', line)}
    # On the fresh LUN first: MultipathIO.CompareAndWrite zeroes 256 blocks and then expects zeros in 257.
    return sorted(names, key=lambda name: ('.MultipathIO.' not in name, name))


def protector(array):
    """What sets a LUN's software write protection (SWP, the control mode page) and takes it off."""
    def protect(on):
        with Session(array, 'one') as session:
            page = session.good('MODE SENSE', 1, bytes([0x1A, 8, 0x0A, 0, 255, 0]), length_in=255)[4:16]
            page = page[:4] + bytes([page[4] & ~0x08 | (0x08 if on else 0)]) + page[5:]
            session.good('MODE SELECT', 1, bytes([0x15, 0x10, 0, 0, 16, 0]), out=bytes(4) + page)
    return protect


def run(name, url, protect):
    """(verdict, output); protect(True) makes the LUN read-only, for the one test that wants it so."""
    if '.ReadOnly.' not in name:
        return run_tool(name, url)
    protect(True)
    try:
        return run_tool(name, url)
    finally:
        protect(False)


def run_tool(name, url):
    # A second session to the same LUN is what the multipath tests want; the others do without.
    urls = [url, url] if '.MultipathIO.' in name else [url]
    try:
        done = subprocess.run(['iscsi-test-cu', '--dataloss', '--test', name, *urls], capture_output=True, text=True,
                              errors='replace', timeout=LIMIT_S)
    except subprocess.TimeoutExpired as error:
        return FAIL, f'no end after {LIMIT_S:.0f} s\n{(error.stdout or b"").decode(errors="replace")}'
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
        for pattern, reason in table.items():
            if re.fullmatch(pattern, name):
                return verdict, reason
    return PASSED, ''


def main():
    wanted = [argument for argument in sys.argv[1:] if not argument.startswith('--')]
    tests = [name for name in all_tests() if not wanted or any(re.search(w, name) for w in wanted)]
    assert tests, 'iscsi-test-cu lists no such test'
    counts, wrong = {PASSED: 0, SKIP: 0, FAIL: 0}, []
    with Array(pool='/nonexistent' if '--memory' in sys.argv else None) as array:
        array.ctl('lun', 'create', 'disk', '--size', '256M')
        for host, iqn in (('one', IQN), ('two', IQN + '-2')):
            array.add_host(host, iqn)
            array.ctl('map', 'disk', host)
        url, copies = array.url('one', 1), copies_offered(array)
        for name in tests:
            verdict, output = run(name, url, protector(array))
            counts[verdict] += 1
            want, reason = expected(name, copies)
            if verdict != want:
                wrong.append(f'{name}: {verdict}, not {want} {reason}')
                print(f'--- {wrong[-1]}\n{output}')
            assert array.alive(), f'umbrad ended in {name}'
    print(f'{counts[PASSED]} passed, {counts[SKIP]} skipped, {counts[FAIL]} failed as known', flush=True)
    if wrong:
        sys.exit('\n'.join(wrong))


if __name__ == '__main__':
    main()
