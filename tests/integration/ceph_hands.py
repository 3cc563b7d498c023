#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What an administrator does by hand to what an array has in Ceph: settings, locks, features, names, sizes, snapshots and rights. Nothing
that was acknowledged is lost by it, no LUN waits without end, the others go on, the log says what it is, and undone it is over.

usage: ceph_hands.py CASE"""
import json
import os
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_ceph import PATIENCE_S, Cluster, end_in_order, skip_without_store  # noqa: E402
from umbra_initiator import Channel, Session, refused  # noqa: E402
from umbra_lab import Array, run_ctl  # noqa: E402

BUSY = 8
FROZEN_S = 2  # less than the owner's lease
NO_ANSWER_S = 120
TICKET_S = 4  # so long Ceph believes what rights a client had


def block(value):
    return struct.pack('>Q', value) * 64


def with_luns(array, count):
    """LUNs a1, a2 … with the numbers 1, 2 … for the host h1. Their images are not open: nobody has used them."""
    array.add_host('h1', 'iqn.2026-01.test:h1', secret='secret-of-h1-')
    for number in range(1, count + 1):
        array.ctl('lun', 'create', f'a{number}', '--size', '16M')
        array.ctl('map', f'a{number}', 'h1', '--number', str(number))


def wait_until(what, holds):
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def image(array, number):
    return f"{array.ceph['pool']}/{array.ceph['array']}.lun-{number}"


def acknowledged_by_ceph(cluster, session, lun):
    """A write that must be durable is not acknowledged while the one who is to keep it hangs."""
    ended = threading.Event()

    def write():
        session.write(lun, 8, block(77), fua=True)
        ended.set()

    session.write(lun, 0, block(1))
    session.flush(lun)  # from here on librbd's cache would keep writes back
    cluster.freeze()
    writer = threading.Thread(target=write, daemon=True)
    try:
        writer.start()
        assert not ended.wait(FROZEN_S), 'a write was acknowledged that no OSD has'
    finally:
        cluster.thaw()
    writer.join(PATIENCE_S)
    assert ended.is_set()


def settings():
    """A configuration that the pool has, or an image, does not take the promise away that a write that is done is on the OSDs; no
    image is striped, for a hydration copies by objects."""
    striped = ['rbd default stripe unit = 65536', 'rbd default stripe count = 4']
    with Cluster(settings=striped) as cluster, Array(ceph=cluster) as array:
        with_luns(array, 2)
        assert 'striping' not in cluster.rbd('info', image(array, 1)).stdout, cluster.rbd('info', image(array, 1)).stdout
        for option, value in (('stripe_unit', 65536), ('stripe_count', 4), ('order', 20)):
            cluster.rbd('config', 'pool', 'set', cluster.pool, f'rbd_default_{option}', str(value))
        array.ctl('lun', 'create', 'a3', '--size', '16M')
        array.ctl('set', 'create', 'copies', 'a1', 'a3')
        abouts = [json.loads(cluster.rbd('info', '--format', 'json', image(array, number)).stdout) for number in (3, 4, 5)]
        assert not any('striping' in about['features'] for about in abouts), abouts
        assert sorted(about['order'] for about in abouts) == [20, 20, 22], abouts
        cluster.rbd('config', 'image', 'set', image(array, 1), 'rbd_cache', 'true')
        cluster.rbd('config', 'image', 'set', image(array, 1), 'rbd_cache_writethrough_until_flush', 'false')
        with Session(array, 'h1') as session:
            acknowledged_by_ceph(cluster, session, 1)
            cluster.rbd('config', 'pool', 'set', cluster.pool, 'rbd_cache', 'true')
            acknowledged_by_ceph(cluster, session, 2)
        assert array.log().count('rbd_cache = true') == 1, array.log()
        array.restart()
        with Session(array, 'h1') as session:
            acknowledged_by_ceph(cluster, session, 2)
        assert array.log().count('rbd_cache = true') == 1, array.log()


def locks(cluster, array, session):
    """A lock by hand: BUSY, so that hosts try again, until it is taken away."""
    cluster.rbd('lock', 'add', image(array, 1), 'mine')
    assert refused(session.read, 1, 0, 1).status == BUSY
    assert refused(session.write, 1, 0, block(1)).status == BUSY
    assert 'another client has locked it' in array.log(), array.log()
    session.write(2, 0, block(2))
    (lock,) = json.loads(cluster.rbd('lock', 'ls', image(array, 1), '--format', 'json').stdout)
    cluster.rbd('lock', 'rm', image(array, 1), lock['id'], lock['locker'])
    session.write(1, 0, block(1))
    assert array.log().count('another client has locked it') == 1, array.log()


def features(cluster, array, session):
    """Without a map of the objects what is mapped is told all the same; without the feature of the lock an image gets it back."""
    for number in (3, 4):
        cluster.rbd('feature', 'disable', image(array, number), 'fast-diff', 'object-map')
    cluster.rbd('feature', 'disable', image(array, 4), 'exclusive-lock')
    (info,) = [json.loads(cluster.rbd('info', '--format', 'json', image(array, 5)).stdout)]
    cluster.rados('rm', f"rbd_object_map.{info['id']}")  # librbd marks the map as invalid
    for number in (3, 4, 5):
        session.write(number, 10000, block(number))
        assert session.read(number, 10000, 1) == block(number)
        assert session.mapped(number, 10000) and not session.mapped(number, 0)
    assert 'exclusive-lock' in json.loads(cluster.rbd('info', '--format', 'json', image(array, 4)).stdout)['features']
    assert 'invalid' in cluster.rbd('info', image(array, 5)).stdout


def names(cluster, array, session):
    """An image that was renamed or shrunk: its LUN's I/O fails until that is undone. One that was deleted: the LUN can be deleted."""
    cluster.rbd('mv', image(array, 6), f'{cluster.pool}/mine')
    cluster.rbd('resize', '--size', '4M', '--allow-shrink', image(array, 7))
    cluster.rbd('rm', image(array, 8))
    for number in (6, 7, 8):
        assert refused(session.read, number, 0, 1).sense == (3, 0x1100)
        assert refused(session.write, number, 0, block(1)).sense == (3, 0x0C00)
    assert 'deleted or renamed' in array.log() and 'shrunk' in array.log() and 'ceph -s' in array.log(), array.log()
    cluster.rbd('mv', f'{cluster.pool}/mine', image(array, 6))
    cluster.rbd('resize', '--size', '16M', image(array, 7))
    for number in (6, 7):
        session.write(number, 0, block(number))
        assert session.read(number, 0, 1) == block(number)
    array.ctl('unmap', 'a8', 'h1')
    array.ctl('lun', 'delete', 'a8')


