# SPDX-License-Identifier: Apache-2.0
"""tgt as the lab's target: a second, foreign implementation, started in user space on a free port."""
import os
import random
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'lab'))
import labhost  # noqa: E402

TARGET = 'iqn.2025-01.dev.umbra.test:tgt'
USER, SECRET = 'labuser', 'twelve-chars-or-more'
ANY = random.SystemRandom()  # no test's seed: tests run side by side


def free_port():
    """A port for somebody who binds it later, perhaps more than once: none of those that the kernel gives to whoever asks
    for any, or connects."""
    with open('/proc/sys/net/ipv4/ip_local_port_range') as source:
        lowest = int(source.read().split()[0])
    for _ in range(1000):
        port = ANY.randrange(10000, lowest) if lowest > 12000 else 0
        with socket.socket() as sock:
            try:
                sock.bind(('127.0.0.1', port))
                return sock.getsockname()[1]
            except OSError:
                pass
    raise RuntimeError('no port is free')


class Tgt:
    """A running tgtd with one target; LUN 0 is its controller."""

    def __init__(self, directory):
        self.directory = directory
        self.port = free_port()
        self.portal = f'127.0.0.1:{self.port}'
        self.target = TARGET
        self.secret_file = os.path.join(directory, 'tgt-secret')
        with open(self.secret_file, 'w') as out:
            out.write(SECRET + '\n')
        # The control socket is /var/run/tgtd/socket.N, N below 32768: the port's number, folded.
        self.control = str(self.port % 32768)
        os.makedirs('/var/run/tgtd', exist_ok=True)
        self.log = open(os.path.join(directory, 'tgtd.log'), 'w')
        self.process = subprocess.Popen(['tgtd', '-f', '-C', self.control, '--iscsi', f'portal={self.portal}'],
                                        stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        end = time.monotonic() + labhost.PATIENCE_S
        while True:
            try:
                self.admin('new', 'target', '--tid', '1', '-T', self.target)
                break
            except subprocess.CalledProcessError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
        self.admin('bind', 'target', '--tid', '1', '-I', 'ALL')
        self.admin('new', 'account', '--user', USER, '--password', SECRET)
        self.admin('bind', 'account', '--tid', '1', '--user', USER)

    def admin(self, operation, mode, *arguments):
        return subprocess.run(['tgtadm', '-C', self.control, '--lld', 'iscsi', '--op', operation, '--mode', mode,
                               *arguments], check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout

    def add_lun(self, number, size_bytes, name=None):
        path = os.path.join(self.directory, name or f'lun{number}.img')
        with open(path, 'ab') as image:
            image.truncate(size_bytes)
        self.admin('new', 'logicalunit', '--tid', '1', '--lun', str(number), '-b', path)
        return path

    def remove_lun(self, number):
        self.admin('delete', 'logicalunit', '--tid', '1', '--lun', str(number))

    def sessions(self):
        """The initiator names that are logged in."""
        return [line.split('Initiator:')[1].split()[0] for line in self.admin('show', 'target').splitlines()
                if 'Initiator:' in line]

    def settings(self):
        return {'portal': self.portal, 'target': self.target, 'chap_user': USER, 'chap_secret_file': self.secret_file}

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(2)
        except subprocess.TimeoutExpired:  # it waits for sessions
            self.process.kill()
            self.process.wait()
        self.log.close()
        for suffix in ('', '.lock'):
            path = f'/var/run/tgtd/socket.{self.control}{suffix}'
            if os.path.exists(path):
                os.unlink(path)
