#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The lab's port side against a foreign target: driver, bridge and lab/lab, as a Windows program sees them."""
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab_steps  # noqa: E402
from lab_tgt import Tgt, labhost  # noqa: E402

MIB = 1 << 20
INVALID_FUNCTION, INVALID_PARAMETER, TIMEOUT, IO_DEVICE, NOT_CONNECTED = 1, 87, 121, 1117, 1167
NO_SUCH_DEVICE = 433


class LabTest(unittest.TestCase):
    hosts = ('A',)

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp(prefix='umbra-lab-')
        cls.tgt = cls.state = None
        try:
            cls.tgt = Tgt(cls.directory)
            cls.images = {n: cls.tgt.add_lun(n, 64 * MIB) for n in (1, 2)}
            cls.state = labhost.State(os.path.join(cls.directory, 'state'))
            for name in cls.hosts:
                cls.state.configure(name, dict(cls.tgt.settings(), link_down_ms=60000))
                cls.state.host(name).up()
        except BaseException:
            cls.tearDownClass()
            raise

    @classmethod
    def tearDownClass(cls):
        clean = all([cls.state.host(name).down() for name in cls.hosts]) if cls.state else True
        if cls.tgt:
            cls.tgt.close()
        shutil.rmtree(cls.directory, ignore_errors=True)
        assert clean, 'processes were left'

    def host(self, name='A'):
        return self.state.host(name)

    def probe(self, *arguments, host='A', expect=0, timeout=600):
        """Runs the probe; its lines."""
        program = labhost.need_program('umbra-lab-probe.exe')
        done = self.host(host).run(program, *arguments, capture=True, timeout=timeout)
        self.assertEqual(done.returncode, expect, f'{arguments}: {done.stdout[-300:]} {done.stderr[-300:]}')
        return done.stdout.splitlines()

    def error(self, *arguments, host='A'):
        """The Windows error code with which the probe was refused."""
        return int(self.probe(*arguments, host=host, expect=1)[0].split()[1])

    def disks(self, host='A'):
        """LUN number → disk number."""
        found = {}
        for line in self.probe('list', host=host):
            match = re.match(r'disk (\d+) port 0 path 0 target 0 lun (\d+) ', line)
            if match:
                found[int(match[2])] = int(match[1])
        return found