def snapshots(cluster, array, session):
    """A snapshot by hand, and a clone of it: copies are made all the same; it is told why the image of a deleted LUN stays, and that goes
    with the snapshot."""
    session.write(9, 0, block(9))
    cluster.rbd('snap', 'create', image(array, 9) + '@mine')
    lun = bytes.fromhex(array.ctl('lun', 'show', 'a9')['id'])
    channel = Channel(session)
    (shadow,) = channel.make_set(os.urandom(16), [lun])
    session.write(9, 0, block(10))
    at = channel.ask('map', 'ok', lun_id=shadow).lun_number
    assert session.read(at, 0, 1) == block(9)
    channel.ask('unmap', 'ok', lun_id=shadow, scope=2)
    array.ctl('shadow', 'delete', shadow.hex())
    array.ctl('unmap', 'a9', 'h1')
    array.ctl('lun', 'delete', 'a9')
    wait_until('it is told why the image stays', lambda: 'snapshots that somebody made by hand' in array.log())
    assert cluster.rbd('export', image(array, 9) + '@mine', os.path.join(array.dir, 'mine')).returncode == 0
    with open(os.path.join(array.dir, 'mine'), 'rb') as file:
        assert file.read(512) == block(9)
    cluster.rbd('snap', 'purge', image(array, 9))
    name = image(array, 9).split('/')[1]
    wait_until('the image goes', lambda: name not in cluster.images())


