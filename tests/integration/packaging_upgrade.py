#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An upgrade under load: the package before this one is installed in a scratch root and serves a Linux host (a real kernel),
where fio writes and verifies; dpkg puts this package in its place, the service is restarted as its unit says, and fio goes on. What
fio has written is there, the configuration and all that the array knew too; how long I/O stood still is printed.

    packaging_upgrade.py BUILD            the package before: this one with a lower version, whose umbrad ran as root
    packaging_upgrade.py BUILD COMMIT     the package before: built from that commit of this repository (minutes)

dpkg installs as root only, and the host is User Mode Linux: without these it is skipped.
"""
import json
import os
import pwd
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from packaging_deb import CONFIGURATION, Root, read, run  # noqa: E402
from umbra_guest import INITIATOR, Guest, skipped  # noqa: E402
from umbra_lab import ROOT, Array  # noqa: E402

USER = pwd.getpwnam('daemon')  # in the place of umbra, whom this machine does not have
UNIT = 'usr/lib/systemd/system/umbrad.service'
JOB = ('--name=load --rw=randwrite --bsrange=4k-64k --size=32M --number_ios=100 --direct=1 --ioengine=psync --verify=crc32c '
       '--verify_fatal=1 --output-format=json')
# Rounds of writing and verifying, each of other data, until the file `stop` is there.
ROUNDS = '''i=0
while ! ls /mnt/host | grep -q stop; do
    i=$((i + 1))
    fio {job} --randseed=$i --filename={disk} --output=/mnt/host/round-$i.json || exit 1
done
'''
PATIENCE_S = 600 * float(os.environ.get('UMBRA_TEST_PATIENCE', '1'))


def older(package, scratch):
    """This package with a lower version, as packages were whose umbrad ran as root."""
    tree = os.path.join(scratch, 'older')
    run('dpkg-deb', '-R', package, tree)
    for path, change in (('DEBIAN/control', lambda text: re.sub(r'^Version: .*$', 'Version: 0.0.0~before', text, flags=re.M)),
                         (UNIT, lambda text: re.sub(r'^(User|Group|ExecStartPre)=.*\n', '', text, flags=re.M))):
        text = read(tree, path)
        with open(os.path.join(tree, path), 'w') as file:
            file.write(change(text))
    run('dpkg-deb', '--root-owner-group', '-b', tree, package + '.before')
    return package + '.before'


def package_of(commit, scratch):
    """The package that this commit makes, in a work tree of its own."""
    tree, out = os.path.join(scratch, 'tree'), os.path.join(scratch, 'packages')
    run('git', '-C', ROOT, 'worktree', 'add', '--detach', tree, commit)
    try:
        run(os.path.join(tree, 'scripts/build'), 'linux', env=dict(os.environ, SKIP_BOOTSTRAP='1'))
        made = run(os.path.join(tree, 'packaging/deb/make-package'), os.path.join(tree, 'build/linux'), out).split()
        return next(path for path in made if os.path.basename(path).startswith('umbra_'))
    finally:
        run('git', '-C', ROOT, 'worktree', 'remove', '--force', tree)


class Service:
    """umbrad of the scratch root, started as its unit says."""

    def __init__(self, root):
        self.root = root
        os.environ['UMBRACTL'] = os.path.join(root.path, 'usr/bin/umbractl')
        self.array = Array(pool=os.path.join(root.path, 'srv/umbra'), umbrad=os.path.join(root.path, 'usr/sbin/umbrad'), start=False)
        self.array.config_path = os.path.join(root.path, CONFIGURATION)
        os.makedirs(os.path.dirname(self.array.pool))
        os.environ.pop('JOURNAL_STREAM', None)
        run(os.environ['UMBRACTL'], 'pool', 'create', self.array.pool, '--capacity', '512M')
        os.chmod(self.array.dir, 0o777)

    def configure(self):
        """What an administrator has written into the package's file."""
        text = read(self.array.config_path)
        for shipped, here in (('path = /srv/umbra', 'path = ' + self.array.pool),
                              ('0.0.0.0:3260', f'127.0.0.1:{random.randrange(20000, 32000)}'),
                              ('# target_name = iqn.2026-01.dev.umbra:umbra', 'target_name = ' + self.array.target),
                              ('[management]\n', f'[management]\nsocket = {self.array.socket}\n')):
            assert shipped in text, shipped
            text = text.replace(shipped, here)
        with open(self.array.config_path, 'w') as file:
            file.write(text)

    def start(self):
        unit = read(self.root.path, UNIT)
        self.array.popen = {}
        here = {'/usr/sbin/umbrad': self.array.umbrad, '/etc/umbra/umbrad.conf': self.array.config_path, 'umbra': USER.pw_name}
        for command in re.findall(r'^ExecStartPre=\+(.*)$', unit, re.M):
            run(*(here.get(word, word) for word in command.split()))
        if re.search(r'^User=umbra$', unit, re.M):
            self.array.popen = {'user': USER.pw_uid, 'group': USER.pw_gid, 'extra_groups': [], 'umask': 0o077}
            if os.path.exists(self.array.socket):  # RuntimeDirectory= gives it to the user, with all in it
                os.chown(self.array.socket, USER.pw_uid, USER.pw_gid)
        self.array.start()

    def first_start(self):
        for _ in range(20):
            shutil.copy(self.template, self.array.config_path)
            self.configure()
            try:
                return self.start()
            except RuntimeError as error:
                if 'in use' not in str(error):
                    raise
        raise AssertionError('no free port')


