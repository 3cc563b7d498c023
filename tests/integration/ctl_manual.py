#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The manuals say what the programs do: umbractl.1 is umbractl's own word, umbrad.conf.5 has every key, umbrad.8 every
option, docs/management.md every method; man finds nothing wrong; every command has --help."""
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_lab import ROOT, run_ctl, umbrad_path  # noqa: E402


def text(*path):
    with open(os.path.join(ROOT, *path)) as file:
        return file.read()


def plain(roff):
    return roff.replace('\\-', '-')


def main():
    manual = run_ctl('--manual').stdout
    if manual != text('docs', 'umbractl.1'):
        sys.exit('docs/umbractl.1 is not what umbractl --manual prints: write it anew')

    conf = plain(text('docs', 'umbrad.conf.5'))
    keys = re.findall(r'\{"(\w+)", "(\w+)", KEY_', text('array', 'config.c'))
    assert len(keys) > 20
    for section, key in keys:
        part = conf.split(f'.SH [{section}]')[1].split('.SH')[0]
        assert re.search(rf'^\.BR? .*\b{key}\b', part, re.M), f'umbrad.conf.5 has no [{section}] {key}'

    usage = subprocess.run([umbrad_path(), '--help'], capture_output=True, text=True, check=True).stdout
    for option in re.findall(r'^  (--[a-z-]+)', usage, re.M):
        assert option in plain(text('docs', 'umbrad.8')), f'umbrad.8 has no {option}'

    methods = []
    for name in os.listdir(os.path.join(ROOT, 'array', 'control')):
        methods += re.findall(r'^\s+\{"([a-z]+(?:\.[a-z]+)?)", \w+_method, \w+\}', text('array', 'control', name), re.M)
    assert len(methods) > 30, methods
    page = text('docs', 'management.md')
    for method in methods:
        assert re.search(rf'\b{re.escape(method)}\b', page), f'docs/management.md has no {method}'

    commands = re.findall(r'^  ([a-z]+(?: [a-z]+)?)', run_ctl('--help').stdout, re.M)
    assert len(commands) > 25
    for command in commands:
        shown = run_ctl(*command.split(), '--help').stdout
        assert shown.startswith(f'usage: umbractl {command}'), shown
        assert plain(manual).count(f'.SS {command}') >= 1

    if shutil.which('man'):
        for page in ('umbractl.1', 'umbrad.8', 'umbrad.conf.5'):
            done = subprocess.run(['man', '--warnings', '-E', 'UTF-8', '-l', '-Tutf8', '-Z',
                                   os.path.join(ROOT, 'docs', page)], capture_output=True, text=True,
                                  env=dict(os.environ, MANROFFSEQ='', MANWIDTH='80', LC_ALL='C.UTF-8'))
            assert done.returncode == 0 and not done.stderr, f'{page}: {done.stderr}'
    print(f'{len(commands)} commands, {len(keys)} keys, {len(methods)} methods')


if __name__ == '__main__':
    main()