def mirrored():
    """Images that are mirrored, and demoted for another cluster: BUSY, so that hosts try again, until they are promoted. What they cannot be
    deleted for, or what is in a group, is told."""
    kinds = {1: 'journal', 2: 'snapshot', 3: 'snapshot'}
    with Cluster() as cluster, Array(ceph=cluster) as array:
        with_luns(array, 4)
        with Session(array, 'h1') as session:
            for number in range(1, 5):
                session.write(number, 0, block(number))
        array.stop()
        cluster.rbd('mirror', 'pool', 'enable', cluster.pool, 'image')
        for number, kind in kinds.items():
            cluster.rbd('mirror', 'image', 'enable', image(array, number), kind)
            cluster.rbd('mirror', 'image', 'demote', image(array, number))
        cluster.rbd('group', 'create', cluster.pool + '/mine')
        cluster.rbd('group', 'image', 'add', cluster.pool + '/mine', image(array, 4))
        array.start()
        with Session(array, 'h1') as session:
            for number in (1, 2):
                assert refused(session.write, number, 0, block(number + 10)).status == BUSY
                assert refused(session.read, number, 0, 1).status == BUSY
                assert f'lun-{number} cannot be opened: it is mirrored' in array.log(), array.log()
            for number in (3, 4):
                array.ctl('unmap', f'a{number}', 'h1')
                array.ctl('lun', 'delete', f'a{number}')
            for number, why in ((3, 'it is mirrored'), (4, 'it is in a group')):
                told = f'lun-{number}, which nothing needs any more, cannot be deleted yet: {why}'
                wait_until(told, lambda: told in array.log())
            for number in kinds:
                cluster.rbd('mirror', 'image', 'promote', image(array, number))
            cluster.rbd('group', 'image', 'rm', cluster.pool + '/mine', image(array, 4))
            for number in (1, 2):
                assert session.read(number, 0, 1) == block(number)
                session.write(number, 0, block(number + 10))
        wait_until('they go', lambda: len(cluster.images()) == 2)


def images():
    with Cluster() as cluster, Array(ceph=cluster) as array:
        with_luns(array, 9)
        with Session(array, 'h1', timeout_s=NO_ANSWER_S) as session:
            for step in (locks, features, names, snapshots):
                step(cluster, array, session)
                print('ok', step.__name__, flush=True)
        array.restart()
        with Session(array, 'h1') as session:
            assert [session.read(number, 0, 1) for number in (1, 2, 6, 7)] == [block(number) for number in (1, 2, 6, 7)]


def migrate(cluster, image, *options, stop_after='commit'):
    for step in ('prepare', 'execute', 'commit'):
        cluster.rbd('migration', step, image, *(options if step == 'prepare' else ()))
        if step == stop_after:
            return


def migrated():
    """Images that are migrated while umbrad is away. What is not copied yet is told as mapped, and is in an export. A copy that is
    striped, whose map says more than it has: all that its original had is in it when it is full."""
    with Cluster() as cluster, Array({'copysets': {'hydrate_rate': '1M'}}, ceph=cluster) as array:
        with_luns(array, 3)
        with Session(array, 'h1') as session:
            for number in (1, 2, 3):
                for at in range(0, 32768, 1024):
                    session.write(number, at, block(number * 100000 + at))
        copy = array.ctl('set', 'create', 'p', 'a3', '--plex')['members'][0]['shadow_id']
        wait_until('it has begun', lambda: array.ctl('lun', 'show', copy)['full_percent'] > 0)
        array.stop()
        migrate(cluster, image(array, 1), stop_after='prepare')
        migrate(cluster, image(array, 2), '--object-size', '1M', '--stripe-unit', '1M', '--stripe-count', '1')
        cluster.rbd('rm', image(array, 4))
        cluster.rbd('snap', 'create', image(array, 3) + '@mine')
        cluster.rbd('clone', '--rbd-default-clone-format', '2', '--stripe-unit', '64K', '--stripe-count', '4', image(array, 3) + '@mine',
                    image(array, 4))
        cluster.rbd('bench', '--io-type', 'write', '--io-size', '64K', '--io-total', '128K', '--io-threads', '1', image(array, 4))
        about = json.loads(cluster.rbd('info', '--format', 'json', image(array, 4)).stdout)
        for number in range(2):  # as where librbd was killed before it wrote
            cluster.rados('rm', f"{about['block_name_prefix']}.{number:016x}")
        del array.config['copysets']['hydrate_rate']
        array.write_config()
        array.start()
        data = [b''.join(block(number * 100000 + at) + bytes(1023 * 512) for at in range(0, 32768, 1024)) for number in (1, 2, 3)]
        with Session(array, 'h1') as session:
            assert session.read(1, 0, 2) == data[0][:1024]
            assert session.mapped(1, 0) and session.mapped(1, 32767), 'what is not copied yet is told as unmapped'
        for number in (1, 2):
            path = os.path.join(array.dir, f'a{number}.raw')
            array.ctl('lun', 'export', f'a{number}', path)
            with open(path, 'rb') as file:
                assert file.read() == data[number - 1], number
        wait_until('it is full', lambda: array.ctl('lun', 'show', copy)['full_percent'] == 100)
        array.ctl('shadow', 'map', copy, 'h1', '--number', '4')
        with Session(array, 'h1') as session:
            assert b''.join(session.read(4, at, 256) for at in range(0, 32768, 256)) == data[2]


