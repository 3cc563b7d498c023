#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""umbractl lun import, lun export and shadow export: every format there and back, to a file and to standard output; what is
refused leaves nothing; neither does Ctrl+C, kill -9 (at the next import) or a reader that goes. docs/off-host.md: a file of an
NTFS volume comes back from a copy by the commands that stand there, a whole disk through borg and restic.

Only root has loop devices: for others, and where there are none, the import from a block device is left out, and named."""
import hashlib
import os
import pty
import random
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_initiator import Session  # noqa: E402
from umbra_lab import ROOT, Array, umbractl_path  # noqa: E402

PATIENCE_S = 300 * float(os.environ.get('UMBRA_TEST_PATIENCE', '1'))
SIZE = 24 << 20
ODD = 'größe, "q" \'x\' a=b json:{ $(touch x) \033[1m'


def digest(data):
    return hashlib.sha256(data).hexdigest()


def digest_of(path):
    with open(path, 'rb') as file:
        return digest(file.read())


def run(array, *arguments, path=None, folder=None, stdout=subprocess.PIPE):
    environment = dict(os.environ, PATH=path or os.environ['PATH'])
    return subprocess.run([umbractl_path(), '--socket', array.socket, *arguments], stdin=subprocess.DEVNULL, stdout=stdout,
                          stderr=subprocess.PIPE, env=environment, cwd=folder or array.dir, timeout=PATIENCE_S)


def wait(what, condition):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def traces(array):
    """What a command may have left: LUNs, hosts, sets, files."""
    return ([lun['name'] for lun in array.ctl('lun', 'list')['luns']],
            [host['name'] for host in array.ctl('host', 'list')['hosts']],
            [s['name'] for s in array.ctl('set', 'list')['sets']], sorted(os.listdir(os.path.join(array.dir, 'out'))))


def refused(array, *arguments, says, code=1, **options):
    before = traces(array)
    done = run(array, *arguments, **options)
    error = done.stderr.decode()
    assert done.returncode == code and done.stdout == b'', (arguments, done)
    assert re.search(says, error), (says, error)
    assert '\033' not in error, error
    assert traces(array) == before, (arguments, traces(array), before)


def make_images(folder):
    """A disk with data in places, in each format; and each of them cut."""
    raw = os.path.join(folder, 'disk.raw')
    chance = random.Random(1)
    with open(raw, 'wb') as file:
        file.truncate(SIZE)
        for at in (0, 5 << 20, SIZE - (1 << 20)):
            file.seek(at)
            file.write(chance.randbytes(1 << 20))
    for ending, name in (('qcow2', 'qcow2'), ('vhdx', 'vhdx'), ('vmdk', 'vmdk'), ('vhd', 'vpc')):
        image = os.path.join(folder, 'disk.' + ending)
        subprocess.run(['qemu-img', 'convert', '-q', '-f', 'raw', '-O', name,
                        *(['-o', 'force_size=on'] if name == 'vpc' else []), raw, image], check=True)
        shutil.copy(image, os.path.join(folder, 'cut.' + ending))
        os.truncate(os.path.join(folder, 'cut.' + ending), os.path.getsize(image) - (1 << 20) - 512)
    return digest_of(raw)


def there_and_back(array, wanted):
    for ending in ('raw', 'qcow2', 'vhdx', 'vmdk', 'vhd'):
        made = array.ctl('lun', 'import', os.path.join(array.dir, 'disk.' + ending), '--name', 'in-' + ending)
        assert made['size_bytes'] == SIZE and made['used_bytes'] <= 4 << 20, made
        out = os.path.join(array.dir, 'out', 'back.' + ending)
        told = array.ctl('lun', 'export', 'in-' + ending, out)
        assert told['file'] == out and told['lun'] == 'in-' + ending, told
        name = {'vhd': 'vpc'}.get(ending, ending)
        plain = os.path.join(array.dir, 'out', 'plain')
        subprocess.run(['qemu-img', 'convert', '-q', '-f', name, '-O', 'raw', out, plain], check=True)
        assert digest_of(plain) == wanted, ending
        assert os.stat(out).st_blocks * 512 <= 10 << 20 and os.stat(out).st_mode & 0o777 == 0o600
        done = run(array, 'lun', 'export', 'in-' + ending, '-')
        assert done.returncode == 0 and digest(done.stdout) == wanted, (ending, done.stderr)
    for name in os.listdir(os.path.join(array.dir, 'out')):
        os.unlink(os.path.join(array.dir, 'out', name))
    assert traces(array)[1:] == ([], [], [])
    assert array.ctl('lun', 'import', os.path.join(array.dir, 'disk.raw'))['name'] == 'disk'


def hostile_names(array):
    """A file is what its name says, whatever qemu-img or a shell would read into it."""
    content = random.Random(3).randbytes(1 << 20)
    for name in ('-rf', '--name', 'json:{"driver":"null-co"}', 'nbd:127.0.0.1:1', 'nbd://127.0.0.1/x', 'a\nb', '%s%n', ',x=y,,', ' ', ODD):
        path = os.path.join(array.dir, 'names', name + '.raw')
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'wb') as file:
            file.write(content)
        folder, name = os.path.split(path)
        done = run(array, 'lun', 'import', '--name', 'named', '--json', '--', name, folder=folder)
        assert done.returncode == 0, (name, done)
        done = run(array, 'lun', 'export', 'named', '--', 'out-' + name, folder=folder)
        assert done.returncode == 0, (name, done)
        assert digest_of(os.path.join(folder, 'out-' + name)) == digest(content), name
        assert os.listdir(folder) == ['out-' + name] or sorted(os.listdir(folder)) == sorted([name, 'out-' + name]), os.listdir(folder)
        array.ctl('lun', 'delete', 'named')
        shutil.rmtree(os.path.join(array.dir, 'names'))
    refused(array, 'lun', 'import', b'caf\xe9.raw', says='is not UTF-8', code=2)


def copies(array, wanted):
    """Of a copy, also of a locked one, and of a LUN that a host has: without a mark left on it."""
    array.add_host('h1', 'iqn.x:h1')
    array.ctl('map', 'disk', 'h1')
    with Session(array, 'h1') as session:
        shadow = array.ctl('set', 'create', 'kept', 'disk', '--lock', '1h')['members'][0]['shadow']
        session.write(1, 100, b'later' + bytes(507))
        done = run(array, 'shadow', 'export', shadow, '-')
        assert done.returncode == 0 and digest(done.stdout) == wanted, done.stderr
        assert array.ctl('lun', 'show', shadow)['notified'] == []
        done = run(array, 'lun', 'export', 'disk', '-')
        assert done.stdout[100 * 512:][:5] == b'later' and done.returncode == 0
    out = os.path.join(array.dir, 'out', ODD + '.raw')
    array.ctl('shadow', 'export', shadow, out)
    assert digest_of(out) == wanted
    refused(array, 'shadow', 'export', shadow, out, says='is there already')
    array.ctl('shadow', 'export', shadow, out, '--force')
    assert array.ctl('lun', 'import', out, '--name', 'odd')['size_bytes'] == SIZE
    os.unlink(out)
    array.ctl('unmap', 'disk', 'h1')
    array.ctl('host', 'delete', 'h1')


def leads_elsewhere(array):
    """What a host has written may look like an image with another file behind it."""
    secret = os.path.join(array.dir, 'secret.raw')
    with open(secret, 'wb') as file:
        file.write(b'S' * (1 << 20))
    image = os.path.join(array.dir, 'leads.qcow2')
    subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', '-b', secret, '-F', 'raw', image], check=True)
    refused(array, 'lun', 'import', image, says='leads to another file')
    shutil.copy(image, os.path.join(array.dir, 'leads.raw'))
    os.truncate(os.path.join(array.dir, 'leads.raw'), 1 << 20)
    made = array.ctl('lun', 'import', os.path.join(array.dir, 'leads.raw'))
    done = run(array, 'lun', 'export', 'leads', '-')
    assert b'SSSS' not in done.stdout and done.stdout.startswith(b'QFI\xfb') and len(done.stdout) == made['size_bytes']
    array.ctl('lun', 'delete', 'leads')
    other = os.path.join(array.dir, 'other.qcow2')
    subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', '-o', f'data_file={secret},data_file_raw=on', other, '1M'],
                   check=True)
    refused(array, 'lun', 'import', other, says='leads to another file')
    # nor is anybody called whom such an image names
    stand_in = os.path.join(array.dir, 'stands-in-for-an-address.raw')
    shutil.copy(secret, stand_in)
    with socket.create_server(('127.0.0.1', 0)) as server:
        url = f'nbd:127.0.0.1:{server.getsockname()[1]}:exportname='
        for name, options in (('calls.qcow2', ['-o', f'data_file={stand_in},data_file_raw=on']), ('asks.qcow2', ['-b', stand_in, '-F', 'raw'])):
            path = os.path.join(array.dir, name)
            subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', *options, path, '1M'], check=True)
            with open(path, 'rb+') as file:
                content = file.read()
                assert stand_in.encode() in content
                file.seek(0)
                file.write(content.replace(stand_in.encode(), url.encode().ljust(len(stand_in), b'x')))
            refused(array, 'lun', 'import', path, says=f'leads to another file .{url}')
        server.setblocking(False)
        try:
            called = server.accept()
        except BlockingIOError:
            called = None
        assert not called, called
    flat = os.path.join(array.dir, 'flat.vmdk')
    with open(flat, 'w') as file:
        file.write('# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType="monolithicFlat"\n\n'
                   f'RW 2048 FLAT "{secret}" 0\n\nddb.adapterType = "ide"\n'.replace(array.dir, array.dir + '/../'
                                                                                  + os.path.basename(array.dir)))
    refused(array, 'lun', 'import', flat, says='leads to another file')
    # nor is such a thing opened: a pipe would never answer, a device might do something
    os.mkfifo(os.path.join(array.dir, 'pipe'))
    os.symlink(secret, os.path.join(array.dir, 'link'))
    for name in (os.path.join(array.dir, 'pipe'), 'pipe', 'link', './pipe', 'out/../pipe', 'nbd:127.0.0.1:1', 'pipe" 0 "x'):
        with open(flat, 'w') as file:
            file.write('# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType="monolithicFlat"\n\n'
                       f' RW\t2048 FLAT "{name}" 0\n\nddb.adapterType = "ide"\n')
        refused(array, 'lun', 'import', flat, says='leads to another file')


def refusals(array):
    for ending in ('qcow2', 'vhdx', 'vmdk', 'vhd'):
        refused(array, 'lun', 'import', 'cut.' + ending, says='no whole image')
    refused(array, 'lun', 'import', 'disk.raw', '--format', 'vhdx', '--name', 'x', says='no whole image')
    refused(array, 'lun', 'import', 'disk.qcow2', '--format', 'nbd', says='it is raw, qcow2', code=2)
    refused(array, 'lun', 'import', 'missing.raw', says='No such file')
    refused(array, 'lun', 'import', 'out', '--format', 'raw', says='neither a file nor')
    refused(array, 'lun', 'import', 'umbrad.conf', says='names no format', code=2)
    refused(array, 'lun', 'import', 'nbd://127.0.0.1/x.raw', says='No such file')
    refused(array, 'lun', 'import', 'json:{"driver":"file"}.raw', says='No such file')
    refused(array, 'lun', 'import', 'disk.raw', says='already')
    refused(array, 'lun', 'import', 'disk.raw', '--name', 'a b', says='name')
    refused(array, 'lun', 'import', 'disk.raw', '--name', 'shadow-1', says='own')
    large = os.path.join(array.dir, 'large.raw')
    with open(large, 'wb') as file:
        file.truncate(SIZE)
        for at in range(0, SIZE, 4096):
            file.seek(at)
            file.write(b'x' * 4096)
    room = array.ctl('pool', 'status')
    array.ctl('lun', 'import', large, '--name', 'once')
    while room['capacity_bytes'] - room['used_bytes'] > SIZE:
        room = array.ctl('pool', 'status')
        if room['capacity_bytes'] - room['used_bytes'] > SIZE + (1 << 20):
            array.ctl('lun', 'import', large, '--name', f'n{room["used_bytes"]}')
    refused(array, 'lun', 'import', large, says='pool has .* left')
    refused(array, 'lun', 'import', large, '--force', says='cannot be copied|full')
    for lun in array.ctl('lun', 'list')['luns']:
        if lun['name'].startswith('n') or lun['name'] == 'once':
            array.ctl('lun', 'delete', lun['name'])
    wait('the space comes not back', lambda: array.ctl('pool', 'status')['used_bytes'] < 64 << 20)
    refused(array, 'lun', 'export', 'disk', 'out/x.txt', says='names no format', code=2)
    refused(array, 'lun', 'export', 'disk', 'nowhere/x.raw', says='No such file')
    refused(array, 'lun', 'export', 'disk', '/dev/null', '--format', 'raw', '--force', says='no file')
    refused(array, 'lun', 'export', 'disk', '-', '--format', 'vhdx', says='raw data only', code=2)
    refused(array, 'lun', 'export', 'disk', '-', '--json', says='contradict', code=2)
    refused(array, 'lun', 'export', 'nobody', 'out/x.raw', says='no LUN nobody')
    refused(array, 'shadow', 'export', 'disk', 'out/x.raw', says='no shadow LUN')
    empty = os.path.join(array.dir, 'empty')
    os.mkdir(empty)
    refused(array, 'lun', 'import', 'disk.raw', '--name', 'x', says='apt install qemu-utils', path=empty)
    with open('/dev/full', 'wb') as full:
        before = traces(array)
        done = run(array, 'lun', 'export', 'disk', '-', stdout=full)
        assert done.returncode == 1 and b'standard output' in done.stderr or b'cannot be copied' in done.stderr, done
        assert traces(array) == before


def slowly(array):
    """A PATH on which qemu-img copies a MiB a second at most."""
    folder = os.path.join(array.dir, 'slow')
    os.mkdir(folder)
    with open(os.path.join(folder, 'qemu-img'), 'w') as file:
        file.write(f'#!/bin/sh\n[ "$1" = convert ] || exec {shutil.which("qemu-img")} "$@"\nshift\n'
                   f'exec {shutil.which("qemu-img")} convert -r 1048576 "$@"\n')
    os.chmod(os.path.join(folder, 'qemu-img'), 0o755)
    return dict(os.environ, PATH=folder + ':' + os.environ['PATH'])


def moves(array):
    return any('umbractl-' in s['initiator'] and s['bytes_in'] + s['bytes_out'] > 1 << 20
               for s in array.ctl('sessions')['sessions'])


def broken_off(array):
    environment = slowly(array)
    before = traces(array)
    large = os.path.join(array.dir, 'large.raw')
    commands = [('lun', 'import', large, '--name', 'slow'), ('lun', 'export', 'in-raw', 'out/slow.qcow2'),
                ('lun', 'export', 'in-raw', '-')]
    for number, command in ((signal.SIGINT, commands[0]), (signal.SIGTERM, commands[1]), (signal.SIGHUP, commands[2]),
                            (signal.SIGKILL, commands[0]), (signal.SIGKILL, commands[1])):
        with subprocess.Popen([umbractl_path(), *command, '--socket', array.socket], env=environment, cwd=array.dir,
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            wait('nothing moves', lambda: moves(array) or process.poll() is not None)
            assert process.poll() is None, process.stderr.read()
            process.send_signal(number)
            error = process.communicate(timeout=PATIENCE_S)[1].decode()
        if number == signal.SIGKILL:
            assert sorted(os.listdir(os.path.join(array.dir, 'out'))) == before[3]
            wait('qemu-img stays', lambda: not array.ctl('sessions')['sessions'])
            assert len(traces(array)[1]) == len(before[1]) + 1
            array.ctl('lun', 'import', os.path.join(array.dir, 'disk.vhdx'), '--name', 'next')  # it tidies up
            array.ctl('lun', 'delete', 'next')
        else:
            assert process.returncode == 1 and 'stopped: nothing of' in error, (process.returncode, error)
        assert traces(array) == before, (command, number, traces(array), before)
    reader = subprocess.Popen([umbractl_path(), 'lun', 'export', 'in-raw', '-', '--socket', array.socket],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    reader.stdout.read(1000)
    reader.stdout.close()
    assert reader.wait(PATIENCE_S) == 1, reader.stderr.read()
    reader.stderr.close()
    assert traces(array) == before


def terminal(array):
    """On a terminal it says how far it is, how fast, and how long it will take."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([umbractl_path(), 'lun', 'import', os.path.join(array.dir, 'large.raw'), '--name', 'shown',
                           '--socket', array.socket], stderr=theirs, stdout=subprocess.DEVNULL, cwd=array.dir,
                          env=dict(os.environ, PATH=os.path.join(array.dir, 'slow') + ':' + os.environ['PATH'])) as process:
        os.close(theirs)
        text = b''
        while not re.search(rb'[0-9.]+ %, [0-9.]+ [KM]iB, [0-9.]+ [KM]iB/s, 0:\d\d:\d\d left', text):
            more = os.read(ours, 4096)
            assert more, text
            text += more
        os.write(ours, b'\x03')  # no job control in a session without a leader: the signal itself
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 1
    os.close(ours)


