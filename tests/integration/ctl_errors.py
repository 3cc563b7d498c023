#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Bad input for the administrator's side: each gets its exit code and a message that says what to do, and nothing is
lost by it. (Bad input in the band: ctl_inband.py; wrong logins: there and in the iSCSI tests.)"""
import json
import os
import pty
import re
import resource
import select
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_initiator import Session  # noqa: E402
from umbra_lab import Array, run_ctl, umbractl_path, umbrad_path  # noqa: E402


def umbrad(*arguments):
    return subprocess.run([umbrad_path(), *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=600)


def expect(done, code, *words):
    said = done.stdout + done.stderr
    assert done.returncode == code, f'{done.args}: {done.returncode}, not {code}: {said}'
    for word in words:
        assert re.search(word, said), f'{done.args}: nothing of "{word}" in: {said}'
    assert len(said) > 10


def command_lines():
    expect(umbrad('--help'), 0, 'usage')
    expect(umbrad('--version'), 0, r'umbrad \d')
    expect(umbrad('--nonsense'), 2, '--help')
    expect(umbrad('stray'), 2, 'stray')
    expect(umbrad('--config', '/nonexistent/umbrad.conf'), 2, '/nonexistent/umbrad.conf', '--config')
    for arguments in (['nonsense'], [], ['lun'], ['lun', 'nonsense'], ['lun', 'create'], ['lun', 'create', 'a'],
                      ['lun', 'create', 'a', '--size', 'big'], ['lun', 'create', 'a', '--size'],
                      ['lun', 'create', 'a', 'b', '--size', '1G'], ['lun', 'list', '--nonsense'],
                      ['lun', 'list', '--json=yes'], ['map', 'a'], ['map', 'a', 'b', '--number', '0'],
                      ['map', 'a', 'b', '--number', '16384'], ['host', 'add', 'h'],
                      ['host', 'add', 'h', '--iqn', 'iqn.x:y', '--import', 'some'], ['host', 'set', 'h'],
                      ['host', 'set', 'h', '--no-chap', '--chap-file', 'x'], ['set', 'create', 'only-a-name'],
                      ['events', '--after', '-3'], ['top', '--interval', '5'], ['pool', 'create'],
                      ['pool', 'create', '/x', '--capacity', 'all'], ['rbd', 'create'], ['rbd', 'create', 'p', '--array', 'A_B'],
                      ['rbd', 'create', 'p', '--array', ''], ['rbd', 'create', 'p', '--client', 'client.umbra'],
                      ['rbd', 'create', 'p/space'], ['rbd', 'create', 'p p'], ['rbd', 'create', ''], ['rbd', 'create', 128 * 'p'],
                      ['rbd', 'create', 'p', '--namespace', 's@x'], ['rbd', 'create', 'p', '--client', '']):
        expect(run_ctl(*arguments, check=False), 2, '--help|there is|needs one of')
    expect(run_ctl('status', socket='/nonexistent/sock', check=False), 1, '/nonexistent/sock', 'is umbrad running')
    done = run_ctl('status', '--json', socket='/nonexistent/sock', check=False)
    expect(done, 1, '"ENOENT"')


def configurations():
    with Array(start=False) as array:
        ok = umbrad('--config', array.config_path, '--check-config')
        expect(ok, 0, 'ok')
        with open(array.config_path) as file:
            good = file.read()
        for text, words in (
                ('[copysets]\nleese = 5m\n', ['unknown key leese', r'umbrad\.conf\(5\)']),
                ('[copyset]\nlease = 5m\n', ['unknown section']),
                ('[copysets]\nlease = 5\n', ['unit', '5m']),
                ('[iscsi]\nportals = 127.0.0.1:port\n', ['port']),
                ('[iscsi]\nportals = localhost:0\n', ['localhost', 'names are not looked up'])):
            with open(array.config_path, 'w') as file:
                file.write(good + text)
            line = (good + text).count('\n')
            for arguments in (['--check-config'], []):
                expect(umbrad('--config', array.config_path, *arguments), 2,
                       re.escape(f'{array.config_path}:{line}: '), *words)
        ceph = f'[store]\ntype = rbd\n[rbd]\npool = p\n[management]\nsocket = {array.socket}\n[controller]\n'
        for text, words in (  # what each key may be is told by the unit tests
                (ceph + 'number = 3\n', [r':8: ', 'from 1 to 2']),
                (ceph + 'number = 1\npeer_portals = nowhere\n', [r':9: ', 'nowhere', 'names are not looked up']),
                (ceph + 'number = 1\nportals = 10.0.0.1\n', [r':9: ', 'unknown key portals', r'umbrad\.conf\(5\)']),
                (ceph.replace('pool = p', 'path = /p') + 'number = 1\n', [r':4: ', 'unknown key path']),
                (ceph + 'number = 1\npeer_portals = 10.0.0.1/1\n', ['group 1 is on both controllers', 'ADDRESS/GROUP']),
                (ceph + 'number = 1\npeer_portals = 10.0.0.1\n[iscsi]\nportals = 10.0.0.1\n', ["own portal", "name the other one's"]),
                (good + '[controller]\nnumber = 1\n', [r'set type = rbd in \[store\]']),
                (good + '[rbd]\npool = p\n', [r'add type = rbd to \[store\]'])):
            with open(array.config_path, 'w') as file:
                file.write(text)
            for arguments in (['--check-config'], []):
                expect(umbrad('--config', array.config_path, *arguments), 2, re.escape(array.config_path), *words)
        for mark, words, code in ((b'\xef\xbb\xbf' + good.encode(), 'ok', 0), (good.encode('utf-16'), ':1: .*UTF-16', 2)):
            with open(array.config_path, 'wb') as file:
                file.write(mark)
            expect(umbrad('--config', array.config_path, '--check-config'), code, words)
        with socket.create_server(('127.0.0.1', 0)) as other:
            port = other.getsockname()[1]
            array.config['iscsi']['portals'] = f'127.0.0.1:{port}'
            array.write_config()
            expect(umbrad('--config', array.config_path), 1, rf'127\.0\.0\.1, port {port} cannot be opened')


def stores():
    """Without the package that brings the store rbd."""
    with tempfile.TemporaryDirectory(prefix='umbra-') as empty:
        before = os.environ.get('UMBRA_MODULES')
        os.environ['UMBRA_MODULES'] = empty
        expect(umbrad('--version'), 0, r'(?m)^stores: pool, rbd \(not installed: package umbra-rbd\)$')
        done = run_ctl('rbd', 'create', 'rbd', '--json', check=False)
        expect(done, 1, 'install the package umbra-rbd', '"ENOENT"')
        path = os.path.join(empty, 'umbrad.conf')
        with open(path, 'w') as file:
            file.write(f'[store]\ntype = rbd\n[rbd]\npool = rbd\n[management]\nsocket = {empty}/sock\n')
        expect(umbrad('--config', path, '--check-config'), 2, 'install the package umbra-rbd')
        expect(umbrad('--config', path), 1, 'umbrad: rbd: ', 'install the package umbra-rbd')
        with open(os.path.join(empty, 'umbra-store-rbd.so'), 'w') as file:
            file.write('no module')
        expect(umbrad('--config', path), 1, 'cannot be loaded', 'install the package umbra-rbd anew')
        expect(umbrad('--config', path, '--check-config'), 2, 'cannot be loaded')
        expect(umbrad('--version'), 0, 'cannot be loaded')
        if before is None:
            del os.environ['UMBRA_MODULES']
        else:
            os.environ['UMBRA_MODULES'] = before


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc


def rewrite(path, change):
    with open(path, 'rb') as file:
        data = bytearray(file.read())
    change(data)
    with open(path, 'wb') as file:
        file.write(data)


def pool_missing():
    missing = Array(start=False)
    os.rename(missing.pool, missing.pool + '.away')
    expect(umbrad('--config', missing.config_path), 1, 'check the path')
    expect(run_ctl('pool', 'check', missing.pool, check=False), 1, 'check the path')
    os.mkdir(missing.pool)
    expect(umbrad('--config', missing.config_path), 1, 'umbractl pool create')
    missing.remove()


def pool_of_an_odd_name():
    # a path that is no UTF-8: the JSON says it as well as it can
    with tempfile.TemporaryDirectory(prefix='umbra-ctl-') as directory:
        odd = os.path.join(os.fsencode(directory), b'p\xffl')
        done = run_ctl('pool', 'create', odd, '--json', check=False)
        assert done.returncode == 0 and json.loads(done.stdout)['path'].endswith('/p?l'), done
        done = run_ctl('pool', 'check', odd, '--json', check=False)
        assert done.returncode == 0 and json.loads(done.stdout)['findings'] == 0, done
        done = run_ctl('pool', 'check', odd + b'l', '--json', check=False)
        assert done.returncode == 1 and 'p?ll' in json.loads(done.stdout)['error']['message'], done


def pool_in_use(array):
    # by a second umbrad, by a check; the first serves on
    other = os.path.join(array.dir, 'other.conf')
    with open(array.config_path) as file:
        text = file.read().replace(array.socket, array.socket + '2')
    with open(other, 'w') as file:
        file.write(text)
    expect(umbrad('--config', other), 1, 'in use')
    expect(run_ctl('pool', 'check', array.pool, check=False), 1, 'in use')
    expect(run_ctl('pool', 'dump', array.pool, check=False), 1, 'in use')
    expect(run_ctl('pool', 'create', array.pool, check=False), 1, 'in use|holds a pool')
    # the management socket is another's
    second = Array(start=False)
    second.config['management']['socket'] = array.socket
    second.write_config()
    expect(umbrad('--config', second.config_path), 1, 'Another umbrad answers')
    second.remove()
    assert array.ctl('lun', 'list')['luns'][0]['name'] == 'kept'


def pool_dumped(array):
    expect(run_ctl('pool', 'create', array.pool, check=False), 1, 'holds a pool already')
    dumped = json.loads(run_ctl('pool', 'dump', '--map', '--json', array.pool).stdout)
    assert [d['size_bytes'] for d in dumped['disk']] == [8 << 20], dumped
    assert dumped['total'][0]['damaged'] == 0 and dumped['log'][0]['state'] == 'good', dumped
    assert 'disk id=' in run_ctl('pool', 'dump', array.pool).stdout


def pool_checked_on_a_terminal(array):
    # a long check shows how far it is
    inner, outer = pty.openpty()
    with os.fdopen(inner, 'rb', buffering=0) as terminal:
        watched = subprocess.Popen([umbractl_path(), 'pool', 'check', array.pool], stdin=subprocess.DEVNULL, stdout=outer)
        os.close(outer)
        shown = b''
        while watched.poll() is None or select.select([terminal], [], [], 0)[0]:
            try:
                shown += terminal.read(4096)
            except OSError:  # the other end is closed
                break
        assert watched.wait(600) == 0 and b'checking the map: 0 %' in shown and shown.endswith(b'no findings\r\n'), shown


def put_back(path, data):
    with open(path, 'wb') as file:
        file.write(data)


def pool_of_another_version(array):
    superblock = os.path.join(array.pool, 'pool')
    with open(superblock, 'rb') as file:
        good = file.read()

    def newer(data):
        data[8:12] = struct.pack('>I', 999)
        data[-4:] = struct.pack('>I', crc32c(data[:-4]))
    rewrite(superblock, newer)
    expect(umbrad('--config', array.config_path), 1, 'format 999', 'install a newer Umbra')
    expect(run_ctl('pool', 'check', array.pool, check=False), 1, 'format 999')
    put_back(superblock, good)


def pool_damaged(array):
    superblock = os.path.join(array.pool, 'pool')
    with open(superblock, 'rb') as file:
        good = file.read()

    def flip(data):
        data[100] ^= 1
    rewrite(superblock, flip)
    expect(umbrad('--config', array.config_path), 1, 'damaged', 'backup')
    expect(run_ctl('pool', 'check', array.pool, check=False), 1, 'damaged')
    put_back(superblock, good)
    meta = os.path.join(array.pool, 'meta')
    os.rename(meta, meta + '.away')
    os.mkdir(meta)
    expect(umbrad('--config', array.config_path), 1, 'pool')
    os.rmdir(meta) if not os.listdir(meta) else subprocess.run(['rm', '-r', meta], check=True)
    os.rename(meta + '.away', meta)
    data = os.path.join(array.pool, 'data.0')
    os.rename(data, data + '.away')
    expect(umbrad('--config', array.config_path), 1, 'data', 'backup')
    expect(run_ctl('pool', 'check', array.pool, check=False), 1, 'data', 'backup')
    os.rename(data + '.away', data)


def pool_cut_short(array):
    # metadata and log: said by both programs, by no signal
    for name in ('meta/data.mdb', 'log'):
        path = os.path.join(array.pool, name)
        shutil.copy(path, array.dir)
        os.truncate(path, os.path.getsize(path) // 2 // 4096 * 4096)
        expect(umbrad('--config', array.config_path), 1, 'pool', 'backup|pool restore')
        expect(run_ctl('pool', 'check', array.pool, check=False), 1, 'pool', 'backup|pool restore')
        shutil.copy(os.path.join(array.dir, os.path.basename(path)), path)


def pool_data_too_short(array):
    # the file that is short is named, not the metadata; the repair gives nothing away
    data = os.path.join(array.pool, 'data.0')
    array.start()
    array.add_host('h', 'iqn.2026-01.test:h')
    array.ctl('map', 'kept', 'h', '--number', '1')
    with Session(array, 'h') as session:
        session.write(1, 0, b'd' * (1 << 20))
    array.stop()
    with open(data, 'rb') as file:
        content = file.read()
    os.truncate(data, 65536 * 4)
    expect(umbrad('--config', array.config_path), 1, 'data.0 is too short', 'backup')
    expect(run_ctl('pool', 'check', array.pool, check=False), 1, 'data.0 ends before', 'findings')
    expect(run_ctl('pool', 'check', '--repair', array.pool, check=False), 1, 'stays shut', 'backup')
    expect(umbrad('--config', array.config_path), 1, 'the pool is shut', '--repair')
    assert os.path.getsize(data) == 65536 * 4
    put_back(data, content)
    expect(run_ctl('pool', 'check', array.pool, check=False), 1, 'is shut')
    expect(run_ctl('pool', 'check', '--repair', array.pool, check=False), 0, 'no findings')


def pool_whose_files_are_none(array):
    # a directory or a pipe in a file's place: both programs say so and end, neither waits for who writes to the pipe
    for name in ('pool', 'log', 'data.0', 'meta/data.mdb', 'mark'):
        path = os.path.join(array.pool, name)
        aside = path + '.aside'
        os.rename(path, aside)
        for make, unmake in ((os.mkdir, os.rmdir), (os.mkfifo, os.unlink)):
            make(path)
            if name == 'mark':  # which a pool may lack
                expect(run_ctl('pool', 'check', array.pool, check=False), 0, 'no findings')
            else:
                expect(run_ctl('pool', 'check', array.pool, check=False), 1, os.path.basename(name))
                expect(umbrad('--config', array.config_path), 1, os.path.basename(name))
            unmake(path)
        os.rename(aside, path)


def pool_on_a_read_only_place(array):
    # as a rescue system mounts it; where no name space of mounts can be had there is nothing to see
    def in_its_own(*command):
        script = f'mount --bind {array.pool} {array.pool} && mount -o remount,bind,ro {array.pool} && exec "$@"'
        return subprocess.run(['unshare', '-m', 'sh', '-c', script, 'sh', *command], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=600)
    if in_its_own('true').returncode:
        print('no read-only mount can be made here: not tested')
        return
    expect(in_its_own(umbractl_path(), 'pool', 'check', array.pool), 0, 'no findings')
    expect(in_its_own(umbractl_path(), 'pool', 'dump', array.pool), 0, 'disk id=')
    expect(in_its_own(umbractl_path(), 'pool', 'check', '--repair', array.pool), 1, 'Read-only')
    expect(in_its_own('env', f'TMPDIR={array.dir}/nowhere', umbractl_path(), 'pool', 'check', array.pool), 1, 'TMPDIR')


def pool_with_little_address_space(array):
    with open(umbractl_path(), 'rb') as file:
        if b'__asan_init' in file.read():
            return  # a program with a sanitizer takes more by itself
    done = subprocess.run([umbractl_path(), 'pool', 'check', array.pool], capture_output=True, text=True, timeout=600,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30)))
    expect(done, 1, 'GiB of address space', 'ulimit -v')


def devices():
    place = tempfile.mkdtemp(prefix='umbra-device-')
    names = [os.path.join(place, name) for name in ('one', 'other', 'nobodys')]
    for name in names:
        with open(name + '.device', 'wb') as out:
            out.truncate(64 << 20)
    for name in names[:2]:
        run_ctl('pool', 'create', name, '--data-device', name + '.device', '--log', '4M')
    with Array({'pool': {'path': names[0], 'data_device': names[0] + '.device'}}, pool=names[0]) as array:
        array.stop()

        def both(device, *words):
            array.config['pool']['data_device'] = device
            array.write_config()
            expect(umbrad('--config', array.config_path), 1, *words)
            expect(run_ctl('pool', 'check', names[0], '--data-device', device, check=False), 1, *words)
        both(names[1] + '.device', 'holds the data of another pool')
        both(names[2] + '.device', 'nor of another')
        os.truncate(names[0] + '.device', 32 << 20)
        both(names[0] + '.device', 'became smaller', '33554432 bytes', '67108864')
        os.truncate(names[0] + '.device', 64 << 20)
        expect(run_ctl('pool', 'check', names[0], '--data-device', names[0] + '.device', check=False), 0, 'no findings')
        expect(run_ctl('pool', 'check', names[0], check=False), 1, 'name it with --data-device')
    with Array() as array:  # one whose data is in its directory: the device is not its own
        array.stop()
        device = names[1] + '.device'
        expect(run_ctl('pool', 'check', array.pool, '--data-device', device, check=False), 1, 'is not looked at', 'leave out')
        array.config['pool']['data_device'] = device
        array.write_config()
        array.start()
        assert 'remove data_device from the configuration' in str(array.ctl('events'))
    shutil.rmtree(place)


def pools():
    pool_missing()
    pool_of_an_odd_name()
    with Array() as array:
        array.ctl('lun', 'create', 'kept', '--size', '8M')
        pool_in_use(array)
        array.stop()
        for part in (pool_dumped, pool_checked_on_a_terminal, pool_of_another_version, pool_damaged, pool_cut_short,
                     pool_data_too_short, pool_whose_files_are_none, pool_on_a_read_only_place, pool_with_little_address_space):
            part(array)
        # nothing was lost by all that
        array.start()
        assert array.ctl('lun', 'list')['luns'][0]['name'] == 'kept'


def refused(array, code_name, *arguments, words=()):
    done = array.ctl(*arguments, check=False)
    assert done.returncode == 1, f'{arguments}: {done.returncode} {done.stdout}{done.stderr}'
    assert f'"name": "{code_name}"' in done.stdout, f'{arguments}: {done.stdout}'
    assert done.stderr.startswith('umbractl: ') and len(done.stderr) > 30, done.stderr
    for word in words:
        assert word in done.stderr, f'{arguments}: nothing of {word} in {done.stderr}'


def verbs():
    with Array({'array': {'luns_max': 3}}) as array:
        refused(array, 'ENOENT', 'lun', 'show', 'nobody', words=['nobody'])
        refused(array, 'ENOENT', 'set', 'show', 'nobody')
        refused(array, 'ENOENT', 'host', 'show', 'nobody')
        refused(array, 'EINVAL', 'lun', 'create', 'bad name', '--size', '8M')
        refused(array, 'EINVAL', 'lun', 'create', 'tiny', '--size', '512')
        array.ctl('lun', 'create', 'a', '--size', '8M')
        refused(array, 'EEXIST', 'lun', 'create', 'a', '--size', '8M')
        refused(array, 'EINVAL', 'lun', 'resize', 'a', '--size', '4M', words=['only grows'])
        array.add_host('h', 'iqn.x:h')
        refused(array, 'EEXIST', 'host', 'add', 'h', '--iqn', 'iqn.x:other')
        refused(array, 'EEXIST', 'host', 'add', 'g', '--iqn', 'IQN.x:H')
        refused(array, 'EINVAL', 'host', 'add', 'g', '--iqn', 'windows')
        secret = os.path.join(array.dir, 'secret')
        refused(array, 'ENOENT', 'host', 'add', 'g', '--iqn', 'iqn.x:g', '--chap-file', secret)
        with open(secret, 'w') as file:
            file.write('too short\n')
        refused(array, 'EINVAL', 'host', 'add', 'g', '--iqn', 'iqn.x:g', '--chap-file', secret, words=['12'])
        with open(secret, 'w', encoding='utf-16') as file:
            file.write('secretsecret1\n')
        refused(array, 'EINVAL', 'host', 'add', 'g', '--iqn', 'iqn.x:g', '--chap-file', secret, words=['UTF-16'])
        refused(array, 'ENOENT', 'host', 'set', 'h', '--import', 'named:h,nobody', words=['nobody'])
        array.ctl('map', 'a', 'h')
        refused(array, 'EBUSY', 'lun', 'delete', 'a')
        refused(array, 'EBUSY', 'host', 'delete', 'h')
        array.ctl('set', 'create', 's', 'a')
        refused(array, 'EEXIST', 'set', 'create', 's', 'a')
        refused(array, 'ENOENT', 'set', 'create', 't', 'a', 'nobody')
        refused(array, 'EBADFD', 'set', 'abort', 's')
        shadow = array.ctl('shadow', 'list')['shadows'][0]['name']
        refused(array, 'EINVAL', 'lun', 'delete', shadow, words=['shadow'])
        refused(array, 'EINVAL', 'shadow', 'delete', 'a', words=['ordinary'])
        refused(array, 'ENOENT', 'shadow', 'break', 'nobody')
        refused(array, 'EINVAL', 'shadow', 'resync', 'a', shadow)
        refused(array, 'ENOENT', 'resync', 'cancel', '1')
        array.ctl('shadow', 'map', shadow, 'h')
        refused(array, 'EBUSY', 'set', 'delete', 's')
        refused(array, 'EBUSY', 'shadow', 'delete', shadow)
        array.ctl('lun', 'create', 'b', '--size', '8M')
        refused(array, 'EMLINK', 'lun', 'create', 'c', '--size', '8M')
        refused(array, 'EMLINK', 'set', 'create', 'u', 'a', 'b')
        assert [s['name'] for s in array.ctl('set', 'list')['sets']] == ['s']

        # a client that talks nonsense, one that goes at once: the next is served
        for junk in (b'', b'\n', b'{"jsonrpc":', b'\x00\xff' * 50000, b'x' * 200000):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(array.socket)
                try:
                    client.sendall(junk)
                except OSError:
                    pass
        assert array.ctl('status')['counts']['luns'] == 2


def ahead():
    """Requests that are sent ahead: all are answered, in order, however much the answers are and whenever they are read."""
    with Array() as array, socket.socket(socket.AF_UNIX) as client:
        client.connect(array.socket)
        client.settimeout(120)

        def send(numbers, method, **params):
            lines = [json.dumps({'jsonrpc': '2.0', 'id': n, 'method': method, 'params': {k: v(n) for k, v in params.items()}})
                     for n in numbers]
            client.sendall(('\n'.join(lines) + '\n').encode())

        answers = client.makefile()
        send(range(300), 'lun.create', name=lambda n: f'lun-{n}', size_bytes=lambda n: 1 << 20)
        assert [json.loads(answers.readline())['id'] for n in range(300)] == list(range(300))
        send(range(200), 'lun.list')
        client.shutdown(socket.SHUT_WR)
        total = 0
        for n in range(200):
            line = answers.readline()
            total += len(line)
            assert json.loads(line)['id'] == n
        assert total > 4 << 20 and answers.readline() == '', total


def descriptors():
    """umbrad has no descriptor left for somebody at the management socket: it waits without burning a processor."""
    def spent():
        with open(f'/proc/{array.pid}/stat') as file:
            return sum(int(field) for field in file.read().rsplit(')', 1)[1].split()[11:13]) / os.sysconf('SC_CLK_TCK')

    with Array() as array, socket.socket(socket.AF_UNIX) as client:
        limits = resource.prlimit(array.pid, resource.RLIMIT_NOFILE)
        highest = max(int(name) for name in os.listdir(f'/proc/{array.pid}/fd'))
        resource.prlimit(array.pid, resource.RLIMIT_NOFILE, (highest + 1, limits[1]))
        held = []
        while len(os.listdir(f'/proc/{array.pid}/fd')) <= highest:  # what is free below it
            held.append(socket.socket(socket.AF_UNIX))
            held[-1].connect(array.socket)
            time.sleep(0.05)
            assert len(held) < 30
        client.connect(array.socket)
        before = spent()
        time.sleep(2)
        assert spent() - before < 1, spent() - before
        resource.prlimit(array.pid, resource.RLIMIT_NOFILE, limits)
        assert array.ctl('status')['array']['pid'] == array.pid
        for one in held:
            one.close()


def output():
    """Output that nobody takes: an end, with the reason where nobody knows it."""
    with Array() as array:
        command = [umbractl_path(), '--socket', array.socket]
        array.ctl('lun', 'create', 'a', '--size', '1M')  # there is an event
        with open('/dev/full', 'w') as full:
            done = subprocess.run([*command, 'status'], stdout=full, stderr=subprocess.PIPE, text=True, timeout=600)
        assert done.returncode == 1 and 'cannot be written' in done.stderr, done
        for words in (['top', '--interval', '100ms'], ['top', '--interval', '100ms', '--json'], ['events', '--follow']):
            reader, writer = os.pipe()
            os.close(reader)
            done = subprocess.run([*command, *words], stdout=writer, stderr=subprocess.PIPE, text=True, timeout=600)
            os.close(writer)
            assert done.returncode == 1 and 'umbrad ended' not in done.stderr, done


def ask_as(array, uid, gid):
    """What a user of that uid and gid is answered at the management socket."""
    code = f"""