def known(array):
    """All that the array has been told, without what changes by itself."""
    names = sorted(one['name'] for one in array.ctl('set', 'list')['sets'])
    told = ('id', 'name', 'owner', 'state', 'label', 'cut_unix_ms', 'locked_until_unix_ms', 'members')
    sets = [{key: array.ctl('set', 'show', name)[key] for key in told} for name in names]
    luns = [(lun['id'], lun['name'], lun['size_bytes']) for lun in array.ctl('lun', 'list')['luns']]
    return json.loads(array.text('config', 'export')), sets, luns, array.ctl('lun', 'show', 'data')['mapped_to']


def fill(array):
    array.ctl('lun', 'create', 'data', '--size', '64M')
    array.add_host('guest', INITIATOR)
    array.ctl('map', 'data', 'guest')
    array.ctl('policy', 'create', 'nightly', '--luns', 'data', '--every', '1d', '--at', '02:30', '--keep', 'daily=3')
    array.ctl('set', 'create', 'before', 'data')
    array.ctl('set', 'lock', 'before', '--for', '14d')


def writes(array):
    """Of the host, since this umbrad was started."""
    return int(re.search(r'^umbra_lun_operations_total\{lun="data",.*operation="write"\} (\d+)', array.text('metrics'), re.M)[1])


def wait_for(array, count):
    end = time.monotonic() + PATIENCE_S
    while writes(array) < count:
        assert time.monotonic() < end, f'{writes(array)} of {count} writes'
        time.sleep(0.02)


def upgrade(service, package):
    """As an administrator: dpkg, then systemctl restart. Returns the seconds without a service."""
    array, old = service.array, read(f'/proc/{service.array.pid}/status')
    service.root.dpkg('-i', package)
    assert read(f'/proc/{array.pid}/status').splitlines()[0] == old.splitlines()[0], 'the upgrade has ended the service'
    begin = time.monotonic()
    assert array.stop() == 0, array.log()
    service.start()
    return time.monotonic() - begin


def rounds(folder):
    """What fio says of each round."""
    found = []
    for name in os.listdir(folder):
        if name.startswith('round-'):
            found += json.loads(re.search(r'^\{.*', read(folder, name), re.S | re.M)[0])['jobs']
    return found


def under_load(service, package):
    array, folder = service.array, os.path.join(service.array.dir, 'shared')
    os.mkdir(folder)
    with Guest(shared=folder) as guest:
        guest.login(array)
        disk = guest.disk(array, 'data')
        with open(os.path.join(folder, 'load'), 'w') as file:
            file.write(ROUNDS.format(job=JOB, disk=disk))
        fio = guest.begin('sh /mnt/host/load')
        wait_for(array, 50)
        before = known(array)
        gone_s = upgrade(service, package)
        wait_for(array, 150)
        assert known(array) == before, (known(array), before)
        with open(os.path.join(folder, 'stop'), 'w'):
            pass
        assert guest.ended(fio) == 0, rounds(folder)
    done = rounds(folder)
    writes_, reads = ([one[way] for one in done] for way in ('write', 'read'))
    count = sum(one['total_ios'] for one in writes_)
    assert count == 100 * len(done) and sum(one['total_ios'] for one in reads) == count, done
    assert all(one['error'] == 0 for one in done), done
    longest = max(one['clat_ns']['max'] for one in writes_ + reads) / 1e6
    usual = sorted(one['clat_ns']['percentile']['50.000000'] for one in writes_)[len(done) // 2] / 1e6
    print(f'fio: {count} writes in {len(done)} rounds over the upgrade, all verified; umbrad was away for {gone_s * 1000:.0f} ms, I/O stood '
          f'still for {longest:.0f} ms at most, a write takes {usual:.1f} ms else')


def main():
    if (code := skipped('fio')) is not None:
        return code
    if os.geteuid() != 0:
        print('skipped: dpkg installs as root only')
        return 77
    build = sys.argv[1]
    scratch = tempfile.mkdtemp(prefix='umbra-upgrade-')
    os.chmod(scratch, 0o755)
    service = None
    try:
        package = run(os.path.join(ROOT, 'packaging/deb/make-package'), build, scratch).split()[0]
        before = package_of(sys.argv[2], scratch) if len(sys.argv) > 2 else older(package, scratch)
        root = Root(os.path.join(scratch, 'root'))
        root.dpkg('-i', before)
        service = Service(root)
        service.template = shutil.copy(os.path.join(root.path, CONFIGURATION), os.path.join(scratch, 'umbrad.conf'))
        service.first_start()
        mine = read(service.array.config_path)
        fill(service.array)
        under_load(service, package)
        assert read(service.array.config_path) == mine, 'the upgrade has changed the configuration'
        assert f"Version: {run('dpkg-deb', '-f', package, 'Version').strip()}" in root.dpkg('-s', 'umbra')
        assert service.array.stop() == 0
    except BaseException:
        if service:
            sys.stderr.write(service.array.log())
        raise
    finally:
        if service:
            service.array.remove()
        shutil.rmtree(scratch, ignore_errors=True)
    return 0


if __name__ == '__main__':
    sys.exit(main())
