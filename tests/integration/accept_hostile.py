#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Hostile peers and bad days: floods, half-open logins, garbage, a full pool, changes and kill -9 under I/O. After each
the array serves, and what was acknowledged and flushed is there.

    accept_hostile.py ISCSI_RANDOM [TEST…]      (UMBRA_TEST_SEED: the seed of the random parts)
"""
import os
import random
import socket
import struct
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_initiator import Channel, LoginError, ScsiError, Session  # noqa: E402
from umbra_lab import Array, run_ctl, umbractl_path  # noqa: E402

RANDOM_IO = None
SEED = int(os.environ.get('UMBRA_TEST_SEED') or time.time_ns() % 1000000)
SECRET = 'secret-of-h1-'
IQN, BUSY = 'iqn.2026-01.test:h1', 'iqn.2026-01.test:busy'
CHUNK = 65536
BLOCKS = CHUNK // 512


def new_array(*luns, config=None, pool_options=()):
    """luns: (name, size)."""
    array = Array(config, pool_options=pool_options)
    array.add_host('h1', IQN, secret=SECRET)
    array.add_host('busy', BUSY)
    for name, size in luns:
        array.ctl('lun', 'create', name, '--size', size)
        array.ctl('map', name, 'h1')
    return array


def until(what, condition, seconds=600):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f'not within {seconds} s: {what}')
        time.sleep(0.02)


def load(array, name):
    """An initiator that reads, writes and checks until it is stopped or fails."""
    array.ctl('map', name, 'busy', '--number', '1')
    return subprocess.Popen([RANDOM_IO, array.url('busy', 1), BUSY, '--ops', '100000000', '--depth', '32'],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Peers(unittest.TestCase):
    def test_half_open_logins_have_an_end(self):
        config = {'iscsi': {'login_timeout': '5s', 'connections_per_source': '8', 'connections_max': '64'}}
        with new_array(('a', '16M'), config=config) as array:
            fds = len(os.listdir(f'/proc/{array.pid}/fd'))
            silent = [socket.create_connection(('127.0.0.1', array.port)) for _ in range(300)]
            for peer in silent[:8]:
                peer.sendall(b'\x43\x87\0\0')  # the beginning of a login
            # another address is served meanwhile; this one again when the logins have timed out
            other = socket.create_connection(('127.0.0.1', array.port), source_address=('127.0.0.2', 0))
            login = struct.pack('>BBBBI6sHIIIIxxxxxxxxxxxxxxxx', 0x43, 0x87, 0, 0, 0, b'\x80\0\0\1\0\0', 0, 1, 0, 1, 0)
            other.sendall(login)
            other.settimeout(600)
            self.assertEqual(other.recv(1), b'\x23')  # a login response: no keys, so a refusal, but an answer

            def welcome():
                try:
                    with Session(array, 'h1') as session:
                        return session.report_luns() == [1]
                except LoginError:
                    return False
            until('a login after the flood', welcome)
            for peer in silent:
                peer.close()
            other.close()
            until('no descriptor is left open', lambda: len(os.listdir(f'/proc/{array.pid}/fd')) <= fds)
            self.assertLess(array.log().count('refused'), 200, 'a flood of connections is no flood of log lines')

    def test_garbage_on_the_port_and_the_socket(self):
        rng = random.Random(SEED)
        with new_array(('a', '16M')) as array:
            with Session(array, 'h1') as session:
                session.write(1, 0, b'x' * 4096)
                for i in range(60):
                    noise = rng.randbytes(rng.choice((1, 47, 48, 512, 70000)))
                    if i % 2:  # a login's opcode, lengths of everything
                        noise = bytes([rng.choice((0x43, 0x03, 0x01, 0x05, 0x40, 0x3F))]) + noise[1:]
                    with socket.create_connection(('127.0.0.1', array.port)) as peer:
                        self.send(peer, noise)
                    with socket.socket(socket.AF_UNIX) as peer:
                        peer.connect(array.socket)
                        self.send(peer, noise + (b'\n' if i % 3 else b''))
                deep = b'{"jsonrpc":"2.0","id":1,"method":"status","params":' + b'[' * 30000 + b'\n'
                with socket.socket(socket.AF_UNIX) as peer:
                    peer.connect(array.socket)
                    self.send(peer, deep)
                self.assertEqual(session.read(1, 0, 8), b'x' * 4096)
            self.assertEqual(array.ctl('status')['counts']['luns'], 1)

    @staticmethod
    def send(peer, data):
        try:
            peer.sendall(data)
        except OSError:
            pass  # it hung up, as it may

    def test_the_management_sockets_bound(self):
        with new_array(config={'management': {'connections_max': '4'}}) as array:
            peers = []
            for _ in range(4):
                peer = socket.socket(socket.AF_UNIX)
                peer.connect(array.socket)
                peers.append(peer)
            done = array.ctl('status', check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn('connections_max', done.stderr)
            for peer in peers:
                peer.close()
            until('the socket serves again', lambda: array.ctl('status', check=False).returncode == 0)

    def test_out_of_range_addresses(self):
        with new_array(('a', '16M')) as array, Session(array, 'h1') as session:
            last = session.blocks(1) - 1
            session.write(1, last, b'z' * 512)
            for lba, blocks in ((last + 1, 1), (last, 2), (2**64 - 1, 1), (2**63, 8), (0, 2**23), (last - 1, 2**31)):
                for opcode in (0x88, 0x8A, 0x8E, 0x93, 0x91):  # READ, WRITE, WRITE AND VERIFY, WRITE SAME, SYNC
                    cdb = struct.pack('>BBQIBB', opcode, 0, lba, blocks, 0, 0)
                    out = None if opcode in (0x88, 0x91) else b'\xEE' * 512
                    status, sense, _ = session.command(1, cdb, out, 512 if opcode == 0x88 else 0)
                    if status == 2 and sense[0] == 6:
                        status, sense, _ = session.command(1, cdb, out, 512 if opcode == 0x88 else 0)
                    self.assertEqual((status, sense[0]), (2, 5), (hex(opcode), lba, blocks, hex(sense[1])))
                    self.assertIn(sense[1], (0x2100, 0x2400), (hex(opcode), lba, blocks))
            self.assertEqual(session.read(1, last, 1), b'z' * 512)


class Names(unittest.TestCase):
    ODD = ("a'b", 'a"b', 'a\nb', 'a\x1b[31mb', '', ' ', '-x', '--', '--json', 'ü', 'a/b', 'x' * 65, 'x' * 100000, '$(id)',
           'a,b', 'a\tb', b'\xff\xfe', '0123456789abcdef0123456789abcdef')

    def refused(self, array, *words, code=1):
        done = subprocess.run([umbractl_path(), *words[:-1], '--socket', array.socket, '--', words[-1]],
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=600)
        self.assertEqual(done.returncode, code, (words[-1][:40], done.stdout, done.stderr))
        self.assertRegex(done.stderr, b'(?s)umbractl: .{15}', words[-1][:40])
        return done.stderr

    def test_odd_names(self):
        with new_array(('a', '16M')) as array:
            before = array.ctl('lun', 'list'), array.ctl('host', 'list')
            for name in self.ODD:
                code = 2 if isinstance(name, bytes) else 1
                self.refused(array, 'lun', 'create', '--size', '8M', name, code=code)
                if name != self.ODD[-1]:
                    self.refused(array, 'host', 'add', '--iqn', 'iqn.2026-01.test:odd', name, code=code)
            for iqn in ('iqn.2026-01.test:a b', 'iqn.2026-01.test:' + 'x' * 300, 'iqn.2026-01.test:ü', 'windows', ''):
                done = array.ctl('host', 'add', 'odd', '--iqn', iqn, check=False)
                self.assertEqual(done.returncode, 1, iqn)
            self.assertIn(b'UTF-8', self.refused(array, 'lun', 'create', '--size', '8M', b'\xff\xfe', code=2))
            self.assertEqual((array.ctl('lun', 'list'), array.ctl('host', 'list')), before)

    def test_numbers_of_all_sizes(self):
        with new_array(('a', '16M')) as array:
            for size in ('0', '-1', '16E', '18446744073709551615', '18446744073709551616', '9' * 40 + 'T', '1e9', '0x100',
                         '1.0000001G', 'nan', ''):
                self.assertEqual(array.ctl('lun', 'create', 'n', '--size', size, check=False).returncode, 2, size)
            for size in ('1', '512', '1048577', '257T'):
                done = array.ctl('lun', 'create', 'n', '--size', size, check=False)
                self.assertEqual(done.returncode, 1, size)
                self.assertIn('1 MiB to 256 TiB', done.stderr)
            for number in ('0', '-1', '16384', '9' * 30, '1x', '', '0x1'):
                self.assertEqual(array.ctl('map', 'a', 'h1', '--number', number, check=False).returncode, 2, number)
            for words in (('events', '--after', '9' * 30), ('top', '--count', '-1'), ('top', '--interval', '9' * 20 + 'h'),
                          ('top', '--interval', '1ms')):
                self.assertEqual(array.ctl(*words, check=False).returncode, 2, words)

    def test_secrets_from_odd_files(self):
        with new_array() as array:
            path = os.path.join(array.dir, 'secret')
            for content in (b'', b'\n', b'short', b'\0' * 16, b'x' * 256, b'x' * 100000):
                with open(path, 'wb') as file:
                    file.write(content)
                done = array.ctl('host', 'set', 'h1', '--chap-file', path, check=False)
                self.assertEqual(done.returncode, 1, content[:20])
            done = array.ctl('host', 'set', 'h1', '--chap-file', array.dir, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn('directory', done.stderr)
            with open(path, 'w') as file:
                file.write('a-secret-without-a-newline')
            array.ctl('host', 'set', 'h1', '--chap-file', path)
            with Session(array, 'h1', secret='a-secret-without-a-newline') as session:
                self.assertEqual(session.report_luns(), [])


class Space(unittest.TestCase):
    def test_a_full_pool_goes_on(self):
        """Writes until the pool is full: 27/07, an event; everything that was acknowledged is there, a set can be
        taken and deleted; after a deletion writes go on, and kill -9 loses nothing."""
        with new_array(('a', '1G'), ('b', '1G'), pool_options=('--capacity', '64M')) as array:
            body = random.Random(SEED).randbytes(CHUNK - 8)

            def chunk(n):
                return body + struct.pack('>Q', n)

            with Session(array, 'h1') as session:
                written = 0
                with self.assertRaises(ScsiError) as full:
                    while written < 3000:
                        session.write(1 if written % 4 else 2, written * BLOCKS, chunk(written))
                        written += 1
                self.assertEqual(full.exception.sense, (7, 0x2707))
                self.assertGreater(written, 900)
                session.write(1, BLOCKS, chunk(1))  # in place there is room
                session.flush(1)
                session.flush(2)
                array.ctl('set', 'create', 's', 'a', 'b')
                with self.assertRaises(ScsiError) as full:
                    session.write(1, BLOCKS, chunk(4711))
                self.assertEqual(full.exception.sense, (7, 0x2707))
                for n in range(written):
                    self.assertEqual(session.read(1 if n % 4 else 2, n * BLOCKS, BLOCKS), chunk(n), n)
                array.ctl('set', 'delete', 's')
                array.ctl('unmap', 'b', 'h1')
                array.ctl('lun', 'delete', 'b')

                def more():
                    try:
                        session.write(1, 4 * BLOCKS, chunk(4))
                        return True
                    except ScsiError as error:
                        self.assertEqual(error.sense, (7, 0x2707))
                        return False
                until('space after a deletion', more)
                session.flush(1)
            events = [e['text'] for e in array.ctl('events')['events']]
            self.assertTrue(any('full' in text for text in events), events)
            array.kill9()
            array.start()
            with Session(array, 'h1') as session:
                for n in range(written):
                    if n % 4 or n == 4:
                        self.assertEqual(session.read(1, n * BLOCKS, BLOCKS), chunk(n), n)
            array.stop()
            self.assertIn('no findings', run_ctl('pool', 'check', array.pool).stdout)
            array.start()


class UnderLoad(unittest.TestCase):
    def qemu_io(self, array, number, *commands):
        options = (f'driver=raw,file.driver=iscsi,file.transport=tcp,file.portal={array.portal()},'
                   f'file.target={array.target},file.lun={number},file.initiator-name={IQN},file.user={IQN},'
                   'file.password-secret=s')
        words = [w for c in commands for w in ('-c', c)]
        done = subprocess.run(['qemu-io', '--object', f'secret,id=s,data={SECRET}', '--image-opts', options, *words],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertNotIn('verification failed', done.stdout + done.stderr)

    def test_kill_9_under_io(self):
        """Patterns written and flushed by qemu-io, a second LUN under load, sets being taken: after kill -9 the patterns
        are there, the copies hold what they held, the pool has no findings."""
        rng = random.Random(SEED)
        with new_array(('a', '64M'), ('b', '32M')) as array:
            for turn in range(4):
                places = rng.sample(range(0, 1000), 24)
                value = {at: rng.randrange(1, 255) for at in places}
                self.qemu_io(array, 1, *[f'write -P {v} {at * CHUNK} {rng.choice((4096, 65536))}'
                                         for at, v in value.items()], 'flush')
                taken = array.ctl('set', 'create', f's{turn}', 'a', 'b')
                busy = load(array, 'b')
                time.sleep(0.3 + rng.random() / 2)
                self.assertIsNone(busy.poll())
                array.kill9()
                busy.kill()
                busy.wait()
                array.start()
                array.ctl('unmap', 'b', 'busy')
                reads = [f'read -P {v} {at * CHUNK} 4096' for at, v in value.items()]
                self.qemu_io(array, 1, *reads)
                self.assertEqual(len(array.ctl('set', 'list')['sets']), turn + 1)
                shadow = next(s for s in array.ctl('shadow', 'list')['shadows']
                              if s['set_id'] == taken['id'] and s['size_bytes'] == 64 << 20)
                self.qemu_io(array, 1, *[f'write -P 255 {at * CHUNK} 4096' for at in places], 'flush')
                number = array.ctl('shadow', 'map', shadow['name'], 'h1')['number']
                self.qemu_io(array, number, *reads)
                array.ctl('shadow', 'unmap', shadow['name'], 'h1')
            array.stop()
            self.assertIn('no findings', run_ctl('pool', 'check', array.pool).stdout)
            array.start()

    def test_changes_under_io(self):
        """LUNs made, mapped, unmapped, deleted, grown, sets taken and deleted while another LUN is under load that
        checks what it reads."""
        with new_array(('a', '32M')) as array, Session(array, 'h1') as session:
            busy = load(array, 'a')
            for turn in range(15):
                name = f'x{turn}'
                array.ctl('lun', 'create', name, '--size', '8M')
                number = array.ctl('map', name, 'h1', '--number', str(100 + turn))['number']
                session.write(number, 0, bytes([turn + 1]) * CHUNK)
                array.ctl('set', 'create', 's', 'a', name)
                array.ctl('lun', 'resize', name, '--size', '16M')
                self.assertEqual(session.blocks(number), (16 << 20) // 512)
                array.ctl('unmap', name, 'h1')
                status, sense, _ = session.command(number, bytes(6))
                self.assertEqual((status, sense[0]), (2, 5), hex(sense[1]))
                array.ctl('lun', 'delete', name)
                array.ctl('set', 'delete', 's')
                self.assertIsNone(busy.poll(), 'the load met an error')
            # the LUN under load goes, and with it the load, not the array
            array.ctl('unmap', 'a', 'h1')
            array.ctl('unmap', 'a', 'busy')
            array.ctl('lun', 'delete', 'a')
            self.assertNotEqual(busy.wait(600), 0)
            until('the space has come back', lambda: array.ctl('pool', 'status')['used_bytes'] == 0)

    def test_a_host_that_goes_in_each_state_leaves_nothing(self):
        config = {'copysets': {'host_gone': '300ms', 'number_rest': '1ms'}}
        with new_array(('a', '16M'), config=config) as array:
            for steps in range(1, 5):
                session = Session(array, 'h1')
                channel = Channel(session)
                set_id = os.urandom(16)
                for step in range(steps):
                    op = ('set-begin', 'set-add', 'set-arm', 'set-commit')[step]
                    fields = {'lun_id': bytes.fromhex(session.serial(1))} if op == 'set-add' else \
                        {'deadline_ms': 5000} if op == 'set-commit' else {}
                    channel.ask(op, 'ok', set_id=set_id, **fields)
                session.close(logout=False)
                until(f'set undone after {op}', lambda: not array.ctl('set', 'list')['sets'])
                self.assertEqual(array.ctl('shadow', 'list')['shadows'], [])


if __name__ == '__main__':
    print(f'UMBRA_TEST_SEED={SEED}', flush=True)
    RANDOM_IO = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=2)
