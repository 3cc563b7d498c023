#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Measures on a real Ceph cluster what the rbd store's parts cost, one by one: bench/scale reckons with these figures.

  bench/ceph_costs.py POOL [--images N] [--keys N]      CEPH_CONF names the cluster

Needs Debian's python3-rados and python3-rbd, and so the system's Python. Makes images and objects whose names begin with
`costs.` in the pool, and removes them. Prints one JSON object; all times in milliseconds, sizes in bytes:

  open, open_memory     to open one image of many, 32 at a time, and what it takes of this process while it is open
  snapshot, snapshots   of one image, and of 64 at once: the commit's window
  clones                of these 64 snapshots at once: behind the window
  remove                of the 64 clones and their snapshots, 16 at a time
  catalogue_write       a transaction of 130 records of 300 bytes in one operation, the median of many
  catalogue_read        a thousand records of a large object
  images_list           a thousand names of a pool with many images
  load                  as many records as --keys says are in the object meanwhile
"""
import argparse
import json
import os
import statistics
import struct
import sys
import time
from concurrent.futures import ThreadPoolExecutor

try:
    import rados
    import rbd
except ImportError:
    sys.exit('ceph_costs: install python3-rados and python3-rbd, and run it by /usr/bin/python3.')

MIB = 1 << 20
SET = 64
NAMES = 20000
RECORD = b'r' * 300
FEATURES = rbd.RBD_FEATURE_LAYERING | rbd.RBD_FEATURE_EXCLUSIVE_LOCK | rbd.RBD_FEATURE_OBJECT_MAP | rbd.RBD_FEATURE_FAST_DIFF


def memory():
    with open('/proc/self/statm') as f:
        return int(f.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def timed(work):
    start = time.monotonic()
    result = work()
    return (time.monotonic() - start) * 1000, result


def at_once(count, work, things):
    with ThreadPoolExecutor(count) as pool:
        return timed(lambda: list(pool.map(work, things)))


def sweep(io):
    """What a run that was ended has left, too."""
    maker = rbd.RBD()
    names = [name for name in maker.list(io) if name.startswith('costs.')]
    for name in sorted(names, key=len, reverse=True):  # copies before what they are of
        with rbd.Image(io, name) as image:
            snapshots = [snapshot['name'] for snapshot in image.list_snaps()]
            for snapshot in snapshots:
                image.remove_snap(snapshot)
        maker.remove(io, name)


def images_cost(io, count):
    names = [f'costs.{i}' for i in range(count)]
    costs = {}
    maker = rbd.RBD()
    create = lambda name: maker.create(io, name, 1024 * MIB, old_format=False, features=FEATURES)
    ms, _ = at_once(32, create, names)
    costs['create'] = ms / count
    try:
        before = memory()
        ms, images = at_once(32, lambda name: rbd.Image(io, name), names)
        costs['open'] = ms / count
        costs['open_memory'] = (memory() - before) // count
        some = images[:SET]
        for image in some:
            image.write(b'x' * 4096, 0)  # takes the lock: not in the window's time
        costs['snapshot'] = statistics.median(timed(lambda i=i: images[0].create_snap(f'one{i}'))[0] for i in range(5))
        for i in range(5):
            images[0].remove_snap(f'one{i}')
        windows, clones, removals = [], [], []
        for turn in range(5):
            windows.append(at_once(SET, lambda image: image.create_snap('set'), some)[0])
            clones.append(at_once(SET, lambda name: maker.clone(io, name, 'set', io, name + '.copy', FEATURES), names[:SET])[0])
            started = time.monotonic()
            at_once(16, lambda name: maker.remove(io, name + '.copy'), names[:SET])
            at_once(16, lambda image: image.remove_snap('set'), some)
            removals.append((time.monotonic() - started) * 1000)
        costs['snapshots'], costs['clones'], costs['remove'] = map(statistics.median, (windows, clones, removals))
        costs['close'] = at_once(32, lambda image: image.close(), images)[0] / count
    finally:
        sweep(io)
    return costs


def put(io, keys):
    with rados.WriteOpCtx() as op:
        io.set_omap(op, tuple(keys), tuple(RECORD for _ in keys))
        io.operate_write_op(op, 'costs.catalogue')


def catalogue_cost(io, count):
    costs = {}
    try:
        for start in range(0, count, 1000):
            put(io, [f'{n:012}' for n in range(start, min(start + 1000, count))])
        costs['catalogue_write'] = statistics.median(
            timed(lambda turn=turn: put(io, [f'{turn * 977 + n:012}' for n in range(2 * SET + 2)]))[0] for turn in range(100))
        got, last = 0, ''
        started = time.monotonic()
        while True:
            with rados.ReadOpCtx() as op:
                pairs, _ = io.get_omap_vals(op, last, '', 1000)
                io.operate_read_op(op, 'costs.catalogue')
                page = list(pairs)
            if not page:
                break
            got, last = got + len(page), page[-1][0]
        costs['catalogue_read'] = (time.monotonic() - started) * 1000 / got * 1000
        costs['load'] = got
    finally:
        io.remove_object('costs.catalogue')
    return costs


def list_cost(io, count):
    """Names alone, as RBD's directory object has them, in a namespace that no image is in."""
    io.set_namespace('costs')
    try:
        for start in range(0, count, 500):
            pairs = {}
            for n in range(start, min(start + 500, count)):
                name, number = f'costs.lun-{n}'.encode(), f'{n:012x}'.encode()
                pairs[f'name_costs.lun-{n}'] = struct.pack('<I', len(number)) + number
                pairs[f'id_{n:012x}'] = struct.pack('<I', len(name)) + name
            with rados.WriteOpCtx() as op:
                io.set_omap(op, tuple(pairs), tuple(pairs.values()))
                io.operate_write_op(op, 'rbd_directory')
        times = [timed(lambda: rbd.RBD().list(io)) for _ in range(3)]
        assert all(len(names) == count for _, names in times)
        return {'images_list': min(ms for ms, _ in times) / count * 1000}
    finally:
        io.remove_object('rbd_directory')
        io.set_namespace('')


def main():
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument('pool')
    words.add_argument('--images', type=int, default=512, help='opened at one time (default 512)')
    words.add_argument('--keys', type=int, default=100000, help='records in the object of the catalogue (default 100,000)')
    options = words.parse_args()
    if options.images < SET:
        words.error(f'--images: at least {SET}.')
    with rados.Rados(conffile=os.environ.get('CEPH_CONF', '/etc/ceph/ceph.conf'), conf={'rbd_cache': 'false', 'rbd_default_clone_format': '2'}) as cluster:
        with cluster.open_ioctx(options.pool) as io:
            sweep(io)
            costs = images_cost(io, options.images)
            costs.update(catalogue_cost(io, options.keys))
            costs.update(list_cost(io, NAMES))
    print(json.dumps({name: round(value, 3) for name, value in costs.items()}, indent=1))


if __name__ == '__main__':
    main()
