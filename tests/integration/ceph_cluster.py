#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The cluster that tests start: it keeps what is written, with its data on a file also over the death of its OSD; its program's exit
code is handed on; nothing of it is left, also when the test is killed."""
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_ceph import PATIENCE_S, Cluster, skip_without_ceph  # noqa: E402

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'umbra_ceph.py')


def wait_until(what, holds):
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def a_program_finds_it():
    done = subprocess.run([sys.executable, SCRIPT, 'sh', '-c', 'rbd -p "$UMBRA_TEST_CEPH_POOL" create a --size 4M && '
                           'rbd -p "$UMBRA_TEST_CEPH_POOL" ls && echo "$CEPH_CONF" && exit 3'], capture_output=True, text=True,
                          timeout=PATIENCE_S)
    assert done.returncode == 3, done
    image, conf = done.stdout.split()
    assert image == 'a' and not os.path.exists(os.path.dirname(conf)), done.stdout


def a_killed_test_leaves_nothing():
    test = subprocess.Popen([sys.executable, SCRIPT, 'sh', '-c', 'echo "$CEPH_CONF"; exec sleep 1000'], stdout=subprocess.PIPE,
                            text=True)
    folder = os.path.dirname(test.stdout.readline().strip())
    pids = [int(open(os.path.join(folder, name + '.pid')).read()) for name in ('mon.a', 'osd.0')]
    assert all(os.path.exists(f'/proc/{pid}') for pid in pids)
    test.send_signal(signal.SIGKILL)
    test.wait()
    test.stdout.close()
    wait_until('the daemons are gone', lambda: not any(os.path.exists(f'/proc/{pid}') for pid in pids))
    wait_until('the directory is gone', lambda: not os.path.exists(folder))


def a_file_keeps_the_data():
    with Cluster('bluestore', cephx=True) as cluster:
        cluster.user('client.other', mon='profile rbd', osd=f'profile rbd pool={cluster.pool}')
        cluster.rbd('--id', 'other', 'create', 'a', '--size', '4M')
        cluster.osd_kill()
        cluster.osd_start()
        assert cluster.images() == ['a']
        assert cluster.rbd('--id', 'nobody', 'ls', check=False).returncode != 0


def main():
    skip_without_ceph()
    for step in (a_program_finds_it, a_killed_test_leaves_nothing, a_file_keeps_the_data):
        step()
        print('ok', step.__name__)


if __name__ == '__main__':
    main()
