#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""umbractl rbd destroy: nothing of the array is left in its Ceph pool, and all else is. It asks; no array goes that somebody owns or that
has locked copies; killed anywhere it leaves the whole array or an empty one, and doing it again goes on."""
import json
import os
import random
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_ceph import Cluster, end_in_order, skip_without_store  # noqa: E402
from umbra_lab import Array, run_ctl, umbractl_path  # noqa: E402

NAME = 'going'
LUNS = 3
AT_S = 0.8  # so long it takes, about
KILLS = 4


def destroy(array, *more, want=0):
    done = run_ctl('rbd', 'destroy', *array.ceph_words(), *more, check=False)
    assert done.returncode == want, done
    return done


def left_of(cluster, name):
    """What Ceph has of the array."""
    trash = json.loads(cluster.rbd('trash', 'ls', '--all', '--format', 'json', cluster.pool).stdout)
    objects = cluster.rados('ls').stdout.split()
    return [one for one in cluster.images() + [entry['name'] for entry in trash] if one.startswith(f'{name}.')] + [
        one for one in objects if one in (f'umbra.{name}', f'umbra-owner.{name}')]


def fill(array):
    """LUNs, copies of them, one in the bin, and a LUN that a resync has put behind others."""
    names = [f'l{number}' for number in range(LUNS)]
    for name in names:
        array.ctl('lun', 'create', name, '--size', '16M')
    array.add_host('h1', 'iqn.2026-01.test:h1')
    array.ctl('map', 'l0', 'h1')
    first = array.ctl('set', 'create', 'first', *names)['members']
    array.ctl('set', 'create', 'second', *names)
    array.ctl('shadow', 'resync', first[0]['shadow_id'], 'l0')
    array.ctl('shadow', 'delete', first[1]['shadow_id'])


def state(array):
    """How many there are: of LUNs, copies, those in the bin, hosts, sets."""
    return (len(array.ctl('lun', 'list')['luns']), len(array.ctl('shadow', 'list')['shadows']),
            len(array.ctl('shadow', 'recycled')['luns']), len(array.ctl('host', 'list')['hosts']),
            len(array.ctl('set', 'list')['sets']))


NOTHING = (0, 0, 0, 0, 0)


def refusals(cluster):
    """By an owner, without a yes, for a lock, and for what is no array."""
    with Array({'rbd': {'array': NAME}}, ceph=cluster) as array:
        array.ctl('lun', 'create', 'l', '--size', '4M')
        array.ctl('set', 'create', 's', 'l')
        assert 'owns the array' in destroy(array, '--yes', want=1).stderr
        assert array.alive()
        array.ctl('set', 'lock', 's', '--for', '1h')
        assert array.stop() == 0
        assert '--yes' in destroy(array, want=2).stderr
        assert 'locked' in destroy(array, '--yes', want=1).stderr
        array.start()
        assert len(array.ctl('lun', 'list')['luns']) == 1 and len(array.ctl('set', 'list')['sets']) == 1
    done = run_ctl('rbd', 'destroy', cluster.pool, '--conf', cluster.conf, '--array', 'none-such', '--yes', check=False)
    assert done.returncode == 1 and 'no array named none-such' in done.stderr, done


def half_cut(cluster):
    """All copies have what they were made of (nothing), and its owner was killed when it was about to cut them off it."""
    for image in cluster.images():
        about = json.loads(cluster.rbd('info', '--format', 'json', f'{cluster.pool}/{image}').stdout)
        if image.startswith(f'{NAME}.') and 'parent' in about:
            cluster.rados('setomapval', f'umbra.{NAME}', f'flat.{image}', about['id'])


def killed(array, dice, after_s):
    process = subprocess.Popen([umbractl_path(), 'rbd', 'destroy', *array.ceph_words(), '--yes'], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    time.sleep(dice.uniform(0, after_s))
    process.send_signal(signal.SIGKILL)
    return process.wait()


def cut_short(cluster, dice):
    """Killed some times, and looked at by an umbrad in between."""
    with Array({'rbd': {'array': 'other'}}, ceph=cluster) as other, \
            Array({'rbd': {'array': NAME}, 'copysets': {'recycle_time': '1h'}}, ceph=cluster) as array:
        other.ctl('lun', 'create', 'stays', '--size', '4M')
        fill(array)
        whole = state(array)
        cluster.rbd('create', '--size', '4M', f'{NAME}-by-hand')
        assert array.stop() == 0
        half_cut(cluster)
        begun = time.monotonic()
        found = set()
        for number in range(1, KILLS + 1):
            if killed(array, dice, AT_S * number / KILLS) == 0:
                break
            array.start()
            found.add(state(array))
            assert array.stop() == 0
        assert found <= {whole, NOTHING}, found
        if left_of(cluster, NAME):
            said = destroy(array, '--yes').stdout
            assert f'Array {NAME} of {cluster.pool} is deleted' in said, said
        print(f'{found}, {time.monotonic() - begun:.1f} s')
        assert left_of(cluster, NAME) == []
        assert f'{NAME}-by-hand' in cluster.images()
        assert 'no array named' in destroy(array, '--yes', want=1).stderr
        assert other.alive() and other.stop() == 0
        other.start()
        assert [lun['name'] for lun in other.ctl('lun', 'list')['luns']] == ['stays']


def in_the_way(cluster):
    """An image that cannot be deleted is told of; with it out of the way the rest goes. The name is free then."""
    with Array({'rbd': {'array': NAME}}, ceph=cluster) as array:
        fill(array)
        image = array.ctl('lun', 'show', 'l2')['image']
        assert array.stop() == 0
        cluster.rbd('snap', 'create', f'{image}@mine')
        said = destroy(array, '--yes', want=1).stderr
        assert 'by hand' in said and 'run this again' in said, said
        assert left_of(cluster, NAME), 'the catalogue went before its images'
        cluster.rbd('clone', '--rbd-default-clone-format', '2', f'{image}@mine', f'{cluster.pool}/mine')
        cluster.rbd('snap', 'rm', f'{image}@mine')
        said = destroy(array, '--yes', want=1).stderr
        assert 'clones' in said and 'run this again' in said, said
        cluster.rbd('rm', f'{cluster.pool}/mine')
        answer = json.loads(destroy(array, '--yes', '--json').stdout)
        assert answer['array'] == NAME, answer
        assert left_of(cluster, NAME) == []
        run_ctl('rbd', 'create', *array.ceph_words())
        destroy(array, '--yes')
        assert left_of(cluster, NAME) == []


def main():
    skip_without_store()
    end_in_order()
    seed = int(os.environ.get('UMBRA_TEST_SEED', random.SystemRandom().randrange(1 << 32)))
    print(f'UMBRA_TEST_SEED={seed}', flush=True)
    with Cluster() as cluster:
        cut_short(cluster, random.Random(seed))
        in_the_way(cluster)
        refusals(cluster)
    print('ok')


if __name__ == '__main__':
    main()
