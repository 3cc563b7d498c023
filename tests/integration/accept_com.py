#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The provider as a service under Wine, called over COM as nobody should: every answer is one that VSS knows, the
provider lives on, the array holds nothing of it; and the command line of umbra-vss."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lab_stack import Stack  # noqa: E402

CLSID = '{DB5509AB-F8CD-4A11-8EFB-A1989538579C}'  # provider/ids.h


def hostile_calls(s):
    done = s.run('umbra-lab-selftest.exe', 'hostile', CLSID)
    s.check(done.returncode == 0 and '0 failed' in done.stdout, 'hostile calls get allowed answers',
            done.stdout + done.stderr)
    s.check(int(done.stdout.split(' checks')[0].split()[-1]) > 100, 'all of them were made', done.stdout)
    s.check(s.sets() == [] and s.shadows() == [], 'the array holds nothing of it')
    code, res = s.ask('create', '--lun', '1')
    s.check(code == 0, 'a shadow copy can be taken afterwards', res['message'])
    s.check(s.ask('delete', res.get('set', '{}'))[0] == 0, 'and deleted')


def command_line(s):
    for words in ((), ('bogus',), ('status', 'stray'), ('--bogus',)):
        done = s.run('umbra-vss.exe', *words)
        said = (done.stdout + done.stderr).lower()
        s.check(done.returncode == 2 and ('usage' in said or 'help' in said), f'wrong usage: {words}',
                (done.returncode, said))
    done = s.run('umbra-vss.exe', '--help')
    s.check(done.returncode == 0 and all(verb in done.stdout for verb in ('install', 'uninstall', 'run', 'status')),
            'help', (done.returncode, done.stdout, done.stderr))
    done = s.run('umbra-vss.exe', 'status')
    s.check(done.returncode == 0, 'status of what is installed', done.stdout + done.stderr)
    for turn in range(2):
        done = s.run('umbra-vss.exe', 'uninstall')
        s.check(done.returncode == 0, f'uninstall, turn {turn}', done.stdout + done.stderr)
    done = s.run('umbra-vss.exe', 'status')
    s.check(done.returncode == 1 and 'install' in done.stdout + done.stderr, 'status of what is not',
            (done.returncode, done.stdout, done.stderr))
    done = s.run('umbra-lab-selftest.exe', 'hostile', CLSID)
    s.check(done.returncode == 1, 'nobody answers for it then', done.stdout)


def main():
    with Stack(luns={'a': '16M'}) as s:
        s.install_provider()
        for part in (hostile_calls, command_line):
            print(f'-- {part.__name__}')
            part(s)
        return s.done()


if __name__ == '__main__':
    sys.exit(main())
