#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The first hour: umbractl setup (asked, or by options) leaves an array that runs, and nothing when it cannot; host add
--windows; umbractl support. docs/quickstart.md is walked, command by command.

There is no systemd here and no package is installed: `systemctl` and `apt` are programs of the test's. systemctl starts umbrad
when it is told to; apt does nothing, for packaging-deb installs the package. Besides, of the page's commands only these are
changed: setup gets its answers and the test's configuration, and a LUN of 10G has 64M."""
import errno
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_lab import ROOT, umbractl_path, umbrad_path  # noqa: E402

PATIENCE_S = 300 * float(os.environ.get('UMBRA_TEST_PATIENCE', '1'))
SYSTEMCTL = '''#!/bin/sh
echo "$@" >> "$TEST_DIR/systemctl.log"
case "$1" in
enable) exec 3>&- ; setsid umbrad --config "$TEST_DIR/etc/umbrad.conf" > "$TEST_DIR/log" 2>&1 < /dev/null &
    echo $! > "$TEST_DIR/pid" ;;
esac
'''


# What a configuration may have, whether umbrad would take it or not; the program looks for all that begins with do-not-tell.
SECRETS = f'''# chap_secret = do-not-tell-it-2
discovery_needs_chap = yes
discovery_chap_secret: do-not-tell-it-3
  chap_secret =
    do-not-tell-it-4
chap_secret = {'x' * 5000} do-not-tell-it-5
[rbd]
client = umbra
key = do-not-tell-it-6
Key: do-not-tell-it-7
admin_password=do-not-tell-it-8
'''