class Port(LabTest):
    def test_disks_have_the_targets_identity(self):
        lines = self.probe('list')
        self.assertTrue(any('lun 1 bytes 67108864 bus 9' in line and "vendor 'IET     '" in line and 'beaf11' in line
                            for line in lines), lines)
        page = self.probe('cdb', 'PhysicalDrive1', '12018300ff00', '--in', '255')[1].split()[1]
        url = f'iscsi://labuser%twelve-chars-or-more@{self.tgt.portal}/{self.tgt.target}/1'
        direct = subprocess.run(['iscsi-inq', '-e', '1', '-c', '131', url], capture_output=True, text=True, timeout=600)
        designator = re.search(r'Designator:\[(.*?)\]', direct.stdout)
        self.assertIsNotNone(designator, direct.stdout + direct.stderr)
        self.assertIn(designator[1].strip().encode().hex(), page)

    def test_the_adapter_lists_every_lun(self):
        lines = self.probe('inquiry-data')
        self.assertIn('lun 0 type 12 claimed 0', lines)
        self.assertIn('lun 1 type 0 claimed 1', lines)

    def test_reads_and_writes_reach_the_lun(self):
        data = os.urandom(MIB)
        source, back = (os.path.join(self.directory, n) for n in ('source.bin', 'back.bin'))
        with open(source, 'wb') as out:
            out.write(data)
        self.probe('write', 'PhysicalDrive1', str(3 * MIB), labhost.windows_path(source))
        with open(self.images[1], 'rb') as image:
            image.seek(3 * MIB)
            self.assertEqual(image.read(MIB), data)
        self.probe('read', 'PhysicalDrive1', str(3 * MIB), str(MIB), labhost.windows_path(back))
        with open(back, 'rb') as source:
            self.assertEqual(source.read(), data)
        # READ 10 of the same by one pass-through of 1 MiB; WRITE 10 of one block by another.
        lba = f'{3 * MIB // 512:08x}'
        lines = self.probe('cdb', 'PhysicalDrive1', f'2800{lba}00080000', '--in', str(MIB))
        self.assertEqual(bytes.fromhex(lines[1].split()[1]), data)
        self.probe('cdb', 'PhysicalDrive1', f'2a00{lba}00000100', '--out', 'a5' * 512)
        lines = self.probe('cdb', 'PhysicalDrive1', f'2800{lba}00000100', '--in', '512')
        self.assertEqual(lines[1], 'data ' + 'a5' * 512)
        self.assertEqual(self.error('read', 'PhysicalDrive1', '100', '512', labhost.windows_path(back)),
                         INVALID_PARAMETER)
        self.error('read', 'PhysicalDrive1', str(64 * MIB), '512', labhost.windows_path(back))

    def test_status_and_sense_come_back_untouched(self):
        lines = self.probe('cdb', 'PhysicalDrive2', 'ff0000000000', expect=3)
        self.assertEqual(lines[0], 'status 02')
        self.assertRegex(lines[1], r'^sense 70000500000000..0{8}2000')  # ILLEGAL REQUEST, invalid operation code
        lines = self.probe('cdb', 'PhysicalDrive2', '28007fffffff00000100', '--in', '512', expect=3)
        self.assertRegex(lines[1], r'^sense 70000500000000..0{8}2100')  # LBA out of range

    def test_claimed_luns_are_refused_through_the_adapter(self):
        self.assertEqual(self.probe('cdb', 'Scsi0:', '000000000000'), ['status 00'])
        self.assertEqual(self.error('cdb', 'Scsi0:', '000000000000', '--lun', '1'), INVALID_FUNCTION)
        self.probe('cdb', 'Scsi0:', '120000006000', '--lun', '1', '--in', '96')
        report = self.probe('cdb', 'Scsi0:', 'a00000000000000000800000', '--in', '128')[1]
        self.assertIn('0001000000000000', report)

    def test_pass_through_goes_in_parallel(self):
        self.host().bridge.control('fault', 'delay', '--op', '12', '--count', '32', '--ms', '1000')
        lines = self.probe('parallel', 'PhysicalDrive1', '32', '1')
        self.assertEqual(lines[0], 'failures 0')
        self.assertLess(int(lines[1].split()[1]), 24000)  # one after the other: 32000
        self.assertEqual(self.probe('parallel', 'PhysicalDrive2', '64', '20')[0], 'failures 0')

    def test_a_time_out_is_kept(self):
        self.host().bridge.control('fault', 'silent', '--op', '12')
        start = time.monotonic()
        self.assertEqual(self.error('cdb', 'PhysicalDrive1', '120000006000', '--in', '96', '--timeout', '1'), TIMEOUT)
        self.assertLess(time.monotonic() - start, 60)  # without the time-out: for ever
        self.probe('cdb', 'PhysicalDrive1', '120000006000', '--in', '96')

    def start(self, *arguments):
        command, env = self.host().command(labhost.need_program('umbra-lab-probe.exe'), *arguments)
        child = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.addCleanup(child.stdout.close)
        self.addCleanup(child.kill)
        return child

    def await_counter(self, name, value):
        bridge = self.host().bridge
        self.assertTrue(labhost.wait_until(lambda: bridge.counters()[name] == value, lab_steps.PATIENCE_S, 0.05),
                        f'{name} {value}: {bridge.counters()}')

    def test_a_late_command_resets_its_lun(self):
        bridge = self.host().bridge
        self.addCleanup(lab_steps.let_go, bridge)
        before = bridge.counters()
        bridge.control('fault', 'delay-reply', '--op', '28', '--count', '2', '--ms', lab_steps.HOLD_MS)
        read = ('28000000000000000100', '--in', '512')
        beside, elsewhere = self.start('cdb', 'PhysicalDrive1', *read), self.start('cdb', 'PhysicalDrive2', *read)
        self.await_counter('held', before['held'] + 2)
        bridge.control('fault', 'silent', '--op', '12')
        self.assertEqual(self.error('cdb', 'PhysicalDrive1', '120000006000', '--in', '96', '--timeout', '1'), TIMEOUT)
        self.assertEqual(beside.communicate(timeout=60)[0].split()[:2], ['error', str(IO_DEVICE)])
        self.await_counter('aborted', before['aborted'] + 1)
        self.assertEqual(bridge.counters()['resets'], before['resets'] + 1)
        self.assertEqual(bridge.counters()['held'], before['held'] + 1)  # of the other LUN
        said = dict(line.split() for line in bridge.control('status').splitlines())
        self.assertEqual({name: int(value) for name, value in said.items()}, bridge.counters())  # two readers of one reply
        lab_steps.let_go(bridge)
        self.assertEqual(elsewhere.communicate(timeout=60)[0].splitlines()[0], 'status 00')
        self.assertIn('LUN 1', ' '.join(self.state.harm()))

    def test_a_target_that_answers_nothing_loses_the_session(self):
        self.addCleanup(self.configure, {'link_down_ms': 60000, 'reset_ms': 10000})
        self.configure({'link_down_ms': 20000, 'reset_ms': 300})
        os.kill(self.tgt.process.pid, signal.SIGSTOP)
        try:
            self.assertEqual(self.error('cdb', 'PhysicalDrive1', '120000006000', '--in', '96', '--timeout', '1'), TIMEOUT)
            self.await_counter('connected', 0)
            self.assertEqual(self.host().bridge.counters()['resets'], 3)
            # Held, not timed: no session, no reset.
            child = self.start('cdb', 'PhysicalDrive2', '120000006000', '--in', '96', '--timeout', '1')
            time.sleep(3)
            self.assertIsNone(child.poll())
        finally:
            os.kill(self.tgt.process.pid, signal.SIGCONT)
        self.assertEqual(child.communicate(timeout=60)[0].splitlines()[0], 'status 00')
        self.assertEqual(self.host().bridge.counters()['resets'], 3)

    def test_a_lost_session_is_told_once_and_mended(self):
        self.host().bridge.control('fault', 'drop-after', '--op', '12')
        self.assertEqual(self.error('cdb', 'PhysicalDrive1', '120000006000', '--in', '96'), IO_DEVICE)
        # The reset attention of the new session was used up before: the next command is good.
        self.assertEqual(self.probe('cdb', 'PhysicalDrive1', '000000000000'), ['status 00'])
        # A class driver's read is repeated and never notices.
        self.host().bridge.control('fault', 'drop-before', '--op', '88')
        self.probe('read', 'PhysicalDrive1', '0', '4096', labhost.windows_path(os.path.join(self.directory, 'x.bin')))

    def configure(self, settings):
        """The bridge starts anew with them."""
        self.state.configure('A', settings)
        self.host().bridge.stop()
        self.host().up()
        self.assertEqual(self.probe('rescan'), ['ok'])

    def test_a_session_that_stays_away_is_no_device(self):
        self.addCleanup(self.configure, {'link_down_ms': 60000})
        self.configure({'link_down_ms': 4000})
        lab_steps.away(self.host().bridge)
        start = time.monotonic()
        self.assertEqual(self.error('cdb', 'PhysicalDrive1', '000000000000'), NOT_CONNECTED)
        self.assertGreater(time.monotonic() - start, 3)
        lab_steps.come_back(self.host().bridge)
        self.assertEqual(self.probe('cdb', 'PhysicalDrive1', '000000000000'), ['status 00'])

    def test_a_killed_bridge_is_no_device_and_comes_back(self):
        os.kill(self.host().bridge.pid(), signal.SIGKILL)
        start = time.monotonic()
        self.assertEqual(self.error('cdb', 'PhysicalDrive1', '000000000000'), NOT_CONNECTED)
        self.assertEqual(self.error('rescan'), NOT_CONNECTED)
        self.assertLess(time.monotonic() - start, 60)
        self.host().up()
        self.assertEqual(self.probe('rescan'), ['ok'])
        self.assertEqual(self.probe('cdb', 'PhysicalDrive1', '000000000000'), ['status 00'])

    def test_luns_come_and_go_at_a_rescan(self):
        self.tgt.add_lun(7, 8 * MIB, 'seven.img')
        self.assertNotIn(7, self.disks())
        self.probe('rescan')
        number = self.disks()[7]
        device = f'PhysicalDrive{number}'
        command, env = self.host().command(labhost.need_program('umbra-lab-probe.exe'), 'keep', device)
        with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as keeper:
            self.assertEqual(keeper.stdout.readline(), 'open\n')
            self.assertEqual(ask(keeper), 'status 00')
            self.tgt.remove_lun(7)
            self.assertEqual(ask(keeper), 'status 02')  # a ghost
            self.probe('rescan')
            self.assertNotIn(7, self.disks())
            self.assertEqual(ask(keeper).split()[:2], ['error', str(NO_SUCH_DEVICE)])
            # The number has a new owner; the old handle does not reach it.
            self.tgt.add_lun(8, 4 * MIB, 'eight.img')
            self.probe('rescan')
            self.assertEqual(self.disks()[8], number)
            self.assertEqual(self.probe('cdb', device, '000000000000'), ['status 00'])
            self.assertEqual(ask(keeper).split()[:2], ['error', str(NO_SUCH_DEVICE)])
            keeper.stdin.close()
        self.tgt.remove_lun(8)
        self.probe('rescan')
        self.assertEqual(sorted(self.disks()), [1, 2])

    def test_bad_pass_through_is_refused(self):
        self.assertEqual(self.error('cdb', 'PhysicalDrive9', '000000000000'), 2)
        seed = os.environ.get('UMBRA_TEST_SEED') or str(time.time_ns())
        for device in ('PhysicalDrive2', 'Scsi0:'):
            said = self.probe('fuzz', device, seed, '3000')[0].split()
            self.assertGreater(min(int(said[1]), int(said[3])), 100, f'seed {seed}: {said}')
            self.assertEqual(self.probe('cdb', 'PhysicalDrive2', '000000000000'), ['status 00'], f'seed {seed}')

    def test_nonsense_on_the_bridges_port(self):
        with open(self.host().bridge.port_file) as source:
            port = int(source.read())

        def connect():
            sock = socket.create_connection(('127.0.0.1', port), 60)
            sock.settimeout(60)
            return sock

        for frame in (b'\xff\xff\xff\xff', b'\0\0\0\0', b'\0\0\0\x08' + b'\xee' * 8, b'GET / HTTP/1.0\r\n\r\n',
                      struct.pack('>IBBHI', 8, 1, 99, 0, 1),
                      struct.pack('>IBBHIHBBII16s', 36, 1, 3, 0, 1, 1, 1, 10, 1000, 0xffffffff, b'\x2a')):
            with connect() as sock:
                sock.sendall(frame)
                try:
                    self.assertEqual(sock.recv(1), b'', frame)
                except ConnectionResetError:
                    pass
        halves = [connect() for _ in range(300)]  # more than the bridge takes; each with half a frame
        for sock in halves:
            try:
                sock.sendall(b'\0\0')
            except OSError:
                pass
        for sock in halves:
            sock.close()
        self.assertEqual(self.probe('cdb', 'PhysicalDrive1', '000000000000'), ['status 00'])


