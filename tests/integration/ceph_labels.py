#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the administrator of a Ceph cluster sees of an array's images: which LUN each one is, as the image's metadata says, and umbractl
which image a LUN is. It follows what becomes of the LUN, and is mended at the next start where it was not written."""
import json
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_ceph import PATIENCE_S, Cluster, end_in_order, skip_without_store  # noqa: E402
from umbra_lab import Array  # noqa: E402

FAILS_S = 2  # in which a label is tried
STOPS_S = 120
LUNS_MAX = 60


def seen(cluster, image):
    """Of the image's metadata what is the array's."""
    done = cluster.rbd('image-meta', 'list', '--format', 'json', image, check=False)
    rows = json.loads(done.stdout) if done.returncode == 0 and done.stdout.strip() else {}
    return {key[len('umbra.'):]: value for key, value in rows.items() if key.startswith('umbra.')}


def wait_seen(cluster, image, want):
    end = time.monotonic() + PATIENCE_S
    while seen(cluster, image) != want:
        assert time.monotonic() < end, (image, seen(cluster, image), want)
        time.sleep(0.05)


def shown(array, lun):
    return array.ctl('lun', 'show', lun)


def about(array, lun, kind='lun', **more):
    """What its image must say."""
    return dict({'array': array.ceph['array'], 'lun': lun['name'], 'naa': lun['naa'], 'kind': kind}, **more)


def copies(cluster, array):
    """The LUN is renamed, a copy goes into the bin and comes back, another is broken, and one is what a LUN becomes."""
    for name in ('data', 'log'):
        array.ctl('lun', 'create', name, '--size', '4M')
    data = shown(array, 'data')
    assert data['image'] == f"{cluster.pool}/{array.ceph['array']}.lun-1", data
    assert f"image     {data['image']}" in array.text('lun', 'show', 'data')
    wait_seen(cluster, data['image'], about(array, data))
    cluster.rbd('image-meta', 'set', data['image'], 'owner', 'somebody')

    nightly = array.ctl('set', 'create', 'nightly', 'data', 'log')
    plain = array.ctl('set', 'create', 'hourly', 'data')
    first, second = (shown(array, one['members'][0]['shadow_id']) for one in (nightly, plain))
    wait_seen(cluster, first['image'], about(array, first, 'copy', **{'copy-of': 'data', 'set': 'nightly'}))
    wait_seen(cluster, second['image'], about(array, second, 'copy', **{'copy-of': 'data', 'set': 'hourly'}))

    array.ctl('lun', 'rename', 'data', 'tables')
    data = shown(array, 'tables')
    wait_seen(cluster, data['image'], about(array, data))
    wait_seen(cluster, first['image'], about(array, first, 'copy', **{'copy-of': 'tables', 'set': 'nightly'}))

    array.ctl('shadow', 'delete', first['id'])
    wait_seen(cluster, first['image'], about(array, first, 'recycled copy', **{'copy-of': 'tables', 'set': 'nightly'}))
    array.ctl('shadow', 'undelete', first['id'])
    wait_seen(cluster, first['image'], about(array, first, 'copy', **{'copy-of': 'tables', 'set': 'nightly'}))
    array.ctl('shadow', 'break', second['id'])
    wait_seen(cluster, second['image'], about(array, second))

    array.ctl('shadow', 'resync', first['id'], 'log')
    log = shown(array, 'log')
    assert log['image'].startswith(f"{cluster.pool}/{array.ceph['array']}.lun-2."), log
    wait_seen(cluster, log['image'], about(array, log))
    return data, first


def mended(cluster, array, data, first):
    """What is wrong or missing is written at the next start, and nothing else is touched."""
    want = {data['image']: about(array, data),
            first['image']: about(array, first, 'copy', **{'copy-of': 'tables', 'set': 'nightly'})}
    assert array.stop() == 0
    for key in ('lun', 'naa', 'kind', 'array'):
        cluster.rbd('image-meta', 'remove', data['image'], f'umbra.{key}')
    cluster.rbd('image-meta', 'set', first['image'], 'umbra.lun', 'tables')
    cluster.rbd('image-meta', 'set', data['image'], 'umbra.set', 'none')
    array.start()
    for image, rows in want.items():
        wait_seen(cluster, image, rows)
    assert cluster.rbd('image-meta', 'get', data['image'], 'owner').stdout.strip() == 'somebody'


def tried_again(cluster, array, data):
    """One that a full cluster does not take is written when there is room."""
    cluster.rbd('create', 'filler', '--size', '64M')
    cluster.rbd('bench', '--io-type', 'write', '--io-size', '4M', '--io-total', '64M', 'filler')

    def is_full(yes, *ratios):
        for name, ratio in ratios:
            cluster.ceph('osd', f'set-{name}-ratio', ratio)
        end = time.monotonic() + PATIENCE_S
        while ('full' in cluster.pool_flags()) != yes:
            assert time.monotonic() < end, cluster.pool_flags()
            time.sleep(0.2)
    is_full(True, ('nearfull', '0.001'), ('backfillfull', '0.0015'), ('full', '0.002'))
    array.ctl('lun', 'rename', 'tables', 'rows')
    time.sleep(FAILS_S)
    is_full(False, ('full', '0.95'), ('backfillfull', '0.9'), ('nearfull', '0.85'))
    wait_seen(cluster, data['image'], about(array, shown(array, 'rows')))


def given_up():
    """One that waits for an OSD which hangs does not hold up the end, and is written at the next start."""
    with Cluster(osds=3) as cluster:
        needed = {cluster.osd_of(one) for one in ('rbd_directory', 'rbd_trash', 'rbd_info')}
        name = next(one for one in (f'x{number}' for number in range(LUNS_MAX)) if cluster.osd_of(f'umbra.{one}') in needed)
        given_up_by(cluster, needed, name)


def given_up_by(cluster, needed, name):
    """Its records are on the OSDs that are needed anyway, and so is not what some image is called."""
    with Array({'rbd': {'array': name}}, ceph=cluster) as array:
        for number in range(1, LUNS_MAX):
            lun = array.ctl('lun', 'create', f'd{number}', '--size', '4M')
            image = f'{name}.lun-{number}'
            about_image = json.loads(cluster.rbd('info', '--format', 'json', image).stdout)
            slow = cluster.osd_of(f"rbd_header.{about_image['id']}")
            if slow not in needed:
                break
        else:
            raise AssertionError('no image has its header elsewhere')
        wait_seen(cluster, image, about(array, lun))
        assert array.stop() == 0
        cluster.rbd('image-meta', 'remove', image, 'umbra.lun')
        cluster.freeze(f'osd.{slow}')
        try:
            array.start()
            time.sleep(FAILS_S)  # until it is at that image
            assert array.stop(STOPS_S) == 0
        finally:
            cluster.thaw(f'osd.{slow}')
        array.start()
        wait_seen(cluster, image, about(array, lun))


def main():
    skip_without_store()
    end_in_order()
    given_up()
    with Cluster() as cluster, Array({'copysets': {'recycle_time': '1h'}}, ceph=cluster) as array:
        data, first = copies(cluster, array)
        mended(cluster, array, data, first)
        assert not [event for event in array.ctl('events')['events'] if event['level'] == 'error']
        tried_again(cluster, array, data)
    print('ok')


if __name__ == '__main__':
    main()
