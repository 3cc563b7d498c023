#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The volumes of a lab host: the NTFS on its LUNs as drives of the prefix, and on its shadow LUNs as devices.

    volumes.py FOLDER < SETTINGS      a JSON object; started by labhost, one for each host

The originals are mounted read-write under FOLDER/X, and are the prefix's drives; what the coordinator imports is
mounted read-only, and lies where Windows programs look for \\\\?\\GLOBALROOT\\Device\\HarddiskVolumeShadowCopyN. The way: an iSCSI
session of qemu-storage-daemon, which shows the partition as a file, and ntfs-3g.

It is a writer of the hold broker: at HOLD the drives are flushed, and the daemons of the originals stand still until RELEASE, so
that nothing that a Windows program writes reaches a LUN meanwhile.

Lines over TCP on 127.0.0.1, each answered by OK or "FAIL why": MOUNT n LUN, UMOUNT n. Ends at SIGTERM, with everything
unmounted.
"""
import ctypes
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

PR_SET_PDEATHSIG = 1
START_S = 60
UNMOUNT_TRIES = 25
UNMOUNT_PAUSE_S = 0.2


def end_with_parent():
    """Also when the manager is killed, and when it stands still then."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class VolumeError(Exception):
    """Why a volume cannot be mounted."""


def missing():
    """Why nothing can be mounted here, or None."""
    if os.geteuid() != 0 or not os.path.exists('/dev/fuse'):
        return 'mounting needs root and /dev/fuse'
    for program in ('qemu-storage-daemon', 'ntfs-3g'):
        if not any(os.access(os.path.join(folder, program), os.X_OK) for folder in os.get_exec_path()):
            return f'{program} is not installed: apt-get install qemu-system-common qemu-block-extra ntfs-3g'
    return None


def partition_offset(head):
    """Where the NTFS begins on a disk with these first blocks: at 0, or in the first partition of a GPT."""
    if head[3:7] == b'NTFS':
        return 0
    if head[512:520] == b'EFI PART':
        return struct.unpack_from('<Q', head, 1024 + 32)[0] * 512
    raise VolumeError('there is neither an NTFS nor a GPT on the LUN')


class Volume:
    """One LUN's NTFS, mounted."""

    def __init__(self, settings, folder, lun, writable):
        self.settings, self.lun, self.writable = settings, lun, writable
        self.folder = folder
        self.file = folder + '.file'
        self.daemon = None

    def _start_daemon(self, offset):
        s = self.settings
        with open(self.file, 'wb'):
            pass
        readonly = 'off' if self.writable else 'on'
        words = ['qemu-storage-daemon', '--object', f'secret,id=s,file={s["chap_secret_file"]}.raw', '--blockdev',
                 f'driver=iscsi,node-name=l,transport=tcp,portal={s["portal"]},target={s["target"]},lun={self.lun},'
                 f'user={s["chap_user"]},password-secret=s,initiator-name={s["initiator"]},read-only={readonly}', '--blockdev',
                 f'driver=raw,node-name=p,file=l,offset={offset},read-only={readonly}', '--export',
                 f'type=fuse,id=e,node-name=p,mountpoint={self.file},writable={"on" if self.writable else "off"}']
        self.daemon = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=end_with_parent)
        end = time.monotonic() + START_S
        while os.path.getsize(self.file) == 0:
            if self.daemon.poll() is not None or time.monotonic() > end:
                self._stop_daemon()
                raise VolumeError(f'qemu-storage-daemon does not show LUN {self.lun}')
            time.sleep(0.01)

    def _stop_daemon(self):
        if self.daemon:
            self.daemon.terminate()
            try:
                self.daemon.wait(START_S)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
                self.daemon.wait()
        self.daemon = None
        subprocess.run(['umount', '-l', self.file], stderr=subprocess.DEVNULL)

    def mount(self):
        os.makedirs(self.folder, exist_ok=True)
        self._start_daemon(0)
        try:
            with open(self.file, 'rb') as disk:
                offset = partition_offset(disk.read(4096))
            if offset:
                self._stop_daemon()
                self._start_daemon(offset)
            done = subprocess.run(['ntfs-3g', '-o', 'rw' if self.writable else 'ro', self.file, self.folder], text=True,
                                  capture_output=True, stdin=subprocess.DEVNULL)
            if done.returncode:
                raise VolumeError(f'ntfs-3g: {done.stderr.strip()[-200:]}')
        except BaseException:
            self._stop_daemon()
            raise

    def unmount(self):
        """Also one that somebody still looks at, or whose LUN is gone."""
        for _ in range(UNMOUNT_TRIES):
            if subprocess.run(['umount', self.folder], stderr=subprocess.DEVNULL).returncode == 0 or \
                    not os.path.ismount(self.folder):
                break
            time.sleep(UNMOUNT_PAUSE_S)
        else:
            subprocess.run(['umount', '-l', self.folder], stderr=subprocess.DEVNULL)
        self._stop_daemon()

    def flush(self):
        subprocess.run(['sync', '-f', self.folder], check=True)

    def stand_still(self, still):
        self.daemon.send_signal(signal.SIGSTOP if still else signal.SIGCONT)


