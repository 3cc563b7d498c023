#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench/scale: docs/scale.md shows what it prints; it reckons with the lease and the limits that the sources have; costs of another cluster
change the answer; too little is said, with the exit code 1; a wrong file is refused."""
import json
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCALE = os.path.join(ROOT, 'bench/scale')


def run(*words, want=0):
    done = subprocess.run([sys.executable, SCALE, *words], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == want, done
    return done.stdout + done.stderr


def text(path):
    with open(os.path.join(ROOT, path)) as file:
        return file.read()


def rows(*words, want=0):
    return {(row['part'], row['what']): row for row in json.loads(run('--json', '--simulate-hours', '0.2', *words, want=want))['rows']}


def the_page_is_of_now():
    said = run('--arrays', '3', '--controllers', '2')
    table = re.search(r'^part .*?^ceph .*?$', said, re.S | re.M)[0]
    shown = re.search(r'^part .*?^ceph .*?$', text('docs/scale.md'), re.S | re.M)[0]
    assert [line.rstrip() for line in table.splitlines()] == [line.rstrip() for line in shown.splitlines()], table


def the_sources_say_the_same():
    lease = text('array/store/rbd/lease.c')
    for name, ours in (('WATCH_MS', 'LEASE_MS'), ('FOLLOW_SLOW_MS', 'FOLLOW_MS')):
        there = re.search(rf'#define {name} +(\d+)u', lease)[1]
        assert re.search(rf'^{ours} = {there} ', text('bench/scale'), re.M), (name, there)


def costs_count():
    usual = rows('--arrays', '3')
    assert usual[('takeover', 'ms to the first I/O')]['value'] < 10000
    with tempfile.NamedTemporaryFile('w', suffix='.json') as file:
        json.dump({'catalogue_read': 47.0}, file)
        file.flush()
        slow = rows('--arrays', '3', '--costs', file.name, want=1)
    assert slow[('takeover', 'ms to the first I/O')]['value'] > 10000
    apart = rows('--arrays', '3', '--namespaces')
    assert apart[('takeover', 'ms to the first I/O')]['value'] < usual[('takeover', 'ms to the first I/O')]['value']


def what_breaks_is_said():
    said = run('--arrays', '1', '--simulate-hours', '0.2', want=1)
    assert 'does not hold: catalogue, records of one array' in said and 'what helps: more arrays' in said, said
    with tempfile.NamedTemporaryFile('w', suffix='.json') as file:
        assert file.name in run('--costs', file.name, want=2)


if __name__ == '__main__':
    for step in (the_page_is_of_now, the_sources_say_the_same, costs_count, what_breaks_is_said):
        step()
        print('ok', step.__name__)
