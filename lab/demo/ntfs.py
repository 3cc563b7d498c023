# SPDX-License-Identifier: Apache-2.0
"""A real NTFS on a disk image, made and examined with ntfs-3g's tools, without mounting anything."""
import hashlib
import os
import re
import subprocess

SECTOR = 512
FIRST_SECTOR = 2048  # of the partition: 1 MiB, as Windows aligns
CLUSTER = 4096


def run(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}: {done.stdout[-500:]}{done.stderr[-500:]}")
    return done.stdout


def make_disk(path, size_bytes, files, folder):
    """A GPT disk with one NTFS partition that holds `files` (name -> bytes); returns nothing.

    The backup GPT needs 33 sectors at the end; the partition leaves 1 MiB there."""
    partition = os.path.join(folder, 'partition.img')
    sectors = size_bytes // SECTOR - FIRST_SECTOR - 2048
    with open(partition, 'wb') as out:
        out.truncate(sectors * SECTOR)
    run('mkntfs', '-F', '-Q', '-L', 'Umbra demo', '-s', str(SECTOR), '-c', str(CLUSTER), '-p', str(FIRST_SECTOR),
        '-H', '255', '-S', '63', partition)
    for name, content in files.items():
        source = os.path.join(folder, 'content')
        with open(source, 'wb') as out:
            out.write(content)
        run('ntfscp', '-f', partition, source, '/' + name)
        os.unlink(source)
    with open(path, 'wb') as out:
        out.truncate(size_bytes)
    run('sgdisk', '-o', '-n', f'1:{FIRST_SECTOR}:{FIRST_SECTOR + sectors - 1}', '-t', '1:0700', '-c', '1:data', path)
    run('dd', f'if={partition}', f'of={path}', f'bs={SECTOR * 2048}', f'seek={FIRST_SECTOR // 2048}', 'conv=notrunc,sparse',
        'status=none')
    os.unlink(partition)


def extract_partition(disk, out):
    """The NTFS partition of a disk image, by its GPT entry."""
    text = run('sgdisk', '-i', '1', disk)
    first = int(re.search(r'First sector: (\d+)', text).group(1))
    last = int(re.search(r'Last sector: (\d+)', text).group(1))
    run('dd', f'if={disk}', f'of={out}', f'bs={SECTOR}', f'skip={first}', f'count={last - first + 1}', 'status=none',
        'conv=sparse')


def extent(disk, name, folder):
    """Where a file lies: (byte offset on the disk, length in bytes). It must be in one piece."""
    partition = os.path.join(folder, 'where.img')
    extract_partition(disk, partition)
    try:
        text = run('ntfscluster', '-f', '-F', '/' + name, partition)
    finally:
        os.unlink(partition)
    runs = re.findall(r'^\s+(\d+)\s+(\d+)\s+(\d+)\s*$', text[text.index('0x80'):], re.M)
    if len(runs) != 1:
        raise RuntimeError(f'{name} lies in {len(runs)} pieces')
    return FIRST_SECTOR * SECTOR + int(runs[0][1]) * CLUSTER, int(runs[0][2]) * CLUSTER


def examine(partition):
    """Raises when ntfs-3g's tools find the file system inconsistent. Returns the names in its root."""
    run('ntfsfix', '-n', partition)
    run('ntfsinfo', '-f', '-m', partition)
    run('ntfscluster', '-f', '-i', partition)
    return run('ntfsls', '-f', partition).split('\n')


def content(partition, name):
    done = subprocess.run(['ntfscat', '-f', partition, '/' + name], stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode:
        raise RuntimeError(f'ntfscat {name}: {done.stderr[-300:]!r}')
    return done.stdout


def digest(data):
    return hashlib.sha256(data).hexdigest()