def ask(keeper):
    keeper.stdin.write('\n')
    keeper.stdin.flush()
    return keeper.stdout.readline().strip()


class TwoHosts(LabTest):
    hosts = ('A', 'B')

    def test_each_host_has_its_own_session(self):
        self.assertEqual(sorted(self.tgt.sessions()),
                         ['iqn.1991-05.com.microsoft:lab-a', 'iqn.1991-05.com.microsoft:lab-b'])
        for host in self.hosts:
            self.assertEqual(sorted(self.disks(host)), [1, 2])
        self.host('A').down()
        self.assertEqual(self.probe('cdb', 'PhysicalDrive1', '000000000000', host='B'), ['status 00'])
        self.host('A').up()
        self.assertEqual(sorted(self.disks('A')), [1, 2])


class Command(unittest.TestCase):
    """lab/lab as a user types it."""

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix='umbra-lab-')
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.state = os.path.join(self.directory, 'state')

    def lab(self, *words, expect=0):
        done = subprocess.run([sys.executable, os.path.join(labhost.ROOT, 'lab', 'lab'), '--state', self.state, *words],
                              capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=600)
        self.assertEqual(done.returncode, expect, f'{words}: {done.stdout} {done.stderr}')
        return done.stdout + done.stderr

    def test_up_run_status_down(self):
        tgt = Tgt(self.directory)
        self.addCleanup(tgt.close)
        tgt.add_lun(3, 8 * MIB)
        self.addCleanup(self.lab, 'down')
        self.lab('up', '--portal', tgt.portal, '--target', tgt.target, '--chap-user', 'labuser',
                 '--chap-secret-file', tgt.secret_file)
        self.assertRegex(self.lab('status'), r'A +yes +up +2 ')
        probe = labhost.need_program('umbra-lab-probe.exe')
        self.assertIn('lun 3 bytes 8388608', self.lab('run', probe, 'list'))
        self.lab('run', probe, 'cdb', 'PhysicalDrive1', 'ff0000000000', expect=3)
        self.lab('run', probe, 'nonsense', expect=2)
        self.assertIn('there is no program', self.lab('run', 'missing.exe', expect=1))
        self.lab('up')
        self.lab('down')
        self.assertEqual(labhost.prefix_processes(os.path.join(self.state, 'A', 'prefix')), [])
        self.assertIn('is not up', self.lab('run', probe, 'list', expect=1))
        self.assertRegex(self.lab('status'), r'A +no ')

    def test_a_wrong_secret_says_so(self):
        tgt = Tgt(self.directory)
        self.addCleanup(tgt.close)
        wrong = os.path.join(self.directory, 'wrong')
        with open(wrong, 'w') as out:
            out.write('not-the-secret-at-all\n')
        said = self.lab('up', '--portal', tgt.portal, '--target', tgt.target, '--chap-user', 'labuser',
                        '--chap-secret-file', wrong, '--link-down-ms', '500', expect=1)
        self.assertIn('login failed', said)
        self.assertEqual(labhost.prefix_processes(os.path.join(self.state, 'A', 'prefix')), [])

    def test_wrong_usage(self):
        self.assertIn('portal', self.lab('up', expect=1))
        self.lab('up', '--nonsense', expect=2)
        self.lab(expect=2)
        self.assertIn('no name for a host', self.lab('up', '--host', '../x', expect=1))
        self.lab('--help')


if __name__ == '__main__':
    unittest.main(verbosity=2)
