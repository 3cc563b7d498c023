#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""build_without_ceph.py BUILD: a build without librbd has every test that BUILD has; those that need Ceph are skipped by name, and all others
are the same."""
import json
import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SKIPPED = 77  # to meson


def run(*words):
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise AssertionError(f'{words}: exit code {done.returncode}\n{done.stdout[-3000:]}{done.stderr}')
    return done.stdout


def tests_of(build):
    return {test['name']: test for test in json.loads(run('meson', 'introspect', '--tests', build))}


def main(build):
    theirs = tests_of(build)
    assert 'ceph-suite' in theirs, sorted(theirs)
    with tempfile.TemporaryDirectory(prefix='umbra-build-') as folder:
        run('meson', 'setup', folder, ROOT, '-Drbd=disabled')
        ours = tests_of(folder)
        missing = sorted(set(theirs) - set(ours) - {'build-without-ceph'})
        assert not missing, f'they vanish without librbd: {missing}'
        skipped = {name for name, test in ours.items() if '--no-store' in test['cmd']}
        of_ceph = {name for name in theirs if name.startswith(('ceph-', 'rbd-')) or name in ('lab-controllers', 'lab-multipath', 'lab-arrays')}
        # ceph-cluster is about Ceph alone, and needs no store.
        assert of_ceph - skipped == {'ceph-cluster'} and skipped <= of_ceph, (of_ceph ^ skipped)
        done = subprocess.run(ours['ceph-suite']['cmd'], capture_output=True, text=True)
        assert done.returncode == SKIPPED and 'skipped' in done.stdout, done
        assert not any('umbra-store-rbd' in target['name'] for target in json.loads(run('meson', 'introspect', '--targets', folder)))
    print('ok')


if __name__ == '__main__':
    main(sys.argv[1])