def arrays():
    """Arrays whose names begin like another's image, or its records, in one pool: what one deletes, or sweeps at its start, is its own. The
    pool need not be marked as RBD's. One whose records somebody has cleared ends, starts no more, and deletes nothing; nor does a new one
    of its name."""
    with Cluster() as cluster:
        cluster.ceph('osd', 'pool', 'application', 'disable', cluster.pool, 'rbd', '--yes-i-really-mean-it')
        made = []
        try:
            for name in ('x', 'x.lun-1', 'x.lun-1.2', 'x.room'):
                made.append(Array({'rbd': {'array': name}}, ceph=cluster))
                with_luns(made[-1], 2)
                with Session(made[-1], 'h1') as session:
                    session.write(1, 0, block(len(made)))
            before = sorted(cluster.images())
            assert len(before) == 8, before
            records = sorted(name for name in cluster.rados('ls').stdout.split() if name.startswith('umbra'))
            for array in made:  # an object is written for that, and deleted
                array.ctl('lun', 'resize', 'a2', '--size', '20M')
            assert sorted(name for name in cluster.rados('ls').stdout.split() if name.startswith('umbra')) == records, records
            for array in made:
                array.kill9()
            for value, array in enumerate(made, 1):
                array.start()
                with Session(array, 'h1') as session:
                    assert session.read(1, 0, 1) == block(value)
            assert sorted(cluster.images()) == before
            first = made[0]
            cluster.rados('clearomap', 'umbra.x')
            assert first.process.wait(PATIENCE_S) == 1
            first.process = None
            assert 'has lost the array' in first.log(), first.log()
            try:
                first.start()
                raise AssertionError('it started')
            except RuntimeError as failure:
                assert 'umbra.x) is damaged' in str(failure), failure
            assert sorted(cluster.images()) == before
            cluster.rados('rm', 'umbra.x')
            done = run_ctl('rbd', 'create', cluster.pool, '--conf', cluster.conf, '--array', 'x', check=False)
            assert done.returncode == 1 and 'x.lun-1' in done.stderr and '--array' in done.stderr, done
            assert sorted(cluster.images()) == before
            for array in made[1:]:
                assert array.alive() and array.stop() == 0, array.log()
        finally:
            for array in made:
                array.remove()


def copy_pool(cluster, array, pool):
    """The pool with all that is in it, as an administrator may copy it; the array's umbrad that would serve it there."""
    path = os.path.join(array.dir, 'pool')
    cluster.rados('export', path)
    cluster.ceph('osd', 'pool', 'create', pool, '8', '8', 'replicated')
    cluster.rados('-p', pool, 'import', path)
    return Array({'rbd': {'pool': pool}}, of=array, start=False)


def not_started(array, words):
    try:
        array.start()
    except RuntimeError as failure:
        assert words in str(failure), failure
    else:
        raise AssertionError('it started')


def copied():
    """An array whose pool was copied is not served beside the original, as one that stands by neither, until it has ids of its own, or is
    said to be the only one. A pool that has another name only is the same."""
    with Cluster() as cluster, Array(ceph=cluster) as array:
        with_luns(array, 1)
        with Session(array, 'h1') as session:
            session.write(1, 0, block(1))
        lun = array.ctl('lun', 'show', 'a1')['id']
        array.stop()
        copy = kept = None
        try:
            copy, kept = copy_pool(cluster, array, 'copy'), copy_pool(cluster, array, 'kept')
            cluster.ceph('osd', 'pool', 'rename', cluster.pool, 'renamed')
            not_started(array, 'was it renamed')
            array.config['rbd']['pool'] = 'renamed'
            array.write_config()
            array.start()
            not_started(copy, 'made in another pool or namespace')
            copy.config['controller'] = {'number': '2'}
            copy.write_config()
            not_started(copy, 'made in another pool or namespace')
            del copy.config['controller']
            copy.write_config()
            assert lun in run_ctl('rbd', 'reidentify', *copy.ceph_words(), '--dry-run').stdout
            not_started(copy, 'made in another pool or namespace')
            run_ctl('rbd', 'reidentify', *copy.ceph_words(), '--yes')
            run_ctl('rbd', 'reidentify', *kept.ceph_words(), '--keep-ids', '--yes')
            array.stop()
            for of, same in ((copy, False), (kept, True), (array, True)):
                of.start()
                assert (of.ctl('lun', 'show', 'a1')['id'] == lun) == same, of.ceph_words()
                of.hosts = array.hosts
                with Session(of, 'h1') as session:
                    assert session.read(1, 0, 1) == block(1)
                assert of.stop() == 0
        finally:
            for made in (copy, kept):
                if made:
                    made.remove()


