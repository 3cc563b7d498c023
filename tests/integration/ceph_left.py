#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A controller loses the array while it deletes an image, and that deletion never comes back from librbd. It stands by all the same, takes
the array again when the other one dies, and its end gives the array back: what hangs there is not waited for, and ends with it."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ceph_controllers import HOSTS, Session, all_live, removed_at_the_end, start, time_to_serve, wait_until  # noqa: E402
from ceph_takeover import Frozen  # noqa: E402
from umbra_ceph import Cluster, end_in_order, skip_without_store  # noqa: E402
from umbra_lab import run_ctl  # noqa: E402

TRIES = 4  # umbrad ends by itself 30 s after the loss, which a busy machine may come to


def hang_file(controller):
    return os.path.join(controller.dir, 'hang')


def with_removals_to_hang(controller):
    controller.popen = {'env': dict(os.environ, LD_PRELOAD=os.environ['UMBRA_HANG_REMOVALS'], UMBRA_TEST_HANG=hang_file(controller),
                                    ASAN_OPTIONS='verify_asan_link_order=0')}


def ends_well(owner, other):
    """False: it had ended by itself."""
    owner.ctl('lun', 'create', 'gone', '--size', '8M')
    with open(hang_file(owner), 'w', encoding='ascii'):
        pass
    owner.ctl('lun', 'delete', 'gone')
    Frozen.strike(owner)
    wait_until('the other one owns the array', lambda: other.role() == 'owner')
    Frozen.back(owner)
    wait_until('each knows that the other one is there', lambda: all_live(other))
    other.kill9()
    path = Session(owner, 'a')
    time_to_serve(path, 0)
    path.close()
    code = owner.stop()
    if code != 0 and 'could not stand by in time' in owner.log():
        return False
    assert code == 0 and 'without giving the array back' not in owner.log(), (code, owner.log())
    return True


def main():
    skip_without_store()
    end_in_order()
    with Cluster() as cluster:
        run_ctl('rbd', 'create', cluster.pool, '--conf', cluster.conf)
        for _ in range(TRIES):
            one, two = start(cluster, None, with_removals_to_hang)
            with removed_at_the_end(one, two):
                if 'a' not in [host['name'] for host in one.ctl('host', 'list')['hosts']]:
                    one.ctl('host', 'add', 'a', '--iqn', HOSTS['a'])
                    one.ctl('lun', 'create', 'data', '--size', '64M')
                    one.ctl('map', 'data', 'a', '--number', '1')
                if ends_well(one, two):
                    two.start()
                    assert two.role() == 'owner'  # the array was given back: it need not wait for the lease to run out
                    print('ok', flush=True)
                    return
        raise AssertionError(f'it ended by itself {TRIES} times')


if __name__ == '__main__':
    main()
