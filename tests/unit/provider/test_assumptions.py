#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/windows-assumptions.md has a row for every call into Windows that umbra-vss.exe makes, and for no other.

test_assumptions.py PROGRAM: its imports; control codes and COM methods are taken from the sources.
"""
import collections
import glob
import os
import re
import subprocess
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
PAGE = os.path.join(ROOT, 'docs/windows-assumptions.md')
PROGRAM = ''
HEADER = '/usr/x86_64-w64-mingw32/include/winnt.h'
HOW = ('test', 'document', 'not at all')
# COM methods of others' objects that are called by these macros.
METHOD = re.compile(r'\b(IVssAdmin|IVssEnumObject|IGlobalOptions|IVssAsync|IVssBackupComponents(?:Ex\d)?)_(\w+)\(')


def read(path):
    with open(path, encoding='utf-8') as source:
        return source.read()


def imports():
    """{call: DLL}."""
    text = subprocess.run(['x86_64-w64-mingw32-objdump', '-p', PROGRAM], capture_output=True, text=True, check=True).stdout
    found, dll = {}, None
    for line in text.splitlines():
        named = re.search(r'DLL Name: (\w+)', line)
        member = re.fullmatch(r'\s+[0-9a-f]+\s+\d+\s+(\w+)', line)
        if named:
            dll = named.group(1).lower()
        elif dll and member:
            found[member.group(1)] = dll
    return found


def spoken():
    """Control codes and COM methods in the provider's sources."""
    found = set()
    for path in glob.glob(os.path.join(ROOT, 'provider/*.c')):
        text = read(path)
        found |= set(re.findall(r'\b(?:IOCTL|FSCTL)_[A-Z0-9_]+\b', text))
        found |= {f'{i}_{m}' for i, m in METHOD.findall(text) if m not in ('AddRef', 'Release')}
    return found


def rows():
    """(part of the page, calls, how checked) of each row."""
    part = ''
    for line in read(PAGE).splitlines():
        if line.startswith('## '):
            part = line[3:]
        cells = [c.strip() for c in line.split('|')[1:-1]] if line.startswith('| `') else []
        if cells:
            yield part, re.findall(r'`(\w+)`', cells[0]), cells


class Page(unittest.TestCase):
    def test_every_call_has_one_row(self):
        wanted = set(imports()) | spoken()
        named = collections.Counter(call for _, calls, _ in rows() for call in calls)
        self.assertEqual(sorted(wanted - set(named)), [], 'calls without a row: what does Windows document of them?')
        self.assertEqual(sorted(set(named) - wanted), [], 'rows of calls that the program makes no more')
        self.assertEqual([c for c in named if named[c] > 1], [])

    def test_calls_stand_under_their_library(self):
        libraries = imports()
        for part, calls, _ in rows():
            for call in calls:
                self.assertEqual(libraries.get(call, part.lower()), part.lower(), call)

    def test_rows_tell_how_they_were_checked(self):
        tests = ''.join(read(path) for folder in ('tests', 'lab') for kind in ('c', 'py', 'build', 'scenario')
                        for path in glob.glob(os.path.join(ROOT, folder, '**/*.' + kind), recursive=True))
        tests += ' '.join(os.path.basename(p) for p in glob.glob(os.path.join(ROOT, 'lab/scenarios/*')))
        for _, calls, cells in rows():
            self.assertEqual(len(cells), 5, calls)
            how, _, names = cells[4].partition(': ')
            self.assertIn(how, HOW, calls)
            self.assertEqual(how == 'test', bool(names), calls)
            for name in re.findall(r'`([^`]+)`', names):
                self.assertIn(name, tests, calls)

    def test_counts(self):
        count = collections.Counter()
        for _, calls, cells in rows():
            count[cells[4].partition(': ')[0]] += len(calls)
        wanted = [f'| {how} | {count[how]} |' for how in HOW] + [f'| together | {sum(count.values())} |']
        self.assertIn('\n'.join(wanted), read(PAGE), 'the table of counts is another')

    def test_privileges_that_are_asked_for_are_the_services(self):
        """Windows cuts a service's token down to those that it says it needs: others cannot be switched on."""
        known = dict(re.findall(r'#define (SE_\w+_NAME) TEXT\("(Se\w+)"\)', read(HEADER)))
        kept = re.search(r'#define PRIVILEGES L"(.*)"', read(os.path.join(ROOT, 'provider/setup_service.c')))[1].split(r'\0')
        asked = {known[name] for path in glob.glob(os.path.join(ROOT, 'provider/*.c'))
                 for name in re.findall(r'\bSE_\w+_NAME\b', read(path))}
        self.assertTrue(asked)
        self.assertLessEqual(asked, set(kept))

    def test_no_name_of_an_account_is_looked_up(self):
        self.assertEqual([c for c in imports() if 'LookupAccount' in c], [], 'names differ by the language of Windows')


if __name__ == '__main__':
    PROGRAM = sys.argv[1]
    unittest.main(argv=sys.argv[:1], verbosity=1)