def rights():
    """Rights that are taken from the client while it runs: hosts see BUSY, or wait, and no I/O is failed. With them all goes on."""
    with Cluster(cephx=True, settings=[f'auth service ticket ttl = {TICKET_S}']) as cluster:
        caps = ('mon', 'profile rbd', 'osd', f'profile rbd pool={cluster.pool}')
        cluster.user('client.umbra', **dict(zip(caps[::2], caps[1::2])))
        with Array({'rbd': {'client': 'umbra'}}, ceph=cluster) as array:
            with_luns(array, 2)
            answers, ended, value = set(), threading.Event(), 0

            def write(lun):
                """Again after BUSY, as a host does."""
                count = 0
                with Session(array, 'h1') as session:
                    while not ended.is_set():
                        count += 1
                        status, sense, _ = session.command(lun, struct.pack('>BBQIBB', 0x8A, 0, 0, 1, 0, 0), out=block(count))
                        if status == 0:
                            written[lun] = count
                        elif sense[0] != 6:
                            answers.add((status, sense))
                        time.sleep(0.05)

            written = {1: 0, 2: 0}
            writers = [threading.Thread(target=write, args=(lun,), daemon=True) for lun in written]
            writers[0].start()
            wait_until('there are writes', lambda: written[1])
            cluster.ceph('auth', 'caps', 'client.umbra', 'mon', 'allow r', 'osd', 'allow r')
            time.sleep(2 * TICKET_S)  # until it has asked for another ticket
            cluster.ceph('osd', 'down', '0')  # the connection is made anew, with that
            writers[1].start()  # its image is not open yet
            wait_until('it is told', lambda: 'rights' in array.log() or 'not permitted' in array.log())
            time.sleep(1)
            cluster.ceph('auth', 'caps', 'client.umbra', *caps)
            time.sleep(2 * TICKET_S)
            cluster.ceph('osd', 'down', '0')
            value = dict(written)
            wait_until('writes go on', lambda: all(written[lun] > value[lun] for lun in written))
            ended.set()
            for writer in writers:
                writer.join(PATIENCE_S)
            assert all(status == BUSY for status, _ in answers), answers


def erasure():
    """The data in an erasure-coded pool, the records in another: all that a host asks for works there as well."""
    relaxed = ['mon debug no require bluestore for ec overwrites = true']  # the data is in memory
    with Cluster(osds=3, settings=relaxed) as cluster:
        cluster.ceph('osd', 'erasure-code-profile', 'set', 'two-and-one', 'k=2', 'm=1', 'crush-failure-domain=osd')
        cluster.ceph('osd', 'pool', 'create', 'coded', '8', '8', 'erasure', 'two-and-one')
        cluster.ceph('osd', 'pool', 'set', 'coded', 'allow_ec_overwrites', 'true')
        done = run_ctl('rbd', 'create', 'coded', '--conf', cluster.conf, check=False)
        assert done.returncode == 1 and 'erasure-coded' in done.stderr, done
        with open(cluster.conf) as file:
            conf = file.read()
        with open(cluster.conf, 'w') as file:
            file.write(conf.replace('[client]', '[client]\nrbd default data pool = coded'))
        with Array(ceph=cluster) as array:
            with_luns(array, 1)
            assert 'data_pool: coded' in cluster.rbd('info', image(array, 1)).stdout
            with Session(array, 'h1') as session:
                session.write(1, 8191, block(1) * 2)  # in two objects

                def compare_and_write(old, new):
                    return session.command(1, struct.pack('>BBQIBB', 0x89, 0, 8191, 2, 0, 0), out=block(old) * 2 + block(new) * 2)[:2]
                assert compare_and_write(1, 2)[0] == 0
                assert compare_and_write(1, 3) == (2, (14, 0x1D00))
                (shadow,) = Channel(session).make_set(os.urandom(16), [bytes.fromhex(array.ctl('lun', 'show', 'a1')['id'])])
                session.good('WRITE SAME', 1, struct.pack('>BBQIBB', 0x93, 8, 8191, 1, 0, 0), out=bytes(512))
                assert session.read(1, 8190, 4) == bytes(1024) + block(2) + bytes(512)
                at = Channel(session).ask('map', 'ok', lun_id=shadow).lun_number
                assert session.read(at, 8190, 4) == bytes(512) + block(2) * 2 + bytes(512)


def main():
    skip_without_store()
    end_in_order()
    cases = {case.__name__: case for case in (settings, images, migrated, mirrored, arrays, copied, rights, erasure)}
    cases[sys.argv[1]]()
    print('ok', sys.argv[1])


if __name__ == '__main__':
    main()
