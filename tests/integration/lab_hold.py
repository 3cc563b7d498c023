#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""lab_hold.py BROKER: the write hold broker, spoken to as coordinator and writers do, and as no one should."""
import os
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'lab'))
import labhost  # noqa: E402


class Peer:
    def __init__(self, port, hello):
        self.socket = socket.create_connection(('127.0.0.1', port), timeout=600)
        self.file = self.socket.makefile('r')
        self.say(hello)

    def say(self, *lines):
        self.socket.sendall(''.join(line + '\n' for line in lines).encode())

    def hear(self):
        try:
            return self.file.readline().rstrip('\n')
        except ConnectionResetError:
            return ''

    def close(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()
        self.file.close()


def writer(port, name='w'):
    peer = Peer(port, f'WRITER {name}')
    assert peer.hear() == 'OK'
    return peer


def hold(coordinator, writers, ms=60000):
    coordinator.say(f'HOLD {ms}')
    for one in writers:
        word, number = one.hear().split()
        assert word == 'HOLD'
        one.say(f'HELD {number}')
    assert coordinator.hear() == f'HELD {len(writers)}'


def nobody_to_hold(port):
    c = Peer(port, 'COORDINATOR')
    hold(c, [])
    c.say('RELEASE')
    assert c.hear().startswith('RELEASED ')
    c.close()


def held_and_released(port):
    writers = [writer(port, f'w{i}') for i in range(5)]
    c = Peer(port, 'COORDINATOR')
    for _ in range(3):
        hold(c, writers)
        late = writer(port, 'late')
        assert late.hear().startswith('HOLD ')  # before its first write
        late.close()
        c.say('RELEASE')
        assert c.hear().startswith('RELEASED ')
        assert all(one.hear().startswith('RELEASE ') for one in writers)
    for one in writers + [c]:
        one.close()


def lun_by_lun(port):
    """A hold grows; who does not write there goes on; its limit counts from the first."""
    both, other, old = writer(port, 'both a b'), writer(port, 'other c'), writer(port, 'old')
    c = Peer(port, 'COORDINATOR')
    start = time.monotonic()
    for lun, stop, ms in (('a', [both, old], 1000), ('c', [other, old], 60000), ('b', [both, old], 60000)):
        c.say(f'HOLD {ms} {lun}')
        for one in stop:
            word, number, which = one.hear().split()
            assert (word, which) == ('HOLD', lun)
            one.say(f'HELD {number}')
        assert c.hear() == 'HELD 3'
    late = writer(port, 'late d e')
    assert len(late.hear().split()) == 2  # of what it does, nobody knows yet
    late.close()
    assert [one.hear().split()[0] for one in (both, other, old)] == ['RELEASE'] * 3 and time.monotonic() - start >= 1
    c.say('HOLD 1000 a')
    assert c.hear().startswith('FAIL ')
    c.say('RELEASE')
    assert c.hear().startswith('EXPIRED ')
    c.say('HOLD 5000 nobody')
    assert old.hear().split()[2] == 'nobody'
    c.say('RELEASE')  # before all stood
    assert c.hear().startswith('RELEASED ') and both.hear().startswith('RELEASE ')
    for one in (both, other, old, c):
        one.close()


def limits(port):
    w, c = writer(port), Peer(port, 'COORDINATOR')
    start = time.monotonic()
    hold(c, [w], 200)
    assert w.hear().startswith('RELEASE ')
    assert time.monotonic() - start >= 0.2
    c.say('RELEASE')
    assert c.hear().startswith('EXPIRED ')
    hold(c, [w])
    c.say('RELEASE')
    assert c.hear().startswith('RELEASED ') and w.hear().startswith('RELEASE ')
    start = time.monotonic()
    c.say('HOLD 5000')  # a writer that does not stop
    assert w.hear().startswith('HOLD ')
    assert c.hear() == 'FAIL writer w did not stop'
    assert time.monotonic() - start > 9 and w.hear().startswith('RELEASE ')
    w.close()
    c.close()


def peers_that_go(port):
    w, gone, c = writer(port), writer(port), Peer(port, 'COORDINATOR')
    c.say('HOLD 5000')
    w.say('HELD ' + w.hear().split()[1])
    assert gone.hear().startswith('HOLD ')
    gone.close()
    assert c.hear() == 'HELD 1'  # it holds nobody up
    c.close()
    assert w.hear().startswith('RELEASE ')  # so does a coordinator that goes
    c = Peer(port, 'COORDINATOR')
    hold(c, [w])
    other = Peer(port, 'COORDINATOR')
    other.say('HOLD 1000', 'RELEASE')
    assert other.hear().startswith('FAIL another') and other.hear().startswith('FAIL no hold')
    c.say('RELEASE')
    assert c.hear().startswith('RELEASED ')
    for one in (w, c, other):
        one.close()


def nonsense(port):
    for hello in ('', 'HELLO', 'HOLD 5', 'x' * 5000, '\0\0\0'):
        peer = Peer(port, hello)
        assert peer.hear() in ('', 'FAIL WRITER <name> or COORDINATOR first')
        peer.close()
    c, w = Peer(port, 'COORDINATOR'), writer(port)
    for words in ('HOLD', 'HOLD 0', 'HOLD -1', 'HOLD 60001', 'HOLD 99999999999999999999', 'HOLD 5x', 'HOLD 5 ', 'HOLD 5 a b', 'HOLD 5 ' + 'x' * 41, 'FOO'):
        c.say(words)
        assert c.hear().startswith('FAIL '), words
    w.say('HELD 12345')  # nobody asked
    w.say('WHAT')
    assert w.hear().startswith('FAIL ')
    hold(c, [w])
    c.close()
    w.close()


def many(port):
    peers = [Peer(port, f'WRITER {i}') for i in range(250)]
    assert all(one.hear() == 'OK' for one in peers)
    c = Peer(port, 'COORDINATOR')
    hold(c, peers)
    c.say('RELEASE')
    assert c.hear().startswith('RELEASED ')
    extra = [socket.create_connection(('127.0.0.1', port)) for _ in range(20)]
    assert extra[-1].recv(1) == b''  # past the bound: cut off
    for one in extra:
        one.close()
    for one in peers + [c]:
        one.close()


def main(program):
    for words in (['--port', 'x'], ['--port', '70000'], ['what'], ['--bogus']):
        assert subprocess.run([program, *words], stderr=subprocess.DEVNULL).returncode == 2, words
    with tempfile.TemporaryDirectory() as directory:
        port_file = os.path.join(directory, 'port')
        broker = subprocess.Popen([program, '--port-file', port_file])
        try:
            assert labhost.wait_until(lambda: os.path.exists(port_file), 600)
            with open(port_file) as source:
                port = int(source.read())
            for part in (nobody_to_hold, held_and_released, lun_by_lun, limits, peers_that_go, nonsense, many, nobody_to_hold):
                time.sleep(0.05)  # what the last part closed is gone
                part(port)
                print(f'ok   {part.__name__}', flush=True)
            assert subprocess.run([program, '--port', str(port)], stderr=subprocess.DEVNULL).returncode == 1
        finally:
            broker.terminate()
            assert broker.wait(600) == 0
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
