#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""lab_writer.py WRITER BROKER: the ordered writer against umbrad: what it writes verifies, what breaks the order does not,
held it stands still, it says so when the broker goes away, and it does not outlive who started it."""
import json
import os
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from umbra_lab import Array  # noqa: E402

PATIENCE_S = 300  # only a failure waits so long
INITIATOR, SECRET = 'iqn.2026-01.test:writer', '0123456789abcdef'


def wait_for(path, process, seconds=PATIENCE_S):
    end = time.monotonic() + seconds
    while not os.path.exists(path):
        assert process.poll() is None and time.monotonic() < end, path
        time.sleep(0.02)


def wait_until(condition, seconds=PATIENCE_S):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


class Bench:
    def __init__(self, array, writer, broker):
        self.array, self.writer, self.broker_program = array, writer, broker

    def words(self, a, b):
        return ['--a', self.array.url('w', a), '--b', self.array.url('w', b), '--initiator', INITIATOR, '--streams', '3',
                '--slots', '16', '--offset', '1048576']

    def file(self, name):
        return os.path.join(self.array.dir, name)

    def start_broker(self):
        if os.path.exists(self.file('port')):
            os.unlink(self.file('port'))
        broker = subprocess.Popen([self.broker_program, '--port-file', self.file('port')])
        wait_for(self.file('port'), broker)
        with open(self.file('port')) as source:
            return broker, int(source.read())

    def start(self, *more):
        if os.path.exists(self.file('ready')):
            os.unlink(self.file('ready'))
        process = subprocess.Popen([self.writer, 'run', *self.words(1, 2), '--ready', self.file('ready'), *more],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_for(self.file('ready'), process)
        return process

    def verify(self, a=1, b=2, *more):
        done = subprocess.run([self.writer, 'verify', *self.words(a, b), '--json', *more], capture_output=True,
                              text=True, timeout=PATIENCE_S)
        self.trouble = done.stderr
        return done.returncode, done.stdout

    def streams(self):
        """How far they are; while the writer writes, not of one instant."""
        code, out = self.verify()
        assert code in (0, 1) and out, f'verify ended {code} and gave no answer: {self.trouble}'
        return json.loads(out)['streams']


def ended(process, code, told=True):
    """What a writer says at its end; told to end, or by itself."""
    if told:
        process.terminate()
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code and out, (process.returncode, out, err)
    return json.loads(out)


def written_and_verified(bench):
    assert bench.verify()[0] == 1  # nothing there yet
    process = bench.start('--pause-us', '500')
    assert wait_until(lambda: all(s['a'] > 40 for s in bench.streams()))
    tally = ended(process, 0)
    assert tally['writes'] > 100 and not tally['failed'], tally
    code, out = bench.verify()
    streams = json.loads(out)['streams']
    assert code == 0 and all(s['a'] - s['b'] in (0, 1) and s['a'] > 16 for s in streams), out
    ran = sum(s['a'] + s['b'] for s in streams)
    assert ran == tally['writes'], (ran, tally)
    assert bench.verify(2, 1)[0] == 1 and bench.verify(1, 1)[0] == 1 and bench.verify(1, 3)[0] == 1
    expect = ','.join(f"{s['a']}:{s['b']}" for s in streams)
    assert bench.verify(1, 2, '--expect', expect)[0] == 0
    assert bench.verify(1, 2, '--expect', expect.replace(':', ':1', 1))[0] == 1
    assert bench.verify(1, 2, '--expect', '1:1')[0] == 2


def held(bench):
    broker, port = bench.start_broker()
    process = bench.start('--hold', str(port), '--ledger', bench.file('ledger'), '--pause-us', '200')
    with socket.create_connection(('127.0.0.1', port)) as coordinator:
        lines = coordinator.makefile('r')
        coordinator.sendall(b'COORDINATOR\n')
        for turn in range(5):
            # It has gone on since the last time.
            assert not turn or wait_until(lambda: bench.verify(1, 2, '--expect', entries[-1]['expect'])[0] != 0)
            coordinator.sendall(b'HOLD 60000\n')
            assert lines.readline() == 'HELD 1\n'
            with open(bench.file('ledger')) as source:
                entries = [json.loads(line) for line in source]
            assert len(entries) == turn + 1
            for _ in range(2):
                assert bench.verify(1, 2, '--expect', entries[-1]['expect'])[0] == 0
            coordinator.sendall(b'RELEASE\n')
            assert lines.readline().startswith('RELEASED ')
        assert len({entry['expect'] for entry in entries}) == 5  # it went on in between
        lines.close()
    assert ended(process, 0)['holds'] == 5
    assert bench.verify()[0] == 0
    process = bench.start('--hold', str(port))
    broker.kill()
    broker.wait()
    assert ended(process, 1, told=False)['failed']  # a writer that cannot be held must not go on as if it could
    assert subprocess.run([bench.writer, 'run', *bench.words(1, 2), '--hold', str(port)],
                          capture_output=True, timeout=PATIENCE_S).returncode == 1


def held_lun_by_lun(bench):
    """The LUN that is held first stands still, the other one is written to until it is held, too."""
    broker, port = bench.start_broker()
    process = bench.start('--hold', str(port), '--ledger', bench.file('ledger2'), '--pause-us', '200')
    serials = {n: bench.array.ctl('lun', 'show', name)['id'] for n, name in ((1, 'a'), (2, 'b'))}
    with socket.create_connection(('127.0.0.1', port)) as coordinator:
        lines = coordinator.makefile('r')
        coordinator.sendall(b'COORDINATOR\n')
        for first, second, ahead in ((1, 2, 0), (2, 1, 1)):  # A is one ahead of B where B stands
            for lun in (first, second):
                coordinator.sendall(f'HOLD 60000 {serials[lun]}\n'.encode())
                assert lines.readline() == 'HELD 1\n'
                assert wait_until(lambda: all(s['a'] - s['b'] == ahead for s in bench.streams()))
                before = bench.streams()
            assert bench.streams() == before
            with open(bench.file('ledger2')) as source:
                expect = json.loads(source.readlines()[-1])['expect']
            assert bench.verify(1, 2, '--expect', expect)[0] == 0
            coordinator.sendall(b'RELEASE\n')
            assert lines.readline().startswith('RELEASED ')
            assert wait_until(lambda: bench.streams() != before)
        lines.close()
    assert ended(process, 0)['holds'] == 2
    broker.terminate()
    broker.wait()


def refused(bench):
    for words in ([], ['bogus'], ['run'], ['verify', '--a', 'x'], ['run', *bench.words(1, 2), '--offset', '5'],
                  ['run', *bench.words(1, 2), '--slots', '0'], ['run', *bench.words(1, 2), '--streams', '65'],
                  ['run', *bench.words(1, 2), '--hold', '70000'], ['run', *bench.words(1, 2), 'more']):
        assert subprocess.run([bench.writer, *words], capture_output=True, timeout=PATIENCE_S).returncode == 2, words
    for words in (['run', *bench.words(1, 9)], ['run', '--a', 'iscsi://127.0.0.1:1/x/1', '--b', 'iscsi://127.0.0.1:1/x/2'],
                  ['run', '--a', 'nonsense', '--b', 'nonsense'], ['run', *bench.words(1, 2), '--offset', str(1 << 40)]):
        done = subprocess.run([bench.writer, *words], capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == 1 and done.stderr, words


STARTER = 'import subprocess, sys; p = subprocess.Popen(sys.argv[1:]); print(p.pid, flush=True); p.wait()'


def runs(pid):
    """A process that has ended and that nobody has waited for yet does not."""
    try:
        with open(f'/proc/{pid}/stat') as source:
            return source.read().rpartition(')')[2].split()[0] not in 'ZX'
    except OSError:
        return False


def orphaned(bench):
    """A test that is killed leaves no writer behind, whether the array is gone with it or not."""
    for array_too in (False, True):
        if os.path.exists(bench.file('ready')):
            os.unlink(bench.file('ready'))
        starter = subprocess.Popen([sys.executable, '-c', STARTER, bench.writer, 'run', *bench.words(1, 2), '--ready',
                                    bench.file('ready')], stdout=subprocess.PIPE, text=True)
        pid = int(starter.stdout.readline())
        wait_for(bench.file('ready'), starter)
        if array_too:
            bench.array.kill9()
        assert runs(pid)
        starter.kill()
        starter.wait()
        starter.stdout.close()
        gone = wait_until(lambda: not runs(pid), 60)
        if not gone:
            os.kill(pid, signal.SIGKILL)
        assert gone, f'a writer outlives who started it (its array {"gone" if array_too else "there"})'


def main(writer, broker):
    with Array() as array:
        for name in 'abc':
            array.ctl('lun', 'create', name, '--size', '16M')
        array.add_host('w', INITIATOR, secret=SECRET)
        for name in 'abc':
            array.ctl('map', name, 'w')
        bench = Bench(array, os.path.abspath(writer), os.path.abspath(broker))
        for part in (written_and_verified, held, held_lun_by_lun, refused, orphaned):
            part(bench)
            print(f'ok   {part.__name__}', flush=True)
    return 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