def off_host(array):
    """The commands of docs/off-host.md, the file of an NTFS volume by its name."""
    with open(os.path.join(ROOT, 'docs/off-host.md')) as page:
        text = page.read()
    block = re.search(r'<!-- a file -->\n+```\n(.*?)```', text, re.S).group(1)
    commands = [line for line in block.splitlines() if line.strip()]
    assert 0 < len(commands) <= 5, commands
    volume, disk = (os.path.join(array.dir, name) for name in ('volume', 'windows.raw'))
    content = random.Random(2).randbytes(300000)
    with open(os.path.join(array.dir, 'report'), 'wb') as file:
        file.write(content)
    with open(volume, 'wb') as file:
        file.truncate(16 << 20)
    subprocess.run(['mkntfs', '-q', '-F', '-L', 'data', volume], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    subprocess.run(['ntfscp', '-q', volume, os.path.join(array.dir, 'report'), 'report.docx'], check=True)
    with open(disk, 'wb') as file, open(volume, 'rb') as inside:
        file.truncate(20 << 20)
        file.seek(1 << 20)
        file.write(inside.read())
    subprocess.run(['sgdisk', '-n', '1:2048:+16M', '-t', '1:0700', disk], check=True, stdout=subprocess.DEVNULL)
    array.ctl('lun', 'import', disk, '--name', 'windows')
    shadow = array.ctl('set', 'create', 'nightly-1', 'windows')['members'][0]['shadow']
    array.add_host('h2', 'iqn.x:h2')
    array.ctl('map', 'windows', 'h2')
    with Session(array, 'h2') as session:  # lost since
        for lba in range(0, 18 << 11, 2048):
            session.write(1, lba, bytes(1 << 20))
    shell = '\n'.join(commands).replace('SHADOW', shadow).replace('Users/anna/report.docx', 'report.docx')
    done = subprocess.run(['sh', '-e', '-c', shell], cwd=os.path.join(array.dir, 'out'), capture_output=True, text=True,
                          env=dict(os.environ, UMBRA_SOCKET=array.socket,
                                   PATH=os.path.dirname(umbractl_path()) + ':/usr/sbin:' + os.environ['PATH']))
    assert done.returncode == 0, (shell, done)
    with open(os.path.join(array.dir, 'out/report.docx'), 'rb') as file:
        assert file.read() == content, shlex.quote(shell)


def whole_disks(array):
    """The lines of docs/off-host.md into borg and restic, and the disk back beside the LUN that is there."""
    with open(os.path.join(ROOT, 'docs/off-host.md')) as page:
        lines = re.search(r'## Whole disks\n+```\n(.*?)```', page.read(), re.S).group(1).splitlines()
    shadow = array.ctl('set', 'create', 'whole', 'disk')['members'][0]['shadow']
    wanted = digest(run(array, 'shadow', 'export', shadow, '-').stdout)
    folder = os.path.join(array.dir, 'backups')
    os.mkdir(folder)
    environment = dict(os.environ, UMBRA_SOCKET=array.socket, HOME=folder, RESTIC_PASSWORD='x', RESTIC_CACHE_DIR=folder + '/cache',
                       BORG_BASE_DIR=folder, BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK='yes',
                       PATH=os.path.dirname(umbractl_path()) + ':' + os.environ['PATH'])
    for name, begin, back in (('borg', 'borg init -e none REPO', 'borg extract REPO::$(borg list --short REPO)'),
                              ('restic', 'restic -r REPO init -q', 'restic -r REPO restore latest -q --target .')):
        one = [line for line in lines if f'| {name} ' in line]
        assert len(one) == 1, lines
        repository, out = os.path.join(folder, name), os.path.join(folder, name + '-out')
        os.mkdir(out)
        script = '\n'.join(['set -eo pipefail', begin.replace('REPO', repository),
                            one[0].replace('SHADOW', shadow).replace('/backup', repository), back.replace('REPO', repository)])
        done = subprocess.run(['bash', '-c', script], cwd=out, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == 0, (script, done)
        assert os.listdir(out) == ['sql-data.img'], os.listdir(out)
        array.ctl('lun', 'import', os.path.join(out, 'sql-data.img'), '--format', 'raw', '--name', name)
        assert digest(run(array, 'lun', 'export', name, '-').stdout) == wanted, name
        array.ctl('lun', 'delete', name)
    array.ctl('set', 'delete', 'whole')


def block_device(array, wanted):
    device = subprocess.run(['losetup', '--find', '--show', os.path.join(array.dir, 'disk.raw')], capture_output=True, text=True,
                            env=dict(os.environ, PATH=os.environ['PATH'] + ':/usr/sbin'))
    if device.returncode:
        print(f'LEFT OUT: the import from a block device: {device.stderr.strip()}')
        return
    device = device.stdout.strip()
    try:
        held = os.open(device, os.O_RDONLY | os.O_EXCL)  # as a mount or a volume group has it
        try:
            refused(array, 'lun', 'import', device, '--name', 'x', says='in use')
        finally:
            os.close(held)
        made = array.ctl('lun', 'import', device, '--name', 'device')
        assert made['size_bytes'] == os.path.getsize(os.path.join(array.dir, 'disk.raw')), made
        assert digest(run(array, 'lun', 'export', 'device', '-').stdout) == wanted
        array.ctl('lun', 'delete', 'device')
    finally:
        subprocess.run(['losetup', '--detach', device], check=True, env=dict(os.environ, PATH=os.environ['PATH'] + ':/usr/sbin'))


def main():
    with Array(pool_options=('--capacity', '160M')) as array:
        os.mkdir(os.path.join(array.dir, 'out'))
        wanted = make_images(array.dir)
        there_and_back(array, wanted)
        hostile_names(array)
        copies(array, wanted)
        leads_elsewhere(array)
        refusals(array)
        broken_off(array)
        terminal(array)
        off_host(array)
        whole_disks(array)
        block_device(array, wanted)


if __name__ == '__main__':
    main()