class Manager:
    def __init__(self, settings, folder):
        self.settings, self.base = settings, folder
        self.originals, self.shadows = {}, {}
        self.lock = threading.Lock()
        self.devices = os.path.join(settings['prefix'], 'dosdevices', 'globalroot', 'Device')
        os.makedirs(self.devices, exist_ok=True)

    def mount_originals(self):
        for letter, lun in self.settings['volumes']:
            volume = Volume(self.settings, os.path.join(self.base, letter), lun, True)
            volume.mount()
            self.originals[letter] = volume
            self._link(os.path.join(self.settings['prefix'], 'dosdevices', letter.lower() + ':'), volume.folder)

    @staticmethod
    def _link(name, target):
        if os.path.islink(name):
            os.unlink(name)
        os.symlink(target, name)

    def mount_shadow(self, number, lun):
        with self.lock:
            volume = Volume(self.settings, os.path.join(self.base, f'shadow{number}'), lun, False)
            volume.mount()
            self.shadows[number] = volume
            self._link(os.path.join(self.devices, f'HarddiskVolumeShadowCopy{number}'), volume.folder)

    def unmount_shadow(self, number):
        with self.lock:
            volume = self.shadows.pop(number, None)
            if volume:
                os.unlink(os.path.join(self.devices, f'HarddiskVolumeShadowCopy{number}'))
                volume.unmount()

    def end(self):
        for number in list(self.shadows):
            self.unmount_shadow(number)
        for volume in self.originals.values():
            volume.unmount()

    def answer(self, words):
        try:
            if len(words) == 3 and words[0] == 'MOUNT':
                self.mount_shadow(int(words[1]), int(words[2]))
            elif len(words) == 2 and words[0] == 'UMOUNT':
                self.unmount_shadow(int(words[1]))
            else:
                return 'FAIL no such request'
        except (VolumeError, ValueError, OSError) as error:
            return f'FAIL {error}'.replace('\n', ' ')
        return 'OK'

    def serve(self, listener):
        while True:
            client, _ = listener.accept()
            with client, client.makefile('rw') as stream:
                for line in stream:
                    stream.write(self.answer(line.split()) + '\n')
                    stream.flush()

    def obey_broker(self):
        """HELD only when all that the drives were told is on the LUNs, and nothing more gets there."""
        with socket.create_connection(('127.0.0.1', self.settings['hold_port'])) as broker, broker.makefile('rw') as stream:
            stream.write('WRITER volumes\n')
            stream.flush()
            still = False
            for line in stream:
                words = line.split()
                if words[:1] == ['HOLD']:
                    for volume in [] if still else self.originals.values():  # a hold grows: they stand still already
                        volume.flush()
                    for volume in self.originals.values():
                        volume.stand_still(True)
                    still = True
                    stream.write(f'HELD {words[1]}\n')
                    stream.flush()
                elif words[:1] == ['RELEASE']:
                    still = False
                    for volume in self.originals.values():
                        volume.stand_still(False)


def main(folder):
    settings = json.load(sys.stdin)
    manager = Manager(settings, folder)
    with open(settings['chap_secret_file']) as source, open(settings['chap_secret_file'] + '.raw', 'w') as out:
        out.write(source.readline().rstrip('\n'))
    manager.mount_originals()
    listener = socket.create_server(('127.0.0.1', 0))
    threading.Thread(target=manager.serve, args=(listener,), daemon=True).start()
    if settings.get('hold_port'):
        threading.Thread(target=manager.obey_broker, daemon=True).start()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    with open(os.path.join(folder, 'port.new'), 'w') as out:
        out.write(f'{listener.getsockname()[1]}\n')
    os.rename(os.path.join(folder, 'port.new'), os.path.join(folder, 'port'))
    while not ended.wait(3600):
        pass
    for volume in manager.originals.values():
        volume.stand_still(False)
    manager.end()
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
