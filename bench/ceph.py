# SPDX-License-Identifier: Apache-2.0
"""Figures of an array in Ceph, for bench/run: umbrad over iSCSI (qemu-img bench) beside fio's rbd engine on images of the same
cluster, one and four; the window of copy sets of 1, 16 and 64 LUNs, with a monitor round of 50 ms and with Ceph's default of a
second. The cluster is one monitor and one OSD with its data in memory, on this machine: the daemons share the processors with what
is measured."""
import json
import os
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, 'tests', 'integration'))
from umbra_ceph import Cluster, missing  # noqa: E402
from umbra_lab import Array  # noqa: E402

IMAGE_MIB = 256
IQN = 'iqn.2026-01.dev.umbra:bench'
SCATTER = 4096 * 7919  # a prime number of blocks: no two requests near each other
LOADS = [
    # name, fio's, bytes, depth, bytes from one request to the next
    ('4 KiB scattered write, depth 32', 'randwrite', 4096, 32, SCATTER),
    ('4 KiB scattered read, depth 32', 'randread', 4096, 32, SCATTER),
    ('128 KiB write, depth 8', 'write', 131072, 8, 131072),
    ('128 KiB read, depth 8', 'read', 131072, 8, 131072),
]
WINDOWS = (1, 16, 64)


def by_fio(cluster, images, mode, block, depth, seconds):
    """I/O a second of all images together, by librbd without umbrad."""
    words = ['fio', '--output-format=json', '--time_based', f'--runtime={seconds}', f'--rw={mode}', f'--bs={block}', f'--iodepth={depth}',
             '--ioengine=rbd', '--clientname=admin', f'--pool={cluster.pool}', f'--size={IMAGE_MIB}m', '--group_reporting']
    words += [word for name in images for word in (f'--name={name}', f'--rbdname={name}')]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=cluster.environment())
    if done.returncode:
        raise RuntimeError(done.stderr[-500:])
    (job,) = json.loads(done.stdout[done.stdout.index('{'):])['jobs']
    return job['write' if 'write' in mode else 'read']['iops']


def by_umbrad(array, count, mode, block, depth, step, each):
    """The same through umbrad: so many LUNs, `each` requests to each."""
    image = f'driver=iscsi,transport=tcp,portal={array.portal()},target={array.target},initiator-name={IQN},lun='
    words = ['qemu-img', 'bench', '-c', str(each), '-d', str(depth), '-s', str(block), '-S', str(step), '-t', 'none']
    words += ['-w'] if 'write' in mode else []
    begun = time.monotonic()
    running = [subprocess.Popen(words + ['--image-opts', image + str(number + 1)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
               for number in range(count)]
    if any([process.wait() for process in running]):
        raise RuntimeError('qemu-img failed')
    return count * each / (time.monotonic() - begun)


def rates(seconds):
    found = {}
    with Cluster(settings=['rbd cache = false']) as cluster, Array(name='bench', ceph=cluster) as array:
        array.add_host('bench', IQN)
        images = [f'plain-{number}' for number in range(4)]
        for number, name in enumerate(images):
            cluster.rbd('create', name, '--size', f'{IMAGE_MIB}M')
            array.ctl('lun', 'create', f'l{number}', '--size', f'{IMAGE_MIB}M')
            array.ctl('map', f'l{number}', 'bench', '--number', str(number + 1))
            by_fio(cluster, [name], 'write', 1 << 20, 4, 2)  # the objects are there
        by_umbrad(array, 4, 'write', 1 << 20, 4, 1 << 20, IMAGE_MIB)
        for name, mode, block, depth, step in LOADS:
            for count in (1, 4):
                direct = by_fio(cluster, images[:count], mode, block, depth, seconds)
                found[f"{name}, {count} image{'s' if count > 1 else ''}"] = {
                    'rbd': direct,
                    'umbrad': by_umbrad(array, count, mode, block, depth, step, int(direct * seconds / count) + 100)}
    return found


def windows(fast, sets):
    """Milliseconds, the median of so many sets, by their LUNs."""
    found = {}
    with Cluster(fast=fast) as cluster, Array(name='bench', ceph=cluster) as array:
        for number in range(max(WINDOWS)):
            array.ctl('lun', 'create', f'l{number}', '--size', '1M')
        for count in WINDOWS:
            took = []
            for number in range(sets):
                array.ctl('set', 'create', f's{count}-{number}', *(f'l{i}' for i in range(count)))
                took.append(array.ctl('set', 'show', f's{count}-{number}')['window_ns'] / 1e6)
                array.ctl('set', 'delete', f's{count}-{number}')
            found[str(count)] = sorted(took)[len(took) // 2]
    return found


def measure(seconds):
    """None: Ceph is not installed, or umbrad has no such store."""
    if missing() or not os.path.exists(os.path.join(ROOT, 'build/bin/umbra-store-rbd.so')):
        return None
    return {'rates': rates(seconds), 'window_ms': {'50 ms': windows(True, 5), 'default': windows(False, 5)}}


def show(figures):
    print(f"{'in Ceph (memstore, one OSD, here): I/O a second':<52}{'fio rbd':>10}{'umbrad':>10}")
    for name, one in figures['rates'].items():
        print(f"{name:<52}{one['rbd']:>10.0f}{one['umbrad']:>10.0f}  {one['umbrad'] / one['rbd']:.2f} of it")
    for name, by_luns in figures['window_ms'].items():
        print(f'window of copy sets, monitor round {name}: ' + ', '.join(f'{n} LUN(s) {ms:.0f} ms' for n, ms in by_luns.items()))
