# SPDX-License-Identifier: Apache-2.0
"""Inside a guest: writes to a block device without end, for guest_log_writes.py.

    guest_scribbler.py DEVICE SECTORS SEED

Four threads, each in a part of its own. Each sector says where it stands and the number of its write; numbers rise. Direct
writes, some of them through the cache (RWF_DSYNC, which the kernel sends with FUA), now and then a flush or a
discard. A discard is printed before it is issued: `discard SECTOR COUNT NUMBER`."""
import fcntl
import itertools
import mmap
import os
import random
import struct
import sys
import threading

THREADS = 4
BLKDISCARD = 0x1277


def scribble(device, first, count, rng, numbers):
    fd = os.open(device, os.O_RDWR | os.O_DIRECT)
    memory = mmap.mmap(-1, 128 << 9)
    while True:
        length = rng.choice([1, 3, 8, 8, 8, 16, 64, 128])
        at = first + rng.randrange(count - length)
        if length % 8 == 0:
            at -= at % 8
        number, dice = next(numbers), rng.random()
        if dice < 0.04:
            print(f'discard {at} {length} {number}', flush=True)
            fcntl.ioctl(fd, BLKDISCARD, struct.pack('QQ', at << 9, length << 9))
        elif dice < 0.10:
            os.fsync(fd)
        else:
            memory[:length << 9] = b''.join(struct.pack('<QQ', at + i, number) * 32 for i in range(length))
            os.pwritev(fd, [memoryview(memory)[:length << 9]], at << 9, os.RWF_DSYNC if dice < 0.2 else 0)


def main():
    device, sectors, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    numbers, part = itertools.count(1), sectors // THREADS
    for i in range(THREADS):
        threading.Thread(target=scribble, args=(device, i * part, part, random.Random(seed * 10 + i), numbers)).start()
    print('begun', flush=True)


main()
