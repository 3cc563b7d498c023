# SPDX-License-Identifier: Apache-2.0
"""The page in Cockpit without a browser: each module is JavaScript; umbractl's own help is compared with what the page has, and
what forms read with what umbractl reads (tests/browser/coverage.mjs)."""
import glob
import json
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_lab import ROOT, umbractl_path  # noqa: E402

SKIP = 77
GLOBAL = {'socket', 'json', 'help'}


def help_of(*words):
    return subprocess.run([umbractl_path(), *words, '--help'], capture_output=True, text=True, check=True).stdout


def commands():
    """Command: its options, as umbractl's help has them."""
    found = {}
    for line in help_of().splitlines():
        match = re.match(r'  ([a-z]+(?: [a-z]+)?)(?: [A-Z[].*| [a-z]+\|.*| .*…)?$', line)
        if match:
            found[match.group(1)] = None
    for command in found:
        text = help_of(*command.split())
        assert text.startswith(f'usage: umbractl {command}'), (command, text)
        found[command] = [option for option in re.findall(r'^  --([\w-]+)', text, re.M) if option not in GLOBAL]
    assert len(found) > 40, found
    return found


def main():
    if not shutil.which('node'):
        print('SKIP cockpit-sources: there is no node (scripts/bootstrap installs it)')
        return SKIP
    bad = 0
    for path in sorted(glob.glob(os.path.join(ROOT, 'cockpit/**/*.js'), recursive=True) + glob.glob(os.path.join(ROOT, 'tests/browser/*.mjs'))):
        with open(path) as source:
            bad += subprocess.run(['node', '--input-type=module', '--check'], stdin=source).returncode != 0
    with open(os.path.join(ROOT, 'cockpit/manifest.json')) as source:
        json.load(source)
    done = subprocess.run(['node', os.path.join(ROOT, 'tests/browser/coverage.mjs')], text=True,
                          input=json.dumps(commands()))
    return 1 if bad or done.returncode else 0


if __name__ == '__main__':
    sys.exit(main())