class Machine:
    """A bare machine: the configuration of the package, no pool, no umbrad."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix='umbra-')
        self.dir = self.folder.name
        self.config = os.path.join(self.dir, 'etc/umbrad.conf')
        self.socket = os.path.join(self.dir, 'umbrad.sock')
        self.pool = os.path.join(self.dir, 'pool')
        for name in ('etc', 'bin'):
            os.mkdir(os.path.join(self.dir, name))
        with open(os.path.join(ROOT, 'packaging/umbrad.conf')) as file:
            self.template = file.read().replace('[management]', f'[management]\nsocket = {self.socket}')
        self.write_config(self.template)
        for name, text in (('systemctl', SYSTEMCTL), ('apt', '#!/bin/sh\n')):
            path = os.path.join(self.dir, 'bin', name)
            with open(path, 'w') as file:
                file.write(text)
            os.chmod(path, 0o755)
        self.environment = dict(os.environ, TEST_DIR=self.dir, UMBRA_SOCKET=self.socket, PATH=':'.join(
            [os.path.join(self.dir, 'bin'), os.path.dirname(umbractl_path()), os.path.dirname(umbrad_path()),
             os.environ['PATH']]))
        return self

    def write_config(self, text):
        with open(self.config, 'w') as file:
            file.write(text)

    def read(self, name):
        with open(os.path.join(self.dir, name), errors='replace') as file:
            return file.read()

    def run(self, *arguments, code=0, **options):
        done = subprocess.run([umbractl_path(), *arguments], env=self.environment, cwd=self.dir, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=PATIENCE_S, **options)
        assert done.returncode == code, (arguments, done)
        return done.stdout + done.stderr if code else done.stdout

    def setup(self, *options, **more):
        return self.run('setup', '--config', self.config, '--pool', self.pool, '--portal', '127.0.0.1:0', '--name', 'first',
                        *options, **more)

    def __exit__(self, kind, value, trace):
        if os.path.exists(os.path.join(self.dir, 'pid')):
            if kind:
                sys.stderr.write(self.read('log'))
            pid = int(self.read('pid'))
            try:
                os.kill(pid, signal.SIGTERM)
                while True:
                    os.kill(pid, 0)
                    if self.read(f'/proc/{pid}/stat').rsplit(')', 1)[1].split()[0] == 'Z':
                        break
                    time.sleep(0.02)
            except (ProcessLookupError, FileNotFoundError):
                pass
        self.folder.cleanup()


def by_options():
    with Machine() as machine:
        text = machine.setup()
        assert 'The array first runs. Hosts find iqn.2026-01.dev.umbra:first at 127.0.0.1' in text, text
        assert machine.read('systemctl.log').splitlines() == ['daemon-reload', 'enable --now umbrad']
        config = machine.read('etc/umbrad.conf')
        assert f'path = {machine.pool}\n' in config and 'name = first\n' in config and 'portals = 127.0.0.1:0\n' in config
        changed = [line for line in machine.template.splitlines() if line not in config.splitlines()]
        assert changed == ['name = umbra', 'path = /srv/umbra', 'portals = 0.0.0.0:3260'], changed
        shown = json.loads(machine.run('status', '--json'))
        assert shown['array']['name'] == 'first' and shown['pool']['path'] == machine.pool
        assert 'runs here already' in machine.setup(code=1)
        windows(machine)
        support(machine)
        pid = int(machine.read('pid'))
        os.kill(pid, signal.SIGKILL)
        before = machine.read('etc/umbrad.conf')
        wait_gone(machine, pid)
        assert 'has a pool already' in machine.setup(code=1)
        assert machine.read('etc/umbrad.conf') == before
        report = os.path.join(machine.dir, 'dead.tar')
        told = machine.run('support', report, '--config', machine.config)
        assert 'without what umbrad would have told' in told and 'umbra-support/umbrad.txt' in names(report)


def wait_gone(machine, pid):
    """A killed umbrad's socket refuses when the kernel has taken its ring down, which is after what it had accepted is closed:
    setup, which asks whether somebody listens, may still be told yes when status has failed already."""
    end = time.monotonic() + PATIENCE_S
    while True:
        with socket.socket(socket.AF_UNIX) as caller:
            if caller.connect_ex(machine.socket) == errno.ECONNREFUSED:
                return
        assert time.monotonic() < end, pid
        time.sleep(0.02)


def refused():
    with Machine() as machine:
        for options, says, code in ((('--portal', 'nowhere'), 'neither an IPv4 nor', 1), (('--name', 'a b'), 'name must have', 1),
                                    (('--pool', 'relative'), 'absolute path', 2), (('--name', 'x # y'), 'characters', 2),
                                    (('--pool', '/proc/nothing/pool'), 'cannot be made', 1)):
            arguments = {'--pool': machine.pool, '--portal': '127.0.0.1:0', '--name': 'first', **dict([options])}
            text = machine.run('setup', '--config', machine.config, *[word for pair in arguments.items() for word in pair],
                               code=code)
            assert says in text, text
            assert machine.read('etc/umbrad.conf') == machine.template and not os.path.exists(machine.pool), options
            assert sorted(os.listdir(os.path.join(machine.dir, 'etc'))) == ['umbrad.conf']
        os.unlink(os.path.join(machine.dir, 'bin/systemctl'))
        machine.environment['PATH'] = machine.environment['PATH'].replace(os.environ['PATH'], os.path.join(machine.dir, 'none'))
        text = machine.setup(code=1)
        assert f'umbrad --config {machine.config}' in text and os.path.exists(machine.pool), text


def asked():
    """On a terminal, with answers and proposals."""
    with Machine() as machine:
        os.unlink(machine.config)
        with open(os.path.join(machine.dir, 'bin/systemctl'), 'w') as file:
            file.write('#!/bin/sh\necho the test ends here\nexit 1\n')
        ours, theirs = pty.openpty()
        with subprocess.Popen([umbractl_path(), 'setup', '--config', machine.config], env=machine.environment, stdin=theirs,
                              stdout=theirs, stderr=theirs, cwd=machine.dir) as process:
            os.close(theirs)
            text = b''
            for question, answer in ((rb'directory.*\] $', machine.pool + ' '), (rb'0\.0\.0\.0:3260\] $', '127.0.0.1:0'),
                                     (rb'called\? \[[\w-]+\] $', '')):
                while not re.search(question, text):
                    text += os.read(ours, 4096)
                os.write(ours, answer.encode() + b'\n')
            try:
                while more := os.read(ours, 4096):
                    text += more
            except OSError:
                pass
            code = process.wait(PATIENCE_S)
        os.close(ours)
        config = machine.read('etc/umbrad.conf')
        assert f'[pool]\npath = {machine.pool}\n' in config and '[iscsi]\nportals = 127.0.0.1:0\n' in config, config
        assert code == 1 and b'the test ends here' in text, text


def windows(machine):
    secret = os.path.join(machine.dir, 'secret')
    with open(secret, 'w') as file:
        file.write('do-not-tell-it-1')
    text = machine.run('host', 'add', 'db1', '--iqn', 'iqn.1991-05.com.microsoft:db1', '--chap-file', secret, '--windows')
    port = json.loads(machine.run('status', '--json'))['array']['portals'][0]['port']
    assert 'do-not-tell' not in text
    assert (f"Connect-IscsiTarget -NodeAddress iqn.2026-01.dev.umbra:first -TargetPortalAddress 127.0.0.1 -TargetPortalPortNumber {port}"
            " -AuthenticationType ONEWAYCHAP -ChapUsername 'iqn.1991-05.com.microsoft:db1' -ChapSecret $secret "
            "-IsPersistent $true\n") in text, text
    assert text.endswith(machine.run('host', 'show', 'db1', '--windows'))
    with open(os.path.join(ROOT, 'docs/quickstart.md')) as page:
        shown = re.search(r'```powershell\n(.*?)```', page.read(), re.S).group(1)
    shown = shown.replace('storage1', 'first').replace('10.0.0.1', '127.0.0.1').replace('3260', str(port))
    assert text.split('as administrator:\n')[1] == shown, (text, shown)


def names(path):
    with tarfile.open(path) as tar:
        return tar.getnames()


def support(machine):
    before = machine.read('etc/umbrad.conf')
    with open(machine.config, 'a') as file:
        file.write(SECRETS)
    report = os.path.join(machine.dir, 'support.tar')
    assert 'No secret is in it' in machine.run('support', report, '--config', machine.config)
    found = set(names(report))
    for part in ('status.json', 'events.list.json', 'lun.list.json', 'umbrad.conf', 'uname.txt', 'version.txt', 'journal.txt'):
        assert 'umbra-support/' + part in found, (part, found)
    with tarfile.open(report) as tar:
        everything = b''.join(tar.extractfile(member).read() for member in tar)
        hosts = json.load(tar.extractfile('umbra-support/host.list.json'))
        kept = tar.extractfile('umbra-support/umbrad.conf').read().decode()
    assert b'do-not-tell' not in everything and b'do-not-tell' not in open(report, 'rb').read()
    assert hosts[0]['name'] == 'db1' and os.stat(report).st_mode & 0o777 == 0o600
    assert 'cannot be made' in machine.run('support', report, code=1)
    assert 'cannot be made' in machine.run('support', 'nowhere/x.tar', code=1)
    assert before in kept and 'discovery_needs_chap = yes' in kept and 'client = umbra' in kept, kept
    machine.write_config(before)


def quickstart():
    with open(os.path.join(ROOT, 'docs/quickstart.md')) as page:
        blocks = [text for kind, text in re.findall(r'^```(\w*)\n(.*?)^```$', page.read(), re.S | re.M) if not kind]
    lines = [line for block in blocks for line in block.splitlines()]
    assert len(lines) > 12 and lines[1] == 'umbractl setup', lines
    with Machine() as machine:
        lines[1] += f' --config {machine.config} --pool {machine.pool} --portal 127.0.0.1:0 --name storage1'
        lines = [line.replace('10G', '64M') for line in lines]
        done = subprocess.run(['sh', '-e'], input='\n'.join(f'echo "== $ {number}"\n{line}' for number, line in enumerate(lines)),
                              env=machine.environment, cwd=machine.dir, capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == 0, (done.stdout, done.stderr)
        sums = re.findall(r'^([0-9a-f]{64})  -$', done.stdout, re.M)
        assert len(sums) == 2 and sums[0] == sums[1], done.stdout
        shown = json.loads(machine.run('set', 'show', 'first', '--json'))
        assert shown['state'] == 'kept' and shown['lock_left_ms'] > 0
        assert [p['name'] for p in json.loads(machine.run('policy', 'list', '--json'))['policies']] == ['hourly']


if __name__ == '__main__':
    by_options()
    refused()
    asked()
    quickstart()
