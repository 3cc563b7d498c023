# SPDX-License-Identifier: Apache-2.0
"""umbrad's iSCSI target with initiators that others wrote: libiscsi's tools, qemu-img, qemu-io, and iscsi_random
(libiscsi with a model). Arguments: the path of iscsi_random."""
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

from umbra_lab import Array, umbrad_path

RANDOM = None
PLAIN, SECRET, WRONG = 'iqn.2026-01.test:plain', '0123456789abcdef', 'fedcba9876543210'
CHAP = 'iqn.2026-01.test:chap'


def run(*command, want=0, timeout=600):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)
    out = done.stdout + done.stderr
    if want is not None and (done.returncode == 0) != (want == 0):
        raise AssertionError(f"{' '.join(command)}: exit code {done.returncode}\n{out}")
    return out


class Initiators(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        v6 = ',[::1]:0' if has_ipv6() else ''
        cls.array = Array(config={'iscsi': {'portals': '127.0.0.1:0, 127.0.0.1:0' + v6.replace(',', ', ')}},
                          **memory_only())
        cls.array.ctl('lun', 'create', 'data', '--size', '64M')
        cls.array.ctl('lun', 'create', 'other', '--size', '16M')
        cls.array.add_host('plain', PLAIN)
        cls.array.add_host('chap', CHAP, secret=SECRET)
        for host in ('plain', 'chap'):
            cls.array.ctl('map', 'data', host)
        cls.array.ctl('map', 'other', 'chap')

    @classmethod
    def tearDownClass(cls):
        code = cls.array.stop()
        log = cls.array.log()
        cls.array.remove()
        assert code == 0, log

    def url(self, host, number, secret=None):
        if secret:
            return f'iscsi://{CHAP}%{secret}@127.0.0.1:{self.array.port}/{self.array.target}/{number}'
        return self.array.url(host, number)

    def qemu(self, host, number=1, **more):
        iqn, secret = self.array.hosts[host]
        options = {'driver': 'raw', 'file.driver': 'iscsi', 'file.transport': 'tcp', 'file.portal': self.array.portal(),
                   'file.target': self.array.target, 'file.lun': number, 'file.initiator-name': iqn}
        if secret:
            options.update({'file.user': iqn, 'file.password-secret': 's'})
        options.update({f"file.{key.replace('_', '-')}": value for key, value in more.items()})
        return ','.join(f'{key}={value}' for key, value in options.items())

    # ---- who sees what

    def test_discovery_lists_every_portal_to_a_host(self):
        out = run('iscsi-ls', '-i', PLAIN, f'iscsi://{self.array.portal()}')
        for index, port in enumerate(self.array.ports):
            address = '[::1]' if index == 2 else '127.0.0.1'
            self.assertIn(f'Target:{self.array.target} Portal:{address}:{port},1', out)

    def test_discovery_lists_nothing_to_a_stranger(self):
        out = run('iscsi-ls', '-i', 'iqn.2026-01.test:stranger', f'iscsi://{self.array.portal()}')
        self.assertNotIn(self.array.target, out)

    def test_names_have_no_case(self):
        out = run('iscsi-inq', '-i', PLAIN.upper(), self.url('plain', 1))
        self.assertIn('Vendor:UMBRADEV', out)

    def test_luns_are_those_mapped(self):
        out = run('iscsi-ls', '-s', '-i', PLAIN, f'iscsi://{self.array.portal()}')
        self.assertIn('Lun:1', out)
        self.assertNotIn('Lun:2', out)
        out = run('iscsi-ls', '-s', '-i', CHAP, f'iscsi://{CHAP}%{SECRET}@{self.array.portal()}')
        self.assertIn('Lun:2', out)

    def test_every_portal_serves(self):
        for index, port in enumerate(self.array.ports):
            address = '[::1]' if index == 2 else '127.0.0.1'
            out = run('iscsi-inq', '-i', PLAIN, f'iscsi://{address}:{port}/{self.array.target}/1')
            self.assertIn('Vendor:UMBRADEV', out)

    # ---- refusals

    def test_unknown_initiator(self):
        out = run('iscsi-inq', '-i', 'iqn.2026-01.test:stranger', self.url('plain', 1), want=1)
        self.assertIn('Authorization failure', out)
        self.assertIn('iqn.2026-01.test:stranger', self.array.log())

    def test_wrong_secret(self):
        out = run('iscsi-inq', '-i', CHAP, self.url('chap', 1, WRONG), want=1)
        self.assertIn('Authentication failure', out)
        self.assertIn('wrong CHAP secret', self.array.log())

    def test_no_secret(self):
        url = f'iscsi://127.0.0.1:{self.array.port}/{self.array.target}/1'
        self.assertIn('Authentication failure', run('iscsi-inq', '-i', CHAP, url, want=1))

    def test_another_target(self):
        url = f'iscsi://127.0.0.1:{self.array.port}/iqn.2026-01.test:no.such.target/1'
        self.assertIn('Target not found', run('iscsi-inq', '-i', PLAIN, url, want=1))

    def test_unmapped_lun(self):
        out = run('qemu-img', 'info', '--image-opts', self.qemu('plain', 2), want=1)
        self.assertIn('LOGICAL_UNIT_NOT_SUPPORTED', out)

    # ---- data

    def test_random_io(self):
        run(RANDOM, self.url('plain', 1), PLAIN, '--ops', '4000', '--depth', '32')

    def test_random_io_with_header_digest(self):
        run(RANDOM, self.url('plain', 1), PLAIN, '--ops', '3000', '--digest')

    def test_random_io_with_chap(self):
        run(RANDOM, self.url('chap', 2), CHAP, '--ops', '2000', '--depth', '128', '--bytes', str(16 << 20))

    def test_two_sessions_of_two_hosts_at_once(self):
        first = subprocess.Popen([RANDOM, self.url('plain', 1), PLAIN, '--ops', '4000'], stdout=subprocess.DEVNULL)
        run(RANDOM, self.url('chap', 2), CHAP, '--ops', '4000', '--bytes', str(16 << 20))
        self.assertEqual(first.wait(600), 0)

    def test_qemu_img_there_and_back(self):
        for host, more in (('plain', {}), ('plain', {'header_digest': 'crc32c'}), ('chap', {})):
            with self.subTest(host=host, **more), tempfile.TemporaryDirectory() as folder:
                image = os.path.join(folder, 'image')
                with open(image, 'wb') as file:
                    for _ in range(16):
                        file.write(os.urandom(1 << 20))
                        file.write(bytes(1 << 20))
                    file.truncate(64 << 20)
                secret = ['--object', f'secret,id=s,data={SECRET}'] if host == 'chap' else []
                target = self.qemu(host, 1, **more)
                run('qemu-img', 'convert', *secret, '-n', '--target-image-opts', '-f', 'raw', image, target)
                run('qemu-img', 'compare', *secret, '--image-opts', f'driver=raw,file.filename={image}', target)

    def test_qemu_io_verifies_patterns(self):
        commands = []
        for i in range(1, 40):
            commands += ['-c', f'write -P {i} {i * 1000448} {i * 4608}']
        commands += ['-c', 'flush', '-c', 'discard 0 512', '-c', 'write -z 64k 64k']
        for i in range(1, 40):
            commands += ['-c', f'read -P {i} {i * 1000448} {i * 4608}']
        out = run('qemu-io', '--image-opts', self.qemu('plain'), *commands)
        self.assertNotIn('verification failed', out)

    # ---- peers that go, an array that goes

    def test_killed_initiator_leaves_nothing(self):
        for _ in range(5):
            victim = subprocess.Popen([RANDOM, self.url('plain', 1), PLAIN, '--ops', '1000000', '--depth', '64'],
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(0.2)
            self.assertEqual([s['initiator'] for s in self.sessions()][-1:], [PLAIN])
            victim.kill()
            victim.wait()
        end = time.monotonic() + 600
        while self.sessions() and time.monotonic() < end:
            time.sleep(0.05)
        self.assertEqual(self.sessions(), [])
        run(RANDOM, self.url('plain', 1), PLAIN, '--ops', '200')

    def sessions(self):
        return self.array.ctl('status')['sessions']

    def test_noise_on_the_port(self):
        for noise in (b'\0' * 48, b'\xff' * 4096, b'GET / HTTP/1.0\r\n\r\n' + bytes(48), struct.pack('>I', 0x43870000)):
            with socket.create_connection(('127.0.0.1', self.array.port)) as peer:
                peer.sendall(noise)
        run('iscsi-inq', '-i', PLAIN, self.url('plain', 1))


class Rights(unittest.TestCase):
    """What an administrator changes takes effect on sessions that are open."""

    def load(self, array, secret=None):
        url = f'iscsi://{CHAP}%{secret}@127.0.0.1:{array.port}/{array.target}/1' if secret else array.url('chap', 1)
        process = subprocess.Popen([RANDOM, url, CHAP, '--ops', '100000000'], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        end = time.monotonic() + 600
        while not array.ctl('status')['sessions']:
            self.assertLess(time.monotonic(), end)
            self.assertIsNone(process.poll())
            time.sleep(0.02)
        return process

    def test_rights_that_change(self):
        with Array(**memory_only()) as array:
            array.ctl('lun', 'create', 'data', '--size', '16M')
            array.add_host('chap', CHAP, secret=SECRET)
            array.ctl('map', 'data', 'chap')
            first = self.load(array)
            path = os.path.join(array.dir, 'new-secret')
            with open(path, 'w') as file:
                file.write(WRONG)
            array.ctl('host', 'set', 'chap', '--chap-file', path)
            self.assertIn('Authentication failure', run('iscsi-inq', '-i', CHAP, array.url('chap', 1), want=1))
            array.ctl('host', 'set', 'chap', '--iqn', PLAIN)  # CHAP's name is nobody's now
            self.assertNotEqual(first.wait(600), 0)
            array.ctl('host', 'set', 'chap', '--iqn', CHAP)
            second = self.load(array, WRONG)
            array.ctl('unmap', 'data', 'chap')
            self.assertNotEqual(second.wait(600), 0)
            array.ctl('host', 'delete', 'chap')
            url = f'iscsi://127.0.0.1:{array.port}/{array.target}/1'
            self.assertIn('Authorization failure', run('iscsi-inq', '-i', CHAP, url, want=1))
            self.assertEqual(array.stop(), 0)


class Pings(unittest.TestCase):
    def test_pings_are_answered(self):
        with Array(config={'iscsi': {'nop_interval': '100ms', 'nop_timeout': '1m'}}, **memory_only()) as array:
            array.ctl('lun', 'create', 'data', '--size', '16M')
            array.add_host('plain', PLAIN)
            array.ctl('map', 'data', 'plain')
            run(RANDOM, array.url('plain', 1), PLAIN, '--ops', '4000', '--depth', '32', '--pings', '5')
            self.assertEqual(array.stop(), 0, array.log())


class Portals(unittest.TestCase):
    def test_wildcards_are_told_by_the_address_that_was_reached(self):
        portals = '0.0.0.0:0, [::]:0' if has_ipv6() else '0.0.0.0:0'
        with Array(config={'iscsi': {'portals': portals}}, **memory_only()) as array:
            array.add_host('plain', PLAIN)
            for address, port in zip(('127.0.0.1', '[::1]'), array.ports):
                out = run('iscsi-ls', '-i', PLAIN, f'iscsi://{address}:{port}')
                self.assertEqual(out.split(), [f'Target:{array.target}', f'Portal:{address}:{port},1'])

    def test_a_port_in_use(self):
        with socket.socket() as other:
            other.bind(('127.0.0.1', 0))
            other.listen()
            port = other.getsockname()[1]
            with self.assertRaisesRegex(RuntimeError, f'portal 127.0.0.1, port {port} cannot be opened .Address.*in use'):
                Array(config={'iscsi': {'portals': f'127.0.0.1:{port}'}}, **memory_only())

    def test_a_port_that_becomes_free(self):
        """As that of a killed umbrad does, whose ring goes after its process."""
        with socket.socket() as other:
            other.bind(('127.0.0.1', 0))
            other.listen()
            port = other.getsockname()[1]
            array = Array(start=False, config={'iscsi': {'portals': f'127.0.0.1:{port}'}}, **memory_only())
            self.addCleanup(array.remove)
            with subprocess.Popen([umbrad_path(), '--config', array.config_path], stderr=subprocess.PIPE, text=True) as umbrad:
                try:
                    said = ''
                    while 'is waited for' not in said:
                        said = umbrad.stderr.readline()
                        self.assertNotEqual(said, '')
                    other.close()
                    while f'on port {port}' not in said:
                        said = umbrad.stderr.readline()
                        self.assertNotEqual(said, '')
                finally:
                    umbrad.terminate()
                    umbrad.stderr.read()


class Stopping(unittest.TestCase):
    def test_stops_with_io_under_way(self):
        with Array(**memory_only()) as array:
            array.ctl('lun', 'create', 'data', '--size', '16M')
            array.add_host('plain', PLAIN)
            array.ctl('map', 'data', 'plain')
            load = subprocess.Popen([RANDOM, array.url('plain', 1), PLAIN, '--ops', '100000000', '--depth', '64'],
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(0.5)
            begun = time.monotonic()
            code = array.stop()
            self.assertEqual(code, 0, array.log())
            self.assertLess(time.monotonic() - begun, 10)
            load.kill()
            load.wait()


def memory_only():
    """With a store in memory (umbrad-mem) there is no pool to create."""
    return {'pool': '/nonexistent'} if 'umbrad-mem' in os.environ.get('UMBRAD', '') else {}


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(('::1', 0))
        return True
    except OSError:
        return False


if __name__ == '__main__':
    RANDOM = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=2)
