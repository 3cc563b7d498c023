#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/ceph.md is walked, step by step, from `ceph osd pool create` to a host that reads and writes its LUN: by a user of Ceph's with those
rights, and with nothing but what the page says to carry over.

As in ctl_setup.py there is no systemd, and no package is installed. /etc is a folder of the test's, and so is the place where Ceph looks
for a key; there is no group umbra."""
import os
import re
import subprocess
import sys
import types

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ceph_trouble import wait_until  # noqa: E402
from ctl_setup import Machine  # noqa: E402
from umbra_ceph import PATIENCE_S, Cluster, end_in_order, skip_without_store  # noqa: E402
from umbra_initiator import Session  # noqa: E402
from umbra_lab import ROOT  # noqa: E402

SECRET = 'a-secret-of-db1-'
# What is typed in each step: it must stand there, and in this order. Step 2's is the page's block, 7's a part of umbrad.conf.
TYPED = {
    1: ['ceph osd pool create rbd', 'rbd pool init rbd'],
    2: [],
    3: ['ceph config generate-minimal-conf > ceph.conf'],
    4: ['apt install ./umbra_*.deb ./umbra-rbd_*.deb'],
    5: ['install -d /etc/ceph', 'install -m 0644 ceph.conf /etc/ceph/', 'install -m 0640 -g umbra ceph.client.umbra.keyring /etc/ceph/'],
    6: ['umbractl rbd create rbd --client umbra'],
    7: ['umbrad --check-config'],
    8: ['systemctl daemon-reload && systemctl enable --now umbrad', 'umbractl status'],
    9: ['umbractl lun create data --size 500G', 'umbractl host add db1 --iqn iqn.1991-05.com.microsoft:db1 --chap-file secret --windows',
        'umbractl map data db1'],
}
ADMINISTERS = 3  # up to this step the commands are for a machine that administers the cluster


def steps():
    """{number: its text}"""
    with open(os.path.join(ROOT, 'docs/ceph.md')) as page:
        section = page.read().split('\n## ')[1]
    found = dict((int(number), text) for number, text in re.findall(r'^(\d+)\. (.*?)(?=^\d+\. |^\S|\Z)', section, re.S | re.M))
    assert list(found) == list(range(1, 11)), list(found)
    return found


def blocks(text):
    return [re.sub(r'^   ', '', block, flags=re.M) for block in re.findall(r'^   ```\n(.*?)^   ```$', text, re.S | re.M)]


def typed(number, text):
    """The step's commands, as the page has them."""
    plain, at = re.sub(r'\s+', ' ', text), 0
    for command in TYPED[number]:
        at = plain.index(f'`{command}`', at)
    return blocks(text) if number == 2 else TYPED[number]


class Bare(Machine):
    """A machine without a configuration of Ceph's, nor a key."""

    def __init__(self, cluster):
        self.cluster = cluster

    def here(self, command):
        """The page's command, with the test's places."""
        command = command.replace('/etc/ceph', os.path.join(self.dir, 'etc/ceph')).replace(' -g umbra', '')
        return command.replace('umbrad --check-config', f'umbrad --config {self.config} --check-config')

    def type(self, number, command):
        """What it prints."""
        places = {'CEPH_CONF': self.cluster.conf if number <= ADMINISTERS else os.path.join(self.dir, 'etc/ceph/ceph.conf')}
        done = subprocess.run(['sh', '-ec', self.here(command)], env=dict(self.environment, CEPH_ARGS='', **places), cwd=self.dir,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == 0, (number, command, done.stdout, done.stderr)
        if command.startswith('systemctl'):  # which waits for a service of that type
            wait_until('umbrad serves', lambda: os.path.exists(self.socket))
        return done.stdout

    def configure(self, text):
        """Step 7: in the place of [pool]."""
        (block,) = blocks(text)
        config, replaced = re.subn(r'^\[pool\]\n.*?(?=^\[)', block + '\n', self.template, flags=re.S | re.M)
        assert replaced == 1
        self.write_config(config.replace('portals = 0.0.0.0:3260', 'portals = 127.0.0.1:0'))
        return block

    def keep_key_here(self):
        """In place of /etc/ceph, where librados would look for it."""
        folder = os.path.join(self.dir, 'etc/ceph')
        with open(os.path.join(folder, 'ceph.conf'), 'a') as file:
            file.write(f'[client.umbra]\nkeyring = {folder}/ceph.client.umbra.keyring\n')


def walk(machine):
    """What each step has printed, in one text."""
    said = {}
    with open(os.path.join(machine.dir, 'secret'), 'w') as file:
        file.write(SECRET)
    for number, text in steps().items():
        if number == 7:
            block = machine.configure(text)
            printed = re.sub(r'^  ', '', said[6], flags=re.M).split('\n')[1:]  # "what step 6 has printed"
            assert block.split('\n') == printed, (block, said[6])
        said[number] = ''.join(machine.type(number, command) for command in (typed(number, text) if number < 10 else []))
        if number == 5:
            machine.keep_key_here()
    return said


def main():
    skip_without_store()
    end_in_order()
    with Cluster(cephx=True) as cluster, Bare(cluster) as machine:
        said = walk(machine)
        assert re.search(r'^pool +rbd/default\b', said[8], re.M), said[8]
        assert 'Connect-IscsiTarget -NodeAddress iqn.2026-01.dev.umbra:umbra' in said[9] and SECRET not in said[9], said[9]
        port = re.search(r'-TargetPortalPortNumber (\d+)', said[9])[1]
        array = types.SimpleNamespace(hosts={'db1': ('iqn.1991-05.com.microsoft:db1', SECRET)}, target='iqn.2026-01.dev.umbra:umbra',
                                      portal=lambda: f'127.0.0.1:{port}')
        with Session(array, 'db1') as session:
            for number in range(1, 3):
                if session.command(number, bytes([0x12, 0, 0, 0, 36, 0]), length_in=36)[2][0] == 0:
                    break
            session.write(number, 8, b'\7' * 512)
            assert session.read(number, 8, 1) == b'\7' * 512
        assert cluster.rbd('ls', 'rbd').stdout.split() == ['default.lun-1']


if __name__ == '__main__':
    main()
