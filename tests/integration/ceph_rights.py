#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The Ceph user of an array: the rights that docs/ceph.md names are enough for all that an array does, in a namespace too, and let it do
nothing beside it; each that is missing, and each wrong place, is said in words that tell what to do."""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_ceph import PATIENCE_S, Cluster, end_in_order, skip_without_store  # noqa: E402
from umbra_initiator import Channel, Session  # noqa: E402
from umbra_lab import ROOT, Array, run_ctl, umbrad_path  # noqa: E402


FENCE_BYTES = 4095  # of addresses that are to be locked out
WITHOUT_TAKEOVER = 'client.unfit to lock out an umbrad that is gone'


def documented():
    """What docs/ceph.md tells to type for the user, as arguments of `ceph`."""
    with open(os.path.join(ROOT, 'docs/ceph.md')) as page:
        line = re.search(r"^ *ceph auth get-or-create client\.umbra mon '([^']+)' osd '([^']+)'", page.read(), re.M)
    return {'mon': line[1], 'osd': line[2]}


def refused(done, *words):
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    for word in words:
        assert word in said, f'"{word}" is not in: {said}'


def life(array):
    """What needs rights: making, copying, cloning, growing, deleting, and locking out a predecessor that was killed."""
    array.ctl('lun', 'create', 'a', '--size', '8M')
    array.add_host('h1', 'iqn.2026-01.test:h1', secret='secret-of-h1-')
    array.ctl('map', 'a', 'h1', '--number', '1')
    lun = bytes.fromhex(array.ctl('lun', 'show', 'a')['id'])
    with Session(array, 'h1') as session:
        session.write(1, 0, b'\1' * 512)
        (shadow,) = Channel(session).make_set(os.urandom(16), [lun])
    array.kill9()
    array.start()
    with Session(array, 'h1') as session:
        session.write(1, 0, b'\2' * 512)
        at = Channel(session).ask('map', 'ok', lun_id=shadow).lun_number
        assert session.read(at, 0, 1) == b'\1' * 512
        Channel(session).ask('unmap', 'ok', lun_id=shadow, scope=2)
    array.ctl('lun', 'resize', 'a', '--size', '16M')
    array.ctl('set', 'create', 'plex', 'a', '--plex')
    array.ctl('shadow', 'delete', shadow.hex())


def commands(array):
    """What Ceph has its own means for is refused, and says so."""
    status = array.text('pool', 'status')
    assert re.search(r'^in Ceph +rbd/', status, re.M) and 'read-write' in status and 'mirror' not in status, status
    assert array.ctl('status')['pool']['store'] == 'rbd'
    for words in (['grow'], ['backup', array.dir], ['scrub', 'start']):
        refused(array.ctl('pool', *words, check=False), 'it lies in Ceph')


def renewed(array):
    """A copied array gets ids of its own: LUNs, copies and sets are the same with other ones."""
    def found():
        luns = array.ctl('lun', 'list')['luns'] + array.ctl('shadow', 'list')['shadows']
        return {lun['name']: lun['id'] for lun in luns}, {s['name']: s['id'] for s in array.ctl('set', 'list')['sets']}
    words = ['rbd', 'reidentify', *array.ceph_words()]
    array.ctl('set', 'create', 'kept', 'a')
    before = found()
    assert len(before[0]) >= 2 and before[1], before
    refused(run_ctl(*words, '--yes', check=False), 'own')
    array.stop()
    said = run_ctl(*words, '--dry-run').stdout
    assert 'Nothing has changed' in said and all(one in said for one in before[0].values()), said
    array.start()
    assert found() == before
    array.stop()
    assert '1 mappings followed' in run_ctl(*words, '--yes').stdout
    array.start()
    after = found()
    for old, new in zip(before, after):
        assert old.keys() == new.keys() and not set(old.values()) & set(new.values()), (old, new)
    with Session(array, 'h1') as session:
        assert session.serial(1) == after[0]['a'] and session.read(1, 0, 1) == b'\2' * 512


def enough(cluster):
    cluster.user('client.umbra', **documented())
    cluster.ceph('osd', 'pool', 'create', 'other', '8', '8', 'replicated')
    cluster.rbd('pool', 'init', 'other')
    with Array({'rbd': {'client': 'umbra'}}, ceph=cluster) as array:
        life(array)
        commands(array)
        renewed(array)
        images = [name for name in cluster.images() if name.startswith(array.ceph['array'] + '.')]
        assert images, cluster.images()
        refused(run_ctl('rbd', 'create', 'other', '--client', 'umbra', '--conf', cluster.conf, check=False), 'does not allow client.umbra')
    cluster.rbd('namespace', 'create', f'{cluster.pool}/n')
    cluster.user('client.inside', mon='profile rbd', osd=f'profile rbd pool={cluster.pool} namespace=n')
    with Array({'rbd': {'client': 'inside', 'namespace': 'n'}}, ceph=cluster) as array:
        life(array)
        assert cluster.images('n')
        refused(run_ctl('rbd', 'create', cluster.pool, '--client', 'inside', '--conf', cluster.conf, '--array', 'x', check=False),
                'does not allow client.inside')


def never_too_many(cluster, array):
    """However often it was started without the right to lock the dead owner out, once it has it the array is there."""
    def fence():
        cluster.rados('getomapval', records, 'head.fence', path)
        with open(path) as file:
            return file.read()
    path = os.path.join(array.dir, 'fence')
    records = f"umbra.{array.ceph['array']}"
    dead = fence()
    assert dead and ' ' not in dead, dead
    for _ in range(2):
        refused(subprocess.run([umbrad_path(), '--config', array.config_path], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                               timeout=PATIENCE_S), 'does not allow client.unfit')
        assert fence() == dead, (dead, fence())  # who took it in vain gave it back
    cluster.ceph('auth', 'caps', 'client.unfit', 'mon', 'profile rbd', 'osd', f'profile rbd pool={cluster.pool}')
    array.start()
    assert fence() == ''
    array.kill9()
    others = [f'[2001:db8:ffff:ffff:ffff:ffff:ffff:{n:x}]:65535/4294967295' for n in range(0xff00, 0xff00 + FENCE_BYTES // 60)]
    cluster.rados('setomapval', records, 'head.fence', ' '.join(others).ljust(FENCE_BYTES))
    array.start()  # there was no room for the dead owner's address
    assert fence() == ''
    listed = cluster.ceph('osd', 'blocklist', 'ls').stdout
    assert len(listed.split('\n')) >= len(others) + 2 and dead in listed, (dead, listed)


def too_few(cluster):
    create = ('rbd', 'create', cluster.pool, '--conf', cluster.conf)
    refused(run_ctl(*create, '--client', 'nobody', check=False), 'client.nobody', 'keyring')
    refused(run_ctl('rbd', 'create', 'nowhere', '--conf', cluster.conf, check=False), 'no pool nowhere', 'ceph osd pool create nowhere')
    refused(run_ctl(*create, '--namespace', 'none', check=False), 'no namespace none', 'rbd namespace create')
    refused(run_ctl('rbd', 'create', cluster.pool, '--conf', '/nonexistent/ceph.conf', check=False), '/nonexistent/ceph.conf')
    cluster.user('client.reader', mon='allow r', osd=f'allow r pool={cluster.pool}')
    refused(run_ctl(*create, '--client', 'reader', check=False), 'does not allow client.reader', 'profile rbd')
    cluster.user('client.unfit', mon='allow r', osd=f'allow rwx pool={cluster.pool}')
    with Array({'rbd': {'client': 'unfit'}}, ceph=cluster, start=False) as array:
        refused(run_ctl(*create, '--array', array.ceph['array'], check=False), 'already')
        array.start()  # nobody is to be locked out yet, and the administrator is told that nobody could be
        assert array.log().count(WITHOUT_TAKEOVER) == 1, array.log()
        assert 'nobody' not in cluster.ceph('osd', 'blocklist', 'ls').stdout
        array.kill9()
        done = subprocess.run([umbrad_path(), '--config', array.config_path], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=PATIENCE_S)
        refused(done, 'does not allow client.unfit', 'profile rbd')
        never_too_many(cluster, array)
        assert array.log().count(WITHOUT_TAKEOVER) == 1, array.log()
        array.config['rbd']['array'] = 'none-such'
        array.write_config()
        done = subprocess.run([umbrad_path(), '--config', array.config_path], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=PATIENCE_S)
        refused(done, 'no array named none-such', 'umbractl rbd create')


def main():
    skip_without_store()
    end_in_order()
    with Cluster(cephx=True) as cluster:
        for step in (enough, too_few):
            step(cluster)
            print('ok', step.__name__)


if __name__ == '__main__':
    main()