import os, socket
os.setgroups([]); os.setgid({gid}); os.setuid({uid})
s = socket.socket(socket.AF_UNIX)
s.connect({array.socket!r})
try:
    s.sendall(b'{{"jsonrpc":"2.0","id":1,"method":"pool.status"}}\\n')
except BrokenPipeError:
    pass  # refused already; the reason is there to be read
print(s.makefile().readline())
"""
    return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=600)


def users():
    """Who may manage the array: needs root, who can play the others."""
    if os.geteuid() != 0:
        return
    nobody = 65534
    with Array(start=False) as array:
        array.config['management']['group'] = 'no-such-group'
        array.write_config()
        expect(umbrad('--config', array.config_path), 1, 'no-such-group', 'groupadd')
        expect(umbrad('--config', array.config_path, '--check-config'), 2, 'no-such-group', 'groupadd')
        array.config['management']['group'] = 'nogroup'
        array.write_config()
        array.start()
        os.chmod(array.dir, 0o755)
        assert os.stat(array.socket).st_mode & 0o777 == 0o660
        assert 'capacity_bytes' in ask_as(array, nobody, nobody).stdout
        assert 'PermissionError' in ask_as(array, nobody, 12345).stderr
        # the kernel's word counts, not the file's mode
        os.chmod(array.socket, 0o666)
        assert '-32001' in ask_as(array, nobody, 12345).stdout
        assert 'capacity_bytes' in ask_as(array, nobody, nobody).stdout
        os.chmod(array.socket, 0o660)


def main():
    for step in (command_lines, configurations, stores, pools, devices, users, verbs, ahead, descriptors, output):
        step()
        print('ok', step.__name__)


if __name__ == '__main__':
    main()
